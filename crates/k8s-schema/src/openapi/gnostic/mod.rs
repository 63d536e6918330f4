//! Documents as clients with generated code want them: gnostic's `openapi.v2.Document` and `openapi.v3.Document` in protobuf
//! (`OpenAPIv2.proto`, `OpenAPIv3.proto`).
//!
//! Written from the document as a value. What has no field of its own there, the `x-` extensions and the values of enumerations, is text in
//! YAML, of which JSON is a part.

pub(super) mod v2;
pub(super) mod v3;

use std::convert::Infallible;

use serde_json::Value;

use crate::protobuf::wire::{BYTES, FIXED64, VARINT, Writer};

/// How a keyword is written.
#[derive(Clone, Copy)]
enum As {
    Any,
    Anys,
    Flag,
    Integer,
    Number,
    Text,
    Texts,
}

/// Keywords with the numbers of their fields.
type Fields = [(u32, &'static str, As)];

/// Writes the keywords of a table that a value has.
fn fields(out: &mut Writer, value: &Value, fields: &Fields) {
    let Value::Object(map) = value else { return };
    for (number, key, kind) in fields {
        if let Some(found) = map.get(*key) {
            field(out, *number, found, *kind);
        }
    }
}

fn field(out: &mut Writer, number: u32, value: &Value, kind: As) {
    match kind {
        As::Any => any(out, number, value),
        As::Anys => list(value).iter().for_each(|value| any(out, number, value)),
        As::Flag => out.flag(number, value == true),
        As::Integer => {
            if let Some(limit) = value.as_i64().filter(|limit| *limit != 0) {
                out.tag(number, VARINT);
                out.varint(limit as u64);
            }
        }
        As::Number => {
            if let Some(limit) = value.as_f64().filter(|limit| *limit != 0.0) {
                out.number(number, limit);
            }
        }
        As::Text => out.text(number, value.as_str().unwrap_or("")),
        As::Texts => out.texts(number, value),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// A map as messages of a name and a value.
fn named(out: &mut Writer, number: u32, map: &Value, write: impl Fn(&mut Writer, &Value)) {
    for (name, value) in entries(map) {
        entry(out, number, name, value, &write);
    }
}

fn entry(out: &mut Writer, number: u32, name: &str, value: &Value, write: impl Fn(&mut Writer, &Value)) {
    out.message(number, |out| {
        out.text(1, name);
        out.message(2, |out| write(out, value));
    });
}

/// Any value: its text.
fn any(out: &mut Writer, number: u32, value: &Value) {
    out.message(number, |out| out.text(2, &format!("{value}\n")));
}

fn extensions(out: &mut Writer, number: u32, map: &Value) {
    for (name, value) in entries(map).filter(|(name, _)| name.starts_with("x-")) {
        out.message(number, |out| {
            out.text(1, name);
            any(out, 2, value);
        });
    }
}

/// A message below a keyword, if the value has that.
fn below(out: &mut Writer, number: u32, value: &Value, key: &str, write: impl FnOnce(&mut Writer, &Value)) {
    if let Some(found) = value.get(key) {
        out.message(number, |out| write(out, found));
    }
}

fn external_docs(out: &mut Writer, value: &Value) {
    fields(out, value, &[(1, "description", As::Text), (2, "url", As::Text)]);
}

/// Which schemes a request must satisfy.
fn security(out: &mut Writer, number: u32, requirements: &Value) {
    for requirement in list(requirements) {
        out.message(number, |out| named(out, 1, requirement, |out, scopes| out.texts(1, scopes)));
    }
}

/// Fields that are left out when they are zero.
impl Writer {
    fn text(&mut self, number: u32, text: &str) {
        if !text.is_empty() {
            self.present_text(number, text);
        }
    }

    fn texts(&mut self, number: u32, texts: &Value) {
        for text in list(texts).iter().filter_map(Value::as_str) {
            self.present_text(number, text);
        }
    }

    fn flag(&mut self, number: u32, flag: bool) {
        if flag {
            self.present_flag(number, flag);
        }
    }

    fn message(&mut self, number: u32, write: impl FnOnce(&mut Writer)) {
        let Ok(()) = self.nested(number, |out| {
            write(out);
            Ok::<(), Infallible>(())
        });
    }
}

/// Fields that stand there whatever they hold, as members of a `oneof` do.
impl Writer {
    fn present_text(&mut self, number: u32, text: &str) {
        self.tag(number, BYTES);
        self.varint(text.len() as u64);
        self.raw(text.as_bytes());
    }

    fn present_flag(&mut self, number: u32, flag: bool) {
        self.tag(number, VARINT);
        self.varint(u64::from(flag));
    }

    fn number(&mut self, number: u32, value: f64) {
        self.tag(number, FIXED64);
        self.raw(&value.to_bits().to_le_bytes());
    }
}
