//! Pod templates: equality and the hash that names a ReplicaSet.

use serde_json::{Value, json};

use crate::json::normal;

/// The label that tells the pods of one template from those of another.
pub(super) const HASH_LABEL: &str = "pod-template-hash";
/// The alphabet of generated names: no vowels and nothing that looks like another.
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Whether two templates differ in nothing but the hash label.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    canonical(a) == canonical(b)
}

fn canonical(template: &Value) -> Value {
    let mut template = template.clone();
    crate::json::remove(&mut template["metadata"]["labels"], HASH_LABEL);
    normal(&template)
}

/// FNV-1a over the canonical JSON and the number of collisions so far, written as upstream writes its hashes.
pub(super) fn hash(template: &Value, collisions: Option<i64>) -> String {
    let mut text = canonical(template).to_string().into_bytes();
    text.extend(collisions.into_iter().flat_map(i64::to_le_bytes));
    hash_text(&text)
}

/// FNV-1a of a text in the letters of generated names.
pub(in crate::controllers) fn hash_text(text: &[u8]) -> String {
    let hash = text.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|digit| char::from(SAFE[usize::from(digit) % SAFE.len()])).collect()
}

/// The template with the hash label.
pub(super) fn labelled(template: &Value, hash: &str) -> Value {
    let mut template = template.clone();
    if !template["metadata"].is_object() {
        template["metadata"] = json!({});
    }
    template["metadata"]["labels"][HASH_LABEL] = json!(hash);
    template
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_stable_and_tells_templates_apart() {
        let template =
            |image: &str| json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": image}]}});
        let first = hash(&template("a"), None);
        assert_eq!(first, hash(&template("a"), None));
        assert_eq!(first, hash(&labelled(&template("a"), "other"), None));
        assert_ne!(first, hash(&template("b"), None));
        assert_ne!(first, hash(&template("a"), Some(1)));
        assert!((8..=10).contains(&first.len()) && first.bytes().all(|byte| SAFE.contains(&byte)), "{first}");
    }

    #[test]
    fn what_the_server_leaves_out_makes_no_difference() {
        let sparse = json!({"metadata": {"labels": {"app": "web"}}, "spec": {}});
        let verbose = json!({"metadata": {"creationTimestamp": null, "labels": {"app": "web", HASH_LABEL: "x"}}, "spec": {"a": null}});
        assert!(same(&sparse, &verbose));
        assert!(!same(&sparse, &json!({"metadata": {"labels": {"app": "web"}}, "spec": {"a": 1}})));
    }
}
