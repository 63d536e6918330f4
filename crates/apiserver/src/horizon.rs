//! How far back lists may ask. The store remembers more, for those who bring back a cluster; clients of the API are told that what
//! is older than some minutes is gone, as upstream tells them after it has compacted, so that nobody comes to rely on more.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use store::Revision;

use crate::core::Core;

/// How often upstream compacts, to what was the present at the time before (apiserver `DefaultCompactInterval`).
const INTERVAL: Duration = Duration::from_secs(5 * 60);

/// The oldest state that lists may ask for.
#[derive(Default)]
pub(crate) struct Horizon(AtomicI64);

impl Horizon {
    /// Whether a state is no longer to be had.
    pub(crate) fn hides(&self, revision: Revision) -> bool {
        revision < self.0.load(Ordering::Relaxed)
    }
}

/// Moves the horizon, until it is dropped.
pub(crate) async fn run(core: &Core) {
    let mut next = core.revision();
    loop {
        core.world.sleep(INTERVAL).await;
        core.horizon.0.store(next, Ordering::Relaxed);
        next = core.revision();
    }
}
