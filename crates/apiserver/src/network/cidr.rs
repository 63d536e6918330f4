//! The range that Services get their addresses from.

use std::fmt;
use std::net::Ipv4Addr;

/// An IPv4 range in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceCidr {
    first: u32,
    /// Addresses in the range.
    pub(super) size: u32,
}

impl ServiceCidr {
    /// Reads e.g. `172.20.0.0/16`. Between /12 and /28, as EKS and upstream allow.
    pub fn parse(text: &str) -> Option<ServiceCidr> {
        let (address, bits) = text.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let bits: u32 = bits.parse().ok().filter(|bits| (12..=28).contains(bits))?;
        let size = 1_u32 << (32 - bits);
        Some(ServiceCidr { first: u32::from(address) & !(size - 1), size })
    }

    /// The address at `index`; 1 is the API server's own Service.
    pub fn address(&self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.first.wrapping_add(index))
    }

    pub(super) fn contains(&self, address: Ipv4Addr) -> bool {
        let index = u32::from(address).wrapping_sub(self.first);
        // Neither the network's own address nor the broadcast address.
        index > 0 && index < self.size - 1
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
}
