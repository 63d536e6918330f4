//! Network interfaces.

use cloud_iam::records::Tx;
use cloud_wire::AwsError;
use serde_json::{Value, json};

use crate::describe::{Described, describe_page, with_ids};
use crate::error;
use crate::model::{Attachment, NetworkInterface, Subnet, Tags, tags_json};
use crate::service::{Call, Ec2};
use crate::subnets;

/// What an interface is made of.
#[derive(Debug, Clone, Default)]
pub struct InterfaceSpec {
    /// Security groups; the default group of the VPC when empty.
    pub groups: Vec<String>,
    /// Free text.
    pub description: String,
    /// The service that makes it.
    pub requester: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl Described for NetworkInterface {
    fn filter(&self, name: &str) -> Option<Vec<String>> {
        let attached = |value: fn(&Attachment) -> String| Some(self.attachment.iter().map(value).collect());
        match name {
            "addresses.private-ip-address" => Some(self.addresses().map(|ip| ip.to_string()).collect()),
            "attachment.device-index" => attached(|attachment| attachment.device.to_string()),
            "attachment.instance-id" => attached(|attachment| attachment.instance.clone()),
            "attachment.status" => attached(|_| "attached".to_owned()),
            "availability-zone" => Some(vec![self.zone.clone()]),
            "description" => Some(vec![self.description.clone()]),
            "group-id" => Some(self.groups.clone()),
            "interface-type" => Some(vec!["interface".to_owned()]),
            "mac-address" => Some(vec![self.mac.clone()]),
            "network-interface-id" => Some(vec![self.id.clone()]),
            "private-ip-address" => Some(vec![self.address.to_string()]),
            "requester-id" => Some(self.requester.iter().cloned().collect()),
            "requester-managed" => Some(vec![self.requester.is_some().to_string()]),
            "status" => Some(vec![self.status().to_owned()]),
            "subnet-id" => Some(vec![self.subnet.clone()]),
            "vpc-id" => Some(vec![self.vpc.clone()]),
            _ => None,
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl NetworkInterface {
    /// The primary address and then the others.
    pub fn addresses(&self) -> impl Iterator<Item = std::net::Ipv4Addr> {
        std::iter::once(self.address).chain(self.secondary.iter().copied())
    }

    fn status(&self) -> &'static str {
        if self.attachment.is_some() || self.requester.is_some() { "in-use" } else { "available" }
    }
}

/// An interface as `DescribeNetworkInterfaces` shows it.
pub(crate) fn show(interface: &NetworkInterface, account: &str) -> Value {
    let mut json = show_in_instance(interface, account);
    json["AvailabilityZone"] = json!(interface.zone);
    json["RequesterManaged"] = json!(interface.requester.is_some());
    json["TagSet"] = tags_json(&interface.tags);
    if let Some(requester) = &interface.requester {
        json["RequesterId"] = json!(requester);
    }
    if let Some(attachment) = &interface.attachment {
        json["Attachment"]["InstanceId"] = json!(attachment.instance);
        json["Attachment"]["InstanceOwnerId"] = json!(account);
    }
    json
}

/// An interface as `DescribeInstances` shows it among those of its instance: without what the instance says itself.
pub(crate) fn show_in_instance(interface: &NetworkInterface, account: &str) -> Value {
    let addresses: Vec<Value> = interface
        .addresses()
        .map(|ip| json!({"PrivateIpAddress": ip.to_string(), "Primary": ip == interface.address}))
        .collect();
    let groups: Vec<Value> = interface.groups.iter().map(|id| json!({ "GroupId": id })).collect();
    let mut json = json!({
        "NetworkInterfaceId": interface.id, "SubnetId": interface.subnet, "VpcId": interface.vpc, "OwnerId": account,
        "MacAddress": interface.mac, "PrivateIpAddress": interface.address.to_string(), "PrivateIpAddresses": addresses,
        "Groups": groups, "Description": interface.description, "Status": interface.status(),
        "InterfaceType": "interface", "SourceDestCheck": true, "Ipv6Addresses": [],
    });
    if let Some(attachment) = &interface.attachment {
        json["Attachment"] = json!({
            "AttachmentId": attachment.id, "DeviceIndex": attachment.device, "Status": "attached",
            "DeleteOnTermination": true, "NetworkCardIndex": 0,
        });
    }
    json
}

/// Makes an interface with one address of a subnet.
pub(crate) async fn insert(
    ec2: &Ec2,
    tx: &mut Tx,
    subnet: &Subnet,
    spec: &InterfaceSpec,
    attachment: Option<(String, u32)>,
) -> Result<NetworkInterface, AwsError> {
    let mut pool = subnets::pool(tx, &subnet.id).await?;
    let address = pool.take().ok_or_else(|| error::no_free_addresses(&subnet.id))?;
    tx.put(&subnet.id, &pool);
    let groups = match spec.groups.is_empty() {
        false => spec.groups.clone(),
        true => vec![crate::vpcs::find(tx, &subnet.vpc).await?.default_group],
    };
    // AWS's addresses are locally administered and begin with 02, 06, 0a or 0e.
    let noise = ec2.0.world.random_string("0123456789abcdef", 10);
    let mac = (0..5).map(|n| &noise[2 * n..2 * n + 2]).fold("0e".to_owned(), |mac, byte| format!("{mac}:{byte}"));
    let attachment = attachment.map(|(instance, device)| Attachment { id: ec2.new_id("eni-attach"), instance, device });
    let interface = NetworkInterface {
        id: ec2.new_id("eni"),
        subnet: subnet.id.clone(),
        vpc: subnet.vpc.clone(),
        zone: subnet.zone.clone(),
        mac,
        address,
        secondary: Default::default(),
        groups,
        attachment,
        description: spec.description.clone(),
        requester: spec.requester.clone(),
        tags: spec.tags.clone(),
    };
    tx.put(&interface.id, &interface);
    Ok(interface)
}

/// Deletes an interface and gives its addresses back.
pub(crate) async fn remove(tx: &mut Tx, id: &str) -> Result<(), AwsError> {
    let Some(interface) = tx.get::<NetworkInterface>(id).await? else { return Ok(()) };
    let mut pool = subnets::pool(tx, &interface.subnet).await?;
    for address in interface.addresses() {
        pool.release(address);
    }
    tx.put(&interface.subnet, &pool);
    tx.delete::<NetworkInterface>(id);
    Ok(())
}

impl Ec2 {
    /// The interfaces that a service has made with this description, made in `subnets` where they are missing: one each.
    ///
    /// # Errors
    /// `InsufficientFreeAddressesInSubnet`, `InvalidSubnetID.NotFound`.
    pub async fn ensure_interfaces(
        &self,
        subnets_wanted: &[String],
        spec: &InterfaceSpec,
    ) -> Result<Vec<NetworkInterface>, AwsError> {
        self.transact(|mut tx| async move {
            let tx = &mut tx;
            let all = tx.list::<NetworkInterface>("").await?;
            let mut found = Vec::new();
            for subnet in subnets_wanted {
                let mine = |interface: &NetworkInterface| {
                    interface.subnet == *subnet
                        && interface.description == spec.description
                        && interface.requester == spec.requester
                };
                match all.iter().find(|(_, interface)| mine(interface)) {
                    Some((_, interface)) => found.push(interface.clone()),
                    None => {
                        let subnet = subnets::find(tx, subnet).await?;
                        found.push(insert(self, tx, &subnet, spec, None).await?);
                    }
                }
            }
            Ok(found)
        })
        .await
    }

    /// Deletes the interfaces that a service has made with this description, but for those in `keep` subnets.
    ///
    /// # Errors
    /// The store's.
    pub async fn remove_interfaces(&self, requester: &str, description: &str, keep: &[String]) -> Result<(), AwsError> {
        self.transact(|mut tx| async move {
            let tx = &mut tx;
            for (id, interface) in tx.list::<NetworkInterface>("").await? {
                let mine = interface.requester.as_deref() == Some(requester) && interface.description == description;
                if mine && !keep.contains(&interface.subnet) {
                    remove(tx, &id).await?;
                }
            }
            Ok(())
        })
        .await
    }
}

pub(crate) async fn describe(call: Call<'_>) -> Result<Value, AwsError> {
    let all = call.tx.list::<NetworkInterface>("").await?;
    let interfaces = with_ids(all, &call.strings("NetworkInterfaceIds"), "eni")?;
    describe_page(&call, interfaces, "NetworkInterfaces", |interface| show(&interface, call.account()))
}

pub(crate) async fn delete(call: Call<'_>) -> Result<Value, AwsError> {
    let id = call.required("NetworkInterfaceId")?;
    let interface = call.tx.get::<NetworkInterface>(&id).await?.ok_or_else(|| error::not_found("eni", &id))?;
    if interface.attachment.is_some() || interface.requester.is_some() {
        let message = format!("Network interface '{id}' is currently in use.");
        return Err(error::client("InvalidParameterValue", message));
    }
    remove(call.tx, &id).await?;
    Ok(json!({}))
}
