//! As what requests for resources are counted, whoever sends them (apiserver `endpoints/metrics`).

use std::sync::Arc;
use std::time::Duration;

use k8s_client::{PatchType, Request, Verb};
use k8s_object::ApiError;

use crate::core::{Core, Outcome};
use crate::metrics::{DryRun, Labels, Metrics, Series};

/// Subresources whose requests run long (upstream `BasicLongRunningRequestCheck`).
pub(crate) const LONG_RUNNING: &[&str] = &["attach", "exec", "portforward", "proxy", "log"];

/// What is counted of requests such as this one; `method` is HTTP's, or `APPLY`.
pub(crate) fn series(metrics: &Metrics, request: &Request, method: &str) -> Arc<Series> {
    let scope = scope(request);
    let verb = match method {
        _ if request.verb == Verb::Watch => "WATCH",
        _ if LONG_RUNNING.contains(&request.subresource.as_str()) => "CONNECT",
        "GET" | "HEAD" if scope == "resource" => "GET",
        "GET" | "HEAD" => "LIST",
        other => other,
    };
    let resource = &request.resource;
    metrics.requests.of(&Labels {
        verb,
        group: &resource.group,
        version: &resource.version,
        resource: &resource.resource,
        subresource: &request.subresource,
        scope,
        component: "apiserver",
    })
}

/// A request of a component in the same process.
pub(crate) struct InProcess {
    series: Option<Arc<Series>>,
    dry_run: DryRun,
    began: Duration,
}

impl InProcess {
    pub(crate) fn begin(core: &Core, request: &Request) -> InProcess {
        let method = match request.verb {
            Verb::Get | Verb::List | Verb::Watch => "GET",
            Verb::Create => "POST",
            Verb::Update => "PUT",
            Verb::Patch if request.patch == Some(PatchType::Apply) => "APPLY",
            Verb::Patch => "PATCH",
            Verb::Delete | Verb::DeleteCollection => "DELETE",
        };
        // What nobody serves is not counted, so that names of resources are not made up.
        let served = core.registry.find(&request.resource).is_ok();
        InProcess {
            series: served.then(|| series(&core.metrics, request, method)),
            dry_run: if request.options.dry_run { DryRun::All } else { DryRun::No },
            began: core.world.elapsed(),
        }
    }

    pub(crate) fn end(self, core: &Core, outcome: Result<&Outcome, &ApiError>) {
        let Some(series) = self.series else { return };
        let code = match outcome {
            Ok(outcome) => outcome.code,
            Err(error) => error.code(),
        };
        series.answered(self.dry_run, code, core.world.elapsed().saturating_sub(self.began), Duration::ZERO);
    }
}

/// Where a request is: one object, a namespace, or all (upstream `CleanScope`).
fn scope(request: &Request) -> &'static str {
    if !request.name.is_empty() || request.verb == Verb::Create {
        return "resource";
    }
    if request.namespace.is_empty() { "cluster" } else { "namespace" }
}
