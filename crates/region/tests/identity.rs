//! Who the bearer of an IAM token is, from one request to the next: what the ConfigMap aws-auth says holds from the moment that it was
//! written, also for tokens that were known before, in whichever process it was written.

mod support;

use cloud_wire::{Credentials, TokenRequest};
use k8s_client::{Client, PatchType, Preconditions};
use k8s_object::resources::{CONFIG_MAPS, NAMESPACES};
use region::{Pace, Region};
use serde_json::{Value, json};
use support::*;
use world::World;

/// A token of the user jane of IAM.
async fn token(world: &World, region: &Region) -> (String, String) {
    let arn = call(region, "iam", "CreateUser", json!({"UserName": "jane"})).await["User"]["Arn"].clone();
    let key = call(region, "iam", "CreateAccessKey", json!({"UserName": "jane"})).await["AccessKey"].clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (id, secret) = (text(&key["AccessKeyId"]), text(&key["SecretAccessKey"]));
    let credentials = Credentials { access_key_id: &id, secret_key: &secret, session_token: None };
    let token = cloud_wire::eks_token(&TokenRequest {
        credentials,
        region: "us-east-1",
        endpoint_url: "https://sts.us-east-1.amazonaws.com/",
        cluster_name: "sim",
        now: world.now(),
    });
    (text(&arn), token.unwrap())
}

/// The name of the token's bearer; null for nobody.
async fn bearer(client: &Client, token: &str) -> Value {
    reviewed(client, token).await["user"]["username"].clone()
}

fn maps(arn: &str, name: &str) -> Value {
    json!({"data": {"mapUsers": format!("- userarn: {arn}\n  username: {name}\n  groups: []\n")}})
}

#[test]
fn what_aws_auth_says_holds_at_once() {
    run(5, |world, store| async move {
        let region = start(&world, &store, Pace::Instant).await;
        begin_cluster(&region).await;
        active(&world, &region).await;
        let other = start(&world, &store, Pace::Instant).await;
        until(&world, "the other process serves the cluster", || async { other.kubernetes("sim", root()).is_some() })
            .await;
        let (here, there) = (admin(&region), admin(&other));
        let (arn, token) = token(&world, &region).await;
        assert_eq!(bearer(&here, &token).await, Value::Null);
        let mut object = maps(&arn, "jane");
        object["metadata"] = json!({"name": "aws-auth"});
        here.create(&CONFIG_MAPS, "kube-system", object.clone()).await.unwrap();
        for name in ["jane", "joan", "june"] {
            here.patch(&CONFIG_MAPS, "kube-system", "aws-auth", "", PatchType::Merge, maps(&arn, name)).await.unwrap();
            assert_eq!((bearer(&here, &token).await, bearer(&there, &token).await), (json!(name), json!(name)));
            // What else is written changes nothing.
            here.create(&NAMESPACES, "", json!({"metadata": {"name": name}})).await.unwrap();
            assert_eq!((bearer(&there, &token).await, bearer(&here, &token).await), (json!(name), json!(name)));
        }
        there.delete(&CONFIG_MAPS, "kube-system", "aws-auth", Preconditions::default()).await.unwrap();
        assert_eq!((bearer(&here, &token).await, bearer(&there, &token).await), (Value::Null, Value::Null));
        there.create(&CONFIG_MAPS, "kube-system", object).await.unwrap();
        assert_eq!((bearer(&here, &token).await, bearer(&there, &token).await), (json!("jane"), json!("jane")));
    });
}
