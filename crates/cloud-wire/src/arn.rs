//! Amazon Resource Names, `arn:partition:service:region:account:resource`. Must never interpret the resource part.

use std::fmt;

/// Longest ARN that any AWS API takes, in bytes; longer text is refused before it is split.
pub const MAX_ARN_BYTES: usize = 2048;

/// The six parts of an ARN. Region and account are empty where the service has none (IAM has no region).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arn {
    partition: String,
    service: String,
    region: String,
    account: String,
    resource: String,
}

/// Why text is not an ARN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an ARN: {why}")]
pub struct ParseArnError {
    /// What was given, cut at [`MAX_ARN_BYTES`].
    pub text: String,
    /// The rule that it breaks.
    pub why: &'static str,
}

/// What an ARN is made of, for [`Arn::new`], where five strings in a row would be swapped sooner or later.
#[derive(Debug, Clone, Copy)]
pub struct ArnParts<'a> {
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: &'a str,
    /// For example `eks`.
    pub service: &'a str,
    /// Empty for global services.
    pub region: &'a str,
    /// Twelve digits, `aws` or empty.
    pub account: &'a str,
    /// Everything after the fifth colon, for example `cluster/blue`.
    pub resource: &'a str,
}

impl Arn {
    /// Puts parts together.
    ///
    /// # Errors
    /// A part that holds a colon (the resource may), white space, or is empty and must not be.
    pub fn new(parts: ArnParts<'_>) -> Result<Arn, ParseArnError> {
        let ArnParts { partition, service, region, account, resource } = parts;
        format!("arn:{partition}:{service}:{region}:{account}:{resource}").parse()
    }

    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub fn partition(&self) -> &str {
        &self.partition
    }

    /// The service's name, for example `iam`.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Empty for global services.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Twelve digits, `aws` for what AWS itself owns, or empty.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Everything after the fifth colon, for example `role/path/name`.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The resource's kind and the rest, split at the first `/` or `:`: `role/a/b` is `("role", "a/b")`, `root` is `("", "root")`.
    pub fn resource_kind(&self) -> (&str, &str) {
        self.resource.split_once(['/', ':']).unwrap_or(("", &self.resource))
    }
}

impl std::str::FromStr for Arn {
    type Err = ParseArnError;

    fn from_str(text: &str) -> Result<Arn, ParseArnError> {
        let fail = |why| ParseArnError { text: text.chars().take(MAX_ARN_BYTES).collect(), why };
        if text.len() > MAX_ARN_BYTES {
            return Err(fail("it is longer than 2048 bytes"));
        }
        if text.chars().any(char::is_whitespace) {
            return Err(fail("it contains white space"));
        }
        let mut parts = text.splitn(6, ':');
        let mut part = || parts.next().ok_or_else(|| fail("it has fewer than six parts separated by colons"));
        if part()? != "arn" {
            return Err(fail("it does not start with arn:"));
        }
        let (partition, service, region, account, resource) = (part()?, part()?, part()?, part()?, part()?);
        if partition.is_empty() || service.is_empty() || resource.is_empty() {
            return Err(fail("its partition, service or resource is empty"));
        }
        let digits = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        if !digits && !matches!(account, "" | "aws") {
            return Err(fail("its account is not twelve digits"));
        }
        Ok(Arn {
            partition: partition.to_owned(),
            service: service.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            resource: resource.to_owned(),
        })
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arn:{}:{}:{}:{}:{}", self.partition, self.service, self.region, self.account, self.resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_survives_the_round_trip() {
        for (text, kind) in [
            ("arn:aws:iam::111122223333:role/a/b", ("role", "a/b")),
            ("arn:aws:iam::111122223333:root", ("", "root")),
            (
                "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy",
                ("cluster-access-policy", "AmazonEKSViewPolicy"),
            ),
            ("arn:aws:logs:eu-west-1:111122223333:log-group:x:*", ("log-group", "x:*")),
        ] {
            let arn: Arn = text.parse().expect(text);
            assert_eq!(arn.to_string(), text);
            assert_eq!(arn.resource_kind(), kind);
        }
    }

    #[test]
    fn what_is_not_an_arn_is_refused() {
        let long = format!("arn:aws:iam::111122223333:role/{}", "x".repeat(MAX_ARN_BYTES));
        for text in [
            "",
            "arn",
            "arn:aws:iam::111122223333",
            "arn:aws:iam::12:role/a",
            "arn::iam::111122223333:role/a",
            "arn:aws:iam::111122223333:",
            "arn:aws:iam::111122223333:role/a b",
            "urn:aws:iam::111122223333:role/a",
            &long,
        ] {
            assert!(text.parse::<Arn>().is_err(), "{text}");
        }
    }
}
