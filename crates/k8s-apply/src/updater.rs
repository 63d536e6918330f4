//! Ownership under one write, as structured-merge-diff's `merge.Updater` decides it: who loses what, who gets what, and what an
//! apply leaves of the object.

use std::borrow::Cow;

use k8s_schema::Typed;
use serde_json::Value;

use crate::conflict::Conflicts;
use crate::field::{Set, equal};
use crate::managed::{Entry, Managed};
use crate::reset::Reset;
use crate::typed::{Comparison, Problems, compare, merge, reconcile, remove, to_set};

/// The versions of one kind.
pub trait Versions {
    /// The type of objects in a version, by `apiVersion`; `None` if there is no such version any more.
    fn typed(&self, api_version: &str) -> Option<Typed<'_>>;

    /// An object in another version that there is.
    ///
    /// # Errors
    /// Why it cannot be converted.
    fn convert<'v>(&self, object: &'v Value, api_version: &str) -> Result<Cow<'v, Value>, String>;
}

/// Why ownership could not be worked out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpdateError {
    #[error("{0}")]
    Conflicts(Conflicts),
    /// The first part says what was being done.
    #[error("{0}: {1}")]
    Problems(&'static str, Problems),
    #[error("{0}")]
    Conversion(String),
}

pub(crate) struct Updater<'a> {
    pub versions: &'a dyn Versions,
    /// The version of the write.
    pub version: &'a str,
    pub typed: Typed<'a>,
    pub reset: Reset,
}

impl Updater<'_> {
    /// Entries as the types have them now. Those of versions that are gone go too.
    fn reconciled(&self, managed: Managed) -> Managed {
        let entries = managed.entries.into_iter().filter_map(|mut entry| {
            let typed = self.versions.typed(&entry.api_version)?;
            if let Some(fields) = reconcile(typed, &entry.fields) {
                entry.fields = fields;
            }
            Some(entry)
        });
        Managed { entries: entries.collect() }
    }

    /// What differs, in every version that an entry is of.
    fn comparisons(
        &self,
        old: &Value,
        new: &Value,
        own: Comparison,
        managed: &Managed,
    ) -> Result<Vec<(String, Comparison)>, UpdateError> {
        let mut all = vec![(self.version.to_owned(), own)];
        for entry in &managed.entries {
            if all.iter().any(|(version, _)| *version == entry.api_version) {
                continue;
            }
            let Some(typed) = self.versions.typed(&entry.api_version) else { continue };
            let convert = |object| self.versions.convert(object, &entry.api_version).map_err(UpdateError::Conversion);
            let mut comparison = compare(typed, &*convert(old)?, &*convert(new)?)
                .map_err(|problems| UpdateError::Problems("failed to compare objects", problems))?;
            self.reset.filter_comparison(&mut comparison);
            all.push((entry.api_version.clone(), comparison));
        }
        Ok(all)
    }

    /// Takes from everybody but `workflow` what the write changes or removes. Returns what it changes in its own version.
    fn take(
        &self,
        old: &Value,
        new: &Value,
        own: Comparison,
        managed: &mut Managed,
        workflow: Option<&Entry>,
        force: bool,
    ) -> Result<Comparison, UpdateError> {
        let all = self.comparisons(old, new, own, managed)?;
        let mut conflicts: Vec<(usize, Set)> = Vec::new();
        for (at, entry) in managed.entries.iter().enumerate() {
            if workflow.is_some_and(|workflow| workflow.is_of(entry)) {
                continue;
            }
            let Some((_, comparison)) = all.iter().find(|(version, _)| *version == entry.api_version) else { continue };
            let mut set = entry.fields.intersection(&comparison.modified);
            set.add(entry.fields.intersection(&comparison.added));
            if !set.is_empty() {
                conflicts.push((at, set));
            }
        }
        if !force && !conflicts.is_empty() {
            let sets = conflicts.into_iter().map(|(at, set)| (&managed.entries[at], set)).collect();
            return Err(UpdateError::Conflicts(Conflicts::of(sets)));
        }
        for (at, set) in conflicts {
            managed.entries[at].fields.subtract(&set);
        }
        for entry in &mut managed.entries {
            if workflow.is_some_and(|workflow| workflow.is_of(entry)) {
                continue;
            }
            if let Some((_, comparison)) = all.iter().find(|(version, _)| *version == entry.api_version) {
                entry.fields.subtract(&comparison.removed);
            }
        }
        managed.entries.retain(|entry| !entry.fields.is_empty());
        // The first is that of the write's own version.
        Ok(all.into_iter().next().map(|(_, comparison)| comparison).unwrap_or_default())
    }

    /// What a write changes of what it can change.
    pub(crate) fn changes(&self, old: &Value, new: &Value) -> Result<Comparison, UpdateError> {
        let mut changes = compare(self.typed, old, new)
            .map_err(|problems| UpdateError::Problems("failed to compare objects", problems))?;
        self.reset.filter_comparison(&mut changes);
        Ok(changes)
    }

    /// A write that sets values: who they were of loses them. Returns what the writer has set.
    pub(crate) fn update(
        &self,
        old: &Value,
        new: &Value,
        changes: Comparison,
        managed: &mut Managed,
    ) -> Result<Set, UpdateError> {
        *managed = self.reconciled(std::mem::take(managed));
        let changes = self.take(old, new, changes, managed, None, true)?;
        let mut set = changes.modified;
        set.add(changes.added);
        Ok(set)
    }

    /// Lays `config` over `live` and takes away what the manager of `entry` no longer names and nobody else owns. The new
    /// object is `None` if it is equal to the old one.
    pub(crate) fn apply(
        &self,
        live: &Value,
        config: &Value,
        managed: Managed,
        mut entry: Entry,
        force: bool,
    ) -> Result<(Option<Value>, Managed), UpdateError> {
        let mut managed = self.reconciled(managed);
        let merged = merge(self.typed, live, config)
            .map_err(|problems| UpdateError::Problems("failed to merge config", problems))?;
        let last = managed.find(&entry).map(|at| managed.entries.swap_remove(at));
        entry.fields = to_set(self.typed, config)
            .map_err(|problems| UpdateError::Problems("failed to get field set", problems))?;
        self.reset.filter(&mut entry.fields);
        entry.time = last.as_ref().and_then(|last| last.time.clone());
        let workflow = entry.clone();
        managed.entries.push(entry);
        let new = self.pruned(merged, &managed, last.as_ref())?;
        let changes = self.changes(live, &new)?;
        self.take(live, &new, changes, &mut managed, Some(&workflow), force)?;
        Ok(((!equal(live, &new)).then_some(new), managed))
    }

    /// Takes away what is in the manager's last set and neither in its new one nor in anybody else's.
    fn pruned(&self, merged: Value, managed: &Managed, last: Option<&Entry>) -> Result<Value, UpdateError> {
        let Some(last) = last.filter(|last| !last.fields.is_empty()) else { return Ok(merged) };
        let Some(typed) = self.versions.typed(&last.api_version) else { return Ok(merged) };
        let Ok(converted) = self.converted(&merged, &last.api_version) else { return Ok(merged) };
        let named = last.fields.with_named_parents(Some(typed));
        let mut pruned = remove(typed, &converted, &named);
        pruned = self.with_owned(&converted, pruned, &last.api_version, managed)?;
        pruned = self.with_dangling(&converted, &pruned, last, typed)?;
        self.converted(&pruned, self.version)
    }

    /// Brings back what others own, version by version, that of the removal first.
    fn with_owned(&self, merged: &Value, pruned: Value, first: &str, managed: &Managed) -> Result<Value, UpdateError> {
        let mut versions: Vec<&str> = managed.entries.iter().map(|entry| entry.api_version.as_str()).collect();
        versions.sort_unstable();
        versions.dedup();
        versions.sort_by_key(|version| *version != first);
        let (mut merged, mut pruned) = (Cow::Borrowed(merged), pruned);
        for version in versions {
            let Some(typed) = self.versions.typed(version) else { continue };
            let mut owned = Set::default();
            for entry in managed.entries.iter().filter(|entry| entry.api_version == version) {
                owned.add(entry.fields.clone());
            }
            let (Ok(converted), Ok(kept)) = (self.converted(&merged, version), self.converted(&pruned, version)) else {
                continue;
            };
            let mut gone = self.fields(typed, &converted)?.with_named_parents(Some(typed));
            let mut stays = self.fields(typed, &kept)?.with_named_parents(Some(typed));
            stays.add(owned.with_named_parents(Some(typed)));
            gone.subtract(&stays);
            pruned = remove(typed, &converted, &gone);
            merged = Cow::Owned(converted);
        }
        Ok(pruned)
    }

    /// Brings back what the manager never owned: it was below something that was removed.
    fn with_dangling(
        &self,
        merged: &Value,
        pruned: &Value,
        last: &Entry,
        typed: Typed<'_>,
    ) -> Result<Value, UpdateError> {
        let kept = self.fields(typed, &self.converted(pruned, &last.api_version)?)?.with_named_parents(Some(typed));
        let mut gone = self.fields(typed, merged)?.with_named_parents(Some(typed));
        gone.subtract(&kept);
        Ok(remove(typed, merged, &gone.intersection(&last.fields.with_named_parents(Some(typed)))))
    }

    fn converted(&self, object: &Value, version: &str) -> Result<Value, UpdateError> {
        self.versions.convert(object, version).map(Cow::into_owned).map_err(UpdateError::Conversion)
    }

    fn fields(&self, typed: Typed<'_>, value: &Value) -> Result<Set, UpdateError> {
        to_set(typed, value).map_err(|problems| UpdateError::Problems("failed to create field set", problems))
    }
}
