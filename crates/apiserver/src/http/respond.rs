//! Answers as HTTP: statuses, warnings, lists joined from cached bytes, compression.

use std::io::Write;
use std::sync::Arc;
use std::task::Poll;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use k8s_object::{ApiError, Object, Reason};
use serde_json::{Value, json};
use serve::Body;
use world::Timestamp;

use super::negotiate::{Format, PROTOBUF};
use super::protobuf;

/// Bytes above which an answer is compressed for those who accept it (apiserver `defaultGzipThresholdBytes`).
const GZIP_THRESHOLD: usize = 128 << 10;
/// Bytes of a list that are joined at a time when it is streamed.
const CHUNK: usize = 128 << 10;
/// Bytes of a list up to which it is joined at once, with a Content-Length.
const WHOLE: usize = 1 << 20;
/// Bytes of all warnings of one answer together (apiserver `warning.go`: 16 KiB of header, a quarter for each).
const MAX_WARNING_BYTES: usize = 4 << 10;

fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Plain text.
pub(crate) fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    response(status, "text/plain; charset=utf-8", serve::full(text.into()))
}

/// Plain text as it comes.
pub(crate) fn plain_stream(status: StatusCode, body: Body) -> Response<Body> {
    response(status, "text/plain", body)
}

/// Upstream's answer for paths that nothing serves.
pub(crate) fn page_not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A status and nothing else.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(serve::empty());
    *response.status_mut() = status;
    response
}

/// A moment as HTTP writes it: `Fri, 27 Nov 2026 12:00:00 GMT`.
pub(crate) fn http_date(moment: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = moment.to_string();
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    let mut parts = date.split('-');
    let mut part = || parts.next().unwrap_or("");
    let (year, month, day) = (part(), part(), part());
    let month = month.parse::<usize>().ok().and_then(|month| MONTHS.get(month.wrapping_sub(1)));
    // The first of January 1970 was a Thursday.
    let weekday = DAYS[moment.seconds().div_euclid(86_400).rem_euclid(7) as usize];
    format!("{weekday}, {day} {} {year} {} GMT", month.unwrap_or(&""), time.trim_end_matches('Z'))
}

/// A value in JSON as Go writes it.
pub(super) fn json_text(value: &Value) -> Vec<u8> {
    k8s_object::escaped(value.to_string().into_bytes())
}

/// JSON that is encoded already, ended by a newline as upstream does.
pub(crate) fn json_bytes(status: StatusCode, bytes: impl AsRef<[u8]>, gzip: bool) -> Response<Body> {
    let bytes = bytes.as_ref();
    let mut line = BytesMut::with_capacity(bytes.len() + 1);
    line.put_slice(bytes);
    line.put_u8(b'\n');
    compressed(status, "application/json", line.freeze(), gzip)
}

/// An object in the form that is asked for.
pub(crate) fn object(status: StatusCode, object: &Object, format: Format, gzip: bool) -> Response<Body> {
    match format {
        Format::Json => {
            let mut line = BytesMut::with_capacity(object.json_len() + 1);
            object.write_json(&mut line);
            line.put_u8(b'\n');
            compressed(status, "application/json", line.freeze(), gzip)
        }
        Format::Protobuf => match protobuf::object(object) {
            Ok(bytes) => compressed(status, PROTOBUF, bytes, gzip),
            Err(error) => failure(&error, Format::Json),
        },
        Format::PrettyJson | Format::Yaml => value(status, &object.value(), format, gzip),
    }
}

/// A value in the form that is asked for; JSON where protobuf is asked for and the value's kind has no message.
pub(crate) fn value(status: StatusCode, value: &Value, format: Format, gzip: bool) -> Response<Body> {
    match format {
        Format::Json => json_bytes(status, json_text(value), gzip),
        Format::PrettyJson => {
            let text = k8s_object::escaped(format!("{value:#}").into_bytes());
            compressed(status, "application/json", text.into(), gzip)
        }
        Format::Protobuf => match protobuf::value(value) {
            Ok(Some(bytes)) => compressed(status, PROTOBUF, bytes.into(), gzip),
            Ok(None) => json_bytes(status, json_text(value), gzip),
            Err(error) => failure(&error, Format::Json),
        },
        Format::Yaml => match serde_yaml::to_string(value) {
            Ok(text) => compressed(status, "application/yaml", text.into(), gzip),
            Err(error) => failure(&ApiError::internal(error), Format::Json),
        },
    }
}

/// Bytes of any type, compressed when they are large and the client can read that.
pub(crate) fn compressed(status: StatusCode, content_type: &'static str, bytes: Bytes, gzip: bool) -> Response<Body> {
    if !gzip || bytes.len() <= GZIP_THRESHOLD {
        return response(status, content_type, serve::full(bytes));
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    // Writing to memory cannot fail.
    let packed = encoder.write_all(&bytes).and_then(|()| encoder.finish()).expect("memory takes what is written");
    let mut response = response(status, content_type, serve::full(packed));
    mark_gzip(&mut response);
    response
}

fn mark_gzip(response: &mut Response<Body>) {
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
}

/// A `Status`.
pub(crate) fn failure(error: &ApiError, format: Format) -> Response<Body> {
    let code = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut status = error.to_status();
    // What no handler was found for has details without content.
    if matches!(error.reason, Reason::MethodNotAllowed | Reason::NotFound) && status.get("details").is_none() {
        status["details"] = json!({});
    }
    let mut response = value(code, &status, format, false);
    if let Some(seconds) = error.retry_after_seconds {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if code == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"kubernetes-master\""));
    }
    response
}

/// Adds `Warning` headers.
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    let mut bytes = 0;
    for (index, warning) in warnings.iter().enumerate() {
        if warnings[..index].contains(warning) {
            continue;
        }
        let quoted: String =
            warning.chars().flat_map(|c| if matches!(c, '"' | '\\') { vec!['\\', c] } else { vec![c] }).collect();
        let text: String = quoted.chars().filter(|c| !c.is_control()).collect();
        bytes += text.len();
        if bytes > MAX_WARNING_BYTES {
            return;
        }
        if let Ok(header) = HeaderValue::from_bytes(format!("299 - \"{text}\"").as_bytes()) {
            response.headers_mut().append(http::header::WARNING, header);
        }
    }
}

/// The metadata of a list.
pub(crate) fn list_metadata(resource_version: &str, continue_token: &str, remaining: Option<u64>) -> Value {
    let mut metadata = json!({"resourceVersion": resource_version});
    if !continue_token.is_empty() {
        metadata["continue"] = json!(continue_token);
    }
    if let Some(remaining) = remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    metadata
}

/// A list that is joined from what its items are encoded as.
pub(super) struct Items {
    pub head: Vec<u8>,
    /// Writes the next item with what stands before it; false when there are no more.
    pub next: Box<dyn FnMut(&mut BytesMut) -> bool + Send>,
    pub tail: &'static [u8],
    /// Bytes of the whole, or a few more.
    pub length: usize,
}

/// A list in JSON, from the objects' own bytes.
fn json_list(api_version: &str, kind: &str, metadata: &Value, objects: Vec<Arc<Object>>) -> Items {
    let head = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata}).to_string();
    // Without the closing brace: the items follow.
    let head = format!("{},\"items\":[", &head[..head.len() - 1]);
    let length = head.len() + objects.iter().map(|object| object.json_len() + 1).sum::<usize>() + 3;
    let mut objects = objects.into_iter();
    let mut first = true;
    Items {
        head: head.into(),
        next: Box::new(move |to| {
            let Some(object) = objects.next() else { return false };
            if !std::mem::take(&mut first) {
                to.put_u8(b',');
            }
            object.write_json(to);
            true
        }),
        tail: b"]}\n",
        length,
    }
}

/// A list of objects as they are in the form that is asked for. JSON and protobuf are joined: small lists at once, large
/// ones as they are read.
pub(crate) fn list(
    api_version: &str,
    kind: &str,
    metadata: &Value,
    objects: Vec<Arc<Object>>,
    format: Format,
    gzip: bool,
) -> Response<Body> {
    match format {
        Format::Json => joined(json_list(api_version, kind, metadata, objects), "application/json", gzip),
        Format::Protobuf => match protobuf::list(api_version, kind, metadata, &objects) {
            Ok(items) => joined(items, PROTOBUF, gzip),
            Err(error) => failure(&error, Format::Json),
        },
        Format::PrettyJson | Format::Yaml => {
            let items: Vec<Value> = objects.iter().map(|object| object.value()).collect();
            let list = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items});
            value(StatusCode::OK, &list, format, gzip)
        }
    }
}

fn joined(items: Items, content_type: &'static str, gzip: bool) -> Response<Body> {
    let length = items.length;
    let mut joiner = Joiner { items, begun: false, done: false };
    if length <= WHOLE {
        let mut joined = BytesMut::with_capacity(length);
        joiner.join(&mut joined, usize::MAX);
        return compressed(StatusCode::OK, content_type, joined.freeze(), gzip);
    }
    let mut encoder = gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
    // The same memory for all chunks, as soon as the one before is on its way: fresh pages cost more than what is written to them.
    let mut buffer = BytesMut::new();
    let body = serve::stream(move |_| {
        if joiner.done {
            return Poll::Ready(None);
        }
        buffer.reserve(CHUNK + (64 << 10));
        joiner.join(&mut buffer, CHUNK);
        let joined = buffer.split();
        let Some(packed) = &mut encoder else { return Poll::Ready(Some(Ok(joined.freeze()))) };
        let written =
            packed.write_all(&joined).and_then(|()| if joiner.done { packed.try_finish() } else { packed.flush() });
        let chunk = std::mem::take(packed.get_mut());
        Poll::Ready(Some(written.map(|()| Bytes::from(chunk)).map_err(Into::into)))
    });
    let mut response = response(StatusCode::OK, content_type, body);
    if gzip {
        mark_gzip(&mut response);
    }
    response
}

struct Joiner {
    items: Items,
    begun: bool,
    done: bool,
}

impl Joiner {
    /// Adds about `limit` bytes.
    fn join(&mut self, to: &mut BytesMut, limit: usize) {
        if !std::mem::replace(&mut self.begun, true) {
            to.put_slice(&self.items.head);
        }
        while to.len() < limit {
            if !(self.items.next)(to) {
                to.put_slice(self.items.tail);
                self.done = true;
                return;
            }
        }
    }
}

/// The frames of a watch.
pub(crate) fn stream(body: Body, format: Format) -> Response<Body> {
    let content_type = match format {
        Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        _ => "application/json",
    };
    response(StatusCode::OK, content_type, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_in_http() {
        for (moment, expected) in [
            ("1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("2026-11-27T12:00:00Z", "Fri, 27 Nov 2026 12:00:00 GMT"),
        ] {
            assert_eq!(http_date(Timestamp::parse(moment).unwrap()), expected);
        }
    }
}
