//! What happens to definitions that nobody is writing: the objects of one that is being deleted go, then the definition itself;
//! and one whose names were taken gets them when they become free.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Body, PatchType, Request, Verb};
use k8s_object::{ApiError, GroupVersionResource, Object, resources};
use serde_json::{Value, json};

use super::{FINALIZER, GROUP, PLURAL, names};
use crate::core::Core;
use crate::own_objects;

/// How often objects with finalizers of their own are looked at again.
const RETRY: Duration = Duration::from_secs(1);
const AGENT: &str = "apiextensions-apiserver";

/// Runs until it is dropped.
pub(crate) async fn run(core: Arc<Core>) {
    let Some(cache) = core.registry.cache(GROUP, PLURAL) else { return };
    let mut changed = cache.subscribe();
    loop {
        changed.borrow_and_update();
        let mut waiting = false;
        for definition in cache.all() {
            let meta = definition.meta();
            if meta.is_terminating() && meta.finalizers.iter().any(|name| name == FINALIZER) {
                waiting |= !finalize(&core, &definition).await.unwrap_or(false);
            } else if may_get_names(&core, &definition) {
                // Its names are judged whenever it is written. Whoever is faster has judged them too.
                let _ = patch(&core, &definition, json!({})).await;
            }
        }
        if waiting {
            let _ = core.world.timeout(RETRY, changed.changed()).await;
        } else if changed.changed().await.is_err() {
            return;
        }
    }
}

/// Returns whether nothing is left to do.
async fn finalize(core: &Core, definition: &Object) -> Result<bool, ApiError> {
    let value = definition.value();
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned();
    let (group, plural) = (text("/spec/group"), text("/spec/names/plural"));
    // Objects of a built-in resource of that group and plural are not this definition's, and must not go with it.
    let served = core.registry.served();
    let version = served.entry(&group, &plural).filter(|entry| entry.definition.is_some()).map(|entry| {
        let served = entry.versions.iter().find(|resource| resource.served);
        (served.unwrap_or_else(|| entry.stored()).version.clone(), entry.cache.clone())
    });
    drop(served);
    if let Some((version, cache)) = version
        && cache.len() > 0
    {
        let resource = GroupVersionResource::new(&group, &version, &plural);
        let namespaces: BTreeSet<String> = cache.all().iter().map(|object| object.meta().namespace.clone()).collect();
        for namespace in namespaces {
            let all = Request::new(Verb::DeleteCollection, &resource, &namespace, "");
            own_objects::execute(core, AGENT, all).await?;
        }
        if cache.len() > 0 {
            return Ok(false);
        }
    }
    let finalizers: Vec<&String> = definition.meta().finalizers.iter().filter(|name| *name != FINALIZER).collect();
    patch(core, definition, json!({"finalizers": finalizers})).await?;
    Ok(true)
}

/// Whether a definition without all of its names would get more of them now.
fn may_get_names(core: &Core, definition: &Object) -> bool {
    let before = definition.value();
    if names::is_true(&before, "NamesAccepted") || before["status"]["acceptedNames"] == before["spec"]["names"] {
        return false;
    }
    let mut after = before.clone();
    names::establish(core, &mut after, core.world.now());
    after["status"]["acceptedNames"] != before["status"]["acceptedNames"]
}

/// Changes the metadata of a definition, if it is still as it was.
async fn patch(core: &Core, definition: &Object, mut metadata: Value) -> Result<(), ApiError> {
    metadata["resourceVersion"] = json!(definition.meta().resource_version);
    let request = Request {
        body: Body::Json(json!({"metadata": metadata})),
        patch: Some(PatchType::Merge),
        ..Request::new(Verb::Patch, &resources::CUSTOM_RESOURCE_DEFINITIONS, "", &definition.meta().name)
    };
    own_objects::execute(core, AGENT, request).await.map(drop)
}
