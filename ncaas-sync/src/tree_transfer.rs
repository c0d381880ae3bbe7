//! Downloads everything under a prefix into a folder, or uploads a folder to a prefix.

use std::path::Path;
use std::pin::pin;

use futures_util::StreamExt;
use ncaas_core::bucket::Key;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::STATE_FOLDER;
use ncaas_core::pipe::Output;
use ncaas_core::tool::Tool;
use ncaas_core::transfer::Transfer;

use crate::paired_listing::{LocalEntry, PairedListing, PathPair, RemoteEntry};
use crate::transfer_report::{FileOutcome, FileRecord, Tally, TreeRecord};

/// The side that is the destination.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Download,
    Upload,
}

/// A folder and its counterpart in a bucket.
#[derive(Clone, Copy)]
pub(crate) struct Tree<'t> {
    pub(crate) tool: Tool,
    pub(crate) transfer: &'t Transfer,
    /// Empty, or ends in `/`.
    pub(crate) prefix: &'t str,
    pub(crate) direction: Direction,
}

enum PathOutcome {
    Transferred(FileRecord),
    /// Only the destination has it.
    Surplus(String),
    Skipped,
}

impl Tree<'_> {
    /// Transfers all files, `jobs` of them at once, and returns the outcome. `delete`: also deletes what only the
    /// destination has. `files`: writes a record for each file.
    pub(crate) async fn run(self, jobs: usize, delete: bool, files: bool, output: &Output) -> Result<TreeRecord> {
        let (folder, bucket) = (self.transfer.folder(), self.transfer.bucket());
        let address = format!("{}/{}", bucket.address(), self.prefix);
        let mut tally = Tally::new(self.tool, output, files, folder.path(), address);
        let (mut surplus, mut left_out) = (Vec::new(), Vec::new());
        let listing = PairedListing::new(folder.clone(), bucket, self.prefix);
        let paths = listing.pairs().map(async |pair: Result<PathPair>| Ok(self.transfer_pair(pair?).await));
        let mut paths = pin!(paths.buffer_unordered(jobs));
        while let Some(path) = paths.next().await {
            match path? {
                PathOutcome::Transferred(file) => {
                    if file.outcome == FileOutcome::LeftOut {
                        left_out.push(format!("{}/", file.path));
                    }
                    tally.note(&file).await;
                }
                PathOutcome::Surplus(path) => surplus.extend(delete.then_some(path)),
                PathOutcome::Skipped => {}
            }
        }
        self.delete_surplus(surplus, &left_out, &mut tally).await;
        self.transfer.save_index();
        Ok(tally.finish())
    }

    async fn transfer_pair(self, PathPair { path, local, remote }: PathPair) -> PathOutcome {
        let is_folder = path.ends_with('/');
        let transferred = match (self.direction, local, remote) {
            // Empty folders are kept.
            (Direction::Download, _, None) if is_folder => return PathOutcome::Skipped,
            (Direction::Download, _, None) => return PathOutcome::Surplus(path),
            // A group cannot write to the tools' own folder.
            (Direction::Download, ..) if path.split('/').next() == Some(STATE_FOLDER) => return PathOutcome::Skipped,
            (Direction::Download, local, Some(remote)) => self.download(&path, local, remote).await,
            (Direction::Upload, Some(local), remote) => self.upload(&path, local, remote).await,
            (Direction::Upload, None, Some(RemoteEntry::Object(_)))
                if !is_folder || !self.transfer.folder().has(Path::new(&path)) =>
            {
                return PathOutcome::Surplus(path);
            }
            (Direction::Upload, None, _) => return PathOutcome::Skipped,
        };
        PathOutcome::Transferred(transferred.unwrap_or_else(|failure| self.failed(&path, &failure)))
    }

    async fn download(self, path: &str, local: Option<LocalEntry>, remote: RemoteEntry) -> Result<FileRecord> {
        let entry = match remote {
            RemoteEntry::Unusable(reason) => return Ok(self.left_out(path, &reason)),
            RemoteEntry::Object(entry) => entry,
        };
        let (folder, file) = (self.transfer.folder(), Path::new(path));
        if entry.key.is_folder() {
            let exists = matches!(local, Some(LocalEntry::EmptyFolder)) || folder.dir().is_dir(path);
            folder.create_folder(file)?;
            return Ok(self.record(path, if exists { FileOutcome::Unchanged } else { FileOutcome::New }));
        }
        let done = match local {
            None => self.transfer.download_new(&entry, file).await?,
            Some(LocalEntry::File(stamp)) => self.transfer.download_if_changed(&entry, file, Some(&stamp)).await?,
            Some(_) => self.transfer.download_if_changed(&entry, file, None).await?,
        };
        Ok(FileRecord::done(path, &self.key_text(path), &done))
    }

    async fn upload(self, path: &str, local: LocalEntry, remote: Option<RemoteEntry>) -> Result<FileRecord> {
        let existing = match remote {
            Some(RemoteEntry::Object(entry)) => Some(entry),
            _ => None,
        };
        match local {
            LocalEntry::Unusable(reason) => Ok(self.left_out(path, &reason)),
            LocalEntry::EmptyFolder if existing.is_some() => Ok(self.record(path, FileOutcome::Unchanged)),
            LocalEntry::EmptyFolder if self.transfer.create_empty_folder(&self.key(path)?).await? => {
                Ok(self.record(path, FileOutcome::New))
            }
            LocalEntry::EmptyFolder => {
                let message = format!("`{path}` cannot be stored in a bucket: its server keeps no empty folders");
                Ok(self.left_out(path, &Failure::new(Kind::BucketError, message)))
            }
            LocalEntry::File(stamp) => {
                let (file, key) = (Path::new(path), self.key(path)?);
                let done = self.transfer.upload_if_changed(file, &key, existing.as_ref(), Some(&stamp), None).await?;
                Ok(FileRecord::done(path, key.as_str(), &done))
            }
        }
    }

    /// Deletes files that only the destination has, unless that is not certain. Files below a path that was left out
    /// may come from elsewhere and is kept.
    async fn delete_surplus(self, mut surplus: Vec<String>, left_out: &[String], tally: &mut Tally<'_>) {
        let is_upload = self.direction == Direction::Upload;
        surplus.retain(|path| !is_upload || !left_out.iter().any(|folder| path.starts_with(folder)));
        if surplus.is_empty() {
            return;
        }
        let has_failures = tally.total.failed > 0;
        let obstacle = match (self.direction, tally.total.files == 0) {
            (Direction::Download, true) => Some("the bucket has no objects there"),
            (Direction::Download, _) if !left_out.is_empty() => Some("not all objects could be used"),
            (Direction::Download, _) => has_failures.then_some("not all objects were downloaded"),
            (Direction::Upload, true) => Some("the folder is empty"),
            (Direction::Upload, _) => has_failures.then_some("not all files of the folder were uploaded"),
        };
        if let Some(reason) = obstacle {
            let candidates = if is_upload { "objects that have no file" } else { "files that have no object" };
            return tally.report_no_deletion(&format!("{} {candidates}", surplus.len()), reason);
        }
        for path in surplus {
            let deleted = self.delete(&path).await.map(|()| self.record(&path, FileOutcome::Deleted));
            tally.note(&deleted.unwrap_or_else(|failure| self.failed(&path, &failure))).await;
        }
    }

    async fn delete(self, path: &str) -> Result<()> {
        let folder = self.transfer.folder();
        match self.direction {
            Direction::Upload => self.transfer.bucket().delete(&self.key(path)?).await,
            Direction::Download => {
                folder.dir().remove_file(path).map_err(|error| folder.failure("delete", Path::new(path), &error))
            }
        }
    }

    fn key_text(self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    fn key(self, path: &str) -> Result<Key> {
        Key::new(self.key_text(path))
    }

    fn record(self, path: &str, outcome: FileOutcome) -> FileRecord {
        FileRecord::plain(path, &self.key_text(path), outcome)
    }

    fn left_out(self, path: &str, reason: &Failure) -> FileRecord {
        FileRecord::failed(path, &self.key_text(path), FileOutcome::LeftOut, reason, self.tool)
    }

    fn failed(self, path: &str, failure: &Failure) -> FileRecord {
        FileRecord::failed(path, &self.key_text(path), FileOutcome::Failed, failure, self.tool)
    }
}
