//! VPCs.

use cloud_wire::AwsError;
use serde_json::{Value, json};

use crate::cidr::Cidr;
use crate::describe::{Described, describe_page, with_ids};
use crate::error;
use crate::model::{InternetGateway, NetworkInterface, RouteTable, SecurityGroup, Subnet, Tags, Vpc, tags_json};
use crate::service::{Call, Ec2};
use crate::tags::specified;
use cloud_iam::records::Tx;

/// AWS's default quota `VPCs per Region`; Minato has no support desk to raise it, so it is generous.
const MAX_VPCS: usize = 100;

impl Described for Vpc {
    fn filter(&self, name: &str) -> Option<Vec<String>> {
        match name {
            "cidr" | "cidr-block" | "cidr-block-association.cidr-block" => Some(vec![self.cidr.to_string()]),
            "is-default" | "isDefault" => Some(vec![self.default.to_string()]),
            "state" => Some(vec!["available".to_owned()]),
            "vpc-id" => Some(vec![self.id.clone()]),
            _ => None,
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

fn show(vpc: &Vpc, account: &str) -> Value {
    json!({
        "VpcId": vpc.id, "OwnerId": account, "CidrBlock": vpc.cidr.to_string(), "State": "available", "IsDefault": vpc.default,
        "DhcpOptionsId": "default", "InstanceTenancy": "default", "Ipv6CidrBlockAssociationSet": [],
        "CidrBlockAssociationSet": [{
            "AssociationId": vpc.id.replacen("vpc-", "vpc-cidr-assoc-", 1), "CidrBlock": vpc.cidr.to_string(),
            "CidrBlockState": {"State": "associated"},
        }],
        "Tags": tags_json(&vpc.tags),
    })
}

impl Ec2 {
    /// A VPC by id.
    ///
    /// # Errors
    /// `InvalidVpcID.NotFound`.
    pub async fn vpc(&self, id: &str) -> Result<Vpc, AwsError> {
        find(&mut Tx::new(&self.0.space), id).await
    }
}

pub(crate) async fn find(tx: &mut Tx, id: &str) -> Result<Vpc, AwsError> {
    tx.get::<Vpc>(id).await?.ok_or_else(|| error::not_found("vpc", id))
}

/// A VPC with its default security group and its main route table, which it cannot be without.
pub(crate) fn insert(ec2: &Ec2, tx: &mut Tx, cidr: Cidr, default: bool, tags: Tags) -> Vpc {
    let vpc = Vpc {
        id: ec2.new_id("vpc"),
        cidr,
        default,
        dns_hostnames: default,
        dns_support: true,
        default_group: ec2.new_id("sg"),
        main_route_table: ec2.new_id("rtb"),
        tags,
    };
    let group = crate::security_groups::default_group(&vpc);
    tx.put(&group.id, &group);
    let main = ec2.new_id("rtbassoc");
    let table = RouteTable {
        id: vpc.main_route_table.clone(),
        vpc: vpc.id.clone(),
        routes: [(cidr.to_string(), "local".to_owned())].into(),
        associations: Default::default(),
        main: Some(main),
        tags: Tags::new(),
    };
    tx.put(&table.id, &table);
    tx.put(&vpc.id, &vpc);
    vpc
}

pub(crate) fn parse_cidr(text: &str) -> Result<Cidr, AwsError> {
    Cidr::parse_lenient(text).map_err(|_| {
        error::invalid(format!("Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block."))
    })
}

pub(crate) async fn create(call: Call<'_>) -> Result<Value, AwsError> {
    let cidr = parse_cidr(&call.required("CidrBlock")?)?;
    if !(16..=28).contains(&cidr.bits()) {
        return Err(error::client("InvalidVpc.Range", format!("The CIDR '{cidr}' is invalid.")));
    }
    if call.tx.list::<Vpc>("").await?.len() >= MAX_VPCS {
        return Err(error::client("VpcLimitExceeded", "The maximum number of VPCs has been reached."));
    }
    let tags = specified(call.input, "vpc")?;
    let vpc = insert(call.ec2, call.tx, cidr, false, tags);
    Ok(json!({ "Vpc": show(&vpc, call.account()) }))
}

pub(crate) async fn describe(call: Call<'_>) -> Result<Value, AwsError> {
    let vpcs = with_ids(call.tx.list::<Vpc>("").await?, &call.strings("VpcIds"), "vpc")?;
    describe_page(&call, vpcs, "Vpcs", |vpc| show(&vpc, call.account()))
}

pub(crate) async fn delete(call: Call<'_>) -> Result<Value, AwsError> {
    let vpc = find(call.tx, &call.required("VpcId")?).await?;
    let subnets = call.tx.list::<Subnet>("").await?;
    let interfaces = call.tx.list::<NetworkInterface>("").await?;
    let groups = call.tx.list::<SecurityGroup>("").await?;
    let gateways = call.tx.list::<InternetGateway>("").await?;
    let tables = call.tx.list::<RouteTable>("").await?;
    let in_use = subnets.iter().any(|(_, subnet)| subnet.vpc == vpc.id)
        || interfaces.iter().any(|(_, interface)| interface.vpc == vpc.id)
        || groups.iter().any(|(id, group)| group.vpc == vpc.id && *id != vpc.default_group)
        || gateways.iter().any(|(_, gateway)| gateway.vpc.as_ref() == Some(&vpc.id))
        || tables.iter().any(|(id, table)| table.vpc == vpc.id && *id != vpc.main_route_table);
    if in_use {
        return Err(error::dependency("vpc", &vpc.id));
    }
    call.tx.delete::<SecurityGroup>(&vpc.default_group);
    call.tx.delete::<RouteTable>(&vpc.main_route_table);
    call.tx.delete::<Vpc>(&vpc.id);
    Ok(json!({}))
}

pub(crate) async fn describe_attribute(call: Call<'_>) -> Result<Value, AwsError> {
    let vpc = find(call.tx, &call.required("VpcId")?).await?;
    let attribute = call.required("Attribute")?;
    let (member, value) = match attribute.as_str() {
        "enableDnsHostnames" => ("EnableDnsHostnames", vpc.dns_hostnames),
        "enableDnsSupport" => ("EnableDnsSupport", vpc.dns_support),
        "enableNetworkAddressUsageMetrics" => ("EnableNetworkAddressUsageMetrics", false),
        _ => return Err(error::invalid(format!("Value ({attribute}) for parameter attribute is invalid."))),
    };
    Ok(json!({"VpcId": vpc.id, member: {"Value": value}}))
}

pub(crate) async fn modify_attribute(call: Call<'_>) -> Result<Value, AwsError> {
    let mut vpc = find(call.tx, &call.required("VpcId")?).await?;
    let flag = |member: &str| call.input.get(member).and_then(|value| value.get("Value")).and_then(Value::as_bool);
    match (flag("EnableDnsHostnames"), flag("EnableDnsSupport")) {
        (Some(_), Some(_)) => {
            return Err(error::client("InvalidParameterCombination", "You can modify only one attribute at a time."));
        }
        (Some(on), None) if on && !vpc.dns_support => {
            return Err(error::invalid("DNS hostnames cannot be enabled while DNS support is disabled."));
        }
        (Some(on), None) => vpc.dns_hostnames = on,
        (None, Some(on)) => vpc.dns_support = on,
        (None, None) => {}
    }
    call.tx.put(&vpc.id, &vpc);
    Ok(json!({}))
}
