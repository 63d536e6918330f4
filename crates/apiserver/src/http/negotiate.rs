//! Which form a client wants its answer in, and which form its body has (apiserver `handlers/negotiation`).

use k8s_client::Verb;
use k8s_object::{ApiError, Reason};

/// What is sent instead of the object itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Object,
    PartialObjectMetadata,
    PartialObjectMetadataList,
    Table,
}

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    /// JSON for people, in lines.
    PrettyJson,
    Protobuf,
    Yaml,
}

/// How a body may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Json,
    Protobuf,
    Yaml,
}

/// What an endpoint has to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Objects of built-in kinds, and all views of them.
    Builtin,
    /// Objects of custom kinds, which have no messages of their own.
    Custom,
    /// Questions of built-in kinds that are answered and not kept: nobody lists them, so they have no columns.
    Review,
    /// One document or `Status`, and no view of it.
    Plain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub view: View,
    /// The version of the view: `meta.k8s.io/v1`, or `v1beta1`.
    pub meta: &'static str,
    pub format: Format,
}

pub(crate) const META_V1: &str = "meta.k8s.io/v1";
const META_V1BETA1: &str = "meta.k8s.io/v1beta1";
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const PLAIN: Accepted = Accepted { view: View::Object, meta: META_V1, format: Format::Json };
/// In the order of preference for those who accept everything.
const FORMATS: [(&str, Format); 3] =
    [("json", Format::Json), ("yaml", Format::Yaml), ("vnd.kubernetes.protobuf", Format::Protobuf)];
const MEDIA_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
const STREAM_TYPES: &str = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
/// Media ranges that are looked at; clients send three.
const MAX_RANGES: usize = 32;

/// One media range of an `Accept` header.
pub(crate) struct Range<'a> {
    pub media: &'a str,
    pub parameters: Vec<(&'a str, &'a str)>,
    weight: f64,
}

impl<'a> Range<'a> {
    fn read(text: &'a str) -> Range<'a> {
        let mut parts = text.split(';');
        let media = parts.next().unwrap_or("").trim();
        let mut range = Range { media: if media == "*" { "*/*" } else { media }, parameters: Vec::new(), weight: 1.0 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "q" => range.weight = value.parse().unwrap_or(0.0),
                name => range.parameters.push((name, value.trim())),
            }
        }
        range
    }

    /// The value of a parameter, the last if it stands there several times; empty for none.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().rev().find(|(own, _)| *own == name).map_or("", |(_, value)| value)
    }

    fn has(&self, name: &str) -> bool {
        self.parameters.iter().any(|(own, _)| *own == name)
    }

    fn covers(&self, subtype: &str) -> bool {
        match self.media.split_once('/') {
            Some(("application", own)) => own == subtype || own == "*",
            Some(("*", "*")) => true,
            _ => false,
        }
    }

    /// Whether it comes before another: by weight, then by what it leaves open. As upstream compares, which is no order, so
    /// that the way of sorting shows.
    fn before(&self, other: &Range<'_>) -> bool {
        let open = |range: &Range<'_>| {
            let (group, subtype) = range.media.split_once('/').unwrap_or((range.media, ""));
            (group == "*", subtype == "*")
        };
        let (own, others) = (open(self), open(other));
        self.weight > other.weight || (!own.0 && others.0) || (!own.1 && others.1)
    }
}

/// The ranges of an `Accept` header, best first.
pub(crate) fn ranges(accept: &str) -> Vec<Range<'_>> {
    let ranges = accept.split(',').filter(|range| !range.trim().is_empty()).take(MAX_RANGES);
    let mut ranges: Vec<Range<'_>> = ranges.map(Range::read).collect();
    for end in 1..ranges.len() {
        for at in (1..=end).rev() {
            if !ranges[at].before(&ranges[at - 1]) {
                break;
            }
            ranges.swap(at, at - 1);
        }
    }
    ranges
}

/// The form of a range at an endpoint in one format, if it has that.
fn offer(range: &Range<'_>, format: Format, endpoint: Endpoint) -> Option<Accepted> {
    match range.parameter("stream") {
        "" => {}
        "watch" if format != Format::Yaml => {}
        _ => return None,
    }
    let version = range.parameter("sv");
    if !version.is_empty() && (version != "v1" || endpoint == Endpoint::Plain) {
        return None;
    }
    let pretty = format == Format::Json && range.parameter("pretty") == "1";
    let format = if pretty { Format::PrettyJson } else { format };
    if !["as", "g", "v"].iter().any(|name| range.has(name)) {
        let none = endpoint == Endpoint::Custom && format == Format::Protobuf;
        return (!none).then_some(Accepted { format, ..PLAIN });
    }
    let meta = match (range.parameter("g"), range.parameter("v")) {
        ("meta.k8s.io", "v1") => META_V1,
        ("meta.k8s.io", "v1beta1") => META_V1BETA1,
        _ => return None,
    };
    let view = match range.parameter("as") {
        "PartialObjectMetadata" => View::PartialObjectMetadata,
        "PartialObjectMetadataList" => View::PartialObjectMetadataList,
        "Table" if format != Format::Protobuf && endpoint != Endpoint::Review => View::Table,
        _ => return None,
    };
    (endpoint != Endpoint::Plain).then_some(Accepted { view, meta, format })
}

/// Whether upstream's router, which looks at names of media types only, leads a request with this range to built-in kinds.
fn is_routed(range: &Range<'_>) -> bool {
    let known = |subtype: &str| FORMATS.iter().any(|(own, _)| *own == subtype);
    range.media == "*/*" || range.media.strip_prefix("application/").is_some_and(known)
}

/// The first form the client accepts that there is.
///
/// # Errors
/// 406 when there is none.
pub(crate) fn accepted(accept: &str, endpoint: Endpoint) -> Result<Accepted, ApiError> {
    if accept.is_empty() {
        return Ok(PLAIN);
    }
    let ranges = ranges(accept);
    if matches!(endpoint, Endpoint::Builtin | Endpoint::Review) && !ranges.iter().any(is_routed) {
        return Err(not_acceptable(format!("406: Not Acceptable\n\nAvailable representations: {MEDIA_TYPES}")));
    }
    for range in ranges {
        let offers = FORMATS.iter().filter(|(subtype, _)| range.covers(subtype));
        if let Some(found) = offers.map(|(_, format)| offer(&range, *format, endpoint)).find_map(|offer| offer) {
            return Ok(found);
        }
    }
    Err(not_acceptable(format!("only the following media types are accepted: {MEDIA_TYPES}")))
}

/// As [`accepted`], for a watch, which YAML cannot carry.
///
/// # Errors
/// 406 when there is none.
pub(crate) fn accepted_stream(accept: &str, endpoint: Endpoint) -> Result<Accepted, ApiError> {
    match accepted(accept, endpoint)? {
        accepted if accepted.format != Format::Yaml => Ok(accepted),
        _ => Err(not_acceptable(format!("only the following media types are accepted: {STREAM_TYPES}"))),
    }
}

pub(crate) fn not_acceptable(message: String) -> ApiError {
    ApiError::new(Reason::NotAcceptable, message)
}

/// The format in which a `Status` or a document is sent; JSON for those who accept none that there is.
pub(crate) fn plain(accept: &str, pretty: bool) -> Format {
    let format = accepted(accept, Endpoint::Plain).map_or(Format::Json, |accepted| accepted.format);
    if format == Format::Json && pretty { Format::PrettyJson } else { format }
}

/// Whether JSON is for people to read: they ask for it, or use what people use.
pub(crate) fn wants_pretty(query: &str, agent: &str) -> bool {
    if query.contains("pretty") {
        let pairs = super::path::query_pairs(query);
        let asked = pairs.iter().find(|(name, _)| name == "pretty").map_or("", |(_, value)| value);
        if !asked.is_empty() {
            return ["1", "t", "T", "true", "TRUE", "True"].contains(&asked);
        }
    }
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|tool| agent.starts_with(tool))
}

/// Whether a client can read what is compressed.
pub(crate) fn accepts_gzip(accept_encoding: &str) -> bool {
    accept_encoding.split(',').any(|token| token.trim() == "gzip")
}

/// How a body is written.
///
/// # Errors
/// 415 for what cannot be read.
pub(crate) fn content(content_type: &str, verb: Verb) -> Result<Content, ApiError> {
    let media = content_type.split(';').next().unwrap_or("").trim();
    if verb == Verb::Patch {
        // Which types there are is the path's business; what is applied is read where it is applied.
        return Ok(Content::Json);
    }
    match media.to_ascii_lowercase().as_str() {
        "" if content_type.is_empty() => Ok(Content::Json),
        "application/json" => Ok(Content::Json),
        "application/yaml" => Ok(Content::Yaml),
        PROTOBUF => Ok(Content::Protobuf),
        _ => Err(unsupported(MEDIA_TYPES)),
    }
}

/// 415 with the media types that there are.
pub(crate) fn unsupported(media_types: &str) -> ApiError {
    let message =
        format!("the body of the request was in an unknown format - accepted media types include: {media_types}");
    ApiError::new(Reason::UnsupportedMediaType, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_there_is_is_chosen() {
        let yaml = Some(Accepted { format: Format::Yaml, ..PLAIN });
        let protobuf = Some(Accepted { format: Format::Protobuf, ..PLAIN });
        let table = Some(Accepted { view: View::Table, ..PLAIN });
        let partial = Accepted { view: View::PartialObjectMetadata, ..PLAIN };
        let cases = [
            ("", Some(PLAIN)),
            ("*/*", Some(PLAIN)),
            ("*", Some(PLAIN)),
            // The router knows no types that stand for several.
            ("application/*", None),
            ("application/vnd.kubernetes.protobuf,application/json", protobuf),
            ("application/vnd.kubernetes.protobuf", protobuf),
            ("application/vnd.kubernetes.protobuf;q=0.8,application/json;q=0.9", Some(PLAIN)),
            ("application/vnd.kubernetes.protobuf;stream=watch,application/json", protobuf),
            ("application/yaml;stream=watch,application/json", Some(PLAIN)),
            ("application/json;stream=other", None),
            ("text/html", None),
            ("text/html, application/xhtml+xml, application/xml;q=0.9, */*;q=0.8", Some(PLAIN)),
            ("*/*,application/yaml", yaml),
            ("application/yaml", yaml),
            ("application/json;q=0.5,application/yaml", yaml),
            ("application/json;q=x,application/yaml;q=0.1", yaml),
            ("application/json;pretty=1", Some(Accepted { format: Format::PrettyJson, ..PLAIN })),
            ("application/json;sv=v1", Some(PLAIN)),
            ("application/json;sv=v2", None),
            ("application/cbor", None),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", table),
            ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Some(PLAIN)),
            (
                "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
                Some(Accepted { view: View::Table, meta: META_V1BETA1, ..PLAIN }),
            ),
            ("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json", Some(PLAIN)),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
                Some(Accepted { format: Format::Protobuf, ..partial }),
            ),
            ("application/json;as=Other;v=v1;g=meta.k8s.io", None),
            ("application/json;v=v1", None),
        ];
        for (accept, expected) in cases {
            assert_eq!(accepted(accept, Endpoint::Builtin).ok(), expected, "{accept}");
        }
        let protobuf = "application/vnd.kubernetes.protobuf";
        assert_eq!(
            accepted(protobuf, Endpoint::Custom).unwrap_err().message,
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        );
        assert_eq!(accepted(&format!("{protobuf},application/json"), Endpoint::Custom).ok(), Some(PLAIN));
        let view = format!("{protobuf};as=PartialObjectMetadata;v=v1;g=meta.k8s.io");
        let expected = Accepted { format: Format::Protobuf, ..partial };
        assert_eq!(accepted(&view, Endpoint::Custom).ok(), Some(expected));
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert!(accepted(table, Endpoint::Review).is_err(), "questions have no columns");
        assert_eq!(accepted(&format!("{table},application/json"), Endpoint::Review).ok(), Some(PLAIN));
        assert_eq!(plain(&view, false), Format::Json);
        assert_eq!(plain(&format!("{view},{protobuf}"), true), Format::Protobuf);
        assert_eq!(plain("text/html", true), Format::PrettyJson);
    }

    #[test]
    fn watches_are_never_yaml() {
        let message = "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
        // Those who accept nothing at all, or a form that nothing comes in, are told as for any other request.
        let any = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        let table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1";
        let none = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        for (accept, message) in
            [("application/yaml", message), ("text/html", none), ("application/*", none), (table, any)]
        {
            assert_eq!(accepted_stream(accept, Endpoint::Builtin).unwrap_err().message, message, "{accept}");
        }
        assert!(accepted_stream("application/json;stream=watch", Endpoint::Custom).is_ok());
    }

    #[test]
    fn people_get_lines() {
        for (query, agent, expected) in [
            ("", "kubectl/v1.34.1", false),
            ("", "curl/8.5.0", true),
            ("pretty=false", "curl/8.5.0", false),
            ("watch=1&pretty=true", "kubectl", true),
            ("pretty", "kubectl", false),
            ("pretty=maybe", "Mozilla/5.0 (X11)", false),
        ] {
            assert_eq!(wants_pretty(query, agent), expected, "{query} {agent}");
        }
    }

    #[test]
    fn bodies_are_read_in_the_forms_that_their_verb_has() {
        for (content_type, verb, expected) in [
            ("", Verb::Create, Some(Content::Json)),
            ("application/json; charset=utf-8", Verb::Create, Some(Content::Json)),
            ("Application/JSON", Verb::Update, Some(Content::Json)),
            ("application/yaml", Verb::Delete, Some(Content::Yaml)),
            (PROTOBUF, Verb::Create, Some(Content::Protobuf)),
            ("application/merge-patch+json", Verb::Create, None),
            ("application/apply-patch+yaml", Verb::Update, None),
            ("application/cbor", Verb::Create, None),
            ("text/plain", Verb::Create, None),
            (";", Verb::Create, None),
            ("application/merge-patch+json", Verb::Patch, Some(Content::Json)),
            ("application/apply-patch+yaml", Verb::Patch, Some(Content::Json)),
        ] {
            assert_eq!(content(content_type, verb).ok(), expected, "{content_type} {verb:?}");
        }
    }

    #[test]
    fn compression_is_for_those_who_name_it() {
        for (header, expected) in
            [("gzip", true), ("deflate, gzip", true), ("gzip;q=0", false), ("x-gzip", false), ("", false)]
        {
            assert_eq!(accepts_gzip(header), expected, "{header}");
        }
    }
}
