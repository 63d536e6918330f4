//! IPAddress: an address of the Service network that is taken, and by what.

use k8s_object::Cause;
use serde_json::{Value, json};

use crate::addresses::strict_ip_problem;
use crate::causes::{immutable, invalid, required};
use crate::columns::{Column, NAME};
use crate::fields::{at, text};
use crate::names::{path_segment, subdomain};
use crate::web::segment;
use crate::{Context, Kind, Scope};

pub(crate) static KIND: Kind = Kind {
    group: "networking.k8s.io",
    kind: "IPAddress",
    plural: "ipaddresses",
    singular: "ipaddress",
    short_names: &["ip"],
    scope: Scope::Cluster,
    type_name: "io.k8s.api.networking.v1.IPAddress",
    columns: &[NAME, Column::text("ParentRef", "What has the address.", |object, _| parent(object).into())],
    name_rule: |name, _| strict_ip_problem(name).into_iter().collect(),
    validate,
    ..Kind::BASE
};

fn parent(object: &Value) -> String {
    let parent = at(object, "spec.parentRef");
    if parent.is_null() {
        return "<none>".to_owned();
    }
    let mut written = text(parent, "resource").to_owned();
    for (key, mark) in [("group", '.'), ("namespace", '/')] {
        if !text(parent, key).is_empty() {
            written.push(mark);
            written.push_str(text(parent, key));
        }
        if key == "group" {
            written = written.to_lowercase();
        }
    }
    format!("{written}/{}", text(parent, "name"))
}

/// As upstream writes it into messages: with the names of its fields in Go.
fn written(parent: &Value) -> Value {
    if parent.is_null() {
        return Value::Null;
    }
    json!({
        "Group": text(parent, "group"), "Resource": text(parent, "resource"),
        "Namespace": text(parent, "namespace"), "Name": text(parent, "name"),
    })
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    const FIELD: &str = "spec.parentRef";
    let parent = at(object, FIELD);
    let mut causes = Vec::new();
    if parent.is_null() {
        causes.push(required(FIELD, ""));
    } else {
        let group = text(parent, "group");
        if !group.is_empty() {
            let problems = subdomain(group, false);
            causes.extend(problems.iter().map(|problem| invalid(format!("{FIELD}.group"), group, problem)));
        }
        causes.extend(segment(parent, "resource", FIELD));
        causes.extend(segment(parent, "name", FIELD));
        let namespace = text(parent, "namespace");
        let problems = path_segment(namespace, false);
        causes.extend(problems.iter().map(|problem| invalid(format!("{FIELD}.namespace"), namespace, problem)));
    }
    if let Some(old) = context.old
        && written(at(old, FIELD)) != written(parent)
    {
        causes.push(immutable(FIELD, &written(parent)));
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{told, told_of_update};

    #[test]
    fn an_address_has_a_parent_that_stays() {
        let service = json!({"spec": {"parentRef": {"resource": "services", "namespace": "a", "name": "b"}}});
        let cases = [
            (service.clone(), vec![]),
            (json!({"spec": {}}), vec!["spec.parentRef: Required value"]),
            (
                json!({"spec": {"parentRef": {"name": "a/b"}}}),
                vec![
                    "spec.parentRef.resource: Required value",
                    r#"spec.parentRef.name: Invalid value: "a/b": may not contain '/'"#,
                ],
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(told(&KIND, &object), expected, "{object}");
        }
        let other = json!({"spec": {"parentRef": {"resource": "services", "namespace": "a", "name": "c"}}});
        assert_eq!(
            told_of_update(&KIND, &service, &other, ""),
            [
                r#"spec.parentRef: Invalid value: {"Group":"","Name":"c","Namespace":"a","Resource":"services"}: field is immutable"#
            ]
        );
        assert_eq!(parent(&service), "services/a/b");
        assert_eq!(parent(&json!({"spec": {"parentRef": {"group": "X.y", "resource": "r", "name": "b"}}})), "r.x.y/b");
    }

    #[test]
    fn the_name_is_the_address() {
        assert!((KIND.name_rule)("10.0.0.1", false).is_empty());
        assert_eq!((KIND.name_rule)("10.0.0.01", false), ["must not have leading 0s"]);
    }
}
