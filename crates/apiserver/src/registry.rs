//! What a cluster serves: built-in kinds, whose descriptions all clusters share, and custom ones; and the watch cache of each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use k8s_kinds::{Conversion, Kind, Scope};
use k8s_object::{ApiError, GroupVersionKind, GroupVersionResource, Reason};

use crate::cache::Cache;
use crate::crd::{self, Custom};
use crate::fields::Extractor;
use crate::schema::TypeSchema;

/// A resource below an object.
#[derive(Debug, Clone)]
pub(crate) struct Subresource {
    pub name: String,
    /// What is read and written there; the object's own kind when absent.
    pub kind: Option<GroupVersionKind>,
    pub verbs: &'static [&'static str],
}

/// What is particular about a kind.
pub(crate) enum Strategy {
    Builtin(&'static Kind),
    Custom(Custom),
}

/// One version of one resource.
pub(crate) struct Resource {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub singular: String,
    pub kind: String,
    pub list_kind: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    pub verbs: &'static [&'static str],
    /// What clients are warned of that use it, if it is deprecated.
    pub deprecation: Option<String>,
    /// A version may be stored and not served.
    pub served: bool,
    pub subresources: Vec<Subresource>,
    pub strategy: Strategy,
    pub schema: TypeSchema,
}

impl Resource {
    fn builtin(kind: &'static Kind, minor: u8) -> Resource {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let subresources = kind.subresources.iter().map(|subresource| Subresource {
            name: subresource.name.to_owned(),
            kind: (!subresource.kind.is_empty())
                .then(|| GroupVersionKind::of(subresource.group, subresource.version, subresource.kind)),
            verbs: subresource.verbs,
        });
        Resource {
            group: kind.group.to_owned(),
            version: kind.version.to_owned(),
            plural: kind.plural.to_owned(),
            singular: kind.singular.to_owned(),
            kind: kind.kind.to_owned(),
            list_kind: format!("{}List", kind.kind),
            short_names: texts(kind.short_names),
            categories: texts(kind.categories),
            namespaced: kind.scope == Scope::Namespaced,
            verbs: kind.verbs,
            deprecation: deprecation(kind, minor),
            served: kind.is_served(minor),
            subresources: subresources.collect(),
            strategy: Strategy::Builtin(kind),
            schema: TypeSchema::builtin(kind.group, kind.version, kind.kind, minor),
        }
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    pub(crate) fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// How this version's form differs from the stored one, beyond `apiVersion`.
    pub(crate) fn conversion(&self) -> Option<Conversion> {
        match &self.strategy {
            Strategy::Builtin(kind) => kind.conversion,
            Strategy::Custom(_) => None,
        }
    }

    /// A selectable field by its name in the stored form; `None` for one that this version does not have.
    pub(crate) fn stored_field<'a>(&self, path: &'a str) -> Option<&'a str> {
        match &self.strategy {
            Strategy::Builtin(kind) => match kind.conversion {
                Some(conversion) => kind.selectable.contains(&path).then(|| (conversion.selectable)(path)),
                None => Some(path),
            },
            Strategy::Custom(custom) => custom.selectable.iter().any(|own| own == path).then_some(path),
        }
    }

    pub(crate) fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }

    /// The group that errors about the kind name: that of the form it is stored in, as upstream knows only that by then.
    pub(crate) fn kind_group(&self) -> &str {
        match &self.strategy {
            Strategy::Builtin(kind) => kind.stored().group,
            Strategy::Custom(_) => &self.group,
        }
    }

    pub(crate) fn not_found(&self, name: &str) -> ApiError {
        ApiError::not_found(&self.group, &self.plural, name)
    }

    pub(crate) fn conflict(&self, name: &str, why: &str) -> ApiError {
        ApiError::conflict(&self.group, &self.plural, name, why)
    }

    pub(crate) fn forbidden(&self, name: &str, why: &str) -> ApiError {
        ApiError::forbidden(&self.group, &self.plural, name, why)
    }

    /// Only asked, never stored.
    pub(crate) fn is_virtual(&self) -> bool {
        matches!(&self.strategy, Strategy::Builtin(kind) if kind.is_virtual())
    }
}

/// Upstream's warning of a version that is deprecated in the minor.
fn deprecation(kind: &Kind, minor: u8) -> Option<String> {
    let deprecation = kind.deprecated.filter(|deprecation| minor >= deprecation.since)?;
    let (version, name) = (kind.api_version(), kind.kind);
    let instead = match deprecation.replacement {
        "" => String::new(),
        replacement => format!("; use {replacement}"),
    };
    Some(format!("{version} {name} is deprecated in v1.{}+{instead}", deprecation.since))
}

/// What decides how a custom resource is served: with any other, its objects may read otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    pub uid: String,
    /// SHA-256 of the specification and of the names that were accepted. The generation would do if deletion did not count too,
    /// which leaves the objects as they are.
    pub digest: [u8; 32],
}

/// All versions of one resource in one group, and its objects.
#[derive(Clone)]
pub(crate) struct Entry {
    /// Shared with the other group where two have the same objects (Events).
    pub cache: Arc<Cache>,
    /// The most preferred first.
    pub versions: Vec<Arc<Resource>>,
    /// In which form, and below which group and plural, objects are stored: one of `versions`, or another group's.
    pub stored: Arc<Resource>,
    /// Served versions of the other group where two have the same objects.
    pub equivalents: Vec<Arc<Resource>>,
    /// Where it comes from, if it is no built-in resource.
    pub definition: Option<Definition>,
}

impl Entry {
    /// The versions in which whoever admits objects may want them: the group's own, by their places, then the other group's.
    pub(crate) fn forms(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.versions.iter().chain(&self.equivalents)
    }

    /// One of [`Entry::forms`] by its place.
    pub(crate) fn form(&self, at: usize) -> &Arc<Resource> {
        match at.checked_sub(self.versions.len()) {
            None => &self.versions[at],
            Some(at) => &self.equivalents[at],
        }
    }

    /// A version that can be asked for: one that is served, and any while a definition is going, or nobody could take its objects.
    pub(crate) fn version(&self, version: &str) -> Option<&Arc<Resource>> {
        let goes = |resource: &Resource| matches!(&resource.strategy, Strategy::Custom(custom) if custom.terminating);
        self.versions.iter().find(|resource| resource.version == version && (resource.served || goes(resource)))
    }

    /// Built-in resources cannot be defined anew.
    fn is_builtin(&self) -> bool {
        self.versions.iter().any(|resource| matches!(resource.strategy, Strategy::Builtin(_)))
    }

    pub(crate) fn stored(&self) -> &Arc<Resource> {
        &self.stored
    }

    /// Whether the objects are this group's own, and not another's that it shows too.
    pub(crate) fn is_own(&self) -> bool {
        self.versions.first().is_some_and(|resource| resource.group == self.stored.group)
    }
}

/// Entries by group and plural.
pub(crate) type Groups = BTreeMap<String, BTreeMap<String, Entry>>;

/// What is served at one moment.
#[derive(Clone, Default)]
pub(crate) struct Served {
    pub groups: Groups,
    /// Counts changes of the set; caches of discovery and OpenAPI hang on it.
    pub generation: u64,
}

impl Served {
    pub(crate) fn entry(&self, group: &str, plural: &str) -> Option<&Entry> {
        self.groups.get(group)?.get(plural)
    }

    pub(crate) fn find(&self, gvr: &GroupVersionResource) -> Option<(&Entry, &Arc<Resource>)> {
        let entry = self.entry(&gvr.group, &gvr.resource)?;
        Some((entry, entry.version(&gvr.version)?))
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.groups.values().flat_map(BTreeMap::values)
    }

    /// Every served version of every resource.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.entries().flat_map(|entry| &entry.versions).filter(|resource| resource.served)
    }

    /// Whether anything is served under a group and version.
    pub(crate) fn serves_version(&self, group: &str, version: &str) -> bool {
        let entries = self.groups.get(group).into_iter().flat_map(BTreeMap::values);
        entries.into_iter().any(|entry| entry.version(version).is_some())
    }

    /// Whether built-in resources are served under a group and version. No others are then, as upstream's handler of custom resources
    /// is never asked for what the servers before it have.
    pub(crate) fn is_built_in(&self, group: &str, version: &str) -> bool {
        let mut entries = self.groups.get(group).into_iter().flat_map(BTreeMap::values);
        entries.any(|entry| entry.is_builtin() && entry.version(version).is_some())
    }

    /// Versions of a group, the most preferred first.
    pub(crate) fn versions(&self, group: &str) -> Vec<String> {
        let entries = self.groups.get(group).into_iter().flat_map(BTreeMap::values);
        let mut versions: Vec<String> = entries
            .flat_map(|entry| &entry.versions)
            .filter(|resource| resource.served)
            .map(|resource| resource.version.clone())
            .collect();
        versions.sort_by(|a, b| compare_versions(b, a));
        versions.dedup();
        versions
    }
}

/// Orders versions by stability, then by number: v2 > v1 > v1beta2 > v1beta1 > v1alpha1 > others.
pub(crate) fn compare_versions(a: &str, b: &str) -> std::cmp::Ordering {
    fn rank(version: &str) -> Option<(u8, u64, u64)> {
        let rest = version.strip_prefix('v')?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major = rest[..end].parse().ok()?;
        let (level, minor) = match &rest[end..] {
            "" => return Some((2, major, 0)),
            tail => match (tail.strip_prefix("beta"), tail.strip_prefix("alpha")) {
                (Some(minor), _) => (1, minor),
                (_, Some(minor)) => (0, minor),
                _ => return None,
            },
        };
        Some((level, major, minor.parse().ok()?))
    }
    // Versions of no known form come last, in alphabetical order, which is the reverse of a comparison.
    rank(a).cmp(&rank(b)).then_with(|| if rank(a).is_none() { b.cmp(a) } else { std::cmp::Ordering::Equal })
}

/// The built-in kinds of a minor, described once for all clusters; the caches are each cluster's own.
fn builtins(minor: u8) -> Vec<Arc<Resource>> {
    static KNOWN: OnceLock<Mutex<BTreeMap<u8, Vec<Arc<Resource>>>>> = OnceLock::new();
    let mut known = KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let described = known.entry(minor).or_insert_with(|| {
        let served = |kind: &Kind| kind.is_served(minor);
        // A version that is stored and not served is there too.
        let stored = |kind: &&'static &'static Kind| {
            let name = kind.type_name;
            k8s_kinds::KINDS.iter().any(|other| served(other) && other.stored().type_name == name)
        };
        let kinds = k8s_kinds::KINDS.iter().filter(|kind| served(kind) || stored(kind));
        kinds.map(|kind| Arc::new(Resource::builtin(kind, minor))).collect()
    });
    described.clone()
}

/// Lets entries of two groups that have the same objects know each other's versions.
fn share_equivalents(groups: &mut Groups) {
    let served = |entry: &Entry| entry.versions.iter().filter(|own| own.served).cloned().collect::<Vec<_>>();
    let all = |groups: &Groups| groups.values().flat_map(BTreeMap::values).cloned().collect::<Vec<Entry>>();
    for shown in all(groups).iter().filter(|entry| !entry.is_own()) {
        let owner = all(groups).into_iter().find(|entry| entry.is_own() && Arc::ptr_eq(&entry.cache, &shown.cache));
        let Some(owner) = owner else { continue };
        for (entry, others) in [(shown, served(&owner)), (&owner, served(shown))] {
            let Some(first) = entry.versions.first() else { continue };
            let by_plural = groups.get_mut(&first.group);
            if let Some(entry) = by_plural.and_then(|by_plural| by_plural.get_mut(&first.plural)) {
                entry.equivalents.extend(others);
            }
        }
    }
}

/// What one cluster serves.
pub(crate) struct Registry(RwLock<Arc<Served>>);

impl Registry {
    /// The built-in kinds of a minor.
    pub(crate) fn new(minor: u8) -> Registry {
        let builtins = builtins(minor);
        let kind_of = |resource: &Resource| match &resource.strategy {
            Strategy::Builtin(kind) => Some(*kind),
            Strategy::Custom(_) => None,
        };
        let mut caches = BTreeMap::new();
        let mut groups = Groups::new();
        for resource in &builtins {
            let Some(kind) = kind_of(resource) else { continue };
            let stored = kind.stored();
            let cache: &Arc<Cache> = caches
                .entry((stored.group, stored.plural))
                .or_insert_with(|| Arc::new(Cache::new(Extractor::of(stored), 0)));
            let is_stored =
                |other: &&Arc<Resource>| kind_of(other).is_some_and(|own| own.type_name == stored.type_name);
            let stored = builtins.iter().find(is_stored).unwrap_or(resource);
            let by_plural = groups.entry(resource.group.clone()).or_default();
            let entry = by_plural.entry(resource.plural.clone()).or_insert_with(|| Entry {
                cache: cache.clone(),
                versions: Vec::new(),
                stored: stored.clone(),
                equivalents: Vec::new(),
                definition: None,
            });
            entry.versions.push(resource.clone());
            entry.versions.sort_by(|a, b| compare_versions(&b.version, &a.version));
        }
        share_equivalents(&mut groups);
        Registry(RwLock::new(Arc::new(Served { groups, generation: 0 })))
    }

    /// What is served now.
    pub(crate) fn served(&self) -> Arc<Served> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The objects of a built-in resource.
    pub(crate) fn cache(&self, group: &str, plural: &str) -> Option<Arc<Cache>> {
        let served = self.0.read().unwrap_or_else(PoisonError::into_inner);
        served.entry(group, plural).map(|entry| entry.cache.clone())
    }

    /// An entry and the version of it that a path names.
    ///
    /// # Errors
    /// Upstream's 404 for what is not served.
    pub(crate) fn find(&self, gvr: &GroupVersionResource) -> Result<(Entry, Arc<Resource>), ApiError> {
        let served = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = served.find(gvr).map(|(entry, resource)| (entry.clone(), resource.clone()));
        found.ok_or_else(|| ApiError::new(Reason::NotFound, "the server could not find the requested resource"))
    }

    /// Serves a custom resource from now on, or changes what is served of it; its objects stay. Whoever watches them has to begin
    /// anew, as upstream begins with a new storage.
    pub(crate) fn install(
        &self,
        definition: Definition,
        versions: Vec<Arc<Resource>>,
        storage: usize,
        extractor: Extractor,
        revision: i64,
    ) {
        let (Some(first), Some(stored)) = (versions.first(), versions.get(storage).cloned()) else { return };
        let (group, plural) = (first.group.clone(), first.plural.clone());
        let mut slot = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut served = Served::clone(&slot);
        let by_plural = served.groups.entry(group).or_default();
        if by_plural.get(&plural).is_some_and(Entry::is_builtin) {
            return;
        }
        let cache = match by_plural.get(&plural) {
            Some(entry) => {
                if entry.definition.as_ref() != Some(&definition) {
                    let anew = crd::reads_otherwise(&entry.versions, &versions);
                    let read = |object| crd::as_read(&versions, object);
                    entry.cache.redefine(extractor, revision, anew.then_some(&read));
                }
                entry.cache.clone()
            }
            None => Arc::new(Cache::new(extractor, revision)),
        };
        by_plural
            .insert(plural, Entry { cache, versions, stored, equivalents: Vec::new(), definition: Some(definition) });
        served.generation += 1;
        *slot = Arc::new(served);
    }

    /// No longer serves a custom resource.
    pub(crate) fn uninstall(&self, group: &str, plural: &str, revision: i64) {
        let mut slot = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut served = Served::clone(&slot);
        if let Some(by_plural) = served.groups.get_mut(group) {
            if by_plural.get(plural).is_none_or(Entry::is_builtin) {
                return;
            }
            if let Some(entry) = by_plural.remove(plural) {
                // Watches end. Whoever asks again is told that there is nothing to watch.
                entry.cache.end(revision);
            }
            if by_plural.is_empty() {
                served.groups.remove(group);
            }
        }
        served.generation += 1;
        *slot = Arc::new(served);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_stability() {
        let mut versions = ["foo", "v1alpha1", "v1", "v1beta1", "v2", "bar", "v1beta2", "v10"];
        versions.sort_by(|a, b| compare_versions(b, a));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "bar", "foo"]);
    }

    #[test]
    fn no_resource_stands_in_the_table_twice() {
        let registry = Registry::new(35);
        for entry in registry.served().entries() {
            let mut versions: Vec<&str> = entry.versions.iter().map(|resource| resource.version.as_str()).collect();
            let count = versions.len();
            versions.dedup();
            assert_eq!(versions.len(), count, "{}", entry.stored().plural);
        }
    }

    #[test]
    fn groups_with_the_same_objects_share_their_cache() {
        let registry = Registry::new(35);
        let served = registry.served();
        let (core, events) = (served.entry("", "events").unwrap(), served.entry("events.k8s.io", "events").unwrap());
        assert!(Arc::ptr_eq(&core.cache, &events.cache) && Arc::ptr_eq(&core.stored, &events.stored));
        assert!(core.is_own() && !events.is_own());
        assert_eq!(
            (core.form(1).api_version(), events.form(1).api_version()),
            ("events.k8s.io/v1".into(), "v1".into())
        );
        assert_eq!(served.entries().filter(|entry| !entry.equivalents.is_empty()).count(), 2);
        assert_eq!(events.versions[0].stored_field("regarding.name"), Some("involvedObject.name"));
        assert_eq!(events.versions[0].stored_field("involvedObject.name"), None);
    }
}
