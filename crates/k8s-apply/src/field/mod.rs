//! Fields: one step of a path, sets of paths, and their text.

mod element;
mod json;
mod set;
mod text;

pub use element::{Element, Path};
pub(crate) use json::equal;
pub use set::Set;
