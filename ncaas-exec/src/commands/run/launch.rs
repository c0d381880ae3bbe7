//! Launching a job: wait for free resources, compute the checksums, create the container and start it.

use std::cell::RefCell;
use std::collections::HashSet;
use std::time::Duration;

use bollard::models::SystemInfo;
use ncaas_core::engine::{Engine, LazyEngine, labels};
use ncaas_core::failure::{Kind, Result};
use ncaas_core::lease;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Container, Protocol, RecordFields, RunSettings};
use ncaas_core::tool::Tool;
use tokio::time::{Instant, sleep, timeout};

use super::admission::{Admission, Slot};
use super::explanation::explain_start;
use super::job_folders::MadeFolders;
use super::job_inputs::JobInputs;
use super::previous_run::{find_container, is_unstarted};
use super::replay::compare_inputs;
use super::start_order::StartTicket;
use super::time_limit_guardian;
use super::workflow::write_workflow_files;
use crate::args::RunArgs;
use crate::container_spec::ContainerSpec;
use crate::container_user::ContainerUser;
use crate::{container_start, start_failure};

/// How long another client's request for the same container may take.
const CREATION_LIMIT: Duration = Duration::from_secs(60);
/// Time between two checks whether that request is complete.
const CREATION_PAUSE: Duration = Duration::from_millis(100);

/// A wait that is not worth a note.
const SHORT_WAIT: Duration = Duration::from_millis(300);

/// How long the removal of a container may take after an interruption.
const REMOVE_LIMIT: Duration = Duration::from_millis(400);

/// Launches the jobs of one run of the verb.
#[derive(Debug)]
pub(super) struct Launcher {
    tool: Tool,
    /// Whether the inputs must have the checksums in the record.
    replays: bool,
    /// Whether a repeated run gets another config.
    has_other_config: bool,
    /// Whether to say what is started and what it waits for.
    is_verbose: bool,
    pub(super) admission: Admission,
    /// Images (by id) and programs that can be started.
    examined: RefCell<HashSet<(String, String)>>,
    /// Containers that were created and not started yet.
    unstarted: RefCell<HashSet<String>>,
}

impl Launcher {
    pub(super) fn new(tool: Tool, args: &RunArgs) -> Self {
        Launcher {
            tool,
            replays: args.replay.is_some(),
            has_other_config: args.replay.is_some() && args.config.is_some(),
            is_verbose: args.verbose,
            admission: Admission::new(args.pipe.jobs),
            examined: RefCell::default(),
            unstarted: RefCell::default(),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the whole of a resolved job, which exists only here")]
    /// Starts the container, which has its share of the machine. None if another run has started it meanwhile.
    pub(super) async fn launch(
        &self,
        engine: &Engine,
        slot: Slot,
        record: &mut Record,
        inputs: &JobInputs,
        mut spec: ContainerSpec,
        user: &ContainerUser,
        folders: &mut MadeFolders,
    ) -> Result<Option<Container>> {
        if self.is_verbose {
            explain_start(self.tool, "starting", record, &spec);
        }
        self.tool.warn(record, slot.warning.as_deref());
        if let Some(gpu) = &slot.gpu {
            spec.labels.insert(labels::GPU.to_owned(), gpu.clone());
        }
        spec.gpu.clone_from(&slot.gpu);
        let checksums = inputs.checksums().await?;
        if self.replays {
            let other_config = record.text("configname").filter(|_| self.has_other_config);
            compare_inputs(&record.fields()?.inputs.unwrap_or_default(), &checksums, other_config)?;
        }
        if !checksums.is_empty() {
            record.merge(&RecordFields { inputs: Some(checksums), ..RecordFields::default() });
        }
        spec.label_record(record);

        // Meanwhile another machine may have taken the job over.
        lease::wait_until_held(record).await?;
        folders.in_use = true;
        let Some(id) = create_container(engine, record, &spec).await? else { return Ok(None) };
        self.unstarted.borrow_mut().insert(id.clone());
        self.examine_program(engine, &id, &spec).await?;
        if spec.settings.protocol == Some(Protocol::Workflow) {
            write_workflow_files(engine, &id, &spec, record, user).await?;
        }
        let container = container_start::start_container(engine, &id, &spec).await?;
        self.unstarted.borrow_mut().remove(&id);
        if !container.has_ended() {
            if spec.settings.timeout_s.is_some() {
                time_limit_guardian::start(self.tool, &container.id);
            }
            self.admission.hold_until_end(slot, engine, &container.id);
        }
        Ok(Some(container))
    }

    /// Removes the containers that were created and not started when the run was interrupted: nothing would start them.
    pub(super) async fn remove_unstarted(&self, connection: &LazyEngine) {
        for id in self.unstarted.take() {
            if let Ok(engine) = connection.get().await {
                // Fails for one that has started: the engine's answer came too late.
                let _ = timeout(REMOVE_LIMIT, container_start::remove_container(engine, &id, false)).await;
            }
        }
    }

    /// Waits until earlier records have their slots, and then for one.
    pub(super) async fn wait_for_slot(
        &self,
        engine: &Engine,
        info: &SystemInfo,
        name: &str,
        settings: &RunSettings,
        ticket: Option<StartTicket<'_>>,
    ) -> Result<Slot> {
        let wait = async {
            if let Some(ticket) = &ticket {
                ticket.wait_for_turn().await;
            }
            self.admission.wait_for_slot(engine, info, name, settings).await
        };
        let mut wait = std::pin::pin!(wait);
        if self.is_verbose {
            tokio::select! {
                biased;
                slot = &mut wait => return slot,
                () = sleep(SHORT_WAIT) => {
                    self.tool.note(&format!("`{name}` waits for a slot: {}", self.admission.describe_limit(info)));
                }
            }
        }
        wait.await
    }

    /// Checks that the container's program can be started, once for each image and program. Removes the container if
    /// not.
    async fn examine_program(&self, engine: &Engine, id: &str, spec: &ContainerSpec) -> Result<()> {
        let examined = (spec.image.clone(), spec.program.clone());
        if !start_failure::needs_examination(&spec.program) || self.examined.borrow().contains(&examined) {
            return Ok(());
        }
        if let Err(failure) = start_failure::examine_program(engine, id).await {
            container_start::remove_container(engine, id, true).await?;
            return Err(failure);
        }
        self.examined.borrow_mut().insert(examined);
        Ok(())
    }
}

/// Creates the container of a record's job. None if another run has started one meanwhile. One that was never started
/// is replaced: the run that created it may have had another io-dir or other limits.
async fn create_container(engine: &Engine, record: &Record, spec: &ContainerSpec) -> Result<Option<String>> {
    let began = Instant::now();
    loop {
        let taken = match container_start::create_container(engine, spec).await {
            Err(failure) if failure.kind == Kind::NameInUse => failure,
            created => return created.map(Some),
        };
        let failure = match find_container(engine, record).await? {
            Some((existing, _)) if is_unstarted(&existing) => {
                match container_start::remove_container(engine, &existing.id, false).await {
                    Ok(()) => continue,
                    // Another run may have started it meanwhile.
                    Err(failure) => failure,
                }
            }
            Some(_) => return Ok(None),
            // The engine is still creating it for a run that was killed, or is removing it.
            None => taken,
        };
        if began.elapsed() >= CREATION_LIMIT {
            return Err(failure);
        }
        sleep(CREATION_PAUSE).await;
    }
}
