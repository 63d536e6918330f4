//! The part of JSONPath that printer columns use: names, indices, `[*]`, and filters that compare one field.

use serde_json::Value;

/// Steps of one path; columns are shallow.
const MAX_STEPS: usize = 64;

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Name(String),
    /// Counted from the end when negative.
    Index(i64),
    All,
    /// `[?(@.type=="Ready")]`
    Filter(Vec<String>, bool, Value),
}

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

impl JsonPath {
    /// Reads `.status.conditions[?(@.type=="Ready")].status`, with or without braces and `$`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<JsonPath, String> {
        let text = text.trim();
        let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        let mut steps = Vec::new();
        if rest.is_empty() {
            return Err("must not be empty".to_owned());
        }
        while !rest.is_empty() {
            if steps.len() == MAX_STEPS {
                return Err(format!("must have at most {MAX_STEPS} steps"));
            }
            if let Some(inside) = rest.strip_prefix('[') {
                let end = closing(inside).ok_or_else(|| "unterminated array".to_owned())?;
                steps.push(bracket(&inside[..end])?);
                rest = &inside[end + 1..];
                continue;
            }
            let name = match rest.strip_prefix('.') {
                Some(name) => name,
                None if steps.is_empty() => rest,
                None => return Err(format!("unexpected {rest:?}")),
            };
            if name.starts_with('.') {
                return Err("recursive descent is not supported".to_owned());
            }
            let (name, after) = read_name(name);
            match name.as_str() {
                "" if after.starts_with('[') => {}
                "" => return Err("a name is missing after '.'".to_owned()),
                "*" => steps.push(Step::All),
                _ => steps.push(Step::Name(name)),
            }
            rest = after;
        }
        Ok(JsonPath(steps))
    }

    /// The first value that the path leads to.
    pub(crate) fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        find(value, &self.0)
    }
}

/// A name up to the next step; a backslash takes the next character as it is.
fn read_name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(characters.next().map(|(_, next)| next)),
            other => name.push(other),
        }
    }
    (name, "")
}

/// Where the bracket that was opened before `text` closes, quotes respected.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), character) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn unquote(text: &str) -> Option<&str> {
    let inner = |quote: char| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    inner('\'').or_else(|| inner('"'))
}

fn bracket(inside: &str) -> Result<Step, String> {
    let inside = inside.trim();
    if inside == "*" {
        return Ok(Step::All);
    }
    if let Some(name) = unquote(inside) {
        return Ok(Step::Name(name.replace("\\.", ".")));
    }
    if let Some(filter) = inside.strip_prefix("?(").and_then(|text| text.strip_suffix(')')) {
        let (left, equal, right) = match (filter.split_once("=="), filter.split_once("!=")) {
            (Some((left, right)), _) => (left, true, right),
            (None, Some((left, right))) => (left, false, right),
            (None, None) => return Err(format!("the filter {filter:?} is not supported: only == and != are")),
        };
        let path = left.trim().strip_prefix('@').ok_or_else(|| format!("the filter {filter:?} must start with @"))?;
        let path = path.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let right = right.trim();
        let value = match unquote(right) {
            Some(text) => Value::from(text),
            None => serde_json::from_str(right).map_err(|_| format!("{right:?} is not a value"))?,
        };
        return Ok(Step::Filter(path, equal, value));
    }
    inside.parse().map(Step::Index).map_err(|_| format!("invalid array index {inside}"))
}

fn find<'a>(value: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    let Some((step, rest)) = steps.split_first() else { return Some(value) };
    let items = value.as_array();
    match step {
        Step::Name(name) => find(value.get(name)?, rest),
        Step::Index(index) => {
            let items = items?;
            let at = if *index < 0 { items.len() as i64 + index } else { *index };
            find(items.get(usize::try_from(at).ok()?)?, rest)
        }
        Step::All => match items {
            Some(items) => items.iter().find_map(|item| find(item, rest)),
            None => value.as_object()?.values().find_map(|item| find(item, rest)),
        },
        Step::Filter(path, equal, wanted) => {
            let field = |item: &'a Value| path.iter().try_fold(item, |item, name| item.get(name));
            items?
                .iter()
                .filter(|item| field(item).is_some_and(|own| (own == wanted) == *equal))
                .find_map(|item| find(item, rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_values() {
        let value = json!({
            "metadata": {"labels": {"a.b/c": "x"}},
            "spec": {"list": [{"n": 1}, {"n": 2}]},
            "status": {"conditions": [{"type": "A", "status": "no"}, {"type": "Ready", "status": "yes"}]},
        });
        let cases = [
            (".spec.list[1].n", json!(2)),
            (".spec.list[-1].n", json!(2)),
            ("{.spec.list[*].n}", json!(1)),
            ("$.metadata.labels['a.b/c']", json!("x")),
            (".metadata.labels.a\\.b/c", json!("x")),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!("yes")),
            (".status.conditions[?(@.type!='A')].status", json!("yes")),
            (".spec.gone", Value::Null),
        ];
        for (path, expected) in cases {
            let found = JsonPath::parse(path).unwrap().first(&value).cloned().unwrap_or_default();
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in ["", ".", ".a[", ".a[x]", "..a", ".a[?(@.b>1)]", ".a[0]b"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
