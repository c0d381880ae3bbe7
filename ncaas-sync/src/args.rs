//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use ncaas_core::failure::Result;
use ncaas_core::pipe::PipeArgs;
use ncaas_core::quantity;
use ncaas_core::tool::{ExitStatus, Tool};

use crate::select::SelectArgs;

/// Bring files where they belong: from containers into results, and between io-dir and bucket
#[derive(Debug, Parser)]
#[command(name = "ncaas-sync", version, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Diff(DiffArgs),
    Collect(CollectArgs),
    Pull(PullArgs),
    Push(PushArgs),
    Status(StatusArgs),
    Verify(VerifyArgs),
    Uploads(UploadsArgs),
}

impl Args {
    pub(crate) async fn run(self, tool: Tool) -> Result<ExitStatus> {
        match self.verb {
            Verb::Diff(args) => crate::diff::diff(tool, args).await,
            Verb::Collect(args) => crate::collect::collect(tool, args).await,
            Verb::Pull(args) => crate::pull::pull(tool, args).await,
            Verb::Push(args) => crate::push::push(tool, args).await,
            Verb::Status(args) => crate::status::status(tool, args).await,
            Verb::Verify(args) => crate::verify::verify(tool, args).await,
            Verb::Uploads(args) => crate::uploads::uploads(tool, args).await,
        }
    }
}

/// Where the io-dir is, where a record does not say.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct IoDirArgs {
    /// The io-dir, for records that have none: a group's files are in DIR/<group>
    #[arg(long, value_name = "DIR", default_value = "./io-dir")]
    pub(crate) io_dir: PathBuf,
}

/// Show what a container has changed in its file system, one record a path
///
/// Caches, temporary files and the like are left out. What is mounted into the container is not among its changes: each
/// such place is shown as `unseen`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  ncaas-sync diff my-container | jq -r 'select(.change == \"added\") | .path'
  ncaas-exec ls --all | ncaas-sync diff --include '*.npy'")]
pub(crate) struct DiffArgs {
    /// The container, by name or id; without it, records from stdin
    pub(crate) container: Option<String>,

    #[command(flatten)]
    pub(crate) select: SelectArgs,

    /// Find out how much is in each mount, too: all of it is read
    #[arg(long)]
    pub(crate) size: bool,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Show how a folder differs from its counterpart in a bucket, one record a file
///
/// A file is `new`, `changed` or, where only the bucket has it, `missing`. With one argument, it is the group's folder in
/// the io-dir that is compared.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  ncaas-sync status s3://pca/lab
  ncaas-sync status s3://pca/lab/inputs ./data --all |
      jq -r 'select(.status == \"new\") | .path'")]
pub(crate) struct StatusArgs {
    /// The group, as `s3://bucket/group` or `dir/group`; with DIR, any prefix
    #[arg(value_name = "BUCKET/GROUP", required_unless_present = "schema")]
    pub(crate) target: Option<String>,

    /// The folder, instead of the group's in the io-dir
    #[arg(value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,

    /// Show unchanged files too
    #[arg(long)]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) checksum: ChecksumArgs,

    #[command(flatten)]
    pub(crate) io_dir: IoDirArgs,

    /// Print the JSON Schema of the records that the verb writes
    #[arg(long, exclusive = true)]
    pub(crate) schema: bool,
}

/// Check every file of a job against the checksums in its record, in the io-dir and in the bucket
///
/// All content is read. A record whose files are not all there, or not all as they were, comes out with an error. Files
/// that the record does not name are no matter of it: the datasets of a submission share their folder, and `status` shows
/// how the io-dir and the bucket differ.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  ncaas-sync push | ncaas-sync verify
  ncaas-sync verify s3://pca/lab job__pca_1606753161 --bucket-only")]
pub(crate) struct VerifyArgs {
    /// The job's group, as `s3://bucket/group` or `dir/group`; without it, records from stdin
    #[arg(value_name = "BUCKET/GROUP", requires = "job")]
    pub(crate) target: Option<String>,

    /// The job's id
    #[arg(value_name = "JOB")]
    pub(crate) job: Option<String>,

    /// Look in the io-dir only
    #[arg(long, conflicts_with = "bucket_only")]
    pub(crate) io_dir_only: bool,

    /// Look in the bucket only
    #[arg(long)]
    pub(crate) bucket_only: bool,

    /// Write a record for each file
    #[arg(long)]
    pub(crate) files: bool,

    #[command(flatten)]
    pub(crate) io_dir: IoDirArgs,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Show uploads that were begun and never finished, and drop them
///
/// The parts of a large file that an interrupted `push` has sent stay on the server until the next `push` finishes them
/// or somebody drops them.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  ncaas-sync uploads s3://pca
  ncaas-sync uploads s3://pca/lab --older-than 7d --drop")]
pub(crate) struct UploadsArgs {
    /// Where, as `s3://bucket` or `s3://bucket/prefix`
    #[arg(value_name = "BUCKET/PREFIX", required_unless_present = "schema")]
    pub(crate) target: Option<String>,

    /// Only those begun longer ago than this: `90m`, `12h`, `7d`
    #[arg(long, value_name = "AGE", value_parser = quantity::parse_duration)]
    pub(crate) older_than: Option<Duration>,

    /// Drop them
    #[arg(long)]
    pub(crate) drop: bool,

    /// Print the JSON Schema of the records that the verb writes
    #[arg(long, exclusive = true)]
    pub(crate) schema: bool,
}

/// Bring what ended jobs have written anywhere in their containers into their results
///
/// What lies under the container's working directory keeps its relative path, everything else goes under `outside/`.
/// Caches, temporary files and the like are left out. Links are kept where they stay within the results, sparse files
/// stay sparse, and bytes of a name that are no text become `%FF`. Devices, FIFOs, sockets, links that lead out, and
/// what lies too deep to have a path in the io-dir are left out, and the record says so. setuid bits are dropped. A link
/// in place of one of the job's own folders is an error (`unsafe-path`) where it leads out of the io-dir.
///
/// Killed at any point, the same command again goes on. A record lists some 200,000 results; a job that made more ends
/// with an error, its files in the io-dir, and its container stays.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  ncaas-exec run pca --data d.npy --config c.yaml | ncaas-logs save |
      ncaas-sync collect
  ncaas-sync collect my-container --from out --exclude '*.tmp'")]
pub(crate) struct CollectArgs {
    /// The container, by name or id; without it, records from stdin
    pub(crate) container: Option<String>,

    /// Take only what lies under PATH, changed or not; relative to the working directory. Can be given more than once
    #[arg(long, value_name = "PATH")]
    pub(crate) from: Vec<String>,

    #[command(flatten)]
    pub(crate) select: SelectArgs,

    /// Fail a job that exits with 0 but has no result that matches. Can be given more than once; the label
    /// `org.neurocaas.expect` of the image says the same, a glob a line
    #[arg(long, value_name = "GLOB")]
    pub(crate) expect: Vec<String>,

    /// Leave out files larger than this: bytes, or with K, M, G or T. All of a file is read for its checksum, also where
    /// it is sparse: one of 100G of nothing takes minutes, though no room
    #[arg(long, value_name = "SIZE", value_parser = quantity::parse_bytes)]
    pub(crate) max_size: Option<u64>,

    #[command(flatten)]
    pub(crate) io_dir: IoDirArgs,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Bring datasets, configs or results from a bucket into the io-dir
///
/// As a filter it brings each job's dataset, config and submit file. What is there already, with the same content, is
/// not brought again.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  ncaas-submit watch s3://pca | ncaas-sync pull --io-dir ./io-dir
  ncaas-sync pull s3://pca/lab --data lab/inputs/d.npy \\
      --config lab/configs/c.yaml
  ncaas-sync pull s3://pca/lab --results job__pca_1606753161
  ncaas-sync pull ./bucket/lab")]
pub(crate) struct PullArgs {
    /// The group, as `s3://bucket/group` or `dir/group`; without it, records from stdin
    #[arg(value_name = "BUCKET/GROUP")]
    pub(crate) target: Option<String>,

    /// A dataset's key; one that ends in `/` is a folder. Can be given more than once
    #[arg(long, value_name = "KEY", requires = "target")]
    pub(crate) data: Vec<String>,

    /// The config's key
    #[arg(long, value_name = "KEY", requires = "target")]
    pub(crate) config: Option<String>,

    /// Bring this job's results and logs
    #[arg(long, value_name = "JOB", requires = "target", conflicts_with_all = ["data", "config"])]
    pub(crate) results: Option<String>,

    /// Remove files that the bucket does not have
    #[arg(long, requires = "target", conflicts_with_all = ["data", "config"])]
    pub(crate) delete: bool,

    /// Write a record for each file, unchanged ones too
    #[arg(long, requires = "target")]
    pub(crate) files: bool,

    #[command(flatten)]
    pub(crate) checksum: ChecksumArgs,

    #[command(flatten)]
    pub(crate) io_dir: IoDirArgs,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Whether the index is believed.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ChecksumArgs {
    /// Read every file to compare it, also where its size and times say that it has not changed
    #[arg(long = "checksum")]
    pub(crate) on: bool,
}

/// Bring results and logs of jobs into their bucket, or any folder to any prefix
///
/// As a filter: the logs of a running job; of an ended one its results, its logs, and `end.txt` at last, when all
/// datasets of its submission have ended. What is there already, with the same content, is not sent again, and an upload
/// that was cut off goes on with the parts that are missing. `--checksum` is for folders: what a job has written is always
/// read.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  ncaas-sync collect | ncaas-sync push
  ncaas-sync push ./data s3://pca/lab/inputs/data
  ncaas-sync push ./data s3://pca/lab/inputs/data --delete --files |
      jq -r 'select(.outcome == \"deleted\") | .path'")]
pub(crate) struct PushArgs {
    /// A folder; without it, records from stdin
    #[arg(value_name = "DIR", requires = "target")]
    pub(crate) folder: Option<PathBuf>,

    /// Where its content goes, as `s3://bucket/prefix` or a path
    #[arg(value_name = "BUCKET/PREFIX")]
    pub(crate) target: Option<String>,

    /// Remove objects that the folder does not have; nothing, where the folder is empty or cannot be read to its end
    #[arg(long, requires = "folder")]
    pub(crate) delete: bool,

    #[command(flatten)]
    pub(crate) checksum: ChecksumArgs,

    /// Write a record for each file, unchanged ones too
    #[arg(long)]
    pub(crate) files: bool,

    #[command(flatten)]
    pub(crate) io_dir: IoDirArgs,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}
