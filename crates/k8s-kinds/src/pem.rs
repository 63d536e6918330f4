//! Blocks of PEM, read as Go's `encoding/pem` does: what is around them does not matter.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// One block.
pub(crate) struct Block {
    /// `CERTIFICATE`, for instance.
    pub label: String,
    /// Whether lines such as `Proc-Type: …` stand in front.
    pub has_headers: bool,
    pub der: Vec<u8>,
}

/// What a field of bytes holds: text in base64 in JSON.
pub(crate) fn field_bytes(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap_or_default()
}

/// All blocks of a text; those that are broken are passed over.
pub(crate) fn blocks(text: &[u8]) -> Vec<Block> {
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines().map(str::trim_end);
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        let Some(label) = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----")) else {
            continue;
        };
        let end = format!("-----END {label}-----");
        let (mut body, mut has_headers, mut is_closed) = (String::new(), false, false);
        for line in lines.by_ref() {
            is_closed = line == end;
            if is_closed {
                break;
            }
            if line.contains(':') {
                has_headers = true;
            } else {
                body.push_str(line.trim());
            }
        }
        if is_closed && let Ok(der) = STANDARD.decode(&body) {
            blocks.push(Block { label: label.to_owned(), has_headers, der });
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_between_other_text() {
        let text = b"noise\n-----BEGIN A B-----\nK: v\n\nAQID\n-----END A B-----\r\n-----BEGIN C-----\n!\n-----END C-----\n-----BEGIN D-----\nAQ==";
        let found: Vec<(String, bool, Vec<u8>)> =
            blocks(text).into_iter().map(|block| (block.label, block.has_headers, block.der)).collect();
        assert_eq!(found, [("A B".to_owned(), true, vec![1, 2, 3])]);
    }
}
