//! A runtime without containers: every answer follows from a pace, a table of images, the container's command and the
//! annotations of [`SETTINGS`]. It keeps a few words per running container and no task.

mod command;
mod recover;
mod settings;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_object::Object;
use k8s_object::views::{Container, Pod};
use serde_json::Value;
use world::{Timestamp, World};

use crate::ids::{ContainerId, digest, hex};
use crate::network::PodNetworkRef;
use crate::pace::Pace;
use crate::pod::{Hook, ProbeKind, ProbeOutcome, Pulled, Recovered, RecoveredState, RuntimeEvent};
use crate::runtime::{Completions, Image, PodContext, PodHandle, PullPolicy, Runtime};

pub(crate) use settings::image_reference;
pub use settings::{SETTINGS, Setting};

use command::{Exit, Process};
use settings::{Settings, image_mib};

/// How many images a node keeps; the kubelet's garbage collection would not let more pile up.
const MAX_IMAGES: usize = 500;

/// The simulated runtime of all nodes of one Host.
pub struct SimulatedRuntime {
    world: World,
    completions: Completions,
    pace: Pace,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: BTreeMap<(PodHandle, u16), Running>,
    images: BTreeMap<Arc<str>, BTreeMap<Box<str>, Cached>>,
}

#[derive(Clone, Copy)]
struct Running {
    attempt: u32,
    started: Timestamp,
}

struct Cached {
    id: Arc<str>,
    size_bytes: u64,
    /// When the pull under way is done.
    present_at: Duration,
}

const MIB: u64 = 1 << 20;

fn spec(pod: &Pod, container: u16) -> &Container {
    crate::pod::container_spec(&pod.spec, usize::from(container))
}

fn network_ref(pod: &Pod) -> PodNetworkRef<'_> {
    PodNetworkRef { namespace: &pod.metadata.namespace, name: &pod.metadata.name, uid: &pod.metadata.uid }
}

impl SimulatedRuntime {
    /// A runtime that answers through `completions` at `pace`.
    pub fn new(world: World, completions: Completions, pace: Pace) -> SimulatedRuntime {
        SimulatedRuntime { world, completions, pace, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When and how a container ends by itself.
    fn exit(&self, pod: &Pod, container: u16) -> Option<(Exit, &'static str)> {
        let (spec, settings) = (spec(pod, container), settings_of(pod, container));
        let oom = settings.text("exit-reason") == Some("OOMKilled");
        let code = settings.number("exit-code").and_then(|code| i32::try_from(code).ok());
        let argv: Vec<&str> = spec.command.iter().chain(&spec.args).map(String::as_str).collect();
        let init = usize::from(container) < pod.spec.init_containers.len();
        let job = pod.metadata.controller().is_some_and(|owner| owner.kind == "Job");
        let ends = |after, code| Some(Exit { after, code });
        let natural = match command::process(&argv) {
            Process::Exits(exit) => Some(exit),
            Process::RunsForever => None,
            Process::Unknown if argv.is_empty() && is_pause(&spec.image) => None,
            Process::Unknown if init && spec.restart_policy.as_deref() != Some("Always") => ends(self.pace.init_run, 0),
            Process::Unknown if job && !init => ends(self.pace.job_run, 0),
            Process::Unknown => None,
        };
        let exit = match settings.seconds("exit-after-seconds") {
            Some(after) => Exit { after, code: code.unwrap_or(natural.map_or(0, |exit| exit.code)) },
            None => Exit { code: code.unwrap_or(natural?.code), ..natural? },
        };
        Some(if oom { (Exit { code: 137, ..exit }, "OOMKilled") } else { (exit, reason(exit.code)) })
    }

    /// Delivers the end by itself of a container that starts after `delay` and has run for `ran` already.
    fn schedule_exit(&self, pod: &PodContext, container: u16, attempt: u32, delay: Duration, ran: Duration) {
        if let Some((exit, reason)) = self.exit(&pod.pod, container) {
            let event = RuntimeEvent::ContainerExited { container, attempt, exit_code: exit.code, reason };
            self.completions.deliver(pod.handle, delay.saturating_add(exit.after.saturating_sub(ran)), event);
        }
    }

    fn forget_containers(&self, pod: &PodContext) {
        let mut state = self.lock();
        for container in 0..pod.pod.spec.init_containers.len() + pod.pod.spec.containers.len() {
            state.running.remove(&(pod.handle, container as u16));
        }
    }

    fn probe_outcome(
        &self,
        pod: &Pod,
        container: u16,
        kind: ProbeKind,
        elapsed: Duration,
        address: Option<IpAddr>,
    ) -> ProbeOutcome {
        let settings = settings_of(pod, container);
        let (healthy, steady) = match kind {
            ProbeKind::Liveness => {
                let fails_after = settings.seconds("unhealthy-after-seconds");
                (fails_after.is_none_or(|after| elapsed < after), fails_after.is_none())
            }
            ProbeKind::Readiness | ProbeKind::Startup => {
                let never = settings.text("ready-seconds") == Some("never");
                let ready = settings.seconds("ready-seconds").unwrap_or(self.pace.ready);
                (!never && elapsed >= ready, true)
            }
        };
        let result = if healthy { Ok(()) } else { Err(probe_failure(spec(pod, container), kind, address)) };
        ProbeOutcome { steady: steady && result.is_ok(), result }
    }
}

fn settings_of(pod: &Pod, container: u16) -> Settings<'_> {
    Settings::of(&pod.metadata.annotations, &spec(pod, container).name)
}

fn reason(code: i32) -> &'static str {
    if code == 0 { "Completed" } else { "Error" }
}

/// What a failing probe reports, by what it probes.
fn probe_failure(spec: &Container, kind: ProbeKind, address: Option<IpAddr>) -> String {
    let probe = match kind {
        ProbeKind::Startup => &spec.startup_probe,
        ProbeKind::Liveness => &spec.liveness_probe,
        ProbeKind::Readiness => &spec.readiness_probe,
    };
    let handler = |key: &str| probe.as_ref().and_then(|probe| probe.handler.get(key)).filter(|value| !value.is_null());
    if handler("httpGet").is_some() {
        "HTTP probe failed with statuscode: 503".to_owned()
    } else if let Some(socket) = handler("tcpSocket") {
        let address = address.map_or_else(String::new, |address| address.to_string());
        let port = match &socket["port"] {
            Value::String(name) => {
                let named = spec.ports.iter().find(|port| port.name == *name);
                named.map_or_else(|| name.clone(), |port| port.container_port.to_string())
            }
            number => number.to_string(),
        };
        format!("dial tcp {address}:{port}: connect: connection refused")
    } else if handler("grpc").is_some() {
        "service unhealthy (responded with \"NOT_SERVING\")".to_owned()
    } else {
        String::new()
    }
}

impl Runtime for SimulatedRuntime {
    fn run_pod_sandbox(&self, pod: &PodContext, attempt: u32) {
        let settings = Settings::of(&pod.pod.metadata.annotations, "");
        let delay = settings.seconds("sandbox-seconds").unwrap_or(self.pace.sandbox);
        let failed = |message: String| RuntimeEvent::SandboxFailed { attempt, message };
        let event = if let Some(error) = settings.text("sandbox-error") {
            failed(format!("rpc error: code = Unknown desc = {error}"))
        } else if pod.pod.spec.host_network {
            RuntimeEvent::SandboxReady { attempt, address: pod.node.addresses.first().copied() }
        } else {
            match pod.node.network.allocate(network_ref(&pod.pod)) {
                Ok(address) => RuntimeEvent::SandboxReady { attempt, address: Some(address) },
                Err(message) => {
                    let sandbox = hex(&digest(&[&pod.pod.metadata.uid, "sandbox", &attempt.to_string()]));
                    failed(format!(
                        "rpc error: code = Unknown desc = failed to setup network for sandbox \"{sandbox}\": \
                         plugin type=\"aws-cni\" name=\"aws-cni\" failed (add): {message}"
                    ))
                }
            }
        };
        self.completions.deliver(pod.handle, delay, event);
    }

    fn stop_pod_sandbox(&self, pod: &PodContext, address: Option<IpAddr>) {
        self.forget_containers(pod);
        if let Some(address) = address.filter(|_| !pod.pod.spec.host_network) {
            pod.node.network.release(address);
        }
        self.completions.deliver(pod.handle, self.pace.teardown, RuntimeEvent::SandboxStopped);
    }

    fn pull_image(&self, pod: &PodContext, container: u16, policy: PullPolicy) {
        let (spec, settings) = (spec(&pod.pod, container), settings_of(&pod.pod, container));
        let name = image_reference(&spec.image);
        let mut state = self.lock();
        let cached = state.images.get(&pod.node.name).and_then(|images| images.get(name.as_str()));
        let now = self.world.elapsed();
        let cached = cached.map(|image| (image.id.clone(), image.size_bytes, image.present_at));
        if spec.image.is_empty() || spec.image.contains(char::is_whitespace) {
            let message = format!("Failed to apply default image tag \"{}\": couldn't parse image name", spec.image);
            let event = RuntimeEvent::ImageFailed { container, reason: "InvalidImageName", message };
            return self.completions.deliver(pod.handle, Duration::ZERO, event);
        }
        match (cached, policy) {
            (Some((image_id, _, present_at)), PullPolicy::IfNotPresent | PullPolicy::Never) if present_at <= now => {
                let event = RuntimeEvent::ImageReady { container, image_id, pulled: None };
                self.completions.deliver(pod.handle, Duration::ZERO, event);
            }
            (_, PullPolicy::Never) => {
                let message = format!("Container image \"{}\" is not present with pull policy of Never", spec.image);
                let event = RuntimeEvent::ImageFailed { container, reason: "ErrImageNeverPull", message };
                self.completions.deliver(pod.handle, Duration::ZERO, event);
            }
            (cached, _) => {
                let mib = settings.number("pull-mib").and_then(|mib| u64::try_from(mib).ok());
                let mib = mib.unwrap_or_else(|| image_mib(&spec.image));
                let fetched = if cached.is_some() { 0 } else { u32::try_from(mib).unwrap_or(u32::MAX) };
                let took = self.pace.pull.saturating_add(self.pace.pull_per_mib.saturating_mul(fetched));
                let took = settings.seconds("pull-seconds").unwrap_or(took);
                // Another pod's pull of the same image is waited for, not repeated.
                let under_way = cached.as_ref().map(|(_, _, present_at)| present_at.saturating_sub(now));
                let took = under_way.filter(|rest| !rest.is_zero()).unwrap_or(took);
                self.completions.deliver(pod.handle, Duration::ZERO, RuntimeEvent::ImagePulling { container });
                let missing = is_said_to_be_missing(&name).then_some("not found");
                if let Some(error) = settings.text("pull-error").or(missing) {
                    let message =
                        format!("rpc error: code = Unknown desc = failed to pull and unpack image \"{name}\": {error}");
                    let event = RuntimeEvent::ImageFailed { container, reason: "ErrImagePull", message };
                    return self.completions.deliver(pod.handle, took, event);
                }
                let known = cached.map(|(image_id, size_bytes, _)| (image_id, size_bytes));
                let (image_id, size_bytes) = known.unwrap_or_else(|| {
                    let image_id = image_id(&name);
                    let images = state.images.entry(pod.node.name.clone()).or_default();
                    if images.len() >= MAX_IMAGES {
                        images.pop_first();
                    }
                    let size_bytes = mib.saturating_mul(MIB);
                    let present_at = now.saturating_add(took);
                    let cached = Cached { id: image_id.clone(), size_bytes, present_at };
                    images.insert(name.as_str().into(), cached);
                    (image_id, size_bytes)
                });
                let pulled = Some(Pulled { took, size_bytes });
                self.completions.deliver(pod.handle, took, RuntimeEvent::ImageReady { container, image_id, pulled });
            }
        }
    }

    fn start_container(&self, pod: &PodContext, container: u16, attempt: u32) {
        let (spec, settings) = (spec(&pod.pod, container), settings_of(&pod.pod, container));
        let delay = settings.seconds("start-seconds").unwrap_or(self.pace.start);
        if let Some(error) = settings.text("start-error") {
            let message = format!(
                "failed to create containerd task: failed to create shim task: OCI runtime create failed: {error}"
            );
            let event = RuntimeEvent::ContainerStartFailed { container, attempt, message };
            return self.completions.deliver(pod.handle, delay, event);
        }
        let started = self.world.now() + delay;
        self.lock().running.insert((pod.handle, container), Running { attempt, started });
        let id = ContainerId::derived(&pod.pod.metadata.uid, &spec.name, attempt);
        self.completions.deliver(pod.handle, delay, RuntimeEvent::ContainerStarted { container, attempt, id });
        self.schedule_exit(pod, container, attempt, delay, Duration::ZERO);
    }

    fn stop_container(&self, pod: &PodContext, container: u16, attempt: u32, grace: Duration) {
        let settings = settings_of(&pod.pod, container);
        self.lock().running.remove(&(pod.handle, container));
        let stop = settings.seconds("stop-seconds").unwrap_or(self.pace.stop);
        let killed = settings.flag("ignores-sigterm") || stop > grace;
        let (delay, exit_code, reason) = if killed {
            (grace, 137, "Error")
        } else {
            let code = settings.number("exit-code").and_then(|code| i32::try_from(code).ok()).unwrap_or(0);
            (stop, code, reason(code))
        };
        let event = RuntimeEvent::ContainerExited { container, attempt, exit_code, reason };
        self.completions.deliver(pod.handle, delay, event);
    }

    fn resize_container(&self, pod: &PodContext, container: u16, attempt: u32) {
        let event = RuntimeEvent::ContainerResized { container, attempt };
        self.completions.deliver(pod.handle, self.pace.start, event);
    }

    fn run_hook(&self, pod: &PodContext, container: u16, attempt: u32, hook: Hook) {
        let settings = settings_of(&pod.pod, container);
        let key = match hook {
            Hook::PostStart => "postStart",
            Hook::PreStop => "preStop",
        };
        let handler = spec(&pod.pod, container).lifecycle.as_ref().map_or(&Value::Null, |lifecycle| &lifecycle[key]);
        let words = handler["exec"]["command"].as_array().map_or(&[][..], Vec::as_slice);
        let argv: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        let process = command::process(&argv);
        let evident = match (handler["sleep"]["seconds"].as_u64(), process) {
            (Some(seconds), _) => Some(Duration::from_secs(seconds)),
            (None, Process::Exits(exit)) => Some(exit.after),
            (None, Process::RunsForever) => Some(Duration::MAX),
            (None, Process::Unknown) => None,
        };
        let delay = settings.seconds("hook-seconds").or(evident).unwrap_or(self.pace.hook);
        let result = match (hook, settings.text("post-start-error"), process) {
            (Hook::PostStart, Some(error), _) => Err(error.to_owned()),
            (_, _, Process::Exits(exit)) if exit.code != 0 => {
                Err(format!("command '{}' exited with {}", argv.join(" "), exit.code))
            }
            _ => Ok(()),
        };
        self.completions.deliver(pod.handle, delay, RuntimeEvent::HookDone { container, attempt, hook, result });
    }

    fn probe(&self, pod: &PodContext, container: u16, attempt: u32, probe: ProbeKind) {
        let running = self.lock().running.get(&(pod.handle, container)).copied();
        let Some(running) = running.filter(|running| running.attempt == attempt) else {
            return; // It has ended; so has the interest in the answer.
        };
        let elapsed = self.world.now().since(running.started);
        let address = pod.pod.status.pod_ip.parse().ok();
        let outcome = self.probe_outcome(&pod.pod, container, probe, elapsed, address);
        self.completions.deliver(
            pod.handle,
            Duration::ZERO,
            RuntimeEvent::Probed { container, attempt, probe, outcome },
        );
    }

    fn recover(&self, pod: &PodContext, object: &Object, rebooted: bool) -> Option<Recovered> {
        let now = self.world.now();
        let mut recovered = recover::recover(object, rebooted, now)?;
        if recovered.sandbox_ready && !pod.pod.spec.host_network && !pod.pod.is_finished() {
            let address = recovered.address?;
            // An address that is not to be had any more means a new sandbox, as after a reboot.
            if pod.node.network.restore(network_ref(&pod.pod), address).is_err() {
                recovered = recover::recover(object, true, now)?;
            }
        }
        for (container, found) in recovered.containers.iter().enumerate() {
            if let Some(image_id) = &found.image_id {
                let container = spec(&pod.pod, container as u16);
                let size_bytes = image_mib(&container.image) * MIB;
                let cached = Cached { id: image_id.clone(), size_bytes, present_at: Duration::ZERO };
                let mut state = self.lock();
                let images = state.images.entry(pod.node.name.clone()).or_default();
                images.entry(image_reference(&container.image).into()).or_insert(cached);
            }
            if let RecoveredState::Running { started_at } = found.state {
                let (container, attempt) = (container as u16, found.runs.saturating_sub(1));
                self.lock().running.insert((pod.handle, container), Running { attempt, started: started_at });
                self.schedule_exit(pod, container, attempt, Duration::ZERO, now.since(started_at));
            }
        }
        Some(recovered)
    }

    fn list_images(&self, node: &str) -> Vec<Image> {
        let state = self.lock();
        let images = state.images.get(node).into_iter().flatten();
        let now = self.world.elapsed();
        let names = |name: &str, image: &Cached| vec![image.id.to_string(), name.to_owned()];
        images
            .filter(|(_, image)| image.present_at <= now)
            .map(|(name, image)| Image { names: names(name, image), size_bytes: image.size_bytes })
            .collect()
    }

    fn forget_pod(&self, pod: &PodContext, address: Option<IpAddr>) {
        self.forget_containers(pod);
        if let Some(address) = address.filter(|_| !pod.pod.spec.host_network) {
            pod.node.network.release(address);
        }
    }

    fn forget_node(&self, node: &str) {
        self.lock().images.remove(node);
    }
}

/// `docker.io/library/nginx@sha256:…`: the digest follows from the name, so that every node agrees.
fn image_id(name: &str) -> Arc<str> {
    let repository = name.split('@').next().unwrap_or(name);
    if let Some((_, own)) = name.split_once('@') {
        return format!("{repository}@{own}").into();
    }
    let tag = repository.rfind(':').filter(|colon| !repository[*colon..].contains('/'));
    let repository = &repository[..tag.unwrap_or(repository.len())];
    format!("{repository}@sha256:{}", hex(&digest(&[name]))).into()
}

/// Whether an image is Kubernetes' own that does nothing until it is stopped.
fn is_pause(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or("");
    name.split([':', '@']).next() == Some("pause")
}

/// Whether an image's own name says that no registry has it: the tags `404` and `non-existent`, and hosts that can never be there (RFC 2606). People
/// rehearse stuck rollouts with such names, and so does the conformance suite.
fn is_said_to_be_missing(name: &str) -> bool {
    let host = name.split('/').next().unwrap_or("");
    name.ends_with(":404")
        || name.ends_with(":non-existent")
        || host.starts_with("invalid.")
        || host.ends_with(".invalid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_say_what_is_certain() {
        for (image, pauses, missing) in [
            ("registry.k8s.io/pause:3.10.1", true, false),
            ("pause", true, false),
            ("pause@sha256:0123", true, false),
            ("example.com/pause-button:1", false, false),
            ("webserver:404", false, true),
            ("invalid.registry.k8s.io/a:1", false, true),
            ("registry.invalid/a:1", false, true),
            ("web:40", false, false),
        ] {
            assert_eq!((is_pause(image), is_said_to_be_missing(image)), (pauses, missing), "{image}");
        }
    }
}
