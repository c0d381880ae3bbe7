//! From a record to the specification of its job's container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bollard::models::ImageInspect;
use ncaas_core::engine::labels;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files::make_folder;
use ncaas_core::inputs::InputPath;
use ncaas_core::layout::{self, JobFolder, base_name};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Job, MountPaths, Protocol, RunSettings};
use ncaas_core::time::current_timestamp;

use super::command_line::{Arguments, BaseCommand, complete_command};
use super::job_folders::MadeFolders;
use super::job_inputs::JobInputs;
use super::workflow::WORKFLOW_FOLDER;
use crate::container_spec::{ContainerSpec, SharedPath};
use crate::image::io_dir_in_container;
use crate::run_settings::ContainerEnvironment;

/// Gives a record without a job a new one: `job__<analysis>_<time>`. With `folders`, the job's folder is made too, so
/// that no other job gets the same id.
pub(super) fn assign_job(record: &mut Record, mut folders: Option<&mut MadeFolders>) -> Result<()> {
    let analysis = layout::analysis_of_image(record.require("image")?);
    let results = Path::new(record.require("io_dir")?).join(layout::RESULTS);
    if folders.is_some() {
        make_folder(&results)?;
    }
    loop {
        let timestamp = current_timestamp();
        let id = layout::job_id(&analysis, &timestamp)?;
        if let Some(folders) = &mut folders
            && !folders.make_exclusive(&results.join(&id))?
        {
            continue;
        }
        let label = record.dataname().and_then(|data| layout::dataset_labels(&data.names()).into_iter().next());
        record.set("job", &Job { id, timestamp: Some(timestamp), dataset: 1, datasets: 1, label, ..Job::default() });
        return Ok(());
    }
}

/// The specification of a job's container, without its command: see [`set_command`].
pub(super) fn resolve_spec(
    record: &Record,
    settings: &RunSettings,
    inputs: &JobInputs,
    image: &ImageInspect,
) -> Result<ContainerSpec> {
    let job = record.job().ok_or_else(|| Failure::missing_field("job"))?;
    let folder = JobFolder::for_record(record)?;
    let paths = JobPaths::new(settings, inputs, image);
    if settings.protocol == Some(Protocol::Workflow) && settings.read_only == Some(true) {
        let message = format!("the workflow protocol needs files in `{WORKFLOW_FOLDER}`, which `--read-only` forbids");
        return Err(Failure::new(Kind::Usage, message).hint("leave out `--read-only`"));
    }

    let mut shared = Vec::new();
    for (input, path) in [(&inputs.data, &paths.data), (&inputs.config, &paths.config)] {
        if let (Some(input), Some(path)) = (input, path) {
            shared.push(SharedPath { host: input.host.clone(), container: path.clone(), read_only: true });
        }
    }
    for (host, path) in [(folder.work_results(), Some(&paths.results)), (folder.work_logs(), paths.logs.as_ref())] {
        if let Some(path) = path {
            shared.push(SharedPath { host, container: path.clone(), read_only: false });
        }
    }
    for volume in settings.volumes.iter().flatten() {
        shared.push(shared_volume(volume)?);
    }

    let mut environment = ContainerEnvironment::new(settings)?;
    let variables = [
        ("data", paths.data.as_deref()),
        ("config", paths.config.as_deref()),
        ("result", Some(paths.results.as_str())),
        ("bucket", job.bucket.as_deref()),
        ("group", job.group.as_deref()),
    ];
    environment.public.extend(variables.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?))));

    let mut labels =
        BTreeMap::from([(labels::TOOL.to_owned(), "ncaas-exec".to_owned()), (labels::JOB.to_owned(), job.id.clone())]);
    labels.extend(settings.timeout_s.map(|timeout| (labels::TIMEOUT.to_owned(), timeout.to_string())));

    Ok(ContainerSpec {
        name: record.container_name()?,
        image: image.id.clone().unwrap_or_default(),
        environment,
        shared,
        settings: settings.clone(),
        labels,
        is_job: true,
        ..ContainerSpec::default()
    })
}

/// Sets the command of a job's container.
pub(super) fn set_command(
    spec: &mut ContainerSpec,
    record: &Record,
    inputs: &JobInputs,
    image: &ImageInspect,
) -> Result<()> {
    let job = record.job().ok_or_else(|| Failure::missing_field("job"))?;
    let settings = &spec.settings;
    let paths = JobPaths::new(settings, inputs, image);
    let image_config = image.config.as_ref();
    let image_entrypoint = image_config.and_then(|config| config.entrypoint.clone()).unwrap_or_default();
    let own_command = record.fields()?.command;
    let is_explicit = own_command.is_some();
    let base = match &settings.entrypoint {
        Some(entrypoint) => {
            BaseCommand { entrypoint: entrypoint.clone(), command: own_command.unwrap_or_default(), is_explicit: true }
        }
        None => BaseCommand {
            entrypoint: image_entrypoint.clone(),
            command: own_command.or_else(|| image_config?.cmd.clone()).unwrap_or_default(),
            is_explicit,
        },
    };
    let arguments = Arguments {
        data: paths.data.clone(),
        config: paths.config.clone(),
        placeholders: paths.placeholders(&job, settings),
        append: settings.protocol.unwrap_or_default() == Protocol::Arguments,
    };
    let line = complete_command(base, &arguments)?;
    spec.program = line.entrypoint.first().or(line.command.first()).cloned().unwrap_or_default();
    let is_own_entrypoint = settings.entrypoint.is_some() || line.entrypoint != image_entrypoint;
    spec.entrypoint = is_own_entrypoint.then_some(line.entrypoint);
    spec.command = (!line.command.is_empty()).then_some(line.command);
    Ok(())
}

/// `HOST:CONTAINER:ro`.
fn shared_volume(volume: &str) -> Result<SharedPath> {
    let invalid = || Failure::new(Kind::BadRecord, format!("`{volume}` in `run.volumes` is not `HOST:CONTAINER:ro`"));
    let (host, container) = volume.strip_suffix(":ro").and_then(|rest| rest.rsplit_once(':')).ok_or_else(invalid)?;
    if !host.starts_with('/') || !container.starts_with('/') {
        return Err(invalid());
    }
    Ok(SharedPath { host: PathBuf::from(host), container: container.to_owned(), read_only: true })
}

/// The paths of inputs, results and logs in a container.
#[derive(Debug)]
struct JobPaths {
    data: Option<String>,
    config: Option<String>,
    inputs: String,
    results: String,
    logs: Option<String>,
}

impl JobPaths {
    fn new(settings: &RunSettings, inputs: &JobInputs, image: &ImageInspect) -> Self {
        let io_dir = io_dir_in_container(settings, image);
        let moved = settings.mounts.clone().unwrap_or_default();
        let moved = if settings.protocol == Some(Protocol::Workflow) {
            // `put-result` writes to a folder `process_results`.
            let results = moved.results.or_else(|| Some(format!("{WORKFLOW_FOLDER}/process_results")));
            MountPaths { results, ..moved }
        } else {
            moved
        };
        let in_io_dir = |input: &InputPath| format!("{io_dir}/{}", input.inside);
        let data = inputs.data.as_ref().map(|input| match &moved.data {
            Some(path) if input.host.is_dir() => path.clone(),
            Some(path) => format!("{path}/{}", base_name(&input.inside)),
            None => in_io_dir(input),
        });
        let config = inputs.config.as_ref().map(|input| match &moved.config {
            Some(path) => format!("{path}/{}", base_name(&input.inside)),
            None => in_io_dir(input),
        });
        let folder_above = |path: &String| path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
        JobPaths {
            inputs: data.as_ref().and_then(folder_above).unwrap_or_else(|| format!("{io_dir}/{}", layout::INPUTS)),
            results: moved.results.unwrap_or_else(|| format!("{io_dir}/{}", layout::RESULTS)),
            logs: match moved.logs {
                Some(path) if path.is_empty() => None,
                Some(path) => Some(path),
                None => Some(format!("{io_dir}/{}", layout::LOGS)),
            },
            data,
            config,
        }
    }

    /// The values of the placeholders in a command.
    fn placeholders(&self, job: &Job, settings: &RunSettings) -> Vec<(&'static str, String)> {
        let dataset = self.data.as_deref().map(|path| base_name(path).to_owned());
        let cpus = settings.cpus.map_or_else(
            || std::thread::available_parallelism().map_or(1, |cpus| cpus.get()).to_string(),
            |cpus| cpus.to_string(),
        );
        vec![
            ("data", self.data.clone().unwrap_or_default()),
            ("config", self.config.clone().unwrap_or_default()),
            ("inputs", self.inputs.clone()),
            ("results", self.results.clone()),
            ("out", self.results.clone()),
            ("logs", self.logs.clone().unwrap_or_default()),
            ("dataset", dataset.unwrap_or_default()),
            ("job", job.id.clone()),
            ("cpus", cpus),
            ("memory", settings.memory.map(|bytes| bytes.to_string()).unwrap_or_default()),
        ]
    }
}
