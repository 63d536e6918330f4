//! Columns of Tables, and the cells that many kinds share.

use serde_json::Value;
use world::Timestamp;

use crate::age::age;
use crate::fields::{at, entries, items, text};

/// A column of a Table.
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: &'static str,
    /// `name` for the column that holds the object's name, else empty.
    pub format: &'static str,
    pub description: &'static str,
    /// 0 is always shown, 1 only in wide output.
    pub priority: u8,
    /// The cell, from the object and the time of the request.
    pub cell: fn(&Value, Timestamp) -> Value,
}

impl Column {
    /// A column of texts.
    pub const fn text(name: &'static str, description: &'static str, cell: fn(&Value, Timestamp) -> Value) -> Column {
        Column { name, kind: "string", format: "", description, priority: 0, cell }
    }

    /// A column of whole numbers.
    pub const fn integer(
        name: &'static str,
        description: &'static str,
        cell: fn(&Value, Timestamp) -> Value,
    ) -> Column {
        Column { name, kind: "integer", format: "", description, priority: 0, cell }
    }

    /// A column of whole numbers that upstream declares to be texts.
    pub const fn count(name: &'static str, description: &'static str, cell: fn(&Value, Timestamp) -> Value) -> Column {
        Column::text(name, description, cell)
    }

    /// A column of flags.
    pub const fn boolean(
        name: &'static str,
        description: &'static str,
        cell: fn(&Value, Timestamp) -> Value,
    ) -> Column {
        Column { name, kind: "boolean", format: "", description, priority: 0, cell }
    }

    /// Shown in wide output only.
    pub const fn wide(self) -> Column {
        Column { priority: 1, ..self }
    }
}

/// The object's name.
pub const NAME: Column = Column {
    format: "name",
    ..Column::text("Name", "Unique within its namespace, or within the cluster.", |object, _| {
        text(object, "metadata.name").into()
    })
};

/// Time since creation.
pub const AGE: Column = Column::text("Age", "Time since the object was created.", age);

/// The moment of creation, for kinds that show it instead of the age.
pub const CREATED_AT: Column = Column {
    kind: "date",
    ..Column::text("Created At", "When the object was created.", |object, _| {
        text(object, "metadata.creationTimestamp").into()
    })
};

/// Names of the containers of a pod template.
pub(crate) const CONTAINERS: Column = Column::text("Containers", "Names of the template's containers.", |object, _| {
    of_containers(at(object, "spec.template.spec"), "name").into()
})
.wide();

/// Images of a pod template.
pub(crate) const IMAGES: Column = Column::text("Images", "Images of the template's containers.", |object, _| {
    of_containers(at(object, "spec.template.spec"), "image").into()
})
.wide();

/// The label selector of a workload.
pub(crate) const SELECTOR: Column = Column::text("Selector", "Selects the pods that belong to it.", |object, _| {
    label_selector(at(object, "spec.selector")).into()
})
.wide();

/// One field of every container, joined by commas.
pub(crate) fn of_containers(pod_spec: &Value, field: &str) -> String {
    let fields: Vec<&str> = items(pod_spec, "containers").iter().map(|container| text(container, field)).collect();
    fields.join(",")
}

/// `a=b,c=d` in order of the keys; `<none>` for none.
pub(crate) fn labels(labels: &Value) -> String {
    let labels = labels.as_object().into_iter().flatten();
    let labels: Vec<String> =
        labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    or_none(labels.join(","))
}

/// A structured selector in its text form; `<none>` for none.
pub(crate) fn label_selector(selector: &Value) -> String {
    or_none(selector_text(selector))
}

/// A structured selector in its text form.
pub fn selector_text(selector: &Value) -> String {
    let mut parts: Vec<(String, String)> = entries(selector, "matchLabels")
        .map(|(key, value)| (key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())))
        .collect();
    for expression in items(selector, "matchExpressions") {
        let key = text(expression, "key");
        let mut values: Vec<&str> = items(expression, "values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let part = match text(expression, "operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        parts.push((key.to_owned(), part));
    }
    // Selectors keep their requirements in the order of the keys.
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    let parts: Vec<String> = parts.into_iter().map(|(_, part)| part).collect();
    parts.join(",")
}

/// `<none>` for the empty text.
pub(crate) fn or_none(text: String) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text }
}

/// The text at a path, or `<none>`, `<unknown>` or whatever stands for nothing.
pub(crate) fn text_or(object: &Value, path: &str, nothing: &str) -> Value {
    let found = text(object, path);
    (if found.is_empty() { nothing } else { found }).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_are_written_in_order_of_their_keys() {
        let selector = json!({
            "matchLabels": {"tier": "a", "app": "web"},
            "matchExpressions": [
                {"key": "b", "operator": "NotIn", "values": ["y", "x"]},
                {"key": "z", "operator": "DoesNotExist"},
                {"key": "c", "operator": "Exists"},
            ],
        });
        assert_eq!(label_selector(&selector), "app=web,b notin (x,y),c,tier=a,!z");
        assert_eq!(label_selector(&json!({})), "<none>");
    }
}
