//! What an evaluation has cost, and the limits that end it.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;

use crate::error::EvalError;
use crate::pattern;

/// Most that one evaluation may cost (upstream's `PerCallLimit`).
pub const MAX_CALL_COST: u64 = 1_000_000;

/// Most that all rules of one object may cost (upstream's `RuntimeCELCostBudget`).
pub const MAX_REQUEST_COST: u64 = 10_000_000;

/// Most that the match conditions of one webhook or policy may cost.
pub const MAX_MATCH_CONDITIONS_COST: u64 = 2_500_000;

/// Most elementary steps of one evaluation: comparisons inside of lists, bytes copied. Costs do not count them all, and
/// no expression may stall the server.
const MAX_WORK: u64 = 50_000_000;

/// What compiling a regular expression counts as, in steps.
const REGEX_WORK: u64 = 20_000;

/// Most regular expressions that one evaluation keeps compiled.
const MAX_REGEXES: usize = 64;

/// What is left to spend on all expressions of a request.
#[derive(Clone, Debug)]
pub struct Budget {
    remaining: u64,
    exhausted: bool,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(MAX_REQUEST_COST)
    }
}

impl Budget {
    pub fn new(cost: u64) -> Self {
        Self { remaining: cost, exhausted: false }
    }

    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Whether more was spent than there was.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Takes `cost` away.
    pub fn spend(&mut self, cost: u64) {
        match self.remaining.checked_sub(cost) {
            Some(left) => self.remaining = left,
            None => {
                self.remaining = 0;
                self.exhausted = true;
            }
        }
    }
}

/// Counts one evaluation.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    cost: u64,
    work: u64,
    regexes: BTreeMap<Box<str>, Arc<Regex>>,
}

impl Meter {
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    #[inline]
    pub(crate) fn charge(&mut self, cost: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > MAX_CALL_COST { Err(EvalError::CostLimit) } else { Ok(()) }
    }

    #[inline]
    pub(crate) fn work(&mut self, steps: u64) -> Result<(), EvalError> {
        self.work = self.work.saturating_add(steps);
        if self.work > MAX_WORK { Err(EvalError::CostLimit) } else { Ok(()) }
    }

    /// A regular expression that is known only now.
    pub(crate) fn regex(&mut self, source: &str) -> Result<Result<Arc<Regex>, String>, EvalError> {
        if let Some(known) = self.regexes.get(source) {
            return Ok(Ok(known.clone()));
        }
        self.work(REGEX_WORK + source.len() as u64 * 10)?;
        if self.regexes.len() >= MAX_REGEXES {
            self.regexes.pop_first();
        }
        Ok(pattern::compile(source).map(|compiled| {
            let compiled = Arc::new(compiled);
            self.regexes.insert(source.into(), compiled.clone());
            compiled
        }))
    }
}
