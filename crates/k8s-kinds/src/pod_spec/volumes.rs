//! Rules for the volumes of a pod.

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{duplicate, forbidden, invalid, not_supported, required};
use crate::fields::{at, items, text};
use crate::names::label;

pub(super) fn validate(spec: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (at, volume) in items(spec, "volumes").iter().enumerate() {
        let field = format!("{field}.volumes[{at}]");
        let name = text(volume, "name");
        if name.is_empty() {
            causes.push(required(format!("{field}.name"), ""));
        } else {
            let problems = label(name, false);
            causes.extend(problems.iter().map(|problem| invalid(format!("{field}.name"), name, problem)));
        }
        if seen.contains(&name) {
            causes.push(duplicate(format!("{field}.name"), name));
        }
        seen.push(name);
        causes.extend(source(volume, &field));
    }
    causes
}

/// Exactly one source, and what each must say.
fn source(volume: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let sources = volume.as_object().into_iter().flatten().filter(|(key, value)| *key != "name" && !value.is_null());
    let mut count = 0;
    for (kind, source) in sources {
        count += 1;
        let field = format!("{field}.{kind}");
        if count > 1 {
            causes.push(forbidden(field, "may not specify more than 1 volume type"));
            continue;
        }
        let required_key = match kind.as_str() {
            "awsElasticBlockStore" => "volumeID",
            "configMap" => "name",
            "csi" => "driver",
            "hostPath" => "path",
            "nfs" => "server",
            "persistentVolumeClaim" => "claimName",
            "secret" => "secretName",
            _ => "",
        };
        if !required_key.is_empty() && text(source, required_key).is_empty() {
            causes.push(required(format!("{field}.{required_key}"), ""));
        }
        match kind.as_str() {
            "configMap" | "downwardAPI" | "projected" | "secret" => causes.extend(default_mode(source, &field)),
            "hostPath" => causes.extend(host_path(source, &field)),
            _ => {}
        }
        if kind == "projected" {
            causes.extend(projected(source, &field));
        }
        if matches!(kind.as_str(), "configMap" | "secret") {
            causes.extend(key_to_path(source, &field));
        }
    }
    if count == 0 {
        causes.push(required(field, "must specify a volume type"));
    }
    causes
}

fn default_mode(source: &Value, field: &str) -> Option<Cause> {
    let mode = at(source, "defaultMode").as_i64().filter(|mode| !(0..=0o777).contains(mode))?;
    let detail = "must be a number between 0 and 0777 (octal), both inclusive";
    Some(invalid(format!("{field}.defaultMode"), mode, detail))
}

fn host_path(source: &Value, field: &str) -> Vec<Cause> {
    const TYPES: [&str; 8] =
        ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    let mut causes = Vec::new();
    if text(source, "path").split('/').any(|part| part == "..") {
        causes.push(invalid(format!("{field}.path"), text(source, "path"), "must not contain '..'"));
    }
    let kind = text(source, "type");
    if !TYPES.contains(&kind) {
        causes.push(not_supported(format!("{field}.type"), kind, &TYPES));
    }
    causes
}

/// A path inside a volume: relative, and never upwards.
fn local_path(path: &str, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if path.starts_with('/') {
        causes.push(invalid(field, path, "must be a relative path"));
    }
    if path.split('/').any(|part| part == "..") {
        causes.push(invalid(field, path, "must not contain '..'"));
    }
    if path.starts_with("..") && !path.starts_with("../") && path != ".." {
        causes.push(invalid(field, path, "must not start with '..'"));
    }
    causes
}

fn key_to_path(source: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (at, item) in items(source, "items").iter().enumerate() {
        let field = format!("{field}.items[{at}]");
        for key in ["key", "path"] {
            if text(item, key).is_empty() {
                causes.push(required(format!("{field}.{key}"), ""));
            }
        }
        causes.extend(local_path(text(item, "path"), &format!("{field}.path")));
    }
    causes
}

fn projected(source: &Value, field: &str) -> Vec<Cause> {
    const TOKEN_SECONDS_MIN: i64 = 600;
    const TOKEN_SECONDS_MAX: i64 = 1 << 32;
    let mut causes = Vec::new();
    for (index, source) in items(source, "sources").iter().enumerate() {
        let field = format!("{field}.sources[{index}]");
        let kinds = source.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()).count();
        if kinds > 1 {
            causes.push(forbidden(&field, "may not specify more than 1 volume type"));
        }
        if let Some(token) = source.get("serviceAccountToken") {
            let field = format!("{field}.serviceAccountToken");
            match at(token, "expirationSeconds").as_i64() {
                Some(seconds) if seconds < TOKEN_SECONDS_MIN => {
                    let detail = "may not specify a duration less than 10 minutes";
                    causes.push(invalid(format!("{field}.expirationSeconds"), seconds, detail));
                }
                Some(seconds) if seconds > TOKEN_SECONDS_MAX => {
                    let detail = "may not specify a duration larger than 2^32 seconds";
                    causes.push(invalid(format!("{field}.expirationSeconds"), seconds, detail));
                }
                _ => {}
            }
            match text(token, "path") {
                "" => causes.push(required(format!("{field}.path"), "")),
                path => causes.extend(local_path(path, &format!("{field}.path"))),
            }
        }
        for kind in ["configMap", "secret"] {
            if let Some(source) = source.get(kind).filter(|source| !source.is_null()) {
                let field = format!("{field}.{kind}");
                if text(source, "name").is_empty() {
                    causes.push(required(format!("{field}.name"), ""));
                }
                causes.extend(key_to_path(source, &field));
            }
        }
    }
    causes
}
