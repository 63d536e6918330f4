//! The nodes of a cluster: the pod life cycle as a pure state machine, over a CRI-shaped runtime port.
//!
//! [`pod`] decides what happens to one pod, without clock or io. [`Runtime`] is where containers run; the
//! [`simulated`] one behaves as tables and annotations say. [`Host`] runs all simulated kubelets of one cluster over one
//! shared pod informer, one timer heap and one bounded pool of writers. Nothing here knows of AWS, and nothing starts a
//! task per pod or per container.

mod admission;
#[cfg(test)]
mod fake;
mod host;
mod ids;
mod network;
mod node;
mod pace;
pub mod pod;
mod runtime;
pub mod simulated;

pub use host::{Host, HostError, HostOptions, HostStats, MAX_NODES, NodeState, Removal};
pub use ids::ContainerId;
pub use network::{AddressPool, COOLDOWN, PodAddresses, PodNetwork, PodNetworkRef};
pub use node::NodeSpec;
pub use pace::Pace;
pub use runtime::{Completions, Image, PodContext, PodHandle, PullPolicy, Runtime, RuntimeNode};
