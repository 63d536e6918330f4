//! RoleBinding: grants a Role or ClusterRole in one namespace.

use super::rbac::{BINDING_COLUMNS, GROUP, default_binding, validate_binding};
use crate::names::path_segment;
use crate::{Kind, Scope};

pub(crate) static KIND: Kind = Kind {
    group: GROUP,
    kind: "RoleBinding",
    plural: "rolebindings",
    singular: "rolebinding",
    scope: Scope::Namespaced,
    type_name: "io.k8s.api.rbac.v1.RoleBinding",
    columns: BINDING_COLUMNS,
    name_rule: path_segment,
    default: default_binding,
    validate: |object, context| validate_binding(object, context, &["ClusterRole", "Role"]),
    creates_on_update: true,
    ..Kind::BASE
};
