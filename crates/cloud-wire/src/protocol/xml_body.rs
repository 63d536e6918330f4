//! XML bodies of `rest-xml`, `query` and `ec2`. Must never write a list where the model has one value.

use serde_json::{Map, Value};

use super::OutputError;
use crate::error::WireError;
use crate::model::{Kind, Location, Member, Namespace, Operation, Service, ShapeId, Structure, TimestampFormat};
use crate::scalar::{self, wrong};
use crate::xml::{self, Element};

/// The element name of a member. A list that is flattened wherever it is used may name its items; where only the member flattens it,
/// the member does.
pub(crate) fn element_name(service: &Service, member: &Member) -> &'static str {
    let shape = service.shape(member.shape);
    match (member.wire, shape.flattened, &shape.kind) {
        (None, true, Kind::List(item)) => item.wire.unwrap_or(member.name),
        _ => member.wire_name(),
    }
}

fn attributes(namespace: Option<Namespace>) -> Vec<(String, String)> {
    let declare = |namespace: Namespace| match namespace.prefix {
        Some(prefix) => (format!("xmlns:{prefix}"), namespace.uri.to_owned()),
        None => ("xmlns".to_owned(), namespace.uri.to_owned()),
    };
    namespace.map(declare).into_iter().collect()
}

/// Reads the members of a structure that stand in the body.
pub(crate) fn read_body(
    service: &Service,
    structure: &Structure,
    body: &[u8],
) -> Result<Map<String, Value>, WireError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    let text =
        std::str::from_utf8(body).map_err(|error| WireError::Malformed { what: "XML body", why: error.to_string() })?;
    read_members(service, structure, &document(text)?)
}

/// Reads a body that is one member.
pub(crate) fn read_payload(service: &Service, payload: &Member, text: &str) -> Result<Value, WireError> {
    read(service, payload, &document(text)?)
}

fn document(text: &str) -> Result<Element, WireError> {
    Element::parse(text).map_err(|why| WireError::Malformed { what: "XML body", why })
}

fn read_members(service: &Service, structure: &Structure, element: &Element) -> Result<Map<String, Value>, WireError> {
    let mut members = Map::new();
    for member in structure.members.iter().filter(|member| member.location == Location::Body) {
        if let Some(value) = read_member(service, member, element).map_err(|error| error.within(member.name))? {
            members.insert(member.name.to_owned(), value);
        }
    }
    Ok(members)
}

fn read_member(service: &Service, member: &Member, parent: &Element) -> Result<Option<Value>, WireError> {
    let name = element_name(service, member);
    if member.attribute {
        let attribute = parent.attributes.iter().find(|(attribute, _)| attribute == name);
        return attribute.map(|(_, text)| scalar::from_text(service, member, text)).transpose();
    }
    let named = || parent.children.iter().filter(|child| child.name == name);
    if service.is_flattened(member) && named().next().is_some() {
        return match &service.shape(member.shape).kind {
            Kind::List(item) => named().map(|child| read(service, item, child)).collect::<Result<_, _>>().map(Some),
            Kind::Map(pair) => read_entries(service, pair, named()).map(Some),
            _ => Ok(None),
        };
    }
    named().next().map(|child| read(service, member, child)).transpose()
}

fn read_entries<'e>(
    service: &Service,
    pair: &(Member, Member),
    entries: impl Iterator<Item = &'e Element>,
) -> Result<Value, WireError> {
    let (key_name, value_name) = (pair.0.wire.unwrap_or("key"), pair.1.wire.unwrap_or("value"));
    let mut map = Map::new();
    for entry in entries {
        let key = entry.child(key_name).map(|key| key.text.clone()).unwrap_or_default();
        if let Some(value) = entry.child(value_name) {
            map.insert(key, read(service, &pair.1, value)?);
        }
    }
    Ok(Value::Object(map))
}

fn read(service: &Service, member: &Member, element: &Element) -> Result<Value, WireError> {
    match &service.shape(member.shape).kind {
        Kind::Structure(structure) => read_members(service, structure, element).map(Value::Object),
        Kind::List(item) => {
            let name = item.wire.unwrap_or("member");
            let items = element.children.iter().filter(|child| child.name == name);
            items.map(|child| read(service, item, child)).collect::<Result<_, _>>().map(Value::Array)
        }
        Kind::Map(pair) => read_entries(service, pair, element.children.iter().filter(|child| child.name == "entry")),
        kind if !element.children.is_empty() => Err(wrong("an XML element", kind)),
        _ => scalar::from_text(service, member, &element.text),
    }
}

/// Writes a whole body of `rest-xml`.
pub(crate) fn write_root(
    service: &Service,
    operation: &Operation,
    id: ShapeId,
    structure: &Structure,
    output: &Map<String, Value>,
) -> Result<String, OutputError> {
    let shape = service.shape(id);
    let name = operation.result_wrapper.or(shape.wire).unwrap_or(shape.name);
    let default = service.namespace.map(|uri| Namespace { uri, prefix: None });
    write_document(service, name, attributes(shape.namespace.or(default)), structure, output)
}

/// Writes a body that is one member.
pub(crate) fn write_payload(service: &Service, payload: &Member, value: &Value) -> Result<String, OutputError> {
    let shape = service.shape(payload.shape);
    let name = payload.wire.or(shape.wire).unwrap_or(shape.name);
    let (Kind::Structure(structure), Value::Object(members)) = (&shape.kind, value) else {
        return Err(OutputError::new("is not a structure").within(payload.name));
    };
    write_document(service, name, attributes(payload.namespace.or(shape.namespace)), structure, members)
}

fn write_document(
    service: &Service,
    name: &str,
    mut attributes: Vec<(String, String)>,
    structure: &Structure,
    members: &Map<String, Value>,
) -> Result<String, OutputError> {
    attributes.extend(member_attributes(service, structure, members)?);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    xml::open(&mut out, name, &attributes);
    write_members(service, structure, members, &mut out)?;
    xml::close(&mut out, name);
    Ok(out)
}

/// Writes the body members of a structure in the model's order.
pub(crate) fn write_members(
    service: &Service,
    structure: &Structure,
    members: &Map<String, Value>,
    out: &mut String,
) -> Result<(), OutputError> {
    if let Some(unknown) = members.keys().find(|name| structure.member(name).is_none()) {
        return Err(OutputError::new("is not in the model").within(unknown));
    }
    for member in structure.members.iter().filter(|member| member.location.is_response_body() && !member.attribute) {
        if let Some(value) = members.get(member.name).filter(|value| !value.is_null()) {
            let name = element_name(service, member);
            write(service, member, name, value, out).map_err(|error| error.within(member.name))?;
        }
    }
    Ok(())
}

fn member_attributes(
    service: &Service,
    structure: &Structure,
    members: &Map<String, Value>,
) -> Result<Vec<(String, String)>, OutputError> {
    let mut attributes = Vec::new();
    for member in structure.members.iter().filter(|member| member.attribute) {
        if let Some(value) = members.get(member.name).filter(|value| !value.is_null()) {
            let text = scalar::to_text(service, member, value, TimestampFormat::Iso8601);
            let text = text.ok_or_else(|| OutputError::new("has another type in the model").within(member.name))?;
            attributes.push((member.wire_name().to_owned(), text));
        }
    }
    Ok(attributes)
}

fn write(service: &Service, member: &Member, name: &str, value: &Value, out: &mut String) -> Result<(), OutputError> {
    let shape = service.shape(member.shape);
    let flattened = service.is_flattened(member);
    let mut attributes = attributes(member.namespace.or(shape.namespace));
    match (&shape.kind, value) {
        (Kind::Structure(structure), Value::Object(members)) => {
            attributes.extend(member_attributes(service, structure, members)?);
            xml::open(out, name, &attributes);
            write_members(service, structure, members, out)?;
            xml::close(out, name);
        }
        (Kind::List(item), Value::Array(list)) => {
            let item_name = if flattened { name } else { item.wire.unwrap_or("member") };
            if !flattened {
                xml::open(out, name, &attributes);
            }
            for (index, value) in list.iter().enumerate().filter(|(_, value)| !value.is_null()) {
                write(service, item, item_name, value, out).map_err(|error| error.within(&(index + 1).to_string()))?;
            }
            if !flattened {
                xml::close(out, name);
            }
        }
        (Kind::Map(pair), Value::Object(map)) => {
            let entry = if flattened { name } else { "entry" };
            if !flattened {
                xml::open(out, name, &attributes);
            }
            for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
                xml::open(out, entry, if flattened { &attributes } else { &[] });
                write(service, &pair.0, pair.0.wire.unwrap_or("key"), &Value::from(key.as_str()), out)?;
                write(service, &pair.1, pair.1.wire.unwrap_or("value"), value, out)
                    .map_err(|error| error.within(key))?;
                xml::close(out, entry);
            }
            if !flattened {
                xml::close(out, name);
            }
        }
        _ => {
            let text = scalar::to_text(service, member, value, TimestampFormat::Iso8601);
            let text = text.ok_or(OutputError::new("has another type in the model"))?;
            xml::open(out, name, &attributes);
            xml::escape_into(out, &text);
            xml::close(out, name);
        }
    }
    Ok(())
}
