//! Fields that the schema does not have: named for strict and warning clients, removed for all.
//!
//! Nothing below a field of free form is looked at. Upstream's rule for custom resources: structural-schema pruning.

use serde_json::Value;

use crate::node::{Node, Step};
use crate::path::Path;

/// One unknown field: how to reach it, and its path in upstream's notation.
struct Unknown {
    steps: Vec<Key>,
    path: String,
}

#[derive(Clone)]
enum Key {
    Field(String),
    Index(usize),
}

/// Paths of unknown fields, `spec.containers[0].foo`, sorted.
pub(crate) fn find(node: Node<'_>, value: &Value) -> Vec<String> {
    let mut paths: Vec<String> = collect(node, value).into_iter().map(|unknown| unknown.path).collect();
    paths.sort();
    paths
}

/// Removes unknown fields and returns their paths, sorted.
pub(crate) fn prune(node: Node<'_>, value: &mut Value) -> Vec<String> {
    let found = collect(node, value);
    let mut paths = Vec::with_capacity(found.len());
    for unknown in found {
        remove(value, &unknown.steps);
        paths.push(unknown.path);
    }
    paths.sort();
    paths
}

fn collect(node: Node<'_>, value: &Value) -> Vec<Unknown> {
    let mut walk = Walk { steps: Vec::new(), path: Path::default(), found: Vec::new() };
    walk.visit(node, value);
    walk.found
}

fn remove(value: &mut Value, steps: &[Key]) {
    let mut at = value;
    for (index, step) in steps.iter().enumerate() {
        let next = match (at, step) {
            (Value::Object(map), Key::Field(name)) if index + 1 == steps.len() => {
                map.remove(name);
                return;
            }
            (Value::Object(map), Key::Field(name)) => map.get_mut(name),
            (Value::Array(list), Key::Index(index)) => list.get_mut(*index),
            _ => None,
        };
        let Some(next) = next else { return };
        at = next;
    }
}

struct Walk {
    steps: Vec<Key>,
    path: Path,
    found: Vec<Unknown>,
}

impl Walk {
    fn visit(&mut self, node: Node<'_>, value: &Value) {
        match value {
            Value::Object(map) => {
                for (key, below) in map {
                    match node.step(key) {
                        Step::Free => {}
                        Step::Known(_) if !matches!(below, Value::Object(_) | Value::Array(_)) => {}
                        Step::Known(child) => {
                            let length = self.path.field(key);
                            self.steps.push(Key::Field(key.clone()));
                            self.visit(child, below);
                            self.steps.pop();
                            self.path.truncate(length);
                        }
                        Step::Unknown => {
                            let mut steps = self.steps.clone();
                            steps.push(Key::Field(key.clone()));
                            self.found.push(Unknown { steps, path: self.path.child(key) });
                        }
                    }
                }
            }
            Value::Array(list) => {
                let Some(item) = node.item() else { return };
                for (index, below) in list.iter().enumerate() {
                    if !matches!(below, Value::Object(_) | Value::Array(_)) {
                        continue;
                    }
                    let length = self.path.index(index);
                    self.steps.push(Key::Index(index));
                    self.visit(item, below);
                    self.steps.pop();
                    self.path.truncate(length);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}
