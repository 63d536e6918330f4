//! What differs between two values, for messages about what may not change.

use serde_json::Value;

/// Lines that a message shows at most: an object can hold 1 MiB.
const LINES_LIMIT: usize = 40;

/// Paths below `path` with their value before (`-`) and after (`+`).
pub(crate) fn difference(new: &Value, old: &Value, path: &str) -> String {
    let mut lines = Vec::new();
    collect(new, old, path, &mut lines);
    lines.truncate(LINES_LIMIT);
    lines.join("\n")
}

fn collect(new: &Value, old: &Value, path: &str, lines: &mut Vec<String>) {
    match (new, old) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(&new[key.as_str()], &old[key.as_str()], &below, lines);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                collect(a, b, &format!("{path}[{index}]"), lines);
            }
        }
        _ if new == old => {}
        _ => {
            if !old.is_null() {
                lines.push(format!("- {path}: {old}"));
            }
            if !new.is_null() {
                lines.push(format!("+ {path}: {new}"));
            }
        }
    }
}
