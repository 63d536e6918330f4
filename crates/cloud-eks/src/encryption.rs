//! `encryptionConfig`: which KMS key the Secrets of a cluster are encrypted with. Once set it stays, as with EKS, which re-encrypts
//! nothing by itself either: what was written before is encrypted when somebody writes it again. Source: "Enable secret encryption
//! on an existing cluster".

use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster_config::{Planned, param, start};
use crate::error;
use crate::model::{Change, Cluster};
use crate::service::Call;
use crate::updates;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    cluster_name: String,
    encryption_config: Vec<Value>,
    client_request_token: Option<String>,
}

pub(crate) async fn associate(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Input = cloud_iam::decode_input(call.input)?;
    let name = input.cluster_name.clone();
    let mut cluster = call.cluster(&name).await?;
    let with_name = |error: AwsError| error.with("clusterName", name.as_str());
    if let Some(update) = updates::repeated(call.tx, (&name, ""), input.client_request_token.as_ref()).await? {
        return Ok(json!({ "update": update.json() }));
    }
    if input.encryption_config.is_empty() {
        return Err(with_name(error::invalid_parameter("encryptionConfig must have an entry")));
    }
    if !cluster.encryption.is_empty() {
        return Err(with_name(error::invalid_parameter("Encryption is already enabled on the cluster")));
    }
    check(&call, &input.encryption_config).await.map_err(with_name)?;
    let params = vec![param("EncryptionConfig", json!(input.encryption_config))];
    // In the record at once, so that every process that serves the cluster hears of it before the update ends.
    cluster.encryption.clone_from(&input.encryption_config);
    let change = Change::Encryption(input.encryption_config);
    let planned = Planned { kind: "AssociateEncryptionConfig", params, change };
    start(&mut call, cluster, planned, input.client_request_token).await.map_err(with_name)
}

/// Whether a configuration can be a cluster's: its key is there, and the caller may give it to EKS.
pub(crate) async fn check(call: &Call<'_>, config: &[Value]) -> Result<(), AwsError> {
    let Some(entry) = config.first() else { return Ok(()) };
    if config.len() > 1 {
        return Err(error::invalid_parameter("Only one encryption config can be given"));
    }
    if entry.get("resources") != Some(&json!(["secrets"])) {
        return Err(error::invalid_parameter("The only supported resource of encryptionConfig is secrets"));
    }
    let Some(key) = key_of(entry) else { return Err(error::invalid_parameter("KeyArn is required")) };
    check_arn(call, key)?;
    for action in ["kms:DescribeKey", "kms:CreateGrant"] {
        call.eks.0.parts.iam.authorize(call.ctx, action, key, &[]).await?;
    }
    call.eks.0.parts.planes.ensure_key(key).await.map_err(error::invalid_parameter)
}

fn check_arn(call: &Call<'_>, key: &str) -> Result<(), AwsError> {
    let refuse = |why: &str| Err(error::invalid_parameter(format!("The key {key:?} of encryptionConfig {why}")));
    let Ok(arn) = key.parse::<cloud_wire::Arn>() else { return refuse("is not the ARN of a KMS key") };
    if arn.service() != "kms" {
        return refuse("is not the ARN of a KMS key");
    }
    if arn.region() != call.eks.region() {
        return refuse(&format!("must be in the region of the cluster, {}", call.eks.region()));
    }
    if arn.account() != call.eks.account() {
        return refuse(&format!("is of another account: only keys of {} can be used", call.eks.account()));
    }
    match arn.resource().split_once('/') {
        Some(("alias", _)) => {
            Err(AwsError::not_supported("eks", "an alias of a KMS key in encryptionConfig; the ARN of the key is"))
        }
        Some(("key", id)) if is_key_id(id) => Ok(()),
        _ => refuse("is not the ARN of a KMS key: arn:aws:kms:REGION:ACCOUNT:key/UUID"),
    }
}

/// A UUID, or `mrk-` and thirty-two digits for a key of several regions.
fn is_key_id(id: &str) -> bool {
    let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(id) = id.strip_prefix("mrk-") {
        return digits(id, 32);
    }
    let parts: Vec<&str> = id.split('-').collect();
    parts.len() == 5 && parts.iter().zip([8, 4, 4, 4, 12]).all(|(part, count)| digits(part, count))
}

fn key_of(entry: &Value) -> Option<&str> {
    entry["provider"]["keyArn"].as_str().filter(|key| !key.is_empty())
}

/// The key that a cluster's Secrets are encrypted with.
pub(crate) fn key(cluster: &Cluster) -> Option<String> {
    cluster.encryption.first().and_then(key_of).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_as_kms_names_them() {
        for (id, expected) in [
            ("0f0e0d0c-1111-2222-3333-444455556666", true),
            ("mrk-0123456789abcdef0123456789abcdef", true),
            ("0f0e0d0c-1111-2222-3333-44445555666", false),
            ("mrk-0", false),
            ("x", false),
            ("zzzzzzzz-1111-2222-3333-444455556666", false),
        ] {
            assert_eq!(is_key_id(id), expected, "{id}");
        }
    }
}
