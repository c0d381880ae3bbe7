//! `ncaas-exec run`: run an image as a detached job.
//!
//! A record becomes the specification of a container ([`resolve`]), which is printed ([`dry_run`]) or started
//! ([`launch`]). A job that an earlier run has started is taken up again ([`previous_run`]).

mod admission;
mod dry_run;
mod input_checksum;
mod job_folders;
mod job_inputs;
mod launch;
mod preflight;
mod previous_run;
mod replay;
mod resolve;
mod staged_inputs;

use std::path::Path;

use bollard::models::SystemInfo;
use ncaas_core::engine::{Engine, EngineContext, LazyEngine, Subject};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files;
use ncaas_core::layout::JobFolder;
use ncaas_core::pipe::{Input, Pipe, print_schema};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Known, RunSettings};
use ncaas_core::tool::{ExitStatus, Tool};
use tokio::sync::OnceCell;

use crate::args::RunArgs;
use crate::container_user::ContainerUser;
use crate::image::inspect_image;
use crate::run_settings::DefaultSettings;
use crate::targets;
use job_folders::MadeFolders;
use job_inputs::JobInputs;
use launch::Launcher;
use previous_run::{find_container, is_unstarted, may_have_container, saved_end};
use staged_inputs::stage_inputs;

/// How many records are in work at once. How many jobs run at once is decided by [`admission`].
const MIN_RECORDS: usize = 64;

pub(crate) async fn run(tool: Tool, args: RunArgs) -> Result<ExitStatus> {
    if args.pipe.schema {
        return print_schema::<Known>().await;
    }
    let input = match (&args.replay, &args.target) {
        (Some(file), _) => Input::record(replay::record_to_replay(file)?),
        (None, Some(_)) => Input::record(Record::default()),
        (None, None) => Input::stdin(tool, "ncaas-exec run IMAGE")?,
    };
    let records = args.pipe.jobs_or(0).max(MIN_RECORDS);
    let runner = Runner {
        tool,
        fields: DefaultFields::new(&args)?,
        launcher: Launcher::new(tool, args.pipe.jobs, args.replay.is_some()),
        settings: DefaultSettings::new(args.settings, args.timeout)?,
        dry_run: args.dry_run,
        replays: args.replay.is_some(),
        connection: LazyEngine::default(),
        asked_info: OnceCell::new(),
        local_info: OnceCell::new(),
    };
    let pipe = Pipe::new(tool, records).filter(input, async |record: &mut Record, _| runner.run_record(record).await);
    runner.connection.connect_during(pipe).await
}

/// Fields from the command line, for records that lack them.
struct DefaultFields {
    image: Option<String>,
    command: Vec<String>,
    data: Option<String>,
    config: Option<String>,
}

impl DefaultFields {
    fn new(args: &RunArgs) -> Result<Self> {
        Ok(DefaultFields {
            image: args.target.clone().or_else(|| args.image.clone()),
            command: args.command.clone(),
            data: args.data.as_deref().map(|data| path_name(data, true)).transpose()?,
            config: args.config.as_deref().map(|config| path_name(config, false)).transpose()?,
        })
    }

    fn complete(&self, record: &mut Record) {
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

/// A path as a name in a record: absolute, and with a final `/` for a folder.
fn path_name(path: &Path, may_be_folder: bool) -> Result<String> {
    let path = files::absolute(path)?;
    let is_folder = may_be_folder && path.is_dir();
    let name = path.to_str().ok_or_else(|| {
        Failure::new(Kind::BadKey, format!("`{}` is not UTF-8, which a record requires", path.display()))
    })?;
    Ok(if is_folder { format!("{}/", name.trim_end_matches('/')) } else { name.to_owned() })
}

/// One run of the verb.
struct Runner {
    tool: Tool,
    fields: DefaultFields,
    settings: DefaultSettings,
    launcher: Launcher,
    dry_run: bool,
    /// Whether the record is one of an earlier run that is repeated.
    replays: bool,
    connection: LazyEngine,
    asked_info: OnceCell<SystemInfo>,
    local_info: OnceCell<SystemInfo>,
}

impl Runner {
    async fn run_record(&self, record: &mut Record) -> Result<()> {
        self.fields.complete(record);
        let settings = self.settings.complete(record)?;
        record.require("image")?;
        if let Some(end) = saved_end(record)
            && !self.dry_run
        {
            record.merge(&end);
            return Ok(());
        }
        let inputs = JobInputs::locate(record)?;
        let start = async |engine: &Engine, record: &mut Record| {
            self.start_job(engine, record, settings.clone(), &inputs).await
        };
        self.connection.with_retry(self.tool, record, start).await
    }

    /// Starts the job, or takes up the container that an earlier run or attempt has started.
    async fn start_job(
        &self,
        engine: &Engine,
        record: &mut Record,
        mut settings: RunSettings,
        inputs: &JobInputs,
    ) -> Result<()> {
        let info = self.engine_info(engine, &settings).await?;
        if !self.dry_run && self.take_up(engine, info, record, &settings).await? {
            return Ok(());
        }

        preflight::check_inputs(record, inputs)?;
        let image_field = if self.replays { "image_id" } else { "image" };
        let image = inspect_image(engine, record.require(image_field)?).await?;
        preflight::check_platform(&image, &settings, info)?;
        let config = inputs.read_config(record)?;
        for warning in &config.warnings {
            self.tool.warn(record, Some(warning));
        }
        settings.timeout_s = [settings.timeout_s, config.timeout_s].into_iter().flatten().min();
        if let Some(timeout) = settings.timeout_s {
            record.set("run", &RunSettings { timeout_s: Some(timeout), ..RunSettings::default() });
        }
        record.merge(&Known { image_id: image.id.clone(), ..Known::default() });

        let mut folders = MadeFolders::default();
        if record.job().is_some() {
            // Another run may be starting the same job.
            folders.in_use = true;
        } else {
            resolve::assign_job(record, (!self.dry_run).then_some(&mut folders))?;
        }
        if self.dry_run {
            let spec = resolve::resolve_spec(record, &settings, inputs, &image)?;
            return dry_run::describe(self.tool, engine, info, record, spec).await;
        }
        let launched = async {
            let folder = JobFolder::for_record(record)?;
            folders.make_job_folders(&folder)?;
            preflight::check_disk_space(folder.root(), config.disk_bytes)?;
            // A remote engine gets copies, which every user of the container may read.
            let user = if engine.is_remote() { ContainerUser::Root } else { ContainerUser::new(&settings, &image) };
            let io_dir = Path::new(record.require("io_dir")?).to_owned();
            let inputs = stage_inputs(inputs, &io_dir, &folder, user).await?;
            let spec = resolve::resolve_spec(record, &settings, &inputs, &image)?;
            self.launcher.launch(engine, info, record, &inputs, spec, &mut folders).await
        };
        match launched.await {
            // A short job may have ended already.
            Ok(container) => targets::update_record(engine, record, container).await,
            Err(failure) => {
                // The engine may have started the container although its answer was lost.
                folders.in_use &= may_have_container(engine, record).await;
                Err(failure)
            }
        }
    }

    /// Takes up the job's container if an earlier run has started one. Returns false if there is none, or one that was
    /// never started.
    async fn take_up(
        &self,
        engine: &Engine,
        info: &SystemInfo,
        record: &mut Record,
        settings: &RunSettings,
    ) -> Result<bool> {
        let found = find_container(engine, record).await?;
        let Some(container) = found.filter(|container| !is_unstarted(container)) else { return Ok(false) };
        if !container.has_ended()
            && let Some(slot) = self.launcher.admission.slot_for_running(info, settings).await
        {
            slot.hold_until_end(engine, &container.id);
        }
        targets::update_record(engine, record, container).await?;
        Ok(true)
    }

    /// Properties of the engine's machine. The engine is asked, once, only if it is remote or the job needs to know memory
    /// or GPUs: the answer takes 30 ms or more.
    async fn engine_info(&self, engine: &Engine, settings: &RunSettings) -> Result<&SystemInfo> {
        if engine.is_remote() || settings.memory.is_some() || settings.gpus.is_some() {
            let ask = async || engine.docker().info().await.engine_context("ask", Subject::Engine);
            return self.asked_info.get_or_try_init(ask).await;
        }
        let local = async || SystemInfo {
            architecture: Some(std::env::consts::ARCH.to_owned()),
            ncpu: std::thread::available_parallelism().ok().and_then(|cpus| i64::try_from(cpus.get()).ok()),
            ..SystemInfo::default()
        };
        Ok(self.local_info.get_or_init(local).await)
    }
}
