//! What EKS asks of Kubernetes, over the region's control planes and nodes. Every call may come again and then does only what is
//! left to do. Life cycles have one of these with the guard of their term; the EKS that answers has one without, which changes
//! nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use cloud_eks::{ControlPlaneSpec, ControlPlanes, DrainError, Endpoint, NodeConfig, UpgradeError};
use k8s_client::{Client, Options, PatchType};
use k8s_object::resources::{CONFIG_MAPS, NODES, PODS};
use k8s_object::views::{Node, Pod};
use k8s_object::{ApiError, Object, Reason};
use serde_json::{Value, json};
use store::Compare;
use world::BoxFuture;

use crate::Inner;
use crate::control_plane;

/// Between two attempts to evict a pod that its disruption budget protects, and two looks at pods that are leaving.
const EVICTION_RETRY: Duration = Duration::from_millis(250);
/// How often an update that meets a conflict is made again.
const ATTEMPTS: usize = 8;

/// Connected to its region after both exist.
#[derive(Default)]
pub(crate) struct Planes(OnceLock<Connection>);

struct Connection {
    inner: Weak<Inner>,
    /// Under which it may change something.
    guard: Option<Compare>,
}

impl Planes {
    /// The region that this works for, and the guard of the term in which it does.
    pub(crate) fn connect(&self, inner: &Arc<Inner>, guard: Option<Compare>) {
        // A second call would be of the same region: there is one call in the wiring.
        let _ = self.0.set(Connection { inner: Arc::downgrade(inner), guard });
    }

    fn inner(&self) -> Result<Arc<Inner>, String> {
        self.0.get().and_then(|known| known.inner.upgrade()).ok_or_else(|| "the region is stopping".to_owned())
    }

    fn guard(&self) -> Result<&Compare, String> {
        let guard = self.0.get().and_then(|known| known.guard.as_ref());
        guard.ok_or_else(|| "only the process that leads does this".to_owned())
    }

    /// A client of a cluster under the guard.
    fn client(&self, cluster: &str) -> Result<Client, String> {
        let plane = self.inner()?.control_plane(cluster);
        let plane = plane.ok_or_else(|| format!("the control plane of {cluster} does not run"))?;
        Ok(control_plane::eks(&plane.server.guarded(self.guard()?.clone())))
    }
}

impl ControlPlanes for Planes {
    fn ensure<'a>(&'a self, spec: &'a ControlPlaneSpec) -> BoxFuture<'a, Result<Endpoint, String>> {
        Box::pin(async move {
            let plane = self.inner()?.ensure_plane(spec, Some(self.guard()?)).await?;
            Ok(plane.endpoint.clone())
        })
    }

    fn ensure_key<'a>(&'a self, arn: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let inner = self.inner()?;
            inner.keys.ensure(arn).await.map(drop).map_err(|error| error.to_string())
        })
    }

    fn endpoint(&self, cluster: &str) -> Option<String> {
        Some(self.inner().ok()?.control_plane(cluster)?.endpoint.url.clone())
    }

    fn remove<'a>(&'a self, cluster: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let (inner, guard) = (self.inner()?, self.guard()?);
            inner.stop_plane(cluster).await;
            control_plane::erase(&inner, cluster, guard).await
        })
    }

    fn can_upgrade(&self, _cluster: &str, version: &str) -> Result<(), UpgradeError> {
        Err(UpgradeError::NotSupported(format!(
            "Updating a cluster to {version} in place is not supported by Minato yet; create a new cluster of that version"
        )))
    }

    fn upgrade<'a>(&'a self, cluster: &'a str, version: &'a str) -> BoxFuture<'a, Result<(), UpgradeError>> {
        Box::pin(async move { self.can_upgrade(cluster, version) })
    }

    fn map_node_role<'a>(&'a self, cluster: &'a str, role_arn: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let client = self.client(cluster)?;
            for _ in 0..ATTEMPTS {
                match map_node_role(&client, role_arn).await {
                    Err(error) if error.is_conflict() => {}
                    outcome => return outcome.map_err(|error| error.to_string()),
                }
            }
            Err("the ConfigMap aws-auth keeps changing".to_owned())
        })
    }

    fn ready_nodes<'a>(&'a self, cluster: &'a str, nodegroup: &'a str) -> BoxFuture<'a, BTreeSet<String>> {
        Box::pin(async move {
            let Ok(client) = self.client(cluster) else { return BTreeSet::new() };
            let selector = format!("eks.amazonaws.com/nodegroup={nodegroup}");
            let options = Options { label_selector: Some(selector), ..Options::default() };
            // A cluster that cannot be asked has no ready nodes yet; EKS asks again.
            let (nodes, _) = client.list_with(&NODES, "", options).await.unwrap_or_default();
            nodes.iter().filter_map(|node| ready_instance(node)).collect()
        })
    }

    fn configure_nodes<'a>(
        &'a self,
        cluster: &'a str,
        instances: &'a [String],
        previous: &'a NodeConfig,
        config: &'a NodeConfig,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let client = self.client(cluster)?;
            let nodes = nodes_of(&client, instances).await.map_err(|error| error.to_string())?;
            for node in nodes {
                let mut outcome = Ok(());
                for _ in 0..ATTEMPTS {
                    outcome = configure(&client, &node, previous, config).await;
                    if !outcome.as_ref().is_err_and(ApiError::is_conflict) {
                        break;
                    }
                }
                outcome.map_err(|error| error.to_string())?;
            }
            Ok(())
        })
    }

    fn drain<'a>(&'a self, cluster: &'a str, instance: &'a str) -> BoxFuture<'a, Result<(), DrainError>> {
        Box::pin(async move {
            let failed = |error: ApiError| DrainError::Failed(error.to_string());
            let inner = self.inner().map_err(DrainError::Failed)?;
            let client = self.client(cluster).map_err(DrainError::Failed)?;
            for node in nodes_of(&client, &[instance.to_owned()]).await.map_err(failed)? {
                let cordon = json!({"spec": {"unschedulable": true}});
                client.patch(&NODES, "", &node, "", PatchType::Merge, cordon).await.map_err(failed)?;
                while evict_all(&client, &node).await.map_err(failed)? > 0 {
                    inner.world.sleep(EVICTION_RETRY).await;
                }
            }
            Ok(())
        })
    }
}

/// The instance behind a node, if the node is Ready.
fn ready_instance(node: &Object) -> Option<String> {
    let node = node.view::<Node>().ok()?;
    node.is_ready().then(|| instance_of(&node).to_owned())
}

/// The instance id in a provider id such as `aws:///us-east-1a/i-0123`.
pub(crate) fn instance_of(node: &Node) -> &str {
    node.spec.provider_id.rsplit('/').next().unwrap_or_default()
}

/// Names of the nodes of these instances.
async fn nodes_of(client: &Client, instances: &[String]) -> Result<Vec<String>, ApiError> {
    let (nodes, _) = client.list(&NODES, "").await?;
    let wanted = |node: &Node| instances.iter().any(|instance| instance == instance_of(node));
    Ok(nodes
        .iter()
        .filter_map(|node| node.view::<Node>().ok())
        .filter(|node| wanted(node))
        .map(|node| node.metadata.name.clone())
        .collect())
}

/// Gives a node the labels and taints of `config` and takes away those that only `previous` has.
async fn configure(client: &Client, name: &str, previous: &NodeConfig, config: &NodeConfig) -> Result<(), ApiError> {
    let node = match client.get(&NODES, "", name).await {
        Err(error) if error.is_not_found() => return Ok(()),
        outcome => outcome?,
    };
    let view = node.view::<Node>().map_err(ApiError::internal)?;
    let mut labels = serde_json::Map::new();
    for key in previous.labels.keys().filter(|key| !config.labels.contains_key(*key)) {
        labels.insert(key.clone(), Value::Null);
    }
    labels.extend(config.labels.iter().map(|(key, value)| (key.clone(), json!(value))));
    let ours = |key: &str, effect: &str| {
        previous
            .taints
            .iter()
            .chain(&config.taints)
            .any(|taint| taint.key == key && taint.kubernetes_effect() == effect)
    };
    let mut taints: Vec<Value> =
        view.spec.taints.iter().filter(|taint| !ours(&taint.key, &taint.effect)).map(taint_json).collect();
    taints.extend(
        config
            .taints
            .iter()
            .map(|taint| json!({"key": taint.key, "value": taint.value, "effect": taint.kubernetes_effect()})),
    );
    let patch = json!({
        "metadata": {"resourceVersion": node.meta().resource_version, "labels": labels},
        "spec": {"taints": taints},
    });
    client.patch(&NODES, "", name, "", PatchType::Merge, patch).await.map(drop)
}

fn taint_json(taint: &k8s_object::views::Taint) -> Value {
    let mut value = json!({"key": taint.key, "effect": taint.effect});
    if !taint.value.is_empty() {
        value["value"] = json!(taint.value);
    }
    if let Some(added) = &taint.time_added {
        value["timeAdded"] = json!(added);
    }
    value
}

/// Asks all pods of a node to leave and returns how many are still there. A pod that its disruption budget protects stays.
async fn evict_all(client: &Client, node: &str) -> Result<usize, ApiError> {
    let options = Options { field_selector: Some(format!("spec.nodeName={node}")), ..Options::default() };
    let (pods, _) = client.list_with(&PODS, "", options).await?;
    let mut left = 0;
    for object in &pods {
        let pod = object.view::<Pod>().map_err(ApiError::internal)?;
        // Pods of a DaemonSet would only come back, and finished ones are in nobody's way.
        let stays = pod.metadata.controller().is_some_and(|owner| owner.kind == "DaemonSet");
        if stays || pod.is_finished() {
            continue;
        }
        left += 1;
        if pod.metadata.is_terminating() {
            continue;
        }
        let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
        let eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"namespace": namespace, "name": name},
        });
        match client.create_subresource(&PODS, namespace, name, "eviction", eviction).await {
            Err(error) if !matches!(error.reason, Reason::TooManyRequests | Reason::NotFound) => return Err(error),
            _ => {}
        }
    }
    Ok(left)
}

/// Adds a node role to `mapRoles` of the ConfigMap aws-auth, as EKS does for managed node groups.
async fn map_node_role(client: &Client, role_arn: &str) -> Result<(), ApiError> {
    let known = match client.get(&CONFIG_MAPS, "kube-system", "aws-auth").await {
        Ok(object) => Some(object.value()),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error),
    };
    let roles = known.as_ref().and_then(|map| map["data"]["mapRoles"].as_str()).unwrap_or_default();
    let mut roles: Vec<Value> = match serde_yaml::from_str(roles) {
        Ok(roles) => roles,
        // What a person broke, a person must mend: EKS does not overwrite it.
        Err(_) if !roles.trim().is_empty() => return Ok(()),
        Err(_) => Vec::new(),
    };
    if roles.iter().any(|role| role["rolearn"] == role_arn) {
        return Ok(());
    }
    roles.push(json!({
        "groups": ["system:bootstrappers", "system:nodes"],
        "rolearn": role_arn,
        "username": "system:node:{{EC2PrivateDNSName}}",
    }));
    let text = serde_yaml::to_string(&roles).map_err(ApiError::internal)?;
    match known {
        Some(mut map) => {
            map["data"]["mapRoles"] = json!(text);
            client.update(&CONFIG_MAPS, "kube-system", "aws-auth", "", map).await.map(drop)
        }
        None => {
            let map = json!({"metadata": {"name": "aws-auth"}, "data": {"mapRoles": text}});
            client.create(&CONFIG_MAPS, "kube-system", map).await.map(drop)
        }
    }
}
