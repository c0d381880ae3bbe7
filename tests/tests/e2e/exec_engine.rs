//! `ncaas-exec` and an engine that is restarted, has GPUs, or has its containers all removed: not for the machine's own.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

use ncaas_tests::Run;
use ncaas_tests::engine::FIXTURE;
use ncaas_tests::own_engine::OwnEngine;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A place for jobs of an engine of the test's own.
struct Place {
    engine: OwnEngine,
    dir: TempDir,
}

impl Place {
    fn new(options: &[&str]) -> Self {
        Place { engine: OwnEngine::start(options), dir: tempfile::tempdir().unwrap() }
    }

    fn exec(&self, arguments: &[&str]) -> Run {
        Run::tool("ncaas-exec").args(arguments).dir(self.dir.path()).env("DOCKER_HOST", self.engine.host())
    }

    fn start(&self, flags: &[&str], script: &str) -> Value {
        let ran = self.exec(&["run", FIXTURE]).args(flags).args(["--", "sh", "-c", script]).run();
        // A job that has failed by now is told by status 1.
        assert_eq!(ran.stderr, "");
        ran.json().remove(0)
    }

    /// `wait` for these jobs, begun: it has found the engine.
    fn wait(&self, jobs: &[Value]) -> Waiting {
        let done = self.engine.docker(&["run", "--detach", FIXTURE, "true"]);
        let mut command = self.exec(&["wait"]).into_command();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        writeln!(input, "{}", json!({"container": {"id": done}})).unwrap();
        let mut first = String::new();
        output.read_line(&mut first).unwrap();
        assert!(first.contains(&done), "{first}");
        self.engine.docker(&["rm", &done]);
        for job in jobs {
            writeln!(input, "{job}").unwrap();
        }
        Waiting { child, output }
    }
}

/// A tool that is fed records.
struct Filter {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    words: BufReader<ChildStderr>,
}

impl Filter {
    fn new(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let words = BufReader::new(child.stderr.take().unwrap());
        Filter { child, input, output, words }
    }

    fn write(&mut self, record: &Value) {
        writeln!(self.input, "{record}").unwrap();
    }

    fn read(&mut self) -> Value {
        serde_json::from_str(&line(&mut self.output)).unwrap()
    }

    /// The next line for people.
    fn said(&mut self) -> String {
        line(&mut self.words)
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line
}

/// A `wait` at work.
struct Waiting {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Waiting {
    /// How the containers fare whose records it has written by its end.
    fn containers(mut self) -> Vec<Value> {
        let records = self.output.by_ref().lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let containers = records.map(|record| {
            assert_eq!(record["error"], Value::Null, "{record}");
            record["container"].clone()
        });
        let containers = containers.collect();
        self.child.wait().unwrap();
        containers
    }
}

#[test]
fn jobs_that_an_engine_takes_down_with_it_are_told_to_be_stopped_by_it() {
    let mut place = Place::new(&[]);
    let script = "trap 'exit 143' TERM; sleep 600 & wait";
    let jobs: Vec<Value> = (0..3).map(|_| place.start(&[], script)).collect();
    let waiting = place.wait(&jobs);
    place.engine.restart(|_| ());
    let ended = waiting.containers();
    assert_eq!(ended.len(), 3);
    for container in ended {
        assert_eq!((&container["state"], &container["exit_code"]), (&json!("exited"), &json!(143)), "{container}");
        assert_eq!((&container["status"], &container["stopped_by"]), (&json!("killed"), &json!("engine")));
    }
    let job = place.start(&[], "sleep 600");
    let waiting = place.wait(&[job]);
    place.engine.crash();
    let ended = waiting.containers();
    assert_eq!((&ended[0]["state"], &ended[0]["stopped_by"]), (&json!("exited"), &json!("engine")), "{}", ended[0]);
    assert_ne!(ended[0]["status"], "success");
}

#[test]
fn jobs_that_outlive_their_engine_end_as_they_end() {
    let mut place = Place::new(&["--live-restore"]);
    let go_on = r#"while [ ! -e "$HOME/io-dir/results/end" ]; do sleep 0.1; done; exit 3"#;
    let job = place.start(&[], go_on);
    let waiting = place.wait(std::slice::from_ref(&job));
    place.engine.restart(|_| ());
    place.engine.crash();
    let results = place.dir.path().join("io-dir/results").join(job["job"]["id"].as_str().unwrap());
    fs::write(results.join("work/1/results/end"), "").unwrap();
    let ended = waiting.containers().remove(0);
    assert_eq!((&ended["exit_code"], &ended["status"]), (&json!(3), &json!("failed")), "{ended}");
    assert_eq!((&ended["stopped_by"], &ended["oom"]), (&Value::Null, &json!(false)), "{ended}");
}

#[test]
fn a_record_that_comes_while_the_engine_restarts_waits_for_it_and_a_person_does_not() {
    let mut place = Place::new(&[]);
    let exec = |arguments: &[&str]| place.exec(arguments).into_command();
    let running = place.start(&[], "sleep 600");
    let [gone, ended] = ["1", "2"].map(|_| {
        let id = place.engine.docker(&["run", "--detach", FIXTURE, "true"]);
        place.engine.docker(&["wait", &id]);
        json!({"container": {"id": id, "state": "exited", "status": "success"}})
    });
    // These have reached the engine before.
    let new = json!({"image": FIXTURE, "command": ["sleep", "600"]});
    let mut seen = vec![(Filter::new(exec(&["run"])), new.clone()), (Filter::new(exec(&["rm"])), ended)];
    for ((filter, _), first) in seen.iter_mut().zip([new, gone]) {
        filter.write(&first);
        assert_eq!(filter.read()["error"], Value::Null);
    }
    // These have not, but their records say that it was there.
    let mut save = Run::tool("ncaas-logs").arg("save").env("DOCKER_HOST", place.engine.host()).into_command();
    save.current_dir(place.dir.path());
    let late = [exec(&["wait"]), exec(&["stop"]), save];
    let by_hand = [place.exec(&["wait", "job"]), place.exec(&["run", FIXTURE]), place.exec(&["stop", "job"])];
    place.engine.restart(|_| {
        for ran in by_hand.map(Run::run) {
            let words = &ran.stderr;
            assert!([3, 125].contains(&ran.status) && !words.contains("waiting"), "{}: {words}", ran.status);
            assert_eq!(ran.json()[0]["error"]["kind"], "engine-unreachable");
        }
        seen.extend(late.map(|command| (Filter::new(command), running.clone())));
        for (filter, record) in &mut seen {
            filter.write(record);
            let words = filter.said();
            assert!(words.ends_with("waiting for it, up to 60 s\n"), "{words}");
        }
    });
    for (mut filter, _) in seen {
        let record = filter.read();
        assert_eq!(record["error"], Value::Null, "{record}");
    }
}

#[test]
fn age_and_status_choose_what_is_removed() {
    let mut place = Place::new(&[]);
    let end = |script: &str| {
        let ended = place.wait(&[place.start(&[], script)]).containers().remove(0);
        ended["id"].as_str().unwrap().to_owned()
    };
    let [old, old_failure, young] = [end("true"), end("exit 1"), end("true")];
    let running = place.start(&[], "sleep 600")["container"]["id"].as_str().unwrap().to_owned();
    place.engine.docker(&["run", "--name", "not-ours", FIXTURE, "true"]);
    let not_ours = place.engine.docker(&["inspect", "--format", "{{.Id}}", "not-ours"]);
    place.engine.restart(|containers| {
        for id in [&old, &old_failure, &not_ours] {
            age(&containers.join(id).join("config.v2.json"));
        }
    });
    place.engine.docker(&["start", &running]);
    let gone = place.exec(&["rm", "--older-than", "7d", "--status", "success"]).run().ok().json();
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0]["container"]["id"], old.as_str());
    let mut left = place.engine.docker(&["ps", "-aq", "--no-trunc"]).lines().map(str::to_owned).collect::<Vec<_>>();
    left.sort();
    let mut expected = vec![old_failure.clone(), young, running, not_ours];
    expected.sort();
    assert_eq!(left, expected);
    let gone = place.exec(&["rm", "--older-than", "7d"]).run().json();
    assert_eq!((gone.len(), &gone[0]["container"]["id"]), (1, &json!(old_failure)));
}

/// Rewrites when a container ended: years ago.
fn age(config: &Path) {
    let mut value: Value = serde_json::from_slice(&fs::read(config).unwrap()).unwrap();
    value["State"]["FinishedAt"] = json!("2020-02-02T20:20:20.2Z");
    fs::write(config, value.to_string()).unwrap();
}

#[test]
fn each_job_has_a_gpu_to_itself() {
    // The engine takes this hook, by its name, for the sign that it can hand out GPUs.
    let mut place = Place::new(&["--add-runtime", "nvidia=runc"]);
    let hook = place.engine.programs().join("nvidia-container-runtime-hook");
    fs::write(&hook, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    place.engine.restart(|_| ());
    // There is one GPU: who would like it too waits, and who does not want one does not.
    let first = place.start(&["--gpus", "require"], "echo $NVIDIA_VISIBLE_DEVICES; sleep 2");
    let without = place.start(&[], "true");
    let second = place.start(&["--gpus", "auto"], "echo $NVIDIA_VISIBLE_DEVICES");
    let ids: Vec<String> =
        [&first, &without, &second].map(|job| job["container"]["id"].as_str().unwrap().to_owned()).into();
    let mut ended = place.wait(&[first, without, second]).containers();
    ended.sort_by_key(|container| ids.iter().position(|id| container["id"] == id.as_str()));
    let times: Vec<[&str; 2]> =
        ended.iter().map(|one| ["started_at", "finished_at"].map(|at| one[at].as_str().unwrap())).collect();
    assert!(times[1][1] < times[0][1], "a job without a GPU has waited for one: {times:?}");
    assert!(times[0][1] < times[2][0], "two jobs had the same GPU at once: {times:?}");
    for id in [&ids[0], &ids[2]] {
        assert_eq!(place.engine.docker(&["logs", id]), "0");
    }
}
