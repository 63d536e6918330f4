//! What other servers say that they serve (kube-aggregator `handler_discovery.go`): asked when their APIService changes, which becoming
//! available is too, and every minute. Apart from whether they are available, for a server may be slow to say what it serves.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use k8s_object::UserInfo;
use serde_json::{Value, json};

use super::proxy::{identity, set_user};
use super::{Aggregator, GROUP, MAX_DISCOVERY_BYTES, PLURAL, Remote, Told};
use crate::core::Core;
use crate::webhook::{Answer, Client};

/// How often servers are asked when nothing changes.
const RESYNC: Duration = Duration::from_secs(60);
/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
const USER: &str = "system:kube-aggregator";
/// The aggregated form, whose resources are the same in both versions.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

impl Aggregator {
    /// What a server said when it was last asked; nothing if it gave no answer.
    pub(super) fn said(&self, name: &str) -> Option<Arc<Told>> {
        self.said.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(super) fn set_said(&self, name: &str, told: Option<Told>) {
        let mut known = self.said.write().unwrap_or_else(PoisonError::into_inner);
        if known.get(name).map(Arc::as_ref) == told.as_ref() {
            return;
        }
        match told {
            Some(told) => known.insert(name.to_owned(), Arc::new(told)),
            None => known.remove(name),
        };
        self.advance();
    }
}

/// Runs until it is dropped.
pub(crate) async fn run(core: Arc<Core>) {
    let Some(own) = core.registry.cache(GROUP, PLURAL) else { return };
    let mut changes = own.subscribe();
    // When each is asked again, by its name.
    let mut due: BTreeMap<String, (Arc<Remote>, Duration)> = BTreeMap::new();
    loop {
        changes.borrow_and_update();
        let remotes = core.aggregator.remotes();
        due.retain(|name, _| remotes.values().any(|remote| remote.name == *name));
        // Versions of one server are told in one document.
        let mut documents = BTreeMap::new();
        for remote in remotes.values() {
            let is_known = due
                .get(&remote.name)
                .is_some_and(|(known, at)| Arc::ptr_eq(known, remote) && *at > core.world.elapsed());
            if is_known {
                continue;
            }
            let told = if remote.available { told(&core, remote, &mut documents).await } else { None };
            // One that has gone meanwhile is forgotten already.
            if core.aggregator.find(&remote.group, &remote.version).is_some_and(|now| now.name == remote.name) {
                core.aggregator.set_said(&remote.name, told);
            }
            due.insert(remote.name.clone(), (remote.clone(), core.world.elapsed() + RESYNC));
        }
        if !super::changed_or_due(&core, &mut changes, due.values().map(|(_, at)| *at).min()).await {
            return;
        }
    }
}

/// Aggregated documents by namespace, name and port of their Service; nothing for a server that has only the old form.
type Documents = BTreeMap<(String, String, u16), Option<Value>>;

async fn told(core: &Core, remote: &Remote, documents: &mut Documents) -> Option<Told> {
    let place = (remote.namespace.clone(), remote.service.clone(), remote.port);
    if !documents.contains_key(&place) {
        let answer = get(core, remote, "/apis", AGGREGATED, &["system:masters"]).await?;
        let document = match answer.status {
            503 => return None,
            200 if is_aggregated(&answer) => Some(document(&answer)?),
            _ => None,
        };
        documents.insert(place.clone(), document);
    }
    if let Some(Some(document)) = documents.get(&place) {
        return Some(Told { resources: of_version(document, &remote.group, &remote.version) });
    }
    let answer = get(core, remote, &remote.path(), "application/json", &[]).await?;
    let list = (answer.status == 200).then(|| document(&answer)).flatten()?;
    Some(Told { resources: converted(&list, &remote.group, &remote.version) })
}

/// A document as the server answers with it, if it does.
async fn get(core: &Core, remote: &Remote, path: &str, accept: &'static str, groups: &[&str]) -> Option<Answer> {
    let client = Client::new(core, remote.address(), path.to_owned(), &remote.trust, identity(core)).ok()?;
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    let groups = groups.iter().map(|group| (*group).into()).collect();
    set_user(&mut headers, &Arc::new(UserInfo { username: USER.into(), groups, ..UserInfo::default() }));
    client.send(core, Method::GET, "", headers, Bytes::new(), TIMEOUT).await.ok()
}

fn is_aggregated(answer: &Answer) -> bool {
    let media = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut parameters = media.split(';').skip(1).map(str::trim);
    let has = |wanted: &str| media.split(';').any(|own| own.trim() == wanted);
    parameters.any(|own| own == "g=apidiscovery.k8s.io")
        && has("as=APIGroupDiscoveryList")
        && (has("v=v2") || has("v=v2beta1"))
}

fn document(answer: &Answer) -> Option<Value> {
    let small = Some(&answer.body).filter(|body| body.len() <= MAX_DISCOVERY_BYTES);
    small.and_then(|body| serde_json::from_slice(body).ok()).filter(Value::is_object)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// What an aggregated document says of a version, as this server would say it; nothing of one that it does not name.
fn of_version(document: &Value, group: &str, version: &str) -> Vec<Value> {
    let groups = list(&document["items"]).iter().filter(|own| text(&own["metadata"]["name"]) == group);
    let mut versions = groups.flat_map(|own| list(&own["versions"])).filter(|own| text(&own["version"]) == version);
    versions.next_back().map(|own| list(&own["resources"]).iter().map(resource).collect()).unwrap_or_default()
}

/// Of another server's entry what the form has, so that it says nothing else and can be written as protobuf.
fn resource(theirs: &Value) -> Value {
    let mut own = json!({
        "resource": text(&theirs["resource"]), "responseKind": kind(&theirs["responseKind"]),
        "scope": text(&theirs["scope"]), "singularResource": text(&theirs["singularResource"]),
        "verbs": texts(&theirs["verbs"]),
    });
    for field in ["shortNames", "categories"] {
        if !list(&theirs[field]).is_empty() {
            own[field] = texts(&theirs[field]);
        }
    }
    let below: Vec<Value> = list(&theirs["subresources"])
        .iter()
        .map(|theirs| {
            let mut own = json!({
                "subresource": text(&theirs["subresource"]), "responseKind": kind(&theirs["responseKind"]),
                "verbs": texts(&theirs["verbs"]),
            });
            if !list(&theirs["acceptedTypes"]).is_empty() {
                own["acceptedTypes"] = list(&theirs["acceptedTypes"]).iter().map(kind).collect();
            }
            own
        })
        .collect();
    if !below.is_empty() {
        own["subresources"] = json!(below);
    }
    own
}

fn texts(value: &Value) -> Value {
    list(value).iter().map(text).collect()
}

/// Clients of old want a kind, be it an empty one.
fn kind(value: &Value) -> Value {
    json!({"group": text(&value["group"]), "version": text(&value["version"]), "kind": text(&value["kind"])})
}

/// A list in the old form as the aggregated form has it: what is below a resource stands in it.
fn converted(old: &Value, group: &str, version: &str) -> Vec<Value> {
    let entries = list(&old["resources"]);
    let kind = |entry: &Value| {
        let or = |own: &Value, other: &str| if text(own).is_empty() { other.to_owned() } else { text(own).to_owned() };
        json!({"group": or(&entry["group"], group), "version": or(&entry["version"], version), "kind": text(&entry["kind"])})
    };
    let mut found: Vec<Value> = Vec::new();
    for entry in entries.iter().filter(|entry| !text(&entry["name"]).contains('/')) {
        let name = text(&entry["name"]);
        let scope = if entry["namespaced"] == true { "Namespaced" } else { "Cluster" };
        let mut own = json!({
            "resource": name, "responseKind": kind(entry), "scope": scope,
            "singularResource": text(&entry["singularName"]), "verbs": entry["verbs"],
        });
        for field in ["shortNames", "categories"] {
            if entry[field].is_array() {
                own[field] = entry[field].clone();
            }
        }
        let below: Vec<Value> = entries
            .iter()
            .filter_map(|entry| {
                let subresource = text(&entry["name"]).strip_prefix(name)?.strip_prefix('/')?;
                Some(json!({"subresource": subresource, "responseKind": kind(entry), "verbs": entry["verbs"]}))
            })
            .collect();
        if !below.is_empty() {
            own["subresources"] = json!(below);
        }
        found.push(own);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_lists_become_new_ones() {
        let list = json!({"resources": [
            {"name": "pods", "singularName": "pod", "namespaced": true, "kind": "PodMetrics", "verbs": ["get", "list"]},
            {"name": "pods/x", "singularName": "", "namespaced": true, "kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get"]},
        ]});
        let expected = json!([{
            "resource": "pods", "responseKind": {"group": "g", "version": "v1", "kind": "PodMetrics"}, "scope": "Namespaced",
            "singularResource": "pod", "verbs": ["get", "list"],
            "subresources": [{"subresource": "x", "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}, "verbs": ["get"]}],
        }]);
        assert_eq!(Value::Array(converted(&list, "g", "v1")), expected);
    }

    #[test]
    fn of_an_aggregated_document_what_it_says_of_the_version_counts() {
        let entry = |name: &str| json!({"resource": name, "verbs": ["list"], "extra": 1, "subresources": [{"subresource": "s"}]});
        let version = |version: &str, name: &str| json!({"version": version, "resources": [entry(name)]});
        let document = json!({"items": [
            {"metadata": {"name": "other"}, "versions": [version("v1", "others")]},
            {"metadata": {"name": "g"}, "versions": [version("v1", "ones"), version("v2", "twos")]},
        ]});
        let empty = json!({"group": "", "version": "", "kind": ""});
        let expected = json!([{
            "resource": "twos", "responseKind": empty, "scope": "", "singularResource": "", "verbs": ["list"],
            "subresources": [{"subresource": "s", "responseKind": empty, "verbs": []}],
        }]);
        assert_eq!(Value::Array(of_version(&document, "g", "v2")), expected);
        assert_eq!(of_version(&document, "g", "v3"), Vec::<Value>::new());
    }
}
