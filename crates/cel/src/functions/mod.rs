//! The functions of the language and of Kubernetes' libraries: one table for each library, from which the checker takes
//! the signatures and the evaluator the implementations.

mod authorizer;
mod conversions;
mod ip;
mod jsonpatch;
mod lists;
mod maps;
mod named_format;
mod operators;
mod optional;
pub(crate) mod quantity;
mod regexes;
mod semver;
mod sets;
pub(crate) mod string_format;
mod strings;
mod timestamps;
mod url;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::error::EvalError;
use crate::meter::Meter;
use crate::types::Type;
use crate::val::Val;

pub use authorizer::{Authorizer, AuthorizerDecision, Check, CheckKind, ResourceCheck, ServiceAccount};
pub(crate) use maps::insert_into;
pub(crate) use named_format::NamedFormat;
pub(crate) use operators::{compare, equal};
pub(crate) use quantity::Quantity;
pub(crate) use regexes::RegexUse;
pub(crate) use url::Url;

/// Values of Kubernetes' libraries.
#[derive(Clone, Debug)]
pub enum Library<'a> {
    Authorizer(Arc<Check<'a>>),
    Cidr(ip::Cidr),
    Decision(Arc<AuthorizerDecision>),
    Format(&'static NamedFormat),
    Ip(IpAddr),
    Quantity(Quantity),
    Semver(Arc<semver::Version>),
    Url(Arc<Url>),
}

impl Library<'_> {
    pub(crate) fn type_of(&self) -> Type {
        match self {
            Self::Authorizer(check) => Type::object(check.type_name()),
            Self::Cidr(_) => Type::Opaque("net.CIDR".into(), [].into()),
            Self::Decision(_) => Type::object("kubernetes.authorization.Decision"),
            Self::Format(_) => Type::object("kubernetes.NamedFormat"),
            Self::Ip(_) => Type::Opaque("net.IP".into(), [].into()),
            Self::Quantity(_) => Type::object("kubernetes.Quantity"),
            Self::Semver(_) => Type::object("kubernetes.Semver"),
            Self::Url(_) => Type::object("kubernetes.URL"),
        }
    }

    pub(crate) fn cost_size(&self) -> u64 {
        match self {
            Self::Ip(address) => {
                if address.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            Self::Cidr(cidr) => u64::from(cidr.bits).div_ceil(8),
            _ => 1,
        }
    }

    pub(crate) fn to_json(&self) -> Option<Value> {
        match self {
            Self::Ip(address) => Some(Value::String(address.to_string())),
            Self::Cidr(cidr) => Some(Value::String(cidr.to_string())),
            Self::Quantity(quantity) => Some(Value::String(quantity.to_string())),
            Self::Url(url) => Some(Value::String(url.to_string())),
            Self::Authorizer(_) | Self::Decision(_) | Self::Format(_) | Self::Semver(_) => None,
        }
    }

    /// Whether the other is of the same kind.
    pub(crate) fn is_comparable(&self, other: &Val<'_>) -> bool {
        let Val::Library(other) = other else { return false };
        self.type_of() == other.type_of()
    }

    pub(crate) fn equals(&self, other: &Library<'_>) -> bool {
        match (self, other) {
            (Self::Cidr(a), Library::Cidr(b)) => a == b,
            (Self::Format(a), Library::Format(b)) => a.name == b.name,
            (Self::Ip(a), Library::Ip(b)) => a == b,
            (Self::Quantity(a), Library::Quantity(b)) => a == b,
            (Self::Semver(a), Library::Semver(b)) => a.order(b).is_eq(),
            (Self::Url(a), Library::Url(b)) => a.to_string() == b.to_string(),
            _ => false,
        }
    }
}

/// An implementation: of values that are no errors, to a value or an error.
pub(crate) type Call = for<'a> fn(&[Val<'a>], &mut Meter) -> Result<Val<'a>, EvalError>;

/// A row of a table: a function and its signatures.
pub(crate) struct Def {
    name: &'static str,
    /// The minor of Kubernetes 1 from which it is there.
    since: u32,
    call: Call,
    overloads: &'static [Signature],
}

/// Its id, the types of its arguments (after a dot when the first one is the target of a call), the type of its result.
type Signature = (&'static str, &'static str, &'static str);

/// A signature as the checker needs it.
#[derive(Debug)]
pub(crate) struct Overload {
    pub(crate) id: &'static str,
    pub(crate) since: u32,
    pub(crate) member: bool,
    pub(crate) args: Vec<Type>,
    pub(crate) result: Type,
    pub(crate) params: Vec<char>,
    pub(crate) call: Call,
}

/// All overloads of a name, in the order in which libraries declare them.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) overloads: Vec<Overload>,
}

const TABLES: &[&[Def]] = &[
    operators::DEFS,
    conversions::DEFS,
    strings::STANDARD,
    timestamps::DEFS,
    url::DEFS,
    regexes::DEFS,
    lists::KUBERNETES,
    authorizer::DEFS,
    optional::DEFS,
    quantity::DEFS,
    strings::EXTENSION,
    string_format::DEFS,
    sets::DEFS,
    ip::DEFS,
    named_format::DEFS,
    maps::DEFS,
    semver::DEFS,
    lists::EXTENSION,
    jsonpatch::DEFS,
];

/// The functions that an environment may have, by name.
pub(crate) fn registry() -> &'static BTreeMap<&'static str, Function> {
    static REGISTRY: OnceLock<BTreeMap<&'static str, Function>> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let mut found: BTreeMap<&'static str, Function> = BTreeMap::new();
        for def in TABLES.iter().copied().flatten() {
            let function = found.entry(def.name).or_insert_with(|| Function { name: def.name, overloads: Vec::new() });
            function.overloads.extend(def.overloads.iter().map(|signature| def.overload(signature)));
        }
        found
    })
}

impl Def {
    fn overload(&self, (id, args, result): &Signature) -> Overload {
        let (member, args) = match args.strip_prefix('.') {
            Some(args) => (true, args),
            None => (false, *args),
        };
        let args = split(args);
        let result = Type::parse(result);
        let mut params = Vec::new();
        args.iter().chain([&result]).for_each(|ty| collect_params(ty, &mut params));
        Overload { id, since: self.since, member, args, result, params, call: self.call }
    }
}

/// Types between commas, but not those inside parentheses.
fn split(text: &str) -> Vec<Type> {
    let mut found = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                found.push(Type::parse(&text[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text.trim().is_empty() {
        found.push(Type::parse(&text[start..]));
    }
    found
}

fn collect_params(ty: &Type, found: &mut Vec<char>) {
    match ty {
        Type::Param(name) if !found.contains(name) => found.push(*name),
        Type::List(item) | Type::Type(Some(item)) => collect_params(item, found),
        Type::Map(pair) => {
            collect_params(&pair.0, found);
            collect_params(&pair.1, found);
        }
        Type::Opaque(_, params) => params.iter().for_each(|param| collect_params(param, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Costs are looked up by these ids.
    #[test]
    fn ids_of_overloads_are_unique() {
        let mut seen = std::collections::BTreeSet::new();
        for function in registry().values() {
            for overload in &function.overloads {
                assert!(seen.insert(overload.id), "{} twice", overload.id);
            }
        }
    }
}
