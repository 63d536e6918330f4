//! The scheduler: chooses a node for every pod that has none.
//!
//! [`Core`] decides: a queue of pods, a snapshot of nodes, and a table of plugins, without time, io or randomness of its own.
//! [`run`] puts it into its surroundings. Nothing here starts pods or changes nodes.

mod core;
mod framework;
mod groups;
mod node_info;
mod node_selector;
mod plugins;
mod pod_info;
mod queue;
mod recorder;
mod resources;
mod shell;
mod snapshot;
mod tallies;

pub use crate::core::{Core, CoreOptions, Decision};
pub use node_info::NodeInfo;
pub use pod_info::{PodInfo, PodKey};
pub use queue::QueueLengths;
pub use shell::{Options, run, run_with, watches};
pub use snapshot::{Slot, Snapshot};
