//! Owners of `spec.replicas` seen through the subresource `scale`, which is an object of another type.

use crate::field::{Path, Set};
use crate::managed::{Entry, Managed};

/// What a version of the object has for `spec.replicas` of a `Scale`.
#[derive(Clone, Debug)]
pub enum Scaled {
    /// There is no such version.
    Unknown,
    /// The version has none.
    Nothing,
    At(Path),
}

const SCALE: &str = "autoscaling/v1";

fn replicas() -> Path {
    Path::fields(&["spec", "replicas"])
}

/// The entries of the `Scale` of an object.
pub fn scale_of_parent(parent: &Managed, scaled: &dyn Fn(&str) -> Scaled) -> Managed {
    let mut managed = Managed::default();
    for entry in &parent.entries {
        let Scaled::At(path) = scaled(&entry.api_version) else { continue };
        if entry.fields.has(&path) {
            managed.entries.push(of_scale(entry));
        }
    }
    managed.sort();
    managed
}

fn of_scale(entry: &Entry) -> Entry {
    let mut fields = Set::default();
    fields.insert(&replicas());
    Entry { api_version: SCALE.to_owned(), fields, ..entry.clone() }
}

/// The entries of an object after its `Scale` was written: whoever has lost the replicas there loses them here.
pub fn parent_of_scale(
    parent: &Managed,
    mut scale: Managed,
    version: &str,
    scaled: &dyn Fn(&str) -> Scaled,
) -> Managed {
    let mut managed = Managed::default();
    for entry in &parent.entries {
        let path = match scaled(&entry.api_version) {
            Scaled::Unknown => continue,
            Scaled::Nothing => None,
            Scaled::At(path) => Some(path).filter(|path| entry.fields.has(path)),
        };
        let Some(path) = path else {
            managed.entries.push(entry.clone());
            continue;
        };
        match scale.find(entry) {
            Some(at) => {
                scale.entries.remove(at);
                managed.entries.push(entry.clone());
            }
            None => {
                let mut entry = entry.clone();
                let mut gone = Set::default();
                gone.insert(&path);
                entry.fields.subtract(&gone);
                if !entry.fields.is_empty() {
                    managed.entries.push(entry);
                }
            }
        }
    }
    let Scaled::At(path) = scaled(version) else {
        managed.sort();
        return managed;
    };
    for entry in scale.entries.into_iter().filter(|entry| entry.fields.has(&replicas())) {
        let mut fields = Set::default();
        fields.insert(&path);
        let time = parent.find(&entry).and_then(|at| parent.entries[at].time.clone());
        // Upstream leaves two entries of one manager here, of which its next reader forgets one.
        let entry = Entry { api_version: version.to_owned(), fields, time, ..entry };
        match managed.find(&entry) {
            Some(at) => managed.entries[at].fields.add(entry.fields),
            None => managed.entries.push(entry),
        }
    }
    managed.sort();
    managed
}
