//! Built-in kinds through the whole pipeline: what is stored of them, and what the server knows beside the object.

mod support;

use std::time::Duration;

use k8s_client::{PatchType, Preconditions};
use k8s_object::{GroupVersionResource, Reason, UserInfo, resources};
use serde_json::{Value, json};
use support::{Cluster, with_cluster, with_options};

const IP_ADDRESSES: GroupVersionResource = GroupVersionResource::of("networking.k8s.io", "v1", "ipaddresses");
const REQUESTS: GroupVersionResource =
    GroupVersionResource::of("certificates.k8s.io", "v1", "certificatesigningrequests");
const POLICIES: GroupVersionResource =
    GroupVersionResource::of("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies");
const BINDINGS: GroupVersionResource =
    GroupVersionResource::of("admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings");
const CLAIMS: GroupVersionResource = GroupVersionResource::of("resource.k8s.io", "v1", "resourceclaims");

fn rules() -> Value {
    json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}])
}

/// The least that each kind takes: group, resource, namespace, object.
fn least() -> Vec<(&'static str, &'static str, &'static str, Value)> {
    let webhook = json!({
        "name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://a.example"},
    });
    let devices = json!({"requests": [{"name": "a", "exactly": {"deviceClassName": "c"}}]});
    let admission = "admissionregistration.k8s.io";
    vec![
        (
            admission,
            "mutatingadmissionpolicies",
            "",
            json!({"spec": {
                "matchConstraints": {"resourceRules": rules()}, "reinvocationPolicy": "Never",
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/a'}]"}}],
            }}),
        ),
        (admission, "mutatingadmissionpolicybindings", "", json!({"spec": {"policyName": "p"}})),
        (admission, "mutatingwebhookconfigurations", "", json!({"webhooks": [webhook]})),
        (
            admission,
            "validatingadmissionpolicies",
            "",
            json!({"spec": {
                "matchConstraints": {"resourceRules": rules()}, "validations": [{"expression": "true"}],
            }}),
        ),
        (
            admission,
            "validatingadmissionpolicybindings",
            "",
            json!({"spec": {
                "policyName": "p", "validationActions": ["Deny"],
            }}),
        ),
        (admission, "validatingwebhookconfigurations", "", json!({"webhooks": [webhook]})),
        (
            "flowcontrol.apiserver.k8s.io",
            "flowschemas",
            "",
            json!({"spec": {
                "priorityLevelConfiguration": {"name": "x"},
            }}),
        ),
        (
            "flowcontrol.apiserver.k8s.io",
            "prioritylevelconfigurations",
            "",
            json!({"spec": {
                "type": "Limited", "limited": {"limitResponse": {"type": "Reject"}},
            }}),
        ),
        ("networking.k8s.io", "ingressclasses", "", json!({"spec": {"controller": "a.example/b"}})),
        (
            "networking.k8s.io",
            "ingresses",
            "default",
            json!({"spec": {
                "defaultBackend": {"service": {"name": "s", "port": {"number": 80}}},
            }}),
        ),
        ("networking.k8s.io", "networkpolicies", "default", json!({"spec": {"podSelector": {}}})),
        ("networking.k8s.io", "servicecidrs", "", json!({"spec": {"cidrs": ["10.99.0.0/16"]}})),
        ("resource.k8s.io", "deviceclasses", "", json!({"spec": {}})),
        ("resource.k8s.io", "resourceclaims", "default", json!({"spec": {"devices": devices}})),
        ("resource.k8s.io", "resourceclaimtemplates", "default", json!({"spec": {"spec": {"devices": devices}}})),
        (
            "resource.k8s.io",
            "resourceslices",
            "",
            json!({"spec": {
                "driver": "d.example", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1, "generation": 1},
            }}),
        ),
        ("storage.k8s.io", "csidrivers", "", json!({"spec": {}})),
        ("storage.k8s.io", "csinodes", "", json!({"spec": {"drivers": []}})),
        ("storage.k8s.io", "csistoragecapacities", "default", json!({"storageClassName": "c"})),
        (
            "storage.k8s.io",
            "volumeattachments",
            "",
            json!({"spec": {
                "attacher": "a.example", "nodeName": "n", "source": {"persistentVolumeName": "v"},
            }}),
        ),
        (
            "storage.k8s.io",
            "volumeattributesclasses",
            "",
            json!({
                "driverName": "d.example", "parameters": {"a": "b"},
            }),
        ),
    ]
}

#[test]
fn kinds_are_created_read_changed_and_deleted() {
    with_options(
        |options| options.minor = 36,
        |cluster| async move {
            let client = cluster.admin();
            for (group, plural, namespace, mut object) in least() {
                let gvr = GroupVersionResource::of(group, "v1", plural);
                object["metadata"] = json!({"name": "x"});
                let created = client.create(&gvr, namespace, object).await;
                let created = created.unwrap_or_else(|error| panic!("{plural}: {error}")).value();
                assert_eq!(client.get(&gvr, namespace, "x").await.unwrap().value(), created, "{plural}");
                let same = client.update(&gvr, namespace, "x", "", created.clone()).await.unwrap().value();
                assert_eq!(same, created, "{plural}: an update that changes nothing writes nothing");
                let labels = json!({"metadata": {"labels": {"a": "b"}}});
                let patched = client.patch(&gvr, namespace, "x", "", PatchType::Merge, labels).await.unwrap().value();
                assert_eq!(patched["metadata"]["generation"], created["metadata"]["generation"], "{plural}");
                client.delete(&gvr, namespace, "x", Preconditions::default()).await.unwrap();
            }
        },
    );
}

#[test]
fn every_cluster_has_its_first_objects_after_few_commits() {
    with_cluster(|cluster| async move {
        let revision = cluster.store.keyspace("cluster/").current_revision().await.unwrap();
        assert!(revision < 10, "{revision} commits");
        let client = cluster.admin();
        let get = async |gvr: &GroupVersionResource, name: &str| client.get(gvr, "", name).await.unwrap().value();
        for fixed in k8s_kinds::flow_control::LEVELS.iter().chain(k8s_kinds::flow_control::SCHEMAS) {
            let plural = format!("{}s", fixed.kind.to_lowercase());
            let gvr = GroupVersionResource::new("flowcontrol.apiserver.k8s.io", "v1", &plural);
            let found = get(&gvr, fixed.name).await;
            assert_eq!(found["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"], "true");
            assert_eq!((&found["metadata"]["generation"], &found["status"]), (&json!(1), &json!({})));
        }
        let cidr = get(&GroupVersionResource::of("networking.k8s.io", "v1", "servicecidrs"), "kubernetes").await;
        assert_eq!(cidr["spec"]["cidrs"], json!(["172.20.0.0/16"]));
        assert_eq!(cidr["status"]["conditions"][0]["status"], "True");
        let classes = GroupVersionResource::of("scheduling.k8s.io", "v1", "priorityclasses");
        assert_eq!(get(&classes, "system-node-critical").await["value"], 2_000_001_000);
        let own = get(&IP_ADDRESSES, "172.20.0.1").await;
        assert_eq!(
            own["spec"]["parentRef"],
            json!({"resource": "services", "namespace": "default", "name": "kubernetes"})
        );
        // Whoever starts later on the same store finds everything.
        let again = support::start(&cluster.world, &cluster.store).await;
        assert_eq!(again.store.keyspace("cluster/").current_revision().await.unwrap(), revision);
    });
}

#[test]
fn what_every_cluster_has_comes_back() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let [levels, schemas] = ["prioritylevelconfigurations", "flowschemas"]
            .map(|plural| GroupVersionResource::new("flowcontrol.apiserver.k8s.io", "v1", plural));
        let cidrs = GroupVersionResource::of("networking.k8s.io", "v1", "servicecidrs");
        let gone = Preconditions::default;
        client.delete(&resources::SERVICES, "default", "kubernetes", gone()).await.unwrap();
        cluster.world.sleep(Duration::from_secs(11)).await;
        let service = client.get(&resources::SERVICES, "default", "kubernetes").await.unwrap().value();
        assert_eq!(service["spec"]["clusterIP"], "172.20.0.1");
        assert!(client.get(&cidrs, "", "kubernetes").await.is_ok());

        client.delete(&levels, "", "workload-low", gone()).await.unwrap();
        client.delete(&schemas, "", "probes", gone()).await.unwrap();
        client.delete(&resources::NAMESPACES, "", "kube-node-lease", gone()).await.unwrap();
        let finalized = json!({"metadata": {"name": "kube-node-lease"}, "spec": {}});
        client.update(&resources::NAMESPACES, "", "kube-node-lease", "finalize", finalized).await.unwrap();
        // Nobody may change what is mandatory; the rest follows its annotation.
        let other = |shares: i64| json!({"spec": {"limited": {"nominalConcurrencyShares": shares}}});
        let patch = async |name: &str, patch: Value| {
            client.patch(&levels, "", name, "", PatchType::Merge, patch).await.unwrap();
        };
        patch("system", other(31)).await;
        let mut kept = other(41);
        kept["metadata"] = json!({"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}});
        patch("node-high", kept).await;
        let mut unwanted = client.get(&levels, "", "global-default").await.unwrap().value();
        unwanted["metadata"] = json!({"name": "old", "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}});
        client.create(&levels, "", unwanted).await.unwrap();
        cluster.world.sleep(Duration::from_secs(61)).await;
        let shares = async |name: &str| {
            client.get(&levels, "", name).await.unwrap().value()["spec"]["limited"]["nominalConcurrencyShares"].clone()
        };
        assert_eq!(
            (shares("workload-low").await, shares("system").await, shares("node-high").await),
            (100.into(), 30.into(), 41.into())
        );
        assert!(client.get(&schemas, "", "probes").await.is_ok());
        assert!(client.get(&resources::NAMESPACES, "", "kube-node-lease").await.is_ok());
        assert!(client.get(&levels, "", "old").await.unwrap_err().is_not_found());
        // What is as it should be is not written again.
        let written = async || {
            let mut written = Vec::new();
            for resource in [&levels, &schemas, &cidrs, &resources::SERVICES, &resources::NAMESPACES] {
                let (items, _) = client.list(resource, "").await.unwrap();
                written.extend(items.iter().map(|object| (object.key(), object.meta().resource_version.clone())));
            }
            written
        };
        let before = written().await;
        cluster.world.sleep(Duration::from_secs(121)).await;
        assert!(before.len() > 20);
        assert_eq!(written().await, before);
    });
}

#[test]
fn addresses_of_services_are_objects_that_come_and_go_with_them() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let service = |name: &str, spec: Value| {
            let mut object = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
            for (key, value) in spec.as_object().unwrap() {
                object["spec"][key.as_str()] = value.clone();
            }
            object
        };
        let gvr = &resources::SERVICES;
        let created = client.create(gvr, "default", service("a", json!({}))).await.unwrap().value();
        let address = created["spec"]["clusterIP"].as_str().unwrap();
        let object = client.get(&IP_ADDRESSES, "", address).await.unwrap().value();
        assert_eq!(object["spec"]["parentRef"]["name"], "a");
        assert_eq!(object["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"], "ipallocator.k8s.io");
        client.delete(gvr, "default", "a", Preconditions::default()).await.unwrap();
        let gone = client.get(&IP_ADDRESSES, "", address).await.unwrap_err();
        assert_eq!(gone.reason, Reason::NotFound);
        // A client may take an address for something else.
        let own = json!({"metadata": {"name": address}, "spec": {"parentRef": {"group": "a.example", "resource": "vips", "name": "v"}}});
        client.create(&IP_ADDRESSES, "", own).await.unwrap();
        let taken = client.create(gvr, "default", service("b", json!({"clusterIP": address}))).await.unwrap_err();
        assert!(taken.to_string().contains("already allocated"), "{taken}");
        // The address goes when the Service needs none any more.
        let created = client.create(gvr, "default", service("c", json!({}))).await.unwrap().value();
        let address = created["spec"]["clusterIP"].as_str().unwrap();
        let external = json!({"spec": {"type": "ExternalName", "externalName": "a.example", "ports": null}});
        client.patch(gvr, "default", "c", "", PatchType::Merge, external).await.unwrap();
        assert_eq!(client.get(&IP_ADDRESSES, "", address).await.unwrap_err().reason, Reason::NotFound);
    });
}

#[test]
fn addresses_come_from_every_range_that_is_ready() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let cidrs = GroupVersionResource::of("networking.k8s.io", "v1", "servicecidrs");
        let more = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.9.0.0/30", "2001:db8::/64"]}});
        client.create(&cidrs, "", more).await.unwrap();
        let service = async |address: &str| {
            let spec = json!({"clusterIP": address, "ports": [{"port": 80}]});
            let service = json!({"metadata": {"generateName": "s-"}, "spec": spec});
            client.create(&resources::SERVICES, "default", service).await
        };
        let early = service("10.9.0.1").await.unwrap_err();
        assert!(early.to_string().contains("does not match the current range"), "{early}");
        let ready = async |status: &str| {
            let condition = json!({"type": "Ready", "status": status, "reason": "", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let patch = json!({"status": {"conditions": [condition]}});
            client.patch(&cidrs, "", "more", "status", PatchType::Merge, patch).await.unwrap();
        };
        ready("True").await;
        service("10.9.0.1").await.unwrap();
        assert!(client.get(&IP_ADDRESSES, "", "10.9.0.1").await.is_ok());
        for (address, problem) in [("10.9.0.1", "already allocated"), ("10.9.0.3", "does not match the current range")]
        {
            let refused = service(address).await.unwrap_err();
            assert!(refused.to_string().contains(problem), "{refused}");
        }
        // Without another range its last address goes to whoever wants any; then it is full.
        let condition = json!({"type": "Ready", "status": "False", "reason": "", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let patch = json!({"status": {"conditions": [condition]}});
        client.patch(&cidrs, "", "kubernetes", "status", PatchType::Merge, patch).await.unwrap();
        assert_eq!(service("").await.unwrap().value()["spec"]["clusterIP"], "10.9.0.2");
        let full = service("").await.unwrap_err();
        assert_eq!(full.to_string(), "Internal error occurred: failed to allocate a serviceIP: range is full");
        // A range that is going gives nothing; what it has given stays.
        ready("False").await;
        assert!(service("10.9.0.2").await.unwrap_err().to_string().contains("does not match the current range"));
        assert!(client.get(&IP_ADDRESSES, "", "10.9.0.2").await.is_ok());
    });
}

#[test]
fn a_namespace_under_a_made_name_carries_it() {
    with_cluster(|cluster| async move {
        let named = json!({"metadata": {"generateName": "made-"}});
        let made = cluster.admin().create(&resources::NAMESPACES, "", named).await.unwrap();
        assert_eq!(made.meta().labels.get("kubernetes.io/metadata.name"), Some(made.meta().name.as_str()));
    });
}

/// A user who may do everything, and is no administrator to whom no rule applies.
async fn allow_all(cluster: &Cluster, name: &str, rules: Value) {
    let client = cluster.admin();
    let role = json!({"metadata": {"name": name}, "rules": rules});
    client.create(&resources::CLUSTER_ROLES, "", role).await.unwrap();
    let binding = json!({
        "metadata": {"name": name}, "subjects": [{"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": name, "apiGroup": "rbac.authorization.k8s.io"},
    });
    client.create(&resources::CLUSTER_ROLE_BINDINGS, "", binding).await.unwrap();
}

/// A request by a P-256 key for `CN=test`.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIS01IRUNBUUF3RHpFTk1Bc0dBMVVFQXd3RWRHVnpkREJaTUJNR0J5cUdTTTQ5QWdFR0NDcUdTTTQ5QXdFSApBMElBQktMYnM3NitRbnY0OFpIdzBINWZKdmpOa3hhOUlDclF4OFlNc1ByMXNFaTl6eEVqV01tajlOWTBNK0RKCmZCbE80VGpjS2s4VHZBVktJMkdUVDhVVk1PdWdBREFLQmdncWhrak9QUVFEQWdOSkFEQkdBaUVBaHJnZG92YkgKaTFFUndRYzVoME5LRk1peWFnaWpwUEp4WkZyK05GVmovalFDSVFEWTZ2S3pHL3ZSOVd0bk5qUFVRbDh2ajE5dwpBbGdIVUNOTzNZZWpuVGRIY3c9PQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K";

#[test]
fn a_certificate_is_asked_for_by_whom_the_server_knows() {
    with_cluster(|cluster| async move {
        allow_all(&cluster, "alice", json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}])).await;
        let alice = cluster.server.client(UserInfo::new("alice", &["dev"]), "test");
        let object = json!({
            "metadata": {"name": "Any Name"},
            "spec": {
                "request": REQUEST, "signerName": "a.example/s", "usages": ["client auth"],
                "username": "mallory", "groups": ["system:masters"],
            },
        });
        let created = alice.create(&REQUESTS, "", object).await.unwrap().value();
        assert_eq!(
            (&created["spec"]["username"], &created["spec"]["groups"]),
            (&json!("alice"), &json!(["dev", "system:authenticated"]))
        );
        let approve = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "r"}]}});
        let refused = alice.patch(&REQUESTS, "", "Any Name", "status", PatchType::Merge, approve.clone()).await;
        assert!(refused.unwrap_err().to_string().contains("updates may not add a condition of type \"Approved\""));
        let approved = alice.patch(&REQUESTS, "", "Any Name", "approval", PatchType::Merge, approve).await.unwrap();
        assert!(approved.value()["status"]["conditions"][0]["lastUpdateTime"].is_string());
        let other = json!({"spec": {"username": "mallory"}, "status": {"certificate": "eA=="}});
        let kept = alice.patch(&REQUESTS, "", "Any Name", "", PatchType::Merge, other).await.unwrap().value();
        assert_eq!((&kept["spec"]["username"], &kept["status"]["certificate"]), (&json!("alice"), &Value::Null));
    });
}

#[test]
fn parameters_of_policies_are_shown_to_who_may_read_them() {
    with_cluster(|cluster| async move {
        let writes = json!([{"verbs": ["*"], "apiGroups": ["admissionregistration.k8s.io"], "resources": ["*"]}]);
        allow_all(&cluster, "bob", writes).await;
        let bob = cluster.user("bob");
        let policy = |name: &str, kind: &str| {
            json!({"metadata": {"name": name}, "spec": {
                "paramKind": {"apiVersion": "v1", "kind": kind}, "matchConstraints": {"resourceRules": rules()},
                "validations": [{"expression": "true"}],
            }})
        };
        let refused = bob.create(&POLICIES, "", policy("a", "ConfigMap")).await.unwrap_err();
        assert_eq!(
            refused.causes[0].message,
            r#"Forbidden: user &{bob  [system:authenticated] map[]} must have "get" permission on all objects of the referenced paramKind (kind=ConfigMap, apiVersion=v1)"#
        );
        cluster.admin().create(&POLICIES, "", policy("a", "ConfigMap")).await.unwrap();
        let binding = |policy: &str| {
            json!({"metadata": {"name": "b"}, "spec": {
                "policyName": policy, "validationActions": ["Deny"],
                "paramRef": {"name": "c", "namespace": "default", "parameterNotFoundAction": "Deny"},
            }})
        };
        for (name, expected) in [
            (
                "a",
                r#"user &{bob  [system:authenticated] map[]} does not have "get" permission on the object referenced by paramRef"#,
            ),
            ("none", "unable to get policy none to determine minimum required permissions"),
        ] {
            let refused = bob.create(&BINDINGS, "", binding(name)).await.unwrap_err();
            assert!(refused.causes[0].message.contains(expected), "{refused}");
        }
        cluster.admin().create(&BINDINGS, "", binding("a")).await.unwrap();
    });
}

#[test]
fn devices_in_use_take_a_label_on_the_namespace() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let claim = json!({"metadata": {"name": "a"}, "spec": {"devices": {"requests": [
            {"name": "r", "exactly": {"deviceClassName": "c", "adminAccess": true}},
        ]}}});
        let refused = client.create(&CLAIMS, "default", claim.clone()).await.unwrap_err();
        assert!(refused.to_string().contains(
            "spec.devices.requests[0].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label"
        ), "{refused}");
        let label = json!({"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}});
        client.patch(&resources::NAMESPACES, "", "default", "", PatchType::Merge, label).await.unwrap();
        client.create(&CLAIMS, "default", claim).await.unwrap();
    });
}

#[test]
fn the_service_of_the_api_server_leads_to_it_in_both_forms_unless_only_it_can_go_there() {
    for (address, told) in [("10.0.0.7:6443", true), ("127.0.0.1:6443", false)] {
        let change = |options: &mut apiserver::Options| options.endpoint = Some(address.parse().unwrap());
        with_options(change, async |cluster| {
            let client = cluster.admin();
            let found =
                async |resource| client.get(resource, "default", "kubernetes").await.ok().map(|own| own.value());
            let (endpoints, slice) = (found(&resources::ENDPOINTS).await, found(&resources::ENDPOINT_SLICES).await);
            assert_eq!((endpoints.is_some(), slice.is_some()), (told, told), "{address}");
            let (Some(endpoints), Some(slice)) = (endpoints, slice) else { return };
            let subset = &endpoints["subsets"][0];
            assert_eq!(subset["addresses"][0]["ip"], slice["endpoints"][0]["addresses"][0]);
            assert_eq!(subset["ports"], slice["ports"]);
            assert_eq!(endpoints["metadata"]["labels"]["endpointslice.kubernetes.io/skip-mirror"], "true");
        });
    }
}
