//! What the options of a list or a watch mean together, and which combinations mean nothing (apimachinery
//! `ValidateListOptions`).

use k8s_client::Options;
use k8s_object::{ApiError, Cause};

const MATCH: &str = "resourceVersionMatch";
const SEND: &str = "sendInitialEvents";
const NOT_OLDER: &str = "NotOlderThan";
/// First minor in which watches may ask for the state that they begin with, and be told when they have it (feature `WatchList`:
/// off by default in 1.33).
const STREAMING_SINCE: u8 = 34;

/// Checks the options of a list; `send` is `sendInitialEvents`.
///
/// # Errors
/// Upstream's 422.
pub(crate) fn check_list(options: &Options, send: Option<bool>) -> Result<(), ApiError> {
    let mut causes = Vec::new();
    let matching = text(&options.resource_version_match);
    let version = text(&options.resource_version);
    if !matching.is_empty() {
        if version.is_empty() {
            forbid(&mut causes, MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if !text(&options.continue_token).is_empty() {
            forbid(&mut causes, MATCH, "resourceVersionMatch is forbidden when continue is provided");
        }
        if !["Exact", NOT_OLDER].contains(&matching) {
            causes.push(k8s_kinds::causes::not_supported(MATCH, matching, &["Exact", NOT_OLDER, ""]));
        }
        if matching == "Exact" && version == "0" {
            forbid(&mut causes, MATCH, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
    }
    if send.is_some() {
        forbid(&mut causes, SEND, "sendInitialEvents is forbidden for list");
    }
    refuse(causes)
}

/// Checks the options of a watch; `send` is `sendInitialEvents`.
///
/// # Errors
/// Upstream's 422.
pub(crate) fn check_watch(options: &Options, send: Option<bool>, minor: u8) -> Result<(), ApiError> {
    let mut causes = Vec::new();
    let matching = text(&options.resource_version_match);
    if send.is_some() {
        if matching != NOT_OLDER {
            forbid(&mut causes, MATCH, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
        }
        if minor < STREAMING_SINCE {
            let why = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
            forbid(&mut causes, SEND, why);
        }
    }
    if !matching.is_empty() {
        if send.is_none() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            forbid(&mut causes, MATCH, why);
        }
        if matching != NOT_OLDER {
            causes.push(k8s_kinds::causes::not_supported(MATCH, matching, &[NOT_OLDER]));
        }
        if !text(&options.continue_token).is_empty() {
            forbid(&mut causes, MATCH, "resourceVersionMatch is forbidden when continue is provided");
        }
    }
    refuse(causes)
}

/// How a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// With the objects that there are.
    State,
    /// With the changes after the revision that the client names, or after now when it names none.
    Changes,
}

/// What `sendInitialEvents` and the revision say together (apimachinery `SetListOptionsDefaults`).
pub(crate) fn beginning(options: &Options, send: Option<bool>) -> Beginning {
    let named = !matches!(text(&options.resource_version), "" | "0");
    match send {
        Some(true) => Beginning::State,
        Some(false) => Beginning::Changes,
        // How it was before one could say.
        None if named => Beginning::Changes,
        None => Beginning::State,
    }
}

/// Whether a client that wants bookmarks is told when it has the state that the watch began with.
pub(crate) fn announces_end(options: &Options, send: Option<bool>, minor: u8) -> bool {
    minor >= STREAMING_SINCE && beginning(options, send) == Beginning::State
}

fn text(option: &Option<String>) -> &str {
    option.as_deref().unwrap_or("")
}

fn forbid(causes: &mut Vec<Cause>, field: &str, why: &str) {
    causes.push(k8s_kinds::causes::forbidden(field, why));
}

fn refuse(causes: Vec<Cause>) -> Result<(), ApiError> {
    if causes.is_empty() { Ok(()) } else { Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", causes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(version: &str, matching: &str, token: &str) -> Options {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Options {
            resource_version: some(version),
            resource_version_match: some(matching),
            continue_token: some(token),
            ..Options::default()
        }
    }

    #[test]
    fn combinations_that_mean_nothing_are_refused() {
        let list = [
            ("", "", "", None, 0),
            ("5", "Exact", "", None, 0),
            ("0", "NotOlderThan", "", None, 0),
            ("", "Exact", "", None, 1),
            ("0", "Exact", "", None, 1),
            ("5", "Exact", "token", None, 1),
            ("", "Newest", "token", Some(false), 4),
            ("", "", "", Some(true), 1),
        ];
        for (version, matching, token, send, expected) in list {
            let result = check_list(&options(version, matching, token), send);
            let count = result.err().map_or(0, |error| error.causes.len());
            assert_eq!(count, expected, "list {version:?} {matching:?} {token:?} {send:?}");
        }
        let watch = [
            ("", "", None, 34, 0),
            ("5", "NotOlderThan", Some(true), 34, 0),
            ("", "NotOlderThan", Some(false), 34, 0),
            ("", "NotOlderThan", Some(true), 33, 1),
            ("5", "", Some(true), 34, 1),
            ("5", "NotOlderThan", None, 34, 1),
            ("5", "Exact", Some(true), 34, 2),
        ];
        for (version, matching, send, minor, expected) in watch {
            let result = check_watch(&options(version, matching, ""), send, minor);
            let count = result.err().map_or(0, |error| error.causes.len());
            assert_eq!(count, expected, "watch {version:?} {matching:?} {send:?} 1.{minor}");
        }
    }

    #[test]
    fn watches_begin_as_they_say() {
        use Beginning::{Changes, State};
        let cases = [
            ("", None, State),
            ("0", None, State),
            ("5", None, Changes),
            ("5", Some(true), State),
            ("", Some(false), Changes),
            ("5", Some(false), Changes),
        ];
        for (version, send, expected) in cases {
            assert_eq!(beginning(&options(version, "", ""), send), expected, "{version:?} {send:?}");
        }
    }
}
