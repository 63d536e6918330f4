//! What an instance becomes as a node: capacity, reservations, labels, taints, as the EKS AMI's bootstrap (nodeadm) sets
//! them up. Pure: facts of the instance and its node group in, facts of the node out.

use std::collections::BTreeMap;

use k8s_object::Quantity;
use k8s_object::views::Taint;

/// What is known of an instance and of the node group that it belongs to.
#[derive(Debug, Clone)]
pub struct InstanceFacts {
    pub instance_id: String,
    pub instance_type: String,
    pub vcpus: u32,
    pub memory_mib: u64,
    /// `amd64` or `arm64`.
    pub architecture: String,
    /// Addresses for pods by the ENI formula, before the cap of managed node groups.
    pub eni_max_pods: u32,
    pub region: String,
    pub zone: String,
    pub zone_id: String,
    pub private_dns_name: String,
    pub disk_gib: u64,
    pub node_group: String,
    /// `ON_DEMAND` or `SPOT`.
    pub capacity_type: String,
    pub image_id: String,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
}

/// How `spec.providerID` begins of every node of an instance.
pub(crate) const PROVIDER: &str = "aws:///";

/// Share of an instance's memory that its kernel and firmware keep, in thousandths (Karpenter's default estimate, 7.5 %).
const MEMORY_OVERHEAD_PER_MILLE: u64 = 75;
/// Memory below which the kubelet evicts, in MiB (nodeadm `evictionHard` `memory.available`).
const EVICTION_MEMORY_MIB: u64 = 100;
/// Share of the disk below which the kubelet evicts, in per cent (nodeadm `evictionHard` `nodefs.available`).
const EVICTION_DISK_PERCENT: u64 = 10;
/// Disk kept for the system, in GiB (nodeadm `kubeReserved` `ephemeral-storage`).
const RESERVED_DISK_GIB: u64 = 1;
/// Most pods on a node of a managed node group, below and from 30 vCPUs on (EKS user guide, "choosing an instance type").
const MANAGED_MAX_PODS: (u32, u32) = (110, 250);

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

impl InstanceFacts {
    /// How many pods the kubelet takes.
    pub fn max_pods(&self) -> u32 {
        let cap = if self.vcpus < 30 { MANAGED_MAX_PODS.0 } else { MANAGED_MAX_PODS.1 };
        self.eni_max_pods.min(cap)
    }

    /// `status.capacity`.
    pub fn capacity(&self) -> BTreeMap<String, Quantity> {
        let memory = self.memory_mib * MIB / 1000 * (1000 - MEMORY_OVERHEAD_PER_MILLE);
        self.resources(u64::from(self.vcpus) * 1000, memory / 1024 * 1024, self.disk_gib * GIB)
    }

    /// `status.allocatable`: capacity less what nodeadm reserves and what the kubelet keeps free.
    pub fn allocatable(&self) -> BTreeMap<String, Quantity> {
        let memory = bytes(&self.capacity(), "memory");
        let reserved = (reserved_memory_mib(self.max_pods()) + EVICTION_MEMORY_MIB) * MIB;
        let disk = self.disk_gib * GIB;
        let disk = (disk - disk * EVICTION_DISK_PERCENT / 100).saturating_sub(RESERVED_DISK_GIB * GIB);
        let cpu = u64::from(self.vcpus) * 1000 - reserved_cpu_millis(self.vcpus);
        self.resources(cpu, memory.saturating_sub(reserved), disk)
    }

    fn resources(&self, cpu_millis: u64, memory_bytes: u64, disk_bytes: u64) -> BTreeMap<String, Quantity> {
        let quantity = |amount: u64| Quantity::units(i64::try_from(amount).unwrap_or(i64::MAX));
        BTreeMap::from([
            ("cpu".to_owned(), Quantity::millis(i64::try_from(cpu_millis).unwrap_or(i64::MAX))),
            ("ephemeral-storage".to_owned(), quantity(disk_bytes)),
            ("hugepages-1Gi".to_owned(), Quantity::ZERO),
            ("hugepages-2Mi".to_owned(), Quantity::ZERO),
            ("memory".to_owned(), quantity(memory_bytes)),
            ("pods".to_owned(), quantity(u64::from(self.max_pods()))),
        ])
    }

    /// The labels with which the kubelet registers: its own, EKS's, and the node group's.
    pub fn node_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        for (key, value) in [
            ("beta.kubernetes.io/arch", self.architecture.as_str()),
            ("beta.kubernetes.io/instance-type", &self.instance_type),
            ("beta.kubernetes.io/os", "linux"),
            ("eks.amazonaws.com/capacityType", &self.capacity_type),
            ("eks.amazonaws.com/nodegroup", &self.node_group),
            ("eks.amazonaws.com/nodegroup-image", &self.image_id),
            ("failure-domain.beta.kubernetes.io/region", &self.region),
            ("failure-domain.beta.kubernetes.io/zone", &self.zone),
            ("kubernetes.io/arch", &self.architecture),
            ("kubernetes.io/hostname", &self.private_dns_name),
            ("kubernetes.io/os", "linux"),
            ("node.kubernetes.io/instance-type", &self.instance_type),
            ("topology.k8s.aws/zone-id", &self.zone_id),
            ("topology.kubernetes.io/region", &self.region),
            ("topology.kubernetes.io/zone", &self.zone),
        ] {
            if !value.is_empty() {
                labels.insert(key.to_owned(), value.to_owned());
            }
        }
        labels
    }

    /// `spec.providerID`.
    pub fn provider_id(&self) -> String {
        format!("{PROVIDER}{}/{}", self.zone, self.instance_id)
    }
}

fn bytes(resources: &BTreeMap<String, Quantity>, name: &str) -> u64 {
    resources.get(name).and_then(|quantity| u64::try_from(quantity.value()).ok()).unwrap_or(0)
}

/// nodeadm `kubeReserved` `memory`, in MiB.
fn reserved_memory_mib(max_pods: u32) -> u64 {
    11 * u64::from(max_pods) + 255
}

/// nodeadm `kubeReserved` `cpu`, in thousandths: 6 % of the first core, 1 % of the second, 0.5 % of the next two, 0.25 % of the
/// rest, each range rounded down by itself.
fn reserved_cpu_millis(vcpus: u32) -> u64 {
    // Up to which core, and how many hundredths of a per cent of each.
    const RANGES: [(u32, u64); 4] = [(1, 600), (2, 100), (4, 50), (u32::MAX, 25)];
    let mut from = 0;
    let mut reserved = 0;
    for (to, hundredths) in RANGES {
        let cores = vcpus.min(to).saturating_sub(from);
        reserved += u64::from(cores) * 1000 * hundredths / 10_000;
        from = to;
    }
    reserved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(vcpus: u32, memory_mib: u64, eni_max_pods: u32) -> InstanceFacts {
        InstanceFacts {
            instance_id: "i-1".into(),
            instance_type: "m5.large".into(),
            vcpus,
            memory_mib,
            architecture: "amd64".into(),
            eni_max_pods,
            region: "us-east-1".into(),
            zone: "us-east-1a".into(),
            zone_id: "use1-az1".into(),
            private_dns_name: "ip-10-0-0-1.ec2.internal".into(),
            disk_gib: 20,
            node_group: "workers".into(),
            capacity_type: "ON_DEMAND".into(),
            image_id: "ami-1".into(),
            labels: BTreeMap::from([("team".into(), "a".into())]),
            taints: Vec::new(),
        }
    }

    /// vCPUs, pods by ENIs → reserved CPU in thousandths, reserved memory in MiB, pods of a managed node: what nodeadm computes
    /// for t3.nano, t3.medium, m5.large, m5.xlarge, m5.2xlarge, c5.9xlarge, m5.24xlarge.
    #[test]
    fn reservations_are_nodeadms() {
        for (vcpus, eni, cpu, memory, pods) in [
            (2, 4, 70, 299, 4),
            (2, 17, 70, 442, 17),
            (2, 29, 70, 574, 29),
            (4, 58, 80, 893, 58),
            (8, 58, 90, 893, 58),
            (36, 234, 160, 2829, 234),
            (96, 737, 310, 3005, 250),
        ] {
            let facts = facts(vcpus, 8192, eni);
            assert_eq!(facts.max_pods(), pods, "{vcpus} vCPUs");
            assert_eq!(
                (reserved_cpu_millis(vcpus), reserved_memory_mib(pods)),
                (cpu, memory),
                "{vcpus} vCPUs, {pods} pods"
            );
        }
    }

    #[test]
    fn allocatable_is_what_is_left() {
        let facts = facts(2, 8192, 29);
        let (capacity, allocatable) = (facts.capacity(), facts.allocatable());
        assert_eq!((capacity["cpu"].milli(), allocatable["cpu"].milli()), (2000, 1930));
        assert_eq!(capacity["memory"].value() - allocatable["memory"].value(), (574 + 100) << 20);
        assert_eq!(allocatable["ephemeral-storage"].value(), 17 << 30);
        assert_eq!(allocatable["pods"].value(), 29);
        assert!(capacity.iter().all(|(name, whole)| allocatable[name] <= *whole));
    }

    #[test]
    fn labels_are_those_of_eks_and_a_group_cannot_forge_them() {
        let mut facts = facts(2, 8192, 29);
        facts.labels.insert("topology.kubernetes.io/zone".into(), "elsewhere".into());
        let labels = facts.node_labels();
        assert_eq!(labels["topology.kubernetes.io/zone"], "us-east-1a");
        assert_eq!((labels["team"].as_str(), labels["eks.amazonaws.com/nodegroup"].as_str()), ("a", "workers"));
        assert_eq!(facts.provider_id(), "aws:///us-east-1a/i-1");
    }
}
