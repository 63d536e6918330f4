//! The EKS service: its parts, its table of operations and the loop that runs one as a transaction.

use std::future::Future;
use std::sync::Arc;

use cloud_ec2::Ec2;
use cloud_iam::page::page;
use cloud_iam::records::{Tx, transact};
use cloud_iam::{BoxFuture, CallContext, Iam};
use cloud_wire::AwsError;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::Keyspace;
use world::{Tasks, World};

use crate::model::{Cluster, Nodegroup};
use crate::pace::Pace;
use crate::ports::ControlPlanes;
use crate::reconcile::Workers;
use crate::{access_entries, access_policies, cluster_config, cluster_create, clusters, encryption, error};
use crate::{identity_providers, nodegroup_config, nodegroups, tags, updates, versions};

/// Names on one page; EKS's largest page and its default.
const MAX_PAGE: usize = 100;

/// What an [`Eks`] is made of.
pub struct EksParts {
    /// Time and randomness.
    pub world: World,
    /// Its own keyspace.
    pub space: Keyspace,
    /// The account.
    pub iam: Iam,
    /// The network and the instances.
    pub ec2: Ec2,
    /// The way to Kubernetes.
    pub planes: Arc<dyn ControlPlanes>,
    /// How long life cycles take.
    pub pace: Pace,
    /// Owns the life cycles.
    pub tasks: Tasks,
}

/// The EKS of one account in one region. Cheap to clone.
#[derive(Clone)]
pub struct Eks(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) parts: EksParts,
    pub(crate) workers: Workers,
}

/// One call on its way through a handler.
pub(crate) struct Call<'a> {
    pub(crate) eks: &'a Eks,
    pub(crate) ctx: &'a CallContext,
    pub(crate) input: &'a Value,
    pub(crate) tx: &'a mut Tx,
}

type Handler = for<'a> fn(Call<'a>) -> BoxFuture<'a, Result<Value, AwsError>>;

/// What a permission to call an operation is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    /// `*`.
    All,
    /// The access entry of `principalArn`, written without its account and id.
    AccessEntry,
    /// The cluster named by `name` or `clusterName`.
    Cluster,
    /// The provider named by `identityProviderConfig`.
    IdentityProvider,
    /// The node group named by `nodegroupName`.
    Nodegroup,
    /// The ARN in `resourceArn`.
    Resource,
}

/// A row of the table of operations.
pub struct EksOperation {
    /// As in the API.
    pub name: &'static str,
    on: On,
    handler: Handler,
}

macro_rules! row {
    ($name:literal, $on:ident, $handler:path) => {
        EksOperation { name: $name, on: On::$on, handler: |call| Box::pin($handler(call)) }
    };
}

/// By name.
static OPERATIONS: &[EksOperation] = &[
    row!("AssociateAccessPolicy", AccessEntry, access_entries::associate),
    row!("AssociateEncryptionConfig", Cluster, encryption::associate),
    row!("AssociateIdentityProviderConfig", Cluster, identity_providers::associate),
    row!("CreateAccessEntry", Cluster, access_entries::create),
    row!("CreateCluster", Cluster, cluster_create::create),
    row!("CreateNodegroup", Cluster, nodegroups::create),
    row!("DeleteAccessEntry", AccessEntry, access_entries::delete),
    row!("DeleteCluster", Cluster, clusters::delete),
    row!("DeleteNodegroup", Nodegroup, nodegroups::delete),
    row!("DescribeAccessEntry", AccessEntry, access_entries::describe),
    row!("DescribeCluster", Cluster, clusters::describe),
    row!("DescribeClusterVersions", All, versions::describe),
    row!("DescribeIdentityProviderConfig", IdentityProvider, identity_providers::describe),
    row!("DescribeNodegroup", Nodegroup, nodegroups::describe),
    row!("DescribeUpdate", Cluster, updates::describe),
    row!("DisassociateAccessPolicy", AccessEntry, access_entries::disassociate),
    row!("DisassociateIdentityProviderConfig", IdentityProvider, identity_providers::disassociate),
    row!("ListAccessEntries", Cluster, access_entries::list),
    row!("ListAccessPolicies", All, access_policies::list),
    row!("ListAssociatedAccessPolicies", AccessEntry, access_entries::list_policies),
    row!("ListClusters", All, clusters::list),
    row!("ListIdentityProviderConfigs", Cluster, identity_providers::list),
    row!("ListNodegroups", Cluster, nodegroups::list),
    row!("ListTagsForResource", Resource, tags::list),
    row!("ListUpdates", Cluster, updates::list),
    row!("TagResource", Resource, tags::tag),
    row!("UntagResource", Resource, tags::untag),
    row!("UpdateAccessEntry", AccessEntry, access_entries::update),
    row!("UpdateClusterConfig", Cluster, cluster_config::update),
    row!("UpdateClusterVersion", Cluster, cluster_config::update_version),
    row!("UpdateNodegroupConfig", Nodegroup, nodegroup_config::update),
];

impl Eks {
    /// The EKS of these parts. It answers at once. Life cycles are driven by that one [`Eks::run`] of all on the same store, in
    /// whichever process; what the others write is seen there.
    pub fn new(parts: EksParts) -> Eks {
        Eks(Arc::new(Inner { parts, workers: Workers::default() }))
    }

    /// The table, by name.
    pub fn operations() -> &'static [EksOperation] {
        OPERATIONS
    }

    /// The region's name.
    pub fn region(&self) -> &str {
        self.0.parts.ec2.region()
    }

    /// The account's number.
    pub fn account(&self) -> &str {
        self.0.parts.iam.account()
    }

    /// Runs an operation for a caller who may call it.
    ///
    /// # Errors
    /// EKS's exceptions, `AccessDeniedException`, and `NotImplemented` for an operation without a handler.
    pub async fn call(&self, ctx: &CallContext, operation: &str, input: &Value) -> Result<Value, AwsError> {
        let Ok(row) = OPERATIONS.binary_search_by(|row| row.name.cmp(operation)) else {
            return Err(AwsError::not_supported("eks", operation));
        };
        let row = &OPERATIONS[row];
        let resource = self.resource(row.on, input);
        let mut extra = request_tags(input);
        extra.extend(identity_providers::condition_keys(input));
        self.0.parts.iam.authorize(ctx, &format!("eks:{operation}"), &resource, &extra).await?;
        self.transact(|mut tx| async move { (row.handler)(Call { eks: self, ctx, input, tx: &mut tx }).await }).await
    }

    fn resource(&self, on: On, input: &Value) -> String {
        let (region, account) = (self.region(), self.account());
        let cluster = cluster_in(input).unwrap_or("*");
        match on {
            On::All => "*".to_owned(),
            On::Cluster => format!("arn:aws:eks:{region}:{account}:cluster/{cluster}"),
            On::Nodegroup => {
                let nodegroup = text(input, "nodegroupName").unwrap_or("*");
                format!("arn:aws:eks:{region}:{account}:nodegroup/{cluster}/{nodegroup}/*")
            }
            On::IdentityProvider => {
                let config = &input["identityProviderConfig"];
                let (kind, name) = (text(config, "type").unwrap_or("*"), text(config, "name").unwrap_or("*"));
                format!("arn:aws:eks:{region}:{account}:identityproviderconfig/{cluster}/{kind}/{name}/*")
            }
            On::AccessEntry => {
                let principal = text(input, "principalArn").unwrap_or("*");
                let (kind, name) = access_entries::kind_and_name(principal);
                format!("arn:aws:eks:{region}:{account}:access-entry/{cluster}/{kind}/{account}/{name}/*")
            }
            On::Resource => text(input, "resourceArn").unwrap_or("*").to_owned(),
        }
    }

    /// Runs `work` until its transaction is committed.
    pub(crate) async fn transact<T, F>(&self, work: impl Fn(Tx) -> F) -> Result<T, AwsError>
    where
        F: Future<Output = Result<T, AwsError>>,
    {
        transact(&self.0.parts.space, work).await
    }

    /// A cluster by name.
    ///
    /// # Errors
    /// The store's.
    pub async fn cluster(&self, name: &str) -> Result<Option<Cluster>, AwsError> {
        Ok(Tx::new(&self.0.parts.space).get::<Cluster>(name).await?)
    }

    /// All clusters, by name.
    ///
    /// # Errors
    /// The store's.
    pub async fn clusters(&self) -> Result<Vec<Cluster>, AwsError> {
        let clusters = Tx::new(&self.0.parts.space).list::<Cluster>("").await?;
        Ok(clusters.into_iter().map(|(_, cluster)| cluster).collect())
    }

    /// A node group.
    ///
    /// # Errors
    /// The store's.
    pub async fn nodegroup(&self, cluster: &str, name: &str) -> Result<Option<Nodegroup>, AwsError> {
        Ok(Tx::new(&self.0.parts.space).get::<Nodegroup>(&format!("{cluster}/{name}")).await?)
    }
}

pub(crate) fn text<'a>(input: &'a Value, member: &str) -> Option<&'a str> {
    input.get(member).and_then(Value::as_str)
}

/// Operations name their cluster in one of two members.
fn cluster_in(input: &Value) -> Option<&str> {
    text(input, "clusterName").or_else(|| text(input, "name"))
}

fn request_tags(input: &Value) -> Vec<(String, Vec<String>)> {
    let Some(tags) = input.get("tags").and_then(Value::as_object) else { return Vec::new() };
    let mut extra = vec![("aws:TagKeys".to_owned(), tags.keys().cloned().collect())];
    for (key, value) in tags {
        extra.push((format!("aws:RequestTag/{key}"), value.as_str().map(str::to_owned).into_iter().collect()));
    }
    extra
}

/// One page of a sorted list under `member`.
pub(crate) fn paged(input: &Value, items: Vec<(String, Value)>, member: &str) -> Result<Value, AwsError> {
    let max = input.get("maxResults").and_then(Value::as_u64).map_or(MAX_PAGE, |max| max as usize);
    if !(1..=MAX_PAGE).contains(&max) {
        return Err(error::invalid_parameter(format!("maxResults needs to be between 1 and {MAX_PAGE}")));
    }
    let page = page(items, text(input, "nextToken"), max)
        .map_err(|_| error::invalid_parameter("nextToken is not valid: use the one of an earlier response"))?;
    let mut output = json!({ member: page.items });
    if let Some(next) = page.next {
        output["nextToken"] = next.into();
    }
    Ok(output)
}

/// A digest of a request without its token, to tell a repeated request from another one with the same token.
pub(crate) fn digest(input: &Value) -> String {
    let mut input = input.clone();
    if let Some(members) = input.as_object_mut() {
        members.remove("clientRequestToken");
    }
    let hash = Sha256::digest(input.to_string().as_bytes());
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl Call<'_> {
    pub(crate) async fn cluster(&mut self, name: &str) -> Result<Cluster, AwsError> {
        self.tx.get::<Cluster>(name).await?.ok_or_else(|| error::no_cluster(name))
    }

    pub(crate) async fn nodegroup(&mut self, cluster: &str, name: &str) -> Result<Nodegroup, AwsError> {
        let nodegroup = self.tx.get::<Nodegroup>(&format!("{cluster}/{name}")).await?;
        nodegroup.ok_or_else(|| error::no_nodegroup(cluster, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(OPERATIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
