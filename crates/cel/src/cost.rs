//! What an expression may cost at most, before it is ever evaluated. CustomResourceDefinitions are accepted or refused by
//! these estimates, so they follow upstream's to the unit, oddities included.

use std::collections::BTreeMap;

use crate::ast::{Call, Comprehension, Entry, Expr, Id, Kind, Literal, op};
use crate::check::Checked;
use crate::decl::{DeclKind, DeclType};
use crate::env::Env;
use crate::macros::ACCUMULATOR;
use crate::types::Type;

pub(crate) const STRING_FACTOR: f64 = 0.1;
pub(crate) const REGEX_FACTOR: f64 = 0.25;
pub(crate) const LIST_BASE: u64 = 10;
pub(crate) const MAP_BASE: u64 = 30;
pub(crate) const STRUCT_BASE: u64 = 40;
/// Two authorization checks fit into one evaluation.
pub(crate) const AUTHORIZER_CHECK: u64 = 350_000;
/// Longest regular expression of a named format.
const MAX_FORMAT_REGEX: f64 = 128.0;
const MAX_FORMAT_NAME: u64 = 64;

/// Lower and upper bound, of a cost or of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub min: u64,
    pub max: u64,
}

impl Range {
    const UNKNOWN: Self = Self { min: 0, max: u64::MAX };
    const NOTHING: Self = Self { min: 0, max: 0 };

    const fn fixed(value: u64) -> Self {
        Self { min: value, max: value }
    }

    fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    fn scaled(self, factor: f64) -> Self {
        Self { min: scale(self.min, factor), max: scale(self.max, factor) }
    }

    fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

fn scale(value: u64, factor: f64) -> u64 {
    let value = value as f64;
    if value > 0.0 && factor > 0.0 && value > u64::MAX as f64 / factor {
        return u64::MAX;
    }
    let product = (value * factor).ceil();
    if product >= 18_446_744_073_709_551_616.0 { u64::MAX } else { product as u64 }
}

/// Sizes of what is inside of a list or map.
#[derive(Clone, Copy, Debug)]
struct Inside {
    is_list: bool,
    key: Range,
    value: Range,
}

fn union_inside(a: Option<Inside>, b: Option<Inside>) -> Option<Inside> {
    let (a, b) = (a?, b?);
    Some(Inside { is_list: a.is_list, key: a.key.union(b.key), value: a.value.union(b.value) })
}

type Path = Vec<String>;

#[derive(Clone, Debug)]
struct Local {
    name: String,
    path: Option<Path>,
    size: Option<Range>,
    inside: Option<Inside>,
}

/// What a call is estimated at, and how large its result is.
struct Estimate {
    cost: Range,
    result: Option<Range>,
}

impl From<Range> for Estimate {
    fn from(cost: Range) -> Self {
        Self { cost, result: None }
    }
}

/// An argument as estimates see it.
struct Argument<'e> {
    expr: &'e Expr,
    path: Option<Path>,
    size: Option<Range>,
}

pub(crate) fn estimate(env: &Env, root: &Expr, checked: &Checked) -> Range {
    let mut coster = Coster {
        checked,
        self_decl: env.variable_decl("self").map(|decl| &**decl),
        paths: BTreeMap::new(),
        locals: Vec::new(),
        sizes: BTreeMap::new(),
        insides: BTreeMap::new(),
    };
    coster.cost(root)
}

struct Coster<'e> {
    checked: &'e Checked,
    /// Sizes are known only of what is declared below the variable `self`.
    self_decl: Option<&'e DeclType>,
    paths: BTreeMap<Id, Path>,
    locals: Vec<Local>,
    sizes: BTreeMap<Id, Range>,
    insides: BTreeMap<Id, Inside>,
}

impl<'e> Coster<'e> {
    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| local.name == name)
    }

    fn path(&self, expr: &Expr) -> Option<Path> {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned()
    }

    fn below(&self, expr: &Expr, step: &str) -> Path {
        let mut path = self.path(expr).unwrap_or_default();
        path.push(step.to_owned());
        path
    }

    /// What the declarations say about the size of what a path leads to. The first step is taken for `self`, whatever
    /// it is.
    fn declared_size(&self, path: &[String]) -> Option<Range> {
        let (_, steps) = path.split_first()?;
        let mut decl = self.self_decl?;
        for step in steps {
            decl = match (step.as_str(), &decl.kind) {
                ("@items", DeclKind::List { items: below, .. }) => below,
                ("@values" | "@items", DeclKind::Map { values: below }) => below,
                ("@values", DeclKind::List { items: below, .. }) => below,
                ("@keys", DeclKind::Map { .. }) => return Some(Range::NOTHING),
                (name, DeclKind::Object(object)) => &object.field(name)?.decl,
                _ => return None,
            };
        }
        Some(Range { min: 0, max: decl.max_elements })
    }

    fn size(&mut self, expr: &Expr) -> Option<Range> {
        if let Some(size) = self.sizes.get(&expr.id) {
            return Some(*size);
        }
        let inline = match &expr.kind {
            Kind::Literal(Literal::String(text)) => Some(text.chars().count()),
            Kind::Literal(Literal::Bytes(bytes)) => Some(bytes.len()),
            Kind::Literal(_) => Some(1),
            Kind::List { elements, .. } => Some(elements.len()),
            Kind::Map(entries) => Some(entries.len()),
            _ => None,
        };
        if let Some(size) = inline {
            return Some(Range::fixed(size as u64));
        }
        if let Some(size) = self.path(expr).and_then(|path| self.declared_size(&path)) {
            self.sizes.insert(expr.id, size);
            return Some(size);
        }
        if is_scalar(self.checked.type_of(expr)) {
            return Some(Range::fixed(1));
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name)?.size,
            _ => None,
        }
    }

    fn inside(&self, expr: &Expr) -> Option<Inside> {
        if let Some(inside) = self.insides.get(&expr.id) {
            return Some(*inside);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name)?.inside,
            _ => None,
        }
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Range {
        self.size(expr).unwrap_or(Range::UNKNOWN)
    }

    fn argument(&mut self, expr: &'e Expr) -> Argument<'e> {
        let path = self.path(expr).filter(|path| path.first().is_none_or(|first| first != ACCUMULATOR));
        Argument { expr, path, size: self.size(expr) }
    }

    fn cost(&mut self, expr: &'e Expr) -> Range {
        match &expr.kind {
            Kind::Literal(_) | Kind::Error => Range::NOTHING,
            Kind::Ident(name) => {
                let path = match self.local(name) {
                    Some(local) => local.path.clone(),
                    None => Some(vec![name.clone()]),
                };
                if let Some(path) = path {
                    self.paths.insert(expr.id, path);
                }
                Range::fixed(1)
            }
            Kind::Select(select) => {
                if self.checked.reference(expr).is_some() {
                    // A name with dots is a variable.
                    return Range::fixed(1);
                }
                let mut sum = self.cost(&select.operand);
                if select.test {
                    return sum;
                }
                let target = self.checked.type_of(&select.operand);
                if matches!(target, Type::Map(_) | Type::Object(_)) || target.is_param() {
                    sum = sum.plus(Range::fixed(1));
                }
                let path = self.below(&select.operand, &select.field);
                self.paths.insert(expr.id, path);
                sum
            }
            Kind::Call(call) => self.call(expr, call),
            Kind::List { elements, .. } => {
                let mut sum = Range::NOTHING;
                let mut item = Range { min: if elements.is_empty() { 0 } else { u64::MAX }, max: 0 };
                for element in elements {
                    sum = sum.plus(self.cost(element));
                    item = item.union(self.size_or_unknown(element));
                }
                self.insides.insert(expr.id, Inside { is_list: true, key: Range::fixed(1), value: item });
                sum.plus(Range::fixed(LIST_BASE))
            }
            Kind::Map(entries) => self.map(expr, entries),
            Kind::Struct { fields, .. } => {
                let sum = fields.iter().fold(Range::NOTHING, |sum, field| sum.plus(self.cost(&field.value)));
                sum.plus(Range::fixed(STRUCT_BASE))
            }
            Kind::Comprehension(comprehension) if is_bind(comprehension) => self.bind(expr, comprehension),
            Kind::Comprehension(comprehension) => self.comprehension(expr, comprehension),
        }
    }

    fn map(&mut self, expr: &'e Expr, entries: &'e [Entry]) -> Range {
        let mut sum = Range::NOTHING;
        let empty = Range { min: if entries.is_empty() { 0 } else { u64::MAX }, max: 0 };
        let (mut key, mut value) = (empty, empty);
        for entry in entries {
            sum = sum.plus(self.cost(&entry.key));
            sum = sum.plus(self.cost(&entry.value));
            key = key.union(self.size_or_unknown(&entry.key));
            value = value.union(self.size_or_unknown(&entry.value));
        }
        self.insides.insert(expr.id, Inside { is_list: false, key, value });
        sum.plus(Range::fixed(MAP_BASE))
    }

    fn push_bound(&mut self, name: &str, expr: &Expr) {
        let (path, size, inside) = (self.path(expr), self.size(expr), self.inside(expr));
        self.locals.push(Local { name: name.to_owned(), path, size, inside });
    }

    fn bind(&mut self, expr: &'e Expr, bind: &'e Comprehension) -> Range {
        let mut sum = self.cost(&bind.range).plus(self.cost(&bind.init));
        self.push_bound(&bind.accumulator, &bind.init);
        sum = sum.plus(self.cost(&bind.result));
        self.locals.pop();
        if let Some(size) = self.size(&bind.result) {
            self.sizes.insert(expr.id, size);
        }
        if let Some(inside) = self.inside(&bind.result) {
            self.insides.insert(expr.id, inside);
        }
        sum
    }

    fn comprehension(&mut self, expr: &'e Expr, comprehension: &'e Comprehension) -> Range {
        let range = &comprehension.range;
        let mut sum = self.cost(range).plus(self.cost(&comprehension.init));
        self.push_bound(&comprehension.accumulator, &comprehension.init);
        let inside = self.inside(range);
        let is_list = match inside {
            Some(inside) => inside.is_list,
            None => matches!(self.checked.type_of(range), Type::List(_)),
        };
        let mut push = |name: &str, step: &str, size: Option<Range>| {
            let path = Some(self.below(range, step));
            self.locals.push(Local { name: name.to_owned(), path, size, inside: None });
        };
        match &comprehension.var2 {
            Some(var2) => {
                let keys = if is_list { "@indices" } else { "@keys" };
                push(&comprehension.var, keys, inside.map(|inside| inside.key));
                let values = if is_list { "@items" } else { "@values" };
                push(var2, values, inside.map(|inside| inside.value));
            }
            None if is_list => push(&comprehension.var, "@items", inside.map(|inside| inside.value)),
            None => push(&comprehension.var, "@keys", inside.map(|inside| inside.key)),
        }
        let each = self.cost(&comprehension.condition);
        let each = self.cost(&comprehension.step).plus(each);
        self.locals.pop();
        if comprehension.var2.is_some() {
            self.locals.pop();
        }
        sum = sum.plus(self.cost(&comprehension.result));
        self.locals.pop();
        let count = self.size_or_unknown(range);
        match &comprehension.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&comprehension.init) {
                    self.sizes.insert(expr.id, size);
                }
            }
            Kind::List { .. } | Kind::Map(_) => {
                self.sizes.insert(expr.id, count);
                if let Some(inside) = self.insides.get(&comprehension.step.id).copied() {
                    self.insides.insert(expr.id, inside);
                }
            }
            _ => {}
        }
        sum.plus(count.times(each))
    }

    fn call(&mut self, expr: &'e Expr, call: &'e Call) -> Range {
        if call.function == "dyn" && call.args.len() == 1 {
            let arg = &call.args[0];
            let cost = self.cost(arg);
            if let Some(size) = self.size(arg) {
                self.sizes.insert(expr.id, size);
            }
            if let Some(inside) = self.inside(arg) {
                self.insides.insert(expr.id, inside);
            }
            return cost.plus(Range::fixed(1));
        }
        let costs: Vec<Range> = call.args.iter().map(|arg| self.cost(arg)).collect();
        let args: Vec<Argument<'e>> = call.args.iter().map(|arg| self.argument(arg)).collect();
        let overloads = self.checked.overloads(expr);
        if overloads.is_empty() {
            return Range::NOTHING;
        }
        let mut sum = Range::NOTHING;
        let qualified =
            matches!(self.checked.reference(expr), Some(crate::check::Reference::Function { qualified: true, .. }));
        let name = match self.checked.reference(expr) {
            Some(crate::check::Reference::Function { name, .. }) => name,
            _ => call.function.as_str(),
        };
        let target = match &call.target {
            Some(target) if !qualified => {
                sum = sum.plus(self.cost(target));
                Some(self.argument(target))
            }
            _ => None,
        };
        let mut cost = Range { min: u64::MAX, max: 0 };
        let mut result: Option<Range> = None;
        for overload in overloads {
            let estimate = self.function(expr, name, overload.id, target.as_ref(), &args, &costs);
            cost = cost.union(estimate.cost);
            if let Some(size) = estimate.result {
                result = Some(result.map_or(size, |result| result.union(size)));
            }
            match (overload.id, call.args.first()) {
                ("index_list", Some(list)) => {
                    result = self.inside(list).map(|inside| inside.value);
                    let path = self.below(list, "@items");
                    self.paths.insert(expr.id, path);
                }
                ("index_map", Some(map)) => {
                    result = self.inside(map).map(|inside| inside.value);
                    let path = self.below(map, "@values");
                    self.paths.insert(expr.id, path);
                }
                _ => {}
            }
            if result.is_none() {
                result = self.size(expr);
            }
        }
        if let Some(size) = result {
            self.sizes.insert(expr.id, size);
        }
        sum.plus(cost)
    }

    fn function(
        &mut self,
        expr: &Expr,
        name: &str,
        overload: &str,
        target: Option<&Argument<'e>>,
        args: &[Argument<'e>],
        costs: &[Range],
    ) -> Estimate {
        let arguments = costs.iter().fold(Range::NOTHING, |sum, cost| sum.plus(*cost));
        if let Some(mut estimate) = self.library(name, overload, target, args) {
            estimate.cost = estimate.cost.plus(arguments);
            return estimate;
        }
        let known = |argument: &Argument<'_>| argument.size.unwrap_or(Range::UNKNOWN);
        match (overload, args) {
            ("string_format", _) if target.is_some() => {
                let size = target.map_or(Range::UNKNOWN, known);
                size.scaled(STRING_FACTOR).plus(arguments).into()
            }
            ("string_to_bytes", [arg]) => {
                let size = known(arg);
                let result = Range { min: size.min, max: size.max.wrapping_mul(4) };
                Estimate { cost: size.scaled(STRING_FACTOR).plus(arguments), result: Some(result) }
            }
            ("bytes_to_string", [arg]) => {
                let size = known(arg);
                let result = Range { min: size.min / 4, max: size.max };
                Estimate { cost: size.scaled(STRING_FACTOR).plus(arguments), result: Some(result) }
            }
            ("strings_quote", [arg]) => {
                let size = known(arg);
                let max = size.max.wrapping_mul(2).wrapping_add(2);
                let result = Range { min: size.min.wrapping_add(2), max };
                Estimate { cost: size.scaled(STRING_FACTOR).plus(arguments), result: Some(result) }
            }
            ("starts_with_string" | "ends_with_string", [arg]) => {
                known(arg).scaled(STRING_FACTOR).plus(arguments).into()
            }
            ("in_list", [_, list]) => known(list).scaled(1.0).plus(arguments).into(),
            ("matches_string", [pattern]) if target.is_some() => {
                let text = target.map_or(Range::UNKNOWN, known).plus(Range::fixed(1)).scaled(STRING_FACTOR);
                text.times(known(pattern).scaled(REGEX_FACTOR)).plus(arguments).into()
            }
            ("contains_string", [part]) if target.is_some() => {
                let text = target.map_or(Range::UNKNOWN, known).scaled(STRING_FACTOR);
                text.times(known(part).scaled(STRING_FACTOR)).plus(arguments).into()
            }
            ("logical_or" | "logical_and", _) => {
                let (left, right) = (costs[0], costs[1]);
                Range { min: left.min, max: left.plus(right).max }.into()
            }
            ("conditional", [_, yes, no]) => {
                let size = known(yes).union(known(no));
                if let Some(inside) = union_inside(self.inside(yes.expr), self.inside(no.expr)) {
                    self.insides.insert(expr.id, inside);
                }
                Estimate { cost: costs[0].plus(costs[1].union(costs[2])), result: Some(size) }
            }
            ("add_string" | "add_bytes" | "add_list", [left, right]) => {
                let size = known(left).plus(known(right));
                if let Some(inside) = union_inside(self.inside(left.expr), self.inside(right.expr)) {
                    self.insides.insert(expr.id, inside);
                }
                let own = if overload == "add_list" { Range::fixed(1) } else { size.scaled(STRING_FACTOR) };
                Estimate { cost: own.plus(arguments), result: Some(size) }
            }
            (
                "less_string"
                | "greater_string"
                | "less_equals_string"
                | "greater_equals_string"
                | "less_bytes"
                | "greater_bytes"
                | "less_equals_bytes"
                | "greater_equals_bytes"
                | "equals"
                | "not_equals",
                [left, right],
            ) => {
                let max = known(left).max.min(known(right).max);
                Range { min: u64::from(max > 0), max }.scaled(STRING_FACTOR).plus(arguments).into()
            }
            _ => Range::fixed(1).plus(arguments).into(),
        }
    }

    /// Functions of libraries.
    fn library(
        &mut self,
        name: &str,
        overload: &str,
        target: Option<&Argument<'e>>,
        args: &[Argument<'e>],
    ) -> Option<Estimate> {
        if let Some(estimate) = self.list_extension(overload, target, args) {
            return Some(estimate);
        }
        let traversal = |size: Range| size.scaled(STRING_FACTOR);
        let first = args.first().map(|arg| self.size_of(arg));
        let whole = target.map(|target| self.size_of(target));
        Some(match name {
            "check" => Range::fixed(AUTHORIZER_CHECK).into(),
            "serviceAccount" | "path" | "group" | "resource" | "subresource" | "namespace" | "name" | "allowed"
            | "reason" | "error" | "errored" => Range::fixed(1).into(),
            "fieldSelector" | "labelSelector" => selector_cost(first?).into(),
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
                let (target, size) = (target?, whole?);
                let Type::List(item) = self.checked.type_of(target.expr) else {
                    return Some(traversal(size).into());
                };
                let mut each = Range::fixed(1);
                if matches!(**item, Type::String | Type::Bytes) {
                    each = each.plus(self.item_size(target).scaled(STRING_FACTOR));
                }
                size.times(each).into()
            }
            "url" | "jsonpatch.escapeKey" if args.len() == 1 => Estimate { cost: traversal(first?), result: first },
            "lowerAscii" | "upperAscii" | "substring" | "trim" => Estimate { cost: traversal(whole?), result: whole },
            "replace" if args.len() >= 2 => {
                let size = whole?;
                let result = replaced(size, first?, self.size_of(&args[1]));
                Estimate { cost: size.scaled(2.0 * STRING_FACTOR), result: Some(result) }
            }
            "split" => {
                let size = whole?;
                let most = match args.get(1).map(|arg| &arg.expr.kind) {
                    Some(Kind::Literal(Literal::Int(most))) => *most as u64,
                    _ => size.max,
                };
                Estimate { cost: size.scaled(2.0 * STRING_FACTOR), result: Some(Range { min: 0, max: most }) }
            }
            "join" => {
                let (target, list) = (target?, whole?);
                let mut size = match self.checked.type_of(target.expr) {
                    Type::List(_) => list.times(self.item_size(target)),
                    _ => Range::NOTHING,
                };
                if let Some(separator) = first {
                    let separators = Range { min: list.min.saturating_sub(1), max: list.max.saturating_sub(1) };
                    size = size.plus(separator.times(separators));
                }
                Estimate { cost: traversal(size), result: Some(size) }
            }
            "find" | "findAll" if !args.is_empty() => {
                let size = whole?;
                let text = traversal(size.plus(Range::fixed(1)));
                let cost = text.times(first?.scaled(REGEX_FACTOR));
                Estimate { cost, result: Some(Range { min: 0, max: size.max }) }
            }
            "ip" if overload == "cidr_ip" => Range::fixed(1).into(),
            "cidr" | "isIP" | "isCIDR" | "ip" => traversal(first?).into(),
            "ip.isCanonical" => first?.scaled(2.0 * STRING_FACTOR).into(),
            "masked"
            | "prefixLength"
            | "family"
            | "isUnspecified"
            | "isLoopback"
            | "isLinkLocalMulticast"
            | "isLinkLocalUnicast"
            | "isGlobalUnicast" => Range::fixed(1).into(),
            "containsIP" | "containsCIDR" => {
                let address = Range { min: 4, max: 16 };
                let mut cost = traversal(address.plus(address));
                if name == "containsCIDR" {
                    cost = cost.plus(traversal(address)).plus(Range::fixed(1));
                }
                if overload.ends_with("_string") {
                    cost = cost.plus(traversal(first?));
                }
                cost.into()
            }
            "quantity" | "isQuantity" | "semver" | "isSemver" => traversal(first?).into(),
            "validate" => traversal(first?).scaled(MAX_FORMAT_REGEX * REGEX_FACTOR).into(),
            "format.named" | "sign" | "asInteger" | "isInteger" | "asApproximateFloat" | "isGreaterThan"
            | "isLessThan" | "compareTo" | "add" | "sub" | "major" | "minor" | "patch" | "getScheme"
            | "getHostname" | "getHost" | "getPort" | "getEscapedPath" | "getQuery" => Range::fixed(1).into(),
            op::EQUALS => return self.equality(args),
            _ => return None,
        })
    }

    /// Equality of values of libraries.
    fn equality(&self, args: &[Argument<'e>]) -> Option<Estimate> {
        let [left, right] = args else { return None };
        let ty = self.checked.type_of(left.expr);
        if ty != self.checked.type_of(right.expr) {
            return None;
        }
        match ty {
            Type::Opaque(name, _) if matches!(&**name, "net.IP" | "net.CIDR") => Some(Range::fixed(1).into()),
            Type::Object(name) => match &**name {
                "kubernetes.NamedFormat" => Some(Range { min: 1, max: MAX_FORMAT_NAME }.scaled(STRING_FACTOR).into()),
                "kubernetes.URL" => {
                    let max = right.size.map_or(1, |size| size.max);
                    Some(Range { min: 1, max }.scaled(STRING_FACTOR).into())
                }
                "kubernetes.Quantity" | "kubernetes.Semver" => Some(Range::fixed(1).into()),
                name if name.starts_with("kubernetes.authorization.") => Some(Range::fixed(1).into()),
                _ => None,
            },
            _ => None,
        }
    }

    fn size_of(&self, argument: &Argument<'_>) -> Range {
        let declared = || self.declared_size(argument.path.as_deref()?);
        argument.size.or_else(declared).unwrap_or(Range::UNKNOWN)
    }

    /// The size of the items of a list, as far as they are declared.
    fn item_size(&self, list: &Argument<'_>) -> Range {
        let declared = || {
            let mut path = list.path.clone()?;
            path.push("@items".to_owned());
            self.declared_size(&path)
        };
        declared().unwrap_or(Range::UNKNOWN)
    }

    fn list_extension(
        &mut self,
        overload: &str,
        target: Option<&Argument<'e>>,
        args: &[Argument<'e>],
    ) -> Option<Estimate> {
        let sets = |factor: f64| {
            let [left, right] = args else { return None };
            let product = self.size_of(left).times(self.size_of(right));
            Some(Estimate::from(product.scaled(factor).plus(Range::fixed(1))))
        };
        let allocating = |factor: f64, size: Range| {
            let cost = size.scaled(factor).plus(Range::fixed(1 + LIST_BASE));
            Some(Estimate { cost, result: Some(size) })
        };
        let squared = |argument: &Argument<'_>, factor: f64| {
            let size = self.size_of(argument);
            allocating(factor, size.times(size))
        };
        let literal = |argument: &Argument<'_>, otherwise: u64| match &argument.expr.kind {
            Kind::Literal(Literal::Int(value)) => u64::try_from(*value).unwrap_or(0),
            _ => otherwise,
        };
        match overload {
            "list_sets_contains_list" | "list_sets_intersects_list" => sets(1.0),
            "list_sets_equivalent_list" => sets(2.0),
            "list_slice" => {
                let size = self.size_of(target?);
                let (start, end) = (literal(args.first()?, 0), literal(args.get(1)?, size.max));
                allocating(1.0, Range::fixed(end.wrapping_sub(start)))
            }
            "list_flatten" => allocating(1.0, self.size_of(target?)),
            "list_flatten_int" => allocating(literal(args.first()?, u64::MAX) as f64, self.size_of(target?)),
            "lists_range" => allocating(1.0, Range::fixed(literal(args.first()?, u64::MAX))),
            "list_reverse" => allocating(1.0, self.size_of(target?)),
            "list_distinct" => squared(target?, 2.0),
            _ => {
                let factor = |kind: &str| if matches!(kind, "string" | "bytes") { 2.0 + STRING_FACTOR } else { 2.0 };
                let kind = overload.strip_prefix("list_")?;
                if let Some(kind) = kind.strip_suffix("_sort") {
                    return squared(target?, factor(kind));
                }
                let kind = kind.strip_suffix("_sortByAssociatedKeys")?;
                squared(args.first()?, factor(kind))
            }
        }
    }
}

/// A selector has at least two characters for each requirement, and each makes a list and a struct.
pub(crate) fn selector_cost(length: Range) -> Range {
    let requirements = length.scaled(0.5).scaled((LIST_BASE + STRUCT_BASE) as f64);
    Range::fixed(LIST_BASE).plus(length.scaled(STRING_FACTOR)).plus(requirements)
}

/// How long a text may be in which something was replaced.
fn replaced(size: Range, old: Range, new: Range) -> Range {
    let (mut count, mut kept) = (Range::NOTHING, Range::NOTHING);
    if old.min == 0 {
        // Nothing stands around every character.
        count.max = size.max.saturating_add(1);
        kept.max = size.max;
    } else if new.max <= old.min {
        kept.max = size.max;
    } else {
        count.max = (size.max as f64 / old.min as f64).ceil() as u64;
    }
    if old.max == 0 {
        count.min = size.min.saturating_add(1);
        kept.min = size.min;
    } else if old.max <= new.min {
        kept.min = size.min;
    } else {
        count.min = (size.min as f64 / old.max as f64).ceil() as u64;
    }
    count.times(new).plus(kept)
}

fn is_scalar(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
        other => other.unwrap_optional().is_some_and(is_scalar),
    }
}

/// Whether a comprehension only binds a variable.
pub(crate) fn is_bind(comprehension: &Comprehension) -> bool {
    matches!(&comprehension.range.kind, Kind::List { elements, .. } if elements.is_empty())
        && matches!(comprehension.condition.kind, Kind::Literal(Literal::Bool(false)))
        && comprehension.accumulator != "__result__"
}
