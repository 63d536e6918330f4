//! The control loops of kube-controller-manager as pure planners with one executor.
//!
//! A [`Controller`] is a row of a table: what it watches, which keys a change concerns, and what should be done about a key.
//! Planners read a [`View`] and return a [`Plan`]; they never write, wait, or ask for the time. The executor owns queues,
//! backoff, stale-view protection and all writes, under each controller's own service account.

mod controller;
mod controllers;
mod executor;
mod json;
mod manager;
mod options;
mod ownership;
mod view;

#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod testing;

pub use controller::{Action, Announce, Controller, Key, Plan, Planned, Step, Trigger, Watched};
pub use controllers::CONTROLLERS;
pub use executor::Metrics;
pub use manager::{Controllers, start};
pub use options::{CertificatePolicy, Options, ResourceInfo};
pub use view::{AccessReview, Failure, Read, View};
