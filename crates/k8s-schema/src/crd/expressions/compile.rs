//! Compiles the rules of a schema, and refuses those that are ill-typed or that could cost too much.

use std::collections::BTreeSet;
use std::sync::Arc;

use cel::{CompileError, CostRange, DeclType, EVERY_MINOR, Env, MAX_REQUEST_BYTES, Program, Type as CelType};
use serde_json::Value;

use super::{Expressions, MAX_RULE_COST, MAX_RULES, MAX_SCHEMA_COST, Rule, declare, evaluate, field_path};
use crate::crd::{Additional, ListType, Structural, Type};
use crate::error::FieldError;
use crate::path::Path;

/// Which functions new rules may use, and which texts are no new ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The newest minor whose functions a new rule may use; none is newer than all.
    pub(crate) minor: Option<u32>,
    /// Rules and message expressions that are stored already.
    pub(crate) stored: BTreeSet<String>,
    /// The schema is stored as it is: rules that cost too much by themselves stay allowed.
    pub(crate) unchanged: bool,
}

impl Known {
    /// Functions up to a minor, and all for what stands in one of the `openAPIV3Schema`s that are stored.
    pub(crate) fn new(minor: u32, stored: &[&Value], unchanged: bool) -> Self {
        let mut texts = BTreeSet::new();
        stored.iter().for_each(|schema| collect(schema, &mut texts));
        Self { minor: Some(minor), stored: texts, unchanged }
    }
}

fn collect(schema: &Value, texts: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            for (name, below) in map {
                if name == "x-kubernetes-validations" {
                    for rule in below.as_array().into_iter().flatten() {
                        let named =
                            ["rule", "messageExpression"].into_iter().filter_map(|name| rule.get(name)?.as_str());
                        texts.extend(named.map(str::to_owned));
                    }
                } else {
                    collect(below, texts);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|below| collect(below, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Compiles all rules below a schema.
pub(crate) fn compile(root: &mut Structural, path: &str, known: &Known) -> Vec<FieldError> {
    let mut compiler = Compiler {
        known,
        path: Path::new(path),
        errors: Vec::new(),
        rules: 0,
        total: 0,
        expensive: Vec::new(),
        uncorrelatable: None,
    };
    compiler.node(root, true, None, Some(1));
    if compiler.total > MAX_SCHEMA_COST {
        for (_, path) in std::mem::take(&mut compiler.expensive) {
            let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            compiler.errors.push(FieldError::forbidden(path, detail));
        }
        let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        let detail = too_expensive(name, compiler.total, MAX_SCHEMA_COST);
        compiler.errors.push(FieldError::forbidden(path, detail));
    }
    if compiler.errors.is_empty() {
        compiler.defaults(root);
    }
    compiler.errors
}

struct Compiler<'k> {
    known: &'k Known,
    path: Path,
    errors: Vec<FieldError>,
    rules: usize,
    total: u64,
    /// The four most expensive rules, those that alone take a hundredth of what all may.
    expensive: Vec<(u64, String)>,
    /// Where values stop having a counterpart in the object before an update.
    uncorrelatable: Option<String>,
}

impl Compiler<'_> {
    /// `cardinality` is how often the node may occur in one object, if anything limits it.
    fn node(
        &mut self,
        node: &mut Structural,
        resource: bool,
        decl: Option<Arc<DeclType>>,
        cardinality: Option<u64>,
    ) -> bool {
        let own = node.expressions.is_some();
        let decl = if own { decl.or_else(|| declare::declare(node, resource, "selfType")) } else { decl };
        let below = self.children(node, decl.as_deref(), cardinality);
        if let Some(mut expressions) = node.expressions.take() {
            self.expressions(&mut expressions, node, decl, cardinality);
            node.expressions = Some(expressions);
        }
        node.has_expressions = own || below;
        node.has_expressions
    }

    /// Whether there are rules below the node.
    fn children(&mut self, node: &mut Structural, decl: Option<&DeclType>, cardinality: Option<u64>) -> bool {
        let mut found = false;
        let times = |factor: Option<u64>| Some(cardinality?.saturating_mul(factor?));
        let mut properties = std::mem::take(&mut node.properties);
        for (name, property) in &mut properties {
            let length = self.path.field("properties");
            self.path.key(name);
            let decl = decl.and_then(|decl| declare::property(decl, name));
            let resource = property.embedded_resource;
            found |= self.node(property, resource, decl, cardinality);
            self.path.truncate(length);
        }
        node.properties = properties;
        let element = decl.and_then(declare::element);
        let rules = node.rules.as_deref();
        if let Additional::Schema(values) = &mut node.additional {
            let length = self.path.field("additionalProperties");
            let most = rules.and_then(|rules| rules.max_properties);
            let most = if node.ty == Some(Type::Object) { most } else { Some(1) };
            let resource = values.embedded_resource;
            found |= self.node(values, resource, element.clone(), times(most));
            self.path.truncate(length);
        }
        if let Some(items) = &mut node.items {
            let outer = self.uncorrelatable.clone();
            if node.list_type != Some(ListType::Map) && outer.is_none() {
                self.uncorrelatable = Some(self.path.as_str().to_owned());
            }
            let length = self.path.field("items");
            let most = rules.and_then(|rules| rules.max_items);
            let most = if node.ty == Some(Type::Array) { most } else { Some(1) };
            let resource = items.embedded_resource;
            found |= self.node(items, resource, element, times(most));
            self.path.truncate(length);
            self.uncorrelatable = outer;
        }
        found
    }

    fn expressions(
        &mut self,
        expressions: &mut Expressions,
        node: &Structural,
        decl: Option<Arc<DeclType>>,
        cardinality: Option<u64>,
    ) {
        let mut at = self.path.clone();
        at.field("x-kubernetes-validations");
        let Some(decl) = decl else {
            let detail = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
            self.errors.push(FieldError::internal(at.as_str(), detail));
            return;
        };
        self.rules += expressions.rules.len();
        if self.rules > MAX_RULES {
            let detail = format!("schemas with more than {MAX_RULES} rules are not supported by Minato");
            self.errors.push(FieldError::forbidden(at.as_str(), detail));
            return;
        }
        // Without a limit above, there are as many as fit into a request.
        let cardinality = cardinality.unwrap_or(MAX_REQUEST_BYTES / (decl.min_bytes + 1));
        for (index, rule) in expressions.rules.iter_mut().enumerate() {
            let length = at.index(index);
            if !rule.field_path.is_empty() {
                rule.normalised_path = field_path::normalise(&rule.field_path, node).unwrap_or_default();
            }
            self.rule(rule, &decl, cardinality, &at);
            at.truncate(length);
        }
        expressions.decl = Some(decl);
    }

    fn rule(&mut self, rule: &mut Rule, decl: &Arc<DeclType>, cardinality: u64, at: &Path) {
        let program = match self.program(&rule.rule, rule.optional_old_self, decl) {
            Ok(program) if *program.result_type() == CelType::Bool => program,
            Ok(_) => return self.refuse(rule, at.child("rule"), "cel expression must evaluate to a bool"),
            Err(CompileError::Issues(issues)) => {
                return self.refuse(rule, at.child("rule"), &format!("compilation failed: {issues}"));
            }
            Err(CompileError::Constant(problem)) => {
                return self.refuse(rule, at.child("rule"), &format!("program instantiation failed: {problem}"));
            }
        };
        let CostRange { max, .. } = program.cost_estimate();
        self.cost("estimated rule cost", at.child("rule"), max.saturating_mul(cardinality));
        if program.uses("oldSelf") {
            if let Some(place) = &self.uncorrelatable {
                let detail =
                    format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {place}");
                let error = FieldError::invalid(at.child("rule"), rule.rule.as_str().into(), detail);
                self.errors.push(error);
            }
        } else if let Some(optional) = rule.optional_old_self {
            let detail = "may not be set if oldSelf is not used in rule";
            self.errors.push(FieldError::invalid(at.child("optionalOldSelf"), optional.into(), detail));
        }
        rule.program = Some(program);
        if !rule.message_expression.is_empty() {
            self.message(rule, decl, at);
        }
    }

    fn message(&mut self, rule: &mut Rule, decl: &Arc<DeclType>, at: &Path) {
        let place = at.child("messageExpression");
        match self.program(&rule.message_expression, rule.optional_old_self, decl) {
            Ok(program) if *program.result_type() == CelType::String => {
                self.cost("estimated messageExpression cost", place, program.cost_estimate().max);
                rule.message_program = Some(program);
            }
            Ok(_) => self.refuse(rule, place, "messageExpression must evaluate to a string"),
            Err(CompileError::Issues(issues)) => {
                self.refuse(rule, place, &format!("messageExpression compilation failed: {issues}"));
            }
            Err(CompileError::Constant(problem)) => {
                self.refuse(rule, place, &format!("messageExpression instantiation failed: {problem}"));
            }
        }
    }

    fn program(&self, text: &str, optional: Option<bool>, decl: &Arc<DeclType>) -> Result<Program, CompileError> {
        let stored = self.known.stored.contains(text);
        let minor = self.known.minor.filter(|_| !stored).unwrap_or(EVERY_MINOR);
        let old = if optional == Some(true) { DeclType::optional(decl.clone()) } else { decl.clone() };
        Env::new(minor).variable("self", decl.clone()).variable("oldSelf", old).compile(text)
    }

    /// The value of such an error is the whole rule, its fields in the order of upstream's type.
    fn refuse(&mut self, rule: &Rule, place: String, detail: &str) {
        // As Go escapes JSON.
        let quoted = |text: &str| {
            let text = Value::from(text).to_string();
            text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
        };
        let value = format!(
            "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
            quoted(&rule.rule),
            quoted(&rule.message),
            quoted(&rule.message_expression),
            rule.reason.as_deref().map_or_else(|| "null".to_owned(), quoted),
            quoted(&rule.field_path),
            rule.optional_old_self.map_or_else(|| "null".to_owned(), |optional| optional.to_string()),
        );
        self.errors.push(FieldError::invalid_as_shown(place, format!("{value}: {detail}")));
    }

    fn cost(&mut self, name: &str, place: String, cost: u64) {
        if cost > MAX_RULE_COST && !self.known.unchanged {
            let detail = too_expensive(name, cost, MAX_RULE_COST);
            self.errors.push(FieldError::forbidden(place.clone(), detail));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= MAX_SCHEMA_COST / 100 {
            self.expensive.push((cost, place));
            self.expensive.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.expensive.truncate(4);
        }
    }

    /// Defaults must satisfy the rules.
    fn defaults(&mut self, node: &Structural) {
        if !node.has_expressions {
            return;
        }
        if let Some(default) = &node.default {
            let at = self.path.child("default");
            for old in [Some(default), None] {
                let found = evaluate::evaluate_default(node, default, old, &at);
                let failed = !found.is_empty();
                self.errors.extend(found);
                if failed {
                    break;
                }
            }
        }
        for (name, property) in &node.properties {
            let length = self.path.field("properties");
            self.path.key(name);
            self.defaults(property);
            self.path.truncate(length);
        }
        if let Additional::Schema(values) = &node.additional {
            let length = self.path.field("additionalProperties");
            self.defaults(values);
            self.path.truncate(length);
        }
        if let Some(items) = &node.items {
            let length = self.path.field("items");
            self.defaults(items);
            self.path.truncate(length);
        }
    }
}

fn too_expensive(name: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{name} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
