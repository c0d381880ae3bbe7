//! Reports of transfers: a record for each file with `--files`, and one record for a whole tree.

use std::path::Path;

use ncaas_core::failure::{Failure, Kind};
use ncaas_core::pipe::{Output, RepeatedFailures};
use ncaas_core::record::fields::ErrorInfo;
use ncaas_core::text::shell_line;
use ncaas_core::tool::Tool;
use ncaas_core::transfer::{TransferOutcome, Transferred};
use schemars::JsonSchema;
use serde::Serialize;

use crate::path_text::escape_path;

/// The outcome of one file: a line of `--files`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FileRecord {
    /// Relative to the folder or the job's folder. The path of an empty folder ends in `/`.
    pub(crate) path: String,
    /// Key of the object.
    pub(crate) key: String,
    /// The outcome for the file.
    pub(crate) outcome: FileOutcome,
    /// Size in bytes.
    pub(crate) size: u64,
    /// SHA-256 of its content in hex, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
    /// Why it failed or was left out; null otherwise.
    pub(crate) error: Option<ErrorInfo>,
}

/// The outcome for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FileOutcome {
    /// The destination had the same content.
    Unchanged,
    /// It did not exist at the destination.
    New,
    /// It replaced other content.
    Changed,
    /// It was deleted at the destination.
    Deleted,
    /// It cannot exist at the destination: a device, a link that leads out, a name that is not a valid key.
    LeftOut,
    /// It could not be transferred.
    Failed,
}

/// The outcome of a whole tree.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct TreeRecord {
    /// Absolute path of the folder on this machine.
    pub(crate) folder: String,
    /// Address of its counterpart in a bucket.
    pub(crate) place: String,
    /// Number of files.
    pub(crate) files: u64,
    /// Files that the destination had already.
    pub(crate) unchanged: u64,
    /// Files that did not exist at the destination.
    pub(crate) new: u64,
    /// Files that replaced other content.
    pub(crate) changed: u64,
    /// Files deleted at the destination.
    pub(crate) deleted: u64,
    /// Files that cannot exist at the destination.
    pub(crate) left_out: u64,
    /// Files that could not be transferred.
    pub(crate) failed: u64,
    /// Bytes of new and changed files.
    pub(crate) bytes: u64,
    /// The first failure, or why nothing was deleted; null otherwise.
    pub(crate) error: Option<ErrorInfo>,
}

impl FileRecord {
    pub(crate) fn done(path: &str, key: &str, transferred: &Transferred) -> FileRecord {
        let outcome = match transferred.outcome {
            TransferOutcome::Unchanged => FileOutcome::Unchanged,
            TransferOutcome::New => FileOutcome::New,
            TransferOutcome::Changed => FileOutcome::Changed,
        };
        FileRecord {
            size: transferred.size,
            sha256: transferred.sha256.clone(),
            ..FileRecord::plain(path, key, outcome)
        }
    }

    pub(crate) fn plain(path: &str, key: &str, outcome: FileOutcome) -> FileRecord {
        FileRecord { path: path.to_owned(), key: key.to_owned(), outcome, size: 0, sha256: None, error: None }
    }

    pub(crate) fn failed(path: &str, key: &str, outcome: FileOutcome, failure: &Failure, tool: Tool) -> FileRecord {
        FileRecord { error: Some(ErrorInfo::new(tool.name(), failure)), ..FileRecord::plain(path, key, outcome) }
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

/// Counts the files of a tree and reports them.
pub(crate) struct Tally<'t> {
    tool: Tool,
    output: &'t Output,
    /// Whether to write a record for each file.
    files: bool,
    failures: RepeatedFailures,
    pub(crate) total: TreeRecord,
}

impl<'t> Tally<'t> {
    /// A tally for a folder of this machine and its counterpart in a bucket.
    pub(crate) fn new(tool: Tool, output: &'t Output, files: bool, folder: &Path, place: String) -> Tally<'t> {
        let total = TreeRecord { folder: escape_path(folder), place, ..TreeRecord::default() };
        Tally { tool, output, files, failures: RepeatedFailures::default(), total }
    }

    /// Counts and reports one file.
    pub(crate) async fn note(&mut self, file: &FileRecord) {
        self.total.count(file);
        if let Some(error) = &file.error {
            let (message, hint) = (error.message.clone(), error.hint.clone());
            self.failures.report(self.tool, &Failure { kind: error.kind, message, hint });
        }
        if self.files {
            self.output.write_json(file).await;
        }
    }

    /// Reports the failures that were not reported one by one, and returns the total.
    pub(crate) fn finish(self) -> TreeRecord {
        self.failures.report_counts(self.tool, "file");
        self.total
    }

    /// Reports that none of the `candidates` was deleted, and why.
    pub(crate) fn report_no_deletion(&mut self, candidates: &str, reason: &str) {
        let message = format!("deleted none of {candidates}: {reason}");
        let status = shell_line(["ncaas-sync", "status", &self.total.place, &self.total.folder]);
        let failure = Failure::new(Kind::Usage, message).hint(format!("`{status}` lists them"));
        self.tool.report_failure(&failure);
        self.total.error.get_or_insert_with(|| ErrorInfo::new(self.tool.name(), &failure));
    }
}
