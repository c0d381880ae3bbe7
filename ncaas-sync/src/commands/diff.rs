//! `ncaas-sync diff`: the paths that a container changed in its file system, one record for each.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use ncaas_core::engine::archive::archive_interrupted;
use ncaas_core::engine::{Engine, LazyEngine, reference};
use ncaas_core::failure::{Kind, NoneIf, Result};
use ncaas_core::pipe::{Input, Output, Pipe};
use ncaas_core::quantity::format_count;
use ncaas_core::record::Record;
use ncaas_core::table::shows_table;
use ncaas_core::tool::{ExitStatus, Tool};
use schemars::JsonSchema;
use serde::Serialize;
use tar::EntryType;

use crate::args::DiffArgs;
use crate::container_changes::{
    ArchiveRequest, Change, ChangeKind, Wanted, entry_path, leaves, list_changes, parent_folders, plan_requests,
};
use crate::container_paths::{ContainerPaths, MountKind};
use crate::file_filter::{FileFilter, LeftOutReason};

/// Containers that are compared at once.
const DEFAULT_JOBS: usize = 4;

/// One path that a container changed, or one mount, whose changes cannot be seen.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ChangeRecord {
    /// Full id of the container.
    container: String,
    /// Absolute path in the container.
    path: String,
    /// The kind of change.
    change: ChangeWord,
    /// The kind of file; null for a deleted one.
    kind: Option<KindWord>,
    /// Size in bytes; for a mount the size of all its files, with `--size` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// Modification time, RFC 3339 in UTC, in whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum ChangeWord {
    /// It is not in the image.
    Added,
    /// Its content, permissions, owner or times differ from the image.
    Changed,
    /// It is in the image, and was deleted.
    Deleted,
    /// A mount: changes in it cannot be seen.
    Unseen,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum KindWord {
    File,
    Folder,
    Link,
    /// A device, FIFO or socket.
    Special,
    /// A folder or file of the engine's machine.
    Bind,
    Volume,
    /// In memory; lost when the container ends.
    Tmpfs,
}

/// Kind, size and time of a file, read from the engine's archives.
#[derive(Debug)]
struct FileDetails {
    kind: KindWord,
    size: u64,
    /// In whole seconds, as in the archive.
    mtime: Timestamp,
}

pub(crate) async fn diff(tool: Tool, args: DiffArgs) -> Result<ExitStatus> {
    let engine = LazyEngine::default();
    let filter = FileFilter::new(&args.select)?;
    let input = Input::arguments_or_stdin(tool, &args.target.container, "ncaas-exec ls --all | ncaas-sync diff")?;
    let is_summarised = shows_table(args.pipe.records.json);
    let pipe = Pipe::for_args(tool, &args.pipe, DEFAULT_JOBS);
    pipe.for_each(input, async |record: &mut Record, output: &Output| {
        let engine = engine.get().await?;
        let inspected = engine.inspect_target(record).await?;
        let paths = ContainerPaths::from_inspect(&inspected);
        let mounts: Vec<String> = paths.mounts.iter().map(|mount| format!("`{}`", mount.path)).collect();
        let with_mounts = args.size || !is_summarised;
        let left_out = write_changes(engine, paths, &filter, (args.size, with_mounts), output).await?;
        if !with_mounts && !mounts.is_empty() {
            tool.note(&format!("changes in mounts are not listed: {}", mounts.join(", ")));
        }
        if let Some(first) = left_out.first() {
            let count = format_count(left_out.len(), "changed path");
            let name = reference::container_name(&inspected);
            tool.note(&format!("`{name}`: {count} left out, such as `{first}`; `--all` lists them"));
        }
        Ok(())
    })
    .await
}

/// Writes the selected changes. Returns the paths of temporary files and caches, which are left out.
async fn write_changes(
    engine: &Engine,
    paths: ContainerPaths,
    filter: &FileFilter,
    (with_size, with_mounts): (bool, bool),
    output: &Output,
) -> Result<Vec<String>> {
    let changes = list_changes(engine, &paths).await?;
    let parents = parent_folders(&changes);
    let selected: Vec<&Change> = changes
        .iter()
        .filter(|change| filter.accepts(&change.path, change.path.trim_start_matches('/')))
        // A folder that is listed only for the changes in it.
        .filter(|change| change.kind != ChangeKind::Changed || !parents.contains(change.path.as_str()))
        .collect();
    let is_noise = |change: &&Change| {
        filter.reason(&change.path, change.path.trim_start_matches('/'), false) == Some(LeftOutReason::Noise)
    };
    let left_out = leaves(&changes, &parents).filter(is_noise).map(|change| change.path.clone()).collect();
    let wanted = selected.iter().filter(|change| change.kind != ChangeKind::Deleted);
    let wanted = Arc::new(wanted.map(|change| (change.path.clone(), change.kind)).collect());
    let details = read_details(engine, &paths, &changes, &wanted).await?;
    for change in selected {
        output.write_json(&change_record(&paths, change, &parents, &details)).await;
    }
    for mount in paths.mounts.iter().filter(|_| with_mounts) {
        if filter.accepts(&mount.path, mount.path.trim_start_matches('/')) {
            let is_readable = mount.kind != MountKind::Tmpfs;
            let size = if with_size && is_readable { read_size(engine, &paths.id, &mount.path).await? } else { None };
            let kind = match mount.kind {
                MountKind::Bind => KindWord::Bind,
                MountKind::NamedVolume | MountKind::AnonymousVolume => KindWord::Volume,
                MountKind::Tmpfs => KindWord::Tmpfs,
            };
            let record = ChangeRecord {
                container: paths.id.clone(),
                path: mount.path.clone(),
                change: ChangeWord::Unseen,
                kind: Some(kind),
                size,
                mtime: None,
            };
            output.write_json(&record).await;
        }
    }
    Ok(left_out)
}

fn change_record(
    paths: &ContainerPaths,
    change: &Change,
    parents: &BTreeSet<&str>,
    details: &HashMap<String, FileDetails>,
) -> ChangeRecord {
    let details = details.get(&change.path);
    let folder_kind = || parents.contains(change.path.as_str()).then_some(KindWord::Folder);
    let kind = if change.kind == ChangeKind::Deleted { None } else { details.map(|d| d.kind).or_else(folder_kind) };
    ChangeRecord {
        container: paths.id.clone(),
        path: change.path.clone(),
        change: match change.kind {
            ChangeKind::Added => ChangeWord::Added,
            ChangeKind::Changed => ChangeWord::Changed,
            ChangeKind::Deleted => ChangeWord::Deleted,
        },
        kind,
        size: details.filter(|details| matches!(details.kind, KindWord::File)).map(|details| details.size),
        mtime: details.map(|details| details.mtime.to_string()),
    }
}

/// Reads the details of the wanted paths from the archives that a collection would request.
async fn read_details(
    engine: &Engine,
    paths: &ContainerPaths,
    changes: &[Change],
    wanted: &Arc<Wanted>,
) -> Result<HashMap<String, FileDetails>> {
    let mut details = HashMap::new();
    for request in plan_requests(changes, wanted) {
        details.extend(read_archive_details(engine, paths, request).await?);
    }
    let missing: Vec<String> = wanted.keys().filter(|path| !details.contains_key(*path)).cloned().collect();
    for path in missing {
        details.extend(read_archive_details(engine, paths, ArchiveRequest::single(&path, wanted)).await?);
    }
    Ok(details)
}

async fn read_archive_details(
    engine: &Engine,
    paths: &ContainerPaths,
    request: ArchiveRequest,
) -> Result<HashMap<String, FileDetails>> {
    let root = request.root.clone();
    let read = engine.download(&paths.id, &root, move |archive| {
        let mut details = HashMap::new();
        let mut unwanted = 0;
        for entry in archive.entries().map_err(|error| archive_interrupted(&error))? {
            let entry = entry.map_err(|error| archive_interrupted(&error))?;
            let (_, path) = entry_path(&request.root, &entry.path_bytes());
            if request.wanted.as_ref().is_none_or(|wanted| wanted.contains_key(&path)) {
                let kind = match entry.header().entry_type() {
                    EntryType::Directory => KindWord::Folder,
                    EntryType::Symlink => KindWord::Link,
                    EntryType::Regular | EntryType::Link | EntryType::GNUSparse | EntryType::Continuous => {
                        KindWord::File
                    }
                    _ => KindWord::Special,
                };
                let seconds = entry.header().mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or_default();
                let mtime = Timestamp::from_second(seconds).unwrap_or_default();
                details.insert(path, FileDetails { kind, size: entry.size(), mtime });
            } else {
                unwanted += entry.size();
            }
            if request.is_wasteful(details.len(), unwanted) {
                break;
            }
        }
        Ok(details)
    });
    // It may have been deleted since it was listed.
    Ok(read.await.none_if(&[Kind::FileNotFound])?.unwrap_or_default())
}

/// The size of all files in a mount; `None` if it cannot be read.
async fn read_size(engine: &Engine, id: &str, path: &str) -> Result<Option<u64>> {
    let size = engine.download(id, path, |archive| {
        let mut size = 0;
        for entry in archive.entries().map_err(|error| archive_interrupted(&error))? {
            size += entry.map_err(|error| archive_interrupted(&error))?.size();
        }
        Ok(size)
    });
    size.await.none_if(&[Kind::FileNotFound])
}
