//! The two ways from one template to the next.

use k8s_client::Index;
use k8s_object::DecodeError;
use k8s_object::resources::PODS;
use k8s_object::views::Pod;

use super::{Set, Sync};

impl Sync<'_> {
    /// RollingUpdate: grows the new set as far as the surge allows, then shrinks old ones as far as availability allows.
    pub(super) fn roll(&mut self) {
        let Some(new) = self.new.clone() else { return self.create_new() };
        let size = self.new_size(new.size());
        if size != new.size() {
            return self.resize(&new, size);
        }
        if !self.shrink_old(&new) && self.is_complete() {
            self.clean_up();
        }
    }

    /// Recreate: no new pod before all old ones are gone.
    pub(super) fn recreate(&mut self) -> Result<(), DecodeError> {
        let active: Vec<Set> = self.old.iter().filter(|set| set.size() > 0).cloned().collect();
        if !active.is_empty() {
            active.iter().for_each(|set| self.resize(set, 0));
            return Ok(());
        }
        if self.old_pods_run()? {
            return Ok(());
        }
        match self.new.clone() {
            None => self.create_new(),
            Some(new) => {
                let size = self.size();
                self.resize(&new, size);
                if self.is_complete() {
                    self.clean_up();
                }
            }
        }
        Ok(())
    }

    fn old_pods_run(&self) -> Result<bool, DecodeError> {
        for set in &self.old {
            if set.view.status.replicas > 0 {
                return Ok(true);
            }
            for pod in self.view.indexed(&PODS, Index::OWNER.name, &set.object.meta().uid) {
                if !pod.view::<Pod>()?.is_finished() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The size that the new set may have now, given its present one.
    pub(super) fn new_size(&self, present: i64) -> i64 {
        let wanted = self.size();
        if !self.is_rolling() || present > wanted {
            return wanted;
        }
        let total: i64 = self.all().map(Set::size).sum();
        let room = wanted + self.max_surge() - total;
        present + room.min(wanted - present).max(0)
    }

    /// Shrinks old sets; true if one was.
    fn shrink_old(&mut self, new: &Set) -> bool {
        let old_total: i64 = self.old.iter().map(Set::size).sum();
        if old_total == 0 {
            return false;
        }
        let min_available = self.size() - self.max_unavailable();
        let unavailable = new.size() - new.available();
        let mut spare = old_total + new.size() - min_available - unavailable;
        if spare <= 0 {
            return false;
        }
        let mut sizes: Vec<i64> = self.old.iter().map(Set::size).collect();
        // What is not available serves nobody and goes first.
        for (set, size) in self.old.iter().zip(&mut sizes) {
            let surplus = (*size - set.available()).clamp(0, spare);
            *size -= surplus;
            spare -= surplus;
        }
        // A status that was written before the set was shrunk counts pods that are about to go.
        let available: i64 = self.all().map(|set| set.available().min(set.size())).sum();
        let mut spare = available - min_available;
        for size in &mut sizes {
            let surplus = (*size).min(spare).max(0);
            *size -= surplus;
            spare -= surplus;
        }
        let mut shrunk = false;
        for (set, size) in self.old.clone().iter().zip(sizes) {
            if size != set.size() {
                self.resize(set, size);
                shrunk = true;
            }
        }
        shrunk
    }
}
