//! What a server does beside answering requests, and whether it still does: health checks tell.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use world::Tasks;

use crate::core::Core;

/// One thing that a server does for as long as it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    WatchCache,
    Horizon,
    Definitions,
    Defaults,
    FlowSchemaStatus,
    PolicyTypes,
    AccountSecrets,
    ApiServices,
    Availability,
    Discovery,
    Documents,
    Lease,
}

impl Duty {
    /// The name of its task.
    const fn name(self) -> &'static str {
        match self {
            Duty::WatchCache => "watch cache",
            Duty::Horizon => "horizon of lists",
            Duty::Definitions => "custom resource definitions",
            Duty::Defaults => "defaults of the cluster",
            Duty::FlowSchemaStatus => "flow schema status",
            Duty::PolicyTypes => "types of policies",
            Duty::AccountSecrets => "secrets of service accounts",
            Duty::ApiServices => "API services",
            Duty::Availability => "API service availability",
            Duty::Discovery => "discovery of other servers",
            Duty::Documents => "OpenAPI of other servers",
            Duty::Lease => "lease of the server",
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Which duties are done now: a bit each.
#[derive(Default)]
pub(crate) struct Duties(AtomicU32);

impl Duties {
    pub(crate) fn does(&self, duty: Duty) -> bool {
        self.0.load(Ordering::Relaxed) & duty.bit() != 0
    }
}

/// Says that a duty is done for as long as it lives.
struct UnderWay(Arc<Core>, Duty);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.duties.0.fetch_and(!self.1.bit(), Ordering::Relaxed);
    }
}

/// Begins a duty, which ends with `tasks`; one that ends before is missed.
pub(crate) fn begin<F>(core: &Arc<Core>, tasks: &Tasks, duty: Duty, run: impl FnOnce(Arc<Core>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    core.duties.0.fetch_or(duty.bit(), Ordering::Relaxed);
    let (under_way, stop, future) = (UnderWay(core.clone(), duty), tasks.stop(), run(core.clone()));
    tasks.spawn(duty.name(), async move {
        let _under_way = under_way;
        stop.or(future).await;
    });
}
