//! Describing and terminating instances through the API.

use cloud_iam::records::Tx;
use cloud_wire::AwsError;
use serde_json::{Value, json};

use crate::describe::{Described, describe_page, with_ids};
use crate::error;
use crate::instance_types;
use crate::launch;
use crate::model::{CapacityType, Instance, InstanceState, NetworkInterface, Tags, tags_json};
use crate::network_interfaces;
use crate::service::{Call, Ec2};

/// Instances in one TerminateInstances: what fits into one transaction. EC2 takes a thousand.
const MAX_TERMINATED: usize = 100;

impl Described for Instance {
    fn filter(&self, name: &str) -> Option<Vec<String>> {
        let value = match name {
            "architecture" => instance_types::find(&self.instance_type)?.architecture.name().to_owned(),
            "availability-zone" => self.zone.clone(),
            "iam-instance-profile.arn" => return Some(self.profile.iter().cloned().collect()),
            "image-id" => self.image.clone(),
            "instance-id" => self.id.clone(),
            "instance-lifecycle" => return Some(self.lifecycle().map(str::to_owned).into_iter().collect()),
            "instance-state-name" => self.state.name().to_owned(),
            "instance-type" => self.instance_type.clone(),
            "instance.group-id" | "network-interface.group-id" => return Some(self.groups.clone()),
            "network-interface.network-interface-id" => return Some(self.interfaces.clone()),
            "network-interface.private-dns-name" | "private-dns-name" => self.private_dns.clone(),
            "private-ip-address" => self.private_ip.to_string(),
            "reservation-id" => self.reservation.clone(),
            "subnet-id" => self.subnet.clone(),
            "vpc-id" => self.vpc.clone(),
            _ => return None,
        };
        Some(vec![value])
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

impl Instance {
    fn lifecycle(&self) -> Option<&'static str> {
        match self.capacity {
            CapacityType::OnDemand => None,
            CapacityType::Spot => Some("spot"),
        }
    }
}

fn show(instance: &Instance, interfaces: &[NetworkInterface], account: &str) -> Value {
    let ended = instance.state == InstanceState::Terminated;
    let groups: Vec<Value> = instance.groups.iter().map(|id| json!({ "GroupId": id })).collect();
    let interfaces: Vec<Value> =
        interfaces.iter().map(|interface| network_interfaces::show_in_instance(interface, account)).collect();
    let mut json = json!({
        "InstanceId": instance.id, "InstanceType": instance.instance_type, "ImageId": instance.image,
        "State": instance.state.json(), "LaunchTime": instance.launched_at().seconds(), "AmiLaunchIndex": 0,
        "Placement": {"AvailabilityZone": instance.zone, "AvailabilityZoneId": instance.zone_id, "Tenancy": "default", "GroupName": ""},
        "Monitoring": {"State": "disabled"}, "PublicDnsName": "", "PrivateDnsName": if ended { "" } else { &instance.private_dns },
        "StateTransitionReason": instance.reason.clone().unwrap_or_default(), "NetworkInterfaces": interfaces,
        "SecurityGroups": if ended { json!([]) } else { json!(groups) }, "RootDeviceType": "ebs", "RootDeviceName": "/dev/xvda",
        "VirtualizationType": "hvm", "Hypervisor": "xen", "EbsOptimized": true, "EnaSupport": true, "SourceDestCheck": true,
        "ProductCodes": [], "BlockDeviceMappings": [], "Tags": tags_json(&instance.tags),
        "PrivateDnsNameOptions": {"HostnameType": "ip-name"},
        "MetadataOptions": {"State": "applied", "HttpTokens": "required", "HttpPutResponseHopLimit": 2, "HttpEndpoint": "enabled"},
    });
    if !ended {
        json["PrivateIpAddress"] = json!(instance.private_ip.to_string());
        json["SubnetId"] = json!(instance.subnet);
        json["VpcId"] = json!(instance.vpc);
    }
    if let Some(row) = instance_types::find(&instance.instance_type) {
        json["Architecture"] = json!(row.architecture.name());
    }
    if let Some(lifecycle) = instance.lifecycle() {
        json["InstanceLifecycle"] = json!(lifecycle);
    }
    if let Some(profile) = &instance.profile {
        json["IamInstanceProfile"] = json!({ "Arn": profile });
    }
    if let Some(reason) = &instance.reason {
        json["StateReason"] = json!({"Code": "Client.UserInitiatedShutdown", "Message": reason});
    }
    json
}

/// Instances of one launch share a reservation; pages are cut by instance, as EC2 does when asked for pages.
pub(crate) async fn describe(call: Call<'_>) -> Result<Value, AwsError> {
    let instances = with_ids(call.tx.list::<Instance>("").await?, &call.strings("InstanceIds"), "i")?;
    let mut page = describe_page(&call, instances, "Instances", |instance| json!(instance.id))?;
    let ids: Vec<String> =
        page["Instances"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let mut reservations: Vec<(String, Vec<Value>)> = Vec::new();
    for id in ids {
        let instance = find(call.tx, &id).await?;
        let mut interfaces = Vec::new();
        for id in &instance.interfaces {
            interfaces.extend(call.tx.get::<NetworkInterface>(id).await?);
        }
        let shown = show(&instance, &interfaces, call.account());
        match reservations.iter_mut().find(|(reservation, _)| *reservation == instance.reservation) {
            Some((_, list)) => list.push(shown),
            None => reservations.push((instance.reservation, vec![shown])),
        }
    }
    let reservations: Vec<Value> = reservations
        .into_iter()
        .map(|(id, list)| json!({"ReservationId": id, "OwnerId": call.account(), "Groups": [], "Instances": list}))
        .collect();
    if let Some(object) = page.as_object_mut() {
        object.remove("Instances");
        object.insert("Reservations".to_owned(), Value::Array(reservations));
    }
    Ok(page)
}

pub(crate) async fn find(tx: &mut Tx, id: &str) -> Result<Instance, AwsError> {
    tx.get::<Instance>(id).await?.ok_or_else(|| error::not_found("i", id))
}

pub(crate) async fn terminate(call: Call<'_>) -> Result<Value, AwsError> {
    let ids = call.strings("InstanceIds");
    if ids.len() > MAX_TERMINATED {
        return Err(error::invalid(format!("At most {MAX_TERMINATED} instances can be terminated in one call.")));
    }
    let mut changes = Vec::new();
    for id in ids {
        let before = find(call.tx, &id).await?.state;
        let after =
            launch::shut_down(call.ec2, call.tx, &id, "Client.UserInitiatedShutdown: User initiated shutdown").await?;
        changes.push(json!({"InstanceId": id, "PreviousState": before.json(), "CurrentState": after.json()}));
    }
    Ok(json!({ "TerminatingInstances": changes }))
}

impl Ec2 {
    /// An instance by id.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`.
    pub async fn instance(&self, id: &str) -> Result<Instance, AwsError> {
        find(&mut Tx::new(&self.0.space), id).await
    }
}
