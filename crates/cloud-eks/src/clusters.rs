//! Describing, listing and deleting clusters, and the checks that creating and changing share.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud_ec2::Subnet;
use cloud_iam::policy::{Asking, Request, Usage, parse, trusts};
use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error;
use crate::model::{Cluster, ClusterStatus, Nodegroup, Tags, VpcConfig, issues_json};
use crate::service::{Call, Eks, paged, text};
use crate::versions;

/// Addresses that the control plane needs in each of its subnets. Source: "Subnet requirements for clusters".
pub(crate) const FREE_ADDRESSES: u64 = 6;
/// AWS's quota.
const MAX_SECURITY_GROUPS: usize = 4;
/// Subnets of a cluster.
const MAX_SUBNETS: usize = 16;
/// AWS's quota.
const MAX_CIDRS: usize = 40;
/// AWS's quota.
pub(crate) const MAX_TAGS: usize = 50;
/// Zones where EKS has no control planes.
const REFUSED_ZONES: &[&str] = &["cac1-az3", "use1-az3", "usw1-az2"];
/// The log types, in the order in which EKS shows them.
pub(crate) const LOG_TYPES: &[&str] = &["api", "audit", "authenticator", "controllerManager", "scheduler"];

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VpcRequest {
    pub(crate) subnet_ids: Option<Vec<String>>,
    pub(crate) security_group_ids: Option<Vec<String>>,
    pub(crate) endpoint_public_access: Option<bool>,
    pub(crate) endpoint_private_access: Option<bool>,
    pub(crate) public_access_cidrs: Option<Vec<String>>,
    pub(crate) control_plane_egress_mode: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Logging {
    #[serde(default)]
    pub(crate) cluster_logging: Vec<LogSetup>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct LogSetup {
    #[serde(default)]
    pub(crate) types: Vec<String>,
    #[serde(default)]
    pub(crate) enabled: bool,
}

pub(crate) fn logging_json(on: &std::collections::BTreeSet<String>) -> Value {
    let (enabled, disabled): (Vec<&str>, Vec<&str>) = LOG_TYPES.iter().partition(|kind| on.contains(**kind));
    let mut setups = Vec::new();
    if !enabled.is_empty() {
        setups.push(json!({"types": enabled, "enabled": true}));
    }
    if !disabled.is_empty() {
        setups.push(json!({"types": disabled, "enabled": false}));
    }
    json!({ "clusterLogging": setups })
}

pub(crate) fn show(cluster: &Cluster) -> Value {
    let network = &cluster.network;
    let mut vpc = json!({
        "subnetIds": network.subnets, "securityGroupIds": network.security_groups, "vpcId": network.vpc,
        "endpointPublicAccess": network.public, "endpointPrivateAccess": network.private, "publicAccessCidrs": network.public_cidrs,
    });
    if let Some(group) = &network.cluster_security_group {
        vpc["clusterSecurityGroupId"] = json!(group);
    }
    let platform = versions::find(&cluster.version).map_or("eks.1", |version| version.platform_version);
    let mut json = json!({
        "name": cluster.name, "arn": cluster.arn, "createdAt": cluster.created_at().epoch_seconds(), "version": cluster.version,
        "roleArn": cluster.role, "resourcesVpcConfig": vpc,
        "kubernetesNetworkConfig": {
            "serviceIpv4Cidr": cluster.service_cidr, "ipFamily": "ipv4", "elasticLoadBalancing": {"enabled": false},
        },
        "logging": logging_json(&cluster.logging), "status": cluster.status.name(), "certificateAuthority": {},
        "platformVersion": platform, "tags": cluster.tags, "health": {"issues": issues_json(&cluster.health)},
        "accessConfig": {
            "authenticationMode": cluster.authentication.name(),
        },
        "upgradePolicy": {"supportType": cluster.support}, "zonalShiftConfig": {"enabled": cluster.zonal_shift},
        "computeConfig": {"enabled": false, "nodePools": []}, "storageConfig": {"blockStorage": {"enabled": false}},
        "deletionProtection": cluster.deletion_protection, "controlPlaneScalingConfig": {"tier": "standard"},
    });
    if cluster.status == ClusterStatus::Creating {
        json["accessConfig"]["bootstrapClusterCreatorAdminPermissions"] = json!(cluster.creator_admin);
    }
    if let Some(endpoint) = &cluster.endpoint {
        // An endpoint is shown when it can be used: clients take its presence as a sign.
        if cluster.status != ClusterStatus::Creating {
            json["endpoint"] = json!(endpoint.url);
            json["certificateAuthority"] = json!({"data": STANDARD.encode(&endpoint.ca_pem)});
            json["identity"] = json!({"oidc": {"issuer": endpoint.issuer}});
        }
    }
    if !cluster.encryption.is_empty() {
        json["encryptionConfig"] = json!(cluster.encryption);
    }
    if let Some(token) = &cluster.token {
        json["clientRequestToken"] = json!(token);
    }
    json
}

pub(crate) async fn describe(mut call: Call<'_>) -> Result<Value, AwsError> {
    let name = text(call.input, "name").unwrap_or_default().to_owned();
    let mut cluster = call.cluster(&name).await?;
    // Each process that serves the region has an endpoint of its own for the cluster, and who asks it can reach that one.
    if let (Some(stored), Some(url)) = (&mut cluster.endpoint, call.eks.0.parts.planes.endpoint(&name)) {
        stored.url = url;
    }
    Ok(json!({ "cluster": show(&cluster) }))
}

pub(crate) async fn list(call: Call<'_>) -> Result<Value, AwsError> {
    let clusters = call.tx.list::<Cluster>("").await?;
    let items = clusters.into_iter().map(|(name, _)| (name.clone(), Value::String(name))).collect();
    paged(call.input, items, "clusters")
}

pub(crate) async fn delete(mut call: Call<'_>) -> Result<Value, AwsError> {
    let name = text(call.input, "name").unwrap_or_default().to_owned();
    let mut cluster = call.cluster(&name).await?;
    let with_name = |error: AwsError| error.with("clusterName", name.as_str());
    if cluster.deletion_protection {
        return Err(with_name(error::invalid_request(format!(
            "Cannot delete cluster {name} because deletion protection is enabled: disable it with UpdateClusterConfig first"
        ))));
    }
    if !call.tx.list::<Nodegroup>(&format!("{name}/")).await?.is_empty() {
        return Err(with_name(error::in_use("Cluster has nodegroups attached")));
    }
    match cluster.status {
        ClusterStatus::Deleting => return Ok(json!({ "cluster": show(&cluster) })),
        ClusterStatus::Creating => {
            return Err(with_name(error::in_use(format!(
                "Cannot delete because cluster {name} currently has an update in progress"
            ))));
        }
        ClusterStatus::Updating => {
            return Err(with_name(error::in_use(format!(
                "Cannot delete because cluster {name} currently has update in progress"
            ))));
        }
        ClusterStatus::Active | ClusterStatus::Failed => {}
    }
    cluster.status = ClusterStatus::Deleting;
    cluster.due = (call.ctx.now + call.eks.0.parts.pace.cluster_delete).micros();
    call.tx.put(&name, &cluster);
    Ok(json!({ "cluster": show(&cluster) }))
}

/// Tags of a request.
pub(crate) fn check_tags(tags: &Tags) -> Result<(), AwsError> {
    if tags.len() > MAX_TAGS {
        return Err(error::invalid_parameter(format!(
            "A resource has at most {MAX_TAGS} tags, {} were given",
            tags.len()
        )));
    }
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(error::invalid_parameter(format!(
                "The tag {key:?} is not valid: a key has 1 to 128 characters, a value up to 256"
            )));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(error::invalid_parameter(format!(
                "The tag {key:?} is not valid: keys beginning with aws: are reserved"
            )));
        }
    }
    Ok(())
}

/// Whether `service` may assume the role `arn` of this account.
pub(crate) async fn role_trusts(eks: &Eks, arn: &str, service: &str) -> Result<Option<bool>, AwsError> {
    let Some(role) = eks.0.parts.iam.role_by_arn(arn).await? else { return Ok(None) };
    let Ok(document) = parse(&role.trust, Usage::Trust) else { return Ok(Some(false)) };
    let asking = Asking { arn: "", role_arn: None, account: eks.account(), service: Some(service) };
    let context = Default::default();
    let request = Request { action: "sts:AssumeRole", resource: arn, context: &context };
    Ok(Some(trusts(&document, asking, &request).is_some()))
}

/// The subnets of a control plane: they exist, lie in one VPC and in two zones that EKS serves, and have addresses left.
pub(crate) async fn check_subnets(eks: &Eks, ids: &[String], already: &[String]) -> Result<Vec<Subnet>, AwsError> {
    let mut subnets: Vec<Subnet> = Vec::new();
    if ids.len() > MAX_SUBNETS {
        return Err(error::invalid_parameter(format!("A cluster has at most {MAX_SUBNETS} subnets")));
    }
    for id in ids {
        subnets.push(eks.0.parts.ec2.subnet(id).await.map_err(error::from_ec2)?);
    }
    let zones: std::collections::BTreeSet<&str> = subnets.iter().map(|subnet| subnet.zone.as_str()).collect();
    if let Some(refused) = subnets.iter().find(|subnet| REFUSED_ZONES.contains(&subnet.zone_id.as_str())) {
        let valid: Vec<String> = cloud_ec2::zones(eks.region())
            .into_iter()
            .filter(|zone| !REFUSED_ZONES.contains(&zone.id.as_str()))
            .map(|zone| zone.name)
            .collect();
        let message = format!(
            "Cannot create cluster because {}, the targeted availability zone, does not currently have sufficient capacity to support the cluster. Retry and choose from these availability zones: {}",
            refused.zone,
            valid.join(", ")
        );
        return Err(
            AwsError::new("UnsupportedAvailabilityZoneException", 400, message).with("validZones", json!(valid))
        );
    }
    if subnets.iter().any(|subnet| subnet.vpc != subnets[0].vpc) {
        return Err(error::invalid_parameter("Subnets specified must belong to the same VPC"));
    }
    if zones.len() < 2 {
        return Err(error::invalid_parameter("Subnets specified must be in at least two different AZs"));
    }
    for subnet in subnets.iter().filter(|subnet| !already.contains(&subnet.id)) {
        let free = eks.0.parts.ec2.free_addresses(&subnet.id).await.map_err(error::from_ec2)?;
        if free < FREE_ADDRESSES {
            return Err(error::invalid_parameter(format!(
                "Provided subnets {} Free IPs: {free} , need at least {FREE_ADDRESSES} IPs in each subnet to be free for this operation",
                subnet.id
            )));
        }
    }
    Ok(subnets)
}

pub(crate) async fn check_security_groups(eks: &Eks, ids: &[String], vpc: &str) -> Result<(), AwsError> {
    if ids.len() > MAX_SECURITY_GROUPS {
        return Err(error::invalid_parameter(format!(
            "A cluster has at most {MAX_SECURITY_GROUPS} additional security groups"
        )));
    }
    for id in ids {
        let group = eks.0.parts.ec2.security_group(id).await.map_err(error::from_ec2)?;
        if group.vpc != vpc {
            return Err(error::invalid_parameter(format!(
                "Security group(s) {id} are not in the same VPC as the subnets. Please specify valid security group(s)"
            )));
        }
    }
    Ok(())
}

/// The access to the endpoint after a request.
pub(crate) fn endpoint_access(
    request: &VpcRequest,
    network: &VpcConfig,
) -> Result<(bool, bool, Vec<String>), AwsError> {
    let public = request.endpoint_public_access.unwrap_or(network.public);
    let private = request.endpoint_private_access.unwrap_or(network.private);
    if !public && !private {
        return Err(error::invalid_parameter("Private and public endpoint access cannot be false"));
    }
    let mut cidrs = request.public_access_cidrs.clone().unwrap_or_else(|| network.public_cidrs.clone());
    if cidrs.is_empty() {
        cidrs = vec!["0.0.0.0/0".to_owned()];
    }
    if cidrs.len() > MAX_CIDRS {
        return Err(error::invalid_parameter(format!("A cluster has at most {MAX_CIDRS} public access CIDRs")));
    }
    if request.public_access_cidrs.is_some() && !public {
        return Err(error::invalid_parameter(
            "Public access CIDRs can only be specified when public access is enabled",
        ));
    }
    for cidr in &cidrs {
        let is_ipv6 = cidr.contains(':') && cidr.contains('/');
        if !is_ipv6 && cloud_ec2::Cidr::parse_lenient(cidr).is_err() {
            return Err(error::invalid_parameter(format!("Invalid CIDR: {cidr}")));
        }
    }
    Ok((public, private, cidrs))
}
