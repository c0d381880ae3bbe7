//! Where a job's log, status file, certificate and record lie.

use std::path::{Path, PathBuf};

use ncaas_core::engine::reference;
use ncaas_core::failure::{Failure, Result};
use ncaas_core::folder::Folder;
use ncaas_core::inputs;
use ncaas_core::layout::{JobFolder, LOGS, RECORD_SUFFIX, SUBMISSIONS, status_file_name};
use ncaas_core::pipe::MAX_LINE;
use ncaas_core::record::Record;
use ncaas_core::record::fields::Datasets;

use super::certificate::Submission;

/// The files of one job, or of a container that is none.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) logs: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) status: PathBuf,
    pub(crate) record: PathBuf,
    /// A container that is no job has no certificate.
    pub(crate) job: Option<JobFolder>,
}

impl Places {
    /// Of a record with a job and an io-dir, or with an io-dir and a container's name.
    ///
    /// # Errors
    /// [`Kind::BadRecord`](ncaas_core::failure::Kind::BadRecord) where the record says neither.
    pub(crate) fn of(record: &Record) -> Result<Self> {
        if record.job().is_some() {
            let job = JobFolder::for_record(record)?;
            return Ok(Places {
                logs: job.logs(),
                log: job.log_file(),
                status: job.status_file(),
                record: job.record_file(),
                job: Some(job),
            });
        }
        let name = record.container().map(|container| container.name).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Failure::missing_field("job"))?;
        // What can be a container's name leads out of no folder.
        let name = reference::container(&name)?;
        let logs = Path::new(record.require("io_dir")?).join(LOGS);
        Ok(Places {
            log: logs.join(format!("{name}.log")),
            status: logs.join(status_file_name(name)),
            record: logs.join(format!("{name}{RECORD_SUFFIX}")),
            logs,
            job: None,
        })
    }

    /// Opens the folder in which they all lie: the job's, or that of containers' logs. What a development container puts in
    /// their place leads nowhere else.
    ///
    /// # Errors
    /// [`Kind::UnsafePath`](ncaas_core::failure::Kind::UnsafePath) where a link leads out of the io-dir.
    pub(crate) fn open(&self) -> Result<Folder> {
        match &self.job {
            Some(job) => job.open(),
            None => Folder::make(&self.logs),
        }
    }

    /// The record that was saved when the job or the container ended, if it did.
    pub(crate) fn saved(&self) -> Option<Record> {
        match &self.job {
            Some(job) => job.saved_record(),
            None => {
                let folder = Folder::open(&self.logs).ok()?;
                Record::parse(&folder.read(folder.within(&self.record), MAX_LINE as u64)?).ok()
            }
        }
    }
}

/// What the record says of its submission as a whole, and which of its datasets it is about.
pub(crate) fn submission(record: &Record) -> (Submission, usize) {
    let job = record.job().unwrap_or_default();
    let number = usize::try_from(job.dataset).unwrap_or(1).max(1);
    let datasets = usize::try_from(job.datasets).unwrap_or(1).max(number);
    let own = record.dataname();
    let datanames = match &own {
        // Where a submission was refused as a whole, its record names all of its datasets.
        Some(Datasets::Many(names)) => names.clone(),
        _ if datasets > 1 => {
            datanames_of_submit_file(record).filter(|names| names.len() == datasets).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let setup = record.known().ok().and_then(|known| known.setup).unwrap_or_default();
    (Submission { datanames, datasets, setup }, number)
}

/// The names of all datasets, from the submit file that lies beside them.
fn datanames_of_submit_file(record: &Record) -> Option<Vec<String>> {
    let key = record.job()?.submission?;
    let place = inputs::locate(record, &key, SUBMISSIONS).ok()?;
    let submit: Record = Record::parse(&inputs::read(record, &place, MAX_LINE as u64).ok()?).ok()?;
    match submit.dataname()? {
        Datasets::Many(names) => Some(names),
        Datasets::One(_) => None,
    }
}
