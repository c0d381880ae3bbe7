//! `ncaas-sync diff`: what a container has changed in its file system, one record a path.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::path::PathKind;
use ncaas_core::engine::{Engine, LazyEngine};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::pipe::{Input, Output, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::tool::{ExitStatus, Tool};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::DiffArgs;
use crate::collect::details::{Detail, details};
use crate::collect::inside::{Change, How, Inside, MountKind, changes, folders};
use crate::jobs;
use crate::report::write;
use crate::select::Select;

/// How many containers are looked at side by side.
const AT_ONCE: usize = 4;

/// One path that a container has changed, or one place whose changes cannot be seen.
#[derive(Debug, Serialize, JsonSchema)]
struct ChangeRecord {
    /// The container's full id.
    container: String,
    /// Absolute path in the container.
    path: String,
    /// What was done to it.
    change: ChangeWord,
    /// What is there; null for what was deleted.
    kind: Option<KindWord>,
    /// Size in bytes; with `--size` that of all that is in it for a mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// When its content was last changed, RFC 3339 in UTC, to the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    mtime: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum ChangeWord {
    /// It was not in the image.
    Added,
    /// Content, permissions, owner or times differ from the image's.
    Changed,
    /// It was in the image, and is there no more.
    Deleted,
    /// Something is mounted there, and what was changed in it cannot be told.
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
    /// In memory: gone when the container ends.
    Tmpfs,
}

pub(crate) async fn diff(tool: Tool, args: DiffArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<ChangeRecord>().await;
    }
    let engine = LazyEngine::default();
    let select = Select::new(&args.select)?;
    let input = match &args.container {
        Some(container) => Input::record(jobs::of_container(engine.get().await?, container).await?),
        None => Input::stdin(tool, "ncaas-exec ls --all | ncaas-sync diff")?,
    };
    let pipe = Pipe::new(tool, args.pipe.jobs_or(AT_ONCE));
    pipe.each(input, async |record: &mut Record, output: &Output| {
        let container = record.container().ok_or_else(|| Failure::missing_field("container"))?;
        let engine = engine.get().await?;
        one(engine, &engine.inspect_for(record, &container.id).await?, &select, args.size, output).await
    })
    .await
}

async fn one(
    engine: &Engine,
    inspected: &ContainerInspectResponse,
    select: &Select,
    with_size: bool,
    output: &Output,
) -> Result<()> {
    let inside = Inside::of(inspected);
    let changes = changes(engine, &inside).await?;
    let folders = folders(&changes);
    let meant: Vec<&Change> = changes
        .iter()
        .filter(|change| select.takes(&change.path, change.path.trim_start_matches('/')))
        // A folder that differs only because something in it does is no news.
        .filter(|change| change.how != How::Changed || !folders.contains(change.path.as_str()))
        .collect();
    let wanted = meant.iter().filter(|change| change.how != How::Deleted);
    let wanted = Arc::new(wanted.map(|change| (change.path.clone(), change.how)).collect());
    let known = details(engine, &inside, &changes, &wanted).await?;
    for change in meant {
        write(output, &described(&inside, change, &folders, &known)).await;
    }
    for mount in &inside.mounts {
        if select.takes(&mount.at, mount.at.trim_start_matches('/')) {
            let size = match with_size && mount.kind != MountKind::Tmpfs {
                true => size_of(engine, inspected.id.as_deref().unwrap_or_default(), &mount.at).await?,
                false => None,
            };
            let kind = match mount.kind {
                MountKind::Bind => KindWord::Bind,
                MountKind::Volume | MountKind::OwnVolume => KindWord::Volume,
                MountKind::Tmpfs => KindWord::Tmpfs,
            };
            let record = ChangeRecord {
                container: inside.id.clone(),
                path: mount.at.clone(),
                change: ChangeWord::Unseen,
                kind: Some(kind),
                size,
                mtime: None,
            };
            write(output, &record).await;
        }
    }
    Ok(())
}

fn described(
    inside: &Inside,
    change: &Change,
    folders: &BTreeSet<&str>,
    known: &HashMap<String, Detail>,
) -> ChangeRecord {
    let detail = known.get(&change.path);
    let kind = match detail {
        _ if change.how == How::Deleted => None,
        Some(detail) => Some(match detail.kind {
            PathKind::File => KindWord::File,
            PathKind::Directory => KindWord::Folder,
            PathKind::Symlink(_) => KindWord::Link,
            PathKind::Special => KindWord::Special,
        }),
        None => folders.contains(change.path.as_str()).then_some(KindWord::Folder),
    };
    ChangeRecord {
        container: inside.id.clone(),
        path: change.path.clone(),
        change: match change.how {
            How::Added => ChangeWord::Added,
            How::Changed => ChangeWord::Changed,
            How::Deleted => ChangeWord::Deleted,
        },
        kind,
        size: detail.filter(|detail| detail.kind == PathKind::File).map(|detail| detail.size),
        mtime: detail.map(|detail| detail.mtime.to_string()),
    }
}

/// The size of all that is in a mount; none where it cannot be read.
async fn size_of(engine: &Engine, id: &str, path: &str) -> Result<Option<u64>> {
    let sum = engine.download(id, path, |archive| {
        let archive_interrupted = |error: std::io::Error| ncaas_core::engine::archive::archive_interrupted(&error);
        let mut size = 0;
        for entry in archive.entries().map_err(archive_interrupted)? {
            size += entry.map_err(archive_interrupted)?.size();
        }
        Ok(size)
    });
    match sum.await {
        Ok(size) => Ok(Some(size)),
        Err(failure) if failure.kind == Kind::FileNotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}
