//! The watch cache of one resource: every object once, and the recent changes for those who watch.
//!
//! There are no queues per watcher. A watcher is a position in the ring of changes and reads from there; one that falls out of
//! the ring is told so and lists again. Only the [feed](crate::feed) writes here, in the order of commits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use k8s_client::Items;
use k8s_object::{NamespacedName, Object, Strings};
use store::Revision;
use world::watch;

use crate::fields::Extractor;
use crate::registry::Resource;
use crate::runs::Runs;
use crate::select::Selection;
use crate::wake::{Common, Sleep, Sleepers, Woken};

/// Changes kept per resource: half a second at 30,000 changes a second, which is what a watcher may lag behind.
pub(crate) const MAX_EVENTS: usize = 16_384;
/// Bytes of superseded objects that the ring may keep alive per resource.
const MAX_EVENT_BYTES: usize = 32 << 20;
/// Beyond this many, changes that are older than [`MAX_AGE`] go, so that an idle cluster does not keep its history for ever.
const KEEP_EVENTS: usize = 128;
/// As long as a client may take between a list and the watch that follows (upstream: 75 s).
const MAX_AGE: Duration = Duration::from_secs(75);

/// Objects below which a list is not remembered.
const MIN_LISTED: usize = 64;
/// Lists that are remembered per resource.
const MAX_LISTED: usize = 4;

/// An object with the fields that selectors may ask for.
#[derive(Clone)]
pub(crate) struct Held {
    pub object: Arc<Object>,
    /// In the order of the cache's `selectable`.
    pub fields: Arc<Strings>,
}

/// One change. `gone` is the last state with the revision of the deletion. One without any state is the end of what was watched:
/// it was defined anew.
#[derive(Clone)]
pub(crate) struct Event {
    pub revision: Revision,
    pub old: Option<Held>,
    pub new: Option<Held>,
    pub gone: Option<Arc<Object>>,
    at: Duration,
    bytes: usize,
}

impl Event {
    /// Whether watches are over here.
    pub(crate) fn is_end(&self) -> bool {
        self.old.is_none() && self.new.is_none()
    }
}

pub(crate) struct State {
    objects: BTreeMap<Arc<NamespacedName>, Held>,
    /// Those that are stored otherwise than they are read, as they are stored.
    stored: BTreeMap<NamespacedName, Arc<Object>>,
    /// Keys of objects by the value of the indexed field; empty when no field is indexed.
    indexed: BTreeMap<Box<str>, BTreeSet<Arc<NamespacedName>>>,
    events: VecDeque<Event>,
    /// Sequence number of the first event in the ring.
    first: u64,
    /// All changes after this revision are in the ring.
    since: Revision,
    /// Revision of the last change.
    last: Revision,
    /// Of superseded objects in the ring.
    bytes: usize,
    /// Of the objects that there are.
    object_bytes: usize,
    /// Lists of everything that were asked for since the last change: of a namespace (of all when empty), in a version.
    listed: Mutex<Vec<Listed>>,
}

struct Listed {
    group: String,
    version: String,
    namespace: String,
    items: Items,
}

pub(crate) struct Cache {
    /// Extracts the fields that field selectors may name.
    extractor: RwLock<Arc<Extractor>>,
    state: RwLock<State>,
    /// Counts changes; those who watch everything wait on it.
    changed: watch::Sender<u64>,
    /// Those who watch one name, field value or namespace.
    sleepers: Sleepers,
    /// What was sent to watchers of late.
    runs: Arc<Runs>,
}

impl Cache {
    pub(crate) fn new(extractor: Extractor, revision: Revision) -> Cache {
        let state = State {
            objects: BTreeMap::new(),
            stored: BTreeMap::new(),
            indexed: BTreeMap::new(),
            events: VecDeque::new(),
            first: 0,
            since: revision,
            last: revision,
            bytes: 0,
            object_bytes: 0,
            listed: Mutex::default(),
        };
        Cache {
            extractor: RwLock::new(Arc::new(extractor)),
            state: RwLock::new(state),
            changed: watch::channel(0).0,
            sleepers: Sleepers::default(),
            runs: Arc::default(),
        }
    }

    pub(crate) fn extractor(&self) -> Arc<Extractor> {
        self.extractor.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes the cache hold exactly these objects, given as they are stored, which clients may read otherwise; whoever watches must
    /// list again.
    pub(crate) fn replace_stored(
        &self,
        stored: Vec<Arc<Object>>,
        revision: Revision,
        read: impl Fn(Arc<Object>) -> Arc<Object>,
    ) {
        let read: Vec<Arc<Object>> = stored.iter().cloned().map(read).collect();
        let differ = stored.into_iter().zip(&read).filter(|(stored, read)| !Arc::ptr_eq(stored, read));
        let differ = differ.map(|(stored, _)| (stored.key(), stored)).collect();
        self.replace_with(read, differ, revision, false);
    }

    /// Its objects are defined anew at a revision: other fields are extracted, and they may be read otherwise. Watches end, and none
    /// begins before that revision: no write tells of what has changed.
    pub(crate) fn redefine(
        &self,
        extractor: Extractor,
        revision: Revision,
        read: Option<&dyn Fn(Arc<Object>) -> Arc<Object>>,
    ) {
        *self.extractor.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(extractor);
        let (mut objects, mut stored) = {
            let state = self.read();
            let objects: Vec<Arc<Object>> = state.objects.values().map(|held| held.object.clone()).collect();
            (objects, state.stored.clone())
        };
        if let Some(read) = read {
            for object in &mut objects {
                let own = stored.remove(&object.key()).unwrap_or_else(|| object.clone());
                *object = read(own.clone());
                if !Arc::ptr_eq(object, &own) {
                    stored.insert(own.key(), own);
                }
            }
        }
        self.replace_with(objects, stored, revision, true);
    }

    /// There are no objects any more, and nothing to watch.
    pub(crate) fn end(&self, revision: Revision) {
        self.replace_with(Vec::new(), BTreeMap::new(), revision, true);
    }

    pub(crate) fn hold(&self, object: Arc<Object>) -> Held {
        let fields = self.extractor().extract(&object);
        Held { object, fields }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn runs(&self) -> &Arc<Runs> {
        &self.runs
    }

    /// One object.
    pub(crate) fn get(&self, key: &NamespacedName) -> Option<Arc<Object>> {
        self.read().objects.get(key).map(|held| held.object.clone())
    }

    /// How many objects there are, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        let state = self.read();
        (state.objects.len(), state.object_bytes)
    }

    /// How many objects there are.
    pub(crate) fn len(&self) -> usize {
        self.read().objects.len()
    }

    /// All objects, in order of their keys.
    pub(crate) fn all(&self) -> Vec<Arc<Object>> {
        self.read().objects.values().map(|held| held.object.clone()).collect()
    }

    /// All objects of one namespace, in order of their names.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Arc<Object>> {
        let state = self.read();
        state.range(namespace, None).map(|(_, held)| held.object.clone()).collect()
    }

    /// Whether a namespace has no objects here.
    pub(crate) fn is_empty_in(&self, namespace: &str) -> bool {
        self.read().range(namespace, None).next().is_none()
    }

    /// A receiver that sees every change from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// As [`Cache::subscribe`], to changes of objects that have something in common.
    pub(crate) fn sleep(&self, common: Common) -> (Sleep, watch::Receiver<u64>) {
        self.sleepers.add(common)
    }

    fn replace_with(
        &self,
        objects: Vec<Arc<Object>>,
        stored: BTreeMap<NamespacedName, Arc<Object>>,
        revision: Revision,
        ends: bool,
    ) {
        let held: BTreeMap<_, _> = objects.into_iter().map(|object| (object.key(), self.hold(object))).collect();
        let at = self.extractor().indexed();
        let mut woken = Woken::default();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if ends {
            // Whoever watches reads as far as this; nobody begins before it.
            let at = state.events.back().map_or(Duration::ZERO, |last| last.at);
            state.events.push_back(Event { revision, old: None, new: None, gone: None, at, bytes: 0 });
            if state.events.len() > MAX_EVENTS {
                state.drop_first();
            }
        } else {
            // A gap in the numbers puts all positions out of the ring.
            state.first += state.events.len() as u64 + 1;
            state.events.clear();
            state.bytes = 0;
        }
        (state.objects, state.since, state.last) = (BTreeMap::new(), revision, revision);
        state.indexed.clear();
        state.stored = stored;
        state.object_bytes = 0;
        state.forget();
        for (key, held) in held {
            state.put(at, key, Some(held));
        }
        self.sleepers.lose(&mut woken);
        drop(state);
        woken.wake();
        self.changed.send_modify(|count| *count += 1);
    }

    /// Applies changes of one revision in order. `None` is a deletion.
    pub(crate) fn apply(&self, changes: Vec<(NamespacedName, Option<Arc<Object>>)>, revision: Revision, now: Duration) {
        self.apply_stored(changes, revision, now, |object| object);
    }

    /// As [`Cache::apply`], of objects as they are stored, which clients may read otherwise.
    pub(crate) fn apply_stored(
        &self,
        changes: Vec<(NamespacedName, Option<Arc<Object>>)>,
        revision: Revision,
        now: Duration,
        read: impl Fn(Arc<Object>) -> Arc<Object>,
    ) {
        let mut differ = Vec::new();
        let mut hold = |stored: Arc<Object>| {
            let object = read(stored.clone());
            if !Arc::ptr_eq(&object, &stored) {
                differ.push(stored);
            }
            self.hold(object)
        };
        let changes: Vec<_> = changes.into_iter().map(|(key, object)| (key, object.map(&mut hold))).collect();
        let at = self.extractor().indexed();
        let mut woken = Woken::default();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.forget();
        for (key, new) in changes {
            let old = state.put(at, key.clone(), new.clone());
            state.stored.remove(&key);
            if old.is_none() && new.is_none() {
                continue;
            }
            if !self.sleepers.is_empty() {
                let position = state.end();
                for common in in_common(at, &key, &old, &new) {
                    self.sleepers.mark(&common, position, &mut woken);
                }
            }
            let gone = match (&old, &new) {
                (Some(old), None) => with_revision(&old.object, revision),
                _ => None,
            };
            // What the ring alone keeps alive: the old state, which that of the deletion shares.
            let bytes = old.as_ref().map_or(0, |held| held.object.json_len());
            state.bytes += bytes;
            state.events.push_back(Event { revision, old, new, gone, at: now, bytes });
        }
        state.stored.extend(differ.into_iter().map(|stored| (stored.key(), stored)));
        state.last = revision;
        while state.events.len() > MAX_EVENTS
            || state.bytes > MAX_EVENT_BYTES
            || (state.events.len() > KEEP_EVENTS
                && state.events.front().is_some_and(|event| now.saturating_sub(event.at) > MAX_AGE))
        {
            state.drop_first();
        }
        drop(state);
        woken.wake();
        self.changed.send_modify(|count| *count += 1);
    }
}

/// What a change has in common with what sleepers may wait for.
fn in_common(at: Option<usize>, key: &NamespacedName, old: &Option<Held>, new: &Option<Held>) -> BTreeSet<Common> {
    let values = [old, new].into_iter().flatten().filter_map(|held| held.fields.get(at?));
    let mut common: BTreeSet<Common> = values.map(|value| Common::Field(value.into())).collect();
    common.insert(Common::Name(key.name.as_str().into()));
    common.insert(Common::Namespace(key.namespace.as_str().into()));
    common
}

impl State {
    /// Forgets the oldest change.
    fn drop_first(&mut self) {
        if let Some(dropped) = self.events.pop_front() {
            self.bytes -= dropped.bytes;
            self.since = self.since.max(dropped.revision);
            self.first += 1;
        }
    }

    /// Puts an object in its place, or takes it away; returns what was there. `at` is the indexed field's.
    fn put(&mut self, at: Option<usize>, key: NamespacedName, new: Option<Held>) -> Option<Held> {
        let value = |held: &Option<Held>| held.as_ref().and_then(|held| held.fields.get(at?).map(Box::<str>::from));
        let now = value(&new);
        let bytes = |held: &Option<Held>| held.as_ref().map_or(0, |held| held.object.json_len());
        self.object_bytes += bytes(&new);
        // The index has the very key that the objects have.
        let key = self.objects.get_key_value(&key).map_or_else(|| Arc::new(key), |(own, _)| own.clone());
        let old = match new {
            Some(held) => self.objects.insert(key.clone(), held),
            None => self.objects.remove(&key),
        };
        self.object_bytes -= bytes(&old);
        let before = value(&old);
        if before != now {
            if let Some(before) = before
                && let Some(same) = self.indexed.get_mut(&before)
            {
                same.remove(&key);
                if same.is_empty() {
                    self.indexed.remove(&before);
                }
            }
            if let Some(now) = now {
                self.indexed.entry(now).or_default().insert(key);
            }
        }
        old
    }

    /// As [`State::range`], only those whose indexed field has a value.
    pub(crate) fn indexed<'a>(
        &'a self,
        value: &str,
        namespace: &'a str,
        after: Option<&NamespacedName>,
    ) -> impl Iterator<Item = (&'a NamespacedName, &'a Held)> {
        let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        let keys = self.indexed.get(value).into_iter();
        let keys = keys.flat_map(move |keys| keys.range::<NamespacedName, _>((start.clone(), Bound::Unbounded)));
        let keys = keys.filter(move |key| namespace.is_empty() || key.namespace == namespace);
        keys.filter_map(|key| Some((&**key, self.objects.get(key)?)))
    }

    /// Objects that may be selected, in order of their keys, after `after`.
    pub(crate) fn candidates<'a>(
        &'a self,
        selection: &'a Selection,
        after: Option<&NamespacedName>,
    ) -> impl Iterator<Item = (&'a NamespacedName, &'a Held)> {
        let namespace = selection.namespace();
        let value = selection.indexed();
        let few = value.map(|value| self.indexed(value, namespace, after));
        let all = value.is_none().then(|| self.range(namespace, after));
        few.into_iter().flatten().chain(all.into_iter().flatten())
    }

    /// Objects of a namespace (of all when empty) in order of their keys, after `after`.
    pub(crate) fn range<'a>(
        &'a self,
        namespace: &'a str,
        after: Option<&NamespacedName>,
    ) -> impl Iterator<Item = (&'a NamespacedName, &'a Held)> {
        let start = match after {
            Some(after) => Bound::Excluded(after.clone()),
            None => Bound::Included(NamespacedName::new(namespace, "")),
        };
        // The first key that is beyond all that begin with `namespace/`: what it ends with comes after a slash.
        let end = match namespace {
            "" => Bound::Unbounded,
            namespace => Bound::Excluded(NamespacedName::new("", format!("{namespace}0"))),
        };
        // A page may begin where another namespace's list ended.
        let is_empty = match (&start, &end) {
            (Bound::Excluded(start) | Bound::Included(start), Bound::Excluded(end)) => start >= end,
            _ => false,
        };
        let range = (!is_empty).then(|| self.objects.range::<NamespacedName, _>((start, end)));
        range.into_iter().flatten().map(|(key, held)| (&**key, held))
    }

    /// The list of all objects of a namespace (of all when empty), if it was asked for since the last change.
    pub(crate) fn listed(&self, resource: &Resource, namespace: &str) -> Option<Items> {
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |listed: &&Listed| {
            (listed.namespace.as_str(), &*listed.version, &*listed.group)
                == (namespace, &resource.version, &resource.group)
        };
        listed.iter().find(same).map(|listed| listed.items.clone())
    }

    /// Remembers a list for those who ask before anything changes; small ones are as soon made anew.
    pub(crate) fn remember(&self, resource: &Resource, namespace: &str, items: &Items) {
        if items.len() < MIN_LISTED {
            return;
        }
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        if listed.len() == MAX_LISTED {
            listed.remove(0);
        }
        listed.push(Listed {
            group: resource.group.to_string(),
            version: resource.version.to_string(),
            namespace: namespace.to_owned(),
            items: items.clone(),
        });
    }

    /// Something changes: no list is what it was.
    fn forget(&mut self) {
        self.listed.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn get(&self, key: &NamespacedName) -> Option<&Held> {
        self.objects.get(key)
    }

    /// How many objects of a namespace (of all when empty) there were in a state that [`State::before`] told the differences of.
    pub(crate) fn count(&self, namespace: &str, then: &BTreeMap<NamespacedName, Option<Held>>) -> usize {
        let now = if namespace.is_empty() { self.objects.len() } else { self.range(namespace, None).count() };
        let changed = then.iter().filter(|(key, _)| namespace.is_empty() || key.namespace == namespace);
        changed.fold(now, |count, (key, held)| match (self.objects.contains_key(key), held.is_some()) {
            (true, false) => count - 1,
            (false, true) => count + 1,
            _ => count,
        })
    }

    /// Revision of the last change.
    pub(crate) fn last(&self) -> Revision {
        self.last
    }

    /// The position after the last event.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// The position of the first event after `revision`; `None` when such events may be gone.
    pub(crate) fn position_after(&self, revision: Revision) -> Option<u64> {
        let offset = self.events.partition_point(|event| event.revision <= revision);
        (revision >= self.since).then_some(self.first + offset as u64)
    }

    /// The events from a position on; `None` when it has fallen out of the ring.
    pub(crate) fn from(&self, position: u64) -> Option<impl Iterator<Item = &Event>> {
        let offset = usize::try_from(position.checked_sub(self.first)?).ok()?;
        (offset <= self.events.len()).then(|| self.events.range(offset..))
    }

    /// What the objects that changed after `revision` were then: `None` for those that did not exist. `None` as a whole when
    /// history does not reach back so far.
    pub(crate) fn before(&self, revision: Revision) -> Option<BTreeMap<NamespacedName, Option<Held>>> {
        let mut then = BTreeMap::new();
        for event in self.from(self.position_after(revision)?)? {
            let Some(any) = event.old.as_ref().or(event.new.as_ref()) else { continue };
            then.entry(any.object.key()).or_insert_with(|| event.old.clone());
        }
        Some(then)
    }
}

/// The same object with another resourceVersion; `None` only for what is no object, which is never cached.
pub(crate) fn with_revision(object: &Object, revision: Revision) -> Option<Arc<Object>> {
    object.at_revision(revision).ok().map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, revision: Revision, phase: &str) -> Arc<Object> {
        let stored = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"a"}},"status":{{"phase":"{phase}"}}}}"#
        );
        Arc::new(Object::from_stored(stored, revision).unwrap())
    }

    fn key(name: &str) -> NamespacedName {
        NamespacedName::new("a", name)
    }

    #[test]
    fn the_past_is_reconstructed_from_the_ring() {
        let cache = Cache::new(Extractor::paths(vec!["status.phase".into()]), 1);
        cache.apply(vec![(key("x"), Some(object("x", 2, "Pending")))], 2, Duration::ZERO);
        cache.apply(vec![(key("y"), Some(object("y", 3, "Pending")))], 3, Duration::ZERO);
        cache.apply(vec![(key("x"), Some(object("x", 4, "Running")))], 4, Duration::ZERO);
        cache.apply(vec![(key("y"), None)], 5, Duration::ZERO);
        let state = cache.read();
        let then = state.before(3).unwrap();
        assert_eq!(then[&key("x")].as_ref().unwrap().fields.get(0), Some("Pending"));
        assert_eq!(then[&key("y")].as_ref().unwrap().object.meta().resource_version, "3");
        assert!(state.before(1).unwrap().values().all(Option::is_none));
        assert!(state.before(0).is_none());
        let gone = state.from(state.position_after(4).unwrap()).unwrap().next().unwrap().gone.clone().unwrap();
        assert_eq!(gone.meta().resource_version, "5");
    }

    #[test]
    fn the_index_follows_the_objects() {
        let pod = |name: &str, revision: Revision, node: &str| {
            let stored = format!(
                r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"a"}},"spec":{{"nodeName":"{node}"}}}}"#
            );
            Some(Arc::new(Object::from_stored(stored, revision).unwrap()))
        };
        let cache = Cache::new(Extractor::paths(vec!["status.phase".into(), "spec.nodeName".into()]), 1);
        let on = |node: &str| -> Vec<String> {
            cache.read().indexed(node, "", None).map(|(key, _)| key.name.clone()).collect()
        };
        let put = |name: &str, revision: Revision, object| {
            cache.apply(vec![(key(name), object)], revision, Duration::ZERO);
        };
        put("x", 2, pod("x", 2, ""));
        put("y", 3, pod("y", 3, "n1"));
        put("x", 4, pod("x", 4, "n1"));
        assert_eq!((on("n1"), on("")), (vec!["x".to_owned(), "y".to_owned()], vec![]));
        assert_eq!(cache.read().indexed("n1", "a", Some(&key("x"))).count(), 1);
        assert_eq!(cache.read().indexed("n1", "b", None).count(), 0);
        put("y", 5, None);
        assert_eq!(on("n1"), ["x"]);
        cache.replace_stored(vec![pod("z", 6, "n2").unwrap()], 6, |object| object);
        assert_eq!((on("n1"), on("n2")), (vec![], vec!["z".to_owned()]));
    }

    #[test]
    fn the_ring_is_bounded_by_count_and_age() {
        let cache = Cache::new(Extractor::default(), 1);
        for revision in 2..(MAX_EVENTS as i64 + 12) {
            cache.apply(vec![(key("x"), Some(object("x", revision, "")))], revision, Duration::ZERO);
        }
        assert_eq!(cache.read().events.len(), MAX_EVENTS);
        assert!(cache.read().position_after(5).is_none());
        assert!(cache.read().from(3).is_none());
        cache.apply(vec![(key("x"), None)], 99_999, MAX_AGE * 2);
        assert_eq!(cache.read().events.len(), KEEP_EVENTS);
    }
}
