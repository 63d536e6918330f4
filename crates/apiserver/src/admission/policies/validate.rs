//! ValidatingAdmissionPolicy: what its rules say about a request is refused, warned about or noted, as its bindings want it.

use std::collections::BTreeMap;
use std::time::Duration;

use cel::{Budget, MAX_REQUEST_COST, Val};
use k8s_object::{ApiError, Cause, Reason};
use serde_json::{Value, json};

use super::super::checks::Asks;
use super::super::expressions::{Expression, Inputs, namespace_object};
use super::super::{Review, Said, Side, hooks, rules, shown};
use super::compiled::{Binding, Policy, Validation};
use super::measure::{self, Action};
use super::params;

/// Bytes of a message that an expression makes; a longer one is not used.
const MAX_MESSAGE_BYTES: usize = 5 * 1024;
/// Bytes of the value of an audit annotation.
const MAX_ANNOTATION_BYTES: usize = 10 * 1024;

/// Why a request is denied.
struct Denial {
    message: String,
    reason: String,
}

/// What one rule says.
enum Verdict {
    Admitted,
    /// It could not be evaluated, which does not matter.
    Ignored(String),
    Denied(Denial),
}

/// What a policy says, with one set of parameters.
#[derive(Default)]
struct Opinion {
    /// With the time that each took.
    verdicts: Vec<(Verdict, Duration)>,
    annotations: Vec<(String, String)>,
    /// Annotations that have no value, which denies the request.
    failed: Vec<String>,
}

/// Judges by all policies and their bindings. What is denied is told about the first denial.
pub(in super::super) fn validate<'p>(
    policies: impl IntoIterator<Item = &'p Policy>,
    bindings: &[&Binding],
    review: &Review<'_, '_>,
    object: Option<&Value>,
) -> (Said, Result<(), ApiError>) {
    let mut said = Said::default();
    let mut denied: Option<(String, Denial)> = None;
    let mut deny = |policy: &Policy, binding: Option<&Binding>, denial: Denial| {
        let who = match binding {
            Some(binding) => format!("ValidatingAdmissionPolicy '{}' with binding '{}'", policy.name, binding.name),
            None => format!("ValidatingAdmissionPolicy '{}'", policy.name),
        };
        denied.get_or_insert((who, denial));
    };
    let configuration = |problem: String, what: &str| Denial {
        message: format!("failed to configure {what}: {problem}"),
        reason: String::new(),
    };
    for policy in policies {
        let version = match policy.constraints.met(review, object) {
            Ok(Some(version)) => version,
            Ok(None) => continue,
            Err(problem) => {
                if policy.fails {
                    deny(policy, None, configuration(problem, "policy"));
                }
                continue;
            }
        };
        let resource = match params::resource(review.call, policy.params.as_ref()) {
            Ok(resource) => resource,
            Err(problem) => {
                if policy.fails {
                    deny(policy, None, configuration(problem, "policy"));
                }
                continue;
            }
        };
        let mut annotations = BTreeMap::<String, Vec<String>>::new();
        for binding in bindings.iter().filter(|binding| binding.policy == policy.name) {
            let met = match &binding.constraints {
                Some(constraints) => constraints.met(review, object).map(|met| met.is_some()),
                None => Ok(true),
            };
            let found = match met {
                Ok(false) => continue,
                Ok(true) => params::collect(review.call, resource.as_ref(), binding),
                Err(problem) => Err(problem),
            };
            let found = match found {
                Ok(found) => found,
                Err(problem) => {
                    if policy.fails {
                        deny(policy, Some(binding), configuration(problem, "binding"));
                    }
                    continue;
                }
            };
            for param in found {
                let param = param.map(|param| param.value());
                let opinion = opinion(policy, review, object, version, param.as_ref());
                let core = review.call.core;
                for (index, (verdict, took)) in opinion.verdicts.into_iter().enumerate() {
                    let count = |action, message: &str| {
                        measure::validated(core, &policy.name, binding, action, message, took);
                    };
                    let denial = match verdict {
                        Verdict::Admitted => continue,
                        Verdict::Ignored(message) => {
                            count(Action::Allow, &message);
                            continue;
                        }
                        Verdict::Denied(denial) => denial,
                    };
                    if binding.audits {
                        count(Action::Audit, &denial.message);
                        said.annotations.push(noted(policy, binding, index, &denial.message));
                    }
                    if binding.warns {
                        count(Action::Warn, &denial.message);
                        said.warnings.push(format!(
                            "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                            policy.name, binding.name, denial.message
                        ));
                    }
                    if binding.denies {
                        count(Action::Deny, &denial.message);
                        deny(policy, Some(binding), denial);
                    }
                }
                for (key, value) in opinion.annotations {
                    let values = annotations.entry(key).or_default();
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
                for message in opinion.failed {
                    measure::validated(core, &policy.name, binding, Action::Deny, &message, Duration::ZERO);
                    deny(policy, Some(binding), Denial { message, reason: String::new() });
                }
            }
        }
        let named = annotations.into_iter().map(|(key, values)| (format!("{}/{key}", policy.name), values.join(", ")));
        said.annotations.extend(named);
    }
    (said, denied.map_or(Ok(()), |(who, denial)| Err(refusal(review, object, &who, denial))))
}

/// The audit annotation of a rule that was not met.
fn noted(policy: &Policy, binding: &Binding, index: usize, message: &str) -> (String, String) {
    // In upstream's order of fields.
    let [message, name, bound, actions] =
        [json!(message), json!(policy.name), json!(binding.name), json!(binding.actions)];
    let value = format!(
        r#"[{{"message":{message},"policy":{name},"binding":{bound},"expressionIndex":{index},"validationActions":{actions}}}]"#
    );
    let value = String::from_utf8(k8s_object::escaped(value.into_bytes())).unwrap_or_default();
    ("validation.policy.admission.k8s.io/validation_failure".to_owned(), value)
}

fn refusal(review: &Review<'_, '_>, object: Option<&Value>, who: &str, denial: Denial) -> ApiError {
    let message = format!("{who} denied request: {}", denial.message);
    let mut error = super::super::forbidden(review, object.or(review.old).unwrap_or(&Value::Null), &message);
    error.reason = match denial.reason.as_str() {
        "Forbidden" => Reason::Forbidden,
        "RequestEntityTooLarge" => Reason::RequestEntityTooLarge,
        "Unauthorized" => Reason::Unauthorized,
        _ => Reason::Invalid,
    };
    error.causes.push(Cause { reason: String::new(), message, field: String::new() });
    error
}

/// Which expression of a policy looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sees {
    Condition,
    Rule,
    /// A message or an annotation.
    Telling,
}

fn opinion(
    policy: &Policy,
    review: &Review<'_, '_>,
    object: Option<&Value>,
    version: usize,
    param: Option<&Value>,
) -> Opinion {
    let call = review.call;
    let about = call.entry.form(version);
    let seen = |object: Option<&Value>, side| object.map(|object| shown(call, about, object, side));
    let (new, old) = (seen(object, Side::New), seen(review.old, Side::Old));
    let request = hooks::request(review, object, version);
    let namespace = namespace_object(call);
    let asks = Asks::of(call, rules::name(call, object.or(review.old)));
    let inputs = |sees: Sees| {
        let mut inputs = Inputs::new(new.as_ref(), old.as_ref(), &request).with_variables(&policy.variables);
        // As upstream, what is no rule sees less than its environment declares.
        if sees != Sees::Condition {
            inputs.namespace = &namespace;
        }
        if sees != Sees::Telling {
            inputs.asks = Some(asks.input());
        }
        if let Some(param) = param {
            inputs.params = param;
        }
        inputs
    };
    let failed = |message: String| match policy.fails {
        true => Verdict::Denied(Denial { message, reason: String::new() }),
        false => Verdict::Ignored(message),
    };
    let one = |verdict| Opinion { verdicts: vec![(verdict, Duration::ZERO)], ..Opinion::default() };
    match policy.conditions.hold(call.core, review.operation, &inputs(Sees::Condition), policy.fails) {
        Ok(true) => {}
        Ok(false) => return Opinion::default(),
        Err(problem) => return one(failed(problem)),
    }
    let world = &call.core.world;
    let mut budget = Budget::new(MAX_REQUEST_COST);
    let rules = inputs(Sees::Rule);
    let mut held = Vec::with_capacity(policy.validations.len());
    for validation in &policy.validations {
        let began = world.elapsed();
        match validation.rule.evaluate(&rules, &mut budget) {
            Err(problem) => return one(failed(problem)),
            Ok(value) => {
                let took = world.elapsed().saturating_sub(began);
                held.push((value.map(|value| value.as_bool() == Some(true)), took));
            }
        }
    }
    let mut opinion = Opinion::default();
    let telling = inputs(Sees::Telling);
    for (validation, (held, took)) in policy.validations.iter().zip(held) {
        let verdict = match held {
            Err(problem) => failed(problem),
            Ok(true) => Verdict::Admitted,
            Ok(false) => match message(validation, &telling, &mut budget) {
                Ok(message) => Verdict::Denied(Denial { message, reason: validation.reason.clone() }),
                Err(problem) => failed(format!("failed messageExpression: {problem}")),
            },
        };
        opinion.verdicts.push((verdict, took));
    }
    let mut budget = Budget::new(MAX_REQUEST_COST);
    let telling = inputs(Sees::Telling);
    for (key, expression) in &policy.annotations {
        match annotation(expression, &telling, &mut budget) {
            Err(problem) => return one(failed(problem)),
            Ok(Ok(Some(value))) => opinion.annotations.push((key.clone(), value)),
            Ok(Ok(None)) => {}
            Ok(Err(problem)) if policy.fails => opinion.failed.push(problem),
            Ok(Err(_)) => {}
        }
    }
    opinion
}

/// What is told about a rule that is not met. The error is that nothing is left to spend.
fn message(validation: &Validation, inputs: &Inputs<'_>, budget: &mut Budget) -> Result<String, String> {
    if let Some(expression) = &validation.message_expression
        && let Ok(value) = expression.evaluate(inputs, budget)?
        && let Some(text) = value.as_str().map(str::trim)
        && !text.is_empty()
        && text.len() <= MAX_MESSAGE_BYTES
        && !text.contains('\n')
    {
        return Ok(text.to_owned());
    }
    Ok(match validation.message.trim() {
        "" => format!("failed expression: {}", validation.rule.text.trim()),
        own => own.to_owned(),
    })
}

type Outcome<T> = Result<Result<T, String>, String>;

/// The value of an audit annotation; none where the expression has none.
fn annotation(expression: &Expression, inputs: &Inputs<'_>, budget: &mut Budget) -> Outcome<Option<String>> {
    let value = match expression.evaluate(inputs, budget)? {
        Ok(value) => value,
        Err(problem) => return Ok(Err(problem)),
    };
    Ok(match &value {
        Val::Null => Ok(None),
        Val::String(text) => {
            let text = text.as_str().trim();
            let mut end = text.len().min(MAX_ANNOTATION_BYTES);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            Ok(Some(text[..end].to_owned()).filter(|text| !text.is_empty()))
        }
        _ => Err(format!(
            "valueExpression '{}' resulted in unsupported return type. Return type must be either string or null.",
            expression.text
        )),
    })
}
