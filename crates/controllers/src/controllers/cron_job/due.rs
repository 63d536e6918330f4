//! When a schedule is due, in the time of its zone.

use std::time::Duration;

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use k8s_kinds::cron::{Fields, Schedule, Times};
use k8s_object::views::CronJob;
use world::Timestamp;

use super::super::time;

/// What is due this many years from now counts as never: no such day.
const MAX_YEARS: i16 = 5;
/// Added to every wait, in case clocks differ.
const MARGIN: Duration = Duration::from_millis(100);
/// More than this many missed starts are worth a warning.
const MANY: i64 = 100;

/// A schedule in a zone.
pub(super) struct Due {
    times: Times,
    zone: TimeZone,
}

/// The latest start that should have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Latest {
    /// The last start that was, or since when starts count.
    since: Timestamp,
    pub(super) at: Option<Timestamp>,
    missed: i64,
}

impl Latest {
    pub(super) fn has_missed_many(self) -> bool {
        self.missed > MANY
    }
}

/// The schedule has no two starts that differ: such a day never comes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Impossible;

impl std::fmt::Display for Impossible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("time difference between two schedules is less than 1 second")
    }
}

impl Due {
    pub(super) fn new(schedule: Schedule, zone: TimeZone) -> Due {
        Due { times: schedule.times, zone }
    }

    /// The first start after a moment.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.times {
            Times::Every(interval) => Some(Timestamp::from_seconds(after.seconds()) + *interval),
            Times::At(fields) => next(fields, &self.zone, after),
        }
    }

    /// The latest start that should have been by now, of those that may still be if `deadline` counts.
    pub(super) fn latest(&self, job: &CronJob, now: Timestamp, deadline: bool) -> Result<Latest, Impossible> {
        let created = time(job.metadata.creation_timestamp.as_ref());
        let mut since = job.status.last_schedule_time.as_ref().map_or(created, |last| time(Some(last)));
        if let Some(seconds) = job.spec.starting_deadline_seconds.filter(|_| deadline) {
            since = since.max(now - Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        }
        let first = self.next(since).ok_or(Impossible)?;
        if now < first {
            return Ok(Latest { since, at: None, missed: 0 });
        }
        let second = self.next(first).ok_or(Impossible)?;
        if now < second {
            return Ok(Latest { since, at: Some(first), missed: 0 });
        }
        let between = second.seconds() - first.seconds();
        if between < 1 {
            return Err(Impossible);
        }
        // Roughly, by the first interval: then the schedule itself says the latest, however irregular it is.
        let missed = (now.seconds() - first.seconds()) / between + 1;
        let start = Timestamp::from_seconds(first.seconds() + (missed - 2) * between);
        let mut at = None;
        let mut next = self.next(start);
        while let Some(moment) = next.filter(|moment| *moment <= now) {
            at = Some(moment);
            next = self.next(moment);
        }
        Ok(Latest { since, at, missed })
    }

    /// How long to wait for the next start.
    pub(super) fn wait(&self, job: &CronJob, now: Timestamp) -> Option<Duration> {
        let from = match self.latest(job, now, false) {
            Err(Impossible) => now,
            Ok(Latest { at: Some(at), .. }) => at,
            Ok(Latest { missed: 0, since, .. }) => since,
            Ok(_) => now,
        };
        Some((self.next(from)? + MARGIN).since(now))
    }
}

fn has(set: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|number| set >> number & 1 == 1)
}

/// Whether month and day are right.
fn matches(fields: &Fields, date: Date) -> bool {
    let (day, weekday) = (has(fields.days, date.day()), has(fields.weekdays, date.weekday().to_sunday_zero_offset()));
    has(fields.months, date.month()) && if fields.both { day && weekday } else { day || weekday }
}

/// The first minute after a moment that is right. An hour that a clock change leaves out has no starts, one that it repeats has
/// them twice.
fn next(fields: &Fields, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let minute = (after.seconds() + 60).div_euclid(60) * 60;
    let mut moment = jiff::Timestamp::from_second(minute).ok()?.to_zoned(zone.clone());
    let last_year = moment.year() + MAX_YEARS;
    while moment.year() <= last_year {
        let mut date = moment.date();
        if !matches(fields, date) {
            while !matches(fields, date) {
                date = date.tomorrow().ok()?;
                if date.year() > last_year {
                    return None;
                }
            }
            moment = date.to_zoned(zone.clone()).ok()?.start_of_day().ok()?;
        }
        let past = i64::from(moment.minute());
        let hour_is_over = !has(fields.hours, moment.hour());
        let minute = (moment.minute()..60).find(|minute| has(fields.minutes, *minute));
        match minute.filter(|_| !hour_is_over) {
            Some(minute) => {
                let found = moment.checked_add((i64::from(minute) - past).minutes()).ok()?;
                return Some(Timestamp::from_seconds(found.timestamp().as_second()));
            }
            None => moment = moment.checked_add((60 - past).minutes()).ok()?,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_object::ObjectMeta;

    fn due(text: &str, zone: &str) -> Due {
        Due::new(k8s_kinds::cron::parse(text).unwrap(), TimeZone::get(zone).unwrap())
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn schedules_are_due_in_their_zone() {
        // Schedule, zone, after, the next ones.
        let cases: [(&str, &str, &str, &[&str]); 12] = [
            ("* * * * *", "UTC", "2026-01-01T00:00:00Z", &["2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"]),
            ("*/15 * * * *", "UTC", "2026-01-01T00:07:59Z", &["2026-01-01T00:15:00Z"]),
            ("30 6-16/4 * * 1-5", "UTC", "2026-01-02T14:30:00Z", &["2026-01-05T06:30:00Z", "2026-01-05T10:30:00Z"]),
            ("0 0 31 * *", "UTC", "2026-01-31T00:00:00Z", &["2026-03-31T00:00:00Z"]),
            (
                "0 0 13 * 5",
                "UTC",
                "2026-01-01T00:00:00Z",
                &["2026-01-02T00:00:00Z", "2026-01-09T00:00:00Z", "2026-01-13T00:00:00Z"],
            ),
            ("0 0 * * 0", "UTC", "2026-01-01T00:00:00Z", &["2026-01-04T00:00:00Z"]),
            ("@every 90s", "UTC", "2026-01-01T00:00:10Z", &["2026-01-01T00:01:40Z"]),
            ("0 9 * * *", "Asia/Tokyo", "2026-01-01T00:00:00Z", &["2026-01-02T00:00:00Z"]),
            // The clock goes from 2:00 to 3:00: half past two does not come.
            ("30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", &["2026-03-09T06:30:00Z"]),
            // And from 2:00 back to 1:00: half past one comes twice.
            (
                "30 1 * * *",
                "America/New_York",
                "2026-11-01T00:00:00Z",
                &["2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z", "2026-11-02T06:30:00Z"],
            ),
            ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z"]),
            ("0 0 31 2 *", "UTC", "2026-01-01T00:00:00Z", &[]),
        ];
        for (text, zone, after, expected) in cases {
            let schedule = due(text, zone);
            let mut moment = at(after);
            for expected in expected {
                moment = schedule.next(moment).unwrap_or_else(|| panic!("{text} is due"));
                assert_eq!(moment.to_string(), *expected, "{text} in {zone} after {after}");
            }
            assert!(!expected.is_empty() || schedule.next(moment).is_none(), "{text} is never due");
        }
    }

    #[test]
    fn what_was_missed_and_how_long_to_wait() {
        let job = |last: Option<&str>, deadline: Option<i64>| {
            let created = Some("2026-01-01T00:00:00Z".to_owned());
            let mut job = CronJob {
                metadata: ObjectMeta { creation_timestamp: created, ..ObjectMeta::default() },
                ..CronJob::default()
            };
            job.status.last_schedule_time = last.map(str::to_owned);
            job.spec.starting_deadline_seconds = deadline;
            job
        };
        let hourly = due("0 * * * *", "UTC");
        // Last start, deadline, now, the start that should have been, how many were missed, the wait in seconds.
        let cases = [
            (None, None, "2026-01-01T00:30:00Z", None, 0, 1800),
            (None, None, "2026-01-01T01:00:00Z", Some("2026-01-01T01:00:00Z"), 0, 3600),
            (Some("2026-01-01T01:00:00Z"), None, "2026-01-01T01:10:00Z", None, 0, 3000),
            (Some("2026-01-01T01:00:00Z"), None, "2026-01-01T05:10:00Z", Some("2026-01-01T05:00:00Z"), 4, 3000),
            (None, Some(60), "2026-01-01T05:10:00Z", None, 0, 3000),
            (None, None, "2026-01-09T05:10:00Z", Some("2026-01-09T05:00:00Z"), 197, 3000),
        ];
        for (last, deadline, now, expected, missed, wait) in cases {
            let (job, now) = (job(last, deadline), at(now));
            let latest = hourly.latest(&job, now, true).unwrap();
            assert_eq!((latest.at.map(|at| at.to_string()).as_deref(), latest.missed), (expected, missed), "{now}");
            assert_eq!(hourly.wait(&job, now), Some(Duration::from_secs(wait) + MARGIN), "{now}");
        }
        assert_eq!(
            due("0 0 31 2 *", "UTC").latest(&job(None, None), at("2026-01-02T00:00:00Z"), true),
            Err(Impossible)
        );
    }
}
