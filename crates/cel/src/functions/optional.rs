//! Optional values. `or` and `orValue` evaluate their argument only when they need it, so the evaluator has them.

use std::sync::Arc;

use super::Def;
use crate::ast::op;
use crate::error::EvalError;
use crate::val::Val;

pub(super) const DEFS: &[Def] = &[
    Def {
        name: "optional.of",
        since: 28,
        call: |args, _| Ok(Val::Optional(Some(Arc::new(args[0].clone())))),
        overloads: &[("optional_of", "V", "optional(V)")],
    },
    Def {
        name: "optional.ofNonZeroValue",
        since: 28,
        call: |args, _| Ok(Val::Optional((!args[0].is_zero()).then(|| Arc::new(args[0].clone())))),
        overloads: &[("optional_ofNonZeroValue", "V", "optional(V)")],
    },
    Def {
        name: "optional.none",
        since: 28,
        call: |_, _| Ok(Val::Optional(None)),
        overloads: &[("optional_none", "", "optional(V)")],
    },
    Def {
        name: "value",
        since: 28,
        call: |args, _| match args {
            [Val::Optional(Some(inner))] => Ok((**inner).clone()),
            [Val::Optional(None)] => Err(EvalError::new("optional.none() dereference")),
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[("optional_value", ".optional(V)", "V")],
    },
    Def {
        name: "hasValue",
        since: 28,
        call: |args, _| match args {
            [Val::Optional(inner)] => Ok(Val::Bool(inner.is_some())),
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[("optional_hasValue", ".optional(V)", "bool")],
    },
    Def {
        name: "or",
        since: 28,
        call: |_, _| Err(EvalError::NoSuchOverload),
        overloads: &[("optional_or_optional", ".optional(V), optional(V)", "optional(V)")],
    },
    Def {
        name: "orValue",
        since: 28,
        call: |_, _| Err(EvalError::NoSuchOverload),
        overloads: &[("optional_orValue_value", ".optional(V), V", "V")],
    },
    Def {
        name: op::OPT_SELECT,
        since: 28,
        call: |_, _| Err(EvalError::NoSuchOverload),
        overloads: &[("select_optional_field", "dyn, string", "optional(V)")],
    },
    Def {
        name: op::OPT_INDEX,
        since: 28,
        call: |_, _| Err(EvalError::NoSuchOverload),
        overloads: &[
            ("list_optindex_optional_int", "list(V), int", "optional(V)"),
            ("optional_list_optindex_optional_int", "optional(list(V)), int", "optional(V)"),
            ("map_optindex_optional_value", "map(K, V), K", "optional(V)"),
            ("optional_map_optindex_optional_value", "optional(map(K, V)), K", "optional(V)"),
        ],
    },
    Def {
        name: "first",
        since: 28,
        call: |args, _| match args {
            [Val::List(list)] if list.is_empty() => Ok(Val::Optional(None)),
            [Val::List(list)] => Ok(Val::Optional(Some(Arc::new(list.get(0)?)))),
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[("list_first", ".list(V)", "optional(V)")],
    },
    Def {
        name: "last",
        since: 28,
        call: |args, _| match args {
            [Val::List(list)] if list.is_empty() => Ok(Val::Optional(None)),
            [Val::List(list)] => Ok(Val::Optional(Some(Arc::new(list.get(list.len() - 1)?)))),
            _ => Err(EvalError::NoSuchOverload),
        },
        overloads: &[("list_last", ".list(V)", "optional(V)")],
    },
    Def {
        name: "optional.unwrap",
        since: 28,
        call: |args, _| unwrap(args),
        overloads: &[("optional_unwrap", "list(optional(V))", "list(V)")],
    },
    Def {
        name: "unwrapOpt",
        since: 28,
        call: |args, _| unwrap(args),
        overloads: &[("optional_unwrapOpt", ".list(optional(V))", "list(V)")],
    },
];

fn unwrap<'a>(args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let [Val::List(list)] = args else { return Err(EvalError::NoSuchOverload) };
    let mut values = Vec::new();
    for item in list.iter() {
        match item? {
            Val::Optional(Some(inner)) => values.push((*inner).clone()),
            Val::Optional(None) => {}
            other => {
                let shown = crate::convert::to_text(&other).unwrap_or_default();
                return Err(EvalError::new(format!("value {shown} is not optional")));
            }
        }
    }
    Ok(Val::from(values))
}
