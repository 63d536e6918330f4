//! Role: rules for one namespace.

use super::rbac::{GROUP, validate_rules};
use crate::columns::{CREATED_AT, NAME};
use crate::names::path_segment;
use crate::{Kind, Scope};

pub(crate) static KIND: Kind = Kind {
    group: GROUP,
    kind: "Role",
    plural: "roles",
    singular: "role",
    scope: Scope::Namespaced,
    type_name: "io.k8s.api.rbac.v1.Role",
    columns: &[NAME, CREATED_AT],
    name_rule: path_segment,
    validate: |object, _| validate_rules(object, true),
    creates_on_update: true,
    ..Kind::BASE
};
