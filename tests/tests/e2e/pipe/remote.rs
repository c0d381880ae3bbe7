//! The pipe on an engine that is reached by ssh.

use std::fs;
use std::time::Duration;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::pipeline::run_three_submissions;
use ncaas_tests::ssh::{Loopback, with_remote_engine};
use ncaas_tests::{Ran, Run, pipe_in, unique, wait_until};

#[test]
fn the_whole_pipe_runs_on_a_remote_engine() {
    let remote = Loopback::new();
    run_three_submissions(&TestBucket::directory("pca"), &remote.environment());
}

#[test]
fn a_broken_connection_to_a_remote_engine_loses_no_line_and_no_result() {
    let (folder, remote) = (tempfile::tempdir().unwrap(), Loopback::new());
    let job = unique("job__broken");
    let mut clean_up = CleanUp::new();
    clean_up.labelled(&format!("org.neurocaas.job={job}"));
    let command = "i=0; while [ ! -e go ]; do i=$((i+1)); echo $i; sleep 0.01; done; echo $i > io-dir/results/last";
    let record = serde_json::json!({"image": FIXTURE, "command": ["sh", "-c", command], "job": {"id": job, "dataset": 1, "datasets": 1}});
    let run = Run::tool("ncaas-exec").arg("run").dir(folder.path()).stdin(record.to_string());
    let started = with_remote_engine(run, &remote).run().ok();
    let id = started.record().container.unwrap().id;

    fs::write(folder.path().join("started"), &started.stdout).unwrap();
    let stages = "ncaas-logs save -q --live < started | ncaas-sync collect -q | ncaas-exec rm";
    let ran: Ran = std::thread::scope(|scope| {
        let pipe = scope.spawn(|| pipe_in(folder.path(), stages, &remote.environment()));
        let log = folder.path().join("io-dir/results").join(&job).join("logs");
        for _ in 0..3 {
            let size = || {
                fs::read_dir(&log)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .filter(|entry| entry.file_name().to_string_lossy().ends_with(".log"))
                    .map(|entry| entry.metadata().unwrap().len())
                    .sum::<u64>()
            };
            let before = size();
            wait_until("the log to grow", Duration::from_secs(30), || size() > before);
            remote.break_off();
        }
        docker(&["exec", &id, "touch", "go"]);
        pipe.join().unwrap()
    });
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{}", ran.text());
    let last = ran.records().pop().unwrap();
    assert_eq!(last.container.unwrap().status.as_deref(), Some("success"));
    let logs = last.logs.unwrap();
    let results = folder.path().join("io-dir/results").join(&job).join("process_results");
    let count: u64 = fs::read_to_string(results.join("last")).unwrap().trim().parse().unwrap();
    assert_eq!(logs.lines, count, "each line once");
}
