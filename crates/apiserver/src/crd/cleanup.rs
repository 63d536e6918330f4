//! Deletes the objects of a definition that is being deleted, then lets the definition go.

use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Body, Options, PatchType, Request, Verb};
use k8s_object::{ApiError, GroupVersionResource, Object, UserInfo, resources};
use serde_json::{Value, json};

use super::{FINALIZER, GROUP, PLURAL};
use crate::core::Core;

/// How often objects with finalizers of their own are looked at again.
const RETRY: Duration = Duration::from_secs(1);
const AGENT: &str = "apiextensions-apiserver";

/// Runs until it is dropped.
pub(crate) async fn run(core: Arc<Core>) {
    let Some(cache) = core.registry.cache(GROUP, PLURAL) else { return };
    let user = Arc::new(UserInfo::new("system:apiserver", &["system:masters"]));
    let mut changed = cache.subscribe();
    loop {
        changed.borrow_and_update();
        let mut waiting = false;
        for definition in cache.all() {
            let meta = definition.meta();
            if meta.is_terminating() && meta.finalizers.iter().any(|name| name == FINALIZER) {
                waiting |= !finalize(&core, &user, &definition).await.unwrap_or(false);
            }
        }
        if waiting {
            let _ = core.world.timeout(RETRY, changed.changed()).await;
        } else if changed.changed().await.is_err() {
            return;
        }
    }
}

fn request(verb: Verb, resource: GroupVersionResource) -> Request {
    Request {
        verb,
        resource,
        subresource: String::new(),
        namespace: String::new(),
        name: String::new(),
        body: Body::None,
        patch: None,
        options: Options::default(),
    }
}

/// Returns whether nothing is left to do.
async fn finalize(core: &Arc<Core>, user: &Arc<UserInfo>, definition: &Object) -> Result<bool, ApiError> {
    let value = definition.value();
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned();
    let (group, plural) = (text("/spec/group"), text("/spec/names/plural"));
    let version = core.registry.served().entry(&group, &plural).and_then(|entry| {
        let served = entry.versions.iter().find(|resource| resource.served);
        served.map(|resource| (resource.version.clone(), entry.cache.clone()))
    });
    if let Some((version, cache)) = version
        && cache.len() > 0
    {
        let resource = GroupVersionResource::new(&group, &version, &plural);
        core.execute(&core.keyspace, user, AGENT, None, request(Verb::DeleteCollection, resource)).await?;
        if cache.len() > 0 {
            return Ok(false);
        }
    }
    let finalizers: Vec<&String> = definition.meta().finalizers.iter().filter(|name| *name != FINALIZER).collect();
    let patch = json!({"metadata": {"resourceVersion": definition.meta().resource_version, "finalizers": finalizers}});
    let request = Request {
        name: definition.meta().name.clone(),
        body: Body::Json(patch),
        patch: Some(PatchType::Merge),
        ..request(Verb::Patch, resources::CUSTOM_RESOURCE_DEFINITIONS)
    };
    core.execute(&core.keyspace, user, AGENT, None, request).await?;
    Ok(true)
}
