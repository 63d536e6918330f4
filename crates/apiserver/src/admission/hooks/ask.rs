//! One question to one webhook: an AdmissionReview there and back.

use base64::Engine;
use bytes::Bytes;
use k8s_object::{ApiError, Reason};
use serde_json::{Value, json};

use super::super::{Operation, Review, Said, Side, shown};
use super::compiled::Hook;
use crate::core::Call;
use crate::registry::Resource;

const REVIEW_VERSION: &str = "admission.k8s.io/v1";
const OLD_REVIEW_VERSION: &str = "admission.k8s.io/v1beta1";

/// A version of AdmissionReview. The questions are the same; of old answers less is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum ReviewVersion {
    V1,
    V1beta1,
}

impl ReviewVersion {
    /// As webhooks name it; nothing for one that this server does not speak.
    pub(super) fn of(name: &str) -> Option<ReviewVersion> {
        match name {
            "v1" => Some(ReviewVersion::V1),
            "v1beta1" => Some(ReviewVersion::V1beta1),
            _ => None,
        }
    }

    fn api_version(self) -> &'static str {
        match self {
            ReviewVersion::V1 => REVIEW_VERSION,
            ReviewVersion::V1beta1 => OLD_REVIEW_VERSION,
        }
    }
}

/// Why there is no answer to go on with.
pub(super) enum Failure {
    /// The webhook refuses the request, with what it has to say besides.
    Rejected(ApiError, Box<Said>),
    /// It could not be asked, or has not answered as it should; `failurePolicy` says what that means. The status is the one that
    /// is counted.
    Call(String, u16),
    /// Whatever it would have said, the request cannot go on.
    Other(ApiError),
}

impl Failure {
    /// What the client is told; nothing if the hook's failures are ignored.
    pub(super) fn told(self, hook: &Hook) -> Option<ApiError> {
        match self {
            Failure::Call(..) if hook.ignores_failure => None,
            Failure::Call(why, _) => Some(ApiError::internal(format!("failed calling webhook {:?}: {why}", hook.name))),
            Failure::Rejected(error, _) | Failure::Other(error) => Some(error),
        }
    }
}

/// The status of a call that brought no answer, or none that can be used.
const UNAVAILABLE: u16 = 503;

/// A webhook's answer to a request that it lets through.
#[derive(Default)]
pub(super) struct Allowed {
    /// A JSON patch; null if it changes nothing.
    pub patch: Value,
    pub said: Said,
}

/// Asks. `version` is the index of the resource's version in which it wants the objects.
pub(super) async fn ask(
    hook: &Hook,
    review: &Review<'_, '_>,
    object: Option<&Value>,
    version: usize,
    mutating: bool,
) -> Result<Allowed, Failure> {
    let call = review.call;
    if call.request.options.dry_run && !hook.bears_dry_run {
        let why = format!("admission webhook {:?} does not support dry run", hook.name);
        return Err(Failure::Other(ApiError::bad_request(why)));
    }
    let Some(review_version) = hook.review else {
        let why =
            "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)";
        return Err(Failure::Call(why.to_owned(), 400));
    };
    let uid = call.core.world.uuid();
    let request = json!({
        "kind": "AdmissionReview", "apiVersion": review_version.api_version(),
        "request": question(&uid, review, object, version),
    });
    let client =
        hook.client.as_ref().map_err(|error| Failure::Call(format!("could not get REST client: {error}"), 500))?;
    let body = Bytes::from(request.to_string());
    let failed = |error: &dyn std::fmt::Display, code| Failure::Call(format!("failed to call webhook: {error}"), code);
    // It has no longer than whoever waits for the request itself.
    let left = call.request.options.deadline.map(|deadline| deadline.saturating_sub(call.core.world.elapsed()));
    let timeout = left.map_or(hook.timeout, |left| left.min(hook.timeout));
    let answer = client.post(call.core, body, timeout).await.map_err(|error| failed(&error, UNAVAILABLE))?;
    if let Some(error) = answer.failure() {
        return Err(failed(&error, error.code()));
    }
    let answer: Value = serde_json::from_slice(&answer.body)
        .map_err(|error| failed(&format!("couldn't get version/kind; json parse error: {error}"), UNAVAILABLE))?;
    let response = match review_version {
        ReviewVersion::V1 => verified(&answer, &uid, mutating).cloned(),
        ReviewVersion::V1beta1 => understood(&answer, mutating),
    };
    let response =
        response.map_err(|why| Failure::Call(format!("received invalid webhook response: {why}"), UNAVAILABLE))?;
    read(hook, &response)
}

/// The `request` of an AdmissionReview.
fn question(uid: &str, review: &Review<'_, '_>, object: Option<&Value>, version: usize) -> Value {
    let call = review.call;
    let resource = &call.resource;
    let about = call.entry.form(version);
    let subresource = call.request.subresource.as_str();
    // What is below an object may have a kind of its own, which is the same in all versions.
    let own = object.or(review.old);
    let (kind_version, kind) = match own {
        Some(own) => (own["apiVersion"].as_str().unwrap_or(""), own["kind"].as_str().unwrap_or("")),
        None => ("", resource.kind.as_str()),
    };
    let is_own = kind == resource.kind;
    let requested = if is_own { resource.api_version() } else { kind_version.to_owned() };
    let wanted = if is_own { about.api_version() } else { kind_version.to_owned() };
    let gvk = |api_version: &str| {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        json!({"group": group, "version": version, "kind": kind})
    };
    let gvr = |of: &Resource| json!({"group": of.group, "version": of.version, "resource": of.plural});
    let in_version =
        |object: Option<&Value>, side| object.map_or(Value::Null, |object| shown(call, about, object, side));
    let name = super::super::rules::name(call, own);
    let mut request = json!({
        "uid": uid,
        "kind": gvk(&wanted),
        "resource": gvr(about),
        "requestKind": gvk(&requested),
        "requestResource": gvr(resource),
        "operation": review.operation.as_str(),
        "userInfo": call.user.as_ref(),
        "object": in_version(object, Side::New),
        "oldObject": in_version(review.old, Side::Old),
        "dryRun": call.request.options.dry_run,
        "options": options(call, review.operation),
    });
    let namespace = if resource.is("", "namespaces") { name } else { &call.request.namespace };
    let texts =
        [("name", name), ("namespace", namespace), ("subResource", subresource), ("requestSubResource", subresource)];
    for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        request[key] = json!(text);
    }
    request
}

/// What expressions see of the request: what webhooks are told, without the objects.
pub(in super::super) fn request(review: &Review<'_, '_>, object: Option<&Value>, version: usize) -> Value {
    let mut request = question("", review, object, version);
    if let Some(map) = request.as_object_mut() {
        for field in ["object", "oldObject", "uid"] {
            map.remove(field);
        }
    }
    request
}

/// The options of the operation, as an object of `meta.k8s.io/v1`.
fn options(call: &Call<'_>, operation: Operation) -> Value {
    let own = &call.request.options;
    // A patch is told as the creation or update that it comes to.
    let kind = match operation {
        Operation::Connect => return Value::Null,
        Operation::Delete => "DeleteOptions",
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
    };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if own.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    if operation == Operation::Delete {
        if let Some(seconds) = own.grace_period_seconds {
            options["gracePeriodSeconds"] = json!(seconds);
        }
        if let Some(propagation) = own.propagation {
            options["propagationPolicy"] = json!(format!("{propagation:?}"));
        }
        if let Some(orphans) = own.orphan_dependents {
            options["orphanDependents"] = json!(orphans);
        }
        let preconditions = [("uid", &own.preconditions.uid), ("resourceVersion", &own.preconditions.resource_version)];
        for (key, text) in preconditions {
            if let Some(text) = text {
                options["preconditions"][key] = json!(text);
            }
        }
        return options;
    }
    for (key, text) in [("fieldManager", &own.field_manager), ("fieldValidation", &own.field_validation)] {
        if let Some(text) = text {
            options[key] = json!(text);
        }
    }
    options
}

/// The `response`, if the review is one that answers the question (apiserver `VerifyAdmissionResponse`).
fn verified<'a>(review: &'a Value, uid: &str, mutating: bool) -> Result<&'a Value, String> {
    let text = |value: &'a Value| value.as_str().unwrap_or("");
    let response = &review["response"];
    if !response.is_object() {
        return Err("webhook response was absent".to_owned());
    }
    if text(&response["uid"]) != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", text(&response["uid"])));
    }
    let (version, kind) = (text(&review["apiVersion"]), text(&review["kind"]));
    if (version, kind) != (REVIEW_VERSION, "AdmissionReview") {
        return Err(format!(
            "expected webhook response of {REVIEW_VERSION}, Kind=AdmissionReview, got {version}, Kind={kind}"
        ));
    }
    let (has_patch, kind) = (!text(&response["patch"]).is_empty(), response["patchType"].as_str());
    let problem = match (mutating, has_patch, kind) {
        (true, true, None) => "webhook returned response.patch but not response.patchType",
        (true, false, Some(_)) => "webhook returned response.patchType but not response.patch",
        (true, true, Some("")) => r#"webhook returned invalid response.patchType of """#,
        (false, true, _) => "validating webhook may not return response.patch",
        (false, false, Some(_)) => "validating webhook may not return response.patchType",
        _ => return Ok(response),
    };
    Err(problem.to_owned())
}

/// The `response` of an old review. Its uid and version were never looked at, a patch is a JSON patch whatever is said of it, and
/// there is none of a webhook that only validates.
fn understood(review: &Value, mutating: bool) -> Result<Value, String> {
    let mut response = review["response"].clone();
    let Some(map) = response.as_object_mut() else { return Err("webhook response was absent".to_owned()) };
    match mutating {
        true => map.insert("patchType".to_owned(), json!("JSONPatch")),
        false => map.remove("patch"),
    };
    Ok(response)
}

fn read(hook: &Hook, response: &Value) -> Result<Allowed, Failure> {
    let mut allowed = Allowed::default();
    for (key, value) in response["auditAnnotations"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or("").to_owned();
        allowed.said.annotations.push((format!("{}/{key}", hook.name), value));
    }
    let warnings = response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    allowed.said.warnings.extend(warnings.map(str::to_owned));
    if response["allowed"] != true {
        return Err(Failure::Rejected(rejection(&hook.name, &response["status"]), Box::new(allowed.said)));
    }
    if let Some(text) = response["patch"].as_str().filter(|text| !text.is_empty()) {
        if response["patchType"] != "JSONPatch" {
            let kind = response["patchType"].as_str().unwrap_or("");
            return Err(Failure::Call(format!("unsupported patch type {kind:?}"), 400));
        }
        let decoded = base64::engine::general_purpose::STANDARD.decode(text).map_err(|error| error.to_string());
        let patch = decoded.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
        allowed.patch = patch.map_err(|error| {
            Failure::Call(format!("received undecodable patch in webhook response: {error}"), UNAVAILABLE)
        })?;
    }
    Ok(allowed)
}

/// What a client is told about a refusal (apiserver `webhook/errors`).
fn rejection(hook: &str, status: &Value) -> ApiError {
    let text = |field: &str| status[field].as_str().unwrap_or("").to_owned();
    let denied = format!("admission webhook {hook:?} denied the request");
    let (message, reason) = (text("message"), text("reason"));
    let message = match (message.is_empty(), reason.is_empty()) {
        (false, _) => format!("{denied}: {message}"),
        (true, false) => format!("{denied}: {reason}"),
        (true, true) => format!("{denied} without explanation"),
    };
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400);
    let mut error = ApiError::new(Reason::Forbidden, message).verbatim(code.unwrap_or(400), &reason);
    let details = &status["details"];
    let detail = |field: &str| details[field].as_str().unwrap_or("").to_owned();
    (error.group, error.kind, error.name) = (detail("group"), detail("kind"), detail("name"));
    error.retry_after_seconds = details["retryAfterSeconds"].as_u64().and_then(|seconds| u32::try_from(seconds).ok());
    let causes = details["causes"].as_array().into_iter().flatten();
    error.causes = causes
        .map(|cause| {
            let text = |field: &str| cause[field].as_str().unwrap_or("").to_owned();
            k8s_object::Cause { reason: text("reason"), message: text("message"), field: text("field") }
        })
        .collect();
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_who_refused() {
        let cases = [
            (json!(null), 400, "", r#"admission webhook "a.b" denied the request without explanation"#),
            (json!({"message": "no"}), 400, "", r#"admission webhook "a.b" denied the request: no"#),
            (
                json!({"reason": "Forbidden", "code": 403}),
                403,
                "Forbidden",
                r#"admission webhook "a.b" denied the request: Forbidden"#,
            ),
            (json!({"message": "no", "code": 200}), 400, "", r#"admission webhook "a.b" denied the request: no"#),
            (json!({"message": "tea", "code": 418}), 418, "", r#"admission webhook "a.b" denied the request: tea"#),
        ];
        for (status, code, reason, message) in cases {
            let error = rejection("a.b", &status);
            let told = error.to_status();
            assert_eq!((error.code(), error.message.as_str()), (code, message), "{status}");
            assert_eq!(told["reason"].as_str().unwrap_or(""), reason, "{status}");
            assert_eq!(told["code"], code);
        }
    }

    #[test]
    fn old_answers_are_taken_as_they_are() {
        let review = json!({"response": {"uid": "other", "allowed": true, "patch": "W10="}});
        let taken = |mutating| {
            understood(&review, mutating).map(|response| (response["patch"].clone(), response["patchType"].clone()))
        };
        assert_eq!(taken(true), Ok((json!("W10="), json!("JSONPatch"))));
        assert_eq!(taken(false), Ok((Value::Null, Value::Null)));
        assert_eq!(understood(&json!({}), true), Err("webhook response was absent".to_owned()));
    }

    #[test]
    fn answers_that_are_none_are_refused() {
        let good = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": {"uid": "1", "allowed": true}});
        let with = |path: &str, value: Value| {
            let mut review = good.clone();
            match path {
                "apiVersion" => review[path] = value,
                path => review["response"][path] = value,
            }
            review
        };
        let cases = [
            (good.clone(), true, None),
            (json!({}), true, Some("webhook response was absent")),
            (with("uid", json!("2")), true, Some(r#"expected response.uid="1", got "2""#)),
            (
                with("apiVersion", json!("admission.k8s.io/v1beta1")),
                true,
                Some(
                    "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v1beta1, Kind=AdmissionReview",
                ),
            ),
            (with("patch", json!("W10=")), true, Some("webhook returned response.patch but not response.patchType")),
            (with("patch", json!("W10=")), false, Some("validating webhook may not return response.patch")),
            (
                with("patchType", json!("JSONPatch")),
                false,
                Some("validating webhook may not return response.patchType"),
            ),
        ];
        for (review, mutating, expected) in cases {
            assert_eq!(verified(&review, "1", mutating).err().as_deref(), expected, "{review}");
        }
    }
}
