//! The paths of a job's log, status file, certificate and record.

use std::path::{Path, PathBuf};

use ncaas_core::engine::reference;
use ncaas_core::failure::{Failure, Result};
use ncaas_core::folder::Folder;
use ncaas_core::layout::{JobFolder, LOG_SUFFIX, LOGS, RECORD_SUFFIX, status_file_name};
use ncaas_core::record::{MAX_LINE, Record};

/// The files of one job, or of a container that belongs to no job.
#[derive(Debug)]
pub(crate) struct JobFiles {
    pub(crate) logs: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) status: PathBuf,
    pub(crate) record: PathBuf,
    /// None for a container that belongs to no job. It has no certificate.
    pub(crate) job: Option<JobFolder>,
}

impl JobFiles {
    /// The files of a record that has an io-dir, and a job or the name of a container.
    pub(crate) fn for_record(record: &Record) -> Result<Self> {
        if record.job().is_some() {
            let job = JobFolder::for_record(record)?;
            return Ok(JobFiles {
                logs: job.logs(),
                log: job.log_file(),
                status: job.status_file(),
                record: job.record_file(),
                job: Some(job),
            });
        }
        let name = record.container().map(|container| container.name).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Failure::missing_field("job"))?;
        // A valid container name cannot lead out of the folder.
        let name = reference::container(&name)?;
        let logs = Path::new(record.require("io_dir")?).join(LOGS);
        Ok(JobFiles {
            log: logs.join(format!("{name}{LOG_SUFFIX}")),
            status: logs.join(status_file_name(name)),
            record: logs.join(format!("{name}{RECORD_SUFFIX}")),
            logs,
            job: None,
        })
    }

    /// Opens the job's folder, or the folder of containers' logs, by handle. A development container may have replaced
    /// them by links.
    pub(crate) fn open(&self) -> Result<Folder> {
        match &self.job {
            Some(job) => job.open(),
            None => Folder::create(&self.logs),
        }
    }

    /// The record that was saved when the job or the container ended.
    pub(crate) fn saved_record(&self) -> Option<Record> {
        match &self.job {
            Some(job) => job.saved_record(),
            None => {
                let folder = Folder::open(&self.logs).ok()?;
                Record::parse(&folder.read(folder.relative(&self.record), MAX_LINE as u64)?).ok()
            }
        }
    }
}
