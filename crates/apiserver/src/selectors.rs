//! Selectors in the form in which authorizers are asked about them: as text, or as requirements of which some may mean nothing here.

use k8s_object::{FieldSelector, LabelSelector, Requirement};
use serde_json::{Value, json};

/// What could be read of a selector.
pub(crate) struct Parsed<T> {
    pub selector: Option<T>,
    /// Whether some of it could not be read: what is left selects more, which is the safe side.
    pub broken: bool,
}

impl<T> Parsed<T> {
    /// What was done with what could not be read.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        self.broken.then_some(if self.selector.is_some() { "partially ignored" } else { "ignored" })
    }

    fn text(parsed: Result<T, impl Sized>) -> Parsed<T> {
        let broken = parsed.is_err();
        Parsed { selector: parsed.ok(), broken }
    }
}

fn requirements(selector: &Value) -> impl Iterator<Item = &Value> {
    selector["requirements"].as_array().into_iter().flatten()
}

fn values(requirement: &Value) -> Vec<String> {
    requirement["values"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Of `FieldSelectorAttributes`.
pub(crate) fn fields(selector: &Value) -> Parsed<FieldSelector> {
    if let Some(text) = selector["rawSelector"].as_str().filter(|text| !text.is_empty()) {
        return Parsed::text(FieldSelector::parse(text));
    }
    let (mut terms, mut broken) = (Vec::new(), false);
    for requirement in requirements(selector) {
        let key = requirement["key"].as_str().unwrap_or("").to_owned();
        match (requirement["operator"].as_str().unwrap_or(""), &values(requirement)[..]) {
            ("In", [value]) => terms.push((key, value.clone(), true)),
            ("NotIn", [value]) => terms.push((key, value.clone(), false)),
            _ => broken = true,
        }
    }
    Parsed { selector: (!terms.is_empty()).then_some(FieldSelector { terms }), broken }
}

/// Of `LabelSelectorAttributes`.
pub(crate) fn labels(selector: &Value) -> Parsed<LabelSelector> {
    if let Some(text) = selector["rawSelector"].as_str().filter(|text| !text.is_empty()) {
        return Parsed::text(LabelSelector::parse(text));
    }
    let (mut known, mut broken) = (Vec::new(), false);
    for requirement in requirements(selector) {
        let (key, operator) =
            (requirement["key"].as_str().unwrap_or(""), requirement["operator"].as_str().unwrap_or(""));
        let valid = ["In", "NotIn", "Exists", "DoesNotExist"].contains(&operator);
        match Requirement::from_operator(key.to_owned(), operator, values(requirement)) {
            Ok(requirement) if valid => known.push(requirement),
            _ => broken = true,
        }
    }
    let selector = LabelSelector { requirements: known, nothing: false };
    Parsed { selector: (!selector.is_everything()).then_some(selector), broken }
}

/// A field selector as requirements.
pub(crate) fn fields_value(selector: &FieldSelector) -> Value {
    let requirement = |(key, value, equal): &(String, String, bool)| json!({"key": key, "operator": if *equal { "In" } else { "NotIn" }, "values": [value]});
    json!({"requirements": selector.terms.iter().map(requirement).collect::<Vec<Value>>()})
}

/// A label selector as requirements. Those that compare numbers have no operator there and are left out, which asks for more.
pub(crate) fn labels_value(selector: &LabelSelector) -> Value {
    let requirement = |requirement: &Requirement| match requirement {
        Requirement::Exists(key) => Some(json!({"key": key, "operator": "Exists"})),
        Requirement::DoesNotExist(key) => Some(json!({"key": key, "operator": "DoesNotExist"})),
        Requirement::In(key, values) => Some(json!({"key": key, "operator": "In", "values": values})),
        Requirement::NotIn(key, values) => Some(json!({"key": key, "operator": "NotIn", "values": values})),
        Requirement::GreaterThan(..) | Requirement::LessThan(..) => None,
    };
    json!({"requirements": selector.requirements.iter().filter_map(requirement).collect::<Vec<Value>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_counts() {
        let requirement =
            |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
        let list = |list: &[Value]| json!({"requirements": list});
        let both = list(&[requirement("a", "In", &["x"]), requirement("b", "Near", &["y"])]);
        let cases = [
            (json!(null), None, None, None),
            (json!({"rawSelector": "a=x"}), Some(list(&[requirement("a", "In", &["x"])])), None, None),
            (json!({"rawSelector": "nonsense of it"}), None, Some("ignored"), Some("ignored")),
            (both, Some(list(&[requirement("a", "In", &["x"])])), Some("partially ignored"), Some("partially ignored")),
            (list(&[requirement("b", "Near", &["y"])]), None, Some("ignored"), Some("ignored")),
        ];
        for (value, expected, field_problem, label_problem) in cases {
            let (fields, labels) = (fields(&value), labels(&value));
            assert_eq!(fields.selector.as_ref().map(fields_value), expected, "{value}");
            assert_eq!(labels.selector.as_ref().map(labels_value), expected, "{value}");
            assert_eq!((fields.problem(), labels.problem()), (field_problem, label_problem), "{value}");
        }
    }
}
