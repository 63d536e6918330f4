//! A v2 document in the notation of v3 (kube-openapi `openapiconv`), for servers that publish no other.

use serde_json::{Map, Value, json};

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];
/// What stands in an operation of both notations.
const SHARED: [&str; 7] = ["deprecated", "description", "externalDocs", "operationId", "security", "summary", "tags"];

/// The same document in v3.
pub fn openapi_v3_of_v2(document: &Value) -> Value {
    let mut out = json!({
        "openapi": "3.0.0",
        "info": document["info"],
        "paths": each(&document["paths"], path_item),
        "components": { "schemas": each(&document["definitions"], schema) },
    });
    copy(document, &["externalDocs"], &mut out);
    for (key, write) in [("parameters", parameter as fn(&Value) -> Value), ("securityDefinitions", Value::clone)] {
        if document[key].is_object() {
            let name = if key == "parameters" { key } else { "securitySchemes" };
            out["components"][name] = each(&document[key], write);
        }
    }
    out
}

fn each(map: &Value, write: impl Fn(&Value) -> Value) -> Value {
    let entries = map.as_object().into_iter().flatten();
    Value::Object(entries.map(|(name, value)| (name.clone(), write(value))).collect())
}

fn copy(from: &Value, keys: &[&str], to: &mut Value) {
    for key in keys {
        if let Some(value) = from.get(key) {
            to[key] = value.clone();
        }
    }
}

fn copy_extensions(from: &Value, to: &mut Value) {
    for (key, value) in from.as_object().into_iter().flatten().filter(|(key, _)| key.starts_with("x-")) {
        to[key] = value.clone();
    }
}

fn path_item(item: &Value) -> Value {
    let mut out = json!({});
    for method in METHODS {
        if let Some(own) = item.get(method) {
            out[method] = operation(own);
        }
    }
    if let Some(list) = item["parameters"].as_array() {
        out["parameters"] = list.iter().map(parameter).collect();
    }
    copy_extensions(item, &mut out);
    out
}

fn operation(own: &Value) -> Value {
    let mut out = json!({});
    copy(own, &SHARED, &mut out);
    copy_extensions(own, &mut out);
    let (bodies, others): (Vec<&Value>, Vec<&Value>) =
        own["parameters"].as_array().into_iter().flatten().partition(|one| one["in"] == "body");
    if let Some(body) = bodies.first() {
        out["requestBody"] = json!({ "content": content(&own["consumes"], &body["schema"]) });
        copy(body, &["description", "required"], &mut out["requestBody"]);
    }
    if !others.is_empty() {
        out["parameters"] = others.into_iter().map(parameter).collect();
    }
    out["responses"] = each(&own["responses"], |response| {
        let mut out = json!({});
        copy(response, &["description"], &mut out);
        copy_extensions(response, &mut out);
        if let Some(schema) = response.get("schema") {
            out["content"] = content(&own["produces"], schema);
        }
        out
    });
    out
}

/// A schema for each form.
fn content(forms: &Value, own: &Value) -> Value {
    let forms = forms.as_array().into_iter().flatten().filter_map(Value::as_str);
    Value::Object(forms.map(|form| (form.to_owned(), json!({ "schema": schema(own) }))).collect())
}

fn parameter(own: &Value) -> Value {
    if let Some(reference) = own["$ref"].as_str() {
        return json!({ "$ref": reference.replacen("#/parameters/", "#/components/parameters/", 1) });
    }
    let mut out = json!({});
    copy(own, &["name", "in", "description", "required", "allowEmptyValue"], &mut out);
    copy_extensions(own, &mut out);
    let simple = || {
        let mut simple = json!({});
        copy(own, &["type", "format", "uniqueItems"], &mut simple);
        simple
    };
    out["schema"] = own.get("schema").map_or_else(simple, schema);
    out
}

/// References lead elsewhere, and nothing may stand beside them.
fn schema(own: &Value) -> Value {
    let Value::Object(map) = own else { return own.clone() };
    let mut out = Map::new();
    for (key, value) in map {
        let converted = match key.as_str() {
            "additionalProperties" | "items" => schema(value),
            "properties" => each(value, schema),
            "allOf" => value.as_array().into_iter().flatten().map(schema).collect(),
            "$ref" => {
                let reference = value.as_str().unwrap_or("");
                json!(reference.replacen("#/definitions/", "#/components/schemas/", 1))
            }
            _ => value.clone(),
        };
        out.insert(key.clone(), converted);
    }
    if out.len() > 1
        && let Some(reference) = out.remove("$ref")
    {
        out.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_written_in_the_other_notation() {
        let reference = json!({"$ref": "#/definitions/T", "description": "One."});
        let document = json!({
            "swagger": "2.0", "info": {"title": "S", "version": "1"},
            "paths": {"/a": {
                "parameters": [{"$ref": "#/parameters/p"}],
                "post": {
                    "operationId": "make", "consumes": ["*/*"], "produces": ["application/json"], "x-kubernetes-action": "post",
                    "parameters": [
                        {"name": "body", "in": "body", "required": true, "schema": reference},
                        {"name": "dryRun", "in": "query", "type": "string", "uniqueItems": true},
                    ],
                    "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/T"}}, "401": {"description": "No"}},
                },
            }},
            "definitions": {"T": {"type": "object", "properties": {"next": reference, "all": {"type": "array", "items": {"$ref": "#/definitions/T"}}}}},
            "parameters": {"p": {"name": "p", "in": "path", "required": true, "type": "string"}},
            "securityDefinitions": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}},
        });
        let wrapped = json!({"allOf": [{"$ref": "#/components/schemas/T"}], "description": "One."});
        let plain = json!({"$ref": "#/components/schemas/T"});
        let expected = json!({
            "openapi": "3.0.0", "info": {"title": "S", "version": "1"},
            "paths": {"/a": {
                "parameters": [{"$ref": "#/components/parameters/p"}],
                "post": {
                    "operationId": "make", "x-kubernetes-action": "post",
                    "requestBody": {"required": true, "content": {"*/*": {"schema": wrapped}}},
                    "parameters": [{"name": "dryRun", "in": "query", "schema": {"type": "string", "uniqueItems": true}}],
                    "responses": {
                        "200": {"description": "OK", "content": {"application/json": {"schema": plain}}},
                        "401": {"description": "No"},
                    },
                },
            }},
            "components": {
                "schemas": {"T": {"type": "object", "properties": {"next": wrapped, "all": {"type": "array", "items": plain}}}},
                "parameters": {"p": {"name": "p", "in": "path", "required": true, "schema": {"type": "string"}}},
                "securitySchemes": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}},
            },
        });
        assert_eq!(openapi_v3_of_v2(&document), expected);
    }
}
