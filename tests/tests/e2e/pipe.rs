//! The seven stages as one pipe, from submit files in a bucket to results in it, on a directory and on LocalStack.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ncaas_tests::bucket::{TestBucket, files_below};
use ncaas_tests::engine::{CleanUp, FIXTURE, containers_labelled, docker, is_podman};
use ncaas_tests::{Ran, Run, pipe_in, tools, unique, wait_until};
use serde_json::Value;

/// What the analysis of these tests does: reads its dataset, prints, writes a result into the io-dir and another one
/// elsewhere. Ends badly for a dataset that says so.
const ANALYSIS: &str = r#"
echo "reading $1"; echo "a warning" >&2
name=$(basename "$1")
cp "$1" "$HOME/io-dir/results/$name"
mkdir -p "$HOME/out" && cat "$2" > "$HOME/out/$name.config"
grep -q fail "$1" && exit 7
echo "done with $name"
"#;

/// The pipe as it is printed in the design.
fn pipeline(bucket: &str, watch: &str, analysis: &str) -> String {
    let quoted = analysis.replace('\'', r"'\''");
    format!(
        "ncaas-submit watch {bucket} {watch} | ncaas-sync pull --io-dir io-dir \
         | ncaas-exec run --image {FIXTURE} -- sh -c '{quoted}' analysis | ncaas-logs save --live \
         | ncaas-sync collect | ncaas-sync push | ncaas-exec rm"
    )
}

fn submit(bucket: &TestBucket, name: &str, dataname: &Value, configname: &str) {
    let submission = format!(
        r#"{{"dataname": {dataname}, "configname": "{configname}", "timestamp": "{name}", "note": {{"n": 1.50}}}}"#
    );
    bucket.put(&format!("lab/submissions/{name}submit.json"), submission);
}

/// The certificate's dataset lines, found as the platform's client finds them: by position between the dividers.
fn certificate_lines(certificate: &str) -> Vec<&str> {
    let lines: Vec<&str> = certificate.split('\n').collect();
    let dividers: Vec<usize> = (0..lines.len()).filter(|&at| lines[at] == "================").collect();
    assert_eq!(dividers.len(), 2, "{certificate}");
    lines[dividers[0] + 1..dividers[1]].to_vec()
}

const ODD: &str = "lab/inputs/b $(touch x) 'q\" ü:.txt";

pub(crate) fn three_submissions_in_flight(bucket: &TestBucket, environment: &[(&str, &OsStr)]) {
    let folder = tempfile::tempdir().unwrap();
    let two = unique("two");
    let fails = unique("fails");
    let refused = unique("refused");
    let job = |name: &str| format!("job__{}_{name}", bucket.analysis());
    let mut clean_up = CleanUp::new();
    for name in [&two, &fails, &refused] {
        clean_up.labelled(&format!("org.neurocaas.job={}", job(name)));
    }
    bucket.put("lab/inputs/a.txt", "one");
    bucket.put(ODD, "two");
    bucket.put("lab/inputs/bad.txt", "fail");
    bucket.put("lab/configs/config.yaml", "n: 1\n");
    submit(bucket, &two, &serde_json::json!(["lab/inputs/a.txt", ODD]), "lab/configs/config.yaml");
    submit(bucket, &fails, &serde_json::json!("lab/inputs/bad.txt"), "lab/configs/config.yaml");
    submit(bucket, &refused, &serde_json::json!("lab/inputs/a.txt"), "lab/configs/missing.yaml");

    let ran: Ran = pipe_in(folder.path(), &pipeline(&bucket.address(), "--once", ANALYSIS), environment);
    assert_eq!(ran.status, 1, "{}\n{}", ran.stderr, ran.text());

    let last = |name: &str, dataset: u64| {
        let all = ran.json();
        let of_job = |record: &&Value| record["job"]["id"] == job(name).as_str() && record["job"]["dataset"] == dataset;
        all.iter().rfind(of_job).unwrap_or_else(|| panic!("no record of {name} {dataset}: {}", ran.text())).clone()
    };
    for dataset in [1, 2] {
        let record = last(&two, dataset);
        assert_eq!(record["container"]["status"], "success", "{record}");
        assert_eq!(record["error"], Value::Null);
        assert_eq!(record["note"]["n"].to_string(), "1.50", "what a submit file says beside the known passes through");
    }
    let failed = last(&fails, 1);
    assert_eq!((&failed["container"]["status"], &failed["container"]["exit_code"]), (&"failed".into(), &7.into()));
    assert_eq!(failed["error"], Value::Null, "a job that fails is no failure of a tool");
    let refusal = last(&refused, 1);
    assert_eq!(refusal["error"]["kind"], "bad-submission");
    assert!(refusal["error"]["message"].as_str().unwrap().contains("lab/configs/missing.yaml"), "{refusal}");

    let at = |name: &str, rest: &str| format!("lab/results/{}/{rest}", job(name));
    assert_eq!(bucket.text(&at(&two, "process_results/a.txt")), "one");
    let odd = ODD.rsplit('/').next().unwrap();
    assert_eq!(bucket.text(&at(&two, &format!("process_results/{odd}"))), "two");
    assert_eq!(
        bucket.text(&at(&two, "process_results/out/a.txt.config")),
        "n: 1\n",
        "written elsewhere in the container"
    );
    assert_eq!(bucket.text(&at(&two, "process_results/config.yaml")), "n: 1\n", "the config that it ran with");
    assert_eq!(bucket.text(&at(&fails, "process_results/bad.txt")), "fail", "results of a failed job are results");
    for name in [&two, &fails, &refused] {
        assert!(bucket.get(&at(name, "process_results/end.txt")).is_some(), "end.txt of {name}: {:#?}", bucket.keys());
    }
    for label in ["a.txt", odd] {
        let log = bucket.text(&at(&two, &format!("logs/{label}.log")));
        assert!(log.contains(&format!("done with {label}")) && log.contains("a warning"), "{log}");
        let status: Value =
            serde_json::from_str(&bucket.text(&at(&two, &format!("logs/DATASET_NAME:{label}_STATUS.txt")))).unwrap();
        assert_eq!(status["status"], "SUCCESS");
        assert!(bucket.get(&at(&two, &format!("logs/{label}.record.json"))).is_some());
    }
    let certificate = bucket.text(&at(&two, "logs/certificate.txt"));
    let lines = certificate_lines(&certificate);
    assert_eq!(lines.len(), 2, "{certificate}");
    assert!(lines[0].starts_with("DATANAME: lab/inputs/a.txt | STATUS: SUCCESS | TIME: "), "{certificate}");
    assert!(lines[1].starts_with(&format!("DATANAME: {ODD} | STATUS: SUCCESS | TIME: ")), "{certificate}");
    let certificate = bucket.text(&at(&fails, "logs/certificate.txt"));
    assert!(certificate_lines(&certificate)[0].contains("| STATUS: FAILED |"), "{certificate}");
    let certificate = bucket.text(&at(&refused, "logs/certificate.txt"));
    assert!(certificate_lines(&certificate)[0].contains("| STATUS: FAILED |"), "{certificate}");
    assert!(certificate.contains("lab/configs/missing.yaml"), "the certificate says why: {certificate}");

    for name in [&two, &fails, &refused] {
        assert_eq!(containers_labelled(&format!("org.neurocaas.job={}", job(name))), Vec::<String>::new());
    }
    assert!(!folder.path().join("x").exists(), "a dataset's name reached a shell");
    let again = pipe_in(folder.path(), &pipeline(&bucket.address(), "--once", ANALYSIS), environment);
    assert_eq!((again.status, again.text()), (0, String::new()), "what is done is not done again: {}", again.stderr);
}

#[test]
fn three_submissions_go_through_a_directory() {
    three_submissions_in_flight(&TestBucket::directory("pca"), &[]);
}

#[test]
fn three_submissions_go_through_s3() {
    three_submissions_in_flight(&TestBucket::s3("pca"), &[]);
}

/// The record of a running job may reach `rm` when the job has ended meanwhile, and its results are still in there.
#[test]
fn a_container_stays_until_a_record_says_that_it_has_ended() {
    let name = unique("ended");
    let mut clean_up = CleanUp::new();
    clean_up.container(&name);
    let id = docker(&["run", "-d", "--name", &name, FIXTURE, "true"]);
    docker(&["wait", &id]);
    let record =
        |state: &str| format!(r#"{{"container":{{"id":"{id}","name":"{name}","state":"{state}"}},"error":null}}"#);
    let rm = |record: &str| Run::tool("ncaas-exec").arg("rm").stdin(format!("{record}\n")).run().ok();
    assert_eq!(rm(&record("running")).text().trim_end(), record("running"));
    assert_eq!(docker(&["inspect", "--format", "{{.State.Status}}", &name]), "exited");
    rm(&record("exited"));
    assert_eq!(docker(&["ps", "-aq", "--filter", &format!("name={name}")]), "");
}

/// A pipe that runs in a process group of its own.
pub(crate) struct Running {
    shell: Child,
}

impl Running {
    pub(crate) fn start(folder: &Path, script: &str) -> Self {
        use std::os::unix::process::CommandExt;
        let path = format!("{}:{}", tools().display(), std::env::var("PATH").unwrap());
        let log = std::fs::File::options().create(true).append(true).open(folder.join("stderr")).unwrap();
        let shell = Command::new("bash")
            .args(["-c", script])
            .current_dir(folder)
            .env("PATH", path)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Running { shell }
    }

    /// SIGKILL to one stage, found by its words among the processes of this pipe.
    fn kill_stage(&self, stage: &str) {
        let group = self.shell.id().to_string();
        let killed =
            Command::new("pkill").args(["-KILL", "-g", &group, "-f", &format!("^[^ ]*{stage}")]).status().unwrap();
        assert!(killed.success(), "no stage `{stage}` is running");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(
            Command::new("kill").args(["-KILL", "--", &format!("-{}", self.shell.id())]).stderr(Stdio::null()).status(),
        );
        drop(self.shell.wait());
    }
}

/// The time so many seconds from now, as the engine takes it.
fn now(seconds: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{}.{:09}", now.as_secs() + seconds, now.subsec_nanos())
}

/// Kills one stage while the job runs, starts the pipe again, and looks at what came of the job.
fn killed_and_started_again(stage: &str) {
    let bucket = TestBucket::directory("pca");
    let folder = tempfile::tempdir().unwrap();
    let name = unique("kill");
    let job = format!("job__pca_{name}");
    let label = format!("org.neurocaas.job={job}");
    let mut clean_up = CleanUp::new();
    clean_up.labelled(&label);
    bucket.put("lab/inputs/a.txt", "one");
    bucket.put("lab/configs/c.json", "{}");
    submit(&bucket, &name, &"lab/inputs/a.txt".into(), "lab/configs/c.json");
    let since = now(0);
    // It ends when the test says so, so that the stage is killed while the job surely runs.
    let gate = r#"while [ ! -e "$HOME/io-dir/results/go" ]; do sleep 0.05; done; rm "$HOME/io-dir/results/go"; "#;
    let script = pipeline(&bucket.address(), "", &format!("{gate}{ANALYSIS}"));

    let first = Running::start(folder.path(), &script);
    let running = || !containers_labelled(&label).is_empty();
    wait_until("the job's container", Duration::from_secs(30), running);
    first.kill_stage(stage);
    let second = Running::start(folder.path(), &script);
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
    let until = now(if is_podman() { 2 } else { 0 });
    let filters = [format!("label={label}"), "event=start".to_owned()];
    let mut ask = vec!["events", "--since", &since, "--until", &until, "--format", "{{.ID}}"];
    ask.extend(filters.iter().flat_map(|filter| ["--filter", filter]));
    let starts = docker(&ask);
    assert_eq!(starts.lines().count(), 1, "the job ran once, whatever was killed: {starts}\n{stderr}");
}

macro_rules! killed {
    ($($name:ident: $stage:literal),* $(,)?) => { $(
        #[test]
        fn $name() {
            killed_and_started_again($stage);
        }
    )* };
}

killed! {
    the_pipe_goes_on_after_watch_was_killed: "ncaas-submit watch",
    the_pipe_goes_on_after_pull_was_killed: "ncaas-sync pull",
    the_pipe_goes_on_after_run_was_killed: "ncaas-exec run",
    the_pipe_goes_on_after_save_was_killed: "ncaas-logs save",
    the_pipe_goes_on_after_collect_was_killed: "ncaas-sync collect",
    the_pipe_goes_on_after_push_was_killed: "ncaas-sync push",
    the_pipe_goes_on_after_rm_was_killed: "ncaas-exec rm",
}

#[test]
fn a_submission_that_is_cancelled_stops_where_it_stands() {
    let bucket = TestBucket::directory("pca");
    let folder = tempfile::tempdir().unwrap();
    let name = unique("cancel");
    let job = format!("job__pca_{name}");
    let label = format!("org.neurocaas.job={job}");
    let mut clean_up = CleanUp::new();
    clean_up.labelled(&label);
    bucket.put("lab/inputs/a.txt", "one");
    bucket.put("lab/configs/c.json", "{}");
    submit(&bucket, &name, &"lab/inputs/a.txt".into(), "lab/configs/c.json");
    let script = pipeline(&bucket.address(), "", "echo begun; sleep 600");
    let pipe = Running::start(folder.path(), &script);
    wait_until("the job's container", Duration::from_secs(30), || !containers_labelled(&label).is_empty());
    let target = format!("{}/lab", bucket.address());
    Run::tool("ncaas-submit").args(["cancel", &target, &name]).run();
    let end = format!("lab/results/{job}/process_results/end.txt");
    wait_until("end.txt", Duration::from_secs(60), || bucket.get(&end).is_some());
    wait_until("the container's removal", Duration::from_secs(20), || containers_labelled(&label).is_empty());
    drop(pipe);
    let record: Value =
        serde_json::from_str(&bucket.text(&format!("lab/results/{job}/logs/a.txt.record.json"))).unwrap();
    assert_eq!(record["container"]["status"], "killed", "{record}");
}

#[test]
fn a_record_written_by_hand_goes_through_the_whole_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let name = unique("hand");
    let mut clean_up = CleanUp::new();
    clean_up.labelled(&format!("org.neurocaas.job={name}"));
    let record = format!(
        r#"{{"image":"{FIXTURE}","command":["sh","-c","echo said; echo made > io-dir/results/made"],"job":{{"id":"{name}"}},"mine":1.50}}"#
    );
    let stages = "ncaas-sync pull | jq -c . | ncaas-exec run | jq -c . | ncaas-logs save | jq -c . | ncaas-sync collect \
                  | ncaas-sync push | ncaas-exec rm";
    let ran = pipe_in(folder.path(), &format!("echo '{record}' | {stages}"), &[]).ok();
    let record = &ran.json()[0];
    assert_eq!(record["container"]["status"], "success", "{record}");
    let results = folder.path().join("io-dir/results").join(&name).join("process_results");
    assert_eq!(std::fs::read_to_string(results.join("made")).unwrap(), "made\n");
    assert_eq!(containers_labelled(&format!("org.neurocaas.job={name}")), Vec::<String>::new());
}

/// The full disk is a small file system of the test's own, mounted where the io-dir is.
#[test]
fn a_full_disk_under_the_io_dir_is_said_and_loses_nothing_else() {
    let bucket = TestBucket::directory("pca");
    let folder = tempfile::tempdir().unwrap();
    let name = unique("full");
    bucket.put("lab/inputs/big.bin", vec![7; 3 << 20]);
    bucket.put("lab/configs/c.json", "{}");
    submit(&bucket, &name, &"lab/inputs/big.bin".into(), "lab/configs/c.json");
    let small = "mkdir io-dir && mount -t tmpfs -o size=1m none io-dir";
    let pull = format!("ncaas-submit watch {} --once --hold 0s | ncaas-sync pull", bucket.address());
    let script = format!(
        "unshare --mount bash -c 'set -o pipefail; {small} && {pull}; status=$?; ls -RA io-dir >&2; exit $status'"
    );
    let ran = pipe_in(folder.path(), &script, &[]);
    let record = &ran.json()[0];
    assert_eq!((ran.status, record["error"]["kind"].as_str()), (1, Some("disk-full")), "{}", ran.stderr);
    assert!(record["error"]["hint"].as_str().unwrap().contains("make room"), "{record}");
    assert!(!ran.stderr.contains("big.bin\n"), "half a dataset under its final name: {}", ran.stderr);
    // With room, the same goes on.
    let ran = pipe_in(folder.path(), &pull, &[]).ok();
    assert_eq!(ran.json()[0]["error"], Value::Null);
}
