//! The OpenAPI documents as kubectl reads them.

use std::collections::BTreeSet;

use k8s_schema::{
    NEWEST_MINOR, OpenApiGroup, OpenApiKind, OpenApiSubresource, Schema, kinds, openapi_v2, openapi_v2_protobuf,
    openapi_v3, openapi_v3_protobuf, openapi_v3_root,
};
use serde_json::{Value, json};

fn kind(group: &str, version: &str, kind: &str, plural: &str, namespaced: bool) -> OpenApiKind {
    let schema = Schema::builtin_kind(group, version, kind, NEWEST_MINOR).expect("a kind of the table");
    let type_name = schema.type_name().expect("built in");
    OpenApiKind {
        kind: kind.into(),
        plural: plural.into(),
        namespaced,
        deletes_collection: true,
        read_only: false,
        type_name,
        schema,
        subresources: Vec::new(),
        selectable: Vec::new(),
    }
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
        deletes_collection: true,
        read_only: false,
        type_name: "com.example.stable.v1.CronTab".into(),
        schema,
        subresources: Vec::new(),
        selectable: Vec::new(),
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
            assert!(unused == 0, "{group}/{version}: {unused} schemas that nothing refers to");
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
        json!({
            "allOf": [{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentStrategy"}],
            "default": {}, "description": "How old pods are replaced by new ones.",
            "x-kubernetes-patch-strategy": "retainKeys",
        })
    );
    let container = &schemas["io.k8s.api.core.v1.Container"]["properties"];
    assert_eq!(
        container["ports"],
        json!({
            "type": "array",
            "items": {"allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.ContainerPort"}], "default": {}},
            "description": "Ports that the container listens on; for information.",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
            "x-kubernetes-patch-strategy": "merge",
            "x-kubernetes-patch-merge-key": "containerPort",
        })
    );
    assert_eq!(container["imagePullPolicy"]["enum"], json!(["Always", "IfNotPresent", "Never"]));
    assert_eq!(schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]["default"], "TCP");
    assert_eq!(schemas["io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"]["x-kubernetes-map-type"], "atomic");
    assert_eq!(schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["format"], "int-or-string");
    assert_eq!(schemas.get("io.k8s.api.core.v1.Node"), None, "nothing that is not reachable");
}

#[test]
fn unions_are_published() {
    let pods = openapi_v3("", "v1", &[kind("", "v1", "Pod", "pods", true)], NEWEST_MINOR);
    let profile = &pods["components"]["schemas"]["io.k8s.api.core.v1.SeccompProfile"];
    let expected =
        json!([{"discriminator": "type", "fields-to-discriminateBy": {"localhostProfile": "LocalhostProfile"}}]);
    assert_eq!(profile["x-kubernetes-unions"], expected);
}

#[test]
fn ids_and_tags_have_the_whole_name_of_the_group() {
    for (group, version, name, id, tag) in [
        ("apps", "v1", "Deployment", "getAppsV1APIResources", "apps_v1"),
        ("rbac.authorization.k8s.io", "v1", "Role", "getRbacAuthorizationV1APIResources", "rbacAuthorization_v1"),
        (
            "flowcontrol.apiserver.k8s.io",
            "v1",
            "FlowSchema",
            "getFlowcontrolApiserverV1APIResources",
            "flowcontrolApiserver_v1",
        ),
    ] {
        let document = openapi_v3(group, version, &[kind(group, version, name, "things", true)], NEWEST_MINOR);
        let operation = &document["paths"][format!("/apis/{group}/{version}/")]["get"];
        assert_eq!((&operation["operationId"], &operation["tags"]), (&json!(id), &json!([tag])));
    }
}

#[test]
fn what_can_only_be_read_has_no_other_operations() {
    let mut status = kind("", "v1", "ComponentStatus", "componentstatuses", false);
    status.read_only = true;
    let document = openapi_v3("", "v1", &[status], NEWEST_MINOR);
    for path in ["/api/v1/componentstatuses", "/api/v1/componentstatuses/{name}"] {
        let keys: Vec<&String> = document["paths"][path].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["get", "parameters"], "{path}");
    }
    assert!(document["paths"].get("/api/v1/watch/componentstatuses").is_none());
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
        let parameters =
            [&operation["parameters"], &at["parameters"]].into_iter().filter_map(Value::as_array).flatten();
        let names: Vec<&str> = parameters.filter_map(|p| p["name"].as_str()).collect();
        assert!(wanted.iter().all(|name| names.contains(name)), "{method}: {names:?}");
    }
    assert!(item["patch"]["requestBody"]["content"]["application/strategic-merge-patch+json"].is_object());
    assert_eq!(item["get"]["operationId"], "readAppsV1NamespacedDeployment");
    let core = openapi_v3("", "v1", &[kind("", "v1", "Node", "nodes", false)], NEWEST_MINOR);
    assert!(core["paths"]["/api/v1/nodes/{name}"]["patch"].is_object());
    let deleted = |document: &Value, path: &str| {
        let schema = &document["paths"][path]["delete"]["responses"]["200"]["content"]["application/json"]["schema"];
        schema["$ref"].as_str().and_then(|name| name.rsplit('.').next()).map(str::to_owned)
    };
    assert_eq!(deleted(&core, "/api/v1/nodes/{name}").as_deref(), Some("Status"));
    let pods = openapi_v3("", "v1", &[kind("", "v1", "Pod", "pods", true)], NEWEST_MINOR);
    assert_eq!(deleted(&pods, "/api/v1/namespaces/{namespace}/pods/{name}").as_deref(), Some("Pod"));
    let mut namespace = kind("", "v1", "Namespace", "namespaces", false);
    namespace.deletes_collection = false;
    let namespaces = openapi_v3("", "v1", &[namespace], NEWEST_MINOR);
    assert_eq!(deleted(&namespaces, "/api/v1/namespaces"), None);
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
    assert_eq!(schema["properties"]["kind"]["type"], "string");
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

#[test]
fn custom_schemas_are_published_as_kubectl_can_read_them() {
    let published = |schema: Value| {
        let mut kind = custom();
        kind.schema = Schema::from_crd(&schema).expect("a structural schema");
        let kinds = [kind];
        let v3 = openapi_v3("stable.example.com", "v1", &kinds, NEWEST_MINOR);
        let v2 =
            openapi_v2(&[OpenApiGroup { group: "stable.example.com", version: "v1", kinds: &kinds }], NEWEST_MINOR);
        let name = "com.example.stable.v1.CronTab";
        (v2["definitions"][name].clone(), v3["components"]["schemas"][name].clone())
    };
    const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
    let (v2, v3) = published(json!({"type": "object", PRESERVE: true}));
    assert_eq!(v2.as_object().map(|own| own.keys().collect::<Vec<_>>().len()), Some(2), "its type and kind: {v2}");
    assert!(v3["properties"]["metadata"].is_object() && v3[PRESERVE] == true, "{v3}");
    let (v2, v3) = published(json!({"type": "object", "properties": {"spec": {
        "type": "object",
        "required": ["maybe", "cron"],
        "properties": {
            "cron": {"type": "string"},
            "maybe": {"type": "object", "nullable": true, "properties": {"a": {"type": "string"}}},
            "open": {"type": "object", PRESERVE: true, "properties": {"a": {"type": "string"}}},
            "list": {"type": "array", "nullable": true, "items": {"type": "string"}},
            "inner": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
        },
    }}}));
    let (v2, v3) = (&v2["properties"]["spec"], &v3["properties"]["spec"]);
    assert_eq!(v2["required"], json!(["cron"]), "what may be null is not required");
    assert_eq!(v2["properties"]["maybe"], json!({}));
    assert_eq!(v2["properties"]["open"], json!({PRESERVE: true}));
    assert_eq!(v2["properties"]["list"], json!({}));
    for inner in [&v2["properties"]["inner"], &v3["properties"]["inner"]] {
        assert_eq!(inner["required"], json!(["kind", "apiVersion"]));
        assert!(inner["properties"]["metadata"].is_object() && inner["properties"]["spec"].is_object(), "{inner}");
    }
    assert!(v3["properties"]["open"]["properties"]["a"].is_object());
}

#[test]
fn subresources_and_watches_have_their_paths() {
    let mut deployment = kind("apps", "v1", "Deployment", "deployments", true);
    let own = deployment.type_name.clone();
    let verbs = || ["get", "patch", "update"].map(str::to_owned).to_vec();
    let below = |name: &str, group: &str, kind: &str, type_name: String| OpenApiSubresource {
        name: name.into(),
        group: group.into(),
        version: "v1".into(),
        kind: kind.into(),
        type_name,
        verbs: verbs(),
    };
    deployment.subresources = vec![
        below("scale", "autoscaling", "Scale", "io.k8s.api.autoscaling.v1.Scale".into()),
        below("status", "apps", "Deployment", own),
    ];
    let document = openapi_v3("apps", "v1", &[deployment], NEWEST_MINOR);
    let item = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}";
    for (path, method, id, kind) in [
        ("/apis/apps/v1/".to_owned(), "get", "getAppsV1APIResources", Value::Null),
        (format!("{item}/scale"), "put", "replaceAppsV1NamespacedDeploymentScale", json!("Scale")),
        (format!("{item}/status"), "patch", "patchAppsV1NamespacedDeploymentStatus", json!("Deployment")),
        ("/apis/apps/v1/deployments".into(), "get", "listAppsV1DeploymentForAllNamespaces", json!("Deployment")),
        (
            "/apis/apps/v1/watch/deployments".into(),
            "get",
            "watchAppsV1DeploymentListForAllNamespaces",
            json!("Deployment"),
        ),
        (
            "/apis/apps/v1/namespaces/{namespace}/deployments".into(),
            "delete",
            "deleteAppsV1CollectionNamespacedDeployment",
            json!("Deployment"),
        ),
    ] {
        let operation = &document["paths"][&path][method];
        assert_eq!(
            (&operation["operationId"], &operation["x-kubernetes-group-version-kind"]["kind"]),
            (&json!(id), &kind),
            "{path}"
        );
        assert_eq!(operation["responses"]["401"]["description"], "Unauthorized", "{path}");
    }
    let scale = &document["components"]["schemas"]["io.k8s.api.autoscaling.v1.Scale"];
    assert_eq!(scale["x-kubernetes-group-version-kind"][0]["group"], "autoscaling");
    let parameters = |path: &str| -> Vec<String> {
        let list = document["paths"][path]["parameters"].as_array().into_iter().flatten();
        list.filter_map(|parameter| parameter["name"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(parameters(item), ["name", "namespace", "pretty"]);
    assert!(parameters("/apis/apps/v1/watch/deployments").contains(&"sendInitialEvents".to_owned()));
}

#[test]
fn what_is_above_the_versions_has_documents_of_its_own() {
    let places = [
        ("api", "/api/"),
        ("apis", "/apis/"),
        ("apis/apps", "/apis/apps/"),
        ("version", "/version/"),
        ("openid/v1/jwks", "/openid/v1/jwks/"),
        (".well-known/openid-configuration", "/.well-known/openid-configuration/"),
    ];
    for (about, path) in places {
        let document = openapi_v3_root(about, NEWEST_MINOR).unwrap();
        assert!(document["paths"][path]["get"]["responses"]["200"].is_object(), "{about}");
    }
    assert_eq!(openapi_v3_root("other", NEWEST_MINOR), None);
}

/// Fields of a message, to see what was written without a reader of that format.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        number
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let length = match tag & 7 {
            2 => varint(&mut bytes) as usize,
            1 => 8,
            _ => {
                varint(&mut bytes);
                0
            }
        };
        let (payload, rest) = bytes.split_at(length);
        fields.push((tag >> 3, payload));
        bytes = rest;
    }
    fields
}

fn first(bytes: &[u8], number: u64) -> &[u8] {
    fields(bytes).into_iter().find(|(own, _)| *own == number).unwrap_or_else(|| panic!("no field {number}")).1
}

#[test]
fn the_message_of_the_v2_document_says_all_of_it() {
    let kinds = [kind("apps", "v1", "Deployment", "deployments", true), custom()];
    let document = openapi_v2(&[OpenApiGroup { group: "apps", version: "v1", kinds: &kinds }], NEWEST_MINOR);
    let bytes = openapi_v2_protobuf(&document);
    assert_eq!(first(&bytes, 1), b"2.0");
    assert_eq!(first(first(&bytes, 2), 1), b"Kubernetes");
    let named = |bytes, number| -> Vec<(String, &[u8])> {
        let entries = fields(bytes).into_iter().filter(|(own, _)| *own == number);
        entries.map(|(_, entry)| (String::from_utf8(first(entry, 1).to_vec()).unwrap(), first(entry, 2))).collect()
    };
    let definitions = named(first(&bytes, 9), 1);
    let names: Vec<&str> = definitions.iter().map(|(name, _)| name.as_str()).collect();
    let expected: Vec<&str> = document["definitions"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, expected);
    let (_, deployment) = definitions.iter().find(|(name, _)| name == "io.k8s.api.apps.v1.Deployment").unwrap();
    assert_eq!(first(first(deployment, 22), 1), b"object");
    let extension = first(deployment, 31);
    assert_eq!(first(extension, 1), b"x-kubernetes-group-version-kind");
    let kinds: Value = serde_yaml::from_slice(first(first(extension, 2), 2)).unwrap();
    assert_eq!(kinds[0]["kind"], "Deployment");
    let properties = named(first(deployment, 25), 1);
    let (_, spec) = properties.iter().find(|(name, _)| name == "spec").unwrap();
    assert_eq!(first(spec, 1), b"#/definitions/io.k8s.api.apps.v1.DeploymentSpec");
    let paths = named(first(&bytes, 8), 2);
    assert_eq!(paths.len(), document["paths"].as_object().unwrap().len());
    let (_, item) = paths.iter().find(|(name, _)| name.ends_with("/deployments/{name}")).unwrap();
    let patch = first(item, 8);
    assert_eq!(first(patch, 5), b"patchAppsV1NamespacedDeployment");
    assert_eq!(
        fields(patch).iter().filter(|(number, _)| *number == 8).count(),
        5,
        "four in the query, one in the body"
    );
}

#[test]
fn the_message_of_a_v3_document_says_all_of_it() {
    let kinds = [kind("apps", "v1", "Deployment", "deployments", true), custom()];
    let document = openapi_v3("apps", "v1", &kinds, NEWEST_MINOR);
    let bytes = openapi_v3_protobuf(&document);
    assert_eq!((first(&bytes, 1), first(first(&bytes, 2), 1)), (&b"3.0.0"[..], &b"Kubernetes"[..]));
    let named = |bytes, number| -> Vec<(String, &[u8])> {
        let entries = fields(bytes).into_iter().filter(|(own, _)| *own == number);
        entries.map(|(_, entry)| (String::from_utf8(first(entry, 1).to_vec()).unwrap(), first(entry, 2))).collect()
    };
    let paths = named(first(&bytes, 4), 1);
    let names: Vec<&str> = paths.iter().map(|(name, _)| name.as_str()).collect();
    let expected: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, expected);
    let (_, item) = paths.iter().find(|(name, _)| name.ends_with("/deployments/{name}")).unwrap();
    let patch = first(item, 10);
    assert_eq!(first(patch, 5), b"patchAppsV1NamespacedDeployment");
    let body = first(first(patch, 7), 1);
    assert_eq!(named(first(body, 2), 1).len(), 4, "the forms of a patch");
    let responses = named(first(patch, 8), 2);
    let codes: Vec<&str> = responses.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(codes, ["200", "201", "401"]);

    let components = first(&bytes, 5);
    let schemas = named(first(components, 1), 1);
    assert_eq!(schemas.len(), document["components"]["schemas"].as_object().unwrap().len());
    let schema = |name: &str| {
        let (_, found) = schemas.iter().find(|(own, _)| own == name).unwrap();
        first(found, 1)
    };
    let extension = first(schema("io.k8s.api.apps.v1.Deployment"), 36);
    assert_eq!(first(extension, 1), b"x-kubernetes-group-version-kind");
    let properties = named(first(schema("io.k8s.api.apps.v1.DeploymentSpec"), 31), 1);
    let property = |name: &str| first(properties.iter().find(|(own, _)| own == name).unwrap().1, 1);
    let strategy = property("strategy");
    let reference = b"#/components/schemas/io.k8s.api.apps.v1.DeploymentStrategy";
    assert_eq!(first(first(first(strategy, 26), 2), 1), reference);
    assert_eq!(first(strategy, 33), b"", "an object, which has no form there");
    let container = named(first(schema("io.k8s.api.core.v1.Container"), 31), 1);
    let (_, name) = container.iter().find(|(name, _)| name == "name").unwrap();
    let default = fields(first(first(name, 1), 33));
    assert_eq!(default, [(3, &b""[..])], "the empty text is written");
}

#[test]
fn what_leads_elsewhere_takes_parameters_and_answers_with_text() {
    let below = |name: &str, options: &str| {
        let options = if options.is_empty() { "Pod" } else { options };
        let schema = Schema::builtin_kind("", "v1", options, NEWEST_MINOR).expect("a kind of the table");
        OpenApiSubresource {
            name: name.into(),
            group: String::new(),
            version: "v1".into(),
            kind: options.into(),
            type_name: schema.type_name().expect("built in"),
            verbs: vec!["get".into(), "create".into()],
        }
    };
    let mut pods = kind("", "v1", "Pod", "pods", true);
    pods.subresources = vec![below("exec", "PodExecOptions"), below("log", ""), below("proxy", "PodProxyOptions")];
    let item = "/api/v1/namespaces/{namespace}/pods/{name}";
    let v3 = openapi_v3("", "v1", std::slice::from_ref(&pods), NEWEST_MINOR);
    let v2 = openapi_v2(&[OpenApiGroup { group: "", version: "v1", kinds: &[pods] }], NEWEST_MINOR);
    let text = json!({"type": "string"});
    let cases = [
        ("exec", "get", "connectCoreV1GetNamespacedPodExec", "connect", "PodExecOptions"),
        ("exec", "post", "connectCoreV1PostNamespacedPodExec", "connect", "PodExecOptions"),
        ("log", "get", "readCoreV1NamespacedPodLog", "get", "Pod"),
        ("proxy", "head", "connectCoreV1HeadNamespacedPodProxy", "connect", "PodProxyOptions"),
        ("proxy/{path}", "put", "connectCoreV1PutNamespacedPodProxyWithPath", "connect", "PodProxyOptions"),
    ];
    for (name, method, id, action, options) in cases {
        for document in [&v2, &v3] {
            let operation = &document["paths"][format!("{item}/{name}")][method];
            assert_eq!(operation["operationId"], id);
            assert_eq!(operation["x-kubernetes-action"], action, "{id}");
            assert_eq!(operation["x-kubernetes-group-version-kind"]["kind"], options, "{id}");
        }
        let answer = &v2["paths"][format!("{item}/{name}")][method]["responses"]["200"];
        assert_eq!(answer["schema"], text, "{id}");
    }
    let parameters = |document: &Value, name: &str| -> Vec<String> {
        let of = document["paths"][format!("{item}/{name}")]["parameters"].as_array().expect("parameters").iter();
        of.map(|parameter| parameter["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(
        parameters(&v3, "exec"),
        ["command", "container", "name", "namespace", "stderr", "stdin", "stdout", "tty"]
    );
    assert!(parameters(&v2, "log").contains(&"tailLines".to_owned()));
    assert!(parameters(&v2, "proxy/{path}").ends_with(&["path".to_owned()]));
    assert!(v2["definitions"].get("io.k8s.api.core.v1.PodExecOptions").is_none(), "options are parameters");
}
