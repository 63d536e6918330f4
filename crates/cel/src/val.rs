//! Values. JSON is looked at where it lies: a value that comes from an object borrows it, and nothing is copied until an
//! expression makes something new.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use serde_json::{Map as JsonMap, Number, Value};

use crate::decl::{DeclKind, DeclType, ListKind, ObjectDecl};
use crate::error::EvalError;
use crate::functions::Library;
use crate::time::{self, Timestamp};
use crate::types::Type;

/// A value of an expression. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Val<'a> {
    Bool(bool),
    Bytes(Bytes<'a>),
    Double(f64),
    /// In nanoseconds.
    Duration(i64),
    Int(i64),
    /// A value of one of Kubernetes' libraries: an address, a quantity, the authorizer.
    Library(Library<'a>),
    List(List<'a>),
    Map(Map<'a>),
    Null,
    Optional(Option<Arc<Val<'a>>>),
    String(Text<'a>),
    /// An object that an expression has made.
    Struct(Arc<Struct<'a>>),
    Timestamp(Timestamp),
    Type(Type),
    Uint(u64),
}

#[derive(Clone, Debug)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Owned(Arc<str>),
}

impl Text<'_> {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Bytes<'a> {
    Borrowed(&'a [u8]),
    Owned(Arc<[u8]>),
}

impl Bytes<'_> {
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

#[derive(Clone, Debug)]
pub enum List<'a> {
    /// A list of an object, with what is declared about it.
    Json(&'a [Value], Option<&'a DeclType>),
    Owned(Arc<Vec<Val<'a>>>),
}

#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// A map or an object, with what is declared about it.
    Json(&'a JsonMap<String, Value>, Option<&'a DeclType>),
    Owned(Arc<BTreeMap<Key<'a>, (Val<'a>, Val<'a>)>>),
}

/// A key of a map; numbers of different types that are equal are one key.
#[derive(Clone, Debug)]
pub enum Key<'a> {
    Bool(bool),
    Number(i128),
    String(Text<'a>),
}

/// What a key says, by which keys are ordered and found whatever they borrow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeyView<'k> {
    Bool(bool),
    Number(i128),
    String(&'k str),
}

pub(crate) trait AsKey {
    fn view(&self) -> KeyView<'_>;
}

impl AsKey for Key<'_> {
    fn view(&self) -> KeyView<'_> {
        match self {
            Self::Bool(value) => KeyView::Bool(*value),
            Self::Number(value) => KeyView::Number(*value),
            Self::String(text) => KeyView::String(text.as_str()),
        }
    }
}

impl PartialEq for dyn AsKey + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.view() == other.view()
    }
}

impl Eq for dyn AsKey + '_ {}

impl PartialOrd for dyn AsKey + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn AsKey + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.view().cmp(&other.view())
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.view() == other.view()
    }
}

impl Eq for Key<'_> {}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.view().cmp(&other.view())
    }
}

impl<'a: 'k, 'k> Borrow<dyn AsKey + 'k> for Key<'a> {
    fn borrow(&self) -> &(dyn AsKey + 'k) {
        self
    }
}

/// `Object.spec{replicas: 1}`.
#[derive(Clone, Debug)]
pub struct Struct<'a> {
    pub name: Arc<str>,
    pub fields: BTreeMap<String, Val<'a>>,
}

impl<'a> From<&'a str> for Val<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(Text::Borrowed(text))
    }
}

impl From<String> for Val<'_> {
    fn from(text: String) -> Self {
        Self::String(Text::Owned(text.into()))
    }
}

impl From<bool> for Val<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Val<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl<'a> From<Vec<Val<'a>>> for Val<'a> {
    fn from(items: Vec<Val<'a>>) -> Self {
        Self::List(List::Owned(Arc::new(items)))
    }
}

/// JSON of which nothing is declared.
impl<'a> From<&'a Value> for Val<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => untyped_number(number),
            Value::String(text) => Self::from(text.as_str()),
            Value::Array(list) => Self::List(List::Json(list, None)),
            Value::Object(map) => Self::Map(Map::Json(map, None)),
        }
    }
}

fn untyped_number(number: &Number) -> Val<'static> {
    match number.as_i64() {
        Some(value) => Val::Int(value),
        None => Val::Double(number.as_f64().unwrap_or_default()),
    }
}

/// A JSON type as Go prints it, in messages.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

impl<'a> Val<'a> {
    /// A map with text as keys.
    pub fn map(entries: impl IntoIterator<Item = (String, Val<'a>)>) -> Self {
        let entries = entries.into_iter().map(|(key, value)| {
            let text = Text::Owned(key.into());
            (Key::String(text.clone()), (Val::String(text), value))
        });
        Self::Map(Map::Owned(Arc::new(entries.collect())))
    }

    /// JSON of a declared type. Errors when it is not of that type, which validation has ruled out before.
    pub fn typed(value: &'a Value, decl: &'a DeclType) -> Result<Self, EvalError> {
        let invalid = |expected: &str| Err(EvalError::new(format!("invalid data, expected {expected}")));
        if value.is_null() && !matches!(decl.kind, DeclKind::Dyn) {
            return if decl.nullable {
                Ok(Self::Null)
            } else {
                Err(EvalError::new("invalid data, got null for schema with nullable=false"))
            };
        }
        match (&decl.kind, value) {
            (DeclKind::Dyn | DeclKind::Library(_), _) => Ok(value.into()),
            (DeclKind::Optional(inner), _) => Ok(Self::Optional(Some(Arc::new(Self::typed(value, inner)?)))),
            (DeclKind::Bool, Value::Bool(value)) => Ok(Self::Bool(*value)),
            (DeclKind::Bool, _) => invalid(&format!("bool, got {}", go_type(value))),
            (DeclKind::Int, Value::Number(number)) => match integral(number) {
                Some(value) => Ok(Self::Int(value)),
                None => invalid(&format!("int, got {}", go_type(value))),
            },
            (DeclKind::Int, _) => invalid(&format!("int, got {}", go_type(value))),
            (DeclKind::Uint, Value::Number(number)) => match number.as_u64() {
                Some(value) => Ok(Self::Uint(value)),
                None => invalid(&format!("uint, got {}", go_type(value))),
            },
            (DeclKind::Uint, _) => invalid(&format!("uint, got {}", go_type(value))),
            (DeclKind::Double, Value::Number(number)) => Ok(Self::Double(number.as_f64().unwrap_or_default())),
            (DeclKind::Double, _) => invalid(&format!("float, got {}", go_type(value))),
            (DeclKind::IntOrString, Value::String(text)) => Ok(text.as_str().into()),
            (DeclKind::IntOrString, Value::Number(number)) => match integral(number) {
                Some(value) => Ok(Self::Int(value)),
                None => invalid("XIntOrString value to be either a string or integer"),
            },
            (DeclKind::IntOrString, _) => invalid("XIntOrString value to be either a string or integer"),
            (DeclKind::String, Value::String(text)) => Ok(text.as_str().into()),
            (DeclKind::Bytes, Value::String(text)) => match base64::engine::general_purpose::STANDARD.decode(text) {
                Ok(bytes) => Ok(Self::Bytes(Bytes::Owned(bytes.into()))),
                Err(error) => Err(EvalError::new(format!("Invalid byte formatted string {text}: {error}"))),
            },
            (DeclKind::Duration, Value::String(text)) => match time::parse_schema_duration(text) {
                Some(duration) => Ok(Self::Duration(duration)),
                None => Err(EvalError::new(format!("Invalid duration {text}"))),
            },
            (DeclKind::Date, Value::String(text)) => match time::parse_date(text) {
                Some(timestamp) => Ok(Self::Timestamp(timestamp)),
                None => Err(EvalError::new(format!("Invalid date formatted string {text}"))),
            },
            (DeclKind::Timestamp, Value::String(text)) => match Timestamp::parse(text) {
                Some(timestamp) => Ok(Self::Timestamp(timestamp)),
                None => Err(EvalError::new(format!("Invalid date-time formatted string {text}"))),
            },
            (DeclKind::Quantity, Value::String(text)) => crate::functions::quantity::parse(text).map(Self::Library),
            (DeclKind::Quantity, other) => crate::functions::quantity::parse(&other.to_string()).map(Self::Library),
            (DeclKind::String | DeclKind::Bytes | DeclKind::Duration | DeclKind::Date | DeclKind::Timestamp, _) => {
                invalid(&format!("string, got {}", go_type(value)))
            }
            (DeclKind::List { .. }, Value::Array(list)) => Ok(Self::List(List::Json(list, Some(decl)))),
            (DeclKind::List { .. }, _) => invalid("an array for the provided schema with type=array"),
            (DeclKind::Map { .. } | DeclKind::Object(_), Value::Object(map)) => {
                Ok(Self::Map(Map::Json(map, Some(decl))))
            }
            (DeclKind::Map { .. } | DeclKind::Object(_), _) => {
                invalid("a map for the provided schema with type=object")
            }
        }
    }

    /// The type as `type()` gives it.
    pub(crate) fn type_of(&self) -> Type {
        match self {
            Self::Bool(_) => Type::Bool,
            Self::Bytes(_) => Type::Bytes,
            Self::Double(_) => Type::Double,
            Self::Duration(_) => Type::Duration,
            Self::Int(_) => Type::Int,
            Self::Library(library) => library.type_of(),
            Self::List(_) => Type::list(Type::Dyn),
            Self::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Self::Null => Type::Null,
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::String(_) => Type::String,
            Self::Struct(object) => Type::Object(object.name.clone()),
            Self::Timestamp(_) => Type::Timestamp,
            Self::Type(_) => Type::Type(None),
            Self::Uint(_) => Type::Uint,
        }
    }

    /// What `size()` gives; one for what has no size. Costs count with it.
    pub(crate) fn cost_size(&self) -> u64 {
        match self {
            Self::String(text) => text.as_str().chars().count() as u64,
            Self::Bytes(bytes) => bytes.as_slice().len() as u64,
            Self::List(list) => list.len() as u64,
            Self::Map(map) => map.len() as u64,
            Self::Optional(Some(inner)) => inner.cost_size(),
            Self::Library(library) => library.cost_size(),
            _ => 1,
        }
    }

    /// Whether the value is the zero value of its type.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Self::Bool(value) => !value,
            Self::Bytes(bytes) => bytes.as_slice().is_empty(),
            Self::Double(value) => *value == 0.0,
            Self::Duration(value) => *value == 0,
            Self::Int(value) => *value == 0,
            Self::List(list) => list.is_empty(),
            Self::Map(map) => map.is_empty(),
            Self::Null => true,
            Self::Optional(inner) => inner.as_ref().is_none_or(|inner| inner.is_zero()),
            Self::String(text) => text.as_str().is_empty(),
            Self::Struct(object) => object.fields.is_empty(),
            Self::Timestamp(timestamp) => timestamp.is_zero(),
            Self::Type(_) | Self::Library(_) => false,
            Self::Uint(value) => *value == 0,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text.as_str()) } else { None }
    }

    /// The value as JSON, as upstream converts results: of messages, audit annotations, patches. `None` for what JSON
    /// cannot hold.
    pub fn to_json(&self) -> Option<Value> {
        Some(match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Bytes(bytes) => Value::String(base64::engine::general_purpose::STANDARD.encode(bytes.as_slice())),
            Self::Double(value) if value.fract() == 0.0 && value.abs() < 9.0e15 => Value::from(*value as i64),
            Self::Double(value) => Value::Number(Number::from_f64(*value)?),
            Self::Duration(nanos) => Value::String(time::format_duration(*nanos)),
            Self::Int(value) => Value::from(*value),
            Self::Library(library) => library.to_json()?,
            Self::List(List::Json(list, _)) => Value::Array(list.to_vec()),
            Self::List(List::Owned(list)) => Value::Array(list.iter().map(Val::to_json).collect::<Option<_>>()?),
            Self::Map(Map::Json(map, _)) => Value::Object((*map).clone()),
            Self::Map(Map::Owned(map)) => {
                let mut out = JsonMap::new();
                for (key, value) in map.values() {
                    out.insert(crate::convert::to_text(key)?, value.to_json()?);
                }
                Value::Object(out)
            }
            Self::Null => Value::Null,
            Self::Optional(None) => return None,
            Self::Optional(Some(inner)) => return inner.to_json(),
            Self::String(text) => Value::String(text.as_str().to_owned()),
            Self::Struct(object) => {
                let mut out = JsonMap::new();
                for (name, value) in &object.fields {
                    out.insert(name.clone(), value.to_json()?);
                }
                Value::Object(out)
            }
            Self::Timestamp(timestamp) => Value::String(timestamp.to_string()),
            Self::Type(ty) => Value::String(ty.name().to_owned()),
            Self::Uint(value) => Value::from(*value),
        })
    }
}

/// Whole numbers may be written with a fraction of zero.
fn integral(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let value = number.as_f64()?;
        (value.fract() == 0.0 && value.abs() < 9.2e18).then_some(value as i64)
    })
}

impl<'a> List<'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Json(list, _) => list.len(),
            Self::Owned(list) => list.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn kind(&self) -> &ListKind {
        match self {
            Self::Json(_, Some(DeclType { kind: DeclKind::List { kind, .. }, .. })) => kind,
            _ => &ListKind::Atomic,
        }
    }

    /// The item at an index that is known to be there.
    pub fn get(&self, index: usize) -> Result<Val<'a>, EvalError> {
        match self {
            Self::Json(list, decl) => match (list.get(index), decl) {
                (Some(item), Some(DeclType { kind: DeclKind::List { items, .. }, .. })) => Val::typed(item, items),
                (Some(item), _) => Ok(item.into()),
                (None, _) => Err(EvalError::index(index)),
            },
            Self::Owned(list) => list.get(index).cloned().ok_or_else(|| EvalError::index(index)),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Result<Val<'a>, EvalError>> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }
}

impl<'a> Map<'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Json(map, _) => map.len(),
            Self::Owned(map) => map.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn object(&self) -> Option<&'a ObjectDecl> {
        match self {
            Self::Json(_, Some(DeclType { kind: DeclKind::Object(object), .. })) => Some(object),
            _ => None,
        }
    }

    /// The value of a key that is text.
    pub fn get(&self, key: &str) -> Result<Option<Val<'a>>, EvalError> {
        match self {
            Self::Json(map, None) => Ok(map.get(key).map(Val::from)),
            Self::Json(map, Some(decl)) => match &decl.kind {
                DeclKind::Object(object) => {
                    let Some(field) = object.field(key) else { return Ok(None) };
                    // An absent field and one that is null are the same.
                    match map.get(&field.name).filter(|value| !value.is_null()) {
                        Some(value) => Val::typed(value, &field.decl).map(Some),
                        None => Ok(None),
                    }
                }
                DeclKind::Map { values } => map.get(key).map(|value| Val::typed(value, values)).transpose(),
                _ => Ok(map.get(key).map(Val::from)),
            },
            Self::Owned(map) => {
                let key = Key::String(Text::Borrowed(key));
                Ok(map.get(&key as &dyn AsKey).map(|(_, value)| value.clone()))
            }
        }
    }

    /// The value of any key. Errors when a value of that type cannot be a key of the map.
    pub(crate) fn find(&self, key: &Val<'_>) -> Result<Option<Val<'a>>, EvalError> {
        match (self, key) {
            (_, Val::String(text)) => self.get(text.as_str()),
            (Self::Json(_, Some(_)), _) => Err(EvalError::no_overload()),
            (Self::Json(_, None), _) => Ok(None),
            (Self::Owned(map), _) => match Key::of(key) {
                Some(key) => Ok(map.get(&key as &dyn AsKey).map(|(_, value)| value.clone())),
                None => Ok(None),
            },
        }
    }

    /// The keys; of an object those of declared fields.
    pub fn keys(&self) -> Vec<Val<'a>> {
        match self {
            Self::Json(map, _) => match self.object() {
                Some(object) => {
                    let present = object.fields.iter().filter(|(_, field)| map.contains_key(&field.name));
                    present.map(|(escaped, _)| Val::from(escaped.as_str())).collect()
                }
                None => map.keys().map(|key| Val::from(key.as_str())).collect(),
            },
            Self::Owned(map) => map.values().map(|(key, _)| key.clone()).collect(),
        }
    }

    /// Values that a schema preserves without declaring them, which only equality sees.
    pub(crate) fn undeclared(&self) -> Vec<(&'a str, &'a Value)> {
        match (self, self.object()) {
            (Self::Json(map, _), Some(object)) => {
                let declared = |name: &str| object.fields.values().any(|field| field.name == name);
                map.iter().filter(|(name, _)| !declared(name)).map(|(name, value)| (name.as_str(), value)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Whether a value is one of some constants.
pub(crate) fn contains_key(keys: &std::collections::BTreeSet<Key<'static>>, value: &Val<'_>) -> bool {
    Key::of(value).is_some_and(|key| keys.contains(&key as &dyn AsKey))
}

impl<'a> Key<'a> {
    /// `None` for what cannot be a key.
    pub(crate) fn of(value: &Val<'a>) -> Option<Self> {
        Some(match value {
            Val::Bool(value) => Self::Bool(*value),
            Val::Int(value) => Self::Number(i128::from(*value)),
            Val::Uint(value) => Self::Number(i128::from(*value)),
            Val::Double(value) if value.fract() == 0.0 && value.abs() < 1e19 => Self::Number(*value as i128),
            Val::String(text) => Self::String(text.clone()),
            _ => return None,
        })
    }
}
