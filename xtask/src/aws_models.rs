//! `cargo xtask aws-models [--check] [--botocore DIR]`: writes `crates/cloud-wire/models/*.model` from the service definitions
//! that AWS publishes inside botocore. Must never keep prose: only names, types and constraints.
//!
//! DIR is an installed botocore; without it `python3` is asked for its own. The definitions must be new enough (EKS has 70
//! operations since 1.44.5), so install one beside the system's and point there:
//!
//! ```text
//! pip install --target /tmp/botocore botocore==1.44.5
//! cargo xtask aws-models --botocore /tmp/botocore/botocore
//! ```
//!
//! With `--check` nothing is written; the run fails when a file differs from what would be written.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use cloud_wire::convert::{Options, convert};

/// A service, its folder in botocore, and the operations to describe (all when there is no list).
struct Row {
    service: &'static str,
    only: Option<&'static [&'static str]>,
}

const SERVICES: &[Row] = &[
    Row { service: "ec2", only: Some(EC2) },
    Row { service: "eks", only: None },
    Row { service: "iam", only: None },
    Row { service: "sts", only: None },
];

/// What a cluster needs of EC2's 830 operations.
const EC2: &[&str] = &[
    "AssociateRouteTable",
    "AttachInternetGateway",
    "AuthorizeSecurityGroupEgress",
    "AuthorizeSecurityGroupIngress",
    "CreateInternetGateway",
    "CreateRoute",
    "CreateRouteTable",
    "CreateSecurityGroup",
    "CreateSubnet",
    "CreateTags",
    "CreateVpc",
    "DeleteInternetGateway",
    "DeleteNetworkInterface",
    "DeleteRoute",
    "DeleteRouteTable",
    "DeleteSecurityGroup",
    "DeleteSubnet",
    "DeleteTags",
    "DeleteVpc",
    "DescribeAvailabilityZones",
    "DescribeInstanceTypeOfferings",
    "DescribeInstanceTypes",
    "DescribeInstances",
    "DescribeInternetGateways",
    "DescribeNetworkInterfaces",
    "DescribeRegions",
    "DescribeRouteTables",
    "DescribeSecurityGroups",
    "DescribeSubnets",
    "DescribeTags",
    "DescribeVpcAttribute",
    "DescribeVpcs",
    "DetachInternetGateway",
    "DisassociateRouteTable",
    "ModifySubnetAttribute",
    "ModifyVpcAttribute",
    "RevokeSecurityGroupEgress",
    "RevokeSecurityGroupIngress",
    "TerminateInstances",
];

pub fn run(args: &[String]) -> Result<()> {
    let (mut check, mut botocore) = (false, None);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--check" => check = true,
            "--botocore" => botocore = Some(PathBuf::from(args.next().context("--botocore needs a folder")?)),
            other => bail!("unknown argument {other:?}; usage: cargo xtask aws-models [--check] [--botocore DIR]"),
        }
    }
    let botocore = match botocore {
        Some(folder) => package(folder)?,
        None => installed()?,
    };
    let version = version(&botocore)?;
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/cloud-wire/models");
    let mut stale = Vec::new();
    for row in SERVICES {
        let text = model(&botocore, &version, row).with_context(|| format!("service {}", row.service))?;
        let path = models.join(format!("{}.model", row.service));
        if std::fs::read_to_string(&path).ok().as_deref() == Some(&text) {
            continue;
        }
        if check {
            stale.push(row.service);
        } else {
            std::fs::write(&path, &text).with_context(|| format!("writing {}", path.display()))?;
            println!("wrote {} ({} KiB)", path.display(), text.len() / 1024);
        }
    }
    if !stale.is_empty() {
        bail!("models differ from botocore {version}: {}; run cargo xtask aws-models", stale.join(", "));
    }
    Ok(())
}

fn model(botocore: &Path, version: &str, row: &Row) -> Result<String> {
    let folder = newest(&botocore.join("data").join(row.service))?;
    let api = folder
        .file_name()
        .and_then(|name| name.to_str())
        .context("the folder of the newest API version has no name")?;
    let definition = read(&folder.join("service-2.json"))?;
    let paginators = read(&folder.join("paginators-1.json"))?;
    let source =
        format!("{} {api} as published in botocore {version}, Apache-2.0, Copyright Amazon.com, Inc.", row.service);
    let provenance = [source.as_str(), "Made by `cargo xtask aws-models`; the form is described in src/model_text.rs."];
    Ok(convert(&definition, Options { paginators: Some(&paginators), provenance: &provenance, only: row.only })?)
}

fn package(folder: PathBuf) -> Result<PathBuf> {
    let candidates = [folder.clone(), folder.join("botocore")];
    let found = candidates.into_iter().find(|candidate| candidate.join("data").is_dir());
    found.with_context(|| format!("{} holds no botocore (no data folder)", folder.display()))
}

fn installed() -> Result<PathBuf> {
    let output = Command::new("python3").args(["-c", "import botocore; print(botocore.__path__[0])"]).output();
    let output = output.context("python3 is needed to find botocore; or pass --botocore DIR")?;
    if !output.status.success() {
        bail!("python3 has no botocore: pip install botocore, or pass --botocore DIR");
    }
    package(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

fn version(botocore: &Path) -> Result<String> {
    let init = std::fs::read_to_string(botocore.join("__init__.py")).context("reading botocore's __init__.py")?;
    let line = init.lines().find_map(|line| line.strip_prefix("__version__ = "));
    Ok(line.context("botocore's __init__.py states no __version__")?.trim_matches(['\'', '"']).to_owned())
}

/// The newest API version: their folders are named by date.
fn newest(service: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(service).with_context(|| format!("reading {}", service.display()))?;
    let mut folders = Vec::new();
    for entry in entries {
        folders.push(entry?.path());
    }
    folders.into_iter().filter(|path| path.is_dir()).max().with_context(|| format!("{} is empty", service.display()))
}

/// The text of a file that botocore ships plain or compressed.
fn read(path: &Path) -> Result<String> {
    if path.is_file() {
        return std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    }
    let compressed = path.with_extension("json.gz");
    let file = std::fs::File::open(&compressed).with_context(|| format!("reading {}", compressed.display()))?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .with_context(|| format!("reading {}", compressed.display()))?;
    Ok(text)
}
