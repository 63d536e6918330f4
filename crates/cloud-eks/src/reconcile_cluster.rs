//! The life cycle of a cluster.
//!
//! | status | step | then |
//! |---|---|---|
//! | CREATING | security group, interfaces, control plane; wait for the time it takes | ACTIVE; FAILED when the control plane cannot run |
//! | ACTIVE, FAILED | make sure that the control plane of an active cluster runs | |
//! | UPDATING | apply the change of the update in progress | ACTIVE, the update Successful or Failed |
//! | DELETING | stop the control plane, delete interfaces, security group, entries and updates | gone |

use cloud_ec2::InterfaceSpec;
use cloud_wire::AwsError;

use crate::access_entries;
use crate::encryption;
use crate::identity_providers::{IdentityProvider, ProviderStatus};
use crate::model::{AccessEntry, Change, Cluster, ClusterStatus, Issue, StoredEndpoint, Update};
use crate::ports::{ControlPlaneSpec, Settings, UpgradeError};
use crate::reconcile::{Next, until};
use crate::service::Eks;
use crate::updates;

const REQUESTER: &str = "amazon-eks";

impl Cluster {
    /// What its control plane is made of.
    pub fn control_plane(&self) -> ControlPlaneSpec {
        ControlPlaneSpec {
            name: self.name.clone(),
            arn: self.arn.clone(),
            id: self.id.clone(),
            version: self.version.clone(),
            service_cidr: self.service_cidr.clone(),
            settings: Settings {
                provider: self.provider.as_ref().and_then(IdentityProvider::takes),
                key: encryption::key(self),
            },
        }
    }
}

/// What the interfaces of a control plane are called.
fn description(cluster: &str) -> String {
    format!("Amazon EKS {cluster}")
}

impl Eks {
    pub(crate) async fn reconcile_cluster(&self, name: &str) -> Result<Next, AwsError> {
        let Some(cluster) = self.cluster(name).await? else { return Ok(Next::Settled) };
        if cluster.restoring.is_some() {
            // Whoever restores it comes back here when its objects are complete.
            return Ok(Next::Settled);
        }
        match cluster.status {
            ClusterStatus::Creating => self.create_cluster(cluster).await,
            ClusterStatus::Active => {
                // After a restart control planes must run again.
                match self.0.parts.planes.ensure(&cluster.control_plane()).await {
                    Ok(endpoint) => self.set_endpoint(name, endpoint.into()).await.map(|()| Next::Settled),
                    Err(_) => Ok(Next::After(self.0.parts.pace.poll)),
                }
            }
            ClusterStatus::Failed => Ok(Next::Settled),
            ClusterStatus::Updating => self.update_cluster(cluster).await,
            ClusterStatus::Deleting => self.delete_cluster(cluster).await,
        }
    }

    async fn set_endpoint(&self, name: &str, endpoint: StoredEndpoint) -> Result<(), AwsError> {
        let endpoint = &endpoint;
        self.transact(|mut tx| async move {
            if let Some(mut cluster) = tx.get::<Cluster>(name).await?
                && cluster.endpoint.as_ref() != Some(endpoint)
            {
                cluster.endpoint = Some(endpoint.clone());
                tx.put(name, &cluster);
            }
            Ok(())
        })
        .await
    }

    async fn create_cluster(&self, cluster: Cluster) -> Result<Next, AwsError> {
        let name = cluster.name.as_str();
        let group = match self.make_network(&cluster).await {
            Ok(group) => group,
            Err(error) if error.status < 500 => {
                return self.fail_cluster(name, "Ec2SubnetNotFound", error.message).await;
            }
            Err(error) => return Err(error),
        };
        let endpoint = match self.0.parts.planes.ensure(&cluster.control_plane()).await {
            Ok(endpoint) => StoredEndpoint::from(endpoint),
            Err(why) => return self.fail_cluster(name, "InternalFailure", why).await,
        };
        if let Some(wait) = until(cluster.due, self.0.parts.world.now()) {
            return Ok(Next::After(wait));
        }
        let (group, endpoint) = (&group, &endpoint);
        self.transact(|mut tx| async move {
            if let Some(mut cluster) = tx.get::<Cluster>(name).await?
                && cluster.status == ClusterStatus::Creating
            {
                cluster.network.cluster_security_group = Some(group.clone());
                cluster.endpoint = Some(endpoint.clone());
                cluster.status = ClusterStatus::Active;
                tx.put(name, &cluster);
            }
            Ok(Next::Settled)
        })
        .await
    }

    /// The cluster security group and an interface in up to four subnets; returns the group.
    async fn make_network(&self, cluster: &Cluster) -> Result<String, AwsError> {
        let name = &cluster.name;
        let tags = [
            ("Name".to_owned(), format!("eks-cluster-sg-{name}")),
            ("aws:eks:cluster-name".to_owned(), name.clone()),
            (format!("kubernetes.io/cluster/{name}"), "owned".to_owned()),
        ]
        .into();
        // The number at the end of the name is part of the cluster's id, so that it is the same after a restart.
        let number = u64::from_str_radix(cluster.id.get(..8).unwrap_or("0"), 16).unwrap_or_default();
        let group = format!("eks-cluster-sg-{name}-{number}");
        let text = "EKS created security group applied to ENI that is attached to EKS Control Plane master nodes, as well as any managed workloads.";
        let group = self.0.parts.ec2.ensure_security_group(&cluster.network.vpc, &group, text, &tags).await?;
        let mut groups = vec![group.clone()];
        groups.extend(cluster.network.security_groups.iter().cloned());
        let interface = InterfaceSpec {
            groups,
            description: description(name),
            requester: Some(REQUESTER.to_owned()),
            tags: Default::default(),
        };
        let subnets: Vec<String> = cluster.network.subnets.iter().take(4).cloned().collect();
        self.0.parts.ec2.ensure_interfaces(&subnets, &interface).await?;
        Ok(group)
    }

    async fn fail_cluster(&self, name: &str, code: &str, message: String) -> Result<Next, AwsError> {
        let issue = Issue { code: code.to_owned(), message, resources: vec![name.to_owned()] };
        let issue = &issue;
        self.transact(|mut tx| async move {
            if let Some(mut cluster) = tx.get::<Cluster>(name).await?
                && cluster.status == ClusterStatus::Creating
            {
                cluster.status = ClusterStatus::Failed;
                cluster.health = vec![issue.clone()];
                tx.put(name, &cluster);
            }
            Ok(Next::Settled)
        })
        .await
    }

    async fn update_cluster(&self, cluster: Cluster) -> Result<Next, AwsError> {
        if let Some(wait) = until(cluster.due, self.0.parts.world.now()) {
            return Ok(Next::After(wait));
        }
        let name = cluster.name.as_str();
        let id = cluster.update.clone().unwrap_or_default();
        let mut tx = cloud_iam::records::Tx::new(&self.0.parts.space);
        let update = updates::find(&mut tx, (name, ""), &id).await?.map(|(_, update)| update);
        let errors = match &update {
            Some(update) => self.carry_out(&cluster, update).await?,
            None => Vec::new(),
        };
        let (update, errors, id) = (&update, &errors, &id);
        self.transact(|mut tx| async move {
            let Some(mut cluster) = tx.get::<Cluster>(name).await? else { return Ok(Next::Settled) };
            if cluster.status != ClusterStatus::Updating || cluster.update.as_ref() != Some(id) {
                return Ok(Next::Settled);
            }
            if let (Some(update), false) = (update, errors.is_empty()) {
                undo(&mut cluster, &update.change);
            }
            if let (Some(update), true) = (update, errors.is_empty()) {
                let had_entries = cluster.authentication.has_entries();
                apply(&mut cluster, &update.change);
                // At once with the mode: between the two the creator and the nodes would be locked out.
                if !had_entries && cluster.authentication.has_entries() {
                    access_entries::ensure_first_entries(self, &mut tx, &cluster).await?;
                }
            }
            cluster.status = ClusterStatus::Active;
            cluster.update = None;
            updates::finish(&mut tx, (name, ""), id, errors.clone()).await?;
            tx.put(name, &cluster);
            Ok(Next::Settled)
        })
        .await
    }

    /// What a change does outside of the cluster's record; the errors of the update if it fails.
    async fn carry_out(&self, cluster: &Cluster, update: &Update) -> Result<Vec<Issue>, AwsError> {
        let failed = |code: &str, message: String| {
            vec![Issue { code: code.to_owned(), message, resources: vec![cluster.name.clone()] }]
        };
        match &update.change {
            Change::Version(version) => match self.0.parts.planes.upgrade(&cluster.name, version).await {
                Ok(()) => Ok(Vec::new()),
                Err(UpgradeError::NotSupported(why)) => Ok(failed("OperationNotPermitted", why)),
                Err(UpgradeError::Failed(why)) => Ok(failed("Unknown", why)),
            },
            Change::Vpc { subnets, security_groups } => {
                let mut changed = cluster.clone();
                changed.network.subnets.clone_from(subnets);
                changed.network.security_groups.clone_from(security_groups);
                match self.make_network(&changed).await {
                    Ok(_) => {}
                    Err(error) if error.code == "InsufficientFreeAddressesInSubnet" => {
                        return Ok(failed("IpNotAvailable", error.message));
                    }
                    Err(error) if error.status < 500 => return Ok(failed("SubnetNotFound", error.message)),
                    Err(error) => return Err(error),
                }
                self.0.parts.ec2.remove_interfaces(REQUESTER, &description(&cluster.name), subnets).await?;
                Ok(Vec::new())
            }
            // The record has it already; what is left is that the control plane has it before anybody is told so.
            Change::Encryption(_) | Change::AssociateProvider | Change::DisassociateProvider => {
                match self.0.parts.planes.ensure(&cluster.control_plane()).await {
                    Ok(_) => Ok(Vec::new()),
                    Err(why) => Ok(failed("Unknown", why)),
                }
            }
            Change::Endpoint { .. }
            | Change::Logging(_)
            | Change::Access(_)
            | Change::Support(_)
            | Change::ZonalShift(_)
            | Change::DeletionProtection(_)
            | Change::Nodegroup => Ok(Vec::new()),
        }
    }

    async fn delete_cluster(&self, cluster: Cluster) -> Result<Next, AwsError> {
        let name = cluster.name.as_str();
        if self.0.parts.planes.remove(name).await.is_err() {
            return Ok(Next::After(self.0.parts.pace.poll));
        }
        self.0.parts.ec2.remove_interfaces(REQUESTER, &description(name), &[]).await?;
        if let Some(wait) = until(cluster.due, self.0.parts.world.now()) {
            return Ok(Next::After(wait));
        }
        if let Some(group) = &cluster.network.cluster_security_group {
            match self.0.parts.ec2.remove_security_group(group).await {
                // Whoever still uses the group keeps it, as with AWS.
                Err(error) if error.status >= 500 => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        // In portions: a cluster may have more entries than fit into a transaction.
        let more = self
            .transact(|mut tx| async move {
                let prefix = format!("{name}/");
                let entries = tx.list::<AccessEntry>(&prefix).await?;
                let updates = tx.list::<Update>(&prefix).await?;
                if entries.is_empty() && updates.is_empty() {
                    tx.delete::<Cluster>(name);
                    return Ok(false);
                }
                if updates.is_empty() {
                    for (key, _) in entries.into_iter().take(100) {
                        tx.delete::<AccessEntry>(&key);
                    }
                } else {
                    updates::forget(&mut tx, name, None).await?;
                }
                Ok(true)
            })
            .await?;
        Ok(if more { Next::After(std::time::Duration::ZERO) } else { Next::Settled })
    }
}

impl From<crate::ports::Endpoint> for StoredEndpoint {
    fn from(endpoint: crate::ports::Endpoint) -> StoredEndpoint {
        StoredEndpoint { url: endpoint.url, ca_pem: endpoint.ca_pem, issuer: endpoint.oidc_issuer }
    }
}

/// What a change does to the cluster's record.
fn apply(cluster: &mut Cluster, change: &Change) {
    match change {
        Change::Endpoint { public, private, cidrs } => {
            (cluster.network.public, cluster.network.private) = (*public, *private);
            cluster.network.public_cidrs.clone_from(cidrs);
        }
        Change::Vpc { subnets, security_groups } => {
            cluster.network.subnets.clone_from(subnets);
            cluster.network.security_groups.clone_from(security_groups);
        }
        Change::Logging(on) => cluster.logging.clone_from(on),
        Change::Access(mode) => cluster.authentication = *mode,
        Change::Support(support) => cluster.support.clone_from(support),
        Change::ZonalShift(on) => cluster.zonal_shift = *on,
        Change::DeletionProtection(on) => cluster.deletion_protection = *on,
        Change::Version(version) => cluster.version.clone_from(version),
        Change::AssociateProvider => {
            if let Some(provider) = &mut cluster.provider {
                provider.status = ProviderStatus::Active;
            }
        }
        Change::DisassociateProvider => cluster.provider = None,
        Change::Encryption(_) | Change::Nodegroup => {}
    }
}

/// Takes a change out of the cluster's record that was in it from the beginning of its update, which has failed.
fn undo(cluster: &mut Cluster, change: &Change) {
    match change {
        Change::Encryption(_) => cluster.encryption = Vec::new(),
        Change::AssociateProvider => cluster.provider = None,
        Change::DisassociateProvider => {
            if let Some(provider) = &mut cluster.provider {
                provider.status = ProviderStatus::Active;
            }
        }
        _ => {}
    }
}
