//! What the EKS API changes of a control plane that runs: whose tokens it takes, which nodes it lets in, and what it encrypts its
//! Secrets with. In all processes, and after a restart.

// The API server's own tests have what answers in the simulated world.
#[path = "../../apiserver/tests/support/hooks.rs"]
#[allow(dead_code)]
mod hooks;
mod support;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use apiserver::{Connection, Dialer};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_auth::{Issuer, ObjectRef, PrivateKey, TokenRequest};
use k8s_client::{Client, PatchType};
use k8s_object::Object;
use k8s_object::resources::{CONFIG_MAPS, NODES, SECRETS};
use k8s_object::views::Node;
use region::{Pace, Region};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use store::{KeyRange, RangeRequest, Store};
use world::{BoxFuture, World};

use hooks::Hooks;
use support::*;

const ISSUER: &str = "https://issuer.example/realm";
const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/0f0e0d0c-1111-2222-3333-444455556666";
/// `the quick brown fox`, as Secrets have it.
const HIDDEN: &str = "dGhlIHF1aWNrIGJyb3duIGZveA==";

/// The internet: an issuer whose certificate everybody trusts.
struct Internet(Arc<Hooks>);

impl Dialer for Internet {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn Connection>>> {
        self.0.dial(host, port)
    }

    fn roots(&self) -> Vec<CertificateDer<'static>> {
        let pem = STANDARD.decode(&self.0.ca).unwrap();
        CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect()
    }
}

fn internet(world: &World, issuer: &Issuer) -> Arc<dyn Dialer> {
    let keys = issuer.jwks();
    let answer = move |path: &str, _: &Value| match path {
        "/realm/.well-known/openid-configuration" => {
            Some((200, json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/keys")})))
        }
        "/realm/keys" => Some((200, keys.clone())),
        _ => Some((404, json!({}))),
    };
    Arc::new(Internet(Hooks::new(world, &["issuer.example"], Arc::new(answer))))
}

async fn process(world: &World, store: &Store, outside: &Arc<dyn Dialer>) -> Region {
    let options = region::Options { outside: Some(outside.clone()), ..options(world, store, Pace::Instant) };
    Region::start(options).await.unwrap()
}

/// A token of a ServiceAccount of the issuer's own, whose claims are `sub`, `aud` and the like.
fn token(issuer: &Issuer, world: &World, audience: &str) -> String {
    let request = TokenRequest {
        namespace: "corp".into(),
        service_account: ObjectRef { name: "jane".into(), uid: "u".into() },
        audiences: vec![audience.to_owned()],
        seconds: 86_400,
        bound: None,
        warn_after_seconds: None,
    };
    issuer.issue(world, &request).token
}

async fn who(region: &Region, token: &str) -> Value {
    let status = reviewed(&admin(region), token).await;
    if status["authenticated"] == true { status["user"].clone() } else { Value::Null }
}

async fn settled(world: &World, region: &Region, started: &Value) {
    let input = json!({"name": "sim", "updateId": started["update"]["id"]});
    until(world, "the update has ended", || async {
        let update = call(region, "eks", "DescribeUpdate", input.clone()).await["update"].clone();
        assert_ne!(update["status"], "Failed", "{update}");
        update["status"] == "Successful"
    })
    .await;
}

#[test]
fn users_of_an_identity_provider_get_in_as_long_as_it_is_associated() {
    run(1, async |world, store| {
        let issuer = Issuer::new(PrivateKey::generate(&world), ISSUER, &["kubernetes"]);
        let outside = internet(&world, &issuer);
        let (one, two) = (process(&world, &store, &outside).await, process(&world, &store, &outside).await);
        begin_cluster(&one).await;
        active(&world, &one).await;
        until(&world, "both serve it", || async { two.kubernetes("sim", support::root()).is_some() }).await;
        let jane = token(&issuer, &world, "kubernetes");
        assert_eq!(who(&one, &jane).await, Value::Null);
        let oidc = json!({
            "identityProviderConfigName": "corp", "issuerUrl": ISSUER, "clientId": "kubernetes",
            "groupsClaim": "aud", "groupsPrefix": "corp:", "requiredClaims": {"iss": ISSUER},
        });
        let associate = async |region: &Region, oidc: &Value| {
            let input = json!({"clusterName": "sim", "oidc": oidc, "tags": {"a": "b"}});
            let started = call(region, "eks", "AssociateIdentityProviderConfig", input).await;
            settled(&world, region, &started).await;
        };
        associate(&one, &oidc).await;
        let user = who(&one, &jane).await;
        assert_eq!(user["username"], format!("{ISSUER}#system:serviceaccount:corp:jane"));
        assert_eq!(user["groups"], json!(["corp:kubernetes", "system:authenticated"]));
        assert_eq!(who(&one, &token(&issuer, &world, "another")).await, Value::Null);
        let known = || async { who(&two, &jane).await == user };
        until(&world, "the other process knows it", known).await;
        one.shutdown(Duration::from_secs(60)).await;
        two.shutdown(Duration::from_secs(60)).await;

        let region = process(&world, &store, &outside).await;
        until(&world, "it runs again", || async { region.kubernetes("sim", support::root()).is_some() }).await;
        assert_eq!(who(&region, &jane).await, user, "after a restart");
        active(&world, &region).await;
        let input = json!({"clusterName": "sim", "identityProviderConfig": {"type": "oidc", "name": "corp"}});
        let started = call(&region, "eks", "DisassociateIdentityProviderConfig", input).await;
        settled(&world, &region, &started).await;
        assert_eq!(who(&region, &jane).await, Value::Null);
        let mut other = oidc.clone();
        other["requiredClaims"] = json!({"iss": "https://somebody.else"});
        associate(&region, &other).await;
        assert_eq!(who(&region, &jane).await, Value::Null, "a required claim has another value");
        region.shutdown(Duration::from_secs(60)).await;
    });
}

/// What the store holds of a Secret.
async fn stored(store: &Store, name: &str) -> Vec<u8> {
    let request = RangeRequest::new(KeyRange::prefix("/clusters/sim/registry/secrets/default/"));
    let found = store.range(request).await.unwrap().kvs;
    let own = found.into_iter().find(|kv| kv.key.ends_with(format!("/{name}").as_bytes()));
    own.unwrap_or_else(|| panic!("there is a Secret {name}")).value.to_vec()
}

fn is_encrypted(value: &[u8]) -> bool {
    let hidden = !value.windows(HIDDEN.len()).any(|window| window == HIDDEN.as_bytes());
    assert_eq!(value.starts_with(b"k8s:enc:kms:v2:aws-kms:"), hidden);
    hidden
}

async fn create(client: &Client, name: &str) {
    let secret = json!({"metadata": {"name": name}, "data": {"k": HIDDEN}});
    client.create(&SECRETS, "default", secret).await.unwrap();
}

async fn read(client: &Client, name: &str) -> Value {
    client.get(&SECRETS, "default", name).await.unwrap().value()["data"]["k"].clone()
}

#[test]
fn secrets_are_encrypted_from_when_a_key_is_associated() {
    run(2, async |world, memory| {
        let mut ground = Ground::disk(&world, 2).await;
        drop(memory);
        let store = ground.store.clone();
        let one = start(&world, &store, Pace::Instant).await;
        let two = start(&world, &store, Pace::Instant).await;
        begin_cluster(&one).await;
        active(&world, &one).await;
        until(&world, "both serve it", || async { two.kubernetes("sim", support::root()).is_some() }).await;
        create(&admin(&one), "before").await;
        assert!(!is_encrypted(&stored(&store, "before").await));
        let config = json!([{"resources": ["secrets"], "provider": {"keyArn": KEY}}]);
        let input = json!({"clusterName": "sim", "encryptionConfig": config});
        let started = call(&one, "eks", "AssociateEncryptionConfig", input).await;
        settled(&world, &one, &started).await;
        create(&admin(&one), "after").await;
        assert!(is_encrypted(&stored(&store, "after").await));
        for (name, region) in [("before", &one), ("after", &one), ("before", &two), ("after", &two)] {
            assert_eq!(read(&admin(region), name).await, HIDDEN, "{name}");
        }
        // As EKS's guide has it: every Secret is written again, though nothing of it changes.
        assert!(!is_encrypted(&stored(&store, "before").await));
        let same = admin(&one).get(&SECRETS, "default", "before").await.unwrap().value();
        admin(&one).update(&SECRETS, "default", "before", "", same).await.unwrap();
        assert!(is_encrypted(&stored(&store, "before").await));
        let revision = store.revision();
        let same = admin(&one).get(&SECRETS, "default", "before").await.unwrap().value();
        admin(&one).update(&SECRETS, "default", "before", "", same).await.unwrap();
        assert_eq!(store.revision(), revision, "what is encrypted already is not written again");
        until(&world, "the other process encrypts too", || async {
            let touch = json!({"metadata": {"annotations": {"at": world.elapsed().as_millis().to_string()}}});
            admin(&two).patch(&SECRETS, "default", "after", "", PatchType::Merge, touch).await.unwrap();
            is_encrypted(&stored(&store, "after").await)
        })
        .await;
        two.shutdown(Duration::from_secs(60)).await;

        let region = restart(&world, &mut ground, Pace::Instant, one, End::PowerLoss, Duration::from_secs(60)).await;
        until(&world, "it runs again", || async { region.kubernetes("sim", support::root()).is_some() }).await;
        for name in ["before", "after"] {
            assert_eq!(read(&admin(&region), name).await, HIDDEN, "{name} after a restart");
        }
        create(&admin(&region), "later").await;
        assert!(is_encrypted(&stored(&ground.store, "later").await));
        let revision = ground.store.revision();
        let request = json!({"cluster": "sim", "revision": revision, "as": "copy"});
        region.restore_cluster(&request).await.unwrap();
        let copy = || region.kubernetes("copy", support::root());
        until(&world, "the copy runs", || async { copy().is_some() }).await;
        assert_eq!(read(&copy().unwrap(), "later").await, HIDDEN, "in a copy of the cluster");
        region.shutdown(Duration::from_secs(60)).await;
    });
}

#[test]
fn a_cluster_may_begin_with_a_key() {
    run(3, async |world, store| {
        let region = start(&world, &store, Pace::Instant).await;
        let config = json!([{"resources": ["secrets"], "provider": {"keyArn": KEY}}]);
        let (role, subnets) = (role(&region, "c", "eks.amazonaws.com").await, subnets(&region).await);
        let vpc = json!({"subnetIds": subnets});
        let input = json!({"name": "sim", "roleArn": role, "resourcesVpcConfig": vpc, "encryptionConfig": config});
        call(&region, "eks", "CreateCluster", input).await;
        active(&world, &region).await;
        create(&admin(&region), "a").await;
        assert!(is_encrypted(&stored(&store, "a").await));
        assert_eq!(read(&admin(&region), "a").await, HIDDEN);
        region.shutdown(Duration::from_secs(60)).await;
    });
}

#[test]
fn nodes_are_let_in_as_long_as_their_role_is() {
    run(4, async |world, store| {
        let region = start(&world, &store, Pace::Instant).await;
        begin_cluster(&region).await;
        active(&world, &region).await;
        begin_nodegroup(&region, 2).await;
        let client = ready(&world, &region, 2).await;
        let are_ready = |expected: &'static str| {
            let client = client.clone();
            move || {
                let client = client.clone();
                async move {
                    let (nodes, _) = client.list(&NODES, "").await.unwrap();
                    let status = |node: &Arc<Object>| {
                        node.view::<Node>().unwrap().condition("Ready").map(|ready| ready.status.clone())
                    };
                    nodes.len() == 2 && nodes.iter().all(|node| status(node).as_deref() == Some(expected))
                }
            }
        };
        let map_roles = async |roles: &Value| {
            let patch = json!({"data": {"mapRoles": roles}});
            client.patch(&CONFIG_MAPS, "kube-system", "aws-auth", "", PatchType::Merge, patch).await.unwrap();
        };
        let aws_auth = client.get(&CONFIG_MAPS, "kube-system", "aws-auth").await.unwrap().value();
        map_roles(&json!("[]")).await;
        until(&world, "nobody hears of nodes that are not mapped", are_ready("Unknown")).await;
        map_roles(&aws_auth["data"]["mapRoles"]).await;
        until(&world, "they are back", are_ready("True")).await;
        // And in the newer way.
        let access = json!({"name": "sim", "accessConfig": {"authenticationMode": "API_AND_CONFIG_MAP"}});
        call(&region, "eks", "UpdateClusterConfig", access).await;
        active(&world, &region).await;
        let entry = json!({"clusterName": "sim", "principalArn": nodegroup(&region).await["nodeRole"]});
        map_roles(&json!("[]")).await;
        world.sleep(Duration::from_secs(120)).await;
        assert!(are_ready("True")().await, "their role has an entry");
        call(&region, "eks", "DeleteAccessEntry", entry).await;
        until(&world, "nobody hears of nodes without an entry", are_ready("Unknown")).await;
    });
}
