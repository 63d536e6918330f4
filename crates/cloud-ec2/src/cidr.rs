//! IPv4 networks. Pure arithmetic.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// An IPv4 network: an address whose host bits are zero, and the number of network bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    base: u32,
    bits: u8,
}

/// The text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an IPv4 network such as 10.0.0.0/16")]
pub struct ParseCidrError(pub String);

impl Cidr {
    /// The network of `bits` that `address` lies in.
    pub fn containing(address: Ipv4Addr, bits: u8) -> Cidr {
        let bits = bits.min(32);
        Cidr { base: u32::from(address) & mask(bits), bits }
    }

    /// Its first address.
    pub fn base(self) -> Ipv4Addr {
        self.base.into()
    }

    /// Network bits, 0 to 32.
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// How many addresses it has.
    pub fn size(self) -> u64 {
        1 << (32 - self.bits)
    }

    /// Whether an address lies in it.
    pub fn has(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.bits) == self.base
    }

    /// Whether all of `other` lies in it.
    pub fn contains(self, other: Cidr) -> bool {
        self.bits <= other.bits && other.base & mask(self.bits) == self.base
    }

    /// Whether they share an address.
    pub fn overlaps(self, other: Cidr) -> bool {
        self.contains(other) || other.contains(self)
    }

    /// The address at an offset; none outside of it.
    pub fn at(self, offset: u32) -> Option<Ipv4Addr> {
        (u64::from(offset) < self.size()).then(|| Ipv4Addr::from(self.base + offset))
    }

    /// Reads text whose host bits may be set, and cuts them off, as EC2 does.
    ///
    /// # Errors
    /// [`ParseCidrError`].
    pub fn parse_lenient(text: &str) -> Result<Cidr, ParseCidrError> {
        let fail = || ParseCidrError(text.to_owned());
        let (address, bits) = text.split_once('/').ok_or_else(fail)?;
        let canonical = !bits.is_empty() && bits.len() <= 2 && bits.bytes().all(|b| b.is_ascii_digit());
        let bits: u8 = bits.parse().ok().filter(|bits| *bits <= 32 && canonical).ok_or_else(fail)?;
        Ok(Cidr::containing(address.parse().map_err(|_| fail())?, bits))
    }
}

fn mask(bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)
}

impl std::str::FromStr for Cidr {
    type Err = ParseCidrError;

    fn from_str(text: &str) -> Result<Cidr, ParseCidrError> {
        let cidr = Cidr::parse_lenient(text)?;
        if cidr.to_string() == text { Ok(cidr) } else { Err(ParseCidrError(text.to_owned())) }
    }
}

impl TryFrom<String> for Cidr {
    type Error = ParseCidrError;

    fn try_from(text: String) -> Result<Cidr, ParseCidrError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> String {
        cidr.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base(), self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_compared() {
        for (text, valid) in [
            ("10.0.0.0/8", true),
            ("0.0.0.0/0", true),
            ("1.2.3.4/32", true),
            ("10.0.0.1/8", false),
            ("10.0.0.0/33", false),
            ("10.0.0.0", false),
            ("10.0.0/8", false),
            ("10.0.0.0/+8", false),
        ] {
            assert_eq!(text.parse::<Cidr>().is_ok(), valid, "{text}");
        }
        let cidr = |text: &str| text.parse::<Cidr>().expect(text);
        assert!(cidr("10.0.0.0/8").contains(cidr("10.1.0.0/16")));
        assert!(cidr("10.1.0.0/16").overlaps(cidr("10.0.0.0/8")));
        assert!(!cidr("10.1.0.0/16").overlaps(cidr("10.2.0.0/16")));
        assert!(cidr("0.0.0.0/0").has(Ipv4Addr::new(255, 1, 2, 3)));
        assert_eq!(cidr("10.0.0.0/30").at(3), Some(Ipv4Addr::new(10, 0, 0, 3)));
        assert_eq!(cidr("10.0.0.0/30").at(4), None);
        assert_eq!(Cidr::parse_lenient("10.1.2.3/16").map(|cidr| cidr.to_string()), Ok("10.1.0.0/16".to_owned()));
    }
}
