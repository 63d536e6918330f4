//! Rows of what comparing with a kube-apiserver request by request has found: rules of many kinds, and what they say.

use k8s_kinds::{Context, Kind, find};
use serde_json::{Value, json};
use world::Timestamp;

const MINOR: u8 = 34;

/// Group, version and plural of a kind.
type Row = (&'static str, &'static str, &'static str);

fn context<'a>(old: Option<&'a Value>, subresource: &'a str) -> Context<'a> {
    Context { minor: MINOR, now: Timestamp::from_seconds(0), old, subresource }
}

/// An object as a create makes it.
fn created(kind: &Kind, object: &Value) -> Value {
    let mut object = object.clone();
    (kind.default)(&mut object, &context(None, ""));
    (kind.prepare_create)(&mut object, &context(None, ""));
    object
}

fn judged(kind: &Kind, object: &Value, context: &Context<'_>) -> Vec<String> {
    let causes = (kind.validate)(object, context);
    causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

/// What a kind says of a new object, as it would be after its defaults.
fn told(kind: &Kind, object: &Value) -> Vec<String> {
    let mut object = object.clone();
    (kind.default)(&mut object, &context(None, ""));
    judged(kind, &object, &context(None, ""))
}

/// What a kind says of a write of `new`, or of a subresource of it, over `old`.
fn told_of_update(kind: &Kind, old: &Value, new: &Value, subresource: &str) -> Vec<String> {
    let mut new = new.clone();
    (kind.prepare_update)(&mut new, &context(Some(old), subresource));
    judged(kind, &new, &context(Some(old), subresource))
}

fn kind(group: &str, version: &str, plural: &str) -> &'static Kind {
    find(group, version, plural).unwrap()
}

#[test]
fn new_objects_are_judged_as_upstream_judges_them() {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}]}});
    let deployment = |selector: Value| json!({"spec": {"selector": selector, "template": template}});
    let subject = json!({"kind": "User", "name": "u", "namespace": "N", "apiGroup": "rbac.authorization.k8s.io"});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
    let cases: Vec<(Row, Value, Vec<&str>)> = vec![
        (
            ("", "v1", "nodes"),
            json!({"spec": {"podCIDRs": ["10.0.0.0/24", "10.1.0.0/24"]}}),
            vec![
                r#"spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.1.0.0/24"]: may specify no more than one CIDR for each IP family"#,
            ],
        ),
        (
            ("", "v1", "nodes"),
            json!({"status": {"capacity": {"cpu": "-1"}}}),
            vec![
                r#"status.capacity.cpu: Invalid value: "-1": must be greater than or equal to 0"#,
                r#"status.allocatable.cpu: Invalid value: "-1": must be greater than or equal to 0"#,
            ],
        ),
        (
            ("node.k8s.io", "v1", "runtimeclasses"),
            json!({"handler": "h", "overhead": {"podFixed": {"zz": "1"}}, "scheduling": {"tolerations": [{"key": "a", "operator": "Exists", "tolerationSeconds": 1}, {"key": "a", "operator": "Exists"}]}}),
            vec![
                r#"overhead.limits[zz]: Invalid value: "zz": must be a standard resource type or fully qualified"#,
                r#"overhead.limits[zz]: Invalid value: "zz": must be a standard resource for containers"#,
                r#"scheduling.tolerations.tolerations[0].effect: Invalid value: "": effect must be 'NoExecute' when `tolerationSeconds` is set"#,
                r#"scheduling.tolerations[1]: Duplicate value: {"key":"a","operator":"Exists"}"#,
            ],
        ),
        (
            ("storage.k8s.io", "v1", "storageclasses"),
            json!({"provisioner": "p", "allowedTopologies": [{"matchLabelExpressions": [{"key": "a", "values": ["b", "b"]}]}, {"matchLabelExpressions": [{"key": "a", "values": ["b"]}]}]}),
            vec![
                r#"allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: "b""#,
                r#"allowedTopologies[1].matchLabelExpressions: Duplicate value: """#,
            ],
        ),
        (("rbac.authorization.k8s.io", "v1", "rolebindings"), json!({"roleRef": role, "subjects": [subject]}), vec![]),
        (
            ("rbac.authorization.k8s.io", "v1", "clusterroles"),
            json!({"aggregationRule": {"clusterRoleSelectors": [{"matchExpressions": [{"key": "a", "operator": "In"}]}]}}),
            vec![
                "aggregationRule.clusterRoleSelectors[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                "aggregationRule.clusterRoleSelectors[0]: Invalid value: null: invalid label selector.",
            ],
        ),
        (
            ("apps", "v1", "deployments"),
            deployment(json!({"matchExpressions": [{"key": "a", "operator": "In"}]})),
            vec![
                "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                r#"spec.selector: Invalid value: {"matchExpressions":[{"key":"a","operator":"In"}]}: invalid label selector"#,
            ],
        ),
        (
            ("apps", "v1", "replicasets"),
            deployment(json!({})),
            vec!["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
        ),
        (
            ("apps", "v1", "controllerrevisions"),
            json!({"data": "x"}),
            vec!["data: Required value: data must be a valid JSON object"],
        ),
        (
            ("", "v1", "namespaces"),
            json!({"spec": {"finalizers": ["x"]}}),
            vec![
                r#"spec.finalizers: Invalid value: "x": name is neither a standard finalizer name nor is it fully qualified"#,
            ],
        ),
    ];
    for ((group, version, plural), object, expected) in cases {
        assert_eq!(told(kind(group, version, plural), &object), expected, "{plural} {object}");
    }
}

#[test]
fn updates_are_judged_as_upstream_judges_them() {
    let address = json!({"type": "InternalIP", "address": "1.2.3.4"});
    let old = json!({"spec": {}, "status": {}});
    let new = json!({"spec": {"externalID": "x"}, "status": {"addresses": [address, address]}});
    let nodes = kind("", "v1", "nodes");
    assert_eq!(
        told_of_update(nodes, &old, &new, "status"),
        [r#"status.addresses[1]: Duplicate value: {"address":"1.2.3.4","type":"InternalIP"}"#]
    );
    assert_eq!(told_of_update(nodes, &old, &new, ""), ["spec.externalID: Forbidden: may not be updated"]);
}

#[test]
fn a_pod_as_a_whole_asks_for_what_its_containers_ask_for() {
    let container = |resources: Value| json!({"name": "c", "image": "i", "resources": resources});
    let cases = [
        (
            json!({"limits": {"cpu": "2", "memory": "1Gi"}}),
            json!({"requests": {"cpu": "500m"}}),
            json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}),
        ),
        (
            json!({"requests": {"cpu": "2"}}),
            json!({"limits": {"hugepages-2Mi": "4Mi"}}),
            json!({"limits": {"hugepages-2Mi": "4Mi"}, "requests": {"cpu": "2", "hugepages-2Mi": "4Mi"}}),
        ),
        (json!({}), json!({"requests": {"cpu": "1"}}), json!({})),
    ];
    for (own, of_container, expected) in cases {
        let pod = json!({"spec": {"resources": own, "containers": [container(of_container)]}});
        assert_eq!(created(kind("", "v1", "pods"), &pod)["spec"]["resources"], expected, "{pod}");
    }
    let ephemeral = json!({"spec": {"containers": [container(json!({}))], "ephemeralContainers": [{"name": "e", "resources": {"limits": {"cpu": "1"}}}]}});
    let resources = &created(kind("", "v1", "pods"), &ephemeral)["spec"]["ephemeralContainers"][0]["resources"];
    assert_eq!(*resources, json!({"limits": {"cpu": "1"}}), "ephemeral containers request nothing by default");
}

#[test]
fn what_nobody_writes_any_more_goes() {
    let slice =
        json!({"addressType": "IPv4", "endpoints": [{"addresses": ["1.2.3.4"], "deprecatedTopology": {"a": "b"}}]});
    let slices = kind("discovery.k8s.io", "v1", "endpointslices");
    assert_eq!(created(slices, &slice)["endpoints"], json!([{"addresses": ["1.2.3.4"]}]));
    let labelled = |value: &str| json!({"metadata": {"labels": {"a": value}}});
    assert!((slices.counts_as_change)(&labelled("b"), &labelled("c")));
    assert!(!(slices.counts_as_change)(&labelled("b"), &labelled("b")));
}

#[test]
fn what_a_minor_does_not_serve_is_dropped() {
    let tolerant = json!({"spec": {"behavior": {"scaleUp": {"tolerance": "0.1", "policies": [{"type": "Pods"}]}}}});
    let kept = created(kind("autoscaling", "v2", "horizontalpodautoscalers"), &tolerant);
    assert_eq!(kept["spec"]["behavior"]["scaleUp"]["tolerance"], Value::Null);
    let pod = json!({"spec": {
        "containers": [{"name": "c", "restartPolicy": "Never", "lifecycle": {"stopSignal": "SIGUSR1"}, "volumeMounts": [{"name": "v"}]}],
        "initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i", "restartPolicy": "Never"}],
        "volumes": [{"name": "v", "image": {"reference": "x"}}],
    }});
    let spec = &created(kind("", "v1", "pods"), &pod)["spec"];
    for gone in [
        "/containers/0/restartPolicy",
        "/containers/0/lifecycle",
        "/containers/0/volumeMounts",
        "/initContainers/1/restartPolicy",
        "/volumes",
    ] {
        assert_eq!(spec.pointer(gone), None, "{gone}");
    }
    assert_eq!(spec["initContainers"][0]["restartPolicy"], "Always");
}
