//! `ncaas-exec run --replay`: repeat the run of a saved record.

use std::path::Path;

use jiff::Timestamp;
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::layout;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Input, Job, RecordFields};

/// The record of a new job with image, command, settings and inputs of a saved record.
///
/// # Errors
/// [`Kind::BadRecord`] if the file does not contain the record of a run.
pub(super) fn record_to_replay(path: &Path) -> Result<Record> {
    let line = std::fs::read(path).doing("read", path)?;
    let known = Record::parse(&line).and_then(|record| record.fields());
    let known = known.map_err(|failure| failure.context(path.display()))?;
    let (Some(image), Some(image_id)) = (known.image, known.image_id) else {
        let message = format!("`{}` is not the record of a run: it has no `image` or no `image_id`", path.display());
        return Err(Failure::new(Kind::BadRecord, message).hint("`ncaas-logs save` writes one for each job"));
    };
    let timestamp = Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S_%6f").to_string();
    let id = layout::job_id(&layout::analysis_of_image(&image), &timestamp)?;
    let before = known.job.unwrap_or_default();
    let job = Job { id, timestamp: Some(timestamp), submission: None, dataset: 1, datasets: 1, ..before };
    Ok(Record::new(&RecordFields {
        job: Some(job),
        dataname: known.dataname,
        configname: known.configname,
        io_dir: known.io_dir,
        image: Some(image),
        image_id: Some(image_id),
        command: known.command,
        run: known.run,
        inputs: known.inputs,
        ..RecordFields::default()
    }))
}

/// Checks that the inputs are unchanged.
///
/// # Errors
/// [`Kind::ChecksumMismatch`].
pub(super) fn compare_inputs(before: &[Input], now: &[Input]) -> Result<()> {
    for input in now {
        let same = before.iter().find(|known| known.name == input.name);
        match same {
            Some(known) if known.sha256 == input.sha256 => {}
            Some(_) => {
                let message = format!("`{}` has changed since the saved run", input.name);
                return Err(Failure::new(Kind::ChecksumMismatch, message).hint("restore the original file"));
            }
            None => {
                let message = format!("the saved record has no checksum of `{}`", input.name);
                return Err(Failure::new(Kind::ChecksumMismatch, message));
            }
        }
    }
    Ok(())
}
