//! Secret. `stringData` is a way to write `data` and is never stored.

use k8s_object::Cause;
use serde_json::Value;

use super::config_map::immutable as immutable_data;
use crate::causes::{immutable, invalid, required, too_long};
use crate::columns::{AGE, Column, NAME};
use crate::fields::{at, child, default_zero_to, entries, text};
use crate::names::config_key;
use crate::{Context, Kind, pem};

/// Bytes of all values together (core `MaxSecretSize`).
const SIZE_LIMIT: usize = 1 << 20;

pub(crate) static KIND: Kind = Kind {
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    type_name: "io.k8s.api.core.v1.Secret",
    columns: &[
        NAME,
        Column::text("Type", "What the data is for.", |object, _| text(object, "type").into()),
        Column::count("Data", "Number of entries.", |object, _| entries(object, "data").count().into()),
        AGE,
    ],
    selectable: &["type"],
    default,
    validate,
    warnings: pair_warnings,
    ..Kind::BASE
};

fn default(object: &mut Value, _: &Context<'_>) {
    default_zero_to(object, "type", "Opaque");
    let Some(written) = object.as_object_mut().and_then(|map| map.remove("stringData")) else { return };
    let Value::Object(written) = written else { return };
    if let Some(data) = child(object, "data") {
        for (key, value) in written {
            data[key] = encode(value.as_str().unwrap_or_default().as_bytes()).into();
        }
    }
}

/// What Go's `tls.X509KeyPair` says of a certificate and its key that are no PEM. Whether the two belong together is not
/// looked at.
fn pair_warnings(secret: &Value, _: &Context<'_>) -> Vec<String> {
    if text(secret, "type") != "kubernetes.io/tls" {
        return Vec::new();
    }
    let labels = |key: &str| -> Vec<String> {
        let bytes = pem::field_bytes(at(secret, "data").get(key).and_then(Value::as_str).unwrap_or_default());
        pem::blocks(&bytes).into_iter().map(|block| block.label).collect()
    };
    let is_key = |label: &String| label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY");
    let (certificates, keys) = (labels("tls.crt"), labels("tls.key"));
    let problem = if certificates.is_empty() {
        "failed to find any PEM data in certificate input".to_owned()
    } else if !certificates.iter().any(|label| label == "CERTIFICATE") {
        match &certificates[..] {
            [only] if only.ends_with("PRIVATE KEY") => "failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned(),
            others => format!("failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [{}]", others.join(" ")),
        }
    } else if keys.is_empty() {
        "failed to find any PEM data in key input".to_owned()
    } else if !keys.iter().any(is_key) {
        match &keys[..] {
            [only] if only == "CERTIFICATE" => {
                "found a certificate rather than a key in the PEM for the private key".to_owned()
            }
            others => format!(
                "failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [{}]",
                others.join(" ")
            ),
        }
    } else {
        return Vec::new();
    };
    vec![format!("tls: {problem}")]
}

/// Base64 as RFC 4648 writes it.
fn encode(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let symbol = ALPHABET[(group >> (18 - 6 * position) & 63) as usize];
            text.push(if position <= chunk.len() { char::from(symbol) } else { '=' });
        }
    }
    text
}

fn validate(object: &Value, context: &Context<'_>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut bytes = 0;
    for (key, value) in entries(object, "data") {
        let problems = config_key(key);
        causes.extend(problems.iter().map(|problem| invalid(format!("data[{key}]"), key.as_str(), problem)));
        bytes += value.as_str().map_or(0, |text| text.len() / 4 * 3);
    }
    if bytes > SIZE_LIMIT {
        causes.push(too_long("data", SIZE_LIMIT));
    }
    let kind = text(object, "type");
    let has = |key: &str| at(object, "data").get(key).is_some();
    let needed: &[&str] = match kind {
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        _ => &[],
    };
    causes.extend(needed.iter().filter(|key| !has(key)).map(|key| required(format!("data[{key}]"), "")));
    if kind == "kubernetes.io/basic-auth" && !has("username") && !has("password") {
        causes.push(required("data[username]", ""));
        causes.push(required("data[password]", ""));
    }
    let account = at(object, "metadata.annotations").get("kubernetes.io/service-account.name");
    if kind == "kubernetes.io/service-account-token" && account.is_none_or(|name| name == "") {
        causes.push(required("metadata.annotations[kubernetes.io/service-account.name]", ""));
    }
    if let Some(old) = context.old
        && text(old, "type") != kind
    {
        causes.push(immutable("type", at(object, "type")));
    }
    causes.extend(immutable_data(object, context));
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use world::Timestamp;

    #[test]
    fn string_data_becomes_data() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("é?>", "w6k/Pg==")];
        for (plain, encoded) in cases {
            let mut secret = json!({"data": {"kept": "eA==", "k": "eQ=="}, "stringData": {"k": plain}});
            let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: None, subresource: "" };
            default(&mut secret, &context);
            assert_eq!(secret, json!({"type": "Opaque", "data": {"kept": "eA==", "k": encoded}}));
        }
    }

    #[test]
    fn types_demand_their_keys_and_do_not_change() {
        let check = |new: Value, old: Option<Value>| {
            let context = Context { minor: 34, now: Timestamp::from_seconds(0), old: old.as_ref(), subresource: "" };
            validate(&new, &context)
                .into_iter()
                .map(|cause| format!("{}: {}", cause.field, cause.message))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            check(json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}), None),
            ["data[tls.key]: Required value"]
        );
        assert_eq!(
            check(json!({"type": "b"}), Some(json!({"type": "a"}))),
            [r#"type: Invalid value: "b": field is immutable"#]
        );
        assert_eq!(
            check(json!({"immutable": true, "data": {"a": "eA=="}}), Some(json!({"immutable": true}))),
            ["data: Forbidden: field is immutable when `immutable` is set"]
        );
    }
}
