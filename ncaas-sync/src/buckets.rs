//! The buckets of one run. Each is opened when a record first needs it. A failure to open one fails that record only:
//! the next record tries again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use ncaas_core::bucket::{Bucket, Key, S3Address};
use ncaas_core::failure::Result;
use ncaas_core::layout::job_prefix;
use ncaas_core::record::Record;
use ncaas_core::record::fields::Job;
use tokio::sync::OnceCell;

/// Open buckets by their address.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    open: RefCell<HashMap<String, Rc<OnceCell<Bucket>>>>,
}

impl Buckets {
    /// The bucket at an address, as in a record's `job.bucket`.
    pub(crate) async fn get(&self, address: &str) -> Result<Bucket> {
        let cell = Rc::clone(self.open.borrow_mut().entry(address.to_owned()).or_default());
        cell.get_or_try_init(|| Bucket::open(address)).await.cloned()
    }

    /// The object that a submission names: in another bucket if the name begins with `s3://`, else in the job's own.
    pub(crate) async fn find(&self, own: &str, name: &str) -> Result<(Bucket, Key)> {
        match S3Address::parse(name)? {
            Some(S3Address { bucket, key }) => Ok((self.get(&format!("s3://{bucket}")).await?, Key::new(key)?)),
            None => Ok((self.get(own).await?, Key::new(name)?)),
        }
    }

    /// The bucket of a job's results and the prefix of its folder there, which ends in `/`. `None` for a job from
    /// arguments.
    pub(crate) async fn find_results(&self, record: &Record, job: &Job) -> Result<Option<(Bucket, String)>> {
        let (Some(address), Some(group)) = (&job.bucket, &job.group) else { return Ok(None) };
        if let Some(path) = record.text("resultpath") {
            let (bucket, key) = self.find("", path.trim_end_matches('/')).await?;
            return Ok(Some((bucket, format!("{}/{}/", key.as_str(), job.id))));
        }
        Ok(Some((self.get(address).await?, job_prefix(group, &job.id))))
    }
}
