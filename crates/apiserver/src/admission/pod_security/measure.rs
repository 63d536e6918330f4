//! What is counted about Pod Security (pod-security-admission `metrics`).

use super::super::{Operation, Review};
use super::policy::{Level, Rule, Version};

/// What a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Audit,
    Enforce,
    Warn,
}

/// A pod, or what pods are made of, was judged by a rule.
pub(super) fn evaluated(review: &Review<'_, '_>, rule: Rule, mode: Mode, allowed: bool) {
    let core = review.call.core;
    let of_minor;
    let version = match rule.version {
        // All versions of it are the same.
        _ if rule.level == Level::Privileged => "latest",
        Version::Latest => "latest",
        Version::Minor(minor) if minor > u32::from(core.minor) => "future",
        Version::Minor(minor) => {
            of_minor = format!("v1.{minor}");
            &of_minor
        }
    };
    let mode = match mode {
        Mode::Audit => "audit",
        Mode::Enforce => "enforce",
        Mode::Warn => "warn",
    };
    let decision = if allowed { "allow" } else { "deny" };
    let [operation, resource, subresource] = about(review);
    let labels = [decision, rule.level.as_str(), version, mode, operation, resource, subresource];
    core.metrics.pod_security.with(&labels).inc();
}

/// The labels of a namespace say nothing that can be read; the strictest rules are used.
pub(super) fn unreadable(review: &Review<'_, '_>) {
    let [operation, resource, subresource] = about(review);
    review.call.core.metrics.pod_security_errors.with(&["false", operation, resource, subresource]).inc();
}

fn about<'a>(review: &'a Review<'_, '_>) -> [&'a str; 3] {
    let operation = match review.operation {
        Operation::Create => "create",
        Operation::Update => "update",
        Operation::Delete => "delete",
        Operation::Connect => "connect",
    };
    let resource = if review.call.resource.is("", "pods") { "pod" } else { "controller" };
    [operation, resource, &review.call.request.subresource]
}
