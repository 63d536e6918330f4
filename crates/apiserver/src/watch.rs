//! Watches: a position in the ring of a cache, seen through a selection.

use std::sync::Arc;

use k8s_client::{WatchEvent, WatchSource};
use k8s_object::{ApiError, Object, Reason};
use store::Revision;
use world::BoxFuture;
use world::watch;

use crate::audit::{AuditStage, Record};
use crate::cache::{Cache, Event, Held, with_revision};
use crate::core::{Call, Core, in_version};
use crate::crd;
use crate::flow::Watched;
use crate::http::Accepted;
use crate::list_options::{self, Beginning};
use crate::read::parse_revision;
use crate::registry::Resource;
use crate::runs::{Run, Shape, Watching};
use crate::select::Selection;
use crate::wake::{Mark, Sleep};

/// Events that one call of [`Cursor::take`] returns: enough to keep a fast reader busy, few enough not to hold the lock long.
const BATCH: usize = 512;
/// Bytes of a frame of JSON around its object, or a few more.
pub(crate) const FRAME: usize = 40;

/// A watch under way.
pub(crate) struct Cursor {
    pub resource: Arc<Resource>,
    cache: Arc<Cache>,
    selection: Selection,
    changed: watch::Receiver<u64>,
    /// Says which changes need not be read, where the selection is narrow enough.
    sleep: Option<Sleep>,
    /// Whether there may be something to take that nothing will tell of.
    behind: bool,
    /// The next event in the ring.
    position: u64,
    /// Events up to here are not wanted: the client named a revision that is still to come.
    after: Revision,
    /// What there is at the start, not yet sent.
    initial: std::vec::IntoIter<Arc<Object>>,
    /// The revision that `initial` shows; told in a bookmark after it when asked for.
    initial_revision: Revision,
    /// Whether the client wants to be told when it has what was there at the start.
    pub announce_end: bool,
    pub bookmarks: bool,
}

/// What [`Cursor::take`] finds.
pub(crate) enum Taken {
    Items {
        items: Vec<Item>,
        /// Everything before has been sent up to this; zero when that is not known.
        revision: Revision,
        /// What part of the ring that is, where others may be told the same.
        span: Option<(u64, u64)>,
    },
    /// What another was told.
    Run(Run),
    /// What is watched was defined anew: the watch is over, and a new one sees it.
    End,
}

/// What a watch yields.
pub(crate) enum Item {
    Added(Arc<Object>),
    Modified(Arc<Object>),
    Deleted(Arc<Object>),
    /// A change that means something to this watcher or not, which is known once [`Cursor::convert`] has asked the webhook.
    Undecided(Box<Undecided>),
    /// The initial events are complete.
    InitialEnd(Revision),
}

/// The states before and after a change as far as they may be selected, and the last one as a deletion would tell it.
pub(crate) struct Undecided {
    old: Option<Arc<Object>>,
    new: Option<Arc<Object>>,
    gone: Arc<Object>,
}

impl Item {
    /// About what it takes in JSON.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Item::Added(object) | Item::Modified(object) | Item::Deleted(object) => object.json_len() + FRAME,
            Item::Undecided(_) | Item::InitialEnd(_) => 0,
        }
    }

    fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        let (one, three) = match self {
            Item::Added(object) | Item::Modified(object) | Item::Deleted(object) => (Some(object), None),
            Item::Undecided(change) => (None, Some(change)),
            Item::InitialEnd(_) => (None, None),
        };
        let three = three.map(|change| [change.old.as_ref(), change.new.as_ref(), Some(&change.gone)]);
        one.into_iter().chain(three.into_iter().flatten().flatten())
    }

    /// The same of converted objects, which come in the order of [`Item::objects`]; nothing if none of them is asked for.
    fn converted(self, objects: &mut impl Iterator<Item = Arc<Object>>, selection: &Selection) -> Option<Item> {
        let wanted = |object: &Arc<Object>| selection.selects_late(object);
        match self {
            Item::Added(_) => objects.next().filter(wanted).map(Item::Added),
            Item::Modified(_) => objects.next().map(Item::Modified),
            Item::Deleted(_) => objects.next().map(Item::Deleted),
            Item::Undecided(change) => {
                let old = change.old.and_then(|_| objects.next()).filter(wanted);
                let new = change.new.and_then(|_| objects.next()).filter(wanted);
                let gone = objects.next()?;
                match (old, new) {
                    (None, None) => None,
                    (None, Some(new)) => Some(Item::Added(new)),
                    (Some(_), Some(new)) => Some(Item::Modified(new)),
                    (Some(_), None) => Some(Item::Deleted(gone)),
                }
            }
            end @ Item::InitialEnd(_) => Some(end),
        }
    }
}

/// Starts a watch; `send` is `sendInitialEvents`.
pub(crate) async fn start(call: &Call<'_>, send: Option<bool>) -> Result<Cursor, ApiError> {
    let options = &call.request.options;
    let selection = Selection::of(call)?;
    let named = parse_revision(options.resource_version.as_deref())?.unwrap_or(0);
    let beginning = list_options::beginning(options, send);
    if beginning == Beginning::State {
        // Others may name a revision that is still to come, and wait for what comes after it.
        call.core.reach_soon(named).await?;
    }
    let state = call.entry.cache.read();
    // Under the lock: no change comes between the snapshot and the subscription.
    let (sleep, changed) = match selection.common() {
        Some(common) => {
            let (sleep, woken) = call.entry.cache.sleep(common);
            (Some(sleep), woken)
        }
        None => (None, call.entry.cache.subscribe()),
    };
    let now = state.last().max(call.core.revision());
    let (position, after, initial) = match beginning {
        Beginning::Changes if named > 0 => {
            let position = state.position_after(named).ok_or_else(|| too_old(named, now))?;
            (position, named, Vec::new())
        }
        Beginning::Changes => (state.end(), 0, Vec::new()),
        Beginning::State => {
            let held = state.candidates(&selection, None).filter(|(_, held)| selection.selects(held));
            let initial = held.map(|(_, held)| in_version(&call.resource, held.object.clone())).collect();
            (state.end(), 0, initial)
        }
    };
    drop(state);
    Ok(Cursor {
        resource: call.resource.clone(),
        cache: call.entry.cache.clone(),
        selection,
        changed,
        sleep,
        behind: true,
        position,
        after,
        initial: initial.into_iter(),
        initial_revision: now,
        announce_end: false,
        bookmarks: false,
    })
}

fn too_old(revision: Revision, now: Revision) -> ApiError {
    ApiError::expired(format!("too old resource version: {revision} ({now})"))
}

impl Cursor {
    /// What all have in common who are sent the same in this form; `None` where it depends on the objects.
    pub(crate) fn shape(&self, accepted: Accepted) -> Option<Shape> {
        let Resource { group, version, .. } = &*self.resource;
        let shared = self.selection.is_plain() && !crd::converts_by_webhook(&self.resource);
        shared.then(|| Shape {
            accepted,
            group: group.clone(),
            version: version.clone(),
            namespace: self.selection.namespace().to_owned(),
        })
    }

    /// From now on it counts among those who send changes on.
    pub(crate) fn enter(&self) -> Watching {
        self.cache.runs().enter()
    }

    /// Whether there may be more to take at once.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind
    }

    /// What there is to send now; no items when nothing is. It may be what another of the same shape was sent.
    ///
    /// # Errors
    /// `Expired` when the reader was too slow.
    pub(crate) fn take(&mut self, core: &Core, shape: Option<&Shape>) -> Result<Taken, ApiError> {
        let mut items: Vec<Item> = self.initial.by_ref().take(BATCH).map(Item::Added).collect();
        if !items.is_empty() {
            return Ok(Taken::Items { items, revision: 0, span: None });
        }
        if std::mem::take(&mut self.announce_end) {
            items.push(Item::InitialEnd(self.initial_revision));
        }
        // What only this one is told, or told from another place than others, is not theirs.
        let shape = shape.filter(|_| items.is_empty() && self.after == 0);
        self.changed.borrow_and_update();
        let mut from = None;
        loop {
            // A batch at a time, so that writers get their turn.
            let state = self.cache.read();
            let lost = || too_old(self.initial_revision, state.last());
            match self.sleep.as_ref().filter(|_| !self.behind).map(Sleep::take) {
                None => {}
                Some(Mark::Nothing) => self.position = state.end(),
                Some(Mark::From(first)) => self.position = self.position.max(first),
                // Where the ring still has all since, that is read.
                Some(Mark::Lost) if state.from(self.position).is_some() => {}
                Some(Mark::Lost) => return Err(lost()),
            }
            let begin = *from.get_or_insert(self.position);
            if let Some(run) = shape.and_then(|shape| self.cache.runs().find(shape, begin)) {
                self.position = run.to;
                self.behind = self.position < state.end();
                if !self.behind {
                    self.sleep.as_ref().map(Sleep::take);
                }
                return Ok(Taken::Run(run));
            }
            let events = state.from(self.position).ok_or_else(lost)?;
            let mut seen = 0;
            let mut over = false;
            for event in events.take(BATCH) {
                over = event.is_end();
                if over {
                    break;
                }
                seen += 1;
                if event.revision > self.after {
                    items.extend(self.item(event));
                }
            }
            self.position += seen;
            if over && items.is_empty() {
                return Ok(Taken::End);
            }
            self.behind = self.position < state.end();
            let span = shape.map(|_| (begin, self.position));
            if state.last() >= self.after {
                // All that comes is wanted.
                self.after = 0;
            }
            if !self.behind {
                // All that was told of has been read.
                self.sleep.as_ref().map(Sleep::take);
                return Ok(Taken::Items { items, revision: state.last().max(core.revision()), span });
            }
            if !items.is_empty() {
                return Ok(Taken::Items { items, revision: 0, span });
            }
        }
    }

    fn item(&self, event: &Event) -> Option<Item> {
        let selects = |held: &Option<Held>| held.as_ref().is_some_and(|held| self.selection.selects(held));
        let version = |held: &Held| in_version(&self.resource, held.object.clone());
        if self.selection.is_late() {
            let seen = |held: &Option<Held>| {
                held.as_ref().filter(|held| self.selection.selects(held)).map(|held| held.object.clone())
            };
            let (old, new) = (seen(&event.old), seen(&event.new));
            let last = event.old.as_ref().or(event.new.as_ref()).filter(|_| old.is_some() || new.is_some())?;
            let gone = event.gone.clone().or_else(|| with_revision(&last.object, event.revision))?;
            return Some(Item::Undecided(Box::new(Undecided { old, new, gone })));
        }
        match (selects(&event.old), selects(&event.new)) {
            (false, false) => None,
            (false, true) => event.new.as_ref().map(|new| Item::Added(version(new))),
            (true, true) => event.new.as_ref().map(|new| Item::Modified(version(new))),
            (true, false) => {
                let gone = match &event.gone {
                    Some(gone) => Some(gone.clone()),
                    // It is still there but no longer selected: to this watcher it went at this revision.
                    None => event.old.as_ref().and_then(|old| with_revision(&old.object, event.revision)),
                };
                gone.map(|gone| Item::Deleted(in_version(&self.resource, gone)))
            }
        }
    }

    /// What [`Cursor::take`] gave in the version that the client asks for, where a webhook must be asked for that.
    ///
    /// # Errors
    /// What the webhook said.
    pub(crate) async fn convert(&self, core: &Core, items: Vec<Item>) -> Result<Vec<Item>, ApiError> {
        if !crd::converts_by_webhook(&self.resource) {
            return Ok(items);
        }
        let objects = items.iter().flat_map(Item::objects).cloned().collect();
        let mut converted = crd::convert::objects(core, &self.resource, objects).await?.into_iter();
        let items = items.into_iter();
        Ok(items.filter_map(|item| item.converted(&mut converted, &self.selection)).collect())
    }

    /// Waits until there may be something to take.
    pub(crate) async fn wait(&mut self) {
        // The sender lives in the cache that this cursor holds, so waiting cannot fail.
        let _ = self.changed.changed().await;
    }
}

pub(crate) struct InProcessWatch {
    pub core: Arc<Core>,
    pub cursor: Cursor,
    pub audit: Record,
    /// Its writers wait for it as for one over HTTP.
    pub _watched: Option<Watched>,
}

impl Drop for InProcessWatch {
    fn drop(&mut self) {
        self.audit.stage(AuditStage::ResponseComplete);
    }
}

impl WatchSource for InProcessWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<WatchEvent>, ApiError>> {
        Box::pin(async move {
            loop {
                let items = match self.cursor.take(&self.core, None)? {
                    Taken::Items { items, .. } => items,
                    Taken::Run(_) => continue,
                    Taken::End => return Err(ApiError::expired("what is watched was defined anew")),
                };
                let items = self.cursor.convert(&self.core, items).await?;
                if !items.is_empty() {
                    let events = items.into_iter().filter_map(|item| match item {
                        Item::Added(object) => Some(WatchEvent::Added(object)),
                        Item::Modified(object) => Some(WatchEvent::Modified(object)),
                        Item::Deleted(object) => Some(WatchEvent::Deleted(object)),
                        Item::InitialEnd(revision) => Some(WatchEvent::Bookmark(revision.to_string())),
                        // It has been decided.
                        Item::Undecided(_) => None,
                    });
                    return Ok(events.collect());
                }
                if self.core.stop.or(self.cursor.wait()).await.is_none() {
                    return Err(ApiError::new(Reason::ServiceUnavailable, "the API server is shutting down"));
                }
            }
        })
    }
}
