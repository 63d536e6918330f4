//! YAML, as bodies and what is applied may be written, and what a strict reader says about keys that stand in a map twice.
//!
//! The texts are those of upstream's reader: the line is that of the second value, and a value's own repetitions come before it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;

use k8s_object::ApiError;
use k8s_schema::Decoded;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Brackets that may be open at a time in YAML. The parser looks at all of them at each token, so that deep ones take time by their
/// square; JSON has a limit of its own.
const MAX_DEPTH: usize = 1000;
/// Repeated keys that are told; more say nothing new.
const MAX_REPEATED: usize = 64;
/// Bytes that are read to find the lines of repeated keys, each of which takes one more reading.
const MAX_SEARCHED_BYTES: usize = 16 << 20;

/// A value, and what a strict reader says: `line 3: key "a" already set in map`.
pub(crate) struct Read {
    pub value: Value,
    pub repeated: Vec<String>,
}

/// Reads one document.
pub(crate) fn decode(bytes: &[u8]) -> Result<Read, ApiError> {
    let broken = |error: String| ApiError::bad_request(format!("error converting YAML to JSON: {error}"));
    read(bytes).map_err(broken)
}

/// Reads what is applied.
pub(crate) fn decode_applied(bytes: &[u8]) -> Result<Read, ApiError> {
    // Clients send JSON, which is YAML.
    let decoded = match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => k8s_schema::decode(bytes).ok(),
        _ => None,
    };
    match decoded {
        Some(Decoded { value, duplicates }) => Ok(Read { value, repeated: lines(bytes, &duplicates) }),
        None => read(bytes).map_err(|error| {
            ApiError::bad_request(format!("error decoding YAML: error converting YAML to JSON: {error}"))
        }),
    }
}

/// All that is said of one text, as one problem.
pub(crate) fn told_together(repeated: &[String]) -> String {
    let lines: Vec<String> = repeated.iter().map(|line| format!("\n  {line}")).collect();
    format!("yaml: unmarshal errors:{}", lines.concat())
}

fn read(bytes: &[u8]) -> Result<Read, String> {
    if is_too_deep(bytes) {
        return Err(format!("yaml: exceeded max depth of {MAX_DEPTH}"));
    }
    let decoded = k8s_schema::decode_from(serde_yaml::Deserializer::from_slice(bytes));
    let Decoded { value, duplicates } = decoded.map_err(|error: serde_yaml::Error| error.to_string())?;
    Ok(Read { value, repeated: lines(bytes, &duplicates) })
}

/// Whether more brackets are open at a time than may be. Those in texts count too, which no sensible text comes near.
fn is_too_deep(yaml: &[u8]) -> bool {
    let mut depth = 0_usize;
    yaml.iter().any(|byte| {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > MAX_DEPTH
    })
}

/// Where keys stand that are in their map already; only looked for where there are `duplicates`.
fn lines(bytes: &[u8], duplicates: &[String]) -> Vec<String> {
    if duplicates.is_empty() {
        return Vec::new();
    }
    let most = MAX_REPEATED.min(MAX_SEARCHED_BYTES / bytes.len().max(1)).max(1);
    let mut lines = Vec::new();
    while lines.len() < most {
        let search = Search { passes: Cell::new(lines.len()), key: RefCell::new(None) };
        let seed = Seed { search: &search, again: None };
        // The reader knows where it is only when something is wrong there.
        let Err(error) = seed.deserialize(serde_yaml::Deserializer::from_slice(bytes)) else { break };
        let (Some(key), Some(place)) = (search.key.take(), error.location()) else { break };
        lines.push(format!("line {}: key {key:?} already set in map", place.line()));
    }
    lines
}

/// The way to one repeated key.
struct Search {
    /// Those that are passed before it.
    passes: Cell<usize>,
    key: RefCell<Option<String>>,
}

/// A value, which is that of a repeated key if `again`.
#[derive(Clone)]
struct Seed<'a> {
    search: &'a Search,
    again: Option<String>,
}

impl Seed<'_> {
    /// Ends the reading where the value is the one that is looked for.
    fn end<E: Error>(self) -> Result<(), E> {
        let Some(key) = self.again else { return Ok(()) };
        let passes = self.search.passes.get();
        if passes > 0 {
            self.search.passes.set(passes - 1);
            return Ok(());
        }
        *self.search.key.borrow_mut() = Some(key);
        Err(E::custom("repeated"))
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.end()
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.end()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.end()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.end()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.end()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.end()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Seed { again: None, ..self.clone() })?.is_some() {}
        self.end()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            let again = keys.contains(&key).then(|| key.clone());
            keys.insert(key);
            entries.next_value_seed(Seed { again, ..self.clone() })?;
        }
        self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_are_told_where_their_values_stand() {
        let cases: [(&str, &[&str]); 6] = [
            ("a: 1\nb: 2\n", &[]),
            ("a: 1\na: 2\na: 3\n", &["line 2: key \"a\" already set in map", "line 3: key \"a\" already set in map"]),
            (
                "a:\n  x: 1\na:\n  y: 1\n  y: 2\nb: 1\nb:\n",
                &[
                    "line 5: key \"y\" already set in map",
                    "line 4: key \"a\" already set in map",
                    "line 7: key \"b\" already set in map",
                ],
            ),
            ("a:\n- b: 1\n  b: [1,\n    2]\n", &["line 3: key \"b\" already set in map"]),
            (
                "{\n\t\"a\": {\n\t\t\"b\": false,\n\t\t\"b\": true},\n\t\"c\": [{\"d\": 1,\n\t\t\"d\": \"x\"}]\n}",
                &["line 4: key \"b\" already set in map", "line 6: key \"d\" already set in map"],
            ),
            ("a: |\n  b: 1\n  b: 2\n", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(decode(text.as_bytes()).unwrap().repeated, expected, "{text}");
            assert_eq!(decode_applied(text.as_bytes()).unwrap().repeated, expected, "{text}");
        }
        let many: String = (0..1000).map(|_| "a: 1\n").collect();
        assert_eq!(decode(many.as_bytes()).unwrap().repeated.len(), MAX_REPEATED);
        assert_eq!(told_together(&["line 1: x".into()]), "yaml: unmarshal errors:\n  line 1: x");
    }
}
