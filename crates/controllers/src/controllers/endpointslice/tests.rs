//! Which slices a Service and its pods get.

use super::*;
use crate::testing::{object, plan_bodies, plan_of};

fn service(extra: Value) -> Arc<Object> {
    let mut value = json!({
        "metadata": {"labels": {"team": "x"}},
        "spec": {"clusterIP": "10.0.0.1", "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    });
    crate::json::merge(&mut value, &extra);
    object(&SERVICES, "a", "web", value)
}

fn pod(name: &str, ip: &str, extra: Value) -> Arc<Object> {
    let ready = json!([{"type": "Ready", "status": "True"}]);
    let mut value = json!({
        "metadata": {"labels": {"app": "web"}}, "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "podIP": ip, "conditions": ready},
    });
    crate::json::merge(&mut value, &extra);
    object(&PODS, "a", name, value)
}

fn node() -> Arc<Object> {
    object(&NODES, "", "n1", json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "eu-central-1a"}}}))
}

fn slice(name: &str, endpoints: Vec<Value>) -> Arc<Object> {
    object(
        &ENDPOINT_SLICES,
        "a",
        name,
        json!({
            "metadata": {"labels": {"team": "x", SERVICE_NAME: "web", MANAGED_BY: MANAGER}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }),
    )
}

fn endpoint(pod: &str, ip: &str) -> Value {
    json!({
        "addresses": [ip], "conditions": {"ready": true, "serving": true, "terminating": false}, "nodeName": "n1",
        "targetRef": {"kind": "Pod", "namespace": "a", "name": pod, "uid": format!("pods-a-{pod}")},
    })
}

fn key() -> Key {
    Key::new(SERVICES, "a", "web")
}

#[test]
fn an_endpoint_says_where_the_pod_is_and_whether_it_serves() {
    let bodies = plan_bodies(&CONTROLLER, &[service(json!({})), node(), pod("p", "10.1.0.1", json!({}))], &key());
    let mut expected = endpoint("p", "10.1.0.1");
    expected["zone"] = json!("eu-central-1a");
    assert_eq!(bodies.len(), 1);
    assert_eq!(bodies[0]["endpoints"], json!([expected]));
    assert_eq!(bodies[0]["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
    assert_eq!((&bodies[0]["addressType"], &bodies[0]["metadata"]["generateName"]), (&json!("IPv4"), &json!("web-")));
    assert_eq!(bodies[0]["metadata"]["labels"], json!({"team": "x", SERVICE_NAME: "web", MANAGED_BY: MANAGER}));
    assert_eq!(bodies[0]["metadata"]["ownerReferences"][0]["uid"], "services-a-web");
}

#[test]
fn conditions_follow_the_pod_and_the_service() {
    let unready = json!({"status": {"conditions": null}});
    let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let publish = json!({"spec": {"publishNotReadyAddresses": true}});
    let cases = [
        ("unready", json!({}), unready.clone(), (false, false, false)),
        ("going", json!({}), going, (false, true, true)),
        ("published unready", publish, unready, (true, false, false)),
    ];
    for (name, extra, state, (ready, serving, terminating)) in cases {
        let bodies = plan_bodies(&CONTROLLER, &[service(extra), pod("p", "10.1.0.1", state)], &key());
        let conditions = json!({"ready": ready, "serving": serving, "terminating": terminating});
        assert_eq!(bodies[0]["endpoints"][0]["conditions"], conditions, "{name}");
    }
}

#[test]
fn ports_are_found_by_number_and_by_name() {
    let named = json!({"spec": {"ports": [{"name": "", "port": 80, "targetPort": "web"}]}});
    let container =
        |port: u16| json!({"spec": {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": port}]}]}});
    let objects = [service(named), pod("p", "10.1.0.1", container(8080)), pod("q", "10.1.0.2", container(9090))];
    let bodies = plan_bodies(&CONTROLLER, &objects, &key());
    let ports: Vec<&Value> = bodies.iter().map(|body| &body["ports"][0]["port"]).collect();
    assert_eq!(ports, [8080, 9090], "pods with different ports are in different slices");
    let default = json!({"spec": {"ports": [{"name": "x", "port": 80, "targetPort": null}]}});
    let bodies = plan_bodies(&CONTROLLER, &[service(default), pod("p", "10.1.0.1", json!({}))], &key());
    assert_eq!(bodies[0]["ports"][0]["port"], 80);
}

#[test]
fn families_and_headless_services_are_labelled() {
    let dual = json!({"spec": {"clusterIP": "None", "ipFamilies": ["IPv4", "IPv6"]}});
    let both = json!({"status": {"podIPs": [{"ip": "10.1.0.1"}, {"ip": "fd00::1"}]}});
    let bodies = plan_bodies(&CONTROLLER, &[service(dual), pod("p", "10.1.0.1", both)], &key());
    let families: Vec<_> =
        bodies.iter().map(|body| (&body["addressType"], &body["endpoints"][0]["addresses"][0])).collect();
    assert_eq!(families, [(&json!("IPv4"), &json!("10.1.0.1")), (&json!("IPv6"), &json!("fd00::1"))]);
    assert_eq!(bodies[0]["metadata"]["labels"][HEADLESS], "");
}

#[test]
fn services_without_endpoints_have_one_empty_slice_and_those_without_selector_none() {
    let bodies = plan_bodies(&CONTROLLER, &[service(json!({}))], &key());
    assert_eq!((bodies.len(), &bodies[0]["endpoints"], &bodies[0]["ports"]), (1, &json!([]), &json!([])));
    let finished = pod("p", "10.1.0.1", json!({"status": {"phase": "Succeeded"}}));
    let starting = pod("q", "", json!({}));
    assert_eq!(plan_bodies(&CONTROLLER, &[service(json!({})), finished, starting], &key()).len(), 1);
    let none = service(json!({"spec": {"selector": null}}));
    assert_eq!(plan_of(&CONTROLLER, &[none, pod("p", "10.1.0.1", json!({}))], &key()).actions, [""; 0]);
}

#[test]
fn slices_hold_a_hundred_endpoints_and_change_little() {
    let pods = |count: usize| (0..count).map(|n| pod(&format!("p{n:03}"), &format!("10.1.0.{n}"), json!({})));
    let endpoints =
        |count: usize| (0..count).map(|n| endpoint(&format!("p{n:03}"), &format!("10.1.0.{n}"))).collect::<Vec<_>>();
    let sizes = |objects: &[Arc<Object>]| -> Vec<usize> {
        plan_bodies(&CONTROLLER, objects, &key())
            .iter()
            .map(|body| body["endpoints"].as_array().unwrap().len())
            .collect()
    };
    let with = |mut slices: Vec<Arc<Object>>, count: usize| {
        slices.push(service(json!({})));
        slices.extend(pods(count));
        slices
    };
    assert_eq!(sizes(&with(vec![], 250)), [100, 100, 50]);
    assert_eq!(sizes(&with(vec![slice("s", endpoints(3))], 3)), [0; 0], "nothing changed");
    let plan = plan_of(&CONTROLLER, &with(vec![slice("s", endpoints(3))], 5), &key());
    assert!(plan.actions.len() == 1 && plan.actions[0].starts_with("update endpointslices a/s"), "{:?}", plan.actions);
    let plan = plan_of(&CONTROLLER, &with(vec![slice("s", endpoints(100)), slice("t", vec![])], 100), &key());
    assert_eq!(plan.actions, ["delete endpointslices a/t"]);
    assert_eq!(sizes(&with(vec![slice("s", endpoints(100))], 101)), [1], "a full slice is left alone");
}
