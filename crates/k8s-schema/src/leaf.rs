//! Text forms that the API checks while decoding: quantities, times, durations, base64. Errors read as Go's.
//!
//! Only the form is checked here; what the text means is the business of the crates that use it.

use world::Timestamp;

/// `resource.ParseQuantity`: sign, digits with one point, and a decimal, binary or exponent suffix.
pub(crate) fn check_quantity(text: &str) -> Result<(), String> {
    const FORMAT: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    const SUFFIX: &str = "unable to parse quantity's suffix";
    if text.is_empty() {
        return Err(FORMAT.to_owned());
    }
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    // Upstream reads missing digits as zero, so only what follows them matters.
    let rest = &rest[digits..];
    let suffix = rest.strip_prefix('.').map_or(rest, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    let letters = suffix.find(|c: char| !"eEinumkKMGTP".contains(c)).unwrap_or(suffix.len());
    let (letters, exponent) = suffix.split_at(letters);
    let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if !unsigned.chars().all(|c| c.is_ascii_digit()) {
        return Err(FORMAT.to_owned());
    }
    let known = match letters {
        "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei"
            if exponent.is_empty() =>
        {
            true
        }
        "e" | "E" => unsigned.parse::<i32>().is_ok(),
        _ => false,
    };
    if !known {
        return Err(SUFFIX.to_owned());
    }
    Ok(())
}

/// `time.Parse(time.RFC3339, text)`; `micro` demands the six fractional digits of a MicroTime.
pub(crate) fn check_time(text: &str, micro: bool) -> Result<(), String> {
    let layout = if micro { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
    let mut reader = TimeReader { text, rest: text, layout };
    let year = reader.number(4, "2006")?;
    reader.literal("-")?;
    let month = reader.number(2, "01")?;
    reader.literal("-")?;
    let day = reader.number(2, "02")?;
    reader.literal("T")?;
    let hour = reader.number(2, "15")?;
    reader.literal(":")?;
    let minute = reader.number(2, "04")?;
    reader.literal(":")?;
    let second = reader.number(2, "05")?;
    reader.fraction(micro)?;
    reader.zone()?;
    let range = |what: &str| Err(format!("parsing time {text:?}: {what} out of range"));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return range("month"),
    };
    match () {
        () if hour > 23 => range("hour"),
        () if minute > 59 => range("minute"),
        () if second > 59 => range("second"),
        () if day == 0 || day > days => range("day"),
        () if !reader.rest.is_empty() => Err(format!("parsing time {text:?}: extra text: {:?}", reader.rest)),
        () => Ok(()),
    }
}

struct TimeReader<'a> {
    text: &'a str,
    rest: &'a str,
    layout: &'a str,
}

impl TimeReader<'_> {
    fn fail<T>(&self, element: &str) -> Result<T, String> {
        Err(format!("parsing time {:?} as {:?}: cannot parse {:?} as {element:?}", self.text, self.layout, self.rest))
    }

    fn number(&mut self, width: usize, element: &str) -> Result<u32, String> {
        match self.rest.get(..width).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit())) {
            Some(digits) => {
                self.rest = &self.rest[width..];
                Ok(digits.parse().unwrap_or(0))
            }
            None => self.fail(element),
        }
    }

    fn literal(&mut self, literal: &str) -> Result<(), String> {
        match self.rest.strip_prefix(literal) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => self.fail(literal),
        }
    }

    fn fraction(&mut self, micro: bool) -> Result<(), String> {
        let digits = match self.rest.strip_prefix('.') {
            Some(rest) => rest.bytes().take_while(u8::is_ascii_digit).count(),
            None => 0,
        };
        if micro && digits != 6 {
            return self.fail(".000000");
        }
        if digits > 0 {
            self.rest = &self.rest[digits + 1..];
        }
        Ok(())
    }

    fn zone(&mut self) -> Result<(), String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(());
        }
        let zone = self.rest.as_bytes();
        let digit = |at: usize| zone.get(at).is_some_and(u8::is_ascii_digit);
        let signed = zone.first().is_some_and(|b| matches!(b, b'+' | b'-'));
        if signed && digit(1) && digit(2) && zone.get(3) == Some(&b':') && digit(4) && digit(5) {
            self.rest = &self.rest[6..];
            return Ok(());
        }
        self.fail("Z07:00")
    }
}

/// `time.ParseDuration`: `1h30m`, `-1.5s`, `0`.
pub(crate) fn check_duration(text: &str) -> Result<(), String> {
    let invalid = || Err(format!("time: invalid duration {text:?}"));
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Ok(());
    }
    if rest.is_empty() {
        return invalid();
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, after) = rest.split_at(number);
        if !digits.contains(|c: char| c.is_ascii_digit()) || digits.matches('.').count() > 1 {
            return invalid();
        }
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        match unit {
            "ns" | "us" | "µs" | "μs" | "ms" | "s" | "m" | "h" => rest = after,
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            unit => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        }
    }
    Ok(())
}

/// Standard base64 with padding; line breaks are skipped, as Go does.
pub(crate) fn check_base64(text: &str) -> Result<(), String> {
    let mut symbols = 0;
    let mut padding = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\r' | b'\n' => {}
            b'=' if symbols % 4 >= 2 && (symbols + padding) % 4 != 0 => padding += 1,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => symbols += 1,
            _ => return Err(format!("illegal base64 data at input byte {at}")),
        }
    }
    match (symbols + padding) % 4 {
        0 => Ok(()),
        left => Err(format!("illegal base64 data at input byte {}", text.len() - left.min(text.len()))),
    }
}

/// A time that [`check_time`] takes, as upstream writes it: in UTC, with whole seconds, or with `micro` six digits of them.
pub(crate) fn canonical_time(text: &mut String, micro: bool) {
    let length = if micro { "2006-01-02T15:04:05.000000Z".len() } else { "2006-01-02T15:04:05Z".len() };
    if text.len() == length && text.ends_with('Z') {
        return;
    }
    if let Ok(time) = Timestamp::parse(text) {
        *text = if micro { time.to_micro_string() } else { time.to_string() };
    }
}

/// Base64 that [`check_base64`] takes, as Go writes what it has read: without line breaks, and with zeros for the bits of the last
/// symbol that belong to no byte.
pub(crate) fn canonical_base64(text: &mut String) {
    const SYMBOLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if text.contains(['\r', '\n']) {
        text.retain(|c| !matches!(c, '\r' | '\n'));
    }
    let padding = text.len() - text.trim_end_matches('=').len();
    let used = match padding {
        1 => 0b11_1100,
        2 => 0b11_0000,
        _ => return,
    };
    let last = text[..text.len() - padding].bytes().next_back();
    if let Some(value) = last.and_then(|last| SYMBOLS.iter().position(|symbol| *symbol == last))
        && value & used != value
    {
        text.truncate(text.len() - padding - 1);
        text.push(char::from(SYMBOLS[value & used]));
        text.push_str(&"=="[..padding]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for good in
            ["0", "1", "100m", "1.5Gi", "-3", "+1", "1e3", "1E-3", ".5", "5.", "10Ki", "1n", "12E", "0.001", "1E"]
        {
            assert_eq!(check_quantity(good), Ok(()), "{good}");
        }
        for bad in ["", "abc", "1x", "1.2.3", "1 Gi", "1GiB", "1ki", "--1", "1e"] {
            assert!(check_quantity(bad).is_err(), "{bad}");
        }
        assert_eq!(
            check_quantity("1Kib").unwrap_err(),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        );
        assert_eq!(check_quantity("1ki").unwrap_err(), "unable to parse quantity's suffix");
    }

    #[test]
    fn times() {
        for good in ["2024-02-29T00:00:00Z", "2008-01-01T01:01:01+09:00", "2008-01-01T01:01:01.123456789Z"] {
            assert_eq!(check_time(good, false), Ok(()), "{good}");
        }
        assert_eq!(check_time("2008-01-01T01:01:01.000001Z", true), Ok(()));
        let cases = [
            (
                "yesterday",
                false,
                r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#,
            ),
            ("2024-13-01T00:00:00Z", false, r#"parsing time "2024-13-01T00:00:00Z": month out of range"#),
            ("2023-02-29T00:00:00Z", false, r#"parsing time "2023-02-29T00:00:00Z": day out of range"#),
            (
                "2023-02-28T00:00:00",
                false,
                r#"parsing time "2023-02-28T00:00:00" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00""#,
            ),
            ("2023-02-28T00:00:00Z!", false, r#"parsing time "2023-02-28T00:00:00Z!": extra text: "!""#),
            (
                "2023-02-28T00:00:00Z",
                true,
                r#"parsing time "2023-02-28T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000""#,
            ),
        ];
        for (text, micro, error) in cases {
            assert_eq!(check_time(text, micro).unwrap_err(), error);
        }
    }

    #[test]
    fn durations() {
        for good in ["0", "1s", "1h30m", "-1.5s", "100ms", "1µs", ".5s"] {
            assert_eq!(check_duration(good), Ok(()), "{good}");
        }
        for bad in ["", "1", "s", "1x", "1..5s", "-", "1 s"] {
            assert!(check_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_written_in_one_form() {
        for (written, micro, stored) in [
            ("2020-01-01T00:00:00Z", false, "2020-01-01T00:00:00Z"),
            ("2020-01-01T00:00:00.5Z", false, "2020-01-01T00:00:00Z"),
            ("2020-01-01T01:30:00+02:00", false, "2019-12-31T23:30:00Z"),
            ("2020-01-01T00:00:00.123456Z", true, "2020-01-01T00:00:00.123456Z"),
            ("2020-01-01T00:00:00.123456+00:00", true, "2020-01-01T00:00:00.123456Z"),
        ] {
            let mut text = written.to_owned();
            canonical_time(&mut text, micro);
            assert_eq!(text, stored, "{written:?}");
        }
    }

    #[test]
    fn base64() {
        for good in ["", "AA==", "AAA=", "AAAA", "QUJD\nREVG"] {
            assert_eq!(check_base64(good), Ok(()), "{good:?}");
        }
        for bad in ["A", "AA", "AAA", "A===", "AA=A", "a-b_", "AA==="] {
            assert!(check_base64(bad).is_err(), "{bad}");
        }
        for (written, stored) in
            [("", ""), ("AAEC", "AAEC"), ("dg==", "dg=="), ("dn==", "dg=="), ("AAF=", "AAE="), ("AA\r\nE\n=", "AAE=")]
        {
            let mut text = written.to_owned();
            canonical_base64(&mut text);
            assert_eq!(text, stored, "{written:?}");
        }
    }
}
