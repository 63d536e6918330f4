//! What types and fields are for, in a sentence or two each, for people who ask `kubectl explain`: in Minato's own words, for every
//! type and field that is served.
//!
//! The texts are a part of the program. What is kept besides is where the lines of each type are, once for all clusters, from the first question on.
//!
//! ```text
//! # a comment
//! Pod Containers that run together …       a type and what it is
//!  spec What should run …                  a field of it
//! PodCondition < Condition One thing …     a type that has fields in common with another
//! core/v1.ResourceClaim A claim …          a type of one package, where others have the name too
//! *                                        fields of that name in every type that does not describe them
//! ```

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::model::TypeDef;

const TEXTS: [&str; 9] = [
    include_str!("descriptions/access.txt"),
    include_str!("descriptions/core_cluster.txt"),
    include_str!("descriptions/core_pods.txt"),
    include_str!("descriptions/core_volumes.txt"),
    include_str!("descriptions/devices_storage.txt"),
    include_str!("descriptions/extension.txt"),
    include_str!("descriptions/network.txt"),
    include_str!("descriptions/shared.txt"),
    include_str!("descriptions/workloads.txt"),
];
/// Describes fields of that name in every type.
const ANY: &str = "*";

#[derive(Clone, Copy)]
struct Entry {
    sentence: &'static str,
    /// The type that has the fields which are not here.
    like: Option<&'static str>,
    /// A line for each field.
    fields: &'static str,
}

impl Entry {
    /// Reads the lines of one type.
    fn read(block: &'static str) -> (&'static str, Entry) {
        let (head, fields) = block.split_once('\n').unwrap_or((block, ""));
        let (name, sentence) = head.split_once(' ').unwrap_or((head, ""));
        let (like, sentence) = match sentence.strip_prefix("< ").map(|like| like.split_once(' ').unwrap_or((like, "")))
        {
            Some((like, sentence)) => (Some(like), sentence),
            None => (None, sentence),
        };
        (name, Entry { sentence, like, fields })
    }

    fn lines(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.fields.lines().filter_map(|line| line.trim_start().split_once(' '))
    }

    fn field(self, field: &str) -> Option<&'static str> {
        self.lines().find(|(name, _)| *name == field).map(|(_, sentence)| sentence)
    }
}

/// By the name of the type, with its package where others have that name too.
fn table() -> &'static BTreeMap<&'static str, Entry> {
    static TABLE: OnceLock<BTreeMap<&'static str, Entry>> = OnceLock::new();
    TABLE.get_or_init(|| TEXTS.into_iter().flat_map(blocks).map(Entry::read).collect())
}

/// The lines of each type.
fn blocks(mut text: &'static str) -> impl Iterator<Item = &'static str> {
    std::iter::from_fn(move || {
        let mut ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let end = ends.find(|end| !text[*end..].starts_with(' ')).unwrap_or(text.len());
        let (block, rest) = text.split_at(end);
        text = rest;
        Some(block).filter(|block| !block.is_empty())
    })
    .filter(|block| !block.starts_with('#'))
}

fn find(package: &str, name: &str) -> Option<Entry> {
    let table = table();
    table.get(format!("{package}.{name}").as_str()).or_else(|| table.get(name)).copied()
}

/// What a type is.
pub(super) fn of_type(def: &TypeDef) -> Option<String> {
    let known = find(def.package.short, def.name).map(|entry| entry.sentence).filter(|sentence| !sentence.is_empty());
    known.map(str::to_owned).or_else(|| def.name.strip_suffix("List").filter(|item| !item.is_empty()).map(of_list))
}

/// What a list of a kind is.
pub(super) fn of_list(item: &str) -> String {
    format!("A list of objects of kind {item}.")
}

/// What a field of a type is, whose own type may say that too.
pub(super) fn of_field(owner: &TypeDef, field: &str, field_type: Option<&TypeDef>) -> Option<String> {
    let own = find(owner.package.short, owner.name);
    let known = own.and_then(|entry| entry.field(field));
    let known = known.or_else(|| find(owner.package.short, own?.like?)?.field(field));
    known.map(str::to_owned).or_else(|| of_any_field(field)).or_else(|| of_type(field_type?))
}

/// What a field is wherever it is.
pub(super) fn of_any_field(field: &str) -> Option<String> {
    table().get(ANY)?.field(field).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{self, Body, NEWEST_MINOR};

    #[test]
    fn types_and_fields_are_described() {
        let model = model::model();
        let def = |name: &str| model.get(model.by_full_name(name).unwrap());
        let pod_spec = def("io.k8s.api.core.v1.PodSpec");
        for (name, field, expected) in [
            ("io.k8s.api.core.v1.PodSpec", "affinity", "Rules on which nodes, and near which pods, the pod may run."),
            ("io.k8s.api.core.v1.EphemeralContainer", "workingDir", "The directory in which the command starts."),
            ("io.k8s.api.core.v1.ResourceClaim", "name", "The name in spec.resourceClaims of the pod."),
            ("io.k8s.api.resource.v1.ResourceClaim", "spec", "What is asked for; it cannot be changed."),
            ("io.k8s.api.core.v1.PodList", "items", "The objects of the list."),
        ] {
            assert_eq!(of_field(def(name), field, None).as_deref(), Some(expected), "{name}.{field}");
        }
        assert_eq!(of_type(def("io.k8s.api.core.v1.PodList")).as_deref(), Some("A list of objects of kind Pod."));
        assert_eq!(
            of_field(pod_spec, "unknown", Some(def("io.k8s.api.core.v1.Affinity"))),
            of_type(def("io.k8s.api.core.v1.Affinity"))
        );
        assert_eq!(of_field(pod_spec, "unknown", None), None);
    }

    #[test]
    fn every_description_is_a_sentence_about_something_that_there_is() {
        let model = model::model();
        let mut fields: BTreeSet<(&str, &str)> = BTreeSet::new();
        let mut types: BTreeMap<String, Vec<&TypeDef>> = BTreeMap::new();
        for def in model.all() {
            types.entry(def.name.to_owned()).or_default().push(def);
            types.entry(format!("{}.{}", def.package.short, def.name)).or_default().push(def);
            if let Body::Struct(body) = &def.body {
                fields.extend(body.fields.iter().map(|field| (def.name, field.name)));
            }
        }
        let mut seen = BTreeSet::new();
        for (name, entry) in TEXTS.into_iter().flat_map(blocks).map(Entry::read) {
            assert!(seen.insert(name), "{name} is described twice");
            let mut own = BTreeSet::new();
            for (field, sentence) in entry.lines() {
                assert!(own.insert(field), "{name}.{field} is described twice");
                assert!(sentence.ends_with('.'), "{name}.{field}: {sentence}");
                let is_there = match types.get(name) {
                    _ if name == ANY => fields.iter().any(|(_, own)| *own == field),
                    Some(defs) => defs.iter().any(|def| fields.contains(&(def.name, field))),
                    None => false,
                };
                assert!(is_there, "there is no {name}.{field}");
            }
            assert!(name == ANY || types.contains_key(name), "there is no {name}");
            assert!(entry.sentence.is_empty() || entry.sentence.ends_with('.'), "{name}: {}", entry.sentence);
            assert!(entry.like.is_none_or(|like| table().contains_key(like)), "{name} is like nothing");
        }
        let spec = model.get(model.by_full_name("io.k8s.api.core.v1.PodSpec").unwrap());
        let Body::Struct(body) = &spec.body else { unreachable!("a struct") };
        for field in body.fields_of(NEWEST_MINOR) {
            assert!(find("core/v1", "PodSpec").unwrap().field(field.name).is_some(), "PodSpec.{}", field.name);
        }
    }
}
