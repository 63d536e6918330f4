//! Pods for which room is made on a node, until they have one.
//!
//! What a decision nominates holds at once; what `status.nominatedNodeName` says afterwards replaces it when it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::pod_info::{PodInfo, PodKey};

/// A pod and the node where room is made for it.
#[derive(Debug, Clone)]
pub struct Nomination {
    pub pod: Arc<PodInfo>,
    pub node: Box<str>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Nominations {
    by_pod: BTreeMap<PodKey, Nomination>,
    by_node: BTreeMap<Box<str>, Vec<Arc<PodInfo>>>,
}

impl Nominations {
    /// Where room is made for a pod.
    pub fn node_of(&self, key: &PodKey) -> Option<&str> {
        self.by_pod.get(key).map(|nomination| &*nomination.node)
    }

    /// For whom room is made on a node.
    pub fn on(&self, node: &str) -> &[Arc<PodInfo>] {
        if self.by_node.is_empty() {
            return &[];
        }
        self.by_node.get(node).map_or(&[], Vec::as_slice)
    }

    /// Nominates a pod to a node, and no longer to another. Answers with the nomination that ended.
    pub fn set(&mut self, pod: &Arc<PodInfo>, node: &str) -> Option<Nomination> {
        let before = self.remove(&pod.key);
        self.by_pod.insert(pod.key.clone(), Nomination { pod: pod.clone(), node: node.into() });
        self.by_node.entry(node.into()).or_default().push(pod.clone());
        before.filter(|before| *before.node != *node)
    }

    /// Ends the nomination of a pod, if it has one, and answers with it.
    pub fn remove(&mut self, key: &PodKey) -> Option<Nomination> {
        let nomination = self.by_pod.remove(key)?;
        if let Some(pods) = self.by_node.get_mut(&nomination.node) {
            pods.retain(|pod| pod.key != *key);
            if pods.is_empty() {
                self.by_node.remove(&nomination.node);
            }
        }
        Some(nomination)
    }

    /// A pod without a node has been seen as it is now. What its status says counts when that has changed; until then a
    /// nomination that is not written yet holds. Answers with the nomination that ended.
    pub fn follow(&mut self, pod: &Arc<PodInfo>) -> Option<Nomination> {
        if self.by_pod.is_empty() && pod.nominated.is_empty() {
            return None;
        }
        let node: Box<str> = match self.by_pod.get(&pod.key) {
            Some(known) if known.pod.nominated == pod.nominated => known.node.clone(),
            _ => pod.nominated.clone(),
        };
        if node.is_empty() { self.remove(&pod.key) } else { self.set(pod, &node) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::pod_object;
    use serde_json::json;

    fn pod(name: &str, nominated: &str) -> Arc<PodInfo> {
        let mut value = pod_object(name, json!({}), json!({})).value();
        value["status"] = json!({"nominatedNodeName": nominated});
        Arc::new(PodInfo::new(&k8s_object::Object::from_value(&value).unwrap(), &Default::default()).unwrap())
    }

    fn names(nominations: &Nominations, node: &str) -> Vec<String> {
        nominations.on(node).iter().map(|pod| pod.key.name.clone()).collect()
    }

    #[test]
    fn what_the_status_says_counts_once_it_changes() {
        // What the status says at first and then, what is decided between, where the pod is nominated, what has ended.
        let cases = [
            ("", None, "", None, None),
            ("a", None, "a", Some("a"), None),
            ("a", None, "b", Some("b"), Some("a")),
            ("a", None, "", None, Some("a")),
            ("", Some("a"), "", Some("a"), None),
            ("", Some("a"), "a", Some("a"), None),
            ("", Some("a"), "b", Some("b"), Some("a")),
            ("a", Some("b"), "a", Some("b"), None),
            ("a", Some("b"), "", None, Some("b")),
        ];
        for (first, decided, then, expected, ended) in cases {
            let mut nominations = Nominations::default();
            let before = pod("x", first);
            nominations.follow(&before);
            if let Some(node) = decided {
                nominations.set(&before, node);
            }
            let after = pod("x", then);
            let end = nominations.follow(&after);
            let case = format!("{first} {decided:?} {then}");
            assert_eq!(end.map(|end| end.node).as_deref(), ended, "{case}");
            assert_eq!(nominations.node_of(&after.key), expected, "{case}");
            for node in ["a", "b"] {
                let there: &[&str] = if expected == Some(node) { &["x"] } else { &[] };
                assert_eq!(names(&nominations, node), there, "{case}");
            }
        }
    }

    #[test]
    fn several_pods_may_be_nominated_to_one_node() {
        let mut nominations = Nominations::default();
        let (x, y) = (pod("x", ""), pod("y", ""));
        nominations.set(&x, "a");
        nominations.set(&y, "a");
        assert_eq!(names(&nominations, "a"), ["x", "y"]);
        assert!(nominations.remove(&x.key).is_some() && nominations.remove(&x.key).is_none());
        assert_eq!(names(&nominations, "a"), ["y"]);
        nominations.remove(&y.key);
        assert!(nominations.by_pod.is_empty() && nominations.by_node.is_empty());
    }
}
