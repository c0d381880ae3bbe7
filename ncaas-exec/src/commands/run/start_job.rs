//! Starts the job of a record, or takes up the container that an earlier run has started.

use std::cell::Cell;
use std::path::Path;

use bollard::models::{ImageInspect, SystemInfo};
use ncaas_core::config::Config;
use ncaas_core::engine::container::time_limit;
use ncaas_core::engine::{Engine, EngineContext, Subject, labels};
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::layout::JobFolder;
use ncaas_core::lease;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{RecordFields, RunSettings};

use super::Runner;
use super::explanation::explain_start;
use super::job_folders::MadeFolders;
use super::job_inputs::JobInputs;
use super::previous_run::{find_started, may_have_container, set_aside_earlier_attempt, use_io_dir_of_container};
use super::staged_inputs::stage_inputs;
use super::start_order::StartTicket;
use super::{dry_run, platform, preflight, resolve, time_limit_guardian};
use crate::container_spec::ContainerSpec;
use crate::container_user::ContainerUser;
use crate::image::{author_labels, complete_from_labels};
use crate::run_settings::set_default_limits;
use crate::targets;

impl Runner {
    /// Starts the job, or adopts the container that an earlier run has started.
    pub(super) async fn start_job(
        &self,
        engine: &Engine,
        record: &mut Record,
        mut settings: RunSettings,
        inputs: &JobInputs,
        ticket: &Cell<Option<StartTicket<'_>>>,
    ) -> Result<()> {
        let info = self.engine_info(engine, &settings).await?;
        if !self.dry_run {
            set_aside_earlier_attempt(self.tool, engine, record).await?;
            if self.take_up(engine, info, record, &settings).await? {
                return Ok(());
            }
        }

        let (image, config) = self.prepare(engine, info, record, &mut settings, inputs).await?;

        // Declared before the folders: they are removed before it is released.
        let mut lock = None;
        let mut folders = MadeFolders::default();
        if record.job().is_some() {
            // Another run may be starting the same job.
            folders.in_use = true;
        } else {
            resolve::assign_job(record, (!self.dry_run).then_some(&mut folders))?;
        }
        if self.dry_run {
            let mut spec = resolve::resolve_spec(record, &settings, inputs, &image)?;
            self.label_placement(&mut spec);
            let command = resolve::set_command(&mut spec, record, inputs, &image);
            if self.explains_dry_run {
                explain_start(self.tool, "would start", record, &spec);
            }
            return dry_run::describe(self.tool, engine, info, record, spec, command).await;
        }
        let launched = async {
            let folder = JobFolder::for_record(record)?;
            let name = record.container_name()?.unwrap_or_default();
            // Jobs wait without folders: they may end up with another machine.
            let slot = self.launcher.wait_for_slot(engine, info, &name, &settings, ticket.take()).await?;
            lease::wait_until_held(record).await?;
            // Another process that starts the same job would replace its staged inputs and its container.
            folders.in_use = true;
            lock = folders.make_locked(&folder).await?;
            if find_started(engine, record).await?.is_some() {
                return Ok(None);
            }
            folders.in_use = false;
            // A job from a bucket that was killed runs again from its beginning, and leaves no trace of the first run.
            if let Some(aside) = folder.set_aside_earlier_files(record.is_from_bucket())? {
                let message = format!(
                    "an earlier run of `{name}` left files that were not collected: they were moved to `{}`",
                    aside.display()
                );
                self.tool.warn(record, Some(&message));
            }
            let io_dir = Path::new(record.require("io_dir")?).to_owned();
            preflight::check_disk_space(&io_dir, config.disk_bytes)?;
            // A remote engine gets copies, which every user of the container may read.
            let user = ContainerUser::new(&settings, &image);
            let reader = if engine.is_remote() { ContainerUser::Root } else { user.clone() };
            let inputs = stage_inputs(inputs, &io_dir, &folder, reader).await?;
            let mut spec = resolve::resolve_spec(record, &settings, &inputs, &image)?;
            self.label_placement(&mut spec);
            resolve::set_command(&mut spec, record, &inputs, &image)?;
            self.launcher.launch(engine, slot, record, &inputs, spec, &user, &mut folders).await
        };
        let launched = launched.await;
        if launched.is_ok() {
            // Making the user the owner of the results locks the folder too.
            drop(lock.take());
        }
        match launched {
            // A short job may have ended already.
            Ok(Some(container)) => targets::update_record(engine, record, container).await,
            Ok(None) if self.take_up(engine, info, record, &settings).await? => Ok(()),
            Ok(None) => {
                let message = "the container that another run of the job started was removed";
                Err(Failure::new(Kind::ContainerNotFound, message).hint("run the job again"))
            }
            Err(failure) => {
                // The engine may have started the container although its answer was lost.
                folders.in_use = folders.in_use && may_have_container(engine, record).await;
                Err(failure)
            }
        }
    }

    /// Completes the record and the settings from the image and the config, and checks what can be checked before the
    /// job gets its folders.
    async fn prepare(
        &self,
        engine: &Engine,
        info: &SystemInfo,
        record: &mut Record,
        settings: &mut RunSettings,
        inputs: &JobInputs,
    ) -> Result<(ImageInspect, Config)> {
        let image_field = if self.replays { "image_id" } else { "image" };
        let checked = preflight::check_inputs(record, inputs);
        let ((), image) = preflight::both(checked, engine.inspect_image(record.require(image_field)?).await)?;
        let labels = author_labels(&image)?;
        complete_from_labels(settings, &labels);
        if let Some(command) = labels.command.filter(|_| settings.entrypoint.is_none()) {
            record.fill("command", &command);
        }
        platform::check_platform(&image, settings, info)?;
        let config = inputs.read_config(record)?;
        for warning in &config.warnings {
            self.tool.warn(record, Some(warning));
        }
        settings.timeout_s = [settings.timeout_s, config.timeout_s].into_iter().flatten().min();
        let limited_by_config = (config.timeout_s.is_some() && config.timeout_s == settings.timeout_s).then_some(true);
        record.remove("limited_by_config");
        record.merge(&RecordFields { limited_by_config, ..RecordFields::default() });
        set_default_limits(record, settings);
        record.merge(&RecordFields { image_id: image.id.clone(), ..RecordFields::default() });
        Ok((image, config))
    }

    fn label_placement(&self, spec: &mut ContainerSpec) {
        let label = self.placement.as_ref().map(|placement| (labels::PLACEMENT.to_owned(), placement.clone()));
        spec.labels.extend(label);
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
        let Some((container, io_dir)) = find_started(engine, record).await? else { return Ok(false) };
        if let Some(io_dir) = io_dir {
            use_io_dir_of_container(self.tool, record, &container.name, &io_dir)?;
        }
        if !container.has_ended() {
            if time_limit(&engine.inspect(&container.id).await?).is_some() {
                // The one of the earlier run may have died with it.
                time_limit_guardian::start(self.tool, &container.id);
            }
            let slot = self.launcher.admission.slot_for_running(info, settings).await;
            self.launcher.admission.hold_until_end(slot, engine, &container.id);
        }
        targets::update_record(engine, record, container).await?;
        Ok(true)
    }

    /// Properties of the engine's machine. The engine is asked, once, only if it is remote or the job needs to know
    /// memory or GPUs: the answer takes 30 ms or more.
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
