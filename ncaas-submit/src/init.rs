//! `ncaas-submit init`: a bucket, its groups and their folders, and on request a queue.

use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::Result;
use ncaas_core::layout::{CONFIGS, INPUTS, RESULTS, SUBMISSIONS};
use ncaas_core::pipe::{Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::InitArgs;
use crate::queue;
use crate::watch::check_group;

pub(crate) async fn init(tool: Tool, args: InitArgs) -> Result<ExitStatus> {
    for group in &args.group {
        check_group(group)?;
    }
    Pipe::new(tool, 1)
        .source(async |output: &Output| {
            let bucket = Bucket::create(&args.bucket).await?;
            for group in &args.group {
                for folder in [INPUTS, CONFIGS, SUBMISSIONS, RESULTS] {
                    bucket.put_new(&Key::new(format!("{group}/{folder}/"))?, Vec::new()).await?;
                }
            }
            let mut record = Record::default();
            record.set("bucket", &bucket.address());
            record.set("groups", &args.group);
            if args.queue {
                record.set("queue", &queue::set_up(&bucket).await?);
            }
            output.emit(&record).await;
            Ok(())
        })
        .await
}
