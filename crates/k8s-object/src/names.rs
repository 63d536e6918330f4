//! What names and labels may look like, in upstream's words (apimachinery `util/validation`). Rules return what is wrong, one
//! sentence each; nothing means it is right.

/// Bytes of a DNS label (RFC 1123).
pub const LABEL_LIMIT: usize = 63;
/// Bytes of a DNS subdomain (RFC 1123).
pub const SUBDOMAIN_LIMIT: usize = 253;

const SUBDOMAIN_PATTERN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const QUALIFIED_PATTERN: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_MESSAGE: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const LABEL_VALUE_PATTERN: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const LABEL_VALUE_MESSAGE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// `message (e.g. 'a',  or 'b', regex used for validation is '…')`, with upstream's two blanks.
pub fn pattern_message(message: &str, pattern: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{message} (e.g. {}regex used for validation is '{pattern}')", examples.join(" or "))
}

/// Upstream counts bytes and calls them characters.
pub fn too_many_bytes(limit: usize) -> String {
    format!("must be no more than {limit} characters")
}

/// A prefix is judged as if the generated end stood there already.
pub fn unprefixed(name: &str, prefix: bool) -> String {
    match name.strip_suffix('-') {
        Some(head) if prefix && !head.is_empty() => format!("{head}a"),
        _ => name.to_owned(),
    }
}

pub fn ends_alphanumeric(text: &str) -> bool {
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    ends(text.as_bytes().first()) && ends(text.as_bytes().last())
}

/// Whether it has the form of a DNS-1123 label, of whatever length.
pub fn is_label(text: &str) -> bool {
    ends_alphanumeric(text) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_qualified_part(text: &str) -> bool {
    ends_alphanumeric(text) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// A DNS-1123 subdomain: the names of most kinds.
pub fn subdomain(name: &str, prefix: bool) -> Vec<String> {
    let name = unprefixed(name, prefix);
    let mut problems = Vec::new();
    if name.len() > SUBDOMAIN_LIMIT {
        problems.push(too_many_bytes(SUBDOMAIN_LIMIT));
    }
    if !name.split('.').all(is_label) {
        problems.push(pattern_message(SUBDOMAIN_MESSAGE, SUBDOMAIN_PATTERN, &["example.com"]));
    }
    problems
}

/// `name` or `prefix/name`: keys of labels and annotations, finalizers.
pub fn qualified(name: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let parts: Vec<&str> = name.split('/').collect();
    let part = match parts[..] {
        [part] => part,
        [prefix, part] => {
            if prefix.is_empty() {
                problems.push("prefix part must be non-empty".to_owned());
            } else {
                problems.extend(subdomain(prefix, false).into_iter().map(|problem| format!("prefix part {problem}")));
            }
            part
        }
        _ => {
            let message = pattern_message(
                &format!("a qualified name {QUALIFIED_MESSAGE}"),
                QUALIFIED_PATTERN,
                &["MyName", "my.name", "123-abc"],
            );
            return vec![format!(
                "{message} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if part.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if part.len() > LABEL_LIMIT {
        problems.push(format!("name part {}", too_many_bytes(LABEL_LIMIT)));
    }
    if !is_qualified_part(part) {
        let message = format!("name part {QUALIFIED_MESSAGE}");
        problems.push(pattern_message(&message, QUALIFIED_PATTERN, &["MyName", "my.name", "123-abc"]));
    }
    problems
}

/// The value of a label.
pub fn label_value(value: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if value.len() > LABEL_LIMIT {
        problems.push(too_many_bytes(LABEL_LIMIT));
    }
    if !value.is_empty() && !is_qualified_part(value) {
        problems.push(pattern_message(LABEL_VALUE_MESSAGE, LABEL_VALUE_PATTERN, &["MyValue", "my_value", "12345"]));
    }
    problems
}
