//! Uploads a folder to a prefix.

use std::path::Path;
use std::pin::pin;

use futures_util::StreamExt;
use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files;
use ncaas_core::pipe::Output;
use ncaas_core::tool::Tool;

use super::DEFAULT_FILES;
use crate::args::PushArgs;
use crate::bucket_prefix::BucketPrefix;
use crate::paired_listing::{LocalEntry, Pair, PairedListing, RemoteEntry};
use crate::transfer_report::{FileOutcome, FileRecord, Tally, emit};
use ncaas_core::folder::Folder;
use ncaas_core::transfer::Transfer;

/// Uploads a folder and writes the outcome to `output`.
pub(crate) async fn push(
    tool: Tool,
    folder: &Path,
    target: &BucketPrefix,
    args: &PushArgs,
    output: &Output,
) -> Result<()> {
    let path = files::absolute(folder)?;
    let bucket = Bucket::open(&target.bucket).await?;
    let transfer = Transfer::new(bucket.clone(), Folder::open(&path)?, &target.prefix, args.checksum.reread);
    let address = format!("{}/{}", bucket.address(), target.prefix);
    let mut upload = TreeUpload {
        tool,
        transfer: &transfer,
        prefix: &target.prefix,
        args,
        without_file: Vec::new(),
        left_out: Vec::new(),
        tally: Tally::new(tool, output, args.files, &path, address),
    };
    upload.push_files().await?;
    upload.delete().await;
    transfer.save_index();
    emit(output, &upload.tally.finish()).await;
    Ok(())
}

struct TreeUpload<'p> {
    tool: Tool,
    transfer: &'p Transfer,
    prefix: &'p str,
    args: &'p PushArgs,
    /// Paths of objects that have no file.
    without_file: Vec<String>,
    /// Paths that cannot be stored in a bucket, with a `/`. Objects below them may come from elsewhere and are kept.
    left_out: Vec<String>,
    tally: Tally<'p>,
}

impl TreeUpload<'_> {
    async fn push_files(&mut self) -> Result<()> {
        let (tool, transfer, prefix) = (self.tool, self.transfer, self.prefix);
        let listing = PairedListing::new(transfer.folder().clone(), transfer.bucket(), prefix);
        let paths = listing.pairs().map(async |pair: Result<Pair>| match pair? {
            Pair { path, local: None, remote } => Ok(PushedPath::WithoutFile(path, remote)),
            Pair { path, local: Some(local), remote } => {
                Ok(PushedPath::File(push_entry(tool, transfer, prefix, path, local, remote).await))
            }
        });
        let mut paths = pin!(paths.buffer_unordered(self.args.pipe.jobs_or(DEFAULT_FILES)));
        while let Some(path) = paths.next().await {
            match path? {
                PushedPath::WithoutFile(path, remote) => self.note_without_file(&path, remote),
                PushedPath::File(file) => self.report(file).await,
            }
        }
        Ok(())
    }

    fn note_without_file(&mut self, path: &str, remote: Option<RemoteEntry>) {
        let is_folder_with_files = path.ends_with('/') && self.transfer.folder().has(Path::new(path));
        if self.args.delete && matches!(remote, Some(RemoteEntry::Object(_))) && !is_folder_with_files {
            self.without_file.push(path.to_owned());
        }
    }

    async fn report(&mut self, file: FileRecord) {
        if file.outcome == FileOutcome::LeftOut {
            self.left_out.push(format!("{}/", file.path));
        }
        self.tally.note(&file).await;
    }

    /// Deletes objects that have no file, unless that is not certain.
    async fn delete(&mut self) {
        let mut paths = std::mem::take(&mut self.without_file);
        paths.retain(|path| !self.left_out.iter().any(|folder| path.starts_with(folder)));
        if paths.is_empty() {
            return;
        }
        let obstacle = if self.tally.total.files == 0 {
            Some("the folder is empty")
        } else if self.tally.total.failed > 0 {
            Some("not all files of the folder were uploaded")
        } else {
            None
        };
        if let Some(reason) = obstacle {
            return self.tally.report_no_deletion(&format!("{} objects that have no file", paths.len()), reason);
        }
        for path in paths {
            let key = format!("{}{path}", self.prefix);
            let deleted = match Key::new(key.as_str()) {
                Ok(key) => self.transfer.bucket().delete(&key).await,
                Err(failure) => Err(failure),
            };
            let file = match deleted {
                Ok(()) => FileRecord::plain(&path, &key, FileOutcome::Deleted),
                Err(failure) => FileRecord::failed(&path, &key, FileOutcome::Failed, &failure, self.tool),
            };
            self.report(file).await;
        }
    }
}

/// What was done with one path.
enum PushedPath {
    File(FileRecord),
    WithoutFile(String, Option<RemoteEntry>),
}

async fn push_entry(
    tool: Tool,
    transfer: &Transfer,
    prefix: &str,
    path: String,
    local: LocalEntry,
    remote: Option<RemoteEntry>,
) -> FileRecord {
    let key = format!("{prefix}{path}");
    let existing = match remote {
        Some(RemoteEntry::Object(entry)) => Some(entry),
        _ => None,
    };
    let outcome = match local {
        LocalEntry::Unusable(reason) => {
            return FileRecord::failed(&path, &key, FileOutcome::LeftOut, &reason, tool);
        }
        LocalEntry::EmptyFolder if existing.is_some() => {
            return FileRecord::plain(&path, &key, FileOutcome::Unchanged);
        }
        LocalEntry::EmptyFolder => match Key::new(key.as_str()) {
            Ok(folder) => match transfer.create_empty_folder(&folder).await {
                Ok(true) => Ok(FileRecord::plain(&path, &key, FileOutcome::New)),
                Ok(false) => {
                    let message = format!("`{path}` cannot be stored in a bucket: its server keeps no empty folders");
                    let reason = Failure::new(Kind::BucketError, message);
                    Ok(FileRecord::failed(&path, &key, FileOutcome::LeftOut, &reason, tool))
                }
                Err(failure) => Err(failure),
            },
            Err(failure) => Err(failure),
        },
        LocalEntry::File(stamp) => match Key::new(key.as_str()) {
            Ok(object) => {
                let done =
                    transfer.upload_if_changed(Path::new(&path), &object, existing.as_ref(), Some(&stamp), None).await;
                done.map(|done| FileRecord::done(&path, &key, &done))
            }
            Err(failure) => Err(failure),
        },
    };
    outcome.unwrap_or_else(|failure| FileRecord::failed(&path, &key, FileOutcome::Failed, &failure, tool))
}
