//! How many watchers a write reaches, which is a part of what it costs (upstream `watch_tracker.go`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_client::Request;
use k8s_object::FieldSelector;

use crate::metrics::hash;

/// Counts watches by what they watch. Keys are hashes: two that are equal by chance make an estimate a little too high.
#[derive(Default)]
pub(crate) struct Watches {
    all: AtomicUsize,
    counts: Mutex<BTreeMap<u64, usize>>,
}

/// A watch that is open.
pub(crate) struct Watched {
    watches: Arc<Watches>,
    key: u64,
}

impl Watches {
    /// Counts a watch until what is returned is dropped.
    pub(crate) fn open(self: &Arc<Watches>, group: &str, resource: &str, namespace: &str, name: &str) -> Watched {
        let key = hash(&[group, resource, namespace, name]);
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
        self.all.fetch_add(1, Ordering::Relaxed);
        Watched { watches: self.clone(), key }
    }

    /// Counts a watch by its request. Those of pods on one node are not counted: a write reaches one of them.
    pub(crate) fn open_for(self: &Arc<Watches>, request: &Request) -> Option<Watched> {
        let resource = &request.resource;
        let fields = request.options.field_selector.as_deref().filter(|text| !text.is_empty());
        let fields = fields.and_then(|text| FieldSelector::parse(text).ok());
        let required = |field| fields.as_ref().and_then(|fields| fields.required(field)).unwrap_or("");
        if resource.resource == "pods" && !required("spec.nodeName").is_empty() {
            return None;
        }
        // To watch all objects of one name is to watch that object.
        let name = if request.name.is_empty() { required("metadata.name") } else { &request.name };
        Some(self.open(&resource.group, &resource.resource, &request.namespace, name))
    }

    /// How many are interested in a write of this object; `enough` or fewer need not be counted.
    pub(super) fn interested(&self, group: &str, resource: &str, namespace: &str, name: &str, enough: usize) -> usize {
        let all = self.all.load(Ordering::Relaxed);
        if all < enough {
            return 0;
        }
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |namespace, name| counts.get(&hash(&[group, resource, namespace, name])).copied().unwrap_or(0);
        let mut count = of("", "");
        if !namespace.is_empty() {
            count += of(namespace, "");
        }
        if !name.is_empty() {
            count += of(namespace, name);
        }
        count
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watches.all.fetch_sub(1, Ordering::Relaxed);
        let mut counts = self.watches.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_count_by_what_they_select() {
        let watches = Arc::new(Watches::default());
        let cases = [("", 1, 1), ("spec.nodeName=n", 0, 0), ("metadata.name=x", 1, 0), ("spec.nodeName!=n", 1, 1)];
        for (selector, one, other) in cases {
            let request = Request {
                options: k8s_client::Options { field_selector: Some(selector.to_owned()), ..Default::default() },
                ..Request::new(k8s_client::Verb::Watch, &k8s_object::resources::PODS, "a", "")
            };
            let _open = watches.open_for(&request);
            let count = |name| watches.interested("", "pods", "a", name, 0);
            assert_eq!((count("x"), count("y")), (one, other), "{selector}");
        }
    }

    #[test]
    fn watches_count_while_they_are_open() {
        let watches = Arc::new(Watches::default());
        let all = watches.open("", "pods", "", "");
        let one = watches.open("", "pods", "a", "x");
        let _other = watches.open("", "pods", "b", "");
        let count = |name| watches.interested("", "pods", "a", name, 0);
        assert_eq!((count("x"), count("y"), count("")), (2, 1, 1));
        drop(all);
        assert_eq!(count("x"), 1);
        drop(one);
        assert_eq!((count("x"), watches.interested("", "pods", "b", "z", 0)), (0, 1));
        assert_eq!(watches.interested("", "pods", "b", "z", 10), 0, "few watches are not counted");
    }
}
