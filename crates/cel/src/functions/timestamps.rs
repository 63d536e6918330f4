//! Parts of timestamps and durations.

use jiff::civil::DateTime;

use super::Def;
use crate::error::EvalError;
use crate::val::Val;

pub(super) const DEFS: &[Def] = &[
    Def {
        name: "getFullYear",
        since: 0,
        call: |args, _| part(args, |time| i64::from(time.year()), None),
        overloads: &[
            ("timestamp_to_year", ".timestamp", "int"),
            ("timestamp_to_year_with_tz", ".timestamp, string", "int"),
        ],
    },
    Def {
        name: "getMonth",
        since: 0,
        call: |args, _| part(args, |time| i64::from(time.month()) - 1, None),
        overloads: &[
            ("timestamp_to_month", ".timestamp", "int"),
            ("timestamp_to_month_with_tz", ".timestamp, string", "int"),
        ],
    },
    Def {
        name: "getDayOfYear",
        since: 0,
        call: |args, _| part(args, |time| i64::from(time.day_of_year()) - 1, None),
        overloads: &[
            ("timestamp_to_day_of_year", ".timestamp", "int"),
            ("timestamp_to_day_of_year_with_tz", ".timestamp, string", "int"),
        ],
    },
    Def {
        name: "getDayOfMonth",
        since: 0,
        call: |args, _| part(args, |time| i64::from(time.day()) - 1, None),
        overloads: &[
            ("timestamp_to_day_of_month", ".timestamp", "int"),
            ("timestamp_to_day_of_month_with_tz", ".timestamp, string", "int"),
        ],
    },
    Def {
        name: "getDate",
        since: 0,
        call: |args, _| part(args, |time| i64::from(time.day()), None),
        overloads: &[
            ("timestamp_to_day_of_month_1_based", ".timestamp", "int"),
            ("timestamp_to_day_of_month_1_based_with_tz", ".timestamp, string", "int"),
        ],
    },
    Def {
        name: "getDayOfWeek",
        since: 0,
        call: |args, _| part(args, |time| i64::from(time.weekday().to_sunday_zero_offset()), None),
        overloads: &[
            ("timestamp_to_day_of_week", ".timestamp", "int"),
            ("timestamp_to_day_of_week_with_tz", ".timestamp, string", "int"),
        ],
    },
    Def {
        name: "getHours",
        since: 0,
        call: |args, _| part(args, |time| i64::from(time.hour()), Some(3_600_000_000_000)),
        overloads: &[
            ("timestamp_to_hours", ".timestamp", "int"),
            ("timestamp_to_hours_with_tz", ".timestamp, string", "int"),
            ("duration_to_hours", ".duration", "int"),
        ],
    },
    Def {
        name: "getMinutes",
        since: 0,
        call: |args, _| part(args, |time| i64::from(time.minute()), Some(60_000_000_000)),
        overloads: &[
            ("timestamp_to_minutes", ".timestamp", "int"),
            ("timestamp_to_minutes_with_tz", ".timestamp, string", "int"),
            ("duration_to_minutes", ".duration", "int"),
        ],
    },
    Def {
        name: "getSeconds",
        since: 0,
        call: |args, _| part(args, |time| i64::from(time.second()), Some(1_000_000_000)),
        overloads: &[
            ("timestamp_to_seconds", ".timestamp", "int"),
            ("timestamp_to_seconds_tz", ".timestamp, string", "int"),
            ("duration_to_seconds", ".duration", "int"),
        ],
    },
    Def {
        name: "getMilliseconds",
        since: 0,
        call: |args, _| part(args, |time| i64::from(time.millisecond()), Some(1_000_000)),
        overloads: &[
            ("timestamp_to_milliseconds", ".timestamp", "int"),
            ("timestamp_to_milliseconds_with_tz", ".timestamp, string", "int"),
            ("duration_to_milliseconds", ".duration", "int"),
        ],
    },
];

/// Of a timestamp, a part of its date and time in a zone; of a duration, how many whole units it has.
fn part<'a>(args: &[Val<'a>], of: fn(DateTime) -> i64, unit: Option<i64>) -> Result<Val<'a>, EvalError> {
    match (args, unit) {
        ([Val::Timestamp(timestamp)], _) => timestamp.civil(None).map(of).map(Val::Int),
        ([Val::Timestamp(timestamp), Val::String(zone)], _) => {
            timestamp.civil(Some(zone.as_str())).map(of).map(Val::Int)
        }
        ([Val::Duration(nanos)], Some(unit)) => Ok(Val::Int(nanos / unit)),
        _ => Err(EvalError::NoSuchOverload),
    }
}
