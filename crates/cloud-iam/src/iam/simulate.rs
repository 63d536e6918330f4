//! `SimulatePrincipalPolicy`: asks the same evaluator that guards every call.

use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Call;
use super::authorize::context_of;
use super::checks::no_such_entity;
use crate::call::{Caller, CallerKind};
use crate::policy::Decision;
use crate::service::decode_input;

/// Actions times resources in one call.
const MAX_RESULTS: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    policy_source_arn: String,
    action_names: Vec<String>,
    #[serde(default)]
    resource_arns: Vec<String>,
    #[serde(default)]
    context_entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(default)]
    context_key_name: String,
    #[serde(default)]
    context_key_values: Vec<String>,
}

pub(super) async fn simulate_principal(call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = decode_input(call.input)?;
    let arn = &input.policy_source_arn;
    let missing = || no_such_entity(format!("The Policy Source ARN {arn} cannot be found."));
    let (user_id, kind) = match (call.iam.role_by_arn(arn).await?, call.iam.user_by_arn(arn).await?) {
        (Some(role), _) => (role.id, CallerKind::AssumedRole { role: role.name, session: "simulation".to_owned() }),
        (None, Some(user)) => (user.id, CallerKind::User { name: user.name }),
        (None, None) => return Err(missing()),
    };
    let account = call.iam.account().to_owned();
    let caller = Caller { arn: arn.clone(), user_id, account, kind, access_key_id: String::new() };
    let mut ctx = call.ctx.clone();
    ctx.caller = caller;
    let extra: Vec<(String, Vec<String>)> =
        input.context_entries.into_iter().map(|entry| (entry.context_key_name, entry.context_key_values)).collect();
    let resources = if input.resource_arns.is_empty() { vec!["*".to_owned()] } else { input.resource_arns };
    if resources.len() * input.action_names.len() > MAX_RESULTS {
        return Err(AwsError::new("InvalidInput", 400, format!("More than {MAX_RESULTS} results were asked for.")));
    }
    let mut results = Vec::new();
    for action in &input.action_names {
        for resource in &resources {
            let context = context_of(&ctx, &extra);
            let decision = call.iam.decide(&ctx.caller, action, resource, context).await?;
            let decision = match decision {
                Decision::Allowed => "allowed",
                Decision::ExplicitDeny(_) => "explicitDeny",
                Decision::ImplicitDeny(_) => "implicitDeny",
            };
            results.push(json!({
                "EvalActionName": action, "EvalResourceName": resource, "EvalDecision": decision,
                "MatchedStatements": [], "MissingContextValues": [],
            }));
        }
    }
    Ok(json!({"EvaluationResults": results, "IsTruncated": false}))
}
