//! The Host's one task: takes what came in, fires the timers that are due, sleeps until the next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use world::{BoxFuture, Stop};

use super::nodes::{NodeId, NodeTimer};
use super::{Core, Inner};
use crate::pod::{Event, RuntimeEvent};
use crate::runtime::{Input, PodHandle};

/// How much is done between two chances for other tasks to run.
const TURN: usize = 256;

/// What is due at some time.
pub(super) enum Due {
    /// A pod asked to be stepped.
    Pod(PodHandle),
    /// A pod's status has waited long enough for further changes.
    Status(PodHandle),
    /// A pod's deletion is tried again.
    Delete(PodHandle),
    Runtime(PodHandle, RuntimeEvent),
    Node(NodeId, NodeTimer),
}

struct Timer {
    at: Duration,
    sequence: u64,
    due: Due,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Timer) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Timer {}
impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Timer) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timer {
    fn cmp(&self, other: &Timer) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// All timers of a Host. Those that no longer matter are not taken out: whoever fires them notices.
#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<Timer>>,
    sequence: u64,
}

impl Timers {
    pub(super) fn push(&mut self, at: Duration, due: Due) {
        self.sequence += 1;
        self.heap.push(Reverse(Timer { at, sequence: self.sequence, due }));
    }

    fn next(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(timer)| timer.at)
    }

    fn pop(&mut self, now: Duration) -> Option<(Duration, Due)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(timer)| (timer.at, timer.due))
    }
}

pub(super) async fn run(inner: Arc<Inner>, stop: Stop) {
    // A node that joined before all its pods are known would take a new one on before one that runs there.
    if stop.or(inner.informers.synced()).await.is_none() {
        return;
    }
    let mut sleep: Option<(Duration, BoxFuture<'static, ()>)> = None;
    loop {
        if stop.is_stopped() {
            return;
        }
        if inner.turn() {
            inner.world.yield_now().await;
            continue;
        }
        let next = inner.core().timers.next();
        if sleep.as_ref().map(|(at, _)| *at) != next {
            sleep = next.map(|at| (at, inner.world.sleep_until(at)));
        }
        let notified = inner.inbox.notify.notified();
        match &mut sleep {
            Some((_, timer)) => {
                let fired = tokio::select! {
                    biased;
                    () = stop.stopped() => return,
                    () = notified => false,
                    () = timer => true,
                };
                if fired {
                    sleep = None;
                }
            }
            None => {
                tokio::select! {
                    biased;
                    () = stop.stopped() => return,
                    () = notified => {}
                }
            }
        }
    }
}

impl Inner {
    /// Does some of what there is to do; true when there was something.
    fn turn(self: &Arc<Self>) -> bool {
        let mut worked = false;
        let mut inputs = self.inbox.take();
        while !inputs.is_empty() {
            worked = true;
            let mut core = self.core();
            for input in inputs.drain(..inputs.len().min(TURN)) {
                self.input(&mut core, input);
            }
            self.kick(&mut core);
        }
        let now = self.world.elapsed();
        let mut core = self.core();
        for _ in 0..TURN {
            let Some((at, due)) = core.timers.pop(now) else { break };
            worked = true;
            self.fire(&mut core, at, due);
        }
        self.kick(&mut core);
        worked
    }

    fn input(&self, core: &mut Core, input: Input) {
        match input {
            Input::Pod(key) => self.pod_noted(core, &key),
            Input::Node(name) => self.node_noted(core, &name),
            Input::Runtime(pod, event, delay) if delay.is_zero() => self.feed(core, pod, Event::Runtime(event)),
            Input::Runtime(pod, event, delay) => {
                let at = self.world.elapsed().saturating_add(delay);
                core.timers.push(at, Due::Runtime(pod, event));
            }
        }
    }

    fn fire(&self, core: &mut Core, at: Duration, due: Due) {
        match due {
            Due::Pod(pod) => {
                if let Some(slot) = core.pods.get_mut(&pod)
                    && slot.timer == Some(at)
                {
                    slot.timer = None;
                    self.feed(core, pod, Event::TimerFired);
                }
            }
            Due::Status(pod) => self.status_due(core, pod, at),
            Due::Delete(pod) => self.delete_due(core, pod),
            Due::Runtime(pod, event) => self.feed(core, pod, Event::Runtime(event)),
            Due::Node(node, timer) => self.node_due(core, node, timer),
        }
    }
}
