//! Operators: arithmetic, order, equality, membership, size.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::Value;

use super::Def;
use crate::ast::op;
use crate::decl::ListKind;
use crate::error::EvalError;
use crate::meter::Meter;
use crate::val::{Bytes, List, Map, Text, Val};

pub(super) const DEFS: &[Def] = &[
    Def { name: op::CONDITIONAL, since: 0, call: never, overloads: &[("conditional", "bool, A, A", "A")] },
    Def { name: op::AND, since: 0, call: never, overloads: &[("logical_and", "bool, bool", "bool")] },
    Def { name: op::OR, since: 0, call: never, overloads: &[("logical_or", "bool, bool", "bool")] },
    Def { name: op::NOT, since: 0, call: not, overloads: &[("logical_not", "bool", "bool")] },
    Def { name: op::NOT_STRICTLY_FALSE, since: 0, call: never, overloads: &[("not_strictly_false", "bool", "bool")] },
    Def { name: op::EQUALS, since: 0, call: never, overloads: &[("equals", "A, A", "bool")] },
    Def { name: op::NOT_EQUALS, since: 0, call: never, overloads: &[("not_equals", "A, A", "bool")] },
    Def {
        name: op::ADD,
        since: 0,
        call: add,
        overloads: &[
            ("add_bytes", "bytes, bytes", "bytes"),
            ("add_double", "double, double", "double"),
            ("add_duration_duration", "duration, duration", "duration"),
            ("add_duration_timestamp", "duration, timestamp", "timestamp"),
            ("add_timestamp_duration", "timestamp, duration", "timestamp"),
            ("add_int64", "int, int", "int"),
            ("add_list", "list(A), list(A)", "list(A)"),
            ("add_string", "string, string", "string"),
            ("add_uint64", "uint, uint", "uint"),
        ],
    },
    Def {
        name: op::DIVIDE,
        since: 0,
        call: divide,
        overloads: &[
            ("divide_double", "double, double", "double"),
            ("divide_int64", "int, int", "int"),
            ("divide_uint64", "uint, uint", "uint"),
        ],
    },
    Def {
        name: op::MODULO,
        since: 0,
        call: modulo,
        overloads: &[("modulo_int64", "int, int", "int"), ("modulo_uint64", "uint, uint", "uint")],
    },
    Def {
        name: op::MULTIPLY,
        since: 0,
        call: multiply,
        overloads: &[
            ("multiply_double", "double, double", "double"),
            ("multiply_int64", "int, int", "int"),
            ("multiply_uint64", "uint, uint", "uint"),
        ],
    },
    Def {
        name: op::NEGATE,
        since: 0,
        call: negate,
        overloads: &[("negate_double", "double", "double"), ("negate_int64", "int", "int")],
    },
    Def {
        name: op::SUBTRACT,
        since: 0,
        call: subtract,
        overloads: &[
            ("subtract_double", "double, double", "double"),
            ("subtract_duration_duration", "duration, duration", "duration"),
            ("subtract_int64", "int, int", "int"),
            ("subtract_timestamp_duration", "timestamp, duration", "timestamp"),
            ("subtract_timestamp_timestamp", "timestamp, timestamp", "duration"),
            ("subtract_uint64", "uint, uint", "uint"),
        ],
    },
    Def {
        name: op::LESS,
        since: 0,
        call: |args, _| ordered(args, Ordering::is_lt),
        overloads: &[
            ("less_bool", "bool, bool", "bool"),
            ("less_int64", "int, int", "bool"),
            ("less_int64_double", "int, double", "bool"),
            ("less_int64_uint64", "int, uint", "bool"),
            ("less_uint64", "uint, uint", "bool"),
            ("less_uint64_double", "uint, double", "bool"),
            ("less_uint64_int64", "uint, int", "bool"),
            ("less_double", "double, double", "bool"),
            ("less_double_int64", "double, int", "bool"),
            ("less_double_uint64", "double, uint", "bool"),
            ("less_string", "string, string", "bool"),
            ("less_bytes", "bytes, bytes", "bool"),
            ("less_timestamp", "timestamp, timestamp", "bool"),
            ("less_duration", "duration, duration", "bool"),
        ],
    },
    Def {
        name: op::LESS_EQUALS,
        since: 0,
        call: |args, _| ordered(args, Ordering::is_le),
        overloads: &[
            ("less_equals_bool", "bool, bool", "bool"),
            ("less_equals_int64", "int, int", "bool"),
            ("less_equals_int64_double", "int, double", "bool"),
            ("less_equals_int64_uint64", "int, uint", "bool"),
            ("less_equals_uint64", "uint, uint", "bool"),
            ("less_equals_uint64_double", "uint, double", "bool"),
            ("less_equals_uint64_int64", "uint, int", "bool"),
            ("less_equals_double", "double, double", "bool"),
            ("less_equals_double_int64", "double, int", "bool"),
            ("less_equals_double_uint64", "double, uint", "bool"),
            ("less_equals_string", "string, string", "bool"),
            ("less_equals_bytes", "bytes, bytes", "bool"),
            ("less_equals_timestamp", "timestamp, timestamp", "bool"),
            ("less_equals_duration", "duration, duration", "bool"),
        ],
    },
    Def {
        name: op::GREATER,
        since: 0,
        call: |args, _| ordered(args, Ordering::is_gt),
        overloads: &[
            ("greater_bool", "bool, bool", "bool"),
            ("greater_int64", "int, int", "bool"),
            ("greater_int64_double", "int, double", "bool"),
            ("greater_int64_uint64", "int, uint", "bool"),
            ("greater_uint64", "uint, uint", "bool"),
            ("greater_uint64_double", "uint, double", "bool"),
            ("greater_uint64_int64", "uint, int", "bool"),
            ("greater_double", "double, double", "bool"),
            ("greater_double_int64", "double, int", "bool"),
            ("greater_double_uint64", "double, uint", "bool"),
            ("greater_string", "string, string", "bool"),
            ("greater_bytes", "bytes, bytes", "bool"),
            ("greater_timestamp", "timestamp, timestamp", "bool"),
            ("greater_duration", "duration, duration", "bool"),
        ],
    },
    Def {
        name: op::GREATER_EQUALS,
        since: 0,
        call: |args, _| ordered(args, Ordering::is_ge),
        overloads: &[
            ("greater_equals_bool", "bool, bool", "bool"),
            ("greater_equals_int64", "int, int", "bool"),
            ("greater_equals_int64_double", "int, double", "bool"),
            ("greater_equals_int64_uint64", "int, uint", "bool"),
            ("greater_equals_uint64", "uint, uint", "bool"),
            ("greater_equals_uint64_double", "uint, double", "bool"),
            ("greater_equals_uint64_int64", "uint, int", "bool"),
            ("greater_equals_double", "double, double", "bool"),
            ("greater_equals_double_int64", "double, int", "bool"),
            ("greater_equals_double_uint64", "double, uint", "bool"),
            ("greater_equals_string", "string, string", "bool"),
            ("greater_equals_bytes", "bytes, bytes", "bool"),
            ("greater_equals_timestamp", "timestamp, timestamp", "bool"),
            ("greater_equals_duration", "duration, duration", "bool"),
        ],
    },
    Def {
        name: op::INDEX,
        since: 0,
        call: never,
        overloads: &[
            ("index_list", "list(A), int", "A"),
            ("index_map", "map(A, B), A", "B"),
            ("optional_list_index_int", "optional(list(A)), int", "optional(A)"),
            ("optional_map_index_value", "optional(map(A, B)), A", "optional(B)"),
        ],
    },
    Def {
        name: op::IN,
        since: 0,
        call: contains,
        overloads: &[("in_list", "A, list(A)", "bool"), ("in_map", "A, map(A, B)", "bool")],
    },
    Def {
        name: "size",
        since: 0,
        call: size,
        overloads: &[
            ("size_bytes", "bytes", "int"),
            ("bytes_size", ".bytes", "int"),
            ("size_list", "list(A)", "int"),
            ("list_size", ".list(A)", "int"),
            ("size_map", "map(A, B)", "int"),
            ("map_size", ".map(A, B)", "int"),
            ("size_string", "string", "int"),
            ("string_size", ".string", "int"),
        ],
    },
];

/// What the evaluator does itself.
fn never<'a>(_: &[Val<'a>], _: &mut Meter) -> Result<Val<'a>, EvalError> {
    Err(EvalError::NoSuchOverload)
}

fn not<'a>(args: &[Val<'a>], _: &mut Meter) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Bool(value)] => Ok(Val::Bool(!value)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn int<'a>(value: Option<i64>) -> Result<Val<'a>, EvalError> {
    value.map(Val::Int).ok_or_else(|| EvalError::new("integer overflow"))
}

fn uint<'a>(value: Option<u64>) -> Result<Val<'a>, EvalError> {
    value.map(Val::Uint).ok_or_else(|| EvalError::new("unsigned integer overflow"))
}

fn duration<'a>(value: Option<i64>) -> Result<Val<'a>, EvalError> {
    value.map(Val::Duration).ok_or_else(|| EvalError::new("duration overflow"))
}

fn add<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Int(a), Val::Int(b)] => int(a.checked_add(*b)),
        [Val::Uint(a), Val::Uint(b)] => uint(a.checked_add(*b)),
        [Val::Double(a), Val::Double(b)] => Ok(Val::Double(a + b)),
        [Val::String(a), Val::String(b)] => {
            let (a, b) = (a.as_str(), b.as_str());
            meter.work((a.len() + b.len()) as u64 / 16)?;
            Ok(Val::from([a, b].concat()))
        }
        [Val::Bytes(a), Val::Bytes(b)] => {
            let joined = [a.as_slice(), b.as_slice()].concat();
            meter.work(joined.len() as u64 / 16)?;
            Ok(Val::Bytes(Bytes::Owned(joined.into())))
        }
        [Val::List(a), Val::List(b)] => add_lists(a, b, meter),
        [Val::Duration(a), Val::Duration(b)] => duration(a.checked_add(*b)),
        [Val::Duration(a), Val::Timestamp(b)] | [Val::Timestamp(b), Val::Duration(a)] => b.add(*a).map(Val::Timestamp),
        _ => Err(EvalError::NoSuchOverload),
    }
}

/// Sets and maps of lists merge: what is in both stays at its place, and takes the second list's value.
fn add_lists<'a>(a: &List<'a>, b: &List<'a>, meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    meter.work((a.len() + b.len()) as u64)?;
    let mut items = a.iter().collect::<Result<Vec<_>, _>>()?;
    match a.kind() {
        ListKind::Atomic => items.extend(b.iter().collect::<Result<Vec<_>, _>>()?),
        ListKind::Set => {
            for item in b.iter() {
                let item = item?;
                if position(&items, &item, meter)?.is_none() {
                    items.push(item);
                }
            }
        }
        ListKind::Map(keys) => {
            for item in b.iter() {
                let item = item?;
                match same_keys(&items, &item, keys, meter)? {
                    Some(at) => items[at] = item,
                    None => items.push(item),
                }
            }
        }
    }
    Ok(Val::List(List::Owned(Arc::new(items))))
}

fn position(items: &[Val<'_>], wanted: &Val<'_>, meter: &mut Meter) -> Result<Option<usize>, EvalError> {
    for (at, item) in items.iter().enumerate() {
        if equal(item, wanted, meter)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// The item whose keys are those of `wanted`.
fn same_keys(
    items: &[Val<'_>],
    wanted: &Val<'_>,
    keys: &[String],
    meter: &mut Meter,
) -> Result<Option<usize>, EvalError> {
    'items: for (at, item) in items.iter().enumerate() {
        for key in keys {
            if !equal_fields(item, wanted, key, meter)? {
                continue 'items;
            }
        }
        return Ok(Some(at));
    }
    Ok(None)
}

fn equal_fields(a: &Val<'_>, b: &Val<'_>, name: &str, meter: &mut Meter) -> Result<bool, EvalError> {
    let (Val::Map(a), Val::Map(b)) = (a, b) else { return Ok(false) };
    let name = crate::decl::escape(name).unwrap_or_else(|| name.to_owned());
    match (a.get(&name)?, b.get(&name)?) {
        (None, None) => Ok(true),
        (Some(a), Some(b)) => equal(&a, &b, meter),
        _ => Ok(false),
    }
}

fn subtract<'a>(args: &[Val<'a>], _: &mut Meter) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Int(a), Val::Int(b)] => int(a.checked_sub(*b)),
        [Val::Uint(a), Val::Uint(b)] => uint(a.checked_sub(*b)),
        [Val::Double(a), Val::Double(b)] => Ok(Val::Double(a - b)),
        [Val::Duration(a), Val::Duration(b)] => duration(a.checked_sub(*b)),
        [Val::Timestamp(a), Val::Timestamp(b)] => a.since(*b).map(Val::Duration),
        [Val::Timestamp(a), Val::Duration(b)] => {
            let negated = b.checked_neg().ok_or_else(|| EvalError::new("duration overflow"))?;
            a.add(negated).map(Val::Timestamp)
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn multiply<'a>(args: &[Val<'a>], _: &mut Meter) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Int(a), Val::Int(b)] => int(a.checked_mul(*b)),
        [Val::Uint(a), Val::Uint(b)] => uint(a.checked_mul(*b)),
        [Val::Double(a), Val::Double(b)] => Ok(Val::Double(a * b)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn divide<'a>(args: &[Val<'a>], _: &mut Meter) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Int(_), Val::Int(0)] | [Val::Uint(_), Val::Uint(0)] => Err(EvalError::new("division by zero")),
        [Val::Int(a), Val::Int(b)] => int(a.checked_div(*b)),
        [Val::Uint(a), Val::Uint(b)] => Ok(Val::Uint(a / b)),
        [Val::Double(a), Val::Double(b)] => Ok(Val::Double(a / b)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn modulo<'a>(args: &[Val<'a>], _: &mut Meter) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Int(_), Val::Int(0)] | [Val::Uint(_), Val::Uint(0)] => Err(EvalError::new("modulus by zero")),
        [Val::Int(a), Val::Int(b)] => int(a.checked_rem(*b)),
        [Val::Uint(a), Val::Uint(b)] => Ok(Val::Uint(a % b)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn negate<'a>(args: &[Val<'a>], _: &mut Meter) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Int(value)] => int(value.checked_neg()),
        [Val::Double(value)] => Ok(Val::Double(-value)),
        [Val::Duration(value)] => duration(value.checked_neg()),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn ordered<'a>(args: &[Val<'a>], holds: fn(Ordering) -> bool) -> Result<Val<'a>, EvalError> {
    match args {
        [a, b] => compare(a, b).map(|ordering| Val::Bool(holds(ordering))),
        _ => Err(EvalError::NoSuchOverload),
    }
}

/// The order of two values that have one.
pub(crate) fn compare(a: &Val<'_>, b: &Val<'_>) -> Result<Ordering, EvalError> {
    let no_nan = |ordering: Option<Ordering>| ordering.ok_or_else(|| EvalError::new("NaN values cannot be ordered"));
    Ok(match (a, b) {
        (Val::Bool(a), Val::Bool(b)) => a.cmp(b),
        (Val::Int(a), Val::Int(b)) => a.cmp(b),
        (Val::Uint(a), Val::Uint(b)) => a.cmp(b),
        (Val::Double(a), Val::Double(b)) => no_nan(a.partial_cmp(b))?,
        (Val::Int(a), Val::Uint(b)) => i128::from(*a).cmp(&i128::from(*b)),
        (Val::Uint(a), Val::Int(b)) => i128::from(*a).cmp(&i128::from(*b)),
        (Val::Int(a), Val::Double(b)) => no_nan(compare_whole(i128::from(*a), *b))?,
        (Val::Uint(a), Val::Double(b)) => no_nan(compare_whole(i128::from(*a), *b))?,
        (Val::Double(a), Val::Int(b)) => no_nan(compare_whole(i128::from(*b), *a))?.reverse(),
        (Val::Double(a), Val::Uint(b)) => no_nan(compare_whole(i128::from(*b), *a))?.reverse(),
        (Val::String(a), Val::String(b)) => a.as_str().cmp(b.as_str()),
        (Val::Bytes(a), Val::Bytes(b)) => a.as_slice().cmp(b.as_slice()),
        (Val::Timestamp(a), Val::Timestamp(b)) => a.cmp(b),
        (Val::Duration(a), Val::Duration(b)) => a.cmp(b),
        _ => return Err(EvalError::NoSuchOverload),
    })
}

/// A whole number against a double, exactly. `None` for NaN.
fn compare_whole(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    if double >= 1e20 {
        return Some(Ordering::Less);
    }
    if double <= -1e20 {
        return Some(Ordering::Greater);
    }
    let floor = double.floor();
    Some(whole.cmp(&(floor as i128)).then(if double > floor { Ordering::Less } else { Ordering::Equal }))
}

/// Whether two values are equal. Values of different types are not, but for numbers.
pub(crate) fn equal(a: &Val<'_>, b: &Val<'_>, meter: &mut Meter) -> Result<bool, EvalError> {
    meter.work(1)?;
    Ok(match (a, b) {
        (Val::Null, Val::Null) => true,
        (Val::Double(a), Val::Double(b)) => a == b,
        (Val::Bool(_), Val::Bool(_))
        | (Val::Bytes(_), Val::Bytes(_))
        | (Val::Timestamp(_), Val::Timestamp(_))
        | (Val::Duration(_), Val::Duration(_))
        | (Val::Int(_) | Val::Uint(_), Val::Int(_) | Val::Uint(_) | Val::Double(_))
        | (Val::Double(_), Val::Int(_) | Val::Uint(_)) => compare(a, b).is_ok_and(Ordering::is_eq),
        (Val::String(a), Val::String(b)) => {
            let (a, b) = (a.as_str(), b.as_str());
            meter.work(a.len().min(b.len()) as u64 / 64)?;
            a == b
        }
        (Val::List(a), Val::List(b)) => equal_lists(a, b, meter)?,
        (Val::Map(a), Val::Map(b)) => equal_maps(a, b, meter)?,
        (Val::Optional(a), Val::Optional(b)) => match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => equal(a, b, meter)?,
            _ => false,
        },
        (Val::Type(a), Val::Type(b)) => a.name() == b.name(),
        (Val::Library(a), Val::Library(b)) => a.equals(b),
        (Val::Struct(a), Val::Struct(b)) => {
            if a.name != b.name || a.fields.len() != b.fields.len() {
                return Ok(false);
            }
            for (name, value) in &a.fields {
                match b.fields.get(name) {
                    Some(other) if equal(value, other, meter)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        _ => false,
    })
}

fn equal_lists(a: &List<'_>, b: &List<'_>, meter: &mut Meter) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    // The same list of the same object.
    if let (List::Json(a, None), List::Json(b, None)) = (a, b)
        && std::ptr::eq(*a, *b)
    {
        return Ok(true);
    }
    match a.kind() {
        ListKind::Atomic => {
            for (a, b) in a.iter().zip(b.iter()) {
                if !equal(&a?, &b?, meter)? {
                    return Ok(false);
                }
            }
        }
        ListKind::Set => {
            let items = a.iter().collect::<Result<Vec<_>, _>>()?;
            for item in b.iter() {
                if position(&items, &item?, meter)?.is_none() {
                    return Ok(false);
                }
            }
        }
        ListKind::Map(keys) => {
            let items = a.iter().collect::<Result<Vec<_>, _>>()?;
            for item in b.iter() {
                let item = item?;
                match same_keys(&items, &item, keys, meter)? {
                    Some(at) if equal(&items[at], &item, meter)? => {}
                    _ => return Ok(false),
                }
            }
        }
    }
    Ok(true)
}

fn equal_maps(a: &Map<'_>, b: &Map<'_>, meter: &mut Meter) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for key in a.keys() {
        let equal = match (a.find(&key)?, b.find(&key)?) {
            (Some(a), Some(b)) => equal(&a, &b, meter)?,
            (None, None) => true,
            _ => false,
        };
        if !equal {
            return Ok(false);
        }
    }
    let undeclared = b.undeclared();
    for (name, value) in a.undeclared() {
        let other: Option<&&Value> = undeclared.iter().find(|(other, _)| *other == name).map(|(_, value)| value);
        if let Some(other) = other {
            meter.work(value.to_string().len() as u64 / 16)?;
            if *other != value {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn contains<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    match args {
        [value, Val::List(list)] => {
            for item in list.iter() {
                if equal(&item?, value, meter)? {
                    return Ok(Val::Bool(true));
                }
            }
            Ok(Val::Bool(false))
        }
        [key, Val::Map(map)] => Ok(Val::Bool(map.find(key)?.is_some())),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn size<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    Ok(Val::Int(match args {
        [Val::String(Text::Borrowed(text))] => count(text, meter)?,
        [Val::String(Text::Owned(text))] => count(text, meter)?,
        [Val::Bytes(bytes)] => bytes.as_slice().len() as i64,
        [Val::List(list)] => list.len() as i64,
        [Val::Map(map)] => map.len() as i64,
        _ => return Err(EvalError::NoSuchOverload),
    }))
}

fn count(text: &str, meter: &mut Meter) -> Result<i64, EvalError> {
    meter.work(text.len() as u64 / 64)?;
    Ok(text.chars().count() as i64)
}
