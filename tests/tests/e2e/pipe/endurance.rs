//! Three pipes with their own io-dirs share a bucket, and a stage is killed every two seconds: on one engine, through a
//! proxy that breaks one request in ten, and on three machines with their own engines, process ids and `serve`.
//!
//! `make test-endurance` runs more submissions: `NCAAS_ENDURANCE_SUBMISSIONS` is their number, by default 6.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ncaas_tests::background_pipe::BackgroundPipe;
use ncaas_tests::bucket::{TestBucket, files_below};
use ncaas_tests::certificate::certificate_dataset_lines;
use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::machine::Machine;
use ncaas_tests::own_engine::OwnEngine;
use ncaas_tests::pipeline::{pipeline_script, put_submission};
use ncaas_tests::s3_proxy::S3Proxy;
use ncaas_tests::{pipe_in, unique, wait_until};

const MACHINES: usize = 3;
const STAGES: [&str; 7] = [
    "ncaas-submit watch",
    "ncaas-sync pull",
    "ncaas-exec run",
    "ncaas-logs save",
    "ncaas-sync collect",
    "ncaas-sync push",
    "ncaas-exec rm",
];
const PERIOD: Duration = Duration::from_secs(2);
/// The largest number of submissions of a short run.
const SHORT: usize = 6;
const MIN_KILLS: usize = 2;
/// How long the run of one setting may take.
const LIMIT: Duration = Duration::from_secs(540);
/// After this number of kills of its stages, a machine's `serve` is stopped cleanly and started again.
const KILLS_OF_SERVE: usize = 3;

/// Half of its results are in its folder for results, half anywhere else. It has no spaces within quotes.
const ANALYSIS: &str = r#"sleep 1;cp "$1" "$HOME/io-dir/results/result";mkdir -p "$HOME/out";cp "$1" "$HOME/out/elsewhere";printf 'done\040with\040%s\n' "$(cat "$1")""#;

/// A sequence of numbers that is the same in each run.
struct Sequence(u64);

impl Sequence {
    fn next_below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

fn submissions() -> usize {
    std::env::var("NCAAS_ENDURANCE_SUBMISSIONS").ok().map_or(SHORT, |count| count.parse().unwrap())
}

/// The containers that have a label: name, state, when it was created, and its record.
fn describe_containers(docker: &dyn Fn(&[&str]) -> String, label: &str) -> Vec<String> {
    let format = r#"{{.Names}} {{.Status}} {{.CreatedAt}} {{.Label "org.neurocaas.record"}}"#;
    let listed = docker(&["ps", "-a", "--no-trunc", "--filter", &format!("label={label}"), "--format", format]);
    listed.lines().map(str::to_owned).collect()
}

/// The entries that the tools have left below an io-dir beside results and logs.
fn left_in(io_dir: &Path) -> Vec<String> {
    let mut left = files_below(io_dir);
    let is_scrap =
        |path: &String| [".ncaas-part", ".ncaas-stage", ".ncaas-owner"].iter().any(|name| path.contains(name));
    left.retain(is_scrap);
    let work = std::fs::read_dir(io_dir.join("lab/.ncaas/work")).into_iter().flatten().flatten();
    left.extend(work.map(|folder| format!("work/{}", folder.file_name().to_string_lossy())));
    left
}

/// The submissions of a run, and what is known about their jobs from outside.
struct Endurance {
    bucket: TestBucket,
    names: Vec<String>,
    jobs: Vec<String>,
    /// Where the engines' events and the files of the pipes are.
    home: tempfile::TempDir,
    events: Vec<BackgroundPipe>,
    clean_up: CleanUp,
}

/// Three pipes whose stages can be killed.
trait Pipes {
    /// Kills a stage of a machine, and starts what has ended with it. Returns false if the stage did not run.
    fn kill(&mut self, machine: usize, stage: &str) -> bool;
    /// Ends all of them in good order.
    fn end(&mut self);
    /// Runs one more submission on a machine: it clears what killed stages have left there.
    fn run_last(&mut self, machine: usize);
    fn io_dir(&self, machine: usize) -> PathBuf;
    fn stderr(&self, machine: usize) -> String;
    /// All containers of these jobs, on any engine: name, state, when it was created, and its record.
    fn containers(&self, jobs: &[String]) -> Vec<String>;
}

/// The key of the file that shows that a job has ended.
fn end_key(job: &str) -> String {
    format!("lab/results/{job}/process_results/end.txt")
}

impl Endurance {
    /// `hosts`: the engines whose starts are counted.
    fn new(bucket: TestBucket, hosts: &[String]) -> Self {
        let home = tempfile::tempdir().unwrap();
        bucket.put("lab/configs/c.json", "{}");
        let names: Vec<String> = (0..submissions()).map(|number| format!("{number:03}")).collect();
        let jobs: Vec<String> = names.iter().map(|name| format!("job__{}_{name}", bucket.analysis())).collect();
        let mut clean_up = CleanUp::new();
        for (name, job) in names.iter().zip(&jobs) {
            clean_up.labelled(&format!("org.neurocaas.job={job}"));
            bucket.put(&format!("lab/inputs/{name}.txt"), name);
        }
        // The engine itself remembers its last 256 events only.
        let format = r#"{{index .Actor.Attributes "org.neurocaas.job"}}"#;
        let listen = |host: &String| {
            let host = if host.is_empty() { String::new() } else { format!("--host {host}") };
            let filter = "--filter event=start --filter label=org.neurocaas.job";
            BackgroundPipe::start(home.path(), &format!("docker {host} events {filter} --format '{format}' >>starts"))
        };
        let events = hosts.iter().map(listen).collect();
        Endurance { bucket, names, jobs, home, events, clean_up }
    }

    fn submit(&self, names: &[String]) {
        for name in names {
            put_submission(&self.bucket, name, &format!("lab/inputs/{name}.txt").into(), "lab/configs/c.json");
        }
    }

    /// One listing for all: the time between two kills does not grow with their number.
    fn unended(&self) -> Vec<&String> {
        let keys: HashSet<String> = self.bucket.keys().into_iter().collect();
        self.jobs.iter().filter(|job| !keys.contains(&end_key(job))).collect()
    }

    /// Kills stages until all submissions have ended, and checks that each ended once, with the right results, and left
    /// nothing. The pipes end before the containers are removed: they would start more.
    #[expect(clippy::print_stderr, reason = "the figures of a long run are its result")]
    fn run(mut self, mut pipes: impl Pipes) {
        let pipes = &mut pipes;
        // The last ones follow when stages have been killed: it cannot end before.
        let (first, last) = self.names.split_at(self.names.len() - MIN_KILLS);
        self.submit(first);
        let mut last = last.chunks(1);
        let stderr = |pipes: &dyn Pipes| -> String {
            (0..MACHINES).map(|machine| pipes.stderr(machine)).collect::<Vec<_>>().join("\n---\n")
        };
        let mut sequence = Sequence(7);
        let mut kills = 0;
        let began = Instant::now();
        let mut unended = self.unended();
        while !unended.is_empty() {
            assert!(began.elapsed() < LIMIT, "not ended after {kills} kills: {unended:?}\n{}", stderr(pipes));
            std::thread::sleep(PERIOD);
            // The short run ends in peace: a longer one is killed until its end.
            if kills < 3 || self.jobs.len() > SHORT {
                let (machine, stage) = (sequence.next_below(MACHINES), STAGES[sequence.next_below(STAGES.len())]);
                if pipes.kill(machine, stage) {
                    kills += 1;
                    last.next().into_iter().for_each(|name| self.submit(name));
                }
            }
            unended = self.unended();
        }
        let took = began.elapsed().as_secs();
        assert!(kills >= MIN_KILLS, "it ended before a stage was killed twice");
        let left = |pipes: &dyn Pipes| -> Vec<String> {
            (0..MACHINES).flat_map(|machine| left_in(&pipes.io_dir(machine))).collect()
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline && !(pipes.containers(&self.jobs).is_empty() && left(pipes).is_empty()) {
            std::thread::sleep(Duration::from_millis(200));
        }
        pipes.end();
        let probes = || self.bucket.keys().into_iter().filter(|key| key.contains("probe")).count();
        // The next watcher of a machine removes the probe objects of those that were ended meanwhile. Its next
        // submission clears the io-dir, and removes the containers that a killed `rm` has left.
        let has_forgotten = !pipes.containers(&self.jobs).is_empty() || probes() > 0;
        for machine in 0..MACHINES {
            if has_forgotten || !left_in(&pipes.io_dir(machine)).is_empty() {
                let name = format!("last{machine}");
                self.clean_up.labelled(&format!("org.neurocaas.job=job__{}_{name}", self.bucket.analysis()));
                put_submission(&self.bucket, &name, &"lab/inputs/000.txt".into(), "lab/configs/c.json");
                pipes.run_last(machine);
            }
        }
        assert_eq!((pipes.containers(&self.jobs), left(pipes)), (Vec::new(), Vec::new()), "{}", stderr(pipes));
        for (name, job) in self.names.iter().zip(&self.jobs) {
            for result in ["result", "out/elsewhere"] {
                let key = format!("lab/results/{job}/process_results/{result}");
                let keys = || self.bucket.keys();
                assert_eq!(
                    self.bucket.get(&key),
                    Some(name.as_bytes().to_vec()),
                    "{key}\n{:#?}\n{}",
                    keys(),
                    stderr(pipes)
                );
            }
            let certificate = self.bucket.text(&format!("lab/results/{job}/logs/certificate.txt"));
            assert!(certificate_dataset_lines(&certificate)[0].contains("| STATUS: SUCCESS |"), "{certificate}");
            let log = self.bucket.text(&format!("lab/results/{job}/logs/{name}.txt.log"));
            assert_eq!(log.matches(&format!("done with {name}")).count(), 1, "{log}");
        }
        drop(std::mem::take(&mut self.events));
        let starts = std::fs::read_to_string(self.home.path().join("starts")).unwrap();
        let count = |job: &String| (job.clone(), starts.lines().filter(|line| line == job).count());
        let repeated: Vec<_> = self.jobs.iter().map(count).filter(|(_, starts)| *starts > 1).collect();
        assert!(repeated.is_empty(), "jobs that were started more than once: {repeated:?}\n{}", stderr(pipes));
        assert!(starts.contains(self.jobs.last().unwrap()), "no events: {starts}");
        assert_eq!(probes(), 0, "{}", stderr(pipes));
        eprintln!("{} submissions ended in {took} s, with {kills} kills; nothing is left", self.jobs.len());
    }
}

/// Pipes of the shell on the machine's engine, in a folder each.
struct SharedEngine {
    folders: Vec<PathBuf>,
    pipes: Vec<Option<BackgroundPipe>>,
    bucket: String,
    /// Begins the script of a pipe.
    environment: String,
}

impl SharedEngine {
    fn new(home: &Path, bucket: &str, environment: &str) -> Self {
        let folders: Vec<_> = (0..MACHINES).map(|machine| home.join(machine.to_string())).collect();
        folders.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
        let mut shared =
            SharedEngine { folders, pipes: Vec::new(), bucket: bucket.to_owned(), environment: environment.to_owned() };
        shared.pipes = (0..MACHINES).map(|machine| Some(shared.start(machine))).collect();
        shared
    }

    fn script(&self, watch: &str) -> String {
        let script = pipeline_script(&self.bucket, watch, ANALYSIS);
        format!("{}{}", self.environment, script.replace("ncaas-exec run", "ncaas-exec run -j 2"))
    }

    fn start(&self, machine: usize) -> BackgroundPipe {
        BackgroundPipe::start(&self.folders[machine], &self.script("--poll 1s"))
    }
}

impl Pipes for SharedEngine {
    fn kill(&mut self, machine: usize, stage: &str) -> bool {
        if let Some(pipe) = self.pipes[machine].take() {
            pipe.kill_stage(stage);
            // As `serve` does: the rest ends in good order, and all of it starts again.
            pipe.terminate();
        }
        self.pipes[machine] = Some(self.start(machine));
        true
    }

    fn end(&mut self) {
        self.pipes.iter_mut().filter_map(Option::take).for_each(BackgroundPipe::terminate);
    }

    fn run_last(&mut self, machine: usize) {
        let ran = pipe_in(&self.folders[machine], &self.script("--once"), &[]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
    }

    fn io_dir(&self, machine: usize) -> PathBuf {
        self.folders[machine].join("io-dir")
    }

    fn stderr(&self, machine: usize) -> String {
        std::fs::read_to_string(self.folders[machine].join("stderr")).unwrap_or_default()
    }

    fn containers(&self, jobs: &[String]) -> Vec<String> {
        let described = |job: &String| describe_containers(&docker, &format!("org.neurocaas.job={job}"));
        jobs.iter().flat_map(described).collect()
    }
}

#[test]
fn killed_stages_lose_no_submission_run_none_twice_and_leave_nothing() {
    let endurance = Endurance::new(TestBucket::directory(&unique("endure")), &[String::new()]);
    let pipes = SharedEngine::new(endurance.home.path(), &endurance.bucket.address(), "");
    endurance.run(pipes);
}

#[test]
fn killed_stages_lose_nothing_through_a_proxy_that_breaks_one_request_in_ten() {
    let endurance = Endurance::new(TestBucket::s3("endure"), &[String::new()]);
    let proxy = S3Proxy::new();
    proxy.outage.breaks_one_in.store(10, Ordering::Relaxed);
    let environment = format!("export AWS_ENDPOINT_URL={}; ", proxy.url);
    let pipes = SharedEngine::new(endurance.home.path(), &endurance.bucket.address(), &environment);
    endurance.run(pipes);
}

/// Machines with their own engines, on which `serve` restarts the pipe.
struct OwnEngines {
    machines: Vec<Machine>,
    engines: Vec<OwnEngine>,
    kills: [usize; MACHINES],
    bucket: String,
    /// The end files of all submissions, and of the last ones.
    last: Box<dyn Fn(usize) -> bool>,
}

impl OwnEngines {
    fn serve(&mut self, machine: usize) {
        // `serve` splits this at spaces.
        let run = format!("-j 2 -- sh -c {} analysis", ANALYSIS.replace(' ', "${IFS}"));
        self.machines[machine].serve(&self.bucket, FIXTURE, &run, &["--poll", "1s"]);
    }
}

impl Pipes for OwnEngines {
    fn kill(&mut self, machine: usize, stage: &str) -> bool {
        let is_killed = self.machines[machine].kill_stage(stage);
        self.kills[machine] += usize::from(is_killed);
        if is_killed && self.kills[machine].is_multiple_of(KILLS_OF_SERVE) {
            self.machines[machine].stop();
            self.serve(machine);
        }
        is_killed
    }

    fn end(&mut self) {
        self.machines.iter_mut().for_each(Machine::stop);
    }

    fn run_last(&mut self, machine: usize) {
        self.serve(machine);
        wait_until("the last submission", Duration::from_secs(60), || (self.last)(machine));
        // `rm` removes containers after the end of their submission.
        let containers = || describe_containers(&|words| self.engines[machine].docker(words), "org.neurocaas.job");
        let is_clear = || containers().is_empty() && left_in(&self.io_dir(machine)).is_empty();
        wait_until("the removal of what killed stages have left", Duration::from_secs(60), is_clear);
        self.machines[machine].stop();
    }

    fn io_dir(&self, machine: usize) -> PathBuf {
        self.machines[machine].io_dir()
    }

    fn stderr(&self, machine: usize) -> String {
        self.machines[machine].stderr()
    }

    fn containers(&self, _: &[String]) -> Vec<String> {
        let described = |engine: &OwnEngine| describe_containers(&|words| engine.docker(words), "org.neurocaas.job");
        self.engines.iter().flat_map(described).collect()
    }
}

#[test]
fn killed_stages_lose_nothing_on_three_machines_that_serve_with_their_own_engines() {
    let engines: Vec<OwnEngine> = (0..MACHINES).map(|_| OwnEngine::start(&[])).collect();
    let hosts: Vec<String> = engines.iter().map(OwnEngine::host).collect();
    let endurance = Endurance::new(TestBucket::directory(&unique("endure")), &hosts);
    let machines = hosts.iter().enumerate();
    let machines = machines.map(|(number, host)| Machine::new(&format!("machine{number}"), &[("DOCKER_HOST", host)]));
    let address = endurance.bucket.address();
    let analysis = endurance.bucket.analysis().to_owned();
    let root = PathBuf::from(&address);
    let last = move |machine: usize| root.join(end_key(&format!("job__{analysis}_last{machine}"))).exists();
    let mut pipes = OwnEngines {
        machines: machines.collect(),
        engines,
        kills: [0; MACHINES],
        bucket: address,
        last: Box::new(last),
    };
    (0..MACHINES).for_each(|machine| pipes.serve(machine));
    endurance.run(pipes);
}
