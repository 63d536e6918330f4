//! Structural schemas as the types of expressions.

use std::sync::Arc;

use cel::{DeclKind, DeclType, ListKind};
use serde_json::Value;

use crate::crd::{Additional, ListType, Structural, Type};

/// The type of values of a schema under a name that is unique to its place; `None` when rules cannot see them.
///
/// A whole resource has `apiVersion`, `kind` and its name even when the schema does not say so.
pub(super) fn declare(schema: &Structural, resource: bool, name: &str) -> Option<Arc<DeclType>> {
    let decl = known(schema, resource, name)?;
    Some(if schema.nullable { decl.or_null() } else { decl })
}

/// A code point may have four bytes, and requests are limited in bytes.
fn max_bytes(schema: &Structural) -> Option<u64> {
    schema.rules.as_ref()?.max_length.map(|max| max.saturating_mul(4))
}

fn known(schema: &Structural, resource: bool, name: &str) -> Option<Arc<DeclType>> {
    if schema.int_or_string {
        return Some(DeclType::int_or_string(max_bytes(schema)));
    }
    let rules = schema.rules.as_deref();
    Some(match schema.ty? {
        Type::Array => {
            let items = schema.items.as_deref()?;
            let kind = match schema.list_type {
                Some(ListType::Map) => ListKind::Map(schema.list_map_keys.clone()),
                Some(ListType::Set) => ListKind::Set,
                Some(ListType::Atomic) | None => ListKind::Atomic,
            };
            let items = declare(items, items.embedded_resource, &format!("{name}.@idx"))?;
            DeclType::list(items, kind, rules.and_then(|rules| rules.max_items))
        }
        Type::Boolean => DeclType::bool(),
        Type::Integer => DeclType::int(),
        Type::Number => DeclType::double(),
        Type::Object => match &schema.additional {
            Additional::Schema(values) => {
                let values = declare(values, values.embedded_resource, &format!("{name}.@elem"))?;
                DeclType::map(values, rules.and_then(|rules| rules.max_properties))
            }
            Additional::Any | Additional::None => object(schema, resource, name),
        },
        Type::String => string(schema),
    })
}

fn string(schema: &Structural) -> Arc<DeclType> {
    let rules = schema.rules.as_deref();
    match rules.and_then(|rules| rules.format.as_deref()) {
        Some("byte") => return DeclType::bytes(rules.and_then(|rules| rules.max_length)),
        Some("duration") => return DeclType::duration(),
        Some("date") => return DeclType::date(),
        Some("date-time") => return DeclType::timestamp(),
        _ => {}
    }
    let longest = rules.and_then(|rules| {
        let lengths = rules.enumeration.iter().filter_map(Value::as_str).map(|text| text.len() as u64);
        (!rules.enumeration.is_empty()).then(|| lengths.max().unwrap_or(0))
    });
    DeclType::string(max_bytes(schema).or(longest))
}

fn object(schema: &Structural, resource: bool, name: &str) -> Arc<DeclType> {
    let required = |field: &str, property: &Structural| {
        let named = schema.rules.as_ref().is_some_and(|rules| rules.required.iter().any(|required| required == field));
        named && property.default.is_none()
    };
    let mut fields: Vec<(String, Arc<DeclType>, bool)> = Vec::new();
    let overlaid = resource && !describes_resource(schema);
    for (field, property) in &schema.properties {
        if overlaid && matches!(field.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        let below = cel::escape(field).unwrap_or_else(|| field.clone());
        if let Some(decl) = declare(property, property.embedded_resource, &format!("{name}.{below}")) {
            fields.push((field.clone(), decl, required(field, property)));
        }
    }
    if overlaid {
        let text = || DeclType::string(None);
        let names = ["name", "generateName"].map(|field| (field.to_owned(), text(), false));
        fields.push(("apiVersion".to_owned(), text(), false));
        fields.push(("kind".to_owned(), text(), false));
        fields.push(("metadata".to_owned(), DeclType::object(&format!("{name}.metadata"), names), false));
    }
    DeclType::object(name, fields)
}

/// Whether a schema says itself what every resource has.
fn describes_resource(schema: &Structural) -> bool {
    let is = |node: &Structural, field: &str, ty: Type| {
        node.properties.get(field).is_some_and(|property| property.ty == Some(ty))
    };
    is(schema, "kind", Type::String)
        && is(schema, "apiVersion", Type::String)
        && schema.properties.get("metadata").is_some_and(|metadata| {
            metadata.ty == Some(Type::Object)
                && is(metadata, "name", Type::String)
                && is(metadata, "generateName", Type::String)
        })
}

/// The type of a property, of items or of values, from the type of what they are in.
pub(super) fn property(decl: &DeclType, name: &str) -> Option<Arc<DeclType>> {
    match &decl.kind {
        DeclKind::Object(object) => Some(object.fields.get(&cel::escape(name)?)?.decl.clone()),
        _ => None,
    }
}

pub(super) fn element(decl: &DeclType) -> Option<Arc<DeclType>> {
    match &decl.kind {
        DeclKind::List { items: below, .. } | DeclKind::Map { values: below } => Some(below.clone()),
        _ => None,
    }
}
