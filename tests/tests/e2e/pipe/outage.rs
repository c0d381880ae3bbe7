//! The pipe outlasts a machine that sleeps, and clocks that differ.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::engine::FIXTURE;
use ncaas_tests::machine::Machine;
use ncaas_tests::own_engine::OwnEngine;
use ncaas_tests::pipeline::put_submission;
use ncaas_tests::{unique, wait_until};
use serde_json::json;

/// Two machines with their own engines that serve a bucket, of which the second one has not begun.
struct TwoMachines {
    bucket: TestBucket,
    job: String,
    engines: [OwnEngine; 2],
    machines: [Machine; 2],
}

impl TwoMachines {
    /// Submits two datasets, whose jobs take that many seconds, and starts the first machine. `environment` is its.
    fn new(seconds: u32, environment: &[(&str, &str)]) -> Self {
        let bucket = TestBucket::directory(&unique("two"));
        let job = format!("job__{}_1", bucket.analysis());
        bucket.put("lab/configs/c.json", "{}");
        let names = ["lab/inputs/a.txt", "lab/inputs/b.txt"];
        names.iter().for_each(|name| bucket.put(name, name));
        put_submission(&bucket, "1", &json!(names), "lab/configs/c.json");
        let engines = [OwnEngine::start(&[]), OwnEngine::start(&[])];
        let hosts = [engines[0].host(), engines[1].host()];
        let first = Machine::new("first", &[&[("DOCKER_HOST", hosts[0].as_str())], environment].concat());
        let second = Machine::new("second", &[("DOCKER_HOST", &hosts[1])]);
        let mut two = TwoMachines { bucket, job, engines, machines: [first, second] };
        two.serve(0, seconds);
        let is_running = || !two.engines[0].docker(&["ps", "-q", "--filter", "label=org.neurocaas.job"]).is_empty();
        wait_until("the first job", Duration::from_secs(40), is_running);
        two
    }

    fn serve(&mut self, machine: usize, seconds: u32) {
        // `serve` splits this at spaces.
        let run = format!(r#"-j 1 -- sh -c sleep${{IFS}}{seconds};hostname>"$HOME/io-dir/results/host" analysis"#);
        self.machines[machine].serve(&self.bucket.address(), FIXTURE, &run, &["--poll", "1s"]);
    }

    fn containers(&self, machine: usize) -> usize {
        self.engines[machine].docker(&["ps", "-aq", "--filter", "label=org.neurocaas.job"]).lines().count()
    }

    fn wait_for_containers(&self, machine: usize, count: usize) {
        wait_until(&format!("{count} containers"), Duration::from_secs(40), || self.containers(machine) == count);
    }

    /// How many containers a machine's engine has started so far.
    fn starts(&self, machine: usize) -> usize {
        let arguments = ["events", "--since", "1", "--until", "0s", "--filter", "event=start", "--format", "{{.ID}}"];
        self.engines[machine].docker(&arguments).lines().count()
    }

    fn wait_for_end(&self, limit: u64) {
        let end = format!("lab/results/{}/process_results/end.txt", self.job);
        wait_until("the end", Duration::from_secs(limit), || self.bucket.get(&end).is_some());
    }

    /// All objects that the bucket has of the job. A machine that was stopped while it wrote one removes the unfinished
    /// file, which no listing of the bucket shows.
    fn content(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        let is_object = |key: &String| key.starts_with("lab/results/") && !key.contains("/.ncaas-part-");
        let keys = self.bucket.keys().into_iter().filter(is_object);
        keys.map(|key| (key.clone(), self.bucket.get(&key))).collect()
    }

    fn stderr(&self) -> String {
        format!("{}\n---\n{}", self.machines[0].stderr(), self.machines[1].stderr())
    }
}

#[test]
fn a_pipe_that_slept_while_another_machine_ran_its_job_writes_nothing_and_removes_its_container() {
    let mut two = TwoMachines::new(3, &[]);
    two.machines[0].signal_tools("STOP");
    two.serve(1, 0);
    two.wait_for_end(90);
    let content = two.content();
    two.machines[0].signal_tools("CONT");
    two.wait_for_containers(0, 0);
    // Long enough for the job that waited on the first machine.
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!((two.containers(0), two.starts(0), two.starts(1)), (0, 1, 2), "{}", two.stderr());
    let now = two.content();
    let changed: Vec<&String> =
        now.keys().chain(content.keys()).filter(|key| now.get(*key) != content.get(*key)).collect();
    assert_eq!(changed, [""; 0], "{}", two.stderr());
}

#[test]
fn a_machine_whose_clock_is_two_minutes_behind_keeps_its_job() {
    let packages = concat!(env!("CARGO_MANIFEST_DIR"), "/services/packages");
    assert!(Command::new(packages).arg("libfaketime").status().unwrap().success());
    let listed = Command::new("dpkg").args(["-L", "libfaketime"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let library = listed.lines().find(|path| path.ends_with("/libfaketime.so.1")).unwrap();
    let fake = [("LD_PRELOAD", library), ("FAKETIME", "-120s"), ("DONT_FAKE_MONOTONIC", "1")];
    let mut two = TwoMachines::new(20, &fake);
    two.serve(1, 0);
    two.wait_for_end(120);
    assert_eq!((two.starts(0), two.starts(1)), (2, 0), "{}", two.stderr());
}
