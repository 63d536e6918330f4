//! Where a client connects to: the host of a URL, or an endpoint of a Service (upstream `util/proxy` `ResolveEndpoint`).

use k8s_kinds::at;
use k8s_object::{ApiError, Reason};
use serde_json::Value;

use crate::core::Core;

/// Port of a Service reference or URL that names none.
const HTTPS: u16 = 443;

/// What a `clientConfig` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    Host { host: String, port: u16 },
    Service { namespace: String, name: String, port: u16 },
}

impl Address {
    /// Address and path of a `clientConfig` (`url`, or `service` with `namespace`, `name`, `path` and `port`).
    pub(crate) fn of_client_config(config: &Value) -> Result<(Address, String), String> {
        let text = |path: &str| at(config, path).as_str().unwrap_or("").to_owned();
        if at(config, "service").is_object() {
            let port = at(config, "service.port").as_u64().and_then(|port| u16::try_from(port).ok());
            let address = Address::Service {
                namespace: text("service.namespace"),
                name: text("service.name"),
                port: port.filter(|port| *port != 0).unwrap_or(HTTPS),
            };
            return Ok((address, cleaned(&text("service.path"))));
        }
        match text("url").as_str() {
            "" => Err("webhook configuration must have either service or URL".to_owned()),
            url => {
                let (address, target) = Address::of_url(url)?;
                // Neither has a query, which is refused when the webhook is written.
                Ok((address, cleaned(target.split('?').next().unwrap_or(""))))
            }
        }
    }

    /// Address and path of an `https` URL.
    pub(crate) fn of_url(url: &str) -> Result<(Address, String), String> {
        let parsed: http::Uri = url.parse().map_err(|error| format!("Unparsable URL: {error}"))?;
        if parsed.scheme_str() != Some("https") {
            return Err(format!("unsupported protocol scheme {:?}", parsed.scheme_str().unwrap_or("")));
        }
        let host = parsed.host().unwrap_or("").trim_matches(['[', ']']).to_owned();
        let path = parsed.path_and_query().map_or("", |path| path.as_str()).to_owned();
        Ok((Address::Host { host, port: parsed.port_u16().unwrap_or(HTTPS) }, path))
    }

    /// The name that the server's certificate must be for.
    pub(crate) fn server_name(&self) -> String {
        match self {
            Address::Host { host, .. } => host.clone(),
            Address::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
        }
    }

    /// `host:port` as URLs have it.
    pub(crate) fn authority(&self) -> String {
        match self {
            Address::Host { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Address::Host { host, port } => format!("{host}:{port}"),
            Address::Service { port, .. } => format!("{}:{port}", self.server_name()),
        }
    }

    /// Host and port to connect to now.
    pub(crate) fn resolve(&self, core: &Core) -> Result<(String, u16), ApiError> {
        match self {
            Address::Host { host, port } => Ok((host.clone(), *port)),
            Address::Service { namespace, name, port } => endpoint(core, namespace, name, *port),
        }
    }
}

/// A path as upstream's client asks for it (Go's `path.Join` with `/` before it): without empty steps, `.` and `..`, and without a
/// slash at its end. Servers in Go redirect who asks for `//validate`, and the webhooks of controllers' test environments are
/// configured so.
fn cleaned(path: &str) -> String {
    let mut steps: Vec<&str> = Vec::new();
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => _ = steps.pop(),
            step => steps.push(step),
        }
    }
    format!("/{}", steps.join("/"))
}

fn unavailable(message: String) -> ApiError {
    ApiError::new(Reason::ServiceUnavailable, message)
}

fn endpoint(core: &Core, namespace: &str, name: &str, port: u16) -> Result<(String, u16), ApiError> {
    let service = core.lookup("", "services", namespace, name);
    let service = service.ok_or_else(|| {
        let error = ApiError::not_found("", "services", name);
        ApiError { message: format!("service {name:?} not found"), ..error }
    })?;
    let service = service.value();
    match service["spec"]["type"].as_str().unwrap_or("ClusterIP") {
        "ClusterIP" | "LoadBalancer" | "NodePort" => {}
        other => return Err(ApiError::new(Reason::InternalError, format!("unsupported service type {other:?}"))),
    }
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let service_port = ports
        .iter()
        .find(|own| own["port"].as_u64() == Some(u64::from(port)))
        .ok_or_else(|| unavailable(format!("no service port {port} found for service {name:?}")))?;
    let port_name = service_port["name"].as_str().unwrap_or("");
    let mut slices = core.lookup_all("discovery.k8s.io", "endpointslices", namespace);
    slices.retain(|slice| slice.meta().labels.get("kubernetes.io/service-name") == Some(name));
    let family = service["spec"]["ipFamilies"][0].as_str().unwrap_or("");
    let mut slices: Vec<Value> = slices.iter().map(|slice| slice.value()).collect();
    slices.sort_by_key(|slice| slice["addressType"] != family);
    for slice in &slices {
        let ports = slice["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        let Some(port) = ports
            .iter()
            .filter(|port| port["name"].as_str().unwrap_or("") == port_name)
            .find_map(|port| port["port"].as_u64().and_then(|port| u16::try_from(port).ok()))
        else {
            continue;
        };
        let endpoints = slice["endpoints"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ready: Vec<&str> = endpoints
            .iter()
            .filter(|endpoint| endpoint["conditions"]["ready"].as_bool().unwrap_or(true))
            .filter_map(|endpoint| endpoint["addresses"][0].as_str())
            .collect();
        if !ready.is_empty() {
            let chosen = core.world.below(ready.len() as u64) as usize;
            return Ok((ready[chosen].to_owned(), port));
        }
    }
    Err(unavailable(format!("no endpoints available for service {name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn client_configs_name_a_url_or_a_service() {
        let cases = [
            (json!({"url": "https://a.example:8443/x?y=z"}), Ok(("a.example:8443", "a.example", "/x"))),
            (json!({"url": "https://a.example//x/./y/../z/"}), Ok(("a.example:443", "a.example", "/x/z"))),
            (json!({"url": "https://a.example"}), Ok(("a.example:443", "a.example", "/"))),
            (json!({"url": "https://[::1]/x"}), Ok(("[::1]:443", "::1", "/x"))),
            (json!({"url": "http://a.example"}), Err(r#"unsupported protocol scheme "http""#)),
            (json!({"service": {"namespace": "n", "name": "s", "path": "/p"}}), Ok(("s.n.svc:443", "s.n.svc", "/p"))),
            (json!({"service": {"namespace": "n", "name": "s", "port": 90}}), Ok(("s.n.svc:90", "s.n.svc", "/"))),
            (json!({"service": {"namespace": "n", "name": "s", "path": "//p/"}}), Ok(("s.n.svc:443", "s.n.svc", "/p"))),
            (json!({}), Err("webhook configuration must have either service or URL")),
        ];
        for (config, expected) in cases {
            let found = Address::of_client_config(&config);
            let found =
                found.as_ref().map(|(address, path)| (address.authority(), address.server_name(), path.clone()));
            let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
            assert_eq!(found.map_err(String::as_str), expected, "{config}");
        }
    }
}
