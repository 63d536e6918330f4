//! The twelve digits that name an AWS account. Must never hold anything else.

use std::fmt;

/// An AWS account number: exactly twelve decimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId([u8; 12]);

/// The text is not an account number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an AWS account id: it has twelve digits")]
pub struct ParseAccountIdError(pub String);

impl AccountId {
    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::str::FromStr for AccountId {
    type Err = ParseAccountIdError;

    fn from_str(text: &str) -> Result<AccountId, ParseAccountIdError> {
        match <[u8; 12]>::try_from(text.as_bytes()) {
            Ok(digits) if digits.iter().all(u8::is_ascii_digit) => Ok(AccountId(digits)),
            _ => Err(ParseAccountIdError(text.to_owned())),
        }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountId({})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_twelve_digits_are_an_account() {
        for (text, valid) in [
            ("111122223333", true),
            ("11112222333", false),
            ("1111222233334", false),
            ("11112222333a", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<AccountId>().is_ok(), valid, "{text}");
        }
        assert_eq!("000000000001".parse::<AccountId>().map(|id| id.to_string()), Ok("000000000001".to_owned()));
    }
}
