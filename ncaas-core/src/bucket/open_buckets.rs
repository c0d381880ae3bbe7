//! The buckets of one run. Each is opened when a record first needs it. A failure to open one fails that record only:
//! the next record tries again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tokio::sync::OnceCell;

use super::address::S3Address;
use super::key::Key;
use super::storage::Bucket;
use crate::failure::Result;
use crate::layout::job_prefix;

/// Open buckets by their address.
#[derive(Debug, Default)]
pub struct Buckets {
    open: RefCell<HashMap<String, Rc<OnceCell<Bucket>>>>,
}

impl Buckets {
    /// A bucket that is open already.
    pub fn with(bucket: &Bucket) -> Self {
        let cell = Rc::new(OnceCell::new_with(Some(bucket.clone())));
        Buckets { open: RefCell::new(HashMap::from([(bucket.address().to_owned(), cell)])) }
    }

    /// The bucket at an address, as in a record's `job.bucket`.
    ///
    /// # Errors
    /// Same as [`Bucket::open`].
    pub async fn open(&self, address: &str) -> Result<Bucket> {
        let cell = Rc::clone(self.open.borrow_mut().entry(address.to_owned()).or_default());
        cell.get_or_try_init(|| Bucket::open(address)).await.cloned()
    }

    /// The object that a submission names: in another bucket if the name begins with `s3://`, else in the job's own.
    ///
    /// # Errors
    /// [`Kind::BadKey`](crate::failure::Kind::BadKey); those of [`Bucket::open`].
    pub async fn find_object(&self, own: &str, name: &str) -> Result<(Bucket, Key)> {
        match S3Address::parse(name)? {
            Some(S3Address { bucket, key }) => Ok((self.open(&format!("s3://{bucket}")).await?, Key::new(key)?)),
            None => Ok((self.open(own).await?, Key::new(name)?)),
        }
    }

    /// The bucket of a job's results, and the prefix of its folder there, which ends in `/`: in the group's folder of
    /// the bucket at `own`, or where the submission's `result_path` says.
    ///
    /// # Errors
    /// Same as [`Bucket::open`].
    pub async fn find_results(
        &self,
        own: &str,
        group: &str,
        job_id: &str,
        result_path: Option<&str>,
    ) -> Result<(Bucket, String)> {
        match result_path.map(S3Address::parse).transpose()?.flatten() {
            Some(S3Address { bucket, key }) => {
                let prefix = format!("{}/{job_id}/", key.trim_end_matches('/'));
                Ok((self.open(&format!("s3://{bucket}")).await?, prefix))
            }
            None => Ok((self.open(own).await?, job_prefix(group, job_id))),
        }
    }
}
