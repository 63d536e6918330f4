//! What is asked of an expression after its types are right: literals that must convert, patterns that must compile,
//! collections of one type.

use crate::ast::{Call, Expr, Id, Kind, Literal};
use crate::check::Checked;
use crate::functions::string_format;
use crate::parser::Parsed;
use crate::pattern;
use crate::source::{Issue, MAX_ISSUES};
use crate::time::{self, Timestamp};
use crate::types::Type;

pub(crate) fn validate(parsed: &Parsed, checked: &Checked) -> Vec<Issue> {
    let mut walk = Walk { parsed, checked, issues: Vec::new() };
    walk.visit(&parsed.root, false);
    walk.issues
}

struct Walk<'e> {
    parsed: &'e Parsed,
    checked: &'e Checked,
    issues: Vec<Issue>,
}

impl<'e> Walk<'e> {
    fn report(&mut self, id: Id, message: String) {
        if self.issues.len() < MAX_ISSUES {
            let offset = self.parsed.offsets.get(id as usize).copied().unwrap_or_default();
            self.issues.push(self.parsed.lines.issue(offset, message));
        }
    }

    /// `formatted` says that the expression is inside of `format()`, whose lists may mix types.
    fn visit(&mut self, expr: &'e Expr, formatted: bool) {
        let mut formatted = formatted;
        match &expr.kind {
            Kind::Call(call) => {
                if let Some(Expr { id, kind: Kind::Literal(literal), .. }) = call.args.first() {
                    let valid = match (call.function.as_str(), literal) {
                        ("duration", Literal::String(text)) => time::parse_duration(text).is_some(),
                        ("timestamp", Literal::String(text)) => Timestamp::parse(text).is_some_and(Timestamp::in_range),
                        ("timestamp", Literal::Int(seconds)) => Timestamp::new(*seconds, 0).is_ok(),
                        ("duration" | "timestamp", _) => false,
                        ("matches", Literal::String(pattern)) => pattern::compile(pattern).is_ok(),
                        _ => true,
                    };
                    if !valid {
                        self.report(*id, format!("invalid {} argument", call.function));
                    }
                }
                self.format(expr, call);
                formatted |= call.function == "format";
            }
            Kind::List { elements, optional } if !formatted => {
                let optional = optional.clone();
                self.homogeneous(elements.iter().zip(optional));
            }
            Kind::Map(entries) if !formatted => {
                self.homogeneous(entries.iter().map(|entry| (&entry.key, false)));
                self.homogeneous(entries.iter().map(|entry| (&entry.value, entry.optional)));
            }
            _ => {}
        }
        expr.for_each_child(&mut |child| self.visit(child, formatted));
    }

    /// `"…".format([…])` whose template and number of values are known.
    fn format(&mut self, expr: &Expr, call: &'e Call) {
        let Some(Expr { kind: Kind::Literal(Literal::String(template)), .. }) = &call.target else { return };
        let ("format", [Expr { kind: Kind::List { elements, .. }, .. }]) = (call.function.as_str(), &call.args[..])
        else {
            return;
        };
        let types: Vec<Type> = elements.iter().map(|element| self.checked.type_of(element).clone()).collect();
        if let Some((which, problem)) = string_format::check(template, &types) {
            let id = which.and_then(|index| elements.get(index)).map_or(expr.id, |element| element.id);
            self.report(id, problem);
        }
    }

    fn homogeneous(&mut self, elements: impl Iterator<Item = (&'e Expr, bool)>) {
        let mut first: Option<Type> = None;
        for (element, optional) in elements {
            let ty = self.checked.type_of(element);
            let ty = if optional { ty.unwrap_optional().unwrap_or(ty) } else { ty };
            match &first {
                None => first = Some(ty.clone()),
                Some(first) if first == ty => {}
                Some(first) => {
                    let message = format!("expected type '{first}' but found '{ty}'");
                    return self.report(element.id, message);
                }
            }
        }
    }
}
