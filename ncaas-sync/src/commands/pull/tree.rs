//! Downloads everything under a prefix into a folder.

use std::path::Path;
use std::pin::pin;

use futures_util::StreamExt;
use ncaas_core::failure::Result;
use ncaas_core::layout::STATE_FOLDER;
use ncaas_core::pipe::Output;
use ncaas_core::tool::Tool;

use super::DEFAULT_FILES;
use crate::args::PullArgs;
use crate::paired_listing::{LocalEntry, Pair, PairedListing, RemoteEntry};
use crate::transfer_report::{FileOutcome, FileRecord, Tally, TreeRecord};
use ncaas_core::transfer::Transfer;

/// Downloads everything under `prefix`, which is empty or ends in `/`. Returns the outcome.
pub(crate) async fn pull(
    tool: Tool,
    transfer: &Transfer,
    prefix: &str,
    args: &PullArgs,
    output: &Output,
) -> Result<TreeRecord> {
    let mut download = TreeDownload {
        tool,
        transfer,
        prefix,
        args,
        without_object: Vec::new(),
        complete: true,
        tally: Tally::new(
            tool,
            output,
            args.files,
            transfer.folder().path(),
            format!("{}/{prefix}", transfer.bucket().address()),
        ),
    };
    download.pull_objects().await?;
    download.delete().await;
    transfer.save_index();
    Ok(download.tally.finish())
}

struct TreeDownload<'d> {
    tool: Tool,
    transfer: &'d Transfer,
    prefix: &'d str,
    args: &'d PullArgs,
    /// Paths of files that have no object.
    without_object: Vec<String>,
    /// Whether every object could be used.
    complete: bool,
    tally: Tally<'d>,
}

impl TreeDownload<'_> {
    async fn pull_objects(&mut self) -> Result<()> {
        let (tool, transfer, prefix) = (self.tool, self.transfer, self.prefix);
        let listing = PairedListing::new(transfer.folder().clone(), transfer.bucket(), prefix);
        let paths = listing.pairs().map(async |pair: Result<Pair>| match pair? {
            Pair { path, remote: None, .. } => Ok(PulledPath::WithoutObject(path)),
            // A group cannot write to the tools' own folder.
            Pair { path, .. } if path.split('/').next() == Some(STATE_FOLDER) => Ok(PulledPath::Skipped),
            Pair { path, local, remote: Some(remote) } => {
                Ok(PulledPath::Object(pull_entry(tool, transfer, prefix, path, local, remote).await))
            }
        });
        let mut paths = pin!(paths.buffer_unordered(self.args.pipe.jobs_or(DEFAULT_FILES)));
        while let Some(path) = paths.next().await {
            match path? {
                PulledPath::WithoutObject(path) => self.note_without_object(path),
                PulledPath::Object(file) => self.report(file).await,
                PulledPath::Skipped => {}
            }
        }
        Ok(())
    }

    fn note_without_object(&mut self, path: String) {
        // Empty folders are kept.
        if self.args.delete && !path.ends_with('/') {
            self.without_object.push(path);
        }
    }

    async fn report(&mut self, file: FileRecord) {
        self.complete &= file.outcome != FileOutcome::LeftOut;
        self.tally.note(&file).await;
    }

    /// Deletes files that have no object, unless that is not certain.
    async fn delete(&mut self) {
        if self.without_object.is_empty() {
            return;
        }
        let obstacle = if self.tally.total.files == 0 {
            Some("the bucket has no objects there")
        } else if !self.complete {
            Some("not all objects could be used")
        } else if self.tally.total.failed > 0 {
            Some("not all objects were downloaded")
        } else {
            None
        };
        if let Some(reason) = obstacle {
            return self
                .tally
                .report_no_deletion(&format!("{} files that have no object", self.without_object.len()), reason);
        }
        for path in std::mem::take(&mut self.without_object) {
            let key = format!("{}{path}", self.prefix);
            let file = match self.transfer.folder().dir().remove_file(&path) {
                Ok(()) => FileRecord::plain(&path, &key, FileOutcome::Deleted),
                Err(error) => {
                    let failure = self.transfer.folder().failure("delete", Path::new(&path), &error);
                    FileRecord::failed(&path, &key, FileOutcome::Failed, &failure, self.tool)
                }
            };
            self.report(file).await;
        }
    }
}

/// What was done with one path.
enum PulledPath {
    Object(FileRecord),
    WithoutObject(String),
    Skipped,
}

async fn pull_entry(
    tool: Tool,
    transfer: &Transfer,
    prefix: &str,
    path: String,
    local: Option<LocalEntry>,
    remote: RemoteEntry,
) -> FileRecord {
    let key = format!("{prefix}{path}");
    let outcome = match remote {
        RemoteEntry::Unusable(reason) => return FileRecord::failed(&path, &key, FileOutcome::LeftOut, &reason, tool),
        RemoteEntry::Object(entry) if entry.key.is_folder() => {
            let exists = matches!(local, Some(LocalEntry::EmptyFolder)) || transfer.folder().dir().is_dir(&path);
            let outcome = if exists { FileOutcome::Unchanged } else { FileOutcome::New };
            transfer.folder().create_folder(Path::new(&path)).map(|()| FileRecord::plain(&path, &key, outcome))
        }
        RemoteEntry::Object(entry) => {
            let done = match local {
                None => transfer.download_new(&entry, Path::new(&path)).await,
                Some(LocalEntry::File(stamp)) => {
                    transfer.download_if_changed(&entry, Path::new(&path), Some(&stamp)).await
                }
                Some(_) => transfer.download_if_changed(&entry, Path::new(&path), None).await,
            };
            done.map(|done| FileRecord::done(&path, &key, &done))
        }
    };
    outcome.unwrap_or_else(|failure| FileRecord::failed(&path, &key, FileOutcome::Failed, &failure, tool))
}
