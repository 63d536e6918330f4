//! ServiceAccount. Its tokens are made by the server, at the subresource `token`.

use serde_json::Value;

use crate::columns::{AGE, Column, NAME};
use crate::fields::items;
use crate::{Context, Kind, Subresource};

pub(crate) static KIND: Kind = Kind {
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    type_name: "io.k8s.api.core.v1.ServiceAccount",
    subresources: &[Subresource {
        name: "token",
        group: "authentication.k8s.io",
        version: "v1",
        kind: "TokenRequest",
        verbs: &["create"],
    }],
    columns: &[
        NAME,
        Column::count("Secrets", "Number of Secrets that its pods may mount.", |object, _| {
            items(object, "secrets").len().into()
        }),
        AGE,
    ],
    warnings,
    returns_deleted: true,
    ..Kind::BASE
};

/// Says that pods may mount the account's Secrets only.
const MOUNTABLE_ONLY: &str = "kubernetes.io/enforce-mountable-secrets";

fn warnings(object: &Value, context: &Context<'_>) -> Vec<String> {
    let is_marked = |object: &Value| object["metadata"]["annotations"].get(MOUNTABLE_ONLY).is_some();
    match is_marked(object) && !context.old.is_some_and(is_marked) {
        true => vec![format!(
            "metadata.annotations[{MOUNTABLE_ONLY}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        )],
        false => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_marks_an_account_is_told_that_nobody_should() {
        let (plain, marked) = (json!({}), json!({"metadata": {"annotations": {MOUNTABLE_ONLY: "true"}}}));
        let cases = [(&plain, None, 0), (&marked, None, 1), (&marked, Some(&plain), 1), (&marked, Some(&marked), 0)];
        for (object, old, expected) in cases {
            let now = world::Timestamp::from_seconds(0);
            let context = Context { minor: k8s_schema::NEWEST_MINOR, now, old, subresource: "" };
            assert_eq!(warnings(object, &context).len(), expected, "{object} {old:?}");
        }
    }
}
