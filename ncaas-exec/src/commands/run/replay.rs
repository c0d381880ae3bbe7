//! `ncaas-exec run --replay`: repeat the run of a saved record.

use std::path::{Path, PathBuf};

use ncaas_core::failure::{Failure, Kind, Result};
use ncaas_core::inputs::{InputPath, locate};
use ncaas_core::layout::{self, CONFIGS, JobFolder, PROCESS_RESULTS, base_name};
use ncaas_core::record::Record;
use ncaas_core::record::fields::{InputFile, Job, RecordFields};
use ncaas_core::saved_record;
use ncaas_core::time::current_timestamp;
use ncaas_core::tool::Tool;

use super::input_checksum::checksum_input;

/// The record of a new job with image, command, settings and inputs of a saved record; without its config if another
/// one is given. A config that has changed since is replaced by the copy in the saved run's results. Fails with
/// [`Kind::BadRecord`] if the file does not contain the record of a run.
pub(super) async fn record_to_replay(tool: Tool, argument: &str, has_other_config: bool) -> Result<Record> {
    // The dataset of a job is often a file in the working directory.
    let is_file = argument.contains('/') || argument.ends_with(".json");
    let found = if is_file && !Path::new(argument).is_dir() { None } else { saved_record::find_saved(argument)? };
    let path = found.as_deref().unwrap_or(Path::new(argument));
    let saved = saved_record::read_file(path)?;
    let known = saved.fields()?;
    let (Some(image), Some(image_id)) = (known.image, known.image_id) else {
        let message = format!("`{}` is not the record of a run: it has no `image` or no `image_id`", path.display());
        return Err(Failure::new(Kind::BadRecord, message).hint("`ncaas-logs save` writes one for each job"));
    };
    let timestamp = current_timestamp();
    let id = layout::job_id(&layout::analysis_of_image(&image), &timestamp)?;
    let before = known.job.unwrap_or_default();
    let replay_of = Some(before.id.clone()).filter(|id| !id.is_empty());
    let job = Job { id, timestamp: Some(timestamp), submission: None, dataset: 1, datasets: 1, ..before };
    let mut inputs = known.inputs.unwrap_or_default();
    let mut config = known.configname.filter(|_| !has_other_config);
    if let Some(name) = &mut config
        && let Some(input) = inputs.iter_mut().find(|input| input.name == *name)
        && let Some(copy) = find_saved_config(&saved, name, input).await
    {
        tool.note(&format!("the config `{name}` has changed since the saved run: using its copy `{}`", copy.display()));
        *name = copy.to_string_lossy().into_owned();
        input.name.clone_from(name);
    }
    Ok(Record::new(&RecordFields {
        job: Some(job),
        dataname: known.dataname,
        configname: config,
        io_dir: known.io_dir,
        image: Some(image),
        image_id: Some(image_id),
        command: known.command,
        run: known.run,
        inputs: Some(inputs),
        replay_of,
        ..RecordFields::default()
    }))
}

/// The copy of a job's config in its results, if the config is not as it was and the copy is. A job from a bucket names
/// its config by key: for that one there is no copy to use.
async fn find_saved_config(saved: &Record, name: &str, before: &InputFile) -> Option<PathBuf> {
    let is_unchanged = async |host: &Path| {
        let path = InputPath { host: host.to_owned(), inside: String::new(), is_folder: false };
        checksum_input(name, &path).await.is_ok_and(|now| now.sha256 == before.sha256)
    };
    if !Path::new(name).is_absolute() || is_unchanged(&locate(saved, name, CONFIGS).ok()?.host).await {
        return None;
    }
    let copy = JobFolder::for_record(saved).ok()?.root().join(PROCESS_RESULTS).join(base_name(name));
    is_unchanged(&copy).await.then_some(copy)
}

/// Checks that the inputs are unchanged. `other_config` is the name of a config that the saved run did not have. Fails
/// with [`Kind::ChecksumMismatch`], with the names of all inputs that have changed.
pub(super) fn compare_inputs(before: &[InputFile], now: &[InputFile], other_config: Option<&str>) -> Result<()> {
    let is_unchanged =
        |input: &&InputFile| before.iter().any(|saved| saved.name == input.name && saved.sha256 == input.sha256);
    let compared = now.iter().filter(|input| other_config != Some(input.name.as_str()));
    let changed: Vec<String> =
        compared.filter(|input| !is_unchanged(input)).map(|input| format!("`{}`", input.name)).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let message = format!("inputs have changed since the saved run: {}", changed.join(", "));
    let hint = if other_config.is_some() {
        "restore the original files, or start a new run with `ncaas-exec run IMAGE --data FILE`"
    } else {
        "restore the original files; `--config FILE` runs with another config"
    };
    Err(Failure::new(Kind::ChecksumMismatch, message).hint(hint))
}
