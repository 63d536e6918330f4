//! Every answer fits its model: what a handler returns can be written in its protocol. One operation of each shape of answer, on a
//! region that holds something to describe.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use cloud_wire::{Name, Service};
use region::{Options, Pace, Region};
use serde_json::{Value, json};
use store::{Limits, Store};
use world::World;

/// Calls an operation and writes its answer as the AWS endpoint does.
async fn answer(region: &Region, name: Name, operation: &str, input: &Value) -> Value {
    let output = region.call_as_administrator(name.signing(), operation, input).await;
    let output = output.unwrap_or_else(|error| panic!("{operation}: {error}"));
    let service = Service::get(name);
    let response = service.respond(service.operation(operation).expect("it was just called"), &output, "id", None);
    let text = String::from_utf8_lossy(response.body()).into_owned();
    assert!(response.status().is_success(), "{operation}: {text}");
    output
}

fn trust(service: &str) -> String {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]})
        .to_string()
}

#[test]
fn every_answer_fits_its_model() {
    let (world, mut simulation) = World::simulated(7);
    simulation.block_on(async {
        let options = Options {
            world: world.clone(),
            store: Store::memory(&world, Limits::default()),
            listener: None,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            region: "us-east-1".into(),
            account: "111122223333".into(),
            pace: Pace::Instant,
            audit_folder: None,
            outside: None,
        };
        let region = Region::start(options).await.unwrap();
        let iam = async |operation: &str, input: Value| answer(&region, Name::Iam, operation, &input).await;
        let ec2 = async |operation: &str, input: Value| answer(&region, Name::Ec2, operation, &input).await;
        let eks = async |operation: &str, input: Value| answer(&region, Name::Eks, operation, &input).await;

        let cluster_role = iam("CreateRole", json!({"RoleName": "c", "AssumeRolePolicyDocument": trust("eks.amazonaws.com")})).await;
        let node_role = iam("CreateRole", json!({"RoleName": "n", "AssumeRolePolicyDocument": trust("ec2.amazonaws.com")})).await;
        let policy = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy";
        iam("AttachRolePolicy", json!({"RoleName": "c", "PolicyArn": policy})).await;
        iam("CreateUser", json!({"UserName": "u", "Tags": [{"Key": "a", "Value": "b"}]})).await;
        iam("CreateAccessKey", json!({"UserName": "u"})).await;
        for (operation, input) in [
            ("GetUser", json!({"UserName": "u"})),
            ("ListUsers", json!({})),
            ("ListAccessKeys", json!({"UserName": "u"})),
            ("GetRole", json!({"RoleName": "c"})),
            ("ListRoles", json!({})),
            ("ListAttachedRolePolicies", json!({"RoleName": "c"})),
            ("GetPolicy", json!({"PolicyArn": policy})),
            ("GetPolicyVersion", json!({"PolicyArn": policy, "VersionId": "v1"})),
            ("ListPolicies", json!({})),
            ("ListInstanceProfiles", json!({})),
        ] {
            iam(operation, input).await;
        }
        answer(&region, Name::Sts, "GetCallerIdentity", &json!({})).await;
        answer(&region, Name::Sts, "GetSessionToken", &json!({})).await;

        let subnets = ec2("DescribeSubnets", json!({})).await;
        let subnets: Vec<&str> = subnets["Subnets"].as_array().unwrap().iter().filter_map(|own| own["SubnetId"].as_str()).collect();
        let vpc = json!({"subnetIds": subnets});
        let access = json!({"authenticationMode": "API"});
        let request = json!({"name": "a", "roleArn": cluster_role["Role"]["Arn"], "resourcesVpcConfig": vpc, "accessConfig": access});
        eks("CreateCluster", request).await;
        eks("DescribeCluster", json!({"name": "a"})).await;
        let group = json!({"clusterName": "a", "nodegroupName": "g", "subnets": subnets, "nodeRole": node_role["Role"]["Arn"]});
        eks("CreateNodegroup", group).await;
        let described = eks("DescribeNodegroup", json!({"clusterName": "a", "nodegroupName": "g"})).await;
        assert_eq!(described["nodegroup"]["status"], "ACTIVE");
        let update = eks("UpdateClusterConfig", json!({"name": "a", "deletionProtection": true})).await;
        let entries = eks("ListAccessEntries", json!({"clusterName": "a"})).await;
        for (operation, input) in [
            ("DescribeUpdate", json!({"name": "a", "updateId": update["update"]["id"]})),
            ("ListUpdates", json!({"name": "a"})),
            ("ListClusters", json!({})),
            ("ListNodegroups", json!({"clusterName": "a"})),
            ("DescribeClusterVersions", json!({})),
            ("ListAccessPolicies", json!({})),
            ("DescribeAccessEntry", json!({"clusterName": "a", "principalArn": entries["accessEntries"][0]})),
            ("ListAssociatedAccessPolicies", json!({"clusterName": "a", "principalArn": entries["accessEntries"][0]})),
            ("ListTagsForResource", json!({"resourceArn": "arn:aws:eks:us-east-1:111122223333:cluster/a"})),
        ] {
            eks(operation, input).await;
        }
        let text = |output: &Value, path: &str| json!(output.pointer(path).and_then(Value::as_str).expect("an id"));
        let vpc = text(&ec2("CreateVpc", json!({"CidrBlock": "10.9.0.0/16"})).await, "/Vpc/VpcId");
        let subnet = text(&ec2("CreateSubnet", json!({"VpcId": vpc, "CidrBlock": "10.9.1.0/24"})).await, "/Subnet/SubnetId");
        let gateway = text(&ec2("CreateInternetGateway", json!({})).await, "/InternetGateway/InternetGatewayId");
        ec2("AttachInternetGateway", json!({"InternetGatewayId": gateway, "VpcId": vpc})).await;
        let table = text(&ec2("CreateRouteTable", json!({"VpcId": vpc})).await, "/RouteTable/RouteTableId");
        let route = json!({"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway});
        ec2("CreateRoute", route).await;
        let association = ec2("AssociateRouteTable", json!({"RouteTableId": table, "SubnetId": subnet})).await;
        let group = json!({"GroupName": "g", "Description": "d", "VpcId": vpc});
        let group = text(&ec2("CreateSecurityGroup", group).await, "/GroupId");
        let rule = json!([{"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]);
        ec2("AuthorizeSecurityGroupIngress", json!({"GroupId": group, "IpPermissions": rule})).await;
        ec2("AuthorizeSecurityGroupEgress", json!({"GroupId": group, "IpPermissions": rule})).await;
        // With instances, interfaces and a cluster's security group to show.
        for operation in Service::get(Name::Ec2).operations().iter().map(|operation| operation.name) {
            let no_input = operation.starts_with("Describe") && operation != "DescribeVpcAttribute";
            if no_input && region::operations(Name::Ec2).contains(operation) {
                ec2(operation, json!({})).await;
            }
        }
        ec2("RevokeSecurityGroupIngress", json!({"GroupId": group, "IpPermissions": rule})).await;
        ec2("RevokeSecurityGroupEgress", json!({"GroupId": group, "IpPermissions": rule})).await;
        ec2("DeleteSecurityGroup", json!({"GroupId": group})).await;
        ec2("DisassociateRouteTable", json!({"AssociationId": association["AssociationId"]})).await;
        ec2("DeleteRoute", json!({"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0"})).await;
        ec2("DeleteRouteTable", json!({"RouteTableId": table})).await;
        ec2("DetachInternetGateway", json!({"InternetGatewayId": gateway, "VpcId": vpc})).await;
        ec2("DeleteInternetGateway", json!({"InternetGatewayId": gateway})).await;
        ec2("DeleteSubnet", json!({"SubnetId": subnet})).await;
        ec2("DeleteVpc", json!({"VpcId": vpc})).await;
        let unknown = json!({"InstanceTypes": ["nope.large"]});
        let error = region.call_as_administrator("ec2", "DescribeInstanceTypes", &unknown).await.unwrap_err();
        assert_eq!(error.code, "InvalidInstanceType");
        region.shutdown(Duration::from_secs(10)).await;
    });
}
