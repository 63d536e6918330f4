//! The paths that rules point at: `.spec.replicas`, `.labels['a.b']`.

use crate::crd::{Additional, Structural};
use crate::path::Path;

/// A path in the notation of errors; `None` when it is malformed or leads to no field of the schema.
pub(super) fn normalise(text: &str, node: &Structural) -> Option<String> {
    let mut path = Path::default();
    let mut node = node;
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = step(rest)?;
        rest = after;
        if !node.properties.is_empty() {
            path.field(&name);
            node = node.properties.get(&name)?;
        } else if let Additional::Schema(schema) = &node.additional {
            path.key(&name);
            node = schema;
        } else {
            return None;
        }
    }
    Some(path.as_str().to_owned())
}

/// The first name of a path, and what follows it.
fn step(text: &str) -> Option<(String, &str)> {
    if let Some(after) = text.strip_prefix('.') {
        let end = after.find(['.', '[', ']']).unwrap_or(after.len());
        let (name, rest) = after.split_at(end);
        return (!name.is_empty()).then(|| (name.to_owned(), rest));
    }
    let mut chars = text.strip_prefix("['")?.char_indices();
    let inside = &text[2..];
    let mut name = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return Some((name, inside[at + 1..].strip_prefix(']')?)),
            '\\' => name.push(match chars.next()?.1 {
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                quoted @ ('\'' | '\\') => quoted,
                _ => return None,
            }),
            other => name.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::Type;

    #[test]
    fn paths_lead_to_fields() {
        let leaf = || Structural { ty: Some(Type::String), ..Structural::default() };
        let labels = Structural { additional: Additional::Schema(Box::new(leaf())), ..Structural::default() };
        let mut root = Structural::default();
        root.properties.insert("name".to_owned(), leaf());
        root.properties.insert("a.b".to_owned(), leaf());
        root.properties.insert("labels".to_owned(), labels);
        let cases = [
            (".name", Some("name")),
            ("['a.b']", Some("a.b")),
            (".labels.x", Some("labels[x]")),
            (".labels['it\\'s']", Some("labels[it's]")),
            (".other", None),
            ("name", None),
            (".", None),
            (".name.x", None),
            ("['name'", None),
            ("[0]", None),
        ];
        for (text, expected) in cases {
            assert_eq!(normalise(text, &root).as_deref(), expected, "{text}");
        }
    }
}
