//! The script `serve` restarts a pipe that fails, and stops it as a whole.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::build_context::{build_context, ncaas_build};
use ncaas_tests::engine::{CleanUp, FIXTURE, containers_labelled};
use ncaas_tests::{tools, unique, wait_until};
use serde_json::json;

/// The script, started as systemd starts it.
struct ServeProcess {
    script: Child,
    stderr: PathBuf,
}

impl ServeProcess {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let stderr = folder.join("stderr");
        let path = format!("{}:{}", tools().display(), std::env::var("PATH").unwrap());
        let script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../ncaas-submit/serve/serve"))
            .args(arguments)
            .env("PATH", path)
            .env("IO_DIR", folder.join("io-dir"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        ServeProcess { script, stderr }
    }

    fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    /// The processes of the pipe that serves that bucket.
    fn watch_of(bucket: &str) -> String {
        let found = Command::new("pgrep").args(["-f", &format!("ncaas-submit watch .*{bucket}$")]).output().unwrap();
        String::from_utf8(found.stdout).unwrap().trim().to_owned()
    }

    /// Tells it to stop, and waits until it has: its exit status.
    fn stop(&mut self) -> Option<i32> {
        Command::new("kill").arg(self.script.id().to_string()).status().unwrap();
        self.script.wait().unwrap().code()
    }
}

impl Drop for ServeProcess {
    fn drop(&mut self) {
        if matches!(self.script.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

#[test]
fn serve_restarts_the_pipe_when_a_stage_dies_and_stops_on_sigterm() {
    let bucket = TestBucket::directory("pca");
    let address = bucket.address();
    let folder = tempfile::tempdir().unwrap();
    let name = unique("serve");
    let job = format!("job__pca_{name}");
    let label = format!("org.neurocaas.job={job}");
    let mut clean_up = CleanUp::new();
    clean_up.labelled(&label);
    // It runs until the test lets it end.
    let wait = "while [ ! -e io-dir/results/go ]; do sleep 0.05; done";
    let context =
        build_context(&format!("FROM {FIXTURE}\nENTRYPOINT [\"sh\", \"-c\", \"{wait}\", \"wait\"]\nCMD []\n"));
    let image = unique("serve-image");
    clean_up.image(&image);
    assert_eq!(ncaas_build().args(["image", "--tag", &image]).arg(context.path()).run().status, 0);
    bucket.put("lab/inputs/x.npy", "data");
    bucket.put("lab/configs/c.yaml", "n: 1\n");
    let submission = json!({"dataname": "lab/inputs/x.npy", "configname": "lab/configs/c.yaml", "timestamp": name});
    bucket.put("lab/submissions/1_submit.json", submission.to_string());

    let mut serving = ServeProcess::start(folder.path(), &[&address, &image]);
    wait_until("the job's container", Duration::from_secs(30), || !containers_labelled(&label).is_empty());
    let first = ServeProcess::watch_of(&address);
    assert!(Command::new("kill").args(["-KILL", &first]).status().unwrap().success());
    wait_until("another watch while the job runs", Duration::from_secs(20), || {
        let now = ServeProcess::watch_of(&address);
        !now.is_empty() && now != first
    });
    assert!(serving.stderr().contains("has ended with status 137; it starts again in 1 s"), "{}", serving.stderr());
    assert!(!serving.stderr().contains("Killed"), "bash reports no stages: {}", serving.stderr());
    let results = folder.path().join("io-dir/lab/.ncaas/work").join(&job).join("1/results");
    wait_until("the job's folder", Duration::from_secs(30), || results.exists());
    std::fs::write(results.join("go"), "").unwrap();
    let end = format!("lab/results/{job}/process_results/end.txt");
    wait_until("the job's end", Duration::from_secs(60), || bucket.get(&end).is_some());

    let asked = Instant::now();
    assert_eq!(serving.stop(), Some(0), "{}", serving.stderr());
    assert!(asked.elapsed() < Duration::from_secs(10));
    assert!(serving.stderr().contains("serve: stopped"), "{}", serving.stderr());
    assert_eq!(ServeProcess::watch_of(&address), "");
}

#[test]
fn serve_does_not_restart_after_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut serving = ServeProcess::start(folder.path(), &["./pca", FIXTURE, "--no-such-option"]);
    assert_eq!(serving.script.wait().unwrap().code(), Some(2));
    assert!(serving.stderr().contains("serve: the command line is wrong"), "{}", serving.stderr());
    let mut serving = ServeProcess::start(folder.path(), &["./pca"]);
    assert_eq!(serving.script.wait().unwrap().code(), Some(2));
    assert!(serving.stderr().starts_with("usage: serve"), "{}", serving.stderr());
}
