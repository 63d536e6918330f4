//! Objects of a custom resource in the version that is asked for, where a webhook knows how (apiextensions
//! `webhook_converter.go`).

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use k8s_object::{ApiError, Object};
use serde_json::{Map, Value, json};

use super::custom;
use crate::core::{Core, in_version};
use crate::registry::Resource;
use crate::webhook::Client;

/// How long a conversion may take (apiserver's webhook client).
const TIMEOUT: Duration = Duration::from_secs(30);
const GROUP: &str = "apiextensions.k8s.io";
const KIND: &str = "ConversionReview";
/// Objects that one review carries: a list is converted in pieces, none of which is too large for a request.
const BATCH: usize = 500;

/// Who converts the objects of a definition.
pub(crate) struct Webhook {
    /// `clientConfig` of the definition.
    config: Value,
    /// The first version of reviews that both sides know.
    review: &'static str,
    /// Made when it is needed first: what it is made of can be wrong.
    client: OnceLock<Result<Client, String>>,
}

impl Webhook {
    /// Of `spec.conversion`; `None` where only `apiVersion` differs between versions.
    pub(crate) fn of(conversion: &Value) -> Option<Webhook> {
        if conversion["strategy"] != "Webhook" {
            return None;
        }
        let webhook = &conversion["webhook"];
        let known = webhook["conversionReviewVersions"].as_array().into_iter().flatten();
        let review = known.filter_map(|version| match version.as_str() {
            Some("v1") => Some("v1"),
            Some("v1beta1") => Some("v1beta1"),
            _ => None,
        });
        let review = review.into_iter().next().unwrap_or("v1");
        Some(Webhook { config: webhook["clientConfig"].clone(), review, client: OnceLock::new() })
    }

    fn client(&self, core: &Core) -> Result<&Client, String> {
        let client =
            self.client.get_or_init(|| Client::of_client_config(core, &self.config).map_err(|error| error.to_string()));
        client.as_ref().map_err(Clone::clone)
    }

    /// The objects in version `to`, in the same order. `from` is what messages name.
    async fn convert(&self, core: &Core, objects: &[Value], from: &str, to: &str) -> Result<Vec<Value>, String> {
        let failed = |why: String| format!("conversion webhook for {from} failed: {why}");
        let uid = core.world.uuid();
        let review = json!({
            "apiVersion": format!("{GROUP}/{}", self.review), "kind": KIND,
            "request": {"uid": uid, "desiredAPIVersion": to, "objects": objects},
        });
        let client = self.client(core).map_err(failed)?;
        let body = Bytes::from(review.to_string());
        let answer = client.post(core, body, TIMEOUT).await.map_err(|error| failed(error.to_string()))?;
        if let Some(error) = answer.failure() {
            return Err(failed(error.message));
        }
        let mut review: Value = serde_json::from_slice(&answer.body).map_err(|error| failed(error.to_string()))?;
        let converted = self.judge(&mut review, &uid).map_err(failed)?;
        if converted.len() != objects.len() {
            let (got, expected) = (converted.len(), objects.len());
            return Err(format!("conversion webhook for {from} returned {got} objects, expected {expected}"));
        }
        let pairs = objects.iter().zip(converted).enumerate();
        let restored = pairs.map(|(index, (original, converted))| {
            restore(original, converted, to).map_err(|why| {
                format!("conversion webhook for {from} returned invalid converted object at index {index}: {why}")
            })
        });
        restored.collect()
    }

    /// The objects in an answer.
    fn judge(&self, review: &mut Value, uid: &str) -> Result<Vec<Value>, String> {
        let version = format!("{GROUP}/{}", self.review);
        // v1beta1 is taken as it comes, as it always was.
        if self.review == "v1" && (review["apiVersion"] != version || review["kind"] != KIND) {
            let got = format!("{}, Kind={}", text(&review["apiVersion"]), text(&review["kind"]));
            return Err(format!("expected webhook response of {version}, Kind={KIND}, got {got}"));
        }
        let response = &mut review["response"];
        if !response.is_object() {
            return Err("no response provided".to_owned());
        }
        if self.review == "v1" && response["uid"] != uid {
            return Err(format!("expected response.uid={uid:?}, got {:?}", text(&response["uid"])));
        }
        match (text(&response["result"]["status"]), text(&response["result"]["message"])) {
            ("Success", _) => {}
            (status, "") => return Err(format!("response.result.status was '{status}', not 'Success'")),
            (_, message) => return Err(message.to_owned()),
        }
        match response["convertedObjects"].take() {
            Value::Array(objects) => Ok(objects),
            _ => Ok(Vec::new()),
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// A converted object with the metadata of the original: a webhook may change labels and annotations and nothing else of it.
fn restore(original: &Value, mut converted: Value, to: &str) -> Result<Value, String> {
    if converted["apiVersion"] != to {
        return Err(format!("invalid groupVersion (expected {to}, received {})", text(&converted["apiVersion"])));
    }
    for (what, pointer) in
        [("kind", "/kind"), ("name", "/metadata/name"), ("namespace", "/metadata/namespace"), ("UID", "/metadata/uid")]
    {
        let of = |object: &Value| text(object.pointer(pointer).unwrap_or(&Value::Null)).to_owned();
        let (expected, got) = (of(original), of(&converted));
        if expected != got {
            return Err(format!("must have the same {what}: {expected} != {got}"));
        }
    }
    let Some(given) = converted["metadata"].as_object_mut() else {
        return Err("missing metadata in converted object".to_owned());
    };
    let mut metadata: Map<String, Value> = original["metadata"].as_object().cloned().unwrap_or_default();
    for key in ["labels", "annotations"] {
        match given.remove(key) {
            Some(Value::Object(map)) if map.values().all(Value::is_string) => {
                metadata.insert(key.to_owned(), Value::Object(map));
            }
            None | Some(Value::Null) => {
                metadata.remove(key);
            }
            Some(_) => return Err(format!("invalid metadata.{key} in converted object: it must be a map of strings")),
        }
    }
    converted["metadata"] = Value::Object(metadata);
    Ok(converted)
}

/// Objects, as the store or a client has them, in the version of `resource`.
///
/// # Errors
/// 500 with what went wrong, where a webhook had to be asked.
pub(crate) async fn objects(
    core: &Core,
    resource: &Resource,
    mut objects: Vec<Arc<Object>>,
) -> Result<Vec<Arc<Object>>, ApiError> {
    let Some(webhook) = custom(resource).and_then(|custom| custom.conversion.as_ref()) else {
        return Ok(objects.into_iter().map(|object| in_version(resource, object)).collect());
    };
    let other: Vec<usize> =
        (0..objects.len()).filter(|index| objects[*index].kind().version != resource.version).collect();
    for batch in other.chunks(BATCH) {
        let values: Vec<Value> = batch.iter().map(|index| objects[*index].value()).collect();
        let from = describe(&values[0]);
        let converted = webhook.convert(core, &values, &from, &resource.api_version()).await;
        for (index, mut value) in batch.iter().zip(converted.map_err(ApiError::internal)?) {
            fit(resource, &mut value)?;
            objects[*index] = Arc::new(Object::from_value(&value).map_err(ApiError::internal)?);
        }
    }
    Ok(objects)
}

/// As [`objects`], one of them.
pub(crate) async fn object(core: &Core, resource: &Resource, one: Arc<Object>) -> Result<Arc<Object>, ApiError> {
    if custom(resource).is_none_or(|custom| custom.conversion.is_none()) {
        return Ok(in_version(resource, one));
    }
    let mut converted = objects(core, resource, vec![one]).await?;
    converted.pop().ok_or_else(|| ApiError::internal("a conversion lost its object"))
}

/// Brings an object that is about to be stored into the storage version, where a webhook must.
///
/// # Errors
/// 500 with what went wrong.
pub(crate) async fn value(core: &Core, resource: &Resource, object: &mut Value) -> Result<(), ApiError> {
    let to = resource.api_version();
    if object["apiVersion"] == to {
        return Ok(());
    }
    let Some(webhook) = custom(resource).and_then(|custom| custom.conversion.as_ref()) else {
        if super::differs(resource) {
            to_version(resource, object);
        }
        return Ok(());
    };
    let from = describe(object);
    let converted = webhook.convert(core, std::slice::from_ref(object), &from, &to).await;
    *object = converted.map_err(ApiError::internal)?.pop().unwrap_or_default();
    fit(resource, object)
}

/// An object in the version of a resource where only the schemas differ: what that one does not know goes.
pub(crate) fn to_version(resource: &Resource, object: &mut Value) {
    object["apiVersion"] = resource.api_version().into();
    resource.schema.prune(object);
    resource.schema.drop_nulls(object);
}

/// What a webhook made, without what the schema of its version does not know.
fn fit(resource: &Resource, object: &mut Value) -> Result<(), ApiError> {
    resource.schema.prune(object);
    resource.schema.drop_nulls(object);
    resource.schema.coerce_embedded(object).map_err(|error| ApiError::internal(error.to_string()))
}

/// `example.com/v1, Kind=Widget`
fn describe(object: &Value) -> String {
    format!("{}, Kind={}", text(&object["apiVersion"]), text(&object["kind"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(versions: &[&str]) -> Webhook {
        let conversion = json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": versions}});
        Webhook::of(&conversion).unwrap()
    }

    #[test]
    fn the_first_review_version_that_is_known_counts() {
        assert_eq!(webhook(&["v3", "v1beta1", "v1"]).review, "v1beta1");
        assert_eq!(webhook(&["v1"]).review, "v1");
        assert!(Webhook::of(&json!({"strategy": "None"})).is_none());
    }

    #[test]
    fn answers_that_are_not_to_this_request_are_refused() {
        let good = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "response": {"uid": "u", "result": {"status": "Success"}, "convertedObjects": [{}]},
        });
        let with = |pointer: &str, value: Value| {
            let mut review = good.clone();
            *review.pointer_mut(pointer).unwrap() = value;
            review
        };
        let cases = [
            (good.clone(), Ok(1)),
            (with("/kind", json!("Review")), Err("expected webhook response of")),
            (with("/response", Value::Null), Err("no response provided")),
            (with("/response/uid", json!("v")), Err(r#"expected response.uid="u", got "v""#)),
            (with("/response/result", json!({"status": "Failure"})), Err("response.result.status was 'Failure'")),
            (with("/response/result", json!({"status": "Failure", "message": "no"})), Err("no")),
        ];
        for (mut review, expected) in cases {
            let found = webhook(&["v1"]).judge(&mut review, "u").map(|objects| objects.len());
            match expected {
                Ok(count) => assert_eq!(found, Ok(count)),
                Err(part) => assert!(found.as_ref().is_err_and(|why| why.contains(part)), "{found:?}"),
            }
        }
    }

    #[test]
    fn only_labels_and_annotations_of_the_metadata_may_change() {
        let original = json!({
            "apiVersion": "e.com/v1", "kind": "W",
            "metadata": {"name": "a", "uid": "u", "finalizers": ["f"], "labels": {"x": "1"}}, "spec": {"a": 1},
        });
        let converted = json!({
            "apiVersion": "e.com/v2", "kind": "W",
            "metadata": {"name": "a", "uid": "u", "annotations": {"y": "2"}, "finalizers": []}, "spec": {"b": 1},
        });
        let restored = restore(&original, converted.clone(), "e.com/v2").unwrap();
        assert_eq!(
            restored["metadata"],
            json!({"name": "a", "uid": "u", "finalizers": ["f"], "annotations": {"y": "2"}})
        );
        for (pointer, value) in [
            ("/apiVersion", json!("e.com/v3")),
            ("/kind", json!("V")),
            ("/metadata/name", json!("b")),
            ("/metadata/uid", json!("w")),
            ("/metadata/annotations", json!({"y": 2})),
            ("/metadata", Value::Null),
        ] {
            let mut wrong = converted.clone();
            *wrong.pointer_mut(pointer).unwrap() = value;
            assert!(restore(&original, wrong, "e.com/v2").is_err(), "{pointer}");
        }
    }
}
