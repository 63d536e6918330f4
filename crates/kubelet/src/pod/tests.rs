//! Behaviour as scripts: what happens to a pod, and what its machine does about it.

use std::sync::Arc;
use std::time::Duration;

use k8s_object::views::Pod;
use serde_json::{Value, json};
use world::Timestamp;

use super::*;

/// A pod, its object and its clock.
struct Play {
    object: Value,
    state: PodState,
    now: Timestamp,
    status: Value,
}

fn view(object: &Value) -> Arc<Pod> {
    Arc::new(serde_json::from_value(object.clone()).unwrap())
}

impl Play {
    fn new(spec: &Value) -> Play {
        let mut spec = spec.clone();
        for list in ["containers", "initContainers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                if container["image"].is_null() {
                    container["image"] = json!("app:1");
                }
            }
        }
        let object = json!({"metadata": {"name": "web", "namespace": "default", "uid": "u1"}, "spec": spec});
        Play {
            state: PodState::new(view(&object)),
            object,
            now: Timestamp::from_seconds(1_000_000),
            status: Value::Null,
        }
    }

    fn event(&mut self, text: &str) -> Event {
        let words: Vec<&str> = text.split(' ').collect();
        let container = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        let attempt = self.state.containers.get(usize::from(container)).map_or(0, Container::attempt);
        let runtime = match words.as_slice() {
            ["ip"] => RuntimeEvent::SandboxReady {
                attempt: self.state.sandbox_attempts.saturating_sub(1),
                address: Some([10, 0, 0, 1].into()),
            },
            ["noip"] => RuntimeEvent::SandboxFailed {
                attempt: self.state.sandbox_attempts.saturating_sub(1),
                message: "no address".into(),
            },
            ["torn"] => RuntimeEvent::SandboxStopped,
            ["image", _] => RuntimeEvent::ImageReady { container, image_id: "app@sha256:1".into(), pulled: None },
            ["noimage", _] => {
                RuntimeEvent::ImageFailed { container, reason: "ErrImagePull", message: "no such image".into() }
            }
            ["up", _] => {
                RuntimeEvent::ContainerStarted { container, attempt, id: ContainerId::derived("u1", "c", attempt) }
            }
            ["noup", _] => RuntimeEvent::ContainerStartFailed { container, attempt, message: "no such file".into() },
            ["exit", _, code] => {
                let exit_code = code.parse().unwrap();
                let reason = if exit_code == 0 { "Completed" } else { "Error" };
                RuntimeEvent::ContainerExited { container, attempt, exit_code, reason }
            }
            ["late-exit", _] => {
                let attempt = attempt.wrapping_sub(1);
                RuntimeEvent::ContainerExited { container, attempt, exit_code: 1, reason: "Error" }
            }
            ["hook", _, hook, result] => RuntimeEvent::HookDone {
                container,
                attempt,
                hook: if *hook == "postStart" { Hook::PostStart } else { Hook::PreStop },
                result: if *result == "ok" { Ok(()) } else { Err("it broke".into()) },
            },
            ["probe", _, kind, result] => RuntimeEvent::Probed {
                container,
                attempt,
                probe: match *kind {
                    "startup" => ProbeKind::Startup,
                    "liveness" => ProbeKind::Liveness,
                    _ => ProbeKind::Readiness,
                },
                outcome: ProbeOutcome {
                    result: if *result == "fail" { Err("HTTP 503".into()) } else { Ok(()) },
                    steady: *result == "steady",
                },
            },
            _ => return self.other_event(&words),
        };
        Event::Runtime(runtime)
    }

    fn other_event(&mut self, words: &[&str]) -> Event {
        let seconds = |word: &str| Duration::from_secs_f64(word.parse().unwrap());
        match words {
            ["admit"] => Event::Admitted,
            ["reject"] => Event::Rejected(Outcome { reason: "OutOfpods".into(), message: "full".into() }),
            ["wait", time] => {
                self.now = self.now + seconds(time);
                Event::TimerFired
            }
            ["delete", grace] => {
                self.object["metadata"]["deletionTimestamp"] = json!((self.now + seconds(grace)).to_string());
                self.object["metadata"]["deletionGracePeriodSeconds"] = json!(grace.parse::<i64>().unwrap());
                Event::PodUpdated(view(&self.object))
            }
            ["set", pointer, value] => {
                *self.object.pointer_mut(pointer).unwrap() = serde_json::from_str(value).unwrap();
                Event::PodUpdated(view(&self.object))
            }
            ["update"] => Event::PodUpdated(view(&self.object)),
            ["removed"] => Event::PodRemoved,
            ["shutdown", grace] => Event::NodeShutdown { grace: seconds(grace) },
            ["written"] => Event::StatusWritten { ended: matches!(self.state.life, Life::Ended { .. }) },
            other => panic!("unknown event {other:?}"),
        }
    }

    /// Takes an event and returns what is done about it.
    fn step(&mut self, event: Event) -> Vec<Action> {
        let (state, actions) = step(self.state.clone(), event, self.now);
        self.state = state;
        self.check();
        let node = NodeFacts { addresses: vec![[192, 168, 0, 1].into()] };
        if actions.iter().any(|action| matches!(action, Action::WriteStatus { .. })) {
            self.status = status(&self.state, &node, &self.status, self.now);
            self.object["status"] = self.status.clone();
        }
        actions
    }

    /// What must hold of every pod after every step.
    fn check(&self) {
        let state = &self.state;
        let node = NodeFacts { addresses: vec![[192, 168, 0, 1].into()] };
        let status = status(state, &node, &self.status, self.now);
        let conditions = status["conditions"].as_array().unwrap();
        let is_true = |kind: &str| conditions.iter().any(|own| own["type"] == kind && own["status"] == "True");
        let mains = &state.containers[state.inits()..];
        if is_true("ContainersReady") {
            assert!(mains.iter().all(|container| container.phase.running_since().is_some()), "ready means running");
        }
        assert!(!is_true("Ready") || is_true("ContainersReady"), "a pod is not readier than its containers");
        if matches!(state.life, Life::Ended { .. } | Life::Gone) {
            assert!(state.containers.iter().all(|container| !container.phase.is_alive()), "nothing runs after the end");
            assert!(matches!(status["phase"].as_str(), Some("Succeeded" | "Failed")), "the end has a verdict");
        }
        for container in &*state.containers {
            let running = container.phase.running_since().is_some();
            assert!(running || !(container.ready || container.started), "only what runs is started or ready");
            assert!(!running || container.runs > 0, "what runs has been started");
        }
    }

    /// Phase, true conditions (Pod ready to start containers, Initialized, ContainersReady, Ready), containers; `*` is ready,
    /// `#` the number of restarts.
    fn summary(&self) -> String {
        let conditions = self.status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        let letter = |(kind, letter): &(&str, char)| {
            conditions.iter().any(|own| own["type"] == *kind && own["status"] == "True").then_some(*letter)
        };
        let kinds =
            [("PodReadyToStartContainers", 'P'), ("Initialized", 'I'), ("ContainersReady", 'C'), ("Ready", 'R')];
        let letters: String = kinds.iter().filter_map(letter).collect();
        let mut text = format!("{} {letters}", self.status["phase"].as_str().unwrap());
        if let Some(reason) = self.status["reason"].as_str() {
            text += &format!(" ({reason})");
        }
        for list in ["initContainerStatuses", "containerStatuses"] {
            for container in self.status[list].as_array().into_iter().flatten() {
                let (kind, state) = container["state"].as_object().unwrap().iter().next().unwrap();
                text += &format!(" {}:{kind}", container["name"].as_str().unwrap());
                if let Some(reason) = state["reason"].as_str() {
                    text += &format!(":{reason}");
                }
                text += if container["ready"] == true { "*" } else { "" };
                let restarts = container["restartCount"].as_i64().unwrap();
                text += &if restarts > 0 { format!("#{restarts}") } else { String::new() };
            }
        }
        text
    }
}

fn render(action: &Action) -> Option<String> {
    Some(match action {
        Action::CreateSandbox { attempt } => format!("sandbox{attempt}"),
        Action::StopSandbox => "teardown".into(),
        Action::PullImage { container, .. } => format!("pull{container}"),
        Action::StartContainer { container, attempt } => format!("start{container}.{attempt}"),
        Action::StopContainer { container, grace, .. } => format!("stop{container}:{}s", grace.as_secs_f64()),
        Action::ResizeContainer { container, .. } => format!("resize{container}"),
        Action::RunHook { container, hook, .. } => format!("{hook:?}{container}"),
        Action::RunProbe { container, probe, .. } => format!("{}{container}", probe.name()),
        Action::DeleteFromApi => "delete".into(),
        Action::Forget => "forget".into(),
        Action::WriteStatus { .. } | Action::SetTimer(_) | Action::Note { .. } => return None,
    })
}

/// Plays a script. `=` compares the status; an expectation lists all calls to the runtime and the API, and, where it matters,
/// `(Reason)` of a note and `+10s` for the timer.
fn play(name: &str, spec: &Value, script: &[(&str, &str)]) -> Play {
    let mut pod = Play::new(spec);
    for (at, (event, expected)) in script.iter().enumerate() {
        let place = format!("{name}, line {}: {event}", at + 1);
        if *event == "=" {
            assert_eq!(pod.summary(), *expected, "{place}");
            continue;
        }
        let event = pod.event(event);
        let before = pod.state.clone();
        let actions = pod.step(event);
        let mut done: Vec<String> = actions.iter().filter_map(render).collect();
        for word in expected.split_whitespace() {
            if let Some(reason) = word.strip_prefix('(') {
                let reason = reason.trim_end_matches(')');
                let told = actions.iter().any(|action| match action {
                    Action::Note { container, note } => note.text(&before, *container).reason == reason,
                    _ => false,
                });
                assert!(told, "{place}: no event {reason} among {actions:?}");
            } else if let Some(seconds) = word.strip_prefix('+') {
                let at = pod.now + Duration::from_secs_f64(seconds.trim_end_matches('s').parse().unwrap());
                assert_eq!(pod.state.timer, Some(at), "{place}: timer");
            } else {
                assert_eq!(done.first().map(String::as_str), Some(word), "{place}: of {actions:?}");
                done.remove(0);
            }
        }
        assert!(done.is_empty(), "{place}: also did {done:?}");
    }
    pod
}

const START: [(&str, &str); 4] =
    [("admit", "sandbox0"), ("ip", "pull0"), ("image 0", "start0.0"), ("up 0", "(Started)")];

fn after_start(rest: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    START.iter().copied().chain(rest.iter().copied()).collect()
}

#[test]
fn a_pod_lives_and_is_deleted() {
    let spec = json!({"containers": [{"name": "a"}]});
    let script = after_start(&[
        ("=", "Running PICR a:running*"),
        ("delete 30", "stop0:30s (Killing)"),
        ("=", "Running PICR a:running*"),
        ("exit 0 0", "teardown"),
        ("torn", ""),
        ("=", "Succeeded I a:terminated:Completed"),
        ("written", "delete"),
        ("written", ""),
        ("removed", "forget"),
    ]);
    let pod = play("one container", &spec, &script);
    assert_eq!(pod.status["podIP"], "10.0.0.1");
    assert_eq!(pod.status["podIPs"], json!([{"ip": "10.0.0.1"}]));
    assert_eq!(pod.status["hostIPs"], json!([{"ip": "192.168.0.1"}]));
    assert_eq!(pod.status["containerStatuses"][0]["image"], "docker.io/library/app:1");
}

#[test]
fn containers_start_in_order() {
    let inits = json!({
        "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}, {"name": "j"}],
        "containers": [{"name": "a"}, {"name": "b"}],
    });
    play(
        "init containers one after another, a sidecar stays",
        &inits,
        &[
            ("admit", "sandbox0"),
            ("ip", "pull0"),
            (
                "=",
                "Pending P i:waiting:PodInitializing s:waiting:PodInitializing j:waiting:PodInitializing a:waiting:PodInitializing b:waiting:PodInitializing",
            ),
            ("image 0", "start0.0"),
            ("up 0", ""),
            ("exit 0 0", "pull1"),
            ("image 1", "start1.0"),
            ("up 1", "pull2"),
            ("image 2", "start2.0"),
            ("up 2", ""),
            ("exit 2 0", "pull3 pull4"),
            ("image 3", "start3.0"),
            ("image 4", "start4.0"),
            ("up 3", ""),
            (
                "=",
                "Pending PI i:terminated:Completed* s:running* j:terminated:Completed* a:running* b:waiting:PodInitializing",
            ),
            ("up 4", ""),
            ("=", "Running PICR i:terminated:Completed* s:running* j:terminated:Completed* a:running* b:running*"),
            ("exit 1 1", "pull1"),
            (
                "=",
                "Running PI i:terminated:Completed* s:waiting:PodInitializing j:terminated:Completed* a:running* b:running*",
            ),
            ("image 1", "start1.1"),
            ("up 1", ""),
            ("delete 30", "stop3:30s stop4:30s"),
            ("wait 5", ""),
            ("exit 3 0", ""),
            ("exit 4 0", "stop1:25s"),
            ("exit 1 0", "teardown"),
        ],
    );
    let fails = json!({"restartPolicy": "Never", "initContainers": [{"name": "i"}], "containers": [{"name": "a"}]});
    play(
        "a failed init container ends a pod that never restarts",
        &fails,
        &after_start(&[
            ("exit 0 3", "teardown"),
            ("torn", ""),
            ("=", "Failed  i:terminated:Error a:terminated:ContainerStatusUnknown"),
        ]),
    );
    let retries = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]});
    play(
        "a failed init container is tried again",
        &retries,
        &after_start(&[
            ("exit 0 1", "pull0"),
            ("image 0", "start0.1"),
            ("up 0", ""),
            ("exit 0 1", "(BackOff) +10s"),
            ("=", "Pending P i:waiting:CrashLoopBackOff#1 a:waiting:PodInitializing"),
        ]),
    );
}

#[test]
fn ends_and_restarts() {
    let always = json!({"containers": [{"name": "a"}]});
    play(
        "a crash loop waits 0, 10, 20 … seconds and calms down",
        &always,
        &after_start(&[
            ("exit 0 1", "pull0"),
            ("image 0", "start0.1"),
            ("up 0", ""),
            ("=", "Running PICR a:running*#1"),
            ("wait 1", ""),
            ("exit 0 1", "(BackOff) +10s"),
            ("=", "Running PI a:waiting:CrashLoopBackOff#1"),
            ("wait 9", ""),
            ("wait 1", "pull0"),
            ("image 0", "start0.2"),
            ("up 0", ""),
            ("exit 0 1", "+20s"),
            ("wait 20", "pull0"),
            ("image 0", "start0.3"),
            ("up 0", ""),
            ("late-exit 0", ""),
            ("wait 601", ""),
            ("exit 0 1", "pull0"),
            ("image 0", "start0.4"),
            ("up 0", ""),
            ("exit 0 1", "+10s"),
            ("delete 30", "teardown"),
            ("torn", ""),
            ("=", "Failed I a:terminated:Error#4"),
        ]),
    );
    let never = json!({"restartPolicy": "Never", "containers": [{"name": "a"}, {"name": "b"}]});
    let both = [
        ("admit", "sandbox0"),
        ("ip", "pull0 pull1"),
        ("image 0", "start0.0"),
        ("image 1", "start1.0"),
        ("up 0", ""),
        ("up 1", ""),
        ("exit 0 0", ""),
        ("=", "Running PI a:terminated:Completed b:running*"),
    ];
    let with = |rest: &[(&'static str, &'static str)]| both.iter().chain(rest).copied().collect::<Vec<_>>();
    play(
        "all succeed",
        &never,
        &with(&[
            ("exit 1 0", "teardown"),
            ("torn", ""),
            ("=", "Succeeded I a:terminated:Completed b:terminated:Completed"),
            ("written", ""),
            ("delete 30", ""),
            ("written", "delete"),
        ]),
    );
    play(
        "one fails",
        &never,
        &with(&[("exit 1 7", "teardown"), ("torn", ""), ("=", "Failed I a:terminated:Completed b:terminated:Error")]),
    );
    let on_failure = json!({"restartPolicy": "OnFailure", "containers": [{"name": "a"}]});
    play(
        "OnFailure restarts failures only",
        &on_failure,
        &after_start(&[("exit 0 1", "pull0"), ("image 0", "start0.1"), ("up 0", ""), ("exit 0 0", "teardown")]),
    );
    play(
        "a container that cannot be started backs off",
        &always,
        &[
            ("admit", "sandbox0"),
            ("ip", "pull0"),
            ("image 0", "start0.0"),
            ("noup 0", "pull0 (Failed)"),
            ("image 0", "start0.1"),
            ("noup 0", "+10s"),
            ("=", "Running PI a:waiting:CrashLoopBackOff#1"),
        ],
    );
    play(
        "a new image replaces the container",
        &always,
        &after_start(&[
            ("set /spec/containers/0/image \"app:2\"", "stop0:30s (Killing)"),
            ("exit 0 0", "pull0"),
            ("image 0", "start0.1"),
        ]),
    );
    let sidecar = json!({"restartPolicy": "Never", "containers": [{"name": "a"}],
        "initContainers": [{"name": "s", "restartPolicy": "Always"}]});
    play(
        "a sidecar does not keep a finished pod alive",
        &sidecar,
        &[
            ("admit", "sandbox0"),
            ("ip", "pull0"),
            ("image 0", "start0.0"),
            ("up 0", "pull1"),
            ("image 1", "start1.0"),
            ("up 1", ""),
            ("exit 1 0", "stop0:30s"),
            ("=", "Running PI s:running* a:terminated:Completed"),
            ("exit 0 143", "teardown"),
            ("torn", ""),
            ("=", "Succeeded I s:terminated:Error a:terminated:Completed"),
        ],
    );
}

#[test]
fn probes_decide() {
    let readiness = json!({"containers": [{"name": "a", "readinessProbe":
        {"httpGet": {"port": 80}, "initialDelaySeconds": 5, "periodSeconds": 2, "failureThreshold": 2}}]});
    play(
        "readiness comes, goes after two failures and comes back",
        &readiness,
        &after_start(&[
            ("=", "Running PI a:running"),
            ("wait 4", ""),
            ("wait 1", "readiness0"),
            ("probe 0 readiness fail", "+2s (Unhealthy)"),
            ("wait 2", "readiness0"),
            ("probe 0 readiness ok", "+2s"),
            ("=", "Running PICR a:running*"),
            ("wait 2", "readiness0"),
            ("probe 0 readiness fail", ""),
            ("=", "Running PICR a:running*"),
            ("wait 2", "readiness0"),
            ("probe 0 readiness fail", ""),
            ("=", "Running PI a:running"),
            ("wait 2", "readiness0"),
            ("probe 0 readiness steady", ""),
            ("wait 60", ""),
            ("=", "Running PICR a:running*"),
        ]),
    );
    let liveness = json!({"terminationGracePeriodSeconds": 20, "containers": [{"name": "a", "livenessProbe":
        {"exec": {"command": ["x"]}, "periodSeconds": 1, "terminationGracePeriodSeconds": 7}}]});
    play(
        "a third failure of liveness kills and restarts",
        &liveness,
        &[
            ("admit", "sandbox0"),
            ("ip", "pull0"),
            ("image 0", "start0.0"),
            ("up 0", "liveness0"),
            ("probe 0 liveness fail", "+1s"),
            ("wait 1", "liveness0"),
            ("probe 0 liveness fail", ""),
            ("wait 1", "liveness0"),
            ("probe 0 liveness fail", "stop0:7s (Unhealthy) (Killing)"),
            ("wait 1", ""),
            ("exit 0 137", "pull0"),
            ("image 0", "start0.1"),
            ("up 0", "liveness0"),
            ("=", "Running PICR a:running*#1"),
        ],
    );
    let startup = json!({"containers": [{"name": "a",
        "startupProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1, "failureThreshold": 2},
        "livenessProbe": {"tcpSocket": {"port": 80}}, "readinessProbe": {"tcpSocket": {"port": 80}}}]});
    play(
        "nothing else is probed before startup succeeds",
        &startup,
        &[
            ("admit", "sandbox0"),
            ("ip", "pull0"),
            ("image 0", "start0.0"),
            ("up 0", "startup0"),
            ("probe 0 startup fail", "+1s"),
            ("wait 1", "startup0"),
            ("probe 0 startup ok", "liveness0 readiness0"),
            ("probe 0 readiness ok", ""),
            ("=", "Running PICR a:running*"),
        ],
    );
    play(
        "a container that does not start up is restarted",
        &startup,
        &[
            ("admit", "sandbox0"),
            ("ip", "pull0"),
            ("image 0", "start0.0"),
            ("up 0", "startup0"),
            ("probe 0 startup fail", ""),
            ("wait 1", "startup0"),
            ("probe 0 startup fail", "stop0:30s"),
            ("exit 0 137", "pull0"),
        ],
    );
    let gates = json!({"readinessGates": [{"conditionType": "lb"}], "containers": [{"name": "a"}]});
    let mut pod = play("a readiness gate holds the pod back", &gates, &after_start(&[("=", "Running PIC a:running*")]));
    let lb = json!({"type": "lb", "status": "True", "probe": "kept"});
    pod.object["status"]["conditions"].as_array_mut().unwrap().push(lb.clone());
    pod.status = pod.object["status"].clone();
    let event = pod.event("update");
    pod.step(event);
    assert_eq!(pod.summary(), "Running PICR a:running*");
    assert!(pod.status["conditions"].as_array().unwrap().contains(&lb), "what others wrote is kept as it was");
}

#[test]
fn stops_respect_hooks_and_grace() {
    let hook = json!({"containers": [{"name": "a", "lifecycle": {"preStop": {"exec": {"command": ["x"]}}}}]});
    play(
        "preStop first, and its time counts",
        &hook,
        &after_start(&[
            ("delete 30", "PreStop0"),
            ("wait 12", ""),
            ("hook 0 preStop ok", "stop0:18s"),
            ("exit 0 0", "teardown"),
        ]),
    );
    play(
        "a preStop hook that takes too long is not waited for",
        &hook,
        &after_start(&[
            ("delete 30", "PreStop0 +30s"),
            ("wait 30", "stop0:2s"),
            ("hook 0 preStop ok", ""),
            ("exit 0 137", "teardown"),
        ]),
    );
    play(
        "a failed preStop hook is told and passed over",
        &hook,
        &after_start(&[("delete 30", "PreStop0"), ("hook 0 preStop fail", "stop0:30s (FailedPreStopHook)")]),
    );
    let plain = json!({"terminationGracePeriodSeconds": 60, "containers": [{"name": "a"}]});
    play(
        "a second deletion shortens the grace, never lengthens it",
        &plain,
        &after_start(&[("delete 60", "stop0:60s"), ("wait 5", ""), ("delete 3", "stop0:3s"), ("delete 60", "")]),
    );
    play(
        "a removed object stops the pod without a word to the API",
        &plain,
        &after_start(&[("removed", "stop0:60s"), ("exit 0 0", "teardown"), ("torn", "forget")]),
    );
    play(
        "a pod that is deleted before it starts",
        &plain,
        &[("delete 60", ""), ("written", "delete"), ("removed", "forget")],
    );
    play(
        "deletion while the sandbox is being made",
        &plain,
        &[("admit", "sandbox0"), ("delete 60", ""), ("ip", "teardown"), ("torn", ""), ("written", "delete")],
    );
    play(
        "deletion while a container starts",
        &plain,
        &[
            ("admit", "sandbox0"),
            ("ip", "pull0"),
            ("image 0", "start0.0"),
            ("delete 60", ""),
            ("up 0", "stop0:60s"),
            ("exit 0 0", "teardown"),
        ],
    );
    play(
        "deletion while an image is pulled",
        &plain,
        &[("admit", "sandbox0"), ("ip", "pull0"), ("delete 60", "teardown"), ("image 0", "")],
    );
    let post = json!({"containers": [{"name": "a", "lifecycle": {"postStart": {"exec": {"command": ["x"]}}}}]});
    let begun = [("admit", "sandbox0"), ("ip", "pull0"), ("image 0", "start0.0"), ("up 0", "PostStart0")];
    let with = |rest: &[(&'static str, &'static str)]| begun.iter().chain(rest).copied().collect::<Vec<_>>();
    play(
        "a container runs when its postStart hook is done",
        &post,
        &with(&[
            ("=", "Pending PI a:waiting:ContainerCreating"),
            ("hook 0 postStart ok", ""),
            ("=", "Running PICR a:running*"),
        ]),
    );
    play(
        "a failed postStart hook restarts",
        &post,
        &with(&[("hook 0 postStart fail", "stop0:30s (FailedPostStartHook)"), ("exit 0 137", "pull0")]),
    );
    play(
        "a node that shuts down fails its pods",
        &plain,
        &after_start(&[
            ("shutdown 10", "stop0:10s"),
            ("exit 0 0", "teardown"),
            ("torn", ""),
            ("=", "Failed I (Terminated) a:terminated:Completed"),
        ]),
    );
    let deadline = json!({"activeDeadlineSeconds": 60, "containers": [{"name": "a"}]});
    play(
        "the active deadline ends the pod",
        &deadline,
        &after_start(&[
            ("wait 59", "+1s"),
            ("wait 1", "stop0:30s (DeadlineExceeded)"),
            ("=", "Running PICR a:running*"),
            ("exit 0 0", "teardown"),
            ("torn", ""),
            ("=", "Failed I (DeadlineExceeded) a:terminated:Completed"),
        ]),
    );
}

#[test]
fn what_is_missing_is_waited_for() {
    let spec = json!({"containers": [{"name": "a"}]});
    play(
        "an image that cannot be pulled backs off 10, 20 … seconds",
        &spec,
        &[
            ("admit", "sandbox0"),
            ("ip", "pull0"),
            ("noimage 0", "(Failed) +2s"),
            ("=", "Pending PI a:waiting:ErrImagePull"),
            ("wait 2", "(BackOff) +8s"),
            ("=", "Pending PI a:waiting:ImagePullBackOff"),
            ("wait 8", "pull0"),
            ("noimage 0", "+2s"),
            ("wait 2", "+18s"),
            ("set /spec/containers/0/image \"app:2\"", "pull0"),
            ("image 0", "start0.0"),
        ],
    );
    play(
        "a sandbox that cannot be made is tried again",
        &spec,
        &[
            ("admit", "sandbox0"),
            ("noip", "+10s (FailedCreatePodSandBox)"),
            ("=", "Pending I a:waiting:ContainerCreating"),
            ("ip", ""),
            ("wait 10", "sandbox1"),
            ("ip", "pull0"),
        ],
    );
    play(
        "a pod that the node does not take",
        &spec,
        &[
            ("reject", "(OutOfpods)"),
            ("=", "Failed I (OutOfpods)"),
            ("admit", ""),
            ("written", ""),
            ("delete 30", ""),
            ("written", "delete"),
        ],
    );
}

fn found(state: RecoveredState) -> RecoveredContainer {
    let id = Some(ContainerId::derived("u1", "a", 0));
    RecoveredContainer { runs: 1, state, last: None, id, image_id: None, started: true, ready: true, resources: None }
}

#[test]
fn what_survives_a_restart_goes_on() {
    let now = Timestamp::from_seconds(1_000_000);
    let recover = |spec: Value, sandbox_ready, containers| {
        let mut pod = Play::new(&spec);
        let address = Some([10, 0, 0, 9].into());
        let recovered = Recovered { started_at: now, sandbox_ready, address, containers };
        let actions = pod.step(Event::Recovered(recovered));
        (actions.iter().filter_map(render).collect::<Vec<_>>().join(" "), phase(&pod.state))
    };
    let plain = json!({"containers": [{"name": "a"}]});
    let running = || found(RecoveredState::Running { started_at: now });
    let ended = |exit_code| {
        found(RecoveredState::Terminated(Terminated {
            exit_code,
            reason: "Error".into(),
            message: String::new(),
            started_at: Some(now),
            finished_at: Some(now),
            id: None,
        }))
    };
    let never = json!({"restartPolicy": "Never", "containers": [{"name": "a"}]});
    let with_init = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]});
    let waiting = || RecoveredContainer { runs: 0, ..found(RecoveredState::Waiting { crash_loop: false }) };
    let cases = [
        ("a running container is left alone", plain.clone(), true, vec![running()], "", "Running"),
        ("an ended one is restarted", plain.clone(), true, vec![ended(1)], "pull0", "Running"),
        ("an ended one stays ended", never.clone(), true, vec![ended(0)], "teardown", "Running"),
        ("after a reboot there is a new sandbox", plain, false, vec![ended(255)], "sandbox0", "Running"),
        ("initialisation goes on where it was", with_init.clone(), true, vec![ended(0), waiting()], "pull1", "Pending"),
        ("an init container runs on", with_init, true, vec![running(), waiting()], "", "Pending"),
    ];
    for (case, spec, sandbox, containers, actions, phase) in cases {
        assert_eq!(recover(spec, sandbox, containers), (actions.to_owned(), phase), "{case}");
    }
}

/// Every event in every state that random walks reach: nothing panics, and [`Play::check`] holds after each step.
#[test]
fn no_event_breaks_any_state() {
    let specs = [
        json!({"containers": [{"name": "a"}]}),
        json!({"restartPolicy": "Never", "activeDeadlineSeconds": 50, "containers": [{"name": "a"}, {"name": "b"}]}),
        json!({"restartPolicy": "OnFailure", "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "a", "readinessProbe": {"exec": {}}, "livenessProbe": {"exec": {}},
                "startupProbe": {"exec": {}}, "lifecycle": {"preStop": {"exec": {}}, "postStart": {"exec": {}}}}]}),
    ];
    let mut events = vec![
        "admit",
        "reject",
        "ip",
        "noip",
        "torn",
        "delete 30",
        "delete 1",
        "removed",
        "shutdown 5",
        "written",
        "update",
        "wait 0.5",
        "wait 3",
        "wait 40",
        "set /spec/containers/0/image \"app:2\"",
    ];
    let per_container: Vec<String> = (0..4)
        .flat_map(|index| {
            [
                "image N",
                "noimage N",
                "up N",
                "noup N",
                "exit N 0",
                "exit N 1",
                "late-exit N",
                "hook N postStart ok",
                "hook N postStart fail",
                "hook N preStop ok",
                "probe N startup ok",
                "probe N startup fail",
                "probe N liveness fail",
                "probe N readiness steady",
                "probe N readiness fail",
            ]
            .map(|text| text.replace('N', &index.to_string()))
        })
        .collect();
    events.extend(per_container.iter().map(String::as_str));
    let (world, _simulation) = world::World::simulated(1);
    for walk in 0..600 {
        let mut pod = Play::new(&specs[walk % specs.len()]);
        if walk % 10 != 0 {
            let event = pod.event("admit");
            pod.step(event);
        }
        for _ in 0..60 {
            // The orders that end a pod are rare, so that walks get somewhere.
            let text = events[world.below(events.len() as u64) as usize];
            let rare = ["delete", "removed", "shutdown"].iter().any(|word| text.starts_with(word));
            if rare && world.below(10) > 0 {
                continue;
            }
            let before: Vec<(u32, bool)> =
                pod.state.containers.iter().map(|own| (own.runs, own.phase.is_alive())).collect();
            let event = pod.event(text);
            let actions = pod.step(event);
            for (own, (runs, alive)) in pod.state.containers.iter().zip(before) {
                let started = own.runs != runs;
                assert!(own.phase.is_alive() <= (alive || started), "nothing comes to life without a start: {text}");
            }
            let starts = actions.iter().filter(|action| matches!(action, Action::StartContainer { .. })).count();
            assert!(starts == 0 || pod.state.life == Life::Active, "only an active pod starts containers");
            let again = pod.step(Event::TimerFired);
            assert!(
                again.iter().all(|action| matches!(action, Action::SetTimer(at) if *at > pod.now)),
                "a step does all that is due: {again:?} after {text}"
            );
        }
    }
}
