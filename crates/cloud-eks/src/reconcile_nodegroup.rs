//! The life cycle of a node group, which is also what its Auto Scaling group would do: as many instances as desired.
//!
//! | status | step | then |
//! |---|---|---|
//! | CREATING | instance profile, instances; wait for Ready nodes | ACTIVE; CREATE_FAILED when they do not come in fifteen minutes |
//! | UPDATING | labels and taints of nodes, more or fewer instances | ACTIVE or DEGRADED, the update Successful or Failed |
//! | ACTIVE, DEGRADED | replace instances that ended | the other of the two, when what is lacking changes |
//! | DELETING | end all instances, then the profile and the entry of the role | gone |

use std::collections::BTreeMap;
use std::time::Duration;

use cloud_ec2::{CapacityType, Instance, InstanceState, LaunchSpec};
use cloud_iam::{CallContext, Caller};
use cloud_wire::AwsError;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::model::{AccessEntry, Issue, Nodegroup, NodegroupStatus, Update};
use crate::reconcile::{NODE_JOIN_LIMIT, Next, until};
use crate::service::Eks;
use crate::updates;

/// The longest time between two looks at a group that lacks something.
const MAX_POLL: Duration = Duration::from_secs(5);

/// How things stand after a step towards what is desired.
struct Standing {
    /// Instances that live.
    live: Vec<Instance>,
    /// How many of them have a Ready node.
    ready: usize,
    /// What is lacking.
    issues: Vec<Issue>,
}

impl Eks {
    pub(crate) async fn reconcile_nodegroup(&self, cluster: &str, name: &str) -> Result<Next, AwsError> {
        let Some(nodegroup) = self.nodegroup(cluster, name).await? else { return Ok(Next::Settled) };
        match nodegroup.status {
            NodegroupStatus::Deleting => self.delete_nodegroup(nodegroup).await,
            NodegroupStatus::CreateFailed | NodegroupStatus::DeleteFailed => Ok(Next::Settled),
            NodegroupStatus::Creating => {
                let Some(profile) = self.instance_profile(&nodegroup).await? else {
                    return self.lost_role(nodegroup).await;
                };
                if !self.map_node_role(&nodegroup).await? {
                    return Ok(Next::After(self.0.parts.pace.poll));
                }
                let standing = self.converge(&nodegroup, &profile).await?;
                self.finish_nodegroup(nodegroup, standing).await
            }
            NodegroupStatus::Updating | NodegroupStatus::Active | NodegroupStatus::Degraded => {
                let Some(profile) = self.instance_profile(&nodegroup).await? else {
                    return self.lost_role(nodegroup).await;
                };
                let mut standing = self.converge(&nodegroup, &profile).await?;
                if nodegroup.applied_config() != nodegroup.node_config() {
                    let ids: Vec<String> = standing.live.iter().map(|instance| instance.id.clone()).collect();
                    let (old, new) = (nodegroup.applied_config(), nodegroup.node_config());
                    if let Err(message) = self.0.parts.planes.configure_nodes(cluster, &ids, &old, &new).await {
                        let issue = Issue { code: "KubernetesLabelInvalid".to_owned(), message, resources: ids };
                        standing.issues.push(issue);
                    }
                }
                self.finish_nodegroup(nodegroup, standing).await
            }
        }
    }

    fn service_context(&self) -> CallContext {
        let world = &self.0.parts.world;
        CallContext {
            account: self.account().to_owned(),
            region: self.region().to_owned(),
            caller: Caller::service(self.account(), "eks-nodegroup.amazonaws.com"),
            request_id: world.uuid(),
            source_ip: "eks-nodegroup.amazonaws.com".to_owned(),
            now: world.now(),
        }
    }

    /// The ARN of the instance profile with the node role, made if need be; none when the role is gone.
    async fn instance_profile(&self, nodegroup: &Nodegroup) -> Result<Option<String>, AwsError> {
        let iam = &self.0.parts.iam;
        let Some(role) = iam.role_by_arn(&nodegroup.role).await? else { return Ok(None) };
        let name = format!("eks-{}", nodegroup.uuid);
        let ctx = self.service_context();
        let arn = format!("arn:aws:iam::{}:instance-profile/{name}", self.account());
        if role.profiles.contains(&name) {
            return Ok(Some(arn));
        }
        let input = json!({"InstanceProfileName": name, "RoleName": role.name});
        for operation in ["CreateInstanceProfile", "AddRoleToInstanceProfile"] {
            match iam.call(&ctx, operation, &input).await {
                Err(error) if !matches!(error.code.as_ref(), "EntityAlreadyExists" | "LimitExceeded") => {
                    return Err(error);
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(Some(arn))
    }

    async fn lost_role(&self, nodegroup: Nodegroup) -> Result<Next, AwsError> {
        let issue = Issue {
            code: "IamNodeRoleNotFound".to_owned(),
            message: "The role of the node group was not found".to_owned(),
            resources: vec![nodegroup.role.clone()],
        };
        let standing = Standing { live: self.live(&nodegroup).await?, ready: 0, issues: vec![issue] };
        self.finish_nodegroup(nodegroup, standing).await
    }

    async fn live(&self, nodegroup: &Nodegroup) -> Result<Vec<Instance>, AwsError> {
        let owned = self.0.parts.ec2.owned(&nodegroup.owner()).await?;
        Ok(owned.into_iter().filter(|instance| instance.state.is_live()).collect())
    }

    /// Launches or ends instances until there are as many as desired.
    async fn converge(&self, nodegroup: &Nodegroup, profile: &str) -> Result<Standing, AwsError> {
        let mut live = self.live(nodegroup).await?;
        let mut issues = Vec::new();
        let desired = usize::try_from(nodegroup.scaling.desired_size).unwrap_or_default();
        if live.len() < desired {
            let spec = self.launch_spec(nodegroup, desired - live.len(), profile).await?;
            let launched = self.0.parts.ec2.launch(&spec).await?;
            live.extend(launched.instances);
            if let Some(shortfall) = launched.shortfall {
                let code = match shortfall.code.as_ref() {
                    "InsufficientFreeAddressesInSubnet" => "InsufficientFreeAddresses",
                    _ => "AsgInstanceLaunchFailures",
                };
                let resources = nodegroup.subnets.clone();
                issues.push(Issue { code: code.to_owned(), message: shortfall.message, resources });
            }
        }
        for victim in surplus(&live, desired) {
            // Whatever the pods say, the node goes: a smaller group is not an update that can fail.
            let drain = self.0.parts.planes.drain(&nodegroup.cluster, &victim);
            let _ = self.0.parts.world.timeout(NODE_JOIN_LIMIT, drain).await;
            let reason = "Client.UserInitiatedShutdown: the node group became smaller";
            self.0.parts.ec2.terminate(std::slice::from_ref(&victim), reason).await?;
            live.retain(|instance| instance.id != victim);
        }
        let ready = self.0.parts.planes.ready_nodes(&nodegroup.cluster, &nodegroup.name).await;
        let ready = live.iter().filter(|instance| ready.contains(&instance.id)).count();
        Ok(Standing { live, ready, issues })
    }

    async fn launch_spec(&self, nodegroup: &Nodegroup, count: usize, profile: &str) -> Result<LaunchSpec, AwsError> {
        let cluster = self.cluster(&nodegroup.cluster).await?;
        let group = cluster.and_then(|cluster| cluster.network.cluster_security_group);
        let (cluster, name) = (&nodegroup.cluster, &nodegroup.name);
        let mut tags: BTreeMap<String, String> = [
            ("aws:autoscaling:groupName".to_owned(), nodegroup.scaling_group()),
            ("eks:cluster-name".to_owned(), cluster.clone()),
            ("eks:nodegroup-name".to_owned(), name.clone()),
            ("k8s.io/cluster-autoscaler/enabled".to_owned(), "true".to_owned()),
            (format!("k8s.io/cluster-autoscaler/{cluster}"), "owned".to_owned()),
            (format!("kubernetes.io/cluster/{cluster}"), "owned".to_owned()),
        ]
        .into();
        tags.insert("Name".to_owned(), format!("{cluster}-{name}-Node"));
        let spot = nodegroup.capacity == "SPOT";
        Ok(LaunchSpec {
            count,
            instance_type: nodegroup.instance_types.first().cloned().unwrap_or_default(),
            subnets: nodegroup.subnets.clone(),
            groups: group.into_iter().collect(),
            image: image_of(&nodegroup.ami_type, &nodegroup.release),
            profile: Some(profile.to_owned()),
            role: Some(nodegroup.role.clone()),
            capacity: if spot { CapacityType::Spot } else { CapacityType::OnDemand },
            owner: nodegroup.owner(),
            revision: nodegroup.release.clone(),
            tags,
        })
    }

    /// Writes what has come of a step.
    async fn finish_nodegroup(&self, nodegroup: Nodegroup, standing: Standing) -> Result<Next, AwsError> {
        let now = self.0.parts.world.now();
        let poll = self.0.parts.pace.poll;
        let desired = usize::try_from(nodegroup.scaling.desired_size).unwrap_or_default();
        let complete = standing.issues.is_empty() && standing.live.len() == desired && standing.ready == desired;
        let in_transit = matches!(nodegroup.status, NodegroupStatus::Creating | NodegroupStatus::Updating);
        let late = now.micros() - nodegroup.since > i64::try_from(NODE_JOIN_LIMIT.as_micros()).unwrap_or(i64::MAX);
        if in_transit {
            if !complete && !late {
                // The longer it has waited, the less often it looks.
                let waited = u64::try_from(now.micros() - nodegroup.since).unwrap_or_default();
                return Ok(Next::After(Duration::from_micros(waited / 16).clamp(poll, MAX_POLL.max(poll))));
            }
            if let Some(wait) = until(nodegroup.due, now) {
                return Ok(Next::After(wait));
            }
        }
        let mut issues = standing.issues;
        if !complete && issues.is_empty() && (in_transit || late_nodes(&standing.live, now.micros())) {
            issues.push(Issue {
                code: "NodeCreationFailure".to_owned(),
                message: "Instances failed to join the kubernetes cluster".to_owned(),
                resources: standing.live.iter().map(|instance| instance.id.clone()).collect(),
            });
        }
        let status = match (nodegroup.status, issues.is_empty()) {
            (NodegroupStatus::Creating, false) => NodegroupStatus::CreateFailed,
            (_, false) => NodegroupStatus::Degraded,
            (_, true) => NodegroupStatus::Active,
        };
        let (key, seen, issues) = (nodegroup.key(), &nodegroup, &issues);
        let key = key.as_str();
        self.transact(|mut tx| async move {
            let Some(mut stored) = tx.get::<Nodegroup>(key).await? else { return Ok(()) };
            // Someone else has changed it since: that change has its own turn.
            if stored.status != seen.status || stored.update != seen.update {
                return Ok(());
            }
            if stored.status == status && stored.health == *issues && stored.update.is_none() {
                return Ok(());
            }
            if let Some(update) = stored.update.take() {
                let of = (stored.cluster.as_str(), stored.name.as_str());
                let errors = issues.iter().map(update_error).collect();
                updates::finish(&mut tx, of, &update, errors).await?;
            }
            if issues.is_empty() {
                stored.applied_labels.clone_from(&stored.labels);
                stored.applied_taints.clone_from(&stored.taints);
            }
            stored.status = status;
            stored.health.clone_from(issues);
            stored.since = now.micros();
            tx.put(key, &stored);
            Ok(())
        })
        .await?;
        // A group that lacks something looks again now and then; a complete one waits for a change.
        let settled = complete || status == NodegroupStatus::CreateFailed;
        Ok(if settled { Next::Settled } else { Next::After(MAX_POLL.max(poll)) })
    }

    async fn delete_nodegroup(&self, nodegroup: Nodegroup) -> Result<Next, AwsError> {
        let owned = self.0.parts.ec2.owned(&nodegroup.owner()).await?;
        let live: Vec<String> =
            owned.iter().filter(|instance| instance.state.is_live()).map(|instance| instance.id.clone()).collect();
        if !live.is_empty() {
            let reason = "Client.UserInitiatedShutdown: the node group was deleted";
            self.0.parts.ec2.terminate(&live, reason).await?;
        }
        if owned.iter().any(|instance| instance.state != InstanceState::Terminated) {
            return Ok(Next::After(self.0.parts.pace.poll));
        }
        if let Some(wait) = until(nodegroup.due, self.0.parts.world.now()) {
            return Ok(Next::After(wait));
        }
        self.remove_profile(&nodegroup).await?;
        let nodegroup = &nodegroup;
        let more = self
            .transact(|mut tx| async move {
                let of = (nodegroup.cluster.as_str(), nodegroup.name.as_str());
                if !tx.list::<Update>(&format!("{}/ng:{}/", of.0, of.1)).await?.is_empty() {
                    updates::forget(&mut tx, of.0, Some(of.1)).await?;
                    return Ok(true);
                }
                let others = tx.list::<Nodegroup>(&format!("{}/", of.0)).await?;
                let shared = others.iter().any(|(_, other)| other.name != of.1 && other.role == nodegroup.role);
                let key = format!("{}/{}", of.0, nodegroup.role);
                if !shared && tx.get::<AccessEntry>(&key).await?.is_some_and(|entry| entry.managed) {
                    tx.delete::<AccessEntry>(&key);
                }
                tx.delete::<Nodegroup>(&nodegroup.key());
                Ok(false)
            })
            .await?;
        Ok(if more { Next::After(Duration::ZERO) } else { Next::Settled })
    }

    async fn remove_profile(&self, nodegroup: &Nodegroup) -> Result<(), AwsError> {
        let role = nodegroup.role.rsplit('/').next().unwrap_or_default();
        let input = json!({"InstanceProfileName": format!("eks-{}", nodegroup.uuid), "RoleName": role});
        let ctx = self.service_context();
        for operation in ["RemoveRoleFromInstanceProfile", "DeleteInstanceProfile"] {
            match self.0.parts.iam.call(&ctx, operation, &input).await {
                Err(error) if error.code != "NoSuchEntity" => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Lets the node role in through the ConfigMap, in the modes where no access entry does; false when it must be tried again.
    async fn map_node_role(&self, nodegroup: &Nodegroup) -> Result<bool, AwsError> {
        let cluster = self.cluster(&nodegroup.cluster).await?;
        if cluster.is_none_or(|cluster| cluster.authentication.has_entries()) {
            return Ok(true);
        }
        Ok(self.0.parts.planes.map_node_role(&nodegroup.cluster, &nodegroup.role).await.is_ok())
    }
}

/// Whether an instance has lived for longer than nodes may take to join.
fn late_nodes(live: &[Instance], now: i64) -> bool {
    let limit = i64::try_from(NODE_JOIN_LIMIT.as_micros()).unwrap_or(i64::MAX);
    live.iter().any(|instance| now - instance.launched > limit)
}

/// Which instances go when there are too many: from the zone with the most, the oldest first.
fn surplus(live: &[Instance], desired: usize) -> Vec<String> {
    let mut left: Vec<&Instance> = live.iter().collect();
    let mut victims = Vec::new();
    while left.len() > desired {
        let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
        left.iter().for_each(|instance| *zones.entry(&instance.zone).or_default() += 1);
        let most = zones.values().copied().max().unwrap_or_default();
        let oldest = left
            .iter()
            .enumerate()
            .filter(|(_, instance)| zones.get(instance.zone.as_str()) == Some(&most))
            .min_by(|(_, a), (_, b)| (a.launched, &a.id).cmp(&(b.launched, &b.id)));
        let Some((at, _)) = oldest else { break };
        victims.push(left.remove(at).id.clone());
    }
    victims
}

/// An issue of a node group as an error of its update, whose codes are fewer.
fn update_error(issue: &Issue) -> Issue {
    let code = match issue.code.as_str() {
        "InsufficientFreeAddresses" | "NodeCreationFailure" | "AccessDenied" | "ClusterUnreachable" => {
            issue.code.as_str()
        }
        _ => "Unknown",
    };
    Issue { code: code.to_owned(), ..issue.clone() }
}

/// The image of a release: the same name for the same release everywhere.
fn image_of(ami_type: &str, release: &str) -> String {
    let hash = Sha256::digest(format!("{ami_type}/{release}").as_bytes());
    let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("ami-0{hex}")
}
