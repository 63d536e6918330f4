//! JSON as Go's encoder writes it: what means something in HTML, and what ends a line in JavaScript, is escaped.

/// The same JSON as Go would write it. It costs a look at its bytes where there is nothing to escape.
pub fn escaped(json: Vec<u8>) -> Vec<u8> {
    if !json.iter().any(|byte| matches!(byte, b'<' | b'>' | b'&' | 0xe2)) {
        return json;
    }
    let mut all = Vec::with_capacity(json.len() + json.len() / 8);
    let mut rest = json.as_slice();
    // Outside of strings none of them can be.
    while let Some((byte, after)) = rest.split_first() {
        let (text, after): (&[u8], &[u8]) = match (byte, after) {
            (b'<', after) => (br"\u003c", after),
            (b'>', after) => (br"\u003e", after),
            (b'&', after) => (br"\u0026", after),
            (0xe2, [0x80, 0xa8, after @ ..]) => (br"\u2028", after),
            (0xe2, [0x80, 0xa9, after @ ..]) => (br"\u2029", after),
            (_, after) => (&rest[..1], after),
        };
        all.extend_from_slice(text);
        rest = after;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_escapes_is_escaped() {
        for (json, expected) in [
            (r#"{"a":"b"}"#, r#"{"a":"b"}"#),
            (r#"["a && b > c < d"]"#, r#"["a \u0026\u0026 b \u003e c \u003c d"]"#),
            ("\"a\u{2028}b\u{2029}c\u{2026}é\"", "\"a\\u2028b\\u2029c\u{2026}é\""),
        ] {
            let text = String::from_utf8(escaped(json.as_bytes().to_vec())).unwrap();
            assert_eq!(text, expected);
            let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(parse(&text), parse(json));
        }
    }
}
