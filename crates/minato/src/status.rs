//! `minato status`.

use anyhow::Result;
use http::Method;
use serde_json::Value;

use crate::client::Client;

/// Prints what runs.
pub async fn run(client: &Client, json: bool) -> Result<()> {
    let status = client.json("minato", Method::GET, "/_minato/status", None).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(());
    }
    let region = client.region();
    println!(
        "region {} of account {} on {} (pid {}, pace {}, {} MB)",
        region.region,
        region.account,
        region.endpoint,
        region.pid,
        region.pace,
        resident_megabytes(region.pid).map_or_else(|| "?".to_owned(), |megabytes| megabytes.to_string()),
    );
    let clusters: Vec<&Value> = status["clusters"].as_array().into_iter().flatten().collect();
    if clusters.is_empty() {
        println!("no cluster; `minato cluster create NAME` makes one");
        return Ok(());
    }
    println!("\n{:<24} {:<10} {:<8} {:>9} {:>9}  ENDPOINT", "CLUSTER", "STATUS", "VERSION", "NODES", "PODS");
    for cluster in clusters {
        let text = |member: &str| cluster[member].as_str().unwrap_or("-").to_owned();
        let ratio = |part: &str, whole: &str| format!("{}/{}", cluster[part], cluster[whole]);
        println!(
            "{:<24} {:<10} {:<8} {:>9} {:>9}  {}",
            text("name"),
            text("status"),
            text("version"),
            ratio("readyNodes", "nodes"),
            ratio("runningPods", "pods"),
            text("endpoint")
        );
    }
    Ok(())
}

/// Resident memory of a process in MB, where /proc tells.
fn resident_megabytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes / 1024)
}
