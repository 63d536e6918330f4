//! Keeps as many pods as a ReplicationController asks for: the planner of ReplicaSets, with a selector that is a plain map.

use std::sync::Arc;
use std::time::Duration;

use k8s_client::Index;
use k8s_object::resources::{PODS, REPLICATION_CONTROLLERS};
use k8s_object::views::{ReplicaSet, ReplicaSetSpec, ReplicationController};
use k8s_object::{DecodeError, LabelSelector, Object};

use super::replicaset::{self, Shape};
use crate::controller::{Controller, Watched};
use crate::ownership::ORPHAN;

pub(super) static CONTROLLER: Controller = Controller {
    name: "replicationcontroller-controller",
    event_source: "replication-controller",
    service_account: "replication-controller",
    about: "Creates and deletes pods until a ReplicationController has as many as it asks for.",
    watches: &[
        Watched { resource: PODS, indices: &[Index::OWNER, ORPHAN] },
        Watched { resource: REPLICATION_CONTROLLERS, indices: &[Index::OWNER] },
    ],
    watches_everything: false,
    triggers: |change, view| replicaset::triggers(&SHAPE, change, view),
    plan: |view, key, now| replicaset::plan(&SHAPE, view, key, now),
    reports_failures: true,
    concurrency: 5,
    rest: Duration::from_millis(20),
};

static SHAPE: Shape = Shape { resource: REPLICATION_CONTROLLERS, kind: "ReplicationController", read };

fn read(object: &Object) -> Result<Arc<ReplicaSet>, DecodeError> {
    let controller = object.view::<ReplicationController>()?;
    let spec = &controller.spec;
    let labels = |labels: &std::collections::BTreeMap<String, String>| {
        LabelSelector::labels(labels.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    };
    Ok(Arc::new(ReplicaSet {
        metadata: controller.metadata.clone(),
        spec: ReplicaSetSpec {
            replicas: spec.replicas,
            // An empty selector of this kind selects nothing, unlike that of a ReplicaSet.
            selector: (!spec.selector.is_empty()).then(|| labels(&spec.selector)),
            template: spec.template.clone(),
            min_ready_seconds: spec.min_ready_seconds,
        },
        status: controller.status.clone(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::Key;
    use crate::testing::{check, object, plan_bodies};
    use serde_json::{Value, json};

    fn controller(selector: Value) -> Arc<Object> {
        let value = json!({
            "metadata": {"generation": 1},
            "spec": {
                "replicas": 1, "selector": selector,
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}},
            },
            "status": {"observedGeneration": 1, "replicas": 1, "fullyLabeledReplicas": 1},
        });
        object(&REPLICATION_CONTROLLERS, "a", "web", value)
    }

    fn pod(name: &str, extra: Value) -> Arc<Object> {
        let owner = json!({
            "apiVersion": "v1", "kind": "ReplicationController", "name": "web", "uid": "replicationcontrollers-a-web",
            "controller": true,
        });
        let mut value = json!({"metadata": {"labels": {"app": "web"}, "ownerReferences": [owner]}});
        crate::json::merge(&mut value, &extra);
        object(&PODS, "a", name, value)
    }

    #[test]
    fn pods_are_created_adopted_and_released_by_a_plain_map() {
        let key = Key::new(REPLICATION_CONTROLLERS, "a", "web");
        let web = || controller(json!({"app": "web"}));
        check(&CONTROLLER, &[web(), pod("p", json!({}))], &key, &[]);
        check(
            &CONTROLLER,
            &[web(), pod("p", json!({"metadata": {"labels": {"app": "db"}}}))],
            &key,
            &[
                r#"patch pods a/p {"metadata":{"ownerReferences":[]}}"#,
                "create pods a/web-",
                r#"update replicationcontrollers/status a/web {"status":{"availableReplicas":null,"conditions":null,"fullyLabeledReplicas":null,"observedGeneration":1,"readyReplicas":null,"replicas":0}}"#,
            ],
        );
        let orphan = pod("p", json!({"metadata": {"ownerReferences": null}}));
        check(
            &CONTROLLER,
            &[web(), orphan],
            &key,
            &[
                r#"patch pods a/p {"metadata":{"ownerReferences":[{"apiVersion":"v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicationController","name":"web","uid":"replicationcontrollers-a-web"}]}}"#,
            ],
        );
        let bodies = plan_bodies(&CONTROLLER, &[web()], &key);
        assert_eq!(bodies[0]["metadata"]["ownerReferences"][0]["kind"], "ReplicationController");
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        let stranger = pod("p", json!({"metadata": {"ownerReferences": null}}));
        let key = Key::new(REPLICATION_CONTROLLERS, "a", "web");
        let bodies = plan_bodies(&CONTROLLER, &[controller(Value::Null), stranger], &key);
        assert_eq!(bodies.len(), 1, "one pod is created, and none adopted");
    }
}
