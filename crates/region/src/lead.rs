//! What one process of all that serve the region does: the life cycles of EKS and EC2, nodes, and the components of every cluster.
//!
//! An [election] says which. Everything here begins with a term and ends before the term can have ended in the store; what
//! writes all the same, because it was stopped in the midst of something, is fenced by the term's guard. Nothing is kept in
//! memory that the next leader would need: it finds all of it in the store.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use cloud_ec2::Ec2;
use cloud_eks::{Eks, EksParts};
use cloud_wire::AwsError;
use election::{Election, Term};
use store::{Compare, Keyspace, StoreError};
use tokio::sync::Notify;
use world::{BoxFuture, Stop, Tasks};

use crate::components::Components;
use crate::control_plane::ControlPlane;
use crate::planes::Planes;
use crate::{Inner, nodes, restore};

/// The key of the election. The region's own: a store holds one region.
const KEY: &str = "/region/leader";
/// How long what a term runs may take to end: less than [`election::MARGIN`], which is what there is when the term was lost.
const END: Duration = Duration::from_millis(500);
const _: () = assert!(END.as_millis() < election::MARGIN.as_millis());
/// How long a request that needs the leader waits for the election: for longer than one takes after a crash.
const UNDECIDED: Duration = Duration::from_secs(5);
/// Between two looks meanwhile.
const LOOK: Duration = Duration::from_millis(20);
/// Before a new term after one that could not begin.
const RETRY: Duration = Duration::from_secs(1);

/// The work of one term.
pub(crate) struct Lead {
    guard: Compare,
    tasks: Tasks,
    /// The services, writing under the guard of the term.
    pub(crate) ec2: Ec2,
    pub(crate) eks: Eks,
    clusters: Mutex<Clusters>,
    /// Told when components of a cluster have started, for those who look at what belongs to it.
    pub(crate) started: Notify,
}

#[derive(Default)]
struct Clusters {
    running: BTreeMap<String, Arc<Components>>,
    /// Whether anything may start.
    open: bool,
}

/// Campaigns, and leads when it has won, until the region stops.
pub(crate) fn run(inner: &Arc<Inner>) {
    let election = Election::new(&inner.world, &inner.store, KEY, &inner.endpoint);
    let (region, stop) = (Arc::downgrade(inner), inner.tasks.stop());
    inner.tasks.spawn("leader", async move {
        // The store has closed when a campaign fails.
        while let Some(Ok(term)) = stop.or(election.campaign()).await {
            let Some(inner) = region.upgrade() else { return };
            serve(&inner, &term, &stop).await;
            term.resign().await;
            if stop.is_stopped() {
                return;
            }
        }
    });
}

/// Leads until the term is over or the region stops.
async fn serve(inner: &Arc<Inner>, term: &Term, stop: &Stop) {
    let lead = Lead::new(inner, term.guard());
    *inner.lead_slot() = Some(lead.clone());
    tokio::select! {
        biased;
        () = stop.stopped() => {}
        () = term.keep() => {}
        () = lead.work(inner) => {}
    }
    *inner.lead_slot() = None;
    lead.end().await;
}

impl Inner {
    /// What this process does as the leader. Waits while it is not decided who leads.
    ///
    /// # Errors
    /// If it does not lead, with the address of the one that does.
    pub(crate) async fn lead_or_refuse(&self) -> Result<Arc<Lead>, AwsError> {
        let give_up = self.world.elapsed() + UNDECIDED;
        let leader = loop {
            if let Some(lead) = self.lead() {
                return Ok(lead);
            }
            match self.leader().await.map_err(|error| AwsError::internal(error.to_string()))? {
                Some(leader) if leader != self.endpoint => break format!("ask the one that does, at {leader}"),
                _ if self.world.elapsed() >= give_up => break "none does at the moment; ask again".to_owned(),
                _ => self.world.sleep(LOOK).await,
            }
        };
        let message = format!("The process at {} does not lead the region: {leader}", self.endpoint);
        Err(AwsError::new("ServiceUnavailableException", 503, message))
    }

    /// The endpoint of the process that leads the region.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn leader(&self) -> Result<Option<String>, StoreError> {
        let found = self.store.get(KEY).await?;
        Ok(found.map(|kv| String::from_utf8_lossy(&kv.value).into_owned()))
    }
}

impl Lead {
    fn new(inner: &Arc<Inner>, guard: Compare) -> Arc<Lead> {
        let tasks = inner.world.tasks("lead");
        let (iam, ec2) = (inner.iam.guarded(guard.clone()), inner.ec2.guarded(guard.clone()));
        let planes = Planes::default();
        planes.connect(inner, Some(guard.clone()));
        let eks = Eks::new(EksParts {
            world: inner.world.clone(),
            space: inner.eks_space().guarded(guard.clone()),
            iam,
            ec2: ec2.clone(),
            planes: Arc::new(planes),
            pace: inner.pace.eks(),
            tasks: tasks.clone(),
        });
        Arc::new(Lead { guard, tasks, ec2, eks, clusters: Mutex::default(), started: Notify::new() })
    }

    /// Starts everything; returns only if it cannot.
    async fn work(self: &Arc<Lead>, inner: &Arc<Inner>) {
        // Before anything looks at a cluster: one that is half restored is none.
        let begun = match restore::recover(inner, self).await {
            Ok(()) => {
                self.ec2.run(&self.tasks);
                nodes::run(inner, self);
                self.open(inner);
                self.eks.run().await
            }
            failed => failed,
        };
        match begun {
            Ok(()) => std::future::pending().await,
            Err(_) => inner.world.sleep(RETRY).await,
        }
    }

    /// Takes on the control planes that run, and those that start from now on.
    fn open(&self, inner: &Inner) {
        self.clusters().open = true;
        for plane in inner.control_planes() {
            self.take_on(inner, &plane);
        }
    }

    fn clusters(&self) -> MutexGuard<'_, Clusters> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What holds as long as the term does.
    pub(crate) fn guard(&self) -> &Compare {
        &self.guard
    }

    /// All of the store, under the guard of the term.
    pub(crate) fn space(&self, inner: &Inner) -> Keyspace {
        inner.store.keyspace("").guarded(self.guard.clone())
    }

    /// The tasks that end with the term.
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// The components of a cluster that run.
    pub(crate) fn components(&self, cluster: &str) -> Option<Arc<Components>> {
        self.clusters().running.get(cluster).cloned()
    }

    /// Starts the components of a control plane that runs here, unless they run.
    pub(crate) fn take_on(&self, inner: &Inner, plane: &Arc<ControlPlane>) {
        let mut clusters = self.clusters();
        let name = &plane.spec.name;
        if !clusters.open || clusters.running.get(name).is_some_and(|own| Arc::ptr_eq(&own.plane, plane)) {
            return;
        }
        let components = Components::start(&inner.world, inner.pace, plane, &self.guard, &self.eks);
        clusters.running.insert(name.clone(), Arc::new(components));
        drop(clusters);
        self.started.notify_one();
    }

    /// Ends the components of a cluster, whose control plane is about to stop.
    pub(crate) async fn let_go(&self, cluster: &str) {
        let components = self.clusters().running.remove(cluster);
        if let Some(components) = components {
            components.stop(END).await;
        }
    }

    /// Nothing starts any more; what has to be ended.
    fn close(&self) -> Vec<Arc<Components>> {
        let mut clusters = self.clusters();
        clusters.open = false;
        std::mem::take(&mut clusters.running).into_values().collect()
    }

    /// Ends all of it at the same time.
    async fn end(&self) {
        let components = self.close();
        let mut ends: Vec<BoxFuture<'_, ()>> = vec![Box::pin(async {
            self.tasks.shutdown(END).await;
        })];
        ends.extend(components.iter().map(|own| Box::pin(own.stop(END)) as BoxFuture<'_, ()>));
        poll_fn(|context| {
            ends.retain_mut(|end| end.as_mut().poll(context).is_pending());
            if ends.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Ends all of it in the midst of whatever it does.
    pub(crate) fn abort(&self) {
        self.tasks.abort();
        self.close().iter().for_each(|own| own.abort());
    }
}
