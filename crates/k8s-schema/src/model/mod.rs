//! The table of all Kubernetes types, embedded as text and read type by type on first use.
//!
//! Opening the table only notes where each type starts; a type's lines are read when something asks for it, once per
//! process. Names are slices of the embedded text, so nothing is copied. The table must never be written by hand: it is
//! `cargo xtask k8s-models`' output.

mod parse;

use std::sync::OnceLock;

use serde_json::Value;

/// The table itself; protobuf reads it with its own eyes.
pub(crate) static TEXT: &str = include_str!("../../models/kubernetes.model");

/// The Kubernetes minor `x` of version `1.x`.
pub type Minor = u8;

/// First and last minor that the table describes.
pub const OLDEST_MINOR: Minor = 33;
pub const NEWEST_MINOR: Minor = 36;

/// The minors in which something exists, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Minors {
    pub(crate) since: Minor,
    pub(crate) until: Minor,
}

impl Minors {
    pub(crate) const ALL: Self = Self { since: OLDEST_MINOR, until: NEWEST_MINOR };

    pub(crate) fn contains(self, minor: Minor) -> bool {
        (self.since..=self.until).contains(&minor)
    }
}

/// A Go package of API types.
#[derive(Debug)]
pub(crate) struct Package {
    /// `core/v1`: what references in the table use.
    pub(crate) short: &'static str,
    /// `io.k8s.api.core.v1`: what OpenAPI uses.
    pub(crate) long: &'static str,
    /// Empty for the core group and for packages that are no API group.
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
}

impl Package {
    /// The package's name in Go, as decode errors print it.
    pub(crate) fn go_name(&self) -> &'static str {
        self.short.rsplit('/').next().unwrap_or(self.short)
    }
}

/// Where in the table a type is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeId(u16);

/// A type expression.
#[derive(Debug)]
pub(crate) struct Ty {
    /// A pointer in Go: absent and zero are different things.
    pub(crate) pointer: bool,
    pub(crate) kind: TyKind,
}

#[derive(Debug)]
pub(crate) enum TyKind {
    Any,
    Bool,
    /// Base64 in JSON.
    Bytes,
    Float64,
    Int32,
    Int64,
    List(Box<Ty>),
    Map {
        key: &'static str,
        value: Box<Ty>,
    },
    Named(TypeId),
    String,
}

/// Types whose JSON form is not that of their Go declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    Duration,
    FieldsV1,
    IntOrString,
    Json,
    /// A schema or a list of schemas.
    JsonSchemaOrArray,
    /// A schema or true or false.
    JsonSchemaOrBool,
    /// A schema or a list of strings.
    JsonSchemaOrStringArray,
    MicroTime,
    Quantity,
    RawExtension,
    Time,
}

impl Leaf {
    /// By the name of its type.
    pub(crate) fn named(name: &str) -> Option<Leaf> {
        Some(match name {
            "Duration" => Leaf::Duration,
            "FieldsV1" => Leaf::FieldsV1,
            "IntOrString" => Leaf::IntOrString,
            "JSON" => Leaf::Json,
            "JSONSchemaPropsOrArray" => Leaf::JsonSchemaOrArray,
            "JSONSchemaPropsOrBool" => Leaf::JsonSchemaOrBool,
            "JSONSchemaPropsOrStringArray" => Leaf::JsonSchemaOrStringArray,
            "MicroTime" => Leaf::MicroTime,
            "Quantity" => Leaf::Quantity,
            "RawExtension" => Leaf::RawExtension,
            "Time" => Leaf::Time,
            _ => return None,
        })
    }
}

/// One type of the table.
#[derive(Debug)]
pub(crate) struct TypeDef {
    pub(crate) package: &'static Package,
    pub(crate) name: &'static str,
    pub(crate) minors: Minors,
    pub(crate) body: Body,
}

impl TypeDef {
    /// `io.k8s.api.core.v1.Pod`
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}", self.package.long, self.name)
    }

    /// `v1.Pod`
    pub(crate) fn go_name(&self) -> String {
        format!("{}.{}", self.package.go_name(), self.name)
    }
}

#[derive(Debug)]
pub(crate) enum Body {
    Struct(Struct),
    Named(Named),
    Leaf(Leaf),
}

#[derive(Debug, Default)]
pub(crate) struct Struct {
    /// As JSON has them, embedded structs included, sorted by name, then by minor.
    pub(crate) fields: Vec<Field>,
    /// Set and patched as a whole (`+structType=atomic`).
    pub(crate) atomic: bool,
}

impl Struct {
    pub(crate) fn field(&self, name: &str, minor: Minor) -> Option<&Field> {
        let start = self.fields.partition_point(|field| field.name < name);
        self.fields[start..].iter().take_while(|field| field.name == name).find(|field| field.minors.contains(minor))
    }

    pub(crate) fn fields_of(&self, minor: Minor) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(move |field| field.minors.contains(minor))
    }
}

/// A type with a name of its own over another: enumerated strings, named maps and lists.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) ty: Ty,
    pub(crate) values: Vec<EnumValue>,
}

/// One value that a string type enumerates.
#[derive(Clone, Copy, Debug)]
pub struct EnumValue {
    pub value: &'static str,
    pub(crate) minors: Minors,
}

/// One JSON field of a struct.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    /// Protobuf field number, in the message of the struct that declares it.
    pub number: u32,
    pub(crate) ty: Ty,
    pub(crate) minors: Minors,
    /// Required in the published OpenAPI.
    pub(crate) required: bool,
    /// Declared required by a marker, not only inferred from the JSON tag.
    pub(crate) declared_required: bool,
    pub(crate) omit_empty: bool,
    pub(crate) default: Option<Value>,
    pub(crate) list_type: Option<&'static str>,
    pub(crate) list_map_keys: Vec<&'static str>,
    pub(crate) map_type: Option<&'static str>,
    /// `merge`, `replace`, `retainKeys`, or two of them.
    pub(crate) patch_strategy: Option<&'static str>,
    pub(crate) patch_merge_key: Option<&'static str>,
    pub(crate) limits: Limits,
}

/// What `+k8s:` markers declare.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) minimum: Option<i64>,
    pub(crate) maximum: Option<i64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
}

/// A type that is served on its own, with the minors in which the published API has it.
#[derive(Clone, Copy, Debug)]
pub struct KindEntry {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub since: Minor,
    pub until: Minor,
    pub life_cycle: LifeCycle,
    pub(crate) id: TypeId,
}

/// Minors in which a kind's version was introduced, deprecated and stopped being served; zero when not known or never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LifeCycle {
    pub introduced: Minor,
    pub deprecated: Minor,
    pub removed: Minor,
    /// `apps/v1/Deployment`; empty when there is none.
    pub replacement: &'static str,
}

/// The opened table.
pub(crate) struct Model {
    pub(crate) packages: Vec<Package>,
    slots: Vec<Slot>,
    kinds: Vec<KindEntry>,
}

struct Slot {
    package: u16,
    name: &'static str,
    /// The lines of the type, its own first.
    text: &'static str,
    ty: Ty,
    def: OnceLock<TypeDef>,
    has_defaults: OnceLock<bool>,
}

/// The table, opened at the first call.
pub(crate) fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| parse::open(TEXT))
}

/// Every kind of the table, sorted by group, version and kind.
pub fn kinds() -> &'static [KindEntry] {
    &model().kinds
}

impl Model {
    /// `short` as in `core/v1`.
    fn find(&self, short: &str, name: &str) -> Option<TypeId> {
        let package = self.packages.binary_search_by(|package| package.short.cmp(short)).ok()?;
        self.find_in(u16::try_from(package).ok()?, name)
    }

    fn find_in(&self, package: u16, name: &str) -> Option<TypeId> {
        let slot = self.slots.binary_search_by(|slot| slot.package.cmp(&package).then(slot.name.cmp(name))).ok()?;
        u16::try_from(slot).ok().map(TypeId)
    }

    /// By OpenAPI name, `io.k8s.api.core.v1.Pod`.
    pub(crate) fn by_full_name(&self, name: &str) -> Option<TypeId> {
        let (long, name) = name.rsplit_once('.')?;
        let package = self.packages.iter().find(|package| package.long == long)?;
        self.find(package.short, name)
    }

    pub(crate) fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<TypeId> {
        let key = (group, version, kind);
        let at = self.kinds.binary_search_by(|entry| (entry.group, entry.version, entry.kind).cmp(&key)).ok()?;
        Some(self.kinds[at].id)
    }

    /// Every type.
    #[cfg(test)]
    pub(crate) fn all(&'static self) -> impl Iterator<Item = &'static TypeDef> {
        (0..self.slots.len()).filter_map(|at| u16::try_from(at).ok()).map(|at| self.get(TypeId(at)))
    }

    pub(crate) fn get(&'static self, id: TypeId) -> &'static TypeDef {
        let slot = &self.slots[usize::from(id.0)];
        slot.def.get_or_init(|| parse::read_type(self, slot))
    }

    /// A type expression that names just this type.
    pub(crate) fn ty(&'static self, id: TypeId) -> &'static Ty {
        &self.slots[usize::from(id.0)].ty
    }

    /// A type next to `def` in its package.
    pub(crate) fn sibling(&'static self, def: &TypeDef, name: &str) -> Option<TypeId> {
        self.find(def.package.short, name)
    }

    /// Whether anything below the type has a default: most types have none, and walking them would be for nothing.
    pub(crate) fn has_defaults(&'static self, id: TypeId) -> bool {
        let slot = &self.slots[usize::from(id.0)];
        if let Some(known) = slot.has_defaults.get() {
            return *known;
        }
        let mut seen = std::collections::BTreeSet::new();
        let found = self.leads_to_default(id, &mut seen);
        *slot.has_defaults.get_or_init(|| found)
    }

    fn leads_to_default(&'static self, id: TypeId, seen: &mut std::collections::BTreeSet<TypeId>) -> bool {
        if !seen.insert(id) {
            return false;
        }
        let named = |ty: &Ty| innermost(ty);
        match &self.get(id).body {
            Body::Struct(body) => body.fields.iter().any(|field| {
                field.default.is_some() || named(&field.ty).is_some_and(|id| self.leads_to_default(id, seen))
            }),
            Body::Named(body) => named(&body.ty).is_some_and(|id| self.leads_to_default(id, seen)),
            Body::Leaf(_) => false,
        }
    }
}

/// The named type inside lists and maps.
fn innermost(ty: &Ty) -> Option<TypeId> {
    match &ty.kind {
        TyKind::Named(id) => Some(*id),
        TyKind::List(item) => innermost(item),
        TyKind::Map { value, .. } => innermost(value),
        TyKind::Any
        | TyKind::Bool
        | TyKind::Bytes
        | TyKind::Float64
        | TyKind::Int32
        | TyKind::Int64
        | TyKind::String => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn def(name: &str) -> &'static TypeDef {
        model().get(model().by_full_name(name).unwrap_or_else(|| panic!("{name} is not in the table")))
    }

    fn fields(name: &str, minor: Minor) -> Vec<&'static str> {
        match &def(name).body {
            Body::Struct(body) => body.fields_of(minor).map(|field| field.name).collect(),
            _ => panic!("{name} is no struct"),
        }
    }

    #[test]
    fn every_line_of_the_table_is_understood() {
        let model = model();
        let read: usize = (0..model.slots.len()).map(|at| model.get(TypeId(at as u16)).name.len()).sum();
        assert!(read > 0);
        assert!(model.kinds.len() > 300, "{} kinds", model.kinds.len());
        assert!(TEXT.contains(&format!("\nminors {OLDEST_MINOR} {NEWEST_MINOR}\n")));
    }

    #[test]
    fn the_order_that_lookups_rely_on_holds() {
        let model = model();
        assert!(model.packages.is_sorted_by(|a, b| a.short < b.short));
        assert!(model.slots.is_sorted_by(|a, b| (a.package, a.name) < (b.package, b.name)));
        let keys: Vec<_> = model.kinds.iter().map(|k| (k.group, k.version, k.kind)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn inline_structs_appear_as_json_has_them() {
        let cases: [(&str, &[&str]); 6] = [
            ("io.k8s.api.core.v1.Pod", &["apiVersion", "kind", "metadata", "spec", "status"]),
            ("io.k8s.api.networking.v1.IngressRule", &["host", "http"]),
            ("io.k8s.api.core.v1.SecretKeySelector", &["key", "name", "optional"]),
            ("io.k8s.api.core.v1.ConfigMapEnvSource", &["name", "optional"]),
            ("io.k8s.apimachinery.pkg.apis.meta.v1.GroupKind", &["group", "kind"]),
            ("io.k8s.api.apps.v1.RollingUpdateDeployment", &["maxSurge", "maxUnavailable"]),
        ];
        for (name, expected) in cases {
            if model().by_full_name(name).is_some() {
                assert_eq!(fields(name, NEWEST_MINOR), expected, "{name}");
            }
        }
        for (name, field) in [
            ("io.k8s.api.core.v1.Volume", "hostPath"),
            ("io.k8s.api.core.v1.Probe", "httpGet"),
            ("io.k8s.api.core.v1.PersistentVolumeSpec", "csi"),
            ("io.k8s.api.core.v1.EphemeralContainer", "image"),
        ] {
            assert!(fields(name, NEWEST_MINOR).contains(&field), "{name}.{field}");
        }
    }

    #[test]
    fn fields_exist_only_in_their_minors() {
        let rules = "restartPolicyRules";
        assert!(!fields("io.k8s.api.core.v1.Container", 33).contains(&rules));
        assert!(fields("io.k8s.api.core.v1.Container", 34).contains(&rules));
    }

    #[test]
    fn kinds_are_found_with_their_life_cycle() {
        let entry = |group: &str, version: &str, kind: &str| {
            let found = kinds().iter().find(|k| (k.group, k.version, k.kind) == (group, version, kind));
            *found.unwrap_or_else(|| panic!("{group}/{version} {kind}"))
        };
        assert_eq!(entry("", "v1", "Pod").life_cycle.removed, 0);
        assert_eq!(entry("", "v1", "Status").kind, "Status");
        let old = entry("extensions", "v1beta1", "Ingress").life_cycle;
        assert_eq!((old.deprecated, old.removed), (14, 22));
        let dra = entry("resource.k8s.io", "v1", "ResourceClaim");
        assert_eq!((dra.since, dra.until), (34, NEWEST_MINOR));
    }
}
