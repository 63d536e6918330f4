//! `serviceaccounts/token`: a token that expires, for the audiences asked for, bound to an object if wanted.

use k8s_auth::{Bound, ObjectRef, TokenRequest};
use k8s_client::{Body, Reply};
use k8s_kinds::causes;
use k8s_object::{ApiError, Object};
use serde_json::{Value, json};

use crate::core::Call;
use crate::{admission, metadata, write};

const GROUP: &str = "authentication.k8s.io";
const DEFAULT_SECONDS: i64 = 3600;
/// Upstream's bounds: ten minutes, and 2^32 seconds.
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;
/// The longest that a token lives on EKS, whatever is asked for: a day (`--service-account-max-token-expiration`, which
/// aws/containers-roadmap #1836 asks to be able to set).
const MAX_GRANTED_SECONDS: i64 = 24 * 3600;
/// What the volume that admission adds to pods asks for, and how long such a token lives on EKS: 90 days.
const POD_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 90 * 24 * 3600;

pub(super) async fn create(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    let mut request = match body {
        Body::None => json!({}),
        body => write::parse(body)?.0,
    };
    super::expect(&request, "TokenRequest", &["authentication.k8s.io/v1"])?;
    let invalid = |name: &str, causes| Err(ApiError::invalid(GROUP, "TokenRequest", name, causes));
    let (name, namespace) = (call.request.name.clone(), call.request.namespace.clone());
    let given = metadata::text(&request, "namespace");
    if !given.is_empty() && given != namespace {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(message));
    }
    let given = metadata::text(&request, "name");
    if !given.is_empty() && given != name {
        let problem = "must match the service account name if specified";
        return invalid(&name, vec![causes::invalid("metadata.name", given, problem)]);
    }
    let account = call.current().await?;
    let uid = metadata::text(&request, "uid");
    if !uid.is_empty() && uid != account.meta().uid {
        let own = &account.meta().uid;
        let why = format!("the UID in the token request ({uid}) does not match the UID of the service account ({own})");
        return Err(ApiError::conflict(GROUP, "TokenRequest", &name, &why));
    }
    admission::admit_below(call, ("authentication.k8s.io/v1", "TokenRequest"), &mut request, None).await?;
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    let problem = match seconds {
        ..MIN_SECONDS => Some("may not specify a duration less than 10 minutes"),
        MIN_SECONDS..=MAX_SECONDS => None,
        _ => Some("may not specify a duration larger than 2^32 seconds"),
    };
    if let Some(problem) = problem {
        return invalid("", vec![causes::invalid("spec.expirationSeconds", seconds, problem)]);
    }
    let issuer = call.core.auth.issuer();
    let audiences: Vec<String> = request["spec"]["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let audiences = if audiences.is_empty() { issuer.audiences().to_vec() } else { audiences };
    let bound = bind(call, &request["spec"]["boundObjectRef"])?;
    if seconds > MAX_GRANTED_SECONDS {
        let warning = format!("requested expiration of {seconds} seconds shortened to {MAX_GRANTED_SECONDS} seconds");
        call.warnings.push(warning);
    }
    let seconds = seconds.min(MAX_GRANTED_SECONDS);
    // Old clients read a pod's token once and never again: they are warned about, not cut off.
    let extended = seconds == POD_SECONDS
        && matches!(bound, Some(Bound::Pod { .. }))
        && audiences.iter().all(|audience| issuer.audiences().contains(audience));
    let issued = issuer.issue(
        &call.core.world,
        &TokenRequest {
            namespace: namespace.clone(),
            service_account: reference(&account),
            audiences: audiences.clone(),
            seconds: if extended { EXTENDED_SECONDS } else { seconds },
            bound,
            warn_after_seconds: extended.then_some(seconds),
        },
    );
    request["metadata"] = json!({
        "name": name, "namespace": namespace, "uid": account.meta().uid, "creationTimestamp": call.now.to_string(),
    });
    request["spec"]["expirationSeconds"] = json!(seconds);
    request["spec"]["audiences"] = json!(audiences);
    if request["spec"].get("boundObjectRef").is_none() {
        // Told even when it is empty.
        request["spec"]["boundObjectRef"] = Value::Null;
    }
    let expires = call.now + std::time::Duration::from_secs(seconds.unsigned_abs());
    request["status"] = json!({"token": issued.token, "expirationTimestamp": expires.to_string()});
    Ok(Reply::Value(request))
}

fn reference(object: &Object) -> ObjectRef {
    ObjectRef { name: object.meta().name.clone(), uid: object.meta().uid.clone() }
}

/// What the token is to be bound to, which must be there.
fn bind(call: &Call<'_>, wanted: &Value) -> Result<Option<Bound>, ApiError> {
    if !wanted.is_object() {
        return Ok(None);
    }
    let text = |field: &str| wanted[field].as_str().unwrap_or("").to_owned();
    let (version, kind, name, uid) = (text("apiVersion"), text("kind"), text("name"), text("uid"));
    let of_core = !version.contains('/');
    let (plural, namespace) = match kind.as_str() {
        "Node" if of_core => ("nodes", ""),
        "Pod" if of_core => ("pods", call.request.namespace.as_str()),
        "Secret" if of_core => ("secrets", call.request.namespace.as_str()),
        _ => {
            let (group, version) = version.split_once('/').unwrap_or(("", &version));
            let shown = format!("{group}/{version}, Kind={kind}");
            return Err(ApiError::bad_request(format!("cannot bind token to object of type {shown}")));
        }
    };
    let found = call.core.lookup("", plural, namespace, &name).ok_or_else(|| ApiError::not_found("", plural, &name))?;
    let bound = match plural {
        "pods" => {
            let pod = found.value();
            if pod["spec"]["serviceAccountName"] != call.request.name.as_str() {
                let message = format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    call.request.name
                );
                return Err(ApiError::bad_request(message));
            }
            let node = pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()).map(|node| {
                // A node that is not there is told by its name.
                let known = call.core.lookup("", "nodes", "", node);
                known.map_or_else(|| ObjectRef { name: node.to_owned(), uid: String::new() }, |node| reference(&node))
            });
            Bound::Pod { pod: reference(&found), node }
        }
        "secrets" => Bound::Secret(reference(&found)),
        _ => Bound::Node(reference(&found)),
    };
    if !uid.is_empty() && uid != found.meta().uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(ApiError::conflict("", &kind, &name, &why));
    }
    Ok(Some(bound))
}
