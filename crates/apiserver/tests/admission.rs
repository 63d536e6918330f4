//! Plugins of the admission chain through the whole path of a request.

mod support;

use k8s_client::{Options, PatchType, Request, Verb};
use k8s_object::{ApiError, GroupVersionResource, Object, Reason, resources};
use serde_json::{Value, json};
use std::sync::Arc;
use support::http::{ask, with_names};
use support::{Cluster, request, with_cluster, with_options};

const LIMITS: GroupVersionResource = GroupVersionResource::of("", "v1", "limitranges");
const QUOTAS: GroupVersionResource = GroupVersionResource::of("", "v1", "resourcequotas");
const PODS: GroupVersionResource = resources::PODS;

async fn with_account(cluster: &Cluster, namespace: &str) {
    let body = json!({"metadata": {"name": "default"}});
    cluster.admin().create(&resources::SERVICE_ACCOUNTS, namespace, body).await.unwrap();
}

fn merged(mut base: Value, extra: &Value) -> Value {
    match (&mut base, extra) {
        (Value::Object(map), Value::Object(extra)) => {
            for (key, value) in extra {
                let own = map.remove(key).unwrap_or_default();
                map.insert(key.clone(), merged(own, value));
            }
            base
        }
        _ => extra.clone(),
    }
}

fn pod(name: &str, resources: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}})
}

async fn create(cluster: &Cluster, pod: Value) -> Result<Arc<Object>, ApiError> {
    cluster.admin().create(&PODS, "default", pod).await
}

#[test]
fn limit_ranges_give_and_bound_what_containers_ask_for() {
    with_cluster(|cluster| async move {
        with_account(&cluster, "default").await;
        let limits = json!({"metadata": {"name": "l"}, "spec": {"limits": [
            {"type": "Container", "default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "250m"}, "max": {"cpu": "1"}},
            {"type": "Pod", "max": {"memory": "2Gi"}},
        ]}});
        cluster.admin().create(&LIMITS, "default", limits).await.unwrap();
        let created = create(&cluster, pod("a", json!({}))).await.unwrap().value();
        let resources = &created["spec"]["containers"][0]["resources"];
        assert_eq!(resources["limits"], json!({"cpu": "500m", "memory": "1Gi"}));
        assert_eq!(resources["requests"], json!({"cpu": "250m", "memory": "1Gi"}));
        assert_eq!(
            created["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
            "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c"
        );
        let refused = create(&cluster, pod("b", json!({"limits": {"cpu": "2", "memory": "3Gi"}}))).await.unwrap_err();
        assert_eq!(
            refused.message,
            r#"pods "b" is forbidden: [maximum cpu usage per Container is 1, but limit is 2, maximum memory usage per Pod is 2Gi, but limit is 3Gi]"#
        );
        assert_eq!(refused.reason, Reason::Forbidden);
    });
}

/// What the controller would write into the status of a quota that nobody has used.
async fn quota(cluster: &Cluster, name: &str, hard: Value, spec: Value) {
    let body = merged(json!({"metadata": {"name": name}, "spec": {"hard": hard}}), &json!({"spec": spec}));
    let created = cluster.admin().create(&QUOTAS, "default", body).await.unwrap();
    let hard = created.value()["spec"]["hard"].clone();
    let used: serde_json::Map<String, Value> =
        hard.as_object().unwrap().keys().map(|key| (key.clone(), json!("0"))).collect();
    let status = json!({"status": {"hard": hard, "used": used}});
    cluster.admin().patch(&QUOTAS, "default", name, "status", PatchType::Merge, status).await.unwrap();
}

async fn used(cluster: &Cluster, name: &str) -> Value {
    cluster.admin().get(&QUOTAS, "default", name).await.unwrap().value()["status"]["used"].clone()
}

#[test]
fn quotas_are_charged_and_bound_what_a_namespace_has() {
    with_cluster(|cluster| async move {
        with_account(&cluster, "default").await;
        let asking = |cpu: &str| json!({"requests": {"cpu": cpu, "memory": "1Gi"}});
        quota(
            &cluster,
            "q",
            json!({"pods": "3", "requests.cpu": "2", "requests.memory": "10Gi", "count/configmaps": "1"}),
            json!({}),
        )
        .await;
        create(&cluster, pod("a", asking("1500m"))).await.unwrap();
        assert_eq!(
            used(&cluster, "q").await,
            json!({"pods": "1", "requests.cpu": "1500m", "requests.memory": "1Gi", "count/configmaps": "0"})
        );
        let cases = [
            (
                asking("600m"),
                "exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=1500m, limited: requests.cpu=2",
            ),
            (json!({"requests": {"memory": "1Gi"}}), "failed quota: q: must specify requests.cpu for: c"),
            (json!({}), "failed quota: q: must specify requests.cpu for: c; requests.memory for: c"),
        ];
        for (resources, expected) in cases {
            let refused = create(&cluster, pod("b", resources)).await.unwrap_err();
            assert_eq!(
                (refused.message.as_str(), refused.reason),
                (&*format!("pods \"b\" is forbidden: {expected}"), Reason::Forbidden)
            );
        }
        // A dry run is checked and not charged.
        let dry = |cpu: &str| Request {
            body: k8s_client::Body::Json(pod("b", asking(cpu))),
            options: Options { dry_run: true, ..Options::default() },
            ..request(Verb::Create, &PODS, "default", "")
        };
        assert!(cluster.admin().call(dry("600m")).await.is_err());
        cluster.admin().call(dry("500m")).await.unwrap();
        assert_eq!(used(&cluster, "q").await["pods"], "1");
        let config_map = |name: &str| json!({"metadata": {"name": name}});
        cluster.admin().create(&resources::CONFIG_MAPS, "default", config_map("a")).await.unwrap();
        let refused = cluster.admin().create(&resources::CONFIG_MAPS, "default", config_map("b")).await.unwrap_err();
        assert_eq!(
            refused.message,
            r#"configmaps "b" is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1"#
        );
    });
}

#[test]
fn a_quota_is_not_exceeded_by_many_at_once() {
    with_cluster(|cluster| async move {
        with_account(&cluster, "default").await;
        quota(&cluster, "q", json!({"pods": "5"}), json!({})).await;
        let tasks = cluster.world.tasks("creators");
        let done = Arc::new(std::sync::Mutex::new(Vec::new()));
        for index in 0..20 {
            let (client, done) = (cluster.admin(), done.clone());
            tasks.spawn("creator", async move {
                let created = client.create(&PODS, "default", pod(&format!("p{index}"), json!({}))).await;
                done.lock().unwrap().push(created.map(|_| ()).map_err(|error| error.reason));
            });
        }
        while !tasks.is_empty() {
            cluster.world.sleep(std::time::Duration::from_millis(10)).await;
        }
        let done = std::mem::take(&mut *done.lock().unwrap());
        assert_eq!(done.iter().filter(|outcome| outcome.is_ok()).count(), 5, "{done:?}");
        assert!(done.iter().all(|outcome| matches!(outcome, Ok(()) | Err(Reason::Forbidden))), "{done:?}");
        assert_eq!(used(&cluster, "q").await, json!({"pods": "5"}));
    });
}

#[test]
fn quotas_concern_what_is_in_their_scopes() {
    with_cluster(|cluster| async move {
        with_account(&cluster, "default").await;
        quota(&cluster, "short", json!({"pods": "1"}), json!({"scopes": ["Terminating"]})).await;
        quota(&cluster, "cheap", json!({"pods": "1"}), json!({"scopes": ["BestEffort"]})).await;
        let short = |name: &str| merged(pod(name, json!({})), &json!({"spec": {"activeDeadlineSeconds": 60}}));
        let asking = |pod: Value| {
            let container = json!([{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]);
            merged(pod, &json!({"spec": {"containers": container}}))
        };
        create(&cluster, asking(pod("a", json!({})))).await.unwrap();
        create(&cluster, asking(short("b"))).await.unwrap();
        assert_eq!(
            (used(&cluster, "short").await, used(&cluster, "cheap").await),
            (json!({"pods": "1"}), json!({"pods": "0"}))
        );
        let refused = create(&cluster, asking(short("c"))).await.unwrap_err();
        assert!(refused.message.contains("exceeded quota: short"), "{}", refused.message);
        create(&cluster, pod("d", json!({}))).await.unwrap();
        assert!(create(&cluster, pod("e", json!({}))).await.unwrap_err().message.contains("exceeded quota: cheap"));
        // One whose status nobody has counted yet cannot be charged: it concerns nobody.
        let body = json!({"metadata": {"name": "new"}, "spec": {"hard": {"secrets": "0"}}});
        cluster.admin().create(&QUOTAS, "default", body).await.unwrap();
        cluster.admin().create(&resources::SECRETS, "default", json!({"metadata": {"name": "s"}})).await.unwrap();
    });
}

#[test]
fn pod_security_refuses_and_warns() {
    with_options(with_names, |cluster| async move {
        let admin = cluster.admin();
        let namespace = |labels: Value| json!({"metadata": {"name": "safe", "labels": labels}});
        let enforce = json!({"pod-security.kubernetes.io/enforce": "strict"});
        let refused = admin.create(&resources::NAMESPACES, "", namespace(enforce)).await.unwrap_err();
        assert_eq!(
            refused.message,
            r#"Namespace "safe" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted"#
        );
        admin.create(&resources::NAMESPACES, "", namespace(json!({}))).await.unwrap();
        with_account(&cluster, "safe").await;
        for name in ["x1", "x2"] {
            let body = merged(pod(name, json!({})), &json!({"spec": {"hostNetwork": true}}));
            admin.create(&PODS, "safe", body).await.unwrap();
        }
        let body = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}).to_string();
        let merge = ["content-type: application/merge-patch+json"];
        let answer = ask(&cluster, "admin", "PATCH /api/v1/namespaces/safe", &merge, &body).await;
        let warnings: Vec<&str> = answer.headers.get_all("warning").iter().map(|own| own.to_str().unwrap()).collect();
        assert_eq!(
            warnings,
            [
                r#"299 - "existing pods in namespace \"safe\" violate the new PodSecurity enforce level \"baseline:latest\"""#,
                r#"299 - "x1 (and 1 other pod): host namespaces""#,
            ]
        );
        let body = merged(pod("y", json!({})), &json!({"spec": {"hostPID": true}}));
        let refused = admin.create(&PODS, "safe", body).await.unwrap_err();
        assert_eq!(
            (refused.message.as_str(), refused.reason),
            (
                r#"pods "y" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)"#,
                Reason::Forbidden
            )
        );
        let template = merged(pod("", json!({})), &json!({"spec": {"hostPID": true}}));
        let deployment = json!({"metadata": {"name": "d"}, "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": template["spec"]}}});
        let line = "POST /apis/apps/v1/namespaces/safe/deployments";
        let answer = ask(&cluster, "admin", line, &[], &deployment.to_string()).await;
        assert_eq!(
            (answer.status, answer.header("warning")),
            (201, r#"299 - "would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)""#),
            "{}",
            answer.text()
        );
        let page = ask(&cluster, "admin", "GET /metrics", &[], "").await.text();
        let counted = |decision: &str, level: &str, mode: &str, resource: &str, count: u64| {
            format!(
                r#"pod_security_evaluations_total{{decision="{decision}",mode="{mode}",policy_level="{level}",policy_version="latest",request_operation="create",resource="{resource}",subresource=""}} {count}"#
            )
        };
        for expected in [
            counted("deny", "baseline", "enforce", "pod", 1),
            counted("deny", "baseline", "warn", "controller", 1),
            r#"pod_security_exemptions_total{request_operation="update",resource="controller",subresource=""} 0"#.into(),
            r#"apiserver_admission_controller_admission_duration_seconds_count{name="PodSecurity",operation="CREATE",rejected="true",type="validate"} 2"#.into(),
            r#"apiserver_admission_controller_admission_duration_seconds_count{name="ServiceAccount",operation="CREATE",rejected="false",type="admit"}"#.into(),
            r#"apiserver_admission_controller_admission_duration_seconds_count{name="NamespaceLifecycle",operation="CREATE",rejected="false",type="admit"}"#.into(),
        ] {
            assert!(page.contains(&expected), "{expected}\nin\n{page}");
        }
        // What the checks do not look at can be changed on pods that are against them.
        let label = json!({"metadata": {"labels": {"a": "b"}}});
        admin.patch(&PODS, "safe", "x1", "", PatchType::Merge, label).await.unwrap();
        let image = json!({"spec": {"containers": [{"name": "c", "image": "j"}]}});
        assert!(admin.patch(&PODS, "safe", "x1", "", PatchType::Strategic, image).await.is_err());
    });
}

#[test]
fn new_nodes_take_no_pods_until_they_are_ready() {
    with_cluster(|cluster| async move {
        let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
        let own = json!({"key": "a", "effect": "NoExecute"});
        let cases = [
            (json!({}), json!([taint])),
            (json!({"taints": [own]}), json!([own, taint])),
            (json!({"taints": [taint]}), json!([taint])),
        ];
        for (index, (spec, expected)) in cases.into_iter().enumerate() {
            let body = json!({"metadata": {"name": format!("n{index}")}, "spec": spec});
            let node = cluster.admin().create(&resources::NODES, "", body).await.unwrap().value();
            assert_eq!(node["spec"]["taints"], expected);
        }
    });
}

#[test]
fn pods_tolerate_the_taints_of_devices_and_know_their_zone() {
    let options = |options: &mut apiserver::Options| options.minor = 35;
    with_options(options, |cluster| async move {
        with_account(&cluster, "default").await;
        let created = create(&cluster, pod("a", json!({"limits": {"example.com/gpu": "1"}}))).await.unwrap().value();
        let device = json!({"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"});
        assert!(created["spec"]["tolerations"].as_array().unwrap().contains(&device));
        let node = json!({"metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "z", "other": "x"}}});
        cluster.admin().create(&resources::NODES, "", node).await.unwrap();
        let binding = json!({"target": {"kind": "Node", "name": "n"}});
        cluster.admin().create_subresource(&PODS, "default", "a", "binding", binding).await.unwrap();
        let bound = cluster.admin().get(&PODS, "default", "a").await.unwrap();
        assert_eq!(bound.value()["metadata"]["labels"], json!({"topology.kubernetes.io/zone": "z"}));
    });
}

#[test]
fn runtime_classes_say_what_a_pod_costs_and_where_it_runs() {
    const CLASSES: GroupVersionResource = GroupVersionResource::of("node.k8s.io", "v1", "runtimeclasses");
    with_cluster(|cluster| async move {
        with_account(&cluster, "default").await;
        let class = json!({"metadata": {"name": "vm"}, "handler": "vm", "overhead": {"podFixed": {"cpu": "250m"}},
            "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]}});
        cluster.admin().create(&CLASSES, "", class).await.unwrap();
        let with = |spec: Value| merged(pod("p", json!({})), &json!({"spec": spec}));
        let created = create(&cluster, with(json!({"runtimeClassName": "vm"}))).await.unwrap().value();
        assert_eq!(
            (&created["spec"]["overhead"], &created["spec"]["nodeSelector"]),
            (&json!({"cpu": "250m"}), &json!({"vm": "yes"}))
        );
        assert!(
            created["spec"]["tolerations"].as_array().unwrap().contains(&json!({"key": "vm", "operator": "Exists"}))
        );
        let cases = [
            (json!({"runtimeClassName": "none"}), r#"pod rejected: RuntimeClass "none" not found"#),
            (
                json!({"runtimeClassName": "vm", "overhead": {"cpu": "1"}}),
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
            ),
            (
                json!({"overhead": {"cpu": "1"}}),
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            ),
            (
                json!({"runtimeClassName": "vm", "nodeSelector": {"vm": "no"}}),
                "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no",
            ),
        ];
        for (spec, why) in cases {
            let refused = create(&cluster, with(spec)).await.unwrap_err();
            assert_eq!(refused.message, format!("pods \"p\" is forbidden: {why}"));
        }
    });
}

#[test]
fn accounts_may_insist_on_their_secrets() {
    with_cluster(|cluster| async move {
        let account = json!({"metadata": {"name": "default", "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}},
            "secrets": [{"name": "mine"}], "imagePullSecrets": [{"name": "pull"}]});
        cluster.admin().create(&resources::SERVICE_ACCOUNTS, "default", account).await.unwrap();
        let volume = |name: &str| json!({"volumes": [{"name": "v", "secret": {"secretName": name}}]});
        let env = |name: &str| {
            json!({"containers": [{"name": "c", "image": "i", "env": [
                {"name": "E", "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}}]}]})
        };
        let ending = "is not allowed because service account default does not reference that";
        let cases = [
            (volume("mine"), None),
            (env("mine"), None),
            (volume("theirs"), Some(format!("volume with secret.secretName=\"theirs\" {ending} secret"))),
            (
                env("theirs"),
                Some(format!("container c with envVar E referencing secret.secretName=\"theirs\" {ending} secret")),
            ),
            (
                json!({"imagePullSecrets": [{"name": "other"}]}),
                Some(format!("imagePullSecrets[0].name=\"other\" {ending} imagePullSecret")),
            ),
        ];
        for (index, (spec, expected)) in cases.into_iter().enumerate() {
            let name = format!("p{index}");
            let created = create(&cluster, merged(pod(&name, json!({})), &json!({"spec": spec}))).await;
            let expected = expected.map(|why| format!("pods \"{name}\" is forbidden: {why}"));
            assert_eq!(created.err().map(|error| error.message), expected);
        }
    });
}

#[test]
fn claims_get_the_default_class_and_grow_as_their_class_allows() {
    const CLASSES: GroupVersionResource = GroupVersionResource::of("storage.k8s.io", "v1", "storageclasses");
    const CLAIMS: GroupVersionResource = GroupVersionResource::of("", "v1", "persistentvolumeclaims");
    with_cluster(|cluster| async move {
        let admin = cluster.admin();
        for (name, default, grows) in [("rigid", "false", false), ("elastic", "true", true)] {
            let class = json!({"metadata": {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": default}},
                "provisioner": "ebs.csi.aws.com", "allowVolumeExpansion": grows});
            admin.create(&CLASSES, "", class).await.unwrap();
        }
        let claim = |name: &str, spec: Value| {
            let base = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
            json!({"metadata": {"name": name}, "spec": merged(base, &spec)})
        };
        let created = admin.create(&CLAIMS, "default", claim("a", json!({}))).await.unwrap().value();
        assert_eq!(created["spec"]["storageClassName"], "elastic");
        assert_eq!(created["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
        let rigid = claim("b", json!({"storageClassName": "rigid"}));
        admin.create(&CLAIMS, "default", rigid).await.unwrap();
        let grow = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
        let bound =
            json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}});
        for (name, expected) in [
            ("a", None),
            (
                "b",
                Some(
                    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
                ),
            ),
        ] {
            let unbound = admin.patch(&CLAIMS, "default", name, "", PatchType::Merge, grow.clone()).await.unwrap_err();
            assert!(matches!(unbound.reason, Reason::Forbidden | Reason::Invalid), "{}", unbound.message);
            admin.patch(&CLAIMS, "default", name, "status", PatchType::Merge, bound.clone()).await.unwrap();
            let grown = admin.patch(&CLAIMS, "default", name, "", PatchType::Merge, grow.clone()).await;
            let expected = expected.map(|why| format!("persistentvolumeclaims \"{name}\" is forbidden: {why}"));
            assert_eq!(grown.err().map(|error| error.message), expected, "{name}");
        }
        // What a claim costs is counted by its class too.
        let hard = json!({"requests.storage": "10Gi", "rigid.storageclass.storage.k8s.io/persistentvolumeclaims": "1"});
        quota(&cluster, "q", hard, json!({})).await;
        admin.create(&CLAIMS, "default", claim("c", json!({"storageClassName": "rigid"}))).await.unwrap();
        let refused =
            admin.create(&CLAIMS, "default", claim("d", json!({"storageClassName": "rigid"}))).await.unwrap_err();
        assert!(
            refused
                .message
                .contains("exceeded quota: q, requested: rigid.storageclass.storage.k8s.io/persistentvolumeclaims=1"),
            "{}",
            refused.message
        );
        assert_eq!(used(&cluster, "q").await["requests.storage"], "1Gi");
    });
}
