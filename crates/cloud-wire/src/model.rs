//! A service as tables: operations, shapes, members and where they stand on the wire. Must never contain behaviour of a service.

use std::sync::OnceLock;

use regex::Regex;

/// Position of a shape in its service's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShapeId(pub(crate) u32);

/// How a service's operations stand in HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `ec2`: forms with flattened lists, XML answers.
    Ec2,
    /// `json`, versions 1.0 and 1.1: `X-Amz-Target` and JSON.
    Json,
    /// `query`: forms, XML answers.
    Query,
    /// `rest-json`: methods, paths, headers, JSON bodies.
    RestJson,
    /// `rest-xml`: methods, paths, headers, XML bodies.
    RestXml,
}

/// The text form of a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampFormat {
    /// `Sun, 02 Jan 2000 20:34:56 GMT`, named `rfc822` in the models.
    HttpDate,
    /// `2000-01-02T20:34:56Z`.
    Iso8601,
    /// Seconds since 1970, with a fraction.
    UnixTimestamp,
}

/// Where a top-level member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// In the body.
    Body,
    /// In one header.
    Header,
    /// In all headers with a prefix.
    Headers,
    /// In the query string; a map takes all of it.
    Query,
    /// It is the HTTP status.
    Status,
    /// In the path.
    Uri,
}

impl Location {
    /// Whether a response has it in the body: what stands in the URI of a request has no other place there.
    pub(crate) fn is_response_body(self) -> bool {
        matches!(self, Location::Body | Location::Query | Location::Uri)
    }
}

/// An XML namespace declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespace {
    /// The namespace.
    pub uri: &'static str,
    /// Declared for a prefix, or as the default.
    pub prefix: Option<&'static str>,
}

/// A member of a structure, the member of a list, or the key or value of a map.
#[derive(Debug, Clone)]
pub struct Member {
    /// The name by which our values key it.
    pub name: &'static str,
    /// Its type.
    pub shape: ShapeId,
    /// `locationName`: the name on the wire, where it differs.
    pub wire: Option<&'static str>,
    /// `queryName`: the name in EC2 forms, where it differs again.
    pub query: Option<&'static str>,
    /// Where it stands.
    pub location: Location,
    /// Overrides the shape's and the protocol's format.
    pub timestamp: Option<TimestampFormat>,
    /// Declared on its element.
    pub namespace: Option<Namespace>,
    /// Must be present in a request.
    pub required: bool,
    /// Its list or map has no element of its own.
    pub flattened: bool,
    /// SDKs fill it with a UUID when the caller does not.
    pub idempotency_token: bool,
    /// Text that is JSON; in headers it stands in base64.
    pub json_value: bool,
    /// An XML attribute of its parent.
    pub attribute: bool,
}

impl Member {
    /// The name on the wire of the JSON and XML forms.
    pub fn wire_name(&self) -> &'static str {
        self.wire.unwrap_or(self.name)
    }

    /// A member that stands for a whole shape.
    pub(crate) fn of(shape: ShapeId) -> Member {
        Member {
            name: "",
            shape,
            wire: None,
            query: None,
            location: Location::Body,
            timestamp: None,
            namespace: None,
            required: false,
            flattened: false,
            idempotency_token: false,
            json_value: false,
            attribute: false,
        }
    }
}

/// A structure, and what it adds if it is an exception.
#[derive(Debug, Clone, Default)]
pub struct Structure {
    /// In the model's order, which XML answers keep.
    pub members: Vec<Member>,
    /// The member that is the whole body.
    pub payload: Option<&'static str>,
    /// Whether it is an error.
    pub exception: bool,
    /// The wire code of an error, where it differs from the shape's name.
    pub code: Option<&'static str>,
    /// The HTTP status of an error.
    pub status: Option<u16>,
    /// The error is the server's.
    pub server_fault: bool,
    /// At most one member is set.
    pub union: bool,
}

impl Structure {
    /// A member by its name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

/// What a shape is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Bytes; our values hold base64.
    Blob,
    /// True or false.
    Boolean,
    /// Any JSON.
    Document,
    /// A 64-bit floating-point number.
    Double,
    /// A 32-bit floating-point number.
    Float,
    /// A 32-bit integer.
    Integer,
    /// A sequence.
    List(Box<Member>),
    /// A 64-bit integer.
    Long,
    /// Names and values.
    Map(Box<(Member, Member)>),
    /// Text.
    String,
    /// Named members.
    Structure(Structure),
    /// A point in time; our values hold epoch seconds.
    Timestamp,
}

/// A type of the service.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Its name in the model.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Least length or value.
    pub min: Option<f64>,
    /// Greatest length or value.
    pub max: Option<f64>,
    /// What text must match.
    pub pattern: Option<Pattern>,
    /// Allowed values.
    pub values: Enumeration,
    /// Format of a timestamp.
    pub timestamp: Option<TimestampFormat>,
    /// `locationName`: the element's name when the shape is a whole body.
    pub wire: Option<&'static str>,
    /// Declared on its element.
    pub namespace: Option<Namespace>,
    /// Its list or map has no element of its own.
    pub flattened: bool,
    /// Never to be logged.
    pub sensitive: bool,
}

/// The values of an enum, kept as the one piece of text that the model file holds: EC2 has an enum of thirteen hundred.
#[derive(Debug, Clone, Copy, Default)]
pub struct Enumeration(pub(crate) &'static str);

impl Enumeration {
    /// Whether there is no restriction.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// In the model's order.
    pub fn iter(self) -> impl Iterator<Item = &'static str> {
        self.0.split('|').filter(|value| !value.is_empty())
    }
}

/// A regular expression of the model, compiled when it is first used.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: &'static str,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    pub(crate) fn new(source: &'static str) -> Pattern {
        Pattern { source, compiled: OnceLock::new() }
    }

    /// As the model writes it; AWS quotes it in validation errors.
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// Whether the whole text matches. A pattern that cannot be compiled restricts nothing; a test lists those.
    pub fn matches(&self, text: &str) -> bool {
        self.regex().is_none_or(|regex| regex.is_match(text))
    }

    /// The compiled form, which is absent when it needs what a linear-time engine cannot do.
    pub(crate) fn regex(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| Regex::new(&format!(r"\A(?:{})\z", translate(self.source))).ok()).as_ref()
    }
}

/// Java's `\w`, `\d` and `\s` are ASCII, and AWS's patterns put them into classes before a hyphen.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('s') => out.push_str(r"[ \t\n\x0B\f\r]"),
            Some('S') => out.push_str(r"[^ \t\n\x0B\f\r]"),
            Some(escaped) => out.extend(['\\', escaped]),
            None => out.push('\\'),
        }
    }
    out
}

/// A piece of a path template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    /// This text.
    Literal(&'static str),
    /// `{name}`: one segment.
    Label(&'static str),
    /// `{name+}`: one or more segments.
    Greedy(&'static str),
}

/// The members that page through a list. Names of one operation's tokens stand comma-separated when it has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pagination {
    /// Input member(s) that take the token.
    pub input_token: &'static str,
    /// Output member(s) that hold the next one.
    pub output_token: &'static str,
    /// Input member with the page's size.
    pub limit: Option<&'static str>,
    /// Output member that says whether there is more.
    pub more: Option<&'static str>,
    /// Output member(s) with the items.
    pub items: &'static str,
}

/// One operation.
#[derive(Debug, Clone)]
pub struct Operation {
    /// For example `CreateCluster`.
    pub name: &'static str,
    /// HTTP method.
    pub method: &'static str,
    /// Path template, split.
    pub path: Vec<Segment>,
    /// Constant part of the query string: a name, and a value if it has one.
    pub fixed_query: Vec<(&'static str, Option<&'static str>)>,
    /// Status of success.
    pub status: u16,
    /// Its parameters.
    pub input: Option<ShapeId>,
    /// Its result.
    pub output: Option<ShapeId>,
    /// Element around the result of query protocols.
    pub result_wrapper: Option<&'static str>,
    /// Its modelled exceptions.
    pub errors: Vec<ShapeId>,
    /// If it is paged.
    pub pagination: Option<Pagination>,
}

/// One service. Made by [`crate::parse_model`]; the ones Minato has come from [`crate::Service::get`].
#[derive(Debug, Clone)]
pub struct Service {
    /// Service id, for example `EKS` or `EC2`.
    pub id: &'static str,
    /// Endpoint prefix, for example `eks`.
    pub endpoint: &'static str,
    /// Name in credential scopes, for example `eks`.
    pub signing_name: &'static str,
    /// API version, for example `2017-11-01`.
    pub version: &'static str,
    /// Wire protocol.
    pub protocol: Protocol,
    /// `1.0` or `1.1` for the JSON protocols.
    pub json_version: &'static str,
    /// What stands before the dot in `X-Amz-Target`.
    pub target_prefix: Option<&'static str>,
    /// Default namespace of XML answers.
    pub namespace: Option<&'static str>,
    /// Errors also carry their old query code.
    pub query_compatible: bool,
    pub(crate) shapes: Vec<Shape>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) other: Vec<&'static str>,
}

impl Service {
    /// A shape by its position.
    pub fn shape(&self, id: ShapeId) -> &Shape {
        &self.shapes[id.0 as usize]
    }

    /// A shape by its name.
    pub fn shape_named(&self, name: &str) -> Option<ShapeId> {
        self.shapes.binary_search_by(|shape| shape.name.cmp(name)).ok().map(|index| ShapeId(index as u32))
    }

    /// All shapes, by name.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// An operation by its name.
    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.binary_search_by(|operation| operation.name.cmp(name)).ok().map(|index| &self.operations[index])
    }

    /// The operations that the model describes, by name.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Names of the operations that AWS has and the model leaves out, sorted.
    pub fn other_operations(&self) -> &[&'static str] {
        &self.other
    }

    /// The structure behind an id; nothing for other kinds.
    pub fn structure(&self, id: ShapeId) -> Option<&Structure> {
        match &self.shape(id).kind {
            Kind::Structure(structure) => Some(structure),
            _ => None,
        }
    }

    pub(crate) fn is_flattened(&self, member: &Member) -> bool {
        member.flattened || self.shape(member.shape).flattened
    }

    pub(crate) fn timestamp_format(&self, member: &Member, default: TimestampFormat) -> TimestampFormat {
        member.timestamp.or(self.shape(member.shape).timestamp).unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts_in_ascii() {
        for (pattern, text, matches) in [
            (r"^[0-9A-Za-z][A-Za-z0-9\-_]*", "blue-1", true),
            (r"^[0-9A-Za-z][A-Za-z0-9\-_]*", "blue 1", false),
            (r"[\w-_]*", "a-_9", true),
            (r"[\w+=,.@-]+", "é", false),
            (r"[\u0020-\u00FF]+", "é", true),
            (r"[\p{L}\p{Z}\p{N}_.:/=+\-@]+", "größe 1", true),
            (r"[\p{L}\p{Z}\p{N}_.:/=+\-@]+", "a\n", false),
            (r"\d{12}", "111122223333", true),
            (r"\d{12}", "1111222233334", false),
        ] {
            assert!(Pattern::new(pattern).regex().is_some(), "{pattern}");
            assert_eq!(Pattern::new(pattern).matches(text), matches, "{pattern} {text}");
        }
    }
}
