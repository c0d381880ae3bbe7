//! The pipe resumes after any one of its stages was killed.

use std::time::Duration;

use ncaas_tests::bucket::files_below;
use ncaas_tests::engine::{docker, is_podman};
use ncaas_tests::pipeline::{ANALYSIS, SubmittedJob};
use ncaas_tests::wait_until;

/// The time `seconds` from now, in the engine's format.
fn engine_time_in(seconds: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{}.{:09}", now.as_secs() + seconds, now.subsec_nanos())
}

/// Kills one stage while the job runs, starts the pipe again, and checks the job's end.
fn job_survives_kill_of(stage: &str) {
    let job = SubmittedJob::new("kill");
    let SubmittedJob { bucket, folder, label, .. } = &job;
    let since = engine_time_in(0);
    // The job ends when the test creates a file, so that it runs while the stage is killed.
    let gate = r#"while [ ! -e "$HOME/io-dir/results/go" ]; do sleep 0.05; done; rm "$HOME/io-dir/results/go"; "#;
    let analysis = format!("{gate}{ANALYSIS}");
    let first = job.start_pipe(&analysis);
    job.wait_for_container();
    first.kill_stage(stage);
    let second = job.start_pipe(&analysis);
    // From inside: the engine may be on another machine.
    let running = || docker(&["ps", "-q", "--filter", &format!("label={label}")]);
    wait_until("the job's start", Duration::from_secs(30), || !running().is_empty());
    let container = running();
    docker(&["exec", &container, "sh", "-c", "touch \"$HOME/io-dir/results/go\""]);
    let end = job.key("process_results/end.txt");
    let log = folder.path().join("stderr");
    let done = || bucket.get(&end).is_some();
    let start = std::time::Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "no end.txt after `{stage}` was killed\nbucket: {:#?}\nio-dir: {:#?}\nstderr: {}",
            bucket.keys(),
            files_below(folder.path()),
            std::fs::read_to_string(&log).unwrap()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let stderr = std::fs::read_to_string(&log).unwrap();
    assert_eq!(bucket.text(&job.key("process_results/a.txt")), "one", "{stderr}");
    assert_eq!(bucket.text(&job.key("process_results/out/a.txt.config")), "{}", "{stderr}");
    assert!(bucket.text(&job.key("logs/a.txt.log")).contains("done with a.txt"), "{stderr}");
    job.wait_for_removal();
    drop((first, second));
    // Podman sends its events only to a client that stays connected.
    let until = engine_time_in(if is_podman() { 2 } else { 0 });
    let filters = [format!("label={label}"), "event=start".to_owned()];
    let mut ask = vec!["events", "--since", &since, "--until", &until, "--format", "{{.ID}}"];
    ask.extend(filters.iter().flat_map(|filter| ["--filter", filter]));
    let starts = docker(&ask);
    assert_eq!(starts.lines().count(), 1, "the job ran once: {starts}\n{stderr}");
}

macro_rules! stage_kills {
    ($($name:ident: $stage:literal),* $(,)?) => { $(
        #[test]
        fn $name() {
            job_survives_kill_of($stage);
        }
    )* };
}

stage_kills! {
    the_pipe_resumes_after_watch_is_killed: "ncaas-submit watch",
    the_pipe_resumes_after_pull_is_killed: "ncaas-sync pull",
    the_pipe_resumes_after_run_is_killed: "ncaas-exec run",
    the_pipe_resumes_after_save_is_killed: "ncaas-logs save",
    the_pipe_resumes_after_collect_is_killed: "ncaas-sync collect",
    the_pipe_resumes_after_push_is_killed: "ncaas-sync push",
    the_pipe_resumes_after_rm_is_killed: "ncaas-exec rm",
}
