//! Stored types of EC2. Everything that belongs to a thing, tags too, is in its one record.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use cloud_iam::records::Record;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use world::Timestamp;

use crate::cidr::Cidr;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

pub(crate) fn tags_json(tags: &Tags) -> Value {
    tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect()
}

/// A virtual network. Stored under its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vpc {
    /// `vpc-…`.
    pub id: String,
    /// Its network.
    pub cidr: Cidr,
    /// The one that AWS made.
    pub default: bool,
    /// Instances get DNS names.
    pub dns_hostnames: bool,
    /// The resolver at `.2` answers.
    pub dns_support: bool,
    /// Its default security group.
    pub default_group: String,
    /// Its main route table.
    pub main_route_table: String,
    /// Tags.
    pub tags: Tags,
}

impl Record for Vpc {
    const KIND: &'static str = "vpc";
}

/// A subnet: part of a VPC in one zone. Stored under its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subnet {
    /// `subnet-…`.
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// Its network.
    pub cidr: Cidr,
    /// `us-east-1a`.
    pub zone: String,
    /// `use1-az1`.
    pub zone_id: String,
    /// One of the default subnets.
    pub default: bool,
    /// Instances get public addresses.
    pub public_ips: bool,
    /// Tags.
    pub tags: Tags,
}

impl Record for Subnet {
    const KIND: &'static str = "subnet";
}

/// A rule of a security group for one protocol and span of ports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    /// `tcp`, `udp`, `icmp`, a number, or `-1` for all.
    pub protocol: String,
    /// First port.
    pub from: Option<i64>,
    /// Last port.
    pub to: Option<i64>,
    /// Whom it is about.
    pub peer: Peer,
    /// Free text.
    pub description: Option<String>,
}

/// The other side of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Peer {
    /// An IPv4 network.
    Ipv4(String),
    /// An IPv6 network.
    Ipv6(String),
    /// Whatever is in this group.
    Group(String),
}

/// A security group. Stored under its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// `sg-…`.
    pub id: String,
    /// Unique in its VPC.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Its VPC.
    pub vpc: String,
    /// What may come in.
    pub ingress: BTreeSet<Rule>,
    /// What may go out.
    pub egress: BTreeSet<Rule>,
    /// Tags.
    pub tags: Tags,
}

impl Record for SecurityGroup {
    const KIND: &'static str = "sg";
}

/// A gateway to the internet. Stored under its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InternetGateway {
    /// `igw-…`.
    pub id: String,
    /// Where it is attached.
    pub vpc: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl Record for InternetGateway {
    const KIND: &'static str = "igw";
}

/// A route table. Stored under its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteTable {
    /// `rtb-…`.
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// The VPC's network goes to `local`; others by destination to a gateway's id.
    pub routes: BTreeMap<String, String>,
    /// Subnets by association id.
    pub associations: BTreeMap<String, String>,
    /// The association that makes it the main table.
    pub main: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl Record for RouteTable {
    const KIND: &'static str = "rtb";
}

/// A network interface. Stored under its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkInterface {
    /// `eni-…`.
    pub id: String,
    /// Its subnet.
    pub subnet: String,
    /// Its VPC.
    pub vpc: String,
    /// Its zone.
    pub zone: String,
    /// Six bytes in hexadecimal with colons.
    pub mac: String,
    /// Primary address.
    pub address: Ipv4Addr,
    /// Further addresses, for pods.
    pub secondary: BTreeSet<Ipv4Addr>,
    /// Security groups.
    pub groups: Vec<String>,
    /// The instance and the device index there.
    pub attachment: Option<Attachment>,
    /// Free text, for example `Amazon EKS blue`.
    pub description: String,
    /// Who made it, when a service did: such interfaces only the service may delete.
    pub requester: Option<String>,
    /// Tags.
    pub tags: Tags,
}

/// Where an interface is attached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attachment {
    /// `eni-attach-…`.
    pub id: String,
    /// `i-…`.
    pub instance: String,
    /// 0 is the primary interface.
    pub device: u32,
}

impl Record for NetworkInterface {
    const KIND: &'static str = "eni";
}

/// Where an instance stands. `pending → running → shutting-down → terminated`; each may also go to `shutting-down`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// It boots.
    Pending,
    /// It runs.
    Running,
    /// It ends.
    ShuttingDown,
    /// It has ended and is shown for a while.
    Terminated,
}

impl InstanceState {
    /// As EC2 writes it.
    pub fn name(self) -> &'static str {
        match self {
            InstanceState::Pending => "pending",
            InstanceState::Running => "running",
            InstanceState::ShuttingDown => "shutting-down",
            InstanceState::Terminated => "terminated",
        }
    }

    fn code(self) -> u8 {
        match self {
            InstanceState::Pending => 0,
            InstanceState::Running => 16,
            InstanceState::ShuttingDown => 32,
            InstanceState::Terminated => 48,
        }
    }

    pub(crate) fn json(self) -> Value {
        json!({"Code": self.code(), "Name": self.name()})
    }

    /// Whether it counts for whoever wants instances.
    pub fn is_live(self) -> bool {
        matches!(self, InstanceState::Pending | InstanceState::Running)
    }
}

/// How capacity is bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CapacityType {
    /// By the second.
    OnDemand,
    /// Cheap, and taken away with two minutes' notice.
    Spot,
}

/// An instance. Stored under its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// `i-…`.
    pub id: String,
    /// `r-…`: instances of one launch share it.
    pub reservation: String,
    /// For example `m5.large`.
    pub instance_type: String,
    /// Where it stands.
    pub state: InstanceState,
    /// When the state changes by itself, in microseconds since the epoch.
    pub due: Option<i64>,
    /// When it was launched, in microseconds since the epoch.
    pub launched: i64,
    /// Its VPC.
    pub vpc: String,
    /// The subnet of its primary interface.
    pub subnet: String,
    /// `us-east-1a`.
    pub zone: String,
    /// `use1-az1`.
    pub zone_id: String,
    /// Primary address; stays known after the end.
    pub private_ip: Ipv4Addr,
    /// `ip-172-31-5-9.ec2.internal`.
    pub private_dns: String,
    /// Ids of its interfaces, by device index.
    pub interfaces: Vec<String>,
    /// Addresses that its secondary ones may use for pods.
    pub groups: Vec<String>,
    /// `ami-…`.
    pub image: String,
    /// ARN of the instance profile.
    pub profile: Option<String>,
    /// ARN of the role, for those who ask the metadata service.
    pub role: Option<String>,
    /// How it is paid.
    pub capacity: CapacityType,
    /// Who wants it, for example `eks/blue/workers`; empty for nobody's.
    pub owner: String,
    /// Which configuration of its owner it was launched with.
    pub revision: String,
    /// Why it ended.
    pub reason: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl Record for Instance {
    const KIND: &'static str = "instance";
}

impl Instance {
    /// When it was launched.
    pub fn launched_at(&self) -> Timestamp {
        Timestamp::from_micros(self.launched)
    }

    /// `aws:///us-east-1a/i-…`, the provider id of its Kubernetes node.
    pub fn provider_id(&self) -> String {
        format!("aws:///{}/{}", self.zone, self.id)
    }
}

/// Says that an owner has an instance; stored under owner and instance id, so that owners find theirs quickly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Owned {
    pub(crate) instance: String,
}

impl Record for Owned {
    const KIND: &'static str = "owned";
}
