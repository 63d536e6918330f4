//! What is recorded of requests, and where it goes.

mod support;

use std::sync::Arc;

use apiserver::{Audit, AuditFile, AuditPolicy, AuditRing, AuditSink};
use k8s_client::PatchType;
use k8s_object::resources;
use serde_json::{Value, json};
use support::http::{ask, send, with_names};
use support::{Cluster, with_options};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn policy(rules: &str) -> Arc<AuditPolicy> {
    Arc::new(AuditPolicy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{rules}")).unwrap())
}

/// Runs a test on a cluster that records by these rules, into a ring.
fn audited<F: Future<Output = ()>>(rules: &'static str, test: impl FnOnce(Cluster, Arc<AuditRing>) -> F) {
    let ring = Arc::new(AuditRing::new(1000));
    let sink = ring.clone();
    let options = |options: &mut apiserver::Options| {
        with_names(options);
        options.audit = Some(Audit { policy: policy(rules), sink });
    };
    with_options(options, |cluster| test(cluster, ring));
}

/// The events since the last call, as they are written.
fn take(ring: &AuditRing, from: &mut u64) -> Vec<Value> {
    let (events, next, lost) = ring.read(*from, usize::MAX);
    assert_eq!(lost, 0);
    *from = next;
    // What the server does by itself meanwhile is not what is looked at.
    let asked = events.iter().filter(|event| !event.user.username.starts_with("system:"));
    asked.map(|event| event.to_json()).collect()
}

fn lines(events: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |event: &Value| {
        let object = &event["objectRef"];
        let place = ["resource", "subresource", "namespace", "name"].map(|field| text(&object[field])).join(" ");
        let code = event["responseStatus"]["code"].as_u64().unwrap_or(0);
        format!(
            "{} {} {} {place} {code}",
            text(&event["stage"]),
            text(&event["user"]["username"]),
            text(&event["verb"])
        )
    };
    events.iter().map(line).collect()
}

#[test]
fn each_request_is_recorded_at_its_stages() {
    audited("- {level: Metadata, omitStages: [RequestReceived]}", |cluster, ring| async move {
        let mut from = 0;
        take(&ring, &mut from);
        let agent = "user-agent: test/1.0";
        let requests = [
            ("admin", format!("POST {CONFIG_MAPS}"), r#"{"metadata":{"name":"a"}}"#),
            ("admin", format!("GET {CONFIG_MAPS}/b"), ""),
            ("jane", format!("DELETE {CONFIG_MAPS}/a"), ""),
            ("admin", "GET /api/v1/nodes?watch=true&timeoutSeconds=1".to_owned(), ""),
            ("admin", "PUT /api/v1/namespaces/default/finalize".to_owned(), "{"),
            ("admin", "GET /readyz".to_owned(), ""),
        ];
        for (user, line, body) in &requests {
            ask(&cluster, user, line, &[agent], body).await;
        }
        cluster.user("inside").list(&resources::PODS, "default").await.unwrap_err();
        send(&cluster, &format!("GET {CONFIG_MAPS}"), &["authorization: Bearer expired:x"], serve::empty()).await;
        let events = take(&ring, &mut from);
        assert_eq!(
            lines(&events),
            [
                "ResponseComplete admin create configmaps  default a 201",
                "ResponseComplete admin get configmaps  default b 404",
                "ResponseComplete jane delete configmaps  default a 403",
                "ResponseStarted admin watch nodes    200",
                "ResponseComplete admin watch nodes    200",
                "ResponseComplete admin update namespaces finalize default default 400",
                "ResponseComplete admin get     200",
                "ResponseComplete inside list pods  default  403",
                "ResponseStarted  list configmaps  default  401",
            ]
        );
        let created = &events[0];
        let expected = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "stage": "ResponseComplete",
            "requestURI": CONFIG_MAPS, "verb": "create",
            "user": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
            "sourceIPs": ["192.0.2.7"], "userAgent": "test/1.0",
            "objectRef": {"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"},
            "responseStatus": {"metadata": {}, "code": 201},
            "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&created[key], value, "{key}");
        }
        assert_eq!(created["auditID"].as_str().map(str::len), Some(36));
        let denied = &events[2];
        assert_eq!(denied["annotations"]["authorization.k8s.io/decision"], "forbid");
        assert_eq!(denied["responseStatus"]["reason"], "Forbidden");
        assert_eq!(events[8]["responseStatus"]["message"], "Unauthorized");
        assert_eq!(events[3]["auditID"], events[4]["auditID"]);
        assert_eq!(events[7]["requestURI"], "/api/v1/namespaces/default/pods");
        assert_eq!(events[7].get("sourceIPs"), None);
    });
}

#[test]
fn bodies_are_told_where_the_policy_wants_them() {
    let rules = "\
- {level: Request, resources: [{group: '', resources: [secrets]}], omitStages: [RequestReceived]}
- {level: RequestResponse, omitManagedFields: true, resources: [{group: '', resources: [configmaps]}]}
- {level: None}
";
    audited(rules, |cluster, ring| async move {
        let mut from = 0;
        take(&ring, &mut from);
        let secret = r#"{"metadata":{"name":"s"}, "data": {"k": "dg=="}}"#;
        let map = r#"{"metadata":{"name":"m", "managedFields": [{"manager": "x", "operation": "Update", "apiVersion": "v1"}]}, "data": {"k": "v"}}"#;
        ask(&cluster, "admin", "POST /api/v1/namespaces/default/secrets", &[], secret).await;
        let again = r#"{"metadata":{"name":"s"}, "data": {"k": "dw=="}}"#;
        ask(&cluster, "admin", "PUT /api/v1/namespaces/default/secrets/s", &[], again).await;
        ask(&cluster, "admin", &format!("POST {CONFIG_MAPS}"), &[], map).await;
        let patch = r#"{"data":{"k":"w"}}"#;
        let merge = ["content-type: application/merge-patch+json"];
        ask(&cluster, "admin", &format!("PATCH {CONFIG_MAPS}/m"), &merge, patch).await;
        ask(&cluster, "admin", &format!("GET {CONFIG_MAPS}"), &[], "").await;
        ask(&cluster, "admin", &format!("GET {CONFIG_MAPS}/none"), &[], "").await;
        ask(&cluster, "admin", "GET /api/v1/nodes", &[], "").await;
        let events = take(&ring, &mut from);
        let complete: Vec<&Value> = events.iter().filter(|event| event["stage"] == "ResponseComplete").collect();
        assert_eq!((events.len(), complete.len()), (10, 6), "{:?}", lines(&events));
        let [created, updated, made, patched, listed, missing] = complete[..] else { unreachable!() };
        assert_eq!((&created["requestObject"]["data"]["k"], created.get("responseObject")), (&json!("dg=="), None));
        assert_eq!(created["requestObject"]["type"], "Opaque", "as it was understood, with its defaults");
        assert_eq!(updated["requestObject"]["data"]["k"], "dw==");
        assert_eq!(updated["requestObject"]["type"], "Opaque", "an update too");
        assert_eq!(made["requestObject"]["metadata"].get("managedFields"), None);
        assert_eq!(made["responseObject"]["metadata"].get("managedFields"), None);
        assert_eq!(made["responseObject"]["data"]["k"], "v");
        assert!(made["responseObject"]["metadata"]["uid"].is_string());
        assert_eq!(patched["requestObject"], json!({"data": {"k": "w"}}));
        assert_eq!(patched["responseObject"]["data"]["k"], "w");
        assert_eq!(
            (&listed["responseObject"]["kind"], &listed["responseObject"]["apiVersion"]),
            (&json!("ConfigMapList"), &json!("v1"))
        );
        assert!(listed["responseObject"]["items"].as_array().is_some_and(|items| !items.is_empty()));
        assert_eq!(
            (&missing["responseObject"]["kind"], &missing["responseObject"]["code"]),
            (&json!("Status"), &json!(404))
        );
        assert_eq!(missing["responseStatus"]["reason"], "NotFound");
    });
}

#[test]
fn a_client_that_goes_leaves_a_trace() {
    audited(
        "- {level: Metadata, resources: [{group: '', resources: [configmaps, nodes]}]}",
        |cluster, ring| async move {
            let mut from = 0;
            take(&ring, &mut from);
            let body = serve::stream(|_| std::task::Poll::Pending);
            let line = format!("POST {CONFIG_MAPS}");
            let request = send(&cluster, &line, &["authorization: Bearer user:admin"], body);
            let gone = cluster.world.timeout(std::time::Duration::from_secs(1), request).await;
            assert!(gone.is_err(), "its body never comes");
            let events = take(&ring, &mut from);
            assert_eq!(
                lines(&events),
                [
                    "RequestReceived admin create configmaps  default  0",
                    "ResponseComplete admin create configmaps  default  200",
                ]
            );
            assert_eq!(events[1]["responseStatus"]["message"], "Connection closed early");
            let admin = ["x-forwarded-for: 198.51.100.9"];
            ask(&cluster, "admin", "GET /api/v1/nodes", &admin, "").await;
            assert_eq!(take(&ring, &mut from)[0]["sourceIPs"], json!(["198.51.100.9", "192.0.2.7"]));
            let impersonating = ["impersonate-user: bob", "impersonate-group: devs"];
            ask(&cluster, "admin", "GET /api/v1/nodes", &impersonating, "").await;
            let events = take(&ring, &mut from);
            assert_eq!(events[1]["user"]["username"], "admin");
            assert_eq!(events[1]["impersonatedUser"]["username"], "bob");
            assert_eq!(events[1]["responseStatus"]["code"], 403);
        },
    );
}

#[test]
fn a_ring_loses_the_oldest_and_says_how_many() {
    audited("- {level: Metadata}", |cluster, ring| async move {
        let small = AuditRing::new(3);
        ask(&cluster, "admin", "GET /api/v1/nodes", &[], "").await;
        let (events, ..) = ring.read(0, 1);
        let mut changed = small.subscribe();
        for _ in 0..5 {
            assert!(small.record(events[0].clone()));
        }
        assert!(changed.changed().await.is_ok());
        let (read, next, lost) = small.read(0, 2);
        assert_eq!((read.len(), next, lost), (2, 4, 2));
        let (read, next, lost) = small.read(next, 10);
        assert_eq!((read.len(), next, lost), (1, 5, 0));
        assert!(small.read(next, 10).0.is_empty());
    });
}

#[test]
fn a_file_begins_anew_at_its_limit() {
    let folder = std::env::temp_dir().join(format!("minato-audit-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("audit.log");
    let to = path.clone();
    audited("- {level: Metadata}", |cluster, ring| async move {
        ask(&cluster, "admin", "GET /api/v1/nodes", &[], "").await;
        let (events, ..) = ring.read(0, 1);
        let length = events[0].to_json().to_string().len() as u64 + 1;
        let file = AuditFile::open(&to, length * 2).unwrap();
        for _ in 0..5 {
            assert!(file.record(events[0].clone()));
        }
    });
    let count = |path: &std::path::Path| {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count()
    };
    assert_eq!((count(&path), count(&folder.join("audit.log.1"))), (1, 2));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn tokens_of_secrets_are_noted_and_counted() {
    audited("- {level: Metadata, omitStages: [RequestReceived]}", |cluster, ring| async move {
        let client = cluster.admin();
        let account = json!({"metadata": {"name": "a"}});
        let uid = client.create(&resources::SERVICE_ACCOUNTS, "default", account).await.unwrap().meta().uid.clone();
        let claims = k8s_auth::LegacyClaims::new("default", "a", &uid, "s");
        let token = cluster.server.issuer().issue_legacy(&claims);
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &token);
        let annotations = json!({"kubernetes.io/service-account.name": "a"});
        let secret = json!({
            "metadata": {"name": "s", "annotations": annotations}, "type": "kubernetes.io/service-account-token",
            "data": {"token": encoded},
        });
        client.create(&resources::SECRETS, "default", secret).await.unwrap();
        let mut from = 0;
        ring.read(from, usize::MAX);
        let review = || serve::full(r#"{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}"#);
        let line = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews";
        let header = format!("authorization: Bearer {token}");
        let answer = send(&cluster, line, &[&header], review()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let (events, next, _) = ring.read(from, usize::MAX);
        from = next;
        let name = "system:serviceaccount:default:a";
        let event = events.iter().find(|event| event.user.username == name).expect("an event").to_json();
        let notes = &event["annotations"];
        assert_eq!(notes["authentication.k8s.io/legacy-token"], name, "{event}");
        assert_eq!(notes["authentication.k8s.io/legacy-token-manual-secret"], "s", "{event}");

        // One that is listed was made for the account: who uses it is told, also when refused.
        let listed = json!({"secrets": [{"name": "s"}]});
        client.patch(&resources::SERVICE_ACCOUNTS, "default", "a", "", PatchType::Merge, listed).await.unwrap();
        for (line, status) in [("GET /version", 200), ("GET /api/v1/nodes", 403)] {
            let answer = send(&cluster, line, &[&header], serve::empty()).await;
            let told = answer.header("warning").contains("instead of auto-generated secret-based tokens");
            assert_eq!((answer.status, told), (status, true), "{line}");
        }
        from = ring.read(from, usize::MAX).1;

        let spec = json!({"serviceAccountName": "a", "containers": [{"name": "c", "image": "i"}]});
        let pod = json!({"metadata": {"name": "p"}, "spec": spec});
        client.create(&resources::PODS, "default", pod).await.unwrap();
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": "p"});
        let asked = json!({"spec": {"expirationSeconds": 3607, "boundObjectRef": bound}});
        let issued = client.create_subresource(&resources::SERVICE_ACCOUNTS, "default", "a", "token", asked).await;
        let Ok(k8s_client::Reply::Value(issued)) = issued else { panic!("a token") };
        let header = format!("authorization: Bearer {}", issued["status"]["token"].as_str().unwrap());
        let page = async || ask(&cluster, "admin", "GET /metrics", &[], "").await.text();
        for (wait, valid, stale) in [(0, 1, 0), (4000, 1, 1)] {
            cluster.world.sleep(std::time::Duration::from_secs(wait)).await;
            assert_eq!(send(&cluster, line, &[&header], review()).await.status, 201);
            let page = page().await;
            for (what, count) in [("legacy", 3), ("valid", valid), ("stale", stale)] {
                let series = format!("serviceaccount_{what}_tokens_total {count}\n");
                assert!(count == 0 || page.contains(&series), "{series} in\n{page}");
            }
        }
        let (events, _, _) = ring.read(from, usize::MAX);
        let stale = events
            .iter()
            .map(|event| event.to_json())
            .find_map(|event| event["annotations"]["authentication.k8s.io/stale-token"].as_str().map(str::to_owned));
        assert!(
            stale.is_some_and(|note| note.starts_with(&format!("subject: {name}, seconds after warning threshold: ")))
        );
    });
}

#[test]
fn what_the_server_writes_itself_is_recorded_as_its_own() {
    audited("- {level: Metadata, omitStages: [RequestReceived]}", |cluster, ring| async move {
        cluster.world.sleep(std::time::Duration::from_secs(11)).await;
        let (events, ..) = ring.read(0, usize::MAX);
        let events: Vec<Value> = events.iter().map(|event| event.to_json()).collect();
        let renewal =
            events.iter().find(|event| event["verb"] == "update" && event["objectRef"]["resource"] == "leases");
        let renewal = renewal.unwrap();
        assert_eq!(renewal["user"]["username"], "system:apiserver");
        assert_eq!(
            (&renewal["userAgent"], &renewal["responseStatus"]["code"], &renewal["stage"]),
            (&json!("kube-apiserver"), &json!(200), &json!("ResponseComplete"))
        );
    });
}
