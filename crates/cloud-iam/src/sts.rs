//! The STS service: who am I, sessions of roles and of users.

use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};
use store::LeaseId;

use crate::call::{CallContext, CallerKind};
use crate::credentials::TEMPORARY;
use crate::iam::Iam;
use crate::iam::authorize::context_of;
use crate::iam::model::{Role, Session, SessionOf, Tags};
use crate::policy::{Asking, Decision, Request, Trust, Usage, parse, trusts};
use crate::records::{Commit, RecordError, Tx};
use crate::service::{BoxFuture, decode_input};

/// Session tags of one session.
const MAX_SESSION_TAGS: usize = 50;

/// The STS of one account. Cheap to clone.
#[derive(Clone)]
pub struct Sts {
    iam: Iam,
}

type Handler = for<'a> fn(&'a Sts, &'a CallContext, &'a Value) -> BoxFuture<'a, Result<Value, AwsError>>;

/// A row of the table of operations.
pub struct StsOperation {
    /// As in the API.
    pub name: &'static str,
    handler: Handler,
}

/// By name.
static OPERATIONS: &[StsOperation] = &[
    StsOperation { name: "AssumeRole", handler: |sts, ctx, input| Box::pin(sts.assume_role(ctx, input)) },
    StsOperation { name: "GetAccessKeyInfo", handler: |sts, ctx, input| Box::pin(sts.key_info(ctx, input)) },
    StsOperation { name: "GetCallerIdentity", handler: |sts, ctx, _| Box::pin(sts.caller_identity(ctx)) },
    StsOperation { name: "GetSessionToken", handler: |sts, ctx, input| Box::pin(sts.session_token(ctx, input)) },
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AssumeRole {
    role_arn: String,
    role_session_name: String,
    duration_seconds: Option<i64>,
    external_id: Option<String>,
    policy: Option<String>,
    #[serde(default)]
    policy_arns: Vec<PolicyArn>,
    source_identity: Option<String>,
    #[serde(default)]
    tags: Vec<SessionTag>,
    #[serde(default)]
    transitive_tag_keys: Vec<String>,
}

#[derive(Deserialize)]
struct PolicyArn {
    arn: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SessionTag {
    key: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetSessionToken {
    duration_seconds: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeyInfo {
    access_key_id: String,
}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("ValidationError", 400, message)
}

fn check_name(member: &str, name: &str) -> Result<(), AwsError> {
    let fail = |constraint: &str| {
        invalid(format!(
            "1 validation error detected: Value '{name}' at '{member}' failed to satisfy constraint: {constraint}"
        ))
    };
    if name.len() < 2 {
        return Err(fail("Member must have length greater than or equal to 2"));
    }
    if name.len() > 64 {
        return Err(fail("Member must have length less than or equal to 64"));
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)) {
        return Err(fail("Member must satisfy regular expression pattern: [\\w+=,.@-]*"));
    }
    Ok(())
}

fn check_duration(seconds: i64, min: i64, max: i64) -> Result<i64, AwsError> {
    let constraint = if seconds < min {
        format!("Member must have value greater than or equal to {min}")
    } else if seconds > max {
        format!("Member must have value less than or equal to {max}")
    } else {
        return Ok(seconds);
    };
    Err(invalid(format!(
        "1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: {constraint}"
    )))
}

impl Sts {
    /// The STS beside an IAM.
    pub fn new(iam: Iam) -> Sts {
        Sts { iam }
    }

    /// The table, by name.
    pub fn operations() -> &'static [StsOperation] {
        OPERATIONS
    }

    /// Runs an operation.
    ///
    /// # Errors
    /// STS's errors, and `NotImplemented` for an operation without a handler.
    pub async fn call(&self, ctx: &CallContext, operation: &str, input: &Value) -> Result<Value, AwsError> {
        match OPERATIONS.binary_search_by(|row| row.name.cmp(operation)) {
            Ok(row) => (OPERATIONS[row].handler)(self, ctx, input).await,
            Err(_) => Err(AwsError::not_supported("sts", operation)),
        }
    }

    /// Everyone may ask who they are, even when a policy forbids it.
    async fn caller_identity(&self, ctx: &CallContext) -> Result<Value, AwsError> {
        let caller = &ctx.caller;
        Ok(json!({"UserId": caller.user_id, "Account": caller.account, "Arn": caller.arn}))
    }

    async fn key_info(&self, ctx: &CallContext, input: &Value) -> Result<Value, AwsError> {
        let input: KeyInfo = decode_input(input)?;
        self.iam.authorize(ctx, "sts:GetAccessKeyInfo", "*", &[]).await?;
        match self.iam.lookup(&input.access_key_id).await? {
            Some(credential) => Ok(json!({"Account": credential.caller.account})),
            None => Err(invalid(format!("Invalid access key ID: {}", input.access_key_id))),
        }
    }

    async fn assume_role(&self, ctx: &CallContext, input: &Value) -> Result<Value, AwsError> {
        let input: AssumeRole = decode_input(input)?;
        check_name("roleSessionName", &input.role_session_name)?;
        if let Some(source) = &input.source_identity {
            check_name("sourceIdentity", source)?;
        }
        if input.role_arn.parse::<cloud_wire::Arn>().is_err() {
            return Err(invalid(format!("{} is invalid", input.role_arn)));
        }
        let seconds = check_duration(input.duration_seconds.unwrap_or(3600), 900, 43_200)?;
        let tags = session_tags(&input)?;
        let malformed = |error: crate::policy::Malformed| AwsError::new("MalformedPolicyDocument", 400, error.0);
        if let Some(policy) = &input.policy {
            parse(policy, Usage::Identity).map_err(malformed)?;
        }
        let role = self.trusted_role(ctx, &input).await?;
        if seconds > role.max_session {
            return Err(invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role."));
        }
        if matches!(ctx.caller.kind, CallerKind::AssumedRole { .. }) && seconds > 3600 {
            return Err(invalid(
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
            ));
        }
        let of = SessionOf::Role { role: role.name, role_id: role.id, session: input.role_session_name };
        let mut session = self.new_session(ctx, of, seconds);
        session.policies = input.policy.into_iter().collect();
        session.policy_arns = input.policy_arns.into_iter().filter_map(|policy| policy.arn).collect();
        session.tags = tags;
        session.source_identity = input.source_identity;
        let caller = session.caller(self.iam.account());
        self.keep(&session, seconds).await?;
        let mut output = json!({
            "Credentials": session.credentials_json(),
            "AssumedRoleUser": {"AssumedRoleId": caller.user_id, "Arn": caller.arn},
        });
        if let Some(source) = &session.source_identity {
            output["SourceIdentity"] = json!(source);
        }
        Ok(output)
    }

    /// The role, if its trust policy and the caller's own policies let the caller assume it. A role that does not exist and one
    /// that refuses are not told apart.
    async fn trusted_role(&self, ctx: &CallContext, input: &AssumeRole) -> Result<Role, AwsError> {
        let caller = &ctx.caller;
        if caller.kind == CallerKind::Root {
            return Err(AwsError::new("AccessDenied", 403, "Roles may not be assumed by root accounts."));
        }
        let mut actions = vec!["sts:AssumeRole"];
        if !input.tags.is_empty() {
            actions.push("sts:TagSession");
        }
        if input.source_identity.is_some() {
            actions.push("sts:SetSourceIdentity");
        }
        let refused = |action: &str| {
            let message =
                format!("User: {} is not authorized to perform: {action} on resource: {}", caller.arn, input.role_arn);
            AwsError::new("AccessDenied", 403, message)
        };
        let role = self.iam.role_by_arn(&input.role_arn).await?.ok_or_else(|| refused("sts:AssumeRole"))?;
        let trust = parse(&role.trust, Usage::Trust).map_err(|_| refused("sts:AssumeRole"))?;
        let role_arn = self.iam.role_arn_of(caller).await?;
        let service = match &caller.kind {
            CallerKind::Service { principal } => Some(principal.as_str()),
            _ => None,
        };
        let asking = Asking { arn: &caller.arn, role_arn: role_arn.as_deref(), account: &caller.account, service };
        let extra = self.trust_context(input);
        let context = context_of(ctx, &extra);
        for action in actions {
            let request = Request { action, resource: &input.role_arn, context: &context };
            let trusted = trusts(&trust, asking, &request).ok_or_else(|| refused(action))?;
            let own = self.iam.decide(caller, action, &input.role_arn, context.clone()).await?;
            let allowed = match own {
                Decision::Allowed => true,
                Decision::ExplicitDeny(_) => false,
                Decision::ImplicitDeny(_) => trusted == Trust::Directly,
            };
            if !allowed {
                return Err(refused(action));
            }
        }
        Ok(role)
    }

    fn trust_context(&self, input: &AssumeRole) -> Vec<(String, Vec<String>)> {
        let mut extra = vec![("sts:RoleSessionName".to_owned(), vec![input.role_session_name.clone()])];
        if let Some(id) = &input.external_id {
            extra.push(("sts:ExternalId".to_owned(), vec![id.clone()]));
        }
        if let Some(source) = &input.source_identity {
            extra.push(("sts:SourceIdentity".to_owned(), vec![source.clone()]));
        }
        if !input.tags.is_empty() {
            extra.push(("aws:TagKeys".to_owned(), input.tags.iter().map(|tag| tag.key.clone()).collect()));
        }
        for tag in &input.tags {
            extra.push((format!("aws:RequestTag/{}", tag.key), vec![tag.value.clone()]));
        }
        extra
    }

    async fn session_token(&self, ctx: &CallContext, input: &Value) -> Result<Value, AwsError> {
        let input: GetSessionToken = decode_input(input)?;
        let seconds = check_duration(input.duration_seconds.unwrap_or(43_200), 900, 129_600)?;
        let CallerKind::User { name } = &ctx.caller.kind else {
            return Err(AwsError::new("AccessDenied", 403, "Cannot call GetSessionToken with session credentials"));
        };
        let of = SessionOf::User {
            user: name.clone(),
            user_arn: ctx.caller.arn.clone(),
            user_id: ctx.caller.user_id.clone(),
        };
        let session = self.new_session(ctx, of, seconds);
        self.keep(&session, seconds).await?;
        Ok(json!({ "Credentials": session.credentials_json() }))
    }

    fn new_session(&self, ctx: &CallContext, of: SessionOf, seconds: i64) -> Session {
        Session {
            id: self.iam.new_key_id(TEMPORARY),
            secret: self.iam.new_secret(),
            token: self.iam.new_token(),
            of,
            issued: ctx.now.seconds(),
            expires: ctx.now.seconds() + seconds,
            policies: Vec::new(),
            policy_arns: Vec::new(),
            tags: Tags::default(),
            source_identity: None,
        }
    }

    async fn keep(&self, session: &Session, seconds: i64) -> Result<(), AwsError> {
        let lease: LeaseId = self.iam.session_lease(seconds).await?;
        let mut tx = Tx::new(&self.iam.0.space);
        tx.put_leased(&session.id, session, lease);
        match tx.commit().await? {
            Commit::Done(_) => Ok(()),
            // Nothing was read, so nothing can conflict.
            Commit::Conflict => Err(RecordError::Contended.into()),
        }
    }
}

fn session_tags(input: &AssumeRole) -> Result<Tags, AwsError> {
    if input.tags.len() > MAX_SESSION_TAGS {
        return Err(invalid(format!("A session has at most {MAX_SESSION_TAGS} tags.")));
    }
    let mut tags = Tags::new();
    for tag in &input.tags {
        if tag.key.to_ascii_lowercase().starts_with("aws:") {
            return Err(invalid("Tag keys beginning with aws: are reserved for system use"));
        }
        if tags.insert(tag.key.clone(), tag.value.clone()).is_some() {
            return Err(invalid("Duplicate tag keys found. Please note that Tag keys are case insensitive."));
        }
    }
    if let Some(key) = input.transitive_tag_keys.iter().find(|key| !tags.contains_key(*key)) {
        return Err(invalid(format!("The transitive tag key {key} is not among the session tags.")));
    }
    Ok(tags)
}
