//! What a plugin lets through only if the user may do something else besides, where webhooks have a say in that. Plugins cannot wait,
//! so they leave the question here.

use k8s_auth::Attributes;
use k8s_object::{ApiError, UserInfo};

use crate::core::Call;
use crate::ports::Decision;

/// One thing that a user may be allowed to do.
pub(crate) struct Question {
    verb: String,
    group: String,
    version: String,
    resource: String,
    namespace: String,
    name: String,
}

impl Question {
    pub(super) fn of(attributes: &Attributes<'_>) -> Question {
        let Attributes { verb, group, version, resource, namespace, name, .. } = *attributes;
        let [verb, group, version, resource, namespace, name] =
            [verb, group, version, resource, namespace, name].map(str::to_owned);
        Question { verb, group, version, resource, namespace, name }
    }

    fn attributes<'a>(&'a self, user: &'a UserInfo) -> Attributes<'a> {
        let about = Attributes::resource(user, &self.verb, &self.group, &self.resource);
        Attributes { version: &self.version, namespace: &self.namespace, name: &self.name, ..about }
    }
}

/// Whether a user may do one of several things, and what is told otherwise.
pub(crate) struct Ask {
    pub one_of: Vec<Question>,
    pub refusal: ApiError,
}

/// Asks everybody who decides.
pub(super) async fn settle(call: &Call<'_>, asks: Vec<Ask>) -> Result<(), ApiError> {
    for Ask { one_of, refusal } in asks {
        let mut allowed = false;
        for question in &one_of {
            let attributes = question.attributes(call.user);
            allowed |= matches!(call.core.auth.judge(call.core, &attributes).await.decision, Decision::Allow(_));
            if allowed {
                break;
            }
        }
        if !allowed {
            return Err(refusal);
        }
    }
    Ok(())
}
