//! The pipe resumes after any one of its stages was killed.

use std::time::Duration;

use ncaas_tests::background_pipe::BackgroundPipe;
use ncaas_tests::bucket::{TestBucket, files_below};
use ncaas_tests::engine::{CleanUp, containers_labelled, docker, is_podman};
use ncaas_tests::pipeline::{ANALYSIS, pipeline_script, put_submission};
use ncaas_tests::{unique, wait_until};

/// The time so many seconds from now, as the engine takes it.
fn engine_time_in(seconds: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{}.{:09}", now.as_secs() + seconds, now.subsec_nanos())
}

/// Kills one stage while the job runs, starts the pipe again, and looks at what came of the job.
fn job_survives_kill_of(stage: &str) {
    let bucket = TestBucket::directory("pca");
    let folder = tempfile::tempdir().unwrap();
    let name = unique("kill");
    let job = format!("job__pca_{name}");
    let label = format!("org.neurocaas.job={job}");
    let mut clean_up = CleanUp::new();
    clean_up.labelled(&label);
    bucket.put("lab/inputs/a.txt", "one");
    bucket.put("lab/configs/c.json", "{}");
    put_submission(&bucket, &name, &"lab/inputs/a.txt".into(), "lab/configs/c.json");
    let since = engine_time_in(0);
    // It ends when the test says so, so that the stage is killed while the job surely runs.
    let gate = r#"while [ ! -e "$HOME/io-dir/results/go" ]; do sleep 0.05; done; rm "$HOME/io-dir/results/go"; "#;
    let script = pipeline_script(&bucket.address(), "", &format!("{gate}{ANALYSIS}"));

    let first = BackgroundPipe::start(folder.path(), &script);
    let running = || !containers_labelled(&label).is_empty();
    wait_until("the job's container", Duration::from_secs(30), running);
    first.kill_stage(stage);
    let second = BackgroundPipe::start(folder.path(), &script);
    // From inside: the engine may be on another machine.
    let running = || docker(&["ps", "-q", "--filter", &format!("label={label}")]);
    wait_until("the job's start", Duration::from_secs(30), || !running().is_empty());
    let container = running();
    docker(&["exec", &container, "sh", "-c", "touch \"$HOME/io-dir/results/go\""]);
    let end = format!("lab/results/{job}/process_results/end.txt");
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
    assert_eq!(bucket.text(&format!("lab/results/{job}/process_results/a.txt")), "one", "{stderr}");
    assert_eq!(bucket.text(&format!("lab/results/{job}/process_results/out/a.txt.config")), "{}", "{stderr}");
    assert!(bucket.text(&format!("lab/results/{job}/logs/a.txt.log")).contains("done with a.txt"), "{stderr}");
    wait_until("the container's removal", Duration::from_secs(20), || containers_labelled(&label).is_empty());
    drop((first, second));
    // Podman tells its events only to one who listens for a while.
    let until = engine_time_in(if is_podman() { 2 } else { 0 });
    let filters = [format!("label={label}"), "event=start".to_owned()];
    let mut ask = vec!["events", "--since", &since, "--until", &until, "--format", "{{.ID}}"];
    ask.extend(filters.iter().flat_map(|filter| ["--filter", filter]));
    let starts = docker(&ask);
    assert_eq!(starts.lines().count(), 1, "the job ran once, whatever was killed: {starts}\n{stderr}");
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
