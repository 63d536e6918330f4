//! A request on its way to somebody else, and the answer on its way back: streamed, or as bytes in both directions after an upgrade.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::BytesMut;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_object::{ApiError, Reason};
use serve::Body;
use tokio::io::{AsyncWriteExt, copy, split};

use super::location::Location;
use super::{Passing, unreachable};
use crate::aggregation::set_user;
use crate::webhook::Connection;

/// Bytes of a kubelet's error that are told (upstream's `GenericHttpResponseChecker`).
const MAX_ERROR_BYTES: usize = 50_000;
/// What is between two neighbours, and not for whoever is behind them.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const FORWARDED_FOR: &str = "x-forwarded-for";

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// Whether a client wants to speak something else than HTTP.
pub(super) fn wants_upgrade(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.into_iter().any(|value| value.to_lowercase().contains("upgrade"))
}

/// Sends a client to the same path with a slash at its end.
pub(super) fn slash_added(uri: &Uri) -> Response<Body> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = Response::new(serve::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(value) = HeaderValue::from_str(&format!("{}/{query}", uri.path())) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

/// A connection to a backend and the answer that came on it.
struct Answered {
    response: Response<Incoming>,
    /// Moves the connection; nothing when it has ended.
    driver: Option<Driver>,
}

/// Sends a request and waits for the head of the answer.
async fn send(stream: Box<dyn Connection>, request: Request<Body>) -> Result<Answered, String> {
    let text = |error: hyper::Error| match std::error::Error::source(&error) {
        _ if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => "EOF".to_owned(),
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let mut driver: Option<Driver> = Some(Box::pin(connection.with_upgrades()));
    let mut sending = pin!(sender.send_request(request));
    let response = poll_fn(|context| {
        if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
            driver = None;
        }
        sending.as_mut().poll(context)
    });
    let response = response.await.map_err(text)?;
    Ok(Answered { response, driver })
}

/// The body of an answer, which moves its connection while it is read.
fn streamed(body: Incoming, mut driver: Option<Driver>) -> Body {
    let mut body = Box::pin(body);
    serve::stream(move |context| {
        loop {
            if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
                driver = None;
            }
            match body.as_mut().poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => return Poll::Ready(Some(Ok(data))),
                    // Trailers say nothing that is told.
                    Err(_) => continue,
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
}

/// What of a client's headers goes on: not who it is, and not how it came.
fn passed_on(headers: &HeaderMap, address: std::net::IpAddr) -> HeaderMap {
    let mut passed = headers.clone();
    passed.remove(header::AUTHORIZATION);
    let named: Vec<HeaderName> = passed.keys().filter(|name| says_who(name.as_str())).cloned().collect();
    for name in named {
        passed.remove(name);
    }
    strip_bearer(&mut passed);
    let before: Vec<&str> = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut chain = before.join(", ");
    if !chain.is_empty() {
        chain.push_str(", ");
    }
    chain.push_str(&address.to_string());
    if let Ok(value) = HeaderValue::from_str(&chain) {
        passed.insert(FORWARDED_FOR, value);
    }
    passed
}

fn says_who(name: &str) -> bool {
    name.starts_with("impersonate-")
        || ["x-remote-user", "x-remote-uid", "x-remote-group"].contains(&name)
        || name.starts_with("x-remote-extra-")
}

/// Takes a token out of the subprotocols of a WebSocket.
fn strip_bearer(headers: &mut HeaderMap) {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let all = values.collect::<Vec<&str>>().join(",");
    if !all.contains(crate::http::BEARER_PROTOCOL) {
        return;
    }
    let others: Vec<&str> =
        all.split(',').map(str::trim).filter(|own| !own.starts_with(crate::http::BEARER_PROTOCOL)).collect();
    if let Ok(value) = HeaderValue::from_str(&others.join(",")) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
}

/// Takes away what is between two neighbours, with what `Connection` names.
fn strip_hops(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(*name);
    }
}

/// Passes a request on and streams the answer back.
pub(super) async fn request(passing: Passing, mut location: Location) -> Result<Response<Body>, ApiError> {
    let Passing { core, peer, http, .. } = passing;
    let (parts, body) = http.into_parts();
    let prefix = parts.uri.path().strip_suffix(&location.path).unwrap_or("").to_owned();
    let mut headers = passed_on(&parts.headers, peer.address.ip());
    strip_hops(&mut headers);
    if let Some(user) = &location.on_behalf_of {
        set_user(&mut headers, user);
    }
    let own_host = headers.get(header::HOST).cloned();
    let authority = location.authority();
    for (name, value) in [
        ("x-forwarded-uri", parts.uri.path()),
        ("x-forwarded-host", own_host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or("")),
        ("x-forwarded-proto", if peer.tls { "https" } else { "http" }),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    if let Ok(value) = HeaderValue::from_str(&authority) {
        headers.insert(header::HOST, value);
    }
    let mut onward = Request::new(body);
    *onward.method_mut() = parts.method.clone();
    *onward.uri_mut() = location.target().map_err(unreachable)?;
    *onward.headers_mut() = headers;
    let stream = location.connect(&core).await.map_err(unreachable)?;
    let Answered { response, driver } = send(stream, onward).await.map_err(unreachable)?;
    let (mut head, body) = response.into_parts();
    strip_hops(&mut head.headers);
    for name in [
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        header::ACCESS_CONTROL_ALLOW_METHODS,
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
    ] {
        head.headers.remove(name);
    }
    redirect(&mut head.headers, &authority, &prefix);
    let mut answer = Response::new(streamed(body, driver));
    *answer.status_mut() = head.status;
    *answer.headers_mut() = head.headers;
    Ok(answer)
}

/// Lets a redirection within the backend lead through the proxy.
fn redirect(headers: &mut HeaderMap, authority: &str, prefix: &str) {
    let Some(target) = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()) else { return };
    let Ok(uri) = target.parse::<Uri>() else { return };
    if uri.authority().is_some_and(|own| own.as_str() != authority) || !uri.path().starts_with('/') {
        return;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(value) = HeaderValue::from_str(&format!("{prefix}{}{query}", uri.path())) {
        headers.insert(header::LOCATION, value);
    }
}

/// A log, as a kubelet tells it.
pub(super) async fn log(passing: Passing, mut location: Location) -> Result<Response<Body>, ApiError> {
    let internal = |why: String| ApiError::new(Reason::InternalError, why).verbatim(500, "");
    let (name, authority) = (passing.request.name.clone(), location.authority());
    let target = location.target().map_err(internal)?;
    let url = format!("https://{authority}{target}");
    let failed = |why: String| internal(format!("Get {url:?}: {why}"));
    let mut onward = Request::new(serve::empty());
    *onward.uri_mut() = target;
    if let Ok(value) = HeaderValue::from_str(&authority) {
        onward.headers_mut().insert(header::HOST, value);
    }
    let stream = location.connect(&passing.core).await.map_err(failed)?;
    let Answered { response, driver } = send(stream, onward).await.map_err(failed)?;
    let status = response.status();
    if !(200..=206).contains(&status.as_u16()) {
        let text = error_text(streamed(response.into_body(), driver)).await;
        return Err(refused(status, &text, &name));
    }
    Ok(crate::http::plain_stream(StatusCode::OK, streamed(response.into_body(), driver)))
}

/// The beginning of an error.
async fn error_text(mut body: Body) -> String {
    let mut bytes = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let room = MAX_ERROR_BYTES - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
        if bytes.len() == MAX_ERROR_BYTES {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A kubelet's refusal in the words of upstream's `GenericHttpResponseChecker`.
fn refused(status: StatusCode, text: &str, name: &str) -> ApiError {
    let generic = |reason: Reason, message: String| {
        let mut error = ApiError::new(reason, message).about("", "pods/log", name);
        error.causes.push(k8s_object::Cause {
            reason: "UnexpectedServerResponse".into(),
            message: text.to_owned(),
            field: String::new(),
        });
        error
    };
    match status.as_u16() {
        400 => ApiError::bad_request(text),
        500 => ApiError::internal(text),
        404 => {
            generic(Reason::NotFound, format!("the server could not find the requested resource ( pods/log {name})"))
        }
        code => {
            let message = format!(
                "the server responded with the status code {code} but did not return more information ( pods/log {name})"
            );
            generic(Reason::InternalError, message).verbatim(code, "")
        }
    }
}

/// Passes an upgrade on, and then bytes in both directions.
pub(super) async fn upgrade(passing: Passing, mut location: Location) -> Result<Response<Body>, ApiError> {
    let internal = |why: String| ApiError::new(Reason::InternalError, why).verbatim(500, "");
    let Passing { core, peer, mut http, .. } = passing;
    let own = hyper::upgrade::on(&mut http);
    let (parts, body) = http.into_parts();
    let mut onward = Request::new(body);
    *onward.method_mut() = parts.method.clone();
    *onward.uri_mut() = location.target().map_err(internal)?;
    *onward.headers_mut() = passed_on(&parts.headers, peer.address.ip());
    if let Some(user) = &location.on_behalf_of {
        set_user(onward.headers_mut(), user);
    }
    let stream = location.connect(&core).await;
    let stream = stream.map_err(|why| internal(format!("error dialing backend: {why}")))?;
    let Answered { mut response, driver } =
        send(stream, onward).await.map_err(|why| internal(format!("error sending request: {why}")))?;
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        if status.as_u16() < 400 {
            return Err(internal(format!("invalid upgrade response: status code {}", status.as_u16())));
        }
        let (mut head, body) = response.into_parts();
        strip_hops(&mut head.headers);
        let mut answer = Response::new(streamed(body, driver));
        *answer.status_mut() = status;
        *answer.headers_mut() = head.headers;
        return Ok(answer);
    }
    let mut answer = Response::new(serve::empty());
    *answer.status_mut() = status;
    *answer.headers_mut() = response.headers().clone();
    let theirs = hyper::upgrade::on(&mut response);
    let stop = core.stop.clone();
    core.tasks.spawn("relay", async move {
        let relayed = async {
            // The connection hands itself over when it has nothing more to do for HTTP.
            if let Some(driver) = driver
                && driver.await.is_err()
            {
                return;
            }
            // Either may have gone by now; then there is nobody to tell.
            let (Ok(theirs), Ok(own)) = (theirs.await, own.await) else { return };
            exchange(TokioIo::new(own), TokioIo::new(theirs)).await;
        };
        stop.or(relayed).await;
    });
    Ok(answer)
}

/// Bytes in both directions until one side ends.
async fn exchange<A, B>(client: A, backend: B)
where
    A: tokio::io::AsyncRead + tokio::io::AsyncWrite,
    B: tokio::io::AsyncRead + tokio::io::AsyncWrite,
{
    let ((mut client_in, mut client_out), (mut backend_in, mut backend_out)) = (split(client), split(backend));
    tokio::select! {
        _ = copy(&mut client_in, &mut backend_out) => {}
        _ = copy(&mut backend_in, &mut client_out) => {}
    }
    // What was written arrives; that a side has gone already does not matter.
    let _ = client_out.shutdown().await;
    let _ = backend_out.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn nothing_that_says_who_somebody_is_goes_on() {
        let sent = headers(&[
            ("authorization", "Bearer x"),
            ("impersonate-user", "a"),
            ("x-remote-user", "b"),
            ("x-remote-extra-c", "d"),
            ("x-forwarded-for", "192.0.2.1"),
            ("accept", "text/html"),
            ("sec-websocket-protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.eA"),
        ]);
        let passed = passed_on(&sent, [192, 0, 2, 7].into());
        let expected = headers(&[
            ("accept", "text/html"),
            ("sec-websocket-protocol", "v5.channel.k8s.io"),
            ("x-forwarded-for", "192.0.2.1, 192.0.2.7"),
        ]);
        assert_eq!(passed, expected);
    }

    #[test]
    fn what_is_between_neighbours_stays_there() {
        let mut sent =
            headers(&[("connection", "close, x-own"), ("x-own", "1"), ("te", "trailers"), ("accept", "*/*")]);
        strip_hops(&mut sent);
        assert_eq!(sent, headers(&[("accept", "*/*")]));
    }

    #[test]
    fn redirections_within_the_backend_lead_through_the_proxy() {
        let cases = [
            ("/a?b=c", "/api/v1/nodes/n/proxy/a?b=c"),
            ("http://10.0.0.1:80/a", "/api/v1/nodes/n/proxy/a"),
            ("http://elsewhere/a", "http://elsewhere/a"),
            ("a", "a"),
        ];
        for (location, expected) in cases {
            let mut own = headers(&[("location", location)]);
            redirect(&mut own, "10.0.0.1:80", "/api/v1/nodes/n/proxy");
            assert_eq!(own["location"], expected, "{location}");
        }
    }
}
