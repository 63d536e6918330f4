//! The release binary as the region under test.

use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use minato::client::Client;
use minato::home::{Home, RegionFile};
use minato::sign::{Keys, eks_token};
use serde_json::Value;
use world::World;

use crate::https::{Connector, Https};

/// A running minato; stopped when dropped.
pub struct Region {
    pub home: Home,
    path: PathBuf,
}

impl Region {
    /// `minato up` in an empty directory, on a free port.
    pub fn up(world: &World, arguments: &[&str]) -> Result<Region> {
        let path = std::env::temp_dir().join(format!("minato-bench-{}", world.uuid()));
        let home = Home::open(Some(path.clone()))?;
        let region = Region { home, path };
        let output = region.minato(&[&["up", "--port", "0"], arguments].concat())?;
        if !output.status.success() {
            bail!("minato up: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(region)
    }

    /// Runs the minato command.
    pub fn minato(&self, arguments: &[&str]) -> Result<Output> {
        let program = std::env::current_exe()?.with_file_name("minato");
        let mut command = Command::new(&program);
        command.arg("--home").arg(&self.path).args(arguments);
        command.output().with_context(|| format!("running {}", program.display()))
    }

    /// How to reach it.
    pub fn file(&self) -> Result<RegionFile> {
        self.home.running()
    }

    /// A client of its AWS endpoint.
    pub fn aws(&self, world: &World) -> Result<Client> {
        Ok(Client::new(world.clone(), self.file()?))
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.file()?.pid))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("VmRSS has a number")?.parse()?)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Err(error) = self.minato(&["down"]) {
            eprintln!("bench: stopping the region: {error:#}");
        }
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A way to the API server of a described cluster, as the region's administrator with an IAM token.
pub fn connector(world: &World, file: &RegionFile, cluster: &Value) -> Result<Connector> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let endpoint = text(&cluster["endpoint"]).context("the cluster has an endpoint")?;
    let authority =
        text(&cluster["certificateAuthority"]["data"]).context("the cluster has a certificate authority")?;
    let name = text(&cluster["name"]).context("the cluster has a name")?;
    let token = eks_token(&Keys::administrator(file), file, &name, world.now())?;
    Connector::new(&endpoint, &authority, &token)
}

/// One connection of [`connector`].
pub async fn connect(world: &World, file: &RegionFile, cluster: &Value) -> Result<Https> {
    connector(world, file, cluster)?.connect(world).await
}
