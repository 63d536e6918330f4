//! Tasks that write as fast as they are answered, the same for every store and for the raw log.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use world::{BoxFuture, World};

/// One write of a writer; the numbers are the writer's and the write's.
pub type Write = Arc<dyn Fn(usize, usize) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// What writers did in some time.
pub struct Done {
    pub per_second: f64,
    /// Of one write.
    pub median: Duration,
}

/// Lets `writers` write for `duration`.
pub async fn run(world: &World, writers: usize, duration: Duration, write: &Write) -> Result<Done> {
    let (sender, mut ended) = tokio::sync::mpsc::channel(writers);
    let began = world.elapsed();
    for writer in 0..writers {
        let (world2, write, sender) = (world.clone(), write.clone(), sender.clone());
        world.spawn("writer", async move {
            let (mut latencies, mut last) = (Vec::new(), world2.elapsed());
            let outcome = loop {
                if last - began >= duration {
                    break Ok(latencies);
                }
                if let Err(error) = write(writer, latencies.len()).await {
                    break Err(error);
                }
                let now = world2.elapsed();
                latencies.push(now - last);
                last = now;
            };
            // The receiver is gone only when another has failed already.
            let _ = sender.send(outcome).await;
        });
    }
    drop(sender);
    let mut all = Vec::new();
    while let Some(outcome) = ended.recv().await {
        all.extend(outcome?);
    }
    let took = world.elapsed() - began;
    Ok(Done { per_second: crate::report::rate(all.len(), took), median: crate::report::spread(all).median })
}
