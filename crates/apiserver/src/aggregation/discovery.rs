//! Which groups and versions are served, here and by others, in the order in which both forms of discovery tell them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Aggregator, GROUP, Remote, priorities};
use crate::registry::{Served, compare_versions};

/// A group as it is told.
pub(crate) struct Group {
    pub name: String,
    /// The most preferred first.
    pub versions: Vec<String>,
}

/// Which of two groups of one priority is told first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ties {
    /// The one whose APIService of that priority has the lesser name: in the old form, which is made of APIServices.
    ByService,
    /// The one with the lesser name.
    ByGroup,
}

/// All that is served, here and by others.
pub(crate) fn groups(aggregator: &Aggregator, served: &Served, ties: Ties) -> Vec<Group> {
    // Priorities of a group and of the version in it.
    let mut versions: BTreeMap<(&str, &str), (i64, i64)> = BTreeMap::new();
    for resource in served.resources() {
        let (group, version) = (resource.group.as_str(), resource.version.as_str());
        versions
            .entry((group, version))
            .or_insert_with(|| priorities::of(group, version).unwrap_or(priorities::CUSTOM));
    }
    let remotes = aggregator.remotes();
    for remote in remotes.values() {
        versions.insert((&remote.group, &remote.version), (remote.group_priority, remote.version_priority));
    }
    let mut by_group: BTreeMap<&str, Vec<(&str, i64, i64)>> = BTreeMap::new();
    for ((group, version), (of_group, of_version)) in versions {
        by_group.entry(group).or_default().push((version, of_group, of_version));
    }
    let mut groups: Vec<_> = by_group.into_iter().collect();
    groups.sort_by_cached_key(|(group, versions)| {
        let priority = versions.iter().map(|(_, of_group, _)| *of_group).max();
        let tie = match ties {
            Ties::ByGroup => (*group).to_owned(),
            Ties::ByService => {
                let first = versions.iter().filter(|(_, of_group, _)| Some(*of_group) == priority);
                first.map(|(version, _, _)| format!("{version}.{group}")).min().unwrap_or_default()
            }
        };
        // What tells is the first that it tells, in the old form whatever others want.
        (ties == Ties::ByGroup || *group != GROUP, Reverse(priority), tie)
    });
    let groups = groups.into_iter().map(|(group, mut versions)| {
        versions.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| compare_versions(b.0, a.0)));
        let versions = versions.into_iter().map(|(version, _, _)| version.to_owned());
        Group { name: group.to_owned(), versions: versions.collect() }
    });
    groups.collect()
}

/// A version that another server serves, in the aggregated form.
pub(crate) fn aggregated_version(aggregator: &Aggregator, remote: &Remote) -> Value {
    let told = aggregator.said(&remote.name).filter(|_| remote.available);
    let freshness = if told.is_some() { "Current" } else { "Stale" };
    let mut version = json!({"version": remote.version, "freshness": freshness});
    if let Some(told) = told.filter(|told| !told.resources.is_empty()) {
        version["resources"] = json!(told.resources);
    }
    version
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::remote;
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn groups_and_versions_come_by_their_priorities() {
        let remote = |group: &str, version: &str, group_priority: i64, version_priority: i64| {
            let remote = remote(group, version, group_priority, version_priority);
            ((group.to_owned(), version.to_owned()), remote)
        };
        let aggregator = Aggregator::default();
        *aggregator.remotes.write().unwrap() = Arc::new(BTreeMap::from([
            remote("a.high", "v1", 20_000, 15),
            remote("a.high", "v1alpha1", 1, 15),
            remote("a.high", "v1alpha2", 17_300, 15),
            remote("b.mixed", "v1", 1_000, 2),
            remote("b.mixed", "v1beta1", 1_000, 3),
            remote("b.mixed", "v2", 1_000, 2),
            remote("m.last", "v1alpha1", 50, 1),
            remote("n.last", "v1", 50, 1),
        ]));
        let served = Registry::new(34).served();
        let told = |ties: Ties| groups(&aggregator, &served, ties);
        let names = |ties: Ties| told(ties).into_iter().map(|group| group.name).collect::<Vec<_>>();
        let built_in = [
            "",
            "apps",
            "events.k8s.io",
            "authentication.k8s.io",
            "authorization.k8s.io",
            "autoscaling",
            "batch",
            "certificates.k8s.io",
            "networking.k8s.io",
            "policy",
            "rbac.authorization.k8s.io",
            "storage.k8s.io",
            "admissionregistration.k8s.io",
            "apiextensions.k8s.io",
            "scheduling.k8s.io",
            "coordination.k8s.io",
            "node.k8s.io",
            "discovery.k8s.io",
            "resource.k8s.io",
            "flowcontrol.apiserver.k8s.io",
        ];
        let with = |first: [&'static str; 2], last: [&'static str; 2]| {
            [first.as_slice(), &built_in, &["b.mixed"], &last].concat()
        };
        assert_eq!(names(Ties::ByGroup), with(["a.high", GROUP], ["m.last", "n.last"]));
        assert_eq!(names(Ties::ByService), with([GROUP, "a.high"], ["n.last", "m.last"]));
        let versions = |name: &str| told(Ties::ByGroup).into_iter().find(|group| group.name == name).unwrap().versions;
        for (group, expected) in [
            ("a.high", &["v1", "v1alpha2", "v1alpha1"][..]),
            ("b.mixed", &["v1beta1", "v2", "v1"]),
            ("autoscaling", &["v2", "v1"]),
        ] {
            assert_eq!(versions(group), expected, "{group}");
        }
    }
}
