//! Label and field selectors, in their text form and in the form of `metav1.LabelSelector`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Properties, selector_text};

/// The text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ParseSelectorError {
    /// What is wrong, with the text it is about.
    pub problem: String,
}

/// What a label must be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    Exists(String),
    DoesNotExist(String),
    In(String, BTreeSet<String>),
    NotIn(String, BTreeSet<String>),
    GreaterThan(String, i64),
    LessThan(String, i64),
}

impl Requirement {
    /// The key of the label that it is about.
    pub fn key(&self) -> &str {
        match self {
            Requirement::Exists(key)
            | Requirement::DoesNotExist(key)
            | Requirement::In(key, _)
            | Requirement::NotIn(key, _)
            | Requirement::GreaterThan(key, _)
            | Requirement::LessThan(key, _) => key,
        }
    }

    /// Whether labels meet the requirement. `NotIn` holds where the label is absent (apimachinery `labels.Requirement`).
    pub fn matches(&self, labels: &Properties) -> bool {
        let number = |key: &str| labels.get(key).and_then(|value| value.parse::<i64>().ok());
        match self {
            Requirement::Exists(key) => labels.get(key).is_some(),
            Requirement::DoesNotExist(key) => labels.get(key).is_none(),
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Requirement::GreaterThan(key, bound) => number(key).is_some_and(|value| value > *bound),
            Requirement::LessThan(key, bound) => number(key).is_some_and(|value| value < *bound),
        }
    }
}

/// All requirements hold. Without any, everything is selected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    pub requirements: Vec<Requirement>,
    /// Set for a selector that selects nothing, such as an absent `spec.selector`.
    pub nothing: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Structured {
    match_labels: Properties,
    match_expressions: Vec<Expression>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Expression {
    key: String,
    operator: String,
    values: Vec<String>,
}

impl LabelSelector {
    /// Selects everything.
    pub fn everything() -> LabelSelector {
        LabelSelector::default()
    }

    /// Selects nothing.
    pub fn nothing() -> LabelSelector {
        LabelSelector { requirements: Vec::new(), nothing: true }
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &Properties) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.matches(labels))
    }

    /// Reads the text form: `app=web,tier in (a,b),!gone,size>3`.
    pub fn parse(text: &str) -> Result<LabelSelector, ParseSelectorError> {
        Ok(LabelSelector { requirements: selector_text::parse(text)?, nothing: false })
    }

    /// All of these labels, with these values.
    pub fn labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> LabelSelector {
        let requirements = labels
            .into_iter()
            .map(|(key, value)| Requirement::In(key.to_owned(), BTreeSet::from([value.to_owned()])))
            .collect();
        LabelSelector { requirements, nothing: false }
    }

    fn from_structured(structured: Structured) -> Result<LabelSelector, ParseSelectorError> {
        let mut selector = LabelSelector::labels(structured.match_labels.iter());
        for Expression { key, operator, values } in structured.match_expressions {
            selector.requirements.push(Requirement::from_operator(key, &operator, values)?);
        }
        Ok(selector)
    }
}

impl Requirement {
    /// From the operators of `LabelSelector` and of node selectors (`In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt`, `Lt`).
    pub fn from_operator(key: String, operator: &str, values: Vec<String>) -> Result<Requirement, ParseSelectorError> {
        let bound = || {
            let text = values.first().filter(|_| values.len() == 1).map(|text| text.parse::<i64>());
            text.and_then(Result::ok).ok_or_else(|| {
                problem(format!("for 'Gt', 'Lt' operators, exactly one integer value is required for {key:?}"))
            })
        };
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                Err(problem("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty".into()))
            }
            "In" => Ok(Requirement::In(key, values.into_iter().collect())),
            "NotIn" => Ok(Requirement::NotIn(key, values.into_iter().collect())),
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                Err(problem("values: Invalid value: values set must be empty for exists and does not exist".into()))
            }
            "Exists" => Ok(Requirement::Exists(key)),
            "DoesNotExist" => Ok(Requirement::DoesNotExist(key)),
            "Gt" => bound().map(|bound| Requirement::GreaterThan(key.clone(), bound)),
            "Lt" => bound().map(|bound| Requirement::LessThan(key.clone(), bound)),
            other => Err(problem(format!("{other:?} is not a valid label selector operator"))),
        }
    }
}

/// The structured form, as it stands in `spec.selector` of workloads.
impl<'de> Deserialize<'de> for LabelSelector {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<LabelSelector, D::Error> {
        let structured = Structured::deserialize(deserializer)?;
        LabelSelector::from_structured(structured).map_err(serde::de::Error::custom)
    }
}

fn problem(problem: String) -> ParseSelectorError {
    ParseSelectorError { problem: format!("unable to parse requirement: {problem}") }
}

/// Equality and inequality of fields: `spec.nodeName=a,status.phase!=Failed`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// Field path, value, and whether it must be equal.
    pub terms: Vec<(String, String, bool)>,
}

impl FieldSelector {
    /// Reads the text form. In values, a backslash stands before a comma, an equals sign and a backslash (apimachinery `fields`).
    pub fn parse(text: &str) -> Result<FieldSelector, ParseSelectorError> {
        let mut terms = Vec::new();
        for part in split_at_commas(text).into_iter().filter(|part| !part.is_empty()) {
            let (path, operator, value) = split_at_operator(part).ok_or_else(|| ParseSelectorError {
                problem: format!("invalid selector: '{text}'; can't understand '{part}'"),
            })?;
            terms.push((path.to_owned(), unescape(value)?, operator != "!="));
        }
        Ok(FieldSelector { terms })
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether an object is selected whose fields `field` looks up; an absent field is the empty string.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> Option<std::borrow::Cow<'a, str>>) -> bool {
        self.terms.iter().all(|(path, value, equal)| (field(path).as_deref().unwrap_or("") == value) == *equal)
    }

    /// The value that `path` must be equal to, if the selector says so.
    pub fn required(&self, path: &str) -> Option<&str> {
        let term = self.terms.iter().find(|(own, _, equal)| own == path && *equal);
        term.map(|(_, value, _)| value.as_str())
    }
}

/// Terms between commas that no backslash stands before.
fn split_at_commas(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// A term around its first operator.
fn split_at_operator(term: &str) -> Option<(&str, &str, &str)> {
    term.char_indices().find_map(|(at, _)| {
        let operator = ["!=", "==", "="].into_iter().find(|operator| term[at..].starts_with(operator))?;
        Some((&term[..at], operator, &term[at + operator.len()..]))
    })
}

fn unescape(value: &str) -> Result<String, ParseSelectorError> {
    let wrong = |problem: String| ParseSelectorError { problem: format!("invalid field selector: {problem}") };
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => escaped,
                other => {
                    let sequence: String = ['\\'].into_iter().chain(other).collect();
                    return Err(wrong(format!("invalid escape sequence: {sequence}")));
                }
            },
            // Upstream tells its number.
            ',' | '=' => return Err(wrong(format!("unescaped character in value: {}", character as u32))),
            plain => plain,
        });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_selectors_select() {
        let labels: Properties = [("app", "web"), ("tier", "a"), ("size", "5"), ("x.io/y", "")].into_iter().collect();
        let cases = [
            ("", true),
            ("app", true),
            ("!app", false),
            ("!gone", true),
            ("app=web", true),
            ("app==web,tier!=a", false),
            ("gone!=a", true),
            ("tier in (a, b),app notin (db)", true),
            ("tier in (b)", false),
            ("size>4,size<6", true),
            ("size>5", false),
            ("x.io/y=", true),
        ];
        for (text, selected) in cases {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(&labels), selected, "{text}");
        }
        assert!(!LabelSelector::nothing().matches(&labels));
    }

    #[test]
    fn broken_label_selectors_are_refused() {
        for text in ["=", "a=b,", ",", "a in (b", "a of (b)", "a>x", "a b", "-a", "a=b/c", "a in b"] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn structured_selectors_select() {
        let selector: LabelSelector = serde_json::from_str(
            r#"{"matchLabels":{"app":"web"},"matchExpressions":[{"key":"tier","operator":"NotIn","values":["b"]}]}"#,
        )
        .unwrap();
        let labels = |tier: &str| [("app", "web"), ("tier", tier)].into_iter().collect::<Properties>();
        assert!(selector.matches(&labels("a")) && !selector.matches(&labels("b")));
        assert!(
            serde_json::from_str::<LabelSelector>(r#"{"matchExpressions":[{"key":"a","operator":"In"}]}"#).is_err()
        );
    }

    #[test]
    fn field_selectors_select() {
        let field = |path: &str| (path == "spec.nodeName").then(|| "n1".into());
        for (text, selected) in
            [("spec.nodeName=n1", true), ("spec.nodeName!=n1", false), ("spec.nodeName==n2", false), ("other=", true)]
        {
            assert_eq!(FieldSelector::parse(text).unwrap().matches(field), selected, "{text}");
        }
        let cases = [
            ("nonsense", "invalid selector: 'nonsense'; can't understand 'nonsense'"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
            (r"a=\b", r"invalid field selector: invalid escape sequence: \b"),
            (r"a=b\", r"invalid field selector: invalid escape sequence: \"),
        ];
        for (text, problem) in cases {
            assert_eq!(FieldSelector::parse(text).unwrap_err().to_string(), problem, "{text}");
        }
        let terms = FieldSelector::parse(r"a!=b\,c\=\\,,d== e").unwrap().terms;
        assert_eq!(terms, [("a".into(), r"b,c=\".to_owned(), false), ("d".into(), " e".to_owned(), true)]);
    }
}
