//! Which Endpoints a Service and its pods get.

use super::*;
use crate::testing::{check, object, plan_bodies, plan_of, plan_with_failure};
use k8s_object::ApiError;

fn service(extra: Value) -> Arc<Object> {
    let mut value = json!({
        "metadata": {"labels": {"team": "x"}, "creationTimestamp": "2025-12-31T00:00:00Z"},
        "spec": {"clusterIP": "10.0.0.1", "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    });
    crate::json::merge(&mut value, &extra);
    object(&SERVICES, "a", "web", value)
}

fn pod(name: &str, ip: &str, extra: Value) -> Arc<Object> {
    let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2025-12-31T01:00:00Z"}]);
    let mut value = json!({
        "metadata": {"labels": {"app": "web"}}, "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "podIP": ip, "conditions": ready},
    });
    crate::json::merge(&mut value, &extra);
    object(&PODS, "a", name, value)
}

fn entry(pod: &str, ip: &str) -> Value {
    json!({
        "ip": ip, "nodeName": "n1",
        "targetRef": {"kind": "Pod", "namespace": "a", "name": pod, "uid": format!("pods-a-{pod}")},
    })
}

fn key() -> Key {
    Key::new(SERVICES, "a", "web")
}

fn stored(subsets: Value, extra: Value) -> Arc<Object> {
    let mut value = json!({"metadata": {"labels": {"team": "x", MANAGED_BY: MANAGER}}, "subsets": subsets});
    crate::json::merge(&mut value, &extra);
    object(&ENDPOINTS, "a", "web", value)
}

const UNREADY: &str = r#"{"status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2025-12-31T02:00:00Z"}]}}"#;

fn unready() -> Value {
    serde_json::from_str(UNREADY).unwrap()
}

#[test]
fn addresses_stand_with_their_ports_ready_or_not() {
    let objects = [service(json!({})), pod("p", "10.1.0.1", json!({})), pod("q", "10.1.0.2", unready())];
    let bodies = plan_bodies(&CONTROLLER, &objects, &key());
    let expected = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {
            "name": "web", "namespace": "a", "labels": {"team": "x", MANAGED_BY: MANAGER},
            "annotations": {TRIGGER_TIME: "2025-12-31T00:00:00Z"},
        },
        "subsets": [{
            "addresses": [entry("p", "10.1.0.1")], "notReadyAddresses": [entry("q", "10.1.0.2")],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }],
    });
    assert_eq!(bodies, [expected]);
}

#[test]
fn which_pods_and_services_have_entries() {
    let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let publish = json!({"spec": {"publishNotReadyAddresses": true}});
    let p = |extra: &Value| pod("p", "10.1.0.1", extra.clone());
    let named = json!({"spec": {"ports": [{"name": "", "port": 80, "targetPort": "missing"}]}});
    let headless = json!({"spec": {"clusterIP": "None", "ports": null}});
    let cases = [
        ("going", service(json!({})), p(&going), json!([])),
        ("going and published", service(publish.clone()), p(&going), json!(["ready"])),
        ("unready and published", service(publish), p(&unready()), json!(["ready"])),
        ("unready", service(json!({})), p(&unready()), json!(["not ready"])),
        ("finished", service(json!({})), p(&json!({"status": {"phase": "Failed"}})), json!([])),
        ("without address", service(json!({})), pod("p", "", json!({})), json!([])),
        ("without that port", service(named), p(&json!({})), json!([])),
        ("headless without ports", service(headless), p(&json!({})), json!(["ready"])),
    ];
    for (name, service, pod, expected) in cases {
        let bodies = plan_bodies(&CONTROLLER, &[service, pod], &key());
        let states = bodies[0]["subsets"].as_array().unwrap().iter().map(|subset| match subset.get("addresses") {
            Some(_) => "ready",
            None => "not ready",
        });
        assert_eq!(json!(states.collect::<Vec<_>>()), expected, "{name}");
    }
}

#[test]
fn labels_tell_headless_services_and_follow_the_service() {
    for (ip, headless) in [("None", true), ("10.0.0.1", false)] {
        let bodies = plan_bodies(&CONTROLLER, &[service(json!({"spec": {"clusterIP": ip}}))], &key());
        assert_eq!(bodies[0]["metadata"]["labels"].get(HEADLESS).is_some(), headless, "{ip}");
    }
    let other = stored(json!([]), json!({"metadata": {"labels": {"team": null, "old": "1"}}}));
    let actions = [
        r#"update endpoints a/web {"metadata":{"annotations":{"endpoints.kubernetes.io/last-change-trigger-time":null,"endpoints.kubernetes.io/over-capacity":null},"labels":{"endpoints.kubernetes.io/managed-by":"endpoint-controller","old":null,"team":"x"}},"subsets":[]}"#,
    ];
    check(&CONTROLLER, &[service(json!({})), other], &key(), &actions);
}

#[test]
fn what_is_as_it_should_be_is_left_alone_and_what_has_no_service_goes() {
    let mut known = entry("p", "10.1.0.1");
    known["targetRef"]["resourceVersion"] = json!("5");
    let subsets = json!([{"addresses": [known], "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}]);
    let p = || pod("p", "10.1.0.1", json!({}));
    check(&CONTROLLER, &[service(json!({})), p(), stored(subsets.clone(), json!({}))], &key(), &[]);
    check(&CONTROLLER, &[stored(subsets.clone(), json!({}))], &key(), &["delete endpoints a/web"]);
    let without = service(json!({"spec": {"selector": null}}));
    check(&CONTROLLER, &[without, stored(json!([]), json!({}))], &key(), &[]);
    // The time of the change that is new, not of what was known.
    let q = pod("q", "10.1.0.2", unready());
    let plan = plan_of(&CONTROLLER, &[service(json!({})), p(), q, stored(subsets, json!({}))], &key());
    assert!(plan.actions[0].contains(r#"trigger-time":"2025-12-31T02:00:00Z""#), "{:?}", plan.actions);
}

#[test]
fn more_than_a_thousand_addresses_are_cut_unready_ones_first() {
    let counts = |ready: usize, not_ready: usize| {
        let mut subsets = repack(&[EndpointSubset {
            addresses: (0..ready).map(|n| json!({"ip": format!("r{n}")})).collect(),
            not_ready_addresses: (0..not_ready).map(|n| json!({"ip": format!("n{n}")})).collect(),
            ports: vec![json!({"port": 80})],
        }]);
        let cut = truncate(&mut subsets);
        (cut, subsets[0].addresses.len(), subsets[0].not_ready_addresses.len())
    };
    assert_eq!(counts(600, 400), (false, 600, 400));
    assert_eq!(counts(600, 500), (true, 600, 400));
    assert_eq!(counts(1200, 10), (true, 1000, 0));
}

#[test]
fn a_write_that_fails_is_told() {
    let failure = |verb| Failure {
        verb,
        resource: ENDPOINTS,
        object: key().object,
        error: ApiError::forbidden("", "endpoints", "web", "exceeded quota"),
    };
    let plan = plan_with_failure(&CONTROLLER, &[service(json!({}))], &key(), failure(Verb::Create));
    let text = "event a/web FailedToCreateEndpoint: Failed to create endpoint for service a/web: endpoints \"web\" is forbidden: exceeded quota";
    assert_eq!(plan.actions, [text]);
    let other = stored(json!([]), json!({"metadata": {"labels": null}}));
    let plan = plan_with_failure(&CONTROLLER, &[service(json!({})), other], &key(), failure(Verb::Update));
    assert!(plan.actions[0].starts_with("event a/web FailedToUpdateEndpoint: Failed to update endpoint a/web: "));
}
