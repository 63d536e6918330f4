//! Access entries, and who is who in a cluster.

use super::*;
use crate::{AssociatedPolicy, AwsAuth, NotMapped, Scope, TemplateError};

const VIEW: &str = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy";

#[test]
fn entries_are_refused_in_words_of_aws() {
    run(Pace::INSTANT, async |region| {
        region.active_cluster().await;
        let dev = region.role("dev", &json!({"AWS": ACCOUNT})).await;
        let old = with(region.cluster_input("old"), json!({"accessConfig": {"authenticationMode": "CONFIG_MAP"}}));
        region.call("CreateCluster", old).await.expect("accepted");
        for (change, expected) in [
            (
                json!({"clusterName": "old"}),
                "InvalidRequestException: The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP]",
            ),
            (json!({"clusterName": "none"}), "No cluster found for name: none."),
            (json!({"principalArn": "x"}), "x is not the ARN of an IAM role"),
            (json!({"principalArn": format!("arn:aws:iam::{ACCOUNT}:role/none")}), "invalid principal"),
            (
                json!({"principalArn": format!("arn:aws:iam::{ACCOUNT}:group/g")}),
                "is not the ARN of an IAM role, an IAM user or an account's root user",
            ),
            (
                json!({"principalArn": format!("arn:aws:iam::{ACCOUNT}:role/aws-service-role/x.amazonaws.com/y")}),
                "a principalArn value of a Service Linked Role",
            ),
            (
                json!({"principalArn": "arn:aws:iam::999999999999:role/r", "type": "EC2_LINUX"}),
                "must be from the same account as the cluster when using types",
            ),
            (json!({"type": "ROBOT"}), "The type \"ROBOT\" of an access entry is not supported"),
            (
                json!({"type": "EC2_LINUX", "username": "x"}),
                "setting username is not allowed when the type is \"EC2_LINUX\"",
            ),
            (json!({"kubernetesGroups": ["system:masters"]}), "The kubernetes group name system:masters is invalid"),
            (json!({"username": "system:admin"}), "The username must not begin with system:"),
            (json!({"username": "{{SessionName}}"}), "must contain a colon before {{SessionName}}"),
        ] {
            let input = with(json!({"clusterName": "blue", "principalArn": dev}), change.clone());
            let error = error_of(region.call("CreateAccessEntry", input).await);
            assert!(error.contains(expected), "{change}: {error}");
        }
        let input = json!({"clusterName": "blue", "principalArn": dev});
        let entry = region.call("CreateAccessEntry", input.clone()).await.expect("created")["accessEntry"].clone();
        assert_eq!(entry["username"], format!("arn:aws:sts::{ACCOUNT}:assumed-role/dev/{{{{SessionName}}}}"));
        assert!(error_of(region.call("CreateAccessEntry", input.clone()).await).starts_with("ResourceInUseException"));
        for (policy, scope, expected) in [
            (
                "arn:aws:eks::aws:cluster-access-policy/None",
                json!({"type": "cluster"}),
                "ResourceNotFoundException: The specified policyArn could",
            ),
            (
                "arn:aws:eks::aws:cluster-access-policy/AmazonEKSEventPolicy",
                json!({"type": "cluster"}),
                "InvalidRequestException: The access policy AmazonEKSEventPolicy cannot be associated: AWS publishes no rules",
            ),
            (
                "arn:aws:eks::aws:cluster-access-policy/AmazonEKSComputeClusterPolicy",
                json!({"type": "cluster"}),
                "InvalidRequestException: The specified policyArn can only be associated with service-linked roles",
            ),
            (
                "arn:aws-cn:eks::aws:cluster-access-policy/AmazonEKSViewPolicy",
                json!({"type": "cluster"}),
                "ResourceNotFoundException: The specified policyArn could",
            ),
            (
                "arn:aws:iam::aws:policy/AdministratorAccess",
                json!({"type": "cluster"}),
                "InvalidParameterException: The policyArn parameter format is not valid",
            ),
            (VIEW, json!({"type": "namespace"}), "At least 1 namespace must be provided"),
            (VIEW, json!({"type": "cluster", "namespaces": ["a"]}), "accessScope should not include namespaces"),
        ] {
            let error = error_of(
                region
                    .call(
                        "AssociateAccessPolicy",
                        with(input.clone(), json!({"policyArn": policy, "accessScope": scope})),
                    )
                    .await,
            );
            assert!(error.contains(expected), "{error}");
        }
        let associate = with(
            input.clone(),
            json!({"policyArn": VIEW, "accessScope": {"type": "namespace", "namespaces": ["dev"]}}),
        );
        region.call("AssociateAccessPolicy", associate).await.expect("associated");
        let found = region
            .call("ListAccessEntries", json!({"clusterName": "blue", "associatedPolicyArn": VIEW}))
            .await
            .expect("entries");
        assert_eq!(found["accessEntries"], json!([dev]));
        let policies = region.call("ListAssociatedAccessPolicies", input.clone()).await.expect("policies");
        assert_eq!(
            policies["associatedAccessPolicies"][0]["accessScope"],
            json!({"type": "namespace", "namespaces": ["dev"]})
        );
        let gone = with(input.clone(), json!({"policyArn": VIEW}));
        region.call("DisassociateAccessPolicy", gone.clone()).await.expect("gone");
        assert!(error_of(region.call("DisassociateAccessPolicy", gone).await).starts_with("ResourceNotFoundException"));
        region.call("DeleteAccessEntry", input.clone()).await.expect("deleted");
        assert!(error_of(region.call("DescribeAccessEntry", input).await).starts_with("ResourceNotFoundException"));
    });
}

#[test]
fn who_is_who_depends_on_entries_config_map_and_mode() {
    run(Pace::INSTANT, async |region| {
        region.active_cluster().await;
        for (name, mode) in [("api", "API"), ("map", "CONFIG_MAP")] {
            let input = with(region.cluster_input(name), json!({"accessConfig": {"authenticationMode": mode}}));
            region.call("CreateCluster", input).await.expect("accepted");
        }
        let dev = region.role("dev", &json!({"AWS": ACCOUNT})).await;
        let ops = region.role("ops", &json!({"AWS": ACCOUNT})).await;
        for cluster in ["blue", "api"] {
            let input = json!({"clusterName": cluster, "principalArn": dev, "kubernetesGroups": ["devs"]});
            region.call("CreateAccessEntry", input.clone()).await.expect("created");
            let policy = json!({"clusterName": cluster, "principalArn": dev, "policyArn": VIEW, "accessScope": {"type": "namespace", "namespaces": ["dev-*"]}});
            region.call("AssociateAccessPolicy", policy).await.expect("associated");
        }
        let auth = AwsAuth {
            map_roles: format!(
                "- rolearn: {dev}\n  username: mapped\n- rolearn: {ops}\n  username: ops:{{{{SessionName}}}}\n  groups: [system:masters]\n"
            ),
            ..AwsAuth::default()
        };
        let (dev_caller, ops_caller) = (region.assume(&dev, "al").await, region.assume(&ops, "a@b").await);
        let dev_name = format!("arn:aws:sts::{ACCOUNT}:assumed-role/dev/al");
        let admin_name = region.admin.arn.clone();
        for (cluster, caller, username, groups) in [
            ("blue", &dev_caller, Some(dev_name.as_str()), "devs"),
            ("blue", &ops_caller, Some("ops:a-b"), "system:masters"),
            ("blue", &region.admin, Some(admin_name.as_str()), ""),
            ("api", &dev_caller, Some(dev_name.as_str()), "devs"),
            ("api", &ops_caller, None, ""),
            ("map", &dev_caller, Some("mapped"), ""),
            ("map", &ops_caller, Some("ops:a-b"), "system:masters"),
            ("map", &region.admin, Some("kubernetes-admin"), "system:masters"),
            ("none", &region.admin, None, ""),
        ] {
            let identity = region.eks.identify(cluster, caller, Some(&auth)).await.ok();
            let found = identity.as_ref().map(|identity| (identity.username.as_str(), identity.groups.join(",")));
            assert_eq!(found, username.map(|username| (username, groups.to_owned())), "{caller} in {cluster}");
        }
        let identity = region.eks.identify("blue", &dev_caller, None).await.expect("mapped");
        let scope = Scope::Namespaces(vec!["dev-*".to_owned()]);
        assert_eq!(identity.policies, [AssociatedPolicy { name: "AmazonEKSViewPolicy".to_owned(), scope }]);
        assert_eq!(identity.extra["canonicalArn"].join(","), dev);
        assert_eq!(identity.extra["sessionName"], ["al".to_owned()]);
        assert!(identity.uid.starts_with(&format!("aws-iam-authenticator:{ACCOUNT}:AROA")));
        // A session does not show the path of its role, which the entry has.
        let admin = region.context(&region.admin);
        let trust = json!({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}],
        });
        let role = json!({"RoleName": "deep", "Path": "/a/b/", "AssumeRolePolicyDocument": trust.to_string()});
        region.iam.call(&admin, "CreateRole", &role).await.expect("a role");
        let deep = format!("arn:aws:iam::{ACCOUNT}:role/a/b/deep");
        let input =
            json!({"clusterName": "api", "principalArn": deep, "username": "x:{{SessionNameRaw}}/{{AccessKeyID}}"});
        region.call("CreateAccessEntry", input).await.expect("created");
        let session = region.assume(&deep, "eve@example.com").await;
        let identity = region.eks.identify("api", &session, None).await.expect("mapped");
        assert_eq!(identity.username, format!("x:eve@example.com/{}", session.access_key_id));
        // An entry is bound to the role's unique id, not to its name.
        region.iam.call(&admin, "DeleteRole", &json!({"RoleName": "dev"})).await.expect("deleted");
        region.role("dev", &json!({"AWS": ACCOUNT})).await;
        let again = region.assume(&dev, "al").await;
        assert!(matches!(region.eks.identify("api", &again, None).await, Err(NotMapped::Recreated { .. })));
    });
}

#[test]
fn nodes_are_named_after_their_instances() {
    run(Pace::INSTANT, async |region| {
        region.active_cluster().await;
        region.call("CreateNodegroup", region.nodegroup_input("one", 1)).await.expect("accepted");
        region.nodegroup("one", "ACTIVE").await;
        let instance = region.ec2.owned("eks/blue/one").await.expect("instances").remove(0);
        let role =
            region.iam.role_by_arn(&format!("arn:aws:iam::{ACCOUNT}:role/node")).await.expect("read").expect("a role");
        let caller = |session: &str| Caller {
            arn: format!("arn:aws:sts::{ACCOUNT}:assumed-role/node/{session}"),
            user_id: format!("{}:{session}", role.id),
            account: ACCOUNT.to_owned(),
            kind: cloud_iam::CallerKind::AssumedRole { role: "node".to_owned(), session: session.to_owned() },
            access_key_id: "ASIA".to_owned(),
        };
        let identity = region.eks.identify("blue", &caller(&instance.id), None).await.expect("mapped");
        assert_eq!(identity.username, format!("system:node:{}", instance.private_dns));
        assert_eq!(identity.groups, ["system:nodes", "system:bootstrappers"]);
        let template = "system:node:{{EC2PrivateDNSName}}".to_owned();
        for session in ["i-0123456789abcdef0", "i-0"] {
            let (template, session) = (template.clone(), session.to_owned());
            let unknown = region.eks.identify("blue", &caller(&session), None).await;
            let reason = match session.as_str() {
                "i-0" => TemplateError::NotAnInstance { template, session },
                _ => TemplateError::NoPrivateDnsName { template, session },
            };
            assert_eq!(unknown, Err(NotMapped::Template(reason)));
        }
        // EKS names nodes; some tools send the name back.
        let node = json!({"clusterName": "blue", "principalArn": format!("arn:aws:iam::{ACCOUNT}:role/node")});
        for (change, expected) in [
            (json!({"username": template}), "The username must not begin with system:"),
            (json!({"kubernetesGroups": ["x"]}), "setting kubernetesGroups is not allowed"),
            (json!({"kubernetesGroups": []}), "no error"),
        ] {
            let error = error_of(region.call("UpdateAccessEntry", with(node.clone(), change.clone())).await);
            assert!(error.contains(expected), "{change}: {error}");
        }
        let view = with(node.clone(), json!({"policyArn": VIEW, "accessScope": {"type": "cluster"}}));
        let error = error_of(region.call("AssociateAccessPolicy", view).await);
        assert!(error.contains("can only be performed on Access Entries with a type of \"STANDARD\""), "{error}");
        let entry = region.call("DescribeAccessEntry", node).await.expect("still there")["accessEntry"].clone();
        assert_eq!(entry["kubernetesGroups"], json!(["system:nodes"]));
    });
}
