//! The sources that volumes of pods and PersistentVolumes have in common, and what each must say.

use k8s_object::Cause;
use serde_json::Value;

use crate::causes::{invalid, not_supported, required, too_long};
use crate::fields::{at, entries, flag, int, is_empty, items, text};
use crate::names::{label, subdomain};

/// Whose volume it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner<'a> {
    Pod,
    /// A PersistentVolume of that name.
    PersistentVolume(&'a str),
}

impl Owner<'_> {
    fn is_pod(self) -> bool {
        self == Owner::Pod
    }
}

/// The rules of one source at `field`; `None` for a kind that is not shared.
pub(crate) fn judge(kind: &str, source: &Value, field: &str, owner: Owner<'_>) -> Option<Vec<Cause>> {
    let needed = |keys: &[&str]| -> Vec<Cause> {
        let missing = keys.iter().filter(|key| is_empty(at(source, key)));
        missing.map(|key| required(format!("{field}.{key}"), "")).collect()
    };
    Some(match kind {
        "awsElasticBlockStore" => [needed(&["volumeID"]), partition(source, field)].concat(),
        "azureDisk" => [needed(&["diskName", "diskURI"]), azure_disk(source, field)].concat(),
        "azureFile" => {
            let mut causes = needed(&["secretName", "shareName"]);
            if !owner.is_pod() && at(source, "secretNamespace") == "" {
                causes.push(required(format!("{field}.secretNamespace"), ""));
            }
            causes
        }
        "cephfs" => needed(&["monitors"]),
        "cinder" => [needed(&["volumeID"]), secret(source, field, owner)].concat(),
        "fc" => fibre_channel(source, field),
        "flexVolume" => [needed(&["driver"]), reserved_options(source, field)].concat(),
        "flocker" => flocker(source, field),
        "gcePersistentDisk" => {
            // Upstream calls it by its old name.
            let field = field.replace("gcePersistentDisk", "persistentDisk");
            let mut causes = Vec::new();
            if text(source, "pdName").is_empty() {
                causes.push(required(format!("{field}.pdName"), ""));
            }
            causes.extend(partition(source, &field));
            causes
        }
        "glusterfs" => {
            let mut causes = needed(&["endpoints", "path"]);
            match at(source, "endpointsNamespace").as_str().filter(|_| !owner.is_pod()) {
                Some("") => {
                    let detail = "if the endpointnamespace is set, it must be a valid namespace name";
                    causes.push(invalid(format!("{field}.endpointsNamespace"), "", detail));
                }
                Some(namespace) => causes.extend(named(namespace, label, format!("{field}.endpointsNamespace"))),
                None => {}
            }
            causes
        }
        "hostPath" => host_path(source, field),
        "iscsi" => iscsi(source, field, owner),
        "nfs" => {
            let mut causes = needed(&["server", "path"]);
            if !text(source, "path").starts_with('/') {
                causes.push(invalid(format!("{field}.path"), text(source, "path"), "must be an absolute path"));
            }
            causes
        }
        "photonPersistentDisk" => needed(&["pdID"]),
        "portworxVolume" => needed(&["volumeID"]),
        "quobyte" => quobyte(source, field),
        "rbd" => needed(&["monitors", "image"]),
        "scaleIO" => needed(&["gateway", "system", "volumeName"]),
        "storageos" => storage_os(source, field, owner),
        "vsphereVolume" => needed(&["volumePath"]),
        _ => return None,
    })
}

fn named(name: &str, rule: crate::names::Rule, field: String) -> Vec<Cause> {
    rule(name, false).iter().map(|problem| invalid(field.clone(), name, problem)).collect()
}

/// The name of a CSI driver.
pub(crate) fn csi_driver(name: &str, field: &str) -> Vec<Cause> {
    const LIMIT: usize = 63;
    let mut causes = Vec::new();
    if name.is_empty() {
        causes.push(required(field, ""));
    }
    if name.len() > LIMIT {
        causes.push(too_long(field, LIMIT));
    }
    causes.extend(subdomain(&name.to_lowercase(), false).iter().map(|problem| invalid(field, name, problem)));
    causes
}

/// A path may not lead upwards.
pub(crate) fn no_backsteps(path: &str, field: &str) -> Option<Cause> {
    let leads_up = path.split('/').any(|part| part == "..");
    leads_up.then(|| invalid(field, path, "must not contain '..'"))
}

fn partition(source: &Value, field: &str) -> Vec<Cause> {
    let partition = int(source, "partition");
    match partition {
        0..=255 => Vec::new(),
        _ => vec![invalid(format!("{field}.partition"), partition, "must be between 1 and 255, inclusive")],
    }
}

fn azure_disk(source: &Value, field: &str) -> Vec<Cause> {
    const CACHING: [&str; 3] = ["None", "ReadOnly", "ReadWrite"];
    const KINDS: [&str; 3] = ["Dedicated", "Managed", "Shared"];
    let mut causes = Vec::new();
    let kind = at(source, "kind").as_str();
    for (key, value, allowed) in [("cachingMode", at(source, "cachingMode").as_str(), CACHING), ("kind", kind, KINDS)] {
        if let Some(value) = value.filter(|value| !allowed.contains(value)) {
            causes.push(not_supported(format!("{field}.{key}"), value, &allowed));
        }
    }
    let uri = text(source, "diskURI");
    let (starts, form) = match kind {
        None => return causes,
        Some("Managed") => (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        ),
        Some(_) => ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"),
    };
    if !uri.starts_with(starts) {
        causes.push(not_supported(format!("{field}.diskURI"), uri, &[form]));
    }
    causes
}

fn secret(source: &Value, field: &str, owner: Owner<'_>) -> Vec<Cause> {
    let reference = at(source, "secretRef");
    let keys: &[&str] = match (reference.is_null(), owner.is_pod()) {
        (true, _) => &[],
        (false, true) => &["name"],
        (false, false) => &["name", "namespace"],
    };
    let missing = keys.iter().filter(|key| text(reference, key).is_empty());
    missing.map(|key| required(format!("{field}.secretRef.{key}"), "")).collect()
}

fn fibre_channel(source: &Value, field: &str) -> Vec<Cause> {
    let (targets, ids) = (at(source, "targetWWNs"), at(source, "wwids"));
    let mut causes = Vec::new();
    match (is_empty(targets), is_empty(ids)) {
        (true, true) => {
            let detail = "must specify either targetWWNs or wwids, but not both";
            causes.push(required(format!("{field}.targetWWNs"), detail));
        }
        (false, false) => {
            let detail = "targetWWNs and wwids can not be specified simultaneously";
            causes.push(invalid(format!("{field}.targetWWNs"), targets.clone(), detail));
        }
        _ => {}
    }
    if !is_empty(targets) {
        match at(source, "lun").as_i64() {
            None => causes.push(required(format!("{field}.lun"), "lun is required if targetWWNs is specified")),
            Some(0..=255) => {}
            Some(lun) => causes.push(invalid(format!("{field}.lun"), lun, "must be between 0 and 255, inclusive")),
        }
    }
    causes
}

fn reserved_options(source: &Value, field: &str) -> Vec<Cause> {
    let reserved = |key: &str| {
        let prefix = format!(".{}", key.split('/').next().unwrap_or(key).to_lowercase());
        prefix.ends_with(".kubernetes.io") || prefix.ends_with(".k8s.io")
    };
    let options = entries(source, "options").filter(|(key, _)| reserved(key));
    let detail = "kubernetes.io and k8s.io namespaces are reserved";
    options.map(|(key, _)| invalid(format!("{field}.options[{key}]"), key.as_str(), detail)).collect()
}

fn flocker(source: &Value, field: &str) -> Vec<Cause> {
    let (name, uuid) = (text(source, "datasetName"), text(source, "datasetUUID"));
    let mut causes = Vec::new();
    if name.is_empty() && uuid.is_empty() {
        causes.push(required(field, "one of datasetName and datasetUUID is required"));
    }
    if !name.is_empty() && !uuid.is_empty() {
        causes.push(invalid(field, "resource", "datasetName and datasetUUID can not be specified simultaneously"));
    }
    if name.contains('/') {
        causes.push(invalid(format!("{field}.datasetName"), name, "must not contain '/'"));
    }
    causes
}

fn host_path(source: &Value, field: &str) -> Vec<Cause> {
    const TYPES: [&str; 8] =
        ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    let path = text(source, "path");
    if path.is_empty() {
        return vec![required(format!("{field}.path"), "")];
    }
    let mut causes: Vec<Cause> = no_backsteps(path, &format!("{field}.path")).into_iter().collect();
    let kind = text(source, "type");
    if !TYPES.contains(&kind) {
        causes.push(not_supported(format!("{field}.type"), kind, &TYPES));
    }
    causes
}

/// Whether a name of iSCSI has the form that its beginning says.
fn is_qualified_name(name: &str) -> bool {
    let alphanumeric =
        |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if let Some(rest) = name.strip_prefix("iqn") {
        // iqn.2001-04.com.example:storage
        let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
        let Some((date, rest)) = rest.strip_prefix('.').and_then(|rest| rest.split_once('.')) else { return false };
        let Some((year, month)) = date.split_once('-') else { return false };
        let Some((authority, own)) = rest.split_once(':') else { return false };
        let is_authority =
            !authority.is_empty() && authority.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
        let is_own = !own.is_empty() && !own.contains(|c: char| c.is_whitespace() || ",;*&$|".contains(c));
        return digits(year, 4) && digits(month, 2) && is_authority && is_own;
    }
    let tail = |text: &str| text.get(1..).map(str::to_owned).unwrap_or_default();
    match (name.strip_prefix("eui"), name.strip_prefix("naa")) {
        (Some(rest), _) => alphanumeric(&tail(rest), 16),
        (_, Some(rest)) => alphanumeric(&tail(rest), 32),
        _ => false,
    }
}

fn iscsi(source: &Value, field: &str, owner: Owner<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let portal = text(source, "targetPortal");
    if portal.is_empty() {
        causes.push(required(format!("{field}.targetPortal"), ""));
    }
    let initiator = at(source, "initiatorName").as_str();
    if let (Owner::PersistentVolume(name), Some(_)) = (owner, initiator)
        && name.len() + 1 + portal.len() > 64
    {
        causes.push(invalid(format!("{field}.targetportal"), portal, TOO_LONG_WITH_INITIATOR));
    }
    let is_known = |name: &str| ["iqn", "eui", "naa"].iter().any(|start| name.starts_with(start));
    let form =
        if owner.is_pod() { "must be valid format starting with iqn, eui, or naa" } else { "must be valid format" };
    match text(source, "iqn") {
        "" => causes.push(required(format!("{field}.iqn"), "")),
        name if !is_known(name) => causes.push(invalid(format!("{field}.iqn"), name, form)),
        name if !is_qualified_name(name) => {
            causes.push(invalid(format!("{field}.iqn"), name, "must be valid format"));
        }
        _ => {}
    }
    let lun = int(source, "lun");
    if !(0..=255).contains(&lun) {
        causes.push(invalid(format!("{field}.lun"), lun, "must be between 0 and 255, inclusive"));
    }
    let reference = at(source, "secretRef");
    if (flag(source, "chapAuthDiscovery") || flag(source, "chapAuthSession")) && reference.is_null() {
        causes.push(required(format!("{field}.secretRef"), ""));
    }
    if !owner.is_pod() && !reference.is_null() && text(reference, "name").is_empty() {
        causes.push(required(format!("{field}.secretRef.name"), ""));
    }
    match initiator {
        Some(name) if !is_known(name) => {
            causes.push(invalid(format!("{field}.initiatorname"), name, form));
        }
        Some(name) if !is_qualified_name(name) => {
            causes.push(invalid(format!("{field}.initiatorname"), name, "must be valid format"));
        }
        _ => {}
    }
    causes
}

/// Of the names that iSCSI makes out of a volume's and its portal's.
pub(crate) const TOO_LONG_WITH_INITIATOR: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";

fn quobyte(source: &Value, field: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let registry = text(source, "registry");
    let detail = "must be a host:port pair or multiple pairs separated by commas";
    if registry.is_empty() {
        causes.push(required(format!("{field}.registry"), detail));
    } else if text(source, "tenant").len() >= 65 {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        causes.push(required(format!("{field}.tenant"), detail));
    } else {
        let is_pair = |pair: &str| match pair.strip_prefix('[') {
            Some(rest) => rest.split_once("]:").is_some_and(|(_, port)| !port.contains(':')),
            None => pair.matches(':').count() == 1,
        };
        let wrong = registry.split(',').filter(|pair| !is_pair(pair)).count();
        causes.extend((0..wrong).map(|_| invalid(format!("{field}.registry"), registry, detail)));
    }
    if text(source, "volume").is_empty() {
        causes.push(required(format!("{field}.volume"), ""));
    }
    causes
}

fn storage_os(source: &Value, field: &str, owner: Owner<'_>) -> Vec<Cause> {
    let mut causes = match text(source, "volumeName") {
        "" => vec![required(format!("{field}.volumeName"), "")],
        name => named(name, label, format!("{field}.volumeName")),
    };
    let namespace = text(source, "volumeNamespace");
    if !namespace.is_empty() {
        causes.extend(named(namespace, label, format!("{field}.volumeNamespace")));
    }
    causes.extend(secret(source, field, owner));
    causes
}

/// What a CSI volume of a PersistentVolume must say.
pub(crate) fn persistent_csi(source: &Value, field: &str) -> Vec<Cause> {
    let mut causes = csi_driver(text(source, "driver"), &format!("{field}.driver"));
    if text(source, "volumeHandle").is_empty() {
        causes.push(required(format!("{field}.volumeHandle"), ""));
    }
    for key in
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"]
    {
        let reference = at(source, key);
        if reference.is_null() {
            continue;
        }
        for (part, rule) in [("name", subdomain as crate::names::Rule), ("namespace", label)] {
            match text(reference, part) {
                "" => causes.push(required(format!("{field}.{key}.{part}"), "")),
                value => causes.extend(named(value, rule, format!("{field}.{key}.{part}"))),
            }
        }
    }
    causes
}

/// Whether a list of sources is named by the keys of a volume; keys that say something else are none.
pub(crate) fn present<'a>(volume: &Value, order: &[&'a str]) -> Vec<&'a str> {
    order.iter().copied().filter(|kind| !at(volume, kind).is_null()).collect()
}

/// The terms of a node selector.
pub(crate) fn node_selector(selector: &Value, field: &str) -> Vec<Cause> {
    let terms = items(selector, "nodeSelectorTerms");
    let field = format!("{field}.nodeSelectorTerms");
    if terms.is_empty() {
        return vec![required(field, "must have at least one node selector term")];
    }
    let terms = terms.iter().enumerate();
    terms.flat_map(|(index, term)| crate::pod_spec::node_selector_term(term, &format!("{field}[{index}]"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sources_are_judged_in_upstreams_words() {
        let volume = Owner::PersistentVolume("v");
        let cases = [
            ("nfs", json!({"server": "s", "path": "/"}), Owner::Pod, vec![]),
            (
                "nfs",
                json!({"server": "s", "path": "p"}),
                Owner::Pod,
                vec![r#"f.path: Invalid value: "p": must be an absolute path"#],
            ),
            (
                "awsElasticBlockStore",
                json!({"volumeID": "v", "partition": 256}),
                Owner::Pod,
                vec!["f.partition: Invalid value: 256: must be between 1 and 255, inclusive"],
            ),
            (
                "iscsi",
                json!({"targetPortal": "p", "iqn": "iqn.2001-04.com.example:storage", "lun": 3}),
                Owner::Pod,
                vec![],
            ),
            (
                "iscsi",
                json!({"targetPortal": "p", "iqn": "abc", "lun": 300, "chapAuthSession": true}),
                Owner::Pod,
                vec![
                    r#"f.iqn: Invalid value: "abc": must be valid format starting with iqn, eui, or naa"#,
                    "f.lun: Invalid value: 300: must be between 0 and 255, inclusive",
                    "f.secretRef: Required value",
                ],
            ),
            (
                "fc",
                json!({}),
                volume,
                vec!["f.targetWWNs: Required value: must specify either targetWWNs or wwids, but not both"],
            ),
            (
                "azureDisk",
                json!({"diskName": "d", "diskURI": "x", "kind": "Managed"}),
                volume,
                vec![
                    r#"f.diskURI: Unsupported value: "x": supported values: "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}""#,
                ],
            ),
            (
                "flexVolume",
                json!({"driver": "d", "options": {"a.k8s.io/b": "c"}}),
                Owner::Pod,
                vec![
                    r#"f.options[a.k8s.io/b]: Invalid value: "a.k8s.io/b": kubernetes.io and k8s.io namespaces are reserved"#,
                ],
            ),
            (
                "quobyte",
                json!({"registry": "a:1,b", "volume": "v"}),
                Owner::Pod,
                vec![
                    r#"f.registry: Invalid value: "a:1,b": must be a host:port pair or multiple pairs separated by commas"#,
                ],
            ),
            (
                "cinder",
                json!({"volumeID": "v", "secretRef": {"name": "n"}}),
                volume,
                vec!["f.secretRef.namespace: Required value"],
            ),
        ];
        for (kind, source, owner, expected) in cases {
            let causes = judge(kind, &source, "f", owner).unwrap();
            let causes: Vec<String> =
                causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
            assert_eq!(causes, expected, "{kind} {source}");
        }
        assert!(judge("emptyDir", &json!({}), "f", Owner::Pod).is_none());
    }
}
