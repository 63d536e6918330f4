//! The rolling update: old pods go, or new ones come beside them, as many at a time as the strategy allows.

use k8s_object::views::{DaemonSet, IntOrString};

use super::Sync;
use super::manage::Changes;
use super::pods::{Daemon, DaemonPods};

/// A number or a share of `total`, rounded up, of a rolling update; 0 where it is not asked for.
fn scaled(set: &DaemonSet, of: impl Fn(&k8s_object::views::RollingUpdate) -> Option<&IntOrString>, total: i64) -> i64 {
    let strategy = &set.spec.update_strategy;
    let rolling = strategy.rolling_update.as_ref().filter(|_| strategy.kind == "RollingUpdate");
    rolling.and_then(of).and_then(|amount| amount.scaled(total, true)).unwrap_or(0)
}

/// Nodes that may have a new pod beside the old one.
pub(super) fn surge(set: &DaemonSet, total: i64) -> i64 {
    scaled(set, |rolling| rolling.max_surge.as_ref(), total)
}

/// The newer and the older pod of a node; `None` if there are several of one of them, which are thinned out first.
type Pair<'a> = Option<(Option<&'a Daemon>, Option<&'a Daemon>)>;

fn pair<'a>(set: &DaemonSet, daemons: &'a [Daemon], hash: &str) -> Pair<'a> {
    let staying = daemons.iter().filter(|daemon| !daemon.is_terminating());
    let (new, old): (Vec<&Daemon>, Vec<&Daemon>) = staying.partition(|daemon| daemon.is_updated(set, hash));
    (new.len() <= 1 && old.len() <= 1).then(|| (new.first().copied(), old.first().copied()))
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// As many as a limit leaves.
fn left(limit: i64, used: i64) -> usize {
    usize::try_from(limit.saturating_sub(used)).unwrap_or(0)
}

pub(super) fn changes(sync: &Sync<'_>, daemons: &DaemonPods, hash: &str) -> Changes {
    if sync.set.spec.update_strategy.kind != "RollingUpdate" {
        return Changes::default();
    }
    let wanted = || sync.nodes.iter().filter(|site| site.placement.should_run);
    let desired = number(wanted().count());
    let missing = wanted().filter(|site| daemons.of(&site.name).is_empty()).count();
    let (max_surge, mut max_unavailable) =
        (surge(sync.set, desired), scaled(sync.set, |rolling| rolling.max_unavailable.as_ref(), desired));
    if desired > 0 && max_unavailable == 0 && max_surge == 0 {
        max_unavailable = 1;
    }
    let pairs = daemons.by_node.iter().map(|(node, own)| (node.as_str(), pair(sync.set, own, hash)));
    match max_surge {
        0 => replace(sync, pairs, number(missing), max_unavailable),
        _ => surge_on(sync, pairs, desired, max_surge),
    }
}

/// Deletes old pods: those that are not available anyway, and others as long as no more than the limit are unavailable. The next
/// plan makes new ones in their place. Pods that are being deleted do not count, so that a node that is down holds up nothing.
fn replace<'a>(
    sync: &Sync<'_>,
    pairs: impl Iterator<Item = (&'a str, Pair<'a>)>,
    missing: i64,
    max_unavailable: i64,
) -> Changes {
    let mut unavailable = missing;
    let (mut useless, mut candidates) = (Vec::new(), Vec::new());
    for (_, pair) in pairs {
        match pair {
            None | Some((None, None) | (Some(_), Some(_))) => unavailable += 1,
            Some((Some(new), None)) => unavailable += i64::from(!new.is_available(sync.set, sync.now)),
            Some((None, Some(old))) if old.is_available(sync.set, sync.now) => candidates.push(old),
            Some((None, Some(old))) => {
                useless.push(old);
                unavailable += 1;
            }
        }
    }
    let mut changes = Changes::default();
    let candidates = candidates.into_iter().take(left(max_unavailable, unavailable));
    useless.into_iter().chain(candidates).for_each(|daemon| changes.delete(daemon));
    changes
}

/// Makes new pods beside old ones: beside each that is not available anyway, and beside others as long as no more than the limit
/// are being waited for. An old pod goes when the new one is available; one on a node that the set has left goes when
/// there are enough elsewhere.
fn surge_on<'a>(
    sync: &Sync<'_>,
    pairs: impl Iterator<Item = (&'a str, Pair<'a>)>,
    desired: i64,
    max_surge: i64,
) -> Changes {
    let is_available = |daemon: &Daemon| daemon.is_available(sync.set, sync.now);
    let (mut surging, mut available) = (0, 0);
    let (mut allowed, mut candidates, mut left_behind) = (Vec::new(), Vec::new(), Vec::new());
    let mut changes = Changes::default();
    for (name, pair) in pairs {
        let Some((new, old)) = pair else {
            surging += 1;
            continue;
        };
        available += i64::from(old.or(new).is_some_and(is_available));
        let Some(old) = old else { continue };
        match new {
            Some(new) if is_available(new) => changes.delete(old),
            Some(_) => surging += 1,
            None => {
                // What is on a node that is gone is collected by others.
                let Some(site) = sync.site(name) else { continue };
                match (site.placement.should_run, is_available(old)) {
                    (true, true) => candidates.push(name),
                    (true, false) => allowed.push(name),
                    (false, true) => left_behind.push(old),
                    (false, false) => changes.delete(old),
                }
            }
        }
    }
    left_behind.into_iter().take(left(available, desired)).for_each(|daemon| changes.delete(daemon));
    let candidates = candidates.into_iter().take(left(max_surge, surging));
    changes.create_on = allowed.into_iter().chain(candidates).map(str::to_owned).collect();
    changes
}
