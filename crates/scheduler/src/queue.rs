//! Pods that wait for a node: those to try now, those to try after a while, and those for which something must happen first.
//!
//! ```text
//!            add            pop             bound
//!   (none) ------> active ------> in flight ------> (none)
//!      |             ^  ^             |
//!      | gated       |  | its time    | unschedulable
//!      v      update |  | has come    v
//!    gated ----------'  backoff <--- unschedulable
//!                              event, five minutes
//! ```
//!
//! Who could not be bound waits for its time in any case. Who was unschedulable and may have a place now is not kept waiting when
//! there is nobody else to try (`SchedulerPopFromBackoffQ`).
//!
//! Pure: time is an argument. The rules are those of kube-scheduler's `PriorityQueue`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_object::NamespacedName;

use crate::framework::{Event, PluginSet};
use crate::plugins::PLUGINS;
use crate::pod_info::{PodInfo, PodKey};

/// The wait after the first failure; it doubles with each (`podInitialBackoffSeconds`).
pub const INITIAL_BACKOFF: Duration = Duration::from_secs(1);

/// The longest wait (`podMaxBackoffSeconds`).
pub const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// After this a pod is tried again though nothing happened, in case an event was missed (`podMaxInUnschedulablePodsDuration`).
pub const MAX_UNSCHEDULABLE: Duration = Duration::from_secs(5 * 60);

/// Where a pod stands. The data is what its place in the order of its kind is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Active,
    Backoff { until: Duration },
    Failed { until: Duration },
    Gated,
    InFlight,
    Unschedulable { since: Duration },
}

#[derive(Debug)]
struct Entry {
    pod: Arc<PodInfo>,
    place: Place,
    /// When it came to wait, the second criterion of order among pods to try.
    since: Duration,
    /// Ties are broken by who came first.
    sequence: u64,
    /// How often it was tried.
    attempts: u32,
    /// Who refused it the last time.
    refused_by: PluginSet,
    /// While room is made for it; whether something has happened since that may help it.
    preempting: Option<Helped>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Helped {
    No,
    Yes,
}

impl Entry {
    fn backoff_until(&self) -> Duration {
        let doublings = self.attempts.saturating_sub(1).min(10);
        self.since + (INITIAL_BACKOFF * 2_u32.pow(doublings)).min(MAX_BACKOFF)
    }
}

/// Highest priority first, then who waits longest (plugin PrioritySort).
type Order = (Reverse<i32>, Duration, u64, PodKey);

/// By the second in which the wait is over, then by priority: else a moment would outweigh it
/// (`backoffQOrderingWindowDuration`).
type Wait = (u64, Reverse<i32>, u64, PodKey);

/// How many pods stand where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueLengths {
    pub active: usize,
    /// Those that failed among them.
    pub backoff: usize,
    pub gated: usize,
    pub in_flight: usize,
    pub unschedulable: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Queue {
    entries: BTreeMap<PodKey, Entry>,
    active: BTreeSet<Order>,
    backoff: BTreeSet<Wait>,
    failed: BTreeSet<(Duration, u64, PodKey)>,
    unschedulable: BTreeSet<(Duration, u64, PodKey)>,
    gated: usize,
    /// How many unschedulable pods each plugin refused, so that events that concern none cost nothing.
    refused: Vec<usize>,
    /// How many were refused by no plugin in particular; any event may help them.
    refused_by_none: usize,
    sequence: u64,
}

impl Queue {
    /// Adds a pod, or replaces what is known of it. A pod that waits and has changed its shape is tried again.
    pub fn set(&mut self, pod: Arc<PodInfo>, now: Duration) {
        let Some(entry) = self.entries.get_mut(&pod.key) else {
            self.sequence += 1;
            let place = if enters(&pod) { Place::Active } else { Place::Gated };
            let (key, sequence) = (pod.key.clone(), self.sequence);
            let refused_by = PluginSet::default();
            self.entries.insert(
                key.clone(),
                Entry { pod, place: Place::InFlight, since: now, sequence, attempts: 0, refused_by, preempting: None },
            );
            self.place(&key, place);
            return;
        };
        let same = entry.pod.shape == pod.shape;
        let key = entry.pod.key.clone();
        let place = entry.place;
        if same || place == Place::InFlight {
            entry.pod = pod;
            return;
        }
        // Its priority is part of its place, so it is taken out before it changes.
        self.unplace(&key);
        let entry = self.entries.get_mut(&key).expect("found above");
        entry.pod = pod;
        let to = match place {
            _ if !enters(&entry.pod) => Place::Gated,
            Place::Gated => {
                entry.since = now;
                Place::Active
            }
            Place::Unschedulable { .. } if entry.preempting.is_some() => {
                entry.preempting = Some(Helped::Yes);
                place
            }
            Place::Unschedulable { .. } => retry(entry, now),
            place => place,
        };
        self.place(&key, to);
    }

    /// What is known of a pod, wherever it stands.
    pub fn get(&self, key: &NamespacedName) -> Option<&PodInfo> {
        self.entries.get(key).map(|entry| &*entry.pod)
    }

    /// Forgets a pod, wherever it stands.
    pub fn remove(&mut self, key: &NamespacedName) -> Option<Arc<PodInfo>> {
        let (key, _) = self.entries.get_key_value(key)?;
        let key = key.clone();
        self.unplace(&key);
        self.entries.remove(&key).map(|entry| entry.pod)
    }

    /// The next pod to try. It is in flight until [`Queue::remove`], [`Queue::unschedulable`] or [`Queue::failed`].
    pub fn pop(&mut self, now: Duration) -> Option<Arc<PodInfo>> {
        self.advance(now);
        let active = self.active.first().map(|(.., key)| key);
        let key = active.or_else(|| self.backoff.first().map(|(.., key)| key))?.clone();
        self.unplace(&key);
        let entry = self.entries.get_mut(&key).expect("what is active has an entry");
        entry.place = Place::InFlight;
        entry.attempts += 1;
        Some(entry.pod.clone())
    }

    /// A pod in flight found no node: it waits for an event that concerns those who refused it.
    pub fn unschedulable(&mut self, key: &NamespacedName, refused_by: PluginSet, now: Duration) {
        self.land(key, refused_by, now, |entry| Place::Unschedulable { since: entry.since });
    }

    /// A pod in flight could not be bound: it is tried again after a while.
    pub fn failed(&mut self, key: &NamespacedName, now: Duration) {
        self.land(key, PluginSet::default(), now, |entry| Place::Failed { until: entry.backoff_until() });
    }

    fn land(&mut self, key: &NamespacedName, refused_by: PluginSet, now: Duration, to: fn(&Entry) -> Place) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.place == Place::InFlight) else { return };
        entry.since = now;
        entry.refused_by = refused_by;
        let key = entry.pod.key.clone();
        // It may have got a gate while it was in flight.
        let place = if enters(&entry.pod) { to(entry) } else { Place::Gated };
        self.place(&key, place);
    }

    /// Others are told to make room for an unschedulable pod. Until [`Queue::preemption_ended`] it is not tried again, since it
    /// would only find them leaving.
    pub fn preempting(&mut self, key: &NamespacedName) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.preempting = Some(Helped::No);
        }
    }

    /// They are told. The pod is tried again if something else has happened that may help it, or if `retry` asks for it.
    pub fn preemption_ended(&mut self, key: &NamespacedName, retry: bool, now: Duration) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let helped = entry.preempting.take() == Some(Helped::Yes);
        if !(helped || retry) || !matches!(entry.place, Place::Unschedulable { .. }) {
            return;
        }
        let (key, until) = (entry.pod.key.clone(), entry.backoff_until());
        if helped || until <= now {
            self.retry(&key, now);
        } else {
            // It was in vain, and would be again at once.
            self.unplace(&key);
            self.place(&key, Place::Failed { until });
        }
    }

    /// Tries again those unschedulable pods that an event may give a place to.
    pub fn event(&mut self, event: &Event<'_>, now: Duration) {
        self.event_up_to(event, i32::MAX, now);
    }

    /// The same for pods of this priority at most.
    pub fn event_up_to(&mut self, event: &Event<'_>, priority: i32, now: Duration) {
        let concerned = |plugin: usize| PLUGINS[plugin].events.intersects(event.events);
        let any = (0..self.refused.len()).any(|plugin| self.refused[plugin] > 0 && concerned(plugin));
        if !any && self.refused_by_none == 0 {
            return;
        }
        let helped: Vec<PodKey> = self
            .unschedulable
            .iter()
            .filter(|(.., key)| {
                let entry = &self.entries[key];
                let may_help = |plugin: usize| concerned(plugin) && (PLUGINS[plugin].hint)(&entry.pod, event);
                entry.pod.shape.priority <= priority
                    && (entry.refused_by.is_empty() || entry.refused_by.iter().any(may_help))
            })
            .map(|(.., key)| key.clone())
            .collect();
        for key in helped {
            self.wake(&key, now);
        }
    }

    /// Tries an unschedulable pod again, once those are told who make room for it.
    pub fn wake(&mut self, key: &PodKey, now: Duration) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        match (&mut entry.preempting, entry.place) {
            (Some(helped), _) => *helped = Helped::Yes,
            (None, Place::Unschedulable { .. }) => self.retry(key, now),
            (None, _) => {}
        }
    }

    /// When time alone will make a pod ready to be tried.
    pub fn next_deadline(&self) -> Option<Duration> {
        let waiting = self.failed.first().map(|(until, ..)| *until);
        let unschedulable = self.unschedulable.first().map(|(since, ..)| *since + MAX_UNSCHEDULABLE);
        waiting.into_iter().chain(unschedulable).min()
    }

    /// Whether there is a pod to try now.
    pub fn is_ready(&mut self, now: Duration) -> bool {
        self.advance(now);
        !self.active.is_empty() || !self.backoff.is_empty()
    }

    pub fn lengths(&self) -> QueueLengths {
        let (active, unschedulable) = (self.active.len(), self.unschedulable.len());
        let backoff = self.backoff.len() + self.failed.len();
        let in_flight = self.entries.len() - active - backoff - unschedulable - self.gated;
        QueueLengths { active, backoff, gated: self.gated, in_flight, unschedulable }
    }

    /// Moves the pods whose time has come.
    fn advance(&mut self, now: Duration) {
        while let Some((.., key)) = self.unschedulable.first().filter(|(since, ..)| *since + MAX_UNSCHEDULABLE <= now) {
            let key = key.clone();
            self.retry(&key, now);
        }
        let woken = self.backoff.iter().take_while(|(second, ..)| *second < now.as_secs()).map(|(.., key)| key);
        let failed = self.failed.iter().take_while(|(until, ..)| *until <= now).map(|(.., key)| key);
        let over: Vec<PodKey> = woken.chain(failed).cloned().collect();
        for key in over {
            self.unplace(&key);
            self.place(&key, Place::Active);
        }
    }

    fn retry(&mut self, key: &PodKey, now: Duration) {
        self.unplace(key);
        let place = retry(&self.entries[key], now);
        self.place(key, place);
    }

    /// Puts an entry that stands nowhere (in flight) to its place.
    fn place(&mut self, key: &PodKey, place: Place) {
        let entry = self.entries.get_mut(key).expect("an entry is made before it is placed");
        entry.place = place;
        let (sequence, key) = (entry.sequence, key.clone());
        match place {
            Place::Active => {
                self.active.insert((Reverse(entry.pod.shape.priority), entry.since, sequence, key));
            }
            Place::Backoff { until } => {
                self.backoff.insert(wait(entry, until, key));
            }
            Place::Failed { until } => {
                self.failed.insert((until, sequence, key));
            }
            Place::Gated => self.gated += 1,
            Place::InFlight => {}
            Place::Unschedulable { since } => {
                self.unschedulable.insert((since, sequence, key));
                let refused_by = entry.refused_by;
                self.count_refusals(refused_by, 1);
            }
        }
    }

    /// Takes an entry from its place.
    fn unplace(&mut self, key: &PodKey) {
        let entry = self.entries.get_mut(key).expect("only what has an entry stands somewhere");
        let (place, sequence, key) = (entry.place, entry.sequence, key.clone());
        entry.place = Place::InFlight;
        match place {
            Place::Active => {
                self.active.remove(&(Reverse(entry.pod.shape.priority), entry.since, sequence, key));
            }
            Place::Backoff { until } => {
                self.backoff.remove(&wait(entry, until, key));
            }
            Place::Failed { until } => {
                self.failed.remove(&(until, sequence, key));
            }
            Place::Gated => self.gated -= 1,
            Place::InFlight => {}
            Place::Unschedulable { since } => {
                self.unschedulable.remove(&(since, sequence, key));
                let refused_by = entry.refused_by;
                self.count_refusals(refused_by, -1);
            }
        }
    }

    fn count_refusals(&mut self, refused_by: PluginSet, by: isize) {
        self.refused.resize(PLUGINS.len(), 0);
        for plugin in refused_by.iter() {
            self.refused[plugin] = self.refused[plugin].saturating_add_signed(by);
        }
        if refused_by.is_empty() {
            self.refused_by_none = self.refused_by_none.saturating_add_signed(by);
        }
    }
}

fn wait(entry: &Entry, until: Duration, key: PodKey) -> Wait {
    (until.as_secs(), Reverse(entry.pod.shape.priority), entry.sequence, key)
}

/// At once when its backoff has passed while it waited, else when it will have.
fn retry(entry: &Entry, now: Duration) -> Place {
    let until = entry.backoff_until();
    if until <= now { Place::Active } else { Place::Backoff { until } }
}

fn enters(pod: &PodInfo) -> bool {
    PLUGINS.iter().filter_map(|plugin| plugin.pre_enqueue).all(|enters| enters(pod))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::Events;
    use crate::plugins::testing::{named_pod, node};
    use serde_json::{Value, json};

    const SECOND: Duration = Duration::from_secs(1);

    fn pod(name: &str, spec: Value) -> Arc<PodInfo> {
        Arc::new(named_pod(name, spec))
    }

    fn key(name: &str) -> NamespacedName {
        NamespacedName::new("default", name)
    }

    fn popped(queue: &mut Queue, now: Duration) -> Option<String> {
        queue.pop(now).map(|pod| pod.key.name.clone())
    }

    fn refused_by(name: &str) -> PluginSet {
        let mut set = PluginSet::default();
        set.insert(PLUGINS.iter().position(|plugin| plugin.name == name).unwrap());
        set
    }

    /// The event of a node, whose allocatable is given.
    fn node_event(queue: &mut Queue, events: Events, allocatable: Value, now: Duration) {
        let node = node(json!({"status": {"allocatable": allocatable}}));
        queue.event(&Event { events, node: Some(&node), pod: None }, now);
    }

    #[test]
    fn priority_comes_first_and_then_who_came_first() {
        let mut queue = Queue::default();
        queue.set(pod("b", json!({})), SECOND);
        queue.set(pod("a", json!({})), SECOND);
        queue.set(pod("older", json!({})), Duration::ZERO);
        queue.set(pod("high", json!({"priority": 10})), 2 * SECOND);
        let order: Vec<String> = std::iter::from_fn(|| popped(&mut queue, 3 * SECOND)).collect();
        assert_eq!(order, ["high", "older", "b", "a"]);
        assert_eq!(queue.lengths(), QueueLengths { in_flight: 4, ..QueueLengths::default() });
    }

    #[test]
    fn backoff_doubles_up_to_ten_seconds() {
        let mut queue = Queue::default();
        queue.set(pod("a", json!({})), Duration::ZERO);
        let mut now = Duration::ZERO;
        for seconds in [1, 2, 4, 8, 10, 10] {
            assert_eq!(popped(&mut queue, now).as_deref(), Some("a"), "{seconds}");
            queue.failed(&key("a"), now);
            assert_eq!(queue.next_deadline(), Some(now + seconds * SECOND));
            assert_eq!(popped(&mut queue, now + seconds * SECOND - Duration::from_nanos(1)), None);
            now += seconds * SECOND;
        }
    }

    #[test]
    fn an_unschedulable_pod_waits_for_an_event_that_concerns_it() {
        let mut queue = Queue::default();
        let asking = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]});
        queue.set(pod("a", asking), Duration::ZERO);
        queue.pop(Duration::ZERO);
        queue.unschedulable(&key("a"), refused_by("NodeResourcesFit"), Duration::ZERO);
        let late = 30 * SECOND;
        let cases = [
            ("labels do not matter", Events::NODE_LABELS, json!({"cpu": "4", "pods": "9"})),
            ("taints do not matter", Events::NODE_TAINTS, json!({"cpu": "4", "pods": "9"})),
            ("a node that is too small", Events::NODE_ADDED, json!({"cpu": "1", "pods": "9"})),
            ("too little is freed", Events::POD_REMOVED, json!({"cpu": "1", "pods": "9"})),
        ];
        for (name, events, allocatable) in cases {
            node_event(&mut queue, events, allocatable, late);
            assert_eq!(queue.pop(late).map(|pod| pod.key.name.clone()), None, "{name}");
        }
        node_event(&mut queue, Events::NODE_ALLOCATABLE, json!({"cpu": "4", "pods": "9"}), late);
        assert_eq!(popped(&mut queue, late).as_deref(), Some("a"));
    }

    #[test]
    fn an_event_during_the_backoff_is_not_forgotten() {
        let mut queue = Queue::default();
        queue.set(pod("a", json!({})), Duration::ZERO);
        queue.pop(Duration::ZERO);
        queue.unschedulable(&key("a"), refused_by("NodeResourcesFit"), Duration::ZERO);
        node_event(&mut queue, Events::NODE_ADDED, json!({"pods": "9"}), SECOND / 2);
        assert_eq!(queue.lengths().backoff, 1);
        queue.set(pod("new", json!({})), SECOND / 2);
        assert_eq!(popped(&mut queue, SECOND / 2).as_deref(), Some("new"), "it stands behind those that do not wait");
        assert!(queue.is_ready(SECOND / 2));
        assert_eq!(popped(&mut queue, SECOND / 2).as_deref(), Some("a"), "and has its turn when there are none");
    }

    #[test]
    fn of_those_whose_time_comes_about_together_the_most_important_is_first() {
        let mut queue = Queue::default();
        for (name, priority, tried) in [("low", 0, 0), ("high", 10, 300), ("later", 20, 1500)] {
            let tried = Duration::from_millis(tried);
            queue.set(pod(name, json!({"priority": priority})), tried);
            assert_eq!(popped(&mut queue, tried).as_deref(), Some(name));
            queue.unschedulable(&key(name), refused_by("NodeResourcesFit"), tried);
        }
        // Their second try would be at 1.0, 1.3 and 2.5 seconds.
        node_event(&mut queue, Events::NODE_ADDED, json!({"pods": "9"}), SECOND / 2);
        let order: Vec<String> = std::iter::from_fn(|| popped(&mut queue, SECOND / 2)).collect();
        assert_eq!(order, ["high", "low", "later"]);
    }

    #[test]
    fn preemption_in_vain_is_not_tried_again_at_once() {
        let mut queue = Queue::default();
        queue.set(pod("a", json!({})), Duration::ZERO);
        queue.pop(Duration::ZERO);
        queue.unschedulable(&key("a"), refused_by("NodeResourcesFit"), Duration::ZERO);
        queue.preempting(&key("a"));
        queue.preemption_ended(&key("a"), true, SECOND / 10);
        assert_eq!((popped(&mut queue, SECOND / 2), queue.next_deadline()), (None, Some(SECOND)));
        assert_eq!(popped(&mut queue, SECOND).as_deref(), Some("a"));
    }

    #[test]
    fn a_pod_that_no_plugin_refused_takes_any_event() {
        let mut queue = Queue::default();
        queue.set(pod("a", json!({})), Duration::ZERO);
        queue.pop(Duration::ZERO);
        queue.unschedulable(&key("a"), PluginSet::default(), Duration::ZERO);
        node_event(&mut queue, Events::NODE_ADDED, json!({}), 2 * SECOND);
        assert_eq!(popped(&mut queue, 2 * SECOND).as_deref(), Some("a"));
    }

    #[test]
    fn without_events_an_unschedulable_pod_is_tried_after_five_minutes() {
        let mut queue = Queue::default();
        queue.set(pod("a", json!({})), Duration::ZERO);
        queue.pop(SECOND);
        queue.unschedulable(&key("a"), refused_by("NodeAffinity"), SECOND);
        assert_eq!(queue.next_deadline(), Some(SECOND + MAX_UNSCHEDULABLE));
        assert!(!queue.is_ready(MAX_UNSCHEDULABLE));
        assert_eq!(popped(&mut queue, SECOND + MAX_UNSCHEDULABLE).as_deref(), Some("a"));
    }

    #[test]
    fn a_gated_pod_enters_when_its_gates_are_gone() {
        let mut queue = Queue::default();
        queue.set(pod("a", json!({"schedulingGates": [{"name": "x"}]})), Duration::ZERO);
        assert_eq!((popped(&mut queue, SECOND), queue.lengths().gated), (None, 1));
        queue.set(pod("a", json!({})), 2 * SECOND);
        assert_eq!((popped(&mut queue, 2 * SECOND).as_deref(), queue.lengths().gated), (Some("a"), 0));
    }

    #[test]
    fn a_changed_pod_is_tried_again_and_a_new_status_changes_nothing() {
        let mut queue = Queue::default();
        queue.set(pod("a", json!({})), Duration::ZERO);
        queue.pop(Duration::ZERO);
        queue.unschedulable(&key("a"), refused_by("TaintToleration"), Duration::ZERO);
        queue.set(pod("a", json!({})), 5 * SECOND);
        assert_eq!(popped(&mut queue, 5 * SECOND), None);
        queue.set(pod("a", json!({"tolerations": [{"operator": "Exists"}]})), 5 * SECOND);
        assert_eq!(popped(&mut queue, 5 * SECOND).as_deref(), Some("a"));
    }

    #[test]
    fn what_is_removed_is_gone_from_every_place() {
        let mut queue = Queue::default();
        for name in ["active", "backoff", "unschedulable", "in-flight"] {
            queue.set(pod(name, json!({})), Duration::ZERO);
        }
        queue.set(pod("gated", json!({"schedulingGates": [{"name": "x"}]})), Duration::ZERO);
        while queue.pop(Duration::ZERO).is_some() {}
        queue.failed(&key("backoff"), Duration::ZERO);
        queue.unschedulable(&key("unschedulable"), PluginSet::default(), Duration::ZERO);
        queue.failed(&key("active"), Duration::ZERO);
        queue.advance(SECOND);
        for name in ["active", "backoff", "unschedulable", "in-flight", "gated"] {
            assert!(queue.remove(&key(name)).is_some(), "{name}");
        }
        assert_eq!(queue.lengths(), QueueLengths::default());
        assert!(queue.pop(MAX_UNSCHEDULABLE * 2).is_none() && queue.next_deadline().is_none());
    }
}
