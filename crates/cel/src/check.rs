//! Gives every node a type, and every name and call its meaning.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ast::{Call, Comprehension, Expr, Id, Kind, Literal, op};
use crate::env::Env;
use crate::functions::{Function, Overload, registry};
use crate::parser::Parsed;
use crate::source::{Issue, Issues, MAX_ISSUES};
use crate::types::Type;
use crate::unify::{Unifier, instantiate, most_general};
use crate::validators;

/// What a name or call means.
#[derive(Clone, Debug)]
pub(crate) enum Reference {
    /// A variable of the environment, by its whole name.
    Variable(String),
    /// A variable of a comprehension.
    Local(String),
    TypeName(Type),
    /// A function without a target, although it was written with one: `sets.contains`.
    Function {
        qualified: bool,
        name: &'static str,
        overloads: Vec<&'static Overload>,
    },
}

#[derive(Debug)]
pub(crate) struct Checked {
    types: Vec<Type>,
    references: Vec<Option<Reference>>,
    pub(crate) result: Type,
    /// The variables that the expression names.
    pub(crate) variables: BTreeSet<String>,
}

impl Checked {
    pub(crate) fn type_of(&self, expr: &Expr) -> &Type {
        self.types.get(expr.id as usize).unwrap_or(&Type::Error)
    }

    pub(crate) fn reference(&self, expr: &Expr) -> Option<&Reference> {
        self.references.get(expr.id as usize)?.as_ref()
    }

    pub(crate) fn overloads(&self, expr: &Expr) -> &[&'static Overload] {
        match self.reference(expr) {
            Some(Reference::Function { overloads, .. }) => overloads,
            _ => &[],
        }
    }
}

pub(crate) fn check(env: &Env, parsed: &Parsed, text: &str) -> Result<Checked, Issues> {
    let mut checker = Checker {
        env,
        parsed,
        scopes: Vec::new(),
        types: vec![Type::Error; parsed.offsets.len()],
        references: vec![None; parsed.offsets.len()],
        unifier: Unifier::default(),
        issues: Vec::new(),
        variables: BTreeSet::new(),
    };
    let result = checker.check(&parsed.root);
    let Checker { unifier, types, references, variables, issues, .. } = checker;
    let types = types.iter().map(|ty| unifier.resolve(ty, true)).collect();
    let result = unifier.resolve(&result, true);
    let checked = Checked { types, references, result, variables };
    let issues = if issues.is_empty() { validators::validate(parsed, &checked) } else { issues };
    if issues.is_empty() { Ok(checked) } else { Err(Issues::new(text, issues)) }
}

struct Checker<'e> {
    env: &'e Env,
    parsed: &'e Parsed,
    /// The variables of comprehensions, the innermost last.
    scopes: Vec<(String, Type)>,
    types: Vec<Type>,
    references: Vec<Option<Reference>>,
    unifier: Unifier,
    issues: Vec<Issue>,
    variables: BTreeSet<String>,
}

impl Checker<'_> {
    fn report(&mut self, id: Id, message: String) {
        if self.issues.len() < MAX_ISSUES {
            let offset = self.parsed.offsets.get(id as usize).copied().unwrap_or_default();
            self.issues.push(self.parsed.lines.issue(offset, message));
        }
    }

    fn set(&mut self, expr: &Expr, ty: Type) -> Type {
        if let Some(slot) = self.types.get_mut(expr.id as usize) {
            *slot = ty.clone();
        }
        ty
    }

    fn refer(&mut self, expr: &Expr, reference: Reference) {
        if let Reference::Variable(name) = &reference {
            self.variables.insert(name.clone());
        }
        if let Some(slot) = self.references.get_mut(expr.id as usize) {
            *slot = Some(reference);
        }
    }

    fn check(&mut self, expr: &Expr) -> Type {
        let ty = match &expr.kind {
            Kind::Literal(literal) => match literal {
                Literal::Null => Type::Null,
                Literal::Bool(_) => Type::Bool,
                Literal::Int(_) => Type::Int,
                Literal::Uint(_) => Type::Uint,
                Literal::Double(_) => Type::Double,
                Literal::String(_) => Type::String,
                Literal::Bytes(_) => Type::Bytes,
            },
            Kind::Ident(name) => self.ident(expr, name),
            Kind::Select(_) => self.select(expr),
            Kind::Call(call) => self.call(expr, call),
            Kind::List { elements, optional } => self.list(elements, optional),
            Kind::Map(_) => self.map(expr),
            Kind::Struct { .. } => self.structure(expr),
            Kind::Comprehension(comprehension) => self.comprehension(comprehension),
            Kind::Error => Type::Error,
        };
        self.set(expr, ty)
    }

    /// The meaning of a name; a leading dot asks for what it is anyway.
    fn lookup(&self, name: &str) -> Option<(Type, Reference)> {
        let name = name.strip_prefix('.').unwrap_or(name);
        if let Some((_, ty)) = self.scopes.iter().rev().find(|(known, _)| known == name) {
            return Some((ty.clone(), Reference::Local(name.to_owned())));
        }
        if let Some(decl) = self.env.variable_decl(name) {
            return Some((decl.to_type(), Reference::Variable(name.to_owned())));
        }
        let ty = self.env.object_type(name).or_else(|| {
            Some(match name {
                "bool" => Type::Bool,
                "bytes" => Type::Bytes,
                "double" => Type::Double,
                "google.protobuf.Duration" => Type::Duration,
                "google.protobuf.Timestamp" => Type::Timestamp,
                "int" => Type::Int,
                "list" => Type::list(Type::Dyn),
                "map" => Type::map(Type::Dyn, Type::Dyn),
                "null_type" => Type::Null,
                "optional_type" => Type::optional(Type::Dyn),
                "string" => Type::String,
                "type" => Type::Type(None),
                "uint" => Type::Uint,
                "net.IP" | "net.CIDR" => Type::Opaque(name.into(), [].into()),
                _ => return None,
            })
        })?;
        Some((Type::Type(Some(Arc::new(ty.clone()))), Reference::TypeName(ty)))
    }

    fn ident(&mut self, expr: &Expr, name: &str) -> Type {
        match self.lookup(name) {
            Some((ty, reference)) => {
                self.refer(expr, reference);
                ty
            }
            None => {
                self.undeclared(expr, name);
                Type::Error
            }
        }
    }

    fn undeclared(&mut self, expr: &Expr, name: &str) {
        self.report(expr.id, format!("undeclared reference to '{name}' (in container '')"));
    }

    fn select(&mut self, expr: &Expr) -> Type {
        let Kind::Select(select) = &expr.kind else { return Type::Error };
        if let Some(name) = expr.qualified_name()
            && let Some((ty, reference)) = self.lookup(&name)
        {
            self.refer(expr, reference);
            return ty;
        }
        let field = self.field(expr, &select.operand, &select.field, false);
        if select.test { Type::Bool } else { self.unifier.resolve(&field, false) }
    }

    /// The type of a field of an operand.
    fn field(&mut self, expr: &Expr, operand: &Expr, field: &str, optional: bool) -> Type {
        let operand = self.check(operand);
        let operand = self.unifier.resolve(&operand, false);
        let (target, inside) = match operand.unwrap_optional() {
            Some(inner) => (inner.clone(), true),
            None => (operand, false),
        };
        let ty = match &target {
            Type::Map(pair) => pair.1.clone(),
            Type::Object(name) => self.object_field(expr.id, name, field).unwrap_or(Type::Error),
            Type::Var(_) | Type::Param(_) => {
                self.unifier.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            other => {
                self.report(expr.id, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        };
        if inside || optional { Type::optional(ty) } else { ty }
    }

    fn object_field(&mut self, id: Id, object: &str, field: &str) -> Option<Type> {
        if self.env.object_type(object).is_none() {
            self.report(id, format!("unexpected failed resolution of '{object}'"));
            return None;
        }
        let found = self.env.field_type(object, field);
        if found.is_none() {
            self.report(id, format!("undefined field '{field}'"));
        }
        found
    }

    fn call(&mut self, expr: &Expr, call: &Call) -> Type {
        if call.function == op::OPT_SELECT && call.target.is_none() {
            return self.optional_select(expr, call);
        }
        let args: Vec<Type> = call.args.iter().map(|arg| self.check(arg)).collect();
        let Some(target) = &call.target else {
            let name = call.function.strip_prefix('.').unwrap_or(&call.function);
            return match self.function(name) {
                Some(function) => self.resolve(expr, function, false, false, args),
                None => {
                    self.undeclared(expr, &call.function);
                    Type::Error
                }
            };
        };
        if let Some(prefix) = target.qualified_name() {
            let prefix = prefix.strip_prefix('.').unwrap_or(&prefix);
            if let Some(function) = self.function(&format!("{prefix}.{}", call.function)) {
                return self.resolve(expr, function, true, false, args);
            }
        }
        let target = self.check(target);
        match self.function(&call.function) {
            Some(function) => {
                let args = std::iter::once(target).chain(args).collect();
                self.resolve(expr, function, false, true, args)
            }
            None => {
                self.undeclared(expr, &call.function);
                Type::Error
            }
        }
    }

    /// A function of which the environment has anything.
    fn function(&self, name: &str) -> Option<&'static Function> {
        let function = registry().get(name)?;
        function.overloads.iter().any(|overload| self.env.has(overload)).then_some(function)
    }

    fn optional_select(&mut self, expr: &Expr, call: &Call) -> Type {
        let [operand, field] = &call.args[..] else { return Type::Error };
        let Kind::Literal(Literal::String(name)) = &field.kind else {
            self.check(operand);
            self.report(field.id, "unsupported optional field selection".to_owned());
            return Type::Error;
        };
        let ty = self.field(expr, operand, name, true);
        self.set(field, Type::String);
        if let Some(function) = registry().get(op::OPT_SELECT) {
            let overloads = function.overloads.iter().collect();
            self.refer(expr, Reference::Function { qualified: false, name: function.name, overloads });
        }
        self.unifier.resolve(&ty, false)
    }

    fn resolve(
        &mut self,
        expr: &Expr,
        function: &'static Function,
        qualified: bool,
        member: bool,
        args: Vec<Type>,
    ) -> Type {
        let mut chosen: Vec<&'static Overload> = Vec::new();
        let mut result: Option<Type> = None;
        if matches!(function.name, op::AND | op::OR) {
            return self.logical(expr, function, args);
        }
        for overload in &function.overloads {
            if overload.member != member || !self.env.has(overload) {
                continue;
            }
            let params: Vec<(char, Type)> =
                overload.params.iter().map(|param| (*param, self.unifier.fresh())).collect();
            let wanted: Vec<Type> = overload.args.iter().map(|arg| instantiate(arg, &params)).collect();
            if !self.unifier.assignable_all(&args, &wanted) {
                continue;
            }
            chosen.push(overload);
            let found = self.unifier.resolve(&instantiate(&overload.result, &params), false);
            result = Some(match result {
                None => found,
                Some(result) if result.is_dyn() || result == found => result,
                Some(_) => Type::Dyn,
            });
        }
        let Some(result) = result else {
            let mut shown: Vec<String> = args.iter().map(|arg| self.unifier.resolve(arg, true).to_string()).collect();
            let target = if member && !shown.is_empty() { format!("{}.", shown.remove(0)) } else { String::new() };
            let message = format!(
                "found no matching overload for '{}' applied to '{target}({})'",
                function.name,
                shown.join(", ")
            );
            self.report(expr.id, message);
            return Type::Error;
        };
        self.refer(expr, Reference::Function { qualified, name: function.name, overloads: chosen });
        result
    }

    fn logical(&mut self, expr: &Expr, function: &'static Function, args: Vec<Type>) -> Type {
        let Kind::Call(call) = &expr.kind else { return Type::Error };
        let mut fine = true;
        for (arg, ty) in call.args.iter().zip(args) {
            if !self.unifier.assignable(&ty, &Type::Bool) {
                self.mismatch(arg.id, &Type::Bool, &ty);
                fine = false;
            }
        }
        let overloads = function.overloads.iter().collect();
        self.refer(expr, Reference::Function { qualified: false, name: function.name, overloads });
        if fine { Type::Bool } else { Type::Error }
    }

    fn mismatch(&mut self, id: Id, expected: &Type, found: &Type) {
        let (expected, found) = (self.unifier.resolve(expected, false), self.unifier.resolve(found, false));
        self.report(id, format!("expected type '{expected}' but found '{found}'"));
    }

    /// The type of an element that may be optional.
    fn element(&mut self, element: &Expr, optional: bool) -> Type {
        let ty = self.check(element);
        if !optional {
            return ty;
        }
        let resolved = self.unifier.resolve(&ty, false);
        match resolved.unwrap_optional() {
            Some(inner) => inner.clone(),
            None => {
                if !resolved.is_dyn() {
                    self.mismatch(element.id, &Type::optional(resolved.clone()), &resolved);
                }
                resolved
            }
        }
    }

    /// The type of elements of literals: whether they may differ is asked later.
    fn join(&mut self, before: Option<Type>, ty: Type) -> Type {
        match before {
            None => ty,
            Some(before) if self.unifier.assignable(&before, &ty) => most_general(&before, &ty),
            Some(_) => Type::Dyn,
        }
    }

    fn list(&mut self, elements: &[Expr], optional: &[bool]) -> Type {
        let mut item = None;
        for (element, optional) in elements.iter().zip(optional) {
            let ty = self.element(element, *optional);
            item = Some(self.join(item, ty));
        }
        Type::list(item.unwrap_or_else(|| self.unifier.fresh()))
    }

    fn map(&mut self, expr: &Expr) -> Type {
        let Kind::Map(entries) = &expr.kind else { return Type::Error };
        let (mut key, mut value) = (None, None);
        for entry in entries {
            let ty = self.check(&entry.key);
            key = Some(self.join(key, ty));
            let ty = self.element(&entry.value, entry.optional);
            value = Some(self.join(value, ty));
        }
        let key = key.unwrap_or_else(|| self.unifier.fresh());
        let value = value.unwrap_or_else(|| self.unifier.fresh());
        Type::map(key, value)
    }

    fn structure(&mut self, expr: &Expr) -> Type {
        let Kind::Struct { name, fields } = &expr.kind else { return Type::Error };
        let Some((ty, reference)) = self.lookup(name) else {
            self.undeclared(expr, name);
            return Type::Error;
        };
        let object = match (&ty, &reference) {
            (_, Reference::TypeName(Type::Object(object))) => object.clone(),
            (_, Reference::TypeName(other)) => {
                self.report(expr.id, format!("'{}' is not a message type", other.name()));
                return Type::Error;
            }
            _ => {
                self.report(expr.id, format!("'{ty}' is not a type"));
                return Type::Error;
            }
        };
        self.refer(expr, reference);
        for field in fields {
            let value = self.element(&field.value, field.optional);
            let Some(expected) = self.object_field(field.id, &object, &field.name) else { continue };
            if !self.unifier.assignable(&expected, &value) {
                let message = format!(
                    "expected type of field '{}' is '{expected}' but provided type is '{}'",
                    field.name,
                    self.unifier.resolve(&value, false)
                );
                self.report(field.id, message);
            }
        }
        Type::Object(object)
    }

    fn comprehension(&mut self, comprehension: &Comprehension) -> Type {
        let range = self.check(&comprehension.range);
        let accumulator = self.check(&comprehension.init);
        let range = self.unifier.resolve(&range, false);
        let two = comprehension.var2.is_some();
        let depth = self.scopes.len();
        self.scopes.push((comprehension.accumulator.clone(), accumulator.clone()));
        let (first, second) = match &range {
            Type::List(item) if two => (Type::Int, (**item).clone()),
            Type::List(item) => ((**item).clone(), Type::Error),
            Type::Map(pair) => (pair.0.clone(), pair.1.clone()),
            Type::Dyn | Type::Error | Type::Var(_) | Type::Param(_) => {
                self.unifier.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.report(comprehension.range.id, message);
                (Type::Error, Type::Error)
            }
        };
        self.scopes.push((comprehension.var.clone(), first));
        if let Some(var2) = &comprehension.var2 {
            self.scopes.push((var2.clone(), second));
        }
        let condition = self.check(&comprehension.condition);
        self.assert(&comprehension.condition, &Type::Bool, &condition);
        let step = self.check(&comprehension.step);
        self.assert(&comprehension.step, &accumulator, &step);
        self.scopes.truncate(depth + 1);
        let result = self.check(&comprehension.result);
        self.scopes.truncate(depth);
        self.unifier.resolve(&result, false)
    }

    fn assert(&mut self, expr: &Expr, expected: &Type, found: &Type) {
        if !self.unifier.assignable(expected, found) {
            self.mismatch(expr.id, expected, found);
        }
    }
}
