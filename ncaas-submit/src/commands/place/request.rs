//! The request of a record to the scheduler: the job's name, its resources and its time limit.

use ncaas_core::failure::{Failure, Result};
use ncaas_core::layout;
use ncaas_core::record::Record;
use ncaas_core::record::fields::{Gpus, RunSettings};

/// Time beyond the job's own limit for download, upload and the start of the container, in seconds.
const MARGIN_S: u64 = 600;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct JobRequest {
    /// Derived from the record's job and its attempt alone: every placer gives the same record the same name.
    pub(super) name: String,
    /// Processors, at least 1; none if the record does not say.
    pub(super) cpus: Option<u64>,
    pub(super) memory_mib: Option<u64>,
    pub(super) gpu: bool,
    /// Time limit in whole minutes, rounded up; Slurm knows no shorter unit.
    pub(super) minutes: Option<u64>,
}

impl JobRequest {
    /// The request of a record. `config_timeout_s` is the config's `__duration__` in seconds.
    ///
    /// # Errors
    /// When the record has no job.
    pub(super) fn new(record: &Record, flags: &RunSettings, config_timeout_s: Option<u64>) -> Result<Self> {
        let job = record.job().ok_or_else(|| Failure::missing_field("job"))?;
        let own = record.fields()?.run.unwrap_or_default();
        let mut name = layout::container_name(&job, "");
        if let Some(attempt) = job.attempt {
            name.push_str(&format!("-a{attempt}"));
        }
        let timeout_s = [own.timeout_s.or(flags.timeout_s), config_timeout_s].into_iter().flatten().min();
        let gpus = own.gpus.or(flags.gpus);
        Ok(JobRequest {
            name,
            cpus: own.cpus.or(flags.cpus).map(|cpus| (cpus.ceil() as u64).max(1)),
            memory_mib: own.memory.or(flags.memory).map(|bytes| bytes.div_ceil(1 << 20)),
            gpu: matches!(gpus, Some(Gpus::Auto | Gpus::Require)),
            minutes: timeout_s.map(|seconds| (seconds + MARGIN_S).div_ceil(60)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(more: &str) -> Record {
        let text = format!(r#"{{"job":{{"id":"job__pca_1","bucket":"s3://pca","group":"lab","dataset":2{more}"#);
        Record::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn resources_are_rounded_up_to_the_units_of_slurm() {
        let record = record(r#"},"run":{"cpus":1.5,"memory":1048577,"gpus":"auto","timeout_s":61}}"#);
        let request = JobRequest::new(&record, &RunSettings::default(), None).unwrap();
        assert_eq!((request.cpus, request.memory_mib, request.minutes), (Some(2), Some(2), Some(12)));
        assert!(request.gpu);
    }

    #[test]
    fn flags_supply_missing_settings_and_the_shorter_time_limit_applies() {
        let flags = RunSettings { cpus: Some(0.5), timeout_s: Some(7200), ..RunSettings::default() };
        let request = JobRequest::new(&record("}}"), &flags, Some(60)).unwrap();
        assert_eq!((request.cpus, request.minutes, request.gpu), (Some(1), Some(11), false));
        assert_eq!(JobRequest::new(&record("}}"), &RunSettings::default(), None).unwrap().minutes, None);
    }

    #[test]
    fn the_name_is_that_of_the_dataset_and_attempt() {
        let request = |more| JobRequest::new(&record(more), &RunSettings::default(), None).unwrap().name;
        assert_eq!(request("}}"), request(r#","claim":{"number":7,"watcher":"x"}}}"#));
        assert_eq!(request(r#","attempt":2}}"#), format!("{}-a2", request("}}")));
    }
}
