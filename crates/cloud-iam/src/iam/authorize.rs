//! May this caller do that? Gathers the policies that bear on a call and asks the evaluator.

use std::collections::BTreeMap;

use cloud_wire::AwsError;

use super::Iam;
use super::model::{Grants, Policy, Role, Session, User};
use crate::call::{CallContext, Caller, CallerKind};
use crate::managed;
use crate::policy::{Decision, DenySource, Policies, PolicyDocument, Request, Usage, evaluate, parse};
use crate::records::{RecordError, Tx};

/// A question for [`Iam::authorize`] as data, for tables of operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// For example `eks:CreateCluster`.
    pub action: String,
    /// ARN or `*`.
    pub resource: String,
}

/// `AccessDenied` in the words and with the code of the action's service.
pub fn denied(caller: &Caller, action: &str, resource: &str, decision: Decision) -> AwsError {
    let why = match decision {
        Decision::Allowed => String::new(),
        Decision::ExplicitDeny(source) => format!(" with an explicit deny in {} {}", article(source), source.phrase()),
        Decision::ImplicitDeny(source) => format!(" because no {} allows the {action} action", source.phrase()),
    };
    let message = format!("User: {} is not authorized to perform: {action} on resource: {resource}{why}", caller.arn);
    match action.split(':').next() {
        Some("ec2") => AwsError::new(
            "UnauthorizedOperation",
            403,
            format!("You are not authorized to perform this operation. {message}"),
        ),
        Some("iam" | "sts") => AwsError::new("AccessDenied", 403, message),
        _ => AwsError::new("AccessDeniedException", 403, message),
    }
}

fn article(source: DenySource) -> &'static str {
    match source {
        DenySource::Identity => "an",
        DenySource::Boundary | DenySource::Session => "a",
    }
}

/// The context keys of a call, in lower case, with `extra` ones that the service knows.
pub(crate) fn context_of(ctx: &CallContext, extra: &[(String, Vec<String>)]) -> BTreeMap<String, Vec<String>> {
    let caller = &ctx.caller;
    let principal_type = match &caller.kind {
        CallerKind::Root => "Account",
        CallerKind::User { .. } | CallerKind::UserSession { .. } => "User",
        CallerKind::AssumedRole { .. } => "AssumedRole",
        CallerKind::Service { .. } => "Service",
    };
    let mut context: BTreeMap<String, Vec<String>> = [
        ("aws:currenttime", ctx.now.to_string()),
        ("aws:epochtime", ctx.now.seconds().to_string()),
        ("aws:principalaccount", caller.account.clone()),
        ("aws:principalarn", caller.arn.clone()),
        ("aws:principaltype", principal_type.to_owned()),
        ("aws:requestedregion", ctx.region.clone()),
        ("aws:sourceip", ctx.source_ip.clone()),
        // The endpoint is local; policies that insist on TLS must not lock people out of their own machine.
        ("aws:securetransport", "true".to_owned()),
        ("aws:userid", caller.user_id.clone()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), vec![value]))
    .collect();
    if let CallerKind::User { name } | CallerKind::UserSession { name } = &caller.kind {
        context.insert("aws:username".to_owned(), vec![name.clone()]);
    }
    for (key, values) in extra {
        context.insert(key.to_ascii_lowercase(), values.clone());
    }
    context
}

impl Iam {
    /// Whether the caller of `ctx` may do `action` on `resource`. `extra` are context keys of the service, for example
    /// `aws:RequestTag/team`.
    ///
    /// # Errors
    /// `AccessDenied` in the service's form; the store's.
    pub async fn authorize(
        &self,
        ctx: &CallContext,
        action: &str,
        resource: &str,
        extra: &[(String, Vec<String>)],
    ) -> Result<(), AwsError> {
        let decision = self.decide(&ctx.caller, action, resource, context_of(ctx, extra)).await?;
        if decision == Decision::Allowed { Ok(()) } else { Err(denied(&ctx.caller, action, resource, decision)) }
    }

    /// The decision alone. `context` has its keys in lower case; tags of the principal are added.
    ///
    /// # Errors
    /// The store's.
    pub async fn decide(
        &self,
        caller: &Caller,
        action: &str,
        resource: &str,
        mut context: BTreeMap<String, Vec<String>>,
    ) -> Result<Decision, RecordError> {
        let mut tx = Tx::new(&self.0.space);
        let found = match &caller.kind {
            CallerKind::Root | CallerKind::Service { .. } => return Ok(Decision::Allowed),
            CallerKind::User { name } | CallerKind::UserSession { name } => {
                let user: Option<User> = tx.get(&name.to_lowercase()).await?;
                user.filter(|user| user.id == caller.principal_id()).map(|user| (user.grants, user.tags))
            }
            CallerKind::AssumedRole { role, .. } => {
                let role: Option<Role> = tx.get(&role.to_lowercase()).await?;
                role.filter(|role| role.id == caller.principal_id()).map(|role| (role.grants, role.tags))
            }
        };
        // Whoever was deleted has no policies any more, even if the same name exists again.
        let Some((grants, mut tags)) = found else { return Ok(Decision::ImplicitDeny(DenySource::Identity)) };
        let identity = self.documents(&mut tx, &grants).await?;
        let boundary = match &grants.boundary {
            Some(arn) => {
                self.documents(&mut tx, &Grants { attached: [arn.clone()].into(), ..Grants::default() }).await?.pop()
            }
            None => None,
        };
        let session = self.session(&mut tx, &caller.access_key_id).await?;
        let limits = match &session {
            Some(session) if !session.policies.is_empty() || !session.policy_arns.is_empty() => {
                let inline =
                    session.policies.iter().enumerate().map(|(n, text)| (n.to_string(), text.clone())).collect();
                let attached = session.policy_arns.iter().cloned().collect();
                Some(self.documents(&mut tx, &Grants { attached, inline, boundary: None }).await?)
            }
            _ => None,
        };
        tags.extend(session.map(|session| session.tags).unwrap_or_default());
        for (key, value) in tags {
            context.insert(format!("aws:principaltag/{}", key.to_lowercase()), vec![value]);
        }
        let policies = Policies {
            identity: identity.iter().collect(),
            boundary: boundary.as_ref(),
            session: limits.as_ref().map(|limits| limits.iter().collect()),
        };
        Ok(evaluate(&Request { action, resource, context: &context }, &policies))
    }

    async fn session(&self, tx: &mut Tx, key: &str) -> Result<Option<Session>, RecordError> {
        if key.is_empty() { Ok(None) } else { tx.get::<Session>(key).await }
    }

    async fn documents(&self, tx: &mut Tx, grants: &Grants) -> Result<Vec<PolicyDocument>, RecordError> {
        let mut documents = Vec::new();
        // What is stored was parsed before; a document that no longer parses grants nothing.
        documents.extend(grants.inline.values().filter_map(|text| parse(text, Usage::Identity).ok()));
        for arn in &grants.attached {
            if let Some((_, document)) = managed::find(arn) {
                documents.push(document.clone());
                continue;
            }
            let name = arn.rsplit('/').next().unwrap_or_default().to_lowercase();
            let policy: Option<Policy> = tx.get(&name).await?;
            let default = policy.and_then(|mut policy| policy.versions.remove(&policy.default));
            documents.extend(default.and_then(|version| parse(&version.document, Usage::Identity).ok()));
        }
        Ok(documents)
    }
}
