//! `openapi.v2.Document`. Other servers' parts of the document are in it too, so whatever servers of Kubernetes publish is written.

use serde_json::Value;

use super::As::{Any, Anys, Flag, Integer, Number, Text, Texts};
use super::{below, entries, entry, extensions, external_docs, fields, list, named, security};
use crate::protobuf::wire::Writer;

/// Encodes a v2 document.
pub(in super::super) fn document(value: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    fields(&mut out, value, &[(1, "swagger", Text)]);
    out.message(2, |out| fields(out, &value["info"], &[(1, "title", Text), (2, "version", Text)]));
    out.message(8, |out| {
        let paths = entries(&value["paths"]).filter(|(path, _)| path.starts_with('/'));
        paths.for_each(|(path, item)| entry(out, 2, path, item, path_item));
    });
    out.message(9, |out| named(out, 1, &value["definitions"], schema));
    below(&mut out, 10, value, "parameters", |out, shared| named(out, 1, shared, parameter));
    security(&mut out, 12, &value["security"]);
    out.message(13, |out| {
        named(out, 1, &value["securityDefinitions"], |out, scheme| {
            out.message(2, |out| {
                fields(out, scheme, &[(1, "type", Text), (2, "name", Text), (3, "in", Text), (4, "description", Text)]);
            });
        });
    });
    out.into_bytes()
}

fn path_item(out: &mut Writer, item: &Value) {
    let methods = [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")];
    for (number, method) in methods {
        below(out, number, item, method, operation);
    }
    parameters(out, 9, item);
    extensions(out, 10, item);
}

fn operation(out: &mut Writer, value: &Value) {
    fields(out, value, &[(1, "tags", Texts), (2, "summary", Text), (3, "description", Text)]);
    below(out, 4, value, "externalDocs", external_docs);
    fields(out, value, &[(5, "operationId", Text), (6, "produces", Texts), (7, "consumes", Texts)]);
    parameters(out, 8, value);
    out.message(9, |out| {
        let codes = entries(&value["responses"]).filter(|(code, _)| !code.starts_with("x-"));
        for (code, value) in codes {
            // One is the response itself, the other leads to it.
            entry(out, 1, code, value, |out, value| match value.get("$ref") {
                Some(_) => out.message(2, |out| fields(out, value, &[(1, "$ref", Text)])),
                None => out.message(1, |out| response(out, value)),
            });
        }
        extensions(out, 2, &value["responses"]);
    });
    fields(out, value, &[(10, "schemes", Texts), (11, "deprecated", Flag)]);
    security(out, 12, &value["security"]);
    extensions(out, 13, value);
}

fn response(out: &mut Writer, value: &Value) {
    fields(out, value, &[(1, "description", Text)]);
    below(out, 2, value, "schema", |out, found| out.message(1, |out| schema(out, found)));
    below(out, 3, value, "headers", |out, headers| {
        named(out, 1, headers, |out, header| {
            simple(out, header, 1);
            fields(out, header, &[(18, "description", Text)]);
            extensions(out, 19, header);
        });
    });
    extensions(out, 5, value);
}

fn parameters(out: &mut Writer, number: u32, value: &Value) {
    for own in list(&value["parameters"]) {
        out.message(number, |out| match own.get("$ref") {
            Some(_) => out.message(2, |out| fields(out, own, &[(1, "$ref", Text), (2, "description", Text)])),
            None => out.message(1, |out| parameter(out, own)),
        });
    }
}

fn parameter(out: &mut Writer, value: &Value) {
    let place = value["in"].as_str().unwrap_or("");
    if place == "body" {
        out.message(1, |out| {
            fields(out, value, &[(1, "description", Text), (2, "name", Text), (3, "in", Text), (4, "required", Flag)]);
            out.message(5, |out| schema(out, &value["schema"]));
            extensions(out, 6, value);
        });
        return;
    }
    // Its place says which kind it is; they differ in where their fields are.
    let (kind, first) = match place {
        "header" => (1, 5),
        "formData" => (2, 6),
        "path" => (4, 5),
        _ => (3, 6),
    };
    out.message(2, |out| {
        out.message(kind, |out| {
            fields(out, value, &[(1, "required", Flag), (2, "in", Text), (3, "description", Text), (4, "name", Text)]);
            if first == 6 {
                fields(out, value, &[(5, "allowEmptyValue", Flag)]);
            }
            simple(out, value, first);
            extensions(out, first + 17, value);
        });
    });
}

/// The keywords of a type that is no object, whose fields stand in one order everywhere.
fn simple(out: &mut Writer, value: &Value, first: u32) {
    let table = [
        (0, "type", Text),
        (1, "format", Text),
        (3, "collectionFormat", Text),
        (4, "default", Any),
        (5, "maximum", Number),
        (6, "exclusiveMaximum", Flag),
        (7, "minimum", Number),
        (8, "exclusiveMinimum", Flag),
        (9, "maxLength", Integer),
        (10, "minLength", Integer),
        (11, "pattern", Text),
        (12, "maxItems", Integer),
        (13, "minItems", Integer),
        (14, "uniqueItems", Flag),
        (15, "enum", Anys),
        (16, "multipleOf", Number),
    ];
    fields(out, value, &table.map(|(offset, key, kind)| (first + offset, key, kind)));
    below(out, first + 2, value, "items", |out, items| simple(out, items, 1));
}

fn schema(out: &mut Writer, value: &Value) {
    let table = [
        (1, "$ref", Text),
        (2, "format", Text),
        (3, "title", Text),
        (4, "description", Text),
        (5, "default", Any),
        (6, "multipleOf", Number),
        (7, "maximum", Number),
        (8, "exclusiveMaximum", Flag),
        (9, "minimum", Number),
        (10, "exclusiveMinimum", Flag),
        (11, "maxLength", Integer),
        (12, "minLength", Integer),
        (13, "pattern", Text),
        (14, "maxItems", Integer),
        (15, "minItems", Integer),
        (16, "uniqueItems", Flag),
        (17, "maxProperties", Integer),
        (18, "minProperties", Integer),
        (19, "required", Texts),
        (20, "enum", Anys),
        (26, "discriminator", Text),
        (27, "readOnly", Flag),
        (30, "example", Any),
    ];
    fields(out, value, &table);
    below(out, 21, value, "additionalProperties", |out, below| match below {
        Value::Bool(allowed) => out.present_flag(2, *allowed),
        below => out.message(1, |out| schema(out, below)),
    });
    below(out, 22, value, "type", |out, ty| match ty {
        Value::String(ty) => out.text(1, ty),
        types => out.texts(1, types),
    });
    below(out, 23, value, "items", |out, items| out.message(1, |out| schema(out, items)));
    for below in list(&value["allOf"]) {
        out.message(24, |out| schema(out, below));
    }
    below(out, 25, value, "properties", |out, properties| named(out, 1, properties, schema));
    below(out, 29, value, "externalDocs", external_docs);
    extensions(out, 31, value);
}
