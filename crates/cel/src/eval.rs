//! Evaluates plans.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::charge;
use crate::convert;
use crate::cost::{LIST_BASE, MAP_BASE, STRUCT_BASE};
use crate::error::EvalError;
use crate::functions::{equal, insert_into};
use crate::meter::Meter;
use crate::plan::{Attribute, By, CallNode, Fold, FoldKind, Node, Plan, Qualifier, Root, first_that_fits};
use crate::val::{Key, List, Map, Struct, Text, Val};

/// Where the variables of an environment come from. A variable is asked for each time that it is named.
pub trait Activation<'a> {
    /// `None` when there is no such variable.
    fn resolve(&self, name: &str) -> Option<Result<Val<'a>, EvalError>>;

    /// A field of the variable whose fields are found one by one ([`Activation::lazy`]); `None` when it has none of that name.
    fn lazy_field(&self, _field: &str) -> Option<Result<Val<'a>, EvalError>> {
        None
    }

    /// The variable whose fields are values only when somebody names them.
    fn lazy(&self) -> Option<&str> {
        None
    }
}

/// Variables that are known beforehand.
impl<'a> Activation<'a> for &[(&str, Val<'a>)] {
    fn resolve(&self, name: &str) -> Option<Result<Val<'a>, EvalError>> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| Ok(value.clone()))
    }
}

impl<'a, const N: usize> Activation<'a> for [(&str, Val<'a>); N] {
    fn resolve(&self, name: &str) -> Option<Result<Val<'a>, EvalError>> {
        self.as_slice().resolve(name)
    }
}

pub(crate) fn evaluate<'a>(
    plan: &Plan,
    activation: &dyn Activation<'a>,
    meter: &mut Meter,
) -> Result<Val<'a>, EvalError> {
    let mut evaluator = Evaluator { activation, locals: vec![Ok(Val::Null); plan.locals], meter };
    evaluator.eval(&plan.root)
}

type Outcome<'a> = Result<Val<'a>, EvalError>;

struct Evaluator<'a, 'e> {
    activation: &'e dyn Activation<'a>,
    /// The accumulator of a comprehension may hold an error, which a later element may make irrelevant.
    locals: Vec<Outcome<'a>>,
    meter: &'e mut Meter,
}

impl<'a> Evaluator<'a, '_> {
    fn eval(&mut self, node: &Node) -> Outcome<'a> {
        match node {
            Node::And(sides) => self.logical(sides, false),
            Node::Attribute(attribute) => {
                let test = attribute.qualifiers.last().is_some_and(|qualifier| qualifier.test);
                if !test && !matches!(attribute.root, Root::Node(Node::Conditional(_))) {
                    self.meter.charge(1)?;
                }
                self.resolve(attribute)
            }
            Node::Call(call) => self.call(call),
            Node::Conditional(nodes) => match self.eval(&nodes[0])? {
                Val::Bool(true) => self.branch(&nodes[1]),
                Val::Bool(false) => self.branch(&nodes[2]),
                _ => Err(EvalError::NoSuchOverload),
            },
            Node::Const(value) => Ok(value.clone()),
            Node::Equal { negated, sides } => {
                let sides = [self.eval(&sides[0]), self.eval(&sides[1])];
                let [left, right] = self.known(sides, |[left, right], _| Ok(charge::equality(left, right)))?;
                self.meter.charge(charge::equality(&left, &right))?;
                match (&left, &right) {
                    // Values of Kubernetes' libraries can only be compared with their own kind.
                    (Val::Library(a), b) if !matches!(b, Val::Null) && !a.is_comparable(b) => {
                        if *negated {
                            Ok(Val::Bool(true))
                        } else {
                            Err(EvalError::NoSuchOverload)
                        }
                    }
                    _ => Ok(Val::Bool(equal(&left, &right, self.meter)? != *negated)),
                }
            }
            Node::Fold(fold) => self.fold(fold),
            Node::List(elements) => self.list(elements),
            Node::Map(entries) => self.map(entries),
            Node::NotStrictlyFalse(arg) => {
                let value = self.eval(arg);
                self.meter.charge(1)?;
                match value {
                    Ok(Val::Bool(false)) => Ok(Val::Bool(false)),
                    Err(EvalError::CostLimit) => Err(EvalError::CostLimit),
                    _ => Ok(Val::Bool(true)),
                }
            }
            Node::OneOf(arg, keys) => {
                let value = self.eval(arg)?;
                Ok(Val::Bool(crate::val::contains_key(keys, &value)))
            }
            Node::OptionalOr(value, sides) => match self.eval(&sides[0])? {
                Val::Optional(Some(inner)) if *value => Ok((*inner).clone()),
                Val::Optional(None) => self.eval(&sides[1]),
                other => Ok(other),
            },
            Node::Or(sides) => self.logical(sides, true),
            Node::Struct(name, fields) => self.structure(name, fields),
        }
    }

    /// && and ||: whichever side decides, decides, even when the other has no value.
    fn logical(&mut self, sides: &[Node; 2], decisive: bool) -> Outcome<'a> {
        let mut failure = None;
        for side in sides {
            match self.eval(side) {
                Ok(Val::Bool(value)) if value == decisive => return Ok(Val::Bool(decisive)),
                Ok(Val::Bool(_)) => {}
                Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
                Err(error) => failure = failure.or(Some(error)),
                Ok(_) => failure = failure.or(Some(EvalError::NoSuchOverload)),
            }
        }
        failure.map_or(Ok(Val::Bool(!decisive)), Err)
    }

    /// A branch of a conditional: of a name, only the way from it costs.
    fn branch(&mut self, node: &Node) -> Outcome<'a> {
        match node {
            Node::Attribute(attribute) => self.resolve(attribute),
            other => self.eval(other),
        }
    }

    fn call(&mut self, call: &CallNode) -> Outcome<'a> {
        match &call.args[..] {
            [] => self.apply(call, &[]),
            [a] => {
                let args = [self.eval(a)];
                let args = self.known(args, |args, meter| call.charge.cost(args, &Val::Null, meter))?;
                self.apply(call, &args)
            }
            [a, b] => {
                let args = [self.eval(a), self.eval(b)];
                let args = self.known(args, |args, meter| call.charge.cost(args, &Val::Null, meter))?;
                self.apply(call, &args)
            }
            [a, b, c] => {
                let args = [self.eval(a)?, self.eval(b)?, self.eval(c)?];
                self.apply(call, &args)
            }
            more => {
                let args = more.iter().map(|arg| self.eval(arg)).collect::<Result<Vec<_>, _>>()?;
                self.apply(call, &args)
            }
        }
    }

    /// The arguments of something that costs even when one of them has no value; such a one counts as small.
    fn known<const N: usize>(
        &mut self,
        args: [Outcome<'a>; N],
        cost: impl Fn(&[Val<'a>; N], &mut Meter) -> Result<u64, EvalError>,
    ) -> Result<[Val<'a>; N], EvalError> {
        let mut failure = None;
        let args = args.map(|arg| {
            arg.unwrap_or_else(|error| {
                failure.get_or_insert(error);
                Val::Null
            })
        });
        let Some(failure) = failure else { return Ok(args) };
        if failure != EvalError::CostLimit {
            let cost = cost(&args, self.meter)?;
            self.meter.charge(cost)?;
        }
        Err(failure)
    }

    fn apply(&mut self, call: &CallNode, args: &[Val<'a>]) -> Outcome<'a> {
        let value = match &call.regex {
            Some((regex_use, regex)) => regex_use.apply(regex, args, self.meter),
            None => first_that_fits(&call.calls, args, self.meter),
        };
        let result = value.as_ref().unwrap_or(&Val::Null);
        let cost = call.charge.cost(args, result, self.meter)?;
        self.meter.charge(cost)?;
        value
    }

    fn resolve(&mut self, attribute: &Attribute) -> Outcome<'a> {
        let mut qualifiers = attribute.qualifiers.as_slice();
        let mut optional = false;
        let mut value = match &attribute.root {
            Root::Local(place) => self.locals[*place].clone()?,
            Root::Node(node) => self.eval(node)?,
            Root::Variable(name) if self.activation.lazy() == Some(name) && !qualifiers.is_empty() => {
                let key = self.key(&qualifiers[0])?;
                let found = key.as_str().and_then(|field| self.activation.lazy_field(field));
                if qualifiers[0].test {
                    self.meter.charge(1)?;
                    return found.transpose().map(|found| Val::Bool(found.is_some()));
                }
                optional = qualifiers[0].optional;
                if found.is_none() && optional {
                    return Ok(Val::Optional(None));
                }
                self.meter.charge(1)?;
                qualifiers = &qualifiers[1..];
                match found {
                    Some(value) => value?,
                    None => return Err(missing(&Val::Null, &key)),
                }
            }
            Root::Variable(name) => match self.activation.resolve(name) {
                Some(value) => value?,
                None => return Err(EvalError::new(format!("no such attribute(s): {name}"))),
            },
        };
        if qualifiers.is_empty() && !optional {
            return Ok(value);
        }
        if let Val::Optional(inner) = value {
            match inner {
                None => return Ok(Val::Optional(None)),
                Some(inner) => value = (*inner).clone(),
            }
            optional = true;
        }
        for qualifier in qualifiers {
            let key = self.key(qualifier)?;
            if qualifier.test {
                self.meter.charge(1)?;
                return find(&value, &key).map(|found| Val::Bool(found.is_some()));
            }
            optional |= qualifier.optional;
            match find(&value, &key) {
                Ok(Some(found)) => {
                    self.meter.charge(1)?;
                    value = found;
                }
                Ok(None) if optional => return Ok(Val::Optional(None)),
                Ok(None) => {
                    self.meter.charge(1)?;
                    return Err(missing(&value, &key));
                }
                Err(error) => {
                    self.meter.charge(1)?;
                    return Err(error);
                }
            }
        }
        Ok(if optional { Val::Optional(Some(Arc::new(value))) } else { value })
    }

    fn key(&mut self, qualifier: &Qualifier) -> Outcome<'a> {
        match &qualifier.by {
            By::Attribute(attribute) => self.resolve(attribute),
            By::Const(value) => Ok(value.clone()),
            By::Node(node) => self.eval(node),
        }
    }

    fn list(&mut self, elements: &[(Node, bool)]) -> Outcome<'a> {
        let mut items = Vec::with_capacity(elements.len());
        for (element, optional) in elements {
            let value = self.eval(element)?;
            match (optional, value) {
                (false, value) => items.push(value),
                (true, Val::Optional(Some(inner))) => items.push((*inner).clone()),
                (true, Val::Optional(None)) => {}
                (true, other) => {
                    let shown = convert::to_text(&other).unwrap_or_default();
                    let message = format!("cannot initialize optional list element from non-optional value {shown}");
                    return Err(EvalError::new(message));
                }
            }
        }
        self.meter.charge(LIST_BASE)?;
        Ok(Val::from(items))
    }

    /// The value of an entry or field; `None` when it is left out.
    fn entry(&mut self, name: &str, value: &Node, optional: bool) -> Result<Option<Val<'a>>, EvalError> {
        match (optional, self.eval(value)?) {
            (false, value) => Ok(Some(value)),
            (true, Val::Optional(inner)) => Ok(inner.map(|inner| (*inner).clone())),
            (true, other) => {
                let shown = convert::to_text(&other).unwrap_or_default();
                let message = format!("cannot initialize optional entry '{name}' from non-optional value {shown}");
                Err(EvalError::new(message))
            }
        }
    }

    fn map(&mut self, entries: &[(Node, Node, bool)]) -> Outcome<'a> {
        let mut found = BTreeMap::new();
        for (key, value, optional) in entries {
            let key = self.eval(key)?;
            let name = convert::to_text(&key).unwrap_or_default();
            let Some(value) = self.entry(&name, value, *optional)? else { continue };
            let Some(wanted) = Key::of(&key) else { return Err(EvalError::NoSuchOverload) };
            // As upstream, the last of equal keys counts.
            found.insert(wanted, (key, value));
        }
        self.meter.charge(MAP_BASE)?;
        Ok(Val::Map(Map::Owned(Arc::new(found))))
    }

    fn structure(&mut self, name: &Arc<str>, fields: &[(String, Node, bool)]) -> Outcome<'a> {
        let mut found = BTreeMap::new();
        for (field, value, optional) in fields {
            if let Some(value) = self.entry(field, value, *optional)? {
                found.insert(field.clone(), value);
            }
        }
        self.meter.charge(STRUCT_BASE)?;
        Ok(Val::Struct(Arc::new(Struct { name: name.clone(), fields: found })))
    }

    fn fold(&mut self, fold: &Fold) -> Outcome<'a> {
        let range = self.eval(&fold.range)?;
        if let FoldKind::Bind { result } = &fold.kind {
            self.locals[fold.accumulator] = self.eval(&fold.init);
            if matches!(self.locals[fold.accumulator], Err(EvalError::CostLimit)) {
                return Err(EvalError::CostLimit);
            }
            return self.eval(result);
        }
        let keys = match &range {
            Val::List(_) => Vec::new(),
            Val::Map(map) => map.keys(),
            other => {
                let message = format!("got '{}', expected iterable type", other.type_of().name());
                return Err(EvalError::new(message));
            }
        };
        let count = if let Val::List(list) = &range { list.len() } else { keys.len() };
        let mut collected = Collected::new(&fold.kind);
        if matches!(collected, Collected::Nothing) {
            self.locals[fold.accumulator] = self.eval(&fold.init);
        }
        for index in 0..count {
            self.meter.work(1)?;
            self.bind_element(fold, &range, &keys, index);
            match (&fold.kind, &mut collected) {
                (FoldKind::General { condition, step, .. }, _) => {
                    match self.eval(condition) {
                        Ok(Val::Bool(false)) => break,
                        Err(EvalError::CostLimit) => return Err(EvalError::CostLimit),
                        _ => {}
                    }
                    let value = self.eval(step);
                    if matches!(value, Err(EvalError::CostLimit)) {
                        return value;
                    }
                    self.locals[fold.accumulator] = value;
                }
                (FoldKind::Collect { filter, item }, Collected::List(items)) => {
                    items.extend(self.item(filter.as_ref(), item)?);
                }
                (FoldKind::Insert { filter, args }, Collected::Map(entries)) => {
                    self.insert(filter.as_ref(), args, entries)?;
                }
                _ => {}
            }
        }
        match (&fold.kind, collected) {
            (FoldKind::General { result, .. }, _) => self.eval(result),
            (_, Collected::List(items)) => {
                self.meter.charge(1)?;
                Ok(Val::from(items))
            }
            (_, Collected::Map(entries)) => {
                self.meter.charge(1)?;
                Ok(Val::Map(Map::Owned(entries)))
            }
            (_, Collected::Nothing) => Err(EvalError::NoSuchOverload),
        }
    }

    fn bind_element(&mut self, fold: &Fold, range: &Val<'a>, keys: &[Val<'a>], index: usize) {
        match (range, fold.var2) {
            (Val::List(list), None) => self.locals[fold.var] = list.get(index),
            (Val::List(list), Some(var2)) => {
                self.locals[fold.var] = Ok(Val::Int(index as i64));
                self.locals[var2] = list.get(index);
            }
            (Val::Map(map), Some(var2)) => {
                self.locals[var2] = map.find(&keys[index]).map(|value| value.unwrap_or(Val::Null));
                self.locals[fold.var] = Ok(keys[index].clone());
            }
            _ => self.locals[fold.var] = Ok(keys[index].clone()),
        }
    }

    /// What a comprehension appends for its element.
    fn item(&mut self, filter: Option<&Node>, item: &Node) -> Result<Option<Val<'a>>, EvalError> {
        if !self.passes(filter)? {
            return Ok(None);
        }
        let item = self.eval(item)?;
        // Naming what is collected, a list of one, and adding it.
        self.meter.charge(1 + LIST_BASE + 1)?;
        Ok(Some(item))
    }

    fn insert(
        &mut self,
        filter: Option<&Node>,
        args: &[Node],
        entries: &mut Arc<BTreeMap<Key<'a>, (Val<'a>, Val<'a>)>>,
    ) -> Result<(), EvalError> {
        if !self.passes(filter)? {
            return Ok(());
        }
        let args = args.iter().map(|arg| self.eval(arg)).collect::<Result<Vec<_>, _>>()?;
        self.meter.charge(2)?;
        insert_into(entries, &args, self.meter)
    }

    fn passes(&mut self, filter: Option<&Node>) -> Result<bool, EvalError> {
        let Some(filter) = filter else { return Ok(true) };
        match self.eval(filter)? {
            Val::Bool(passes) => Ok(passes),
            _ => Err(EvalError::NoSuchOverload),
        }
    }
}

/// What a comprehension has collected so far, when it is one that collects.
enum Collected<'a> {
    List(Vec<Val<'a>>),
    Map(Arc<BTreeMap<Key<'a>, (Val<'a>, Val<'a>)>>),
    Nothing,
}

impl Collected<'_> {
    fn new(kind: &FoldKind) -> Self {
        match kind {
            FoldKind::Collect { .. } => Self::List(Vec::new()),
            FoldKind::Insert { .. } => Self::Map(Arc::default()),
            FoldKind::Bind { .. } | FoldKind::General { .. } => Self::Nothing,
        }
    }
}

/// The field, entry or item of a value. `None` when it is not there; a scalar has none.
fn find<'a>(value: &Val<'a>, key: &Val<'a>) -> Result<Option<Val<'a>>, EvalError> {
    match value {
        Val::Map(map) => map.find(key),
        Val::List(list) => find_item(list, key),
        Val::Struct(object) => Ok(key.as_str().and_then(|name| object.fields.get(name)).cloned()),
        _ => Ok(None),
    }
}

fn find_item<'a>(list: &List<'a>, key: &Val<'_>) -> Result<Option<Val<'a>>, EvalError> {
    let index = match key {
        Val::Int(index) => usize::try_from(*index).ok(),
        Val::Uint(index) => usize::try_from(*index).ok(),
        Val::Double(index) if index.fract() == 0.0 && *index >= 0.0 && *index < 1e15 => Some(*index as usize),
        Val::Double(_) => {
            let shown = convert::to_text(key).unwrap_or_default();
            return Err(EvalError::new(format!("unsupported index value {shown} in list")));
        }
        other => {
            let message = format!("unsupported index type '{}' in list", other.type_of().name());
            return Err(EvalError::new(message));
        }
    };
    match index.filter(|index| *index < list.len()) {
        Some(index) => list.get(index).map(Some),
        None => Ok(None),
    }
}

fn missing(value: &Val<'_>, key: &Val<'_>) -> EvalError {
    let shown = match key {
        Val::String(Text::Borrowed(text)) => (*text).to_owned(),
        other => convert::to_text(other).unwrap_or_default(),
    };
    match value {
        Val::List(_) => EvalError::index(shown),
        _ => EvalError::key(&shown),
    }
}
