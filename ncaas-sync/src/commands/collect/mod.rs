//! `ncaas-sync collect`: collect the files that a job wrote anywhere into its results.
//!
//! Everything that the job wrote becomes a list of [`findings`]: files in mounted folders are found by [`walk`]; all
//! others are copied into the [`staging`] folder, from the engine's storage ([`overlay_diff`]) or from its archives
//! ([`fetch`], [`unpack`]). Files that are as in the image are left out ([`image_files`]). Then [`result_names`]
//! assigns each a path in the results, and [`journal`] records the moves before [`file_moves`] carries them out, so
//! that a collection that was interrupted at any point can be finished.

mod collection;
mod earlier_results;
mod expected_results;
mod fetch;
mod file_moves;
mod findings;
mod image_files;
mod job_directory;
mod journal;
mod listed_results;
mod overlay_diff;
mod result_names;
mod results_destination;
mod selection;
mod staging;
mod unpack;
mod walk;

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use bollard::models::ContainerInspectResponse;
use ncaas_core::blocking::run_blocking;
use ncaas_core::engine::{Engine, LazyEngine, reference};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::image_labels::EXPECT;
use ncaas_core::inputs;
use ncaas_core::io_dir::fill_io_dir;
use ncaas_core::layout::{CONFIGS, PROCESS_RESULTS};
use ncaas_core::lease;
use ncaas_core::outcome::{
    NO_RESULTS, add_results_folder, describe_results, is_reported, outcome_line, reason_for_no_results, results_folder,
};
use ncaas_core::pipe::{FollowedJobs, Input, Output, Pipe, RunningJobs};
use ncaas_core::quantity::format_count;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Job, Status};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::CollectArgs;
use crate::file_filter::FileFilter;
use collection::{Collection, Inspected};
use expected_results::{Check, ExpectedResults};
use job_directory::JobDirectory;
use listed_results::ListedResults;

/// Containers that are collected at once. More would not make an engine faster.
const DEFAULT_JOBS: usize = 4;

pub(crate) async fn collect(tool: Tool, args: CollectArgs) -> Result<ExitStatus> {
    let collector = Collector {
        tool,
        engine: LazyEngine::default(),
        filter: FileFilter::new(&args.select)?,
        expected: ExpectedResults::new(&args.expect)?,
        args,
        running: RunningJobs::default(),
        jobs: FollowedJobs::with_reported(),
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
    let collected = pipe.filter_then(input, work, report).await;
    collector.jobs.note_end(tool, false);
    collected
}

struct Collector {
    tool: Tool,
    engine: LazyEngine,
    filter: FileFilter,
    expected: ExpectedResults,
    args: CollectArgs,
    running: RunningJobs,
    jobs: FollowedJobs,
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
        let collected = self.collect_results(record, &directory, &container, inspected).await;
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
        // Somebody who names a container sees the summary of its record.
        if self.args.target.container.is_none() {
            self.report(record, &directory, collected.is_ok());
        }
        collected
    }

    /// Prints how a job ended and where its results are, unless an earlier stage has.
    fn report(&self, record: &mut Record, directory: &JobDirectory, is_collected: bool) {
        let log = directory.job().log_file();
        let Some(mut outcome) = outcome_line(record, record.logs().map(|_| log.as_path())) else { return };
        if let Some(folder) = results_folder(record).filter(|_| is_collected) {
            add_results_folder(&mut outcome, record, &folder);
            if let Some(results) = describe_results(record).filter(|_| record.is_failed() && is_reported(record)) {
                self.tool.note(&format!("`{}` left {results} in {folder}", directory.job().label()));
            }
        } else if is_collected && !record.is_failed() && reason_for_no_results(record).is_none() {
            outcome.push_str(": no results");
        }
        self.jobs.report(self.tool, record, &outcome);
    }

    /// Collects the results and lists them in the record.
    async fn collect_results(
        &self,
        record: &mut Record,
        directory: &Arc<JobDirectory>,
        container: &Container,
        inspected: Inspected<'_>,
    ) -> Result<()> {
        copy_config(record, directory)?;
        let (tool, args, filter) = (self.tool, &self.args, &self.filter);
        let jobs_with_left_out = &self.jobs_with_left_out;
        let collection = Collection { tool, args, filter, jobs_with_left_out, record, directory, container };
        // The label of a container that was removed is lost.
        let label = inspected.as_ref().ok().and_then(|(_, inspected)| expect_label(inspected.as_ref()?));
        collection.collect(inspected).await?;
        let check = self.expected_results(container, &label.unwrap_or_default())?;
        let listed = {
            let directory = Arc::clone(directory);
            run_blocking(move || ListedResults::read(&directory, check)).await?
        };
        listed.set_in(record);
        // The outcome of the job, if this stage reports it, contains the reason for its lack of results.
        let has_outcome = args.target.container.is_none() && self.jobs.reports_end(tool, record);
        let is_noted = |warning: &&String| !has_outcome || !warning.starts_with(NO_RESULTS);
        if !record.has_results() && container.status == Some(Status::Success) {
            let job = directory.job().label();
            listed.warnings.iter().filter(is_noted).for_each(|warning| tool.note(&format!("`{job}`: {warning}")));
        }
        listed.warnings.into_iter().for_each(|warning| record.warn(warning));
        self.running.note_done();
        listed.expectation
    }

    /// The check of a job's results. A job that did not succeed is not checked.
    fn expected_results(&self, container: &Container, label: &str) -> Result<Check> {
        let expected = if container.status == Some(Status::Success) {
            self.expected.or_from_label(label)?
        } else {
            ExpectedResults::default()
        };
        Ok(expected.check(&container.name))
    }

    /// The container of a record's job, unless it was removed, and its engine.
    async fn inspect(&self, record: &Record, container: &str) -> Inspected<'_> {
        let engine = self.engine.get().await?;
        match engine.inspect_for(record, container).await {
            Ok(inspected) => Ok((engine, Some(inspected))),
            Err(failure) if failure.kind == Kind::ContainerNotFound => Ok((engine, None)),
            Err(failure) => Err(failure),
        }
    }
}

/// Finds the record that an argument names. If the container was not started from a record, the results go to a folder
/// with the container's name.
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

/// The results that a job's container must leave, one glob on each line.
fn expect_label(inspected: &ContainerInspectResponse) -> Option<String> {
    inspected.config.as_ref()?.labels.as_ref()?.get(EXPECT).cloned()
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
