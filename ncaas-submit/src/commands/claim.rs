//! `ncaas-submit claim`: number this run of a placed record's job, so that an earlier run of it is superseded.
//!
//! A watcher's claim covers a whole submission. A scheduler may run one of its datasets a second time while the first run
//! goes on behind a broken network: the claim counts the runs of each dataset, and only the newest may write.

use ncaas_core::bucket::{Bucket, Key, S3Address};
use ncaas_core::claim;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::record::fields::RecordFields;
use ncaas_core::record::{MAX_LINE, Record};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::ClaimArgs;
use crate::targets::Buckets;

const DEFAULT_JOBS: usize = 16;

pub(crate) async fn claim(tool: Tool, args: ClaimArgs) -> Result<ExitStatus> {
    let input = match &args.record {
        Some(address) => Input::records([read_record(address).await?]),
        None => Input::stdin(tool, "ncaas-submit claim <record.json")?,
    };
    let buckets = Buckets::default();
    Pipe::for_args(tool, &args.pipe, DEFAULT_JOBS)
        .filter(input, async |record: &mut Record, _: &Output| {
            let bucket = buckets.job_of_record(record).await?.bucket;
            let mut job = record.job().ok_or_else(|| Failure::missing_field("job"))?;
            claim::start_run(&bucket, &mut job).await?;
            record.merge(&RecordFields { job: Some(job), ..RecordFields::default() });
            Ok(())
        })
        .await
}

/// A record in a bucket.
async fn read_record(address: &str) -> Result<Record> {
    let Some(S3Address { bucket, key }) = S3Address::parse(address)? else {
        return Err(Failure::new(Kind::Usage, format!("`{address}` is not an address on S3: write s3://BUCKET/KEY")));
    };
    let (line, _) = Bucket::open(&format!("s3://{bucket}")).await?.read(&Key::new(key)?, MAX_LINE as u64).await?;
    Record::parse(&line)
}
