//! One revision of one object: its encoded bytes, the metadata that selectors need, and a typed view decoded at most once.

use std::any::Any;
use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{GroupVersionKind, ObjectMeta};

/// The bytes are not an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot decode {what}: {problem}")]
pub struct DecodeError {
    /// What was decoded: a kind or a key.
    pub what: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Namespace and name; the namespace is empty for cluster-scoped objects. Ordered as `namespace/name` is, which is the order of keys
/// in the store and so of lists: `a-b/x` comes before `a/x`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NamespacedName {
    pub namespace: String,
    pub name: String,
}

impl NamespacedName {
    /// From both halves.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> NamespacedName {
        NamespacedName { namespace: namespace.into(), name: name.into() }
    }

    /// The bytes of what [`fmt::Display`] writes.
    fn path(&self) -> impl Iterator<Item = u8> {
        let slash = if self.namespace.is_empty() { &b""[..] } else { b"/" };
        self.namespace.bytes().chain(slash.iter().copied()).chain(self.name.bytes())
    }
}

impl Ord for NamespacedName {
    fn cmp(&self, other: &NamespacedName) -> Ordering {
        if self.namespace == other.namespace {
            return self.name.cmp(&other.name);
        }
        // Different namespaces decide before their names begin, unless one of them is empty and the other key starts with its name.
        self.path().cmp(other.path())
    }
}

impl PartialOrd for NamespacedName {
    fn partial_cmp(&self, other: &NamespacedName) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// One revision of one object, shared by everybody who reads it. The JSON is complete, `resourceVersion` included.
pub struct Object {
    json: Bytes,
    kind: GroupVersionKind,
    meta: ObjectMeta,
    typed: OnceLock<Arc<dyn Any + Send + Sync>>,
    protobuf: OnceLock<Bytes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: ObjectMeta,
}

/// What stands between the head that [`encode`] writes and the fields of the metadata.
const METADATA: &[u8] = br#""metadata":{"#;

impl Object {
    /// From the stored form, written by [`encode`] without a resourceVersion, and the revision it was stored at.
    pub fn from_stored(stored: &[u8], revision: i64) -> Result<Object, DecodeError> {
        // `encode` writes apiVersion, kind and metadata first and neither name holds a quote, so the first match is it.
        let at = stored
            .windows(METADATA.len())
            .position(|window| window == METADATA)
            .ok_or_else(|| DecodeError { what: "stored object".into(), problem: "it has no metadata".into() })?
            + METADATA.len();
        let version = format!(r#""resourceVersion":"{revision}""#);
        let mut json = Vec::with_capacity(stored.len() + version.len() + 1);
        json.extend_from_slice(&stored[..at]);
        json.extend_from_slice(version.as_bytes());
        if stored.get(at) != Some(&b'}') {
            json.push(b',');
        }
        json.extend_from_slice(&stored[at..]);
        Object::from_json(json)
    }

    /// From complete JSON, as a client sends or receives it.
    pub fn from_json(json: impl Into<Bytes>) -> Result<Object, DecodeError> {
        let json = json.into();
        let head: Head = serde_json::from_slice(&json)
            .map_err(|error| DecodeError { what: "object".into(), problem: error.to_string() })?;
        let kind = GroupVersionKind::parse(&head.api_version, &head.kind);
        Ok(Object { json, kind, meta: head.metadata, typed: OnceLock::new(), protobuf: OnceLock::new() })
    }

    /// From a JSON value.
    pub fn from_value(value: &Value) -> Result<Object, DecodeError> {
        Object::from_json(encode(value))
    }

    /// The encoded object.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// Group, version and kind.
    pub fn kind(&self) -> &GroupVersionKind {
        &self.kind
    }

    /// The metadata.
    pub fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    /// Namespace and name.
    pub fn key(&self) -> NamespacedName {
        NamespacedName::new(self.meta.namespace.clone(), self.meta.name.clone())
    }

    /// The whole object as a JSON value, decoded anew at each call: for paths that change it.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).expect("an Object is built from valid JSON only")
    }

    /// The object as a protobuf message, made from its JSON by `make` at the first call and kept from then on, since
    /// those who want one want the same one.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn protobuf<E>(&self, make: impl FnOnce(&[u8]) -> Result<Bytes, E>) -> Result<Bytes, E> {
        if let Some(known) = self.protobuf.get() {
            return Ok(known.clone());
        }
        let made = make(&self.json)?;
        // A race makes it twice and keeps one; both are equal.
        Ok(self.protobuf.get_or_init(|| made).clone())
    }

    /// The object as `T`, decoded at the first call and shared from then on. One type per object is kept;
    /// asking for a second type decodes each time.
    pub fn view<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<T>, DecodeError> {
        if let Some(known) = self.typed.get()
            && let Ok(view) = known.clone().downcast::<T>()
        {
            return Ok(view);
        }
        let view: T = serde_json::from_slice(&self.json).map_err(|error| DecodeError {
            what: format!("{} {}", self.kind.kind, self.key()),
            problem: error.to_string(),
        })?;
        let view = Arc::new(view);
        // A race decodes twice and keeps one; both are equal.
        let _ = self.typed.set(view.clone());
        Ok(view)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} @{}", self.kind, self.key(), self.meta.resource_version)
    }
}

/// JSON with `apiVersion`, `kind` and `metadata` first, the form that [`Object::from_stored`] needs and people like to read.
/// A value that is not a map is written as it is.
pub fn encode(value: &Value) -> Vec<u8> {
    struct Ordered<'a>(&'a Map<String, Value>);
    impl Serialize for Ordered<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            const FIRST: [&str; 3] = ["apiVersion", "kind", "metadata"];
            let first = FIRST.iter().filter_map(|key| self.0.get_key_value(*key));
            let rest = self.0.iter().filter(|(key, _)| !FIRST.contains(&key.as_str()));
            serializer.collect_map(first.chain(rest))
        }
    }
    let encoded = match value {
        Value::Object(map) => serde_json::to_vec(&Ordered(map)),
        other => serde_json::to_vec(other),
    };
    encoded.expect("a JSON value can be written")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_resource_version_is_spliced_into_stored_bytes() {
        let value = json!({"kind": "ConfigMap", "data": {"metadata": "\"metadata\":{"}, "metadata": {"name": "a"}, "apiVersion": "v1"});
        let stored = encode(&value);
        let object = Object::from_stored(&stored, 42).unwrap();
        assert_eq!(object.meta().resource_version, "42");
        assert_eq!(object.meta().name, "a");
        assert_eq!(object.value()["data"], value["data"]);
        let empty = Object::from_stored(br#"{"apiVersion":"v1","kind":"Status","metadata":{}}"#, 7).unwrap();
        assert_eq!(empty.json().as_ref(), br#"{"apiVersion":"v1","kind":"Status","metadata":{"resourceVersion":"7"}}"#);
    }

    #[test]
    fn names_are_ordered_as_keys_of_the_store() {
        let name = |text: &str| match text.split_once('/') {
            Some((namespace, name)) => NamespacedName::new(namespace, name),
            None => NamespacedName::new("", text),
        };
        let texts = ["a", "a-b/x", "a/", "a/x", "a/y", "a.b", "a0/x", "b", "b/a", ""];
        for (left, right) in texts.iter().flat_map(|left| texts.iter().map(move |right| (left, right))) {
            assert_eq!(name(left).cmp(&name(right)), left.cmp(right), "{left} {right}");
        }
    }

    #[test]
    fn bytes_that_are_no_object_are_refused() {
        for bytes in [&b"{}"[..], b"", b"[]", br#"{"metadata":{"name":3}}"#] {
            assert!(Object::from_stored(bytes, 1).is_err());
        }
    }

    #[test]
    fn a_view_is_decoded_once() {
        #[derive(Deserialize)]
        struct Data {
            data: Map<String, Value>,
        }
        let object = Object::from_value(&json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).unwrap();
        let (first, second) = (object.view::<Data>().unwrap(), object.view::<Data>().unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(first.data["k"], "v");
    }
}
