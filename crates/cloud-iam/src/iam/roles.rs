//! Roles and their trust policies.

use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::checks::{self, Paging, Tag, already_exists, delete_conflict, limit_exceeded, listing};
use super::model::{Grants, Role, User, tags_json};
use super::{Call, nothing};
use crate::policy::{PolicyDocument, Usage, parse};
use crate::service::decode_input;

/// AWS's quota `Roles per account`.
const MAX_ROLES: usize = 1000;
/// AWS's quota of a trust policy, in characters without white space.
const MAX_TRUST: usize = 2048;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    role_name: String,
    assume_role_policy_document: String,
    path: Option<String>,
    description: Option<String>,
    max_session_duration: Option<i64>,
    permissions_boundary: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

pub(super) async fn create(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Create = decode_input(call.input)?;
    checks::name("roleName", &input.role_name, 64)?;
    let path = checks::path(input.path.as_deref())?;
    if path.starts_with("/aws-service-role/") {
        return Err(checks::invalid("The path /aws-service-role/ is reserved for service-linked roles."));
    }
    trust(&mut call, &input.assume_role_policy_document).await?;
    let mut role = Role {
        path,
        id: call.iam.new_id("AROA"),
        created: call.ctx.now.seconds(),
        trust: input.assume_role_policy_document,
        description: input.description,
        max_session: max_session(input.max_session_duration)?,
        tags: Default::default(),
        grants: Grants::default(),
        profiles: Default::default(),
        name: input.role_name,
    };
    checks::add_tags(&mut role.tags, &input.tags)?;
    if let Some(boundary) = &input.permissions_boundary {
        role.grants.boundary = Some(call.boundary(boundary).await?);
    }
    insert(&mut call, &role).await?;
    Ok(json!({ "Role": role.json(call.iam.account()) }))
}

async fn insert(call: &mut Call<'_>, role: &Role) -> Result<(), AwsError> {
    if call.tx.get::<Role>(&role.name.to_lowercase()).await?.is_some() {
        return Err(already_exists(format!("Role with name {} already exists.", role.name)));
    }
    if call.tx.list::<Role>("").await?.len() >= MAX_ROLES {
        return Err(limit_exceeded("RolesPerAccount", MAX_ROLES));
    }
    call.put_role(role);
    Ok(())
}

fn max_session(seconds: Option<i64>) -> Result<i64, AwsError> {
    let seconds = seconds.unwrap_or(3600);
    if !(3600..=43_200).contains(&seconds) {
        return Err(checks::invalid(format!(
            "1 validation error detected: Value '{seconds}' at 'maxSessionDuration' failed to satisfy constraint: Member must have value between 3600 and 43200"
        )));
    }
    Ok(seconds)
}

/// A valid trust policy whose principals of this account exist.
async fn trust(call: &mut Call<'_>, text: &str) -> Result<PolicyDocument, AwsError> {
    let document = parse(text, Usage::Trust)?;
    if text.chars().filter(|c| !c.is_whitespace()).count() > MAX_TRUST {
        return Err(limit_exceeded("ACLSizePerRole", MAX_TRUST));
    }
    let malformed = |kind: &str, name: &str| {
        AwsError::new("MalformedPolicyDocument", 400, format!("Invalid principal in policy: \"{kind}\":\"{name}\""))
    };
    for principals in document.statements.iter().filter_map(|statement| statement.principal.as_ref()) {
        for name in &principals.aws {
            if !principal_exists(call, name).await? {
                return Err(malformed("AWS", name));
            }
        }
        for name in &principals.service {
            let known = name.ends_with(".amazonaws.com") || name.ends_with(".amazonaws.com.cn");
            if !known || name.contains(['*', '/', ' ']) {
                return Err(malformed("SERVICE", name));
            }
        }
        for name in &principals.federated {
            let provider = name.contains(":oidc-provider/") || name.contains(":saml-provider/");
            let public =
                ["accounts.google.com", "cognito-identity.amazonaws.com", "graph.facebook.com", "www.amazon.com"];
            if !(public.contains(&name.as_str()) || provider && name.starts_with("arn:")) {
                return Err(malformed("FEDERATED", name));
            }
        }
    }
    Ok(document)
}

async fn principal_exists(call: &mut Call<'_>, name: &str) -> Result<bool, AwsError> {
    if name.len() == 12 && name.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(true);
    }
    let Ok(arn) = name.parse::<cloud_wire::Arn>() else { return Ok(false) };
    let (kind, rest) = arn.resource_kind();
    let last = rest.rsplit('/').next().unwrap_or_default();
    // A wildcard names no one; principals of other accounts cannot be looked up.
    if rest.contains('*') || !matches!(arn.service(), "iam" | "sts") || arn.account().is_empty() {
        return Ok(false);
    }
    if arn.account() != call.iam.account() {
        return Ok(true);
    }
    Ok(match (arn.service(), kind) {
        ("iam", "") => rest == "root",
        ("iam", "user") => {
            let user = call.tx.get::<User>(&last.to_lowercase()).await?;
            user.is_some_and(|user| user.arn(call.iam.account()) == name)
        }
        ("iam", "role") => {
            let role = call.tx.get::<Role>(&last.to_lowercase()).await?;
            role.is_some_and(|role| role.arn(call.iam.account()) == name)
        }
        ("sts", "assumed-role") => {
            let role = rest.split('/').next().unwrap_or_default();
            call.tx.get::<Role>(&role.to_lowercase()).await?.is_some()
        }
        ("sts", "federated-user") => true,
        _ => false,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceLinked {
    #[serde(rename = "AWSServiceName")]
    service: String,
    description: Option<String>,
    custom_suffix: Option<String>,
}

/// Service, role name. Alphabetical.
static SERVICE_LINKED: &[(&str, &str)] = &[
    ("autoscaling.amazonaws.com", "AWSServiceRoleForAutoScaling"),
    ("ec2.amazonaws.com", "AWSServiceRoleForEC2"),
    ("eks-connector.amazonaws.com", "AWSServiceRoleForAmazonEKSConnector"),
    ("eks-fargate.amazonaws.com", "AWSServiceRoleForAmazonEKSForFargate"),
    ("eks-nodegroup.amazonaws.com", "AWSServiceRoleForAmazonEKSNodegroup"),
    ("eks.amazonaws.com", "AWSServiceRoleForAmazonEKS"),
    ("elasticloadbalancing.amazonaws.com", "AWSServiceRoleForElasticLoadBalancing"),
    ("spot.amazonaws.com", "AWSServiceRoleForEC2Spot"),
];

pub(super) async fn create_service_linked(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: ServiceLinked = decode_input(call.input)?;
    let Ok(row) = SERVICE_LINKED.binary_search_by(|(service, _)| (*service).cmp(&input.service)) else {
        return Err(AwsError::new(
            "InvalidInput",
            400,
            format!("{} is not a service that Minato has roles for.", input.service),
        ));
    };
    if input.custom_suffix.is_some() && input.service != "autoscaling.amazonaws.com" {
        return Err(AwsError::new("InvalidInput", 400, format!("Custom suffix is not allowed for {}", input.service)));
    }
    let suffix = input.custom_suffix.map(|suffix| format!("_{suffix}")).unwrap_or_default();
    let role = Role {
        name: format!("{}{suffix}", SERVICE_LINKED[row].1),
        path: format!("/aws-service-role/{}/", input.service),
        id: call.iam.new_id("AROA"),
        created: call.ctx.now.seconds(),
        trust: json!({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": {"Service": input.service}, "Action": "sts:AssumeRole"}],
        })
        .to_string(),
        description: input.description,
        max_session: 3600,
        tags: Default::default(),
        grants: Grants::default(),
        profiles: Default::default(),
    };
    if call.tx.get::<Role>(&role.name.to_lowercase()).await?.is_some() {
        return Err(AwsError::new(
            "InvalidInput",
            400,
            format!("Service role name {} has been taken in this account, please try a different suffix.", role.name),
        ));
    }
    insert(&mut call, &role).await?;
    Ok(json!({ "Role": role.json(call.iam.account()) }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    role_name: String,
    description: Option<String>,
    max_session_duration: Option<i64>,
    policy_document: Option<String>,
    permissions_boundary: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    tag_keys: Vec<String>,
    #[serde(flatten)]
    paging: Paging,
}

/// The role, which must not be one of a service: those only the service may change.
async fn changeable(call: &mut Call<'_>, name: &str) -> Result<Role, AwsError> {
    let role = call.role(name).await?;
    if role.is_service_linked() {
        let service = role.path.trim_start_matches("/aws-service-role/").trim_end_matches('/');
        let message = format!(
            "Cannot perform the operation on the protected role '{name}' - this role is only modifiable by AWS"
        );
        return Err(AwsError::new("UnmodifiableEntity", 400, format!("{message} ({service})")));
    }
    Ok(role)
}

pub(super) async fn get(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let role = call.role(&input.role_name).await?;
    let mut json = role.json(call.iam.account());
    json["RoleLastUsed"] = json!({});
    Ok(json!({ "Role": json }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    path_prefix: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

pub(super) async fn list(call: Call<'_>) -> Result<Value, AwsError> {
    let input: List = decode_input(call.input)?;
    let prefix = input.path_prefix.unwrap_or_else(|| "/".to_owned());
    let mut roles = call.tx.list::<Role>("").await?;
    roles.retain(|(_, role)| role.path.starts_with(&prefix));
    listing(roles, &input.paging, "Roles", |role| {
        let mut json = role.json(call.iam.account());
        // Lists leave tags and boundaries out.
        for member in ["Tags", "PermissionsBoundary"] {
            json.as_object_mut().map(|role| role.remove(member));
        }
        json
    })
}

pub(super) async fn delete(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let role = changeable(&mut call, &input.role_name).await?;
    if !role.profiles.is_empty() {
        return Err(delete_conflict("Cannot delete entity, must remove roles from instance profile first."));
    }
    if !role.grants.attached.is_empty() {
        return Err(delete_conflict("Cannot delete entity, must detach all policies first."));
    }
    if !role.grants.inline.is_empty() {
        return Err(delete_conflict("Cannot delete entity, must delete policies first."));
    }
    call.tx.delete::<Role>(&role.name.to_lowercase());
    Ok(nothing())
}

pub(super) async fn update(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut role = changeable(&mut call, &input.role_name).await?;
    if let Some(seconds) = input.max_session_duration {
        role.max_session = max_session(Some(seconds))?;
    }
    if input.description.is_some() {
        role.description = input.description;
    }
    call.put_role(&role);
    Ok(nothing())
}

pub(super) async fn update_description(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut role = changeable(&mut call, &input.role_name).await?;
    role.description = input.description;
    call.put_role(&role);
    Ok(json!({ "Role": role.json(call.iam.account()) }))
}

pub(super) async fn update_trust(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut role = changeable(&mut call, &input.role_name).await?;
    let text = input.policy_document.unwrap_or_default();
    trust(&mut call, &text).await?;
    role.trust = text;
    call.put_role(&role);
    Ok(nothing())
}

pub(super) async fn put_boundary(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut role = changeable(&mut call, &input.role_name).await?;
    role.grants.boundary = Some(call.boundary(&input.permissions_boundary.unwrap_or_default()).await?);
    call.put_role(&role);
    Ok(nothing())
}

pub(super) async fn delete_boundary(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut role = changeable(&mut call, &input.role_name).await?;
    role.grants.boundary = None;
    call.put_role(&role);
    Ok(nothing())
}

pub(super) async fn tag(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut role = call.role(&input.role_name).await?;
    checks::add_tags(&mut role.tags, &input.tags)?;
    call.put_role(&role);
    Ok(nothing())
}

pub(super) async fn untag(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let mut role = call.role(&input.role_name).await?;
    role.tags.retain(|key, _| !input.tag_keys.contains(key));
    call.put_role(&role);
    Ok(nothing())
}

pub(super) async fn list_tags(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let role = call.role(&input.role_name).await?;
    let tags: Vec<(String, String)> = role.tags.into_iter().collect();
    let items = tags.into_iter().map(|(key, value)| (key.clone(), (key, value))).collect();
    listing(items, &input.paging, "Tags", |(key, value)| tags_json(&[(key, value)].into())[0].clone())
}
