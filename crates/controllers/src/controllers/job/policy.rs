//! Pod failure policies and success policies.

use k8s_object::views::{ContainerStatus, Job, OnExitCodes, PodFailurePolicyRule};

use super::indexes::Indexes;
use super::member::Member;

/// What a failed pod means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Counts,
    Ignored,
    FailsIndex,
    /// With the message of the condition.
    FailsJob(String),
}

/// What the first rule that matches says of a failed pod; without one it counts.
pub(super) fn judge(job: &Job, member: &Member) -> Verdict {
    let rules = job.spec.pod_failure_policy.as_ref().map(|policy| policy.rules.as_slice()).unwrap_or_default();
    for (at, rule) in rules.iter().enumerate() {
        let Some(what) = matches(rule, member) else { continue };
        match rule.action.as_str() {
            "Ignore" => return Verdict::Ignored,
            "FailIndex" => return Verdict::FailsIndex,
            "Count" => return Verdict::Counts,
            "FailJob" => return Verdict::FailsJob(format!("{what} matching FailJob rule at index {at}")),
            _ => {}
        }
    }
    Verdict::Counts
}

/// What of the pod matches a rule, in the words of the condition.
fn matches(rule: &PodFailurePolicyRule, member: &Member) -> Option<String> {
    let (meta, status) = (member.object.meta(), &member.pod.status);
    let pod = format!("{}/{}", meta.namespace, meta.name);
    if let Some(codes) = &rule.on_exit_codes {
        let mut containers = status.container_statuses.iter().chain(&status.init_container_statuses);
        return containers.find_map(|container| {
            let code = exit_code(container, codes)?;
            Some(format!("Container {} for pod {pod} failed with exit code {code}", container.name))
        });
    }
    let condition = status.conditions.iter().find(|condition| {
        let mut patterns = rule.on_pod_conditions.iter();
        patterns.any(|pattern| pattern.kind == condition.kind && pattern.status == condition.status)
    })?;
    Some(format!("Pod {pod} has condition {}", condition.kind))
}

/// The exit code of a container that has failed in a way that is asked for.
fn exit_code(container: &ContainerStatus, wanted: &OnExitCodes) -> Option<i64> {
    let code = container.state.get("terminated")?.get("exitCode")?.as_i64().filter(|code| *code != 0)?;
    let own = wanted.container_name.as_ref().is_none_or(|name| *name == container.name);
    let listed = wanted.values.contains(&code);
    (own && if wanted.operator == "In" { listed } else { wanted.operator == "NotIn" && !listed }).then_some(code)
}

/// The message of the condition when enough indexes have succeeded.
pub(super) fn is_success(job: &Job, succeeded: &Indexes) -> Option<String> {
    let policy = job.spec.success_policy.as_ref().filter(|_| succeeded.total() > 0)?;
    let completions = job.spec.completions.unwrap_or(0);
    let met = policy.rules.iter().position(|rule| {
        let enough = |count: i64| rule.succeeded_count.is_some_and(|wanted| count >= wanted);
        match &rule.succeeded_indexes {
            Some(text) => {
                let required = Indexes::parse(text, completions);
                let common = required.common(succeeded);
                required.total() > 0 && (common == required.total() || enough(common))
            }
            None => enough(succeeded.total()),
        }
    })?;
    Some(format!("Matched rules at index {met}"))
}
