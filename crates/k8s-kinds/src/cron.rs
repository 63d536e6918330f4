//! Cron schedules: five fields, a descriptor or an interval, read and judged as robfig/cron does, which upstream uses. When they are
//! due is asked of whoever keeps the time.

use std::time::Duration;

/// Names of the zones of the IANA time zone database (2025, public domain), one a line.
static ZONES: &str = include_str!("kinds/time_zones.txt");

/// Whether the IANA database has a zone of that name.
pub(crate) fn is_zone(name: &str) -> bool {
    ZONES.lines().any(|zone| zone == name)
}

/// A schedule and the zone that its text names, if it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub zone: Option<String>,
    pub times: Times,
}

/// When it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Times {
    /// At these minutes, hours, days and months.
    At(Fields),
    /// Again and again after this long, in whole seconds.
    Every(Duration),
}

/// Sets of numbers as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fields {
    pub minutes: u64,
    pub hours: u64,
    pub days: u64,
    pub months: u64,
    /// Sunday is 0.
    pub weekdays: u64,
    /// A day must be in `days` and in `weekdays`, because one of them is all; else one of both is enough.
    pub both: bool,
}

struct Bounds {
    least: u64,
    most: u64,
    names: &'static [&'static str],
    /// The number of the first name.
    first: u64,
}

const FIELDS: [Bounds; 5] = [
    Bounds { least: 0, most: 59, names: &[], first: 0 },
    Bounds { least: 0, most: 23, names: &[], first: 0 },
    Bounds { least: 1, most: 31, names: &[], first: 0 },
    Bounds {
        least: 1,
        most: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
        first: 1,
    },
    Bounds { least: 0, most: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"], first: 0 },
];

/// What is wrong with a schedule; nothing if it is one.
pub(crate) fn problem(schedule: &str) -> Option<String> {
    parse(schedule).err()
}

/// Reads a schedule; the error is in upstream's words.
pub fn parse(schedule: &str) -> Result<Schedule, String> {
    if schedule.is_empty() {
        return Err("empty spec string".to_owned());
    }
    let zoned = schedule.strip_prefix("TZ=").or_else(|| schedule.strip_prefix("CRON_TZ="));
    let mut zone = None;
    let schedule = match zoned {
        Some(rest) => {
            let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            if !name.is_empty() && name != "Local" && !is_zone(name) {
                return Err(format!("provided bad location {name}: unknown time zone {name}"));
            }
            zone = Some(name.to_owned());
            rest.trim()
        }
        None => schedule,
    };
    if schedule.starts_with('@') {
        return Ok(Schedule { zone, times: descriptor(schedule)? });
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let written = fields.join(" ");
        return Err(format!("expected exactly {} fields, found {}: [{written}]", FIELDS.len(), fields.len()));
    }
    let mut sets = [0; FIELDS.len()];
    let mut all = [false; FIELDS.len()];
    for (at, (field, bounds)) in fields.iter().zip(&FIELDS).enumerate() {
        for text in field.split(',').filter(|range| !range.is_empty()) {
            let (set, is_all) = range(text, bounds)?;
            sets[at] |= set;
            all[at] |= is_all;
        }
    }
    let [minutes, hours, days, months, weekdays] = sets;
    let both = all[2] || all[4];
    Ok(Schedule { zone, times: Times::At(Fields { minutes, hours, days, months, weekdays, both }) })
}

/// The numbers of a range, and whether it is written as all there are.
fn range(text: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let (start, mut end) = match ends[..] {
        ["*" | "?", ..] => (bounds.least, bounds.most),
        [single] => {
            let number = named(single, bounds)?;
            (number, number)
        }
        [low, high] => (named(low, bounds)?, named(high, bounds)?),
        _ => {
            named(ends[0], bounds)?;
            return Err(format!("too many hyphens: {text}"));
        }
    };
    let step = match parts[..] {
        [_] => 1,
        [_, step] => {
            let step = number(step)?;
            // `5/10` means from 5 to the end.
            if ends.len() == 1 {
                end = bounds.most;
            }
            step
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < bounds.least {
        return Err(format!("beginning of range ({start}) below minimum ({}): {text}", bounds.least));
    }
    if end > bounds.most {
        return Err(format!("end of range ({end}) above maximum ({}): {text}", bounds.most));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let step_by = usize::try_from(step).unwrap_or(usize::MAX);
    let set = (start..=end).step_by(step_by).fold(0, |set, number| set | 1 << number);
    Ok((set, matches!(ends[..], ["*" | "?", ..]) && step == 1))
}

fn named(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let lower = text.to_lowercase();
    match bounds.names.iter().position(|name| *name == lower) {
        Some(at) => Ok(bounds.first + at as u64),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"));
    }
    match text.parse::<i64>() {
        Ok(number) => u64::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}")),
        Err(_) => Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: value out of range")),
    }
}

fn descriptor(text: &str) -> Result<Times, String> {
    let written = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let Some(interval) = text.strip_prefix("@every ") else {
                return Err(format!("unrecognized descriptor: {text}"));
            };
            let nanoseconds = duration(interval)
                .ok_or_else(|| format!("failed to parse duration {text}: time: invalid duration {interval:?}"))?;
            // Whole seconds, and at least one: also of a negative interval.
            let seconds = u64::try_from(nanoseconds / 1_000_000_000).unwrap_or(0).max(1);
            return Ok(Times::Every(Duration::from_secs(seconds)));
        }
    };
    parse(written).map(|schedule| schedule.times)
}

/// Nanoseconds of a duration as Go writes them: `1h30m`, `0.5s`.
fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        if !number.bytes().any(|b| b.is_ascii_digit()) || number.matches('.').count() > 1 {
            return None;
        }
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let unit = match &tail[..end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * unit;
        rest = &tail[end..];
    }
    // Go's durations are 64 bits wide; what is beyond is none.
    (total < i64::MAX as f64).then_some(if negative { -total as i64 } else { total as i64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_judged_in_upstreams_words() {
        let right =
            ["* * * * *", "*/5 0-6 1,15 jan-Mar MON", "5/10 * * * ?", "@hourly", "@every 1h30m", "TZ=UTC 0 0 * * *"];
        for schedule in right {
            assert_eq!(problem(schedule), None, "{schedule}");
        }
        let wrong = [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("x * * * *", r#"failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax"#),
            ("@reboot", "unrecognized descriptor: @reboot"),
            ("@every x", r#"failed to parse duration @every x: time: invalid duration "x""#),
            ("TZ=Mars/Base * * * * *", "provided bad location Mars/Base: unknown time zone Mars/Base"),
        ];
        for (schedule, expected) in wrong {
            assert_eq!(problem(schedule).as_deref(), Some(expected), "{schedule}");
        }
    }

    #[test]
    fn fields_are_sets_and_intervals_are_whole_seconds() {
        let fields = |text: &str| match parse(text).unwrap().times {
            Times::At(fields) => fields,
            Times::Every(interval) => panic!("{text} is every {interval:?}"),
        };
        assert_eq!(fields("*/20 * * * *").minutes, 1 | 1 << 20 | 1 << 40);
        assert_eq!(fields("0 22-23,1 * * *").hours, 1 << 1 | 1 << 22 | 1 << 23);
        assert_eq!(fields("0 0 1 jan-mar sun").months, 1 << 1 | 1 << 2 | 1 << 3);
        let both =
            [("0 0 * * 1", true), ("0 0 1 * *", true), ("0 0 1 * 1", false), ("0 0 */2 * 1", false), ("@weekly", true)];
        for (text, expected) in both {
            assert_eq!(fields(text).both, expected, "{text}");
        }
        for (text, seconds) in [("@every 1h30m", 5400), ("@every 1.5s", 1), ("@every 5ms", 1), ("@every -5m", 1)] {
            assert_eq!(parse(text).unwrap().times, Times::Every(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("CRON_TZ=Asia/Tokyo 0 0 * * *").unwrap().zone.as_deref(), Some("Asia/Tokyo"));
    }

    #[test]
    fn zones_are_those_of_the_database() {
        for (name, known) in [("Asia/Tokyo", true), ("UTC", true), ("Asia/Nowhere", false), ("", false)] {
            assert_eq!(is_zone(name), known, "{name}");
        }
    }
}
