//! Quantities: `quantity("1.5Gi")`.

use std::fmt;

use super::{Def, Library};
use crate::error::EvalError;
use crate::val::Val;

pub(super) const DEFS: &[Def] = &[
    Def {
        name: "quantity",
        since: 28,
        call: |args, _| match args {
            [Val::String(text)] => parse(text.as_str()).map(Val::Library),
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[("string_to_quantity", "string", "kubernetes.Quantity")],
    },
    Def {
        name: "isQuantity",
        since: 28,
        call: |args, _| match args {
            [Val::String(text)] => Ok(Val::Bool(parse(text.as_str()).is_ok())),
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[("is_quantity_string", "string", "bool")],
    },
    Def {
        name: "sign",
        since: 28,
        call: |args, _| one(args, |quantity| Ok(Val::Int(quantity.nano.signum() as i64))),
        overloads: &[("quantity_sign", "kubernetes.Quantity", "int")],
    },
    Def {
        name: "isGreaterThan",
        since: 28,
        call: |args, _| two(args, |a, b| Ok(Val::Bool(a > b))),
        overloads: &[("quantity_is_greater_than", ".kubernetes.Quantity, kubernetes.Quantity", "bool")],
    },
    Def {
        name: "isLessThan",
        since: 28,
        call: |args, _| two(args, |a, b| Ok(Val::Bool(a < b))),
        overloads: &[("quantity_is_less_than", ".kubernetes.Quantity, kubernetes.Quantity", "bool")],
    },
    Def {
        name: "compareTo",
        since: 28,
        call: |args, _| two(args, |a, b| Ok(Val::Int(a.cmp(&b) as i64))),
        overloads: &[("quantity_compare_to", ".kubernetes.Quantity, kubernetes.Quantity", "int")],
    },
    Def {
        name: "asApproximateFloat",
        since: 28,
        call: |args, _| one(args, |quantity| Ok(Val::Double(quantity.nano as f64 / 1e9))),
        overloads: &[("quantity_get_float", ".kubernetes.Quantity", "double")],
    },
    Def {
        name: "asInteger",
        since: 28,
        call: |args, _| {
            one(args, |quantity| match quantity.integer() {
                Some(value) => Ok(Val::Int(value)),
                None => Err(EvalError::new("cannot convert value to integer")),
            })
        },
        overloads: &[("quantity_get_int", ".kubernetes.Quantity", "int")],
    },
    Def {
        name: "isInteger",
        since: 28,
        call: |args, _| one(args, |quantity| Ok(Val::Bool(quantity.integer().is_some()))),
        overloads: &[("quantity_is_integer", ".kubernetes.Quantity", "bool")],
    },
    Def {
        name: "add",
        since: 28,
        call: |args, _| arithmetic(args, i128::saturating_add),
        overloads: &[
            ("quantity_add", ".kubernetes.Quantity, kubernetes.Quantity", "kubernetes.Quantity"),
            ("quantity_add_int", ".kubernetes.Quantity, int", "kubernetes.Quantity"),
        ],
    },
    Def {
        name: "sub",
        since: 28,
        call: |args, _| arithmetic(args, i128::saturating_sub),
        overloads: &[
            ("quantity_sub", ".kubernetes.Quantity, kubernetes.Quantity", "kubernetes.Quantity"),
            ("quantity_sub_int", ".kubernetes.Quantity, int", "kubernetes.Quantity"),
        ],
    },
];

const NANO: i128 = 1_000_000_000;

/// Largest amount, as upstream caps it.
const MAX_UNITS: i128 = i64::MAX as i128;

/// An amount, exact to a billionth; smaller fractions are rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    nano: i128,
}

impl Quantity {
    fn integer(self) -> Option<i64> {
        (self.nano % NANO == 0).then(|| i64::try_from(self.nano / NANO).ok())?
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, suffix) in [(NANO, ""), (NANO / 1000, "m"), (1000, "u"), (1, "n")] {
            if self.nano % unit == 0 {
                return write!(f, "{}{suffix}", self.nano / unit);
            }
        }
        Ok(())
    }
}

/// What a suffix multiplies with: a numerator, and a power of ten that divides.
fn multiplier(suffix: &str) -> Option<(i128, u32)> {
    const KIBI: i128 = 1024;
    Some(match suffix {
        "n" => (1, 9),
        "u" => (1, 6),
        "m" => (1, 3),
        "" => (1, 0),
        "k" => (1000, 0),
        "M" => (1_000_000, 0),
        "G" => (NANO, 0),
        "T" => (NANO * 1000, 0),
        "P" => (NANO * 1_000_000, 0),
        "E" => (NANO * NANO, 0),
        "Ki" => (KIBI, 0),
        "Mi" => (KIBI.pow(2), 0),
        "Gi" => (KIBI.pow(3), 0),
        "Ti" => (KIBI.pow(4), 0),
        "Pi" => (KIBI.pow(5), 0),
        "Ei" => (KIBI.pow(6), 0),
        _ => match suffix.strip_prefix(['e', 'E'])?.parse::<i32>().ok()? {
            exponent @ 0..=18 => (10_i128.pow(exponent.unsigned_abs()), 0),
            exponent @ -18..=-1 => (1, exponent.unsigned_abs()),
            _ => return None,
        },
    })
}

pub(crate) fn parse<'a>(text: &str) -> Result<Library<'a>, EvalError> {
    const FORMAT: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    if number.is_empty() || !suffix.bytes().all(|b| b"eEinumkKMGTP+-0123456789".contains(&b)) {
        return Err(EvalError::new(FORMAT));
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return Err(EvalError::new("unable to parse numeric part of quantity"));
    }
    let Some((factor, tenths)) = multiplier(suffix) else {
        return Err(EvalError::new("unable to parse quantity's suffix"));
    };
    // Digits beyond what can change the result only decide whether to round up.
    let kept = &fraction[..fraction.len().min(18)];
    let dropped = fraction[kept.len()..].bytes().any(|b| b != b'0');
    let whole = whole.trim_start_matches('0');
    let digits: i128 =
        if whole.len() > 19 { i128::MAX } else { format!("0{whole}{kept}").parse().unwrap_or(i128::MAX) };
    let max = MAX_UNITS * NANO;
    // The value is digits * factor / 10^divisor, counted in billionths.
    let mut divisor = kept.len() as u32 + tenths;
    let mut scale = 9;
    let both = divisor.min(scale);
    divisor -= both;
    scale -= both;
    let nano = match digits.checked_mul(factor).and_then(|value| value.checked_mul(10_i128.pow(scale))) {
        Some(value) => {
            let by = 10_i128.checked_pow(divisor).unwrap_or(i128::MAX);
            value / by + i128::from(value % by != 0 || dropped)
        }
        None => max,
    };
    let nano = nano.min(max);
    Ok(Library::Quantity(Quantity { nano: if negative { -nano } else { nano } }))
}

fn one<'a>(args: &[Val<'a>], of: impl Fn(Quantity) -> Result<Val<'a>, EvalError>) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Library(Library::Quantity(quantity))] => of(*quantity),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn two<'a>(
    args: &[Val<'a>],
    of: impl Fn(Quantity, Quantity) -> Result<Val<'a>, EvalError>,
) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Library(Library::Quantity(a)), Val::Library(Library::Quantity(b))] => of(*a, *b),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn arithmetic<'a>(args: &[Val<'a>], of: fn(i128, i128) -> i128) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Library(Library::Quantity(a)), Val::Int(units)] => {
            Ok(Val::Library(Library::Quantity(Quantity { nano: of(a.nano, i128::from(*units) * NANO) })))
        }
        _ => two(args, |a, b| Ok(Val::Library(Library::Quantity(Quantity { nano: of(a.nano, b.nano) })))),
    }
}
