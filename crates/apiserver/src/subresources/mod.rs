//! Resources below an object: `status` and its like are the object seen through its strategy; the others have a file each.

mod binding;
mod eviction;
mod finalize;
mod owners;
mod scale;
mod token;

use k8s_client::{Body, Reply, Verb};
use k8s_object::{ApiError, Reason};
use serde_json::Value;

use crate::core::{Aside, Call};
use crate::{admission, metadata, read, update, write};

pub(crate) async fn dispatch(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    let (plural, subresource) = (call.resource.plural.clone(), call.request.subresource.clone());
    match (call.resource.group.as_str(), plural.as_str(), subresource.as_str()) {
        ("", "namespaces", "finalize") => finalize::update(call, body).await.map(Reply::Object),
        ("", "pods", "binding") => binding::create(call, body).await,
        ("", "pods", "eviction") => eviction::create(call, body).await,
        ("", "serviceaccounts", "token") => token::create(call, body).await,
        (_, _, "scale") => scale::dispatch(call, body).await,
        (group, plural, subresource) if crate::proxy::stream(group, plural, subresource).is_some() => {
            Err(streamed(plural, subresource))
        }
        // The object itself, of which the strategy lets a part be written.
        _ if call.resource.subresource(&subresource).is_some_and(|own| own.kind.is_none()) => match call.request.verb {
            Verb::Get => read::get(call).await.map(Reply::Object),
            Verb::Update => update::update(call, body).await.map(Reply::Object),
            Verb::Patch => update::patch(call, body).await.map(Reply::Object),
            _ => Err(unsupported(&plural, &subresource)),
        },
        _ => Err(unsupported(&plural, &subresource)),
    }
}

/// `bindings`, the old form of `pods/binding`: the pod is named in the body.
pub(crate) async fn bind(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    let (mut object, _) = write::parse(body)?;
    let name = metadata::text(&object, "name").to_owned();
    admission::admit_below(call, ("v1", "Binding"), &mut object, None).await?;
    let (entry, resource) = call.core.registry.find(&k8s_object::resources::PODS)?;
    let mut request = call.request.clone();
    request.resource = k8s_object::resources::PODS;
    request.subresource = "binding".to_owned();
    request.name = name;
    let mut pod = Call {
        core: call.core,
        space: call.space,
        user: call.user,
        agent: call.agent,
        audit: call.audit,
        entry,
        resource,
        request,
        now: call.now,
        warnings: Vec::new(),
        annotations: Vec::new(),
        admitted: true,
        aside: Aside::default(),
    };
    let bound = binding::create(&mut pod, Body::Json(object)).await;
    let (mut warnings, mut annotations) = (pod.warnings, pod.annotations);
    call.warnings.append(&mut warnings);
    call.annotations.append(&mut annotations);
    bound
}

/// Refuses a body that says that it is something else than what is read below an object. What says nothing is that.
fn expect(body: &Value, kind: &str, versions: &[&str]) -> Result<(), ApiError> {
    let said = |key: &str| body[key].as_str().unwrap_or("");
    let (own_version, own_kind) = (said("apiVersion"), said("kind"));
    if (own_version.is_empty() || versions.contains(&own_version)) && (own_kind.is_empty() || own_kind == kind) {
        return Ok(());
    }
    let group_version = if own_version.is_empty() { versions[0] } else { own_version };
    let named = if own_kind.is_empty() { kind } else { own_kind };
    let version = group_version.rsplit('/').next().unwrap_or(group_version);
    Err(ApiError::bad_request(format!(
        "{named} in version {version:?} cannot be handled as a {kind}: no kind {named:?} is registered for version {group_version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
    )))
}

/// The error for a subresource that a resource does not have.
pub(crate) fn missing() -> ApiError {
    ApiError::new(Reason::NotFound, "the server could not find the requested resource")
}

/// The error for what is bytes on a connection, for those who have none.
fn streamed(plural: &str, subresource: &str) -> ApiError {
    let message =
        format!("{plural}/{subresource} is passed on over HTTP, which clients in the same process do not speak");
    ApiError::new(Reason::ServiceUnavailable, message)
}

/// What is served upstream and not here.
fn unsupported(plural: &str, subresource: &str) -> ApiError {
    ApiError::new(Reason::ServiceUnavailable, format!("{plural}/{subresource} is not supported by Minato yet"))
}
