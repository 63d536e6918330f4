//! Lists of the indexes of a Job's pods: `0-2,5,7-9`.

/// How many indexes a list names.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub(super) fn count(list: &str, completions: i64) -> Result<i64, String> {
    let mut last: Option<i64> = None;
    let mut total = 0;
    for interval in list.split(',').filter(|_| !list.is_empty()) {
        let (first, end) = interval_of(interval, completions)?;
        if let Some(previous) = last.filter(|previous| *previous >= first) {
            return Err(format!("non-increasing order, previous: {previous}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn interval_of(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let number = |text: &str| {
        let number = text.parse::<i64>().ok().filter(|_| !text.starts_with('+'));
        let number = number.ok_or_else(|| format!("cannot convert string to integer for index: {text:?}"))?;
        if number >= completions { Err(format!("too large index: {text:?}")) } else { Ok(number) }
    };
    match text.split('-').collect::<Vec<&str>>()[..] {
        [single] => number(single).map(|index| (index, index)),
        [first, last] => {
            let (first, last) = (number(first)?, number(last)?);
            if first >= last {
                return Err(format!("non-increasing order, previous: {first}, current: {last}"));
            }
            Ok((first, last))
        }
        _ => Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        )),
    }
}

/// The first index that both lists name; intervals that are none are left out.
pub(super) fn overlap(a: &str, b: &str, completions: i64) -> Option<i64> {
    let intervals = |list: &str| -> Vec<(i64, i64)> {
        list.split(',').filter_map(|interval| interval_of(interval, completions).ok()).collect()
    };
    let (a, b) = (intervals(a), intervals(b));
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    while let (Some((first, last)), Some((other, end))) = (a.peek(), b.peek()) {
        if first <= end && other <= last {
            return Some(*first.max(other));
        }
        if first <= other {
            a.next();
        } else {
            b.next();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_counted_or_refused() {
        let cases = [
            ("", Ok(0)),
            ("0-2,4", Ok(4)),
            ("4", Ok(1)),
            ("1,1", Err("non-increasing order, previous: 1, current: 1")),
            ("2-1", Err("non-increasing order, previous: 2, current: 1")),
            ("5", Err(r#"too large index: "5""#)),
            ("x", Err(r#"cannot convert string to integer for index: "x""#)),
            (
                "0-1-2",
                Err(
                    r#"the fragment "0-1-2" violates the requirement that an index interval can have at most two parts separated by '-'"#,
                ),
            ),
        ];
        for (list, expected) in cases {
            assert_eq!(count(list, 5), expected.map_err(str::to_owned), "{list}");
        }
    }

    #[test]
    fn lists_that_meet_are_found() {
        for (a, b, expected) in
            [("0-2,4", "3", None), ("0-2,4", "3-4", Some(4)), ("", "1", None), ("x,1", "1", Some(1))]
        {
            assert_eq!(overlap(a, b, 5), expected, "{a} {b}");
        }
    }
}
