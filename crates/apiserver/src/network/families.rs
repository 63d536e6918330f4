//! Which families of addresses a Service has (core service storage `initIPFamilyFields`). The cluster has one: IPv4.

use k8s_kinds::{causes, service_addresses};
use k8s_object::Cause;
use serde_json::{Value, json};

const OWN: &str = "IPv4";
const OTHER: &str = "IPv6";
const SINGLE: &str = "SingleStack";
const PREFERRED: &str = "PreferDualStack";
const REQUIRED: &str = "RequireDualStack";
const POLICY: &str = "spec.ipFamilyPolicy";

fn text<'a>(spec: &'a Value, key: &str) -> &'a str {
    spec[key].as_str().unwrap_or("")
}

fn texts<'a>(spec: &'a Value, key: &str) -> Vec<&'a str> {
    spec[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn is_headless(spec: &Value) -> bool {
    text(spec, "clusterIP") == "None"
}

fn has_no_selector(spec: &Value) -> bool {
    spec["selector"].as_object().is_none_or(serde_json::Map::is_empty)
}

/// Fills policy and families of a Service that is no ExternalName, or says what is wrong with them. `old`: what it was before.
pub(super) fn init(spec: &mut Value, old: Option<&Value>, minor: u8) -> Vec<Cause> {
    if old.is_some_and(|old| keeps_its_preference(spec, old)) {
        return Vec::new();
    }
    if text(spec, "ipFamilyPolicy").is_empty() {
        let before = old.map(|old| text(old, "ipFamilyPolicy")).filter(|policy| !policy.is_empty());
        let default = if is_headless(spec) && has_no_selector(spec) { REQUIRED } else { SINGLE };
        spec["ipFamilyPolicy"] = json!(before.unwrap_or(default));
    }
    let mut causes = service_addresses(spec, old.unwrap_or(&Value::Null), minor);
    if !causes.is_empty() {
        return causes;
    }
    if let Some(old) = old {
        causes.extend(of_update(spec, old));
    }
    let policy = text(spec, "ipFamilyPolicy").to_owned();
    let wrong = |detail: &str| causes::invalid(POLICY, policy.as_str(), detail);
    if policy == SINGLE {
        let said = [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")];
        for (_, what) in said.into_iter().filter(|(key, _)| texts(spec, key).len() == 2) {
            causes.push(wrong(&format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            )));
        }
    }
    let mut families: Vec<String> = texts(spec, "ipFamilies").into_iter().map(str::to_owned).collect();
    for (index, address) in texts(spec, "clusterIPs").into_iter().enumerate().skip(families.len()) {
        match k8s_kinds::parse_ip_lenient(address) {
            None => break,
            Some(address) if address.is_ipv4() => families.push(OWN.to_owned()),
            Some(_) => {
                let field = format!("spec.clusterIPs[{index}]");
                let all = spec["clusterIPs"].clone();
                causes.push(causes::invalid(field, all, "IPv6 is not configured on this cluster"));
            }
        }
    }
    if !causes.is_empty() {
        return causes;
    }
    if is_headless(spec) && has_no_selector(spec) {
        // Nobody knows what stands behind it: both families, whatever the cluster has.
        if families.is_empty() {
            families.push(OWN.to_owned());
        }
        if families.len() < 2 && policy != SINGLE {
            families.push(if families[0] == OWN { OTHER } else { OWN }.to_owned());
        }
        spec["ipFamilies"] = json!(families);
        return causes;
    }
    if policy == REQUIRED {
        causes.push(wrong("this cluster is not configured for dual-stack services"));
    }
    for (index, family) in families.iter().enumerate().filter(|(_, family)| *family != OWN) {
        let field = format!("spec.ipFamilies[{index}]");
        causes.push(causes::invalid(field, family.as_str(), "not configured on this cluster"));
    }
    if causes.is_empty() {
        spec["ipFamilies"] = json!([OWN]);
    }
    causes
}

/// Whether a Service that would like two families is left with what it has: the families of the cluster may have changed since.
fn keeps_its_preference(spec: &Value, old: &Value) -> bool {
    let kind = text(spec, "type");
    kind == text(old, "type")
        && matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer")
        && text(spec, "ipFamilyPolicy") == PREFERRED
        && matches!(text(old, "ipFamilyPolicy"), PREFERRED | "")
        && ["clusterIPs", "ipFamilies"].iter().all(|key| texts(spec, key) == texts(old, key))
}

/// The second address and family go when a single family is wanted, and only then.
fn of_update(spec: &mut Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let policy = text(spec, "ipFamilyPolicy").to_owned();
    for (key, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (now, before) = (texts(spec, key), texts(old, key));
        if policy != SINGLE {
            if !now.is_empty() && now.len() < before.len() {
                let detail = format!("must be 'SingleStack' to release the secondary {what}");
                causes.push(causes::invalid(POLICY, policy.as_str(), &detail));
            }
        } else if now == before && now.len() > 1 {
            spec[key] = json!([now[0]]);
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(causes: &[Cause]) -> Vec<String> {
        causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn families_follow_from_what_is_asked_for() {
        let some = json!({"app": "web"});
        let one = json!(["IPv4"]);
        let cases = [
            (json!({"selector": some}), "SingleStack", one.clone()),
            (json!({"selector": some, "ipFamilyPolicy": "PreferDualStack"}), "PreferDualStack", one.clone()),
            (
                json!({"selector": some, "clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.9"]}),
                "SingleStack",
                one.clone(),
            ),
            (json!({"selector": some, "clusterIP": "None", "clusterIPs": ["None"]}), "SingleStack", one.clone()),
            (json!({"clusterIP": "None", "clusterIPs": ["None"]}), "RequireDualStack", json!(["IPv4", "IPv6"])),
            (
                json!({"clusterIP": "None", "clusterIPs": ["None"], "ipFamilies": ["IPv6"]}),
                "RequireDualStack",
                json!(["IPv6", "IPv4"]),
            ),
            (json!({"clusterIP": "None", "clusterIPs": ["None"], "ipFamilyPolicy": "SingleStack"}), "SingleStack", one),
        ];
        for (mut spec, policy, families) in cases {
            spec["type"] = json!("ClusterIP");
            let asked = spec.clone();
            assert!(init(&mut spec, None, 34).is_empty(), "{asked}");
            assert_eq!((&spec["ipFamilyPolicy"], &spec["ipFamilies"]), (&json!(policy), &families), "{asked}");
        }
    }

    #[test]
    fn what_the_cluster_has_not_is_refused_in_upstreams_words() {
        let cases: [(Value, &[&str]); 5] = [
            (
                json!({"ipFamilyPolicy": "RequireDualStack"}),
                &[
                    r#"spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services"#,
                ],
            ),
            (
                json!({"ipFamilies": ["IPv6"]}),
                &[r#"spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster"#],
            ),
            (
                json!({"ipFamilies": ["IPv4", "IPv6"]}),
                &[
                    r#"spec.ipFamilyPolicy: Invalid value: "SingleStack": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"#,
                ],
            ),
            (
                json!({"clusterIP": "2001:db8::1", "clusterIPs": ["2001:db8::1"]}),
                &[r#"spec.clusterIPs[0]: Invalid value: ["2001:db8::1"]: IPv6 is not configured on this cluster"#],
            ),
            (
                json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.2"]}),
                &[r#"spec.clusterIPs: Invalid value: ["10.0.0.2"]: first value must match `clusterIP`"#],
            ),
        ];
        for (mut spec, expected) in cases {
            spec["selector"] = json!({"app": "web"});
            assert_eq!(lines(&init(&mut spec.clone(), None, 34)), expected, "{spec}");
        }
    }

    #[test]
    fn updates_keep_the_policy_and_let_go_of_the_second_family() {
        let selector = json!({"app": "web"});
        let old = json!({"type": "ClusterIP", "selector": selector, "clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.9"],
            "ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4"]});
        let mut kept = old.clone();
        kept["ipFamilyPolicy"].take();
        assert!(init(&mut kept, Some(&old), 34).is_empty());
        assert_eq!(kept["ipFamilyPolicy"], "PreferDualStack");
        let headless = |policy: &str| {
            json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "ipFamilyPolicy": policy,
                "ipFamilies": ["IPv4", "IPv6"]})
        };
        let mut single = headless("SingleStack");
        assert!(init(&mut single, Some(&headless("RequireDualStack")), 34).is_empty());
        assert_eq!(single["ipFamilies"], json!(["IPv4"]));
        let mut reduced = headless("RequireDualStack");
        reduced["ipFamilies"] = json!(["IPv4"]);
        let told = [
            r#"spec.ipFamilyPolicy: Invalid value: "RequireDualStack": must be 'SingleStack' to release the secondary IP family"#,
        ];
        assert_eq!(lines(&init(&mut reduced, Some(&headless("RequireDualStack")), 34)), told);
    }
}
