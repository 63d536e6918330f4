//! A place in a schema, built-in or custom, as the walks over a value see it.

use crate::crd::{Additional, Structural};
use crate::model::{Body, Field, Leaf, Minor, Ty, TyKind, TypeDef, TypeId, model};

/// Cheap to copy; points into the table or into a custom schema.
#[derive(Clone, Copy)]
pub(crate) enum Node<'a> {
    Builtin(ModelNode),
    /// The flag says that the object is a whole resource: its `apiVersion`, `kind` and `metadata` are implied.
    Custom(&'a Structural, bool),
}

/// Where a key of an object leads.
pub(crate) enum Step<'a> {
    Known(Node<'a>),
    /// Part of the object, but nothing is known of what is below.
    Free,
    Unknown,
}

impl<'a> Node<'a> {
    pub(crate) fn step(self, key: &str) -> Step<'a> {
        match self {
            Self::Builtin(node) => node.step(key).map(Node::Builtin),
            Self::Custom(schema, resource) => {
                let resource = resource || schema.embedded_resource;
                match key {
                    "apiVersion" | "kind" if resource => return Step::Free,
                    "metadata" if resource => {
                        return object_meta().map_or(Step::Free, |node| Step::Known(Node::Builtin(node)));
                    }
                    _ => {}
                }
                if let Some(property) = schema.properties.get(key) {
                    return Step::Known(Self::Custom(property, false));
                }
                match &schema.additional {
                    Additional::Schema(schema) => Step::Known(Self::Custom(schema, false)),
                    Additional::Any => Step::Free,
                    Additional::None if schema.preserve_unknown => Step::Free,
                    Additional::None => Step::Unknown,
                }
            }
        }
    }

    /// What the items of a list are; `None` when it is not a list or nothing is known of them.
    pub(crate) fn item(self) -> Option<Node<'a>> {
        match self {
            Self::Builtin(node) => node.item().map(Node::Builtin),
            // A list that preserves unknown fields does so for its items.
            Self::Custom(schema, _) if schema.preserve_unknown => None,
            Self::Custom(schema, _) => schema.items.as_deref().map(|items| Self::Custom(items, false)),
        }
    }
}

/// The metadata of every object is the same type in every minor that matters here.
pub(crate) fn object_meta() -> Option<ModelNode> {
    let id = model().by_full_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")?;
    Some(ModelNode::new(id, crate::model::NEWEST_MINOR))
}

/// Where a key of a built-in object leads.
pub(crate) enum ModelStep {
    Known(ModelNode),
    Free,
    Unknown,
}

impl ModelStep {
    fn map(self, known: impl Fn(ModelNode) -> Node<'static>) -> Step<'static> {
        match self {
            Self::Known(node) => Step::Known(known(node)),
            Self::Free => Step::Free,
            Self::Unknown => Step::Unknown,
        }
    }
}

/// A type expression of the table in one minor, with the field it is the type of.
#[derive(Clone, Copy)]
pub(crate) struct ModelNode {
    pub(crate) ty: &'static Ty,
    pub(crate) field: Option<&'static Field>,
    pub(crate) minor: Minor,
}

/// A type expression with names looked through.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Any,
    Bool,
    Bytes,
    Float64,
    Int32,
    Int64,
    Leaf(Leaf, &'static TypeDef),
    List(&'static Ty),
    Map(&'static Ty),
    String,
    Struct(&'static TypeDef),
}

impl ModelNode {
    pub(crate) fn new(id: TypeId, minor: Minor) -> Self {
        Self { ty: model().ty(id), field: None, minor }
    }

    pub(crate) fn shape(self) -> Shape {
        let mut ty = self.ty;
        loop {
            return match &ty.kind {
                TyKind::Any => Shape::Any,
                TyKind::Bool => Shape::Bool,
                TyKind::Bytes => Shape::Bytes,
                TyKind::Float64 => Shape::Float64,
                TyKind::Int32 => Shape::Int32,
                TyKind::Int64 => Shape::Int64,
                TyKind::List(item) => Shape::List(item),
                TyKind::Map { value, .. } => Shape::Map(value),
                TyKind::String => Shape::String,
                TyKind::Named(id) => {
                    let def = model().get(*id);
                    match &def.body {
                        Body::Struct(_) => Shape::Struct(def),
                        Body::Leaf(leaf) => Shape::Leaf(*leaf, def),
                        Body::Named(named) => {
                            ty = &named.ty;
                            continue;
                        }
                    }
                }
            };
        }
    }

    /// The fields of a struct, those of other minors left out.
    pub(crate) fn fields(self) -> impl Iterator<Item = &'static Field> {
        let body = match self.shape() {
            Shape::Struct(def) => match &def.body {
                Body::Struct(body) => Some(body),
                Body::Named(_) | Body::Leaf(_) => None,
            },
            _ => None,
        };
        body.into_iter().flat_map(move |body| body.fields_of(self.minor))
    }

    pub(crate) fn at(self, field: &'static Field) -> Self {
        Self { ty: &field.ty, field: Some(field), minor: self.minor }
    }

    pub(crate) fn of(self, ty: &'static Ty) -> Self {
        Self { ty, field: None, minor: self.minor }
    }

    pub(crate) fn step(self, key: &str) -> ModelStep {
        match self.shape() {
            Shape::Struct(def) => match &def.body {
                Body::Struct(body) => match body.field(key, self.minor) {
                    Some(field) => ModelStep::Known(self.at(field)),
                    None => ModelStep::Unknown,
                },
                Body::Named(_) | Body::Leaf(_) => ModelStep::Unknown,
            },
            Shape::Map(value) => ModelStep::Known(self.of(value)),
            // The union leaves hold a schema when they hold an object.
            Shape::Leaf(Leaf::JsonSchemaOrArray | Leaf::JsonSchemaOrBool | Leaf::JsonSchemaOrStringArray, def) => {
                match model().sibling(def, "JSONSchemaProps") {
                    Some(id) => Self::new(id, self.minor).step(key),
                    None => ModelStep::Free,
                }
            }
            Shape::Any | Shape::Leaf(..) => ModelStep::Free,
            Shape::Bool
            | Shape::Bytes
            | Shape::Float64
            | Shape::Int32
            | Shape::Int64
            | Shape::List(_)
            | Shape::String => ModelStep::Free,
        }
    }

    pub(crate) fn item(self) -> Option<Self> {
        match self.shape() {
            Shape::List(item) => Some(self.of(item)),
            Shape::Leaf(Leaf::JsonSchemaOrArray, def) => {
                model().sibling(def, "JSONSchemaProps").map(|id| Self::new(id, self.minor))
            }
            _ => None,
        }
    }
}
