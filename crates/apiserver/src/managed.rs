//! Who owns which field of what is written: `metadata.managedFields`, at every write of every client.
//!
//! While an object is on its way its owners go beside it: they are taken out of what the client sent, worked out when the object has
//! its defaults and before admission changes it, and put back as text into the stored bytes. What admission and the server
//! itself set is nobody's, unless a webhook says whose it is.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_apply::{Managed, Reset, Versions, Write};
use k8s_client::{PatchType, Request, Verb};
use k8s_kinds::causes;
use k8s_object::{ApiError, Cause, Object};
use k8s_schema::Typed;
use serde_json::{Value, json};

use crate::core::{Call, converted};
use crate::metadata;
use crate::registry::{Entry, Resource, Strategy};

/// Bytes of a manager's name (apimachinery `FieldManagerMaxLength`).
const MAX_MANAGER_BYTES: usize = 128;
/// Bytes of a subresource's name in an entry (apimachinery `MaxSubresourceNameLength`).
const MAX_SUBRESOURCE_BYTES: usize = 256;

/// What a client is told of a webhook that has made nonsense of the owners of fields.
const CORRUPTED: &str = ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests";

/// Writes that upstream makes past the bookkeeping.
const UNTRACKED: &[&str] = &["binding", "eviction"];

/// The owners of an object that is replaced.
pub(crate) enum Owners {
    Kept,
    Changed(Managed),
}

impl Owners {
    /// Whether they are those that the object has, but for the times of their writes.
    pub(crate) fn are_of(&self, old: &Object) -> bool {
        match self {
            Owners::Kept => true,
            Owners::Changed(managed) => {
                managed.to_text().as_deref() == old.managed_fields() || live(old).equals_but_times(managed)
            }
        }
    }

    /// As they are stored.
    pub(crate) fn text<'o>(&self, old: &'o Object) -> Option<Cow<'o, str>> {
        match self {
            Owners::Kept => old.managed_fields().map(Cow::Borrowed),
            Owners::Changed(managed) => managed.to_text().map(Cow::Owned),
        }
    }
}

/// The entries of a stored object. Such that cannot be read are none, as upstream has it.
pub(crate) fn live(object: &Object) -> Managed {
    object.managed_fields().and_then(|text| Managed::parse(text.as_bytes()).ok()).unwrap_or_default()
}

/// The versions of a resource, as ownership sees them.
pub(crate) struct Kinds<'a>(pub &'a Entry);

impl Versions for Kinds<'_> {
    fn typed(&self, api_version: &str) -> Option<Typed<'_>> {
        Some(self.find(api_version)?.schema.0.as_ref().map_or(Typed::DEDUCED, k8s_schema::Schema::typed))
    }

    fn convert<'v>(&self, object: &'v Value, api_version: &str) -> Result<Cow<'v, Value>, String> {
        let own = object["apiVersion"].as_str().unwrap_or("");
        if own == api_version {
            return Ok(Cow::Borrowed(object));
        }
        match (self.find(own), self.find(api_version)) {
            // A webhook's answer cannot be waited for here.
            (Some(from), Some(_)) if needs_webhook(from) => Err(format!("{own} is converted by a webhook")),
            (Some(from), Some(to)) => Ok(Cow::Owned(converted(from, to, object.clone()))),
            _ => Err(format!("no conversion from {own} to {api_version}")),
        }
    }
}

fn needs_webhook(resource: &Resource) -> bool {
    matches!(&resource.strategy, Strategy::Custom(custom) if custom.conversion.is_some())
}

impl Kinds<'_> {
    fn find(&self, api_version: &str) -> Option<&Resource> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let mut versions = self.0.versions.iter();
        versions.find(|resource| resource.group == group && resource.version == version).map(Arc::as_ref)
    }
}

/// What a write is called: as it says, else by the first word of the client's `User-Agent`.
pub(crate) fn manager(call: &Call<'_>) -> String {
    match call.request.options.field_manager.as_deref() {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => from_agent(call.agent),
    }
}

fn from_agent(agent: &str) -> String {
    let mut name = String::new();
    for c in agent.split('/').next().unwrap_or("").chars().filter(|c| is_printable(*c)) {
        if name.len() + c.len_utf8() > MAX_MANAGER_BYTES {
            break;
        }
        name.push(c);
    }
    name
}

/// Go's `unicode.IsPrint`, as far as the standard library tells characters apart: no controls, no spaces but the common one,
/// nothing that only steers how text is set.
fn is_printable(c: char) -> bool {
    let steers = matches!(c, '\u{ad}' | '\u{600}'..='\u{605}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{fffb}');
    c == ' ' || !(c.is_control() || c.is_whitespace() || steers)
}

fn check_manager(name: &str, field: &str, problems: &mut Vec<Cause>) {
    if name.len() > MAX_MANAGER_BYTES {
        problems.push(too_long(field, MAX_MANAGER_BYTES));
    }
    for (at, c) in name.char_indices().filter(|(_, c)| !is_printable(*c)) {
        let problem = format!("invalid character U+{:04X} (at position {at})", c as u32);
        problems.push(causes::invalid(field, name, &problem));
    }
}

fn too_long(field: &str, bytes: usize) -> Cause {
    Cause {
        reason: "FieldValueTooLong".to_owned(),
        message: format!("Too long: may not be more than {bytes} bytes"),
        field: field.to_owned(),
    }
}

/// Refuses what a write says about its manager in a way that it may not.
pub(crate) fn check_options(request: &Request) -> Result<(), ApiError> {
    let kind = match request.verb {
        Verb::Create => "CreateOptions",
        Verb::Update => "UpdateOptions",
        Verb::Patch => "PatchOptions",
        Verb::Get | Verb::List | Verb::Watch | Verb::Delete | Verb::DeleteCollection => return Ok(()),
    };
    let manager = request.options.field_manager.as_deref().unwrap_or("");
    let mut problems = Vec::new();
    if request.verb == Verb::Patch {
        if request.patch == Some(PatchType::Apply) {
            if manager.is_empty() {
                problems.push(causes::required("fieldManager", "is required for apply patch"));
            }
        } else if request.options.force.is_some() {
            problems.push(Cause {
                reason: "FieldValueForbidden".to_owned(),
                message: "Forbidden: may not be specified for non-apply patch".to_owned(),
                field: "force".to_owned(),
            });
        }
    }
    check_manager(manager, "fieldManager", &mut problems);
    if problems.is_empty() { Ok(()) } else { Err(ApiError::invalid("meta.k8s.io", kind, "", problems)) }
}

/// Whether a patch is about owners of fields, so that it needs to see them.
pub(crate) fn patches(patch: &Value, kind: PatchType) -> bool {
    const FIELD: &str = "managedFields";
    match kind {
        PatchType::Merge | PatchType::Strategic => {
            let metadata = &patch["metadata"];
            metadata.get(FIELD).is_some() || metadata.get("$patch").is_some() || patch.get("$patch").is_some()
        }
        PatchType::Json => patch.as_array().into_iter().flatten().any(|operation| {
            ["path", "from"]
                .iter()
                .filter_map(|field| operation[field].as_str())
                .any(|path| ["", "/metadata"].contains(&path) || path.starts_with("/metadata/managedFields"))
        }),
        PatchType::Apply => false,
    }
}

/// What a client says about owners.
enum Given {
    Nothing,
    /// There shall be none.
    Reset,
    Entries(Managed),
}

/// Takes `managedFields` out of what a client sent.
fn take(call: &Call<'_>, object: &mut Value) -> Result<Given, ApiError> {
    let given = metadata::of(object)?.remove("managedFields");
    let Some(Value::Array(list)) = &given else { return Ok(Given::Nothing) };
    let resets = match &list[..] {
        [] => true,
        [Value::Object(only)] => only.values().all(|value| value.is_null() || value == ""),
        _ => false,
    };
    if resets {
        return Ok(Given::Reset);
    }
    // What cannot be read is left aside: clients that do not know the field shall not lose it for others.
    let Some(managed) = given.and_then(|value| Managed::from_value(&value).ok()) else { return Ok(Given::Nothing) };
    let mut problems = Vec::new();
    for (at, entry) in managed.entries.iter().enumerate() {
        let field = |name: &str| format!("metadata.managedFields[{at}].{name}");
        check_manager(&entry.manager, &field("manager"), &mut problems);
        if entry.subresource.len() > MAX_SUBRESOURCE_BYTES {
            problems.push(too_long(&field("subresource"), MAX_SUBRESOURCE_BYTES));
        }
    }
    if problems.is_empty() {
        return Ok(Given::Entries(managed));
    }
    let name = metadata::text(object, "name");
    Err(ApiError::invalid(&call.resource.group, &call.resource.kind, name, problems))
}

/// The empty object of the resource's type: what is compared with when there is no object yet.
pub(crate) fn empty(call: &Call<'_>) -> Value {
    let mut empty = json!({"apiVersion": call.resource.api_version(), "kind": call.resource.kind});
    call.resource.schema.canonicalise(&mut empty);
    empty
}

/// The owners of a new object, as text. Known if the object is what somebody applies.
pub(crate) fn of_create(
    call: &Call<'_>,
    object: &mut Value,
    known: Option<Managed>,
) -> Result<Option<String>, ApiError> {
    let given = take(call, object)?;
    if let Some(known) = known {
        return Ok(known.to_text());
    }
    // Owners are those of the object as upstream's types write it.
    call.resource.schema.canonicalise(object);
    let given = match given {
        Given::Nothing | Given::Reset => Managed::default(),
        Given::Entries(managed) => managed,
    };
    let recorded = with_write(call, |write| k8s_apply::update(write, || given.clone(), &empty(call), object, true));
    Ok(match recorded {
        Ok(Some(managed)) => managed.to_text(),
        Ok(None) => given.to_text(),
        Err(_) => None,
    })
}

/// The owners of an object after an update. Known if the new object is what somebody applies.
pub(crate) fn of_update(
    call: &Call<'_>,
    old: &Object,
    before: &Value,
    new: &mut Value,
    known: Option<Managed>,
) -> Result<Owners, ApiError> {
    let given = take(call, new)?;
    if let Some(known) = known {
        return Ok(Owners::Changed(known));
    }
    let subresource = call.request.subresource.as_str();
    if UNTRACKED.contains(&subresource) {
        return Ok(Owners::Kept);
    }
    call.resource.schema.canonicalise(new);
    let given = match given {
        // Below an object nobody speaks of the owners of all of it.
        _ if !subresource.is_empty() => None,
        Given::Nothing => None,
        Given::Reset => Some(Managed::default()),
        Given::Entries(managed) => Some(managed),
    };
    if given.is_none() && old.managed_fields().is_none() {
        return Ok(Owners::Kept);
    }
    let managed = || given.clone().unwrap_or_else(|| live(old));
    let recorded = with_write(call, |write| k8s_apply::update(write, managed, before, new, false));
    Ok(match (recorded, given) {
        (Ok(Some(managed)), _) => Owners::Changed(managed),
        (Ok(None), None) => Owners::Kept,
        (Ok(None), Some(mut given)) => {
            given.sort();
            Owners::Changed(given)
        }
        (Err(_), _) => Owners::Changed(Managed::default()),
    })
}

/// The owners as those who admit objects have changed them. What is no list of owners is not taken, and the client is told.
pub(crate) fn after_admission(call: &mut Call<'_>, object: &mut Value) -> Option<Managed> {
    let said = object["metadata"].as_object_mut()?.remove("managedFields")?;
    let managed = match Managed::from_value(&said) {
        Ok(managed) => managed,
        Err(problem) => {
            call.warnings.push(format!("{CORRUPTED}: {problem}"));
            return None;
        }
    };
    if let Some(shown) = &mut call.aside.owners {
        shown.new = managed.to_text();
    }
    Some(managed)
}

/// Calls with the write that a request is.
pub(crate) fn with_write<T>(call: &Call<'_>, then: impl FnOnce(Write<'_>) -> T) -> T {
    let (version, manager, now) = (call.resource.api_version(), manager(call), call.now.to_string());
    then(Write {
        versions: &Kinds(&call.entry),
        version: &version,
        manager: &manager,
        subresource: &call.request.subresource,
        reset: reset(call),
        now: &now,
    })
}

/// What the strategy of the resource puts back (upstream's `GetResetFields`).
fn reset(call: &Call<'_>) -> Reset {
    const STATUS: Reset = Reset::Fields(&[&["status"]]);
    const SPEC: Reset = Reset::Fields(&[&["spec"]]);
    const ALL_BUT_STATUS: Reset = Reset::Fields(&[&["metadata"], &["spec"]]);
    let subresource = call.request.subresource.as_str();
    let kind = match &call.resource.strategy {
        Strategy::Builtin(kind) => kind,
        Strategy::Custom(custom) => {
            return match subresource {
                "" if custom.has_status => STATUS,
                "status" => SPEC,
                _ => Reset::Nothing,
            };
        }
    };
    match (kind.group, kind.plural, subresource) {
        ("certificates.k8s.io", "certificatesigningrequests", "") => Reset::Fields(&[&["spec"], &["status"]]),
        ("certificates.k8s.io", "certificatesigningrequests", "approval") => {
            Reset::Fields(&[&["spec"], &["status", "certificate"]])
        }
        ("certificates.k8s.io", "certificatesigningrequests", "status") => {
            Reset::Fields(&[&["spec"], &["status", "conditions"]])
        }
        ("apps", "deployments", "status") => Reset::Fields(&[&["spec"], &["metadata", "labels"]]),
        ("", "pods", "status") => {
            Reset::Fields(&[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]])
        }
        ("", "pods", "ephemeralcontainers") => Reset::AllBut(&[&["spec", "ephemeralContainers"]]),
        ("", "pods", "resize") => Reset::AllBut(&[
            &["spec", "containers", "*", "resources"],
            &["spec", "containers", "*", "resizePolicy"],
            &["spec", "initContainers", "*", "resources"],
            &["spec", "initContainers", "*", "resizePolicy"],
        ]),
        // Upstream names a group that there is not.
        ("networking.k8s.io", "servicecidrs", _) => Reset::Nothing,
        ("admissionregistration.k8s.io" | "apiextensions.k8s.io" | "apiregistration.k8s.io", _, "status")
        | ("flowcontrol.apiserver.k8s.io" | "storagemigration.k8s.io", _, "status")
        | ("storage.k8s.io", "volumeattachments", "status") => ALL_BUT_STATUS,
        (_, _, "" | "finalize") if kind.subresource("status").is_some() => STATUS,
        (_, _, "status") => SPEC,
        _ => Reset::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managers_are_named_by_the_first_word_of_the_agent() {
        let long = "x".repeat(200);
        let cases = [
            ("kubectl/v1.34.1 (linux/amd64) kubernetes/93248f9", "kubectl"),
            ("node-fetch", "node-fetch"),
            ("Mozilla 5.0 (X)/1", "Mozilla 5.0 (X)"),
            ("a\u{7}b\u{200b}/1", "ab"),
            ("", ""),
            (&long, &long[..128]),
        ];
        for (agent, name) in cases {
            assert_eq!(from_agent(agent), name, "{agent}");
        }
    }

    #[test]
    fn patches_about_owners_are_noticed() {
        let cases = [
            (PatchType::Merge, json!({"metadata": {"labels": {}}}), false),
            (PatchType::Merge, json!({"metadata": {"managedFields": [{}]}}), true),
            (PatchType::Strategic, json!({"metadata": {"$patch": "replace"}}), true),
            (PatchType::Json, json!([{"op": "add", "path": "/metadata/labels", "value": {}}]), false),
            (PatchType::Json, json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]), true),
            (PatchType::Json, json!([{"op": "copy", "from": "/metadata", "path": "/spec"}]), true),
        ];
        for (kind, patch, expected) in cases {
            assert_eq!(patches(&patch, kind), expected, "{patch}");
        }
    }
}
