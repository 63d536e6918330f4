//! The `format`s of strings that upstream enforces for custom resources; an unknown format means nothing.
//!
//! Names are compared without dashes (`date-time` is `datetime`), as upstream does. Not enforced here: `creditcard`,
//! `isbn`, `isbn10`, `isbn13`, `rgbcolor` and `bsonobjectid`, which no cluster depends on.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::leaf;

/// Whether a text has the format, `None` for a format that is not enforced.
pub(super) fn check(format: &str, text: &str) -> Option<bool> {
    let name: String = format.chars().filter(|c| *c != '-').collect();
    let at = FORMATS.binary_search_by(|(known, _)| (*known).cmp(name.as_str())).ok()?;
    Some(FORMATS[at].1(text))
}

type Check = fn(&str) -> bool;

const FORMATS: &[(&str, Check)] = &[
    ("byte", |text| !text.is_empty() && leaf::check_base64(text).is_ok()),
    ("cidr", is_cidr),
    ("date", is_date),
    ("datetime", is_date_time),
    ("duration", is_duration),
    ("email", is_email),
    ("hexcolor", |text| {
        let digits = text.strip_prefix('#').unwrap_or(text);
        matches!(digits.len(), 3 | 6) && is_hex(digits)
    }),
    ("hostname", is_hostname),
    ("ipv4", is_ipv4),
    ("ipv6", |text| text.parse::<Ipv6Addr>().is_ok()),
    ("k8slongname", |text| text.len() <= 253 && text.split('.').all(is_dns_label)),
    ("k8sshortname", |text| text.len() <= 63 && is_dns_label(text)),
    ("mac", is_mac),
    ("password", |_| true),
    ("ssn", is_ssn),
    ("uri", is_uri),
    ("uuid", |text| is_uuid(text, None)),
    ("uuid3", |text| is_uuid(text, Some('3'))),
    ("uuid4", |text| is_uuid(text, Some('4'))),
    ("uuid5", |text| is_uuid(text, Some('5'))),
];

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Leading zeros are tolerated, as Go did before 1.17 and Kubernetes still does.
fn is_ipv4(text: &str) -> bool {
    let octet = |part: &str| {
        !part.is_empty()
            && is_digits(part)
            && part.trim_start_matches('0').len() <= 3
            && part.parse::<u64>().is_ok_and(|value| value <= 255)
    };
    text.split('.').count() == 4 && text.split('.').all(octet) || text.contains('.') && text.parse::<Ipv6Addr>().is_ok()
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let Ok(bits) = length.parse::<u8>() else { return false };
    if !is_digits(length) {
        return false;
    }
    let plain_ipv4 = is_ipv4(address) && !address.contains(':') || address.parse::<Ipv4Addr>().is_ok();
    plain_ipv4 && bits <= 32 || address.parse::<Ipv6Addr>().is_ok() && bits <= 128
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && leaf::check_time(&format!("{text}T00:00:00Z"), false).is_ok()
}

/// RFC 3339 with any case; the zone's range is not looked at.
fn is_date_time(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    leaf::check_time(&text, false).is_ok()
}

/// Go's durations, or Scala's `22 ns`, `1 week`.
fn is_duration(text: &str) -> bool {
    if leaf::check_duration(text).is_ok() {
        return true;
    }
    const UNITS: &[(&str, &str)] = &[
        ("d", "day"),
        ("h", "hour"),
        ("hr", "hour"),
        ("m", "min"),
        ("ms", "milli"),
        ("ns", "nano"),
        ("s", "sec"),
        ("us", "micro"),
        ("w", "week"),
        ("wk", "week"),
        ("µs", "micro"),
    ];
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        rest = rest[start..].trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphabetic() && c != 'µ').unwrap_or(rest.len());
        let unit = rest[..end].to_lowercase();
        if UNITS.iter().any(|(short, long)| unit == *short || unit.starts_with(long)) {
            return true;
        }
    }
    false
}

/// The address of an e-mail, with or without a display name.
fn is_email(text: &str) -> bool {
    let address = match text.trim().strip_suffix('>').and_then(|rest| rest.rsplit_once('<')) {
        Some((_, address)) => address,
        None => text.trim(),
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atom = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let dots = |text: &str| !text.is_empty() && text.split('.').all(|part| !part.is_empty() && part.chars().all(atom));
    (quoted || dots(local)) && (dots(domain) || domain.starts_with('[') && domain.ends_with(']'))
}

fn is_hostname(text: &str) -> bool {
    let symbol = |c: char| c.is_alphanumeric() || !c.is_ascii() && !c.is_control() && !c.is_whitespace();
    let label = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part.chars().all(|c| symbol(c) || c == '-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    if text.len() > 255 || !text.split('.').all(label) {
        return false;
    }
    match text.rsplit_once('.') {
        Some((_, top)) => top.chars().count() >= 2 && top.chars().all(char::is_alphabetic),
        None => true,
    }
}

fn is_mac(text: &str) -> bool {
    let grouped = |separator: char, width: usize, counts: &[usize]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len()) && parts.iter().all(|part| part.len() == width && is_hex(part))
    };
    grouped(':', 2, &[6, 8, 20]) || grouped('-', 2, &[6, 8, 20]) || grouped('.', 4, &[3, 4, 10])
}

fn is_ssn(text: &str) -> bool {
    let digits: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    digits.len() == 9
        && is_digits(&digits)
        && text.len() <= 11
        && text.as_bytes().first().is_some_and(u8::is_ascii_digit)
}

/// An absolute URI or an absolute path.
fn is_uri(text: &str) -> bool {
    let clean = !text.is_empty() && !text.chars().any(|c| c.is_control() || c == ' ');
    let scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    clean
        && (text.starts_with('/')
            || text.split_once(':').is_some_and(|(before, after)| scheme(before) && !after.is_empty()))
}

fn is_uuid(text: &str, version: Option<char>) -> bool {
    const WIDTHS: [usize; 5] = [8, 4, 4, 4, 12];
    let mut rest = text;
    for (index, width) in WIDTHS.into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some(part) = rest.get(..width).filter(|part| is_hex(part)) else { return false };
        let first = part.chars().next().unwrap_or_default();
        let variant = matches!(version, Some('4' | '5')) && index == 3;
        if index == 2 && version.is_some_and(|version| version != first) || variant && !"89abAB".contains(first) {
            return false;
        }
        rest = &rest[width..];
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(FORMATS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn formats() {
        let cases: [(&str, &[&str], &[&str]); 19] = [
            ("byte", &["QUJD", "AA=="], &["", "A", "a b="]),
            ("cidr", &["10.0.0.0/8", "fd00::/8", "0.0.0.0/0"], &["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/+8"]),
            ("date", &["2024-02-29"], &["2023-02-29", "2024-2-1", ""]),
            ("date-time", &["2024-02-29T01:02:03Z", "2024-02-29t01:02:03.5+09:00"], &["2024-02-29", "x"]),
            ("datetime", &["2024-02-29T01:02:03Z"], &["now"]),
            ("duration", &["1h30m", "22 ns", "1 week", "3 Hours"], &["", "abc", "5"]),
            ("email", &["a@b.c", "Me <a@b.c>"], &["a", "@b", "a@", "a b@c"]),
            ("hexcolor", &["#fff", "FFFFFF"], &["#ffff", "red"]),
            ("hostname", &["a", "a.example.com", "1a.example"], &["", "-a", "a-", "a..b", "a.b1"]),
            ("ipv4", &["10.0.0.1", "010.0.0.1"], &["10.0.0", "256.0.0.1", "::1"]),
            ("ipv6", &["::1", "fe80::1"], &["10.0.0.1", "x"]),
            ("k8s-short-name", &["abc-1"], &["a.b", "A", "-a", ""]),
            ("k8s-long-name", &["a.b-c"], &["a..b", "A"]),
            ("mac", &["00:00:5e:00:53:01", "0000.5e00.5301"], &["00:00:5e:00:53", "x"]),
            ("password", &["", "x"], &[]),
            ("ssn", &["123-45-6789", "123 45 6789"], &["123-45-678", "abc"]),
            ("uri", &["http://a/b", "/path", "urn:x"], &["", "a b", "nothing"]),
            ("uuid", &["123e4567-e89b-12d3-a456-426614174000", "123E4567E89B12D3A456426614174000"], &["x", "123e4567"]),
            ("uuid4", &["123e4567-e89b-42d3-a456-426614174000"], &["123e4567-e89b-12d3-a456-426614174000"]),
        ];
        for (format, good, bad) in cases {
            for text in good {
                assert_eq!(check(format, text), Some(true), "{format} {text:?}");
            }
            for text in bad {
                assert_eq!(check(format, text), Some(false), "{format} {text:?}");
            }
        }
        assert_eq!(check("made-up", "x"), None);
    }
}
