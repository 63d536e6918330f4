//! Security groups and their rules.

use std::collections::BTreeSet;

use cloud_iam::decode_input;
use cloud_iam::records::Tx;
use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cidr::Cidr;
use crate::describe::{Described, describe_page, with_ids};
use crate::error;
use crate::model::{NetworkInterface, Peer, Rule, SecurityGroup, Tags, Vpc, tags_json};
use crate::service::{Call, Ec2};
use crate::tags::specified;
use crate::vpcs;

/// AWS's quota `Inbound or outbound rules per security group`.
const MAX_RULES: usize = 60;
/// AWS's default quota `VPC security groups per Region`.
const MAX_GROUPS: usize = 2500;

fn everything(peer: Peer) -> Rule {
    Rule { protocol: "-1".to_owned(), from: None, to: None, peer, description: None }
}

pub(crate) fn default_group(vpc: &Vpc) -> SecurityGroup {
    SecurityGroup {
        id: vpc.default_group.clone(),
        name: "default".to_owned(),
        description: "default VPC security group".to_owned(),
        vpc: vpc.id.clone(),
        ingress: [everything(Peer::Group(vpc.default_group.clone()))].into(),
        egress: [everything(Peer::Ipv4("0.0.0.0/0".to_owned()))].into(),
        tags: Tags::new(),
    }
}

pub(crate) async fn find(tx: &mut Tx, id: &str) -> Result<SecurityGroup, AwsError> {
    tx.get::<SecurityGroup>(id).await?.ok_or_else(|| error::not_found("sg", id))
}

impl Ec2 {
    /// A security group by id.
    ///
    /// # Errors
    /// `InvalidGroup.NotFound`.
    pub async fn security_group(&self, id: &str) -> Result<SecurityGroup, AwsError> {
        find(&mut Tx::new(&self.0.space), id).await
    }

    /// The group of this name in a VPC, made if need be: everything is allowed among its members, and out.
    ///
    /// # Errors
    /// `InvalidVpcID.NotFound`; the store's.
    pub async fn ensure_security_group(
        &self,
        vpc: &str,
        name: &str,
        description: &str,
        tags: &Tags,
    ) -> Result<String, AwsError> {
        self.transact(|mut tx| async move {
            let tx = &mut tx;
            let vpc = vpcs::find(tx, vpc).await?;
            let groups = tx.list::<SecurityGroup>("").await?;
            if let Some((id, _)) = groups.into_iter().find(|(_, group)| group.vpc == vpc.id && group.name == name) {
                return Ok(id);
            }
            let id = self.new_id("sg");
            let group = SecurityGroup {
                id: id.clone(),
                name: name.to_owned(),
                description: description.to_owned(),
                vpc: vpc.id.clone(),
                ingress: [everything(Peer::Group(id.clone()))].into(),
                egress: [everything(Peer::Ipv4("0.0.0.0/0".to_owned()))].into(),
                tags: tags.clone(),
            };
            tx.put(&id, &group);
            tx.put(&vpc.id, &vpc);
            Ok(id)
        })
        .await
    }

    /// Deletes a group that nothing uses; it is fine when it is gone already.
    ///
    /// # Errors
    /// `DependencyViolation`.
    pub async fn remove_security_group(&self, id: &str) -> Result<(), AwsError> {
        self.transact(|mut tx| async move {
            let tx = &mut tx;
            if tx.get::<SecurityGroup>(id).await?.is_some() {
                remove(tx, id).await?;
            }
            Ok(())
        })
        .await
    }
}

impl Described for SecurityGroup {
    fn filter(&self, name: &str) -> Option<Vec<String>> {
        let cidrs = |rules: &BTreeSet<Rule>| {
            let cidr = |rule: &Rule| match &rule.peer {
                Peer::Ipv4(cidr) => Some(cidr.clone()),
                Peer::Ipv6(_) | Peer::Group(_) => None,
            };
            rules.iter().filter_map(cidr).collect()
        };
        match name {
            "description" => Some(vec![self.description.clone()]),
            "egress.ip-permission.cidr" => Some(cidrs(&self.egress)),
            "group-id" => Some(vec![self.id.clone()]),
            "group-name" => Some(vec![self.name.clone()]),
            "ip-permission.cidr" => Some(cidrs(&self.ingress)),
            "vpc-id" => Some(vec![self.vpc.clone()]),
            _ => None,
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}

/// Rules of one protocol and span of ports are shown together.
fn permissions(rules: &BTreeSet<Rule>, account: &str) -> Value {
    let mut shown: Vec<Value> = Vec::new();
    let mut last = None;
    for rule in rules {
        let span = (&rule.protocol, rule.from, rule.to);
        if last != Some(span) {
            let mut permission = json!({
                "IpProtocol": rule.protocol, "IpRanges": [], "Ipv6Ranges": [], "PrefixListIds": [], "UserIdGroupPairs": [],
            });
            if let Some(from) = rule.from {
                permission["FromPort"] = from.into();
            }
            if let Some(to) = rule.to {
                permission["ToPort"] = to.into();
            }
            shown.push(permission);
            last = Some(span);
        }
        let Some(permission) = shown.last_mut() else { continue };
        let (member, mut peer) = match &rule.peer {
            Peer::Ipv4(cidr) => ("IpRanges", json!({ "CidrIp": cidr })),
            Peer::Ipv6(cidr) => ("Ipv6Ranges", json!({ "CidrIpv6": cidr })),
            Peer::Group(id) => ("UserIdGroupPairs", json!({"GroupId": id, "UserId": account})),
        };
        if let Some(description) = &rule.description {
            peer["Description"] = json!(description);
        }
        if let Some(list) = permission[member].as_array_mut() {
            list.push(peer);
        }
    }
    Value::Array(shown)
}

fn show(group: &SecurityGroup, account: &str, region: &str) -> Value {
    json!({
        "GroupId": group.id, "GroupName": group.name, "Description": group.description, "VpcId": group.vpc, "OwnerId": account,
        "SecurityGroupArn": format!("arn:aws:ec2:{region}:{account}:security-group/{}", group.id),
        "IpPermissions": permissions(&group.ingress, account), "IpPermissionsEgress": permissions(&group.egress, account),
        "Tags": tags_json(&group.tags),
    })
}

pub(crate) async fn create(call: Call<'_>) -> Result<Value, AwsError> {
    let (name, description) = (call.required("GroupName")?, call.required("Description")?);
    let vpc = match call.text("VpcId").map(str::to_owned) {
        Some(id) => vpcs::find(call.tx, &id).await?,
        None => {
            let vpcs = call.tx.list::<Vpc>("").await?;
            let default = vpcs.into_iter().map(|(_, vpc)| vpc).find(|vpc| vpc.default);
            default.ok_or_else(|| error::client("VPCIdNotSpecified", "No default VPC for this user"))?
        }
    };
    if name.starts_with("sg-") || name.len() > 255 || name == "default" {
        return Err(error::invalid(format!("Value ({name}) for parameter GroupName is invalid.")));
    }
    let groups = call.tx.list::<SecurityGroup>("").await?;
    if groups.iter().any(|(_, group)| group.vpc == vpc.id && group.name == name) {
        return Err(error::client(
            "InvalidGroup.Duplicate",
            format!("The security group '{name}' already exists for VPC '{}'", vpc.id),
        ));
    }
    if groups.len() >= MAX_GROUPS {
        return Err(error::client(
            "SecurityGroupLimitExceeded",
            "The maximum number of security groups has been reached.",
        ));
    }
    let group = SecurityGroup {
        id: call.ec2.new_id("sg"),
        name,
        description,
        vpc: vpc.id.clone(),
        ingress: BTreeSet::new(),
        egress: [everything(Peer::Ipv4("0.0.0.0/0".to_owned()))].into(),
        tags: specified(call.input, "security-group")?,
    };
    call.tx.put(&group.id, &group);
    call.tx.put(&vpc.id, &vpc);
    let arn = format!("arn:aws:ec2:{}:{}:security-group/{}", call.ec2.region(), call.account(), group.id);
    Ok(json!({"GroupId": group.id, "SecurityGroupArn": arn, "Tags": tags_json(&group.tags)}))
}

pub(crate) async fn describe(call: Call<'_>) -> Result<Value, AwsError> {
    let mut groups = with_ids(call.tx.list::<SecurityGroup>("").await?, &call.strings("GroupIds"), "sg")?;
    let names = call.strings("GroupNames");
    groups.retain(|(_, group)| names.is_empty() || names.contains(&group.name));
    describe_page(&call, groups, "SecurityGroups", |group| show(&group, call.account(), call.ec2.region()))
}

pub(crate) async fn delete(call: Call<'_>) -> Result<Value, AwsError> {
    let id = match (call.text("GroupId").map(str::to_owned), call.text("GroupName").map(str::to_owned)) {
        (Some(id), _) => id,
        (None, Some(name)) => {
            let groups = call.tx.list::<SecurityGroup>("").await?;
            let found = groups.into_iter().find(|(_, group)| group.name == name);
            found.map(|(id, _)| id).ok_or_else(|| error::not_found("sg", &name))?
        }
        (None, None) => call.required("GroupId")?,
    };
    if find(call.tx, &id).await?.name == "default" {
        return Err(error::client(
            "CannotDelete",
            format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
        ));
    }
    remove(call.tx, &id).await?;
    Ok(json!({"Return": true, "GroupId": id}))
}

async fn remove(tx: &mut Tx, id: &str) -> Result<(), AwsError> {
    let interfaces = tx.list::<NetworkInterface>("").await?;
    let groups = tx.list::<SecurityGroup>("").await?;
    let names_it = |rule: &Rule| rule.peer == Peer::Group(id.to_owned());
    let in_use = interfaces.iter().any(|(_, interface)| interface.groups.iter().any(|group| group == id))
        || groups.iter().any(|(other, group)| other != id && group.ingress.iter().chain(&group.egress).any(names_it));
    if in_use {
        return Err(error::client("DependencyViolation", format!("resource {id} has a dependent object")));
    }
    tx.delete::<SecurityGroup>(id);
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    group_id: Option<String>,
    group_name: Option<String>,
    #[serde(default)]
    ip_permissions: Vec<Permission>,
    cidr_ip: Option<String>,
    ip_protocol: Option<String>,
    from_port: Option<i64>,
    to_port: Option<i64>,
    source_security_group_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Permission {
    ip_protocol: Option<String>,
    from_port: Option<i64>,
    to_port: Option<i64>,
    #[serde(default)]
    ip_ranges: Vec<Range>,
    #[serde(default)]
    ipv6_ranges: Vec<Range>,
    #[serde(default)]
    user_id_group_pairs: Vec<Pair>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Range {
    cidr_ip: Option<String>,
    cidr_ipv6: Option<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pair {
    group_id: Option<String>,
    description: Option<String>,
}

/// One rule per peer. Ports do not count when all protocols are meant.
fn rules(change: &Change) -> Result<Vec<Rule>, AwsError> {
    let mut rules = Vec::new();
    let mut add = |protocol: &str, from: Option<i64>, to: Option<i64>, peer: Peer, description: &Option<String>| {
        let protocol = match protocol {
            "6" => "tcp",
            "17" => "udp",
            "1" => "icmp",
            other => other,
        };
        if matches!(protocol, "tcp" | "udp") && (from.is_none() || to.is_none() || from > to) {
            return Err(error::invalid(
                "Invalid value for portRange. Must specify both from and to ports with TCP/UDP.",
            ));
        }
        let (from, to) = if protocol == "-1" { (None, None) } else { (from, to) };
        rules.push(Rule { protocol: protocol.to_owned(), from, to, peer, description: description.clone() });
        Ok(())
    };
    for permission in &change.ip_permissions {
        let protocol = permission.ip_protocol.as_deref().unwrap_or("-1");
        let (from, to) = (permission.from_port, permission.to_port);
        for range in &permission.ip_ranges {
            let text = range.cidr_ip.clone().unwrap_or_default();
            let cidr =
                Cidr::parse_lenient(&text).map_err(|_| error::invalid(format!("CIDR block {text} is malformed")))?;
            add(protocol, from, to, Peer::Ipv4(cidr.to_string()), &range.description)?;
        }
        for range in &permission.ipv6_ranges {
            add(protocol, from, to, Peer::Ipv6(range.cidr_ipv6.clone().unwrap_or_default()), &range.description)?;
        }
        for pair in &permission.user_id_group_pairs {
            add(protocol, from, to, Peer::Group(pair.group_id.clone().unwrap_or_default()), &pair.description)?;
        }
    }
    if let Some(text) = &change.cidr_ip {
        let cidr = Cidr::parse_lenient(text).map_err(|_| error::invalid(format!("CIDR block {text} is malformed")))?;
        let protocol = change.ip_protocol.as_deref().unwrap_or("-1");
        add(protocol, change.from_port, change.to_port, Peer::Ipv4(cidr.to_string()), &None)?;
    }
    if change.source_security_group_name.is_some() {
        return Err(error::client("InvalidParameterCombination", "Name the source group by id in IpPermissions."));
    }
    if rules.is_empty() {
        return Err(error::client("MissingParameter", "Either 'ipPermissions' or 'ipProtocol' should be provided."));
    }
    Ok(rules)
}

async fn changed(call: &mut Call<'_>) -> Result<(SecurityGroup, Vec<Rule>), AwsError> {
    let change: Change = decode_input(call.input)?;
    let rules = rules(&change)?;
    for rule in &rules {
        if let Peer::Group(id) = &rule.peer {
            find(call.tx, id).await?;
        }
    }
    let group = match (change.group_id, change.group_name) {
        (Some(id), _) => find(call.tx, &id).await?,
        (None, Some(name)) => {
            let groups = call.tx.list::<SecurityGroup>("").await?;
            let found = groups.into_iter().map(|(_, group)| group).find(|group| group.name == name);
            found.ok_or_else(|| error::not_found("sg", &name))?
        }
        (None, None) => {
            return Err(error::client(
                "MissingParameter",
                "The request must contain the parameter groupName or groupId",
            ));
        }
    };
    Ok((group, rules))
}

fn same(a: &Rule, b: &Rule) -> bool {
    (&a.protocol, a.from, a.to, &a.peer) == (&b.protocol, b.from, b.to, &b.peer)
}

fn add_all(set: &mut BTreeSet<Rule>, rules: Vec<Rule>) -> Result<(), AwsError> {
    for rule in rules {
        if set.iter().any(|other| same(other, &rule)) {
            return Err(error::client(
                "InvalidPermission.Duplicate",
                format!("the specified rule \"peer: {:?}, {}, ALLOW\" already exists", rule.peer, rule.protocol),
            ));
        }
        set.insert(rule);
    }
    if set.len() > MAX_RULES {
        return Err(error::client(
            "RulesPerSecurityGroupLimitExceeded",
            "The maximum number of rules per security group has been reached.",
        ));
    }
    Ok(())
}

fn remove_all(set: &mut BTreeSet<Rule>, rules: &[Rule]) -> Result<(), AwsError> {
    for rule in rules {
        let before = set.len();
        set.retain(|other| !same(other, rule));
        if set.len() == before {
            return Err(error::client(
                "InvalidPermission.NotFound",
                "The specified rule does not exist in this security group.",
            ));
        }
    }
    Ok(())
}

pub(crate) async fn authorize_ingress(mut call: Call<'_>) -> Result<Value, AwsError> {
    let (mut group, rules) = changed(&mut call).await?;
    add_all(&mut group.ingress, rules)?;
    call.tx.put(&group.id, &group);
    Ok(json!({"Return": true, "SecurityGroupRules": []}))
}

pub(crate) async fn authorize_egress(mut call: Call<'_>) -> Result<Value, AwsError> {
    let (mut group, rules) = changed(&mut call).await?;
    add_all(&mut group.egress, rules)?;
    call.tx.put(&group.id, &group);
    Ok(json!({"Return": true, "SecurityGroupRules": []}))
}

pub(crate) async fn revoke_ingress(mut call: Call<'_>) -> Result<Value, AwsError> {
    let (mut group, rules) = changed(&mut call).await?;
    remove_all(&mut group.ingress, &rules)?;
    call.tx.put(&group.id, &group);
    Ok(json!({"Return": true}))
}

pub(crate) async fn revoke_egress(mut call: Call<'_>) -> Result<Value, AwsError> {
    let (mut group, rules) = changed(&mut call).await?;
    remove_all(&mut group.egress, &rules)?;
    call.tx.put(&group.id, &group);
    Ok(json!({"Return": true}))
}
