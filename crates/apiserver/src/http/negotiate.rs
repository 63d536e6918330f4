//! Which form a client wants its answer in.

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
    Yaml,
}

/// How a body may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Json,
    Protobuf,
    Yaml,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub view: View,
    pub format: Format,
}

const PLAIN: Accepted = Accepted { view: View::Object, format: Format::Json };
/// Media ranges that are looked at; clients send three.
const MAX_RANGES: usize = 32;

/// One media range of an `Accept` header.
pub(crate) struct Range<'a> {
    pub media: &'a str,
    pub parameters: Vec<(&'a str, &'a str)>,
}

impl Range<'_> {
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(own, _)| *own == name).map_or("", |(_, value)| value)
    }
}

/// The ranges of an `Accept` header, best first.
pub(crate) fn ranges(accept: &str) -> Vec<Range<'_>> {
    let ranges = accept.split(',').take(MAX_RANGES).filter(|range| !range.trim().is_empty());
    let mut ranges: Vec<Range<'_>> = ranges
        .map(|range| {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or("");
            let parameters = parts.filter_map(|part| part.split_once('=')).map(|(k, v)| (k.trim(), v.trim())).collect();
            Range { media, parameters }
        })
        .collect();
    // Stable: equal weights keep the client's order.
    ranges.sort_by_key(|range| {
        let weight: f64 = range.parameter("q").parse().unwrap_or(1.0);
        -((weight.clamp(0.0, 1.0) * 1000.0) as i64)
    });
    ranges
}

/// The first form the client accepts that there is.
///
/// # Errors
/// 406 when there is none.
pub(crate) fn accepted(accept: &str) -> Result<Accepted, ApiError> {
    if accept.trim().is_empty() {
        return Ok(PLAIN);
    }
    for range in ranges(accept) {
        let format = match range.media {
            "*/*" | "application/*" | "application/json" => Format::Json,
            "application/yaml" => Format::Yaml,
            _ => continue,
        };
        let meta = range.parameter("g") == "meta.k8s.io" && range.parameter("v") == "v1";
        let view = match range.parameter("as") {
            "" => View::Object,
            "PartialObjectMetadata" if meta => View::PartialObjectMetadata,
            "PartialObjectMetadataList" if meta => View::PartialObjectMetadataList,
            "Table" if meta => View::Table,
            _ => continue,
        };
        return Ok(Accepted { view, format });
    }
    let message = "only the following media types are accepted: application/json, application/yaml";
    Err(ApiError::new(Reason::NotAcceptable, message))
}

/// How a body is written.
///
/// # Errors
/// 415 for what cannot be read.
pub(crate) fn content(content_type: &str) -> Result<Content, ApiError> {
    match content_type.split(';').next().unwrap_or("").trim() {
        "" | "application/json" => Ok(Content::Json),
        "application/yaml" => Ok(Content::Yaml),
        // Patches are JSON; what is applied is read where it is applied.
        other if other.ends_with("-patch+json") || other == "application/apply-patch+yaml" => Ok(Content::Json),
        "application/vnd.kubernetes.protobuf" => Ok(Content::Protobuf),
        _ => {
            let message = "the body of the request was in an unknown format - accepted media types include: application/json, application/vnd.kubernetes.protobuf, application/yaml";
            Err(ApiError::new(Reason::UnsupportedMediaType, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_there_is_is_chosen() {
        let cases = [
            ("", Some(PLAIN)),
            ("*/*", Some(PLAIN)),
            ("application/vnd.kubernetes.protobuf,application/json", Some(PLAIN)),
            ("application/vnd.kubernetes.protobuf", None),
            ("text/html", None),
            ("application/yaml", Some(Accepted { format: Format::Yaml, ..PLAIN })),
            ("application/json;q=0.5,application/yaml", Some(Accepted { format: Format::Yaml, ..PLAIN })),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                Some(Accepted { view: View::Table, ..PLAIN }),
            ),
            ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Some(PLAIN)),
            ("application/json;as=Other;v=v1;g=meta.k8s.io", None),
        ];
        for (accept, expected) in cases {
            assert_eq!(accepted(accept).ok(), expected, "{accept}");
        }
    }
}
