//! Regular expressions: `matches`, `find` and `findAll`. A pattern that is a constant is compiled with the program.

use std::sync::Arc;

use regex::Regex;

use super::Def;
use crate::error::EvalError;
use crate::meter::Meter;
use crate::val::{Text, Val};

pub(super) const DEFS: &[Def] = &[
    Def {
        name: "matches",
        since: 0,
        call: |args, meter| with_pattern(RegexUse::Matches, args, meter),
        overloads: &[("matches", "string, string", "bool"), ("matches_string", ".string, string", "bool")],
    },
    Def {
        name: "find",
        since: 0,
        call: |args, meter| with_pattern(RegexUse::Find, args, meter),
        overloads: &[("string_find_string", ".string, string", "string")],
    },
    Def {
        name: "findAll",
        since: 0,
        call: |args, meter| with_pattern(RegexUse::FindAll, args, meter),
        overloads: &[
            ("string_find_all_string", ".string, string", "list(string)"),
            ("string_find_all_string_int", ".string, string, int", "list(string)"),
        ],
    },
];

/// What a regular expression is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegexUse {
    Find,
    FindAll,
    Matches,
}

impl RegexUse {
    pub(crate) fn of(function: &str) -> Option<Self> {
        match function {
            "find" => Some(Self::Find),
            "findAll" => Some(Self::FindAll),
            "matches" => Some(Self::Matches),
            _ => None,
        }
    }

    pub(crate) fn apply<'a>(self, regex: &Regex, args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
        let Some(Val::String(text)) = args.first() else { return Err(EvalError::NoSuchOverload) };
        // Linear in the text, but not cheap.
        meter.work(text.as_str().len() as u64)?;
        match (self, args.get(2)) {
            (Self::Matches, None) => Ok(Val::Bool(regex.is_match(text.as_str()))),
            (Self::Find, None) => {
                let found = regex.find(text.as_str()).map_or((0, 0), |found| (found.start(), found.end()));
                Ok(part(text, found))
            }
            (Self::FindAll, None) => Ok(all(regex, text, usize::MAX)),
            (Self::FindAll, Some(Val::Int(most))) => Ok(all(regex, text, usize::try_from(*most).unwrap_or(usize::MAX))),
            _ => Err(EvalError::NoSuchOverload),
        }
    }
}

fn all<'a>(regex: &Regex, text: &Text<'a>, most: usize) -> Val<'a> {
    let found = regex.find_iter(text.as_str()).take(most).map(|found| part(text, (found.start(), found.end())));
    Val::from(found.collect::<Vec<_>>())
}

fn part<'a>(text: &Text<'a>, (start, end): (usize, usize)) -> Val<'a> {
    match text {
        Text::Borrowed(text) => Val::from(&text[start..end]),
        Text::Owned(text) => Val::from(text[start..end].to_owned()),
    }
}

fn with_pattern<'a>(regex_use: RegexUse, args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>, EvalError> {
    let Some(Val::String(pattern)) = args.get(1) else { return Err(EvalError::NoSuchOverload) };
    let regex: Arc<Regex> = match meter.regex(pattern.as_str())? {
        Ok(regex) => regex,
        Err(problem) if regex_use == RegexUse::Matches => return Err(EvalError::new(problem)),
        Err(problem) => return Err(EvalError::new(format!("Illegal regex: {problem}"))),
    };
    regex_use.apply(&regex, args, meter)
}
