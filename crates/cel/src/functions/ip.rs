//! Addresses and networks: `ip("192.168.0.1")`, `cidr("192.168.0.0/24")`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Def, Library};
use crate::convert::quoted;
use crate::error::EvalError;
use crate::val::Val;

pub(super) const DEFS: &[Def] = &[
    Def {
        name: "ip",
        since: 30,
        call: |args, _| match args {
            [Val::String(text)] => parse_ip(text.as_str()).map(|address| Val::Library(Library::Ip(address))),
            [Val::Library(Library::Cidr(cidr))] => Ok(Val::Library(Library::Ip(cidr.address))),
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[("string_to_ip", "string", "net.IP"), ("cidr_ip", ".net.CIDR", "net.IP")],
    },
    Def {
        name: "family",
        since: 30,
        call: |args, _| address(args, |address| Val::Int(if address.is_ipv4() { 4 } else { 6 })),
        overloads: &[("ip_family", ".net.IP", "int")],
    },
    Def {
        name: "ip.isCanonical",
        since: 30,
        call: |args, _| match args {
            [Val::String(text)] => Ok(Val::Bool(parse_ip(text.as_str())?.to_string() == text.as_str())),
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[("ip_is_canonical", "string", "bool")],
    },
    Def {
        name: "isUnspecified",
        since: 30,
        call: |args, _| address(args, |address| Val::Bool(address.is_unspecified())),
        overloads: &[("ip_is_unspecified", ".net.IP", "bool")],
    },
    Def {
        name: "isLoopback",
        since: 30,
        call: |args, _| address(args, |address| Val::Bool(address.is_loopback())),
        overloads: &[("ip_is_loopback", ".net.IP", "bool")],
    },
    Def {
        name: "isLinkLocalMulticast",
        since: 30,
        call: |args, _| address(args, |address| Val::Bool(is_link_local_multicast(address))),
        overloads: &[("ip_is_link_local_multicast", ".net.IP", "bool")],
    },
    Def {
        name: "isLinkLocalUnicast",
        since: 30,
        call: |args, _| address(args, |address| Val::Bool(is_link_local_unicast(address))),
        overloads: &[("ip_is_link_local_unicast", ".net.IP", "bool")],
    },
    Def {
        name: "isGlobalUnicast",
        since: 30,
        call: |args, _| {
            address(args, |address| {
                let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
                let other = address.is_unspecified()
                    || address.is_loopback()
                    || address.is_multicast()
                    || is_link_local_unicast(address);
                Val::Bool(!broadcast && !other)
            })
        },
        overloads: &[("ip_is_global_unicast", ".net.IP", "bool")],
    },
    Def {
        name: "isIP",
        since: 30,
        call: |args, _| match args {
            [Val::String(text)] => Ok(Val::Bool(parse_ip(text.as_str()).is_ok())),
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[("is_ip", "string", "bool")],
    },
    Def {
        name: "cidr",
        since: 30,
        call: |args, _| match args {
            [Val::String(text)] => to_cidr(text.as_str()).map(|cidr| Val::Library(Library::Cidr(cidr))),
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[("string_to_cidr", "string", "net.CIDR")],
    },
    Def {
        name: "containsIP",
        since: 30,
        call: |args, _| match args {
            [Val::Library(Library::Cidr(cidr)), Val::String(text)] => {
                Ok(Val::Bool(cidr.contains(parse_ip(text.as_str())?)))
            }
            [Val::Library(Library::Cidr(cidr)), Val::Library(Library::Ip(address))] => {
                Ok(Val::Bool(cidr.contains(*address)))
            }
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[
            ("cidr_contains_ip_string", ".net.CIDR, string", "bool"),
            ("cidr_contains_ip_ip", ".net.CIDR, net.IP", "bool"),
        ],
    },
    Def {
        name: "containsCIDR",
        since: 30,
        call: |args, _| match args {
            [Val::Library(Library::Cidr(cidr)), Val::String(text)] => {
                Ok(Val::Bool(cidr.covers(to_cidr(text.as_str())?)))
            }
            [Val::Library(Library::Cidr(cidr)), Val::Library(Library::Cidr(other))] => {
                Ok(Val::Bool(cidr.covers(*other)))
            }
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[
            ("cidr_contains_cidr_string", ".net.CIDR, string", "bool"),
            ("cidr_contains_cidr", ".net.CIDR, net.CIDR", "bool"),
        ],
    },
    Def {
        name: "prefixLength",
        since: 30,
        call: |args, _| match args {
            [Val::Library(Library::Cidr(cidr))] => Ok(Val::Int(i64::from(cidr.bits))),
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[("cidr_prefix_length", ".net.CIDR", "int")],
    },
    Def {
        name: "masked",
        since: 30,
        call: |args, _| match args {
            [Val::Library(Library::Cidr(cidr))] => Ok(Val::Library(Library::Cidr(cidr.masked()))),
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[("cidr_masked", ".net.CIDR", "net.CIDR")],
    },
    Def {
        name: "isCIDR",
        since: 30,
        call: |args, _| match args {
            [Val::String(text)] => Ok(Val::Bool(parse_cidr(text.as_str()).is_ok())),
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[("is_cidr", "string", "bool")],
    },
];

/// An address with the length of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub(super) address: IpAddr,
    pub(super) bits: u8,
}

impl Cidr {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                Self { address, ..self }.masked() == self.masked()
            }
            _ => false,
        }
    }

    fn covers(self, other: Self) -> bool {
        self.bits <= other.bits && self.contains(other.address)
    }

    fn masked(self) -> Self {
        let address = match self.address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
            }
        };
        Self { address, ..self }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

fn address<'a>(args: &[Val<'a>], of: fn(IpAddr) -> Val<'a>) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Library(Library::Ip(address))] => Ok(of(*address)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn is_link_local_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn is_link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }
}

/// Whether a text is an address of version 6 with a zone.
fn has_zone(text: &str) -> bool {
    text.split_once('%').is_some_and(|(before, zone)| !zone.is_empty() && before.parse::<Ipv6Addr>().is_ok())
}

fn parse_ip(text: &str) -> Result<IpAddr, EvalError> {
    if has_zone(text) {
        return Err(EvalError::new(format!("IP address {} with zone value is not allowed", quoted(text))));
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            Err(EvalError::new(format!("IPv4-mapped IPv6 address {} is not allowed", quoted(text))))
        }
        Ok(address) => Ok(address),
        Err(_) => {
            let shown = quoted(text);
            let problem = problem(text);
            Err(EvalError::new(format!(
                "IP Address {shown} parse error during conversion from string: ParseAddr({shown}): {problem}"
            )))
        }
    }
}

/// What Go says about a text that is no address (`net/netip`).
fn problem(text: &str) -> String {
    let found = match text.chars().find(|c| matches!(c, '.' | ':' | '%')) {
        Some('.') => fields_of_v4(text),
        Some(':') => fields_of_v6(text),
        Some(_) => Err("missing IPv6 address".to_owned()),
        None => Ok(()),
    };
    found.err().unwrap_or_else(|| "unable to parse IP".to_owned())
}

fn at<T>(problem: &str, place: &str) -> Result<T, String> {
    Err(format!("{problem} (at {})", quoted(place)))
}

fn fields_of_v4(text: &str) -> Result<(), String> {
    let (mut value, mut digits, mut dots) = (0, 0, 0);
    for (place, c) in text.char_indices() {
        match c.to_digit(10) {
            Some(_) if digits == 1 && value == 0 => return Err("IPv4 field has octet with leading zero".to_owned()),
            Some(digit) => {
                value = value * 10 + digit;
                digits += 1;
                if value > 255 {
                    return Err("IPv4 field has value >255".to_owned());
                }
            }
            None if c == '.' && (digits == 0 || place + 1 == text.len()) => {
                return at("IPv4 field must have at least one digit", &text[place..]);
            }
            None if c == '.' && dots == 3 => return Err("IPv4 address too long".to_owned()),
            None if c == '.' => (value, digits, dots) = (0, 0, dots + 1),
            None => return at("unexpected character", &text[place..]),
        }
    }
    if dots < 3 { Err("IPv4 address too short".to_owned()) } else { Ok(()) }
}

fn fields_of_v6(text: &str) -> Result<(), String> {
    /// Groups of an address; one of version 4 at its end takes two.
    const GROUPS: usize = 8;
    let (mut rest, zone) = match text.split_once('%') {
        Some((rest, zone)) => (rest, Some(zone)),
        None => (text, None),
    };
    if zone == Some("") {
        return Err("zone must be a non-empty string".to_owned());
    }
    // Whether there has been a `::`, and how many groups are known.
    let (mut gap, mut groups) = (false, 0);
    if let Some(behind) = rest.strip_prefix("::") {
        (gap, rest) = (true, behind);
    }
    while groups < GROUPS && !(gap && groups == 0 && rest.is_empty()) {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_hexdigit()).len();
        if digits > 4 {
            return at("each group must have 4 or less digits", rest);
        }
        if digits == 0 {
            return at("each colon-separated field must have at least one digit", rest);
        }
        if rest[digits..].starts_with('.') {
            if !gap && groups != GROUPS - 2 {
                return at("embedded IPv4 address must replace the final 2 fields of the address", rest);
            }
            if groups + 2 > GROUPS {
                return at("too many hex fields to fit an embedded IPv4 at the end of the address", rest);
            }
            fields_of_v4(rest)?;
            (groups, rest) = (groups + 2, "");
            break;
        }
        groups += 1;
        rest = &rest[digits..];
        if rest.is_empty() {
            break;
        }
        let Some(behind) = rest.strip_prefix(':') else { return at("unexpected character, want colon", rest) };
        if behind.is_empty() {
            return at("colon must be followed by more characters", rest);
        }
        rest = behind;
        if let Some(behind) = rest.strip_prefix(':') {
            if gap {
                return at("multiple :: in address", rest);
            }
            (gap, rest) = (true, behind);
            if rest.is_empty() {
                break;
            }
        }
    }
    match (rest.is_empty(), groups < GROUPS, gap) {
        (false, ..) => at("trailing garbage after address", rest),
        (_, true, false) => Err("address string too short".to_owned()),
        (_, false, true) => Err("the :: must expand to at least one field of zeros".to_owned()),
        _ => Ok(()),
    }
}

fn parse_cidr(text: &str) -> Result<Cidr, String> {
    let shown = quoted(text);
    let failed = |problem: String| {
        Err(format!("network address parse error during conversion from string: netip.ParsePrefix({shown}): {problem}"))
    };
    let Some((address, bits)) = text.rsplit_once('/') else { return failed("no '/'".to_owned()) };
    let Ok(address) = address.parse::<IpAddr>() else {
        return failed(match has_zone(address) {
            true => "IPv6 zones cannot be present in a prefix".to_owned(),
            false => format!("ParseAddr({}): {}", quoted(address), problem(address)),
        });
    };
    let plain = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    let Some(length) = plain.then(|| bits.parse::<i64>().ok()).flatten() else {
        return failed(format!("bad bits after slash: {}", quoted(bits)));
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let Some(length) = u8::try_from(length).ok().filter(|length| *length <= most) else {
        return failed("prefix length out of range".to_owned());
    };
    if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return Err(format!("IPv4-mapped IPv6 address {shown} is not allowed"));
    }
    Ok(Cidr { address, bits: length })
}

fn to_cidr(text: &str) -> Result<Cidr, EvalError> {
    parse_cidr(text).map_err(|problem| {
        EvalError::new(format!("network address parse error during conversion from string: {problem}"))
    })
}
