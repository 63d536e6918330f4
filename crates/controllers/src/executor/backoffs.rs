//! Waits that grow with every attempt in vain at something below a key, such as a pod that fails on one node again and again
//! (client-go `flowcontrol.Backoff`). As upstream's they live as long as the process: a restart only tries sooner.

use std::collections::BTreeMap;
use std::time::Duration;

use world::Timestamp;

/// The wait after the first attempt, doubled with each further one up to the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// What has not been tried for this long begins anew.
const FORGOTTEN: Duration = Duration::from_secs(30 * 60);
/// Items that are remembered. The older half of them is forgotten when it is full, so that its waits begin anew.
const MAX_ITEMS: usize = 10_000;

#[derive(Debug)]
struct Entry {
    wait: Duration,
    last: Timestamp,
}

#[derive(Debug, Default)]
pub(crate) struct Backoffs {
    items: BTreeMap<String, Entry>,
}

impl Backoffs {
    /// How long an item still has to wait.
    pub(crate) fn remaining(&self, item: &str, now: Timestamp) -> Duration {
        let entry = self.items.get(item).filter(|entry| now.since(entry.last) <= FORGOTTEN);
        entry.map_or(Duration::ZERO, |entry| entry.wait.saturating_sub(now.since(entry.last)))
    }

    /// Notes one more attempt.
    pub(crate) fn note(&mut self, item: &str, now: Timestamp) {
        match self.items.get_mut(item) {
            Some(entry) if now.since(entry.last) <= FORGOTTEN => {
                entry.wait = (entry.wait * 2).min(LONGEST);
                entry.last = now;
            }
            Some(entry) => *entry = Entry { wait: FIRST, last: now },
            None => {
                self.make_room(now);
                self.items.insert(item.to_owned(), Entry { wait: FIRST, last: now });
            }
        }
    }

    fn make_room(&mut self, now: Timestamp) {
        if self.items.len() < MAX_ITEMS {
            return;
        }
        self.items.retain(|_, entry| now.since(entry.last) <= FORGOTTEN);
        if self.items.len() >= MAX_ITEMS {
            let mut ages: Vec<Timestamp> = self.items.values().map(|entry| entry.last).collect();
            ages.sort();
            let middle = ages[ages.len() / 2];
            self.items.retain(|_, entry| entry.last > middle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_are_forgotten() {
        let at = Timestamp::from_seconds;
        let mut backoffs = Backoffs::default();
        let left = |backoffs: &Backoffs, seconds| backoffs.remaining("a", at(seconds)).as_secs();
        assert_eq!(left(&backoffs, 0), 0);
        for (tried, wait) in [(0, 1), (10, 2), (20, 4), (30, 8), (40, 16)] {
            backoffs.note("a", at(tried));
            assert_eq!((left(&backoffs, tried), left(&backoffs, tried + 1)), (wait, wait - 1));
        }
        (0..20).for_each(|_| backoffs.note("a", at(50)));
        assert_eq!((left(&backoffs, 50), left(&backoffs, 50 + 900)), (900, 0));
        backoffs.note("a", at(50 + 1801));
        assert_eq!(left(&backoffs, 50 + 1801), 1, "it begins anew");
    }

    #[test]
    fn no_more_are_remembered_than_the_limit() {
        let mut backoffs = Backoffs::default();
        for item in 0..MAX_ITEMS * 3 {
            let now = Timestamp::from_micros(i64::try_from(item).unwrap());
            backoffs.note(&item.to_string(), now);
            assert!(backoffs.items.len() <= MAX_ITEMS && !backoffs.remaining(&item.to_string(), now).is_zero());
        }
    }
}
