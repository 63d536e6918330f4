//! Conversions between types: `int(x)`, `string(x)`, `timestamp(x)`, …

use super::{Def, Library};
use crate::convert;
use crate::error::EvalError;
use crate::meter::Meter;
use crate::time::{self, Timestamp};
use crate::types::Type;
use crate::val::{Bytes, Val};

pub(super) const DEFS: &[Def] = &[
    Def {
        name: "type",
        since: 0,
        call: |args, _| Ok(Val::Type(args[0].type_of())),
        overloads: &[("type", "A", "type(A)")],
    },
    Def {
        name: "bool",
        since: 0,
        call: to_bool,
        overloads: &[("bool_to_bool", "bool", "bool"), ("string_to_bool", "string", "bool")],
    },
    Def {
        name: "bytes",
        since: 0,
        call: to_bytes,
        overloads: &[("bytes_to_bytes", "bytes", "bytes"), ("string_to_bytes", "string", "bytes")],
    },
    Def {
        name: "double",
        since: 0,
        call: to_double,
        overloads: &[
            ("double_to_double", "double", "double"),
            ("int64_to_double", "int", "double"),
            ("string_to_double", "string", "double"),
            ("uint64_to_double", "uint", "double"),
        ],
    },
    Def {
        name: "duration",
        since: 0,
        call: to_duration,
        overloads: &[
            ("duration_to_duration", "duration", "duration"),
            ("int64_to_duration", "int", "duration"),
            ("string_to_duration", "string", "duration"),
        ],
    },
    Def { name: "dyn", since: 0, call: |args, _| Ok(args[0].clone()), overloads: &[("to_dyn", "A", "dyn")] },
    Def {
        name: "int",
        since: 0,
        call: to_int,
        overloads: &[
            ("int64_to_int64", "int", "int"),
            ("double_to_int64", "double", "int"),
            ("duration_to_int64", "duration", "int"),
            ("string_to_int64", "string", "int"),
            ("timestamp_to_int64", "timestamp", "int"),
            ("uint64_to_int64", "uint", "int"),
        ],
    },
    Def {
        name: "string",
        since: 0,
        call: to_string,
        overloads: &[
            ("string_to_string", "string", "string"),
            ("bool_to_string", "bool", "string"),
            ("bytes_to_string", "bytes", "string"),
            ("double_to_string", "double", "string"),
            ("duration_to_string", "duration", "string"),
            ("int64_to_string", "int", "string"),
            ("timestamp_to_string", "timestamp", "string"),
            ("uint64_to_string", "uint", "string"),
        ],
    },
    Def {
        name: "string",
        since: 30,
        call: to_string,
        overloads: &[("ip_to_string", "net.IP", "string"), ("cidr_to_string", "net.CIDR", "string")],
    },
    Def {
        name: "timestamp",
        since: 0,
        call: to_timestamp,
        overloads: &[
            ("timestamp_to_timestamp", "timestamp", "timestamp"),
            ("int64_to_timestamp", "int", "timestamp"),
            ("string_to_timestamp", "string", "timestamp"),
        ],
    },
    Def {
        name: "uint",
        since: 0,
        call: to_uint,
        overloads: &[
            ("uint64_to_uint64", "uint", "uint"),
            ("double_to_uint64", "double", "uint"),
            ("int64_to_uint64", "int", "uint"),
            ("string_to_uint64", "string", "uint"),
        ],
    },
];

fn failed<T>(value: &Val<'_>, to: &Type) -> Result<T, EvalError> {
    Err(EvalError::new(format!("type conversion error from '{}' to '{}'", value.type_of().name(), to.name())))
}

/// What upstream says of a conversion of a value that its type does not have.
fn no_overload<T>(function: &str, value: &Val<'_>) -> Result<T, EvalError> {
    Err(EvalError::new(format!("no such overload: {function}({})", value.type_of().name())))
}

fn to_bool<'a>(args: &[Val<'a>], _: &mut Meter) -> Result<Val<'a>, EvalError> {
    match &args[0] {
        Val::Bool(value) => Ok(Val::Bool(*value)),
        Val::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
            _ => failed(&args[0], &Type::Bool),
        },
        _ => no_overload("bool", &args[0]),
    }
}

fn to_bytes<'a>(args: &[Val<'a>], _: &mut Meter) -> Result<Val<'a>, EvalError> {
    match &args[0] {
        Val::Bytes(_) => Ok(args[0].clone()),
        Val::String(text) => Ok(Val::Bytes(Bytes::Owned(text.as_str().as_bytes().into()))),
        _ => no_overload("bytes", &args[0]),
    }
}

fn to_double<'a>(args: &[Val<'a>], _: &mut Meter) -> Result<Val<'a>, EvalError> {
    match &args[0] {
        Val::Double(value) => Ok(Val::Double(*value)),
        Val::Int(value) => Ok(Val::Double(*value as f64)),
        Val::Uint(value) => Ok(Val::Double(*value as f64)),
        Val::String(text) => match convert::parse_double(text.as_str()) {
            Some(value) => Ok(Val::Double(value)),
            None => failed(&args[0], &Type::Double),
        },
        _ => no_overload("double", &args[0]),
    }
}

fn to_duration<'a>(args: &[Val<'a>], _: &mut Meter) -> Result<Val<'a>, EvalError> {
    match &args[0] {
        Val::Duration(value) => Ok(Val::Duration(*value)),
        // There is a signature for it, and nothing behind it.
        Val::Int(_) => failed(&args[0], &Type::Duration),
        Val::String(text) => match time::parse_duration(text.as_str()) {
            Some(value) => Ok(Val::Duration(value)),
            None => failed(&args[0], &Type::Duration),
        },
        _ => no_overload("duration", &args[0]),
    }
}

fn to_int<'a>(args: &[Val<'a>], _: &mut Meter) -> Result<Val<'a>, EvalError> {
    let overflow = || EvalError::new("integer overflow");
    match &args[0] {
        Val::Int(value) => Ok(Val::Int(*value)),
        Val::Uint(value) => i64::try_from(*value).map(Val::Int).map_err(|_| overflow()),
        // The limits themselves are out of range.
        Val::Double(value) if *value > i64::MIN as f64 && *value < i64::MAX as f64 => Ok(Val::Int(*value as i64)),
        Val::Double(_) => Err(overflow()),
        Val::Duration(value) => Ok(Val::Int(*value)),
        Val::Timestamp(timestamp) => Ok(Val::Int(timestamp.seconds())),
        Val::String(text) => match text.as_str().parse() {
            Ok(value) => Ok(Val::Int(value)),
            Err(_) => failed(&args[0], &Type::Int),
        },
        _ => no_overload("int", &args[0]),
    }
}

fn to_uint<'a>(args: &[Val<'a>], _: &mut Meter) -> Result<Val<'a>, EvalError> {
    let overflow = || EvalError::new("unsigned integer overflow");
    match &args[0] {
        Val::Uint(value) => Ok(Val::Uint(*value)),
        Val::Int(value) => u64::try_from(*value).map(Val::Uint).map_err(|_| overflow()),
        Val::Double(value) if *value >= 0.0 && *value < 18_446_744_073_709_551_616.0 => Ok(Val::Uint(*value as u64)),
        Val::Double(_) => Err(overflow()),
        Val::String(text) if !text.as_str().starts_with('+') => match text.as_str().parse() {
            Ok(value) => Ok(Val::Uint(value)),
            Err(_) => failed(&args[0], &Type::Uint),
        },
        Val::String(_) => failed(&args[0], &Type::Uint),
        _ => no_overload("uint", &args[0]),
    }
}

fn to_string<'a>(args: &[Val<'a>], _: &mut Meter) -> Result<Val<'a>, EvalError> {
    match &args[0] {
        Val::String(_) => Ok(args[0].clone()),
        Val::Bytes(bytes) => match std::str::from_utf8(bytes.as_slice()) {
            Ok(text) => Ok(Val::from(text.to_owned())),
            Err(_) => Err(EvalError::new("invalid UTF-8 in bytes, cannot convert to string")),
        },
        Val::Library(Library::Ip(address)) => Ok(Val::from(address.to_string())),
        Val::Library(Library::Cidr(cidr)) => Ok(Val::from(cidr.to_string())),
        Val::Type(_) => no_overload("string", &args[0]),
        other => convert::to_text(other).map_or_else(|| no_overload("string", other), |text| Ok(Val::from(text))),
    }
}

fn to_timestamp<'a>(args: &[Val<'a>], _: &mut Meter) -> Result<Val<'a>, EvalError> {
    match &args[0] {
        Val::Timestamp(timestamp) => Ok(Val::Timestamp(*timestamp)),
        Val::Int(seconds) => Timestamp::new(*seconds, 0).map(Val::Timestamp),
        Val::String(text) => match Timestamp::parse(text.as_str()) {
            Some(timestamp) if timestamp.in_range() => Ok(Val::Timestamp(timestamp)),
            Some(_) => Err(EvalError::new("timestamp overflow")),
            None => failed(&args[0], &Type::Timestamp),
        },
        _ => no_overload("timestamp", &args[0]),
    }
}
