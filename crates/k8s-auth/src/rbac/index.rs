//! Roles and bindings of a cluster, kept up to date object by object, found by subject.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_object::views::{PolicyRule, Role, RoleBinding, Subject};
use k8s_object::{DecodeError, NamespacedName, Object, UserInfo};

use super::matching::allows;
use super::{GROUP, PRIVILEGED_GROUP};
use crate::{Attributes, Decision};

/// What a subject is called in the index.
enum Holder {
    Group(String),
    User(String),
}

/// One binding's grant to one subject.
#[derive(Debug)]
struct Grant {
    binding: NamespacedName,
    /// The role: in the binding's namespace, or in none for a ClusterRole.
    role: NamespacedName,
    /// Position of the subject in the binding.
    subject: usize,
}

/// Grants of one holder, by the namespace they are for: the empty name is everywhere. Each list is in order of the bindings' names.
type Grants = BTreeMap<String, Vec<Grant>>;

/// Roles and bindings of a cluster.
#[derive(Default)]
pub struct RbacIndex {
    /// Roles by namespace and name; ClusterRoles have no namespace.
    roles: BTreeMap<NamespacedName, Arc<Role>>,
    bindings: BTreeMap<NamespacedName, Arc<RoleBinding>>,
    /// Users and groups apart, so that a look-up needs no key of its own making.
    users: BTreeMap<String, Grants>,
    groups: BTreeMap<String, Grants>,
}

/// What a user may do, as far as roles say.
#[derive(Debug, Default)]
pub struct ResolvedRules {
    pub rules: Vec<PolicyRule>,
    /// Roles that bindings name and that do not exist.
    pub missing: Vec<String>,
}

impl RbacIndex {
    /// An index of nothing.
    pub fn new() -> RbacIndex {
        RbacIndex::default()
    }

    /// Takes in a new revision of a Role, ClusterRole, RoleBinding or ClusterRoleBinding; other kinds do not matter.
    pub fn apply(&mut self, object: &Object) -> Result<(), DecodeError> {
        if object.kind().group != GROUP {
            return Ok(());
        }
        match object.kind().kind.as_ref() {
            "Role" | "ClusterRole" => {
                self.roles.insert(object.key(), object.view::<Role>()?);
            }
            "RoleBinding" | "ClusterRoleBinding" => {
                let binding = object.view::<RoleBinding>()?;
                self.unbind(&object.key());
                self.bind(object.key(), &binding);
                self.bindings.insert(object.key(), binding);
            }
            _ => {}
        }
        Ok(())
    }

    /// Forgets an object.
    pub fn remove(&mut self, object: &Object) {
        self.remove_named(object.kind().kind.as_ref(), &object.key());
    }

    /// Forgets an object by its kind and name.
    pub fn remove_named(&mut self, kind: &str, key: &NamespacedName) {
        match kind {
            "Role" | "ClusterRole" => {
                self.roles.remove(key);
            }
            "RoleBinding" | "ClusterRoleBinding" => self.unbind(key),
            _ => {}
        }
    }

    fn bind(&mut self, key: NamespacedName, binding: &RoleBinding) {
        let role_namespace = if binding.role_ref.kind == "Role" { key.namespace.clone() } else { String::new() };
        let role = NamespacedName::new(role_namespace, binding.role_ref.name.clone());
        for (position, subject) in binding.subjects.iter().enumerate() {
            let Some(holder) = holder(subject, &key.namespace) else { continue };
            let grants = match holder {
                Holder::User(name) => self.users.entry(name),
                Holder::Group(name) => self.groups.entry(name),
            };
            let list = grants.or_default().entry(key.namespace.clone()).or_default();
            let grant = Grant { binding: key.clone(), role: role.clone(), subject: position };
            let at = list.partition_point(|own| own.binding <= grant.binding);
            list.insert(at, grant);
        }
    }

    fn unbind(&mut self, key: &NamespacedName) {
        let Some(binding) = self.bindings.remove(key) else { return };
        for subject in &binding.subjects {
            let Some(holder) = holder(subject, &key.namespace) else { continue };
            let (grants, name) = match &holder {
                Holder::User(name) => (&mut self.users, name),
                Holder::Group(name) => (&mut self.groups, name),
            };
            let Some(own) = grants.get_mut(name) else { continue };
            if let Some(list) = own.get_mut(&key.namespace) {
                list.retain(|grant| grant.binding != *key);
                if list.is_empty() {
                    own.remove(&key.namespace);
                }
            }
            if own.is_empty() {
                grants.remove(name);
            }
        }
    }

    /// Whether the user may do that: by a role, or as a member of `system:masters`.
    pub fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.in_group(PRIVILEGED_GROUP) {
            return Decision::Allow(String::new());
        }
        let namespace = if attributes.is_resource() { attributes.namespace } else { "" };
        let mut missing = None;
        for grant in self.grants(attributes.user, namespace) {
            match self.roles.get(&grant.role) {
                None => missing = missing.or(Some(grant)),
                Some(role) if role.rules.iter().any(|rule| allows(rule, attributes)) => {
                    return Decision::Allow(self.reason(grant));
                }
                Some(_) => {}
            }
        }
        Decision::NoOpinion(missing.map_or_else(String::new, |grant| format!("RBAC: {}", self.missing(grant))))
    }

    /// Rules that apply to the user in a namespace, those for the whole cluster included.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> ResolvedRules {
        let mut resolved = ResolvedRules::default();
        for grant in self.grants(user, namespace) {
            match self.roles.get(&grant.role) {
                Some(role) => resolved.rules.extend(role.rules.iter().cloned()),
                None => resolved.missing.push(self.missing(grant)),
            }
        }
        resolved
    }

    /// A role's rules: `ClusterRole`s have no namespace.
    pub fn role(&self, namespace: &str, name: &str) -> Option<&Role> {
        self.roles.get(&NamespacedName::new(namespace, name)).map(Arc::as_ref)
    }

    /// ClusterRoles in order of their names.
    pub fn cluster_roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.iter().filter(|(key, _)| key.namespace.is_empty()).map(|(_, role)| role.as_ref())
    }

    /// Grants to the user and its groups: for the whole cluster, then for the namespace.
    fn grants<'a>(&'a self, user: &'a UserInfo, namespace: &'a str) -> impl Iterator<Item = &'a Grant> {
        let scopes = ["", namespace].into_iter().take(if namespace.is_empty() { 1 } else { 2 });
        scopes.flat_map(move |scope| {
            let own = self.users.get(&user.username);
            let groups = user.groups.iter().filter_map(|group| self.groups.get(group));
            own.into_iter().chain(groups).filter_map(move |grants| grants.get(scope)).flatten()
        })
    }

    fn reason(&self, grant: &Grant) -> String {
        let Some(binding) = self.bindings.get(&grant.binding) else { return String::new() };
        let (kind, role) = (&binding.role_ref.kind, &binding.role_ref.name);
        let subject = &binding.subjects[grant.subject];
        let own = &grant.binding.namespace;
        let whom = match subject.kind.as_str() {
            "ServiceAccount" => {
                let namespace = if subject.namespace.is_empty() { own } else { &subject.namespace };
                format!("ServiceAccount {:?}", format!("{}/{namespace}", subject.name))
            }
            other => format!("{other} {:?}", subject.name),
        };
        if own.is_empty() {
            format!("RBAC: allowed by ClusterRoleBinding {:?} of {kind} {role:?} to {whom}", grant.binding.name)
        } else {
            let binding = format!("{}/{own}", grant.binding.name);
            format!("RBAC: allowed by RoleBinding {binding:?} of {kind} {role:?} to {whom}")
        }
    }

    fn missing(&self, grant: &Grant) -> String {
        let kind = if grant.role.namespace.is_empty() { "clusterrole" } else { "role" };
        format!("{kind}.{GROUP} {:?} not found", grant.role.name)
    }
}

/// The name under which a subject is looked up; nothing for subjects that are nobody.
fn holder(subject: &Subject, binding_namespace: &str) -> Option<Holder> {
    match subject.kind.as_str() {
        "User" => Some(Holder::User(subject.name.clone())),
        "Group" => Some(Holder::Group(subject.name.clone())),
        "ServiceAccount" => {
            let namespace = if subject.namespace.is_empty() { binding_namespace } else { &subject.namespace };
            let known = !namespace.is_empty() && !subject.name.is_empty();
            known.then(|| Holder::User(format!("system:serviceaccount:{namespace}:{}", subject.name)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rbac::{aggregated_rules, check_binding, check_role};
    use serde_json::{Value, json};

    fn object(kind: &str, namespace: &str, name: &str, rest: Value) -> Object {
        let mut value = json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name}});
        if !namespace.is_empty() {
            value["metadata"]["namespace"] = namespace.into();
        }
        for (key, part) in rest.as_object().unwrap() {
            value[key] = part.clone();
        }
        Object::from_value(&value).unwrap()
    }

    fn role(namespace: &str, name: &str, resource: &str, verbs: &[&str]) -> Object {
        let kind = if namespace.is_empty() { "ClusterRole" } else { "Role" };
        object(kind, namespace, name, json!({"rules": [{"apiGroups": [""], "resources": [resource], "verbs": verbs}]}))
    }

    fn binding(namespace: &str, name: &str, role: (&str, &str), subjects: Value) -> Object {
        let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
        let role = json!({"apiGroup": GROUP, "kind": role.0, "name": role.1});
        object(kind, namespace, name, json!({"roleRef": role, "subjects": subjects}))
    }

    fn index(objects: &[Object]) -> RbacIndex {
        let mut index = RbacIndex::new();
        for object in objects {
            index.apply(object).unwrap();
        }
        index
    }

    fn may(index: &RbacIndex, user: &UserInfo, verb: &str, resource: &str, namespace: &str) -> Decision {
        index.authorize(&Attributes { namespace, ..Attributes::resource(user, verb, "", resource) })
    }

    fn user(name: &str) -> Value {
        json!([{"kind": "User", "name": name}])
    }

    #[test]
    fn grants_reach_as_far_as_their_binding() {
        let account = json!([{"kind": "ServiceAccount", "name": "bot"}, {"kind": "ServiceAccount", "name": "ci", "namespace": "tools"}]);
        let index = index(&[
            role("", "reader", "pods", &["get"]),
            role("a", "writer", "pods", &["create"]),
            binding("", "all", ("ClusterRole", "reader"), json!([{"kind": "Group", "name": "staff"}])),
            binding("a", "own", ("ClusterRole", "reader"), user("jane")),
            binding("a", "write", ("Role", "writer"), account),
        ]);
        let jane = UserInfo::new("jane", &[]);
        let staff = UserInfo::new("joe", &["staff"]);
        let named_as_group = UserInfo::new("staff", &[]);
        let bot = UserInfo::service_account("a", "bot");
        let ci = UserInfo::service_account("tools", "ci");
        let cases = [
            (&jane, "get", "a", true),
            (&jane, "get", "b", false),
            (&jane, "get", "", false),
            (&jane, "create", "a", false),
            (&staff, "get", "b", true),
            (&staff, "get", "", true),
            (&named_as_group, "get", "a", false),
            (&bot, "create", "a", true),
            (&bot, "create", "b", false),
            (&ci, "create", "a", true),
        ];
        for (user, verb, namespace, allowed) in cases {
            let decision = may(&index, user, verb, "pods", namespace);
            assert_eq!(decision.is_allowed(), allowed, "{} {verb} in {namespace:?}", user.username);
        }
        let reason = |user, verb| may(&index, user, verb, "pods", "a").to_string();
        assert_eq!(
            reason(&jane, "get"),
            r#"RBAC: allowed by RoleBinding "own/a" of ClusterRole "reader" to User "jane""#
        );
        assert_eq!(
            reason(&bot, "create"),
            r#"RBAC: allowed by RoleBinding "write/a" of Role "writer" to ServiceAccount "bot/a""#
        );
        assert_eq!(
            reason(&staff, "get"),
            r#"RBAC: allowed by ClusterRoleBinding "all" of ClusterRole "reader" to Group "staff""#
        );
    }

    #[test]
    fn changes_show_at_once() {
        let jane = UserInfo::new("jane", &[]);
        let (role, bound) = (role("", "r", "pods", &["get"]), binding("", "b", ("ClusterRole", "r"), user("jane")));
        let mut index = RbacIndex::new();
        let allowed = |index: &RbacIndex| may(index, &jane, "get", "pods", "a").is_allowed();
        index.apply(&bound).unwrap();
        let refused = may(&index, &jane, "get", "pods", "a").to_string();
        assert_eq!(refused, r#"RBAC: clusterrole.rbac.authorization.k8s.io "r" not found"#);
        index.apply(&role).unwrap();
        assert!(allowed(&index));
        index.apply(&binding("", "b", ("ClusterRole", "r"), user("joe"))).unwrap();
        assert!(!allowed(&index));
        index.apply(&bound).unwrap();
        index.apply(&bound).unwrap();
        assert!(allowed(&index));
        index.remove(&bound);
        assert!(!allowed(&index));
        assert!(index.users.is_empty() && index.groups.is_empty() && index.bindings.is_empty());
        index.apply(&bound).unwrap();
        index.remove(&role);
        assert!(!allowed(&index));
    }

    #[test]
    fn nobody_grants_what_they_do_not_have() {
        let index = index(&[
            role("", "reader", "pods", &["get"]),
            role("", "boss", "pods", &["get", "delete"]),
            binding("a", "own", ("ClusterRole", "reader"), user("jane")),
        ]);
        let jane = UserInfo::new("jane", &[]);
        let rules = |name: &str| index.role("", name).unwrap().rules.clone();
        let no = |_: &Attributes<'_>| false;
        assert_eq!(check_role(&index, &jane, ("a", "x"), &rules("reader"), false, no), Ok(()));
        assert!(check_role(&index, &jane, ("b", "x"), &rules("reader"), false, no).is_err());
        assert!(check_role(&index, &jane, ("", "x"), &rules("reader"), false, no).is_err());
        assert_eq!(
            check_role(&index, &jane, ("a", "x"), &rules("boss"), false, no).unwrap_err().to_string(),
            "user \"jane\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}"
        );
        let escalate =
            |ask: &Attributes<'_>| (ask.verb, ask.resource, ask.namespace, ask.name) == ("escalate", "roles", "a", "x");
        assert_eq!(check_role(&index, &jane, ("a", "x"), &rules("boss"), false, escalate), Ok(()));
        let gathers = check_role(&index, &jane, ("a", "x"), &rules("reader"), true, no).unwrap_err().to_string();
        assert_eq!(gathers, "must have cluster-admin privileges to use the aggregationRule");
        let to = |name: &str| k8s_object::views::RoleRef {
            api_group: GROUP.into(),
            kind: "ClusterRole".into(),
            name: name.into(),
        };
        assert_eq!(check_binding(&index, &jane, "a", &to("reader"), no), Ok(()));
        assert!(check_binding(&index, &jane, "a", &to("boss"), no).is_err());
        let gone = check_binding(&index, &jane, "a", &to("gone"), no).unwrap_err().to_string();
        assert_eq!(gone, r#"clusterroles.rbac.authorization.k8s.io "gone" not found"#);
        let bind = |ask: &Attributes<'_>| (ask.verb, ask.resource, ask.name) == ("bind", "clusterroles", "boss");
        assert_eq!(check_binding(&index, &jane, "a", &to("boss"), bind), Ok(()));
        let root = UserInfo::new("root", &["system:masters"]);
        assert_eq!(check_binding(&index, &root, "", &to("boss"), no), Ok(()));
    }

    #[test]
    fn rules_of_a_user_are_those_of_its_place() {
        let index = index(&[
            role("", "reader", "pods", &["get"]),
            role("a", "writer", "pods", &["create"]),
            binding("", "all", ("ClusterRole", "reader"), user("jane")),
            binding("a", "own", ("Role", "writer"), user("jane")),
            binding("a", "lost", ("Role", "gone"), user("jane")),
        ]);
        let jane = UserInfo::new("jane", &[]);
        assert_eq!(index.rules_for(&jane, "a").rules.len(), 2);
        assert_eq!(index.rules_for(&jane, "a").missing, [r#"role.rbac.authorization.k8s.io "gone" not found"#]);
        assert_eq!(index.rules_for(&jane, "b").rules.len(), 1);
        assert!(index.rules_for(&UserInfo::anonymous(), "a").rules.is_empty());
    }

    #[test]
    fn roles_gather_others_by_label_each_rule_once() {
        let labelled = |name: &str, resource: &str| {
            let mut value = role("", name, resource, &["get"]).value();
            value["metadata"]["labels"] = json!({"gather": "yes"});
            Object::from_value(&value).unwrap()
        };
        let selector = json!({"clusterRoleSelectors": [{"matchLabels": {"gather": "yes"}}]});
        let all = object("ClusterRole", "", "all", json!({"aggregationRule": selector, "rules": null}));
        let index = index(&[
            labelled("b", "pods"),
            labelled("a", "secrets"),
            labelled("c", "pods"),
            role("", "d", "nodes", &["get"]),
            all,
        ]);
        let rules = aggregated_rules(index.role("", "all").unwrap(), &index).unwrap();
        let resources: Vec<&str> = rules.iter().map(|rule| rule.resources[0].as_str()).collect();
        assert_eq!(resources, ["secrets", "pods"]);
        assert!(aggregated_rules(index.role("", "d").unwrap(), &index).is_none());
    }
}
