//! Who a client is, and whether it may do what it asks for. Ports come before what is built in; `system:masters` before all.

pub(crate) mod account_secrets;
mod bootstrap_tokens;
mod config;
mod expressions;
mod front_proxy;
pub(crate) mod last_used;
mod node;
mod oidc;
mod options;
pub(crate) mod published;
pub(crate) mod reconcile;
mod tokens;
mod webhook;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use http::HeaderMap;
use k8s_auth::rbac::{GROUP, PRIVILEGED_GROUP};
use k8s_auth::{Attributes, Issuer, RbacIndex};
use k8s_object::{ApiError, NamespacedName, Object, Reason, UserInfo};
use rustls::pki_types::CertificateDer;

pub use config::{ConfigError, authentication as authentication_from, authorization as authorization_from};
pub use oidc::{JwtAuthenticator, Mapping, Rule};
pub use options::{Anonymous, Authentication, FrontProxy, Mode};
pub use webhook::{AuthorizationWebhook, FailurePolicy, Remote, TokenWebhook};

use crate::core::Core;
use crate::ports::{AuthError, Authorizer, Decision, TokenAuthenticator};
use front_proxy::Chains;
use oidc::Oidc;
use webhook::{Asking, TokenAsking};

/// Bytes of a bearer token that are looked at; real ones have a tenth of it.
const MAX_TOKEN_BYTES: usize = 16 << 10;

/// A user who is known, and by what.
pub(crate) struct Known {
    pub user: UserInfo,
    /// Those of the wanted audiences that the credential is good for.
    pub audiences: Vec<String>,
    /// For the client.
    pub warnings: Vec<String>,
    /// For the audit event: key and value.
    pub annotations: Vec<(&'static str, String)>,
}

impl Known {
    fn new(user: UserInfo, audiences: Vec<String>) -> Known {
        Known { user, audiences, warnings: Vec::new(), annotations: Vec::new() }
    }
}

/// Those whose tokens are taken, in the order in which they are asked.
type Issuers = Arc<[Arc<Oidc>]>;

/// What a mode needs while the server runs.
enum Authority {
    Node,
    Rbac,
    Webhook(Box<Asking>),
}

pub(crate) struct Auth {
    issuer: Issuer,
    authenticators: Vec<Arc<dyn TokenAuthenticator>>,
    authorizers: Vec<Arc<dyn Authorizer>>,
    rbac: RwLock<RbacIndex>,
    authentication: Authentication,
    /// May change while the server runs.
    issuers: RwLock<Issuers>,
    token_webhook: Option<TokenAsking>,
    modes: Vec<Authority>,
    /// Of clients; none where no authority of theirs is known.
    clients: Option<Chains>,
    front_proxies: Option<Chains>,
}

impl Auth {
    /// # Errors
    /// If an authority of certificates cannot be used.
    pub(crate) fn new(
        issuer: Issuer,
        authenticators: Vec<Arc<dyn TokenAuthenticator>>,
        authorizers: Vec<Arc<dyn Authorizer>>,
        authentication: Authentication,
        modes: Vec<Mode>,
    ) -> Result<Auth, ApiError> {
        let chains = |of: &Vec<CertificateDer<'static>>| {
            let known = (!of.is_empty()).then(|| Chains::new(of));
            known.transpose().map_err(ApiError::internal)
        };
        let clients = chains(&authentication.client_authorities)?;
        let front_proxies = match &authentication.front_proxy {
            Some(proxy) => chains(&proxy.authorities)?,
            None => None,
        };
        let rbac = RwLock::new(RbacIndex::new());
        let issuers = RwLock::new(issuers_of(&authentication.jwt, &[])?);
        let token_webhook = authentication.webhook.clone().map(TokenAsking::new);
        let mode = |mode| {
            Ok(match mode {
                Mode::Node => Authority::Node,
                Mode::Rbac => Authority::Rbac,
                Mode::Webhook(webhook) => Authority::Webhook(Box::new(Asking::new(*webhook)?)),
            })
        };
        let modes = modes.into_iter().map(mode).collect::<Result<_, String>>().map_err(ApiError::internal)?;
        Ok(Auth {
            issuer,
            authenticators,
            authorizers,
            rbac,
            authentication,
            issuers,
            token_webhook,
            modes,
            clients,
            front_proxies,
        })
    }

    pub(crate) fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    pub(crate) fn authentication(&self) -> &Authentication {
        &self.authentication
    }

    fn issuers(&self) -> Issuers {
        self.issuers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on takes tokens of these issuers and of no others; what is known of those that stay is kept.
    ///
    /// # Errors
    /// If an expression does not compile; nothing changes then.
    pub(crate) fn use_issuers(&self, jwt: &[JwtAuthenticator]) -> Result<(), ApiError> {
        let issuers = issuers_of(jwt, &self.issuers())?;
        *self.issuers.write().unwrap_or_else(PoisonError::into_inner) = issuers;
        Ok(())
    }

    /// Whether something besides roles decides, so that rules do not tell all that a user may do.
    pub(crate) fn asks_others(&self) -> bool {
        !self.authorizers.is_empty() || self.has_webhooks()
    }

    /// Whether somebody outside of this process decides too.
    pub(crate) fn has_webhooks(&self) -> bool {
        self.modes.iter().any(|mode| matches!(mode, Authority::Webhook(_)))
    }

    /// Whether somebody decides by label selectors.
    pub(crate) fn wants_labels(&self) -> bool {
        self.has_webhooks()
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

    /// The user whom a front proxy names. Nothing if the certificate is not of one, or names nobody.
    pub(crate) fn by_front_proxy(
        &self,
        core: &Core,
        chain: &[CertificateDer<'static>],
        headers: &HeaderMap,
    ) -> Option<UserInfo> {
        let (proxy, chains) = (self.authentication.front_proxy.as_ref()?, self.front_proxies.as_ref()?);
        let named = front_proxy::user(headers, proxy)?;
        let now = core.world.now();
        let own = k8s_auth::user_of_certificate(chain.first()?, now).ok()?;
        let allowed = proxy.allowed_names.is_empty() || proxy.allowed_names.contains(&own.username);
        (allowed && chains.lead(chain, now)).then_some(named)
    }

    /// The user whom a client certificate names, if it leads to an authority of clients: TLS takes any.
    pub(crate) fn by_certificate(&self, core: &Core, chain: &[CertificateDer<'static>]) -> Option<UserInfo> {
        let now = core.world.now();
        let leads = self.clients.as_ref()?.lead(chain, now);
        leads.then(|| k8s_auth::user_of_certificate(chain.first()?, now).ok()).flatten()
    }

    /// The user that a bearer token stands for.
    pub(crate) async fn by_token(&self, core: &Core, token: &str) -> Result<Known, ApiError> {
        let refused = |error: AuthError| match error {
            AuthError::Invalid(_) => ApiError::unauthorized(),
            AuthError::Unavailable(why) => ApiError::new(Reason::ServiceUnavailable, why),
        };
        self.user_of_token(core, token, None).await.map_err(refused)?.ok_or_else(ApiError::unauthorized)
    }

    /// The user that a token stands for, and the audiences that it is good for. `None` when no authenticator knows its form.
    pub(crate) async fn user_of_token(
        &self,
        core: &Core,
        token: &str,
        audiences: Option<&[String]>,
    ) -> Result<Option<Known>, AuthError> {
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Ok(None);
        }
        // Who does not take a token leaves it to the next; what was wrong is told if nobody does.
        let mut refused = None;
        for authenticator in &self.authenticators {
            match authenticator.authenticate(token).await {
                Ok(None) => {}
                Ok(Some(user)) => return Ok(Some(self.known(user, audiences))),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        let mut used = None;
        let mut verified = tokens::verify(core, &self.issuer, token, audiences, &mut used);
        // What the token is bound to may have been made through another process a moment ago.
        if verified.is_err() && core.refresh().await.is_ok() {
            verified = tokens::verify(core, &self.issuer, token, audiences, &mut used);
        }
        if let Some(secret) = used {
            last_used::mark(core, &secret).await;
        }
        match verified {
            Ok(None) => {}
            Ok(known) => return Ok(known),
            Err(error) => refused = refused.or(Some(error)),
        }
        if self.authentication.bootstrap_tokens
            && let Some(user) = bootstrap_tokens::user(core, token)
        {
            return Ok(Some(self.known(user, audiences)));
        }
        for issuer in self.issuers().iter() {
            match issuer.user(core, token).await {
                Ok(None) => {}
                Ok(Some(user)) => return Ok(Some(self.known(user, audiences))),
                Err(why) => refused = refused.or(Some(AuthError::Invalid(why))),
            }
        }
        if let Some(webhook) = &self.token_webhook {
            let wanted = audiences.unwrap_or(self.issuer.audiences());
            match webhook.user(core, token, wanted).await {
                Ok(None) => {}
                Ok(Some((user, audiences))) => return Ok(Some(Known::new(user, audiences))),
                Err(why) => refused = refused.or(Some(AuthError::Invalid(why))),
            }
        }
        refused.map_or(Ok(None), Err)
    }

    /// A user by a token that says nothing of audiences: it is for this server.
    fn known(&self, user: UserInfo, wanted: Option<&[String]>) -> Known {
        let own = tokens::own_audiences(&self.issuer);
        let good = |own: &String| wanted.is_none_or(|wanted| wanted.contains(own));
        Known::new(user, own.into_iter().filter(good).collect())
    }

    /// Refuses what a user may not do, in upstream's words.
    pub(crate) async fn authorize(&self, core: &Core, attributes: &Attributes<'_>) -> Result<(), ApiError> {
        Auth::judged(attributes, self.judge(core, attributes).await)
    }

    /// The refusal, in upstream's words, when a verdict is one.
    pub(crate) fn judged(attributes: &Attributes<'_>, verdict: Verdict) -> Result<(), ApiError> {
        match verdict {
            Verdict { decision: Decision::Allow(_), .. } => Ok(()),
            // Somebody who should have been asked could not be.
            Verdict { error, .. } if !error.is_empty() => Err(ApiError::internal(error)),
            Verdict { decision: Decision::NoOpinion(reason) | Decision::Deny(reason), .. } => {
                let tail = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                let why = format!("{}{tail}", attributes.refusal());
                Err(ApiError::forbidden(attributes.group, attributes.resource, attributes.name, &why))
            }
        }
    }

    /// What all authorizers together say; no opinion is a denial.
    pub(crate) async fn judge(&self, core: &Core, attributes: &Attributes<'_>) -> Verdict {
        if !self.has_webhooks() {
            return Verdict { decision: self.decide_at_once(core, attributes), error: String::new() };
        }
        let (mut reasons, mut errors) = (Vec::new(), Vec::new());
        let decided = match self.ports(attributes, &mut reasons) {
            Some(decision) => Some(decision),
            None => 'all: {
                for mode in &self.modes {
                    let decision = match mode {
                        Authority::Webhook(webhook) => {
                            webhook.decide(core, attributes).await.unwrap_or_else(|(decision, why)| {
                                errors.push(why);
                                decision
                            })
                        }
                        Authority::Node | Authority::Rbac => self.decide_by(core, mode, None, attributes),
                    };
                    match decision {
                        Decision::NoOpinion(reason) => reasons.push(reason),
                        decided => break 'all Some(decided),
                    }
                }
                None
            }
        };
        let error = match &errors[..] {
            [] => String::new(),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        Verdict { decision: decided.unwrap_or_else(|| no_opinion(reasons)), error }
    }

    /// What all authorizers of this process together say, for callers that cannot wait.
    pub(crate) fn decide_at_once(&self, core: &Core, attributes: &Attributes<'_>) -> Decision {
        self.decide_with(core, &self.rbac(), attributes)
    }

    /// As [`Auth::decide_at_once`], for callers that hold the index already.
    pub(crate) fn decide_with(&self, core: &Core, rbac: &RbacIndex, attributes: &Attributes<'_>) -> Decision {
        let mut reasons = Vec::new();
        if let Some(decision) = self.ports(attributes, &mut reasons) {
            return decision;
        }
        for mode in &self.modes {
            match self.decide_by(core, mode, Some(rbac), attributes) {
                Decision::NoOpinion(reason) => reasons.push(reason),
                decided => return decided,
            }
        }
        no_opinion(reasons)
    }

    /// What is decided before anything that is built in is asked.
    fn ports(&self, attributes: &Attributes<'_>, reasons: &mut Vec<String>) -> Option<Decision> {
        if attributes.user.in_group(PRIVILEGED_GROUP) {
            return Some(Decision::Allow(String::new()));
        }
        for authorizer in &self.authorizers {
            match authorizer.authorize(attributes) {
                Decision::NoOpinion(reason) => reasons.push(reason),
                decided => return Some(decided),
            }
        }
        None
    }

    fn decide_by(
        &self,
        core: &Core,
        mode: &Authority,
        rbac: Option<&RbacIndex>,
        attributes: &Attributes<'_>,
    ) -> Decision {
        let decision = match mode {
            Authority::Node => k8s_auth::authorize_node(attributes, core.minor, |node, kind, namespace, name| {
                node::related(core, node, kind, namespace, name)
            }),
            Authority::Rbac => match rbac {
                Some(rbac) => rbac.authorize(attributes),
                None => self.rbac().authorize(attributes),
            },
            Authority::Webhook(_) => return Decision::NoOpinion(String::new()),
        };
        match decision {
            k8s_auth::Decision::Allow(reason) => Decision::Allow(reason),
            k8s_auth::Decision::NoOpinion(reason) => Decision::NoOpinion(reason),
        }
    }
}

fn issuers_of(jwt: &[JwtAuthenticator], known: &[Arc<Oidc>]) -> Result<Issuers, ApiError> {
    let of = |own: &JwtAuthenticator| match known.iter().find(|issuer| issuer.is_of(own)) {
        Some(issuer) => Ok(issuer.clone()),
        None => Oidc::new(own.clone()).map(Arc::new),
    };
    jwt.iter().map(of).collect::<Result<_, _>>().map_err(ApiError::internal)
}

/// What authorizers say, and who could not be asked.
pub(crate) struct Verdict {
    pub decision: Decision,
    /// Empty when all were asked.
    pub error: String,
}

fn no_opinion(mut reasons: Vec<String>) -> Decision {
    reasons.retain(|reason| !reason.is_empty());
    Decision::NoOpinion(reasons.join("\n"))
}

/// Whether two secrets are equal, in a time that depends on their lengths only.
fn same_secret(own: &[u8], given: &[u8]) -> bool {
    own.len() == given.len() && own.iter().zip(given).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}
