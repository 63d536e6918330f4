//! The life cycle of a node group, which is also what its Auto Scaling group would do: as many instances as desired.
//!
//! | status | step | then |
//! |---|---|---|
//! | CREATING | instance profile, instances; wait for Ready nodes | ACTIVE; CREATE_FAILED when they do not come in time |
//! | UPDATING | labels and taints of nodes, more or fewer instances; wait for running instances, not for nodes | ACTIVE or DEGRADED, the update Successful or Failed |
//! | ACTIVE, DEGRADED | replace instances that ended, watch for nodes that stay unready | the other of the two, when what is lacking changes |
//! | DELETING | end all instances, then the profile and the entry of the role | gone |

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use cloud_ec2::{CapacityType, Instance, InstanceState, LaunchSpec};
use cloud_iam::{CallContext, Caller};
use cloud_wire::AwsError;
use serde_json::json;
use sha2::{Digest, Sha256};
use world::BoxFuture;

use crate::model::{AccessEntry, ClusterStatus, Issue, Nodegroup, NodegroupStatus, Update};
use crate::reconcile::{Next, until};
use crate::service::Eks;
use crate::updates;

/// The longest time between two looks at a group that lacks something.
const MAX_POLL: Duration = Duration::from_secs(5);

/// How often a drain looks whether its group is to be deleted.
const SUPERSEDED_POLL: Duration = Duration::from_secs(1);

/// How things stand after a step towards what is desired.
struct Standing {
    /// Instances that live.
    live: Vec<Instance>,
    /// Those of them without a Ready node.
    unready: Vec<String>,
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
                // Only a restored cluster has groups before it is active: their instances need its security group.
                let cluster = self.cluster(cluster).await?;
                if cluster.is_some_and(|cluster| cluster.status == ClusterStatus::Creating) {
                    return Ok(Next::After(self.0.parts.pace.poll));
                }
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
                // A node that joins late may have booted with what the group wanted before an update.
                let changed = nodegroup.applied_config() != nodegroup.node_config();
                if changed || nodegroup.unready_since.is_some() {
                    let ids: Vec<String> = standing.live.iter().map(|instance| instance.id.clone()).collect();
                    let (old, new) = (nodegroup.applied_config(), nodegroup.node_config());
                    let configured = self.0.parts.planes.configure_nodes(cluster, &ids, &old, &new).await;
                    if let (true, Err(message)) = (changed, configured) {
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
        let standing = Standing { live: self.live(&nodegroup).await?, unready: Vec::new(), issues: vec![issue] };
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
        let victims = surplus(&live, desired);
        if !victims.is_empty() {
            tokio::select! {
                biased;
                () = self.drain_all(&nodegroup.cluster, &victims) => {}
                () = self.goes_away(nodegroup) => {}
            }
            let reason = "Client.UserInitiatedShutdown: the node group became smaller";
            self.0.parts.ec2.terminate(&victims, reason).await?;
            live.retain(|instance| !victims.contains(&instance.id));
        }
        let ready = self.0.parts.planes.ready_nodes(&nodegroup.cluster, &nodegroup.name).await;
        let unready = live.iter().map(|instance| instance.id.clone()).filter(|id| !ready.contains(id)).collect();
        Ok(Standing { live, unready, issues })
    }

    /// Drains nodes at the same time, so that one whose pods stay does not hold up the others. Whatever the pods say, in the
    /// end the nodes go: a smaller group is not an update that can fail.
    async fn drain_all(&self, cluster: &str, instances: &[String]) {
        let parts = &self.0.parts;
        let mut drains: Vec<BoxFuture<'_, ()>> = Vec::new();
        for instance in instances {
            let drain = parts.world.timeout(parts.pace.node_join_limit, parts.planes.drain(cluster, instance));
            drains.push(Box::pin(async move {
                let _ = drain.await;
            }));
        }
        poll_fn(|cx| {
            drains.retain_mut(|drain| drain.as_mut().poll(cx).is_pending());
            if drains.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Returns when the group is to be deleted, which no drain shall hold up.
    async fn goes_away(&self, nodegroup: &Nodegroup) {
        loop {
            self.0.parts.world.sleep(SUPERSEDED_POLL).await;
            let stored = self.nodegroup(&nodegroup.cluster, &nodegroup.name).await;
            // A store that cannot be read now says nothing about the group.
            if stored.is_ok_and(|stored| stored.is_none_or(|stored| stored.status == NodegroupStatus::Deleting)) {
                return;
            }
        }
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
        let limit = i64::try_from(self.0.parts.pace.node_join_limit.as_micros()).unwrap_or(i64::MAX);
        let desired = usize::try_from(nodegroup.scaling.desired_size).unwrap_or_default();
        let live = &standing.live;
        let running = live.len() == desired && live.iter().all(|instance| instance.state == InstanceState::Running);
        let creating = nodegroup.status == NodegroupStatus::Creating;
        let in_transit = creating || nodegroup.status == NodegroupStatus::Updating;
        // An update is over when its instances run: nodes that cannot join must not keep the group from its next change.
        let all_ready = standing.unready.is_empty() && live.len() == desired;
        let complete = standing.issues.is_empty() && if creating { all_ready } else { running };
        let late = now.micros() - nodegroup.since > limit;
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
        let mut failures = standing.issues;
        if in_transit && !complete && failures.is_empty() {
            let ids = match standing.unready.is_empty() {
                true => live.iter().map(|instance| instance.id.clone()).collect(),
                false => standing.unready.clone(),
            };
            failures.push(join_failure("Instances failed to join the kubernetes cluster", ids));
        }
        let unready_since = match standing.unready.is_empty() {
            true => None,
            false => Some(nodegroup.unready_since.unwrap_or(now.micros())),
        };
        let mut issues = failures.clone();
        if issues.is_empty() && unready_since.is_some_and(|since| now.micros() - since > limit) {
            issues.push(join_failure("Unhealthy nodes in the kubernetes cluster", standing.unready));
        }
        let status = match (nodegroup.status, issues.is_empty()) {
            (NodegroupStatus::Creating, false) => NodegroupStatus::CreateFailed,
            (_, false) => NodegroupStatus::Degraded,
            (_, true) => NodegroupStatus::Active,
        };
        let (key, seen, issues, failures) = (nodegroup.key(), &nodegroup, &issues, &failures);
        let key = key.as_str();
        self.transact(|mut tx| async move {
            let Some(mut stored) = tx.get::<Nodegroup>(key).await? else { return Ok(()) };
            // Someone else has changed it since: that change has its own turn.
            if stored.status != seen.status || stored.update != seen.update {
                return Ok(());
            }
            let before = stored.clone();
            if let Some(update) = stored.update.take() {
                let of = (stored.cluster.as_str(), stored.name.as_str());
                let errors = failures.iter().map(update_error).collect();
                updates::finish(&mut tx, of, &update, errors).await?;
            }
            if failures.is_empty() {
                applied(&mut stored, unready_since.is_none());
            }
            if stored.status != status || before.update.is_some() {
                stored.since = now.micros();
            }
            stored.status = status;
            stored.unready_since = unready_since;
            stored.health.clone_from(issues);
            if stored != before {
                tx.put(key, &stored);
            }
            Ok(())
        })
        .await?;
        // A group that lacks something looks again now and then; a complete one waits for a change.
        let settled = (complete && all_ready) || status == NodegroupStatus::CreateFailed;
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

/// The issue of instances whose nodes are not there.
fn join_failure(message: &str, resources: Vec<String>) -> Issue {
    Issue { code: "NodeCreationFailure".to_owned(), message: message.to_owned(), resources }
}

/// Notes that the nodes have what the group wants. While some are not Ready, one of them may yet come with what was wanted
/// before, so that is kept to be taken away then.
fn applied(nodegroup: &mut Nodegroup, all_ready: bool) {
    if all_ready {
        nodegroup.applied_labels.clone_from(&nodegroup.labels);
        nodegroup.applied_taints.clone_from(&nodegroup.taints);
        return;
    }
    nodegroup.applied_labels.extend(nodegroup.labels.clone());
    for taint in &nodegroup.taints {
        if !nodegroup.applied_taints.contains(taint) {
            nodegroup.applied_taints.push(taint.clone());
        }
    }
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
