//! Rules of built-in kinds that need more than the object: who asks, what he may do, what else there is. For all other kinds
//! there is nothing to do here.

use std::sync::Arc;

use k8s_auth::Attributes;
use k8s_kinds::causes;
use k8s_object::{Cause, UserInfo};
use serde_json::{Value, json};

use crate::core::Call;
use crate::metadata;
use crate::ports::Decision;
use crate::registry::Resource;

const ADMISSION: &str = "admissionregistration.k8s.io";
const DEVICES: &str = "resource.k8s.io";
/// On a namespace: its claims may have access to devices that are in use.
const ADMIN_ACCESS: &str = "resource.kubernetes.io/admin-access";

/// Fills what the server knows about who creates an object.
pub(crate) fn prepare_create(call: &Call<'_>, object: &mut Value) {
    if call.resource.is("certificates.k8s.io", "certificatesigningrequests") {
        name_requester(call.user, object);
    }
}

/// Who wants a certificate is not for the client to say.
fn name_requester(user: &UserInfo, object: &mut Value) {
    let Some(spec) = object["spec"].as_object_mut() else { return };
    spec.insert("username".to_owned(), json!(user.username));
    let parts = [
        ("uid", json!(user.uid), user.uid.is_empty()),
        ("groups", json!(user.groups), user.groups.is_empty()),
        ("extra", json!(user.extra), user.extra.is_empty()),
    ];
    for (key, value, is_empty) in parts {
        if !is_empty {
            spec.insert(key.to_owned(), value);
        }
    }
}

/// Adds what is wrong with an object to what its kind has found.
pub(crate) fn judge(call: &Call<'_>, object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    match (call.resource.group.as_str(), call.resource.plural.as_str()) {
        (DEVICES, "resourceclaims" | "resourceclaimtemplates") => causes.extend(admin_access(call, object, old)),
        // Only who may read parameters may have them read; upstream asks once all else is right.
        (ADMISSION, "validatingadmissionpolicies" | "mutatingadmissionpolicies")
            if causes.is_empty() && call.request.subresource.is_empty() =>
        {
            causes.extend(param_kind(call, object, old));
        }
        (ADMISSION, "validatingadmissionpolicybindings" | "mutatingadmissionpolicybindings") if causes.is_empty() => {
            causes.extend(param_ref(call, object, old));
        }
        _ => {}
    }
}

/// Access to devices that are in use takes a label on the namespace.
fn admin_access(call: &Call<'_>, object: &Value, old: Option<&Value>) -> Option<Cause> {
    let wanted = |list: &Value, path: &str| -> Option<String> {
        let list = list.as_array()?;
        let index = list.iter().position(|item| {
            let item = if path.starts_with("status") { item } else { &item["exactly"] };
            item["adminAccess"] == true
        })?;
        Some(format!("{path}[{index}].adminAccess"))
    };
    const REQUESTS: &str = "spec.devices.requests";
    const RESULTS: &str = "status.allocation.devices.results";
    let results = |object: &Value| wanted(&object["status"]["allocation"]["devices"]["results"], RESULTS);
    let field = match (call.request.subresource.as_str(), old) {
        ("status", Some(old)) if results(old).is_some() => None,
        ("status", _) => results(object),
        // The spec does not change.
        (_, Some(_)) => None,
        (_, None) => match call.resource.plural.as_str() {
            "resourceclaims" => wanted(&object["spec"]["devices"]["requests"], REQUESTS),
            _ => wanted(&object["spec"]["spec"]["devices"]["requests"], REQUESTS),
        },
    }?;
    let namespace = call.core.lookup("", "namespaces", "", metadata::text(object, "namespace"))?;
    let allowed = namespace.value()["metadata"]["labels"][ADMIN_ACCESS] == "true";
    (!allowed).then(|| {
        let problem =
            format!("admin access to devices requires the `{ADMIN_ACCESS}: true` label on the containing namespace");
        causes::forbidden(field, &problem)
    })
}

/// A user as Go prints him.
fn written(user: &UserInfo) -> String {
    let extra: Vec<String> = user.extra.iter().map(|(key, values)| format!("{key}:[{}]", values.join(" "))).collect();
    format!("&{{{} {} [{}] map[{}]}}", user.username, user.uid, user.groups.join(" "), extra.join(" "))
}

/// Group, version and resource of the kind that holds parameters, as far as they are known.
struct ParamResource {
    group: String,
    version: String,
    /// `None` for a kind that is not served.
    resource: Option<String>,
}

impl ParamResource {
    fn of(call: &Call<'_>, kind: &Value) -> Option<ParamResource> {
        let api_version = kind["apiVersion"].as_str()?;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let wanted = (group, version, kind["kind"].as_str()?);
        let served = call.core.registry.served();
        let is_wanted = |resource: &&Arc<Resource>| {
            (resource.group.as_str(), resource.version.as_str(), resource.kind.as_str()) == wanted
        };
        let found = served.resources().find(is_wanted);
        Some(ParamResource {
            group: group.to_owned(),
            version: version.to_owned(),
            resource: found.map(|resource| resource.plural.clone()),
        })
    }
}

fn is_allowed(call: &Call<'_>, verb: &str, params: Option<&ParamResource>, namespace: &str, name: &str) -> bool {
    let (group, version) = params.map_or(("*", "*"), |params| (params.group.as_str(), params.version.as_str()));
    let resource = params.and_then(|params| params.resource.as_deref()).unwrap_or("*");
    let attributes = Attributes { version, namespace, name, ..Attributes::resource(call.user, verb, group, resource) };
    matches!(call.core.auth.decide_at_once(call.core, &attributes), Decision::Allow(_))
}

/// Who writes a policy must be able to read all objects of the kind of its parameters.
fn param_kind(call: &Call<'_>, object: &Value, old: Option<&Value>) -> Option<Cause> {
    let kind = &object["spec"]["paramKind"];
    if !kind.is_object() || old.is_some_and(|old| &old["spec"]["paramKind"] == kind) {
        return None;
    }
    let params = ParamResource::of(call, kind);
    if is_allowed(call, "get", params.as_ref(), "*", "*") {
        return None;
    }
    let text = |key: &str| kind[key].as_str().unwrap_or_default();
    let problem = format!(
        "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
        written(call.user),
        text("kind"),
        text("apiVersion")
    );
    Some(causes::forbidden("spec.paramKind", &problem))
}

/// Who binds a policy must be able to read its parameters.
fn param_ref(call: &Call<'_>, object: &Value, old: Option<&Value>) -> Option<Cause> {
    let (spec, reference) = (&object["spec"], &object["spec"]["paramRef"]);
    let same = |old: &Value| ["paramRef", "policyName"].iter().all(|key| old["spec"][key] == spec[key]);
    if !reference.is_object() || old.is_some_and(same) {
        return None;
    }
    let policies = if call.resource.plural.starts_with("mutating") {
        "mutatingadmissionpolicies"
    } else {
        "validatingadmissionpolicies"
    };
    let text = |key: &str| reference[key].as_str().unwrap_or_default();
    let name = spec["policyName"].as_str().unwrap_or_default();
    let policy = call.core.lookup(ADMISSION, policies, "", name);
    let kind = policy.as_ref().map(|policy| policy.value()["spec"]["paramKind"].clone()).filter(Value::is_object);
    let params = kind.as_ref().and_then(|kind| ParamResource::of(call, kind));
    let verb = if text("name").is_empty() { "list" } else { "get" };
    if is_allowed(call, verb, params.as_ref(), text("namespace"), text("name")) {
        return None;
    }
    let user = written(call.user);
    let everything = format!(
        "to determine minimum required permissions and user {user} does not have {verb:?} permission for all groups, versions and resources"
    );
    let problem = match (&policy, &params) {
        (None, _) => format!("unable to get policy {name} {everything}"),
        (Some(_), Some(params)) if params.resource.is_none() => {
            let kind = kind.unwrap_or_default();
            let part = |key: &str| kind[key].as_str().unwrap_or_default().to_owned();
            format!("unable to resolve paramKind &{{{} {}}} {everything}", part("apiVersion"), part("kind"))
        }
        _ => format!("user {user} does not have {verb:?} permission on the object referenced by paramRef"),
    };
    Some(causes::forbidden("spec.paramRef", &problem))
}
