//! Single fields out of encoded objects, without building the rest of the object.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use k8s_kinds::Kind;
use k8s_object::{Object, Strings};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The field whose values have few objects each and many who ask for one value: every kubelet for its own pods.
const INDEXED: &str = "spec.nodeName";

/// Looks up the fields that selectors of one resource may name.
#[derive(Default)]
pub(crate) struct Extractor {
    pub paths: Vec<String>,
    /// How a kind looks up a path, where that is not just what stands there.
    lookup: Option<Lookup>,
}

type Lookup = for<'a> fn(&'a Value, &str) -> Cow<'a, str>;

impl Extractor {
    /// Fields that just stand there.
    pub(crate) fn paths(paths: Vec<String>) -> Extractor {
        Extractor { paths, lookup: None }
    }

    /// The selectable fields of a built-in kind.
    pub(crate) fn of(kind: &Kind) -> Extractor {
        let usual = std::ptr::fn_addr_eq(kind.field, Kind::BASE.field);
        let paths = kind.selectable.iter().map(|path| (*path).to_owned()).collect();
        Extractor { paths, lookup: (!usual).then_some(kind.field) }
    }

    /// Place of the field by which the cache keeps an index.
    pub(crate) fn indexed(&self) -> Option<usize> {
        self.paths.iter().position(|path| path == INDEXED)
    }

    /// The values, in the order of the paths.
    pub(crate) fn extract(&self, object: &Object) -> Arc<Strings> {
        if self.paths.is_empty() {
            return Arc::default();
        }
        match self.lookup {
            None => Arc::new(pick(object.bytes(), &self.paths).into_iter().collect()),
            Some(lookup) => {
                let value = scalars(object.bytes());
                Arc::new(self.paths.iter().map(|path| lookup(&value, path)).collect())
            }
        }
    }
}

/// The scalar at each of `paths` (dotted names, no indices) as text, empty where there is none.
pub(crate) fn pick(json: &[u8], paths: &[String]) -> Vec<Box<str>> {
    let mut found = vec![Box::<str>::default(); paths.len()];
    if !paths.is_empty() {
        let wanted: Vec<(usize, &str)> = paths.iter().map(String::as_str).enumerate().collect();
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        // Stored objects are valid JSON; what was found before an error still counts.
        let _ = Picker { wanted: &wanted, found: &mut found }.deserialize(&mut deserializer);
    }
    found
}

/// The scalars of the first two levels, in their places; all that built-in kinds let select by stands there.
fn scalars(json: &[u8]) -> Value {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    // As in `pick`.
    Scalars { levels: 2 }.deserialize(&mut deserializer).unwrap_or_default()
}

struct Scalars {
    /// How many levels of maps are gone into.
    levels: u8,
}

impl<'de> DeserializeSeed<'de> for Scalars {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scalars {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let Some(levels) = self.levels.checked_sub(1) else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        };
        let mut found = serde_json::Map::new();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let value = map.next_value_seed(Scalars { levels })?;
            if !value.is_null() {
                found.insert(key.into_owned(), value);
            }
        }
        Ok(Value::Object(found))
    }
}

struct Picker<'a, 'b> {
    /// Indices of results and the rest of their paths; an empty rest is a scalar to be taken here.
    wanted: &'a [(usize, &'a str)],
    found: &'b mut Vec<Box<str>>,
}

impl Picker<'_, '_> {
    fn scalar(self, text: &str) {
        for (index, rest) in self.wanted {
            if rest.is_empty() {
                self.found[*index] = text.into();
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Picker<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Picker<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.scalar(if value { "true" } else { "false" });
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.scalar(&value.to_string());
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.scalar(&value.to_string());
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.scalar(&value.to_string());
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.scalar(value);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let below: Vec<(usize, &str)> = self
                .wanted
                .iter()
                .filter_map(|(index, path)| {
                    let (head, rest) = path.split_once('.').unwrap_or((path, ""));
                    (head == key && !path.is_empty()).then_some((*index, rest))
                })
                .collect();
            if below.is_empty() {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Picker { wanted: &below, found: self.found })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_kinds_look_up_stands_among_the_scalars() {
        let looked_up = k8s_kinds::KINDS.iter().filter(|kind| Extractor::of(kind).lookup.is_some());
        let mut told = std::collections::BTreeSet::new();
        for (kind, path) in looked_up.flat_map(|kind| kind.selectable.iter().map(move |path| (kind, path))) {
            for scalar in [json!(7), json!(true), json!("x")] {
                let value = match path.split_once('.') {
                    None => json!({*path: scalar}),
                    Some((head, rest)) if !rest.contains('.') => json!({head: {rest: scalar, "deep": {"er": [1]}}}),
                    Some(_) => panic!("{path} is deeper than what is looked at"),
                };
                let all = (kind.field)(&value, path).into_owned();
                assert_eq!((kind.field)(&scalars(value.to_string().as_bytes()), path), all, "{} {path}", kind.kind);
                told.insert(all);
            }
        }
        assert!(["7", "true", "x"].iter().all(|text| told.contains(*text)), "{told:?}");
        let json = br#"{"a":1,"b":{"c":-2,"d":true,"e":null,"f":{"g":1},"h":[{}],"i":1.5,"j":"k"},"l":["m"]}"#;
        assert_eq!(scalars(json), json!({"a": 1, "b": {"c": -2, "d": true, "i": 1.5, "j": "k"}}));
    }

    #[test]
    fn scalars_are_found_by_path() {
        let json = br#"{"spec":{"nodeName":"n1","list":[{"nodeName":"x"}],"deep":{"n":3}},"status":{"phase":"Running","ok":true}}"#;
        let paths = ["spec.nodeName", "status.phase", "spec.deep.n", "status.ok", "spec.gone", "spec.deep"];
        let paths: Vec<String> = paths.map(str::to_owned).to_vec();
        let found: Vec<String> = pick(json, &paths).into_iter().map(String::from).collect();
        assert_eq!(found, ["n1", "Running", "3", "true", "", ""]);
    }
}
