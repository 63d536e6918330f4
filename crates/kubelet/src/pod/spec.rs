//! What a pod's spec says about its containers, with the defaults that the API server may not have set.

use std::time::Duration;

use k8s_object::views::{Container as Spec, Probe};

use super::{DEFAULT_GRACE, Hook, PodState, ProbeKind};
use crate::runtime::PullPolicy;

/// When a container is started again after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    Always,
    OnFailure,
    Never,
}

fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0))
}

impl PodState {
    /// How many init containers there are; containers follow them.
    pub(super) fn inits(&self) -> usize {
        self.pod.spec.init_containers.len()
    }

    /// The spec of a container.
    pub(crate) fn spec(&self, container: usize) -> &Spec {
        container_spec(&self.pod.spec, container)
    }

    /// An init container that keeps running beside the containers.
    pub(super) fn is_sidecar(&self, container: usize) -> bool {
        container < self.inits() && self.spec(container).restart_policy.as_deref() == Some("Always")
    }

    pub(super) fn restart(&self, container: usize) -> Restart {
        let own = self.spec(container).restart_policy.as_deref();
        let policy = own.unwrap_or(self.pod.spec.restart_policy.as_str());
        match policy {
            "Never" => Restart::Never,
            "OnFailure" => Restart::OnFailure,
            // An init container that has succeeded is done, whatever the pod's policy.
            _ if container < self.inits() && own != Some("Always") => Restart::OnFailure,
            _ => Restart::Always,
        }
    }

    /// The grace of the deletion under way, else of the spec.
    pub(super) fn grace(&self) -> Duration {
        let meta = &self.pod.metadata;
        let deletion = meta.deletion_timestamp.as_ref().and(meta.deletion_grace_period_seconds);
        deletion.or(self.pod.spec.termination_grace_period_seconds).map_or(DEFAULT_GRACE, seconds)
    }

    pub(super) fn pull_policy(&self, container: usize) -> PullPolicy {
        let spec = self.spec(container);
        match spec.image_pull_policy.as_str() {
            "Always" => PullPolicy::Always,
            "Never" => PullPolicy::Never,
            "IfNotPresent" => PullPolicy::IfNotPresent,
            // The API server's default, for objects that did not pass through it.
            _ => {
                let last = spec.image.rsplit('/').next().unwrap_or_default();
                let pinned = last.contains('@') || last.split_once(':').is_some_and(|(_, tag)| tag != "latest");
                if pinned { PullPolicy::IfNotPresent } else { PullPolicy::Always }
            }
        }
    }

    pub(super) fn has_hook(&self, container: usize, hook: Hook) -> bool {
        let key = match hook {
            Hook::PostStart => "postStart",
            Hook::PreStop => "preStop",
        };
        let lifecycle = self.spec(container).lifecycle.as_ref();
        lifecycle.and_then(|lifecycle| lifecycle.get(key)).is_some_and(|handler| !handler.is_null())
    }

    pub(super) fn probe_spec(&self, container: usize, kind: ProbeKind) -> Option<&Probe> {
        let spec = self.spec(container);
        match kind {
            ProbeKind::Startup => spec.startup_probe.as_ref(),
            ProbeKind::Liveness => spec.liveness_probe.as_ref(),
            ProbeKind::Readiness => spec.readiness_probe.as_ref(),
        }
    }

    /// The grace of a container that a probe has condemned.
    pub(super) fn probe_grace(&self, container: usize, kind: ProbeKind) -> Duration {
        let own = self.probe_spec(container, kind).and_then(|probe| probe.handler.get("terminationGracePeriodSeconds"));
        own.and_then(serde_json::Value::as_i64).map_or_else(|| self.grace(), seconds)
    }
}

/// The spec of the container with that index: init containers first.
pub(crate) fn container_spec(spec: &k8s_object::views::PodSpec, container: usize) -> &Spec {
    let inits = spec.init_containers.len();
    if container < inits { &spec.init_containers[container] } else { &spec.containers[container - inits] }
}
