//! Changing a cluster: configuration and version. Each change is an update; one at a time, one kind per call.

use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster_create::apply_logging;
use crate::clusters::{self, Logging, VpcRequest, endpoint_access};
use crate::error;
use crate::model::{AuthenticationMode, Change, Cluster, ClusterStatus, Nodegroup};
use crate::ports::UpgradeError;
use crate::service::Call;
use crate::updates;
use crate::versions::{self, minor_of};

/// How many minors nodes may be behind the control plane. Source: the Kubernetes version skew policy.
const NODE_SKEW: u32 = 3;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    name: String,
    resources_vpc_config: Option<VpcRequest>,
    logging: Option<Logging>,
    client_request_token: Option<String>,
    access_config: Option<Access>,
    upgrade_policy: Option<UpgradePolicy>,
    zonal_shift_config: Option<Enabled>,
    deletion_protection: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Access {
    authentication_mode: Option<AuthenticationMode>,
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

/// Members of kinds of updates that Minato cannot do yet.
static REFUSED: &[&str] = &[
    "computeConfig",
    "controlPlaneScalingConfig",
    "kubeApiServerConfig",
    "kubeControllerManagerConfig",
    "kubeSchedulerConfig",
    "kubernetesNetworkConfig",
    "remoteNetworkConfig",
    "storageConfig",
];

/// A change, the type of its update and what the update shows.
pub(crate) struct Planned {
    pub(crate) kind: &'static str,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) change: Change,
}

pub(crate) fn param(kind: &str, value: impl ToString) -> (String, String) {
    (kind.to_owned(), value.to_string())
}

pub(crate) async fn update(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = cloud_iam::decode_input(call.input)?;
    let name = input.name.clone();
    let cluster = call.cluster(&name).await?;
    let with_name = |error: AwsError| error.with("clusterName", name.as_str());
    let token = input.client_request_token.clone();
    if let Some(update) = updates::repeated(call.tx, (&name, ""), token.as_ref()).await? {
        return Ok(json!({ "update": update.json() }));
    }
    if let Some(member) = REFUSED.iter().find(|member| call.input.get(**member).is_some()) {
        return Err(AwsError::not_supported("eks", &format!("UpdateClusterConfig with {member}")));
    }
    let planned = plan(&call, &cluster, input).await.map_err(with_name)?;
    start(&mut call, cluster, planned, token).await.map_err(with_name)
}

async fn plan(call: &Call<'_>, cluster: &Cluster, input: Input) -> Result<Planned, AwsError> {
    let mut planned = Vec::new();
    if let Some(request) = &input.resources_vpc_config {
        planned.extend(plan_vpc(call, cluster, request).await?);
    }
    if let Some(logging) = &input.logging {
        planned.push(plan_logging(cluster, logging)?);
    }
    if let Some(access) = &input.access_config {
        planned.push(plan_access(cluster, access.authentication_mode)?);
    }
    if let Some(policy) = &input.upgrade_policy {
        let support = policy.support_type.clone().unwrap_or_default();
        if support == cluster.support {
            return Err(error::invalid_parameter(format!(
                "Cluster is already at the desired configuration with supportType: {support}"
            )));
        }
        let params = vec![param("UpgradePolicy", json!({ "supportType": support }))];
        planned.push(Planned { kind: "UpgradePolicyUpdate", params, change: Change::Support(support) });
    }
    if let Some(config) = &input.zonal_shift_config {
        let on = config.enabled.unwrap_or(false);
        if on == cluster.zonal_shift {
            return Err(error::invalid_parameter(format!(
                "Cluster is already at the desired configuration with zonalShiftConfig.enabled: {on}"
            )));
        }
        let params = vec![param("ZonalShiftConfig", json!({ "enabled": on }))];
        planned.push(Planned { kind: "ZonalShiftConfigUpdate", params, change: Change::ZonalShift(on) });
    }
    if let Some(on) = input.deletion_protection {
        if on == cluster.deletion_protection {
            return Err(error::invalid_parameter(format!(
                "Cluster is already at the desired configuration with deletionProtection: {on}"
            )));
        }
        let params = vec![param("DeletionProtection", on)];
        planned.push(Planned { kind: "DeletionProtectionUpdate", params, change: Change::DeletionProtection(on) });
    }
    match planned.len() {
        1 => planned.pop().ok_or_else(|| error::invalid_parameter("Invalid type for cluster update.")),
        0 => Err(error::invalid_parameter("Invalid type for cluster update.")),
        _ => Err(error::invalid_parameter("Only one type of update can be allowed.")),
    }
}

async fn plan_vpc(call: &Call<'_>, cluster: &Cluster, request: &VpcRequest) -> Result<Vec<Planned>, AwsError> {
    let mut planned = Vec::new();
    if request.control_plane_egress_mode.is_some() {
        return Err(AwsError::not_supported("eks", "UpdateClusterConfig with controlPlaneEgressMode"));
    }
    let network = &cluster.network;
    let access = request.endpoint_public_access.is_some()
        || request.endpoint_private_access.is_some()
        || request.public_access_cidrs.is_some();
    if access {
        let (public, private, cidrs) = endpoint_access(request, network)?;
        if (public, private, &cidrs) == (network.public, network.private, &network.public_cidrs) {
            // The blank before the comma is AWS's.
            return Err(error::invalid_parameter(format!(
                "Cluster is already at the desired configuration with endpointPrivateAccess: {private} , endpointPublicAccess: {public}, and Public Endpoint Restrictions: [{}]",
                cidrs.join(", ")
            )));
        }
        let params = vec![
            param("EndpointPublicAccess", public),
            param("EndpointPrivateAccess", private),
            param("PublicAccessCidrs", json!(cidrs)),
        ];
        planned.push(Planned {
            kind: "EndpointAccessUpdate",
            params,
            change: Change::Endpoint { public, private, cidrs },
        });
    }
    if request.subnet_ids.is_some() || request.security_group_ids.is_some() {
        let subnets = request.subnet_ids.clone().unwrap_or_else(|| network.subnets.clone());
        let security_groups = request.security_group_ids.clone().unwrap_or_else(|| network.security_groups.clone());
        if subnets == network.subnets && security_groups == network.security_groups {
            return Err(error::invalid_parameter(
                "Cluster is already at the desired configuration with the provided VPC config",
            ));
        }
        let found = clusters::check_subnets(call.eks, &subnets, &network.subnets).await?;
        if found.iter().any(|subnet| subnet.vpc != network.vpc) {
            return Err(error::invalid_parameter(format!(
                "Subnets specified must belong to the VPC {} of the cluster",
                network.vpc
            )));
        }
        let old = clusters::check_subnets(call.eks, &network.subnets, &network.subnets).await?;
        let zones = |subnets: &[cloud_ec2::Subnet]| -> std::collections::BTreeSet<String> {
            subnets.iter().map(|subnet| subnet.zone.clone()).collect()
        };
        if zones(&found) != zones(&old) {
            return Err(error::invalid_parameter(
                "Provided subnets must belong to the same set of AZs that were provided when the cluster was created",
            ));
        }
        clusters::check_security_groups(call.eks, &security_groups, &network.vpc).await?;
        let params = vec![param("Subnets", json!(subnets)), param("SecurityGroups", json!(security_groups))];
        planned.push(Planned { kind: "VpcConfigUpdate", params, change: Change::Vpc { subnets, security_groups } });
    }
    Ok(planned)
}

fn plan_logging(cluster: &Cluster, logging: &Logging) -> Result<Planned, AwsError> {
    let mut on = cluster.logging.clone();
    apply_logging(Some(logging), &mut on)?;
    if on == cluster.logging {
        return Err(error::invalid_parameter("No changes needed for the logging config provided"));
    }
    let params = vec![param("ClusterLogging", clusters::logging_json(&on))];
    Ok(Planned { kind: "LoggingUpdate", params, change: Change::Logging(on) })
}

fn plan_access(cluster: &Cluster, wanted: Option<AuthenticationMode>) -> Result<Planned, AwsError> {
    let Some(wanted) = wanted else {
        return Err(error::invalid_parameter("accessConfig must have an authenticationMode"));
    };
    let now = cluster.authentication;
    if wanted == now {
        return Err(error::invalid_parameter(format!(
            "Cluster is already at the desired configuration with authenticationMode: {}",
            now.name()
        )));
    }
    // The order of the variants is the only way there is.
    if wanted < now || (now, wanted) == (AuthenticationMode::ConfigMap, AuthenticationMode::Api) {
        return Err(error::invalid_parameter(format!(
            "Unsupported authentication mode update from {} to {}",
            now.name(),
            wanted.name()
        )));
    }
    let params = vec![param("AuthenticationMode", wanted.name())];
    Ok(Planned { kind: "AccessConfigUpdate", params, change: Change::Access(wanted) })
}

/// Accepts a change: the cluster is UPDATING from now on.
pub(crate) async fn start(
    call: &mut Call<'_>,
    mut cluster: Cluster,
    planned: Planned,
    token: Option<String>,
) -> Result<Value, AwsError> {
    match cluster.status {
        ClusterStatus::Active => {}
        ClusterStatus::Updating => {
            let update = cluster.update.map(|id| format!(" {id}")).unwrap_or_default();
            return Err(error::in_use(format!(
                "Cannot {} because cluster {} currently has update{update} in progress",
                planned.kind, cluster.name
            )));
        }
        status => {
            return Err(error::in_use(format!(
                "Cannot {} because cluster {} is currently in status {}",
                planned.kind,
                cluster.name,
                status.name()
            )));
        }
    }
    let pace = &call.eks.0.parts.pace;
    let time = match planned.change {
        Change::Version(_) => pace.cluster_upgrade,
        _ => pace.cluster_update,
    };
    let name = cluster.name.clone();
    let update =
        updates::begin(call.eks, call.tx, (&name, ""), planned.kind, planned.params, planned.change, token).await?;
    cluster.status = ClusterStatus::Updating;
    cluster.due = (call.ctx.now + time).micros();
    cluster.update = Some(update.id.clone());
    call.tx.put(&name, &cluster);
    Ok(json!({ "update": update.json() }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VersionInput {
    name: String,
    version: String,
    client_request_token: Option<String>,
}

pub(crate) async fn update_version(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: VersionInput = cloud_iam::decode_input(call.input)?;
    let name = input.name.clone();
    let cluster = call.cluster(&name).await?;
    let with_name = |error: AwsError| error.with("clusterName", name.as_str());
    if let Some(update) = updates::repeated(call.tx, (&name, ""), input.client_request_token.as_ref()).await? {
        return Ok(json!({ "update": update.json() }));
    }
    let planned = plan_version(&mut call, &cluster, &input.version).await.map_err(with_name)?;
    start(&mut call, cluster, planned, input.client_request_token).await.map_err(with_name)
}

async fn plan_version(call: &mut Call<'_>, cluster: &Cluster, wanted: &str) -> Result<Planned, AwsError> {
    let Some(version) = versions::supported(wanted, call.ctx.now) else {
        return Err(error::invalid_parameter(format!("unsupported Kubernetes version {wanted}")));
    };
    let now = minor_of(&cluster.version).unwrap_or_default();
    if version.minor() == now {
        return Err(error::invalid_parameter(format!("Cluster is already at version {wanted}")));
    }
    if version.minor() < now {
        return Err(AwsError::not_supported("eks", "UpdateClusterVersion to an earlier version (rollback)"));
    }
    if version.minor() != now + 1 {
        return Err(error::invalid_parameter(format!(
            "Unsupported Kubernetes minor version update from {} to {wanted}",
            cluster.version
        )));
    }
    for (_, nodegroup) in call.tx.list::<Nodegroup>(&format!("{}/", cluster.name)).await? {
        let nodes = minor_of(&nodegroup.version).unwrap_or_default();
        if nodes + NODE_SKEW < version.minor() {
            return Err(error::invalid_request(format!(
                "Nodegroups {} must be updated to match cluster version {} before updating cluster version",
                nodegroup.name, cluster.version
            )));
        }
    }
    if let Err(error) = call.eks.0.parts.planes.can_upgrade(&cluster.name, wanted) {
        let message = match error {
            UpgradeError::NotSupported(message) | UpgradeError::Failed(message) => message,
        };
        return Err(AwsError::not_supported(
            "eks",
            &format!("UpdateClusterVersion from {} to {wanted} ({message})", cluster.version),
        ));
    }
    let params = vec![param("Version", wanted), param("PlatformVersion", version.platform_version)];
    Ok(Planned { kind: "VersionUpdate", params, change: Change::Version(wanted.to_owned()) })
}
