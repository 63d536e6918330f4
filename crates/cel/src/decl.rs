//! Declared types: what a schema says about the values that an expression sees, with their largest sizes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::types::Type;

/// Largest request, in bytes, from which sizes that no schema limits are estimated. Fixed by upstream, so that every server
/// accepts the same rules.
pub const MAX_REQUEST_BYTES: u64 = 3 * 1024 * 1024;

/// A type with the sizes of its values.
#[derive(Debug, PartialEq)]
pub struct DeclType {
    pub kind: DeclKind,
    /// Most code points, bytes, items or entries of a value.
    pub max_elements: u64,
    /// Bytes of the smallest value as JSON.
    pub min_bytes: u64,
    /// Whether a JSON null is a value.
    pub nullable: bool,
}

#[derive(Debug, PartialEq)]
pub enum DeclKind {
    Bool,
    /// Base64 in JSON.
    Bytes,
    /// `2006-01-02` in JSON; a timestamp in expressions.
    Date,
    Double,
    Duration,
    /// Nothing is known.
    Dyn,
    Int,
    IntOrString,
    List {
        items: Arc<DeclType>,
        kind: ListKind,
    },
    Map {
        values: Arc<DeclType>,
    },
    Object(ObjectDecl),
    /// A value that may be missing, such as the object before an update.
    Optional(Arc<DeclType>),
    Quantity,
    String,
    Timestamp,
    Uint,
    /// A type of a library, such as the authorizer, by its name.
    Library(&'static str),
}

/// What equality and `+` of a list mean (`x-kubernetes-list-type`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    Atomic,
    Map(Vec<String>),
    Set,
}

/// An object with known fields.
#[derive(Debug, PartialEq)]
pub struct ObjectDecl {
    pub name: Arc<str>,
    /// By the names that expressions use, see [`escape`].
    pub fields: BTreeMap<String, FieldDecl>,
}

impl ObjectDecl {
    /// The field that an expression names; a reserved word may be written as it is.
    pub(crate) fn field(&self, name: &str) -> Option<&FieldDecl> {
        self.fields.get(name).or_else(|| {
            let is_reserved = RESERVED.binary_search(&name).is_ok();
            is_reserved.then(|| self.fields.get(&format!("__{name}__"))).flatten()
        })
    }
}

#[derive(Debug, PartialEq)]
pub struct FieldDecl {
    /// As in JSON.
    pub name: String,
    pub decl: Arc<DeclType>,
}

/// More elements than there ever are.
pub const UNLIMITED: u64 = i64::MAX as u64;

impl DeclType {
    fn simple(kind: DeclKind, min_bytes: u64, max_elements: u64) -> Arc<Self> {
        Arc::new(Self { kind, max_elements, min_bytes, nullable: false })
    }

    pub fn bool() -> Arc<Self> {
        Self::simple(DeclKind::Bool, 4, 0)
    }

    pub fn int() -> Arc<Self> {
        Self::simple(DeclKind::Int, 1, 0)
    }

    pub fn uint() -> Arc<Self> {
        Self::simple(DeclKind::Uint, 1, 0)
    }

    pub fn double() -> Arc<Self> {
        Self::simple(DeclKind::Double, 1, 0)
    }

    pub fn dynamic() -> Arc<Self> {
        Self::simple(DeclKind::Dyn, 1, 0)
    }

    pub fn quantity() -> Arc<Self> {
        Self::simple(DeclKind::Quantity, 8, 0)
    }

    pub fn library(name: &'static str) -> Arc<Self> {
        Self::simple(DeclKind::Library(name), 2, 0)
    }

    /// `max_chars` as estimated: a schema's `maxLength` counts fourfold, since a code point may have four bytes.
    pub fn string(max_chars: Option<u64>) -> Arc<Self> {
        Self::simple(DeclKind::String, 2, max_chars.unwrap_or(MAX_REQUEST_BYTES - 2))
    }

    pub fn bytes(max_bytes: Option<u64>) -> Arc<Self> {
        Self::simple(DeclKind::Bytes, 2, max_bytes.unwrap_or(MAX_REQUEST_BYTES - 2))
    }

    pub fn int_or_string(max_chars: Option<u64>) -> Arc<Self> {
        Self::simple(DeclKind::IntOrString, 1, max_chars.unwrap_or(MAX_REQUEST_BYTES - 2))
    }

    pub fn duration() -> Arc<Self> {
        Self::simple(DeclKind::Duration, 3, 32)
    }

    pub fn date() -> Arc<Self> {
        Self::simple(DeclKind::Date, 12, 12)
    }

    pub fn timestamp() -> Arc<Self> {
        Self::simple(DeclKind::Timestamp, 21, 32)
    }

    pub fn list(items: Arc<Self>, kind: ListKind, max_items: Option<u64>) -> Arc<Self> {
        let max = max_items.unwrap_or_else(|| (MAX_REQUEST_BYTES - 2) / (items.min_bytes + 1));
        Self::simple(DeclKind::List { items, kind }, 2, max)
    }

    pub fn map(values: Arc<Self>, max_properties: Option<u64>) -> Arc<Self> {
        let max = max_properties.unwrap_or_else(|| (MAX_REQUEST_BYTES - 2) / (values.min_bytes + 6));
        Self::simple(DeclKind::Map { values }, 2, max)
    }

    /// An object whose fields are given as in JSON, each with whether it must be there without a default. Fields whose names
    /// cannot be escaped are not visible.
    pub fn object(name: &str, fields: impl IntoIterator<Item = (String, Arc<Self>, bool)>) -> Arc<Self> {
        let mut min_bytes = 2;
        let mut declared = BTreeMap::new();
        for (name, decl, required) in fields {
            if required {
                min_bytes += name.len() as u64 + decl.min_bytes + 4;
            }
            if let Some(escaped) = escape(&name) {
                declared.insert(escaped, FieldDecl { name, decl });
            }
        }
        Self::simple(DeclKind::Object(ObjectDecl { name: name.into(), fields: declared }), min_bytes, 0)
    }

    /// An object that is no API object: its fields are named as they are.
    pub fn plain_object(name: &str, fields: impl IntoIterator<Item = (String, Arc<Self>)>) -> Arc<Self> {
        let fields = fields.into_iter().map(|(name, decl)| (name.clone(), FieldDecl { name, decl })).collect();
        Self::simple(DeclKind::Object(ObjectDecl { name: name.into(), fields }), 2, 0)
    }

    pub fn optional(inner: Arc<Self>) -> Arc<Self> {
        Self::simple(DeclKind::Optional(inner), 2, 0)
    }

    /// The same type, of which null is a value too.
    pub fn or_null(mut self: Arc<Self>) -> Arc<Self> {
        if let Some(only) = Arc::get_mut(&mut self) {
            only.nullable = true;
        }
        self
    }

    /// The type as the checker has it.
    pub fn to_type(&self) -> Type {
        match &self.kind {
            DeclKind::Bool => Type::Bool,
            DeclKind::Bytes => Type::Bytes,
            DeclKind::Date | DeclKind::Timestamp => Type::Timestamp,
            DeclKind::Double => Type::Double,
            DeclKind::Duration => Type::Duration,
            DeclKind::Dyn | DeclKind::IntOrString => Type::Dyn,
            DeclKind::Int => Type::Int,
            DeclKind::List { items, .. } => Type::list(items.to_type()),
            DeclKind::Map { values } => Type::map(Type::String, values.to_type()),
            DeclKind::Object(object) => Type::Object(object.name.clone()),
            DeclKind::Optional(inner) => Type::optional(inner.to_type()),
            DeclKind::Quantity => Type::object("kubernetes.Quantity"),
            DeclKind::Library(name) => Type::object(name),
            DeclKind::String => Type::String,
            DeclKind::Uint => Type::Uint,
        }
    }

    /// All objects that can be reached, by name.
    pub(crate) fn collect_objects(decl: &Arc<Self>, found: &mut BTreeMap<Arc<str>, Arc<Self>>) {
        match &decl.kind {
            DeclKind::Object(object) => {
                let new = found.insert(object.name.clone(), decl.clone()).is_none();
                for field in object.fields.values().filter(|_| new) {
                    Self::collect_objects(&field.decl, found);
                }
            }
            DeclKind::List { items: below, .. } | DeclKind::Map { values: below } => {
                Self::collect_objects(below, found)
            }
            _ => {}
        }
    }
}

/// Words that no identifier may be, in order.
pub const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// The name of a property in expressions: `__`, `.`, `-`, `/` and reserved words are escaped. `None` when a property of
/// this name cannot be named.
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if RESERVED.binary_search(&name).is_ok() {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with("__") { 2 } else { c.len_utf8() };
        out.push_str(match &rest[..length] {
            "__" => "__underscores__",
            "." => "__dot__",
            "-" => "__dash__",
            "/" => "__slash__",
            plain if c.is_ascii_alphanumeric() || c == '_' => plain,
            _ => return None,
        });
        rest = &rest[length..];
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_properties_are_escaped() {
        let cases = [
            ("replicas", Some("replicas")),
            ("namespace", Some("__namespace__")),
            ("x-y", Some("x__dash__y")),
            ("a.b/c", Some("a__dot__b__slash__c")),
            ("a__b", Some("a__underscores__b")),
            ("a___b", Some("a__underscores___b")),
            ("1a", None),
            ("", None),
            ("a b", None),
            ("é", None),
        ];
        for (name, expected) in cases {
            assert_eq!(escape(name).as_deref(), expected, "{name}");
        }
    }
}
