//! Audit policies (audit.k8s.io/v1 `Policy`): which requests are recorded, how much of them, and at which stages.

use k8s_object::UserInfo;
use serde::Deserialize;

use super::event::{AuditLevel, AuditStage};

/// Rules of one policy; clusters have a dozen or two.
const MAX_RULES: usize = 1024;

/// A policy. The first rule that matches a request decides; without one it is not recorded.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuditPolicy {
    api_version: String,
    kind: String,
    rules: Vec<Rule>,
    omit_stages: Vec<AuditStage>,
    omit_managed_fields: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    level: Option<AuditLevel>,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<AuditStage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// The policy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit policy cannot be used: {0}")]
pub struct AuditPolicyError(String);

/// What a request is, as far as a policy asks. Texts that do not apply are empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Audited<'a> {
    pub user: Option<&'a UserInfo>,
    pub verb: &'a str,
    /// Empty for a path that is no resource.
    pub resource: &'a str,
    pub group: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub path: &'a str,
}

/// How a request is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub level: AuditLevel,
    /// Indexed by [`AuditStage`].
    pub omitted: [bool; 4],
    pub omit_managed_fields: bool,
}

impl AuditPolicy {
    /// Reads a policy in YAML or JSON.
    ///
    /// # Errors
    /// If it is none, or says what contradicts itself.
    pub fn parse(text: &str) -> Result<AuditPolicy, AuditPolicyError> {
        let error = |why: String| AuditPolicyError(why);
        let policy: AuditPolicy = serde_yaml::from_str(text).map_err(|problem| error(problem.to_string()))?;
        if policy.kind != "Policy" || policy.api_version != "audit.k8s.io/v1" {
            let (kind, version) = (&policy.kind, &policy.api_version);
            return Err(error(format!("it is a {kind:?} of {version:?} instead of a Policy of audit.k8s.io/v1")));
        }
        if policy.rules.is_empty() || policy.rules.len() > MAX_RULES {
            return Err(error(format!("it has {} rules instead of 1 to {MAX_RULES}", policy.rules.len())));
        }
        for (at, rule) in policy.rules.iter().enumerate() {
            let both = !rule.non_resource_urls.is_empty() && (rule.resources.len() + rule.namespaces.len() > 0);
            let named = rule.resources.iter().any(|of| !of.resource_names.is_empty() && of.resources.is_empty());
            let why = match rule.level {
                None => "has no level",
                _ if both => "is for resources and for paths at once",
                _ if named => "names objects of no resource",
                _ => continue,
            };
            return Err(error(format!("rules[{at}] {why}")));
        }
        Ok(policy)
    }

    pub(crate) fn judge(&self, audited: &Audited<'_>) -> Verdict {
        let rule = self.rules.iter().find(|rule| rule.matches(audited));
        let mut omitted = [false; 4];
        let own = rule.map_or(&[][..], |rule| &rule.omit_stages);
        for stage in self.omit_stages.iter().chain(own) {
            omitted[*stage as usize] = true;
        }
        Verdict {
            level: rule.and_then(|rule| rule.level).unwrap_or(AuditLevel::None),
            omitted,
            omit_managed_fields: rule.and_then(|rule| rule.omit_managed_fields).unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    fn matches(&self, audited: &Audited<'_>) -> bool {
        let has = |list: &[String], text: &str| list.is_empty() || list.iter().any(|own| own == text);
        let groups = audited.user.map_or(&[][..], |user| &user.groups);
        if !(self.users.is_empty() || audited.user.is_some_and(|user| has(&self.users, &user.username)))
            || !(self.user_groups.is_empty() || groups.iter().any(|group| self.user_groups.contains(group)))
            || !has(&self.verbs, audited.verb)
        {
            return false;
        }
        let is_resource = !audited.resource.is_empty();
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return is_resource
                && has(&self.namespaces, audited.namespace)
                && (self.resources.is_empty() || self.resources.iter().any(|resources| resources.has(audited)));
        }
        if !self.non_resource_urls.is_empty() {
            return !is_resource && self.non_resource_urls.iter().any(|url| path_matches(url, audited.path));
        }
        true
    }
}

impl GroupResources {
    fn has(&self, audited: &Audited<'_>) -> bool {
        let Audited { group, resource, subresource, name, .. } = *audited;
        let is = |own: &String| match own.split_once('/') {
            None => own == "*" || (own == resource && subresource.is_empty()),
            Some(("*", below)) => !subresource.is_empty() && below == subresource,
            Some((above, "*")) => above == resource,
            Some((above, below)) => above == resource && below == subresource,
        };
        self.group == group
            && (self.resources.is_empty()
                || ((self.resource_names.is_empty() || self.resource_names.iter().any(|own| own == name))
                    && self.resources.iter().any(is)))
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    pattern == path || pattern.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: ["system:kube-proxy"], verbs: [watch], resources: [{group: "", resources: [endpoints]}]}
- {level: None, nonResourceURLs: ["/healthz*", /version]}
- level: RequestResponse
  namespaces: [kube-system]
  resources: [{group: "", resources: [configmaps], resourceNames: [aws-auth]}]
- {level: Metadata, resources: [{group: "", resources: [secrets, "pods/*", "*/token"]}]}
- {level: Request, userGroups: [people], resources: [{group: apps}], omitStages: [ResponseStarted], omitManagedFields: true}
- {level: Metadata, verbs: [create]}
"#;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = AuditPolicy::parse(POLICY).unwrap();
        let (proxy, jane) = (UserInfo::new("system:kube-proxy", &[]), UserInfo::new("jane", &["people"]));
        // user, verb, group, resource or path, namespace, name
        let cases = [
            (&proxy, "watch", "", "endpoints", "", "", AuditLevel::None),
            (&jane, "create", "", "endpoints", "", "", AuditLevel::Metadata),
            (&jane, "get", "", "/healthz/etcd", "", "", AuditLevel::None),
            (&jane, "create", "", "/versions", "", "", AuditLevel::Metadata),
            (&jane, "get", "", "configmaps", "kube-system", "aws-auth", AuditLevel::RequestResponse),
            (&jane, "create", "", "configmaps", "kube-system", "other", AuditLevel::Metadata),
            (&jane, "get", "", "configmaps", "default", "aws-auth", AuditLevel::None),
            (&jane, "get", "", "secrets", "a", "", AuditLevel::Metadata),
            (&jane, "get", "", "pods/log", "a", "", AuditLevel::Metadata),
            (&jane, "get", "", "serviceaccounts/token", "a", "", AuditLevel::Metadata),
            (&jane, "get", "", "serviceaccounts", "a", "", AuditLevel::None),
            (&jane, "get", "apps", "deployments/scale", "a", "", AuditLevel::Request),
            (&proxy, "get", "apps", "deployments", "a", "", AuditLevel::None),
        ];
        for (user, verb, group, what, namespace, name, expected) in cases {
            let (resource, path) = if what.starts_with('/') { ("", what) } else { (what, "") };
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let audited = Audited { user: Some(user), verb, resource, group, subresource, namespace, name, path };
            assert_eq!(policy.judge(&audited).level, expected, "{} {verb} {what} {namespace} {name}", user.username);
        }
        let apps = Audited {
            user: Some(&jane),
            verb: "get",
            resource: "deployments",
            group: "apps",
            subresource: "",
            namespace: "a",
            name: "",
            path: "",
        };
        let verdict = policy.judge(&apps);
        assert_eq!((verdict.omitted, verdict.omit_managed_fields), ([true, true, false, false], true));
    }

    #[test]
    fn a_policy_that_contradicts_itself_is_refused() {
        let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";
        for (text, why) in [
            ("kind: Policy", "instead of a Policy of audit.k8s.io/v1"),
            (&format!("{head}rules: []"), "it has 0 rules"),
            (&format!("{head}rules: [{{verbs: [get]}}]"), "rules[0] has no level"),
            (&format!("{head}rules: [{{level: All}}]"), "unknown variant"),
            (&format!("{head}rules: [{{level: None, namespaces: [a], nonResourceURLs: [/a]}}]"), "at once"),
            (&format!("{head}rules: [{{level: None, resources: [{{resourceNames: [a]}}]}}]"), "of no resource"),
        ] {
            let error = AuditPolicy::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
