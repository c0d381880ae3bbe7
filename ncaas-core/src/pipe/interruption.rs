//! The messages about an interruption: how many jobs are still running, and how to resume.

use crate::record::fields::Job;

/// Saves the log and the results of this user's jobs, whatever has started them, and removes their containers.
pub const COMPLETE_JOBS: &str = "ncaas-exec ls --all --mine | ncaas-logs save | ncaas-sync collect | ncaas-exec rm";

/// The message about an interruption: the work that is left, and how to continue it.
pub fn describe_interruption(left: impl IntoIterator<Item = String>) -> String {
    format!("interrupted: {}", left.into_iter().collect::<Vec<_>>().join("; "))
}

/// How to resume the work for a job after an interruption: a command that works when it is typed.
pub fn resume_advice(job: Option<&Job>) -> String {
    match job {
        None => "run the same command again to resume".to_owned(),
        // The stages continue the jobs that they find in the bucket.
        Some(Job { bucket: Some(_), .. }) => "run the same pipe again to resume".to_owned(),
        // The same pipe would start the job a second time.
        Some(_) => format!(
            "`ncaas-exec ls` lists jobs, `ncaas-exec stop NAME` stops one, and `{COMPLETE_JOBS}` saves their results"
        ),
    }
}

/// The message that this number of jobs is still running.
pub fn describe_running(jobs: u64) -> String {
    match jobs {
        0 => "no job is running".to_owned(),
        1 => "1 job is running in the background".to_owned(),
        jobs => format!("{jobs} jobs are running in the background"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_pipe_is_advised_only_if_it_starts_no_second_job() {
        let job = Job { id: "job__pca_1".to_owned(), ..Job::default() };
        assert!(resume_advice(Some(&job)).contains("`ncaas-exec ls --all --mine | "));
        let submitted = Job { bucket: Some("s3://pca".to_owned()), group: Some("lab".to_owned()), ..job };
        assert!(resume_advice(Some(&submitted)).contains("the same pipe again"));
        assert!(resume_advice(None).contains("the same command again"));
    }
}
