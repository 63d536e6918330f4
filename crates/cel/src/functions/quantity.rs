//! Quantities: `quantity("1.5Gi")`.

use std::cmp::Ordering;
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
        call: |args, _| arithmetic(args, false),
        overloads: &[
            ("quantity_add", ".kubernetes.Quantity, kubernetes.Quantity", "kubernetes.Quantity"),
            ("quantity_add_int", ".kubernetes.Quantity, int", "kubernetes.Quantity"),
        ],
    },
    Def {
        name: "sub",
        since: 28,
        call: |args, _| arithmetic(args, true),
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
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nano: i128,
    /// The power of ten of which upstream counts it in 64 bits; `None` when it has more digits than that for upstream, which
    /// then has no integer of it.
    scale: Option<i32>,
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl Quantity {
    fn integer(self) -> Option<i64> {
        let whole = self.scale.is_some_and(|scale| scale >= 0) && self.nano % NANO == 0;
        whole.then(|| i64::try_from(self.nano / NANO).ok())?
    }

    fn plus(self, other: Self) -> Self {
        let scale = match (self.scale, other.scale) {
            (scale, Some(_)) if other.nano == 0 => scale,
            (Some(_), scale) if self.nano == 0 => scale,
            (Some(own), Some(other)) => Some(own.min(other)),
            _ => None,
        };
        let nano = self.nano.saturating_add(other.nano);
        // What does not fit 64 bits is counted otherwise.
        let fits = |scale: &i32| {
            let unit = 10_i128.checked_pow((scale + 9).unsigned_abs()).unwrap_or(i128::MAX);
            i64::try_from(nano / unit).is_ok()
        };
        Self { nano, scale: scale.filter(fits) }
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
    let format = || EvalError::new(FORMAT);
    if text.is_empty() {
        return Err(format());
    }
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = unsigned.split_at(digits(unsigned));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let letters = suffix.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
    if !letters.strip_prefix(['+', '-']).unwrap_or(letters).bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format());
    }
    let Some((factor, tenths)) = multiplier(suffix) else {
        return Err(EvalError::new("unable to parse quantity's suffix"));
    };
    let counted = scale(whole, fraction, suffix, factor, tenths);
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
    Ok(Library::Quantity(Quantity { nano: if negative { -nano } else { nano }, scale: counted }))
}

/// Whether upstream takes a number for one of 64 bits, and of which power of ten (apimachinery `resource.ParseQuantity`).
fn scale(whole: &str, fraction: &str, suffix: &str, factor: i128, tenths: u32) -> Option<i32> {
    let digits = whole.trim_start_matches('0').len().max(1) + fraction.len();
    if suffix.ends_with('i') {
        // A power of two of ten digits takes about three from the eighteen.
        let bits = factor.ilog2() as usize;
        return (fraction.is_empty() && digits + bits * 3 / 10 <= 14).then_some(0);
    }
    let scale = factor.ilog10() as i32 - tenths as i32 - fraction.len() as i32;
    (digits <= 18 && scale >= -9).then_some(scale)
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

/// The sum, or the difference, of a quantity and another or a number.
fn arithmetic<'a>(args: &[Val<'a>], subtract: bool) -> Result<Val<'a>, EvalError> {
    let [Val::Library(Library::Quantity(a)), b] = args else { return Err(EvalError::NoSuchOverload) };
    let b = match b {
        Val::Library(Library::Quantity(b)) => *b,
        Val::Int(units) => Quantity { nano: i128::from(*units) * NANO, scale: Some(0) },
        _ => return Err(EvalError::NoSuchOverload),
    };
    let b = if subtract { Quantity { nano: -b.nano, ..b } } else { b };
    Ok(Val::Library(Library::Quantity(a.plus(b))))
}
