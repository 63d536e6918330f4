//! The v2 document as clients with generated code want it: gnostic's `openapi.v2.Document` in protobuf (`OpenAPIv2.proto`).
//!
//! Written from the document as a value. What has no field of its own there, the `x-` extensions and defaults, is text in YAML, of
//! which JSON is a part.

use std::convert::Infallible;

use serde_json::{Map, Value};

use crate::protobuf::wire::{BYTES, FIXED64, VARINT, Writer};

/// Encodes a v2 document.
pub(super) fn document(value: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    let text = |key: &str| value[key].as_str().unwrap_or("");
    out.text(1, text("swagger"));
    out.message(2, |out| {
        out.text(1, value["info"]["title"].as_str().unwrap_or(""));
        out.text(2, value["info"]["version"].as_str().unwrap_or(""));
    });
    out.message(8, |out| {
        named(out, 2, &value["paths"], path_item);
    });
    out.message(9, |out| named(out, 1, &value["definitions"], schema));
    for requirement in list(&value["security"]) {
        out.message(12, |out| {
            named(out, 1, requirement, |out, scopes| out.texts(1, scopes));
        });
    }
    out.message(13, |out| {
        named(out, 1, &value["securityDefinitions"], |out, scheme| {
            out.message(2, |out| {
                for (number, key) in [(1, "type"), (2, "name"), (3, "in"), (4, "description")] {
                    out.text(number, scheme[key].as_str().unwrap_or(""));
                }
            });
        });
    });
    out.into_bytes()
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
        out.message(number, |out| {
            out.text(1, name);
            out.message(2, |out| write(out, value));
        });
    }
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

fn path_item(out: &mut Writer, item: &Value) {
    for (number, method) in
        [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")]
    {
        if let Some(value) = item.get(method) {
            out.message(number, |out| operation(out, value));
        }
    }
    parameters(out, 9, item);
}

fn operation(out: &mut Writer, value: &Value) {
    out.texts(1, &value["tags"]);
    out.text(3, value["description"].as_str().unwrap_or(""));
    out.text(5, value["operationId"].as_str().unwrap_or(""));
    out.texts(6, &value["produces"]);
    out.texts(7, &value["consumes"]);
    parameters(out, 8, value);
    out.message(9, |out| {
        // Each is a response, and not a reference to one.
        named(out, 1, &value["responses"], |out, value| out.message(1, |out| response(out, value)));
    });
    out.texts(10, &value["schemes"]);
    extensions(out, 13, value);
}

fn response(out: &mut Writer, value: &Value) {
    out.text(1, value["description"].as_str().unwrap_or(""));
    if let Some(found) = value.get("schema") {
        out.message(2, |out| out.message(1, |out| schema(out, found)));
    }
}

fn parameters(out: &mut Writer, number: u32, value: &Value) {
    for parameter in list(&value["parameters"]) {
        let text = |key: &str| parameter[key].as_str().unwrap_or("");
        let flag = |key: &str| parameter[key] == true;
        // Each is a parameter, and not a reference to one.
        out.message(number, |out| {
            out.message(1, |out| match text("in") {
                "body" => out.message(1, |out| {
                    out.text(1, text("description"));
                    out.text(2, text("name"));
                    out.text(3, text("in"));
                    out.flag(4, flag("required"));
                    out.message(5, |out| schema(out, &parameter["schema"]));
                }),
                place => out.message(2, |out| {
                    // Its place says which kind it is; the two that there are differ in where their fields are.
                    let (kind, ty, unique) = if place == "path" { (4, 5, 19) } else { (3, 6, 20) };
                    out.message(kind, |out| {
                        out.flag(1, flag("required"));
                        out.text(2, place);
                        out.text(3, text("description"));
                        out.text(4, text("name"));
                        out.text(ty, text("type"));
                        out.flag(unique, flag("uniqueItems"));
                    });
                }),
            });
        });
    }
}

/// Fields of a schema by their kind.
const TEXTS: [(u32, &str); 6] =
    [(1, "$ref"), (2, "format"), (3, "title"), (4, "description"), (13, "pattern"), (26, "discriminator")];
const NUMBERS: [(u32, &str); 3] = [(6, "multipleOf"), (7, "maximum"), (9, "minimum")];
const FLAGS: [(u32, &str); 4] =
    [(8, "exclusiveMaximum"), (10, "exclusiveMinimum"), (16, "uniqueItems"), (27, "readOnly")];
const INTEGERS: [(u32, &str); 6] = [
    (11, "maxLength"),
    (12, "minLength"),
    (14, "maxItems"),
    (15, "minItems"),
    (17, "maxProperties"),
    (18, "minProperties"),
];

fn schema(out: &mut Writer, value: &Value) {
    let Value::Object(map) = value else { return };
    for (number, key) in TEXTS {
        out.text(number, text(map, key));
    }
    if let Some(default) = map.get("default") {
        any(out, 5, default);
    }
    for (number, key) in NUMBERS {
        if let Some(limit) = map.get(key).and_then(Value::as_f64) {
            out.tag(number, FIXED64);
            out.raw(&limit.to_bits().to_le_bytes());
        }
    }
    for (number, key) in FLAGS {
        out.flag(number, map.get(key) == Some(&Value::Bool(true)));
    }
    for (number, key) in INTEGERS {
        if let Some(limit) = map.get(key).and_then(Value::as_i64) {
            out.tag(number, VARINT);
            out.varint(limit as u64);
        }
    }
    out.texts(19, map.get("required").unwrap_or(&Value::Null));
    for allowed in map.get("enum").map_or(&[][..], list) {
        any(out, 20, allowed);
    }
    match map.get("additionalProperties") {
        Some(Value::Bool(allowed)) => out.message(21, |out| {
            out.tag(2, VARINT);
            out.varint(u64::from(*allowed));
        }),
        Some(below) => out.message(21, |out| out.message(1, |out| schema(out, below))),
        None => {}
    }
    match map.get("type") {
        Some(Value::String(ty)) => out.message(22, |out| out.text(1, ty)),
        Some(types) => out.message(22, |out| out.texts(1, types)),
        None => {}
    }
    if let Some(items) = map.get("items") {
        out.message(23, |out| out.message(1, |out| schema(out, items)));
    }
    for below in map.get("allOf").map_or(&[][..], list) {
        out.message(24, |out| schema(out, below));
    }
    if let Some(properties) = map.get("properties") {
        out.message(25, |out| named(out, 1, properties, schema));
    }
    if let Some(docs) = map.get("externalDocs") {
        out.message(29, |out| {
            out.text(1, docs["description"].as_str().unwrap_or(""));
            out.text(2, docs["url"].as_str().unwrap_or(""));
        });
    }
    if let Some(example) = map.get("example") {
        any(out, 30, example);
    }
    extensions(out, 31, value);
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or("")
}

/// Fields that are left out when they are zero.
impl Writer {
    fn text(&mut self, number: u32, text: &str) {
        if !text.is_empty() {
            self.tag(number, BYTES);
            self.varint(text.len() as u64);
            self.raw(text.as_bytes());
        }
    }

    fn texts(&mut self, number: u32, texts: &Value) {
        for text in list(texts).iter().filter_map(Value::as_str) {
            self.tag(number, BYTES);
            self.varint(text.len() as u64);
            self.raw(text.as_bytes());
        }
    }

    fn flag(&mut self, number: u32, flag: bool) {
        if flag {
            self.tag(number, VARINT);
            self.varint(1);
        }
    }

    fn message(&mut self, number: u32, write: impl FnOnce(&mut Writer)) {
        let Ok(()) = self.nested(number, |out| {
            write(out);
            Ok::<(), Infallible>(())
        });
    }
}
