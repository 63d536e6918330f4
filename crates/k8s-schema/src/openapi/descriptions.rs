//! What types and fields are for, in a sentence each, for people who ask `kubectl explain`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

const TEXT: &str = include_str!("descriptions.txt");
/// Describes fields of that name in every type.
const ANY: &str = "*";

/// By type and field; the empty field is the type itself.
fn table() -> &'static BTreeMap<(&'static str, &'static str), &'static str> {
    static TABLE: OnceLock<BTreeMap<(&'static str, &'static str), &'static str>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = BTreeMap::new();
        let mut ty = ANY;
        for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
            let (name, sentence) = line.trim_start().split_once(' ').unwrap_or((line, ""));
            if line.starts_with(' ') {
                table.insert((ty, name), sentence);
            } else {
                ty = name;
                table.insert((ty, ""), sentence);
            }
        }
        table
    })
}

/// What a type is.
pub(super) fn of_type(name: &str) -> String {
    let known = table().get(&(name, "")).map(|sentence| (*sentence).to_owned());
    known.or_else(|| of_list(name)).unwrap_or_else(|| words(name))
}

/// `PodList` is a list of Pods.
fn of_list(name: &str) -> Option<String> {
    name.strip_suffix("List").filter(|item| !item.is_empty()).map(|item| format!("A list of objects of kind {item}."))
}

/// What a field of a type is, whose own type is known by name or not at all.
pub(super) fn of_field(ty: &str, field: &str, field_type: Option<&str>) -> String {
    let table = table();
    let known = |ty: &str, field: &str| table.get(&(ty, field)).map(|sentence| (*sentence).to_owned());
    known(ty, field).or_else(|| known(ANY, field)).or_else(|| known(field_type?, "")).unwrap_or_else(|| words(field))
}

/// `hostIPs` as a sentence: "Host IPs."
fn words(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut sentence = String::with_capacity(name.len() + 8);
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| letters[at]);
        let next_is_lower = letters.get(at + 1).is_some_and(|next| next.is_lowercase() && *next != 's');
        let begins = letter.is_uppercase() && before.is_some_and(|before| before.is_lowercase() || next_is_lower);
        if begins {
            sentence.push(' ');
        }
        match letter {
            letter if at == 0 => sentence.extend(letter.to_uppercase()),
            letter if begins && next_is_lower => sentence.extend(letter.to_lowercase()),
            letter => sentence.push(*letter),
        }
    }
    sentence.push('.');
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{self, Body};

    #[test]
    fn names_become_sentences() {
        for (name, sentence) in [
            ("terminationMessagePath", "Termination message path."),
            ("hostIPs", "Host IPs."),
            ("podIP", "Pod IP."),
            ("AWSElasticBlockStoreVolumeSource", "AWS elastic block store volume source."),
            ("x", "X."),
        ] {
            assert_eq!(words(name), sentence);
        }
        assert_eq!(of_type("PodList"), "A list of objects of kind Pod.");
        assert_eq!(
            of_field("PodSpec", "affinity", Some("Affinity")),
            "Rules on which nodes, and near which pods, the pod may run."
        );
        assert_eq!(of_field("Unknown", "ref", Some("OwnerReference")), "Another object that this one belongs to.");
    }

    #[test]
    fn every_description_is_a_sentence_about_something_that_there_is() {
        let model = model::model();
        let mut fields = std::collections::BTreeSet::new();
        let mut types = std::collections::BTreeSet::new();
        for def in model.all() {
            types.insert(def.name);
            if let Body::Struct(body) = &def.body {
                fields.extend(body.fields.iter().map(|field| (def.name, field.name)));
            }
        }
        for ((ty, field), sentence) in table() {
            if *ty == ANY {
                assert!(field.is_empty() || fields.iter().any(|(_, own)| own == field), "{field}");
                continue;
            }
            assert!(types.contains(ty), "{ty}");
            assert!(field.is_empty() || fields.contains(&(ty, field)), "{ty}.{field}");
            assert!(sentence.is_empty() || sentence.ends_with('.'), "{ty}.{field}: {sentence}");
        }
    }
}
