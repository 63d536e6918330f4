//! The parts of an HTTP request that the protocols read, and percent-encoding. Must never do input or output.

use http::HeaderMap;

use crate::error::WireError;

/// Most name=value pairs in one query string or form; the largest legitimate EC2 calls stay below a thousand.
pub const MAX_PARAMETERS: usize = 10_000;

/// An HTTP request without its body. Over HTTP/2 the caller puts `:authority` in as the `host` header.
#[derive(Debug, Clone, Copy)]
pub struct RequestParts<'a> {
    /// Upper case, for example `POST`.
    pub method: &'a str,
    /// As received, still percent-encoded, starting with `/`.
    pub raw_path: &'a str,
    /// As received, still percent-encoded, without `?`; empty when there is none.
    pub raw_query: &'a str,
    /// All headers as received.
    pub headers: &'a HeaderMap,
}

impl<'a> RequestParts<'a> {
    /// The first value of a header, if it is readable text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The media type without its parameters, in lower case; empty when the header is missing.
    pub fn content_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }
}

/// Resolves `%XX`; with `plus` also `+` as a space, as forms and query strings write it.
///
/// # Errors
/// [`WireError::PercentEncoding`] for a truncated or non-hexadecimal escape and for bytes that are not UTF-8.
pub fn decode_percent(text: &str, plus: bool) -> Result<String, WireError> {
    if !text.bytes().any(|b| b == b'%' || (plus && b == b'+')) {
        return Ok(text.to_owned());
    }
    let fail = || WireError::PercentEncoding { text: text.chars().take(100).collect() };
    let digit = |b: Option<&u8>| b.and_then(|&b| char::from(b).to_digit(16)).ok_or_else(fail);
    let mut bytes = text.as_bytes().iter();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(&byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8,
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(decoded).map_err(|_| fail())
}

/// Encodes everything but the unreserved characters of RFC 3986, as AWS's `UriEncode` does; with `slash` also keeps `/`.
pub fn encode_percent(text: &str, slash: bool) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') || (slash && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    encoded
}

/// The decoded pairs of a query string or form, in order; a name without `=` has an empty value.
///
/// # Errors
/// Bad escapes, and more than [`MAX_PARAMETERS`] pairs.
pub fn parse_pairs(text: &str) -> Result<Vec<(String, String)>, WireError> {
    let mut pairs = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        if pairs.len() == MAX_PARAMETERS {
            return Err(WireError::TooLarge { what: "parameters", limit: MAX_PARAMETERS });
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((decode_percent(name, true)?, decode_percent(value, true)?));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_resolved_or_refused() {
        for (text, plus, expected) in [
            ("a%2Fb", false, Some("a/b")),
            ("a+b", true, Some("a b")),
            ("a+b", false, Some("a+b")),
            ("%E1%88%B4", false, Some("ሴ")),
            ("%", false, None),
            ("%2", false, None),
            ("%zz", false, None),
            ("%ff", false, None),
        ] {
            assert_eq!(decode_percent(text, plus).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn encoding_keeps_only_unreserved_characters() {
        assert_eq!(encode_percent("a/b c~ሴ%", true), "a/b%20c~%E1%88%B4%25");
        assert_eq!(encode_percent("a/b", false), "a%2Fb");
    }

    #[test]
    fn pairs_keep_order_and_duplicates_up_to_the_limit() {
        let pairs = parse_pairs("b=1&a&b=%20&&").expect("well formed");
        let text: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(text, ["b=1", "a=", "b= "]);
        assert!(matches!(parse_pairs(&"a&".repeat(MAX_PARAMETERS + 1)), Err(WireError::TooLarge { .. })));
    }
}
