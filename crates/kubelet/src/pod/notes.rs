//! What people are told about a pod, in upstream's words. The text is made only when it is going to be written.

use std::time::Duration;

use super::{Outcome, PodState, ProbeKind, Pulled};

/// Why a container is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killing {
    /// The pod ends.
    Pod,
    Probe(ProbeKind),
    /// Its definition changed.
    Changed,
    PostStartHook,
    /// Its resources changed.
    Resized,
}

/// One thing to tell.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    BackOffPull,
    BackOffRestart,
    /// Created and then started: two events.
    Created,
    DeadlineExceeded,
    Killing(Killing),
    /// `message` says what the hook did.
    PostStartFailed {
        message: String,
    },
    PreStopFailed {
        message: String,
    },
    /// Carries what the runtime said.
    PullFailed {
        message: String,
    },
    Pulled(Pulled),
    Pulling,
    Present,
    Rejected(Outcome),
    /// Every container has the resources that the pod asks for.
    Resized,
    SandboxFailed {
        message: String,
    },
    Started,
    StartFailed {
        message: String,
    },
    Unhealthy {
        probe: ProbeKind,
        message: String,
    },
    /// A waiting container's reason, as an error.
    WaitingError {
        reason: &'static str,
    },
}

/// A note as an Event object has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteText {
    pub warning: bool,
    pub reason: String,
    pub message: String,
}

impl ProbeKind {
    /// As messages write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ProbeKind::Startup => "startup",
            ProbeKind::Liveness => "liveness",
            ProbeKind::Readiness => "readiness",
        }
    }
}

/// A duration as Go prints it, in milliseconds: `230ms`, `1.25s`.
fn go(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis < 1000 => format!("{millis}ms"),
        millis => format!("{}s", millis as f64 / 1000.0),
    }
}

impl Note {
    /// Whether it is a warning: those are kept when there are too many.
    pub fn is_warning(&self) -> bool {
        !matches!(
            self,
            Note::BackOffPull
                | Note::Created
                | Note::DeadlineExceeded
                | Note::Killing(_)
                | Note::Pulled(_)
                | Note::Pulling
                | Note::Present
                | Note::Resized
                | Note::Started
        )
    }

    /// The text, about a pod and one of its containers.
    pub fn text(&self, state: &PodState, container: Option<u16>) -> NoteText {
        let spec = container.map(|container| state.spec(usize::from(container)));
        let name = spec.map_or("", |spec| spec.name.as_str());
        let image = spec.map_or("", |spec| spec.image.as_str());
        let pod = &state.pod.metadata;
        let (reason, message) = match self {
            Note::BackOffPull => ("BackOff", format!("Back-off pulling image \"{image}\"")),
            Note::BackOffRestart => (
                "BackOff",
                format!(
                    "Back-off restarting failed container {name} in pod {}_{}({})",
                    pod.name, pod.namespace, pod.uid
                ),
            ),
            Note::Created => ("Created", format!("Created container: {name}")),
            Note::DeadlineExceeded => {
                ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline".to_owned())
            }
            Note::Killing(Killing::Pod) => ("Killing", format!("Stopping container {name}")),
            Note::Killing(Killing::Probe(probe)) => {
                ("Killing", format!("Container {name} failed {} probe, will be restarted", probe.name()))
            }
            Note::Killing(Killing::Changed) => {
                ("Killing", format!("Container {name} definition changed, will be restarted"))
            }
            Note::Killing(Killing::Resized) => ("Killing", format!("Container {name} resize requires restart")),
            Note::Killing(Killing::PostStartHook) => ("Killing", "FailedPostStartHook".to_owned()),
            Note::PostStartFailed { message } => ("FailedPostStartHook", format!("PostStartHook failed: {message}")),
            Note::PreStopFailed { message } => ("FailedPreStopHook", format!("PreStopHook failed: {message}")),
            Note::PullFailed { message } => ("Failed", format!("Failed to pull image \"{image}\": {message}")),
            Note::Pulled(pulled) => {
                let took = go(pulled.took);
                let size = pulled.size_bytes;
                let text = format!(
                    "Successfully pulled image \"{image}\" in {took} ({took} including waiting). Image size: {size} bytes."
                );
                ("Pulled", text)
            }
            Note::Pulling => ("Pulling", format!("Pulling image \"{image}\"")),
            Note::Present => ("Pulled", format!("Container image \"{image}\" already present on machine")),
            Note::Rejected(outcome) => {
                return NoteText { warning: true, reason: outcome.reason.clone(), message: outcome.message.clone() };
            }
            Note::Resized => ("ResizeCompleted", format!("Pod resize completed: {}", state.resources_summary())),
            Note::SandboxFailed { message } => {
                ("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {message}"))
            }
            Note::Started => ("Started", format!("Started container {name}")),
            Note::StartFailed { message } => ("Failed", format!("Error: {message}")),
            Note::Unhealthy { probe, message } => {
                let mut kind = probe.name().to_owned();
                kind[..1].make_ascii_uppercase();
                ("Unhealthy", format!("{kind} probe failed: {message}"))
            }
            Note::WaitingError { reason } => ("Failed", format!("Error: {reason}")),
        };
        NoteText { warning: self.is_warning(), reason: reason.to_owned(), message }
    }
}
