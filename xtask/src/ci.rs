//! Every check of CI that is not a test. Each runs even when an earlier one failed, so that one run shows all there is.

use std::process::Command;

use anyhow::{Result, bail};

struct Check {
    name: &'static str,
    run: fn() -> Result<()>,
}

static CHECKS: &[Check] = &[
    Check { name: "format", run: || cargo(&["fmt", "--all", "--check"]) },
    Check { name: "clippy", run: || cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]) },
    Check { name: "licences", run: || crate::licences::run(&[]) },
    Check { name: "aws-models", run: || crate::aws_models::run(&["--check".to_owned()]) },
    Check { name: "k8s-models", run: || crate::k8s_models::run(&["--check".to_owned()]) },
    Check { name: "layers", run: layers },
];

/// `cargo xtask ci`
pub fn run(_: &[String]) -> Result<()> {
    let mut failed = Vec::new();
    for check in CHECKS {
        println!("ci: {}", check.name);
        if let Err(error) = (check.run)() {
            eprintln!("ci: {} failed: {error:#}", check.name);
            failed.push(check.name);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    println!("ci: all {} checks passed", CHECKS.len());
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let status = Command::new(env!("CARGO")).args(arguments).status()?;
    if !status.success() {
        bail!("`cargo {}` ended with {status}", arguments.join(" "));
    }
    Ok(())
}

/// Arrows point down only (ARCHITECTURE.md, invariant 1): which crates a crate may never depend on, directly or not.
static LAYERS: &[(&str, &[&str])] = &[
    ("cel", &["world", "store", "k8s-object", "k8s-schema"]),
    ("linear", &["store", "world"]),
    ("world", &["store", "serve", "k8s-object", "cloud-wire"]),
    ("etcd-wire", &["world", "store", "serve", "k8s-object", "cloud-wire"]),
    ("store", &["election", "serve", "etcd-face", "k8s-object", "cloud-wire", "apiserver"]),
    ("election", &["serve", "etcd-face", "k8s-object", "cloud-wire", "apiserver"]),
    ("etcd-face", &["k8s-object", "k8s-client", "cloud-wire", "apiserver"]),
    ("cloud-wire", &["k8s-object", "k8s-client", "apiserver", "serve"]),
    ("cloud-iam", &["k8s-object", "k8s-client", "apiserver", "serve"]),
    ("cloud-ec2", &["k8s-object", "k8s-client", "apiserver", "serve"]),
    ("cloud-eks", &["k8s-object", "k8s-client", "apiserver", "serve"]),
    ("apiserver", &["cloud-wire", "cloud-iam", "cloud-ec2", "cloud-eks", "controllers", "scheduler", "kubelet"]),
    ("controllers", &["cloud-wire", "apiserver", "scheduler", "kubelet", "serve", "store"]),
    ("scheduler", &["cloud-wire", "apiserver", "controllers", "kubelet", "serve"]),
    ("kubelet", &["cloud-wire", "apiserver", "controllers", "scheduler", "serve", "store"]),
];

fn layers() -> Result<()> {
    for (name, forbidden) in LAYERS {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--package", name, "--edges", "normal", "--prefix", "none", "--format", "{p}"])
            .output()?;
        if !output.status.success() {
            bail!("cargo tree of {name}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let tree = String::from_utf8_lossy(&output.stdout);
        let found = tree
            .lines()
            .skip(1)
            .filter_map(|line| line.split(' ').next())
            .find(|dependency| forbidden.contains(dependency));
        if let Some(found) = found {
            bail!("crate {name} must not depend on {found}: arrows point down only");
        }
    }
    Ok(())
}
