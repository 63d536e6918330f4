//! One revision of one object: its encoded bytes, the metadata that selectors need, and a typed view decoded at most once.

use std::any::Any;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::atomic::{self, AtomicUsize};
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{GroupVersionKind, ObjectMeta, escaped};

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

/// One revision of one object, shared by everybody who reads it.
///
/// Of an object from the store this has the store's own bytes, which lack the `resourceVersion`: it is put in its place whenever
/// the JSON is written, so that an object is in memory once.
pub struct Object {
    /// JSON; without its `resourceVersion` if there is a gap.
    bytes: Bytes,
    /// Where in `bytes` the `resourceVersion` is to be put; `None` if they are complete.
    gap: Option<u32>,
    kind: GroupVersionKind,
    meta: ObjectMeta,
    /// Of most objects nothing is ever made.
    made: OnceLock<Box<Made>>,
}

/// Bytes of messages that all objects of the process keep: as much as the objects that are read again and again have. Beyond it a
/// message is made each time.
const MAX_MESSAGES: usize = 64 << 20;
static MESSAGES: AtomicUsize = AtomicUsize::new(0);

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(message) = self.protobuf.get() {
            MESSAGES.fetch_sub(message.len(), atomic::Ordering::Relaxed);
        }
    }
}

/// What was made of an object for those who read it.
#[derive(Default)]
struct Made {
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
const RESOURCE_VERSION: &[u8] = br#""resourceVersion":""#;
const MANAGED_FIELDS: &[u8] = br#""managedFields":"#;

/// Where the fields of the metadata begin. `encode` writes apiVersion, kind and metadata first and neither name holds a
/// quote, so the first match is it.
fn metadata_at(json: &[u8]) -> Option<usize> {
    Some(json.windows(METADATA.len()).position(|window| window == METADATA)? + METADATA.len())
}

/// The end of the array that begins `json`.
fn end_of_array(json: &[u8]) -> Option<usize> {
    let (mut depth, mut text, mut escaped) = (0usize, false, false);
    for (at, byte) in json.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'[' | b'{' if !text => depth += 1,
            b']' | b'}' if !text => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

impl Object {
    /// From the stored form, written by [`encode`] without a resourceVersion, and the revision it was stored at. The object
    /// keeps the bytes that it is given.
    ///
    /// # Errors
    /// If the bytes are no object.
    pub fn from_stored(stored: impl Into<Bytes>, revision: i64) -> Result<Object, DecodeError> {
        let stored = stored.into();
        let gap = metadata_at(&stored).and_then(|at| u32::try_from(at).ok());
        let gap =
            gap.ok_or_else(|| DecodeError { what: "stored object".into(), problem: "it has no metadata".into() })?;
        let mut object = Object::from_json(stored)?;
        object.gap = Some(gap);
        object.meta.resource_version = revision.to_string();
        Ok(object)
    }

    /// From complete JSON, as a client sends or receives it.
    ///
    /// # Errors
    /// If the bytes are no object.
    pub fn from_json(json: impl Into<Bytes>) -> Result<Object, DecodeError> {
        let json = json.into();
        let head: Head = serde_json::from_slice(&json)
            .map_err(|error| DecodeError { what: "object".into(), problem: error.to_string() })?;
        let kind = GroupVersionKind::parse(&head.api_version, &head.kind);
        Ok(Object::of(json, None, kind, head.metadata))
    }

    fn of(bytes: Bytes, gap: Option<u32>, kind: GroupVersionKind, meta: ObjectMeta) -> Object {
        Object { bytes, gap, kind, meta, made: OnceLock::new() }
    }

    /// From a JSON value.
    ///
    /// # Errors
    /// If the value is no object.
    pub fn from_value(value: &Value) -> Result<Object, DecodeError> {
        Object::from_json(encode(value))
    }

    /// The same object at another revision: as it was when it was deleted.
    ///
    /// # Errors
    /// None for an object from the store; those of [`Object::from_value`] for others.
    pub fn at_revision(&self, revision: i64) -> Result<Object, DecodeError> {
        let resource_version = revision.to_string();
        if self.gap.is_none() {
            let mut value = self.value();
            value["metadata"]["resourceVersion"] = resource_version.into();
            return Object::from_value(&value);
        }
        let meta = ObjectMeta { resource_version, ..self.meta.clone() };
        Ok(Object::of(self.bytes.clone(), self.gap, self.kind.clone(), meta))
    }

    /// The same object under another `apiVersion`; `None` for one that [`encode`] has not written.
    pub fn in_api_version(&self, api_version: &str) -> Option<Object> {
        let head = |api_version: &str| format!(r#"{{"apiVersion":"{api_version}""#);
        let (old, new) = (head(&self.kind.api_version()), head(api_version));
        let rest = self.bytes.strip_prefix(old.as_bytes())?;
        let gap = match self.gap {
            Some(gap) => Some(u32::try_from(gap as usize - old.len() + new.len()).ok()?),
            None => None,
        };
        let kind = GroupVersionKind::parse(api_version, &self.kind.kind);
        Some(Object::of([new.as_bytes(), rest].concat().into(), gap, kind, self.meta.clone()))
    }

    /// The encoded object but for its `resourceVersion`, which may not be there: for those who look for something else.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The encoded object, complete. It is put together anew for an object from the store: whoever writes it somewhere takes
    /// [`Object::write_json`].
    pub fn json(&self) -> Cow<'_, [u8]> {
        if self.gap.is_none() {
            return Cow::Borrowed(&self.bytes);
        }
        let mut json = Vec::with_capacity(self.json_len());
        self.write_json(&mut json);
        Cow::Owned(json)
    }

    /// Bytes of [`Object::json`].
    pub fn json_len(&self) -> usize {
        let missing = self.missing().map_or(0, |(_, missing)| missing.iter().map(|part| part.len()).sum());
        self.bytes.len() + missing
    }

    /// Writes [`Object::json`].
    pub fn write_json(&self, to: &mut impl BufMut) {
        let Some((gap, missing)) = self.missing() else { return to.put_slice(&self.bytes) };
        to.put_slice(&self.bytes[..gap]);
        for part in missing {
            to.put_slice(part);
        }
        to.put_slice(&self.bytes[gap..]);
    }

    /// Bytes of what [`Object::write_item`] writes.
    pub fn item_len(&self) -> usize {
        self.json_len() - (self.type_end() - 1)
    }

    /// Writes [`Object::json`] without `apiVersion` and `kind`, as an item of a list that says both. What [`encode`] has not written
    /// is written whole.
    pub fn write_item(&self, to: &mut impl BufMut) {
        let start = self.type_end();
        to.put_u8(b'{');
        let Some((gap, missing)) = self.missing() else { return to.put_slice(&self.bytes[start..]) };
        to.put_slice(&self.bytes[start..gap]);
        for part in missing {
            to.put_slice(part);
        }
        to.put_slice(&self.bytes[gap..]);
    }

    /// Where `apiVersion` and `kind` end, which [`encode`] writes first; after the opening brace if they do not stand there.
    fn type_end(&self) -> usize {
        const AROUND: usize = br#"{"apiVersion":"","kind":"","#.len();
        let slash = usize::from(!self.kind.group.is_empty());
        let names = self.kind.group.len() + slash + self.kind.version.len() + self.kind.kind.len();
        let end = AROUND + names;
        let stands = self.bytes.starts_with(br#"{"apiVersion":"#)
            && self.bytes.get(end..).is_some_and(|rest| rest.starts_with(METADATA));
        if stands { end } else { 1 }
    }

    /// What is missing from the bytes, and where.
    fn missing(&self) -> Option<(usize, [&[u8]; 3])> {
        let gap = self.gap? as usize;
        let end: &[u8] = if self.bytes.get(gap) == Some(&b'}') { b"\"" } else { b"\"," };
        Some((gap, [RESOURCE_VERSION, self.meta.resource_version.as_bytes(), end]))
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
        self.decoded(&self.bytes)
    }

    /// Decodes JSON of this object, and puts in what is missing.
    fn decoded(&self, json: &[u8]) -> Value {
        let mut value: Value = serde_json::from_slice(json).expect("an Object is built from valid JSON only");
        if self.gap.is_some()
            && let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.insert("resourceVersion".to_owned(), self.meta.resource_version.as_str().into());
        }
        value
    }

    /// Where `managedFields` stands, which [`encode`] writes first in the metadata: its key, and its array.
    fn managed_fields_at(&self) -> Option<(usize, std::ops::Range<usize>)> {
        let key = match self.gap {
            Some(gap) => gap as usize,
            None => {
                let start = metadata_at(&self.bytes)?;
                match self.bytes[start..].strip_prefix(RESOURCE_VERSION) {
                    None => start,
                    Some(rest) => {
                        let version = rest.iter().position(|byte| *byte == b'"')? + 1;
                        start + RESOURCE_VERSION.len() + version + usize::from(rest.get(version) == Some(&b','))
                    }
                }
            }
        };
        let array = key + self.bytes[key..].starts_with(MANAGED_FIELDS).then_some(MANAGED_FIELDS.len())?;
        Some((key, array..array + end_of_array(&self.bytes[array..])?))
    }

    /// The text of `metadata.managedFields`; `None` if there are none. Only of objects that [`encode`] has written.
    pub fn managed_fields(&self) -> Option<&str> {
        let (_, array) = self.managed_fields_at()?;
        std::str::from_utf8(&self.bytes[array]).ok()
    }

    /// As [`Object::value`], without `metadata.managedFields`, which are as long as the rest and rarely needed as a value.
    pub fn value_without_managed_fields(&self) -> Value {
        let mut value: Value = match self.managed_fields_at() {
            None => self.value(),
            Some((key, array)) => {
                let rest = &self.bytes[array.end..];
                let rest = rest.strip_prefix(b",").unwrap_or(rest);
                let mut json = Vec::with_capacity(key + rest.len());
                json.extend_from_slice(&self.bytes[..key]);
                // Nothing follows the key that stood before: its comma goes too.
                if rest.first() == Some(&b'}') && json.last() == Some(&b',') {
                    json.pop();
                }
                json.extend_from_slice(rest);
                self.decoded(&json)
            }
        };
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        value
    }

    /// The object as a protobuf message, made from its JSON by `make`, and kept as long as not too much is: those who want one want
    /// the same one.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn protobuf<E>(&self, make: impl FnOnce(&[u8]) -> Result<Bytes, E>) -> Result<Bytes, E> {
        if let Some(known) = self.made.get().and_then(|made| made.protobuf.get()) {
            return Ok(known.clone());
        }
        let made = make(&self.json())?;
        if MESSAGES.fetch_add(made.len(), atomic::Ordering::Relaxed) + made.len() > MAX_MESSAGES
            || self.made.get_or_init(Box::default).protobuf.set(made.clone()).is_err()
        {
            // There is no room, or another was faster, whose is equal.
            MESSAGES.fetch_sub(made.len(), atomic::Ordering::Relaxed);
        }
        Ok(made)
    }

    /// The object as `T`, decoded at the first call and shared from then on. One type per object is kept;
    /// asking for a second type decodes each time.
    pub fn view<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<T>, DecodeError> {
        if let Some(known) = self.made.get().and_then(|made| made.typed.get())
            && let Ok(view) = known.clone().downcast::<T>()
        {
            return Ok(view);
        }
        let view: T = serde_json::from_slice(&self.json()).map_err(|error| DecodeError {
            what: format!("{} {}", self.kind.kind, self.key()),
            problem: error.to_string(),
        })?;
        let view = Arc::new(view);
        // A race decodes twice and keeps one; both are equal.
        let _ = self.made.get_or_init(Box::default).typed.set(view.clone());
        Ok(view)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} @{}", self.kind, self.key(), self.meta.resource_version)
    }
}

/// As [`encode`], with the text of `metadata.managedFields`, which `value` does not have.
pub fn encode_with(value: &Value, managed_fields: Option<&str>) -> Vec<u8> {
    let json = unescaped(value);
    let (Some(text), Some(at)) = (managed_fields, metadata_at(&json)) else { return escaped(json) };
    let mut all = Vec::with_capacity(json.len() + MANAGED_FIELDS.len() + text.len() + 1);
    all.extend_from_slice(&json[..at]);
    all.extend_from_slice(MANAGED_FIELDS);
    all.extend_from_slice(text.as_bytes());
    if json.get(at) != Some(&b'}') {
        all.push(b',');
    }
    all.extend_from_slice(&json[at..]);
    escaped(all)
}

/// JSON with `apiVersion`, `kind` and `metadata` first, the form that [`Object::from_stored`] needs and people like to read,
/// and `managedFields` first in the metadata; escaped as Go does. A value that is not a map is written as it is.
pub fn encode(value: &Value) -> Vec<u8> {
    escaped(unescaped(value))
}

fn unescaped(value: &Value) -> Vec<u8> {
    struct Ordered<'a>(&'a Map<String, Value>);
    impl Serialize for Ordered<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeMap;
            const FIRST: [&str; 3] = ["apiVersion", "kind", "metadata"];
            let first = FIRST.iter().filter_map(|key| self.0.get_key_value(*key));
            let rest = self.0.iter().filter(|(key, _)| !FIRST.contains(&key.as_str()));
            let mut map = serializer.serialize_map(Some(self.0.len()))?;
            for (key, value) in first.chain(rest) {
                match value {
                    Value::Object(metadata) if key == "metadata" => map.serialize_entry(key, &Metadata(metadata))?,
                    value => map.serialize_entry(key, value)?,
                }
            }
            map.end()
        }
    }
    struct Metadata<'a>(&'a Map<String, Value>);
    impl Serialize for Metadata<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            const FIRST: &str = "managedFields";
            match self.0.get_key_value(FIRST) {
                None => self.0.serialize(serializer),
                Some(first) => {
                    let rest = self.0.iter().filter(|(key, _)| *key != FIRST);
                    serializer.collect_map(std::iter::once(first).chain(rest))
                }
            }
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
        let object = Object::from_stored(stored, 42).unwrap();
        assert_eq!(object.meta().resource_version, "42");
        assert_eq!(object.meta().name, "a");
        assert_eq!(object.value()["data"], value["data"]);
        let empty = Object::from_stored(&br#"{"apiVersion":"v1","kind":"Status","metadata":{}}"#[..], 7).unwrap();
        assert_eq!(empty.json().as_ref(), br#"{"apiVersion":"v1","kind":"Status","metadata":{"resourceVersion":"7"}}"#);
    }

    #[test]
    fn managed_fields_are_found_and_left_out() {
        let text = r#"[{"fieldsV1":{"f:a":{}},"manager":"a]\\\""}]"#;
        let managed: Value = serde_json::from_str(text).unwrap();
        for metadata in [json!({}), json!({"name": "a", "labels": {"x": "y"}})] {
            let bare = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": "[{"}});
            let mut full = bare.clone();
            full["metadata"]["managedFields"] = managed.clone();
            assert_eq!(encode_with(&bare, Some(text)), encode(&full));
            let mut versioned = bare.clone();
            versioned["metadata"]["resourceVersion"] = json!("7");
            let stored = Object::from_stored(encode(&full), 7).unwrap();
            assert_eq!(stored.managed_fields(), Some(text));
            assert_eq!(stored.value()["metadata"]["managedFields"], managed);
            assert_eq!(stored.value_without_managed_fields(), versioned);
            let unstored = Object::from_value(&full).unwrap();
            assert_eq!(
                (unstored.managed_fields(), unstored.value_without_managed_fields()),
                (Some(text), bare.clone())
            );
            let without = Object::from_stored(encode(&bare), 7).unwrap();
            assert_eq!((without.managed_fields(), without.value_without_managed_fields()), (None, versioned));
        }
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
    fn messages_are_kept_until_there_are_too_many() {
        let object = || Object::from_value(&json!({"metadata": {"name": "a"}})).unwrap();
        let made = |object: &Object, bytes: usize| {
            let mut asked = false;
            let message = object.protobuf(|_| {
                asked = true;
                Ok::<_, ()>(Bytes::from(vec![0; bytes]))
            });
            (asked, message.unwrap().len())
        };
        let (large, small) = (object(), object());
        assert_eq!(
            (made(&large, MAX_MESSAGES - 1), made(&large, 1)),
            ((true, MAX_MESSAGES - 1), (false, MAX_MESSAGES - 1))
        );
        assert_eq!((made(&small, 2), made(&small, 2)), ((true, 2), (true, 2)), "there is no room");
        drop(large);
        assert_eq!((made(&small, 2), made(&small, 2)), ((true, 2), (false, 2)));
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
