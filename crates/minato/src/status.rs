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
    println!("{}", data(&region.data, &status["store"]));
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

/// Where the data is, how much there is of it, and how it does.
fn data(place: &str, store: &Value) -> String {
    let number = |member: &str| store[member].as_u64().unwrap_or(0);
    let on_disk = store["diskBytes"].as_u64().map(|bytes| format!(", {} on disk", human_bytes(bytes)));
    format!(
        "data in {place}: {} keys, {}{}, revision {}; {}",
        number("keys"),
        human_bytes(number("bytes")),
        on_disk.unwrap_or_default(),
        number("revision"),
        store["health"].as_str().unwrap_or("unknown"),
    )
}

/// `512 B`, `4.0 KiB`, `1.5 GiB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut name = "B";
    for unit in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, name) = (value / 1024.0, unit);
    }
    if name == "B" { format!("{bytes} B") } else { format!("{value:.1} {name}") }
}

/// Resident memory of a process in MB, where /proc tells.
fn resident_megabytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (4096, "4.0 KiB"), (3 << 29, "1.5 GiB"), (9 << 50, "9216.0 TiB")]
        {
            assert_eq!(human_bytes(bytes), text);
        }
    }
}
