//! Whom a change wakes. A watcher of one name, one field value or one namespace sleeps through all that happens elsewhere: else
//! every change of a pod would wake the kubelet of every node.
//!
//! A sleeper's place in the ring of changes is not moved along with the ring. What it is told instead is the first change since
//! it slept that concerns it, so that it neither reads what it slept through nor falls out of the ring meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use world::watch;

/// What all objects that a watcher asks for have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Common {
    /// The value of the [indexed](crate::fields::Extractor::indexed) field.
    Field(Box<str>),
    Name(Box<str>),
    Namespace(Box<str>),
}

/// What has happened to a sleeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Nothing that concerns it.
    Nothing,
    /// The first change that concerns it, by its position in the ring.
    From(u64),
    /// The changes are not known.
    Lost,
}

struct Sleeper {
    mark: Mutex<Mark>,
    wake: watch::Sender<u64>,
}

impl Sleeper {
    fn mark(&self) -> MutexGuard<'_, Mark> {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Known {
    sleepers: BTreeMap<Common, BTreeMap<u64, Arc<Sleeper>>>,
    next: u64,
}

/// All sleepers of one cache.
#[derive(Clone, Default)]
pub(crate) struct Sleepers(Arc<Mutex<Known>>);

/// One sleeper's own end; it is forgotten when this is dropped.
pub(crate) struct Sleep {
    sleepers: Sleepers,
    common: Common,
    id: u64,
    own: Arc<Sleeper>,
}

impl Sleepers {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new sleeper and what wakes it.
    pub(crate) fn add(&self, common: Common) -> (Sleep, watch::Receiver<u64>) {
        let (wake, woken) = watch::channel(0);
        let own = Arc::new(Sleeper { mark: Mutex::new(Mark::Nothing), wake });
        let mut known = self.known();
        let id = known.next;
        known.next += 1;
        known.sleepers.entry(common.clone()).or_default().insert(id, own.clone());
        drop(known);
        (Sleep { sleepers: self.clone(), common, id, own }, woken)
    }

    /// Whether nobody sleeps, which saves saying what happens.
    pub(crate) fn is_empty(&self) -> bool {
        self.known().sleepers.is_empty()
    }

    /// Marks those whom a change at `position` concerns, and adds them to `woken`.
    pub(crate) fn mark(&self, common: &Common, position: u64, woken: &mut Woken) {
        let known = self.known();
        for sleeper in known.sleepers.get(common).into_iter().flat_map(BTreeMap::values) {
            let mut mark = sleeper.mark();
            if *mark == Mark::Nothing {
                *mark = Mark::From(position);
                woken.0.push(sleeper.clone());
            }
        }
    }

    /// Tells all that changes were lost.
    pub(crate) fn lose(&self, woken: &mut Woken) {
        for sleeper in self.known().sleepers.values().flat_map(BTreeMap::values) {
            *sleeper.mark() = Mark::Lost;
            woken.0.push(sleeper.clone());
        }
    }
}

/// Those who are to be woken once the cache is unlocked.
#[derive(Default)]
pub(crate) struct Woken(Vec<Arc<Sleeper>>);

impl Woken {
    pub(crate) fn wake(self) {
        for sleeper in self.0 {
            sleeper.wake.send_modify(|count| *count += 1);
        }
    }
}

impl Sleep {
    /// What has happened since the last call.
    pub(crate) fn take(&self) -> Mark {
        std::mem::replace(&mut *self.own.mark(), Mark::Nothing)
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let mut known = self.sleepers.known();
        if let Some(same) = known.sleepers.get_mut(&self.common) {
            same.remove(&self.id);
            if same.is_empty() {
                known.sleepers.remove(&self.common);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeper_is_told_the_first_change_that_concerns_it() {
        let sleepers = Sleepers::default();
        let (one, mut woken_one) = sleepers.add(Common::Name("a".into()));
        let (other, mut woken_other) = sleepers.add(Common::Field("a".into()));
        let mut woken = Woken::default();
        for position in [7, 9] {
            sleepers.mark(&Common::Name("a".into()), position, &mut woken);
        }
        assert_eq!(woken.0.len(), 1, "woken once");
        woken.wake();
        assert_eq!((*woken_one.borrow_and_update(), *woken_other.borrow_and_update()), (1, 0));
        assert_eq!((one.take(), one.take(), other.take()), (Mark::From(7), Mark::Nothing, Mark::Nothing));
        sleepers.lose(&mut Woken::default());
        assert_eq!((one.take(), other.take()), (Mark::Lost, Mark::Lost));
        drop(one);
        drop(other);
        assert!(sleepers.is_empty());
    }
}
