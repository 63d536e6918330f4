//! `/healthz`, `/livez`, `/readyz` and `/version`.

use http::{Response, StatusCode};
use serde_json::json;
use serve::Body;

use super::negotiate::Format;
use super::path::query_pairs;
use super::respond;
use crate::core::Core;

struct Check {
    name: &'static str,
    /// Whether only readiness depends on it.
    ready_only: bool,
    passes: fn(&Core) -> bool,
}

/// In the order in which they are told.
const CHECKS: &[Check] = &[
    Check { name: "ping", ready_only: false, passes: |_| true },
    Check { name: "log", ready_only: false, passes: |_| true },
    Check { name: "etcd", ready_only: false, passes: |core| core.keyspace.revision() > 0 },
    Check { name: "informer-sync", ready_only: true, passes: |core| core.revision() > 0 },
    Check { name: "shutdown", ready_only: true, passes: |core| !core.stop.is_stopped() },
];

/// Whether requests are to be sent here.
pub(crate) fn is_ready(core: &Core) -> bool {
    CHECKS.iter().all(|check| (check.passes)(core))
}

pub(super) fn answer(core: &Core, path: &str, query: &str) -> Option<Response<Body>> {
    let (kind, name) = match path {
        "/version" => return Some(version(core)),
        "/healthz" | "/livez" | "/readyz" => (&path[1..], None),
        _ => {
            let (kind, name) = path.strip_prefix('/')?.split_once('/')?;
            (kind, Some(name))
        }
    };
    if !["healthz", "livez", "readyz"].contains(&kind) {
        return None;
    }
    let checks: Vec<&Check> = CHECKS
        .iter()
        .filter(|check| kind == "readyz" || !check.ready_only)
        .filter(|check| name.is_none_or(|name| check.name == name))
        .collect();
    if checks.is_empty() {
        return Some(respond::page_not_found());
    }
    let failed = checks.iter().any(|check| !(check.passes)(core));
    let verbose = query_pairs(query).iter().any(|(name, _)| name == "verbose");
    if !failed && !verbose {
        return Some(respond::text(StatusCode::OK, "ok"));
    }
    let mut text = String::new();
    for check in checks {
        text += &match (check.passes)(core) {
            true => format!("[+]{} ok\n", check.name),
            false => format!("[-]{} failed: reason withheld\n", check.name),
        };
    }
    text += &format!("{kind} check {}\n", if failed { "failed" } else { "passed" });
    Some(respond::text(if failed { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }, text))
}

/// When the build was made. Minato's own builds have no date, so that they can be reproduced, and clients want one.
const BUILD_DATE: &str = "2026-01-01T00:00:00Z";

/// What serves, in the words of `k8s.io/apimachinery/pkg/version.Info`. Clients in other languages insist on every field.
fn version(core: &Core) -> Response<Body> {
    let minor = core.minor.to_string();
    // `v1.35.2-eks-4d696e6` ends with the commit.
    let commit = core.git_version.rsplit('-').next().unwrap_or_default();
    let info = json!({
        "major": "1", "minor": minor, "emulationMajor": "1", "emulationMinor": minor,
        "minCompatibilityMajor": "1", "minCompatibilityMinor": (core.minor - 1).to_string(),
        "gitVersion": core.git_version, "gitCommit": commit, "gitTreeState": "clean", "buildDate": BUILD_DATE,
        // No Go is in it.
        "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
    });
    respond::value(StatusCode::OK, &info, Format::PrettyJson, false)
}
