//! `"%s has %d".format([name, count])`.

use super::{Def, Library};
use crate::convert;
use crate::error::EvalError;
use crate::meter::Meter;
use crate::types::Type;
use crate::val::{Map, Val};

/// Digits behind the point when a clause does not say.
const PRECISION: usize = 6;

/// Most digits behind the point that a clause may ask for.
const MAX_PRECISION: usize = 1000;

/// Deepest nesting of lists and maps that is shown.
const MAX_NESTING: u32 = 64;

pub(super) const DEFS: &[Def] =
    &[Def { name: "format", since: 29, call: format, overloads: &[("string_format", ".string, list(dyn)", "string")] }];

fn format<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let [Val::String(template), Val::List(values)] = args else { return Err(EvalError::NoSuchOverload) };
    let mut rest = template.as_str();
    let mut out = String::with_capacity(rest.len());
    let mut index = 0;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        if index >= values.len() {
            return Err(EvalError::new(format!("index {index} out of range")));
        }
        let value = values.get(index)?;
        index += 1;
        let (clause, precision) = clause(&mut rest)?;
        let shown = show(clause, precision, &value)
            .map_err(|problem| EvalError::new(format!("error during formatting: {problem}")))?;
        meter.work(shown.len() as u64 / 16 + 1)?;
        out.push_str(&shown);
    }
    out.push_str(rest);
    Ok(Val::from(out))
}

/// What is wrong with a template that is known beforehand, with values of which at least the types are: with one of the
/// values, or with the call.
pub(crate) fn check(template: &str, values: &[Type]) -> Option<(Option<usize>, String)> {
    let mut rest = template;
    let mut index = 0;
    while let Some(at) = rest.find('%') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            rest = after;
            continue;
        }
        let clause = match (clause(&mut rest), values.get(index)) {
            (Err(problem), _) if rest.is_empty() => return Some((None, problem.to_string())),
            (_, None) => return Some((None, format!("index {index} out of range"))),
            (Ok((clause, _)), Some(ty)) => (clause, ty),
            (Err(problem), _) => return Some((None, problem.to_string())),
        };
        let (clause, ty) = clause;
        if let Some(problem) = unfit(clause, ty) {
            return Some((Some(index), format!("error during formatting: {problem}, was given {}", ty.name())));
        }
        index += 1;
    }
    let message = format!("too many arguments supplied to string.format (expected {index}, got {})", values.len());
    (values.len() > index).then_some((None, message))
}

/// Why a clause takes no value of a type.
fn unfit(clause: char, ty: &Type) -> Option<&'static str> {
    let (fits, problem) = match clause {
        's' => (!matches!(ty, Type::Object(_) | Type::Opaque(..)), NOT_SHOWN),
        'd' => (matches!(ty, Type::Int | Type::Uint), "decimal clause can only be used on integers"),
        'f' => (matches!(ty, Type::Double | Type::String), "fixed-point clause can only be used on doubles"),
        'e' => (matches!(ty, Type::Double | Type::String), "scientific clause can only be used on doubles"),
        'b' => {
            let problem = "only integers and bools can be formatted as binary";
            (matches!(ty, Type::Int | Type::Uint | Type::Bool), problem)
        }
        'x' | 'X' => {
            let problem = "only integers, byte buffers, and strings can be formatted as hex";
            (matches!(ty, Type::Int | Type::Uint | Type::String | Type::Bytes), problem)
        }
        _ => (matches!(ty, Type::Int | Type::Uint), "octal clause can only be used on integers"),
    };
    (!fits && !ty.is_dyn()).then_some(problem)
}

const NOT_SHOWN: &str = "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps";

/// The letter of a clause and its precision.
fn clause(rest: &mut &str) -> Result<(char, Option<usize>), EvalError> {
    let failed = |problem: &str| EvalError::new(format!("could not parse formatting clause: {problem}"));
    let mut precision = None;
    if rest.is_empty() {
        return Err(EvalError::new("unexpected end of string"));
    }
    if let Some(after) = rest.strip_prefix('.') {
        let length = after.bytes().take_while(u8::is_ascii_digit).count();
        if length == after.len() {
            return Err(failed("error while parsing precision: could not find end of precision specifier"));
        }
        let digits = &after[..length];
        let parsed = digits.parse::<usize>().ok().filter(|digits| *digits <= MAX_PRECISION).ok_or_else(|| {
            failed(&format!(
                "error while parsing precision: error while converting precision to integer: strconv.Atoi: parsing {digits:?}: invalid syntax"
            ))
        })?;
        precision = Some(parsed);
        *rest = &after[length..];
    }
    let Some(letter) = rest.chars().next() else { return Err(EvalError::new("unexpected end of string")) };
    *rest = &rest[letter.len_utf8()..];
    match letter {
        's' | 'd' | 'f' | 'e' | 'b' | 'x' | 'X' | 'o' => Ok((letter, precision)),
        other => Err(failed(&format!("unrecognized formatting clause \"{other}\""))),
    }
}

fn show(clause: char, precision: Option<usize>, value: &Val<'_>) -> Result<String, String> {
    let given = value.type_of();
    let given = given.name();
    let precision = precision.unwrap_or(PRECISION);
    let double = |what: &str| match value {
        Val::Double(value) => Ok(*value),
        Val::String(text) => match text.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => Err(format!("{what} clause can only be used on doubles, was given {given}")),
        },
        _ => Err(format!("{what} clause can only be used on doubles, was given {given}")),
    };
    Ok(match clause {
        's' => string(value)?,
        'd' => match value {
            Val::Int(value) => value.to_string(),
            Val::Uint(value) => value.to_string(),
            _ => return Err(format!("decimal clause can only be used on integers, was given {given}")),
        },
        'f' => fixed(double("fixed-point")?, precision),
        // Upstream's printer takes no precision here.
        'e' => scientific(double("scientific")?, PRECISION),
        'b' => match value {
            Val::Int(value) => signed(*value, |magnitude| format!("{magnitude:b}")),
            Val::Uint(value) => format!("{value:b}"),
            Val::Bool(value) => u8::from(*value).to_string(),
            _ => return Err(format!("only integers and bools can be formatted as binary, was given {given}")),
        },
        'x' | 'X' => {
            let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let shown = match value {
                Val::Int(value) => signed(*value, |magnitude| format!("{magnitude:x}")),
                Val::Uint(value) => format!("{value:x}"),
                Val::String(text) => hex(text.as_str().as_bytes()),
                Val::Bytes(bytes) => hex(bytes.as_slice()),
                _ => {
                    return Err(format!(
                        "only integers, byte buffers, and strings can be formatted as hex, was given {given}"
                    ));
                }
            };
            if clause == 'X' { shown.to_ascii_uppercase() } else { shown }
        }
        _ => match value {
            Val::Int(value) => signed(*value, |magnitude| format!("{magnitude:o}")),
            Val::Uint(value) => format!("{value:o}"),
            _ => return Err(format!("octal clause can only be used on integers, was given {given}")),
        },
    })
}

fn signed(value: i64, show: fn(u64) -> String) -> String {
    format!("{}{}", if value < 0 { "-" } else { "" }, show(value.unsigned_abs()))
}

/// In English: groups of three digits.
fn fixed(value: f64, precision: usize) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞" } else { "-∞" }.to_owned();
    }
    let plain = format!("{:.precision$}", value.abs());
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{grouped}") } else { format!("{sign}{grouped}.{fraction}") }
}

/// In English: `1.5×10⁰³`, the exponent raised and with two digits.
fn scientific(value: f64, precision: usize) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞" } else { "-∞" }.to_owned();
    }
    let plain = format!("{value:.precision$e}");
    let (digits, exponent) = plain.split_once('e').unwrap_or((&plain, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    const RAISED: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let raised = format!("{:02}", exponent.abs()).bytes().map(|b| RAISED[usize::from(b - b'0')]).collect::<String>();
    format!("{digits}×10{}{raised}", if exponent < 0 { "⁻" } else { "" })
}

fn string(value: &Val<'_>) -> Result<String, String> {
    match value {
        Val::Null => Ok("null".to_owned()),
        Val::List(_) | Val::Map(_) => literal(value, 0),
        Val::Library(Library::Ip(_) | Library::Cidr(_)) | Val::Optional(_) | Val::Struct(_) | Val::Library(_) => {
            Err(not_shown(value))
        }
        other => convert::to_text(other).ok_or_else(|| not_shown(other)),
    }
}

fn not_shown(value: &Val<'_>) -> String {
    format!("{NOT_SHOWN}, was given {}", value.type_of().name())
}

/// A value as it would be written in an expression.
fn literal(value: &Val<'_>, nesting: u32) -> Result<String, String> {
    if nesting > MAX_NESTING {
        return Err("nested too deeply".to_owned());
    }
    Ok(match value {
        Val::Int(value) => value.to_string(),
        Val::Uint(value) => value.to_string(),
        Val::String(text) => convert::quoted(text.as_str()),
        Val::Bytes(bytes) => format!("b{}", convert::quoted(&String::from_utf8_lossy(bytes.as_slice()))),
        Val::Bool(value) => value.to_string(),
        Val::Null => "null".to_owned(),
        Val::Type(ty) => ty.name().to_owned(),
        Val::Timestamp(timestamp) => format!("timestamp({})", convert::quoted(&timestamp.to_string())),
        Val::Duration(nanos) => {
            format!("duration({})", convert::quoted(&crate::time::format_duration(*nanos)))
        }
        Val::Double(value) if value.is_nan() => "\"NaN\"".to_owned(),
        Val::Double(value) if value.is_infinite() => if *value > 0.0 { "\"+Inf\"" } else { "\"-Inf\"" }.to_owned(),
        Val::Double(value) => format!("{value:.PRECISION$}"),
        Val::List(list) => {
            let items = list.iter().map(|item| literal(&item.map_err(|error| error.to_string())?, nesting + 1));
            format!("[{}]", items.collect::<Result<Vec<_>, _>>()?.join(", "))
        }
        Val::Map(map) => map_literal(map, nesting)?,
        other => return Err(format!("no formatting function for {}", other.type_of().name())),
    })
}

fn map_literal(map: &Map<'_>, nesting: u32) -> Result<String, String> {
    let mut entries = Vec::with_capacity(map.len());
    for key in map.keys() {
        let shown = match &key {
            Val::String(_) | Val::Bool(_) | Val::Int(_) | Val::Uint(_) => literal(&key, nesting)?,
            _ => return Err(format!("no formatting function for map key of type {}", key.type_of().name())),
        };
        let Some(value) = map.find(&key).map_err(|error| error.to_string())? else { continue };
        entries.push((shown, literal(&value, nesting + 1)?));
    }
    entries.sort();
    let entries: Vec<String> = entries.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
    Ok(format!("{{{}}}", entries.join(", ")))
}
