//! ValidatingAdmissionWebhook: all at once, on the object as it would be stored.

use k8s_object::ApiError;
use serde_json::Value;

use super::super::{Review, Said};
use super::ask::ask;
use super::compiled::Hooks;

/// Asks every webhook that wants to know. Of several refusals the client is told the first in their order.
pub(in super::super) async fn validate(
    hooks: &Hooks,
    review: &Review<'_, '_>,
    object: Option<&Value>,
) -> (Said, Result<(), ApiError>) {
    let mut said = Said::default();
    let mut wanted = Vec::new();
    for hook in hooks {
        match hook.wants(review, object) {
            Ok(Some(version)) => wanted.push((hook, version)),
            Ok(None) => {}
            Err(error) => return (said, Err(error)),
        }
    }
    let asked = wanted.iter().map(|(hook, version)| ask(hook, review, object, *version, false));
    let mut refused = None;
    for (index, answer) in futures_util::future::join_all(asked).await.into_iter().enumerate() {
        let hook = wanted[index].0;
        match answer {
            Ok(allowed) => {
                said.warnings.extend(allowed.said.warnings);
                said.annotations.extend(allowed.said.annotations);
            }
            Err(failure) => match failure.told(hook) {
                Some(error) => refused = refused.or(Some(error)),
                None => {
                    let key = format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{index}");
                    said.annotations.push((key, hook.name.clone()));
                }
            },
        }
    }
    (said, refused.map_or(Ok(()), Err))
}
