//! Turns a published service definition (`service-2.json`) into the compact text that [`crate::parse_model`] reads. Used by
//! `cargo xtask aws-models` and by tests; must never run in the service.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// Names of operations that do not fit a line are broken after this many.
const OTHER_PER_LINE: usize = 8;

/// Why a definition cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// It is not a service definition.
    #[error("the service definition cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Text stands in a place where the line form has no escape for it.
    #[error("{what} of {of} cannot be written in a line: {text:?}")]
    Unwritable {
        /// The place.
        what: &'static str,
        /// The shape or operation.
        of: String,
        /// The text.
        text: String,
    },
    /// An operation or member refers to a shape that is not defined, or an operation was asked for that is not there.
    #[error("{0:?} is not in the service definition")]
    Missing(String),
}

/// What to convert.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// `paginators-1.json`.
    pub paginators: Option<&'a str>,
    /// Lines of provenance for the head of the file.
    pub provenance: &'a [&'a str],
    /// Only these operations; the names of the others are kept.
    pub only: Option<&'a [&'a str]>,
}

/// A JSON object whose order is kept: XML answers follow the order of members.
#[derive(Debug)]
struct Ordered<T>(Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Ordered<T> {
        Ordered(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ordered<T>, D::Error> {
        struct Pairs<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<T>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Ordered(pairs))
            }
        }
        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

#[derive(Deserialize)]
struct Definition {
    metadata: Metadata,
    #[serde(default)]
    operations: Ordered<OperationDefinition>,
    #[serde(default)]
    shapes: Ordered<ShapeDefinition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    protocol: String,
    #[serde(default)]
    api_version: String,
    endpoint_prefix: Option<String>,
    json_version: Option<String>,
    service_id: Option<String>,
    signing_name: Option<String>,
    target_prefix: Option<String>,
    xml_namespace: Option<String>,
    aws_query_compatible: Option<Value>,
}

#[derive(Deserialize)]
struct OperationDefinition {
    http: Http,
    input: Option<Reference>,
    output: Option<Reference>,
    #[serde(default)]
    errors: Vec<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Http {
    method: String,
    request_uri: String,
    response_code: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    shape: String,
    location: Option<String>,
    location_name: Option<String>,
    query_name: Option<String>,
    result_wrapper: Option<String>,
    timestamp_format: Option<String>,
    xml_namespace: Option<NamespaceDefinition>,
    #[serde(default)]
    flattened: bool,
    #[serde(default)]
    idempotency_token: bool,
    #[serde(default)]
    jsonvalue: bool,
    #[serde(default)]
    xml_attribute: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NamespaceDefinition {
    Uri(String),
    Object { uri: String, prefix: Option<String> },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ShapeDefinition {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    members: Ordered<Reference>,
    #[serde(default)]
    required: Vec<String>,
    member: Option<Reference>,
    key: Option<Reference>,
    value: Option<Reference>,
    #[serde(default, rename = "enum")]
    values: Vec<String>,
    pattern: Option<String>,
    min: Option<serde_json::Number>,
    max: Option<serde_json::Number>,
    payload: Option<String>,
    timestamp_format: Option<String>,
    location_name: Option<String>,
    xml_namespace: Option<NamespaceDefinition>,
    error: Option<ErrorDefinition>,
    #[serde(default)]
    exception: bool,
    #[serde(default)]
    fault: bool,
    #[serde(default)]
    flattened: bool,
    #[serde(default)]
    document: bool,
    #[serde(default)]
    union: bool,
    #[serde(default)]
    sensitive: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ErrorDefinition {
    code: Option<String>,
    http_status_code: Option<u16>,
}

#[derive(Deserialize)]
struct Paginators {
    #[serde(default)]
    pagination: BTreeMap<String, Paginator>,
}

#[derive(Deserialize)]
struct Paginator {
    input_token: OneOrMore,
    output_token: OneOrMore,
    limit_key: Option<String>,
    more_results: Option<String>,
    result_key: Option<OneOrMore>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn joined(&self) -> String {
        match self {
            OneOrMore::One(name) => name.replace(' ', ""),
            OneOrMore::More(names) => names.join(",").replace(' ', ""),
        }
    }
}

/// A line that is being written: its words, and whose they are for error messages.
struct Line<'a> {
    text: String,
    of: &'a str,
}

impl<'a> Line<'a> {
    fn new(start: impl fmt::Display, of: &'a str) -> Line<'a> {
        Line { text: start.to_string(), of }
    }

    fn flag(&mut self, set: bool, word: &str) {
        if set {
            self.text.push(' ');
            self.text.push_str(word);
        }
    }

    fn value(&mut self, key: &'static str, value: Option<impl fmt::Display>) -> Result<(), ConvertError> {
        let Some(value) = value else { return Ok(()) };
        let value = value.to_string();
        if value.contains(char::is_whitespace) {
            return Err(ConvertError::Unwritable { what: key, of: self.of.to_owned(), text: value });
        }
        let _ = write!(self.text, " {key}{value}");
        Ok(())
    }

    fn namespace(&mut self, namespace: Option<&NamespaceDefinition>) -> Result<(), ConvertError> {
        let (uri, prefix) = match namespace {
            None => (None, None),
            Some(NamespaceDefinition::Uri(uri)) => (Some(uri), None),
            Some(NamespaceDefinition::Object { uri, prefix }) => (Some(uri), prefix.as_ref()),
        };
        self.value("ns=", uri)?;
        self.value("nsp=", prefix)
    }

    fn end(self, out: &mut String) {
        out.push_str(&self.text);
        out.push('\n');
    }
}

/// Converts a definition.
///
/// # Errors
/// See [`ConvertError`].
pub fn convert(definition: &str, options: Options<'_>) -> Result<String, ConvertError> {
    let definition: Definition = serde_json::from_str(definition)?;
    let paginators = match options.paginators {
        Some(text) => serde_json::from_str::<Paginators>(text)?.pagination,
        None => BTreeMap::new(),
    };
    let shapes: BTreeMap<&str, &ShapeDefinition> =
        definition.shapes.0.iter().map(|(name, shape)| (name.as_str(), shape)).collect();
    let all: BTreeMap<&str, &OperationDefinition> =
        definition.operations.0.iter().map(|(name, operation)| (name.as_str(), operation)).collect();
    if let Some(missing) = options.only.unwrap_or_default().iter().find(|name| !all.contains_key(**name)) {
        return Err(ConvertError::Missing((*missing).to_owned()));
    }
    let (described, other): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(name, _)| options.only.is_none_or(|only| only.contains(name)));

    let mut out = String::new();
    for line in options.provenance {
        let _ = writeln!(out, "# {line}");
    }
    service_line(&definition.metadata)?.end(&mut out);
    for (name, operation) in &described {
        operation_lines(&mut out, name, operation, paginators.get(*name))?;
    }
    for names in other.chunks(OTHER_PER_LINE) {
        let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        let _ = writeln!(out, "other {}", names.join(" "));
    }
    for name in reachable(&described, &shapes, options.only.is_none())? {
        shape_lines(&mut out, name, shapes[name])?;
    }
    Ok(out)
}

fn service_line(metadata: &Metadata) -> Result<Line<'static>, ConvertError> {
    let mut line = Line::new("service", "the service");
    let endpoint = metadata.endpoint_prefix.as_deref().unwrap_or("test");
    line.value("id=", Some(metadata.service_id.as_deref().unwrap_or(endpoint).replace(' ', "_")))?;
    line.value("endpoint=", Some(endpoint))?;
    line.value("signing=", Some(metadata.signing_name.as_deref().unwrap_or(endpoint)))?;
    line.value("version=", Some(&metadata.api_version))?;
    line.value("protocol=", Some(&metadata.protocol))?;
    line.value("json=", metadata.json_version.as_ref())?;
    line.value("target=", metadata.target_prefix.as_ref())?;
    line.value("ns=", metadata.xml_namespace.as_ref())?;
    line.flag(metadata.aws_query_compatible.is_some(), "query-compatible");
    Ok(line)
}

fn operation_lines(
    out: &mut String,
    name: &str,
    operation: &OperationDefinition,
    paginator: Option<&Paginator>,
) -> Result<(), ConvertError> {
    let mut line = Line::new("operation", name);
    line.value("", Some(name))?;
    line.value("", Some(&operation.http.method))?;
    line.value("", Some(&operation.http.request_uri))?;
    line.value("", Some(operation.input.as_ref().map_or("-", |input| &input.shape)))?;
    line.value("", Some(operation.output.as_ref().map_or("-", |output| &output.shape)))?;
    line.value("status=", operation.http.response_code.filter(|&code| code != 200))?;
    line.value("wrap=", operation.output.as_ref().and_then(|output| output.result_wrapper.as_ref()))?;
    line.end(out);
    if !operation.errors.is_empty() {
        let mut line = Line::new(" errors", name);
        for error in &operation.errors {
            line.value("", Some(&error.shape))?;
        }
        line.end(out);
    }
    if let Some(page) = paginator {
        let mut line = Line::new(" page", name);
        line.value("in=", Some(page.input_token.joined()))?;
        line.value("out=", Some(page.output_token.joined()))?;
        line.value("limit=", page.limit_key.as_ref())?;
        line.value("more=", page.more_results.as_ref())?;
        line.value("items=", page.result_key.as_ref().map(OneOrMore::joined))?;
        line.end(out);
    }
    Ok(())
}

/// The shapes that the operations need, by name; with `exceptions` also errors that no operation lists.
fn reachable<'a>(
    operations: &[(&'a str, &'a OperationDefinition)],
    shapes: &BTreeMap<&'a str, &'a ShapeDefinition>,
    exceptions: bool,
) -> Result<Vec<&'a str>, ConvertError> {
    let mut queue: Vec<&'a str> = Vec::new();
    for (_, operation) in operations {
        let references = operation.input.iter().chain(&operation.output).chain(&operation.errors);
        queue.extend(references.map(|reference| reference.shape.as_str()));
    }
    if exceptions {
        queue.extend(shapes.iter().filter(|(_, shape)| shape.exception).map(|(name, _)| *name));
    }
    let mut seen = std::collections::BTreeSet::new();
    while let Some(name) = queue.pop() {
        let shape = shapes.get(name).ok_or_else(|| ConvertError::Missing(name.to_owned()))?;
        if seen.insert(name) {
            let parts = shape.member.iter().chain(&shape.key).chain(&shape.value);
            queue.extend(
                parts.chain(shape.members.0.iter().map(|(_, member)| member)).map(|member| member.shape.as_str()),
            );
        }
    }
    Ok(seen.into_iter().collect())
}

fn shape_lines(out: &mut String, name: &str, shape: &ShapeDefinition) -> Result<(), ConvertError> {
    let kind = match (shape.kind.as_str(), shape.document) {
        (_, true) => "document",
        ("character", _) => "string",
        (kind, _) => kind,
    };
    let mut line = Line::new(kind, name);
    line.value("", Some(name))?;
    line.value("payload=", shape.payload.as_ref())?;
    line.flag(shape.exception && kind == "structure", "exception");
    if let Some(error) = &shape.error {
        line.value("code=", error.code.as_ref())?;
        line.value("status=", error.http_status_code)?;
    }
    line.flag(shape.fault, "server");
    line.flag(shape.union && kind == "structure", "union");
    line.value("min=", shape.min.as_ref())?;
    line.value("max=", shape.max.as_ref())?;
    line.value("ts=", shape.timestamp_format.as_ref())?;
    line.value("xml=", shape.location_name.as_ref())?;
    line.namespace(shape.xml_namespace.as_ref())?;
    line.flag(shape.flattened, "flat");
    line.flag(shape.sensitive, "sensitive");
    line.end(out);
    for (member_name, member) in &shape.members.0 {
        let required = shape.required.contains(member_name);
        member_line(name, member_name, member, required)?.end(out);
    }
    for (member_name, member) in [("member", &shape.member), ("key", &shape.key), ("value", &shape.value)] {
        if let Some(member) = member {
            member_line(name, member_name, member, false)?.end(out);
        }
    }
    if let Some(pattern) = &shape.pattern {
        if pattern.contains(['\n', '\r']) {
            return Err(ConvertError::Unwritable { what: "the pattern", of: name.to_owned(), text: pattern.clone() });
        }
        let _ = writeln!(out, " pattern {pattern}");
    }
    if !shape.values.is_empty() {
        if let Some(value) = shape.values.iter().find(|value| value.contains(['|', '\n', '\r']) || value.is_empty()) {
            return Err(ConvertError::Unwritable { what: "a value", of: name.to_owned(), text: value.clone() });
        }
        let _ = writeln!(out, " enum {}", shape.values.join("|"));
    }
    Ok(())
}

fn member_line<'a>(of: &'a str, name: &str, member: &Reference, required: bool) -> Result<Line<'a>, ConvertError> {
    let mut line = Line::new(format_args!(" .{name}"), of);
    line.value("", Some(&member.shape))?;
    line.flag(required, "*");
    let location = match member.location.as_deref() {
        None => "",
        Some("header") => "@header",
        Some("headers") => "@headers",
        Some("querystring") => "@query",
        Some("statusCode") => "@status",
        Some("uri") => "@uri",
        Some(other) => {
            return Err(ConvertError::Unwritable { what: "a location", of: of.to_owned(), text: other.to_owned() });
        }
    };
    line.flag(!location.is_empty(), location);
    line.value("=", member.location_name.as_ref().filter(|wire| *wire != name))?;
    line.value("?", member.query_name.as_ref())?;
    line.flag(member.flattened, "flat");
    line.flag(member.idempotency_token, "token");
    line.flag(member.jsonvalue, "json");
    line.flag(member.xml_attribute, "attr");
    line.value("ts=", member.timestamp_format.as_ref())?;
    line.namespace(member.xml_namespace.as_ref())?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFINITION: &str = r#"{
        "metadata": {"protocol": "query", "apiVersion": "1", "endpointPrefix": "x", "serviceId": "X Y"},
        "operations": {
            "B": {"name": "B", "http": {"method": "POST", "requestUri": "/"}, "input": {"shape": "In"}, "errors": [{"shape": "Bad"}]},
            "A": {"name": "A", "http": {"method": "POST", "requestUri": "/"}}
        },
        "shapes": {
            "In": {"type": "structure", "required": ["z"], "members": {
                "z": {"shape": "Text", "locationName": "Z", "documentation": "prose"}, "a": {"shape": "Text", "locationName": "a"}}},
            "Bad": {"type": "structure", "members": {}, "exception": true, "error": {"code": "B.ad", "httpStatusCode": 404}},
            "Text": {"type": "string", "enum": ["one two", "3"], "pattern": "[ -~]+", "max": 5},
            "Unused": {"type": "string"}
        }}"#;

    #[test]
    fn order_names_and_constraints_survive_without_prose() {
        let text = convert(DEFINITION, Options { only: Some(&["B"]), ..Options::default() }).expect("convertible");
        let expected = "service id=X_Y endpoint=x signing=x version=1 protocol=query\n\
            operation B POST / In -\n errors Bad\nother A\nstructure Bad exception code=B.ad status=404\n\
            structure In\n .z Text * =Z\n .a Text\nstring Text max=5\n pattern [ -~]+\n enum one two|3\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_unknown_operation_is_refused() {
        let error = convert(DEFINITION, Options { only: Some(&["C"]), ..Options::default() });
        assert!(matches!(error, Err(ConvertError::Missing(name)) if name == "C"));
    }
}
