//! Semantic versions: `semver("1.2.3")`, and with `true` also `v1.2`.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Def, Library};
use crate::convert::quoted;
use crate::error::EvalError;
use crate::val::Val;

pub(super) const DEFS: &[Def] = &[
    Def {
        name: "semver",
        since: 33,
        call: |args, _| match parse(args)? {
            Ok(version) => Ok(Val::Library(Library::Semver(Arc::new(version)))),
            Err(problem) => Err(EvalError::new(problem)),
        },
        overloads: &[
            ("string_to_semver", "string", "kubernetes.Semver"),
            ("string_bool_to_semver", "string, bool", "kubernetes.Semver"),
        ],
    },
    Def {
        name: "isSemver",
        since: 33,
        call: |args, _| Ok(Val::Bool(parse(args)?.is_ok())),
        overloads: &[("is_semver_string", "string", "bool"), ("is_semver_string_bool", "string, bool", "bool")],
    },
    Def {
        name: "isGreaterThan",
        since: 33,
        call: |args, _| two(args, |ordering| Val::Bool(ordering.is_gt())),
        overloads: &[("semver_is_greater_than", ".kubernetes.Semver, kubernetes.Semver", "bool")],
    },
    Def {
        name: "isLessThan",
        since: 33,
        call: |args, _| two(args, |ordering| Val::Bool(ordering.is_lt())),
        overloads: &[("semver_is_less_than", ".kubernetes.Semver, kubernetes.Semver", "bool")],
    },
    Def {
        name: "compareTo",
        since: 33,
        call: |args, _| two(args, |ordering| Val::Int(ordering as i64)),
        overloads: &[("semver_compare_to", ".kubernetes.Semver, kubernetes.Semver", "int")],
    },
    Def {
        name: "major",
        since: 33,
        call: |args, _| number(args, 0),
        overloads: &[("semver_major", ".kubernetes.Semver", "int")],
    },
    Def {
        name: "minor",
        since: 33,
        call: |args, _| number(args, 1),
        overloads: &[("semver_minor", ".kubernetes.Semver", "int")],
    },
    Def {
        name: "patch",
        since: 33,
        call: |args, _| number(args, 2),
        overloads: &[("semver_patch", ".kubernetes.Semver", "int")],
    },
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    numbers: [u64; 3],
    pre: Vec<Identifier>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Identifier {
    Number(u64),
    Text(String),
}

impl Version {
    /// Build metadata does not order.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                for (a, b) in self.pre.iter().zip(&other.pre) {
                    let ordering = match (a, b) {
                        (Identifier::Number(a), Identifier::Number(b)) => a.cmp(b),
                        (Identifier::Number(_), Identifier::Text(_)) => Ordering::Less,
                        (Identifier::Text(_), Identifier::Number(_)) => Ordering::Greater,
                        (Identifier::Text(a), Identifier::Text(b)) => a.cmp(b),
                    };
                    if ordering.is_ne() {
                        return ordering;
                    }
                }
                self.pre.len().cmp(&other.pre.len())
            }
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("Version string empty".to_owned());
        }
        let parts: Vec<&str> = text.splitn(3, '.').collect();
        let [major, minor, rest] = parts[..] else {
            return Err("No Major.Minor.Patch elements found".to_owned());
        };
        let (rest, build) = match rest.split_once('+') {
            Some((rest, build)) => (rest, Some(build)),
            None => (rest, None),
        };
        let (patch, pre) = match rest.split_once('-') {
            Some((patch, pre)) => (patch, Some(pre)),
            None => (rest, None),
        };
        let numbers = [part("Major", major)?, part("Minor", minor)?, part("Patch", patch)?];
        let pre = pre.map(|pre| pre.split('.').map(identifier).collect::<Result<Vec<_>, _>>()).transpose()?;
        for identifier in build.into_iter().flat_map(|build| build.split('.')) {
            if identifier.is_empty() {
                return Err("Build meta data is empty".to_owned());
            }
            if !is_alphanumeric(identifier) {
                return Err(format!("Invalid character(s) found in build meta data {}", quoted(identifier)));
            }
        }
        Ok(Self { numbers, pre: pre.unwrap_or_default() })
    }
}

fn is_alphanumeric(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn part(name: &str, text: &str) -> Result<u64, String> {
    if text.is_empty() {
        return Err(format!("strconv.ParseUint: parsing {}: invalid syntax", quoted(text)));
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        let name = name.to_ascii_lowercase();
        return Err(format!("Invalid character(s) found in {name} number {}", quoted(text)));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(format!("{name} number must not contain leading zeroes {}", quoted(text)));
    }
    text.parse().map_err(|_| format!("strconv.ParseUint: parsing {}: value out of range", quoted(text)))
}

fn identifier(text: &str) -> Result<Identifier, String> {
    if text.is_empty() {
        return Err("Prerelease is empty".to_owned());
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        if text.len() > 1 && text.starts_with('0') {
            return Err(format!("Numeric PreRelease version must not contain leading zeroes {}", quoted(text)));
        }
        return text
            .parse()
            .map(Identifier::Number)
            .map_err(|_| format!("strconv.ParseUint: parsing {}: value out of range", quoted(text)));
    }
    if !is_alphanumeric(text) {
        return Err(format!("Invalid character(s) found in prerelease {}", quoted(text)));
    }
    Ok(Identifier::Text(text.to_owned()))
}

/// Without a `v`, with the numbers that are missing, without leading zeroes.
fn normalised(text: &str) -> Result<Version, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text
        .splitn(3, '.')
        .map(|part| {
            let trimmed = part.trim_start_matches('0');
            if part.len() > 1 && !trimmed.starts_with(|c: char| c.is_ascii_digit()) {
                format!("0{trimmed}")
            } else if part.len() > 1 {
                trimmed.to_owned()
            } else {
                part.to_owned()
            }
        })
        .collect();
    if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
        return Err("short version cannot contain PreRelease/Build meta data".to_owned());
    }
    parts.resize(3, "0".to_owned());
    Version::parse(&parts.join("."))
}

fn parse(args: &[Val<'_>]) -> Result<Result<Version, String>, EvalError> {
    match args {
        [Val::String(text)] | [Val::String(text), Val::Bool(false)] => Ok(Version::parse(text.as_str())),
        [Val::String(text), Val::Bool(true)] => Ok(normalised(text.as_str())),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn two<'a>(args: &[Val<'a>], of: fn(Ordering) -> Val<'a>) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Library(Library::Semver(a)), Val::Library(Library::Semver(b))] => Ok(of(a.order(b))),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn number<'a>(args: &[Val<'a>], index: usize) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Library(Library::Semver(version))] => Ok(Val::Int(version.numbers[index] as i64)),
        _ => Err(EvalError::NoSuchOverload),
    }
}
