//! Strategic merge patches as clients send them: original, patch, result.

use k8s_schema::{NEWEST_MINOR, PatchError, Schema};
use serde_json::{Value, json};

fn schema(group: &str, version: &str, kind: &str) -> Schema {
    Schema::builtin_kind(group, version, kind, NEWEST_MINOR).expect("a kind of the table")
}

/// Patches the spec of a Pod.
fn pod(original: Value, patch: Value, expected: Value) {
    let (original, patch) = (json!({"spec": original}), json!({"spec": patch}));
    let got = schema("", "v1", "Pod").strategic_merge_patch(&original, &patch);
    assert_eq!(got, Ok(json!({"spec": expected})), "{original} + {patch}");
}

fn fails(kind: Schema, original: Value, patch: Value, text: &str) {
    match kind.strategic_merge_patch(&original, &patch) {
        Err(PatchError::Malformed(error) | PatchError::NotApplicable(error) | PatchError::Unexplained(error)) => {
            assert!(error.contains(text), "{error}")
        }
        other => panic!("{patch} gave {other:?}"),
    }
}

#[test]
fn containers_merge_by_name_and_keep_their_order() {
    pod(
        json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1", "tty": true}]}),
        json!({"containers": [{"name": "b", "image": "2"}, {"name": "c", "image": "1"}]}),
        json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2", "tty": true}, {"name": "c", "image": "1"}]}),
    );
}

#[test]
fn ports_merge_by_container_port() {
    let with = |ports: Value| json!({"containers": [{"name": "a", "ports": ports}]});
    pod(
        with(json!([{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}])),
        with(json!([{"containerPort": 53, "name": "dns"}, {"containerPort": 443, "protocol": "TCP"}])),
        with(json!([
            {"containerPort": 80, "protocol": "TCP"},
            {"containerPort": 53, "protocol": "UDP", "name": "dns"},
            {"containerPort": 443, "protocol": "TCP"},
        ])),
    );
}

#[test]
fn new_volumes_and_pull_secrets_come_first_and_env_merges_by_name() {
    pod(
        json!({"volumes": [{"name": "v", "emptyDir": {}}], "imagePullSecrets": [{"name": "x"}]}),
        json!({"volumes": [{"name": "w", "configMap": {"name": "c"}}], "imagePullSecrets": [{"name": "y"}]}),
        json!({
            "volumes": [{"name": "w", "configMap": {"name": "c"}}, {"name": "v", "emptyDir": {}}],
            "imagePullSecrets": [{"name": "y"}, {"name": "x"}],
        }),
    );
    let with = |env: Value| json!({"containers": [{"name": "a", "env": env}]});
    pod(
        with(json!([{"name": "A", "value": "1"}, {"name": "B", "value": "1"}])),
        with(json!([{"name": "B", "value": null, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}])),
        with(
            json!([{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
        ),
    );
}

#[test]
fn volumes_clear_the_other_sources_with_retain_keys() {
    pod(
        json!({"volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}]}),
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}),
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}),
    );
}

#[test]
fn lists_without_a_merge_strategy_are_replaced() {
    pod(
        json!({"tolerations": [{"key": "a"}, {"key": "b"}], "containers": [{"name": "a", "args": ["1", "2"]}]}),
        json!({"tolerations": [{"key": "c"}], "containers": [{"name": "a", "args": ["3"]}]}),
        json!({"tolerations": [{"key": "c"}], "containers": [{"name": "a", "args": ["3"]}]}),
    );
}

#[test]
fn null_deletes_and_means_nothing_in_what_is_new() {
    pod(
        json!({"nodeName": "n", "hostname": "h"}),
        json!({"nodeName": null, "subdomain": null}),
        json!({"hostname": "h"}),
    );
    pod(
        json!({}),
        json!({"securityContext": {"runAsUser": null, "fsGroup": 1}}),
        json!({"securityContext": {"fsGroup": 1}}),
    );
}

#[test]
fn directives_delete_and_replace() {
    let two = json!({"containers": [{"name": "a", "image": "1"}, {"name": "b"}]});
    let cases = [
        (json!({"containers": [{"name": "a", "$patch": "delete"}]}), json!({"containers": [{"name": "b"}]})),
        (json!({"containers": [{"name": "x", "$patch": "delete"}]}), two.clone()),
        (json!({"containers": [{"$patch": "replace"}, {"name": "c"}]}), json!({"containers": [{"name": "c"}]})),
        (
            json!({"containers": [{"name": "a", "$patch": "delete"}, {"name": "c"}]}),
            json!({"containers": [{"name": "c"}, {"name": "b"}]}),
        ),
        (json!({"$patch": "replace", "hostname": "h"}), json!({"hostname": "h"})),
        (json!({"$patch": "delete"}), json!({})),
        (json!({"securityContext": {"$patch": "delete"}}), two.clone()),
    ];
    for (patch, expected) in cases {
        pod(two.clone(), patch, expected);
    }
}

#[test]
fn finalizers_merge_as_a_set_and_delete_by_directive() {
    let meta = |original: Value, patch: Value, expected: Value| {
        let got = schema("", "v1", "ConfigMap")
            .strategic_merge_patch(&json!({"metadata": original}), &json!({"metadata": patch}));
        assert_eq!(got, Ok(json!({"metadata": expected})), "{patch}");
    };
    meta(json!({"finalizers": ["a", "b"]}), json!({"finalizers": ["b", "c"]}), json!({"finalizers": ["a", "b", "c"]}));
    meta(
        json!({"finalizers": ["a", "b"]}),
        json!({"$deleteFromPrimitiveList/finalizers": ["a"]}),
        json!({"finalizers": ["b"]}),
    );
    meta(
        json!({"finalizers": ["a", "b"]}),
        json!({"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["c", "b"], "finalizers": ["c"]}),
        json!({"finalizers": ["c", "b"]}),
    );
    meta(json!({}), json!({"$deleteFromPrimitiveList/finalizers": ["a"]}), json!({}));
    meta(json!({"finalizers": ["a"]}), json!({"finalizers": null}), json!({}));
    meta(
        json!({"labels": {"a": "1", "b": "2"}}),
        json!({"labels": {"a": null, "c": "3"}}),
        json!({"labels": {"b": "2", "c": "3"}}),
    );
    meta(
        json!({"ownerReferences": [{"uid": "1", "name": "x"}]}),
        json!({"ownerReferences": [{"uid": "1", "$patch": "delete"}, {"uid": "2"}]}),
        json!({"ownerReferences": [{"uid": "2"}]}),
    );
}

#[test]
fn set_element_order_arranges_what_the_client_knows() {
    pod(
        json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "server-only"}]}),
        json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b", "image": "2"}]}),
        json!({"containers": [{"name": "b", "image": "2"}, {"name": "a"}, {"name": "server-only"}]}),
    );
    pod(
        json!({"containers": [{"name": "injected"}, {"name": "a"}]}),
        json!({"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}], "containers": [{"name": "b"}]}),
        json!({"containers": [{"name": "injected"}, {"name": "a"}, {"name": "b"}]}),
    );
    pod(
        json!({}),
        json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b"}, {"name": "a"}]}),
        json!({"containers": [{"name": "b"}, {"name": "a"}]}),
    );
    pod(json!({"hostname": "h"}), json!({"$setElementOrder/containers": [{"name": "a"}]}), json!({"hostname": "h"}));
    fails(
        schema("", "v1", "Pod"),
        json!({"spec": {}}),
        json!({"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]}}),
        "doesn't match $setElementOrder list",
    );
}

#[test]
fn a_deployment_changes_its_strategy() {
    let got = schema("apps", "v1", "Deployment").strategic_merge_patch(
        &json!({"spec": {"replicas": 1, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
        &json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
    );
    assert_eq!(got, Ok(json!({"spec": {"replicas": 1, "strategy": {"type": "Recreate"}}})));
    fails(
        schema("apps", "v1", "Deployment"),
        json!({"spec": {"strategy": {}}}),
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}}),
        "patch content doesn't match retainKeys",
    );
}

#[test]
fn conditions_of_a_status_merge_by_type() {
    let got = schema("", "v1", "Node").strategic_merge_patch(
        &json!({"status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "1"}]}}),
        &json!({"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "X", "status": "True"}]}}),
    );
    let expected = json!({"status": {
        "conditions": [{"type": "Ready", "status": "False"}, {"type": "X", "status": "True"}],
        "addresses": [{"type": "InternalIP", "address": "1"}],
    }});
    assert_eq!(got, Ok(expected));
}

#[test]
fn broken_patches_say_what_is_wrong() {
    let cases = [
        (json!({"containers": [{"image": "x"}]}), "does not contain declared merge key: name"),
        (json!({"containers": [{"name": "a", "$patch": "merge"}]}), "merging lists cannot yet be specified"),
        (json!({"containers": [{"name": "a", "$patch": "shred"}]}), "unknown patch type: shred"),
        (json!({"containers": ["a"]}), "list element types are not identical"),
        (json!({"containers": [["a"]]}), "lists of lists are not supported"),
        (json!({"$patch": "shred"}), "unknown patch type: shred"),
        (json!({"$retainKeys": "x"}), "invalid patch format of retainKeys"),
        (json!({"$setElementOrder/containers": 1}), "invalid patch format of setElementOrder list"),
        (
            json!({"$setElementOrder/containers": [{"image": "x"}], "containers": [{"name": "a"}]}),
            "declared merge key: name",
        ),
    ];
    for (patch, text) in cases {
        fails(schema("", "v1", "Pod"), json!({"spec": {"containers": [{"name": "a"}]}}), json!({"spec": patch}), text);
    }
    fails(schema("", "v1", "Pod"), json!({}), json!([]), "is a JSON object");
}

#[test]
fn custom_resources_are_told_what_to_use() {
    let custom = Schema::from_crd(&json!({"type": "object"})).expect("a schema");
    let error = custom.strategic_merge_patch(&json!({}), &json!({})).unwrap_err();
    assert_eq!(error, PatchError::StrategicUnsupported);
    assert!(error.to_string().contains("application/merge-patch+json"));
}

/// Small values that patches are made of, for the properties below.
fn samples() -> Vec<Value> {
    vec![
        json!({}),
        json!({"metadata": {"name": "a", "labels": {"x": "1"}, "finalizers": ["f"]}}),
        json!({"metadata": {"labels": {"y": "2"}, "finalizers": ["g", "f"]}}),
        json!({"spec": {"containers": [{"name": "a", "env": [{"name": "E", "value": "1"}]}], "hostNetwork": true}}),
        json!({"spec": {"containers": [{"name": "b", "ports": [{"containerPort": 1}]}, {"name": "a", "tty": true}]}}),
        json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}], "tolerations": [{"key": "k"}]}}),
    ]
}

#[test]
fn an_empty_patch_changes_nothing_and_a_patch_applied_twice_changes_nothing_more() {
    let schema = schema("", "v1", "Pod");
    for original in samples() {
        assert_eq!(schema.strategic_merge_patch(&original, &json!({})).as_ref(), Ok(&original));
        for patch in samples() {
            let once = schema.strategic_merge_patch(&original, &patch).expect("applies");
            let twice = schema.strategic_merge_patch(&once, &patch).expect("applies again");
            assert_eq!(once, twice, "{original} + {patch}");
        }
        assert_eq!(
            schema.strategic_merge_patch(&original, &original).as_ref(),
            Ok(&original),
            "an object is its own patch"
        );
    }
}

#[test]
fn huge_lists_merge_in_reasonable_time() {
    let list: Vec<Value> = (0..20_000).map(|n| json!({"name": format!("E{n}"), "value": "1"})).collect();
    let with = |env: &[Value]| json!({"spec": {"containers": [{"name": "a", "env": env}]}});
    let reversed: Vec<Value> = list.iter().rev().cloned().collect();
    let got = schema("", "v1", "Pod").strategic_merge_patch(&with(&list), &with(&reversed)).expect("applies");
    assert_eq!(got, with(&reversed), "the patch decides the order");
}
