//! What others decide for the API server: who a token stands for, what a policy allows; and how one user
//! acts as another.

mod support;

use std::sync::Arc;

use apiserver::{AuthError, Authorizer, Decision, TokenAuthenticator};
use k8s_auth::Attributes;
use k8s_object::{UserInfo, resources};
use serde_json::{Value, json};
use support::http::{ask, send, with_names};
use support::{Cluster, with_cluster, with_options};
use world::BoxFuture;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const REVIEW: &str = "POST /apis/authentication.k8s.io/v1/selfsubjectreviews";

/// Knows everybody as the same user.
struct Everybody;

impl TokenAuthenticator for Everybody {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Option<UserInfo>, AuthError>> {
        let known = token.starts_with("user:") || token.starts_with("any:");
        Box::pin(async move { Ok(known.then(|| UserInfo::new("everybody", &[]))) })
    }
}

#[test]
fn token_authenticators_say_who_asks_in_their_order() {
    let options = |options: &mut apiserver::Options| {
        with_names(options);
        options.token_authenticators.push(Arc::new(Everybody));
    };
    with_options(options, |cluster| async move {
        let cases = [
            ("Bearer user:jane", 201, "/status/userInfo/username", "jane"),
            ("bearer any:jane", 201, "/status/userInfo/username", "everybody"),
            ("Bearer expired:jane", 401, "/reason", "Unauthorized"),
            ("Bearer down:jane", 503, "/message", "IAM cannot be reached"),
            ("Bearer other", 401, "/reason", "Unauthorized"),
            ("Basic user:jane", 401, "/reason", "Unauthorized"),
        ];
        for (authorization, status, pointer, expected) in cases {
            let header = format!("authorization: {authorization}");
            let answer = send(&cluster, REVIEW, &[&header], serve::full("{}")).await;
            let found = answer.json().pointer(pointer).cloned();
            assert_eq!((answer.status, found), (status, Some(json!(expected))), "{authorization}: {}", answer.text());
        }
        for (token, reason) in [("expired:x", "it has expired"), ("down:x", "IAM cannot be reached")] {
            let review = json!({"spec": {"token": token}}).to_string();
            let path = "POST /apis/authentication.k8s.io/v1/tokenreviews";
            let status = ask(&cluster, "admin", path, &[], &review).await.json()["status"].clone();
            assert_eq!((&status["error"], &status["authenticated"]), (&json!(reason), &Value::Null));
        }
    });
}

/// Lets jane read ConfigMaps and `/policy`, denies everything to eve, and has a reason for what it leaves to others.
struct Policy;

impl Authorizer for Policy {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let Attributes { user, verb, resource, path, .. } = *attributes;
        match user.username.as_str() {
            "eve" => Decision::Deny("eve is shut out".to_owned()),
            "jane" if verb == "get" && (resource == "configmaps" || path == "/policy") => {
                Decision::Allow("jane reads".to_owned())
            }
            _ => Decision::NoOpinion("the policy does not say".to_owned()),
        }
    }
}

#[test]
fn authorizers_decide_before_roles_do() {
    let options = |options: &mut apiserver::Options| {
        with_names(options);
        options.authorizers.push(Arc::new(Policy));
    };
    with_options(options, |cluster| async move {
        let binding = json!({
            "metadata": {"name": "eve"}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        });
        let bindings = "POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        assert_eq!(ask(&cluster, "admin", bindings, &[], &binding.to_string()).await.status, 201);
        let cases = [
            ("admin", format!("GET {CONFIG_MAPS}"), 200, ""),
            ("jane", format!("GET {CONFIG_MAPS}/none"), 404, ""),
            (
                "jane",
                format!("GET {CONFIG_MAPS}"),
                403,
                r#"configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the namespace "default": the policy does not say"#,
            ),
            ("jane", "GET /policy".to_owned(), 404, ""),
            ("jane", "GET /other".to_owned(), 403, "the policy does not say"),
            ("eve", format!("GET {CONFIG_MAPS}"), 403, "eve is shut out"),
        ];
        for (user, line, status, message) in cases {
            let answer = ask(&cluster, user, &line, &[], "").await;
            assert!(
                answer.status == status && answer.text().contains(&message.replace('"', "\\\"")),
                "{user} {line}: {}",
                answer.text()
            );
        }
        for (verb, resource, expected) in [
            ("get", "configmaps", json!({"allowed": true, "reason": "jane reads"})),
            ("get", "pods", json!({"allowed": false, "reason": "the policy does not say"})),
        ] {
            let review = json!({"spec": {"resourceAttributes": {"verb": verb, "resource": resource}}}).to_string();
            let path = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
            assert_eq!(ask(&cluster, "jane", path, &[], &review).await.json()["status"], expected);
        }
        let status = rules_of(&cluster, "jane").await;
        assert_eq!(status["incomplete"], true);
        assert_eq!(status["evaluationError"], "webhook authorizer does not support user rule resolution");
    });
}

async fn rules_of(cluster: &Cluster, user: &str) -> Value {
    let path = "POST /apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let review = json!({"spec": {"namespace": "default"}}).to_string();
    ask(cluster, user, path, &[], &review).await.json()["status"].clone()
}

#[test]
fn rules_are_complete_when_only_roles_decide() {
    with_options(with_names, |cluster| async move {
        let status = rules_of(&cluster, "jane").await;
        assert_eq!((&status["incomplete"], &status["evaluationError"]), (&json!(false), &Value::Null));
        assert!(status["resourceRules"].is_array());
    });
}

async fn grant(cluster: &Cluster, user: &str, rules: Value) {
    let role = json!({"metadata": {"name": user}, "rules": rules});
    let binding = json!({
        "metadata": {"name": user}, "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user},
    });
    cluster.admin().create(&resources::CLUSTER_ROLES, "", role).await.unwrap();
    cluster.admin().create(&resources::CLUSTER_ROLE_BINDINGS, "", binding).await.unwrap();
}

#[test]
fn users_act_as_others_as_far_as_they_may() {
    with_options(with_names, |cluster| async move {
        let rules = json!([
            {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"], "resourceNames": ["bob"]},
            {"apiGroups": [""], "resources": ["groups"], "verbs": ["impersonate"], "resourceNames": ["devs"]},
            {"apiGroups": ["authentication.k8s.io"], "resources": ["userextras/a.io/scope"], "verbs": ["impersonate"], "resourceNames": ["x"]},
        ]);
        grant(&cluster, "jane", rules).await;
        let bob = json!({"username": "bob", "groups": ["system:authenticated"]});
        let cases: [(&str, &[&str], u16, Value); 11] = [
            ("jane", &["impersonate-user: bob"], 201, bob),
            (
                "jane",
                &["impersonate-user: bob", "impersonate-group: devs", "impersonate-extra-a.io%2fscope: x"],
                201,
                json!({"username": "bob", "groups": ["devs", "system:authenticated"], "extra": {"a.io/scope": ["x"]}}),
            ),
            (
                "jane",
                &["impersonate-user: eve"],
                403,
                json!(
                    "users \"eve\" is forbidden: User \"jane\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
                ),
            ),
            (
                "jane",
                &["impersonate-user: bob", "impersonate-group: system:masters"],
                403,
                json!("groups \"system:masters\" is forbidden"),
            ),
            ("jane", &["impersonate-user: bob", "impersonate-extra-a.io%2fscope: y"], 403, json!("userextras")),
            ("jane", &["impersonate-user: bob", "impersonate-extra-other: x"], 403, json!("userextras")),
            (
                "jane",
                &["impersonate-user: bob", "impersonate-uid: 7"],
                403,
                json!("uids.authentication.k8s.io \"7\" is forbidden"),
            ),
            (
                "jane",
                &["impersonate-user: system:serviceaccount:a:b"],
                403,
                json!("serviceaccounts \"b\" is forbidden"),
            ),
            (
                "admin",
                &["impersonate-user: bob", "impersonate-uid: 7"],
                201,
                json!({"username": "bob", "uid": "7", "groups": ["system:authenticated"]}),
            ),
            (
                "admin",
                &["impersonate-user: system:serviceaccount:a:b"],
                201,
                json!({"username": "system:serviceaccount:a:b", "groups": ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]}),
            ),
            ("admin", &["impersonate-user: system:anonymous"], 403, json!("system:anonymous")),
        ];
        for (user, headers, status, expected) in cases {
            let answer = ask(&cluster, user, REVIEW, headers, "{}").await;
            let value = answer.json();
            let fits = match expected.as_str() {
                Some(part) => value["message"].as_str().is_some_and(|message| message.contains(part)),
                None => value["status"]["userInfo"] == expected,
            };
            assert!(answer.status == status && fits, "{user} {headers:?}: {}", answer.text());
        }
        let nobody = ask(&cluster, "admin", REVIEW, &["impersonate-group: devs", "impersonate-uid: 7"], "{}").await;
        assert_eq!(nobody.status, 500);
        assert_eq!(
            nobody.text(),
            "Internal Server Error: \"/apis/authentication.k8s.io/v1/selfsubjectreviews\": requested [{Group  devs    } {UID  7  authentication.k8s.io/v1  }] without impersonating a user\n"
        );
    });
}

#[test]
fn an_impersonated_user_may_do_what_it_may_and_no_more() {
    with_options(with_names, |cluster| async move {
        grant(&cluster, "bob", json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}])).await;
        for (path, status) in [(CONFIG_MAPS, 200), ("/api/v1/nodes", 403)] {
            let answer = ask(&cluster, "admin", &format!("GET {path}"), &["impersonate-user: bob"], "").await;
            assert_eq!(answer.status, status, "{path}: {}", answer.text());
        }
    });
}

#[test]
fn tokens_of_service_accounts_need_no_port() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        client.create(&resources::SERVICE_ACCOUNTS, "default", json!({"metadata": {"name": "a"}})).await.unwrap();
        let issued = client.create_subresource(&resources::SERVICE_ACCOUNTS, "default", "a", "token", json!({})).await;
        let k8s_client::Reply::Value(issued) = issued.unwrap() else { panic!("a value") };
        let token = issued["status"]["token"].as_str().unwrap().to_owned();
        let bearer = format!("authorization: Bearer {token}");
        let get = async |path: &str| send(&cluster, &format!("GET {path}"), &[&bearer], serve::empty()).await;
        let keys = get("/openid/v1/jwks").await;
        assert_eq!(keys.status, 200, "{}", keys.text());
        let [content_type, cache] = ["content-type", "cache-control"].map(|name| keys.header(name));
        assert_eq!((content_type, cache), ("application/jwk-set+json", "public, max-age=3600"));
        let head = token.split('.').next().unwrap();
        let head = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, head).unwrap();
        let head: Value = serde_json::from_slice(&head).unwrap();
        let keys = keys.json()["keys"].as_array().unwrap().clone();
        assert!(keys.iter().any(|key| key["kid"] == head["kid"] && key["alg"] == head["alg"]), "{keys:?} {head}");
        let discovery = get("/.well-known/openid-configuration").await.json();
        assert_eq!(discovery["issuer"], "https://oidc.example");
        assert_eq!(discovery["jwks_uri"], "https://oidc.example/openid/v1/jwks");
        assert_eq!(get(CONFIG_MAPS).await.status, 403);
        assert_eq!(send(&cluster, "GET /openid/v1/jwks", &[], serve::empty()).await.status, 401);
    });
}
