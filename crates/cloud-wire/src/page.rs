//! Pages of a list: sizes are clamped, and a token is bound to its operation and parameters. Must never reveal or trust a position
//! that a client wrote itself for another query.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::error::AwsError;
use crate::model::{Operation, Service};

/// First byte of a token: the version of its form.
const VERSION: u8 = 1;
/// Bytes of the hash over operation and parameters; a check against mix-ups, not a secret.
const BINDING_BYTES: usize = 12;
/// Longest token, in bytes; what is longer is not ours.
const MAX_TOKEN_BYTES: usize = 8192;

/// How many items a page has.
#[derive(Debug, Clone, Copy)]
pub struct PageLimits {
    /// When the request does not say.
    pub default: usize,
    /// At most, whatever the request says.
    pub max: usize,
}

impl PageLimits {
    /// What every list of EKS and IAM uses: 100 items.
    pub const HUNDRED: PageLimits = PageLimits { default: 100, max: 100 };
    /// What EC2 uses: all up to 1000.
    pub const THOUSAND: PageLimits = PageLimits { default: 1000, max: 1000 };
}

/// The token was not made by this operation with these parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The pagination token is invalid: it belongs to another operation or other parameters, or was altered.")]
pub struct InvalidToken;

impl InvalidToken {
    /// The modelled error of the service.
    pub fn to_aws(self, service: &Service) -> AwsError {
        service.error(service.invalid_token_code(), self.to_string())
    }
}

/// A request for one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    limit: usize,
    after: Option<String>,
    binding: [u8; BINDING_BYTES],
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Its items, in order.
    pub items: Vec<T>,
    /// The token of the next one, if there is one.
    pub next_token: Option<String>,
}

impl PageRequest {
    /// Reads token and size from the input of a paged operation.
    ///
    /// # Errors
    /// [`InvalidToken`].
    pub fn read(operation: &Operation, input: &Value, limits: PageLimits) -> Result<PageRequest, InvalidToken> {
        let page = operation.pagination.as_ref();
        let asked = page.and_then(|page| page.limit).and_then(|name| input.get(name)).and_then(Value::as_u64);
        let asked = asked.map_or(limits.default, |asked| usize::try_from(asked).unwrap_or(limits.max));
        let binding = binding(operation, input);
        let token =
            page.and_then(|page| input.get(page.input_token)).and_then(Value::as_str).filter(|token| !token.is_empty());
        let after = token.map(|token| open(token, binding)).transpose()?;
        Ok(PageRequest { limit: asked.clamp(1, limits.max.max(1)), after, binding })
    }

    /// At most this many items.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The key after which the page starts.
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// The token of the page that starts after `key`.
    pub fn token(&self, key: &str) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(self.binding);
        bytes.extend(key.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Cuts the page out of all items, which are sorted by a unique `key`.
    pub fn cut<T>(&self, items: impl IntoIterator<Item = T>, key: impl Fn(&T) -> &str) -> Page<T> {
        let mut page = Page { items: Vec::new(), next_token: None };
        for item in items {
            if self.after.as_deref().is_some_and(|after| key(&item) <= after) {
                continue;
            }
            if page.items.len() == self.limit {
                page.next_token = page.items.last().map(|last| self.token(key(last)));
                break;
            }
            page.items.push(item);
        }
        page
    }
}

/// Puts the token of the next page into a result, and whether there is one where the service says so (`IsTruncated`).
pub fn set_next(operation: &Operation, output: &mut Value, next_token: Option<String>) {
    let (Some(page), Some(output)) = (operation.pagination.as_ref(), output.as_object_mut()) else { return };
    if let Some(more) = page.more {
        output.insert(more.to_owned(), Value::Bool(next_token.is_some()));
    }
    if let Some(token) = next_token {
        output.insert(page.output_token.to_owned(), Value::String(token));
    }
}

/// A hash over the operation and all parameters but token and size.
fn binding(operation: &Operation, input: &Value) -> [u8; BINDING_BYTES] {
    let mut parameters = input.clone();
    if let (Some(page), Some(object)) = (operation.pagination.as_ref(), parameters.as_object_mut()) {
        object.remove(page.input_token);
        page.limit.map(|limit| object.remove(limit));
    }
    let mut hash = Sha256::new();
    hash.update(operation.name);
    hash.update([0]);
    hash.update(parameters.to_string());
    let digest = hash.finalize();
    std::array::from_fn(|index| digest[index])
}

fn open(token: &str, binding: [u8; BINDING_BYTES]) -> Result<String, InvalidToken> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(InvalidToken);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| InvalidToken)?;
    let rest = bytes.strip_prefix(&[VERSION]).and_then(|rest| rest.strip_prefix(&binding)).ok_or(InvalidToken)?;
    String::from_utf8(rest.to_vec()).map_err(|_| InvalidToken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Name;
    use serde_json::json;

    fn walk(operation: &str, size: usize, names: &[String]) -> Vec<Vec<String>> {
        let operation = Service::get(Name::Eks).operation(operation).expect("modelled");
        let (mut token, mut pages) = (None, Vec::new());
        loop {
            let input = json!({"maxResults": size, "nextToken": token});
            let page = PageRequest::read(operation, &input, PageLimits::HUNDRED)
                .expect("our own token")
                .cut(names, |name| name.as_str());
            pages.push(page.items.into_iter().cloned().collect());
            match page.next_token {
                Some(next) => token = Some(next),
                None => return pages,
            }
        }
    }

    #[test]
    fn walking_the_pages_gives_every_item_once_and_no_empty_last_page() {
        let names: Vec<String> = (0..250).map(|n| format!("{n:03}")).collect();
        for (size, pages) in [(1, 250), (100, 3), (125, 3), (250, 3), (0, 250), (50, 5)] {
            let walked = walk("ListClusters", size, &names);
            assert_eq!((walked.len(), walked.concat()), (pages, names.clone()), "size {size}");
        }
        assert_eq!(walk("ListClusters", 10, &[]), [Vec::<String>::new()]);
    }

    #[test]
    fn a_token_is_refused_elsewhere() {
        let eks = Service::get(Name::Eks);
        let read = |operation: &str, input: Value| {
            PageRequest::read(eks.operation(operation).expect("modelled"), &input, PageLimits::HUNDRED)
        };
        let token =
            read("ListNodegroups", json!({"clusterName": "a"})).map(|page| page.token("x")).expect("no token yet");
        assert!(read("ListNodegroups", json!({"clusterName": "a", "nextToken": token, "maxResults": 3})).is_ok());
        for (operation, input) in [
            ("ListNodegroups", json!({"clusterName": "b", "nextToken": token})),
            ("ListAddons", json!({"clusterName": "a", "nextToken": token})),
            ("ListNodegroups", json!({"clusterName": "a", "nextToken": "!"})),
            ("ListNodegroups", json!({"clusterName": "a", "nextToken": "AAAA"})),
            ("ListNodegroups", json!({"clusterName": "a", "nextToken": "A".repeat(MAX_TOKEN_BYTES + 1)})),
        ] {
            let error = read(operation, input).map_err(|error| error.to_aws(eks).code);
            assert_eq!(error, Err("InvalidParameterException".into()));
        }
    }

    #[test]
    fn results_say_whether_there_is_more() {
        let users = Service::get(Name::Iam).operation("ListUsers").expect("modelled");
        let mut output = json!({"Users": []});
        set_next(users, &mut output, Some("t".to_owned()));
        assert_eq!(output, json!({"Users": [], "IsTruncated": true, "Marker": "t"}));
        let mut output = json!({"Users": []});
        set_next(users, &mut output, None);
        assert_eq!(output, json!({"Users": [], "IsTruncated": false}));
    }
}
