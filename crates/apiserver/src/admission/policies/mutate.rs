//! MutatingAdmissionPolicy: changes in expressions, as apply configurations or as JSON patches, one after the other.

use cel::{Budget, MAX_REQUEST_COST, Struct, Val};
use k8s_apply::typed;
use k8s_object::{ApiError, Cause, Object, Reason};
use k8s_schema::{Atom, Step, Typed};
use serde_json::Value;

use super::super::checks::Asks;
use super::super::conditions::Conditions;
use super::super::expressions::{Expression, Inputs, May, NULL, Yields, environment, namespace_object};
use super::super::reinvocation::Reinvocation;
use super::super::{Operation, Review, Side, hooks, rules, shown, taken};
use super::compiled::{Binding, Constraints, list, param_kind, text, variables};
use super::{measure, params};
use crate::core::Call;
use crate::registry::Resource;

/// Policy, binding, and the parameters' namespace and name.
pub(in super::super) type Key = (String, String, String);

enum Mutation {
    Apply(Expression),
    Patch(Expression),
}

/// A MutatingAdmissionPolicy.
pub(in super::super) struct MutatingPolicy {
    name: String,
    constraints: Constraints,
    params: Option<(String, String)>,
    fails: bool,
    conditions: Conditions,
    variables: Vec<(String, Expression)>,
    mutations: Vec<Mutation>,
    reinvoked: bool,
}

impl MutatingPolicy {
    pub(in super::super) fn of(object: &Object) -> MutatingPolicy {
        let value = object.value();
        let spec = &value["spec"];
        let params = param_kind(spec);
        let env = environment(May { params: params.is_some(), authorizer: true, mutation: false });
        let mutating = environment(May { params: params.is_some(), authorizer: true, mutation: true });
        let (variables, types) = variables(&env, spec);
        let (env, mutating) = (types.within(env), types.within(mutating));
        let mutations = list(&spec["mutations"]).iter().map(|own| {
            let compile =
                |field: &str, yields| Expression::compile(&mutating, &text(&own[field], "expression"), yields);
            match own["patchType"].as_str() {
                Some("JSONPatch") => Mutation::Patch(compile("jsonPatch", Yields::JsonPatch)),
                _ => Mutation::Apply(compile("applyConfiguration", Yields::ApplyConfiguration)),
            }
        });
        MutatingPolicy {
            name: object.meta().name.clone(),
            constraints: Constraints::of(&spec["matchConstraints"]),
            fails: spec["failurePolicy"] != "Ignore",
            conditions: Conditions::of_policy(
                &object.meta().name,
                list(&spec["matchConditions"])
                    .iter()
                    .map(|own| Expression::compile(&env, &text(own, "expression"), Yields::Flag))
                    .collect(),
            ),
            mutations: mutations.collect(),
            reinvoked: spec["reinvocationPolicy"] == "IfNeeded",
            variables,
            params,
        }
    }
}

/// Why a policy could not do its work.
struct Problem {
    message: String,
    reason: &'static str,
}

/// Lets policies change an object.
pub(in super::super) fn mutate<'p>(
    policies: impl IntoIterator<Item = &'p MutatingPolicy>,
    bindings: &[&Binding],
    call: &Call<'_>,
    operation: Operation,
    object: &mut Value,
    old: Option<&Value>,
    state: &mut Reinvocation<Key>,
) -> Result<(), ApiError> {
    let mut problems: Vec<Problem> = Vec::new();
    for policy in policies {
        let review = Review { call, operation, old };
        let mut problem = |binding: Option<&Binding>, why: String, reason: &'static str| {
            let message = match binding {
                Some(binding) => {
                    format!("policy '{}' with binding '{}' denied request: {why}", policy.name, binding.name)
                }
                None => format!("policy {:?} denied request: {why}", policy.name),
            };
            if policy.fails {
                problems.push(Problem { message, reason });
            }
        };
        let matched = policy.constraints.met(&review, Some(object));
        let matched = matched.and_then(|version| match version {
            Some(version) => Ok(Some((version, params::resource(call, policy.params.as_ref())?))),
            None => Ok(None),
        });
        let (version, resource) = match matched {
            Ok(Some(matched)) => matched,
            Ok(None) => continue,
            Err(why) => {
                problem(None, format!("failed to configure policy: {why}"), "");
                continue;
            }
        };
        for binding in bindings.iter().filter(|binding| binding.policy == policy.name) {
            let review = Review { call, operation, old };
            let met = match &binding.constraints {
                Some(constraints) => constraints.met(&review, Some(object)).map(|met| met.is_some()),
                None => Ok(true),
            };
            let found = match met {
                Ok(false) => continue,
                Ok(true) => params::collect(call, resource.as_ref(), binding),
                Err(why) => Err(why),
            };
            let found = match found {
                Ok(found) => found,
                Err(why) => {
                    problem(Some(binding), format!("failed to configure binding: {why}"), "");
                    continue;
                }
            };
            for param in found {
                let named = param.as_ref().map(|param| param.key().to_string()).unwrap_or_default();
                let key: Key = (policy.name.clone(), binding.name.clone(), named);
                let param = param.map(|param| param.value());
                let turn = Turn { policy, review: &review, version, param: param.as_ref() };
                match turn.holds(object) {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(why) => {
                        problem(Some(binding), why, "Invalid");
                        continue;
                    }
                }
                if !state.is_turn(&key) {
                    continue;
                }
                let before = object.clone();
                for mutation in &policy.mutations {
                    let began = call.core.world.elapsed();
                    let mutated = turn.mutated(mutation, object);
                    let took = call.core.world.elapsed().saturating_sub(began);
                    let wrong = mutated.as_ref().err().map(String::as_str);
                    measure::mutated(call.core, &policy.name, binding, wrong, took);
                    match mutated {
                        Ok(changed) => *object = changed,
                        Err(why) => problem(Some(binding), why, "Invalid"),
                    }
                }
                if before != *object {
                    state.changed();
                }
                if policy.reinvoked {
                    state.asked(key);
                }
            }
        }
    }
    state.end(Some(object));
    let Some(first) = problems.first() else { return Ok(()) };
    let review = Review { call, operation, old };
    let mut error = super::super::forbidden(&review, object, "");
    error.message = first.message.clone();
    if !first.reason.is_empty() {
        error = error.verbatim(Reason::Forbidden.code(), first.reason);
    }
    let causes = problems.iter().map(|problem| problem.message.clone());
    error.causes = causes.map(|message| Cause { reason: String::new(), message, field: String::new() }).collect();
    Err(error)
}

/// One policy, with one set of parameters, at its work.
struct Turn<'a, 'b, 'c> {
    policy: &'a MutatingPolicy,
    review: &'a Review<'b, 'c>,
    version: usize,
    param: Option<&'a Value>,
}

impl Turn<'_, '_, '_> {
    fn about(&self) -> &Resource {
        self.review.call.entry.form(self.version)
    }

    /// The object in the version in which the policy wants it.
    fn seen(&self, object: &Value, side: Side) -> Value {
        shown(self.review.call, self.about(), object, side)
    }

    /// Evaluates something over the object.
    fn over<T>(
        &self,
        object: &Value,
        namespace: &Value,
        evaluate: impl FnOnce(&Inputs<'_>, &Value) -> Result<T, String>,
    ) -> Result<T, String> {
        let call = self.review.call;
        let (seen, old) = (self.seen(object, Side::New), self.review.old.map(|old| self.seen(old, Side::Old)));
        let request = hooks::request(self.review, Some(object), self.version);
        let asks = Asks::of(call, rules::name(call, Some(object)));
        let mut inputs = Inputs::new(Some(&seen), old.as_ref(), &request).with_variables(&self.policy.variables);
        inputs.namespace = namespace;
        inputs.asks = Some(asks.input());
        if let Some(param) = self.param {
            inputs.params = param;
        }
        evaluate(&inputs, &seen)
    }

    fn holds(&self, object: &Value) -> Result<bool, String> {
        if self.policy.conditions.is_empty() {
            return Ok(true);
        }
        let Review { call, operation, .. } = *self.review;
        // Conditions see no namespace, as upstream's.
        self.over(object, &NULL, |inputs, _| {
            self.policy.conditions.hold(call.core, operation, inputs, self.policy.fails)
        })
    }

    fn mutated(&self, mutation: &Mutation, object: &Value) -> Result<Value, String> {
        let namespace = namespace_object(self.review.call);
        let changed = self.over(object, &namespace, |inputs, seen| {
            let mut budget = Budget::new(MAX_REQUEST_COST);
            match mutation {
                Mutation::Apply(expression) => {
                    let value = expression.evaluate(inputs, &mut budget)??;
                    applied(self.about(), seen, &value)
                }
                Mutation::Patch(expression) => {
                    let value = expression.evaluate(inputs, &mut budget)??;
                    patched(seen, &value)
                }
            }
        })?;
        taken(self.review.call, self.about(), changed, self.review.old).map_err(|error| error.message)
    }
}

/// The object with an apply configuration merged in.
fn applied(about: &Resource, seen: &Value, configuration: &Val<'_>) -> Result<Value, String> {
    let Val::Struct(made) = configuration else {
        return Err("unsupported return type from ApplyConfiguration expression".to_owned());
    };
    check_names(made, "Object").map_err(|problem| format!("type mismatch: {problem}"))?;
    let mut wanted = configuration.to_json().ok_or("invalid return type")?;
    for field in ["apiVersion", "kind"] {
        wanted[field] = seen[field].clone();
    }
    let Some(schema) = &about.schema.0 else {
        return Err(format!("error applying patch: the type of {} is not known", about.kind));
    };
    let mut atomics = Vec::new();
    atomic(schema.typed(), &wanted, "", &mut atomics);
    if !atomics.is_empty() {
        return Err(format!(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
            atomics.join(", ")
        ));
    }
    typed::merge(schema.typed(), seen, &wanted)
        .map_err(|problems| format!("error applying patch: failed to merge patch: {problems}"))
}

/// Whether objects that an expression makes are of the types of the fields in which they stand.
fn check_names(made: &Struct<'_>, expected: &str) -> Result<(), String> {
    if *made.name != *expected {
        return Err(format!(
            "unexpected type name {:?}, expected {expected:?}, which matches field name path from root Object type",
            made.name
        ));
    }
    for (field, value) in &made.fields {
        check_value(value, &format!("{expected}.{field}"))?;
    }
    Ok(())
}

fn check_value(value: &Val<'_>, expected: &str) -> Result<(), String> {
    match value {
        Val::Struct(made) => check_names(made, expected),
        Val::Optional(Some(inner)) => check_value(inner, expected),
        Val::List(items) => items.iter().filter_map(Result::ok).try_for_each(|item| check_value(&item, expected)),
        _ => Ok(()),
    }
}

/// Paths of what can only be set as a whole, which would take away what is not named.
fn atomic(place: Typed<'_>, value: &Value, path: &str, found: &mut Vec<String>) {
    match (place.atom(Some(value)), value) {
        (Atom::Map(map), Value::Object(entries)) => {
            if map.atomic {
                found.push(path.to_owned());
            }
            for (key, value) in entries {
                // As upstream, only fields that the type names lead on.
                if let Step::Field(below) = map.step(key) {
                    atomic(below, value, &format!("{path}.{key}"), found);
                }
            }
        }
        (Atom::List(own), Value::Array(items)) => {
            if own.atomic {
                found.push(path.to_owned());
            }
            for (index, item) in items.iter().enumerate() {
                atomic(own.item, item, &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

/// The object with a JSON patch applied; as it was if a test in the patch fails.
fn patched(seen: &Value, patch: &Val<'_>) -> Result<Value, String> {
    let Val::List(_) = patch else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".to_owned());
    };
    let unwritable = "JSONPath valueExpression evaluated to a type that could not marshal to JSON";
    let mut patch = patch.to_json().ok_or(unwritable)?;
    for operation in patch.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if operation.get("from").is_some_and(|from| from == "") {
            operation.remove("from");
        }
    }
    match k8s_schema::json_patch(seen, &patch) {
        Ok(changed) => Ok(changed),
        Err(k8s_schema::PatchError::NotApplicable(why)) if why.starts_with("testing value ") => Ok(seen.clone()),
        Err(error) => Err(format!("JSON Patch: {error}")),
    }
}
