//! Managed node groups: creating, describing, listing, deleting.

use std::collections::BTreeMap;

use cloud_ec2::{Architecture, find_instance_type};
use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};
use world::Timestamp;

use crate::access_entries;
use crate::clusters::{check_tags, role_trusts};
use crate::error;
use crate::model::{ClusterStatus, Nodegroup, NodegroupStatus, Scaling, Tags, Taint, issues_json};
use crate::service::{Call, digest, paged, text};
use crate::{updates, versions};

/// AWS's default quota.
const MAX_NODEGROUPS: usize = 30;
/// AWS's default quota of nodes per node group.
pub(crate) const MAX_NODES: i64 = 450;
/// Taints of one node group, AWS's limit.
const MAX_TAINTS: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    cluster_name: String,
    nodegroup_name: String,
    subnets: Vec<String>,
    node_role: String,
    scaling_config: Option<ScalingRequest>,
    disk_size: Option<i64>,
    #[serde(default)]
    instance_types: Vec<String>,
    ami_type: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    taints: Vec<Taint>,
    #[serde(default)]
    tags: Tags,
    client_request_token: Option<String>,
    update_config: Option<Value>,
    node_repair_config: Option<Value>,
    capacity_type: Option<String>,
    version: Option<String>,
    release_version: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScalingRequest {
    min_size: Option<i64>,
    max_size: Option<i64>,
    desired_size: Option<i64>,
}

/// Members that Minato cannot do yet.
static REFUSED: &[&str] = &["launchTemplate", "remoteAccess", "warmPoolConfig"];

impl ScalingRequest {
    /// What the members that are not given are. AWS does not document it: two nodes, bent to what is given.
    fn defaults(self) -> Scaling {
        let least = self.min_size.unwrap_or_default().max(2);
        let desired_size = self.desired_size.unwrap_or(least.min(self.max_size.unwrap_or(least)));
        Scaling { min_size: desired_size.min(2), max_size: desired_size.max(2), desired_size }
    }

    /// What it makes of the present configuration.
    pub(crate) fn over(self, old: Scaling) -> Result<Scaling, AwsError> {
        let scaling = Scaling {
            min_size: self.min_size.unwrap_or(old.min_size),
            max_size: self.max_size.unwrap_or(old.max_size),
            desired_size: self.desired_size.unwrap_or(old.desired_size),
        };
        let Scaling { min_size, max_size, desired_size } = scaling;
        let fail = |message: String| Err(error::invalid_parameter(message));
        if min_size < 0 || max_size < 1 || desired_size < 0 {
            return fail("minSize and desiredSize must be at least 0, and maxSize at least 1".to_owned());
        }
        if min_size > max_size {
            return fail(format!("Minimum capacity {min_size} can't be greater than maximum capacity {max_size}"));
        }
        if desired_size < min_size {
            return fail(format!("Minimum capacity {min_size} can't be greater than desired size {desired_size}"));
        }
        if desired_size > max_size {
            return fail(format!("desired capacity {desired_size} can't be greater than max size {max_size}"));
        }
        if max_size > MAX_NODES {
            return fail(format!("maxSize {max_size} is above the limit of {MAX_NODES} nodes per node group"));
        }
        Ok(scaling)
    }
}

pub(crate) fn show(nodegroup: &Nodegroup) -> Value {
    let time = |micros: i64| Timestamp::from_micros(micros).epoch_seconds();
    let mut json = json!({
        "nodegroupName": nodegroup.name, "nodegroupArn": nodegroup.arn, "clusterName": nodegroup.cluster,
        "version": nodegroup.version, "releaseVersion": nodegroup.release, "createdAt": time(nodegroup.created),
        "modifiedAt": time(nodegroup.modified), "status": nodegroup.status.name(), "capacityType": nodegroup.capacity,
        "scalingConfig": nodegroup.scaling, "instanceTypes": nodegroup.instance_types, "subnets": nodegroup.subnets,
        "amiType": nodegroup.ami_type, "nodeRole": nodegroup.role, "labels": nodegroup.labels, "diskSize": nodegroup.disk,
        "health": {"issues": issues_json(&nodegroup.health)}, "updateConfig": nodegroup.update_config, "tags": nodegroup.tags,
        "resources": {"autoScalingGroups": [{"name": nodegroup.scaling_group()}]},
    });
    if !nodegroup.taints.is_empty() {
        json["taints"] = json!(nodegroup.taints);
    }
    if let Some(repair) = &nodegroup.repair {
        json["nodeRepairConfig"] = repair.clone();
    }
    json
}

pub(crate) async fn create(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = cloud_iam::decode_input(call.input)?;
    let (cluster, name) = (input.cluster_name.clone(), input.nodegroup_name.clone());
    create_checked(&mut call, input).await.map_err(|error| match error.code.as_ref() {
        "InvalidParameterException"
        | "InvalidRequestException"
        | "ResourceInUseException"
        | "ResourceLimitExceededException" => {
            error.with("clusterName", cluster.as_str()).with("nodegroupName", name.as_str())
        }
        _ => error,
    })
}

async fn create_checked(call: &mut Call<'_>, input: Input) -> Result<Value, AwsError> {
    let (eks, digest) = (call.eks, digest(call.input));
    let cluster = call.cluster(&input.cluster_name).await?;
    let (cluster_name, name) = (input.cluster_name.as_str(), input.nodegroup_name.as_str());
    check_name(name)?;
    let key = format!("{cluster_name}/{name}");
    if let Some(existing) = call.tx.get::<Nodegroup>(&key).await? {
        let repeated = existing.token.is_some() && existing.token == input.client_request_token;
        return match repeated {
            true if existing.digest == digest => Ok(json!({ "nodegroup": show(&existing) })),
            true => Err(error::invalid_parameter("The clientRequestToken was used before with other parameters")),
            false => {
                Err(error::in_use(format!("NodeGroup already exists with name {name} and cluster name {cluster_name}")))
            }
        };
    }
    if !matches!(cluster.status, ClusterStatus::Active | ClusterStatus::Updating) {
        return Err(error::invalid_request(format!("Cluster '{cluster_name}' is not in ACTIVE status")));
    }
    if call.tx.list::<Nodegroup>(&format!("{cluster_name}/")).await?.len() >= MAX_NODEGROUPS {
        return Err(error::limit(format!("A cluster has at most {MAX_NODEGROUPS} node groups")));
    }
    if let Some(member) = REFUSED.iter().find(|member| call.input.get(**member).is_some()) {
        return Err(AwsError::not_supported("eks", &format!("CreateNodegroup with {member}")));
    }
    let version = input.version.clone().unwrap_or_else(|| cluster.version.clone());
    if version != cluster.version {
        return Err(error::invalid_parameter(format!(
            "Requested Nodegroup version {version} is not the cluster's version {}",
            cluster.version
        )));
    }
    let release = release_of(&version);
    if input.release_version.as_ref().is_some_and(|wanted| *wanted != release) {
        let wanted = input.release_version.unwrap_or_default();
        return Err(error::invalid_parameter(format!(
            "Requested release version {wanted} is not valid for kubernetes version {version}"
        )));
    }
    check_tags(&input.tags)?;
    check_labels(&input.labels)?;
    check_taints(&input.taints)?;
    check_role(call, &input.node_role).await?;
    check_subnets(call, &input.subnets, &cluster.network.vpc).await?;
    let (instance_types, ami_type) = instance_types(input.instance_types, input.ami_type)?;
    let scaling = input.scaling_config.unwrap_or_default();
    let scaling = scaling.over(scaling.defaults())?;
    let disk = input.disk_size.unwrap_or(if ami_type.starts_with("WINDOWS") { 50 } else { 20 });
    if !(1..=16_384).contains(&disk) {
        return Err(error::invalid_parameter(format!("diskSize {disk} is not valid: it is between 1 and 16384 GiB")));
    }
    let uuid = eks.0.parts.world.uuid();
    let now = call.ctx.now.micros();
    let nodegroup = Nodegroup {
        cluster: cluster_name.to_owned(),
        name: name.to_owned(),
        arn: format!("arn:aws:eks:{}:{}:nodegroup/{cluster_name}/{name}/{uuid}", eks.region(), eks.account()),
        uuid,
        created: now,
        modified: now,
        version,
        release,
        capacity: input.capacity_type.unwrap_or_else(|| "ON_DEMAND".to_owned()),
        scaling,
        instance_types,
        subnets: input.subnets,
        ami_type,
        role: input.node_role,
        applied_labels: input.labels.clone(),
        applied_taints: input.taints.clone(),
        labels: input.labels,
        taints: input.taints,
        disk,
        update_config: check_update_config(input.update_config)?,
        repair: input.node_repair_config,
        tags: input.tags,
        status: NodegroupStatus::Creating,
        since: now,
        due: (call.ctx.now + eks.0.parts.pace.nodegroup_create).micros(),
        unready_since: None,
        health: Vec::new(),
        update: None,
        token: input.client_request_token,
        digest,
    };
    if nodegroup.capacity == "CAPACITY_BLOCK" {
        return Err(AwsError::not_supported("eks", "CreateNodegroup with capacityType CAPACITY_BLOCK"));
    }
    call.tx.put(&key, &nodegroup);
    if cluster.authentication.has_entries() {
        access_entries::ensure_node_entry(eks, call.tx, &nodegroup).await?;
    } else if cluster.status == ClusterStatus::Updating {
        // The update may be about to give every group's role an entry. A list does not notice a new group, but the cluster's
        // record is compared: written, it makes the update look again.
        call.tx.put(cluster_name, &cluster);
    }
    Ok(json!({ "nodegroup": show(&nodegroup) }))
}

fn check_name(name: &str) -> Result<(), AwsError> {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if !first || name.len() > 63 || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        return Err(error::invalid_parameter(format!(
            "The nodegroup name {name:?} is not valid: it starts with a letter or digit, has letters, digits, hyphens and underscores only, and at most 63 characters"
        )));
    }
    Ok(())
}

/// The AMI release of a version. Minato has one per version.
pub(crate) fn release_of(version: &str) -> String {
    let patch = versions::find(version).map_or(version, |version| version.patch);
    format!("{patch}-20260724")
}

pub(crate) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), AwsError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    for (key, value) in labels {
        let name = key.rsplit('/').next().unwrap_or_default();
        if name.is_empty() || name.len() > 63 || !name.chars().all(fine) || key.len() > 317 {
            return Err(error::invalid_parameter(format!("Label key {key:?} is not valid")));
        }
        if value.len() > 63 || !value.chars().all(fine) {
            return Err(error::invalid_parameter(format!("Label value {value:?} of {key:?} is not valid")));
        }
        // NodeRestriction lets kubelets set only some labels below kubernetes.io; EKS refuses the rest at once.
        let prefix = key.split('/').next().unwrap_or_default();
        if key.contains('/')
            && (prefix.ends_with("eks.amazonaws.com") || prefix == "kubernetes.io" || prefix == "k8s.io")
        {
            return Err(error::invalid_parameter(format!(
                "Label cannot contain reserved prefixes [kubernetes.io/, k8s.io/, eks.amazonaws.com/]: {key}"
            )));
        }
    }
    Ok(())
}

pub(crate) fn check_taints(taints: &[Taint]) -> Result<(), AwsError> {
    if taints.len() > MAX_TAINTS {
        return Err(error::invalid_parameter(format!("A node group has at most {MAX_TAINTS} taints")));
    }
    let mut seen = std::collections::BTreeSet::new();
    for taint in taints {
        if taint.key.is_empty() || taint.key.len() > 63 || taint.value.len() > 63 {
            return Err(error::invalid_parameter(format!(
                "Taint {:?} is not valid: a key has 1 to 63 characters, a value up to 63",
                taint.key
            )));
        }
        if !matches!(taint.effect.as_str(), "NO_EXECUTE" | "NO_SCHEDULE" | "PREFER_NO_SCHEDULE") {
            return Err(error::invalid_parameter(format!("Taint effect {:?} is not valid", taint.effect)));
        }
        if !seen.insert((&taint.key, &taint.effect)) {
            return Err(error::invalid_parameter(format!(
                "Taint {} with effect {} is given twice",
                taint.key, taint.effect
            )));
        }
    }
    Ok(())
}

/// `maxUnavailable` or `maxUnavailablePercentage`, not both; one node when neither is given.
pub(crate) fn check_update_config(config: Option<Value>) -> Result<Value, AwsError> {
    let Some(mut config) = config else { return Ok(json!({"maxUnavailable": 1})) };
    let number = |member: &str| config.get(member).and_then(Value::as_i64);
    match (number("maxUnavailable"), number("maxUnavailablePercentage")) {
        (Some(_), Some(_)) => {
            Err(error::invalid_parameter("Only one of maxUnavailable and maxUnavailablePercentage can be specified"))
        }
        (Some(count), None) if !(1..=100).contains(&count) => {
            Err(error::invalid_parameter("maxUnavailable must be between 1 and 100"))
        }
        (None, Some(percent)) if !(1..=100).contains(&percent) => {
            Err(error::invalid_parameter("maxUnavailablePercentage must be between 1 and 100"))
        }
        (None, None) => {
            config["maxUnavailable"] = json!(1);
            Ok(config)
        }
        _ => Ok(config),
    }
}

async fn check_role(call: &Call<'_>, arn: &str) -> Result<(), AwsError> {
    match role_trusts(call.eks, arn, "ec2.amazonaws.com").await? {
        None => Err(error::invalid_parameter(format!("The role {arn} does not exist"))),
        Some(false) => Err(error::invalid_parameter(format!(
            "Following required service principals [ec2.amazonaws.com] were not found in the trust relationships of nodeRole {arn}"
        ))),
        Some(true) => {
            let extra = [("iam:PassedToService".to_owned(), vec!["eks.amazonaws.com".to_owned()])];
            let passed = call.eks.0.parts.iam.authorize(call.ctx, "iam:PassRole", arn, &extra).await;
            passed.map_err(|error| AwsError::new("AccessDeniedException", 403, error.message))
        }
    }
}

async fn check_subnets(call: &Call<'_>, ids: &[String], vpc: &str) -> Result<(), AwsError> {
    if ids.is_empty() {
        return Err(error::invalid_parameter("Subnets are not specified: a node group needs at least one"));
    }
    for id in ids {
        let subnet = call.eks.0.parts.ec2.subnet(id).await.map_err(error::from_ec2)?;
        if subnet.vpc != vpc {
            return Err(error::invalid_parameter(format!("Subnet {id} is not in the VPC {vpc} of the cluster")));
        }
    }
    Ok(())
}

/// The types and an AMI that fits them all; the other way round when only the AMI is given.
fn instance_types(types: Vec<String>, ami: Option<String>) -> Result<(Vec<String>, String), AwsError> {
    if types.len() > 20 {
        return Err(error::invalid_parameter("A node group has at most 20 instance types"));
    }
    let arm_ami = ami.as_ref().is_some_and(|ami| ami.contains("ARM_64"));
    let types = match types.is_empty() {
        false => types,
        true => vec![if arm_ami { "t4g.medium" } else { "t3.medium" }.to_owned()],
    };
    let mut architectures = Vec::new();
    for name in &types {
        let row = find_instance_type(name).ok_or_else(|| {
            error::invalid_parameter(format!("The following supplied instance types do not exist: [{name}]"))
        })?;
        architectures.push(row.architecture);
    }
    if architectures.iter().any(|architecture| *architecture != architectures[0]) {
        return Err(error::invalid_parameter(format!(
            "Instance types {} are of different architectures",
            types.join(", ")
        )));
    }
    let arm = architectures[0] == Architecture::Arm64;
    let ami = ami.unwrap_or_else(|| if arm { "AL2023_ARM_64_STANDARD" } else { "AL2023_x86_64_STANDARD" }.to_owned());
    if ami == "CUSTOM" {
        return Err(error::invalid_parameter("amiType CUSTOM needs a launch template with an image"));
    }
    if ami.contains("ARM_64") != arm {
        return Err(error::invalid_parameter(format!(
            "[{}] is not a valid instance type for requested amiType {ami}",
            types.join(", ")
        )));
    }
    Ok((types, ami))
}

pub(crate) async fn describe(mut call: Call<'_>) -> Result<Value, AwsError> {
    let (cluster, name) = names(&call);
    call.cluster(&cluster).await?;
    Ok(json!({ "nodegroup": show(&call.nodegroup(&cluster, &name).await?) }))
}

fn names(call: &Call<'_>) -> (String, String) {
    let member = |member| text(call.input, member).unwrap_or_default().to_owned();
    (member("clusterName"), member("nodegroupName"))
}

pub(crate) async fn list(mut call: Call<'_>) -> Result<Value, AwsError> {
    let (cluster, _) = names(&call);
    call.cluster(&cluster).await?;
    let nodegroups = call.tx.list::<Nodegroup>(&format!("{cluster}/")).await?;
    let items = nodegroups.into_iter().map(|(key, nodegroup)| (key, Value::String(nodegroup.name))).collect();
    paged(call.input, items, "nodegroups")
}

pub(crate) async fn delete(mut call: Call<'_>) -> Result<Value, AwsError> {
    let (cluster, name) = names(&call);
    call.cluster(&cluster).await?;
    let mut nodegroup = call.nodegroup(&cluster, &name).await?;
    match nodegroup.status {
        NodegroupStatus::Deleting => {}
        _ => {
            // A group whose update hangs can go too: the update has no more to do.
            if let Some(update) = nodegroup.update.take() {
                updates::cancel(call.tx, (&cluster, &name), &update).await?;
            }
            let now = call.ctx.now;
            nodegroup.status = NodegroupStatus::Deleting;
            nodegroup.since = now.micros();
            nodegroup.modified = now.micros();
            nodegroup.due = (now + call.eks.0.parts.pace.nodegroup_delete).micros();
            call.tx.put(&nodegroup.key(), &nodegroup);
        }
    }
    Ok(json!({ "nodegroup": show(&nodegroup) }))
}
