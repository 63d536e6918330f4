//! What the cloud controller manager of AWS does to nodes beside the kubelet: the label that says that it has seen them. A kubelet may
//! not set labels of `k8s.io` itself.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_client::{Client, Informers, PatchType};
use k8s_object::resources::NODES;
use serde_json::json;
use tokio::sync::Notify;
use world::Tasks;

const LABEL: &str = "k8s.io/cloud-provider-aws";
const VALUE: &str = "minato";

/// Nodes that still have to be labelled: as many as there are nodes at most.
#[derive(Default)]
struct Waiting {
    nodes: Mutex<BTreeSet<String>>,
    more: Notify,
}

impl Waiting {
    fn add(&self, node: String) {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).insert(node);
        self.more.notify_one();
    }

    fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.nodes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Labels every node that comes.
pub(crate) fn start(client: &Client, tasks: &Tasks) {
    let informers = Informers::builder().with(NODES, &[]).build(client.clone());
    let waiting = Arc::new(Waiting::default());
    let found = waiting.clone();
    informers.subscribe(&NODES, move |change| {
        if let Some(node) = change.new.as_ref().filter(|node| node.meta().labels.get(LABEL).is_none()) {
            found.add(node.meta().name.clone());
        }
    });
    informers.start(tasks);
    let (client, stop) = (client.clone(), tasks.stop());
    tasks.spawn("cloud provider", async move {
        stop.or(async {
            loop {
                waiting.more.notified().await;
                for node in waiting.take() {
                    let label = json!({"metadata": {"labels": {LABEL: VALUE}}});
                    // One that has gone needs no label; any other change of it brings it here again.
                    let _ = client.patch(&NODES, "", &node, "", PatchType::Merge, label).await;
                }
            }
        })
        .await;
    });
}
