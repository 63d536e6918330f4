//! update and patch: a new state of an object that is there.

use std::sync::Arc;

use k8s_apply::Managed;
use k8s_client::{Body, PatchType, Verb};
use k8s_object::{ApiError, Object, Reason};
use serde_json::{Value, json};

use crate::core::Call;
use crate::managed::Owners;
use crate::network::Reserved;
use crate::write::{self, Stored, Text};
use crate::{admission, apply, crd, create, managed, metadata, network, owner_references, schema};

/// How often a write without a resourceVersion is tried again when somebody else was faster. Upstream has no such limit but the
/// request's time; this one is for who has none.
pub(crate) const ATTEMPTS: usize = 1000;
pub(crate) const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// Replaces the object, or the part of it that a subresource is.
pub(crate) async fn update(call: &mut Call<'_>, body: Body) -> Result<Arc<Object>, ApiError> {
    let (mut new, text) = write::parse(body)?;
    write::conform(call, &mut new, text)?;
    check_names(call, &mut new)?;
    owner_references::sent(call, &mut new);
    if call.audit.has_objects() {
        // With its defaults, as upstream understands what it decodes.
        let mut understood = new.clone();
        write::default(call, &mut understood, None);
        call.audit.request_object(&understood);
    } else {
        call.audit.request_object(&new);
    }
    let conditional = !metadata::expected_version(&new).is_empty();
    let creates = call.request.subresource.is_empty() && call.builtin().is_some_and(|kind| kind.creates_on_update);
    for _ in 0..ATTEMPTS {
        let old = match call.current().await {
            Err(error) if creates && error.is_not_found() => match make(call, new.clone()).await {
                // Somebody else was faster: it is an update of theirs.
                Err(error) if error.reason == Reason::AlreadyExists => {
                    call.request.verb = Verb::Update;
                    continue;
                }
                made => return made,
            },
            old => old?,
        };
        if !conditional && must_be_conditional(call) {
            return Err(unconditional(call));
        }
        let attempted = if conditional { new.take() } else { new.clone() };
        if let Some(done) = replace(call, &old, attempted).await? {
            return Ok(done);
        }
        if conditional {
            break;
        }
    }
    Err(call.resource.conflict(&call.request.name, MODIFIED))
}

/// Creates what is not there yet, for those who may create.
async fn make(call: &mut Call<'_>, mut new: Value) -> Result<Arc<Object>, ApiError> {
    let uid = metadata::text(&new, "uid");
    if !uid.is_empty() {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: ");
        return Err(call.resource.conflict(&call.request.name, &why));
    }
    metadata::of(&mut new)?.remove("resourceVersion");
    // To create is another right than to update, and another operation for admission.
    call.request.verb = Verb::Create;
    call.aside.asks_to_create = true;
    create::complete(call, new, None).await
}

/// The refusal of an update that does not say which state it changes; upstream names the resource where the kind should stand.
fn unconditional(call: &Call<'_>) -> ApiError {
    let problem = "must be specified for an update";
    let mut cause = k8s_kinds::causes::invalid("metadata.resourceVersion", 0, problem);
    if call.core.minor < 34 {
        cause.message = format!("Invalid value: 0x0: {problem}");
    }
    ApiError::invalid(&call.resource.group, &call.resource.plural, &call.request.name, vec![cause])
}

fn must_be_conditional(call: &Call<'_>) -> bool {
    call.builtin().is_none_or(|kind| kind.updates_name_version)
}

/// The body must be the object that the path names.
fn check_names(call: &Call<'_>, new: &mut Value) -> Result<(), ApiError> {
    let (namespace, name) = (call.request.namespace.clone(), call.request.name.clone());
    let map = metadata::of(new)?;
    let own = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let (own_name, own_namespace) = (own("name"), own("namespace"));
    if own_name.is_empty() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if own_name != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({own_name}) does not match the name on the URL ({name})"
        )));
    }
    if call.resource.namespaced {
        if !own_namespace.is_empty() && own_namespace != namespace {
            return Err(ApiError::bad_request(format!(
                "the namespace of the object ({own_namespace}) does not match the namespace on the request ({namespace})"
            )));
        }
        map.insert("namespace".into(), json!(namespace));
    } else {
        map.remove("namespace");
    }
    Ok(())
}

/// Applies a patch.
pub(crate) async fn patch(call: &mut Call<'_>, body: Body) -> Result<Arc<Object>, ApiError> {
    let kind = call.request.patch.ok_or_else(|| ApiError::bad_request("a patch needs a type"))?;
    if kind == PatchType::Apply {
        return apply::apply(call, body).await;
    }
    let (patch, Text { mut duplicates, document, .. }) = write::parse(body)?;
    if kind == PatchType::Json {
        duplicates = operations(&patch, duplicates, &document);
    }
    let conditional = !metadata::expected_version(&patch).is_empty();
    // What is wrong with the patch comes first, whatever its text is like.
    let text = Text { duplicates, ..Text::default() };
    for _ in 0..ATTEMPTS {
        let warnings = call.warnings.len();
        let old = call.current().await?;
        let mut new = patched(call, &old, &patch, kind)?;
        if let Err(error) = write::conform(call, &mut new, text.clone()) {
            return Err(unfit(call, &old, &patch, kind, error));
        }
        check_patched_names(call, &mut new)?;
        if let Some(done) = replace(call, &old, new).await? {
            return Ok(done);
        }
        if conditional {
            break;
        }
        // Told once, however often it is tried.
        call.warnings.truncate(warnings);
    }
    Err(call.resource.conflict(&call.request.name, MODIFIED))
}

/// Members of operations that mean nothing, and what stands twice in them, in the words of upstream.
fn operations(patch: &Value, mut problems: Vec<String>, document: &[u8]) -> Vec<String> {
    for (index, operation) in patch.as_array().into_iter().flatten().enumerate() {
        let members = operation.as_object().into_iter().flatten().map(|(member, _)| member);
        let unknown = members.filter(|member| !["op", "path", "from", "value"].contains(&member.as_str()));
        problems.extend(unknown.map(|member| format!("unknown field {:?}", format!("[{index}].{member}"))));
    }
    if problems.len() > 1 {
        k8s_schema::sort_as_in_text(document, &mut problems);
    }
    problems.into_iter().map(|problem| format!("json patch {problem}")).collect()
}

/// What a client is told whose patch makes something that is no object of the kind.
fn unfit(call: &Call<'_>, old: &Object, patch: &Value, kind: PatchType, error: ApiError) -> ApiError {
    if error.reason != Reason::BadRequest {
        return error;
    }
    let made = patched(call, old, patch, kind).unwrap_or_default();
    let resource = &call.resource;
    let (value, unconvertible) = match kind {
        PatchType::Strategic => (k8s_apply::typed::as_go_prints(patch), resource.schema.unconvertible(&made)),
        _ => (made.to_string(), None),
    };
    let head =
        format!("{} in version {:?} cannot be handled as a {}: ", resource.kind, resource.version, resource.kind);
    let problem = unconvertible.as_deref().or(error.message.strip_prefix(&head)).unwrap_or(&error.message);
    let cause = k8s_kinds::causes::invalid("patch", value, problem);
    ApiError::invalid("", "", "", vec![cause])
}

fn patched(call: &Call<'_>, old: &Object, patch: &Value, kind: PatchType) -> Result<Value, ApiError> {
    // Owners of fields are read as a value only by patches that are about them.
    let original = if managed::patches(patch, kind) { old.value() } else { old.value_without_managed_fields() };
    match kind {
        PatchType::Json => k8s_schema::json_patch(&original, patch).map_err(schema::patch_error),
        PatchType::Merge => k8s_schema::merge_patch(&original, patch).map_err(schema::patch_error),
        PatchType::Strategic => call.resource.schema.strategic_merge(&original, patch),
        PatchType::Apply => Err(ApiError::internal("what is applied is no patch")),
    }
}

/// A patch cannot name another object.
pub(crate) fn check_patched_names(call: &Call<'_>, new: &mut Value) -> Result<(), ApiError> {
    let (namespace, name) = (&call.request.namespace, &call.request.name);
    let map = metadata::of(new)?;
    let own = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or("");
    let (own_name, own_namespace) = (own("name"), own("namespace"));
    if !namespace.is_empty() && !own_namespace.is_empty() && own_namespace != namespace {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(message));
    }
    if own_name.is_empty() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if own_name != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({own_name}) does not match the name on the URL ({name})"
        )));
    }
    match namespace.is_empty() {
        true => map.remove("namespace"),
        false => map.insert("namespace".into(), json!(namespace)),
    };
    Ok(())
}

/// Brings `old` to the state `new`. `None` when somebody else was faster.
pub(crate) async fn replace(
    call: &mut Call<'_>,
    old: &Arc<Object>,
    new: Value,
) -> Result<Option<Arc<Object>>, ApiError> {
    replace_owned(call, old, new, None).await
}

/// As [`replace`]; `owners` of fields are known if `new` is what somebody applies.
pub(crate) async fn replace_owned(
    call: &mut Call<'_>,
    old: &Arc<Object>,
    mut new: Value,
    owners: Option<Managed>,
) -> Result<Option<Arc<Object>>, ApiError> {
    let version = metadata::expected_version(&new);
    if !version.is_empty() && version != old.meta().resource_version {
        metadata::check_version(version)?;
        return Err(call.resource.conflict(&call.request.name, MODIFIED));
    }
    let uid = metadata::text(&new, "uid");
    if !uid.is_empty() && uid != old.meta().uid {
        // What is put names the object that it is meant for; a patch would change it.
        if call.request.patch.is_some() {
            let cause = k8s_kinds::causes::immutable("metadata.uid", &json!(uid));
            return Err(ApiError::invalid(&call.resource.group, &call.resource.kind, &call.request.name, vec![cause]));
        }
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", old.meta().uid);
        return Err(call.resource.conflict(&call.request.name, &why));
    }
    let before = old.value_without_managed_fields();
    {
        let map = metadata::of(&mut new)?;
        metadata::carry_over(map, &before);
        map.insert("resourceVersion".into(), json!(old.meta().resource_version));
    }
    write::default(call, &mut new, Some(&before));
    if owners.is_some() {
        // As what nobody applies is to find its owners: only so is it seen that nothing changes.
        call.resource.schema.canonicalise(&mut new);
    }
    let owners = managed::of_update(call, old, &before, &mut new, owners)?;
    admission::show_owners(call, owners.text(old).as_deref(), old.managed_fields());
    admission::admit(call, &mut new, Some(&before)).await?;
    owner_references::admitted(call, &mut new);
    let owners = managed::after_admission(call, &mut new).map_or(owners, Owners::Changed);
    let counts = match call.builtin() {
        Some(kind) => {
            (kind.prepare_update)(&mut new, &call.kind_context(Some(&before)));
            kind.has_generation && (kind.counts_as_change)(&before, &new)
        }
        None => {
            crd::prepare_update(&call.resource, &call.request.subresource, &mut new, &before);
            crd::counts_as_change(&call.resource, &before, &new)
        }
    };
    let guard = match crd::is_definition(&call.resource.group, &call.resource.plural) {
        true => crd::establish_alone(call, &mut new, Some(&before)).await?,
        false => None,
    };
    let mut reserved = network::reserve(call, &mut new, Some(&before))?;
    call.resource.schema.canonicalise(&mut new);
    if counts {
        let generation = before["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        metadata::of(&mut new)?.insert("generation".into(), json!(generation));
    }
    write::validate(call, &new, Some(&before))?;
    admission::judge(call, &new, Some(&before)).await?;
    let key = call.key();
    if new == before && owners.are_of(old) && !write::is_stale(call, &key).await? {
        return Ok(Some(old.clone()));
    }
    let expected = write::revision(old)?;
    let bytes = write::encode(call, &mut new, owners.text(old).as_deref()).await?;
    if call.request.options.dry_run {
        return write::unstored(call, bytes, &old.meta().resource_version).await.map(Some);
    }
    if is_complete(&new) {
        // The last finalizer has gone: so does the object.
        return Ok(match write::remove(call, &key, expected).await? {
            Some(revision) => Some(write::unstored(call, bytes, &revision.to_string()).await?),
            None => None,
        });
    }
    let mut claims = reserved.as_mut().map(Reserved::claims).unwrap_or_default();
    guard.into_iter().for_each(|guard| claims.guard(guard));
    let stored = write::store(call, &key, bytes, expected, claims).await;
    drop(reserved);
    Ok(match stored? {
        Stored::Done(object) => Some(object),
        Stored::Conflict => None,
    })
}

/// Whether an object whose deletion was asked for waits for nothing any more (apiserver `ShouldDeleteDuringUpdate`).
fn is_complete(object: &Value) -> bool {
    metadata::is_terminating(object)
        && object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && metadata::texts(object, "finalizers").is_empty()
        && !(object["kind"] == "Namespace"
            && object["apiVersion"] == "v1"
            && object["spec"]["finalizers"].as_array().is_some_and(|list| !list.is_empty()))
}
