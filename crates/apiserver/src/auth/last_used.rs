//! When tokens of Secrets were last used, as a label of the Secret, and since when that is recorded, in a ConfigMap: so that a
//! controller can tell which of them nobody needs (upstream `pkg/serviceaccount/legacy.go`, `legacytokentracking`).

use std::time::Duration;

use k8s_client::{Body, PatchType, Request, Verb};
use k8s_object::{ApiError, Object, resources};
use serde_json::json;
use world::Timestamp;

use crate::core::Core;
use crate::own_objects;

const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const NAMESPACE: &str = "kube-system";
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";
const SINCE: &str = "since";
const AGENT: &str = "kube-apiserver";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// `2026-01-31`
fn date(moment: Timestamp) -> String {
    moment.to_string().chars().take(10).collect()
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && Timestamp::parse(&format!("{text}T00:00:00Z")).is_ok()
}

/// Marks a Secret as used today. What goes wrong is nobody's business: the token is as good without the mark.
pub(super) async fn mark(core: &Core, secret: &Object) {
    let meta = secret.meta();
    let today = date(core.world.now());
    let last = meta.labels.get(LAST_USED).unwrap_or("");
    // Another server's clock may be ahead.
    if last == today || last == date(core.world.now() + DAY) {
        return;
    }
    let patch = json!({"metadata": {"uid": meta.uid, "labels": {LAST_USED: today}}});
    let request = Request {
        body: Body::Json(patch),
        patch: Some(PatchType::Merge),
        ..Request::new(Verb::Patch, &resources::SECRETS, &meta.namespace, &meta.name)
    };
    let _ = own_objects::execute(core, AGENT, request).await;
}

/// Writes down since when it is recorded, if that is not known.
pub(crate) async fn run(core: &Core) -> Result<(), ApiError> {
    let today = json!(date(core.world.now()));
    own_objects::keep(core, AGENT, &resources::CONFIG_MAPS, (NAMESPACE, TRACKING), |own| {
        let Some(own) = own else { return Some(json!({"metadata": {"name": TRACKING}, "data": {SINCE: today}})) };
        let mut value = own.value();
        if value["data"][SINCE].as_str().is_some_and(is_date) {
            return None;
        }
        value["data"][SINCE] = today;
        Some(value)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_written_as_dates() {
        assert_eq!(date(Timestamp::from_seconds(1_767_225_599)), "2025-12-31");
        assert_eq!(date(Timestamp::from_seconds(1_767_225_599) + DAY), "2026-01-01");
        for (text, expected) in [("2026-01-31", true), ("2026-13-01", false), ("today", false), ("", false)] {
            assert_eq!(is_date(text), expected, "{text}");
        }
    }
}
