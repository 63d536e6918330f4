//! Lists of objects in JSON and protobuf, joined from what the objects are encoded as: small ones at once, large ones as they
//! are read. One that is asked for again before anything has changed is joined once more, and that is sent to all who follow.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{Response, StatusCode};
use k8s_client::Items;
use k8s_object::{ApiError, Object};
use serde_json::{Value, json};
use serve::Body;

use super::negotiate::{Format, PROTOBUF};
use super::protobuf;
use super::respond;

/// Bytes of a list that are joined at a time when it is streamed.
const CHUNK: usize = 128 << 10;
/// Bytes of a list up to which it is joined at once.
const WHOLE: usize = 1 << 20;
/// Objects below which a list is joined anew each time: such a list is made anew each time too.
const MIN_KEPT_ITEMS: usize = 64;
/// Bytes of all lists that are kept by one API server.
const MAX_KEPT_BYTES: usize = 16 << 20;
/// Lists that are told apart, whether they are kept or were only asked for once.
const MAX_KEPT: usize = 16;

/// The metadata of a list.
pub(super) fn metadata(resource_version: &str, continue_token: &str, remaining: Option<u64>) -> Value {
    let mut metadata = json!({"resourceVersion": resource_version});
    if !continue_token.is_empty() {
        metadata["continue"] = json!(continue_token);
    }
    if let Some(remaining) = remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    metadata
}

/// What a list is besides its items.
pub(super) struct About<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub metadata: &'a Value,
    /// Whether items say what they are. Those of built-in kinds do not: Go's types leave that to the list.
    pub items_say_kind: bool,
}

/// What follows the head of a list: its items with what stands between them, and its end.
pub(super) struct Rest {
    /// Writes the next item with what stands before it; false when there are no more.
    pub next: Box<dyn FnMut(&mut BytesMut) -> bool + Send>,
    pub tail: &'static [u8],
    /// Bytes of all that.
    pub length: usize,
}

const JSON_TAIL: &[u8] = b"]}\n";

fn json_head(about: &About<'_>) -> Vec<u8> {
    let head = json!({"kind": about.kind, "apiVersion": about.api_version, "metadata": about.metadata}).to_string();
    // Without the closing brace: the items follow.
    format!("{},\"items\":[", &head[..head.len() - 1]).into()
}

fn json_rest(items: &Items, say_kind: bool) -> Rest {
    let commas = items.len().saturating_sub(1);
    let length = |object: &Arc<Object>| if say_kind { object.json_len() } else { object.item_len() };
    let length = items.iter().map(length).sum::<usize>() + commas + JSON_TAIL.len();
    let (items, mut at) = (items.clone(), 0);
    let next = move |to: &mut BytesMut| {
        let Some(object) = items.get(at) else { return false };
        if at > 0 {
            to.put_u8(b',');
        }
        at += 1;
        if say_kind {
            object.write_json(to);
        } else {
            object.write_item(to);
        }
        true
    };
    Rest { next: Box::new(next), tail: JSON_TAIL, length }
}

/// A list of objects as they are in the form that is asked for.
pub(super) fn answer(kept: &Kept, about: &About<'_>, items: &Items, format: Format, gzip: bool) -> Response<Body> {
    let answered = match format {
        Format::Json | Format::Protobuf => joined(kept, about, items, format, gzip),
        Format::PrettyJson | Format::Yaml => {
            let About { api_version, kind, metadata, items_say_kind } = about;
            let mut items: Vec<Value> = items.iter().map(|object| object.value()).collect();
            for item in items.iter_mut().filter(|_| !items_say_kind).filter_map(Value::as_object_mut) {
                item.remove("apiVersion");
                item.remove("kind");
            }
            let list = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items});
            Ok(respond::value(StatusCode::OK, &list, format, gzip))
        }
    };
    answered.unwrap_or_else(|error| respond::failure(&error, Format::Json))
}

fn joined(
    kept: &Kept,
    about: &About<'_>,
    items: &Items,
    format: Format,
    gzip: bool,
) -> Result<Response<Body>, ApiError> {
    let content_type = if format == Format::Protobuf { PROTOBUF } else { "application/json" };
    let head = |length: usize| match format {
        Format::Protobuf => protobuf::list_head(about, length),
        _ => Ok(json_head(about)),
    };
    // What is compressed has its head in it.
    let form = Form { format, packed: gzip.then(|| about.metadata.to_string()) };
    let asked = if items.len() < MIN_KEPT_ITEMS { Asked::First } else { kept.ask(items, &form) };
    if let Asked::Kept(bytes) = asked {
        return Ok(match gzip {
            true => respond::packed(content_type, serve::full(bytes)),
            false => in_parts(content_type, head(bytes.len())?.into(), bytes),
        });
    }
    let rest = match format {
        Format::Protobuf => protobuf::list_rest(items)?,
        _ => json_rest(items, about.items_say_kind),
    };
    let head = head(rest.length)?;
    let mut joiner = Joiner { rest, done: false };
    let length = joiner.rest.length;
    if matches!(asked, Asked::Again) && length <= MAX_KEPT_BYTES && respond::is_packed(length, gzip) == gzip {
        let mut joined = BytesMut::with_capacity(if gzip { head.len() + length } else { length });
        if gzip {
            joined.put_slice(&head);
        }
        joiner.join(&mut joined, usize::MAX);
        let joined = joined.freeze();
        let bytes = if gzip { respond::pack(&joined) } else { joined };
        kept.keep(items, &form, &bytes);
        return Ok(match gzip {
            true => respond::packed(content_type, serve::full(bytes)),
            false => in_parts(content_type, head.into(), bytes),
        });
    }
    if head.len() + length <= WHOLE {
        let mut joined = BytesMut::with_capacity(head.len() + length);
        joined.put_slice(&head);
        joiner.join(&mut joined, usize::MAX);
        return Ok(respond::compressed(StatusCode::OK, content_type, joined.freeze(), gzip));
    }
    Ok(streamed(content_type, head, joiner, gzip))
}

/// A list of which all is there.
fn in_parts(content_type: &'static str, head: Bytes, rest: Bytes) -> Response<Body> {
    respond::response(StatusCode::OK, content_type, serve::chunks([head, rest]))
}

fn streamed(content_type: &'static str, head: Vec<u8>, mut joiner: Joiner, gzip: bool) -> Response<Body> {
    let mut encoder = gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
    // The same memory for all chunks, as soon as the one before is on its way: fresh pages cost more than what is written to them.
    let mut buffer = BytesMut::from(&head[..]);
    let body = serve::stream(move |_| {
        if joiner.done {
            return Poll::Ready(None);
        }
        buffer.reserve(CHUNK + (64 << 10));
        joiner.join(&mut buffer, CHUNK);
        let joined = buffer.split();
        let Some(packed) = &mut encoder else { return Poll::Ready(Some(Ok(joined.freeze()))) };
        let written =
            packed.write_all(&joined).and_then(|()| if joiner.done { packed.try_finish() } else { packed.flush() });
        let chunk = std::mem::take(packed.get_mut());
        Poll::Ready(Some(written.map(|()| Bytes::from(chunk)).map_err(Into::into)))
    });
    if gzip { respond::packed(content_type, body) } else { respond::response(StatusCode::OK, content_type, body) }
}

struct Joiner {
    rest: Rest,
    done: bool,
}

impl Joiner {
    /// Adds items until there are about `limit` bytes.
    fn join(&mut self, to: &mut BytesMut, limit: usize) {
        while to.len() < limit {
            if !(self.rest.next)(to) {
                to.put_slice(self.rest.tail);
                self.done = true;
                return;
            }
        }
    }
}

/// How a list is written.
#[derive(PartialEq, Eq, Clone)]
struct Form {
    format: Format,
    /// If it is compressed: its metadata, which is compressed with it.
    packed: Option<String>,
}

/// What was asked for before.
enum Asked {
    First,
    Again,
    /// All of it when it is compressed, else all but its head.
    Kept(Bytes),
}

struct Entry {
    items: Weak<[Arc<Object>]>,
    form: Form,
    bytes: Option<Bytes>,
}

/// Lists that were asked for, the newest last, and what those of them that were asked for again are joined to.
#[derive(Default)]
pub(crate) struct Kept(Mutex<VecDeque<Entry>>);

impl Kept {
    fn ask(&self, items: &Items, form: &Form) -> Asked {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut asked = Asked::First;
        entries.retain(|entry| {
            if items.is(&entry.items) && entry.form == *form {
                asked = entry.bytes.clone().map_or(Asked::Again, Asked::Kept);
                return true;
            }
            // Nobody can ask for it again.
            entry.items.strong_count() > 0
        });
        if matches!(asked, Asked::First) {
            entries.push_back(Entry { items: items.downgrade(), form: form.clone(), bytes: None });
            if entries.len() > MAX_KEPT {
                entries.pop_front();
            }
        }
        asked
    }

    fn keep(&self, items: &Items, form: &Form, bytes: &Bytes) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| !(items.is(&entry.items) && entry.form == *form));
        entries.push_back(Entry { items: items.downgrade(), form: form.clone(), bytes: Some(bytes.clone()) });
        let mut all: usize = entries.iter().filter_map(|entry| entry.bytes.as_ref()).map(Bytes::len).sum();
        while all > MAX_KEPT_BYTES
            && let Some(oldest) = entries.pop_front()
        {
            all -= oldest.bytes.map_or(0, |bytes| bytes.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;

    fn items(count: usize, bytes: usize) -> Items {
        let object = |index: usize| {
            let text = "x".repeat(bytes);
            Arc::new(
                Object::from_value(&json!({"metadata": {"name": index.to_string()}, "data": {"k": text}})).unwrap(),
            )
        };
        (0..count).map(object).collect()
    }

    fn form(packed: Option<&str>) -> Form {
        Form { format: Format::Json, packed: packed.map(str::to_owned) }
    }

    #[test]
    fn only_the_very_same_list_in_the_same_form_is_kept() {
        let (kept, one, other) = (Kept::default(), items(1, 1), items(1, 1));
        assert!(matches!(kept.ask(&one, &form(None)), Asked::First));
        assert!(matches!(kept.ask(&one, &form(None)), Asked::Again));
        kept.keep(&one, &form(None), &Bytes::from_static(b"a"));
        kept.keep(&one, &form(Some("7")), &Bytes::from_static(b"b"));
        let bytes = |items: &Items, form: Form| match kept.ask(items, &form) {
            Asked::Kept(bytes) => Some(bytes),
            _ => None,
        };
        assert_eq!(bytes(&one, form(None)).as_deref(), Some(&b"a"[..]));
        assert_eq!(bytes(&one, form(Some("7"))).as_deref(), Some(&b"b"[..]));
        assert_eq!(bytes(&one, form(Some("8"))), None);
        assert_eq!(bytes(&other, form(None)), None);
        drop(one);
        assert!(matches!(kept.ask(&items(1, 1), &form(None)), Asked::First));
        assert!(kept.0.lock().unwrap().iter().all(|entry| entry.bytes.is_none()), "what nobody can ask for went");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let kept = Kept::default();
        let lists: Vec<Items> = (0..MAX_KEPT + 4).map(|_| items(1, 1)).collect();
        for list in &lists {
            kept.ask(list, &form(None));
        }
        assert_eq!(kept.0.lock().unwrap().len(), MAX_KEPT);
        let large = Bytes::from(vec![0; MAX_KEPT_BYTES / 2 + 1]);
        for list in &lists {
            kept.keep(list, &form(None), &large);
        }
        assert_eq!(kept.0.lock().unwrap().iter().filter(|entry| entry.bytes.is_some()).count(), 1);
    }

    #[test]
    fn a_kept_list_is_what_it_was_when_it_was_joined_first() {
        let metadata = metadata("7", "", None);
        let about = About { api_version: "v1", kind: "ConfigMapList", metadata: &metadata, items_say_kind: false };
        for (count, bytes) in [(1, 10), (MIN_KEPT_ITEMS, 10), (MIN_KEPT_ITEMS, 3000), (100, 30_000)] {
            let (kept, items) = (Kept::default(), items(count, bytes));
            for gzip in [false, true] {
                let ask = || {
                    let response = answer(&kept, &about, &items, Format::Json, gzip);
                    let headers = response.headers().clone();
                    (headers, read(response.into_body()))
                };
                let first = ask();
                for _ in 0..3 {
                    let next = ask();
                    assert_eq!(next.0, first.0);
                    assert_eq!(unpacked(&next), unpacked(&first), "{count} of {bytes}");
                }
                let list: Value = serde_json::from_slice(&unpacked(&first)).unwrap();
                assert_eq!(list["items"].as_array().unwrap().len(), count);
                assert_eq!(list["metadata"], metadata);
            }
        }
    }

    /// Such bodies are there at once.
    fn read(body: Body) -> Bytes {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(serve::read_limited(body, usize::MAX)).poll(&mut context) {
            Poll::Ready(read) => read.unwrap(),
            Poll::Pending => panic!("the body waits"),
        }
    }

    fn unpacked((headers, body): &(http::HeaderMap, Bytes)) -> Vec<u8> {
        use std::io::Read;
        let mut unpacked = Vec::new();
        match headers.contains_key("content-encoding") {
            true => flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut unpacked).unwrap(),
            false => (&body[..]).read_to_end(&mut unpacked).unwrap(),
        };
        unpacked
    }
}
