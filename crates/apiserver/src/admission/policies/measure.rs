//! What is counted about policies (apiserver `policy/validating/metrics`, `policy/mutating/metrics`).

use std::time::Duration;

use super::compiled::Binding;
use crate::core::Core;

/// What came of a rule that was not met, or could not be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// The policy ignores failures.
    Allow,
    Audit,
    Deny,
    Warn,
}

pub(super) fn validated(core: &Core, policy: &str, binding: &Binding, action: Action, message: &str, took: Duration) {
    let action = match action {
        Action::Allow => "allow",
        Action::Audit => "audit",
        Action::Deny => "deny",
        Action::Warn => "warn",
    };
    let labels = [policy, &binding.name, error_type(message), action];
    core.metrics.validating_policies.with(&labels).inc();
    core.metrics.validating_policy_time.with(&labels).seconds(took);
}

/// A mutation; what went wrong, if something did.
pub(super) fn mutated(core: &Core, policy: &str, binding: &Binding, problem: Option<&str>, took: Duration) {
    let labels = [policy, &binding.name, problem.map_or("no_error", error_type)];
    core.metrics.mutating_policies.with(&labels).inc();
    core.metrics.mutating_policy_time.with(&labels).seconds(took);
}

/// Upstream tells them apart by how their messages begin.
fn error_type(message: &str) -> &'static str {
    if message.starts_with("compilation") {
        "compile_error"
    } else if message.starts_with("validation failed due to running out of cost budget") {
        "out_of_budget"
    } else {
        "invalid_error"
    }
}
