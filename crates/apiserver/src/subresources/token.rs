//! `serviceaccounts/token`: a token that expires, for the audiences asked for, bound to an object if wanted.

use k8s_auth::{Bound, ObjectRef, TokenRequest};
use k8s_client::{Body, Reply};
use k8s_kinds::causes;
use k8s_object::{ApiError, Object, Reason};
use serde_json::{Value, json};

use crate::core::Call;
use crate::{admission, metadata, write};

const DEFAULT_SECONDS: i64 = 3600;
/// Upstream's bounds: ten minutes, and 2^32 seconds.
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;
/// What the volume that admission adds to pods asks for, and how long such a token lives on EKS: 90 days.
const POD_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 90 * 24 * 3600;

pub(super) async fn create(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    let mut request = match body {
        Body::None => json!({}),
        body => write::parse(body)?.0,
    };
    let account = call.current().await?;
    let name = metadata::text(&request, "name");
    if !name.is_empty() && name != call.request.name {
        return Err(ApiError::bad_request("the name of the TokenRequest does not match the name on the URL"));
    }
    admission::admit_below(call, ("authentication.k8s.io/v1", "TokenRequest"), &mut request, None).await?;
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_SECONDS);
    let refuse = |problem: &str| {
        let cause = causes::invalid("spec.expirationSeconds", seconds, problem);
        Err(ApiError::invalid("authentication.k8s.io", "TokenRequest", &call.request.name, vec![cause]))
    };
    if seconds < MIN_SECONDS {
        return refuse("may not specify a duration less than 10 minutes");
    }
    if seconds > MAX_SECONDS {
        return refuse("may not specify a duration larger than 2^32 seconds");
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
    // Old clients read a pod's token once and never again: they are warned about, not cut off.
    let extended = seconds == POD_SECONDS;
    let issued = issuer.issue(
        &call.core.world,
        &TokenRequest {
            namespace: call.request.namespace.clone(),
            service_account: reference(&account),
            audiences: audiences.clone(),
            seconds: if extended { EXTENDED_SECONDS } else { seconds },
            bound,
            warn_after_seconds: extended.then_some(seconds),
        },
    );
    request["metadata"] = json!({
        "name": call.request.name, "namespace": call.request.namespace, "creationTimestamp": call.now.to_string(),
    });
    request["spec"]["expirationSeconds"] = json!(seconds);
    request["spec"]["audiences"] = json!(audiences);
    request["status"] = json!({"token": issued.token, "expirationTimestamp": (call.now + std::time::Duration::from_secs(seconds.unsigned_abs())).to_string()});
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
    let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
    let (plural, namespace) = match kind.as_str() {
        "Node" => ("nodes", ""),
        "Pod" => ("pods", call.request.namespace.as_str()),
        "Secret" => ("secrets", call.request.namespace.as_str()),
        _ => return Err(ApiError::bad_request(format!("cannot bind token to object of type {kind}"))),
    };
    let found = call.core.lookup("", plural, namespace, &name).ok_or_else(|| ApiError::not_found("", plural, &name))?;
    if !uid.is_empty() && uid != found.meta().uid {
        let message = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(ApiError::new(Reason::Conflict, message).about("", plural, &name));
    }
    Ok(Some(match plural {
        "pods" => {
            let pod = found.value();
            if pod["spec"]["serviceAccountName"] != call.request.name.as_str() {
                let message = format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    call.request.name
                );
                return Err(ApiError::bad_request(message));
            }
            let node = pod["spec"]["nodeName"].as_str().and_then(|node| call.core.lookup("", "nodes", "", node));
            Bound::Pod { pod: reference(&found), node: node.map(|node| reference(&node)) }
        }
        "secrets" => Bound::Secret(reference(&found)),
        _ => Bound::Node(reference(&found)),
    }))
}
