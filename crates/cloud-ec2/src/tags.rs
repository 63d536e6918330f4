//! Tags on things of every kind that has them.

use cloud_iam::decode_input;
use cloud_iam::records::{Record, Tx};
use cloud_wire::AwsError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::describe::{Described, describe_page};
use crate::error;
use crate::model::{Instance, InternetGateway, NetworkInterface, RouteTable, SecurityGroup, Subnet, Tags, Vpc};
use crate::service::Call;

/// AWS's quota.
const MAX_TAGS: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: Option<String>,
    value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Specification {
    resource_type: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Specified {
    #[serde(default)]
    tag_specifications: Vec<Specification>,
}

fn add(tags: &mut Tags, new: &[Tag]) -> Result<(), AwsError> {
    for tag in new {
        let key = tag.key.clone().unwrap_or_default();
        if key.is_empty() || key.chars().count() > 128 {
            return Err(error::invalid(format!("Tag key '{key}' is invalid: it must have 1 to 128 characters.")));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(error::invalid(format!(
                "Value ( {key} ) for parameter key is invalid. Tag keys starting with 'aws:' are reserved for internal use"
            )));
        }
        let value = tag.value.clone().unwrap_or_default();
        if value.chars().count() > 256 {
            return Err(error::invalid(format!("Tag value of '{key}' is invalid: it may have up to 256 characters.")));
        }
        tags.insert(key, value);
    }
    if tags.len() > MAX_TAGS {
        return Err(error::client("TagLimitExceeded", format!("The maximum number of tags is {MAX_TAGS}.")));
    }
    Ok(())
}

/// The tags that a creation asks for, all of which must be for the kind of thing that is made.
pub(crate) fn specified(input: &Value, kind: &str) -> Result<Tags, AwsError> {
    let input: Specified = decode_input(input)?;
    let mut tags = Tags::new();
    for specification in &input.tag_specifications {
        if specification.resource_type.as_deref() != Some(kind) {
            let given = specification.resource_type.as_deref().unwrap_or_default();
            return Err(error::invalid(format!("'{given}' is not a valid taggable resource type for this operation.")));
        }
        add(&mut tags, &specification.tags)?;
    }
    Ok(tags)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    resources: Vec<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

trait Tagged: Record {
    fn tags(&mut self) -> &mut Tags;
}

macro_rules! tagged {
    ($($kind:ty),*) => { $(impl Tagged for $kind { fn tags(&mut self) -> &mut Tags { &mut self.tags } })* };
}
tagged!(Instance, InternetGateway, NetworkInterface, RouteTable, SecurityGroup, Subnet, Vpc);

async fn change_one<T: Tagged>(
    tx: &mut Tx,
    id: &str,
    kind: &str,
    change: &(dyn Fn(&mut Tags) -> Result<(), AwsError> + Sync),
) -> Result<(), AwsError> {
    let mut thing: T = tx.get(id).await?.ok_or_else(|| error::not_found(kind, id))?;
    change(thing.tags())?;
    tx.put(id, &thing);
    Ok(())
}

async fn change(
    tx: &mut Tx,
    ids: &[String],
    change: &(dyn Fn(&mut Tags) -> Result<(), AwsError> + Sync),
) -> Result<Value, AwsError> {
    for id in ids {
        match id.split('-').next().unwrap_or_default() {
            "eni" => change_one::<NetworkInterface>(tx, id, "eni", change).await?,
            "i" => change_one::<Instance>(tx, id, "i", change).await?,
            "igw" => change_one::<InternetGateway>(tx, id, "igw", change).await?,
            "rtb" => change_one::<RouteTable>(tx, id, "rtb", change).await?,
            "sg" => change_one::<SecurityGroup>(tx, id, "sg", change).await?,
            "subnet" => change_one::<Subnet>(tx, id, "subnet", change).await?,
            "vpc" => change_one::<Vpc>(tx, id, "vpc", change).await?,
            _ => return Err(error::client("InvalidID", format!("The ID '{id}' is not valid"))),
        }
    }
    Ok(json!({}))
}

pub(crate) async fn create(call: Call<'_>) -> Result<Value, AwsError> {
    let input: Change = decode_input(call.input)?;
    change(call.tx, &input.resources, &|tags| add(tags, &input.tags)).await
}

/// A tag without a value is deleted whatever its value; without tags all are, but for those of AWS.
pub(crate) async fn delete(call: Call<'_>) -> Result<Value, AwsError> {
    let input: Change = decode_input(call.input)?;
    change(call.tx, &input.resources, &|tags| {
        tags.retain(|key, value| {
            let named =
                |tag: &Tag| tag.key.as_ref() == Some(key) && tag.value.as_ref().is_none_or(|wanted| wanted == value);
            let gone = if input.tags.is_empty() { !key.starts_with("aws:") } else { input.tags.iter().any(named) };
            !gone
        });
        Ok(())
    })
    .await
}

struct Shown {
    id: String,
    kind: &'static str,
    key: String,
    value: String,
}

impl Described for Shown {
    fn filter(&self, name: &str) -> Option<Vec<String>> {
        match name {
            "key" => Some(vec![self.key.clone()]),
            "resource-id" => Some(vec![self.id.clone()]),
            "resource-type" => Some(vec![self.kind.to_owned()]),
            "value" => Some(vec![self.value.clone()]),
            _ => None,
        }
    }

    fn tags(&self) -> Option<&Tags> {
        None
    }
}

async fn collect<T: Tagged>(tx: &mut Tx, kind: &'static str, all: &mut Vec<(String, Shown)>) -> Result<(), AwsError> {
    for (id, mut thing) in tx.list::<T>("").await? {
        for (key, value) in std::mem::take(thing.tags()) {
            all.push((format!("{id}/{key}"), Shown { id: id.clone(), kind, key, value }));
        }
    }
    Ok(())
}

pub(crate) async fn describe(call: Call<'_>) -> Result<Value, AwsError> {
    let mut all = Vec::new();
    collect::<Instance>(call.tx, "instance", &mut all).await?;
    collect::<InternetGateway>(call.tx, "internet-gateway", &mut all).await?;
    collect::<NetworkInterface>(call.tx, "network-interface", &mut all).await?;
    collect::<RouteTable>(call.tx, "route-table", &mut all).await?;
    collect::<SecurityGroup>(call.tx, "security-group", &mut all).await?;
    collect::<Subnet>(call.tx, "subnet", &mut all).await?;
    collect::<Vpc>(call.tx, "vpc", &mut all).await?;
    all.sort_by(|a, b| a.0.cmp(&b.0));
    describe_page(
        &call,
        all,
        "Tags",
        |tag| json!({"ResourceId": tag.id, "ResourceType": tag.kind, "Key": tag.key, "Value": tag.value}),
    )
}
