//! Walks over values and their types, one file each.

mod compare;
mod golang;
mod items;
mod merge;
mod problems;
mod reconcile;
mod remove;
mod to_set;
mod validate;

pub use compare::{Comparison, compare};
pub use golang::plain as as_go_prints;
pub use merge::merge;
pub use problems::{Problem, Problems};
pub(crate) use reconcile::reconcile;
pub use remove::remove;
pub use to_set::to_set;
pub use validate::{Duplicates, validate};
