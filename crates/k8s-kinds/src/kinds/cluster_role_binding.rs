//! ClusterRoleBinding: grants a ClusterRole everywhere.

use super::rbac::{BINDING_COLUMNS, GROUP, default_binding, validate_binding};
use crate::names::path_segment;
use crate::{Kind, Scope};

pub(crate) static KIND: Kind = Kind {
    group: GROUP,
    kind: "ClusterRoleBinding",
    plural: "clusterrolebindings",
    singular: "clusterrolebinding",
    scope: Scope::Cluster,
    type_name: "io.k8s.api.rbac.v1.ClusterRoleBinding",
    columns: BINDING_COLUMNS,
    name_rule: path_segment,
    default: default_binding,
    validate: |object, context| validate_binding(object, context, &["ClusterRole"]),
    creates_on_update: true,
    ..Kind::BASE
};
