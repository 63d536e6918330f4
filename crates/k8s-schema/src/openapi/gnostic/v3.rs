//! `openapi.v3.Document`, of the documents that this server makes itself or from those in v2 of others.

use serde_json::Value;

use super::As::{Any, Anys, Flag, Integer, Number, Text, Texts};
use super::{below, entries, entry, extensions, external_docs, fields, list, named, security};
use crate::protobuf::wire::Writer;

/// Encodes a v3 document.
pub(in super::super) fn document(value: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    fields(&mut out, value, &[(1, "openapi", Text)]);
    let info = [(1, "title", Text), (2, "description", Text), (3, "termsOfService", Text), (6, "version", Text)];
    out.message(2, |out| fields(out, &value["info"], &info));
    out.message(4, |out| named(out, 1, &value["paths"], path_item));
    below(&mut out, 5, value, "components", |out, components| {
        below(out, 1, components, "schemas", |out, schemas| named(out, 1, schemas, schema));
        below(out, 3, components, "parameters", |out, shared| named(out, 1, shared, parameter));
        below(out, 7, components, "securitySchemes", |out, schemes| {
            named(out, 1, schemes, |out, scheme| {
                out.message(1, |out| {
                    fields(
                        out,
                        scheme,
                        &[(1, "type", Text), (2, "description", Text), (3, "name", Text), (4, "in", Text)],
                    );
                });
            });
        });
    });
    security(&mut out, 6, &value["security"]);
    out.into_bytes()
}

fn path_item(out: &mut Writer, item: &Value) {
    let methods = [(4, "get"), (5, "put"), (6, "post"), (7, "delete"), (8, "options"), (9, "head"), (10, "patch")];
    for (number, method) in methods {
        below(out, number, item, method, operation);
    }
    parameters(out, 13, item);
    extensions(out, 14, item);
}

fn operation(out: &mut Writer, value: &Value) {
    fields(out, value, &[(1, "tags", Texts), (2, "summary", Text), (3, "description", Text), (5, "operationId", Text)]);
    below(out, 4, value, "externalDocs", external_docs);
    parameters(out, 6, value);
    below(out, 7, value, "requestBody", |out, body| {
        out.message(1, |out| {
            fields(out, body, &[(1, "description", Text)]);
            content(out, 2, body);
            fields(out, body, &[(3, "required", Flag)]);
        });
    });
    out.message(8, |out| {
        for (code, value) in entries(&value["responses"]) {
            match code.as_str() {
                "default" => out.message(1, |out| response(out, value)),
                code => entry(out, 2, code, value, response),
            }
        }
    });
    fields(out, value, &[(10, "deprecated", Flag)]);
    extensions(out, 13, value);
}

fn response(out: &mut Writer, value: &Value) {
    or_reference(out, value, |out| {
        fields(out, value, &[(1, "description", Text)]);
        content(out, 3, value);
        extensions(out, 5, value);
    });
}

/// Forms of a body, each with its schema.
fn content(out: &mut Writer, number: u32, value: &Value) {
    below(out, number, value, "content", |out, types| {
        named(out, 1, types, |out, form| below(out, 1, form, "schema", schema));
    });
}

fn parameters(out: &mut Writer, number: u32, value: &Value) {
    for own in list(&value["parameters"]) {
        out.message(number, |out| parameter(out, own));
    }
}

fn parameter(out: &mut Writer, value: &Value) {
    or_reference(out, value, |out| {
        fields(out, value, &[(1, "name", Text), (2, "in", Text), (3, "description", Text), (4, "required", Flag)]);
        fields(out, value, &[(6, "allowEmptyValue", Flag)]);
        below(out, 10, value, "schema", schema);
        extensions(out, 14, value);
    });
}

/// The thing itself, or what leads to it.
fn or_reference(out: &mut Writer, value: &Value, write: impl FnOnce(&mut Writer)) {
    match value.get("$ref") {
        Some(_) => out.message(2, |out| fields(out, value, &[(1, "$ref", Text)])),
        None => out.message(1, write),
    }
}

fn schema(out: &mut Writer, value: &Value) {
    or_reference(out, value, |out| keywords(out, value));
}

fn keywords(out: &mut Writer, value: &Value) {
    let table = [
        (1, "nullable", Flag),
        (3, "readOnly", Flag),
        (4, "writeOnly", Flag),
        (7, "example", Any),
        (8, "deprecated", Flag),
        (9, "title", Text),
        (10, "multipleOf", Number),
        (11, "maximum", Number),
        (12, "exclusiveMaximum", Flag),
        (13, "minimum", Number),
        (14, "exclusiveMinimum", Flag),
        (15, "maxLength", Integer),
        (16, "minLength", Integer),
        (17, "pattern", Text),
        (18, "maxItems", Integer),
        (19, "minItems", Integer),
        (20, "uniqueItems", Flag),
        (21, "maxProperties", Integer),
        (22, "minProperties", Integer),
        (23, "required", Texts),
        (24, "enum", Anys),
        (25, "type", Text),
        (34, "description", Text),
        (35, "format", Text),
    ];
    fields(out, value, &table);
    below(out, 6, value, "externalDocs", external_docs);
    for (number, key) in [(26, "allOf"), (27, "oneOf"), (28, "anyOf")] {
        for part in list(&value[key]) {
            out.message(number, |out| schema(out, part));
        }
    }
    below(out, 29, value, "not", keywords);
    below(out, 30, value, "items", |out, items| out.message(1, |out| schema(out, items)));
    below(out, 31, value, "properties", |out, properties| named(out, 1, properties, schema));
    below(out, 32, value, "additionalProperties", |out, below| match below {
        Value::Bool(allowed) => out.present_flag(2, *allowed),
        below => out.message(1, |out| schema(out, below)),
    });
    // Objects and lists have no form there: gnostic's reader keeps that there is a default, and not which.
    below(out, 33, value, "default", |out, default| match default {
        Value::Number(number) => out.number(1, number.as_f64().unwrap_or(0.0)),
        Value::Bool(flag) => out.present_flag(2, *flag),
        Value::String(text) => out.present_text(3, text),
        Value::Null | Value::Array(_) | Value::Object(_) => {}
    });
    extensions(out, 36, value);
}
