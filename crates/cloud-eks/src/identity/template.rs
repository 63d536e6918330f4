//! The placeholders of usernames and groups. Must never know where a text comes from.

use super::Subject;

/// The session's name with `@` made `-`, since it often is an e-mail address.
pub(super) const SESSION_NAME: &str = "{{SessionName}}";
/// The session's name as it is.
pub(super) const SESSION_NAME_RAW: &str = "{{SessionNameRaw}}";
const ACCESS_KEY_ID: &str = "{{AccessKeyID}}";
const ACCOUNT_ID: &str = "{{AccountID}}";
/// The private DNS name of the instance whose id the session's name is.
pub(super) const PRIVATE_DNS_NAME: &str = "{{EC2PrivateDNSName}}";

/// What placeholders stand for.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) subject: &'a Subject<'a>,
    /// Of the instance that the session is named by, if EC2 knows it.
    pub(super) private_dns: Option<&'a str>,
}

/// Why a placeholder has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Only instances have private names, and their sessions are named by their ids.
    #[error(
        "{{{{EC2PrivateDNSName}}}} of {template:?} has no value: the session {session:?} is not named by an instance id"
    )]
    NotAnInstance {
        /// The text that should be filled in.
        template: String,
        /// The session's name.
        session: String,
    },
    /// EC2 does not know the instance.
    #[error("{{{{EC2PrivateDNSName}}}} of {template:?} has no value: instance {session} is not known")]
    NoPrivateDnsName {
        /// The text that should be filled in.
        template: String,
        /// The instance's id.
        session: String,
    },
}

/// Fills the placeholders in, in one pass: values are never read as templates. Unknown ones stay as they are, as upstream leaves them.
pub(super) fn render(template: &str, values: Values<'_>) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{{") {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let end = from.find("}}").map_or(from.len(), |at| at + 2);
        match value(&from[..end], template, values)? {
            Some(value) => {
                out.push_str(&value);
                rest = &from[end..];
            }
            None => {
                out.push_str(&from[..1]);
                rest = &from[1..];
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn value(placeholder: &str, template: &str, values: Values<'_>) -> Result<Option<String>, TemplateError> {
    let value = match placeholder {
        SESSION_NAME => values.subject.session.replace('@', "-"),
        SESSION_NAME_RAW => values.subject.session.to_owned(),
        ACCESS_KEY_ID => values.subject.caller.access_key_id.clone(),
        ACCOUNT_ID => values.subject.caller.account.clone(),
        PRIVATE_DNS_NAME => private_dns_name(template, values)?,
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn private_dns_name(template: &str, values: Values<'_>) -> Result<String, TemplateError> {
    let (template, session) = (template.to_owned(), values.subject.session.to_owned());
    if !is_instance_id(&session) {
        return Err(TemplateError::NotAnInstance { template, session });
    }
    values.private_dns.map(str::to_owned).ok_or(TemplateError::NoPrivateDnsName { template, session })
}

/// `i-` and 8 or 17 word characters.
pub(super) fn is_instance_id(text: &str) -> bool {
    text.strip_prefix("i-").is_some_and(|rest| {
        matches!(rest.len(), 8 | 17) && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}
