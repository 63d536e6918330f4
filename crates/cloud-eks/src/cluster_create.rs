//! `CreateCluster`: its checks in AWS's order, and the record from which the life cycle begins.

use std::collections::BTreeSet;

use cloud_ec2::Cidr;
use cloud_iam::CallerKind;
use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access_entries;
use crate::clusters::{self, LOG_TYPES, Logging, VpcRequest, role_trusts, show};
use crate::encryption;
use crate::error;
use crate::model::{AuthenticationMode, Cluster, ClusterStatus, Tags, VpcConfig};
use crate::service::{Call, digest};
use crate::versions;

/// AWS's default quota.
const MAX_CLUSTERS: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    name: String,
    role_arn: String,
    resources_vpc_config: VpcRequest,
    version: Option<String>,
    kubernetes_network_config: Option<Network>,
    logging: Option<Logging>,
    client_request_token: Option<String>,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    encryption_config: Vec<Value>,
    access_config: Option<Access>,
    bootstrap_self_managed_addons: Option<bool>,
    upgrade_policy: Option<UpgradePolicy>,
    zonal_shift_config: Option<Enabled>,
    #[serde(default)]
    deletion_protection: bool,
    compute_config: Option<Enabled>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Network {
    service_ipv4_cidr: Option<String>,
    ip_family: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Access {
    authentication_mode: Option<AuthenticationMode>,
    bootstrap_cluster_creator_admin_permissions: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UpgradePolicy {
    support_type: Option<String>,
}

#[derive(Deserialize)]
struct Enabled {
    enabled: Option<bool>,
}

/// Members that Minato cannot do yet; asking for them must not be passed over in silence.
static REFUSED: &[&str] = &[
    "controlPlaneScalingConfig",
    "kubeApiServerConfig",
    "kubeControllerManagerConfig",
    "kubeSchedulerConfig",
    "outpostConfig",
    "remoteNetworkConfig",
];

pub(crate) async fn create(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = cloud_iam::decode_input(call.input)?;
    let name = input.name.clone();
    create_checked(&mut call, input).await.map_err(|error| match error.code.as_ref() {
        "InvalidParameterException" | "ResourceInUseException" => error.with("clusterName", name.as_str()),
        _ => error,
    })
}

async fn create_checked(call: &mut Call<'_>, input: Input) -> Result<Value, AwsError> {
    let (eks, digest) = (call.eks, digest(call.input));
    check_name(&input.name)?;
    if let Some(existing) = call.tx.get::<Cluster>(&input.name).await? {
        return match (&existing.token, &input.client_request_token) {
            (Some(old), Some(new)) if old == new && existing.digest == digest => {
                Ok(json!({ "cluster": show(&existing) }))
            }
            (Some(old), Some(new)) if old == new => {
                Err(error::invalid_parameter("The clientRequestToken was used before with other parameters"))
            }
            _ => Err(error::in_use(format!("Cluster already exists with name: {}", input.name))),
        };
    }
    if call.tx.list::<Cluster>("").await?.len() >= MAX_CLUSTERS {
        return Err(error::limit(format!("Cannot create more clusters: the limit is {MAX_CLUSTERS} in this region")));
    }
    if let Some(member) = REFUSED.iter().find(|member| call.input.get(**member).is_some()) {
        return Err(AwsError::not_supported("eks", &format!("CreateCluster with {member}")));
    }
    if input.compute_config.as_ref().and_then(|config| config.enabled) == Some(true) {
        return Err(AwsError::not_supported("eks", "CreateCluster with computeConfig.enabled (Auto Mode)"));
    }
    let version = version(call, input.version.as_deref())?;
    clusters::check_tags(&input.tags)?;
    check_role(call, &input.role_arn).await?;
    let request = &input.resources_vpc_config;
    let subnet_ids = request.subnet_ids.clone().unwrap_or_default();
    if subnet_ids.is_empty() {
        return Err(error::invalid_parameter("Subnets specified must be in at least two different AZs"));
    }
    let subnets = clusters::check_subnets(eks, &subnet_ids, &[]).await?;
    let vpc = eks.0.parts.ec2.vpc(&subnets[0].vpc).await.map_err(error::from_ec2)?;
    let security_groups = request.security_group_ids.clone().unwrap_or_default();
    clusters::check_security_groups(eks, &security_groups, &vpc.id).await?;
    let mut network = VpcConfig {
        subnets: subnet_ids,
        security_groups,
        cluster_security_group: None,
        vpc: vpc.id.clone(),
        public: true,
        private: false,
        public_cidrs: Vec::new(),
    };
    (network.public, network.private, network.public_cidrs) = clusters::endpoint_access(request, &network)?;
    let service_cidr = service_cidr(input.kubernetes_network_config.as_ref(), vpc.cidr)?;
    encryption::check(call, &input.encryption_config).await?;
    let access = input.access_config;
    let authentication =
        access.as_ref().and_then(|access| access.authentication_mode).unwrap_or(AuthenticationMode::ConfigMap);
    let creator_admin =
        access.as_ref().and_then(|access| access.bootstrap_cluster_creator_admin_permissions).unwrap_or(true);
    let now = call.ctx.now;
    let creator = match &call.ctx.caller.kind {
        CallerKind::AssumedRole { .. } => {
            eks.0.parts.iam.role_arn_of(&call.ctx.caller).await?.unwrap_or_else(|| call.ctx.caller.arn.clone())
        }
        _ => call.ctx.caller.arn.clone(),
    };
    let cluster = Cluster {
        arn: format!("arn:aws:eks:{}:{}:cluster/{}", eks.region(), eks.account(), input.name),
        id: eks.0.parts.world.random_string("0123456789ABCDEF", 32),
        name: input.name,
        created: now.micros(),
        version,
        role: input.role_arn,
        network,
        service_cidr,
        logging: logging(input.logging.as_ref())?,
        authentication,
        creator_admin,
        default_addons: input.bootstrap_self_managed_addons.unwrap_or(true),
        support: input.upgrade_policy.and_then(|policy| policy.support_type).unwrap_or_else(|| "EXTENDED".to_owned()),
        deletion_protection: input.deletion_protection,
        zonal_shift: input.zonal_shift_config.and_then(|config| config.enabled).unwrap_or(false),
        encryption: input.encryption_config,
        provider: None,
        tags: input.tags,
        status: ClusterStatus::Creating,
        due: (now + eks.0.parts.pace.cluster_create).micros(),
        endpoint: None,
        health: Vec::new(),
        update: None,
        restoring: None,
        token: input.client_request_token,
        digest,
        creator,
    };
    call.tx.put(&cluster.name, &cluster);
    if creator_admin && authentication.has_entries() {
        let id = call.ctx.caller.principal_id().to_owned();
        access_entries::insert_creator(eks, call.tx, &cluster, id)?;
    }
    Ok(json!({ "cluster": show(&cluster) }))
}

pub(crate) fn check_name(name: &str) -> Result<(), AwsError> {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphanumeric());
    if !first || name.len() > 100 || !chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        return Err(error::invalid_parameter(format!(
            "The cluster name {name:?} is not valid: it must match ^[0-9A-Za-z][A-Za-z0-9\\-_]* and have 1 to 100 characters"
        )));
    }
    Ok(())
}

fn version(call: &Call<'_>, wanted: Option<&str>) -> Result<String, AwsError> {
    let wanted = wanted.unwrap_or(versions::default().name);
    match versions::supported(wanted, call.ctx.now) {
        Some(version) => Ok(version.name.to_owned()),
        None => Err(error::invalid_parameter(format!("unsupported Kubernetes version {wanted}"))),
    }
}

async fn check_role(call: &Call<'_>, arn: &str) -> Result<(), AwsError> {
    if arn.parse::<cloud_wire::Arn>().map(|arn| arn.service() != "iam").unwrap_or(true) {
        return Err(error::invalid_parameter(format!("Error in role params: {arn} is not the ARN of a role")));
    }
    match role_trusts(call.eks, arn, "eks.amazonaws.com").await? {
        None => Err(error::invalid_parameter(format!(
            "Role with arn: {arn}, could not be assumed because it does not exist or the trusted entity is not correct"
        ))),
        Some(false) => Err(error::invalid_parameter(format!(
            "Role could not be assumed because the trusted entity is not correct: {arn}"
        ))),
        Some(true) => call
            .eks
            .0
            .parts
            .iam
            .authorize(
                call.ctx,
                "iam:PassRole",
                arn,
                &[("iam:PassedToService".to_owned(), vec!["eks.amazonaws.com".to_owned()])],
            )
            .await
            .map_err(|error| AwsError::new("AccessDeniedException", 403, error.message)),
    }
}

/// /12 to /24 inside of the private ranges, apart from the VPC; one that does not overlap is chosen when none is given.
fn service_cidr(network: Option<&Network>, vpc: Cidr) -> Result<String, AwsError> {
    if network.and_then(|network| network.ip_family.as_deref()) == Some("ipv6") {
        return Err(AwsError::not_supported("eks", "CreateCluster with ipFamily ipv6"));
    }
    let parsed = |text: &str| -> Result<Cidr, AwsError> {
        text.parse().map_err(|_| error::invalid_parameter(format!("The specified serviceIpv4Cidr is invalid: {text}")))
    };
    let Some(text) = network.and_then(|network| network.service_ipv4_cidr.as_deref()) else {
        for candidate in ["10.100.0.0/16", "172.20.0.0/16"] {
            if !parsed(candidate)?.overlaps(vpc) {
                return Ok(candidate.to_owned());
            }
        }
        return Err(error::invalid_parameter(format!(
            "No default service CIDR is free beside the VPC {vpc}: give serviceIpv4Cidr"
        )));
    };
    let cidr = parsed(text)?;
    let mut private = false;
    for range in ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"] {
        private |= parsed(range)?.contains(cidr);
    }
    if !private || !(12..=24).contains(&cidr.bits()) {
        return Err(error::invalid_parameter(format!(
            "The specified serviceIpv4Cidr {cidr} is invalid: it must be between /24 and /12 and lie within 10.0.0.0/8, 172.16.0.0/12, or 192.168.0.0/16"
        )));
    }
    if cidr.overlaps(vpc) {
        return Err(error::invalid_parameter(format!(
            "The specified serviceIpv4Cidr {cidr} overlaps with the CIDR {vpc} of the VPC"
        )));
    }
    Ok(cidr.to_string())
}

pub(crate) fn logging(logging: Option<&Logging>) -> Result<BTreeSet<String>, AwsError> {
    let mut on = BTreeSet::new();
    apply_logging(logging, &mut on)?;
    Ok(on)
}

/// Switches log types on and off; one may be named only once.
pub(crate) fn apply_logging(logging: Option<&Logging>, on: &mut BTreeSet<String>) -> Result<(), AwsError> {
    let mut seen = BTreeSet::new();
    for setup in logging.iter().flat_map(|logging| &logging.cluster_logging) {
        for kind in &setup.types {
            if !LOG_TYPES.contains(&kind.as_str()) {
                return Err(error::invalid_parameter(format!("The log type {kind} is not valid")));
            }
            if !seen.insert(kind.clone()) {
                return Err(error::invalid_parameter(format!("The log type {kind} is given more than once")));
            }
            if setup.enabled {
                on.insert(kind.clone());
            } else {
                on.remove(kind);
            }
        }
    }
    Ok(())
}
