//! A person who may write to one group of a bucket on S3, where keys and metadata can be anything: the group reaches
//! nothing else, and stops nobody.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::types::ChecksumAlgorithm;
use ncaas_tests::bucket::{TestBucket, files_below};
use ncaas_tests::certificate::certificate_dataset_lines;
use ncaas_tests::engine::{CleanUp, docker};
use ncaas_tests::pipeline::pipeline_script;
use ncaas_tests::{Run, pipe_in};
use serde_json::{Value, json};

use super::forged_record::{SECRET, forged_record, start_victim};

const LAB_SECRET: &str = "for the lab only";
/// Larger than a submit file or a claim may be, and than a saved record may be.
const LARGE: usize = 2 << 20;
const HUGE: usize = 65 << 20;

/// Puts an object with user metadata.
fn put_with(bucket: &TestBucket, key: &str, content: &[u8], metadata: &[(&str, &str)]) {
    let TestBucket::S3 { name, client, runtime } = bucket else { panic!("a directory has no metadata") };
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let put = client.put_object().bucket(name).key(key).set_metadata(Some(metadata)).body(content.to_vec().into());
    runtime.block_on(put.send()).unwrap();
}

/// The group `bad`, whose submissions each have something that no tool can have written.
struct HostileGroup<'b> {
    bucket: &'b TestBucket,
    clean_up: CleanUp,
}

impl HostileGroup<'_> {
    fn job(&self, name: &str) -> String {
        format!("job__{}_{name}", self.bucket.analysis())
    }

    fn submit(&mut self, name: &str, dataname: &Value, more: &Value) {
        let mut submission = json!({"dataname": dataname, "configname": "bad/configs/c.json", "timestamp": name});
        submission.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        self.bucket.put(&format!("bad/submissions/{name}_submit.json"), submission.to_string());
        self.clean_up.labelled(&format!("org.neurocaas.job={}", self.job(name)));
    }

    /// A submission in whose job's folder there is something already.
    fn submit_with(&mut self, name: &str, path: &str, content: &[u8]) {
        self.bucket.put(&format!("bad/results/{}/{path}", self.job(name)), content);
        self.submit(name, &json!("bad/inputs/x.npy"), &json!({}));
    }

    /// Submit files, and what looks like them, under keys that are not paths.
    fn put_keys(&self) {
        let submission =
            json!({"dataname": "lab/inputs/x.npy", "configname": "lab/configs/c.json", "timestamp": "keys"});
        for key in [
            "bad/submissions/../../lab/submissions/up_submit.json",
            "bad//submissions/double_submit.json",
            "bad/submissions//double_submit.json",
            "bad/submissions/./dot_submit.json",
            "bad/submissions/e\u{1b}]52;c;AAAA\u{7}\nncaas-exec: forged submit.json",
            "bad/submissions/marker_submit.json/",
            "bad/submissions/",
            "/submissions/root_submit.json",
            ".ncaas/submissions/own_submit.json",
            "../submissions/parent_submit.json",
            "results/submissions/results_submit.json",
        ] {
            self.bucket.put(key, submission.to_string());
        }
        self.bucket.put("bad/submissions/empty_submit.json", "");
        self.bucket.put("bad/submissions/huge_submit.json", vec![b' '; LARGE]);
    }

    fn put_state(&mut self, victim: &str, io_dir: &Path) {
        self.submit_with("record0", "logs/x.npy.record.json", b"");
        self.submit_with("recordhuge", "logs/x.npy.record.json", &vec![b' '; HUGE]);
        let job = json!({"id": self.job("record"), "bucket": self.bucket.address(), "group": "bad", "dataset": 1,
            "datasets": 1, "label": "x.npy"});
        self.submit_with("record", "logs/x.npy.record.json", forged_record(&job, io_dir, victim).as_bytes());
        let claim = json!({"submission": "bad/submissions/claim_submit.json", "watcher": "dead", "owner": "\u{1b}[2J",
            "host": "", "claimed_at": "2026-11-27T18:41:19Z", "attempt": 1, "number": u64::MAX, "losses": 0});
        self.submit_with("claim", "claim.json", claim.to_string().as_bytes());
        self.submit_with("claimhuge", "claim.json", &vec![b' '; LARGE]);
        self.submit_with("claimother", "claim.json", claim.to_string().replace("bad/", "lab/").as_bytes());
        self.submit_with("end", "process_results/end.txt", b"");
        self.submit_with("endfolder", "process_results/end.txt/", b"x");
        self.submit_with("cancel", "cancel.json", b"\xff");
        self.submit_with("certificate", "logs/certificate.txt", &vec![b'\n'; LARGE]);
        self.submit_with("status", "logs/DATASET_NAME:x.npy_STATUS.txt", b"");
        // Of the lab's job, in another group.
        self.bucket.put(&format!("bad/results/{}/cancel.json", self.job("lab")), "{}");
        self.bucket.put(&format!("bad/results/{}/process_results/end.txt", self.job("lab")), "");
    }

    fn put_datasets(&mut self) {
        let metadata = [
            ("mtime1", "mtime", "1e300"),
            ("mtime2", "mtime", "NaN"),
            ("mtime3", "mtime", "-99999999999999999999.9"),
            ("mtime4", "mtime", "9223372036.999999999999999999999999"),
            ("mtime5", "s3cmd-attrs", "uid:0/mtime:18446744073709551615/mode:35309"),
            ("sha", "sha256", "zz"),
            ("crc", "crc64nvme", "AAAA"),
        ];
        for (name, field, value) in metadata {
            let key = format!("bad/inputs/{name}.npy");
            put_with(self.bucket, &key, b"x", &[(field, value)]);
            self.submit(name, &json!(key), &json!({}));
        }
        for key in [
            "d/",
            "d/a",
            "d/a/b",
            "d//double",
            "d/../../../../../escape",
            "d/e\u{1b}]0;title\u{7}",
            "m/",
            "É.npy",
            "E\u{301}.npy",
        ] {
            self.bucket.put(&format!("bad/inputs/{key}"), key);
        }
        self.submit("folder", &json!("bad/inputs/d/"), &json!({}));
        self.submit("marker", &json!("bad/inputs/m/"), &json!({}));
        self.submit("case", &json!(["bad/inputs/x.npy", "bad/inputs/X.npy"]), &json!({}));
        self.submit("form", &json!(["bad/inputs/É.npy", "bad/inputs/E\u{301}.npy"]), &json!({}));
        self.submit("archived", &json!("bad/inputs/archived.npy"), &json!({}));
        for (name, dataset) in [
            ("other1", "lab/inputs/secret.npy"),
            ("other2", "bad/../lab/inputs/secret.npy"),
            ("other3", "bad/inputs/../../lab/inputs/secret.npy"),
            ("other4", "bad//lab/inputs/secret.npy"),
            ("other5", "/etc/hostname"),
            ("other6", "bad/inputs/\u{1b}]52;c;AAAA\u{7}.npy"),
            ("other7", ".ncaas/watchers/x"),
        ] {
            self.submit(name, &json!(dataset), &json!({}));
        }
        self.submit("secret", &json!(format!("s3://{}/lab/inputs/secret.npy", self.bucket.analysis())), &json!({}));
        let elsewhere = format!("s3://{}/lab/results", self.bucket.analysis());
        self.submit("result", &json!("bad/inputs/x.npy"), &json!({"resultpath": elsewhere}));
    }
}

#[test]
fn what_one_group_puts_into_a_bucket_on_s3_reaches_and_stops_nobody_else() {
    let bucket = TestBucket::s3("hostile");
    let home = tempfile::tempdir().unwrap();
    let mut bad = HostileGroup { bucket: &bucket, clean_up: CleanUp::new() };
    let victim = start_victim(&mut bad.clean_up);
    for (key, content) in [("inputs/x.npy", "x"), ("inputs/X.npy", "X"), ("configs/c.json", "{}")] {
        bucket.put(&format!("bad/{key}"), content);
        bucket.put(&format!("lab/{key}"), content);
    }
    bucket.put_archived("bad/inputs/archived.npy");
    bucket.put("lab/inputs/secret.npy", LAB_SECRET);
    bad.put_keys();
    bad.put_state(&victim, &home.path().join("io-dir/bad"));
    bad.put_datasets();
    // The last one that is found.
    let submission =
        json!({"dataname": "lab/inputs/secret.npy", "configname": "lab/configs/c.json", "timestamp": "lab"});
    bucket.put("lab/submissions/lab_submit.json", submission.to_string());
    let own = format!("lab/results/{}/", bad.job("lab"));
    bad.clean_up.labelled(&format!("org.neurocaas.job={}", bad.job("lab")));
    let before = bucket.keys();

    let script = pipeline_script(&bucket.address(), "--once", r#"cp -r "$1" "$HOME/io-dir/results/""#);
    let ran = pipe_in(home.path(), &script, &[]);

    assert!(!ran.stderr.contains("internal error") && !ran.stderr.contains("panicked"), "{}", ran.stderr);
    assert!(!ran.stderr.contains(['\u{1b}', '\u{7}']), "{:?}", ran.stderr);
    assert!(!ran.stderr.lines().any(|line| line.starts_with("ncaas-exec: forged")), "{}", ran.stderr);
    assert_eq!(bucket.text(&format!("{own}process_results/secret.npy")), LAB_SECRET, "{}", ran.stderr);
    let certificate = bucket.text(&format!("{own}logs/certificate.txt"));
    assert!(certificate_dataset_lines(&certificate)[0].contains("| STATUS: SUCCESS |"), "{certificate}");
    assert!(bucket.get(&format!("{own}process_results/end.txt")).is_some(), "{}", ran.stderr);

    assert_eq!(docker(&["inspect", "--format", "{{.State.Running}}", &victim]), "true");
    assert!(!ran.text().contains(SECRET), "{}", ran.text());
    let is_new = |key: &&String| !before.contains(key);
    for key in bucket.keys().iter().filter(is_new) {
        let is_own =
            ["bad/results/", "bad/logs/", "logs/", &own, ".ncaas/"].iter().any(|prefix| key.starts_with(prefix));
        assert!(is_own, "`{key}` was written");
        if !key.starts_with(&own) {
            let content = bucket.get(key).unwrap_or_default();
            let content = String::from_utf8_lossy(&content);
            assert!(!content.contains(LAB_SECRET) && !content.contains(SECRET), "{key}: {content}");
        }
    }
    for path in files_below(home.path()) {
        let is_inside = ["io-dir/bad/", "io-dir/lab/", "stderr"].iter().any(|prefix| path.starts_with(prefix));
        assert!(is_inside && !path.contains("escape"), "{path}");
        let content = std::fs::read(home.path().join(&path)).unwrap_or_default();
        let content = String::from_utf8_lossy(&content);
        assert!(!content.contains(SECRET), "{path}");
        assert!(path.starts_with("io-dir/lab/") || !content.contains(LAB_SECRET), "{path}");
    }
    for verb in [["ls", "--json"], ["ls", "--group=bad"]] {
        let listed = Run::tool("ncaas-submit").args([verb[0], &bucket.address(), verb[1]]).run();
        let shown = format!("{}{}", listed.text(), listed.stderr);
        assert!(!shown.contains("internal error") && !shown.contains(['\u{1b}', '\u{7}']), "{shown:?}");
    }
}

#[test]
fn an_object_that_is_replaced_while_it_is_read_is_never_pulled_in_part() {
    let bucket = TestBucket::s3("swapped");
    let home = tempfile::tempdir().unwrap();
    // One is read as a whole, the other in pieces.
    for (name, sizes) in [("small.bin", [1000, 2000]), ("large.bin", [3 << 20, 5 << 20])] {
        let key = format!("lab/inputs/{name}");
        bucket.put(&key, vec![b'a'; sizes[0]]);
        let is_over = AtomicBool::new(false);
        let io_dir = home.path().join("io");
        let file = io_dir.join(&key);
        let pull = || {
            let words = ["pull", &format!("{}/lab", bucket.address()), "--data", &key, "--io-dir"];
            Run::tool("ncaas-sync").args(words).arg(io_dir.to_str().unwrap()).run()
        };
        std::thread::scope(|scope| {
            let TestBucket::S3 { name: own, client, .. } = &bucket else { panic!("it is on S3") };
            let (client, key, is_over) = (client.clone(), &key, &is_over);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                while !is_over.load(Ordering::Relaxed) {
                    for (byte, size) in [(b'b', sizes[1]), (b'a', sizes[0])] {
                        // S3 stores a checksum of every object, a server for tests only on request.
                        let put = client.put_object().bucket(own).key(key).checksum_algorithm(ChecksumAlgorithm::Crc32);
                        let put = put.body(vec![byte; size].into());
                        runtime.block_on(put.send()).unwrap();
                    }
                }
            });
            let pulls: Vec<_> = (0..12).map(|_| (pull(), std::fs::read(&file).ok())).collect();
            is_over.store(true, Ordering::Relaxed);
            for (ran, content) in pulls {
                // A failed one leaves what the one before it has pulled.
                if let Some(content) = content {
                    let first = content[0];
                    assert!(content.iter().all(|byte| *byte == first), "{name}: a mixture");
                    assert_eq!(content.len(), sizes[usize::from(first == b'b')], "{name}: cut off");
                } else {
                    assert_ne!(ran.status, 0, "{}", ran.text());
                }
                let says_why = ran.stderr.contains("changed") || ran.stderr.contains("checksum");
                assert!(ran.status == 0 || says_why, "{}", ran.stderr);
            }
        });
    }
}
