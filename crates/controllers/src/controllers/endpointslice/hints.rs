//! Says in endpoints for whom they are (`trafficDistribution` of a Service): those of their zone, or of their node.

use k8s_object::Object;
use serde_json::{Value, json};

/// Annotations of the older way, which is not done here; where they are, the Service's preference says nothing.
const OLDER: [&str; 2] = ["service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints"];

/// Gives hints to the endpoints that are ready, if the Service prefers those nearby.
pub(super) fn hint<'a>(service: &Object, endpoints: impl Iterator<Item = &'a mut Value>) {
    let value = service.value();
    let to_nodes = match value["spec"]["trafficDistribution"].as_str() {
        Some("PreferClose" | "PreferSameZone") => false,
        Some("PreferSameNode") => true,
        _ => return,
    };
    let older = OLDER.iter().find_map(|name| service.meta().annotations.get(name));
    if older.is_some_and(|mode| ["Auto", "auto"].contains(&mode)) {
        return;
    }
    for endpoint in endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true) {
        let mut hints = json!({});
        for (hint, own, wanted) in [("forZones", "zone", true), ("forNodes", "nodeName", to_nodes)] {
            if let Some(name) = endpoint[own].as_str().filter(|_| wanted) {
                hints[hint] = json!([{"name": name}]);
            }
        }
        if hints != json!({}) {
            endpoint["hints"] = hints;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::object;
    use k8s_object::resources::SERVICES;

    #[test]
    fn ready_endpoints_are_for_those_nearby() {
        let endpoint =
            |ready: bool, zone: Value| json!({"conditions": {"ready": ready}, "nodeName": "n", "zone": zone});
        let zones = json!({"forZones": [{"name": "z"}]});
        let nodes = json!({"forZones": [{"name": "z"}], "forNodes": [{"name": "n"}]});
        let cases = [
            (json!("PreferClose"), json!({}), endpoint(true, json!("z")), zones.clone()),
            (json!("PreferSameZone"), json!({}), endpoint(true, json!("z")), zones),
            (json!("PreferSameZone"), json!({}), endpoint(true, Value::Null), Value::Null),
            (json!("PreferSameNode"), json!({}), endpoint(true, json!("z")), nodes),
            (json!("PreferSameNode"), json!({}), endpoint(false, json!("z")), Value::Null),
            (json!("PreferClose"), json!({OLDER[0]: "Auto"}), endpoint(true, json!("z")), Value::Null),
            (Value::Null, json!({}), endpoint(true, json!("z")), Value::Null),
        ];
        for (preference, annotations, mut endpoint, expected) in cases {
            let extra = json!({"spec": {"trafficDistribution": preference}, "metadata": {"annotations": annotations}});
            hint(&object(&SERVICES, "a", "s", extra), std::iter::once(&mut endpoint));
            assert_eq!(endpoint["hints"], expected, "{preference} {annotations}");
        }
    }
}
