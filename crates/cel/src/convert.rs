//! Values as text, and numbers from and to text as Go writes them.

use crate::time;
use crate::val::Val;

/// A scalar as `string()` gives it. `None` for what has no text.
pub(crate) fn to_text(value: &Val<'_>) -> Option<String> {
    Some(match value {
        Val::Bool(value) => value.to_string(),
        Val::Bytes(bytes) => String::from_utf8(bytes.as_slice().to_vec()).ok()?,
        Val::Double(value) => double(*value),
        Val::Duration(nanos) => time::format_duration(*nanos),
        Val::Int(value) => value.to_string(),
        Val::String(text) => text.as_str().to_owned(),
        Val::Timestamp(timestamp) => timestamp.to_string(),
        Val::Type(ty) => ty.name().to_owned(),
        Val::Uint(value) => value.to_string(),
        _ => return None,
    })
}

/// Go's `%g`: the shortest digits, with an exponent when it is below -4 or above 5.
pub(crate) fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Shortest digits are written without an exponent only as far as six digits reach.
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// What Go's `ParseFloat` takes.
pub(crate) fn parse_double(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned.to_ascii_lowercase().as_str() {
        "nan" | "inf" | "infinity" => return text.to_ascii_lowercase().replace("infinity", "inf").parse().ok(),
        _ => {}
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let value: f64 = without_underscores(text)?.parse().ok()?;
    value.is_finite().then_some(value)
}

/// Go takes an underscore between digits.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let between = |at: usize| is_digit(at.checked_sub(1)) && is_digit(Some(at + 1));
    let misplaced = bytes.iter().enumerate().any(|(at, byte)| *byte == b'_' && !between(at));
    (!misplaced).then(|| text.replace('_', ""))
}

/// Text in Go's quotes (`%q`).
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() || c == '\u{feff}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_gos() {
        let cases = [
            (1.5, "1.5"),
            (100_000.0, "100000"),
            (1_000_000.0, "1e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (1e21, "1e+21"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.0, "-2"),
        ];
        for (value, expected) in cases {
            assert_eq!(double(value), expected);
        }
    }
}
