//! The parameters of a policy, which are objects of any kind (apiserver `CollectParams`).

use std::sync::Arc;

use k8s_object::{GroupVersionKind, NamespacedName, Object};

use super::compiled::Binding;
use crate::core::{Call, in_version};
use crate::registry::{Entry, Resource};

/// The resource of the parameters' kind.
pub(super) fn resource(
    call: &Call<'_>,
    kind: Option<&(String, String)>,
) -> Result<Option<(Entry, Arc<Resource>)>, String> {
    let Some((api_version, kind)) = kind else { return Ok(None) };
    let wanted = GroupVersionKind::parse(api_version, kind);
    let served = call.core.registry.served();
    let found = served.entries().find_map(|entry| {
        let version = entry.versions.iter().find(|version| {
            version.served
                && version.kind == *wanted.kind
                && version.group == *wanted.group
                && version.version == *wanted.version
        })?;
        Some((entry.clone(), version.clone()))
    });
    let GroupVersionKind { group, version, kind } = &wanted;
    let named =
        if group.is_empty() { format!("{version}, Kind={kind}") } else { format!("{group}/{version}, Kind={kind}") };
    found.map(Some).ok_or_else(|| format!("failed to find resource referenced by paramKind: '{named}'"))
}

/// The parameters that a binding names; one `None` where a policy has none or a binding names none.
pub(super) fn collect(
    call: &Call<'_>,
    resource: Option<&(Entry, Arc<Resource>)>,
    binding: &Binding,
) -> Result<Vec<Option<Arc<Object>>>, String> {
    let (Some((entry, resource)), Some(reference)) = (resource, &binding.params) else { return Ok(vec![None]) };
    let namespace = match (resource.namespaced, reference.namespace.as_str()) {
        (false, "") => "",
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
        }
        (true, "") if call.request.namespace.is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".to_owned()
            );
        }
        (true, "") => &call.request.namespace,
        (true, own) => own,
    };
    let found: Vec<Arc<Object>> = match (&reference.selector, reference.name.as_str()) {
        (Some(_), name) if !name.is_empty() => {
            return Err("paramRef.name and paramRef.selector are mutually exclusive".to_owned());
        }
        (None, "") => return Err("one of name or selector must be provided".to_owned()),
        (None, name) => entry.cache.get(&NamespacedName::new(namespace, name)).into_iter().collect(),
        (Some(selector), _) => {
            let selector = selector.as_ref().map_err(Clone::clone)?;
            let all = if namespace.is_empty() { entry.cache.all() } else { entry.cache.in_namespace(namespace) };
            all.into_iter().filter(|object| selector.matches(&object.meta().labels)).collect()
        }
    };
    if found.is_empty() && reference.denies {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    Ok(found.into_iter().map(|object| Some(in_version(resource, object))).collect())
}
