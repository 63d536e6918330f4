//! Streams before they begin: webhooks and policies are asked about them as about writes, with the options of the stream as the object
//! (apiserver `handlers/rest.go` `ConnectResource`).

use std::sync::Arc;

use k8s_client::Request;
use k8s_object::{ApiError, UserInfo};
use serde_json::{Value, json};

use super::Stream;
use crate::admission;
use crate::audit::Record;
use crate::core::{Aside, Call, Core};

/// Refuses the stream if the cluster does. `options` are those of [`options`].
pub(super) async fn admit(
    core: &Core,
    user: &Arc<UserInfo>,
    (agent, audit): (&str, &Record),
    request: &Request,
    mut options: Value,
) -> Result<Vec<String>, ApiError> {
    let (entry, resource) = core.registry.find(&request.resource)?;
    let mut call = Call {
        core,
        space: &core.keyspace,
        user,
        agent,
        audit,
        entry,
        resource,
        request: request.clone(),
        now: core.world.now(),
        warnings: Vec::new(),
        annotations: Vec::new(),
        admitted: false,
        aside: Aside::default(),
    };
    let admitted = admission::connect(&mut call, &mut options).await;
    let warnings = call.warnings;
    match admitted {
        Ok(()) => Ok(warnings),
        Err(error) => Err(ApiError { warnings, ..error }),
    }
}

/// The options of a stream as an object; none for what is only read.
pub(super) fn options(stream: Stream, query: &[(String, String)], below: Option<&str>) -> Option<Value> {
    let all = |name: &str| query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect();
    let flag = |name: &str| query.iter().any(|(key, value)| key == name && ["1", "true"].contains(&value.as_str()));
    let mut options = match stream {
        Stream::Log => return None,
        Stream::Container("portForward") => {
            let ports: Vec<String> = all("ports");
            let ports: Vec<i64> =
                ports.iter().flat_map(|own| own.split(',')).filter_map(|own| own.parse().ok()).collect();
            let mut options = json!({"kind": "PodPortForwardOptions"});
            if !ports.is_empty() {
                options["ports"] = json!(ports);
            }
            options
        }
        Stream::Container(way) => {
            let kind = if way == "exec" { "PodExecOptions" } else { "PodAttachOptions" };
            let mut options = json!({"kind": kind});
            for name in ["stdin", "stdout", "stderr", "tty"] {
                if flag(name) {
                    options[name] = json!(true);
                }
            }
            if let Some((_, container)) = query.iter().find(|(key, _)| key == "container") {
                options["container"] = json!(container);
            }
            let command: Vec<String> = all("command");
            if way == "exec" {
                options["command"] = json!(command);
            }
            options
        }
        Stream::Node => json!({"kind": "NodeProxyOptions", "path": below.unwrap_or("")}),
        Stream::Pod => json!({"kind": "PodProxyOptions", "path": below.unwrap_or("")}),
        Stream::Service => json!({"kind": "ServiceProxyOptions", "path": below.unwrap_or("")}),
    };
    options["apiVersion"] = json!("v1");
    Some(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_have_options() {
        let query = |text: &str| -> Vec<(String, String)> {
            let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
            pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        let cases = [
            (Stream::Log, "follow=true", Value::Null),
            (
                Stream::Container("exec"),
                "command=ls&command=-l&stdin=true&tty=false&container=c",
                json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": ["ls", "-l"], "stdin": true, "container": "c"}),
            ),
            (
                Stream::Container("attach"),
                "stdout=1",
                json!({"kind": "PodAttachOptions", "apiVersion": "v1", "stdout": true}),
            ),
            (
                Stream::Container("portForward"),
                "ports=80&ports=443",
                json!({"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": [80, 443]}),
            ),
            (Stream::Service, "", json!({"kind": "ServiceProxyOptions", "apiVersion": "v1", "path": "/x"})),
        ];
        for (stream, text, expected) in cases {
            let made = options(stream, &query(text), Some("/x")).unwrap_or_default();
            assert_eq!(made, expected, "{stream:?} {text}");
        }
    }
}
