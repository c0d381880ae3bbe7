//! Links in an io-dir, a job's folders or a pushed folder lead no tool out of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use ncaas_tests::bucket::{TestBucket, files_below};
use ncaas_tests::bucket_job::BucketJob;
use ncaas_tests::ended_job::EndedJob;
use ncaas_tests::engine::FIXTURE;
use ncaas_tests::sync::ncaas_sync;
use ncaas_tests::{Ran, Run};
use serde_json::json;
use tempfile::TempDir;

#[test]
fn pull_does_not_follow_a_link_out_of_the_io_dir() {
    let bucket = TestBucket::directory("pca");
    let home = tempfile::tempdir().unwrap();
    bucket.put("lab/inputs/a", "from the bucket");
    bucket.put("lab/configs/c", "from the bucket");
    let outside = home.path().join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("c"), "outside").unwrap();
    let io_dir = home.path().join("io");
    fs::create_dir_all(io_dir.join("lab/configs")).unwrap();
    symlink(&outside, io_dir.join("lab/inputs")).unwrap();
    symlink(outside.join("c"), io_dir.join("lab/configs/c")).unwrap();
    let arguments = ["pull", &format!("{}/lab", bucket.address()), "--io-dir", io_dir.to_str().unwrap()];
    let ran = ncaas_sync(&home, &arguments).run();
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    assert_eq!(files_below(&outside), ["c"], "nothing was written through the link");
    assert_eq!(fs::read_to_string(outside.join("c")).unwrap(), "outside");
    assert_eq!(fs::read_to_string(io_dir.join("lab/configs/c")).unwrap(), "from the bucket", "the link was replaced");
}

#[test]
fn push_does_not_follow_a_link_out_of_the_folder() {
    let bucket = TestBucket::directory("pca");
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("tree");
    fs::create_dir(&folder).unwrap();
    fs::write(home.path().join("secret"), "secret").unwrap();
    fs::write(folder.join("file"), "content").unwrap();
    symlink("file", folder.join("inside")).unwrap();
    symlink("../secret", folder.join("up")).unwrap();
    symlink(home.path().join("secret"), folder.join("absolute")).unwrap();
    symlink("nothing", folder.join("dangling")).unwrap();
    ncaas_tests::pipe(&format!("mkfifo '{}'", folder.join("fifo").display())).ok();
    let target = format!("{}/t", bucket.address());
    let ran = ncaas_sync(&home, &["push", folder.to_str().unwrap(), &target, "--files"]).run();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let mut outcomes: Vec<String> = ran
        .json()
        .iter()
        .filter(|line| line.get("outcome").is_some())
        .map(|line| format!("{} {}", line["path"], line["outcome"]).replace('"', ""))
        .collect();
    outcomes.sort();
    assert_eq!(
        outcomes,
        ["absolute left-out", "dangling left-out", "fifo left-out", "file new", "inside new", "up left-out"]
    );
    assert_eq!(bucket.text("t/inside"), "content", "a link that stays inside is what it leads to");
    assert_eq!(bucket.keys().iter().filter(|key| key.starts_with("t/")).count(), 2);
}

/// A folder that is no tool's business, with a file in it, as it has to be in the end.
struct Outside {
    dir: TempDir,
}

impl Outside {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        Outside { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn is_untouched(&self, what: &str) {
        assert_eq!(files_below(self.dir.path()), ["secret"], "{what}");
        assert_eq!(fs::read_to_string(self.path("secret")).unwrap(), "secret", "{what}");
        assert_eq!(fs::metadata(self.dir.path()).unwrap().permissions().mode() & 0o777, 0o700, "{what}");
    }
}

fn is_refused(ran: &Ran, what: &str) {
    assert_eq!((ran.status, ran.record().error_kind()), (1, "unsafe-path"), "{what}: {}", ran.stderr);
}

/// Puts a link to `to` in the place of what is at `path`.
fn replace(path: &Path, to: &Path) {
    let _ = fs::remove_dir_all(path);
    let _ = fs::remove_file(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(to, path).unwrap();
}

#[test]
fn save_does_not_follow_a_link_in_place_of_a_job_folder() {
    let job = EndedJob::after("echo line", &[]);
    let save = || Run::tool("ncaas-logs").arg("save").stdin(job.record().to_string()).run();
    for name in ["logs", "logs/.ncaas-certificate.lock", "."] {
        let outside = Outside::new();
        let _ = fs::remove_dir_all(job.folder());
        let to = if name.ends_with("lock") { outside.path("new") } else { outside.path("") };
        replace(&if name == "." { job.folder() } else { job.folder().join(name) }, &to);
        is_refused(&save(), name);
        outside.is_untouched(name);
    }
}

#[test]
fn save_does_not_follow_a_link_in_place_of_a_log_or_record() {
    let job = EndedJob::after("echo line", &[]);
    let outside = Outside::new();
    let told =
        json!({"container": job.record()["container"], "logs": {"dir": "/x", "lines": 7, "bytes": 7}, "mine": 1});
    fs::write(outside.path("secret"), told.to_string()).unwrap();
    let _ = fs::remove_dir_all(job.folder());
    let names = ["a.npy.log", "DATASET_NAME:a.npy_STATUS.txt", "certificate.txt", "a.npy.record.json"];
    for name in names {
        replace(&job.folder().join("logs").join(name), &outside.path("secret"));
    }
    let ran = Run::tool("ncaas-logs").arg("save").stdin(job.record().to_string()).run();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(ran.record().logs.unwrap().lines, 1, "a file outside the job's folder is not read");
    assert_eq!(fs::read_to_string(outside.path("secret")).unwrap(), told.to_string());
    assert!(names.iter().all(|name| !job.folder().join("logs").join(name).is_symlink()));
    // The container is gone: saved files are shown unless they are outside the job's folder.
    fs::write(outside.path("secret"), "2026-11-22T10:24:55.517032643Z stdout secret\n").unwrap();
    replace(&job.folder().join("logs/a.npy.log"), &outside.path("secret"));
    let mut gone = job.record();
    gone["container"]["id"] = "f00f00f00f00".into();
    replace(&job.folder().join("logs/a.npy.record.json"), &outside.path("secret"));
    let ran = Run::tool("ncaas-logs").args(["lines"]).stdin(gone.to_string()).run();
    assert!(ran.status != 0 && !String::from_utf8_lossy(&ran.stdout).contains("stdout secret"), "{}", ran.stderr);
}

#[test]
fn run_refuses_a_link_in_place_of_a_jobs_result_folders() {
    let home = tempfile::tempdir().unwrap();
    for name in [".ncaas/work/job__a_1/1/results", ".ncaas/work/job__a_1/1", ".ncaas/work/job__a_1", "results/job__a_1"]
    {
        let outside = Outside::new();
        let io_dir = home.path().join(format!("io-{}", name.len()));
        replace(&io_dir.join(name), &outside.path(""));
        let record = json!({"job": {"id": "job__a_1", "dataset": 1, "datasets": 1}, "io_dir": io_dir, "image": FIXTURE, "command": ["touch", "io-dir/results/x"]});
        is_refused(&Run::tool("ncaas-exec").arg("run").stdin(record.to_string()).run(), name);
        outside.is_untouched(name);
    }
}

#[test]
fn run_refuses_a_dataset_that_links_out_of_its_group() {
    let home = tempfile::tempdir().unwrap();
    let outside = Outside::new();
    replace(&home.path().join("inputs/x.npy"), &outside.path("secret"));
    let job = json!({"id": "job__a_1", "group": "lab", "dataset": 1, "datasets": 1});
    let record = json!({"job": job, "dataname": "lab/inputs/x.npy", "io_dir": home.path(), "image": FIXTURE});
    is_refused(&Run::tool("ncaas-exec").arg("run").stdin(record.to_string()).run(), "a dataset");
}

#[test]
fn a_link_in_place_of_a_config_or_results_list_is_not_followed() {
    let mut job = EndedJob::after("echo r > io-dir/results/r", &[]);
    let outside = Outside::new();
    let configs = job.home.path().join("io-dir/configs/c.yaml");
    replace(&configs, &outside.path("secret"));
    let mut record = job.record();
    record["job"]["group"] = "lab".into();
    record["configname"] = "lab/configs/c.yaml".into();
    is_refused(&ncaas_sync(&job.home, &["collect"]).stdin(record.to_string()).run(), "config");
    assert!(!job.results().join("c.yaml").exists());

    let told =
        json!({"path": format!("results/{}/logs/a.npy.results.jsonl", job.id), "count": 1, "size": 6, "sha256": "0"});
    replace(&job.folder().join("logs/a.npy.results.jsonl"), &outside.path("secret"));
    let mut record = job.record();
    record["results_file"] = told;
    record["job"]["bucket"] = job.home.path().join("bucket").to_str().unwrap().into();
    record["job"]["group"] = "lab".into();
    fs::create_dir_all(job.home.path().join("bucket")).unwrap();
    let saved = Run::tool("ncaas-logs").arg("save").stdin(job.record().to_string()).run();
    assert_eq!(saved.status, 0, "{}", saved.stderr);
    is_refused(&ncaas_sync(&job.home, &["push"]).stdin(record.to_string()).run(), "the list of results");
    is_refused(
        &ncaas_sync(&job.home, &["verify", "--io-dir-only"]).stdin(record.to_string()).run(),
        "the list of results",
    );

    // The engine would give what is there to the user.
    job.container = job.run(1, "echo r > io-dir/results/r", &["--user", "0:0"]);
    replace(&job.work_root().join("1/results"), &outside.path(""));
    let mut running = job.record();
    running["container"]["state"] = "running".into();
    running["container"]["status"] = serde_json::Value::Null;
    is_refused(&Run::tool("ncaas-exec").arg("wait").stdin(running.to_string()).run(), "wait");
    is_refused(&ncaas_sync(&job.home, &["collect"]).stdin(job.record().to_string()).run(), "collect");
    outside.is_untouched("all of it");
}

/// A development container has the whole io-dir, and could put a link there.
#[test]
fn push_does_not_follow_a_link_in_place_of_a_job_folder() {
    let jobs = BucketJob::in_bucket(TestBucket::directory("pca"));
    let record = jobs.ended(1, 1);
    let elsewhere = jobs.home.path().join("elsewhere");
    fs::rename(jobs.folder(), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, jobs.folder()).unwrap();
    let ran = jobs.run(&["push"], &record);
    assert_eq!((ran.status, ran.record().error_kind()), (1, "unsafe-path"), "{}", ran.stderr);
    assert_eq!(jobs.results_in_bucket(), Vec::<String>::new());
}
