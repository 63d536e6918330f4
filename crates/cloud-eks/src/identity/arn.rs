//! ARNs of IAM principals and sessions, and the canonical form in which they are compared. Must never look a principal up.

use cloud_wire::Arn;

/// What kind of principal an ARN names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A session of a role, `assumed-role/<role>/<session>`.
    AssumedRole,
    /// A session of a federated user, `federated-user/<name>`.
    FederatedUser,
    /// `role/<path><name>`.
    Role,
    /// The account itself.
    Root,
    /// `user/<path><name>`.
    User,
}

/// The ARN of a principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PrincipalArn {
    /// What it names.
    pub(crate) kind: Kind,
    arn: Arn,
    /// Without path and session; empty for root.
    name: String,
    /// Between `role/` or `user/` and the name: empty or `a/b/`.
    path: String,
}

/// An ARN is not that of a principal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the ARN of an IAM user, an IAM role, an account's root user or a session of one")]
pub struct ArnError(pub String);

impl PrincipalArn {
    /// Reads an ARN of IAM or STS.
    ///
    /// # Errors
    /// Anything that is not an ARN of one of the kinds.
    pub(crate) fn parse(text: &str) -> Result<PrincipalArn, ArnError> {
        let fail = || ArnError(text.to_owned());
        let arn: Arn = text.parse().map_err(|_| fail())?;
        let (kind, rest) = arn.resource().split_once('/').unwrap_or((arn.resource(), ""));
        let kind = match (arn.service(), kind) {
            ("iam", "role") => Kind::Role,
            ("iam", "root") => Kind::Root,
            ("iam", "user") => Kind::User,
            ("sts", "assumed-role") => Kind::AssumedRole,
            ("sts", "federated-user") => Kind::FederatedUser,
            _ => return Err(fail()),
        };
        // The session of a role comes last; what is before it is the role.
        let named = match kind {
            Kind::AssumedRole => rest.rsplit_once('/').ok_or_else(fail)?.0,
            Kind::FederatedUser | Kind::Role | Kind::Root | Kind::User => rest,
        };
        let (path, name) = named.rfind('/').map_or(("", named), |at| named.split_at(at + 1));
        if name.is_empty() != (kind == Kind::Root) {
            return Err(fail());
        }
        let (name, path) = (name.to_owned(), path.to_owned());
        Ok(PrincipalArn { kind, arn, name, path })
    }

    /// Twelve digits.
    pub(crate) fn account(&self) -> &str {
        self.arn.account()
    }

    /// The form in which principals are compared: a session of a role is the role, and a role has no path, as STS shows none.
    pub(crate) fn canonical(&self) -> String {
        match self.kind {
            Kind::AssumedRole | Kind::Role => {
                format!("arn:{}:iam::{}:role/{}", self.arn.partition(), self.arn.account(), self.name)
            }
            Kind::FederatedUser | Kind::Root | Kind::User => self.arn.to_string(),
        }
    }

    /// `arn:aws:sts::<account>:assumed-role/<role>/{{SessionName}}`: what all sessions of a role look like.
    pub(super) fn session_template(&self) -> String {
        format!(
            "arn:{}:sts::{}:assumed-role/{}/{}",
            self.arn.partition(),
            self.arn.account(),
            self.name,
            super::template::SESSION_NAME
        )
    }

    /// Whether it is a role that AWS services made for themselves.
    pub(crate) fn is_service_linked(&self) -> bool {
        self.kind == Kind::Role && self.path.starts_with("aws-service-role/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_have_a_kind_a_name_and_a_canonical_form() {
        let cases = [
            ("arn:aws:iam::111122223333:root", Some((Kind::Root, "", "arn:aws:iam::111122223333:root"))),
            ("arn:aws:iam::111122223333:user/ann", Some((Kind::User, "ann", "arn:aws:iam::111122223333:user/ann"))),
            (
                "arn:aws:iam::111122223333:user/a/b/ann",
                Some((Kind::User, "ann", "arn:aws:iam::111122223333:user/a/b/ann")),
            ),
            ("arn:aws:iam::111122223333:role/dev", Some((Kind::Role, "dev", "arn:aws:iam::111122223333:role/dev"))),
            (
                "arn:aws-cn:iam::111122223333:role/a/b/dev",
                Some((Kind::Role, "dev", "arn:aws-cn:iam::111122223333:role/dev")),
            ),
            (
                "arn:aws:sts::111122223333:assumed-role/dev/ann@example.com",
                Some((Kind::AssumedRole, "dev", "arn:aws:iam::111122223333:role/dev")),
            ),
            (
                "arn:aws:sts::111122223333:federated-user/bob",
                Some((Kind::FederatedUser, "bob", "arn:aws:sts::111122223333:federated-user/bob")),
            ),
            ("arn:aws:sts::111122223333:assumed-role/dev", None),
            ("arn:aws:iam::111122223333:role/", None),
            ("arn:aws:iam::111122223333:role", None),
            ("arn:aws:iam::111122223333:group/devs", None),
            ("arn:aws:iam::111122223333:service/eks.amazonaws.com", None),
            ("arn:aws:sts::111122223333:role/dev", None),
            ("arn:aws:s3:::bucket", None),
            ("ann", None),
        ];
        for (text, expected) in cases {
            let parsed = PrincipalArn::parse(text);
            let found = parsed.as_ref().ok().map(|arn| (arn.kind, arn.name.as_str(), arn.canonical()));
            assert_eq!(found, expected.map(|(kind, name, canonical)| (kind, name, canonical.to_owned())), "{text}");
        }
    }

    #[test]
    fn service_linked_roles_are_known_by_their_path() {
        let linked = |text| PrincipalArn::parse(text).expect("arn").is_service_linked();
        assert!(linked("arn:aws:iam::111122223333:role/aws-service-role/eks.amazonaws.com/AWSServiceRoleForAmazonEKS"));
        assert!(!linked("arn:aws:iam::111122223333:role/AWSServiceRoleForAmazonEKS"));
        assert!(!linked("arn:aws:iam::111122223333:role/mine/aws-service-role/x"));
    }
}
