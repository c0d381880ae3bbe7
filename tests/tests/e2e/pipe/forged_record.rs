//! A saved record is data: it never chooses the container that a tool acts on.

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::pipeline::{pipeline_script, put_submission};
use ncaas_tests::{Ran, Run, pipe_in, unique};
use serde_json::{Value, json};

pub(super) const SECRET: &str = "the-secret-of-another-user";

/// The running container of another user.
pub(super) fn start_victim(clean_up: &mut CleanUp) -> String {
    let script = format!("echo {SECRET}; mkdir -p $HOME/out; echo {SECRET} > $HOME/out/file; sleep 600");
    let id = docker(&["run", "-d", "--network=none", FIXTURE, "sh", "-c", &script]);
    clean_up.container(&id);
    id
}

/// A record that says that a job has ended in the victim's container.
pub(super) fn forged_record(job: &Value, io_dir: &std::path::Path, victim: &str) -> String {
    let record = json!({
        "job": job, "dataname": "lab/inputs/x.npy", "configname": "lab/configs/c.yaml", "io_dir": io_dir,
        "container": {"id": victim, "name": "x", "state": "exited", "status": "success", "exit_code": 0, "oom_killed": false,
                      "started_at": "2026-11-22T10:24:55Z", "finished_at": "2026-11-22T10:24:56Z", "duration_s": 1.0},
        "logs": {"dir": io_dir, "lines": 1, "bytes": 1}, "error": null,
    });
    format!("{record}\n")
}

fn assert_untouched(victim: &str, folders: &[&std::path::Path], ran: &[Ran]) {
    assert_eq!(docker(&["inspect", "--format", "{{.State.Running}}", victim]), "true");
    for ran in ran {
        assert!(!ran.text().contains(SECRET), "{}", ran.text());
    }
    for folder in folders {
        let found = std::process::Command::new("grep").args(["-rl", SECRET]).arg(folder).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "no file holds anything of the victim's");
    }
}

#[test]
fn a_forged_saved_record_in_a_directory_does_not_reach_the_container_of_another_user() {
    forge_saved_record(&TestBucket::directory("pca"));
}

#[test]
fn a_forged_saved_record_on_s3_does_not_reach_the_container_of_another_user() {
    forge_saved_record(&TestBucket::s3("pca"));
}

fn forge_saved_record(bucket: &TestBucket) {
    let mut clean_up = CleanUp::new();
    let victim = start_victim(&mut clean_up);
    let folder = tempfile::tempdir().unwrap();
    bucket.put("lab/inputs/x.npy", "x");
    bucket.put("lab/configs/c.yaml", "n: 1\n");
    let (first, second) = (unique("first"), unique("second"));
    let [carrier, id] = [&first, &second].map(|name| format!("job__{}_{name}", bucket.analysis()));
    for id in [&carrier, &id] {
        clean_up.labelled(&format!("org.neurocaas.job={id}"));
    }
    let io_dir = folder.path().join("io-dir/lab");
    let job =
        json!({"id": id, "bucket": bucket.address(), "group": "lab", "dataset": 1, "datasets": 1, "label": "x.npy"});
    let key = format!("lab/results/{id}/logs/x.npy.record.json");
    bucket.put(&key, forged_record(&job, &io_dir, &victim));
    let script = pipeline_script(&bucket.address(), "--once", "true");

    // The attacker's dataset is the forged record, so that it is pulled into the io-dir.
    put_submission(bucket, &first, &json!(key), "lab/configs/c.yaml");
    let carried = pipe_in(folder.path(), &script, &[]);
    let saved = io_dir.join("results").join(&id).join("logs/x.npy.record.json");
    assert!(!saved.exists(), "a dataset does not become a saved record");

    put_submission(bucket, &second, &json!("lab/inputs/x.npy"), "lab/configs/c.yaml");
    let ran = pipe_in(folder.path(), &script, &[]);
    assert_untouched(&victim, &[folder.path()], &[carried, ran]);

    // Somebody has put the record into the io-dir by other means.
    std::fs::create_dir_all(saved.parent().unwrap()).unwrap();
    std::fs::write(&saved, forged_record(&job, &io_dir, &victim)).unwrap();
    let third = json!({"job": job, "dataname": "lab/inputs/x.npy", "configname": "lab/configs/c.yaml", "io_dir": io_dir, "error": null});
    std::fs::write(folder.path().join("record"), format!("{third}\n")).unwrap();
    let stages = "ncaas-exec run --image IMAGE -- true <record | ncaas-exec wait | ncaas-logs save | ncaas-sync collect \
                  | tee collected | ncaas-exec stop | ncaas-exec rm --force";
    let again = pipe_in(folder.path(), &stages.replace("IMAGE", FIXTURE), &[]);
    assert_untouched(&victim, &[&io_dir], &[again]);
}

#[test]
fn a_record_that_names_the_container_of_another_job_is_refused_by_every_verb() {
    let mut clean_up = CleanUp::new();
    let victim = start_victim(&mut clean_up);
    let io_dir = tempfile::tempdir().unwrap();
    let job = json!({"id": unique("job__pca"), "bucket": "s3://pca", "group": "lab", "dataset": 1, "datasets": 1});
    let ended = forged_record(&job, io_dir.path(), &victim);
    let running = ended.replace("\"exited\"", "\"running\"").replace("\"success\"", "null");
    let verbs = [
        ("ncaas-exec", "stop", &ended),
        ("ncaas-exec", "stop", &running),
        ("ncaas-exec", "rm", &ended),
        ("ncaas-exec", "wait", &running),
        ("ncaas-logs", "save", &ended),
        ("ncaas-logs", "state", &ended),
        ("ncaas-logs", "lines", &ended),
        ("ncaas-logs", "usage", &running),
        ("ncaas-sync", "collect", &ended),
        ("ncaas-sync", "diff", &ended),
    ];
    for (tool, verb, record) in verbs {
        let ran = Run::tool(tool).args([verb]).stdin(record.as_bytes()).run();
        assert_eq!(ran.status, 1, "{tool} {verb}: {}", ran.stderr);
        let kinds: Vec<Value> = ran.json().iter().map(|record| record["error"]["kind"].clone()).collect();
        assert_eq!(kinds, ["wrong-container"], "{tool} {verb}");
        assert_untouched(&victim, &[io_dir.path()], &[ran]);
    }
}

/// A job that the user describes has no bucket.
fn run_local_job(forged: impl Fn(&std::path::Path, &str) -> Value) {
    let mut clean_up = CleanUp::new();
    let script = format!("echo {SECRET}; mkdir -p $HOME/out; echo {SECRET} > $HOME/out/file");
    let victim = docker(&["run", "-d", "--network=none", FIXTURE, "sh", "-c", &script]);
    clean_up.container(&victim);
    docker(&["wait", &victim]);
    let folder = tempfile::tempdir().unwrap();
    let io_dir = folder.path().join("io-dir");
    let id = unique("local");
    clean_up.labelled(&format!("org.neurocaas.job={id}"));
    let mut saved = forged(&io_dir, &victim);
    saved["job"] = json!({"id": id, "dataset": 1, "datasets": 1});
    saved["dataname"] = json!("/d.npy");
    let logs = io_dir.join("results").join(&id).join("logs");
    std::fs::create_dir_all(&logs).unwrap();
    for name in ["d.npy", "submission"] {
        std::fs::write(logs.join(format!("{name}.record.json")), format!("{saved}\n")).unwrap();
    }
    let record = json!({"job": {"id": id}, "image": FIXTURE, "command": ["true"]});
    std::fs::write(folder.path().join("record"), format!("{record}\n")).unwrap();
    let stages = "ncaas-exec run <record | ncaas-exec wait | ncaas-logs save | ncaas-sync collect | ncaas-exec rm";
    let ran = pipe_in(folder.path(), stages, &[]);
    assert!(ran.text().contains("wrong-container"), "{}", ran.text());
    assert!(!ran.text().contains(SECRET), "{}", ran.text());
    let found = std::process::Command::new("grep").args(["-rl", SECRET]).arg(folder.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "no file holds anything of the victim's");
    assert_eq!(docker(&["inspect", "--format", "{{.State.Status}}", &victim]), "exited");
}

#[test]
fn a_forged_saved_record_of_a_local_job_reaches_no_container_without_labels() {
    run_local_job(|io_dir, victim| serde_json::from_str(&forged_record(&Value::Null, io_dir, victim)).unwrap());
}

#[test]
fn a_forged_saved_record_does_not_reach_a_container_by_its_name() {
    run_local_job(|io_dir, victim| {
        let mut record: Value = serde_json::from_str(&forged_record(&Value::Null, io_dir, "")).unwrap();
        record["container"]["name"] =
            docker(&["inspect", "--format", "{{.Name}}", victim]).trim_start_matches('/').into();
        record
    });
}

#[test]
fn stop_and_rm_refuse_a_container_without_labels_for_a_local_job_unless_it_is_named() {
    let mut clean_up = CleanUp::new();
    let victim = start_victim(&mut clean_up);
    let io_dir = tempfile::tempdir().unwrap();
    let record = forged_record(&json!({"id": unique("local"), "dataset": 1, "datasets": 1}), io_dir.path(), &victim);
    for verb in [&["stop"][..], &["rm"], &["rm", "--force"]] {
        let ran = Run::tool("ncaas-exec").args(verb).stdin(record.as_bytes()).run();
        assert_eq!(ran.json()[0]["error"]["kind"], "wrong-container", "{verb:?}: {}", ran.stderr);
        assert_untouched(&victim, &[io_dir.path()], &[ran]);
    }
    Run::tool("ncaas-exec").args(["stop", "--grace", "1s", &victim]).run();
    assert_eq!(docker(&["inspect", "--format", "{{.State.Running}}", &victim]), "false");
    Run::tool("ncaas-exec").args(["rm", &victim]).run();
    assert!(!docker(&["ps", "-aq", "--no-trunc"]).contains(&victim));
}

#[test]
fn labels_of_an_image_do_not_make_a_container_the_tools_own() {
    let mut clean_up = CleanUp::new();
    let io_dir = tempfile::tempdir().unwrap();
    let job = json!({"id": unique("job__pca"), "dataset": 1, "datasets": 1});
    let label =
        json!({"job": job, "io_dir": io_dir.path(), "dataname": "/etc/shadow"}).to_string().replace('"', "\\\"");
    let base = docker(&["create", FIXTURE]);
    clean_up.container(&base);
    let image = unique("ncaas/forged");
    let change = format!("LABEL org.neurocaas.tool=ncaas-exec org.neurocaas.job=x org.neurocaas.record=\"{label}\"");
    docker(&["commit", "--change", &change, &base, &image]);
    clean_up.image(&image);
    let container = docker(&["run", "-d", "--network=none", &image, "true"]);
    clean_up.container(&container);
    docker(&["wait", &container]);
    let listed = Run::tool("ncaas-exec").args(["ls", "--all"]).run().ok().text();
    assert!(!listed.contains(&container), "{listed}");
    let record = Run::tool("ncaas-logs").args(["state", &container]).run().ok().json().remove(0);
    assert_eq!(
        (&record["container"]["id"], &record["job"], &record["io_dir"]),
        (&json!(container), &Value::Null, &Value::Null)
    );
}
