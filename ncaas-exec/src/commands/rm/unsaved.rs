//! The data that would be lost with an ended container: the log of its job, and files that were written in it.

use std::path::{Path, PathBuf};

use bollard::models::{ChangeType, ContainerInspectResponse};
use bollard::query_parameters::{ListImagesOptions, LogsOptions};
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use ncaas_core::engine::container_layer::{HISTORIES, has_only_mount_points, mount_points};
use ncaas_core::engine::path::{PathInfo, PathKind};
use ncaas_core::engine::{Engine, EngineContext, Subject};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::image_labels::COMMITTED;
use ncaas_core::layout::JobFolder;
use ncaas_core::record::Record;
use ncaas_core::record::fields::Container;
use ncaas_core::text::strip_folder;

/// How many paths of a container are looked up at once.
const STATS_AT_ONCE: usize = 16;

/// The data that would be lost with a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unsaved {
    /// The container is one of a job, and not a development container.
    is_job: bool,
    /// The log of the job was not saved, and it has output.
    log: bool,
    /// Files were written and not collected.
    files: bool,
    /// Files were left out when the results were collected.
    pub(super) left_out: bool,
    /// The bucket of the job has no log or files of it either.
    pub(super) is_from_bucket: bool,
}

impl Unsaved {
    /// The data that would be lost with this ended container; none if nothing would be lost.
    pub(super) async fn find(engine: &Engine, record: &Record, container: &Container) -> Result<Option<Self>> {
        let is_job = record.job().is_some();
        // A container that the tools did not start is removed as the user says.
        if !is_job && !record.is_development() {
            return Ok(None);
        }
        let saved = saved_record(record);
        let is_log_saved = !is_job || is_log_saved(record, saved.as_ref());
        let is_collected = is_collected(record, saved.as_ref());
        if is_log_saved && is_collected {
            return Ok(None);
        }
        let inspected = engine.inspect(&container.id).await?;
        let log = !is_log_saved && has_output(engine, &inspected).await?;
        let files = !is_collected && has_written(engine, record, &inspected).await?;
        // The work in a development container is saved by a commit.
        let files = files && (is_job || !is_committed(engine, &inspected).await?);
        let left_out = [Some(record), saved.as_ref()].into_iter().flatten().any(|record| count_left_out(record) > 0);
        let is_from_bucket = record.is_from_bucket();
        Ok((log || files).then_some(Unsaved { is_job, log, files, left_out, is_from_bucket }))
    }

    /// The failure of a command that keeps the container for this reason.
    pub(super) fn failure(self, name: &str) -> Failure {
        let Unsaved { is_job, log, files, left_out, is_from_bucket } = self;
        let all = if left_out { " --all" } else { "" };
        let push = if is_from_bucket { " | ncaas-sync push" } else { "" };
        let (reason, remedy, them) = match (log, files) {
            _ if !is_job => (
                "files were written in it",
                format!("`ncaas-build commit {name} -t IMAGE` saves them in an image"),
                "them",
            ),
            (true, true) => (
                "its log was not saved, and files that its job wrote were not collected",
                format!("`ncaas-logs save {name} | ncaas-sync collect{all}{push}` saves both"),
                "both",
            ),
            (true, false) => ("its log was not saved", format!("`ncaas-logs save {name}{push}` saves it"), "it"),
            (false, _) => (
                "files that its job wrote were not collected",
                format!("`ncaas-sync collect{all} {name}{push}` collects them"),
                "them",
            ),
        };
        Failure::new(Kind::ResultsMissing, format!("kept the container `{name}`: {reason}"))
            .hint(format!("{remedy}; `ncaas-exec rm --force {name}` discards {them}"))
    }

    /// The data that would be lost, in a few words.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Unsaved { log: true, files: true, .. } => "log and files",
            Unsaved { log: true, .. } => "log",
            _ => "files",
        }
    }
}

/// Whether nothing that a job wrote would be lost with its container: its record, or its saved record, lists its log
/// and its results.
pub(super) fn is_saved(record: &Record) -> bool {
    let saved = saved_record(record);
    is_log_saved(record, saved.as_ref()) && is_collected(record, saved.as_ref())
}

fn is_log_saved(record: &Record, saved: Option<&Record>) -> bool {
    record.logs().is_some() || saved.is_some_and(|saved| saved.logs().is_some())
}

/// The saved record is newer than one that an earlier stage or command printed.
fn is_collected(record: &Record, saved: Option<&Record>) -> bool {
    let newest = saved.filter(|saved| saved.is_collected()).unwrap_or(record);
    newest.is_collected() && count_left_out(newest) == 0
}

fn count_left_out(record: &Record) -> u64 {
    record.fields().ok().and_then(|known| known.uncollected).unwrap_or_default()
}

fn saved_record(record: &Record) -> Option<Record> {
    JobFolder::for_record(record).ok()?.saved_record()
}

/// Whether the engine has output of a container.
async fn has_output(engine: &Engine, inspected: &ContainerInspectResponse) -> Result<bool> {
    let log_size = inspected.log_path.as_ref().filter(|path| !engine.is_remote() && !path.is_empty());
    let log_size = log_size.and_then(|path| std::fs::metadata(path).ok()).map(|log| log.len());
    if let Some(size) = log_size {
        return Ok(size > 0);
    }
    let id = inspected.id.as_deref().unwrap_or_default();
    let options = LogsOptions { stdout: true, stderr: true, tail: "1".to_owned(), ..LogsOptions::default() };
    let piece = engine.docker().logs(id, Some(options)).next().await;
    match piece {
        // A log driver that keeps nothing, or cannot be read.
        None | Some(Err(bollard::errors::Error::DockerResponseServerError { .. })) => Ok(false),
        Some(piece) => piece.engine_context("read the output of", Subject::Container(id)).map(|_| true),
    }
}

/// Whether a container has written files, to the mounted folders of its job or anywhere in its own file system.
async fn has_written(engine: &Engine, record: &Record, inspected: &ContainerInspectResponse) -> Result<bool> {
    let mounted = JobFolder::for_record(record).and_then(|folder| folder.mounted()).unwrap_or_default();
    let is_empty = |folder: &PathBuf| std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if !mounted.iter().all(is_empty) {
        return Ok(true);
    }
    let id = inspected.id.as_deref().unwrap_or_default();
    if has_only_mount_points(inspected) {
        return Ok(false);
    }
    let mounts = mount_points(inspected);
    let changes = engine.changes(id).await?;
    // The engine lists the folders above each change.
    let is_parent = |path: &str| changes.iter().any(|other| other.path != path && is_above(path, &other.path));
    for change in changes.iter().filter(|change| is_work(&change.path, &mounts) && !is_parent(&change.path)) {
        // A folder is changed by a file in it that was deleted again.
        let is_changed_folder = change.kind == ChangeType::_0
            && matches!(engine.stat(id, &change.path).await?, Some(PathInfo { kind: PathKind::Directory, .. }));
        if !is_changed_folder {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a container was committed after its last change.
async fn is_committed(engine: &Engine, inspected: &ContainerInspectResponse) -> Result<bool> {
    let id = inspected.id.as_deref().unwrap_or_default();
    let label = vec![format!("{COMMITTED}={id}")];
    let options = ListImagesOptions { filters: Some([("label".to_owned(), label)].into()), ..Default::default() };
    let images = engine.docker().list_images(Some(options)).await.engine_context("list images of", Subject::Engine)?;
    let mut committed: Option<Timestamp> = None;
    for image in images {
        let created = engine.inspect_image(&image.id).await?.created.and_then(|time| time.parse().ok());
        committed = committed.max(created);
    }
    let Some(committed) = committed else { return Ok(false) };
    let mounts = mount_points(inspected);
    let changes = engine.changes(id).await?;
    // Folders too: a file that was moved keeps its time.
    let changes = changes.iter().filter(|change| change.kind != ChangeType::_2 && is_work(&change.path, &mounts));
    let stats = stream::iter(changes.map(|change| engine.stat(id, &change.path)));
    let is_later =
        async |found: Option<PathInfo>| Ok(found.and_then(|found| found.modified).is_some_and(|at| at > committed));
    stats.buffer_unordered(STATS_AT_ONCE).and_then(is_later).try_any(std::future::ready).await.map(|is_later| !is_later)
}

/// Whether a changed path is neither a mount point, nor above or below one, nor a history of commands.
fn is_work(path: &str, mounts: &[&str]) -> bool {
    let is_history = Path::new(path).file_name().is_some_and(|name| HISTORIES.iter().any(|history| name == *history));
    !is_history && !mounts.iter().any(|mount| is_above(path, mount) || is_above(mount, path))
}

fn is_above(path: &str, below: &str) -> bool {
    strip_folder(below, path).is_some()
}
