//! Answers as HTTP: statuses, warnings, lists joined from cached bytes, compression.

use std::io::Write;
use std::sync::Arc;
use std::task::Poll;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use k8s_object::{ApiError, Object};
use serde_json::{Value, json};
use serve::Body;

use super::negotiate::Format;

/// Bytes above which an answer is compressed for those who accept it (apiserver `defaultGzipThresholdBytes`).
const GZIP_THRESHOLD: usize = 128 << 10;
/// Bytes of a list that are joined at a time when it is streamed.
const CHUNK: usize = 256 << 10;
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

/// JSON that is encoded already.
pub(crate) fn json_bytes(status: StatusCode, bytes: impl Into<Bytes>, gzip: bool) -> Response<Body> {
    compressed(status, "application/json", bytes.into(), gzip)
}

/// A value in the form that is asked for.
pub(crate) fn value(status: StatusCode, value: &Value, format: Format, gzip: bool) -> Response<Body> {
    match format {
        Format::Json => json_bytes(status, serde_json::to_vec(value).expect("a JSON value can be written"), gzip),
        Format::Yaml => match serde_yaml::to_string(value) {
            Ok(text) => compressed(status, "application/yaml", text.into(), gzip),
            Err(error) => failure(&ApiError::internal(error)),
        },
    }
}

/// Bytes of any type, compressed when they are large and the client can read that.
pub(crate) fn compressed(status: StatusCode, content_type: &'static str, bytes: Bytes, gzip: bool) -> Response<Body> {
    if !gzip || bytes.len() < GZIP_THRESHOLD {
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
pub(crate) fn failure(error: &ApiError) -> Response<Body> {
    let status = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = value(status, &error.to_status(), Format::Json, false);
    if let Some(seconds) = error.retry_after_seconds {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::UNAUTHORIZED {
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

/// A list, joined from the objects' own bytes. Small ones at once, large ones as they are read.
pub(crate) fn list(
    api_version: &str,
    kind: &str,
    metadata: &Value,
    items: Vec<Arc<Object>>,
    gzip: bool,
) -> Response<Body> {
    let head = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata}).to_string();
    // Without the closing brace: the items follow.
    let head = format!("{},\"items\":[", &head[..head.len() - 1]);
    let length = head.len() + items.iter().map(|item| item.json().len() + 1).sum::<usize>() + 2;
    let mut joiner = Joiner { head: Some(head), items: items.into_iter(), first: true, done: false };
    if length <= WHOLE {
        let mut joined = BytesMut::with_capacity(length);
        joiner.join(&mut joined, usize::MAX);
        return json_bytes(StatusCode::OK, joined.freeze(), gzip);
    }
    let mut encoder = gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
    let body = serve::stream(move |_| {
        if joiner.done {
            return Poll::Ready(None);
        }
        let mut joined = BytesMut::with_capacity(CHUNK + (64 << 10));
        joiner.join(&mut joined, CHUNK);
        let Some(packed) = &mut encoder else { return Poll::Ready(Some(Ok(joined.freeze()))) };
        let written =
            packed.write_all(&joined).and_then(|()| if joiner.done { packed.try_finish() } else { packed.flush() });
        let chunk = std::mem::take(packed.get_mut());
        Poll::Ready(Some(written.map(|()| Bytes::from(chunk)).map_err(Into::into)))
    });
    let mut response = response(StatusCode::OK, "application/json", body);
    if gzip {
        mark_gzip(&mut response);
    }
    response
}

struct Joiner {
    head: Option<String>,
    items: std::vec::IntoIter<Arc<Object>>,
    first: bool,
    done: bool,
}

impl Joiner {
    /// Adds about `limit` bytes.
    fn join(&mut self, to: &mut BytesMut, limit: usize) {
        if let Some(head) = self.head.take() {
            to.put_slice(head.as_bytes());
        }
        while to.len() < limit {
            let Some(item) = self.items.next() else {
                to.put_slice(b"]}");
                self.done = true;
                return;
            };
            if !std::mem::take(&mut self.first) {
                to.put_u8(b',');
            }
            to.put_slice(item.json());
        }
    }
}

/// A streamed answer.
pub(crate) fn stream(body: Body) -> Response<Body> {
    response(StatusCode::OK, "application/json", body)
}
