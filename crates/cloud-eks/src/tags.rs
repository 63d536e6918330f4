//! Tags by ARN. These three operations have exceptions of their own: `BadRequestException` and `NotFoundException`.

use std::collections::BTreeMap;

use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clusters::check_tags;
use crate::model::{AccessEntry, Cluster, Nodegroup, Tags};
use crate::service::{Call, text};

fn bad(message: impl Into<String>) -> AwsError {
    AwsError::new("BadRequestException", 400, message)
}

fn missing(arn: &str) -> AwsError {
    AwsError::new("NotFoundException", 404, format!("No resource found for ARN: {arn}"))
}

/// A thing with tags.
enum Tagged {
    Cluster(Box<Cluster>),
    Nodegroup(Box<Nodegroup>),
    AccessEntry(String, Box<AccessEntry>),
    IdentityProvider(Box<Cluster>, Tags),
}

impl Tagged {
    fn tags(&mut self) -> &mut Tags {
        match self {
            Tagged::Cluster(cluster) => &mut cluster.tags,
            Tagged::Nodegroup(nodegroup) => &mut nodegroup.tags,
            Tagged::AccessEntry(_, entry) => &mut entry.tags,
            Tagged::IdentityProvider(_, tags) => tags,
        }
    }
}

fn provider_arn(cluster: &Cluster) -> &str {
    cluster.provider.as_ref().map_or("", |provider| provider.arn.as_str())
}

async fn find(call: &mut Call<'_>) -> Result<Tagged, AwsError> {
    let text = text(call.input, "resourceArn").unwrap_or_default().to_owned();
    let arn: cloud_wire::Arn = text.parse().map_err(|_| bad(format!("Invalid resource ARN: {text}")))?;
    if arn.service() != "eks" {
        return Err(bad(format!("Invalid resource ARN: {text}")));
    }
    if (arn.region(), arn.account()) != (call.eks.region(), call.eks.account()) {
        return Err(missing(&text));
    }
    let parts: Vec<&str> = arn.resource().split('/').collect();
    let found = match parts[..] {
        ["cluster", name] => call.tx.get::<Cluster>(name).await?.map(|cluster| Tagged::Cluster(Box::new(cluster))),
        ["nodegroup", cluster, name, _] => call
            .tx
            .get::<Nodegroup>(&format!("{cluster}/{name}"))
            .await?
            .filter(|nodegroup| nodegroup.arn == text)
            .map(|nodegroup| Tagged::Nodegroup(Box::new(nodegroup))),
        ["access-entry", cluster, ..] => {
            let entries = call.tx.list::<AccessEntry>(&format!("{cluster}/")).await?;
            let found = entries.into_iter().find(|(_, entry)| entry.arn == text);
            found.map(|(key, entry)| Tagged::AccessEntry(key, Box::new(entry)))
        }
        ["identityproviderconfig", cluster, ..] => {
            call.tx.get::<Cluster>(cluster).await?.filter(|cluster| provider_arn(cluster) == text).map(|cluster| {
                let tags = cluster.provider.as_ref().map(|provider| provider.tags.clone()).unwrap_or_default();
                Tagged::IdentityProvider(Box::new(cluster), tags)
            })
        }
        _ => return Err(bad(format!("Invalid resource ARN: {text}"))),
    };
    found.ok_or_else(|| missing(&text))
}

fn put(call: &mut Call<'_>, tagged: &Tagged) {
    match tagged {
        Tagged::Cluster(cluster) => call.tx.put(&cluster.name, &**cluster),
        Tagged::Nodegroup(nodegroup) => call.tx.put(&nodegroup.key(), &**nodegroup),
        Tagged::AccessEntry(key, entry) => call.tx.put(key, &**entry),
        Tagged::IdentityProvider(cluster, tags) => {
            let mut cluster = (**cluster).clone();
            if let Some(provider) = &mut cluster.provider {
                provider.tags.clone_from(tags);
            }
            call.tx.put(&cluster.name, &cluster);
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    tag_keys: Vec<String>,
}

pub(crate) async fn tag(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Change = cloud_iam::decode_input(call.input)?;
    let mut tagged = find(&mut call).await?;
    check_tags(&input.tags).map_err(|error| bad(error.message))?;
    tagged.tags().extend(input.tags);
    check_tags(tagged.tags()).map_err(|error| bad(error.message))?;
    put(&mut call, &tagged);
    Ok(json!({}))
}

pub(crate) async fn untag(mut call: Call<'_>) -> Result<Value, AwsError> {
    let input: Change = cloud_iam::decode_input(call.input)?;
    let mut tagged = find(&mut call).await?;
    tagged.tags().retain(|key, _| !input.tag_keys.contains(key));
    put(&mut call, &tagged);
    Ok(json!({}))
}

pub(crate) async fn list(mut call: Call<'_>) -> Result<Value, AwsError> {
    let mut tagged = find(&mut call).await?;
    Ok(json!({ "tags": tagged.tags() }))
}
