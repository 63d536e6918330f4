//! Whether other servers can be asked: looked at when something changes, and from time to time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use k8s_client::{Body, Request, Verb};
use k8s_object::{GroupVersionResource, Object, UserInfo};
use serde_json::{Value, json};

use super::proxy::{identity, set_user};
use super::{GROUP, PLURAL, Remote};
use crate::core::Core;
use crate::own_objects;
use crate::webhook::{Client, Trust};

const SERVICES: GroupVersionResource = GroupVersionResource::of(GROUP, "v1", PLURAL);
const AGENT: &str = "kube-aggregator";
/// How often servers are looked at when nothing changes.
const RESYNC: Duration = Duration::from_secs(30);
/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts of one look, each at another endpoint.
const ATTEMPTS: usize = 5;

/// Runs until it is dropped.
pub(crate) async fn run(core: Arc<Core>) {
    let caches = [(GROUP, PLURAL), ("", "services"), ("discovery.k8s.io", "endpointslices")]
        .map(|(group, plural)| core.registry.cache(group, plural));
    let [Some(own), Some(services), Some(slices)] = caches else { return };
    let (mut own_changes, mut service_changes, mut slice_changes) =
        (own.subscribe(), services.subscribe(), slices.subscribe());
    loop {
        own_changes.borrow_and_update();
        service_changes.borrow_and_update();
        slice_changes.borrow_and_update();
        let remotes = core.aggregator.remotes();
        for remote in remotes.values() {
            if let Some(object) = core.lookup(GROUP, PLURAL, "", &remote.name) {
                let found = look(&core, remote).await;
                tell(&core, &object, found).await;
            }
        }
        // Most clusters have no other servers, and then nothing but an APIService can change that.
        let others = async {
            if remotes.is_empty() {
                return std::future::pending().await;
            }
            tokio::select! {
                biased;
                _ = service_changes.changed() => {}
                _ = slice_changes.changed() => {}
                () = core.world.sleep(RESYNC) => {}
            }
        };
        tokio::select! {
            biased;
            changed = own_changes.changed() => if changed.is_err() { return },
            () = others => {}
        }
    }
}

/// Status, reason and message of a condition.
type Found = (&'static str, &'static str, String);

async fn look(core: &Core, remote: &Remote) -> Found {
    if let Some(problem) = reachable(core, remote) {
        return problem;
    }
    match answers(core, remote).await {
        Ok(()) => ("True", "Passed", "all checks passed".to_owned()),
        Err(why) => ("False", "FailedDiscoveryCheck", why),
    }
}

/// Why nobody need be asked.
fn reachable(core: &Core, remote: &Remote) -> Option<Found> {
    let Remote { namespace, service: name, port, .. } = remote;
    let Some(service) = core.lookup("", "services", namespace, name) else {
        return Some(("False", "ServiceNotFound", format!("service/{name} in {namespace:?} is not present")));
    };
    let service = service.value();
    if service["spec"]["type"] != "ClusterIP" {
        return None;
    }
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(own) = ports.iter().find(|own| own["port"].as_u64() == Some(u64::from(*port))) else {
        let why = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return Some(("False", "ServicePortError", why));
    };
    let port_name = own["name"].as_str().unwrap_or("");
    let mut slices = core.lookup_all("discovery.k8s.io", "endpointslices", namespace);
    slices.retain(|slice| slice.meta().labels.get("kubernetes.io/service-name") == Some(name));
    if slices.is_empty() {
        let why = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return Some(("False", "EndpointsNotFound", why));
    }
    let active = slices.iter().any(|slice| {
        let slice = slice.value();
        let ready = |own: &Value| own["conditions"]["ready"].as_bool().unwrap_or(true);
        let named = |own: &Value| own["name"].as_str().unwrap_or("") == port_name && own["port"].is_u64();
        slice["endpoints"].as_array().into_iter().flatten().any(ready)
            && slice["ports"].as_array().into_iter().flatten().any(named)
    });
    let why =
        || format!("endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}");
    (!active).then(|| ("False", "MissingEndpoints", why()))
}

/// Whether the server answers a question about the version, whatever it says.
async fn answers(core: &Core, remote: &Remote) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match ask(core, remote, &remote.path()).await {
            Ok(()) => return Ok(()),
            Err(why) => last = why,
        }
    }
    Err(last)
}

async fn ask(core: &Core, remote: &Remote, path: &str) -> Result<(), String> {
    let address = remote.address();
    let (host, port) = address.resolve(core).map_err(|error| error.message)?;
    let shown = if host.contains(':') {
        format!("https://[{host}]:{port}{path}")
    } else {
        format!("https://{host}:{port}{path}")
    };
    // Whoever owns the network may tell lies about availability, and nothing else: no secret is sent.
    let client = Client::new(core, address, path.to_owned(), &Trust::Anybody, identity(core));
    let client = client.map_err(|error| error.to_string())?;
    let mut headers = HeaderMap::new();
    set_user(
        &mut headers,
        &Arc::new(UserInfo {
            groups: vec!["system:masters".into()],
            username: "system:kube-aggregator".into(),
            ..UserInfo::default()
        }),
    );
    let answer = client.send(core, Method::GET, "", headers, Bytes::new(), TIMEOUT).await;
    let answer = answer.map_err(|why| format!("failing or missing response from {shown}: {why}"))?;
    if !(200..300).contains(&answer.status) {
        let status = answer.status;
        return Err(format!("failing or missing response from {shown}: bad status from {shown}: {status}"));
    }
    Ok(())
}

/// Writes a condition down if it is another than before.
async fn tell(core: &Core, object: &Object, (status, reason, message): Found) {
    let mut value = object.value();
    let mut condition = json!({
        "type": "Available", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": core.world.now().to_string(),
    });
    let conditions = &mut value["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(list) = conditions.as_array_mut() else { return };
    if let Some(own) = list.iter_mut().find(|own| own["type"] == "Available") {
        if own["status"] == status {
            condition["lastTransitionTime"] = own["lastTransitionTime"].clone();
        }
        if *own == condition {
            return;
        }
        *own = condition;
    } else {
        list.push(condition);
    }
    let request = Request {
        subresource: "status".to_owned(),
        body: Body::Json(value),
        ..Request::new(Verb::Update, &SERVICES, "", &object.meta().name)
    };
    // Who changed it meanwhile has woken this up again.
    let _ = own_objects::execute(core, AGENT, request).await;
}
