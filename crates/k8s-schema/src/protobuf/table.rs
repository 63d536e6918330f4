//! The table of Kubernetes types as protobuf sees it: messages with numbered fields, embedded structs as messages of their own.
//!
//! It is read from the same text as [`crate::model`], whose own reader flattens embedded structs as JSON does. The notation is
//! described in `model/parse.rs`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::model::TEXT;

/// A type expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    Bool,
    Bytes,
    Float64,
    /// `int32` and `int64` are written alike.
    Int,
    List(Box<Type>),
    Map(Box<Type>, Box<Type>),
    Named(&'static str, &'static str),
    Pointer(Box<Type>),
    String,
}

/// A field of a message.
#[derive(Debug)]
pub(super) struct Field {
    /// `@` for an embedded struct.
    pub name: &'static str,
    pub number: u32,
    pub ty: Type,
    /// JSON leaves it out when it is zero.
    pub omit_empty: bool,
}

#[derive(Debug)]
pub(super) enum Definition {
    Struct(Vec<Field>),
    /// A name for another type; `wrapped` in a message whose first field repeats the items.
    Alias {
        ty: Type,
        wrapped: bool,
    },
    /// A type whose JSON form is its own.
    Leaf,
}

struct Package {
    group: &'static str,
    version: &'static str,
    short: &'static str,
}

pub(super) struct Table {
    /// By package and name.
    types: BTreeMap<&'static str, BTreeMap<&'static str, Definition>>,
    packages: Vec<Package>,
}

impl Table {
    /// The table, read at the first use.
    pub(super) fn get() -> &'static Table {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(read)
    }

    pub(super) fn find(&self, package: &str, name: &str) -> Option<&Definition> {
        self.types.get(package)?.get(name)
    }

    /// The message of a kind: its package and definition. Options of requests are known in every group.
    pub(super) fn kind(&self, group: &str, version: &str, kind: &str) -> Option<(&'static str, &Definition)> {
        let own = self.packages.iter().find(|package| {
            (package.group, package.version) == (group, version) && self.find(package.short, kind).is_some()
        });
        let short = own.map_or("meta/v1", |package| package.short);
        self.find(short, kind).map(|definition| (short, definition))
    }
}

fn read() -> Table {
    let mut table = Table { types: BTreeMap::new(), packages: Vec::new() };
    let mut package = "";
    let mut current: Option<&'static str> = None;
    for line in TEXT.lines() {
        let words: Vec<&'static str> = line.split(' ').collect();
        match words[..] {
            ["P", short, _, group, version, ..] => {
                let known = |text: &'static str| if text == "-" { "" } else { text };
                table.packages.push(Package { group: known(group), version: known(version), short });
                (package, current) = (short, None);
            }
            ["S", name, ..] => {
                table.types.entry(package).or_default().insert(name, Definition::Struct(Vec::new()));
                current = Some(name);
            }
            ["N", name, ty, ..] => {
                let wrapped = words.contains(&"wrapped");
                table
                    .types
                    .entry(package)
                    .or_default()
                    .insert(name, Definition::Alias { ty: read_type(package, ty), wrapped });
                current = None;
            }
            ["X", name, ..] => {
                table.types.entry(package).or_default().insert(name, Definition::Leaf);
                current = None;
            }
            ["", name, number, ty, ..] => {
                let fields = current.and_then(|name| table.types.get_mut(package)?.get_mut(name));
                if let (Some(Definition::Struct(fields)), Ok(number)) = (fields, number.parse()) {
                    // A field whose type differs between minors stands there several times; the newest is last.
                    fields.retain(|field: &Field| field.number != number || field.name != name);
                    fields.push(Field { name, number, ty: read_type(package, ty), omit_empty: words.contains(&"o") });
                }
            }
            _ => {}
        }
    }
    table
}

fn read_type(package: &'static str, text: &'static str) -> Type {
    if let Some(rest) = text.strip_prefix('*') {
        return Type::Pointer(Box::new(read_type(package, rest)));
    }
    if let Some(rest) = text.strip_prefix("[]") {
        return Type::List(Box::new(read_type(package, rest)));
    }
    if let Some((key, value)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        return Type::Map(Box::new(read_type(package, key)), Box::new(read_type(package, value)));
    }
    match text {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "float64" => Type::Float64,
        "int32" | "int64" => Type::Int,
        "string" => Type::String,
        name => match name.rsplit_once('.') {
            Some((package, name)) => Type::Named(package, name),
            None => Type::Named(package, name),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_is_named_is_there() {
        let table = Table::get();
        fn check(table: &Table, ty: &Type) {
            match ty {
                Type::List(inner) | Type::Pointer(inner) => check(table, inner),
                Type::Map(key, value) => {
                    check(table, key);
                    check(table, value);
                }
                Type::Named(_, "any") => {}
                Type::Named(package, name) => assert!(table.find(package, name).is_some(), "{package}.{name}"),
                _ => {}
            }
        }
        for definition in table.types.values().flat_map(BTreeMap::values) {
            match definition {
                Definition::Struct(fields) => fields.iter().for_each(|field| check(table, &field.ty)),
                Definition::Alias { ty, .. } => check(table, ty),
                Definition::Leaf => {}
            }
        }
        assert!(table.kind("apps", "v1", "Deployment").is_some() && table.kind("", "v1", "DeleteOptions").is_some());
    }
}
