//! Everything under a prefix comes into a folder.

use std::path::Path;
use std::pin::pin;

use futures_util::StreamExt;
use ncaas_core::failure::Result;
use ncaas_core::pipe::Output;
use ncaas_core::tool::Tool;

use crate::report::{FileOutcome, FileRecord, Tally, TreeRecord};
use crate::tree::{Both, Pair, Remote, What};
use ncaas_core::transfer::Transfer;

/// What the command line says about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// How many files are on their way at once.
    pub(crate) jobs: usize,
    /// Remove files that have no object.
    pub(crate) delete: bool,
    /// Write a record for each file.
    pub(crate) files: bool,
}

/// Brings what is under `prefix`, which is empty or ends in `/`: what became of it.
pub(crate) async fn bring(
    tool: Tool,
    transfer: &Transfer,
    prefix: &str,
    how: How,
    output: &Output,
) -> Result<TreeRecord> {
    let mut bringing = Bringing {
        tool,
        transfer,
        prefix,
        how,
        deletes: Vec::new(),
        complete: true,
        tally: Tally::new(
            tool,
            output,
            how.files,
            transfer.folder().path(),
            format!("{}/{prefix}", transfer.bucket().address()),
        ),
    };
    bringing.all().await?;
    bringing.delete().await;
    transfer.save_index();
    Ok(bringing.tally.total)
}

struct Bringing<'b> {
    tool: Tool,
    transfer: &'b Transfer,
    prefix: &'b str,
    how: How,
    /// Paths that have no object.
    deletes: Vec<String>,
    /// Whether all that is in the bucket is known to be.
    complete: bool,
    tally: Tally<'b>,
}

impl Bringing<'_> {
    async fn all(&mut self) -> Result<()> {
        let (tool, transfer, prefix) = (self.tool, self.transfer, self.prefix);
        let both = Both::new(transfer.folder().clone(), transfer.bucket(), prefix);
        let steps = both.pairs().map(async |pair: Result<Pair>| match pair? {
            Pair { path, remote: None, .. } => Ok(Step::NoObject(path)),
            Pair { path, local, remote: Some(remote) } => {
                Ok(Step::Object(one(tool, transfer, prefix, path, local, remote).await))
            }
        });
        let mut steps = pin!(steps.buffer_unordered(self.how.jobs));
        while let Some(step) = steps.next().await {
            match step? {
                Step::NoObject(path) => self.has_no_object(path),
                Step::Object(file) => self.note(file).await,
            }
        }
        Ok(())
    }

    fn has_no_object(&mut self, path: String) {
        // An empty folder is in nobody's way.
        if self.how.delete && !path.ends_with('/') {
            self.deletes.push(path);
        }
    }

    async fn note(&mut self, file: FileRecord) {
        self.complete &= file.outcome != FileOutcome::LeftOut;
        self.tally.note(&file).await;
    }

    /// Removes what has no object, unless it is not certain that there is none.
    async fn delete(&mut self) {
        if self.deletes.is_empty() {
            return;
        }
        let kept = match () {
            () if self.tally.total.files == 0 => Some("nothing is in the bucket there"),
            () if !self.complete => Some("not everything in the bucket could be used"),
            () if self.tally.total.failed > 0 => Some("not everything in the bucket was brought here"),
            () => None,
        };
        if let Some(why) = kept {
            return self.tally.nothing_deleted(&format!("{} files that have no object", self.deletes.len()), why);
        }
        for path in std::mem::take(&mut self.deletes) {
            let key = format!("{}{path}", self.prefix);
            let file = match self.transfer.folder().dir().remove_file(&path) {
                Ok(()) => FileRecord::plain(&path, &key, FileOutcome::Deleted),
                Err(error) => {
                    let failure = self.transfer.folder().failure("remove", Path::new(&path), &error);
                    FileRecord::failed(&path, &key, FileOutcome::Failed, &failure, self.tool)
                }
            };
            self.note(file).await;
        }
    }
}

/// What came of one path.
enum Step {
    Object(FileRecord),
    NoObject(String),
}

/// One object's way.
async fn one(
    tool: Tool,
    transfer: &Transfer,
    prefix: &str,
    path: String,
    local: Option<What>,
    remote: Remote,
) -> FileRecord {
    let key = format!("{prefix}{path}");
    let outcome = match remote {
        Remote::Unusable(why) => return FileRecord::failed(&path, &key, FileOutcome::LeftOut, &why, tool),
        Remote::Object(entry) if entry.key.is_folder() => {
            let is_there = matches!(local, Some(What::EmptyFolder)) || transfer.folder().dir().is_dir(&path);
            let outcome = if is_there { FileOutcome::Unchanged } else { FileOutcome::New };
            transfer.folder().make_below(Path::new(&path)).map(|()| FileRecord::plain(&path, &key, outcome))
        }
        Remote::Object(entry) => {
            let done = match local {
                None => transfer.download_new(&entry, Path::new(&path)).await,
                Some(What::File(stamp)) => transfer.download_if_changed(&entry, Path::new(&path), Some(&stamp)).await,
                Some(_) => transfer.download_if_changed(&entry, Path::new(&path), None).await,
            };
            done.map(|done| FileRecord::done(&path, &key, &done))
        }
    };
    outcome.unwrap_or_else(|failure| FileRecord::failed(&path, &key, FileOutcome::Failed, &failure, tool))
}
