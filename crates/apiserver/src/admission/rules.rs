//! Which requests a webhook or policy is for: its rules and selectors (apiserver `webhook/predicates`).

use k8s_client::Verb;
use k8s_object::{ApiError, LabelSelector, Properties};
use serde_json::Value;

use super::{Operation, Review};
use crate::core::Call;
use crate::metadata;
use crate::registry::Resource;

/// Kinds that configure admission. No webhook or policy is ever asked about them, so that a broken one can be mended.
const EXEMPT: &[&str] = &[
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
];
pub(super) const GROUP: &str = "admissionregistration.k8s.io";

/// Whether nobody outside is asked about these objects.
pub(super) fn is_exempt(resource: &Resource) -> bool {
    resource.group == GROUP && EXEMPT.contains(&resource.kind.as_str())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    All,
    Cluster,
    Namespaced,
    /// One that this server does not know; nothing is in it.
    Unknown,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Resource and subresource.
    resources: Vec<(String, String)>,
    scope: Scope,
    /// Names of objects; any if there are none (policies).
    names: Vec<String>,
}

/// What a rule is held against.
pub(super) struct Target<'a> {
    pub operation: Operation,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespaced: bool,
    pub name: &'a str,
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|own| own == "*" || own == wanted)
}

impl Rule {
    /// Reads the rules of a list.
    pub(super) fn all(list: &Value) -> Vec<Rule> {
        list.as_array().into_iter().flatten().map(Rule::of).collect()
    }

    fn of(rule: &Value) -> Rule {
        let split = |text: String| match text.split_once('/') {
            Some((resource, subresource)) => (resource.to_owned(), subresource.to_owned()),
            None => (text, String::new()),
        };
        Rule {
            operations: texts(&rule["operations"]),
            groups: texts(&rule["apiGroups"]),
            versions: texts(&rule["apiVersions"]),
            resources: texts(&rule["resources"]).into_iter().map(split).collect(),
            scope: match rule["scope"].as_str().unwrap_or("*") {
                "*" => Scope::All,
                "Cluster" => Scope::Cluster,
                "Namespaced" => Scope::Namespaced,
                _ => Scope::Unknown,
            },
            names: texts(&rule["resourceNames"]),
        }
    }

    pub(super) fn matches(&self, target: &Target<'_>) -> bool {
        let scope = match self.scope {
            Scope::All => true,
            Scope::Cluster => !target.namespaced,
            Scope::Namespaced => target.namespaced,
            Scope::Unknown => false,
        };
        let any = |own: &str, wanted: &str| own == "*" || own == wanted;
        scope
            && has(&self.operations, target.operation.as_str())
            && has(&self.groups, target.group)
            && has(&self.versions, target.version)
            && self
                .resources
                .iter()
                .any(|(resource, subresource)| any(resource, target.resource) && any(subresource, target.subresource))
            && (self.names.is_empty() || self.names.iter().any(|name| name == target.name))
    }
}

/// The version of the request.
pub(super) fn own_version(review: &Review<'_, '_>) -> Option<usize> {
    let call = review.call;
    call.entry
        .versions
        .iter()
        .position(|version| version.version == call.resource.version && version.group == call.resource.group)
}

/// In which version the object goes to whoever a rule belongs to: its place among the forms of the entry.
///
/// The version of the request is tried first, then, with `equivalent`, the others, for one rule after the other. Where two groups
/// have the same objects (Events), versions of the other group are equivalent too.
pub(super) fn matched(review: &Review<'_, '_>, name: &str, rules: &[Rule], equivalent: bool) -> Option<usize> {
    let entry = &review.call.entry;
    let own = own_version(review)?;
    if rules.iter().any(|rule| rule.matches(&target(review, name, entry.form(own)))) {
        return Some(own);
    }
    if !equivalent {
        return None;
    }
    let others = || entry.forms().enumerate().filter(|(at, form)| *at != own && form.served);
    rules.iter().find_map(|rule| others().find(|(_, form)| rule.matches(&target(review, name, form))).map(|(at, _)| at))
}

/// What rules see when the object goes as `version`, which may be of another group.
fn target<'a>(review: &'a Review<'_, '_>, name: &'a str, version: &'a Resource) -> Target<'a> {
    Target {
        operation: review.operation,
        group: &version.group,
        version: &version.version,
        resource: &version.plural,
        subresource: &review.call.request.subresource,
        namespaced: version.namespaced,
        name,
    }
}

/// A selector of a configuration; one that is absent selects everything.
pub(super) fn selector(value: &Value) -> Result<LabelSelector, String> {
    if value.is_null() {
        return Ok(LabelSelector::everything());
    }
    serde_json::from_value(value.clone()).map_err(|error| error.to_string())
}

pub(super) fn labels(object: &Value) -> Properties {
    serde_json::from_value(object["metadata"]["labels"].clone()).unwrap_or_default()
}

/// Whether the namespace of the request is selected. What is in no namespace is always selected.
pub(super) fn selects_namespace(
    review: &Review<'_, '_>,
    object: Option<&Value>,
    selector: &LabelSelector,
) -> Result<bool, ApiError> {
    let call = review.call;
    let is_namespace = call.resource.is("", "namespaces");
    if selector.is_everything() || !(call.resource.namespaced || is_namespace) {
        return Ok(true);
    }
    if is_namespace
        && call.request.subresource.is_empty()
        && matches!(review.operation, Operation::Create | Operation::Update)
        && let Some(object) = object
    {
        return Ok(selector.matches(&labels(object)));
    }
    let name = if is_namespace { name(call, object) } else { &call.request.namespace };
    let namespace = call.core.lookup("", "namespaces", "", name);
    let namespace = namespace.ok_or_else(|| ApiError::not_found("", "namespaces", name))?;
    Ok(selector.matches(&namespace.meta().labels))
}

/// Whether the object is selected, as it is or as it was.
pub(super) fn selects_object(object: Option<&Value>, old: Option<&Value>, selector: &LabelSelector) -> bool {
    selector.is_everything() || [object, old].into_iter().flatten().any(|object| selector.matches(&labels(object)))
}

/// The name of the object, which a new one has in itself. Who deletes many at once names none.
pub(super) fn name<'a>(call: &'a Call<'_>, object: Option<&'a Value>) -> &'a str {
    match call.request.name.as_str() {
        _ if call.request.verb == Verb::DeleteCollection => "",
        "" => object.map_or("", |object| metadata::text(object, "name")),
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_match_as_upstreams_do() {
        let rule = |operations: &[&str], groups: &[&str], resources: &[&str], scope: &str| json!({"operations": operations, "apiGroups": groups, "apiVersions": ["v1"], "resources": resources, "scope": scope});
        let cases = [
            (rule(&["CREATE"], &[""], &["pods"], "*"), true),
            (rule(&["*"], &["*"], &["*"], "Namespaced"), true),
            (rule(&["*"], &["*"], &["*/*"], "*"), true),
            (rule(&["*"], &["*"], &["pods/*"], "*"), true),
            (rule(&["UPDATE"], &[""], &["pods"], "*"), false),
            (rule(&["CREATE"], &["apps"], &["pods"], "*"), false),
            (rule(&["CREATE"], &[""], &["pods/status"], "*"), false),
            (rule(&["CREATE"], &[""], &["*/status"], "*"), false),
            (rule(&["CREATE"], &[""], &["pods"], "Cluster"), false),
            (rule(&["CREATE"], &[""], &["pods"], "Else"), false),
        ];
        let target = Target {
            operation: Operation::Create,
            group: "",
            version: "v1",
            resource: "pods",
            subresource: "",
            namespaced: true,
            name: "web",
        };
        for (rule, expected) in cases {
            assert_eq!(Rule::of(&rule).matches(&target), expected, "{rule}");
        }
        let mut named = rule(&["*"], &["*"], &["*"], "*");
        for (names, expected) in [(json!(["web"]), true), (json!(["db"]), false)] {
            named["resourceNames"] = names;
            assert_eq!(Rule::of(&named).matches(&target), expected, "{named}");
        }
    }
}
