//! The kubelet of a node, and what it is asked for: streams and logs of containers.

use k8s_client::Request;
use k8s_kinds::causes;
use k8s_object::{ApiError, Cause, Object, Reason};
use serde_json::Value;

use super::location::Location;
use crate::core::Core;
use crate::webhook::Trust;

/// Where kubelets listen that do not say where.
const DEFAULT_PORT: u16 = 10250;
/// Which of a node's addresses is taken, the first that it has.
const ADDRESSES: &[&str] = &["InternalIP", "Hostname", "InternalDNS", "ExternalDNS", "ExternalIP"];

/// The kubelet of a node.
///
/// # Errors
/// If there is no such node, or if it has no address.
pub(super) fn of_node(core: &Core, name: &str) -> Result<Location, ApiError> {
    let node = core.lookup("", "nodes", "", name).ok_or_else(|| ApiError::not_found("", "nodes", name))?;
    let node = node.value();
    let status = &node["status"];
    let addresses = status["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let host = ADDRESSES.iter().find_map(|kind| addresses.iter().find(|own| own["type"] == *kind));
    let Some(host) = host.and_then(|own| own["address"].as_str()) else {
        let known: Vec<String> = addresses
            .iter()
            .map(|own| format!("{{{} {}}}", own["type"].as_str().unwrap_or(""), own["address"].as_str().unwrap_or("")))
            .collect();
        let why = format!("no preferred addresses found; known addresses: [{}]", known.join(" "));
        return Err(ApiError::new(Reason::InternalError, why).verbatim(500, ""));
    };
    let port = status["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0).unwrap_or(DEFAULT_PORT);
    let (trust, identity) = core.kubelets.client();
    let simulated = is_simulated(core, &node);
    Ok(Location { trust, identity, simulated, ..Location::of_backend(true, host.to_owned(), port) })
}

fn is_simulated(core: &Core, node: &Value) -> bool {
    let provider = node["spec"]["providerID"].as_str().unwrap_or("");
    core.kubelets.simulated.is_some_and(|own| provider.starts_with(own))
}

/// Whether a pod is nothing but an object, as its node is.
pub(super) fn runs_nowhere(core: &Core, pod: &Value) -> bool {
    let node = node_of(pod).and_then(|name| core.lookup("", "nodes", "", name));
    // Of a node that has gone nobody knows; its pods answer nobody either way, and this is told at once.
    node.map_or(core.kubelets.simulated.is_some(), |node| is_simulated(core, &node.value()))
}

fn pod(core: &Core, request: &Request) -> Result<std::sync::Arc<Object>, ApiError> {
    let found = core.lookup("", "pods", &request.namespace, &request.name);
    found.ok_or_else(|| ApiError::not_found("", "pods", &request.name))
}

/// Names of a pod's containers: those that initialize, the usual ones, those that were added to look at others.
fn containers(pod: &Value) -> Vec<&str> {
    let lists = ["initContainers", "containers", "ephemeralContainers"].map(|list| pod["spec"][list].as_array());
    lists.into_iter().flatten().flatten().filter_map(|container| container["name"].as_str()).collect()
}

/// The container that is meant.
fn container_of(pod: &Value, name: &str, wanted: &str) -> Result<String, ApiError> {
    let all = containers(pod);
    if !wanted.is_empty() {
        return match all.contains(&wanted) {
            true => Ok(wanted.to_owned()),
            false => Err(ApiError::bad_request(format!("container {wanted} is not valid for pod {name}"))),
        };
    }
    match pod["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default() {
        [one] => Ok(one["name"].as_str().unwrap_or("").to_owned()),
        [] => Err(ApiError::bad_request(format!("a container name must be specified for pod {name}"))),
        _ => {
            let all = all.join(" ");
            let message = format!("a container name must be specified for pod {name}, choose one of: [{all}]");
            Err(ApiError::bad_request(message))
        }
    }
}

fn node_of(pod: &Value) -> Option<&str> {
    pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty())
}

fn first<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
}

/// A parameter without a value is true (apimachinery `Convert_Slice_string_To_bool`).
fn flag(query: &[(String, String)], name: &str) -> bool {
    first(query, name).is_some_and(|value| !matches!(value.to_lowercase().as_str(), "false" | "0"))
}

/// Where containers are attached to or run commands in, and where a pod's ports are.
pub(super) fn container(
    core: &Core,
    request: &Request,
    way: &str,
    query: &[(String, String)],
) -> Result<Location, ApiError> {
    let pod = pod(core, request)?.value();
    let (namespace, name) = (&request.namespace, &request.name);
    let (path, parameters) = if way == "portForward" {
        let ports: Vec<&str> = query.iter().filter(|(own, _)| own == "ports").map(|(_, port)| port.as_str()).collect();
        for port in &ports {
            if port.parse::<i32>().is_err() {
                let message = format!("strconv.ParseInt: parsing {port:?}: invalid syntax");
                return Err(ApiError::bad_request(message));
            }
        }
        let parameters = if ports.is_empty() { Vec::new() } else { vec![("port".to_owned(), ports.join(","))] };
        (format!("/portForward/{namespace}/{name}"), parameters)
    } else {
        let container = container_of(&pod, name, first(query, "container").unwrap_or(""))?;
        let mut parameters = Vec::new();
        for (own, theirs) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
            if flag(query, own) {
                parameters.push((theirs.to_owned(), "1".to_owned()));
            }
        }
        if way == "exec" {
            let words = query.iter().filter(|(own, _)| own == "command");
            parameters.extend(words.map(|(own, word)| (own.clone(), word.clone())));
        }
        (format!("/{way}/{namespace}/{name}/{container}"), parameters)
    };
    let Some(node) = node_of(&pod) else {
        return Err(ApiError::bad_request(format!("pod {name} does not have a host assigned")));
    };
    Ok(Location { path, query: encoded(parameters), ..of_node(core, node)? })
}

/// Where the log of a container is; nothing for a pod without a node.
pub(super) fn log(core: &Core, request: &Request, query: &[(String, String)]) -> Result<Option<Location>, ApiError> {
    let options = LogOptions::parse(query)?;
    let causes = options.check();
    if !causes.is_empty() {
        return Err(ApiError::invalid("", "PodLogOptions", &request.name, causes));
    }
    let pod = pod(core, request)?.value();
    let (namespace, name) = (&request.namespace, &request.name);
    let container = container_of(&pod, name, first(query, "container").unwrap_or(""))?;
    let Some(node) = node_of(&pod) else { return Ok(None) };
    let path = format!("/containerLogs/{namespace}/{name}/{container}");
    let mut location = Location { path, query: encoded(options.parameters(query)), ..of_node(core, node)? };
    if flag(query, "insecureSkipTLSVerifyBackend") {
        location.trust = Trust::Anybody;
    }
    Ok(Some(location))
}

/// Which part of a log is wanted (`PodLogOptions`).
#[derive(Default)]
struct LogOptions {
    tail_lines: Option<i64>,
    limit_bytes: Option<i64>,
    since_seconds: Option<i64>,
    since_time: Option<String>,
    stream: Option<String>,
}

impl LogOptions {
    fn parse(query: &[(String, String)]) -> Result<LogOptions, ApiError> {
        let number = |name: &str| match first(query, name).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => text
                .parse::<i64>()
                .map(Some)
                .map_err(|_| ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
        };
        let text = |name: &str| first(query, name).filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(LogOptions {
            tail_lines: number("tailLines")?,
            limit_bytes: number("limitBytes")?,
            since_seconds: number("sinceSeconds")?,
            since_time: text("sinceTime"),
            stream: text("stream"),
        })
    }

    fn check(&self) -> Vec<Cause> {
        let mut found = Vec::new();
        if let Some(lines) = self.tail_lines.filter(|lines| *lines < 0) {
            found.push(causes::invalid("tailLines", lines, "must be greater than or equal to 0"));
        }
        if let Some(bytes) = self.limit_bytes.filter(|bytes| *bytes < 1) {
            found.push(causes::invalid("limitBytes", bytes, "must be greater than 0"));
        }
        match self.since_seconds {
            Some(_) if self.since_time.is_some() => {
                found.push(causes::forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"));
            }
            Some(seconds) if seconds < 1 => {
                found.push(causes::invalid("sinceSeconds", seconds, "must be greater than 0"));
            }
            _ => {}
        }
        // To tell the two streams apart is alpha (`PodLogsQuerySplitStreams`).
        if self.stream.is_some() {
            found.push(causes::forbidden("stream", "may not be specified"));
        }
        found
    }

    /// What the kubelet is asked.
    fn parameters(&self, query: &[(String, String)]) -> Vec<(String, String)> {
        let mut parameters = Vec::new();
        for name in ["follow", "previous", "timestamps"] {
            if flag(query, name) {
                parameters.push((name.to_owned(), "true".to_owned()));
            }
        }
        let numbers =
            [("limitBytes", self.limit_bytes), ("sinceSeconds", self.since_seconds), ("tailLines", self.tail_lines)];
        for (name, number) in numbers {
            parameters.extend(number.map(|number| (name.to_owned(), number.to_string())));
        }
        parameters.extend(self.since_time.clone().map(|text| ("sinceTime".to_owned(), text)));
        parameters
    }
}

/// Parameters as a query, in order of their names (Go's `url.Values.Encode`).
fn encoded(mut parameters: Vec<(String, String)>) -> String {
    parameters.sort_by(|a, b| a.0.cmp(&b.0));
    let pairs: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    pairs.join("&")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(byte as char),
            b' ' => escaped.push('+'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_container_must_be_meant() {
        let container = |name: &str| json!({"name": name});
        let one = json!({"spec": {"containers": [container("a")], "initContainers": [container("i")]}});
        let two = json!({"spec": {"containers": [container("a"), container("b")], "initContainers": [container("i")]}});
        let cases = [
            (&one, "", Ok("a")),
            (&one, "i", Ok("i")),
            (&two, "b", Ok("b")),
            (&two, "", Err("a container name must be specified for pod p, choose one of: [i a b]")),
            (&two, "x", Err("container x is not valid for pod p")),
        ];
        for (pod, wanted, expected) in cases {
            let found = container_of(pod, "p", wanted).map_err(|error| error.message);
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{wanted}");
        }
    }

    #[test]
    fn log_options_are_checked() {
        let check = |pairs: &[(&str, &str)]| {
            let query: Vec<(String, String)> = pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            match LogOptions::parse(&query) {
                Ok(options) => match &options.check()[..] {
                    [] => encoded(options.parameters(&query)),
                    causes => causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect(),
                },
                Err(error) => error.message,
            }
        };
        let cases: [(&[(&str, &str)], &str); 7] = [
            (&[], ""),
            (
                &[("follow", "true"), ("previous", "false"), ("tailLines", "3"), ("timestamps", "")],
                "follow=true&tailLines=3&timestamps=true",
            ),
            (&[("sinceTime", "2026-01-01T00:00:00Z")], "sinceTime=2026-01-01T00%3A00%3A00Z"),
            (&[("tailLines", "-1")], "tailLines: Invalid value: -1: must be greater than or equal to 0"),
            (&[("limitBytes", "0")], "limitBytes: Invalid value: 0: must be greater than 0"),
            (&[("stream", "Stdout")], "stream: Forbidden: may not be specified"),
            (&[("tailLines", "x")], "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ];
        for (pairs, expected) in cases {
            assert_eq!(check(pairs), expected, "{pairs:?}");
        }
    }
}
