//! VolumeAttributesClass: what of a volume can be changed while it is used.

use k8s_object::Cause;
use serde_json::Value;

use super::csi::{parameters, provisioner};
use crate::causes::forbidden;
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, text};
use crate::{Context, Kind, Scope};

pub(crate) static KIND: Kind = Kind {
    group: "storage.k8s.io",
    kind: "VolumeAttributesClass",
    plural: "volumeattributesclasses",
    singular: "volumeattributesclass",
    short_names: &["vac"],
    scope: Scope::Cluster,
    since: 34,
    type_name: "io.k8s.api.storage.v1.VolumeAttributesClass",
    columns: &[
        NAME,
        Column::text("DriverName", "The driver that changes volumes.", |object, _| text(object, "driverName").into()),
        AGE,
    ],
    validate,
    returns_deleted: true,
    ..Kind::BASE
};

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let Some(old) = context.old {
        for key in ["driverName", "parameters"] {
            if at(old, key) != at(object, key) {
                causes.push(forbidden(key, &format!("updates to {key} are forbidden.")));
            }
        }
    }
    causes.extend(provisioner(text(object, "driverName"), "driverName"));
    causes.extend(parameters(object, false));
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{told, told_of_update};
    use serde_json::json;

    #[test]
    fn a_class_has_parameters_that_stay() {
        let class = json!({"driverName": "a.example", "parameters": {"iops": "1"}});
        let cases = [
            (class.clone(), vec![]),
            (
                json!({"driverName": ""}),
                vec![
                    "driverName: Required value",
                    "parameters: Required value: must contain at least one key/value pair",
                ],
            ),
            (
                json!({"driverName": "a", "parameters": {"": "1"}}),
                vec![r#"parameters: Invalid value: "": field can not be empty."#],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&KIND, &object), expected, "{object}");
        }
        assert_eq!(
            told_of_update(&KIND, &class, &json!({"driverName": "b", "parameters": {"iops": "2"}}), ""),
            [
                "driverName: Forbidden: updates to driverName are forbidden.",
                "parameters: Forbidden: updates to parameters are forbidden."
            ]
        );
    }
}
