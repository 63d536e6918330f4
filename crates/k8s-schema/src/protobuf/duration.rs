//! Durations as Go writes and reads them.

/// A number of nanoseconds: `1h30m0s`, `1.5s`, `20ms`.
pub(super) fn write(nanoseconds: i64) -> String {
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let decimal = |amount: u64, unit: u64, name: &str| {
        let fraction = format!("{:09}", amount % unit * (1_000_000_000 / unit));
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() {
            format!("{}{name}", amount / unit)
        } else {
            format!("{}.{fraction}{name}", amount / unit)
        }
    };
    let text = match total {
        0..1_000 => format!("{total}ns"),
        1_000..1_000_000 => decimal(total, 1_000, "µs"),
        1_000_000..1_000_000_000 => decimal(total, 1_000_000, "ms"),
        _ => {
            let (hours, minutes) = (total / 3_600_000_000_000, total / 60_000_000_000 % 60);
            let seconds = decimal(total % 60_000_000_000, 1_000_000_000, "s");
            match (hours, minutes) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

/// The nanoseconds of `1h30m`, `-1.5s`, `0`; none for what Go refuses.
pub(super) fn parse(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0_i128;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (digits, after) = rest.split_at(number);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty()) || whole.len() > 19 || fraction.contains('.') {
            return None;
        }
        if !whole.is_empty() {
            total += whole.parse::<i128>().ok()? * unit;
        }
        // What is below a nanosecond of an hour is nothing.
        let fraction = &fraction[..fraction.len().min(18)];
        if !fraction.is_empty() {
            total += fraction.parse::<i128>().ok()? * unit / 10_i128.pow(fraction.len() as u32);
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_and_read_as_in_go() {
        let cases = [
            (0, "0s"),
            (20_000_000, "20ms"),
            (1_500_000_000, "1.5s"),
            (5_400_000_000_000, "1h30m0s"),
            (-90_000_000_000, "-1m30s"),
            (15, "15ns"),
            (1_500, "1.5µs"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ];
        for (nanoseconds, text) in cases {
            assert_eq!(write(nanoseconds), text);
            assert_eq!(parse(text), Some(nanoseconds), "{text}");
        }
        for (text, nanoseconds) in [("0", 0), ("+.5s", 500_000_000), ("1h", 3_600_000_000_000), ("1.5us", 1_500)] {
            assert_eq!(parse(text), Some(nanoseconds), "{text}");
        }
        for text in ["", "1", "s", "1x", "1..5s", "-", "1 s", ".s", "99999999999999999999h", "9999999999h"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
