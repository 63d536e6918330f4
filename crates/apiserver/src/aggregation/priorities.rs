//! In which order groups and their versions are told (kubernetes `DefaultGenericAPIServicePriorities`). Those that are not here are
//! of custom resources.

/// A name and its priority.
type Named = (&'static str, i64);

/// Group, its priority, and versions with theirs.
static PRIORITIES: &[(&str, i64, &[Named])] = &[
    ("", 18000, &[("v1", 1)]),
    ("admissionregistration.k8s.io", 16700, &[("v1", 15), ("v1beta1", 12), ("v1alpha1", 9)]),
    ("apiextensions.k8s.io", 16700, &[("v1", 15)]),
    // It has no APIService that would say so, since it is what tells.
    ("apiregistration.k8s.io", 20000, &[("v1", 0)]),
    ("apps", 17800, &[("v1", 15)]),
    ("authentication.k8s.io", 17700, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("authorization.k8s.io", 17600, &[("v1", 15)]),
    ("autoscaling", 17500, &[("v1", 15), ("v2", 30), ("v2beta1", 9), ("v2beta2", 1)]),
    ("batch", 17400, &[("v1", 15), ("v1beta1", 9), ("v2alpha1", 9)]),
    ("certificates.k8s.io", 17300, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("coordination.k8s.io", 16500, &[("v1", 15), ("v1beta1", 13), ("v1alpha2", 12)]),
    ("discovery.k8s.io", 16200, &[("v1", 15), ("v1beta1", 12)]),
    ("events.k8s.io", 17750, &[("v1", 15), ("v1beta1", 5)]),
    ("flowcontrol.apiserver.k8s.io", 16100, &[("v1", 21), ("v1beta3", 18), ("v1beta2", 15), ("v1beta1", 12)]),
    ("internal.apiserver.k8s.io", 16000, &[("v1alpha1", 9)]),
    ("networking.k8s.io", 17200, &[("v1", 15), ("v1beta1", 9)]),
    ("node.k8s.io", 16300, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("policy", 17100, &[("v1", 15), ("v1beta1", 9)]),
    ("rbac.authorization.k8s.io", 17000, &[("v1", 15)]),
    ("resource.k8s.io", 16200, &[("v1", 21), ("v1beta2", 15), ("v1beta1", 9), ("v1alpha3", 1)]),
    ("scheduling.k8s.io", 16600, &[("v1", 15)]),
    ("storage.k8s.io", 16800, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("storagemigration.k8s.io", 15800, &[("v1beta1", 9), ("v1alpha1", 9)]),
];

/// Priorities of what custom resources are served under (`crdregistration`).
pub(super) const CUSTOM: (i64, i64) = (1000, 100);

/// Priority of a built-in group, and of a version of it.
pub(super) fn of(group: &str, version: &str) -> Option<(i64, i64)> {
    let (_, of_group, versions) = PRIORITIES.iter().find(|(own, _, _)| *own == group)?;
    let (_, of_version) = versions.iter().find(|(own, _)| *own == version)?;
    Some((*of_group, *of_version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stand_in_order_and_all_that_are_built_in_are_there() {
        assert!(PRIORITIES.is_sorted_by(|a, b| a.0 < b.0));
        for kind in k8s_kinds::KINDS {
            assert!(of(kind.group, kind.version).is_some(), "{}/{}", kind.group, kind.version);
        }
    }
}
