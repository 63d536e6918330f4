//! How long a Job waits after failures before it makes pods again.
//!
//! Upstream remembers the failures since the last success; here they are read from the pods, which stay until the Job goes.

use std::time::Duration;

use k8s_object::views::Job;
use world::Timestamp;

use super::member::Member;

/// The wait after one failure, doubled with each further one.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

/// What is left of the wait after the failures since the last success of a Job.
pub(super) fn of_job(job: &Job, members: &[Member], now: Timestamp) -> Duration {
    let success = members.iter().filter(|member| member.succeeded()).map(Member::finished_at).max();
    // One that lost its finalizer while it was going was deleted because it was too many.
    let failed = members.iter().filter(|member| match member.tracked {
        true => member.failed(job),
        false => member.pod.status.phase == "Failed" && !member.object.meta().is_terminating(),
    });
    let times: Vec<Timestamp> = failed.map(Member::finished_at).filter(|at| Some(*at) > success).collect();
    times.iter().max().map_or(Duration::ZERO, |last| remaining(times.len(), *last, now))
}

/// What is left of the wait of an index whose latest pod has failed.
pub(super) fn of_index(latest: &Member, now: Timestamp) -> Duration {
    remaining(usize::try_from(latest.all_failures()).unwrap_or(0) + 1, latest.finished_at(), now)
}

fn remaining(failures: usize, last: Timestamp, now: Timestamp) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let wait = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    wait.saturating_sub(now.since(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_ten_minutes() {
        let waits =
            |failures| remaining(failures, Timestamp::from_seconds(100), Timestamp::from_seconds(103)).as_secs();
        assert_eq!([1, 2, 3, 7, 8, 90].map(waits), [7, 17, 37, 597, 597, 597]);
        assert_eq!(remaining(1, Timestamp::from_seconds(0), Timestamp::from_seconds(11)), Duration::ZERO);
    }
}
