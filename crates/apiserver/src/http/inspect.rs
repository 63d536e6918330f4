//! What operators look at: `/metrics` and what the queues hold.

use http::{HeaderValue, Response, StatusCode};
use serve::Body;

use super::respond;
use crate::core::Core;
use crate::metrics;

const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const QUEUES: &str = "/debug/api_priority_and_fairness/";

pub(super) fn answer(core: &Core, path: &str, query: &str, gzip: bool) -> Option<Response<Body>> {
    let text = match path {
        "/metrics" => return Some(respond::compressed(StatusCode::OK, METRICS, metrics::all(core).into(), gzip)),
        "/metrics/slis" => return Some(respond::compressed(StatusCode::OK, METRICS, metrics::slis(core).into(), gzip)),
        _ if path == "/debug/pprof" || path.starts_with("/debug/pprof/") => {
            let why = "profiles of Go programs are not served: this API server is none\n";
            return Some(respond::text(StatusCode::NOT_FOUND, why));
        }
        _ => {
            let pairs = super::path::query_pairs(query);
            let details = pairs.iter().any(|(name, value)| name == "includeRequestDetails" && !value.is_empty());
            core.flow.dump(core, path.strip_prefix(QUEUES)?, details)?
        }
    };
    let mut response = respond::text(StatusCode::OK, text);
    response.headers_mut().insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Some(response)
}
