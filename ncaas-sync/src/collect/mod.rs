//! `ncaas-sync collect`: what a job has written anywhere comes into its results.
//!
//! A job's folder is worked on in this order, so that it can be cut off anywhere and taken up again: what is in the
//! container outside its mounts is staged under numbers; everything found gets a final name; that is written down;
//! the files are moved; that too is written down. See [`journal`].

mod decided;
mod descend;
pub(crate) mod details;
mod direct;
mod expect;
mod fetch;
mod found;
mod home;
pub(crate) mod inside;
mod journal;
mod listing;
mod places;
mod plan;
mod settle;
mod stage;
mod unpack;
mod walk;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::Dir;
use ncaas_core::engine::{LazyEngine, Owner};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::inputs;
use ncaas_core::layout::{CONFIGS, JobFolder, LOGS, PROCESS_RESULTS, RESULTS};
use ncaas_core::pipe::{Input, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Known, Status};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::CollectArgs;
use crate::jobs;
use crate::results::Results;
use crate::select::Select;
use direct::Layer;
use expect::{Expected, Expecting};
use found::{Finds, STAGE};
use home::Home;
use inside::Inside;
use journal::{Journal, finish_begun, results_file};
use listing::{Listing, list};
use ncaas_core::blocking::run_blocking;
use places::{Places, longest};
pub(crate) use stage::open_folder;
use unpack::Rules;
use walk::walk;

/// How many containers are worked on at once: an engine gains nothing from more.
const AT_ONCE: usize = 4;

pub(crate) async fn collect(tool: Tool, args: CollectArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    let collecting = Collecting {
        tool,
        engine: LazyEngine::default(),
        select: Select::new(&args.select)?,
        expected: Expected::new(&args.expect)?,
        args,
    };
    let input = match &collecting.args.container {
        Some(container) => Input::record(jobs::of_container(collecting.engine.get().await?, container).await?),
        None => Input::stdin(tool, "ncaas-logs save | ncaas-sync collect")?,
    };
    let jobs = collecting.args.pipe.jobs_or(AT_ONCE);
    Pipe::new(tool, jobs).filter(input, async |record: &mut Record, _| collecting.one(record).await).await
}

/// How deep empty folders are looked for that may be removed: a job may nest them without end.
const DEEPEST: usize = 64;

struct Collecting {
    tool: Tool,
    engine: LazyEngine,
    select: Select,
    expected: Expected,
    args: CollectArgs,
}

impl Collecting {
    async fn one(&self, record: &mut Record) -> Result<()> {
        let container = record.container().ok_or_else(|| Failure::missing_field("container"))?;
        if !container.has_ended() {
            return Ok(());
        }
        let job = record.job().ok_or_else(|| Failure::missing_field("job"))?;
        if let Ok(engine) = self.engine.get().await
            && let Err(failure) = engine.inspect_for(record, &container.id).await
            && failure.kind == Kind::WrongContainer
        {
            return Err(failure);
        }
        jobs::fill_io_dir(record, &self.args.io_dir.io_dir)?;
        let home = Arc::new(Home::open(record)?);
        let lock = home.lock(&format!("collect.{}", job.dataset)).await?;
        let partial = container.status != Some(Status::Success);
        self.collected(record, &home, job.dataset, &container.id, partial).await?;
        place_config(record, &home)?;
        let mut expecting = match partial {
            true => Expecting::default(),
            false => self.expected.of(self.engine.get().await.ok(), &container.id).await?,
        };
        let from = Arc::clone(&home);
        let listing = move || {
            let listing = list(&from, job.dataset, |result| expecting.see(result))?;
            Ok((listing, expecting.outcome()))
        };
        let (Listing { results, file, warnings }, outcome) = run_blocking(listing).await?;
        record.set("results", &results);
        match file {
            Some(file) => record.set("results_file", &file),
            None => record.remove("results_file"),
        }
        warnings.into_iter().for_each(|warning| record.warn(warning));
        self.save_record(record, &home, outcome.as_ref().err())?;
        drop(lock);
        outcome
    }

    /// Collects what is not collected yet, or finishes what another process has begun.
    async fn collected(
        &self,
        record: &Record,
        home: &Arc<Home>,
        dataset: u64,
        container: &str,
        partial: bool,
    ) -> Result<()> {
        let place = (Arc::clone(home), container.to_owned());
        let others = home.lock("collect").await?;
        if run_blocking(move || is_taken_up(&place.0, dataset, &place.1)).await? {
            return Ok(());
        }
        drop(others);
        let (finds, places) = match self.find(home, container).await {
            Ok(found) => found,
            Err(failure) => {
                // What is half there would only take room, where the disk is full for instance.
                let _ = home.work_root().remove_dir_all(home.work().join(STAGE));
                return Err(match failure.kind {
                    Kind::DiskFull => failure.context(format!("in `{}`", home.job().root().display())),
                    _ => failure,
                });
            }
        };
        let others = home.lock("collect").await?;
        let (home, container) = (Arc::clone(home), container.to_owned());
        let earlier = earlier_results(record, &home);
        run_blocking(move || {
            finish_begun(&home)?;
            let decided = settle::decide(&home, finds, places, partial, &earlier)?;
            journal::write(&home, dataset, &container, &decided)?;
            drop(decided);
            journal::complete(&home, dataset)?;
            tidy(&home);
            Ok(())
        })
        .await?;
        drop(others);
        Ok(())
    }

    /// Everything that the job has produced, where it lies now, and what says where it belongs.
    async fn find(&self, home: &Arc<Home>, container: &str) -> Result<(Finds, Places)> {
        let engine = self.engine.get().await?;
        let inspected = match engine.inspect(container).await {
            Ok(inspected) => Some(inspected),
            Err(failure) if failure.kind == Kind::ContainerNotFound => None,
            Err(failure) => return Err(failure),
        };
        let gone = inspected.is_none();
        let layer = inspected.as_ref().filter(|_| !engine.is_remote()).and_then(Layer::of);
        let inside = inspected.as_ref().map_or_else(Inside::of_a_gone_one, Inside::of);
        let rules = Arc::new(self.rules(inside, home.job()));
        let stage = Arc::clone(home);
        let stage = run_blocking(move || stage.fresh_work_folder(&stage.work().join(STAGE))).await?;
        let mounted = home.mounted()?;
        if !gone {
            engine.repair_ownership(container, &mounted, Owner::current()).await?;
        }
        let places = rules.places.clone();
        let mut finds = self.find_mounted(home, &rules).await?;
        if gone {
            finds
                .warnings
                .add(format!("container `{container}` is gone, and with it what it wrote outside its results"));
        } else {
            let from = &self.args.from;
            finds.append(fetch::fetch(engine, rules, stage, layer, from).await?);
        }
        Ok((finds, places))
    }

    fn rules(&self, inside: Inside, folder: &JobFolder) -> Rules {
        Rules {
            places: Places::of(&inside, longest(folder)),
            select: self.select.clone(),
            max_size: self.args.max_size.unwrap_or(u64::MAX),
            inside,
        }
    }

    /// What the job wrote into its results and logs folders, which lie on this machine unless the engine is elsewhere.
    async fn find_mounted(&self, home: &Arc<Home>, rules: &Arc<Rules>) -> Result<Finds> {
        let (home, rules) = (Arc::clone(home), Arc::clone(rules));
        run_blocking(move || {
            let (work, path) = (home.open_work()?, home.job().work());
            let mut finds = Finds::default();
            for (name, inside) in [(RESULTS, rules.inside.results()), (LOGS, rules.inside.logs())] {
                finds.append(walk(&work, &path, name, &inside, &rules)?);
            }
            Ok(finds)
        })
        .await
    }

    /// Saves the whole record in the job's logs, with the failure that this stage puts on it, if it does.
    fn save_record(&self, record: &Record, home: &Home, failure: Option<&Failure>) -> Result<()> {
        let path = home.within(&home.job().record_file());
        let Some(failure) = failure else { return home.folder().write_whole(&path, &record.to_line()) };
        let mut record = record.clone();
        record.fail(self.tool.name(), failure);
        home.folder().write_whole(&path, &record.to_line())
    }
}

/// Whether another process has collected it, or begun to: whatever was on its way arrives first.
fn is_taken_up(home: &Home, dataset: u64, container: &str) -> Result<bool> {
    finish_begun(home)?;
    let is_done = Journal::open(home, &results_file(dataset))?.is_some_and(|journal| journal.container == container);
    if is_done {
        tidy(home);
    }
    Ok(is_done)
}

/// The results that this dataset has left in an earlier run, and that no other dataset shares.
fn earlier_results(record: &Record, home: &Home) -> HashSet<String> {
    // A list that is not what its record says tells nothing: what is there then stays, beside what comes.
    let of = |record: &Record| Results::open(record, home.folder()).ok().into_iter().flatten();
    let paths = |record: &Record| of(record).flatten().map(|result| result.path).collect::<Vec<_>>();
    let mut earlier: HashSet<String> = home.saved_record().iter().flat_map(paths).collect();
    if earlier.is_empty() {
        return earlier;
    }
    let datasets = record.job().map_or(1, |job| job.datasets);
    if datasets > 1 {
        for other in home.other_records() {
            for path in paths(&other) {
                earlier.remove(&path);
            }
        }
    }
    earlier
}

/// Puts a copy of the config beside the results, under its own name.
fn place_config(record: &Record, home: &Home) -> Result<()> {
    let Some(name) = record.text("configname") else { return Ok(()) };
    let place = inputs::locate(record, name, CONFIGS)?;
    let Some(own_name) = place.host.file_name() else { return Ok(()) };
    let content = inputs::read(record, &place, u64::MAX)?;
    let to = Path::new(PROCESS_RESULTS).join(own_name);
    if home.folder().read(&to, content.len() as u64 + 1).is_some_and(|there| there == content) {
        return Ok(());
    }
    home.folder().write_whole(&to, &content)
}

/// Removes what a finished collection leaves behind: the stage, and folders that are empty by now. What was left out
/// stays where it is.
fn tidy(home: &Home) {
    home.job().remove_staged_inputs();
    let (root, work) = (home.work_root(), home.work());
    // What cannot be removed is in nobody's way.
    let _ = root.remove_dir_all(work.join(STAGE));
    if let Ok(dir) = root.open_dir(&work) {
        remove_empty(&dir, 0);
    }
    let _ = root.remove_dir(&work);
    // Fails while other datasets of the job have work folders.
    let _ = std::fs::remove_dir(home.job().work_root());
}

fn remove_empty(dir: &Dir, depth: usize) {
    for entry in dir.entries().into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if depth < DEEPEST
                && let Ok(below) = open_folder(dir, entry.file_name())
            {
                remove_empty(&below, depth + 1);
            }
            let _ = dir.remove_dir(entry.file_name());
        }
    }
}
