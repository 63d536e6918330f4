//! What others own and an apply would change.

use std::fmt;

use crate::field::{Path, Set};
use crate::managed::{Entry, Operation};

/// One field that another manager wants to be different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// `"mgr" with subresource "scale" using apps/v1`
    pub manager: String,
    pub path: Path,
}

/// All of them, by manager.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Conflicts(pub Vec<Conflict>);

/// A manager as messages name it.
pub(crate) fn name(entry: &Entry) -> String {
    let mut name = format!("{:?}", entry.manager);
    if !entry.subresource.is_empty() {
        name.push_str(&format!(" with subresource {:?}", entry.subresource));
    }
    if entry.operation == Operation::Update {
        name.push_str(&format!(" using {}", entry.api_version));
    }
    name
}

impl Conflicts {
    /// Of managers and the fields that each wants to be different.
    pub(crate) fn of(mut sets: Vec<(&Entry, Set)>) -> Conflicts {
        sets.sort_by(|a, b| a.0.identity().cmp(&b.0.identity()));
        let conflicts = sets.into_iter().flat_map(|(entry, set)| {
            let manager = name(entry);
            set.paths().into_iter().map(move |path| Conflict { manager: manager.clone(), path })
        });
        Conflicts(conflicts.collect())
    }

    pub(crate) fn paths(&self) -> Set {
        let mut set = Set::default();
        for conflict in &self.0 {
            set.insert(&conflict.path);
        }
        set
    }
}

/// The message of the `Status`.
impl fmt::Display for Conflicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = &self.0[..] {
            return write!(f, "Apply failed with 1 conflict: conflict with {}: {}", only.manager, only.path);
        }
        write!(f, "Apply failed with {} conflicts: ", self.0.len())?;
        let mut last: Option<&str> = None;
        for conflict in &self.0 {
            if last != Some(&conflict.manager) {
                let line = if last.is_none() { "" } else { "\n" };
                write!(f, "{line}conflicts with {}:", conflict.manager)?;
                last = Some(&conflict.manager);
            }
            write!(f, "\n- {}", conflict.path)?;
        }
        Ok(())
    }
}
