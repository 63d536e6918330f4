//! What the kinds of the Container Storage Interface share.

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{invalid, required, too_long};
use crate::fields::{entries, items, text};
use crate::names::{qualified, subdomain};
use crate::pod_spec::deprecated_node_label;

/// First minor whose CSINodes can count anew how many volumes a node takes (feature `MutableCSINodeAllocatableCount`).
pub(crate) const COUNTS_ANEW_SINCE: u8 = 35;

/// Bytes of a driver's name.
const DRIVER_NAME_LIMIT: usize = 63;
/// Entries and bytes of the parameters of a class.
const PARAMETERS_LIMIT: usize = 512;
const PARAMETERS_BYTES_LIMIT: usize = 256 << 10;

/// A driver's name.
pub(crate) fn driver_name(name: &str, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if name.is_empty() {
        causes.push(required(field, ""));
    }
    if name.len() > DRIVER_NAME_LIMIT {
        causes.push(too_long(field, DRIVER_NAME_LIMIT));
    }
    causes.extend(subdomain(&name.to_lowercase(), false).iter().map(|problem| invalid(field, name, problem)));
    causes
}

/// Who makes or changes volumes.
pub(crate) fn provisioner(name: &str, field: &str) -> Vec<Cause> {
    match name {
        "" => vec![required(field, "")],
        name => qualified(&name.to_lowercase()).iter().map(|problem| invalid(field, name, problem)).collect(),
    }
}

/// The parameters of a class.
pub(crate) fn parameters(object: &Value, may_be_empty: bool) -> Vec<Cause> {
    const FIELD: &str = "parameters";
    let count = entries(object, FIELD).count();
    if count > PARAMETERS_LIMIT {
        return vec![too_long(FIELD, PARAMETERS_LIMIT)];
    }
    let mut causes = Vec::new();
    let mut bytes = 0;
    for (key, value) in entries(object, FIELD) {
        if key.is_empty() {
            causes.push(invalid(FIELD, "", "field can not be empty."));
        }
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > PARAMETERS_BYTES_LIMIT {
        causes.push(too_long(FIELD, PARAMETERS_BYTES_LIMIT));
    }
    if count == 0 && !may_be_empty {
        causes.push(required(FIELD, "must contain at least one key/value pair"));
    }
    causes
}

/// Warns of labels of nodes that have other names today.
pub(crate) fn node_selector_warnings(selector: &Value, field: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, expression) in items(selector, "matchExpressions").iter().enumerate() {
        let key = text(expression, "key");
        if let Some(message) = deprecated_node_label(key) {
            warnings.push(format!("{field}.matchExpressions[{index}].key: {key} is {message}"));
        }
    }
    for (label, _) in entries(selector, "matchLabels") {
        if let Some(message) = deprecated_node_label(label) {
            warnings.push(format!("{field}.matchLabels.{label}: {message}"));
        }
    }
    warnings
}
