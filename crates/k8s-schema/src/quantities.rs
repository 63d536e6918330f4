//! The one form in which upstream writes a quantity back (apimachinery `Quantity.CanonicalizeBytes`): `1000m` is `1`,
//! `0.5` is `500m`, `1024Mi` is `1Gi`. How the amount was written chooses between binary, decimal and exponent form.
//!
//! Texts are judged before, by [`crate::leaf::check_quantity`].

use serde_json::Value;

/// Upstream's smallest part of a unit; what is finer is rounded up.
const SCALE: i64 = 9;
/// More digits than this decide nothing but whether something is left to round up.
const DIGITS: usize = 30;
/// The largest amount, in units.
const MAX_UNITS: i128 = i64::MAX as i128;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Binary,
    Decimal,
    Exponent,
}

/// Rewrites a quantity, a text or a number, in canonical form. What is no quantity stays.
pub(crate) fn canonicalise(value: &mut Value) {
    let canonical = match &*value {
        Value::String(text) => canonical(text).filter(|canonical| canonical != text),
        Value::Number(number) => canonical(&number.to_string()),
        _ => None,
    };
    if let Some(canonical) = canonical {
        *value = Value::String(canonical);
    }
}

fn canonical(text: &str) -> Option<String> {
    let (negative, rest) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (form, base_two, exponent) = unit(suffix)?;
    let nanos = nanos(number, base_two, exponent);
    if nanos == 0 {
        return Some("0".to_owned());
    }
    let sign = if negative { "-" } else { "" };
    let (units, rest) = (nanos / NANOS, nanos % NANOS);
    if form == Form::Binary && rest == 0 && units >= 1024 {
        let (mut mantissa, mut step) = (units, 0);
        while mantissa % 1024 == 0 && step < BINARY.len() - 1 {
            (mantissa, step) = (mantissa / 1024, step + 1);
        }
        return Some(format!("{sign}{mantissa}{}", BINARY[step]));
    }
    let (mut mantissa, mut exponent) = (nanos, -SCALE);
    while mantissa % 1000 == 0 && exponent < 18 {
        (mantissa, exponent) = (mantissa / 1000, exponent + 3);
    }
    let suffix = match (form, exponent) {
        (_, 0) => String::new(),
        (Form::Exponent, exponent) => format!("e{exponent}"),
        _ => DECIMAL.iter().find(|(_, of)| *of == exponent).map(|(suffix, _)| (*suffix).to_owned())?,
    };
    Some(format!("{sign}{mantissa}{suffix}"))
}

const NANOS: i128 = 1_000_000_000;
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [(&str, i64); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

/// The form that a suffix stands for, and the powers of 1024 and of ten that it multiplies by.
fn unit(suffix: &str) -> Option<(Form, u32, i64)> {
    if let Some(power) = BINARY.iter().skip(1).position(|own| *own == suffix) {
        return Some((Form::Binary, u32::try_from(power).ok()? + 1, 0));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(own, _)| *own == suffix) {
        return Some((Form::Decimal, 0, *exponent));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some((Form::Exponent, 0, exponent.into()))
}

/// Billionths of a unit, rounded away from zero, at most upstream's largest amount.
fn nanos(number: &str, power_of_1024: u32, exponent: i64) -> i128 {
    const MAX: i128 = MAX_UNITS * NANOS;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: String = whole.chars().chain(fraction.chars()).collect();
    let digits = digits.trim_start_matches('0');
    let (kept, cut) = digits.split_at(digits.len().min(DIGITS));
    let Ok(mantissa) = kept.parse::<i128>() else { return 0 };
    // Where the last kept digit stands, in powers of ten of a billionth.
    let places = i64::try_from(cut.len()).unwrap_or(i64::MAX) - i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let places = places.saturating_add(exponent).saturating_add(SCALE);
    let mut rounded_up = cut.bytes().any(|digit| digit != b'0');
    let mut amount = mantissa;
    if power_of_1024 > 0 && places < 0 {
        // The multiple is whole, so that it comes before what is rounded.
        let Some(larger) = amount.checked_mul(1024_i128.pow(power_of_1024)) else { return MAX };
        amount = larger;
    }
    for _ in 0..places.unsigned_abs() {
        if places > 0 {
            match amount.checked_mul(10).filter(|amount| *amount <= MAX) {
                Some(larger) => amount = larger,
                None => return if amount == 0 { 0 } else { MAX },
            }
        } else {
            rounded_up |= amount % 10 != 0;
            amount /= 10;
            if amount == 0 {
                break;
            }
        }
    }
    if power_of_1024 > 0 && places >= 0 {
        let Some(larger) = amount.checked_mul(1024_i128.pow(power_of_1024)) else { return MAX };
        amount = larger;
    }
    (amount + i128::from(rounded_up)).min(MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_written_as_upstream_writes_them() {
        let cases = [
            ("1000m", "1"),
            ("1", "1"),
            ("+1", "1"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("1.", "1"),
            ("-1.5", "-1500m"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("1024", "1024"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1.0001Ki", "1024102400u"),
            ("1024Ei", "9223372036854775807"),
            ("0", "0"),
            ("0Mi", "0"),
            ("-0", "0"),
            ("1e3", "1e3"),
            ("1e4", "10e3"),
            ("1500e0", "1500"),
            ("1E3", "1e3"),
            ("1E", "1E"),
            ("0.1n", "1n"),
            ("1.0000000001", "1000000001n"),
            ("100e-3", "100e-3"),
            ("99999999999999999999999999999999999", "9223372036854775807"),
            ("1e99", "9223372036854775807"),
            ("0e99", "0"),
            ("1e-99", "1e-9"),
        ];
        for (text, expected) in cases {
            let mut value = json!(text);
            canonicalise(&mut value);
            assert_eq!(value, json!(expected), "{text}");
        }
        for (mut number, expected) in
            [(json!(1000), json!("1k")), (json!(0.5), json!("500m")), (json!(-1), json!("-1"))]
        {
            canonicalise(&mut number);
            assert_eq!(number, expected);
        }
    }
}
