//! How long the stages of a simulated node take. A pace is data; annotations on a pod override it, see
//! [`crate::simulated::SETTINGS`].

use std::time::Duration;

/// Durations of everything a simulated node does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// Network namespace, address and pause container.
    pub sandbox: Duration,
    /// Taking the sandbox down.
    pub teardown: Duration,
    /// Asking the registry about an image, also when it is cached and the policy is `Always`.
    pub pull: Duration,
    /// Fetching one MiB of an image that is not cached.
    pub pull_per_mib: Duration,
    /// Creating and starting a container.
    pub start: Duration,
    /// From a container's start until its readiness and startup probes succeed.
    pub ready: Duration,
    /// From SIGTERM until a container has ended.
    pub stop: Duration,
    /// A postStart or preStop hook whose duration is not evident from the hook.
    pub hook: Duration,
    /// How long an init container runs that says nothing else.
    pub init_run: Duration,
    /// How long a container of a Job runs that says nothing else.
    pub job_run: Duration,
    /// From a node's registration until its network plugin is ready.
    pub node_ready: Duration,
    /// How long a status may wait for the changes that are about to follow, so that they share one write.
    pub coalesce: Duration,
}

const MS: fn(u64) -> Duration = Duration::from_millis;

impl Pace {
    /// A few milliseconds from bind to Running.
    pub fn instant() -> Pace {
        Pace {
            sandbox: MS(1),
            teardown: MS(1),
            pull: MS(1),
            pull_per_mib: Duration::ZERO,
            start: MS(1),
            ready: Duration::ZERO,
            stop: MS(1),
            hook: MS(1),
            init_run: MS(1),
            job_run: MS(50),
            node_ready: Duration::ZERO,
            coalesce: MS(25),
        }
    }

    /// What a node on EC2 takes, by order of magnitude: 50 MiB/s from the registry, a second to a running sandbox.
    pub fn realistic() -> Pace {
        Pace {
            sandbox: MS(700),
            teardown: MS(300),
            pull: MS(400),
            pull_per_mib: MS(20),
            start: MS(300),
            ready: MS(2_000),
            stop: MS(500),
            hook: MS(50),
            init_run: MS(1_000),
            job_run: MS(10_000),
            node_ready: MS(15_000),
            coalesce: MS(100),
        }
    }
}
