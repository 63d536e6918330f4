//! Starts one minato per test, in a directory of its own on a free port, and runs clients against it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// Whether all `clients` are on the PATH; says why a test is skipped where one is not.
///
/// # Panics
/// Where MINATO_REQUIRE_CLIENTS is set and a client is missing.
pub fn have(clients: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let missing =
        clients.iter().find(|client| !std::env::split_paths(&path).any(|directory| directory.join(client).is_file()));
    let Some(missing) = missing else { return true };
    assert!(std::env::var_os("MINATO_REQUIRE_CLIENTS").is_none(), "{missing} is not on the PATH and must be");
    println!("skipped: {missing} is not on the PATH");
    false
}

/// A running minato.
pub struct Minato {
    home: PathBuf,
    variables: Vec<(String, String)>,
    nodes: OnceLock<Vec<String>>,
}

impl Minato {
    /// `minato up` with these arguments, on a free port.
    pub fn up(arguments: &[&str]) -> Minato {
        let mut minato = Minato { home: scratch(), variables: Vec::new(), nodes: OnceLock::new() };
        let output = minato.minato(&[&["up", "--port", "0"], arguments].concat());
        assert!(output.status.success(), "minato up: {}", text(&output));
        let env = minato.ok("minato", &["env", "--shell", "dotenv"]);
        let pairs = env.lines().filter_map(|line| line.split_once('='));
        minato.variables = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        minato
    }

    /// The directory that `--home` names.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// What `region.json` says: how to reach the region that runs.
    pub fn region(&self) -> Value {
        let file = std::fs::read_to_string(self.home.join("region.json")).expect("a region runs");
        serde_json::from_str(&file).expect("region.json is JSON")
    }

    /// Sets a variable for the clients.
    pub fn add_variable(&mut self, name: &str, value: String) {
        self.variables.push((name.to_owned(), value));
    }

    /// Lets the clients find programs in a folder before any others.
    pub fn add_to_path(&mut self, folder: &str) {
        let path = std::env::var("PATH").unwrap_or_default();
        self.add_variable("PATH", format!("{folder}:{path}"));
    }

    /// The value of a variable that `minato env` prints.
    pub fn variable(&self, name: &str) -> &str {
        let found = self.variables.iter().find(|(own, _)| own == name);
        &found.unwrap_or_else(|| panic!("minato env prints {name}")).1
    }

    /// Names of the nodes of the only cluster, asked for once.
    pub fn nodes(&self) -> &[String] {
        self.nodes.get_or_init(|| {
            let names = self.ok("kubectl", &["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"]);
            names.split(' ').map(str::to_owned).collect()
        })
    }

    /// Runs the minato command itself.
    pub fn minato(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_minato"));
        command.arg("--home").arg(&self.home).args(arguments);
        command.output().expect("minato can be run")
    }

    /// A client in the environment that `minato env` prints, and no other AWS or Kubernetes settings.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = match program {
            "minato" => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_minato"));
                command.arg("--home").arg(&self.home);
                command
            }
            _ => Command::new(program),
        };
        command.args(arguments).env("HOME", &self.home).env("AWS_PAGER", "").env("AWS_EC2_METADATA_DISABLED", "true");
        for name in ["AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"] {
            command.env_remove(name);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Standard output of a client that succeeds.
    ///
    /// # Panics
    /// If it does not.
    pub fn ok(&self, program: &str, arguments: &[&str]) -> String {
        succeeds(self.command(program, arguments))
    }

    /// JSON on the standard output of a client that succeeds.
    pub fn json(&self, program: &str, arguments: &[&str]) -> Value {
        let output = self.ok(program, arguments);
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{program} {arguments:?}: {error}: {output}"))
    }

    /// What a client says when it fails.
    ///
    /// # Panics
    /// If it succeeds.
    pub fn fails(&self, program: &str, arguments: &[&str]) -> String {
        fails(self.command(program, arguments))
    }

    /// Writes a file into the home directory and returns its path.
    pub fn file(&self, name: &str, contents: &str) -> String {
        let path = self.home.join(name);
        std::fs::write(&path, contents).expect("the scratch directory can be written");
        path.display().to_string()
    }
}

impl Drop for Minato {
    fn drop(&mut self) {
        let output = self.minato(&["down"]);
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.home.join("minato.log")).unwrap_or_default();
            println!("log of the region:\n{log}");
        } else {
            assert!(output.status.success(), "minato down: {}", text(&output));
        }
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

/// Ends a region's process with SIGKILL, and waits until no thread of it is left: a killed process keeps its locks until then.
pub fn kill(minato: &Minato) {
    let pid = minato.region()["pid"].to_string();
    assert!(Command::new("kill").args(["-KILL", &pid]).status().expect("kill can be run").success());
    let (stat, tasks) = (format!("/proc/{pid}/stat"), format!("/proc/{pid}/task"));
    let alive = || std::fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z "));
    let threads = || std::fs::read_dir(&tasks).map_or(0, Iterator::count);
    while alive() || threads() > 1 {
        std::thread::yield_now();
    }
}

/// A directory that no other test has.
pub fn scratch() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("minato-e2e-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("the temporary directory can be written");
    path
}

/// Standard output of a command that succeeds.
pub fn succeeds(mut command: Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    String::from_utf8(output.stdout).expect("clients print text")
}

/// Both outputs of a command that fails.
pub fn fails(mut command: Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(!output.status.success(), "{command:?} succeeded: {}", text(&output));
    text(&output)
}

/// Both outputs.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
