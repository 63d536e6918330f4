//! Stale-view protection: a key is not planned before the view shows what its last plan wrote.
//!
//! Upstream counts the creations and deletions that a controller waits to see. Here every write is remembered with its
//! resourceVersion, which the replies of the server tell, so that the protection covers updates too and cannot miscount.
//! An expectation is met when the view holds the written revision or a later one, when the object was seen to go, or when
//! changes of later revisions of the resource were seen while the object is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_client::Change;
use k8s_object::{GroupVersionResource, NamespacedName, Object};

use crate::controller::Key;

/// After this long a key is planned even if its writes were not seen, as upstream does.
const EXPIRY: Duration = Duration::from_secs(300);

/// An object that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) resource: GroupVersionResource,
    pub(crate) object: NamespacedName,
    pub(crate) uid: String,
    /// The revision of the write; `None` for a deletion.
    pub(crate) version: Option<u64>,
}

type Place = (GroupVersionResource, NamespacedName);

#[derive(Debug)]
struct Expected {
    uid: String,
    version: Option<u64>,
    until: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Expectations {
    by_key: BTreeMap<Key, BTreeMap<Place, Expected>>,
    by_place: BTreeMap<Place, BTreeSet<Key>>,
    /// The latest revision seen of each resource.
    seen: BTreeMap<GroupVersionResource, u64>,
}

impl Expectations {
    /// A key's plan wrote an object.
    pub(crate) fn expect(&mut self, key: &Key, written: Written, now: Duration) {
        let place = (written.resource, written.object);
        let expected = Expected { uid: written.uid, version: written.version, until: now.saturating_add(EXPIRY) };
        self.by_place.entry(place.clone()).or_default().insert(key.clone());
        self.by_key.entry(key.clone()).or_default().insert(place, expected);
    }

    /// A change was seen. Returns the keys that waited for it and wait for nothing else.
    pub(crate) fn see(&mut self, change: &Change) -> Vec<Key> {
        if let Some(version) = change.new.as_deref().and_then(version_of) {
            match self.seen.get_mut(&change.resource) {
                Some(seen) => *seen = version.max(*seen),
                None => drop(self.seen.insert(change.resource.clone(), version)),
            }
        }
        if self.by_place.is_empty() {
            return Vec::new();
        }
        let place = (change.resource.clone(), change.key.clone());
        let keys = self.by_place.get(&place).cloned().unwrap_or_default();
        let mut free = Vec::new();
        for key in keys {
            let expected = self.by_key.get(&key).and_then(|places| places.get(&place));
            let met = expected.is_some_and(|expected| match (change.new.as_deref(), change.old.as_deref()) {
                (Some(new), _) => shows(new, expected),
                (None, Some(old)) => old.meta().uid == expected.uid,
                (None, None) => false,
            });
            if met && self.forget(&key, &place) {
                free.push(key);
            }
        }
        free
    }

    /// How long the key must wait at most, given what the view holds now; `None` when it need not.
    pub(crate) fn wait(
        &mut self,
        key: &Key,
        now: Duration,
        get: impl Fn(&GroupVersionResource, &NamespacedName) -> Option<std::sync::Arc<Object>>,
    ) -> Option<Duration> {
        let places = self.by_key.get(key)?;
        let met = places.iter().filter(|((resource, object), expected)| {
            expected.until <= now
                || match get(resource, object) {
                    Some(found) => shows(&found, expected),
                    None => expected.version.is_none_or(|version| self.seen.get(resource) >= Some(&version)),
                }
        });
        let met: Vec<Place> = met.map(|(place, _)| place.clone()).collect();
        for place in met {
            self.forget(key, &place);
        }
        let until = self.by_key.get(key)?.values().map(|expected| expected.until).min()?;
        Some(until.saturating_sub(now))
    }

    /// Forgets one expectation; true when the key waits for nothing any more.
    fn forget(&mut self, key: &Key, place: &Place) -> bool {
        if let Some(keys) = self.by_place.get_mut(place) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_place.remove(place);
            }
        }
        let Some(places) = self.by_key.get_mut(key) else { return true };
        places.remove(place);
        let free = places.is_empty();
        if free {
            self.by_key.remove(key);
        }
        free
    }
}

/// Whether an object that the view holds proves that the view is as new as the write.
fn shows(object: &Object, expected: &Expected) -> bool {
    let same = object.meta().uid == expected.uid;
    match expected.version {
        Some(version) => version_of(object) >= Some(version),
        None => !same || object.meta().is_terminating(),
    }
}

/// The revision of an object. Revisions of one cluster are numbers and comparable (Kubernetes documents so since 1.35).
pub(crate) fn version_of(object: &Object) -> Option<u64> {
    object.meta().resource_version.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use k8s_object::resources::PODS;
    use serde_json::json;

    fn pod(name: &str, uid: &str, version: u64, terminating: bool) -> Arc<Object> {
        let mut value =
            json!({"metadata": {"namespace": "n", "name": name, "uid": uid, "resourceVersion": version.to_string()}});
        if terminating {
            value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(Object::from_value(&value).unwrap())
    }

    fn change(old: Option<Arc<Object>>, new: Option<Arc<Object>>) -> Change {
        let key = old.as_ref().or(new.as_ref()).unwrap().key();
        Change { resource: PODS, key, old, new }
    }

    #[test]
    fn what_meets_an_expectation() {
        // Written revision (none: a deletion) of uid u, the change that is seen, whether that is enough.
        let cases = [
            (Some(5), change(None, Some(pod("a", "u", 5, false))), true),
            (Some(5), change(None, Some(pod("a", "u", 4, false))), false),
            (Some(5), change(None, Some(pod("a", "other", 9, false))), true),
            (Some(5), change(Some(pod("a", "u", 5, false)), None), true),
            (Some(5), change(Some(pod("a", "older", 3, false)), None), false),
            (Some(5), change(None, Some(pod("b", "u", 9, false))), false),
            (None, change(None, Some(pod("a", "u", 9, false))), false),
            (None, change(None, Some(pod("a", "u", 9, true))), true),
            (None, change(Some(pod("a", "u", 4, false)), None), true),
        ];
        for (version, change, enough) in cases {
            let mut expectations = Expectations::default();
            let key = Key::new(PODS, "n", "owner");
            let object = NamespacedName::new("n", "a");
            let written = Written { resource: PODS, object, uid: "u".into(), version };
            expectations.expect(&key, written, Duration::ZERO);
            assert_eq!(expectations.see(&change) == [key], enough, "{version:?} {change:?}");
        }
    }

    #[test]
    fn a_key_waits_until_the_view_is_fresh_or_time_is_up() {
        let mut expectations = Expectations::default();
        let key = Key::new(PODS, "n", "owner");
        let written =
            Written { resource: PODS, object: NamespacedName::new("n", "a"), uid: "u".into(), version: Some(5) };
        expectations.expect(&key, written.clone(), Duration::ZERO);
        assert_eq!(expectations.wait(&key, Duration::from_secs(1), |_, _| None), Some(Duration::from_secs(299)));
        assert_eq!(expectations.wait(&key, EXPIRY, |_, _| None), None);
        expectations.expect(&key, written.clone(), Duration::ZERO);
        assert_eq!(expectations.wait(&key, Duration::ZERO, |_, _| Some(pod("a", "u", 6, false))), None);
        expectations.expect(&key, written, Duration::ZERO);
        let _ = expectations.see(&change(None, Some(pod("b", "v", 7, false))));
        assert_eq!(expectations.wait(&key, Duration::ZERO, |_, _| None), None, "it came and went before revision 7");
    }
}
