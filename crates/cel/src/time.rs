//! Timestamps and durations as Go has them: nanoseconds, years 1 to 9999, zones by name or offset.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};

use crate::error::EvalError;

/// `0001-01-01T00:00:00Z`, in seconds since 1970.
pub(crate) const MIN_SECONDS: i64 = -62_135_596_800;
/// `9999-12-31T23:59:59Z`.
pub(crate) const MAX_SECONDS: i64 = 253_402_300_799;

const NANOS: i128 = 1_000_000_000;

/// A moment. Equality and order are those of the moment; the offset is only shown.
#[derive(Clone, Copy, Debug)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
    /// Of the zone that it was written in, in seconds.
    offset: i32,
}

impl PartialEq for Timestamp {
    fn eq(&self, other: &Self) -> bool {
        (self.seconds, self.nanos) == (other.seconds, other.nanos)
    }
}

impl Eq for Timestamp {}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timestamp {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.seconds, self.nanos).cmp(&(other.seconds, other.nanos))
    }
}

impl Timestamp {
    /// Errors when the moment is in no year from 1 to 9999.
    pub fn new(seconds: i64, nanos: u32) -> Result<Self, EvalError> {
        if (MIN_SECONDS..=MAX_SECONDS).contains(&seconds) {
            Ok(Self { seconds, nanos, offset: 0 })
        } else {
            Err(EvalError::new("timestamp overflow"))
        }
    }

    /// RFC 3339, `2006-01-02T15:04:05.999Z07:00`.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let number = |from: usize, to: usize| -> Option<i64> {
            let digits = text.get(from..to)?;
            digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        let at = |index: usize, expected: &[u8]| bytes.get(index).is_some_and(|b| expected.contains(b));
        if !(at(4, b"-") && at(7, b"-") && at(10, b"T") && at(13, b":") && at(16, b":")) {
            return None;
        }
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let mut end = 19;
        let mut nanos = 0;
        if at(19, b".,") {
            end = 20 + bytes[20..].iter().take_while(|b| b.is_ascii_digit()).count();
            let digits = text.get(20..end).filter(|digits| !digits.is_empty())?;
            let kept = &digits[..digits.len().min(9)];
            nanos = kept.parse::<u32>().ok()? * 10_u32.pow(9 - kept.len() as u32);
        }
        let zone = text.get(end..)?;
        let offset = match zone.as_bytes() {
            b"Z" => 0,
            [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
                let (hours, minutes) = (number(end + 1, end + 3)?, number(end + 4, end + 6)?);
                if hours > 24 || minutes >= 60 {
                    return None;
                }
                (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
            }
            _ => return None,
        };
        let seconds = days(number(0, 4)?, number(5, 7)?, number(8, 10)?)? * 86_400 + hour * 3600 + minute * 60 + second;
        Some(Self { seconds: seconds - offset, nanos, offset: offset as i32 })
    }

    pub fn seconds(self) -> i64 {
        self.seconds
    }

    pub(crate) fn is_zero(self) -> bool {
        self.seconds == MIN_SECONDS && self.nanos == 0
    }

    pub(crate) fn in_range(self) -> bool {
        (MIN_SECONDS..=MAX_SECONDS).contains(&self.seconds)
    }

    pub(crate) fn add(self, duration: i64) -> Result<Self, EvalError> {
        let total = i128::from(self.seconds) * NANOS + i128::from(self.nanos) + i128::from(duration);
        let seconds = total.div_euclid(NANOS) as i64;
        Ok(Self { offset: self.offset, ..Self::new(seconds, total.rem_euclid(NANOS) as u32)? })
    }

    /// The duration from `other` to this, in nanoseconds.
    pub(crate) fn since(self, other: Self) -> Result<i64, EvalError> {
        let total = (i128::from(self.seconds) - i128::from(other.seconds)) * NANOS + i128::from(self.nanos)
            - i128::from(other.nanos);
        i64::try_from(total).map_err(|_| EvalError::new("duration overflow"))
    }

    /// Date and time in a zone: an IANA name, `UTC`, or an offset such as `+02:00`. Without a zone, in UTC.
    pub(crate) fn civil(self, zone: Option<&str>) -> Result<jiff::civil::DateTime, EvalError> {
        let timestamp =
            jiff::Timestamp::new(self.seconds, self.nanos as i32).map_err(|_| EvalError::new("timestamp overflow"))?;
        let zone = match zone {
            None | Some("" | "UTC") => TimeZone::UTC,
            Some(name) => match name.split_once(':') {
                Some((hours, minutes)) => TimeZone::fixed(parse_offset(name, hours, minutes)?),
                None => TimeZone::get(name).map_err(|_| EvalError::new(format!("unknown time zone {name}")))?,
            },
        };
        Ok(zone.to_datetime(timestamp))
    }
}

fn parse_offset(whole: &str, hours: &str, minutes: &str) -> Result<Offset, EvalError> {
    let parse = |text: &str| {
        text.parse::<i32>().map_err(|_| EvalError::new(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))
    };
    let (hours, minutes) = (parse(hours)?, parse(minutes)?);
    let total = hours.saturating_mul(60).saturating_add(if whole.starts_with('-') { -minutes } else { minutes });
    Offset::from_seconds(total.saturating_mul(60)).map_err(|_| EvalError::new(format!("unknown time zone {whole}")))
}

/// Days since 1970 of a date that exists.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let date = Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?).ok()?;
    Some(i64::from((date - Date::constant(1970, 1, 1)).get_days()))
}

/// `2006-01-02`, at midnight in UTC.
pub(crate) fn parse_date(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let number = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?;
    let days = days(number(text.get(0..4)?)?, number(text.get(5..7)?)?, number(text.get(8..10)?)?)?;
    Some(Timestamp { seconds: days * 86_400, nanos: 0, offset: 0 })
}

/// RFC 3339 with as many digits of the second as are needed, in the zone that it was written in.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = self.seconds + i64::from(self.offset);
        let Ok(timestamp) = jiff::Timestamp::new(local, 0) else { return write!(f, "{local}") };
        let civil = TimeZone::UTC.to_datetime(timestamp);
        write!(f, "{:04}-{:02}-{:02}T", civil.year(), civil.month(), civil.day())?;
        write!(f, "{:02}:{:02}:{:02}", civil.hour(), civil.minute(), civil.second())?;
        if self.nanos > 0 {
            write!(f, ".{}", format!("{:09}", self.nanos).trim_end_matches('0'))?;
        }
        if self.offset == 0 {
            return f.write_str("Z");
        }
        let (sign, minutes) = (if self.offset < 0 { '-' } else { '+' }, self.offset.abs() / 60);
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

const UNITS: &[(&str, f64, i128)] = &[
    ("ns", 1.0, 1),
    ("us", 1e3, 1_000),
    ("µs", 1e3, 1_000),
    ("μs", 1e3, 1_000),
    ("ms", 1e6, 1_000_000),
    ("s", 1e9, NANOS),
    ("m", 6e10, 60 * NANOS),
    ("h", 3.6e12, 3600 * NANOS),
];

/// Go's notation, `1h15m30.5s`, in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let whole_length = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(whole_length);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.bytes().take_while(u8::is_ascii_digit).count()),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit_length = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_length);
        let (_, float, exact) = UNITS.iter().find(|(name, ..)| *name == unit)?;
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(*exact)?)?;
        if !fraction.is_empty() {
            let digits: f64 = fraction.get(..fraction.len().min(18))?.parse().ok()?;
            total += (digits * (float / 10_f64.powi(fraction.len().min(18) as i32))) as i128;
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// As schemas have it: Go's notation, or a number with a unit in words, `3 days`.
pub(crate) fn parse_schema_duration(text: &str) -> Option<i64> {
    if let Some(duration) = parse_duration(text) {
        return Some(duration);
    }
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ',' | '-' | '+'))?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.replace(',', ".").parse().ok()?;
    let seconds = match unit.trim() {
        "ns" | "nano" | "nanos" | "nanosecond" | "nanoseconds" => 1e-9,
        "us" | "µs" | "micro" | "micros" | "microsecond" | "microseconds" => 1e-6,
        "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1e-3,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        "w" | "week" | "weeks" => 604_800.0,
        _ => return None,
    };
    let nanos = number * seconds * 1e9;
    (nanos.abs() < 9.2e18).then_some(nanos as i64)
}

/// In seconds, `1.5s`.
pub(crate) fn format_duration(nanos: i64) -> String {
    let exact = (nanos / 1_000_000_000) as f64 + (nanos % 1_000_000_000) as f64 / 1e9;
    format!("{exact}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let cases = [
            ("1h15m30.918s", Some(4_530_918_000_000)),
            ("-1.5h", Some(-5_400_000_000_000)),
            ("0", Some(0)),
            ("300ms", Some(300_000_000)),
            ("1µs", Some(1_000)),
            (".5s", Some(500_000_000)),
            ("", None),
            ("1", None),
            ("s", None),
            ("1x", None),
            ("9223372036854775808ns", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn timestamps_are_rfc_3339() {
        let cases = [
            ("2020-01-02T03:04:05Z", Some("2020-01-02T03:04:05Z")),
            ("2020-01-02T03:04:05.120Z", Some("2020-01-02T03:04:05.12Z")),
            ("2020-01-02T03:04:05+02:00", Some("2020-01-02T03:04:05+02:00")),
            ("0001-01-01T00:00:00Z", Some("0001-01-01T00:00:00Z")),
            ("2020-02-30T00:00:00Z", None),
            ("2020-01-02", None),
            ("2020-01-02T24:00:00Z", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Timestamp::parse(text).map(|t| t.to_string()).as_deref(), expected, "{text}");
        }
    }
}
