//! The `query` protocol and EC2's dialect of it: forms in, XML (or JSON) out. Must never read a parameter twice.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Answer, OutputError, json as json_form, xml_body};
use crate::error::{AwsError, Fault, WireError};
use crate::model::{Kind, Member, Operation, Protocol, Service, Structure};
use crate::request::RequestParts;
use crate::scalar;
use crate::service::{Call, form_pairs};
use crate::xml;

/// Deepest nesting of a parameter name; AWS's shapes stay below twenty.
const MAX_DEPTH: usize = 64;

/// Parameters as a tree: `Filter.1.Name=x` is `Filter` → `1` → `Name` with the value `x`.
#[derive(Debug, Default)]
struct Node {
    value: Option<String>,
    children: BTreeMap<String, Node>,
}

impl Node {
    fn build(pairs: Vec<(String, String)>) -> Result<Node, WireError> {
        let mut root = Node::default();
        for (name, value) in pairs {
            if name.split('.').count() > MAX_DEPTH {
                return Err(WireError::TooLarge { what: "levels in a parameter name", limit: MAX_DEPTH });
            }
            let leaf = name.split('.').fold(&mut root, |node, part| node.children.entry(part.to_owned()).or_default());
            if leaf.value.replace(value).is_some() {
                return Err(WireError::Duplicate(name));
            }
        }
        Ok(root)
    }

    /// The children `1`, `2`, … in the order of their numbers.
    fn items(&self) -> Vec<&Node> {
        let mut items: Vec<(u32, &Node)> =
            self.children.iter().filter_map(|(name, node)| Some((name.parse().ok()?, node))).collect();
        items.sort_by_key(|(number, _)| *number);
        items.into_iter().map(|(_, node)| node).collect()
    }
}

/// Reads a request.
pub(crate) fn route<'s>(service: &'s Service, parts: &RequestParts<'_>, body: &[u8]) -> Result<Call<'s>, WireError> {
    // Of a presigned request the signature's parameters are no input.
    let pairs = form_pairs(parts, body)?.into_iter().filter(|(name, _)| !name.starts_with("X-Amz-")).collect();
    let root = Node::build(pairs)?;
    let text = |name: &str| root.children.get(name).and_then(|node| node.value.as_deref());
    let action = text("Action").ok_or(WireError::MissingAction)?;
    let version = text("Version");
    let fail = || service.missing_operation(action, format!("{action} and version {}", version.unwrap_or("(none)")));
    if version.is_some_and(|version| version != service.version) {
        return Err(WireError::UnknownOperation {
            service: service.endpoint,
            what: format!("{action} and version {}", version.unwrap_or_default()),
        });
    }
    let operation = service.operation(action).ok_or_else(fail)?;
    let input = match operation.input.and_then(|id| service.structure(id)) {
        Some(structure) => read_members(service, structure, &root)?,
        None => Map::new(),
    };
    Ok(Call { operation, input: Value::Object(input) })
}

fn read_members(service: &Service, structure: &Structure, node: &Node) -> Result<Map<String, Value>, WireError> {
    let mut members = Map::new();
    for member in &structure.members {
        let value = match find(service, member, node) {
            Some(child) => read(service, member, child).map_err(|error| error.within(member.name))?,
            None => None,
        };
        if let Some(value) = value {
            members.insert(member.name.to_owned(), value);
        }
    }
    Ok(members)
}

/// The node of a member. EC2 capitalises names; flattened lists may go by the name of their items.
fn find<'n>(service: &Service, member: &Member, node: &'n Node) -> Option<&'n Node> {
    if service.protocol == Protocol::Ec2 {
        let name = member.query.map_or_else(|| capitalised(member.wire_name()), str::to_owned);
        return node.children.get(&name);
    }
    if service.is_flattened(member)
        && let Kind::List(item) = &service.shape(member.shape).kind
        && let Some(found) = item.wire.and_then(|name| node.children.get(name))
    {
        return Some(found);
    }
    node.children.get(member.wire_name())
}

fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn read(service: &Service, member: &Member, node: &Node) -> Result<Option<Value>, WireError> {
    let flattened = service.is_flattened(member) || service.protocol == Protocol::Ec2;
    let kind = &service.shape(member.shape).kind;
    let value = match kind {
        Kind::Structure(structure) => Value::Object(read_members(service, structure, node)?),
        Kind::List(item) => {
            let container = if flattened { Some(node) } else { node.children.get(item.wire.unwrap_or("member")) };
            let items = container.map(Node::items).unwrap_or_default();
            // `Name=` is how an empty list is written.
            if items.is_empty() && node.value.as_deref() != Some("") {
                return if node.value.is_some() { Err(scalar::wrong("STRING_VALUE", kind)) } else { Ok(None) };
            }
            let mut list = Vec::with_capacity(items.len());
            for (index, node) in items.into_iter().enumerate() {
                list.extend(read(service, item, node).map_err(|error| error.within(&(index + 1).to_string()))?);
            }
            Value::Array(list)
        }
        Kind::Map(pair) => {
            let entries = if flattened { Some(node) } else { node.children.get("entry") };
            let mut map = Map::new();
            for entry in entries.map(Node::items).unwrap_or_default() {
                let child = |name| entry.children.get(name);
                let key = child(pair.0.wire.unwrap_or("key")).and_then(|node| node.value.clone()).unwrap_or_default();
                if let Some(node) = child(pair.1.wire.unwrap_or("value"))
                    && let Some(value) = read(service, &pair.1, node).map_err(|error| error.within(&key))?
                {
                    map.insert(key, value);
                }
            }
            if map.is_empty() && node.value.as_deref() != Some("") {
                return Ok(None);
            }
            Value::Object(map)
        }
        _ => match &node.value {
            Some(text) => scalar::from_text(service, member, text)?,
            None => return Ok(None),
        },
    };
    Ok(Some(value))
}

fn result_structure<'s>(
    service: &'s Service,
    operation: &Operation,
    output: &Map<String, Value>,
) -> Result<Option<&'s Structure>, OutputError> {
    let structure = operation.output.and_then(|id| service.structure(id));
    if structure.is_none() && !output.is_empty() {
        return Err(OutputError::new("has members, but the operation has no result"));
    }
    Ok(structure)
}

fn namespace(service: &Service) -> Vec<(String, String)> {
    let uri = service.namespace.map(|uri| match service.protocol {
        // EC2's answers end their namespace with a slash that the model leaves out.
        Protocol::Ec2 if !uri.ends_with('/') => format!("{uri}/"),
        _ => uri.to_owned(),
    });
    uri.map(|uri| ("xmlns".to_owned(), uri)).into_iter().collect()
}

pub(crate) fn respond(
    service: &Service,
    operation: &Operation,
    output: &Map<String, Value>,
    request_id: &str,
) -> Result<Answer, OutputError> {
    let root = format!("{}Response", operation.name);
    let mut out = String::new();
    xml::open(&mut out, &root, &namespace(service));
    if let Some(structure) = result_structure(service, operation, output)? {
        if let Some(wrapper) = operation.result_wrapper {
            xml::open(&mut out, wrapper, &[]);
        }
        xml_body::write_members(service, structure, output, &mut out)?;
        if let Some(wrapper) = operation.result_wrapper {
            xml::close(&mut out, wrapper);
        }
    }
    xml::open(&mut out, "ResponseMetadata", &[]);
    xml::leaf(&mut out, "RequestId", request_id);
    xml::close(&mut out, "ResponseMetadata");
    xml::close(&mut out, &root);
    Ok(Answer::new(operation.status, "text/xml", out))
}

pub(crate) fn respond_json(
    service: &Service,
    operation: &Operation,
    output: &Map<String, Value>,
    request_id: &str,
) -> Result<Answer, OutputError> {
    let mut response = Map::new();
    if let Some(structure) = result_structure(service, operation, output)? {
        let members = Value::Object(json_form::write_members(service, structure, output, |_| true)?);
        match operation.result_wrapper {
            Some(wrapper) => drop(response.insert(wrapper.to_owned(), members)),
            None => response.extend(members.as_object().cloned().unwrap_or_default()),
        }
    }
    response.insert("ResponseMetadata".to_owned(), json!({"RequestId": request_id}));
    let mut body = Map::new();
    body.insert(format!("{}Response", operation.name), Value::Object(response));
    Ok(Answer::new(operation.status, "application/json", Value::Object(body).to_string()))
}

pub(crate) fn respond_ec2(
    service: &Service,
    operation: &Operation,
    output: &Map<String, Value>,
    request_id: &str,
) -> Result<Answer, OutputError> {
    let root = format!("{}Response", operation.name);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    xml::open(&mut out, &root, &namespace(service));
    xml::leaf(&mut out, "requestId", request_id);
    if let Some(structure) = result_structure(service, operation, output)? {
        xml_body::write_members(service, structure, output, &mut out)?;
    } else {
        // Operations without a result say that they worked.
        xml::leaf(&mut out, "return", "true");
    }
    xml::close(&mut out, &root);
    Ok(Answer::new(operation.status, "text/xml;charset=UTF-8", out))
}

fn side(error: &AwsError) -> &'static str {
    match error.fault {
        Fault::Client => "Sender",
        Fault::Server => "Receiver",
    }
}

/// Members of the modelled exception other than its message, as XML. What does not fit the model is left out: the error matters more.
fn extra_members(service: &Service, error: &AwsError) -> String {
    let Some((_, structure)) = service.exception(&error.code) else { return String::new() };
    let mut out = String::new();
    for member in structure.members.iter().filter(|member| !member.name.eq_ignore_ascii_case("message")) {
        if let Some(value) = error.members.get(member.name) {
            let one = Map::from_iter([(member.name.to_owned(), value.clone())]);
            let length = out.len();
            if xml_body::write_members(service, structure, &one, &mut out).is_err() {
                out.truncate(length);
            }
        }
    }
    out
}

pub(crate) fn error(service: &Service, error: &AwsError, request_id: &str) -> Answer {
    let code = super::wire_code(service, error);
    let extra = extra_members(service, error);
    let mut answer = error_envelope(service.namespace, error, &code, &[&extra], request_id);
    if let Some((_, structure)) = service.exception(&error.code).filter(|_| service.protocol == Protocol::RestXml) {
        super::rest::error_headers(service, structure, error, &mut answer);
    }
    answer
}

/// `<ErrorResponse>` of `query` and `rest-xml`.
pub(crate) fn error_envelope(
    namespace: Option<&str>,
    error: &AwsError,
    code: &str,
    extra: &[&str],
    request_id: &str,
) -> Answer {
    let attributes: Vec<_> = namespace.map(|uri| ("xmlns".to_owned(), uri.to_owned())).into_iter().collect();
    let mut out = String::new();
    xml::open(&mut out, "ErrorResponse", &attributes);
    xml::open(&mut out, "Error", &[]);
    xml::leaf(&mut out, "Type", side(error));
    xml::leaf(&mut out, "Code", code);
    if !error.message.is_empty() {
        xml::leaf(&mut out, "Message", &error.message);
    }
    out.extend(extra.iter().copied());
    xml::close(&mut out, "Error");
    xml::leaf(&mut out, "RequestId", request_id);
    xml::close(&mut out, "ErrorResponse");
    Answer::new(error.status, "text/xml", out)
}

pub(crate) fn error_json(service: &Service, error: &AwsError, request_id: &str) -> Answer {
    let code = super::wire_code(service, error);
    let body = json!({
        "Error": {"Type": side(error), "Code": code, "Message": error.message},
        "RequestId": request_id,
    });
    Answer::new(error.status, "application/json", body.to_string())
}

pub(crate) fn error_ec2(service: &Service, error: &AwsError, request_id: &str) -> Answer {
    let code = super::wire_code(service, error);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    for name in ["Response", "Errors", "Error"] {
        xml::open(&mut out, name, &[]);
    }
    xml::leaf(&mut out, "Code", &code);
    xml::leaf(&mut out, "Message", &error.message);
    out.push_str(&extra_members(service, error));
    xml::close(&mut out, "Error");
    xml::close(&mut out, "Errors");
    xml::leaf(&mut out, "RequestID", request_id);
    xml::close(&mut out, "Response");
    Answer::new(error.status, "text/xml;charset=UTF-8", out)
}
