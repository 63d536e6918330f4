//! Ranges that Services get their addresses from.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::Range;

/// An IPv4 range in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceCidr {
    first: u32,
    /// Addresses in the range.
    pub(super) size: u64,
}

impl ServiceCidr {
    /// Reads e.g. `172.20.0.0/16`. Between /12 and /28, as EKS and upstream allow.
    pub fn parse(text: &str) -> Option<ServiceCidr> {
        ServiceCidr::read(text).filter(|cidr| (1 << 4..=1 << 20).contains(&cidr.size))
    }

    /// Reads a range of any size, as a ServiceCIDR may name it; `None` for what is no IPv4.
    pub(super) fn read(text: &str) -> Option<ServiceCidr> {
        let (address, bits) = text.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let bits: u32 = bits.parse().ok().filter(|bits| *bits <= 32)?;
        let size = 1_u64 << (32 - bits);
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        Some(ServiceCidr { first: u32::from(address) & mask, size })
    }

    /// The address at `index`; 1 is the API server's own Service.
    pub fn address(&self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.first.wrapping_add(index))
    }

    pub(super) fn contains(&self, address: Ipv4Addr) -> bool {
        self.indices().contains(&u32::from(address).wrapping_sub(self.first))
    }

    /// Where the addresses are that can be given: neither the network's own nor the broadcast address.
    pub(super) fn indices(&self) -> Range<u32> {
        1..u32::try_from(self.size - 1).unwrap_or(u32::MAX)
    }

    /// How many of the first addresses are left for those who choose theirs: the API server's, the cluster DNS's (upstream's
    /// `calculateRangeOffset`).
    pub(super) fn chosen(&self) -> u32 {
        if self.size <= 16 { 0 } else { u32::try_from(self.size / 16).unwrap_or(u32::MAX).clamp(16, 256) }
    }
}

impl Default for ServiceCidr {
    /// `172.20.0.0/16`: no network of a machine at home, and large enough for anybody.
    fn default() -> ServiceCidr {
        ServiceCidr { first: u32::from(Ipv4Addr::new(172, 20, 0, 0)), size: 1 << 16 }
    }
}

impl fmt::Display for ServiceCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(0), 32 - self.size.trailing_zeros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let cidr = ServiceCidr::parse("172.20.3.4/16").unwrap();
        assert_eq!(cidr.address(1).to_string(), "172.20.0.1");
        assert_eq!(cidr.to_string(), "172.20.0.0/16");
        assert_eq!(cidr, ServiceCidr::default());
        for (address, inside) in [
            ("172.20.0.0", false),
            ("172.20.0.1", true),
            ("172.20.255.254", true),
            ("172.20.255.255", false),
            ("172.21.0.1", false),
        ] {
            assert_eq!(cidr.contains(address.parse().unwrap()), inside, "{address}");
        }
        for text in ["", "10.0.0.0", "10.0.0.0/8", "10.0.0.0/30", "x/16"] {
            assert!(ServiceCidr::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn ranges_of_any_size_give_what_upstreams_give() {
        // The addresses that can be given, and how many of the first are given last.
        let cases = [
            ("10.0.0.0/32", 0, 0),
            ("10.0.0.0/31", 0, 0),
            ("10.0.0.8/29", 6, 0),
            ("10.0.0.0/28", 14, 0),
            ("10.0.0.0/27", 30, 16),
            ("10.0.0.0/22", 1022, 64),
            ("10.0.0.0/8", 16_777_214, 256),
            ("0.0.0.0/0", 4_294_967_294, 256),
        ];
        for (text, count, chosen) in cases {
            let cidr = ServiceCidr::read(text).unwrap();
            assert_eq!((cidr.indices().len(), cidr.chosen()), (count, chosen), "{text}");
        }
        for text in ["10.0.0.0/33", "2001:db8::/64", "10.0.0.0"] {
            assert!(ServiceCidr::read(text).is_none(), "{text}");
        }
    }
}
