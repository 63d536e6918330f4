//! DeviceClass: devices that fit, and how they are set up.

use k8s_object::Cause;
use serde_json::Value;

use super::devices::{CONFIG_LIMIT, GROUP, SHARES_DEVICES_SINCE, configuration, drop_fields, list, selectors};
use crate::causes::invalid;
use crate::expressions::Judged;
use crate::fields::at;
use crate::resource_names::is_extended;
use crate::{Context, Kind, Scope};

pub(crate) static KIND: Kind = Kind {
    group: GROUP,
    kind: "DeviceClass",
    plural: "deviceclasses",
    singular: "deviceclass",
    scope: Scope::Cluster,
    since: 34,
    type_name: "io.k8s.api.resource.v1.DeviceClass",
    has_generation: true,
    prepare_create: drop_unknown,
    prepare_update: drop_unknown,
    validate,
    returns_deleted: true,
    ..Kind::BASE
};

/// What the minor does not know goes, unless it was there before.
fn drop_unknown(object: &mut Value, context: &Context<'_>) {
    let had = context.old.is_some_and(|old| !at(old, "spec.extendedResourceName").is_null());
    if context.minor < SHARES_DEVICES_SINCE
        && !had
        && let Some(spec) = object.get_mut("spec")
    {
        drop_fields(spec, &["extendedResourceName"]);
    }
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let spec = &object["spec"];
    let same = |key: &str| context.old.is_some_and(|old| at(&old["spec"], key) == at(spec, key));
    let mut causes = selectors(spec, "spec", Judged { minor: context.minor, stored: same("selectors") });
    causes.extend(list(spec, "config", "spec", Some(CONFIG_LIMIT), |config, field| {
        configuration(config, field, same("config"))
    }));
    if let Some(name) = at(spec, "extendedResourceName").as_str()
        && !is_extended(name)
    {
        causes.push(invalid("spec.extendedResourceName", name, "must be a valid extended resource name"));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{created, told};
    use serde_json::json;

    #[test]
    fn classes_are_judged() {
        let cases = [
            (json!({"spec": {"selectors": [{"cel": {"expression": "true"}}]}}), vec![]),
            (
                json!({"spec": {"selectors": [{}], "config": [{}], "extendedResourceName": "cpu"}}),
                vec![
                    "spec.selectors[0].cel: Required value",
                    "spec.config[0].opaque: Required value",
                    r#"spec.extendedResourceName: Invalid value: "cpu": must be a valid extended resource name"#,
                ],
            ),
            (
                json!({"spec": {"config": [{"opaque": {"driver": "a.example", "parameters": 1}}]}}),
                vec![
                    r#"spec.config[0].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object"#,
                ],
            ),
            (
                json!({"spec": {"selectors": vec![json!({"cel": {"expression": "true"}}); 33]}}),
                vec!["spec.selectors: Too many: 33: must have at most 32 items"],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&KIND, &object), expected, "{object}");
        }
        let named = created(&KIND, &json!({"spec": {"extendedResourceName": "a.example/gpu"}}));
        assert_eq!(named["spec"]["extendedResourceName"], "a.example/gpu", "1.36 knows it");
    }
}
