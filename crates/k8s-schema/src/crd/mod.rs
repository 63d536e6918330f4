//! Custom schemas: the `openAPIV3Schema` of a CustomResourceDefinition, checked, read into a tree, and applied.

mod correlate;
mod embedded;
mod expressions;
mod format;
mod lists;
mod read;
mod validate;

use std::collections::BTreeMap;

use serde_json::Value;

use cel::Pattern;

pub(crate) use embedded::{coerce, each as each_embedded};
pub(crate) use expressions::{Known, declared};
pub(crate) use read::read;
pub(crate) use validate::{validate, validate_status, validate_update};

/// One level of a structural schema. Also used for the value validations inside `allOf`, `anyOf`, `oneOf` and `not`,
/// which have no types, defaults or extensions.
#[derive(Debug, Default)]
pub(crate) struct Structural {
    pub(crate) ty: Option<Type>,
    pub(crate) nullable: bool,
    pub(crate) default: Option<Value>,
    pub(crate) properties: BTreeMap<String, Structural>,
    pub(crate) additional: Additional,
    pub(crate) items: Option<Box<Structural>>,
    pub(crate) preserve_unknown: bool,
    pub(crate) embedded_resource: bool,
    /// Whether there are embedded resources here or below.
    pub(crate) has_embedded: bool,
    pub(crate) int_or_string: bool,
    pub(crate) list_type: Option<ListType>,
    pub(crate) list_map_keys: Vec<String>,
    /// Rules in CEL.
    pub(crate) expressions: Option<Box<expressions::Expressions>>,
    /// Whether there are rules in CEL here or below.
    pub(crate) has_expressions: bool,
    /// `x-kubernetes-map-type: atomic`.
    pub(crate) atomic_map: bool,
    /// Most nodes have none.
    pub(crate) rules: Option<Box<Rules>>,
}

impl Structural {
    /// What describes a field of an object, if anything does, and whether it is named rather than one of the others.
    pub(crate) fn child(&self, name: &str) -> Option<(&Structural, bool)> {
        match (self.properties.get(name), &self.additional) {
            (Some(property), _) => Some((property, true)),
            (None, Additional::Schema(values)) => Some((values, false)),
            (None, Additional::Any | Additional::None) => None,
        }
    }
}

/// What is known of properties that are not named.
#[derive(Debug, Default)]
pub(crate) enum Additional {
    #[default]
    None,
    Any,
    Schema(Box<Structural>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Array,
    Boolean,
    Integer,
    Number,
    Object,
    String,
}

impl Type {
    pub(crate) const ALL: &'static [(&'static str, Self)] = &[
        ("array", Self::Array),
        ("boolean", Self::Boolean),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("object", Self::Object),
        ("string", Self::String),
    ];

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, ty)| *ty)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListType {
    Atomic,
    Map,
    Set,
}

/// Value validations.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) format: Option<String>,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) max_length: Option<u64>,
    pub(crate) min_length: Option<u64>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) max_items: Option<u64>,
    pub(crate) min_items: Option<u64>,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) min_properties: Option<u64>,
    pub(crate) required: Vec<String>,
    pub(crate) enumeration: Vec<Value>,
    pub(crate) all_of: Vec<Structural>,
    pub(crate) any_of: Vec<Structural>,
    pub(crate) one_of: Vec<Structural>,
    pub(crate) not: Option<Box<Structural>>,
}
