//! The command line.

use std::time::Duration;

use clap::{Parser, Subcommand};
use ncaas_core::failure::Result;
use ncaas_core::pipe::PipeArgs;
use ncaas_core::quantity;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::job::State;

/// Submit files into a bucket, and a watch on it that misses none and runs none twice
///
/// A bucket is `s3://name` or a directory laid out the same way.
#[derive(Debug, Parser)]
#[command(name = "ncaas-submit", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Send(SendArgs),
    Watch(WatchArgs),
    Check(CheckArgs),
    Ls(LsArgs),
    Wait(WaitArgs),
    Cancel(CancelArgs),
    Retry(RetryArgs),
    Init(InitArgs),
}

impl Args {
    pub(crate) async fn run(self, tool: Tool) -> Result<ExitStatus> {
        match self.verb {
            Verb::Send(args) => crate::send::send(tool, args).await,
            Verb::Watch(args) => crate::watch::watch(tool, args).await,
            Verb::Check(args) => crate::check::check(tool, args).await,
            Verb::Ls(args) => crate::ls::ls(tool, args).await,
            Verb::Wait(args) => crate::wait::wait(tool, args).await,
            Verb::Cancel(args) => crate::cancel::cancel(tool, args).await,
            Verb::Retry(args) => crate::retry::retry(tool, args).await,
            Verb::Init(args) => crate::init::init(tool, args).await,
        }
    }
}

/// Hand in datasets and a config: upload what is local, and last the submit file
///
/// What is in the bucket unchanged is not sent again. Emits one record for the submission.
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

    /// A file or folder to upload, or a key of what is in the bucket; several make one job each
    #[arg(long, value_name = "PATH|KEY", num_args = 1.., required = true)]
    pub(crate) data: Vec<String>,

    /// The config: a file to upload, or a key of what is in the bucket
    #[arg(long, value_name = "PATH|KEY")]
    pub(crate) config: String,

    /// What tells this submission from all others of the bucket [default: the time]
    #[arg(long, value_name = "TEXT")]
    pub(crate) timestamp: Option<String>,

    /// Where the results go instead of the group's own folder
    #[arg(long, value_name = "s3://BUCKET/PATH")]
    pub(crate) result_path: Option<String>,

    /// A further field of the submit file; the value is JSON, or else text
    #[arg(long, value_name = "K=V", value_parser = field)]
    pub(crate) set: Vec<(String, serde_json::Value)>,

    /// Overwrite what is in the bucket and differs
    #[arg(long)]
    pub(crate) force: bool,

    /// Wait until all its jobs have ended, and emit their records then
    #[arg(long)]
    pub(crate) wait: bool,
}

/// Emit a record for each dataset of every submission that is not yet done, then for each that arrives
///
/// A submission is claimed first, so that of several watchers one hands it on. When a watcher has ended, others take up
/// what it left undone.
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
    pub(crate) bucket: String,

    /// Hand on what is there now, and end
    #[arg(long)]
    pub(crate) once: bool,

    /// For how long what `--once` has handed on is left alone by others
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = quantity::parse_duration_or_zero, requires = "once")]
    pub(crate) hold: Duration,

    /// Look into this group only; may be given several times
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Vec<String>,

    /// The SQS queue that gets the bucket's `ObjectCreated` events; listing goes on beneath it at a slow pace
    #[arg(long, value_name = "URL", conflicts_with_all = ["once", "notify"])]
    pub(crate) queue: Option<String>,

    /// Set up such a queue and the bucket's notification, and use it; other notifications of the bucket stay
    #[arg(long, conflicts_with = "once")]
    pub(crate) notify: bool,

    /// How often to list what is there, where nothing else tells of new submissions
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = quantity::parse_duration)]
    pub(crate) poll: Duration,

    /// Let submissions name datasets, configs and results in that other bucket by `s3://` paths; several with commas
    #[arg(long, value_name = "BUCKET", value_delimiter = ',')]
    pub(crate) allow_bypass: Vec<String>,

    /// Print the JSON Schema of the records that the verb writes
    #[arg(long, exclusive = true)]
    pub(crate) schema: bool,
}

/// Tell every reason for which a submission would be refused
///
/// Emits the records that `watch` would hand on, and runs nothing. A local file is held to the rules of the directory
/// bucket that it lies in, or to those of `--in`; where there is neither, only its form is checked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ncaas-submit check ./pca/lab/submissions/1_submit.json
  ncaas-submit check my_submit.json --in s3://pca/lab | jq -r '.error.message'
  ncaas-submit watch ./pca --once | ncaas-submit check")]
pub(crate) struct CheckArgs {
    /// Submit files: paths, or `s3://bucket/key`; none to check records from stdin
    #[arg(value_name = "SUBMISSION")]
    pub(crate) submissions: Vec<String>,

    /// The bucket and group that the submission is for
    #[arg(long = "in", value_name = "BUCKET/GROUP")]
    pub(crate) target: Option<String>,

    /// Let submissions name what lies in that other bucket by `s3://` paths; several with commas
    #[arg(long, value_name = "BUCKET", value_delimiter = ',')]
    pub(crate) allow_bypass: Vec<String>,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// The jobs that a verb is about
#[derive(Debug, clap::Args)]
pub(crate) struct Subject {
    /// The bucket and the group in it; none to read records from stdin
    #[arg(value_name = "BUCKET/GROUP")]
    pub(crate) target: Option<String>,

    /// Jobs of that group, by id or timestamp
    #[arg(value_name = "JOB", requires = "target")]
    pub(crate) job: Vec<String>,
}

/// List the submissions of a bucket, and how they and their jobs stand
///
/// Emits a record for each, with `state`, `submitted_at`, `claimed_at`, `owner`, `ended_at`, `datasets_done` and `jobs`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ncaas-submit ls s3://pca | jq -r '[.job.id, .state, .owner] | @tsv'
  ncaas-submit ls ./pca --state failed --state refused | ncaas-submit retry")]
pub(crate) struct LsArgs {
    /// The bucket: `s3://name`, or a directory
    pub(crate) bucket: String,

    /// Of this group only; may be given several times
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Vec<String>,

    /// In this state only; may be given several times
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Vec<State>,
}

/// Wait until all jobs of a submission have ended, well or badly
///
/// Says how they fare as it changes, and emits the record of each. The status is 0 only if all succeeded.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ncaas-submit send ./pca/lab --data d.npy --config c.yaml | ncaas-submit wait |
      jq -r .job.id | uniq | xargs -n 1 ncaas-sync pull ./pca/lab --results
  ncaas-submit wait s3://pca/lab job__pca_1606753161")]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    pub(crate) subject: Subject,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Cancel submissions: none of their jobs starts any more, and those that run are stopped
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ncaas-submit cancel s3://pca/lab job__pca_1606753161
  ncaas-submit ls s3://pca --state waiting --state running | ncaas-submit cancel")]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    pub(crate) subject: Subject,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Have watchers take submissions up again that have ended, were refused or were cancelled
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ncaas-submit retry s3://pca/lab job__pca_1606753161
  ncaas-submit ls s3://pca --state refused | ncaas-submit retry")]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    pub(crate) subject: Subject,

    /// Take it away from a watcher that has it and lives
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Make a bucket, groups in it, and their folders; what is there already stays
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ncaas-submit init ./pca --group lab
  ncaas-submit init s3://pca --group lab --group other --queue | jq -r .queue")]
pub(crate) struct InitArgs {
    /// The bucket: `s3://name`, or a directory
    pub(crate) bucket: String,

    /// A group to make; may be given several times
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Vec<String>,

    /// Make an SQS queue too that the bucket tells of new submissions, for `watch --queue`
    #[arg(long)]
    pub(crate) queue: bool,
}

/// `K=V` with a value that is JSON, or else text.
fn field(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test whose arguments are refused has failed")]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_fields_value_is_json_or_text() {
        assert_eq!(field("a=5").unwrap().1, serde_json::json!(5));
        assert_eq!(field("a=b=c").unwrap().1, serde_json::json!("b=c"));
        assert!(field("a").is_err());
    }
}
