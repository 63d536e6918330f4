//! Launching and ending instances on behalf of node groups: what Auto Scaling does for managed node groups.

use cloud_iam::records::Tx;
use cloud_wire::AwsError;

use crate::error;
use crate::instance_types;
use crate::lifecycle;
use crate::model::{CapacityType, Instance, InstanceState, Owned, Subnet, Tags};
use crate::network_interfaces::{self, InterfaceSpec};
use crate::service::Ec2;
use crate::subnets;

/// Instances in one transaction: each takes three operations of the 128 that a transaction may have.
const BATCH: usize = 32;

/// What to launch.
#[derive(Debug, Clone)]
pub struct LaunchSpec {
    /// How many.
    pub count: usize,
    /// For example `m5.large`.
    pub instance_type: String,
    /// Where; instances are spread over them evenly.
    pub subnets: Vec<String>,
    /// Security groups of the primary interface; the default group of the VPC when empty.
    pub groups: Vec<String>,
    /// `ami-…`.
    pub image: String,
    /// ARN of the instance profile.
    pub profile: Option<String>,
    /// ARN of the role in the profile.
    pub role: Option<String>,
    /// How it is paid.
    pub capacity: CapacityType,
    /// Who wants them; [`Ec2::owned`] finds them by it.
    pub owner: String,
    /// Which configuration of the owner they have.
    pub revision: String,
    /// Tags.
    pub tags: Tags,
}

/// What was launched.
#[derive(Debug, Clone, PartialEq)]
pub struct Launched {
    /// In order of launch; fewer than asked for when something ran out.
    pub instances: Vec<Instance>,
    /// Why there are fewer.
    pub shortfall: Option<AwsError>,
}

impl Ec2 {
    /// Launches instances, as many as there are addresses for.
    ///
    /// # Errors
    /// A type or subnet that does not exist; the store's. A lack of addresses is no error but a shortfall.
    pub async fn launch(&self, spec: &LaunchSpec) -> Result<Launched, AwsError> {
        if instance_types::find(&spec.instance_type).is_none() {
            return Err(error::invalid(format!("Invalid value '{}' for InstanceType.", spec.instance_type)));
        }
        let mut launched = Launched { instances: Vec::new(), shortfall: None };
        let reservation = self.new_id("r");
        let reservation = reservation.as_str();
        while launched.instances.len() < spec.count && launched.shortfall.is_none() {
            let count = (spec.count - launched.instances.len()).min(BATCH);
            let (instances, shortfall) = self
                .transact(|mut tx| async move { self.launch_batch(&mut tx, spec, count, reservation).await })
                .await?;
            launched.instances.extend(instances);
            launched.shortfall = shortfall;
        }
        Ok(launched)
    }

    async fn launch_batch(
        &self,
        tx: &mut Tx,
        spec: &LaunchSpec,
        count: usize,
        reservation: &str,
    ) -> Result<(Vec<Instance>, Option<AwsError>), AwsError> {
        let mut places: Vec<(usize, Subnet)> = Vec::new();
        let live = owned_in(tx, &spec.owner).await?;
        for id in &spec.subnets {
            let subnet = subnets::find(tx, id).await?;
            // Zones are kept even, as Auto Scaling does.
            let there = live.iter().filter(|instance| instance.state.is_live() && instance.zone == subnet.zone).count();
            places.push((there, subnet));
        }
        let mut instances = Vec::new();
        for _ in 0..count {
            places.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.id.cmp(&b.1.id)));
            let mut shortfall = None;
            let mut made = None;
            for (place, (_, subnet)) in places.iter().enumerate() {
                match self.launch_one(tx, spec, subnet, reservation).await {
                    Ok(instance) => {
                        made = Some((place, instance));
                        break;
                    }
                    Err(error) if error.code == "InsufficientFreeAddressesInSubnet" => shortfall = Some(error),
                    Err(error) => return Err(error),
                }
            }
            let Some((place, instance)) = made else {
                let none = || error::client("MissingParameter", "No subnets were given to launch instances in.");
                return Ok((instances, Some(shortfall.unwrap_or_else(none))));
            };
            let zone = places[place].1.zone.clone();
            places.iter_mut().filter(|(_, subnet)| subnet.zone == zone).for_each(|(there, _)| *there += 1);
            instances.push(instance);
        }
        Ok((instances, None))
    }

    async fn launch_one(
        &self,
        tx: &mut Tx,
        spec: &LaunchSpec,
        subnet: &Subnet,
        reservation: &str,
    ) -> Result<Instance, AwsError> {
        let id = self.new_id("i");
        let interface =
            InterfaceSpec { groups: spec.groups.clone(), tags: spec.tags.clone(), ..InterfaceSpec::default() };
        let interface = network_interfaces::insert(self, tx, subnet, &interface, Some((id.clone(), 0))).await?;
        let now = self.0.world.now();
        let instance = Instance {
            id: id.clone(),
            reservation: reservation.to_owned(),
            instance_type: spec.instance_type.clone(),
            state: InstanceState::Pending,
            due: Some((now + self.0.pace.boot).micros()),
            launched: now.micros(),
            vpc: subnet.vpc.clone(),
            subnet: subnet.id.clone(),
            zone: subnet.zone.clone(),
            zone_id: subnet.zone_id.clone(),
            private_ip: interface.address,
            private_dns: private_dns(interface.address, self.region()),
            interfaces: vec![interface.id],
            groups: interface.groups,
            image: spec.image.clone(),
            profile: spec.profile.clone(),
            role: spec.role.clone(),
            capacity: spec.capacity,
            owner: spec.owner.clone(),
            revision: spec.revision.clone(),
            reason: None,
            tags: spec.tags.clone(),
        };
        tx.put(&id, &instance);
        if !spec.owner.is_empty() {
            tx.put(&owned_key(&spec.owner, &id), &Owned { instance: id.clone() });
        }
        Ok(instance)
    }

    /// Ends instances; those that have ended or do not exist are left alone.
    ///
    /// # Errors
    /// The store's.
    pub async fn terminate(&self, ids: &[String], reason: &str) -> Result<(), AwsError> {
        for batch in ids.chunks(BATCH) {
            self.transact(|mut tx| async move {
                let tx = &mut tx;
                for id in batch {
                    if tx.get::<Instance>(id).await?.is_some() {
                        shut_down(self, tx, id, reason).await?;
                    }
                }
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// The instances of an owner, in any state, by id.
    ///
    /// # Errors
    /// The store's.
    pub async fn owned(&self, owner: &str) -> Result<Vec<Instance>, AwsError> {
        owned_in(&mut Tx::new(&self.0.space), owner).await
    }
}

pub(crate) fn owned_key(owner: &str, id: &str) -> String {
    format!("{owner}/{id}")
}

async fn owned_in(tx: &mut Tx, owner: &str) -> Result<Vec<Instance>, AwsError> {
    let mut instances = Vec::new();
    if owner.is_empty() {
        return Ok(instances);
    }
    // Read as a list so that the transaction does not depend on each of them.
    let ids = tx.list::<Owned>(&owned_key(owner, "")).await?;
    for (_, owned) in ids {
        instances.extend(lifecycle::peek(tx, &owned.instance).await?);
    }
    Ok(instances)
}

/// Begins the end of an instance, and returns the state it is in then.
pub(crate) async fn shut_down(ec2: &Ec2, tx: &mut Tx, id: &str, reason: &str) -> Result<InstanceState, AwsError> {
    let mut instance = crate::instances::find(tx, id).await?;
    if instance.state.is_live() {
        instance.state = InstanceState::ShuttingDown;
        instance.due = Some((ec2.0.world.now() + ec2.0.pace.shut_down).micros());
        instance.reason = Some(reason.to_owned());
        tx.put(id, &instance);
    }
    Ok(instance.state)
}

/// `ip-172-31-5-9.ec2.internal` in us-east-1, `ip-….<region>.compute.internal` elsewhere.
fn private_dns(address: std::net::Ipv4Addr, region: &str) -> String {
    let name = address.to_string().replace('.', "-");
    match region {
        "us-east-1" => format!("ip-{name}.ec2.internal"),
        _ => format!("ip-{name}.{region}.compute.internal"),
    }
}
