//! Owners that an object names twice: the second goes, and the client is told (apiserver `dedupOwnerReferences`).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::core::Call;

const WHAT: &str = ".metadata.ownerReferences contains duplicate entries";
const ADVICE: &str = "API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed";

/// Of what a client sends.
pub(crate) fn sent(call: &mut Call<'_>, object: &mut Value) {
    tell(call, object, "");
}

/// Of what those who admit objects have made of it; of a patched object as a whole.
pub(crate) fn admitted(call: &mut Call<'_>, object: &mut Value) {
    tell(call, object, " after mutating admission happens");
}

fn tell(call: &mut Call<'_>, object: &mut Value, when: &str) {
    let twice = without_copies(object);
    if !twice.is_empty() {
        call.warnings.push(format!("{WHAT}{when}; {ADVICE}: {}", twice.join(", ")));
    }
}

/// Takes copies away; the UIDs of their owners. Owners of one UID that differ in anything are kept.
fn without_copies(object: &mut Value) -> Vec<String> {
    let list = object["metadata"].get_mut("ownerReferences").and_then(Value::as_array_mut);
    let Some(list) = list.filter(|list| list.len() > 1) else { return Vec::new() };
    let (mut seen, mut twice) = (BTreeSet::new(), Vec::new());
    list.retain(|owner| {
        let is_new = seen.insert(owner.to_string());
        if !is_new {
            twice.push(owner["uid"].as_str().unwrap_or("").to_owned());
        }
        is_new
    });
    twice
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_whole_copies_go() {
        let owner = |uid: &str, name: &str| json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid});
        let (a, b, other) = (owner("a", "x"), owner("b", "x"), owner("a", "y"));
        let cases = [
            (json!([]), json!([]), vec![]),
            (json!([a, b]), json!([a, b]), vec![]),
            (json!([a, other]), json!([a, other]), vec![]),
            (json!([a, b, a, b, other, a]), json!([a, b, other]), vec!["a", "b", "a"]),
        ];
        for (list, left, twice) in cases {
            let mut object = json!({"metadata": {"ownerReferences": list}});
            assert_eq!(without_copies(&mut object), twice, "{list}");
            assert_eq!(object["metadata"]["ownerReferences"], left);
        }
        let mut none = json!({"metadata": {}});
        assert!(without_copies(&mut none).is_empty());
    }
}
