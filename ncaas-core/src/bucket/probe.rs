//! Whether a server keeps the promise of conditional writes. Some accept the condition and ignore it.

use crate::failure::Result;

use super::object::{Version, nonce};
use super::{Bucket, Key};

impl Bucket {
    /// Tries out whether [`Bucket::put_new`] and [`Bucket::put_if`] can be relied on, with an object that is written
    /// under `folder` and deleted again.
    pub async fn honours_conditional_writes(&self, folder: &Key) -> Result<bool> {
        let key = folder.join(&format!("ncaas-probe-{}", nonce()))?;
        let verdict = self.probe(&key).await;
        self.delete(&key).await?;
        verdict
    }

    async fn probe(&self, key: &Key) -> Result<bool> {
        let created = self.put_new(key, "first").await?;
        let (_, first) = self.read(key, 64).await?;
        let created_again = self.put_new(key, "second").await?;
        let replaced = self.put_if(key, "third", &first).await?;
        let replaced_stale = self.put_if(key, "fourth", &first).await?;
        let replaced_other = self.put_if(key, "fifth", &Version("\"00000000000000000000000000000000\"".into())).await?;
        Ok(created && !created_again && replaced && !replaced_stale && !replaced_other)
    }
}
