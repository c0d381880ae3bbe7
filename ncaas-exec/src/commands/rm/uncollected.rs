//! Whether a job has written files that were not collected, and that would be lost with its container.

use std::path::PathBuf;

use ncaas_core::engine::Engine;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::JobFolder;
use ncaas_core::record::Record;
use ncaas_core::record::fields::Container;
use walkdir::WalkDir;

/// Makes sure that nothing is lost with an ended container. Fails with [`Kind::ResultsMissing`] if its job wrote files that
/// were not collected.
pub(super) async fn check_collected(engine: &Engine, record: &Record, container: &Container) -> Result<()> {
    let Container { id, name, .. } = container;
    if record.job().is_some() && !is_collected(record) && has_written(engine, record, id).await? {
        let message = format!("kept the container `{name}`: what its job wrote was not collected");
        let collect = if has_left_out(record) {
            format!("`ncaas-sync collect --all {name}` (or `--from /tmp`) collects the files that were left out")
        } else {
            format!("`ncaas-sync collect {name}` collects it")
        };
        return Err(Failure::new(Kind::ResultsMissing, message)
            .hint(format!("{collect}; `ncaas-exec rm --force {name}` discards it")));
    }
    Ok(())
}

/// Whether the job's results were collected: its record, or its saved record, lists them.
pub(super) fn is_collected(record: &Record) -> bool {
    let lists_results = |record: &Record| {
        count_left_out(record) == 0 && (record.results().is_some() || record.results_file().is_some())
    };
    // The saved record is newer than one that an earlier stage or command printed.
    let saved = saved_record(record).filter(|saved| saved.results().is_some() || saved.results_file().is_some());
    lists_results(saved.as_ref().unwrap_or(record))
}

/// Whether files of the job were left out when its results were collected.
fn has_left_out(record: &Record) -> bool {
    count_left_out(record) > 0 || saved_record(record).is_some_and(|saved| count_left_out(&saved) > 0)
}

fn count_left_out(record: &Record) -> u64 {
    record.fields().ok().and_then(|known| known.uncollected).unwrap_or_default()
}

fn saved_record(record: &Record) -> Option<Record> {
    JobFolder::for_record(record).ok()?.saved_record()
}

/// Whether a job has written files, to its mounted folders or anywhere in its container.
async fn has_written(engine: &Engine, record: &Record, id: &str) -> Result<bool> {
    let mounted = JobFolder::for_record(record).and_then(|folder| folder.mounted()).unwrap_or_default();
    let is_empty = |folder: &PathBuf| std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    if !mounted.iter().all(is_empty) {
        return Ok(true);
    }
    let inspected = engine.inspect(id).await?;
    let mounts: Vec<String> = inspected.mounts.into_iter().flatten().filter_map(|mount| mount.destination).collect();
    let layer = inspected.graph_driver.filter(|driver| driver.name == "overlay2");
    if layer.and_then(|driver| has_only_mount_points(driver.data.get("UpperDir")?, &mounts)) == Some(true) {
        return Ok(false);
    }
    let changes = engine.changes(id).await?;
    // The engine lists mount points, and the folders above each change.
    let is_own = |path: &str| {
        !mounts.iter().any(|mount| is_above(path, mount) || is_above(mount, path))
            && !changes.iter().any(|other| other.path != path && is_above(path, &other.path))
    };
    Ok(changes.iter().any(|change| is_own(&change.path)))
}

fn is_above(path: &str, below: &str) -> bool {
    below == path || below.starts_with(&format!("{}/", path.trim_end_matches('/')))
}

/// Whether a container's own layer has nothing but folders for its mounts. None if the layer cannot be read here. The
/// engine takes 25 ms or more to compare the layer with the image.
fn has_only_mount_points(layer: &str, mounts: &[String]) -> Option<bool> {
    for entry in WalkDir::new(layer).min_depth(1) {
        let entry = entry.ok()?;
        let path = entry.path().to_str()?.strip_prefix(layer)?;
        if !mounts.iter().any(|mount| is_above(path, mount)) {
            return Some(false);
        }
    }
    Some(true)
}
