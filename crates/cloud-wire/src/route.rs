//! Finds the operation of a REST request by method, path and constant query, and collects the members that stand outside the body.
//! The raw path is split at `/` before it is decoded: EKS puts percent-encoded ARNs into paths. Must never decode first.

use base64::Engine as _;
use serde_json::{Map, Value};

use crate::error::WireError;
use crate::model::{Kind, Location, Member, Operation, Protocol, Segment, Service};
use crate::protocol::{json, xml_body};
use crate::request::{RequestParts, decode_percent, parse_pairs};
use crate::scalar;
use crate::service::Call;

/// An operation and the raw text of its path labels.
type Found<'s, 'r> = (&'s Operation, Vec<(&'static str, &'r str)>);

/// Finds the operation; the most literal template wins.
pub(crate) fn find<'s, 'r>(service: &'s Service, parts: &RequestParts<'r>) -> Result<Found<'s, 'r>, WireError> {
    let raw_path = parts.raw_path.strip_prefix('/').unwrap_or(parts.raw_path);
    let segments: Vec<&str> = raw_path.split('/').collect();
    let pairs = parse_pairs(parts.raw_query)?;
    let has_fixed_query = |operation: &Operation| {
        operation.fixed_query.iter().all(|(name, expected)| {
            pairs.iter().any(|(given, value)| given == name && expected.is_none_or(|expected| value == expected))
        })
    };
    let mut best: Option<(Found<'s, 'r>, Vec<u8>)> = None;
    for operation in service.operations().iter().filter(|operation| operation.method == parts.method) {
        let Some(labels) = labels(&operation.path, &segments, raw_path) else { continue };
        if !has_fixed_query(operation) {
            continue;
        }
        let mut rank: Vec<u8> = operation.path.iter().map(specificity).collect();
        rank.push(operation.fixed_query.len() as u8);
        if best.as_ref().is_none_or(|(_, best)| rank > *best) {
            best = Some(((operation, labels), rank));
        }
    }
    best.map(|(found, _)| found).ok_or_else(|| WireError::UnknownOperation {
        service: service.endpoint,
        what: format!("{} {}", parts.method, parts.raw_path),
    })
}

fn specificity(segment: &Segment) -> u8 {
    match segment {
        Segment::Literal(_) => 2,
        Segment::Label(_) => 1,
        Segment::Greedy(_) => 0,
    }
}

fn labels<'r>(template: &[Segment], path: &[&'r str], raw_path: &'r str) -> Option<Vec<(&'static str, &'r str)>> {
    let mut labels = Vec::new();
    let mut at = 0;
    for (index, segment) in template.iter().enumerate() {
        match segment {
            Segment::Literal(text) => {
                if path.get(at).copied() != Some(*text) {
                    return None;
                }
                at += 1;
            }
            Segment::Label(name) => {
                labels.push((*name, *path.get(at).filter(|text| !text.is_empty())?));
                at += 1;
            }
            Segment::Greedy(name) => {
                let end = path.len().checked_sub(template.len() - index - 1).filter(|end| *end > at)?;
                let start: usize = path[..at].iter().map(|text| text.len() + 1).sum();
                let length: usize = path[at..end].iter().map(|text| text.len()).sum::<usize>() + end - at - 1;
                labels.push((*name, raw_path.get(start..start + length)?));
                at = end;
            }
        }
    }
    // A trailing slash does not make another resource.
    let rest = &path[at..];
    (rest.is_empty() || rest == [""]).then_some(labels)
}

pub(crate) fn route<'s>(service: &'s Service, parts: &RequestParts<'_>, body: &[u8]) -> Result<Call<'s>, WireError> {
    let (operation, labels) = find(service, parts)?;
    let Some(structure) = operation.input.and_then(|id| service.structure(id)) else {
        return Ok(Call { operation, input: Value::Object(Map::new()) });
    };
    let pairs = parse_pairs(parts.raw_query)?;
    let mut input = Map::new();
    for member in &structure.members {
        let name = member.wire_name();
        let value = match member.location {
            Location::Body | Location::Status => None,
            Location::Uri => match labels.iter().find(|(label, _)| *label == name) {
                Some((_, raw)) => Some(scalar::from_text(service, member, &decode_percent(raw, false)?)),
                None => None,
            },
            Location::Query => from_query(service, member, &pairs).transpose(),
            Location::Header => from_header(service, member, parts).transpose(),
            Location::Headers => from_headers(name, parts),
        };
        if let Some(value) = value {
            input.insert(member.name.to_owned(), value.map_err(|error| error.within(member.name))?);
        }
    }
    if let Some(payload) = structure.payload.and_then(|name| structure.member(name)) {
        if let Some(value) = from_payload(service, payload, body).map_err(|error| error.within(payload.name))? {
            input.insert(payload.name.to_owned(), value);
        }
    } else if structure.members.iter().any(|member| member.location == Location::Body) {
        let members = match service.protocol {
            Protocol::RestXml => xml_body::read_body(service, structure, body)?,
            _ => json::read_body(service, structure, body)?,
        };
        input.extend(members);
    }
    Ok(Call { operation, input: Value::Object(input) })
}

fn from_query(service: &Service, member: &Member, pairs: &[(String, String)]) -> Result<Option<Value>, WireError> {
    let values =
        |key: &str| pairs.iter().filter(|(name, _)| name == key).map(|(_, value)| value.clone()).collect::<Vec<_>>();
    match &service.shape(member.shape).kind {
        Kind::Map(pair) => {
            let lists = matches!(service.shape(pair.1.shape).kind, Kind::List(_));
            let mut map = Map::new();
            for (name, value) in pairs {
                if lists {
                    map.entry(name.clone()).or_insert_with(|| Value::from(values(name)));
                } else {
                    map.insert(name.clone(), scalar::from_text(service, &pair.1, value)?);
                }
            }
            Ok((!map.is_empty()).then_some(Value::Object(map)))
        }
        Kind::List(item) => {
            let given = values(member.wire_name());
            let read: Result<Vec<Value>, _> = given.iter().map(|text| scalar::from_text(service, item, text)).collect();
            Ok((!given.is_empty()).then_some(Value::Array(read?)))
        }
        _ => match values(member.wire_name()).as_slice() {
            [] => Ok(None),
            [text] => scalar::from_text(service, member, text).map(Some),
            _ => Err(WireError::Duplicate(member.wire_name().to_owned())),
        },
    }
}

fn from_header(service: &Service, member: &Member, parts: &RequestParts<'_>) -> Result<Option<Value>, WireError> {
    let Some(text) = parts.header(member.wire_name()) else { return Ok(None) };
    if member.json_value {
        let malformed = |why: &str| WireError::Malformed { what: "JSON header", why: why.to_owned() };
        let bytes = scalar::decode_blob(text).ok_or_else(|| malformed("it is not base64"))?;
        return String::from_utf8(bytes).map(|json| Some(Value::from(json))).map_err(|_| malformed("it is not text"));
    }
    match &service.shape(member.shape).kind {
        Kind::List(item) => {
            let dates = matches!(service.shape(item.shape).kind, Kind::Timestamp);
            let read: Result<Vec<Value>, _> =
                split_header(text, dates).iter().map(|text| scalar::from_text(service, item, text)).collect();
            read.map(|list| Some(Value::Array(list)))
        }
        _ => scalar::from_text(service, member, text).map(Some),
    }
}

/// Splits a list header at commas outside quotes; HTTP dates contain a comma of their own.
fn split_header(text: &str, dates: bool) -> Vec<String> {
    if dates && text.contains("GMT") {
        return text.split_inclusive("GMT").map(|date| date.trim_start_matches([',', ' ']).to_owned()).collect();
    }
    if text.trim().is_empty() {
        return Vec::new();
    }
    let (mut items, mut item, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' if quoted => item.extend(chars.next()),
            ',' if !quoted => items.push(std::mem::take(&mut item).trim().to_owned()),
            c => item.push(c),
        }
    }
    items.push(item.trim().to_owned());
    items
}

fn from_headers(prefix: &str, parts: &RequestParts<'_>) -> Option<Result<Value, WireError>> {
    let prefix = prefix.to_ascii_lowercase();
    let mut map = Map::new();
    for (name, value) in parts.headers {
        if let (Some(rest), Ok(text)) = (name.as_str().strip_prefix(&prefix), value.to_str()) {
            map.insert(rest.to_owned(), Value::from(text));
        }
    }
    (!map.is_empty()).then_some(Ok(Value::Object(map)))
}

fn from_payload(service: &Service, payload: &Member, body: &[u8]) -> Result<Option<Value>, WireError> {
    if body.is_empty() {
        return Ok(None);
    }
    let text =
        || std::str::from_utf8(body).map_err(|error| WireError::Malformed { what: "body", why: error.to_string() });
    match (&service.shape(payload.shape).kind, service.protocol) {
        (Kind::Blob, _) => Ok(Some(Value::String(base64::engine::general_purpose::STANDARD.encode(body)))),
        (Kind::String, _) => Ok(Some(Value::from(text()?))),
        (_, Protocol::RestXml) => xml_body::read_payload(service, payload, text()?).map(Some),
        (_, _) => json::read(service, payload, json::parse(body)?).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_encoded_slashes_and_greedy_labels_take_the_rest() {
        let template = [Segment::Literal("a"), Segment::Label("b"), Segment::Greedy("c"), Segment::Literal("d")];
        let raw = "a/x%2Fy/1/2/d";
        let found = labels(&template, &raw.split('/').collect::<Vec<_>>(), raw);
        assert_eq!(found, Some(vec![("b", "x%2Fy"), ("c", "1/2")]));
        for raw in ["a/x/d", "a//1/d", "a/x/1/e", "b/x/1/d"] {
            assert_eq!(labels(&template, &raw.split('/').collect::<Vec<_>>(), raw), None, "{raw}");
        }
    }

    #[test]
    fn list_headers_respect_quotes_and_dates() {
        assert_eq!(split_header(r#""b,c", "\"def\"", a"#, false), ["b,c", "\"def\"", "a"]);
        let date = "Mon, 16 Dec 2019 23:48:18 GMT";
        assert_eq!(split_header(&format!("{date}, {date}"), true), [date, date]);
    }
}
