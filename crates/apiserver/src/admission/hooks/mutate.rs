//! MutatingAdmissionWebhook: one after the other, each sees what those before it have changed; who wants to is asked once more when
//! something changed after it.

use k8s_object::ApiError;
use serde_json::{Value, json};

use super::super::reinvocation::Reinvocation;
use super::super::{Review, Said, Side, shown, taken};
use super::ask::{Failure, ask};
use super::compiled::{Hook, Hooks};
use super::measure;
use crate::core::Call;
use crate::schema;

/// Configuration and place of a webhook.
pub(in super::super) type Key = (String, usize);

/// Lets webhooks change an object. There is none on delete and connect, where a patch is an error.
pub(in super::super) async fn mutate(
    hooks: &Hooks,
    call: &mut Call<'_>,
    operation: super::super::Operation,
    mut object: Option<&mut Value>,
    old: Option<&Value>,
    state: &mut Reinvocation<Key>,
) -> Result<(), ApiError> {
    for (index, hook) in hooks.iter().enumerate() {
        let review = Review { call, operation, old };
        let Some(version) = hook.wants(&review, object.as_deref()).await? else { continue };
        let key: Key = (hook.configuration.clone(), hook.index);
        if !state.is_turn(&key) {
            continue;
        }
        let began = call.core.world.elapsed();
        let answer = ask(hook, &review, object.as_deref(), version, true).await;
        let round = state.round();
        let mut said = Said::default();
        let changed = match answer {
            Ok(allowed) => {
                call.say(allowed.said);
                let changed = apply(call, hook, object.as_deref_mut(), old, version, &allowed.patch);
                if changed.is_ok() && call.audit.has_objects() && !is_empty(&allowed.patch) {
                    said.annotations.push(patched(hook, round, index, &allowed.patch));
                }
                changed
            }
            Err(Failure::Rejected(error, own)) => {
                call.say(*own);
                Err(Failure::Rejected(error, Box::default()))
            }
            Err(failure) => Err(failure),
        };
        let took = call.core.world.elapsed().saturating_sub(began);
        measure::observe(call.core, hook, "admit", operation, took, changed.as_ref().err());
        note(&mut said, hook, round, index, matches!(changed, Ok(true)));
        match changed {
            Ok(true) => state.changed(),
            Ok(false) => {}
            Err(failure) => match failure.told(hook) {
                Some(error) => {
                    call.say(said);
                    return Err(error);
                }
                None => {
                    let key = format!("failed-open.mutation.webhook.admission.k8s.io/round_{round}_index_{index}");
                    said.annotations.push((key, hook.name.clone()));
                }
            },
        }
        call.say(said);
        if hook.reinvoked {
            state.asked(key);
        }
    }
    state.end(object.as_deref());
    Ok(())
}

/// Whether somebody has changed the object.
fn note(said: &mut Said, hook: &Hook, round: usize, index: usize, mutated: bool) {
    let value = format!(r#"{{{},"mutated":{mutated}}}"#, who(hook));
    said.annotations.push((format!("mutation.webhook.admission.k8s.io/round_{round}_index_{index}"), value));
}

/// What somebody has answered to change the object.
fn patched(hook: &Hook, round: usize, index: usize, patch: &Value) -> (String, String) {
    let value = format!(r#"{{{},"patch":{patch},"patchType":"JSONPatch"}}"#, who(hook));
    let value = String::from_utf8(k8s_object::escaped(value.into_bytes())).unwrap_or_default();
    (format!("patch.webhook.admission.k8s.io/round_{round}_index_{index}"), value)
}

/// In upstream's order of fields.
fn who(hook: &Hook) -> String {
    format!(r#""configuration":{},"webhook":{}"#, json!(hook.configuration), json!(hook.name))
}

fn is_empty(patch: &Value) -> bool {
    patch.as_array().is_none_or(Vec::is_empty)
}

/// Applies a patch to the object in the version that the webhook saw; whether that changed it.
fn apply(
    call: &Call<'_>,
    hook: &Hook,
    object: Option<&mut Value>,
    old: Option<&Value>,
    version: usize,
    patch: &Value,
) -> Result<bool, Failure> {
    if is_empty(patch) {
        return Ok(false);
    }
    let internal = |error: &dyn std::fmt::Display| Failure::Other(ApiError::internal(error));
    let Some(object) = object else {
        return Err(internal(&format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            hook.name
        )));
    };
    let is_own = object["kind"] == call.resource.kind.as_str();
    let about = call.entry.form(version);
    let seen = shown(call, about, object, Side::New);
    let patched =
        k8s_schema::json_patch(&seen, patch).map_err(|error| internal(&schema::patch_error(error).message))?;
    if patched == seen {
        return Ok(false);
    }
    if !is_own {
        *object = patched;
        return Ok(true);
    }
    let patched = taken(call, about, patched, old).map_err(|error| internal(&error.message))?;
    let changed = patched != *object;
    *object = patched;
    Ok(changed)
}
