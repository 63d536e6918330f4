//! ValidatingAdmissionWebhook: all at once, on the object as it would be stored.

use k8s_object::ApiError;
use serde_json::Value;

use super::super::{Review, Said};
use super::ask::{Failure, ask};
use super::compiled::Hooks;
use super::measure;

/// Asks every webhook that wants to know. Of several refusals the client is told the first in their order.
pub(in super::super) async fn validate(
    hooks: &Hooks,
    review: &Review<'_, '_>,
    object: Option<&Value>,
) -> (Said, Result<(), ApiError>) {
    let mut said = Said::default();
    let mut wanted = Vec::new();
    for hook in hooks {
        match hook.wants(review, object).await {
            Ok(Some(version)) => wanted.push((hook, version)),
            Ok(None) => {}
            Err(error) => return (said, Err(error)),
        }
    }
    let world = &review.call.core.world;
    let asked = wanted.iter().map(async |(hook, version)| {
        let began = world.elapsed();
        let answer = ask(hook, review, object, *version, false).await;
        (answer, world.elapsed().saturating_sub(began))
    });
    let mut refused = None;
    for (index, (answer, took)) in futures_util::future::join_all(asked).await.into_iter().enumerate() {
        let hook = wanted[index].0;
        measure::observe(review.call.core, hook, "validating", review.operation, took, answer.as_ref().err());
        match answer {
            Ok(allowed) => {
                said.warnings.extend(allowed.said.warnings);
                said.annotations.extend(allowed.said.annotations);
            }
            Err(mut failure) => {
                if let Failure::Rejected(_, own) = &mut failure {
                    said.warnings.append(&mut own.warnings);
                    said.annotations.append(&mut own.annotations);
                }
                match failure.told(hook) {
                    Some(error) => refused = refused.or(Some(error)),
                    None => {
                        let key = format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{index}");
                        said.annotations.push((key, hook.name.clone()));
                    }
                }
            }
        }
    }
    (said, refused.map_or(Ok(()), Err))
}
