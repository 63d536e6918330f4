//! Lists as sets.

use super::{Def, equal};
use crate::error::EvalError;
use crate::meter::Meter;
use crate::val::{List, Val};

pub(super) const DEFS: &[Def] = &[
    Def {
        name: "sets.contains",
        since: 29,
        call: |args, meter| two(args, meter, contains_all),
        overloads: &[("list_sets_contains_list", "list(T), list(T)", "bool")],
    },
    Def {
        name: "sets.equivalent",
        since: 29,
        call: |args, meter| {
            two(args, meter, |a, b, meter| Ok(contains_all(a, b, meter)? && contains_all(b, a, meter)?))
        },
        overloads: &[("list_sets_equivalent_list", "list(T), list(T)", "bool")],
    },
    Def {
        name: "sets.intersects",
        since: 29,
        call: |args, meter| {
            two(args, meter, |a, b, meter| {
                for item in a.iter() {
                    if contains(b, &item?, meter)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            })
        },
        overloads: &[("list_sets_intersects_list", "list(T), list(T)", "bool")],
    },
];

fn two<'a>(
    args: &[Val<'a>],
    meter: &mut Meter,
    holds: fn(&List<'_>, &List<'_>, &mut Meter) -> Result<bool, EvalError>,
) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::List(a), Val::List(b)] => holds(a, b, meter).map(Val::Bool),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn contains(list: &List<'_>, wanted: &Val<'_>, meter: &mut Meter) -> Result<bool, EvalError> {
    for item in list.iter() {
        if equal(&item?, wanted, meter)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn contains_all(list: &List<'_>, part: &List<'_>, meter: &mut Meter) -> Result<bool, EvalError> {
    for item in part.iter() {
        if !contains(list, &item?, meter)? {
            return Ok(false);
        }
    }
    Ok(true)
}
