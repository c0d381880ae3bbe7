//! `ncaas-exec run`: an image as a job, detached.

mod admission;
mod before;
mod checksum;
mod folders;
mod job;
mod preflight;
mod replay;

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::Path;

use bollard::models::SystemInfo;
use ncaas_core::engine::{Engine, EngineContext, LazyEngine, Subject, labels};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files;
use ncaas_core::layout::JobFolder;
use ncaas_core::pipe::{Input, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Known, RunSettings};
use ncaas_core::tool::{ExitStatus, Tool};
use tokio::sync::OnceCell;

use crate::args::RunArgs;
use crate::plan::Plan;
use crate::settings::Flags;
use crate::sharing::Sharing;
use crate::{diagnosis, launch, subject};
use admission::Admission;
use before::{ended_before, has_container, is_fresh, made_before};
use folders::Folders;
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
    let pipe = Pipe::new(tool, at_once).filter(input, async |record: &mut Record, _| work.run(record).await);
    work.connection.connect_during(pipe).await
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
        let settings = self.flags.fill(record)?;
        record.require("image")?;
        if let Some(ended) = ended_before(record)
            && !self.dry_run
        {
            record.merge(&ended);
            return Ok(());
        }
        let inputs = Inputs::of(record)?;
        let begin =
            async |engine: &Engine, record: &mut Record| self.begin(engine, record, settings.clone(), &inputs).await;
        self.connection.with_retry(self.tool, record, begin).await
    }

    /// Takes up the job where it stands: nowhere yet, or with a container that another run, or an attempt of this one,
    /// has made.
    async fn begin(
        &self,
        engine: &Engine,
        record: &mut Record,
        mut settings: RunSettings,
        inputs: &Inputs,
    ) -> Result<()> {
        let info = self.info(engine, &settings).await?;
        if !self.dry_run && self.take_over(engine, info, record, &settings).await? {
            return Ok(());
        }

        preflight::inputs(record, inputs)?;
        let image = launch::image(engine, record.require(if self.replays { "image_id" } else { "image" })?).await?;
        preflight::platform(&image, &settings, info)?;
        let config = inputs.read_config(record)?;
        for warning in &config.warnings {
            self.warn(record, Some(warning));
        }
        settings.timeout_s = [settings.timeout_s, config.timeout_s].into_iter().flatten().min();
        if let Some(timeout) = settings.timeout_s {
            record.set("run", &RunSettings { timeout_s: Some(timeout), ..RunSettings::default() });
        }
        record.merge(&Known { image_id: image.id.clone(), ..Known::default() });

        let mut folders = Folders::default();
        if record.job().is_some() {
            // Another run may be about to start the same job.
            folders.in_use = true;
        } else {
            job::give_job(record, (!self.dry_run).then_some(&mut folders))?;
        }
        let mut plan = job::plan(record, &settings, inputs, &image)?;
        if self.dry_run {
            let (gpu, warning) = any_gpu(info, &settings)?;
            plan.gpu = gpu;
            self.warn(record, warning.as_deref());
            plan.labels.insert(labels::RECORD.to_owned(), as_label(record));
            // What has to be copied into it no line of `docker run` brings there.
            let mounts_all = Sharing::of(engine, &plan).await?.copied.is_empty();
            record.set("dry_run", &plan.description(mounts_all));
            return Ok(());
        }
        let launched = async {
            let folder = JobFolder::for_record(record)?;
            folders.make(&folder)?;
            preflight::room(folder.root(), config.disk_bytes)?;
            self.launch(engine, info, record, inputs, plan, &mut folders).await
        };
        match launched.await {
            // A short one may have ended by now.
            Ok(container) => subject::tell(engine, record, container).await,
            Err(failure) => {
                // A start that has failed as far as we know may still have been one.
                folders.in_use &= has_container(engine, record).await;
                Err(failure)
            }
        }
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
        subject::tell(engine, record, container).await?;
        Ok(true)
    }

    /// What is known of the engine's machine. The engine itself is asked, once, where it is another machine or the job
    /// names what only the engine knows: its answer takes it 30 ms and more.
    async fn info(&self, engine: &Engine, settings: &RunSettings) -> Result<&SystemInfo> {
        let by_itself = engine.is_remote() || settings.memory.is_some() || settings.gpus.is_some();
        if by_itself {
            let ask = async || engine.docker().info().await.engine_context("ask", Subject::Engine);
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
        folders: &mut Folders,
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

        folders.in_use = true;
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
            self.tool.note(warning);
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
