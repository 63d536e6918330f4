//! Clusters: validation, life cycle, updates, pages.

use super::*;

#[test]
fn creation_is_refused_in_words_of_aws() {
    run(Pace::INSTANT, async |region| {
        region.active_cluster().await;
        let admin = region.context(&region.admin);
        let vpc = region.ec2.call(&admin, "CreateVpc", &json!({"CidrBlock": "10.0.0.0/16"})).await.expect("a VPC");
        let vpc = vpc["Vpc"]["VpcId"].clone();
        let mut other = Vec::new();
        for (cidr, zone) in
            [("10.0.0.0/28", "us-west-2a"), ("10.0.1.0/28", "us-west-2b"), ("10.0.2.0/24", "us-west-2a")]
        {
            let input = json!({"VpcId": vpc, "CidrBlock": cidr, "AvailabilityZone": zone});
            let subnet = region.ec2.call(&admin, "CreateSubnet", &input).await.expect("a subnet");
            other.push(subnet["Subnet"]["SubnetId"].as_str().expect("an id").to_owned());
        }
        let default = region.subnet_ids();
        let group = json!({"GroupName": "g", "Description": "d", "VpcId": vpc});
        let group = region.ec2.call(&admin, "CreateSecurityGroup", &group).await.expect("a group")["GroupId"].clone();
        let subnets = |ids: &[&String]| json!({"resourcesVpcConfig": {"subnetIds": ids}});
        let node = format!("arn:aws:iam::{ACCOUNT}:role/node");
        let missing = format!("arn:aws:iam::{ACCOUNT}:role/missing");
        let cases = [
            (json!({"name": "-x"}), "InvalidParameterException: The cluster name \"-x\" is not valid"),
            (json!({"name": "blue"}), "ResourceInUseException: Cluster already exists with name: blue"),
            (json!({"version": "1.99"}), "InvalidParameterException: unsupported Kubernetes version 1.99"),
            (json!({"version": "1.2"}), "unsupported Kubernetes version"),
            (
                json!({"roleArn": missing}),
                "could not be assumed because it does not exist or the trusted entity is not correct",
            ),
            (json!({"roleArn": node}), "Role could not be assumed because the trusted entity is not correct"),
            (json!({"roleArn": "nonsense"}), "Error in role params"),
            (json!({"resourcesVpcConfig": {}}), "at least two different AZs"),
            (subnets(&[&default[0]]), "Subnets specified must be in at least two different AZs"),
            (subnets(&[&default[0], &"subnet-1".to_owned()]), "The subnet ID 'subnet-1' does not exist"),
            (subnets(&[&default[0], &other[1]]), "same VPC"),
            (subnets(&[&other[0], &other[2]]), "at least two different AZs"),
            (
                json!({"resourcesVpcConfig": {"subnetIds": default, "securityGroupIds": ["sg-1"]}}),
                "The security group 'sg-1' does not exist",
            ),
            (json!({"resourcesVpcConfig": {"subnetIds": default, "securityGroupIds": [group]}}), "not in the same VPC"),
            (
                json!({"resourcesVpcConfig": {"subnetIds": default, "endpointPublicAccess": false}}),
                "Private and public endpoint access cannot be false",
            ),
            (json!({"resourcesVpcConfig": {"subnetIds": default, "publicAccessCidrs": ["x"]}}), "Invalid CIDR: x"),
            (
                json!({"kubernetesNetworkConfig": {"serviceIpv4Cidr": "8.8.0.0/16"}}),
                "serviceIpv4Cidr 8.8.0.0/16 is invalid",
            ),
            (json!({"kubernetesNetworkConfig": {"serviceIpv4Cidr": "10.0.0.0/25"}}), "must be between /24 and /12"),
            (
                json!({"kubernetesNetworkConfig": {"serviceIpv4Cidr": "172.31.0.0/16"}}),
                "overlaps with the CIDR 172.31.0.0/16",
            ),
            (json!({"kubernetesNetworkConfig": {"ipFamily": "ipv6"}}), "NotImplemented"),
            (json!({"tags": {"aws:x": "y"}}), "reserved"),
            (json!({"logging": {"clusterLogging": [{"types": ["noise"], "enabled": true}]}}), "log type noise"),
            (json!({"encryptionConfig": [{"resources": ["pods"]}]}), "only supported resource"),
            (json!({"outpostConfig": {}}), "eks:CreateCluster with outpostConfig is not supported by Minato yet."),
        ];
        for (change, expected) in cases {
            let error =
                error_of(region.call("CreateCluster", with(region.cluster_input("green"), change.clone())).await);
            assert!(error.contains(expected), "{change}: {error}");
        }
        // Six free addresses: a /28 has eleven; six nodes leave five.
        let spec = cloud_ec2::LaunchSpec {
            count: 6,
            instance_type: "t3.nano".to_owned(),
            subnets: vec![other[0].clone()],
            groups: Vec::new(),
            image: "ami-1".to_owned(),
            profile: None,
            role: None,
            capacity: cloud_ec2::CapacityType::OnDemand,
            owner: String::new(),
            revision: String::new(),
            tags: Default::default(),
        };
        region.ec2.launch(&spec).await.expect("launched");
        let error = error_of(
            region.call("CreateCluster", with(region.cluster_input("green"), subnets(&[&other[0], &other[1]]))).await,
        );
        assert!(
            error.contains("Free IPs: 5 , need at least 6 IPs in each subnet to be free for this operation"),
            "{error}"
        );
        assert_eq!(
            error_of(region.call("DescribeCluster", json!({"name": "green"})).await),
            "ResourceNotFoundException: No cluster found for name: green."
        );
        assert!(
            error_of(region.call("CreateAddon", json!({})).await)
                .contains("eks:CreateAddon is not supported by Minato yet.")
        );
    });
}

#[test]
fn a_cluster_lives_and_dies_at_the_real_pace() {
    run(Pace::REAL, async |region| {
        let created = region.call("CreateCluster", region.cluster_input("blue")).await.expect("accepted");
        let cluster = &created["cluster"];
        assert_eq!((&cluster["status"], &cluster["endpoint"]), (&json!("CREATING"), &Value::Null));
        assert_eq!(cluster["kubernetesNetworkConfig"]["serviceIpv4Cidr"], "10.100.0.0/16");
        let free = region.ec2.free_addresses(&region.subnets[0].id).await.expect("a subnet");
        let began = region.world.elapsed();
        let cluster = region.cluster("blue", "ACTIVE").await;
        let took = region.world.elapsed() - began;
        assert!(took >= Duration::from_secs(540) && took < Duration::from_secs(545), "{took:?}");
        assert!(cluster["endpoint"].as_str().expect("an endpoint").starts_with("https://"));
        assert_eq!(cluster["certificateAuthority"]["data"], "UEVN");
        let group = cluster["resourcesVpcConfig"]["clusterSecurityGroupId"].as_str().expect("a group").to_owned();
        assert!(region.ec2.security_group(&group).await.expect("it exists").name.starts_with("eks-cluster-sg-blue-"));
        assert_eq!(region.ec2.free_addresses(&region.subnets[0].id).await.expect("a subnet"), free - 1);
        let deleted = region.call("DeleteCluster", json!({"name": "blue"})).await.expect("accepted");
        assert_eq!(deleted["cluster"]["status"], "DELETING");
        region.cluster("blue", "").await;
        assert!(region.planes.told(|told| told.running.is_empty()));
        assert!(region.ec2.security_group(&group).await.is_err());
        assert_eq!(region.ec2.free_addresses(&region.subnets[0].id).await.expect("a subnet"), free);
    });
}

#[test]
fn a_restart_resumes_what_was_begun() {
    let (world, mut simulation) = World::simulated(3);
    simulation.block_on(async {
        let mut region = Region::new(&world, Pace::REAL).await;
        region.role("cluster", &json!({"Service": "eks.amazonaws.com"})).await;
        region.call("CreateCluster", region.cluster_input("blue")).await.expect("accepted");
        world.sleep(Duration::from_secs(60)).await;
        region.restart_eks().await;
        region.cluster("blue", "ACTIVE").await;
        assert!(world.elapsed() < Duration::from_secs(545), "the clock does not begin again");
    });
}

#[test]
fn a_control_plane_that_cannot_run_fails_its_cluster() {
    run(Pace::INSTANT, async |region| {
        region.planes.told(|told| told.refuse = Some("no port is free".to_owned()));
        region.call("CreateCluster", region.cluster_input("blue")).await.expect("accepted");
        let cluster = region.cluster("blue", "FAILED").await;
        assert_eq!(cluster["health"]["issues"][0]["message"], "no port is free");
        region.call("DeleteCluster", json!({"name": "blue"})).await.expect("accepted");
        region.cluster("blue", "").await;
    });
}

#[test]
fn a_repeated_request_is_answered_once() {
    run(Pace::INSTANT, async |region| {
        let input = with(region.cluster_input("blue"), json!({"clientRequestToken": "t"}));
        let first = region.call("CreateCluster", input.clone()).await.expect("accepted");
        let again = region.call("CreateCluster", input.clone()).await.expect("the same");
        assert_eq!(first["cluster"]["arn"], again["cluster"]["arn"]);
        let other = error_of(region.call("CreateCluster", with(input, json!({"tags": {"a": "b"}}))).await);
        assert!(other.starts_with("InvalidParameterException: The clientRequestToken"), "{other}");
        region.cluster("blue", "ACTIVE").await;
        let update = json!({"name": "blue", "deletionProtection": true, "clientRequestToken": "u"});
        let first = region.call("UpdateClusterConfig", update.clone()).await.expect("accepted");
        region.cluster("blue", "ACTIVE").await;
        let again = region.call("UpdateClusterConfig", update).await.expect("the same");
        assert_eq!(first["update"]["id"], again["update"]["id"]);
    });
}

#[test]
fn updates_change_one_thing_at_a_time() {
    run(Pace { cluster_update: Duration::from_secs(30), ..Pace::INSTANT }, async |region| {
        region.active_cluster().await;
        let update = |change: Value| region.call("UpdateClusterConfig", with(json!({"name": "blue"}), change));
        for (change, expected) in [
            (json!({}), "Invalid type for cluster update."),
            (
                json!({"deletionProtection": true, "upgradePolicy": {"supportType": "STANDARD"}}),
                "Only one type of update can be allowed.",
            ),
            (
                json!({"resourcesVpcConfig": {"endpointPublicAccess": true}}),
                "InvalidParameterException: Cluster is already at the desired configuration with endpointPrivateAccess: false , endpointPublicAccess: true, and Public Endpoint Restrictions: [0.0.0.0/0]",
            ),
            (
                json!({"accessConfig": {"authenticationMode": "CONFIG_MAP"}}),
                "Unsupported authentication mode update from API_AND_CONFIG_MAP to CONFIG_MAP",
            ),
            (json!({"resourcesVpcConfig": {"subnetIds": region.subnet_ids()[..2]}}), "same set of AZs"),
            (json!({"computeConfig": {"enabled": true}}), "computeConfig is not supported by Minato yet"),
        ] {
            let error = error_of(update(change.clone()).await);
            assert!(error.contains(expected), "{change}: {error}");
        }
        for (change, kind, path, expected) in [
            (
                json!({"logging": {"clusterLogging": [{"types": ["api", "audit"], "enabled": true}]}}),
                "LoggingUpdate",
                "/logging/clusterLogging/0/types",
                json!(["api", "audit"]),
            ),
            (
                json!({"resourcesVpcConfig": {"endpointPrivateAccess": true}}),
                "EndpointAccessUpdate",
                "/resourcesVpcConfig/endpointPrivateAccess",
                json!(true),
            ),
            (
                json!({"accessConfig": {"authenticationMode": "API"}}),
                "AccessConfigUpdate",
                "/accessConfig/authenticationMode",
                json!("API"),
            ),
            (
                json!({"upgradePolicy": {"supportType": "STANDARD"}}),
                "UpgradePolicyUpdate",
                "/upgradePolicy/supportType",
                json!("STANDARD"),
            ),
            (
                json!({"zonalShiftConfig": {"enabled": true}}),
                "ZonalShiftConfigUpdate",
                "/zonalShiftConfig/enabled",
                json!(true),
            ),
            (json!({"deletionProtection": true}), "DeletionProtectionUpdate", "/deletionProtection", json!(true)),
        ] {
            let started = update(change.clone()).await.expect("accepted");
            assert_eq!(
                (&started["update"]["type"], &started["update"]["status"]),
                (&json!(kind), &json!("InProgress"))
            );
            let second = error_of(
                update(json!({"logging": {"clusterLogging": [{"types": ["scheduler"], "enabled": true}]}})).await,
            );
            let id = started["update"]["id"].as_str().expect("it has an id");
            assert_eq!(
                second,
                format!(
                    "ResourceInUseException: Cannot LoggingUpdate because cluster blue currently has update {id} in progress"
                )
            );
            region.cluster("blue", "UPDATING").await;
            let cluster = region.cluster("blue", "ACTIVE").await;
            assert_eq!(cluster.pointer(path), Some(&expected), "{change}");
            let input = json!({"name": "blue", "updateId": started["update"]["id"]});
            let update = region.call("DescribeUpdate", input).await.expect("it is there");
            assert_eq!(update["update"]["status"], "Successful");
        }
        assert!(
            error_of(region.call("DeleteCluster", json!({"name": "blue"})).await)
                .contains("InvalidRequestException: Cannot delete cluster blue because deletion protection")
        );
        let mut ids = BTreeSet::new();
        let mut token = Value::Null;
        loop {
            let page = region
                .call("ListUpdates", with(json!({"name": "blue", "maxResults": 1}), json!({"nextToken": token})))
                .await
                .expect("a page");
            assert_eq!(page["updateIds"].as_array().map(Vec::len), Some(1));
            ids.insert(page["updateIds"][0].as_str().expect("an id").to_owned());
            token = page["nextToken"].clone();
            if token.is_null() {
                break;
            }
        }
        assert_eq!(ids.len(), 6, "one page per update");
    });
}

#[test]
fn versions_go_up_one_at_a_time() {
    run(Pace::INSTANT, async |region| {
        let input = with(region.cluster_input("blue"), json!({"version": "1.33"}));
        region.call("CreateCluster", input).await.expect("accepted");
        region.cluster("blue", "ACTIVE").await;
        let update = |version: &str| region.call("UpdateClusterVersion", json!({"name": "blue", "version": version}));
        for (version, expected) in [
            ("1.35", "Unsupported Kubernetes minor version update from 1.33 to 1.35"),
            ("1.33", "Cluster is already at version 1.33"),
            ("1.32", "unsupported Kubernetes version 1.32"),
            ("2.0", "unsupported Kubernetes version 2.0"),
        ] {
            let error = error_of(update(version).await);
            assert!(error.contains(expected), "{error}");
        }
        for version in ["1.34", "1.35"] {
            assert_eq!(update(version).await.expect("accepted")["update"]["type"], "VersionUpdate");
            assert_eq!(region.cluster("blue", "ACTIVE").await["version"], version);
            assert_eq!(region.planes.told(|told| told.running["blue"].clone()), version);
        }
        assert!(error_of(update("1.34").await).contains("NotImplemented"), "no way back");
        assert!(error_of(update("1.36").await).contains("1.36 is not served"), "the port refuses");
        let versions = region.call("DescribeClusterVersions", json!({"maxResults": 1})).await.expect("versions");
        assert_eq!(
            (versions["clusterVersions"][0]["clusterVersion"].as_str(), versions["nextToken"].is_string()),
            (Some("1.36"), true)
        );
        let mut shown = vec![];
        let mut input = json!({"maxResults": 3, "includeAll": true});
        loop {
            let page = region.call("DescribeClusterVersions", input.clone()).await.expect("versions");
            let items = page["clusterVersions"].as_array().cloned().unwrap_or_default();
            shown.extend(items.into_iter().map(|item| (item["clusterVersion"].clone(), item["status"].clone())));
            match page["nextToken"].as_str() {
                Some(token) => input["nextToken"] = token.into(),
                None => break,
            }
        }
        let names: Vec<&str> = shown.iter().filter_map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["1.36", "1.35", "1.34", "1.33", "1.32", "1.31", "1.30"], "newest first over all pages");
        for (n, (name, status)) in shown.iter().enumerate() {
            let input = with(region.cluster_input(&format!("new-{n}")), json!({"version": name}));
            let refused =
                error_of(region.call("CreateCluster", input).await).contains("unsupported Kubernetes version");
            assert_eq!(status == "UNSUPPORTED", refused, "eksctl offers {name} by its status {status}");
        }
        let default = region.call("DescribeClusterVersions", json!({"defaultOnly": true})).await.expect("versions");
        assert_eq!(default["clusterVersions"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn callers_need_permission() {
    run(Pace::INSTANT, async |region| {
        region.active_cluster().await;
        let admin = region.context(&region.admin);
        region.iam.call(&admin, "CreateUser", &json!({"UserName": "bob"})).await.expect("a user");
        let key = region.iam.call(&admin, "CreateAccessKey", &json!({"UserName": "bob"})).await.expect("a key");
        let id = key["AccessKey"]["AccessKeyId"].as_str().expect("an id");
        let bob = region.iam.lookup(id).await.expect("readable").expect("a credential").caller;
        let context = region.context(&bob);
        let error = error_of(region.eks.call(&context, "DescribeCluster", &json!({"name": "blue"})).await);
        let arn = format!("arn:aws:eks:{REGION}:{ACCOUNT}:cluster/blue");
        assert_eq!(
            error,
            format!(
                "AccessDeniedException: User: arn:aws:iam::{ACCOUNT}:user/bob is not authorized to perform: eks:DescribeCluster on resource: {arn} because no identity-based policy allows the eks:DescribeCluster action"
            )
        );
        let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "eks:Describe*", "Resource": arn}]});
        let input = json!({"UserName": "bob", "PolicyName": "p", "PolicyDocument": document.to_string()});
        region.iam.call(&admin, "PutUserPolicy", &input).await.expect("put");
        assert!(region.eks.call(&context, "DescribeCluster", &json!({"name": "blue"})).await.is_ok());
        assert!(region.eks.call(&context, "DeleteCluster", &json!({"name": "blue"})).await.is_err());
    });
}

#[test]
fn tags_are_kept_by_arn() {
    run(Pace::INSTANT, async |region| {
        let cluster = region.active_cluster().await;
        let arn = cluster["arn"].clone();
        region.call("TagResource", json!({"resourceArn": arn, "tags": {"a": "1", "b": "2"}})).await.expect("tagged");
        region.call("UntagResource", json!({"resourceArn": arn, "tagKeys": ["a"]})).await.expect("untagged");
        assert_eq!(
            region.call("ListTagsForResource", json!({"resourceArn": arn})).await.expect("tags")["tags"],
            json!({"b": "2"})
        );
        for (arn, expected) in [
            ("nonsense".to_owned(), "BadRequestException"),
            (format!("arn:aws:eks:{REGION}:{ACCOUNT}:cluster/none"), "NotFoundException"),
            (format!("arn:aws:eks:eu-west-1:{ACCOUNT}:cluster/blue"), "NotFoundException"),
            (format!("arn:aws:eks:{REGION}:{ACCOUNT}:robot/x"), "BadRequestException"),
        ] {
            let error = error_of(region.call("ListTagsForResource", json!({"resourceArn": arn})).await);
            assert!(error.starts_with(expected), "{error}");
        }
    });
}

#[test]
fn calls_can_be_spawned() {
    run(Pace::INSTANT, async |region| {
        let (eks, ctx, input) = (region.eks.clone(), region.context(&region.admin), region.cluster_input("blue"));
        let task = region.world.spawn("call", async move {
            eks.call(&ctx, "CreateCluster", &input).await.expect("accepted");
        });
        task.finished().await;
        region.cluster("blue", "ACTIVE").await;
    });
}
