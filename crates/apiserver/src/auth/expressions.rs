//! Expressions (CEL) in the configuration of authentication and authorization: over the claims of a token, the user that they make, and
//! a question that a webhook may be asked.

use std::sync::Arc;

use cel::{Budget, CompileError, DeclType, EVERY_MINOR, Env, ListKind, Program, Type, Val};
use serde_json::Value;

/// What an expression is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// `claims` of a token.
    Claims,
    /// `request`, as the `spec` of a SubjectAccessReview.
    Request,
    /// `user`.
    User,
}

impl About {
    fn variable(self) -> &'static str {
        match self {
            About::Claims => "claims",
            About::Request => "request",
            About::User => "user",
        }
    }

    fn declaration(self) -> Arc<DeclType> {
        match self {
            About::Claims => DeclType::map(DeclType::dynamic(), None),
            About::Request => request(),
            About::User => object("kubernetes.UserInfo", user_fields("username")),
        }
    }
}

type Fields = Vec<(&'static str, Arc<DeclType>)>;

fn object(name: &str, fields: Fields) -> Arc<DeclType> {
    DeclType::plain_object(name, fields.into_iter().map(|(name, decl)| (name.to_owned(), decl)))
}

fn text() -> Arc<DeclType> {
    DeclType::string(None)
}

fn texts() -> Arc<DeclType> {
    list(text())
}

fn user_fields(name: &'static str) -> Fields {
    vec![(name, text()), ("uid", text()), ("groups", texts()), ("extra", DeclType::map(texts(), None))]
}

fn list(item: Arc<DeclType>) -> Arc<DeclType> {
    DeclType::list(item, ListKind::Atomic, None)
}

fn request() -> Arc<DeclType> {
    let texts_named = |names: &[&'static str]| -> Fields { names.iter().map(|name| (*name, text())).collect() };
    let requirement = object("kubernetes.SelectorRequirement", {
        let mut fields = texts_named(&["key", "operator"]);
        fields.push(("values", texts()));
        fields
    });
    let selector =
        |name: &str| object(name, vec![("rawSelector", text()), ("requirements", list(requirement.clone()))]);
    let mut resource = texts_named(&["namespace", "verb", "group", "version", "resource", "subresource", "name"]);
    resource.push(("fieldSelector", selector("kubernetes.FieldSelectorAttributes")));
    resource.push(("labelSelector", selector("kubernetes.LabelSelectorAttributes")));
    let mut fields = user_fields("user");
    fields.push(("resourceAttributes", object("kubernetes.ResourceAttributes", resource)));
    let path = texts_named(&["path", "verb"]);
    fields.push(("nonResourceAttributes", object("kubernetes.NonResourceAttributes", path)));
    object("kubernetes.SubjectAccessReviewSpec", fields)
}

/// A compiled expression.
pub(super) struct Expression {
    pub text: String,
    about: About,
    declaration: Arc<DeclType>,
    program: Program,
}

impl Expression {
    /// # Errors
    /// What is wrong with it, in upstream's words.
    pub(super) fn compile(about: About, text: &str) -> Result<Expression, String> {
        let declaration = about.declaration();
        let env = Env::new(EVERY_MINOR).variable(about.variable(), declaration.clone());
        let program = env.compile(text).map_err(|error| match error {
            CompileError::Issues(issues) => format!("compilation failed: {issues}"),
            CompileError::Constant(problem) => format!("program instantiation failed: {problem}"),
        })?;
        Ok(Expression { text: text.to_owned(), about, declaration, program })
    }

    /// As [`Expression::compile`], of one that says yes or no.
    pub(super) fn condition(about: About, text: &str) -> Result<Expression, String> {
        let compiled = Expression::compile(about, text)?;
        match compiled.program.result_type() {
            Type::Bool => Ok(compiled),
            found if about == About::Request => Err(format!("must evaluate to bool but got {found}")),
            _ => Err("must evaluate to bool".to_owned()),
        }
    }

    /// What it says of a value.
    pub(super) fn eval(&self, value: &Value) -> Result<Value, String> {
        let bound = match self.about {
            About::Claims => Ok(Val::from(value)),
            About::Request | About::User => Val::typed(value, &self.declaration),
        };
        let bound = [(self.about.variable(), bound.map_err(|error| error.to_string())?)];
        let result = self.program.eval(&bound, &mut Budget::default()).map_err(|error| error.to_string())?;
        result.to_json().ok_or_else(|| "the result is no JSON".to_owned())
    }

    /// Whether a condition holds.
    pub(super) fn holds(&self, value: &Value) -> Result<bool, String> {
        self.eval(value)?.as_bool().ok_or_else(|| "validation expression must return a boolean".to_owned())
    }
}

/// One text or a list of them, without those that are empty.
pub(super) fn strings(value: &Value) -> Result<Vec<String>, String> {
    let found: Option<Vec<String>> = match value {
        Value::Null => Some(Vec::new()),
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(many) => many.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    let mut found = found.ok_or("expression must return a string or a list of strings")?;
    found.retain(|text| !text.is_empty());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions_are_about_something() {
        let user = json!({"username": "jane", "groups": ["a"]});
        let spec = json!({"user": "jane", "resourceAttributes": {"namespace": "d", "resource": "pods"}});
        let claims = json!({"sub": "s", "roles": ["a", "b"], "n": 1});
        let cases = [
            (About::Claims, "claims.sub + '!'", &claims, Ok(json!("s!"))),
            (About::Claims, "claims.roles.map(r, 'x:' + r)", &claims, Ok(json!(["x:a", "x:b"]))),
            (About::Claims, "claims.?gone.orValue('none')", &claims, Ok(json!("none"))),
            (About::Claims, "claims.gone", &claims, Err("no such key: gone".to_owned())),
            (About::User, "user.username.startsWith('system:')", &user, Ok(json!(false))),
            (About::User, "user.groups.all(g, g != 'b')", &user, Ok(json!(true))),
            (
                About::Request,
                "has(request.resourceAttributes) && request.resourceAttributes.namespace == 'd'",
                &spec,
                Ok(json!(true)),
            ),
            (About::Request, "has(request.nonResourceAttributes)", &spec, Ok(json!(false))),
        ];
        for (about, text, value, expected) in cases {
            assert_eq!(Expression::compile(about, text).and_then(|own| own.eval(value)), expected, "{text}");
        }
        let refused = |about, text| Expression::condition(about, text).err().unwrap_or_default();
        assert_eq!(refused(About::User, "user.username"), "must evaluate to bool");
        assert_eq!(refused(About::Request, "request.uid"), "must evaluate to bool but got string");
        for text in ["request.resourceAttributes.nonsense == 'a'", "request.resourceAttributes.namespace == 1"] {
            assert!(refused(About::Request, text).starts_with("compilation failed: ERROR: <input>:1:"), "{text}");
        }
        assert!(
            refused(About::User, "user.nonsense == 'a'")
                .starts_with("compilation failed: ERROR: <input>:1:5: undefined field 'nonsense'")
        );
        assert_eq!(strings(&json!(["a", "", "b"])), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert!(strings(&json!([1])).is_err());
    }
}
