//! What all Describe operations share: filters, lists of ids, pages.

use cloud_iam::page::page;
use cloud_iam::policy::matches;
use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error;
use crate::model::Tags;
use crate::service::Call;

/// Rows on one page when the caller does not say; EC2's largest page.
const MAX_PAGE: usize = 1000;

/// A thing that filters can look at.
pub(crate) trait Described {
    /// The values of a filter, several for lists; none when there is no such filter.
    fn filter(&self, name: &str) -> Option<Vec<String>>;
    /// Tags, for the filters on tags.
    fn tags(&self) -> Option<&Tags>;
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    name: Option<String>,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Input {
    #[serde(default)]
    filters: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

fn passes(thing: &impl Described, filter: &Filter) -> Result<bool, AwsError> {
    let name = filter.name.as_deref().unwrap_or_default();
    let values = match (thing.tags(), name) {
        (Some(tags), "tag-key") => tags.keys().cloned().collect(),
        (Some(tags), "tag-value") => tags.values().cloned().collect(),
        (Some(tags), _) if name.starts_with("tag:") => tags.get(&name[4..]).cloned().into_iter().collect(),
        _ => match thing.filter(name) {
            Some(values) => values,
            None => return Err(error::invalid(format!("The filter '{name}' is invalid"))),
        },
    };
    Ok(values.iter().any(|value| filter.values.iter().any(|wanted| matches(wanted, value))))
}

/// Filters things that are sorted by name, cuts a page out and shows it under `member`.
pub(crate) fn describe_page<T: Described>(
    call: &Call<'_>,
    things: Vec<(String, T)>,
    member: &str,
    show: impl Fn(T) -> Value,
) -> Result<Value, AwsError> {
    let input: Input = cloud_iam::decode_input(call.input)?;
    let mut kept = Vec::new();
    'things: for (name, thing) in things {
        for filter in &input.filters {
            if !passes(&thing, filter)? {
                continue 'things;
            }
        }
        kept.push((name, thing));
    }
    let max = input.max_results.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    let page = page(kept, input.next_token.as_deref(), max)
        .map_err(|_| error::client("InvalidNextToken", "The specified token is not valid."))?;
    let shown: Vec<Value> = page.items.into_iter().map(show).collect();
    let mut output = json!({ member: shown });
    if let Some(next) = page.next {
        output["NextToken"] = next.into();
    }
    Ok(output)
}

/// Keeps the things with these ids, all when there are none.
///
/// # Errors
/// An id that does not exist.
pub(crate) fn with_ids<T>(things: Vec<(String, T)>, ids: &[String], kind: &str) -> Result<Vec<(String, T)>, AwsError> {
    if ids.is_empty() {
        return Ok(things);
    }
    if let Some(missing) = ids.iter().find(|id| !things.iter().any(|(name, _)| name == *id)) {
        return Err(error::not_found(kind, missing));
    }
    Ok(things.into_iter().filter(|(name, _)| ids.contains(name)).collect())
}
