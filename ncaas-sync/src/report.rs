//! What became of files, one record a file, and of a tree, in one record.

use std::collections::HashSet;
use std::path::Path;

use ncaas_core::failure::{Failure, Kind};
use ncaas_core::pipe::Output;
use ncaas_core::record::Record;
use ncaas_core::record::fields::ErrorInfo;
use ncaas_core::tool::Tool;
use schemars::JsonSchema;
use serde::Serialize;

use crate::names;
use ncaas_core::transfer::{Outcome, Transferred};

/// What became of one file: a line of `--files`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FileRecord {
    /// Relative to the folder or the job's folder. One that ends in `/` is an empty folder.
    pub(crate) path: String,
    /// Key of the object.
    pub(crate) key: String,
    /// What was done.
    pub(crate) outcome: FileOutcome,
    /// Size in bytes.
    pub(crate) size: u64,
    /// SHA-256 of its content, in hex, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
    /// Why it failed, or was left out; else null.
    pub(crate) error: Option<ErrorInfo>,
}

/// What was done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FileOutcome {
    /// The same content was there.
    Unchanged,
    /// It was not there, and now is.
    New,
    /// It was there with other content.
    Changed,
    /// It was where it should not be, and is there no more.
    Deleted,
    /// It cannot go there: a device, a link that leads out, a name that is no key.
    LeftOut,
    /// It should have gone there, and has not.
    Failed,
}

/// What became of a tree.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct TreeRecord {
    /// Absolute path of the folder on this machine.
    pub(crate) folder: String,
    /// Where in a bucket its counterpart is.
    pub(crate) place: String,
    /// Files that were looked at.
    pub(crate) files: u64,
    /// Files whose content was there.
    pub(crate) unchanged: u64,
    /// Files that were not there.
    pub(crate) new: u64,
    /// Files that were there with other content.
    pub(crate) changed: u64,
    /// Files that were removed.
    pub(crate) deleted: u64,
    /// Files that cannot go there.
    pub(crate) left_out: u64,
    /// Files that should have gone there, and have not.
    pub(crate) failed: u64,
    /// Bytes that went.
    pub(crate) bytes: u64,
    /// The first failure, or why nothing was deleted; null where all is well.
    pub(crate) error: Option<ErrorInfo>,
}

impl FileRecord {
    pub(crate) fn done(path: &str, key: &str, done: &Transferred) -> FileRecord {
        let outcome = match done.outcome {
            Outcome::Unchanged => FileOutcome::Unchanged,
            Outcome::New => FileOutcome::New,
            Outcome::Changed => FileOutcome::Changed,
        };
        FileRecord { size: done.size, sha256: done.sha256.clone(), ..FileRecord::plain(path, key, outcome) }
    }

    pub(crate) fn plain(path: &str, key: &str, outcome: FileOutcome) -> FileRecord {
        FileRecord { path: path.to_owned(), key: key.to_owned(), outcome, size: 0, sha256: None, error: None }
    }

    pub(crate) fn failed(path: &str, key: &str, outcome: FileOutcome, failure: &Failure, tool: Tool) -> FileRecord {
        FileRecord { error: Some(info(failure, tool)), ..FileRecord::plain(path, key, outcome) }
    }
}

impl TreeRecord {
    fn count(&mut self, file: &FileRecord) {
        self.files += 1;
        match file.outcome {
            FileOutcome::Unchanged => self.unchanged += 1,
            FileOutcome::New => self.new += 1,
            FileOutcome::Changed => self.changed += 1,
            FileOutcome::Deleted => self.deleted += 1,
            FileOutcome::LeftOut => self.left_out += 1,
            FileOutcome::Failed => self.failed += 1,
        }
        if matches!(file.outcome, FileOutcome::New | FileOutcome::Changed) {
            self.bytes += file.size;
        }
        if file.outcome == FileOutcome::Failed && self.error.is_none() {
            self.error.clone_from(&file.error);
        }
    }
}

/// What becomes of a tree, told while it does.
pub(crate) struct Tally<'t> {
    tool: Tool,
    output: &'t Output,
    /// Whether each file has a record.
    files: bool,
    /// What was advised already: of a thousand files that one remedy helps, the first one names it.
    hints: HashSet<String>,
    pub(crate) total: TreeRecord,
}

impl<'t> Tally<'t> {
    /// Of a folder on this machine and a place in a bucket.
    pub(crate) fn new(tool: Tool, output: &'t Output, files: bool, folder: &Path, place: String) -> Tally<'t> {
        let total = TreeRecord { folder: names::path_text(folder), place, ..TreeRecord::default() };
        Tally { tool, output, files, hints: HashSet::new(), total }
    }

    /// Counts one file in.
    pub(crate) async fn note(&mut self, file: &FileRecord) {
        self.total.count(file);
        if let Some(error) = &file.error {
            let hint = error.hint.clone().filter(|hint| self.hints.insert(hint.clone()));
            self.tool.report_failure(&Failure { kind: error.kind, message: error.message.clone(), hint });
        }
        if self.files {
            write(self.output, file).await;
        }
    }

    /// Says that nothing was deleted, of so many files or objects, and why.
    pub(crate) fn nothing_deleted(&mut self, of: &str, why: &str) {
        let words = format!("nothing was deleted, of {of}: {why}");
        let failure = Failure::new(Kind::Usage, words).hint("`ncaas-sync status` shows them");
        self.tool.report_failure(&failure);
        self.total.error.get_or_insert_with(|| info(&failure, self.tool));
    }
}

/// A failure as it stands in a record.
pub(crate) fn info(failure: &Failure, tool: Tool) -> ErrorInfo {
    ErrorInfo {
        tool: tool.name().to_owned(),
        kind: failure.kind,
        message: failure.message.clone(),
        hint: failure.hint.clone(),
    }
}

/// Writes one as a line.
pub(crate) async fn write(output: &Output, line: &impl Serialize) {
    if let Ok(mut line) = serde_json::to_vec(line) {
        line.push(b'\n');
        output.write(line).await;
    }
}

/// Writes one as the record that the exit status follows from.
pub(crate) async fn emit(output: &Output, line: &impl Serialize) {
    if let Ok(bytes) = serde_json::to_vec(line)
        && let Ok(record) = Record::parse(&bytes)
    {
        output.emit(&record).await;
    }
}
