//! Updates of small objects that several processes may change at once.

use std::time::Duration;

use super::key::Key;
use super::storage::Bucket;
use crate::failure::{Failure, Kind, NoneIf, Result};

/// How often an update is repeated because another process has changed the object meanwhile.
const MAX_TRIES: u32 = 50;
/// The longest pause before the first repetition, and before any.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Bucket {
    /// Reads a small object of up to `limit` bytes, computes its new content from the old one, and writes it only if
    /// nobody else has changed the object meanwhile; else it starts again. No change of another process is lost, on
    /// S3 (`If-Match`) as in a directory (a lock).
    ///
    /// `change` gets the old content, `None` if the object does not exist, and returns the new content, or `None` to
    /// leave the object as it is. It may be called several times. Returns whether the object was written.
    ///
    /// # Errors
    /// A failure of `change`; [`Kind::TooLarge`]; a failure of the bucket, even if other writers change the object
    /// again and again.
    pub async fn update(
        &self,
        key: &Key,
        limit: u64,
        mut change: impl FnMut(Option<&[u8]>) -> Result<Option<Vec<u8>>>,
    ) -> Result<bool> {
        let mut pause = FIRST_PAUSE;
        for _ in 0..MAX_TRIES {
            let old = self.read(key, limit).await.none_if(&[Kind::ObjectNotFound])?;
            let Some(new) = change(old.as_ref().map(|(content, _)| content.as_slice()))? else { return Ok(false) };
            let written = match old {
                Some((content, _)) if content == new => return Ok(false),
                Some((_, version)) => self.put_if(key, new, &version).await?,
                None => self.put_new(key, new).await?,
            };
            if written.is_some() {
                return Ok(true);
            }
            tokio::time::sleep(pause.mul_f64(fastrand::f64())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        let message = format!("cannot update `{}/{key}`: other processes keep changing it", self.address());
        Err(Failure::new(Kind::BucketError, message).hint("run it again later"))
    }
}
