//! The form of cron schedules: five fields or a descriptor, judged in the words of robfig/cron, which upstream uses.

/// Names of the zones of the IANA time zone database (2025, public domain), one a line.
static ZONES: &str = include_str!("kinds/time_zones.txt");

/// Whether the IANA database has a zone of that name.
pub(crate) fn is_zone(name: &str) -> bool {
    ZONES.lines().any(|zone| zone == name)
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
    check(schedule).err()
}

fn check(schedule: &str) -> Result<(), String> {
    if schedule.is_empty() {
        return Err("empty spec string".to_owned());
    }
    let zoned = schedule.strip_prefix("TZ=").or_else(|| schedule.strip_prefix("CRON_TZ="));
    let schedule = match zoned {
        Some(rest) => {
            let (zone, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            if !zone.is_empty() && zone != "Local" && !is_zone(zone) {
                return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
            }
            rest.trim()
        }
        None => schedule,
    };
    if schedule.starts_with('@') {
        return descriptor(schedule);
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let written = fields.join(" ");
        return Err(format!("expected exactly {} fields, found {}: [{written}]", FIELDS.len(), fields.len()));
    }
    for (field, bounds) in fields.iter().zip(&FIELDS) {
        for range in field.split(',').filter(|range| !range.is_empty()) {
            check_range(range, bounds)?;
        }
    }
    Ok(())
}

fn check_range(text: &str, bounds: &Bounds) -> Result<(), String> {
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
    Ok(())
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

fn descriptor(text: &str) -> Result<(), String> {
    const NAMED: [&str; 7] = ["@annually", "@daily", "@hourly", "@midnight", "@monthly", "@weekly", "@yearly"];
    if NAMED.contains(&text) {
        return Ok(());
    }
    match text.strip_prefix("@every ") {
        Some(duration) if is_duration(duration) => Ok(()),
        Some(duration) => Err(format!("failed to parse duration {text}: time: invalid duration {duration:?}")),
        None => Err(format!("unrecognized descriptor: {text}")),
    }
}

/// Whether it is a duration as Go writes them: `1h30m`, `0.5s`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let is_number = number.bytes().any(|b| b.is_ascii_digit()) && number.matches('.').count() <= 1;
        let units = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        if !is_number || !units.contains(&&tail[..end]) {
            return false;
        }
        rest = &tail[end..];
    }
    true
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
    fn zones_are_those_of_the_database() {
        for (name, known) in [("Asia/Tokyo", true), ("UTC", true), ("Asia/Nowhere", false), ("", false)] {
            assert_eq!(is_zone(name), known, "{name}");
        }
    }
}
