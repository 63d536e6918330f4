//! Errors of the Kubernetes API: what a `Status` object carries, free of transport.

use serde_json::{Value, json};

/// Why a request failed, with upstream's names (apimachinery `StatusReason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    AlreadyExists,
    BadRequest,
    Conflict,
    Expired,
    Forbidden,
    Gone,
    InternalError,
    Invalid,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    RequestEntityTooLarge,
    ServerTimeout,
    ServiceUnavailable,
    Timeout,
    TooManyRequests,
    Unauthorized,
    UnsupportedMediaType,
}

impl Reason {
    /// The HTTP status that goes with the reason.
    pub const fn code(self) -> u16 {
        match self {
            Reason::BadRequest => 400,
            Reason::Unauthorized => 401,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::MethodNotAllowed => 405,
            Reason::NotAcceptable => 406,
            Reason::AlreadyExists | Reason::Conflict => 409,
            Reason::Expired | Reason::Gone => 410,
            Reason::RequestEntityTooLarge => 413,
            Reason::UnsupportedMediaType => 415,
            Reason::Invalid => 422,
            Reason::TooManyRequests => 429,
            Reason::InternalError => 500,
            Reason::ServiceUnavailable => 503,
            Reason::ServerTimeout | Reason::Timeout => 504,
        }
    }
}

/// One field's part in an `Invalid` error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueRequired`, `FieldValueInvalid`, `FieldValueNotSupported`, `FieldValueDuplicate`, `FieldValueForbidden` …
    pub reason: String,
    /// What is wrong, e.g. `Required value: a name is needed`.
    pub message: String,
    /// Where, e.g. `spec.containers[0].name`.
    pub field: String,
}

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub reason: Reason,
    pub message: String,
    /// Group, plural resource or kind, and name of what the request was about; empty where there is none.
    pub group: String,
    pub kind: String,
    pub name: String,
    pub causes: Vec<Cause>,
    /// When to try again.
    pub retry_after_seconds: Option<u32>,
    /// Status code and reason where somebody else chose them: a webhook, an aggregated server. They need not be any of ours.
    pub verbatim: Option<Box<(u16, String)>>,
    /// What the client is told besides, in `Warning` headers.
    pub warnings: Vec<String>,
    /// With `Expired` for a page of a list: how to go on without consistency. Empty where there is no way.
    pub continue_token: String,
}

impl ApiError {
    /// An error without details.
    pub fn new(reason: Reason, message: impl Into<String>) -> ApiError {
        ApiError {
            reason,
            message: message.into(),
            group: String::new(),
            kind: String::new(),
            name: String::new(),
            causes: Vec::new(),
            retry_after_seconds: None,
            verbatim: None,
            warnings: Vec::new(),
            continue_token: String::new(),
        }
    }

    /// With a status code and reason (which may be empty) that somebody else chose.
    pub fn verbatim(mut self, code: u16, reason: &str) -> ApiError {
        self.verbatim = Some(Box::new((code, reason.to_owned())));
        self
    }

    /// With what the request was about.
    pub fn about(mut self, group: &str, kind: &str, name: &str) -> ApiError {
        (self.group, self.kind, self.name) = (group.to_owned(), kind.to_owned(), name.to_owned());
        self
    }

    /// `pods "web" not found`
    pub fn not_found(group: &str, resource: &str, name: &str) -> ApiError {
        let message = format!("{} \"{name}\" not found", group_resource(group, resource));
        ApiError::new(Reason::NotFound, message).about(group, resource, name)
    }

    /// `pods "web" already exists`
    pub fn already_exists(group: &str, resource: &str, name: &str) -> ApiError {
        let message = format!("{} \"{name}\" already exists", group_resource(group, resource));
        ApiError::new(Reason::AlreadyExists, message).about(group, resource, name)
    }

    /// `pods "web" already exists, …`: the server chose the name, and another attempt may choose better.
    pub fn generated_name_exists(group: &str, resource: &str, name: &str) -> ApiError {
        let mut error = ApiError::already_exists(group, resource, name);
        error.message.push_str(", the server was not able to generate a unique name for the object");
        error.retry_after_seconds = Some(1);
        error
    }

    /// `Operation cannot be fulfilled on pods "web": the object has been modified; …`
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> ApiError {
        let resource_name = group_resource(group, resource);
        let message = format!("Operation cannot be fulfilled on {resource_name} \"{name}\": {why}");
        ApiError::new(Reason::Conflict, message).about(group, resource, name)
    }

    /// `pods "web" is forbidden: why`
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> ApiError {
        let resource_name = group_resource(group, resource);
        let message = match (resource_name.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{resource_name} is forbidden: {why}"),
            (false, false) => format!("{resource_name} \"{name}\" is forbidden: {why}"),
        };
        ApiError::new(Reason::Forbidden, message).about(group, resource, name)
    }

    /// `Deployment.apps "web" is invalid: spec.replicas: Invalid value: …`, several causes in brackets.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> ApiError {
        let mut texts: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        texts.dedup();
        let text = if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) };
        let message = format!("{} \"{name}\" is invalid: {text}", group_resource(group, kind));
        ApiError { causes, ..ApiError::new(Reason::Invalid, message).about(group, kind, name) }
    }

    /// 400 with upstream's bare message.
    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(Reason::BadRequest, message)
    }

    /// 401 as upstream words it.
    pub fn unauthorized() -> ApiError {
        ApiError::new(Reason::Unauthorized, "Unauthorized")
    }

    /// 410: the revision has been compacted.
    pub fn expired(message: impl Into<String>) -> ApiError {
        ApiError::new(Reason::Expired, message)
    }

    /// 405 for a verb that a resource does not have.
    pub fn method_not_allowed() -> ApiError {
        ApiError::new(Reason::MethodNotAllowed, "the server does not allow this method on the requested resource")
    }

    /// 500, with what went wrong.
    pub fn internal(message: impl std::fmt::Display) -> ApiError {
        ApiError::new(Reason::InternalError, format!("Internal error occurred: {message}"))
    }

    /// 413 with the limit.
    pub fn too_large(limit_bytes: usize) -> ApiError {
        let message = format!("Request entity too large: limit is {limit_bytes}");
        ApiError::new(Reason::RequestEntityTooLarge, message)
    }

    /// HTTP status code.
    pub fn code(&self) -> u16 {
        self.verbatim.as_ref().map_or(self.reason.code(), |verbatim| verbatim.0)
    }

    /// Whether the object was not there.
    pub fn is_not_found(&self) -> bool {
        self.reason == Reason::NotFound
    }

    /// Whether somebody else was faster.
    pub fn is_conflict(&self) -> bool {
        matches!(self.reason, Reason::Conflict | Reason::AlreadyExists)
    }

    /// The `Status` object.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code(),
        });
        match self.verbatim.as_ref().map(|verbatim| verbatim.1.as_str()) {
            Some("") => {}
            Some(reason) => status["reason"] = json!(reason),
            None => status["reason"] = json!(format!("{:?}", self.reason)),
        }
        let mut details = serde_json::Map::new();
        for (key, text) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind)] {
            if !text.is_empty() {
                details.insert(key.to_owned(), json!(text));
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter();
            let causes: Vec<Value> = causes
                .map(|cause| {
                    let texts = [("reason", &cause.reason), ("message", &cause.message), ("field", &cause.field)];
                    let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
                    texts.map(|(key, text)| (key.to_owned(), json!(text))).collect()
                })
                .map(Value::Object)
                .collect();
            details.insert("causes".to_owned(), json!(causes));
        }
        if let Some(seconds) = self.retry_after_seconds {
            details.insert("retryAfterSeconds".to_owned(), json!(seconds));
        }
        if !self.continue_token.is_empty() {
            status["metadata"] = json!({"continue": self.continue_token});
        }
        if !details.is_empty() {
            status["details"] = Value::Object(details);
        }
        status
    }
}

/// `deployments.apps`; just the name for the core group.
fn group_resource(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_upstreams() {
        let cause = |field: &str| Cause {
            reason: "FieldValueRequired".into(),
            message: "Required value".into(),
            field: field.into(),
        };
        let cases = [
            (ApiError::not_found("", "pods", "web"), r#"pods "web" not found"#),
            (ApiError::already_exists("apps", "deployments", "web"), r#"deployments.apps "web" already exists"#),
            (
                ApiError::forbidden("", "pods", "", "User \"jane\" cannot list resource"),
                r#"pods is forbidden: User "jane" cannot list resource"#,
            ),
            (
                ApiError::invalid("apps", "Deployment", "web", vec![cause("spec.selector")]),
                r#"Deployment.apps "web" is invalid: spec.selector: Required value"#,
            ),
            (
                ApiError::invalid("", "Pod", "p", vec![cause("a"), cause("b")]),
                r#"Pod "p" is invalid: [a: Required value, b: Required value]"#,
            ),
        ];
        for (error, message) in cases {
            assert_eq!(error.to_string(), message);
            assert_eq!(error.to_status()["code"], error.code());
        }
    }
}
