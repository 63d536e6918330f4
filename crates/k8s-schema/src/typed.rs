//! A schema as server-side apply sees it: at every place a scalar, a list or a map, and which of these are set as a whole.
//!
//! What is said here is what upstream's conversion of OpenAPI models for structured-merge-diff says (`kube-openapi/pkg/schemaconv`).
//! A place of which nothing is known is *deduced* from its value: maps field by field, lists as a whole.

use serde_json::{Value, json};

use crate::crd::{Additional, ListType, Structural, Type};
use crate::model::{Body, Field, Leaf, model};
use crate::node::{ModelNode, ModelStep, Node, Shape};

/// The type of one place. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Typed<'a>(Place<'a>);

#[derive(Clone, Copy)]
enum Place<'a> {
    Builtin(ModelNode),
    Custom {
        schema: &'a Structural,
        /// Its `apiVersion`, `kind` and `metadata` are implied.
        resource: bool,
        /// Something above keeps unknown fields.
        preserve: bool,
    },
    /// Nothing is known: maps are merged, everything else is set as a whole.
    Deduced,
    /// Nothing is known, and all of it is set as a whole.
    Whole,
    /// A string that a custom resource has beside its own schema.
    Text,
}

/// What a place may hold.
pub enum Atom<'a> {
    List(List<'a>),
    Map(Map<'a>),
    Scalar(Scalar),
}

/// Scalars, as far as they are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Boolean,
    Numeric,
    String,
    Untyped,
}

/// A list.
#[derive(Clone, Copy)]
pub struct List<'a> {
    /// Set as a whole; its items have no owners of their own.
    pub atomic: bool,
    /// The fields that tell items apart; without any, items are told apart by their values.
    pub keys: Keys<'a>,
    pub item: Typed<'a>,
}

/// Names of key fields.
#[derive(Clone, Copy)]
pub enum Keys<'a> {
    None,
    One(&'static str),
    Builtin(&'static [&'static str]),
    Custom(&'a [String]),
}

impl<'a> Keys<'a> {
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        let (one, builtin, custom): (Option<&'static str>, &'static [&'static str], &'a [String]) = match self {
            Keys::None => (None, &[], &[]),
            Keys::One(key) => (Some(key), &[], &[]),
            Keys::Builtin(keys) => (None, keys, &[]),
            Keys::Custom(keys) => (None, &[], keys),
        };
        one.into_iter().chain(builtin.iter().copied()).chain(custom.iter().map(String::as_str))
    }

    pub fn is_empty(self) -> bool {
        self.iter().next().is_none()
    }
}

/// A struct or a map.
#[derive(Clone, Copy)]
pub struct Map<'a> {
    /// Set as a whole; its fields have no owners of their own.
    pub atomic: bool,
    place: Place<'a>,
}

/// Where a key of a map leads.
pub enum Step<'a> {
    /// A field that the type names.
    Field(Typed<'a>),
    /// A key that the type does not name, but allows.
    Key(Typed<'a>),
    Undeclared,
}

impl<'a> Step<'a> {
    pub fn into_type(self) -> Option<Typed<'a>> {
        match self {
            Step::Field(below) | Step::Key(below) => Some(below),
            Step::Undeclared => None,
        }
    }
}

impl<'a> Map<'a> {
    /// Where `key` leads.
    pub fn step(&self, key: &str) -> Step<'a> {
        let typed = |place| Typed(place);
        match self.place {
            Place::Builtin(node) => match node.shape() {
                Shape::Struct(_) => match node.step(key) {
                    ModelStep::Known(below) => Step::Field(typed(Place::Builtin(below))),
                    ModelStep::Free | ModelStep::Unknown if node.fields().next().is_some() => Step::Undeclared,
                    ModelStep::Free | ModelStep::Unknown => Step::Key(typed(Place::Deduced)),
                },
                Shape::Map(value) => Step::Key(typed(Place::Builtin(node.of(value)))),
                _ => Step::Key(typed(Place::Deduced)),
            },
            Place::Custom { schema, resource, preserve } => custom_step(schema, resource, preserve, key),
            Place::Whole => Step::Key(typed(Place::Whole)),
            Place::Deduced | Place::Text => Step::Key(typed(Place::Deduced)),
        }
    }

    /// Whether nothing is known of any key, so that nothing can have been set as a whole or not by the type's word.
    pub fn is_deduced(&self) -> bool {
        match self.place {
            Place::Builtin(node) => match node.shape() {
                Shape::Struct(_) => node.fields().next().is_none(),
                Shape::Map(_) => false,
                _ => true,
            },
            Place::Custom { schema, resource, preserve } => {
                !resource
                    && !schema.embedded_resource
                    && schema.properties.is_empty()
                    && match schema.additional {
                        Additional::Schema(_) => false,
                        Additional::Any => true,
                        Additional::None => preserve || schema.preserve_unknown || schema.properties.is_empty(),
                    }
            }
            Place::Deduced => true,
            Place::Whole | Place::Text => false,
        }
    }
}

fn custom_step<'a>(schema: &'a Structural, resource: bool, preserve: bool, key: &str) -> Step<'a> {
    let resource = resource || schema.embedded_resource;
    let preserve = preserve || schema.preserve_unknown;
    if resource {
        match key {
            "apiVersion" | "kind" => return Step::Field(Typed(Place::Text)),
            "metadata" => return Step::Field(Typed(object_meta())),
            _ => {}
        }
    }
    let below = |schema| Typed(Place::Custom { schema, resource: false, preserve });
    if let Some(property) = schema.properties.get(key) {
        return Step::Field(below(property));
    }
    match &schema.additional {
        Additional::Schema(values) => Step::Key(below(values)),
        Additional::Any => Step::Key(Typed(Place::Deduced)),
        Additional::None if preserve || (schema.properties.is_empty() && !resource) => Step::Key(Typed(Place::Deduced)),
        Additional::None => Step::Undeclared,
    }
}

fn object_meta() -> Place<'static> {
    match model().by_full_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta") {
        Some(id) => Place::Builtin(ModelNode::new(id, crate::model::NEWEST_MINOR)),
        None => Place::Deduced,
    }
}

impl<'a> Typed<'a> {
    /// Of an object whose schema nobody knows.
    pub const DEDUCED: Typed<'static> = Typed(Place::Deduced);

    pub(crate) fn of(node: Node<'a>) -> Typed<'a> {
        Typed(match node {
            Node::Builtin(node) => Place::Builtin(node),
            Node::Custom(schema, resource) => Place::Custom { schema, resource, preserve: false },
        })
    }

    /// What the place holds if it holds `value`: where the type leaves a choice, the value makes it. A missing value or null
    /// makes none, and a map goes before a scalar before a list.
    pub fn atom(self, value: Option<&Value>) -> Atom<'a> {
        let choice = match value {
            None | Some(Value::Null) => None,
            Some(Value::Object(_)) => self.map().map(Atom::Map),
            Some(Value::Array(_)) => self.list().map(Atom::List),
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => self.scalar().map(Atom::Scalar),
        };
        choice
            .or_else(|| self.map().map(Atom::Map))
            .or_else(|| self.scalar().map(Atom::Scalar))
            .or_else(|| self.list().map(Atom::List))
            .unwrap_or(Atom::Scalar(Scalar::Untyped))
    }

    /// The map that the place may hold.
    pub fn map(self) -> Option<Map<'a>> {
        let atomic = match self.0 {
            Place::Builtin(node) => {
                let own = match node.shape() {
                    Shape::Struct(def) => matches!(&def.body, Body::Struct(body) if body.atomic),
                    Shape::Map(_) | Shape::Any => false,
                    Shape::Leaf(Leaf::RawExtension, _) => true,
                    Shape::Leaf(leaf, _) if is_any(leaf) || leaf == Leaf::FieldsV1 => false,
                    _ => return None,
                };
                node.field.and_then(|field| field.map_type).map_or(own, |kind| kind == "atomic")
            }
            Place::Custom { schema, .. } => {
                if !matches!(schema.ty, None | Some(Type::Object)) {
                    return None;
                }
                schema.atomic_map
            }
            Place::Deduced => false,
            Place::Whole => true,
            Place::Text => return None,
        };
        Some(Map { atomic, place: self.0 })
    }

    /// The list that the place may hold.
    pub fn list(self) -> Option<List<'a>> {
        let whole = List { atomic: true, keys: Keys::None, item: Typed(Place::Whole) };
        match self.0 {
            Place::Builtin(node) => match node.shape() {
                Shape::List(item) => {
                    let item = Typed(Place::Builtin(node.of(item)));
                    let (atomic, keys) = node.field.map_or((true, Keys::None), builtin_list);
                    Some(List { atomic, keys, item })
                }
                Shape::Any | Shape::Leaf(Leaf::RawExtension, _) => Some(whole),
                Shape::Leaf(leaf, _) if is_any(leaf) => Some(whole),
                _ => None,
            },
            Place::Custom { schema, preserve, .. } => {
                if !matches!(schema.ty, None | Some(Type::Array)) {
                    return None;
                }
                let preserve = preserve || schema.preserve_unknown;
                let item = match &schema.items {
                    Some(items) => Typed(Place::Custom { schema: items, resource: false, preserve }),
                    None => Typed(Place::Whole),
                };
                let (atomic, keys) = match schema.list_type {
                    None | Some(ListType::Atomic) => (true, Keys::None),
                    Some(ListType::Set) => (false, Keys::None),
                    Some(ListType::Map) => (false, Keys::Custom(&schema.list_map_keys)),
                };
                Some(List { atomic, keys, item })
            }
            Place::Deduced | Place::Whole => Some(whole),
            Place::Text => None,
        }
    }

    /// The scalar that the place may hold.
    pub fn scalar(self) -> Option<Scalar> {
        match self.0 {
            Place::Builtin(node) => match node.shape() {
                Shape::Any => Some(Scalar::Untyped),
                Shape::Bool => Some(Scalar::Boolean),
                Shape::Bytes | Shape::String | Shape::Leaf(Leaf::Duration, _) => Some(Scalar::String),
                Shape::Float64 | Shape::Int32 | Shape::Int64 => Some(Scalar::Numeric),
                Shape::Leaf(Leaf::FieldsV1, _) | Shape::List(_) | Shape::Map(_) | Shape::Struct(_) => None,
                Shape::Leaf(..) => Some(Scalar::Untyped),
            },
            Place::Custom { schema, .. } => match schema.ty {
                None => Some(Scalar::Untyped),
                Some(Type::Array | Type::Object) => None,
                Some(Type::Boolean) => Some(Scalar::Boolean),
                Some(Type::Integer | Type::Number) => Some(Scalar::Numeric),
                Some(Type::String) => {
                    let format = schema.rules.as_ref().and_then(|rules| rules.format.as_deref()).unwrap_or("");
                    Some(if ["", "byte"].contains(&format) { Scalar::String } else { Scalar::Untyped })
                }
            },
            Place::Deduced | Place::Whole => Some(Scalar::Untyped),
            Place::Text => Some(Scalar::String),
        }
    }

    /// What a field of the map that the place holds is when it is absent.
    pub fn default_of(self, key: &str) -> Option<Value> {
        match self.0 {
            Place::Builtin(node) => match node.step(key) {
                ModelStep::Known(below) => below.field.and_then(|field| builtin_default(below, field)),
                ModelStep::Free | ModelStep::Unknown => None,
            },
            Place::Custom { schema, .. } => schema.properties.get(key).and_then(|property| property.default.clone()),
            Place::Deduced | Place::Whole | Place::Text => None,
        }
    }
}

/// Leaves that may hold any JSON.
fn is_any(leaf: Leaf) -> bool {
    matches!(leaf, Leaf::Json | Leaf::JsonSchemaOrArray | Leaf::JsonSchemaOrBool | Leaf::JsonSchemaOrStringArray)
}

fn builtin_list(field: &'static Field) -> (bool, Keys<'static>) {
    match field.list_type {
        Some("set") => return (false, Keys::None),
        Some("map") => return (false, Keys::Builtin(&field.list_map_keys)),
        Some(_) => return (true, Keys::None),
        None => {}
    }
    match field.patch_strategy {
        Some("merge" | "merge,retainKeys") => match field.patch_merge_key {
            Some(key) => (false, Keys::One(key)),
            None => (false, Keys::None),
        },
        _ => (true, Keys::None),
    }
}

/// The default of the published OpenAPI: what a marker says, else the zero value of a field that is always written.
fn builtin_default(node: ModelNode, field: &Field) -> Option<Value> {
    if field.default.is_some() {
        return field.default.clone();
    }
    if field.omit_empty || field.ty.pointer {
        return None;
    }
    match node.shape() {
        Shape::Bool => Some(json!(false)),
        Shape::Int32 | Shape::Int64 | Shape::Float64 => Some(json!(0)),
        Shape::String => Some(json!("")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Schema;

    /// Follows names, and `[]` into items of a list.
    fn at<'a>(schema: &'a Schema, path: &[&str]) -> Typed<'a> {
        path.iter().fold(schema.typed(), |typed, name| match *name {
            "[]" => typed.list().unwrap().item,
            name => typed.map().unwrap().step(name).into_type().unwrap_or_else(|| panic!("no {name} in {path:?}")),
        })
    }

    fn describe(typed: Typed<'_>) -> String {
        let mut texts = Vec::new();
        if let Some(map) = typed.map() {
            let kind = if map.is_deduced() { "deduced map" } else { "map" };
            texts.push(if map.atomic { format!("atomic {kind}") } else { kind.to_owned() });
        }
        if let Some(scalar) = typed.scalar() {
            texts.push(format!("{scalar:?}").to_lowercase());
        }
        if let Some(list) = typed.list() {
            let keys: Vec<&str> = list.keys.iter().collect();
            texts.push(match (list.atomic, keys.is_empty()) {
                (true, _) => "atomic list".to_owned(),
                (false, true) => "set".to_owned(),
                (false, false) => format!("list by {}", keys.join(",")),
            });
        }
        texts.join(" or ")
    }

    #[test]
    fn places_of_builtin_types_are_told_apart() {
        let pod = Schema::builtin("io.k8s.api.core.v1.Pod", 34).unwrap();
        let cases: [(&[&str], &str); 14] = [
            (&[], "map"),
            (&["metadata", "labels"], "map"),
            (&["metadata", "creationTimestamp"], "untyped"),
            (&["metadata", "finalizers"], "set"),
            (&["metadata", "ownerReferences"], "list by uid"),
            (&["metadata", "ownerReferences", "[]"], "atomic map"),
            (&["metadata", "managedFields"], "atomic list"),
            (&["spec", "nodeSelector"], "atomic map"),
            (&["spec", "containers"], "list by name"),
            (&["spec", "containers", "[]", "ports"], "list by containerPort,protocol"),
            (&["spec", "containers", "[]", "command"], "atomic list"),
            (&["spec", "containers", "[]", "resources", "limits", "cpu"], "untyped"),
            (&["spec", "containers", "[]", "livenessProbe", "httpGet", "port"], "untyped"),
            (&["status", "conditions"], "list by type"),
        ];
        for (path, expected) in cases {
            assert_eq!(describe(at(&pod, path)), expected, "{path:?}");
        }
        assert!(matches!(pod.typed().map().unwrap().step("nonsense"), Step::Undeclared));
        let port = at(&pod, &["spec", "containers", "[]", "ports", "[]"]);
        assert_eq!(port.default_of("protocol"), Some(json!("TCP")));
        assert_eq!(port.default_of("containerPort"), Some(json!(0)));
        assert_eq!(port.default_of("hostIP"), None);
        let definition =
            Schema::builtin("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps", 34).unwrap();
        assert_eq!(describe(at(&definition, &["default"])), "deduced map or untyped or atomic list");
    }

    #[test]
    fn places_of_custom_types_are_told_apart() {
        let schema = Schema::from_crd(&json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "any": {"x-kubernetes-preserve-unknown-fields": true},
            "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "string"}}},
            "either": {"x-kubernetes-int-or-string": true},
            "named": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
                "items": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "b": {"type": "integer", "default": 3}}}},
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "plain": {"type": "array", "items": {"type": "string"}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        }}}}))
        .unwrap();
        let cases: [(&[&str], &str); 12] = [
            (&["apiVersion"], "string"),
            (&["metadata", "finalizers"], "set"),
            (&["spec", "free"], "deduced map"),
            (&["spec", "free", "x"], "deduced map or untyped or atomic list"),
            (&["spec", "any"], "deduced map or untyped or atomic list"),
            (&["spec", "whole"], "atomic map"),
            (&["spec", "either"], "deduced map or untyped or atomic list"),
            (&["spec", "named"], "list by a,b"),
            (&["spec", "tags"], "set"),
            (&["spec", "plain"], "atomic list"),
            (&["spec", "labels"], "map"),
            (&["spec", "pod", "metadata", "labels"], "map"),
        ];
        for (path, expected) in cases {
            assert_eq!(describe(at(&schema, path)), expected, "{path:?}");
        }
        assert!(matches!(at(&schema, &["spec"]).map().unwrap().step("nonsense"), Step::Undeclared));
        assert!(matches!(schema.typed().map().unwrap().step("status"), Step::Undeclared));
        assert_eq!(at(&schema, &["spec", "named", "[]"]).default_of("b"), Some(json!(3)));
    }
}
