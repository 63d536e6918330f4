//! Whether a value of a built-in type can be decoded into it, and the declared constraints of its fields.
//!
//! Upstream decodes into Go structs, so the first mismatch is reported with Go's text: the kind of the JSON value, the
//! struct and the path of fields (list indices and map keys are not part of it), and the Go type.

use serde_json::{Number, Value};

use crate::error::{FieldError, MAX_FIELD_ERRORS, TypeMismatch};
use crate::leaf;
use crate::model::{Leaf, Ty, TyKind, model};
use crate::node::{ModelNode, ModelStep, Shape};
use crate::path::Path;

pub(crate) fn types(node: ModelNode, value: &Value) -> Result<(), TypeMismatch> {
    Check { words: Words::Decoder, structure: None, path: Path::default() }.visit(node, value)
}

/// As [`types`], in the words of the conversion of an object that a strategic merge patch has made, which upstream does not decode.
pub(crate) fn conversion(node: ModelNode, value: &Value) -> Result<(), TypeMismatch> {
    Check { words: Words::Converter, structure: None, path: Path::default() }.visit(node, value)
}

/// Whose words mismatches are told in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    /// Of `encoding/json`.
    Decoder,
    /// Of apimachinery's `DefaultUnstructuredConverter`.
    Converter,
}

struct Check {
    words: Words,
    /// The struct that holds the field being looked at.
    structure: Option<&'static str>,
    path: Path,
}

impl Check {
    fn visit(&mut self, node: ModelNode, value: &Value) -> Result<(), TypeMismatch> {
        if value.is_null() {
            return Ok(());
        }
        match (node.shape(), value) {
            (Shape::Any, _)
            | (Shape::Bool, Value::Bool(_))
            | (Shape::Float64, Value::Number(_))
            | (Shape::String, Value::String(_)) => Ok(()),
            (Shape::Int32, Value::Number(number)) => {
                self.integer(node, number, i64::from(i32::MIN), i64::from(i32::MAX))
            }
            (Shape::Int64, Value::Number(number)) => self.integer(node, number, i64::MIN, i64::MAX),
            (Shape::Bytes, Value::String(text)) => leaf::check_base64(text).map_err(|problem| {
                let converts = self.words == Words::Converter;
                TypeMismatch(if converts { format!("error decoding from json: {problem}") } else { problem })
            }),
            (Shape::Leaf(leaf, _), _) => self.leaf(node, leaf, value),
            (Shape::List(item), Value::Array(list)) => {
                list.iter().try_for_each(|below| self.visit(node.of(item), below))
            }
            (Shape::Map(item), Value::Object(map)) => {
                map.values().try_for_each(|below| self.visit(node.of(item), below))
            }
            (Shape::Struct(def), Value::Object(map)) => {
                let outer = self.structure.replace(def.name);
                for (key, below) in map {
                    if let ModelStep::Known(child) = node.step(key) {
                        let length = self.path.field(key);
                        self.visit(child, below)?;
                        self.path.truncate(length);
                    }
                }
                self.structure = outer;
                Ok(())
            }
            (
                Shape::Bool
                | Shape::Bytes
                | Shape::Float64
                | Shape::Int32
                | Shape::Int64
                | Shape::List(_)
                | Shape::Map(_)
                | Shape::String
                | Shape::Struct(_),
                _,
            ) => Err(match self.words {
                Words::Converter => TypeMismatch(not_restored(node, value)),
                Words::Decoder => self.mismatch(kind_of(value), &go_type(node.ty)),
            }),
        }
    }

    fn integer(&self, node: ModelNode, number: &Number, min: i64, max: i64) -> Result<(), TypeMismatch> {
        match number.as_i64() {
            Some(value) if (min..=max).contains(&value) => Ok(()),
            None if self.words == Words::Converter && number.is_f64() => {
                Err(TypeMismatch(format!("cannot convert float64 to {}", go_type(node.ty))))
            }
            _ => Err(self.mismatch(&format!("number {number}"), &go_type(node.ty))),
        }
    }

    fn leaf(&mut self, node: ModelNode, leaf: Leaf, value: &Value) -> Result<(), TypeMismatch> {
        // Types that decode themselves: their errors carry no field.
        let alone =
            |got: &str, ty: &str| Err(TypeMismatch(format!("json: cannot unmarshal {got} into Go value of type {ty}")));
        match (leaf, value) {
            (Leaf::Quantity, Value::String(text)) => leaf::check_quantity(text).map_err(TypeMismatch),
            (Leaf::Quantity, other) => leaf::check_quantity(&other.to_string()).map_err(TypeMismatch),
            (Leaf::Time, Value::String(text)) => leaf::check_time(text, false).map_err(TypeMismatch),
            (Leaf::MicroTime, Value::String(text)) => leaf::check_time(text, true).map_err(TypeMismatch),
            (Leaf::Duration, Value::String(text)) => leaf::check_duration(text).map_err(TypeMismatch),
            (Leaf::Time | Leaf::MicroTime | Leaf::Duration, other) => alone(kind_of(other), "string"),
            (Leaf::IntOrString, Value::String(_)) => Ok(()),
            (Leaf::IntOrString, Value::Number(number)) => match number.as_i64().map(i32::try_from) {
                Some(Ok(_)) => Ok(()),
                _ => alone(&format!("number {number}"), "int32"),
            },
            (Leaf::IntOrString, other) => alone(kind_of(other), "int32"),
            (Leaf::FieldsV1 | Leaf::Json | Leaf::RawExtension, _) => Ok(()),
            (Leaf::JsonSchemaOrBool, Value::Bool(_)) => Ok(()),
            (Leaf::JsonSchemaOrStringArray, Value::Array(list)) => match list.iter().find(|item| !item.is_string()) {
                Some(item) => alone(kind_of(item), "string"),
                None => Ok(()),
            },
            (Leaf::JsonSchemaOrArray, Value::Array(list)) => match node.item() {
                Some(item) => list.iter().try_for_each(|below| self.visit(item, below)),
                None => Ok(()),
            },
            (Leaf::JsonSchemaOrArray | Leaf::JsonSchemaOrBool | Leaf::JsonSchemaOrStringArray, Value::Object(map)) => {
                for (key, below) in map {
                    if let ModelStep::Known(child) = node.step(key) {
                        let length = self.path.field(key);
                        self.visit(child, below)?;
                        self.path.truncate(length);
                    }
                }
                Ok(())
            }
            (Leaf::JsonSchemaOrBool, _) => Err(TypeMismatch("boolean or JSON schema expected".to_owned())),
            (Leaf::JsonSchemaOrArray | Leaf::JsonSchemaOrStringArray, _) => {
                Err(TypeMismatch("array or JSON schema expected".to_owned()))
            }
        }
    }

    fn mismatch(&self, got: &str, ty: &str) -> TypeMismatch {
        TypeMismatch(match self.structure {
            Some(name) => {
                format!("json: cannot unmarshal {got} into Go struct field {name}.{} of type {ty}", self.path.as_str())
            }
            None => format!("json: cannot unmarshal {got} into Go value of type {ty}"),
        })
    }
}

/// Why a value cannot become what its field is, in the words of the converter.
fn not_restored(node: ModelNode, value: &Value) -> String {
    let kind = match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    };
    match node.shape() {
        Shape::List(_) | Shape::Bytes => format!("cannot restore slice from {kind}"),
        Shape::Map(_) => format!("cannot restore map from {kind}"),
        Shape::Struct(_) => format!("cannot restore struct from: {kind}"),
        // In Go a number can become a character, which is not what is meant.
        Shape::String if kind == "int64" => "cannot convert int64 to string".to_owned(),
        _ => format!("unrecognized type: {}", go_type(node.ty)),
    }
}

/// A type of JSON as Go names it.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The type as Go prints it: `int32`, `[]v1.Container`, `map[string]string`. A pointer to a value reads as the value.
fn go_type(ty: &Ty) -> String {
    match &ty.kind {
        TyKind::Any => "interface {}".to_owned(),
        TyKind::Bool => "bool".to_owned(),
        TyKind::Bytes => "[]uint8".to_owned(),
        TyKind::Float64 => "float64".to_owned(),
        TyKind::Int32 => "int32".to_owned(),
        TyKind::Int64 => "int64".to_owned(),
        TyKind::String => "string".to_owned(),
        TyKind::List(item) => format!("[]{}{}", if item.pointer { "*" } else { "" }, go_type(item)),
        TyKind::Map { key, value } => {
            // The only named key type is core/v1's ResourceName.
            let name = key.rsplit('.').next().unwrap_or(key);
            let key =
                if name.starts_with(|c: char| c.is_ascii_lowercase()) { name.to_owned() } else { format!("v1.{name}") };
            format!("map[{key}]{}{}", if value.pointer { "*" } else { "" }, go_type(value))
        }
        TyKind::Named(id) => model().get(*id).go_name(),
    }
}

/// Which fields must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requirement {
    /// Those that a marker declares.
    Declared,
    /// Those that the published OpenAPI requires.
    Published,
}

/// Absent required fields, and with [`Requirement::Declared`] also broken limits that markers declare.
pub(crate) fn constraints(node: ModelNode, value: &Value, requirement: Requirement) -> Vec<FieldError> {
    let mut walk = Constraints { requirement, path: Path::default(), errors: Vec::new() };
    walk.visit(node, value);
    walk.errors
}

struct Constraints {
    requirement: Requirement,
    path: Path,
    errors: Vec<FieldError>,
}

impl Constraints {
    fn visit(&mut self, node: ModelNode, value: &Value) {
        if self.errors.len() >= MAX_FIELD_ERRORS {
            return;
        }
        match (node.shape(), value) {
            (Shape::Struct(_), Value::Object(map)) => {
                for field in node.fields() {
                    // Components write status, and upstream takes it as it comes.
                    let status = field.name == "status" && self.path.as_str().is_empty();
                    if status && self.requirement == Requirement::Declared {
                        continue;
                    }
                    let required = match self.requirement {
                        Requirement::Declared => field.declared_required,
                        Requirement::Published => field.required,
                    };
                    match map.get(field.name).filter(|below| !below.is_null()) {
                        Some(below) => {
                            let length = self.path.field(field.name);
                            self.limits(node.at(field), below);
                            self.visit(node.at(field), below);
                            self.path.truncate(length);
                        }
                        None if required => self.errors.push(FieldError::required(self.path.child(field.name), "")),
                        None => {}
                    }
                }
            }
            (Shape::Map(item), Value::Object(map)) => {
                for (key, below) in map {
                    let length = self.path.key(key);
                    self.visit(node.of(item), below);
                    self.path.truncate(length);
                }
            }
            (Shape::List(item), Value::Array(list)) => {
                for (index, below) in list.iter().enumerate() {
                    let length = self.path.index(index);
                    self.visit(node.of(item), below);
                    self.path.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn limits(&mut self, node: ModelNode, value: &Value) {
        let Some(field) = node.field.filter(|_| self.requirement == Requirement::Declared) else { return };
        let limits = field.limits;
        let path = || self.path.as_str().to_owned();
        let error = match value {
            Value::Number(number) => {
                let number = number.as_i64().unwrap_or(0);
                match (limits.minimum, limits.maximum) {
                    (Some(min), _) if number < min => Some(FieldError::invalid(
                        path(),
                        value.clone(),
                        format!("must be greater than or equal to {min}"),
                    )),
                    (_, Some(max)) if number > max => {
                        Some(FieldError::invalid(path(), value.clone(), format!("must be less than or equal to {max}")))
                    }
                    _ => None,
                }
            }
            Value::String(text) => {
                limits.max_bytes.filter(|max| text.len() as u64 > *max).map(|max| FieldError::too_long(path(), max))
            }
            Value::Array(list) => {
                let length = list.len() as u64;
                limits.max_items.filter(|max| length > *max).map(|max| FieldError::too_many(path(), length, max))
            }
            Value::Null | Value::Bool(_) | Value::Object(_) => None,
        };
        self.errors.extend(error);
    }
}
