//! Node groups: validation, life cycle, scaling, health.

use super::*;

async fn live(region: &Region, name: &str) -> Vec<cloud_ec2::Instance> {
    let owned = region.ec2.owned(&format!("eks/blue/{name}")).await.expect("instances");
    owned.into_iter().filter(|instance| instance.state.is_live()).collect()
}

#[test]
fn creation_is_refused_in_words_of_aws() {
    run(Pace::INSTANT, async |region| {
        region.active_cluster().await;
        region.call("CreateNodegroup", region.nodegroup_input("one", 0)).await.expect("accepted");
        let cluster_role = format!("arn:aws:iam::{ACCOUNT}:role/cluster");
        let scaling = |min: i64, max: i64, desired: i64| json!({"scalingConfig": {"minSize": min, "maxSize": max, "desiredSize": desired}});
        for (change, expected) in [
            (json!({"clusterName": "green"}), "ResourceNotFoundException: No cluster found for name: green."),
            (
                json!({"nodegroupName": "one"}),
                "ResourceInUseException: NodeGroup already exists with name one and cluster name blue",
            ),
            (json!({"nodegroupName": "a b"}), "nodegroup name \"a b\" is not valid"),
            (
                json!({"nodeRole": cluster_role}),
                "Following required service principals [ec2.amazonaws.com] were not found",
            ),
            (json!({"nodeRole": "arn:aws:iam::111122223333:role/none"}), "does not exist"),
            (json!({"subnets": []}), "Subnets are not specified"),
            (json!({"subnets": ["subnet-9"]}), "The subnet ID 'subnet-9' does not exist"),
            (json!({"instanceTypes": ["m5.huge"]}), "do not exist: [m5.huge]"),
            (json!({"instanceTypes": ["m5.large", "m6g.large"]}), "different architectures"),
            (
                json!({"instanceTypes": ["m6g.large"], "amiType": "AL2023_x86_64_STANDARD"}),
                "[m6g.large] is not a valid instance type for requested amiType",
            ),
            (scaling(3, 2, 2), "Minimum capacity 3 can't be greater than maximum capacity 2"),
            (scaling(2, 5, 1), "Minimum capacity 2 can't be greater than desired size 1"),
            (scaling(0, 2, 3), "desired capacity 3 can't be greater than max size 2"),
            (scaling(0, 451, 3), "450"),
            (json!({"version": "1.33"}), "is not the cluster's version"),
            (json!({"labels": {"kubernetes.io/x": "y"}}), "reserved prefixes"),
            (json!({"labels": {"a": "not valid"}}), "Label value"),
            (json!({"taints": [{"key": "a", "effect": "NEVER"}]}), "Taint effect"),
            (json!({"updateConfig": {"maxUnavailable": 1, "maxUnavailablePercentage": 5}}), "Only one of"),
            (json!({"diskSize": 0}), "diskSize 0"),
            (json!({"launchTemplate": {"id": "lt-1"}}), "launchTemplate is not supported by Minato yet"),
        ] {
            let error =
                error_of(region.call("CreateNodegroup", with(region.nodegroup_input("two", 1), change.clone())).await);
            assert!(error.contains(expected), "{change}: {error}");
        }
    });
}

#[test]
fn scaling_has_defaults() {
    run(Pace::INSTANT, async |region| {
        region.active_cluster().await;
        for (n, (given, expected)) in [
            (Value::Null, [2, 2, 2]),
            (json!({"desiredSize": 1}), [1, 2, 1]),
            (json!({"minSize": 3}), [3, 3, 3]),
            (json!({"maxSize": 1}), [1, 1, 1]),
            (json!({"minSize": 0, "maxSize": 5}), [0, 5, 2]),
        ]
        .into_iter()
        .enumerate()
        {
            let input = with(region.nodegroup_input(&format!("n{n}"), 0), json!({"scalingConfig": given}));
            let made =
                region.call("CreateNodegroup", input).await.expect("accepted")["nodegroup"]["scalingConfig"].clone();
            let [min, max, desired] = expected;
            assert_eq!(made, json!({"minSize": min, "maxSize": max, "desiredSize": desired}), "{given}");
        }
    });
}

#[test]
fn a_node_group_lives_scales_heals_and_dies() {
    run(Pace::INSTANT, async |region| {
        region.active_cluster().await;
        let created = region.call("CreateNodegroup", region.nodegroup_input("one", 4)).await.expect("accepted");
        assert_eq!(created["nodegroup"]["status"], "CREATING");
        let nodegroup = region.nodegroup("one", "ACTIVE").await;
        assert_eq!(
            (&nodegroup["instanceTypes"], &nodegroup["amiType"]),
            (&json!(["t3.medium"]), &json!("AL2023_x86_64_STANDARD"))
        );
        let instances = live(region, "one").await;
        let zones: BTreeSet<&str> = instances.iter().map(|instance| instance.zone.as_str()).collect();
        assert_eq!((instances.len(), zones.len()), (4, 3), "spread over the zones");
        assert!(instances.iter().all(|instance| instance.private_dns.ends_with(".us-west-2.compute.internal")));
        let entry = json!({"clusterName": "blue", "principalArn": format!("arn:aws:iam::{ACCOUNT}:role/node")});
        let entry = region.call("DescribeAccessEntry", entry.clone()).await.expect("made for the nodes");
        assert_eq!(entry["accessEntry"]["type"], "EC2_LINUX");
        assert_eq!(
            error_of(region.call("DeleteCluster", json!({"name": "blue"})).await),
            "ResourceInUseException: Cluster has nodegroups attached"
        );
        // An instance that ends is replaced.
        region.ec2.terminate(&[instances[0].id.clone()], "gone").await.expect("ended");
        for _ in 0..100 {
            if live(region, "one").await.len() == 4 {
                break;
            }
            region.world.sleep(Duration::from_millis(100)).await;
        }
        let healed = live(region, "one").await;
        assert!(healed.len() == 4 && healed.iter().all(|instance| instance.id != instances[0].id));
        // Down, with labels and taints in the same update.
        let update = json!({
            "clusterName": "blue", "nodegroupName": "one", "scalingConfig": {"desiredSize": 1},
            "labels": {"addOrUpdateLabels": {"team": "a"}}, "taints": {"addOrUpdateTaints": [{"key": "k", "value": "v", "effect": "NO_SCHEDULE"}]},
        });
        let update = region.call("UpdateNodegroupConfig", update).await.expect("accepted")["update"].clone();
        assert_eq!(update["type"], "ConfigUpdate");
        let nodegroup = region.nodegroup("one", "ACTIVE").await;
        assert_eq!((&nodegroup["labels"], &nodegroup["taints"][0]["key"]), (&json!({"team": "a"}), &json!("k")));
        assert_eq!(live(region, "one").await.len(), 1);
        let (drained, configured) = region.planes.told(|told| (told.drained.len(), told.configured.clone()));
        assert_eq!((drained, configured.last().map(|config| config.labels.len())), (3, Some(1)));
        let describe = json!({"name": "blue", "updateId": update["id"]});
        assert!(region.call("DescribeUpdate", describe.clone()).await.is_err(), "not without its node group");
        let described =
            region.call("DescribeUpdate", with(describe, json!({"nodegroupName": "one"}))).await.expect("found");
        assert_eq!(described["update"]["status"], "Successful");
        // Away.
        let deleted = region
            .call("DeleteNodegroup", json!({"clusterName": "blue", "nodegroupName": "one"}))
            .await
            .expect("accepted");
        assert_eq!(deleted["nodegroup"]["status"], "DELETING");
        region.nodegroup("one", "").await;
        assert!(live(region, "one").await.is_empty());
        let admin = region.context(&region.admin);
        let profiles = region.iam.call(&admin, "ListInstanceProfiles", &json!({})).await.expect("profiles");
        assert_eq!(profiles["InstanceProfiles"], json!([]));
        let entries = region.call("ListAccessEntries", json!({"clusterName": "blue"})).await.expect("entries");
        assert_eq!(entries["accessEntries"].as_array().map(Vec::len), Some(1), "only the creator's is left");
        region.call("DeleteCluster", json!({"name": "blue"})).await.expect("accepted");
        region.cluster("blue", "").await;
    });
}

#[test]
fn nodes_that_do_not_join_fail_their_group() {
    run(Pace::INSTANT, async |region| {
        region.active_cluster().await;
        region.planes.told(|told| told.nodes_never_join = true);
        let began = region.world.elapsed();
        region.call("CreateNodegroup", region.nodegroup_input("one", 1)).await.expect("accepted");
        let nodegroup = region.nodegroup("one", "CREATE_FAILED").await;
        assert_eq!(nodegroup["health"]["issues"][0]["code"], "NodeCreationFailure");
        let waited = region.world.elapsed() - began;
        assert!(waited >= Pace::INSTANT.node_join_limit && waited < 2 * Pace::INSTANT.node_join_limit, "{waited:?}");
        region.call("DeleteNodegroup", json!({"clusterName": "blue", "nodegroupName": "one"})).await.expect("accepted");
        region.nodegroup("one", "").await;
    });
}

fn one_with(change: Value) -> Value {
    with(json!({"clusterName": "blue", "nodegroupName": "one"}), change)
}

/// Status of an update of the group `one`.
async fn update_status(region: &Region, id: &Value) -> Value {
    let input = json!({"name": "blue", "updateId": id, "nodegroupName": "one"});
    region.call("DescribeUpdate", input).await.expect("found")["update"]["status"].clone()
}

#[test]
fn an_update_does_not_wait_for_nodes_that_cannot_join() {
    run(Pace::INSTANT, async |region| {
        region.active_cluster().await;
        region.call("CreateNodegroup", region.nodegroup_input("one", 1)).await.expect("accepted");
        region.nodegroup("one", "ACTIVE").await;
        region.planes.told(|told| told.nodes_never_join = true);
        let began = region.world.elapsed();
        let change = json!({"scalingConfig": {"desiredSize": 2}, "labels": {"addOrUpdateLabels": {"team": "a"}}});
        let update = region.call("UpdateNodegroupConfig", one_with(change)).await.expect("accepted");
        let nodegroup = region.nodegroup("one", "ACTIVE").await;
        assert!(region.world.elapsed() - began < Duration::from_secs(10), "the next change need not wait");
        assert_eq!(nodegroup["health"]["issues"], json!([]));
        assert_eq!(update_status(region, &update["update"]["id"]).await, "Successful");
        assert!(live(region, "one").await.iter().all(|instance| instance.state == InstanceState::Running));
        // What a late node may have booted with is taken away when it comes.
        let change = json!({"labels": {"removeLabels": ["team"]}});
        region.call("UpdateNodegroupConfig", one_with(change)).await.expect("accepted");
        let nodegroup = region.nodegroup("one", "DEGRADED").await;
        let waited = region.world.elapsed() - began;
        assert!(waited >= Pace::INSTANT.node_join_limit && waited < 2 * Pace::INSTANT.node_join_limit, "{waited:?}");
        assert_eq!(nodegroup["health"]["issues"][0]["code"], "NodeCreationFailure");
        assert_eq!(nodegroup["health"]["issues"][0]["resourceIds"].as_array().map(Vec::len), Some(2));
        let stored = region.eks.nodegroup("blue", "one").await.expect("readable").expect("there");
        assert!(stored.applied_labels.contains_key("team"), "not known to be gone");
        // An update of an unhealthy group is one all the same.
        let change = json!({"scalingConfig": {"desiredSize": 3}});
        let update = region.call("UpdateNodegroupConfig", one_with(change)).await.expect("accepted");
        region.nodegroup("one", "DEGRADED").await;
        assert_eq!(update_status(region, &update["update"]["id"]).await, "Successful");
        // Nodes that come back end it.
        region.planes.told(|told| told.nodes_never_join = false);
        let nodegroup = region.nodegroup("one", "ACTIVE").await;
        assert_eq!(nodegroup["health"]["issues"], json!([]));
        let stored = region.eks.nodegroup("blue", "one").await.expect("readable").expect("there");
        assert_eq!((stored.applied_labels.len(), stored.unready_since), (0, None));
        region.planes.told(|told| told.nodes_never_join = true);
        region.call("DeleteNodegroup", one_with(json!({}))).await.expect("accepted");
        region.nodegroup("one", "").await;
        region.call("DeleteCluster", json!({"name": "blue"})).await.expect("accepted");
        region.cluster("blue", "").await;
    });
}

#[test]
fn pods_that_stay_hold_up_a_smaller_group_only_so_long() {
    run(Pace::INSTANT, async |region| {
        region.active_cluster().await;
        region.call("CreateNodegroup", region.nodegroup_input("one", 4)).await.expect("accepted");
        region.nodegroup("one", "ACTIVE").await;
        region.planes.told(|told| told.pods_never_leave = true);
        let began = region.world.elapsed();
        let change = json!({"scalingConfig": {"desiredSize": 2}});
        let update = region.call("UpdateNodegroupConfig", one_with(change)).await.expect("accepted");
        region.nodegroup("one", "ACTIVE").await;
        let waited = region.world.elapsed() - began;
        assert!(waited >= Pace::INSTANT.node_join_limit && waited < 2 * Pace::INSTANT.node_join_limit, "{waited:?}");
        assert_eq!(update_status(region, &update["update"]["id"]).await, "Successful");
        assert_eq!(live(region, "one").await.len(), 2);
        // The deletion of the group does not wait for a drain.
        let began = region.world.elapsed();
        let change = json!({"scalingConfig": {"desiredSize": 1}});
        let update = region.call("UpdateNodegroupConfig", one_with(change)).await.expect("accepted");
        region.nodegroup("one", "UPDATING").await;
        region.call("DeleteNodegroup", one_with(json!({}))).await.expect("accepted");
        assert_eq!(update_status(region, &update["update"]["id"]).await, "Cancelled");
        region.nodegroup("one", "").await;
        assert!(region.world.elapsed() - began < Duration::from_secs(20));
    });
}

#[test]
fn a_group_without_addresses_says_so_and_recovers() {
    run(Pace::INSTANT, async |region| {
        region.active_cluster().await;
        let admin = region.context(&region.admin);
        let vpc = region.subnets[0].vpc.clone();
        let input = json!({"VpcId": vpc, "CidrBlock": "172.31.128.0/28", "AvailabilityZone": "us-west-2a"});
        let subnet =
            region.ec2.call(&admin, "CreateSubnet", &input).await.expect("a subnet")["Subnet"]["SubnetId"].clone();
        let input = with(
            region.nodegroup_input("one", 8),
            json!({"subnets": [subnet], "scalingConfig": {"minSize": 0, "maxSize": 20, "desiredSize": 8}}),
        );
        region.call("CreateNodegroup", input).await.expect("accepted");
        region.nodegroup("one", "ACTIVE").await;
        let scale = |size: i64| {
            region.call(
                "UpdateNodegroupConfig",
                json!({"clusterName": "blue", "nodegroupName": "one", "scalingConfig": {"desiredSize": size}}),
            )
        };
        let update = scale(12).await.expect("accepted")["update"]["id"].clone();
        let nodegroup = region.nodegroup("one", "DEGRADED").await;
        assert_eq!(nodegroup["health"]["issues"][0]["code"], "InsufficientFreeAddresses");
        assert_eq!(live(region, "one").await.len(), 11, "as many as there are addresses");
        let update = region
            .call("DescribeUpdate", json!({"name": "blue", "updateId": update, "nodegroupName": "one"}))
            .await
            .expect("found");
        assert_eq!(
            (&update["update"]["status"], &update["update"]["errors"][0]["errorCode"]),
            (&json!("Failed"), &json!("InsufficientFreeAddresses"))
        );
        scale(10).await.expect("accepted");
        region.nodegroup("one", "ACTIVE").await;
        assert_eq!(live(region, "one").await.len(), 10);
    });
}

#[test]
fn the_config_map_is_told_of_node_roles_where_nothing_else_is() {
    run(Pace::INSTANT, async |region| {
        let input = with(region.cluster_input("blue"), json!({"accessConfig": null}));
        region.call("CreateCluster", input).await.expect("accepted");
        region.cluster("blue", "ACTIVE").await;
        region.call("CreateNodegroup", region.nodegroup_input("one", 1)).await.expect("accepted");
        region.nodegroup("one", "ACTIVE").await;
        assert!(region.planes.told(|told| told.mapped.contains(&format!("arn:aws:iam::{ACCOUNT}:role/node"))));
    });
}

#[test]
fn the_same_seed_gives_the_same_region() {
    let log = || {
        let (world, mut simulation) = World::simulated(11);
        simulation.block_on(async {
            let region = Region::new(&world, Pace::INSTANT).await;
            for (name, service) in [("cluster", "eks"), ("node", "ec2")] {
                region.role(name, &json!({"Service": format!("{service}.amazonaws.com")})).await;
            }
            region.active_cluster().await;
            region.call("CreateNodegroup", region.nodegroup_input("one", 3)).await.expect("accepted");
            region.nodegroup("one", "ACTIVE").await;
            let all = region.store.range(store::RangeRequest::new(store::KeyRange::all())).await.expect("everything");
            all.kvs.into_iter().map(|kv| (kv.key, kv.value, kv.mod_revision)).collect::<Vec<_>>()
        })
    };
    assert_eq!(log(), log());
}
