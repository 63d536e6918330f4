//! What is served, told in the old form (`/api`, `/apis`, a document per version) and in the aggregated one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, Response, StatusCode};
use k8s_object::ApiError;
use serde_json::{Value, json};
use serve::Body;
use sha2::{Digest, Sha256};

use super::negotiate::{self, Format, PROTOBUF};
use super::{respond, stored_versions};
use crate::aggregation::{Aggregator, Group, Ties, aggregated_version, groups};
use crate::core::Core;
use crate::registry::{Entry, Resource, Served, Strategy};

/// The verbs of custom resources in the order in which they are told.
const CUSTOM_VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
/// Those that are left while their definition is being deleted.
const TERMINATING_VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "watch"];
/// What the aggregated form is, after the media type.
const AGGREGATED: &str = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// The format of the aggregated form, if the client accepts that at all: however little, it comes before the old form.
fn aggregated_format(accept: &str) -> Option<Format> {
    negotiate::ranges(accept).into_iter().filter(is_aggregated).find_map(|range| match range.media {
        "*/*" | "application/*" | "application/json" if range.parameter("pretty") == "1" => Some(Format::PrettyJson),
        "*/*" | "application/*" | "application/json" => Some(Format::Json),
        "application/yaml" => Some(Format::Yaml),
        PROTOBUF => Some(Format::Protobuf),
        _ => None,
    })
}

fn is_aggregated(range: &negotiate::Range<'_>) -> bool {
    range.parameter("g") == "apidiscovery.k8s.io"
        && range.parameter("v") == "v2"
        && range.parameter("as") == "APIGroupDiscoveryList"
}

/// The aggregated form, with a tag by which clients know what they have already.
fn aggregated_response(
    core: &Core,
    served: &Served,
    core_group: bool,
    format: Format,
    headers: &HeaderMap,
    gzip: bool,
) -> Response<Body> {
    let about = if core_group { "api" } else { "apis" };
    let document = core.documents.get(core.generation(served), about, || aggregated(core, served, core_group));
    let tag = format!("\"{}\"", document.hash);
    let mut response = if headers.get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == tag.as_bytes()) {
        let mut response = Response::new(serve::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let mut response = match format {
            Format::Json => respond::json_bytes(StatusCode::OK, &document.bytes, gzip),
            _ => respond::value(StatusCode::OK, &aggregated(core, served, core_group), format, gzip),
        };
        let media = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        if let Ok(value) = HeaderValue::from_str(&format!("{media};{AGGREGATED}")) {
            response.headers_mut().insert(CONTENT_TYPE, value);
        }
        response
    };
    if let Ok(value) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, value);
    }
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}

pub(super) fn answer(
    core: &Core,
    path: &str,
    headers: &HeaderMap,
    accept: &str,
    format: Format,
    gzip: bool,
) -> Result<Option<Response<Body>>, ApiError> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let (served, others) = (core.registry.served(), &core.aggregator);
    if let ["api"] | ["apis"] = &segments[..]
        && let Some(format) = aggregated_format(accept)
    {
        return Ok(Some(aggregated_response(core, &served, segments[0] == "api", format, headers, gzip)));
    }
    let document = match &segments[..] {
        ["api"] => {
            let address = |address: std::net::SocketAddr| json!({"clientCIDR": "0.0.0.0/0", "serverAddress": address.to_string()});
            let addresses: Vec<Value> = core.endpoint.map(address).into_iter().collect();
            json!({"kind": "APIVersions", "versions": served.versions(""), "serverAddressByClientCIDRs": addresses})
        }
        ["apis"] => {
            let groups = groups(others, &served, Ties::ByService);
            let groups: Vec<Value> = groups.iter().filter(|group| !group.name.is_empty()).map(api_group).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["apis", name] if !name.is_empty() => {
            let groups = groups(others, &served, Ties::ByService);
            let Some(group) = groups.iter().find(|group| group.name == *name) else { return Ok(None) };
            let mut document = api_group(group);
            document["kind"] = json!("APIGroup");
            document["apiVersion"] = json!("v1");
            document
        }
        ["api", version] if served.serves_version("", version) => resource_list(&served, "", version, core.minor),
        ["apis", group, version] if served.serves_version(group, version) => {
            resource_list(&served, group, version, core.minor)
        }
        [] => {
            let mut paths = paths(&served, others);
            if core.minor >= super::zpages::SINCE {
                paths.extend(["/flagz".to_owned(), "/statusz".to_owned()]);
                paths.sort();
            }
            json!({"paths": paths})
        }
        _ => return Ok(None),
    };
    // Negotiated before anything is sent, as everywhere.
    negotiate::accepted(accept, negotiate::Endpoint::Plain)?;
    Ok(Some(respond::value(StatusCode::OK, &document, format, gzip)))
}

/// Every path that leads somewhere.
pub(super) fn paths(served: &Served, others: &Aggregator) -> Vec<String> {
    let fixed = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/apis/",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ];
    let mut paths: Vec<String> = fixed.map(str::to_owned).to_vec();
    for Group { name, versions } in groups(others, served, Ties::ByGroup) {
        let base = if name.is_empty() { "/api".to_owned() } else { format!("/apis/{name}") };
        paths.extend(versions.iter().map(|version| format!("{base}/{version}")));
        if !name.is_empty() {
            paths.push(base);
        }
    }
    paths.sort();
    paths
}

fn api_group(group: &Group) -> Value {
    let version = |version: &String| json!({"groupVersion": group_version(&group.name, version), "version": version});
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    json!({"name": group.name, "versions": versions, "preferredVersion": versions.first()})
}

/// The resources of a group and version, by name.
fn resources<'a>(
    served: &'a Served,
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = (&'a Entry, &'a Resource)> {
    let entries = served.groups.get(group).into_iter().flat_map(|entries| entries.values());
    entries.filter_map(move |entry| entry.version(version).map(|resource| (entry, resource.as_ref())))
}

fn verbs(resource: &Resource) -> &'static [&'static str] {
    match &resource.strategy {
        Strategy::Builtin(_) => resource.verbs,
        Strategy::Custom(custom) if custom.terminating => TERMINATING_VERBS,
        Strategy::Custom(_) => CUSTOM_VERBS,
    }
}

/// Says where objects are stored without saying it; clients compare it (apiserver `StorageVersionHash`).
fn storage_version_hash(stored: &Resource, minor: u8) -> String {
    let version = match stored.strategy {
        Strategy::Builtin(_) => stored_versions::older(&stored.group, &stored.plural, minor),
        Strategy::Custom(_) => None,
    };
    let place = format!("{}/{}/{}", stored.group, version.unwrap_or(&stored.version), stored.kind);
    STANDARD.encode(&Sha256::digest(place)[..8])
}

fn resource_list(served: &Served, group: &str, version: &str, minor: u8) -> Value {
    let mut list = Vec::new();
    for (entry, resource) in resources(served, group, version) {
        let mut told = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": verbs(resource),
        });
        if !resource.short_names.is_empty() {
            told["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            told["categories"] = json!(resource.categories);
        }
        if !resource.is_virtual() {
            told["storageVersionHash"] = json!(storage_version_hash(entry.stored(), minor));
        }
        list.push(told);
        for subresource in &resource.subresources {
            let mut told = json!({
                "name": format!("{}/{}", resource.plural, subresource.name), "singularName": "",
                "namespaced": resource.namespaced, "kind": resource.kind, "verbs": subresource.verbs,
            });
            if let Some(kind) = &subresource.kind {
                // A group and version are told where they are others than those of the list.
                if (&*kind.group, &*kind.version) != (group, version) {
                    told["group"] = json!(kind.group);
                    told["version"] = json!(kind.version);
                }
                told["kind"] = json!(kind.kind);
            }
            list.push(told);
        }
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version(group, version), "resources": list})
}

/// The minor from which on a time that is none is left out of JSON.
const OMITS_ZERO_TIME: u8 = 34;

fn aggregated(core: &Core, served: &Served, core_group: bool) -> Value {
    let others = &core.aggregator;
    let items: Vec<Value> = groups(others, served, Ties::ByGroup)
        .iter()
        .filter(|group| group.name.is_empty() == core_group)
        .map(|Group { name: group, versions }| {
            let version = |version: &String| match others.find(group, version) {
                Some(remote) => aggregated_version(others, &remote),
                None => {
                    let resources = resources(served, group, version);
                    let resources: Vec<Value> = resources.map(|(_, resource)| aggregated_resource(resource)).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                }
            };
            let versions: Vec<Value> = versions.iter().map(version).collect();
            let mut metadata = json!({});
            if !group.is_empty() {
                metadata["name"] = json!(group);
            }
            if core.minor < OMITS_ZERO_TIME {
                metadata["creationTimestamp"] = Value::Null;
            }
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_resource(resource: &Resource) -> Value {
    let own = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
    let mut entry = json!({
        "resource": resource.plural, "singularResource": resource.singular, "verbs": verbs(resource),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" }, "responseKind": own,
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
            let kind = kind.unwrap_or_else(|| own.clone());
            json!({"subresource": subresource.name, "responseKind": kind, "verbs": subresource.verbs})
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = json!(subresources);
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn the_hash_of_a_storage_version_is_upstreams() {
        let served = Registry::new(34).served();
        // As published by every cluster.
        for (group, plural, hash) in [
            ("", "pods", "xPOwRZ+Yhw8="),
            ("apps", "deployments", "8aSe+NMegvE="),
            ("apiextensions.k8s.io", "customresourcedefinitions", "jfWCUB31mvA="),
        ] {
            assert_eq!(storage_version_hash(served.entry(group, plural).unwrap().stored(), 34), hash, "{plural}");
        }
    }

    #[test]
    fn the_aggregated_form_is_for_those_who_name_it() {
        let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        for (accept, expected) in [
            (format!("{aggregated},{beta},application/json"), Some(Format::Json)),
            (format!("application/json,{aggregated};q=0.1"), Some(Format::Json)),
            (format!("{beta},application/json"), None),
            (aggregated.replace("json", "vnd.kubernetes.protobuf"), Some(Format::Protobuf)),
            ("application/json".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(aggregated_format(&accept), expected, "{accept}");
        }
    }
}
