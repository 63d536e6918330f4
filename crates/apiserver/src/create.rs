//! create: a new object under a name that nobody has.

use std::sync::Arc;

use bytes::Bytes;
use k8s_apply::Managed;
use k8s_client::Body;
use k8s_object::{ApiError, NamespacedName, Object, Reason};
use serde_json::{Value, json};

use crate::core::Call;
use crate::network::Reserved;
use crate::registry::Strategy;
use crate::storage::Guard;
use crate::write::{self, Stored};
use crate::{admission, crd, kind_rules, managed, metadata, network, owner_references};

/// How often a name is generated anew when it is taken (apiserver `maxNameGenerationCreateAttempts`).
const NAME_ATTEMPTS: usize = 8;
/// How often names of a definition are judged anew when another definition was given names meanwhile: as many may be made at once.
const DEFINITION_ATTEMPTS: usize = 64;

/// Creates the object in the body.
pub(crate) async fn create(call: &mut Call<'_>, body: Body) -> Result<Arc<Object>, ApiError> {
    let (mut object, text) = write::parse(body)?;
    write::conform(call, &mut object, text)?;
    complete(call, object, None).await
}

/// Creates an object of the resource's type; `owners` of its fields are known if it is what somebody applies.
pub(crate) async fn complete(
    call: &mut Call<'_>,
    mut object: Value,
    owners: Option<Managed>,
) -> Result<Arc<Object>, ApiError> {
    let owners = admit(call, &mut object, owners).await?;
    let generated = metadata::text(&object, "name").is_empty();
    // A Service may lose the address that it was given to one of another server, and a definition its names.
    let attempts = match crd::is_definition(&call.resource.group, &call.resource.plural) {
        true => DEFINITION_ATTEMPTS,
        false if generated || call.resource.is("", "services") => NAME_ATTEMPTS,
        false => 1,
    };
    for attempt in 1..=attempts {
        let last = attempt == attempts;
        // Kept only where there may be another attempt.
        let mut attempted = if last { object.take() } else { object.clone() };
        match finish(call, &mut attempted, owners.as_deref()).await? {
            Stored::Done(created) => return Ok(created),
            Stored::Conflict if last || (!generated && exists(call, &attempted)) => {
                let name = metadata::text(&attempted, "name");
                // Upstream takes every name for generated where there is a prefix beside it.
                let refusal = match metadata::text(&attempted, "generateName") {
                    "" => ApiError::already_exists,
                    _ => ApiError::generated_name_exists,
                };
                return Err(refusal(&call.resource.group, &call.resource.plural, name));
            }
            Stored::Conflict => {}
        }
    }
    unreachable!("the last attempt returns")
}

/// Puts a new object in its place, with its defaults and what plugins add; returns who owns its fields, as text.
async fn admit(call: &mut Call<'_>, object: &mut Value, owners: Option<Managed>) -> Result<Option<String>, ApiError> {
    if matches!(&call.resource.strategy, Strategy::Custom(custom) if custom.terminating) {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(call.resource.forbidden(metadata::text(object, "name"), why));
    }
    place(call, object)?;
    owner_references::sent(call, object);
    write::default(call, object, None);
    call.audit.request_object(object);
    let owners = managed::of_create(call, object, owners)?;
    admission::show_owners(call, owners.as_deref(), None);
    admission::wait(call, object).await;
    admission::admit(call, object, None).await?;
    owner_references::admitted(call, object);
    Ok(match managed::after_admission(call, object) {
        Some(said) => said.to_text(),
        None => owners,
    })
}

/// Whether the name is somebody's.
fn exists(call: &Call<'_>, object: &Value) -> bool {
    call.entry.cache.get(&key_of(object)).is_some()
}

fn key_of(object: &Value) -> NamespacedName {
    NamespacedName::new(metadata::text(object, "namespace"), metadata::text(object, "name"))
}

/// Puts the object where the path says.
fn place(call: &Call<'_>, object: &mut Value) -> Result<(), ApiError> {
    let namespaced = call.resource.namespaced;
    let path = call.request.namespace.clone();
    let name = call.request.name.clone();
    let map = metadata::of(object)?;
    // Nobody owns what only the server says.
    metadata::wipe(map);
    let own = map.get("namespace").and_then(Value::as_str).unwrap_or("").to_owned();
    if namespaced && path.is_empty() {
        return Err(ApiError::bad_request("an empty namespace may not be set during creation"));
    }
    if namespaced && !own.is_empty() && own != path {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(message));
    }
    if namespaced {
        map.insert("namespace".into(), json!(path));
    } else {
        map.remove("namespace");
    }
    if !name.is_empty() {
        map.insert("name".into(), json!(name));
    }
    // What is no version at all does not count, as upstream has it.
    let version = map.get("resourceVersion").and_then(Value::as_str).and_then(|version| version.parse::<u64>().ok());
    if version.is_none_or(|version| version == 0) {
        map.remove("resourceVersion");
    }
    Ok(())
}

/// A new object that has passed everything and only waits to be stored.
struct Ready {
    key: NamespacedName,
    bytes: Bytes,
    reserved: Option<Reserved>,
    guard: Option<Guard>,
    /// The version that was sent with it. Only what is not to be stored may have one.
    version: String,
}

/// Key and value under which the object in the body is to be stored, for who stores many at once. It has nothing that only one
/// object may have.
pub(crate) async fn prepared(call: &mut Call<'_>, body: Body) -> Result<(Bytes, Bytes), ApiError> {
    let (mut object, text) = write::parse(body)?;
    write::conform(call, &mut object, text)?;
    let owners = admit(call, &mut object, None).await?;
    let ready = judge(call, &mut object, owners.as_deref()).await?;
    let key = write::store_key(call, &ready.key);
    let stored = call.entry.stored();
    let sealed = call.core.encryption.seal(&stored.group, &stored.plural, &key, &ready.bytes).await?;
    Ok((key, sealed))
}

/// Fills what the server sets, and judges the object.
async fn judge(call: &mut Call<'_>, object: &mut Value, owners: Option<&str>) -> Result<Ready, ApiError> {
    let world = &call.core.world;
    let has_generation = call.builtin().is_none_or(|kind| kind.has_generation);
    let map = metadata::of(object)?;
    let prefix = map.get("generateName").and_then(Value::as_str).unwrap_or("").to_owned();
    if !map.contains_key("name") && !prefix.is_empty() {
        map.insert("name".into(), json!(metadata::generate_name(world, &prefix)));
    }
    let version =
        map.remove("resourceVersion").and_then(|version| version.as_str().map(str::to_owned)).unwrap_or_default();
    metadata::fill_new(map, world, has_generation);
    match call.builtin() {
        Some(kind) => {
            (kind.prepare_create)(object, &call.kind_context(None));
            kind_rules::prepare_create(call, object);
        }
        None => crd::prepare_create(&call.resource, object),
    }
    let guard = match crd::is_definition(&call.resource.group, &call.resource.plural) {
        true => crd::establish_alone(call, object, None).await?,
        false => None,
    };
    let reserved = network::reserve(call, object, None)?;
    call.resource.schema.canonicalise(object);
    write::validate(call, object, None)?;
    if call.aside.asks_to_create {
        call.core.authorize(call.user, &call.request).await?;
    }
    admission::judge(call, object, None).await?;
    if !version.is_empty() && !call.request.options.dry_run {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(ApiError::new(Reason::InternalError, message).verbatim(500, ""));
    }
    let key = key_of(object);
    let bytes = write::encode(call, object, owners).await?;
    Ok(Ready { key, bytes, reserved, guard, version })
}

async fn finish(call: &mut Call<'_>, object: &mut Value, owners: Option<&str>) -> Result<Stored, ApiError> {
    let Ready { key, bytes, mut reserved, guard, version } = judge(call, object, owners).await?;
    if call.request.options.dry_run {
        if call.entry.cache.get(&key).is_some() {
            return Ok(Stored::Conflict);
        }
        return write::unstored(call, bytes, &version).await.map(Stored::Done);
    }
    let mut claims = reserved.as_mut().map(Reserved::claims).unwrap_or_default();
    guard.into_iter().for_each(|guard| claims.guard(guard));
    let stored = write::store(call, &key, bytes, 0, claims).await;
    drop(reserved);
    stored
}
