//! The types that the checker knows.

use std::fmt;
use std::sync::Arc;

/// The type of an expression. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    Bytes,
    Double,
    Duration,
    /// Known only when the expression is evaluated.
    Dyn,
    /// Of what is reported as wrong already.
    Error,
    Int,
    List(Arc<Type>),
    Map(Arc<(Type, Type)>),
    Null,
    /// A type with fields, or a type of a library, by its name.
    Object(Arc<str>),
    /// A type of which only the name and the parameters are known, such as `optional_type`.
    Opaque(Arc<str>, Arc<[Type]>),
    /// A parameter of a declaration.
    Param(char),
    String,
    Timestamp,
    /// The type of types.
    Type(Option<Arc<Type>>),
    Uint,
    /// A type that is still to be found out.
    Var(u32),
}

impl Type {
    pub fn list(item: Type) -> Self {
        Self::List(Arc::new(item))
    }

    pub fn map(key: Type, value: Type) -> Self {
        Self::Map(Arc::new((key, value)))
    }

    pub fn object(name: &str) -> Self {
        Self::Object(name.into())
    }

    pub fn optional(inner: Type) -> Self {
        Self::Opaque("optional_type".into(), [inner].into())
    }

    /// What an optional type holds.
    pub(crate) fn unwrap_optional(&self) -> Option<&Type> {
        match self {
            Self::Opaque(name, params) if &**name == "optional_type" => params.first(),
            _ => None,
        }
    }

    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn)
    }

    pub(crate) fn is_param(&self) -> bool {
        matches!(self, Self::Param(_) | Self::Var(_))
    }

    /// The name alone, without parameters.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Bool => "bool",
            Self::Bytes => "bytes",
            Self::Double => "double",
            Self::Duration => "google.protobuf.Duration",
            Self::Dyn => "dyn",
            Self::Error => "!error!",
            Self::Int => "int",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Null => "null_type",
            Self::Object(name) | Self::Opaque(name, _) => name,
            Self::Param(_) | Self::Var(_) => "param",
            Self::String => "string",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::Type(_) => "type",
            Self::Uint => "uint",
        }
    }

    /// Reads the notation of the tables of functions: `list(string)`, `map(K, optional(V))`, `kubernetes.URL`.
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.trim();
        if let Some((name, rest)) = text.split_once('(') {
            let inside = rest.strip_suffix(')').unwrap_or(rest);
            return match name {
                "list" => Self::list(Self::parse(inside)),
                "optional" => Self::optional(Self::parse(inside)),
                "type" => Self::Type(Some(Arc::new(Self::parse(inside)))),
                _ => {
                    let (key, value) = inside.split_once(',').unwrap_or((inside, "dyn"));
                    Self::map(Self::parse(key), Self::parse(value))
                }
            };
        }
        match text {
            "bool" => Self::Bool,
            "bytes" => Self::Bytes,
            "double" => Self::Double,
            "duration" => Self::Duration,
            "dyn" => Self::Dyn,
            "int" => Self::Int,
            "null_type" => Self::Null,
            "string" => Self::String,
            "timestamp" => Self::Timestamp,
            "type" => Self::Type(None),
            "uint" => Self::Uint,
            "net.IP" | "net.CIDR" => Self::Opaque(text.into(), [].into()),
            _ => match text.chars().next() {
                Some(param) if text.len() == 1 => Self::Param(param),
                _ => Self::object(text),
            },
        }
    }
}

/// As the checker's messages have it.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duration => f.write_str("duration"),
            Self::List(item) => write!(f, "list({item})"),
            Self::Map(pair) => write!(f, "map({}, {})", pair.0, pair.1),
            Self::Null => f.write_str("null"),
            Self::Opaque(name, params) if !params.is_empty() => {
                write!(f, "{name}(")?;
                for (index, param) in params.iter().enumerate() {
                    write!(f, "{}{param}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
            Self::Param(name) => write!(f, "{name}"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Type(Some(of)) => write!(f, "type({of})"),
            Self::Var(index) => write!(f, "_var{index}"),
            other => f.write_str(other.name()),
        }
    }
}
