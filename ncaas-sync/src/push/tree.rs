//! Any folder goes to any prefix.

use std::path::Path;
use std::pin::pin;

use futures_util::StreamExt;
use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files;
use ncaas_core::pipe::Output;
use ncaas_core::tool::Tool;

use crate::place::Place;
use crate::report::{FileOutcome, FileRecord, Tally, emit};
use crate::tree::{Both, Pair, Remote, What};
use ncaas_core::folder::Folder;
use ncaas_core::transfer::Transfer;

/// What the command line says about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// How many files are on their way at once.
    pub(crate) jobs: usize,
    /// Remove objects that have no file.
    pub(crate) delete: bool,
    /// Read files even if the index knows them.
    pub(crate) reread: bool,
    /// Write a record for each file.
    pub(crate) files: bool,
}

/// Pushes a folder; the outcome goes to `output`.
pub(crate) async fn push(tool: Tool, folder: &Path, place: &Place, how: How, output: &Output) -> Result<()> {
    let path = files::absolute(folder)?;
    let bucket = Bucket::open(&place.bucket).await?;
    let transfer = Transfer::new(bucket.clone(), Folder::open(&path)?, &place.prefix, how.reread);
    let mut pushing = Pushing {
        tool,
        transfer: &transfer,
        prefix: &place.prefix,
        how,
        deletes: Vec::new(),
        unusable: Vec::new(),
        tally: Tally::new(tool, output, how.files, &path, format!("{}/{}", bucket.address(), place.prefix)),
    };
    pushing.all().await?;
    pushing.delete().await;
    transfer.save_index();
    emit(output, &pushing.tally.total).await;
    Ok(())
}

struct Pushing<'p> {
    tool: Tool,
    transfer: &'p Transfer,
    prefix: &'p str,
    how: How,
    /// Paths in the bucket that have no file.
    deletes: Vec<String>,
    /// Paths that cannot go into a bucket. What lies below one may have come there otherwise: it stays.
    unusable: Vec<String>,
    tally: Tally<'p>,
}

impl Pushing<'_> {
    async fn all(&mut self) -> Result<()> {
        let (tool, transfer, prefix) = (self.tool, self.transfer, self.prefix);
        let both = Both::new(transfer.folder().clone(), transfer.bucket(), prefix);
        let steps = both.pairs().map(async |pair: Result<Pair>| match pair? {
            Pair { path, local: None, remote } => Ok(Step::NoFile(path, remote)),
            Pair { path, local: Some(local), remote } => {
                Ok(Step::File(one(tool, transfer, prefix, path, local, remote).await))
            }
        });
        let mut steps = pin!(steps.buffer_unordered(self.how.jobs));
        while let Some(step) = steps.next().await {
            match step? {
                Step::NoFile(path, remote) => self.has_no_file(&path, remote),
                Step::File(file) => self.note(file).await,
            }
        }
        Ok(())
    }

    fn has_no_file(&mut self, path: &str, remote: Option<Remote>) {
        let is_folder_with_files = path.ends_with('/') && self.transfer.folder().has(Path::new(path));
        if self.how.delete && matches!(remote, Some(Remote::Object(_))) && !is_folder_with_files {
            self.deletes.push(path.to_owned());
        }
    }

    async fn note(&mut self, file: FileRecord) {
        if file.outcome == FileOutcome::LeftOut {
            self.unusable.push(format!("{}/", file.path));
        }
        self.tally.note(&file).await;
    }

    /// Removes what has no file, unless it is not certain that there is none.
    async fn delete(&mut self) {
        let mut deletes = std::mem::take(&mut self.deletes);
        deletes.retain(|path| !self.unusable.iter().any(|folder| path.starts_with(folder)));
        if deletes.is_empty() {
            return;
        }
        let kept = match () {
            () if self.tally.total.files == 0 => Some("the folder is empty"),
            () if self.tally.total.failed > 0 => Some("not everything in the folder was brought there"),
            () => None,
        };
        if let Some(why) = kept {
            return self.tally.nothing_deleted(&format!("{} objects that have no file", deletes.len()), why);
        }
        for path in deletes {
            let key = format!("{}{path}", self.prefix);
            let deleted = match Key::new(key.as_str()) {
                Ok(key) => self.transfer.bucket().delete(&key).await,
                Err(failure) => Err(failure),
            };
            let file = match deleted {
                Ok(()) => FileRecord::plain(&path, &key, FileOutcome::Deleted),
                Err(failure) => FileRecord::failed(&path, &key, FileOutcome::Failed, &failure, self.tool),
            };
            self.note(file).await;
        }
    }
}

/// What came of one path.
enum Step {
    File(FileRecord),
    NoFile(String, Option<Remote>),
}

/// One file's way.
async fn one(
    tool: Tool,
    transfer: &Transfer,
    prefix: &str,
    path: String,
    local: What,
    remote: Option<Remote>,
) -> FileRecord {
    let key = format!("{prefix}{path}");
    let there = match remote {
        Some(Remote::Object(entry)) => Some(entry),
        _ => None,
    };
    let outcome = match local {
        What::Unusable(why) => return FileRecord::failed(&path, &key, FileOutcome::LeftOut, &why, tool),
        What::EmptyFolder if there.is_some() => return FileRecord::plain(&path, &key, FileOutcome::Unchanged),
        What::EmptyFolder => match Key::new(key.as_str()) {
            Ok(folder) => match transfer.create_empty_folder(&folder).await {
                Ok(true) => Ok(FileRecord::plain(&path, &key, FileOutcome::New)),
                Ok(false) => {
                    let why = format!("`{path}` cannot go into a bucket: its server keeps no empty folders");
                    let why = Failure::new(Kind::BucketError, why);
                    Ok(FileRecord::failed(&path, &key, FileOutcome::LeftOut, &why, tool))
                }
                Err(failure) => Err(failure),
            },
            Err(failure) => Err(failure),
        },
        What::File(stamp) => match Key::new(key.as_str()) {
            Ok(object) => {
                let done =
                    transfer.upload_if_changed(Path::new(&path), &object, there.as_ref(), Some(&stamp), None).await;
                done.map(|done| FileRecord::done(&path, &key, &done))
            }
            Err(failure) => Err(failure),
        },
    };
    outcome.unwrap_or_else(|failure| FileRecord::failed(&path, &key, FileOutcome::Failed, &failure, tool))
}
