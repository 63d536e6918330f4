//! The AWS endpoint: one address for all services. Verifies who asks, understands what, and passes it on.
//!
//! Nothing is done before the signature is verified. Must never know what an operation means.

use std::sync::Arc;

use bytes::Bytes;
use cloud_iam::records::RecordError;
use cloud_iam::{CallContext, Caller};
use cloud_wire::{AwsError, Name, PathRules, Protocol, RequestParts, Service, SignatureError, Verifier};
use http::{HeaderValue, Request, Response, StatusCode};
use serde_json::Value;
use serve::{Body, Handler, Peer, ReadError};
use world::BoxFuture;

use crate::{Inner, admin, credentials};

/// Largest request body: EKS and IAM take far less; their largest is a policy of 128 KiB.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Serves the AWS endpoint of a region.
pub(crate) struct Front(pub(crate) Arc<Inner>);

impl Handler for Front {
    fn handle(&self, peer: &Arc<Peer>, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let (inner, source_ip) = (self.0.clone(), peer.address.ip().to_string());
        Box::pin(async move { answer(&inner, source_ip, request).await })
    }
}

async fn answer(inner: &Arc<Inner>, source_ip: String, request: Request<Body>) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    // HTTP/2 names the host in the URI; signatures are over the header.
    if !head.headers.contains_key("host")
        && let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert("host", host);
    }
    let parts = RequestParts {
        method: head.method.as_str(),
        raw_path: head.uri.path(),
        raw_query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
    };
    let request_id = inner.world.uuid();
    let body = match serve::read_limited(body, MAX_BODY_BYTES).await {
        Ok(body) => body,
        Err(error @ ReadError::TooLarge { .. }) => {
            let error = AwsError::new("RequestEntityTooLarge", 413, error.to_string());
            return refuse(&parts, &error, &request_id).map(serve::full);
        }
        Err(ReadError::Broken(_)) => {
            let error = AwsError::new("IncompleteBody", 400, "The request ended before its body did.");
            return refuse(&parts, &error, &request_id).map(serve::full);
        }
    };
    if admin::is_ours(parts.raw_path) {
        return admin::answer(inner, &parts, &body, &request_id).await;
    }
    if (parts.method, parts.raw_path, parts.raw_query) == ("GET", "/", "") && parts.header("authorization").is_none() {
        return welcome(inner).map(serve::full);
    }
    let name = match cloud_wire::recognise(&parts, &body) {
        Ok(name) => name,
        Err(error) => return refuse(&parts, &error.to_aws(Protocol::RestJson), &request_id).map(serve::full),
    };
    let service = Service::get(name);
    let accept = parts.header("accept");
    let outcome = call(inner, name, service, &parts, &body, source_ip, &request_id).await;
    let response = match outcome {
        Ok((operation, output)) => service.respond(operation, &output, &request_id, accept),
        Err(error) => service.respond_error(&error, &request_id, accept),
    };
    response.map(serve::full)
}

/// Refuses a request that no service took on, in the form that its sender most likely reads.
pub(crate) fn refuse(parts: &RequestParts<'_>, error: &AwsError, request_id: &str) -> Response<Bytes> {
    cloud_wire::respond_unrouted(error, &parts.content_type(), parts.header("accept"), request_id)
}

async fn call(
    inner: &Arc<Inner>,
    name: Name,
    service: &'static Service,
    parts: &RequestParts<'_>,
    body: &[u8],
    source_ip: String,
    request_id: &str,
) -> Result<(&'static cloud_wire::Operation, Value), AwsError> {
    let caller = verify(inner, name.signing(), name.global_region(), parts, body)
        .await
        .map_err(|error| error.to_aws(service.protocol))?;
    let call = service.route(parts, body).map_err(|error| error.to_aws(service.protocol))?;
    service.validate(call.operation, &call.input).map_err(|error| error.to_aws(service))?;
    let context = CallContext {
        account: inner.account.clone(),
        region: inner.region.clone(),
        caller,
        request_id: request_id.to_owned(),
        source_ip,
        now: inner.world.now(),
    };
    let output = inner.dispatch(name, &context, call.operation.name, &call.input).await?;
    Ok((call.operation, output))
}

/// Who signed the request.
pub(crate) async fn verify(
    inner: &Inner,
    service: &str,
    global_region: Option<&str>,
    parts: &RequestParts<'_>,
    body: &[u8],
) -> Result<Caller, Refusal> {
    let verified = credentials::verify(inner, |lookup| {
        let verifier = Verifier {
            region: &inner.region,
            global_region,
            service,
            now: inner.world.now(),
            path: PathRules::STANDARD,
            lookup,
        };
        verifier.verify(parts, body)
    });
    match verified.await.map_err(Refusal::Store)? {
        (Ok(_), Some(credential)) => Ok(credential.caller),
        (Ok(_), None) => Err(Refusal::Signature(SignatureError::UnknownKey)),
        (Err(error), _) => Err(Refusal::Signature(error)),
    }
}

/// Why a request was not taken on.
pub(crate) enum Refusal {
    Signature(SignatureError),
    /// It could not be found out whose key it is.
    Store(RecordError),
}

impl Refusal {
    pub(crate) fn to_aws(&self, protocol: Protocol) -> AwsError {
        match self {
            Refusal::Signature(error) => error.to_aws(protocol),
            Refusal::Store(error) => AwsError::internal(error.to_string()),
        }
    }
}

/// What a browser sees.
fn welcome(inner: &Inner) -> Response<Bytes> {
    let text = format!(
        "Minato: AWS region {} of account {}.\nThis is an endpoint for AWS clients: set AWS_ENDPOINT_URL to this address, or run `minato env`.\n",
        inner.region, inner.account
    );
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
