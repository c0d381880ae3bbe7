//! From a record to the specification of its job's container.

use std::collections::BTreeMap;
use std::path::Path;

use bollard::models::ImageInspect;
use jiff::Timestamp;
use ncaas_core::engine::labels;
use ncaas_core::failure::{Failure, Result};
use ncaas_core::files::make_folder;
use ncaas_core::inputs::InputPath;
use ncaas_core::layout::{self, JobFolder};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Job, RunSettings};

use super::job_folders::MadeFolders;
use super::job_inputs::JobInputs;
use crate::container_spec::{ContainerSpec, SharedPath};
use crate::image::io_dir_in_container;
use crate::run_settings::Environment;

/// Gives a record without a job a new one: `job__<analysis>_<time>`. With `folders`, the job's folder is made too, so that
/// no other job gets the same id.
pub(super) fn assign_job(record: &mut Record, mut folders: Option<&mut MadeFolders>) -> Result<()> {
    let analysis = layout::analysis_of_image(record.require("image")?);
    let results = Path::new(record.require("io_dir")?).join(layout::RESULTS);
    if folders.is_some() {
        make_folder(&results)?;
    }
    loop {
        let timestamp = Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S_%6f").to_string();
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

/// The specification of a job's container.
pub(super) fn resolve_spec(
    record: &Record,
    settings: &RunSettings,
    inputs: &JobInputs,
    image: &ImageInspect,
) -> Result<ContainerSpec> {
    let job = record.job().ok_or_else(|| Failure::missing_field("job"))?;
    let folder = JobFolder::for_record(record)?;
    let io_dir = io_dir_in_container(settings, image);
    let in_container = |path: &InputPath| format!("{io_dir}/{}", path.inside);
    let data = inputs.data.as_ref().map(in_container);
    let config = inputs.config.as_ref().map(in_container);

    let mut shared: Vec<SharedPath> = inputs
        .paths()
        .map(|path| SharedPath { host: path.host.clone(), container: in_container(path), read_only: true })
        .collect();
    for (host, name) in [(folder.work_results(), layout::RESULTS), (folder.work_logs(), layout::LOGS)] {
        shared.push(SharedPath { host, container: format!("{io_dir}/{name}"), read_only: false });
    }

    let mut environment = Environment::new(settings)?;
    for (name, value) in [("data", &data), ("config", &config)] {
        environment.public.extend(value.as_ref().map(|path| format!("{name}={path}")));
    }

    let image_command = || image.config.as_ref().and_then(|config| config.cmd.clone());
    let command = record.known()?.command.or_else(image_command).unwrap_or_default();
    let command = append_paths(command, data, config);
    let entrypoint = image.config.as_ref().and_then(|config| config.entrypoint.as_ref());
    let program = entrypoint.and_then(|words| words.first()).or(command.first()).cloned().unwrap_or_default();

    let mut labels =
        BTreeMap::from([(labels::TOOL.to_owned(), "ncaas-exec".to_owned()), (labels::JOB.to_owned(), job.id.clone())]);
    labels.extend(settings.timeout_s.map(|timeout| (labels::TIMEOUT.to_owned(), timeout.to_string())));

    Ok(ContainerSpec {
        name: Some(layout::container_name(&job, record.require("io_dir")?)),
        image: image.id.clone().unwrap_or_default(),
        command: (!command.is_empty()).then_some(command),
        program,
        environment,
        shared,
        settings: settings.clone(),
        labels,
        ..ContainerSpec::default()
    })
}

/// Appends the paths of dataset and config, so that they become `$1` and `$2` of the script.
///
/// The first argument after `sh -c SCRIPT` is `$0`, not `$1`: the shell's own name is inserted there.
fn append_paths(mut command: Vec<String>, data: Option<String>, config: Option<String>) -> Vec<String> {
    if data.is_none() && config.is_none() {
        return command;
    }
    if let [shell, option, _script] = command.as_slice()
        && layout::base_name(shell).ends_with("sh")
        && option.starts_with('-')
        && option.ends_with('c')
    {
        command.push(shell.clone());
    }
    command.push(data.unwrap_or_default());
    command.extend(config);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_script_gets_the_dataset_as_first_and_the_config_as_second_argument() {
        let appended = |command: &str, data: Option<&str>, config: Option<&str>| {
            append_paths(words(command), data.map(str::to_owned), config.map(str::to_owned))
        };
        assert_eq!(appended("./run.sh -v", Some("d"), Some("c")), words("./run.sh -v d c"));
        assert_eq!(appended("./run.sh", None, Some("c")), ["./run.sh", "", "c"]);
        assert_eq!(appended("ls -c x", None, None), words("ls -c x"));
        assert_eq!(appended("/bin/sh -ec x", Some("d"), None), words("/bin/sh -ec x /bin/sh d"));
        assert_eq!(appended("sh x -c", Some("d"), None), words("sh x -c d"));
    }
}
