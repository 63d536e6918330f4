//! Security contexts of pods and containers, and what an operating system does not have.

use std::collections::BTreeSet;

use k8s_object::Cause;
use serde_json::Value;

use super::containers;
use crate::causes::{duplicate, forbidden, invalid, not_supported, required, too_long};
use crate::fields::{at, entries, flag, is_empty, items, text};
use crate::names::subdomain;
use crate::volume_sources::no_backsteps;

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

pub(super) fn id(value: &Value, field: String) -> Option<Cause> {
    let id = value.as_i64().filter(|id| !(0..=i64::from(i32::MAX)).contains(id))?;
    Some(invalid(field, id, "must be between 0 and 2147483647, inclusive"))
}

/// The context of a pod's spec at `field`.
pub(super) fn of_pod(spec: &Value, field: &str) -> Vec<Cause> {
    let context = at(spec, "securityContext");
    let field = format!("{field}.securityContext");
    let mut causes = Vec::new();
    for key in ["fsGroup", "runAsUser", "runAsGroup"] {
        causes.extend(id(at(context, key), format!("{field}.{key}")));
    }
    for (index, group) in items(context, "supplementalGroups").iter().enumerate() {
        causes.extend(id(group, format!("{field}.supplementalGroups[{index}]")));
    }
    if flag(spec, "shareProcessNamespace") && flag(spec, "hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        causes.push(invalid(format!("{field}.shareProcessNamespace"), true, detail));
    }
    causes.extend(sysctls(spec, &format!("{field}.sysctls")));
    let one_of = |key: &str, allowed: &[&str]| {
        let value = at(context, key).as_str().filter(|value| !allowed.contains(value))?;
        Some(not_supported(format!("{field}.{key}"), value, allowed))
    };
    causes.extend(one_of("fsGroupChangePolicy", &["Always", "OnRootMismatch"]));
    causes.extend(seccomp(at(context, "seccompProfile"), &format!("{field}.seccompProfile")));
    causes.extend(windows_options(at(context, "windowsOptions"), &format!("{field}.windowsOptions")));
    causes.extend(apparmor(at(context, "appArmorProfile"), &format!("{field}.appArmorProfile")));
    causes.extend(one_of("supplementalGroupsPolicy", &["Merge", "Strict"]));
    causes.extend(one_of("seLinuxChangePolicy", &["Recursive"]));
    causes
}

/// The context of a container at `field`.
pub(super) fn of_container(container: &Value, host_users: bool, field: &str) -> Vec<Cause> {
    let context = at(container, "securityContext");
    let field = format!("{field}.securityContext");
    let mut causes = Vec::new();
    for key in ["runAsUser", "runAsGroup"] {
        causes.extend(id(at(context, key), format!("{field}.{key}")));
    }
    match at(context, "procMount").as_str() {
        None | Some("Default") => {}
        Some("Unmasked") if host_users => {
            let detail = "`hostUsers` must be false to use `Unmasked`";
            causes.push(invalid(format!("{field}.procMount"), "Unmasked", detail));
        }
        Some("Unmasked") => {}
        Some(other) => causes.push(not_supported(format!("{field}.procMount"), other, &["Default", "Unmasked"])),
    }
    causes.extend(seccomp(at(context, "seccompProfile"), &format!("{field}.seccompProfile")));
    if at(context, "allowPrivilegeEscalation") == false {
        let mut contradiction = |what: &str| {
            let detail = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
            causes.push(invalid(&field, context.clone(), &detail));
        };
        if flag(context, "privileged") {
            contradiction("`privileged` to true");
        }
        if items(context, "capabilities.add").iter().any(|capability| capability == "CAP_SYS_ADMIN") {
            contradiction("`capabilities.Add` CAP_SYS_ADMIN");
        }
    }
    causes.extend(windows_options(at(context, "windowsOptions"), &format!("{field}.windowsOptions")));
    causes.extend(apparmor(at(context, "appArmorProfile"), &format!("{field}.appArmorProfile")));
    causes
}

/// `net.core.somaxconn`, also with slashes.
fn is_sysctl(name: &str) -> bool {
    const LIMIT: usize = 253;
    let is_segment = |segment: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let ends = segment.bytes().next().is_some_and(plain) && segment.bytes().last().is_some_and(plain);
        ends && segment.bytes().all(|b| plain(b) || matches!(b, b'-' | b'_'))
    };
    name.len() <= LIMIT && name.split(['.', '/']).all(is_segment)
}

fn sysctls(spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, sysctl) in items(spec, "securityContext.sysctls").iter().enumerate() {
        let field = format!("{field}[{index}].name");
        let name = text(sysctl, "name");
        if name.is_empty() {
            causes.push(required(&field, ""));
        } else if !is_sysctl(name) {
            let detail = r"must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            causes.push(invalid(&field, name, detail));
        } else if seen.contains(name) {
            causes.push(duplicate(&field, name));
        }
        let dotted = name.replace('/', ".");
        let is_ipc = ["kernel.sem", "kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|own| dotted.starts_with(own));
        if flag(spec, "hostNetwork") && dotted.starts_with("net.") {
            causes.push(invalid(&field, name, "may not be specified when 'hostNetwork' is true"));
        } else if flag(spec, "hostIPC") && is_ipc {
            causes.push(invalid(&field, name, "may not be specified when 'hostIPC' is true"));
        }
        seen.insert(name);
    }
    causes
}

fn seccomp(profile: &Value, field: &str) -> Vec<Cause> {
    const TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
    let mut causes = Vec::new();
    if profile.is_null() {
        return causes;
    }
    let kind = text(profile, "type");
    match kind {
        "" => causes.push(required(format!("{field}.type"), "type is required when seccompProfile is set")),
        kind if TYPES.contains(&kind) => {}
        kind => causes.push(not_supported(format!("{field}.type"), kind, &TYPES)),
    }
    let field = format!("{field}.localhostProfile");
    match (kind, at(profile, "localhostProfile").as_str()) {
        ("Localhost", None) => causes.push(required(field, "must be set when seccomp type is Localhost")),
        ("Localhost", Some(path)) => causes.extend(descending(path, &field)),
        (_, None) => {}
        (_, Some(_)) => causes.push(invalid(field, profile.clone(), "can only be set when seccomp type is Localhost")),
    }
    causes
}

/// A relative path that does not lead upwards.
pub(super) fn descending(path: &str, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if path.starts_with('/') {
        causes.push(invalid(field, path, "must be a relative path"));
    }
    causes.extend(no_backsteps(path, field));
    causes
}

fn apparmor(profile: &Value, field: &str) -> Vec<Cause> {
    const TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
    /// Bytes of a path, less its end.
    const LIMIT: usize = 4095;
    let mut causes = Vec::new();
    if profile.is_null() {
        return causes;
    }
    let own = at(profile, "localhostProfile").as_str();
    let path_field = format!("{field}.localhostProfile");
    match (text(profile, "type"), own) {
        ("", _) => causes.push(required(format!("{field}.type"), "type is required when appArmorProfile is set")),
        ("Localhost", None) => causes.push(required(path_field, "must be set when AppArmor type is Localhost")),
        ("Localhost", Some(path)) => {
            if path.trim() != path {
                causes.push(invalid(&path_field, path, "must not be padded with whitespace"));
            } else if path.is_empty() {
                causes.push(required(&path_field, "must be set when AppArmor type is Localhost"));
            }
            if path.len() > LIMIT {
                causes.push(too_long(&path_field, LIMIT));
            }
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("RuntimeDefault" | "Unconfined", Some(path)) => {
            causes.push(invalid(path_field, path, "can only be set when AppArmor type is Localhost"));
        }
        (other, _) => causes.push(not_supported(format!("{field}.type"), other, &TYPES)),
    }
    causes
}

fn windows_options(options: &Value, field: &str) -> Vec<Cause> {
    const CREDENTIAL_LIMIT: usize = 64 << 10;
    let mut causes = Vec::new();
    if let Some(name) = at(options, "gmsaCredentialSpecName").as_str() {
        let field = format!("{field}.gmsaCredentialSpecName");
        causes.extend(subdomain(name, false).iter().map(|problem| invalid(&field, name, problem)));
    }
    if let Some(credential) = at(options, "gmsaCredentialSpec").as_str() {
        let detail = match credential.len() {
            0 => "gmsaCredentialSpec cannot be an empty string",
            length if length > CREDENTIAL_LIMIT => "gmsaCredentialSpec size must be under 64 KiB",
            _ => "",
        };
        if !detail.is_empty() {
            causes.push(invalid(format!("{field}.gmsaCredentialSpec"), credential, detail));
        }
    }
    if let Some(name) = at(options, "runAsUserName").as_str() {
        let field = format!("{field}.runAsUserName");
        let problems = windows_user(name);
        causes.extend(problems.iter().map(|problem| invalid(&field, name, &format!("runAsUserName{problem}"))));
    }
    causes
}

/// What is wrong with `DOMAIN\user`.
fn windows_user(name: &str) -> Vec<&'static str> {
    const DOMAIN_LIMIT: usize = 256;
    const USER_LIMIT: usize = 104;
    if name.is_empty() {
        return vec![" cannot be an empty string"];
    }
    if name.bytes().any(|b| b.is_ascii_control()) {
        return vec![" cannot contain control characters"];
    }
    let (domain, user) = match name.split('\\').collect::<Vec<&str>>()[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec![" cannot contain more than one backslash"],
    };
    let mut problems = Vec::new();
    if let Some(domain) = domain {
        if domain.len() >= DOMAIN_LIMIT {
            problems.push("'s Domain length must be under 256 characters");
        }
        let is_net_bios = (1..=15).contains(&domain.len())
            && !domain.starts_with('.')
            && !domain.contains(|c: char| r#"\/:*?<>|""#.contains(c));
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        if !is_net_bios && !domain.split('.').all(is_part) {
            problems.push("'s Domain doesn't match the NetBios nor the DNS format");
        }
    }
    match user.len() {
        0 => problems.push("'s User cannot be empty"),
        length if length > USER_LIMIT => problems.push("'s User length must not be longer than 104 characters"),
        _ => {}
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        problems.push("'s User cannot contain only periods or spaces");
    }
    if user.contains(|c: char| r#""/\:;|=,+*?<>@[]"#.contains(c)) {
        problems.push(r#"'s User cannot contain the following characters: "/\:;|=,+*?<>@[]"#);
    }
    problems
}

/// Whether the pod shares the host's users.
pub(super) fn shares_host_users(spec: &Value) -> bool {
    at(spec, "hostUsers") != false
}

/// A pod with users of its own shares nothing else of the host either.
pub(super) fn host_users(spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if shares_host_users(spec) {
        return causes;
    }
    // Upstream writes two of the paths so.
    for (key, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if flag(spec, key) {
            causes.push(forbidden(format!("{field}.{shown}"), "when `hostUsers` is false"));
        }
    }
    for (container, field) in containers::all(spec, field) {
        if !items(container, "volumeDevices").is_empty() {
            causes.push(forbidden(format!("{field}.volumeDevices"), "when `hostUsers` is false"));
        }
    }
    causes
}

/// Processes on a Windows host are all of a pod's containers, or none.
pub(super) fn host_process(spec: &Value, field: &str) -> Vec<Cause> {
    const OPTION: &str = "securityContext.windowsOptions.hostProcess";
    let of_pod = at(spec, OPTION).as_bool();
    let (mut causes, mut all, mut on_host) = (Vec::new(), 0, 0);
    for (container, field) in containers::all(spec, field) {
        let own = at(container, OPTION).as_bool();
        if let (Some(of_pod), Some(own)) = (of_pod, own)
            && of_pod != own
        {
            let detail = format!("pod hostProcess value must be identical if both are specified, was {of_pod}");
            causes.push(invalid(format!("{field}.{OPTION}"), own, &detail));
        }
        all += 1;
        on_host += usize::from(own.or(of_pod).unwrap_or_default());
    }
    if on_host > 0 && on_host != all {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        causes.push(invalid(field, "", detail));
    }
    if on_host > 0 && !flag(spec, "hostNetwork") {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        causes.push(invalid(format!("{field}.hostNetwork"), false, detail));
    }
    causes
}

/// What the operating system that the pod names does not have.
pub(super) fn operating_system(spec: &Value, field: &str) -> Vec<Cause> {
    const WINDOWS: &str = "cannot be set for a windows pod";
    let os = at(spec, "os");
    if os.is_null() {
        return Vec::new();
    }
    let (wrong_of_pod, wrong_of_spec, wrong_of_container, detail): (&[&str], &[&str], &[&str], &str) =
        match text(os, "name") {
            "" => return vec![required(format!("{field}.os.name"), "")],
            "linux" => (&["windowsOptions"], &[], &["windowsOptions"], "windows options cannot be set for a linux pod"),
            "windows" => (
                &[
                    "appArmorProfile",
                    "seLinuxOptions",
                    "seccompProfile",
                    "fsGroup",
                    "fsGroupChangePolicy",
                    "sysctls",
                    "runAsUser",
                    "runAsGroup",
                    "supplementalGroups",
                    "supplementalGroupsPolicy",
                    "seLinuxChangePolicy",
                ],
                &["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"],
                &[
                    "appArmorProfile",
                    "seLinuxOptions",
                    "seccompProfile",
                    "capabilities",
                    "readOnlyRootFilesystem",
                    "privileged",
                    "allowPrivilegeEscalation",
                    "procMount",
                    "runAsUser",
                    "runAsGroup",
                ],
                WINDOWS,
            ),
            other => return vec![not_supported(format!("{field}.os"), other, &["linux", "windows"])],
        };
    let is_set = |value: &Value| !value.is_null() && value != false && !value.as_array().is_some_and(Vec::is_empty);
    let mut causes = Vec::new();
    for key in wrong_of_pod.iter().filter(|key| is_set(at(at(spec, "securityContext"), key))) {
        causes.push(forbidden(format!("{field}.securityContext.{key}"), detail));
    }
    // `false` says something where absent does not: only the flags of the host's namespaces are plain.
    let is_said = |key: &str| match key {
        "hostUsers" | "shareProcessNamespace" => !at(spec, key).is_null(),
        key => flag(spec, key),
    };
    for key in wrong_of_spec.iter().filter(|key| is_said(key)) {
        causes.push(forbidden(format!("{field}.{key}"), detail));
    }
    for (container, field) in containers::all(spec, field) {
        let context = at(container, "securityContext");
        for key in wrong_of_container.iter().filter(|key| !at(context, key).is_null()) {
            causes.push(forbidden(format!("{field}.securityContext.{key}"), detail));
        }
    }
    causes
}

/// Annotations of a pod or template that mean something.
pub(super) fn annotations(object: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let own = at(object, "metadata.annotations");
    let value = |key: &str| own.get(key).and_then(Value::as_str);
    if let Some(mirror) = value(MIRROR)
        && text(object, "spec.nodeName").is_empty()
    {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        causes.push(invalid(format!("{field}[{MIRROR}]"), mirror, detail));
    }
    if let Some(cost) = value(DELETION_COST) {
        // No plus and no leading zeros, so that it is written in one way.
        let is_plain = !(cost.starts_with('+') || (cost.starts_with('0') && cost != "0"));
        if !is_plain || cost.parse::<i32>().is_err() {
            causes.push(invalid(format!("{field}[{DELETION_COST}]"), cost, "must be a 32bit integer"));
        }
    }
    for (key, profile) in entries(object, "metadata.annotations") {
        let profile = profile.as_str().unwrap_or_default();
        if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            let field = format!("{field}.{key}");
            match profile {
                "runtime/default" | "docker/default" | "unconfined" => {}
                profile => match profile.strip_prefix("localhost/") {
                    Some(path) => causes.extend(descending(path, &field)),
                    None => causes.push(invalid(field, profile, "must be a valid seccomp profile")),
                },
            }
        }
    }
    for (key, profile) in entries(object, "metadata.annotations") {
        let Some(name) = key.strip_prefix(APPARMOR) else { continue };
        let field = format!("{field}[{key}]");
        let profile = profile.as_str().unwrap_or_default();
        if !containers::all(at(object, "spec"), "").iter().any(|(container, _)| text(container, "name") == name) {
            causes.push(invalid(&field, name, "container not found"));
        }
        if !matches!(profile, "" | "runtime/default" | "unconfined") && !profile.starts_with("localhost/") {
            causes.push(invalid(field, profile, &format!("invalid AppArmor profile name: {profile:?}")));
        }
    }
    causes
}

/// Old annotations that say something else than the fields in their place.
pub(crate) fn annotated(object: &Value, field: &str) -> Vec<Cause> {
    let spec_field = if field.is_empty() { "spec".to_owned() } else { format!("{field}.spec") };
    let spec = at(object, "spec");
    let own = at(object, "metadata.annotations");
    let mut causes = Vec::new();
    let mut compare = |what: &str, key: &str, profile: &Value, field: String| {
        let Some(annotation) = own.get(key).and_then(Value::as_str).filter(|_| !profile.is_null()) else { return };
        let is_same = match text(profile, "type") {
            "Unconfined" => annotation == "unconfined",
            "RuntimeDefault" => {
                annotation == "runtime/default" || (what == "seccomp" && annotation == "docker/default")
            }
            "Localhost" => match annotation.strip_prefix("localhost/") {
                Some(path) if at(profile, "localhostProfile") == path => true,
                Some(_) => {
                    let detail = format!("{what} profile in annotation and field must match");
                    causes.push(forbidden(format!("{field}.localhostProfile"), &detail));
                    return;
                }
                None => false,
            },
            _ => true,
        };
        if !is_same {
            let detail = format!("{what} type in annotation and field must match");
            causes.push(forbidden(format!("{field}.type"), &detail));
        }
    };
    let of_pod = at(spec, "securityContext");
    let pod_field = format!("{spec_field}.securityContext.seccompProfile");
    compare("seccomp", SECCOMP_POD, at(of_pod, "seccompProfile"), pod_field);
    for (container, field) in containers::all(spec, &spec_field) {
        let key = format!("{SECCOMP_CONTAINER}{}", text(container, "name"));
        let profile = at(container, "securityContext.seccompProfile");
        compare("seccomp", &key, profile, format!("{field}.securityContext.seccompProfile"));
    }
    if text(spec, "os.name") != "windows" {
        for (container, field) in containers::all(spec, &spec_field) {
            let key = format!("{APPARMOR}{}", text(container, "name"));
            let mut profile = at(container, "securityContext.appArmorProfile");
            if profile.is_null() {
                profile = at(of_pod, "appArmorProfile");
            }
            compare("apparmor", &key, profile, format!("{field}.securityContext.appArmorProfile"));
        }
    }
    causes
}

/// Annotations that a pod keeps as they were made.
pub(super) fn annotation_updates(new: &Value, old: &Value) -> Vec<Cause> {
    let (now, was) = (at(new, "metadata.annotations"), at(old, "metadata.annotations"));
    let mut causes = Vec::new();
    let what = |key: &str| match key {
        MIRROR => Some("mirror pod annotation"),
        key if key.starts_with(APPARMOR) => Some("AppArmor annotations"),
        _ => None,
    };
    for (key, value) in entries(old, "metadata.annotations") {
        if let Some(what) = what(key).filter(|_| now.get(key) != Some(value)) {
            let field = format!("metadata.annotations[{key}]");
            causes.push(forbidden(field, &format!("may not remove or update {what}")));
        }
    }
    for (key, _) in entries(new, "metadata.annotations") {
        if let Some(what) = what(key).filter(|_| was.get(key).is_none()) {
            causes.push(forbidden(format!("metadata.annotations[{key}]"), &format!("may not add {what}")));
        }
    }
    causes
}

/// AppArmor's old annotations become fields where there are none.
pub(crate) fn apply_apparmor_annotations(pod: &mut Value) {
    if text(pod, "spec.os.name") == "windows" {
        return;
    }
    let own = at(pod, "metadata.annotations").clone();
    if !own.as_object().is_some_and(|map| map.keys().any(|key| key.starts_with(APPARMOR))) {
        return;
    }
    let of_pod = at(pod, "spec.securityContext.appArmorProfile").clone();
    for list in ["initContainers", "containers"] {
        let Some(spec) = pod.get_mut("spec") else { return };
        for container in crate::fields::items_mut(spec, list) {
            let key = format!("{APPARMOR}{}", text(container, "name"));
            let Some(profile) = own.get(&key).and_then(Value::as_str).and_then(apparmor_field) else { continue };
            if !is_empty(at(container, "securityContext.appArmorProfile")) || profile == of_pod {
                continue;
            }
            if let Some(context) = crate::fields::child(container, "securityContext") {
                context["appArmorProfile"] = profile;
            }
        }
    }
}

fn apparmor_field(annotation: &str) -> Option<Value> {
    match annotation {
        "runtime/default" => Some(serde_json::json!({"type": "RuntimeDefault"})),
        "unconfined" => Some(serde_json::json!({"type": "Unconfined"})),
        other => {
            let path = other.strip_prefix("localhost/").filter(|path| !path.is_empty() && path.trim() == *path)?;
            Some(serde_json::json!({"type": "Localhost", "localhostProfile": path}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(causes: Vec<Cause>) -> Vec<String> {
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn contexts_of_pods_are_judged() {
        let cases = [
            (
                json!({"securityContext": {"runAsUser": -1, "supplementalGroups": [1, -2]}}),
                vec![
                    "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                    "spec.securityContext.supplementalGroups[1]: Invalid value: -2: must be between 0 and 2147483647, inclusive",
                ],
            ),
            (
                json!({"securityContext": {"sysctls": [{"name": "kernel.shm_rmid_forced"}, {"name": "A"}]}, "hostIPC": true}),
                vec![
                    r#"spec.securityContext.sysctls[0].name: Invalid value: "kernel.shm_rmid_forced": may not be specified when 'hostIPC' is true"#,
                    r#"spec.securityContext.sysctls[1].name: Invalid value: "A": must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"#,
                ],
            ),
            (
                json!({"securityContext": {"seccompProfile": {"type": "Localhost"}, "appArmorProfile": {"type": "Odd"}}}),
                vec![
                    "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
                    r#"spec.securityContext.appArmorProfile.type: Unsupported value: "Odd": supported values: "Localhost", "RuntimeDefault", "Unconfined""#,
                ],
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(said(of_pod(&spec, "spec")), expected, "{spec}");
        }
    }

    #[test]
    fn an_operating_system_has_what_it_has() {
        let spec = json!({"os": {"name": "windows"}, "hostPID": true, "securityContext": {"fsGroup": 1},
            "containers": [{"name": "c", "securityContext": {"privileged": false}}]});
        assert_eq!(
            said(operating_system(&spec, "spec")),
            [
                "spec.securityContext.fsGroup: Forbidden: cannot be set for a windows pod",
                "spec.hostPID: Forbidden: cannot be set for a windows pod",
                "spec.containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod",
            ]
        );
        let odd = json!({"os": {"name": "plan9"}});
        assert_eq!(
            said(operating_system(&odd, "spec")),
            [r#"spec.os: Unsupported value: "plan9": supported values: "linux", "windows""#]
        );
    }

    #[test]
    fn names_of_windows_users_are_judged() {
        for (name, count) in
            [("user", 0), (r"DOMAIN\user", 0), (r"a\b\c", 1), ("", 1), ("..", 1), ("a/b", 1), (r"DOM*AIN\user", 1)]
        {
            assert_eq!(windows_user(name).len(), count, "{name}: {:?}", windows_user(name));
        }
    }

    #[test]
    fn annotations_and_fields_agree() {
        let pod = json!({
            "metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "localhost/a", DELETION_COST: "x"}},
            "spec": {"containers": [{"name": "c", "securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}]},
        });
        assert_eq!(
            said(annotated(&pod, "")),
            [
                "spec.containers[0].securityContext.appArmorProfile.type: Forbidden: apparmor type in annotation and field must match"
            ]
        );
        assert_eq!(
            said(annotations(&pod, "metadata.annotations")),
            [
                r#"metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "x": must be a 32bit integer"#
            ]
        );
    }
}
