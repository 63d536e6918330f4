//! What a node may do: nearly all of it about itself and the pods that run on it (Node authorizer).

use k8s_object::UserInfo;
use k8s_object::views::PolicyRule;

use crate::bootstrap::node_rules;
use crate::rbac::allows;
use crate::{Attributes, Decision};

const NAME_PREFIX: &str = "system:node:";
const GROUP: &str = "system:nodes";
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Objects that a node may touch only as far as something on it needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Related {
    ConfigMap,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    ResourceClaim,
    ResourceSlice,
    Secret,
    ServiceAccount,
    VolumeAttachment,
}

/// The name of the node that a user is; nothing for other users.
pub fn node_name(user: &UserInfo) -> Option<&str> {
    user.username.strip_prefix(NAME_PREFIX).filter(|_| user.in_group(GROUP))
}

/// The minor from which kubelets read ServiceAccounts, for credential providers (`KubeletServiceAccountTokenForCredentialProviders`).
const READS_ACCOUNTS: u8 = 34;

/// Whether a node may do that in a cluster of this minor. `related` says whether a pod on the node (node, kind, namespace, name)
/// leads to the object.
pub fn authorize_node(
    attributes: &Attributes<'_>,
    minor: u8,
    related: impl Fn(&str, Related, &str, &str) -> bool,
) -> Decision {
    let refuse = |reason: &str| Decision::NoOpinion(reason.to_owned());
    let allow = || Decision::Allow(String::new());
    let Some(node) = node_name(attributes.user) else { return refuse("") };
    if node.is_empty() {
        return Decision::NoOpinion(format!("unknown node for user {:?}", attributes.user.username));
    }
    let Attributes { verb, subresource, namespace, name, .. } = *attributes;
    let if_related = |kind: Related| match name {
        "" => refuse("No Object name found"),
        name if related(node, kind, namespace, name) => allow(),
        _ => Decision::NoOpinion(format!("no relationship found between node '{node}' and this object")),
    };
    let get = |kind: Related| match (verb, subresource) {
        ("get", "") => if_related(kind),
        ("get", _) => refuse("cannot get subresource"),
        _ => refuse("can only get individual resources of this type"),
    };
    let read = |kind: Related| match (verb, subresource, namespace) {
        ("get" | "list" | "watch", "", "") => refuse("can only read namespaced object of this type"),
        ("get" | "list" | "watch", "", _) => if_related(kind),
        ("get" | "list" | "watch", _, _) => refuse("cannot read subresource"),
        _ => refuse("can only read resources of this type"),
    };
    let selects = |path: &str| attributes.field_selector.and_then(|selector| selector.required(path)) == Some(node);
    match (attributes.group, attributes.resource) {
        ("", "configmaps") => read(Related::ConfigMap),
        ("", "secrets") => read(Related::Secret),
        ("", "persistentvolumeclaims") if subresource == "status" => match verb {
            "update" | "patch" => if_related(Related::PersistentVolumeClaim),
            _ => refuse("can only get/update/patch this type"),
        },
        ("", "persistentvolumeclaims") => get(Related::PersistentVolumeClaim),
        ("", "persistentvolumes") => get(Related::PersistentVolume),
        ("resource.k8s.io", "resourceclaims") => get(Related::ResourceClaim),
        ("storage.k8s.io", "volumeattachments") => get(Related::VolumeAttachment),
        ("", "serviceaccounts") => match (verb, name, subresource) {
            ("get", _, "") if minor < READS_ACCOUNTS => refuse("not allowed to get service accounts"),
            ("get", _, "") => read(Related::ServiceAccount),
            ("create", "", _) => refuse("can only create tokens for individual service accounts"),
            ("create", _, "token") => if_related(Related::ServiceAccount),
            ("create", _, _) => refuse("can only create token subresource of serviceaccount"),
            _ => refuse("can only create tokens for individual service accounts"),
        },
        ("coordination.k8s.io", "leases") => match verb {
            "get" | "create" | "update" | "patch" | "delete" if namespace != LEASE_NAMESPACE => {
                refuse("can only access leases in the \"kube-node-lease\" system namespace")
            }
            // The name of a new lease is not known here; admission looks at it.
            "create" => allow(),
            "get" | "update" | "patch" | "delete" if name == node => allow(),
            "get" | "update" | "patch" | "delete" => {
                refuse("can only access node lease with the same name as the requesting node")
            }
            _ => refuse("can only get, create, update, patch, or delete a node lease"),
        },
        ("storage.k8s.io", "csinodes") => match verb {
            "get" | "create" | "update" | "patch" | "delete" if !subresource.is_empty() => {
                refuse("cannot authorize CSINode subresources")
            }
            "create" => allow(),
            "get" | "update" | "patch" | "delete" if name == node => allow(),
            "get" | "update" | "patch" | "delete" => {
                refuse("can only access CSINode with the same name as the requesting node")
            }
            _ => refuse("can only get, create, update, patch, or delete a CSINode"),
        },
        ("resource.k8s.io", "resourceslices") => match (subresource, verb) {
            ("", "create") => allow(),
            ("", "get" | "update" | "patch" | "delete") => if_related(Related::ResourceSlice),
            ("", "list" | "watch" | "deletecollection") if selects("spec.nodeName") => allow(),
            ("", "list" | "watch" | "deletecollection") => {
                refuse("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            ("", _) => refuse(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection",
            ),
            _ => refuse("cannot authorize ResourceSlice subresources"),
        },
        // Which node is created or changed is admission's to look at.
        ("", "nodes") => match (subresource, verb) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => allow(),
            ("", "get" | "list" | "watch") if name == node => allow(),
            ("", "get" | "list" | "watch") if name.is_empty() => {
                Decision::NoOpinion(format!("node '{node}' cannot read all nodes, only its own Node object"))
            }
            ("", "get" | "list" | "watch") => {
                Decision::NoOpinion(format!("node '{node}' cannot read '{name}', only its own Node object"))
            }
            _ => refuse(""),
        },
        ("", "pods") => match (subresource, verb) {
            ("", "get") => get(Related::Pod),
            ("", "list" | "watch") if selects("spec.nodeName") => allow(),
            ("", "list" | "watch") if !name.is_empty() => if_related(Related::Pod),
            ("", "list" | "watch") => refuse("can only list/watch pods with spec.nodeName field selector"),
            // Mirror pods; whose they are is admission's to look at.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => allow(),
            _ => refuse(""),
        },
        _ => {
            let rules: &[PolicyRule] = node_rules();
            if rules.iter().any(|rule| allows(rule, attributes)) { allow() } else { refuse("") }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_object::FieldSelector;

    #[test]
    fn a_node_may_do_what_concerns_it() {
        let node = UserInfo::new("system:node:n1", &["system:nodes"]);
        let own = FieldSelector::parse("spec.nodeName=n1").unwrap();
        let other = FieldSelector::parse("spec.nodeName=n2").unwrap();
        let not_own = FieldSelector::parse("spec.nodeName!=n1").unwrap();
        // (verb, group, resource/subresource, namespace, name, selector)
        let cases = [
            ("get", "", "nodes", "", "n1", None, true),
            ("get", "", "nodes", "", "n2", None, false),
            ("list", "", "nodes", "", "", None, false),
            ("create", "", "nodes", "", "", None, true),
            ("patch", "", "nodes/status", "", "n1", None, true),
            ("delete", "", "nodes", "", "n1", None, false),
            ("list", "", "pods", "", "", None, false),
            ("list", "", "pods", "", "", Some(&own), true),
            ("watch", "", "pods", "", "", Some(&other), false),
            ("watch", "", "pods", "", "", Some(&not_own), false),
            ("get", "", "pods", "ns", "mine", None, true),
            ("get", "", "pods", "ns", "theirs", None, false),
            ("patch", "", "pods/status", "ns", "mine", None, true),
            ("create", "", "pods/eviction", "ns", "mine", None, true),
            ("create", "", "pods/exec", "ns", "mine", None, false),
            ("get", "", "secrets", "ns", "mine", None, true),
            ("get", "", "secrets", "ns", "theirs", None, false),
            ("list", "", "secrets", "ns", "", None, false),
            ("list", "", "secrets", "", "", None, false),
            ("update", "", "secrets", "ns", "mine", None, false),
            ("watch", "", "configmaps", "ns", "mine", None, true),
            ("create", "", "serviceaccounts/token", "ns", "mine", None, true),
            ("create", "", "serviceaccounts/token", "ns", "theirs", None, false),
            ("get", "", "serviceaccounts", "ns", "mine", None, true),
            ("get", "", "serviceaccounts", "ns", "theirs", None, false),
            ("get", "", "persistentvolumeclaims", "ns", "mine", None, true),
            ("list", "", "persistentvolumeclaims", "ns", "mine", None, false),
            ("patch", "", "persistentvolumeclaims/status", "ns", "mine", None, true),
            ("get", "", "persistentvolumes", "", "theirs", None, false),
            ("get", "storage.k8s.io", "volumeattachments", "", "mine", None, true),
            ("update", "storage.k8s.io", "csinodes", "", "n1", None, true),
            ("update", "storage.k8s.io", "csinodes", "", "n2", None, false),
            ("get", "resource.k8s.io", "resourceclaims", "ns", "mine", None, true),
            ("list", "resource.k8s.io", "resourceslices", "", "", Some(&own), true),
            ("list", "resource.k8s.io", "resourceslices", "", "", None, false),
            ("update", "resource.k8s.io", "resourceslices", "", "mine", None, true),
            ("update", "coordination.k8s.io", "leases", "kube-node-lease", "n1", None, true),
            ("update", "coordination.k8s.io", "leases", "kube-node-lease", "n2", None, false),
            ("create", "coordination.k8s.io", "leases", "kube-node-lease", "", None, true),
            ("create", "coordination.k8s.io", "leases", "kube-system", "", None, false),
            ("list", "coordination.k8s.io", "leases", "kube-node-lease", "", None, false),
            ("create", "", "events", "ns", "", None, true),
            ("delete", "", "events", "ns", "e", None, false),
            ("list", "", "services", "", "", None, true),
            ("create", "certificates.k8s.io", "certificatesigningrequests", "", "", None, true),
            ("create", "authentication.k8s.io", "tokenreviews", "", "", None, true),
            ("list", "node.k8s.io", "runtimeclasses", "", "", None, true),
            ("get", "apps", "deployments", "ns", "d", None, false),
        ];
        for (verb, group, path, namespace, name, field_selector, allowed) in cases {
            let (resource, subresource) = path.split_once('/').unwrap_or((path, ""));
            let attributes = Attributes {
                namespace,
                name,
                subresource,
                field_selector,
                ..Attributes::resource(&node, verb, group, resource)
            };
            let decision = authorize_node(&attributes, 34, |node, _, _, name| node == "n1" && name == "mine");
            assert_eq!(decision.is_allowed(), allowed, "{attributes:?}: {decision}");
        }
    }

    #[test]
    fn only_nodes_are_nodes() {
        for user in [
            UserInfo::new("system:node:n1", &[]),
            UserInfo::new("jane", &["system:nodes"]),
            UserInfo::new("system:node:", &["system:nodes"]),
        ] {
            let attributes = Attributes { name: "n1", ..Attributes::resource(&user, "get", "", "nodes") };
            assert!(!authorize_node(&attributes, 34, |_, _, _, _| true).is_allowed(), "{}", user.username);
        }
    }
}
