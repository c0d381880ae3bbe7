//! `ncaas-submit wait`: until a submission's jobs have all ended, well or badly.

use std::time::Duration;

use ncaas_core::certificate::Line;
use ncaas_core::failure::Result;
use ncaas_core::pipe::{Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::Known;
use ncaas_core::tool::{ExitStatus, Tool};
use tokio::time::sleep;

use crate::args::WaitArgs;
use crate::job::BucketJob;
use crate::subject::Buckets;

/// How often a job is looked at. It costs two requests.
const LOOK: Duration = Duration::from_secs(1);

/// How many submissions are waited for at once.
const AT_ONCE: usize = 1024;

/// What a saved record says of the machine that the job ran on: nothing to whoever waits on another.
const OF_THAT_MACHINE: [&str; 2] = ["io_dir", "logs"];

pub(crate) async fn wait(tool: Tool, args: WaitArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    let input = args.subject.input(tool, "ncaas-submit send BUCKET/GROUP ... | ncaas-submit wait").await?;
    let buckets = Buckets::default();
    Pipe::new(tool, args.pipe.jobs_or(AT_ONCE))
        .each(input, async |record: &mut Record, output: &Output| {
            for ended in until_ended(tool, record, &buckets).await? {
                output.emit(&ended).await;
            }
            Ok(())
        })
        .await
}

/// Waits for a record's job, tells how it fares, and gives the records of its datasets.
pub(crate) async fn until_ended(tool: Tool, record: &Record, buckets: &Buckets) -> Result<Vec<Record>> {
    let mut said: Vec<Line> = Vec::new();
    loop {
        // Anew each time: where its results go can be known only when a watcher has it.
        let job = buckets.job_of(record).await?;
        let ended = job.results.ended_at().await?.is_some();
        tell(tool, &job, &mut said).await?;
        if ended {
            return results(tool, record, &job).await;
        }
        sleep(LOOK).await;
    }
}

/// Says which datasets' status has changed.
async fn tell(tool: Tool, job: &BucketJob, said: &mut Vec<Line>) -> Result<()> {
    for (at, line) in job.results.certificate().await?.into_iter().enumerate() {
        if said.get(at).is_some_and(|said| said.status == line.status) {
            continue;
        }
        tool.note(&format!("`{}`: {} ({})", line.dataname, line.status.to_lowercase(), line.last_command));
        match said.get_mut(at) {
            Some(said) => *said = line,
            None => said.push(line),
        }
    }
    Ok(())
}

async fn results(tool: Tool, record: &Record, job: &BucketJob) -> Result<Vec<Record>> {
    let saved = job.results.saved_records().await?;
    if saved.is_empty() {
        // Another tool than ours has run it: the end is all that is known.
        tool.note(&format!("`{}` has ended, and no records tell how", job.id));
        return Ok(vec![record.clone()]);
    }
    let mut records: Vec<Record> = saved.into_values().collect();
    for record in &mut records {
        for field in OF_THAT_MACHINE {
            record.remove(field);
        }
        if let Some(error) = record.error() {
            tool.note(&error.message);
        }
    }
    Ok(records)
}
