//! Responses of the REST protocols: status, headers, and a body that is a document or one raw member. Must never read requests.

use serde_json::{Map, Value};

use super::{Answer, OutputError, json, xml_body};
use crate::error::AwsError;
use crate::model::{Kind, Location, Member, Operation, Protocol, Service, ShapeId, Structure, TimestampFormat};
use crate::scalar;

pub(crate) fn respond(
    service: &Service,
    operation: &Operation,
    output: &Map<String, Value>,
) -> Result<Answer, OutputError> {
    let Some(id) = operation.output else {
        if !output.is_empty() {
            return Err(OutputError::new("has members, but the operation has no result"));
        }
        let json = service.protocol == Protocol::RestJson;
        return Ok(if json {
            Answer::new(operation.status, "application/json", "{}")
        } else {
            Answer::new(operation.status, "", "")
        });
    };
    let structure = service.structure(id).ok_or(OutputError::new("is not a structure in the model"))?;
    let mut answer = Answer::new(operation.status, "", "");
    write_outside(service, structure, output, &mut answer)?;
    let (content_type, body) = write_body(service, operation, id, structure, output)?;
    if !content_type.is_empty() && !answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        answer.header("content-type", content_type);
    }
    answer.body = body;
    Ok(answer)
}

/// Members in headers and the status.
fn write_outside(
    service: &Service,
    structure: &Structure,
    output: &Map<String, Value>,
    answer: &mut Answer,
) -> Result<(), OutputError> {
    for (name, value) in output {
        let member = structure.member(name).ok_or_else(|| OutputError::new("is not in the model").within(name))?;
        if value.is_null() {
            continue;
        }
        let wrong = || OutputError::new("has another type in the model").within(name);
        match member.location {
            Location::Body | Location::Uri | Location::Query => {}
            Location::Status => {
                answer.status = value.as_u64().and_then(|code| u16::try_from(code).ok()).ok_or_else(wrong)?
            }
            Location::Header => {
                if let Some(text) = header_text(service, member, value).ok_or_else(wrong)? {
                    answer.header(member.wire_name(), text);
                }
            }
            Location::Headers => {
                for (suffix, value) in value.as_object().ok_or_else(wrong)? {
                    answer.header(&format!("{}{suffix}", member.wire_name()), value.as_str().ok_or_else(wrong)?);
                }
            }
        }
    }
    Ok(())
}

/// The text of a header; the inner nothing for an empty list, which has no header; the outer nothing for a value of another type.
fn header_text(service: &Service, member: &Member, value: &Value) -> Option<Option<String>> {
    if member.json_value {
        return Some(scalar::encode_blob(value.as_str()?.as_bytes()).as_str().map(str::to_owned));
    }
    let Kind::List(item) = &service.shape(member.shape).kind else {
        return scalar::to_text(service, member, value, TimestampFormat::HttpDate).map(Some);
    };
    let texts: Option<Vec<String>> = value
        .as_array()?
        .iter()
        .map(|value| scalar::to_text(service, item, value, TimestampFormat::HttpDate))
        .collect();
    let quote = |text: String| {
        let plain = matches!(service.shape(item.shape).kind, Kind::Timestamp) || !text.contains(['"', ',']);
        if plain { text } else { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) }
    };
    let texts: Vec<String> = texts?.into_iter().map(quote).collect();
    Some((!texts.is_empty()).then(|| texts.join(", ")))
}

fn write_body(
    service: &Service,
    operation: &Operation,
    id: ShapeId,
    structure: &Structure,
    output: &Map<String, Value>,
) -> Result<(&'static str, Vec<u8>), OutputError> {
    let xml = service.protocol == Protocol::RestXml;
    let document_type = if xml { "application/xml" } else { "application/json" };
    if let Some(payload) = structure.payload.and_then(|name| structure.member(name)) {
        let Some(value) = output.get(payload.name).filter(|value| !value.is_null()) else {
            return Ok(("", Vec::new()));
        };
        return match (&service.shape(payload.shape).kind, value) {
            (Kind::Blob, Value::String(text)) => {
                let bytes =
                    scalar::decode_blob(text).ok_or_else(|| OutputError::new("is not base64").within(payload.name))?;
                Ok(("application/octet-stream", bytes))
            }
            (Kind::String, Value::String(text)) => Ok(("text/plain", text.clone().into_bytes())),
            _ if xml => Ok((document_type, xml_body::write_payload(service, payload, value)?.into_bytes())),
            _ => Ok((document_type, json::write(service, payload, value)?.to_string().into_bytes())),
        };
    }
    if xml {
        if !structure.members.iter().any(|member| member.location.is_response_body()) {
            return Ok(("", Vec::new()));
        }
        return Ok((document_type, xml_body::write_root(service, operation, id, structure, output)?.into_bytes()));
    }
    let members = json::write_members(service, structure, output, |member| member.location.is_response_body())?;
    Ok((document_type, Value::Object(members).to_string().into_bytes()))
}

/// An error of `rest-json`.
pub(crate) fn error(service: &Service, error: &AwsError) -> Answer {
    let code = super::wire_code(service, error);
    let mut answer = Answer::new(error.status, "application/json", json::error_body(service, error, &code));
    if let Some((_, structure)) = service.exception(&error.code) {
        error_headers(service, structure, error, &mut answer);
    }
    answer.header("x-amzn-errortype", code);
    answer
}

/// Members of an error in headers. What does not fit the model is left out: the error matters more.
pub(crate) fn error_headers(service: &Service, structure: &Structure, error: &AwsError, answer: &mut Answer) {
    for (name, value) in &error.members {
        if structure.member(name).is_some_and(|member| matches!(member.location, Location::Header | Location::Headers))
        {
            let one = Map::from_iter([(name.clone(), value.clone())]);
            let _ = write_outside(service, structure, &one, answer);
        }
    }
}
