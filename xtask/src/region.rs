//! A region of its own for a run of tests, of the release build.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Stopped when dropped.
pub struct Region {
    pub minato: PathBuf,
    pub home: PathBuf,
}

impl Region {
    /// Builds Minato and starts a fresh region in `home`.
    pub fn up(root: &Path, home: PathBuf, arguments: &[&str]) -> Result<Region> {
        succeed(Command::new(env!("CARGO")).args(["build", "--release", "-p", "minato"]).current_dir(root))?;
        if home.exists() {
            fs::remove_dir_all(&home).with_context(|| format!("removing {}", home.display()))?;
        }
        let region = Region { minato: root.join("target/release/minato"), home };
        succeed(region.command().args(["up", "--port", "0"]).args(arguments))?;
        Ok(region)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.home.join("kubeconfig")
    }

    /// Of the AWS endpoint.
    pub fn url(&self) -> Result<String> {
        let status: Value = serde_json::from_str(&said(self.command().args(["status", "--json"]))?)?;
        Ok(status["endpoint"].as_str().context("a region has an endpoint")?.to_owned())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.minato);
        command.arg("--home").arg(&self.home);
        command
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Err(error) = succeed(self.command().arg("down")) {
            eprintln!("xtask: stopping the region: {error:#}");
        }
    }
}

/// Runs a command to its end.
pub fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("running {:?}", command.get_program()))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}

/// What a command says on its standard output.
pub fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("running {:?}", command.get_program()))?;
    ensure!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
