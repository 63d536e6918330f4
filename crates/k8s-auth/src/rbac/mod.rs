//! Role-based access control: who is granted what, found by who asks.

mod aggregate;
mod covers;
mod escalation;
mod index;
mod matching;

pub use aggregate::aggregated_rules;
pub(crate) use covers::quoted;
pub use covers::{covers, rule_text};
pub use escalation::{EscalationError, check_binding, check_role};
pub use index::{RbacIndex, ResolvedRules};
pub use matching::allows;

/// The group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// Members may do everything, whatever roles say.
pub const PRIVILEGED_GROUP: &str = "system:masters";
