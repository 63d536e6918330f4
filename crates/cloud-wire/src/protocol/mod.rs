//! Requests to values and values to responses, one file per wire form. Must never know what an operation means.

pub(crate) mod json;
pub(crate) mod query;
pub(crate) mod rest;
pub(crate) mod xml_body;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value};

use crate::error::AwsError;
use crate::model::{Operation, Protocol, Service};

/// A result of ours that does not fit the model: a mistake in a handler.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at:?} {why}")]
pub(crate) struct OutputError {
    pub at: String,
    pub why: &'static str,
}

impl OutputError {
    pub(crate) fn new(why: &'static str) -> OutputError {
        OutputError { at: String::new(), why }
    }

    pub(crate) fn within(mut self, outer: &str) -> OutputError {
        self.at = if self.at.is_empty() { outer.to_owned() } else { format!("{outer}.{}", self.at) };
        self
    }
}

/// A response under construction.
pub(crate) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        let headers = if content_type.is_empty() {
            Vec::new()
        } else {
            vec![("content-type".to_owned(), content_type.to_owned())]
        };
        Answer { status, headers, body: body.into() }
    }

    pub(crate) fn header(&mut self, name: &str, value: impl Into<String>) {
        self.headers.push((name.to_owned(), value.into()));
    }

    /// Values that HTTP cannot carry in a header are left out: an error message may hold a line break.
    fn into_response(self, request_id: &str) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let id = ("x-amzn-requestid".to_owned(), request_id.to_owned());
        for (name, value) in self.headers.into_iter().chain([id]) {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

pub(crate) fn respond(
    service: &Service,
    operation: &Operation,
    output: &Value,
    request_id: &str,
    accept: Option<&str>,
) -> Result<Response<Bytes>, OutputError> {
    let empty = Map::new();
    let output = match output {
        Value::Null => &empty,
        Value::Object(members) => members,
        _ => return Err(OutputError::new("is not an object")),
    };
    let answer = match service.protocol {
        Protocol::Query if wants_json(accept) => query::respond_json(service, operation, output, request_id)?,
        Protocol::Query => query::respond(service, operation, output, request_id)?,
        Protocol::Ec2 => query::respond_ec2(service, operation, output, request_id)?,
        Protocol::Json => json::respond(service, operation, output)?,
        Protocol::RestJson | Protocol::RestXml => rest::respond(service, operation, output)?,
    };
    Ok(answer.into_response(request_id))
}

pub(crate) fn respond_error(
    service: &Service,
    error: &AwsError,
    request_id: &str,
    accept: Option<&str>,
) -> Response<Bytes> {
    let answer = match service.protocol {
        Protocol::Query if wants_json(accept) => query::error_json(service, error, request_id),
        Protocol::Query => query::error(service, error, request_id),
        Protocol::Ec2 => query::error_ec2(service, error, request_id),
        Protocol::Json => json::error(service, error),
        Protocol::RestJson => rest::error(service, error),
        Protocol::RestXml => query::error(service, error, request_id),
    };
    answer.into_response(request_id)
}

/// Query services answer JSON when asked (undocumented; aws-iam-authenticator relies on it).
fn wants_json(accept: Option<&str>) -> bool {
    accept.is_some_and(|accept| accept.to_ascii_lowercase().contains("application/json"))
}

/// The code for a protocol: old protocols use the wire code, JSON ones the exception's name.
pub(crate) fn wire_code(service: &Service, error: &AwsError) -> String {
    let Some((name, structure)) = service.exception(&error.code) else { return error.code.clone().into_owned() };
    match service.protocol {
        Protocol::Query | Protocol::Ec2 | Protocol::RestXml => structure.code.unwrap_or(name).to_owned(),
        Protocol::Json | Protocol::RestJson => name.to_owned(),
    }
}

/// The members of a modelled error, its message included under the name that the model gives it (`message` or `Message`).
pub(crate) fn error_members(service: &Service, error: &AwsError) -> Map<String, Value> {
    let mut members = error.members.clone();
    let modelled = service.exception(&error.code).and_then(|(_, structure)| {
        structure.members.iter().map(|member| member.name).find(|name| name.eq_ignore_ascii_case("message"))
    });
    if !error.message.is_empty() {
        members.entry(modelled.unwrap_or("message")).or_insert_with(|| Value::from(error.message.as_str()));
    }
    members
}

/// Answers a request whose service is not known, in the form that its sender most likely reads.
pub fn respond_unrouted(
    error: &AwsError,
    content_type: &str,
    accept: Option<&str>,
    request_id: &str,
) -> Response<Bytes> {
    let code = error.code.as_ref();
    let form = content_type == "application/x-www-form-urlencoded" && !wants_json(accept);
    if form {
        return query::error_envelope(None, error, code, &[], request_id).into_response(request_id);
    }
    let body = serde_json::json!({"__type": code, "message": error.message});
    let mut answer = Answer::new(error.status, "application/json", body.to_string());
    answer.header("x-amzn-errortype", code);
    answer.into_response(request_id)
}
