//! In which versions upstream stores what this server stores in the newest. Discovery tells clients a hash of the version that is
//! stored, and they compare it; nothing else shows it.

/// Group, plural, minor and version. In the minor in which a version is new, objects are stored in the one before, which servers of
/// the minor before can read too (apiserver `NewDefaultResourceEncodingConfigForEffectiveVersion`, kubernetes `NewStorageFactoryConfig`).
static OLDER: &[(&str, &str, u8, &str)] = &[
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies", 36, "v1beta1"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings", 36, "v1beta1"),
    ("networking.k8s.io", "ipaddresses", 33, "v1beta1"),
    ("networking.k8s.io", "servicecidrs", 33, "v1beta1"),
    ("resource.k8s.io", "deviceclasses", 33, "v1beta1"),
    ("resource.k8s.io", "deviceclasses", 34, "v1beta2"),
    ("resource.k8s.io", "resourceclaims", 33, "v1beta1"),
    ("resource.k8s.io", "resourceclaims", 34, "v1beta2"),
    ("resource.k8s.io", "resourceclaimtemplates", 33, "v1beta1"),
    ("resource.k8s.io", "resourceclaimtemplates", 34, "v1beta2"),
    ("resource.k8s.io", "resourceslices", 33, "v1beta1"),
    ("resource.k8s.io", "resourceslices", 34, "v1beta2"),
    ("storage.k8s.io", "volumeattributesclasses", 34, "v1beta1"),
];

/// The version, where it is another than the newest.
pub(super) fn older(group: &str, plural: &str, minor: u8) -> Option<&'static str> {
    if (group, plural) == ("apiextensions.k8s.io", "customresourcedefinitions") {
        // Definitions are not stored as v1 until today.
        return Some("v1beta1");
    }
    let found =
        OLDER.iter().find(|(own, own_plural, own_minor, _)| (*own, *own_plural, *own_minor) == (group, plural, minor));
    found.map(|(.., version)| *version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_stored_as_before() {
        assert!(OLDER.is_sorted());
        for (group, plural, minor, expected) in [
            ("resource.k8s.io", "resourceclaims", 33, Some("v1beta1")),
            ("resource.k8s.io", "resourceclaims", 34, Some("v1beta2")),
            ("resource.k8s.io", "resourceclaims", 35, None),
            ("apiextensions.k8s.io", "customresourcedefinitions", 36, Some("v1beta1")),
            ("apps", "deployments", 34, None),
        ] {
            assert_eq!(older(group, plural, minor), expected, "{plural} in 1.{minor}");
        }
    }
}
