//! Expressions of webhooks and policies: what they may name, and what evaluating one comes to (apiserver `admission/plugin/cel`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use cel::{Activation, Budget, Check, DeclType, Env, EvalError, Program, Val};
use serde_json::Value;

use super::checks::Asks;
use crate::core::Call;

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";
const VARIABLES: &str = "variables.";

/// An expression, compiled once for all requests.
pub(super) struct Expression {
    pub text: String,
    program: Result<Program, String>,
}

/// What the expressions of a configuration may name beside the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct May {
    pub params: bool,
    pub authorizer: bool,
    pub mutation: bool,
}

/// The environment of a configuration's expressions. What is stored may use all functions there are.
pub(super) fn environment(may: May) -> Env {
    let any = DeclType::dynamic;
    let mut env = Env::new(cel::EVERY_MINOR)
        .variable("object", any())
        .variable("oldObject", any())
        .variable("request", any())
        .variable("namespaceObject", any());
    if may.params {
        env = env.variable("params", any());
    }
    if may.authorizer {
        env = env
            .variable("authorizer", DeclType::library("kubernetes.authorization.Authorizer"))
            .variable("authorizer.requestResource", DeclType::library("kubernetes.authorization.ResourceCheck"));
    }
    if may.mutation { env.with_mutation() } else { env }
}

/// With the variables that a policy defines, which later expressions may name.
pub(super) fn with_variables<'a>(env: Env, names: impl IntoIterator<Item = &'a str>) -> Env {
    names.into_iter().fold(env, |env, name| env.variable(&format!("{VARIABLES}{name}"), DeclType::dynamic()))
}

impl Expression {
    pub(super) fn compile(env: &Env, text: &str) -> Expression {
        let program = env.compile(text).map_err(|error| match error {
            cel::CompileError::Issues(issues) => format!("compilation failed: {issues}"),
            cel::CompileError::Constant(problem) => format!("program instantiation failed: {problem}"),
        });
        Expression { text: text.to_owned(), program }
    }

    /// The value, or why there is none. The outer error ends all evaluations: there is nothing left to spend.
    pub(super) fn evaluate<'a>(
        &self,
        inputs: &Inputs<'a>,
        budget: &mut Budget,
    ) -> Result<Result<Val<'a>, String>, String> {
        let program = match &self.program {
            Ok(program) => program,
            Err(problem) => return Ok(Err(format!("compilation error: {problem}"))),
        };
        let value = program.eval(inputs, budget);
        budget.spend(inputs.spent.take());
        if budget.is_exhausted() {
            return Err(OUT_OF_BUDGET.to_owned());
        }
        Ok(value.map_err(|error| format!("expression '{}' resulted in error: {error}", self.text)))
    }
}

/// What expressions see of one request.
pub(super) struct Inputs<'a> {
    pub object: &'a Value,
    pub old: &'a Value,
    pub request: &'a Value,
    pub params: &'a Value,
    pub namespace: &'a Value,
    pub asks: Option<&'a Asks<'a>>,
    /// Variables of the policy, evaluated when they are first named.
    variables: &'a [(String, Expression)],
    known: RefCell<BTreeMap<&'a str, Result<Val<'a>, EvalError>>>,
    /// What variables have cost since the last expression.
    spent: Cell<u64>,
}

/// Nothing, to be borrowed.
pub(super) static NULL: Value = Value::Null;

impl<'a> Inputs<'a> {
    pub(super) fn new(object: Option<&'a Value>, old: Option<&'a Value>, request: &'a Value) -> Inputs<'a> {
        Inputs {
            object: object.unwrap_or(&NULL),
            old: old.unwrap_or(&NULL),
            request,
            params: &NULL,
            namespace: &NULL,
            asks: None,
            variables: &[],
            known: RefCell::default(),
            spent: Cell::new(0),
        }
    }

    pub(super) fn with_variables(mut self, variables: &'a [(String, Expression)]) -> Inputs<'a> {
        self.variables = variables;
        self
    }

    fn variable(&self, name: &str) -> Option<Result<Val<'a>, EvalError>> {
        let (name, expression) = self.variables.iter().find(|(own, _)| own == name)?;
        if let Some(known) = self.known.borrow().get(name.as_str()) {
            return Some(known.clone());
        }
        let mut budget = Budget::new(cel::MAX_CALL_COST);
        let value = match &expression.program {
            Ok(program) => program.eval(self, &mut budget),
            Err(problem) => Err(EvalError::new(format!("composited variable {name:?} fails to compile: {problem}"))),
        };
        let cost = if budget.is_exhausted() { u64::MAX } else { cel::MAX_CALL_COST - budget.remaining() };
        self.spent.set(self.spent.get().saturating_add(cost));
        self.known.borrow_mut().insert(name, value.clone());
        Some(value)
    }
}

impl<'a> Activation<'a> for Inputs<'a> {
    fn resolve(&self, name: &str) -> Option<Result<Val<'a>, EvalError>> {
        let value = match name {
            "object" => Val::from(self.object),
            "oldObject" => Val::from(self.old),
            "request" => Val::from(self.request),
            "params" => Val::from(self.params),
            "namespaceObject" => Val::from(self.namespace),
            "authorizer" => Check::authorizer(self.asks?),
            "authorizer.requestResource" => Check::resource(self.asks?, self.asks?.resource()),
            other => return self.variable(other.strip_prefix(VARIABLES)?),
        };
        Some(Ok(value))
    }
}

/// A namespace as expressions see it.
pub(super) fn namespace_object(call: &Call<'_>) -> Value {
    if !call.resource.namespaced {
        return Value::Null;
    }
    let Some(namespace) = call.core.lookup("", "namespaces", "", &call.request.namespace) else { return Value::Null };
    let mut value = namespace.value();
    for field in ["managedFields", "ownerReferences"] {
        if let Some(metadata) = value["metadata"].as_object_mut() {
            metadata.remove(field);
        }
    }
    value
}
