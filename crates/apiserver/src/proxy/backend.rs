//! Nodes, pods and Services as servers: `[scheme:]name[:port]` below `proxy`.

use std::net::IpAddr;

use k8s_object::{ApiError, Reason};
use serde_json::Value;

use super::kubelet;
use super::location::Location;
use crate::core::Core;

/// A name with what may stand around it (apimachinery `SplitSchemeNamePort`).
#[derive(Debug, PartialEq, Eq)]
struct Named<'a> {
    https: bool,
    name: &'a str,
    port: &'a str,
}

impl<'a> Named<'a> {
    fn parse(id: &'a str) -> Option<Named<'a>> {
        let parts: Vec<&str> = id.split(':').collect();
        let (scheme, name, port) = match parts[..] {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => return None,
        };
        let https = match scheme {
            "" | "http" => false,
            "https" => true,
            _ => return None,
        };
        (!name.is_empty()).then_some(Named { https, name, port })
    }

    /// As [`Named::parse`].
    ///
    /// # Errors
    /// Upstream's 400 for what is none.
    fn of(id: &'a str, kind: &str) -> Result<Named<'a>, ApiError> {
        Named::parse(id).ok_or_else(|| ApiError::bad_request(format!("invalid {kind} request {id:?}")))
    }
}

fn unavailable(message: String) -> ApiError {
    ApiError::new(Reason::ServiceUnavailable, message)
}

/// Whether requests may be sent there: not to the machine itself or its link.
fn is_global(address: IpAddr) -> bool {
    let local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(local || address.is_loopback() || address.is_multicast() || address.is_unspecified())
}

/// A port of a node: its kubelet's, unless another is named.
pub(super) fn node(core: &Core, id: &str) -> Result<Location, ApiError> {
    let Named { https, name, port } = Named::of(id, "node")?;
    let kubelet = kubelet::of_node(core, name)?;
    if kubelet.host.parse::<IpAddr>().is_ok_and(|own| !is_global(own)) {
        return Err(ApiError::bad_request("address not allowed"));
    }
    if port.is_empty() || port == kubelet.port.to_string() {
        return Ok(kubelet);
    }
    let simulated = kubelet.simulated;
    Ok(Location { simulated, ..Location::of_backend(https, kubelet.host, number(port)?) })
}

fn number(port: &str) -> Result<u16, ApiError> {
    port.parse()
        .map_err(|_| unavailable(format!("error trying to reach service: dial tcp: lookup tcp/{port}: unknown port")))
}

/// A port of a pod: the first that it names, unless another is.
pub(super) fn pod(core: &Core, namespace: &str, id: &str) -> Result<Location, ApiError> {
    let Named { https, name, port } = Named::of(id, "pod")?;
    let pod = core.lookup("", "pods", namespace, name).ok_or_else(|| ApiError::not_found("", "pods", name))?.value();
    let declared = || {
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        containers.filter_map(|container| container["ports"][0]["containerPort"].as_u64()).next()
    };
    let port = match port {
        "" => declared().and_then(|port| u16::try_from(port).ok()).unwrap_or(if https { 443 } else { 80 }),
        port => number(port)?,
    };
    let address = pod["status"]["podIPs"][0]["ip"].as_str().or_else(|| pod["status"]["podIP"].as_str()).unwrap_or("");
    match address.parse::<IpAddr>() {
        Ok(own) if is_global(own) => {
            let simulated = kubelet::runs_nowhere(core, &pod);
            Ok(Location { simulated, ..Location::of_backend(https, address.to_owned(), port) })
        }
        _ => Err(ApiError::bad_request("address not allowed")),
    }
}

/// A port of one of the pods behind a Service, by the port's number or name.
pub(super) fn service(core: &Core, namespace: &str, id: &str) -> Result<Location, ApiError> {
    let Named { https, name, port } = Named::of(id, "service")?;
    let mut port_name = port.to_owned();
    if let Ok(wanted) = port.parse::<i64>() {
        let service = core.lookup("", "services", namespace, name);
        let service = service.ok_or_else(|| ApiError::not_found("", "services", name))?.value();
        let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        let own = ports.iter().find(|own| own["port"].as_i64() == Some(wanted));
        let own = own.ok_or_else(|| unavailable(format!("no service port {wanted} found for service {name:?}")))?;
        port_name = own["name"].as_str().unwrap_or("").to_owned();
    }
    let mut slices = core.lookup_all("discovery.k8s.io", "endpointslices", namespace);
    slices.retain(|slice| slice.meta().labels.get("kubernetes.io/service-name") == Some(name));
    if slices.is_empty() {
        let known = core.lookup("", "services", namespace, name).is_some();
        return Err(match known {
            true => unavailable(format!("no endpoints available for service {name:?}")),
            false => ApiError::not_found("", "endpoints", name),
        });
    }
    let mut found = Vec::new();
    for slice in &slices {
        let slice = slice.value();
        let ports = slice["ports"].as_array().into_iter().flatten();
        let port = ports.filter(|port| port["name"].as_str().unwrap_or("") == port_name);
        let Some(port) = port.filter_map(|port| port["port"].as_u64()).next() else { continue };
        let ready = slice["endpoints"].as_array().into_iter().flatten();
        let ready = ready.filter(|own| own["conditions"]["ready"].as_bool().unwrap_or(true));
        found.extend(ready.filter_map(|own| {
            let pod = pod_of(core, namespace, own)?;
            Some((own["addresses"][0].as_str()?.to_owned(), port, kubelet::runs_nowhere(core, &pod)))
        }));
    }
    if found.is_empty() {
        return Err(unavailable(format!("no endpoints available for service {id:?}")));
    }
    let (address, port, simulated) = found.swap_remove(core.world.below(found.len() as u64) as usize);
    Ok(Location { simulated, ..Location::of_backend(https, address, u16::try_from(port).unwrap_or(0)) })
}

/// The pod that an endpoint says it is, if it is that pod: nothing else is passed on to.
fn pod_of(core: &Core, namespace: &str, endpoint: &Value) -> Option<Value> {
    let target = &endpoint["targetRef"];
    let address = endpoint["addresses"][0].as_str().unwrap_or("");
    let own = target["namespace"].as_str().unwrap_or(namespace);
    if target["kind"] != "Pod" || !address.parse::<IpAddr>().is_ok_and(is_global) {
        return None;
    }
    let pod = core.lookup("", "pods", own, target["name"].as_str().unwrap_or(""))?.value();
    let status = &pod["status"];
    let listed = status["podIPs"].as_array().into_iter().flatten().any(|own| own["ip"] == address);
    (listed || status["podIP"] == address).then_some(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_have_a_scheme_and_a_port() {
        let named = |https, name, port| Some(Named { https, name, port });
        let cases = [
            ("a", named(false, "a", "")),
            ("a:80", named(false, "a", "80")),
            ("https:a:", named(true, "a", "")),
            ("http:a:web", named(false, "a", "web")),
            (":a:", named(false, "a", "")),
            ("ftp:a:1", None),
            ("a:b:c:d", None),
            (":80", None),
        ];
        for (id, expected) in cases {
            assert_eq!(Named::parse(id), expected, "{id}");
        }
    }

    #[test]
    fn nothing_is_sent_to_the_machine_itself() {
        for (address, expected) in [
            ("10.0.0.1", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("::1", false),
            ("fd00::1", true),
            ("0.0.0.0", false),
        ] {
            assert_eq!(is_global(address.parse().unwrap()), expected, "{address}");
        }
    }
}
