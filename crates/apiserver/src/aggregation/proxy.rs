//! A request on its way to the server of its group and version, with who sends it.

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use k8s_auth::Attributes;
use k8s_object::{ApiError, UserInfo};
use serve::Body;

use super::Remote;
use crate::audit::Record;
use crate::core::Core;
use crate::http::plain_text;
use crate::proxy::{Location, Passing, pass_on};
use crate::webhook::ClientIdentity;

/// Passes a request on. `is_resource` says whether it is about a resource or about the version itself.
///
/// # Errors
/// If the user may not do that.
pub(crate) async fn answer(
    remote: &Remote,
    passing: Passing,
    is_resource: bool,
    audit: &Record,
) -> Result<Response<Body>, ApiError> {
    let core = passing.core.clone();
    if !is_resource {
        let verb = passing.http.method().as_str().to_lowercase();
        let path = passing.http.uri().path().to_owned();
        core.decide(&Attributes::path(&passing.user, &verb, &path), audit).await?;
        return Ok(pass(remote, passing).await);
    }
    core.check_as(&passing.user, audit, &passing.request, passing.verb()).await?;
    Ok(pass(remote, passing).await)
}

/// Upstream tells what is wrong here in plain text.
fn unavailable(why: &str) -> Response<Body> {
    plain_text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))
}

async fn pass(remote: &Remote, passing: Passing) -> Response<Body> {
    let core = passing.core.clone();
    if !remote.available {
        return unavailable("service unavailable");
    }
    let Ok(location) = locate(&core, remote) else { return unavailable("service unavailable") };
    let uri = passing.http.uri();
    let mut location = location.below(uri.path(), uri.query());
    location.on_behalf_of = Some(passing.user.clone());
    match pass_on(passing, location).await {
        Ok(response) => response,
        Err(error) => unavailable(&error.message),
    }
}

/// Where the server is now.
pub(super) fn locate(core: &Core, remote: &Remote) -> Result<Location, ApiError> {
    let address = remote.address();
    let (host, port) = address.resolve(core)?;
    let mut location = Location::of_backend(true, host, port);
    location.server_name = address.server_name();
    location.trust = remote.trust.clone();
    location.identity = identity(core);
    Ok(location)
}

/// Who this server is as a front proxy of others.
pub(super) fn identity(core: &Core) -> Option<ClientIdentity> {
    let proxy = core.auth.authentication().front_proxy.as_ref()?;
    proxy.certificate.as_ref().map(|certificate| certificate.identity())
}

/// Says who sends a request, and takes away what the client said of that.
pub(crate) fn set_user(headers: &mut HeaderMap, user: &Arc<UserInfo>) {
    let named: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-remote-")).cloned().collect();
    for name in named {
        headers.remove(name);
    }
    let mut add = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    };
    add("x-remote-user", &user.username);
    if !user.uid.is_empty() {
        add("x-remote-uid", &user.uid);
    }
    for group in &user.groups {
        add("x-remote-group", group);
    }
    for (key, values) in &user.extra {
        for value in values {
            add(&format!("x-remote-extra-{}", escaped(key)), value);
        }
    }
}

/// A key with what no name of a header may hold percent-encoded (client-go `headerKeyEscape`).
fn escaped(key: &str) -> String {
    let mut escaped = String::new();
    for byte in key.bytes() {
        let legal = byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
        if legal { escaped.push(byte as char) } else { escaped.push_str(&format!("%{byte:02X}")) }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_who_sends_it() {
        let mut user = UserInfo::new("jane", &["g"]);
        user.uid = "7".to_owned();
        user.extra.insert("example.com/scope".to_owned(), vec!["a".to_owned(), "b".to_owned()]);
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_static("root"));
        headers.insert("x-remote-extra-other", HeaderValue::from_static("x"));
        set_user(&mut headers, &Arc::new(user));
        let all =
            |name: &str| -> Vec<&str> { headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect() };
        assert_eq!((all("x-remote-user"), all("x-remote-uid")), (vec!["jane"], vec!["7"]));
        assert_eq!(all("x-remote-group"), ["g", "system:authenticated"]);
        assert_eq!(all("x-remote-extra-example.com%2fscope"), ["a", "b"]);
        assert!(all("x-remote-extra-other").is_empty());
    }
}
