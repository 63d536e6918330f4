//! Regions and their zones: three per region, as every account in a region with EKS has.

use cloud_wire::AwsError;
use serde_json::{Value, json};

use crate::describe::{Described, describe_page};
use crate::error;
use crate::model::Tags;
use crate::service::Call;

/// A zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// `us-east-1a`.
    pub name: String,
    /// `use1-az1`: the same place in every account.
    pub id: String,
}

/// Regions that EC2 lists. Alphabetical.
static REGIONS: &[&str] = &[
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
];

/// Zone numbers per region. Accounts get different ones; these leave out where EKS has no control planes (use1-az3, usw1-az2,
/// cac1-az3), so that the default VPC is good for a cluster.
fn numbers(region: &str) -> [u8; 3] {
    match region {
        "us-east-1" | "ca-central-1" => [1, 2, 4],
        "us-west-1" => [1, 3, 4],
        _ => [1, 2, 3],
    }
}

/// The zones of a region, in order.
pub fn zones(region: &str) -> Vec<Zone> {
    let short = short_name(region);
    let numbers = numbers(region);
    (0..3u8)
        .map(|n| Zone {
            name: format!("{region}{}", char::from(b'a' + n)),
            id: format!("{short}-az{}", numbers[usize::from(n)]),
        })
        .collect()
}

/// `us-east-1` is `use1`, `ap-northeast-1` is `apne1`.
fn short_name(region: &str) -> String {
    let mut short = String::new();
    for (n, part) in region.split('-').enumerate() {
        match part {
            _ if n == 0 => short.push_str(part),
            "northeast" => short.push_str("ne"),
            "northwest" => short.push_str("nw"),
            "southeast" => short.push_str("se"),
            "southwest" => short.push_str("sw"),
            _ => short.extend(part.chars().next()),
        }
    }
    short
}

struct Shown {
    zone: Zone,
    region: String,
}

impl Described for Shown {
    fn filter(&self, name: &str) -> Option<Vec<String>> {
        match name {
            "group-name" | "region-name" => Some(vec![self.region.clone()]),
            "opt-in-status" => Some(vec!["opt-in-not-required".to_owned()]),
            "state" => Some(vec!["available".to_owned()]),
            "zone-id" => Some(vec![self.zone.id.clone()]),
            "zone-name" => Some(vec![self.zone.name.clone()]),
            "zone-type" => Some(vec!["availability-zone".to_owned()]),
            _ => None,
        }
    }

    fn tags(&self) -> Option<&Tags> {
        None
    }
}

pub(crate) async fn describe_zones(call: Call<'_>) -> Result<Value, AwsError> {
    let region = call.ec2.region().to_owned();
    let all = zones(&region);
    let (names, ids) = (call.strings("ZoneNames"), call.strings("ZoneIds"));
    for name in &names {
        if !all.iter().any(|zone| zone.name == *name) {
            return Err(error::client("InvalidParameterValue", format!("Invalid availability zone: [{name}]")));
        }
    }
    for id in &ids {
        if !all.iter().any(|zone| zone.id == *id) {
            return Err(error::client("InvalidParameterValue", format!("Invalid availability zone-id: [{id}]")));
        }
    }
    let items = all
        .into_iter()
        .filter(|zone| (names.is_empty() || names.contains(&zone.name)) && (ids.is_empty() || ids.contains(&zone.id)))
        .map(|zone| (zone.name.clone(), Shown { zone, region: region.clone() }))
        .collect();
    describe_page(&call, items, "AvailabilityZones", |shown| {
        json!({
            "ZoneName": shown.zone.name, "ZoneId": shown.zone.id, "RegionName": shown.region, "State": "available", "Messages": [],
            "OptInStatus": "opt-in-not-required", "ZoneType": "availability-zone", "GroupName": format!("{}-zg-1", shown.region),
            "NetworkBorderGroup": shown.region,
        })
    })
}

struct Region(String);

impl Described for Region {
    fn filter(&self, name: &str) -> Option<Vec<String>> {
        match name {
            "endpoint" => Some(vec![format!("ec2.{}.amazonaws.com", self.0)]),
            "opt-in-status" => Some(vec!["opt-in-not-required".to_owned()]),
            "region-name" => Some(vec![self.0.clone()]),
            _ => None,
        }
    }

    fn tags(&self) -> Option<&Tags> {
        None
    }
}

pub(crate) async fn describe_regions(call: Call<'_>) -> Result<Value, AwsError> {
    let own = call.ec2.region().to_owned();
    let mut all: std::collections::BTreeSet<String> = REGIONS.iter().map(|name| (*name).to_owned()).collect();
    all.insert(own);
    let names = call.strings("RegionNames");
    if let Some(name) = names.iter().find(|name| !all.contains(*name)) {
        return Err(error::client("InvalidParameterValue", format!("Invalid region provided: {name}")));
    }
    let items = all
        .into_iter()
        .filter(|name| names.is_empty() || names.contains(name))
        .map(|name| (name.clone(), Region(name)))
        .collect();
    describe_page(
        &call,
        items,
        "Regions",
        |Region(name)| json!({"RegionName": name, "Endpoint": format!("ec2.{name}.amazonaws.com"), "OptInStatus": "opt-in-not-required"}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_ids_are_those_of_aws() {
        for (region, first, last) in [
            ("us-east-1", "use1-az1", "use1-az4"),
            ("ap-northeast-1", "apne1-az1", "apne1-az3"),
            ("eu-central-1", "euc1-az1", "euc1-az3"),
            ("ap-southeast-2", "apse2-az1", "apse2-az3"),
        ] {
            let zones = zones(region);
            assert_eq!((zones[0].id.as_str(), zones[2].id.as_str()), (first, last));
            assert_eq!(zones[1].name, format!("{region}b"));
        }
    }
}
