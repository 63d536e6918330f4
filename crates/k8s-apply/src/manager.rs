//! What a write does to the entries of an object, around the question of ownership itself: which entry is the writer's, when
//! it was, what is never owned, and how many entries there may be (apimachinery `util/managedfields`).

use std::sync::OnceLock;

use serde_json::Value;

use crate::conflict::Conflicts;
use crate::field::Set;
use crate::last_applied;
use crate::managed::{Entry, Managed, Operation};
use crate::reset::Reset;
use crate::typed::{Comparison, Duplicates, validate};
use crate::updater::{UpdateError, Updater, Versions};

/// Entries of managers that update; the oldest beyond are put together, one per version (`DefaultMaxUpdateManagers`).
const MAX_UPDATE_MANAGERS: usize = 10;
const ANCIENT: &str = "ancient-changes";
/// Who owns what was there before anybody applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// Whose applies take over what client-side apply has set.
const KUBECTL: &str = "kubectl";

/// Fields that are nobody's.
const NEVER_OWNED: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// One write, as far as ownership depends on it.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    pub versions: &'a dyn Versions,
    /// The version that is written, `apps/v1`.
    pub version: &'a str,
    pub manager: &'a str,
    /// Empty for the object itself.
    pub subresource: &'a str,
    pub reset: Reset,
    /// RFC 3339.
    pub now: &'a str,
}

/// Why an apply is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    #[error("{0}")]
    Conflicts(#[from] Conflicts),
    /// The object or what is applied does not fit the type.
    #[error("{0}")]
    Problem(String),
}

/// What an apply has made of an object.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Absent if nothing has changed.
    pub object: Option<Value>,
    pub managed: Managed,
}

impl<'a> Write<'a> {
    fn entry(&self, manager: &str, operation: Operation) -> Entry {
        Entry {
            manager: if manager.is_empty() { "unknown".to_owned() } else { manager.to_owned() },
            operation,
            api_version: self.version.to_owned(),
            subresource: self.subresource.to_owned(),
            time: None,
            fields: Set::default(),
        }
    }

    fn updater(&self) -> Result<Updater<'a>, String> {
        let typed =
            self.versions.typed(self.version).ok_or_else(|| format!("no corresponding type for {}", self.version))?;
        Ok(Updater { versions: self.versions, version: self.version, typed, reset: self.reset })
    }

    /// The entry of an update, and the entries cut to their number.
    fn record(
        &self,
        manager: &str,
        updater: &Updater<'_>,
        (old, new, changes): (&Value, &Value, Comparison),
        managed: &mut Managed,
    ) -> Result<(), String> {
        let mut set = updater.update(old, new, changes, managed).map_err(|error| error.to_string())?;
        set.subtract(never_owned());
        if !set.is_empty() {
            let mut entry = self.entry(manager, Operation::Update);
            entry.time = Some(self.now.to_owned());
            entry.fields = set;
            match managed.find(&entry) {
                Some(at) => {
                    let own = &mut managed.entries[at];
                    own.fields.add(entry.fields);
                    own.time = entry.time;
                }
                None => managed.entries.push(entry),
            }
        }
        cap(managed);
        Ok(())
    }
}

/// Records a write that sets values. `old` is what the object was, or the empty object of its type on create; `managed` is asked
/// for the entries before the write only if the write changes something. `None` if the entries stay as they are.
///
/// Entries that have been given up stay so until somebody applies: without entries nothing is recorded but on create.
///
/// # Errors
/// If an object does not fit its type. The object has no owners then.
pub fn update(
    write: Write<'_>,
    managed: impl FnOnce() -> Managed,
    old: &Value,
    new: &Value,
    creates: bool,
) -> Result<Option<Managed>, String> {
    let updater = write.updater()?;
    let changes = updater.changes(old, new).map_err(|error| error.to_string())?;
    if changes.is_same() {
        return Ok(None);
    }
    let mut managed = managed();
    if managed.is_empty() && !creates {
        return Ok(None);
    }
    write.record(write.manager, &updater, (old, new, changes), &mut managed)?;
    managed.sort();
    Ok(Some(managed))
}

/// Applies `config` to `live`, which is `empty`, the empty object of its type, where there is no object yet.
///
/// # Errors
/// If others own what it changes and it is not forced, or something does not fit the type.
pub fn apply(
    write: Write<'_>,
    managed: Managed,
    live: &Value,
    empty: &Value,
    config: &Value,
    force: bool,
) -> Result<Applied, ApplyError> {
    let updater = write.updater().map_err(ApplyError::Problem)?;
    let problem = |error: UpdateError| match error {
        UpdateError::Conflicts(conflicts) => ApplyError::Conflicts(conflicts),
        other => ApplyError::Problem(other.to_string()),
    };
    let mut managed = managed;
    if managed.is_empty() {
        let changes = updater.changes(empty, live).map_err(problem)?;
        write
            .record(BEFORE_FIRST_APPLY, &updater, (empty, live, changes), &mut managed)
            .map_err(|error| ApplyError::Problem(format!("failed to create manager for existing fields: {error}")))?;
    }
    validate(updater.typed, config, Duplicates::Refused).map_err(|problems| {
        let subject = subject(write.version, config);
        ApplyError::Problem(format!("failed to create typed patch object ({subject}): {problems}"))
    })?;
    let entry = write.entry(write.manager, Operation::Apply);
    let attempt = |force| updater.apply(live, config, managed.clone(), entry.clone(), force);
    let result = match attempt(force) {
        Err(UpdateError::Conflicts(conflicts)) if write.manager == KUBECTL => {
            match last_applied::allowed(updater.typed, write.version, live) {
                None => Err(UpdateError::Conflicts(conflicts)),
                Some(allowed) => {
                    let mut rest = conflicts.paths();
                    rest.subtract(&allowed);
                    if rest.is_empty() {
                        attempt(true)
                    } else {
                        let rest = conflicts.0.into_iter().filter(|conflict| !allowed.has(&conflict.path));
                        Err(UpdateError::Conflicts(Conflicts(rest.collect())))
                    }
                }
            }
        }
        other => other,
    };
    let (mut object, mut managed) = result.map_err(problem)?;
    if let Some(at) = managed.find(&entry) {
        let own = &mut managed.entries[at];
        own.fields.subtract(never_owned());
        if own.fields.is_empty() {
            managed.entries.remove(at);
        } else if object.is_some() {
            own.time = Some(write.now.to_owned());
        }
    }
    if write.manager == KUBECTL {
        let mut renewed = object.as_ref().unwrap_or(live).clone();
        last_applied::renew(&mut renewed, config);
        if object.is_some() || renewed != *live {
            object = Some(renewed);
        }
    }
    managed.sort();
    Ok(Applied { object, managed })
}

/// `default/web; apps/v1, Kind=Deployment`
fn subject(version: &str, object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or("");
    let version = if version.contains('/') { version.to_owned() } else { format!("/{version}") };
    let kind = object["kind"].as_str().unwrap_or("");
    format!("{}/{}; {version}, Kind={kind}", text("namespace"), text("name"))
}

fn never_owned() -> &'static Set {
    static SET: OnceLock<Set> = OnceLock::new();
    SET.get_or_init(|| Set::of_fields(NEVER_OWNED))
}

/// Puts the oldest entries of updates together until they are few enough: the first of a version stays as it is until a
/// second one comes, which makes both one.
fn cap(managed: &mut Managed) {
    let updates =
        |managed: &Managed| managed.entries.iter().filter(|entry| entry.operation == Operation::Update).count();
    if updates(managed) <= MAX_UPDATE_MANAGERS {
        return;
    }
    let mut oldest: Vec<Entry> =
        managed.entries.iter().filter(|entry| entry.operation == Operation::Update).cloned().collect();
    oldest.sort_by(|a, b| (&a.time, a.identity()).cmp(&(&b.time, b.identity())));
    let mut count = oldest.len();
    let mut first_of: Vec<Entry> = Vec::new();
    for entry in oldest {
        if count <= MAX_UPDATE_MANAGERS {
            return;
        }
        let Some(first) = first_of.iter().find(|first| first.api_version == entry.api_version) else {
            first_of.push(entry);
            continue;
        };
        let bucket = Entry { manager: ANCIENT.to_owned(), subresource: String::new(), ..entry.clone() };
        let mut fields = entry.fields.clone();
        match managed.find(&bucket) {
            Some(at) => fields.add(managed.entries.remove(at).fields),
            None => {
                if let Some(at) = managed.find(first) {
                    fields.add(managed.entries.remove(at).fields);
                }
            }
        }
        if let Some(at) = managed.find(&entry) {
            managed.entries.remove(at);
        }
        count -= 1;
        managed.entries.push(Entry { fields, ..bucket });
    }
}
