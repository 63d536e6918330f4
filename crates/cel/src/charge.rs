//! What calls cost when they are evaluated.

use crate::cost::{AUTHORIZER_CHECK, LIST_BASE, REGEX_FACTOR, STRING_FACTOR};
use crate::error::EvalError;
use crate::functions::Library;
use crate::meter::Meter;
use crate::val::Val;

/// How the cost of a call is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charge {
    /// Comparing addresses; the flags say whether whole networks, and whether text is parsed first.
    Address(bool, bool),
    Contains,
    Fixed(u64),
    Flatten,
    /// The length of the list that is searched.
    InList,
    Join,
    /// Text against a regular expression.
    Regex,
    ResultList,
    Selector,
    /// Every item of that argument against every other.
    SelfCompare(usize),
    Sets(u64),
    /// The shorter of two.
    Shorter,
    /// Both.
    Sum,
    /// All that is inside of the first argument.
    Traverse,
    /// The first argument, so many times.
    Text(u64),
    Validate,
}

impl Charge {
    /// `overload` is empty when several are possible.
    pub(crate) fn of(function: &str, overload: &str) -> Self {
        match overload {
            "list_sets_contains_list" | "list_sets_intersects_list" => return Self::Sets(1),
            "list_sets_equivalent_list" => return Self::Sets(2),
            "list_slice" | "lists_range" | "list_reverse" => return Self::ResultList,
            "list_flatten" | "list_flatten_int" => return Self::Flatten,
            "list_distinct" => return Self::SelfCompare(0),
            _ if overload.ends_with("_sort") => return Self::SelfCompare(0),
            _ if overload.ends_with("_sortByAssociatedKeys") => return Self::SelfCompare(1),
            _ => {}
        }
        match function {
            "check" => return Self::Fixed(AUTHORIZER_CHECK),
            "fieldSelector" | "labelSelector" => return Self::Selector,
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => return Self::Traverse,
            "ip" if overload == "cidr_ip" => return Self::Fixed(1),
            "url"
            | "lowerAscii"
            | "upperAscii"
            | "substring"
            | "trim"
            | "jsonpatch.escapeKey"
            | "cidr"
            | "isIP"
            | "isCIDR"
            | "ip"
            | "quantity"
            | "isQuantity"
            | "semver"
            | "isSemver" => return Self::Text(1),
            "replace" | "split" | "ip.isCanonical" => return Self::Text(2),
            "join" => return Self::Join,
            "find" | "findAll" => return Self::Regex,
            "containsIP" => return Self::Address(false, overload == "cidr_contains_ip_string"),
            "containsCIDR" => return Self::Address(true, overload == "cidr_contains_cidr_string"),
            "validate" => return Self::Validate,
            _ => {}
        }
        match overload {
            "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string" | "strings_quote"
            | "string_format" => Self::Text(1),
            "in_list" => Self::InList,
            "less_string"
            | "greater_string"
            | "less_equals_string"
            | "greater_equals_string"
            | "less_bytes"
            | "greater_bytes"
            | "less_equals_bytes"
            | "greater_equals_bytes" => Self::Shorter,
            "add_string" | "add_bytes" => Self::Sum,
            "matches_string" => Self::Regex,
            "contains_string" => Self::Contains,
            _ => Self::Fixed(1),
        }
    }

    pub(crate) fn cost(self, args: &[Val<'_>], result: &Val<'_>, meter: &mut Meter) -> Result<u64, EvalError> {
        let size = |index: usize| args.get(index).map_or(1, Val::cost_size);
        let text = |size: u64| (size as f64 * STRING_FACTOR).ceil() as u64;
        let allocating = |factor: f64, size: u64| (size as f64 * factor) as u64 + 1 + LIST_BASE;
        Ok(match self {
            Self::Address(network, parsed) => {
                let mut cost = text(size(0) * 2);
                if network {
                    cost += text(size(0)) + 1;
                }
                cost + if parsed { text(size(1)) } else { 0 }
            }
            Self::Contains => text(size(0)).saturating_mul(text(size(1))),
            Self::Fixed(cost) => cost,
            Self::Flatten => {
                let depth = if let Some(Val::Int(depth)) = args.get(1) { *depth as f64 } else { 1.0 };
                allocating(depth, size(0))
            }
            Self::InList => size(1),
            Self::Join => (result.cost_size() as f64 * 2.0 * STRING_FACTOR).ceil() as u64,
            Self::Regex => {
                let regex = (size(1) as f64 * REGEX_FACTOR).ceil() as u64;
                text(size(0) + 1).saturating_mul(regex)
            }
            Self::ResultList => allocating(1.0, result.cost_size()),
            Self::Selector => {
                let length = size(1);
                crate::cost::selector_cost(crate::cost::Range { min: length, max: length }).max
            }
            Self::SelfCompare(index) => {
                let Some(Val::List(list)) = args.get(index) else { return Ok(1) };
                let textual = !list.is_empty() && matches!(list.get(0)?, Val::String(_) | Val::Bytes(_));
                let length = list.len() as u64;
                allocating(if textual { 2.0 + STRING_FACTOR } else { 2.0 }, length.saturating_mul(length))
            }
            Self::Sets(factor) => 1 + size(0).saturating_mul(size(1)).saturating_mul(factor),
            Self::Shorter => text(size(0).min(size(1))),
            Self::Sum => text(size(0) + size(1)),
            Self::Traverse => traversal(args.first().unwrap_or(&Val::Null), meter)?,
            Self::Text(times) => (size(0) as f64 * times as f64 * STRING_FACTOR).ceil() as u64,
            Self::Validate => {
                let Some(Val::Library(Library::Format(format))) = args.first() else { return Ok(1) };
                let regex = (format.regex_length as f64 * REGEX_FACTOR).ceil() as u64;
                text(size(1) + 1).saturating_mul(regex)
            }
        })
    }
}

/// What comparing two values for equality costs.
pub(crate) fn equality(left: &Val<'_>, right: &Val<'_>) -> u64 {
    if matches!(left, Val::Library(_)) {
        return 1;
    }
    (left.cost_size().min(right.cost_size()) as f64 * STRING_FACTOR).ceil() as u64
}

fn traversal(value: &Val<'_>, meter: &mut Meter) -> Result<u64, EvalError> {
    meter.work(1)?;
    Ok(match value {
        Val::String(text) => (text.as_str().len() as f64 * STRING_FACTOR) as u64,
        Val::Bytes(bytes) => (bytes.as_slice().len() as f64 * STRING_FACTOR) as u64,
        Val::List(list) => {
            let mut cost = 0_u64;
            for item in list.iter() {
                cost = cost.saturating_add(traversal(&item?, meter)?);
            }
            cost
        }
        Val::Map(map) => {
            let mut cost = 0_u64;
            for key in map.keys() {
                cost = cost.saturating_add(traversal(&key, meter)?);
                if let Some(value) = map.find(&key)? {
                    cost = cost.saturating_add(traversal(&value, meter)?);
                }
            }
            cost
        }
        _ => 1,
    })
}
