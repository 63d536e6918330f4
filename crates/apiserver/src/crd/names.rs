//! Which names a definition gets, and whether it is served: what upstream's naming, establishing and API approval controllers find
//! out. Done while the definition is written, so that a client can use what it defined at once.

use k8s_kinds::at;
use k8s_object::ApiError;
use serde_json::{Value, json};
use world::Timestamp;

use super::{GROUP, PLURAL, set_condition};
use crate::core::{Call, Core};
use crate::metadata;
use crate::storage::Guard;
use crate::webhook::check_bundle;

/// Holds the URL of the review that approved an API of a protected group (KEP 1111).
const APPROVED: &str = "api-approved.kubernetes.io";

/// The claim that whoever gives names to a definition takes.
const NAMES: &str = "definitions";

/// As [`establish`], by the names of all definitions in the store: if another is given names meanwhile, in whichever process, the
/// write that holds what is returned does not happen. Nothing is returned where no names are given.
pub(crate) async fn establish_alone(
    call: &Call<'_>,
    definition: &mut Value,
    old: Option<&Value>,
) -> Result<Option<Guard>, ApiError> {
    let same = |old: &Value| old["spec"]["names"] == definition["spec"]["names"] && is_true(old, "NamesAccepted");
    let guard = match old.is_some_and(same) {
        true => None,
        false => Some(Guard::read(call.space, NAMES).await?),
    };
    if let Some(guard) = &guard {
        call.core.reach_soon(guard.revision()).await?;
    }
    establish(call.core, definition, call.now);
    Ok(guard)
}

/// Writes into a definition's status which of its names are accepted and whether it is served.
pub(super) fn establish(core: &Core, definition: &mut Value, now: Timestamp) {
    let names = &mut definition["spec"]["names"];
    let kind = names["kind"].as_str().unwrap_or("").to_owned();
    if names["singular"].as_str().unwrap_or("").is_empty() {
        names["singular"] = json!(kind.to_lowercase());
    }
    if names["listKind"].as_str().unwrap_or("").is_empty() {
        names["listKind"] = json!(format!("{kind}List"));
    }
    let taken = Taken::by_others(core, definition);
    let conflict = accept(definition, &taken);
    match &conflict {
        None => {
            set_condition(definition, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now);
            if !is_true(definition, "Established") {
                match bundle_problem(definition) {
                    None => {
                        let message = "the initial names have been accepted";
                        set_condition(definition, "Established", "True", "InitialNamesAccepted", message, now);
                    }
                    Some(_) => {
                        let message = "The conversion webhook CABundle is invalid";
                        set_condition(definition, "Established", "False", "InvalidCABundle", message, now);
                    }
                }
            }
        }
        Some((reason, message)) => {
            set_condition(definition, "NamesAccepted", "False", reason, message, now);
            if !is_true(definition, "Established") {
                set_condition(definition, "Established", "False", "NotAccepted", "not all names are accepted", now);
            }
        }
    }
    approve(definition, now);
    remember_storage_version(definition);
}

/// What is wrong with the CAs of the webhook that converts the objects of a definition.
pub(super) fn bundle_problem(definition: &Value) -> Option<String> {
    use base64::Engine;
    let bundle = at(definition, "spec.conversion.webhook.clientConfig.caBundle").as_str()?;
    let pem = base64::engine::general_purpose::STANDARD.decode(bundle).unwrap_or_default();
    if bundle.is_empty() { None } else { check_bundle(&pem).err() }
}

/// Whether a condition of the definition holds.
pub(super) fn is_true(definition: &Value, kind: &str) -> bool {
    let conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// Names of the group that other definitions have.
#[derive(Default)]
struct Taken {
    resources: Vec<Value>,
    kinds: Vec<Value>,
}

impl Taken {
    fn by_others(core: &Core, definition: &Value) -> Taken {
        let own = metadata::text(definition, "name");
        let mut taken = Taken::default();
        for other in core.lookup_all(GROUP, PLURAL, "") {
            let value = other.value();
            if other.meta().name == own || value["spec"]["group"] != definition["spec"]["group"] {
                continue;
            }
            let accepted = &value["status"]["acceptedNames"];
            taken.resources.extend([accepted["plural"].clone(), accepted["singular"].clone()]);
            taken.resources.extend(accepted["shortNames"].as_array().into_iter().flatten().cloned());
            taken.kinds.extend([accepted["kind"].clone(), accepted["listKind"].clone()]);
        }
        taken
    }
}

/// Takes over what is free into `acceptedNames`; the last conflict counts, as upstream has it.
fn accept(definition: &mut Value, taken: &Taken) -> Option<(&'static str, String)> {
    let wanted = definition["spec"]["names"].clone();
    let mut accepted = match definition["status"]["acceptedNames"].take() {
        Value::Object(names) => Value::Object(names),
        _ => json!({"plural": "", "kind": ""}),
    };
    let mut conflict = None;
    let in_use = |name: &Value| format!("{:?} is already in use", name.as_str().unwrap_or(""));
    for (field, names, reason) in [
        ("plural", &taken.resources, "PluralConflict"),
        ("singular", &taken.resources, "SingularConflict"),
        ("shortNames", &taken.resources, "ShortNamesConflict"),
        ("kind", &taken.kinds, "KindConflict"),
        ("listKind", &taken.kinds, "ListKindConflict"),
    ] {
        let name = &wanted[field];
        if accepted[field] == *name {
            continue;
        }
        let of = |value: &Value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        let before = of(&accepted[field]);
        let wanted = of(name);
        let clashes: Vec<String> =
            wanted.iter().filter(|name| !before.contains(name) && names.contains(name)).map(in_use).collect();
        match &clashes[..] {
            [] => accepted[field] = name.clone(),
            [one] => conflict = Some((reason, one.clone())),
            many => conflict = Some((reason, format!("[{}]", many.join(", ")))),
        }
    }
    accepted["categories"] = wanted["categories"].clone();
    if let Some(map) = accepted.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    definition["status"]["acceptedNames"] = accepted;
    conflict
}

/// Says whether an API of a protected group was approved by the community.
fn approve(definition: &mut Value, now: Timestamp) {
    let group = definition["spec"]["group"].as_str().unwrap_or("");
    let protected = ["k8s.io", "kubernetes.io"].iter().any(|own| group == *own || group.ends_with(&format!(".{own}")));
    if !protected {
        return;
    }
    let annotation = at(definition, "metadata.annotations").get(APPROVED).and_then(Value::as_str).unwrap_or("");
    let (status, reason, message) = match annotation {
        "" => {
            let why = format!(
                "protected groups must have approval annotation {APPROVED:?}, see https://github.com/kubernetes/enhancements/pull/1111"
            );
            ("False", "MissingAnnotation", why)
        }
        text if text.starts_with("unapproved") => ("False", "UnapprovedAnnotation", format!("not approved: {text:?}")),
        text if text.starts_with("https://") || text.starts_with("http://") => {
            ("True", "ApprovedAnnotation", format!("approved in {text}"))
        }
        text => {
            let why = format!(
                "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111, not {text:?}"
            );
            ("False", "InvalidAnnotation", why)
        }
    };
    set_condition(definition, "KubernetesAPIApprovalPolicyConformant", status, reason, &message, now);
}

/// Objects may be in the store in every version that was the storage version once.
fn remember_storage_version(definition: &mut Value) {
    let versions = definition["spec"]["versions"].as_array().cloned().unwrap_or_default();
    let storage = versions.iter().find(|version| version["storage"] == true).map(|version| version["name"].clone());
    let stored = &mut definition["status"]["storedVersions"];
    if !stored.is_array() {
        *stored = json!([]);
    }
    if let (Some(storage), Some(stored)) = (storage, stored.as_array_mut())
        && !stored.contains(&storage)
    {
        stored.push(storage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(names: Value) -> Value {
        json!({"spec": {"group": "e.com", "names": names}})
    }

    #[test]
    fn names_that_are_free_are_accepted_beside_those_that_are_not() {
        let taken = Taken { resources: vec![json!("gadgets"), json!("g")], kinds: vec![json!("Gadget")] };
        let names = json!({
            "plural": "widgets", "singular": "widget", "kind": "Gadget", "listKind": "WidgetList", "shortNames": ["w", "g"],
        });
        let mut both = definition(names.clone());
        let conflict = accept(&mut both, &taken);
        assert_eq!(conflict, Some(("KindConflict", r#""Gadget" is already in use"#.to_owned())));
        assert_eq!(
            both["status"]["acceptedNames"],
            json!({"plural": "widgets", "singular": "widget", "kind": "", "listKind": "WidgetList"})
        );
        let mut free = both.clone();
        assert_eq!(accept(&mut free, &Taken::default()), None);
        assert_eq!(free["status"]["acceptedNames"], names);
        // What is its own stays its own, whoever else says so.
        let all = Taken { resources: vec![json!("widgets")], kinds: vec![json!("Gadget")] };
        assert_eq!(accept(&mut free, &all), None);
    }

    #[test]
    fn protected_groups_say_whether_they_were_approved() {
        let cases = [
            ("e.com", "", None),
            ("x.k8s.io", "", Some(("False", "MissingAnnotation"))),
            ("k8s.io", "unapproved, an experiment", Some(("False", "UnapprovedAnnotation"))),
            ("x.kubernetes.io", "https://review", Some(("True", "ApprovedAnnotation"))),
            ("x.kubernetes.io", "yes", Some(("False", "InvalidAnnotation"))),
        ];
        for (group, annotation, expected) in cases {
            let mut definition = json!({"metadata": {"annotations": {APPROVED: annotation}}, "spec": {"group": group}});
            approve(&mut definition, Timestamp::from_seconds(0));
            let condition = &definition["status"]["conditions"][0];
            let found = condition["status"].as_str().zip(condition["reason"].as_str());
            assert_eq!(found, expected, "{group} {annotation}");
        }
    }
}
