//! Entries of a kubeconfig. A file that others write to as well is merged into, never replaced.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::home::write_private;

/// What a cluster's entry needs.
pub struct Entry<'a> {
    pub cluster: &'a str,
    pub server: &'a str,
    pub certificate_authority_data: &'a str,
    /// This program, for the exec plugin.
    pub command: &'a str,
    /// Passed to the plugin, so that it finds the region's address and keys.
    pub home: &'a str,
}

impl Entry<'_> {
    /// Name of cluster, user and context.
    fn name(&self) -> String {
        self.cluster.to_owned()
    }

    fn parts(&self) -> [(&'static str, Value); 3] {
        let name = self.name();
        let cluster = json!({"server": self.server, "certificate-authority-data": self.certificate_authority_data});
        let exec = json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": self.command,
            "args": ["--home", self.home, "token", "--cluster", self.cluster],
            "interactiveMode": "Never",
        });
        [
            ("clusters", json!({"name": name, "cluster": cluster})),
            ("users", json!({"name": name, "user": {"exec": exec}})),
            ("contexts", json!({"name": name, "context": {"cluster": name, "user": name}})),
        ]
    }
}

/// A kubeconfig of one entry.
pub fn render(entry: &Entry<'_>) -> Result<String> {
    Ok(serde_yaml::to_string(&merged(json!({}), entry))?)
}

/// Puts an entry into the file, makes it the current one, and keeps all others.
pub fn merge_into(path: &Path, entry: &Entry<'_>) -> Result<()> {
    let config = merged(read(path)?, entry);
    write_private(path, serde_yaml::to_string(&config)?.as_bytes())
}

/// Puts an entry into the file, keeps all others, and leaves the current one as it is if there is one.
pub fn refresh_in(path: &Path, entry: &Entry<'_>) -> Result<()> {
    let known = read(path)?;
    let current = known["current-context"].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    let mut config = merged(known, entry);
    if let Some(current) = current {
        config["current-context"] = json!(current);
    }
    write_private(path, serde_yaml::to_string(&config)?.as_bytes())
}

/// Takes a cluster's entry out of the file.
pub fn remove_from(path: &Path, cluster: &str) -> Result<()> {
    let mut config = read(path)?;
    for list in ["clusters", "users", "contexts"] {
        if let Some(entries) = config[list].as_array_mut() {
            entries.retain(|own| own["name"] != cluster);
        }
    }
    if config["current-context"] == cluster {
        let next = config["contexts"][0]["name"].clone();
        config["current-context"] = if next.is_string() { next } else { json!("") };
    }
    write_private(path, serde_yaml::to_string(&config)?.as_bytes())
}

fn read(path: &Path) -> Result<Value> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(json!({})),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let config: Value =
        serde_yaml::from_str(&text).with_context(|| format!("{} is not a kubeconfig", path.display()))?;
    Ok(if config.is_object() { config } else { json!({}) })
}

fn merged(mut config: Value, entry: &Entry<'_>) -> Value {
    config["apiVersion"] = json!("v1");
    config["kind"] = json!("Config");
    for (list, part) in entry.parts() {
        if !config[list].is_array() {
            config[list] = json!([]);
        }
        let entries = config[list].as_array_mut().expect("it was just made a list");
        entries.retain(|own| own["name"] != part["name"]);
        entries.push(part);
    }
    config["current-context"] = json!(entry.name());
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(cluster: &str) -> Entry<'_> {
        Entry {
            cluster,
            server: "https://127.0.0.1:1",
            certificate_authority_data: "Q0E=",
            command: "minato",
            home: "/h",
        }
    }

    #[test]
    fn entries_of_others_stay() {
        let others = json!({"clusters": [{"name": "arn"}, {"name": "a", "cluster": 1}], "users": [{"name": "arn"}], "current-context": "arn"});
        let config = merged(others, &entry("a"));
        let names: Vec<&str> =
            config["clusters"].as_array().unwrap().iter().filter_map(|own| own["name"].as_str()).collect();
        assert_eq!(names, ["arn", "a"]);
        assert_eq!(config["clusters"][1]["cluster"]["server"], "https://127.0.0.1:1");
        assert_eq!(config["current-context"], "a");
        assert_eq!(config["users"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn no_key_and_no_certificate_hides_in_it() {
        let text = render(&entry("a")).unwrap();
        for secret in ["client-certificate", "client-key", "token:", "password", "AKIA"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }

    #[test]
    fn a_removed_cluster_hands_on_the_current_context() {
        let path = std::env::temp_dir().join(format!("minato-kubeconfig-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        merge_into(&path, &entry("a")).unwrap();
        merge_into(&path, &entry("b")).unwrap();
        refresh_in(&path, &entry("a")).unwrap();
        assert_eq!(read(&path).unwrap()["current-context"], "b", "a refreshed entry does not become the current one");
        remove_from(&path, "b").unwrap();
        let config = read(&path).unwrap();
        assert_eq!(config["current-context"], "a");
        assert_eq!(config["clusters"].as_array().unwrap().len(), 1);
        std::fs::remove_file(&path).unwrap();
    }
}
