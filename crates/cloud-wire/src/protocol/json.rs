//! JSON bodies, and the `json` 1.0 and 1.1 protocols. Must never guess at members that the model does not have: it drops them.

use serde_json::{Map, Number, Value};

use super::{Answer, OutputError};
use crate::error::{AwsError, WireError};
use crate::model::{Kind, Location, Member, Operation, Service, Structure, TimestampFormat};
use crate::request::RequestParts;
use crate::scalar::{self, found, wrong};
use crate::service::Call;

/// Reads a JSON document.
pub(crate) fn parse(body: &[u8]) -> Result<Value, WireError> {
    serde_json::from_slice(body).map_err(|error| WireError::Malformed { what: "JSON body", why: error.to_string() })
}

/// Reads the members of a structure that stand in the body.
pub(crate) fn read_body(
    service: &Service,
    structure: &Structure,
    body: &[u8],
) -> Result<Map<String, Value>, WireError> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    match parse(body)? {
        Value::Object(object) => read_members(service, structure, object),
        Value::Null => Ok(Map::new()),
        other => Err(WireError::WrongType { at: String::new(), found: found(&other), expected: "a Structure" }),
    }
}

fn read_members(
    service: &Service,
    structure: &Structure,
    mut object: Map<String, Value>,
) -> Result<Map<String, Value>, WireError> {
    let mut members = Map::new();
    for member in structure.members.iter().filter(|member| member.location == Location::Body) {
        match object.remove(member.wire_name()) {
            None | Some(Value::Null) => {}
            Some(value) => {
                let value = read(service, member, value).map_err(|error| error.within(member.name))?;
                members.insert(member.name.to_owned(), value);
            }
        }
    }
    Ok(members)
}

/// Turns JSON of the wire into our form.
pub(crate) fn read(service: &Service, member: &Member, value: Value) -> Result<Value, WireError> {
    let kind = &service.shape(member.shape).kind;
    Ok(match (kind, value) {
        (Kind::Document, value) => value,
        (Kind::Structure(structure), Value::Object(object)) => Value::Object(read_members(service, structure, object)?),
        (Kind::List(item), Value::Array(list)) => {
            let mut items = Vec::with_capacity(list.len());
            for (index, value) in list.into_iter().enumerate() {
                // Sparse lists keep their holes.
                let value = if value.is_null() { Ok(value) } else { read(service, item, value) };
                items.push(value.map_err(|error| error.within(&(index + 1).to_string()))?);
            }
            Value::Array(items)
        }
        (Kind::Map(pair), Value::Object(object)) => {
            let mut map = Map::new();
            for (key, value) in object {
                let value = if value.is_null() {
                    value
                } else {
                    read(service, &pair.1, value).map_err(|error| error.within(&key))?
                };
                map.insert(key, value);
            }
            Value::Object(map)
        }
        (Kind::String, value @ Value::String(_)) | (Kind::Boolean, value @ Value::Bool(_)) => value,
        (Kind::Integer | Kind::Long, Value::Number(number)) => integer(&number, kind)?,
        (Kind::Float | Kind::Double, value @ Value::Number(_)) => value,
        (Kind::Float | Kind::Double | Kind::Blob, value @ Value::String(_)) => {
            scalar::from_text(service, member, value.as_str().unwrap_or_default())?;
            value
        }
        (Kind::Timestamp, Value::Number(number)) => {
            let time = scalar::value_time(&Value::Number(number)).ok_or_else(|| wrong("NUMBER_VALUE", kind))?;
            scalar::time_value(time)
        }
        (Kind::Timestamp, Value::String(text)) => scalar::from_text(service, member, &text)?,
        (kind, value) => return Err(wrong(found(&value), kind)),
    })
}

fn integer(number: &Number, kind: &Kind) -> Result<Value, WireError> {
    let whole = number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() < 9e15).map(|value| value as i64);
    let value = number.as_i64().or(whole).ok_or_else(|| wrong("NUMBER_VALUE", kind))?;
    match kind {
        Kind::Integer => i32::try_from(value).map(Value::from).map_err(|_| wrong("NUMBER_VALUE", kind)),
        _ => Ok(Value::from(value)),
    }
}

/// Turns our form into JSON of the wire.
pub(crate) fn write(service: &Service, member: &Member, value: &Value) -> Result<Value, OutputError> {
    Ok(match (&service.shape(member.shape).kind, value) {
        (Kind::Document, value) => value.clone(),
        (Kind::Structure(structure), Value::Object(members)) => {
            Value::Object(write_members(service, structure, members, |member| member.location.is_response_body())?)
        }
        (Kind::List(item), Value::Array(list)) => {
            let write_item = |(index, value): (usize, &Value)| match value {
                Value::Null => Ok(Value::Null),
                value => write(service, item, value).map_err(|error| error.within(&(index + 1).to_string())),
            };
            Value::Array(list.iter().enumerate().map(write_item).collect::<Result<_, _>>()?)
        }
        (Kind::Map(pair), Value::Object(map)) => {
            let mut object = Map::new();
            for (key, value) in map {
                let value = if value.is_null() {
                    Value::Null
                } else {
                    write(service, &pair.1, value).map_err(|error| error.within(key))?
                };
                object.insert(key.clone(), value);
            }
            Value::Object(object)
        }
        (Kind::Timestamp, value) => {
            let time = scalar::value_time(value).ok_or(OutputError::new("is not a number of epoch seconds"))?;
            match service.timestamp_format(member, TimestampFormat::UnixTimestamp) {
                // AWS writes at most milliseconds.
                TimestampFormat::UnixTimestamp => {
                    scalar::time_value(world::Timestamp::from_micros(time.micros().div_euclid(1000) * 1000))
                }
                format => Value::String(scalar::format_time(time, format)),
            }
        }
        (_, value) => {
            if scalar::to_text(service, member, value, TimestampFormat::UnixTimestamp).is_none() {
                return Err(OutputError::new("has another type in the model"));
            }
            value.clone()
        }
    })
}

/// Writes those members of a structure that `select` takes; a member that the model does not have is a mistake.
pub(crate) fn write_members(
    service: &Service,
    structure: &Structure,
    members: &Map<String, Value>,
    select: impl Fn(&Member) -> bool,
) -> Result<Map<String, Value>, OutputError> {
    let mut object = Map::new();
    for (name, value) in members {
        let member = structure.member(name).ok_or_else(|| OutputError::new("is not in the model").within(name))?;
        if !value.is_null() && select(member) {
            let value = write(service, member, value).map_err(|error| error.within(name))?;
            object.insert(member.wire_name().to_owned(), value);
        }
    }
    Ok(object)
}

/// Reads a request of the `json` protocols.
pub(crate) fn route<'s>(service: &'s Service, parts: &RequestParts<'_>, body: &[u8]) -> Result<Call<'s>, WireError> {
    let target = parts.header("x-amz-target").unwrap_or_default();
    let (prefix, name) = target.rsplit_once('.').unwrap_or(("", target));
    let fail = || service.missing_operation(name, format!("the target {target:?}"));
    if service.target_prefix.is_some_and(|expected| expected != prefix) {
        return Err(fail());
    }
    let operation = service.operation(name).ok_or_else(fail)?;
    let input = match operation.input.and_then(|id| service.structure(id)) {
        Some(structure) => read_body(service, structure, body)?,
        None => Map::new(),
    };
    Ok(Call { operation, input: Value::Object(input) })
}

fn content_type(service: &Service) -> String {
    format!("application/x-amz-json-{}", service.json_version)
}

pub(crate) fn respond(
    service: &Service,
    operation: &Operation,
    output: &Map<String, Value>,
) -> Result<Answer, OutputError> {
    let body = match operation.output.and_then(|id| service.structure(id)) {
        Some(structure) => Value::Object(write_members(service, structure, output, |_| true)?).to_string(),
        None if output.is_empty() => "{}".to_owned(),
        None => return Err(OutputError::new("has members, but the operation has no result")),
    };
    Ok(Answer::new(operation.status, &content_type(service), body))
}

/// The body of an error: `__type`, and the members that stand in the body.
pub(crate) fn error_body(service: &Service, error: &AwsError, code: &str) -> String {
    let members = super::error_members(service, error);
    let mut object = match service.exception(&error.code) {
        Some((_, structure)) => {
            let known = members.iter().filter(|(name, _)| structure.member(name).is_some());
            let known: Map<String, Value> = known.map(|(name, value)| (name.clone(), value.clone())).collect();
            write_members(service, structure, &known, |member| member.location.is_response_body()).unwrap_or_default()
        }
        None => Map::new(),
    };
    if !error.message.is_empty() && !object.keys().any(|key| key.eq_ignore_ascii_case("message")) {
        object.insert("message".to_owned(), Value::from(error.message.as_str()));
    }
    object.insert("__type".to_owned(), Value::from(code));
    Value::Object(object).to_string()
}

pub(crate) fn error(service: &Service, error: &AwsError) -> Answer {
    let code = super::wire_code(service, error);
    let mut answer = Answer::new(error.status, &content_type(service), error_body(service, error, &code));
    if service.query_compatible {
        let query_code = service.exception(&error.code).and_then(|(_, structure)| structure.code).unwrap_or(&code);
        let side = if error.fault == crate::error::Fault::Server { "Receiver" } else { "Sender" };
        answer.header("x-amzn-query-error", format!("{query_code};{side}"));
    }
    answer.header("x-amzn-errortype", code);
    answer
}
