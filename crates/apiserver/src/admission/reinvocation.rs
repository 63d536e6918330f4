//! The second round of those who change objects: whoever wants to see what others have changed after it is asked once more.

use std::collections::BTreeSet;

use serde_json::Value;

/// What the second round needs to know of the first. `K` tells those who are asked apart.
#[derive(Clone)]
pub(super) struct Reinvocation<K> {
    second: bool,
    /// Those that were asked and want to be asked again should anything change.
    asked: BTreeSet<K>,
    again: BTreeSet<K>,
    /// The object as the round left it.
    last: Option<Value>,
    /// Whether the object was changed, so that there is a second round.
    pub needed: bool,
}

impl<K> Default for Reinvocation<K> {
    fn default() -> Self {
        Reinvocation { second: false, asked: BTreeSet::new(), again: BTreeSet::new(), last: None, needed: false }
    }
}

impl<K: Ord> Reinvocation<K> {
    /// Begins the second round, in which all are asked again if others have changed the object.
    pub(super) fn begin_second(&mut self, object: Option<&Value>) {
        self.second = true;
        if self.last.is_none() || object != self.last.as_ref() {
            self.ask_again();
        }
    }

    pub(super) fn round(&self) -> usize {
        usize::from(self.second)
    }

    /// Whether it is somebody's turn.
    pub(super) fn is_turn(&self, key: &K) -> bool {
        !self.second || self.again.contains(key)
    }

    /// Somebody has changed the object.
    pub(super) fn changed(&mut self) {
        self.ask_again();
        self.needed = true;
    }

    fn ask_again(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        self.again.extend(asked);
    }

    /// Somebody was asked who wants to be asked again.
    pub(super) fn asked(&mut self, key: K) {
        self.asked.insert(key);
    }

    /// Ends a round.
    pub(super) fn end(&mut self, object: Option<&Value>) {
        self.last = object.cloned();
    }
}
