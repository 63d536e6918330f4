//! Owners of an object's replicas, seen through its `Scale`.

use std::borrow::Cow;

use k8s_apply::field::{Element, Path};
use k8s_apply::{Managed, Reset, Scaled, Versions, Write};
use k8s_object::{ApiError, Object};
use k8s_schema::{NEWEST_MINOR, OLDEST_MINOR, Schema, Typed};
use serde_json::{Value, json};

use crate::core::Call;
use crate::registry::Strategy;
use crate::{apply, managed};

const VERSION: &str = "autoscaling/v1";

/// The one version of `Scale`.
struct Scale(Option<Schema>);

impl Scale {
    fn of(call: &Call<'_>) -> Scale {
        let minor = call.core.minor.clamp(OLDEST_MINOR, NEWEST_MINOR);
        Scale(Schema::builtin_kind("autoscaling", "v1", "Scale", minor))
    }
}

impl Versions for Scale {
    fn typed(&self, api_version: &str) -> Option<Typed<'_>> {
        (api_version == VERSION).then(|| self.0.as_ref().map_or(Typed::DEDUCED, Schema::typed))
    }

    fn convert<'v>(&self, object: &'v Value, _: &str) -> Result<Cow<'v, Value>, String> {
        Ok(Cow::Borrowed(object))
    }
}

/// Where a version of the object has its replicas.
fn scaled(call: &Call<'_>, api_version: &str) -> Scaled {
    let mut versions = call.entry.versions.iter();
    let Some(resource) = versions.find(|resource| resource.api_version() == api_version) else {
        return Scaled::Unknown;
    };
    match &resource.strategy {
        Strategy::Builtin(_) => Scaled::At(Path::fields(&["spec", "replicas"])),
        Strategy::Custom(custom) => match &custom.scale {
            Some(scale) => Scaled::At(Path(scale.spec.iter().map(|name| Element::field(name)).collect())),
            None => Scaled::Nothing,
        },
    }
}

/// Whether what a client wants is a `Scale`.
pub(super) fn check_types(call: &Call<'_>, wanted: &Value) -> Result<(), ApiError> {
    let Some(schema) = Scale::of(call).0 else { return Ok(()) };
    schema.check_types(wanted).map_err(|error| {
        ApiError::bad_request(format!("Scale in version \"v1\" cannot be handled as a Scale: {error}"))
    })
}

fn with_write<T>(call: &Call<'_>, then: impl FnOnce(Write<'_>) -> T) -> T {
    let (manager, now) = (managed::manager(call), call.now.to_string());
    then(Write {
        versions: &Scale::of(call),
        version: VERSION,
        manager: &manager,
        subresource: "scale",
        reset: Reset::Nothing,
        now: &now,
    })
}

/// The owners of an object whose `Scale` was written.
pub(super) fn after_update(call: &Call<'_>, old: &Object, current: &Value, wanted: &Value) -> Managed {
    let parent = managed::live(old);
    let scaled = |version: &str| scaled(call, version);
    let before = k8s_apply::scale_of_parent(&parent, &scaled);
    let recorded =
        with_write(call, |write| k8s_apply::update(write, || before.clone(), current, &as_scale(wanted), false));
    let after = match recorded {
        Ok(after) => after.unwrap_or(before),
        Err(_) => Managed::default(),
    };
    k8s_apply::parent_of_scale(&parent, after, &call.resource.api_version(), &scaled)
}

/// What an apply makes of a `Scale`, and the owners of its object.
pub(super) fn after_apply(
    call: &Call<'_>,
    old: &Object,
    current: &Value,
    config: &Value,
) -> Result<(Option<Value>, Managed), ApiError> {
    let parent = managed::live(old);
    let scaled = |version: &str| scaled(call, version);
    let before = k8s_apply::scale_of_parent(&parent, &scaled);
    let force = call.request.options.force.unwrap_or(false);
    let empty = json!({"apiVersion": VERSION, "kind": "Scale", "metadata": {}, "spec": {}, "status": {"replicas": 0}});
    let applied = with_write(call, |write| k8s_apply::apply(write, before, current, &empty, config, force));
    let applied = applied.map_err(apply::refusal)?;
    let owners = k8s_apply::parent_of_scale(&parent, applied.managed, &call.resource.api_version(), &scaled);
    Ok((applied.object, owners))
}

/// A `Scale` as a client sent it, without what is not of its type.
fn as_scale(wanted: &Value) -> Value {
    let mut scale = wanted.clone();
    if let Some(map) = scale.as_object_mut() {
        map.retain(|key, _| ["apiVersion", "kind", "metadata", "spec", "status"].contains(&key.as_str()));
    }
    scale
}
