//! OpenID Connect providers whose users get into a cluster: one per cluster. Sources: the API reference, and "Grant users access to
//! Kubernetes with an external OIDC provider".
//!
//! The provider is a part of its cluster's record: associating and disassociating are updates of the cluster, and whoever follows the
//! record hears of it. CREATING → ACTIVE → DELETING → gone; a control plane takes tokens from when CREATING begins, and no longer
//! once DELETING does.

use std::collections::BTreeMap;

use cloud_wire::AwsError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cluster_config::{Planned, param, start};
use crate::clusters::check_tags;
use crate::error;
use crate::model::{Change, Cluster, Tags};
use crate::ports::OidcProvider;
use crate::service::{Call, Eks, paged, text};
use crate::updates;

/// The only type of provider.
const OIDC: &str = "oidc";
/// The claim that names the user where none is given.
const SUBJECT: &str = "sub";
/// What begins the names that are Kubernetes' own.
const RESERVED: &str = "system:";
/// Claims that may be required: as many as a token has room for, and more than anybody needs.
const MAX_REQUIRED_CLAIMS: usize = 50;
/// Bytes of a name, a URL or a claim.
const MAX_TEXT: usize = 1024;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ProviderStatus {
    /// Control planes are told of it.
    Creating,
    /// Its users get in.
    Active,
    /// It goes away.
    Deleting,
}

/// A provider. Stored in its cluster's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityProvider {
    /// Its name in the cluster.
    pub name: String,
    /// `arn:aws:eks:R:A:identityproviderconfig/CLUSTER/oidc/NAME/UUID`.
    pub arn: String,
    /// `https://…`.
    pub issuer: String,
    /// The audience of its tokens.
    pub client_id: String,
    /// As given.
    pub username_claim: Option<String>,
    /// As given.
    pub username_prefix: Option<String>,
    /// As given.
    pub groups_claim: Option<String>,
    /// As given.
    pub groups_prefix: Option<String>,
    /// Claims and the values that they must have.
    pub required_claims: BTreeMap<String, String>,
    /// Tags.
    pub tags: Tags,
    /// Where it stands.
    pub status: ProviderStatus,
}

impl IdentityProvider {
    /// What a control plane makes of its tokens; nothing when it goes away.
    pub(crate) fn takes(&self) -> Option<OidcProvider> {
        if self.status == ProviderStatus::Deleting {
            return None;
        }
        let claim = self.username_claim.clone().unwrap_or_else(|| SUBJECT.to_owned());
        let username_prefix = match self.username_prefix.as_deref() {
            // As upstream's `--oidc-username-prefix` does: two issuers may know one subject, but hardly one address.
            None if claim != "email" => format!("{}#", self.issuer),
            None | Some("-") => String::new(),
            Some(prefix) => prefix.to_owned(),
        };
        Some(OidcProvider {
            issuer: self.issuer.clone(),
            client_id: self.client_id.clone(),
            username_claim: claim,
            username_prefix,
            groups_claim: self.groups_claim.clone().unwrap_or_default(),
            groups_prefix: self.groups_prefix.clone().unwrap_or_default(),
            required_claims: self.required_claims.clone(),
        })
    }

    fn json(&self, cluster: &str) -> Value {
        let mut json = json!({
            "identityProviderConfigName": self.name, "identityProviderConfigArn": self.arn, "clusterName": cluster,
            "issuerUrl": self.issuer, "clientId": self.client_id, "requiredClaims": self.required_claims,
            "usernameClaim": self.username_claim.as_deref().unwrap_or(SUBJECT), "tags": self.tags, "status": self.status,
        });
        let optional = [
            ("usernamePrefix", &self.username_prefix),
            ("groupsClaim", &self.groups_claim),
            ("groupsPrefix", &self.groups_prefix),
        ];
        for (member, value) in optional {
            if let Some(value) = value {
                json[member] = json!(value);
            }
        }
        json
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Associate {
    cluster_name: String,
    oidc: Oidc,
    #[serde(default)]
    tags: Tags,
    client_request_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Oidc {
    identity_provider_config_name: String,
    issuer_url: String,
    client_id: String,
    username_claim: Option<String>,
    username_prefix: Option<String>,
    groups_claim: Option<String>,
    groups_prefix: Option<String>,
    #[serde(default)]
    required_claims: BTreeMap<String, String>,
}

pub(crate) async fn associate(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Associate = cloud_iam::decode_input(call.input)?;
    let name = input.cluster_name.clone();
    let mut cluster = call.cluster(&name).await?;
    let with_name = |error: AwsError| error.with("clusterName", name.as_str());
    if let Some(update) = updates::repeated(call.tx, (&name, ""), input.client_request_token.as_ref()).await? {
        return Ok(json!({ "update": update.json(), "tags": input.tags }));
    }
    check(&cluster, &input.oidc).map_err(with_name)?;
    check_tags(&input.tags).map_err(with_name)?;
    if let Some(own) = &cluster.provider {
        // EKS's quota is one.
        return Err(with_name(error::in_use(format!(
            "Cluster {name} already has the identity provider config {}: disassociate it first",
            own.name
        ))));
    }
    let Oidc { identity_provider_config_name: own_name, issuer_url, client_id, required_claims, .. } = &input.oidc;
    let provider = IdentityProvider {
        arn: arn(call.eks, &name, own_name),
        name: own_name.clone(),
        issuer: issuer_url.clone(),
        client_id: client_id.clone(),
        username_claim: given(&input.oidc.username_claim),
        username_prefix: given(&input.oidc.username_prefix),
        groups_claim: given(&input.oidc.groups_claim),
        groups_prefix: given(&input.oidc.groups_prefix),
        required_claims: required_claims.clone(),
        tags: input.tags.clone(),
        status: ProviderStatus::Creating,
    };
    let params = vec![param("IdentityProviderConfig", json!([{"type": OIDC, "name": own_name}]))];
    cluster.provider = Some(provider);
    let planned = Planned { kind: "AssociateIdentityProviderConfig", params, change: Change::AssociateProvider };
    let mut output = start(&mut call, cluster, planned, input.client_request_token).await.map_err(with_name)?;
    output["tags"] = json!(input.tags);
    Ok(output)
}

fn given(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.is_empty())
}

fn arn(eks: &Eks, cluster: &str, name: &str) -> String {
    let (region, account, uuid) = (eks.region(), eks.account(), eks.0.parts.world.uuid());
    format!("arn:aws:eks:{region}:{account}:identityproviderconfig/{cluster}/{OIDC}/{name}/{uuid}")
}

fn check(cluster: &Cluster, oidc: &Oidc) -> Result<(), AwsError> {
    let texts = [
        ("identityProviderConfigName", Some(&oidc.identity_provider_config_name)),
        ("issuerUrl", Some(&oidc.issuer_url)),
        ("clientId", Some(&oidc.client_id)),
        ("usernameClaim", oidc.username_claim.as_ref()),
        ("usernamePrefix", oidc.username_prefix.as_ref()),
        ("groupsClaim", oidc.groups_claim.as_ref()),
        ("groupsPrefix", oidc.groups_prefix.as_ref()),
    ];
    for (member, text) in texts {
        if text.is_some_and(|text| text.len() > MAX_TEXT) {
            return Err(error::invalid_parameter(format!("{member} has more than {MAX_TEXT} bytes")));
        }
    }
    for (member, text) in &texts[..3] {
        if text.is_none_or(|text| text.is_empty()) {
            return Err(error::invalid_parameter(format!("{member} is required")));
        }
    }
    if oidc.identity_provider_config_name.contains('/') {
        return Err(error::invalid_parameter("identityProviderConfigName must not contain a slash"));
    }
    check_issuer(cluster, &oidc.issuer_url)?;
    for (member, prefix) in [("usernamePrefix", &oidc.username_prefix), ("groupsPrefix", &oidc.groups_prefix)] {
        if prefix.as_deref().is_some_and(|prefix| prefix.starts_with(RESERVED)) {
            return Err(error::invalid_parameter(format!("{member} must not begin with {RESERVED}")));
        }
    }
    if oidc.required_claims.len() > MAX_REQUIRED_CLAIMS {
        return Err(error::invalid_parameter(format!("At most {MAX_REQUIRED_CLAIMS} claims can be required")));
    }
    Ok(())
}

fn check_issuer(cluster: &Cluster, url: &str) -> Result<(), AwsError> {
    let refuse = |why: &str| {
        let message = format!("Incorrect Identity Provider URL configuration. The Identity Provider URL {why}");
        Err(error::invalid_parameter(message))
    };
    let own = cluster.endpoint.as_ref().map(|endpoint| endpoint.issuer.as_str());
    if own.is_some_and(|own| own.trim_end_matches('/') == url.trim_end_matches('/')) {
        return refuse("cannot be same as OpenID Connect (OIDC) issuer URL");
    }
    let Some(rest) = url.strip_prefix("https://") else { return refuse("must begin with https://") };
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || host.contains('@') || url.contains(['?', '#']) || url.contains(char::is_whitespace) {
        return refuse("must have a host, and no user, query or fragment");
    }
    Ok(())
}

/// Which provider a request is about.
fn wanted(input: &Value) -> (String, String) {
    let config = &input["identityProviderConfig"];
    let member = |name| text(config, name).unwrap_or_default().to_owned();
    (member("type"), member("name"))
}

fn missing(cluster: &str, (kind, name): &(String, String)) -> AwsError {
    error::not_found(format!("No config found for cluster: {cluster}, config type: {kind}, config name: {name}"))
        .with("clusterName", cluster)
}

fn find<'a>(cluster: &'a Cluster, wanted: &(String, String)) -> Result<&'a IdentityProvider, AwsError> {
    let found = cluster.provider.as_ref().filter(|own| (OIDC, &own.name) == (wanted.0.as_str(), &wanted.1));
    found.ok_or_else(|| missing(&cluster.name, wanted))
}

pub(crate) async fn disassociate(mut call: Call<'_>) -> Result<Value, AwsError> {
    let name = text(call.input, "clusterName").unwrap_or_default().to_owned();
    let token = text(call.input, "clientRequestToken").map(str::to_owned);
    let mut cluster = call.cluster(&name).await?;
    if let Some(update) = updates::repeated(call.tx, (&name, ""), token.as_ref()).await? {
        return Ok(json!({ "update": update.json() }));
    }
    let wanted = wanted(call.input);
    find(&cluster, &wanted)?;
    if let Some(provider) = &mut cluster.provider {
        provider.status = ProviderStatus::Deleting;
    }
    let params = vec![param("IdentityProviderConfig", json!([{"type": wanted.0, "name": wanted.1}]))];
    let planned = Planned { kind: "DisassociateIdentityProviderConfig", params, change: Change::DisassociateProvider };
    start(&mut call, cluster, planned, token).await.map_err(|error| error.with("clusterName", name.as_str()))
}

pub(crate) async fn describe(mut call: Call<'_>) -> Result<Value, AwsError> {
    let name = text(call.input, "clusterName").unwrap_or_default().to_owned();
    let cluster = call.cluster(&name).await?;
    let provider = find(&cluster, &wanted(call.input))?;
    Ok(json!({ "identityProviderConfig": { "oidc": provider.json(&name) } }))
}

pub(crate) async fn list(mut call: Call<'_>) -> Result<Value, AwsError> {
    let name = text(call.input, "clusterName").unwrap_or_default().to_owned();
    let cluster = call.cluster(&name).await?;
    let own = cluster.provider.into_iter().map(|own| (own.name.clone(), json!({"type": OIDC, "name": own.name})));
    paged(call.input, own.collect(), "identityProviderConfigs")
}

/// Keys of IAM conditions about a provider that is to be associated.
pub(crate) fn condition_keys(input: &Value) -> Vec<(String, Vec<String>)> {
    let keys = [("eks:clientId", "clientId"), ("eks:issuerUrl", "issuerUrl")];
    let given = |(key, member): (&str, &str)| Some((key.to_owned(), vec![text(&input["oidc"], member)?.to_owned()]));
    keys.into_iter().filter_map(given).collect()
}

impl Eks {
    /// A provider like a past one, of another cluster.
    pub(crate) fn provider_anew(&self, past: &IdentityProvider, cluster: &str) -> Option<IdentityProvider> {
        let anew =
            IdentityProvider { arn: arn(self, cluster, &past.name), status: ProviderStatus::Active, ..past.clone() };
        // One that was on its way out was none any more.
        (past.status != ProviderStatus::Deleting).then_some(anew)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_a_prefix_that_tells_issuers_apart() {
        let provider = |claim: Option<&str>, prefix: Option<&str>| IdentityProvider {
            name: "p".into(),
            arn: String::new(),
            issuer: "https://i.example".into(),
            client_id: "c".into(),
            username_claim: claim.map(str::to_owned),
            username_prefix: prefix.map(str::to_owned),
            groups_claim: None,
            groups_prefix: None,
            required_claims: BTreeMap::new(),
            tags: Tags::new(),
            status: ProviderStatus::Active,
        };
        for (claim, prefix, expected) in [
            (None, None, ("sub", "https://i.example#")),
            (Some("name"), None, ("name", "https://i.example#")),
            (Some("email"), None, ("email", "")),
            (Some("email"), Some("x:"), ("email", "x:")),
            (None, Some("-"), ("sub", "")),
        ] {
            let takes = provider(claim, prefix).takes().expect("it is active");
            assert_eq!((takes.username_claim.as_str(), takes.username_prefix.as_str()), expected);
        }
        let leaving = IdentityProvider { status: ProviderStatus::Deleting, ..provider(None, None) };
        assert_eq!(leaving.takes(), None);
    }
}
