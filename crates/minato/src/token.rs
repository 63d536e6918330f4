//! `minato token`: an IAM token for a cluster, in the form that kubectl asks its exec plugins for.

use anyhow::Result;
use serde_json::json;
use std::time::Duration;
use world::World;

use crate::home::{Home, RegionFile};
use crate::sign::{self, Keys};

/// A token is accepted for 15 minutes; clients get a new one a minute before.
const VALID: Duration = Duration::from_secs(14 * 60);

/// Prints an ExecCredential.
pub fn run(world: &World, home: &Home, cluster: &str) -> Result<()> {
    let region = home.running()?;
    let token = sign::eks_token(&keys(&region), &region, cluster, world.now())?;
    // Version v1 is the only one that kubectl of all served versions and the kubeconfigs that we write agree on.
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "spec": {},
        "status": {"expirationTimestamp": (world.now() + VALID).to_string(), "token": token},
    });
    println!("{credential}");
    Ok(())
}

/// The credentials of this shell when they are meant for this region, else the administrator's: real AWS credentials that
/// happen to be set must neither be used nor be in the way.
fn keys(region: &RegionFile) -> Keys {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let same_region = set("AWS_ENDPOINT_URL").is_some_and(|endpoint| endpoint.trim_end_matches('/') == region.endpoint);
    match (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY")) {
        (Some(access_key_id), Some(secret_access_key)) if same_region => {
            Keys { access_key_id, secret_access_key, session_token: set("AWS_SESSION_TOKEN") }
        }
        _ => Keys::administrator(region),
    }
}
