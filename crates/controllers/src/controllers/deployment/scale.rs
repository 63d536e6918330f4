//! Sizes of sets outside of a rollout: the deployment was scaled or is paused.

use serde_json::json;

use super::revision::{DESIRED, MAX};
use super::{Set, Sync};
use crate::controller::Action;

impl Sync<'_> {
    /// Whether a set with pods was sized for another number of replicas than the deployment has now.
    pub(super) fn is_scaling(&self) -> bool {
        let desired = |set: &Set| set.annotation(DESIRED).and_then(|text| text.parse::<i64>().ok());
        self.all().filter(|set| set.size() > 0).filter_map(desired).any(|desired| desired != self.size())
    }

    /// Brings the sets to the deployment's size without moving pods between templates.
    pub(super) fn rescale(&mut self) {
        let active: Vec<Set> = self.all().filter(|set| set.size() > 0).cloned().collect();
        let only = match &active[..] {
            [] => self.new.clone().or_else(|| self.old.last().cloned()),
            [only] => Some(only.clone()),
            _ => None,
        };
        if let Some(only) = only {
            let size = self.size();
            self.resize(&only, size);
        } else if self.is_saturated() {
            for set in self.old.clone().iter().filter(|set| set.size() > 0) {
                self.resize(set, 0);
            }
        } else if self.is_rolling() {
            self.share_out(active);
        }
    }

    /// Whether the new set alone is all that was asked for.
    fn is_saturated(&self) -> bool {
        self.new.as_ref().is_some_and(|new| {
            let desired = new.annotation(DESIRED).and_then(|text| text.parse().ok());
            desired == Some(self.size()) && new.size() == self.size() && new.available() == self.size()
        })
    }

    /// Shares growth or shrinkage among sets in proportion to their sizes, the rest to the largest: a deployment that is
    /// scaled in the middle of a rollout stays in the middle.
    fn share_out(&mut self, mut sets: Vec<Set>) {
        let total: i64 = sets.iter().map(Set::size).sum();
        let allowed = if self.size() > 0 { self.size() + self.max_surge() } else { 0 };
        let to_add = allowed - total;
        // The largest first; of equal ones the newer grows and the older shrinks.
        sets.sort_by(|a, b| {
            let newer = if to_add > 0 { b.age().cmp(&a.age()) } else { a.age().cmp(&b.age()) };
            b.size().cmp(&a.size()).then(newer)
        });
        let mut added = 0;
        let mut sizes: Vec<i64> = Vec::new();
        for set in &sets {
            let room = to_add - added;
            let share = if room == 0 { 0 } else { self.fraction(set) };
            let share = if to_add > 0 { share.min(room) } else { share.max(room) };
            added += share;
            sizes.push(set.size() + share);
        }
        if let Some(largest) = sizes.first_mut() {
            *largest = (*largest + to_add - added).max(0);
        }
        for (set, size) in sets.iter().zip(sizes) {
            self.resize(set, size);
        }
    }

    /// How many pods a set gains or loses when it keeps its share of all pods.
    fn fraction(&self, set: &Set) -> i64 {
        if self.size() == 0 {
            return -set.size();
        }
        let before = set.annotation(MAX).and_then(|text| text.parse::<i64>().ok()).filter(|before| *before != 0);
        let before = before.unwrap_or(self.deployment.status.replicas);
        if before == 0 {
            return 0;
        }
        let scaled = (set.size() * (self.size() + self.max_surge())) as f64 / before as f64;
        scaled.round() as i64 - set.size()
    }

    /// Gives a set its size, and notes for which size of the deployment.
    pub(super) fn resize(&mut self, set: &Set, size: i64) {
        let (desired, max) = (self.size().to_string(), (self.size() + self.max_surge()).to_string());
        let noted = set.annotation(DESIRED) == Some(&desired) && set.annotation(MAX) == Some(&max);
        if size == set.size() && noted {
            return;
        }
        let change = json!({"metadata": {"annotations": {DESIRED: desired, MAX: max}}, "spec": {"replicas": size}});
        self.update_set(set, change);
        if size != set.size() {
            let direction = if size > set.size() { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {} from {} to {size}", set.name(), set.size());
            self.plan.then(Action::event(self.object, "ScalingReplicaSet", message));
        }
    }
}
