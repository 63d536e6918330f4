//! JSON text to a value, noticing what a lenient parser hides: duplicate fields, trailing data, too deep nesting.
//!
//! Integers that fit 64 bits stay exact. The rule that a later duplicate wins, and the texts, are upstream's.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use thiserror::Error;

use crate::path::Path;

/// Deepest nesting of arrays and objects. Everything here recurses over values, and this keeps the stack small.
/// It is the limit of the JSON library; real objects stay under 60.
pub const MAX_DEPTH: usize = 127;

/// Most duplicate fields that are reported; upstream stops at the same number.
const MAX_DUPLICATES: usize = 100;

/// A value and what strict clients want to hear about its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub value: Value,
    /// `duplicate field "spec.replicas"`, in the order of the text.
    pub duplicates: Vec<String>,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("nesting is deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("{message} at line {line} column {column}")]
    Syntax { message: String, line: usize, column: usize },
    #[error("invalid character after top-level value at line {line} column {column}")]
    TrailingData { line: usize, column: usize },
    #[error("unexpected end of JSON input")]
    UnexpectedEnd,
}

/// Parses one JSON document.
pub fn decode(text: &[u8]) -> Result<Decoded, DecodeError> {
    let state = RefCell::new(State::default());
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Seed(&state).deserialize(&mut deserializer).map_err(explain)?;
    deserializer.end().map_err(|error| DecodeError::TrailingData { line: error.line(), column: error.column() })?;
    Ok(Decoded { value, duplicates: state.into_inner().duplicates })
}

/// As [`decode`], from another notation of the same values.
///
/// # Errors
/// What the reader of the notation says.
pub fn decode_from<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Decoded, D::Error> {
    let state = RefCell::new(State::default());
    let value = Seed(&state).deserialize(deserializer)?;
    Ok(Decoded { value, duplicates: state.into_inner().duplicates })
}

fn explain(error: serde_json::Error) -> DecodeError {
    if error.is_eof() {
        return DecodeError::UnexpectedEnd;
    }
    let text = error.to_string();
    if text.starts_with("recursion limit") {
        return DecodeError::TooDeep;
    }
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned();
    DecodeError::Syntax { message, line: error.line(), column: error.column() }
}

#[derive(Default)]
struct State {
    path: Path,
    duplicates: Vec<String>,
}

#[derive(Clone, Copy)]
struct Seed<'a>(&'a RefCell<State>);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let length = self.0.borrow_mut().path.index(list.len());
            let item = items.next_element_seed(self)?;
            self.0.borrow_mut().path.truncate(length);
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let length = {
                let mut state = self.0.borrow_mut();
                let length = state.path.field(&key);
                if map.contains_key(&key) && state.duplicates.len() < MAX_DUPLICATES {
                    let text = format!("duplicate field {:?}", state.path.as_str());
                    if !state.duplicates.contains(&text) {
                        state.duplicates.push(text);
                    }
                }
                length
            };
            let value = entries.next_value_seed(self)?;
            self.0.borrow_mut().path.truncate(length);
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn duplicates_are_named_by_path_and_the_last_one_wins() {
        let text = br#"{"spec":{"x":1,"x":2,"list":[{"a":1,"a":1,"a":3}]},"labels":{"k":"1","k":"2"}}"#;
        let decoded = decode(text).unwrap();
        assert_eq!(decoded.value, json!({"spec": {"x": 2, "list": [{"a": 3}]}, "labels": {"k": "2"}}));
        assert_eq!(
            decoded.duplicates,
            [r#"duplicate field "spec.x""#, r#"duplicate field "spec.list[0].a""#, r#"duplicate field "labels.k""#]
        );
    }

    #[test]
    fn integers_of_64_bits_stay_exact() {
        let decoded = decode(b"[9223372036854775807, -9223372036854775808, 18446744073709551615, 1.5]").unwrap();
        assert_eq!(decoded.value.to_string(), "[9223372036854775807,-9223372036854775808,18446744073709551615,1.5]");
    }

    #[test]
    fn broken_text_says_what_is_wrong() {
        let cases: [(&[u8], DecodeError); 5] = [
            (b"", DecodeError::UnexpectedEnd),
            (b"{\"a\":", DecodeError::UnexpectedEnd),
            (b"{} x", DecodeError::TrailingData { line: 1, column: 4 }),
            (b"{a}", DecodeError::Syntax { message: "key must be a string".into(), line: 1, column: 2 }),
            (b"1e999", DecodeError::Syntax { message: "number out of range".into(), line: 1, column: 5 }),
        ];
        for (text, error) in cases {
            assert_eq!(decode(text), Err(error), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(decode(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(decode(nested(MAX_DEPTH + 1).as_bytes()), Err(DecodeError::TooDeep));
        assert_eq!(decode("[".repeat(1_000_000).as_bytes()), Err(DecodeError::TooDeep));
    }
}
