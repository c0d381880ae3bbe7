//! One collection of the files of a job: finds them, assigns each a path in the results, and moves them there.

use std::cell::Cell;
use std::sync::Arc;

use bollard::models::ContainerInspectResponse;
use ncaas_core::blocking::run_blocking;
use ncaas_core::engine::path::{PathInfo, PathKind};
use ncaas_core::engine::{Engine, FileOwner};
use ncaas_core::failure::{Kind, Result};
use ncaas_core::layout::{LOGS, RESULTS};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, RunSettings, Status};
use ncaas_core::tool::Tool;

use super::earlier_results::EarlierResults;
use super::fetch;
use super::findings::Findings;
use super::job_directory::JobDirectory;
use super::journal::{self, CollectProgress, Journal};
use super::overlay_diff::OverlayDiff;
use super::result_names::{Naming, assign_names};
use super::results_destination::ResultsDestination;
use super::selection::{LeftOutFiles, Selection};
use super::walk::walk_mounted;
use crate::args::CollectArgs;
use crate::container_paths::{ContainerPaths, longest_path};
use crate::file_filter::FileFilter;

/// The engine, and the container of a job unless it was removed.
pub(super) type Inspected<'e> = Result<(&'e Engine, Option<ContainerInspectResponse>)>;

/// The collection from one container.
pub(super) struct Collection<'c> {
    pub(super) tool: Tool,
    pub(super) args: &'c CollectArgs,
    pub(super) filter: &'c FileFilter,
    /// The number of jobs of which temporary files were left out. Only the first one is reported by name.
    pub(super) jobs_with_left_out: &'c Cell<usize>,
    pub(super) record: &'c Record,
    pub(super) directory: &'c Arc<JobDirectory>,
    pub(super) container: &'c Container,
}

impl Collection<'_> {
    /// Moves the files of the job into its results, unless that was done before. Finishes what another process began.
    pub(super) async fn collect(&self, inspected: Inspected<'_>) -> Result<()> {
        let without_container = if let Ok((engine, None)) = &inspected { Some(*engine) } else { None };
        let lock = self.directory.lock("collect").await?;
        let (directory, id) = (Arc::clone(self.directory), self.container.id.clone());
        let widens = self.widens_selection();
        // Somebody who names the container wants more of its files. A pipe that runs again must not do its work twice.
        let recollects = widens && without_container.is_none() && self.args.target.container.is_some();
        let progress = run_blocking(move || resume(&directory, &id, widens, recollects)).await?;
        drop(lock);
        if progress != CollectProgress::Collected {
            self.find_and_move_files(inspected).await?;
        }
        // The work folder is removed with the container, here if that no longer exists.
        if let Some(engine) = without_container {
            let _lock = self.directory.job().lock_work().await;
            engine.remove_unused_work(self.directory.job(), self.record, false).await;
        }
        Ok(())
    }

    async fn find_and_move_files(&self, inspected: Inspected<'_>) -> Result<()> {
        let (findings, paths) = match self.find_files(inspected).await {
            Ok(found) => found,
            Err(failure) => {
                // Half of the files would only take space, for example on a full disk.
                self.directory.remove_stage();
                return Err(match failure.kind {
                    Kind::DiskFull => failure.context(format!("in `{}`", self.directory.job().root().display())),
                    _ => failure,
                });
            }
        };
        let lock = self.directory.lock("collect").await?;
        self.move_files(findings, paths).await?;
        drop(lock);
        Ok(())
    }

    /// Assigns names, writes the journal and moves the files.
    async fn move_files(&self, findings: Findings, paths: ContainerPaths) -> Result<()> {
        let (tool, directory, id) = (self.tool, Arc::clone(self.directory), self.container.id.clone());
        let partial = self.container.status != Some(Status::Success);
        let has_own_folder = self.record.job().is_some_and(|job| job.datasets > 1);
        let config = self.record.text("configname").map(str::to_owned);
        let is_retry = self.record.job().is_some_and(|job| job.attempt_number() > 1);
        run_blocking(move || {
            let dataset = directory.job().dataset();
            journal::finish_all(&directory)?;
            let mut earlier = EarlierResults::read(&directory, !has_own_folder, config.as_deref())?;
            let kept = journal::not_found_again(&directory, dataset, &id, &findings)?;
            for result in &kept {
                earlier.forget(&result.result.path);
            }
            if is_retry {
                earlier.remove(&directory, &id);
            }
            let label = directory.job().label().to_owned();
            let naming = Naming { paths, base: directory.base(), label, has_own_folder };
            let destination = ResultsDestination { directory: &directory, replaceable: &earlier };
            let mut named = assign_names(findings, naming, &destination)?;
            named.moves(partial).for_each(|result| earlier.forget(&result.result.path));
            let warning = earlier.warning(&directory);
            for words in earlier.describe_removed().iter().chain(&warning) {
                tool.note(&format!("`{}`: {words}", directory.job().label()));
            }
            named.warnings.extend(warning);
            journal::begin(&directory, dataset, &id, named.moves(partial).chain(kept), &named)?;
            drop(named);
            journal::finish(&directory, dataset)?;
            directory.remove_stage();
            Ok(())
        })
        .await
    }

    /// Whether the command line asks for files that are left out by default.
    fn widens_selection(&self) -> bool {
        self.args.select.all || !self.args.from.is_empty() || !self.args.select.include.is_empty()
    }

    /// Finds everything that the job produced. Also returns the container's paths.
    async fn find_files(&self, inspected: Inspected<'_>) -> Result<(Findings, ContainerPaths)> {
        let (engine, inspected) = inspected?;
        let overlay = inspected.as_ref().filter(|_| !engine.is_remote()).and_then(OverlayDiff::open);
        let is_unchanged = overlay.as_ref().is_some_and(OverlayDiff::is_unchanged);
        let paths = match &inspected {
            None => ContainerPaths::of_removed_container(),
            Some(inspected) => self.container_paths(engine, inspected, is_unchanged).await?,
        };
        let selection = Arc::new(Selection {
            paths,
            filter: self.filter.clone(),
            max_size: self.args.max_size.unwrap_or(u64::MAX),
            longest_path: longest_path(self.directory.job()),
        });
        let directory = Arc::clone(self.directory);
        let stage = run_blocking(move || directory.create_stage()).await?;
        let mounted = self.directory.mounted()?;
        if inspected.is_some() {
            engine.repair_ownership(&self.container.id, &mounted, FileOwner::current()).await?;
        }
        let paths = selection.paths.clone();
        let mut findings = self.find_mounted_files(&selection).await?;
        if let Some(inspected) = &inspected {
            let image = inspected.image.as_deref().unwrap_or_default();
            let selected = Arc::clone(&selection);
            let (fetched, left_out) = fetch::fetch(engine, selected, stage, overlay, image, &self.args.from).await?;
            findings.append(fetched);
            if self.container.status.is_some() {
                self.add_left_out(engine, &selection, left_out, &mut findings).await?;
            }
        } else {
            findings.warnings.add(format!(
                "container `{}` was removed; files that it wrote outside its results are lost",
                self.container.id
            ));
        }
        Ok((findings, paths))
    }

    /// The paths of the container. With `is_unchanged` it has no files outside its mounts.
    async fn container_paths(
        &self,
        engine: &Engine,
        inspected: &ContainerInspectResponse,
        is_unchanged: bool,
    ) -> Result<ContainerPaths> {
        let paths = ContainerPaths::from_inspect(inspected);
        // The engine mounts the container's file system to answer. Without files in it, a link does not matter.
        let io_dir = if is_unchanged { None } else { engine.stat(&self.container.id, &paths.io_dir).await? };
        let paths = match io_dir {
            Some(PathInfo { kind: PathKind::Symlink(target), .. }) => paths.with_linked_io_dir(&target),
            _ => paths,
        };
        Ok(if engine.is_remote() {
            let settings: Option<RunSettings> = self.record.fields().ok().and_then(|fields| fields.run);
            paths.with_job_copies(&settings.unwrap_or_default())
        } else {
            paths.with_job_mounts(inspected, self.directory.job())
        })
    }

    /// Finds the files in the job's mounted results and logs folders. With a remote engine these do not exist.
    async fn find_mounted_files(&self, selection: &Arc<Selection>) -> Result<Findings> {
        let (directory, selection) = (Arc::clone(self.directory), Arc::clone(selection));
        run_blocking(move || {
            let job = directory.job();
            let mut findings = Findings::default();
            let Some(work) = directory.open_work(job.dataset())? else { return Ok(findings) };
            for (name, container_path) in [(RESULTS, selection.paths.results()), (LOGS, selection.paths.logs())] {
                findings.append(walk_mounted(&work, &job.work(), name, &container_path, &selection)?);
            }
            Ok(findings)
        })
        .await
    }

    /// Adds to the findings what was left out. It matters most for a job without results: its container is kept.
    async fn add_left_out(
        &self,
        engine: &Engine,
        selection: &Selection,
        left_out: Option<LeftOutFiles>,
        findings: &mut Findings,
    ) -> Result<()> {
        let has_results =
            !findings.list.is_empty() || self.directory.saved_record().is_some_and(|saved| saved.has_results());
        // A job that failed need not have results.
        let may_be_removed = has_results || self.container.status != Some(Status::Success);
        let left_out = match left_out {
            Some(left_out) => Ok(left_out),
            None => fetch::count_left_out(engine, selection).await,
        };
        match left_out {
            Ok(left_out) if may_be_removed => {
                if !has_results {
                    findings.uncollected = left_out.count_temporary();
                }
                let is_removed = has_results && self.args.target.container.is_none();
                if let Some(warning) = left_out.temporary_warning(is_removed) {
                    if self.jobs_with_left_out.replace(self.jobs_with_left_out.get() + 1) == 0 {
                        self.tool.note(&format!("`{}`: {warning}", self.directory.job().label()));
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
        Ok(())
    }
}

/// Finishes the moves that other processes began in the job's folder. Returns this container's progress. With
/// `widens`, a job whose files were all left out is collected again; with `recollects`, any job.
fn resume(directory: &JobDirectory, container: &str, widens: bool, recollects: bool) -> Result<CollectProgress> {
    let dataset = directory.job().dataset();
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
        directory.remove_stage();
    }
    Ok(progress)
}
