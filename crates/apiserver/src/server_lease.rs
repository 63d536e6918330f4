//! The Lease in kube-system that says that this API server is there, and the end of those whose servers are gone (kube-apiserver's
//! `APIServerIdentity`, `apiserverleasegc`).
//!
//! It is renewed as often as upstream does it. What that costs an idle cluster is a write every ten seconds, as much as one node.

use std::sync::Arc;
use std::time::Duration;

use k8s_client::{Request, Verb};
use k8s_object::views::Lease;
use k8s_object::{LabelSelector, Object, resources};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use world::Timestamp;

use crate::core::Core;
use crate::own_objects;

pub(crate) const NAMESPACE: &str = "kube-system";
const AGENT: &str = "kube-apiserver";
/// The label of such Leases, and whose they are.
const IDENTITY: &str = "apiserver.kubernetes.io/identity";
const HOSTNAME: &str = "kubernetes.io/hostname";
/// Seconds that a server counts as being there after it was last heard of.
const LASTS: i64 = 3600;
/// Between two renewals.
const RENEWAL: Duration = Duration::from_secs(10);
/// How many renewals pass between two looks for those that are gone (an hour).
const GONE: u32 = 360;

/// What the server is called: by its host, and by what it is (apiserver `NewConfig`).
fn name(host: &str) -> String {
    let mut digest = Sha256::new();
    for part in [host, AGENT] {
        // Lengths before, so that no two pairs are the same bytes.
        digest.update(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        digest.update(part);
    }
    format!("apiserver-{}", base32(&digest.finalize()[..16]))
}

/// RFC 4648's alphabet in lower case, without padding.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bit = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
    let digit = |at: usize| (at..at + 5).fold(0, |digit, at| digit << 1 | usize::from(bit(at)));
    (0..bytes.len() * 8).step_by(5).map(|at| char::from(ALPHABET[digit(at)])).collect()
}

/// The Lease as it is to be now. Whoever began it stays its holder.
pub(crate) fn object(core: &Core, before: Option<&Object>) -> Value {
    let name = name(&core.host);
    let mut lease = before.map_or_else(|| json!({"metadata": {"name": name, "namespace": NAMESPACE}}), Object::value);
    lease["apiVersion"] = json!("coordination.k8s.io/v1");
    lease["kind"] = json!("Lease");
    if before.is_none() {
        lease["spec"]["holderIdentity"] = json!(format!("{name}_{}", core.world.uuid()));
    }
    lease["spec"]["leaseDurationSeconds"] = json!(LASTS);
    lease["spec"]["renewTime"] = json!(core.world.now().to_micro_string());
    let labels = &mut lease["metadata"]["labels"];
    labels[IDENTITY] = json!(AGENT);
    labels[HOSTNAME] = json!(core.host);
    lease
}

/// Runs until it is dropped.
pub(crate) async fn keep(core: Arc<Core>) {
    let name = name(&core.host);
    for renewals in (0..GONE).cycle() {
        // What fails now is done the next time.
        let _ = own_objects::keep(&core, AGENT, &resources::LEASES, (NAMESPACE, &name), |lease| {
            let fresh = lease.is_some_and(|lease| renewed(lease).is_some_and(|at| core.world.now() < at + RENEWAL));
            (!fresh).then(|| object(&core, lease))
        })
        .await;
        if renewals == 0 {
            remove_gone(&core).await;
        }
        core.world.sleep(RENEWAL).await;
    }
}

fn renewed(lease: &Object) -> Option<Timestamp> {
    Timestamp::parse(lease.view::<Lease>().ok()?.spec.renew_time.as_ref()?).ok()
}

/// Whether nobody has renewed a Lease for longer than it lasts, or it does not say.
fn is_over(lease: &Object, now: Timestamp) -> bool {
    let lasts = lease.view::<Lease>().ok().and_then(|view| view.spec.lease_duration_seconds);
    let lasts = lasts.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    renewed(lease).zip(lasts).is_none_or(|(renewed, lasts)| renewed + lasts < now)
}

async fn remove_gone(core: &Core) {
    let Ok(own) = LabelSelector::parse(&format!("{IDENTITY}={AGENT}")) else { return };
    let leases = core.lookup_all(&resources::LEASES.group, &resources::LEASES.resource, NAMESPACE);
    let gone = leases.iter().filter(|lease| own.matches(&lease.meta().labels) && is_over(lease, core.world.now()));
    for lease in gone {
        let request = Request::new(Verb::Delete, &resources::LEASES, NAMESPACE, &lease.meta().name);
        // Another server may have been faster.
        let _ = own_objects::execute(core, AGENT, request).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_upstream_makes_of_hosts() {
        for (bytes, expected) in [("", ""), ("f", "my"), ("fo", "mzxq"), ("foob", "mzxw6yq"), ("fooba", "mzxw6ytb")] {
            assert_eq!(base32(bytes.as_bytes()), expected, "{bytes}");
        }
        assert_eq!(name("host"), "apiserver-dd6egxogzxmivwqge6rcnj6rwi");
    }
}
