//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use ncaas_core::bucket::PatienceArgs;
use ncaas_core::io_dir::DEFAULT_IO_DIR;
use ncaas_core::pipe::{ContainerArg, PipeArgs, RecordArgs};
use ncaas_core::{duration, quantity};

/// Collect what containers wrote, and synchronise io-dirs with buckets
#[derive(Debug, Parser)]
#[command(name = "ncaas-sync", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,

    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Diff(DiffArgs),
    Collect(CollectArgs),
    Pull(PullArgs),
    Push(PushArgs),
    Status(StatusArgs),
    Verify(VerifyArgs),
    Uploads(UploadsArgs),
}

/// How many records `pull` and `push` work on at once without `-j`.
pub(crate) const DEFAULT_JOBS: usize = 8;
/// How many files of a folder or job are transferred at once.
pub(crate) const DEFAULT_FILES: usize = 64;

/// The help of `-j` in verbs that work on records or on the files of a folder.
fn jobs_or_files() -> String {
    let records = format!("Work on at most N records of a group at once [default: {DEFAULT_JOBS}]");
    format!("{records}, or with arguments on N files [default: {DEFAULT_FILES}]")
}

/// The io-dir.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct IoDirArgs {
    /// The io-dir, which contains a group's files in DIR/GROUP; an io-dir in a record takes precedence
    #[arg(long, value_name = "DIR", env = "NCAAS_IO_DIR", default_value = DEFAULT_IO_DIR)]
    pub(crate) io_dir: PathBuf,
}

/// Which files are selected.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct SelectArgs {
    /// Select only files that match: `*.npy` matches a name in any folder, `out/**` matches a path; can be repeated
    #[arg(long, value_name = "GLOB")]
    pub(crate) include: Vec<String>,

    /// Leave out files that match; can be repeated
    #[arg(long, value_name = "GLOB")]
    pub(crate) exclude: Vec<String>,

    /// Also select caches, temporary files, package managers' files and shell histories
    #[arg(long)]
    pub(crate) all: bool,
}

/// Whether files are compared by their content.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct ChecksumArgs {
    /// Compare the content of every file, even if size and times show no change
    #[arg(long = "checksum")]
    pub(crate) reread: bool,
}

/// List the files that a container changed, one record for each path
///
/// Caches and temporary files are left out. Changes in mounts cannot be seen: each mount is listed as `unseen`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  ncaas-sync diff my-container | jq -r 'select(.change == \"added\") | .path'
  ncaas-exec ls --all | ncaas-sync diff --include '*.npy'")]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    pub(crate) target: ContainerArg,

    #[command(flatten)]
    pub(crate) select: SelectArgs,

    /// Show the size of each mount; reads all of its content
    #[arg(long)]
    pub(crate) size: bool,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Compare a folder with its counterpart in a bucket, one record for each file
///
/// A file is `new`, `changed`, or `missing` if only the bucket has it. A terminal shows a table. With one argument,
/// compares the group's folder in the io-dir.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  ncaas-sync status s3://pca/lab
  ncaas-sync status s3://pca/lab/inputs ./data --all |
      jq -r 'select(.status == \"new\") | .path'")]
pub(crate) struct StatusArgs {
    /// The group, as `s3://bucket/group` or `dir/group`; with DIR, any prefix
    #[arg(value_name = "BUCKET/GROUP")]
    pub(crate) target: String,

    /// The folder to compare, instead of the group's folder in the io-dir
    #[arg(value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,

    /// Show unchanged files too
    #[arg(long)]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) checksum: ChecksumArgs,

    #[command(flatten)]
    pub(crate) io_dir: IoDirArgs,

    #[command(flatten)]
    pub(crate) records: RecordArgs,
}

/// Verify the files of a job in the io-dir and in the bucket against the checksums in its record
///
/// Reads all content. A record gets an error if a file is missing or differs. Files not named in the record are
/// ignored: the datasets of a submission share their folder. `ncaas-sync status` compares io-dir and bucket.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  ncaas-sync push | ncaas-sync verify
  ncaas-sync verify s3://pca/lab job__pca_1606753161 --bucket-only")]
pub(crate) struct VerifyArgs {
    /// The job's group, as `s3://bucket/group` or `dir/group`; without it, read records from stdin
    #[arg(value_name = "BUCKET/GROUP", requires = "job")]
    pub(crate) target: Option<String>,

    /// The job's id
    #[arg(value_name = "JOB")]
    pub(crate) job: Option<String>,

    /// Verify the files in the io-dir only
    #[arg(long, conflicts_with = "bucket_only")]
    pub(crate) io_dir_only: bool,

    /// Verify the objects in the bucket only
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

/// List unfinished uploads, or delete them
///
/// The parts that an interrupted `push` has sent stay on the server until another `push` finishes the upload or the
/// parts are deleted.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  ncaas-sync uploads s3://pca
  ncaas-sync uploads s3://pca/lab --older-than 7d --drop")]
pub(crate) struct UploadsArgs {
    /// The bucket and prefix, as `s3://bucket` or `s3://bucket/prefix`
    #[arg(value_name = "BUCKET/PREFIX")]
    pub(crate) target: String,

    /// List only uploads that were started more than AGE ago: `90m`, `12h`, `7d`
    #[arg(long, value_name = "AGE", value_parser = duration::parse_age)]
    pub(crate) older_than: Option<Duration>,

    /// Delete the parts of these uploads
    #[arg(long)]
    pub(crate) drop: bool,

    #[command(flatten)]
    pub(crate) records: RecordArgs,
}

/// Collect the files that an ended job wrote anywhere in its container
///
/// Files in the container's working directory keep their relative path in the results; all others go below `outside/`.
/// Caches and temporary files are left out. Links within the results are kept, sparse files stay sparse, and bytes of a
/// name that are not UTF-8 become `%FF`. Devices, FIFOs, sockets, links that lead out of the results and paths that are
/// too long are left out; the record's warnings name them. setuid bits are removed. A link in place of one of the job's
/// own folders is an error (`unsafe-path`) if it leads out of the io-dir.
///
/// An interrupted collection resumes when the command is repeated. A job with more results than fit into a record has
/// them listed in `logs/<dataset>.results.jsonl`, which the record names in `results_file`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  ncaas-exec run pca --data d.npy --config c.yaml | ncaas-logs save |
      ncaas-sync collect
  ncaas-sync collect my-container --from out --exclude '*.tmp'")]
pub(crate) struct CollectArgs {
    #[command(flatten)]
    pub(crate) target: ContainerArg,

    /// Collect everything below PATH, changed or not, and nothing else; a relative PATH starts at the working
    /// directory; can be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) from: Vec<String>,

    #[command(flatten)]
    pub(crate) select: SelectArgs,

    /// Fail a job that exits with 0 if none of its results matches; can be repeated. The image label
    /// `org.neurocaas.expect` has the same effect, with one glob on each line
    #[arg(long, value_name = "GLOB")]
    pub(crate) expect: Vec<String>,

    /// Leave out files larger than this: bytes, or with K, M, G or T. A sparse file is read as a whole for its
    /// checksum: 100G of zeros take minutes, but no disk space
    #[arg(long, value_name = "SIZE", value_parser = quantity::parse_bytes)]
    pub(crate) max_size: Option<u64>,

    #[command(flatten)]
    pub(crate) io_dir: IoDirArgs,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Download datasets, configs or results from a bucket into the io-dir
///
/// As a filter, downloads each job's dataset, config and submit file. Existing files with the same content are not
/// downloaded again. Interrupted downloads resume.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  ncaas-submit watch s3://pca | ncaas-sync pull --io-dir ./io-dir
  ncaas-sync pull s3://pca/lab --data lab/inputs/d.npy \\
      --config lab/configs/c.yaml
  ncaas-sync pull s3://pca/lab --results job__pca_1606753161
  ncaas-sync pull ./bucket/lab", mut_arg("jobs", |jobs| jobs.help(jobs_or_files())))]
pub(crate) struct PullArgs {
    /// The group, as `s3://bucket/group` or `dir/group`; without it, read records from stdin
    #[arg(value_name = "BUCKET/GROUP")]
    pub(crate) target: Option<String>,

    /// Key of a dataset; a key that ends in `/` is a folder; can be repeated
    #[arg(long, value_name = "KEY", requires = "target")]
    pub(crate) data: Vec<String>,

    /// Key of the config
    #[arg(long, value_name = "KEY", requires = "target")]
    pub(crate) config: Option<String>,

    /// Download the results and logs of this job
    #[arg(long, value_name = "JOB", requires = "target", conflicts_with_all = ["data", "config"])]
    pub(crate) results: Option<String>,

    /// Delete files that are not in the bucket
    #[arg(long, requires = "target", conflicts_with_all = ["data", "config"])]
    pub(crate) delete: bool,

    /// Write a record for each file, unchanged ones included
    #[arg(long, requires = "target")]
    pub(crate) files: bool,

    #[command(flatten)]
    pub(crate) checksum: ChecksumArgs,

    #[command(flatten)]
    pub(crate) io_dir: IoDirArgs,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}

/// Upload results and logs of jobs to their bucket, or any folder to any prefix
///
/// As a filter, uploads the logs of a running job, and the results and logs of an ended one; then `end.txt`, if all
/// datasets of its submission have ended. Existing files with the same content are not uploaded again.
/// Interrupted uploads resume. `--checksum` applies to folders: results of a job are always read.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  ncaas-sync collect | ncaas-sync push
  ncaas-sync push ./data s3://pca/lab/inputs/data
  ncaas-sync push ./data s3://pca/lab/inputs/data --delete --files |
      jq -r 'select(.outcome == \"deleted\") | .path'", mut_arg("jobs", |jobs| jobs.help(jobs_or_files())))]
pub(crate) struct PushArgs {
    /// The folder to upload; without it, read records from stdin
    #[arg(value_name = "DIR", requires = "target")]
    pub(crate) folder: Option<PathBuf>,

    /// The destination, as `s3://bucket/prefix` or a path
    #[arg(value_name = "BUCKET/PREFIX")]
    pub(crate) target: Option<String>,

    /// Delete objects that are not in the folder; deletes nothing if the folder is empty or cannot be read completely
    #[arg(long, requires = "folder")]
    pub(crate) delete: bool,

    #[command(flatten)]
    pub(crate) checksum: ChecksumArgs,

    /// Write a record for each file, unchanged ones included
    #[arg(long)]
    pub(crate) files: bool,

    #[command(flatten)]
    pub(crate) io_dir: IoDirArgs,

    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
}
