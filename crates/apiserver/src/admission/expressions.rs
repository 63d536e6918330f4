//! Expressions of webhooks and policies: what they may name, and what evaluating one comes to (apiserver `admission/plugin/cel`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use cel::{Activation, Budget, Check, Env, EvalError, Program, ResourceCheck, Val};
pub(super) use k8s_kinds::expressions::{May, Variables, Yields, environment};
use serde_json::Value;

use crate::core::Call;

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";
const VARIABLES: &str = "variables";

/// An expression, compiled once for all requests.
pub(super) struct Expression {
    pub text: String,
    program: Result<Program, String>,
}

impl Expression {
    /// What is wrong with it is told when it is evaluated.
    pub(super) fn compile(env: &Env, text: &str, yields: Yields) -> Expression {
        Expression { text: text.to_owned(), program: k8s_kinds::expressions::compile(env, text, yields) }
    }

    /// Adds it as a variable that later expressions may name.
    pub(super) fn declare(&self, name: &str, variables: &mut Variables) {
        variables.declare(name, self.program.as_ref().ok());
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
    /// Who is asked whether something is allowed, and what the request is about.
    pub asks: Option<(&'a dyn cel::Authorizer, &'a ResourceCheck)>,
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

    /// All variables as a value, for who takes them together.
    fn all_variables(&self) -> Result<Val<'a>, EvalError> {
        let named = self.variables.iter().filter_map(|(name, _)| Some((name, self.variable(name)?)));
        let values = named.map(|(name, value)| Ok((name.clone(), value?)));
        Ok(Val::map(values.collect::<Result<Vec<_>, EvalError>>()?))
    }

    fn variable(&self, name: &str) -> Option<Result<Val<'a>, EvalError>> {
        let (name, expression) = self.variables.iter().find(|(own, _)| own == name)?;
        if let Some(known) = self.known.borrow().get(name.as_str()) {
            return Some(known.clone());
        }
        // What it costs counts, also beyond what one evaluation may cost, where it ends.
        let mut budget = Budget::new(u64::MAX);
        let value = match &expression.program {
            Ok(program) => program
                .eval(self, &mut budget)
                .map_err(|error| EvalError::new(format!("composited variable {name:?} fails to evaluate: {error}"))),
            Err(problem) => Err(EvalError::new(format!("composited variable {name:?} fails to compile: {problem}"))),
        };
        self.spent.set(self.spent.get().saturating_add(u64::MAX - budget.remaining()));
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
            "authorizer" => Check::authorizer(self.asks?.0),
            "authorizer.requestResource" => Check::resource(self.asks?.0, self.asks?.1.clone()),
            VARIABLES => return Some(self.all_variables()),
            _ => return None,
        };
        Some(Ok(value))
    }

    fn lazy(&self) -> Option<&str> {
        Some(VARIABLES)
    }

    fn lazy_field(&self, field: &str) -> Option<Result<Val<'a>, EvalError>> {
        self.variable(field)
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug)]
    struct Allowing;

    impl cel::Authorizer for Allowing {
        fn authorize(&self, _check: &Check<'_>, _verb: &str) -> cel::AuthorizerDecision {
            cel::AuthorizerDecision { allowed: true, ..cel::AuthorizerDecision::default() }
        }
    }

    #[test]
    fn a_variable_that_costs_too_much_fails_and_leaves_the_rest_of_the_budget() {
        let env = environment(May { params: false, authorizer: true, mutation: false });
        let check = "authorizer.group('').resource('pods').check('create').allowed()";
        let mut types = Variables::default();
        let costly = Expression::compile(&env, &[check; 3].join(" && "), Yields::Any);
        costly.declare("costly", &mut types);
        let variables = [("costly".to_owned(), costly)];
        let expression = Expression::compile(&types.within(env), "variables.costly", Yields::Flag);
        let request = json!({});
        let mut inputs = Inputs::new(None, None, &request).with_variables(&variables);
        let (asks, resource) = (Allowing, ResourceCheck::default());
        inputs.asks = Some((&asks, &resource));
        let mut budget = Budget::new(cel::MAX_REQUEST_COST);
        let problem = expression.evaluate(&inputs, &mut budget).unwrap().unwrap_err();
        assert_eq!(
            problem,
            "expression 'variables.costly' resulted in error: composited variable \"costly\" fails to evaluate: operation cancelled: actual cost limit exceeded"
        );
        let spent = cel::MAX_REQUEST_COST - budget.remaining();
        assert!(spent > cel::MAX_CALL_COST && spent < 2 * cel::MAX_CALL_COST, "{spent}");
    }

    const VARIABLES: &[(&str, &str)] = &[
        ("n", "object.spec.replicas"),
        ("s", "object.metadata.name + 'x'"),
        ("t", "variables.n * 2"),
        ("l", "object.spec.containers.map(c, c.name)"),
        ("str", "request.name + '-' + request.namespace"),
        ("bad", "object.none.x"),
        ("opt", "object.?spec.?none"),
        ("num", "1 + 2"),
        ("nul", "null"),
        ("m", "{'a': 1}"),
        ("a__b", "1"),
        ("broken", "nothing + 1"),
    ];

    /// What upstream's admission of 1.34 made of conditions over this request (`tests/expressions.jsonl`, asked by
    /// `tests/clients/cel/policies`).
    #[test]
    fn conditions_do_what_they_do_upstream() {
        let env = environment(May { params: false, authorizer: true, mutation: false });
        let mut types = Variables::default();
        let variables: Vec<(String, Expression)> = VARIABLES
            .iter()
            .map(|(name, text)| {
                let expression = Expression::compile(&types.within(env.clone()), text, Yields::Any);
                expression.declare(name, &mut types);
                ((*name).to_owned(), expression)
            })
            .collect();
        let env = types.within(env);
        let object = json!({
            "metadata": {"name": "p", "namespace": "d", "labels": {"a": "b"}},
            "spec": {"replicas": 3, "containers": [{"name": "c", "image": "i"}], "namespace": "x"},
        });
        let request = json!({
            "dryRun": false, "name": "p", "namespace": "d", "operation": "CREATE", "options": null,
            "kind": {"group": "", "kind": "Pod", "version": "v1"},
            "requestKind": {"group": "", "kind": "Pod", "version": "v1"},
            "resource": {"group": "", "resource": "pods", "version": "v1"},
            "requestResource": {"group": "", "resource": "pods", "version": "v1"},
            "userInfo": {"extra": {"k": ["v"]}, "groups": ["a"], "username": "jane"},
        });
        let namespace = json!({"metadata": {"labels": {"l": "m"}, "name": "d"}, "spec": {}, "status": {}});
        let mut differences = Vec::new();
        for line in include_str!("../../tests/expressions.jsonl").lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let expression = Expression::compile(&env, case["expr"].as_str().unwrap(), Yields::Flag);
            let mut inputs = Inputs::new(Some(&object), None, &request).with_variables(&variables);
            inputs.namespace = &namespace;
            let asks = Allowing;
            let resource = ResourceCheck { resource: "pods".to_owned(), ..ResourceCheck::default() };
            inputs.asks = Some((&asks, &resource));
            let mut budget = Budget::new(cel::MAX_REQUEST_COST);
            let before = budget.remaining();
            let mut seen = match expression.evaluate(&inputs, &mut budget).unwrap() {
                Ok(value) => json!({"value": value.to_json().unwrap().to_string()}),
                Err(problem) => json!({"error": problem}),
            };
            seen["cost"] = json!(before - budget.remaining());
            seen["expr"] = case["expr"].clone();
            if seen != case {
                differences.push(format!("{seen}\n  upstream: {case}"));
            }
        }
        assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    }
}
