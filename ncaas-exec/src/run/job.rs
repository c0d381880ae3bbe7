//! From a record to the container that is to run it.

use std::collections::BTreeMap;
use std::path::Path;

use bollard::models::ImageInspect;
use jiff::Timestamp;
use ncaas_core::config::{self, Config};
use ncaas_core::engine::labels;
use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::files::make_folder;
use ncaas_core::inputs::{self, InputPath, locate};
use ncaas_core::layout::{self, JobFolder};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Datasets, Input, Job, RunSettings};

use super::checksum;
use super::folders::Folders;
use crate::plan::{Plan, Shared};
use crate::settings::Environment;

/// What a job reads.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    /// The dataset.
    pub(super) data: Option<InputPath>,
    /// The config.
    pub(super) config: Option<InputPath>,
    /// Their names in the record, in this order.
    names: Vec<String>,
}

impl Inputs {
    /// Where a record's dataset and config lie.
    ///
    /// # Errors
    /// As [`place`]; and a record of several datasets is a whole submission, which was refused.
    pub(super) fn of(record: &Record) -> Result<Self> {
        let data = match record.dataname() {
            None => None,
            Some(Datasets::One(name)) => Some(locate(record, &name, layout::INPUTS)?),
            Some(Datasets::Many(_)) => {
                return Err(Failure::new(
                    Kind::BadRecord,
                    "the record names several datasets: one job has one dataset",
                ));
            }
        };
        let config = record.text("configname").map(|name| locate(record, name, layout::CONFIGS)).transpose()?;
        let dataname = record.dataname();
        let names = dataname.iter().flat_map(Datasets::names).chain(record.text("configname"));
        Ok(Inputs { names: names.map(str::to_owned).collect(), data, config })
    }

    /// What the config says to the platform. One given as an argument may have a format of its analysis's own, in which
    /// nothing is the platform's.
    pub(super) fn read_config(&self, record: &Record) -> Result<Config> {
        let Some(path) = &self.config else { return Ok(Config::default()) };
        let name = path.host.to_string_lossy();
        if !config::has_config_extension(&name) {
            return Ok(Config::default());
        }
        config::parse(&name, &inputs::read(record, path, config::MAX_SIZE)?)
    }

    /// Their sizes and checksums.
    pub(super) async fn summed(&self) -> Result<Vec<Input>> {
        let mut summed = Vec::new();
        for (name, place) in self.names.iter().zip(self.iter()) {
            summed.push(checksum::of(name, place).await?);
        }
        Ok(summed)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &InputPath> {
        self.data.iter().chain(&self.config)
    }
}

/// Gives a record that has no job one of its own: `job__<analysis>_<time>`, with a folder that nobody else has, among
/// `folders`. Without these no folder is made.
pub(super) fn give_job(record: &mut Record, mut folders: Option<&mut Folders>) -> Result<()> {
    let analysis = layout::analysis_of_image(record.require("image")?);
    let results = Path::new(record.require("io_dir")?).join(layout::RESULTS);
    if folders.is_some() {
        make_folder(&results)?;
    }
    loop {
        let timestamp = Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S_%6f").to_string();
        let id = layout::job_id(&analysis, &timestamp)?;
        // Another job of the same microsecond may have it.
        if let Some(folders) = &mut folders
            && !folders.claim(&results.join(&id))?
        {
            continue;
        }
        let label = record.dataname().and_then(|data| layout::dataset_labels(&data.names()).into_iter().next());
        record.set("job", &Job { id, timestamp: Some(timestamp), dataset: 1, datasets: 1, label, ..Job::default() });
        return Ok(());
    }
}

/// The container that a record asks for.
pub(super) fn plan(record: &Record, settings: &RunSettings, inputs: &Inputs, image: &ImageInspect) -> Result<Plan> {
    let job = record.job().ok_or_else(|| Failure::missing_field("job"))?;
    let folder = JobFolder::for_record(record)?;
    let io_dir = io_dir_inside(settings, image);
    let inside = |place: &InputPath| format!("{io_dir}/{}", place.inside);
    let data = inputs.data.as_ref().map(inside);
    let config = inputs.config.as_ref().map(inside);

    let mut shared: Vec<Shared> = inputs
        .iter()
        .map(|place| Shared { host: place.host.clone(), inside: inside(place), read_only: true })
        .collect();
    for (host, name) in [(folder.work_results(), layout::RESULTS), (folder.work_logs(), layout::LOGS)] {
        shared.push(Shared { host, inside: format!("{io_dir}/{name}"), read_only: false });
    }

    let mut environment = Environment::of(settings)?;
    for (name, value) in [("data", &data), ("config", &config)] {
        environment.open.extend(value.as_ref().map(|path| format!("{name}={path}")));
    }

    let own_command = || image.config.as_ref().and_then(|config| config.cmd.clone());
    let command = record.known()?.command.or_else(own_command).unwrap_or_default();
    let command = with_paths(command, data, config);
    let entrypoint = image.config.as_ref().and_then(|config| config.entrypoint.as_ref());
    let program = entrypoint.and_then(|words| words.first()).or(command.first()).cloned().unwrap_or_default();

    let mut labels =
        BTreeMap::from([(labels::TOOL.to_owned(), "ncaas-exec".to_owned()), (labels::JOB.to_owned(), job.id.clone())]);
    labels.extend(settings.timeout_s.map(|timeout| (labels::TIMEOUT.to_owned(), timeout.to_string())));

    Ok(Plan {
        name: Some(layout::container_name(&job, record.require("io_dir")?)),
        image: image.id.clone().unwrap_or_default(),
        command: (!command.is_empty()).then_some(command),
        program,
        environment,
        shared,
        settings: settings.clone(),
        labels,
        ..Plan::default()
    })
}

/// Where the container has its io-dir.
pub(crate) fn io_dir_inside(settings: &RunSettings, image: &ImageInspect) -> String {
    let label = || image.config.as_ref()?.labels.as_ref()?.get(labels::IO_DIR).cloned();
    let path = settings.mount.clone().or_else(label).filter(|path| path.starts_with('/'));
    path.map_or(layout::CONTAINER_IO_DIR.to_owned(), |path| path.trim_end_matches('/').to_owned())
}

/// The command with the dataset's and the config's path as `$1` and `$2`.
///
/// The first word that `sh -c SCRIPT` is given is `$0`, not `$1`: there the shell's own name takes that place.
fn with_paths(mut command: Vec<String>, data: Option<String>, config: Option<String>) -> Vec<String> {
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
    fn a_script_has_the_dataset_as_its_first_argument_and_the_config_as_its_second() {
        let given = |command: &str, data: Option<&str>, config: Option<&str>| {
            with_paths(words(command), data.map(str::to_owned), config.map(str::to_owned))
        };
        assert_eq!(given("./run.sh -v", Some("d"), Some("c")), words("./run.sh -v d c"));
        assert_eq!(given("./run.sh", None, Some("c")), ["./run.sh", "", "c"]);
        assert_eq!(given("ls -c x", None, None), words("ls -c x"));
        assert_eq!(given("/bin/sh -ec x", Some("d"), None), words("/bin/sh -ec x /bin/sh d"));
        assert_eq!(given("sh x -c", Some("d"), None), words("sh x -c d"));
    }
}
