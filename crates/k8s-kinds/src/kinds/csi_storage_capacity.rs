//! CSIStorageCapacity: how much of a StorageClass is left for some nodes.

use k8s_object::{Cause, Quantity};
use serde_json::Value;

use super::csi::node_selector_warnings;
use crate::causes::{immutable, invalid};
use crate::columns::{CREATED_AT, NAME};
use crate::fields::{at, text};
use crate::names::{label_selector, subdomain};
use crate::{Context, Kind};

pub(crate) static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "CSIStorageCapacity",
    plural: "csistoragecapacities",
    singular: "csistoragecapacity",
    type_name: "io.k8s.api.storage.v1.CSIStorageCapacity",
    // Upstream prints it, but does not offer what it prints.
    columns: &[NAME, CREATED_AT],
    updates_name_version: true,
    validate,
    warnings: |object, _| node_selector_warnings(at(object, "nodeTopology"), "nodeTopology"),
    ..Kind::BASE
};

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let mut causes = label_selector(at(object, "nodeTopology"), "nodeTopology");
    let class = text(object, "storageClassName");
    causes.extend(subdomain(class, false).iter().map(|problem| invalid("storageClassName", class, problem)));
    let capacity = text(object, "capacity");
    if capacity.parse::<Quantity>().is_ok_and(|capacity| capacity.milli() < 0) {
        causes.push(invalid("capacity", capacity, "must be greater than or equal to 0"));
    }
    if let Some(old) = context.old {
        for key in ["nodeTopology", "storageClassName"] {
            if at(old, key) != at(object, key) {
                causes.push(immutable(key, at(object, key)));
            }
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{told, told_of_update};
    use serde_json::json;

    #[test]
    fn capacity_is_of_one_class_and_not_negative() {
        assert!(told(&KIND, &json!({"storageClassName": "a", "capacity": "1Gi"})).is_empty());
        assert_eq!(
            told(&KIND, &json!({"storageClassName": "a", "capacity": "-1Gi"})),
            [r#"capacity: Invalid value: "-1Gi": must be greater than or equal to 0"#]
        );
        assert_eq!(
            told_of_update(&KIND, &json!({"storageClassName": "a"}), &json!({"storageClassName": "b"}), ""),
            [r#"storageClassName: Invalid value: "b": field is immutable"#]
        );
        assert_eq!(
            node_selector_warnings(&json!({"matchLabels": {"beta.kubernetes.io/os": "linux"}}), "nodeTopology"),
            [
                r#"nodeTopology.matchLabels.beta.kubernetes.io/os: deprecated since v1.14; use "kubernetes.io/os" instead"#
            ]
        );
    }
}
