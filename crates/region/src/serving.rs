//! Which control planes run in this process: those of all clusters that are active, whichever process made them active.
//!
//! Only records of EKS say so. One task follows them; what it hears of a cluster makes it look at the record, so that a restart,
//! a lost watch and a call to another process are one path.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use cloud_eks::{Cluster, ClusterStatus, ControlPlaneSpec};
use store::Compare;

use crate::Inner;
use crate::control_plane::ControlPlane;

/// How long what a control plane runs may take to end.
const STOP: Duration = Duration::from_secs(5);
/// Before looking again at what could not be done.
const RETRY: Duration = Duration::from_secs(1);

/// What the record of a cluster says about its control plane.
enum Wanted {
    Running(Box<ControlPlaneSpec>),
    /// The leader is about to start it, or could not.
    AsItIs,
    Gone,
}

fn wanted(record: Option<&Cluster>) -> Wanted {
    let Some(cluster) = record else { return Wanted::Gone };
    if cluster.restoring.is_some() {
        // Until its objects are complete.
        return Wanted::Gone;
    }
    match cluster.status {
        ClusterStatus::Active | ClusterStatus::Updating => Wanted::Running(Box::new(cluster.control_plane())),
        ClusterStatus::Creating | ClusterStatus::Failed => Wanted::AsItIs,
        ClusterStatus::Deleting => Wanted::Gone,
    }
}

/// Starts following the records of clusters.
pub(crate) fn run(inner: &Arc<Inner>) {
    let (region, stop) = (Arc::downgrade(inner), inner.tasks.stop());
    inner.tasks.spawn("control planes", async move {
        while let Some(inner) = region.upgrade() {
            if stop.or(follow(&inner)).await.is_none() || stop.or(inner.world.sleep(RETRY)).await.is_none() {
                return;
            }
        }
    });
}

/// Follows clusters until the watch is lost.
async fn follow(inner: &Arc<Inner>) {
    let Ok((mut names, mut watch)) = inner.eks.follow_clusters().await else { return };
    // Those whose end was not heard of.
    names.extend(inner.control_planes().iter().map(|plane| plane.spec.name.clone()));
    loop {
        for name in std::mem::take(&mut names) {
            align(inner, name);
        }
        match watch.next().await {
            Ok(changed) => names = changed,
            Err(_) => return,
        }
    }
}

/// Makes the control plane of a cluster be as its record says, in the background: clusters do not wait for each other.
fn align(inner: &Arc<Inner>, cluster: String) {
    let (region, stop) = (Arc::downgrade(inner), inner.tasks.stop());
    inner.tasks.spawn("control plane", async move {
        while let Some(inner) = region.upgrade() {
            if !matches!(stop.or(inner.align_once(&cluster)).await, Some(Err(_))) {
                return;
            }
            // Others that fail meanwhile leave it to this one to try again.
            if !inner.retrying().insert(cluster.clone()) {
                return;
            }
            let waited = stop.or(inner.world.sleep(RETRY)).await;
            inner.retrying().remove(&cluster);
            if waited.is_none() {
                return;
            }
        }
    });
}

impl Inner {
    fn retrying(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.retrying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn of those who start and stop the control plane of a cluster, one after the other.
    fn turn(&self, cluster: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody waits for are made anew when they are wanted.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(cluster.to_owned()).or_default().clone()
    }

    async fn align_once(self: &Arc<Inner>, cluster: &str) -> Result<(), String> {
        let turn = self.turn(cluster);
        let _turn = turn.lock().await;
        let record = self.eks.cluster(cluster).await.map_err(|error| error.to_string())?;
        match wanted(record.as_ref()) {
            Wanted::Running(spec) => self.have(&spec, None).await.map(drop),
            Wanted::AsItIs => Ok(()),
            Wanted::Gone => {
                self.have_not(cluster).await;
                Ok(())
            }
        }
    }

    /// Starts a control plane here, or finds the one that runs. With the guard of a term it may be one that never ran anywhere.
    pub(crate) async fn ensure_plane(
        self: &Arc<Inner>,
        spec: &ControlPlaneSpec,
        guard: Option<&Compare>,
    ) -> Result<Arc<ControlPlane>, String> {
        let turn = self.turn(&spec.name);
        let _turn = turn.lock().await;
        self.have(spec, guard).await
    }

    async fn have(
        self: &Arc<Inner>,
        spec: &ControlPlaneSpec,
        guard: Option<&Compare>,
    ) -> Result<Arc<ControlPlane>, String> {
        match self.control_plane(&spec.name) {
            Some(running) if running.is_current(self, spec).await? => {
                running.configure(self, &spec.settings)?;
                return Ok(running);
            }
            // One that was restored, or of a cluster of the same name that was deleted.
            Some(_) => self.have_not(&spec.name).await,
            None => {}
        }
        let plane = ControlPlane::start(self, spec, guard).await?;
        self.clusters().insert(spec.name.clone(), plane.clone());
        if let Some(lead) = self.lead() {
            lead.take_on(self, &plane);
        }
        Ok(plane)
    }

    /// Stops a control plane here; its data stays.
    pub(crate) async fn stop_plane(&self, cluster: &str) {
        let turn = self.turn(cluster);
        let _turn = turn.lock().await;
        self.have_not(cluster).await;
    }

    async fn have_not(&self, cluster: &str) {
        let Some(plane) = self.clusters().remove(cluster) else { return };
        if let Some(lead) = self.lead() {
            lead.let_go(cluster).await;
        }
        plane.stop(STOP).await;
    }
}
