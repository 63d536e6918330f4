//! Formats by name: `format.dns1123Label().validate(name)` gives what is wrong with a text.

use std::sync::Arc;

use base64::Engine;

use super::{Def, Library, Url};
use crate::error::EvalError;
use crate::meter::Meter;
use crate::time::{self, Timestamp};
use crate::val::Val;

/// A format that texts can be checked against.
#[derive(Debug)]
pub struct NamedFormat {
    pub(crate) name: &'static str,
    /// Length of the regular expression that the check is taken to be, for costs.
    pub(crate) regex_length: u64,
    check: fn(&str) -> Vec<String>,
}

macro_rules! constant {
    ($name:literal, $format:ident) => {
        Def {
            name: concat!("format.", $name),
            since: 31,
            call: |_, _| Ok(Val::Library(Library::Format(&$format))),
            overloads: &[(concat!("format.", $name), "", "kubernetes.NamedFormat")],
        }
    };
}

pub(super) const DEFS: &[Def] = &[
    constant!("byte", BYTE),
    constant!("date", DATE),
    constant!("datetime", DATETIME),
    constant!("dns1035Label", DNS1035_LABEL),
    constant!("dns1035LabelPrefix", DNS1035_LABEL_PREFIX),
    constant!("dns1123Label", DNS1123_LABEL),
    constant!("dns1123LabelPrefix", DNS1123_LABEL_PREFIX),
    constant!("dns1123Subdomain", DNS1123_SUBDOMAIN),
    constant!("dns1123SubdomainPrefix", DNS1123_SUBDOMAIN_PREFIX),
    constant!("labelValue", LABEL_VALUE),
    constant!("qualifiedName", QUALIFIED_NAME),
    constant!("uri", URI),
    constant!("uuid", UUID),
    Def {
        name: "format.named",
        since: 31,
        call: |args, _| match args {
            [Val::String(name)] => {
                let found = NAMES.iter().find(|(known, _)| *known == name.as_str());
                Ok(Val::Optional(found.map(|(_, format)| Arc::new(Val::Library(Library::Format(format))))))
            }
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[("format-named", "string", "optional(kubernetes.NamedFormat)")],
    },
    Def {
        name: "validate",
        since: 31,
        call: validate,
        overloads: &[("format-validate", ".kubernetes.NamedFormat, string", "optional(list(string))")],
    },
];

const NAMES: &[(&str, &NamedFormat)] = &[
    ("byte", &BYTE),
    ("date", &DATE),
    ("datetime", &DATETIME),
    ("dns1035Label", &DNS1035_LABEL),
    ("dns1035LabelPrefix", &DNS1035_LABEL_PREFIX),
    ("dns1123Label", &DNS1123_LABEL),
    ("dns1123LabelPrefix", &DNS1123_LABEL_PREFIX),
    ("dns1123Subdomain", &DNS1123_SUBDOMAIN),
    ("dns1123SubdomainPrefix", &DNS1123_SUBDOMAIN_PREFIX),
    ("labelValue", &LABEL_VALUE),
    ("qualifiedName", &QUALIFIED_NAME),
    ("uri", &URI),
    ("uuid", &UUID),
];

static DNS1123_LABEL: NamedFormat = NamedFormat { name: "DNS1123Label", regex_length: 30, check: dns1123_label };
static DNS1123_LABEL_PREFIX: NamedFormat =
    NamedFormat { name: "DNS1123LabelPrefix", regex_length: 30, check: |text| dns1123_label(&mask(text)) };
static DNS1123_SUBDOMAIN: NamedFormat =
    NamedFormat { name: "DNS1123Subdomain", regex_length: 60, check: dns1123_subdomain };
static DNS1123_SUBDOMAIN_PREFIX: NamedFormat =
    NamedFormat { name: "DNS1123SubdomainPrefix", regex_length: 60, check: |text| dns1123_subdomain(&mask(text)) };
static DNS1035_LABEL: NamedFormat = NamedFormat { name: "DNS1035Label", regex_length: 30, check: dns1035_label };
static DNS1035_LABEL_PREFIX: NamedFormat =
    NamedFormat { name: "DNS1035LabelPrefix", regex_length: 30, check: |text| dns1035_label(&mask(text)) };
static QUALIFIED_NAME: NamedFormat = NamedFormat { name: "QualifiedName", regex_length: 60, check: qualified_name };
static LABEL_VALUE: NamedFormat = NamedFormat { name: "LabelValue", regex_length: 40, check: label_value };
static URI: NamedFormat =
    NamedFormat { name: "URI", regex_length: 1103, check: |text| Url::parse(text).err().into_iter().collect() };
static UUID: NamedFormat = NamedFormat { name: "uuid", regex_length: 70, check: uuid };
static BYTE: NamedFormat = NamedFormat {
    name: "byte",
    regex_length: 84,
    check: |text| {
        unless(base64::engine::general_purpose::STANDARD.decode(text).is_ok() && !text.is_empty(), "invalid base64")
    },
};
static DATE: NamedFormat = NamedFormat {
    name: "date",
    regex_length: 71,
    check: |text| unless(time::parse_date(text).is_some(), "invalid date"),
};
static DATETIME: NamedFormat = NamedFormat {
    name: "datetime",
    regex_length: 71,
    check: |text| unless(Timestamp::parse(text).is_some(), "invalid datetime"),
};

fn validate<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let [Val::Library(Library::Format(format)), Val::String(text)] = args else {
        return Err(EvalError::NoSuchOverload);
    };
    meter.work(text.as_str().len() as u64)?;
    let problems: Vec<Val<'a>> = (format.check)(text.as_str()).into_iter().map(Val::from).collect();
    Ok(Val::Optional((!problems.is_empty()).then(|| Arc::new(Val::from(problems)))))
}

fn unless(fine: bool, problem: &str) -> Vec<String> {
    if fine { Vec::new() } else { vec![problem.to_owned()] }
}

/// Of a prefix, a dash at the end may be followed by something.
fn mask(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{}a", rest.get(..rest.len() - 1).unwrap_or_default()),
        _ => text.to_owned(),
    }
}

fn lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|b| lower(*b))
        && bytes.last().is_some_and(|b| lower(*b))
        && bytes.iter().all(|b| lower(*b) || *b == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

/// `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn too_long(text: &str, max: usize) -> Option<String> {
    (text.len() > max).then(|| format!("must be no more than {max} characters"))
}

fn mismatch(problem: &str, examples: &[&str], regex: &str) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{problem} (e.g. {}regex used for validation is '{regex}')", examples.join(" or "))
}

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

fn dns1123_label(text: &str) -> Vec<String> {
    let mut found: Vec<String> = too_long(text, 63).into_iter().collect();
    if !is_label(text) {
        found.push(if is_subdomain(text) {
            "must not contain dots".to_owned()
        } else {
            let problem = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
            mismatch(problem, &["my-name", "123-abc"], LABEL)
        });
    }
    found
}

fn dns1123_subdomain(text: &str) -> Vec<String> {
    let mut found: Vec<String> = too_long(text, 253).into_iter().collect();
    if !is_subdomain(text) {
        let problem = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
        found.push(mismatch(problem, &["example.com"], &format!("{LABEL}(\\.{LABEL})*")));
    }
    found
}

fn dns1035_label(text: &str) -> Vec<String> {
    let mut found: Vec<String> = too_long(text, 63).into_iter().collect();
    if !(is_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase())) {
        let problem = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
        found.push(mismatch(problem, &["my-name", "abc-123"], "[a-z]([-a-z0-9]*[a-z0-9])?"));
    }
    found
}

fn qualified_name(text: &str) -> Vec<String> {
    const NAME: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
    let problem = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    let wrong = |what: &str| mismatch(&format!("{what} {problem}"), &["MyName", "my.name", "123-abc"], NAME);
    let mut found = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                found.push("prefix part must be non-empty".to_owned());
            } else {
                found.extend(dns1123_subdomain(prefix).into_iter().map(|problem| format!("prefix part {problem}")));
            }
            name
        }
        _ => {
            let optional = " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("{}{optional}", wrong("a qualified name"))];
        }
    };
    if name.is_empty() {
        found.push("name part must be non-empty".to_owned());
    } else if let Some(problem) = too_long(name, 63) {
        found.push(format!("name part {problem}"));
    }
    if !is_name(name) {
        found.push(wrong("name part"));
    }
    found
}

fn label_value(text: &str) -> Vec<String> {
    let mut found: Vec<String> = too_long(text, 63).into_iter().collect();
    if !text.is_empty() && !is_name(text) {
        let problem = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
        let regex = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
        found.push(mismatch(problem, &["MyValue", "my_value", "12345"], regex));
    }
    found
}

fn uuid(text: &str) -> Vec<String> {
    let mut rest = text;
    let mut fine = true;
    for (index, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        match rest.get(..length) {
            Some(part) if part.bytes().all(|b| b.is_ascii_hexdigit()) => rest = &rest[length..],
            _ => {
                fine = false;
                break;
            }
        }
    }
    unless(fine && rest.is_empty(), "does not match the UUID format")
}

/// Whether a text is the name of a ServiceAccount, or of a namespace.
pub(super) fn is_dns1123_subdomain(text: &str) -> bool {
    dns1123_subdomain(text).is_empty()
}

pub(super) fn is_dns1123_label(text: &str) -> bool {
    dns1123_label(text).is_empty()
}
