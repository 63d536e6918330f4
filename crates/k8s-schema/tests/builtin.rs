//! Built-in types: decode errors as Go words them, nulls, defaults, canonical form, declared constraints.

use k8s_schema::{NEWEST_MINOR, OLDEST_MINOR, Schema, kinds};
use serde_json::{Value, json};

fn schema(group: &str, kind: &str) -> Schema {
    Schema::builtin_kind(group, "v1", kind, NEWEST_MINOR).expect("a kind of the table")
}

#[test]
fn a_value_of_the_wrong_kind_is_named_as_go_names_it() {
    let cases = [
        (
            "apps",
            "Deployment",
            json!({"spec": {"replicas": "3"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "apps",
            "Deployment",
            json!({"spec": {"replicas": 1.5}}),
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "apps",
            "Deployment",
            json!({"spec": {"replicas": 3000000000u64}}),
            "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "",
            "Pod",
            json!({"metadata": {"labels": {"a": 1}}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            "",
            "Pod",
            json!({"metadata": {"labels": []}}),
            "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string",
        ),
        (
            "",
            "Pod",
            json!({"spec": {"containers": {}}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            "",
            "Pod",
            json!({"spec": {"containers": [{"env": [{"value": 1}]}]}}),
            "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string",
        ),
        (
            "",
            "Pod",
            json!({"spec": {"containers": [{"imagePullPolicy": 1}]}}),
            "json: cannot unmarshal number into Go struct field Container.spec.containers.imagePullPolicy of type v1.PullPolicy",
        ),
        (
            "",
            "Pod",
            json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "a lot"}}}]}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "",
            "Pod",
            json!({"spec": {"containers": [{"resources": {"limits": []}}]}}),
            "json: cannot unmarshal array into Go struct field ResourceRequirements.spec.containers.resources.limits of type v1.ResourceList",
        ),
        (
            "",
            "Pod",
            json!({"metadata": {"deletionTimestamp": "soon"}}),
            r#"parsing time "soon" as "2006-01-02T15:04:05Z07:00": cannot parse "soon" as "2006""#,
        ),
        (
            "",
            "Service",
            json!({"spec": {"ports": [{"targetPort": true}]}}),
            "json: cannot unmarshal bool into Go value of type int32",
        ),
        ("", "Secret", json!({"data": {"a": "!"}}), "illegal base64 data at input byte 0"),
        ("", "Pod", json!([]), "json: cannot unmarshal array into Go value of type v1.Pod"),
    ];
    for (group, kind, value, text) in cases {
        let error = schema(group, kind).check_types(&value).expect_err(text);
        assert_eq!(error.to_string(), text, "{value}");
    }
}

#[test]
fn values_that_fit_are_accepted() {
    let cases = [
        (
            "apps",
            "Deployment",
            json!({"spec": {"replicas": null, "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}}}}),
        ),
        ("", "Pod", json!({"spec": {"containers": [{"resources": {"limits": {"cpu": 1, "memory": "1.5Gi"}}}]}})),
        ("apps", "ControllerRevision", json!({"data": {"anything": [1, {"goes": null}]}})),
    ];
    for (group, kind, value) in cases {
        assert_eq!(schema(group, kind).check_types(&value), Ok(()), "{value}");
        assert!(schema(group, kind).unknown_fields(&value).is_empty(), "{value}");
    }
}

#[test]
fn nulls_become_absent_or_zero() {
    let mut value = json!({"metadata": {"labels": {"a": null}, "name": null}, "spec": {"containers": [{"args": [null, "x"], "env": null}], "volumes": [null]}});
    schema("", "Pod").drop_nulls(&mut value);
    assert_eq!(
        value,
        json!({"metadata": {"labels": {"a": ""}}, "spec": {"containers": [{"args": ["", "x"]}], "volumes": [{}]}})
    );
    let mut value = json!({"data": {"kept": null}});
    schema("apps", "ControllerRevision").drop_nulls(&mut value);
    assert_eq!(value, json!({"data": {"kept": null}}));
}

#[test]
fn declared_defaults_are_filled() {
    let mut value =
        json!({"spec": {"ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}, {"port": 1, "protocol": ""}]}});
    schema("", "Service").default(&mut value);
    assert_eq!(
        value["spec"]["ports"],
        json!([{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}, {"port": 1, "protocol": "TCP"}])
    );
    let mut value = json!({"spec": {"containers": [{"name": "a", "livenessProbe": {"grpc": {"port": 1}}, "ports": [{"containerPort": 1}]}]}});
    schema("", "Pod").default(&mut value);
    assert_eq!(value["spec"]["containers"][0]["livenessProbe"]["grpc"], json!({"port": 1, "service": ""}));
    assert_eq!(value["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
    assert_eq!(value.as_object().map(serde_json::Map::len), Some(1), "nothing else appears");
    let mut value = json!({"metadata": {"name": "x"}});
    schema("", "ReplicationController").default(&mut value);
    assert_eq!(
        value,
        json!({"metadata": {"name": "x"}, "spec": {"replicas": 1}}),
        "a struct that is absent still has its defaults"
    );
}

#[test]
fn the_canonical_form_is_what_upstream_would_write() {
    let mut value = json!({
        "metadata": {"name": "web"},
        "spec": {"replicas": 0, "paused": false, "minReadySeconds": 0, "template": {"spec": {"hostNetwork": false, "containers": [{"name": "a", "image": "", "args": []}]}}},
    });
    schema("apps", "Deployment").canonicalise(&mut value);
    assert_eq!(
        value,
        json!({
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 0,
                "selector": null,
                "strategy": {},
                "template": {"metadata": {}, "spec": {"containers": [{"name": "a", "resources": {}}]}},
            },
            "status": {},
        })
    );
    let mut value = json!({"metadata": {}});
    Schema::builtin_kind("rbac.authorization.k8s.io", "v1", "Role", NEWEST_MINOR)
        .expect("Role")
        .canonicalise(&mut value);
    assert_eq!(value, json!({"metadata": {}, "rules": null}));
}

/// Structs are never left out, and these leaves are structs in Go.
#[test]
fn moments_that_are_not_known_are_null() {
    for (minor, metadata) in [(33, json!({"creationTimestamp": null})), (34, json!({}))] {
        let mut value = json!({"involvedObject": {}});
        Schema::builtin_kind("", "v1", "Event", minor).expect("Event").canonicalise(&mut value);
        let times = ["eventTime", "firstTimestamp", "lastTimestamp"].map(|field| value.get(field).cloned());
        assert_eq!(times, [const { Some(serde_json::Value::Null) }; 3]);
        assert_eq!(value["metadata"], metadata);
    }
    let mut service = json!({"spec": {"ports": [{"port": 0}]}});
    schema("", "Service").canonicalise(&mut service);
    assert_eq!(service["spec"]["ports"], json!([{"port": 0, "targetPort": 0}]));
}

#[test]
fn amounts_and_times_are_written_as_upstream_writes_them() {
    let mut lease = json!({"spec": {"renewTime": "2020-01-01T02:00:00.000001+02:00"}});
    schema("coordination.k8s.io", "Lease").drop_nulls(&mut lease);
    assert_eq!(lease["spec"]["renewTime"], "2020-01-01T00:00:00.000001Z");
    let mut pod = json!({"spec": {"containers": [{"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}]}});
    schema("", "Pod").drop_nulls(&mut pod);
    assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"], json!({"cpu": "500m", "memory": "1Gi"}));
}

#[test]
fn required_fields_are_known() {
    let value = json!({"spec": {"template": {"spec": {"containers": [{"image": "x"}]}}}});
    let missing: Vec<String> =
        schema("apps", "Deployment").missing_required(&value).iter().map(ToString::to_string).collect();
    assert_eq!(missing, ["spec.selector: Required value", "spec.template.spec.containers[0].name: Required value"]);
    let slice =
        Schema::builtin_kind("certificates.k8s.io", "v1", "CertificateSigningRequest", NEWEST_MINOR).expect("kind");
    assert!(slice.missing_required(&json!({"spec": {"request": "", "signerName": "a"}})).is_empty());
}

#[test]
fn declared_constraints_are_checked_outside_status() {
    let rbac = Schema::builtin_kind("rbac.authorization.k8s.io", "v1", "RoleBinding", NEWEST_MINOR).expect("kind");
    let texts =
        |schema: &Schema, value: Value| schema.validate(&value).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        texts(&rbac, json!({"subjects": [{"kind": "User"}], "roleRef": {"name": "a"}})),
        ["roleRef.kind: Required value", "subjects[0].name: Required value"]
    );
    let old = Schema::builtin_kind("", "v1", "ReplicationController", 34).expect("kind");
    assert_eq!(
        texts(&old, json!({"spec": {"replicas": -1}})),
        ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]
    );
    let service = schema("", "Service");
    assert!(texts(&service, json!({"status": {"conditions": [{"type": "X"}]}})).is_empty());
}

#[test]
fn enumerations_are_known() {
    let policy: Vec<&str> =
        schema("", "Pod").enum_values(&["spec", "containers", "imagePullPolicy"]).iter().map(|v| v.value).collect();
    assert_eq!(policy, ["Always", "IfNotPresent", "Never"]);
    assert!(schema("", "Pod").enum_values(&["spec", "nodeName"]).is_empty());
    assert!(schema("", "Pod").enum_values(&["no", "such"]).is_empty());
    assert!(schema("apps", "Deployment").has_field(&["spec", "template", "spec", "containers", "image"]));
    assert!(!schema("apps", "Deployment").has_field(&["spec", "template", "spec", "containers", "picture"]));
}

#[test]
fn a_type_exists_only_in_its_minors() {
    assert!(Schema::builtin_kind("resource.k8s.io", "v1", "ResourceClaim", 33).is_none());
    assert!(Schema::builtin_kind("resource.k8s.io", "v1", "ResourceClaim", 34).is_some());
    assert!(Schema::builtin("io.k8s.api.core.v1.Pod", OLDEST_MINOR).is_some());
    assert!(Schema::builtin("io.k8s.api.core.v1.Pod", OLDEST_MINOR - 1).is_none());
    assert!(Schema::builtin("io.k8s.api.core.v1.Pot", NEWEST_MINOR).is_none());
    assert!(Schema::builtin("", NEWEST_MINOR).is_none());
    let old = Schema::builtin("io.k8s.api.core.v1.Pod", 33).expect("Pod");
    let value = json!({"spec": {"containers": [{"restartPolicyRules": []}]}});
    assert_eq!(old.unknown_fields(&value), ["spec.containers[0].restartPolicyRules"]);
}

#[test]
fn custom_resource_definitions_are_checked_through_their_unions() {
    let crd =
        Schema::builtin_kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition", NEWEST_MINOR).expect("kind");
    let with = |schema: Value| json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": schema}}]}});
    let good = with(
        json!({"type": "object", "properties": {"a": {"items": {"type": "string"}, "additionalProperties": true, "default": {"any": 1}, "x-kubernetes-int-or-string": true}}}),
    );
    assert!(crd.unknown_fields(&good).is_empty());
    assert_eq!(crd.check_types(&good), Ok(()));
    let bad = with(json!({"properties": {"a": {"items": {"tpye": "string"}}}}));
    assert_eq!(crd.unknown_fields(&bad), ["spec.versions[0].schema.openAPIV3Schema.properties.a.items.tpye"]);
    assert!(crd.check_types(&with(json!({"additionalProperties": 3}))).is_err());
}

/// Values of every kind put where every kind of value is expected.
#[test]
fn weird_input_never_panics() {
    let weird = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("\u{0}é\u{1F600}"),
        json!([]),
        json!([[null]]),
        json!({}),
        json!({"": {"": [{}]}}),
        json!({"metadata": 1, "spec": [], "items": {}, "status": "x"}),
        json!({"spec": {"containers": [null, 1, "x", [], {}], "volumes": {"a": 1}, "replicas": [], "template": 1, "versions": [{"schema": {"openAPIV3Schema": 1}}]}}),
        Value::Array(vec![json!({"spec": null}); 200]),
    ];
    let mut schemas: Vec<Schema> =
        kinds().iter().filter_map(|k| Schema::builtin_kind(k.group, k.version, k.kind, k.until)).collect();
    schemas.push(
        Schema::from_crd(&json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})).expect("a schema"),
    );
    for schema in schemas {
        for value in &weird {
            let mut copy = value.clone();
            let _ = schema.check_types(value);
            let _ = schema.validate(value);
            let _ = schema.missing_required(value);
            let found = schema.unknown_fields(value);
            assert_eq!(schema.prune(&mut copy), found);
            assert!(schema.unknown_fields(&copy).is_empty(), "pruning leaves nothing to prune");
            schema.drop_nulls(&mut copy);
            schema.default(&mut copy);
            schema.canonicalise(&mut copy);
            for patch in weird.iter().take(12) {
                let _ = schema.strategic_merge_patch(value, patch);
                let _ = k8s_schema::merge_patch(value, patch);
                let _ = k8s_schema::json_patch(value, patch);
            }
        }
    }
}
