//! What is counted about webhooks (apiserver `admission/metrics`).

use std::time::Duration;

use super::super::Operation;
use super::ask::Failure;
use super::compiled::Hook;
use crate::core::Core;

/// The most that a status counts as, so that a webhook cannot make up series.
const MAX_CODE: u16 = 600;

/// A webhook has answered, or has not. `step` is `admit` or `validating`.
pub(super) fn observe(
    core: &Core,
    hook: &Hook,
    step: &'static str,
    operation: Operation,
    took: Duration,
    failure: Option<&Failure>,
) {
    let operation = operation.as_str();
    let (error, code, rejected) = match failure {
        None => ("", 200, false),
        Some(Failure::Rejected(error, _)) => ("no_error", error.code(), true),
        Some(Failure::Call(_, code)) => ("calling_webhook_error", *code, !hook.ignores_failure),
        Some(Failure::Other(_)) => ("apiserver_internal_error", 0, true),
    };
    let (metrics, name, code) = (&core.metrics, hook.name.as_str(), code.min(MAX_CODE).to_string());
    let flag = if rejected { "true" } else { "false" };
    metrics.webhooks.with(&[name, step, operation, flag]).seconds(took);
    metrics.webhook_requests.with(&[name, step, operation, &code, flag]).inc();
    if rejected {
        metrics.webhook_rejections.with(&[name, step, operation, error, &code]).inc();
    } else if failure.is_some() {
        metrics.webhook_fail_open.with(&[name, step]).inc();
    }
}
