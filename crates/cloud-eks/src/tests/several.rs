//! Several processes on one store: one drives the life cycles, all answer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use store::{Cmp, Compare, KeyRange};

use super::{Region, run};
use crate::{Eks, EksParts, Pace};

/// The EKS of another process, which drives no life cycles.
fn other(region: &Region) -> Eks {
    let parts = &region.eks.0.parts;
    let planes = Arc::new(super::FakePlanes { told: Default::default(), ec2: region.ec2.clone() });
    planes.told(|told| told.elsewhere = true);
    let tasks = region.world.tasks("another process");
    Eks::new(EksParts {
        world: region.world.clone(),
        space: parts.space.clone(),
        iam: region.iam.clone(),
        ec2: region.ec2.clone(),
        planes,
        pace: Pace::INSTANT,
        tasks,
    })
}

#[test]
fn what_any_process_is_asked_for_is_done() {
    run(Pace::INSTANT, async |region| {
        let (other, admin) = (other(region), region.context(&region.admin));
        let (mut names, mut watch) = other.follow_clusters().await.expect("readable");
        assert!(names.is_empty());
        let input = json!({
            "name": "blue", "roleArn": format!("arn:aws:iam::{}:role/cluster", super::ACCOUNT),
            "resourcesVpcConfig": {"subnetIds": region.subnet_ids()},
        });
        other.call(&admin, "CreateCluster", &input).await.expect("accepted");
        names.extend(watch.next().await.expect("told"));
        assert_eq!(names, ["blue".to_owned()].into());
        let status = async |eks: &Eks| {
            let answer = eks.call(&admin, "DescribeCluster", &json!({"name": "blue"})).await.expect("there");
            (answer["cluster"]["status"].clone(), answer["cluster"]["endpoint"].clone())
        };
        while status(&other).await.0 != "ACTIVE" {
            region.world.sleep(Duration::from_millis(10)).await;
        }
        let (here, there) = (status(&region.eks).await.1, status(&other).await.1);
        assert!(here.as_str().is_some_and(|url| url.ends_with(".local")), "{here}");
        assert_eq!(there, "https://blue.here", "each process tells its own endpoint");
        other.call(&admin, "DeleteCluster", &json!({"name": "blue"})).await.expect("accepted");
        while region.eks.cluster("blue").await.expect("readable").is_some() {
            region.world.sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn life_cycles_that_are_fenced_change_nothing() {
    run(Pace::INSTANT, async |region| {
        region.tasks.shutdown(Duration::from_secs(1)).await;
        let won = region.store.put("leader", "one").await.expect("written");
        let guard = Compare::CreateRevision { key: "leader".into(), op: Cmp::Equal, revision: won };
        let parts = &region.eks.0.parts;
        let tasks = region.world.tasks("led");
        let led = Eks::new(EksParts {
            world: region.world.clone(),
            space: parts.space.guarded(guard.clone()),
            iam: region.iam.guarded(guard.clone()),
            ec2: region.ec2.guarded(guard),
            planes: region.planes.clone(),
            pace: Pace::INSTANT,
            tasks: tasks.clone(),
        });
        led.run().await.expect("runs");
        region.store.delete(KeyRange::key("leader")).await.expect("lost");
        let input = json!({
            "name": "blue", "roleArn": format!("arn:aws:iam::{}:role/cluster", super::ACCOUNT),
            "resourcesVpcConfig": {"subnetIds": region.subnet_ids()},
        });
        region.call("CreateCluster", input).await.expect("accepted");
        let before = region.store.revision();
        region.world.sleep(Duration::from_secs(30)).await;
        assert_eq!(region.store.revision(), before, "nothing was written");
        assert_eq!(region.planes.told(|told| told.running.len()), 0);
        tasks.shutdown(Duration::from_secs(1)).await;
    });
}
