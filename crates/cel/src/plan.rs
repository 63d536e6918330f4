//! A checked tree into what is evaluated: names become places, constants are made once, patterns are compiled.
//!
//! Which steps cost something follows cel-go's planner: selections and indices on a variable are one attribute with
//! qualifiers, constant lists cost nothing, branches of a conditional lose the cost of their root.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regex::Regex;

use crate::ast::{Call, Comprehension, Expr, Kind, Literal, op};
use crate::charge::Charge;
use crate::check::{Checked, Reference};
use crate::cost::is_bind;
use crate::functions::{self, Overload, RegexUse};
use crate::macros::{ACCUMULATOR, MAP_INSERT};
use crate::meter::Meter;
use crate::pattern;
use crate::val::{Bytes, Key, List, Map, Text, Val};

#[derive(Debug)]
pub(crate) enum Node {
    And(Box<[Node; 2]>),
    Attribute(Box<Attribute>),
    Call(Box<CallNode>),
    Conditional(Box<[Node; 3]>),
    Const(Val<'static>),
    Equal {
        negated: bool,
        sides: Box<[Node; 2]>,
    },
    Fold(Box<Fold>),
    List(Vec<(Node, bool)>),
    Map(Vec<(Node, Node, bool)>),
    NotStrictlyFalse(Box<Node>),
    /// Membership in a constant list.
    OneOf(Box<Node>, BTreeSet<Key<'static>>),
    /// `or`, and `orValue` when the flag says so.
    OptionalOr(bool, Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Struct(Arc<str>, Vec<(String, Node, bool)>),
}

/// A root, and the way from it to a value.
#[derive(Debug)]
pub(crate) struct Attribute {
    pub(crate) root: Root,
    pub(crate) qualifiers: Vec<Qualifier>,
}

#[derive(Debug)]
pub(crate) enum Root {
    Local(usize),
    Node(Node),
    Variable(String),
}

#[derive(Debug)]
pub(crate) struct Qualifier {
    pub(crate) by: By,
    pub(crate) optional: bool,
    /// Asks only whether it is there.
    pub(crate) test: bool,
}

#[derive(Debug)]
pub(crate) enum By {
    Attribute(Attribute),
    Const(Val<'static>),
    Node(Node),
}

#[derive(Debug)]
pub(crate) struct CallNode {
    /// Tried in turn until one takes the arguments.
    pub(crate) calls: Vec<functions::Call>,
    pub(crate) args: Vec<Node>,
    pub(crate) charge: Charge,
    pub(crate) regex: Option<(RegexUse, Regex)>,
}

#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) range: Node,
    pub(crate) var: usize,
    pub(crate) var2: Option<usize>,
    pub(crate) accumulator: usize,
    pub(crate) init: Node,
    pub(crate) kind: FoldKind,
}

#[derive(Debug)]
pub(crate) enum FoldKind {
    /// Only binds its accumulator.
    Bind {
        result: Node,
    },
    /// Appends to a list.
    Collect {
        filter: Option<Node>,
        item: Node,
    },
    General {
        condition: Node,
        step: Node,
        result: Node,
    },
    /// Adds to a map; the arguments are a key and a value, or a map.
    Insert {
        filter: Option<Node>,
        args: Vec<Node>,
    },
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) root: Node,
    /// How many places the variables of comprehensions need.
    pub(crate) locals: usize,
}

/// Errors with why a constant cannot be converted.
pub(crate) fn plan(root: &Expr, checked: &Checked) -> Result<Plan, String> {
    let mut planner = Planner { checked, scopes: Vec::new(), locals: 0 };
    let root = planner.node(root)?;
    Ok(Plan { root, locals: planner.locals })
}

struct Planner<'e> {
    checked: &'e Checked,
    scopes: Vec<(String, usize)>,
    locals: usize,
}

impl Planner<'_> {
    fn node(&mut self, expr: &Expr) -> Result<Node, String> {
        Ok(match &expr.kind {
            Kind::Literal(literal) => Node::Const(constant(literal)),
            Kind::Ident(_) => self.named(expr),
            Kind::Select(select) => {
                if self.checked.reference(expr).is_some() {
                    return Ok(self.named(expr));
                }
                let operand = self.node(&select.operand)?;
                let by = By::Const(Val::from(select.field.clone()));
                qualified(operand, Qualifier { by, optional: false, test: select.test })
            }
            Kind::Call(call) => self.call(expr, call)?,
            Kind::List { elements, optional } => self.list(elements, optional)?,
            Kind::Map(entries) => {
                let mut planned = Vec::with_capacity(entries.len());
                for entry in entries {
                    planned.push((self.node(&entry.key)?, self.node(&entry.value)?, entry.optional));
                }
                constant_map(&planned)?.map_or(Node::Map(planned), Node::Const)
            }
            Kind::Struct { name, fields } => {
                let mut planned = Vec::with_capacity(fields.len());
                for field in fields {
                    planned.push((field.name.clone(), self.node(&field.value)?, field.optional));
                }
                Node::Struct(name.trim_start_matches('.').into(), planned)
            }
            Kind::Comprehension(comprehension) => self.fold(comprehension)?,
            // Checked expressions have none.
            Kind::Error => Node::Const(Val::Null),
        })
    }

    fn named(&self, expr: &Expr) -> Node {
        let root = match self.checked.reference(expr) {
            Some(Reference::TypeName(ty)) => return Node::Const(Val::Type(ty.clone())),
            Some(Reference::Local(name)) => match self.scopes.iter().rev().find(|(known, _)| known == name) {
                Some((_, place)) => Root::Local(*place),
                None => Root::Variable(name.clone()),
            },
            Some(Reference::Variable(name)) => Root::Variable(name.clone()),
            _ => Root::Variable(String::new()),
        };
        Node::Attribute(Box::new(Attribute { root, qualifiers: Vec::new() }))
    }

    fn list(&mut self, elements: &[Expr], optional: &[bool]) -> Result<Node, String> {
        let mut planned = Vec::with_capacity(elements.len());
        for (element, optional) in elements.iter().zip(optional) {
            planned.push((self.node(element)?, *optional));
        }
        let constants: Option<Vec<Val<'static>>> = planned
            .iter()
            .map(|(node, optional)| match node {
                Node::Const(value) if !optional => Some(value.clone()),
                _ => None,
            })
            .collect();
        Ok(match constants {
            Some(items) => Node::Const(Val::List(List::Owned(Arc::new(items)))),
            None => Node::List(planned),
        })
    }

    fn pair(&mut self, args: &[Expr]) -> Result<Box<[Node; 2]>, String> {
        Ok(Box::new([self.node(&args[0])?, self.node(&args[1])?]))
    }

    fn call(&mut self, expr: &Expr, call: &Call) -> Result<Node, String> {
        let args = &call.args[..];
        match (call.function.as_str(), args.len(), &call.target) {
            (op::AND, 2, None) => return Ok(Node::And(self.pair(args)?)),
            (op::OR, 2, None) => return Ok(Node::Or(self.pair(args)?)),
            (op::EQUALS, 2, None) => return Ok(Node::Equal { negated: false, sides: self.pair(args)? }),
            (op::NOT_EQUALS, 2, None) => return Ok(Node::Equal { negated: true, sides: self.pair(args)? }),
            (op::CONDITIONAL, 3, None) => {
                let nodes = [self.node(&args[0])?, self.node(&args[1])?, self.node(&args[2])?];
                return Ok(Node::Conditional(Box::new(nodes)));
            }
            (op::NOT_STRICTLY_FALSE, 1, None) => {
                return Ok(Node::NotStrictlyFalse(Box::new(self.node(&args[0])?)));
            }
            (op::INDEX | op::OPT_INDEX | op::OPT_SELECT, 2, None) => {
                let operand = self.node(&args[0])?;
                let by = match self.node(&args[1])? {
                    Node::Const(value) => By::Const(value),
                    Node::Attribute(attribute) => By::Attribute(*attribute),
                    other => By::Node(other),
                };
                let optional = call.function != op::INDEX;
                return Ok(qualified(operand, Qualifier { by, optional, test: false }));
            }
            ("or" | "orValue", 1, Some(target)) => {
                let sides = Box::new([self.node(target)?, self.node(&args[0])?]);
                return Ok(Node::OptionalOr(call.function == "orValue", sides));
            }
            _ => {}
        }
        let Some(Reference::Function { qualified, name, overloads }) = self.checked.reference(expr) else {
            return Ok(Node::Const(Val::Null));
        };
        let mut planned = Vec::with_capacity(args.len() + 1);
        if let Some(target) = call.target.as_ref().filter(|_| !qualified) {
            planned.push(self.node(target)?);
        }
        for arg in args {
            planned.push(self.node(arg)?);
        }
        self.function(name, overloads, planned)
    }

    fn function(&self, name: &str, overloads: &[&'static Overload], args: Vec<Node>) -> Result<Node, String> {
        let only = if let [overload] = overloads { overload.id } else { "" };
        if only == "in_list"
            && let [_, Node::Const(Val::List(List::Owned(items)))] = &args[..]
        {
            if items.is_empty() {
                return Ok(Node::Const(Val::Bool(false)));
            }
            let keys: Option<BTreeSet<Key<'static>>> = items.iter().map(Key::of).collect();
            if let Some(keys) = keys {
                let mut args = args;
                return Ok(Node::OneOf(Box::new(args.swap_remove(0)), keys));
            }
        }
        let mut calls: Vec<functions::Call> = Vec::new();
        for overload in overloads {
            if !calls.iter().any(|known| std::ptr::fn_addr_eq(*known, overload.call)) {
                calls.push(overload.call);
            }
        }
        let charge = Charge::of(name, only);
        if is_conversion(name)
            && let [Node::Const(value)] = &args[..]
        {
            let folded = first_that_fits(&calls, std::slice::from_ref(value), &mut Meter::default());
            return folded.map(Node::Const).map_err(|error| error.to_string());
        }
        let regex = match (RegexUse::of(name), args.get(1)) {
            (Some(regex_use), Some(Node::Const(Val::String(source)))) => {
                let regex = pattern::compile(source.as_str());
                Some((regex_use, regex?))
            }
            _ => None,
        };
        Ok(Node::Call(Box::new(CallNode { calls, args, charge, regex })))
    }

    fn place(&mut self, name: &str) -> usize {
        let place = self.locals;
        self.locals += 1;
        self.scopes.push((name.to_owned(), place));
        place
    }

    fn fold(&mut self, fold: &Comprehension) -> Result<Node, String> {
        let range = self.node(&fold.range)?;
        let init = self.node(&fold.init)?;
        let depth = self.scopes.len();
        let accumulator = self.place(&fold.accumulator);
        let outer = self.scopes.len();
        let var = self.place(&fold.var);
        let var2 = fold.var2.as_ref().map(|name| self.place(name));
        let kind = if is_bind(fold) {
            self.scopes.truncate(outer);
            FoldKind::Bind { result: self.node(&fold.result)? }
        } else if let Some(kind) = self.collector(fold)? {
            kind
        } else {
            let condition = self.node(&fold.condition)?;
            let step = self.node(&fold.step)?;
            self.scopes.truncate(outer);
            FoldKind::General { condition, step, result: self.node(&fold.result)? }
        };
        self.scopes.truncate(depth);
        Ok(Node::Fold(Box::new(Fold { range, var, var2, accumulator, init, kind })))
    }

    /// Comprehensions that collect are recognised, so that what they collect is not copied at each step.
    fn collector(&mut self, fold: &Comprehension) -> Result<Option<FoldKind>, String> {
        let is_accumulator = |expr: &Expr| matches!(&expr.kind, Kind::Ident(name) if name == ACCUMULATOR);
        let always = matches!(fold.condition.kind, Kind::Literal(Literal::Bool(true)));
        if fold.accumulator != ACCUMULATOR || !always || !is_accumulator(&fold.result) {
            return Ok(None);
        }
        let (filter, step) = match &fold.step.kind {
            Kind::Call(call) if call.function == op::CONDITIONAL && is_accumulator(&call.args[2]) => {
                (Some(&call.args[0]), &call.args[1])
            }
            _ => (None, &fold.step),
        };
        let Kind::Call(call) = &step.kind else { return Ok(None) };
        if !call.args.first().is_some_and(is_accumulator) {
            return Ok(None);
        }
        match (call.function.as_str(), &call.args[1..]) {
            (op::ADD, [Expr { kind: Kind::List { elements, optional }, .. }]) => {
                let ([item], [false]) = (&elements[..], &optional[..]) else { return Ok(None) };
                let filter = filter.map(|filter| self.node(filter)).transpose()?;
                Ok(Some(FoldKind::Collect { filter, item: self.node(item)? }))
            }
            (MAP_INSERT, rest) => {
                let filter = filter.map(|filter| self.node(filter)).transpose()?;
                let args = rest.iter().map(|arg| self.node(arg)).collect::<Result<_, _>>()?;
                Ok(Some(FoldKind::Insert { filter, args }))
            }
            _ => Ok(None),
        }
    }
}

fn constant(literal: &Literal) -> Val<'static> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(value) => Val::Bool(*value),
        Literal::Int(value) => Val::Int(*value),
        Literal::Uint(value) => Val::Uint(*value),
        Literal::Double(value) => Val::Double(*value),
        Literal::String(text) => Val::String(Text::Owned(text.as_str().into())),
        Literal::Bytes(bytes) => Val::Bytes(Bytes::Owned(bytes.as_slice().into())),
    }
}

/// A map whose keys and values are all constants.
fn constant_map(entries: &[(Node, Node, bool)]) -> Result<Option<Val<'static>>, String> {
    let mut found = BTreeMap::new();
    for entry in entries {
        let (Node::Const(key), Node::Const(value), false) = entry else { return Ok(None) };
        let Some(wanted) = Key::of(key) else { return Ok(None) };
        found.insert(wanted, (key.clone(), value.clone()));
    }
    Ok(Some(Val::Map(Map::Owned(Arc::new(found)))))
}

/// Extends an attribute, or makes one of the value that the operand has.
fn qualified(operand: Node, qualifier: Qualifier) -> Node {
    let tested = |attribute: &Attribute| attribute.qualifiers.iter().any(|qualifier| qualifier.test);
    match operand {
        Node::Attribute(mut attribute) if !tested(&attribute) => {
            attribute.qualifiers.push(qualifier);
            Node::Attribute(attribute)
        }
        other => Node::Attribute(Box::new(Attribute { root: Root::Node(other), qualifiers: vec![qualifier] })),
    }
}

fn is_conversion(name: &str) -> bool {
    matches!(name, "bool" | "bytes" | "double" | "duration" | "dyn" | "int" | "string" | "timestamp" | "type" | "uint")
}

/// The value of the first implementation that takes the arguments.
pub(crate) fn first_that_fits<'a>(
    calls: &[functions::Call],
    args: &[Val<'a>],
    meter: &mut Meter,
) -> Result<Val<'a>, crate::error::EvalError> {
    let mut result = Err(crate::error::EvalError::NoSuchOverload);
    for call in calls {
        result = call(args, meter);
        if !matches!(result, Err(crate::error::EvalError::NoSuchOverload)) {
            break;
        }
    }
    result
}
