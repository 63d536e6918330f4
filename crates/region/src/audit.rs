//! What the API servers of clusters record of requests, as EKS has it: its policy, and a file per cluster where there is to be one.

use std::path::Path;
use std::sync::Arc;

use apiserver::{Audit, AuditFile, AuditPolicy, AuditRing, AuditSink};
use world::Tasks;

/// The policy of EKS control planes (EKS best practices guide, "Detective controls").
const POLICY: &str = include_str!("audit_policy.yaml");
/// Events that may wait for the disk: some seconds of a busy cluster, 16 MiB of metadata.
const MAX_WAITING: usize = 16_384;
/// Bytes of a cluster's file, of which there are two.
const MAX_FILE_BYTES: u64 = 100 << 20;
/// Events that are written between two looks at whether to stop.
const BATCH: usize = 256;

/// Records a cluster's requests in `<folder>/<cluster>.log`, a JSON object a line. Requests do not wait for the disk: events that it
/// is too slow for are lost.
///
/// # Errors
/// If the file cannot be opened.
pub(crate) fn start(tasks: &Tasks, folder: &Path, cluster: &str) -> Result<Audit, String> {
    let path = folder.join(format!("{cluster}.log"));
    let failed = |error: std::io::Error| format!("the audit log {} cannot be written: {error}", path.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    let file = AuditFile::open(&path, MAX_FILE_BYTES).map_err(failed)?;
    let ring = Arc::new(AuditRing::new(MAX_WAITING));
    let policy = AuditPolicy::parse(POLICY).map_err(|error| error.to_string())?;
    let (reading, stop) = (ring.clone(), tasks.stop());
    tasks.spawn("audit log", async move {
        let mut changed = reading.subscribe();
        let mut from = 0;
        loop {
            changed.borrow_and_update();
            let (events, next, _) = reading.read(from, BATCH);
            from = next;
            if events.is_empty() {
                if stop.or(changed.changed()).await.is_none() {
                    return;
                }
                continue;
            }
            for event in events {
                // A full disk costs what does not fit; there is nobody to tell but the metric of the sink.
                let _ = file.record(event);
            }
        }
    });
    Ok(Audit { policy: Arc::new(policy), sink: ring })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_can_be_used() {
        assert!(AuditPolicy::parse(POLICY).is_ok());
    }
}
