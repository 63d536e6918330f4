//! What other servers serve, as this server tells it among its own.

use serde_json::{Value, json};

use super::Aggregator;
use crate::registry::{Served, compare_versions};

/// Versions of a group, the most preferred first, and who else than this server serves some.
pub(crate) fn group_versions(aggregator: &Aggregator, served: &Served, group: &str) -> Vec<String> {
    let mut versions = served.versions(group);
    let remotes = aggregator.remotes();
    if remotes.is_empty() {
        return versions;
    }
    let mut theirs: Vec<_> = remotes.values().filter(|remote| remote.group == group).collect();
    theirs.sort_by(|a, b| {
        b.version_priority.cmp(&a.version_priority).then_with(|| compare_versions(&b.version, &a.version))
    });
    for remote in theirs {
        if !versions.contains(&remote.version) {
            versions.push(remote.version.clone());
        }
    }
    versions
}

impl Aggregator {
    /// Groups of which this server serves nothing, the most preferred first.
    pub(crate) fn foreign_groups(&self, served: &Served) -> Vec<String> {
        let remotes = self.remotes();
        let mut groups: Vec<(i64, &str)> = Vec::new();
        for remote in remotes.values().filter(|remote| served.versions(&remote.group).is_empty()) {
            match groups.iter_mut().find(|(_, own)| *own == remote.group) {
                Some((priority, _)) => *priority = (*priority).max(remote.group_priority),
                None => groups.push((remote.group_priority, &remote.group)),
            }
        }
        groups.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        groups.into_iter().map(|(_, group)| group.to_owned()).collect()
    }
}

/// Versions of a group that other servers serve, in the aggregated form.
pub(crate) fn aggregated_versions(aggregator: &Aggregator, group: &str) -> Vec<Value> {
    let remotes = aggregator.remotes();
    let theirs = remotes.values().filter(|remote| remote.group == group);
    theirs
        .map(|remote| {
            let told = aggregator.said(&remote.name).filter(|_| remote.available);
            let freshness = if told.is_some() { "Current" } else { "Stale" };
            let resources =
                told.map(|told| resources(&told.resources, &remote.group, &remote.version)).unwrap_or_default();
            json!({"version": remote.version, "resources": resources, "freshness": freshness})
        })
        .collect()
}

/// A list in the old form as the aggregated form has it: what is below a resource stands in it.
fn resources(list: &Value, group: &str, version: &str) -> Vec<Value> {
    let entries = list["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or("").to_owned();
    let kind = |entry: &Value| {
        let or = |own: String, other: &str| if own.is_empty() { other.to_owned() } else { own };
        json!({"group": or(text(entry, "group"), group), "version": or(text(entry, "version"), version), "kind": text(entry, "kind")})
    };
    let mut found: Vec<Value> = Vec::new();
    for entry in entries.iter().filter(|entry| !text(entry, "name").contains('/')) {
        let name = text(entry, "name");
        let scope = if entry["namespaced"] == true { "Namespaced" } else { "Cluster" };
        let mut own = json!({
            "resource": name, "responseKind": kind(entry), "scope": scope,
            "singularResource": text(entry, "singularName"), "verbs": entry["verbs"],
        });
        for field in ["shortNames", "categories"] {
            if entry[field].is_array() {
                own[field] = entry[field].clone();
            }
        }
        let below: Vec<Value> = entries
            .iter()
            .filter_map(|entry| {
                let subresource = text(entry, "name").strip_prefix(&format!("{name}/"))?.to_owned();
                Some(json!({"subresource": subresource, "responseKind": kind(entry), "verbs": entry["verbs"]}))
            })
            .collect();
        if !below.is_empty() {
            own["subresources"] = json!(below);
        }
        found.push(own);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_lists_become_new_ones() {
        let list = json!({"resources": [
            {"name": "pods", "singularName": "pod", "namespaced": true, "kind": "PodMetrics", "verbs": ["get", "list"]},
            {"name": "pods/x", "singularName": "", "namespaced": true, "kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get"]},
        ]});
        let expected = json!([{
            "resource": "pods", "responseKind": {"group": "g", "version": "v1", "kind": "PodMetrics"}, "scope": "Namespaced",
            "singularResource": "pod", "verbs": ["get", "list"],
            "subresources": [{"subresource": "x", "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}, "verbs": ["get"]}],
        }]);
        assert_eq!(Value::Array(resources(&list, "g", "v1")), expected);
    }
}
