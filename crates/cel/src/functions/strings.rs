//! Strings: the standard functions, and those of the strings extension. Places are counted in code points.

use super::Def;
use crate::error::EvalError;
use crate::meter::Meter;
use crate::val::{Text, Val};

/// The strings extension in its version 2 comes with this minor.
const SECOND_VERSION: u32 = 29;

pub(super) const STANDARD: &[Def] = &[
    Def {
        name: "contains",
        since: 0,
        call: |args, meter| test(args, meter, |text, part| text.contains(part)),
        overloads: &[("contains_string", ".string, string", "bool")],
    },
    Def {
        name: "endsWith",
        since: 0,
        call: |args, meter| test(args, meter, |text, part| text.ends_with(part)),
        overloads: &[("ends_with_string", ".string, string", "bool")],
    },
    Def {
        name: "startsWith",
        since: 0,
        call: |args, meter| test(args, meter, |text, part| text.starts_with(part)),
        overloads: &[("starts_with_string", ".string, string", "bool")],
    },
];

pub(super) const EXTENSION: &[Def] = &[
    Def { name: "charAt", since: 0, call: char_at, overloads: &[("string_char_at_int", ".string, int", "string")] },
    Def {
        name: "indexOf",
        since: 0,
        call: index_of,
        overloads: &[
            ("string_index_of_string", ".string, string", "int"),
            ("string_index_of_string_int", ".string, string, int", "int"),
        ],
    },
    Def {
        name: "lastIndexOf",
        since: 0,
        call: last_index_of,
        overloads: &[
            ("string_last_index_of_string", ".string, string", "int"),
            ("string_last_index_of_string_int", ".string, string, int", "int"),
        ],
    },
    Def {
        name: "lowerAscii",
        since: 0,
        call: |args, meter| map(args, meter, str::to_ascii_lowercase),
        overloads: &[("string_lower_ascii", ".string", "string")],
    },
    Def {
        name: "replace",
        since: 0,
        call: replace,
        overloads: &[
            ("string_replace_string_string", ".string, string, string", "string"),
            ("string_replace_string_string_int", ".string, string, string, int", "string"),
        ],
    },
    Def {
        name: "split",
        since: 0,
        call: split,
        overloads: &[
            ("string_split_string", ".string, string", "list(string)"),
            ("string_split_string_int", ".string, string, int", "list(string)"),
        ],
    },
    Def {
        name: "substring",
        since: 0,
        call: substring,
        overloads: &[
            ("string_substring_int", ".string, int", "string"),
            ("string_substring_int_int", ".string, int, int", "string"),
        ],
    },
    Def {
        name: "trim",
        since: 0,
        call: |args, meter| map(args, meter, |text| text.trim().to_owned()),
        overloads: &[("string_trim", ".string", "string")],
    },
    Def {
        name: "upperAscii",
        since: 0,
        call: |args, meter| map(args, meter, str::to_ascii_uppercase),
        overloads: &[("string_upper_ascii", ".string", "string")],
    },
    Def {
        name: "strings.quote",
        since: SECOND_VERSION,
        call: |args, meter| map(args, meter, quote),
        overloads: &[("strings_quote", "string", "string")],
    },
    Def {
        name: "join",
        since: 0,
        call: join,
        overloads: &[("list_join", ".list(string)", "string"), ("list_join_string", ".list(string), string", "string")],
    },
];

fn scan(text: &str, meter: &mut Meter) -> Result<(), EvalError> {
    meter.work(text.len() as u64 / 16)
}

fn test<'a>(args: &[Val<'a>], meter: &mut Meter, holds: fn(&str, &str) -> bool) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::String(text), Val::String(part)] => {
            scan(text.as_str(), meter)?;
            Ok(Val::Bool(holds(text.as_str(), part.as_str())))
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn map<'a>(args: &[Val<'a>], meter: &mut Meter, change: fn(&str) -> String) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::String(text)] => {
            scan(text.as_str(), meter)?;
            Ok(Val::from(change(text.as_str())))
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn out_of_range<T>(index: i64) -> Result<T, EvalError> {
    Err(EvalError::new(format!("index out of range: {index}")))
}

/// The place in bytes of a code point, or of the end.
fn byte_at(text: &str, index: i64) -> Option<usize> {
    let index = usize::try_from(index).ok()?;
    text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(index)
}

/// A part of a string; of one that is borrowed, it is borrowed too.
fn slice<'a>(text: &Text<'a>, from: usize, to: usize) -> Val<'a> {
    match text {
        Text::Borrowed(text) => Val::from(&text[from..to]),
        Text::Owned(text) => Val::from(text[from..to].to_owned()),
    }
}

fn char_at<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let [Val::String(text), Val::Int(index)] = args else { return Err(EvalError::NoSuchOverload) };
    scan(text.as_str(), meter)?;
    let Some(from) = byte_at(text.as_str(), *index) else { return out_of_range(*index) };
    let length = text.as_str()[from..].chars().next().map_or(0, char::len_utf8);
    Ok(slice(text, from, from + length))
}

fn index_of<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let (text, part, offset) = match args {
        [Val::String(text), Val::String(part)] => (text.as_str(), part.as_str(), 0),
        [Val::String(text), Val::String(part), Val::Int(offset)] => (text.as_str(), part.as_str(), *offset),
        _ => return Err(EvalError::NoSuchOverload),
    };
    scan(text, meter)?;
    if part.is_empty() {
        return Ok(Val::Int(offset));
    }
    if offset < 0 {
        return out_of_range(offset);
    }
    let Some(from) = byte_at(text, offset) else { return Ok(Val::Int(-1)) };
    Ok(Val::Int(match text[from..].find(part) {
        Some(at) => offset + text[from..from + at].chars().count() as i64,
        None => -1,
    }))
}

fn last_index_of<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let (text, part, offset) = match args {
        [Val::String(text), Val::String(part)] => (text.as_str(), part.as_str(), None),
        [Val::String(text), Val::String(part), Val::Int(offset)] => (text.as_str(), part.as_str(), Some(*offset)),
        _ => return Err(EvalError::NoSuchOverload),
    };
    scan(text, meter)?;
    let length = text.chars().count() as i64;
    if part.is_empty() {
        return Ok(Val::Int(offset.unwrap_or(length)));
    }
    let offset = match offset {
        Some(offset) if offset < 0 => return out_of_range(offset),
        Some(offset) if offset >= length => return Ok(Val::Int(-1)),
        Some(offset) => offset,
        None => length - 1,
    };
    // The last place that is not behind the offset.
    let end = byte_at(text, offset).unwrap_or(text.len());
    let limit = (end + part.len()).min(text.len());
    let mut limit = limit;
    while !text.is_char_boundary(limit) {
        limit -= 1;
    }
    Ok(Val::Int(text[..limit].rfind(part).map_or(-1, |at| text[..at].chars().count() as i64)))
}

fn replace<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let (text, old, new, count) = match args {
        [Val::String(text), Val::String(old), Val::String(new)] => (text, old, new, -1),
        [Val::String(text), Val::String(old), Val::String(new), Val::Int(count)] => (text, old, new, *count),
        _ => return Err(EvalError::NoSuchOverload),
    };
    let (text, old, new) = (text.as_str(), old.as_str(), new.as_str());
    let most = usize::try_from(count).unwrap_or(usize::MAX);
    // The result may be much longer than what goes in.
    let times = if old.is_empty() { text.chars().count() + 1 } else { text.len() / old.len() };
    meter.work((text.len() + times.min(most).saturating_mul(new.len())) as u64 / 16)?;
    Ok(Val::from(text.replacen(old, new, most)))
}

fn split<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let (text, separator, count) = match args {
        [Val::String(text), Val::String(separator)] => (text, separator.as_str(), -1),
        [Val::String(text), Val::String(separator), Val::Int(count)] => (text, separator.as_str(), *count),
        _ => return Err(EvalError::NoSuchOverload),
    };
    let whole = text.as_str();
    meter.work(whole.len() as u64)?;
    let most = usize::try_from(count).unwrap_or(usize::MAX);
    let mut ends: Vec<(usize, usize)> = Vec::new();
    if most > 0 {
        let mut from = 0;
        while ends.len() + 1 < most {
            let found = if separator.is_empty() {
                whole[from..].char_indices().nth(1).map(|(at, _)| (at, 0))
            } else {
                whole[from..].find(separator).map(|at| (at, separator.len()))
            };
            let Some((at, length)) = found else { break };
            ends.push((from, from + at));
            from += at + length;
        }
        if !(separator.is_empty() && whole.is_empty()) {
            ends.push((from, whole.len()));
        }
    }
    Ok(Val::from(ends.into_iter().map(|(from, to)| slice(text, from, to)).collect::<Vec<_>>()))
}

fn substring<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let (text, start, end) = match args {
        [Val::String(text), Val::Int(start)] => (text, *start, None),
        [Val::String(text), Val::Int(start), Val::Int(end)] => (text, *start, Some(*end)),
        _ => return Err(EvalError::NoSuchOverload),
    };
    scan(text.as_str(), meter)?;
    if let Some(end) = end.filter(|end| start > *end) {
        return Err(EvalError::new(format!("invalid substring range. start: {start}, end: {end}")));
    }
    let Some(from) = byte_at(text.as_str(), start) else { return out_of_range(start) };
    let to = match end {
        None => text.as_str().len(),
        Some(end) => match byte_at(text.as_str(), end) {
            Some(to) => to,
            None => return out_of_range(end),
        },
    };
    Ok(slice(text, from, to))
}

fn join<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let (list, separator) = match args {
        [Val::List(list)] => (list, ""),
        [Val::List(list), Val::String(separator)] => (list, separator.as_str()),
        _ => return Err(EvalError::NoSuchOverload),
    };
    let mut joined = String::new();
    for (index, item) in list.iter().enumerate() {
        let item = item?;
        let Some(text) = item.as_str() else {
            let shown = crate::convert::to_text(&item).unwrap_or_default();
            return Err(EvalError::new(format!("join: invalid input: {shown}")));
        };
        meter.work((text.len() + separator.len()) as u64 / 16 + 1)?;
        if index > 0 {
            joined.push_str(separator);
        }
        joined.push_str(text);
    }
    Ok(Val::from(joined))
}

fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
