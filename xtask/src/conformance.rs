//! Kubernetes' conformance tests against a fresh region: `cargo xtask conformance [--nodes N] [--address IP] [--file LIST] [REGEX…]`.
//!
//! The suite is upstream's own, built from the published module (`tests/clients/conformance`), and driven with `kubectl`. A list
//! has one test's name per line; without names and list, all tests marked `[Conformance]` run, which takes hours.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::region::{Region, succeed};

const PACKAGE: &str = "k8s.io/kubernetes/test/e2e";
/// The minor whose tests are pinned in `tests/clients/conformance/go.mod`.
const MINOR: &str = "1.34";
/// Simulated nodes: what the suite wants is two; preemption and spreading want more.
const NODES: &str = "3";
/// A test that fails waits for up to ten minutes first.
const TIMEOUT: &str = "5h";

/// What the run is about.
struct Options {
    nodes: String,
    /// Where the region listens. The endpoints of Service `kubernetes` are those of a server that is not on a loopback address.
    address: String,
    focus: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Options> {
        let mut options = Options { nodes: NODES.to_owned(), address: "127.0.0.1".to_owned(), focus: Vec::new() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--nodes" => options.nodes = rest.next().context("--nodes needs a number")?.clone(),
                "--address" => options.address = rest.next().context("--address needs an IP address")?.clone(),
                "--file" => {
                    let path = rest.next().context("--file needs the path of a list of tests")?;
                    let list = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
                    options.focus.extend(list.lines().filter(|line| !line.is_empty()).map(literally));
                }
                flag if flag.starts_with("--") => bail!("unknown flag {flag}: there are --nodes, --address and --file"),
                regex => options.focus.push(regex.to_owned()),
            }
        }
        if options.focus.is_empty() {
            options.focus.push(r"\[Conformance\]".to_owned());
        }
        Ok(options)
    }
}

/// A regular expression of Go that matches this text.
fn literally(text: &str) -> String {
    let special = |c: char| r"\.+*?()|[]{}^$".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

pub fn run(arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is in the workspace")?;
    let work = root.join("target/conformance");
    fs::create_dir_all(&work)?;
    let suite = build_suite(root, &work)?;
    let arguments = ["--kubernetes-version", MINOR, "--nodes", &options.nodes, "--address", &options.address];
    let region = Region::up(root, work.join("home"), &arguments)?;
    let report = work.join("report.json");
    let _ = fs::remove_file(&report);
    let mut tests = Command::new(&suite);
    tests
        .current_dir(&work)
        .arg(format!("--kubeconfig={}", region.kubeconfig().display()))
        .args(["--provider=skeleton", "--allowed-not-ready-nodes=0", "--disable-log-dump", "--ginkgo.no-color"])
        .arg(format!("--num-nodes={}", options.nodes))
        .arg(format!("--ginkgo.timeout={TIMEOUT}"))
        .arg(format!("--ginkgo.json-report={}", report.display()))
        .arg(format!("--ginkgo.focus={}", options.focus.join("|")));
    let log = work.join("log.txt");
    let output = fs::File::create(&log)?;
    println!("running the suite; its output goes to {}", log.display());
    // Failures are told from the report, which also says what did not run.
    tests.stdout(output.try_clone()?).stderr(output).status().context("running the suite")?;
    drop(region);
    tell(&fs::read(&report).with_context(|| format!("the suite wrote no report; see {}", log.display()))?)
}

/// Builds the suite unless it is there; `go` keeps what it has compiled.
fn build_suite(root: &Path, work: &Path) -> Result<PathBuf> {
    let suite = work.join("e2e.test");
    println!("building {PACKAGE}");
    let mut go = Command::new("go");
    go.args(["test", "-c", "-o"]).arg(&suite).arg(PACKAGE).current_dir(root.join("tests/clients/conformance"));
    succeed(&mut go)?;
    Ok(suite)
}

/// Prints what passed and what did not.
fn tell(report: &[u8]) -> Result<()> {
    let report: Value = serde_json::from_slice(report).context("the suite's report is JSON")?;
    let specs =
        report.as_array().into_iter().flatten().flat_map(|suite| suite["SpecReports"].as_array().into_iter().flatten());
    let (mut passed, mut failed) = (0, BTreeSet::new());
    for spec in specs.filter(|spec| spec["LeafNodeType"] == "It") {
        let texts = spec["ContainerHierarchyTexts"].as_array().into_iter().flatten().chain([&spec["LeafNodeText"]]);
        let name = texts.filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
        match spec["State"].as_str().unwrap_or("") {
            "passed" => passed += 1,
            "skipped" | "pending" => {}
            state => {
                let why = spec["Failure"]["Message"].as_str().unwrap_or("").lines().next().unwrap_or("").to_owned();
                failed.insert(format!("{state}: {name}\n    {why}"));
            }
        }
    }
    failed.iter().for_each(|failure| println!("{failure}"));
    println!("{passed} passed, {} failed", failed.len());
    ensure!(failed.is_empty() && passed > 0, "not all tests passed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_literally() {
        assert_eq!(literally("[sig-x] a.b (c) 1+1"), r"\[sig-x\] a\.b \(c\) 1\+1");
    }

    #[test]
    fn a_report_tells_what_failed() {
        let spec = |state: &str| {
            serde_json::json!({
                "LeafNodeType": "It", "ContainerHierarchyTexts": ["[sig-x] group"], "LeafNodeText": "works", "State": state,
                "Failure": {"Message": "no\nmore"},
            })
        };
        let report = |states: &[&str]| {
            let specs: Vec<Value> = states.iter().map(|state| spec(state)).collect();
            serde_json::json!([{ "SpecReports": specs }]).to_string()
        };
        assert!(tell(report(&["passed", "skipped"]).as_bytes()).is_ok());
        assert!(tell(report(&["passed", "failed"]).as_bytes()).is_err());
        assert!(tell(report(&["skipped"]).as_bytes()).is_err(), "nothing has run");
    }
}
