//! OpenAPI documents, made when they are first asked for. Those of built-in groups are shared by all clusters of a minor; what
//! custom resources add is kept until the set of resources changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, EXPIRES, HeaderValue, IF_NONE_MATCH, LOCATION, VARY};
use http::request::Parts;
use http::{Response, StatusCode};
use k8s_schema::{
    OPENAPI_ABOUT_THE_SERVER, OpenApiGroup, OpenApiKind, OpenApiSubresource, Schema, merge_openapi_v2, openapi_v2,
    openapi_v2_protobuf, openapi_v3, openapi_v3_of_v2, openapi_v3_protobuf, openapi_v3_root,
};
use serde_json::{Value, json};
use serve::Body;
use sha2::{Digest, Sha256};

use super::path::query_pairs;
use super::{negotiate, respond};
use crate::core::Core;
use crate::registry::{Resource, Served, Strategy, Subresource};

const JSON: &str = "application/json";
/// The protobuf forms of documents, and what kubectl calls them. That is no valid media type, and kubectl itself cannot read it as a
/// Content-Type.
const PROTOBUF_V2: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
];
const PROTOBUF_V3: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
];
/// How long a document stays good for those who ask for it by its hash.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A document and its hash.
#[derive(Clone)]
pub(super) struct Document {
    pub bytes: Bytes,
    pub hash: String,
}

impl Document {
    fn new(value: &Value) -> Document {
        Document::of(value.to_string().into())
    }

    /// The same in protobuf. Its hash is that of the JSON, by which clients know both.
    fn in_protobuf(&self, value: &Value) -> Document {
        Document { bytes: openapi_v3_protobuf(value).into(), hash: self.hash.clone() }
    }

    fn of(bytes: Bytes) -> Document {
        let digest = Sha256::digest(&bytes);
        let hash = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        Document { bytes, hash }
    }
}

/// Documents by minor and what they are about: the whole (`v2`), or a group and version.
type Shared = Mutex<BTreeMap<(u8, String), Document>>;

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(Mutex::default)
}

/// The documents of one cluster that are not shared.
#[derive(Default)]
pub(crate) struct Documents(Mutex<(u64, BTreeMap<String, Document>)>);

impl Documents {
    pub(super) fn get(&self, generation: u64, about: &str, make: impl FnOnce() -> Value) -> Document {
        self.keep(generation, about, || Document::new(&make()))
    }

    /// What is kept, or what `make` makes, which may ask for other documents.
    fn keep(&self, generation: u64, about: &str, make: impl FnOnce() -> Document) -> Document {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = Some(lock()).filter(|own| own.0 == generation).and_then(|own| own.1.get(about).cloned()) {
            return known;
        }
        let made = make();
        let mut own = lock();
        if own.0 < generation {
            *own = (generation, BTreeMap::new());
        }
        if own.0 == generation {
            own.1.insert(about.to_owned(), made.clone());
        }
        made
    }
}

fn kinds(served: &Served, group: &str, version: &str, minor: u8) -> (Vec<OpenApiKind>, bool) {
    let mut custom = false;
    let resources = served.resources().filter(|resource| resource.group == group && resource.version == version);
    let kinds = resources.filter_map(|resource| {
        custom |= matches!(resource.strategy, Strategy::Custom(_));
        Some(OpenApiKind {
            kind: resource.kind.clone(),
            plural: resource.plural.clone(),
            namespaced: resource.namespaced,
            deletes_collection: resource.verbs.contains(&"deletecollection"),
            read_only: !resource.verbs.contains(&"create"),
            type_name: type_name(resource),
            schema: resource.schema.0.clone()?,
            subresources: resource
                .subresources
                .iter()
                .filter_map(|subresource| below(resource, subresource, minor))
                .collect(),
            selectable: match &resource.strategy {
                Strategy::Custom(custom) => custom.selectable.clone(),
                Strategy::Builtin(_) => Vec::new(),
            },
        })
    });
    (kinds.collect(), custom)
}

/// What is told of a subresource; none for those that carry no objects.
fn below(resource: &Resource, subresource: &Subresource, minor: u8) -> Option<OpenApiSubresource> {
    let told = |group: &str, version: &str, kind: &str, type_name: String| OpenApiSubresource {
        name: subresource.name.clone(),
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        type_name,
        verbs: subresource.verbs.iter().map(|verb| (*verb).to_owned()).collect(),
    };
    match &subresource.kind {
        None => Some(told(&resource.group, &resource.version, &resource.kind, type_name(resource))),
        Some(kind) => {
            let minor = minor.clamp(k8s_schema::OLDEST_MINOR, k8s_schema::NEWEST_MINOR);
            let schema = Schema::builtin_kind(&kind.group, &kind.version, &kind.kind, minor)?;
            Some(told(&kind.group, &kind.version, &kind.kind, schema.type_name()?))
        }
    }
}

/// `io.k8s.api.core.v1.Pod`, or `com.example.stable.v1.CronTab`.
fn type_name(resource: &Resource) -> String {
    if let Strategy::Builtin(kind) = &resource.strategy {
        return kind.type_name.to_owned();
    }
    let reversed: Vec<&str> = resource.group.rsplit('.').collect();
    format!("{}.{}.{}", reversed.join("."), resource.version, resource.kind)
}

/// The groups and versions that are served, the core group as the empty text.
fn group_versions(served: &Served) -> Vec<(String, String)> {
    let groups = served.groups.keys();
    groups.flat_map(|group| served.versions(group).into_iter().map(|version| (group.clone(), version))).collect()
}

fn v3(core: &Core, served: &Served, group: &str, version: &str, protobuf: bool) -> Document {
    let (kinds, custom) = kinds(served, group, version, core.minor);
    let make = || openapi_v3(group, version, &kinds, core.minor);
    let keep = |about: String, make: &dyn Fn() -> Document| {
        if custom {
            return core.documents.keep(core.generation(served), &about, make);
        }
        let mut shared = shared().lock().unwrap_or_else(PoisonError::into_inner);
        shared.entry((core.minor, about)).or_insert_with(make).clone()
    };
    let document = keep(format!("{group}/{version}"), &|| Document::new(&make()));
    match protobuf {
        true => keep(format!("{group}/{version} protobuf"), &|| document.in_protobuf(&make())),
        false => document,
    }
}

fn v2(core: &Core, served: &Served, protobuf: bool) -> Document {
    let about = if protobuf { "v2 protobuf" } else { "v2" };
    let versions = group_versions(served);
    let others = core.aggregator.openapi_v2();
    let make = || {
        let listed: Vec<Vec<OpenApiKind>> =
            versions.iter().map(|(group, version)| kinds(served, group, version, core.minor).0).collect();
        let groups = versions.iter().zip(&listed);
        let groups: Vec<OpenApiGroup<'_>> =
            groups.map(|((group, version), kinds)| OpenApiGroup { group, version, kinds }).collect();
        let mut document = openapi_v2(&groups, core.minor);
        for other in others.iter().filter_map(|text| serde_json::from_slice(text).ok()) {
            merge_openapi_v2(&mut document, other);
        }
        if protobuf { Document::of(openapi_v2_protobuf(&document).into()) } else { Document::new(&document) }
    };
    if !others.is_empty() || served.resources().any(|resource| matches!(resource.strategy, Strategy::Custom(_))) {
        return core.documents.keep(core.generation(served), about, make);
    }
    let mut shared = shared().lock().unwrap_or_else(PoisonError::into_inner);
    shared.entry((core.minor, about.to_owned())).or_insert_with(make).clone()
}

/// The document of a version whose server publishes v2 alone.
fn v3_from_v2(core: &Core, served: &Served, group: &str, version: &str, protobuf: bool) -> Option<Document> {
    let text = core.aggregator.v2_instead_of_v3(group, version)?;
    let make = || openapi_v3_of_v2(&serde_json::from_slice(&text).unwrap_or_default());
    let generation = core.generation(served);
    let about = format!("{group}/{version} from v2");
    let document = core.documents.get(generation, &about, make);
    Some(match protobuf {
        true => core.documents.keep(generation, &format!("{about} protobuf"), || document.in_protobuf(&make())),
        false => document,
    })
}

/// The documents above the versions: the roots, and groups.
fn v3_root(core: &Core, served: &Served, about: &str, protobuf: bool) -> Option<Document> {
    if !is_root(served, about) {
        return None;
    }
    let value = openapi_v3_root(about, core.minor)?;
    let document = core.documents.get(core.generation(served), &about_key(about), || value.clone());
    Some(if protobuf { document.in_protobuf(&value) } else { document })
}

fn is_root(served: &Served, about: &str) -> bool {
    match about.strip_prefix("apis/") {
        Some(group) => !group.is_empty() && !served.versions(group).is_empty(),
        None => ["api", "apis"].contains(&about) || OPENAPI_ABOUT_THE_SERVER.contains(&about),
    }
}

/// Whether this server has the v3 document of a place itself.
pub(super) fn has_v3(core: &Core, place: &str) -> bool {
    let served = core.registry.served();
    match version_at(place) {
        Some((group, version)) => {
            served.serves_version(group, version) || core.aggregator.v2_instead_of_v3(group, version).is_some()
        }
        None => is_root(&served, place),
    }
}

/// Apart from the documents of discovery, which are kept in the same place.
fn about_key(about: &str) -> String {
    format!("v3 {about}")
}

/// Where every v3 document is, by place.
fn v3_index(core: &Core, served: &Served) -> Document {
    core.documents.get(core.generation(served), "v3", || {
        let versions = group_versions(served);
        let mut roots = vec!["api".to_owned(), "apis".to_owned()];
        roots.extend(OPENAPI_ABOUT_THE_SERVER.map(str::to_owned));
        roots.extend(versions.iter().filter(|(group, _)| !group.is_empty()).map(|(group, _)| format!("apis/{group}")));
        roots.dedup();
        let url = |place: &str, hash: &str| json!({"serverRelativeURL": format!("/openapi/v3/{place}?hash={hash}")});
        let mut paths = serde_json::Map::new();
        for (group, version) in &versions {
            let place = place(group, version);
            let url = url(&place, &v3(core, served, group, version, false).hash);
            paths.insert(place, url);
        }
        for (group, version) in core.aggregator.without_v3() {
            if let Some(document) = v3_from_v2(core, served, &group, &version, false) {
                let place = place(&group, &version);
                let url = url(&place, &document.hash);
                paths.entry(place).or_insert(url);
            }
        }
        for (place, url) in core.aggregator.openapi_v3() {
            paths.entry(place).or_insert_with(|| json!({"serverRelativeURL": url}));
        }
        for about in roots {
            if let Some(document) = openapi_v3_root(&about, core.minor) {
                let url = url(&about, &Document::new(&document).hash);
                paths.insert(about, url);
            }
        }
        json!({"paths": paths})
    })
}

/// `api/v1`, `apis/apps/v1`.
fn place(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The form of a document that a client likes best, of those that there are.
fn media_type(accept: &str, protobuf: [&'static str; 2]) -> Option<&'static str> {
    if accept.is_empty() {
        return Some(JSON);
    }
    negotiate::ranges(accept).into_iter().find_map(|range| match range.media {
        "*/*" | "application/*" | JSON => Some(JSON),
        asked if protobuf.contains(&asked) => Some(protobuf[0]),
        _ => None,
    })
}

/// Whether a client has what this tag is of.
fn is_known(parts: &Parts, tag: &str) -> bool {
    let values = parts.headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|own| own == "*" || own.trim_start_matches("W/") == tag)
}

pub(super) fn answer(core: &Arc<Core>, path: &str, parts: &Parts, accept: &str, gzip: bool) -> Option<Response<Body>> {
    let rest = path.strip_prefix("/openapi/")?;
    let served = core.registry.served();
    let place = rest.strip_prefix("v3/");
    let protobuf = if rest == "v2" { PROTOBUF_V2 } else { PROTOBUF_V3 };
    // The index of the v3 documents is JSON whatever is asked for, and what is not there is in no form.
    let is_index = rest == "v3";
    let is_there = match place {
        Some(place) => has_v3(core, place),
        None => is_index || rest == "v2",
    };
    if !is_there {
        return None;
    }
    let content_type = if is_index { Some(JSON) } else { media_type(accept, protobuf) };
    let Some(content_type) = content_type else {
        let mut response = respond::empty(StatusCode::NOT_ACCEPTABLE);
        response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
        return Some(response);
    };
    let protobuf = content_type == protobuf[0];
    let document = match place {
        Some(place) => v3_at(core, &served, place, protobuf)?,
        None if is_index => v3_index(core, &served),
        None => v2(core, &served, protobuf),
    };
    let query = query_pairs(parts.uri.query().unwrap_or(""));
    let hash = query.iter().find(|(name, value)| place.is_some() && name == "hash" && !value.is_empty());
    if let (Some((_, hash)), Some(place)) = (hash, place)
        && *hash != document.hash
    {
        // It has changed since the client was told of it.
        let mut response = respond::empty(StatusCode::MOVED_PERMANENTLY);
        let url = format!("/openapi/v3/{place}?hash={}", document.hash);
        let headers = response.headers_mut();
        headers.insert(LOCATION, HeaderValue::from_str(&url).ok()?);
        headers.append(VARY, HeaderValue::from_static("Accept"));
        headers.insert(ETAG, HeaderValue::from_str(&format!("\"{}\"", document.hash)).ok()?);
        return Some(response);
    }
    let tag = format!("\"{}\"", document.hash);
    let mut response = match is_known(parts, &tag) {
        true => respond::empty(StatusCode::NOT_MODIFIED),
        false => respond::compressed(StatusCode::OK, content_type, document.bytes, gzip),
    };
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Accept"));
    headers.insert(ETAG, HeaderValue::from_str(&tag).ok()?);
    if hash.is_some() {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        headers.insert(EXPIRES, HeaderValue::from_str(&respond::http_date(core.world.now() + YEAR)).ok()?);
    }
    Some(response)
}

/// The group and version that a place is of.
fn version_at(place: &str) -> Option<(&str, &str)> {
    let version = place.strip_prefix("api/").map(|version| ("", version));
    version.or_else(|| place.strip_prefix("apis/").and_then(|rest| rest.split_once('/')))
}

/// The v3 document of a place, if that is served.
fn v3_at(core: &Core, served: &Served, place: &str, protobuf: bool) -> Option<Document> {
    match version_at(place) {
        Some((group, version)) if served.serves_version(group, version) => {
            Some(v3(core, served, group, version, protobuf))
        }
        Some((group, version)) => v3_from_v2(core, served, group, version, protobuf),
        None => v3_root(core, served, place, protobuf),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_comes_in_the_form_that_is_liked_best() {
        for forms in [PROTOBUF_V2, PROTOBUF_V3] {
            let [protobuf, asked] = forms;
            let cases = [
                (String::new(), Some(JSON)),
                ("*/*".to_owned(), Some(JSON)),
                ("text/html".to_owned(), None),
                (asked.to_owned(), Some(protobuf)),
                (protobuf.to_owned(), Some(protobuf)),
                (format!("{JSON},{asked}"), Some(JSON)),
                (format!("{JSON};q=0.5,{asked}"), Some(protobuf)),
                (format!("text/html,{asked},*/*"), Some(protobuf)),
            ];
            for (accept, expected) in cases {
                assert_eq!(media_type(&accept, forms), expected, "{accept}");
            }
        }
        assert_eq!(media_type(PROTOBUF_V2[1], PROTOBUF_V3), None, "each has a form of its own");
    }
}
