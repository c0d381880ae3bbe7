//! `ncaas-submit claim`: number this run of a placed record's job, so that an earlier run of it is superseded.
//!
//! A watcher's claim covers a whole submission. A scheduler may run one of its datasets a second time while the first
//! run continues behind a broken network: the claim counts the runs of each dataset, and only the newest may write.

use ncaas_core::bucket::{Buckets, S3Address};
use ncaas_core::claim;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::record::fields::RecordFields;
use ncaas_core::record::{MAX_LINE, Record};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::ClaimArgs;
use crate::bucket_job::BucketJob;

const DEFAULT_JOBS: usize = 16;

pub(crate) async fn claim(tool: Tool, args: ClaimArgs) -> Result<ExitStatus> {
    let input = match &args.record {
        Some(address) => Input::records([read_record(address).await?]),
        None => Input::stdin(tool, "ncaas-submit claim <record.json")?,
    };
    let buckets = Buckets::default();
    Pipe::for_args(tool, &args.pipe, DEFAULT_JOBS)
        .filter(input, async |record: &mut Record, _: &Output| {
            let bucket = BucketJob::for_record(record, &buckets).await?.bucket;
            let mut job = record.job().ok_or_else(|| Failure::missing_field("job"))?;
            claim::start_run(&bucket, &mut job).await?;
            record.merge(&RecordFields { job: Some(job), ..RecordFields::default() });
            Ok(())
        })
        .await
}

async fn read_record(address: &str) -> Result<Record> {
    if S3Address::parse(address)?.is_none() {
        return Err(Failure::new(Kind::Usage, format!("`{address}` is not an address on S3: write s3://BUCKET/KEY")));
    }
    let (bucket, key) = Buckets::default().find_object("", address).await?;
    let (line, _) = bucket.read(&key, MAX_LINE as u64).await?;
    Record::parse(&line)
}
