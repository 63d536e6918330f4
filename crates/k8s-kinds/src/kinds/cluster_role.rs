//! ClusterRole: rules for the whole cluster, for any namespace, or gathered from other ClusterRoles.

use super::rbac::{GROUP, validate_aggregation, validate_rules};
use crate::columns::{CREATED_AT, NAME};
use crate::names::path_segment;
use crate::{Kind, Scope};

pub(crate) static KIND: Kind = Kind {
    group: GROUP,
    kind: "ClusterRole",
    plural: "clusterroles",
    singular: "clusterrole",
    scope: Scope::Cluster,
    type_name: "io.k8s.api.rbac.v1.ClusterRole",
    columns: &[NAME, CREATED_AT],
    name_rule: path_segment,
    validate: |object, _| {
        let mut causes = validate_rules(object, false);
        causes.extend(validate_aggregation(object));
        causes
    },
    creates_on_update: true,
    ..Kind::BASE
};
