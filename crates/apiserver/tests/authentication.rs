//! Who a request comes from: front proxies, certificates, tokens of several kinds, strangers; and what tokens are good for.

mod support;

use std::sync::Arc;

use apiserver::{Anonymous, FrontProxy};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Request;
use http_body_util::BodyExt;
use k8s_auth::LegacyClaims;
use k8s_auth::pki::{Authority, Identity, Purpose};
use k8s_client::Reply;
use k8s_object::resources;
use serde_json::{Value, json};
use serve::Peer;
use store::Store;
use support::http::{CLIENT, ask, send, with_names};
use support::{Cluster, start_with, with_cluster, with_options};
use world::World;

const REVIEW: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// Who the server sees behind a request with a certificate: the name, or the status of the refusal.
async fn seen(cluster: &Cluster, identity: Option<&Identity>, headers: &[(&str, &str)]) -> Result<Value, u16> {
    let certificates = identity.map(|identity| identity.certificate.clone()).into_iter().collect();
    let peer = Arc::new(Peer { address: (CLIENT, 4711).into(), certificates, tls: true });
    let mut request = Request::builder().method("POST").uri(REVIEW);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = cluster.server.handler().handle(&peer, request.body(serve::full("{}")).unwrap()).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status == 201 { Ok(value["status"]["userInfo"].clone()) } else { Err(status) }
}

fn client(authority: &Authority, world: &World, name: &str) -> Identity {
    authority.issue(world, &Purpose::Client { user: name.into(), group: None }).unwrap()
}

#[test]
fn front_proxies_say_who_sends_a_request_and_nobody_else_does() {
    let (world, mut simulation) = World::simulated(1);
    let store = Store::memory(&world, store::Limits::default());
    simulation.block_on(async move {
        let (ca, proxies) =
            (Authority::generate(&world, "kubernetes").unwrap(), Authority::generate(&world, "proxies").unwrap());
        let cluster = start_with(&world, &store, |options| {
            let authentication = &mut options.authentication;
            authentication.front_proxy = Some(FrontProxy::new(vec![proxies.certificate().clone()], &["front"]));
            authentication.client_authorities = vec![ca.certificate().clone()];
        })
        .await;
        let (front, other) = (client(&proxies, &world, "front"), client(&proxies, &world, "other"));
        let (own, false_front) = (client(&ca, &world, "own"), client(&ca, &world, "front"));
        let jane = [("x-remote-user", "jane"), ("x-remote-group", "devs"), ("x-remote-extra-a%2fb", "c")];
        let cases = [
            (Some(&front), &jane[..], Ok("jane")),
            (Some(&front), &[], Err(401)),
            (Some(&other), &jane, Err(401)),
            (Some(&own), &jane, Ok("own")),
            (Some(&false_front), &jane, Ok("front")),
            (None, &jane, Err(401)),
        ];
        for (position, (identity, headers, expected)) in cases.into_iter().enumerate() {
            let found = seen(&cluster, identity, headers).await;
            let name = found.as_ref().map(|user| user["username"].as_str().unwrap_or("")).map_err(|status| *status);
            assert_eq!(name, expected, "case {position}");
        }
        let user = seen(&cluster, Some(&front), &jane).await.unwrap();
        assert_eq!(user["groups"], json!(["devs", "system:authenticated"]));
        assert_eq!(user["extra"], json!({"a/b": ["c"]}));
    });
}

#[test]
fn strangers_get_as_far_as_they_are_let() {
    let cases = [
        (Anonymous::default(), "GET /healthz", 200),
        (Anonymous::default(), "GET /api", 401),
        (Anonymous::Nowhere, "GET /healthz", 401),
        (Anonymous::Everywhere, "GET /healthz", 200),
        (Anonymous::Everywhere, "GET /api/v1/pods", 403),
        (Anonymous::On(vec!["/readyz".to_owned()]), "GET /healthz", 401),
    ];
    for (anonymous, line, status) in cases {
        let own = anonymous.clone();
        with_options(
            |options| options.authentication.anonymous = own,
            |cluster| async move {
                let answer = send(&cluster, line, &[], serve::empty()).await;
                assert_eq!(answer.status, status, "{anonymous:?} {line}: {}", answer.text());
                // Who says something wrong is no stranger.
                let wrong = send(&cluster, "GET /healthz", &["authorization: Bearer nonsense"], serve::empty()).await;
                assert_eq!(wrong.status, 401);
            },
        );
    }
}

async fn named(cluster: &Cluster, token: &str) -> Result<Value, u16> {
    seen(cluster, None, &[("authorization", &format!("Bearer {token}"))]).await
}

#[test]
fn bootstrap_tokens_live_as_long_as_their_secret() {
    with_cluster(|cluster| async move {
        let data = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("auth-extra-groups", "system:bootstrappers:workers"),
        ];
        let data: serde_json::Map<String, Value> =
            data.iter().map(|(key, value)| ((*key).to_owned(), json!(STANDARD.encode(value)))).collect();
        let secret = json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token", "data": data});
        let token = "abcdef.0123456789abcdef";
        assert_eq!(named(&cluster, token).await, Err(401));
        cluster.admin().create(&resources::SECRETS, "kube-system", secret).await.unwrap();
        let user = named(&cluster, token).await.unwrap();
        assert_eq!(user["username"], "system:bootstrap:abcdef");
        let groups = json!(["system:bootstrappers", "system:bootstrappers:workers", "system:authenticated"]);
        assert_eq!(user["groups"], groups);
        assert_eq!(named(&cluster, "abcdef.0123456789abcdee").await, Err(401));
        let client = cluster.admin();
        client.delete(&resources::SECRETS, "kube-system", "bootstrap-token-abcdef", Default::default()).await.unwrap();
        assert_eq!(named(&cluster, token).await, Err(401));
    });
}

#[test]
fn tokens_of_secrets_live_as_long_as_their_secret() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let account =
            client.create(&resources::SERVICE_ACCOUNTS, "default", json!({"metadata": {"name": "a"}})).await.unwrap();
        let claims = LegacyClaims::new("default", "a", &account.meta().uid, "s");
        let token = cluster.server.issuer().issue_legacy(&claims);
        assert_eq!(named(&cluster, &token).await, Err(401));
        let annotations = json!({"kubernetes.io/service-account.name": "a"});
        let secret = |token: &str| {
            json!({
                "metadata": {"name": "s", "annotations": annotations}, "type": "kubernetes.io/service-account-token",
                "data": {"token": STANDARD.encode(token)},
            })
        };
        client.create(&resources::SECRETS, "default", secret(&token)).await.unwrap();
        assert_eq!(named(&cluster, &token).await.unwrap()["username"], "system:serviceaccount:default:a");
        // When it was last used is a label, written once a day.
        let used = async || {
            let secret = client.get(&resources::SECRETS, "default", "s").await.unwrap();
            let day = secret.meta().labels.get("kubernetes.io/legacy-token-last-used").unwrap_or("").to_owned();
            (day, secret.meta().resource_version.clone())
        };
        let today = |cluster: &Cluster| cluster.world.now().to_string()[..10].to_owned();
        let first = used().await;
        assert_eq!(first.0, today(&cluster));
        named(&cluster, &token).await.unwrap();
        assert_eq!(used().await, first);
        cluster.world.sleep(std::time::Duration::from_secs(3 * 86_400)).await;
        named(&cluster, &token).await.unwrap();
        assert_eq!(used().await.0, today(&cluster));
        let tracking = "kube-apiserver-legacy-service-account-token-tracking";
        let tracking = client.get(&resources::CONFIG_MAPS, "kube-system", tracking).await.unwrap().value();
        assert_eq!(tracking["data"]["since"], first.0.as_str());
        let mut marked = client.get(&resources::SECRETS, "default", "s").await.unwrap().value();
        marked["metadata"]["labels"]["kubernetes.io/legacy-token-invalid-since"] = json!("2026-01-01");
        client.update(&resources::SECRETS, "default", "s", "", marked).await.unwrap();
        assert_eq!(named(&cluster, &token).await, Err(401));
    });
}

#[test]
fn secrets_of_accounts_are_filled_and_go_with_them() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        client.create(&resources::SERVICE_ACCOUNTS, "default", json!({"metadata": {"name": "a"}})).await.unwrap();
        let secret = |name: &str, account: &str| {
            let annotations = json!({"kubernetes.io/service-account.name": account});
            json!({"metadata": {"name": name, "annotations": annotations}, "type": "kubernetes.io/service-account-token"})
        };
        client.create(&resources::SECRETS, "default", secret("s", "a")).await.unwrap();
        client.create(&resources::SECRETS, "default", secret("orphan", "none")).await.unwrap();
        let get =
            async |name: &str| client.get(&resources::SECRETS, "default", name).await.map(|object| object.value()).ok();
        let mut token = String::new();
        for _ in 0..100 {
            cluster.world.sleep(std::time::Duration::from_millis(100)).await;
            let data = get("s").await.unwrap()["data"]["token"].as_str().unwrap_or("").to_owned();
            token = String::from_utf8(STANDARD.decode(data).unwrap()).unwrap();
            if !token.is_empty() && get("orphan").await.is_none() {
                break;
            }
        }
        assert!(get("orphan").await.is_none());
        assert_eq!(named(&cluster, &token).await.unwrap()["username"], "system:serviceaccount:default:a");
        client.delete(&resources::SERVICE_ACCOUNTS, "default", "a", Default::default()).await.unwrap();
        assert_eq!(named(&cluster, &token).await, Err(401));
        for _ in 0..100 {
            cluster.world.sleep(std::time::Duration::from_millis(100)).await;
            if get("s").await.is_none() {
                return;
            }
        }
        panic!("the Secret of an account that is gone stays");
    });
}

#[test]
fn browsers_hand_a_token_over_with_a_websocket() {
    with_options(with_names, |cluster| async move {
        let protocol = format!("base64url.bearer.authorization.k8s.io.{}", URL_SAFE_NO_PAD.encode("user:jane"));
        for (protocols, expected) in [
            (format!("v5.channel.k8s.io, {protocol}"), Ok(json!("jane"))),
            (protocol.clone(), Err(401)),
            ("v5.channel.k8s.io".to_owned(), Err(401)),
        ] {
            let headers =
                [("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-protocol", protocols.as_str())];
            let found = seen(&cluster, None, &headers).await.map(|user| user["username"].clone());
            assert_eq!(found, expected, "{protocols}");
        }
    });
}

async fn issue(cluster: &Cluster, spec: Value) -> Result<Value, String> {
    let body = json!({"spec": spec});
    let issued = cluster.admin().create_subresource(&resources::SERVICE_ACCOUNTS, "default", "a", "token", body).await;
    match issued {
        Ok(Reply::Value(value)) => Ok(value),
        Ok(_) => Err("no value".to_owned()),
        Err(error) => Err(error.message),
    }
}

#[test]
fn tokens_are_issued_within_bounds_and_die_with_what_they_are_bound_to() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let account =
            client.create(&resources::SERVICE_ACCOUNTS, "default", json!({"metadata": {"name": "a"}})).await.unwrap();
        let uid = account.meta().uid.clone();
        let secret = json!({"metadata": {"name": "s"}});
        client.create(&resources::SECRETS, "default", secret).await.unwrap();
        let pod = json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "a", "nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
        client.create(&resources::PODS, "default", pod).await.unwrap();
        let bound =
            |kind: &str, name: &str| json!({"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name}});
        let cases = [
            (
                json!({"expirationSeconds": 599}),
                "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
            ),
            (
                json!({"expirationSeconds": 4_294_967_297_i64}),
                "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds",
            ),
            (bound("Pod", "none"), "pods \"none\" not found"),
            (bound("ConfigMap", "x"), "cannot bind token to object of type /v1, Kind=ConfigMap"),
            (
                json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "s", "uid": "other"}}),
                "Operation cannot be fulfilled on Secret \"s\": the UID in the bound object reference (other) does not match the UID in record. The object might have been deleted and then recreated",
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(issue(&cluster, spec.clone()).await.unwrap_err(), expected, "{spec}");
        }
        let wrong = json!({"metadata": {"uid": "other"}});
        let refused = client.create_subresource(&resources::SERVICE_ACCOUNTS, "default", "a", "token", wrong).await;
        let expected = format!(
            "Operation cannot be fulfilled on TokenRequest.authentication.k8s.io \"a\": the UID in the token request (other) does not match the UID of the service account ({uid})"
        );
        assert_eq!(refused.unwrap_err().message, expected);
        let long = issue(&cluster, json!({"expirationSeconds": 100_000})).await.unwrap();
        assert_eq!(long["spec"]["expirationSeconds"], 86_400, "as on EKS");
        let issued = issue(&cluster, bound("Pod", "p")).await.unwrap();
        assert_eq!(issued["metadata"]["uid"], uid.as_str());
        let token = issued["status"]["token"].as_str().unwrap();
        let user = named(&cluster, token).await.unwrap();
        // The node is not there: it is known by its name.
        assert_eq!(user["extra"]["authentication.kubernetes.io/node-name"], json!(["n"]));
        assert_eq!(user["extra"].get("authentication.kubernetes.io/node-uid"), None);
        let options = k8s_client::Options { grace_period_seconds: Some(0), ..Default::default() };
        client.delete_with(&resources::PODS, "default", "p", options).await.unwrap();
        assert_eq!(named(&cluster, token).await, Err(401));
    });
}

#[test]
fn reviews_of_tokens_say_why_not() {
    with_options(with_names, |cluster| async move {
        let client = cluster.admin();
        client.create(&resources::SERVICE_ACCOUNTS, "default", json!({"metadata": {"name": "a"}})).await.unwrap();
        let issued = issue(&cluster, json!({"audiences": ["vault"]})).await.unwrap();
        let vault = issued["status"]["token"].as_str().unwrap();
        let review = async |spec: Value| {
            let body = json!({"spec": spec}).to_string();
            let path = "POST /apis/authentication.k8s.io/v1/tokenreviews";
            ask(&cluster, "admin", path, &[], &body).await.json()["status"].clone()
        };
        let cases = [
            (json!({"token": "nonsense"}), Value::Null, "invalid bearer token"),
            (
                json!({"token": vault}),
                Value::Null,
                "token audiences [\"vault\"] is invalid for the target audiences [\"https://kubernetes.default.svc\"]",
            ),
            (json!({"token": vault, "audiences": ["vault", "x"]}), json!(["vault"]), ""),
        ];
        for (spec, audiences, error) in cases {
            let status = review(spec.clone()).await;
            assert_eq!((&status["audiences"], status["error"].as_str().unwrap_or("")), (&audiences, error), "{spec}");
        }
        client.delete(&resources::SERVICE_ACCOUNTS, "default", "a", Default::default()).await.unwrap();
        let status = review(json!({"token": vault, "audiences": ["vault"]})).await;
        assert_eq!(status["error"], "serviceaccounts \"a\" not found");
    });
}
