//! Hand-made histories, good and bad: the checker must accept the first and name the culprit of the second.

use std::collections::BTreeMap;

use crate::*;

/// A history under construction. Times are what the test writes.
#[derive(Default)]
struct Make {
    history: History,
    plain: bool,
}

fn put(key: Key, value: Value) -> Call {
    Call::Write { guards: Vec::new(), changes: vec![Change::Put(key, value)] }
}

fn delete(key: Key) -> Call {
    Call::Write { guards: Vec::new(), changes: vec![Change::Delete(key..=key)] }
}

fn held(value: Value, created: Revision, modified: Revision, version: i64) -> Held {
    Held { value, created, modified, version }
}

/// The first version of a key, written at `revision`.
fn first(value: Value, revision: Revision) -> Held {
    held(value, revision, revision, 1)
}

impl Make {
    /// Values only, no revisions.
    fn plain() -> Make {
        Make { plain: true, ..Make::default() }
    }

    fn add(mut self, call: Call, invoked: Time, returned: Option<Time>, outcome: Option<(Revision, Answer)>) -> Make {
        let outcome = outcome.map(|(revision, answer)| Outcome { revision: (!self.plain).then_some(revision), answer });
        let client = self.history.operations.len();
        self.history.operations.push(Operation { client, call, invoked, returned, outcome });
        self
    }

    fn wrote(self, call: Call, time: (Time, Time), revision: Revision) -> Make {
        self.add(call, time.0, Some(time.1), Some((revision, Answer::Written(true))))
    }

    fn refused(self, call: Call, time: (Time, Time), revision: Revision) -> Make {
        self.add(call, time.0, Some(time.1), Some((revision, Answer::Written(false))))
    }

    fn read(self, scope: Scope, time: (Time, Time), revision: Revision, keys: &[(Key, Held)]) -> Make {
        self.add(Call::Read(scope), time.0, Some(time.1), Some((revision, Answer::Read(keys.to_vec()))))
    }

    fn unknown(self, call: Call, invoked: Time, crashed: Option<Time>) -> Make {
        self.add(call, invoked, crashed, None)
    }

    fn log(mut self, revisions: &[&[(Key, Option<Value>)]]) -> Make {
        let changes: BTreeMap<_, _> =
            (2..).zip(revisions.iter().map(|changes| changes.iter().copied().collect())).collect();
        self.history.log = Some(Log { from: 2, to: revisions.len() as Revision + 1, changes });
        self
    }

    #[track_caller]
    fn good(self, placed: usize) {
        let order = check(&self.history).unwrap_or_else(|violation| panic!("{violation}"));
        assert_eq!(order.len(), placed, "{order:?}");
    }

    /// `culprit` is the index of the operation that cannot be placed.
    #[track_caller]
    fn bad(self, culprit: usize) {
        let violation = check(&self.history).expect_err("a bad history");
        assert_eq!(violation.unplaced.as_ref().map(|operation| operation.client), Some(culprit), "{violation}");
    }
}

#[test]
fn what_overlaps_may_have_any_order() {
    Make::default().wrote(put(1, 10), (0, 9), 3).wrote(put(1, 11), (1, 8), 2).good(2);
    let reader = |make: Make| make.wrote(put(1, 10), (0, 9), 2).read(1..=1, (1, 2), 1, &[]);
    reader(Make::default()).read(1..=1, (3, 4), 2, &[(1, first(10, 2))]).good(3);
}

#[test]
fn a_stale_read_is_found() {
    Make::default().wrote(put(1, 10), (0, 1), 2).read(1..=1, (2, 3), 1, &[]).bad(1);
    Make::plain()
        .wrote(put(1, 10), (0, 1), 2)
        .wrote(put(1, 11), (2, 3), 3)
        .read(1..=1, (4, 5), 0, &[(1, first(10, 2))])
        .bad(2);
}

#[test]
fn reads_do_not_go_back() {
    // Both reads overlap the write, but the second begins after the first has seen it.
    Make::plain()
        .wrote(put(1, 10), (0, 9), 2)
        .read(1..=1, (1, 2), 0, &[(1, first(10, 2))])
        .read(1..=1, (3, 4), 0, &[])
        .bad(2);
}

#[test]
fn a_lost_write_is_found() {
    Make::default()
        .wrote(put(1, 10), (0, 1), 2)
        .wrote(put(2, 20), (2, 3), 3)
        .read(1..=2, (4, 5), 3, &[(2, first(20, 3))])
        .bad(2);
}

#[test]
fn one_revision_is_not_given_twice_nor_left_out() {
    Make::default().wrote(put(1, 10), (0, 9), 2).wrote(put(1, 11), (0, 9), 2).bad(1);
    Make::default().wrote(put(1, 10), (0, 1), 3).bad(0);
}

#[test]
fn write_skew_is_found() {
    let guarded = |seen: Key, written: Key, value: Value| Call::Write {
        guards: vec![Guard::Modified(seen, 0)],
        changes: vec![Change::Put(written, value)],
    };
    let both = |make: Make| make.wrote(guarded(1, 2, 20), (0, 9), 2).wrote(guarded(2, 1, 10), (0, 9), 3);
    assert!(check(&both(Make::default()).history).is_err());
    assert!(check(&both(Make::plain()).history).is_err());
    Make::default().wrote(guarded(1, 2, 20), (0, 9), 2).refused(guarded(2, 1, 10), (0, 9), 2).good(2);
}

#[test]
fn a_write_that_is_applied_twice_is_found() {
    Make::default().wrote(put(1, 10), (0, 1), 2).read(1..=1, (2, 3), 3, &[(1, held(10, 2, 3, 2))]).bad(1);
}

#[test]
fn half_a_transaction_is_found() {
    let both = Call::Write { guards: Vec::new(), changes: vec![Change::Put(1, 10), Change::Put(2, 20)] };
    Make::default().wrote(both.clone(), (0, 9), 2).read(1..=2, (1, 2), 2, &[(1, first(10, 2))]).bad(1);
    Make::default().unknown(both.clone(), 0, None).read(1..=2, (1, 2), 2, &[(2, first(20, 2))]).bad(1);
    Make::default().unknown(both, 0, None).read(1..=2, (1, 2), 2, &[(1, first(10, 2)), (2, first(20, 2))]).good(2);
}

#[test]
fn an_unknown_outcome_is_one_or_the_other() {
    let unknown = || Make::default().unknown(put(1, 10), 0, None);
    unknown().good(0);
    unknown().read(1..=1, (1, 2), 1, &[]).good(1);
    unknown().read(1..=1, (1, 2), 2, &[(1, first(10, 2))]).good(2);
    unknown().read(1..=1, (1, 2), 1, &[]).read(1..=1, (3, 4), 2, &[(1, first(10, 2))]).good(3);
    // Seen once, it has happened.
    Make::plain()
        .unknown(put(1, 10), 0, None)
        .read(1..=1, (1, 2), 0, &[(1, first(10, 2))])
        .read(1..=1, (3, 4), 0, &[])
        .bad(2);
}

#[test]
fn what_a_crash_cut_off_does_not_happen_after_it() {
    let crashed = || Make::default().unknown(put(1, 10), 0, Some(5));
    crashed().read(1..=1, (6, 7), 1, &[]).good(1);
    crashed().read(1..=1, (6, 7), 2, &[(1, first(10, 2))]).good(2);
    crashed().read(1..=1, (6, 7), 1, &[]).read(1..=1, (8, 9), 2, &[(1, first(10, 2))]).bad(2);
}

#[test]
fn deletions_find_what_they_delete() {
    let clear = || Call::Write { guards: Vec::new(), changes: vec![Change::Delete(0..=7)] };
    Make::default().wrote(delete(1), (0, 1), 1).good(1);
    Make::default().wrote(delete(1), (0, 1), 2).bad(0);
    Make::default()
        .wrote(put(1, 10), (0, 1), 2)
        .wrote(put(2, 20), (2, 3), 3)
        .wrote(clear(), (4, 5), 4)
        .wrote(put(2, 21), (6, 7), 5)
        .read(0..=7, (8, 9), 5, &[(2, first(21, 5))])
        .good(5);
}

#[test]
fn the_order_is_that_of_the_watch() {
    let two = || Make::default().wrote(put(1, 10), (0, 9), 2).wrote(put(2, 20), (0, 9), 3);
    two().log(&[&[(1, Some(10))], &[(2, Some(20))]]).good(2);
    two().log(&[&[(2, Some(20))], &[(1, Some(10))]]).bad(0);
    two().log(&[&[(1, Some(10))], &[]]).bad(1);
    // A revision that was delivered but that nobody wrote.
    let violation = check(&two().log(&[&[(1, Some(10))], &[(2, Some(20))], &[(1, None)]]).history).unwrap_err();
    assert_eq!((violation.unplaced, violation.state.revision), (None, 3));
    // What nobody was told of, but the watch delivered, has happened.
    Make::default().unknown(put(1, 10), 0, Some(5)).log(&[&[(1, Some(10))]]).good(1);
}

#[test]
fn keys_that_never_meet_are_judged_apart() {
    // 24 keys, each with overlapping writes whose order only a read at the end decides: together, the search would be
    // through all interleavings.
    let mut make = Make::plain();
    for key in 0..24 {
        let value = Value::from(key) * 10;
        make = make.wrote(put(key, value), (0, 90), 0).wrote(put(key, value + 1), (0, 90), 0).read(
            key..=key,
            (91, 99),
            0,
            &[(key, first(value, 0))],
        );
    }
    make.read(30..=31, (0, 99), 0, &[]).good(24 * 3 + 1);
}
