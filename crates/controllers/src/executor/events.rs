//! Which Event to write for what happened: a new one, a higher count of a known one, one that stands for many, or none.
//!
//! The rules are client-go's event correlator: per source and object 25 events at once and one more every five minutes;
//! more than ten events that differ only in their message within ten minutes become one "combined" event.

use std::collections::BTreeMap;

use k8s_object::Object;
use serde_json::{Value, json};
use world::Timestamp;

/// Events about one object at once, and the seconds after which one more is allowed.
const BURST: u32 = 25;
const REFILL_SECONDS: u64 = 300;
/// Events that differ only in their message, and the seconds within which they count as similar.
const MAX_SIMILAR: usize = 10;
const SIMILAR_SECONDS: u64 = 600;
/// Objects whose events are remembered, the size of client-go's cache. The oldest half is forgotten when it is full.
const MAX_REMEMBERED: usize = 4096;

/// What to write.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum EventWrite {
    Create { namespace: String, body: Value },
    Patch { namespace: String, name: String, body: Value },
}

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    refilled: Timestamp,
}

#[derive(Debug)]
struct Known {
    namespace: String,
    name: String,
    count: u64,
    last: Timestamp,
}

/// Uid, type, reason: what makes events similar.
type Similar = (String, bool, &'static str);

#[derive(Debug)]
struct Group {
    messages: BTreeMap<String, ()>,
    last: Timestamp,
}

/// Remembers the events of one source.
#[derive(Debug)]
pub(crate) struct Recorder {
    component: &'static str,
    buckets: BTreeMap<String, Bucket>,
    groups: BTreeMap<Similar, Group>,
    known: BTreeMap<(Similar, String), Known>,
    sequence: u64,
}

impl Recorder {
    pub(crate) fn new(component: &'static str) -> Recorder {
        Recorder { component, buckets: BTreeMap::new(), groups: BTreeMap::new(), known: BTreeMap::new(), sequence: 0 }
    }

    /// What to write for an event about an object; `None` when there were too many.
    pub(crate) fn record(
        &mut self,
        about: &Object,
        warning: bool,
        reason: &'static str,
        message: &str,
        now: Timestamp,
    ) -> Option<EventWrite> {
        self.trim();
        let similar = (about.meta().uid.clone(), warning, reason);
        let group =
            self.groups.entry(similar.clone()).or_insert_with(|| Group { messages: BTreeMap::new(), last: now });
        if now.since(group.last).as_secs() > SIMILAR_SECONDS {
            group.messages.clear();
        }
        group.last = now;
        group.messages.insert(message.to_owned(), ());
        let combined = group.messages.len() > MAX_SIMILAR;
        if combined {
            group.messages.pop_first(); // As many as are needed to know that there are too many.
        }
        let bucket = self.buckets.entry(similar.0.clone()).or_insert(Bucket { tokens: BURST, refilled: now });
        let refills = now.since(bucket.refilled).as_secs() / REFILL_SECONDS;
        if refills > 0 {
            bucket.tokens = bucket.tokens.saturating_add(u32::try_from(refills).unwrap_or(BURST)).min(BURST);
            bucket.refilled = now;
        }
        if bucket.tokens == 0 {
            return None;
        }
        bucket.tokens -= 1;
        let message = if combined { format!("(combined from similar events): {message}") } else { message.to_owned() };
        let identity = (similar, if combined { String::new() } else { message.clone() });
        if let Some(known) = self.known.get_mut(&identity) {
            known.count += 1;
            known.last = now;
            let body = json!({"count": known.count, "message": message, "lastTimestamp": now.to_string()});
            return Some(EventWrite::Patch { namespace: known.namespace.clone(), name: known.name.clone(), body });
        }
        let namespace = if about.meta().namespace.is_empty() { "default" } else { &about.meta().namespace };
        // Upstream names events by nanoseconds; the sequence stands in for what is below a microsecond.
        let nanoseconds = now.micros().unsigned_abs() * 1000 + self.sequence % 1000;
        self.sequence += 1;
        let name = format!("{}.{nanoseconds:016x}", about.meta().name);
        let known = Known { namespace: namespace.to_owned(), name: name.clone(), count: 1, last: now };
        self.known.insert(identity, known);
        Some(EventWrite::Create {
            namespace: namespace.to_owned(),
            body: self.body(about, warning, reason, &message, &name, now),
        })
    }

    /// The event is gone from the server (events expire): the next one like it is new.
    pub(crate) fn forget(&mut self, name: &str) {
        self.known.retain(|_, known| known.name != name);
    }

    fn body(&self, about: &Object, warning: bool, reason: &str, message: &str, name: &str, now: Timestamp) -> Value {
        let (meta, kind) = (about.meta(), about.kind());
        let namespace = if meta.namespace.is_empty() { "default" } else { &meta.namespace };
        let mut involved = json!({
            "apiVersion": kind.api_version(), "kind": kind.kind, "name": meta.name, "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        });
        if !meta.namespace.is_empty() {
            involved["namespace"] = json!(meta.namespace);
        }
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": namespace},
            "involvedObject": involved, "reason": reason, "message": message,
            "type": if warning { "Warning" } else { "Normal" }, "count": 1,
            "firstTimestamp": now.to_string(), "lastTimestamp": now.to_string(),
            "source": {"component": self.component}, "reportingComponent": self.component, "reportingInstance": "",
        })
    }

    fn trim(&mut self) {
        if self.known.len() >= MAX_REMEMBERED {
            let mut ages: Vec<Timestamp> = self.known.values().map(|known| known.last).collect();
            ages.sort();
            let middle = ages[ages.len() / 2];
            self.known.retain(|_, known| known.last > middle);
        }
        if self.groups.len() >= MAX_REMEMBERED || self.buckets.len() >= MAX_REMEMBERED {
            self.groups.clear();
            self.buckets.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Object {
        Object::from_value(
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "uid": "u"}}),
        )
        .unwrap()
    }

    #[test]
    fn the_same_event_again_raises_its_count() {
        let mut recorder = Recorder::new("test");
        let now = Timestamp::from_seconds(0);
        let Some(EventWrite::Create { namespace, body }) = recorder.record(&pod(), true, "Failed", "why", now) else {
            panic!("the first event is created")
        };
        assert_eq!((namespace.as_str(), &body["count"], &body["type"]), ("n", &json!(1), &json!("Warning")));
        let name = body["metadata"]["name"].as_str().unwrap().to_owned();
        let Some(EventWrite::Patch { name: patched, body, .. }) = recorder.record(&pod(), true, "Failed", "why", now)
        else {
            panic!("the second is counted")
        };
        assert_eq!((patched, &body["count"]), (name.clone(), &json!(2)));
        recorder.forget(&name);
        assert!(matches!(recorder.record(&pod(), true, "Failed", "why", now), Some(EventWrite::Create { .. })));
    }

    #[test]
    fn many_similar_events_are_combined_and_then_dropped() {
        let mut recorder = Recorder::new("test");
        let writes: Vec<_> = (0..30)
            .map(|n| {
                recorder.record(&pod(), false, "Created", &format!("Created pod: {n:02}"), Timestamp::from_seconds(0))
            })
            .collect();
        assert!(writes[..10].iter().all(|write| matches!(write, Some(EventWrite::Create { body, .. })
            if !body["message"].as_str().unwrap_or_default().starts_with("(combined"))));
        assert!(
            matches!(&writes[10], Some(EventWrite::Create { body, .. }) if body["message"] == "(combined from similar events): Created pod: 10")
        );
        assert!(matches!(&writes[24], Some(EventWrite::Patch { .. })));
        assert!(writes[25..].iter().all(Option::is_none));
        let later = recorder.record(&pod(), false, "Created", "x", Timestamp::from_seconds(300));
        assert!(later.is_some(), "one more every five minutes");
    }
}
