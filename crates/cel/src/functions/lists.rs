//! Lists: Kubernetes' own functions, and those of the lists extension.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Def, compare, equal};
use crate::error::EvalError;
use crate::macros::SORT_BY_KEYS;
use crate::meter::Meter;
use crate::types::Type;
use crate::val::{List, Val};

/// The lists extension comes with this minor.
const EXTENSION_MINOR: u32 = 34;

/// Longest list that `lists.range` makes.
const MAX_RANGE: i64 = 1_000_000;

/// Deepest nesting that `flatten` looks into.
const MAX_FLATTEN: i64 = 128;

pub(super) const KUBERNETES: &[Def] = &[
    Def {
        name: "isSorted",
        since: 0,
        call: is_sorted,
        overloads: &[
            ("list_int_is_sorted_bool", ".list(int)", "bool"),
            ("list_uint_is_sorted_bool", ".list(uint)", "bool"),
            ("list_double_is_sorted_bool", ".list(double)", "bool"),
            ("list_bool_is_sorted_bool", ".list(bool)", "bool"),
            ("list_duration_is_sorted_bool", ".list(duration)", "bool"),
            ("list_timestamp_is_sorted_bool", ".list(timestamp)", "bool"),
            ("list_string_is_sorted_bool", ".list(string)", "bool"),
            ("list_bytes_is_sorted_bool", ".list(bytes)", "bool"),
        ],
    },
    Def {
        name: "sum",
        since: 0,
        call: |args, meter| sum(args, Val::Int(0), meter),
        overloads: &[("list_int_sum_int", ".list(int)", "int")],
    },
    Def {
        name: "sum",
        since: 0,
        call: |args, meter| sum(args, Val::Uint(0), meter),
        overloads: &[("list_uint_sum_uint", ".list(uint)", "uint")],
    },
    Def {
        name: "sum",
        since: 0,
        call: |args, meter| sum(args, Val::Double(0.0), meter),
        overloads: &[("list_double_sum_double", ".list(double)", "double")],
    },
    Def {
        name: "sum",
        since: 0,
        call: |args, meter| sum(args, Val::Duration(0), meter),
        overloads: &[("list_duration_sum_duration", ".list(duration)", "duration")],
    },
    Def {
        name: "max",
        since: 0,
        call: |args, meter| best(args, "max", Ordering::Greater, meter),
        overloads: &[
            ("list_int_max_int", ".list(int)", "int"),
            ("list_uint_max_uint", ".list(uint)", "uint"),
            ("list_double_max_double", ".list(double)", "double"),
            ("list_bool_max_bool", ".list(bool)", "bool"),
            ("list_duration_max_duration", ".list(duration)", "duration"),
            ("list_timestamp_max_timestamp", ".list(timestamp)", "timestamp"),
            ("list_string_max_string", ".list(string)", "string"),
            ("list_bytes_max_bytes", ".list(bytes)", "bytes"),
        ],
    },
    Def {
        name: "min",
        since: 0,
        call: |args, meter| best(args, "min", Ordering::Less, meter),
        overloads: &[
            ("list_int_min_int", ".list(int)", "int"),
            ("list_uint_min_uint", ".list(uint)", "uint"),
            ("list_double_min_double", ".list(double)", "double"),
            ("list_bool_min_bool", ".list(bool)", "bool"),
            ("list_duration_min_duration", ".list(duration)", "duration"),
            ("list_timestamp_min_timestamp", ".list(timestamp)", "timestamp"),
            ("list_string_min_string", ".list(string)", "string"),
            ("list_bytes_min_bytes", ".list(bytes)", "bytes"),
        ],
    },
    Def {
        name: "indexOf",
        since: 0,
        call: |args, meter| place(args, false, meter),
        overloads: &[("list_a_index_of_int", ".list(A), A", "int")],
    },
    Def {
        name: "lastIndexOf",
        since: 0,
        call: |args, meter| place(args, true, meter),
        overloads: &[("list_a_last_index_of_int", ".list(A), A", "int")],
    },
];

pub(super) const EXTENSION: &[Def] = &[
    Def {
        name: "slice",
        since: EXTENSION_MINOR,
        call: slice,
        overloads: &[("list_slice", ".list(T), int, int", "list(T)")],
    },
    Def {
        name: "flatten",
        since: EXTENSION_MINOR,
        call: flatten,
        overloads: &[
            ("list_flatten", ".list(list(T))", "list(T)"),
            ("list_flatten_int", ".list(dyn), int", "list(dyn)"),
        ],
    },
    Def {
        name: "sort",
        since: EXTENSION_MINOR,
        call: |args, meter| sort(args, &args[..1], meter),
        overloads: &[
            ("list_int_sort", ".list(int)", "list(int)"),
            ("list_uint_sort", ".list(uint)", "list(uint)"),
            ("list_double_sort", ".list(double)", "list(double)"),
            ("list_bool_sort", ".list(bool)", "list(bool)"),
            ("list_google.protobuf.Duration_sort", ".list(duration)", "list(duration)"),
            ("list_google.protobuf.Timestamp_sort", ".list(timestamp)", "list(timestamp)"),
            ("list_string_sort", ".list(string)", "list(string)"),
            ("list_bytes_sort", ".list(bytes)", "list(bytes)"),
        ],
    },
    Def {
        name: SORT_BY_KEYS,
        since: EXTENSION_MINOR,
        call: |args, meter| sort(args, &args[1..], meter),
        overloads: &[
            ("list_int_sortByAssociatedKeys", ".list(T), list(int)", "list(T)"),
            ("list_uint_sortByAssociatedKeys", ".list(T), list(uint)", "list(T)"),
            ("list_double_sortByAssociatedKeys", ".list(T), list(double)", "list(T)"),
            ("list_bool_sortByAssociatedKeys", ".list(T), list(bool)", "list(T)"),
            ("list_google.protobuf.Duration_sortByAssociatedKeys", ".list(T), list(duration)", "list(T)"),
            ("list_google.protobuf.Timestamp_sortByAssociatedKeys", ".list(T), list(timestamp)", "list(T)"),
            ("list_string_sortByAssociatedKeys", ".list(T), list(string)", "list(T)"),
            ("list_bytes_sortByAssociatedKeys", ".list(T), list(bytes)", "list(T)"),
        ],
    },
    Def { name: "lists.range", since: EXTENSION_MINOR, call: range, overloads: &[("lists_range", "int", "list(int)")] },
    Def {
        name: "reverse",
        since: EXTENSION_MINOR,
        call: |args, meter| {
            let mut items = items(args, meter)?;
            items.reverse();
            Ok(Val::from(items))
        },
        overloads: &[("list_reverse", ".list(T)", "list(T)")],
    },
    Def {
        name: "distinct",
        since: EXTENSION_MINOR,
        call: distinct,
        overloads: &[("list_distinct", ".list(T)", "list(T)")],
    },
];

fn list<'v, 'a>(args: &'v [Val<'a>]) -> Result<&'v List<'a>, EvalError> {
    match args.first() {
        Some(Val::List(list)) => Ok(list),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn items<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Vec<Val<'a>>, EvalError> {
    let list = list(args)?;
    meter.work(list.len() as u64)?;
    list.iter().collect()
}

fn is_sorted<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let items = items(args, meter)?;
    for pair in items.windows(2) {
        if compare(&pair[0], &pair[1])?.is_gt() {
            return Ok(Val::Bool(false));
        }
    }
    Ok(Val::Bool(true))
}

fn sum<'a>(args: &[Val<'a>], zero: Val<'a>, meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let mut total = zero;
    let integer = || EvalError::new("integer overflow");
    for item in items(args, meter)? {
        total = match (total, item) {
            (Val::Int(a), Val::Int(b)) => Val::Int(a.checked_add(b).ok_or_else(integer)?),
            (Val::Uint(a), Val::Uint(b)) => {
                Val::Uint(a.checked_add(b).ok_or_else(|| EvalError::new("unsigned integer overflow"))?)
            }
            (Val::Double(a), Val::Double(b)) => Val::Double(a + b),
            (Val::Duration(a), Val::Duration(b)) => {
                Val::Duration(a.checked_add(b).ok_or_else(|| EvalError::new("duration overflow"))?)
            }
            _ => return Err(EvalError::NoSuchOverload),
        };
    }
    Ok(total)
}

fn best<'a>(args: &[Val<'a>], name: &str, wanted: Ordering, meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let mut best: Option<Val<'a>> = None;
    for item in items(args, meter)? {
        best = Some(match best {
            Some(best) if compare(&item, &best)? != wanted => best,
            _ => item,
        });
    }
    best.ok_or_else(|| EvalError::new(format!("{name} called on empty list")))
}

fn place<'a>(args: &[Val<'a>], last: bool, meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let [Val::List(list), wanted] = args else { return Err(EvalError::NoSuchOverload) };
    let mut found = -1;
    for (index, item) in list.iter().enumerate() {
        if equal(&item?, wanted, meter)? {
            found = index as i64;
            if !last {
                break;
            }
        }
    }
    Ok(Val::Int(found))
}

fn slice<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let [Val::List(list), Val::Int(start), Val::Int(end)] = args else { return Err(EvalError::NoSuchOverload) };
    let failed = |problem: &str| Err(EvalError::new(format!("cannot slice({start}, {end}), {problem}")));
    if *start < 0 || *end < 0 {
        return failed("negative indexes not supported");
    }
    if start > end {
        return failed("start index must be less than or equal to end index");
    }
    if (list.len() as i64) < *end {
        return failed(&format!("list is length {}", list.len()));
    }
    meter.work((end - start) as u64)?;
    match list {
        List::Json(items, decl) => Ok(Val::List(List::Json(&items[*start as usize..*end as usize], *decl))),
        List::Owned(items) => Ok(Val::from(items[*start as usize..*end as usize].to_vec())),
    }
}

fn flatten<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let depth = match args {
        [Val::List(_)] => 1,
        [Val::List(_), Val::Int(depth)] => *depth,
        _ => return Err(EvalError::NoSuchOverload),
    };
    if depth < 0 {
        return Err(EvalError::new("level must be non-negative"));
    }
    let mut out = Vec::new();
    flatten_into(list(args)?, depth.min(MAX_FLATTEN), &mut out, meter)?;
    Ok(Val::from(out))
}

fn flatten_into<'a>(list: &List<'a>, depth: i64, out: &mut Vec<Val<'a>>, meter: &mut Meter) -> Result<(), EvalError> {
    for item in list.iter() {
        meter.work(1)?;
        match item? {
            Val::List(nested) if depth > 0 => flatten_into(&nested, depth - 1, out, meter)?,
            item => out.push(item),
        }
    }
    Ok(())
}

/// The items of the first list in the order of the keys.
fn sort<'a>(args: &[Val<'a>], keys: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let (items, keys) = (items(args, meter)?, self::items(keys, meter)?);
    if items.len() != keys.len() {
        let message = format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            items.len(),
            keys.len()
        );
        return Err(EvalError::new(message));
    }
    let Some(first) = keys.first() else { return Ok(args[0].clone()) };
    if compare(first, first) == Err(EvalError::NoSuchOverload) {
        return Err(EvalError::new("list elements must be comparable"));
    }
    let kind = std::mem::discriminant::<Type>(&first.type_of());
    if keys.iter().any(|key| std::mem::discriminant(&key.type_of()) != kind) {
        return Err(EvalError::new("list elements must have the same type"));
    }
    meter.work(keys.len() as u64 * 16)?;
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by(|a, b| compare(&keys[*a], &keys[*b]).unwrap_or(Ordering::Equal));
    Ok(Val::from(order.into_iter().map(|index| items[index].clone()).collect::<Vec<_>>()))
}

fn range<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let [Val::Int(end)] = args else { return Err(EvalError::NoSuchOverload) };
    if *end > MAX_RANGE {
        return Err(EvalError::CostLimit);
    }
    meter.work((*end).max(0) as u64)?;
    Ok(Val::List(List::Owned(Arc::new((0..*end).map(Val::Int).collect()))))
}

fn distinct<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let mut unique: Vec<Val<'a>> = Vec::new();
    'items: for item in items(args, meter)? {
        for known in &unique {
            if equal(&item, known, meter)? {
                continue 'items;
            }
        }
        unique.push(item);
    }
    Ok(Val::from(unique))
}
