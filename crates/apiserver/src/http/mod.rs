//! Kubernetes' API over HTTP: who asks, for what, in which form. The request itself is carried out by the one path in
//! [`crate::core`]; nothing here decides about objects.

mod authn;
mod discovery;
mod exchange;
mod health;
mod impersonate;
mod inspect;
mod issuer;
mod lists;
mod negotiate;
mod openapi;
mod path;
mod protobuf;
mod respond;
mod stored_versions;
mod table;
mod watch;
mod websocket;
mod zpages;

use std::sync::Arc;

use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Method, Request as HttpRequest, Response, StatusCode};
use k8s_auth::Attributes;
use k8s_client::{Body as RequestBody, Items, Reply, Verb};
use k8s_object::{ApiError, Object, Reason, UserInfo};
use serde_json::{Value, json};
use serve::{Body, Handler, Peer, ReadError};
use world::BoxFuture;

use crate::aggregation::{self, Remote};
use crate::core::{Core, MAX_REQUEST_BYTES, Outcome};
use crate::proxy::{self, Passing};
use crate::registry::{Resource, Strategy};
use crate::{list_options, schema};
use exchange::{Exchange, Turn};
use negotiate::{Content, Endpoint};
use path::{Query, ResourceRoute, Route};
use table::Include;

pub(crate) use authn::BEARER_PROTOCOL;
pub(crate) use health::{is_ready, look as look_at_health, version_info};
pub(crate) use lists::Kept;
pub(crate) use negotiate::{Accepted, Format, View};
pub(crate) use openapi::Documents;
pub(crate) use path::{Route as PathRoute, decode, parse as parse_path, query_pairs, verb_of};
pub(crate) use respond::{plain_stream, text as plain_text, warn};

/// Answers the requests of one cluster's clients.
pub(crate) struct ApiHandler(pub Arc<Core>);

impl Handler for ApiHandler {
    fn handle(&self, peer: &Arc<Peer>, request: HttpRequest<Body>) -> BoxFuture<'static, Response<Body>> {
        let (core, peer) = (self.0.clone(), peer.clone());
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let format = plain(&parts);
            let foreign = foreign(&core, parts.uri.path());
            let content_type = header(&parts.headers, CONTENT_TYPE);
            let query = parts.uri.query().unwrap_or("");
            let route = path::parse(&parts.method, parts.uri.path(), query, content_type, foreign.is_some());
            let (mut exchange, valid) = Exchange::begin(&core, &parts, route.as_ref().ok());
            let route = valid.and(route);
            let limit = exchange.limit();
            let asked = Asked { core: core.clone(), peer: &peer, parts, body, foreign, route, exchange: &mut exchange };
            let answer = answer(asked);
            let answered = match limit {
                Some(limit) => core.world.timeout(limit, answer).await.ok(),
                None => Some(answer.await),
            };
            let mut response = match answered {
                Some(Ok(response)) => response,
                Some(Err(error)) => exchange.failed(&error, format),
                None => exchange.too_late(),
            };
            if peer.tls {
                let value = http::HeaderValue::from_static("max-age=31536000; includeSubDomains; preload");
                response.headers_mut().insert(http::header::STRICT_TRANSPORT_SECURITY, value);
            }
            exchange.end(response)
        })
    }
}

fn header(headers: &HeaderMap, name: http::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

/// The format for what is no resource.
fn plain(parts: &Parts) -> Format {
    let pretty = negotiate::wants_pretty(parts.uri.query().unwrap_or(""), header(&parts.headers, USER_AGENT));
    negotiate::plain(&joined(&parts.headers, ACCEPT), pretty)
}

/// A request as it came in, and what its line says.
struct Asked<'a> {
    core: Arc<Core>,
    peer: &'a Arc<Peer>,
    parts: Parts,
    body: Body,
    /// Who else serves what it is for.
    foreign: Option<Arc<Remote>>,
    route: Result<Route, ApiError>,
    exchange: &'a mut Exchange,
}

async fn answer(mut asked: Asked<'_>) -> Result<Response<Body>, ApiError> {
    let Asked { core, peer, parts, route, exchange, .. } = &mut asked;
    let sender = authn::authenticate(core, peer, &parts.headers, parts.uri.path()).await;
    let asking = sender.as_ref().map(|sender| sender.user.as_ref());
    exchange.authenticated(asking, parts, peer, route.as_ref().ok());
    let sender = sender?;
    sender.annotations.iter().for_each(|(key, value)| exchange.audit.annotate(key, value.as_str()));
    match answer_to(asked, sender.user).await {
        Ok(mut response) => {
            respond::warn(&mut response, &sender.warnings);
            Ok(response)
        }
        Err(mut error) => {
            error.warnings.splice(0..0, sender.warnings);
            Err(error)
        }
    }
}

/// Answers a request of whom is known.
async fn answer_to(asked: Asked<'_>, sender: Arc<UserInfo>) -> Result<Response<Body>, ApiError> {
    let Asked { core, peer, parts, body, foreign, route, exchange } = asked;
    let user = match impersonate::impersonate(&core, &sender, &parts.headers).await {
        Ok(Some(other)) => {
            exchange.audit.impersonated(&other);
            other
        }
        Ok(None) => sender,
        Err(impersonate::Refused::Forbidden(error)) => return Err(error),
        Err(impersonate::Refused::Nonsense(why)) => return Ok(internal_error(&parts, &why)),
    };
    let route = route?;
    let asked = match &route {
        Route::Resource(route) => {
            exchange.is_for(&parts.method, route);
            Ok(&**route)
        }
        Route::Other(path) => {
            exchange.is_for_path(path);
            Err(path.as_str())
        }
    };
    let turn = match exchange.turn(&user, &parts, asked).await {
        Ok(turn) => turn,
        Err(refusal) => return Ok(refusal),
    };
    let passing = |request, parts, body| {
        let http = HttpRequest::from_parts(parts, body);
        Passing { core: core.clone(), peer: peer.clone(), user: user.clone(), request, http }
    };
    let stream = |route: &ResourceRoute| {
        let resource = &route.request.resource;
        proxy::stream(&resource.group, &resource.resource, &route.request.subresource)
    };
    match (foreign, route) {
        (Some(remote), Route::Resource(route)) => {
            aggregation::answer(&remote, passing(route.request, parts, body), true, &exchange.audit).await
        }
        (Some(remote), Route::Other(_)) => {
            aggregation::answer(&remote, passing(remote.request(), parts, body), false, &exchange.audit).await
        }
        (None, Route::Resource(route)) if stream(&route).is_some() => {
            let Some(stream) = stream(&route) else { return Err(ApiError::method_not_allowed()) };
            proxy::answer(passing(route.request, parts, body), stream, &exchange.audit).await
        }
        (None, route) => carry_out(core, &parts, body, user, route, turn, exchange).await,
    }
}

/// What upstream tells in plain text where it knows of no better.
fn internal_error(parts: &Parts, why: &str) -> Response<Body> {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let text = format!("Internal Server Error: {target:?}: {why}\n");
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    respond::text(StatusCode::INTERNAL_SERVER_ERROR, text)
}

/// Who serves what a path names, if that is not this server.
fn foreign(core: &Core, path: &str) -> Option<Arc<Remote>> {
    if core.aggregator.is_empty() {
        return None;
    }
    if let Some(place) = path.strip_prefix("/openapi/v3/") {
        return core.aggregator.find_document(place).filter(|_| !openapi::has_v3(core, place));
    }
    let (group, version) = path::group_version(path)?;
    core.aggregator.find(&group, &version)
}

async fn carry_out(
    core: Arc<Core>,
    parts: &Parts,
    body: Body,
    user: Arc<UserInfo>,
    route: Route,
    turn: Turn,
    exchange: &Exchange,
) -> Result<Response<Body>, ApiError> {
    let gzip = negotiate::accepts_gzip(header(&parts.headers, ACCEPT_ENCODING));
    let content_type = header(&parts.headers, CONTENT_TYPE).to_owned();
    let accept = joined(&parts.headers, ACCEPT);
    match route {
        Route::Other(path) => {
            let verb = parts.method.as_str().to_lowercase();
            core.decide(&Attributes::path(&user, &verb, &path), &exchange.audit).await?;
            other(&core, parts, &path, &accept, gzip)
        }
        Route::Resource(route) => {
            let agent = header(&parts.headers, USER_AGENT).to_owned();
            let mut request = route.request;
            let served = core.registry.served();
            if !served.serves_version(&request.resource.group, &request.resource.version) {
                core.check(&user, &exchange.audit, &request).await?;
                return Ok(respond::page_not_found());
            }
            let endpoint = match served.find(&request.resource) {
                Some((_, resource)) if is_custom(resource) => Endpoint::Custom,
                Some((_, resource)) if resource.is_virtual() && !resource.verbs.contains(&"list") => Endpoint::Review,
                _ => Endpoint::Builtin,
            };
            drop(served);
            let accepted = match request.verb {
                Verb::Watch => negotiate::accepted_stream(&accept, endpoint),
                _ => negotiate::accepted(&accept, endpoint),
            };
            if accepted.is_err() {
                // Whether it may be done comes before how it is told.
                core.check(&user, &exchange.audit, &request).await?;
            }
            let mut accepted = accepted?;
            if accepted.format == Format::Json && negotiate::wants_pretty(parts.uri.query().unwrap_or(""), &agent) {
                accepted.format = Format::PrettyJson;
            }
            let client = Client { accepted, gzip, agent };
            if request.verb == Verb::Watch {
                let open = exchange.watch(&request);
                let response = start_watch(core.clone(), &user, request, &route.query, &client, exchange).await?;
                // A watch holds its seats while it begins.
                drop(turn);
                let response = open.until_the_end_of(response);
                return Ok(match websocket::is_asked(&parts.headers) {
                    true => websocket::answer(&core, parts, response, client.accepted.format),
                    false => response,
                });
            }
            if request.verb == Verb::List {
                list_options::check_list(&request.options, route.query.send_initial_events)?;
            }
            request.body = read_body(body, &content_type, request.verb).await?;
            request.options.deadline = exchange.deadline();
            let resource = core.registry.find(&request.resource).map(|(_, resource)| resource);
            let outcome = core.execute(&core.keyspace, &user, &client.agent, &exchange.audit, request).await?;
            let resource = resource?;
            exchange.audit.reply(&outcome.reply, &resource.api_version(), &resource.list_kind);
            render(&core, &resource, outcome, &route.query, &client)
        }
    }
}

/// How the client wants to be answered, and who it says it is.
struct Client {
    accepted: Accepted,
    gzip: bool,
    agent: String,
}

fn is_custom(resource: &Resource) -> bool {
    matches!(resource.strategy, Strategy::Custom(_))
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
    Ok(match negotiate::content(content_type, verb)? {
        Content::Json => RequestBody::Bytes(bytes),
        Content::Protobuf => RequestBody::Json(schema::decode_protobuf(&bytes)?),
        Content::Yaml => RequestBody::Yaml(bytes),
    })
}

fn other(core: &Arc<Core>, parts: &Parts, path: &str, accept: &str, gzip: bool) -> Result<Response<Body>, ApiError> {
    if ![Method::GET, Method::HEAD].contains(&parts.method) {
        return Err(ApiError::method_not_allowed());
    }
    let trimmed = path.trim_end_matches('/');
    let query = parts.uri.query().unwrap_or("");
    if let Some(response) = health::answer(core, trimmed, query) {
        return Ok(response);
    }
    if let Some(response) = inspect::answer(core, trimmed, query, gzip) {
        return Ok(response);
    }
    let paths = || discovery::paths(&core.registry.served(), &core.aggregator);
    if let Some(response) = zpages::answer(core, trimmed, accept, paths)? {
        return Ok(response);
    }
    if let Some(response) = issuer::answer(core, trimmed) {
        return Ok(response);
    }
    if let Some(response) = openapi::answer(core, trimmed, parts, accept, gzip) {
        return Ok(response);
    }
    if let Some(response) = discovery::answer(core, trimmed, &parts.headers, accept, plain(parts), gzip)? {
        return Ok(response);
    }
    Ok(respond::page_not_found())
}

async fn start_watch(
    core: Arc<Core>,
    user: &Arc<UserInfo>,
    request: k8s_client::Request,
    query: &Query,
    client: &Client,
    exchange: &Exchange,
) -> Result<Response<Body>, ApiError> {
    let include = include(query, client.accepted.view)?;
    let send = query.send_initial_events;
    list_options::check_watch(&request.options, send, core.minor)?;
    let announce_end = query.allow_bookmarks && list_options::announces_end(&request.options, send, core.minor);
    let mut cursor = match core.start_watch(user, &client.agent, &exchange.audit, request, send).await {
        Ok(cursor) => cursor,
        // Upstream looks for the revision when the watch is under way.
        Err(error) if matches!(error.reason, Reason::Expired | Reason::Timeout) => {
            return Ok(watch::failed(&error, client.accepted.format));
        }
        Err(error) => return Err(error),
    };
    cursor.bookmarks = query.allow_bookmarks;
    cursor.announce_end = announce_end;
    let deprecation = cursor.resource.deprecation.clone();
    let mut response = watch::respond(core, cursor, client.accepted, include, query.timeout_seconds);
    respond::warn(&mut response, deprecation.as_slice());
    Ok(response)
}

/// What a Table's rows carry; what other answers do with the parameter is nothing.
fn include(query: &Query, view: View) -> Result<Include, ApiError> {
    let asked = query.include_object.as_deref();
    match Include::parse(asked) {
        Some(include) => Ok(include),
        None if view != View::Table => Ok(Include::Metadata),
        None => Err(ApiError::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {:?}: must be 'Metadata', 'Object', 'None', or empty",
            asked.unwrap_or("")
        ))),
    }
}

fn render(
    core: &Core,
    resource: &Resource,
    outcome: Outcome,
    query: &Query,
    client: &Client,
) -> Result<Response<Body>, ApiError> {
    let status = StatusCode::from_u16(outcome.code).unwrap_or(StatusCode::OK);
    let include = include(query, client.accepted.view)?;
    let mut response = match outcome.reply {
        Reply::Object(object) => object_response(core, resource, &object, status, include, client)?,
        Reply::List { items, resource_version, continue_token, remaining } => {
            let metadata = lists::metadata(&resource_version, &continue_token, remaining);
            list_response(core, resource, items, metadata, include, client)?
        }
        Reply::Value(value) => {
            let value = table::answer(value, client.accepted, include, core.world.now());
            respond::value(status, &value, client.accepted.format, client.gzip)
        }
    };
    respond::warn(&mut response, &outcome.warnings);
    Ok(response)
}

/// The type behind an answer as upstream, which is written in Go, names it in errors.
fn go_type(resource: &Resource, list: bool) -> String {
    match (is_custom(resource), list) {
        (true, true) => "*unstructured.UnstructuredList".to_owned(),
        (true, false) => "*unstructured.Unstructured".to_owned(),
        (false, _) => {
            let package = resource.group.split('.').next().filter(|name| !name.is_empty()).unwrap_or("core");
            format!("*{package}.{}", if list { &resource.list_kind } else { &resource.kind })
        }
    }
}

fn object_response(
    core: &Core,
    resource: &Resource,
    object: &Arc<Object>,
    status: StatusCode,
    include: Include,
    client: &Client,
) -> Result<Response<Body>, ApiError> {
    let Accepted { view, meta, format } = client.accepted;
    let value = match view {
        View::Object => return Ok(respond::object(status, object, format, client.gzip)),
        View::PartialObjectMetadata => table::partial(&object.value(), meta),
        View::PartialObjectMetadataList => {
            return Err(negotiate::not_acceptable(format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list ({})",
                go_type(resource, false)
            )));
        }
        View::Table => {
            let metadata = json!({"resourceVersion": object.meta().resource_version});
            let row = table::row(resource, object, table::Options { include, meta }, core.world.now());
            table::table(resource, metadata, vec![row], meta, true)
        }
    };
    Ok(respond::value(status, &value, format, client.gzip))
}

fn list_response(
    core: &Core,
    resource: &Resource,
    items: Items,
    metadata: Value,
    include: Include,
    client: &Client,
) -> Result<Response<Body>, ApiError> {
    let Accepted { view, meta, format } = client.accepted;
    let value = match view {
        View::Object => {
            let (version, kind) = (resource.api_version(), &resource.list_kind);
            let items_say_kind = matches!(resource.strategy, Strategy::Custom(_));
            let about = lists::About { api_version: &version, kind, metadata: &metadata, items_say_kind };
            return Ok(lists::answer(&core.lists, &about, &items, format, client.gzip));
        }
        View::PartialObjectMetadata => {
            return Err(negotiate::not_acceptable(format!(
                "you requested PartialObjectMetadata, but the requested object is a list ({})",
                go_type(resource, true)
            )));
        }
        View::PartialObjectMetadataList => json!({
            "kind": "PartialObjectMetadataList", "apiVersion": meta, "metadata": metadata,
            "items": items.iter().map(|item| table::partial(&item.value(), meta)).collect::<Vec<Value>>(),
        }),
        View::Table => {
            let now = core.world.now();
            let options = table::Options { include, meta };
            let rows = items.iter().map(|item| table::row(resource, item, options, now)).collect();
            table::table(resource, metadata, rows, meta, true)
        }
    };
    Ok(respond::value(StatusCode::OK, &value, format, client.gzip))
}
