//! Secrets of type `kubernetes.io/service-account-token`: filled with a token of their ServiceAccount, and gone with it (upstream's
//! token controller; it stands here because only the server has the key).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_auth::LegacyClaims;
use k8s_client::{Body, Options, Preconditions, Request, Verb, Watch, WatchEvent};
use k8s_object::{ApiError, Object, UserInfo, resources};
use serde_json::{Value, json};

use crate::core::{Core, InProcess};
use crate::own_objects;

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
const AGENT: &str = "tokens-controller";

/// Runs until it is dropped.
pub(crate) async fn run(core: Arc<Core>) {
    let user = Arc::new(UserInfo::new("system:kube-controller-manager", &["system:masters"]));
    let api = InProcess { core: core.clone(), space: core.keyspace.clone() };
    loop {
        // Both begin with what there is, and again when history was lost.
        let secrets = watch(&api, &user, Some(format!("type={TYPE}")), &resources::SECRETS).await;
        let accounts = watch(&api, &user, None, &resources::SERVICE_ACCOUNTS).await;
        let (Ok(mut secrets), Ok(mut accounts)) = (secrets, accounts) else { return };
        loop {
            let (secret, events) = tokio::select! {
                biased;
                events = secrets.next() => (true, events),
                events = accounts.next() => (false, events),
            };
            let Ok(events) = events else { break };
            for event in events {
                // Who changed it meanwhile brings it here again.
                let _ = match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) if secret => {
                        keep(&core, &user, &object).await
                    }
                    WatchEvent::Deleted(object) if !secret => forget(&core, &user, &object).await,
                    _ => Ok(()),
                };
            }
        }
    }
}

async fn watch(
    api: &InProcess,
    user: &Arc<UserInfo>,
    field_selector: Option<String>,
    resource: &k8s_object::GroupVersionResource,
) -> Result<Watch, ApiError> {
    use k8s_client::Api;
    let options = Options { field_selector, ..Options::default() };
    let request = Request { options, ..Request::new(Verb::Watch, resource, "", "") };
    api.watch(user, AGENT, request).await
}

/// Fills a Secret with what it lacks. One whose account is not there goes.
async fn keep(core: &Core, user: &Arc<UserInfo>, secret: &Object) -> Result<(), ApiError> {
    let meta = secret.meta();
    if meta.is_terminating() {
        return Ok(());
    }
    let name = meta.annotations.get(ACCOUNT).unwrap_or("");
    let account = core.lookup("", "serviceaccounts", &meta.namespace, name);
    let uid = meta.annotations.get(ACCOUNT_UID).unwrap_or("");
    let Some(account) = account.filter(|account| uid.is_empty() || account.meta().uid == uid) else {
        return delete(core, user, secret).await;
    };
    let Some(filled) = filled(core, &secret.value(), &account) else { return Ok(()) };
    let request = request(Verb::Update, secret, Body::Json(filled), Options::default());
    own_objects::execute_as(core, user, AGENT, request).await.map(drop)
}

/// The Secret with all that it is to have; nothing if it has it.
fn filled(core: &Core, secret: &Value, account: &Object) -> Option<Value> {
    let (namespace, name) = (&account.meta().namespace, &account.meta().name);
    let mut filled = secret.clone();
    filled["metadata"]["annotations"][ACCOUNT_UID] = json!(account.meta().uid);
    let data = &mut filled["data"];
    if !data.is_object() {
        *data = json!({});
    }
    let empty = |value: &Value| value.as_str().is_none_or(str::is_empty);
    if empty(&data["token"]) {
        let own = secret["metadata"]["name"].as_str().unwrap_or("");
        let claims = LegacyClaims::new(namespace, name, &account.meta().uid, own);
        data["token"] = json!(STANDARD.encode(core.auth.issuer().issue_legacy(&claims)));
    }
    if empty(&data["namespace"]) {
        data["namespace"] = json!(STANDARD.encode(namespace));
    }
    let authorities = &core.auth.authentication().client_authorities;
    let pem: String = authorities.iter().map(k8s_auth::pki::certificate_pem).collect();
    match data.as_object_mut() {
        Some(data) if pem.is_empty() => data.retain(|key, value| key != "ca.crt" || !value.is_null()),
        Some(data) => {
            data.insert("ca.crt".to_owned(), json!(STANDARD.encode(pem)));
        }
        None => {}
    }
    (filled != *secret).then_some(filled)
}

/// Deletes the Secrets of an account that is gone.
async fn forget(core: &Core, user: &Arc<UserInfo>, account: &Object) -> Result<(), ApiError> {
    let meta = account.meta();
    for secret in core.lookup_all("", "secrets", &meta.namespace) {
        let own = secret.meta().annotations.get(ACCOUNT) == Some(&meta.name);
        let uid = secret.meta().annotations.get(ACCOUNT_UID) == Some(&meta.uid);
        if own && uid && secret.value()["type"] == TYPE {
            delete(core, user, &secret).await?;
        }
    }
    Ok(())
}

async fn delete(core: &Core, user: &Arc<UserInfo>, secret: &Object) -> Result<(), ApiError> {
    let preconditions = Preconditions { uid: Some(secret.meta().uid.clone()), ..Preconditions::default() };
    let options = Options { preconditions, ..Options::default() };
    let request = request(Verb::Delete, secret, Body::None, options);
    own_objects::execute_as(core, user, AGENT, request).await.map(drop)
}

fn request(verb: Verb, secret: &Object, body: Body, options: Options) -> Request {
    let meta = secret.meta();
    Request { body, options, ..Request::new(verb, &resources::SECRETS, &meta.namespace, &meta.name) }
}
