//! A saved record as a job to run again.

use std::path::Path;

use jiff::Timestamp;
use ncaas_core::failure::{Failure, IoContext, Kind, Result};
use ncaas_core::layout;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Input, Job, Known};

/// What the record of a job's run says of how to run it: the same image, command, settings and inputs, as a new job of
/// the same group. What came of the first run is left out.
///
/// # Errors
/// [`Kind::BadRecord`] where the file holds no record of a run.
pub(super) fn record(path: &Path) -> Result<Record> {
    let line = std::fs::read(path).doing("read", path)?;
    let known = Record::parse(&line).and_then(|record| record.known());
    let known = known.map_err(|failure| failure.context(path.display()))?;
    let (Some(image), Some(image_id)) = (known.image, known.image_id) else {
        let words = format!("`{}` is no record of a run: it names no image and its id", path.display());
        return Err(Failure::new(Kind::BadRecord, words).hint("`ncaas-logs save` writes one for each job"));
    };
    let timestamp = Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S_%6f").to_string();
    let id = layout::job_id(&layout::analysis_of_image(&image), &timestamp)?;
    let before = known.job.unwrap_or_default();
    let job = Job { id, timestamp: Some(timestamp), submission: None, dataset: 1, datasets: 1, ..before };
    Ok(Record::new(&Known {
        job: Some(job),
        dataname: known.dataname,
        configname: known.configname,
        io_dir: known.io_dir,
        image: Some(image),
        image_id: Some(image_id),
        command: known.command,
        run: known.run,
        inputs: known.inputs,
        ..Known::default()
    }))
}

/// The inputs are what they were.
///
/// # Errors
/// [`Kind::ChecksumMismatch`].
pub(super) fn compare(before: &[Input], now: &[Input]) -> Result<()> {
    for input in now {
        let same = before.iter().find(|known| known.name == input.name);
        match same {
            Some(known) if known.sha256 == input.sha256 => {}
            Some(_) => {
                let words = format!("`{}` is not what it was: its checksum has changed", input.name);
                return Err(Failure::new(Kind::ChecksumMismatch, words).hint("bring back the file as it was"));
            }
            None => {
                let words = format!("the saved record has no checksum of `{}`", input.name);
                return Err(Failure::new(Kind::ChecksumMismatch, words));
            }
        }
    }
    Ok(())
}
