//! Which pods go first when there are too many (upstream's `ActivePodsWithRanks`).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use world::Timestamp;

use super::super::time;
use super::Member;

/// `annotations`: what deleting this pod costs, an int32; pods without it cost 0.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The first `count` pods to delete: not yet bound before bound, pending before running, not ready before ready, cheap before
/// dear, crowded before lonely, young before old, often restarted before stable. Ages count by orders of magnitude, ties
/// break by uid, so that of pods of about one age an arbitrary one goes.
pub(super) fn doomed<'a>(
    members: &'a [Member],
    crowd: &BTreeMap<String, usize>,
    count: usize,
    now: Timestamp,
) -> Vec<&'a Member> {
    let mut ranked: Vec<&Member> = members.iter().collect();
    ranked.sort_by_cached_key(|member| {
        let (pod, meta) = (&member.pod, member.object.meta());
        let phase = match pod.status.phase.as_str() {
            "Running" => 2,
            "Unknown" => 1,
            _ => 0,
        };
        let ready = pod.condition("Ready").filter(|ready| ready.status == "True");
        let cost = meta.annotations.get(DELETION_COST).and_then(|cost| cost.parse::<i32>().ok()).unwrap_or(0);
        let company = crowd.get(&pod.spec.node_name).copied().unwrap_or(0);
        let statuses = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
        let restarts = statuses.map(|status| status.restart_count).max().unwrap_or(0);
        (
            !pod.spec.node_name.is_empty(),
            phase,
            ready.is_some(),
            cost,
            Reverse(company),
            ready.map(|ready| magnitude(time(ready.last_transition_time.as_ref()), now)),
            Reverse(restarts),
            magnitude(time(meta.creation_timestamp.as_ref()), now),
            meta.uid.clone(),
        )
    });
    ranked.truncate(count);
    ranked
}

/// The binary logarithm of an age in nanoseconds, as upstream's `LogarithmicScaleDown` takes it; -1 for none.
fn magnitude(since: Timestamp, now: Timestamp) -> i64 {
    now.since(since).as_nanos().checked_ilog2().map_or(-1, i64::from)
}
