//! The services that Minato has models of, and which of them a request at the one endpoint is for. Must never execute operations.

use std::sync::OnceLock;

use bytes::Bytes;
use http::Response;
use serde_json::Value;

use crate::error::{AwsError, Fault, WireError};
use crate::model::{Operation, Protocol, Service, Structure};
use crate::model_text::parse_model;
use crate::protocol;
use crate::request::{RequestParts, parse_pairs};
use crate::route;
use crate::sigv4::credential_scope;

/// A service with an embedded model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// Elastic Compute Cloud.
    Ec2,
    /// Elastic Kubernetes Service.
    Eks,
    /// Identity and Access Management.
    Iam,
    /// Security Token Service.
    Sts,
}

/// What is known of a service beyond its model.
struct Row {
    name: Name,
    /// Its name in credential scopes.
    signing: &'static str,
    model: &'static str,
    /// The region in which requests to its global endpoint are signed.
    global_region: Option<&'static str>,
    /// The error code for parameters that break the model's constraints.
    invalid_parameter: &'static str,
    /// The error code for a pagination token that is not ours.
    invalid_token: &'static str,
}

const ROWS: &[Row] = &[
    Row {
        name: Name::Ec2,
        signing: "ec2",
        model: include_str!("../models/ec2.model"),
        global_region: None,
        invalid_parameter: "InvalidParameterValue",
        invalid_token: "InvalidParameterValue",
    },
    Row {
        name: Name::Eks,
        signing: "eks",
        model: include_str!("../models/eks.model"),
        global_region: None,
        invalid_parameter: "InvalidParameterException",
        invalid_token: "InvalidParameterException",
    },
    Row {
        name: Name::Iam,
        signing: "iam",
        model: include_str!("../models/iam.model"),
        global_region: Some("us-east-1"),
        invalid_parameter: "ValidationError",
        invalid_token: "ValidationError",
    },
    Row {
        name: Name::Sts,
        signing: "sts",
        model: include_str!("../models/sts.model"),
        global_region: Some("us-east-1"),
        invalid_parameter: "ValidationError",
        invalid_token: "ValidationError",
    },
];

static SERVICES: [OnceLock<Service>; ROWS.len()] = [const { OnceLock::new() }; ROWS.len()];

impl Name {
    /// All services, alphabetically.
    pub const ALL: [Name; 4] = [Name::Ec2, Name::Eks, Name::Iam, Name::Sts];

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// The name in credential scopes, for example `eks`.
    pub fn signing(self) -> &'static str {
        self.row().signing
    }

    /// The region in which requests to the service's global endpoint are signed, whatever the caller's region.
    pub fn global_region(self) -> Option<&'static str> {
        self.row().global_region
    }

    /// The service with this name in credential scopes.
    pub fn from_signing(signing: &str) -> Option<Name> {
        ROWS.iter().find(|row| row.signing == signing).map(|row| row.name)
    }
}

/// A request that has been understood.
#[derive(Debug, Clone)]
pub struct Call<'s> {
    /// What to do.
    pub operation: &'s Operation,
    /// With what: an object by member names. Timestamps are epoch seconds, blobs base64.
    pub input: Value,
}

impl Service {
    /// The embedded model, parsed at the first use.
    ///
    /// # Panics
    /// If the embedded text is malformed, which a test excludes.
    pub fn get(name: Name) -> &'static Service {
        SERVICES[name as usize]
            .get_or_init(|| parse_model(name.row().model).expect("the models are made by xtask and tested"))
    }

    /// Which of the embedded services this is; nothing for one that was parsed from elsewhere.
    pub fn name(&self) -> Option<Name> {
        Name::from_signing(self.signing_name)
    }

    /// The error code for parameters that break the model's constraints.
    pub fn invalid_parameter_code(&self) -> &'static str {
        self.name().map_or("ValidationException", |name| name.row().invalid_parameter)
    }

    /// The error code for a pagination token that is not ours.
    pub fn invalid_token_code(&self) -> &'static str {
        self.name().map_or("ValidationException", |name| name.row().invalid_token)
    }

    /// Understands a request: which operation, with which parameters. Does not check constraints, see [`Service::validate`].
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn route(&self, parts: &RequestParts<'_>, body: &[u8]) -> Result<Call<'_>, WireError> {
        match self.protocol {
            Protocol::Query | Protocol::Ec2 => protocol::query::route(self, parts, body),
            Protocol::Json => protocol::json::route(self, parts, body),
            Protocol::RestJson | Protocol::RestXml => route::route(self, parts, body),
        }
    }

    /// Writes a result. Members that the model does not have, or of other types, are a mistake of ours and give an internal error.
    /// `accept` is the request's `Accept` header: query services answer JSON to those who ask for it.
    pub fn respond(
        &self,
        operation: &Operation,
        output: &Value,
        request_id: &str,
        accept: Option<&str>,
    ) -> Response<Bytes> {
        protocol::respond(self, operation, output, request_id, accept).unwrap_or_else(|wrong| {
            let message = format!("The result of {} does not fit its model: {wrong}", operation.name);
            self.respond_error(&AwsError::internal(message), request_id, accept)
        })
    }

    /// Writes an error.
    pub fn respond_error(&self, error: &AwsError, request_id: &str, accept: Option<&str>) -> Response<Bytes> {
        protocol::respond_error(self, error, request_id, accept)
    }

    /// A modelled exception with its status and fault. An exception that the model lacks is a client error with status 400.
    pub fn error(&self, exception: &'static str, message: impl Into<String>) -> AwsError {
        let mut error = AwsError::new(exception, 400, message);
        if let Some((_, structure)) = self.exception(exception) {
            error.status = structure.status.unwrap_or(if structure.server_fault { 500 } else { 400 });
            error.fault = if structure.server_fault || error.status >= 500 { Fault::Server } else { Fault::Client };
        }
        error
    }

    /// An exception by its name or its wire code.
    pub(crate) fn exception(&self, code: &str) -> Option<(&'static str, &Structure)> {
        if let Some(id) = self.shape_named(code)
            && let Some(structure) = self.structure(id)
        {
            return Some((self.shape(id).name, structure));
        }
        self.shapes.iter().find_map(|shape| match &shape.kind {
            crate::model::Kind::Structure(structure) if structure.exception && structure.code == Some(code) => {
                Some((shape.name, structure))
            }
            _ => None,
        })
    }

    /// The error for an operation name that has no description: unknown, or known and not supported.
    pub(crate) fn missing_operation(&self, operation: &str, what: String) -> WireError {
        match self.other.binary_search(&operation) {
            Ok(index) => WireError::NotSupported { service: self.endpoint, operation: self.other[index] },
            Err(_) => WireError::UnknownOperation { service: self.endpoint, what },
        }
    }
}

/// Which service a request is for: the credential scope decides, then `X-Amz-Target`, then `Action` and `Version`, then the path.
///
/// # Errors
/// [`WireError::UnknownService`] names a service that Minato lacks; [`WireError::NoService`] means that nothing names one.
pub fn recognise(parts: &RequestParts<'_>, body: &[u8]) -> Result<Name, WireError> {
    if let Some(scope) = credential_scope(parts) {
        return Name::from_signing(&scope.service).ok_or(WireError::UnknownService(scope.service));
    }
    if let Some(target) = parts.header("x-amz-target") {
        let prefix = target.rsplit_once('.').map_or(target, |(prefix, _)| prefix);
        let found = Name::ALL.into_iter().find(|name| Service::get(*name).target_prefix == Some(prefix));
        return found.ok_or_else(|| WireError::UnknownService(prefix.to_owned()));
    }
    let pairs = form_pairs(parts, body)?;
    let value = |key| pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    if let Some(action) = value("Action") {
        let version = value("Version").unwrap_or_default();
        let speaks = |name: &Name| matches!(Service::get(*name).protocol, Protocol::Query | Protocol::Ec2);
        let found = Name::ALL.into_iter().filter(speaks).find(|name| Service::get(*name).version == version);
        return found.ok_or_else(|| WireError::UnknownService(format!("{action} of version {version}")));
    }
    let by_path = |name: &Name| {
        let service = Service::get(*name);
        matches!(service.protocol, Protocol::RestJson | Protocol::RestXml) && route::find(service, parts).is_ok()
    };
    Name::ALL.into_iter().find(by_path).ok_or(WireError::NoService)
}

/// The parameters of a query request: the form in the body, or the query string of a presigned GET.
pub(crate) fn form_pairs(parts: &RequestParts<'_>, body: &[u8]) -> Result<Vec<(String, String)>, WireError> {
    let mut pairs = parse_pairs(parts.raw_query)?;
    let form = parts.content_type();
    if !body.is_empty() && (form.is_empty() || form == "application/x-www-form-urlencoded") {
        let text =
            std::str::from_utf8(body).map_err(|error| WireError::Malformed { what: "form", why: error.to_string() })?;
        pairs.extend(parse_pairs(text.trim_end_matches(['\r', '\n']))?);
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    #[test]
    fn rows_stand_at_their_names_and_every_model_is_readable() {
        for (index, name) in Name::ALL.into_iter().enumerate() {
            assert_eq!((name as usize, ROWS[index].name), (index, name));
            let service = Service::get(name);
            assert_eq!(service.signing_name, name.signing());
            assert_eq!(service.name(), Some(name));
            assert!(!service.operations().is_empty());
        }
        assert_eq!(Service::get(Name::Eks).operations().len(), 70);
        assert!(Service::get(Name::Ec2).other_operations().contains(&"RunInstances"));
    }

    #[test]
    fn every_pattern_of_the_models_compiles_but_the_listed() {
        // The one with look-ahead restricts nothing; it names Organizations' delegated domains.
        let allowed = ["^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$"];
        for name in Name::ALL {
            for pattern in Service::get(name).shapes().iter().filter_map(|shape| shape.pattern.as_ref()) {
                let compiles = pattern.regex().is_some();
                assert_eq!(compiles, !allowed.contains(&pattern.source()), "{name:?} {}", pattern.source());
            }
        }
    }

    #[test]
    fn modelled_exceptions_know_their_status() {
        let eks = Service::get(Name::Eks);
        let status = |code| (eks.error(code, "").status, eks.error(code, "").fault);
        assert_eq!(status("ResourceNotFoundException"), (404, Fault::Client));
        assert_eq!(status("ServerException"), (500, Fault::Server));
        assert_eq!(status("ResourceInUseException"), (409, Fault::Client));
        assert_eq!(Service::get(Name::Iam).error("NoSuchEntityException", "").status, 404);
    }

    #[test]
    fn the_service_of_a_request_is_recognised() {
        let auth =
            "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/eks/aws4_request, SignedHeaders=host, Signature=00";
        let other = auth.replace("/eks/", "/sqs/");
        for (headers, path, query, body, expected) in [
            (&[("authorization", auth)][..], "/", "", "", Ok(Name::Eks)),
            (&[("authorization", &other)], "/clusters", "", "", Err(WireError::UnknownService("sqs".into()))),
            (
                &[("x-amz-target", "AmazonSSM.GetParameter")],
                "/",
                "",
                "",
                Err(WireError::UnknownService("AmazonSSM".into())),
            ),
            (&[], "/", "", "Action=AssumeRoleWithWebIdentity&Version=2011-06-15", Ok(Name::Sts)),
            (&[], "/", "Action=GetCallerIdentity&Version=2011-06-15", "", Ok(Name::Sts)),
            (&[], "/", "", "Action=ListUsers&Version=2010-05-08", Ok(Name::Iam)),
            (&[], "/", "", "Action=DescribeVpcs&Version=2016-11-15", Ok(Name::Ec2)),
            (&[], "/", "", "Action=X&Version=1", Err(WireError::UnknownService("X of version 1".into()))),
            (&[], "/clusters/a", "", "", Ok(Name::Eks)),
            (&[], "/favicon.ico", "", "", Err(WireError::NoService)),
            (&[], "/", "X-Amz-Credential=AK%2F20260101%2Fus-east-1%2Fsts%2Faws4_request", "", Ok(Name::Sts)),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, value.parse().expect("a header value"));
            }
            let method = if body.is_empty() { "GET" } else { "POST" };
            let parts = RequestParts { method, raw_path: path, raw_query: query, headers: &map };
            assert_eq!(recognise(&parts, body.as_bytes()), expected, "{path} {query} {body}");
        }
    }
}
