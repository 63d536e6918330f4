//! Validation rules of custom resources in CEL (`x-kubernetes-validations`): read and checked with a definition, compiled
//! once, evaluated at each write.

mod compile;
mod declare;
mod evaluate;
mod field_path;
mod read;

use std::sync::Arc;

use cel::{DeclType, Program};

use crate::crd::Structural;

pub(crate) use compile::{Known, compile};
pub(crate) use evaluate::evaluate;
pub(crate) use read::read;

/// The type of a whole resource, with as much of its metadata as rules can see.
pub(crate) fn declared(schema: &Structural, name: &str) -> Option<Arc<DeclType>> {
    declare::declare(schema, true, name)
}

/// Largest estimate of one rule.
const MAX_RULE_COST: u64 = 10_000_000;

/// Largest estimate of all rules of a schema.
const MAX_SCHEMA_COST: u64 = 100_000_000;

/// Longest message that an expression may give, in bytes.
const MAX_MESSAGE_BYTES: usize = 5 * 1024;

/// Most rules of one schema: a bound on the memory of compiled programs.
const MAX_RULES: usize = 5_000;

/// The rules of one node.
#[derive(Debug)]
pub(crate) struct Expressions {
    rules: Vec<Rule>,
    /// The type of `self`, when the schema is one that rules can see.
    decl: Option<Arc<DeclType>>,
}

#[derive(Debug)]
struct Rule {
    rule: String,
    message: String,
    message_expression: String,
    reason: Option<String>,
    field_path: String,
    optional_old_self: Option<bool>,
    /// Of [`Rule::field_path`], in the notation of errors.
    normalised_path: String,
    program: Option<Program>,
    message_program: Option<Program>,
}

impl Rule {
    fn uses_old(&self) -> bool {
        self.program.as_ref().is_some_and(|program| program.uses("oldSelf"))
    }

    /// What a message says when nothing better is there.
    fn shown(&self) -> &str {
        let message = self.message.trim();
        if self.message.is_empty() { self.rule.trim() } else { message }
    }

    fn failure(&self) -> String {
        if self.message.is_empty() { format!("failed rule: {}", self.shown()) } else { self.message.trim().to_owned() }
    }
}
