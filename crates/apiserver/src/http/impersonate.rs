//! One user acting as another (`Impersonate-*` headers), as far as it may.

use std::sync::Arc;

use http::HeaderMap;
use k8s_auth::Attributes;
use k8s_object::{ApiError, UserInfo};

use super::decode;
use crate::core::Core;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
/// Values of one header.
const MAX_VALUES: usize = 256;

/// Why nobody acts as anybody.
pub(super) enum Refused {
    Forbidden(ApiError),
    /// What is asked for means nothing. Upstream answers with plain text.
    Nonsense(String),
}

/// What a header asks for: one of the resources that the verb `impersonate` is about.
struct Wanted {
    group: &'static str,
    resource: &'static str,
    subresource: String,
    namespace: String,
    name: String,
}

impl Wanted {
    fn new(resource: &'static str, name: &str) -> Wanted {
        let group = if ["uids", "userextras"].contains(&resource) { "authentication.k8s.io" } else { "" };
        Wanted { group, resource, subresource: String::new(), namespace: String::new(), name: name.to_owned() }
    }

    /// As Go prints the `ObjectReference` that upstream makes of it.
    fn text(&self) -> String {
        let Wanted { namespace, name, subresource, .. } = self;
        let (kind, version) = match self.resource {
            "groups" => ("Group", ""),
            "serviceaccounts" => ("ServiceAccount", ""),
            "uids" => ("UID", "authentication.k8s.io/v1"),
            "userextras" => ("UserExtra", "authentication.k8s.io/v1"),
            _ => ("User", ""),
        };
        format!("{{{kind} {namespace} {name}  {version}  {subresource}}}")
    }
}

/// The user as whom the request is carried out; `None` when that is who sent it.
pub(super) async fn impersonate(
    core: &Core,
    user: &UserInfo,
    headers: &HeaderMap,
) -> Result<Option<Arc<UserInfo>>, Refused> {
    let all = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.take(MAX_VALUES).map(str::to_owned).collect()
    };
    let first = |name: &str| all(name).into_iter().next().filter(|value| !value.is_empty());
    let extras: Vec<&str> = headers.keys().filter_map(|name| name.as_str().strip_prefix(EXTRA)).collect();
    let (name, uid) = (first(USER), first(UID));
    if name.is_none() && uid.is_none() && extras.is_empty() && !headers.contains_key(GROUP) {
        return Ok(None);
    }
    let groups = all(GROUP);
    let mut wanted = Vec::new();
    let mut other = UserInfo { uid: uid.clone().unwrap_or_default(), ..UserInfo::default() };
    if let Some(name) = &name {
        match service_account(name) {
            Some((namespace, account)) => {
                wanted.push(Wanted { namespace: namespace.to_owned(), ..Wanted::new("serviceaccounts", account) });
                if groups.is_empty() {
                    other.groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
                }
            }
            None => wanted.push(Wanted::new("users", name)),
        }
        other.username.clone_from(name);
    }
    for group in groups {
        wanted.push(Wanted::new("groups", &group));
        other.groups.push(group);
    }
    for name in extras {
        // Keys have slashes, which names of headers cannot have.
        let key = decode(name, false);
        for value in all(&format!("{EXTRA}{name}")) {
            wanted.push(Wanted { subresource: key.clone(), ..Wanted::new("userextras", &value) });
            other.extra.entry(key.clone()).or_default().push(value);
        }
    }
    wanted.extend(uid.map(|uid| Wanted::new("uids", &uid)));
    if name.is_none() {
        let texts: Vec<String> = wanted.iter().map(Wanted::text).collect();
        return Err(Refused::Nonsense(format!("requested [{}] without impersonating a user", texts.join(" "))));
    }
    for Wanted { group, resource, subresource, namespace, name } in &wanted {
        let version = if group.is_empty() { "" } else { "v1" };
        let attributes = Attributes::resource(user, "impersonate", group, resource);
        let attributes = Attributes { version, subresource, namespace, name, ..attributes };
        core.auth.authorize(core, &attributes).await.map_err(Refused::Forbidden)?;
    }
    if other.username != UserInfo::ANONYMOUS {
        other.add_authenticated();
    } else if !other.in_group(UserInfo::UNAUTHENTICATED) {
        other.groups.push(UserInfo::UNAUTHENTICATED.to_owned());
    }
    Ok(Some(Arc::new(other)))
}

/// Namespace and name of the ServiceAccount that a user name is.
fn service_account(name: &str) -> Option<(&str, &str)> {
    let (namespace, account) = name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let is_name = |text: &str| {
        let ends = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let bytes = text.as_bytes();
        let inside = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        text.len() <= 253 && ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(inside)
    };
    (is_name(namespace) && !namespace.contains('.') && is_name(account)).then_some((namespace, account))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_service_accounts_are_told_from_others() {
        let cases = [
            ("system:serviceaccount:a:b", Some(("a", "b"))),
            ("system:serviceaccount:a:b.c", Some(("a", "b.c"))),
            ("system:serviceaccount:a.b:c", None),
            ("system:serviceaccount:a:b:c", None),
            ("system:serviceaccount:a:", None),
            ("jane", None),
        ];
        for (name, expected) in cases {
            assert_eq!(service_account(name), expected, "{name}");
        }
    }
}
