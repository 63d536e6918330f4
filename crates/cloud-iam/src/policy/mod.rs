//! The IAM policy language: documents, conditions and the decision. Pure: it reads no store and no clock.

mod condition;
mod document;
mod evaluate;
mod pattern;

pub use condition::Condition;
pub use document::{Effect, Malformed, PolicyDocument, Principals, Selection, Statement, Usage, parse};
pub use evaluate::{Asking, Decision, DenySource, Policies, Request, Trust, evaluate, trusts};
pub use pattern::matches;
