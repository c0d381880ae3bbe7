//! `ncaas-sync collect`: what a job has written anywhere comes into its results.
//!
//! A job's folder is worked on in this order, so that it can be cut off anywhere and taken up again: what is in the
//! container outside its mounts is staged under numbers; everything found gets a final name; that is written down;
//! the files are moved; that too is written down. See [`journal`].

mod descend;
pub(crate) mod details;
mod direct;
mod expect;
mod fetch;
mod found;
mod home;
pub(crate) mod inside;
mod journal;
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
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::inputs;
use ncaas_core::layout::{CONFIGS, JobFolder, LOGS, PROCESS_RESULTS, RESULTS, WORK};
use ncaas_core::pipe::{Input, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Known, ResultFile, Status};
use ncaas_core::tool::{ExitStatus, Tool};

use crate::args::CollectArgs;
use crate::select::Select;
use crate::{jobs, local};
use direct::Layer;
use expect::Expected;
use found::{Finds, STAGE};
use home::Home;
pub(crate) use home::folder_of;
use inside::Inside;
use journal::{Journal, finish_begun, results_file};
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

/// How many bytes of a record its results may take: it stays well within the longest line that the next stage reads.
const RESULTS_BYTES: usize = 48 << 20;

/// How many of the results a record can list.
fn listed(results: &[ResultFile]) -> usize {
    let mut room = RESULTS_BYTES;
    let fits = |result: &&ResultFile| {
        let bytes = serde_json::to_vec(result).map_or(0, |line| line.len() + 1);
        room = room.saturating_sub(bytes);
        room > 0
    };
    results.iter().take_while(fits).count()
}

fn too_many(all: usize, listed: usize) -> Failure {
    let words = format!(
        "the job made {all} files, of which its record can list {listed}: all are in the io-dir, the others in no record"
    );
    Failure::new(Kind::TooLarge, words)
        .hint("pack them into fewer files in the job, or leave some out with `--exclude`")
}

struct Collecting {
    tool: Tool,
    engine: LazyEngine,
    select: Select,
    expected: Expected,
    args: CollectArgs,
}

impl Collecting {
    async fn one(&self, record: &mut Record) -> Result<()> {
        let container = record.container().ok_or_else(|| Failure::lacks("container"))?;
        if !container.has_ended() {
            return Ok(());
        }
        let job = record.job().ok_or_else(|| Failure::lacks("job"))?;
        jobs::fill_io_dir(record, &self.args.io_dir.io_dir)?;
        let home = Arc::new(Home::open(record)?);
        let lock = home.lock(&format!("collect.{}", job.dataset)).await?;
        let partial = container.status != Some(Status::Success);
        let journal = self.collected(record, &home, job.dataset, &container.id, partial).await?;
        place_config(record, &home)?;
        let (warnings, mut results) = journal.into_parts();
        let (all, listed) = (results.len(), listed(&results));
        let outcome = match partial {
            _ if listed < all => Err(too_many(all, listed)),
            false => self.expected.check(&results, self.engine.get().await.ok(), &container.id).await,
            true => Ok(()),
        };
        results.truncate(listed);
        record.set("results", &results);
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
    ) -> Result<Journal> {
        let place = (Arc::clone(home), container.to_owned());
        let others = home.lock("collect").await?;
        if let Some(journal) = local::blocking(move || taken_up(&place.0, dataset, &place.1)).await? {
            return Ok(journal);
        }
        drop(others);
        let finds = match self.find(home, container).await {
            Ok(finds) => finds,
            Err(failure) => {
                // What is half there would only take room, where the disk is full for instance.
                let _ = home.dir().remove_dir_all(home.work().join(STAGE));
                return Err(match failure.kind {
                    Kind::DiskFull => failure.context(format!("in `{}`", home.job().root().display())),
                    _ => failure,
                });
            }
        };
        let others = home.lock("collect").await?;
        let (home, container) = (Arc::clone(home), container.to_owned());
        let earlier = earlier_results(record, &home);
        let journal = local::blocking(move || {
            finish_begun(&home)?;
            let journal = settle::decide(&home, finds, partial, &earlier)?;
            journal.write(&home, dataset, &container)?;
            journal.complete(&home, dataset)?;
            tidy(&home);
            Ok(journal)
        })
        .await?;
        drop(others);
        Ok(journal)
    }

    /// Everything that the job has produced, where it lies now.
    async fn find(&self, home: &Arc<Home>, container: &str) -> Result<Finds> {
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
        let stage = local::blocking(move || stage.fresh_folder(&stage.work().join(STAGE))).await?;
        let mounted = home.mounted()?;
        if !gone {
            engine.repair_ownership(container, &mounted, Owner::current()).await?;
        }
        let mut finds = self.find_mounted(home, &rules).await?;
        if gone {
            finds
                .warnings
                .add(format!("container `{container}` is gone, and with it what it wrote outside its results"));
        } else {
            let from = &self.args.from;
            finds.append(fetch::fetch(engine, rules, stage, layer, from).await?);
        }
        Ok(finds)
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
        local::blocking(move || {
            let (work, path) = (home.open_dir(&home.work())?, home.job().work());
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
        let Some(failure) = failure else { return home.write_whole(&path, &record.to_line()) };
        let mut record = record.clone();
        record.fail(self.tool.name(), failure);
        home.write_whole(&path, &record.to_line())
    }
}

/// What another process has begun, or done: whatever was on its way arrives first.
fn taken_up(home: &Home, dataset: u64, container: &str) -> Result<Option<Journal>> {
    finish_begun(home)?;
    let journal = Journal::of(container, home, &results_file(dataset))?;
    if journal.is_some() {
        tidy(home);
    }
    Ok(journal)
}

/// The results that this dataset has left in an earlier run, and that no other dataset shares.
fn earlier_results(record: &Record, home: &Home) -> HashSet<String> {
    let of = |record: &Record| record.results().unwrap_or_default().into_iter().map(|result| result.path);
    let mut earlier: HashSet<String> = home.saved_record().iter().flat_map(of).collect();
    if earlier.is_empty() {
        return earlier;
    }
    let datasets = record.job().map_or(1, |job| job.datasets);
    if datasets > 1 {
        for other in home.other_records() {
            for path in of(&other) {
                earlier.remove(&path);
            }
        }
    }
    earlier
}

/// Puts a copy of the config beside the results, under its own name.
fn place_config(record: &Record, home: &Home) -> Result<()> {
    let Some(name) = record.text("configname") else { return Ok(()) };
    let place = inputs::place(record, name, CONFIGS)?;
    let Some(own_name) = place.host.file_name() else { return Ok(()) };
    let content = std::fs::read(&place.host).doing("read", &place.host)?;
    let to = Path::new(PROCESS_RESULTS).join(own_name);
    if home.read(&to).is_some_and(|there| there == content) {
        return Ok(());
    }
    home.write_whole(&to, &content)
}

/// Removes what a finished collection leaves behind: the stage, and folders that are empty by now. What was left out
/// stays where it is.
fn tidy(home: &Home) {
    let (root, work) = (home.dir(), home.work());
    // What cannot be removed is in nobody's way.
    let _ = root.remove_dir_all(work.join(STAGE));
    if let Ok(dir) = root.open_dir(&work) {
        remove_empty(&dir, 0);
    }
    let _ = root.remove_dir(&work);
    let _ = root.remove_dir(WORK);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_lists_as_many_results_as_the_next_stage_can_read() {
        let long = ResultFile { path: "\n".repeat(4000), source: "/x".into(), ..ResultFile::default() };
        let results = vec![long; 20_000];
        let listed = listed(&results);
        let bytes = serde_json::to_vec(&results[..listed]).map_or(0, |line| line.len());
        assert!(listed > 0 && bytes <= RESULTS_BYTES && bytes < ncaas_core::pipe::MAX_LINE, "{listed}, {bytes}");
        assert!(listed < results.len());
    }
}
