//! Any folder goes to any prefix.

use std::path::Path;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use ncaas_core::bucket::{Bucket, Key};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files;
use ncaas_core::pipe::Output;
use ncaas_core::tool::Tool;

use crate::names;
use crate::place::Place;
use crate::report::{FileOutcome, FileRecord, TreeRecord, emit, info, write};
use crate::transfer::{Folder, Transfer};
use crate::tree::{Both, Pair, Remote, What};

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
        output,
        deletes: Vec::new(),
        complete: true,
        total: TreeRecord {
            folder: names::path_text(&path),
            place: format!("{}/{}", bucket.address(), place.prefix),
            ..TreeRecord::default()
        },
    };
    pushing.all().await?;
    pushing.delete().await;
    let total = pushing.total;
    transfer.save();
    emit(output, &total).await;
    Ok(())
}

struct Pushing<'p> {
    tool: Tool,
    transfer: &'p Transfer,
    prefix: &'p str,
    how: How,
    output: &'p Output,
    /// Keys that have no file.
    deletes: Vec<String>,
    /// Whether all that is in the folder is known to be.
    complete: bool,
    total: TreeRecord,
}

impl Pushing<'_> {
    async fn all(&mut self) -> Result<()> {
        let mut both = Both::new(self.transfer.folder.clone(), &self.transfer.bucket, self.prefix);
        let mut at_work = FuturesUnordered::new();
        let mut more = true;
        while more || !at_work.is_empty() {
            tokio::select! {
                biased;
                Some(file) = at_work.next(), if !at_work.is_empty() => self.note(file).await,
                pair = both.next(), if more && at_work.len() < self.how.jobs => match pair? {
                    None => more = false,
                    Some(Pair { path, local: None, remote }) => self.has_no_file(&path, remote),
                    Some(Pair { path, local: Some(local), remote }) => {
                        self.complete &= !matches!(local, What::Unusable(_));
                        at_work.push(one(self.tool, self.transfer, self.prefix, path, local, remote));
                    }
                },
            }
        }
        Ok(())
    }

    fn has_no_file(&mut self, path: &str, remote: Option<Remote>) {
        let is_folder_with_files = path.ends_with('/') && self.transfer.folder.has(Path::new(path));
        if self.how.delete && matches!(remote, Some(Remote::Object(_))) && !is_folder_with_files {
            self.deletes.push(format!("{}{path}", self.prefix));
        }
    }

    async fn note(&mut self, file: FileRecord) {
        self.total.count(&file);
        if let Some(error) = &file.error {
            self.tool.complain(&Failure { kind: error.kind, message: error.message.clone(), hint: error.hint.clone() });
        }
        if self.how.files {
            write(self.output, &file).await;
        }
    }

    /// Removes what has no file, unless it is not certain that there is none.
    async fn delete(&mut self) {
        if self.deletes.is_empty() {
            return;
        }
        let kept = match () {
            () if self.total.files == 0 => Some("the folder is empty"),
            () if !self.complete => Some("not everything in the folder could be read"),
            () if self.total.failed > 0 => Some("not everything in the folder was brought there"),
            () => None,
        };
        if let Some(why) = kept {
            let count = self.deletes.len();
            let failure =
                Failure::new(Kind::Usage, format!("nothing was deleted, of {count} objects that have no file: {why}"))
                    .hint("`ncaas-sync status` shows them");
            self.tool.complain(&failure);
            self.total.error.get_or_insert_with(|| info(&failure, self.tool));
            return;
        }
        for key in std::mem::take(&mut self.deletes) {
            let deleted = match Key::new(key.as_str()) {
                Ok(key) => self.transfer.bucket.delete(&key).await,
                Err(failure) => Err(failure),
            };
            let path = key.strip_prefix(self.prefix).unwrap_or(&key);
            let file = match deleted {
                Ok(()) => FileRecord::plain(path, &key, FileOutcome::Deleted),
                Err(failure) => FileRecord::failed(path, &key, FileOutcome::Failed, &failure, self.tool),
            };
            self.note(file).await;
        }
    }
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
            Ok(folder) => transfer
                .bucket
                .put(&folder, Vec::new())
                .await
                .map(|()| FileRecord::plain(&path, &key, FileOutcome::New)),
            Err(failure) => Err(failure),
        },
        What::File(stamp) => match Key::new(key.as_str()) {
            Ok(object) => {
                let done = transfer.put(Path::new(&path), &object, there.as_ref(), Some(&stamp), None).await;
                done.map(|done| FileRecord::done(&path, &key, &done))
            }
            Err(failure) => Err(failure),
        },
    };
    outcome.unwrap_or_else(|failure| FileRecord::failed(&path, &key, FileOutcome::Failed, &failure, tool))
}
