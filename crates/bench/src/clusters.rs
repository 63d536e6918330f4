//! From CreateCluster to a served, IAM-authenticated endpoint, one after the other.

use std::time::Duration;

use anyhow::Result;
use http::Method;
use minato::client::Client;
use serde_json::{Value, json};
use world::World;

use crate::limit;
use crate::region::{self, Region};
use crate::report::{line, millis, spread};

const CLUSTERS: usize = 99;
const GOAL: Duration = Duration::from_millis(300);
/// Between two looks at a cluster that is being created.
const POLL: Duration = Duration::from_millis(2);

pub async fn run(world: World) -> Result<()> {
    let region = Region::up(&world, &["--nodes", "0"])?;
    let echo = limit::https_round_trip(&world).await?;
    let mut took = Vec::new();
    let began = world.elapsed();
    for number in 0..CLUSTERS {
        let began = world.elapsed();
        let cluster = create(&world, &region, &format!("bench-{number}")).await?;
        region::connect(&world, &region.file()?, &cluster).await?.get("/api/v1/namespaces/default").await?;
        took.push(world.elapsed() - began);
    }
    let all = world.elapsed() - began;
    let each = spread(took);
    let beside = format!(
        "goal {}, worst of {CLUSTERS} {}; a raw HTTPS connection and echo {}",
        millis(GOAL),
        millis(each.worst),
        millis(echo)
    );
    line("CreateCluster to an authenticated answer", &millis(each.median), &beside);
    line(&format!("{CLUSTERS} clusters, one after the other"), &millis(all), "goal 30 s for 100");
    Ok(())
}

/// Creates a cluster with the roles and subnets of the first one, and waits until it is active.
pub async fn create(world: &World, region: &Region, name: &str) -> Result<Value> {
    let aws = region.aws(world)?;
    let first = describe(&aws, "minato").await?;
    let request = json!({
        "name": name,
        "roleArn": first["roleArn"],
        "resourcesVpcConfig": {"subnetIds": first["resourcesVpcConfig"]["subnetIds"]},
        "accessConfig": {"authenticationMode": "API"},
    });
    aws.json("eks", Method::POST, "/clusters", Some(&request)).await?;
    loop {
        let cluster = describe(&aws, name).await?;
        if cluster["status"] == "ACTIVE" {
            return Ok(cluster);
        }
        world.sleep(POLL).await;
    }
}

async fn describe(aws: &Client, name: &str) -> Result<Value> {
    Ok(aws.json("eks", Method::GET, &format!("/clusters/{name}"), None).await?["cluster"].take())
}
