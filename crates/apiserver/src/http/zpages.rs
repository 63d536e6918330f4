//! `/statusz` and `/flagz`: what runs here, and how it was started, for people and in a form of their own (`config.k8s.io`). Served
//! from 1.36 on (features `ComponentStatusz`, `ComponentFlagz`); before, upstream has them off.

use std::collections::BTreeSet;

use http::header::{HeaderName, HeaderValue};
use http::{Response, StatusCode};
use k8s_object::ApiError;
use serde_json::{Value, json};
use serve::Body;
use world::Timestamp;

use super::negotiate::{self, Format};
use super::respond;
use crate::core::Core;

pub(super) const SINCE: u8 = 36;
const NAME: &str = "apiserver";
const WARNING: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.";
/// Of what is served, those that help nobody who looks for what is wrong.
const NO_HELP: [&str; 5] = ["/.well-known", "/api", "/apis", "/openapi", "/openid"];

/// Answers for one of the two paths; `paths` are all that lead somewhere.
pub(super) fn answer(
    core: &Core,
    path: &str,
    accept: &str,
    paths: impl FnOnce() -> Vec<String>,
) -> Result<Option<Response<Body>>, ApiError> {
    let kind = match path {
        "/flagz" => "Flagz",
        "/statusz" => "Statusz",
        _ => return Ok(None),
    };
    if core.minor < SINCE {
        return Ok(None);
    }
    let Some((format, version)) = form(accept, kind) else {
        let message = "only the following media types are accepted: application/json, application/yaml, text/plain";
        return Err(negotiate::not_acceptable(message.to_owned()));
    };
    let document = match kind {
        "Flagz" => json!({"flags": flags(core)}),
        _ => status(core, &paths()),
    };
    let Some(format) = format else {
        let text = if kind == "Flagz" { flags_text(&document) } else { status_text(core, &document) };
        return Ok(Some(respond::text(StatusCode::OK, text)));
    };
    let head = json!({"kind": kind, "apiVersion": format!("config.k8s.io/{version}"), "metadata": {"name": NAME}});
    let mut whole = head;
    if let (Some(whole), Value::Object(document)) = (whole.as_object_mut(), document) {
        whole.extend(document);
    }
    let mut response = respond::value(StatusCode::OK, &whole, format, false);
    if version == "v1alpha1" {
        let page = path.trim_start_matches('/');
        let warning =
            format!("299 - \"This version of the {page} endpoint is deprecated. Please use a newer version.\"");
        if let Ok(value) = HeaderValue::from_str(&warning) {
            response.headers_mut().insert(HeaderName::from_static("warning"), value);
        }
    }
    Ok(Some(response))
}

/// The form that a client likes best: text, or a format and the version of the document. JSON and YAML must be asked for by kind.
fn form(accept: &str, kind: &str) -> Option<(Option<Format>, &'static str)> {
    if accept.trim().is_empty() {
        return Some((None, "v1beta1"));
    }
    negotiate::ranges(accept).into_iter().find_map(|range| {
        let format = match range.media {
            "*/*" | "text/*" | "text/plain" => return Some((None, "v1beta1")),
            "application/json" => Format::Json,
            "application/yaml" => Format::Yaml,
            _ => return None,
        };
        let version = ["v1alpha1", "v1beta1"].into_iter().find(|version| *version == range.parameter("v"))?;
        let named = range.parameter("g") == "config.k8s.io" && range.parameter("as") == kind;
        named.then_some((Some(format), version))
    })
}

fn began(core: &Core) -> Timestamp {
    core.world.now() - uptime(core)
}

fn uptime(core: &Core) -> std::time::Duration {
    core.world.elapsed().saturating_sub(core.began)
}

fn status(core: &Core, paths: &[String]) -> Value {
    let roots: BTreeSet<String> = paths
        .iter()
        .filter_map(|path| path.split('/').nth(1).filter(|root| !root.is_empty()))
        .map(|root| format!("/{root}"))
        .filter(|root| !NO_HELP.contains(&root.as_str()))
        .collect();
    json!({
        "startTime": began(core).to_string(), "uptimeSeconds": uptime(core).as_secs(),
        // No Go is in it.
        "goVersion": "", "binaryVersion": format!("1.{}", core.minor), "emulationVersion": format!("1.{}", core.minor),
        "paths": roots,
    })
}

fn status_text(core: &Core, status: &Value) -> String {
    let seconds = uptime(core).as_secs();
    let up = format!("{} hr {:02} min {:02} sec", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let text = |key: &str| status[key].as_str().unwrap_or_default();
    let paths = status["paths"].as_array().into_iter().flatten().filter_map(Value::as_str);
    format!(
        "\n{NAME} statusz\n{WARNING}\n\nStarted: {}\nUp: {up}\nGo version: {}\nBinary version: {}\nEmulation version: {}\nPaths: {}\n",
        text("startTime"),
        text("goVersion"),
        text("binaryVersion"),
        text("emulationVersion"),
        paths.collect::<Vec<_>>().join(" "),
    )
}

/// What upstream's flags would be for this server, as far as it has such.
fn flags(core: &Core) -> Value {
    let address = core.endpoint.map(|address| address.to_string()).unwrap_or_default();
    json!({
        "advertise-address": address, "request-timeout": "1m0s",
        "service-account-issuer": core.auth.issuer().url(), "service-cluster-ip-range": core.network.cidr.to_string(),
        "service-node-port-range": "30000-32767",
    })
}

fn flags_text(document: &Value) -> String {
    let flags = document["flags"].as_object().into_iter().flatten();
    let lines = flags.map(|(name, value)| format!("{name}: {}\n", value.as_str().unwrap_or_default()));
    format!("\n{NAME} flagz\n{WARNING}\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_text_unless_a_kind_is_asked_for() {
        let json = "application/json;as=Statusz;g=config.k8s.io;v=v1beta1";
        let cases = [
            ("", Some((None, "v1beta1"))),
            ("*/*", Some((None, "v1beta1"))),
            ("text/plain", Some((None, "v1beta1"))),
            (json, Some((Some(Format::Json), "v1beta1"))),
            ("application/json", None),
            ("application/json;as=Flagz;g=config.k8s.io;v=v1beta1", None),
            ("application/vnd.kubernetes.protobuf", None),
        ];
        for (accept, expected) in cases {
            assert_eq!(form(accept, "Statusz"), expected, "{accept}");
        }
    }
}
