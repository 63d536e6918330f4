//! What is served by default is what upstream serves by default: the stable versions of all kinds, for as long as they live
//! (kubernetes `pkg/controlplane/instance.go`: beta and alpha versions are off).

use std::collections::BTreeSet;

use k8s_kinds::KINDS;
use k8s_schema::{KindEntry, NEWEST_MINOR, OLDEST_MINOR, kinds};

/// Types of their own that are no resources: bodies of subresources, parts of requests, what others serve.
const NO_RESOURCES: &[(&str, &str)] = &[
    ("", "APIGroup"),
    ("", "APIVersions"),
    ("", "CreateOptions"),
    ("", "DeleteOptions"),
    ("", "GetOptions"),
    ("", "ListOptions"),
    ("", "NodeProxyOptions"),
    ("", "PatchOptions"),
    ("", "PodAttachOptions"),
    ("", "PodExecOptions"),
    ("", "PodLogOptions"),
    ("", "PodPortForwardOptions"),
    ("", "PodProxyOptions"),
    ("", "PodStatusResult"),
    ("", "RangeAllocation"),
    ("", "SerializedReference"),
    ("", "ServiceProxyOptions"),
    ("", "Status"),
    ("", "UpdateOptions"),
    ("", "WatchEvent"),
    ("apiextensions.k8s.io", "ConversionReview"),
    ("authentication.k8s.io", "TokenRequest"),
    ("autoscaling", "Scale"),
    ("policy", "Eviction"),
];

/// Groups that no API server serves: what it sends to webhooks, and what it says about itself.
const NO_GROUPS: &[&str] = &["admission.k8s.io", "apidiscovery.k8s.io", "meta.k8s.io"];

fn is_stable(version: &str) -> bool {
    version.strip_prefix('v').is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

fn is_served(entry: &KindEntry, minor: u8) -> bool {
    let life = entry.life_cycle;
    is_stable(entry.version)
        && (entry.since..=entry.until).contains(&minor)
        && life.introduced <= minor
        && (life.removed == 0 || minor < life.removed)
        && !NO_GROUPS.contains(&entry.group)
        && !NO_RESOURCES.contains(&(entry.group, entry.kind))
        && !entry.kind.ends_with("List")
}

#[test]
fn every_minor_serves_what_upstream_serves_by_default() {
    let mut missing = BTreeSet::new();
    for minor in OLDEST_MINOR..=NEWEST_MINOR {
        let written = |group: &str, version: &str, kind: &str| format!("{group}/{version} {kind}");
        let wanted: BTreeSet<String> = kinds()
            .iter()
            .filter(|entry| is_served(entry, minor))
            .map(|entry| written(entry.group, entry.version, entry.kind))
            .collect();
        let served: BTreeSet<String> = KINDS
            .iter()
            .filter(|kind| kind.is_served(minor))
            .map(|kind| written(kind.group, kind.version, kind.kind))
            .collect();
        let beyond: Vec<&String> = served.difference(&wanted).collect();
        assert!(beyond.is_empty(), "1.{minor} serves what upstream does not by default: {beyond:?}");
        missing.extend(wanted.difference(&served).cloned());
    }
    assert!(missing.is_empty(), "upstream serves by default what is not served here: {missing:?}");
}
