//! The network and instances over a simulated world.

use std::collections::BTreeSet;
use std::time::Duration;

use cloud_iam::{CallContext, Caller, Iam};
use serde_json::{Value, json};
use store::{Limits, Store};
use world::World;

use crate::{CapacityType, Ec2, InstanceChange, InstanceState, LaunchSpec, Pace, Subnet, Vpc};

const ACCOUNT: &str = "111122223333";

struct Region {
    world: World,
    ec2: Ec2,
    vpc: Vpc,
    subnets: Vec<Subnet>,
}

fn run(pace: Pace, test: impl AsyncFnOnce(&Region)) {
    let (world, mut simulation) = World::simulated(9);
    simulation.block_on(async {
        let store = Store::memory(&world, Limits::default());
        let tasks = world.tasks("ec2");
        let iam = Iam::new(&world, store.keyspace("iam/"), ACCOUNT);
        let ec2 = Ec2::new(&world, store.keyspace("ec2/"), iam, "us-east-1", pace);
        let (vpc, subnets) = ec2.bootstrap().await.expect("a default VPC");
        assert_eq!(ec2.bootstrap().await, Ok((vpc.clone(), subnets.clone())), "once is enough");
        ec2.run(&tasks);
        test(&Region { world: world.clone(), ec2, vpc, subnets }).await;
        tasks.shutdown(Duration::from_secs(1)).await;
    });
}

impl Region {
    async fn call(&self, operation: &str, input: Value) -> Result<Value, String> {
        let ctx = CallContext {
            account: ACCOUNT.to_owned(),
            region: "us-east-1".to_owned(),
            caller: Caller::root(ACCOUNT, "AKIA"),
            request_id: "r".to_owned(),
            source_ip: "127.0.0.1".to_owned(),
            now: self.world.now(),
        };
        self.ec2.call(&ctx, operation, &input).await.map_err(|error| error.to_string())
    }

    fn spec(&self, count: usize, instance_type: &str, subnets: Vec<String>) -> LaunchSpec {
        LaunchSpec {
            count,
            instance_type: instance_type.to_owned(),
            subnets,
            groups: Vec::new(),
            image: "ami-1".to_owned(),
            profile: None,
            role: None,
            capacity: CapacityType::Spot,
            owner: "group".to_owned(),
            revision: "1".to_owned(),
            tags: [("team".to_owned(), "a".to_owned())].into(),
        }
    }

    async fn small_subnet(&self) -> String {
        let input = json!({"VpcId": self.vpc.id, "CidrBlock": "172.31.128.0/28"});
        let made = self.call("CreateSubnet", input).await.expect("a subnet");
        made["Subnet"]["SubnetId"].as_str().expect("an id").to_owned()
    }

    async fn free(&self, subnet: &str) -> Value {
        let output = self.call("DescribeSubnets", json!({"SubnetIds": [subnet]})).await.expect("described");
        output["Subnets"][0]["AvailableIpAddressCount"].clone()
    }
}

#[test]
fn the_default_vpc_is_as_aws_makes_it() {
    run(Pace::INSTANT, async |region| {
        let vpcs = region
            .call("DescribeVpcs", json!({"Filters": [{"Name": "is-default", "Values": ["true"]}]}))
            .await
            .expect("VPCs");
        assert_eq!(vpcs["Vpcs"][0]["CidrBlock"], "172.31.0.0/16");
        let subnets = region.call("DescribeSubnets", json!({})).await.expect("subnets");
        let mut found: Vec<String> = subnets["Subnets"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|subnet| {
                format!(
                    "{} {} {}",
                    subnet["CidrBlock"], subnet["AvailabilityZoneId"], subnet["AvailableIpAddressCount"]
                )
                .replace('"', "")
            })
            .collect();
        found.sort();
        assert_eq!(
            found,
            ["172.31.0.0/20 use1-az1 4091", "172.31.16.0/20 use1-az2 4091", "172.31.32.0/20 use1-az4 4091"]
        );
        let routes = region
            .call("DescribeRouteTables", json!({"Filters": [{"Name": "association.main", "Values": ["true"]}]}))
            .await
            .expect("tables");
        assert_eq!(routes["RouteTables"][0]["Routes"].as_array().map(Vec::len), Some(2), "local and the internet");
        let groups = region
            .call("DescribeSecurityGroups", json!({"Filters": [{"Name": "group-name", "Values": ["default"]}]}))
            .await
            .expect("groups");
        assert_eq!(groups["SecurityGroups"][0]["GroupId"], json!(region.vpc.default_group));
        let names = region
            .call("DescribeVpcAttribute", json!({"VpcId": region.vpc.id, "Attribute": "enableDnsHostnames"}))
            .await;
        assert_eq!(names.map(|output| output["EnableDnsHostnames"]["Value"].clone()), Ok(json!(true)));
    });
}

#[test]
fn calls_are_answered_in_words_of_aws() {
    run(Pace::INSTANT, async |region| {
        let (vpc, subnet) = (&region.vpc.id, &region.subnets[0].id);
        let full = region.small_subnet().await;
        region.ec2.launch(&region.spec(1, "t3.nano", vec![full.clone()])).await.expect("launched");
        let rule =
            json!([{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]);
        let group = &region.vpc.default_group;
        let steps: Vec<(&str, Value, &str)> = vec![
            ("DescribeVpcs", json!({"VpcIds": ["vpc-x"]}), "InvalidVpcID.NotFound: The vpc ID 'vpc-x' does not exist"),
            (
                "DescribeSubnets",
                json!({"SubnetIds": ["subnet-x"]}),
                "InvalidSubnetID.NotFound: The subnet ID 'subnet-x' does not exist",
            ),
            (
                "DescribeSecurityGroups",
                json!({"GroupIds": ["sg-x"]}),
                "InvalidGroup.NotFound: The security group 'sg-x' does not exist",
            ),
            (
                "DescribeInstances",
                json!({"InstanceIds": ["i-x"]}),
                "InvalidInstanceID.NotFound: The instance ID 'i-x' does not exist",
            ),
            (
                "DescribeInstanceTypes",
                json!({"InstanceTypes": ["x.y"]}),
                "InvalidInstanceType: The following supplied instance types do not exist: [x.y]",
            ),
            (
                "DescribeSubnets",
                json!({"Filters": [{"Name": "nope", "Values": ["x"]}]}),
                "InvalidParameterValue: The filter 'nope' is invalid",
            ),
            ("DescribeSubnets", json!({"NextToken": "?"}), "InvalidNextToken"),
            ("CreateVpc", json!({"CidrBlock": "10.0.0.0/8"}), "InvalidVpc.Range: The CIDR '10.0.0.0/8' is invalid."),
            (
                "CreateVpc",
                json!({"CidrBlock": "x"}),
                "InvalidParameterValue: Value (x) for parameter cidrBlock is invalid. This is not a valid CIDR block.",
            ),
            ("CreateVpc", json!({"CidrBlock": "10.0.0.0/16"}), ""),
            (
                "CreateSubnet",
                json!({"VpcId": vpc, "CidrBlock": "172.31.0.0/24"}),
                "InvalidSubnet.Conflict: The CIDR '172.31.0.0/24' conflicts with another subnet",
            ),
            (
                "CreateSubnet",
                json!({"VpcId": vpc, "CidrBlock": "10.0.0.0/24"}),
                "InvalidSubnet.Range: The CIDR '10.0.0.0/24' is invalid.",
            ),
            (
                "CreateSubnet",
                json!({"VpcId": vpc, "CidrBlock": "172.31.200.0/24", "AvailabilityZone": "us-east-1z"}),
                "InvalidParameterValue: Value (us-east-1z) for parameter availabilityZone is invalid.",
            ),
            ("DeleteSubnet", json!({"SubnetId": full}), "DependencyViolation"),
            ("DeleteSubnet", json!({"SubnetId": subnet}), ""),
            ("DeleteVpc", json!({"VpcId": vpc}), "DependencyViolation: The vpc"),
            ("CreateSecurityGroup", json!({"GroupName": "a", "Description": "d", "VpcId": vpc}), ""),
            (
                "CreateSecurityGroup",
                json!({"GroupName": "a", "Description": "d", "VpcId": vpc}),
                "InvalidGroup.Duplicate: The security group 'a' already exists for VPC",
            ),
            ("AuthorizeSecurityGroupIngress", json!({"GroupId": group, "IpPermissions": rule}), ""),
            (
                "AuthorizeSecurityGroupIngress",
                json!({"GroupId": group, "IpPermissions": rule}),
                "InvalidPermission.Duplicate",
            ),
            ("RevokeSecurityGroupIngress", json!({"GroupId": group, "IpPermissions": rule}), ""),
            (
                "RevokeSecurityGroupIngress",
                json!({"GroupId": group, "IpPermissions": rule}),
                "InvalidPermission.NotFound",
            ),
            ("DeleteSecurityGroup", json!({"GroupId": group}), "CannotDelete"),
            ("CreateTags", json!({"Resources": [vpc], "Tags": [{"Key": "Name", "Value": "main"}]}), ""),
            ("CreateTags", json!({"Resources": ["vpc-x"], "Tags": []}), "InvalidVpcID.NotFound"),
            (
                "CreateTags",
                json!({"Resources": [vpc], "Tags": [{"Key": "aws:x"}]}),
                "InvalidParameterValue: Value ( aws:x ) for parameter key is invalid.",
            ),
            (
                "DescribeInstanceTypes",
                json!({"DryRun": true}),
                "DryRunOperation: Request would have succeeded, but DryRun flag is set.",
            ),
            ("RunInstances", json!({}), "NotImplemented: ec2:RunInstances is not supported by Minato yet."),
        ];
        for (operation, input, expected) in steps {
            let result = region.call(operation, input.clone()).await;
            match (&result, expected) {
                (Ok(_), "") => {}
                (Err(error), expected) if !expected.is_empty() => {
                    assert!(error.starts_with(expected), "{operation} {input}: {error}")
                }
                _ => panic!("{operation} {input}: {result:?}, expected {expected:?}"),
            }
        }
        let tagged = region
            .call("DescribeVpcs", json!({"Filters": [{"Name": "tag:Name", "Values": ["ma*"]}]}))
            .await
            .expect("VPCs");
        assert_eq!(tagged["Vpcs"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn pages_join_to_the_whole_list() {
    run(Pace::INSTANT, async |region| {
        let (mut seen, mut token) = (BTreeSet::new(), Value::Null);
        loop {
            let page =
                region.call("DescribeSubnets", json!({"MaxResults": 1, "NextToken": token})).await.expect("a page");
            seen.insert(page["Subnets"][0]["SubnetId"].as_str().expect("an id").to_owned());
            token = page["NextToken"].clone();
            if token.is_null() {
                break;
            }
        }
        assert_eq!(seen, region.subnets.iter().map(|subnet| subnet.id.clone()).collect());
        let types = region.call("DescribeInstanceTypes", json!({"MaxResults": 100})).await.expect("types");
        assert!(types["NextToken"].is_string() && types["InstanceTypes"].as_array().map(Vec::len) == Some(100));
    });
}

#[test]
fn instances_go_through_their_states_at_the_real_pace() {
    run(Pace::REAL, async |region| {
        let (before, mut watch) = region.ec2.instances().await.expect("a watch");
        assert!(before.is_empty());
        let subnets: Vec<String> = region.subnets.iter().map(|subnet| subnet.id.clone()).collect();
        let launched = region.ec2.launch(&region.spec(4, "m5.large", subnets)).await.expect("launched");
        let zones: Vec<&str> = launched.instances.iter().map(|instance| instance.zone.as_str()).collect();
        assert_eq!(zones.iter().collect::<BTreeSet<_>>().len(), 3, "spread: {zones:?}");
        let id = launched.instances[0].id.clone();
        let ip = launched.instances[0].private_ip.to_string().replace('.', "-");
        assert_eq!(launched.instances[0].private_dns, format!("ip-{ip}.ec2.internal"));
        let state = async || region.ec2.instance(&id).await.map(|instance| instance.state);
        for (after, expected) in
            [(0, InstanceState::Pending), (14, InstanceState::Pending), (2, InstanceState::Running)]
        {
            region.world.sleep(Duration::from_secs(after)).await;
            assert_eq!(state().await, Ok(expected));
        }
        let shown = region
            .call("DescribeInstances", json!({"Filters": [{"Name": "instance-state-name", "Values": ["running"]}]}))
            .await
            .expect("shown");
        assert_eq!(shown["Reservations"][0]["Instances"].as_array().map(Vec::len), Some(4));
        assert_eq!(shown["Reservations"][0]["Instances"][0]["InstanceLifecycle"], "spot");
        let ended = region.call("TerminateInstances", json!({"InstanceIds": [id]})).await.expect("ended");
        assert_eq!(ended["TerminatingInstances"][0]["CurrentState"]["Name"], "shutting-down");
        for (after, expected) in [(29, InstanceState::ShuttingDown), (2, InstanceState::Terminated)] {
            region.world.sleep(Duration::from_secs(after)).await;
            assert_eq!(state().await, Ok(expected));
        }
        let mut states = Vec::new();
        while states.last() != Some(&InstanceState::Terminated) {
            for change in watch.next().await.expect("changes") {
                match change {
                    InstanceChange::Put(instance) if instance.id == id => states.push(instance.state),
                    InstanceChange::Put(_) | InstanceChange::Gone(_) => {}
                }
            }
        }
        let all =
            [InstanceState::Pending, InstanceState::Running, InstanceState::ShuttingDown, InstanceState::Terminated];
        assert_eq!(states, all);
        region.world.sleep(Duration::from_secs(3500)).await;
        assert_eq!(state().await, Ok(InstanceState::Terminated));
        region.world.sleep(Duration::from_secs(120)).await;
        assert!(state().await.is_err(), "forgotten after an hour");
        assert_eq!(region.ec2.owned("group").await.map(|owned| owned.len()), Ok(3));
    });
}

#[test]
fn a_subnet_runs_out_of_addresses_and_gets_them_back() {
    run(Pace::INSTANT, async |region| {
        let subnet = region.small_subnet().await;
        assert_eq!(region.free(&subnet).await, 11);
        let launched = region.ec2.launch(&region.spec(40, "t3.nano", vec![subnet.clone()])).await.expect("some");
        assert_eq!(launched.instances.len(), 11);
        assert_eq!(
            launched.shortfall.map(|error| error.code.into_owned()),
            Some("InsufficientFreeAddressesInSubnet".to_owned())
        );
        assert_eq!(region.free(&subnet).await, 0);
        let ids: Vec<String> = launched.instances.iter().map(|instance| instance.id.clone()).collect();
        region.ec2.terminate(&ids, "enough").await.expect("ended");
        region.world.sleep(Duration::from_secs(1)).await;
        assert_eq!(region.free(&subnet).await, 11);
    });
}

#[test]
fn pods_take_addresses_up_to_what_the_type_and_the_subnet_have() {
    run(Pace::INSTANT, async |region| {
        let large = region.subnets[0].id.clone();
        let launched = region.ec2.launch(&region.spec(1, "m5.large", vec![large.clone()])).await.expect("one");
        let id = &launched.instances[0].id;
        // Three interfaces with nine secondary addresses each.
        for (asked, given, interfaces) in [(5, 5, 1), (5, 5, 2), (30, 17, 3), (1, 0, 3)] {
            let assigned = region.ec2.assign_pod_addresses(id, asked).await.expect("assigned");
            let instance = region.ec2.instance(id).await.expect("it lives");
            assert_eq!((assigned.len(), instance.interfaces.len()), (given, interfaces), "asked for {asked}");
        }
        assert_eq!(region.free(&large).await, 4091 - 27 - 3);
        let all = region.ec2.pod_addresses(id).await.expect("addresses");
        region.ec2.release_pod_addresses(id, &all).await.expect("released");
        assert_eq!(region.free(&large).await, 4091 - 1, "only the primary interface is left");
        let small = region.small_subnet().await;
        let launched = region.ec2.launch(&region.spec(2, "m5.large", vec![small.clone()])).await.expect("two");
        let (one, two) = (&launched.instances[0].id, &launched.instances[1].id);
        assert_eq!(region.ec2.assign_pod_addresses(one, 8).await.map(|list| list.len()), Ok(8));
        assert_eq!(
            region.ec2.assign_pod_addresses(two, 8).await.map(|list| list.len()),
            Ok(1),
            "one node's pods leave none for the other's"
        );
        assert_eq!(region.free(&small).await, 0);
    });
}
