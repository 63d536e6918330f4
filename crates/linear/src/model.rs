//! The sequential store that histories are compared with: etcd's rules for revisions, one operation at a time.

use std::collections::BTreeMap;

use crate::{Answer, Call, Change, Guard, Held, Key, Log, Operation, Outcome, Revision, Value};

/// What the store holds at one moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct State {
    pub revision: Revision,
    pub keys: BTreeMap<Key, Held>,
}

impl Default for State {
    /// A store that was never written to is at revision 1.
    fn default() -> State {
        State { revision: 1, keys: BTreeMap::new() }
    }
}

impl State {
    /// The state after `operation`, if it can be the next: its outcome, where known, is what this state answers, and its
    /// revision, where the watch tells, is the one it delivered.
    pub(crate) fn after(&self, operation: &Operation, log: Option<&Log>) -> Option<State> {
        match &operation.call {
            Call::Read(scope) => {
                let Some(Outcome { revision, answer: Answer::Read(read) }) = &operation.outcome else {
                    return operation.outcome.is_none().then(|| self.clone());
                };
                let held = self.keys.range(scope.clone());
                let same = match revision {
                    Some(revision) => *revision == self.revision && held.eq(read.iter().map(|(key, held)| (key, held))),
                    None => {
                        held.map(|(key, held)| (*key, held.value)).eq(read.iter().map(|(key, held)| (*key, held.value)))
                    }
                };
                same.then(|| self.clone())
            }
            Call::Write { guards, changes } => {
                let holds = guards.iter().all(|guard| self.holds(guard));
                let next = if holds { self.changed(changes, log)? } else { self.clone() };
                match &operation.outcome {
                    None => Some(next),
                    Some(Outcome { revision, answer: Answer::Written(succeeded) }) => {
                        let same = *succeeded == holds && revision.is_none_or(|revision| revision == next.revision);
                        same.then_some(next)
                    }
                    Some(_) => None,
                }
            }
        }
    }

    fn holds(&self, guard: &Guard) -> bool {
        match guard {
            Guard::Modified(key, revision) => self.keys.get(key).map_or(0, |held| held.modified) == *revision,
            Guard::Value(key, value) => self.keys.get(key).is_some_and(|held| held.value == *value),
        }
    }

    /// Nothing when the watch has delivered something else at that revision.
    fn changed(&self, changes: &[Change], log: Option<&Log>) -> Option<State> {
        let (mut next, revision) = (self.clone(), self.revision + 1);
        let mut events: BTreeMap<Key, Option<Value>> = BTreeMap::new();
        for change in changes {
            match change {
                Change::Delete(scope) => {
                    let gone: Vec<Key> = next.keys.range(scope.clone()).map(|(key, _)| *key).collect();
                    for key in gone {
                        next.keys.remove(&key);
                        events.insert(key, None);
                    }
                }
                Change::Put(key, value) => {
                    let (created, version) =
                        next.keys.get(key).map_or((revision, 1), |held| (held.created, held.version + 1));
                    next.keys.insert(*key, Held { value: *value, created, modified: revision, version });
                    events.insert(*key, Some(*value));
                }
            }
        }
        // A deletion that finds nothing is no write.
        if events.is_empty() {
            return Some(next);
        }
        next.revision = revision;
        match log {
            Some(log) if (log.from..=log.to).contains(&revision) => {
                (log.changes.get(&revision) == Some(&events)).then_some(next)
            }
            _ => Some(next),
        }
    }
}
