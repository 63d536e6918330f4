//! MutatingAdmissionWebhook: one after the other, each sees what those before it have changed; who wants to is asked once more when
//! something changed after it.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_object::ApiError;
use serde_json::{Value, json};

use super::super::{Review, Said};
use super::ask::{Failure, ask};
use super::compiled::{Hook, Hooks};
use crate::core::{Call, converted};
use crate::{metadata, schema, write};

type Key = (String, usize);

/// What the second round needs to know of the first.
#[derive(Default)]
pub(in super::super) struct Reinvocation {
    second: bool,
    /// Those that were asked and want to be asked again should anything change.
    asked: BTreeSet<Key>,
    again: BTreeSet<Key>,
    /// The object as webhooks left it.
    last: Option<Value>,
    /// Whether the object was changed, so that there is a second round.
    pub needed: bool,
}

impl Reinvocation {
    /// Begins the second round.
    pub(in super::super) fn second(&mut self) {
        self.second = true;
    }

    fn ask_again(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        self.again.extend(asked);
    }
}

/// Lets webhooks change an object. There is none on delete and connect, where a patch is an error.
pub(in super::super) async fn mutate(
    hooks: &Hooks,
    call: &mut Call<'_>,
    operation: super::super::Operation,
    mut object: Option<&mut Value>,
    old: Option<&Value>,
    state: &mut Reinvocation,
) -> Result<(), ApiError> {
    if state.second && object.as_deref() != state.last.as_ref() {
        state.ask_again();
    }
    for (index, hook) in hooks.iter().enumerate() {
        let review = Review { call, operation, old };
        let Some(version) = hook.wants(&review, object.as_deref())? else { continue };
        let key: Key = (hook.configuration.clone(), hook.index);
        if state.second && !state.again.contains(&key) {
            continue;
        }
        let answer = ask(hook, &review, object.as_deref(), version, true).await;
        let round = usize::from(state.second);
        let changed = match answer {
            Ok(allowed) => {
                call.say(allowed.said);
                apply(call, hook, object.as_deref_mut(), old, version, &allowed.patch)
            }
            Err(failure) => Err(failure),
        };
        let mut said = Said::default();
        note(&mut said, hook, round, index, matches!(changed, Ok(true)));
        match changed {
            Ok(true) => {
                state.ask_again();
                state.needed = true;
            }
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
            state.asked.insert(key);
        }
    }
    state.last = object.as_deref().filter(|_| state.needed).cloned();
    Ok(())
}

fn note(said: &mut Said, hook: &Arc<Hook>, round: usize, index: usize, mutated: bool) {
    let value = json!({"configuration": hook.configuration, "webhook": hook.name, "mutated": mutated});
    let key = format!("mutation.webhook.admission.k8s.io/round_{round}_index_{index}");
    said.annotations.push((key, value.to_string()));
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
    if patch.as_array().is_none_or(Vec::is_empty) {
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
    let about = &call.entry.versions[version];
    let seen = match is_own {
        true => converted(&call.resource, about, object.clone()),
        false => object.clone(),
    };
    let patched =
        k8s_schema::json_patch(&seen, patch).map_err(|error| internal(&schema::patch_error(error).message))?;
    if patched == seen {
        return Ok(false);
    }
    if !is_own {
        *object = patched;
        return Ok(true);
    }
    let mut patched = converted(about, &call.resource, patched);
    metadata::of(&mut patched).map_err(|error| internal(&error.message))?;
    call.resource.schema.prune(&mut patched);
    let (kind, api) = (&call.resource.kind, &call.resource.version);
    call.resource.schema.check_types(&patched, kind, api).map_err(|error| internal(&error.message))?;
    call.resource.schema.drop_nulls(&mut patched);
    metadata::tidy(metadata::of(&mut patched).map_err(|error| internal(&error.message))?);
    write::default(call, &mut patched, old);
    let changed = patched != *object;
    *object = patched;
    Ok(changed)
}
