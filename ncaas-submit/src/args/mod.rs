//! The command line.

mod place;

use std::time::Duration;

use clap::{Parser, Subcommand};
use ncaas_core::bucket::PatienceArgs;
use ncaas_core::duration;
use ncaas_core::pipe::{PipeArgs, RecordArgs};
use ncaas_core::record::submission::SubmissionState;
pub(crate) use place::{ClaimArgs, DEFAULT_JOBS, PlaceArgs, SchedulerName};

/// Put submissions into a bucket, and watch a bucket for submissions
///
/// A bucket is `s3://name`, or a directory with the same folders.
#[derive(Debug, Parser)]
#[command(name = "ncaas-submit", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,

    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Send(SendArgs),
    Watch(WatchArgs),
    Check(CheckArgs),
    Ls(LsArgs),
    Wait(WaitArgs),
    Cancel(CancelArgs),
    Retry(RetryArgs),
    Init(InitArgs),
    Place(PlaceArgs),
    Claim(ClaimArgs),
}

/// Submit datasets and a config for analysis
///
/// Uploads local files, then writes the submit file. Files that are already in the bucket are not uploaded again.
/// Emits one record for the submission.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ncaas-submit send ./pca/lab --data d1.npy d2.npy --config c.yaml
  ncaas-submit send s3://pca/lab --data lab/inputs/d.npy \\
      --config lab/configs/c.yaml")]
pub(crate) struct SendArgs {
    /// The bucket and the group in it: `s3://pca/lab`, or `./pca/lab` for a directory
    #[arg(value_name = "BUCKET/GROUP")]
    pub(crate) target: String,

    /// A file or folder to upload, or the key of an object in the bucket; one job for each
    #[arg(long, value_name = "PATH|KEY", num_args = 1.., required = true)]
    pub(crate) data: Vec<String>,

    /// The config: a file to upload, or the key of an object in the bucket
    #[arg(long, value_name = "PATH|KEY")]
    pub(crate) config: String,

    /// Text that makes the submission unique in the bucket [default: the current time]
    #[arg(long, value_name = "TEXT")]
    pub(crate) timestamp: Option<String>,

    /// Write results there instead of into the group's results folder
    #[arg(long, value_name = "s3://BUCKET/PATH")]
    pub(crate) result_path: Option<String>,

    /// Add a field to the submit file; the value is read as JSON if it is JSON, otherwise as text
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_field)]
    pub(crate) set: Vec<(String, serde_json::Value)>,

    /// Overwrite objects in the bucket that differ from the local files
    #[arg(long)]
    pub(crate) force: bool,

    /// Wait until all jobs have ended, and emit their records
    #[arg(long)]
    pub(crate) wait: bool,

    #[command(flatten)]
    pub(crate) records: RecordArgs,
}

/// Watch a bucket and emit a record for each dataset of every submission
///
/// A watcher claims a submission before it emits its records, so only one of several watchers emits them. When a
/// watcher dies, another takes over its unfinished submissions.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ncaas-submit watch s3://pca | ncaas-sync pull | ncaas-exec run --image IMAGE |
      ncaas-logs save --live | ncaas-sync collect | ncaas-sync push |
      ncaas-exec rm
  ncaas-submit watch s3://pca --notify
  ncaas-submit watch ./pca --once | jq .job.id")]
pub(crate) struct WatchArgs {
    /// The bucket: `s3://name`, or a directory
    #[arg(env = "NCAAS_BUCKET")]
    pub(crate) bucket: String,

    /// Emit the records of all current submissions, then exit
    #[arg(long)]
    pub(crate) once: bool,

    /// Keep the claims on unfinished submissions for this long after the exit [default: 5m, with `--once` 1h]
    ///
    /// A new `watch` on the same host takes the claims over immediately; after `--once`, when the pipe has ended.
    #[arg(long, value_name = "TIME", value_parser = duration::parse_duration_or_zero)]
    pub(crate) hold: Option<Duration>,

    /// Stop claiming while N jobs of this watcher are unfinished
    ///
    /// Several machines then share a backlog. The oldest submissions come first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "once")]
    pub(crate) at_most: Option<u16>,

    /// Run a submission again at most N times after its machine was lost or its jobs could not start
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) retries: u32,

    /// Watch only this group; can be repeated
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Vec<String>,

    /// Receive the bucket's `ObjectCreated` events from this SQS queue, and list the bucket less often
    #[arg(long, value_name = "URL", conflicts_with_all = ["once", "notify"])]
    pub(crate) queue: Option<String>,

    /// Create an SQS queue and the bucket's notification, and use them; existing notifications are kept
    #[arg(long, conflicts_with = "once")]
    pub(crate) notify: bool,

    /// Time between two listings of the bucket, without notifications
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration::parse_duration)]
    pub(crate) poll: Duration,

    /// Let submissions name datasets, configs and results in this other bucket by `s3://` paths; separate several by
    /// commas
    #[arg(long, value_name = "BUCKET", value_delimiter = ',')]
    pub(crate) allow_bypass: Vec<String>,

    #[command(flatten)]
    pub(crate) records: RecordArgs,
}

/// Check submit files, and list every reason for a refusal
///
/// Emits the records that `watch` would emit, and runs nothing. A local file is checked against the directory bucket
/// that contains it, or against `--in`. Without either, only its form is checked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ncaas-submit check ./pca/lab/submissions/1_submit.json
  ncaas-submit check my_submit.json --in s3://pca/lab | jq -r '.error.message'
  ncaas-submit watch ./pca --once | ncaas-submit check")]
pub(crate) struct CheckArgs {
    /// Submit files: paths, or `s3://bucket/key`; without any, check records from stdin
    #[arg(value_name = "SUBMISSION")]
    pub(crate) submissions: Vec<String>,

    /// The bucket and group to check against
    #[arg(long = "in", value_name = "BUCKET/GROUP")]
    pub(crate) target: Option<String>,

    /// Let submissions name objects in this other bucket by `s3://` paths; separate several by commas
    #[arg(long, value_name = "BUCKET", value_delimiter = ',')]
    pub(crate) allow_bypass: Vec<String>,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// The submissions that a verb works on
#[derive(Debug, clap::Args)]
pub(crate) struct TargetArgs {
    /// The bucket and the group in it; without it, read records from stdin
    #[arg(value_name = "BUCKET/GROUP")]
    pub(crate) target: Option<String>,

    /// Jobs of that group, by id or timestamp
    #[arg(value_name = "JOB", requires = "target")]
    pub(crate) job: Vec<String>,
}

/// List the submissions of a bucket with their states
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ncaas-submit ls s3://pca | jq -r '[.job.id, .state, .owner] | @tsv'
  ncaas-submit ls ./pca --state failed --state refused | ncaas-submit retry")]
pub(crate) struct LsArgs {
    /// The bucket: `s3://name`, or a directory
    #[arg(env = "NCAAS_BUCKET")]
    pub(crate) bucket: String,

    /// List only this group; can be repeated
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Vec<String>,

    /// List only submissions in this state; can be repeated
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Vec<SubmissionState>,

    /// List repeatedly: redraw the table, or emit the records that have changed
    #[arg(long)]
    pub(crate) watch: bool,

    #[command(flatten)]
    pub(crate) records: RecordArgs,
}

/// Wait until all jobs of a submission have ended
///
/// Reports each change of a job's status, and emits the final record of each job. The exit status is 0 only if all
/// succeeded.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ncaas-submit send ./pca/lab --data d.npy --config c.yaml | ncaas-submit wait |
      jq -r .job.id | uniq | xargs -n 1 ncaas-sync pull ./pca/lab --results
  ncaas-submit wait s3://pca/lab job__pca_1606753161")]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    pub(crate) targets: TargetArgs,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Cancel submissions: stop running jobs and do not start the others
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ncaas-submit cancel s3://pca/lab job__pca_1606753161
  ncaas-submit ls s3://pca --state waiting --state running | ncaas-submit cancel")]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    pub(crate) targets: TargetArgs,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Run ended, refused or cancelled submissions again
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ncaas-submit retry s3://pca/lab job__pca_1606753161
  ncaas-submit ls s3://pca --state refused | ncaas-submit retry")]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    pub(crate) targets: TargetArgs,

    /// Take a submission away from a watcher that still runs
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Create a bucket with groups and their folders
///
/// Existing buckets, groups and folders are kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ncaas-submit init ./pca --group lab
  ncaas-submit init s3://pca --group lab --group other --queue | jq -r .queue")]
pub(crate) struct InitArgs {
    /// The bucket: `s3://name`, or a directory
    #[arg(env = "NCAAS_BUCKET")]
    pub(crate) bucket: String,

    /// A group to create; can be repeated
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Vec<String>,

    /// Also create an SQS queue for the bucket's events, for `watch --queue`
    #[arg(long)]
    pub(crate) queue: bool,

    #[command(flatten)]
    pub(crate) records: RecordArgs,
}

/// `NAME=VALUE`, where the value is JSON or else text.
fn parse_field(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_field_value_is_json_or_text() {
        assert_eq!(parse_field("a=5").unwrap().1, serde_json::json!(5));
        assert_eq!(parse_field("a=b=c").unwrap().1, serde_json::json!("b=c"));
        assert!(parse_field("a").is_err());
    }
}
