//! What the API server passes on: streams of containers to the kubelet of their node, and requests to nodes, pods and Services.
//!
//! A request is authorized and looked up here and then relayed; nothing reads what is in it. An upgraded connection is bytes in both
//! directions until one side ends.

mod admit;
mod backend;
mod kubelet;
mod location;
mod options;
mod relay;

pub use options::{ClientCertificate, Kubelets};

use std::sync::Arc;

use http::{Method, Response, StatusCode};
use k8s_client::Request;
use k8s_object::{ApiError, Reason, UserInfo};
use serve::{Body, Peer};

use crate::audit::Record;
use crate::core::Core;
use crate::http::{query_pairs, verb_of};
pub(crate) use location::Location;

/// What is below an object and passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// `pods/attach`, `pods/exec`, `pods/portforward`: only as an upgraded connection.
    Container(&'static str),
    Log,
    Node,
    Pod,
    Service,
}

/// The stream that a path names.
pub(crate) fn stream(group: &str, plural: &str, subresource: &str) -> Option<Stream> {
    match (group, plural, subresource) {
        ("", "nodes", "proxy") => Some(Stream::Node),
        ("", "pods", "attach") => Some(Stream::Container("attach")),
        ("", "pods", "exec") => Some(Stream::Container("exec")),
        ("", "pods", "log") => Some(Stream::Log),
        ("", "pods", "portforward") => Some(Stream::Container("portForward")),
        ("", "pods", "proxy") => Some(Stream::Pod),
        ("", "services", "proxy") => Some(Stream::Service),
        _ => None,
    }
}

/// One request that is to be passed on.
pub(crate) struct Passing {
    pub core: Arc<Core>,
    pub peer: Arc<Peer>,
    pub user: Arc<UserInfo>,
    /// Verb, resource, namespace and name.
    pub request: Request,
    pub http: http::Request<Body>,
}

impl Passing {
    /// By which verb it is authorized.
    pub(crate) fn verb(&self) -> &'static str {
        verb_of(self.http.method(), self.request.verb)
    }

    /// Parameters of the query, in their order.
    fn query(&self) -> Vec<(String, String)> {
        query_pairs(self.http.uri().query().unwrap_or(""))
    }
}

/// Answers a request for a stream.
pub(crate) async fn answer(passing: Passing, stream: Stream, audit: &Record) -> Result<Response<Body>, ApiError> {
    let agent = passing.http.headers().get(http::header::USER_AGENT).and_then(|value| value.to_str().ok());
    let agent = agent.unwrap_or("").to_owned();
    let agent = agent.as_str();
    let core = &passing.core;
    core.refresh().await?;
    core.check_as(&passing.user, audit, &passing.request, passing.verb()).await?;
    let request = &passing.request;
    if request.name.is_empty() {
        return Err(ApiError::method_not_allowed());
    }
    let method = passing.http.method();
    let allowed = match stream {
        Stream::Container(_) => matches!(*method, Method::GET | Method::POST),
        Stream::Log => matches!(*method, Method::GET | Method::HEAD),
        Stream::Node | Stream::Pod | Stream::Service => true,
    };
    if !allowed {
        return Err(ApiError::method_not_allowed());
    }
    let query = passing.query();
    let mut warnings = Vec::new();
    if let Some(options) = admit::options(stream, &query, below(passing.http.uri().path())) {
        warnings = admit::admit(core, &passing.user, (agent, audit), request, options).await?;
    }
    match relayed(passing, stream, &query).await {
        Ok(mut response) => {
            crate::http::warn(&mut response, &warnings);
            Ok(response)
        }
        Err(error) => Err(ApiError { warnings, ..error }),
    }
}

/// Passes on what is allowed and admitted.
async fn relayed(passing: Passing, stream: Stream, query: &[(String, String)]) -> Result<Response<Body>, ApiError> {
    let (core, request, method) = (&passing.core, &passing.request, passing.http.method());
    let location = match stream {
        Stream::Container(way) => kubelet::container(core, request, way, query)?,
        Stream::Log => match kubelet::log(core, request, query)? {
            Some(location) => location,
            // A pod that runs nowhere has said nothing.
            None => return Ok(crate::http::plain_text(StatusCode::OK, "")),
        },
        Stream::Node => backend::node(core, &request.name)?,
        Stream::Pod => backend::pod(core, &request.namespace, &request.name)?,
        Stream::Service => backend::service(core, &request.namespace, &request.name)?,
    };
    if location.simulated {
        let message = "the nodes and pods of this cluster are simulated by Minato and answer no connections";
        return Err(ApiError::new(Reason::ServiceUnavailable, message));
    }
    let upgrade = relay::wants_upgrade(passing.http.headers());
    match stream {
        Stream::Container(_) if !upgrade => Err(ApiError::bad_request("Upgrade request required")),
        Stream::Container(_) => relay::upgrade(passing, location).await,
        Stream::Log => relay::log(passing, location).await,
        Stream::Node | Stream::Pod | Stream::Service => {
            let below = below(passing.http.uri().path());
            let location = match below {
                // The page that is below must be able to name what is beside it.
                None if matches!(*method, Method::GET | Method::HEAD) && !upgrade => {
                    return Ok(relay::slash_added(passing.http.uri()));
                }
                below => location.below(below.unwrap_or(""), passing.http.uri().query()),
            };
            if upgrade { relay::upgrade(passing, location).await } else { relay::request(passing, location).await }
        }
    }
}

/// What of a path is below `…/proxy`, as it was sent: nothing when not even a slash is.
fn below(path: &str) -> Option<&str> {
    // /api/v1/nodes/x/proxy or /api/v1/namespaces/n/pods/x/proxy
    let segments = if path.trim_start_matches('/').starts_with("api/v1/namespaces/") { 7 } else { 5 };
    let mut at = 0;
    for _ in 0..segments {
        at += path[at..].len() - path[at..].trim_start_matches('/').len();
        at += path[at..].find('/').unwrap_or(path.len() - at);
    }
    Some(&path[at..]).filter(|below| !below.is_empty())
}

/// Passes a request on to a place that is known, as an upgrade if the client wants one.
pub(crate) async fn pass_on(passing: Passing, location: Location) -> Result<Response<Body>, ApiError> {
    match relay::wants_upgrade(passing.http.headers()) {
        true => relay::upgrade(passing, location).await,
        false => relay::request(passing, location).await,
    }
}

/// The error of a backend that cannot be reached by a request.
fn unreachable(why: String) -> ApiError {
    ApiError::new(Reason::ServiceUnavailable, format!("error trying to reach service: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_is_kept_as_it_was_sent() {
        let cases = [
            ("/api/v1/nodes/n/proxy", None),
            ("/api/v1/nodes/n/proxy/", Some("/")),
            ("/api/v1/nodes/n/proxy/metrics", Some("/metrics")),
            ("/api/v1/namespaces/d/services/s:p/proxy/a%2Fb//c/", Some("/a%2Fb//c/")),
            ("/api/v1/namespaces/d/pods/p/proxy", None),
            ("//api/v1/namespaces/d/pods/p/proxy/x", Some("/x")),
        ];
        for (path, expected) in cases {
            assert_eq!(below(path), expected, "{path}");
        }
    }
}
