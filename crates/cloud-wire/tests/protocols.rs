//! The published protocol cases, read from the server's side: an `input` case must be parsed back into its parameters, an `output` case
//! must be written into an equivalent response. Each suite is a small service of its own, converted like a real one.
//!
//! Cases that do not pass stand in `not-yet.txt`, which may only shrink: a listed case that passes fails the test too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cloud_wire::convert::{Options, convert};
use cloud_wire::{
    AwsError, Element, Kind, Location, Member, Operation, Protocol, RequestParts, Service, ShapeId, encode_blob,
    parse_model,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use world::Timestamp;

const PROTOCOLS: &[&str] = &["ec2", "json", "json_1_0", "json_1_0-query-compatible", "query", "rest-json", "rest-xml"];

fn data() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let data = std::env::var("MINATO_TEST_DATA").unwrap_or_else(|_| default.to_owned());
    let folder = Path::new(&data).join("aws-protocols");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: {} is absent; set MINATO_TEST_DATA", folder.display());
    None
}

fn not_yet() -> BTreeSet<String> {
    let text = include_str!("not-yet.txt");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// The suite's service with the one operation of the case. It lives as long as the test, like the embedded models.
fn service(suite: &Value, case: &Value) -> &'static Service {
    let mut given = case["given"].clone();
    let name = given["name"].as_str().expect("an operation has a name").to_owned();
    if suite["metadata"]["protocol"] == "query" && given["output"].is_object() {
        // The suite's responses have the wrapper, its models do not.
        given["output"]["resultWrapper"] = json!(format!("{name}Result"));
    }
    let definition = json!({"metadata": suite["metadata"], "operations": {name: given}, "shapes": suite["shapes"]});
    let text = convert(&definition.to_string(), Options::default()).expect("convertible");
    Box::leak(Box::new(parse_model(Box::leak(text.into_boxed_str())).expect("readable")))
}

/// The suites write blobs as plain text; our values hold base64.
fn canonical(service: &Service, id: ShapeId, value: &Value) -> Value {
    match (&service.shape(id).kind, value) {
        (Kind::Blob, Value::String(text)) => encode_blob(text.as_bytes()),
        (Kind::Structure(structure), Value::Object(members)) => Value::Object(
            members
                .iter()
                .map(|(name, value)| match structure.member(name) {
                    Some(member) => (name.clone(), canonical(service, member.shape, value)),
                    None => (name.clone(), value.clone()),
                })
                .collect(),
        ),
        (Kind::List(item), Value::Array(list)) => {
            Value::Array(list.iter().map(|value| canonical(service, item.shape, value)).collect())
        }
        (Kind::Map(pair), Value::Object(map)) => Value::Object(
            map.iter().map(|(key, value)| (key.clone(), canonical(service, pair.1.shape, value))).collect(),
        ),
        (_, value) => value.clone(),
    }
}

/// Equal as data: numbers by value, and no difference between an absent member and null.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter().all(|key| same(a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null)))
        }
        (Value::String(a), Value::String(b)) => a == b || same_time(a, b),
        (a, b) => a == b,
    }
}

/// `2019-12-16T22:48:18-01:00` and `2019-12-16T23:48:18Z` are one time.
fn same_time(a: &str, b: &str) -> bool {
    matches!((Timestamp::parse(a), Timestamp::parse(b)), (Ok(a), Ok(b)) if a == b)
}

fn headers(given: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in given.as_object().into_iter().flatten() {
        let name: HeaderName = name.parse().expect("a header name");
        headers.append(name, HeaderValue::from_str(value.as_str().unwrap_or_default()).expect("a header value"));
    }
    headers
}

/// Drops what a request cannot show: empty lists, maps and structures; tokens that the client made up; and in a map of the whole query
/// string the parameters that another member has.
fn visible(service: &Service, id: ShapeId, value: &Value, given: &Value) -> Value {
    let (Some(structure), Some(members)) = (service.structure(id), value.as_object()) else { return value.clone() };
    let bound: Vec<&str> =
        structure.members.iter().filter(|member| member.location == Location::Query).map(Member::wire_name).collect();
    let mut visible = members.clone();
    for member in &structure.members {
        if member.idempotency_token && given.get(member.name).is_none() {
            visible.remove(member.name);
        }
        let map = matches!(service.shape(member.shape).kind, Kind::Map(_)) && member.location == Location::Query;
        if let Some(Value::Object(map)) = visible.get_mut(member.name).filter(|_| map) {
            map.retain(|name, _| !bound.contains(&name.as_str()));
        }
    }
    let form = matches!(service.protocol, Protocol::Query | Protocol::Ec2);
    visible.retain(|name, value| {
        let empty =
            value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty);
        let payload = structure.payload == Some(name);
        let in_body = structure.member(name).is_some_and(|member| member.location == Location::Body);
        !(empty && (form || payload || !in_body))
    });
    Value::Object(visible)
}

fn check_input(service: &Service, suite: &Value, case: &Value) -> Result<(), String> {
    let serialized = &case["serialized"];
    let uri = serialized["uri"].as_str().unwrap_or("/");
    // A path in the endpoint is where the service is mounted.
    let mount =
        suite["clientEndpoint"].as_str().and_then(|url| url.splitn(4, '/').nth(3)).map(|path| format!("/{path}"));
    let uri =
        mount.as_deref().and_then(|mount| uri.strip_prefix(mount)).filter(|uri| uri.starts_with('/')).unwrap_or(uri);
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let mut headers = headers(&serialized["headers"]);
    if matches!(service.protocol, Protocol::Query | Protocol::Ec2) {
        headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
    }
    if service.protocol == Protocol::Json && !headers.contains_key("x-amz-target") {
        let prefix = service.target_prefix.unwrap_or_default();
        let target = format!("{prefix}.{}", operation(service).name);
        headers.insert("x-amz-target", HeaderValue::from_str(&target).expect("a header value"));
    }
    let method = serialized["method"].as_str().unwrap_or("POST");
    let parts = RequestParts { method, raw_path: path, raw_query: query, headers: &headers };
    let body = serialized["body"].as_str().unwrap_or_default();
    let call = service.route(&parts, body.as_bytes()).map_err(|error| error.to_string())?;
    let (expected, actual) = match call.operation.input {
        Some(id) => {
            let expected = canonical(service, id, &case["params"]);
            (visible(service, id, &expected, &case["params"]), visible(service, id, &call.input, &case["params"]))
        }
        None => (json!({}), call.input.clone()),
    };
    if same(&actual, &expected) { Ok(()) } else { Err(format!("expected {expected}\n    actual   {}", call.input)) }
}

fn operation(service: &Service) -> &Operation {
    &service.operations()[0]
}

fn check_output(service: &Service, case: &Value) -> Result<(), String> {
    let expected = &case["response"];
    let stated_id = expected["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .find(|(name, _)| name.eq_ignore_ascii_case("x-amzn-requestid"));
    let request_id = stated_id.and_then(|(_, id)| id.as_str()).unwrap_or("foo-id");
    let response = match case.get("errorCode").and_then(Value::as_str) {
        Some(code) => {
            let status = expected["status_code"].as_u64().unwrap_or(400) as u16;
            // Some cases state the message only in their response.
            let in_body = expected["body"].as_str().and_then(|body| body.split("<Message>").nth(1)?.split('<').next());
            let message = case["errorMessage"].as_str().or(in_body).unwrap_or_default();
            let mut error = AwsError::new(code.to_owned(), status, message);
            // The suite names the code of the wire; our handlers name the exception. Both must work.
            for (name, value) in case["error"].as_object().into_iter().flatten() {
                let shape = operation(service)
                    .errors
                    .iter()
                    .find_map(|id| service.structure(*id)?.member(name).map(|member| member.shape));
                let value = shape.map_or_else(|| value.clone(), |shape| canonical(service, shape, value));
                error = error.with(name, value);
            }
            service.respond_error(&error, request_id, None)
        }
        None => {
            let operation = operation(service);
            let output = match operation.output {
                Some(id) => canonical(service, id, &case["result"]),
                None => json!({}),
            };
            service.respond(operation, &output, request_id, None)
        }
    };
    let body = String::from_utf8_lossy(response.body()).into_owned();
    let status = expected["status_code"].as_u64().unwrap_or(200);
    if u64::from(response.status().as_u16()) != status {
        return Err(format!("status {} instead of {status}: {body}", response.status()));
    }
    for (name, value) in expected["headers"].as_object().into_iter().flatten() {
        let actual = response.headers().get(name).and_then(|value| value.to_str().ok());
        let value = value.as_str().unwrap_or_default();
        let normal = |text: &str| text.split(',').map(str::trim).collect::<Vec<_>>().join(", ");
        // The media type of a body may carry a charset; the error type may carry a namespace and a URI, which clients drop.
        let lenient =
            matches!(name.to_ascii_lowercase().as_str(), "content-type" | "content-length" | "x-amzn-errortype");
        if !lenient && actual.map(normal) != Some(normal(value)) {
            return Err(format!("header {name}: {actual:?} instead of {value:?}"));
        }
    }
    same_body(service, case, expected["body"].as_str().unwrap_or_default(), &body)
}

fn same_body(service: &Service, case: &Value, expected: &str, actual: &str) -> Result<(), String> {
    let differ = || Err(format!("expected {expected}\n    actual   {actual}"));
    let error = case.get("errorCode").is_some();
    if expected.trim() == actual.trim() {
        return Ok(());
    }
    let xml = matches!(service.protocol, Protocol::Query | Protocol::Ec2 | Protocol::RestXml);
    if xml {
        let parse = |text: &str| if text.trim().is_empty() { Ok(Element::default()) } else { Element::parse(text) };
        let (Ok(mut a), Ok(mut b)) = (parse(expected), parse(actual)) else { return differ() };
        if expected.trim().is_empty() {
            b.children.retain(|child| !child.children.is_empty() || child.name == "Error");
        }
        // Clients ignore the name of the root and read the request's id from several places.
        a.name.clone_from(&b.name);
        for root in [&mut a, &mut b] {
            strip(root);
        }
        if error {
            drop_unmodelled_error(service, &mut a);
        }
        return if same_element(&a, &b) { Ok(()) } else { differ() };
    }
    let parse = |text: &str| -> Option<Value> {
        if text.trim().is_empty() { Some(json!({})) } else { serde_json::from_str(text).ok() }
    };
    let (Some(mut a), Some(mut b)) = (parse(expected), parse(actual)) else { return differ() };
    drop_types(&mut a);
    drop_types(&mut b);
    if error {
        // The code also stands in a header, and an error has a message even where the suite's has none.
        for value in [&mut a, &mut b] {
            if let Some(object) = value.as_object_mut() {
                object.retain(|name, _| name != "code");
            }
        }
    } else {
        drop_unmodelled(service, &mut a);
    }
    if same(&a, &b) { Ok(()) } else { differ() }
}

/// Clients ignore the type of a structure.
fn drop_types(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.remove("__type");
            object.values_mut().for_each(drop_types);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_types),
        _ => {}
    }
}

/// The same for elements of an error.
fn drop_unmodelled_error(service: &Service, expected: &mut Element) {
    let members = operation(service)
        .errors
        .iter()
        .filter_map(|id| service.structure(*id))
        .flat_map(|structure| &structure.members);
    let known: BTreeSet<&str> = members.map(Member::wire_name).chain(["Type", "Code", "Message"]).collect();
    let envelope = |name: &str| matches!(name, "Errors" | "Error");
    expected.children.retain(|child| envelope(&child.name) || known.contains(child.name.as_str()));
    expected
        .children
        .iter_mut()
        .filter(|child| envelope(&child.name))
        .for_each(|child| drop_unmodelled_error(service, child));
}

/// Members that the suite adds to show that clients ignore what they do not know, or null.
fn drop_unmodelled(service: &Service, expected: &mut Value) {
    let known: BTreeSet<&str> = match operation(service).output.and_then(|id| service.structure(id)) {
        Some(structure) if structure.payload.is_none() => structure.members.iter().map(Member::wire_name).collect(),
        Some(_) => return,
        None => BTreeSet::new(),
    };
    if let Some(object) = expected.as_object_mut() {
        object.retain(|name, _| known.contains(name.as_str()));
    }
}

/// Drops what carries no data: request ids, and white space between elements.
fn strip(element: &mut Element) {
    element
        .children
        .retain(|child| !matches!(child.name.as_str(), "RequestId" | "RequestID" | "requestId" | "ResponseMetadata"));
    if !element.children.is_empty() {
        element.text.clear();
    }
    element.attributes.retain(|(name, _)| !name.starts_with("xmlns"));
    element.children.iter_mut().for_each(strip);
}

/// Equal up to the order of differently named elements and of map entries.
fn same_element(a: &Element, b: &Element) -> bool {
    let text = a.text.trim() == b.text.trim()
        || a.text == b.text
        || same_time(a.text.trim(), b.text.trim())
        || same_number(&a.text, &b.text);
    let sorted = |element: &Element| {
        let mut children: Vec<Element> = element.children.clone();
        children.sort_by_key(|child| (child.name.clone(), map_key(child)));
        children
    };
    let (children_a, children_b) = (sorted(a), sorted(b));
    let attributes = |element: &Element| element.attributes.iter().cloned().collect::<BTreeSet<_>>();
    a.name == b.name
        && text
        && attributes(a) == attributes(b)
        && children_a.len() == children_b.len()
        && children_a.iter().zip(&children_b).all(|(a, b)| same_element(a, b))
}

fn same_number(a: &str, b: &str) -> bool {
    matches!((a.trim().parse::<f64>(), b.trim().parse::<f64>()), (Ok(a), Ok(b)) if a == b)
}

fn map_key(entry: &Element) -> Option<String> {
    let two = entry.children.len() == 2;
    entry
        .children
        .first()
        .filter(|key| two && matches!(key.name.as_str(), "Attribute" | "InnerKey" | "K" | "OuterKey" | "key"))
        .map(|key| key.text.clone())
}

#[test]
fn published_cases_are_read_and_written() {
    let Some(folder) = data() else { return };
    let not_yet = not_yet();
    let (mut failures, mut seen, mut passed) = (Vec::new(), BTreeSet::new(), 0);
    for side in ["input", "output"] {
        for protocol in PROTOCOLS {
            let text = std::fs::read_to_string(folder.join(side).join(format!("{protocol}.json"))).expect("a suite");
            let suites: Vec<Value> = serde_json::from_str(&text).expect("JSON");
            for (suite, case) in suites
                .iter()
                .flat_map(|suite| suite["cases"].as_array().into_iter().flatten().map(move |case| (suite, case)))
            {
                let id = format!("{side}/{protocol}/{}", case["id"].as_str().unwrap_or_default());
                let service = service(suite, case);
                let result =
                    if side == "input" { check_input(service, suite, case) } else { check_output(service, case) };
                match (result, not_yet.contains(&id)) {
                    (Ok(()), false) => passed += 1,
                    (Ok(()), true) => failures.push(format!("{id} passes: take it off not-yet.txt")),
                    (Err(_), true) => {}
                    (Err(why), false) => failures.push(format!("{id}\n    {why}")),
                }
                seen.insert(id);
            }
        }
    }
    failures.extend(not_yet.difference(&seen).map(|id| format!("{id} in not-yet.txt is no case")));
    println!("{passed} of {} cases pass", seen.len());
    assert!(seen.len() > 600, "the suites have {} cases", seen.len());
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), seen.len(), failures.join("\n"));
}
