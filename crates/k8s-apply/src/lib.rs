//! Who owns which field of an object.
//!
//! Every write of an object is somebody's, its *manager's*. `metadata.managedFields` says for each manager which fields it has set; a
//! write that only sets values takes them over ([`update`]), one that *applies* what its manager wants is refused where
//! another manager wants something else, and gives up what it no longer names ([`apply`]). Behaviour and texts are those
//! of structured-merge-diff and of apimachinery's `managedfields`.
//!
//! - [`field`]: one step of a path, sets of paths, and the text of sets (`FieldsV1`);
//! - [`typed`]: walks over values with their types: which fields there are, what differs, merge, remove;
//! - the rest: entries of managers, and what writes do with them.
//!
//! The crate is pure: it knows no kind by name, no request, and no clock that is not passed.

mod conflict;
pub mod field;
mod last_applied;
mod managed;
mod manager;
mod reset;
mod scale;
pub mod typed;
mod updater;

pub use conflict::{Conflict, Conflicts};
pub use last_applied::LAST_APPLIED;
pub use managed::{Entry, Managed, Operation};
pub use manager::{Applied, ApplyError, Write, apply, update};
pub use reset::Reset;
pub use scale::{Scaled, parent_of_scale, scale_of_parent};
pub use updater::Versions;
