//! `ncaas-sync collect`: collect the files that a job wrote anywhere into its results.
//!
//! Everything that the job wrote becomes a list of [`findings`]: files in mounted folders are found by [`walk`]; all
//! others are copied into the [`staging`] folder, from the engine's storage ([`overlay_diff`]) or from its archives
//! ([`fetch`], [`unpack`]). Files that are as in the image are left out ([`image_files`]). Then [`result_names`] assigns each
//! a path in the results, and [`journal`] records the moves before [`file_moves`] carries them out, so that a collection that
//! was interrupted at any point can be finished.

mod expected_results;
mod fetch;
mod file_moves;
mod findings;
mod image_files;
mod job_directory;
mod journal;
mod overlay_diff;
mod result_names;
mod selection;
mod staging;
mod unpack;
mod walk;

use std::cell::Cell;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use bollard::models::ContainerInspectResponse;
use ncaas_core::engine::path::{PathInfo, PathKind};
use ncaas_core::engine::{Engine, LazyEngine, Owner, reference};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::inputs;
use ncaas_core::io_dir::fill_io_dir;
use ncaas_core::layout::{CONFIGS, LOGS, PROCESS_RESULTS, RESULTS};
use ncaas_core::lease;
use ncaas_core::pipe::{Input, Output, Pipe, RunningJobs};
use ncaas_core::quantity::format_count;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Job, ResultFile, ResultsFile, RunSettings, Status};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::CollectArgs;
use crate::container_paths::{ContainerPaths, longest_path};
use crate::file_filter::FileFilter;
use crate::result_list::{ResultList, write_results_file};
use expected_results::{Check, ExpectedResults};
use fetch;
use findings::Findings;
use job_directory::{JobDirectory, ResultsDestination};
use journal::{self, CollectProgress, Journal};
use ncaas_core::blocking::run_blocking;
use overlay_diff::OverlayDiff;
use result_names::{Naming, assign_names};
use selection::Selection;
use walk::walk_mounted;

/// Containers that are collected at once. More would not make an engine faster.
const DEFAULT_JOBS: usize = 4;

/// Most bytes of results in a record. Each stage of a pipe holds several whole records in memory.
const MAX_LISTED_BYTES: usize = 16 << 20;

pub(crate) async fn collect(tool: Tool, args: CollectArgs) -> Result<ExitStatus> {
    let collector = Collector {
        tool,
        engine: LazyEngine::default(),
        filter: FileFilter::new(&args.select)?,
        expected: ExpectedResults::new(&args.expect)?,
        args,
        running: RunningJobs::default(),
        jobs_with_left_out: Cell::default(),
    };
    let input =
        Input::arguments_or_stdin(tool, &collector.args.target.container, "ncaas-logs save | ncaas-sync collect")?;
    let pipe = Pipe { skips_pushed: true, ..Pipe::for_args(tool, &collector.args.pipe, DEFAULT_JOBS) };
    let work = async |record: &mut Record, _: &Output| collector.collect(record).await;
    let consequence = "not collected; put `ncaas-logs save` before `ncaas-sync collect`";
    let report = |output: &Output| {
        if let more @ 1.. = collector.jobs_with_left_out.get().saturating_sub(1) {
            tool.note(&format!("temporary files of {} left out too", format_count(more, "more job")));
        }
        collector.running.report(tool, output, consequence);
    };
    pipe.filter_then(input, work, report).await
}

struct Collector {
    tool: Tool,
    engine: LazyEngine,
    filter: FileFilter,
    expected: ExpectedResults,
    args: CollectArgs,
    running: RunningJobs,
    /// The number of jobs of which temporary files were left out. Only the first one is reported by name.
    jobs_with_left_out: Cell<usize>,
}

impl Collector {
    /// Collects one job's results, lists them in its record and saves the record.
    async fn collect(&self, record: &mut Record) -> Result<()> {
        if record.has_only_container() {
            find_record(self.engine.get().await?, record).await?;
        }
        // `ncaas-exec ls` lists development containers with the jobs.
        if record.is_development() {
            return Ok(());
        }
        let container = record.container().ok_or_else(|| Failure::missing_field("container"))?;
        let job = record.job().ok_or_else(|| Failure::missing_field("job"))?;
        if !container.has_ended() {
            self.running.note_running(record);
            return Ok(());
        }
        self.running.note_ended(record);
        lease::check(record)?;
        let inspected = self.inspect(record, &container.id).await;
        match &inspected {
            Ok((engine, Some(inspected))) => take_io_dir(engine, inspected, record).await?,
            Err(failure) if failure.kind == Kind::WrongContainer => return Err(failure.clone()),
            _ => {}
        }
        fill_io_dir(record, &self.args.io_dir.io_dir)?;
        let directory = Arc::new(JobDirectory::open(record)?);
        let lock = directory.lock(&format!("collect.{}", job.dataset)).await?;
        if let Some(saved) = directory.saved_record() {
            record.fill_end(&saved);
        }
        let collected = self.collect_results(record, &directory, job.dataset, &container, inspected).await;
        match &collected {
            Ok(()) => directory.save_record(record)?,
            // The next attempt may succeed.
            Err(failure) if failure.kind.is_transient() => {}
            Err(failure) => {
                let mut failed = record.clone();
                failed.fail(self.tool.name(), failure);
                directory.save_failed_record(&failed, &failure.to_string())?;
            }
        }
        drop(lock);
        collected
    }

    /// Collects the results and lists them in the record.
    async fn collect_results(
        &self,
        record: &mut Record,
        directory: &Arc<JobDirectory>,
        dataset: u64,
        container: &Container,
        inspected: Result<(&Engine, Option<ContainerInspectResponse>)>,
    ) -> Result<()> {
        copy_config(record, directory)?;
        self.collect_files(record, directory, dataset, container, inspected).await?;
        let check = self.expected_results(container).await?;
        let listing = {
            let directory = Arc::clone(directory);
            run_blocking(move || list_results(&directory, dataset, check)).await?
        };
        record.set("results", &listing.results);
        match listing.file {
            Some(file) => record.set("results_file", &file),
            None => record.remove("results_file"),
        }
        match listing.uncollected {
            0 => record.remove("uncollected"),
            uncollected => record.set("uncollected", &uncollected),
        }
        if !record.has_results() && container.status == Some(Status::Success) {
            let job = directory.job().id();
            listing.warnings.iter().for_each(|warning| self.tool.note(&format!("`{job}`: {warning}")));
        }
        listing.warnings.into_iter().for_each(|warning| record.warn(warning));
        self.running.note_done();
        listing.expectation
    }

    /// The check of a job's results. A job that did not succeed is not checked.
    async fn expected_results(&self, container: &Container) -> Result<Check> {
        let expected = if container.status == Some(Status::Success) {
            self.expected.or_from_label(self.engine.get().await.ok(), &container.id).await?
        } else {
            ExpectedResults::default()
        };
        Ok(expected.check())
    }

    /// Moves the files of a job to their places, unless that was done before; finishes what another process began.
    async fn collect_files(
        &self,
        record: &Record,
        directory: &Arc<JobDirectory>,
        dataset: u64,
        container: &Container,
        inspected: Result<(&Engine, Option<ContainerInspectResponse>)>,
    ) -> Result<()> {
        let exists = !matches!(inspected, Ok((_, None)));
        let lock = directory.lock("collect").await?;
        let (shared, id) = (Arc::clone(directory), container.id.clone());
        let widens = self.widens_selection();
        // Somebody who names the container wants more of its files. A pipe that runs again must not do its work twice.
        let recollects = widens && exists && self.args.target.container.is_some();
        if run_blocking(move || resume(&shared, dataset, &id, exists, widens, recollects)).await?
            == CollectProgress::Collected
        {
            return Ok(());
        }
        drop(lock);
        let settings = record.fields().ok().and_then(|fields| fields.run).unwrap_or_default();
        let (findings, paths) = match self.find_files(directory, dataset, container, &settings, inspected).await {
            Ok(found) => found,
            Err(failure) => {
                // Half of the files would only take space, for example on a full disk.
                directory.remove_stage();
                return Err(match failure.kind {
                    Kind::DiskFull => failure.context(format!("in `{}`", directory.job().root().display())),
                    _ => failure,
                });
            }
        };
        let lock = directory.lock("collect").await?;
        let (directory, id) = (Arc::clone(directory), container.id.clone());
        let partial = container.status != Some(Status::Success);
        let has_own_folder = record.job().is_some_and(|job| job.datasets > 1);
        let mut replaceable = replaceable_results(record, &directory);
        run_blocking(move || {
            journal::finish_all(&directory)?;
            let kept = journal::earlier_results(&directory, dataset, &id, &findings)?;
            for earlier in &kept {
                replaceable.remove(&earlier.result.path);
            }
            let label = directory.job().label().to_owned();
            let naming = Naming { paths, base: directory.base(), label, has_own_folder };
            let destination = ResultsDestination { directory: &directory, replaceable: &replaceable };
            let named = assign_names(findings, naming, &destination)?;
            journal::begin(&directory, dataset, &id, named.moves(partial).chain(kept), &named)?;
            drop(named);
            journal::finish(&directory, dataset)?;
            directory.clean_up(exists);
            Ok(())
        })
        .await?;
        drop(lock);
        Ok(())
    }

    /// Whether the command line asks for files that are left out by default.
    fn widens_selection(&self) -> bool {
        self.args.select.all || !self.args.from.is_empty() || !self.args.select.include.is_empty()
    }

    /// Finds everything that the job produced. Also returns the container's paths.
    async fn find_files(
        &self,
        directory: &Arc<JobDirectory>,
        dataset: u64,
        container: &Container,
        settings: &RunSettings,
        inspected: Result<(&Engine, Option<ContainerInspectResponse>)>,
    ) -> Result<(Findings, ContainerPaths)> {
        let (engine, inspected) = inspected?;
        let overlay = inspected.as_ref().filter(|_| !engine.is_remote()).and_then(OverlayDiff::open);
        let paths = match &inspected {
            None => ContainerPaths::of_removed_container(),
            Some(inspected) => {
                let paths = ContainerPaths::from_inspect(inspected);
                let paths = match engine.stat(&container.id, &paths.io_dir).await? {
                    Some(PathInfo { kind: PathKind::Symlink(target), .. }) => paths.with_linked_io_dir(&target),
                    _ => paths,
                };
                if engine.is_remote() {
                    paths.with_job_copies(settings)
                } else {
                    paths.with_job_mounts(inspected, directory.job())
                }
            }
        };
        let selection = Arc::new(Selection {
            paths,
            filter: self.filter.clone(),
            max_size: self.args.max_size.unwrap_or(u64::MAX),
            longest_path: longest_path(directory.job()),
        });
        let stage = Arc::clone(directory);
        let stage = run_blocking(move || stage.create_stage()).await?;
        let mounted = directory.mounted()?;
        if inspected.is_some() {
            engine.repair_ownership(&container.id, &mounted, Owner::current()).await?;
        }
        let image = inspected.as_ref().map(|inspected| inspected.image.as_deref().unwrap_or_default());
        let paths = selection.paths.clone();
        let mut findings = find_mounted_files(directory, dataset, &selection).await?;
        if let Some(image) = image {
            let shared = Arc::clone(&selection);
            let (fetched, left_out) = fetch::fetch(engine, shared, stage, overlay, image, &self.args.from).await?;
            findings.append(fetched);
            if container.status.is_some() {
                // A job that failed need not have results.
                let may_be_removed = container.status != Some(Status::Success)
                    || !findings.list.is_empty()
                    || directory.saved_record().is_some_and(|saved| saved.has_results());
                let left_out = match left_out {
                    Some(left_out) => Ok(left_out),
                    None => fetch::count_left_out(engine, &selection).await,
                };
                match left_out {
                    Ok(left_out) if may_be_removed => {
                        if let Some(warning) = left_out.warning_beside_results(self.args.container.is_none()) {
                            if self.jobs_with_left_out.replace(self.jobs_with_left_out.get() + 1) == 0 {
                                self.tool.note(&format!("`{}`: {warning}", directory.job().label()));
                            }
                            findings.warnings.add(warning);
                        }
                    }
                    Ok(left_out) => {
                        findings.warnings.add(left_out.warning());
                        findings.uncollected = left_out.total();
                    }
                    // The engine lists nothing if one path is too deep for it.
                    Err(_) if may_be_removed => {}
                    Err(failure) => return Err(failure),
                }
            }
        } else {
            findings.warnings.add(format!(
                "container `{}` was removed; files that it wrote outside its results are lost",
                container.id
            ));
        }
        Ok((findings, paths))
    }

    /// The container of a record's job, unless it was removed, and its engine.
    async fn inspect(&self, record: &Record, container: &str) -> Result<(&Engine, Option<ContainerInspectResponse>)> {
        let engine = self.engine.get().await?;
        match engine.inspect_for(record, container).await {
            Ok(inspected) => Ok((engine, Some(inspected))),
            Err(failure) if failure.kind == Kind::ContainerNotFound => Ok((engine, None)),
            Err(failure) => Err(failure),
        }
    }
}

/// Finds the record that an argument names. If the container was not started from a record, the results go to a folder with
/// the container's name.
async fn find_record(engine: &Engine, record: &mut Record) -> Result<()> {
    let inspected = match engine.inspect_target(record).await {
        Err(failure) if failure.kind == Kind::ContainerNotFound && record.job().is_some() => return Ok(()),
        inspected => inspected?,
    };
    let id = reference::container_name(&inspected).to_owned();
    record.fill("job", &Job { id, dataset: 1, datasets: 1, ..Job::default() });
    record.fill("image", &inspected.config.and_then(|config| config.image).unwrap_or_default());
    Ok(())
}

/// Takes the io-dir that the job was started with from the container's own label.
async fn take_io_dir(engine: &Engine, inspected: &ContainerInspectResponse, record: &mut Record) -> Result<()> {
    let started = engine.record_of_container(inspected).await?;
    let Some(io_dir) = started.as_ref().and_then(|started| started.text("io_dir")) else { return Ok(()) };
    if record.text("io_dir") == Some(io_dir) || engine.is_remote() {
        return Ok(());
    }
    if !Path::new(io_dir).is_dir() {
        let message = format!("the job ran with the io-dir `{io_dir}`, which does not exist on this machine");
        return Err(Failure::new(Kind::FileNotFound, message));
    }
    record.set("io_dir", &io_dir);
    Ok(())
}

/// Finishes the moves that other processes began in the job's folder. The progress for this container afterwards. With
/// `widens`, a job whose files were all left out is collected again; with `recollects`, any job.
fn resume(
    directory: &JobDirectory,
    dataset: u64,
    container: &str,
    exists: bool,
    widens: bool,
    recollects: bool,
) -> Result<CollectProgress> {
    journal::finish_all(directory)?;
    let progress = journal::progress(directory, dataset, container)?;
    if progress == CollectProgress::Collected {
        let has_left_out = || {
            Journal::open_finished(directory, dataset)
                .is_ok_and(|journal| journal.is_some_and(|journal| journal.uncollected > 0))
        };
        if recollects || widens && has_left_out() {
            return Ok(CollectProgress::NotStarted);
        }
        directory.clean_up(exists);
    }
    Ok(progress)
}

/// Finds the files in the job's mounted results and logs folders. With a remote engine these do not exist.
async fn find_mounted_files(
    directory: &Arc<JobDirectory>,
    dataset: u64,
    selection: &Arc<Selection>,
) -> Result<Findings> {
    let (directory, selection) = (Arc::clone(directory), Arc::clone(selection));
    run_blocking(move || {
        let job = directory.job();
        let mut findings = Findings::default();
        let Some(work) = directory.open_work(dataset)? else { return Ok(findings) };
        for (name, container_path) in [(RESULTS, selection.paths.results()), (LOGS, selection.paths.logs())] {
            findings.append(walk_mounted(&work, &job.work(), name, &container_path, &selection)?);
        }
        Ok(findings)
    })
    .await
}

/// The results of an earlier run of this dataset that no other dataset shares, relative to the io-dir.
fn replaceable_results(record: &Record, directory: &JobDirectory) -> HashSet<String> {
    // A list that does not match its record is ignored: its files stay beside the new ones.
    let list = |record: &Record| ResultList::open(record, directory.folder()).ok().into_iter().flatten();
    let paths = |record: &Record| list(record).flatten().map(|result| result.path).collect::<Vec<_>>();
    let mut replaceable: HashSet<String> = directory.saved_record().iter().flat_map(paths).collect();
    if replaceable.is_empty() || record.job().is_none_or(|job| job.datasets <= 1) {
        return replaceable;
    }
    for path in directory.other_records().iter().flat_map(paths) {
        replaceable.remove(&path);
    }
    replaceable
}

/// Copies the config beside the results, under its own name.
fn copy_config(record: &Record, directory: &JobDirectory) -> Result<()> {
    let Some(name) = record.text("configname") else { return Ok(()) };
    let config = inputs::locate(record, name, CONFIGS)?;
    let Some(own_name) = config.host.file_name() else { return Ok(()) };
    let content = inputs::read(record, &config, ncaas_core::config::MAX_SIZE)?;
    let to = Path::new(PROCESS_RESULTS).join(own_name);
    if directory.folder().read(&to, content.len() as u64 + 1).is_some_and(|existing| existing == content) {
        return Ok(());
    }
    directory.folder().write_whole(&to, &content)
}

/// The fields of a record about the results of a job.
struct ListedResults {
    results: Vec<ResultFile>,
    /// The file that lists them instead.
    file: Option<ResultsFile>,
    warnings: Vec<String>,
    /// Files that were left out of a successful job without results.
    uncollected: u64,
    /// Whether everything expected is among them.
    expectation: Result<()>,
}

/// Lists the collected results of a dataset: in the record or, if they are too many, in a file.
fn list_results(directory: &JobDirectory, dataset: u64, mut check: Check) -> Result<ListedResults> {
    let mut listing =
        ListedResults { results: Vec::new(), file: None, warnings: Vec::new(), uncollected: 0, expectation: Ok(()) };
    let mut room = MAX_LISTED_BYTES;
    if let Some(mut journal) = Journal::open_finished(directory, dataset)? {
        listing.warnings = std::mem::take(&mut journal.warnings);
        listing.uncollected = journal.uncollected;
        for one in journal.moves() {
            // A line of the journal is longer than the result in it.
            let (one, length) = one?;
            check.add(&one.result);
            room = room.saturating_sub(length);
            if room > 0 {
                listing.results.push(one.result);
            } else {
                listing.results = Vec::new();
            }
        }
    }
    listing.expectation = check.finish();
    let path = directory.relative(&directory.job().results_file());
    if room > 0 {
        listing.results.sort_by(|a, b| a.path.cmp(&b.path));
        // An earlier run may have left one.
        let _ = directory.dir().remove_file(path);
    } else if let Some(mut journal) = Journal::open_finished(directory, dataset)? {
        let results = journal.moves().map(|one| one.map(|(one, _)| one.result));
        listing.file = Some(write_results_file(directory.folder(), &path, results)?);
    }
    Ok(listing)
}
