//! Problems of a text in the order in which a reader would come upon them.
//!
//! Values keep no places, and most texts have no problem or one; so the places are looked up in a second reading.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use crate::path::Path;

const UNKNOWN: &str = "unknown field ";
const DUPLICATE: &str = "duplicate field ";

/// Sorts `unknown field "…"` and `duplicate field "…"` as they come in a JSON text: an unknown field where it stands first, a
/// duplicate where it stands again. What is unknown is not looked into, so what stands twice there is no problem of its own.
pub fn sort_as_in_text(text: &[u8], problems: &mut Vec<String>) {
    let unknown: Vec<String> =
        problems.iter().filter_map(|problem| problem.strip_prefix(UNKNOWN)).map(unquoted).collect();
    problems.retain(|problem| {
        let Some(path) = problem.strip_prefix(DUPLICATE).map(unquoted) else { return true };
        let within = |own: &String| {
            path.strip_prefix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        !unknown.iter().any(within)
    });
    let mut places: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for problem in problems.iter() {
        let path = problem.strip_prefix(UNKNOWN).or_else(|| problem.strip_prefix(DUPLICATE));
        places.extend(path.map(|path| (unquoted(path), (usize::MAX, usize::MAX))));
    }
    let mut reader = Reader { path: Path::default(), at: 0, places };
    // The text has been read before; what was found before an error still counts.
    let _ = reader.deserialize(&mut serde_json::Deserializer::from_slice(text));
    let places = reader.places;
    problems.sort_by_key(|problem| {
        let place = |path: &str| places.get(&unquoted(path)).copied().unwrap_or((usize::MAX, usize::MAX));
        match (problem.strip_prefix(UNKNOWN), problem.strip_prefix(DUPLICATE)) {
            (Some(path), _) => place(path).0,
            (_, Some(path)) => place(path).1,
            _ => usize::MAX,
        }
    });
}

/// A path as problems quote it.
fn unquoted(text: &str) -> String {
    serde_json::from_str(text).unwrap_or_else(|_| text.trim_matches('"').to_owned())
}

struct Reader {
    path: Path,
    /// Counts the fields so far.
    at: usize,
    /// Where each path of interest stands first, and where again.
    places: BTreeMap<String, (usize, usize)>,
}

impl Reader {
    fn see(&mut self) {
        self.at += 1;
        if let Some((first, again)) = self.places.get_mut(self.path.as_str()) {
            let place = if *first == usize::MAX { first } else { again };
            *place = (*place).min(self.at);
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Reader {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Reader {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        for index in 0.. {
            let length = self.path.index(index);
            let item = items.next_element_seed(&mut *self)?;
            self.path.truncate(length);
            if item.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(key) = entries.next_key::<String>()? {
            let length = self.path.field(&key);
            self.see();
            entries.next_value_seed(&mut *self)?;
            self.path.truncate(length);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_come_as_they_stand_in_the_text() {
        let text =
            br#"{"spec": {"z": 1, "replicas": 1, "replicas": 2, "a": {"b": 1, "b": 2}, "a": 3, "list": [{"q\"": 1}]}}"#;
        let mut problems: Vec<String> = [
            r#"duplicate field "spec.replicas""#,
            r#"duplicate field "spec.a.b""#,
            r#"duplicate field "spec.a""#,
            r#"unknown field "spec.a""#,
            r#"unknown field "spec.list[0].q\"""#,
            r#"unknown field "spec.z""#,
        ]
        .map(str::to_owned)
        .to_vec();
        sort_as_in_text(text, &mut problems);
        let sorted = [
            r#"unknown field "spec.z""#,
            r#"duplicate field "spec.replicas""#,
            r#"unknown field "spec.a""#,
            r#"unknown field "spec.list[0].q\"""#,
        ];
        assert_eq!(problems, sorted);
    }
}
