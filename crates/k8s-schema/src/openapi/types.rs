//! Types as OpenAPI schemas, with the `x-kubernetes-*` extensions that clients merge and explain by.

use serde_json::{Map, Value, json};

use super::{Flavour, descriptions};
use crate::model::{Body, EnumValue, Field, Leaf, Minor, Named, Struct, Ty, TyKind, TypeDef, TypeId, model};

pub(super) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
pub(super) const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// A field whose value says which of other fields is set (none, if they say so themselves), with the values (`+union`, `+oneOf`).
type Union = (&'static str, &'static [(&'static str, &'static str)]);

/// Types with unions: package without its version, name, and the union.
const UNIONS: [(&str, &str, Union); 6] = [
    ("core", "AppArmorProfile", ("type", &[("localhostProfile", "LocalhostProfile")])),
    ("core", "PodSchedulingGroup", ("", &[("podGroupName", "PodGroupName")])),
    ("core", "SeccompProfile", ("type", &[("localhostProfile", "LocalhostProfile")])),
    ("flowcontrol", "LimitResponse", ("type", &[("queuing", "Queuing")])),
    ("flowcontrol", "PriorityLevelConfigurationSpec", ("type", &[("exempt", "Exempt"), ("limited", "Limited")])),
    ("flowcontrol", "Subject", ("kind", &[("group", "Group"), ("serviceAccount", "ServiceAccount"), ("user", "User")])),
];

/// The schema of a type of the table. Types that it refers to are added to `queue`.
pub(super) fn builtin(flavour: Flavour, def: &'static TypeDef, minor: Minor, queue: &mut Vec<TypeId>) -> Value {
    let mut schema = match &def.body {
        Body::Struct(body) => structure(flavour, def, body, minor, queue),
        Body::Leaf(leaf) => leaf_schema(flavour, *leaf),
        Body::Named(named) => named_schema(flavour, named, minor, queue),
    };
    if let Some(sentence) = descriptions::of_type(def) {
        schema["description"] = json!(sentence);
    }
    schema
}

fn structure(
    flavour: Flavour,
    def: &'static TypeDef,
    body: &'static Struct,
    minor: Minor,
    queue: &mut Vec<TypeId>,
) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in body.fields_of(minor) {
        properties.insert(field.name.to_owned(), property(flavour, def, field, minor, queue));
        if field.required {
            required.push(field.name);
        }
    }
    let mut schema = json!({ "type": "object" });
    if !properties.is_empty() {
        schema["properties"] = Value::Object(properties);
    }
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if body.atomic {
        schema["x-kubernetes-map-type"] = json!("atomic");
    }
    let package = def.package.short.split('/').next();
    if let Some((_, _, (discriminator, fields))) =
        UNIONS.iter().find(|(own, name, _)| Some(*own) == package && *name == def.name)
    {
        let fields: Map<String, Value> =
            fields.iter().map(|(field, value)| ((*field).to_owned(), json!(value))).collect();
        let mut union = json!({ "fields-to-discriminateBy": fields });
        if !discriminator.is_empty() {
            union["discriminator"] = json!(discriminator);
        }
        schema["x-kubernetes-unions"] = json!([union]);
    }
    schema
}

fn property(
    flavour: Flavour,
    owner: &'static TypeDef,
    field: &'static Field,
    minor: Minor,
    queue: &mut Vec<TypeId>,
) -> Value {
    let mut extra = Map::new();
    if let Some(sentence) = descriptions::of_field(owner, field.name, named(&field.ty)) {
        extra.insert("description".to_owned(), json!(sentence));
    }
    // Upstream's v2 document has no defaults.
    if flavour == Flavour::V3
        && let Some(default) = field.default.clone().or_else(|| zero(&field.ty, field.omit_empty))
    {
        extra.insert("default".to_owned(), default);
    }
    if let Some(list_type) = field.list_type {
        extra.insert("x-kubernetes-list-type".to_owned(), json!(list_type));
    }
    if !field.list_map_keys.is_empty() {
        extra.insert("x-kubernetes-list-map-keys".to_owned(), json!(field.list_map_keys));
    }
    if let Some(map_type) = field.map_type {
        extra.insert("x-kubernetes-map-type".to_owned(), json!(map_type));
    }
    if let Some(strategy) = field.patch_strategy {
        extra.insert("x-kubernetes-patch-strategy".to_owned(), json!(strategy));
    }
    if let Some(key) = field.patch_merge_key {
        extra.insert("x-kubernetes-patch-merge-key".to_owned(), json!(key));
    }
    beside(flavour, expression(flavour, &field.ty, minor, queue), extra)
}

/// A schema with more keywords. In v3 nothing may stand beside a reference.
fn beside(flavour: Flavour, mut schema: Value, extra: Map<String, Value>) -> Value {
    if extra.is_empty() {
        return schema;
    }
    if flavour == Flavour::V3 && schema.get("$ref").is_some() {
        schema = json!({ "allOf": [schema] });
    }
    if let Value::Object(map) = &mut schema {
        map.extend(extra);
    }
    schema
}

/// The named type that a type expression leads to, through lists and maps.
fn named(ty: &'static Ty) -> Option<&'static TypeDef> {
    match &ty.kind {
        TyKind::Named(id) => Some(model().get(*id)),
        TyKind::List(item) => named(item),
        TyKind::Map { value, .. } => named(value),
        _ => None,
    }
}

/// The default of a value that Go cannot leave out: the zero of its type (kube-openapi `mustEnforceDefault`).
fn zero(ty: &'static Ty, omit_empty: bool) -> Option<Value> {
    if ty.pointer {
        return None;
    }
    match &ty.kind {
        TyKind::Bool if !omit_empty => Some(json!(false)),
        TyKind::Float64 | TyKind::Int32 | TyKind::Int64 if !omit_empty => Some(json!(0)),
        TyKind::String if !omit_empty => Some(json!("")),
        TyKind::Named(id) => match &model().get(*id).body {
            Body::Struct(_) => Some(json!({})),
            Body::Named(named) => zero(&named.ty, omit_empty),
            Body::Leaf(_) => None,
        },
        _ => None,
    }
}

/// An item of a list or a value of a map.
fn element(flavour: Flavour, ty: &'static Ty, minor: Minor, queue: &mut Vec<TypeId>) -> Value {
    let default = if flavour == Flavour::V3 { zero(ty, false) } else { None };
    let extra = default.map(|default| ("default".to_owned(), default)).into_iter().collect();
    beside(flavour, expression(flavour, ty, minor, queue), extra)
}

fn expression(flavour: Flavour, ty: &'static Ty, minor: Minor, queue: &mut Vec<TypeId>) -> Value {
    match &ty.kind {
        TyKind::Any => json!({}),
        TyKind::Bool => json!({ "type": "boolean" }),
        TyKind::Bytes => json!({ "type": "string", "format": "byte" }),
        TyKind::Float64 => json!({ "type": "number", "format": "double" }),
        TyKind::Int32 => json!({ "type": "integer", "format": "int32" }),
        TyKind::Int64 => json!({ "type": "integer", "format": "int64" }),
        TyKind::String => json!({ "type": "string" }),
        TyKind::List(item) => json!({ "type": "array", "items": element(flavour, item, minor, queue) }),
        TyKind::Map { value, .. } => {
            json!({ "type": "object", "additionalProperties": element(flavour, value, minor, queue) })
        }
        TyKind::Named(id) => {
            let def = model().get(*id);
            match &def.body {
                // Named scalars, lists and maps are written out, as upstream does.
                Body::Named(named) => named_schema(flavour, named, minor, queue),
                Body::Struct(_) | Body::Leaf(_) => {
                    queue.push(*id);
                    flavour.reference(&def.full_name())
                }
            }
        }
    }
}

fn named_schema(flavour: Flavour, named: &'static Named, minor: Minor, queue: &mut Vec<TypeId>) -> Value {
    let mut schema = expression(flavour, &named.ty, minor, queue);
    let values: Vec<&EnumValue> = named.values.iter().filter(|value| value.minors.contains(minor)).collect();
    if !values.is_empty() {
        schema["enum"] = values.iter().map(|value| value.value).collect();
    }
    schema
}

fn leaf_schema(flavour: Flavour, leaf: Leaf) -> Value {
    match (leaf, flavour) {
        (Leaf::Duration, _) | (Leaf::Quantity, Flavour::V2) => json!({ "type": "string" }),
        (Leaf::Quantity, Flavour::V3) => json!({ "oneOf": [{ "type": "string" }, { "type": "number" }] }),
        (Leaf::FieldsV1 | Leaf::RawExtension, _) => json!({ "type": "object" }),
        (Leaf::IntOrString, Flavour::V2) => json!({ "type": "string", "format": "int-or-string" }),
        (Leaf::IntOrString, Flavour::V3) => {
            json!({ "format": "int-or-string", "oneOf": [{ "type": "integer" }, { "type": "string" }] })
        }
        (Leaf::MicroTime | Leaf::Time, _) => json!({ "type": "string", "format": "date-time" }),
        (Leaf::Json | Leaf::JsonSchemaOrArray | Leaf::JsonSchemaOrBool | Leaf::JsonSchemaOrStringArray, _) => json!({}),
    }
}

/// What every object has. Descriptions of a custom schema's own stay where it has some.
fn type_fields(flavour: Flavour, meta: &str) -> [(&'static str, Value); 3] {
    let sentence = |name: &str| descriptions::of_any_field(name);
    let mut metadata = match flavour {
        Flavour::V2 => flavour.reference(meta),
        Flavour::V3 => json!({ "allOf": [flavour.reference(meta)] }),
    };
    metadata["description"] = json!(sentence("metadata"));
    [
        ("apiVersion", json!({ "type": "string", "description": sentence("apiVersion") })),
        ("kind", json!({ "type": "string", "description": sentence("kind") })),
        ("metadata", metadata),
    ]
}

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";

fn is_set(schema: &Value, extension: &str) -> bool {
    schema.get(extension) == Some(&Value::Bool(true))
}

/// A custom schema as published: what every object has is added, and v2 loses what it cannot say (apiextensions
/// `buildKubeNative`).
pub(super) fn custom(flavour: Flavour, source: &str) -> Value {
    let mut schema: Value = serde_json::from_str(source).unwrap_or_else(|_| json!({ "type": "object" }));
    if flavour == Flavour::V2 {
        if is_set(&schema, PRESERVE) {
            // With any property named, kubectl takes those that are not for unknown.
            return json!({ "type": "object" });
        }
        reduce(&mut schema);
    }
    embed(flavour, &mut schema);
    for (name, field) in type_fields(flavour, OBJECT_META) {
        schema["properties"][name] = field;
    }
    schema
}

/// Calls with every schema directly below one.
fn below(schema: &mut Map<String, Value>, mut then: impl FnMut(&mut Value)) {
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().for_each(&mut then);
    }
    for name in ["additionalProperties", "items"] {
        if let Some(own) = schema.get_mut(name) {
            then(own);
        }
    }
}

/// Adds what every object has to the objects inside of a schema.
fn embed(flavour: Flavour, schema: &mut Value) {
    let Value::Object(map) = &mut *schema else { return };
    below(map, |own| embed(flavour, own));
    if !is_set(schema, EMBEDDED) || (flavour == Flavour::V2 && is_set(schema, PRESERVE)) {
        return;
    }
    for (name, field) in type_fields(flavour, OBJECT_META) {
        schema["properties"][name] = field;
    }
    let mut required = schema["required"].as_array().cloned().unwrap_or_default();
    for name in ["kind", "apiVersion"] {
        if !required.iter().any(|own| own == name) {
            required.push(json!(name));
        }
    }
    schema["required"] = json!(required);
}

/// Removes what OpenAPI v2 clients, kubectl above all, do not understand (apiextensions `ToStructuralOpenAPIV2`).
fn reduce(schema: &mut Value) {
    let nullable = is_set(schema, "nullable");
    let preserves = is_set(schema, PRESERVE);
    let Value::Object(map) = schema else { return };
    for name in ["allOf", "anyOf", "not", "nullable", "oneOf"] {
        map.remove(name);
    }
    if nullable {
        map.remove("type");
    }
    if nullable || preserves {
        // What is named below an open or untyped value would be taken for all that there may be.
        map.remove("items");
        map.remove("properties");
    }
    let is_bare_list = map.get("type").is_some_and(|own| own == "array") && !map.contains_key("items");
    if is_bare_list || (preserves && map.get("type").is_some_and(|own| own == "object")) {
        map.remove("type");
    }
    let nullables: Vec<String> = map.get("properties").and_then(Value::as_object).map_or_else(Vec::new, |properties| {
        properties.iter().filter(|(_, own)| is_set(own, "nullable")).map(|(name, _)| name.clone()).collect()
    });
    if let Some(Value::Array(required)) = map.get_mut("required") {
        required.retain(|name| !nullables.iter().any(|own| name == own));
        if required.is_empty() {
            map.remove("required");
        }
    }
    if map.get("additionalProperties").is_some_and(|own| is_set(own, "nullable")) {
        map.remove("required");
    }
    below(map, reduce);
}

pub(super) fn custom_list(flavour: Flavour, item: &str) -> Value {
    let mut properties: Map<String, Value> =
        type_fields(flavour, LIST_META).into_iter().map(|(name, field)| (name.to_owned(), field)).collect();
    properties.insert(
        "items".to_owned(),
        json!({
            "type": "array", "items": flavour.reference(item),
            "description": descriptions::of_any_field("items"),
        }),
    );
    let kind = item.rsplit('.').next().unwrap_or(item);
    json!({
        "type": "object", "required": ["items"], "properties": properties,
        "description": descriptions::of_list(kind),
    })
}
