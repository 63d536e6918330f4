//! Evaluates the rules of a schema over an object, and over the one before an update.
//!
//! A value that an update leaves as it was may go on breaking a rule, so that rules can be added to what is stored already
//! (upstream's `CRDValidationRatcheting`); rules that compare with the old value always hold.

use std::borrow::Cow;
use std::sync::Arc;

use cel::{Activation, Budget, DeclType, EvalError, Program, Val};
use serde_json::Value;

use super::{Expressions, MAX_MESSAGE_BYTES, Rule};
use crate::crd::Structural;
use crate::crd::correlate::{Correlation, OldItems};
use crate::error::{FieldError, MAX_FIELD_ERRORS};
use crate::path::Path;

const NO_BUDGET: &str = "validation failed due to running out of cost budget, no further validation rules will be run";

/// What breaks the rules of a schema, with paths that start at the object.
pub(crate) fn evaluate(schema: &Structural, value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    if !schema.has_expressions {
        return Vec::new();
    }
    let root = old.map(|old| Correlation::new(schema, value, old));
    let mut walk = Walk { path: Path::default(), errors: Vec::new(), budget: Budget::default() };
    // A walk that ends early has said why.
    let _ = walk.visit(schema, value, old, root.as_ref(), None);
    walk.errors
}

/// What breaks the rules in a default that stands at `path`. Nothing is let through for being as it was.
pub(super) fn evaluate_default(
    schema: &Structural,
    default: &Value,
    old: Option<&Value>,
    path: &str,
) -> Vec<FieldError> {
    let mut walk = Walk { path: Path::new(path), errors: Vec::new(), budget: Budget::default() };
    let _ = walk.visit(schema, default, old, None, None);
    walk.errors
}

/// No further rules are evaluated.
struct Stop;

struct Walk {
    path: Path,
    errors: Vec<FieldError>,
    budget: Budget,
}

impl Walk {
    fn at(&self) -> String {
        if self.path.as_str().is_empty() { "<nil>".to_owned() } else { self.path.as_str().to_owned() }
    }

    /// `current` is the value's counterpart before the update; `parent` that of the nearest value above which has one.
    fn visit(
        &mut self,
        schema: &Structural,
        value: &Value,
        old: Option<&Value>,
        current: Option<&Correlation<'_>>,
        parent: Option<&Correlation<'_>>,
    ) -> Result<(), Stop> {
        if !schema.has_expressions || value.is_null() || self.errors.len() >= MAX_FIELD_ERRORS {
            return Ok(());
        }
        let old = old.filter(|old| !old.is_null());
        if let Some(expressions) = &schema.expressions {
            let unchanged = || current.or(parent).is_some_and(Correlation::is_unchanged);
            self.expressions(expressions, schema, value, old, &unchanged)?;
        }
        match value {
            Value::Array(list) => self.list(schema, list, old, current, parent),
            Value::Object(map) => self.object(schema, map, old, current, parent),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        }
    }

    fn list(
        &mut self,
        schema: &Structural,
        list: &[Value],
        old: Option<&Value>,
        current: Option<&Correlation<'_>>,
        parent: Option<&Correlation<'_>>,
    ) -> Result<(), Stop> {
        let Some(items) = schema.items.as_deref().filter(|items| items.has_expressions) else { return Ok(()) };
        let old_items = OldItems::new(schema, old);
        for (index, item) in list.iter().enumerate() {
            let old = old_items.get(item);
            let correlation = match (current, old) {
                (Some(_), Some(old)) => Some(Correlation::new(items, item, old)),
                _ => None,
            };
            let length = self.path.index(index);
            let above = current.or(parent);
            self.visit(items, item, old, correlation.as_ref(), above)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn object(
        &mut self,
        schema: &Structural,
        map: &serde_json::Map<String, Value>,
        old: Option<&Value>,
        current: Option<&Correlation<'_>>,
        parent: Option<&Correlation<'_>>,
    ) -> Result<(), Stop> {
        // The type of the root is that of both objects, so it cannot have changed.
        let is_root = parent.is_none();
        for (name, value) in map {
            let Some((child, named)) = schema.child(name) else { continue };
            if !child.has_expressions {
                continue;
            }
            let old = old.and_then(|old| old.get(name));
            let fixed = is_root && matches!(name.as_str(), "apiVersion" | "kind");
            let correlation = match (current, old) {
                (Some(_), Some(old)) if !fixed => Some(Correlation::new(child, value, old)),
                _ => None,
            };
            let above = if fixed { None } else { current.or(parent) };
            let length = self.path.step(name, named);
            self.visit(child, value, old, correlation.as_ref(), above)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn expressions(
        &mut self,
        expressions: &Expressions,
        schema: &Structural,
        value: &Value,
        old: Option<&Value>,
        unchanged: &dyn Fn() -> bool,
    ) -> Result<(), Stop> {
        // Definitions whose rules do not compile are refused.
        let Some(decl) = &expressions.decl else { return Ok(()) };
        let ty = schema.ty.map_or("", crate::crd::Type::name);
        if self.budget.remaining() == 0 {
            self.errors.push(FieldError::invalid(self.at(), ty.into(), NO_BUDGET));
            return Err(Stop);
        }
        for rule in &expressions.rules {
            let Some(program) = &rule.program else { continue };
            let optional = rule.optional_old_self == Some(true);
            if rule.uses_old() && old.is_none() && !optional {
                // Nothing to compare with.
                continue;
            }
            let variables = Variables { value, old, decl, optional };
            self.rule(rule, program, &variables, ty, unchanged)?;
        }
        Ok(())
    }

    fn rule(
        &mut self,
        rule: &Rule,
        program: &Program,
        variables: &Variables<'_>,
        ty: &str,
        unchanged: &dyn Fn() -> bool,
    ) -> Result<(), Stop> {
        let result = program.eval(variables, &mut self.budget);
        let invalid = |walk: &mut Self, detail: String| {
            let at = walk.at();
            walk.errors.push(FieldError::invalid(at, ty.into(), detail));
        };
        if self.budget.is_exhausted() {
            invalid(self, NO_BUDGET.to_owned());
            return Err(Stop);
        }
        match result {
            Ok(Val::Bool(true)) => Ok(()),
            Ok(_) => self.failed(rule, variables, ty, unchanged),
            Err(error @ EvalError::NoSuchOverload) => {
                let detail = format!(
                    "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                    rule.shown()
                );
                invalid(self, detail);
                Ok(())
            }
            Err(error @ EvalError::CostLimit) => {
                let detail = format!(
                    "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                    rule.shown()
                );
                invalid(self, detail);
                Err(Stop)
            }
            Err(error) => {
                invalid(self, format!("{error} evaluating rule: {}", rule.shown()));
                Ok(())
            }
        }
    }

    fn failed(
        &mut self,
        rule: &Rule,
        variables: &Variables<'_>,
        ty: &str,
        unchanged: &dyn Fn() -> bool,
    ) -> Result<(), Stop> {
        if !rule.uses_old() && unchanged() {
            return Ok(());
        }
        let mut at = self.at();
        if !rule.normalised_path.is_empty() {
            at = match self.path.as_str().is_empty() {
                true => rule.normalised_path.clone(),
                false => format!("{}.{}", self.path.as_str(), rule.normalised_path),
            };
        }
        let (message, stop) = match &rule.message_program {
            None => (Cow::Owned(rule.failure()), false),
            Some(program) => self.message(rule, program, variables),
        };
        self.errors.push(if stop {
            FieldError::invalid(at, ty.into(), message)
        } else {
            match rule.reason.as_deref() {
                Some("FieldValueForbidden") => FieldError::forbidden(at, message),
                Some("FieldValueRequired") => FieldError::required(at, message),
                Some("FieldValueDuplicate") => FieldError::duplicate(at, ty.into()),
                _ => FieldError::invalid(at, ty.into(), message),
            }
        });
        if stop { Err(Stop) } else { Ok(()) }
    }

    /// The message that an expression gives, or that of the rule when it gives none; and whether that was the last rule.
    fn message<'m>(&mut self, rule: &Rule, program: &Program, variables: &Variables<'_>) -> (Cow<'m, str>, bool) {
        let result = program.eval(variables, &mut self.budget);
        if self.budget.is_exhausted() {
            let detail = "messageExpression evaluation failed due to running out of cost budget, no further validation rules will be run";
            return (detail.into(), true);
        }
        match result {
            Err(EvalError::CostLimit) => {
                let detail = format!(
                    "no further validation rules will be run due to call cost exceeds limit for messageExpression: {:?}",
                    rule.message_expression
                );
                (detail.into(), true)
            }
            Ok(Val::String(text)) => {
                let text = text.as_str().trim();
                let usable = !text.is_empty() && text.len() <= MAX_MESSAGE_BYTES && !text.contains('\n');
                (if usable { text.to_owned() } else { rule.failure() }.into(), false)
            }
            Ok(_) | Err(_) => (rule.failure().into(), false),
        }
    }
}

/// `self` and `oldSelf`.
struct Variables<'a> {
    value: &'a Value,
    old: Option<&'a Value>,
    decl: &'a Arc<DeclType>,
    /// Whether `oldSelf` is an optional value.
    optional: bool,
}

impl<'a> Activation<'a> for Variables<'a> {
    fn resolve(&self, name: &str) -> Option<Result<Val<'a>, EvalError>> {
        match (name, self.old) {
            ("self", _) => Some(Val::typed(self.value, self.decl)),
            ("oldSelf", Some(old)) => {
                let old = Val::typed(old, self.decl);
                Some(if self.optional { old.map(|old| Val::Optional(Some(Arc::new(old)))) } else { old })
            }
            ("oldSelf", None) if self.optional => Some(Ok(Val::Optional(None))),
            _ => None,
        }
    }
}
