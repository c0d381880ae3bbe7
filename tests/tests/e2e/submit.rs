//! Submissions are handed in and checked: what is accepted, what is refused, and with which reasons.

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::{Ran, Run, unique};
use serde_json::{Value, json};

fn submit_tool(arguments: &[&str]) -> Run {
    Run::tool("ncaas-submit").args(arguments)
}

/// A bucket with a dataset, a folder of two, and a config.
fn filled(bucket: TestBucket) -> TestBucket {
    bucket.put("lab/inputs/a b.npy", "one");
    bucket.put("lab/inputs/folder/1.npy", "1");
    bucket.put("lab/inputs/folder/2.npy", "2");
    bucket.put("other/inputs/theirs.npy", "secret");
    bucket.put("lab/configs/config.yaml", "n_components: 3\n");
    bucket
}

fn hand_in(bucket: &TestBucket, name: &str, submission: &Value) {
    bucket.put(&format!("lab/submissions/{name}_submit.json"), submission.to_string());
}

fn once(bucket: &TestBucket) -> Ran {
    submit_tool(&["watch", &bucket.address(), "--once"]).run()
}

/// The reasons of the one refusal.
fn refusal(ran: &Ran) -> String {
    let record = ran.record();
    assert_eq!((ran.status, record.error_kind()), (1, "bad-submission"), "{}", ran.text());
    assert!(record.setup.unwrap().iter().any(|event| event["event"] == "refused it"));
    record.error.unwrap().message
}

fn what_is_sent_is_handed_on(bucket: &TestBucket) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("it's $(x).npy"), "data").unwrap();
    std::fs::create_dir(path("many")).unwrap();
    std::fs::write(path("many/1.npy"), "1").unwrap();
    std::fs::write(path("c.json"), "{}").unwrap();
    let target = format!("{}/lab", bucket.address());
    let sent = submit_tool(&["send", &target, "--data", &path("it's $(x).npy"), &path("many"), "lab/inputs/a b.npy"])
        .args(["--config", &path("c.json"), "--timestamp", "16:52:06.8 x", "--set", "note={\"n\":1.50}"])
        .run()
        .ok();
    let record = &sent.json()[0];
    let id = format!("job__{}_16:52:06.8 x", bucket.analysis());
    assert_eq!(record["job"]["id"], id.as_str());
    assert_eq!(record["dataname"], json!(["lab/inputs/it's $(x).npy", "lab/inputs/many/", "lab/inputs/a b.npy"]));
    assert_eq!(bucket.text("lab/inputs/it's $(x).npy"), "data");
    assert_eq!(bucket.text("lab/inputs/many/1.npy"), "1");

    let handed_on = once(bucket).ok().json();
    let names: Vec<&Value> = handed_on.iter().map(|record| &record["dataname"]).collect();
    assert_eq!(names, ["lab/inputs/it's $(x).npy", "lab/inputs/many/", "lab/inputs/a b.npy"]);
    for (record, dataset) in handed_on.iter().zip(1..) {
        assert_eq!(record["job"]["id"], id.as_str());
        assert_eq!((&record["job"]["dataset"], &record["job"]["datasets"]), (&json!(dataset), &json!(3)));
        assert_eq!(record["job"]["bucket"], bucket.address());
        assert_eq!(record["note"]["n"].to_string(), "1.50");
    }
    assert_eq!(once(bucket).ended_saying(0, "left 1 submission(s)").text(), "", "what was handed on is held");
    // Nothing has changed: nothing is sent again, but for the submit file under another timestamp.
    submit_tool(&["send", &target, "--data", &path("many"), "--config", &path("c.json")]).run().ok();
    std::fs::write(path("many/1.npy"), "2").unwrap();
    let again = ["send", &target, "--data", &path("many"), "--config", &path("c.json")];
    submit_tool(&again).run().ended_saying(1, "`lab/inputs/many/1.npy` is in the bucket already, and");
    submit_tool(&again).arg("--force").run().ok();
    assert_eq!(bucket.text("lab/inputs/many/1.npy"), "2");
    submit_tool(&again)
        .args(["--force", "--timestamp", "16:52:06.8 x"])
        .run()
        .ended_saying(1, "there is a submission `lab/submissions/16:52:06.8 x_submit.json` already");
}

#[test]
fn what_is_sent_to_a_directory_is_handed_on() {
    what_is_sent_is_handed_on(&filled(TestBucket::directory("pca")));
}

#[test]
fn what_is_sent_to_s3_is_handed_on() {
    what_is_sent_is_handed_on(&filled(TestBucket::s3("send")));
}

#[test]
fn send_says_what_it_cannot_hand_in() {
    let bucket = filled(TestBucket::directory("pca"));
    let target = format!("{}/lab", bucket.address());
    let send = |data: &str, config: &str| submit_tool(&["send", &target, "--data", data, "--config", config]).run();
    send("nowhere.npy", "lab/configs/config.yaml").ended(
        1,
        "ncaas-submit: there is no file `nowhere.npy`, and it is no key of the group\n\
         hint: a key begins with the group: `lab/inputs/...`\n",
    );
    send("lab/inputs/missing", "lab/configs/config.yaml").ended_saying(1, "there is nothing under the dataset's key");
    send("lab/inputs/a b.npy", "lab/inputs/a b.npy").ended_saying(1, "ends in none of `.json`, `.yaml` and `.yml`");
    submit_tool(&["send", &bucket.address()]).run().ended_saying(2, "--data");
    let s3 = ["send", "s3://no-such-bucket-here/lab", "--data", "lab/inputs/x", "--config", "lab/configs/c.yaml"];
    submit_tool(&s3).run().ended_saying(1, "there is no such bucket");
    submit_tool(&s3).env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").run().ended_saying(3, "connection refused");
    assert!(!bucket.keys().iter().any(|key| key.contains("submissions")), "nothing was handed in");
}

fn refusals_name_every_reason(bucket: &TestBucket) {
    hand_in(
        bucket,
        "1",
        &json!({"dataname": ["lab/inputs/no.npy", "other/inputs/theirs.npy", "lab/inputs/folder", 5],
        "configname": "lab/configs/none.yaml", "timestamp": "1", "image": "evil", "io_dir": "/etc"}),
    );
    let ran = once(bucket);
    let message = refusal(&ran);
    for reason in [
        "there is nothing under the dataset's key `lab/inputs/no.npy`",
        "`other/inputs/theirs.npy` is not one of the group `lab`'s keys",
        "there is no file `lab/inputs/folder`, but a folder `lab/inputs/folder/`",
        "`dataname[3]` is `5`, not a string",
        "there is nothing under the config's key `lab/configs/none.yaml`",
    ] {
        assert!(message.contains(reason), "{reason} is not in: {message}");
    }
    let record = ran.record();
    assert!(record.image.is_none() && record.io_dir.is_none(), "a submission cannot choose image or io-dir");
    assert_eq!(record.warnings.unwrap().len(), 2);
    assert_eq!(record.job.unwrap().id, format!("job__{}_1", bucket.analysis()));
    assert!(ran.stderr.contains("`lab/submissions/1_submit.json`: "), "{}", ran.stderr);
}

#[test]
fn a_refusal_names_every_reason_in_a_directory() {
    refusals_name_every_reason(&filled(TestBucket::directory("pca")));
}

#[test]
fn a_refusal_names_every_reason_on_s3() {
    refusals_name_every_reason(&filled(TestBucket::s3("refuse")));
}

#[test]
fn hostile_submit_files_are_refused_and_do_no_harm() {
    let bucket = filled(TestBucket::directory("pca"));
    let good = json!({"dataname": "lab/inputs/a b.npy", "configname": "lab/configs/config.yaml", "timestamp": "good"});
    hand_in(&bucket, "good", &good);
    bucket.put("lab/submissions/deep_submit.json", "[".repeat(900_000));
    bucket.put("lab/submissions/large_submit.json", vec![b' '; 100 << 20]);
    bucket.put("lab/submissions/binary_submit.json", [0xff; 100]);
    bucket.put("lab/submissions/empty_submit.json", "");
    bucket.put("lab/submissions/array_submit.json", "[]");
    for (name, timestamp) in
        [("up", "../../../x"), ("slash", "a/b"), ("line", "a\nb"), ("long", &"x".repeat(300)), ("none", "")]
    {
        let mut submission = good.clone();
        submission["timestamp"] = timestamp.into();
        hand_in(&bucket, name, &submission);
    }
    bucket.put("lab/configs/bomb.yaml", format!("a: &a [{}]\n{}", "x, ".repeat(9), bomb()));
    hand_in(
        &bucket,
        "bomb",
        &json!({"dataname": "lab/inputs/a b.npy", "configname": "lab/configs/bomb.yaml", "timestamp": 1}),
    );
    hand_in(
        &bucket,
        "good",
        &json!({"dataname": "lab/inputs/a b.npy", "configname": "lab/configs/config.yaml", "timestamp": "good"}),
    );

    let ran = once(&bucket);
    assert_eq!(ran.status, 1);
    let records = ran.records();
    assert_eq!(records.len(), 12, "{}", ran.text());
    for record in records {
        let job = record.job.clone().unwrap();
        let expected = if job.id == "job__pca_good" { "" } else { "bad-submission" };
        assert_eq!(record.error_kind(), expected, "{}", job.id);
        assert!(!job.id.contains('/') && !job.id.contains('\n'), "{}", job.id);
    }
    let outside: Vec<String> =
        bucket.keys().into_iter().filter(|key| !key.starts_with("lab/") && !key.starts_with("other/")).collect();
    assert!(outside.iter().all(|key| key.starts_with(".ncaas")), "{outside:?}");
}

/// YAML whose aliases unfold to 9^9 values.
fn bomb() -> String {
    let line = |(above, name): (char, char)| format!("{name}: &{name} [{}]\n", vec![format!("*{above}"); 9].join(", "));
    ('a'..'j').zip('b'..'k').map(line).collect()
}

#[test]
fn another_bucket_is_reached_only_where_it_is_allowed() {
    let elsewhere = TestBucket::s3("elsewhere");
    elsewhere.put("x.npy", "x");
    elsewhere.put("c.yaml", "n: 1\n");
    let bucket = filled(TestBucket::directory("pca"));
    let path = |name: &str| format!("{}/{name}", elsewhere.address());
    let submission = json!({"dataname": path("x.npy"), "configname": path("c.yaml"), "timestamp": "1"});
    hand_in(&bucket, "1", &submission);
    let checked = |arguments: &[&str]| {
        submit_tool(&["check", &format!("{}/lab/submissions/1_submit.json", bucket.address())]).args(arguments).run()
    };
    let shut = checked(&[]);
    assert!(shut.record().error.unwrap().message.contains(&format!("--allow-bypass {}", elsewhere.analysis())));
    let open = checked(&["--allow-bypass", elsewhere.analysis()]).ok();
    assert_eq!(open.record().dataname.unwrap(), json!(path("x.npy")));
    hand_in(&bucket, "1", &json!({"dataname": path("no.npy"), "configname": path("c.yaml"), "timestamp": "1"}));
    checked(&["--allow-bypass", elsewhere.analysis()]).ended_saying(1, "there is nothing under the dataset's key");
}

#[test]
fn check_works_on_files_keys_and_records_alike() {
    let bucket = filled(TestBucket::directory("pca"));
    let good = json!({"dataname": "lab/inputs/folder/", "configname": "lab/configs/config.yaml", "timestamp": 1.50});
    let bad = json!({"dataname": "lab/inputs/no", "configname": "lab/configs/config.yaml", "timestamp": "2"});
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, submission: &Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, submission.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let place = format!("{}/lab", bucket.address());
    let checked = submit_tool(&["check", &file("good", &good), "--in", &place]).run().ok();
    assert_eq!(checked.record().job.unwrap().id, "job__pca_1.5");
    submit_tool(&["check", &file("bad", &bad), "--in", &place]).run().ended_saying(1, "there is nothing under");
    // Lying nowhere, only its form counts.
    submit_tool(&["check", &file("bad", &bad)]).run().ok();
    let lines = format!("{good}\n{bad}\n");
    let checked = submit_tool(&["check", "--in", &place]).stdin(lines).run();
    let mut kinds: Vec<Value> = checked.json().iter().map(|record| record["error"]["kind"].clone()).collect();
    // Records leave in the order in which they finish.
    kinds.sort_by_key(Value::is_string);
    assert_eq!((checked.status, kinds), (1, vec![Value::Null, "bad-submission".into()]));
    hand_in(&bucket, &unique("x"), &good);
    let handed_on = once(&bucket).ok();
    submit_tool(&["check"]).stdin(handed_on.stdout).run().ok();
    assert!(!bucket.keys().iter().any(|key| key.contains("end.txt")));
}

#[test]
fn init_makes_a_bucket_with_its_folders_and_a_queue() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = folder.path().join("pca");
    let init = ["init", bucket.to_str().unwrap(), "--group", "lab", "--group", "two"];
    submit_tool(&init).run().ok();
    submit_tool(&init).run().ok();
    for folder in ["lab/inputs", "lab/configs", "lab/submissions", "two/results"] {
        assert!(bucket.join(folder).is_dir(), "{folder}");
    }
    submit_tool(&["init", bucket.to_str().unwrap(), "--group", "a/b"]).run().ended_saying(2, "`a/b` is no group");
    let s3 = TestBucket::s3("init");
    let made = submit_tool(&["init", &s3.address(), "--group", "lab", "--queue"]).run().ok();
    assert!(made.json()[0]["queue"].as_str().unwrap().contains(&format!("ncaas-{}", s3.analysis())));
    assert!(s3.keys().contains(&"lab/submissions/".to_owned()));
}
