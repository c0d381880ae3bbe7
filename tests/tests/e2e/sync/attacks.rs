//! What a container that sees the io-dir could put in the place of a job's folders and files leads no tool out of it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use ncaas_tests::bucket::files_below;
use ncaas_tests::engine::FIXTURE;
use ncaas_tests::{Ran, Run};
use serde_json::json;
use tempfile::TempDir;

use super::collect::EndedJob;
use super::trees::sync;

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
fn a_link_in_the_place_of_a_jobs_folder_leads_no_log_out() {
    let job = EndedJob::of("echo line", &[]);
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
fn a_link_in_the_place_of_a_log_or_record_is_neither_read_nor_written_through() {
    let job = EndedJob::of("echo line", &[]);
    let outside = Outside::new();
    let told =
        json!({"container": job.record()["container"], "logs": {"dir": "/x", "lines": 7, "bytes": 7}, "mine": 1});
    fs::write(outside.path("secret"), told.to_string()).unwrap();
    let _ = fs::remove_dir_all(job.folder());
    let names = ["a.npy.log", "DATASET_NAME:a.npy_STATUS.txt", "certificate.txt", "a.npy.record.json"];
    for name in names {
        replace(&job.folder().join("logs").join(name), &outside.path("secret"));
    }
    let ran = Run::tool("ncaas-logs").arg("save").stdin(job.record().to_string()).run().ok();
    assert_eq!(ran.record().logs.unwrap().lines, 1, "what lies elsewhere tells nothing");
    assert_eq!(fs::read_to_string(outside.path("secret")).unwrap(), told.to_string());
    assert!(names.iter().all(|name| !job.folder().join("logs").join(name).is_symlink()));
    // The container has gone: what was saved is shown, unless it lies elsewhere.
    fs::write(outside.path("secret"), "2026-11-22T10:24:55.517032643Z stdout secret\n").unwrap();
    replace(&job.folder().join("logs/a.npy.log"), &outside.path("secret"));
    let mut gone = job.record();
    gone["container"]["id"] = "f00f00f00f00".into();
    replace(&job.folder().join("logs/a.npy.record.json"), &outside.path("secret"));
    let ran = Run::tool("ncaas-logs").args(["lines"]).stdin(gone.to_string()).run();
    assert!(ran.status != 0 && !String::from_utf8_lossy(&ran.stdout).contains("stdout secret"), "{}", ran.stderr);
}

#[test]
fn a_link_in_the_place_of_what_a_job_is_to_write_to_keeps_it_from_starting() {
    let home = tempfile::tempdir().unwrap();
    for name in ["work/1/results", "work/1", "work", "."] {
        let outside = Outside::new();
        let io_dir = home.path().join(format!("io-{}", name.len()));
        let folder = io_dir.join("results/job__a_1");
        replace(&if name == "." { folder } else { folder.join(name) }, &outside.path(""));
        let record = json!({"job": {"id": "job__a_1", "dataset": 1, "datasets": 1}, "io_dir": io_dir, "image": FIXTURE, "command": ["touch", "io-dir/results/x"]});
        is_refused(&Run::tool("ncaas-exec").arg("run").stdin(record.to_string()).run(), name);
        outside.is_untouched(name);
    }
}

#[test]
fn a_job_of_a_group_is_given_no_dataset_that_lies_elsewhere() {
    let home = tempfile::tempdir().unwrap();
    let outside = Outside::new();
    replace(&home.path().join("inputs/x.npy"), &outside.path("secret"));
    let job = json!({"id": "job__a_1", "group": "lab", "dataset": 1, "datasets": 1});
    let record = json!({"job": job, "dataname": "lab/inputs/x.npy", "io_dir": home.path(), "image": FIXTURE});
    is_refused(&Run::tool("ncaas-exec").arg("run").stdin(record.to_string()).run(), "a dataset");
}

#[test]
fn a_link_in_the_place_of_a_config_or_of_the_results_file_is_not_followed() {
    let mut job = EndedJob::of("echo r > io-dir/results/r", &[]);
    let outside = Outside::new();
    let configs = job.home.path().join("io-dir/configs/c.yaml");
    replace(&configs, &outside.path("secret"));
    let mut record = job.record();
    record["job"]["group"] = "lab".into();
    record["configname"] = "lab/configs/c.yaml".into();
    is_refused(&sync(&job.home, &["collect"]).stdin(record.to_string()).run(), "config");
    assert!(!job.results().join("c.yaml").exists());

    let told =
        json!({"path": format!("results/{}/logs/a.npy.results.jsonl", job.id), "count": 1, "size": 6, "sha256": "0"});
    replace(&job.folder().join("logs/a.npy.results.jsonl"), &outside.path("secret"));
    let mut record = job.record();
    record["results_file"] = told;
    record["job"]["bucket"] = job.home.path().join("bucket").to_str().unwrap().into();
    record["job"]["group"] = "lab".into();
    fs::create_dir_all(job.home.path().join("bucket")).unwrap();
    is_refused(&sync(&job.home, &["push"]).stdin(record.to_string()).run(), "the list of results");
    is_refused(&sync(&job.home, &["verify", "--io-dir-only"]).stdin(record.to_string()).run(), "the list of results");

    // The engine would give what is there to the user.
    job.container = job.run(1, "echo r > io-dir/results/r", &["--user", "0:0"]);
    replace(&job.folder().join("work/1/results"), &outside.path(""));
    let mut running = job.record();
    running["container"]["state"] = "running".into();
    running["container"]["status"] = serde_json::Value::Null;
    is_refused(&Run::tool("ncaas-exec").arg("wait").stdin(running.to_string()).run(), "wait");
    is_refused(&sync(&job.home, &["collect"]).stdin(job.record().to_string()).run(), "collect");
    outside.is_untouched("all of it");
}
