//! Expressions of CEL in objects: what they can see, and whether they compile when they are written (apiserver
//! `admission/plugin/cel`, dynamic-resource-allocation `cel`). Types are those of upstream, so that what is wrong is told at once
//! and not by whoever evaluates an expression.

use std::sync::Arc;

use cel::{DeclType, EVERY_MINOR, Env, ListKind, Program, Type};
use k8s_object::Cause;

use crate::causes::invalid;

/// Variables of a policy whose types are found out when it is written, so that a policy of a hundred thousand does not stall the
/// server; expressions that name others are compiled when they are evaluated.
pub(crate) const TYPED_VARIABLES_LIMIT: usize = 512;

/// What an expression yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Yields {
    /// Whether a request, a device, or whatever else it looks at is meant.
    Flag,
    Text,
    /// Text or null.
    OptionalText,
    ApplyConfiguration,
    JsonPatch,
    /// Whatever it is: a variable.
    Any,
}

/// What an expression can look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sees {
    /// A request and its object; with parameters, with an authorizer.
    Request { params: bool, authorizer: bool },
    /// A device that a driver offers.
    Device,
}

/// One expression and what is around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expression<'a> {
    pub text: &'a str,
    pub yields: Yields,
    pub sees: Sees,
    /// Variables that stand before it; `None` where there can be none.
    pub variables: Option<&'a Variables>,
    pub judged: Judged,
}

/// How strictly expressions are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Minor of Kubernetes 1.x that the cluster serves.
    pub minor: u8,
    /// It was there before this write, so that it may use what new expressions may not.
    pub stored: bool,
}

/// What the expressions of a configuration may name beside a request and its object.
#[derive(Debug, Clone, Copy)]
pub struct May {
    pub params: bool,
    pub authorizer: bool,
    /// Make objects and patches.
    pub mutation: bool,
}

/// The types of a policy's variables, as far as they are known.
#[derive(Debug, Default)]
pub struct Variables {
    fields: Vec<(String, Arc<DeclType>)>,
    /// There are more than are typed.
    is_cut: bool,
}

impl Variables {
    /// Adds a variable and tells what is wrong with its expression, which may name those before it.
    pub(crate) fn add(&mut self, name: &str, expression: &Expression<'_>) -> Option<String> {
        if self.fields.len() >= TYPED_VARIABLES_LIMIT {
            self.is_cut = true;
            return None;
        }
        let compiled = compile_expression(&Expression { variables: Some(self), ..*expression });
        self.declare(name, compiled.as_ref().ok());
        compiled.err()
    }

    /// Adds a variable that has the type of a program; of one that does not compile anything may be expected.
    pub fn declare(&mut self, name: &str, program: Option<&Program>) {
        if self.fields.len() >= TYPED_VARIABLES_LIMIT {
            self.is_cut = true;
            return;
        }
        let decl = program.map_or_else(DeclType::dynamic, |program| declared(program.result_type()));
        self.fields.push((name.to_owned(), decl));
    }

    /// An environment in which they can be named. Where there are more than are typed, none is.
    pub fn within(&self, env: Env) -> Env {
        let decl = match self.is_cut {
            true => DeclType::map(DeclType::dynamic(), None),
            false => DeclType::plain_object("kubernetes.variables", self.fields.iter().cloned()),
        };
        env.variable("variables", decl)
    }
}

/// A type as one that is declared; what no schema can say is anything.
pub(crate) fn declared(found: &Type) -> Arc<DeclType> {
    match found {
        Type::Bool => DeclType::bool(),
        Type::Bytes => DeclType::bytes(None),
        Type::Double => DeclType::double(),
        Type::Duration => DeclType::duration(),
        Type::Int => DeclType::int(),
        Type::List(item) => DeclType::list(declared(item), ListKind::Atomic, None),
        Type::Map(pair) if pair.0 == Type::String => DeclType::map(declared(&pair.1), None),
        Type::String => DeclType::string(None),
        Type::Timestamp => DeclType::timestamp(),
        Type::Uint => DeclType::uint(),
        _ => DeclType::dynamic(),
    }
}

/// Compiles an expression, and says what is wrong with it in upstream's words.
fn compile_expression(expression: &Expression<'_>) -> Result<Program, String> {
    let env = environment_of(expression);
    match expression.sees {
        Sees::Device => compile_for(&env, expression.text, expression.yields, true),
        Sees::Request { .. } => compile(&env, expression.text, expression.yields),
    }
}

/// As [`compile_expression`], in an environment of requests.
///
/// # Errors
/// What is wrong with the expression.
pub fn compile(env: &Env, text: &str, yields: Yields) -> Result<Program, String> {
    compile_for(env, text, yields, false)
}

fn compile_for(env: &Env, text: &str, yields: Yields, is_device: bool) -> Result<Program, String> {
    let program = env.compile(text).map_err(|error| match error {
        cel::CompileError::Issues(issues) => format!("compilation failed: {issues}"),
        cel::CompileError::Constant(problem) => format!("program instantiation failed: {problem}"),
    })?;
    let found = program.result_type();
    let object = |name: &str| matches!(found, Type::Object(own) if &**own == name);
    let (fits, wanted) = match yields {
        Yields::Any => (true, ""),
        Yields::Flag => (*found == Type::Bool || (is_device && *found == Type::Dyn), "bool"),
        Yields::Text => (*found == Type::String, "string"),
        Yields::OptionalText => (matches!(found, Type::String | Type::Null), "one of [string null_type]"),
        Yields::ApplyConfiguration => (object("Object"), "Object"),
        Yields::JsonPatch => {
            (matches!(found, Type::List(item) if **item == Type::object("JSONPatch")), "list(JSONPatch)")
        }
    };
    match fits {
        true => Ok(program),
        false if is_device => Err(format!("must evaluate to {wanted} or the unknown type, not {}", written(found))),
        false => Err(format!("must evaluate to {wanted} but got {}", written(found))),
    }
}

/// A type by the name that it has when expressions run.
fn written(found: &Type) -> String {
    match found {
        Type::Duration => "google.protobuf.Duration".to_owned(),
        Type::Null => "null_type".to_owned(),
        Type::Timestamp => "google.protobuf.Timestamp".to_owned(),
        other => other.to_string(),
    }
}

/// What is wrong with an expression, as a cause; nothing means that it compiles.
pub(crate) fn problem(expression: &Expression<'_>, field: &str) -> Option<Cause> {
    if expression.variables.is_some_and(|variables| variables.is_cut) {
        return None;
    }
    compile_expression(expression).err().map(|problem| invalid(field, expression.text, &problem))
}

/// The environment of a configuration that is stored already: it may use all functions there are.
pub fn environment(may: May) -> Env {
    request_environment(Env::new(EVERY_MINOR), may)
}

fn environment_of(expression: &Expression<'_>) -> Env {
    let Judged { minor, stored } = expression.judged;
    let env = Env::new(if stored { EVERY_MINOR } else { u32::from(minor).saturating_sub(1) });
    let mutation = matches!(expression.yields, Yields::ApplyConfiguration | Yields::JsonPatch);
    let env = match expression.sees {
        Sees::Device => return env.variable("device", device(minor)),
        Sees::Request { params, authorizer } => request_environment(env, May { params, authorizer, mutation }),
    };
    match expression.variables {
        Some(variables) => variables.within(env),
        None => env,
    }
}

fn request_environment(env: Env, may: May) -> Env {
    let mut env = env
        .variable("object", DeclType::dynamic())
        .variable("oldObject", DeclType::dynamic())
        .variable("namespaceObject", namespace())
        .variable("request", request());
    if may.params {
        env = env.variable("params", DeclType::dynamic());
    }
    if may.authorizer {
        env = env
            .variable("authorizer", DeclType::library("kubernetes.authorization.Authorizer"))
            .variable("authorizer.requestResource", DeclType::library("kubernetes.authorization.ResourceCheck"));
    }
    if may.mutation { env.with_mutation() } else { env }
}

fn object(name: &str, fields: &[(&str, &Arc<DeclType>)]) -> Arc<DeclType> {
    DeclType::plain_object(name, fields.iter().map(|(name, decl)| ((*name).to_owned(), (*decl).clone())))
}

pub(crate) fn request() -> Arc<DeclType> {
    let text = &DeclType::string(None);
    let texts = &DeclType::list(text.clone(), ListKind::Atomic, None);
    let kind = &object("kubernetes.GroupVersionKind", &[("group", text), ("version", text), ("kind", text)]);
    let resource =
        &object("kubernetes.GroupVersionResource", &[("group", text), ("version", text), ("resource", text)]);
    let user = &object(
        "kubernetes.UserInfo",
        &[("username", text), ("uid", text), ("groups", texts), ("extra", &DeclType::map(texts.clone(), None))],
    );
    object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind),
            ("resource", resource),
            ("subResource", text),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", text),
            ("name", text),
            ("namespace", text),
            ("operation", text),
            ("userInfo", user),
            ("dryRun", &DeclType::bool()),
            ("options", &DeclType::dynamic()),
        ],
    )
}

pub(crate) fn namespace() -> Arc<DeclType> {
    let (text, number, time) = (&DeclType::string(None), &DeclType::int(), &DeclType::timestamp());
    let list = |item: &Arc<DeclType>| DeclType::list(item.clone(), ListKind::Atomic, None);
    let (texts, labels) = (&list(text), &DeclType::map(text.clone(), None));
    let condition = object(
        "kubernetes.NamespaceCondition",
        &[("status", text), ("type", text), ("lastTransitionTime", time), ("message", text), ("reason", text)],
    );
    let status = &object("kubernetes.NamespaceStatus", &[("conditions", &list(&condition)), ("phase", text)]);
    let metadata = &object(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", text),
            ("generateName", text),
            ("namespace", text),
            ("labels", labels),
            ("annotations", labels),
            ("UID", text),
            ("creationTimestamp", time),
            ("deletionGracePeriodSeconds", number),
            ("deletionTimestamp", time),
            ("generation", number),
            ("resourceVersion", text),
            ("finalizers", texts),
        ],
    );
    let spec = &object("kubernetes.NamespaceSpec", &[("finalizers", texts)]);
    object("kubernetes.Namespace", &[("metadata", metadata), ("spec", spec), ("status", status)])
}

fn device(minor: u8) -> Arc<DeclType> {
    /// Attributes and capacities of one device.
    const MOST: u64 = 32;
    let domains = |value: Arc<DeclType>| DeclType::map(DeclType::map(value, Some(MOST)), Some(MOST));
    let (driver, many) = (DeclType::string(Some(63)), DeclType::bool());
    let (attributes, capacity) = (domains(DeclType::dynamic()), domains(DeclType::quantity()));
    let mut fields = vec![("driver", &driver), ("attributes", &attributes), ("capacity", &capacity)];
    if minor >= crate::kinds::SHARES_DEVICES_SINCE {
        fields.push(("allowMultipleAllocations", &many));
    }
    object("kubernetes.DRADevice", &fields)
}

/// Whether a name can be that of a variable.
pub(crate) fn is_identifier(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && !cel::RESERVED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Sees = Sees::Request { params: false, authorizer: true };

    fn told(text: &str, yields: Yields, sees: Sees, variables: Option<&Variables>) -> String {
        let judged = Judged { minor: 34, stored: false };
        compile_expression(&Expression { text, yields, sees, variables, judged }).err().unwrap_or_default()
    }

    #[test]
    fn expressions_see_what_upstreams_see() {
        let cases = [
            ("object.spec.replicas > 1 && request.operation == 'CREATE'", Yields::Flag, ""),
            (
                "namespaceObject.metadata.labels['a'] == 'b' && request.userInfo.groups.exists(g, g == 'x')",
                Yields::Flag,
                "",
            ),
            ("request.namespace == 'd' && request.name != namespaceObject.metadata.namespace", Yields::Flag, ""),
            ("authorizer.group('').resource('pods').check('get').allowed()", Yields::Flag, ""),
            ("authorizer.requestResource.check('get').allowed()", Yields::Flag, ""),
            ("6", Yields::Flag, "must evaluate to bool but got int"),
            ("0 == 0", Yields::Text, "must evaluate to string but got bool"),
            ("true", Yields::OptionalText, "must evaluate to one of [string null_type] but got bool"),
            ("object.a", Yields::Flag, "must evaluate to bool but got dyn"),
            ("Object{spec: Object.spec{replicas: 3}}", Yields::ApplyConfiguration, ""),
            ("1 < 2", Yields::ApplyConfiguration, "must evaluate to Object but got bool"),
            ("[JSONPatch{op: 'add', path: '/a', value: 1}]", Yields::JsonPatch, ""),
            (
                "params.a == 1",
                Yields::Flag,
                "compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')\n | params.a == 1\n | ^",
            ),
            (
                "request.nothing == 1",
                Yields::Flag,
                "compilation failed: ERROR: <input>:1:8: undefined field 'nothing'\n | request.nothing == 1\n | .......^",
            ),
        ];
        for (text, yields, expected) in cases {
            assert_eq!(told(text, yields, REQUEST, None), expected, "{text}");
        }
    }

    #[test]
    fn devices_have_attributes_and_capacities() {
        let cases = [
            ("device.driver == 'a' && device.attributes['a.example'].model == 'x'", ""),
            ("device.capacity['a.example'].memory.compareTo(quantity('1Gi')) >= 0", ""),
            ("device.attributes['a'].flag", ""),
            ("1", "must evaluate to bool or the unknown type, not int"),
        ];
        for (text, expected) in cases {
            assert_eq!(told(text, Yields::Flag, Sees::Device, None), expected, "{text}");
        }
        assert!(told("noSuchVar", Yields::Flag, Sees::Device, None).contains("undeclared reference to 'noSuchVar'"));
    }

    #[test]
    fn variables_have_the_types_of_their_expressions() {
        let mut variables = Variables::default();
        let judged = Judged { minor: 34, stored: false };
        let mut add = |name, text| {
            let expression = Expression { text, yields: Yields::Any, sees: REQUEST, variables: None, judged };
            variables.add(name, &expression)
        };
        assert_eq!(add("count", "size(object.items)"), None);
        assert_eq!(add("twice", "variables.count * 2"), None);
        assert!(add("later", "variables.none + 1").unwrap().contains("undefined field 'none'"));
        let told = |text| told(text, Yields::Flag, REQUEST, Some(&variables));
        assert_eq!(told("variables.twice > 1"), "");
        assert!(told("variables.twice > 'a'").contains("found no matching overload"));
    }
}
