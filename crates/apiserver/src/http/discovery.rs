//! What is served, told in the old form (`/api`, `/apis`, a document per version) and in the aggregated one.

use http::{Response, StatusCode};
use k8s_object::ApiError;
use serde_json::{Value, json};
use serve::Body;

use super::negotiate::{self, Format};
use super::respond;
use crate::aggregation::{Aggregator, aggregated_versions, group_versions};
use crate::core::Core;
use crate::registry::{Resource, Served};

/// Groups in upstream's order of preference; clients take the first that has what they look for. Others follow by name.
const ORDER: &[&str] = &[
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

/// All groups: this server's, then those that others serve alone.
fn all_groups(served: &Served, others: &Aggregator) -> Vec<String> {
    let mut groups = groups(served);
    groups.extend(others.foreign_groups(served));
    groups
}

fn groups(served: &Served) -> Vec<String> {
    let mut groups: Vec<String> =
        served.groups.keys().filter(|group| !served.versions(group).is_empty()).cloned().collect();
    let rank = |group: &str| ORDER.iter().position(|own| *own == group).unwrap_or(ORDER.len());
    groups.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)));
    groups
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Whether the client wants the aggregated form before the old one.
fn wants_aggregated(accept: &str) -> bool {
    let wanted = negotiate::ranges(accept).into_iter().find(|range| {
        let json = ["application/json", "*/*", "application/*"].contains(&range.media);
        let plain = range.parameter("as").is_empty();
        json && (plain || is_aggregated(range))
    });
    wanted.is_some_and(|range| is_aggregated(&range))
}

fn is_aggregated(range: &negotiate::Range<'_>) -> bool {
    range.parameter("g") == "apidiscovery.k8s.io"
        && range.parameter("v") == "v2"
        && range.parameter("as") == "APIGroupDiscoveryList"
}

pub(super) fn answer(core: &Core, path: &str, accept: &str, gzip: bool) -> Result<Option<Response<Body>>, ApiError> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let (served, others) = (core.registry.served(), &core.aggregator);
    if matches!(&segments[..], ["api"] | ["apis"]) && wants_aggregated(accept) {
        let list = aggregated(&served, others, segments[0] == "api");
        let mut response = respond::json_bytes(StatusCode::OK, list.to_string(), gzip);
        let content_type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let header = http::HeaderValue::from_static(content_type);
        response.headers_mut().insert(http::header::CONTENT_TYPE, header);
        response.headers_mut().insert(http::header::VARY, http::HeaderValue::from_static("Accept"));
        return Ok(Some(response));
    }
    let document = match &segments[..] {
        ["api"] => json!({"kind": "APIVersions", "versions": served.versions(""), "serverAddressByClientCIDRs": []}),
        ["apis"] => {
            let groups: Vec<Value> = all_groups(&served, others)
                .iter()
                .filter(|group| !group.is_empty())
                .map(|group| api_group(&served, others, group))
                .collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["apis", group] if !group_versions(others, &served, group).is_empty() => {
            let mut document = api_group(&served, others, group);
            document["kind"] = json!("APIGroup");
            document["apiVersion"] = json!("v1");
            document
        }
        ["api", version] if served.serves_version("", version) => resource_list(&served, "", version),
        ["apis", group, version] if served.serves_version(group, version) => resource_list(&served, group, version),
        [] => json!({"paths": paths(&served, others)}),
        _ => return Ok(None),
    };
    let format = negotiate::accepted(accept).map_or(Format::Json, |accepted| accepted.format);
    Ok(Some(respond::value(StatusCode::OK, &document, format, gzip)))
}

fn paths(served: &Served, others: &Aggregator) -> Vec<String> {
    let mut paths = vec!["/api".to_owned(), "/apis".to_owned()];
    for group in all_groups(served, others) {
        let base = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
        if !group.is_empty() {
            paths.push(base.clone());
        }
        paths.extend(group_versions(others, served, &group).iter().map(|version| format!("{base}/{version}")));
    }
    paths.extend(["/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"].map(str::to_owned));
    paths
}

fn api_group(served: &Served, others: &Aggregator, group: &str) -> Value {
    let version = |version: &String| json!({"groupVersion": group_version(group, version), "version": version});
    let versions: Vec<Value> = group_versions(others, served, group).iter().map(version).collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

/// The resources of a group and version, by name.
fn resources<'a>(served: &'a Served, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Resource> {
    let resources = served.resources().map(AsRef::as_ref);
    resources.filter(move |resource: &&Resource| resource.group == group && resource.version == version)
}

fn resource_list(served: &Served, group: &str, version: &str) -> Value {
    let mut list = Vec::new();
    for resource in resources(served, group, version) {
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": resource.verbs,
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        list.push(entry);
        for subresource in &resource.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", resource.plural, subresource.name), "singularName": "",
                "namespaced": resource.namespaced, "kind": resource.kind, "verbs": subresource.verbs,
            });
            if let Some(kind) = &subresource.kind {
                // Those of the same group and version are told by their kind alone.
                if (&*kind.group, &*kind.version) != (group, version) {
                    entry["group"] = json!(kind.group);
                    entry["version"] = json!(kind.version);
                }
                entry["kind"] = json!(kind.kind);
            }
            list.push(entry);
        }
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version(group, version), "resources": list})
}

fn aggregated(served: &Served, others: &Aggregator, core_group: bool) -> Value {
    let items: Vec<Value> = all_groups(served, others)
        .iter()
        .filter(|group| group.is_empty() == core_group)
        .map(|group| {
            let own = served.versions(group);
            let own = own.iter().filter(|version| others.find(group, version).is_none());
            let versions: Vec<Value> = own
                .map(|version| {
                    let resources: Vec<Value> = resources(served, group, version).map(aggregated_resource).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .chain(aggregated_versions(others, group))
                .collect();
            json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_resource(resource: &Resource) -> Value {
    let mut entry = json!({
        "resource": resource.plural, "singularResource": resource.singular, "verbs": resource.verbs,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    let subresources: Vec<Value> = resource
        .subresources
        .iter()
        .map(|subresource| {
            let kind = subresource.kind.as_ref();
            let kind = kind.map(|kind| json!({"group": kind.group, "version": kind.version, "kind": kind.kind}));
            let own = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
            json!({"subresource": subresource.name, "responseKind": kind.unwrap_or(own), "verbs": subresource.verbs})
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = json!(subresources);
    }
    entry
}
