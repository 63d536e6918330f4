//! How figures are printed.

use std::time::Duration;

/// Median and largest of some durations.
pub struct Spread {
    pub median: Duration,
    pub worst: Duration,
}

/// Sorts and summarises.
///
/// # Panics
/// If there are none.
pub fn spread(mut durations: Vec<Duration>) -> Spread {
    durations.sort();
    Spread { median: durations[durations.len() / 2], worst: *durations.last().expect("at least one run") }
}

/// One line: what, the figure, and what it is measured against.
pub fn line(what: &str, figure: &str, beside: &str) {
    println!("  {what:<52} {figure:>16}   {beside}");
}

/// `1.23 ms`
pub fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}

/// Operations per second.
pub fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
