//! `ncaas-exec du`: the disk space that jobs and their images use.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;
use ncaas_core::blocking::run_blocking;
use ncaas_core::duration::format_age;
use ncaas_core::engine::{Engine, EngineContext, Subject, labels};
use ncaas_core::failure::Result;
use ncaas_core::files;
use ncaas_core::io_dir::find_io_dirs;
use ncaas_core::layout::{RESULTS, WORK};
use ncaas_core::pipe::{Output, Pipe};
use ncaas_core::quantity::format_bytes;
use ncaas_core::record::Record;
use ncaas_core::table::{Table, shows_table, terminal_width};
use ncaas_core::tool::{ExitStatus, Tool};
use schemars::JsonSchema;
use serde::Serialize;
use walkdir::WalkDir;

use crate::args::DuArgs;
use crate::listed_records::inspect_record;

/// The disk space of a job, or of an image of jobs.
#[derive(Debug, Default, Clone, Serialize, JsonSchema)]
pub(crate) struct DiskUsage {
    /// Id of the job, or name of the development container; none for an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<String>,
    /// The image. Jobs of one image share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    /// Seconds since the job ended, or else since its folder changed.
    age_s: Option<i64>,
    /// Size of the files in its containers' own layers, in bytes.
    containers_bytes: u64,
    /// Its work folders in the io-dir, in bytes.
    work_bytes: u64,
    /// Its results and logs in the io-dir, in bytes.
    results_bytes: u64,
    /// The image, in bytes.
    image_bytes: u64,
    /// How much of it are layers of an image before it in the list, in bytes.
    shared_bytes: u64,
}

impl DiskUsage {
    fn total(&self) -> u64 {
        self.containers_bytes + self.work_bytes + self.results_bytes + self.image_bytes
    }
}

pub(crate) async fn du(tool: Tool, args: DuArgs) -> Result<ExitStatus> {
    let io_dir = files::absolute(&args.io_dir)?;
    Pipe::for_records(tool, &args.records)
        .source(async |output: &Output| {
            let engine = Engine::connect().await?;
            let usages = measure(&engine, io_dir.clone()).await?;
            if shows_table(args.records.json) {
                output.write(table(&usages, terminal_width()).into_bytes()).await;
            } else {
                for usage in &usages {
                    output.write_json(usage).await;
                }
            }
            Ok(())
        })
        .await
}

/// The usage of all jobs that have a container or a folder, and of their images; largest first.
async fn measure(engine: &Engine, io_dir: PathBuf) -> Result<Vec<DiskUsage>> {
    let (mut jobs, mut io_dirs): (BTreeMap<String, DiskUsage>, BTreeSet<PathBuf>) = Default::default();
    let mut images = BTreeSet::new();
    for listed in engine.list_labelled(&[labels::TOOL]).await? {
        let Some(record) = inspect_record(engine, listed, true).await? else { continue };
        let Some(container) = record.container() else { continue };
        let name = record.job().map_or_else(|| container.name.clone(), |job| job.id);
        let usage = jobs.entry(name).or_default();
        usage.containers_bytes += container.size_bytes.unwrap_or_default();
        usage.image = record.text("image").map(str::to_owned);
        usage.age_s = age_of_container(&record);
        images.extend(usage.image.clone());
        io_dirs.extend(record.text("io_dir").filter(|_| record.job().is_some()).map(PathBuf::from));
    }
    let folders = run_blocking(move || {
        io_dirs.extend(find_io_dirs(&io_dir));
        Ok(io_dirs.iter().flat_map(|io_dir| measure_folders(io_dir)).collect::<Vec<_>>())
    });
    for (job, work_bytes, results_bytes, age_s) in folders.await? {
        let usage = jobs.entry(job).or_default();
        usage.work_bytes += work_bytes;
        usage.results_bytes += results_bytes;
        usage.age_s = usage.age_s.or(age_s);
    }
    let mut usages: Vec<DiskUsage> =
        jobs.into_iter().map(|(job, usage)| DiskUsage { job: Some(job), ..usage }).collect();
    for image in images {
        // An image that was removed takes nothing.
        let Ok(inspected) = engine.inspect_image(&image).await else { continue };
        let image_bytes = inspected.size.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default();
        usages.push(DiskUsage { image: Some(image), image_bytes, ..DiskUsage::default() });
    }
    usages.sort_by_key(|usage| std::cmp::Reverse(usage.total()));
    let mut layers = BTreeSet::new();
    for usage in &mut usages {
        if let Some(image) = usage.image.as_ref().filter(|_| usage.job.is_none()) {
            usage.shared_bytes = count_known_layers(engine, image, &mut layers).await?.min(usage.image_bytes);
        }
    }
    Ok(usages)
}

/// The step of a build that made a layer: its place, time, command and size.
type BuildStep = (usize, i64, String, i64);

/// The bytes of the layers of an image that are among the known ones. Adds the others to them.
async fn count_known_layers(engine: &Engine, image: &str, known: &mut BTreeSet<BuildStep>) -> Result<u64> {
    let history =
        engine.docker().image_history(image).await.engine_context("read the layers of", Subject::Image(image))?;
    let layers = history.into_iter().rev().enumerate().map(|(at, step)| (at, step.created, step.created_by, step.size));
    let shared = layers.filter(|layer| !known.insert(layer.clone())).map(|(.., size)| u64::try_from(size).unwrap_or(0));
    Ok(shared.sum())
}

fn age_of_container(record: &Record) -> Option<i64> {
    let container = record.container()?;
    let time: Timestamp = container.finished_at.or(container.started_at)?.parse().ok()?;
    Some(Timestamp::now().duration_since(time).as_secs())
}

/// The jobs with folders in an io-dir: id, bytes of the work folders, bytes of results and logs, age in seconds.
fn measure_folders(io_dir: &Path) -> Vec<(String, u64, u64, Option<i64>)> {
    let measure = |folder: PathBuf, is_work: bool| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.map(move |entry| {
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            let age = changed.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
            let age = age.and_then(|age| i64::try_from(age.as_secs()).ok());
            let bytes = bytes_below(&entry.path());
            let (work, results) = if is_work { (bytes, 0) } else { (0, bytes) };
            (entry.file_name().to_string_lossy().into_owned(), work, results, age)
        })
    };
    measure(io_dir.join(RESULTS), false).chain(measure(io_dir.join(WORK), true)).collect()
}

/// The disk space of the files below a folder, in bytes. A file with several names counts once; unreadable folders
/// count nothing.
fn bytes_below(folder: &Path) -> u64 {
    let mut seen = BTreeSet::new();
    let files = WalkDir::new(folder).into_iter().flatten().filter_map(|entry| entry.metadata().ok());
    files.filter(|file| seen.insert((file.dev(), file.ino()))).map(|file| file.blocks() * 512).sum()
}

/// The table for a terminal, with a last line for all. An image has its size where a job has that of its containers:
/// both are in the engine.
fn table(usages: &[DiskUsage], width: usize) -> String {
    let mut table = Table::new(&["JOB OR IMAGE", "AGE", "ENGINE", "WORK", "RESULTS"]).fit(width);
    let cells = |name: String, usage: &DiskUsage| {
        let bytes = [usage.containers_bytes + usage.image_bytes, usage.work_bytes, usage.results_bytes];
        let bytes = bytes.map(|bytes| if bytes == 0 { "-".to_owned() } else { format_bytes(bytes) });
        let age = usage.age_s.map_or_else(|| "-".to_owned(), format_age);
        [name, age].into_iter().chain(bytes).collect::<Vec<_>>()
    };
    let mut all = DiskUsage::default();
    for usage in usages {
        all.containers_bytes += usage.containers_bytes;
        all.work_bytes += usage.work_bytes;
        all.results_bytes += usage.results_bytes;
        // Images of the same base share its layers.
        all.image_bytes += usage.image_bytes - usage.shared_bytes;
        all.shared_bytes += usage.shared_bytes;
        table.push(cells(usage.job.clone().or(usage.image.clone()).unwrap_or_default(), usage));
    }
    table.push(cells("all".to_owned(), &all));
    let shared = match all.shared_bytes {
        0 => String::new(),
        bytes => format!("{} are in layers that several images share; `all` counts them once\n", format_bytes(bytes)),
    };
    format!("{table}{shared}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_jobs_are_measured_and_a_linked_file_counts_once() {
        let root = tempfile::tempdir().unwrap();
        let (results, work) =
            (root.path().join("lab/results/job__a_1"), root.path().join("lab/.ncaas/work/job__a_1/1"));
        std::fs::create_dir_all(&results).unwrap();
        std::fs::create_dir_all(&work).unwrap();
        std::fs::write(results.join("x"), vec![1; 1 << 20]).unwrap();
        std::fs::hard_link(results.join("x"), results.join("y")).unwrap();
        assert_eq!(find_io_dirs(root.path()), [root.path().join("lab"), root.path().to_owned()]);
        let measured = measure_folders(&root.path().join("lab"));
        let (results, work) = (&measured[0], &measured[1]);
        assert_eq!((results.0.as_str(), work.0.as_str()), ("job__a_1", "job__a_1"));
        assert!((1 << 20..3 << 19).contains(&results.2) && work.1 < 1 << 19, "{measured:?}");
        assert_eq!((results.1, work.2), (0, 0));
    }

    #[test]
    fn a_job_has_one_line_at_80_columns() {
        let bytes = 999_900_000;
        let job = Some("job__pca_2026_11_27_10_00_00_123456".to_owned());
        let (containers_bytes, work_bytes, results_bytes) = (bytes, bytes, bytes);
        let usage =
            DiskUsage { job, age_s: Some(3000), containers_bytes, work_bytes, results_bytes, ..DiskUsage::default() };
        let shown = table(&[usage], 80);
        assert_eq!(shown.lines().count(), 3, "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= 80) && shown.contains("10_00_00_123456"), "{shown}");
    }
}
