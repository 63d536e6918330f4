//! The table of Kubernetes types as protobuf sees it: messages with numbered fields, embedded structs as messages of their own.
//!
//! It is compiled once from the same text as [`crate::model`], whose own reader flattens embedded structs as JSON does. Messages
//! refer to each other by number, so that reading and writing an object looks up no names but those of its fields. The notation
//! is described in `model/parse.rs`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::model::{Leaf, TEXT};

/// What a field holds, with all names looked through.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Bool,
    Bytes,
    Float64,
    /// `int32` and `int64` are written alike.
    Int,
    Leaf(Leaf),
    List(Box<Shape>),
    Map(Box<Shape>, Box<Shape>),
    Message(MessageId),
    /// One of a schema and something else; the message of the schema.
    SchemaOr(Leaf, MessageId),
    Text,
    /// A list in a message of its own, whose first field repeats the items.
    Wrapped(Box<Shape>),
}

/// Where in the table a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageId(u16);

/// A field of a message.
#[derive(Debug)]
pub(super) struct Field {
    pub name: &'static str,
    pub number: u32,
    pub shape: Shape,
    /// Absent and zero are different things.
    pub pointer: bool,
    /// JSON leaves it out when it is zero.
    pub omit_empty: bool,
    /// Its fields stand in JSON beside those of the message that it is in.
    pub embedded: bool,
}

#[derive(Debug, Default)]
pub(super) struct Message {
    /// By number.
    pub fields: Vec<Field>,
}

impl Message {
    pub(super) fn field(&self, number: u32) -> Option<&Field> {
        let at = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
        Some(&self.fields[at])
    }
}

pub(super) struct Table {
    messages: Vec<Message>,
    /// By group, version and name.
    kinds: BTreeMap<(&'static str, &'static str, &'static str), MessageId>,
}

impl Table {
    /// The table, compiled at the first use.
    pub(super) fn get() -> &'static Table {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(|| Source::read().compile())
    }

    pub(super) fn message(&self, id: MessageId) -> &Message {
        &self.messages[usize::from(id.0)]
    }

    /// The message of a kind. Options of requests and the like are known in every group.
    pub(super) fn kind(&self, group: &str, version: &str, kind: &str) -> Option<MessageId> {
        let find = |group, version| self.kinds.get(&(group, version, kind)).copied();
        find(group, version).or_else(|| find("meta.k8s.io", "v1"))
    }
}

/// A type as the text has it.
enum Definition {
    Struct(MessageId, Vec<Line>),
    /// A name for another type; `wrapped` in a message whose first field repeats the items.
    Alias {
        text: &'static str,
        wrapped: bool,
    },
    /// A type whose JSON form is its own.
    Leaf,
}

struct Line {
    /// `@` for an embedded struct.
    name: &'static str,
    number: u32,
    text: &'static str,
    omit_empty: bool,
}

/// Types by package and name, before they know each other.
#[derive(Default)]
struct Source {
    types: BTreeMap<(&'static str, &'static str), Definition>,
    packages: Vec<(&'static str, &'static str, &'static str)>,
    messages: u16,
}

impl Source {
    fn read() -> Source {
        let mut source = Source::default();
        let mut package = "";
        let mut current: Option<&'static str> = None;
        for line in TEXT.lines() {
            let words: Vec<&'static str> = line.split(' ').collect();
            match words[..] {
                ["P", short, _, group, version, ..] => {
                    let known = |text: &'static str| if text == "-" { "" } else { text };
                    source.packages.push((short, known(group), known(version)));
                    (package, current) = (short, None);
                }
                ["S", name, ..] => {
                    let id = MessageId(source.messages);
                    source.messages += 1;
                    source.types.insert((package, name), Definition::Struct(id, Vec::new()));
                    current = Some(name);
                }
                ["N", name, text, ..] => {
                    let wrapped = words.contains(&"wrapped");
                    source.types.insert((package, name), Definition::Alias { text, wrapped });
                    current = None;
                }
                ["X", name, ..] => {
                    source.types.insert((package, name), Definition::Leaf);
                    current = None;
                }
                ["", name, number, text, ..] => {
                    let current = current.and_then(|name| source.types.get_mut(&(package, name)));
                    // Fields without a number are in no message.
                    if let (Some(Definition::Struct(_, lines)), Ok(number @ 1..)) = (current, number.parse()) {
                        // A field whose type differs between minors stands there several times; the newest is last.
                        lines.retain(|line: &Line| line.number != number);
                        lines.push(Line { name, number, text, omit_empty: words.contains(&"o") });
                    }
                }
                _ => {}
            }
        }
        source
    }

    fn compile(&self) -> Table {
        let mut messages: Vec<Message> = Vec::new();
        messages.resize_with(usize::from(self.messages), Message::default);
        for ((package, _), definition) in &self.types {
            let Definition::Struct(id, lines) = definition else { continue };
            let fields = &mut messages[usize::from(id.0)].fields;
            // What has no form in protobuf is left out; a test says that there is nothing else.
            fields.extend(lines.iter().filter_map(|line| {
                let (pointer, text) = match line.text.strip_prefix('*') {
                    Some(text) => (true, text),
                    None => (false, line.text),
                };
                let shape = self.shape(package, text)?;
                let (name, number, omit_empty) = (line.name, line.number, line.omit_empty);
                Some(Field { name, number, shape, pointer, omit_empty, embedded: name == "@" })
            }));
            fields.sort_by_key(|field| field.number);
        }
        let mut kinds = BTreeMap::new();
        for ((package, name), definition) in &self.types {
            let place = self.packages.iter().find(|(short, _, version)| short == package && !version.is_empty());
            if let (Some((_, group, version)), Definition::Struct(id, _)) = (place, definition) {
                kinds.insert((*group, *version, *name), *id);
            }
        }
        Table { messages, kinds }
    }

    fn shape(&self, package: &'static str, text: &'static str) -> Option<Shape> {
        // Pointers to items are items: an item is always there.
        let text = text.strip_prefix('*').unwrap_or(text);
        if let Some(rest) = text.strip_prefix("[]") {
            return Some(Shape::List(Box::new(self.shape(package, rest)?)));
        }
        if let Some((key, value)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            return Some(Shape::Map(Box::new(self.shape(package, key)?), Box::new(self.shape(package, value)?)));
        }
        Some(match text {
            "bool" => Shape::Bool,
            "bytes" => Shape::Bytes,
            "float64" => Shape::Float64,
            "int32" | "int64" => Shape::Int,
            "string" => Shape::Text,
            name => {
                let (package, name) = name.rsplit_once('.').unwrap_or((package, name));
                match self.types.get(&(package, name))? {
                    Definition::Struct(id, _) => Shape::Message(*id),
                    Definition::Alias { text, wrapped: false } => self.shape(package, text)?,
                    Definition::Alias { text, wrapped: true } => Shape::Wrapped(Box::new(self.shape(package, text)?)),
                    Definition::Leaf => self.leaf(package, name)?,
                }
            }
        })
    }

    fn leaf(&self, package: &'static str, name: &str) -> Option<Shape> {
        let leaf = Leaf::named(name)?;
        Some(match leaf {
            Leaf::JsonSchemaOrArray | Leaf::JsonSchemaOrBool | Leaf::JsonSchemaOrStringArray => {
                match self.types.get(&(package, "JSONSchemaProps"))? {
                    Definition::Struct(id, _) => Shape::SchemaOr(leaf, *id),
                    Definition::Alias { .. } | Definition::Leaf => return None,
                }
            }
            leaf => Shape::Leaf(leaf),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_its_shape() {
        let source = Source::read();
        for ((package, name), definition) in &source.types {
            match definition {
                Definition::Struct(_, lines) => {
                    for line in lines {
                        assert!(source.shape(package, line.text).is_some(), "{package}.{name}.{}", line.name);
                        assert!(line.name != "@" || !line.text.contains(['[', '{']), "{package}.{name}");
                    }
                }
                // `any` is in no message.
                Definition::Alias { text: "any", .. } => {}
                Definition::Alias { text, .. } => assert!(source.shape(package, text).is_some(), "{package}.{name}"),
                Definition::Leaf => assert!(Leaf::named(name).is_some(), "{package}.{name}"),
            }
        }
        let table = Table::get();
        assert!(table.kind("apps", "v1", "Deployment").is_some() && table.kind("", "v1", "DeleteOptions").is_some());
    }

    /// Lists are joined from encoded items: every list has its items in its second field.
    #[test]
    fn lists_have_their_metadata_first_and_their_items_second() {
        let table = Table::get();
        let mut lists = 0;
        for ((group, version, name), id) in &table.kinds {
            let fields = &table.message(*id).fields;
            if !name.ends_with("List") || !fields.iter().any(|field| field.name == "metadata") {
                continue;
            }
            let places: Vec<(&str, u32)> = fields.iter().map(|field| (field.name, field.number)).collect();
            assert_eq!(places, [("metadata", 1), ("items", 2)], "{group}/{version} {name}");
            lists += 1;
        }
        assert!(lists > 100, "{lists}");
    }
}
