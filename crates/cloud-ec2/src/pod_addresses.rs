//! Secondary addresses of a node for its pods, as the VPC CNI takes them: spread over as many interfaces as they need, up to
//! what the instance type has, from the subnet that others take theirs from too.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use cloud_wire::AwsError;

use crate::error;
use crate::instance_types;
use crate::instances;
use crate::model::NetworkInterface;
use crate::network_interfaces::{self, InterfaceSpec};
use crate::service::Ec2;
use crate::subnets;

impl Ec2 {
    /// Gives an instance more secondary addresses, and returns the new ones: fewer than asked for when the instance type allows no
    /// more or the subnet is empty, and none when neither has any left.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`, `IncorrectInstanceState`; the store's.
    pub async fn assign_pod_addresses(&self, instance: &str, count: usize) -> Result<Vec<Ipv4Addr>, AwsError> {
        self.transact(|mut tx| async move {
            let tx = &mut tx;
            let mut instance = instances::find(tx, instance).await?;
            if !instance.state.is_live() {
                return Err(error::client(
                    "IncorrectInstanceState",
                    format!("The instance '{}' is not in a state from which addresses can be assigned.", instance.id),
                ));
            }
            let limits = instance_types::find(&instance.instance_type).ok_or_else(|| {
                error::invalid(format!("Invalid value '{}' for InstanceType.", instance.instance_type))
            })?;
            let per_interface = usize::try_from(limits.ipv4_per_eni - 1).unwrap_or(usize::MAX);
            let mut assigned = Vec::new();
            let mut at = 0;
            while assigned.len() < count {
                let mut interface = match instance.interfaces.get(at) {
                    Some(id) => tx.get::<NetworkInterface>(id).await?.ok_or_else(|| error::not_found("eni", id))?,
                    None if at >= usize::try_from(limits.enis).unwrap_or(usize::MAX) => break,
                    None => {
                        // A further interface costs an address of its own.
                        if subnets::pool(tx, &instance.subnet).await?.free() < 2 {
                            break;
                        }
                        let subnet = subnets::find(tx, &instance.subnet).await?;
                        let spec = InterfaceSpec {
                            groups: instance.groups.clone(),
                            description: format!("aws-K8S-{}", instance.id),
                            ..InterfaceSpec::default()
                        };
                        let device = u32::try_from(at).unwrap_or(u32::MAX);
                        let attachment = Some((instance.id.clone(), device));
                        let interface = network_interfaces::insert(self, tx, &subnet, &spec, attachment).await?;
                        instance.interfaces.push(interface.id.clone());
                        tx.put(&instance.id, &instance);
                        interface
                    }
                };
                let mut pool = subnets::pool(tx, &interface.subnet).await?;
                while assigned.len() < count && interface.secondary.len() < per_interface {
                    let Some(address) = pool.take() else { break };
                    interface.secondary.insert(address);
                    assigned.push(address);
                }
                tx.put(&interface.subnet, &pool);
                tx.put(&interface.id, &interface);
                if pool.free() == 0 {
                    break;
                }
                at += 1;
            }
            Ok(assigned)
        })
        .await
    }

    /// Takes secondary addresses back, and deletes interfaces that have none left but the primary one.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`; the store's.
    pub async fn release_pod_addresses(&self, instance: &str, addresses: &BTreeSet<Ipv4Addr>) -> Result<(), AwsError> {
        self.transact(|mut tx| async move {
            let tx = &mut tx;
            let mut instance = instances::find(tx, instance).await?;
            let mut kept = Vec::new();
            for (device, id) in instance.interfaces.iter().enumerate() {
                let Some(mut interface) = tx.get::<NetworkInterface>(id).await? else { continue };
                let mut pool = subnets::pool(tx, &interface.subnet).await?;
                let had = interface.secondary.len();
                interface.secondary.retain(|address| {
                    let released = addresses.contains(address);
                    if released {
                        pool.release(*address);
                    }
                    !released
                });
                tx.put(&interface.subnet, &pool);
                tx.put(id, &interface);
                if device > 0 && had > 0 && interface.secondary.is_empty() {
                    network_interfaces::remove(tx, id).await?;
                } else {
                    kept.push(id.clone());
                }
            }
            if kept != instance.interfaces {
                instance.interfaces = kept;
                tx.put(&instance.id, &instance);
            }
            Ok(())
        })
        .await
    }

    /// The secondary addresses of an instance.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`; the store's.
    pub async fn pod_addresses(&self, instance: &str) -> Result<BTreeSet<Ipv4Addr>, AwsError> {
        let mut tx = cloud_iam::records::Tx::new(&self.0.space);
        let instance = instances::find(&mut tx, instance).await?;
        let mut addresses = BTreeSet::new();
        for id in &instance.interfaces {
            if let Some(interface) = tx.get::<NetworkInterface>(id).await? {
                addresses.extend(interface.secondary);
            }
        }
        Ok(addresses)
    }
}
