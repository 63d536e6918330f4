//! Webhooks through the whole path of a request.

mod support;

use std::sync::Arc;

use k8s_client::{Options, PatchType, Preconditions, Request, Verb};
use k8s_object::{ApiError, GroupVersionResource, resources};
use serde_json::{Value, json};
use store::Store;
use support::hooks::{Answer, Hooks, patch, review};
use support::http::{ask, with_names};
use support::{Cluster, request};
use world::World;

const MUTATING: GroupVersionResource =
    GroupVersionResource::of("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations");
const VALIDATING: GroupVersionResource =
    GroupVersionResource::of("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations");
const CM: GroupVersionResource = resources::CONFIG_MAPS;

fn with_hooks<F: Future<Output = ()>>(answer: Answer, test: impl FnOnce(Cluster, Arc<Hooks>) -> F) {
    let (world, mut simulation) = World::simulated(1);
    let store = Store::memory(&world, store::Limits::default());
    simulation.block_on(async move {
        let hooks = Hooks::new(&world, &["hooks.example", "hook.default.svc"], answer);
        let dialer = hooks.clone();
        let change = |options: &mut apiserver::Options| {
            with_names(options);
            options.dialer = Some(dialer);
        };
        let cluster = support::start_with(&world, &store, change).await;
        if cluster.server.count("admissionregistration.k8s.io", "validatingwebhookconfigurations").is_none() {
            eprintln!("skipped: webhook configurations are not served");
            return;
        }
        test(cluster, hooks).await;
    });
}

/// A webhook about ConfigMaps, with what `extra` adds or changes.
fn hook(hooks: &Hooks, name: &str, extra: Value) -> Value {
    let mut hook = json!({
        "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": format!("https://hooks.example:8443/{name}"), "caBundle": hooks.ca},
        "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
    });
    for (key, value) in extra.as_object().unwrap() {
        hook[key] = value.clone();
    }
    hook
}

async fn configure(cluster: &Cluster, resource: &GroupVersionResource, name: &str, webhooks: &[Value]) {
    let body = json!({"metadata": {"name": name}, "webhooks": webhooks});
    cluster.admin().create(resource, "", body).await.unwrap();
}

async fn create(cluster: &Cluster, name: &str, extra: Value) -> Result<Value, ApiError> {
    let mut object = json!({"metadata": {"name": name}});
    for (key, value) in extra.as_object().unwrap() {
        object[key] = value.clone();
    }
    cluster.admin().create(&CM, "default", object).await.map(|object| object.value())
}

#[test]
fn a_refusal_is_told_in_the_words_of_the_webhook() {
    let answer: Answer = Arc::new(|path, question| {
        let response = match path.split('?').next().unwrap() {
            "/coded.example.io" => {
                json!({"allowed": false, "status": {"code": 418, "message": "tea", "reason": "Teapot"}})
            }
            "/warns.example.io" => {
                json!({"allowed": true, "warnings": ["mind the gap"], "auditAnnotations": {"k": "v"}})
            }
            _ => json!({"allowed": false, "status": {"message": "not today"}}),
        };
        Some(review(question, response))
    });
    with_hooks(answer, |cluster, hooks| async move {
        let warns = hook(&hooks, "warns.example.io", json!({}));
        configure(&cluster, &VALIDATING, "a", &[warns]).await;
        let line = "POST /api/v1/namespaces/default/configmaps";
        let answer = ask(&cluster, "admin", line, &[], &json!({"metadata": {"name": "a"}}).to_string()).await;
        assert_eq!((answer.status, answer.header("warning")), (201, r#"299 - "mind the gap""#), "{}", answer.text());

        configure(&cluster, &VALIDATING, "b", &[hook(&hooks, "denies.example.io", json!({}))]).await;
        let answer = ask(&cluster, "admin", line, &[], &json!({"metadata": {"name": "b"}}).to_string()).await;
        let told = answer.json();
        assert_eq!(answer.status, 400);
        assert_eq!(told["message"], r#"admission webhook "denies.example.io" denied the request: not today"#);
        assert_eq!(told["reason"], Value::Null);

        // The first in the order of configurations is told.
        configure(&cluster, &VALIDATING, "aa", &[hook(&hooks, "coded.example.io", json!({}))]).await;
        let answer = ask(&cluster, "admin", line, &[], &json!({"metadata": {"name": "b"}}).to_string()).await;
        let told = answer.json();
        assert_eq!((answer.status, told["reason"].as_str()), (418, Some("Teapot")));
        assert_eq!(told["message"], r#"admission webhook "coded.example.io" denied the request: tea"#);

        // Deletions and updates are asked about as well.
        let refused = cluster.admin().delete(&CM, "default", "a", Preconditions::default()).await;
        assert_eq!(refused.unwrap_err().code(), 418);
        let question = hooks.take().pop().unwrap();
        assert_eq!(question["operation"], "DELETE");
        assert_eq!((&question["object"], &question["oldObject"]["metadata"]["name"]), (&Value::Null, &json!("a")));
        let page = ask(&cluster, "admin", "GET /metrics", &[], "").await.text();
        for expected in [
            r#"apiserver_admission_webhook_rejection_count{error_type="no_error",name="coded.example.io",operation="CREATE",rejection_code="418",type="validating"} 1"#,
            r#"apiserver_admission_webhook_request_total{code="418",name="coded.example.io",operation="DELETE",rejected="true",type="validating"} 1"#,
            r#"apiserver_admission_webhook_admission_duration_seconds_count{name="coded.example.io",operation="CREATE",rejected="true",type="validating"} 1"#,
            r#"apiserver_admission_step_admission_duration_seconds_count{operation="CREATE",rejected="true",type="validate"}"#,
        ] {
            assert!(page.contains(expected), "{expected}\nin\n{page}");
        }
        cluster.admin().delete(&VALIDATING, "", "aa", Preconditions::default()).await.unwrap();
        cluster.admin().delete(&VALIDATING, "", "b", Preconditions::default()).await.unwrap();
        create(&cluster, "b", json!({})).await.unwrap();
    });
}

#[test]
fn the_question_is_upstreams() {
    let answer: Answer = Arc::new(|_, question| Some(review(question, json!({"allowed": true}))));
    with_hooks(answer, |cluster, hooks| async move {
        configure(&cluster, &VALIDATING, "a", &[hook(&hooks, "a.example.io", json!({"timeoutSeconds": 7}))]).await;
        let options = Options { dry_run: true, field_manager: Some("me".into()), ..Options::default() };
        let body = k8s_client::Body::Json(json!({"metadata": {"name": "a"}, "data": {"k": "v"}}));
        let call = Request { body, options, ..request(Verb::Create, &CM, "default", "") };
        cluster.admin().call(call).await.unwrap();
        let (path, asked) = hooks.asked.lock().unwrap().pop().unwrap();
        assert_eq!(path, "/a.example.io?timeout=7s");
        let mut question = asked["request"].clone();
        assert_eq!((&asked["kind"], &asked["apiVersion"]), (&json!("AdmissionReview"), &json!("admission.k8s.io/v1")));
        assert_eq!(question["object"]["data"], json!({"k": "v"}));
        for field in ["object", "uid"] {
            question.as_object_mut().unwrap().remove(field).unwrap();
        }
        assert_eq!(
            question,
            json!({
                "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
                "resource": {"group": "", "version": "v1", "resource": "configmaps"},
                "requestKind": {"group": "", "version": "v1", "kind": "ConfigMap"},
                "requestResource": {"group": "", "version": "v1", "resource": "configmaps"},
                "name": "a", "namespace": "default", "operation": "CREATE",
                "userInfo": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
                "oldObject": null, "dryRun": true,
                "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": ["All"], "fieldManager": "me"},
            })
        );
        // A patch is told as what it comes to.
        let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "p"}}).to_string();
        let line = "PATCH /api/v1/namespaces/default/configmaps/p?fieldManager=me";
        for (number, kind) in ["CreateOptions", "UpdateOptions"].into_iter().enumerate() {
            let applied = applied.replace("}}", &format!(r#","labels":{{"n":"{number}"}}}}}}"#));
            let headers = ["content-type: application/apply-patch+yaml"];
            assert!(ask(&cluster, "admin", line, &headers, &applied).await.status < 300);
            let (_, asked) = hooks.asked.lock().unwrap().pop().unwrap();
            let options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"});
            assert_eq!(asked["request"]["options"], options);
        }
        // Connections are kept.
        create(&cluster, "a", json!({})).await.unwrap();
        create(&cluster, "b", json!({})).await.unwrap();
        assert_eq!(*hooks.dialled.lock().unwrap(), ["hooks.example:8443"]);
    });
}

#[test]
fn patches_are_applied_one_after_the_other_and_seen_again() {
    let answer: Answer = Arc::new(|path, question| {
        let data = &question["request"]["object"]["data"];
        let operations = match path.split('?').next().unwrap() {
            // Wants "first" to be there, and says how many fields it saw.
            "/first.example.io" => {
                let seen = data.as_object().map_or(0, serde_json::Map::len);
                json!([
                    {"op": "add", "path": "/data/first", "value": format!("saw {seen}")},
                    {"op": "add", "path": "/unknown", "value": 1},
                ])
            }
            _ => json!([{"op": "add", "path": "/data/second", "value": "x"}]),
        };
        Some(review(question, patch(&operations)))
    });
    with_hooks(answer, |cluster, hooks| async move {
        let again = json!({"reinvocationPolicy": "IfNeeded"});
        let webhooks = [hook(&hooks, "first.example.io", again), hook(&hooks, "second.example.io", json!({}))];
        configure(&cluster, &MUTATING, "a", &webhooks).await;
        let created = create(&cluster, "a", json!({"data": {"k": "v"}})).await.unwrap();
        assert_eq!(created["data"], json!({"k": "v", "first": "saw 3", "second": "x"}));
        assert_eq!(created["unknown"], Value::Null);
        assert_eq!(hooks.take().len(), 3, "the first sees what the second has changed");
        // Only what webhooks ask for is theirs: a deletion cannot be patched.
        let refused = cluster.admin().delete(&CM, "default", "a", Preconditions::default()).await.unwrap_err();
        assert_eq!(
            refused.message,
            r#"Internal error occurred: admission webhook "first.example.io" attempted to modify the object, which is not supported for this operation"#
        );
    });
}

#[test]
fn a_webhook_is_not_asked_again_about_a_pod_that_only_it_has_changed() {
    let label = json!([{"op": "add", "path": "/metadata/labels", "value": {"a": "true"}}]);
    with_hooks(Arc::new(move |_, question| Some(review(question, patch(&label)))), |cluster, hooks| async move {
        let account = json!({"metadata": {"name": "default"}});
        cluster.admin().create(&resources::SERVICE_ACCOUNTS, "default", account).await.unwrap();
        let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
        let again = json!({"reinvocationPolicy": "IfNeeded", "rules": [rule]});
        configure(&cluster, &MUTATING, "a", &[hook(&hooks, "a.example.io", again)]).await;
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let made = cluster.admin().create(&resources::PODS, "default", pod).await.unwrap();
        assert_eq!(made.value()["metadata"]["labels"], json!({"a": "true"}));
        let asked = hooks.take();
        assert_eq!(asked.len(), 1);
        let nulls = asked[0]["object"]["spec"].as_object().unwrap().iter().filter(|(_, value)| value.is_null());
        assert_eq!(nulls.collect::<Vec<_>>(), []);
    });
}

#[test]
fn a_webhook_is_asked_in_the_first_version_that_it_and_the_server_know() {
    // As webhooks of old answer: without a uid, a version or a type of the patch.
    let answer = |_: &str, _: &Value| {
        let mut answer = patch(&json!([{"op": "add", "path": "/data", "value": {"by": "hook"}}]));
        answer.as_object_mut().unwrap().remove("patchType");
        Some((200, json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1", "response": answer})))
    };
    with_hooks(Arc::new(answer), |cluster, hooks| async move {
        let cases = [
            (json!(["v2", "v1beta1", "v1"]), "admission.k8s.io/v1beta1", Ok("hook")),
            (
                json!(["v1", "v1beta1"]),
                "admission.k8s.io/v1",
                Err("received invalid webhook response: expected response.uid"),
            ),
        ];
        for (position, (versions, version, expected)) in cases.into_iter().enumerate() {
            let name = format!("c{position}.example.com");
            let own = hook(&hooks, &name, json!({"admissionReviewVersions": versions}));
            configure(&cluster, &MUTATING, &name, &[own]).await;
            hooks.asked.lock().unwrap().clear();
            let made = create(&cluster, &format!("m{position}"), json!({})).await;
            let asked = hooks.asked.lock().unwrap()[0].1.clone();
            assert_eq!((&asked["apiVersion"], &asked["kind"]), (&json!(version), &json!("AdmissionReview")));
            assert!(asked["request"]["uid"].is_string());
            match (made, expected) {
                (Ok(made), Ok(by)) => assert_eq!(made["data"]["by"], by),
                (Err(error), Err(why)) => assert!(error.message.contains(why), "{}", error.message),
                (made, expected) => panic!("{made:?} instead of {expected:?}"),
            }
            let cleared = cluster.admin().delete(&MUTATING, "", &name, Preconditions::default()).await;
            assert!(cleared.is_ok());
        }
    });
}

#[test]
fn webhooks_are_asked_about_what_they_select() {
    let answer: Answer = Arc::new(|_, question| Some(review(question, json!({"allowed": true}))));
    with_hooks(answer, |cluster, hooks| async move {
        let rule = |extra: Value| {
            let mut rule =
                json!({"operations": ["CREATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]});
            for (key, value) in extra.as_object().unwrap() {
                rule[key] = value.clone();
            }
            json!({"rules": [rule]})
        };
        let with = |mut base: Value, field: &str, value: Value| {
            base[field] = value;
            base
        };
        let labelled = json!({"matchLabels": {"team": "a"}});
        let webhooks = [
            hook(&hooks, "all.example.io", rule(json!({}))),
            hook(&hooks, "namespace.example.io", with(rule(json!({})), "namespaceSelector", labelled.clone())),
            hook(&hooks, "object.example.io", with(rule(json!({})), "objectSelector", labelled)),
            hook(&hooks, "cluster.example.io", rule(json!({"scope": "Cluster"}))),
            hook(&hooks, "apps.example.io", rule(json!({"apiGroups": ["apps"]}))),
            hook(&hooks, "status.example.io", rule(json!({"resources": ["*/status"], "operations": ["UPDATE"]}))),
        ];
        configure(&cluster, &VALIDATING, "a", &webhooks).await;
        let admin = cluster.admin();
        let asked = || {
            let asked = std::mem::take(&mut *hooks.asked.lock().unwrap());
            // The server registers its own versions and judges its FlowSchemas meanwhile, about which webhooks are asked too.
            let own = ["apiregistration.k8s.io", "flowcontrol.apiserver.k8s.io"].map(Value::from);
            let mut names: Vec<String> = asked
                .into_iter()
                .filter(|(_, body)| !own.contains(&body["request"]["kind"]["group"]))
                .map(|(path, _)| path.trim_start_matches('/').split('.').next().unwrap().to_owned())
                .collect();
            names.sort();
            names.join(" ")
        };
        create(&cluster, "a", json!({})).await.unwrap();
        assert_eq!(asked(), "all");
        let team = json!({"labels": {"team": "a"}});
        let mut labelled = team.clone();
        labelled["name"] = json!("b");
        admin.create(&CM, "default", json!({"metadata": labelled.clone()})).await.unwrap();
        assert_eq!(asked(), "all object");
        admin.create(&resources::NAMESPACES, "", json!({"metadata": labelled.clone()})).await.unwrap();
        assert_eq!(asked(), "all cluster namespace object");
        admin.create(&CM, "b", json!({"metadata": {"name": "c"}})).await.unwrap();
        assert_eq!(asked(), "all namespace");
        let body = json!({"metadata": {"labels": {"x": "y"}}});
        admin.patch(&resources::NAMESPACES, "", "b", "status", PatchType::Merge, body).await.unwrap();
        assert_eq!(asked(), "status");
        // Nobody is asked about the configurations themselves.
        configure(&cluster, &VALIDATING, "b", &[hook(&hooks, "other.example.io", json!({}))]).await;
        assert_eq!(asked(), "");
    });
}

#[test]
fn failures_count_as_the_policy_says() {
    let answer: Answer = Arc::new(|path, question| {
        let question = question.clone();
        match path.split('?').next().unwrap() {
            "/silent.example.io" => None,
            "/broken.example.io" => Some((500, json!("it broke"))),
            "/absent.example.io" => Some((404, json!("no"))),
            "/odd.example.io" => Some((200, json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}))),
            _ => Some(review(&question, json!({"allowed": true}))),
        }
    });
    with_hooks(answer, |cluster, hooks| async move {
        let url = |url: &str, ca: bool| {
            let mut config = json!({"url": url});
            if ca {
                config["caBundle"] = json!(hooks.ca);
            }
            json!({"clientConfig": config})
        };
        let service = json!({"clientConfig": {"caBundle": hooks.ca, "service": {"namespace": "default", "name": "hook", "path": "/p"}}});
        let post = |rest: &str| format!("failed to call webhook: Post \"https://{rest}");
        let cases = [
            ("silent.example.io", json!({"timeoutSeconds": 3}), post("hooks.example:8443/silent.example.io?timeout=3s\": context deadline exceeded")),
            ("broken.example.io", json!({}), "failed to call webhook: an error on the server (\"it broke\") has prevented the request from succeeding".to_owned()),
            ("absent.example.io", json!({}), "failed to call webhook: the server could not find the requested resource".to_owned()),
            ("odd.example.io", json!({}), "received invalid webhook response: webhook response was absent".to_owned()),
            ("refused.example.io", url("https://hooks.example:1/x", true), post("hooks.example:1/x?timeout=10s\": dial tcp hooks.example:1: connect: connection refused")),
            ("untrusted.example.io", url("https://hooks.example/x", false), post("hooks.example:443/x?timeout=10s\": tls: failed to verify certificate: x509: certificate signed by unknown authority")),
            ("misnamed.example.io", url("https://other.example/x", true), post("other.example:443/x?timeout=10s\": tls: failed to verify certificate: x509: certificate is valid for hooks.example, hook.default.svc, not other.example")),
            ("nowhere.example.io", service, post("hook.default.svc:443/p?timeout=10s\": service \"hook\" not found")),
        ];
        for (name, extra, expected) in cases {
            for (policy, fails) in [("Fail", true), ("Ignore", false)] {
                let mut extra = extra.clone();
                extra["failurePolicy"] = json!(policy);
                configure(&cluster, &VALIDATING, "a", &[hook(&hooks, name, extra)]).await;
                let dry = Options { dry_run: true, ..Options::default() };
                let body = k8s_client::Body::Json(json!({"metadata": {"name": "x"}}));
                let call = Request { body, options: dry, ..request(Verb::Create, &CM, "default", "") };
                let message = cluster.admin().call(call).await.err().map(|error| error.message);
                let whole = format!("Internal error occurred: failed calling webhook {name:?}: {expected}");
                assert_eq!(message, fails.then_some(whole), "{name} {policy}");
                cluster.admin().delete(&VALIDATING, "", "a", Preconditions::default()).await.unwrap();
            }
        }
        let page = ask(&cluster, "admin", "GET /metrics", &[], "").await.text();
        for (name, code) in [("silent", 503), ("broken", 500), ("absent", 404), ("odd", 503), ("nowhere", 503)] {
            let series = |what: &str, labels: &str| {
                format!(
                    r#"apiserver_admission_webhook_{what}{{{labels}name="{name}.example.io",operation="CREATE",rejec"#
                )
            };
            let total = series("request_total", &format!(r#"code="{code}","#));
            let refused = format!(
                r#"{}tion_code="{code}",type="validating"}} 1"#,
                series("rejection_count", r#"error_type="calling_webhook_error","#)
            );
            assert!(page.contains(&total) && page.contains(&refused), "{total}\n{refused}\nin\n{page}");
        }
        let extra = json!({"sideEffects": "Some"});
        // Of sorts that are no more made, but stored ones may be.
        assert!(
            cluster
                .admin()
                .create(
                    &VALIDATING,
                    "",
                    json!({"metadata": {"name": "s"}, "webhooks": [hook(&hooks, "s.example.io", extra)]})
                )
                .await
                .is_err()
        );
    });
}

#[test]
fn a_service_is_reached_at_one_of_its_endpoints() {
    let answer: Answer = Arc::new(|_, question| Some(review(question, json!({"allowed": true}))));
    with_hooks(answer, |cluster, hooks| async move {
        let admin = cluster.admin();
        let service = json!({"metadata": {"name": "hook"}, "spec": {"ports": [{"name": "https", "port": 443, "targetPort": 9443}]}});
        admin.create(&resources::SERVICES, "default", service).await.unwrap();
        let config =
            json!({"clientConfig": {"caBundle": hooks.ca, "service": {"namespace": "default", "name": "hook"}}});
        configure(&cluster, &VALIDATING, "a", &[hook(&hooks, "a.example.io", config)]).await;
        let refused = create(&cluster, "a", json!({})).await.unwrap_err().message;
        assert!(refused.ends_with(r#": no endpoints available for service "hook""#), "{refused}");
        let slice = json!({
            "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}}, "addressType": "IPv4",
            "ports": [{"name": "https", "port": 9443, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": ["10.0.0.7"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.8"], "conditions": {"ready": true}},
            ],
        });
        admin.create(&resources::ENDPOINT_SLICES, "default", slice).await.unwrap();
        create(&cluster, "a", json!({})).await.unwrap();
        assert_eq!(*hooks.dialled.lock().unwrap(), ["10.0.0.8:9443"]);
    });
}

#[test]
fn a_webhook_sees_the_version_that_it_knows() {
    const AUTOSCALERS: GroupVersionResource = GroupVersionResource::of("autoscaling", "v2", "horizontalpodautoscalers");
    let answer: Answer = Arc::new(|_, question| {
        let operations = json!([{"op": "replace", "path": "/spec/maxReplicas", "value": 7}]);
        Some(review(question, patch(&operations)))
    });
    with_hooks(answer, |cluster, hooks| async move {
        let rules = json!({"rules": [{"operations": ["CREATE"], "apiGroups": ["autoscaling"], "apiVersions": ["v1"],
            "resources": ["horizontalpodautoscalers"]}]});
        configure(&cluster, &MUTATING, "a", &[hook(&hooks, "a.example.io", rules.clone())]).await;
        let mut exact = rules;
        exact["matchPolicy"] = json!("Exact");
        configure(&cluster, &MUTATING, "b", &[hook(&hooks, "b.example.io", exact)]).await;
        let scaler = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}});
        let created = cluster.admin().create(&AUTOSCALERS, "default", scaler).await.unwrap().value();
        assert_eq!((&created["apiVersion"], &created["spec"]["maxReplicas"]), (&json!("autoscaling/v2"), &json!(7)));
        assert_eq!(created["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
        let [question] = &hooks.take()[..] else { panic!("only the one that takes other versions is asked") };
        assert_eq!(question["object"]["apiVersion"], "autoscaling/v1");
        assert_eq!(question["object"]["spec"]["targetCPUUtilizationPercentage"], 50);
        assert_eq!((&question["kind"]["version"], &question["requestKind"]["version"]), (&json!("v1"), &json!("v2")));
    });
}

#[test]
fn owners_of_fields_are_shown_and_taken_where_they_are_owners() {
    let answer: Answer = Arc::new(|path, question| {
        let operations = match path.split('?').next().unwrap() {
            "/mutates.example.io" => json!([
                {"op": "test", "path": "/metadata/managedFields/0/manager", "value": "test"},
                {"op": "add", "path": "/metadata/managedFields/0/manager", "value": "hook"},
                {"op": "add", "path": "/data/by", "value": "hook"},
            ]),
            "/breaks.example.io" => json!([{"op": "remove", "path": "/metadata/managedFields/0/apiVersion"}]),
            "/forgets.example.io" => json!([{"op": "remove", "path": "/metadata/managedFields"}]),
            _ => return Some(review(question, json!({"allowed": true}))),
        };
        Some(review(question, patch(&operations)))
    });
    with_hooks(answer, |cluster, hooks| async move {
        let condition = json!({"name": "c", "expression": "!has(oldObject.metadata) || oldObject.metadata.managedFields[0].manager == 'hook'"});
        let sees = hook(&hooks, "sees.example.io", json!({"matchConditions": [condition]}));
        configure(&cluster, &VALIDATING, "v", &[sees]).await;
        let managers = |object: &Value| -> Vec<String> {
            let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
            entries.map(|entry| entry["manager"].as_str().unwrap().to_owned()).collect()
        };
        let broken = ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: apiVersion must not be empty";
        let post = "POST /api/v1/namespaces/default/configmaps";
        let cases = [
            ("mutates.example.io", vec!["hook"], ""),
            ("breaks.example.io", vec!["test"], broken),
            ("forgets.example.io", vec![], ""),
        ];
        for (name, owners, warning) in cases {
            configure(&cluster, &MUTATING, "m", &[hook(&hooks, name, json!({}))]).await;
            let body = json!({"metadata": {"name": name}, "data": {"a": "b"}}).to_string();
            let created = ask(&cluster, "admin", post, &["user-agent: test"], &body).await;
            let warned = created.header("warning");
            let told = if warning.is_empty() { String::new() } else { format!("299 - {warning:?}") };
            assert_eq!((managers(&created.json()), warned), (owners.iter().map(ToString::to_string).collect(), &*told));
            let seen: Vec<Vec<String>> = hooks.take().iter().map(|question| managers(&question["object"])).collect();
            assert_eq!(seen[0], ["test"], "{name}");
            assert_eq!(seen[1], owners, "{name}");
            cluster.admin().delete(&MUTATING, "", "m", Preconditions::default()).await.unwrap();
        }
        let patch = json!({"data": {"k": "v"}});
        cluster.admin().patch(&CM, "default", "mutates.example.io", "", PatchType::Merge, patch).await.unwrap();
        for question in hooks.take() {
            assert_eq!(managers(&question["oldObject"]), ["hook"], "{question}");
            assert_eq!(question["options"], json!({"kind": "UpdateOptions", "apiVersion": "meta.k8s.io/v1"}));
            let owned = |object: &str, field: &str| {
                question[object]["metadata"]["managedFields"].to_string().contains(&format!("f:{field}"))
            };
            assert!(owned("oldObject", "a") && !owned("oldObject", "k") && owned("object", "k"), "{question}");
        }
    });
}

#[test]
fn owners_that_stand_twice_are_told_once_sent_and_once_admitted() {
    let answer: Answer = Arc::new(|_, question| {
        let first = &question["request"]["object"]["metadata"]["ownerReferences"][0];
        let operations = json!([{"op": "add", "path": "/metadata/ownerReferences/-", "value": first}]);
        Some(review(question, patch(&operations)))
    });
    with_hooks(answer, |cluster, hooks| async move {
        let owner = |uid: &str| json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": uid});
        let body = json!({"metadata": {"name": "a", "ownerReferences": [owner("1"), owner("2"), owner("1")]}});
        let (all, one) = ("/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/configmaps/a");
        let advice = "API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: 1";
        let sent = format!("299 - \".metadata.ownerReferences contains duplicate entries; {advice}\"");
        let after = format!(
            "299 - \".metadata.ownerReferences contains duplicate entries after mutating admission happens; {advice}\""
        );
        let text = body.to_string();
        let created = ask(&cluster, "admin", &format!("POST {all}"), &[], &text).await;
        assert_eq!(created.header("warning"), sent);
        // A patch is looked at once, when everybody has had a say.
        let twice = after.replace("observed: 1", "observed: 1, 1");
        configure(&cluster, &MUTATING, "m", &[hook(&hooks, "m.example.io", json!({}))]).await;
        let merge = ["content-type: application/merge-patch+json"];
        let writes = [("PUT", &[][..], vec![sent.as_str(), &after]), ("PATCH", &merge[..], vec![twice.as_str()])];
        for (verb, headers, expected) in writes {
            let answer = ask(&cluster, "admin", &format!("{verb} {one}"), headers, &text).await;
            let told: Vec<&str> =
                answer.headers.get_all("warning").iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!(told, expected, "{verb}");
            assert_eq!(answer.json()["metadata"]["ownerReferences"], json!([owner("1"), owner("2")]), "{verb}");
        }
    });
}

#[test]
fn who_is_refused_is_told_the_warnings_too() {
    let answer: Answer = Arc::new(|_, question| {
        Some(review(question, json!({"allowed": false, "warnings": ["mind the gap"], "status": {"message": "no"}})))
    });
    with_hooks(answer, |cluster, hooks| async move {
        let post = "POST /api/v1/namespaces/default/configmaps";
        let body = json!({"metadata": {"name": "a"}}).to_string();
        for resource in [&MUTATING, &VALIDATING] {
            configure(&cluster, resource, "c", &[hook(&hooks, "no.example.io", json!({}))]).await;
            let refused = ask(&cluster, "admin", post, &[], &body).await;
            assert_eq!((refused.status, refused.header("warning")), (400, r#"299 - "mind the gap""#));
            cluster.admin().delete(resource, "", "c", Preconditions::default()).await.unwrap();
        }
    });
}

#[test]
fn deletions_of_many_name_none_and_old_bindings_are_what_they_are() {
    let answer: Answer = Arc::new(|_, question| Some(review(question, json!({"allowed": true}))));
    with_hooks(answer, |cluster, hooks| async move {
        for name in ["a", "b"] {
            create(&cluster, name, json!({"metadata": {"name": name, "labels": {"mine": "x"}}})).await.unwrap();
        }
        let account = json!({"metadata": {"name": "default"}});
        cluster.admin().create(&resources::SERVICE_ACCOUNTS, "default", account).await.unwrap();
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        cluster.admin().create(&resources::PODS, "default", pod).await.unwrap();
        let rule = json!({"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps", "bindings"]});
        configure(&cluster, &VALIDATING, "v", &[hook(&hooks, "v.example.io", json!({"rules": [rule]}))]).await;
        let many = Options { label_selector: Some("mine".into()), ..Options::default() };
        let call = Request { options: many, ..request(Verb::DeleteCollection, &CM, "default", "") };
        cluster.admin().call(call).await.unwrap();
        let mut old: Vec<(Value, Value)> = hooks
            .take()
            .into_iter()
            .map(|question| (question["name"].clone(), question["oldObject"]["metadata"]["name"].clone()))
            .collect();
        old.sort_by_key(|(_, old)| old.to_string());
        assert_eq!(old, [(Value::Null, json!("a")), (Value::Null, json!("b"))]);
        let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}).to_string();
        let bound = ask(&cluster, "admin", "POST /api/v1/namespaces/default/bindings", &[], &binding).await;
        assert_eq!(bound.status, 201, "{}", bound.text());
        let asked = &hooks.take()[0];
        assert_eq!((&asked["resource"]["resource"], &asked["name"]), (&json!("bindings"), &json!("p")));
    });
}

#[test]
fn webhooks_have_no_longer_than_the_client_waits() {
    let answer: Answer = Arc::new(|path, question| match path.starts_with("/silent") {
        true => None,
        false => Some(review(question, json!({"allowed": true}))),
    });
    with_hooks(answer, |cluster, hooks| async move {
        let seconds = |name: &str, seconds: u64, policy: &str| {
            hook(&hooks, name, json!({"timeoutSeconds": seconds, "failurePolicy": policy}))
        };
        let webhooks = [
            seconds("silent.example.io", 2, "Ignore"),
            seconds("short.example.io", 5, "Fail"),
            seconds("long.example.io", 20, "Fail"),
        ];
        configure(&cluster, &MUTATING, "m", &webhooks).await;
        let line = "POST /api/v1/namespaces/default/configmaps?timeout=9500ms";
        let answer = ask(&cluster, "admin", line, &[], &json!({"metadata": {"name": "a"}}).to_string()).await;
        assert_eq!(answer.status, 201);
        let asked: Vec<String> = hooks.asked.lock().unwrap().iter().map(|(path, _)| path.clone()).collect();
        let expected = [
            "/silent.example.io?timeout=2s",
            "/short.example.io?timeout=5s",
            // What is left of the client's time, in whole seconds.
            "/long.example.io?timeout=8s",
        ];
        assert_eq!(asked, expected);
    });
}

#[test]
fn events_of_one_group_are_those_of_the_other() {
    let answer: Answer = Arc::new(|_, question| Some(review(question, json!({"allowed": true}))));
    with_hooks(answer, |cluster, hooks| async move {
        let rules = |group: &str| json!([{"operations": ["CREATE"], "apiGroups": [group], "apiVersions": ["v1"], "resources": ["events"]}]);
        let equivalent = hook(&hooks, "equivalent.example.io", json!({"rules": rules("events.k8s.io")}));
        let exact = json!({"rules": rules("events.k8s.io"), "matchPolicy": "Exact"});
        configure(&cluster, &VALIDATING, "v", &[equivalent, hook(&hooks, "exact.example.io", exact)]).await;
        let events = GroupVersionResource::of("", "v1", "events");
        let event = json!({
            "metadata": {"name": "e"}, "reason": "R", "message": "m", "type": "Normal",
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        });
        cluster.admin().create(&events, "default", event).await.unwrap();
        let asked = hooks.take();
        assert_eq!(asked.len(), 1, "{asked:?}");
        let question = &asked[0];
        assert_eq!(
            (&question["resource"]["group"], &question["requestResource"]["group"]),
            (&json!("events.k8s.io"), &json!(""))
        );
        assert_eq!(
            (&question["kind"]["group"], &question["object"]["apiVersion"]),
            (&json!("events.k8s.io"), &json!("events.k8s.io/v1"))
        );
        assert_eq!((&question["object"]["note"], &question["object"]["regarding"]["name"]), (&json!("m"), &json!("p")));
    });
}

#[test]
fn match_conditions_are_counted() {
    let answer: Answer = Arc::new(|_, question| Some(review(question, json!({"allowed": true}))));
    with_hooks(answer, |cluster, hooks| async move {
        let condition = |expression: &str| json!({"matchConditions": [{"name": "c", "expression": expression}]});
        let hook = |name: &str, expression: &str| hook(&hooks, name, condition(expression));
        let webhooks = [hook("never.example.io", "false"), hook("always.example.io", "true")];
        configure(&cluster, &VALIDATING, "v", &webhooks).await;
        let broken = [hook("broken.example.io", "object.nothing == 1")];
        configure(&cluster, &MUTATING, "m", &broken).await;
        create(&cluster, "a", json!({})).await.unwrap_err();
        cluster.admin().delete(&MUTATING, "", "m", Preconditions::default()).await.unwrap();
        create(&cluster, "a", json!({})).await.unwrap();
        let page = ask(&cluster, "admin", "GET /metrics", &[], "").await.text();
        let series = |what: &str, name: &str, step: &str| {
            format!(
                r#"apiserver_admission_match_condition_{what}{{kind="webhook",name="{name}.example.io",operation="CREATE",type="{step}"}} 1"#
            )
        };
        for expected in [
            series("evaluation_errors_total", "broken", "admit"),
            series("exclusions_total", "never", "validating"),
            series("evaluation_seconds_count", "always", "validating"),
        ] {
            assert!(page.contains(&expected), "{expected}\nin\n{page}");
        }
        assert!(!page.contains(&series("exclusions_total", "always", "validating")));
    });
}

#[test]
fn streams_that_are_refused_warn_too() {
    let answer: Answer = Arc::new(|_, question| {
        let denied = question["request"]["subResource"] == "exec";
        Some(review(question, json!({"allowed": !denied, "warnings": ["somebody looks"]})))
    });
    with_hooks(answer, |cluster, hooks| async move {
        let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CONNECT"], "resources": ["*/*"]});
        let hook = hook(&hooks, "streams.example.io", json!({"rules": [rule]}));
        configure(&cluster, &VALIDATING, "streams", &[hook]).await;
        // One is refused by the webhook, the other since nobody is there to answer.
        for (line, status) in [
            ("POST /api/v1/namespaces/default/pods/a/exec?command=ls", 400),
            ("GET /api/v1/namespaces/default/services/a/proxy/", 404),
        ] {
            let answer = ask(&cluster, "admin", line, &[], "").await;
            assert_eq!((answer.status, answer.warnings()), (status, vec!["somebody looks".to_owned()]), "{line}");
        }
    });
}
