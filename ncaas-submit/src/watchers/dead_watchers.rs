//! Decides by a single reading of its heartbeat whether a watcher is dead, for verbs that cannot wait for a change.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use ncaas_core::bucket::Bucket;
use ncaas_core::failure::Result;
use tokio::sync::{Mutex, OnceCell};

use super::heartbeat::{Heartbeat, MAX_SIZE, key, probe_bucket_time};

/// How long a heartbeat can stay unchanged until `ls` calls the submissions of its watcher lost.
const LOST_AFTER: Duration = Duration::from_secs(120);

/// The watchers of a bucket that are gone, by the bucket's clock.
pub(crate) struct DeadWatchers {
    bucket: Bucket,
    now: OnceCell<Timestamp>,
    known: Mutex<HashMap<String, bool>>,
}

impl DeadWatchers {
    pub(crate) fn new(bucket: &Bucket) -> Self {
        DeadWatchers { bucket: bucket.clone(), now: OnceCell::new(), known: Mutex::default() }
    }

    /// Whether a watcher is gone: its process has died on this machine, or its heartbeat has not changed for
    /// [`LOST_AFTER`], or for as long as it said it holds its claims.
    pub(crate) async fn contain(&self, id: &str) -> Result<bool> {
        let mut known = self.known.lock().await;
        if let Some(is_lost) = known.get(id) {
            return Ok(*is_lost);
        }
        let is_lost = self.read(id).await?;
        known.insert(id.to_owned(), is_lost);
        Ok(is_lost)
    }

    async fn read(&self, id: &str) -> Result<bool> {
        let Ok(key) = key(id) else { return Ok(true) };
        let Some(entry) = self.bucket.head(&key).await? else { return Ok(true) };
        let content = self.bucket.read(&key, MAX_SIZE).await.map(|(content, _)| content).unwrap_or_default();
        let heartbeat: Heartbeat = serde_json::from_slice(&content).unwrap_or_default();
        if heartbeat.hold_s.is_none() && heartbeat.process.and_then(|process| process.is_alive()) == Some(false) {
            return Ok(true);
        }
        let silence = heartbeat.hold_s.map_or(LOST_AFTER, Duration::from_secs);
        // A user who may not write to the bucket has only this machine's clock.
        let probe = || async { probe_bucket_time(&self.bucket).await.unwrap_or(Timestamp::now()) };
        let age = self.now.get_or_init(probe).await.duration_since(entry.modified);
        Ok(Duration::try_from(age).unwrap_or_default() > silence)
    }
}
