//! Why a durable store could not be opened, or a snapshot not be read: what is wrong, where, and what to do.

use std::io;
use std::path::PathBuf;

/// Nothing was changed. Errors of the system stand in the text, and are no sources: whoever prints a chain would print them twice.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error("{} is in use by another process; stop it, or use another directory", .directory.display())]
    Locked { directory: PathBuf },
    /// What is there is not what was written.
    #[error("{} is damaged at byte {offset}: {why}. {advice}", .file.display())]
    Corrupt { file: PathBuf, offset: u64, why: String, advice: String },
    /// A file of a format that this build does not know.
    #[error("{} has format {found}, this build reads {known}; use the build that wrote it, or a newer one", .file.display())]
    Format { file: PathBuf, found: u32, known: u32 },
    /// The operating system refused.
    #[error("{what} {}: {error}", .file.display())]
    Io { what: &'static str, file: PathBuf, error: io::Error },
    /// Options that cannot be used together.
    #[error("{0}")]
    Options(String),
    /// A snapshot is restored where something is already.
    #[error("{} is not empty; restore into a new directory", .directory.display())]
    NotEmpty { directory: PathBuf },
}

/// What to do when the log is damaged.
pub(crate) const ADVICE: &str = "Restore a snapshot into a new directory, or move the damaged file and all later ones away to go \
                                 back to the state before it";
