//! Kubernetes' API over HTTP: who asks, for what, in which form. The request itself is carried out by the one path in
//! [`crate::core`]; nothing here decides about objects.

mod authn;
mod discovery;
mod health;
mod impersonate;
mod issuer;
mod negotiate;
mod openapi;
mod path;
mod respond;
mod table;
mod watch;

use std::sync::Arc;

use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Method, Request as HttpRequest, Response, StatusCode};
use k8s_auth::Attributes;
use k8s_client::{Body as RequestBody, Reply, Verb};
use k8s_object::{ApiError, Object, Reason, UserInfo};
use serde_json::{Value, json};
use serve::{Body, Handler, Peer, ReadError};
use world::BoxFuture;

use crate::aggregation::{self, Remote};
use crate::core::{Core, MAX_REQUEST_BYTES, Outcome};
use crate::proxy::{self, Passing};
use crate::registry::Resource;
use crate::{list_options, schema};
use negotiate::{Accepted, Content, Format, View};
use path::{Query, ResourceRoute, Route};
use table::Include;

pub(crate) use authn::BEARER_PROTOCOL;
pub(crate) use health::is_ready;
pub(crate) use openapi::Documents;
pub(crate) use path::{decode, query_pairs};
pub(crate) use respond::{plain_stream, text as plain};

/// Answers the requests of one cluster's clients.
pub(crate) struct ApiHandler(pub Arc<Core>);

impl Handler for ApiHandler {
    fn handle(&self, peer: &Arc<Peer>, request: HttpRequest<Body>) -> BoxFuture<'static, Response<Body>> {
        let (core, peer) = (self.0.clone(), peer.clone());
        Box::pin(async move {
            let mut response = match answer(core, &peer, request).await {
                Ok(response) => response,
                Err(error) => respond::failure(&error),
            };
            if peer.tls {
                let value = http::HeaderValue::from_static("max-age=31536000; includeSubDomains; preload");
                response.headers_mut().insert(http::header::STRICT_TRANSPORT_SECURITY, value);
            }
            response
        })
    }
}

fn header(headers: &HeaderMap, name: http::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

async fn answer(core: Arc<Core>, peer: &Arc<Peer>, request: HttpRequest<Body>) -> Result<Response<Body>, ApiError> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let sender = authn::authenticate(&core, peer, &parts.headers, path).await?;
    let user = match impersonate::impersonate(&core, &sender.user, &parts.headers).await {
        Ok(other) => other.unwrap_or(sender.user),
        Err(refused) => return Ok(refused.respond(parts.uri.path_and_query().map_or(path, |target| target.as_str()))),
    };
    let foreign = foreign(&core, path);
    let content_type = header(&parts.headers, CONTENT_TYPE);
    let route = path::parse(&parts.method, path, parts.uri.query().unwrap_or(""), content_type, foreign.is_some())?;
    let passing = |request, parts, body| {
        let http = HttpRequest::from_parts(parts, body);
        Passing { core: core.clone(), peer: peer.clone(), user: user.clone(), request, http }
    };
    let stream = |route: &ResourceRoute| {
        let resource = &route.request.resource;
        proxy::stream(&resource.group, &resource.resource, &route.request.subresource)
    };
    let mut response = match (foreign, route) {
        (Some(remote), Route::Resource(route)) => {
            aggregation::answer(&remote, passing(route.request, parts, body), true).await?
        }
        (Some(remote), Route::Other(_)) => {
            aggregation::answer(&remote, passing(remote.request(), parts, body), false).await?
        }
        (None, Route::Resource(route)) if stream(&route).is_some() => {
            let Some(stream) = stream(&route) else { return Err(ApiError::method_not_allowed()) };
            proxy::answer(passing(route.request, parts, body), stream).await?
        }
        (None, route) => carry_out(core, peer, &parts, body, user, route).await?,
    };
    respond::warn(&mut response, &sender.warnings);
    Ok(response)
}

/// Who serves what a path names, if that is not this server.
fn foreign(core: &Core, path: &str) -> Option<Arc<Remote>> {
    if core.aggregator.is_empty() {
        return None;
    }
    // The documents of a version are where the version is.
    let (group, version) = path::group_version(path.strip_prefix("/openapi/v3").unwrap_or(path))?;
    core.aggregator.find(&group, &version)
}

async fn carry_out(
    core: Arc<Core>,
    peer: &Peer,
    parts: &http::request::Parts,
    body: Body,
    user: Arc<UserInfo>,
    route: Route,
) -> Result<Response<Body>, ApiError> {
    let gzip = header(&parts.headers, ACCEPT_ENCODING).contains("gzip");
    let content_type = header(&parts.headers, CONTENT_TYPE).to_owned();
    let accept = joined(&parts.headers, ACCEPT);
    match route {
        Route::Other(path) => {
            let verb = parts.method.as_str().to_lowercase();
            core.auth.authorize(&core, &Attributes::path(&user, &verb, &path)).await?;
            other(&core, parts, &path, &accept, gzip)
        }
        Route::Resource(route) => {
            let accepted = negotiate::accepted(&accept)?;
            let agent = header(&parts.headers, USER_AGENT).to_owned();
            let mut request = route.request;
            let client = Client { accepted, gzip, head: parts.method == Method::HEAD, agent };
            if !core.registry.served().serves_version(&request.resource.group, &request.resource.version) {
                core.authorize(&user, &request).await?;
                return Ok(respond::page_not_found());
            }
            if request.verb == Verb::Watch {
                return start_watch(core, peer, &user, request, &route.query, &client).await;
            }
            if request.verb == Verb::List {
                list_options::check_list(&request.options, route.query.send_initial_events)?;
            }
            request.body = read_body(body, &content_type, request.verb).await?;
            let resource = core.registry.find(&request.resource).map(|(_, resource)| resource);
            let source = Some(peer.address.ip());
            let outcome = core.execute(&core.keyspace, &user, &client.agent, source, request).await?;
            let resource = resource?;
            render(&core, &resource, outcome, &route.query, &client)
        }
    }
}

/// How the client wants to be answered, and who it says it is.
struct Client {
    accepted: Accepted,
    gzip: bool,
    head: bool,
    agent: String,
}

/// All values of a header that may stand there several times.
fn joined(headers: &HeaderMap, name: http::HeaderName) -> String {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

async fn read_body(body: Body, content_type: &str, verb: Verb) -> Result<RequestBody, ApiError> {
    if matches!(verb, Verb::Get | Verb::List) {
        return Ok(RequestBody::None);
    }
    let bytes = serve::read_limited(body, MAX_REQUEST_BYTES).await.map_err(|error| match error {
        ReadError::TooLarge { limit } => ApiError::too_large(limit),
        ReadError::Broken(error) => ApiError::bad_request(format!("the body cannot be read: {error}")),
    })?;
    if bytes.is_empty() {
        return Ok(RequestBody::None);
    }
    Ok(match negotiate::content(content_type)? {
        Content::Json => RequestBody::Bytes(bytes),
        Content::Protobuf => RequestBody::Json(schema::decode_protobuf(&bytes)?),
        Content::Yaml => RequestBody::Json(schema::decode_yaml(&bytes)?),
    })
}

fn other(
    core: &Arc<Core>,
    parts: &http::request::Parts,
    path: &str,
    accept: &str,
    gzip: bool,
) -> Result<Response<Body>, ApiError> {
    if ![Method::GET, Method::HEAD].contains(&parts.method) {
        return Err(ApiError::method_not_allowed());
    }
    let trimmed = path.trim_end_matches('/');
    let query = parts.uri.query().unwrap_or("");
    if let Some(response) = health::answer(core, trimmed, query) {
        return Ok(response);
    }
    if let Some(response) = issuer::answer(core, trimmed) {
        return Ok(response);
    }
    if let Some(response) = openapi::answer(core, trimmed, &parts.headers, accept, gzip) {
        return Ok(response);
    }
    if let Some(response) = discovery::answer(core, trimmed, accept, gzip)? {
        return Ok(response);
    }
    Ok(respond::page_not_found())
}

async fn start_watch(
    core: Arc<Core>,
    peer: &Peer,
    user: &Arc<UserInfo>,
    request: k8s_client::Request,
    query: &Query,
    client: &Client,
) -> Result<Response<Body>, ApiError> {
    let include = Include::parse(query.include_object.as_deref()).ok_or_else(unknown_include)?;
    let send = query.send_initial_events;
    list_options::check_watch(&request.options, send, core.minor)?;
    let announce_end = query.allow_bookmarks && list_options::announces_end(&request.options, send, core.minor);
    let mut cursor = match core.start_watch(user, &client.agent, Some(peer.address.ip()), request, send).await {
        Ok(cursor) => cursor,
        // Upstream looks for the revision when the watch is under way.
        Err(error) if matches!(error.reason, Reason::Expired | Reason::Timeout) => return Ok(watch::failed(&error)),
        Err(error) => return Err(error),
    };
    cursor.bookmarks = query.allow_bookmarks;
    cursor.announce_end = announce_end;
    Ok(watch::respond(core, cursor, client.accepted.view, include, query.timeout_seconds))
}

fn unknown_include() -> ApiError {
    ApiError::bad_request("includeObject must be None, Metadata or Object")
}

fn render(
    core: &Core,
    resource: &Resource,
    outcome: Outcome,
    query: &Query,
    client: &Client,
) -> Result<Response<Body>, ApiError> {
    let status = if outcome.created { StatusCode::CREATED } else { StatusCode::OK };
    let include = Include::parse(query.include_object.as_deref()).ok_or_else(unknown_include)?;
    let mut response = match outcome.reply {
        Reply::Object(object) => object_response(core, resource, &object, status, include, client),
        Reply::List { items, resource_version, continue_token, remaining } => {
            let metadata = respond::list_metadata(&resource_version, &continue_token, remaining);
            list_response(core, resource, items, metadata, include, client)
        }
        Reply::Value(value) => respond::value(status, &value, client.accepted.format, client.gzip),
    };
    respond::warn(&mut response, &outcome.warnings);
    if client.head {
        *response.body_mut() = serve::empty();
    }
    Ok(response)
}

fn object_response(
    core: &Core,
    resource: &Resource,
    object: &Arc<Object>,
    status: StatusCode,
    include: Include,
    client: &Client,
) -> Response<Body> {
    let value = match (client.accepted.view, client.accepted.format) {
        (View::Object, Format::Json) => return respond::json_bytes(status, object.json().clone(), client.gzip),
        (View::Object, Format::Yaml) => object.value(),
        (View::PartialObjectMetadata | View::PartialObjectMetadataList, _) => table::partial(&object.value()),
        (View::Table, _) => {
            let metadata = json!({"resourceVersion": object.meta().resource_version});
            let row = table::row(resource, object, include, core.world.now());
            table::table(resource, metadata, vec![row], true)
        }
    };
    respond::value(status, &value, client.accepted.format, client.gzip)
}

fn list_response(
    core: &Core,
    resource: &Resource,
    items: Vec<Arc<Object>>,
    metadata: Value,
    include: Include,
    client: &Client,
) -> Response<Body> {
    let value = match (client.accepted.view, client.accepted.format) {
        (View::Object, Format::Json) => {
            return respond::list(&resource.api_version(), &resource.list_kind, &metadata, items, client.gzip);
        }
        (View::Object, Format::Yaml) => json!({
            "kind": resource.list_kind, "apiVersion": resource.api_version(), "metadata": metadata,
            "items": items.iter().map(|item| item.value()).collect::<Vec<Value>>(),
        }),
        (View::PartialObjectMetadata | View::PartialObjectMetadataList, _) => json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            "items": items.iter().map(|item| table::partial(&item.value())).collect::<Vec<Value>>(),
        }),
        (View::Table, _) => {
            let now = core.world.now();
            let rows = items.iter().map(|item| table::row(resource, item, include, now)).collect();
            table::table(resource, metadata, rows, true)
        }
    };
    respond::value(StatusCode::OK, &value, client.accepted.format, client.gzip)
}
