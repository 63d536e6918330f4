//! The scheduler: chooses a node for every pod that has none.
//!
//! [`Core`] decides: a queue of pods, a snapshot of nodes, and a table of plugins, without time, io or randomness of its own.
//! [`run`] puts it into its surroundings. Nothing here starts pods or changes nodes.

mod budgets;
mod core;
mod evict;
mod filters;
mod framework;
mod groups;
mod node_info;
mod node_selector;
mod nominations;
mod plugins;
mod pod_info;
mod preemption;
mod queue;
mod recorder;
mod resources;
mod services;
mod shell;
mod snapshot;
mod tallies;

pub use crate::core::{Core, CoreOptions, Decision, Nominate};
pub use node_info::NodeInfo;
pub use pod_info::{PodInfo, PodKey};
pub use preemption::Preemption;
pub use queue::QueueLengths;
pub use shell::{Options, run, run_with, watches};
pub use snapshot::{Slot, Snapshot};
