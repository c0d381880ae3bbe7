//! `ncaas-sync status`: what differs between a folder and its counterpart in a bucket, one record a file.

use std::path::Path;
use std::pin::pin;

use futures_util::StreamExt;
use ncaas_core::bucket::{Bucket, Target};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files;
use ncaas_core::layout::STATE_FOLDER;
use ncaas_core::pipe::{Output, Pipe, print_schema};
use ncaas_core::record::fields::ErrorInfo;
use ncaas_core::tool::{ExitStatus, Tool};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::StatusArgs;
use crate::place::Place;
use crate::report::{emit, info, write};
use crate::tree::{Both, Pair, Remote, What};
use ncaas_core::folder::Folder;
use ncaas_core::transfer::Transfer;

/// How many files are compared at once.
const AT_ONCE: usize = 64;

/// How one file stands.
#[derive(Debug, Serialize, JsonSchema)]
struct StatusRecord {
    /// Relative to the folder. One that ends in `/` is an empty folder.
    path: String,
    /// How the folder differs from the bucket.
    status: StatusWord,
    /// Size in the folder, in bytes; null where it is missing there.
    size: Option<u64>,
    /// Size in the bucket, in bytes; null where it is not there.
    bucket_size: Option<u64>,
    /// Why it could not be compared, or cannot be on the other side; else null.
    error: Option<ErrorInfo>,
}

/// As seen from the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum StatusWord {
    /// The same content on both sides.
    Unchanged,
    /// In the folder only.
    New,
    /// On both sides, with different content.
    Changed,
    /// In the bucket only.
    Missing,
    /// It cannot be on the other side.
    Unusable,
    /// It could not be compared.
    Unknown,
}

pub(crate) async fn status(tool: Tool, args: StatusArgs) -> Result<ExitStatus> {
    if args.schema {
        return print_schema::<StatusRecord>().await;
    }
    let pipe = Pipe::new(tool, 1);
    pipe.source(async |output| compare(tool, &args, output).await).await
}

async fn compare(tool: Tool, args: &StatusArgs, output: &Output) -> Result<()> {
    let (folder, place) = match (&args.folder, args.target.as_deref().unwrap_or_default()) {
        (Some(folder), target) => (files::absolute(folder)?, Place::parse(target)?),
        (None, target) => {
            let Target { bucket, group } = Target::parse(target)?;
            let folder = files::absolute(&args.io_dir.io_dir)?.join(&group);
            (folder, Place { bucket, prefix: format!("{group}/") })
        }
    };
    let bucket = Bucket::open(&place.bucket).await?;
    let opened = Folder::open(&folder).map_err(|failure| match failure.kind {
        Kind::FileNotFound => {
            failure.hint("`ncaas-sync pull` brings a group there; a second argument names another folder")
        }
        _ => failure,
    })?;
    let transfer = Transfer::new(bucket, opened, &place.prefix, args.checksum.on);
    let both = Both::new(transfer.folder().clone(), transfer.bucket(), &place.prefix);
    let records = both.pairs().map(async |pair: Result<Pair>| match pair? {
        pair if is_of_this_machine(&pair.path) => Ok(None),
        pair => Ok(Some(one(tool, &transfer, pair).await)),
    });
    let mut records = pin!(records.buffer_unordered(AT_ONCE));
    while let Some(record) = records.next().await {
        let record: Option<StatusRecord> = record?;
        if let Some(record) = record.filter(|record| record.status != StatusWord::Unchanged || args.all) {
            tell(output, &record).await;
        }
    }
    transfer.save_index();
    Ok(())
}

async fn tell(output: &Output, record: &StatusRecord) {
    if record.status == StatusWord::Unknown { emit(output, record).await } else { write(output, record).await }
}

/// Whether a path belongs to the tools on this machine, and to no bucket.
fn is_of_this_machine(path: &str) -> bool {
    path.split('/').next() == Some(STATE_FOLDER)
}

async fn one(tool: Tool, transfer: &Transfer, pair: Pair) -> StatusRecord {
    let size = match &pair.local {
        Some(What::File(stamp)) => Some(stamp.size),
        Some(What::EmptyFolder) => Some(0),
        _ => None,
    };
    let bucket_size = match &pair.remote {
        Some(Remote::Object(entry)) => Some(entry.size),
        _ => None,
    };
    let record = |status, error: Option<&Failure>| StatusRecord {
        path: pair.path.clone(),
        status,
        size,
        bucket_size,
        error: error.map(|failure| info(failure, tool)),
    };
    match (&pair.local, &pair.remote) {
        (Some(What::Unusable(why)), _) | (_, Some(Remote::Unusable(why))) => record(StatusWord::Unusable, Some(why)),
        (Some(_), None) => record(StatusWord::New, None),
        (Some(What::EmptyFolder), Some(_)) => record(StatusWord::Unchanged, None),
        (Some(What::File(stamp)), Some(Remote::Object(entry))) => {
            match transfer.find_unchanged(Path::new(&pair.path), entry, Some(stamp)).await {
                Ok(Some(_)) => record(StatusWord::Unchanged, None),
                Ok(None) => record(StatusWord::Changed, None),
                Err(failure) => record(StatusWord::Unknown, Some(&failure)),
            }
        }
        (None, _) => {
            // A folder's own object is no news where the folder is there.
            let is_there = pair.path.ends_with('/') && transfer.folder().has(Path::new(&pair.path));
            record(if is_there { StatusWord::Unchanged } else { StatusWord::Missing }, None)
        }
    }
}
