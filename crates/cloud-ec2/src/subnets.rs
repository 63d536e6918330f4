//! Subnets.

use cloud_iam::records::Tx;
use cloud_wire::AwsError;
use serde_json::{Value, json};

use crate::addresses::AddressPool;
use crate::describe::{Described, describe_page, with_ids};
use crate::error;
use crate::model::{RouteTable, Subnet, Tags, tags_json};
use crate::service::{Call, Ec2};
use crate::tags::specified;
use crate::vpcs::{self, parse_cidr};
use crate::zones::{Zone, zones};

/// AWS's quota `Subnets per VPC`.
const MAX_SUBNETS: usize = 200;

/// A subnet and how many addresses it has left.
struct Shown {
    subnet: Subnet,
    free: u64,
}

impl Described for Shown {
    fn filter(&self, name: &str) -> Option<Vec<String>> {
        let subnet = &self.subnet;
        let value = match name {
            "availability-zone" | "availabilityZone" => subnet.zone.clone(),
            "availability-zone-id" | "availabilityZoneId" => subnet.zone_id.clone(),
            "available-ip-address-count" => self.free.to_string(),
            "cidr" | "cidr-block" | "cidrBlock" => subnet.cidr.to_string(),
            "default-for-az" | "defaultForAz" => subnet.default.to_string(),
            "map-public-ip-on-launch" => subnet.public_ips.to_string(),
            "state" => "available".to_owned(),
            "subnet-id" => subnet.id.clone(),
            "vpc-id" => subnet.vpc.clone(),
            _ => return None,
        };
        Some(vec![value])
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.subnet.tags)
    }
}

fn show(shown: &Shown, account: &str, region: &str) -> Value {
    let subnet = &shown.subnet;
    json!({
        "SubnetId": subnet.id, "VpcId": subnet.vpc, "OwnerId": account, "CidrBlock": subnet.cidr.to_string(),
        "SubnetArn": format!("arn:aws:ec2:{region}:{account}:subnet/{}", subnet.id), "State": "available",
        "AvailabilityZone": subnet.zone, "AvailabilityZoneId": subnet.zone_id, "AvailableIpAddressCount": shown.free,
        "DefaultForAz": subnet.default, "MapPublicIpOnLaunch": subnet.public_ips, "AssignIpv6AddressOnCreation": false,
        "Ipv6CidrBlockAssociationSet": [], "Ipv6Native": false, "EnableDns64": false,
        "PrivateDnsNameOptionsOnLaunch": {
            "HostnameType": "ip-name", "EnableResourceNameDnsARecord": false, "EnableResourceNameDnsAAAARecord": false,
        },
        "Tags": tags_json(&subnet.tags),
    })
}

impl Ec2 {
    /// A subnet by id.
    ///
    /// # Errors
    /// `InvalidSubnetID.NotFound`.
    pub async fn subnet(&self, id: &str) -> Result<Subnet, AwsError> {
        find(&mut Tx::new(&self.0.space), id).await
    }

    /// How many addresses a subnet has left.
    ///
    /// # Errors
    /// `InvalidSubnetID.NotFound`.
    pub async fn free_addresses(&self, subnet: &str) -> Result<u64, AwsError> {
        Ok(pool(&mut Tx::new(&self.0.space), subnet).await?.free())
    }

    /// All subnets, by id.
    ///
    /// # Errors
    /// The store's.
    pub async fn subnets(&self) -> Result<Vec<Subnet>, AwsError> {
        let subnets = Tx::new(&self.0.space).list::<Subnet>("").await?;
        Ok(subnets.into_iter().map(|(_, subnet)| subnet).collect())
    }
}

pub(crate) async fn find(tx: &mut Tx, id: &str) -> Result<Subnet, AwsError> {
    tx.get::<Subnet>(id).await?.ok_or_else(|| error::not_found("subnet", id))
}

pub(crate) async fn pool(tx: &mut Tx, subnet: &str) -> Result<AddressPool, AwsError> {
    tx.get::<AddressPool>(subnet).await?.ok_or_else(|| error::not_found("subnet", subnet))
}

pub(crate) fn insert(tx: &mut Tx, subnet: &Subnet) {
    tx.put(&subnet.id, subnet);
    tx.put(&subnet.id, &AddressPool::new(subnet.cidr));
}

fn zone_of(call: &Call<'_>) -> Result<Zone, AwsError> {
    let zones = zones(call.ec2.region());
    match (call.text("AvailabilityZone"), call.text("AvailabilityZoneId")) {
        (None, None) => Ok(zones[0].clone()),
        (name, id) => {
            let found = zones
                .iter()
                .find(|zone| name.is_none_or(|name| zone.name == name) && id.is_none_or(|id| zone.id == id));
            let names: Vec<&str> = zones.iter().map(|zone| zone.name.as_str()).collect();
            found.cloned().ok_or_else(|| {
                error::invalid(format!(
                    "Value ({}) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: {}.",
                    name.or(id).unwrap_or_default(),
                    names.join(", ")
                ))
            })
        }
    }
}

pub(crate) async fn create(call: Call<'_>) -> Result<Value, AwsError> {
    let vpc = vpcs::find(call.tx, &call.required("VpcId")?).await?;
    let cidr = parse_cidr(&call.required("CidrBlock")?)?;
    let zone = zone_of(&call)?;
    if !(16..=28).contains(&cidr.bits()) || !vpc.cidr.contains(cidr) {
        return Err(error::client("InvalidSubnet.Range", format!("The CIDR '{cidr}' is invalid.")));
    }
    let others = call.tx.list::<Subnet>("").await?;
    let siblings = others.iter().filter(|(_, subnet)| subnet.vpc == vpc.id);
    if siblings.clone().any(|(_, subnet)| subnet.cidr.overlaps(cidr)) {
        return Err(error::client(
            "InvalidSubnet.Conflict",
            format!("The CIDR '{cidr}' conflicts with another subnet"),
        ));
    }
    if siblings.count() >= MAX_SUBNETS {
        return Err(error::client("SubnetLimitExceeded", "The maximum number of subnets has been reached."));
    }
    let subnet = Subnet {
        id: call.ec2.new_id("subnet"),
        vpc: vpc.id.clone(),
        cidr,
        zone: zone.name,
        zone_id: zone.id,
        default: false,
        public_ips: false,
        tags: specified(call.input, "subnet")?,
    };
    insert(call.tx, &subnet);
    // Two subnets made at once must see each other: both change the VPC's record.
    call.tx.put(&vpc.id, &vpc);
    let shown = Shown { free: AddressPool::new(cidr).free(), subnet };
    Ok(json!({ "Subnet": show(&shown, call.account(), call.ec2.region()) }))
}

pub(crate) async fn describe(call: Call<'_>) -> Result<Value, AwsError> {
    let subnets = with_ids(call.tx.list::<Subnet>("").await?, &call.strings("SubnetIds"), "subnet")?;
    let mut items = Vec::with_capacity(subnets.len());
    for (id, subnet) in subnets {
        let free = pool(call.tx, &id).await?.free();
        items.push((id, Shown { subnet, free }));
    }
    describe_page(&call, items, "Subnets", |shown| show(&shown, call.account(), call.ec2.region()))
}

pub(crate) async fn delete(call: Call<'_>) -> Result<Value, AwsError> {
    let subnet = find(call.tx, &call.required("SubnetId")?).await?;
    if pool(call.tx, &subnet.id).await?.used() > 0 {
        return Err(error::dependency("subnet", &subnet.id));
    }
    for (id, mut table) in call.tx.list::<RouteTable>("").await? {
        let before = table.associations.len();
        table.associations.retain(|_, associated| *associated != subnet.id);
        if table.associations.len() != before {
            call.tx.put(&id, &table);
        }
    }
    call.tx.delete::<AddressPool>(&subnet.id);
    call.tx.delete::<Subnet>(&subnet.id);
    Ok(json!({}))
}

pub(crate) async fn modify_attribute(call: Call<'_>) -> Result<Value, AwsError> {
    let mut subnet = find(call.tx, &call.required("SubnetId")?).await?;
    let on = call.input.get("MapPublicIpOnLaunch").and_then(|value| value.get("Value")).and_then(Value::as_bool);
    match on {
        Some(on) => subnet.public_ips = on,
        None => {
            return Err(AwsError::not_supported(
                "ec2",
                "ModifySubnetAttribute for other attributes than MapPublicIpOnLaunch",
            ));
        }
    }
    call.tx.put(&subnet.id, &subnet);
    Ok(json!({}))
}
