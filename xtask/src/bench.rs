//! `cargo xtask bench NAME…`: builds the release binaries and runs the named benchmarks of crate `bench`.

use std::process::Command;

use anyhow::{Result, bail};

/// `cargo xtask bench`
pub fn run(arguments: &[String]) -> Result<()> {
    for build in [&["build", "--release", "--package", "minato"][..], &["build", "--release", "--package", "bench"]] {
        let status = Command::new(env!("CARGO")).args(build).status()?;
        if !status.success() {
            bail!("`cargo {}` ended with {status}", build.join(" "));
        }
    }
    let status = Command::new(env!("CARGO"))
        .args(["run", "--release", "--quiet", "--package", "bench", "--"])
        .args(arguments)
        .status()?;
    if !status.success() {
        bail!("the benchmark ended with {status}");
    }
    Ok(())
}
