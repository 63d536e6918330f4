//! Bootstrap tokens: `id.secret`, kept in a Secret of `kube-system`, by which a machine asks to become a node.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_object::UserInfo;
use serde_json::Value;
use world::Timestamp;

use crate::core::Core;

const ID_BYTES: usize = 6;
const SECRET_BYTES: usize = 16;
const GROUP: &str = "system:bootstrappers";
/// Bytes of an extra group between its prefix and its last character.
const MAX_GROUP_BYTES: usize = 255;

/// The user that a token stands for; nothing for what is no valid bootstrap token.
pub(super) fn user(core: &Core, token: &str) -> Option<UserInfo> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if id.len() != ID_BYTES || secret.len() != SECRET_BYTES || !plain(id) || !plain(secret) {
        return None;
    }
    let object = core.lookup("", "secrets", "kube-system", &format!("bootstrap-token-{id}"))?;
    if object.meta().is_terminating() {
        return None;
    }
    of_secret(&object.value(), id, secret, core.world.now())
}

fn of_secret(object: &Value, id: &str, secret: &str, now: Timestamp) -> Option<UserInfo> {
    if object["type"] != "bootstrap.kubernetes.io/token" {
        return None;
    }
    let data = |key: &str| {
        let bytes = STANDARD.decode(object["data"][key].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    let same = super::same_secret(data("token-secret")?.as_bytes(), secret.as_bytes());
    if !same || data("token-id")? != id || data("usage-bootstrap-authentication")? != "true" {
        return None;
    }
    // A time that cannot be read has passed.
    if let Some(text) = data("expiration").filter(|text| !text.is_empty())
        && Timestamp::parse(&text).map_or(true, |expires| now > expires)
    {
        return None;
    }
    let mut groups = vec![GROUP.to_owned()];
    for group in data("auth-extra-groups").unwrap_or_default().split(',').filter(|group| !group.is_empty()) {
        if !is_group(group) {
            return None;
        }
        groups.push(group.to_owned());
    }
    groups.sort();
    groups.dedup();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    Some(UserInfo::new(format!("system:bootstrap:{id}"), &groups))
}

/// `system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]`
fn is_group(group: &str) -> bool {
    let Some(tail) = group.strip_prefix("system:bootstrappers:") else { return false };
    let simple = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match tail.as_bytes() {
        [head @ .., last] => {
            head.len() <= MAX_GROUP_BYTES
                && simple(last)
                && head.iter().all(|byte| simple(byte) || matches!(byte, b':' | b'-'))
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_decide_who_joins() {
        let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let check = |change: &[(&str, &str)]| {
            let mut data = json!({});
            let own = [
                ("token-id", "abcdef"),
                ("token-secret", "0123456789abcdef"),
                ("usage-bootstrap-authentication", "true"),
            ];
            for (key, value) in own.iter().chain(change) {
                data[*key] = json!(STANDARD.encode(value));
            }
            let object = json!({"type": "bootstrap.kubernetes.io/token", "data": data});
            of_secret(&object, "abcdef", "0123456789abcdef", now).map(|user| user.groups.join(" "))
        };
        let plain = Some("system:bootstrappers system:authenticated".to_owned());
        type Change<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Change<'_>, Option<String>); 9] = [
            (&[], plain.clone()),
            (&[("expiration", "2026-01-01T00:00:01Z")], plain.clone()),
            (&[("expiration", "2025-12-31T23:59:59Z")], None),
            (&[("expiration", "soon")], None),
            (&[("token-secret", "0123456789abcdee")], None),
            (&[("token-id", "abcdee")], None),
            (&[("usage-bootstrap-authentication", "false")], None),
            (&[("auth-extra-groups", "system:masters")], None),
            (
                &[("auth-extra-groups", "system:bootstrappers:kubeadm:default")],
                Some("system:bootstrappers system:bootstrappers:kubeadm:default system:authenticated".to_owned()),
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(check(change), expected, "{change:?}");
        }
    }
}
