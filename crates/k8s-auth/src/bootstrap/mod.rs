//! The roles and bindings that every cluster starts with: upstream's (kube-apiserver's bootstrap policy) and EKS's own.
//!
//! They are built and encoded once, and shared by all clusters of the process.

mod cluster_roles;
mod controllers;
mod namespaced;

use std::sync::{Arc, LazyLock};

use k8s_object::Object;
use k8s_object::views::PolicyRule;
use serde_json::{Value, json};

use crate::rbac::{GROUP, RbacIndex, aggregated_rules};

/// A rule of the tables. Lists are words; the word `core` stands for the group without a name.
#[derive(Clone, Copy)]
enum Rule {
    /// Groups, resources, verbs.
    On(&'static str, &'static str, &'static str),
    /// Groups, resources, names, verbs.
    Named(&'static str, &'static str, &'static str, &'static str),
    /// Paths, verbs.
    Urls(&'static str, &'static str),
}

const READ: &str = "get list watch";
const WRITE: &str = "create delete deletecollection patch update";
const READ_WRITE: &str = "create delete deletecollection get list patch update watch";

/// What most components may do: say what happened.
const EVENTS: Rule = Rule::On("core events.k8s.io", "events", "create patch update");

/// Who a binding of the tables is for.
#[derive(Clone, Copy)]
enum Whom {
    Group(&'static str),
    User(&'static str),
    /// A ServiceAccount in `kube-system`.
    Account(&'static str),
}

/// A ClusterRole.
struct ClusterRole {
    name: &'static str,
    /// Gets the rules of ClusterRoles with the label `aggregate-to-` this.
    gathers: &'static str,
    /// Gives its rules to the role that gathers this.
    joins: &'static str,
    rules: &'static [Rule],
}

impl ClusterRole {
    const fn new(name: &'static str, rules: &'static [Rule]) -> ClusterRole {
        ClusterRole { name, gathers: "", joins: "", rules }
    }
}

/// A Role in a namespace, and whom it is bound to under which name.
struct NamespacedRole {
    namespace: &'static str,
    name: &'static str,
    rules: &'static [Rule],
    binding: &'static str,
    subjects: &'static [Whom],
}

fn words(text: &str) -> Vec<&str> {
    text.split(' ').map(|word| if word == "core" { "" } else { word }).collect()
}

fn rule(rule: &Rule) -> Value {
    match *rule {
        Rule::On(groups, resources, verbs) => {
            json!({"apiGroups": words(groups), "resources": words(resources), "verbs": words(verbs)})
        }
        Rule::Named(groups, resources, names, verbs) => json!({
            "apiGroups": words(groups), "resources": words(resources), "resourceNames": words(names), "verbs": words(verbs),
        }),
        Rule::Urls(urls, verbs) => json!({"nonResourceURLs": words(urls), "verbs": words(verbs)}),
    }
}

fn metadata(namespace: &str, name: &str) -> Value {
    let mut metadata = json!({
        "name": name,
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
    });
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    metadata
}

fn object(kind: &str, namespace: &str, name: &str) -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": metadata(namespace, name)})
}

fn cluster_role(role: &ClusterRole) -> Value {
    let label = |of: &str| format!("{GROUP}/aggregate-to-{of}");
    let mut value = object("ClusterRole", "", role.name);
    if !role.joins.is_empty() {
        value["metadata"]["labels"][label(role.joins)] = "true".into();
    }
    if !role.gathers.is_empty() {
        let selector = json!({"matchLabels": {label(role.gathers): "true"}});
        value["aggregationRule"] = json!({"clusterRoleSelectors": [selector]});
    }
    value["rules"] = role.rules.iter().map(rule).collect();
    value
}

fn binding(kind: &str, namespace: &str, name: &str, role: (&str, &str), subjects: &[Whom]) -> Value {
    let mut value = object(kind, namespace, name);
    value["roleRef"] = json!({"apiGroup": GROUP, "kind": role.0, "name": role.1});
    if !subjects.is_empty() {
        value["subjects"] = subjects
            .iter()
            .map(|whom| match whom {
                Whom::Group(name) => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
                Whom::User(name) => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
                Whom::Account(name) => json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}),
            })
            .collect();
    }
    value
}

/// EKS's own objects carry its label instead of upstream's.
fn of_eks(mut value: Value) -> Value {
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("annotations");
        metadata.insert("labels".to_owned(), json!({"eks.amazonaws.com/component": "node"}));
    }
    value
}

fn build() -> Vec<Value> {
    let mut values: Vec<Value> = cluster_roles::CLUSTER_ROLES.iter().map(cluster_role).collect();
    for (role, subjects) in cluster_roles::BINDINGS {
        values.push(binding("ClusterRoleBinding", "", role, ("ClusterRole", role), subjects));
    }
    for (name, rules) in controllers::CONTROLLERS {
        let role = format!("system:controller:{name}");
        let mut value = object("ClusterRole", "", &role);
        value["rules"] = rules.iter().map(rule).collect();
        values.push(value);
        values.push(binding("ClusterRoleBinding", "", &role, ("ClusterRole", &role), &[Whom::Account(name)]));
    }
    for role in namespaced::ROLES {
        let mut value = object("Role", role.namespace, role.name);
        value["rules"] = role.rules.iter().map(rule).collect();
        values.push(value);
        values.push(binding("RoleBinding", role.namespace, role.binding, ("Role", role.name), role.subjects));
    }
    for (role, subjects) in cluster_roles::EKS {
        values.push(of_eks(cluster_role(role)));
        values.push(of_eks(binding("ClusterRoleBinding", "", role.name, ("ClusterRole", role.name), subjects)));
    }
    gather(&mut values);
    values
}

/// Fills in what roles gather: upstream's controller would find it so. A role may gather from one that gathers itself.
fn gather(values: &mut [Value]) {
    const ROUNDS: usize = 3;
    for _ in 0..ROUNDS {
        let mut index = RbacIndex::new();
        for value in values.iter() {
            let object = Object::from_value(value).expect("the tables are objects");
            index.apply(&object).expect("the tables are roles and bindings");
        }
        for value in values.iter_mut().filter(|value| value.get("aggregationRule").is_some()) {
            let name = value["metadata"]["name"].as_str().unwrap_or_default();
            let rules = index.role("", name).and_then(|role| aggregated_rules(role, &index));
            value["rules"] = serde_json::to_value(rules.unwrap_or_default()).expect("rules can be written as JSON");
        }
    }
}

static OBJECTS: LazyLock<Vec<Arc<Object>>> = LazyLock::new(|| {
    let object = |value: &Value| Arc::new(Object::from_value(value).expect("the tables are objects"));
    build().iter().map(object).collect()
});

static NODE_RULES: LazyLock<Vec<PolicyRule>> = LazyLock::new(|| {
    let role =
        cluster_roles::CLUSTER_ROLES.iter().find(|role| role.name == "system:node").expect("the table has nodes");
    let rules = role.rules.iter().map(|row| serde_json::from_value(rule(row)).expect("the tables are rules"));
    rules.collect()
});

/// The minor from which those who monitor read `/flagz` and `/statusz` (features `ComponentFlagz`, `ComponentStatusz`).
const ZPAGES_SINCE: u8 = 36;

static OBJECTS_WITH_ZPAGES: LazyLock<Vec<Arc<Object>>> = LazyLock::new(|| {
    let with_zpages = |object: &Arc<Object>| {
        if object.kind().kind != "ClusterRole" || object.meta().name != "system:monitoring" {
            return object.clone();
        }
        let mut value = object.value();
        if let Some(urls) = value["rules"][0]["nonResourceURLs"].as_array_mut() {
            urls.extend(["/flagz".into(), "/statusz".into()]);
        }
        Arc::new(Object::from_value(&value).expect("it was an object before"))
    };
    OBJECTS.iter().map(with_zpages).collect()
});

/// Every role and binding of a new cluster of a minor, without uid, times and resourceVersion.
pub fn objects(minor: u8) -> &'static [Arc<Object>] {
    if minor >= ZPAGES_SINCE { &OBJECTS_WITH_ZPAGES } else { &OBJECTS }
}

/// Rules of `system:node`.
pub fn node_rules() -> &'static [PolicyRule] {
    &NODE_RULES
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use k8s_object::UserInfo;
    use k8s_object::views::RoleBinding;

    use super::*;
    use crate::Attributes;
    use crate::rbac::covers;

    fn index() -> RbacIndex {
        index_of(34)
    }

    fn index_of(minor: u8) -> RbacIndex {
        let mut index = RbacIndex::new();
        for object in objects(minor) {
            index.apply(object).unwrap();
        }
        index
    }

    #[test]
    fn objects_are_unique_and_their_bindings_lead_somewhere() {
        let (index, mut seen) = (index(), BTreeSet::new());
        for object in objects(34) {
            assert!(seen.insert((object.kind().kind.to_string(), object.key())), "{object:?}");
            if object.kind().kind.ends_with("Binding") {
                let role = object.view::<RoleBinding>().unwrap().role_ref.clone();
                let namespace = if role.kind == "Role" { object.meta().namespace.as_str() } else { "" };
                assert!(index.role(namespace, &role.name).is_some(), "{object:?}");
            }
        }
        assert!(seen.len() > 120, "{}", seen.len());
    }

    #[test]
    fn tables_are_in_order() {
        let names: Vec<&str> = cluster_roles::CLUSTER_ROLES.iter().map(|role| role.name).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert!(cluster_roles::BINDINGS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(controllers::CONTROLLERS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(namespaced::ROLES.is_sorted_by(|a, b| (a.namespace, a.name) < (b.namespace, b.name)));
    }

    #[test]
    fn every_step_up_includes_the_one_below() {
        let index = index();
        let rules = |name: &str| index.role("", name).unwrap().rules.clone();
        for (small, large) in [("view", "edit"), ("edit", "admin"), ("admin", "cluster-admin")] {
            assert!(!rules(small).is_empty());
            assert_eq!(covers(&rules(large), &rules(small)), [], "{small} is not in {large}");
            assert!(!covers(&rules(small), &rules(large)).is_empty(), "{small} is all of {large}");
        }
    }

    #[test]
    fn those_who_monitor_read_the_pages_of_1_36() {
        let prober = UserInfo::new("prober", &["system:monitoring"]);
        for (minor, allowed) in [(35, false), (36, true)] {
            let index = index_of(minor);
            for path in ["/flagz", "/statusz"] {
                assert_eq!(index.authorize(&Attributes::path(&prober, "get", path)).is_allowed(), allowed, "1.{minor}");
            }
            assert!(index.authorize(&Attributes::path(&prober, "get", "/metrics")).is_allowed());
        }
    }

    #[test]
    fn new_clusters_let_people_do_what_they_should() {
        let index = index();
        let anonymous = UserInfo::anonymous();
        let jane = UserInfo::new("jane", &[]);
        let scheduler = UserInfo::new("system:kube-scheduler", &[]);
        let deployments = UserInfo::service_account("kube-system", "deployment-controller");
        let node = UserInfo::new("system:node:n1", &["system:nodes"]);
        let prober = UserInfo::new("prober", &["system:monitoring"]);
        let signer = UserInfo::service_account("kube-system", "bootstrap-signer");
        let root = UserInfo::new("root", &["system:masters"]);
        let on = Attributes::resource;
        let cases = [
            (Attributes::path(&anonymous, "get", "/healthz"), true),
            (Attributes::path(&anonymous, "get", "/version"), true),
            (Attributes::path(&anonymous, "get", "/api"), false),
            (Attributes::path(&jane, "get", "/api/v1"), true),
            (Attributes::path(&jane, "get", "/metrics"), false),
            (Attributes::path(&prober, "get", "/metrics"), true),
            (on(&jane, "create", "authorization.k8s.io", "selfsubjectaccessreviews"), true),
            (on(&jane, "create", "authentication.k8s.io", "selfsubjectreviews"), true),
            (on(&jane, "list", "", "pods"), false),
            (on(&scheduler, "list", "", "pods"), true),
            (Attributes { subresource: "binding", ..on(&scheduler, "create", "", "pods") }, true),
            (on(&scheduler, "list", "storage.k8s.io", "storageclasses"), true),
            (on(&scheduler, "create", "", "pods"), false),
            (on(&deployments, "create", "apps", "replicasets"), true),
            (on(&deployments, "create", "", "secrets"), false),
            (
                Attributes {
                    subresource: "selfnodeserver",
                    ..on(&node, "create", "certificates.k8s.io", "certificatesigningrequests")
                },
                true,
            ),
            // Nodes have their own authorizer; the role is bound to nobody.
            (on(&node, "list", "", "pods"), false),
            (Attributes { namespace: "kube-system", ..on(&signer, "list", "", "secrets") }, true),
            (Attributes { namespace: "default", ..on(&signer, "list", "", "secrets") }, false),
            (on(&root, "delete", "anything", "at-all"), true),
        ];
        for (attributes, allowed) in cases {
            let decision = index.authorize(&attributes);
            assert_eq!(decision.is_allowed(), allowed, "{attributes:?}: {decision}");
        }
        let decision = index.authorize(&on(&scheduler, "list", "", "pods"));
        assert_eq!(
            decision.to_string(),
            r#"RBAC: allowed by ClusterRoleBinding "system:kube-scheduler" of ClusterRole "system:kube-scheduler" to User "system:kube-scheduler""#
        );
    }
}
