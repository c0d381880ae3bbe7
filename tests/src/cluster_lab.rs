//! A bucket whose submissions run on a small Slurm cluster, and what must be true when they have ended.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bucket::TestBucket;
use crate::certificate::parse_certificate;
use crate::cluster::{CONTROLLER, Cluster};
use crate::{Run, wait_until};

/// Copies the dataset into the results, sleeps for as many seconds as its first line says, and fails where it says
/// `fail`.
const ANALYSIS: &str = r#"FROM ncaas/fixture
ENTRYPOINT ["sh", "-c", "echo run; cat $1 >io-dir/results/out.txt; sleep $(sed -n 1p $1); ! grep -q fail $1", "analysis"]
CMD []
"#;

/// How long a pipe may take for the submissions of a test.
const PIPE_LIMIT: Duration = Duration::from_secs(240);

/// The image of the analysis on each node.
pub const IMAGE: &str = "lab/analysis";

/// A cluster, a bucket, and a lab's group in it.
pub struct Lab {
    /// The cluster.
    pub cluster: Cluster,
    /// The bucket.
    pub bucket: TestBucket,
    /// Where the bucket is for the cluster's machines, where that is not where it is here.
    endpoint: Option<String>,
    /// Environment variables of the pipe on the login node.
    pub variables: Vec<(&'static str, String)>,
    /// The user whose pipe it is.
    pub user: &'static str,
}

impl Lab {
    /// A bucket in a directory that all machines share.
    pub fn new(nodes: &[&str]) -> Self {
        Lab::with_bucket(Cluster::start(nodes), TestBucket::directory("pca"))
    }

    /// The same where Slurm keeps accounts, and forgets ended jobs after seconds.
    pub fn with_accounts(nodes: &[&str]) -> Self {
        Lab::with_bucket(Cluster::start_with_accounts(nodes), TestBucket::directory("pca"))
    }

    /// A bucket on LocalStack, which the machines reach through their network only.
    pub fn on_s3(nodes: &[&str]) -> Self {
        let mut lab = Lab::with_bucket(Cluster::start(nodes), TestBucket::s3("pca"));
        lab.endpoint = Some(lab.cluster.relay_s3());
        lab
    }

    fn with_bucket(cluster: Cluster, bucket: TestBucket) -> Self {
        let lab = Lab { cluster, bucket, endpoint: None, variables: Vec::new(), user: "root" };
        lab.build(IMAGE, ANALYSIS);
        Run::tool("ncaas-submit").args(["init", &lab.bucket.address(), "--group", "lab"]).run().ok();
        lab.bucket.put("lab/configs/config.json", "{}");
        lab
    }

    /// Builds an image on each node.
    pub fn build(&self, image: &str, dockerfile: &str) {
        let folder = self.cluster.folder();
        std::fs::write(folder.join("Dockerfile"), dockerfile).unwrap();
        for node in self.cluster.nodes() {
            let build = format!("docker build --quiet --no-cache --tag {image} - <Dockerfile");
            self.cluster.run(node, folder, &["sh", "-c", &build]);
        }
    }

    /// Puts datasets into the bucket, and a submission of them.
    pub fn submit(&self, timestamp: &str, datasets: &[(&str, &str)]) {
        self.submit_with_config(timestamp, datasets, "lab/configs/config.json");
    }

    /// The same with another config.
    pub fn submit_with_config(&self, timestamp: &str, datasets: &[(&str, &str)], config: &str) {
        for (name, content) in datasets {
            self.bucket.put(&format!("lab/inputs/{name}"), content);
        }
        let names: Vec<String> = datasets.iter().map(|(name, _)| format!("lab/inputs/{name}")).collect();
        self.submit_keys(timestamp, &names, config);
    }

    /// Puts a submission of objects that may not exist.
    pub fn submit_keys(&self, timestamp: &str, datanames: &[String], config: &str) {
        let submission = json!({"dataname": datanames, "configname": config, "timestamp": timestamp});
        self.bucket.put(&format!("lab/submissions/{timestamp}_submit.json"), submission.to_string());
    }

    /// The job id of a submission.
    pub fn job(&self, timestamp: &str) -> String {
        format!("job__{}_{timestamp}", self.bucket.analysis())
    }

    /// The key of a file in the job folder of a submission.
    pub fn key(&self, timestamp: &str, path: &str) -> String {
        format!("lab/results/{}/{path}", self.job(timestamp))
    }

    /// A file of a submission's job folder.
    ///
    /// # Panics
    /// When it does not exist.
    #[track_caller]
    pub fn read(&self, timestamp: &str, path: &str) -> String {
        self.bucket.text(&self.key(timestamp, path))
    }

    /// Whether all datasets of a submission have ended.
    pub fn has_ended(&self, timestamp: &str) -> bool {
        self.bucket.get(&self.key(timestamp, "process_results/end.txt")).is_some()
    }

    /// Starts the pipe of a login node: a watcher, a placer, and what reports jobs that no node could report. Its
    /// stderr is [`Self::stderr`], its records [`Self::records`], both of all pipes that were started.
    pub fn start(&self, watch: &str, place: &str) -> Child {
        self.start_from(&format!("ncaas-submit watch {} {watch}", self.bucket.address()), place)
    }

    /// The same with a command that emits the records.
    pub fn start_from(&self, source: &str, place: &str) -> Child {
        let script = format!(
            "set -o pipefail
             {source} |
             NCAAS_IMAGE={IMAGE} ncaas-submit place --on slurm --io-dir /mnt/io-dir --poll 500ms {place} |
             ncaas-logs save --io-dir /mnt/io-dir | ncaas-sync push"
        );
        let words = ["runuser", "-u", self.user, "--", "bash", "-c", &script];
        let mut command = self.cluster.command(CONTROLLER, self.cluster.folder(), &words);
        if let Some(endpoint) = &self.endpoint {
            command.env("AWS_ENDPOINT_URL", endpoint);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let append = |path: PathBuf| File::options().append(true).create(true).open(path).unwrap();
        command.stdin(Stdio::null()).stdout(append(self.records_path())).stderr(append(self.stderr_path()));
        command.spawn().unwrap()
    }

    /// Runs the pipe of a login node for the submissions that exist. Its exit status.
    pub fn place(&self, place: &str) -> i32 {
        self.wait(self.start("--once", place))
    }

    /// Waits until a pipe has ended. Its exit status.
    ///
    /// # Panics
    /// When it does not end, with the tools that still run.
    #[track_caller]
    pub fn wait(&self, mut pipe: Child) -> i32 {
        let began = Instant::now();
        loop {
            if let Some(status) = pipe.try_wait().unwrap() {
                return status.code().unwrap();
            }
            let tools = || self.cluster.bash(CONTROLLER, "pgrep --list-full '^ncaas-'").text();
            assert!(began.elapsed() < PIPE_LIMIT, "the pipe does not end: {}\n{}", tools(), self.describe());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts the whole pipe on a node, as `serve` does, until the test ends.
    pub fn serve(&self, node: &str, at_most: usize, jobs: usize) -> Child {
        let bucket = self.bucket.address();
        let script = format!(
            "ncaas-submit watch {bucket} --at-most {at_most} --poll 500ms | ncaas-sync pull --io-dir /mnt/io-dir |
             ncaas-exec run --jobs {jobs} --image {IMAGE} | ncaas-logs save --live | ncaas-sync collect | ncaas-sync push |
             ncaas-exec rm"
        );
        let mut command = self.cluster.command(node, self.cluster.folder(), &["bash", "-c", &script]);
        let log = |name: &str| File::create(self.cluster.folder().join(format!("{node}.{name}"))).unwrap();
        command.stdin(Stdio::null()).stdout(log("records")).stderr(log("stderr")).spawn().unwrap()
    }

    /// Kills all tools on the login node at once.
    pub fn kill_pipe(&self, pipe: Child) {
        // Only the processes of that machine are visible there.
        self.cluster.bash(CONTROLLER, "pkill -KILL '^ncaas-'");
        self.wait(pipe);
    }

    /// Sends a signal to the placer.
    pub fn signal_placer(&self, signal: &str) {
        let sent = self.cluster.bash(CONTROLLER, &format!("pkill -{signal} --full '^[^ ]*ncaas-submit place'"));
        assert_eq!(sent.status, 0, "no placer runs: {}", self.describe());
    }

    /// Ends the pipe as a user does with `^C`.
    pub fn end_pipe(&self, pipe: Child) {
        self.cluster.bash(CONTROLLER, "pkill -INT '^ncaas-'");
        self.wait(pipe);
    }

    /// The pipes' output on stderr.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.stderr_path()).unwrap_or_default()
    }

    /// The records that the pipes emitted.
    pub fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.records_path()).unwrap_or_default();
        // A killed pipe can leave half a line.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The last record of a dataset.
    ///
    /// # Panics
    /// When there is none.
    pub fn last_record(&self, dataset: &str) -> Value {
        let dataname = format!("lab/inputs/{dataset}");
        let mut records = self.records();
        let last = records.iter().rposition(|record| record["dataname"] == dataname);
        records.swap_remove(last.unwrap_or_else(|| panic!("no record of {dataname}: {}", self.stderr())))
    }

    /// The saved record of a dataset.
    pub fn saved_record(&self, timestamp: &str, label: &str) -> Value {
        serde_json::from_str(&self.read(timestamp, &format!("logs/{label}.record.json"))).unwrap()
    }

    /// The status of the container in the saved record of a dataset, or the kind of its error.
    pub fn saved_status(&self, timestamp: &str, label: &str) -> String {
        let record = self.saved_record(timestamp, label);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        text(&record["error"]["kind"]).or(text(&record["container"]["status"])).unwrap_or_default()
    }

    /// The statuses in a submission's certificate, in the order of its datasets.
    pub fn certificate_statuses(&self, timestamp: &str) -> Vec<String> {
        let certificate = self.read(timestamp, "logs/certificate.txt");
        parse_certificate(&certificate).into_iter().map(|line| line.status).collect()
    }

    /// Waits until submissions have ended.
    ///
    /// # Panics
    /// When they have not in time.
    pub fn wait_for_end(&self, timestamps: &[String], limit: Duration) {
        let began = Instant::now();
        loop {
            let open: Vec<&String> = timestamps.iter().filter(|timestamp| !self.has_ended(timestamp)).collect();
            if open.is_empty() {
                return;
            }
            assert!(began.elapsed() < limit, "have not ended: {open:?}\n{}", self.describe());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The state that a person would look at after a failure.
    pub fn describe(&self) -> String {
        let queue = "squeue --states=all --long; sinfo --long; grep -vH '^{' slurm-*.out | cut --characters=1-400";
        let queue = self.cluster.bash(CONTROLLER, queue).text();
        format!("{}\n{queue}", self.stderr())
    }

    /// Makes sure that nothing is left on any node: no container, no work folder, no mark of a placement.
    ///
    /// # Panics
    /// When there is.
    pub fn check_nodes_are_clean(&self) {
        for node in self.cluster.nodes() {
            let find = "docker ps --all --format '{{.Names}}'; \
                        find /mnt/io-dir -path '*/.ncaas/work/*' -o -path '*/.ncaas/placements/*/*'";
            let left = || self.cluster.bash(node, find).text();
            let deadline = Instant::now() + Duration::from_secs(10);
            while !left().is_empty() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(100));
            }
            assert_eq!(left(), "", "left on {node}\n{}", self.describe());
        }
    }

    /// Waits until a node has a container that runs.
    pub fn wait_for_container(&self, node: &str) {
        wait_until(&format!("a container on {node}"), Duration::from_secs(60), || {
            !self.cluster.run(node, &PathBuf::from("/"), &["docker", "ps", "--quiet"]).is_empty()
        });
    }

    fn stderr_path(&self) -> PathBuf {
        self.cluster.folder().join("pipe.stderr")
    }

    fn records_path(&self) -> PathBuf {
        self.cluster.folder().join("pipe.records")
    }
}

/// A mixture of submissions: single ones, ones of three datasets, failing and refused ones.
pub struct Mixture<'l> {
    lab: &'l Lab,
    /// Their timestamps.
    pub timestamps: Vec<String>,
}

impl<'l> Mixture<'l> {
    /// Submits so many, whose jobs take `seconds`.
    pub fn submit(lab: &'l Lab, count: usize, seconds: u32) -> Self {
        let timestamps: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        for (number, timestamp) in timestamps.iter().enumerate() {
            let names = datasets(number);
            if is_refused(number) {
                let missing: Vec<String> = names.iter().map(|name| format!("lab/inputs/{name}")).collect();
                lab.submit_keys(timestamp, &missing, "lab/configs/config.json");
                continue;
            }
            let contents: Vec<String> = names.iter().map(|name| format!("{seconds}\n{name}")).collect();
            let pairs: Vec<(&str, &str)> =
                names.iter().zip(&contents).map(|(name, content)| (name.as_str(), content.as_str())).collect();
            lab.submit(timestamp, &pairs);
        }
        Mixture { lab, timestamps }
    }

    /// How many have ended.
    pub fn ended(&self) -> usize {
        self.timestamps.iter().filter(|timestamp| self.lab.has_ended(timestamp)).count()
    }

    /// The saved records that exist, by key.
    pub fn saved(&self) -> Vec<(String, Vec<u8>)> {
        let keys = self.lab.bucket.keys().into_iter().filter(|key| key.ends_with(".record.json"));
        keys.filter_map(|key| self.lab.bucket.get(&key).map(|content| (key, content))).collect()
    }

    /// Makes sure that each has ended once, with the right results, certificate and log.
    ///
    /// # Panics
    /// When one has not.
    pub fn check(&self, seconds: u32) {
        for (number, timestamp) in self.timestamps.iter().enumerate() {
            let names = datasets(number);
            let expected = if is_refused(number) {
                ("bad-submission", "FAILED")
            } else if is_failing(number) {
                ("failed", "FAILED")
            } else {
                ("success", "SUCCESS")
            };
            let certificate = self.lab.read(timestamp, "logs/certificate.txt");
            let lines: Vec<(String, String)> =
                parse_certificate(&certificate).into_iter().map(|line| (line.dataname, line.status)).collect();
            let wanted: Vec<(String, String)> =
                names.iter().map(|name| (format!("lab/inputs/{name}"), expected.1.to_owned())).collect();
            assert_eq!(lines, wanted, "{timestamp}: {certificate}\n{}", self.lab.describe());
            for name in &names {
                assert_eq!(self.lab.saved_status(timestamp, name), expected.0, "{timestamp} {name}");
                if is_refused(number) {
                    continue;
                }
                let folder = if names.len() > 1 { format!("{name}/") } else { String::new() };
                let log = self.lab.read(timestamp, &format!("logs/{name}.log"));
                let record = self.lab.read(timestamp, &format!("logs/{name}.record.json"));
                let key = format!("lab/results/job__pca_{timestamp}/process_results/{folder}out.txt");
                let expected = format!("{seconds}\n{name}").into_bytes();
                assert_eq!(
                    self.lab.bucket.get(&key),
                    Some(expected),
                    "{key}\n{record}\n{log}\n{}",
                    self.lab.describe()
                );
                assert_eq!(log.lines().filter(|line| line.ends_with("run")).count(), 1, "{timestamp} {name}: {log}");
            }
        }
    }
}

fn is_refused(number: usize) -> bool {
    number % 6 == 5
}

fn is_failing(number: usize) -> bool {
    number % 6 == 4
}

fn datasets(number: usize) -> Vec<String> {
    let end = if is_failing(number) { "fail.txt" } else { "txt" };
    match number % 6 {
        3 => ["a", "b", "c"].iter().map(|part| format!("d{number}{part}.{end}")).collect(),
        _ => vec![format!("d{number}.{end}")],
    }
}
