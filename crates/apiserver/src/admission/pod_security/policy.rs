//! The policy that the labels of a namespace choose (pod-security-admission `api`).

use std::fmt;

use k8s_kinds::causes;
use k8s_object::{Cause, Properties};

pub(super) const PREFIX: &str = "pod-security.kubernetes.io/";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Level> {
        match text {
            "privileged" => Some(Level::Privileged),
            "baseline" => Some(Level::Baseline),
            "restricted" => Some(Level::Restricted),
            _ => None,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }
}

/// The minor of Kubernetes 1.x whose rules count, or the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Minor(u32),
    Latest,
}

impl Version {
    fn parse(text: &str) -> Option<Version> {
        if text == "latest" {
            return Some(Version::Latest);
        }
        let minor = text.strip_prefix("v1.")?;
        let canonical = minor == "0" || !minor.starts_with('0');
        let digits = !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit());
        if canonical && digits { minor.parse().ok().map(Version::Minor) } else { None }
    }
}

/// `restricted:latest`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub level: Level,
    pub version: Version,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = self.level.as_str();
        match self.version {
            Version::Latest => write!(f, "{level}:latest"),
            Version::Minor(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// What is refused, noted and warned about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    pub enforce: Rule,
    pub audit: Rule,
    pub warn: Rule,
}

const NOTHING: Rule = Rule { level: Level::Privileged, version: Version::Latest };

impl Policy {
    /// The policy of a namespace's labels, and what is wrong with them. Where a label cannot be read, pods are refused by the
    /// strictest rules, and nothing is noted or warned about.
    pub(super) fn of(labels: &Properties) -> (Policy, Vec<Cause>) {
        let mut policy = Policy { enforce: NOTHING, audit: NOTHING, warn: NOTHING };
        if !labels.iter().any(|(key, _)| key.starts_with(PREFIX)) {
            return (policy, Vec::new());
        }
        let mut problems = Vec::new();
        let mut invalid = |key: &str, value: &str, problem: &str| {
            problems.push(causes::invalid(format!("metadata.labels[{PREFIX}{key}]"), value, problem));
        };
        let modes = [
            ("enforce", &mut policy.enforce, Level::Restricted),
            ("audit", &mut policy.audit, Level::Privileged),
            ("warn", &mut policy.warn, Level::Privileged),
        ];
        let mut enforce_is_sound = false;
        for (mode, rule, otherwise) in modes {
            if let Some(text) = labels.get(&format!("{PREFIX}{mode}")) {
                let level = Level::parse(text);
                rule.level = level.unwrap_or(otherwise);
                enforce_is_sound |= mode == "enforce" && level.is_some();
                if level.is_none() {
                    invalid(mode, text, "must be one of privileged, baseline, restricted");
                }
            }
            let key = format!("{mode}-version");
            if let Some(text) = labels.get(&format!("{PREFIX}{key}")) {
                let version = Version::parse(text);
                rule.version = version.unwrap_or(Version::Latest);
                if version.is_none() {
                    invalid(&key, text, r#"must be "latest" or "v1.x""#);
                }
            }
        }
        let has = |key: &str| labels.get(&format!("{PREFIX}{key}")).is_some();
        if !has("warn") && enforce_is_sound && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if !has("warn-version") {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_choose_the_policy() {
        type Case = (&'static [(&'static str, &'static str)], &'static str, usize);
        let cases: [Case; 7] = [
            (&[], "privileged:latest privileged:latest privileged:latest", 0),
            (&[("enforce", "restricted")], "restricted:latest privileged:latest restricted:latest", 0),
            (
                &[("enforce", "baseline"), ("enforce-version", "v1.20")],
                "baseline:v1.20 privileged:latest baseline:v1.20",
                0,
            ),
            (
                &[("enforce", "baseline"), ("warn", "privileged")],
                "baseline:latest privileged:latest privileged:latest",
                0,
            ),
            (
                &[("audit", "baseline"), ("warn", "restricted"), ("warn-version", "v1.9")],
                "privileged:latest baseline:latest restricted:v1.9",
                0,
            ),
            (&[("enforce", "strict")], "restricted:latest privileged:latest privileged:latest", 1),
            (
                &[("warn", "x"), ("warn-version", "v1.01"), ("audit-version", "1.2")],
                "privileged:latest privileged:latest privileged:latest",
                3,
            ),
        ];
        for (labels, expected, problems) in cases {
            let labels: Properties = labels.iter().map(|(key, value)| (format!("{PREFIX}{key}"), *value)).collect();
            let (policy, found) = Policy::of(&labels);
            let told = format!("{} {} {}", policy.enforce, policy.audit, policy.warn);
            assert_eq!((told.as_str(), found.len()), (expected, problems), "{labels:?}");
        }
    }
}
