//! Identity providers and encryption: their life cycles, and what control planes are told.

use serde_json::{Value, json};

use super::{ACCOUNT, REGION, Region, error_of, run, with};
use crate::Pace;

const KEY: &str = "arn:aws:kms:us-west-2:111122223333:key/0f0e0d0c-1111-2222-3333-444455556666";

fn provider() -> Value {
    json!({
        "clusterName": "blue", "tags": {"team": "a"},
        "oidc": {
            "identityProviderConfigName": "corp", "issuerUrl": "https://issuer.example/realm", "clientId": "kubernetes",
            "groupsClaim": "groups", "groupsPrefix": "corp:", "requiredClaims": {"hd": "example.com"},
        },
    })
}

fn named(kind: &str, name: &str) -> Value {
    json!({"clusterName": "blue", "identityProviderConfig": {"type": kind, "name": name}})
}

async fn described(region: &Region) -> Value {
    let answer = region.call("DescribeIdentityProviderConfig", named("oidc", "corp")).await;
    answer.map_or(Value::Null, |answer| answer["identityProviderConfig"]["oidc"].clone())
}

async fn update(region: &Region, started: &Value) -> Value {
    let input = json!({"name": "blue", "updateId": started["update"]["id"]});
    region.call("DescribeUpdate", input).await.expect("it is there")["update"].clone()
}

#[test]
fn a_provider_comes_and_goes_with_updates_of_its_cluster() {
    run(Pace::REAL, async |region| {
        region.active_cluster().await;
        let started = region.call("AssociateIdentityProviderConfig", provider()).await.expect("accepted");
        assert_eq!(started["tags"], json!({"team": "a"}));
        assert_eq!(started["update"]["type"], "AssociateIdentityProviderConfig");
        assert_eq!(
            started["update"]["params"],
            json!([{"type": "IdentityProviderConfig", "value": "[{\"name\":\"corp\",\"type\":\"oidc\"}]"}])
        );
        let found = described(region).await;
        let arn = found["identityProviderConfigArn"].as_str().expect("it has an ARN").to_owned();
        assert!(arn.starts_with(&format!("arn:aws:eks:{REGION}:{ACCOUNT}:identityproviderconfig/blue/oidc/corp/")));
        assert_eq!(
            found,
            json!({
                "identityProviderConfigName": "corp", "identityProviderConfigArn": arn, "clusterName": "blue",
                "issuerUrl": "https://issuer.example/realm", "clientId": "kubernetes", "usernameClaim": "sub",
                "groupsClaim": "groups", "groupsPrefix": "corp:", "requiredClaims": {"hd": "example.com"},
                "tags": {"team": "a"}, "status": "CREATING",
            })
        );
        region.cluster("blue", "UPDATING").await;
        let busy = error_of(region.call("DisassociateIdentityProviderConfig", named("oidc", "corp")).await);
        let id = started["update"]["id"].as_str().expect("it has an id");
        assert_eq!(
            busy,
            format!(
                "ResourceInUseException: Cannot DisassociateIdentityProviderConfig because cluster blue currently has update {id} in progress"
            )
        );
        region.cluster("blue", "ACTIVE").await;
        assert_eq!(
            (&described(region).await["status"], &update(region, &started).await["status"]),
            (&json!("ACTIVE"), &json!("Successful"))
        );
        let told = region.planes.told(|told| told.settings.provider.clone()).expect("the control plane knows it");
        assert_eq!(
            (told.username_prefix.as_str(), told.groups_prefix.as_str()),
            ("https://issuer.example/realm#", "corp:")
        );

        let list = json!({"clusterName": "blue"});
        let listed = region.call("ListIdentityProviderConfigs", list.clone()).await.expect("listed");
        assert_eq!(listed, json!({"identityProviderConfigs": [{"type": "oidc", "name": "corp"}]}));
        region.call("TagResource", json!({"resourceArn": arn, "tags": {"b": "1"}})).await.expect("tagged");
        let tags = region.call("ListTagsForResource", json!({"resourceArn": arn})).await.expect("listed");
        assert_eq!(tags["tags"], json!({"team": "a", "b": "1"}));
        assert_eq!(described(region).await["tags"], tags["tags"]);

        region.call("DisassociateIdentityProviderConfig", named("oidc", "corp")).await.expect("accepted");
        assert_eq!(described(region).await["status"], "DELETING");
        region.cluster("blue", "ACTIVE").await;
        assert_eq!(region.planes.told(|told| told.settings.provider.clone()), None);
        let gone = error_of(region.call("DescribeIdentityProviderConfig", named("oidc", "corp")).await);
        assert_eq!(
            gone,
            "ResourceNotFoundException: No config found for cluster: blue, config type: oidc, config name: corp"
        );
        let listed = region.call("ListIdentityProviderConfigs", list).await.expect("listed");
        assert_eq!(listed, json!({"identityProviderConfigs": []}));
    });
}

#[test]
fn providers_that_cannot_be_are_refused() {
    run(Pace::INSTANT, async |region| {
        let cluster = region.active_cluster().await;
        let issuer = cluster["identity"]["oidc"]["issuer"].clone();
        let url = "Incorrect Identity Provider URL configuration. The Identity Provider URL";
        for (change, expected) in [
            (json!({"issuerUrl": issuer}), format!("{url} cannot be same as OpenID Connect (OIDC) issuer URL")),
            (json!({"issuerUrl": "http://issuer.example"}), format!("{url} must begin with https://")),
            (json!({"issuerUrl": "https://issuer.example/?a=b"}), format!("{url} must have a host")),
            (json!({"issuerUrl": "https://"}), format!("{url} must have a host")),
            (json!({"clientId": ""}), "clientId is required".to_owned()),
            (json!({"identityProviderConfigName": "a/b"}), "must not contain a slash".to_owned()),
            (json!({"usernamePrefix": "system:"}), "usernamePrefix must not begin with system:".to_owned()),
            (json!({"groupsPrefix": "system:masters"}), "groupsPrefix must not begin with system:".to_owned()),
        ] {
            let mut input = provider();
            input["oidc"] = with(input["oidc"].take(), change.clone());
            let error = error_of(region.call("AssociateIdentityProviderConfig", input).await);
            assert!(error.starts_with("InvalidParameterException: ") && error.contains(&expected), "{change}: {error}");
        }
        region.call("AssociateIdentityProviderConfig", provider()).await.expect("accepted");
        region.cluster("blue", "ACTIVE").await;
        let second = error_of(region.call("AssociateIdentityProviderConfig", provider()).await);
        assert!(second.starts_with("ResourceInUseException: ") && second.contains("corp"), "{second}");
        for (kind, name) in [("oidc", "other"), ("saml", "corp")] {
            let error = error_of(region.call("DisassociateIdentityProviderConfig", named(kind, name)).await);
            assert!(error.starts_with("ResourceNotFoundException: No config found"), "{error}");
        }
    });
}

#[test]
fn a_key_is_there_before_secrets_are_encrypted_with_it() {
    run(Pace::INSTANT, async |region| {
        region.active_cluster().await;
        let config = |key: &str| json!([{"resources": ["secrets"], "provider": {"keyArn": key}}]);
        let associate = |key: &str| json!({"clusterName": "blue", "encryptionConfig": config(key)});
        let own = |tail: &str| format!("arn:aws:kms:us-west-2:111122223333:{tail}");
        let uuid = "0f0e0d0c-1111-2222-3333-444455556666";
        for (key, expected) in [
            (String::new(), "KeyArn is required"),
            ("x".to_owned(), "is not the ARN of a KMS key"),
            (own("key/x"), "is not the ARN of a KMS key"),
            (own("alias/a"), "alias"),
            (format!("arn:aws:kms:eu-west-1:111122223333:key/{uuid}"), "must be in the region of the cluster"),
            (format!("arn:aws:kms:us-west-2:444455556666:key/{uuid}"), "is of another account"),
            (own("key/ffffffff-0000-0000-0000-000000000000"), "there is no such key"),
        ] {
            let error = error_of(region.call("AssociateEncryptionConfig", associate(&key)).await);
            assert!(error.contains(expected), "{key}: {error}");
            let create = with(region.cluster_input("green"), json!({"encryptionConfig": config(&key)}));
            let error = error_of(region.call("CreateCluster", create).await);
            assert!(error.contains(expected), "{key}: {error}");
        }
        let started = region.call("AssociateEncryptionConfig", associate(KEY)).await.expect("accepted");
        let cluster = region.cluster("blue", "ACTIVE").await;
        assert_eq!(cluster["encryptionConfig"], config(KEY));
        assert_eq!(update(region, &started).await["status"], "Successful");
        assert_eq!(region.planes.told(|told| told.settings.key.clone()).as_deref(), Some(KEY));
        let again = error_of(region.call("AssociateEncryptionConfig", associate(KEY)).await);
        assert_eq!(again, "InvalidParameterException: Encryption is already enabled on the cluster");
        // An update that fails leaves nothing of it.
        let create = region.cluster_input("green");
        region.call("CreateCluster", create).await.expect("accepted");
        region.cluster("green", "ACTIVE").await;
        region.planes.told(|told| told.refuse = Some("it is broken".to_owned()));
        let input = with(associate(KEY), json!({"clusterName": "green"}));
        region.call("AssociateEncryptionConfig", input).await.expect("accepted");
        let cluster = region.cluster("green", "ACTIVE").await;
        assert_eq!(cluster.get("encryptionConfig"), None);
        region.planes.told(|told| told.refuse = None);
    });
}
