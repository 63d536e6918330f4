//! The directory in which one Minato keeps what its commands need to find it: address, administrator's key, kubeconfig; and, unless
//! it is told otherwise, the region's data.
//! Everything in it is readable by its owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// One Minato's directory.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

/// How to reach a running region. Stored as `region.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionFile {
    /// Version of this file's form.
    pub format: u32,
    pub pid: u32,
    pub endpoint: String,
    pub region: String,
    pub account: String,
    pub access_key_id: String,
    pub secret_access_key: String,
    pub pace: String,
    /// Where its data is: a directory, `memory`, or the URL of a store.
    #[serde(default)]
    pub data: String,
    /// Where the store is served over etcd's API, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<String>,
}

/// The form of `region.json` that this build writes and reads.
pub const FORMAT: u32 = 1;

/// How often to try for the lock against commands that look at it; each holds it for microseconds.
const LOCK_ATTEMPTS: usize = 10_000;

impl Home {
    /// The directory given, else `$XDG_DATA_HOME/minato`, else `~/.local/share/minato`; made where it is missing.
    pub fn open(given: Option<PathBuf>) -> Result<Home> {
        let path = match given {
            Some(path) => std::path::absolute(path)?,
            None => default_path().context("neither HOME nor XDG_DATA_HOME is set; pass --home DIR")?,
        };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&path).with_context(|| format!("cannot make {}; pass --home DIR", path.display()))?;
        Ok(Home(path))
    }

    /// Whether this is the directory that commands find by themselves.
    pub fn is_default(&self) -> bool {
        default_path().is_some_and(|default| default == self.0)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the kubeconfig that Minato writes is.
    pub fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }

    /// Where the certificates for etcd's API are.
    pub fn etcd(&self) -> PathBuf {
        self.0.join("etcd")
    }

    /// Where a region in the background writes what happens to it.
    pub fn log(&self) -> PathBuf {
        self.0.join("minato.log")
    }

    /// Where a region keeps its data unless it is told otherwise.
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    fn region_file(&self) -> PathBuf {
        self.0.join("region.json")
    }

    /// The region that runs from here, if one says it does. The file may be stale: see [`Home::lock`].
    pub fn region(&self) -> Result<Option<RegionFile>> {
        let path = self.region_file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        let file: RegionFile = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a region file; remove it if no minato runs", path.display()))?;
        if file.format != FORMAT {
            bail!(
                "{} has format {}, this minato reads {FORMAT}; use the minato that wrote it",
                path.display(),
                file.format
            );
        }
        Ok(Some(file))
    }

    /// The region that runs from here.
    pub fn running(&self) -> Result<RegionFile> {
        let running = if self.is_locked()? { self.region()? } else { None };
        running.with_context(|| format!("no region runs from {}; start one with `minato up`", self.0.display()))
    }

    /// Writes how to reach the region; complete or not at all.
    pub fn write_region(&self, file: &RegionFile) -> Result<()> {
        write_private(&self.region_file(), serde_json::to_string_pretty(file)?.as_bytes())
    }

    /// The region has ended.
    pub fn remove_region(&self) -> Result<()> {
        match fs::remove_file(self.region_file()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Takes the directory for this process until the returned file is closed, however the process ends.
    /// `None` when another process has it.
    pub fn lock(&self) -> Result<Option<File>> {
        let path = self.0.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        // Commands that only ask whether it is taken hold it shared for a moment, so one refusal is not yet an answer.
        for _ in 0..LOCK_ATTEMPTS {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(fs::TryLockError::WouldBlock) if self.is_locked()? => return Ok(None),
                Err(fs::TryLockError::WouldBlock) => std::thread::yield_now(),
                Err(fs::TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("locking {}", path.display()));
                }
            }
        }
        Ok(None)
    }

    /// Whether a process has taken the directory.
    fn is_locked(&self) -> Result<bool> {
        let path = self.0.join("lock");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).with_context(|| format!("opening {}", path.display())),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(fs::TryLockError::WouldBlock) => Ok(true),
            Err(fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
        }
    }
}

fn default_path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share"))).map(|data| data.join("minato"))
}

/// Replaces a file in one step, readable by its owner only.
pub fn write_private(path: &Path, contents: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
        file.write_all(contents)?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> Home {
        let path = std::env::temp_dir().join(format!("minato-home-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Home::open(Some(path)).unwrap()
    }

    #[test]
    fn a_region_is_found_only_while_its_process_holds_the_lock() {
        let home = scratch("lock");
        let file = RegionFile {
            format: FORMAT,
            pid: 1,
            endpoint: "http://127.0.0.1:4566".into(),
            region: "us-east-1".into(),
            account: "111122223333".into(),
            access_key_id: "AKIA".into(),
            secret_access_key: "secret".into(),
            pace: "instant".into(),
            etcd: None,
            data: "memory".into(),
        };
        let lock = home.lock().unwrap().expect("nobody else has it");
        home.write_region(&file).unwrap();
        assert_eq!(home.running().unwrap(), file);
        assert!(home.lock().unwrap().is_none(), "a second one is refused");
        drop(lock);
        assert!(
            home.running().unwrap_err().to_string().contains("minato up"),
            "a killed region is not taken for a running one"
        );
        fs::remove_dir_all(home.path()).unwrap();
    }

    #[test]
    fn a_file_of_another_format_is_refused() {
        let home = scratch("format");
        fs::write(home.region_file(), r#"{"format":1}"#).unwrap();
        assert!(home.region().is_err());
        fs::remove_dir_all(home.path()).unwrap();
    }
}
