//! `/healthz`, `/livez`, `/readyz` and `/version`.

use std::collections::BTreeMap;

use http::header::X_CONTENT_TYPE_OPTIONS;
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use serve::Body;

use super::negotiate::Format;
use super::path::query_pairs;
use super::respond;
use crate::core::Core;
use crate::duties::Duty;

struct Check {
    name: &'static str,
    /// Whether only readiness depends on it.
    ready_only: bool,
    /// `None` for what is done before the server answers anybody.
    passes: Option<fn(&Core) -> bool>,
}

const fn at_start(name: &'static str) -> Check {
    Check { name, ready_only: false, passes: None }
}

/// What is begun at the start and done until the end.
macro_rules! lasting {
    ($name:literal, $duty:ident) => {
        Check {
            name: $name,
            ready_only: false,
            passes: Some(|core| core.stop.is_stopped() || core.duties.does(Duty::$duty)),
        }
    };
}

/// In the order in which they are told, under upstream's names. What upstream starts after it has begun to serve (`poststarthook/…`)
/// is done here before, or is a duty that must not end.
const CHECKS: &[Check] = &[
    at_start("ping"),
    at_start("log"),
    Check { name: "etcd", ready_only: false, passes: Some(|core| core.keyspace.revision() > 0) },
    Check { name: "etcd-readiness", ready_only: true, passes: Some(|core| core.keyspace.revision() > 0) },
    Check { name: "informer-sync", ready_only: true, passes: Some(|core| core.revision() > 0) },
    lasting!("poststarthook/start-apiserver-admission-initializer", PolicyTypes),
    lasting!("poststarthook/generic-apiserver-start-informers", WatchCache),
    lasting!("poststarthook/priority-and-fairness-config-consumer", FlowSchemaStatus),
    at_start("poststarthook/priority-and-fairness-filter"),
    at_start("poststarthook/storage-object-count-tracker-hook"),
    lasting!("poststarthook/start-apiextensions-informers", WatchCache),
    lasting!("poststarthook/start-apiextensions-controllers", Definitions),
    lasting!("poststarthook/crd-informer-synced", WatchCache),
    lasting!("poststarthook/start-system-namespaces-controller", Defaults),
    at_start("poststarthook/start-cluster-authentication-info-controller"),
    lasting!("poststarthook/start-kube-apiserver-identity-lease-controller", Lease),
    lasting!("poststarthook/start-kube-apiserver-identity-lease-garbage-collector", Lease),
    at_start("poststarthook/start-legacy-token-tracking-controller"),
    lasting!("poststarthook/start-service-ip-repair-controllers", Defaults),
    at_start("poststarthook/rbac/bootstrap-roles"),
    at_start("poststarthook/scheduling/bootstrap-system-priority-classes"),
    lasting!("poststarthook/priority-and-fairness-config-producer", Defaults),
    lasting!("poststarthook/bootstrap-controller", Defaults),
    lasting!("poststarthook/start-kubernetes-service-cidr-controller", Defaults),
    at_start("poststarthook/aggregator-reload-proxy-client-cert"),
    lasting!("poststarthook/start-kube-aggregator-informers", WatchCache),
    lasting!("poststarthook/apiservice-status-local-available-controller", ApiServices),
    lasting!("poststarthook/apiservice-status-remote-available-controller", Availability),
    lasting!("poststarthook/apiservice-registration-controller", ApiServices),
    at_start("poststarthook/apiservice-discovery-controller"),
    lasting!("poststarthook/kube-apiserver-autoregistration", ApiServices),
    lasting!("autoregister-completion", ApiServices),
    lasting!("poststarthook/apiservice-openapi-controller", Documents),
    lasting!("poststarthook/apiservice-openapiv3-controller", Documents),
    Check { name: "shutdown", ready_only: true, passes: Some(|core| !core.stop.is_stopped()) },
];

impl Check {
    fn passes(&self, core: &Core) -> bool {
        self.passes.is_none_or(|passes| passes(core))
    }
}

/// Whether requests are to be sent here.
pub(crate) fn is_ready(core: &Core) -> bool {
    CHECKS.iter().all(|check| check.passes(core))
}

/// Puts into the metrics how it is, where nobody else asks.
pub(crate) fn look(core: &Core) {
    for check in CHECKS {
        let passes = i64::from(check.passes(core));
        let kinds = if check.ready_only { &["readyz"][..] } else { &["healthz", "livez", "readyz"] };
        kinds.iter().for_each(|kind| core.metrics.health.with(&[check.name, kind]).set(passes));
    }
}

pub(super) fn answer(core: &Core, path: &str, query: &str) -> Option<Response<Body>> {
    if path == "/version" {
        return Some(respond::value(StatusCode::OK, &version_info(core), Format::PrettyJson, false));
    }
    let (kind, name) = path.strip_prefix('/').map(|path| path.split_once('/').unwrap_or((path, "")))?;
    if !["healthz", "livez", "readyz"].contains(&kind) {
        return None;
    }
    let mut checks = CHECKS.iter().filter(|check| kind == "readyz" || !check.ready_only);
    if name.is_empty() {
        return Some(all(core, kind, checks, query));
    }
    Some(match checks.find(|check| check.name == name) {
        None => respond::page_not_found(),
        Some(check) if check.passes(core) => respond::text(StatusCode::OK, "ok"),
        Some(check) => {
            let text = format!("internal server error: {} failed\n", check.name);
            respond::text(StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    })
}

fn all(core: &Core, kind: &str, checks: impl Iterator<Item = &'static Check>, query: &str) -> Response<Body> {
    let pairs = query_pairs(query);
    let mut excluded: BTreeMap<&str, bool> =
        pairs.iter().filter(|(name, _)| name == "exclude").map(|(_, check)| (check.as_str(), false)).collect();
    let (mut text, mut failed) = (String::new(), false);
    for check in checks {
        if let Some(known) = excluded.get_mut(check.name) {
            *known = true;
            text += &format!("[+]{} excluded: ok\n", check.name);
            continue;
        }
        let passes = check.passes(core);
        failed |= !passes;
        core.metrics.health.with(&[check.name, kind]).set(i64::from(passes));
        core.metrics.health_total.with(&[check.name, kind, if passes { "success" } else { "error" }]).inc();
        text += &match passes {
            true => format!("[+]{} ok\n", check.name),
            false => format!("[-]{} failed: reason withheld\n", check.name),
        };
    }
    let unknown: Vec<String> =
        excluded.iter().filter(|(_, known)| !**known).map(|(name, _)| format!("{name:?}")).collect();
    if !unknown.is_empty() {
        let unknown = unknown.join(",");
        text += &format!("warn: some health checks cannot be excluded: no matches for {unknown}\n");
    }
    let mut response = if failed {
        respond::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{text}{kind} check failed\n"))
    } else if pairs.iter().any(|(name, _)| name == "verbose") {
        respond::text(StatusCode::OK, format!("{text}{kind} check passed\n"))
    } else {
        respond::text(StatusCode::OK, "ok")
    };
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// When the build was made. Minato's own builds have no date, so that they can be reproduced, and clients want one.
const BUILD_DATE: &str = "2026-01-01T00:00:00Z";

/// What serves, in the words of `k8s.io/apimachinery/pkg/version.Info`. Clients in other languages insist on every field.
pub(crate) fn version_info(core: &Core) -> Value {
    let minor = core.minor.to_string();
    // `v1.35.2-eks-4d696e6` ends with the commit.
    let commit = core.git_version.rsplit('-').next().unwrap_or_default();
    json!({
        "major": "1", "minor": minor, "emulationMajor": "1", "emulationMinor": minor,
        "minCompatibilityMajor": "1", "minCompatibilityMinor": (core.minor - 1).to_string(),
        "gitVersion": core.git_version, "gitCommit": commit, "gitTreeState": "clean", "buildDate": BUILD_DATE,
        // No Go is in it.
        "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
    })
}
