//! delete and deletecollection: at once, after a time of grace, or when the last finalizer has gone.

use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Body, Options, Preconditions, Propagation, Reply};
use k8s_object::{ApiError, Object, Reason};
use k8s_schema::Schema;
use serde_json::{Value, json};

use crate::core::Call;
use crate::metadata::{self, FOREGROUND, ORPHAN};
use crate::select::Selection;
use crate::storage::Claims;
use crate::update::ATTEMPTS;
use crate::write::{self, Stored};
use crate::{admission, crd, schema, yaml};

/// Takes the options out of a `DeleteOptions` body; where there is one, the query's do not count (apiserver `DeleteResource`).
fn merge_body(options: &mut Options, body: Body, minor: u8) -> Result<(), ApiError> {
    let value = match body {
        Body::None => return Ok(()),
        Body::Bytes(bytes) if bytes.is_empty() => return Ok(()),
        Body::Bytes(bytes) => schema::decode_json(&bytes)?.0,
        Body::Json(value) => value,
        Body::Yaml(bytes) => yaml::decode(&bytes)?.value,
    };
    if let Some(kind) = value["kind"].as_str().filter(|kind| !["", "DeleteOptions"].contains(kind)) {
        return Err(ApiError::bad_request(format!("{kind} cannot be handled as a DeleteOptions")));
    }
    check_body(&value, minor)?;
    options.grace_period_seconds = value["gracePeriodSeconds"].as_i64();
    options.propagation = value["propagationPolicy"].as_str().map(parse_propagation).transpose()?;
    options.orphan_dependents = value["orphanDependents"].as_bool();
    let text = |field: &str| value["preconditions"][field].as_str().map(str::to_owned);
    options.preconditions = Preconditions { uid: text("uid"), resource_version: text("resourceVersion") };
    options.dry_run = value["dryRun"].as_array().is_some_and(|list| list.iter().any(|text| text == "All"));
    Ok(())
}

/// Refuses options that are no options: who asks for a dry run in words that nobody knows does not want the object gone.
fn check_body(value: &Value, minor: u8) -> Result<(), ApiError> {
    const TYPE: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
    if let Some(Err(mismatch)) = Schema::builtin(TYPE, minor).map(|schema| schema.check_types(value)) {
        // Upstream gives no reason.
        return Err(ApiError::new(Reason::InternalError, mismatch.to_string()).verbatim(500, ""));
    }
    let dry_run = value["dryRun"].as_array();
    if dry_run.is_some_and(|list| list.iter().any(|text| text != "All")) {
        let cause = k8s_kinds::causes::not_supported("dryRun", value["dryRun"].clone(), &["All"]);
        return Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", vec![cause]));
    }
    Ok(())
}

/// Refuses options that contradict each other.
fn check_options(options: &Options) -> Result<(), ApiError> {
    let (Some(_), Some(propagation)) = (options.orphan_dependents, options.propagation) else { return Ok(()) };
    let problem = "orphanDependents and deletionPropagation cannot be both set";
    let cause = k8s_kinds::causes::invalid("propagationPolicy", format!("{propagation:?}"), problem);
    Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", vec![cause]))
}

/// What becomes of the dependents, however it was asked for.
fn propagation(options: &Options) -> Option<Propagation> {
    let orphans = options.orphan_dependents;
    let older = orphans.map(|orphans| if orphans { Propagation::Orphan } else { Propagation::Background });
    options.propagation.or(older)
}

/// Tells who deletes Jobs without saying what becomes of their pods that these stay (registry `batch/job/storage`).
fn warn(call: &mut Call<'_>, options: &Options) {
    const PODS_STAY: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";
    if call.resource.is("batch", "jobs") && propagation(options).is_none() {
        call.warnings.push(PODS_STAY.to_owned());
    }
}

/// `Background`, `Foreground` or `Orphan`.
pub(crate) fn parse_propagation(text: &str) -> Result<Propagation, ApiError> {
    match text {
        "Background" => Ok(Propagation::Background),
        "Foreground" => Ok(Propagation::Foreground),
        "Orphan" => Ok(Propagation::Orphan),
        other => {
            let known = ["Foreground", "Background", "Orphan", "nil"];
            let cause = k8s_kinds::causes::not_supported("propagationPolicy", other, &known);
            Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", vec![cause]))
        }
    }
}

/// Deletes the object that the request names.
pub(crate) async fn delete(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    merge_body(&mut call.request.options, body, call.core.minor)?;
    let options = call.request.options.clone();
    check_options(&options)?;
    warn(call, &options);
    let name = call.request.name.clone();
    let reply = delete_named(call, &name, &options).await?;
    // Only those who asked in the older way are told that it takes longer; others are not used to it.
    call.aside.deletes_later = options.orphan_dependents == Some(false) && !call.aside.removed;
    Ok(reply)
}

/// Deletes every object that the request selects; answers with what they were.
pub(crate) async fn delete_collection(call: &mut Call<'_>, body: Body) -> Result<Reply, ApiError> {
    merge_body(&mut call.request.options, body, call.core.minor)?;
    check_options(&call.request.options)?;
    let options = Options { preconditions: Preconditions::default(), ..call.request.options.clone() };
    warn(call, &options);
    let selection = Selection::of(call)?;
    let selected: Vec<Arc<Object>> = {
        let state = call.entry.cache.read();
        let held = state.range(selection.namespace(), None).filter(|(_, held)| selection.selects(held));
        held.map(|(_, held)| held.object.clone()).collect()
    };
    let mut selected = crd::convert::objects(call.core, &call.resource, selected).await?;
    selected.retain(|object| selection.selects_late(object));
    for object in &selected {
        call.request.namespace = object.meta().namespace.clone();
        call.request.name = object.meta().name.clone();
        let name = object.meta().name.clone();
        match delete_named(call, &name, &options).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    let resource_version = call.core.revision().to_string();
    Ok(Reply::List { items: selected.into(), resource_version, continue_token: String::new(), remaining: None })
}

async fn delete_named(call: &mut Call<'_>, name: &str, options: &Options) -> Result<Reply, ApiError> {
    call.request.name = name.to_owned();
    for _ in 0..ATTEMPTS {
        let old = call.current().await?;
        check_preconditions(call, &old, &options.preconditions)?;
        admission::judge_delete(call, &old).await?;
        if let Some(reply) = attempt(call, &old, options).await? {
            return Ok(reply);
        }
    }
    Err(call.resource.conflict(name, "the object keeps changing while it is to be deleted; please try again"))
}

fn check_preconditions(call: &Call<'_>, old: &Object, preconditions: &Preconditions) -> Result<(), ApiError> {
    let checks = [
        ("UID", &preconditions.uid, &old.meta().uid),
        ("ResourceVersion", &preconditions.resource_version, &old.meta().resource_version),
    ];
    for (what, wanted, own) in checks {
        if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != own) {
            let changed = match what {
                "UID" => "deleted and then recreated",
                _ => "modified",
            };
            let why = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({own}). The object might have been {changed}"
            );
            // Upstream names the kind where it otherwise names the resource.
            return Err(ApiError::conflict(call.resource.kind_group(), &call.resource.kind, &old.meta().name, &why));
        }
    }
    Ok(())
}

/// One try; `None` when the object changed under it.
async fn attempt(call: &mut Call<'_>, old: &Arc<Object>, options: &Options) -> Result<Option<Reply>, ApiError> {
    let before = old.value_without_managed_fields();
    let mut new = before.clone();
    // Less than nothing is taken for the least.
    let asked = options.grace_period_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    let grace = call.builtin().map_or(0, |kind| (kind.grace_period)(&before, old.meta(), asked)).max(0);
    set_finalizers(call, &mut new, propagation(options))?;
    let waits = !metadata::texts(&new, "finalizers").is_empty() || crd::is_waiting(call, &before);
    let terminating = old.meta().is_terminating();
    let pending_grace = old.meta().deletion_grace_period_seconds.unwrap_or(0);
    if !waits && (grace == 0 || (terminating && pending_grace == 0)) {
        return remove(call, old).await;
    }
    mark(call, &mut new, terminating, pending_grace, grace)?;
    if new == before {
        return Ok(Some(Reply::Object(old.clone())));
    }
    let (key, expected) = (call.key(), write::revision(old)?);
    let bytes = write::encode(call, &mut new, old.managed_fields()).await?;
    if options.dry_run {
        return Ok(Some(Reply::Object(write::unstored(call, bytes, &old.meta().resource_version).await?)));
    }
    Ok(match write::store(call, &key, bytes, expected, Claims::default()).await? {
        Stored::Done(object) => Some(Reply::Object(object)),
        Stored::Conflict => None,
    })
}

/// Adds and takes the garbage collector's finalizers as the policy says (apiserver `deletionFinalizersForGarbageCollection`).
fn set_finalizers(call: &Call<'_>, object: &mut Value, propagation: Option<Propagation>) -> Result<(), ApiError> {
    let mut finalizers = metadata::texts(object, "finalizers");
    let before = finalizers.clone();
    if let Some(policy) = propagation {
        finalizers.retain(|name| name != FOREGROUND && name != ORPHAN);
        match policy {
            Propagation::Background => {}
            Propagation::Foreground => finalizers.push(FOREGROUND.to_owned()),
            Propagation::Orphan => finalizers.push(ORPHAN.to_owned()),
        }
    } else if call.builtin().is_some_and(|kind| kind.orphans_by_default)
        && !finalizers.iter().any(|name| name == FOREGROUND || name == ORPHAN)
    {
        finalizers.push(ORPHAN.to_owned());
    }
    if crd::is_definition(&call.resource.group, &call.resource.plural)
        && !metadata::is_terminating(object)
        && !finalizers.iter().any(|name| name == crd::FINALIZER)
    {
        finalizers.push(crd::FINALIZER.to_owned());
    }
    if finalizers != before {
        let map = metadata::of(object)?;
        match finalizers.is_empty() {
            true => map.remove("finalizers"),
            false => map.insert("finalizers".into(), json!(finalizers)),
        };
    }
    Ok(())
}

/// Writes that deletion was asked for. A shorter grace wins over a longer one asked for before.
fn mark(
    call: &Call<'_>,
    object: &mut Value,
    terminating: bool,
    pending_grace: i64,
    grace: i64,
) -> Result<(), ApiError> {
    if terminating && grace >= pending_grace {
        return Ok(());
    }
    let seconds = u64::try_from(grace).unwrap_or(0);
    let counted = call.builtin().is_none_or(|kind| kind.has_generation);
    let generation = object["metadata"]["generation"].as_i64();
    let moment = match object["metadata"]["deletionTimestamp"].as_str() {
        // The moment of the first request plus the new grace.
        Some(first) => {
            let first = world::Timestamp::parse(first).unwrap_or(call.now);
            first - Duration::from_secs(u64::try_from(pending_grace).unwrap_or(0)) + Duration::from_secs(seconds)
        }
        None => call.now + Duration::from_secs(seconds),
    };
    let map = metadata::of(object)?;
    map.insert("deletionTimestamp".into(), json!(moment.to_string()));
    map.insert("deletionGracePeriodSeconds".into(), json!(grace));
    if let (true, false, Some(generation)) = (counted, terminating, generation) {
        map.insert("generation".into(), json!(generation + 1));
    }
    if call.resource.is("", "namespaces") {
        object["status"]["phase"] = json!("Terminating");
    }
    if crd::is_definition(&call.resource.group, &call.resource.plural) {
        crd::set_terminating(object, call.now);
    }
    Ok(())
}

async fn remove(call: &mut Call<'_>, old: &Arc<Object>) -> Result<Option<Reply>, ApiError> {
    call.aside.removed = true;
    let mut last = old.clone();
    if !call.request.options.dry_run {
        let Some(revision) = write::remove(call, &call.key(), write::revision(old)?).await? else { return Ok(None) };
        if call.builtin().is_some_and(|kind| kind.returns_deleted) {
            last = Arc::new(old.at_revision(revision).map_err(ApiError::internal)?);
        }
    }
    if call.builtin().is_some_and(|kind| kind.returns_deleted) {
        return Ok(Some(Reply::Object(last)));
    }
    let mut details = json!({"name": old.meta().name, "kind": call.resource.plural, "uid": old.meta().uid});
    if !call.resource.group.is_empty() {
        details["group"] = json!(call.resource.group);
    }
    Ok(Some(Reply::Value(json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    }))))
}
