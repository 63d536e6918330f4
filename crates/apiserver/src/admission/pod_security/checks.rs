//! The checks of the Pod Security Standards, each with the versions of Kubernetes in which it got its rules
//! (pod-security-admission `policy`).

use std::collections::BTreeSet;

use serde_json::Value;

use super::policy::{Level, Rule, Version};

/// Why a pod is refused: the reason, and what exactly is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub reason: String,
    pub detail: String,
}

/// The metadata and specification of a pod or of a template of pods.
pub(super) struct Pod<'a> {
    pub metadata: &'a Value,
    pub spec: &'a Value,
}

type CheckPod = fn(&Pod<'_>) -> Option<Finding>;

struct Check {
    id: &'static str,
    level: Level,
    /// From which minor on which rule counts, oldest first.
    versions: &'static [(u32, CheckPod)],
    /// The check of the baseline whose place it takes.
    instead_of: &'static str,
}

const fn baseline(id: &'static str, versions: &'static [(u32, CheckPod)]) -> Check {
    Check { id, level: Level::Baseline, versions, instead_of: "" }
}

const fn restricted(id: &'static str, versions: &'static [(u32, CheckPod)], instead_of: &'static str) -> Check {
    Check { id, level: Level::Restricted, versions, instead_of }
}

/// The baseline's first, each by id in the order of bytes, which is the order of messages.
static CHECKS: &[Check] = &[
    baseline("appArmorProfile", &[(0, app_armor_profile)]),
    baseline("capabilities_baseline", &[(0, capabilities_baseline)]),
    baseline("hostNamespaces", &[(0, host_namespaces)]),
    baseline("hostPathVolumes", &[(0, host_path_volumes)]),
    baseline("hostPorts", &[(0, host_ports)]),
    baseline("hostProbesAndHostLifecycle", &[(34, host_probes)]),
    baseline("privileged", &[(0, privileged)]),
    baseline("procMount", &[(0, proc_mount)]),
    baseline("seLinuxOptions", &[(0, |pod| se_linux(pod, 0)), (31, |pod| se_linux(pod, 31))]),
    baseline("seccompProfile_baseline", &[(0, seccomp_annotations), (19, seccomp_baseline)]),
    baseline(
        "sysctls",
        &[
            (0, |pod| sysctls(pod, 0)),
            (27, |pod| sysctls(pod, 27)),
            (29, |pod| sysctls(pod, 29)),
            (32, |pod| sysctls(pod, 32)),
        ],
    ),
    baseline("windowsHostProcess", &[(0, host_process)]),
    restricted(
        "allowPrivilegeEscalation",
        &[(8, privilege_escalation), (25, |pod| not_on_windows(pod, privilege_escalation))],
        "",
    ),
    restricted(
        "capabilities_restricted",
        &[(22, capabilities_restricted), (25, |pod| not_on_windows(pod, capabilities_restricted))],
        "capabilities_baseline",
    ),
    restricted("restrictedVolumes", &[(0, restricted_volumes)], "hostPathVolumes"),
    restricted("runAsNonRoot", &[(0, run_as_non_root)], ""),
    restricted("runAsUser", &[(23, run_as_user)], ""),
    restricted(
        "seccompProfile_restricted",
        &[(19, seccomp_restricted), (25, |pod| not_on_windows(pod, seccomp_restricted))],
        "seccompProfile_baseline",
    ),
];

/// What a rule finds wrong with a pod. A server knows the rules up to its own minor.
pub(super) fn evaluate(rule: Rule, server_minor: u8, pod: &Pod<'_>) -> Vec<Finding> {
    let newest = u32::from(server_minor);
    let minor = match rule.version {
        Version::Minor(minor) => minor.min(newest),
        Version::Latest => newest,
    };
    let current =
        |check: &Check| check.versions.iter().rev().find(|(since, _)| *since <= minor).map(|(_, check_pod)| *check_pod);
    let replaced = |id: &str| {
        rule.level == Level::Restricted && CHECKS.iter().any(|check| check.instead_of == id && current(check).is_some())
    };
    let checks = CHECKS.iter().filter(|check| check.level <= rule.level && !replaced(check.id));
    checks.filter_map(current).filter_map(|check_pod| check_pod(pod)).collect()
}

/// `reason (detail), reason (detail)`
pub(super) fn details(findings: &[Finding]) -> String {
    let texts = findings.iter().map(|finding| match finding.detail.is_empty() {
        true => finding.reason.clone(),
        false => format!("{} ({})", finding.reason, finding.detail),
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// `reason, reason`
pub(super) fn reasons(findings: &[Finding]) -> String {
    findings.iter().map(|finding| finding.reason.as_str()).collect::<Vec<_>>().join(", ")
}

fn finding(reason: &str, detail: String) -> Option<Finding> {
    Some(Finding { reason: reason.to_owned(), detail })
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or("")
}

fn containers<'a>(pod: &Pod<'a>) -> impl Iterator<Item = &'a Value> {
    let spec = pod.spec;
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|field| list(spec, field))
}

/// Names of the containers for which something holds.
fn named<'a>(pod: &Pod<'a>, holds: impl FnMut(&&'a Value) -> bool) -> Vec<&'a str> {
    containers(pod).filter(holds).map(|container| text(container, "name")).collect()
}

fn quoted<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    items.into_iter().map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", ")
}

fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

/// `containers "a", "b"`
fn told(containers: &[&str]) -> String {
    format!("{} {}", plural("container", containers.len()), quoted(containers.iter().copied()))
}

/// `pod and container "a"`; nothing if neither.
fn setters(pod: bool, containers: &[&str]) -> Option<String> {
    match (pod, containers.is_empty()) {
        (false, true) => None,
        (true, true) => Some("pod".to_owned()),
        (false, false) => Some(told(containers)),
        (true, false) => Some(format!("pod and {}", told(containers))),
    }
}

fn not_on_windows(pod: &Pod<'_>, check: CheckPod) -> Option<Finding> {
    if text(&pod.spec["os"], "name") == "windows" { None } else { check(pod) }
}

fn app_armor_profile(pod: &Pod<'_>) -> Option<Finding> {
    let mut bad_values = BTreeSet::new();
    let mut is_bad = |context: &Value| {
        let profile = &context["appArmorProfile"];
        let kind = text(profile, "type");
        let bad = profile.is_object() && !["RuntimeDefault", "Localhost"].contains(&kind);
        if bad {
            bad_values.insert(kind.to_owned());
        }
        bad
    };
    let by_pod = is_bad(&pod.spec["securityContext"]);
    let by_container = named(pod, |container| is_bad(&container["securityContext"]));
    let annotations = pod.metadata["annotations"].as_object().into_iter().flatten();
    let mut bad_annotations: Vec<String> = annotations
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .filter(|(key, value)| {
            key.starts_with("container.apparmor.security.beta.kubernetes.io/")
                && !value.is_empty()
                && *value != "runtime/default"
                && !value.starts_with("localhost/")
        })
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    bad_annotations.sort();
    let mut who: Vec<String> = setters(by_pod, &by_container).into_iter().collect();
    if !bad_annotations.is_empty() {
        who.push(plural("annotation", bad_annotations.len()));
    }
    let mut values: Vec<String> = bad_values.into_iter().collect();
    values.append(&mut bad_annotations);
    if who.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not set AppArmor profile type to {}",
        who.join(" and "),
        quoted(values.iter().map(String::as_str))
    );
    finding(&plural("forbidden AppArmor profile", values.len()), detail)
}

/// What a container may add in the baseline.
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Containers that add capabilities beside those allowed, and which.
fn adding<'a>(pod: &Pod<'a>, allowed: &[&str]) -> (Vec<&'a str>, BTreeSet<&'a str>) {
    let mut bad = BTreeSet::new();
    let names = named(pod, |container| {
        let added = list(&container["securityContext"]["capabilities"], "add").iter().filter_map(Value::as_str);
        let own: Vec<&str> = added.filter(|name| !allowed.contains(name)).collect();
        bad.extend(own.iter().copied());
        !own.is_empty()
    });
    (names, bad)
}

fn must_not_include(names: &[&str], bad: BTreeSet<&str>) -> String {
    format!("{} must not include {} in securityContext.capabilities.add", told(names), quoted(bad))
}

fn capabilities_baseline(pod: &Pod<'_>) -> Option<Finding> {
    let (names, bad) = adding(pod, CAPABILITIES);
    if names.is_empty() {
        return None;
    }
    finding("non-default capabilities", must_not_include(&names, bad))
}

fn capabilities_restricted(pod: &Pod<'_>) -> Option<Finding> {
    let keeping = named(pod, |container| {
        !list(&container["securityContext"]["capabilities"], "drop").iter().any(|name| name == "ALL")
    });
    let (names, bad) = adding(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!(r#"{} must set securityContext.capabilities.drop=["ALL"]"#, told(&keeping)));
    }
    if !names.is_empty() {
        details.push(must_not_include(&names, bad));
    }
    if details.is_empty() {
        return None;
    }
    finding("unrestricted capabilities", details.join("; "))
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Finding> {
    let fields = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| pod.spec[*field] == true);
    let set: Vec<String> = fields.map(|field| format!("{field}=true")).collect();
    if set.is_empty() { None } else { finding("host namespaces", set.join(", ")) }
}

fn host_path_volumes(pod: &Pod<'_>) -> Option<Finding> {
    let volumes = list(pod.spec, "volumes").iter().filter(|volume| volume["hostPath"].is_object());
    let names: Vec<&str> = volumes.map(|volume| text(volume, "name")).collect();
    if names.is_empty() {
        return None;
    }
    finding("hostPath volumes", format!("{} {}", plural("volume", names.len()), quoted(names)))
}

fn host_ports(pod: &Pod<'_>) -> Option<Finding> {
    let mut ports = BTreeSet::new();
    let names = named(pod, |container| {
        let own = list(container, "ports").iter().filter_map(|port| port["hostPort"].as_i64());
        let own: Vec<String> = own.filter(|port| *port != 0).map(|port| port.to_string()).collect();
        let bad = !own.is_empty();
        ports.extend(own);
        bad
    });
    if names.is_empty() {
        return None;
    }
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let what = plural("hostPort", ports.len());
    let ports: Vec<String> = ports.into_iter().collect();
    finding("hostPort", format!("{} {verb} {what} {}", told(&names), ports.join(", ")))
}

fn host_probes(pod: &Pod<'_>) -> Option<Finding> {
    let (mut names, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    for container in containers(pod) {
        let lifecycle = &container["lifecycle"];
        let handlers = ["livenessProbe", "readinessProbe", "startupProbe"].map(|field| &container[field]);
        let handlers = handlers.into_iter().chain([&lifecycle["postStart"], &lifecycle["preStop"]]);
        let own = handlers.flat_map(|handler| [&handler["httpGet"], &handler["tcpSocket"]]);
        for host in own.map(|action| text(action, "host")).filter(|host| !host.is_empty()) {
            hosts.insert(host);
            names.insert(text(container, "name"));
        }
    }
    if names.is_empty() {
        return None;
    }
    let names: Vec<&str> = names.into_iter().collect();
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let what = plural("probe or lifecycle host", hosts.len());
    finding("probe or lifecycle host", format!("{} {verb} {what} {}", told(&names), quoted(hosts)))
}

fn privileged(pod: &Pod<'_>) -> Option<Finding> {
    let names = named(pod, |container| container["securityContext"]["privileged"] == true);
    if names.is_empty() {
        return None;
    }
    finding("privileged", format!("{} must not set securityContext.privileged=true", told(&names)))
}

fn proc_mount(pod: &Pod<'_>) -> Option<Finding> {
    let mut kinds = BTreeSet::new();
    let names = named(pod, |container| {
        let own = container["securityContext"]["procMount"].as_str().filter(|kind| *kind != "Default");
        kinds.extend(own);
        own.is_some()
    });
    if names.is_empty() {
        return None;
    }
    finding("procMount", format!("{} must not set securityContext.procMount to {}", told(&names), quoted(kinds)))
}

fn se_linux(pod: &Pod<'_>, minor: u32) -> Option<Finding> {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut is_bad = |context: &Value| {
        let options = &context["seLinuxOptions"];
        let kind = text(options, "type");
        let known = ["", "container_t", "container_init_t", "container_kvm_t"].contains(&kind)
            || (minor >= 31 && kind == "container_engine_t");
        if !known {
            types.insert(kind.to_owned());
        }
        let (has_user, has_role) = (!text(options, "user").is_empty(), !text(options, "role").is_empty());
        user |= has_user;
        role |= has_role;
        !known || has_user || has_role
    };
    let by_pod = is_bad(&pod.spec["securityContext"]);
    let by_container = named(pod, |container| is_bad(&container["securityContext"]));
    let who = setters(by_pod, &by_container)?;
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", plural("type", types.len()), quoted(types.iter().map(String::as_str))));
    }
    if user {
        what.push("user may not be set".to_owned());
    }
    if role {
        what.push("role may not be set".to_owned());
    }
    finding("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {}", what.join("; ")))
}

/// Before 1.19 profiles stood in annotations.
fn seccomp_annotations(pod: &Pod<'_>) -> Option<Finding> {
    let bad = |key: String| {
        let value = pod.metadata["annotations"][&key].as_str()?;
        let fine = ["runtime/default", "docker/default"].contains(&value) || value.starts_with("localhost/");
        (!fine).then(|| format!("{key}={value:?}"))
    };
    let own = [bad("seccomp.security.alpha.kubernetes.io/pod".to_owned())].into_iter().flatten();
    let of_containers = containers(pod).filter_map(|container| {
        bad(format!("container.seccomp.security.alpha.kubernetes.io/{}", text(container, "name")))
    });
    let forbidden: BTreeSet<String> = own.chain(of_containers).collect();
    if forbidden.is_empty() {
        return None;
    }
    let what = plural("annotation", forbidden.len());
    let forbidden: Vec<String> = forbidden.into_iter().collect();
    finding("seccompProfile", format!("forbidden {what} {}", forbidden.join(", ")))
}

/// Whether a context has a profile, and whether that is a good one.
fn seccomp(context: &Value) -> (bool, bool) {
    let profile = &context["seccompProfile"];
    (profile.is_object(), ["Localhost", "RuntimeDefault"].contains(&text(profile, "type")))
}

fn seccomp_baseline(pod: &Pod<'_>) -> Option<Finding> {
    let mut values = BTreeSet::new();
    let mut is_bad = |context: &Value| {
        let (set, good) = seccomp(context);
        if set && !good {
            values.insert(text(&context["seccompProfile"], "type").to_owned());
        }
        set && !good
    };
    let by_pod = is_bad(&pod.spec["securityContext"]);
    let by_container = named(pod, |container| is_bad(&container["securityContext"]));
    let who = setters(by_pod, &by_container)?;
    let values = quoted(values.iter().map(String::as_str));
    finding("seccompProfile", format!("{who} must not set securityContext.seccompProfile.type to {values}"))
}

fn seccomp_restricted(pod: &Pod<'_>) -> Option<Finding> {
    if let Some(found) = seccomp_baseline(pod) {
        return Some(found);
    }
    if seccomp(&pod.spec["securityContext"]).0 {
        return None;
    }
    let without = named(pod, |container| !seccomp(&container["securityContext"]).0);
    if without.is_empty() {
        return None;
    }
    let detail = format!(
        r#"pod or {} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost""#,
        told(&without)
    );
    finding("seccompProfile", detail)
}

/// Sysctls that are safe, with the minor since which they count as such.
const SYSCTLS: &[(u32, &str)] = &[
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
];

fn sysctls(pod: &Pod<'_>, minor: u32) -> Option<Finding> {
    let names = list(&pod.spec["securityContext"], "sysctls").iter().map(|own| text(own, "name"));
    let bad = names.filter(|name| !SYSCTLS.iter().any(|(since, known)| *since <= minor && known == name));
    let bad: Vec<&str> = bad.collect();
    if bad.is_empty() { None } else { finding("forbidden sysctls", bad.join(", ")) }
}

fn host_process(pod: &Pod<'_>) -> Option<Finding> {
    let is_bad = |context: &Value| context["windowsOptions"]["hostProcess"] == true;
    let names = named(pod, |container| is_bad(&container["securityContext"]));
    let who = setters(is_bad(&pod.spec["securityContext"]), &names)?;
    finding("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
}

fn privilege_escalation(pod: &Pod<'_>) -> Option<Finding> {
    let names = named(pod, |container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", told(&names));
    finding("allowPrivilegeEscalation != false", detail)
}

const GOOD_VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
const BAD_VOLUMES: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "glusterfs",
    "hostPath",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

fn restricted_volumes(pod: &Pod<'_>) -> Option<Finding> {
    let (mut names, mut types) = (Vec::new(), BTreeSet::new());
    for volume in list(pod.spec, "volumes") {
        let has = |kind: &&&str| !volume[**kind].is_null();
        if !GOOD_VOLUMES.iter().any(|kind| has(&kind)) {
            names.push(text(volume, "name"));
            types.insert(BAD_VOLUMES.iter().find(has).copied().unwrap_or("unknown"));
        }
    }
    if names.is_empty() {
        return None;
    }
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let volumes = plural("volume", names.len());
    let what = plural("restricted volume type", types.len());
    finding("restricted volume types", format!("{volumes} {} {verb} {what} {}", quoted(names), quoted(types)))
}

fn run_as_non_root(pod: &Pod<'_>) -> Option<Finding> {
    const REASON: &str = "runAsNonRoot != true";
    let of = |context: &Value| context["runAsNonRoot"].as_bool();
    let by_pod = of(&pod.spec["securityContext"]);
    let explicit = named(pod, |container| of(&container["securityContext"]) == Some(false));
    if let Some(who) = setters(by_pod == Some(false), &explicit) {
        return finding(REASON, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let without = named(pod, |container| of(&container["securityContext"]).is_none());
    if by_pod == Some(true) || without.is_empty() {
        return None;
    }
    finding(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", told(&without)))
}

fn run_as_user(pod: &Pod<'_>) -> Option<Finding> {
    let is_root = |context: &Value| context["runAsUser"].as_i64() == Some(0);
    let names = named(pod, |container| is_root(&container["securityContext"]));
    let who = setters(is_root(&pod.spec["securityContext"]), &names)?;
    finding("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(level: Level, minor: u32, metadata: &Value, spec: &Value) -> String {
        let rule = Rule { level, version: Version::Minor(minor) };
        details(&evaluate(rule, 36, &Pod { metadata, spec }))
    }

    fn with(context: Value) -> Value {
        json!({"containers": [{"name": "a", "securityContext": context}]})
    }

    /// A pod that the strictest rules let through.
    fn good() -> Value {
        json!({
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "a", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        })
    }

    #[test]
    fn checks_are_in_the_order_of_messages() {
        assert!(CHECKS.is_sorted_by(|a, b| (a.level, a.id) < (b.level, b.id)));
        for check in CHECKS {
            assert!(check.versions.is_sorted_by(|a, b| a.0 < b.0), "{}", check.id);
            assert!(check.instead_of.is_empty() || CHECKS.iter().any(|other| other.id == check.instead_of));
        }
    }

    #[test]
    fn messages_are_upstreams() {
        let none = json!({});
        let plain = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        assert_eq!(
            found(Level::Restricted, 34, &none, &plain),
            r#"allowPrivilegeEscalation != false (containers "a", "b" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers "a", "b" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or containers "a", "b" must set securityContext.runAsNonRoot=true), seccompProfile (pod or containers "a", "b" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#
        );
        assert_eq!(found(Level::Restricted, 34, &none, &good()), "");
        assert_eq!(found(Level::Baseline, 34, &none, &plain), "");
        let cases = [
            (
                with(json!({"privileged": true})),
                r#"privileged (container "a" must not set securityContext.privileged=true)"#,
            ),
            (
                with(json!({"capabilities": {"add": ["NET_RAW", "CHOWN", "BPF"]}})),
                r#"non-default capabilities (container "a" must not include "BPF", "NET_RAW" in securityContext.capabilities.add)"#,
            ),
            (json!({"hostPID": true, "hostNetwork": true}), "host namespaces (hostNetwork=true, hostPID=true)"),
            (json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}), r#"hostPath volumes (volume "v")"#),
            (
                json!({"containers": [{"name": "a", "ports": [{"hostPort": 80}, {"hostPort": 443}]}]}),
                r#"hostPort (container "a" uses hostPorts 443, 80)"#,
            ),
            (
                json!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "10.0.0.1"}}}]}),
                r#"probe or lifecycle host (container "a" uses probe or lifecycle host "10.0.0.1")"#,
            ),
            (
                with(json!({"procMount": "Unmasked"})),
                r#"procMount (container "a" must not set securityContext.procMount to "Unmasked")"#,
            ),
            (
                json!({"securityContext": {"seLinuxOptions": {"type": "spc_t", "user": "u"}}}),
                r#"seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set)"#,
            ),
            (
                with(json!({"seccompProfile": {"type": "Unconfined"}})),
                r#"seccompProfile (container "a" must not set securityContext.seccompProfile.type to "Unconfined")"#,
            ),
            (
                json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}}),
                "forbidden sysctls (kernel.msgmax)",
            ),
            (
                json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
                "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
            ),
            (
                json!({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}),
                r#"forbidden AppArmor profile (pod must not set AppArmor profile type to "Unconfined")"#,
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(found(Level::Baseline, 34, &none, &spec), expected, "{spec}");
        }
        let annotated = json!({"annotations": {"container.apparmor.security.beta.kubernetes.io/a": "unconfined"}});
        assert_eq!(
            found(Level::Baseline, 34, &annotated, &plain),
            r#"forbidden AppArmor profile (annotation must not set AppArmor profile type to "container.apparmor.security.beta.kubernetes.io/a="unconfined"")"#
        );
    }

    #[test]
    fn the_restricted_level_adds_its_own() {
        let none = json!({});
        let changed = |path: &str, value: Value| {
            let mut pod = good();
            if let Some(place) = pod.pointer_mut(path) {
                *place = value;
            }
            pod
        };
        let cases = [
            (
                changed("/volumes", json!([{"name": "v", "hostPath": {}}, {"name": "w", "nfs": {}}])),
                r#"restricted volume types (volumes "v", "w" use restricted volume types "hostPath", "nfs")"#,
            ),
            (
                changed("/securityContext/runAsNonRoot", json!(false)),
                "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)",
            ),
            (
                changed("/containers/0/securityContext/capabilities/add", json!(["CHOWN"])),
                r#"unrestricted capabilities (container "a" must not include "CHOWN" in securityContext.capabilities.add)"#,
            ),
            (
                changed(
                    "/securityContext",
                    json!({"runAsNonRoot": true, "runAsUser": 0, "seccompProfile": {"type": "Localhost"}}),
                ),
                "runAsUser=0 (pod must not set runAsUser=0)",
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(found(Level::Restricted, 34, &none, &spec), expected, "{spec}");
        }
    }

    #[test]
    fn rules_are_those_of_the_version() {
        let none = json!({});
        let root =
            json!({"securityContext": {"runAsNonRoot": true, "runAsUser": 0, "seccompProfile": {"type": "Localhost"}}});
        let sysctl = json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_fin_timeout"}]}});
        let windows = json!({"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": true}, "containers": [{"name": "a"}]});
        let capable = json!({"containers": [{"name": "a", "securityContext": {"capabilities": {"add": ["BPF"]}}}]});
        let cases = [
            (Level::Restricted, 22, &root, 0),
            (Level::Restricted, 23, &root, 1),
            (Level::Baseline, 28, &sysctl, 1),
            (Level::Baseline, 29, &sysctl, 0),
            (Level::Restricted, 24, &windows, 3),
            (Level::Restricted, 25, &windows, 0),
            // The baseline's check until the restricted level has one of its own.
            (Level::Restricted, 7, &capable, 2),
            (Level::Restricted, 21, &capable, 4),
            (Level::Restricted, 22, &capable, 4),
            (Level::Privileged, 34, &capable, 0),
        ];
        for (level, minor, spec, expected) in cases {
            let rule = Rule { level, version: Version::Minor(minor) };
            let found = evaluate(rule, 36, &Pod { metadata: &none, spec });
            assert_eq!(found.len(), expected, "{level:?} {minor} {spec}: {}", details(&found));
        }
        let probe = json!({"containers": [{"name": "a", "startupProbe": {"tcpSocket": {"host": "h"}}}]});
        for (server, expected) in [(33, 0), (34, 1)] {
            let rule = Rule { level: Level::Baseline, version: Version::Latest };
            assert_eq!(evaluate(rule, server, &Pod { metadata: &none, spec: &probe }).len(), expected, "{server}");
        }
    }
}
