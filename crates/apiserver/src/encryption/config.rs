//! EncryptionConfiguration (apiserver.config.k8s.io/v1): which resources are encrypted, by which providers. The first provider of a
//! resource writes, all of them read.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::kms::Kms;
use super::provider::{Provider, Static};

/// Key management services by the name that the configuration gives them.
pub type KmsByName = BTreeMap<String, Arc<dyn Kms>>;

/// The configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the EncryptionConfiguration cannot be used: {0}")]
pub struct EncryptionConfigError(pub(super) String);

/// Rules in order, the first of which that covers a resource is its own.
pub struct EncryptionConfig {
    pub(super) rules: Vec<Rule>,
}

pub(super) struct Rule {
    resources: Vec<String>,
    pub providers: Vec<Arc<Provider>>,
}

impl EncryptionConfig {
    /// Reads a configuration in YAML or JSON. Services that `kms` providers name must be among `services`.
    ///
    /// # Errors
    /// If it is none, or names what is not supported.
    pub fn parse(text: &str, services: &KmsByName) -> Result<EncryptionConfig, EncryptionConfigError> {
        let error = |why: String| EncryptionConfigError(why);
        let value: Value = serde_yaml::from_str(text).map_err(|problem| error(problem.to_string()))?;
        if value["kind"] != "EncryptionConfiguration" || value["apiVersion"] != "apiserver.config.k8s.io/v1" {
            return Err(error("it is no EncryptionConfiguration of apiserver.config.k8s.io/v1".to_owned()));
        }
        let rules = value["resources"].as_array().filter(|rules| !rules.is_empty());
        let rules = rules.ok_or_else(|| error("resources: at least one is needed".to_owned()))?;
        let rules = rules.iter().map(|rule| Rule::read(rule, services).map_err(error)).collect::<Result<_, _>>()?;
        Ok(EncryptionConfig { rules })
    }

    /// What an EKS cluster with an encryption configuration has: Secrets under a service, and what was written before as it is.
    pub fn secrets(name: &str, service: Arc<dyn Kms>) -> EncryptionConfig {
        let providers = vec![Arc::new(Provider::kms(name, service)), Arc::new(Provider::Identity)];
        EncryptionConfig { rules: vec![Rule { resources: vec!["secrets".to_owned()], providers }] }
    }

    /// As [`EncryptionConfig::secrets`] for a cluster without one: nothing is encrypted, and what another server of the cluster has
    /// begun to encrypt can be read.
    pub fn readable_secrets(name: &str, service: Arc<dyn Kms>) -> EncryptionConfig {
        let mut config = EncryptionConfig::secrets(name, service);
        config.rules.iter_mut().for_each(|rule| rule.providers.reverse());
        config
    }

    pub(super) fn rule(&self, group: &str, plural: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.covers(group, plural))
    }
}

impl Rule {
    fn read(value: &Value, services: &KmsByName) -> Result<Rule, String> {
        let texts = value["resources"].as_array().map_or(&[][..], Vec::as_slice);
        let resources: Vec<String> = texts.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        if resources.is_empty() {
            return Err("resources[].resources: at least one is needed".to_owned());
        }
        let providers = value["providers"].as_array().map_or(&[][..], Vec::as_slice);
        let providers: Vec<Arc<Provider>> = providers
            .iter()
            .map(|provider| read_provider(provider, services).map(Arc::new))
            .collect::<Result<_, _>>()?;
        if providers.is_empty() {
            return Err("resources[].providers: at least one is needed".to_owned());
        }
        Ok(Rule { resources, providers })
    }

    fn covers(&self, group: &str, plural: &str) -> bool {
        self.resources.iter().any(|own| {
            let (resource, of) = own.split_once('.').unwrap_or((own, ""));
            match (resource, of) {
                ("*", "*") => true,
                // `*.` is all of the core group.
                ("*", of) => own.contains('.') && of == group,
                (resource, of) => resource == plural && of == group,
            }
        })
    }
}

fn read_provider(value: &Value, services: &KmsByName) -> Result<Provider, String> {
    let map = value.as_object().filter(|map| map.len() == 1);
    let Some((kind, options)) = map.and_then(|map| map.iter().next()) else {
        return Err("providers[]: exactly one kind of provider is needed".to_owned());
    };
    match kind.as_str() {
        "identity" => Ok(Provider::Identity),
        "aesgcm" => Ok(Provider::Static(Static::Gcm, keys(options, &[16, 32])?)),
        "aescbc" => Ok(Provider::Static(Static::Cbc, keys(options, &[16, 32])?)),
        "kms" => {
            let name = options["name"].as_str().filter(|name| !name.is_empty() && !name.contains(':'));
            let name = name.ok_or("kms.name: a name without a colon is needed")?;
            if options["apiVersion"] != "v2" {
                return Err(format!("kms {name:?}: only apiVersion v2 is supported"));
            }
            let service = services.get(name).ok_or_else(|| format!("kms {name:?}: there is no such service"))?;
            Ok(Provider::kms(name, service.clone()))
        }
        "secretbox" => Err("provider secretbox is not supported; aesgcm, aescbc, kms and identity are".to_owned()),
        other => Err(format!("provider {other:?} is not known")),
    }
}

/// Names and keys of a provider with keys of its own.
fn keys(options: &Value, lengths: &[usize]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let list = options["keys"].as_array().filter(|keys| !keys.is_empty()).ok_or("keys: at least one is needed")?;
    list.iter()
        .map(|key| {
            let name = key["name"].as_str().filter(|name| !name.is_empty() && !name.contains(':'));
            let name = name.ok_or("keys[].name: a name without a colon is needed")?;
            let secret = STANDARD.decode(key["secret"].as_str().unwrap_or_default());
            match secret {
                Ok(secret) if lengths.contains(&secret.len()) => Ok((name.to_owned(), secret)),
                _ => Err(format!("key {name:?}: secret must be base64 of {lengths:?} bytes")),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(rest: &str) -> Result<EncryptionConfig, EncryptionConfigError> {
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n";
        EncryptionConfig::parse(&format!("{head}{rest}"), &KmsByName::new())
    }

    #[test]
    fn the_first_rule_that_covers_a_resource_is_its_own() {
        let key = STANDARD.encode([1; 32]);
        let text = format!(
            "resources:\n- {{resources: [secrets, widgets.example.com], providers: [{{aesgcm: {{keys: [{{name: a, secret: {key}}}]}}}}]}}\n\
             - {{resources: ['*.apps'], providers: [{{identity: {{}}}}]}}\n- {{resources: ['*.'], providers: [{{identity: {{}}}}]}}\n"
        );
        let config = config(&text).unwrap();
        let at = |group, plural| {
            let rule = config.rule(group, plural)?;
            config.rules.iter().position(|own| std::ptr::eq(own, rule))
        };
        let cases = [
            ("", "secrets", Some(0)),
            ("example.com", "widgets", Some(0)),
            ("example.com", "gadgets", None),
            ("apps", "deployments", Some(1)),
            ("", "configmaps", Some(2)),
            ("batch", "jobs", None),
        ];
        for (group, plural, expected) in cases {
            assert_eq!(at(group, plural), expected, "{plural}.{group}");
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let rule =
            |provider: &str| config(&format!("resources:\n- {{resources: [secrets], providers: [{provider}]}}\n"));
        for (provider, why) in [
            ("{secretbox: {keys: []}}", "provider secretbox is not supported"),
            ("{rot13: {}}", "provider \"rot13\" is not known"),
            ("{kms: {name: a, apiVersion: v1}}", "only apiVersion v2 is supported"),
            ("{kms: {name: a, apiVersion: v2}}", "there is no such service"),
            ("{aescbc: {keys: [{name: a, secret: c2hvcnQ=}]}}", "secret must be base64 of [16, 32] bytes"),
            ("{identity: {}, aesgcm: {}}", "exactly one kind"),
        ] {
            let error = rule(provider).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(why), "{provider}: {error}");
        }
    }
}
