//! The decision: an explicit deny anywhere wins; otherwise identity or resource policy must grant, and boundary and session
//! policy must grant too where they exist. Source: IAM User Guide, "Policy evaluation logic".

use std::collections::BTreeMap;

use super::document::{Effect, PolicyDocument, Principals, Selection, Statement};
use super::pattern::{matches, matches_ignoring_case};

/// What is asked.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// For example `eks:CreateCluster`.
    pub action: &'a str,
    /// ARN, or `*` where the action has no resource.
    pub resource: &'a str,
    /// Context keys in lower case.
    pub context: &'a BTreeMap<String, Vec<String>>,
}

/// The policies that bear on a request.
#[derive(Debug, Clone, Default)]
pub struct Policies<'a> {
    /// Of the user or role, inline and attached.
    pub identity: Vec<&'a PolicyDocument>,
    /// The permissions boundary.
    pub boundary: Option<&'a PolicyDocument>,
    /// Passed when the session was made.
    pub session: Option<Vec<&'a PolicyDocument>>,
}

/// Which kind of policy denied or failed to grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenySource {
    /// Of the user or role.
    Identity,
    /// The boundary.
    Boundary,
    /// The session's policy.
    Session,
}

impl DenySource {
    /// As AWS's messages name it.
    pub fn phrase(self) -> &'static str {
        match self {
            DenySource::Identity => "identity-based policy",
            DenySource::Boundary => "permissions boundary",
            DenySource::Session => "session policy",
        }
    }
}

/// The outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Granted.
    Allowed,
    /// A statement forbids it.
    ExplicitDeny(DenySource),
    /// Nothing grants it.
    ImplicitDeny(DenySource),
}

/// Decides on an action of a principal.
pub fn evaluate(request: &Request<'_>, policies: &Policies<'_>) -> Decision {
    let verdicts = [
        (DenySource::Identity, Some(verdict(request, &policies.identity))),
        (DenySource::Boundary, policies.boundary.map(|boundary| verdict(request, &[boundary]))),
        (DenySource::Session, policies.session.as_ref().map(|session| verdict(request, session))),
    ];
    for (source, verdict) in verdicts {
        if verdict == Some(Some(Effect::Deny)) {
            return Decision::ExplicitDeny(source);
        }
    }
    for (source, verdict) in verdicts {
        if verdict == Some(None) {
            return Decision::ImplicitDeny(source);
        }
    }
    Decision::Allowed
}

/// What these documents say: the strongest effect of all statements that apply.
fn verdict(request: &Request<'_>, documents: &[&PolicyDocument]) -> Option<Effect> {
    let mut granted = None;
    for document in documents {
        for statement in &document.statements {
            if !applies(request, document, statement) {
                continue;
            }
            match statement.effect {
                Effect::Deny => return Some(Effect::Deny),
                Effect::Allow => granted = Some(Effect::Allow),
            }
        }
    }
    granted
}

fn applies(request: &Request<'_>, document: &PolicyDocument, statement: &Statement) -> bool {
    let expand = |text: &str| {
        if document.variables { expand_variables(text, request.context) } else { Some(text.to_owned()) }
    };
    let action = match &statement.action {
        Selection::Only(names) => names.iter().any(|name| matches_ignoring_case(name, request.action)),
        Selection::AllBut(names) => !names.iter().any(|name| matches_ignoring_case(name, request.action)),
    };
    let fits = |name: &String| expand(name).is_some_and(|name| matches(&name, request.resource));
    let resource = match &statement.resource {
        None => true,
        Some(Selection::Only(names)) => names.iter().any(fits),
        Some(Selection::AllBut(names)) => !names.iter().any(fits),
    };
    action && resource && statement.conditions.iter().all(|condition| condition.holds(request.context, &expand))
}

/// Replaces `${key}` and `${key, 'default'}`; none when a key is absent and has no default.
fn expand_variables(text: &str, context: &BTreeMap<String, Vec<String>>) -> Option<String> {
    if !text.contains("${") {
        return Some(text.to_owned());
    }
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (variable, after) = after.split_once('}')?;
        expanded.push_str(before);
        match variable {
            "*" | "?" | "$" => expanded.push_str(variable),
            _ => {
                let (key, default) = variable.split_once(',').map_or((variable, None), |(key, default)| {
                    (key, Some(default.trim().trim_matches('\'').to_owned()))
                });
                let value = context.get(&key.trim().to_ascii_lowercase()).and_then(|values| values.first()).cloned();
                expanded.push_str(&value.or(default)?);
            }
        }
        rest = after;
    }
    expanded.push_str(rest);
    Some(expanded)
}

/// How a trust policy names the one who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// By itself: nothing else is needed in the same account.
    Directly,
    /// Only its account: the principal's own policies must grant too.
    ThroughAccount,
}

/// Who asks to assume a role: `arn` of the user, session or role, `role_arn` for sessions, or a service.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// ARN of the user or session; empty for a service.
    pub arn: &'a str,
    /// ARN of the role behind a session.
    pub role_arn: Option<&'a str>,
    /// Twelve digits.
    pub account: &'a str,
    /// For example `eks.amazonaws.com`.
    pub service: Option<&'a str>,
}

/// Whether a trust policy lets someone do `request.action`; a deny that names them wins.
pub fn trusts(document: &PolicyDocument, asking: Asking<'_>, request: &Request<'_>) -> Option<Trust> {
    let mut trust = None;
    for statement in &document.statements {
        let Some(principals) = &statement.principal else { continue };
        let named = named(principals, asking);
        let named = if principals.negated { named.is_none().then_some(Trust::Directly) } else { named };
        let Some(named) = named else { continue };
        if !applies(request, document, statement) {
            continue;
        }
        match statement.effect {
            Effect::Deny => return None,
            Effect::Allow if named == Trust::Directly || trust.is_none() => trust = Some(named),
            Effect::Allow => {}
        }
    }
    trust
}

fn named(principals: &Principals, asking: Asking<'_>) -> Option<Trust> {
    if let Some(service) = asking.service {
        let listed = principals.service.iter().any(|name| name == service);
        return (principals.anyone || listed).then_some(Trust::Directly);
    }
    let root = format!("arn:aws:iam::{}:root", asking.account);
    if principals.aws.iter().any(|name| name == asking.arn || asking.role_arn.is_some_and(|role| name == role)) {
        return Some(Trust::Directly);
    }
    // Everyone is every account; in the same account that leaves the decision with the principal's policies as well.
    let account = principals.anyone || principals.aws.iter().any(|name| *name == root || name == asking.account);
    account.then_some(Trust::ThroughAccount)
}

#[cfg(test)]
mod tests {
    use super::super::document::{Usage, parse};
    use super::*;

    fn document(statements: &str) -> PolicyDocument {
        parse(&format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#), Usage::Identity).expect("valid")
    }

    #[test]
    fn the_matrix_of_decisions() {
        let all = document(r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#);
        let eks = document(r#"{"Effect":"Allow","Action":"eks:*","Resource":"arn:aws:eks:*:*:cluster/dev-*"}"#);
        let no_delete = document(r#"{"Effect":"Deny","Action":"eks:Delete*","Resource":"*"}"#);
        let not_iam = document(r#"{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}"#);
        let others = document(r#"{"Effect":"Allow","Action":"*","NotResource":"arn:aws:eks:*:*:cluster/prod"}"#);
        let own = document(r#"{"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam::1:user/${aws:username}"}"#);
        let ip = document(
            r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}"#,
        );
        let dev = "arn:aws:eks:us-east-1:1:cluster/dev-1";
        let prod = "arn:aws:eks:us-east-1:1:cluster/prod";
        use Decision::{Allowed, ExplicitDeny, ImplicitDeny};
        use DenySource::{Boundary, Identity, Session};
        type Case<'a> = (
            &'a str,
            Vec<&'a PolicyDocument>,
            Option<&'a PolicyDocument>,
            Option<&'a PolicyDocument>,
            &'a str,
            &'a str,
            Decision,
        );
        let cases: Vec<Case<'_>> = vec![
            ("nothing grants", vec![], None, None, "eks:ListClusters", "*", ImplicitDeny(Identity)),
            ("everything is granted", vec![&all], None, None, "eks:ListClusters", "*", Allowed),
            ("the resource fits", vec![&eks], None, None, "eks:DeleteCluster", dev, Allowed),
            ("the resource does not fit", vec![&eks], None, None, "eks:DeleteCluster", prod, ImplicitDeny(Identity)),
            ("deny beats allow", vec![&all, &no_delete], None, None, "eks:DeleteCluster", dev, ExplicitDeny(Identity)),
            ("actions ignore case", vec![&eks], None, None, "EKS:describecluster", dev, Allowed),
            ("NotAction leaves out", vec![&not_iam], None, None, "iam:GetUser", "*", ImplicitDeny(Identity)),
            ("NotAction grants the rest", vec![&not_iam], None, None, "eks:ListClusters", "*", Allowed),
            ("NotResource leaves out", vec![&others], None, None, "eks:DeleteCluster", prod, ImplicitDeny(Identity)),
            ("NotResource grants the rest", vec![&others], None, None, "eks:DeleteCluster", dev, Allowed),
            ("a variable names the caller", vec![&own], None, None, "iam:GetUser", "arn:aws:iam::1:user/bob", Allowed),
            (
                "a variable excludes others",
                vec![&own],
                None,
                None,
                "iam:GetUser",
                "arn:aws:iam::1:user/al",
                ImplicitDeny(Identity),
            ),
            ("a condition that fails", vec![&ip], None, None, "iam:GetUser", "*", ImplicitDeny(Identity)),
            ("a boundary limits", vec![&all], Some(&eks), None, "iam:GetUser", "*", ImplicitDeny(Boundary)),
            ("a boundary does not grant", vec![], Some(&all), None, "iam:GetUser", "*", ImplicitDeny(Identity)),
            ("a session policy limits", vec![&all], None, Some(&eks), "eks:DeleteCluster", prod, ImplicitDeny(Session)),
            (
                "a session policy denies",
                vec![&all],
                None,
                Some(&no_delete),
                "eks:DeleteCluster",
                dev,
                ExplicitDeny(Session),
            ),
        ];
        let context = [("aws:username", "bob"), ("aws:sourceip", "192.0.2.1")]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), vec![value.to_owned()]))
            .collect();
        for (name, identity, boundary, session, action, resource, expected) in cases {
            let policies = Policies { identity, boundary, session: session.map(|policy| vec![policy]) };
            let request = Request { action, resource, context: &context };
            assert_eq!(evaluate(&request, &policies), expected, "{name}");
        }
    }

    #[test]
    fn trust_policies_name_principals() {
        let trust = |principal: &str, extra: &str| {
            let statement = format!(r#"{{"Effect":"Allow","Principal":{principal},"Action":"sts:AssumeRole"{extra}}}"#);
            parse(&format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#), Usage::Trust).expect("valid")
        };
        let user = Asking { arn: "arn:aws:iam::1:user/bob", role_arn: None, account: "1", service: None };
        let session = Asking {
            arn: "arn:aws:sts::1:assumed-role/dev/x",
            role_arn: Some("arn:aws:iam::1:role/dev"),
            account: "1",
            service: None,
        };
        let eks = Asking { arn: "", role_arn: None, account: "1", service: Some("eks.amazonaws.com") };
        let id = r#","Condition":{"StringEquals":{"sts:ExternalId":"x"}}"#;
        for (name, document, asking, expected) in [
            ("user by name", trust(r#"{"AWS":"arn:aws:iam::1:user/bob"}"#, ""), user, Some(Trust::Directly)),
            ("user through account", trust(r#"{"AWS":"arn:aws:iam::1:root"}"#, ""), user, Some(Trust::ThroughAccount)),
            ("user through number", trust(r#"{"AWS":"1"}"#, ""), user, Some(Trust::ThroughAccount)),
            ("another user", trust(r#"{"AWS":"arn:aws:iam::1:user/al"}"#, ""), user, None),
            (
                "session through its role",
                trust(r#"{"AWS":"arn:aws:iam::1:role/dev"}"#, ""),
                session,
                Some(Trust::Directly),
            ),
            (
                "session by itself",
                trust(r#"{"AWS":"arn:aws:sts::1:assumed-role/dev/x"}"#, ""),
                session,
                Some(Trust::Directly),
            ),
            ("service", trust(r#"{"Service":"eks.amazonaws.com"}"#, ""), eks, Some(Trust::Directly)),
            ("another service", trust(r#"{"Service":["ec2.amazonaws.com"]}"#, ""), eks, None),
            ("missing external id", trust(r#"{"AWS":"1"}"#, id), user, None),
        ] {
            let context = BTreeMap::new();
            let request = Request { action: "sts:AssumeRole", resource: "*", context: &context };
            assert_eq!(trusts(&document, asking, &request), expected, "{name}");
        }
    }
}
