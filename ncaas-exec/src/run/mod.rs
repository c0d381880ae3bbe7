//! `ncaas-exec run`: an image as a job, detached.

mod admission;
mod checksum;
mod config;
mod job;
mod preflight;
mod replay;

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::Path;

use bollard::models::SystemInfo;
use ncaas_core::engine::container::describe;
use ncaas_core::engine::{Asked, Engine, EngineContext, LazyEngine, labels};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files;
use ncaas_core::layout::{self, JobFolder};
use ncaas_core::pipe::{Input, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Known, RunSettings};
use ncaas_core::tool::{ExitStatus, Tool};
use tokio::sync::OnceCell;

use crate::args::RunArgs;
use crate::plan::Plan;
use crate::settings::Flags;
use crate::{diagnosis, launch};
use admission::Admission;
use job::Inputs;

pub(crate) use admission::any_gpu;
pub(crate) use job::io_dir_inside;

/// How many records are looked at side by side; how many jobs run is for [`Admission`] to say.
const RECORDS_AT_ONCE: usize = 64;

pub(crate) async fn run(tool: Tool, args: RunArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    let input = input(tool, &args)?;
    let work = Work {
        tool,
        fill: Fill::new(&args)?,
        flags: Flags::new(args.settings, args.timeout)?,
        dry_run: args.dry_run,
        replays: args.replay.is_some(),
        connection: LazyEngine::default(),
        info: OnceCell::new(),
        here: OnceCell::new(),
        admission: Admission::new(args.pipe.jobs),
        examined: RefCell::default(),
    };
    let at_once = args.pipe.jobs_or(0).max(RECORDS_AT_ONCE);
    Pipe::new(tool, at_once).filter(input, async |record: &mut Record, _| work.run(record).await).await
}

fn input(tool: Tool, args: &RunArgs) -> Result<Input> {
    match (&args.replay, &args.subject) {
        (Some(file), _) => Ok(Input::record(replay::record(file)?)),
        (None, Some(_)) => Ok(Input::record(Record::default())),
        (None, None) => Input::stdin(tool, "ncaas-exec run IMAGE"),
    }
}

/// What the command line says about each job, where its record does not.
struct Fill {
    image: Option<String>,
    command: Vec<String>,
    data: Option<String>,
    config: Option<String>,
}

impl Fill {
    fn new(args: &RunArgs) -> Result<Self> {
        let path = |path: &Path, may_be_folder: bool| -> Result<String> {
            let path = files::absolute(path)?;
            let is_folder = may_be_folder && path.is_dir();
            let path = path.to_str().ok_or_else(|| {
                Failure::new(Kind::BadKey, format!("`{}` is not UTF-8, as a record has to be", path.display()))
            })?;
            Ok(if is_folder { format!("{}/", path.trim_end_matches('/')) } else { path.to_owned() })
        };
        Ok(Fill {
            image: args.subject.clone().or_else(|| args.image.clone()),
            command: args.command.clone(),
            data: args.data.as_deref().map(|data| path(data, true)).transpose()?,
            config: args.config.as_deref().map(|config| path(config, false)).transpose()?,
        })
    }

    fn fill(&self, record: &mut Record) {
        if let Some(image) = &self.image {
            record.fill("image", image);
        }
        if !self.command.is_empty() {
            record.fill("command", &self.command);
        }
        if let Some(data) = &self.data {
            record.fill("dataname", data);
        }
        if let Some(config) = &self.config {
            record.fill("configname", config);
        }
    }
}

/// One run of the verb.
struct Work {
    tool: Tool,
    fill: Fill,
    flags: Flags,
    dry_run: bool,
    /// Whether the record is one of a run that is to be run again.
    replays: bool,
    connection: LazyEngine,
    info: OnceCell<SystemInfo>,
    here: OnceCell<SystemInfo>,
    admission: Admission,
    /// Images by id, and what of them is known to start.
    examined: RefCell<HashSet<(String, String)>>,
}

impl Work {
    async fn run(&self, record: &mut Record) -> Result<()> {
        self.fill.fill(record);
        let mut settings = self.flags.fill(record)?;
        record.need("image")?;
        if let Some(ended) = ended_before(record)
            && !self.dry_run
        {
            record.merge(&ended);
            return Ok(());
        }
        let inputs = Inputs::of(record)?;
        let engine = self.connection.get().await?;
        let info = self.info(engine, &settings).await?;
        if !self.dry_run && self.take_over(engine, info, record, &settings).await? {
            return Ok(());
        }

        preflight::inputs(record, &inputs)?;
        let image = launch::image(engine, record.need(if self.replays { "image_id" } else { "image" })?).await?;
        preflight::platform(&image, &settings, info)?;
        let bounds = inputs.config.as_ref().map(|config| config::bounds(&config.host)).transpose()?.unwrap_or_default();
        settings.timeout_s = [settings.timeout_s, bounds.timeout_s].into_iter().flatten().min();
        if let Some(timeout) = settings.timeout_s {
            record.set("run", &RunSettings { timeout_s: Some(timeout), ..RunSettings::default() });
        }
        record.merge(&Known { image_id: image.id.clone(), ..Known::default() });

        job::give_job(record, !self.dry_run)?;
        let mut plan = job::plan(record, &settings, &inputs, &image)?;
        if self.dry_run {
            let (gpu, warning) = any_gpu(info, &settings)?;
            plan.gpu = gpu;
            self.warn(record, warning.as_deref());
            plan.labels.insert(labels::RECORD.to_owned(), as_label(record));
            record.set("dry_run", &plan.description(!engine.is_remote()));
            return Ok(());
        }
        let folder = JobFolder::of(record)?;
        folder.make_work()?;
        preflight::room(folder.root(), bounds.disk_bytes)?;
        let container = self.launch(engine, info, record, &inputs, plan).await?;
        record.merge(&Known { container: Some(container), ..Known::default() });
        Ok(())
    }

    /// Goes on with the job's container where another run has started one. False where there is none, or one that was
    /// made and never started.
    async fn take_over(
        &self,
        engine: &Engine,
        info: &SystemInfo,
        record: &mut Record,
        settings: &RunSettings,
    ) -> Result<bool> {
        let Some(container) = made_before(engine, record).await?.filter(|container| !is_fresh(container)) else {
            return Ok(false);
        };
        if !container.has_ended()
            && let Some(place) = self.admission.note(info, settings).await
        {
            place.keep_until_end_of(engine, &container.id);
        }
        record.merge(&Known { container: Some(container), ..Known::default() });
        Ok(true)
    }

    /// What is known of the engine's machine. The engine itself is asked, once, where it is another machine or the job
    /// names what only the engine knows: its answer takes it 30 ms and more.
    async fn info(&self, engine: &Engine, settings: &RunSettings) -> Result<&SystemInfo> {
        let by_itself = engine.is_remote() || settings.memory.is_some() || settings.gpus.is_some();
        if by_itself {
            let ask = async || engine.docker().info().await.asking("ask", Asked::Engine);
            return self.info.get_or_try_init(ask).await;
        }
        let here = async || SystemInfo {
            architecture: Some(std::env::consts::ARCH.to_owned()),
            ncpu: std::thread::available_parallelism().ok().and_then(|cpus| i64::try_from(cpus.get()).ok()),
            ..SystemInfo::default()
        };
        Ok(self.here.get_or_init(here).await)
    }

    /// Makes and starts the container when there is room for it, or goes on with the one that was made before.
    async fn launch(
        &self,
        engine: &Engine,
        info: &SystemInfo,
        record: &mut Record,
        inputs: &Inputs,
        mut plan: Plan,
    ) -> Result<Container> {
        let name = plan.name.clone().unwrap_or_default();
        let place = self.admission.enter(engine, info, &name, &plan.settings).await?;
        self.warn(record, place.warning.as_deref());
        if let Some(gpu) = &place.gpu {
            plan.labels.insert(labels::GPU.to_owned(), gpu.clone());
        }
        plan.gpu.clone_from(&place.gpu);
        let summed = inputs.summed().await?;
        if self.replays {
            replay::compare(&record.known()?.inputs.unwrap_or_default(), &summed)?;
        }
        if !summed.is_empty() {
            record.merge(&Known { inputs: Some(summed), ..Known::default() });
        }
        plan.labels.insert(labels::RECORD.to_owned(), as_label(record));

        let id = match launch::create(engine, &plan).await {
            Ok(id) => id,
            Err(failure) if failure.kind == Kind::NameInUse => {
                let made = made_before(engine, record).await?.ok_or(failure)?;
                if !is_fresh(&made) {
                    return Ok(made);
                }
                made.id
            }
            Err(failure) => return Err(failure),
        };
        self.examine(engine, &id, &plan).await?;
        let container = launch::start(engine, &id, &plan).await?;
        if !container.has_ended() {
            place.keep_until_end_of(engine, &container.id);
        }
        Ok(container)
    }
}

impl Work {
    fn warn(&self, record: &mut Record, warning: Option<&str>) {
        if let Some(warning) = warning {
            self.tool.say(warning);
            record.warn(warning);
        }
    }

    /// Makes sure that what the container is to run can be started, once for each image and program. One that cannot
    /// is removed.
    async fn examine(&self, engine: &Engine, id: &str, plan: &Plan) -> Result<()> {
        let what = (plan.image.clone(), plan.program.clone());
        if !diagnosis::is_doubtful(&what.1) || self.examined.borrow().contains(&what) {
            return Ok(());
        }
        if let Err(failure) = diagnosis::ahead(engine, id).await {
            launch::remove(engine, id, true).await?;
            return Err(failure);
        }
        self.examined.borrow_mut().insert(what);
        Ok(())
    }
}

/// The record as its container carries it.
fn as_label(record: &Record) -> String {
    String::from_utf8_lossy(record.to_line().trim_ascii_end()).into_owned()
}

/// The container of this job that is there already.
async fn made_before(engine: &Engine, record: &Record) -> Result<Option<Container>> {
    let Some(job) = record.job() else { return Ok(None) };
    let name = layout::container_name(&job, record.need("io_dir")?);
    let inspected = match engine.inspect(&name).await {
        Ok(inspected) => inspected,
        Err(failure) if failure.kind == Kind::ContainerNotFound => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let label = inspected.config.as_ref().and_then(|config| config.labels.as_ref()?.get(labels::JOB));
    if label != Some(&job.id) {
        return Err(Failure::new(Kind::NameInUse, format!("a container `{name}` is there that is not of this job"))
            .hint(format!("rename it, or remove it: `docker rm {name}`")));
    }
    Ok(Some(describe(&inspected)))
}

/// Whether a container was made and never started: whoever made it was cut short.
fn is_fresh(container: &Container) -> bool {
    container.state == "created" && !container.has_ended()
}

/// What became of this job when it was run before: a saved record tells it, also after its container has gone.
fn ended_before(record: &Record) -> Option<Known> {
    record.job()?;
    let saved = JobFolder::of(record).ok()?.saved_record()?;
    let known = saved.known().ok()?;
    if saved.has_error() || !known.container.as_ref()?.has_ended() {
        return None;
    }
    Some(Known {
        image: known.image,
        image_id: known.image_id,
        container: known.container,
        logs: known.logs,
        results: known.results,
        results_file: known.results_file,
        ..Known::default()
    })
}
