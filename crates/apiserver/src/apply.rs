//! Server-side apply: what a manager wants of an object, created if it is not there, refused where another manager wants something
//! else.

use std::sync::Arc;

use k8s_apply::{Applied, ApplyError};
use k8s_client::{Body, Verb};
use k8s_object::{ApiError, Cause, Object, Reason};
use serde_json::Value;

use crate::core::{Call, MAX_REQUEST_BYTES};
use crate::schema::FieldValidation;
use crate::update::ATTEMPTS;
use crate::{create, managed, metadata, update, write, yaml};

/// What is applied, and what a strict reader says about its text.
pub(crate) struct Config {
    pub value: Value,
    strict: Vec<String>,
}

/// Reads the body: YAML, and so JSON too.
pub(crate) fn read(body: Body) -> Result<Config, ApiError> {
    match body {
        Body::None => Ok(Config { value: Value::Null, strict: Vec::new() }),
        Body::Json(value) => Ok(Config { value, strict: Vec::new() }),
        Body::Bytes(bytes) | Body::Yaml(bytes) if bytes.len() > MAX_REQUEST_BYTES => {
            Err(ApiError::too_large(MAX_REQUEST_BYTES))
        }
        Body::Bytes(bytes) | Body::Yaml(bytes) => {
            let yaml::Read { value, repeated } = yaml::decode_applied(&bytes)?;
            Ok(Config { value, strict: repeated })
        }
    }
}

/// Applies a body to the object that the path names.
pub(crate) async fn apply(call: &mut Call<'_>, body: Body) -> Result<Arc<Object>, ApiError> {
    let config = read(body)?;
    check_kind(&config.value, &call.resource.api_version(), &call.resource.kind)?;
    for _ in 0..ATTEMPTS {
        let warnings = call.warnings.len();
        match call.current().await {
            Ok(old) => {
                if let Some(done) = change(call, &old, &config).await? {
                    return Ok(done);
                }
            }
            Err(error) if error.is_not_found() => match make(call, &config).await {
                // Somebody else was faster: what is applied goes to their object.
                Err(error) if error.reason == Reason::AlreadyExists => call.request.verb = Verb::Patch,
                result => return result,
            },
            Err(error) => return Err(error),
        }
        // Told once, however often it is tried.
        call.warnings.truncate(warnings);
        if !metadata::text(&config.value, "resourceVersion").is_empty() {
            break;
        }
    }
    Err(call.resource.conflict(&call.request.name, update::MODIFIED))
}

/// Refuses what is of another kind, and what names owners.
pub(crate) fn check_kind(config: &Value, api_version: &str, kind: &str) -> Result<(), ApiError> {
    let own = |field: &str| config[field].as_str().unwrap_or("");
    if own("apiVersion") != api_version || own("kind") != kind {
        let version = own("apiVersion");
        let version = if version.contains('/') { version.to_owned() } else { format!("/{version}") };
        let message = format!("invalid object type: {version}, Kind={}", own("kind"));
        return Err(ApiError::bad_request(message));
    }
    if config["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}

/// Applies to an object that is there.
async fn change(call: &mut Call<'_>, old: &Arc<Object>, config: &Config) -> Result<Option<Arc<Object>>, ApiError> {
    let live = old.value_without_managed_fields();
    let applied = applied(call, old, &live, &config.value)?;
    tell(call, config)?;
    let mut new = applied.object.unwrap_or(live);
    update::check_patched_names(call, &mut new)?;
    write::conform(call, &mut new, write::Text::default())?;
    update::replace_owned(call, old, new, Some(applied.managed)).await
}

fn applied(call: &Call<'_>, old: &Object, live: &Value, config: &Value) -> Result<Applied, ApiError> {
    let force = call.request.options.force.unwrap_or(false);
    let empty = managed::empty(call);
    managed::with_write(call, |write| k8s_apply::apply(write, managed::live(old), live, &empty, config, force))
        .map_err(refusal)
}

/// Applies where there is no object yet.
async fn make(call: &mut Call<'_>, config: &Config) -> Result<Arc<Object>, ApiError> {
    let empty = managed::empty(call);
    let force = call.request.options.force.unwrap_or(false);
    let applied = managed::with_write(call, |write| {
        k8s_apply::apply(write, Default::default(), &empty, &empty, &config.value, force)
    })
    .map_err(refusal)?;
    tell(call, config)?;
    let mut new = applied.object.unwrap_or(empty);
    let uid = metadata::text(&new, "uid");
    if !uid.is_empty() {
        let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
        return Err(call.resource.conflict(&call.request.name, &why));
    }
    update::check_patched_names(call, &mut new)?;
    metadata::of(&mut new)?.remove("resourceVersion");
    write::conform(call, &mut new, write::Text::default())?;
    // To create is another right than to patch, and another operation for admission.
    call.request.verb = Verb::Create;
    call.aside.asks_to_create = true;
    create::complete(call, new, Some(applied.managed)).await
}

/// Tells, or refuses, what a strict reader says.
pub(crate) fn tell(call: &mut Call<'_>, config: &Config) -> Result<(), ApiError> {
    if config.strict.is_empty() {
        return Ok(());
    }
    match call.field_validation()? {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => call.warnings.extend(config.strict.iter().cloned()),
        FieldValidation::Strict => {
            let problem = yaml::told_together(&config.strict);
            let message = format!("error strict decoding YAML: error converting YAML to JSON: {problem}");
            return Err(ApiError::bad_request(message));
        }
    }
    Ok(())
}

/// Why an apply is refused, as a client is told.
pub(crate) fn refusal(error: ApplyError) -> ApiError {
    match error {
        ApplyError::Conflicts(conflicts) => {
            let causes = conflicts.0.iter().map(|conflict| Cause {
                reason: "FieldManagerConflict".to_owned(),
                message: format!("conflict with {}", conflict.manager),
                field: conflict.path.to_string(),
            });
            let causes = causes.collect();
            ApiError { causes, ..ApiError::new(Reason::Conflict, conflicts.to_string()) }
        }
        // Upstream gives no reason for it.
        ApplyError::Problem(problem) => ApiError::new(Reason::InternalError, problem).verbatim(500, ""),
    }
}
