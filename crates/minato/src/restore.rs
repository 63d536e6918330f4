//! `minato cluster restore`: asks the region for a cluster's past and waits until it serves.

use anyhow::{Context, Result, bail};
use http::Method;
use serde_json::{Value, json};
use world::{Timestamp, World};

use crate::cli::RestoreCluster;
use crate::client::Client;
use crate::clusters::{served, text, wait, with_entry, write_entry};
use crate::home::Home;
use crate::kubeconfig;
use crate::progress::Progress;

/// Brings a cluster back to its past and waits until it serves.
pub async fn run(world: &World, home: &Home, client: &Client, arguments: &RestoreCluster) -> Result<()> {
    let mut request = json!({"cluster": arguments.name, "replace": arguments.replace});
    match moment(&arguments.at, world.now())? {
        Moment::Revision(revision) => request["revision"] = json!(revision),
        Moment::Time(time) => request["time"] = json!(time.to_micro_string()),
    }
    if let Some(new) = &arguments.new {
        request["as"] = json!(new);
    }
    let mut progress = Progress::new(world);
    progress.begin(&format!("cluster {} at {}", arguments.name, arguments.at));
    let answer = client.json("minato", Method::POST, "/_minato/restore", Some(&request)).await?;
    let name = text(&answer, "cluster").to_owned();
    progress.done(&format!("{} objects as of revision {}", answer["objects"], answer["revision"]));
    progress.begin(&format!("cluster {name}"));
    let path = format!("/clusters/{}", cloud_wire::encode_percent(&name, false));
    wait(world, client, &path, "cluster").await?;
    let (cluster, _) = served(world, client, &name).await?;
    if arguments.replace {
        with_entry(home, &cluster, |entry| kubeconfig::refresh_in(&home.kubeconfig(), entry))?;
    } else {
        write_entry(home, &cluster)?;
    }
    progress.done(&format!("cluster {name}, Kubernetes {}", text(&cluster, "version")));
    let groups = client.json("eks", Method::GET, &format!("{path}/node-groups"), None).await?;
    for group in groups["nodegroups"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        progress.begin(&format!("node group {group}"));
        wait(world, client, &format!("{path}/node-groups/{group}"), "nodegroup").await?;
        progress.done(&format!("node group {group} is ready"));
    }
    if arguments.replace {
        println!("Cluster {name} is as it was at revision {}.", answer["revision"]);
    } else {
        println!(
            "Cluster {name} is what {} was at revision {}; kubectl now talks to it.",
            arguments.name, answer["revision"]
        );
    }
    Ok(())
}

/// A moment in the past.
#[derive(Debug, PartialEq, Eq)]
enum Moment {
    Revision(i64),
    Time(Timestamp),
}

/// Reads a revision, a time, or how long ago it was.
fn moment(text: &str, now: Timestamp) -> Result<Moment> {
    let wrong = || {
        format!(
            "--at {text:?} is no moment; give a revision such as 1234, a time such as 2026-01-31T12:00:00Z, or how long ago, such as 90s, 10m or 2h"
        )
    };
    if let Ok(revision) = text.parse::<u32>() {
        return Ok(Moment::Revision(i64::from(revision)));
    }
    if let Ok(time) = Timestamp::parse(text) {
        return Ok(Moment::Time(time));
    }
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 24 * 3600,
        _ => bail!(wrong()),
    };
    let number: u32 = text[..text.len() - 1].parse().ok().with_context(wrong)?;
    let ago = i64::from(number) * unit * 1_000_000;
    Ok(Moment::Time(Timestamp::from_micros(now.micros() - ago)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_revisions_times_or_spans() {
        let now = Timestamp::from_seconds(1_000_000);
        let cases = [
            ("1234", Some(Moment::Revision(1234))),
            ("1970-01-01T00:00:07Z", Some(Moment::Time(Timestamp::from_seconds(7)))),
            ("90s", Some(Moment::Time(Timestamp::from_seconds(999_910)))),
            ("10m", Some(Moment::Time(Timestamp::from_seconds(999_400)))),
            ("2h", Some(Moment::Time(Timestamp::from_seconds(992_800)))),
            ("1d", Some(Moment::Time(Timestamp::from_seconds(913_600)))),
            ("", None),
            ("m", None),
            ("-5m", None),
            ("10 minutes", None),
            ("yesterday", None),
            ("1970-01-01", None),
            ("10µ", None),
        ];
        for (text, expected) in cases {
            assert_eq!(moment(text, now).ok(), expected, "{text}");
        }
    }
}
