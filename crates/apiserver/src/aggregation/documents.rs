//! OpenAPI documents of other servers (kube-aggregator's `openapi` and `openapiv3` controllers): fetched when an APIService changes and every
//! minute, and kept until the APIService goes, even while its server does not answer.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method};
use k8s_object::UserInfo;
use k8s_schema::keep_openapi_v2_paths;
use serde_json::Value;

use super::proxy::{identity, set_user};
use super::{Aggregator, GROUP, MAX_DISCOVERY_BYTES, PLURAL, Remote};
use crate::core::Core;
use crate::webhook::{Answer, Client};

/// How often documents are fetched, and how long after the first failure.
const RESYNC: Duration = Duration::from_secs(60);
/// How long a server that keeps failing is left alone.
const MAX_DELAY: Duration = Duration::from_secs(60 * 60);
/// How long a server may take for one document.
const TIMEOUT: Duration = Duration::from_secs(60);
const USER: &str = "system:aggregator";

/// What is published for others, by the name of their APIService.
pub(super) type Kept = RwLock<BTreeMap<String, Arc<Published>>>;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Published {
    /// Of the v2 document, what is below the path of the version; nothing if there is none.
    v2: Option<Bytes>,
    /// Places of v3 documents (`apis/g/v1`) and their URLs; nothing if the server has no such documents.
    v3: Option<BTreeMap<String, String>>,
}

impl Aggregator {
    fn published(&self, name: &str) -> Option<Arc<Published>> {
        self.documents.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn publish(&self, name: &str, published: Published) {
        let mut documents = self.documents.write().unwrap_or_else(PoisonError::into_inner);
        if documents.get(name).is_some_and(|known| **known == published) {
            return;
        }
        documents.insert(name.to_owned(), Arc::new(published));
        drop(documents);
        self.advance();
    }

    /// Parts of v2 documents, those that come first when names clash before others: of the group with the highest priority, and
    /// then by name (upstream's `sortByPriority`, which gives versions no priority).
    pub(crate) fn openapi_v2(&self) -> Vec<Bytes> {
        let remotes = self.remotes();
        let mut groups: BTreeMap<&str, i64> = BTreeMap::new();
        for remote in remotes.values() {
            let priority = groups.entry(&remote.group).or_insert(remote.group_priority);
            *priority = (*priority).max(remote.group_priority);
        }
        let mut found: Vec<_> = remotes.values().collect();
        found.sort_by_key(|remote| (groups.get(remote.group.as_str()).map(|priority| -priority), &remote.name));
        found.into_iter().filter_map(|remote| self.published(&remote.name)?.v2.clone()).collect()
    }

    /// Places of v3 documents and their URLs.
    pub(crate) fn openapi_v3(&self) -> Vec<(String, String)> {
        let remotes = self.remotes();
        let published = remotes.values().filter_map(|remote| self.published(&remote.name));
        published.flat_map(|published| published.v3.clone().unwrap_or_default()).collect()
    }

    /// Who has the v3 document of a place.
    pub(crate) fn find_document(&self, place: &str) -> Option<Arc<Remote>> {
        let remotes = self.remotes();
        let has = |published: &Published| published.v3.as_ref().is_some_and(|own| own.contains_key(place));
        remotes.values().find(|remote| self.published(&remote.name).is_some_and(|own| has(&own))).cloned()
    }

    /// Groups and versions of which there are documents of v2 alone.
    pub(crate) fn without_v3(&self) -> Vec<(String, String)> {
        let remotes = self.remotes();
        let found = remotes.values().filter(|remote| self.only_v2(remote).is_some());
        found.map(|remote| (remote.group.clone(), remote.version.clone())).collect()
    }

    /// The v2 document of a version of which there is no other.
    pub(crate) fn v2_instead_of_v3(&self, group: &str, version: &str) -> Option<Bytes> {
        self.only_v2(self.find(group, version)?.as_ref())
    }

    fn only_v2(&self, remote: &Remote) -> Option<Bytes> {
        let published = self.published(&remote.name)?;
        published.v2.clone().filter(|_| published.v3.is_none())
    }
}

/// What is known of the fetches from one server.
struct Fetches {
    remote: Arc<Remote>,
    etag: Option<HeaderValue>,
    failures: u32,
    /// When the next is due; never, if there is no document.
    due: Option<Duration>,
}

/// Runs until it is dropped.
pub(crate) async fn run(core: Arc<Core>) {
    let Some(own) = core.registry.cache(GROUP, PLURAL) else { return };
    let mut changes = own.subscribe();
    let mut known: BTreeMap<String, Fetches> = BTreeMap::new();
    loop {
        changes.borrow_and_update();
        let remotes = core.aggregator.remotes();
        let is_there = |name: &str| remotes.values().any(|remote| remote.name == name);
        known.retain(|name, _| is_there(name));
        core.aggregator.documents.write().unwrap_or_else(PoisonError::into_inner).retain(|name, _| is_there(name));
        for remote in remotes.values().filter(|remote| remote.available) {
            let fresh = |etag| Fetches { remote: remote.clone(), etag, failures: 0, due: Some(Duration::ZERO) };
            let fetches = known.entry(remote.name.clone()).or_insert_with(|| fresh(None));
            if !Arc::ptr_eq(&fetches.remote, remote) {
                *fetches = fresh(fetches.etag.take().filter(|_| fetches.remote.path() == remote.path()));
            }
            if fetches.due.is_some_and(|due| due <= core.world.elapsed()) {
                let delay = fetches.fetch(&core).await;
                fetches.due = delay.map(|delay| core.world.elapsed() + delay);
            }
        }
        let due = known.values().filter(|fetches| fetches.remote.available).filter_map(|fetches| fetches.due).min();
        if !super::changed_or_due(&core, &mut changes, due).await {
            return;
        }
    }
}

impl Fetches {
    /// Fetches both documents, and tells after which time to do so again.
    async fn fetch(&mut self, core: &Core) -> Option<Duration> {
        let remote = self.remote.clone();
        let mut published =
            core.aggregator.published(&remote.name).map_or_else(Published::default, |own| (*own).clone());
        let v3 = get(core, &remote, "/openapi/v3", None).await;
        let v3 = v3.and_then(|answer| match answer.status {
            404 => Some(None),
            200 => places(&answer.body).map(Some),
            _ => None,
        });
        let v2 = get(core, &remote, "/openapi/v2", self.etag.as_ref()).await;
        // What cannot be had now is as it was.
        let has_failed = v3.is_none() || !v2.as_ref().is_some_and(|answer| [200, 304, 404].contains(&answer.status));
        if let Some(v3) = v3 {
            published.v3 = v3;
        }
        let mut ends = published.v3.is_none();
        match v2 {
            Some(answer) if answer.status == 200 => {
                if let Ok(mut document) = serde_json::from_slice::<Value>(&answer.body) {
                    keep_openapi_v2_paths(&mut document, &format!("{}/", remote.path()));
                    published.v2 = Some(document.to_string().into());
                    self.etag = answer.headers.get(ETAG).cloned();
                }
                ends = false;
            }
            Some(answer) if answer.status == 404 => {}
            _ => ends = false,
        }
        core.aggregator.publish(&remote.name, published);
        self.failures = if has_failed { self.failures.saturating_add(1) } else { 0 };
        let delay = RESYNC * 2_u32.saturating_pow(self.failures.saturating_sub(1));
        (!ends).then(|| delay.min(MAX_DELAY))
    }
}

/// The places and URLs of an index of v3 documents.
fn places(body: &[u8]) -> Option<BTreeMap<String, String>> {
    let index: Value = Some(body)
        .filter(|body| body.len() <= MAX_DISCOVERY_BYTES)
        .and_then(|body| serde_json::from_slice(body).ok())?;
    let paths = index["paths"].as_object().into_iter().flatten();
    let found = paths.filter_map(|(place, own)| Some((place.clone(), own["serverRelativeURL"].as_str()?.to_owned())));
    Some(found.collect())
}

/// A document as the server answers with it, if it does.
async fn get(core: &Core, remote: &Remote, path: &str, etag: Option<&HeaderValue>) -> Option<Answer> {
    let client = Client::new(core, remote.address(), path.to_owned(), &remote.trust, identity(core)).ok()?;
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(etag) = etag {
        headers.insert(IF_NONE_MATCH, etag.clone());
    }
    set_user(&mut headers, &Arc::new(UserInfo { username: USER.into(), ..UserInfo::default() }));
    client.send(core, Method::GET, "", headers, Bytes::new(), TIMEOUT).await.ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::remote;
    use super::*;

    #[test]
    fn documents_come_in_the_order_of_their_groups() {
        let remotes = [
            remote("a", "v1", 100, 1),
            remote("b", "v1", 100, 1),
            remote("b", "v2", 200, 9),
            remote("c", "v1", 150, 1),
            remote("d", "v1", 900, 1),
        ];
        let aggregator = Aggregator::default();
        let by_place = remotes.iter().map(|own| ((own.group.clone(), own.version.clone()), own.clone()));
        *aggregator.remotes.write().unwrap() = Arc::new(by_place.collect());
        for remote in remotes.iter().filter(|remote| remote.group != "d") {
            let v2 = Some(Bytes::from(remote.name.clone()));
            let v3 =
                (remote.group != "c").then(|| BTreeMap::from([(format!("apis/{}", remote.group), "url".to_owned())]));
            aggregator.publish(&remote.name, Published { v2, v3 });
        }
        assert_eq!(aggregator.openapi_v2(), ["v1.b", "v2.b", "v1.c", "v1.a"]);
        assert_eq!(aggregator.without_v3(), [("c".to_owned(), "v1".to_owned())]);
        assert_eq!(aggregator.find_document("apis/b").unwrap().name, "v1.b");
        assert!(aggregator.find_document("apis/d").is_none() && aggregator.v2_instead_of_v3("a", "v1").is_none());
        let before = aggregator.generation();
        aggregator.publish("v1.c", Published { v2: Some(Bytes::from("v1.c")), v3: None });
        assert_eq!(aggregator.generation(), before, "nothing has changed");
    }

    #[test]
    fn an_index_names_places() {
        let cases: [(&[u8], Option<usize>); 4] = [
            (br#"{"paths":{"apis/g/v1":{"serverRelativeURL":"/openapi/v3/apis/g/v1?hash=A"},"broken":{}}}"#, Some(1)),
            (b"{}", Some(0)),
            (b"no index", None),
            (b"", None),
        ];
        for (body, expected) in cases {
            assert_eq!(places(body).map(|found| found.len()), expected, "{}", String::from_utf8_lossy(body));
        }
    }
}
