//! Objects to spoil: those that are published where they are there, and small ones of our own.

use std::path::PathBuf;

use serde_json::{Value, json};

/// Objects as values and as messages, in order of their names.
pub fn objects() -> Vec<(Value, Vec<u8>)> {
    let folder = match std::env::var_os("MINATO_TEST_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
    };
    let Ok(files) = std::fs::read_dir(folder.join("kubernetes")) else {
        println!("only small objects: no test data at {}; set MINATO_TEST_DATA", folder.display());
        return own();
    };
    let mut paths: Vec<PathBuf> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let read = paths.iter().filter_map(|path| {
        let message = std::fs::read(path.with_extension("pb")).ok()?;
        Some((serde_json::from_slice(&std::fs::read(path).ok()?).ok()?, message))
    });
    read.chain(own()).collect()
}

fn own() -> Vec<(Value, Vec<u8>)> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "d", "labels": {"a": "b"}, "finalizers": ["x/y"]},
        "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}], "env": [{"name": "E", "value": "v"}]}],
                 "tolerations": [{"key": "k", "operator": "Exists"}]},
    });
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "v"}, "binaryData": {"b": "AAEC"}});
    [pod, map]
        .into_iter()
        .map(|object| {
            let message = k8s_schema::encode_protobuf(&object).ok().flatten().unwrap_or_default();
            (object, message)
        })
        .collect()
}

/// A structural schema with most of what there is.
pub fn definition_schema() -> Value {
    json!({"type": "object", "properties": {
        "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
        "spec": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "pattern": "^[a-z]*$", "maxLength": 10, "default": "x"},
            "count": {"type": "integer", "minimum": 1, "maximum": 10, "format": "int32", "default": 3},
            "ratio": {"type": "number", "multipleOf": 0.5, "nullable": true},
            "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "when": {"type": "string", "format": "date-time"},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}, "maxItems": 5},
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {
                "type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "value": {"type": "integer", "default": 1}}}},
            "map": {"type": "object", "additionalProperties": {"type": "string", "enum": ["a", "b"]}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"known": {"type": "boolean"}}},
            "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        }},
        "containers": {"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
        "status": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"phase": {"type": "string"}}},
    }})
}
