//! Counters, gauges and histograms, and families of them by labels. Reading and counting take no lock; a family has a limit of
//! series, and what comes after is counted together under the label value `overflow`.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::text::Page;

/// Places for the series of one family, and how many of them are looked at before the next table is: most families have few
/// series, those of a cluster of a few hundred resources have some thousands; each costs up to a kilobyte. Powers of two.
const TABLES: [(usize, usize); 5] = [(16, 4), (64, 8), (256, 8), (1024, 8), (8192, 64)];

/// What is told of a family besides its values.
#[derive(Debug)]
pub(crate) struct About {
    pub name: &'static str,
    /// With upstream's stability in brackets, in our own words.
    pub help: &'static str,
    pub labels: &'static [&'static str],
}

/// Only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn inc(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

impl Gauge {
    pub(crate) fn add(&self, count: i64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of buckets, in the unit of the metric, ascending.
pub(crate) type Bounds = &'static [f64];

/// Counts of observations by size. `B` says which bounds it has.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: Bounds,
    /// One more than bounds: the last is for what is above them all. Not cumulative.
    buckets: Box<[AtomicU64]>,
    /// In billionths of the unit, so that it can be added to without a lock.
    sum: AtomicU64,
}

/// Billionths: a sum of seconds has room for 584 years.
const SCALE: f64 = 1e9;

impl Histogram {
    pub(crate) fn new(bounds: Bounds) -> Histogram {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, buckets, sum: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, value: f64) {
        self.observe_times(value, 1);
    }

    /// As often as `times` says.
    pub(crate) fn observe_times(&self, value: f64, times: u64) {
        self.buckets[bucket(self.bounds, value)].fetch_add(times, Ordering::Relaxed);
        self.sum.fetch_add((value * SCALE) as u64 * times, Ordering::Relaxed);
    }

    /// What was counted with the bounds of this histogram.
    pub(crate) fn add(&self, tally: &Tally) {
        for (at, count) in &tally.counts {
            self.buckets[*at].fetch_add(*count, Ordering::Relaxed);
        }
        self.sum.fetch_add(tally.sum, Ordering::Relaxed);
    }

    pub(crate) fn seconds(&self, time: Duration) {
        self.observe(time.as_secs_f64());
    }

    /// Cumulative counts by bound, all, and the sum.
    pub(crate) fn read(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut seen = 0;
        let mut below = Vec::with_capacity(self.bounds.len());
        for (bound, bucket) in self.bounds.iter().zip(&self.buckets) {
            seen += bucket.load(Ordering::Relaxed);
            below.push((*bound, seen));
        }
        seen += self.buckets[self.bounds.len()].load(Ordering::Relaxed);
        (below, seen, self.sum.load(Ordering::Relaxed) as f64 / SCALE)
    }
}

/// Observations that were counted beforehand, so that they can be added more than once at little cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    /// By bucket, only those that have any.
    counts: Vec<(usize, u64)>,
    /// In billionths, as [`Histogram::sum`].
    sum: u64,
}

impl Tally {
    /// Of a histogram with these bounds.
    pub(crate) fn new(bounds: Bounds, values: &[f64]) -> Tally {
        let mut counts = vec![0; bounds.len() + 1];
        values.iter().for_each(|value| counts[bucket(bounds, *value)] += 1);
        let counts = counts.into_iter().enumerate().filter(|(_, count)| *count > 0).collect();
        Tally { counts, sum: values.iter().map(|value| (value * SCALE) as u64).sum() }
    }

    /// Observations.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }
}

/// Most observations are small: they end in one of the first buckets.
fn bucket(bounds: Bounds, value: f64) -> usize {
    bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len())
}

/// How a value of a series is shown.
pub(crate) trait Show {
    const KIND: &'static str;
    fn show(&self, page: &mut Page, about: &'static About, labels: &[(&str, &str)]);
}

impl Show for Counter {
    const KIND: &'static str = "counter";

    fn show(&self, page: &mut Page, about: &'static About, labels: &[(&str, &str)]) {
        page.sample(about, Self::KIND, labels, self.get() as f64);
    }
}

impl Show for Gauge {
    const KIND: &'static str = "gauge";

    fn show(&self, page: &mut Page, about: &'static About, labels: &[(&str, &str)]) {
        page.sample(about, Self::KIND, labels, self.get() as f64);
    }
}

impl Show for Histogram {
    const KIND: &'static str = "histogram";

    fn show(&self, page: &mut Page, about: &'static About, labels: &[(&str, &str)]) {
        let (below, count, sum) = self.read();
        page.histogram(about, labels, &below, count, sum);
    }
}

/// What somebody keeps who counts often.
impl<V: Show> Show for Arc<V> {
    const KIND: &'static str = V::KIND;

    fn show(&self, page: &mut Page, about: &'static About, labels: &[(&str, &str)]) {
        V::show(self, page, about, labels);
    }
}

struct Slot<V> {
    hash: u64,
    labels: Box<[Box<str>]>,
    value: V,
}

type Table<V> = Box<[OnceLock<Slot<V>>]>;

/// Series by the values of their labels.
pub(crate) struct Family<V: 'static> {
    pub about: &'static About,
    tables: [OnceLock<Table<V>>; TABLES.len()],
    make: fn() -> V,
    overflow: OnceLock<V>,
}

impl<V> Family<V> {
    pub(crate) const fn new(about: &'static About, make: fn() -> V) -> Family<V> {
        Family { about, tables: [const { OnceLock::new() }; TABLES.len()], make, overflow: OnceLock::new() }
    }

    /// The series with these values of labels, in the order of [`About::labels`].
    pub(crate) fn with(&self, labels: &[&str]) -> &V {
        let hash = hash(labels);
        // Places are never given up, so everybody who looks for the same series ends at the same place.
        for (table, (places, probes)) in self.tables.iter().zip(TABLES) {
            let slots = table.get_or_init(|| (0..places).map(|_| OnceLock::new()).collect());
            for probe in 0..probes {
                let slot = &slots[(hash as usize).wrapping_add(probe) & (places - 1)];
                let found = slot.get_or_init(|| Slot {
                    hash,
                    labels: labels.iter().map(|label| Box::from(*label)).collect(),
                    value: (self.make)(),
                });
                if found.hash == hash && found.labels.iter().map(|label| &**label).eq(labels.iter().copied()) {
                    return &found.value;
                }
            }
        }
        self.overflow.get_or_init(self.make)
    }

    /// All series with their labels' names and values.
    pub(crate) fn each(&self, mut show: impl FnMut(&[(&str, &str)], &V)) {
        let names = self.about.labels;
        let tables = self.tables.iter().filter_map(OnceLock::get);
        for slot in tables.flat_map(|slots| slots.iter().filter_map(OnceLock::get)) {
            let labels: Vec<(&str, &str)> =
                names.iter().copied().zip(slot.labels.iter().map(|label| &**label)).collect();
            show(&labels, &slot.value);
        }
        if let Some(value) = self.overflow.get() {
            let labels: Vec<(&str, &str)> = names.iter().map(|name| (*name, "overflow")).collect();
            show(&labels, value);
        }
    }
}

impl<V: Show> Family<V> {
    pub(crate) fn show(&self, page: &mut Page) {
        self.each(|labels, value| value.show(page, self.about, labels));
    }
}

/// Eight bytes at a time; the same in every run. Labels come from what is served, so nobody gains by collisions.
pub(crate) fn hash(labels: &[&str]) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = 0_u64;
    let mut mix = |word: u64| hash = (hash.rotate_left(23) ^ word).wrapping_mul(MULTIPLIER);
    for label in labels {
        let (words, rest) = label.as_bytes().as_chunks::<8>();
        words.iter().for_each(|word| mix(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        // The length in the last byte tells labels apart that are one after the other.
        last[7] = 0x80 | rest.len() as u8;
        mix(u64::from_le_bytes(last));
    }
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    static ABOUT: About = About { name: "things", help: "Things.", labels: &["a", "b"] };

    #[test]
    fn series_are_told_apart_by_every_label() {
        let family = Family::new(&ABOUT, Counter::default);
        for labels in [["x", "y"], ["xy", ""], ["", "xy"], ["x", "y"]] {
            family.with(&labels).inc();
        }
        assert_eq!(family.with(&["x", "y"]).get(), 2);
        assert_eq!(family.with(&["", "xy"]).get(), 1);
    }

    #[test]
    fn what_was_counted_beforehand_adds_up_to_the_same() {
        const BOUNDS: Bounds = &[1.0, 10.0];
        let (one_by_one, at_once) = (Histogram::new(BOUNDS), Histogram::new(BOUNDS));
        let values = [0.5, 1.0, 1.5, 10.0, 11.0, 0.25];
        values.iter().for_each(|value| one_by_one.observe(*value));
        let tally = Tally::new(BOUNDS, &values);
        at_once.add(&tally);
        assert_eq!(tally.count(), 6);
        assert_eq!(at_once.read(), one_by_one.read());
    }

    #[test]
    fn a_family_does_not_grow_without_end() {
        let family = Family::new(&ABOUT, Counter::default);
        let places = TABLES.iter().map(|(places, _)| places).sum::<usize>();
        for number in 0..2 * places {
            family.with(&[&number.to_string(), ""]).inc();
        }
        let (mut series, mut all, mut over) = (0, 0, 0);
        family.each(|labels, value| {
            series += 1;
            all += value.get();
            if labels[0].1 == "overflow" {
                over = value.get();
            }
        });
        assert_eq!(all, 2 * places as u64, "everything is counted");
        assert!(series <= places + 1 && over >= places as u64 / 2, "{series} series, {over} in the last");
    }

    #[test]
    fn a_family_of_few_series_is_small() {
        let family = Family::new(&ABOUT, Counter::default);
        let places = || family.tables.iter().filter_map(OnceLock::get).map(|table| table.len()).sum::<usize>();
        assert_eq!(places(), 0);
        family.with(&["a", ""]).inc();
        assert_eq!(places(), 16);
        (0..100).for_each(|number| family.with(&[&number.to_string(), "x"]).inc());
        assert!(places() <= 16 + 64 + 256, "{}", places());
        assert!((0..100).all(|number| family.with(&[&number.to_string(), "x"]).get() == 1));
    }

    #[test]
    fn observations_go_to_the_bucket_that_they_fit_in() {
        let histogram = Histogram::new(&[0.1, 1.0]);
        [0.1, 0.2, 5.0].into_iter().for_each(|value| histogram.observe(value));
        assert_eq!(histogram.read(), (vec![(0.1, 1), (1.0, 2)], 3, 5.3));
    }
}
