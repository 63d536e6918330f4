//! What servers beside this one need to know their clients as it does: ConfigMap `extension-apiserver-authentication` of `kube-system`.

use std::sync::Arc;

use k8s_client::{Body, Options, Request, Verb};
use k8s_object::{ApiError, UserInfo, resources};
use serde_json::{Value, json};

use super::Authentication;
use crate::core::Core;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";
const AGENT: &str = "kube-apiserver";

/// Makes the ConfigMap, or brings it up to date.
pub(crate) async fn run(core: &Core) -> Result<(), ApiError> {
    let wanted = data(core.auth.authentication());
    if wanted.as_object().is_none_or(serde_json::Map::is_empty) {
        return Ok(());
    }
    let user = Arc::new(UserInfo::new("system:apiserver", &["system:masters"]));
    let request = |verb, name: &str, body| Request {
        verb,
        resource: resources::CONFIG_MAPS,
        subresource: String::new(),
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
        body: Body::Json(body),
        patch: None,
        options: Options::default(),
    };
    let request = match core.lookup("", "configmaps", NAMESPACE, NAME) {
        None => request(Verb::Create, "", json!({"metadata": {"name": NAME}, "data": wanted})),
        Some(own) => {
            let mut value = own.value();
            if value["data"] == wanted {
                return Ok(());
            }
            value["data"] = wanted;
            request(Verb::Update, NAME, value)
        }
    };
    match core.execute(&core.keyspace, &user, AGENT, &crate::audit::Record::NONE, request).await {
        // Another server of the same store was faster; they say the same.
        Err(error) if error.is_conflict() => Ok(()),
        done => done.map(drop),
    }
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
