//! `minato snapshot …`: everything that a region knows, in one file.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde_json::json;
use store::snapshot::SnapshotStatus;
use world::World;

use crate::cli::{RestoreSnapshot, SaveSnapshot, SnapshotCommand, SnapshotFile};
use crate::client::Client;
use crate::data;
use crate::home::Home;

/// Where EKS keeps its clusters, by name.
const CLUSTERS: &[u8] = b"/aws/eks/cluster/";

/// Runs one of the commands.
pub async fn run(world: &World, home: &Home, command: SnapshotCommand) -> Result<()> {
    match command {
        SnapshotCommand::Save(arguments) => save(world, home, &arguments).await,
        SnapshotCommand::Restore(arguments) => restore(world, home, &arguments),
        SnapshotCommand::Status(arguments) => status(world, &arguments),
    }
}

async fn save(world: &World, home: &Home, arguments: &SaveSnapshot) -> Result<()> {
    let mut target = Target::create(&arguments.file)?;
    let running = if arguments.data_dir.is_some() { None } else { home.running().ok() };
    if let Some(region) = running {
        let client = Client::new(world.clone(), region);
        client.download("/_minato/snapshot", |chunk| target.write(&chunk)).await?;
    } else {
        let path = data::directory(home, arguments.data_dir.as_deref())?;
        if !data::holds_data(&path)? {
            bail!("no region runs from {}, and there is no data in {}", home.path().display(), path.display());
        }
        let store = data::open_directory(world, &path).await?;
        let mut reader = store.snapshot().await?;
        while let Some(chunk) = reader.next().await? {
            target.write(&chunk)?;
        }
        store.shutdown().await;
    }
    // What cannot be read back is not saved.
    let (status, _) = look(world, &target.temporary)?;
    target.finish()?;
    println!(
        "{} holds {} keys at revision {} ({}).",
        arguments.file.display(),
        status.keys,
        status.revision,
        size(&status)
    );
    Ok(())
}

fn restore(world: &World, home: &Home, arguments: &RestoreSnapshot) -> Result<()> {
    let path = data::directory(home, arguments.data_dir.as_deref())?;
    if data::holds_data(&path)? {
        bail!(
            "{} holds data already, and a snapshot is only restored into an empty directory; pass --data-dir DIR, or move that \
             directory away",
            path.display()
        );
    }
    let status = store::snapshot::restore(world, &arguments.file, &path)?;
    let option = arguments.data_dir.as_ref().map(|_| format!(" --data-dir {}", path.display())).unwrap_or_default();
    println!(
        "{} holds {} keys at revision {}, as of {}; `minato up{option}` starts the region from it.",
        path.display(),
        status.keys,
        status.revision,
        status.time
    );
    Ok(())
}

fn status(world: &World, arguments: &SnapshotFile) -> Result<()> {
    let (status, clusters) = look(world, &arguments.file)?;
    if arguments.json {
        let value = json!({
            "revision": status.revision,
            "compacted": status.compacted,
            "keys": status.keys,
            "bytes": status.bytes,
            "leases": status.leases,
            "time": status.time.to_string(),
            "fileBytes": status.file_bytes,
            "clusters": clusters,
        });
        println!("{}", serde_json::to_string_pretty(&value)?);
        return Ok(());
    }
    println!("{:<10} {}\n{:<10} {}", "taken", status.time, "revision", status.revision);
    println!("{:<10} {}\n{:<10} {}", "keys", status.keys, "size", size(&status));
    let clusters: Vec<String> = clusters.into_iter().collect();
    println!("{:<10} {}", "clusters", if clusters.is_empty() { "none".to_owned() } else { clusters.join(", ") });
    Ok(())
}

/// Checks all of a snapshot, and finds the clusters in it.
fn look(world: &World, file: &Path) -> Result<(SnapshotStatus, BTreeSet<String>)> {
    let mut clusters = BTreeSet::new();
    let status = store::snapshot::status(world, file, &mut |key| {
        if let Some(name) = key.strip_prefix(CLUSTERS) {
            clusters.insert(String::from_utf8_lossy(name).into_owned());
        }
    })?;
    Ok((status, clusters))
}

fn size(status: &SnapshotStatus) -> String {
    crate::status::human_bytes(status.file_bytes)
}

/// A file that comes into being whole, or not at all.
struct Target {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    finished: bool,
}

impl Target {
    fn create(path: &Path) -> Result<Target> {
        let name = path.file_name().with_context(|| format!("{} is no name of a file", path.display()))?;
        let temporary = path.with_file_name(format!("{}.tmp{}", name.to_string_lossy(), std::process::id()));
        let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary);
        let file = file.with_context(|| format!("writing {}", temporary.display()))?;
        Ok(Target { path: path.to_owned(), temporary, file, finished: false })
    }

    fn write(&mut self, chunk: &Bytes) -> Result<()> {
        self.file.write_all(chunk).with_context(|| format!("writing {}", self.temporary.display()))
    }

    fn finish(mut self) -> Result<()> {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || -> std::io::Result<()> {
            self.file.sync_all()?;
            fs::rename(&self.temporary, &self.path)?;
            File::open(parent)?.sync_all()
        };
        write().with_context(|| format!("writing {}", self.path.display()))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.finished {
            // Half a snapshot is of no use, and what failed has been said.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
