//! Reads the compact text form of a model, see `models/*.model`. Must never need anything but that text.
//!
//! Lines are words separated by one space. A line that starts with a space continues the operation or shape above it.
//!
//! ```text
//! # provenance
//! service id=EKS endpoint=eks signing=eks version=2017-11-01 protocol=rest-json json=1.1
//! operation ListClusters GET /clusters ListClustersRequest ListClustersResponse status=200 wrap=…
//!  errors ClientException ServerException
//!  page in=nextToken out=nextToken limit=maxResults items=clusters more=…
//! other NamesOf OperationsThat AreNotDescribed
//! structure Cluster payload=… exception code=… status=404 server union xml=… ns=… nsp=…
//!  .name String * @uri =wire-name ?QueryName flat token json attr ts=iso8601 ns=… nsp=…
//! list StringList min=1 max=5
//!  .member String
//! string ClusterName min=1 max=100
//!  pattern ^[0-9A-Za-z][A-Za-z0-9\-_]*
//!  enum ONE|TWO
//! ```

use crate::model::{
    Enumeration, Kind, Location, Member, Namespace, Operation, Pagination, Pattern, Protocol, Segment, Service, Shape,
    ShapeId, Structure, TimestampFormat,
};

/// A line that is not in the model form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("model line {line}: {why}")]
pub struct ModelError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

type Result<T> = std::result::Result<T, String>;

/// Reads a whole model.
///
/// # Errors
/// Names the first line that is malformed or refers to a shape that is not there.
pub fn parse_model(text: &'static str) -> std::result::Result<Service, ModelError> {
    let mut names = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with([' ', '#'])) {
        let mut words = line.split(' ');
        if !matches!(words.next(), Some("service" | "operation" | "other" | "") | None) {
            names.extend(words.next());
        }
    }
    if !names.is_sorted() {
        return Err(ModelError { line: 0, why: "shapes are not in the order of their names".to_owned() });
    }
    let mut reader = Reader { names, service: empty() };
    for (index, line) in text.lines().enumerate() {
        reader.line(line).map_err(|why| ModelError { line: index + 1, why })?;
    }
    let mut service = reader.service;
    service.operations.sort_by_key(|operation| operation.name);
    service.other.sort_unstable();
    Ok(service)
}

fn empty() -> Service {
    Service {
        id: "",
        endpoint: "",
        signing_name: "",
        version: "",
        protocol: Protocol::RestJson,
        json_version: "1.1",
        target_prefix: None,
        namespace: None,
        query_compatible: false,
        shapes: Vec::new(),
        operations: Vec::new(),
        other: Vec::new(),
    }
}

struct Reader {
    names: Vec<&'static str>,
    service: Service,
}

impl Reader {
    fn line(&mut self, line: &'static str) -> Result<()> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix(' ') {
            return self.continuation(rest);
        }
        let (word, rest) = line.split_once(' ').ok_or("a line has at least two words")?;
        match word {
            "service" => self.service_line(rest),
            "operation" => self.operation_line(rest),
            "other" => {
                self.service.other.extend(rest.split(' '));
                Ok(())
            }
            kind => self.shape_line(kind, rest),
        }
    }

    fn shape_id(&self, name: &str) -> Result<ShapeId> {
        let index = self.names.binary_search(&name).map_err(|_| format!("the shape {name:?} is missing"))?;
        Ok(ShapeId(u32::try_from(index).map_err(|_| "too many shapes")?))
    }

    fn optional_shape(&self, name: Option<&str>) -> Result<Option<ShapeId>> {
        match name {
            None => Err("a shape's name or - is missing".to_owned()),
            Some("-") => Ok(None),
            Some(name) => self.shape_id(name).map(Some),
        }
    }

    fn service_line(&mut self, rest: &'static str) -> Result<()> {
        let service = &mut self.service;
        for word in rest.split(' ') {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "id" => service.id = value,
                "endpoint" => service.endpoint = value,
                "signing" => service.signing_name = value,
                "version" => service.version = value,
                "json" => service.json_version = value,
                "target" => service.target_prefix = Some(value),
                "ns" => service.namespace = Some(value),
                "query-compatible" => service.query_compatible = true,
                "protocol" => service.protocol = protocol(value)?,
                _ => return Err(format!("{word:?} is unknown")),
            }
        }
        Ok(())
    }

    fn operation_line(&mut self, rest: &'static str) -> Result<()> {
        let mut words = rest.split(' ');
        let mut next = || words.next().ok_or("an operation has a name, a method and a path");
        let (name, method, uri) = (next()?, next()?, next()?);
        let input = self.optional_shape(words.next())?;
        let output = self.optional_shape(words.next())?;
        let (path, fixed_query) = template(uri);
        let mut operation = Operation {
            name,
            method,
            path,
            fixed_query,
            status: 200,
            input,
            output,
            result_wrapper: None,
            errors: Vec::new(),
            pagination: None,
        };
        for word in words {
            match word.split_once('=') {
                Some(("status", value)) => operation.status = number(value)?,
                Some(("wrap", value)) => operation.result_wrapper = Some(value),
                _ => return Err(format!("{word:?} is unknown")),
            }
        }
        self.service.operations.push(operation);
        Ok(())
    }

    fn continuation(&mut self, rest: &'static str) -> Result<()> {
        let (word, rest) = rest.split_once(' ').ok_or("a line has at least two words")?;
        if let Some(name) = word.strip_prefix('.') {
            let member = self.member(name, rest)?;
            return self.add_member(member);
        }
        match word {
            "errors" => {
                let errors = rest.split(' ').map(|name| self.shape_id(name)).collect::<Result<Vec<_>>>()?;
                self.last_operation()?.errors = errors;
            }
            "page" => self.last_operation()?.pagination = Some(pagination(rest)?),
            "pattern" => self.last_shape()?.pattern = Some(Pattern::new(rest)),
            "enum" => self.last_shape()?.values = Enumeration(rest),
            _ => return Err(format!("{word:?} is unknown")),
        }
        Ok(())
    }

    fn last_operation(&mut self) -> Result<&mut Operation> {
        self.service.operations.last_mut().ok_or_else(|| "there is no operation above".to_owned())
    }

    fn last_shape(&mut self) -> Result<&mut Shape> {
        self.service.shapes.last_mut().ok_or_else(|| "there is no shape above".to_owned())
    }

    fn member(&self, name: &'static str, rest: &'static str) -> Result<Member> {
        let mut words = rest.split(' ');
        let mut member = Member { name, ..Member::of(self.shape_id(words.next().unwrap_or_default())?) };
        let mut namespace = (None, None);
        for word in words {
            match word {
                "*" => member.required = true,
                "@header" => member.location = Location::Header,
                "@headers" => member.location = Location::Headers,
                "@query" => member.location = Location::Query,
                "@status" => member.location = Location::Status,
                "@uri" => member.location = Location::Uri,
                "flat" => member.flattened = true,
                "token" => member.idempotency_token = true,
                "json" => member.json_value = true,
                "attr" => member.attribute = true,
                _ => match (word.strip_prefix('='), word.strip_prefix('?'), word.split_once('=')) {
                    (Some(wire), _, _) => member.wire = Some(wire),
                    (_, Some(query), _) => member.query = Some(query),
                    (_, _, Some(("ts", format))) => member.timestamp = Some(timestamp(format)?),
                    (_, _, Some(("ns", uri))) => namespace.0 = Some(uri),
                    (_, _, Some(("nsp", prefix))) => namespace.1 = Some(prefix),
                    _ => return Err(format!("{word:?} is unknown")),
                },
            }
        }
        member.namespace = namespace.0.map(|uri| Namespace { uri, prefix: namespace.1 });
        Ok(member)
    }

    fn add_member(&mut self, member: Member) -> Result<()> {
        match &mut self.last_shape()?.kind {
            Kind::Structure(structure) => structure.members.push(member),
            Kind::List(item) => **item = member,
            Kind::Map(pair) if member.name == "key" => pair.0 = member,
            Kind::Map(pair) if member.name == "value" => pair.1 = member,
            _ => return Err(format!("{:?} has no place here", member.name)),
        }
        Ok(())
    }

    fn shape_line(&mut self, kind: &str, rest: &'static str) -> Result<()> {
        let mut words = rest.split(' ');
        let name = words.next().unwrap_or_default();
        let placeholder = || Member::of(ShapeId(0));
        let kind = match kind {
            "blob" => Kind::Blob,
            "boolean" => Kind::Boolean,
            "document" => Kind::Document,
            "double" => Kind::Double,
            "float" => Kind::Float,
            "integer" => Kind::Integer,
            "list" => Kind::List(Box::new(placeholder())),
            "long" => Kind::Long,
            "map" => Kind::Map(Box::new((placeholder(), placeholder()))),
            "string" => Kind::String,
            "structure" => Kind::Structure(Structure::default()),
            "timestamp" => Kind::Timestamp,
            other => return Err(format!("{other:?} is not a kind of shape")),
        };
        let mut shape = Shape {
            name,
            kind,
            min: None,
            max: None,
            pattern: None,
            values: Enumeration::default(),
            timestamp: None,
            wire: None,
            namespace: None,
            flattened: false,
            sensitive: false,
        };
        let mut namespace = (None, None);
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match (key, &mut shape.kind) {
                ("min", _) => shape.min = Some(number(value)?),
                ("max", _) => shape.max = Some(number(value)?),
                ("ts", _) => shape.timestamp = Some(timestamp(value)?),
                ("xml", _) => shape.wire = Some(value),
                ("ns", _) => namespace.0 = Some(value),
                ("nsp", _) => namespace.1 = Some(value),
                ("flat", _) => shape.flattened = true,
                ("sensitive", _) => shape.sensitive = true,
                ("payload", Kind::Structure(structure)) => structure.payload = Some(value),
                ("exception", Kind::Structure(structure)) => structure.exception = true,
                ("code", Kind::Structure(structure)) => structure.code = Some(value),
                ("status", Kind::Structure(structure)) => structure.status = Some(number(value)?),
                ("server", Kind::Structure(structure)) => structure.server_fault = true,
                ("union", Kind::Structure(structure)) => structure.union = true,
                _ => return Err(format!("{word:?} is unknown")),
            }
        }
        shape.namespace = namespace.0.map(|uri| Namespace { uri, prefix: namespace.1 });
        self.service.shapes.push(shape);
        Ok(())
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| format!("{text:?} is not a number in range"))
}

fn protocol(text: &str) -> Result<Protocol> {
    Ok(match text {
        "ec2" => Protocol::Ec2,
        "json" => Protocol::Json,
        "query" => Protocol::Query,
        "rest-json" => Protocol::RestJson,
        "rest-xml" => Protocol::RestXml,
        _ => return Err(format!("the protocol {text:?} is unknown")),
    })
}

fn timestamp(text: &str) -> Result<TimestampFormat> {
    Ok(match text {
        "iso8601" => TimestampFormat::Iso8601,
        "rfc822" => TimestampFormat::HttpDate,
        "unixTimestamp" => TimestampFormat::UnixTimestamp,
        _ => return Err(format!("the timestamp format {text:?} is unknown")),
    })
}

fn pagination(rest: &'static str) -> Result<Pagination> {
    let mut page = Pagination { input_token: "", output_token: "", limit: None, more: None, items: "" };
    for word in rest.split(' ') {
        match word.split_once('=') {
            Some(("in", value)) => page.input_token = value,
            Some(("out", value)) => page.output_token = value,
            Some(("limit", value)) => page.limit = Some(value),
            Some(("more", value)) => page.more = Some(value),
            Some(("items", value)) => page.items = value,
            _ => return Err(format!("{word:?} is unknown")),
        }
    }
    Ok(page)
}

type Template = (Vec<Segment>, Vec<(&'static str, Option<&'static str>)>);

fn template(uri: &'static str) -> Template {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let segments = path.strip_prefix('/').unwrap_or(path).split('/').map(|segment| {
        match segment.strip_prefix('{').and_then(|label| label.strip_suffix('}')) {
            Some(label) => label.strip_suffix('+').map_or(Segment::Label(label), Segment::Greedy),
            None => Segment::Literal(segment),
        }
    });
    let fixed = query.split('&').filter(|pair| !pair.is_empty());
    (
        segments.collect(),
        fixed.map(|pair| pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value)))).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_models_name_the_line() {
        for (text, line) in [
            ("service protocol=soap", 1),
            ("service id=X\nnonsense", 2),
            ("operation A GET / Missing -", 1),
            ("structure A\n .b Missing", 2),
            ("string A min=x", 1),
            ("string A\n .b A", 2),
            ("string B\nstring A", 0),
            (" enum A|B", 1),
        ] {
            assert_eq!(parse_model(text).map(|_| ()).map_err(|error| error.line), Err(line), "{text}");
        }
    }

    #[test]
    fn path_templates_are_split_into_segments_and_constants() {
        let (path, query) = template("/a/{b}/{c+}?x=1&y");
        assert_eq!(path, [Segment::Literal("a"), Segment::Label("b"), Segment::Greedy("c")]);
        assert_eq!(query, [("x", Some("1")), ("y", None)]);
    }
}
