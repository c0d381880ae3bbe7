//! `ncaas-submit init`: create a bucket, its groups and their folders, and on request a queue.

use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::{CONFIGS, INPUTS, LOGS, RESULTS, SUBMISSIONS, check_group};
use ncaas_core::pipe::{Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::record::submission::BucketRecord;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::InitArgs;
use crate::sqs;

pub(crate) async fn init(tool: Tool, args: InitArgs) -> Result<ExitStatus> {
    for group in &args.group {
        check_group(group)?;
        if group.contains(char::is_whitespace) {
            let hint = format!("use for example `{}`", group.split_whitespace().collect::<Vec<_>>().join("-"));
            let message = format!("`{group}` is not a valid name for a new group: it contains a space");
            return Err(Failure::new(Kind::Usage, message).hint(hint));
        }
    }
    Pipe::for_records(tool, &args.records)
        .source(async |output: &Output| {
            let bucket = Bucket::create(&args.bucket).await?;
            let of_groups = args.group.iter().flat_map(|group| {
                let own = [INPUTS, CONFIGS, SUBMISSIONS, RESULTS].map(|folder| format!("{group}/{folder}/"));
                own.into_iter().chain([format!("{LOGS}/{group}/")])
            });
            // The platform's tools for users and parallelism expect the folders of usage records, also the one of
            // running jobs.
            for folder in [format!("{LOGS}/"), format!("{LOGS}/active/")].into_iter().chain(of_groups) {
                bucket.put_new(&Key::new(folder)?, Vec::new()).await?;
            }
            let queue = if args.queue { Some(sqs::create_queue(&bucket).await?) } else { None };
            let mut record = Record::default();
            record.merge(&BucketRecord { bucket: bucket.address().to_owned(), groups: args.group.clone(), queue });
            output.emit(&record).await;
            Ok(())
        })
        .await
}
