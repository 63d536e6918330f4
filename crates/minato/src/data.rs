//! Where a region keeps what it knows: a directory, memory only, or a store elsewhere; and opening it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use region::Marker;
use store::{Disk, DiskOptions, EtcdOptions, KeyRange, Limits, OpenError, Store, WatchRequest};
use world::World;

use crate::cli::Up;
use crate::home::{Home, write_private};

/// Pause before a store that could not be watched is looked at again.
const LOOK: std::time::Duration = std::time::Duration::from_secs(1);

/// Where the data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Forgotten when the process ends.
    Memory,
    /// A directory of this machine.
    Directory(PathBuf),
    /// A store that other processes serve.
    Remote(String),
}

impl Data {
    /// What the arguments of `up` say; the home's own directory when they say nothing.
    ///
    /// # Errors
    /// A store whose address is none.
    pub fn of(home: &Home, arguments: &Up) -> Result<Data> {
        if arguments.ephemeral {
            return Ok(Data::Memory);
        }
        if let Some(url) = &arguments.store {
            EtcdOptions::parse(url).context("--store; give etcd://HOST:PORT[,HOST:PORT…]")?;
            return Ok(Data::Remote(url.clone()));
        }
        Ok(Data::Directory(directory(home, arguments.data_dir.as_deref())?))
    }

    /// Opens it; what is not there yet is made.
    ///
    /// # Errors
    /// A directory that another process has, that cannot be written or is damaged, with what to do.
    pub async fn open(&self, world: &World) -> Result<Store> {
        match self {
            Data::Memory => Ok(Store::memory(world, Limits::default())),
            Data::Directory(path) => open_directory(world, path).await,
            Data::Remote(url) => {
                let options = EtcdOptions::parse(url).context("--store")?;
                Store::etcd(world, options).await.context("--store")
            }
        }
    }

    /// Leaves word of who has the directory, for those who find it taken.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn sign(&self, home: &Home) -> Result<()> {
        let Data::Directory(path) = self else { return Ok(()) };
        let text = format!("{} {}\n", std::process::id(), home.path().display());
        write_private(&path.join(OWNER), text.as_bytes())
    }
}

impl std::fmt::Display for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Data::Memory => f.write_str("memory"),
            Data::Directory(path) => write!(f, "{}", path.display()),
            // Before an @ stands who reads it, with a password.
            Data::Remote(url) => match url.rsplit_once('@') {
                Some((_, rest)) => write!(f, "etcd://{rest}"),
                None => f.write_str(url),
            },
        }
    }
}

/// Which process had the directory last, and from which home.
const OWNER: &str = "owner";

/// The directory given, else the home's.
///
/// # Errors
/// A path that cannot be made absolute.
pub fn directory(home: &Home, given: Option<&Path>) -> Result<PathBuf> {
    match given {
        Some(path) => std::path::absolute(path).with_context(|| format!("the path {}", path.display())),
        None => Ok(home.store()),
    }
}

/// Whether a region has ever kept anything there.
///
/// # Errors
/// A directory that cannot be read.
pub fn holds_data(path: &Path) -> Result<bool> {
    match fs::read_dir(path) {
        Ok(entries) => Ok(entries.flatten().any(|entry| entry.file_name() != "lock" && entry.file_name() != OWNER)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Opens a store of this machine.
///
/// # Errors
/// See [`Data::open`].
pub async fn open_directory(world: &World, path: &Path) -> Result<Store> {
    let opened = Store::open(world, Disk::directory(path), DiskOptions::default()).await;
    opened.map_err(|error| match error {
        OpenError::Locked { .. } => {
            let owner = fs::read_to_string(path.join(OWNER)).unwrap_or_default();
            let path = path.display();
            match owner.trim_end().split_once(' ') {
                Some((pid, home)) => anyhow!(
                    "the minato with pid {pid} already uses the data in {path}; stop it with `minato --home {home} down`, or pass \
                     --data-dir DIR for other data"
                ),
                None => anyhow!("another process already uses the data in {path}; stop it, or pass --data-dir DIR for other data"),
            }
        }
        other => anyhow::Error::from(other).context(format!(
            "the data in {} cannot be used; pass --data-dir DIR for another directory, or --ephemeral to keep nothing",
            path.display()
        )),
    })
}

/// The account and region that the store was made for.
///
/// # Errors
/// A store that cannot be read, and one of another account or region than is asked for.
pub async fn marker(store: &Store, data: &Data, arguments: &Up) -> Result<Option<Marker>> {
    let Some(marker) = region::marker(store).await? else { return Ok(None) };
    for (option, wanted, found) in
        [("--account", &arguments.account, &marker.account), ("--region", &arguments.region, &marker.region)]
    {
        if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != found) {
            bail!(
                "the data in {data} is of region {} of account {}, so {option} {wanted} cannot be; leave the option out, or pass \
                 --data-dir DIR for other data",
                marker.region,
                marker.account
            );
        }
    }
    Ok(Some(marker))
}

/// Completes when the store has stopped by itself, with its reason: what it still answers from memory may not be durable.
pub async fn stopped(world: &World, store: &Store) -> String {
    loop {
        if let Ok(mut watcher) = store.watch(WatchRequest::new(KeyRange::key("/region"))).await {
            while watcher.next().await.is_ok() {}
        }
        // A read says why it has ended.
        if let Err(error) = store.get("/region").await {
            return error.to_string();
        }
        world.sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use store::SimulatedDisk;

    use super::*;

    #[test]
    fn a_store_that_stops_is_noticed_with_its_reason_and_one_that_works_is_not() {
        let (world, mut simulation) = World::simulated(1);
        let disk = SimulatedDisk::new(1);
        simulation.block_on(async {
            let store = Store::open(&world, Disk::simulated(&disk), DiskOptions::default()).await.unwrap();
            store.put("/region", "us-east-1").await.unwrap();
            let well = world.timeout(Duration::from_secs(3600), stopped(&world, &store)).await;
            assert!(well.is_err(), "{well:?}");
            disk.crash();
            assert!(store.put("/region", "us-east-2").await.is_err());
            let reason = world.timeout(Duration::from_secs(60), stopped(&world, &store)).await.unwrap();
            assert!(reason.contains("server stopped: "), "{reason}");
        });
    }
}
