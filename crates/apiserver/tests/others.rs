//! Others who know tokens and decide about requests: issuers, and webhooks of both kinds.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use apiserver::{AuthorizationWebhook, FailurePolicy, JwtAuthenticator, Mapping, Mode, Remote, TokenWebhook};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_auth::{Issuer, ObjectRef, PrivateKey, TokenRequest};
use serde_json::{Value, json};
use store::Store;
use support::hooks::Hooks;
use support::http::{ask, send, with_names};
use support::{Cluster, start_with};
use world::World;

const ISSUER: &str = "https://issuer.example";
const REVIEW: &str = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews";
const PODS: &str = "GET /api/v1/namespaces/default/pods";

fn pem(hooks: &Hooks) -> Vec<u8> {
    STANDARD.decode(&hooks.ca).unwrap()
}

async fn named(cluster: &Cluster, token: &str) -> Result<Value, u16> {
    let header = format!("authorization: Bearer {token}");
    let answer = send(cluster, REVIEW, &[&header], serve::full("{}")).await;
    if answer.status == 201 { Ok(answer.json()["status"]["userInfo"].clone()) } else { Err(answer.status) }
}

fn issue(issuer: &Issuer, world: &World, audience: &str, seconds: i64) -> String {
    let request = TokenRequest {
        namespace: "ns".into(),
        service_account: ObjectRef { name: "sa".into(), uid: "u".into() },
        audiences: vec![audience.to_owned()],
        seconds,
        bound: None,
        warn_after_seconds: None,
    };
    issuer.issue(world, &request).token
}

#[test]
fn tokens_of_issuers_are_verified_with_the_keys_that_they_publish() {
    let (world, mut simulation) = World::simulated(1);
    let store = Store::memory(&world, store::Limits::default());
    simulation.block_on(async move {
        let issuer = Issuer::new(PrivateKey::generate(&world), ISSUER, &["app"]);
        let next = Issuer::new(PrivateKey::generate(&world), ISSUER, &["app"]);
        let published = Arc::new(Mutex::new(issuer.jwks()));
        let keys = published.clone();
        let answer = move |path: &str, _: &Value| match path {
            "/.well-known/openid-configuration" => {
                Some((200, json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/keys")})))
            }
            "/keys" => Some((200, keys.lock().unwrap().clone())),
            _ => Some((404, json!({}))),
        };
        let hooks = Hooks::new(&world, &["issuer.example"], Arc::new(answer));
        let (dialer, authorities) = (hooks.clone(), String::from_utf8(pem(&hooks)).unwrap());
        let cluster = start_with(&world, &store, |options| {
            with_names(options);
            options.dialer = Some(dialer);
            options.authentication.jwt.push(JwtAuthenticator {
                issuer: ISSUER.into(),
                authorities_pem: authorities,
                audiences: vec!["app".into()],
                username: Mapping { claim: "sub".into(), prefix: "oidc:".into(), ..Mapping::default() },
                ..JwtAuthenticator::default()
            });
        })
        .await;
        let token = issue(&issuer, &world, "app", 600);
        for _ in 0..3 {
            let user = named(&cluster, &token).await.unwrap();
            assert_eq!(user["username"], "oidc:system:serviceaccount:ns:sa");
            assert_eq!(user["groups"], json!(["system:authenticated"]));
        }
        let paths: Vec<String> = hooks.asked.lock().unwrap().iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(paths, ["/.well-known/openid-configuration", "/keys"], "keys are asked for once");
        let review = json!({"spec": {"token": issue(&issuer, &world, "other", 600)}}).to_string();
        let path = "POST /apis/authentication.k8s.io/v1/tokenreviews";
        let status = ask(&cluster, "admin", path, &[], &review).await.json()["status"].clone();
        assert_eq!(status["error"], "oidc: verify token: oidc: expected audience \"app\" got [\"other\"]");
        // Another key counts from when the issuer says so, and it is not asked for each token that nobody knows.
        let renewed = issue(&next, &world, "app", 600);
        assert_eq!(named(&cluster, &renewed).await, Err(401));
        *published.lock().unwrap() = next.jwks();
        assert_eq!(named(&cluster, &renewed).await, Err(401));
        world.sleep(Duration::from_secs(6)).await;
        assert!(named(&cluster, &renewed).await.is_ok());
        assert_eq!(named(&cluster, &token).await, Err(401));
        world.sleep(Duration::from_secs(700)).await;
        assert_eq!(named(&cluster, &renewed).await, Err(401));
    });
}

#[test]
fn a_webhook_knows_tokens_and_is_believed_for_a_while() {
    let (world, mut simulation) = World::simulated(1);
    let store = Store::memory(&world, store::Limits::default());
    simulation.block_on(async move {
        let answer = |_: &str, review: &Value| {
            let status = match review["spec"]["token"].as_str() {
                Some("good") => {
                    json!({"authenticated": true, "user": {"username": "jane", "groups": ["g"], "extra": {"a": ["b"]}}})
                }
                Some("late") => json!({"authenticated": false, "error": "it is late"}),
                _ => json!({"authenticated": false}),
            };
            Some((200, json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status})))
        };
        let hooks = Hooks::new(&world, &["hook.example"], Arc::new(answer));
        let dialer = hooks.clone();
        let remote =
            Remote { url: "https://hook.example/tokens".into(), authorities_pem: pem(&hooks), ..Remote::default() };
        let cluster = start_with(&world, &store, |options| {
            with_names(options);
            options.dialer = Some(dialer);
            options.authentication.webhook = Some(TokenWebhook::new(remote));
        })
        .await;
        let asked = || std::mem::take(&mut *hooks.asked.lock().unwrap());
        for _ in 0..2 {
            let user = named(&cluster, "good").await.unwrap();
            assert_eq!(
                user,
                json!({"username": "jane", "groups": ["g", "system:authenticated"], "extra": {"a": ["b"]}})
            );
        }
        let questions = asked();
        assert_eq!(questions.len(), 1, "{questions:?}");
        assert_eq!(questions[0].1["spec"], json!({"token": "good", "audiences": ["https://kubernetes.default.svc"]}));
        assert_eq!((named(&cluster, "bad").await, named(&cluster, "late").await), (Err(401), Err(401)));
        let review = json!({"spec": {"token": "late"}}).to_string();
        let path = "POST /apis/authentication.k8s.io/v1/tokenreviews";
        assert_eq!(ask(&cluster, "admin", path, &[], &review).await.json()["status"]["error"], "it is late");
        asked();
        world.sleep(Duration::from_secs(121)).await;
        assert!(named(&cluster, "good").await.is_ok());
        assert_eq!(asked().len(), 1);
    });
}

#[test]
fn a_webhook_decides_in_its_place_and_is_believed_for_a_while() {
    let (world, mut simulation) = World::simulated(1);
    let store = Store::memory(&world, store::Limits::default());
    simulation.block_on(async move {
        let answer = |_: &str, review: &Value| {
            let status = match review["spec"]["user"].as_str() {
                Some("jane") => json!({"allowed": true, "reason": "jane may"}),
                Some("eve") => json!({"allowed": false, "denied": true, "reason": "not eve"}),
                Some("both") => json!({"allowed": true, "denied": true}),
                _ => json!({"allowed": false, "reason": "no idea"}),
            };
            Some((200, json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "status": status})))
        };
        let hooks = Hooks::new(&world, &["hook.example"], Arc::new(answer));
        let remote = |url: &str| Remote { url: url.into(), authorities_pem: pem(&hooks), ..Remote::default() };
        let webhook = |url: &str, policy| Mode::Webhook(Box::new(AuthorizationWebhook::new("hook", remote(url), policy)));
        let start = async |modes: Vec<Mode>| {
            let dialer = hooks.clone();
            start_with(&world, &store, |options| {
                with_names(options);
                options.dialer = Some(dialer);
                options.authorization = modes;
            })
            .await
        };
        let up = "https://hook.example/decide";
        let cluster = start(vec![webhook(up, FailurePolicy::NoOpinion), Mode::Node, Mode::Rbac]).await;
        hooks.asked.lock().unwrap().clear();
        let cases = [
            ("jane", 200, ""),
            ("eve", 403, r#"pods is forbidden: User "eve" cannot list resource "pods" in API group "" in the namespace "default": not eve"#),
            ("joe", 403, r#"pods is forbidden: User "joe" cannot list resource "pods" in API group "" in the namespace "default": no idea"#),
            ("both", 500, "Internal error occurred: webhook subject access review returned both allow and deny response"),
            ("admin", 200, ""),
        ];
        for (user, status, message) in cases {
            let answer = ask(&cluster, user, &format!("{PODS}?labelSelector=a%3Db"), &[], "").await;
            let own = answer.json()["message"].as_str().unwrap_or("").to_owned();
            assert_eq!((answer.status, own.as_str()), (status, message), "{user}");
        }
        let asked = std::mem::take(&mut *hooks.asked.lock().unwrap());
        // Whoever it lets do everything may grant what no role gives them.
        let role = r#"{"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]}"#;
        let path = "POST /apis/rbac.authorization.k8s.io/v1/clusterroles";
        assert_eq!(ask(&cluster, "jane", path, &[], role).await.status, 201);
        let verbs: Vec<Value> = std::mem::take(&mut *hooks.asked.lock().unwrap())
            .iter()
            .map(|(_, review)| review["spec"]["resourceAttributes"]["verb"].clone())
            .collect();
        assert_eq!(verbs, ["create", "escalate"]);
        // Administrators are not asked about.
        assert_eq!(asked.len(), 4, "{asked:?}");
        let attributes = &asked[0].1["spec"]["resourceAttributes"];
        assert_eq!(attributes["labelSelector"]["requirements"], json!([{"key": "a", "operator": "In", "values": ["b"]}]));
        for (user, seconds, times) in [("jane", 299, 0), ("jane", 2, 1), ("eve", 1, 1), ("eve", 29, 0), ("eve", 2, 1)] {
            world.sleep(Duration::from_secs(seconds)).await;
            ask(&cluster, user, &format!("{PODS}?labelSelector=a%3Db"), &[], "").await;
            let asked = std::mem::take(&mut *hooks.asked.lock().unwrap()).len();
            assert_eq!(asked, times, "{user} after {seconds} s");
        }
        let review = json!({"spec": {"user": "both", "resourceAttributes": {"verb": "get", "resource": "pods"}}}).to_string();
        let path = "POST /apis/authorization.k8s.io/v1/subjectaccessreviews";
        let status = ask(&cluster, "admin", path, &[], &review).await.json()["status"].clone();
        let error = "webhook subject access review returned both allow and deny response";
        assert_eq!(status, json!({"allowed": false, "evaluationError": error}));
        cluster.tasks.shutdown(Duration::from_secs(1)).await;

        let about_pods = AuthorizationWebhook {
            match_conditions: vec!["has(request.resourceAttributes) && request.resourceAttributes.resource != 'pods'".into()],
            ..AuthorizationWebhook::new("hook", remote(up), FailurePolicy::Deny)
        };
        let cluster = start(vec![Mode::Webhook(Box::new(about_pods)), Mode::Rbac]).await;
        hooks.asked.lock().unwrap().clear();
        for (line, status, times) in [(PODS, 403, 0), ("GET /api/v1/nodes", 200, 1)] {
            assert_eq!(ask(&cluster, "jane", line, &[], "").await.status, status, "{line}");
            assert_eq!(std::mem::take(&mut *hooks.asked.lock().unwrap()).len(), times, "{line}");
        }
        cluster.tasks.shutdown(Duration::from_secs(1)).await;

        // Nobody listens on port 1: the policy says what that means.
        for (policy, user, status) in [(FailurePolicy::NoOpinion, "joe", 500), (FailurePolicy::Deny, "joe", 500), (FailurePolicy::NoOpinion, "admin", 200)] {
            let cluster = start(vec![webhook("https://hook.example:1/", policy), Mode::Rbac]).await;
            assert_eq!(ask(&cluster, user, PODS, &[], "").await.status, status, "{policy:?} {user}");
            // What roles allow is allowed whoever else could not be asked, unless that denies.
            let own = ask(&cluster, "joe", REVIEW, &[], "{}").await.status;
            assert_eq!(own, if policy == FailurePolicy::Deny { 500 } else { 201 }, "{policy:?}");
            cluster.tasks.shutdown(Duration::from_secs(1)).await;
        }
    });
}

#[test]
fn webhooks_have_a_say_in_what_policies_check() {
    let (world, mut simulation) = World::simulated(1);
    let store = Store::memory(&world, store::Limits::default());
    simulation.block_on(async move {
        let answer = |_: &str, review: &Value| {
            let asked = &review["spec"]["resourceAttributes"];
            let may = match asked["verb"].as_str() {
                Some("dance") => asked["name"] == "floor" && review["spec"]["user"] == "jane",
                _ => true,
            };
            let status = json!({"allowed": may, "reason": if may { "" } else { "not here" }});
            Some((200, json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "status": status})))
        };
        let hooks = Hooks::new(&world, &["hook.example"], Arc::new(answer));
        let remote =
            Remote { url: "https://hook.example/decide".into(), authorities_pem: pem(&hooks), ..Remote::default() };
        let webhook = AuthorizationWebhook::new("hook", remote, FailurePolicy::NoOpinion);
        let dialer = hooks.clone();
        let cluster = start_with(&world, &store, |options| {
            with_names(options);
            options.dialer = Some(dialer);
            options.authorization = vec![Mode::Webhook(Box::new(webhook)), Mode::Rbac];
        })
        .await;
        let group = "admissionregistration.k8s.io";
        let policies = k8s_object::GroupVersionResource::of(group, "v1", "validatingadmissionpolicies");
        let bindings = k8s_object::GroupVersionResource::of(group, "v1", "validatingadmissionpolicybindings");
        let check = "authorizer.group('').resource('floors').namespace('default').name(object.metadata.name).check('dance')";
        let rules = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]);
        let policy = json!({
            "metadata": {"name": "dances"},
            "spec": {
                "matchConstraints": {"resourceRules": rules},
                "validations": [{"expression": format!("{check}.allowed()"), "messageExpression": "'no dancing in ' + object.metadata.name"}],
            },
        });
        cluster.admin().create(&policies, "", policy).await.unwrap();
        let binding = json!({"metadata": {"name": "dances"}, "spec": {"policyName": "dances", "validationActions": ["Deny"]}});
        cluster.admin().create(&bindings, "", binding).await.unwrap();
        let line = "POST /api/v1/namespaces/default/configmaps";
        for (user, name, status) in [("jane", "floor", 201), ("jane", "table", 422), ("joe", "floor", 422)] {
            let body = json!({"metadata": {"name": name}}).to_string();
            let answer = ask(&cluster, user, line, &[], &body).await;
            assert_eq!(answer.status, status, "{user} {name}: {}", answer.text());
        }
        let asked = std::mem::take(&mut *hooks.asked.lock().unwrap());
        let danced = asked.iter().filter(|(_, review)| review["spec"]["resourceAttributes"]["verb"] == "dance");
        assert_eq!(danced.count(), 3);
    });
}
