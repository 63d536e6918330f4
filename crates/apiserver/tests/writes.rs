//! What is particular about writes: updates that create, and the ports that Services are given.

mod support;

use k8s_client::PatchType;
use k8s_object::{GroupVersionResource, Reason, UserInfo, resources};
use serde_json::{Value, json};
use support::http::{ask, with_names};
use support::{with_cluster, with_options};

fn lease(name: &str, more: Value) -> Value {
    let mut object = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": {"holderIdentity": "a"}});
    object["metadata"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    object
}

#[test]
fn an_update_creates_what_its_kind_lets_it_create() {
    with_options(with_names, |cluster| async move {
        let rules = json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
        let subject =
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}});
        let event = json!({"involvedObject": {"namespace": "default"}, "reason": "r", "type": "Normal"});
        let cases = [
            ("/api/v1/namespaces/default/configmaps/a", json!({}), 404),
            ("/api/v1/namespaces/default/services/a", json!({"spec": {"ports": [{"port": 80}]}}), 201),
            ("/api/v1/namespaces/default/endpoints/a", json!({}), 201),
            ("/api/v1/namespaces/default/events/a", event, 201),
            ("/api/v1/namespaces/default/limitranges/a", json!({"spec": {"limits": []}}), 201),
            ("/apis/coordination.k8s.io/v1/namespaces/default/leases/a", json!({}), 201),
            ("/apis/node.k8s.io/v1/runtimeclasses/a", json!({"handler": "runc"}), 201),
            ("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/a", subject.clone(), 201),
            ("/apis/rbac.authorization.k8s.io/v1/clusterroles/a", rules.clone(), 201),
            ("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings/a", subject, 201),
            ("/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles/a", rules, 201),
        ];
        for (path, mut object, status) in cases {
            object["metadata"] = json!({"name": "a"});
            let answer = ask(&cluster, "admin", &format!("PUT {path}"), &[], &object.to_string()).await;
            assert_eq!(answer.status, status, "{path}: {}", answer.text());
            if status == 201 {
                let created = answer.json();
                assert!(created["metadata"]["uid"].is_string(), "{created}");
                let got = ask(&cluster, "admin", &format!("GET {path}"), &[], "").await.json();
                assert_eq!(got, created);
            }
        }
    });
}

#[test]
fn an_update_that_creates_takes_the_right_to_create() {
    with_cluster(|cluster| async move {
        let gvr = GroupVersionResource::of("coordination.k8s.io", "v1", "leases");
        let admin = cluster.admin();
        let role = json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["update"]}]});
        admin.create(&resources::CLUSTER_ROLES, "", role).await.unwrap();
        let binding = json!({
            "metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"}],
            "roleRef": {"kind": "ClusterRole", "name": "r", "apiGroup": "rbac.authorization.k8s.io"},
        });
        admin.create(&resources::CLUSTER_ROLE_BINDINGS, "", binding).await.unwrap();
        let eve = cluster.server.client(UserInfo::new("eve", &[]), "test");
        let refused = eve.update(&gvr, "default", "a", "", lease("a", json!({}))).await.unwrap_err();
        assert!(refused.to_string().contains(r#"cannot create resource "leases""#), "{refused}");
        let conflict = admin.update(&gvr, "default", "a", "", lease("a", json!({"uid": "x"}))).await.unwrap_err();
        assert_eq!(conflict.reason, Reason::Conflict);
        // The state that it names is nobody's, so it is not asked after.
        admin.update(&gvr, "default", "a", "", lease("a", json!({"resourceVersion": "1"}))).await.unwrap();
        let unconditional = eve.update(&gvr, "default", "a", "", lease("a", json!({}))).await.unwrap_err();
        assert_eq!(
            unconditional.to_string(),
            r#"leases.coordination.k8s.io "a" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"#
        );
        let absent = admin.patch(&gvr, "default", "b", "", PatchType::Merge, json!({})).await.unwrap_err();
        assert_eq!(absent.reason, Reason::NotFound, "a patch creates nothing");
    });
}

#[test]
fn services_are_given_the_ports_that_they_need() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let gvr = &resources::SERVICES;
        let service = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
        let both = json!([{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}]);
        let spec = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": both});
        let created = client.create(gvr, "default", service("a", spec.clone())).await.unwrap().value();
        let ports = &created["spec"]["ports"];
        assert_eq!(ports[0]["nodePort"], ports[1]["nodePort"], "one number for both protocols");
        let check = created["spec"]["healthCheckNodePort"].as_i64().unwrap();
        assert!((30_000..=32_767).contains(&check) && ports[0]["nodePort"] != check, "{created}");

        let kept = client.update(gvr, "default", "a", "", service("a", spec.clone())).await.unwrap().value();
        assert_eq!(kept["spec"], created["spec"], "what was given stays");
        let moved = json!({"spec": {"healthCheckNodePort": check + 1}});
        let refused = client.patch(gvr, "default", "a", "", PatchType::Merge, moved).await.unwrap_err();
        assert!(refused.to_string().contains("spec.healthCheckNodePort: Forbidden: field is immutable"), "{refused}");
        let mut taken = spec.clone();
        taken["healthCheckNodePort"] = json!(check);
        let refused = client.create(gvr, "default", service("b", taken)).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "Internal error occurred: failed to allocate requested HealthCheck NodePort {check}: provided port is already allocated"
            )
        );

        let inside = json!({"spec": {"type": "ClusterIP"}});
        let changed = client.patch(gvr, "default", "a", "", PatchType::Merge, inside).await.unwrap().value();
        let keys: Vec<&String> = changed["spec"].as_object().unwrap().keys().collect();
        for gone in ["healthCheckNodePort", "externalTrafficPolicy", "allocateLoadBalancerNodePorts"] {
            assert!(!keys.iter().any(|key| *key == gone), "{gone} stays: {changed}");
        }
        assert!(changed["spec"]["ports"][0].get("nodePort").is_none(), "{changed}");
        let free = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": check}]});
        client.create(gvr, "default", service("c", free)).await.unwrap();

        let own = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]});
        let bare = client.create(gvr, "default", service("d", own)).await.unwrap().value();
        assert!(bare["spec"]["ports"][0].get("nodePort").is_none(), "{bare}");
        let asked = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80, "nodePort": check}]});
        let refused = client.create(gvr, "default", service("e", asked)).await.unwrap_err();
        assert!(refused.to_string().contains("provided port is already allocated"), "{refused}");
    });
}

#[test]
fn a_revision_of_zero_is_none() {
    with_options(with_names, |cluster| async move {
        let path = "/api/v1/namespaces/default/configmaps";
        let merge = "content-type: application/merge-patch+json";
        let cases = [
            ("POST", path.to_owned(), "1", 400),
            ("POST", path.to_owned(), "0", 201),
            ("PUT", format!("{path}/z"), "0", 200),
            ("PUT", format!("{path}/z"), "1", 409),
            ("PATCH", format!("{path}/z"), "0", 200),
            ("PATCH", format!("{path}/z"), "1", 409),
        ];
        for (at, (verb, path, version, status)) in cases.into_iter().enumerate() {
            let body = json!({"metadata": {"name": "z", "resourceVersion": version}, "data": {"k": at.to_string()}});
            let headers = if verb == "PATCH" { &[merge][..] } else { &[] };
            let answer = ask(&cluster, "admin", &format!("{verb} {path}"), headers, &body.to_string()).await;
            assert_eq!(answer.status, status, "{verb} {version}: {}", answer.text());
            if status < 300 {
                assert_eq!(answer.json()["data"]["k"], at.to_string(), "{verb}");
                assert_ne!(answer.json()["metadata"]["resourceVersion"], "0", "{verb}");
            }
        }
        // Where a revision must be given, zero is none either.
        let lease = lease("l", json!({"resourceVersion": "0"})).to_string();
        let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
        assert_eq!(ask(&cluster, "admin", &format!("POST {leases}"), &[], &lease).await.status, 201);
        assert_eq!(ask(&cluster, "admin", &format!("PUT {leases}/l"), &[], &lease).await.status, 422);
    });
}
