//! The pipe continues after an outage of its bucket while a job ended.

use std::path::PathBuf;
use std::time::Duration;

use ncaas_tests::background_pipe::BackgroundPipe;
use ncaas_tests::pipeline::{SubmittedJob, pipeline_script};
use ncaas_tests::wait_until;

#[test]
fn a_job_that_ends_during_a_bucket_outage_is_pushed_afterwards() {
    let job = SubmittedJob::new("away");
    let bucket = PathBuf::from(job.bucket.address());
    let away = bucket.with_extension("away");
    // The job ends when the test removes a file.
    let analysis = "cd io-dir/results; echo 1 >r; touch hold; while [ -e hold ]; do sleep 0.05; done";
    let script = pipeline_script(&job.bucket.address(), "", analysis).replace(" --live", "");
    let pipe = BackgroundPipe::start(job.folder.path(), &script);
    let hold = job.folder.path().join(format!("io-dir/lab/.ncaas/work/{}/1/results/hold", job.id));
    wait_until("the job to run", Duration::from_secs(60), || hold.exists());
    std::fs::rename(&bucket, &away).unwrap();
    std::fs::remove_file(&hold).unwrap();
    let stderr = || std::fs::read_to_string(job.folder.path().join("stderr")).unwrap();
    let is_retried = || stderr().contains("this pipe retries the job");
    wait_until("the failed push", Duration::from_secs(60), is_retried);
    std::fs::rename(&away, &bucket).unwrap();
    let end = job.key("process_results/end.txt");
    wait_until("end.txt", Duration::from_secs(90), || job.bucket.get(&end).is_some());
    assert_eq!(job.bucket.text(&job.key("process_results/r")), "1\n");
    job.wait_for_removal();
    drop(pipe);
}
