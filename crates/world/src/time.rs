//! Points on the wall clock and the forms in which Kubernetes and AWS write them.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on the wall clock: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// The text is not a point in time that [`Timestamp`] reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a time such as 2026-01-31T12:00:00Z")]
pub struct ParseTimestampError {
    /// What was given.
    pub text: String,
}

impl Timestamp {
    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Timestamp {
        Timestamp(micros)
    }

    /// From whole seconds since the Unix epoch.
    pub const fn from_seconds(seconds: i64) -> Timestamp {
        Timestamp(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Seconds since the Unix epoch with their fraction in milliseconds, as AWS JSON protocols write time.
    pub fn epoch_seconds(self) -> f64 {
        (self.0.div_euclid(1000)) as f64 / 1000.0
    }

    /// `2026-01-31T12:00:00.123456Z`, the form of Kubernetes' MicroTime.
    pub fn to_micro_string(self) -> String {
        self.format("%Y-%m-%dT%H:%M:%S%.6fZ")
    }

    /// `20260131T120000Z`, the form of `X-Amz-Date`.
    pub fn to_amz_date(self) -> String {
        self.format("%Y%m%dT%H%M%SZ")
    }

    /// Reads the form of `X-Amz-Date`.
    pub fn parse_amz_date(text: &str) -> Result<Timestamp, ParseTimestampError> {
        let parsed = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text)
            .ok()
            .and_then(|civil| civil.to_zoned(jiff::tz::TimeZone::UTC).ok());
        parsed
            .map(|zoned| Timestamp(zoned.timestamp().as_microsecond()))
            .ok_or_else(|| ParseTimestampError { text: text.to_owned() })
    }

    /// Reads RFC 3339, with any offset and fraction.
    pub fn parse(text: &str) -> Result<Timestamp, ParseTimestampError> {
        let parsed: Result<jiff::Timestamp, _> = text.parse();
        parsed
            .map(|timestamp| Timestamp(timestamp.as_microsecond()))
            .map_err(|_| ParseTimestampError { text: text.to_owned() })
    }

    /// Time since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    fn format(self, format: &str) -> String {
        let clamped = self.0.clamp(jiff::Timestamp::MIN.as_microsecond(), jiff::Timestamp::MAX.as_microsecond());
        let timestamp = jiff::Timestamp::from_microsecond(clamped).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        timestamp.strftime(format).to_string()
    }
}

/// `2026-01-31T12:00:00Z`, whole seconds, the form of Kubernetes' Time.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.format("%Y-%m-%dT%H:%M:%SZ"))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_micro_string())
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;

    fn sub(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_written_and_read() {
        let timestamp = Timestamp::parse("2026-11-20T21:02:03.456789+01:00").unwrap();
        assert_eq!(timestamp.to_string(), "2026-11-20T20:02:03Z");
        assert_eq!(timestamp.to_micro_string(), "2026-11-20T20:02:03.456789Z");
        assert_eq!(timestamp.to_amz_date(), "20261120T200203Z");
        assert_eq!(timestamp.epoch_seconds(), 1_795_204_923.456);
        assert_eq!(Timestamp::parse_amz_date("20261120T200203Z").unwrap().seconds(), timestamp.seconds());
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in ["", "now", "2026-13-01T00:00:00Z", "20261120", "2026-11-20"] {
            assert!(Timestamp::parse(text).is_err() && Timestamp::parse_amz_date(text).is_err(), "{text}");
        }
    }

    #[test]
    fn arithmetic_saturates() {
        let far = Timestamp::from_micros(i64::MAX) + Duration::from_secs(1);
        assert_eq!(far.micros(), i64::MAX);
        assert_eq!(Timestamp::default().since(far), Duration::ZERO);
        assert!(!far.to_string().is_empty());
    }
}
