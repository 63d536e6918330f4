//! Priority and fairness (KEP-1040): requests are put into classes, classes have seats, and within a class flows take turns.
//!
//! The configuration is a snapshot that is made anew when its objects change, by the next request. Seats are lent between classes
//! every ten seconds, by the first request or answer after that. So nothing runs when nothing is asked.

mod allocate;
mod config;
mod demand;
mod dump;
mod estimate;
mod metrics;
mod queues;
mod ratios;
mod retry_after;
mod status;
mod watches;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use http::{HeaderValue, Uri};
use k8s_client::Request;
use k8s_object::UserInfo;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use world::{Tasks, World};

use crate::core::Core;
use crate::metrics::Page;
use allocate::{Part, allocate};
use config::{CATCH_ALL, EXEMPT, LevelSpec, Response, Schema};
use demand::Stats;
use metrics::Rejected;
use queues::{Answer, Applicant, Finished, QueueSet};
use retry_after::RetryAfter;

pub(crate) use config::{Asked, GROUP};
pub(crate) use status::keep as keep_status;
pub(crate) use watches::{Watched, Watches};

/// How often levels lend each other seats.
const ADJUST_EVERY: Duration = Duration::from_secs(10);
/// Seats of the server. A control plane of EKS's standard tier begins with 600, which are upstream's defaults, and grows to 2,000 with its
/// load; here there is nothing to wait for.
const SEATS: usize = 2000;
/// Part of its level's seats that one request may have.
const MAX_SEATS_FRACTION: f64 = 0.15;
/// How long any request may wait in a queue.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(60);

/// What the requests of a level share, whatever becomes of its configuration.
struct Shared {
    queues: Mutex<QueueSet>,
    /// Demand, and the seats that the level should have.
    stats: Mutex<(Stats, f64)>,
}

impl Shared {
    fn queues(&self) -> MutexGuard<'_, QueueSet> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stats(&self) -> MutexGuard<'_, (Stats, f64)> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Level {
    spec: LevelSpec,
    /// Not configured any more, but not idle yet.
    quiescing: bool,
    nominal: usize,
    lower: usize,
    upper: usize,
    shared: Arc<Shared>,
}

impl Level {
    /// Seats that one request may have; upstream says nothing for levels that do not queue.
    fn most_seats(&self) -> Option<usize> {
        let Response::Queue { hand, .. } = self.spec.response else { return None };
        let part = (self.nominal as f64 * MAX_SEATS_FRACTION).ceil() as usize;
        Some(part.min(self.nominal / hand).max(1))
    }
}

#[derive(Default)]
struct Snapshot {
    /// In the order in which they are tried.
    schemas: Vec<Arc<Schema>>,
    levels: BTreeMap<String, Arc<Level>>,
}

pub(crate) struct Flow {
    world: World,
    tasks: Tasks,
    seats: usize,
    snapshot: RwLock<Arc<Snapshot>>,
    stale: AtomicBool,
    /// Whoever takes in a configuration, so that none is overwritten by one that was read before it.
    digesting: Mutex<()>,
    /// Milliseconds of [`World::elapsed`] at which seats are lent anew.
    adjust_at: AtomicU64,
    /// The fraction of its target that each level has got, as bits.
    fair: AtomicU64,
    pub watches: Arc<Watches>,
    retry_after: Mutex<RetryAfter>,
}

/// A request that goes through the queues.
pub(crate) struct Entrant<'a> {
    pub asked: Asked<'a>,
    pub user: &'a Arc<UserInfo>,
    pub verb: &'static str,
    pub uri: &'a Uri,
    /// Of a request for a resource.
    pub request: Option<&'a Request>,
    /// Whether a watch begins with all there is.
    pub initial_events: bool,
    /// How long it may wait.
    pub patience: Duration,
}

/// Where a request was put.
#[derive(Clone)]
pub(crate) struct Class {
    pub schema_uid: HeaderValue,
    pub level_uid: HeaderValue,
}

/// The place of a running request. Dropped, its seats are free for others.
pub(crate) struct Seat {
    flow: Arc<Flow>,
    schema: Arc<Schema>,
    shared: Arc<Shared>,
    id: u64,
    watch: bool,
    /// Set once it runs.
    began: Option<Duration>,
}

impl Flow {
    pub(crate) fn new(world: &World, tasks: &Tasks) -> Arc<Flow> {
        Flow::with_seats(world, tasks, SEATS)
    }

    fn with_seats(world: &World, tasks: &Tasks, seats: usize) -> Arc<Flow> {
        let flow = Flow {
            world: world.clone(),
            tasks: tasks.clone(),
            seats,
            snapshot: RwLock::default(),
            stale: AtomicBool::new(true),
            digesting: Mutex::default(),
            adjust_at: AtomicU64::new(0),
            fair: AtomicU64::new(0),
            watches: Arc::default(),
            retry_after: Mutex::default(),
        };
        // Requests may come while the first of them takes in the configuration: they find what must always be there.
        flow.digest(Vec::new(), Vec::new());
        Arc::new(flow)
    }

    /// A request of a class was turned away; returns in how many seconds its client should come back.
    pub(crate) fn turned_away(&self, class: &Class) -> i64 {
        let mut all = self.retry_after.lock().unwrap_or_else(PoisonError::into_inner);
        all.dropped(class.level_uid.as_bytes(), self.world.now().seconds())
    }

    /// Objects of the configuration have changed.
    pub(crate) fn changed(&self) {
        self.stale.store(true, Ordering::Release);
    }

    fn snapshot(&self, core: &Core) -> Arc<Snapshot> {
        if self.stale.load(Ordering::Acquire) {
            let _turn = self.digesting.lock().unwrap_or_else(PoisonError::into_inner);
            if self.stale.swap(false, Ordering::AcqRel) {
                let schemas = core.lookup_all(GROUP, "flowschemas", "");
                let schemas = schemas.iter().map(|object| Schema::read(object)).collect();
                let levels = core.lookup_all(GROUP, "prioritylevelconfigurations", "");
                let levels = levels.iter().filter_map(|object| LevelSpec::read(object)).collect();
                self.digest(schemas, levels);
            }
        }
        let now = self.world.elapsed();
        if now.as_millis() as u64 >= self.adjust_at.load(Ordering::Relaxed) {
            self.adjust(now);
        }
        self.current()
    }

    fn current(&self) -> Arc<Snapshot> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes in a configuration. What was counted and what waits of schemas and levels that stay is kept.
    fn digest(&self, mut schemas: Vec<Schema>, mut specs: Vec<LevelSpec>) {
        let now = self.world.elapsed();
        let mut snapshot = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        for name in [EXEMPT, CATCH_ALL] {
            if !specs.iter().any(|spec| spec.name == name) {
                specs.push(LevelSpec::mandatory(name));
            }
        }
        schemas.retain(|schema| specs.iter().any(|spec| spec.name == schema.level));
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        // What must be there is first or last whatever precedence others have.
        if !schemas.iter().any(|schema| schema.name == EXEMPT) {
            schemas.insert(0, Schema::mandatory(EXEMPT));
        }
        if !schemas.iter().any(|schema| schema.name == CATCH_ALL) {
            schemas.push(Schema::mandatory(CATCH_ALL));
        }
        let gone = snapshot.levels.values().filter(|old| !specs.iter().any(|spec| spec.name == old.spec.name));
        let busy: Vec<LevelSpec> =
            gone.filter(|old| !old.shared.queues().is_idle()).map(|old| old.spec.clone()).collect();
        let quiescing = |name: &str| busy.iter().any(|spec| spec.name == name);
        let shares: f64 = specs.iter().chain(&busy).map(|spec| spec.shares).sum();
        let mut levels = BTreeMap::new();
        for spec in specs.iter().chain(&busy) {
            let nominal = if shares > 0.0 { (self.seats as f64 * spec.shares / shares).ceil() } else { 0.0 };
            let lendable = (nominal * spec.lendable_percent / 100.0).round();
            let borrowing =
                spec.borrowing_percent.map_or(self.seats as f64, |percent| (nominal * percent / 100.0).round());
            let shared = snapshot.levels.get(&spec.name).map(|old| old.shared.clone()).unwrap_or_else(|| {
                let limit = (nominal - (lendable / 2.0).floor()) as usize;
                let queues = QueueSet::new(spec.response, limit, now);
                Arc::new(Shared { queues: Mutex::new(queues), stats: Mutex::default() })
            });
            let level = Level {
                quiescing: quiescing(&spec.name),
                nominal: nominal as usize,
                lower: (nominal - lendable) as usize,
                upper: (nominal + borrowing) as usize,
                shared,
                spec: spec.clone(),
            };
            levels.insert(spec.name.clone(), Arc::new(level));
        }
        for schema in &mut schemas {
            let same = |old: &&Arc<Schema>| (&old.name, &old.level) == (&schema.name, &schema.level);
            if let Some(old) = snapshot.schemas.iter().find(same) {
                schema.counts = old.counts.clone();
            }
        }
        *snapshot = Arc::new(Snapshot { schemas: schemas.into_iter().map(Arc::new).collect(), levels });
        self.lend(&snapshot, now);
    }

    fn adjust(&self, now: Duration) {
        // Under the lock of the configuration, so that two do not lend at once.
        let snapshot = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        if now.as_millis() as u64 >= self.adjust_at.load(Ordering::Relaxed) {
            self.lend(&snapshot, now);
        }
    }

    /// Gives each level seats by its demand, within what it may lend and borrow.
    fn lend(&self, snapshot: &Snapshot, now: Duration) {
        self.adjust_at.store((now + ADJUST_EVERY).as_millis() as u64, Ordering::Relaxed);
        let total: usize = snapshot.levels.values().map(|level| level.nominal).sum();
        let mut left = total as i64;
        let (mut lower, mut needed) = (0_i64, 0_i64);
        let (mut parts, mut least) = (Vec::new(), Vec::new());
        for level in snapshot.levels.values() {
            let mut stats = level.shared.stats();
            level.shared.queues().demand.period(&mut stats.0, now);
            let most = stats.0.high_watermark as usize;
            if level.spec.response == Response::Exempt {
                let seats = level.lower.max(most);
                left -= seats as i64;
                least.push(seats);
                stats.1 = seats as f64;
                continue;
            }
            let seats = level.lower.max(level.nominal.min(most));
            least.push(seats);
            lower += level.lower as i64;
            needed += seats as i64;
            let part = Part {
                lower: seats as f64,
                upper: level.upper.max(seats) as f64,
                target: stats.0.smoothed.max(seats as f64),
            };
            stats.1 = part.target;
            parts.push(part);
        }
        let (mut fair, mut allocated) = (0.0, None);
        if left > needed
            && let Some((allocations, fraction)) = allocate(total as f64, &parts)
        {
            (fair, allocated) = (fraction, Some(allocations));
        }
        self.fair.store(f64::to_bits(fair), Ordering::Relaxed);
        let share = if needed > lower { (left - lower).max(0) as f64 / (needed - lower) as f64 } else { 0.0 };
        let mut allocated = allocated.map(Vec::into_iter);
        for (level, least) in snapshot.levels.values().zip(least) {
            let mut queues = level.shared.queues();
            let limit = if level.spec.response == Response::Exempt {
                least
            } else if let Some(allocated) = &mut allocated {
                allocated.next().unwrap_or(0.0).round() as usize
            } else if left > needed {
                // No allocation is possible: what there is stays.
                queues.limit
            } else {
                level.lower + ((least - level.lower) as f64 * share).round() as usize
            };
            queues.nominal = level.nominal;
            queues.configure(level.spec.response, limit, now);
        }
    }

    /// Puts a request in its class, and in a queue if it has to wait.
    pub(crate) fn enter(self: &Arc<Flow>, core: &Core, entrant: Entrant<'_>) -> (Class, Place) {
        let snapshot = self.snapshot(core);
        let asked = &entrant.asked;
        let schema = snapshot.schemas.iter().find(|schema| schema.matches(asked));
        // The catch-all takes what nothing matches, whatever its rules are by now.
        let schema = schema.or_else(|| snapshot.schemas.iter().find(|schema| schema.name == CATCH_ALL));
        let (Some(schema), Some(level)) = (schema, schema.and_then(|schema| snapshot.levels.get(&schema.level))) else {
            unreachable!("a digest has the catch-all and the level of every schema");
        };
        let class = Class { schema_uid: schema.uid.clone(), level_uid: level.spec.uid.clone() };
        let work = match entrant.request {
            Some(request) => {
                let most = level.most_seats();
                estimate::estimate(core, &self.watches, schema, most, request, entrant.initial_events)
            }
            None => estimate::ONE,
        };
        schema.counts.seats(work.seats());
        let hash = match level.spec.response {
            Response::Queue { queues, .. } if queues > 1 => flow_hash(&schema.name, schema.flow(asked)),
            _ => 0,
        };
        let applicant = Applicant {
            schema: schema.clone(),
            work,
            hash,
            user: entrant.user.clone(),
            verb: entrant.verb,
            uri: entrant.uri.clone(),
        };
        let now = self.world.elapsed();
        let answer = level.shared.queues().start(applicant, now);
        let seat = |id| Seat {
            flow: self.clone(),
            schema: schema.clone(),
            shared: level.shared.clone(),
            id,
            watch: entrant.verb == "watch",
            began: None,
        };
        let exempt = level.spec.response == Response::Exempt;
        let place = match answer {
            Answer::Run(id) => {
                let mut seat = seat(id);
                seat.begin(now, Duration::ZERO, exempt);
                Place::Seat(seat)
            }
            Answer::Wait(id, promise) => {
                Place::Queue(InQueue { seat: seat(id), promise, since: now, patience: entrant.patience.min(MAX_WAIT) })
            }
            Answer::Rejected(why) => {
                schema.counts.rejected(why);
                schema.counts.waited(Duration::ZERO, false);
                Place::None
            }
        };
        (class, place)
    }

    pub(crate) fn show(&self, core: &Core, page: &mut Page) {
        let snapshot = self.snapshot(core);
        let fair = f64::from_bits(self.fair.load(Ordering::Relaxed));
        metrics::show(&snapshot, fair, self.world.elapsed(), page);
    }
}

/// What a request got.
pub(crate) enum Place {
    Seat(Seat),
    Queue(InQueue),
    /// There is no room.
    None,
}

/// A request that waits for its seat.
pub(crate) struct InQueue {
    seat: Seat,
    promise: oneshot::Receiver<()>,
    since: Duration,
    patience: Duration,
}

impl InQueue {
    /// The seat; `None` when it did not come in time.
    pub(crate) async fn wait(self) -> Option<Seat> {
        let InQueue { mut seat, promise, since, patience } = self;
        let world = seat.flow.world.clone();
        // Whether the promise was kept or the time is over, the queue knows.
        let _ = world.timeout(patience, promise).await;
        let now = world.elapsed();
        let waited = now.saturating_sub(since);
        if seat.shared.queues().give_up(seat.id, now) {
            seat.schema.counts.rejected(Rejected::TimeOut);
            seat.schema.counts.waited(waited, false);
            seat.id = Seat::NONE;
            return None;
        }
        seat.begin(now, waited, false);
        Some(seat)
    }
}

impl Seat {
    /// The number of a seat that there is not.
    const NONE: u64 = u64::MAX;

    fn begin(&mut self, now: Duration, waited: Duration, exempt: bool) {
        self.began = Some(now);
        if !exempt {
            self.schema.counts.waited(waited, true);
        }
        self.schema.counts.dispatched.inc();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.id == Seat::NONE {
            return;
        }
        let now = self.flow.world.elapsed();
        let mut queues = self.shared.queues();
        // Its client may have gone while it waited.
        if self.began.is_none() && queues.give_up(self.id, now) {
            return;
        }
        if let Some(began) = self.began {
            self.schema.counts.executed(now.saturating_sub(began), self.watch);
        }
        if let Finished::Later { seats, queue, after } = queues.finish(self.id, now) {
            let (world, shared) = (self.flow.world.clone(), self.shared.clone());
            drop(queues);
            let release = world.sleep(after);
            self.flow.tasks.spawn("seat release", async move {
                release.await;
                shared.queues().release(seats, queue, world.elapsed());
            });
        }
    }
}

/// The hash that a flow is dealt its queues by.
fn flow_hash(schema: &str, flow: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(schema);
    hash.update([0]);
    hash.update(flow);
    let digest = hash.finalize();
    digest[..8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
