//! Whose a resource of containers and nodes is, by its name (core `IsNativeResource`, `IsExtendedResourceName`).

/// Whether it is one of Kubernetes' own: without a domain, or with its domain.
pub fn is_native_resource(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether it is a vendor's, such as a device. The name itself is not judged.
pub fn is_extended_resource(name: &str) -> bool {
    !is_native_resource(name) && !name.starts_with("requests.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_whose_a_resource_is() {
        let cases = [
            ("cpu", false),
            ("hugepages-2Mi", false),
            ("node.kubernetes.io/x", false),
            ("nvidia.com/gpu", true),
            ("requests.nvidia.com/gpu", false),
        ];
        for (name, extended) in cases {
            assert_eq!(is_extended_resource(name), extended, "{name}");
        }
    }
}
