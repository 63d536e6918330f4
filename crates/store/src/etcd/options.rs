//! Which etcd, and as whom: parsed from a URL, so that a command line needs one argument.
//!
//! `etcd://[user:password@]host:2379[,host2:2379]…[?ca=FILE&cert=FILE&key=FILE&server-name=NAME&prefix=/minato/]`. Any of the
//! TLS parameters turns TLS on. Never shows a password or a key, in `Debug` or in errors.

use std::time::Duration;

use crate::{Limits, StoreError};

/// Where clients of etcd connect by default.
const DEFAULT_PORT: u16 = 2379;

/// Members that one may name; etcd itself advises at most seven.
const MAX_ENDPOINTS: usize = 32;

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// The URL is not one of etcd's.
    #[error("the store {url:?} is not of the form etcd://[user:password@]host:2379,host2:2379[?ca=FILE]: {problem}")]
    Url { url: String, problem: String },
    /// A file that the URL names.
    #[error("the file {path} that the store's {parameter} parameter names cannot be read: {error}")]
    File { path: String, parameter: &'static str, error: std::io::Error },
    /// The certificates or the address cannot be used.
    #[error("no connection to etcd can be set up for {endpoint}: {problem}")]
    Setup { endpoint: String, problem: String },
    /// No member answered, or it refused.
    #[error("etcd at {endpoints} cannot be used: {error}")]
    Unusable { endpoints: String, error: StoreError },
}

/// Name and password of a user of etcd.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdCredentials {
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for EtcdCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdCredentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// How to speak TLS with etcd. Everything is PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct EtcdTls {
    /// Certificates that the members' must lead to.
    pub ca: Vec<u8>,
    /// The client's certificate and key, where etcd asks for them.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The name that the members' certificates must have, instead of the host's.
    pub server_name: Option<String>,
}

impl std::fmt::Debug for EtcdTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let identity = self.identity.is_some();
        f.debug_struct("EtcdTls").field("server_name", &self.server_name).field("identity", &identity).finish()
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdOptions {
    /// `host:port` of members of one cluster; the first is preferred.
    pub endpoints: Vec<String>,
    pub credentials: Option<EtcdCredentials>,
    pub tls: Option<EtcdTls>,
    /// What every key of the store begins with in etcd: empty, or ends with a slash.
    pub prefix: String,
    /// How long one attempt of a request may take.
    pub attempt_timeout: Duration,
    /// How long a request that may be repeated is repeated.
    pub retry_for: Duration,
    /// Checked before anything is sent. The history that they bound is the one that this process keeps for its watchers; etcd's
    /// own history, quota and number of leases are etcd's to configure.
    pub limits: Limits,
}

impl EtcdOptions {
    /// Plain connections, no credentials, all keys below `/minato/`.
    pub fn new(endpoints: Vec<String>) -> EtcdOptions {
        EtcdOptions {
            endpoints,
            credentials: None,
            tls: None,
            prefix: "/minato/".to_owned(),
            attempt_timeout: Duration::from_secs(5),
            retry_for: Duration::from_secs(15),
            limits: Limits::default(),
        }
    }

    /// Reads the form that the module describes, and the files that it names.
    ///
    /// # Errors
    /// [`EtcdError::Url`] and [`EtcdError::File`].
    pub fn parse(url: &str) -> Result<EtcdOptions, EtcdError> {
        // What stands before an @ may be a password.
        let shown = match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
            Some((scheme, rest)) => format!("{scheme}://…@{rest}"),
            None => url.to_owned(),
        };
        let refuse = |problem: String| EtcdError::Url { url: shown.clone(), problem };
        let rest = url.strip_prefix("etcd://").ok_or_else(|| refuse("it does not begin with etcd://".to_owned()))?;
        let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, authority),
        };
        let endpoints = hosts.split(',').map(endpoint).collect::<Result<Vec<_>, _>>().map_err(&refuse)?;
        if endpoints.len() > MAX_ENDPOINTS {
            return Err(refuse(format!("it names more than {MAX_ENDPOINTS} members")));
        }
        let mut options = EtcdOptions::new(endpoints);
        if let Some(user) = user {
            let (user, password) = user.split_once(':').ok_or_else(|| refuse("the user has no password".to_owned()))?;
            options.credentials = Some(EtcdCredentials {
                user: decode(user).map_err(&refuse)?,
                password: decode(password).map_err(&refuse)?,
            });
        }
        options.query(query, &refuse)?;
        Ok(options)
    }

    fn query(&mut self, query: &str, refuse: &dyn Fn(String) -> EtcdError) -> Result<(), EtcdError> {
        let (mut ca, mut certificate, mut key, mut server_name) = (None, None, None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) =
                pair.split_once('=').ok_or_else(|| refuse(format!("the parameter {pair} has no value")))?;
            let value = decode(value).map_err(refuse)?;
            match name {
                "ca" => ca = Some(read(value, "ca")?),
                "cert" => certificate = Some(read(value, "cert")?),
                "key" => key = Some(read(value, "key")?),
                "server-name" => server_name = Some(value),
                "prefix" if value.is_empty() || value.ends_with('/') => self.prefix = value,
                "prefix" => return Err(refuse(format!("the prefix {value} does not end with a slash"))),
                _ => {
                    let known = "ca, cert, key, prefix, server-name";
                    return Err(refuse(format!("there is no parameter {name}; there are {known}")));
                }
            }
        }
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(refuse("cert and key go together".to_owned())),
        };
        match ca {
            Some(ca) => self.tls = Some(EtcdTls { ca, identity, server_name }),
            None if identity.is_some() || server_name.is_some() => {
                return Err(refuse("TLS needs a CA: add ca=FILE".to_owned()));
            }
            None => {}
        }
        Ok(())
    }
}

fn endpoint(host: &str) -> Result<String, String> {
    let (name, port) = match host.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((name, port)) if !port.ends_with(']') => {
            (name, port.parse().map_err(|_| format!("{port:?} of {host:?} is not a port"))?)
        }
        _ => (host, DEFAULT_PORT),
    };
    let in_brackets = name.starts_with('[') && name.ends_with(']');
    if name.is_empty() || name.contains('/') || (name.contains(':') && !in_brackets) {
        return Err(format!("{host:?} is not a host with a port"));
    }
    Ok(format!("{name}:{port}"))
}

fn read(path: String, parameter: &'static str) -> Result<Vec<u8>, EtcdError> {
    std::fs::read(&path).map_err(|error| EtcdError::File { path, parameter, error })
}

/// Replaces `%41` by `A`.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or("a % is not followed by two hexadecimal digits")?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let hosts = |hosts: &[&str]| EtcdOptions::new(hosts.iter().map(|host| (*host).to_owned()).collect());
        let user = EtcdCredentials { user: "root".to_owned(), password: "p@s:s".to_owned() };
        let cases = [
            ("etcd://a", hosts(&["a:2379"])),
            ("etcd://a:1,b:2/", hosts(&["a:1", "b:2"])),
            ("etcd://[::1]:5,[::2]", hosts(&["[::1]:5", "[::2]:2379"])),
            ("etcd://root:p%40s:s@a:1", EtcdOptions { credentials: Some(user), ..hosts(&["a:1"]) }),
            ("etcd://a?prefix=/other/", EtcdOptions { prefix: "/other/".to_owned(), ..hosts(&["a:2379"]) }),
            ("etcd://a?prefix=", EtcdOptions { prefix: String::new(), ..hosts(&["a:2379"]) }),
        ];
        for (url, expected) in cases {
            assert_eq!(EtcdOptions::parse(url).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_with_the_reason_and_without_the_password() {
        let cases = [
            ("http://a", "does not begin with etcd://"),
            ("etcd://", "is not a host"),
            ("etcd://a:b:1", "is not a host"),
            ("etcd://a:x", "is not a port"),
            ("etcd://secret@a", "no password"),
            ("etcd://u:secret%4@a", "hexadecimal"),
            ("etcd://u:secret@a?prefix=x", "slash"),
            ("etcd://a?colour=red", "no parameter colour"),
            ("etcd://a?ca=/nowhere/ca.pem", "/nowhere/ca.pem"),
            ("etcd://a?server-name=b", "needs a CA"),
        ];
        for (url, expected) in cases {
            let error = EtcdOptions::parse(url).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
