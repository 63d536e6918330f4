//! One request from its arrival to the end of its answer: what is counted, timed and limited about it, whatever it asks for.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use k8s_client::{PatchType, Request, Verb};
use k8s_object::{ApiError, GroupVersionResource, Reason, UserInfo};
use serve::{Body, Peer};

use super::negotiate::Format;
use super::path::{ResourceRoute, Route};
use super::respond;
use crate::audit::{self, AuditStage, Audited, Record, Source};
use crate::core::Core;
use crate::counted::{self, LONG_RUNNING};
use crate::flow::{Asked, Class, Entrant, Place, Seat, Watched};
use crate::metrics::{DryRun, Labels, Metrics, Series, Watermark};
use crate::registry::{Resource, Strategy};

/// How long a request may take that does not say and does not run long by nature (`--request-timeout`).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an answer that count as sent as soon as they are there.
const AT_ONCE: u64 = 1 << 20;
/// Characters of an audit id that a client may give; a longer one is cut as upstream does.
const MAX_AUDIT_ID: usize = 64;

pub(super) struct Exchange {
    core: Arc<Core>,
    began: Duration,
    /// `None` for what is not counted: paths that nothing serves, and requests that nobody may make.
    series: Option<Arc<Series>>,
    dry_run: DryRun,
    /// Whether the size of the answer counts.
    sized: bool,
    long_running: bool,
    limit: Duration,
    /// What does not count against the server.
    waited: Duration,
    class: Option<Class>,
    audit_id: HeaderValue,
    pub audit: Record,
    /// Nobody knows who asks.
    stranger: bool,
    ended: bool,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.ended {
            self.audit.closed_early(self.long_running);
        }
    }
}

/// A request that is under way, for the gauges.
struct UnderWay {
    core: Arc<Core>,
    kind: usize,
    marks: fn(&Metrics) -> &[Watermark; 2],
}

impl UnderWay {
    fn enter(core: &Arc<Core>, kind: usize, marks: fn(&Metrics) -> &[Watermark; 2], now: Duration) -> UnderWay {
        marks(&core.metrics)[kind].enter(now);
        UnderWay { core: core.clone(), kind, marks }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        (self.marks)(&self.core.metrics)[self.kind].leave();
    }
}

/// What a request holds while it is carried out.
pub(super) struct Turn {
    _seat: Option<Seat>,
    _under_way: Option<UnderWay>,
}

/// What an open watch counts as.
pub(super) struct OpenWatch {
    _watched: Option<Watched>,
}

impl Exchange {
    /// # Errors
    /// 400 for a timeout that is none.
    pub(super) fn begin(core: &Arc<Core>, parts: &Parts, route: Option<&Route>) -> (Exchange, Result<(), ApiError>) {
        let resource = match route {
            Some(Route::Resource(route)) => Some(route),
            _ => None,
        };
        let long_running = resource.is_some_and(|route| {
            route.request.verb == Verb::Watch || LONG_RUNNING.contains(&route.request.subresource.as_str())
        });
        let (limit, valid) = match timeout(parts.uri.query().unwrap_or("")) {
            _ if long_running => (Duration::MAX, Ok(())),
            Ok(limit) => (limit, Ok(())),
            Err(error) => (REQUEST_TIMEOUT, Err(error)),
        };
        let given = parts.headers.get("audit-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
        let audit_id = match given {
            Some(id) => HeaderValue::from_str(&id[..id.len().min(MAX_AUDIT_ID)]).ok(),
            None => HeaderValue::from_str(&core.world.uuid()).ok(),
        };
        let exchange = Exchange {
            core: core.clone(),
            began: core.world.elapsed(),
            series: None,
            dry_run: DryRun::No,
            sized: false,
            long_running,
            limit,
            waited: Duration::ZERO,
            class: None,
            audit_id: audit_id.unwrap_or(HeaderValue::from_static("")),
            audit: Record::NONE,
            stranger: false,
            ended: false,
        };
        (exchange, valid)
    }

    /// How long it may take from now on.
    pub(super) fn limit(&self) -> Option<Duration> {
        (!self.long_running).then_some(self.limit)
    }

    /// When it must have ended, of [`world::World::elapsed`].
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.limit().map(|limit| self.began + limit)
    }

    /// The answer when it takes longer: a status that is not said to be one, so that clients use words of their own.
    pub(super) fn too_late(&self) -> Response<Body> {
        if let Some(series) = &self.series {
            series.timed_out();
        }
        let error = ApiError::new(Reason::Timeout, "Timeout: request did not complete within the allotted timeout");
        self.audit.failed(&error);
        let mut text = respond::json_text(&error.to_status());
        text.push(b'\n');
        respond::response(StatusCode::GATEWAY_TIMEOUT, "text/plain; charset=utf-8", serve::full(text))
    }

    /// The answer that says so.
    pub(super) fn failed(&self, error: &ApiError, format: Format) -> Response<Body> {
        self.audit.failed(error);
        respond::failure(error, format)
    }

    /// From now on it is counted as a request for a resource.
    pub(super) fn is_for(&mut self, method: &Method, route: &ResourceRoute) {
        let request = &route.request;
        let Ok((_, found)) = self.core.registry.find(&request.resource) else {
            // Not counted: a client could make up as many names as it likes.
            return;
        };
        if found.deprecation.is_some() {
            self.asks_for_deprecated(request, &found);
        }
        let verb = match method.as_str() {
            "PATCH" if request.patch == Some(PatchType::Apply) => "APPLY",
            method if ["GET", "HEAD", "PATCH", "POST", "PUT", "DELETE"].contains(&method) => method,
            _ => "other",
        };
        self.series = Some(counted::series(&self.core.metrics, request, verb));
        self.dry_run = if request.options.dry_run { DryRun::All } else { DryRun::No };
        self.sized = matches!(request.verb, Verb::Get | Verb::List);
    }

    /// It asks for what clients should not rely on any more: that is counted and recorded.
    fn asks_for_deprecated(&self, request: &Request, found: &Resource) {
        let until = match &found.strategy {
            Strategy::Builtin(kind) => kind.until,
            Strategy::Custom(_) => None,
        };
        let removed = until.map(|minor| format!("1.{minor}")).unwrap_or_default();
        let GroupVersionResource { group, version, resource } = &request.resource;
        self.core.metrics.deprecated.with(&[group, version, resource, &request.subresource, &removed]).set(1);
        self.audit.annotate("k8s.io/deprecated", "true");
        if !removed.is_empty() {
            self.audit.annotate("k8s.io/removed-release", removed);
        }
    }

    /// From now on it is counted as a request for a path that is no resource.
    pub(super) fn is_for_path(&mut self, path: &str) {
        // What upstream counts of these, and nothing that a client could make up.
        if ["/healthz", "/livez", "/readyz"].contains(&path) {
            let (group, version, resource, scope, component) = Default::default();
            let labels = Labels { verb: "GET", group, version, resource, subresource: path, scope, component };
            self.series = Some(self.core.metrics.requests.of(&labels));
            self.sized = true;
        }
    }

    /// It is known who asks, or that nobody knows.
    pub(super) fn authenticated(
        &mut self,
        user: Result<&UserInfo, &ApiError>,
        parts: &Parts,
        peer: &Peer,
        route: Option<&Route>,
    ) {
        self.stranger = user.is_err();
        self.begin_audit(user.ok(), parts, peer, route);
        if !self.stranger {
            self.audit.stage(AuditStage::RequestReceived);
        }
        let metrics = &self.core.metrics;
        let result = match user {
            Ok(_) => "success",
            Err(error) if error.reason == Reason::Unauthorized => "failure",
            Err(_) => "error",
        };
        metrics.authentication.with(&[result]).inc();
        let took = self.core.world.elapsed().saturating_sub(self.began);
        metrics.authentication_time.with(&[result]).seconds(took);
        if let Ok(user) = user {
            metrics.users.with(&[user_kind(&user.username)]).inc();
        }
    }

    fn begin_audit(&mut self, user: Option<&UserInfo>, parts: &Parts, peer: &Peer, route: Option<&Route>) {
        if self.core.audit.is_none() {
            return;
        }
        let lower = parts.method.as_str().to_lowercase();
        let nobody = UserInfo::default();
        let (audited, version) = match route {
            Some(Route::Resource(route)) => {
                let audited = audit::audited(user.unwrap_or(&nobody), &route.request);
                (Audited { user, ..audited }, &*route.request.resource.version)
            }
            _ => {
                let (resource, group, subresource, namespace, name) = Default::default();
                let path = parts.uri.path();
                (Audited { user, verb: &lower, resource, group, subresource, namespace, name, path }, "")
            }
        };
        let audit = Record::begin(&self.core, &audited, version, || Source {
            audit_id: self.audit_id.to_str().unwrap_or_default(),
            uri: parts.uri.path_and_query().map_or("/", |uri| uri.as_str()),
            agent: super::header(&parts.headers, http::header::USER_AGENT),
            addresses: audit::addresses(&parts.headers, peer.address.ip()),
        });
        self.audit = audit;
    }

    /// Waits until it is its turn.
    ///
    /// # Errors
    /// The answer when it is not to be: 429.
    pub(super) async fn turn(
        &mut self,
        user: &Arc<UserInfo>,
        parts: &Parts,
        route: Result<&ResourceRoute, &str>,
    ) -> Result<Turn, Response<Body>> {
        let watch = route.is_ok_and(|route| route.request.verb == Verb::Watch);
        if self.long_running && !watch {
            return Ok(Turn { _seat: None, _under_way: None });
        }
        let lower;
        let asked = match route {
            Ok(route) => {
                let request = &route.request;
                Asked {
                    user,
                    verb: request.verb.as_str(),
                    is_resource: true,
                    group: &request.resource.group,
                    resource: &request.resource.resource,
                    subresource: &request.subresource,
                    namespace: namespace(request),
                    path: "",
                }
            }
            Err(path) => {
                lower = parts.method.as_str().to_lowercase();
                let (group, resource, subresource, namespace) = Default::default();
                Asked { user, verb: &lower, is_resource: false, group, resource, subresource, namespace, path }
            }
        };
        let reads = match route {
            Ok(route) => matches!(route.request.verb, Verb::Get | Verb::List | Verb::Watch),
            Err(_) => matches!(parts.method, Method::GET | Method::HEAD),
        };
        let entrant = Entrant {
            asked,
            user,
            verb: route.map_or("", |route| route.request.verb.as_str()),
            uri: &parts.uri,
            request: route.ok().map(|route| &route.request),
            initial_events: route.is_ok_and(|route| route.query.send_initial_events == Some(true)),
            // A fourth of what the request may take: the rest is for carrying it out.
            patience: self.limit().unwrap_or(REQUEST_TIMEOUT) / 4,
        };
        let core = self.core.clone();
        let (class, place) = core.flow.enter(&core, entrant);
        self.class = Some(class);
        let kind = usize::from(!reads);
        let now = core.world.elapsed();
        let seat = match place {
            Place::Seat(seat) => Some(seat),
            Place::Queue(queue) => {
                let _waits = UnderWay::enter(&core, kind, |metrics| &metrics.in_queue, now);
                let seat = queue.wait().await;
                self.waited = core.world.elapsed().saturating_sub(now);
                seat
            }
            Place::None => None,
        };
        let Some(seat) = seat else {
            if let Some(series) = self.series.take() {
                series.dropped(self.dry_run);
            }
            let after = self.class.as_ref().map_or(1, |class| core.flow.turned_away(class));
            return Err(too_many(after));
        };
        let under_way = UnderWay::enter(&core, kind, |metrics| &metrics.in_flight, now + self.waited);
        Ok(Turn { _seat: Some(seat), _under_way: Some(under_way) })
    }

    /// A watch has begun; it is open until what is returned is dropped.
    pub(super) fn watch(&self, request: &Request) -> OpenWatch {
        OpenWatch { _watched: self.core.flow.watches.open_for(request) }
    }

    /// Sends the answer. It is counted when it ends.
    pub(super) fn end(mut self, mut response: Response<Body>) -> Response<Body> {
        self.ended = true;
        let headers = response.headers_mut();
        headers.insert("audit-id", self.audit_id.clone());
        if let Some(class) = &self.class {
            headers.insert("x-kubernetes-pf-flowschema-uid", class.schema_uid.clone());
            headers.insert("x-kubernetes-pf-prioritylevel-uid", class.level_uid.clone());
        }
        let status = response.status();
        self.audit.code(status.as_u16());
        if self.long_running || self.stranger {
            self.audit.stage(AuditStage::ResponseStarted);
        }
        match response.body().size_hint().exact() {
            Some(size) if size <= AT_ONCE => {
                self.complete(status, size);
                response
            }
            _ => {
                if let Some(series) = self.series.as_ref().filter(|_| self.long_running) {
                    series.long_running().add(1);
                }
                response.map(|body| Streamed { body, bytes: 0, status, exchange: self }.boxed_unsync())
            }
        }
    }

    fn complete(&self, status: StatusCode, size: u64) {
        if !self.stranger {
            self.audit.stage(AuditStage::ResponseComplete);
        }
        let Some(series) = &self.series else { return };
        let took = self.core.world.elapsed().saturating_sub(self.began);
        series.answered(self.dry_run, status.as_u16(), took, self.waited);
        if self.sized {
            series.size(size);
        }
    }
}

impl OpenWatch {
    pub(super) fn until_the_end_of(self, response: Response<Body>) -> Response<Body> {
        response.map(|body| {
            let kept = self;
            body.map_frame(move |frame| {
                let _ = &kept;
                frame
            })
            .boxed_unsync()
        })
    }
}

/// Names that all clusters have; others are counted together (upstream `compressUsername`).
fn user_kind(name: &str) -> &str {
    let known = ["admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"];
    match known.iter().find(|known| **known == name) {
        Some(known) => known,
        None if name.contains('@') => "email_id",
        None => "other",
    }
}

/// A namespace is in itself (apiserver `RequestInfo`).
fn namespace(request: &Request) -> &str {
    let itself = request.resource.group.is_empty() && request.resource.resource == "namespaces";
    if itself { &request.name } else { &request.namespace }
}

fn too_many(after_seconds: i64) -> Response<Body> {
    let mut response = respond::text(StatusCode::TOO_MANY_REQUESTS, "Too many requests, please try again later.\n");
    response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from(after_seconds));
    response.headers_mut().insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A body that is counted when it ends, or when its reader goes.
struct Streamed {
    body: Body,
    bytes: u64,
    status: StatusCode,
    exchange: Exchange,
}

impl hyper::body::Body for Streamed {
    type Data = bytes::Bytes;
    type Error = serve::BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<bytes::Bytes>, serve::BoxError>>> {
        let polled = std::pin::Pin::new(&mut self.body).poll_frame(context);
        if let std::task::Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.bytes += data.len() as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if let Some(series) = self.exchange.series.as_ref().filter(|_| self.exchange.long_running) {
            series.long_running().add(-1);
        }
        self.exchange.complete(self.status, self.bytes);
    }
}

/// The time that a query gives a request (`?timeout=30s`), at most [`REQUEST_TIMEOUT`].
fn timeout(query: &str) -> Result<Duration, ApiError> {
    if !query.contains("timeout=") {
        return Ok(REQUEST_TIMEOUT);
    }
    let pairs = super::path::query_pairs(query);
    let Some((_, value)) = pairs.iter().find(|(name, value)| name == "timeout" && !value.is_empty()) else {
        return Ok(REQUEST_TIMEOUT);
    };
    let given = parse_duration(value).ok_or_else(|| {
        let message = format!("invalid timeout specified in the request URL - time: invalid duration {value:?}");
        ApiError::bad_request(message)
    })?;
    // One that is no time, or more than the server gives, is as none.
    Ok(if given.is_zero() || given > REQUEST_TIMEOUT { REQUEST_TIMEOUT } else { given })
}

/// As Go's `time.ParseDuration` for what is not negative: `1m30s`, `0.5s`; a negative one is zero.
fn parse_duration(text: &str) -> Option<Duration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let (unit, factor) = [
            ("ns", 1e-9),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("μs", 1e-6),
            ("ms", 1e-3),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
        ]
        .into_iter()
        .find(|(unit, _)| {
            let after = rest.strip_prefix(unit);
            after.is_some_and(|after| !after.starts_with(|c: char| !c.is_ascii_digit() && c != '.'))
        })?;
        seconds += number * factor;
        rest = &rest[unit.len()..];
    }
    let time = Duration::try_from_secs_f64(seconds).ok()?;
    Some(if negative { Duration::ZERO } else { time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_go_reads_them() {
        let seconds = Duration::from_secs;
        let cases = [
            ("", Ok(60)),
            ("timeout=", Ok(60)),
            ("timeout=30s", Ok(30)),
            ("timeoutSeconds=5", Ok(60)),
            ("timeout=0m10s", Ok(10)),
            ("timeout=2m", Ok(60)),
            ("timeout=0", Ok(60)),
            ("timeout=-1s", Ok(60)),
            ("timeout=30", Err(())),
            ("timeout=s", Err(())),
            ("timeout=1x", Err(())),
        ];
        for (query, expected) in cases {
            assert_eq!(timeout(query).map_err(|_| ()), expected.map(seconds), "{query}");
        }
        assert_eq!(parse_duration("1.5ms"), Some(Duration::from_micros(1500)));
    }
}
