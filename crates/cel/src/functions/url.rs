//! URLs: `url("https://example.com:8080/path?q=v").getHost()`. What is one is what Go's `net/url` takes for a request.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use super::{Def, Library};
use crate::convert::quoted;
use crate::error::EvalError;
use crate::val::Val;

pub(super) const DEFS: &[Def] = &[
    Def {
        name: "url",
        since: 0,
        call: |args, _| match args {
            [Val::String(text)] => match Url::parse(text.as_str()) {
                Ok(url) => Ok(Val::Library(Library::Url(Arc::new(url)))),
                Err(problem) => {
                    Err(EvalError::new(format!("URL parse error during conversion from string: {problem}")))
                }
            },
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[("string_to_url", "string", "kubernetes.URL")],
    },
    Def {
        name: "getScheme",
        since: 0,
        call: |args, _| part(args, |url| url.scheme.clone()),
        overloads: &[("url_get_scheme", ".kubernetes.URL", "string")],
    },
    Def {
        name: "getHost",
        since: 0,
        call: |args, _| part(args, |url| url.host.clone()),
        overloads: &[("url_get_host", ".kubernetes.URL", "string")],
    },
    Def {
        name: "getHostname",
        since: 0,
        call: |args, _| part(args, |url| url.split_host().0.to_owned()),
        overloads: &[("url_get_hostname", ".kubernetes.URL", "string")],
    },
    Def {
        name: "getPort",
        since: 0,
        call: |args, _| part(args, |url| url.split_host().1.to_owned()),
        overloads: &[("url_get_port", ".kubernetes.URL", "string")],
    },
    Def {
        name: "getEscapedPath",
        since: 0,
        call: |args, _| part(args, |url| url.path.clone()),
        overloads: &[("url_get_escaped_path", ".kubernetes.URL", "string")],
    },
    Def {
        name: "getQuery",
        since: 0,
        call: |args, _| match args {
            [Val::Library(Library::Url(url))] => Ok(url.query_values()),
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[("url_get_query", ".kubernetes.URL", "map(string, list(string))")],
    },
    Def {
        name: "isURL",
        since: 0,
        call: |args, _| match args {
            [Val::String(text)] => Ok(Val::Bool(Url::parse(text.as_str()).is_ok())),
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[("is_url_string", "string", "bool")],
    },
];

fn part<'a>(args: &[Val<'a>], of: fn(&Url) -> String) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Library(Library::Url(url))] => Ok(Val::from(of(url))),
        _ => Err(EvalError::NoSuchOverload),
    }
}

/// An absolute URL, or an absolute path.
#[derive(Debug)]
pub struct Url {
    scheme: String,
    user: String,
    host: String,
    /// Escaped.
    path: String,
    query: Option<String>,
    fragment: String,
}

impl Url {
    /// Errors with the text of Go's error.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let failed = |problem: &str| Err(format!("parse {}: {problem}", quoted(text)));
        if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return failed("net/url: invalid control character in URL");
        }
        if text.is_empty() {
            return failed("empty url");
        }
        let (scheme, rest) = match scheme(text) {
            Ok(found) => found,
            Err(problem) => return failed(problem),
        };
        // It is read once with and once without regard to fragments, and the first knows none in a host.
        let host = rest.strip_prefix("//").unwrap_or("").split(['/', '?']).next().unwrap_or("");
        if host.contains('#') {
            return failed("invalid character \"#\" in host name");
        }
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query.to_owned())),
            None => (rest, None),
        };
        if !rest.starts_with('/') {
            // What has a scheme but no slash is opaque, which is a URL too.
            if scheme.is_empty() {
                return failed("invalid URI for request");
            }
            let (path, host) = (String::new(), String::new());
            return Ok(Self { scheme, user: String::new(), host, path, query, fragment: fragment.to_owned() });
        }
        let mut authority = "";
        let mut path = rest;
        if let Some(after) = rest.strip_prefix("//").filter(|_| !scheme.is_empty() || !rest.starts_with("///")) {
            let end = after.find('/').unwrap_or(after.len());
            (authority, path) = after.split_at(end);
        }
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if let Err(problem) = check_host(host) {
            return failed(&problem);
        }
        if let Err(problem) = check_escapes(path) {
            return failed(&problem);
        }
        let path = escape_path(path);
        Ok(Self { scheme, user: user.to_owned(), host: host.to_owned(), path, query, fragment: fragment.to_owned() })
    }

    /// Host without brackets, and port.
    fn split_host(&self) -> (&str, &str) {
        if let Some(after) = self.host.strip_prefix('[') {
            let (host, rest) = after.split_once(']').unwrap_or((after, ""));
            return (host, rest.strip_prefix(':').unwrap_or(""));
        }
        self.host.rsplit_once(':').unwrap_or((&self.host, ""))
    }

    fn query_values<'a>(&self) -> Val<'a> {
        let mut found: std::collections::BTreeMap<String, Vec<Val<'a>>> = std::collections::BTreeMap::new();
        for pair in self.query.as_deref().unwrap_or_default().split('&') {
            if pair.is_empty() || pair.contains(';') {
                continue;
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(key), Some(value)) = (unescape(key), unescape(value)) {
                found.entry(key).or_default().push(Val::from(value));
            }
        }
        Val::map(found.into_iter().map(|(key, values)| (key, Val::from(values))))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.scheme.is_empty() {
            write!(f, "{}:", self.scheme)?;
        }
        if !self.host.is_empty() || !self.user.is_empty() {
            f.write_str("//")?;
        }
        if !self.user.is_empty() {
            write!(f, "{}@", self.user)?;
        }
        write!(f, "{}{}", self.host, self.path)?;
        if let Some(query) = &self.query {
            write!(f, "?{query}")?;
        }
        if !self.fragment.is_empty() {
            write!(f, "#{}", self.fragment)?;
        }
        Ok(())
    }
}

fn scheme(text: &str) -> Result<(String, &str), &'static str> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme"),
            ':' => return Ok((text[..at].to_ascii_lowercase(), &text[at + 1..])),
            _ => break,
        }
    }
    Ok((String::new(), text))
}

fn check_host(host: &str) -> Result<(), String> {
    let port = if let Some(after) = host.strip_prefix('[') {
        let Some((inside, rest)) = after.split_once(']') else { return Err("missing ']' in host".to_owned()) };
        if inside.is_empty() {
            return Err("invalid host".to_owned());
        }
        rest
    } else {
        host.find(':').map_or("", |at| &host[at..])
    };
    let digits = port.strip_prefix(':');
    if !port.is_empty() && !digits.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit())) {
        return Err(format!("invalid port {} after host", quoted(port)));
    }
    if let Some(bad) = host.chars().find(|c| c.is_ascii() && " \"<>\\^`{|}#?/".contains(*c)) {
        return Err(format!("invalid character {} in host name", quoted(&bad.to_string())));
    }
    check_escapes(host)
}

fn check_escapes(text: &str) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let escape: String = rest[at..].chars().take(3).collect();
        if escape.len() != 3 || !escape[1..].bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("invalid URL escape {}", quoted(&escape)));
        }
        rest = &rest[at + 3..];
    }
    Ok(())
}

/// What may not stand in a path as it is, is escaped.
fn escape_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for b in path.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@%!'()*".contains(&b) || b == b'[' || b == b']' {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

/// Decodes a part of a query. `None` when an escape is broken.
fn unescape(text: &str) -> Option<String> {
    check_escapes(text).ok()?;
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}
