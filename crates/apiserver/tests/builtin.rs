//! Built-in kinds through the whole pipeline: versions that convert, selectors that the server makes, objects that are not stored.

mod support;

use std::time::Duration;

use k8s_client::{PatchType, Preconditions, Reply, Verb};
use k8s_object::{GroupVersionResource, resources};
use serde_json::{Value, json};
use support::http::{ask, with_names};
use support::{call, request, with_cluster, with_options};

fn gvr(group: &str, version: &str, plural: &str) -> GroupVersionResource {
    GroupVersionResource::new(group, version, plural)
}

#[test]
fn autoscalers_are_written_in_one_version_and_read_in_the_other() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let (v1, v2) = (
            gvr("autoscaling", "v1", "horizontalpodautoscalers"),
            gvr("autoscaling", "v2", "horizontalpodautoscalers"),
        );
        let scaler = json!({
            "metadata": {"name": "web"},
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
        });
        let created = client.create(&v1, "default", scaler).await.unwrap().value();
        assert_eq!(created["apiVersion"], "autoscaling/v1");
        assert_eq!(
            (&created["spec"]["minReplicas"], &created["spec"]["targetCPUUtilizationPercentage"]),
            (&json!(1), &json!(80))
        );
        let status = json!({"status": {"currentReplicas": 1, "desiredReplicas": 2, "conditions": [
            {"type": "AbleToScale", "status": "True"}], "currentMetrics": [
            {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 20, "averageValue": "1"}}}]}});
        client.patch(&v2, "default", "web", "status", PatchType::Merge, status).await.unwrap();
        let seen = client.get(&v1, "default", "web").await.unwrap().value();
        assert_eq!(seen["status"]["currentCPUUtilizationPercentage"], 20);
        assert!(seen["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/conditions"].is_string());
        // What travels in annotations comes back when a client of the old version writes what it read.
        let mut changed = seen;
        changed["spec"]["maxReplicas"] = json!(5);
        client.update(&v1, "default", "web", "", changed).await.unwrap();
        let end = client.get(&v2, "default", "web").await.unwrap().value();
        assert_eq!(
            (&end["spec"]["maxReplicas"], &end["status"]["conditions"][0]["type"]),
            (&json!(5), &json!("AbleToScale"))
        );
        assert!(end["metadata"]["annotations"].is_null());
        let wrong = json!({"spec": {"maxReplicas": 0}});
        let error = client.patch(&v1, "default", "web", "", PatchType::Merge, wrong).await.unwrap_err();
        assert_eq!(error.causes[0].field, "spec.maxReplicas");
    });
}

fn job(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"template": {"spec": {
        "containers": [{"name": "c", "image": "busybox"}], "restartPolicy": "Never",
    }}}})
}

#[test]
fn a_job_selects_its_pods_and_leaves_them() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let jobs = gvr("batch", "v1", "jobs");
        let created = client.create(&jobs, "default", job("j")).await.unwrap();
        let spec = &created.value()["spec"];
        let labels = &spec["selector"]["matchLabels"];
        assert_eq!(labels["batch.kubernetes.io/controller-uid"], created.meta().uid);
        assert_eq!(spec["template"]["metadata"]["labels"]["job-name"], "j");
        client.delete(&jobs, "default", "j", Preconditions::default()).await.unwrap();
        let going = client.get(&jobs, "default", "j").await.unwrap().value();
        assert_eq!(going["metadata"]["finalizers"], json!(["orphan"]), "clients of old take pods away themselves");
        let cron = json!({"metadata": {"name": "c"}, "spec": {"schedule": "@hourly", "jobTemplate": job("x")}});
        let mut cron = cron;
        cron["spec"]["jobTemplate"].as_object_mut().unwrap().remove("metadata");
        let created = client.create(&gvr("batch", "v1", "cronjobs"), "default", cron).await.unwrap().value();
        assert_eq!(created["spec"]["concurrencyPolicy"], "Allow");
        assert!(
            created["spec"]["jobTemplate"]["spec"]["backoffLimit"].is_null(),
            "a template is not defaulted as a Job"
        );
    });
}

#[test]
fn the_control_plane_says_how_it_is() {
    with_cluster(|cluster| async move {
        let statuses = gvr("", "v1", "componentstatuses");
        let user = k8s_object::UserInfo::new("admin", &["system:masters"]);
        match call(&cluster, &user, request(Verb::List, &statuses, "", "")).await.unwrap() {
            Reply::List { items, .. } => {
                let names: Vec<&str> = items.iter().map(|item| item.meta().name.as_str()).collect();
                assert_eq!(names, ["controller-manager", "etcd-0", "scheduler"]);
            }
            other => panic!("{other:?}"),
        }
        let error = call(&cluster, &user, request(Verb::Get, &statuses, "", "x")).await.unwrap_err();
        assert_eq!(error.to_string(), r#"componentstatus "x" not found"#);
        assert!(cluster.admin().create(&statuses, "", json!({})).await.is_err());
    });
}

#[test]
fn a_binding_places_a_pod() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let account = json!({"metadata": {"name": "default"}});
        client.create(&resources::SERVICE_ACCOUNTS, "default", account).await.unwrap();
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}});
        client.create(&resources::PODS, "default", pod).await.unwrap();
        let mut bind = request(Verb::Create, &gvr("", "v1", "bindings"), "default", "");
        bind.body = k8s_client::Body::Json(json!({"metadata": {"name": "p"}, "target": {"name": "n1"}}));
        let user = k8s_object::UserInfo::new("admin", &["system:masters"]);
        call(&cluster, &user, bind).await.unwrap();
        assert_eq!(client.get(&resources::PODS, "default", "p").await.unwrap().value()["spec"]["nodeName"], "n1");
    });
}

#[test]
fn deprecated_versions_warn() {
    with_options(with_names, |cluster| async move {
        for (path, warning) in [
            ("endpoints", r#"299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice""#),
            ("componentstatuses", r#"299 - "v1 ComponentStatus is deprecated in v1.19+""#),
            ("pods", ""),
        ] {
            let answer = ask(&cluster, "admin", &format!("GET /api/v1/{path}"), &[], "").await;
            assert_eq!((answer.status, answer.header("warning")), (200, warning), "{path}");
        }
    });
}

#[test]
fn tables_of_old_versions_are_those_of_the_stored_one() {
    with_options(with_names, |cluster| async move {
        let scaler = json!({
            "metadata": {"name": "web"},
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
        });
        for version in ["v1", "v2"] {
            let path = format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers");
            let _ = ask(&cluster, "admin", &format!("POST {path}"), &[], &scaler.to_string()).await;
            let accept = "accept: application/json;as=Table;v=v1;g=meta.k8s.io";
            let table = ask(&cluster, "admin", &format!("GET {path}"), &[accept], "").await.json();
            let cells = &table["rows"][0]["cells"];
            assert_eq!((&cells[1], &cells[2]), (&json!("Deployment/web"), &json!("cpu: <unknown>/80%")), "{version}");
        }
    });
}

#[test]
fn what_is_no_object_of_its_resource_has_a_table_too() {
    with_options(with_names, |cluster| async move {
        let table = "accept: application/json;as=Table;v=v1;g=meta.k8s.io";
        let labels = json!({"app": "web"});
        let deployment = json!({"metadata": {"name": "web"}, "spec": {
            "replicas": 3, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "b"}]}},
        }});
        let path = "/apis/apps/v1/namespaces/default/deployments";
        let _ = ask(&cluster, "admin", &format!("POST {path}"), &[], &deployment.to_string()).await;
        let names = |table: &serde_json::Value| {
            let columns = table["columnDefinitions"].as_array().expect("columns");
            columns.iter().map(|column| column["name"].as_str().unwrap_or("").to_owned()).collect::<Vec<_>>()
        };
        let scale = ask(&cluster, "admin", &format!("GET {path}/web/scale"), &[table], "").await.json();
        assert_eq!(names(&scale), ["Name", "Desired", "Available", "Age"]);
        let row = &scale["rows"][0];
        assert_eq!(row["cells"].as_array().map(|cells| &cells[..3]), Some(&[json!("web"), json!(3), json!(0)][..]));
        assert_eq!(
            (&row["object"]["kind"], &row["object"]["metadata"]["name"]),
            (&json!("PartialObjectMetadata"), &json!("web"))
        );

        let partial = "accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        let scale = ask(&cluster, "admin", &format!("GET {path}/web/scale"), &[partial], "").await.json();
        assert_eq!((&scale["kind"], &scale["spec"]), (&json!("PartialObjectMetadata"), &json!(null)));

        let statuses = ask(&cluster, "admin", "GET /api/v1/componentstatuses", &[table], "").await.json();
        assert_eq!(
            names(&statuses),
            ["Name", "Status", "Message", "Error"],
            "what can be listed has columns, stored or not"
        );

        let _ =
            ask(&cluster, "admin", "POST /api/v1/namespaces/default/configmaps", &[], r#"{"metadata":{"name":"a"}}"#)
                .await;
        let gone = ask(&cluster, "admin", "DELETE /api/v1/namespaces/default/configmaps/a", &[table], "").await.json();
        assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")), "a Status stays one");
    });
}

#[test]
fn a_server_says_that_it_is_there() {
    with_cluster(|cluster| async move {
        let client = cluster.admin();
        let leases = async |namespace: &str| -> Vec<Value> {
            let (leases, _) = client.list(&resources::LEASES, namespace).await.unwrap();
            leases.iter().map(|lease| lease.value()).collect()
        };
        let own = leases("kube-system").await.pop().unwrap();
        let name = own["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.starts_with("apiserver-") && name.len() == 36, "{name}");
        let labels =
            json!({"apiserver.kubernetes.io/identity": "kube-apiserver", "kubernetes.io/hostname": "apiserver"});
        assert_eq!(own["metadata"]["labels"], labels);
        assert_eq!(own["metadata"]["managedFields"][0]["manager"], "kube-apiserver");
        assert_eq!(own["spec"]["leaseDurationSeconds"], 3600);
        let holder = own["spec"]["holderIdentity"].as_str().unwrap();
        assert!(holder.strip_prefix(&name).is_some_and(|rest| rest.starts_with('_')), "{holder}");
        cluster.world.sleep(Duration::from_secs(11)).await;
        let renewed = leases("kube-system").await.pop().unwrap();
        assert!(renewed["spec"]["renewTime"].as_str() > own["spec"]["renewTime"].as_str());
        assert_eq!(renewed["spec"]["holderIdentity"], own["spec"]["holderIdentity"]);
        client.delete(&resources::LEASES, "kube-system", &name, Preconditions::default()).await.unwrap();
        cluster.world.sleep(Duration::from_secs(11)).await;
        assert_eq!(leases("kube-system").await[0]["metadata"]["name"], name.as_str());
        // Servers that are gone leave theirs for an hour.
        let identity = json!({"apiserver.kubernetes.io/identity": "kube-apiserver"});
        for (namespace, name, labels, renewed) in [
            ("kube-system", "gone", &identity, "2025-12-31T21:00:00.000000Z"),
            ("kube-system", "silent", &identity, ""),
            ("kube-system", "here", &identity, "2026-01-01T00:30:00.000000Z"),
            ("kube-system", "other", &json!({}), "2025-12-31T21:00:00.000000Z"),
            ("default", "elsewhere", &identity, "2025-12-31T21:00:00.000000Z"),
        ] {
            let mut lease =
                json!({"metadata": {"name": name, "labels": labels}, "spec": {"leaseDurationSeconds": 3600}});
            if !renewed.is_empty() {
                lease["spec"]["renewTime"] = json!(renewed);
            }
            client.create(&resources::LEASES, namespace, lease).await.unwrap();
        }
        cluster.world.sleep(Duration::from_secs(3600)).await;
        let left: Vec<Value> = leases("").await.iter().map(|lease| lease["metadata"]["name"].clone()).collect();
        assert_eq!(left, [json!("elsewhere"), json!(name), json!("here"), json!("other")]);
    });
}
