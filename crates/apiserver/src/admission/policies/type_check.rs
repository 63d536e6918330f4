//! Status of ValidatingAdmissionPolicies: what is wrong with their expressions for the types that they are about. Upstream has it in
//! a controller (`pkg/controller/validatingadmissionpolicystatus`); here only the server knows the types.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cel::DeclType;
use k8s_client::{Body, Options, PatchType, Request, Verb};
use k8s_kinds::type_check::{CheckedType, expression_warnings};
use k8s_object::{ApiError, GroupVersionResource, Object};
use serde_json::{Value, json};

use super::super::rules::GROUP;
use super::compiled::{list, param_kind, text};
use crate::core::Core;
use crate::own_objects;
use crate::registry::{Resource, Served};

const PLURAL: &str = "validatingadmissionpolicies";
/// As whom managed fields name the writer.
const MANAGER: &str = "validatingadmissionpolicy-status";
/// Types that one rule of a policy is checked against.
const MAX_TYPES: usize = 10;

/// Keeps them current until it is dropped.
pub(crate) async fn keep(core: Arc<Core>) {
    let Some(cache) = core.registry.cache(GROUP, PLURAL) else { return };
    let mut changed = cache.subscribe();
    // Those whose status cannot be written, by uid, with the generation that it was about.
    let mut given_up = BTreeMap::<String, i64>::new();
    loop {
        changed.borrow_and_update();
        let policies = core.lookup_all(GROUP, PLURAL, "");
        let known: BTreeSet<&str> = policies.iter().map(|policy| policy.meta().uid.as_str()).collect();
        given_up.retain(|uid, _| known.contains(uid.as_str()));
        for policy in &policies {
            let value = policy.value();
            let generation = value["metadata"]["generation"].as_i64().unwrap_or(0);
            let observed = value["status"]["observedGeneration"].as_i64().unwrap_or(0);
            if generation <= observed || given_up.get(&policy.meta().uid) == Some(&generation) {
                continue;
            }
            let status = status(&core.registry.served(), &value["spec"], generation);
            // Others than those that may pass: a status that is too large, for instance.
            if write(&core, policy, status).await.is_err_and(|error| error.code() < 500) {
                given_up.insert(policy.meta().uid.clone(), generation);
            }
            // A policy may have many expressions.
            tokio::task::yield_now().await;
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}

fn status(served: &Served, spec: &Value, generation: i64) -> Value {
    let types: Vec<CheckedType> = types(served, spec).into_iter().filter_map(|own| checked(&own)).collect();
    let params = param_kind(spec).and_then(|(api_version, kind)| {
        let of = |own: &&Arc<Resource>| own.kind == kind && own.api_version() == api_version;
        declared(served.resources().find(of)?, "params")
    });
    let warnings = expression_warnings(spec, &types, params.as_ref());
    let mut checking = json!({});
    if !warnings.is_empty() {
        checking["expressionWarnings"] = json!(warnings);
    }
    json!({"observedGeneration": generation, "typeChecking": checking})
}

fn declared(resource: &Resource, name: &str) -> Option<Arc<DeclType>> {
    resource.schema.0.as_ref()?.declared(&format!("{}.{name}", resource.kind))
}

fn checked(resource: &Resource) -> Option<CheckedType> {
    let Resource { group, version, kind, .. } = resource;
    Some(CheckedType { name: format!("{group}/{version}, Kind={kind}"), decl: declared(resource, "object")? })
}

/// The types that a policy names, in order; rules with wildcards name none.
fn types(served: &Served, spec: &Value) -> Vec<Arc<Resource>> {
    let mut found = BTreeMap::new();
    'rules: for rule in list(&spec["matchConstraints"]["resourceRules"]) {
        let texts = |field: &str| -> Vec<&str> {
            let mut texts: Vec<&str> = list(&rule[field]).iter().filter_map(Value::as_str).collect();
            texts.sort_unstable();
            texts
        };
        let (groups, versions, mut resources) = (texts("apiGroups"), texts("apiVersions"), texts("resources"));
        if groups.iter().chain(&versions).any(|own| own.contains('*')) {
            continue;
        }
        resources.retain(|own| !own.contains(['*', '/']));
        let mut count = 0;
        for group in &groups {
            for version in &versions {
                for plural in &resources {
                    let gvr = GroupVersionResource::new(group, version, plural);
                    let Some((_, resource)) = served.find(&gvr) else { continue };
                    let key = (resource.group.clone(), resource.version.clone(), resource.kind.clone());
                    found.insert(key, resource.clone());
                    count += 1;
                    if count == MAX_TYPES {
                        break 'rules;
                    }
                }
            }
        }
    }
    found.into_values().collect()
}

async fn write(core: &Core, policy: &Object, status: Value) -> Result<(), ApiError> {
    let value = policy.value();
    let applied = json!({
        "apiVersion": text(&value, "apiVersion"), "kind": text(&value, "kind"),
        "metadata": {"name": policy.meta().name, "uid": policy.meta().uid}, "status": status,
    });
    let version = text(&value, "apiVersion").rsplit('/').next().unwrap_or("v1").to_owned();
    let request = Request {
        subresource: "status".to_owned(),
        body: Body::Json(applied),
        patch: Some(PatchType::Apply),
        options: Options { field_manager: Some(MANAGER.to_owned()), force: Some(true), ..Options::default() },
        ..Request::new(Verb::Patch, &GroupVersionResource::new(GROUP, &version, PLURAL), "", &policy.meta().name)
    };
    own_objects::execute(core, MANAGER, request).await.map(drop)
}
