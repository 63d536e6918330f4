//! Pagination: opaque tokens that say after which name a list goes on. Must never know an API's member names.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// At most as many as were asked for.
    pub items: Vec<T>,
    /// Where the next part begins; none at the end.
    pub next: Option<String>,
}

/// The token was not made by [`page`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a token of an earlier answer")]
pub struct BadToken(pub String);

/// Cuts a list that is sorted by name. A token stays good when items come and go, because it holds the last name and no position.
///
/// # Errors
/// [`BadToken`].
pub fn page<T>(items: Vec<(String, T)>, token: Option<&str>, max: usize) -> Result<Page<T>, BadToken> {
    let after = match token {
        None => None,
        Some(text) => {
            let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadToken(text.to_owned()))?;
            let name = String::from_utf8(bytes).map_err(|_| BadToken(text.to_owned()))?;
            Some(name.strip_prefix("after:").ok_or_else(|| BadToken(text.to_owned()))?.to_owned())
        }
    };
    let mut rest = items.into_iter().filter(|(name, _)| after.as_ref().is_none_or(|after| name > after)).peekable();
    let mut taken = Vec::new();
    let mut last = String::new();
    while taken.len() < max {
        let Some((name, item)) = rest.next() else { break };
        last = name;
        taken.push(item);
    }
    let next = rest.peek().map(|_| URL_SAFE_NO_PAD.encode(format!("after:{last}")));
    Ok(Page { items: taken, next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_to_the_whole_list() {
        let all: Vec<(String, u32)> = (0..7).map(|n| (format!("n{n}"), n)).collect();
        for max in 1..9 {
            let (mut token, mut seen) = (None, Vec::new());
            loop {
                let page = page(all.clone(), token.as_deref(), max).expect("good token");
                assert!(page.items.len() <= max);
                seen.extend(page.items);
                token = page.next;
                if token.is_none() {
                    break;
                }
            }
            assert_eq!(seen, (0..7).collect::<Vec<_>>(), "pages of {max}");
        }
    }

    #[test]
    fn foreign_tokens_are_refused() {
        for token in ["", "!!", "YWJj"] {
            assert!(page(vec![("a".to_owned(), 1)], Some(token), 10).is_err(), "{token}");
        }
    }
}
