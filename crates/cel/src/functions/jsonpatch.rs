//! What expressions that make JSON patches need. Only environments of mutations have it.

use super::Def;
use crate::env::MUTATION;
use crate::error::EvalError;
use crate::val::Val;

pub(super) const DEFS: &[Def] = &[Def {
    name: "jsonpatch.escapeKey",
    since: MUTATION,
    call: |args, _| match args {
        [Val::String(text)] => Ok(Val::from(text.as_str().replace('~', "~0").replace('/', "~1"))),
        _ => Err(EvalError::NoSuchOverload),
    },
    overloads: &[("string_jsonpatch_escapeKey_string", "string", "string")],
}];
