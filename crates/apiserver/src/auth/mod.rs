//! Who a client is, and whether it may do what it asks for. Ports come before what is built in; `system:masters` before all.

mod node;
mod tokens;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use k8s_auth::rbac::{GROUP, PRIVILEGED_GROUP};
use k8s_auth::{Attributes, Issuer, RbacIndex};
use k8s_object::{ApiError, NamespacedName, Object, Reason, UserInfo};
use rustls::pki_types::CertificateDer;

use crate::core::Core;
use crate::ports::{AuthError, Authorizer, Decision, TokenAuthenticator};

/// Bytes of a bearer token that are looked at; real ones have a tenth of it.
const MAX_TOKEN_BYTES: usize = 16 << 10;

pub(crate) struct Auth {
    issuer: Issuer,
    authenticators: Vec<Arc<dyn TokenAuthenticator>>,
    authorizers: Vec<Arc<dyn Authorizer>>,
    rbac: RwLock<RbacIndex>,
}

impl Auth {
    pub(crate) fn new(
        issuer: Issuer,
        authenticators: Vec<Arc<dyn TokenAuthenticator>>,
        authorizers: Vec<Arc<dyn Authorizer>>,
    ) -> Auth {
        Auth { issuer, authenticators, authorizers, rbac: RwLock::new(RbacIndex::new()) }
    }

    pub(crate) fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Whether something besides roles decides, so that rules do not tell all that a user may do.
    pub(crate) fn asks_others(&self) -> bool {
        !self.authorizers.is_empty()
    }

    /// Roles and bindings.
    pub(crate) fn rbac(&self) -> RwLockReadGuard<'_, RbacIndex> {
        self.rbac.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in changed roles and bindings, by the kind of their resource.
    pub(crate) fn changed(&self, group: &str, kind: &str, changes: &[(NamespacedName, Option<Arc<Object>>)]) {
        if group != GROUP {
            return;
        }
        let mut index = self.rbac.write().unwrap_or_else(PoisonError::into_inner);
        for (key, object) in changes {
            // A role that cannot be read grants nothing, as one that is gone.
            if object.as_ref().is_none_or(|object| index.apply(object).is_err()) {
                index.remove_named(kind, key);
            }
        }
    }

    /// Takes in all roles and bindings, and nothing else.
    pub(crate) fn replace<'a>(&self, objects: impl Iterator<Item = &'a Arc<Object>>) {
        let mut index = RbacIndex::new();
        for object in objects.filter(|object| object.kind().group == GROUP) {
            // As above: what cannot be read grants nothing.
            let _ = index.apply(object);
        }
        *self.rbac.write().unwrap_or_else(PoisonError::into_inner) = index;
    }

    /// The user whom a client certificate names. That its chain leads to the cluster's CA, TLS has checked.
    pub(crate) fn by_certificate(
        &self,
        core: &Core,
        chain: &[CertificateDer<'static>],
    ) -> Result<Option<UserInfo>, ApiError> {
        let Some(certificate) = chain.first() else { return Ok(None) };
        let user = k8s_auth::user_of_certificate(certificate, core.world.now());
        user.map(Some).map_err(|_| ApiError::unauthorized())
    }

    /// The user that a bearer token stands for.
    pub(crate) async fn by_token(&self, core: &Core, token: &str) -> Result<UserInfo, ApiError> {
        let refused = |error: AuthError| match error {
            AuthError::Invalid(_) => ApiError::unauthorized(),
            AuthError::Unavailable(why) => ApiError::new(Reason::ServiceUnavailable, why),
        };
        match self.user_of_token(core, token, None).await.map_err(refused)? {
            Some((user, _)) => Ok(user),
            None => Err(ApiError::unauthorized()),
        }
    }

    /// The user that a token stands for, and the audiences that it is good for. `None` when no authenticator knows its form.
    pub(crate) async fn user_of_token(
        &self,
        core: &Core,
        token: &str,
        audiences: Option<&[String]>,
    ) -> Result<Option<(UserInfo, Vec<String>)>, AuthError> {
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Ok(None);
        }
        for authenticator in &self.authenticators {
            if let Some(user) = authenticator.authenticate(token).await? {
                return Ok(Some((user, tokens::own_audiences(&self.issuer))));
            }
        }
        match tokens::verify(core, &self.issuer, token, audiences) {
            // What the token is bound to may have been made through another process a moment ago.
            Err(AuthError::Invalid(_)) if core.refresh().await.is_ok() => {
                tokens::verify(core, &self.issuer, token, audiences).map(Some)
            }
            verified => verified.map(Some),
        }
    }

    /// Refuses what a user may not do, in upstream's words.
    pub(crate) fn authorize(&self, core: &Core, attributes: &Attributes<'_>) -> Result<(), ApiError> {
        match self.decide(core, attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::NoOpinion(reason) | Decision::Deny(reason) => {
                let tail = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                let why = format!("{}{tail}", attributes.refusal());
                Err(ApiError::forbidden(attributes.group, attributes.resource, attributes.name, &why))
            }
        }
    }

    /// What all authorizers together say; no opinion is a denial.
    pub(crate) fn decide(&self, core: &Core, attributes: &Attributes<'_>) -> Decision {
        self.decide_with(core, &self.rbac(), attributes)
    }

    /// As [`Auth::decide`], for callers that hold the index already.
    pub(crate) fn decide_with(&self, core: &Core, rbac: &RbacIndex, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.in_group(PRIVILEGED_GROUP) {
            return Decision::Allow(String::new());
        }
        let mut reasons = Vec::new();
        for authorizer in &self.authorizers {
            match authorizer.authorize(attributes) {
                Decision::NoOpinion(reason) => reasons.push(reason),
                decided => return decided,
            }
        }
        for decision in [
            k8s_auth::authorize_node(attributes, |node, kind, namespace, name| {
                node::related(core, node, kind, namespace, name)
            }),
            rbac.authorize(attributes),
        ] {
            match decision {
                k8s_auth::Decision::Allow(reason) => return Decision::Allow(reason),
                k8s_auth::Decision::NoOpinion(reason) => reasons.push(reason),
            }
        }
        reasons.retain(|reason| !reason.is_empty());
        Decision::NoOpinion(reasons.join("\n"))
    }
}
