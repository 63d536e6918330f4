//! IAM and STS over a simulated world: each case is a call and what comes of it.

use std::time::Duration;

use serde_json::{Value, json};
use store::{Limits, Store};
use world::{Simulation, World};

use crate::{CallContext, Caller, Credential, Iam, KeyStatus, Sts};

const ACCOUNT: &str = "111122223333";

struct Account {
    world: World,
    iam: Iam,
    sts: Sts,
    admin: Caller,
}

fn run(test: impl AsyncFnOnce(&Account)) {
    let (world, mut simulation): (World, Simulation) = World::simulated(5);
    simulation.block_on(async {
        let store = Store::memory(&world, Limits::default());
        let iam = Iam::new(&world, store.keyspace("iam/"), ACCOUNT);
        let access = iam.bootstrap("admin").await.expect("an administrator");
        assert_eq!(iam.bootstrap("admin").await.as_ref(), Ok(&access), "only the first time makes a key");
        let admin = iam.lookup(&access.key.id).await.expect("readable").expect("its key").caller;
        let sts = Sts::new(iam.clone());
        test(&Account { world: world.clone(), iam, sts, admin }).await;
    });
}

impl Account {
    fn context(&self, caller: &Caller) -> CallContext {
        CallContext {
            account: ACCOUNT.to_owned(),
            region: "us-east-1".to_owned(),
            caller: caller.clone(),
            request_id: "r".to_owned(),
            source_ip: "127.0.0.1".to_owned(),
            now: self.world.now(),
        }
    }

    /// The output, or the error as `code: message`.
    async fn as_caller(&self, caller: &Caller, operation: &str, input: Value) -> Result<Value, String> {
        let ctx = self.context(caller);
        let result = match Sts::operations().iter().any(|row| row.name == operation) {
            true => self.sts.call(&ctx, operation, &input).await,
            false => self.iam.call(&ctx, operation, &input).await,
        };
        result.map_err(|error| error.to_string())
    }

    async fn call(&self, operation: &str, input: Value) -> Result<Value, String> {
        self.as_caller(&self.admin, operation, input).await
    }

    async fn credential(&self, id: &str) -> Option<Credential> {
        self.iam.lookup(id).await.expect("readable")
    }

    /// A new user with a key.
    async fn user(&self, name: &str) -> Caller {
        self.call("CreateUser", json!({ "UserName": name })).await.expect("a user");
        let key = self.call("CreateAccessKey", json!({ "UserName": name })).await.expect("a key");
        self.credential(key["AccessKey"]["AccessKeyId"].as_str().expect("an id")).await.expect("a key").caller
    }
}

fn trust(principal: &str) -> String {
    let principal: Value = serde_json::from_str(principal).expect("JSON");
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]})
        .to_string()
}

const READ: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"eks:*","Resource":"*"}]}"#;

#[test]
fn the_table_is_sorted() {
    assert!(Iam::operations().windows(2).all(|pair| pair[0].name < pair[1].name));
    assert!(Sts::operations().windows(2).all(|pair| pair[0].name < pair[1].name));
}

#[test]
fn calls_are_answered_in_words_of_aws() {
    run(async |account| {
        let eks = trust(r#"{"Service":"eks.amazonaws.com"}"#);
        let robots = trust(r#"{"AWS":"arn:aws:iam::111122223333:user/none"}"#);
        let own = "arn:aws:iam::111122223333:policy/p";
        let steps: Vec<(&str, Value, &str)> = vec![
            ("CreateUser", json!({"UserName": "bob"}), ""),
            ("CreateUser", json!({"UserName": "BOB"}), "EntityAlreadyExists: User with name BOB already exists."),
            ("CreateUser", json!({"UserName": "a b"}), "ValidationError: The specified value for userName is invalid."),
            (
                "CreateUser",
                json!({"UserName": "al", "Path": "x"}),
                "ValidationError: The specified value for path is invalid.",
            ),
            ("GetUser", json!({"UserName": "none"}), "NoSuchEntity: The user with name none cannot be found."),
            ("CreateAccessKey", json!({"UserName": "bob"}), ""),
            ("CreateAccessKey", json!({"UserName": "bob"}), ""),
            (
                "CreateAccessKey",
                json!({"UserName": "bob"}),
                "LimitExceeded: Cannot exceed quota for AccessKeysPerUser: 2",
            ),
            (
                "DeleteUser",
                json!({"UserName": "bob"}),
                "DeleteConflict: Cannot delete entity, must delete access keys first.",
            ),
            ("CreateRole", json!({"RoleName": "r", "AssumeRolePolicyDocument": eks}), ""),
            (
                "CreateRole",
                json!({"RoleName": "r", "AssumeRolePolicyDocument": eks}),
                "EntityAlreadyExists: Role with name r already exists.",
            ),
            (
                "CreateRole",
                json!({"RoleName": "s", "AssumeRolePolicyDocument": "{"}),
                "MalformedPolicyDocument: This policy contains invalid Json",
            ),
            (
                "CreateRole",
                json!({"RoleName": "s", "AssumeRolePolicyDocument": robots}),
                "MalformedPolicyDocument: Invalid principal in policy: \"AWS\":\"arn:aws:iam::111122223333:user/none\"",
            ),
            (
                "CreateRole",
                json!({"RoleName": "s", "AssumeRolePolicyDocument": eks, "MaxSessionDuration": 5}),
                "ValidationError: 1 validation error detected: Value '5' at 'maxSessionDuration'",
            ),
            (
                "AttachRolePolicy",
                json!({"RoleName": "r", "PolicyArn": "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"}),
                "",
            ),
            (
                "AttachRolePolicy",
                json!({"RoleName": "r", "PolicyArn": "arn:aws:iam::aws:policy/None"}),
                "NoSuchEntity: Policy arn:aws:iam::aws:policy/None does not exist or is not attachable.",
            ),
            (
                "DeleteRole",
                json!({"RoleName": "r"}),
                "DeleteConflict: Cannot delete entity, must detach all policies first.",
            ),
            ("CreatePolicy", json!({"PolicyName": "p", "PolicyDocument": READ}), ""),
            (
                "CreatePolicy",
                json!({"PolicyName": "p", "PolicyDocument": READ}),
                "EntityAlreadyExists: A policy called p already exists. Duplicate names are not allowed.",
            ),
            ("AttachRolePolicy", json!({"RoleName": "r", "PolicyArn": own}), ""),
            ("DeletePolicy", json!({"PolicyArn": own}), "DeleteConflict: Cannot delete a policy attached to entities."),
            ("DetachRolePolicy", json!({"RoleName": "r", "PolicyArn": own}), ""),
            (
                "DetachRolePolicy",
                json!({"RoleName": "r", "PolicyArn": own}),
                "NoSuchEntity: Policy arn:aws:iam::111122223333:policy/p was not found.",
            ),
            ("CreatePolicyVersion", json!({"PolicyArn": own, "PolicyDocument": READ, "SetAsDefault": true}), ""),
            (
                "DeletePolicyVersion",
                json!({"PolicyArn": own, "VersionId": "v2"}),
                "DeleteConflict: Cannot delete the default version of a policy.",
            ),
            (
                "GetPolicyVersion",
                json!({"PolicyArn": own, "VersionId": "v9"}),
                "NoSuchEntity: Policy arn:aws:iam::111122223333:policy/p version v9 does not exist",
            ),
            ("DeletePolicyVersion", json!({"PolicyArn": own, "VersionId": "v1"}), ""),
            ("DeletePolicy", json!({"PolicyArn": own}), ""),
            (
                "PutRolePolicy",
                json!({"RoleName": "r", "PolicyName": "i", "PolicyDocument": "[]"}),
                "MalformedPolicyDocument: Syntax errors in policy.",
            ),
            ("PutRolePolicy", json!({"RoleName": "r", "PolicyName": "i", "PolicyDocument": READ}), ""),
            (
                "GetRolePolicy",
                json!({"RoleName": "r", "PolicyName": "j"}),
                "NoSuchEntity: The role policy with name j cannot be found.",
            ),
            ("CreateInstanceProfile", json!({"InstanceProfileName": "ip"}), ""),
            ("AddRoleToInstanceProfile", json!({"InstanceProfileName": "ip", "RoleName": "r"}), ""),
            (
                "AddRoleToInstanceProfile",
                json!({"InstanceProfileName": "ip", "RoleName": "r"}),
                "LimitExceeded: Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1",
            ),
            (
                "DeleteInstanceProfile",
                json!({"InstanceProfileName": "ip"}),
                "DeleteConflict: Cannot delete entity, must remove roles from instance profile first.",
            ),
            (
                "DeleteRole",
                json!({"RoleName": "r"}),
                "DeleteConflict: Cannot delete entity, must remove roles from instance profile first.",
            ),
            ("CreateServiceLinkedRole", json!({"AWSServiceName": "eks.amazonaws.com"}), ""),
            (
                "CreateServiceLinkedRole",
                json!({"AWSServiceName": "eks.amazonaws.com"}),
                "InvalidInput: Service role name AWSServiceRoleForAmazonEKS has been taken",
            ),
            ("DeleteRole", json!({"RoleName": "AWSServiceRoleForAmazonEKS"}), "UnmodifiableEntity"),
            (
                "TagRole",
                json!({"RoleName": "r", "Tags": [{"Key": "aws:x", "Value": "y"}]}),
                "InvalidInput: Tag keys beginning with aws:",
            ),
            ("CreateSAMLProvider", json!({}), "NotImplemented: iam:CreateSAMLProvider is not supported by Minato yet."),
        ];
        for (operation, input, expected) in steps {
            let result = account.call(operation, input.clone()).await;
            match (&result, expected) {
                (Ok(_), "") => {}
                (Err(error), expected) if !expected.is_empty() => {
                    assert!(error.starts_with(expected), "{operation} {input}: {error}")
                }
                _ => panic!("{operation} {input}: {result:?}, expected {expected:?}"),
            }
        }
        let role = account.call("GetRole", json!({"RoleName": "r"})).await.expect("a role");
        assert_eq!(role["Role"]["Arn"], "arn:aws:iam::111122223333:role/r");
        assert!(role["Role"]["RoleId"].as_str().is_some_and(|id| id.starts_with("AROA") && id.len() == 21));
        assert!(role["Role"]["AssumeRolePolicyDocument"].as_str().is_some_and(|text| text.starts_with("%7B%22")));
    });
}

#[test]
fn lists_are_cut_into_pages() {
    run(async |account| {
        for name in ["a", "b", "c"] {
            account.call("CreateUser", json!({ "UserName": name })).await.expect("a user");
        }
        let (mut seen, mut marker) = (Vec::new(), Value::Null);
        loop {
            let page = account.call("ListUsers", json!({"MaxItems": 1, "Marker": marker})).await.expect("a page");
            seen.push(page["Users"][0]["UserName"].as_str().expect("a name").to_owned());
            marker = page["Marker"].clone();
            assert_eq!(page["IsTruncated"].as_bool(), Some(!marker.is_null()));
            if marker.is_null() {
                break;
            }
        }
        assert_eq!(seen, ["a", "admin", "b", "c"]);
        let error = account.call("ListUsers", json!({"Marker": "?"})).await;
        assert_eq!(error, Err("ValidationError: Invalid Marker.".to_owned()));
    });
}

#[test]
fn keys_are_known_as_soon_as_a_call_has_returned() {
    run(async |account| {
        let bob = account.user("bob").await;
        let id = bob.access_key_id.clone();
        assert_eq!(
            account.credential(&id).await.map(|found| (found.status, found.caller)),
            Some((KeyStatus::Active, bob.clone()))
        );
        let key = json!({"UserName": "bob", "AccessKeyId": id});
        let mut off = key.clone();
        off["Status"] = json!("Inactive");
        account.call("UpdateAccessKey", off).await.expect("switched off");
        assert_eq!(account.credential(&id).await.map(|found| found.status), Some(KeyStatus::Inactive));
        account.call("UpdateUser", json!({"UserName": "bob", "NewUserName": "rob"})).await.expect("renamed");
        assert_eq!(
            account.credential(&id).await.map(|found| found.caller.arn),
            Some("arn:aws:iam::111122223333:user/rob".to_owned())
        );
        account.call("DeleteAccessKey", json!({"UserName": "rob", "AccessKeyId": id})).await.expect("deleted");
        assert_eq!(account.credential(&id).await, None);
    });
}

#[test]
fn calls_need_permission() {
    run(async |account| {
        let bob = account.user("bob").await;
        let denied = account.as_caller(&bob, "ListUsers", json!({})).await;
        let expected = "AccessDenied: User: arn:aws:iam::111122223333:user/bob is not authorized to perform: iam:ListUsers on resource: * because no identity-based policy allows the iam:ListUsers action";
        assert_eq!(denied, Err(expected.to_owned()));
        let read = json!({"UserName": "bob", "PolicyArn": "arn:aws:iam::aws:policy/IAMReadOnlyAccess"});
        account.call("AttachUserPolicy", read).await.expect("attached");
        assert!(account.as_caller(&bob, "ListUsers", json!({})).await.is_ok());
        let denied = account.as_caller(&bob, "CreateUser", json!({"UserName": "x"})).await.expect_err("only reads");
        assert!(denied.contains("iam:CreateUser on resource: arn:aws:iam::111122223333:user/x"), "{denied}");
        let deny =
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"iam:ListUsers","Resource":"*"}]}"#;
        let input = json!({"UserName": "bob", "PolicyName": "d", "PolicyDocument": deny});
        account.call("PutUserPolicy", input).await.expect("put");
        let denied = account.as_caller(&bob, "ListUsers", json!({})).await.expect_err("denied");
        assert!(denied.ends_with("with an explicit deny in an identity-based policy"), "{denied}");
        let simulated =
            json!({"PolicySourceArn": bob.arn, "ActionNames": ["iam:ListUsers", "iam:GetUser", "eks:CreateCluster"]});
        let simulated = account.call("SimulatePrincipalPolicy", simulated).await.expect("results");
        let decisions: Vec<&Value> = (0..3).map(|n| &simulated["EvaluationResults"][n]["EvalDecision"]).collect();
        assert_eq!(decisions, ["explicitDeny", "allowed", "implicitDeny"]);
        assert!(
            account.as_caller(&Caller::root(ACCOUNT, ""), "ListUsers", json!({})).await.is_ok(),
            "root may everything"
        );
        assert!(account.as_caller(&bob, "GetCallerIdentity", json!({})).await.is_ok(), "everyone may ask this");
    });
}

#[test]
fn roles_are_assumed_by_whom_they_trust() {
    run(async |account| {
        let (bob, al) = (account.user("bob").await, account.user("al").await);
        let by_name = trust(r#"{"AWS":"arn:aws:iam::111122223333:user/bob"}"#);
        let by_account = trust(r#"{"AWS":"111122223333"}"#);
        for (name, document) in [("named", &by_name), ("account", &by_account)] {
            let input = json!({"RoleName": name, "Path": "/team/", "AssumeRolePolicyDocument": document});
            account.call("CreateRole", input).await.expect("a role");
        }
        let arn = |name: &str| format!("arn:aws:iam::111122223333:role/team/{name}");
        let assume = |caller: &Caller, name: &str, change: Value| {
            let mut input = json!({"RoleArn": arn(name), "RoleSessionName": "s1"});
            for (member, value) in change.as_object().cloned().unwrap_or_default() {
                input[member] = value;
            }
            let caller = caller.clone();
            async move { account.as_caller(&caller, "AssumeRole", input).await }
        };
        let refused = |arn: String, who: &str| {
            format!(
                "AccessDenied: User: arn:aws:iam::111122223333:user/{who} is not authorized to perform: sts:AssumeRole on resource: {arn}"
            )
        };
        assert!(assume(&bob, "named", json!({})).await.is_ok(), "named in the trust policy");
        assert_eq!(assume(&al, "named", json!({})).await, Err(refused(arn("named"), "al")));
        assert_eq!(
            assume(&bob, "account", json!({})).await,
            Err(refused(arn("account"), "bob")),
            "its own policies say nothing"
        );
        assert_eq!(assume(&bob, "none", json!({})).await, Err(refused(arn("none"), "bob")));
        assert!(assume(&account.admin, "account", json!({})).await.is_ok());
        for (change, expected) in [
            (
                json!({"RoleSessionName": "a b"}),
                "ValidationError: 1 validation error detected: Value 'a b' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*",
            ),
            (json!({"RoleSessionName": "a"}), "Member must have length greater than or equal to 2"),
            (json!({"DurationSeconds": 899}), "Member must have value greater than or equal to 900"),
            (
                json!({"DurationSeconds": 7200}),
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            ),
            (json!({"RoleArn": "x"}), "ValidationError: x is invalid"),
            (json!({"Policy": "{"}), "MalformedPolicyDocument"),
            (json!({"TransitiveTagKeys": ["x"]}), "transitive tag key x"),
        ] {
            let error = assume(&bob, "named", change.clone()).await.expect_err("refused");
            assert!(error.contains(expected), "{change}: {error}");
        }
        let root = assume(&Caller::root(ACCOUNT, ""), "account", json!({})).await;
        assert_eq!(root, Err("AccessDenied: Roles may not be assumed by root accounts.".to_owned()));
    });
}

#[test]
fn sessions_have_limits_and_end() {
    run(async |account| {
        let all =
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:ListRoles","Resource":"*"}]}"#;
        let input = json!({"RoleName": "r", "AssumeRolePolicyDocument": trust(r#"{"AWS":"111122223333"}"#).replace("sts:AssumeRole", "sts:*")});
        account.call("CreateRole", input).await.expect("a role");
        let input = json!({"RoleName": "r", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"});
        account.call("AttachRolePolicy", input).await.expect("attached");
        let arn = "arn:aws:iam::111122223333:role/r";
        let input = json!({"RoleArn": arn, "RoleSessionName": "s1", "Policy": all, "DurationSeconds": 900, "SourceIdentity": "me"});
        let output = account.call("AssumeRole", input).await.expect("a session");
        assert_eq!(output["AssumedRoleUser"]["Arn"], "arn:aws:sts::111122223333:assumed-role/r/s1");
        let id = output["Credentials"]["AccessKeyId"].as_str().expect("a key").to_owned();
        let credential = account.credential(&id).await.expect("a session");
        assert!(id.starts_with("ASIA") && id.len() == 20);
        assert_eq!(credential.session_token.as_deref(), output["Credentials"]["SessionToken"].as_str());
        assert_eq!(credential.expires, Some(account.world.now() + Duration::from_secs(900)));
        let caller = credential.caller;
        assert!(account.as_caller(&caller, "ListRoles", json!({})).await.is_ok());
        let denied =
            account.as_caller(&caller, "ListUsers", json!({})).await.expect_err("the session's policy says no");
        assert!(denied.ends_with("because no session policy allows the iam:ListUsers action"), "{denied}");
        // Whoever makes the role anew makes another role.
        account
            .call(
                "DetachRolePolicy",
                json!({"RoleName": "r", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}),
            )
            .await
            .expect("detached");
        account.call("DeleteRole", json!({"RoleName": "r"})).await.expect("deleted");
        assert!(account.as_caller(&caller, "ListRoles", json!({})).await.is_err());
        account.world.sleep(Duration::from_secs(1000)).await;
        assert!(account.credential(&id).await.is_some(), "expired is told apart from unknown");
        account.world.sleep(Duration::from_secs(3700)).await;
        assert_eq!(account.credential(&id).await, None, "and then forgotten");
    });
}

/// What one IAM of the account has done, another on the same store knows when it is asked next.
#[test]
fn keys_are_known_to_every_process_at_once() {
    run(async |account| {
        let other = Iam::new(&account.world, account.iam.0.space.clone(), ACCOUNT);
        let id = account.user("bob").await.access_key_id;
        let status = async || other.lookup(&id).await.expect("readable").map(|found| found.status);
        assert_eq!(status().await, Some(KeyStatus::Active));
        let key = json!({"UserName": "bob", "AccessKeyId": id, "Status": "Inactive"});
        account.call("UpdateAccessKey", key).await.expect("switched off");
        assert_eq!(status().await, Some(KeyStatus::Inactive));
        account.call("DeleteAccessKey", json!({"UserName": "bob", "AccessKeyId": id})).await.expect("deleted");
        assert_eq!(status().await, None);
        for nobody in ["", "AKIA/../x", "AKIAAAAAAAAAAAAAAAAA"] {
            assert_eq!(other.lookup(nobody).await, Ok(None), "{nobody:?}");
        }
    });
}
