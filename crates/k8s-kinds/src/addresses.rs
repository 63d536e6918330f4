//! IP addresses and CIDRs as fields hold them (apimachinery `util/validation/ip.go`). Old fields take forms that parsers of
//! today refuse, leading zeros for instance; new fields take nothing but the canonical form.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_object::Cause;

use crate::causes::invalid;

const NOT_AN_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NOT_A_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address, leading zeros of IPv4's numbers allowed. IPv4 in IPv6's form is IPv4.
pub fn parse_lenient(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(|address| address.to_canonical());
    }
    let mut octets = [0_u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse::<u32>().ok().and_then(|number| u8::try_from(number).ok())?;
    }
    parts.next().is_none().then(|| IpAddr::V4(Ipv4Addr::from(octets)))
}

/// An address and a length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cidr {
    /// As it was written, with all its bits.
    pub address: IpAddr,
    pub length: u8,
}

impl Cidr {
    /// As [`parse_lenient`]; IPv4 in IPv6's form stays IPv6 here.
    pub(crate) fn parse_lenient(text: &str) -> Option<Cidr> {
        let (address, length) = text.split_once('/')?;
        let length = Some(length).filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
        let length: u8 = length?.parse().ok()?;
        let address = match address.contains(':') {
            true => IpAddr::V6(address.parse().ok()?),
            false => parse_lenient(address)?,
        };
        (length <= Cidr::bits(address)).then_some(Cidr { address, length })
    }

    fn bits(address: IpAddr) -> u8 {
        if address.is_ipv4() { 32 } else { 128 }
    }

    /// The network: the bits behind the prefix are zero.
    fn network(self) -> Cidr {
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        Cidr { address, length: self.length }
    }

    /// Whether another network is a part of this one, and not all of it.
    pub(crate) fn contains_strictly(self, other: Cidr) -> bool {
        let same = self.address.is_ipv4() == other.address.is_ipv4();
        same && self.length < other.length
            && Cidr { address: other.network().address, length: self.length }.network() == self.network()
    }

    fn written(self) -> String {
        format!("{}/{}", self.address, self.length)
    }
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

/// The first minor in which old fields take no forms that parsers read in different ways (feature `StrictIPCIDRValidation`).
const STRICT_SINCE: u8 = 36;

/// What is wrong with an address that all parsers must read in the same way, and the address.
fn exact_ip(text: &str) -> Result<IpAddr, &'static str> {
    parse_lenient(text).ok_or(NOT_AN_IP)?;
    match text.parse::<IpAddr>() {
        Err(_) => Err("must not have leading 0s"),
        Ok(exact) if is_mapped(exact) => Err("must not be an IPv4-mapped IPv6 address"),
        Ok(exact) => Ok(exact),
    }
}

/// As [`exact_ip`], for a CIDR.
fn exact_cidr(text: &str) -> Result<Cidr, &'static str> {
    let cidr = Cidr::parse_lenient(text).ok_or(NOT_A_CIDR)?;
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    let exact = address.parse::<IpAddr>().ok().filter(|_| length == cidr.length.to_string());
    match exact {
        None => Err("must not have leading 0s in IP or prefix length"),
        Some(address) if is_mapped(address) => Err("must not have an IPv4-mapped IPv6 address"),
        Some(_) if cidr.network() != cidr => Err("must not have bits set beyond the prefix length"),
        Some(_) => Ok(cidr),
    }
}

/// What is wrong with an address that must be canonical.
pub(crate) fn strict_ip_problem(text: &str) -> Option<String> {
    match exact_ip(text) {
        Err(problem) => Some(problem.to_owned()),
        Ok(address) if address.to_string() != text => Some(format!("must be in canonical form (\"{address}\")")),
        Ok(_) => None,
    }
}

/// A field from before today's rules; what the object had before stays allowed, whatever it is.
pub(crate) fn legacy_ip(field: &str, text: &str, before: &[&str], minor: u8) -> Option<Cause> {
    let problem = match minor >= STRICT_SINCE {
        true => exact_ip(text).err(),
        false => parse_lenient(text).is_none().then_some(NOT_AN_IP),
    };
    problem.filter(|_| !before.contains(&text)).map(|problem| invalid(field, text, problem))
}

/// Addresses that nobody outside of one host can mean (core `ValidateEndpointIP`).
pub(crate) fn endpoint_ip(field: &str, text: &str) -> Vec<Cause> {
    let Some(address) = parse_lenient(text) else { return vec![invalid(field, text, "must be a valid IP address")] };
    let (link_local, link_local_multicast) = match address {
        IpAddr::V4(address) => (address.is_link_local(), address.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(address) => (address.is_unicast_link_local(), address.segments()[0] & 0xff0f == 0xff02),
    };
    let unspecified = format!("may not be unspecified ({text})");
    let rules = [
        (address.is_unspecified(), unspecified.as_str()),
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (link_local_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ];
    rules.into_iter().filter(|(broken, _)| *broken).map(|(_, detail)| invalid(field, text, detail)).collect()
}

/// As [`legacy_ip`], for a CIDR.
pub(crate) fn legacy_cidr(field: &str, text: &str, before: &[&str], minor: u8) -> Option<Cause> {
    let problem = match minor >= STRICT_SINCE {
        true => exact_cidr(text).err(),
        false => Cidr::parse_lenient(text).is_none().then_some(NOT_A_CIDR),
    };
    problem.filter(|_| !before.contains(&text)).map(|problem| invalid(field, text, problem))
}

/// A field that takes the canonical form of a CIDR alone.
pub(crate) fn strict_cidr(field: &str, text: &str) -> Option<Cause> {
    let problem = match exact_cidr(text) {
        Err(problem) => problem.to_owned(),
        Ok(cidr) if cidr.written() != text => format!("must be in canonical form (\"{}\")", cidr.written()),
        Ok(_) => return None,
    };
    Some(invalid(field, text, &problem))
}

/// An address with the length of its network's prefix.
pub(crate) fn interface_address(field: &str, text: &str) -> Vec<Cause> {
    let Some(cidr) = Cidr::parse_lenient(text) else {
        return vec![invalid(
            field,
            text,
            "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
        )];
    };
    let address = cidr.address.to_canonical();
    let length = if address.is_ipv4() && cidr.length > 32 { cidr.length - 96 } else { cidr.length };
    let canonical = format!("{address}/{length}");
    match text == canonical {
        true => Vec::new(),
        false => vec![invalid(field, text, &format!("must be in canonical form ({canonical:?})"))],
    }
}

/// Warns of a form of an address that a later Kubernetes refuses.
pub(crate) fn ip_warnings(field: &str, text: &str) -> Option<String> {
    let address = parse_lenient(text)?;
    match text.parse::<IpAddr>() {
        Err(_) => Some(nonstandard_ip(field, text, address)),
        Ok(exact) if is_mapped(exact) => Some(nonstandard_ip(field, text, address)),
        Ok(exact @ IpAddr::V6(_)) if exact.to_string() != text => {
            Some(format!("{field}: IPv6 address {text:?} should be in RFC 5952 canonical format (\"{exact}\")"))
        }
        Ok(_) => None,
    }
}

fn nonstandard_ip(field: &str, text: &str, address: IpAddr) -> String {
    format!(
        "{field}: non-standard IP address {text:?} will be considered invalid in a future Kubernetes release: use \"{address}\""
    )
}

/// As [`ip_warnings`], for a CIDR.
pub(crate) fn cidr_warnings(field: &str, text: &str) -> Vec<String> {
    let Some(cidr) = Cidr::parse_lenient(text) else { return Vec::new() };
    let mut warnings = Vec::new();
    let network = cidr.network();
    if network != cidr {
        let single = Cidr { length: Cidr::bits(cidr.address), ..cidr };
        warnings.push(format!(
            "{field}: CIDR value {text:?} is ambiguous in this context (should be \"{}\" or \"{}\"?)",
            network.written(),
            single.written()
        ));
    }
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    let exact = address.parse::<IpAddr>().ok().filter(|_| length == cidr.length.to_string());
    match exact {
        Some(address) if !is_mapped(address) => {
            if warnings.is_empty() && address.is_ipv6() && cidr.written() != text {
                warnings.push(format!(
                    "{field}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format (\"{}\")",
                    cidr.written()
                ));
            }
        }
        _ => warnings.push(format!(
            "{field}: non-standard CIDR value {text:?} will be considered invalid in a future Kubernetes release: use \"{}\"",
            network.written()
        )),
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_fields_take_canonical_forms_and_old_ones_more() {
        let cases = [
            ("10.9.8.7", true, ""),
            ("010.9.8.7", true, "must not have leading 0s"),
            ("10.9.8", false, NOT_AN_IP),
            ("10.9.8.256", false, NOT_AN_IP),
            ("a", false, NOT_AN_IP),
            ("", false, NOT_AN_IP),
            ("2001:db8::1", true, ""),
            ("2001:DB8::1", true, r#"must be in canonical form ("2001:db8::1")"#),
            ("::ffff:1.2.3.4", true, "must not be an IPv4-mapped IPv6 address"),
        ];
        for (text, legacy, problem) in cases {
            assert_eq!(legacy_ip("f", text, &[], 35).is_none(), legacy, "{text}");
            assert!(legacy_ip("f", text, &[text], 36).is_none(), "{text} was there before");
            assert_eq!(strict_ip_problem(text).unwrap_or_default(), problem, "{text}");
            let now = legacy_ip("f", text, &[], 36).map(|cause| cause.message).unwrap_or_default();
            let canonical = problem.starts_with("must be in canonical form");
            assert_eq!(now.is_empty(), problem.is_empty() || canonical, "{text} {now}");
        }
    }

    #[test]
    fn cidrs_are_judged_like_addresses() {
        let cases = [
            ("10.9.0.0/16", true, ""),
            ("10.9.8.0/16", true, "must not have bits set beyond the prefix length"),
            ("10.009.0.0/16", true, "must not have leading 0s in IP or prefix length"),
            ("10.9.0.0/016", true, "must not have leading 0s in IP or prefix length"),
            ("10.9.0.0/33", false, NOT_A_CIDR),
            ("10.9.0.0", false, NOT_A_CIDR),
            ("2001:DB8::/64", true, r#"must be in canonical form ("2001:db8::/64")"#),
            ("::ffff:1.2.3.0/120", true, "must not have an IPv4-mapped IPv6 address"),
        ];
        for (text, legacy, problem) in cases {
            assert_eq!(legacy_cidr("f", text, &[], 35).is_none(), legacy, "{text}");
            let expected = (!problem.is_empty()).then(|| invalid("f", text, problem));
            assert_eq!(strict_cidr("f", text), expected, "{text}");
            let canonical = problem.starts_with("must be in canonical form");
            assert_eq!(legacy_cidr("f", text, &[], 36).is_none(), problem.is_empty() || canonical, "{text}");
        }
    }

    #[test]
    fn a_part_of_a_network_is_smaller_and_inside() {
        let cases = [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.0.0.0/8", "10.0.0.0/8", false),
            ("10.0.0.0/8", "11.0.0.0/16", false),
            ("10.1.0.0/16", "10.0.0.0/8", false),
            ("::/0", "10.0.0.0/8", false),
            ("2001:db8::/32", "2001:db8:1::/48", true),
            ("0.0.0.0/0", "1.2.3.4/32", true),
        ];
        for (whole, part, expected) in cases {
            let parse = |text| Cidr::parse_lenient(text).unwrap();
            assert_eq!(parse(whole).contains_strictly(parse(part)), expected, "{whole} {part}");
        }
    }

    #[test]
    fn forms_that_will_be_refused_are_warned_of() {
        assert_eq!(ip_warnings("f", "10.0.0.1"), None);
        assert_eq!(
            ip_warnings("f", "010.0.0.1").unwrap(),
            r#"f: non-standard IP address "010.0.0.1" will be considered invalid in a future Kubernetes release: use "10.0.0.1""#
        );
        assert_eq!(
            ip_warnings("f", "2001:DB8::1").unwrap(),
            r#"f: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")"#
        );
        assert_eq!(
            cidr_warnings("f", "10.1.2.3/16"),
            [r#"f: CIDR value "10.1.2.3/16" is ambiguous in this context (should be "10.1.0.0/16" or "10.1.2.3/32"?)"#]
        );
        assert_eq!(
            cidr_warnings("f", "010.1.0.0/16"),
            [
                r#"f: non-standard CIDR value "010.1.0.0/16" will be considered invalid in a future Kubernetes release: use "10.1.0.0/16""#
            ]
        );
    }
}
