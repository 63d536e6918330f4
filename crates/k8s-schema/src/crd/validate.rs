//! Validates a custom resource. Messages and their order follow kube-openapi's validator, which upstream uses.

use serde_json::{Number, Value};

use super::correlate::{Correlation, OldItems};
use super::{Rules, Structural, Type, embedded, expressions, format, lists};
use crate::error::{FieldError, FieldErrorKind, MAX_FIELD_ERRORS};
use crate::path::Path;

/// Where upstream has a message without a path.
const NO_PATH: &str = "<nil>";

/// What the schema says about a value, but for its rules in CEL.
pub(crate) fn validate(schema: &Structural, value: &Value) -> Vec<FieldError> {
    let mut result = Outcome::default();
    visit(schema, value, None, &mut Path::default(), &mut result);
    let mut errors = result.errors;
    embedded::validate(schema, value, &mut errors);
    lists::validate(schema, value, &mut errors);
    errors.truncate(MAX_FIELD_ERRORS);
    errors
}

/// All that the schema says about a resource, created or in the place of `old`.
pub(crate) fn validate_update(schema: &Structural, value: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut result = Outcome::default();
    let correlation = old.map(|old| Correlation::new(schema, value, old));
    visit(schema, value, correlation.as_ref(), &mut Path::default(), &mut result);
    let mut errors = result.errors;
    embedded::validate(schema, value, &mut errors);
    complete(schema, value, old, errors)
}

/// All that the schema says about the status of a resource that replaces `old`. The rest of it is as it was, so only the schema of
/// `status` is looked at, as if that were all there is; rules in CEL see the whole.
pub(crate) fn validate_status(schema: &Structural, value: &Value, old: &Value) -> Vec<FieldError> {
    let mut result = Outcome::default();
    if let (Some(below), Some(status)) = (schema.properties.get("status"), value.get("status")) {
        let correlation = old.get("status").map(|old| Correlation::new(below, status, old));
        visit(below, status, correlation.as_ref(), &mut Path::default(), &mut result);
    }
    let errors = result.errors.into_iter().map(|mut error| {
        error.path = match error.path.as_str() {
            NO_PATH => "status".to_owned(),
            below => format!("status.{below}"),
        };
        error
    });
    complete(schema, value, Some(old), errors.collect())
}

/// What there is to say after what the schemas of the values have said.
fn complete(schema: &Structural, value: &Value, old: Option<&Value>, mut errors: Vec<FieldError>) -> Vec<FieldError> {
    let mut duplicates = Vec::new();
    lists::validate(schema, value, &mut duplicates);
    // Lists that were wrong before may stay wrong, even where they change.
    let stood = || {
        let mut before = Vec::new();
        old.into_iter().for_each(|old| lists::validate(schema, old, &mut before));
        !before.is_empty()
    };
    if !duplicates.is_empty() && !stood() {
        errors.append(&mut duplicates);
    }
    if schema.has_expressions {
        if errors.iter().any(|error| is_blocking(error.kind)) {
            let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            errors.push(FieldError::invalid(NO_PATH, Value::Null, detail));
        } else {
            errors.extend(expressions::evaluate(schema, value, old));
        }
    }
    errors.truncate(MAX_FIELD_ERRORS);
    errors
}

/// Errors after which rules in CEL would meet values that they cannot expect.
fn is_blocking(kind: FieldErrorKind) -> bool {
    match kind {
        FieldErrorKind::NotSupported
        | FieldErrorKind::Required
        | FieldErrorKind::TooLong
        | FieldErrorKind::TooMany
        | FieldErrorKind::TypeInvalid => true,
        FieldErrorKind::Duplicate | FieldErrorKind::Forbidden | FieldErrorKind::Internal | FieldErrorKind::Invalid => {
            false
        }
    }
}

/// Errors, and how much matched: of alternatives that all fail, the one that matched most explains best.
#[derive(Default)]
struct Outcome {
    errors: Vec<FieldError>,
    matched: u32,
}

impl Outcome {
    fn push(&mut self, error: FieldError) {
        if self.errors.len() < MAX_FIELD_ERRORS {
            self.errors.push(error);
        }
    }

    fn merge(&mut self, other: Outcome) {
        self.matched += other.matched;
        let room = MAX_FIELD_ERRORS.saturating_sub(self.errors.len());
        self.errors.extend(other.errors.into_iter().take(room));
    }
}

/// A value that an update leaves as it was may go on being wrong.
fn visit(
    schema: &Structural,
    value: &Value,
    correlation: Option<&Correlation<'_>>,
    path: &mut Path,
    result: &mut Outcome,
) {
    let before = result.errors.len();
    judge(schema, value, correlation, path, result);
    if result.errors.len() > before && correlation.is_some_and(Correlation::is_unchanged) {
        result.errors.truncate(before);
    }
}

fn judge(
    schema: &Structural,
    value: &Value,
    correlation: Option<&Correlation<'_>>,
    path: &mut Path,
    result: &mut Outcome,
) {
    let before = result.errors.len();
    check_type(schema, value, path, result);
    let rules = schema.rules.as_deref();
    if value.is_null() {
        if let Some(rules) = rules {
            check_enum(rules, value, path, result);
        }
        return;
    }
    if result.errors.len() == before {
        result.matched += 1;
    }
    if let Some(rules) = rules {
        alternatives(rules, value, path, result);
        match value {
            Value::String(text) => check_string(rules, text, path, result),
            Value::Number(number) => check_number(schema.ty, rules, number, path, result),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {}
        }
    }
    if let Value::Array(list) = value {
        check_list(schema, list, correlation, path, result);
    }
    if let Some(rules) = rules {
        check_enum(rules, value, path, result);
    }
    if let Value::Object(map) = value {
        check_object(schema, map, correlation, path, result);
    }
    result.matched += 1;
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check_type(schema: &Structural, value: &Value, path: &Path, result: &mut Outcome) {
    let expected = match (schema.int_or_string, schema.ty) {
        (true, _) => "integer,string",
        (false, Some(ty)) => ty.name(),
        (false, None) => return,
    };
    let fits = match value {
        Value::Null => schema.nullable,
        Value::Number(number) => match schema.ty {
            _ if schema.int_or_string => is_integral(number),
            Some(Type::Integer) => is_integral(number),
            Some(Type::Number) => true,
            _ => false,
        },
        Value::String(_) if schema.int_or_string => true,
        other => type_name(other) == expected,
    };
    if !fits {
        let got = type_name(value);
        let detail = format!("{} in body must be of type {expected}: {got:?}", path.as_str());
        result.push(FieldError::type_invalid(at(path), got.into(), detail));
    }
}

/// The path of an error; upstream's root has none.
fn at(path: &Path) -> String {
    if path.as_str().is_empty() { NO_PATH.to_owned() } else { path.as_str().to_owned() }
}

fn is_integral(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|value| value.fract() == 0.0)
}

fn body(path: &Path, text: &str) -> String {
    format!("{} in body {text}", path.as_str())
}

fn alternatives(rules: &Rules, value: &Value, path: &mut Path, result: &mut Outcome) {
    let mut attempt = |schema: &Structural| {
        let mut outcome = Outcome::default();
        visit(schema, value, None, path, &mut outcome);
        outcome
    };
    let mut messages = Vec::new();
    let mut found = Vec::new();
    if !rules.any_of.is_empty() {
        let mut best: Option<Outcome> = None;
        let mut succeeded = false;
        for schema in &rules.any_of {
            let outcome = attempt(schema);
            if outcome.errors.is_empty() {
                succeeded = true;
                best = None;
                break;
            }
            if best.as_ref().is_none_or(|best| outcome.matched > best.matched) {
                best = Some(outcome);
            }
        }
        if !succeeded {
            messages.push("must validate at least one schema (anyOf)".to_owned());
        }
        found.push((std::mem::take(&mut messages), best));
    }
    if !rules.one_of.is_empty() {
        let mut best: Option<Outcome> = None;
        let mut valid = 0;
        for schema in &rules.one_of {
            let outcome = attempt(schema);
            if outcome.errors.is_empty() {
                valid += 1;
                best = None;
            } else if valid == 0 && best.as_ref().is_none_or(|best| outcome.matched > best.matched) {
                best = Some(outcome);
            }
        }
        match valid {
            1 => best = None,
            0 => messages.push("must validate one and only one schema (oneOf). Found none valid".to_owned()),
            _ => messages
                .push(format!("must validate one and only one schema (oneOf). Found {valid} valid alternatives")),
        }
        found.push((std::mem::take(&mut messages), best));
    }
    if !rules.all_of.is_empty() {
        let mut all = Outcome::default();
        let mut valid = 0;
        for schema in &rules.all_of {
            let outcome = attempt(schema);
            valid += usize::from(outcome.errors.is_empty());
            all.merge(outcome);
        }
        if valid != rules.all_of.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            messages.push(format!("must validate all the schemas (allOf){none}"));
        }
        // Upstream puts the failures first here.
        found.push((Vec::new(), Some(all)));
        found.push((std::mem::take(&mut messages), None));
    }
    if let Some(not) = &rules.not
        && attempt(not).errors.is_empty()
    {
        found.push((vec!["must not validate the schema (not)".to_owned()], None));
    }
    for (messages, outcome) in found {
        for message in messages {
            let detail = format!("{:?} {message}", path.as_str());
            result.push(FieldError::invalid(NO_PATH, "".into(), detail));
        }
        if let Some(outcome) = outcome {
            result.merge(outcome);
        }
    }
}

/// Upstream reports the first of the three.
fn check_string(rules: &Rules, text: &str, path: &Path, result: &mut Outcome) {
    let length = || text.chars().count() as u64;
    if let Some(max) = rules.max_length.filter(|max| length() > *max) {
        result.push(FieldError::too_long(at(path), max));
    } else if let Some(min) = rules.min_length.filter(|min| length() < *min) {
        let detail = body(path, &format!("should be at least {min} chars long"));
        result.push(FieldError::invalid(at(path), text.into(), detail));
    } else if let Some(pattern) = rules.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
        let detail = body(path, &format!("should match '{}'", pattern.source()));
        result.push(FieldError::invalid(at(path), text.into(), detail));
    }
    if let Some(name) = &rules.format
        && format::check(name, text) == Some(false)
    {
        let detail = body(path, &format!("must be of type {name}: {text:?}"));
        result.push(FieldError::type_invalid(at(path), text.into(), detail));
    }
}

fn check_number(ty: Option<Type>, rules: &Rules, number: &Number, path: &Path, result: &mut Outcome) {
    let value = number.as_f64().unwrap_or_default();
    if ty == Some(Type::Integer) {
        let format = rules.format.as_deref().filter(|name| matches!(*name, "int32" | "int64"));
        let fits = match (format, number.as_i64()) {
            (Some("int32"), Some(value)) => i32::try_from(value).is_ok(),
            (_, Some(_)) => true,
            (Some("int32"), None) => (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&value),
            // 2^63 itself is one more than the largest int64.
            (_, None) => (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value),
        };
        if !fits {
            let which = format.map_or_else(|| "(default format)".to_owned(), |name| format!("with format {name}"));
            let detail = format!("Checked value must be of type integer {which} in {}", path.as_str());
            result.push(FieldError::invalid(NO_PATH, "".into(), detail));
        }
    }
    let mut fail = |text: String| {
        result.push(FieldError::invalid(at(path), Value::Number(number.clone()), body(path, &text)));
    };
    if let Some(factor) = rules.multiple_of.filter(|factor| !is_multiple(number, *factor)) {
        fail(format!("should be a multiple of {factor}"));
    }
    match (rules.minimum, rules.exclusive_minimum) {
        (Some(min), true) if value <= min => fail(format!("should be greater than {min}")),
        (Some(min), false) if value < min => fail(format!("should be greater than or equal to {min}")),
        _ => {}
    }
    match (rules.maximum, rules.exclusive_maximum) {
        (Some(max), true) if value >= max => fail(format!("should be less than {max}")),
        (Some(max), false) if value > max => fail(format!("should be less than or equal to {max}")),
        _ => {}
    }
}

/// A factor that is not positive matches nothing, as upstream's does not.
fn is_multiple(number: &Number, factor: f64) -> bool {
    if factor <= 0.0 {
        return false;
    }
    if let (Some(value), true) = (number.as_i64(), factor.fract() == 0.0 && factor < 9e18) {
        return value % (factor as i64) == 0;
    }
    let value = number.as_f64().unwrap_or_default();
    let quotient = if factor < 1.0 { 1.0 / factor * value } else { value / factor };
    let nearest = quotient.round();
    (quotient - nearest).abs() <= 1e-9 * nearest.abs().max(1.0)
}

fn check_list(
    schema: &Structural,
    list: &[Value],
    correlation: Option<&Correlation<'_>>,
    path: &mut Path,
    result: &mut Outcome,
) {
    if let Some(items) = &schema.items {
        let old_items = OldItems::new(schema, correlation.map(Correlation::old));
        for (index, item) in list.iter().enumerate() {
            if result.errors.len() >= MAX_FIELD_ERRORS {
                return;
            }
            let length = path.index(index);
            let correlation = old_items.get(item).map(|old| Correlation::new(items, item, old));
            visit(items, item, correlation.as_ref(), path, result);
            path.truncate(length);
        }
    }
    let Some(rules) = &schema.rules else { return };
    let size = list.len() as u64;
    if let Some(min) = rules.min_items.filter(|min| size < *min) {
        let detail = body(path, &format!("should have at least {min} items"));
        result.push(FieldError::invalid(at(path), size.into(), detail));
    }
    if let Some(max) = rules.max_items.filter(|max| size > *max) {
        result.push(FieldError::too_many(at(path), size, max));
    }
}

fn check_enum(rules: &Rules, value: &Value, path: &Path, result: &mut Outcome) {
    if rules.enumeration.is_empty() || rules.enumeration.iter().any(|allowed| equal(allowed, value)) {
        return;
    }
    let supported: Vec<String> = rules
        .enumeration
        .iter()
        .map(|allowed| allowed.as_str().map_or_else(|| allowed.to_string(), str::to_owned))
        .collect();
    let supported: Vec<&str> = supported.iter().map(String::as_str).collect();
    result.push(FieldError::not_supported(at(path), value.clone(), &supported));
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64() && (a.is_f64() || b.is_f64()),
        _ => a == b,
    }
}

fn check_object(
    schema: &Structural,
    map: &serde_json::Map<String, Value>,
    correlation: Option<&Correlation<'_>>,
    path: &mut Path,
    result: &mut Outcome,
) {
    let rules = schema.rules.as_deref();
    let size = map.len() as u64;
    if let Some(min) = rules.and_then(|rules| rules.min_properties).filter(|min| size < *min) {
        let detail = body(path, &format!("should have at least {min} properties"));
        result.push(FieldError::invalid(at(path), size.into(), detail));
    }
    if let Some(max) = rules.and_then(|rules| rules.max_properties).filter(|max| size > *max) {
        result.push(FieldError::too_many(at(path), size, max));
    }
    for (name, below) in map {
        if result.errors.len() >= MAX_FIELD_ERRORS {
            return;
        }
        let Some((child, _)) = schema.child(name) else { continue };
        // The type of a resource is that of both objects, so it cannot have changed.
        let fixed = path.as_str().is_empty() && matches!(name.as_str(), "apiVersion" | "kind");
        let old = correlation.filter(|_| !fixed).and_then(|correlation| correlation.old().get(name));
        let correlation = old.map(|old| Correlation::new(child, below, old));
        let length = path.field(name);
        visit(child, below, correlation.as_ref(), path, result);
        path.truncate(length);
    }
    for name in rules.map(|rules| rules.required.as_slice()).unwrap_or_default() {
        if !map.contains_key(name) {
            result.push(FieldError::required(path.child(name), ""));
        }
    }
}
