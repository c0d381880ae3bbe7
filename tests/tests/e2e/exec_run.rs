//! `ncaas-exec run`, `wait`, `ls` and `rm`: a job from its start to its removal, and what keeps one from starting.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ncaas_tests::engine::{CleanUp, FIXTURE, containers_labelled, docker, is_podman, is_remote};
use ncaas_tests::record::JobRecord;
use ncaas_tests::{Ran, Run, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An io-dir of a test's own, and the containers of the jobs in it, which go with it.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn exec(&self, arguments: &[&str]) -> Run {
        Run::tool("ncaas-exec").args(arguments).dir(self.path())
    }

    /// `run FIXTURE [FLAGS] -- COMMAND`, to the record of the job that runs.
    pub(crate) fn start(&self, flags: &[&str], command: &[&str]) -> Vec<u8> {
        let ran = self.run(flags, command);
        // A job that has failed by now is told by status 1.
        assert_eq!(ran.record().error_kind(), "", "{}", ran.stderr);
        ran.stdout
    }

    pub(crate) fn run(&self, flags: &[&str], command: &[&str]) -> Ran {
        self.exec(&["run", FIXTURE]).args(flags).arg("--").args(command).run()
    }

    /// The same, waited for and removed.
    pub(crate) fn to_the_end(&self, flags: &[&str], command: &[&str]) -> JobRecord {
        let record = self.start(flags, command);
        let ended = self.exec(&["wait"]).stdin(record).run();
        self.exec(&["rm"]).stdin(ended.stdout.clone()).run();
        ended.record()
    }

    /// The jobs' folders.
    pub(crate) fn folders(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path().join("io-dir/results")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        fs::write(self.path().join(name), content).unwrap();
        name.to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Every job has a folder here that is named as it is, also where the test failed.
        let mut clean_up = CleanUp::new();
        for job in self.folders() {
            clean_up.labelled(&format!("org.neurocaas.job={job}"));
        }
    }
}

pub(crate) fn log(record: &JobRecord) -> String {
    docker(&["logs", &record.container.as_ref().unwrap().id])
}

#[test]
fn a_hand_written_record_runs_and_keeps_what_is_not_ours() {
    let place = Place::new();
    let line = json!({"image": FIXTURE, "command": ["ls"], "mine": {"b": 1, "a": 2}}).to_string();
    let started = place.exec(&["run"]).stdin(line.replace("1", "1.50")).run().ok();
    assert!(started.text().starts_with(r#"{"image":"#) && started.text().contains(r#""mine":{"b":1.50,"a":2}"#));
    let ended = place.exec(&["wait"]).stdin(started.stdout).run().ok();
    let removed = place.exec(&["rm"]).stdin(ended.stdout).run().ok();
    let value = &removed.json()[0];
    assert_eq!(value["container"]["status"], "success");
    assert_eq!(value["error"], Value::Null);
    let id = value["job"]["id"].as_str().unwrap();
    assert!(containers_labelled(&format!("org.neurocaas.job={id}")).is_empty());
}

#[test]
fn names_made_of_shell_syntax_reach_the_script_unharmed() {
    let place = Place::new();
    let data = place.write("a b'\"$(touch owned);`id`&|*é:.npy", "the data");
    let config = place.write("-c 'x',ro=false;rm.yaml", "n: 3\n");
    let flags = ["--data", &data, &format!("--config=./{config}"), "-e", "EVIL=$(id); '\""];
    let script = r#"printf '%s\n' "$1" "$data" "$2" "$config" "$EVIL"; cat "$1" "$2""#;
    let started = place.start(&flags, &["sh", "-c", script]);
    let ended = place.exec(&["wait"]).stdin(started).run().ok();
    let io_dir = "/home/neurocaasdev/io-dir";
    let (data, config) = (format!("{io_dir}/inputs/{data}"), format!("{io_dir}/configs/{config}"));
    let expected = format!("{data}\n{data}\n{config}\n{config}\n$(id); '\"\nthe datan: 3");
    assert_eq!(log(&ended.record()), expected);
    assert!(!place.path().join("owned").exists());
}

/// Podman writes what is to be mounted into a line in which a comma begins another option.
#[test]
fn an_io_dir_whose_name_would_be_options_is_refused_where_it_would() {
    let (place, mut clean_up) = (Place::new(), CleanUp::new());
    let ran = place.exec(&["run", FIXTURE, "--io-dir", "a,ro=true", "--", "true"]).run();
    let record = ran.record();
    clean_up.labelled(&format!("org.neurocaas.job={}", record.job.as_ref().unwrap().id));
    let refused = is_podman() && !is_remote();
    assert_eq!(record.error_kind(), if refused { "unsafe-path" } else { "" }, "{}", ran.stderr);
}

#[test]
fn a_job_sees_its_inputs_read_only_and_writes_results_whoever_it_is() {
    let place = Place::new();
    let data = place.write("x.npy", "1");
    for user in ["0:0", "12345:12345"] {
        let script = r#"echo a > io-dir/results/a; mkdir -m 700 io-dir/results/d; echo b > io-dir/results/d/b
                        echo 2 > "$1" || exit 9"#;
        let record = place.to_the_end(&["--data", &data, "--user", user], &["bash", "-c", script]);
        // Elsewhere it is a copy, which root may do with as it likes.
        let exit_code = if is_remote() && user == "0:0" { 0 } else { 9 };
        assert_eq!(record.container.unwrap().exit_code, Some(exit_code), "the dataset could be written to");
        let results = place.path().join("io-dir/results").join(record.job.unwrap().id).join("work/1/results");
        let owner = |path: &Path| std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).unwrap());
        let me = owner(place.path());
        // Elsewhere they stay in the container until they are collected.
        for path in ["a", "d", "d/b"].into_iter().filter(|_| !is_remote()) {
            assert_eq!(owner(&results.join(path)), me, "{path} as {user}");
        }
        assert_eq!(fs::read_to_string(place.path().join("x.npy")).unwrap(), "1");
    }
}

#[test]
fn a_job_that_was_started_is_not_started_again_by_a_second_run() {
    let place = Place::new();
    let job = json!({"job": {"id": ncaas_tests::unique("job__again"), "dataset": 1, "datasets": 1}, "image": FIXTURE, "command": ["sleep", "60"]});
    let first = place.exec(&["run"]).stdin(job.to_string()).run().ok().record().container.unwrap();
    let second = place.exec(&["run"]).stdin(job.to_string()).run().ok().record().container.unwrap();
    assert_eq!((&first.id, &first.started_at), (&second.id, &second.started_at));
    docker(&["kill", &first.id]);
    let third = place.exec(&["run"]).stdin(job.to_string()).run().record().container.unwrap();
    assert_eq!((third.id, third.status.as_deref()), (first.id, Some("killed")));
}

#[test]
fn a_container_that_was_made_and_never_started_is_started_by_the_next_run() {
    let place = Place::new();
    let id = ncaas_tests::unique("job__cut");
    let job = json!({"job": {"id": id, "dataset": 1, "datasets": 1}, "image": FIXTURE, "command": ["sleep", "60"]})
        .to_string();
    let plan = place.exec(&["run", "--dry-run"]).stdin(job.clone()).run().ok().json().remove(0);
    let name = plan["dry_run"]["name"].as_str().unwrap();
    docker(&["create", "--name", name, "--label", &format!("org.neurocaas.job={id}"), FIXTURE, "true"]);
    fs::create_dir_all(place.path().join("io-dir/results").join(&id)).unwrap();
    let record = place.exec(&["run"]).stdin(job).run().ok().record();
    assert!(record.container.unwrap().started_at.is_some());
}

#[test]
fn a_secret_reaches_the_job_and_nothing_that_is_kept() {
    let place = Place::new();
    let secret = "hunter2-very-secret";
    let flags = ["run", FIXTURE, "--secret-env", "TOKEN", "--", "sh", "-c", r#"[ "$TOKEN" = hunter2-very-secret ]"#];
    // The command names it here only so that the job can check it.
    let ran = place.exec(&flags).env("TOKEN", secret).run().ok();
    let container = ran.record().container.unwrap();
    assert_eq!(ran.text().matches(secret).count(), 1, "{}", ran.text());
    let labels = docker(&["inspect", "--format", "{{json .Config.Labels}}", &container.id]);
    assert_eq!(labels.matches(secret).count(), 1, "{labels}");
    let ended = place.exec(&["wait"]).stdin(ran.stdout).run().ok();
    assert_eq!(ended.record().container.unwrap().exit_code, Some(0));
    let dry = place.exec(&["run", FIXTURE, "--dry-run", "--secret-env", "TOKEN"]).env("TOKEN", secret).run().ok();
    assert!(!dry.text().contains(secret) && (is_remote() || dry.text().contains("--env TOKEN")));
    let without = place.exec(&["run", FIXTURE, "--secret-env", "NCAAS_NOT_SET"]).run();
    assert_eq!(without.record().error_kind(), "usage");
}

#[test]
fn no_more_jobs_run_at_once_than_are_allowed() {
    let place = Place::new();
    // By ssh a start takes longer than that.
    let sleep = if is_remote() { "2" } else { "0.3" };
    let line = json!({"image": FIXTURE, "command": ["sleep", sleep]}).to_string() + "\n";
    let lines = line.repeat(6);
    let started = place.exec(&["run", "-j", "2"]).stdin(lines).run().ok();
    let ended = place.exec(&["wait"]).stdin(started.stdout).run().ok().records();
    assert_eq!(ended.len(), 6);
    let mut moments: Vec<(String, i32)> = Vec::new();
    for container in ended.into_iter().map(|record| record.container.unwrap()) {
        moments.push((container.started_at.unwrap(), 1));
        moments.push((container.finished_at.unwrap(), -1));
    }
    moments.sort();
    let most = moments.iter().scan(0, |now, (_, change)| Some(std::mem::replace(now, *now + change) + change)).max();
    assert_eq!(most, Some(2));
}

#[test]
fn jobs_that_name_memory_wait_for_it() {
    let place = Place::new();
    let total: u64 = docker(&["info", "--format", "{{.MemTotal}}"]).parse().unwrap();
    let most = (total / 10 * 7).to_string();
    let line = json!({"image": FIXTURE, "command": ["sleep", "0.5"]}).to_string() + "\n";
    let flags = ["run", "-j", "8", "--memory", &most];
    let started = place.exec(&flags).stdin(line.repeat(2)).run().ok();
    let ended = place.exec(&["wait"]).stdin(started.stdout).run().ok().records();
    let times = |at: usize| ended[at].container.clone().map(|one| (one.started_at.unwrap(), one.finished_at.unwrap()));
    let (one, other) = (times(0).unwrap(), times(1).unwrap());
    assert!(one.1 < other.0 || other.1 < one.0, "both ran at once: {one:?} {other:?}");
}

#[test]
fn a_run_that_is_interrupted_leaves_its_job_running_and_ls_tells_of_it() {
    let place = Place::new();
    // The second job waits for the first.
    let line = json!({"image": FIXTURE, "command": ["sleep", "60"]}).to_string();
    let mut command = place.exec(&["run", "-j", "1"]).into_command();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{line}\n{line}\n").as_bytes()).unwrap();
    let io_dir = place.path().join("io-dir").to_string_lossy().into_owned();
    let of_this_test = || -> Vec<Value> {
        let listed = Run::tool("ncaas-exec").args(["ls"]).run().ok().json();
        listed.into_iter().filter(|record| record["io_dir"] == io_dir.as_str()).collect()
    };
    wait_until("the first job", Duration::from_secs(20), || !of_this_test().is_empty());
    let pid = child.id().to_string();
    std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    let listed = of_this_test();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["container"]["state"], "running");
    assert_eq!(listed[0]["command"], json!(["sleep", "60"]));
    assert_eq!(place.folders(), [listed[0]["job"]["id"].as_str().unwrap()], "the second job was not started");
}

#[test]
fn ls_tells_what_each_container_takes_and_age_chooses_what_goes() {
    let place = Place::new();
    let job = place.start(&[], &["sh", "-c", "head -c 3000000 /dev/zero > out"]);
    let ended = place.exec(&["wait"]).stdin(job).run().ok();
    let id = ended.record().container.unwrap().id;
    let listed = place.exec(&["ls", "--all", "--format", "json"]).run().ok().json();
    let ours = listed.iter().find(|record| record["container"]["id"] == id.as_str()).unwrap();
    let size = ours["container"]["size_bytes"].as_u64().unwrap();
    assert!((3_000_000..4_000_000).contains(&size), "{ours}");
    // Other tests' containers are as young as this one.
    assert_eq!(place.exec(&["rm", "--older-than", "300d"]).run().ok().text(), "");
    assert_eq!(docker(&["inspect", "--format", "{{.State.Status}}", &id]), "exited");
    place.exec(&["rm", &id]).run().ok();
}

#[test]
fn running_jobs_and_records_with_an_error_keep_their_containers() {
    let place = Place::new();
    let running = place.start(&[], &["sleep", "60"]);
    let passed = place.exec(&["rm"]).stdin(running.clone()).run().ok();
    let id = passed.record().container.unwrap().id;
    assert_eq!(docker(&["inspect", "--format", "{{.State.Status}}", &id]), "running");
    let named = place.exec(&["rm", &id]).run();
    assert_eq!((named.status, named.record().error_kind()), (1, "usage"));
    docker(&["kill", &id]);
    let mut failed: Value = serde_json::from_slice(&running).unwrap();
    failed["error"] = json!({"tool": "x", "kind": "io", "message": "m", "hint": null});
    assert_eq!(place.exec(&["rm"]).stdin(failed.to_string()).run().status, 1);
    docker(&["inspect", "--format", "{{.State.Status}}", &id]);
    place.exec(&["rm", &id]).run();
    // What is gone is as it should be for a filter.
    place.exec(&["rm"]).stdin(running).run().ok();
}

#[test]
fn an_engine_that_is_away_costs_no_record() {
    let place = Place::new();
    let lines = format!("{}\n", json!({"image": FIXTURE, "n": 1})).repeat(3);
    let ran = place.exec(&["run"]).env("DOCKER_HOST", "unix:///no/such/socket").stdin(lines).run();
    let kinds: Vec<String> = ran.json().iter().map(|record| record["error"]["kind"].to_string()).collect();
    assert_eq!((ran.status, kinds), (3, vec!["\"engine-unreachable\"".to_owned(); 3]));
}
