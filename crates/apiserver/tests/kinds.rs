//! What is particular about namespaces, pods, Services, workloads, reviews and custom resources.

mod support;

use k8s_client::{Options, PatchType, Preconditions, Reply};
use k8s_object::{GroupVersionResource, Reason, UserInfo, resources};
use serde_json::{Value, json};
use support::{Cluster, call, request, with_cluster};

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}},
        },
    })
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]},
    })
}

async fn with_account(cluster: &Cluster) {
    let account = json!({"metadata": {"name": "default"}});
    cluster.admin().create(&resources::SERVICE_ACCOUNTS, "default", account).await.unwrap();
}

#[test]
fn a_namespace_goes_when_it_is_finalized() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let created = client.create(&resources::NAMESPACES, "", json!({"metadata": {"name": "team"}})).await.unwrap();
        assert_eq!(created.value()["spec"]["finalizers"], json!(["kubernetes"]));
        assert_eq!(created.value()["status"]["phase"], "Active");
        client.delete(&resources::NAMESPACES, "", "team", Preconditions::default()).await.unwrap();
        let going = client.get(&resources::NAMESPACES, "", "team").await.unwrap();
        assert_eq!(going.value()["status"]["phase"], "Terminating");
        let late =
            client.create(&resources::CONFIG_MAPS, "team", json!({"metadata": {"name": "a"}})).await.unwrap_err();
        assert_eq!(late.reason, Reason::Forbidden);
        assert!(late.to_string().contains("because it is being terminated"), "{late}");
        let mut finalized = going.value();
        finalized["spec"] = json!({});
        client.update(&resources::NAMESPACES, "", "team", "finalize", finalized).await.unwrap();
        assert!(client.get(&resources::NAMESPACES, "", "team").await.unwrap_err().is_not_found());
        let error = client.delete(&resources::NAMESPACES, "", "default", Preconditions::default()).await.unwrap_err();
        assert_eq!(error.to_string(), r#"namespaces "default" is forbidden: this namespace may not be deleted"#);
    });
}

#[test]
fn generation_counts_changes_of_the_specification() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let gvr = &resources::DEPLOYMENTS;
        let created = client.create(gvr, "default", deployment("web")).await.unwrap();
        assert_eq!(created.meta().generation, 1);
        assert_eq!(created.value()["spec"]["strategy"]["type"], "RollingUpdate", "defaults are filled");
        let steps = [
            ("", json!({"spec": {"replicas": 2}}), 2),
            ("", json!({"metadata": {"labels": {"a": "b"}}}), 2),
            ("status", json!({"status": {"replicas": 2, "observedGeneration": 2}}), 2),
            ("scale", json!({"spec": {"replicas": 5}}), 3),
        ];
        for (subresource, patch, generation) in steps {
            client.patch(gvr, "default", "web", subresource, PatchType::Merge, patch.clone()).await.unwrap();
            assert_eq!(client.get(gvr, "default", "web").await.unwrap().meta().generation, generation, "{patch}");
        }
        let end = client.get(gvr, "default", "web").await.unwrap().value();
        assert_eq!((&end["spec"]["replicas"], &end["status"]["replicas"]), (&json!(5), &json!(2)));
        let status = json!({"status": {"replicas": 9}, "spec": {"replicas": 9}});
        client.patch(gvr, "default", "web", "", PatchType::Merge, status).await.unwrap();
        assert_eq!(
            client.get(gvr, "default", "web").await.unwrap().value()["status"]["replicas"],
            2,
            "status is written apart"
        );
        let mut scale = request(k8s_client::Verb::Get, gvr, "default", "web");
        scale.subresource = "scale".into();
        match client.call(scale).await.unwrap() {
            Reply::Value(scale) => assert_eq!(scale["status"]["selector"], "app=web"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_pod_is_completed_bound_and_deleted_with_grace() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let early = client.create(&resources::PODS, "default", pod("early")).await.unwrap_err();
        assert!(early.to_string().contains(r#"serviceaccount "default" not found"#), "{early}");
        with_account(&cluster).await;
        let created = client.create(&resources::PODS, "default", pod("a")).await.unwrap().value();
        let spec = &created["spec"];
        assert_eq!(spec["serviceAccountName"], "default");
        assert_eq!(spec["priority"], 0);
        assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
        assert!(spec["volumes"][0]["name"].as_str().unwrap().starts_with("kube-api-access-"));
        assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], spec["volumes"][0]["name"]);
        assert_eq!(created["status"]["phase"], "Pending");
        let bind = |node: &str| json!({"target": {"kind": "Node", "name": node}});
        client.create_subresource(&resources::PODS, "default", "a", "binding", bind("n1")).await.unwrap();
        let again =
            client.create_subresource(&resources::PODS, "default", "a", "binding", bind("n2")).await.unwrap_err();
        assert!(again.to_string().contains("already assigned to node"), "{again}");
        let on_node = Options { field_selector: Some("spec.nodeName=n1".into()), ..Options::default() };
        assert_eq!(client.list_with(&resources::PODS, "", on_node).await.unwrap().0.len(), 1);
        client.delete(&resources::PODS, "default", "a", Preconditions::default()).await.unwrap();
        let going = client.get(&resources::PODS, "default", "a").await.unwrap();
        assert_eq!(going.meta().deletion_grace_period_seconds, Some(30));
        assert_eq!(going.meta().deletion_timestamp.as_deref(), Some("2026-01-01T00:00:32Z"));
        let now = Options { grace_period_seconds: Some(0), ..Options::default() };
        client.delete_with(&resources::PODS, "default", "a", now).await.unwrap();
        assert!(client.get(&resources::PODS, "default", "a").await.unwrap_err().is_not_found());
        client.create(&resources::PODS, "default", pod("b")).await.unwrap();
        client.delete(&resources::PODS, "default", "b", Preconditions::default()).await.unwrap();
        assert!(
            client.get(&resources::PODS, "default", "b").await.unwrap_err().is_not_found(),
            "no node has to let it go"
        );
    });
}

#[test]
fn an_eviction_asks_the_budget() {
    with_cluster(|cluster| async move {
        with_account(&cluster).await;
        let client = cluster.admin();
        let budgets = GroupVersionResource::of("policy", "v1", "poddisruptionbudgets");
        let newer = json!({"apiVersion": "policy/v2", "kind": "Eviction", "metadata": {"name": "a"}});
        let unknown = client.create_subresource(&resources::PODS, "default", "a", "eviction", newer).await.unwrap_err();
        assert!(
            unknown.to_string().contains(r#"no kind "Eviction" is registered for version "policy/v2""#),
            "{unknown}"
        );
        let budget = json!({"metadata": {"name": "web"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
        client.create(&budgets, "default", budget).await.unwrap();
        let mut kept = pod("a");
        kept["metadata"]["finalizers"] = json!(["example.com/kept"]);
        client.create(&resources::PODS, "default", kept).await.unwrap();
        let running = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        client.patch(&resources::PODS, "default", "a", "status", PatchType::Merge, running).await.unwrap();
        let pods = resources::PODS;
        let evict = || client.create_subresource(&pods, "default", "a", "eviction", json!({"metadata": {"name": "a"}}));
        assert_eq!(evict().await.unwrap_err().reason, Reason::TooManyRequests, "the budget is still being processed");
        let allow = |count: i64| {
            json!({"status": {
                "observedGeneration": 1, "disruptionsAllowed": count, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1,
            }})
        };
        client.patch(&budgets, "default", "web", "status", PatchType::Merge, allow(0)).await.unwrap();
        let refused = evict().await.unwrap_err();
        assert!(refused.causes[0].message.contains("needs 1 healthy pods and has 1 currently"), "{refused:?}");
        client.patch(&budgets, "default", "web", "status", PatchType::Merge, allow(1)).await.unwrap();
        evict().await.unwrap();
        let evicted = client.get(&resources::PODS, "default", "a").await.unwrap();
        let conditions = evicted.value()["status"]["conditions"].clone();
        let told = conditions.as_array().unwrap().iter().find(|own| own["type"] == "DisruptionTarget").unwrap();
        assert!(evicted.meta().is_terminating());
        assert_eq!(
            (&told["status"], &told["reason"], &told["message"]),
            (&json!("True"), &json!("EvictionByEvictionAPI"), &json!("Eviction API: evicting"))
        );
        let charged = client.get(&budgets, "default", "web").await.unwrap().value();
        assert_eq!(charged["status"]["disruptionsAllowed"].as_i64().unwrap_or(0), 0);
    });
}

#[test]
fn services_get_addresses_and_ports_of_their_own() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let own = client.get(&resources::SERVICES, "default", "kubernetes").await.unwrap().value();
        assert_eq!(own["spec"]["clusterIP"], "172.20.0.1");
        let service = |name: &str, spec: Value| {
            let mut object =
                json!({"metadata": {"name": name}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
            for (key, value) in spec.as_object().unwrap() {
                object["spec"][key.as_str()] = value.clone();
            }
            object
        };
        let gvr = &resources::SERVICES;
        let created = client.create(gvr, "default", service("a", json!({"type": "NodePort"}))).await.unwrap().value();
        let port = created["spec"]["ports"][0]["nodePort"].as_i64().unwrap();
        assert!((30000..=32767).contains(&port));
        let address = created["spec"]["clusterIP"].as_str().unwrap().to_owned();
        assert!(address.starts_with("172.20.") && address != "172.20.0.1");
        for (spec, field) in [
            (json!({"clusterIP": address}), "already allocated"),
            (
                json!({"clusterIP": "10.0.0.1"}),
                "failed to allocate IP 10.0.0.1: the provided network does not match the current range",
            ),
            (json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}), "already allocated"),
            (json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}), "not in the valid range"),
        ] {
            let error = client.create(gvr, "default", service("b", spec)).await.unwrap_err();
            assert!(error.reason == Reason::Invalid && error.to_string().contains(field), "{error}");
        }
        let headless = client.create(gvr, "default", service("h", json!({"clusterIP": "None"}))).await.unwrap().value();
        assert_eq!(headless["spec"]["clusterIP"], "None");
        assert_eq!(headless["spec"]["ipFamilies"], json!(["IPv4"]));
        let two = json!({"clusterIP": "None", "selector": null});
        let two = client.create(gvr, "default", service("two", two)).await.unwrap().value();
        assert_eq!(
            (&two["spec"]["ipFamilyPolicy"], &two["spec"]["ipFamilies"]),
            (&json!("RequireDualStack"), &json!(["IPv4", "IPv6"]))
        );
        // Of ports with one number on the nodes, the second asks for what the first has got.
        let twice = json!({"type": "NodePort", "ports": [
            {"name": "a", "port": 80, "nodePort": 31_000}, {"name": "b", "port": 81, "nodePort": 31_000, "protocol": "UDP"},
        ]});
        let twice = client.create(gvr, "default", service("twice", twice)).await.unwrap_err();
        assert!(
            twice
                .to_string()
                .contains("spec.ports[1].nodePort: Invalid value: 31000: provided port is already allocated"),
            "{twice}"
        );
        // What is only tried is told upstream's stand-ins.
        let dry_run = k8s_client::Request {
            body: k8s_client::Body::Json(service("d", json!({"type": "NodePort"}))),
            options: Options { dry_run: true, ..Options::default() },
            ..request(k8s_client::Verb::Create, gvr, "default", "")
        };
        let tried = call(&cluster, &UserInfo::new("admin", &["system:masters"]), dry_run).await.unwrap();
        let Reply::Object(tried) = tried else { panic!("{tried:?}") };
        let tried = tried.value();
        assert_eq!(
            (&tried["spec"]["clusterIP"], &tried["spec"]["ports"][0]["nodePort"]),
            (&json!("172.20.0.0"), &json!(32_769))
        );
        let kept = client
            .patch(gvr, "default", "a", "", PatchType::Merge, json!({"spec": {"selector": {"app": "x"}}}))
            .await
            .unwrap();
        assert_eq!(
            (&kept.value()["spec"]["clusterIP"], &kept.value()["spec"]["ports"][0]["nodePort"]),
            (&json!(address), &json!(port))
        );
        client.delete(gvr, "default", "a", Preconditions::default()).await.unwrap();
        client.create(gvr, "default", service("c", json!({"clusterIP": address}))).await.unwrap();
    });
}

#[test]
fn roles_decide_who_may_do_what() {
    with_cluster(|cluster| async move {
        let (admin, jane) = (cluster.admin(), cluster.user("jane"));
        let pods = &resources::PODS;
        let refused = jane.list(pods, "default").await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default""#
        );
        let binding = json!({
            "metadata": {"name": "jane"}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        });
        admin.create(&resources::ROLE_BINDINGS, "default", binding.clone()).await.unwrap();
        jane.list(pods, "default").await.unwrap();
        assert_eq!(jane.list(pods, "").await.unwrap_err().reason, Reason::Forbidden);
        assert_eq!(jane.list(pods, "kube-system").await.unwrap_err().reason, Reason::Forbidden);
        jane.create(&resources::CONFIG_MAPS, "default", json!({"metadata": {"name": "a"}})).await.unwrap();
        assert_eq!(
            jane.create(&resources::ROLE_BINDINGS, "default", binding).await.unwrap_err().reason,
            Reason::Forbidden
        );
        let may = |verb: &str, resource: &str| json!({"spec": {"resourceAttributes": {"verb": verb, "resource": resource, "namespace": "default"}}});
        let reviews = GroupVersionResource::of("authorization.k8s.io", "v1", "selfsubjectaccessreviews");
        for (verb, resource, allowed) in [("get", "pods", true), ("delete", "nodes", false)] {
            let review = jane.create_subresource(&reviews, "", "", "", may(verb, resource)).await.unwrap();
            let Reply::Value(review) = review else { panic!("{review:?}") };
            assert_eq!(review["status"]["allowed"], allowed, "{review}");
        }
        admin.delete(&resources::ROLE_BINDINGS, "default", "jane", Preconditions::default()).await.unwrap();
        assert_eq!(jane.list(pods, "default").await.unwrap_err().reason, Reason::Forbidden);

        admin.create(&resources::CLUSTER_ROLE_BINDINGS, "", json!({
            "metadata": {"name": "granter"}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        })).await.unwrap();
        let all =
            json!({"metadata": {"name": "all"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
        let escalation = jane.create(&resources::ROLES, "default", all).await.unwrap_err();
        assert!(
            escalation.to_string().contains("attempting to grant RBAC permissions not currently held"),
            "{escalation}"
        );
    });
}

#[test]
fn a_node_writes_itself_and_its_pods() {
    with_cluster(|cluster| async move {
        with_account(&cluster).await;
        let admin = cluster.admin();
        let node = UserInfo::new("system:node:n1", &["system:nodes"]);
        let kubelet = cluster.server.client(node.clone(), "kubelet");
        kubelet.create(&resources::NODES, "", json!({"metadata": {"name": "n1"}})).await.unwrap();
        assert_eq!(
            kubelet.create(&resources::NODES, "", json!({"metadata": {"name": "n2"}})).await.unwrap_err().reason,
            Reason::Forbidden
        );
        for (name, on) in [("mine", "n1"), ("theirs", "n2")] {
            let mut pod = pod(name);
            pod["spec"]["nodeName"] = json!(on);
            pod["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": name}}]);
            admin.create(&resources::PODS, "default", pod).await.unwrap();
            admin.create(&resources::CONFIG_MAPS, "default", json!({"metadata": {"name": name}})).await.unwrap();
        }
        let running = json!({"status": {"phase": "Running"}});
        for (name, allowed) in [("mine", true), ("theirs", false)] {
            let patched =
                kubelet.patch(&resources::PODS, "default", name, "status", PatchType::Merge, running.clone()).await;
            assert_eq!(patched.is_ok(), allowed, "{name}: {patched:?}");
            assert_eq!(kubelet.get(&resources::CONFIG_MAPS, "default", name).await.is_ok(), allowed, "{name}");
        }
        let token = async |bound: Value| {
            let request = json!({"spec": {"boundObjectRef": bound}});
            kubelet.create_subresource(&resources::SERVICE_ACCOUNTS, "default", "default", "token", request).await
        };
        let bound = async |name: &str| {
            let pod = admin.get(&resources::PODS, "default", name).await.unwrap();
            json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": pod.meta().uid})
        };
        assert_eq!(token(Value::Null).await.unwrap_err().reason, Reason::Forbidden, "for no pod");
        assert_eq!(token(bound("theirs").await).await.unwrap_err().reason, Reason::Forbidden, "another node's pod");
        let token = token(bound("mine").await).await.unwrap();
        let Reply::Value(token) = token else { panic!("{token:?}") };
        let text = token["status"]["token"].as_str().unwrap().to_owned();
        let user = cluster.server.authenticate(&text).await.unwrap();
        assert_eq!(user.username, "system:serviceaccount:default:default");
        assert_eq!(cluster.server.authenticate(&(text.clone() + "x")).await.unwrap_err().reason, Reason::Unauthorized);
        let all = k8s_client::Verb::List;
        assert!(call(&cluster, &node, request(all, &resources::PODS, "", "")).await.is_err());
        admin.delete(&resources::SERVICE_ACCOUNTS, "default", "default", Preconditions::default()).await.unwrap();
        assert_eq!(
            cluster.server.authenticate(&text).await.unwrap_err().reason,
            Reason::Unauthorized,
            "its account is gone"
        );
    });
}

fn definition(change: impl FnOnce(&mut Value)) -> Value {
    let schema = json!({
        "type": "object",
        "properties": {
            "spec": {"type": "object", "required": ["cron"], "properties": {
                "cron": {"type": "string", "minLength": 3}, "replicas": {"type": "integer", "default": 1, "minimum": 0},
            }},
            "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}},
        },
    });
    let version = |name: &str, storage: bool| {
        json!({
            "name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
        })
    };
    let mut definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "shortNames": ["ct"]},
            "versions": [version("v1", true), version("v1beta1", false)],
        },
    });
    change(&mut definition);
    definition
}

#[test]
fn custom_resources_take_the_same_path() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let definitions = &resources::CUSTOM_RESOURCE_DEFINITIONS;
        let tabs = GroupVersionResource::of("stable.example.com", "v1", "crontabs");
        let beta = GroupVersionResource::of("stable.example.com", "v1beta1", "crontabs");
        assert!(client.list(&tabs, "").await.unwrap_err().is_not_found());
        let defined = client.create(definitions, "", definition(|_| {})).await.unwrap().value();
        let conditions: Vec<_> = defined["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| (c["type"].as_str().unwrap(), c["status"].as_str().unwrap()))
            .collect();
        assert_eq!(conditions, [("NamesAccepted", "True"), ("Established", "True")]);
        assert_eq!(defined["status"]["storedVersions"], json!(["v1"]));

        let object = |spec: Value| json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "a"}, "spec": spec, "status": {"replicas": 7}});
        for (spec, field) in [
            (json!({}), "spec.cron"),
            (json!({"cron": "x"}), "spec.cron"),
            (json!({"cron": "* *", "replicas": -1}), "spec.replicas"),
            (json!({"cron": 3}), "spec.cron"),
        ] {
            let error = client.create(&tabs, "default", object(spec)).await.unwrap_err();
            assert!(
                error.reason == Reason::Invalid && error.causes.iter().any(|cause| cause.field == field),
                "{error:?}"
            );
        }
        let created = client.create(&tabs, "default", object(json!({"cron": "* *", "unknown": 1}))).await.unwrap();
        assert_eq!(created.value()["spec"], json!({"cron": "* *", "replicas": 1}), "pruned and defaulted");
        assert!(created.value().get("status").is_none() && created.meta().generation == 1);
        let other = client.get(&beta, "default", "a").await.unwrap();
        assert_eq!(
            (other.value()["apiVersion"].as_str(), &other.meta().uid),
            (Some("stable.example.com/v1beta1"), &created.meta().uid)
        );
        client.patch(&beta, "default", "a", "scale", PatchType::Merge, json!({"spec": {"replicas": 4}})).await.unwrap();
        client
            .patch(
                &tabs,
                "default",
                "a",
                "status",
                PatchType::Merge,
                json!({"status": {"replicas": 4}, "spec": {"cron": "no no"}}),
            )
            .await
            .unwrap();
        let end = client.get(&tabs, "default", "a").await.unwrap();
        assert_eq!(
            (end.value()["spec"].clone(), end.value()["status"]["replicas"].clone(), end.meta().generation),
            (json!({"cron": "* *", "replicas": 4}), json!(4), 2)
        );
        let unconditional = client.update(&tabs, "default", "a", "", object(json!({"cron": "* *"}))).await.unwrap_err();
        assert!(unconditional.to_string().contains("must be specified for an update"), "{unconditional}");
        let strategic = client.patch(&tabs, "default", "a", "", PatchType::Strategic, json!({})).await.unwrap_err();
        assert_eq!(strategic.reason, Reason::UnsupportedMediaType);

        client.delete(definitions, "", "crontabs.stable.example.com", Preconditions::default()).await.unwrap();
        cluster.world.sleep(std::time::Duration::from_secs(5)).await;
        assert!(client.get(definitions, "", "crontabs.stable.example.com").await.unwrap_err().is_not_found());
        assert!(client.list(&tabs, "").await.unwrap_err().is_not_found());
        client.create(definitions, "", definition(|_| {})).await.unwrap();
        assert!(client.list(&tabs, "").await.unwrap().0.is_empty(), "its objects went with it");
    });
}

#[test]
fn wrong_definitions_are_refused() {
    with_cluster(|cluster| async move {
        let cases: Vec<(Value, &str)> = vec![
            (definition(|d| d["metadata"]["name"] = json!("other.example.com")), "metadata.name"),
            (definition(|d| d["spec"]["versions"][1]["storage"] = json!(true)), "spec.versions"),
            (definition(|d| d["spec"]["scope"] = json!("Galaxy")), "spec.scope"),
            (definition(|d| d["spec"]["conversion"] = json!({"strategy": "Webhook"})), "spec.conversion"),
            (definition(|d| d["spec"]["versions"][0]["schema"] = json!({})), "spec.versions[0].schema.openAPIV3Schema"),
            (
                definition(|d| {
                    d["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] =
                        json!([{"rule": "self.spec.replicas > 'many'"}])
                }),
                "spec.versions[0].schema.openAPIV3Schema.x-kubernetes-validations[0].rule",
            ),
        ];
        for (definition, field) in cases {
            let error =
                cluster.admin().create(&resources::CUSTOM_RESOURCE_DEFINITIONS, "", definition).await.unwrap_err();
            assert!(error.reason == Reason::Invalid, "{error}");
            assert!(error.causes.iter().any(|cause| cause.field.starts_with(field)), "{field}: {error}");
        }
    });
}

#[test]
fn rules_of_custom_resources_hold() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let tabs = GroupVersionResource::of("stable.example.com", "v1", "crontabs");
        let rules = json!([
            {"rule": "self.replicas <= 10", "message": "ten at most", "fieldPath": ".replicas"},
            {"rule": "self.replicas >= oldSelf.replicas", "messageExpression": "oldSelf.replicas > 3 ? 'was more' : 'was less'"},
        ]);
        let definition = definition(|d| {
            for version in d["spec"]["versions"].as_array_mut().unwrap() {
                version["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] = rules.clone();
            }
        });
        client.create(&resources::CUSTOM_RESOURCE_DEFINITIONS, "", definition).await.unwrap();
        let object = |replicas: u32| json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "a"}, "spec": {"cron": "* *", "replicas": replicas}});
        let error = client.create(&tabs, "default", object(11)).await.unwrap_err();
        assert_eq!(error.causes[0].field, "spec.replicas");
        assert_eq!(error.causes[0].message, "Invalid value: \"object\": ten at most");
        client.create(&tabs, "default", object(4)).await.unwrap();
        let patch = |replicas: u32| json!({"spec": {"replicas": replicas}});
        let error = client.patch(&tabs, "default", "a", "", PatchType::Merge, patch(3)).await.unwrap_err();
        assert_eq!(error.causes[0].message, "Invalid value: \"object\": was more");
        client.patch(&tabs, "default", "a", "", PatchType::Merge, patch(5)).await.unwrap();
    });
}
