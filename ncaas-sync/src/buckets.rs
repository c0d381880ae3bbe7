//! Buckets, each opened when the first record needs it: one that cannot be reached fails that record, and the next one
//! tries again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use ncaas_core::bucket::{Bucket, Key, S3Address};
use ncaas_core::failure::Result;
use tokio::sync::OnceCell;

/// The buckets of a run, by their address.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    open: RefCell<HashMap<String, Rc<OnceCell<Bucket>>>>,
}

impl Buckets {
    /// The bucket at an address, as a record's `job.bucket` has it.
    pub(crate) async fn get(&self, address: &str) -> Result<Bucket> {
        let cell = Rc::clone(self.open.borrow_mut().entry(address.to_owned()).or_default());
        cell.get_or_try_init(|| Bucket::open(address)).await.cloned()
    }

    /// Where a name of a submission leads: into another bucket if it begins with `s3://`, else into the job's own.
    pub(crate) async fn find(&self, own: &str, name: &str) -> Result<(Bucket, Key)> {
        match S3Address::parse(name)? {
            Some(S3Address { bucket, key }) => Ok((self.get(&format!("s3://{bucket}")).await?, Key::new(key)?)),
            None => Ok((self.get(own).await?, Key::new(name)?)),
        }
    }
}
