//! OpenAPI documents, made when they are first asked for. Those of built-in groups are shared by all clusters of a minor; what
//! custom resources add is kept until the set of resources changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::header::{ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, Response, StatusCode};
use k8s_schema::{OpenApiGroup, OpenApiKind, openapi_v2, openapi_v2_protobuf, openapi_v3};
use serde_json::{Value, json};
use serve::Body;
use sha2::{Digest, Sha256};

use super::{negotiate, respond};
use crate::core::Core;
use crate::registry::{Resource, Served, Strategy};

const JSON: &str = "application/json";
/// The protobuf form of the v2 document.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// What kubectl calls it. It is no valid media type, and kubectl itself cannot read it as a Content-Type.
const PROTOBUF_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// A document and its hash.
#[derive(Clone)]
struct Document {
    bytes: Bytes,
    hash: String,
}

impl Document {
    fn new(value: &Value) -> Document {
        Document::of(value.to_string().into())
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
    fn get(&self, generation: u64, about: &str, make: impl FnOnce() -> Value) -> Document {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if own.0 != generation {
            *own = (generation, BTreeMap::new());
        }
        own.1.entry(about.to_owned()).or_insert_with(|| Document::new(&make())).clone()
    }
}

fn kinds(served: &Served, group: &str, version: &str) -> (Vec<OpenApiKind>, bool) {
    let mut custom = false;
    let resources = served.resources().filter(|resource| resource.group == group && resource.version == version);
    let kinds = resources.filter_map(|resource| {
        custom |= matches!(resource.strategy, Strategy::Custom(_));
        Some(OpenApiKind {
            kind: resource.kind.clone(),
            plural: resource.plural.clone(),
            namespaced: resource.namespaced,
            type_name: type_name(resource),
            schema: resource.schema.0.clone()?,
        })
    });
    (kinds.collect(), custom)
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

fn v3(core: &Core, served: &Served, group: &str, version: &str) -> Document {
    let (kinds, custom) = kinds(served, group, version);
    let about = format!("{group}/{version}");
    let make = || openapi_v3(group, version, &kinds, core.minor);
    if custom {
        return core.documents.get(served.generation, &about, make);
    }
    let mut shared = shared().lock().unwrap_or_else(PoisonError::into_inner);
    shared.entry((core.minor, about)).or_insert_with(|| Document::new(&make())).clone()
}

fn v2(core: &Core, served: &Served) -> Document {
    let versions = group_versions(served);
    let listed: Vec<(Vec<OpenApiKind>, bool)> =
        versions.iter().map(|(group, version)| kinds(served, group, version)).collect();
    let groups: Vec<OpenApiGroup<'_>> = versions
        .iter()
        .zip(&listed)
        .map(|((group, version), (kinds, _))| OpenApiGroup { group, version, kinds })
        .collect();
    let make = || openapi_v2(&groups, core.minor);
    if listed.iter().any(|(_, custom)| *custom) {
        return core.documents.get(served.generation, "v2", make);
    }
    let mut shared = shared().lock().unwrap_or_else(PoisonError::into_inner);
    shared.entry((core.minor, "v2".to_owned())).or_insert_with(|| Document::new(&make())).clone()
}

/// `api/v1`, `apis/apps/v1`.
fn place(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The form of the v2 document that a client likes best; JSON for those who name none that there is.
fn v2_type(accept: &str) -> &'static str {
    let known = |range: negotiate::Range<'_>| match range.media {
        "*/*" | "application/*" | JSON => Some(JSON),
        PROTOBUF | PROTOBUF_ASKED => Some(PROTOBUF),
        _ => None,
    };
    negotiate::ranges(accept).into_iter().find_map(known).unwrap_or(JSON)
}

pub(super) fn answer(
    core: &Arc<Core>,
    path: &str,
    headers: &HeaderMap,
    accept: &str,
    gzip: bool,
) -> Option<Response<Body>> {
    let rest = path.strip_prefix("/openapi/")?;
    let served = core.registry.served();
    let content_type = if rest == "v2" { v2_type(accept) } else { JSON };
    let document = match rest {
        "v2" if content_type == JSON => v2(core, &served),
        "v2" => Document::of(openapi_v2_protobuf(core.minor).into()),
        "v3" => {
            let paths = group_versions(&served).into_iter().map(|(group, version)| {
                let place = place(&group, &version);
                let url = format!("/openapi/v3/{place}?hash={}", v3(core, &served, &group, &version).hash);
                (place, json!({"serverRelativeURL": url}))
            });
            let theirs = core.aggregator.openapi().into_iter();
            let theirs = theirs.map(|(place, url)| (place, json!({"serverRelativeURL": url})));
            let paths: serde_json::Map<String, Value> = paths.chain(theirs).collect();
            Document::new(&json!({"paths": paths}))
        }
        rest => {
            let place = rest.strip_prefix("v3/")?;
            let (group, version) = place
                .strip_prefix("api/")
                .map(|version| ("", version))
                .or_else(|| place.strip_prefix("apis/").and_then(|rest| rest.split_once('/')))?;
            if !served.serves_version(group, version) {
                return None;
            }
            v3(core, &served, group, version)
        }
    };
    let tag = format!("\"{}\"", document.hash);
    if headers.get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == tag.as_bytes()) {
        let mut response = Response::new(serve::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Some(response);
    }
    let mut response = respond::compressed(StatusCode::OK, content_type, document.bytes, gzip);
    if rest == "v2" {
        response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
    }
    if let Ok(value) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, value);
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_v2_document_comes_in_the_form_that_is_liked_best() {
        let asked = PROTOBUF_ASKED;
        let cases = [
            (String::new(), JSON),
            ("*/*".to_owned(), JSON),
            ("text/html".to_owned(), JSON),
            (asked.to_owned(), PROTOBUF),
            (PROTOBUF.to_owned(), PROTOBUF),
            (format!("{JSON},{asked}"), JSON),
            (format!("{JSON};q=0.5,{asked}"), PROTOBUF),
            (format!("text/html,{asked},*/*"), PROTOBUF),
        ];
        for (accept, expected) in cases {
            assert_eq!(v2_type(&accept), expected, "{accept}");
        }
    }
}
