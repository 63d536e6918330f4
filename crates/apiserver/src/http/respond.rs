//! Answers as HTTP: statuses, warnings, compression.

use std::io::Write;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY};
use http::{Response, StatusCode};
use k8s_object::{ApiError, Object, Reason};
use serde_json::{Value, json};
use serve::Body;
use world::Timestamp;

use super::negotiate::{Format, PROTOBUF};
use super::protobuf;

/// Bytes above which an answer is compressed for those who accept it (apiserver `defaultGzipThresholdBytes`).
const GZIP_THRESHOLD: usize = 128 << 10;
/// Bytes of all warnings of one answer together (apiserver `warning.go`: 16 KiB of header, a quarter for each).
const MAX_WARNING_BYTES: usize = 4 << 10;

/// Any answer; nothing keeps it for later.
pub(super) fn response(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
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
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
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
    if !is_packed(bytes.len(), gzip) {
        return response(status, content_type, serve::full(bytes));
    }
    let mut packed = packed(content_type, serve::full(pack(&bytes)));
    *packed.status_mut() = status;
    packed
}

/// Whether an answer of so many bytes is compressed.
pub(super) fn is_packed(bytes: usize, gzip: bool) -> bool {
    gzip && bytes > GZIP_THRESHOLD
}

/// Bytes, compressed.
pub(super) fn pack(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    // Writing to memory cannot fail.
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes what is written").into()
}

/// A body that is compressed already.
pub(super) fn packed(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = response(StatusCode::OK, content_type, body);
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// A `Status`.
pub(crate) fn failure(error: &ApiError, format: Format) -> Response<Body> {
    let code = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut status = error.to_status();
    // What no handler was found for has details without content.
    let is_routed = match error.reason {
        Reason::NotAcceptable => error.message.starts_with("406: "),
        Reason::MethodNotAllowed | Reason::NotFound | Reason::Timeout => true,
        _ => false,
    };
    if is_routed && status.get("details").is_none() {
        status["details"] = json!({});
    }
    let mut response = value(code, &status, format, false);
    if let Some(seconds) = error.retry_after_seconds {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    warn(&mut response, &error.warnings);
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
