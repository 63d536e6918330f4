//! Who an IAM principal is in a cluster, and what access policies allow it there.
//!
//! A bearer token of EKS is a presigned STS request. It is verified here by recomputing its signature, then EKS maps the caller
//! to a user. The policies associated with the caller's access entry are remembered per user and asked before RBAC.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use apiserver::{AuthError, Authorizer, Decision, TokenAuthenticator};
use cloud_eks::{AssociatedPolicy, AwsAuth, NotMapped};
use cloud_iam::{Caller, CallerKind};
use cloud_wire::TokenError;
use k8s_auth::Attributes;
use k8s_object::resources::CONFIG_MAPS;
use k8s_object::{ApiError, Object, UserInfo};
use world::{BoxFuture, Timestamp};

use crate::known_tokens::{Known, KnownTokens, MAX_TOKENS};
use crate::{Inner, credentials, processes};

/// Principals whose policies are remembered. Beyond that the first in order of their ARNs is forgotten, until its next token is verified.
const MAX_USERS: usize = 10_000;

/// The key under which the authenticator notes whose identity this is.
const CANONICAL_ARN: &str = "canonicalArn";

/// What access policies allow in one cluster.
#[derive(Default)]
pub(crate) struct AccessPolicies(RwLock<BTreeMap<String, Arc<[AssociatedPolicy]>>>);

impl AccessPolicies {
    /// Replaces what is known of a principal.
    fn set(&self, user: &UserInfo, policies: &Arc<[AssociatedPolicy]>) {
        let Some(principal) = principal(user) else { return };
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if known.get(principal).is_some_and(|known| Arc::ptr_eq(known, policies) || known[..] == policies[..])
            || (policies.is_empty() && !known.contains_key(principal))
        {
            return;
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_USERS {
            known.pop_first();
        }
        known.insert(principal.to_owned(), policies.clone());
    }
}

/// The IAM principal that a user is; nobody for users who did not come with an IAM token.
fn principal(user: &UserInfo) -> Option<&str> {
    user.uid
        .starts_with("aws-iam-authenticator:")
        .then(|| user.extra.get(CANONICAL_ARN))?
        .and_then(|values| values.first())
        .map(String::as_str)
}

impl Authorizer for AccessPolicies {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let no_opinion = || Decision::NoOpinion(String::new());
        let Some(principal) = principal(attributes.user) else { return no_opinion() };
        let policies = self.0.read().unwrap_or_else(PoisonError::into_inner).get(principal).cloned();
        let Attributes { verb, group, resource, subresource, namespace, name, path, .. } = *attributes;
        let path = (!attributes.is_resource()).then_some(path);
        let request = cloud_eks::Attributes { verb, group, resource, subresource, namespace, name, path };
        for policy in policies.iter().flat_map(|policies| policies.iter()) {
            if cloud_eks::access_policies::allows(&policy.name, &request, &policy.scope) {
                return Decision::Allow(format!("EKS Access Policy: allowed by {} for {principal}", policy.name));
            }
        }
        no_opinion()
    }
}

/// Verifies IAM tokens for one cluster.
pub(crate) struct IamTokens {
    inner: Weak<Inner>,
    cluster: String,
    policies: Arc<AccessPolicies>,
    known: KnownTokens,
}

impl IamTokens {
    pub(crate) fn new(inner: &Arc<Inner>, cluster: &str, policies: Arc<AccessPolicies>) -> IamTokens {
        let known = KnownTokens::new(&inner.store, MAX_TOKENS);
        IamTokens { inner: Arc::downgrade(inner), cluster: cluster.to_owned(), policies, known }
    }

    async fn verify(&self, token: &str) -> Result<UserInfo, AuthError> {
        let inner = self.inner.upgrade().ok_or_else(|| AuthError::Unavailable("the region is stopping".to_owned()))?;
        let now = inner.world.now();
        let version = aws_auth_version(&inner, &self.cluster).await?;
        let found = self.known.find(token, version.as_deref(), now).await;
        let ticket = match found.map_err(|error| AuthError::Unavailable(error.to_string()))? {
            Ok(known) => {
                self.policies.set(&known.user, &known.policies);
                return Ok(Arc::unwrap_or_clone(known.user));
            }
            Err(ticket) => ticket,
        };
        let mut verified = self.verify_for(&inner, token, &processes::hosts(&inner.endpoint)).await?;
        if let Err(TokenError::Host(host)) = &verified
            && processes::is_known(&inner, host).await.map_err(|error| AuthError::Unavailable(error.to_string()))?
        {
            let host = host.clone();
            verified = self.verify_for(&inner, token, std::slice::from_ref(&host)).await?;
        }
        let (caller, expires_at) = verified.map_err(|error| AuthError::Invalid(error.to_string()))?;
        let aws_auth = aws_auth(&inner, &self.cluster).await?;
        let mapping = aws_auth.as_deref().map(mapping);
        let (user, policies) = identify_with(&inner, &self.cluster, &caller, mapping.as_ref()).await?;
        let policies: Arc<[AssociatedPolicy]> = policies.into();
        self.policies.set(&user, &policies);
        let aws_auth = aws_auth.map(|object| object.meta().resource_version.clone());
        self.known.keep(
            ticket,
            Known { user: Arc::new(user.clone()), policies, expires_at: Some(expires_at), aws_auth },
            now,
        );
        Ok(user)
    }

    /// The caller whom a token stands for that was signed for one of these hosts, and until when it does.
    async fn verify_for(
        &self,
        inner: &Inner,
        token: &str,
        hosts: &[String],
    ) -> Result<Result<(Caller, Timestamp), TokenError>, AuthError> {
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let verified = credentials::verify(inner, |lookup| {
            cloud_wire::verify_eks_token(token, &self.cluster, &hosts, lookup, inner.world.now())
        });
        Ok(match verified.await.map_err(|error| AuthError::Unavailable(error.to_string()))? {
            (Ok(token), Some(credential)) => {
                let expires_at = credential.expires.map_or(token.expires_at, |own| own.min(token.expires_at));
                Ok((credential.caller, expires_at))
            }
            (Ok(_), None) => Err(TokenError::UnknownKey),
            (Err(error), _) => Err(error),
        })
    }
}

impl TokenAuthenticator for IamTokens {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Option<UserInfo>, AuthError>> {
        Box::pin(async move {
            if !token.starts_with(cloud_wire::TOKEN_PREFIX) {
                return Ok(None);
            }
            self.verify(token).await.map(Some)
        })
    }
}

/// The user that a node's kubelet is in a cluster: it comes with the session of its instance's role.
pub(crate) async fn identify_node(
    inner: &Arc<Inner>,
    cluster: &str,
    role: &str,
    instance: &str,
) -> Result<Arc<UserInfo>, AuthError> {
    let unavailable = |error: &dyn std::fmt::Display| AuthError::Unavailable(error.to_string());
    let now = inner.world.now();
    let version = aws_auth_version(inner, cluster).await?;
    // None of them can stand in a name.
    let session = format!("{cluster}\n{role}\n{instance}");
    let ticket =
        match inner.known_nodes.find(&session, version.as_deref(), now).await.map_err(|error| unavailable(&error))? {
            Ok(known) => return Ok(known.user),
            Err(ticket) => ticket,
        };
    let record = inner.iam.role_by_arn(role).await.map_err(|error| unavailable(&error))?;
    let record = record.ok_or_else(|| AuthError::Invalid(format!("there is no role {role}")))?;
    let name = role.rsplit('/').next().unwrap_or_default();
    let caller = Caller {
        arn: format!("arn:aws:sts::{}:assumed-role/{name}/{instance}", inner.account),
        user_id: format!("{}:{instance}", record.id),
        account: inner.account.clone(),
        kind: CallerKind::AssumedRole { role: name.to_owned(), session: instance.to_owned() },
        access_key_id: String::new(),
    };
    let aws_auth = aws_auth(inner, cluster).await?;
    let mapping = aws_auth.as_deref().map(mapping);
    let (user, _) = identify_with(inner, cluster, &caller, mapping.as_ref()).await?;
    let user = Arc::new(user);
    let aws_auth = aws_auth.map(|object| object.meta().resource_version.clone());
    let known = Known { user: user.clone(), policies: Arc::new([]), expires_at: None, aws_auth };
    inner.known_nodes.keep(ticket, known, now);
    Ok(user)
}

/// The user that a caller is in a cluster by what aws-auth says, and the access policies of its entry.
async fn identify_with(
    inner: &Arc<Inner>,
    cluster: &str,
    caller: &Caller,
    aws_auth: Option<&AwsAuth>,
) -> Result<(UserInfo, Vec<AssociatedPolicy>), AuthError> {
    let identity = inner.eks.identify(cluster, caller, aws_auth).await;
    let identity = identity.map_err(|error| match error {
        NotMapped::Failed(error) => AuthError::Unavailable(error.to_string()),
        error => AuthError::Invalid(error.to_string()),
    })?;
    let mut groups = identity.groups;
    groups.push(UserInfo::AUTHENTICATED.to_owned());
    let user = UserInfo { username: identity.username, uid: identity.uid, groups, extra: identity.extra };
    Ok((user, identity.policies))
}

/// The ConfigMap aws-auth, if the cluster has one.
async fn aws_auth(inner: &Arc<Inner>, cluster: &str) -> Result<Option<Arc<Object>>, AuthError> {
    let Some(plane) = inner.control_plane(cluster) else { return Ok(None) };
    match plane.eks().get(&CONFIG_MAPS, "kube-system", "aws-auth").await {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(AuthError::Unavailable(error.to_string())),
    }
}

/// The revision of the ConfigMap aws-auth, if the cluster has one: all that a request costs whose token is known.
async fn aws_auth_version(inner: &Arc<Inner>, cluster: &str) -> Result<Option<String>, AuthError> {
    let Some(plane) = inner.control_plane(cluster) else { return Ok(None) };
    let version = plane.server.resource_version(&CONFIG_MAPS, "kube-system", "aws-auth").await;
    version.map_err(|error| AuthError::Unavailable(error.to_string()))
}

/// What aws-auth says.
fn mapping(aws_auth: &Object) -> AwsAuth {
    let value = aws_auth.value();
    let text = |key: &str| value["data"][key].as_str().unwrap_or_default().to_owned();
    AwsAuth { map_roles: text("mapRoles"), map_users: text("mapUsers"), map_accounts: text("mapAccounts") }
}

/// What a node's kubelet is told when it may not join.
pub(crate) fn refused(error: AuthError) -> ApiError {
    match error {
        AuthError::Invalid(_) => ApiError::unauthorized(),
        AuthError::Unavailable(why) => ApiError::new(k8s_object::Reason::ServiceUnavailable, why),
    }
}
