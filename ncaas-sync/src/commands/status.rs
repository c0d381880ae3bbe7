//! `ncaas-sync status`: compare a folder with its counterpart in a bucket.

use std::path::Path;
use std::pin::pin;

use futures_util::StreamExt;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files;
use ncaas_core::group::open_group;
use ncaas_core::layout::{CANCEL, CLAIM, RESULTS, STATE_FOLDER};
use ncaas_core::pipe::{Output, Pipe};
use ncaas_core::record::Record;
use ncaas_core::record::fields::ErrorInfo;
use ncaas_core::table::{Table, shows_table, terminal_width};
use ncaas_core::text::{serialized_name, shell_line};
use ncaas_core::tool::{ExitStatus, Tool};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::StatusArgs;
use crate::bucket_prefix::BucketPrefix;
use crate::paired_listing::{LocalEntry, PairedListing, PathPair, RemoteEntry};
use ncaas_core::folder::Folder;
use ncaas_core::transfer::Transfer;

/// Files that are compared at once.
const DEFAULT_JOBS: usize = 64;

/// The state of one file.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StatusRecord {
    /// Relative to the folder. The path of an empty folder ends in `/`.
    path: String,
    /// How the folder differs from the bucket.
    status: FileStatus,
    /// Size in the folder, in bytes; null if it is not there.
    size: Option<u64>,
    /// Size in the bucket, in bytes; null if it is not there.
    bucket_size: Option<u64>,
    /// Why it could not be compared or cannot exist on the other side; null otherwise.
    error: Option<ErrorInfo>,
}

impl StatusRecord {
    /// The row of a table.
    fn cells(&self) -> [String; 4] {
        let size = |size: Option<u64>| size.map_or_else(String::new, |size| size.to_string());
        [self.path.clone(), serialized_name(&self.status), size(self.size), size(self.bucket_size)]
    }
}

/// As seen from the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum FileStatus {
    /// The same content on both sides.
    Unchanged,
    /// In the folder only.
    New,
    /// On both sides, with different content.
    Changed,
    /// In the bucket only.
    Missing,
    /// It cannot exist on the other side.
    Unusable,
    /// It could not be compared.
    Unknown,
}

pub(crate) async fn status(tool: Tool, args: StatusArgs) -> Result<ExitStatus> {
    let pipe = Pipe::for_records(tool, &args.records);
    pipe.source(async |output| compare(tool, &args, output).await).await
}

async fn compare(tool: Tool, args: &StatusArgs, output: &Output) -> Result<()> {
    let (folder, bucket, prefix) = match &args.folder {
        Some(folder) => {
            let target = BucketPrefix::parse_with_folder(&args.target, folder)?;
            (files::absolute(folder)?, target.open().await?, target.prefix)
        }
        None => {
            let (bucket, group) = open_group(&args.target, true).await?;
            (files::absolute(&args.io_dir.io_dir)?.join(&group), bucket, format!("{group}/"))
        }
    };
    let opened = Folder::open(&folder).map_err(|failure| match failure.kind {
        Kind::FileNotFound if args.folder.is_none() => failure.hint(format!(
            "`{}` downloads the group; a second argument names another folder",
            shell_line(["ncaas-sync", "pull", &args.target])
        )),
        _ => failure,
    })?;
    let transfer = Transfer::new(bucket, opened, &prefix, args.checksum.reread);
    let listing = PairedListing::new(transfer.folder().clone(), transfer.bucket(), &prefix);
    let records = listing.pairs().map(async |pair: Result<PathPair>| match pair? {
        pair if is_state(&pair.path) => Ok(None),
        pair => Ok(Some(compare_pair(tool, &transfer, pair).await)),
    });
    let is_table = shows_table(args.records.json);
    let mut table = is_table.then(|| Table::new(&["PATH", "STATUS", "SIZE", "IN BUCKET"]));
    let mut records = pin!(records.buffer_unordered(DEFAULT_JOBS));
    while let Some(record) = records.next().await {
        let record: Option<StatusRecord> = record?;
        if let Some(record) = record.filter(|record| record.status != FileStatus::Unchanged || args.all) {
            if record.error.is_none()
                && let Some(table) = &mut table
            {
                table.push(record.cells());
                continue;
            }
            write_status(output, &record).await;
        }
    }
    if let Some(table) = table {
        output.write(table.fit(terminal_width()).to_string().into_bytes()).await;
    }
    transfer.save_index();
    Ok(())
}

async fn write_status(output: &Output, record: &StatusRecord) {
    if record.status == FileStatus::Unknown {
        output.emit(&Record::new(record)).await
    } else {
        output.write_json(record).await
    }
}

/// Whether a path is reserved for the tools, on this machine or in the bucket.
fn is_state(path: &str) -> bool {
    let parts: Vec<&str> = path.splitn(4, '/').collect();
    parts[0] == STATE_FOLDER || matches!(parts.as_slice(), [RESULTS, _, CLAIM | CANCEL])
}

async fn compare_pair(tool: Tool, transfer: &Transfer, pair: PathPair) -> StatusRecord {
    let size = match &pair.local {
        Some(LocalEntry::File(stamp)) => Some(stamp.size),
        Some(LocalEntry::EmptyFolder) => Some(0),
        _ => None,
    };
    let bucket_size = match &pair.remote {
        Some(RemoteEntry::Object(entry)) => Some(entry.size),
        _ => None,
    };
    let record = |status, error: Option<&Failure>| StatusRecord {
        path: pair.path.clone(),
        status,
        size,
        bucket_size,
        error: error.map(|failure| ErrorInfo::new(tool.name(), failure)),
    };
    match (&pair.local, &pair.remote) {
        (Some(LocalEntry::Unusable(reason)), _) | (_, Some(RemoteEntry::Unusable(reason))) => {
            record(FileStatus::Unusable, Some(reason))
        }
        (Some(_), None) => record(FileStatus::New, None),
        (Some(LocalEntry::EmptyFolder), Some(_)) => record(FileStatus::Unchanged, None),
        (Some(LocalEntry::File(stamp)), Some(RemoteEntry::Object(entry))) => {
            match transfer.find_unchanged(Path::new(&pair.path), entry, Some(stamp)).await {
                Ok(Some(_)) => record(FileStatus::Unchanged, None),
                Ok(None) => record(FileStatus::Changed, None),
                Err(failure) => record(FileStatus::Unknown, Some(&failure)),
            }
        }
        (None, _) => {
            // The object of a folder that exists does not count as a difference.
            let exists = pair.path.ends_with('/') && transfer.folder().has(Path::new(&pair.path));
            record(if exists { FileStatus::Unchanged } else { FileStatus::Missing }, None)
        }
    }
}
