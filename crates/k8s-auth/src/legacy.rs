//! Tokens of the old form: without an end and an audience, kept in a Secret and good as long as it.

use k8s_object::UserInfo;
use serde::{Deserialize, Serialize};

use crate::tokens::{Issuer, TokenError};

/// What these tokens call their issuer, whatever the cluster's is.
const ISSUER: &str = "kubernetes/serviceaccount";

/// What such a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegacyClaims {
    iss: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace", default)]
    pub namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name", default)]
    pub secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name", default)]
    pub service_account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid", default)]
    pub service_account_uid: String,
    #[serde(default)]
    sub: String,
}

impl LegacyClaims {
    /// Claims of an account's token that is to be kept in a Secret.
    pub fn new(namespace: &str, service_account: &str, service_account_uid: &str, secret: &str) -> LegacyClaims {
        LegacyClaims {
            iss: ISSUER.to_owned(),
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            service_account: service_account.to_owned(),
            service_account_uid: service_account_uid.to_owned(),
            sub: format!("system:serviceaccount:{namespace}:{service_account}"),
        }
    }

    /// The user that the token stands for.
    pub fn user(&self) -> UserInfo {
        let mut user = UserInfo::service_account(&self.namespace, &self.service_account);
        user.uid.clone_from(&self.service_account_uid);
        user
    }
}

impl Issuer {
    /// Signs a token to be kept in a Secret.
    pub fn issue_legacy(&self, claims: &LegacyClaims) -> String {
        self.seal(claims)
    }

    /// What a token of the old form says. Whether its Secret is there, the caller checks.
    pub fn verify_legacy(&self, token: &str) -> Result<LegacyClaims, TokenError> {
        let claims: LegacyClaims = self.open(token, ISSUER)?;
        let LegacyClaims { namespace, secret, service_account, service_account_uid, sub, .. } = &claims;
        let needed = [
            (sub, "sub claim is missing"),
            (namespace, "namespace claim is missing"),
            (secret, "secretName claim is missing"),
            (service_account, "serviceAccountName claim is missing"),
            (service_account_uid, "serviceAccountUID claim is missing"),
        ];
        if let Some((_, why)) = needed.into_iter().find(|(claim, _)| claim.is_empty()) {
            return Err(TokenError::Unbound(why.to_owned()));
        }
        if *sub != format!("system:serviceaccount:{namespace}:{service_account}") {
            return Err(TokenError::Unbound("sub claim is invalid".to_owned()));
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PrivateKey;
    use world::World;

    #[test]
    fn tokens_of_secrets_name_account_and_secret() {
        let (world, _simulation) = World::simulated(1);
        let issuer = Issuer::new(PrivateKey::generate(&world), "https://oidc.example", &["a"]);
        let claims = LegacyClaims::new("ns", "sa", "u", "s");
        let token = issuer.issue_legacy(&claims);
        assert_eq!(issuer.verify_legacy(&token), Ok(claims.clone()));
        assert_eq!(issuer.verify(&token, &[], world.now()), Err(TokenError::Foreign));
        let refused = |change: fn(&mut LegacyClaims)| {
            let mut claims = claims.clone();
            change(&mut claims);
            issuer.verify_legacy(&issuer.issue_legacy(&claims)).unwrap_err().to_string()
        };
        assert_eq!(refused(|claims| claims.secret.clear()), "secretName claim is missing");
        assert_eq!(refused(|claims| claims.sub.push('x')), "sub claim is invalid");
        let other = Issuer::new(PrivateKey::generate(&world), "https://oidc.example", &["a"]);
        assert_eq!(other.verify_legacy(&token), Err(TokenError::Signature));
    }
}
