//! What authorizers are asked, and what they answer.

use std::fmt;

use k8s_object::{FieldSelector, LabelSelector, UserInfo};

/// One request, as authorizers see it. Texts that do not apply are empty.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    pub user: &'a UserInfo,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or a verb of its own such as `bind`;
    /// the HTTP method in lower case where a path is asked for.
    pub verb: &'a str,
    pub group: &'a str,
    pub version: &'a str,
    /// Plural name; empty where a path is asked for that is no resource.
    pub resource: &'a str,
    pub subresource: &'a str,
    /// Also set for a namespace itself, to its name.
    pub namespace: &'a str,
    pub name: &'a str,
    /// The path, e.g. `/healthz`, where `resource` is empty.
    pub path: &'a str,
    /// Of list, watch and deletecollection, if the request has one.
    pub field_selector: Option<&'a FieldSelector>,
    /// As above, where somebody decides by it.
    pub label_selector: Option<&'a LabelSelector>,
}

impl<'a> Attributes<'a> {
    /// Of a resource in no namespace, without a name.
    pub fn resource(user: &'a UserInfo, verb: &'a str, group: &'a str, resource: &'a str) -> Attributes<'a> {
        Attributes {
            user,
            verb,
            group,
            version: "",
            resource,
            subresource: "",
            namespace: "",
            name: "",
            path: "",
            field_selector: None,
            label_selector: None,
        }
    }

    /// Of a path that is no resource.
    pub fn path(user: &'a UserInfo, verb: &'a str, path: &'a str) -> Attributes<'a> {
        Attributes { path, ..Attributes::resource(user, verb, "", "") }
    }

    /// Whether a resource is asked for.
    pub fn is_resource(&self) -> bool {
        !self.resource.is_empty()
    }

    /// What a refusal says: `User "jane" cannot list resource "pods" in API group "" in the namespace "default"`.
    pub fn refusal(&self) -> String {
        // Nothing in it may look like HTML to a browser (apiserver `responsewriters`).
        self.refusal_as_is().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    }

    fn refusal_as_is(&self) -> String {
        let Attributes { verb, group, namespace, path, .. } = self;
        let user = &self.user.username;
        if !self.is_resource() {
            return format!("User {user:?} cannot {verb} path {path:?}");
        }
        let resource = match self.subresource {
            "" => self.resource.to_owned(),
            subresource => format!("{}/{subresource}", self.resource),
        };
        let head = format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?}");
        match *namespace {
            "" => format!("{head} at the cluster scope"),
            namespace => format!("{head} in the namespace {namespace:?}"),
        }
    }
}

/// What an authorizer says. None of ours denies outright: who has no opinion leaves it to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Allowed, and why, for the audit log.
    Allow(String),
    /// Not allowed by this authorizer, and why, if it knows.
    NoOpinion(String),
}

impl Decision {
    /// Whether it is allowed.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allow(_))
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decision::Allow(reason) | Decision::NoOpinion(reason) => f.write_str(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_as_upstreams() {
        let user = UserInfo::new("jane", &[]);
        let pods = Attributes::resource(&user, "list", "", "pods");
        let cases = [
            (pods, r#"User "jane" cannot list resource "pods" in API group "" at the cluster scope"#),
            (
                Attributes { namespace: "default", subresource: "log", verb: "get", name: "p", ..pods },
                r#"User "jane" cannot get resource "pods/log" in API group "" in the namespace "default""#,
            ),
            (Attributes::path(&user, "get", "/metrics"), r#"User "jane" cannot get path "/metrics""#),
        ];
        for (attributes, expected) in cases {
            assert_eq!(attributes.refusal(), expected);
        }
    }
}
