//! Minato's own operations, for its command line: signed as AWS requests are, for a service of the name `minato`.
//!
//! | request | who | answer |
//! |---|---|---|
//! | `GET /_minato/status` | any principal of the account | the region, its store, its clusters |
//! | `GET /_minato/snapshot` | the administrator | a snapshot of the store, as the store writes it |
//! | `POST /_minato/restore` | the administrator | a cluster's past made present, see [`crate::restore`] |
//!
//! Nothing here may be done before the signature is verified.

use std::sync::Arc;

use cloud_iam::Caller;
use cloud_wire::{AwsError, Protocol, RequestParts};
use http::{HeaderValue, Response};
use serde_json::Value;
use serve::Body;

use crate::front::{refuse, verify};
use crate::{Inner, restore, snapshot, status};

/// Signing name of these operations, which are no AWS service.
const MINATO: &str = "minato";
/// What their paths begin with.
const ROOT: &str = "/_minato/";

/// Whether a request is for an operation of Minato.
pub(crate) fn is_ours(path: &str) -> bool {
    path.starts_with(ROOT)
}

/// Carries a request out.
pub(crate) async fn answer(
    inner: &Arc<Inner>,
    parts: &RequestParts<'_>,
    body: &[u8],
    request_id: &str,
) -> Response<Body> {
    let outcome = match verify(inner, MINATO, None, parts, body).await {
        Ok(caller) => carry_out(inner, &caller, parts, body).await,
        Err(error) => Err(error.to_aws(Protocol::RestJson)),
    };
    outcome.unwrap_or_else(|error| refuse(parts, &error, request_id).map(serve::full))
}

async fn carry_out(
    inner: &Arc<Inner>,
    caller: &Caller,
    parts: &RequestParts<'_>,
    body: &[u8],
) -> Result<Response<Body>, AwsError> {
    match (parts.method, parts.raw_path.strip_prefix(ROOT).unwrap_or_default()) {
        ("GET", "status") => Ok(json(&status::read(inner).await)),
        ("GET", "snapshot") => {
            administrators_only(inner, caller)?;
            snapshot::stream(inner).await
        }
        ("POST", "restore") => {
            administrators_only(inner, caller)?;
            Ok(json(&restore::handle(inner, body).await?))
        }
        (method, _) => {
            let message = format!("{method} {} is no operation of Minato", parts.raw_path);
            Err(AwsError::new("UnknownOperationException", 404, message))
        }
    }
}

/// What reads or replaces everything is not for principals whose permissions name AWS's operations.
fn administrators_only(inner: &Inner, caller: &Caller) -> Result<(), AwsError> {
    if caller.arn == inner.administrator.caller.arn {
        return Ok(());
    }
    let message = format!("{} may not do this: it is for {}", caller.arn, inner.administrator.caller.arn);
    Err(AwsError::new("AccessDeniedException", 403, message))
}

fn json(value: &Value) -> Response<Body> {
    let mut response = Response::new(serve::full(value.to_string()));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}
