//! The text of a set, `FieldsV1`: `{"f:spec":{"f:replicas":{}},"f:data":{".":{},"f:key":{}}}`.
//!
//! `.` stands for the element itself where there are others below it. The order of elements is the set's own: names, then keys,
//! values and indices, each by what they are, so that port 80 comes before port 443.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::element::Element;
use super::set::Set;

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.write_str(&text)
    }
}

impl Set {
    /// Appends the text of the set.
    pub fn write(&self, out: &mut String) {
        out.push('{');
        self.write_nodes(false, out);
        out.push('}');
    }

    fn write_nodes(&self, member: bool, out: &mut String) {
        let mut first = true;
        if member && !self.is_empty() {
            out.push_str(r#"".":{}"#);
            first = false;
        }
        for node in self.nodes() {
            if !first {
                out.push(',');
            }
            first = false;
            out.push('"');
            write_element(&node.element, out);
            out.push_str("\":{");
            node.below.write_nodes(node.member, out);
            out.push('}');
        }
    }
}

fn write_element(element: &Element, out: &mut String) {
    match element {
        Element::Field(name) => {
            out.push_str("f:");
            escape(name, out);
        }
        Element::Key(fields) => {
            out.push_str("k:{");
            for (at, (name, value)) in fields.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                let mut quoted = String::with_capacity(name.len() + 2);
                quoted.push('"');
                escape(name, &mut quoted);
                quoted.push('"');
                escape(&quoted, out);
                out.push(':');
                write_value(value, out);
            }
            out.push('}');
        }
        Element::Value(value) => {
            out.push_str("v:");
            write_value(value, out);
        }
        Element::Index(index) => {
            // Writing to a String cannot fail.
            let _ = write!(out, "i:{index}");
        }
    }
}

/// A value as JSON within a string. Within values, upstream's encoder also hides what HTML would read.
fn write_value(value: &Value, out: &mut String) {
    let text = value.to_string();
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return escape(&text, out);
    }
    let mut hidden = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(hidden, "\\u{:04x}", c as u32);
            }
            c => hidden.push(c),
        }
    }
    escape(&hidden, out);
}

/// The inside of a JSON string.
fn escape(text: &str, out: &mut String) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        return out.push_str(text);
    }
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
}

impl Element {
    /// Reads an element; `None` for a kind that a later version may know.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Option<Element>, String> {
        if text.len() < 2 {
            return Err("key must be 2 characters long:".to_owned());
        }
        if text.as_bytes()[1] != b':' {
            return Err(format!("missing colon: {text}"));
        }
        let (kind, rest) = text.split_at(2);
        Ok(Some(match kind {
            "f:" => Element::Field(rest.into()),
            "v:" => Element::Value(serde_json::from_str(rest).map_err(|error| error.to_string())?),
            "k:" => {
                let fields: serde_json::Map<String, Value> =
                    serde_json::from_str(rest).map_err(|error| error.to_string())?;
                Element::Key(fields.into_iter().map(|(name, value)| (name.into_boxed_str(), value)).collect())
            }
            "i:" => Element::Index(rest.parse().map_err(|_| format!("{rest:?} is not an index"))?),
            _ => return Ok(None),
        }))
    }
}

/// What stands behind an element: its members, and whether it is one itself.
struct Below(Set, bool);

impl<'de> Deserialize<'de> for Below {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Below, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Below;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of fields")
            }

            fn visit_unit<E>(self) -> Result<Below, E> {
                Ok(Below(Set::default(), true))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Below, A::Error> {
                let (mut set, mut member) = (Set::default(), false);
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    if key == "." {
                        map.next_value::<IgnoredAny>()?;
                        member = true;
                        continue;
                    }
                    match Element::parse(&key).map_err(A::Error::custom)? {
                        Some(element) => {
                            let Below(below, member) = map.next_value()?;
                            set.put(element, member, below);
                        }
                        None => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                // An element with nothing below it stands for itself.
                member |= set.is_empty();
                Ok(Below(set, member))
            }
        }
        deserializer.deserialize_any(Fields)
    }
}

impl<'de> Deserialize<'de> for Set {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Set, D::Error> {
        Ok(Below::deserialize(deserializer)?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_set_reads_back_as_it_was() {
        let cases = [
            "{}",
            r#"{"f:a":{}}"#,
            r#"{"f:a":{".":{},"f:b":{}},"f:c":{"f:d":{}}}"#,
            r#"{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{},"k:{\"containerPort\":443,\"protocol\":\"TCP\"}":{".":{},"f:x":{}}}"#,
            r#"{"f:z":{},"k:{\"name\":\"a\"}":{},"v:1":{},"v:\"a\"":{},"v:true":{},"i:1":{}}"#,
            r#"{"f:we\"ird\\":{},"v:\"a\\\"b\"":{}}"#,
            r#"{"v:\"a\\u0026b\"":{}}"#,
        ];
        for text in cases {
            let set: Set = serde_json::from_str(text).unwrap();
            assert_eq!(set.to_string(), text);
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::from_value::<Set>(value).unwrap(), set, "{text}");
        }
    }

    #[test]
    fn other_texts_are_read_as_upstream_reads_them() {
        let cases = [
            // Out of order.
            (r#"{"f:b":{},"f:a":{}}"#, Some(r#"{"f:a":{},"f:b":{}}"#)),
            // An unknown kind of element is dropped.
            (r#"{"x:b":{"f:c":{}},"f:a":{}}"#, Some(r#"{"f:a":{}}"#)),
            (r#"{"f:a":{".":{}}}"#, Some(r#"{"f:a":{}}"#)),
            (r#"{"a":{}}"#, None),
            (r#"{"k:name":{}}"#, None),
            (r#"{"i:x":{}}"#, None),
            (r#"[]"#, None),
        ];
        for (text, expected) in cases {
            let read = serde_json::from_str::<Set>(text).ok().map(|set| set.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }
}
