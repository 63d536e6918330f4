//! The table of built-in kinds, one file each, and the shape that custom resources take too.
//!
//! A [`Kind`] says what is particular about a kind; everything else is the API server's one generic path. Nothing here
//! does io or knows who asks.

mod addresses;
mod age;
pub mod causes;
pub mod columns;
mod conditions;
pub mod cron;
mod difference;
pub mod expressions;
mod fields;
pub mod flow_control;
mod kinds;
pub mod names;
mod pem;
mod pod_spec;
pub mod quota;
mod resource_names;
mod strategy;
#[cfg(test)]
mod testing;
pub mod type_check;
mod volume_sources;
mod web;
mod workload;

use std::borrow::Cow;

use k8s_object::{Cause, ObjectMeta};
use serde_json::Value;

pub use addresses::parse_lenient as parse_ip_lenient;
pub use age::human_duration;
pub use columns::Column;
pub use fields::at;
pub use kinds::{KINDS, service_addresses};
pub use pod_spec::is_pod_terminal;

/// Where the objects of a kind live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    Namespaced,
}

/// What a strategy needs to know beside the object.
pub struct Context<'a> {
    /// Minor of Kubernetes 1.x that the cluster serves.
    pub minor: u8,
    /// The moment of the request.
    pub now: world::Timestamp,
    /// The object before an update; absent on create.
    pub old: Option<&'a Value>,
    /// The subresource written, empty for the object itself.
    pub subresource: &'a str,
}

impl Context<'_> {
    /// Whether the object itself is written, and not one of its subresources.
    pub fn is_main(&self) -> bool {
        self.subresource.is_empty()
    }
}

/// A resource below an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subresource {
    pub name: &'static str,
    /// Group, version and kind of what is read or written there, e.g. `autoscaling/v1 Scale`; empty for the object's own.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub verbs: &'static [&'static str],
}

/// `status` of most kinds.
pub const STATUS: Subresource =
    Subresource { name: "status", group: "", version: "", kind: "", verbs: &["get", "patch", "update"] };

/// `scale` of workloads.
pub const SCALE: Subresource = Subresource {
    name: "scale",
    group: "autoscaling",
    version: "v1",
    kind: "Scale",
    verbs: &["get", "patch", "update"],
};

/// What is below a kind and passed on to somebody else, upgraded: `exec` and its like, by what its parameters are called.
pub const fn stream(name: &'static str, kind: &'static str) -> Subresource {
    Subresource { name, group: "", version: "v1", kind, verbs: &["create", "get"] }
}

/// `proxy` of what is a server, by what its parameters are called.
pub const fn proxy(kind: &'static str) -> Subresource {
    Subresource {
        name: "proxy",
        group: "",
        version: "v1",
        kind,
        verbs: &["create", "delete", "get", "patch", "update"],
    }
}

/// What most kinds can do, in the order of discovery.
pub const ALL_VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// That a version should not be used any more.
#[derive(Clone, Copy)]
pub struct Deprecation {
    pub since: u8,
    /// Version and kind, e.g. `discovery.k8s.io/v1 EndpointSlice`; empty when there is none.
    pub replacement: &'static str,
}

/// How one version's form of a kind differs from the form in which its objects are stored, beyond `apiVersion`.
#[derive(Clone, Copy)]
pub struct Conversion {
    pub to_storage: fn(&mut Value),
    pub from_storage: fn(&mut Value),
    /// A selectable field by its name in the stored form.
    pub selectable: for<'a> fn(&'a str) -> &'a str,
}

/// One version of a built-in kind.
pub struct Kind {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    /// Plural lower-case name in paths.
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub scope: Scope,
    /// Verbs of discovery, e.g. `create delete deletecollection get list patch update watch`. A kind that cannot be watched
    /// is virtual: the server answers and stores nothing.
    pub verbs: &'static [&'static str],
    /// First minor that serves it, and the first that does not.
    pub since: u8,
    pub until: Option<u8>,
    /// Since when clients are warned of using it, and what they should use.
    pub deprecated: Option<Deprecation>,
    /// The row in whose form its objects are kept, where that is not this one: of another version of the kind, or of another
    /// group that has the same objects (Events). All rows that are stored as one share its objects.
    pub stored_as: Option<&'static Kind>,
    /// How this form differs from the stored one; `None` where only `apiVersion` does.
    pub conversion: Option<Conversion>,
    /// Name of its type in the schema model, e.g. `io.k8s.api.core.v1.Pod`.
    pub type_name: &'static str,
    pub subresources: &'static [Subresource],
    /// Their cells are read from the stored form.
    pub columns: &'static [Column],
    /// Paths that field selectors may name beside `metadata.name` and `metadata.namespace`, as this version calls them.
    pub selectable: &'static [&'static str],
    /// The value of a selectable path; by default what stands there, written as text. It may be asked of an object that has only
    /// the scalars of its first two levels, since it is asked of every state of every object.
    pub field: for<'a> fn(&'a Value, &str) -> Cow<'a, str>,
    /// What is wrong with a name (or with a prefix of one, if the flag is set), upstream's words.
    pub name_rule: names::Rule,
    /// Another rule, and the minor from which on new names follow it.
    pub later_name_rule: Option<(u8, names::Rule)>,
    /// Whether `metadata.generation` counts changes, and of what: whether this pair of old and new object is one.
    pub has_generation: bool,
    pub counts_as_change: fn(&Value, &Value) -> bool,
    /// Whether an update must say which state it changes (strategies' `AllowUnconditionalUpdate`).
    pub updates_name_version: bool,
    /// Whether an update of what is not there creates it (strategies' `AllowCreateOnUpdate`).
    pub creates_on_update: bool,
    /// Whether a delete answers with the last state of the object, not with a Status (stores' `ReturnDeletedObject`).
    pub returns_deleted: bool,
    /// Defaults that upstream sets in code; run on what clients send and on what is read from old storage.
    pub default: fn(&mut Value, &Context<'_>),
    /// Before create: clears what clients may not set (status, for instance) and fills what the server sets.
    pub prepare_create: fn(&mut Value, &Context<'_>),
    /// Before update of the object or a subresource: carries over from `old` what this write may not change.
    pub prepare_update: fn(&mut Value, &Context<'_>),
    /// Rules beyond the schema and beyond [`names::metadata`]; both for create (no `old`) and update.
    pub validate: fn(&Value, &Context<'_>) -> Vec<Cause>,
    /// Warnings for the client (`Warning` header).
    pub warnings: fn(&Value, &Context<'_>) -> Vec<String>,
    /// Whether a delete that does not say what becomes of dependents leaves them: kinds that upstream's first clients
    /// took apart themselves.
    pub orphans_by_default: bool,
    /// Seconds to wait between a delete and the removal of the object, from the object and what was asked;
    /// 0 removes at once. Only pods have more.
    pub grace_period: fn(&Value, &ObjectMeta, Option<i64>) -> i64,
}

impl Kind {
    /// A namespaced kind of `v1` without anything particular; a row says what differs.
    pub const BASE: Kind = Kind {
        group: "",
        version: "v1",
        kind: "",
        plural: "",
        singular: "",
        short_names: &[],
        categories: &[],
        scope: Scope::Namespaced,
        verbs: ALL_VERBS,
        since: 0,
        until: None,
        deprecated: None,
        stored_as: None,
        conversion: None,
        type_name: "",
        subresources: &[],
        columns: &[columns::NAME, columns::AGE],
        selectable: &[],
        field: fields::text_at,
        name_rule: names::subdomain,
        later_name_rule: None,
        has_generation: false,
        counts_as_change: strategy::changes_beyond_status,
        updates_name_version: false,
        creates_on_update: false,
        returns_deleted: false,
        default: |_, _| {},
        prepare_create: |_, _| {},
        prepare_update: |_, _| {},
        validate: |_, _| Vec::new(),
        warnings: |_, _| Vec::new(),
        orphans_by_default: false,
        grace_period: |_, _, _| 0,
    };

    /// `v1`, or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Whether Kubernetes 1.`minor` serves it.
    pub fn is_served(&self, minor: u8) -> bool {
        minor >= self.since && self.until.is_none_or(|until| minor < until)
    }

    /// What names follow in Kubernetes 1.`minor`.
    pub fn name_rule(&self, minor: u8) -> names::Rule {
        self.later_name_rule.filter(|(since, _)| minor >= *since).map_or(self.name_rule, |(_, rule)| rule)
    }

    /// Whether the kind is only asked, never stored: what is stored can be watched.
    pub fn is_virtual(&self) -> bool {
        !self.verbs.contains(&"watch")
    }

    /// The row in whose form its objects are kept.
    pub fn stored(&'static self) -> &'static Kind {
        self.stored_as.unwrap_or(self)
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }
}

/// The kind behind a path.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    let key = (group, plural, version);
    let at = KINDS.binary_search_by(|kind| (kind.group, kind.plural, kind.version).cmp(&key)).ok()?;
    Some(KINDS[at])
}

/// The kind behind `apiVersion` and `kind` of an object.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|row| (row.group, row.version, row.kind) == (group, version, kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn rows_are_sorted_and_complete() {
        let keys: Vec<_> = KINDS.iter().map(|kind| (kind.group, kind.plural, kind.version)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "out of order or repeated: {keys:?}");
        let mut names = BTreeSet::new();
        for kind in KINDS {
            assert!(names.insert((kind.group, kind.version, kind.kind)), "{} is repeated", kind.kind);
            assert!(names.insert(("", "", kind.type_name)), "{} is repeated", kind.type_name);
            assert!(kind.type_name.ends_with(&format!(".{}.{}", kind.version, kind.kind)), "{}", kind.type_name);
            assert!(!kind.verbs.is_empty() && kind.verbs.is_sorted(), "{}", kind.kind);
            assert_eq!(kind.singular, kind.kind.to_lowercase());
            assert!(kind.subresources.is_sorted_by(|a, b| a.name < b.name), "{}", kind.kind);
            assert!(kind.selectable.is_sorted_by(|a, b| a < b), "{}", kind.kind);
            assert!(kind.until.is_none_or(|until| until > kind.since), "{}", kind.kind);
            let stored = kind.stored();
            assert!(stored.stored_as.is_none(), "{} is stored as what is not stored", kind.type_name);
            assert!(kind.conversion.is_none() || kind.stored_as.is_some(), "{}", kind.type_name);
            let same = |row: &Kind| (row.scope == Scope::Namespaced, row.kind, row.plural, row.singular);
            assert_eq!(same(kind), same(stored), "{}", kind.type_name);
        }
    }

    /// Versions of one kind that did not share a row to be stored as would each have objects of their own.
    #[test]
    fn versions_of_a_kind_are_stored_as_one() {
        for pair in KINDS.windows(2).filter(|pair| (pair[0].group, pair[0].plural) == (pair[1].group, pair[1].plural)) {
            assert_eq!(pair[0].stored().type_name, pair[1].stored().type_name);
        }
    }

    /// After one way there and back, which drops what says the same twice, nothing changes any more.
    #[test]
    fn conversions_of_the_published_examples_come_back() {
        let context = Context { minor: 34, now: world::Timestamp::from_seconds(0), old: None, subresource: "" };
        for kind in KINDS {
            let Some(conversion) = kind.conversion else { continue };
            let settles = |object: Value, there: fn(&mut Value), back: fn(&mut Value)| {
                let way = |object: &Value| {
                    let mut object = object.clone();
                    there(&mut object);
                    back(&mut object);
                    object
                };
                let once = way(&object);
                assert_eq!(way(&once), once, "{}", kind.type_name);
            };
            if let (Some(object), Some(mut stored)) = (example(kind), example(kind.stored())) {
                (kind.stored().default)(&mut stored, &context);
                settles(object, conversion.to_storage, conversion.from_storage);
                settles(stored, conversion.from_storage, conversion.to_storage);
            }
        }
    }

    fn examples() -> String {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
        std::env::var("MINATO_TEST_DATA").unwrap_or_else(|_| folder.to_owned())
    }

    /// The published example of a kind, which sets every field.
    fn example(kind: &Kind) -> Option<Value> {
        let group = if kind.group.is_empty() { "core" } else { kind.group };
        let file = format!("{}/kubernetes/{group}.{}.{}.json", examples(), kind.version, kind.kind);
        Some(serde_json::from_str(&std::fs::read_to_string(file).ok()?).unwrap())
    }

    #[test]
    fn every_row_of_every_file_is_registered() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/kinds");
        let mut rows = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            rows += text
                .lines()
                .filter(|line| line.starts_with("pub(crate) static ") && line.contains(": Kind = "))
                .count();
        }
        assert_eq!(rows, KINDS.len());
    }

    #[test]
    fn every_type_is_in_the_schema_model() {
        for minor in k8s_schema::OLDEST_MINOR..=k8s_schema::NEWEST_MINOR {
            for kind in KINDS.iter().filter(|kind| kind.is_served(minor)) {
                assert!(
                    k8s_schema::Schema::builtin(kind.type_name, minor).is_some(),
                    "{} in 1.{minor}",
                    kind.type_name
                );
            }
        }
    }

    /// The published examples set every field of every kind: defaults must settle, and rules must bear them.
    #[test]
    fn rows_bear_the_published_examples() {
        let mut seen = 0;
        for kind in KINDS {
            let Some(mut object) = example(kind) else { continue };
            let context = Context { minor: 34, now: world::Timestamp::from_seconds(0), old: None, subresource: "" };
            (kind.default)(&mut object, &context);
            let once = object.clone();
            (kind.default)(&mut object, &context);
            assert_eq!(object, once, "the defaults of {} do not settle", kind.kind);
            let _ = (kind.validate)(&object, &context);
            if let Some(conversion) = kind.conversion {
                (conversion.to_storage)(&mut object);
            }
            for column in kind.columns {
                assert!(!(column.cell)(&object, context.now).is_null(), "{} {}", kind.kind, column.name);
            }
            seen += 1;
        }
        if seen == 0 {
            eprintln!("skipped: there is no test data at {}", examples());
        } else {
            assert!(seen > 25, "{seen}");
        }
    }

    #[test]
    fn short_names_lead_to_one_kind() {
        let mut seen = std::collections::BTreeMap::new();
        for (name, kind) in KINDS.iter().flat_map(|kind| kind.short_names.iter().map(move |name| (name, kind))) {
            let plural = seen.entry(name).or_insert(kind.plural);
            assert_eq!(*plural, kind.plural, "{name} is taken twice");
        }
    }

    #[test]
    fn columns_are_unique_and_begin_with_the_name() {
        for kind in KINDS.iter().filter(|kind| !kind.is_virtual()) {
            let names: BTreeSet<&str> = kind.columns.iter().map(|column| column.name).collect();
            assert_eq!(names.len(), kind.columns.len(), "{}", kind.kind);
            assert!(kind.columns.iter().any(|column| column.format == "name"), "{}", kind.kind);
            assert!(kind.columns.iter().all(|column| column.description.ends_with('.')), "{}", kind.kind);
        }
    }

    #[test]
    fn kinds_are_found_by_path_and_by_kind() {
        for kind in KINDS {
            let found = find(kind.group, kind.version, kind.plural).map(|found| found.type_name);
            assert_eq!(found, Some(kind.type_name));
            assert_eq!(by_kind(kind.group, kind.version, kind.kind).map(|found| found.plural), Some(kind.plural));
        }
        assert!(find("apps", "v1beta1", "deployments").is_none() && find("", "v1", "deployments").is_none());
    }

    /// Fns of every row take whatever JSON a client can send without harm.
    #[test]
    fn rows_survive_any_json() {
        use serde_json::json;
        let shapes = [
            json!(null),
            json!([]),
            json!({"metadata": [], "spec": [], "status": 3, "data": "x", "rules": {}, "subjects": [3], "ports": [null]}),
            json!({"metadata": {"labels": []}, "spec": {"template": 3, "ports": [3], "containers": [null], "versions": [1]}}),
            json!({"spec": {"template": {"spec": {"containers": [{"ports": [{}], "env": [{"valueFrom": 1}]}]}}, "names": []}}),
        ];
        for kind in KINDS {
            for shape in &shapes {
                for (old, subresource) in [(None, ""), (Some(shape), ""), (Some(shape), "status")] {
                    let context = Context { minor: 34, now: world::Timestamp::from_seconds(0), old, subresource };
                    let mut object = shape.clone();
                    (kind.default)(&mut object, &context);
                    if old.is_none() {
                        (kind.prepare_create)(&mut object, &context);
                    } else {
                        (kind.prepare_update)(&mut object, &context);
                    }
                    let _ = ((kind.validate)(&object, &context), (kind.warnings)(&object, &context));
                    if let Some(conversion) = kind.conversion {
                        (conversion.from_storage)(&mut object);
                        (conversion.to_storage)(&mut object);
                    }
                    for column in kind.columns {
                        (column.cell)(&object, context.now);
                    }
                    for path in kind.selectable {
                        (kind.field)(&object, path);
                    }
                    (kind.grace_period)(&object, &ObjectMeta::default(), None);
                }
            }
        }
    }
}
