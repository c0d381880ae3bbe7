//! `ncaas-sync verify`: compare every file of a job with the SHA-256 in its record, in the io-dir and in the bucket.
//!
//! A list of results that only the bucket has is downloaded to a nameless file below TMPDIR.

use std::collections::BTreeMap;
use std::io::Seek;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, stream};
use ncaas_core::blocking::run_blocking;
use ncaas_core::bucket::{Bucket, Buckets, Key};
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::files;
use ncaas_core::folder::Folder;
use ncaas_core::group::open_group;
use ncaas_core::io_dir::fill_io_dir;
use ncaas_core::layout::{LOGS, RESULTS, job_prefix};
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::quantity::format_count;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Job, ResultFile, ResultsFile};
use ncaas_core::saved_record;
use ncaas_core::text::shell_line;
use ncaas_core::tool::{ExitStatus, Tool};
use ncaas_core::transfer::{download_into, object_sha256};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::VerifyArgs;
use crate::result_list::ResultList;

/// Jobs that are verified at once.
const DEFAULT_JOBS: usize = 2;
/// Files of one job that are verified at once.
const FILES_AT_ONCE: usize = 8;
/// The state of one file of a job: a line of `--files`.
#[derive(Debug, Serialize, JsonSchema)]
struct VerifyRecord {
    /// Relative to the io-dir, as in the job's record.
    path: String,
    /// SHA-256 in the job's record, in hex; null for a link.
    sha256: Option<String>,
    /// Its state on this machine; null if that was not checked.
    io_dir: Option<FileState>,
    /// Its state in the bucket; null if that was not checked.
    bucket: Option<FileState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum FileState {
    /// Its content matches the record.
    Same,
    /// Its content differs from the record.
    Different,
    /// It does not exist.
    Missing,
}

pub(crate) async fn verify(tool: Tool, args: VerifyArgs) -> Result<ExitStatus> {
    let verifier = Verifier { tool, buckets: Buckets::default(), args: &args };
    let input = match (&args.target, &args.job) {
        (Some(target), Some(job)) => Input::records(verifier.saved_records(target, job).await?),
        _ => Input::stdin(tool, "ncaas-sync push | ncaas-sync verify")?,
    };
    let pipe = Pipe::for_args(tool, &args.pipe, DEFAULT_JOBS);
    pipe.filter(input, async |record: &mut Record, output: &Output| verifier.verify(record, output).await).await
}

struct Verifier<'v> {
    tool: Tool,
    buckets: Buckets,
    args: &'v VerifyArgs,
}

/// The io-dir of a job.
enum LocalCopy {
    /// Only the bucket is verified.
    Unchecked,
    /// It does not exist on this machine, and has none of the files.
    Absent,
    Folder(Folder),
}

/// The two copies where the files of one job are looked up.
struct Copies {
    job: Job,
    io_dir: LocalCopy,
    /// The bucket and the prefix of the job's folder.
    bucket: Option<(Bucket, String)>,
}

impl Verifier<'_> {
    /// The records of a job that are saved in its bucket.
    async fn saved_records(&self, target: &str, job: &str) -> Result<Vec<Record>> {
        let (bucket, group) = open_group(target, true).await?;
        let folder = Key::new(job_prefix(&group, job))?;
        let io_dir = files::absolute(&self.args.io_dir.io_dir)?.join(group);
        let mut records = Vec::new();
        for key in saved_record::list(&bucket, folder.as_str()).await? {
            let Some(mut record) = saved_record::read(&bucket, &key).await? else {
                let message = format!("`{}/{key}` is not a record that the tools wrote", bucket.address());
                return Err(Failure::new(Kind::BadRecord, message));
            };
            // The job's own error does not concern its files, and its io-dir may be another machine's.
            record.set("io_dir", &io_dir.to_string_lossy());
            record.set("error", &());
            records.push(record);
        }
        if records.is_empty() {
            let message = format!("`{}/{folder}{LOGS}/` has no record of the job `{job}`", bucket.address());
            return Err(Failure::new(Kind::ObjectNotFound, message)
                .hint("`ncaas-sync push` writes the record after the job has ended"));
        }
        Ok(records)
    }

    async fn verify(&self, record: &mut Record, output: &Output) -> Result<()> {
        let listed = record.results_file();
        if record.results().is_none() && listed.is_none() {
            return Err(Failure::missing_field("results").hint("`ncaas-sync collect` lists them with their checksums"));
        }
        let copies = self.copies(record).await?;
        let results = match &listed {
            None => ResultList::from_results(record.results().unwrap_or_default()),
            Some(listed) => copies.open_list(listed).await?,
        };
        // The list is itself a file of the job.
        let list = listed.map(|listed| ResultFile {
            path: listed.path,
            size: listed.size,
            sha256: Some(listed.sha256),
            ..ResultFile::default()
        });
        let checks = results.chain(list.map(Ok)).map(async |result| copies.check(&result?).await);
        let mut checks = stream::iter(checks).buffer_unordered(FILES_AT_ONCE);
        let mut faults = Faults::default();
        while let Some(checked) = checks.next().await {
            let checked = checked?;
            faults.add(&checked);
            if self.args.files {
                output.write_json(&checked).await;
            }
        }
        if let Some(failure) = faults.failure(&copies.job) {
            return Err(failure);
        }
        self.tool.note(&copies.summary(faults.files));
        Ok(())
    }

    /// The copies of a job's files that are verified.
    async fn copies(&self, record: &mut Record) -> Result<Copies> {
        fill_io_dir(record, &self.args.io_dir.io_dir)?;
        let job = record.job().unwrap_or_default();
        let bucket = match (&job.bucket, &job.group) {
            (Some(own), Some(group)) if !self.args.io_dir_only => {
                Some(self.buckets.find_results(own, group, &job.id, record.text("resultpath")).await?)
            }
            _ => None,
        };
        let io_dir = if !self.args.bucket_only {
            Folder::open(Path::new(record.require("io_dir")?)).map_or(LocalCopy::Absent, LocalCopy::Folder)
        } else if bucket.is_some() {
            LocalCopy::Unchecked
        } else {
            return Err(Failure::new(Kind::BadRecord, format!("`{}` does not come from a bucket", job.id)));
        };
        Ok(Copies { job, io_dir, bucket })
    }
}

/// The faults that were found in the files of one job.
#[derive(Default)]
struct Faults {
    files: usize,
    /// The number of files with each fault.
    counts: BTreeMap<String, usize>,
    /// A file with a fault.
    first: Option<String>,
}

impl Faults {
    fn add(&mut self, checked: &VerifyRecord) {
        self.files += 1;
        for (place, state) in [("in the io-dir", checked.io_dir), ("in the bucket", checked.bucket)] {
            if let Some(state) = state.filter(|state| *state != FileState::Same) {
                let word = if state == FileState::Missing { "missing" } else { "different" };
                *self.counts.entry(format!("{word} {place}")).or_default() += 1;
                self.first.get_or_insert_with(|| checked.path.clone());
            }
        }
    }

    /// The failure, if a file has a fault.
    fn failure(&self, job: &Job) -> Option<Failure> {
        let first = self.first.as_ref()?;
        let faults: Vec<String> = self.counts.iter().map(|(fault, count)| format!("{count} {fault}")).collect();
        let Job { id, bucket, group, .. } = job;
        let files = format_count(self.files, "file");
        let message = format!("`{id}`: {}, of {files}; the first is `{first}`", faults.join(", "));
        let hint = match (bucket, group) {
            (Some(bucket), Some(group)) => {
                let verify = shell_line(["ncaas-sync", "verify", &format!("{bucket}/{group}"), id, "--files"]);
                format!("`{verify}` lists every file")
            }
            _ => "`--files` lists every file".to_owned(),
        };
        Some(Failure::new(Kind::ChecksumMismatch, message).hint(hint))
    }
}

impl Copies {
    /// The summary of a verification, for people.
    fn summary(&self, files: usize) -> String {
        let files = format_count(files, "file");
        let is_local = !matches!(self.io_dir, LocalCopy::Unchecked);
        let io_dir = is_local.then(|| "the io-dir".to_owned());
        let bucket = self.bucket.as_ref().map(|(bucket, _)| format!("`{}`", bucket.address()));
        let copies: Vec<String> = io_dir.into_iter().chain(bucket).collect();
        format!("`{}`: {files} verified in {}", self.job.id, copies.join(" and "))
    }

    /// Opens the file that lists the results: the one in the io-dir if it matches the record, else the one in the
    /// bucket.
    async fn open_list(&self, listed: &ResultsFile) -> Result<ResultList> {
        let message = format!("`{}`, which lists the job's results, does not exist", listed.path);
        let mut opened = Err(Failure::new(Kind::FileNotFound, message));
        if let LocalCopy::Folder(io_dir) = &self.io_dir {
            let path = Path::new(&listed.path);
            let (listed, shown) = (listed.clone(), io_dir.path().join(path));
            opened = match io_dir.open_file(path) {
                Ok((file, _)) => run_blocking(move || ResultList::from_file(file, &listed, shown)).await,
                Err(failure) => Err(failure),
            };
        }
        let (Err(failure), Some((bucket, prefix))) = (&opened, &self.bucket) else { return opened };
        let key = self.key(&listed.path, prefix)?;
        let shown = PathBuf::from(format!("{}/{key}", bucket.address()));
        let create = || {
            let file = tempfile::tempfile()?;
            Ok((file.try_clone()?, file))
        };
        let (into, mut file) = create().doing("write in", &std::env::temp_dir())?;
        let Some(entry) = bucket.head(&key).await? else { return Err(failure.clone()) };
        download_into(bucket, &entry, into, &shown).await?;
        let listed = listed.clone();
        run_blocking(move || {
            file.rewind().doing("read", &shown)?;
            ResultList::from_file(file, &listed, shown)
        })
        .await
    }

    /// The key of one of the job's files.
    fn key(&self, path: &str, prefix: &str) -> Result<Key> {
        let below = format!("{RESULTS}/{}/", self.job.id);
        Key::new(format!("{prefix}{}", path.strip_prefix(&below).unwrap_or(path)))
    }

    async fn check(&self, result: &ResultFile) -> Result<VerifyRecord> {
        let io_dir = match &self.io_dir {
            LocalCopy::Unchecked => None,
            LocalCopy::Absent => Some(FileState::Missing),
            LocalCopy::Folder(io_dir) => Some(check_file(result, io_dir).await?),
        };
        let bucket = match &self.bucket {
            None => None,
            Some((bucket, prefix)) => Some(check_object(result, bucket, &self.key(&result.path, prefix)?).await?),
        };
        Ok(VerifyRecord { path: result.path.clone(), sha256: result.sha256.clone(), io_dir, bucket })
    }
}

async fn check_file(result: &ResultFile, io_dir: &Folder) -> Result<FileState> {
    let path = Path::new(&result.path);
    let Some(expected) = &result.sha256 else {
        return Ok(if io_dir.has(path) { FileState::Same } else { FileState::Missing });
    };
    let file = match io_dir.open_file(path) {
        Ok((file, _)) => file,
        Err(failure) if matches!(failure.kind, Kind::FileNotFound | Kind::BadKey) => return Ok(FileState::Missing),
        // Not a regular file, or a link that leads out.
        Err(failure) if failure.kind == Kind::UnsafePath => return Ok(FileState::Different),
        Err(failure) => return Err(failure),
    };
    let sum = ncaas_core::transfer::open_file_sha256(file, io_dir.path().join(path)).await?;
    Ok(if sum == *expected { FileState::Same } else { FileState::Different })
}

/// Reads the whole object: a checksum that a server stored only proves what was uploaded.
async fn check_object(result: &ResultFile, bucket: &Bucket, key: &Key) -> Result<FileState> {
    // Empty folders are not stored in buckets.
    if key.is_folder() {
        return Ok(FileState::Same);
    }
    let Some(entry) = bucket.head(key).await? else { return Ok(FileState::Missing) };
    match &result.sha256 {
        None => Ok(FileState::Same),
        Some(_) if entry.size != result.size => Ok(FileState::Different),
        Some(expected) => match object_sha256(bucket, &entry).await {
            Ok(sum) if sum == *expected => Ok(FileState::Same),
            Ok(_) => Ok(FileState::Different),
            Err(failure) if failure.kind == Kind::ChecksumMismatch => Ok(FileState::Different),
            Err(failure) => Err(failure),
        },
    }
}
