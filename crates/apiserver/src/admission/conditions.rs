//! Match conditions of a webhook or policy: whether a request is one for it (apiserver `matchconditions`).

use cel::Budget;

use super::Operation;
use super::expressions::{Expression, Inputs};
use crate::core::Core;

/// The conditions of one webhook or policy, and as what they are counted.
pub(super) struct Conditions {
    /// Of the webhook or policy.
    name: String,
    kind: &'static str,
    step: &'static str,
    all: Vec<Expression>,
}

impl Conditions {
    /// Of a webhook; `step` is `admit` or `validating`.
    pub(super) fn of_webhook(name: &str, step: &'static str, all: Vec<Expression>) -> Conditions {
        Conditions { name: name.to_owned(), kind: "webhook", step, all }
    }

    /// Of a policy, whatever it does.
    pub(super) fn of_policy(name: &str, all: Vec<Expression>) -> Conditions {
        Conditions { name: name.to_owned(), kind: "policy", step: "validate", all }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether all hold. One that is false decides whatever others say; else an error counts as `fails` says.
    pub(super) fn hold(
        &self,
        core: &Core,
        operation: Operation,
        inputs: &Inputs<'_>,
        fails: bool,
    ) -> Result<bool, String> {
        if self.all.is_empty() {
            return Ok(true);
        }
        let labels = [self.name.as_str(), self.kind, self.step, operation.as_str()];
        let began = core.world.elapsed();
        let (held, errors) = self.evaluate(inputs, fails);
        core.metrics.condition_time.with(&labels).seconds(core.world.elapsed().saturating_sub(began));
        if errors > 0 {
            core.metrics.condition_errors.with(&labels).add(errors);
        }
        if held == Ok(false) && self.kind == "webhook" {
            core.metrics.condition_exclusions.with(&labels).inc();
        }
        held
    }

    /// What they say, and how many could not be evaluated.
    fn evaluate(&self, inputs: &Inputs<'_>, fails: bool) -> (Result<bool, String>, u64) {
        let mut budget = Budget::new(cel::MAX_MATCH_CONDITIONS_COST);
        let (mut problems, mut errors): (Vec<String>, u64) = (Vec::new(), 0);
        for condition in &self.all {
            match condition.evaluate(inputs, &mut budget) {
                Err(problem) => return (if fails { Err(problem) } else { Ok(false) }, errors),
                Ok(Err(problem)) => {
                    errors += 1;
                    if !problems.contains(&problem) {
                        problems.push(problem);
                    }
                }
                Ok(Ok(value)) if value.as_bool() == Some(false) => return (Ok(false), errors),
                Ok(Ok(_)) => {}
            }
        }
        let held = match (problems.len(), fails) {
            (0, _) => Ok(true),
            (_, false) => Ok(false),
            (1, true) => Err(problems.remove(0)),
            (_, true) => Err(format!("[{}]", problems.join(", "))),
        };
        (held, errors)
    }
}
