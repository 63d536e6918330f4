//! Which processes are this region, by the hosts under which clients reach their AWS endpoints.
//!
//! A token for a cluster is a request to STS that was never sent, signed for a host. It is as good in one process as in another: both
//! know the key, and both are the STS of this region. So API servers accept the hosts of all of them; a process is known for
//! longer than a token lives after it was last heard of.

use std::sync::Arc;
use std::time::Duration;

use store::{Keyspace, LeaseId, Op, Txn};

use crate::Inner;

/// Where they are, each under its host.
const PROCESSES: &str = "/region/processes/";
/// How long a process is known that is not heard of: longer than the fifteen minutes that a token lives.
const KNOWN: Duration = Duration::from_secs(3600);
/// Between two signs of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(600);
/// After an error that may pass.
const RETRY: Duration = Duration::from_secs(5);
/// Bytes of a host that is looked for; no longer name has an address.
const MAX_HOST_BYTES: usize = 300;

/// The hosts under which clients of one process sign.
pub(crate) fn hosts(endpoint: &str) -> Vec<String> {
    let host = endpoint.trim_start_matches("http://").to_owned();
    let port = host.rsplit_once(':').map(|(_, port)| port.to_owned());
    let mut hosts = vec![host];
    hosts.extend(port.map(|port| format!("localhost:{port}")));
    hosts
}

/// Whether a host is that of a process of this region, in this process or another.
///
/// # Errors
/// The store's.
pub(crate) async fn is_known(inner: &Inner, host: &str) -> Result<bool, store::StoreError> {
    if host.is_empty() || host.len() > MAX_HOST_BYTES {
        return Ok(false);
    }
    Ok(space(inner).get(host.to_owned()).await?.is_some())
}

fn space(inner: &Inner) -> Keyspace {
    inner.store.keyspace(PROCESSES)
}

/// Makes this process known for as long as it runs.
pub(crate) fn run(inner: &Arc<Inner>) {
    let (region, stop) = (Arc::downgrade(inner), inner.tasks.stop());
    inner.tasks.spawn("process", async move {
        let mut lease = None;
        while let Some(inner) = region.upgrade() {
            let Some(known) = stop.or(announce(&inner, lease)).await else { return };
            lease = known.ok();
            let pause = inner.world.sleep(if lease.is_some() { SIGN_OF_LIFE } else { RETRY });
            drop(inner);
            if stop.or(pause).await.is_none() {
                return;
            }
        }
    });
}

/// Prolongs the lease, or begins one with the hosts of this process; returns it.
async fn announce(inner: &Inner, lease: Option<LeaseId>) -> Result<LeaseId, store::StoreError> {
    if let Some(lease) = lease {
        return inner.store.lease_keep_alive(lease).await.map(|lease| lease.id);
    }
    let lease = inner.store.lease_grant(KNOWN, None).await?.id;
    let put = |host: String| Op::Put { key: host.into(), value: Default::default(), lease, prev_kv: false };
    let txn = hosts(&inner.endpoint).into_iter().fold(Txn::default(), |txn, host| txn.then(put(host)));
    space(inner).txn(txn).await?;
    Ok(lease)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_on_the_same_machine_may_say_localhost() {
        assert_eq!(hosts("http://127.0.0.1:4566"), ["127.0.0.1:4566", "localhost:4566"]);
        assert_eq!(hosts("http://minato.internal"), ["minato.internal"]);
    }
}
