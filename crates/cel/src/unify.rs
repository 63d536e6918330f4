//! Which types may stand where which are expected, and what that says about types that are still to be found out.

use std::sync::Arc;

use crate::types::Type;

/// What is known of the types that are still to be found out, with a log so that an attempt can be taken back.
#[derive(Debug, Default)]
pub(crate) struct Unifier {
    found: Vec<Option<Type>>,
    log: Vec<(u32, Option<Type>)>,
}

impl Unifier {
    pub(crate) fn fresh(&mut self) -> Type {
        self.found.push(None);
        Type::Var(self.found.len() as u32 - 1)
    }

    fn get(&self, ty: &Type) -> Option<&Type> {
        match ty {
            Type::Var(index) => self.found.get(*index as usize)?.as_ref(),
            _ => None,
        }
    }

    fn set(&mut self, ty: &Type, to: Type) {
        if let Type::Var(index) = ty {
            let old = self.found[*index as usize].replace(to);
            self.log.push((*index, old));
        }
    }

    /// Whether all of `from` may stand for all of `to`. What that says is kept when they may.
    pub(crate) fn assignable_all(&mut self, from: &[Type], to: &[Type]) -> bool {
        let start = self.log.len();
        let fits = from.len() == to.len() && from.iter().zip(to).all(|(a, b)| self.fits(a, b));
        if !fits {
            for (index, old) in self.log.drain(start..).rev() {
                self.found[index as usize] = old;
            }
        }
        fits
    }

    pub(crate) fn assignable(&mut self, from: &Type, to: &Type) -> bool {
        self.assignable_all(std::slice::from_ref(from), std::slice::from_ref(to))
    }

    fn fits(&mut self, a: &Type, b: &Type) -> bool {
        if b.is_param() {
            let (valid, known) = self.substitutes(a, b);
            if valid {
                return true;
            }
            if known {
                return false;
            }
        }
        if a.is_param() {
            return self.substitutes(b, a).0;
        }
        match (a, b) {
            (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error) => true,
            (Type::Null, other) | (other, Type::Null) => {
                matches!(other, Type::Null | Type::Opaque(..) | Type::Object(_) | Type::Duration | Type::Timestamp)
            }
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(a), Type::List(b)) => self.fits(a, b),
            (Type::Map(a), Type::Map(b)) => self.fits(&a.0, &b.0) && self.fits(&a.1, &b.1),
            (Type::Opaque(name, a), Type::Opaque(other, b)) => {
                name == other && a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| self.fits(a, b))
            }
            (a, b) => a == b,
        }
    }

    /// Whether `a` may be what `b`, a type to be found out, is; and whether something was known of `b`.
    fn substitutes(&mut self, a: &Type, b: &Type) -> (bool, bool) {
        if a == b {
            return (true, true);
        }
        if let Some(known) = self.get(b).cloned() {
            if *a == known {
                return (true, true);
            }
            if self.fits(a, &known) {
                let general = most_general(a, &known);
                if self.absent(b, &general) {
                    self.set(b, general);
                }
                return (true, true);
            }
            return (false, true);
        }
        if self.absent(b, a) {
            self.set(b, a.clone());
            return (true, false);
        }
        (false, false)
    }

    /// Whether `ty` occurs nowhere in `within`.
    fn absent(&self, ty: &Type, within: &Type) -> bool {
        if ty == within {
            return false;
        }
        match within {
            Type::Var(_) => self.get(within).is_none_or(|known| self.absent(ty, known)),
            Type::List(item) | Type::Type(Some(item)) => self.absent(ty, item),
            Type::Map(pair) => self.absent(ty, &pair.0) && self.absent(ty, &pair.1),
            Type::Opaque(_, params) => params.iter().all(|param| self.absent(ty, param)),
            _ => true,
        }
    }

    /// With everything that is known put in; what is not known becomes `dyn` if asked.
    pub(crate) fn resolve(&self, ty: &Type, unknown_to_dyn: bool) -> Type {
        if let Some(known) = self.get(ty) {
            return self.resolve(known, unknown_to_dyn);
        }
        match ty {
            Type::Var(_) | Type::Param(_) if unknown_to_dyn => Type::Dyn,
            Type::List(item) => Type::list(self.resolve(item, unknown_to_dyn)),
            Type::Map(pair) => Type::map(self.resolve(&pair.0, unknown_to_dyn), self.resolve(&pair.1, unknown_to_dyn)),
            Type::Opaque(name, params) if !params.is_empty() => {
                let params = params.iter().map(|param| self.resolve(param, unknown_to_dyn)).collect();
                Type::Opaque(name.clone(), params)
            }
            Type::Type(Some(of)) => Type::Type(Some(Arc::new(self.resolve(of, unknown_to_dyn)))),
            other => other.clone(),
        }
    }
}

/// Of two types that fit, the one that says less.
pub(crate) fn most_general(a: &Type, b: &Type) -> Type {
    if less_specific(a, b) { a.clone() } else { b.clone() }
}

fn less_specific(a: &Type, b: &Type) -> bool {
    if a.is_dyn() || a.is_param() {
        return true;
    }
    if b.is_dyn() || b.is_param() {
        return false;
    }
    match (a, b) {
        (Type::Opaque(name, a), Type::Opaque(other, b)) => {
            name == other && a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| less_specific(a, b))
        }
        (Type::List(a), Type::List(b)) => less_specific(a, b),
        (Type::Map(a), Type::Map(b)) => less_specific(&a.0, &b.0) && less_specific(&a.1, &b.1),
        (Type::Type(_), Type::Type(_)) => true,
        (a, b) => a == b,
    }
}

/// A declared type with its parameters replaced.
pub(crate) fn instantiate(ty: &Type, params: &[(char, Type)]) -> Type {
    match ty {
        Type::Param(name) => {
            params.iter().find(|(param, _)| param == name).map_or_else(|| ty.clone(), |(_, found)| found.clone())
        }
        Type::List(item) => Type::list(instantiate(item, params)),
        Type::Map(pair) => Type::map(instantiate(&pair.0, params), instantiate(&pair.1, params)),
        Type::Opaque(name, inner) if !inner.is_empty() => {
            Type::Opaque(name.clone(), inner.iter().map(|inner| instantiate(inner, params)).collect())
        }
        Type::Type(Some(of)) => Type::Type(Some(Arc::new(instantiate(of, params)))),
        other => other.clone(),
    }
}
