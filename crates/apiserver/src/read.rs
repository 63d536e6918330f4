//! get and list, out of the watch cache.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_client::Reply;
use k8s_object::{ApiError, NamespacedName, Object, Reason};
use serde::{Deserialize, Serialize};
use store::Revision;

use crate::cache::Held;
use crate::core::{Call, in_version};
use crate::select::Selection;

/// Bytes of a continue token; it holds a revision, a namespace and a name.
const MAX_TOKEN: usize = 4096;

/// One object.
pub(crate) async fn get(call: &Call<'_>) -> Result<Arc<Object>, ApiError> {
    if let Some(revision) = parse_revision(call.request.options.resource_version.as_deref())? {
        call.core.reach_soon(revision).await?;
    }
    call.current()
}

/// A revision that a client names; `None` for absent.
pub(crate) fn parse_revision(text: Option<&str>) -> Result<Option<Revision>, ApiError> {
    match text.unwrap_or("") {
        "" => Ok(None),
        text => match text.parse::<u64>().ok().and_then(|revision| Revision::try_from(revision).ok()) {
            Some(revision) => Ok(Some(revision)),
            None => Err(ApiError::new(
                Reason::Invalid,
                format!(
                    "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
                ),
            )),
        },
    }
}

#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    rv: Revision,
    /// The last key that was sent.
    ns: String,
    start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

fn encode_token(revision: Revision, last: &NamespacedName) -> String {
    let token = Token { v: TOKEN_VERSION.into(), rv: revision, ns: last.namespace.clone(), start: last.name.clone() };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token is plain data"))
}

fn decode_token(text: &str) -> Result<(Revision, NamespacedName), ApiError> {
    let bytes = (text.len() <= MAX_TOKEN).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten();
    let token: Option<Token> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    match token {
        Some(token) if token.v == TOKEN_VERSION && token.rv > 0 => {
            Ok((token.rv, NamespacedName::new(token.ns, token.start)))
        }
        _ => Err(ApiError::bad_request(
            "continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
        )),
    }
}

/// Which state a list shows.
enum At {
    Now,
    Past(Revision),
}

/// A page of a list.
pub(crate) async fn list(call: &Call<'_>) -> Result<Reply, ApiError> {
    let options = &call.request.options;
    let selection = Selection::of(call)?;
    let named = parse_revision(options.resource_version.as_deref())?;
    let matching = options.resource_version_match.as_deref().unwrap_or("");
    let continued =
        options.continue_token.as_deref().filter(|token| !token.is_empty()).map(decode_token).transpose()?;
    check_match(matching, named, continued.is_some())?;
    let (at, after) = match (continued, named) {
        (Some((revision, last)), _) => (At::Past(revision), Some(last)),
        (None, Some(revision)) if matching == "Exact" => (At::Past(revision), None),
        // Without a match, a limit used to mean the exact revision; upstream reads it as "not older" from 1.31 on.
        (None, Some(revision)) => {
            call.core.reach_soon(revision).await?;
            (At::Now, None)
        }
        (None, None) => (At::Now, None),
    };
    if let At::Past(revision) = at {
        call.core.reach_soon(revision).await?;
    }
    page(call, &selection, at, after.as_ref())
}

fn check_match(matching: &str, named: Option<Revision>, continued: bool) -> Result<(), ApiError> {
    let wrong = |problem: &str| {
        let message = format!("ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: {problem}");
        Err(ApiError::new(Reason::Invalid, message))
    };
    match matching {
        "" => Ok(()),
        _ if continued => wrong("Forbidden: resourceVersionMatch is forbidden when continue is provided"),
        "Exact" | "NotOlderThan" => match named {
            None => wrong("Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"),
            Some(0) if matching == "Exact" => {
                wrong("Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
            }
            Some(_) => Ok(()),
        },
        other => wrong(&format!("Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\", \"\"")),
    }
}

fn page(call: &Call<'_>, selection: &Selection, at: At, after: Option<&NamespacedName>) -> Result<Reply, ApiError> {
    let limit = if call.request.options.limit == 0 { usize::MAX } else { call.request.options.limit };
    let state = call.entry.cache.read();
    let now = state.last().max(call.core.revision());
    let revision = match at {
        At::Now => now,
        At::Past(revision) => revision,
    };
    // What differs between now and then; nothing for a list of now.
    let then: BTreeMap<NamespacedName, Option<Held>> = match at {
        At::Now => BTreeMap::new(),
        At::Past(revision) => state.before(revision).ok_or_else(|| expired(after.is_some()))?,
    };
    if after.is_none()
        && let Some(name) = selection.name()
        && !selection.namespace().is_empty()
        && then.is_empty()
    {
        // One object by name: kubectl and informers of single objects ask so.
        let key = NamespacedName::new(selection.namespace(), name);
        let found = state.get(&key).filter(|held| selection.selects(held));
        let items = found.map(|held| in_version(&call.resource, held.object.clone())).into_iter().collect();
        return Ok(Reply::List {
            items,
            resource_version: revision.to_string(),
            continue_token: String::new(),
            remaining: None,
        });
    }
    let (mut items, mut last, mut remaining) = (Vec::new(), None, 0_u64);
    let mut take = |key: &NamespacedName, held: &Held| {
        if !selection.selects(held) {
            return;
        }
        if items.len() < limit {
            items.push(in_version(&call.resource, held.object.clone()));
            if items.len() == limit {
                last = Some(key.clone());
            }
        } else {
            remaining += 1;
        }
    };
    let namespace = selection.namespace();
    if then.is_empty() {
        for (key, held) in state.candidates(selection, after) {
            take(key, held);
        }
    } else {
        // Two ordered sequences merged: what did not change since, and what was there then.
        let past = then.iter().filter(|(key, _)| {
            (namespace.is_empty() || key.namespace == namespace) && after.is_none_or(|after| *key > after)
        });
        let mut past = past.filter_map(|(key, held)| held.as_ref().map(|held| (key, held))).peekable();
        for (key, held) in state.range(namespace, after).filter(|(key, _)| !then.contains_key(key)) {
            while let Some((key, held)) = past.next_if(|(past, _)| *past < key) {
                take(key, held);
            }
            take(key, held);
        }
        for (key, held) in past {
            take(key, held);
        }
    }
    let continue_token = match &last {
        Some(last) if remaining > 0 => encode_token(revision, last),
        _ => String::new(),
    };
    let remaining = (remaining > 0 && selection.is_plain()).then_some(remaining);
    Ok(Reply::List { items, resource_version: revision.to_string(), continue_token, remaining })
}

fn expired(continued: bool) -> ApiError {
    ApiError::expired(match continued {
        true => {
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter."
        }
        false => "The resourceVersion for the provided list is too old.",
    })
}
