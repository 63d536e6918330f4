//! How long life cycles take.

use std::time::Duration;

/// Times of life cycles: at least this long, longer when the work behind them does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// CREATING of a cluster.
    pub cluster_create: Duration,
    /// DELETING of a cluster.
    pub cluster_delete: Duration,
    /// UPDATING of a cluster's configuration.
    pub cluster_update: Duration,
    /// UPDATING of a cluster's version.
    pub cluster_upgrade: Duration,
    /// CREATING of a node group.
    pub nodegroup_create: Duration,
    /// UPDATING of a node group's configuration.
    pub nodegroup_update: Duration,
    /// DELETING of a node group.
    pub nodegroup_delete: Duration,
    /// How long nodes may take to join or be Ready again, and pods to leave a node, before the group says so and goes on.
    pub node_join_limit: Duration,
    /// How often a life cycle looks again at what it waits for.
    pub poll: Duration,
}

impl Pace {
    /// As fast as the machine.
    pub const INSTANT: Pace = Pace {
        cluster_create: Duration::ZERO,
        cluster_delete: Duration::ZERO,
        cluster_update: Duration::ZERO,
        cluster_upgrade: Duration::ZERO,
        nodegroup_create: Duration::ZERO,
        nodegroup_update: Duration::ZERO,
        nodegroup_delete: Duration::ZERO,
        // Nodes here boot in seconds; a minute leaves room for a busy machine.
        node_join_limit: Duration::from_secs(60),
        poll: Duration::from_millis(20),
    };

    /// As AWS takes, by experience.
    pub const REAL: Pace = Pace {
        cluster_create: Duration::from_secs(9 * 60),
        cluster_delete: Duration::from_secs(150),
        cluster_update: Duration::from_secs(120),
        cluster_upgrade: Duration::from_secs(8 * 60),
        nodegroup_create: Duration::from_secs(130),
        nodegroup_update: Duration::from_secs(60),
        nodegroup_delete: Duration::from_secs(180),
        // Source: "Understand each phase of node updates".
        node_join_limit: Duration::from_secs(15 * 60),
        poll: Duration::from_secs(5),
    };
}
