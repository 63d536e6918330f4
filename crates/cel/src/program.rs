//! Compiled expressions.

use std::collections::BTreeSet;

use crate::cost::Range;
use crate::error::EvalError;
use crate::eval::{self, Activation};
use crate::meter::{Budget, Meter};
use crate::plan::Plan;
use crate::types::Type;
use crate::val::Val;

/// A compiled expression. Immutable; evaluations may run at the same time.
#[derive(Debug)]
pub struct Program {
    plan: Plan,
    result: Type,
    estimate: Range,
    variables: BTreeSet<String>,
}

impl Program {
    pub(crate) fn new(plan: Plan, result: Type, estimate: Range, variables: BTreeSet<String>) -> Self {
        Self { plan, result, estimate, variables }
    }

    /// The type of the value; [`Type::Dyn`] when it is known only then.
    pub fn result_type(&self) -> &Type {
        &self.result
    }

    /// The least and the most that an evaluation costs, from declared sizes below the variable `self`.
    pub fn cost_estimate(&self) -> Range {
        self.estimate
    }

    /// Whether the expression names a variable of its environment.
    pub fn uses(&self, variable: &str) -> bool {
        self.variables.contains(variable)
    }

    /// Evaluates, and takes the cost from the budget whatever the outcome.
    pub fn eval<'a>(&self, activation: &dyn Activation<'a>, budget: &mut Budget) -> Result<Val<'a>, EvalError> {
        let mut meter = Meter::default();
        let value = eval::evaluate(&self.plan, activation, &mut meter);
        budget.spend(meter.cost());
        value
    }
}
