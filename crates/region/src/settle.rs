//! At the instant pace, a description of something in transition waits a moment for it to settle.
//!
//! Clients' waiters look once and then every 15 to 30 seconds. A life cycle that takes milliseconds would make each of them
//! sleep through all of that after a first look that came a moment too early. At AWS's pace nothing waits.

use std::time::Duration;

use cloud_iam::CallContext;
use cloud_wire::AwsError;
use serde_json::Value;

use crate::{Inner, Pace};

/// Longest that an answer waits: what takes longer is not instant, and its waiter's pace is right.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks, at first; doubled up to the last.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(50);

/// Operations that describe one life cycle, and where its status is.
static DESCRIPTIONS: &[(&str, &str)] = &[
    ("DescribeCluster", "/cluster/status"),
    ("DescribeIdentityProviderConfig", "/identityProviderConfig/oidc/status"),
    ("DescribeNodegroup", "/nodegroup/status"),
    ("DescribeUpdate", "/update/status"),
];

/// Whether the description of a life cycle says that it is about to change.
fn in_transition(path: &str, output: &Value) -> bool {
    let status = output.pointer(path).and_then(Value::as_str).unwrap_or_default();
    matches!(status, "CREATING" | "UPDATING" | "DELETING" | "InProgress")
}

/// Calls an operation of EKS; a description is that of a settled state if it settles soon.
pub(crate) async fn call(
    inner: &Inner,
    context: &CallContext,
    operation: &str,
    input: &Value,
) -> Result<Value, AwsError> {
    let mut output = inner.eks.call(context, operation, input).await?;
    if operation == "DescribeCluster" {
        output = with_endpoint(inner, context, input, output).await?;
    }
    let described = DESCRIPTIONS.iter().find(|(name, _)| *name == operation);
    let Some((_, path)) = described.filter(|_| inner.pace == Pace::Instant) else { return Ok(output) };
    let give_up = inner.world.elapsed() + PATIENCE;
    let mut look = FIRST_LOOK;
    while in_transition(path, &output) && inner.world.elapsed() < give_up {
        inner.world.sleep(look).await;
        look = (look * 2).min(LAST_LOOK);
        output = inner.eks.call(context, operation, input).await?;
    }
    Ok(output)
}

/// Waits a moment for the control plane of an active cluster to run in this process too: one that another process has just made,
/// or all of them after a start. Its endpoint is then one that the asker can use.
async fn with_endpoint(
    inner: &Inner,
    context: &CallContext,
    input: &Value,
    described: Value,
) -> Result<Value, AwsError> {
    let cluster = input["name"].as_str().unwrap_or_default();
    let runs = || inner.control_plane(cluster).is_some();
    if runs() || !matches!(described["cluster"]["status"].as_str(), Some("ACTIVE" | "UPDATING")) {
        return Ok(described);
    }
    let give_up = inner.world.elapsed() + PATIENCE;
    let mut look = FIRST_LOOK;
    while !runs() && inner.world.elapsed() < give_up {
        inner.world.sleep(look).await;
        look = (look * 2).min(LAST_LOOK);
    }
    inner.eks.call(context, "DescribeCluster", input).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_about_to_change_is_waited_for() {
        for (status, expected) in
            [("CREATING", true), ("ACTIVE", false), ("DELETING", true), ("CREATE_FAILED", false), ("DEGRADED", false)]
        {
            assert_eq!(in_transition("/cluster/status", &json!({"cluster": {"status": status}})), expected, "{status}");
        }
        assert!(in_transition("/update/status", &json!({"update": {"status": "InProgress"}})));
        assert!(!in_transition("/update/status", &json!({})));
    }
}
