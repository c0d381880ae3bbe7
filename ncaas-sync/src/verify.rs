//! `ncaas-sync verify`: every file of a job against the SHA-256 in its record, in the io-dir and in the bucket.
//!
//! A list of results that is in the bucket alone is copied below TMPDIR, under no name.

use std::collections::BTreeMap;
use std::io::Seek;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, stream};
use ncaas_core::bucket::{Bucket, Key, Target};
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::files;
use ncaas_core::layout::{LOGS, RESULTS};
use ncaas_core::pipe::{Input, MAX_LINE, Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Job, Known, ResultFile, ResultsFile};
use ncaas_core::tool::{ExitStatus, Tool};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::VerifyArgs;
use crate::buckets::Buckets;
use crate::jobs;
use crate::report::write;
use crate::results::Results;
use ncaas_core::blocking::run_blocking;
use ncaas_core::folder::Folder;
use ncaas_core::transfer::{download_into, object_sha256};

/// How many jobs are verified at once.
const AT_ONCE: usize = 2;
/// How many files of one.
const FILES_AT_ONCE: usize = 8;
/// How the name of a saved record ends.
const RECORD: &str = ".record.json";

/// How one file of a job is found: a line of `--files`.
#[derive(Debug, Serialize, JsonSchema)]
struct VerifyRecord {
    /// Relative to the io-dir, as in the job's record.
    path: String,
    /// SHA-256 that the job's record has, in hex; none for a link.
    sha256: Option<String>,
    /// How it is found on this machine; null where that was not asked for.
    io_dir: Option<Found>,
    /// How it is found in the bucket; null where that was not asked for.
    bucket: Option<Found>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Found {
    /// Its content is what the record says.
    Same,
    /// Its content is another.
    Different,
    /// It is not there.
    Missing,
}

pub(crate) async fn verify(tool: Tool, args: VerifyArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    let verifying = Verifying { buckets: Buckets::default(), args: &args };
    let input = match (&args.target, &args.job) {
        (Some(target), Some(job)) => Input::records(verifying.saved(target, job).await?),
        _ => Input::stdin(tool, "ncaas-sync push | ncaas-sync verify")?,
    };
    let pipe = Pipe::new(tool, args.pipe.jobs_or(AT_ONCE));
    pipe.filter(input, async |record: &mut Record, output: &Output| verifying.one(record, output).await).await
}

struct Verifying<'v> {
    buckets: Buckets,
    args: &'v VerifyArgs,
}

impl Verifying<'_> {
    /// The records of a job, saved in its bucket.
    async fn saved(&self, target: &str, job: &str) -> Result<Vec<Record>> {
        let target = Target::parse(target)?;
        let bucket = self.buckets.get(&target.bucket).await?;
        let folder = Key::new(format!("{}/{RESULTS}/{job}/{LOGS}/", target.group))?;
        let mut listing = bucket.list_folder(folder.as_str(), None);
        let mut records = Vec::new();
        while let Some(page) = listing.next_page().await? {
            for entry in page.entries.into_iter().filter(|entry| entry.key.as_str().ends_with(RECORD)) {
                let (line, _) = bucket.read(&entry.key, MAX_LINE as u64).await?;
                let mut record = Record::parse(&line)?;
                // An error that the job ended with is no reason not to look at its files; and the io-dir it was run in
                // may be another machine's.
                let io_dir = files::absolute(&self.args.io_dir.io_dir)?.join(&target.group);
                record.set("io_dir", &io_dir.to_string_lossy());
                record.set("error", &());
                records.push(record);
            }
        }
        if records.is_empty() {
            let words = format!("no record of the job `{job}` in `{}/{folder}`", bucket.address());
            return Err(
                Failure::new(Kind::ObjectNotFound, words).hint("it is there when the job has ended and been pushed")
            );
        }
        Ok(records)
    }

    async fn one(&self, record: &mut Record, output: &Output) -> Result<()> {
        let told = record.results_file();
        if record.results().is_none() && told.is_none() {
            return Err(Failure::missing_field("results").hint("`ncaas-sync collect` lists them, with their checksums"));
        }
        jobs::fill_io_dir(record, &self.args.io_dir.io_dir)?;
        let io_dir = Path::new(record.require("io_dir")?);
        let job = record.job().unwrap_or_default();
        let (here, there) = match (self.args.io_dir_only, self.args.bucket_only) {
            (true, _) => (true, false),
            (_, true) => (false, true),
            _ => (true, true),
        };
        let bucket = match there {
            true => self.bucket(record, &job).await?,
            false => None,
        };
        // A folder that is not there has none of the files.
        let folder = if here { Some(Folder::open(io_dir).ok()) } else { None };
        let results = match &told {
            None => Results::of(record.results().unwrap_or_default()),
            Some(told) => listed(told, folder.as_ref(), bucket.as_ref(), &job).await?,
        };
        // The list is itself a file of the job.
        let list = told.map(|told| ResultFile {
            path: told.path,
            size: told.size,
            sha256: Some(told.sha256),
            ..ResultFile::default()
        });
        let (folder, bucket, job) = (folder.as_ref(), bucket.as_ref(), &job);
        let each = results.chain(list.map(Ok)).map(async |result| look(&result?, folder, bucket, job).await);
        let mut looked = stream::iter(each).buffer_unordered(FILES_AT_ONCE);
        let mut faults: BTreeMap<String, usize> = BTreeMap::new();
        let (mut first, mut files) = (None, 0_u64);
        while let Some(found) = looked.next().await {
            let found = found?;
            files += 1;
            for (place, state) in [("in the io-dir", found.io_dir), ("in the bucket", found.bucket)] {
                if let Some(state) = state.filter(|state| *state != Found::Same) {
                    let word = if state == Found::Missing { "missing" } else { "different" };
                    *faults.entry(format!("{word} {place}")).or_default() += 1;
                    first.get_or_insert_with(|| found.path.clone());
                }
            }
            if self.args.files {
                write(output, &found).await;
            }
        }
        let Some(first) = first else { return Ok(()) };
        let faults: Vec<String> = faults.into_iter().map(|(what, count)| format!("{count} {what}")).collect();
        let words = format!("of {files} files that `{}` made, {} (`{first}`)", job.id, faults.join(", "));
        Err(Failure::new(Kind::ChecksumMismatch, words).hint("`ncaas-sync verify --files` shows each"))
    }

    /// The job's bucket and the prefix of its folder, if it has one.
    async fn bucket(&self, record: &Record, job: &Job) -> Result<Option<(Bucket, String)>> {
        let (Some(address), Some(group)) = (&job.bucket, &job.group) else { return Ok(None) };
        if let Some(path) = record.text("resultpath") {
            let (bucket, key) = self.buckets.find("", path.trim_end_matches('/')).await?;
            return Ok(Some((bucket, format!("{}/{}/", key.as_str(), job.id))));
        }
        Ok(Some((self.buckets.get(address).await?, format!("{group}/{RESULTS}/{}/", job.id))))
    }
}

/// The results in a file: the one in the io-dir, where that is what the record says, else the one in the bucket.
async fn listed(
    told: &ResultsFile,
    folder: Option<&Option<Folder>>,
    bucket: Option<&(Bucket, String)>,
    job: &Job,
) -> Result<Results> {
    let mut here = Err(Failure::new(Kind::FileNotFound, format!("no `{}`, which lists the job's results", told.path)));
    if let Some(Some(folder)) = folder {
        let path = Path::new(&told.path);
        let (told, shown) = (told.clone(), folder.path().join(path));
        here = match folder.open_file(path) {
            Ok((file, _)) => run_blocking(move || Results::filed(file, &told, shown)).await,
            Err(failure) => Err(failure),
        };
    }
    let (Err(failure), Some((bucket, prefix))) = (&here, bucket) else { return here };
    let key = key(&told.path, prefix, job)?;
    let shown = PathBuf::from(format!("{}/{key}", bucket.address()));
    let copy = || {
        let file = tempfile::tempfile()?;
        Ok((file.try_clone()?, file))
    };
    let (into, mut file) = copy().doing("write in", &std::env::temp_dir())?;
    let Some(entry) = bucket.head(&key).await? else { return Err(failure.clone()) };
    download_into(bucket, &entry, into, &shown).await?;
    let told = told.clone();
    run_blocking(move || {
        file.rewind().doing("read", &shown)?;
        Results::filed(file, &told, shown)
    })
    .await
}

/// The key of a path of the job's.
fn key(path: &str, prefix: &str, job: &Job) -> Result<Key> {
    let below = format!("{RESULTS}/{}/", job.id);
    Key::new(format!("{prefix}{}", path.strip_prefix(&below).unwrap_or(path)))
}

async fn look(
    result: &ResultFile,
    folder: Option<&Option<Folder>>,
    bucket: Option<&(Bucket, String)>,
    job: &Job,
) -> Result<VerifyRecord> {
    let mut found =
        VerifyRecord { path: result.path.clone(), sha256: result.sha256.clone(), io_dir: None, bucket: None };
    if let Some(folder) = folder {
        found.io_dir = Some(match folder {
            Some(folder) => here(result, folder).await?,
            None => Found::Missing,
        });
    }
    if let Some((bucket, prefix)) = bucket {
        found.bucket = Some(there(result, bucket, &key(&result.path, prefix, job)?).await?);
    }
    Ok(found)
}

async fn here(result: &ResultFile, folder: &Folder) -> Result<Found> {
    let path = Path::new(&result.path);
    let Some(expected) = &result.sha256 else {
        return Ok(if folder.has(path) { Found::Same } else { Found::Missing });
    };
    let file = match folder.open_file(path) {
        Ok((file, _)) => file,
        Err(failure) if matches!(failure.kind, Kind::FileNotFound | Kind::BadKey) => return Ok(Found::Missing),
        // Something else is there: a folder, a device, or a link that leads out.
        Err(failure) if failure.kind == Kind::UnsafePath => return Ok(Found::Different),
        Err(failure) => return Err(failure),
    };
    let shown = folder.path().join(path);
    let sum = ncaas_core::transfer::open_file_sha256(file, shown).await?;
    Ok(if sum == *expected { Found::Same } else { Found::Different })
}

/// The whole content is read: a checksum that a server has stored says what it was once given.
async fn there(result: &ResultFile, bucket: &Bucket, key: &Key) -> Result<Found> {
    let Some(entry) = bucket.head(key).await? else { return Ok(Found::Missing) };
    match &result.sha256 {
        None => Ok(Found::Same),
        Some(_) if entry.size != result.size => Ok(Found::Different),
        Some(expected) => match object_sha256(bucket, &entry).await {
            Ok(sum) if sum == *expected => Ok(Found::Same),
            Ok(_) => Ok(Found::Different),
            Err(failure) if failure.kind == Kind::ChecksumMismatch => Ok(Found::Different),
            Err(failure) => Err(failure),
        },
    }
}
