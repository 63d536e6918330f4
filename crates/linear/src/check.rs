//! The search for an order. It ends: every configuration (which operations are placed, and the state) is tried once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::{Call, Change, Guard, History, Key, Operation, Revision, State};

/// Why there is no order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The operation that could not be placed where the search came furthest; absent when all could be, and the watch
    /// delivered a revision that none of them wrote.
    pub unplaced: Option<Operation>,
    /// How many operations had been placed there, and how many there are.
    pub placed: (usize, usize),
    /// What the store held there.
    pub state: State,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (placed, all) = self.placed;
        match &self.unplaced {
            Some(operation) => write!(f, "not linearizable: {operation:?} cannot be placed")?,
            None => write!(f, "not linearizable: no operation wrote revision {}", self.state.revision + 1)?,
        }
        write!(f, "; {placed} of {all} operations were, and the store then held {:?}", self.state)
    }
}

impl std::error::Error for Violation {}

/// Finds an order of the operations, as indices of the history; those of unknown outcome that need not have happened are
/// left out.
///
/// Operations on keys that never meet are judged apart, unless revisions, which all keys share, are compared.
pub fn check(history: &History) -> Result<Vec<usize>, Violation> {
    let operations = &history.operations;
    let mut order = Vec::new();
    for part in parts(history) {
        let chosen: Vec<&Operation> = part.iter().map(|index| &operations[*index]).collect();
        let found = Search::new(&chosen, history).run()?;
        order.extend(found.into_iter().map(|index| part[index]));
    }
    Ok(order)
}

/// Operations that must be judged together.
fn parts(history: &History) -> Vec<Vec<usize>> {
    let compares_revisions = |operation: &Operation| {
        operation.outcome.as_ref().is_some_and(|outcome| outcome.revision.is_some())
            || matches!(&operation.call, Call::Write { guards, .. }
                if guards.iter().any(|guard| matches!(guard, Guard::Modified(..))))
    };
    let operations = &history.operations;
    if history.log.is_some() || operations.iter().any(compares_revisions) {
        return vec![(0..operations.len()).collect()];
    }
    // Each key's group is named by one of its keys; an operation joins the groups of all keys it touches.
    let mut group: BTreeMap<Key, Key> = BTreeMap::new();
    for operation in operations {
        let keys = keys_of(&operation.call);
        let Some(name) = keys.first().map(|key| *group.get(key).unwrap_or(key)) else { continue };
        for key in keys {
            let old = *group.entry(key).or_insert(key);
            group.values_mut().filter(|named| **named == old).for_each(|named| *named = name);
        }
    }
    let mut parts: BTreeMap<Option<Key>, Vec<usize>> = BTreeMap::new();
    for (index, operation) in operations.iter().enumerate() {
        let name = keys_of(&operation.call).first().map(|key| group[key]);
        parts.entry(name).or_default().push(index);
    }
    parts.into_values().collect()
}

fn keys_of(call: &Call) -> Vec<Key> {
    match call {
        Call::Read(scope) => scope.clone().collect(),
        Call::Write { guards, changes } => {
            let guarded = guards.iter().map(|guard| match guard {
                Guard::Modified(key, _) | Guard::Value(key, _) => *key,
            });
            let changed = changes.iter().flat_map(|change| match change {
                Change::Delete(scope) => scope.clone(),
                Change::Put(key, _) => *key..=*key,
            });
            guarded.chain(changed).collect()
        }
    }
}

/// The ends of the list of entries.
const HEAD: usize = 0;
const TAIL: usize = 1;

#[derive(Clone, Copy)]
enum Entry {
    End,
    Call(usize),
    Return(usize),
}

/// How an operation left the list.
#[derive(Clone, Copy, PartialEq)]
enum Choice {
    /// It took effect, and could also have done so later.
    Placed,
    /// It answered and changed nothing, or it must have never happened: no other choice is better.
    Only,
}

struct Search<'a> {
    operations: &'a [&'a Operation],
    history: &'a History,
    /// Calls and returns in the order of time, as a doubly linked list: what is placed is taken out, and put back.
    entries: Vec<Entry>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Where each operation's call and, if it has one, its return stand.
    places: Vec<(usize, Option<usize>)>,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [&'a Operation], history: &'a History) -> Search<'a> {
        let mut times = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            times.push((operation.invoked, Entry::Call(index)));
            times.extend(operation.returned.map(|returned| (returned, Entry::Return(index))));
        }
        // At the same time, calls come first: what may overlap does.
        times.sort_by_key(|(time, entry)| (*time, matches!(entry, Entry::Return(_))));
        let entries: Vec<Entry> =
            [Entry::End, Entry::End].into_iter().chain(times.into_iter().map(|(_, entry)| entry)).collect();
        let mut places = vec![(0, None); operations.len()];
        for (place, entry) in entries.iter().enumerate() {
            match entry {
                Entry::End => {}
                Entry::Call(index) => places[*index].0 = place,
                Entry::Return(index) => places[*index].1 = Some(place),
            }
        }
        let count = entries.len();
        let follow = |place: usize| if place + 1 < count { place + 1 } else { TAIL };
        let next = (0..count).map(|place| if place == HEAD { follow(TAIL) } else { follow(place) }).collect();
        let precede = |place: usize| if place == 2 { HEAD } else { place.saturating_sub(1) };
        let mut previous: Vec<usize> = (0..count).map(precede).collect();
        previous[TAIL] = if count > 2 { count - 1 } else { HEAD };
        Search { operations, history, entries, next, previous, places }
    }

    fn take_out(&mut self, index: usize) {
        let (call, returned) = self.places[index];
        for place in [Some(call), returned].into_iter().flatten() {
            let (previous, next) = (self.previous[place], self.next[place]);
            self.next[previous] = next;
            self.previous[next] = previous;
        }
    }

    /// Undoes the last [`Search::take_out`] that is not undone.
    fn put_back(&mut self, index: usize) {
        let (call, returned) = self.places[index];
        for place in [returned, Some(call)].into_iter().flatten() {
            let (previous, next) = (self.previous[place], self.next[place]);
            self.next[previous] = place;
            self.previous[next] = place;
        }
    }

    fn run(mut self) -> Result<Vec<usize>, Violation> {
        let log = self.history.log.as_ref();
        let last_revision: Revision = log.map_or(0, |log| log.to);
        let mut required = self.operations.iter().filter(|operation| operation.outcome.is_some()).count();
        let mut state = State::default();
        let mut gone = vec![0u64; self.operations.len().div_ceil(64)];
        let mut seen: BTreeSet<(Vec<u64>, State)> = BTreeSet::new();
        let mut taken: Vec<(usize, Choice, bool, State)> = Vec::new();
        let mut furthest: Option<Violation> = None;
        let mut at = self.next[HEAD];
        loop {
            if required == 0 && state.revision >= last_revision {
                return Ok(taken
                    .into_iter()
                    .filter(|(_, _, happened, _)| *happened)
                    .map(|(index, ..)| index)
                    .collect());
            }
            // What can be done here: place the called operation, or give up one of unknown outcome whose time is over.
            let step = match self.entries[at] {
                Entry::End => None,
                Entry::Call(index) => {
                    let operation = self.operations[index];
                    state.after(operation, log).map(|after| {
                        let only = operation.outcome.is_some() && after == state;
                        (index, if only { Choice::Only } else { Choice::Placed }, true, after)
                    })
                }
                Entry::Return(index) => {
                    self.operations[index].outcome.is_none().then(|| (index, Choice::Only, false, state.clone()))
                }
            };
            if let Some((index, choice, happened, after)) = step {
                gone[index / 64] |= 1 << (index % 64);
                if seen.insert((gone.clone(), after.clone())) {
                    required -= usize::from(self.operations[index].outcome.is_some());
                    taken.push((index, choice, happened, std::mem::replace(&mut state, after)));
                    self.take_out(index);
                    at = self.next[HEAD];
                    continue;
                }
                gone[index / 64] &= !(1 << (index % 64));
            }
            if let Entry::Call(_) = self.entries[at] {
                at = self.next[at];
                continue;
            }
            // An operation has returned that cannot be placed before: some earlier choice was wrong.
            if furthest.as_ref().is_none_or(|furthest| furthest.placed.0 < taken.len()) {
                let unplaced = match self.entries[at] {
                    Entry::Return(index) => Some(self.operations[index].clone()),
                    Entry::Call(_) | Entry::End => None,
                };
                let placed = (taken.len(), self.operations.len());
                furthest = Some(Violation { unplaced, placed, state: state.clone() });
            }
            loop {
                let Some((index, choice, _, before)) = taken.pop() else {
                    return Err(furthest.expect("the search has failed at least once"));
                };
                state = before;
                gone[index / 64] &= !(1 << (index % 64));
                required += usize::from(self.operations[index].outcome.is_some());
                self.put_back(index);
                if choice == Choice::Placed {
                    at = self.next[self.places[index].0];
                    break;
                }
            }
        }
    }
}
