//! Which slices an Endpoints written by hand gets.

use super::*;
use crate::testing::{check, object, plan_bodies, plan_of};

fn service(extra: Value) -> Arc<Object> {
    let mut value = json!({"spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}]}});
    crate::json::merge(&mut value, &extra);
    object(&SERVICES, "a", "db", value)
}

fn endpoints(extra: Value) -> Arc<Object> {
    let mut value = json!({
        "metadata": {"labels": {"team": "x"}, "annotations": {"note": "1", NOT_MIRRORED[0]: "2026-01-01T00:00:00Z"}},
        "subsets": [{"addresses": [{"ip": "10.9.0.1"}], "ports": [{"port": 5432, "protocol": "TCP"}]}],
    });
    crate::json::merge(&mut value, &extra);
    object(&ENDPOINTS, "a", "db", value)
}

fn slice(name: &str, extra: Value) -> Arc<Object> {
    let owner =
        json!({"apiVersion": "v1", "kind": "Endpoints", "name": "db", "uid": "endpoints-a-db", "controller": true});
    let mut value = json!({
        "metadata": {
            "labels": {"team": "x", SERVICE_NAME: "db", MANAGED_BY: MANAGER}, "annotations": {"note": "1"},
            "ownerReferences": [owner],
        },
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.9.0.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "", "port": 5432, "protocol": "TCP"}],
    });
    crate::json::merge(&mut value, &extra);
    object(&ENDPOINT_SLICES, "a", name, value)
}

fn key() -> Key {
    Key::new(ENDPOINTS, "a", "db")
}

#[test]
fn a_mirror_says_what_the_endpoints_say() {
    let bodies = plan_bodies(&CONTROLLER, &[service(json!({})), endpoints(json!({}))], &key());
    let expected = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "generateName": "db-", "namespace": "a", "labels": {"team": "x", SERVICE_NAME: "db", MANAGED_BY: MANAGER},
            "annotations": {"note": "1"},
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Endpoints", "name": "db", "uid": "endpoints-a-db", "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.9.0.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "", "port": 5432, "protocol": "TCP"}],
    });
    assert_eq!(bodies, [expected]);
    check(&CONTROLLER, &[service(json!({})), endpoints(json!({})), slice("s", json!({}))], &key(), &[]);
}

#[test]
fn families_and_ports_have_slices_of_their_own() {
    let subsets = json!({"subsets": [
        {"addresses": [{"ip": "10.9.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 1}]},
        {"notReadyAddresses": [{"ip": "10.9.0.2", "hostname": "h", "nodeName": "n"}], "ports": [{"port": 2}]},
        {"addresses": [{"ip": "nowhere"}], "ports": [{"port": 3}]},
    ]});
    let objects = [service(json!({})), endpoints(subsets)];
    let bodies = plan_bodies(&CONTROLLER, &objects, &key());
    let mut found: Vec<String> = bodies
        .iter()
        .map(|body| format!("{} {} {}", body["addressType"], body["ports"][0]["port"], body["endpoints"]))
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            r#""IPv4" 1 [{"addresses":["10.9.0.1"],"conditions":{"ready":true}}]"#,
            r#""IPv4" 2 [{"addresses":["10.9.0.2"],"conditions":{"ready":false},"hostname":"h","nodeName":"n"}]"#,
            r#""IPv6" 1 [{"addresses":["fd00::1"],"conditions":{"ready":true}}]"#,
        ]
    );
    let events = plan_of(&CONTROLLER, &objects, &key()).actions;
    assert_eq!(
        events[0],
        "event a/db InvalidIPAddress: Skipped 1 invalid IP addresses when mirroring to EndpointSlices"
    );
}

#[test]
fn slices_follow_changes_and_are_used_again() {
    let other = endpoints(json!({
        "metadata": {"labels": {"team": null}},
        "subsets": [{"addresses": [{"ip": "10.9.0.7"}], "ports": [{"name": "new", "port": 1, "protocol": "TCP"}]}],
    }));
    let objects = [service(json!({})), other, slice("s", json!({})), slice("t", json!({}))];
    check(
        &CONTROLLER,
        &objects,
        &key(),
        &[
            r#"update endpointslices a/s {"endpoints":[{"addresses":["10.9.0.7"],"conditions":{"ready":true}}],"metadata":{"annotations":{"note":"1"},"labels":{"endpointslice.kubernetes.io/managed-by":"endpointslicemirroring-controller.k8s.io","kubernetes.io/service-name":"db","team":null},"ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"Endpoints","name":"db","uid":"endpoints-a-db"}]},"ports":[{"name":"new","port":1,"protocol":"TCP"}]}"#,
            "delete endpointslices a/t",
        ],
    );
    let owner = json!({"metadata": {"ownerReferences": [{"kind": "Endpoints", "name": "db", "uid": "earlier"}]}});
    let plan = plan_of(&CONTROLLER, &[service(json!({})), endpoints(json!({})), slice("s", owner)], &key());
    assert!(plan.actions[0].starts_with("update endpointslices a/s"), "an Endpoints made anew is another owner");
}

#[test]
fn mirrors_go_when_there_is_nothing_to_mirror() {
    let gone = ["delete endpointslices a/s"];
    let s = || slice("s", json!({}));
    let skip = json!({"metadata": {"labels": {SKIP: "true"}}});
    let election = json!({"metadata": {"annotations": {LEADER: "{}"}}});
    let cases = [
        ("no Endpoints", vec![service(json!({})), s()]),
        ("no Service", vec![endpoints(json!({})), s()]),
        ("a selector", vec![service(json!({"spec": {"selector": {"app": "db"}}})), endpoints(json!({})), s()]),
        ("not wanted", vec![service(json!({})), endpoints(skip), s()]),
        ("an election", vec![service(json!({})), endpoints(election), s()]),
        ("no addresses", vec![service(json!({})), endpoints(json!({"subsets": []})), s()]),
    ];
    for (name, objects) in cases {
        assert_eq!(plan_of(&CONTROLLER, &objects, &key()).actions, gone, "{name}");
    }
}

#[test]
fn a_subset_is_mirrored_up_to_a_thousand_addresses() {
    let addresses: Vec<Value> = (0..1003).map(|n| json!({"ip": format!("10.9.{}.{}", n / 250, n % 250)})).collect();
    let subsets = json!({"subsets": [{"addresses": addresses, "ports": [{"port": 1}]}]});
    let objects = [service(json!({})), endpoints(subsets)];
    let plan = plan_of(&CONTROLLER, &objects, &key());
    assert_eq!(plan.bodies[0]["endpoints"].as_array().unwrap().len(), MAX_ADDRESSES);
    let text = "event a/db TooManyAddressesToMirror: A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. 3 addresses were skipped";
    assert_eq!(plan.actions[0], text);
}
