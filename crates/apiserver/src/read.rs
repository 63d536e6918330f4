//! get and list, out of the watch cache.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_client::{Items, Reply};
use k8s_object::{ApiError, NamespacedName, Object, Reason};
use serde::{Deserialize, Serialize};
use store::{RangeRequest, Revision, StoreError};

use crate::cache::Held;
use crate::core::{Call, in_version};
use crate::select::Selection;
use crate::{crd, list_options, storage};

/// Bytes of a continue token; it holds a revision, a namespace and a name.
const MAX_TOKEN: usize = 4096;

/// One object.
pub(crate) async fn get(call: &Call<'_>) -> Result<Arc<Object>, ApiError> {
    if let Some(revision) = parse_revision(call.request.options.resource_version.as_deref())? {
        call.core.reach_soon(revision).await?;
    }
    call.current().await
}

/// A revision that a client names; `None` for absent.
pub(crate) fn parse_revision(text: Option<&str>) -> Result<Option<Revision>, ApiError> {
    match text.unwrap_or("") {
        "" => Ok(None),
        text => match text.parse::<u64>().ok().and_then(|revision| Revision::try_from(revision).ok()) {
            Some(revision) => Ok(Some(revision)),
            None => Err(ApiError::new(
                Reason::InternalError,
                format!(
                    "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
                ),
            )
            // Upstream gives no reason.
            .verbatim(500, "")),
        },
    }
}

#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    /// The revision of the list; negative: whatever is newest, since the revision is no longer known.
    rv: Revision,
    /// The key after which the next page begins, `namespace/name`, and a zero byte.
    start: String,
    /// How many objects the pages so far had.
    #[serde(default, rename = "n")]
    sent: u64,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";
/// Ends the key in a token: the next page begins with what sorts after it.
const AFTER: char = '\0';

impl Token {
    fn new(revision: Revision, last: &NamespacedName, sent: u64) -> Token {
        Token { v: TOKEN_VERSION.into(), rv: revision, start: format!("{last}{AFTER}"), sent }
    }

    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("a token is plain data"))
    }

    /// Reads a token that clients got and sent back.
    ///
    /// # Errors
    /// Upstream's 400.
    fn decode(text: &str) -> Result<Token, ApiError> {
        let wrong = |problem: &str| {
            Err(ApiError::bad_request(format!("invalid continue token: continue key is not valid{problem}")))
        };
        let bytes = (text.len() <= MAX_TOKEN).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten();
        let Some(token) = bytes.and_then(|bytes| serde_json::from_slice::<Token>(&bytes).ok()) else {
            return wrong(": it is not one that this server has given");
        };
        if token.v != TOKEN_VERSION {
            return wrong(&format!(": server does not recognize this encoded version {}", token.v));
        }
        if token.rv == 0 {
            return wrong(": incorrect encoded start resourceVersion (version meta.k8s.io/v1)");
        }
        if token.start.is_empty() {
            return wrong(": encoded start key empty (version meta.k8s.io/v1)");
        }
        Ok(token)
    }

    /// The last key of the page before.
    fn last(&self) -> NamespacedName {
        let key = self.start.trim_end_matches(AFTER);
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        NamespacedName::new(namespace, name)
    }
}

/// Where a page begins.
#[derive(Default)]
struct After {
    key: Option<NamespacedName>,
    /// How many objects the pages before had.
    sent: u64,
}

/// A page of a list.
pub(crate) async fn list(call: &Call<'_>) -> Result<Reply, ApiError> {
    let options = &call.request.options;
    let selection = Selection::of(call)?;
    list_options::check_list(options, None)?;
    let token = options.continue_token.as_deref().filter(|token| !token.is_empty()).map(Token::decode).transpose()?;
    let named = match options.resource_version.as_deref().unwrap_or("") {
        "" | "0" => None,
        _ if token.is_some() => {
            return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
        }
        text => parse_revision(Some(text))
            .map_err(|error| ApiError::bad_request(format!("invalid resource version: {error}")))?,
    };
    let matching = options.resource_version_match.as_deref().unwrap_or("");
    // The revision that the list shows; now when absent.
    let (at, after) = match (token, named) {
        (Some(token), _) => ((token.rv > 0).then_some(token.rv), After { key: Some(token.last()), sent: token.sent }),
        // A limit without a match means the exact revision too, as before there were matches.
        (None, Some(revision)) if matching == "Exact" || (matching.is_empty() && options.limit > 0) => {
            (Some(revision), After::default())
        }
        (None, named) => {
            call.core.reach_soon(named.unwrap_or(0)).await?;
            (None, After::default())
        }
    };
    if let Some(revision) = at {
        if call.core.horizon.hides(revision) {
            return Err(expired(after.key.as_ref(), after.sent));
        }
        call.core.reach_soon(revision).await?;
    }
    let reply = match (page(call, &selection, at, &after), at) {
        (Some(page), _) => page,
        // The ring does not reach back so far; the store may.
        (None, Some(revision)) => past(call, &selection, revision, &after).await?,
        (None, None) => return Err(ApiError::internal("the watch cache does not know its own state")),
    };
    match reply {
        Reply::List { items, resource_version, continue_token, remaining }
            if crd::converts_by_webhook(&call.resource) =>
        {
            let mut items = crd::convert::objects(call.core, &call.resource, items.to_vec()).await?;
            // A page has what its part of the objects has, which may be less than was asked for.
            items.retain(|object| selection.selects_late(object));
            let items = items.into();
            Ok(Reply::List { items, resource_version, continue_token, remaining })
        }
        reply => Ok(reply),
    }
}

/// A page out of the watch cache, of the state at a revision or now; `None` when the state that is asked for is not known any more.
fn page(call: &Call<'_>, selection: &Selection, at: Option<Revision>, after: &After) -> Option<Reply> {
    let state = call.entry.cache.read();
    let now = state.last().max(call.core.revision());
    // What differs between now and then; nothing for a list of now.
    let then: BTreeMap<NamespacedName, Option<Held>> = match at {
        None => BTreeMap::new(),
        Some(revision) => state.before(revision)?,
    };
    let mut page = Page::new(call, at.unwrap_or(now), after);
    let whole = at.is_none() && after.key.is_none() && page.limit == usize::MAX && selection.is_plain();
    if whole && let Some(items) = state.listed(&call.resource, selection.namespace()) {
        return Some(page.of(items));
    }
    if after.key.is_none()
        && let Some(name) = selection.name()
        && !selection.namespace().is_empty()
        && then.is_empty()
    {
        // One object by name: kubectl and informers of single objects ask so.
        let key = NamespacedName::new(selection.namespace(), name);
        if let Some(held) = state.get(&key).filter(|held| selection.selects(held)) {
            page.take(&key, &held.object);
        }
        return Some(page.reply(None));
    }
    let namespace = selection.namespace();
    let past = then.iter().filter(|(key, _)| {
        (namespace.is_empty() || key.namespace == namespace) && after.key.as_ref().is_none_or(|after| *key > after)
    });
    // Two ordered sequences merged: what did not change since, and what was there then.
    let mut past = past.filter_map(|(key, held)| held.as_ref().map(|held| (key, held))).peekable();
    let few = then.is_empty().then(|| state.candidates(selection, after.key.as_ref()));
    let all = (!then.is_empty()).then(|| state.range(namespace, after.key.as_ref()));
    let present = few.into_iter().flatten().chain(all.into_iter().flatten());
    let mut full = false;
    for (key, held) in present.filter(|(key, _)| !then.contains_key(key)) {
        while let Some((key, held)) = past.next_if(|(past, _)| *past < key) {
            full = full || (selection.selects_within(held) && !page.take(key, &held.object));
        }
        full = full || (selection.selects_within(held) && !page.take(key, &held.object));
        if full {
            break;
        }
    }
    if !full {
        full = past.any(|(key, held)| selection.selects_within(held) && !page.take(key, &held.object));
    }
    // Counted only where it is told: upstream says nothing where a selector leaves some out.
    let total = (full && selection.is_plain()).then(|| state.count(namespace, &then) as u64);
    if whole {
        let items = Items::from(std::mem::take(&mut page.items));
        state.remember(&call.resource, selection.namespace(), &items);
        return Some(page.of(items));
    }
    Some(page.reply(if full { Some(total) } else { None }))
}

/// The objects of one page, as they are found.
struct Page<'a, 'b> {
    call: &'a Call<'b>,
    revision: Revision,
    /// Objects of the pages before.
    sent: u64,
    limit: usize,
    items: Vec<Arc<Object>>,
    last: Option<NamespacedName>,
}

impl<'a, 'b> Page<'a, 'b> {
    fn new(call: &'a Call<'b>, revision: Revision, after: &After) -> Page<'a, 'b> {
        let limit = if call.request.options.limit == 0 { usize::MAX } else { call.request.options.limit };
        Page { call, revision, sent: after.sent, limit, items: Vec::new(), last: None }
    }

    /// Adds an object that is selected; says whether there was room.
    fn take(&mut self, key: &NamespacedName, object: &Arc<Object>) -> bool {
        if self.items.len() == self.limit {
            return false;
        }
        self.items.push(in_version(&self.call.resource, object.clone()));
        if self.items.len() == self.limit {
            self.last = Some(key.clone());
        }
        true
    }

    /// The answer that has everything there is.
    fn of(self, items: Items) -> Reply {
        let resource_version = self.revision.to_string();
        Reply::List { items, resource_version, continue_token: String::new(), remaining: None }
    }

    /// The answer. `more` is absent when nothing is left, else how many objects all pages have together, if that is known.
    fn reply(self, more: Option<Option<u64>>) -> Reply {
        let items = Items::from(self.items);
        let sent = self.sent + items.len() as u64;
        let token = self.last.filter(|_| more.is_some()).map(|last| Token::new(self.revision, &last, sent));
        Reply::List {
            items,
            resource_version: self.revision.to_string(),
            continue_token: token.map(|token| token.encode()).unwrap_or_default(),
            // At least the one that had no room, whatever came and went since pages of other states were counted.
            remaining: more.flatten().map(|total| total.saturating_sub(sent).max(1)),
        }
    }
}

/// Keys of the store that are read at a time for a state that the watch cache has forgotten.
const CHUNK: usize = 1000;

/// A page as the store remembers it.
async fn past(call: &Call<'_>, selection: &Selection, revision: Revision, after: &After) -> Result<Reply, ApiError> {
    let stored = call.entry.stored();
    let mut page = Page::new(call, revision, after);
    let mut start = after.key.as_ref().map(|key| storage::key(&stored.group, &stored.plural, key));
    loop {
        let range = storage::keys(&stored.group, &stored.plural, selection.namespace(), start.as_ref());
        let request = RangeRequest { revision: Some(revision), limit: CHUNK, ..RangeRequest::new(range) };
        let found = match call.core.keyspace.range(request).await {
            Ok(found) => found,
            Err(StoreError::Compacted { .. }) => return Err(expired(after.key.as_ref(), page.sent)),
            Err(error) => return Err(storage::error(error)),
        };
        for kv in &found.kvs {
            let Some(key) = storage::parse(&kv.key) else { continue };
            let key = NamespacedName::new(key.namespace, key.name);
            let object = Arc::new(call.core.encryption.object(kv).await?);
            let object = crd::as_read(&call.entry.versions, object);
            if selection.selects(&call.entry.cache.hold(object.clone())) && !page.take(&key, &object) {
                // How many are left would cost reading them.
                return Ok(page.reply(Some(None)));
            }
        }
        match found.kvs.last() {
            Some(last) if found.more => start = Some(last.key.clone()),
            _ => return Ok(page.reply(None)),
        }
    }
}

/// What a client is told whose list is too old, with a token to go on with the newest state if it has seen a part.
fn expired(last: Option<&NamespacedName>, sent: u64) -> ApiError {
    match last {
        Some(last) => ApiError {
            continue_token: Token::new(-1, last, sent).encode(),
            ..ApiError::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
            )
        },
        None => ApiError::expired("The resourceVersion for the provided list is too old."),
    }
}
