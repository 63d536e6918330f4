//! Says whether a history of concurrent operations on a store of etcd's data model is linearizable: whether every operation
//! can be given one moment between its call and its return, such that a store that does one thing at a time, in the order
//! of these moments, would have answered the same.
//!
//! It knows no engine and must never depend on one: keys and values are numbers, and what it compares is what clients saw.
//! The search is that of Wing and Gong with Lowe's memory of configurations seen ("Testing for linearizability", 2017).

mod check;
mod history;
mod model;

pub use check::{Violation, check};
pub use history::{
    Answer, Call, Change, Guard, Held, History, Key, Log, Operation, Outcome, Revision, Scope, Time, Value,
};
pub use model::State;

#[cfg(test)]
mod tests;
