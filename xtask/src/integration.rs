//! Kubernetes' integration tests against a fresh region: `cargo xtask integration PACKAGE [REGEX]`, e.g.
//! `k8s.io/kubernetes/test/integration/apiserver/apply` or `k8s.io/apiextensions-apiserver/test/integration`.
//!
//! Upstream's tests start an API server in their own process. In a copy of the published modules, the three functions that do so are
//! ours (`tests/clients/integration`): each test gets a fresh cluster. Flags, gates and hooks that a test would set are not there, no
//! more than on EKS, so some tests cannot pass: docs/coverage/integration.md says which.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::region::{Region, said, succeed};

/// The minor whose tests are pinned in `tests/clients/conformance/go.mod`.
const MINOR: &str = "1.34";
/// Of one test; upstream's longest wait for a minute in places.
const TIMEOUT: &str = "3m";

/// Where tests start servers: the module, the file that does, and ours in its place.
struct Replaced {
    module: &'static str,
    file: &'static str,
    ours: &'static str,
    package: &'static str,
}

static REPLACED: [Replaced; 3] = [
    Replaced {
        module: "k8s.io/kubernetes",
        file: "cmd/kube-apiserver/app/testing/testserver.go",
        ours: "kubernetes/server.go",
        package: "testing",
    },
    Replaced {
        module: "k8s.io/kubernetes",
        file: "test/integration/framework/test_server.go",
        ours: "framework/server.go",
        package: "framework",
    },
    Replaced {
        module: "k8s.io/apiextensions-apiserver",
        file: "pkg/cmd/server/testing/testserver.go",
        ours: "apiextensions/server.go",
        package: "testing",
    },
];

pub fn run(arguments: &[String]) -> Result<()> {
    let (package, regex) = match arguments {
        [package] => (package.as_str(), "."),
        [package, regex] => (package.as_str(), regex.as_str()),
        _ => bail!("say which package's tests, and a regular expression of their names if not all"),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is in the workspace")?;
    let work = root.join("target/integration");
    fs::create_dir_all(&work)?;
    let sources = Sources::prepare(root, &work)?;
    let tests = work.join("integration.test");
    println!("building {package}");
    succeed(sources.go().args(["test", "-c", "-o"]).arg(&tests).arg(package))?;
    let region = Region::up(root, work.join("home"), &["--kubernetes-version", MINOR, "--nodes", "0"])?;
    let (directory, url) = (sources.directory_of(package)?, region.url()?);
    let mut run = Run { tests, directory, region, url, logs: work.join("logs"), failed: 0 };
    fs::create_dir_all(&run.logs)?;
    let names = run.names(regex)?;
    ensure!(!names.is_empty(), "no test of {package} matches {regex}");
    for name in &names {
        run.one(name)?;
    }
    println!("{} of {} failed; what they print is in {}", run.failed, names.len(), run.logs.display());
    ensure!(run.failed == 0, "not all tests passed");
    Ok(())
}

/// The published modules with our servers in them.
struct Sources {
    /// Where a module is that has them as its dependencies.
    module: PathBuf,
    copies: PathBuf,
}

impl Sources {
    fn prepare(root: &Path, work: &Path) -> Result<Sources> {
        let (pinned, ours) = (root.join("tests/clients/conformance"), root.join("tests/clients/integration"));
        let sources = Sources { module: work.join("module"), copies: work.join("modules") };
        fs::create_dir_all(&sources.module)?;
        for file in ["go.mod", "go.sum", "suite.go"] {
            fs::copy(pinned.join(file), sources.module.join(file))?;
        }
        let cluster = fs::read_to_string(ours.join("cluster.go"))?;
        for replaced in &REPLACED {
            let copy = sources.copy(replaced.module, &pinned)?;
            let file = copy.join(replaced.file);
            fs::copy(ours.join(replaced.ours), &file).with_context(|| format!("writing {}", file.display()))?;
            let package = format!("package {}\n", replaced.package);
            fs::write(file.with_file_name("minato_cluster.go"), cluster.replace("package integration\n", &package))?;
            let replace = format!("{}={}", replaced.module, copy.display());
            succeed(sources.go().args(["mod", "edit", "-replace", &replace]))?;
        }
        Ok(sources)
    }

    /// A copy of a module that may be written to, made once.
    fn copy(&self, module: &str, pinned: &Path) -> Result<PathBuf> {
        let copy = self.copies.join(module);
        if !copy.exists() {
            succeed(Command::new("go").args(["mod", "download", module]).current_dir(pinned))?;
            let published =
                said(Command::new("go").args(["list", "-m", "-f", "{{.Dir}}", module]).current_dir(pinned))?;
            fs::create_dir_all(copy.parent().context("a module has a parent")?)?;
            succeed(Command::new("cp").args(["-r", published.trim()]).arg(&copy))?;
            succeed(Command::new("chmod").args(["-R", "u+w"]).arg(&copy))?;
        }
        Ok(copy)
    }

    fn go(&self) -> Command {
        let mut go = Command::new("go");
        go.current_dir(&self.module).env("GOFLAGS", "-mod=mod");
        go
    }

    fn directory_of(&self, package: &str) -> Result<PathBuf> {
        let module = REPLACED.iter().map(|replaced| replaced.module).find(|module| package.starts_with(module));
        ensure!(module.is_some(), "{package} is in neither k8s.io/kubernetes nor k8s.io/apiextensions-apiserver");
        Ok(self.copies.join(package))
    }
}

struct Run {
    tests: PathBuf,
    /// Where tests find their own files.
    directory: PathBuf,
    region: Region,
    url: String,
    logs: PathBuf,
    failed: usize,
}

impl Run {
    fn names(&self, regex: &str) -> Result<Vec<String>> {
        let list = said(self.command().args(["-test.list", regex]))?;
        Ok(list.lines().filter(|line| line.starts_with("Test")).map(str::to_owned).collect())
    }

    /// Each in a process of its own: one that panics takes the others with it.
    fn one(&mut self, name: &str) -> Result<()> {
        let log = self.logs.join(format!("{name}.txt"));
        let output = File::create(&log)?;
        let mut command = self.command();
        command.args(["-test.v", "-test.timeout", TIMEOUT, "-test.run", &format!("^{name}$")]);
        let status = command.stdout(output.try_clone()?).stderr(output).status().context("running a test")?;
        let skipped = fs::read_to_string(&log).is_ok_and(|log| log.contains(&format!("--- SKIP: {name} ")));
        println!(
            "{} {name}",
            if skipped {
                "skip"
            } else if status.success() {
                "pass"
            } else {
                "FAIL"
            }
        );
        self.failed += usize::from(!status.success());
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.tests);
        command.current_dir(&self.directory).env("MINATO_BINARY", &self.region.minato).env("MINATO_MINOR", MINOR);
        // Before they start a server the tests see to it that something listens where they think of an etcd.
        command.env("MINATO_HOME", &self.region.home).env("KUBE_INTEGRATION_ETCD_URL", &self.url);
        command
    }
}
