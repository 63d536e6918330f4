//! What is to be written, most important first, and the writers that do it.
//!
//! Leases come before everything: a Host that is busy must not lose its nodes. Events come last: they may be lost.

use std::collections::VecDeque;
use std::sync::Arc;

use super::nodes::{NodeId, NodeWrite};
use super::recorder::EventWrite;
use super::{Core, Inner};
use crate::runtime::PodHandle;

/// Events that wait; more are dropped. A few seconds' worth at the default rate.
const MAX_EVENTS: usize = 1_000;

pub(super) enum Job {
    Lease(NodeId),
    Node(NodeId, NodeWrite),
    Status(PodHandle),
    Delete(PodHandle),
    Event(EventWrite),
}

#[derive(Default)]
pub(super) struct Queue {
    /// Leases, nodes, pods, events.
    lanes: [VecDeque<Job>; 4],
    writers: usize,
}

impl Queue {
    pub(super) fn push(&mut self, job: Job) {
        let lane = match &job {
            Job::Lease(_) => 0,
            Job::Node(..) => 1,
            Job::Status(_) | Job::Delete(_) => 2,
            Job::Event(_) => 3,
        };
        if lane < 3 || self.lanes[lane].len() < MAX_EVENTS {
            self.lanes[lane].push_back(job);
        }
    }

    fn pop(&mut self) -> Option<Job> {
        self.lanes.iter_mut().find_map(VecDeque::pop_front)
    }

    pub(super) fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }
}

impl Inner {
    /// Starts as many writers as there is work for.
    pub(super) fn kick(self: &Arc<Self>, core: &mut Core) {
        self.retry_resizes(core);
        let wanted = core.queue.len().min(self.options.writers.max(1));
        while core.queue.writers < wanted {
            core.queue.writers += 1;
            self.tasks.spawn("kubelet writer", write(self.clone()));
        }
    }
}

/// Writes until there is nothing left.
async fn write(inner: Arc<Inner>) {
    let stop = inner.tasks.stop();
    loop {
        let job = {
            let mut core = inner.core();
            match core.queue.pop() {
                Some(job) if !stop.is_stopped() => job,
                _ => {
                    core.queue.writers -= 1;
                    return;
                }
            }
        };
        match job {
            Job::Lease(node) => inner.write_lease(node).await,
            Job::Node(node, NodeWrite::Register) => inner.register(node).await,
            Job::Node(node, NodeWrite::Status) => inner.write_node_status(node).await,
            Job::Status(pod) => inner.write_status(pod).await,
            Job::Delete(pod) => inner.delete_pod(pod).await,
            Job::Event(event) => inner.write_event(event).await,
        }
        // What the write has brought about may be more than this writer can do alone; the engine's sleep may be too long.
        let mut core = inner.core();
        inner.kick(&mut core);
        drop(core);
        inner.inbox.notify.notify_one();
    }
}
