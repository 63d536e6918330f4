//! What servers beside this one need to know their clients as it does: ConfigMap `extension-apiserver-authentication` of `kube-system`.

use k8s_object::{ApiError, resources};
use serde_json::{Value, json};

use super::Authentication;
use crate::core::Core;
use crate::own_objects;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";
const AGENT: &str = "kube-apiserver";

/// Makes the ConfigMap, or brings it up to date.
pub(crate) async fn run(core: &Core) -> Result<(), ApiError> {
    let wanted = data(core.auth.authentication());
    if wanted.as_object().is_none_or(serde_json::Map::is_empty) {
        return Ok(());
    }
    own_objects::keep(core, AGENT, &resources::CONFIG_MAPS, (NAMESPACE, NAME), |own| {
        let Some(own) = own else { return Some(json!({"metadata": {"name": NAME}, "data": wanted})) };
        let mut value = own.value();
        if value["data"] == wanted {
            return None;
        }
        value["data"] = wanted;
        Some(value)
    })
    .await
}

fn data(authentication: &Authentication) -> Value {
    let pem = |authorities: &[rustls::pki_types::CertificateDer<'static>]| -> String {
        authorities.iter().map(k8s_auth::pki::certificate_pem).collect()
    };
    let mut data = json!({});
    if !authentication.client_authorities.is_empty() {
        data["client-ca-file"] = json!(pem(&authentication.client_authorities));
    }
    if let Some(proxy) = &authentication.front_proxy {
        data["requestheader-client-ca-file"] = json!(pem(&proxy.authorities));
        for (key, list) in [
            ("requestheader-allowed-names", &proxy.allowed_names),
            ("requestheader-extra-headers-prefix", &proxy.extra_header_prefixes),
            ("requestheader-group-headers", &proxy.group_headers),
            ("requestheader-uid-headers", &proxy.uid_headers),
            ("requestheader-username-headers", &proxy.username_headers),
        ] {
            data[key] = json!(json!(list).to_string());
        }
    }
    data
}
