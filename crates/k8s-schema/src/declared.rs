//! A whole type as expressions see it, for those who check expressions before there is an object (apiserver `cel/common/schemas.go`
//! over `cel/openapi/resolver`).

use std::sync::Arc;

use cel::{DeclKind, DeclType, ListKind};

use crate::crd::{self, Structural};
use crate::model::{Leaf, TyKind, TypeId};
use crate::node::{ModelNode, Shape, object_meta};

/// A built-in type under a name that no other type has.
pub(crate) fn builtin(node: ModelNode, name: &str) -> Option<Arc<DeclType>> {
    known(node, name, &mut Vec::new())
}

/// A custom resource: what its schema says, and the metadata that every object has.
pub(crate) fn custom(schema: &Structural, name: &str) -> Option<Arc<DeclType>> {
    let own = crd::declared(schema, name)?;
    let DeclKind::Object(object) = &own.kind else { return Some(own) };
    let metadata = object_meta().and_then(|node| builtin(node, &format!("{name}.metadata")));
    let fields = object.fields.values().map(|field| match (&metadata, field.name.as_str()) {
        (Some(metadata), "metadata") => (field.name.clone(), metadata.clone(), false),
        _ => (field.name.clone(), field.decl.clone(), false),
    });
    Some(DeclType::object(name, fields))
}

/// `above` are the types that lead here: one that leads back to itself has no fields there.
fn known(node: ModelNode, name: &str, above: &mut Vec<TypeId>) -> Option<Arc<DeclType>> {
    match node.shape() {
        // What has no type in the published schema, expressions cannot name.
        Shape::Any => None,
        Shape::Bool => Some(DeclType::bool()),
        Shape::Bytes => Some(DeclType::bytes(None)),
        Shape::Float64 => Some(DeclType::double()),
        Shape::Int32 | Shape::Int64 => Some(DeclType::int()),
        Shape::String => Some(DeclType::string(None)),
        Shape::List(item) => {
            let item = ModelNode { ty: item, field: None, ..node };
            Some(DeclType::list(known(item, &format!("{name}.@idx"), above)?, ListKind::Atomic, None))
        }
        Shape::Map(value) => {
            let value = ModelNode { ty: value, field: None, ..node };
            Some(DeclType::map(known(value, &format!("{name}.@elem"), above)?, None))
        }
        Shape::Leaf(leaf, _) => of_leaf(leaf, name),
        Shape::Struct(_) => {
            let TyKind::Named(id) = node.ty.kind else { return Some(DeclType::object(name, [])) };
            if above.contains(&id) {
                return Some(DeclType::object(name, []));
            }
            above.push(id);
            let fields = node.fields().filter_map(|field| {
                let below = ModelNode { ty: &field.ty, field: Some(field), ..node };
                let decl = known(below, &format!("{name}.{}", field.name), above)?;
                Some((field.name.to_owned(), decl, false))
            });
            let fields: Vec<_> = fields.collect();
            above.pop();
            Some(DeclType::object(name, fields))
        }
    }
}

fn of_leaf(leaf: Leaf, name: &str) -> Option<Arc<DeclType>> {
    match leaf {
        Leaf::Duration => Some(DeclType::string(None)),
        Leaf::FieldsV1 | Leaf::RawExtension => Some(DeclType::object(name, [])),
        Leaf::IntOrString => Some(DeclType::int_or_string(None)),
        Leaf::MicroTime | Leaf::Time => Some(DeclType::timestamp()),
        // These are one of several types, which the published schema says in a way that upstream passes over.
        Leaf::Json
        | Leaf::JsonSchemaOrArray
        | Leaf::JsonSchemaOrBool
        | Leaf::JsonSchemaOrStringArray
        | Leaf::Quantity => None,
    }
}
