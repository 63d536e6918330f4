//! The entries of `metadata.managedFields`: read, kept apart by who they are of, written in upstream's order.

use std::cmp::Ordering;

use serde::Deserialize;
use serde_json::Value;
use world::Timestamp;

use crate::field::Set;

/// How a manager writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// What one manager has set in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub manager: String,
    pub operation: Operation,
    /// The version whose fields these are, `apps/v1`.
    pub api_version: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// RFC 3339; absent where upstream leaves it out.
    pub time: Option<String>,
    pub fields: Set,
}

impl Entry {
    /// Whether two entries are of the same manager writing in the same way. Who applies is one, whatever the version.
    pub fn is_of(&self, other: &Entry) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// As upstream orders managers in messages.
    pub(crate) fn identity(&self) -> (&str, Operation, &str, &str) {
        let version = if self.operation == Operation::Apply { "" } else { self.api_version.as_str() };
        (&self.manager, self.operation, version, &self.subresource)
    }

    fn order(&self, other: &Entry) -> Ordering {
        let key = |entry: &Entry| (entry.operation, entry.time.clone().unwrap_or_default());
        let rest = |entry: &Entry| (entry.manager.clone(), entry.api_version.clone(), entry.subresource.clone());
        key(self).cmp(&key(other)).then_with(|| rest(self).cmp(&rest(other)))
    }
}

/// All entries of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managed {
    pub entries: Vec<Entry>,
}

/// An entry as JSON has it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Raw {
    manager: String,
    operation: String,
    api_version: String,
    time: Option<String>,
    fields_type: String,
    #[serde(rename = "fieldsV1")]
    fields_v1: Option<Set>,
    subresource: String,
}

impl Managed {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reads the text of a list of entries.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(text: &[u8]) -> Result<Managed, String> {
        let raw: Vec<Raw> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        Managed::read(raw)
    }

    /// Reads entries from JSON.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_value(value: &Value) -> Result<Managed, String> {
        let raw = Vec::<Raw>::deserialize(value).map_err(|error| error.to_string())?;
        Managed::read(raw)
    }

    fn read(raw: Vec<Raw>) -> Result<Managed, String> {
        let mut managed = Managed::default();
        for (at, raw) in raw.into_iter().enumerate() {
            let operation = match raw.operation.as_str() {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err("operation must be `Apply` or `Update`".to_owned()),
            };
            if raw.api_version.is_empty() {
                return Err("apiVersion must not be empty".to_owned());
            }
            match raw.fields_type.as_str() {
                "FieldsV1" => {}
                "" => return Err(format!("missing fieldsType in managed fields entry {at}")),
                other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {at}")),
            }
            let time = match raw.time.as_deref() {
                None | Some("") => None,
                Some(text) => Some(Timestamp::parse(text).map_err(|error| error.to_string())?.to_string()),
            };
            managed.put(Entry {
                manager: raw.manager,
                operation,
                api_version: raw.api_version,
                subresource: raw.subresource,
                time,
                fields: raw.fields_v1.unwrap_or_default(),
            });
        }
        Ok(managed)
    }

    /// Adds an entry in place of one of the same manager.
    pub fn put(&mut self, entry: Entry) {
        match self.entries.iter_mut().find(|own| own.is_of(&entry)) {
            Some(own) => *own = entry,
            None => self.entries.push(entry),
        }
    }

    /// The place of the entry of the same manager.
    pub fn find(&self, like: &Entry) -> Option<usize> {
        self.entries.iter().position(|own| own.is_of(like))
    }

    /// Puts the entries in the order in which they are written.
    pub fn sort(&mut self) {
        self.entries.sort_by(Entry::order);
    }

    /// The text of the entries, which are sorted; `None` if there are none, and then the object has no `managedFields`.
    pub fn to_text(&self) -> Option<String> {
        if self.entries.is_empty() {
            return None;
        }
        let mut out = String::with_capacity(512);
        out.push('[');
        for (at, entry) in self.entries.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            entry.write(&mut out);
        }
        out.push(']');
        Some(out)
    }

    /// Whether two objects have the same entries but for their times.
    pub fn equals_but_times(&self, other: &Managed) -> bool {
        self.entries.len() == other.entries.len()
            && self
                .entries
                .iter()
                .zip(&other.entries)
                .all(|(a, b)| a.is_of(b) && a.api_version == b.api_version && a.fields == b.fields)
    }
}

impl Entry {
    fn write(&self, out: &mut String) {
        out.push('{');
        let mut text = |name: &str, value: &str| {
            if !value.is_empty() {
                if !out.ends_with('{') {
                    out.push(',');
                }
                out.push('"');
                out.push_str(name);
                out.push_str("\":");
                // Strings can always be written.
                out.push_str(&serde_json::to_string(value).unwrap_or_default());
            }
        };
        text("manager", &self.manager);
        text("operation", self.operation.as_str());
        text("apiVersion", &self.api_version);
        text("time", self.time.as_deref().unwrap_or(""));
        text("fieldsType", "FieldsV1");
        out.push_str(",\"fieldsV1\":");
        self.fields.write(out);
        if !self.subresource.is_empty() {
            out.push_str(",\"subresource\":");
            out.push_str(&serde_json::to_string(&self.subresource).unwrap_or_default());
        }
        out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_are_read_and_written_in_order() {
        let managed = Managed::from_value(&json!([
            {"manager": "z", "operation": "Update", "apiVersion": "v1", "time": "2024-01-01T00:00:02Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:a": {}}},
            {"manager": "a", "operation": "Update", "apiVersion": "v1", "time": "2024-01-01T01:00:02+01:00", "fieldsType": "FieldsV1", "fieldsV1": {"f:b": {}}, "subresource": "status"},
            {"manager": "a", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1"},
            {"manager": "y", "operation": "Update", "apiVersion": "v1", "time": "2024-01-01T00:00:01Z", "fieldsType": "FieldsV1", "fieldsV1": {}},
        ]))
        .unwrap();
        let mut sorted = managed;
        sorted.sort();
        let text = sorted.to_text().unwrap();
        assert_eq!(
            text,
            concat!(
                r#"[{"manager":"a","operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{}},"#,
                r#"{"manager":"y","operation":"Update","apiVersion":"v1","time":"2024-01-01T00:00:01Z","fieldsType":"FieldsV1","fieldsV1":{}},"#,
                r#"{"manager":"a","operation":"Update","apiVersion":"v1","time":"2024-01-01T00:00:02Z","fieldsType":"FieldsV1","fieldsV1":{"f:b":{}},"subresource":"status"},"#,
                r#"{"manager":"z","operation":"Update","apiVersion":"v1","time":"2024-01-01T00:00:02Z","fieldsType":"FieldsV1","fieldsV1":{"f:a":{}}}]"#,
            )
        );
        assert_eq!(Managed::parse(text.as_bytes()).unwrap(), sorted);
        assert_eq!(Managed::default().to_text(), None);
    }

    #[test]
    fn broken_entries_are_refused() {
        let cases = [
            (
                json!([{"operation": "Create", "apiVersion": "v1", "fieldsType": "FieldsV1"}]),
                "operation must be `Apply` or `Update`",
            ),
            (json!([{"operation": "Update", "fieldsType": "FieldsV1"}]), "apiVersion must not be empty"),
            (json!([{"operation": "Update", "apiVersion": "v1"}]), "missing fieldsType in managed fields entry 0"),
            (
                json!([{"operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV2"}]),
                "invalid fieldsType \"FieldsV2\" in managed fields entry 0",
            ),
        ];
        for (value, message) in cases {
            assert_eq!(Managed::from_value(&value).unwrap_err(), message);
        }
        assert!(
            Managed::from_value(
                &json!([{"operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"a": {}}}])
            )
            .is_err()
        );
    }
}
