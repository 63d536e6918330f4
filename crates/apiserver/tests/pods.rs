//! What may be written to a pod after it was made: its resources, debugging containers, its status.

mod support;

use k8s_client::{Client, PatchType};
use k8s_object::{ApiError, resources};
use serde_json::{Value, json};
use support::with_cluster;

/// A pod on a node, whose one container runs.
async fn running(client: &Client) -> Value {
    let _ = client.create(&resources::SERVICE_ACCOUNTS, "default", json!({"metadata": {"name": "default"}})).await;
    let pod = json!({"metadata": {"name": "web"}, "spec": {"nodeName": "n1", "containers": [
        {"name": "c", "image": "nginx", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]}});
    client.create(&resources::PODS, "default", pod).await.unwrap();
    let status = json!({"status": {"phase": "Running", "containerStatuses": [{
        "name": "c", "image": "nginx", "imageID": "", "ready": true, "restartCount": 0,
        "state": {"running": {"startedAt": null}}, "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]}});
    patch(client, "status", status).await.unwrap()
}

async fn patch(client: &Client, part: &str, change: Value) -> Result<Value, ApiError> {
    let patched = client.patch(&resources::PODS, "default", "web", part, PatchType::Strategic, change).await;
    patched.map(|object| object.value())
}

/// The field and the text of each cause.
fn told(error: &ApiError) -> Vec<(String, String)> {
    error.causes.iter().map(|cause| (cause.field.clone(), cause.message.clone())).collect()
}

#[test]
fn resources_of_a_running_pod_change_through_resize_only() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let old = running(&client).await;
        let with = |resources: Value| json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
        let more = with(json!({"requests": {"cpu": "2"}}));
        let direct = patch(&client, "", more.clone()).await.unwrap_err();
        assert!(direct.to_string().contains("pod updates may not change fields other than"), "{direct}");
        let mut sent = more;
        sent["metadata"] = json!({"labels": {"added": "no"}});
        sent["spec"]["activeDeadlineSeconds"] = json!(5);
        let new = patch(&client, "resize", sent).await.unwrap();
        assert_eq!(new["spec"]["containers"][0]["resources"]["requests"], json!({"cpu": "2", "memory": "1Gi"}));
        assert!(new["metadata"]["labels"].is_null() && new["spec"]["activeDeadlineSeconds"].is_null(), "{new}");
        assert_eq!(
            (&old["metadata"]["generation"], &new["metadata"]["generation"]),
            (&json!(1), &json!(2)),
            "a kubelet sees that there is something to do"
        );
        for (resources, field, part) in [
            (json!({"requests": {"cpu": null}}), "spec.containers[0].resources.requests", "cannot be removed"),
            (json!({"limits": {"cpu": "2", "memory": "1Gi"}}), "spec", "Pod QOS Class may not change"),
            (json!({"requests": {"example.com/disks": "1"}}), "spec.containers[0]", ""),
        ] {
            let error = patch(&client, "resize", with(resources.clone())).await.unwrap_err();
            let fits = |(at, why): &(String, String)| at.starts_with(field) && why.contains(part);
            assert!(told(&error).iter().any(fits), "{resources}: {:?}", told(&error));
        }
    });
}

#[test]
fn debugging_containers_join_a_pod_and_stay() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        running(&client).await;
        let debugger = json!({"name": "debug", "image": "busybox", "targetContainerName": "c"});
        let add = |containers: Value| json!({"spec": {"ephemeralContainers": containers}});
        assert!(patch(&client, "", add(json!([debugger]))).await.is_err(), "only through the part of its own");
        let pod = patch(&client, "ephemeralcontainers", add(json!([debugger]))).await.unwrap();
        assert_eq!(pod["spec"]["ephemeralContainers"][0]["terminationMessagePolicy"], "File", "it gets defaults");
        for (containers, part) in [
            (json!([{"name": "debug", "image": "other"}]), "existing ephemeral containers"),
            (json!([{"name": "debug", "$patch": "delete"}]), "existing ephemeral containers"),
            (json!([{"name": "c", "image": "busybox"}]), "Duplicate value"),
            (
                json!([{"name": "x", "image": "busybox", "ports": [{"containerPort": 1}]}]),
                "cannot be set for an Ephemeral Container",
            ),
            (json!([{"name": "x", "image": "busybox", "targetContainerName": "none"}]), "Not found"),
        ] {
            let error = patch(&client, "ephemeralcontainers", add(containers.clone())).await.unwrap_err();
            let words = format!("{error} {:?}", told(&error));
            assert!(words.contains(part), "{containers}: {words}");
        }
    });
}

#[test]
fn a_container_that_may_not_restart_stays_terminated() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        running(&client).await;
        let state = |state: Value| {
            json!({"status": {"containerStatuses": [{
            "name": "c", "image": "nginx", "imageID": "", "ready": false, "restartCount": 0, "state": state}]}})
        };
        // Of a pod whose restart policy is Always, it may run again.
        for step in [json!({"terminated": {"exitCode": 1}}), json!({"running": {}})] {
            let mut value = client.get(&resources::PODS, "default", "web").await.unwrap().value();
            value["status"]["containerStatuses"] = state(step)["status"]["containerStatuses"].clone();
            client.update(&resources::PODS, "default", "web", "status", value).await.unwrap();
        }
        let mut once = client.get(&resources::PODS, "default", "web").await.unwrap().value();
        once["metadata"] = json!({"name": "once"});
        once["spec"]["restartPolicy"] = json!("Never");
        let mut value = client.create(&resources::PODS, "default", once).await.unwrap().value();
        let mut error = None;
        for step in [json!({"terminated": {"exitCode": 0}}), json!({"running": {}})] {
            value["status"]["containerStatuses"] = state(step)["status"]["containerStatuses"].clone();
            match client.update(&resources::PODS, "default", "once", "status", value.clone()).await {
                Ok(object) => value = object.value(),
                Err(failed) => error = Some(failed),
            }
        }
        let error = error.expect("a container of a pod that never restarts ran again");
        assert!(error.to_string().contains("may not be transitioned to non-terminated state"), "{error}");
    });
}
