//! What the server itself writes into its cluster: as one user, through the pipeline that all take.

use std::sync::Arc;

use k8s_client::{Body, Request, Verb};
use k8s_object::{ApiError, GroupVersionResource, Object, UserInfo};
use serde_json::Value;

use crate::audit::Record;
use crate::core::{Core, Outcome};

/// Who the server is in its own cluster.
pub(crate) fn user() -> Arc<UserInfo> {
    Arc::new(UserInfo::new("system:apiserver", &["system:masters"]))
}

/// Carries out a request of the server's own. It is recorded as upstream's own are, which come over a loopback connection.
pub(crate) async fn execute(core: &Core, agent: &str, request: Request) -> Result<Outcome, ApiError> {
    execute_as(core, &user(), agent, request).await
}

/// As [`execute`], as one of upstream's components that lives here.
pub(crate) async fn execute_as(
    core: &Core,
    user: &Arc<UserInfo>,
    agent: &str,
    request: Request,
) -> Result<Outcome, ApiError> {
    let audit = Record::of_component(core, user, agent, &request);
    // Whoever carries out a request may come to ask the server for something itself.
    let outcome = Box::pin(core.execute(&core.keyspace, user, agent, &audit, request)).await;
    audit.ended(outcome.as_ref());
    outcome
}

/// Brings an object to what `wanted` makes of it, or of its absence; `None` leaves it as it is.
pub(crate) async fn keep(
    core: &Core,
    agent: &str,
    resource: &GroupVersionResource,
    (namespace, name): (&str, &str),
    wanted: impl FnOnce(Option<&Object>) -> Option<Value>,
) -> Result<(), ApiError> {
    let own = core.lookup(&resource.group, &resource.resource, namespace, name);
    let Some(object) = wanted(own.as_deref()) else { return Ok(()) };
    let request = match own {
        None => Request { body: Body::Json(object), ..Request::new(Verb::Create, resource, namespace, "") },
        Some(_) => Request { body: Body::Json(object), ..Request::new(Verb::Update, resource, namespace, name) },
    };
    match execute(core, agent, request).await {
        // Another server of the same store was faster; they say the same.
        Err(error) if error.is_conflict() => Ok(()),
        done => done.map(drop),
    }
}
