//! A check that a server supports conditional writes. Some servers accept the condition and ignore it.

use crate::failure::Result;

use super::key::Key;
use super::object::Version;
use super::storage::Bucket;

/// The maximum number of tests. If an answer is lost, the repeated request looks like a condition that was not met.
const MAX_TRIES: u32 = 3;

impl Bucket {
    /// Tests whether [`Bucket::put_new`] and [`Bucket::put_if`] work, with an object that is written at `key` and
    /// deleted again.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn honours_conditional_writes(&self, key: &Key) -> Result<bool> {
        for _ in 0..MAX_TRIES {
            let verdict = self.probe(key).await;
            self.delete(key).await?;
            if verdict? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn probe(&self, key: &Key) -> Result<bool> {
        let Some(first) = self.put_new(key, "first").await? else { return Ok(false) };
        let other = Version("\"00000000000000000000000000000000\"".into());
        let created_again = self.put_new(key, "second").await?;
        let replaced_other = self.put_if(key, "third", &other).await?;
        let replaced = self.put_if(key, "fourth", &first).await?;
        let replaced_stale = self.put_if(key, "fifth", &first).await?;
        Ok(created_again.is_none() && replaced_other.is_none() && replaced.is_some() && replaced_stale.is_none())
    }
}
