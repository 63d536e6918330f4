//! Every kind of the published API with every field populated: the table must know all of it, as JSON and as YAML.
//!
//! The data is of the newest minor. Kinds of older minors are looked up in the newest minor that has them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use k8s_schema::{NEWEST_MINOR, OLDEST_MINOR, Schema, decode};

fn data() -> Option<PathBuf> {
    let folder = match std::env::var_os("MINATO_TEST_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")),
    };
    let folder = folder.join("kubernetes");
    if !folder.is_dir() {
        println!("skipped: no test data at {}; set MINATO_TEST_DATA", folder.display());
        return None;
    }
    Some(folder)
}

/// `group.version.Kind` of a file; the core group is `core`.
fn schema_of(name: &str) -> Option<Schema> {
    let (group_version, kind) = name.rsplit_once('.')?;
    let (group, version) = group_version.rsplit_once('.')?;
    let group = if group == "core" { "" } else { group };
    (OLDEST_MINOR..=NEWEST_MINOR).rev().find_map(|minor| Schema::builtin_kind(group, version, kind, minor))
}

/// What is wrong with one file, or nothing.
fn check(folder: &std::path::Path, name: &str) -> Result<(), String> {
    let schema = schema_of(name).ok_or("the table does not hold the kind")?;
    let json = std::fs::read(folder.join(format!("{name}.json"))).map_err(|error| error.to_string())?;
    let decoded = decode(&json).map_err(|error| error.to_string())?;
    let value = decoded.value;
    let unknown = schema.unknown_fields(&value);
    if !unknown.is_empty() {
        return Err(format!("unknown fields {unknown:?}"));
    }
    schema.check_types(&value).map_err(|error| error.to_string())?;
    let mut copy = value.clone();
    if !schema.prune(&mut copy).is_empty() || copy != value {
        return Err("pruning changes it".to_owned());
    }
    schema.drop_nulls(&mut copy);
    schema.canonicalise(&mut copy);
    if copy != value {
        return Err("its canonical form differs".to_owned());
    }
    schema.default(&mut copy);
    if copy != value {
        return Err("defaulting changes it".to_owned());
    }
    let missing = schema.missing_required(&value);
    if !missing.is_empty() {
        return Err(format!("required fields are missing: {missing:?}"));
    }
    if decode(value.to_string().as_bytes()).map(|again| again.value).as_ref() != Ok(&value) {
        return Err("it does not survive being written and read".to_owned());
    }
    let yaml = std::fs::read_to_string(folder.join(format!("{name}.yaml"))).map_err(|error| error.to_string())?;
    let yaml: serde_json::Value = serde_yaml::from_str(&yaml).map_err(|error| error.to_string())?;
    if yaml != value {
        return Err("YAML and JSON differ".to_owned());
    }
    if !decoded.duplicates.is_empty() {
        return Err(format!("{:?}", decoded.duplicates));
    }
    Ok(())
}

#[test]
fn the_table_knows_every_published_kind() {
    let Some(folder) = data() else { return };
    let allowed: BTreeSet<&str> =
        include_str!("not-yet.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let mut failing = BTreeSet::new();
    let mut reasons = Vec::new();
    let mut checked = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder was there a moment ago") {
        let path = entry.expect("the folder can be read").path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"))
        else {
            continue;
        };
        checked += 1;
        if let Err(reason) = check(&folder, name) {
            reasons.push(format!("{name}: {reason}"));
            failing.insert(name.to_owned());
        }
    }
    assert!(checked > 150, "only {checked} files were found");
    let new: Vec<&String> =
        reasons.iter().filter(|reason| !allowed.contains(reason.split(':').next().unwrap_or_default())).collect();
    assert!(new.is_empty(), "{} of {checked} fail:\n{new:#?}", new.len());
    let stale: Vec<&&str> = allowed.iter().filter(|name| !failing.contains(**name)).collect();
    assert!(stale.is_empty(), "these pass now; remove them from not-yet.txt: {stale:?}");
}

#[test]
fn a_change_to_any_populated_field_is_noticed() {
    let Some(folder) = data() else { return };
    let json = std::fs::read(folder.join("core.v1.Pod.json")).expect("the Pod is published");
    let mut value = decode(&json).expect("the Pod is JSON").value;
    let schema = Schema::builtin_kind("", "v1", "Pod", NEWEST_MINOR).expect("Pod");
    value["spec"]["containers"][0]["foo"] = 1.into();
    value["spec"]["volumes"][0]["projected"]["bar"] = 1.into();
    value["metadata"]["baz"] = 1.into();
    let expected = ["metadata.baz", "spec.containers[0].foo", "spec.volumes[0].projected.bar"];
    assert_eq!(schema.unknown_fields(&value), expected);
    assert_eq!(schema.prune(&mut value), expected);
    assert_eq!(value, decode(&json).expect("the Pod is JSON").value);
}
