//! Brings RBAC's default roles and bindings up to date when a server starts: what a newer one grants is added to what an older
//! one has left, and what people have added stays (`rbac.authorization.kubernetes.io/autoupdate`).

use k8s_auth::rbac::covers;
use k8s_client::{Body, Request, Verb};
use k8s_object::views::PolicyRule;
use k8s_object::{ApiError, Object, resources};
use serde_json::Value;

use crate::core::Core;
use crate::own_objects;

const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const AGENT: &str = "kube-apiserver";

/// What is to become of an object that is there.
#[derive(Debug, PartialEq)]
enum Change {
    Nothing,
    Update(Value),
    /// Its role is another one, and that of a binding cannot be changed.
    Replace(Value),
}

/// Updates what is there; what is missing is created before.
pub(crate) async fn run(core: &Core) -> Result<(), ApiError> {
    for wanted in k8s_auth::bootstrap::objects(core.minor) {
        let resource = match &*wanted.kind().kind {
            "ClusterRole" => &resources::CLUSTER_ROLES,
            "ClusterRoleBinding" => &resources::CLUSTER_ROLE_BINDINGS,
            "Role" => &resources::ROLES,
            _ => &resources::ROLE_BINDINGS,
        };
        let meta = wanted.meta();
        let Some(own) = core.lookup(&resource.group, &resource.resource, &meta.namespace, &meta.name) else { continue };
        let request = |verb, name: &str, body| Request { body, ..Request::new(verb, resource, &meta.namespace, name) };
        let done = match reconcile(&own, wanted) {
            Change::Nothing => continue,
            Change::Update(value) => {
                own_objects::execute(core, AGENT, request(Verb::Update, &meta.name, Body::Json(value))).await
            }
            Change::Replace(value) => {
                let delete = request(Verb::Delete, &meta.name, Body::None);
                match own_objects::execute(core, AGENT, delete).await {
                    Ok(_) => {
                        let create = request(Verb::Create, "", Body::Json(value));
                        own_objects::execute(core, AGENT, create).await
                    }
                    failed => failed,
                }
            }
        };
        match done {
            Ok(_) => {}
            // Another server of the same store, or somebody, was faster; the next start looks again.
            Err(error) if matches!(error.code(), 404 | 409) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn reconcile(own: &Object, wanted: &Object) -> Change {
    let annotation = |object: &Object| object.meta().annotations.get(AUTOUPDATE).map(str::to_owned);
    if annotation(wanted).is_none() || annotation(own).as_deref() == Some("false") {
        return Change::Nothing;
    }
    let (before, wanted) = (own.value(), wanted.value());
    if before["roleRef"] != wanted["roleRef"] {
        return Change::Replace(wanted);
    }
    let mut value = before.clone();
    for field in ["annotations", "labels"] {
        for (key, text) in wanted["metadata"][field].as_object().into_iter().flatten() {
            let own = &mut value["metadata"][field][key.as_str()];
            if own.is_null() {
                *own = text.clone();
            }
        }
    }
    let lists = |value: &Value| value.as_array().is_some_and(|list| !list.is_empty());
    if wanted["aggregationRule"].is_object() {
        // Its rules are gathered by a controller.
        append(
            &mut value["aggregationRule"]["clusterRoleSelectors"],
            &wanted["aggregationRule"]["clusterRoleSelectors"],
        );
    } else if wanted["rules"].is_array() && wanted["rules"] != before["rules"] {
        let rules = |value: &Value| serde_json::from_value::<Vec<PolicyRule>>(value.clone()).unwrap_or_default();
        let missing = covers(&rules(&before["rules"]), &rules(&wanted["rules"]));
        let missing: Vec<Value> = missing.iter().filter_map(|rule| serde_json::to_value(rule).ok()).collect();
        if !missing.is_empty() {
            append(&mut value["rules"], &Value::Array(missing));
        }
    }
    if lists(&wanted["subjects"]) {
        append(&mut value["subjects"], &wanted["subjects"]);
    }
    if value == before { Change::Nothing } else { Change::Update(value) }
}

/// Adds what a list lacks.
fn append(list: &mut Value, wanted: &Value) {
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    let Some(own) = list.as_array_mut() else { return };
    for item in wanted.as_array().into_iter().flatten() {
        if !own.contains(item) {
            own.push(item.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_are_added_and_additions_stay() {
        let object = |kind: &str, auto: &str, rest: Value| {
            let annotations = if auto.is_empty() { json!({}) } else { json!({AUTOUPDATE: auto}) };
            let mut value = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "r", "annotations": annotations},
            });
            for (key, part) in rest.as_object().unwrap() {
                value[key] = part.clone();
            }
            value
        };
        let rule = |resource: &str, verbs: Value| json!({"apiGroups": [""], "resources": [resource], "verbs": verbs});
        let role = |auto: &str, rules: Value| object("ClusterRole", auto, json!({"rules": rules}));
        let binding = |role: &str, names: &[&str]| {
            let subjects: Vec<Value> = names.iter().map(|name| json!({"kind": "User", "name": name})).collect();
            let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role});
            object("ClusterRoleBinding", "true", json!({"roleRef": role, "subjects": subjects}))
        };
        let (pods, more) = (rule("pods", json!(["get"])), rule("pods", json!(["get", "list"])));
        let own = rule("secrets", json!(["get"]));
        let cases = [
            (role("true", json!([pods])), role("true", json!([pods])), Change::Nothing),
            (
                role("true", json!([own, pods])),
                role("true", json!([more])),
                Change::Update(role("true", json!([own, pods, rule("pods", json!(["list"]))]))),
            ),
            (role("true", json!([more, own])), role("true", json!([pods])), Change::Nothing),
            (role("", json!([pods])), role("true", json!([pods])), Change::Update(role("true", json!([pods])))),
            (role("false", json!([])), role("true", json!([pods])), Change::Nothing),
            (role("true", json!([])), role("", json!([pods])), Change::Nothing),
            (binding("a", &["x"]), binding("a", &["y"]), Change::Update(binding("a", &["x", "y"]))),
            (binding("a", &["y", "x"]), binding("a", &["y"]), Change::Nothing),
            (binding("b", &["x"]), binding("a", &["y"]), Change::Replace(binding("a", &["y"]))),
        ];
        for (own, wanted, expected) in cases {
            let found = reconcile(&Object::from_value(&own).unwrap(), &Object::from_value(&wanted).unwrap());
            assert_eq!(found, expected, "{own} {wanted}");
        }
    }
}
