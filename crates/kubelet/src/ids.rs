//! Identifiers that a runtime gives out, derived from what they name, so that a restarted process finds the same ones.

use std::fmt;

/// 32 bytes from text. Spread well enough for names that people read; it protects nothing.
pub(crate) fn digest(parts: &[&str]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (lane, chunk) in bytes.chunks_exact_mut(8).enumerate() {
        // FNV-1a over the parts, then the finaliser of SplitMix64 to spread short inputs over all bits.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ (lane as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for part in parts {
            for byte in part.bytes().chain([0xff]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(hash ^ (hash >> 31)).to_be_bytes());
    }
    bytes
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A UUID that is always the same for the same parts: machine ids and boot ids survive a restart of the process.
pub(crate) fn stable_uuid(parts: &[&str]) -> String {
    let text = hex(&digest(parts)[..16]);
    format!("{}-{}-4{}-8{}-{}", &text[..8], &text[8..12], &text[13..16], &text[17..20], &text[20..])
}

/// A container as its runtime names it, 64 hexadecimal digits when written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerId([u8; 32]);

impl ContainerId {
    /// The id of a simulated container: the same pod, container and attempt give the same id.
    pub fn derived(pod_uid: &str, container: &str, attempt: u32) -> ContainerId {
        ContainerId(digest(&[pod_uid, container, &attempt.to_string()]))
    }

    /// Reads `containerd://<64 hexadecimal digits>`, the form of `containerID` in a status.
    pub fn parse(text: &str) -> Option<ContainerId> {
        let digits = text.strip_prefix("containerd://")?.as_bytes();
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
        let mut bytes = [0; 32];
        if digits.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(ContainerId(bytes))
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "containerd://{}", hex(&self.0))
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", hex(&self.0[..6]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_distinct_and_read_back() {
        let first = ContainerId::derived("uid", "web", 0);
        assert_eq!(first, ContainerId::derived("uid", "web", 0));
        assert_ne!(first, ContainerId::derived("uid", "web", 1));
        assert_ne!(digest(&["a", "b"]), digest(&["ab", ""]));
        assert_eq!(ContainerId::parse(&first.to_string()), Some(first));
        for text in ["", "containerd://", "containerd://zz", "docker://00"] {
            assert_eq!(ContainerId::parse(text), None, "{text}");
        }
    }
}
