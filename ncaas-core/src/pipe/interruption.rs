//! The message about an interruption: the records in work, and how to go on with them.

use crate::record::fields::Job;

/// Says how to resume the work on a number of records, one of which belongs to `job`.
pub(super) fn describe_interruption(records: usize, job: Option<&Job>) -> String {
    let remedy = match job {
        None => "run the same command again to resume".to_owned(),
        Some(Job { id, bucket: Some(bucket), group: Some(group), .. }) => format!(
            "to resume, run the same pipe again; on another machine, first run `ncaas-submit retry --force \
             {bucket}/{group} {id}`"
        ),
        Some(_) => "jobs that were started go on in the background: `ncaas-exec ls --all | ncaas-logs save | \
                    ncaas-sync collect` takes them up, `ncaas-exec stop NAME` stops one"
            .to_owned(),
    };
    format!("interrupted with {records} in progress; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_is_a_command_that_works_for_the_job() {
        let job = Job { id: "job__pca_1".to_owned(), ..Job::default() };
        assert!(describe_interruption(1, Some(&job)).contains("`ncaas-exec ls --all | "));
        let submitted = Job { bucket: Some("s3://pca".to_owned()), group: Some("lab".to_owned()), ..job };
        assert!(
            describe_interruption(2, Some(&submitted)).contains("`ncaas-submit retry --force s3://pca/lab job__pca_1`")
        );
        assert!(describe_interruption(2, None).contains("the same command again"));
    }
}
