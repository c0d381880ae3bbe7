//! `ncaas-submit wait`: wait until all jobs of a submission have ended.

use std::time::Duration;

use ncaas_core::certificate::Line;
use ncaas_core::failure::Result;
use ncaas_core::pipe::{Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Known;
use ncaas_core::tool::{ExitStatus, Tool};
use tokio::time::sleep;

use crate::args::WaitArgs;
use crate::bucket_job::BucketJob;
use crate::targets::{Buckets, read_targets};

/// How often a submission is read, which costs two requests.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many submissions are waited for at once.
const AT_ONCE: usize = 1024;

/// Fields of a saved record that describe the machine the job ran on, and mean nothing on another one.
const MACHINE_FIELDS: [&str; 2] = ["io_dir", "logs"];

pub(crate) async fn wait(tool: Tool, args: WaitArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    let usage = "ncaas-submit send BUCKET/GROUP ... | ncaas-submit wait";
    let input = read_targets(&args.targets, tool, usage).await?;
    let buckets = Buckets::default();
    Pipe::new(tool, args.pipe.jobs_or(AT_ONCE))
        .each(input, async |record: &mut Record, output: &Output| {
            for ended in wait_for_end(tool, record, &buckets).await? {
                output.emit(&ended).await;
            }
            Ok(())
        })
        .await
}

/// Waits for a record's submission, reports each change, and returns the records of its datasets.
///
/// # Errors
/// When the bucket does not answer.
pub(crate) async fn wait_for_end(tool: Tool, record: &Record, buckets: &Buckets) -> Result<Vec<Record>> {
    let mut reported: Vec<Line> = Vec::new();
    loop {
        // Found each time: where its results go is known only when a watcher has claimed it.
        let job = buckets.job_of_record(record).await?;
        let has_ended = job.results.ended_at().await?.is_some();
        report_changes(tool, &job, &mut reported).await?;
        if has_ended {
            return read_results(tool, record, &job).await;
        }
        sleep(INTERVAL).await;
    }
}

/// Reports the datasets whose status has changed.
async fn report_changes(tool: Tool, job: &BucketJob, reported: &mut Vec<Line>) -> Result<()> {
    for (at, line) in job.results.certificate().await?.into_iter().enumerate() {
        if reported.get(at).is_some_and(|reported| reported.status == line.status) {
            continue;
        }
        tool.note(&format!("`{}`: {} ({})", line.dataname, line.status.to_lowercase(), line.last_command));
        match reported.get_mut(at) {
            Some(reported) => *reported = line,
            None => reported.push(line),
        }
    }
    Ok(())
}

async fn read_results(tool: Tool, record: &Record, job: &BucketJob) -> Result<Vec<Record>> {
    let saved = job.results.saved_records().await?;
    if saved.is_empty() {
        tool.note(&format!("`{}` has ended, and has no records: another tool has run it", job.id));
        return Ok(vec![record.clone()]);
    }
    let mut records: Vec<Record> = saved.into_values().collect();
    for record in &mut records {
        for field in MACHINE_FIELDS {
            record.remove(field);
        }
        if let Some(error) = record.error() {
            tool.note(&error.message);
        }
    }
    Ok(records)
}
