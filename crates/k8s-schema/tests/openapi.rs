//! The OpenAPI documents as kubectl reads them.

use std::collections::BTreeSet;

use k8s_schema::{
    NEWEST_MINOR, OpenApiGroup, OpenApiKind, OpenApiSubresource, Schema, kinds, openapi_v2, openapi_v2_protobuf, openapi_v3,
    openapi_v3_root,
};
use serde_json::{Value, json};

fn kind(group: &str, version: &str, kind: &str, plural: &str, namespaced: bool) -> OpenApiKind {
    let schema = Schema::builtin_kind(group, version, kind, NEWEST_MINOR).expect("a kind of the table");
    let type_name = schema.type_name().expect("built in");
    OpenApiKind { kind: kind.into(), plural: plural.into(), namespaced, type_name, schema, subresources: Vec::new() }
}

fn custom() -> OpenApiKind {
    let schema = Schema::from_crd(&json!({
        "type": "object",
        "description": "A timer.",
        "properties": {
            "spec": {"type": "object", "required": ["cron"], "properties": {
                "cron": {"type": "string", "description": "When."},
                "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "maybe": {"type": "string", "nullable": true},
            }},
        },
    }))
    .expect("a structural schema");
    OpenApiKind {
        kind: "CronTab".into(),
        plural: "crontabs".into(),
        namespaced: true,
        type_name: "com.example.stable.v1.CronTab".into(),
        schema,
        subresources: Vec::new(),
    }
}

/// Every `$ref` of a document, and every name that is defined.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|below| references(below, found));
        }
        Value::Array(list) => list.iter().for_each(|below| references(below, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_reachable() {
    let groups: BTreeSet<(&str, &str)> = kinds().iter().map(|k| (k.group, k.version)).collect();
    for (group, version) in groups {
        let served: Vec<OpenApiKind> = kinds()
            .iter()
            .filter(|k| {
                (k.group, k.version) == (group, version) && k.until == NEWEST_MINOR && !k.kind.ends_with("List")
            })
            .map(|k| kind(group, version, k.kind, &k.kind.to_lowercase(), true))
            .collect();
        let v3 = openapi_v3(group, version, &served, NEWEST_MINOR);
        let v2 = openapi_v2(&[OpenApiGroup { group, version, kinds: &served }], NEWEST_MINOR);
        let documents =
            [(&v3["components"]["schemas"], "#/components/schemas/", &v3), (&v2["definitions"], "#/definitions/", &v2)];
        for (schemas, prefix, document) in documents {
            let mut used = BTreeSet::new();
            references(document, &mut used);
            let defined: BTreeSet<String> =
                schemas.as_object().expect("schemas").keys().map(|name| format!("{prefix}{name}")).collect();
            let dangling: Vec<_> = used.difference(&defined).collect();
            assert!(dangling.is_empty(), "{group}/{version}: {dangling:?}");
            let unused = defined.difference(&used).filter(|name| !name.ends_with("List")).count();
            // DeleteOptions, Patch, Status and WatchEvent, with what it holds, are there even where kinds can only be created.
            assert!(unused <= 4, "{group}/{version}: {unused} schemas that nothing refers to");
        }
    }
}

#[test]
fn the_deployment_is_described_with_its_extensions() {
    let document = openapi_v3("apps", "v1", &[kind("apps", "v1", "Deployment", "deployments", true)], NEWEST_MINOR);
    let schemas = &document["components"]["schemas"];
    let deployment = &schemas["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(
        deployment["x-kubernetes-group-version-kind"],
        json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
    );
    assert_eq!(
        schemas["io.k8s.api.apps.v1.DeploymentList"]["x-kubernetes-group-version-kind"][0]["kind"],
        "DeploymentList"
    );
    assert_eq!(schemas["io.k8s.api.apps.v1.DeploymentSpec"]["required"], json!(["selector", "template"]));
    assert_eq!(
        schemas["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["strategy"],
        json!({"allOf": [{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentStrategy"}], "x-kubernetes-patch-strategy": "retainKeys"})
    );
    let container = &schemas["io.k8s.api.core.v1.Container"]["properties"];
    assert_eq!(
        container["ports"],
        json!({
            "type": "array",
            "items": {"$ref": "#/components/schemas/io.k8s.api.core.v1.ContainerPort"},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
            "x-kubernetes-patch-strategy": "merge",
            "x-kubernetes-patch-merge-key": "containerPort",
        })
    );
    assert_eq!(container["imagePullPolicy"], json!({"type": "string", "enum": ["Always", "IfNotPresent", "Never"]}));
    assert_eq!(schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]["default"], "TCP");
    assert_eq!(schemas["io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"]["x-kubernetes-map-type"], "atomic");
    assert_eq!(schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["format"], "int-or-string");
    assert_eq!(schemas.get("io.k8s.api.core.v1.Node"), None, "nothing that is not reachable");
}

#[test]
fn paths_say_which_kind_and_which_query_parameters() {
    let document = openapi_v3("apps", "v1", &[kind("apps", "v1", "Deployment", "deployments", true)], NEWEST_MINOR);
    let paths = &document["paths"];
    let item = &paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
    let gvk = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
    for (method, at, wanted) in [
        ("patch", item, ["dryRun", "fieldManager", "fieldValidation"].as_slice()),
        ("put", item, &["dryRun", "fieldManager", "fieldValidation"]),
        (
            "post",
            &paths["/apis/apps/v1/namespaces/{namespace}/deployments"],
            &["dryRun", "fieldManager", "fieldValidation"],
        ),
        ("delete", item, &["dryRun"]),
        ("get", &paths["/apis/apps/v1/deployments"], &["labelSelector", "watch"]),
    ] {
        let operation = &at[method];
        assert_eq!(operation["x-kubernetes-group-version-kind"], gvk, "{method}");
        let names: Vec<&str> =
            operation["parameters"].as_array().expect("parameters").iter().filter_map(|p| p["name"].as_str()).collect();
        assert!(wanted.iter().all(|name| names.contains(name)), "{method}: {names:?}");
    }
    assert!(item["patch"]["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
    assert_eq!(item["get"]["operationId"], "readAppsV1NamespacedDeployment");
    let core = openapi_v3("", "v1", &[kind("", "v1", "Node", "nodes", false)], NEWEST_MINOR);
    assert!(core["paths"]["/api/v1/nodes/{name}"]["patch"].is_object());
    assert!(core["paths"].get("/api/v1/namespaces/{namespace}/nodes").is_none());
}

#[test]
fn a_review_can_only_be_created() {
    let review = kind("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", false);
    let document = openapi_v3("authorization.k8s.io", "v1", &[review], NEWEST_MINOR);
    let path = &document["paths"]["/apis/authorization.k8s.io/v1/subjectaccessreviews"];
    assert!(path["post"].is_object() && path.get("get").is_none());
}

#[test]
fn custom_resources_are_described_in_both_notations() {
    let kinds = [custom()];
    let v3 = openapi_v3("stable.example.com", "v1", &kinds, NEWEST_MINOR);
    let schema = &v3["components"]["schemas"]["com.example.stable.v1.CronTab"];
    assert_eq!(schema["properties"]["spec"]["properties"]["cron"]["description"], "When.");
    assert_eq!(schema["properties"]["kind"], json!({"type": "string"}));
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "CronTab");
    assert_eq!(schema["properties"]["spec"]["properties"]["port"]["anyOf"].as_array().map(Vec::len), Some(2));
    let v2 = openapi_v2(&[OpenApiGroup { group: "stable.example.com", version: "v1", kinds: &kinds }], NEWEST_MINOR);
    let spec = &v2["definitions"]["com.example.stable.v1.CronTab"]["properties"]["spec"]["properties"];
    assert_eq!(spec["port"], json!({"x-kubernetes-int-or-string": true}));
    assert_eq!(spec["maybe"], json!({}));
    assert_eq!(spec["cron"]["type"], "string");
    let patch = &v2["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"]["patch"];
    assert!(
        patch["parameters"]
            .as_array()
            .is_some_and(|list| list.iter().any(|p| p["name"] == "fieldValidation" && p["type"] == "string"))
    );
}
