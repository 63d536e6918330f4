//! Text and JSON forms of single values: numbers, booleans, timestamps, blobs. Must never look into structures.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde_json::{Number, Value};
use world::Timestamp;

use crate::error::WireError;
use crate::model::{Kind, Member, Service, TimestampFormat};

/// Clients differ in whether they pad base64.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(crate) fn wrong(found: &'static str, kind: &Kind) -> WireError {
    WireError::WrongType { at: String::new(), found, expected: expected(kind) }
}

pub(crate) fn expected(kind: &Kind) -> &'static str {
    match kind {
        Kind::Blob => "a base64 Blob",
        Kind::Boolean => "a Boolean",
        Kind::Document => "a Document",
        Kind::Double => "a Double",
        Kind::Float => "a Float",
        Kind::Integer => "an Integer",
        Kind::List(_) => "a List",
        Kind::Long => "a Long",
        Kind::Map(_) => "a Map",
        Kind::String => "a String",
        Kind::Structure(_) => "a Structure",
        Kind::Timestamp => "a Timestamp",
    }
}

/// How AWS's parsers name what they found in JSON.
pub(crate) fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "NULL_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
    }
}

/// Bytes of a blob in our form.
pub fn decode_blob(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// Our form of a blob.
pub fn encode_blob(bytes: &[u8]) -> Value {
    Value::String(STANDARD.encode(bytes))
}

/// Reads a scalar from text: a path label, a query parameter, a header or an XML element.
pub(crate) fn from_text(service: &Service, member: &Member, text: &str) -> Result<Value, WireError> {
    let kind = &service.shape(member.shape).kind;
    let fail = || wrong("STRING_VALUE", kind);
    Ok(match kind {
        Kind::String | Kind::Document => Value::String(text.to_owned()),
        Kind::Blob => {
            decode_blob(text.trim()).ok_or_else(fail)?;
            Value::String(text.trim().to_owned())
        }
        Kind::Boolean if text.eq_ignore_ascii_case("true") => Value::Bool(true),
        Kind::Boolean if text.eq_ignore_ascii_case("false") => Value::Bool(false),
        Kind::Integer => Value::from(text.trim().parse::<i32>().map_err(|_| fail())?),
        Kind::Long => Value::from(text.trim().parse::<i64>().map_err(|_| fail())?),
        Kind::Float | Kind::Double => match text.trim() {
            special @ ("NaN" | "Infinity" | "-Infinity") => Value::from(special),
            number => number.parse().ok().and_then(Number::from_f64).map(Value::Number).ok_or_else(fail)?,
        },
        Kind::Timestamp => time_value(parse_time(text.trim()).ok_or_else(fail)?),
        Kind::Boolean | Kind::List(_) | Kind::Map(_) | Kind::Structure(_) => return Err(fail()),
    })
}

/// Writes a scalar as text; `default` is the place's timestamp format. Nothing when the value is not of the shape.
pub(crate) fn to_text(service: &Service, member: &Member, value: &Value, default: TimestampFormat) -> Option<String> {
    match (&service.shape(member.shape).kind, value) {
        (Kind::Timestamp, value) => Some(format_time(value_time(value)?, service.timestamp_format(member, default))),
        (Kind::Boolean, Value::Bool(flag)) => Some(flag.to_string()),
        (Kind::Integer | Kind::Long, Value::Number(number)) if !number.is_f64() => Some(number.to_string()),
        (Kind::Float | Kind::Double, Value::Number(number)) => Some(number.to_string()),
        (Kind::Float | Kind::Double, Value::String(text)) if is_special_float(text) => Some(text.clone()),
        (Kind::String | Kind::Blob, Value::String(text)) => Some(text.clone()),
        (Kind::Document, value) => Some(value.to_string()),
        _ => None,
    }
}

pub(crate) fn is_special_float(text: &str) -> bool {
    matches!(text, "NaN" | "Infinity" | "-Infinity")
}

/// Epoch seconds as our values hold them: an integer when there is no fraction.
pub fn time_value(time: Timestamp) -> Value {
    if time.micros() % 1_000_000 == 0 { Value::from(time.seconds()) } else { Value::from(time.micros() as f64 / 1e6) }
}

/// The inverse of [`time_value`].
pub fn value_time(value: &Value) -> Option<Timestamp> {
    if let Some(seconds) = value.as_i64() {
        return Some(Timestamp::from_seconds(seconds));
    }
    // Microseconds of every year up to 9999 are exact in 64 bits.
    value
        .as_f64()
        .filter(|seconds| seconds.abs() < 1e12)
        .map(|seconds| Timestamp::from_micros((seconds * 1e6).round() as i64))
}

/// Reads any of the three forms; AWS's servers accept all of them too.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    if let Ok(seconds) = text.parse::<i64>() {
        return value_time(&Value::from(seconds));
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Number::from_f64(seconds).and_then(|number| value_time(&Value::Number(number)));
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return Timestamp::parse(text).ok();
    }
    let parsed = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_micros(parsed.timestamp().as_microsecond()))
}

/// Writes a time; the fraction appears, in milliseconds, only when there is one.
pub(crate) fn format_time(time: Timestamp, format: TimestampFormat) -> String {
    let millis = time.micros().rem_euclid(1_000_000) / 1000;
    let fraction = if millis == 0 { String::new() } else { format!(".{millis:03}") };
    let civil = jiff::Timestamp::from_microsecond(time.micros()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    match format {
        TimestampFormat::UnixTimestamp => time_value(Timestamp::from_micros(time.micros() / 1000 * 1000)).to_string(),
        TimestampFormat::Iso8601 => format!("{}{fraction}Z", civil.strftime("%Y-%m-%dT%H:%M:%S")),
        TimestampFormat::HttpDate => format!("{}{fraction} GMT", civil.strftime("%a, %d %b %Y %H:%M:%S")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_time_is_read() {
        for (text, micros) in [
            ("1576540098", Some(1_576_540_098_000_000)),
            ("1576540098.5", Some(1_576_540_098_500_000)),
            ("2019-12-16T23:48:18Z", Some(1_576_540_098_000_000)),
            ("2019-12-17T00:48:18.25+01:00", Some(1_576_540_098_250_000)),
            ("Mon, 16 Dec 2019 23:48:18 GMT", Some(1_576_540_098_000_000)),
            ("yesterday", None),
            ("1e300", None),
            ("", None),
        ] {
            assert_eq!(parse_time(text).map(Timestamp::micros), micros, "{text}");
        }
    }

    #[test]
    fn times_are_written_with_a_fraction_only_when_there_is_one() {
        let time = Timestamp::from_micros(1_576_540_098_250_000);
        assert_eq!(format_time(time, TimestampFormat::Iso8601), "2019-12-16T23:48:18.250Z");
        assert_eq!(format_time(time, TimestampFormat::UnixTimestamp), "1576540098.25");
        assert_eq!(
            format_time(Timestamp::from_seconds(1_576_540_098), TimestampFormat::HttpDate),
            "Mon, 16 Dec 2019 23:48:18 GMT"
        );
    }
}
