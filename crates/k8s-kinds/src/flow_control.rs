//! The FlowSchemas and PriorityLevelConfigurations that every cluster has (apiserver `apis/flowcontrol/bootstrap`). Some are
//! mandatory: nobody may change their specs. The others can be changed by who says so in their annotation.

use serde_json::{Map, Value, json};

pub const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// Says whether the server keeps the spec of such an object as it is here.
pub const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// One such object.
pub struct Fixed {
    pub kind: &'static str,
    pub name: &'static str,
    /// Whether its spec is nobody's to change.
    pub is_mandatory: bool,
    spec: fn() -> Value,
}

const fn level(name: &'static str, is_mandatory: bool, spec: fn() -> Value) -> Fixed {
    Fixed { kind: "PriorityLevelConfiguration", name, is_mandatory, spec }
}

const fn schema(name: &'static str, is_mandatory: bool, spec: fn() -> Value) -> Fixed {
    Fixed { kind: "FlowSchema", name, is_mandatory, spec }
}

/// The levels, those first that must be there.
pub static LEVELS: &[Fixed] = &[
    level("catch-all", true, || {
        let limited = json!({"nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}});
        json!({"type": "Limited", "limited": limited})
    }),
    level(
        "exempt",
        true,
        || json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}),
    ),
    level("system", false, || queued(30, 33, 64, 6)),
    level("node-high", false, || queued(40, 25, 64, 6)),
    level("leader-election", false, || queued(10, 0, 16, 4)),
    level("workload-high", false, || queued(40, 50, 128, 6)),
    level("workload-low", false, || queued(100, 90, 128, 6)),
    level("global-default", false, || queued(20, 50, 128, 6)),
];

/// The schemas, those first that must be there.
pub static SCHEMAS: &[Fixed] = &[
    schema("catch-all", true, || everything("catch-all", 10_000, "ByUser", everybody())),
    schema("exempt", true, || everything("exempt", 1, "", groups(&["system:masters"]))),
    schema("system-nodes", false, || everything("system", 500, "ByUser", groups(&["system:nodes"]))),
    schema("system-node-high", false, || {
        let rules = json!([
            resources(&["*"], "", &["nodes", "nodes/status"], true),
            resources(&["*"], "coordination.k8s.io", &["leases"], false),
        ]);
        let rule = json!({"subjects": groups(&["system:nodes"]), "resourceRules": rules});
        spec("node-high", 400, "ByUser", rule)
    }),
    schema("probes", false, || {
        let rules = json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]);
        spec("exempt", 2, "", json!({"subjects": everybody(), "nonResourceRules": rules}))
    }),
    schema("system-leader-election", false, || {
        let rules = json!([resources(&["get", "create", "update"], "coordination.k8s.io", &["leases"], false)]);
        let subjects =
            json!([user("system:kube-controller-manager"), user("system:kube-scheduler"), system_accounts()]);
        spec("leader-election", 100, "ByUser", json!({"subjects": subjects, "resourceRules": rules}))
    }),
    schema("kube-controller-manager", false, || {
        everything("workload-high", 800, "ByNamespace", json!([user("system:kube-controller-manager")]))
    }),
    schema("kube-scheduler", false, || {
        everything("workload-high", 800, "ByNamespace", json!([user("system:kube-scheduler")]))
    }),
    schema("kube-system-service-accounts", false, || {
        everything("workload-high", 900, "ByNamespace", json!([system_accounts()]))
    }),
    schema("service-accounts", false, || {
        everything("workload-low", 9_000, "ByUser", groups(&["system:serviceaccounts"]))
    }),
    schema("global-default", false, || everything("global-default", 9_900, "ByUser", everybody())),
];

/// The whole object, as a client would create it.
pub fn object(fixed: &Fixed) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": fixed.kind,
        "metadata": {"name": fixed.name, "annotations": {AUTO_UPDATE: "true"}},
        "spec": (fixed.spec)(),
    })
}

/// The spec that an object of that name must have, if it is one that must be there.
pub(crate) fn mandatory(fixed: &[Fixed], name: &str) -> Option<Value> {
    let fixed = fixed.iter().find(|fixed| fixed.is_mandatory && fixed.name == name)?;
    Some((fixed.spec)())
}

/// Whether two specs are the same: flags that are not set are as those that are not there.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    fn told(map: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
        map.iter().filter(|(_, value)| !(value.is_null() || *value == &Value::Bool(false)))
    }
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let (mut left, mut right) = (told(one), told(other));
            loop {
                match (left.next(), right.next()) {
                    (None, None) => return true,
                    (Some((key, value)), Some((other_key, other_value)))
                        if key == other_key && same(value, other_value) => {}
                    _ => return false,
                }
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        _ => one == other,
    }
}

/// A level whose requests wait in queues.
fn queued(shares: i64, lendable: i64, queues: i64, hand: i64) -> Value {
    let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": 50});
    json!({"type": "Limited", "limited": {
        "nominalConcurrencyShares": shares, "lendablePercent": lendable,
        "limitResponse": {"type": "Queue", "queuing": queuing},
    }})
}

/// The spec of a schema with one rule.
fn spec(level: &str, precedence: i64, method: &str, rule: Value) -> Value {
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": [rule],
    });
    if !method.is_empty() {
        spec["distinguisherMethod"] = json!({"type": method});
    }
    spec
}

/// The spec of a schema that takes all requests of some.
fn everything(level: &str, precedence: i64, method: &str, subjects: Value) -> Value {
    let rule = json!({
        "subjects": subjects,
        "resourceRules": [resources(&["*"], "*", &["*"], true)],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    });
    spec(level, precedence, method, rule)
}

/// Requests for resources of one group in all namespaces, and outside them.
fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    if cluster {
        rule["clusterScope"] = json!(true);
    }
    rule
}

fn groups(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn everybody() -> Value {
    groups(&["system:unauthenticated", "system:authenticated"])
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

/// All ServiceAccounts of `kube-system`.
fn system_accounts() -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}})
}
