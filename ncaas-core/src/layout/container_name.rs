//! The name of a job's container.

use super::names::short_hash;
use crate::failure::Result;
use crate::record::Record;
use crate::record::fields::Job;

/// The name of a job's container. It is the same whenever the job is started, so that the engine refuses to run the job
/// twice. Characters of the id that are not valid in a container's name are replaced.
pub fn container_name(job: &Job, io_dir: &str) -> String {
    let readable: String =
        job.id.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' }).take(80).collect();
    let identity = [job.bucket.as_deref().unwrap_or(io_dir), job.group.as_deref().unwrap_or(""), &job.id].join("\n");
    format!("{readable}-{}-{}", job.dataset, short_hash(&identity))
}

impl Record {
    /// The name of the container of the record's job; none without a job. That of a job from a bucket does not depend
    /// on the io-dir.
    ///
    /// # Errors
    /// [`Kind::BadRecord`](crate::failure::Kind::BadRecord) if it depends on the io-dir and the record has none.
    pub fn container_name(&self) -> Result<Option<String>> {
        let Some(job) = self.job() else { return Ok(None) };
        let io_dir = if job.bucket.is_some() { "" } else { self.require("io_dir")? };
        Ok(Some(container_name(&job, io_dir)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_name_is_valid_for_the_engine() {
        let job = Job { id: "job__pca_16:52:06 é".into(), dataset: 2, ..Job::default() };
        let name = container_name(&job, "/io");
        assert!(name.starts_with("job__pca_16-52-06---2-"), "{name}");
        let elsewhere = Job { bucket: Some("s3://other".into()), ..job };
        assert_ne!(name, container_name(&elsewhere, "/io"));
    }
}
