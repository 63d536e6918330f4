//! What is wrong with the expressions of a policy for the types of the objects that it is about. Policies are written without a look
//! at these types, so it is told in their status and refuses nothing (apiserver `policy/validating/typechecking.go`).

use std::sync::Arc;

use cel::{CompileError, DeclType, EVERY_MINOR, Env};
use serde_json::{Value, json};

use crate::expressions::{TYPED_VARIABLES_LIMIT, Variables, namespace, request};

/// A type of objects.
pub struct CheckedType {
    /// `apps/v1, Kind=Deployment`
    pub name: String,
    pub decl: Arc<DeclType>,
}

/// The list `expressionWarnings` of a ValidatingAdmissionPolicy with this `spec`. Expressions that name parameters, of which no type
/// is given, are wrong.
pub fn expression_warnings(spec: &Value, types: &[CheckedType], params: Option<&Arc<DeclType>>) -> Vec<Value> {
    let environments: Vec<(&str, Env)> =
        types.iter().map(|own| (own.name.as_str(), environment(spec, &own.decl, params))).collect();
    let mut warnings = Vec::new();
    for (index, validation) in spec["validations"].as_array().into_iter().flatten().enumerate() {
        for field in ["expression", "messageExpression"] {
            let text = validation[field].as_str().unwrap_or("");
            if field == "messageExpression" && text.is_empty() {
                continue;
            }
            let told: Vec<String> = environments
                .iter()
                .filter_map(|(name, env)| Some(format!("{name}: {}\n", problem(env, text)?)))
                .collect();
            if !told.is_empty() {
                let field = format!("spec.validations[{index}].{field}");
                warnings.push(json!({"fieldRef": field, "warning": told.join("\n")}));
            }
        }
    }
    warnings
}

fn environment(spec: &Value, object: &Arc<DeclType>, params: Option<&Arc<DeclType>>) -> Env {
    let mut env = Env::new(EVERY_MINOR)
        .variable("namespaceObject", namespace())
        .variable("request", request())
        .variable("object", object.clone())
        .variable("oldObject", object.clone())
        .variable("authorizer", DeclType::library("kubernetes.authorization.Authorizer"));
    if let Some(params) = params {
        env = env.variable("params", params.clone());
    }
    // Each variable sees those before it.
    let mut variables = Variables::default();
    for variable in spec["variables"].as_array().into_iter().flatten().take(TYPED_VARIABLES_LIMIT + 1) {
        let text = |field: &str| variable[field].as_str().unwrap_or("");
        let compiled = variables.within(env.clone()).compile(text("expression")).ok();
        variables.declare(text("name"), compiled.as_ref());
    }
    variables.within(env)
}

fn problem(env: &Env, text: &str) -> Option<String> {
    match env.compile(text) {
        Err(CompileError::Issues(issues)) => Some(issues.to_string()),
        // Nothing is evaluated here, so constants are nobody's business.
        Ok(_) | Err(CompileError::Constant(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_held_against_every_type() {
        let text = DeclType::string(None);
        let of = |name: &str, field: &str, decl: Arc<DeclType>| CheckedType {
            name: format!("/v1, Kind={name}"),
            decl: DeclType::object(name, [(field.to_owned(), decl, true)]),
        };
        let types = [of("A", "n", DeclType::int()), of("B", "n", text.clone()), of("C", "m", text.clone())];
        let spec = json!({
            "variables": [{"name": "n", "expression": "object.n"}, {"name": "both", "expression": "variables.n == 'x'"}],
            "validations": [
                {"expression": "object.n > 1"},
                {"expression": "has(object.n)", "messageExpression": "variables.n + 'x'"},
                {"expression": "variables.none"},
                {"expression": "request.nothing"},
                {"expression": "true"},
            ],
        });
        let found = expression_warnings(&spec, &types, None);
        let refs: Vec<&str> = found.iter().filter_map(|own| own["fieldRef"].as_str()).collect();
        assert_eq!(
            refs,
            [
                "spec.validations[0].expression",
                "spec.validations[1].expression",
                "spec.validations[1].messageExpression",
                "spec.validations[2].expression",
                "spec.validations[3].expression",
            ]
        );
        let warning = |index: usize| found[index]["warning"].as_str().unwrap_or("");
        assert_eq!(
            warning(0),
            "/v1, Kind=B: ERROR: <input>:1:10: found no matching overload for '_>_' applied to '(string, int)'\n | object.n > 1\n | .........^\n\n\
             /v1, Kind=C: ERROR: <input>:1:7: undefined field 'n'\n | object.n > 1\n | ......^\n"
        );
        assert!(warning(1).starts_with("/v1, Kind=C: ERROR"), "{}", warning(1));
        assert!(warning(2).starts_with("/v1, Kind=A: ERROR") && !warning(2).contains("Kind=B"), "{}", warning(2));
        assert_eq!(warning(3).matches("undefined field 'none'").count(), 3, "{}", warning(3));
    }

    #[test]
    fn parameters_are_of_their_type() {
        let object = CheckedType { name: "/v1, Kind=A".to_owned(), decl: DeclType::object("A", []) };
        let params = DeclType::object("P", [("limit".to_owned(), DeclType::int(), true)]);
        let spec = json!({"validations": [{"expression": "params.limit > 1"}, {"expression": "params.other"}]});
        let wrong = |params| expression_warnings(&spec, std::slice::from_ref(&object), params).len();
        assert_eq!((wrong(Some(&params)), wrong(None)), (1, 2));
    }
}
