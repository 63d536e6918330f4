//! Instance types: a table file, read once. Facts of `DescribeInstanceTypes`.
//!
//! ENIs are those of the default network card, which is what the VPC CNI uses.

use std::sync::LazyLock;

use cloud_wire::AwsError;
use serde_json::{Value, json};

use crate::describe::{Described, describe_page};
use crate::error;
use crate::model::Tags;
use crate::service::Call;
use crate::zones::zones;

/// What a processor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Graviton and other Arm processors: Kubernetes' `arm64`.
    Arm64,
    /// Intel and AMD: Kubernetes' `amd64`.
    X86_64,
}

impl Architecture {
    /// As EC2 writes it.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Arm64 => "arm64",
            Architecture::X86_64 => "x86_64",
        }
    }

    /// As Kubernetes writes it.
    pub fn kubernetes(self) -> &'static str {
        match self {
            Architecture::Arm64 => "arm64",
            Architecture::X86_64 => "amd64",
        }
    }
}

/// One instance type.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceType {
    /// For example `m5.large`.
    pub name: &'static str,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Network interfaces of the default card.
    pub enis: u32,
    /// IPv4 addresses per network interface, the primary included.
    pub ipv4_per_eni: u32,
    /// What it runs.
    pub architecture: Architecture,
    /// Peak network bandwidth in Gbit/s; 0 where AWS gives no number.
    pub network_gbps: f64,
    /// EBS volumes that can be attached; none where the number is not published.
    pub ebs_attachments: Option<u32>,
    /// GPUs.
    pub gpus: u32,
    /// No hypervisor.
    pub bare_metal: bool,
    /// AWS recommends it still.
    pub current_generation: bool,
    /// Built on Nitro.
    pub nitro: bool,
    /// Sold as Spot.
    pub spot: bool,
    /// Works on CPU credits.
    pub burstable: bool,
}

impl InstanceType {
    /// Pods that the VPC CNI can give an address, plus two on the host's network.
    pub fn max_pods(&self) -> u32 {
        self.enis * (self.ipv4_per_eni - 1) + 2
    }

    /// Secondary addresses: pods that can have one of their own.
    pub fn pod_addresses(&self) -> u32 {
        self.enis * (self.ipv4_per_eni - 1)
    }

    /// The part before the dot.
    pub fn family(&self) -> &'static str {
        self.name.split('.').next().unwrap_or_default()
    }
}

/// Sorted by name.
pub static INSTANCE_TYPES: LazyLock<Vec<InstanceType>> = LazyLock::new(|| {
    let lines = include_str!("instance_types.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| read(line).expect("a test reads every line")).collect()
});

fn read(line: &'static str) -> Option<InstanceType> {
    let fields: Vec<&'static str> = line.split(' ').collect();
    let [name, vcpus, memory, enis, ips, architecture, gbps, ebs, gpus, flags] = fields[..] else { return None };
    Some(InstanceType {
        name,
        vcpus: vcpus.parse().ok()?,
        memory_mib: memory.parse().ok()?,
        enis: enis.parse().ok()?,
        ipv4_per_eni: ips.parse().ok()?,
        architecture: match architecture {
            "arm64" => Architecture::Arm64,
            "x86_64" => Architecture::X86_64,
            _ => return None,
        },
        network_gbps: gbps.parse().ok()?,
        ebs_attachments: if ebs == "-" { None } else { Some(ebs.parse().ok()?) },
        gpus: gpus.parse().ok()?,
        bare_metal: flags.contains('b'),
        current_generation: flags.contains('c'),
        nitro: flags.contains('n'),
        spot: flags.contains('s'),
        burstable: flags.contains('t'),
    })
}

/// A type by name.
pub fn find(name: &str) -> Option<&'static InstanceType> {
    INSTANCE_TYPES.binary_search_by(|row| row.name.cmp(name)).ok().map(|row| &INSTANCE_TYPES[row])
}

impl Described for &'static InstanceType {
    fn filter(&self, name: &str) -> Option<Vec<String>> {
        let one = |text: &str| Some(vec![text.to_owned()]);
        match name {
            "instance-type" => one(self.name),
            "bare-metal" => one(&self.bare_metal.to_string()),
            "burstable-performance-supported" => one(&self.burstable.to_string()),
            "current-generation" => one(&self.current_generation.to_string()),
            "hypervisor" => one(if self.nitro { "nitro" } else { "xen" }),
            "memory-info.size-in-mib" => one(&self.memory_mib.to_string()),
            "network-info.ipv4-addresses-per-interface" => one(&self.ipv4_per_eni.to_string()),
            "network-info.maximum-network-interfaces" => one(&self.enis.to_string()),
            "processor-info.supported-architecture" => one(self.architecture.name()),
            "supported-root-device-type" => one("ebs"),
            "supported-usage-class" => Some(if self.spot {
                vec!["on-demand".to_owned(), "spot".to_owned()]
            } else {
                vec!["on-demand".to_owned()]
            }),
            "supported-virtualization-type" => one("hvm"),
            "vcpu-info.default-vcpus" => one(&self.vcpus.to_string()),
            _ => None,
        }
    }

    fn tags(&self) -> Option<&Tags> {
        None
    }
}

fn show(row: &InstanceType) -> Value {
    let classes = if row.spot { json!(["on-demand", "spot"]) } else { json!(["on-demand"]) };
    let mut json = json!({
        "InstanceType": row.name,
        "CurrentGeneration": row.current_generation,
        "SupportedUsageClasses": classes,
        "SupportedRootDeviceTypes": ["ebs"],
        "SupportedVirtualizationTypes": ["hvm"],
        "BareMetal": row.bare_metal,
        "ProcessorInfo": {"SupportedArchitectures": [row.architecture.name()]},
        "VCpuInfo": {"DefaultVCpus": row.vcpus},
        "MemoryInfo": {"SizeInMiB": row.memory_mib},
        "BurstablePerformanceSupported": row.burstable,
        "NetworkInfo": {
            "NetworkPerformance": format!("{} Gigabit", row.network_gbps),
            "MaximumNetworkInterfaces": row.enis,
            "MaximumNetworkCards": 1,
            "DefaultNetworkCardIndex": 0,
            "NetworkCards": [{
                "NetworkCardIndex": 0, "NetworkPerformance": format!("{} Gigabit", row.network_gbps),
                "MaximumNetworkInterfaces": row.enis,
            }],
            "Ipv4AddressesPerInterface": row.ipv4_per_eni,
            "Ipv6AddressesPerInterface": row.ipv4_per_eni,
            "Ipv6Supported": row.nitro,
        },
    });
    if row.nitro && !row.bare_metal {
        json["Hypervisor"] = json!("nitro");
    }
    if let Some(volumes) = row.ebs_attachments {
        json["EbsInfo"] = json!({"MaximumEbsAttachments": volumes});
    }
    if row.gpus > 0 {
        json["GpuInfo"] = json!({"Gpus": [{"Count": row.gpus}]});
    }
    json
}

pub(crate) async fn describe(call: Call<'_>) -> Result<Value, AwsError> {
    let wanted: Vec<String> = call.strings("InstanceTypes");
    if let Some(unknown) = wanted.iter().find(|name| find(name).is_none()) {
        return Err(error::client(
            "InvalidInstanceType",
            format!("The following supplied instance types do not exist: [{unknown}]"),
        ));
    }
    let items = INSTANCE_TYPES
        .iter()
        .filter(|row| wanted.is_empty() || wanted.iter().any(|name| name == row.name))
        .map(|row| (row.name.to_owned(), row))
        .collect();
    describe_page(&call, items, "InstanceTypes", show)
}

/// An offering: a type in a place.
struct Offering {
    kind: &'static str,
    location: String,
    location_type: &'static str,
}

impl Described for Offering {
    fn filter(&self, name: &str) -> Option<Vec<String>> {
        match name {
            "instance-type" => Some(vec![self.kind.to_owned()]),
            "location" => Some(vec![self.location.clone()]),
            _ => None,
        }
    }

    fn tags(&self) -> Option<&Tags> {
        None
    }
}

/// Every type is offered in every zone.
pub(crate) async fn describe_offerings(call: Call<'_>) -> Result<Value, AwsError> {
    let region = call.ec2.region().to_owned();
    let (location_type, locations) = match call.text("LocationType") {
        Some("availability-zone") => ("availability-zone", zones(&region).into_iter().map(|zone| zone.name).collect()),
        Some("availability-zone-id") => {
            ("availability-zone-id", zones(&region).into_iter().map(|zone| zone.id).collect())
        }
        _ => ("region", vec![region]),
    };
    let mut items = Vec::new();
    for row in INSTANCE_TYPES.iter() {
        for location in &locations {
            let offering = Offering { kind: row.name, location: location.clone(), location_type };
            items.push((format!("{}/{location}", row.name), offering));
        }
    }
    items.sort_by(|a, b| a.0.cmp(&b.0));
    describe_page(
        &call,
        items,
        "InstanceTypeOfferings",
        |offering| json!({"InstanceType": offering.kind, "LocationType": offering.location_type, "Location": offering.location}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_line_is_read_and_sorted() {
        assert!(INSTANCE_TYPES.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(
            INSTANCE_TYPES
                .iter()
                .all(|row| row.enis > 0 && row.ipv4_per_eni > 1 && row.memory_mib > 0 && row.vcpus > 0)
        );
        for family in [
            "c5", "c6g", "c6i", "c7i", "m5", "m5a", "m6a", "m6g", "m6i", "m7g", "m7i", "r5", "r6g", "r6i", "r7i", "t3",
            "t3a", "t4g",
        ] {
            assert!(INSTANCE_TYPES.iter().filter(|row| row.family() == family).count() >= 7, "{family}");
        }
        assert_eq!(find("t3.medium").map(|row| (row.vcpus, row.memory_mib, row.max_pods())), Some((2, 4096, 17)));
        assert_eq!(find("m5.huge"), None);
    }

    #[test]
    fn max_pods_are_those_of_the_vpc_cni() {
        let data = std::env::var("MINATO_TEST_DATA")
            .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data").to_owned());
        let Ok(text) = std::fs::read_to_string(format!("{data}/vpc-cni/eni-max-pods.txt")) else {
            println!("skipped: no test data in {data}");
            return;
        };
        let pods: BTreeMap<&str, u32> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(name, pods)| Some((name, pods.trim().parse().ok()?)))
            .collect();
        assert!(pods.len() > 1000);
        for row in INSTANCE_TYPES.iter() {
            assert_eq!(pods.get(row.name), Some(&row.max_pods()), "{}", row.name);
        }
    }
}
