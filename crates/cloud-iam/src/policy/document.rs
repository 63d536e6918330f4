//! Policy documents: read once, into types that are valid. Messages of refusals are AWS's.

use serde_json::{Map, Value};

use super::condition::{self, Condition};

/// What a document is for, which decides what a statement must and must not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Attached to a principal: names resources, no principals.
    Identity,
    /// Guards a role: names principals and STS actions, no resources.
    Trust,
}

/// `MalformedPolicyDocument`, with AWS's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// Whether a statement grants or forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It grants.
    Allow,
    /// It forbids, whatever else grants.
    Deny,
}

/// A valid policy.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyDocument {
    /// Whether `${…}` variables are replaced: only version 2012-10-17 has them.
    pub variables: bool,
    /// In order.
    pub statements: Vec<Statement>,
}

/// Names, or all but these names.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// Fits one of the patterns.
    Only(Vec<String>),
    /// Fits none of the patterns.
    AllBut(Vec<String>),
}

/// Whom a statement of a resource policy is about.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Principals {
    /// Everyone, `"*"`.
    pub anyone: bool,
    /// ARNs and account numbers.
    pub aws: Vec<String>,
    /// For example `eks.amazonaws.com`.
    pub service: Vec<String>,
    /// Identity providers.
    pub federated: Vec<String>,
    /// The element was `NotPrincipal`.
    pub negated: bool,
}

/// A valid statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Optional name.
    pub sid: Option<String>,
    /// Grants or forbids.
    pub effect: Effect,
    /// `Action` or `NotAction`.
    pub action: Selection,
    /// `Resource` or `NotResource`; absent in trust policies.
    pub resource: Option<Selection>,
    /// Absent in identity policies.
    pub principal: Option<Principals>,
    /// All must hold.
    pub conditions: Vec<Condition>,
}

/// Longest document that is parsed, in bytes. AWS's largest quota is 10,240 characters without white space.
pub const MAX_DOCUMENT_BYTES: usize = 131_072;

/// Reads a document.
///
/// # Errors
/// [`Malformed`].
pub fn parse(text: &str, usage: Usage) -> Result<PolicyDocument, Malformed> {
    if text.len() > MAX_DOCUMENT_BYTES {
        return Err(malformed("Policy document is too long."));
    }
    let value: Value = serde_json::from_str(text).map_err(|_| malformed("This policy contains invalid Json"))?;
    let Value::Object(fields) = value else { return Err(malformed("Syntax errors in policy.")) };
    let mut variables = false;
    let mut statements = Vec::new();
    for (name, value) in &fields {
        match (name.as_str(), value) {
            ("Version", Value::String(version)) if version == "2012-10-17" => variables = true,
            ("Version", Value::String(version)) if version == "2008-10-17" => {}
            ("Version", _) => {
                return Err(malformed("The policy document must have a version of 2012-10-17 or 2008-10-17."));
            }
            ("Id", Value::String(_)) => {}
            ("Statement", Value::Object(fields)) => statements.push(statement(fields, usage)?),
            ("Statement", Value::Array(list)) => {
                for item in list {
                    let Value::Object(fields) = item else { return Err(malformed("Syntax errors in policy.")) };
                    statements.push(statement(fields, usage)?);
                }
            }
            _ => return Err(malformed("Syntax errors in policy.")),
        }
    }
    if !fields.contains_key("Statement") {
        return Err(malformed("Missing required field Statement"));
    }
    let sids: Vec<&String> = statements.iter().filter_map(|statement: &Statement| statement.sid.as_ref()).collect();
    let unique: std::collections::BTreeSet<&&String> = sids.iter().collect();
    if unique.len() != sids.len() {
        return Err(malformed("Statement IDs (SID) in a single policy must be unique."));
    }
    if usage == Usage::Identity && !variables {
        return Err(malformed("Policy document must be version 2012-10-17 or greater."));
    }
    Ok(PolicyDocument { variables, statements })
}

fn malformed(text: impl Into<String>) -> Malformed {
    Malformed(text.into())
}

fn statement(fields: &Map<String, Value>, usage: Usage) -> Result<Statement, Malformed> {
    let known =
        ["Action", "Condition", "Effect", "NotAction", "NotPrincipal", "NotResource", "Principal", "Resource", "Sid"];
    if fields.keys().any(|name| !known.contains(&name.as_str())) {
        return Err(malformed("Syntax errors in policy."));
    }
    let sid = match fields.get("Sid") {
        None => None,
        Some(Value::String(sid)) => Some(sid.clone()).filter(|sid| !sid.is_empty()),
        Some(_) => return Err(malformed("Syntax errors in policy.")),
    };
    let effect = match fields.get("Effect").and_then(Value::as_str) {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        Some(other) => return Err(malformed(format!("Invalid effect: {other}"))),
        None => return Err(malformed("Missing required field Effect")),
    };
    let action = selection(fields, "Action", "NotAction")?.ok_or_else(|| malformed("Missing required field Action"))?;
    check_actions(&action, usage)?;
    let resource = selection(fields, "Resource", "NotResource")?;
    let principal = principals(fields)?;
    match usage {
        Usage::Identity if principal.is_some() => {
            return Err(malformed("Policy document should not specify a principal."));
        }
        Usage::Identity => check_resources(resource.as_ref())?,
        Usage::Trust if resource.is_some() => return Err(malformed("Has prohibited field Resource")),
        Usage::Trust if principal.is_none() => return Err(malformed("Missing required field Principal")),
        Usage::Trust => {}
    }
    let conditions = match fields.get("Condition") {
        None => Vec::new(),
        Some(Value::Object(fields)) => condition::parse(fields)?,
        Some(_) => return Err(malformed("Syntax errors in policy.")),
    };
    Ok(Statement { sid, effect, action, resource, principal, conditions })
}

fn names((Selection::Only(names) | Selection::AllBut(names)): &Selection) -> &[String] {
    names
}

fn check_actions(action: &Selection, usage: Usage) -> Result<(), Malformed> {
    if names(action).is_empty() {
        return Err(malformed("Policy statement must contain actions."));
    }
    for name in names(action) {
        if name == "*" {
            continue;
        }
        let Some((vendor, verb)) = name.split_once(':') else {
            return Err(malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."));
        };
        if vendor.is_empty() || !vendor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(malformed(format!("Vendor {vendor} is not valid")));
        }
        if verb.is_empty() || verb.contains([':', ' ']) {
            return Err(malformed("Actions/Condition can contain only one colon."));
        }
        if usage == Usage::Trust && !vendor.eq_ignore_ascii_case("sts") {
            return Err(malformed("AssumeRole policy may only specify STS AssumeRole actions."));
        }
    }
    Ok(())
}

fn check_resources(resource: Option<&Selection>) -> Result<(), Malformed> {
    let Some(resource) = resource else { return Err(malformed("Policy statement must contain resources.")) };
    if names(resource).is_empty() {
        return Err(malformed("Policy statement must contain resources."));
    }
    for name in names(resource) {
        let is_arn = name.starts_with("arn:") && name.split(':').count() >= 6;
        // A star may stand for any number of parts.
        if !(is_arn || name.starts_with('*') || name.starts_with("arn:") && name.ends_with('*')) {
            return Err(malformed(format!("Resource {name} must be in ARN format or \"*\".")));
        }
    }
    Ok(())
}

fn strings(value: &Value) -> Result<Vec<String>, Malformed> {
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(list) => list
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| malformed("Syntax errors in policy.")))
            .collect(),
        _ => Err(malformed("Syntax errors in policy.")),
    }
}

fn selection(fields: &Map<String, Value>, only: &str, all_but: &str) -> Result<Option<Selection>, Malformed> {
    match (fields.get(only), fields.get(all_but)) {
        (Some(_), Some(_)) => Err(malformed("Syntax errors in policy.")),
        (Some(value), None) => Ok(Some(Selection::Only(strings(value)?))),
        (None, Some(value)) => Ok(Some(Selection::AllBut(strings(value)?))),
        (None, None) => Ok(None),
    }
}

fn principals(fields: &Map<String, Value>) -> Result<Option<Principals>, Malformed> {
    let (value, negated) = match (fields.get("Principal"), fields.get("NotPrincipal")) {
        (None, None) => return Ok(None),
        (Some(value), None) => (value, false),
        (None, Some(value)) => (value, true),
        (Some(_), Some(_)) => return Err(malformed("Syntax errors in policy.")),
    };
    let mut principals = Principals { negated, ..Principals::default() };
    match value {
        Value::String(text) if text == "*" => principals.anyone = true,
        Value::Object(kinds) if !kinds.is_empty() => {
            for (kind, value) in kinds {
                let names = strings(value)?;
                match kind.as_str() {
                    "AWS" => {
                        principals.anyone |= names.iter().any(|name| name == "*");
                        principals.aws.extend(names.into_iter().filter(|name| name != "*"));
                    }
                    "Service" => principals.service.extend(names),
                    "Federated" => principals.federated.extend(names),
                    "CanonicalUser" => {}
                    other => return Err(malformed(format!("Invalid principal in policy: {other:?}"))),
                }
            }
        }
        _ => return Err(malformed("Invalid principal in policy.")),
    }
    Ok(Some(principals))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_refused_in_words_of_aws() {
        let identity = |statement: &str| format!(r#"{{"Version":"2012-10-17","Statement":{statement}}}"#);
        let cases = [
            ("{", "invalid Json"),
            ("[]", "Syntax errors"),
            (r#"{"Version":"2012-10-17"}"#, "Missing required field Statement"),
            (r#"{"Version":"2020-01-01","Statement":[]}"#, "version"),
            (r#"{"Statement":[]}"#, "must be version 2012-10-17 or greater"),
            (&identity(r#"{"Effect":"Allow","Action":"a:b"}"#), "must contain resources"),
            (&identity(r#"{"Effect":"Allow","Resource":"*"}"#), "Missing required field Action"),
            (&identity(r#"{"Effect":"Maybe","Action":"*","Resource":"*"}"#), "Invalid effect"),
            (&identity(r#"{"Action":"*","Resource":"*"}"#), "Missing required field Effect"),
            (&identity(r#"{"Effect":"Allow","Action":"nope","Resource":"*"}"#), "prefaced by a vendor"),
            (&identity(r#"{"Effect":"Allow","Action":"*","Resource":"thing"}"#), "ARN format"),
            (
                &identity(r#"{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}"#),
                "should not specify a principal",
            ),
            (&identity(r#"{"Effect":"Allow","Action":"*","Resource":"*","Extra":1}"#), "Syntax errors"),
            (
                &identity(
                    r#"[{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"a","Effect":"Deny","Action":"*","Resource":"*"}]"#,
                ),
                "must be unique",
            ),
            (
                &identity(r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringIs":{"a":"b"}}}"#),
                "Invalid Condition type",
            ),
        ];
        for (text, expected) in cases {
            let error = parse(text, Usage::Identity).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let trust = [
            (r#"{"Effect":"Allow","Action":"sts:AssumeRole"}"#, "Missing required field Principal"),
            (r#"{"Effect":"Allow","Action":"s3:Get*","Principal":"*"}"#, "may only specify STS AssumeRole actions"),
            (
                r#"{"Effect":"Allow","Action":"sts:AssumeRole","Principal":"*","Resource":"*"}"#,
                "prohibited field Resource",
            ),
            (r#"{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Robot":"x"}}"#, "Invalid principal"),
        ];
        for (statement, expected) in trust {
            let error = parse(&identity(statement), Usage::Trust).expect_err(statement).to_string();
            assert!(error.contains(expected), "{statement}: {error}");
        }
    }
}
