//! What create, update and patch share: reading a body, completing and judging an object, storing it.

use std::sync::Arc;

use bytes::Bytes;
use k8s_client::{Body, PatchType};
use k8s_kinds::{Scope, names};
use k8s_object::{ApiError, Cause, NamespacedName, Object};
use serde_json::{Value, json};
use store::Revision;

use crate::core::{Call, MAX_OBJECT_BYTES, MAX_REQUEST_BYTES};
use crate::registry::Strategy;
use crate::schema::{self, FieldValidation};
use crate::storage::{self, Claims, Written};
use crate::{crd, kind_rules, metadata, network, yaml};

/// Built-in groups whose objects take finalizers that do not say whose they are, as custom ones do.
const BARE_FINALIZERS: [&str; 3] = ["admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io"];
/// Warnings about fields of one request; more say nothing new.
const MAX_FIELD_WARNINGS: usize = 64;

/// What a strict reader wants to know about the text that an object was read from.
#[derive(Clone, Default)]
pub(crate) struct Text {
    /// `duplicate field "…"` for each field that stood there twice.
    pub duplicates: Vec<String>,
    /// `line 3: key "…" already set in map`, where the text is YAML.
    pub repeated: Vec<String>,
    /// The text itself, where problems are told in its order.
    pub document: Bytes,
}

/// A body as a value.
pub(crate) fn parse(body: Body) -> Result<(Value, Text), ApiError> {
    match body {
        Body::None => Err(ApiError::bad_request("the request has no body")),
        Body::Json(value) => Ok((value, Text::default())),
        Body::Bytes(bytes) if bytes.len() > MAX_REQUEST_BYTES => Err(ApiError::too_large(MAX_REQUEST_BYTES)),
        Body::Bytes(bytes) => {
            let (value, duplicates) = schema::decode_json(&bytes)?;
            Ok((value, Text { duplicates, document: bytes, repeated: Vec::new() }))
        }
        Body::Yaml(bytes) => {
            let yaml::Read { value, repeated } = yaml::decode(&bytes)?;
            Ok((value, Text { repeated, ..Text::default() }))
        }
    }
}

/// Checks that the body is of the resource's kind, and brings it into its type: unknown fields go (and are told as the request
/// wants it), values have their fields' types, nulls that mean "absent" go.
pub(crate) fn conform(call: &mut Call<'_>, object: &mut Value, text: Text) -> Result<(), ApiError> {
    let resource = call.resource.clone();
    let map = object.as_object().ok_or_else(|| ApiError::bad_request("the object provided is not a JSON object"))?;
    let expected = resource.api_version();
    let own =
        |map: &serde_json::Map<String, Value>, key: &str| map.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let (version, kind) = (own(map, "apiVersion"), own(map, "kind"));
    let is_custom = matches!(resource.strategy, Strategy::Custom(_));
    // What was read as text says itself what it is, where no type says it.
    let is_read = is_custom && !text.document.is_empty();
    if is_read && kind.is_empty() {
        return Err(ApiError::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: Object 'Kind' is missing in '{}'",
            resource.kind,
            resource.version,
            resource.kind,
            String::from_utf8_lossy(&text.document)
        )));
    }
    // The core group has no name, which may be said too.
    if version.strip_prefix('/').unwrap_or(&version) != expected && (is_read || !version.is_empty()) {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({expected})"
        )));
    }
    if is_custom && !kind.is_empty() {
        crd::type_of(&resource, &kind, object)?;
    } else if !kind.is_empty() && kind != resource.kind {
        return Err(ApiError::bad_request(format!(
            "{kind} in version {:?} cannot be handled as a {}: the kind in the data does not match the resource",
            resource.version, resource.kind
        )));
    }
    metadata::of(object)?;
    object["apiVersion"] = json!(expected);
    object["kind"] = json!(resource.kind);
    let validation = call.field_validation()?;
    let mut problems = text.duplicates;
    let mut unknown = resource.schema.prune(object);
    if is_custom {
        unknown.sort_by_key(|problem| metadata_rank(problem));
    }
    problems.extend(unknown);
    // Upstream reads built-in kinds and notices both on the way; what is unknown of a custom one is found afterwards.
    if problems.len() > 1 && !is_custom && !text.document.is_empty() {
        k8s_schema::sort_as_in_text(&text.document, &mut problems);
    }
    let repeated = text.repeated;
    if !problems.is_empty() || !repeated.is_empty() {
        match validation {
            FieldValidation::Ignore => {}
            FieldValidation::Warn => {
                call.warnings.extend(repeated.into_iter().chain(problems).take(MAX_FIELD_WARNINGS));
            }
            FieldValidation::Strict => {
                problems.truncate(MAX_FIELD_WARNINGS);
                if !repeated.is_empty() {
                    problems.insert(0, yaml::told_together(&repeated));
                }
                return Err(ApiError::bad_request(format!(
                    "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
                    resource.kind,
                    resource.version,
                    resource.kind,
                    problems.join(", ")
                )));
            }
        }
    }
    resource.schema.check_types(object, &resource.kind, &resource.version)?;
    if is_custom {
        crd::coerce(&resource, object)?;
    }
    resource.schema.drop_nulls(object);
    metadata::tidy(metadata::of(object)?);
    if resource.is_virtual() {
        metadata::of(object)?.remove("managedFields");
    }
    Ok(())
}

/// Upstream looks first at the metadata of a custom resource, then at what its schema describes, then at the metadata of objects in it.
fn metadata_rank(unknown: &str) -> u8 {
    match unknown.split_once('"').map_or("", |(_, path)| path) {
        path if path.starts_with("metadata.") => 0,
        path if path.contains(".metadata.") => 2,
        _ => 1,
    }
}

/// Fills defaults, of the schema and of the kind.
pub(crate) fn default(call: &Call<'_>, object: &mut Value, old: Option<&Value>) {
    call.resource.schema.default(object);
    if let Some(kind) = call.builtin() {
        (kind.default)(object, &call.kind_context(old));
    }
}

/// Judges a completed object.
pub(crate) fn validate(call: &mut Call<'_>, object: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    let context = call.kind_context(old);
    let scope = if call.resource.namespaced { Scope::Namespaced } else { Scope::Cluster };
    let (rule, mut warnings): (names::Rule, Vec<String>) = match &call.resource.strategy {
        Strategy::Builtin(kind) => (kind.name_rule(context.minor), (kind.warnings)(object, &context)),
        Strategy::Custom(_) => (names::subdomain, crd::warnings(object, old)),
    };
    let mut causes = names::metadata(object, scope, rule, &context);
    if call.builtin().is_some_and(|kind| !BARE_FINALIZERS.contains(&kind.group)) {
        causes.extend(names::finalizers_say_whose_they_are(object));
    }
    let is_custom = call.builtin().is_none();
    let declared = match old.filter(|_| is_custom && context.subresource == "status") {
        Some(old) => call.resource.schema.validate_status(object, old),
        None => call.resource.schema.validate(object, old),
    };
    if let Strategy::Builtin(kind) = &call.resource.strategy {
        causes.extend((kind.validate)(object, &context).into_iter().map(|mut cause| {
            // Upstream writes the path of the object itself, an element without a name, as an empty index.
            if cause.field.is_empty() {
                cause.field = "[]".to_owned();
            }
            cause
        }));
    }
    // What the types declare is told only where the kind's own rules do not tell the same.
    let told = causes.len();
    for cause in declared {
        let same = |known: &Cause| (&known.field, &known.reason) == (&cause.field, &cause.reason);
        if !causes[..told].iter().any(same) {
            causes.push(cause);
        }
    }
    if is_custom {
        causes.extend(crd::judge(&call.resource, context.subresource, object, context.minor, context.now));
    }
    kind_rules::judge(call, object, old, &mut causes);
    if crd::is_definition(&call.resource.group, &call.resource.plural) {
        causes.extend(crd::validate(object, old, call.core.minor));
    }
    if causes.is_empty() {
        // Who is refused is not warned.
        call.warnings.append(&mut warnings);
        return Ok(());
    }
    let name = metadata::text(object, "name");
    Err(ApiError::invalid(call.resource.kind_group(), &call.resource.kind, name, causes))
}

/// The form in which an object is stored: in the storage version, without its resourceVersion, with the text of its
/// `managedFields`.
pub(crate) async fn encode(call: &Call<'_>, object: &mut Value, managed: Option<&str>) -> Result<Bytes, ApiError> {
    metadata::of(object)?.remove("resourceVersion");
    let stored = call.entry.stored();
    let encode = |object: &Value| {
        let bytes = k8s_object::encode_with(object, managed);
        // Upstream would rather forget the owners of fields than refuse the object, but not to who applies and so is about them.
        let applies = call.request.patch == Some(PatchType::Apply);
        let forgets = bytes.len() > MAX_OBJECT_BYTES && managed.is_some() && !applies;
        if forgets { k8s_object::encode(object) } else { bytes }
    };
    let bytes = if Arc::ptr_eq(stored, &call.resource) {
        encode(object)
    } else {
        let mut object = object.clone();
        crd::convert::value(call.core, stored, &mut object).await?;
        if let Some(conversion) = call.resource.conversion() {
            (conversion.to_storage)(&mut object);
        }
        object["apiVersion"] = json!(stored.api_version());
        encode(&object)
    };
    if bytes.len() > MAX_OBJECT_BYTES {
        return Err(storage::too_large(bytes.len()));
    }
    Ok(Bytes::from(bytes))
}

/// The key under which an object of the request's resource is stored.
pub(crate) fn store_key(call: &Call<'_>, key: &NamespacedName) -> Bytes {
    let stored = call.entry.stored();
    storage::key(&stored.group, &stored.plural, key)
}

/// Whether an object is worth being written though nothing of it changes: it is not encrypted as it should be.
pub(crate) async fn is_stale(call: &Call<'_>, key: &NamespacedName) -> Result<bool, ApiError> {
    let stored = call.entry.stored();
    let store_key = store_key(call, key);
    call.core.encryption.is_stale(call.space, &stored.group, &stored.plural, &store_key).await
}

/// What became of a write.
pub(crate) enum Stored {
    Done(Arc<Object>),
    /// The object is not at the expected revision, or what it claims is taken; caches are current again.
    Conflict,
}

/// Stores `bytes` under the object's key if it was last written at `expected` (0: does not exist) and what it claims beside is
/// free.
pub(crate) async fn store(
    call: &Call<'_>,
    key: &NamespacedName,
    bytes: Bytes,
    expected: Revision,
    mut claims: Claims,
) -> Result<Stored, ApiError> {
    let core = call.core;
    let lease = match (call.resource.group.as_str(), call.resource.plural.as_str()) {
        ("" | "events.k8s.io", "events") => Some(core.event_leases.current(core).await?),
        _ => None,
    };
    let store_key = store_key(call, key);
    let (group, plural) = (&call.entry.stored().group, &call.entry.stored().plural);
    let sealed = core.encryption.seal(group, plural, &store_key, &bytes).await?;
    claims.seal(&core.encryption).await?;
    let began = core.world.elapsed();
    let written = storage::put(call.space, store_key, sealed, expected, lease, claims).await;
    let operation = if expected == 0 { "create" } else { "update" };
    core.metrics.stored(operation, group, plural, core.world.elapsed().saturating_sub(began), &written);
    match written? {
        Written::Done(revision) => {
            core.reach(revision).await;
            let cached = call.entry.cache.get(key);
            let cached = cached.filter(|object| object.meta().resource_version == revision.to_string());
            let object = match cached {
                Some(object) => object,
                // Somebody wrote again in between: the answer is still the state of this write.
                None => read(call, Object::from_stored(bytes, revision).map_err(ApiError::internal)?),
            };
            call.versioned(object).await.map(Stored::Done)
        }
        Written::Conflict(revision) => {
            core.reach(revision).await;
            Ok(Stored::Conflict)
        }
    }
}

/// Removes an object if it was last written at `expected`.
pub(crate) async fn remove(
    call: &Call<'_>,
    key: &NamespacedName,
    expected: Revision,
) -> Result<Option<Revision>, ApiError> {
    let store_key = store_key(call, key);
    let claims = network::release(call, key);
    let (stored, world, began) = (call.entry.stored(), &call.core.world, call.core.world.elapsed());
    let written = storage::delete(call.space, store_key, expected, claims).await;
    let took = world.elapsed().saturating_sub(began);
    call.core.metrics.stored("delete", &stored.group, &stored.plural, took, &written);
    match written? {
        Written::Done(revision) => {
            call.core.reach(revision).await;
            Ok(Some(revision))
        }
        Written::Conflict(revision) => {
            call.core.reach(revision).await;
            Ok(None)
        }
    }
}

/// The revision of an object.
pub(crate) fn revision(object: &Object) -> Result<Revision, ApiError> {
    object.meta().resource_version.parse().map_err(|_| ApiError::internal("a cached object has no resourceVersion"))
}

/// An object that was not stored (dry run), in its encoded form, as an answer.
pub(crate) async fn unstored(call: &Call<'_>, bytes: Bytes, revision: &str) -> Result<Arc<Object>, ApiError> {
    let object = match revision.parse::<Revision>() {
        Ok(revision) => Object::from_stored(bytes, revision),
        Err(_) => Object::from_json(bytes),
    };
    call.versioned(read(call, object.map_err(ApiError::internal)?)).await
}

/// An object in its stored form as the caches would have it.
fn read(call: &Call<'_>, object: Object) -> Arc<Object> {
    match crd::differs(call.entry.stored()) {
        true => crd::as_read(&call.entry.versions, Arc::new(object)),
        false => Arc::new(object),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_metadata_of_custom_resources_comes_first_and_that_of_embedded_objects_last() {
        let mut unknown = ["metadata.x", "spec.a", "spec.object.metadata.y", "spec.ports[0].b"]
            .map(|path| format!("unknown field {path:?}"));
        unknown.sort_by_key(|problem| metadata_rank(problem));
        let paths = unknown.map(|problem| problem["unknown field ".len()..].trim_matches('"').to_owned());
        assert_eq!(paths, ["metadata.x", "spec.a", "spec.ports[0].b", "spec.object.metadata.y"]);
    }
}
