//! Calls that are rewritten before they are checked: `has`, `all`, `exists`, `map`, …, those of two variables, of optional
//! values, and `sortBy`.

use crate::ast::{Call, Comprehension, Expr, Kind, Literal, Select, op};
use crate::parser::{Parser, Result};

/// The variable in which comprehensions collect. No text can name it.
pub(crate) const ACCUMULATOR: &str = "@result";

/// What it was called once; still refused as a variable.
const OLD_ACCUMULATOR: &str = "__result__";

/// The variable of a comprehension over nothing, which only binds its accumulator.
pub(crate) const UNUSED: &str = "#unused";

/// Two-variable comprehensions come with this minor.
const TWO_VARIABLES_MINOR: u32 = 32;

/// `sortBy` comes with this minor.
const LISTS_MINOR: u32 = 34;

pub(crate) const MAP_INSERT: &str = "cel.@mapInsert";
pub(crate) const SORT_BY_KEYS: &str = "@sortByAssociatedKeys";
const SORT_INPUT: &str = "@__sortBy_input__";

pub(crate) fn global_call(parser: &mut Parser<'_>, offset: u32, name: String, mut args: Vec<Expr>) -> Result<Expr> {
    if name == "has" && args.len() == 1 {
        let arg = args.remove(0);
        let at = parser.offset_of(arg.id);
        return match arg.kind {
            Kind::Select(select) if !select.test => {
                let select = Select { test: true, ..*select };
                parser.node(offset, Kind::Select(Box::new(select)))
            }
            Kind::Error => Ok(arg),
            _ => Ok(parser.error(at, "invalid argument to has() macro")),
        };
    }
    parser.call(offset, &name, args)
}

pub(crate) fn member_call(
    parser: &mut Parser<'_>,
    offset: u32,
    name: String,
    target: Expr,
    args: Vec<Expr>,
) -> Result<Expr> {
    let two = parser.syntax().minor >= TWO_VARIABLES_MINOR;
    let mut make = Maker { parser, offset };
    let target = match (name.as_str(), args.len()) {
        ("all", 2) => return make.quantifier(Quantifier::All, target, args, 1),
        ("exists", 2) => return make.quantifier(Quantifier::Exists, target, args, 1),
        ("exists_one" | "existsOne", 2) => return make.quantifier(Quantifier::ExistsOne, target, args, 1),
        ("filter", 2) => return make.filter(target, args),
        ("map", 2 | 3) => return make.map(target, args),
        ("all", 3) if two => return make.quantifier(Quantifier::All, target, args, 2),
        ("exists", 3) if two => return make.quantifier(Quantifier::Exists, target, args, 2),
        ("exists_one" | "existsOne", 3) if two => return make.quantifier(Quantifier::ExistsOne, target, args, 2),
        ("transformList", 3 | 4) if two => return make.transform(Transform::List, target, args),
        ("transformMap", 3 | 4) if two => return make.transform(Transform::Map, target, args),
        ("transformMapEntry", 3 | 4) if two => return make.transform(Transform::MapEntry, target, args),
        ("optMap", 2) => return make.opt_map(target, args, "optMap"),
        ("optFlatMap", 2) => return make.opt_map(target, args, "optFlatMap"),
        ("sortBy", 2) if make.parser.syntax().minor >= LISTS_MINOR => return make.sort_by(target, args),
        _ => target,
    };
    let call = Call { target: Some(target), function: name, args };
    parser.node(offset, Kind::Call(Box::new(call)))
}

#[derive(Clone, Copy)]
enum Quantifier {
    All,
    Exists,
    ExistsOne,
}

#[derive(Clone, Copy)]
enum Transform {
    List,
    Map,
    MapEntry,
}

/// Builds the nodes of one macro. All of them are where the macro's parenthesis is.
struct Maker<'p, 'a> {
    parser: &'p mut Parser<'a>,
    offset: u32,
}

impl Maker<'_, '_> {
    fn ident(&mut self, name: &str) -> Result<Expr> {
        self.parser.node(self.offset, Kind::Ident(name.to_owned()))
    }

    fn accumulator(&mut self) -> Result<Expr> {
        self.ident(ACCUMULATOR)
    }

    fn literal(&mut self, literal: Literal) -> Result<Expr> {
        self.parser.literal(self.offset, literal)
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Result<Expr> {
        self.parser.call(self.offset, function, args)
    }

    fn member(&mut self, function: &str, target: Expr, args: Vec<Expr>) -> Result<Expr> {
        let call = Call { target: Some(target), function: function.to_owned(), args };
        self.parser.node(self.offset, Kind::Call(Box::new(call)))
    }

    fn list(&mut self, elements: Vec<Expr>) -> Result<Expr> {
        let optional = vec![false; elements.len()];
        self.parser.node(self.offset, Kind::List { elements, optional })
    }

    fn comprehension(&mut self, comprehension: Comprehension) -> Result<Expr> {
        self.parser.node(self.offset, Kind::Comprehension(Box::new(comprehension)))
    }

    fn error(&mut self, at: &Expr, message: impl Into<String>) -> Result<Expr> {
        if matches!(at.kind, Kind::Error) {
            return Ok(at.clone());
        }
        let offset = self.parser.offset_of(at.id);
        Ok(self.parser.error(offset, message))
    }

    /// The names of `count` variables, or the node that stands for what is wrong with them.
    fn variables(
        &mut self,
        args: &[Expr],
        count: usize,
        not_a_name: &str,
    ) -> Result<std::result::Result<Vec<String>, Expr>> {
        let mut names: Vec<String> = Vec::new();
        for arg in &args[..count] {
            let Kind::Ident(name) = &arg.kind else { return self.error(arg, not_a_name).map(Err) };
            if names.contains(name) {
                return self.error(arg, format!("duplicate variable name: {name}")).map(Err);
            }
            if name == ACCUMULATOR || name == OLD_ACCUMULATOR {
                return self.error(arg, "iteration variable overwrites accumulator variable").map(Err);
            }
            names.push(name.clone());
        }
        Ok(Ok(names))
    }

    fn quantifier(&mut self, quantifier: Quantifier, target: Expr, mut args: Vec<Expr>, count: usize) -> Result<Expr> {
        let names = match self.variables(&args, count, "argument must be a simple name")? {
            Ok(names) => names,
            Err(error) => return Ok(error),
        };
        let predicate = args.remove(count);
        let accumulator = self.accumulator()?;
        let (init, condition, step, result) = match quantifier {
            Quantifier::All => {
                let init = self.literal(Literal::Bool(true))?;
                let condition = self.call(op::NOT_STRICTLY_FALSE, vec![accumulator])?;
                let accumulator = self.accumulator()?;
                let step = self.call(op::AND, vec![accumulator, predicate])?;
                (init, condition, step, self.accumulator()?)
            }
            Quantifier::Exists => {
                let init = self.literal(Literal::Bool(false))?;
                let not = self.call(op::NOT, vec![accumulator])?;
                let condition = self.call(op::NOT_STRICTLY_FALSE, vec![not])?;
                let accumulator = self.accumulator()?;
                let step = self.call(op::OR, vec![accumulator, predicate])?;
                (init, condition, step, self.accumulator()?)
            }
            Quantifier::ExistsOne => {
                let init = self.literal(Literal::Int(0))?;
                let condition = self.literal(Literal::Bool(true))?;
                let one = self.literal(Literal::Int(1))?;
                let more = self.call(op::ADD, vec![accumulator, one])?;
                let same = self.accumulator()?;
                let step = self.call(op::CONDITIONAL, vec![predicate, more, same])?;
                let (count, one) = (self.accumulator()?, self.literal(Literal::Int(1))?);
                (init, condition, step, self.call(op::EQUALS, vec![count, one])?)
            }
        };
        self.fold(target, names, init, condition, step, result)
    }

    fn fold(
        &mut self,
        range: Expr,
        names: Vec<String>,
        init: Expr,
        condition: Expr,
        step: Expr,
        result: Expr,
    ) -> Result<Expr> {
        let mut names = names.into_iter();
        let var = names.next().unwrap_or_default();
        let accumulator = ACCUMULATOR.to_owned();
        self.comprehension(Comprehension { range, var, var2: names.next(), accumulator, init, condition, step, result })
    }

    /// A comprehension that collects all `step`s, or those for which `filter` holds.
    fn collect(
        &mut self,
        range: Expr,
        names: Vec<String>,
        init: Expr,
        step: Expr,
        filter: Option<Expr>,
    ) -> Result<Expr> {
        let step = match filter {
            None => step,
            Some(filter) => {
                let same = self.accumulator()?;
                self.call(op::CONDITIONAL, vec![filter, step, same])?
            }
        };
        let condition = self.literal(Literal::Bool(true))?;
        let result = self.accumulator()?;
        self.fold(range, names, init, condition, step, result)
    }

    fn append(&mut self, element: Expr) -> Result<Expr> {
        let (accumulator, list) = (self.accumulator()?, self.list(vec![element])?);
        self.call(op::ADD, vec![accumulator, list])
    }

    fn map(&mut self, target: Expr, mut args: Vec<Expr>) -> Result<Expr> {
        let names = match self.variables(&args, 1, "argument is not an identifier")? {
            Ok(names) => names,
            Err(error) => return Ok(error),
        };
        let transform = args.pop();
        let filter = if args.len() == 2 { args.pop() } else { None };
        let Some(transform) = transform else { return Ok(target) };
        let init = self.list(Vec::new())?;
        let step = self.append(transform)?;
        self.collect(target, names, init, step, filter)
    }

    fn filter(&mut self, target: Expr, mut args: Vec<Expr>) -> Result<Expr> {
        let names = match self.variables(&args, 1, "argument is not an identifier")? {
            Ok(names) => names,
            Err(error) => return Ok(error),
        };
        let filter = args.pop();
        let Some(element) = args.pop() else { return Ok(target) };
        let init = self.list(Vec::new())?;
        let step = self.append(element)?;
        self.collect(target, names, init, step, filter)
    }

    fn transform(&mut self, transform: Transform, target: Expr, mut args: Vec<Expr>) -> Result<Expr> {
        let names = match self.variables(&args, 2, "argument must be a simple name")? {
            Ok(names) => names,
            Err(error) => return Ok(error),
        };
        let Some(value) = args.pop() else { return Ok(target) };
        let filter = if args.len() == 3 { args.pop() } else { None };
        let (init, step) = match transform {
            Transform::List => (self.list(Vec::new())?, self.append(value)?),
            Transform::Map => {
                let init = self.parser.node(self.offset, Kind::Map(Vec::new()))?;
                let (accumulator, key) = (self.accumulator()?, self.ident(&names[0])?);
                (init, self.call(MAP_INSERT, vec![accumulator, key, value])?)
            }
            Transform::MapEntry => {
                let init = self.parser.node(self.offset, Kind::Map(Vec::new()))?;
                let accumulator = self.accumulator()?;
                (init, self.call(MAP_INSERT, vec![accumulator, value])?)
            }
        };
        self.collect(target, names, init, step, filter)
    }

    /// `target.hasValue() ? optional.of(bind(name, target.value(), transform)) : optional.none()`.
    fn opt_map(&mut self, target: Expr, mut args: Vec<Expr>, function: &str) -> Result<Expr> {
        let Some(transform) = args.pop() else { return Ok(target) };
        let name = match &args[0].kind {
            Kind::Ident(name) => name.clone(),
            _ => {
                let message = format!("{function}() variable name must be a simple identifier");
                return self.error(&args[0], message);
            }
        };
        let copy = self.copy(&target)?;
        let value = self.member("value", copy, Vec::new())?;
        let bound = self.bind(&name, value, |make| make.ident(&name), transform)?;
        let bound = if function == "optMap" { self.call("optional.of", vec![bound])? } else { bound };
        let has = self.member("hasValue", target, Vec::new())?;
        let none = self.call("optional.none", Vec::new())?;
        self.call(op::CONDITIONAL, vec![has, bound, none])
    }

    /// A comprehension over nothing: its accumulator is the variable.
    fn bind(
        &mut self,
        name: &str,
        value: Expr,
        step: impl Fn(&mut Self) -> Result<Expr>,
        result: Expr,
    ) -> Result<Expr> {
        let range = self.list(Vec::new())?;
        let condition = self.literal(Literal::Bool(false))?;
        let step = step(self)?;
        self.comprehension(Comprehension {
            range,
            var: UNUSED.to_owned(),
            var2: None,
            accumulator: name.to_owned(),
            init: value,
            condition,
            step,
            result,
        })
    }

    fn sort_by(&mut self, target: Expr, args: Vec<Expr>) -> Result<Expr> {
        if matches!(target.kind, Kind::Literal(_) | Kind::Map(_) | Kind::Struct { .. }) {
            let message = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
            return self.error(&target, message);
        }
        let input = self.ident(SORT_INPUT)?;
        let keys = self.map(input, args)?;
        if matches!(keys.kind, Kind::Error) {
            return Ok(keys);
        }
        let input = self.ident(SORT_INPUT)?;
        let sorted = self.member(SORT_BY_KEYS, input, vec![keys])?;
        self.bind(SORT_INPUT, target, |make| make.ident(SORT_INPUT), sorted)
    }

    /// The same expression with names of its own.
    fn copy(&mut self, expr: &Expr) -> Result<Expr> {
        let offset = self.parser.offset_of(expr.id);
        let kind = match &expr.kind {
            Kind::Literal(_) | Kind::Ident(_) | Kind::Error => expr.kind.clone(),
            Kind::Select(select) => {
                let operand = self.copy(&select.operand)?;
                Kind::Select(Box::new(Select { operand, field: select.field.clone(), test: select.test }))
            }
            Kind::Call(call) => {
                let target = call.target.as_ref().map(|target| self.copy(target)).transpose()?;
                let args = self.copy_all(&call.args)?;
                Kind::Call(Box::new(Call { target, function: call.function.clone(), args }))
            }
            Kind::List { elements, optional } => {
                Kind::List { elements: self.copy_all(elements)?, optional: optional.clone() }
            }
            Kind::Map(entries) => {
                let mut copies = Vec::with_capacity(entries.len());
                for entry in entries {
                    let (key, value) = (self.copy(&entry.key)?, self.copy(&entry.value)?);
                    copies.push(crate::ast::Entry { key, value, optional: entry.optional });
                }
                Kind::Map(copies)
            }
            Kind::Struct { name, fields } => {
                let mut copies = Vec::with_capacity(fields.len());
                for field in fields {
                    let value = self.copy(&field.value)?;
                    copies.push(crate::ast::Field { value, ..field.clone() });
                }
                Kind::Struct { name: name.clone(), fields: copies }
            }
            Kind::Comprehension(c) => Kind::Comprehension(Box::new(Comprehension {
                range: self.copy(&c.range)?,
                var: c.var.clone(),
                var2: c.var2.clone(),
                accumulator: c.accumulator.clone(),
                init: self.copy(&c.init)?,
                condition: self.copy(&c.condition)?,
                step: self.copy(&c.step)?,
                result: self.copy(&c.result)?,
            })),
        };
        self.parser.node(offset, kind)
    }

    fn copy_all(&mut self, list: &[Expr]) -> Result<Vec<Expr>> {
        list.iter().map(|expr| self.copy(expr)).collect()
    }
}
