//! When clients that were turned away should come back (apiserver `DroppedRequestsTracker`): later the more of them there are, and
//! sooner again when there are few.

use std::collections::{BTreeMap, VecDeque};

/// Seconds that a client is asked to wait at most.
const MAX_SECONDS: i64 = 32;
/// Priority levels that are told apart. Those that have gone are forgotten with the rest when there are more.
const MAX_LEVELS: usize = 256;

/// Of all priority levels, by the UIDs of their objects.
#[derive(Debug, Default)]
pub(super) struct RetryAfter(BTreeMap<Box<[u8]>, Level>);

impl RetryAfter {
    /// A request of a level was turned away in some second; returns how long its client should wait.
    pub(super) fn dropped(&mut self, level: &[u8], second: i64) -> i64 {
        if self.0.len() >= MAX_LEVELS && !self.0.contains_key(level) {
            self.0.clear();
        }
        let level = self.0.entry(level.into()).or_default();
        level.dropped(second);
        level.after
    }
}

#[derive(Debug)]
struct Level {
    /// Seconds before the current one, and how many were turned away in them; none is older than [`MAX_SECONDS`].
    history: VecDeque<(i64, i64)>,
    current: (i64, i64),
    after: i64,
    /// When clients were last asked to wait longer.
    raised: i64,
}

impl Default for Level {
    fn default() -> Level {
        Level { history: VecDeque::new(), current: (0, 0), after: 1, raised: 0 }
    }
}

impl Level {
    fn dropped(&mut self, second: i64) {
        if self.current.0 == second {
            self.current.1 += 1;
            return;
        }
        self.history.push_back(std::mem::replace(&mut self.current, (second, 1)));
        let kept = (2 * self.after).min(MAX_SECONDS);
        while self.history.front().is_some_and(|(past, _)| second - past > kept) {
            self.history.pop_front();
        }
        let recent = self.history.iter().filter(|(past, _)| second - past <= self.after);
        let dropped: i64 = recent.map(|(_, count)| count).sum();
        if second - self.raised >= self.after && dropped >= 3 * self.after {
            self.after = (2 * self.after).min(MAX_SECONDS);
            self.raised = second;
        } else if dropped < self.after && self.after > 1 {
            self.after -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_asked_to_wait_longer_while_many_are_turned_away() {
        let mut level = Level::default();
        // Second, how many are turned away in it, and how long the last is asked to wait.
        let steps = [(100, 5, 1), (101, 20, 2), (102, 20, 2), (103, 20, 4), (107, 20, 8), (120, 1, 7), (140, 1, 6)];
        for (second, count, expected) in steps {
            (0..count).for_each(|_| level.dropped(second));
            assert_eq!(level.after, expected, "{second}");
        }
        for second in 200..400 {
            (0..500).for_each(|_| level.dropped(second));
        }
        assert_eq!(level.after, MAX_SECONDS);
        assert!(level.history.len() as i64 <= MAX_SECONDS + 1, "{}", level.history.len());
    }

    #[test]
    fn levels_do_not_know_of_each_other_and_are_not_kept_for_ever() {
        let mut all = RetryAfter::default();
        for second in 0..4 {
            for _ in 0..10 {
                all.dropped(b"a", second);
            }
        }
        assert!(all.dropped(b"a", 4) > 1);
        assert_eq!(all.dropped(b"b", 4), 1);
        for level in 0..2000_u32 {
            all.dropped(&level.to_be_bytes(), 4);
        }
        assert!(all.0.len() <= MAX_LEVELS);
    }
}
