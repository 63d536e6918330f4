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
fn what_a_text_says_twice_or_in_vain_is_told() {
    with_options(with_names, |cluster| async move {
        const MAPS: &str = "/api/v1/namespaces/default/configmaps";
        let yaml =
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  name: a\nextra: 1\ndata:\n  k: v\n  k: w\n";
        let operations =
            r#"[{"op":"add","path":"/data/x","value":"1","foo":1},{"op":"add","path":"/x","path":"/more","value":1}]"#;
        let yaml_told = [
            "line 5: key \"name\" already set in map",
            "line 9: key \"k\" already set in map",
            "unknown field \"extra\"",
        ];
        let patch_told = [
            "json patch unknown field \"[0].foo\"",
            "json patch duplicate field \"[1].path\"",
            "unknown field \"more\"",
        ];
        let together = "strict decoding error: yaml: unmarshal errors:\n  line 5: key \"name\" already set in map\n  line 9: key \"k\" already set in map, unknown field \"extra\"";
        let patch_together = patch_told.join(", ");
        let unnamed = "apiVersion: /v1\nkind: ConfigMap\nmetadata: {name: b}\n";
        let cases = [
            ("POST", "application/yaml", yaml, 201, &yaml_told[..], together),
            ("PUT", "application/yaml", yaml, 200, &yaml_told, together),
            ("PATCH", "application/json-patch+json", operations, 200, &patch_told, &patch_together),
            // The core group has no name.
            ("POST", "application/yaml", unnamed, 201, &[], ""),
        ];
        for (method, content_type, body, status, told, refusal) in cases {
            let path = if method == "POST" { MAPS.to_owned() } else { format!("{MAPS}/a") };
            let headers = [format!("content-type: {content_type}")];
            let headers = [headers[0].as_str()];
            if !refusal.is_empty() {
                let strict = format!("{method} {path}?fieldValidation=Strict");
                let strict = ask(&cluster, "admin", &strict, &headers, body).await.json();
                assert!(strict["message"].as_str().unwrap().contains(refusal), "{method}: {strict}");
            }
            let answer = ask(&cluster, "admin", &format!("{method} {path}"), &headers, body).await;
            assert_eq!((answer.status, answer.warnings()), (status, told.iter().map(|t| (*t).to_owned()).collect()));
        }
    });
}

#[test]
fn owners_that_stand_twice_are_dropped_with_a_warning() {
    with_options(with_names, |cluster| async move {
        const PATH: &str = "/api/v1/namespaces/default/configmaps";
        let owner = |name: &str| json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": "u-1"});
        let object = |owners: Value| json!({"metadata": {"name": "a", "ownerReferences": owners}}).to_string();
        let twice = object(json!([owner("n"), owner("m"), owner("n")]));
        let append = json!([{"op": "add", "path": "/metadata/ownerReferences/-", "value": owner("m")}]).to_string();
        let patch = ["content-type: application/json-patch+json"];
        let cases: [(&str, &[&str], &str, &str); 3] = [
            (&format!("POST {PATH}"), &[], &twice, "entries; API"),
            (&format!("PUT {PATH}/a"), &[], &twice, "entries; API"),
            (&format!("PATCH {PATH}/a"), &patch, &append, "entries after mutating admission happens; API"),
        ];
        for (line, headers, body, when) in cases {
            let answer = ask(&cluster, "admin", line, headers, body).await;
            assert_eq!(answer.json()["metadata"]["ownerReferences"], json!([owner("n"), owner("m")]), "{line}");
            let told = answer.warnings();
            assert!(
                told.len() == 1 && told[0].contains(when) && told[0].ends_with("observed: u-1"),
                "{line}: {told:?}"
            );
            assert!(answer.json()["metadata"]["managedFields"].is_array(), "{line}");
        }
    });
}

#[test]
fn what_cannot_be_written_is_refused_as_upstream_refuses_it() {
    with_options(with_names, |cluster| async move {
        const MAPS: &str = "/api/v1/namespaces/default/configmaps";
        let merge = ["content-type: application/merge-patch+json"];
        let finalized =
            json!({"metadata": {"name": "a", "finalizers": ["a/b"], "resourceVersion": "none"}}).to_string();
        let both = r#"{"orphanDependents":false,"propagationPolicy":"Orphan"}"#;
        let cases: [(String, &[&str], &str, u16, &str); 11] = [
            (
                format!("POST {MAPS}"),
                &[],
                r#"{"metadata":{"name":"a","resourceVersion":"7"}}"#,
                500,
                "resourceVersion should not be set",
            ),
            // It is the store that refuses it: after everybody else, and not in a dry run.
            (format!("POST {MAPS}"), &[], r#"{"metadata":{"name":"A","resourceVersion":"7"}}"#, 422, "metadata.name"),
            (
                format!("POST {MAPS}?dryRun=All"),
                &[],
                r#"{"metadata":{"name":"a","resourceVersion":"7"}}"#,
                201,
                r#""resourceVersion":"7""#,
            ),
            // What is no version does not count.
            (format!("POST {MAPS}"), &[], &finalized, 201, ""),
            (
                format!("PATCH {MAPS}/a"),
                &merge,
                r#"{"metadata":{"uid":"x"}}"#,
                422,
                "metadata.uid: Invalid value: \"x\": field is immutable",
            ),
            (format!("PUT {MAPS}/a"), &[], r#"{"metadata":{"name":"a","uid":"x"}}"#, 409, "Precondition failed: UID"),
            (
                format!("POST {MAPS}?dryRun=Some"),
                &[],
                "{}",
                422,
                "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: []string{\"Some\"}: supported values: \"All\"",
            ),
            (
                format!("GET {MAPS}/a?export=true"),
                &[],
                "",
                400,
                "the export parameter, deprecated since v1.14, is no longer supported",
            ),
            (
                format!("DELETE {MAPS}/a"),
                &[],
                both,
                422,
                "propagationPolicy: Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set",
            ),
            // Where there is a body the query does not count, and who asks in the older way is told that it takes longer.
            (format!("DELETE {MAPS}/a?propagationPolicy=Orphan"), &[], r#"{"orphanDependents":false}"#, 202, "a/b"),
            (format!("DELETE {MAPS}/a"), &[], "", 200, "a/b"),
        ];
        for (line, headers, body, status, text) in cases {
            let answer = ask(&cluster, "admin", &line, headers, body).await;
            let told = answer.json()["message"].as_str().map_or_else(|| answer.text(), str::to_owned);
            assert!(answer.status == status && told.contains(text), "{line}: {} {told}", answer.status);
        }
    });
}

#[test]
fn owners_of_fields_are_forgotten_when_an_object_grows_too_large_but_not_for_who_applies() {
    with_options(with_names, |cluster| async move {
        const MAPS: &str = "/api/v1/namespaces/default/configmaps";
        let key =
            |index: usize| format!("a-key-that-is-long-so-that-its-owner-takes-as-much-room-as-itself-{index:0>10}");
        let data: serde_json::Map<String, Value> = (0..9999).map(|index| (key(index), json!("v"))).collect();
        let large = json!({"metadata": {"name": "a"}, "data": data}).to_string();
        let made = ask(&cluster, "admin", &format!("POST {MAPS}"), &[], &large).await;
        assert_eq!((made.status, &made.json()["metadata"]["managedFields"]), (201, &Value::Null));
        let headers = ["content-type: application/apply-patch+yaml"];
        let applied = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#;
        let refused = ask(&cluster, "admin", &format!("PATCH {MAPS}/a?fieldManager=m"), &headers, applied).await;
        assert_eq!((refused.status, &refused.json()["message"]), (500, &json!("etcdserver: request is too large")));
    });
}

#[test]
fn patches_of_one_object_at_a_time_all_succeed() {
    with_cluster(|cluster| async move {
        let (admin, maps) = (cluster.admin(), &resources::CONFIG_MAPS);
        let map = json!({"metadata": {"name": "a"}});
        admin.create(maps, "default", map).await.unwrap();
        let patches = (0..40).map(|index| {
            let patch = json!({"data": {format!("k{index}"): "v"}});
            admin.patch(maps, "default", "a", "", PatchType::Merge, patch)
        });
        for patched in futures_util::future::join_all(patches).await {
            patched.unwrap();
        }
        let done = admin.get(maps, "default", "a").await.unwrap().value();
        assert_eq!(done["data"].as_object().unwrap().len(), 40);
    });
}

#[test]
fn the_count_of_a_daemon_sets_templates_is_owned_by_who_leaves_it_out() {
    with_options(with_names, |cluster| async move {
        let labels = json!({"app": "a"});
        let set = json!({"metadata": {"name": "a"}, "spec": {"selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        let line = "POST /apis/apps/v1/namespaces/default/daemonsets";
        let made = ask(&cluster, "admin", line, &[], &set.to_string()).await.json();
        let owned = &made["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"]["f:annotations"];
        assert_eq!(owned, &json!({".": {}, "f:deprecated.daemonset.template.generation": {}}), "{made}");
        assert_eq!(made["metadata"]["annotations"]["deprecated.daemonset.template.generation"], "1");
    });
}

#[test]
fn a_revision_of_zero_is_none() {
    with_options(with_names, |cluster| async move {
        let path = "/api/v1/namespaces/default/configmaps";
        let merge = "content-type: application/merge-patch+json";
        let cases = [
            ("POST", path.to_owned(), "1", 500),
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

/// Answers that were compared with those of a kube-apiserver 1.34, request by request: what each must say, and what it must warn of.
#[test]
fn answers_say_what_upstream_says() {
    with_options(with_names, |cluster| async move {
        const MAPS: &str = "/api/v1/namespaces/default/configmaps";
        const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
        const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";
        let job = r#"{"metadata":{"name":"j"},"spec":{"suspend":true,"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}}"#;
        let limits = r#"{"metadata":{"name":"l"},"spec":{"limits":[{"type":"Container","max":{"cpu":1000,"memory":"1024Mi"}}]}}"#;
        let wrong_secret =
            r#"{"metadata":{"name":"t"},"type":"kubernetes.io/tls","data":{"tls.crt":"YQ==","tls.key":"YQ=="}}"#;
        let refused = r#"{"metadata":{"name":"r"},"spec":{"type":"ExternalName","externalIPs":["1.2.3.4"],"ports":[{"port":80}]}}"#;
        let review = r#"{"spec":{"user":"u","nonResourceAttributes":{"path":"/x","verb":"get"}}}"#;
        let pods_stay = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";
        let no_pem = "tls: failed to find any PEM data in certificate input";
        // Line, body, status, where in the answer, what stands there, warning.
        let cases: Vec<(String, &str, u16, &str, Value, &str)> = vec![
            (
                format!("POST {MAPS}"),
                r#"{"metadata":{"name":"a","generation":7}}"#,
                201,
                "/metadata/generation",
                json!(7),
                "",
            ),
            (
                format!("POST {MAPS}"),
                r#"{"metadata":{"name":"a","generateName":"a"}}"#,
                409,
                "/message",
                json!(
                    "configmaps \"a\" already exists, the server was not able to generate a unique name for the object"
                ),
                "",
            ),
            (
                format!("POST {MAPS}"),
                r#"{"metadata":{"name":"a","generateName":"a"}}"#,
                409,
                "/details/retryAfterSeconds",
                json!(1),
                "",
            ),
            (
                format!("PUT {MAPS}/a"),
                r#"{"metadata":{"name":"a","resourceVersion":"x"}}"#,
                500,
                "/message",
                json!("strconv.ParseUint: parsing \"x\": invalid syntax"),
                "",
            ),
            (
                format!("PUT {MAPS}/a"),
                r#"{"metadata":{"name":"a","resourceVersion":"99999999999999999999"}}"#,
                500,
                "/message",
                json!("strconv.ParseUint: parsing \"99999999999999999999\": value out of range"),
                "",
            ),
            (
                format!("PUT {MAPS}/a"),
                r#"{"metadata":{"name":"a","generateName":"b-"}}"#,
                200,
                "/metadata/generateName",
                json!("b-"),
                "",
            ),
            (
                format!("PUT {MAPS}/a"),
                r#"{"metadata":{"name":"a","deletionTimestamp":"2020-01-01T00:00:00Z"}}"#,
                422,
                "/details/causes/0/message",
                json!("Invalid value: \"2020-01-01T00:00:00Z\": field is immutable"),
                "",
            ),
            (
                format!("DELETE {MAPS}/a"),
                r#"{"preconditions":{"resourceVersion":"x"}}"#,
                409,
                "/details/kind",
                json!("ConfigMap"),
                "",
            ),
            (
                format!("DELETE {MAPS}/a"),
                r#"{"dryRun":["x"]}"#,
                422,
                "/details/causes/0/message",
                json!("Unsupported value: [\"x\"]: supported values: \"All\""),
                "",
            ),
            (
                format!("DELETE {MAPS}/a"),
                r#"{"gracePeriodSeconds":"x"}"#,
                500,
                "/message",
                json!(
                    "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64"
                ),
                "",
            ),
            (format!("GET {MAPS}/a?limit=x"), "", 200, "/metadata/name", json!("a"), ""),
            (format!("GET {MAPS}/a?resourceVersion=x"), "", 500, "/reason", Value::Null, ""),
            (
                format!("GET {MAPS}?limit=99999999999999999999"),
                "",
                400,
                "/message",
                json!("strconv.ParseInt: parsing \"99999999999999999999\": value out of range"),
                "",
            ),
            (
                format!("GET {MAPS}?fieldSelector=data.a%3Db"),
                "",
                400,
                "/message",
                json!("\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""),
                "",
            ),
            (
                format!("GET {JOBS}?fieldSelector=a%3Db"),
                "",
                400,
                "/message",
                json!("field label \"a\" not supported for Job"),
                "",
            ),
            (
                format!("POST {MAPS}?fieldValidation=x"),
                r#"{"metadata":{"name":"b"}}"#,
                422,
                "/message",
                json!(
                    "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"x\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
                ),
                "",
            ),
            (format!("POST {JOBS}"), job, 201, "/metadata/labels/job-name", json!("j"), ""),
            (format!("DELETE {JOBS}/j?dryRun=All"), "", 200, "/kind", json!("Job"), pods_stay),
            (format!("DELETE {JOBS}/j?propagationPolicy=Background"), "", 200, "/kind", json!("Status"), ""),
            (
                format!("POST {CLASSES}"),
                r#"{"metadata":{"name":"c"},"provisioner":"p","allowedTopologies":[{"matchLabelExpressions":[{"key":"a"}]}]}"#,
                422,
                "/details/causes/0/field",
                json!("allowedTopologies[0].matchLabelExpressions[0].values"),
                "",
            ),
            (
                format!("POST {CLASSES}"),
                r#"{"metadata":{"name":"c"},"provisioner":"p"}"#,
                201,
                "/metadata/name",
                json!("c"),
                "",
            ),
            (format!("DELETE {CLASSES}/c?dryRun=All"), "", 200, "/kind", json!("StorageClass"), ""),
            (format!("DELETE {CLASSES}/c"), "", 200, "/provisioner", json!("p"), ""),
            (
                "POST /api/v1/namespaces/default/limitranges".to_owned(),
                limits,
                201,
                "/spec/limits/0/max",
                json!({"cpu": "1k", "memory": "1Gi"}),
                "",
            ),
            (
                "POST /api/v1/namespaces/default/secrets".to_owned(),
                wrong_secret,
                201,
                "/type",
                json!("kubernetes.io/tls"),
                no_pem,
            ),
            ("POST /api/v1/namespaces/default/services".to_owned(), refused, 422, "/kind", json!("Status"), ""),
            (
                "POST /apis/authorization.k8s.io/v1/subjectaccessreviews".to_owned(),
                review,
                201,
                "/metadata/managedFields/0/operation",
                json!("Update"),
                "",
            ),
        ];
        for (line, body, status, pointer, expected, warning) in cases {
            let answer = ask(&cluster, "admin", &line, &[], body).await;
            let found = answer.json().pointer(pointer).cloned().unwrap_or_default();
            assert_eq!((answer.status, found), (status, expected), "{line} {body}: {}", answer.text());
            assert_eq!(answer.warnings().join(";"), warning, "{line} {body}");
        }
    });
}
