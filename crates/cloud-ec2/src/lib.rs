//! AWS EC2 as far as clusters need it: the VPC and its subnets, security groups, network interfaces with their addresses,
//! instance types and instances.
//!
//! [`Ec2`] answers the API, and gives node groups what Auto Scaling would give them: instances that live in subnets, take
//! addresses and change state in time. It knows nothing of clusters or Kubernetes.

mod addresses;
mod bootstrap;
mod cidr;
mod describe;
mod error;
mod gateways;
mod instance_types;
mod instances;
mod launch;
mod lifecycle;
mod model;
mod network_interfaces;
mod pod_addresses;
mod security_groups;
mod service;
mod subnets;
mod tags;
mod vpcs;
mod zones;

pub use addresses::AddressPool;
pub use cidr::{Cidr, ParseCidrError};
pub use instance_types::{Architecture, INSTANCE_TYPES, InstanceType, find as find_instance_type};
pub use launch::{LaunchSpec, Launched};
pub use lifecycle::{InstanceChange, InstanceWatch, Pace};
pub use model::{CapacityType, Instance, InstanceState, NetworkInterface, SecurityGroup, Subnet, Tags, Vpc};
pub use network_interfaces::InterfaceSpec;
pub use service::{Ec2, Ec2Operation};
pub use zones::{Zone, zones};

#[cfg(test)]
mod tests;
