//! Signing with the keys of a region: requests of this binary's commands, and tokens for kubectl.

use anyhow::{Context, Result};
use bytes::Bytes;
use cloud_wire::{Credentials, RequestParts, SignOptions, TokenRequest};
use http::Request;
use world::Timestamp;

use crate::home::RegionFile;

/// Keys of a principal.
pub struct Keys {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: Option<String>,
}

impl Keys {
    fn credentials(&self) -> Credentials<'_> {
        Credentials {
            access_key_id: &self.access_key_id,
            secret_key: &self.secret_access_key,
            session_token: self.session_token.as_deref(),
        }
    }

    /// The administrator's keys of a region.
    pub fn administrator(region: &RegionFile) -> Keys {
        Keys {
            access_key_id: region.access_key_id.clone(),
            secret_access_key: region.secret_access_key.clone(),
            session_token: None,
        }
    }
}

/// Signs a request as the region's administrator; it must have its `host` header.
pub fn sign(request: &mut Request<Bytes>, region: &RegionFile, service: &str, now: Timestamp) -> Result<()> {
    let keys = Keys::administrator(region);
    let parts = RequestParts {
        method: request.method().as_str(),
        raw_path: request.uri().path(),
        raw_query: request.uri().query().unwrap_or_default(),
        headers: request.headers(),
    };
    let options = SignOptions::new(&region.region, service, now);
    let signed = cloud_wire::sign_headers(&parts, request.body(), &keys.credentials(), &options);
    let signed = signed.context("signing the request")?;
    request.headers_mut().extend(signed.headers);
    Ok(())
}

/// The bearer token of `keys` for a cluster of the region.
pub fn eks_token(keys: &Keys, region: &RegionFile, cluster: &str, now: Timestamp) -> Result<String> {
    let request = TokenRequest {
        credentials: keys.credentials(),
        region: &region.region,
        endpoint_url: &region.endpoint,
        cluster_name: cluster,
        now,
    };
    cloud_wire::eks_token(&request).with_context(|| format!("making a token for cluster {cluster:?}"))
}
