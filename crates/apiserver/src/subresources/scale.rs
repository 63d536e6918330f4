//! `scale`: the number of replicas of anything that has one, as `autoscaling/v1 Scale`.

use std::sync::Arc;

use k8s_apply::Managed;
use k8s_client::{Body, PatchType, Reply, Verb};
use k8s_kinds::columns;
use k8s_object::{ApiError, Object};
use k8s_schema::PatchError;
use serde_json::{Value, json};

use super::owners;
use crate::core::Call;
use crate::registry::Strategy;
use crate::update::ATTEMPTS;
use crate::{admission, apply, metadata, schema, update, write};

/// What a patch finds where a custom object has no replicas yet: it has to say how many (apiextensions `invalidSpecReplicas`).
const NONE_YET: i64 = i32::MIN as i64;

pub(super) async fn dispatch(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    if call.request.verb == Verb::Get {
        let current = call.current().await?;
        if let Some(path) = missing(call, &current.value_without_managed_fields()) {
            return Err(ApiError::internal(format!("the spec replicas field {path:?} does not exist")));
        }
        return Ok(Reply::Value(scale_of(call, &current)));
    }
    if call.builtin().is_none() && call.request.patch == Some(PatchType::Strategic) {
        return Err(schema::patch_error(PatchError::StrategicUnsupported));
    }
    if call.request.patch == Some(PatchType::Apply) {
        return apply_to(call, body).await;
    }
    let (given, _) = write::parse(body)?;
    let mut conditional = false;
    for _ in 0..ATTEMPTS {
        let old = call.current().await?;
        let current = scale_to_change(call, &old);
        let mut wanted = match (call.request.verb, call.request.patch) {
            (Verb::Update, _) => given.clone(),
            (_, Some(PatchType::Json)) => k8s_schema::json_patch(&current, &given).map_err(schema::patch_error)?,
            // A Scale has no lists, so a strategic merge is a merge.
            (_, Some(PatchType::Merge | PatchType::Strategic)) => {
                k8s_schema::merge_patch(&current, &given).map_err(schema::patch_error)?
            }
            _ => return Err(ApiError::internal("what is applied is no patch")),
        };
        call.admitted = false;
        admission::admit_below(call, ("autoscaling/v1", "Scale"), &mut wanted, Some(&current)).await?;
        let version = metadata::expected_version(&wanted);
        conditional |= !metadata::expected_version(&given).is_empty();
        if !version.is_empty() && version != old.meta().resource_version {
            return Err(call.resource.conflict(&call.request.name, update::MODIFIED));
        }
        let owners = owners::after_update(call, &old, &current, &wanted);
        if let Some(reply) = set(call, &old, &wanted, owners).await? {
            return Ok(reply);
        }
        if conditional {
            break;
        }
    }
    Err(call.resource.conflict(&call.request.name, update::MODIFIED))
}

/// Writes what a `Scale` says into the object. `None` when somebody else was faster.
async fn set(
    call: &mut Call<'_>,
    old: &Arc<Object>,
    wanted: &Value,
    owners: Managed,
) -> Result<Option<Reply>, ApiError> {
    owners::check_types(call, wanted)?;
    let mut new = old.value_without_managed_fields();
    let replicas = wanted["spec"]["replicas"].as_i64().unwrap_or(0);
    if replicas == NONE_YET
        && let Some(path) = missing(call, &new)
    {
        return Err(ApiError::bad_request(format!("the spec replicas field {path:?} cannot be empty")));
    }
    if replicas < 0 && call.builtin().is_some() {
        let cause = k8s_kinds::causes::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
        return Err(ApiError::invalid("autoscaling", "Scale", &call.request.name, vec![cause]));
    }
    set_replicas(call, &mut new, replicas);
    let subresource = std::mem::take(&mut call.request.subresource);
    let written = update::replace_owned(call, old, new, Some(owners)).await;
    call.request.subresource = subresource;
    Ok(written?.map(|object| Reply::Value(scale_of(call, &object))))
}

/// Applies a `Scale`.
async fn apply_to(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    let config = apply::read(body)?;
    apply::check_kind(&config.value, "autoscaling/v1", "Scale")?;
    for _ in 0..ATTEMPTS {
        let old = call.current().await?;
        let current = scale_to_change(call, &old);
        let (wanted, owners) = owners::after_apply(call, &old, &current, &config.value)?;
        apply::tell(call, &config)?;
        let mut wanted = wanted.unwrap_or_else(|| current.clone());
        call.admitted = false;
        admission::admit_below(call, ("autoscaling/v1", "Scale"), &mut wanted, Some(&current)).await?;
        let version = metadata::expected_version(&wanted);
        if !version.is_empty() && version != old.meta().resource_version {
            return Err(call.resource.conflict(&call.request.name, update::MODIFIED));
        }
        if let Some(reply) = set(call, &old, &wanted, owners).await? {
            return Ok(reply);
        }
    }
    Err(call.resource.conflict(&call.request.name, update::MODIFIED))
}

/// Where a custom object should have its replicas and has none.
fn missing(call: &Call<'_>, object: &Value) -> Option<String> {
    let Strategy::Custom(custom) = &call.resource.strategy else { return None };
    let path = &custom.scale.as_ref()?.spec;
    at(object, path).is_null().then(|| format!(".{}", path.join(".")))
}

fn at<'a>(value: &'a Value, path: &[String]) -> &'a Value {
    path.iter().fold(value, |value, name| &value[name.as_str()])
}

/// The `Scale` as whoever changes it finds it.
fn scale_to_change(call: &Call<'_>, object: &Object) -> Value {
    let mut scale = scale_of(call, object);
    if missing(call, &object.value_without_managed_fields()).is_some() {
        scale["spec"]["replicas"] = json!(NONE_YET);
    }
    scale
}

fn scale_of(call: &Call<'_>, object: &Object) -> Value {
    let value = object.value_without_managed_fields();
    let meta = object.meta();
    let (wanted, running, selector) = match &call.resource.strategy {
        Strategy::Custom(custom) => match &custom.scale {
            Some(scale) => {
                let selector = scale.selector.as_ref().map(|path| at(&value, path).as_str().unwrap_or("").to_owned());
                (at(&value, &scale.spec).clone(), at(&value, &scale.status).clone(), selector.unwrap_or_default())
            }
            None => Default::default(),
        },
        Strategy::Builtin(_) => (
            value["spec"]["replicas"].clone(),
            value["status"]["replicas"].clone(),
            selector_text(&value["spec"]["selector"]),
        ),
    };
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": meta.name, "namespace": meta.namespace, "uid": meta.uid,
            "resourceVersion": meta.resource_version, "creationTimestamp": meta.creation_timestamp,
        },
        "spec": {},
        "status": {"replicas": running.as_i64().unwrap_or(0)},
    });
    // None at all are not written.
    if let Some(wanted) = wanted.as_i64().filter(|wanted| *wanted != 0) {
        scale["spec"]["replicas"] = json!(wanted);
    }
    if !selector.is_empty() {
        scale["status"]["selector"] = json!(selector);
    }
    scale
}

fn set_replicas(call: &Call<'_>, object: &mut Value, replicas: i64) {
    match &call.resource.strategy {
        Strategy::Builtin(_) => object["spec"]["replicas"] = json!(replicas),
        Strategy::Custom(custom) => {
            if let Some(scale) = &custom.scale {
                let mut place = object;
                for name in &scale.spec {
                    if !place.is_object() {
                        *place = json!({});
                    }
                    place = &mut place[name.as_str()];
                }
                *place = json!(replicas);
            }
        }
    }
}

/// A structured selector in its text form.
fn selector_text(selector: &Value) -> String {
    // ReplicationControllers select by a plain map of labels.
    let plain =
        selector.as_object().filter(|map| !map.contains_key("matchLabels") && !map.contains_key("matchExpressions"));
    if let Some(map) = plain {
        let pairs: Vec<String> =
            map.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or(""))).collect();
        return pairs.join(",");
    }
    columns::selector_text(selector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_written_as_text() {
        let cases = [
            (json!({"matchLabels": {"a": "b", "c": "d"}}), "a=b,c=d"),
            (json!({"app": "web"}), "app=web"),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["x", "y"]}, {"key": "b", "operator": "Exists"}]}),
                "a in (x,y),b",
            ),
            (
                json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}),
                "a=b,a in (b)",
            ),
            (Value::Null, ""),
        ];
        for (selector, text) in cases {
            assert_eq!(selector_text(&selector), text, "{selector}");
        }
    }
}
