//! The watch: each submission once, however many watchers there are and however they end.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::{Run, wait_until};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);

/// A watch whose records are read as they come.
struct Watching {
    child: Child,
    records: Arc<Mutex<Vec<Value>>>,
}

impl Watching {
    fn start(bucket: &TestBucket, arguments: &[&str]) -> Self {
        Watching::start_with(bucket, arguments, |_| {})
    }

    /// Hands each record to `stage`, as the next stage of a pipe would have it.
    fn start_with(bucket: &TestBucket, arguments: &[&str], stage: impl Fn(&Value) + Send + 'static) -> Self {
        let mut command = Run::tool("ncaas-submit").args(["watch", &bucket.address()]).args(arguments).into_command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let records = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let into = Arc::clone(&records);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // A killed process can leave half a line.
                let Ok(record) = serde_json::from_str(&line) else { return };
                stage(&record);
                into.lock().unwrap().push(record);
            }
        });
        Watching { child, records }
    }

    fn ids(&self) -> Vec<String> {
        let records = self.records.lock().unwrap();
        records.iter().map(|record| record["job"]["id"].as_str().unwrap().to_owned()).collect()
    }

    fn wait_for(&self, id: &str) {
        wait_until(&format!("{id} among {:?}", self.ids()), SOON, || self.ids().iter().any(|of| of == id));
    }

    fn signal(&self, signal: &str) {
        let sent = std::process::Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Ends it, and gives its stderr.
    fn end(mut self) -> String {
        self.signal("-TERM");
        let mut stderr = String::new();
        std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut stderr).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(143), "{stderr}");
        stderr
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn filled(bucket: TestBucket) -> TestBucket {
    bucket.put("lab/inputs/x.npy", "x");
    bucket.put("lab/configs/c.yaml", "n: 1\n");
    bucket
}

fn submission(timestamp: &str) -> String {
    json!({"dataname": "lab/inputs/x.npy", "configname": "lab/configs/c.yaml", "timestamp": timestamp}).to_string()
}

fn hand_in(bucket: &TestBucket, timestamp: &str) -> String {
    bucket.put(&format!("lab/submissions/{timestamp}_submit.json"), submission(timestamp));
    format!("job__{}_{timestamp}", bucket.analysis())
}

fn end_job(bucket: &TestBucket, id: &str) {
    bucket.put(&format!("lab/results/{id}/process_results/end.txt"), "end of analysis\n");
}

fn each_once(bucket: &TestBucket, arguments: &[&str]) {
    let before = hand_in(bucket, "before");
    let first = Watching::start(bucket, arguments);
    first.wait_for(&before);
    let second = Watching::start(bucket, arguments);
    let ids: Vec<String> = (0..10).map(|n| hand_in(bucket, &format!("z{n}"))).collect();
    // A name that sorts before all others is found as well.
    let early = hand_in(bucket, "a");
    let all = || [first.ids(), second.ids()].concat();
    wait_until("all to be handed on", SOON, || all().len() >= 12);
    let mut handed_on = all();
    handed_on.sort();
    let mut expected: Vec<String> = ids.into_iter().chain([before, early]).collect();
    expected.sort();
    assert_eq!(handed_on, expected);
    first.end();
    second.end();
}

#[test]
fn each_submission_to_a_directory_is_handed_on_by_one_watcher() {
    each_once(&filled(TestBucket::directory("pca")), &[]);
}

#[test]
fn each_submission_to_s3_is_handed_on_by_one_watcher() {
    each_once(&filled(TestBucket::s3("each")), &["--poll", "200ms"]);
}

#[test]
fn each_submission_that_a_queue_tells_of_is_handed_on_by_one_watcher() {
    let bucket = filled(TestBucket::s3("queue"));
    // Polled once an hour: what comes, comes by the queue.
    each_once(&bucket, &["--notify", "--poll", "1h"]);
    let watching = Watching::start(&bucket, &["--notify", "--poll", "1h"]);
    // When something that was there before is handed on, what comes from then on is told of by the queue.
    watching.wait_for(&hand_in(&bucket, "there before"));
    let told = hand_in(&bucket, "told of");
    watching.wait_for(&told);
    let records = watching.records.lock().unwrap();
    let record = records.iter().find(|record| record["job"]["id"] == told.as_str()).unwrap();
    let noticed = record["setup"][0]["event"].as_str().unwrap();
    assert_eq!(noticed, "noticed `lab/submissions/told of_submit.json` (told of by the queue)");
}

#[test]
fn what_a_dead_watcher_left_undone_is_taken_up_by_another() {
    let bucket = filled(TestBucket::directory("pca"));
    let done = hand_in(&bucket, "done");
    let undone = hand_in(&bucket, "undone");
    let first = Watching::start(&bucket, &[]);
    first.wait_for(&done);
    first.wait_for(&undone);
    let second = Watching::start(&bucket, &[]);
    let seen = hand_in(&bucket, "seen by both");
    wait_until("the third", SOON, || first.ids().len() + second.ids().len() == 3);
    end_job(&bucket, &done);
    first.signal("-KILL");
    second.wait_for(&undone);
    second.wait_for(&seen);
    assert!(!second.ids().contains(&done));
    let records = second.records.lock().unwrap();
    let record = records.iter().find(|record| record["job"]["id"] == undone.as_str()).unwrap();
    assert!(record["setup"].to_string().contains("had ended"), "{record}");
}

#[test]
fn what_is_done_or_in_hand_is_not_handed_on_again() {
    let bucket = filled(TestBucket::directory("pca"));
    let old = hand_in(&bucket, "run elsewhere");
    end_job(&bucket, &old);
    let id = hand_in(&bucket, "1");
    let watching = Watching::start(&bucket, &[]);
    watching.wait_for(&id);
    // Written anew with the same content, and told of once more.
    hand_in(&bucket, "1");
    let next = hand_in(&bucket, "2");
    watching.wait_for(&next);
    assert_eq!(watching.ids(), [id, next]);
}

#[test]
fn once_holds_what_it_handed_on_for_as_long_as_it_is_told() {
    let bucket = filled(TestBucket::directory("pca"));
    let once =
        |hold: &str| Run::tool("ncaas-submit").args(["watch", &bucket.address(), "--once", "--hold", hold]).run();
    hand_in(&bucket, "1");
    assert_eq!(once("0s").ok().records().len(), 1);
    assert_eq!(once("1h").ok().records().len(), 1, "nothing held it");
    let left = once("1h").ended_saying(0, "left 1 submission(s) to the watchers that have claimed them");
    assert_eq!(left.text(), "", "the one before holds it");
    let target = format!("{}/lab", bucket.address());
    Run::tool("ncaas-submit").args(["retry", &target, "1", "--force"]).run().ok();
    assert_eq!(once("1h").ok().records().len(), 1, "it was taken away from that one");
}

#[test]
fn two_submissions_of_one_timestamp_do_not_share_a_folder() {
    let bucket = filled(TestBucket::directory("pca"));
    bucket.put("lab/submissions/a_submit.json", submission("1"));
    bucket.put("lab/submissions/b_submit.json", submission("1"));
    let ran = Run::tool("ncaas-submit").args(["watch", &bucket.address(), "--once"]).run();
    let mut records = ran.records();
    records.sort_by_key(|record| record.error.is_some());
    assert_eq!(records.len(), 2);
    let ids: Vec<String> = records.iter().map(|record| record.job.clone().unwrap().id).collect();
    assert_eq!(ids[0], "job__pca_1");
    assert_ne!(ids[1], ids[0]);
    assert!(records[1].error.as_ref().unwrap().message.contains("`timestamp` is that of another submission"));
}

#[test]
fn a_submit_file_that_is_still_being_written_is_not_read_half() {
    use std::io::Write;
    let bucket = filled(TestBucket::directory("pca"));
    let content = submission("slow");
    let (start, rest) = content.split_at(content.len() / 2);
    let path = std::path::PathBuf::from(bucket.address()).join("lab/submissions/slow_submit.json");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(start.as_bytes()).unwrap();
    // Old enough not to be taken for one that was written just now; what counts is that it is open.
    file.set_modified(std::time::SystemTime::now() - Duration::from_secs(60)).unwrap();
    let watching = Watching::start(&bucket, &[]);
    let other = hand_in(&bucket, "other");
    watching.wait_for(&other);
    file.write_all(rest.as_bytes()).unwrap();
    drop(file);
    watching.wait_for("job__pca_slow");
    assert!(watching.records.lock().unwrap().iter().all(|record| record["error"].is_null()));
}

#[test]
fn new_groups_and_folders_are_found() {
    let bucket = filled(TestBucket::directory("pca"));
    let watching = Watching::start(&bucket, &[]);
    watching.wait_for(&hand_in(&bucket, "1"));
    bucket.put("new/inputs/x.npy", "x");
    bucket.put("new/configs/c.yaml", "n: 1\n");
    bucket.put("new/submissions/2024/submit.json", submission("2").replace("lab/", "new/"));
    watching.wait_for("job__pca_2");
    let only = Watching::start(&bucket, &["--group", "new"]);
    let theirs = hand_in(&bucket, "3");
    watching.wait_for(&theirs);
    assert!(only.ids().is_empty());
}

#[test]
fn a_watch_goes_on_when_its_bucket_has_been_away() {
    let bucket = filled(TestBucket::directory("pca"));
    let root = std::path::PathBuf::from(bucket.address());
    let away = root.with_file_name("away");
    let watching = Watching::start(&bucket, &[]);
    watching.wait_for(&hand_in(&bucket, "1"));
    std::fs::rename(&root, &away).unwrap();
    std::fs::write(away.join("lab/submissions/2_submit.json"), submission("2")).unwrap();
    // Gone for as long as it takes the watch to notice, at its next listing.
    std::thread::sleep(Duration::from_secs(3));
    std::fs::rename(&away, &root).unwrap();
    let missed = || watching.ids().contains(&"job__pca_2".to_owned());
    wait_until("what came meanwhile", Duration::from_secs(60), missed);
}

#[test]
fn a_watch_ends_quietly_when_nobody_reads_it_any_more() {
    let bucket = filled(TestBucket::directory("pca"));
    let mut command = Run::tool("ncaas-submit").args(["watch", &bucket.address()]).into_command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn a_bucket_that_is_not_there_is_said_at_once() {
    Run::tool("ncaas-submit").args(["watch", "/nowhere/pca"]).run().ended_saying(1, "there is no such directory");
    Run::tool("ncaas-submit").args(["watch", "s3://no-such-bucket-here"]).run().ended_saying(1, "no such bucket");
    Run::tool("ncaas-submit")
        .args(["watch", "s3://any"])
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        .run()
        .ended_saying(3, "connection refused");
}

/// How far each job has come.
#[derive(Default)]
struct Jobs {
    /// Who was handed each job, in order.
    handed_on: HashMap<String, Vec<usize>>,
    /// How often each was run to its end.
    ended: HashMap<String, usize>,
    /// Pipes that have been killed: what they had at work never ends.
    dead: Vec<usize>,
}

/// Watchers, each with a pipe behind it that runs a job in some milliseconds, killed one after the other with what is
/// behind them, and replaced.
fn watchers_are_killed(
    bucket: &Arc<TestBucket>,
    watchers: usize,
    submissions: usize,
    kills: usize,
    arguments: &[&str],
) {
    let jobs = Arc::new(Mutex::new(Jobs::default()));
    let start = |number: usize| {
        let (jobs, bucket) = (Arc::clone(&jobs), Arc::clone(bucket));
        Watching::start_with(&Arc::clone(&bucket), arguments, move |record| {
            let id = record["job"]["id"].as_str().unwrap().to_owned();
            jobs.lock().unwrap().handed_on.entry(id.clone()).or_default().push(number);
            std::thread::sleep(Duration::from_millis(5));
            let mut jobs = jobs.lock().unwrap();
            if !jobs.dead.contains(&number) {
                *jobs.ended.entry(id.clone()).or_default() += 1;
                end_job(&bucket, &id);
            }
        })
    };
    let mut running: Vec<(usize, Watching)> = (0..watchers).map(|number| (number, start(number))).collect();
    let each = submissions / kills;
    for n in 0..submissions {
        hand_in(bucket, &format!("{n:04}"));
        if n % each == each - 1 {
            let number = watchers + n / each;
            // Any order will do, but the same in every run.
            let victim = &mut running[number * 7 % watchers];
            let (dead, mut dying) = std::mem::replace(victim, (number, start(number)));
            let mut jobs = jobs.lock().unwrap();
            dying.child.kill().unwrap();
            jobs.dead.push(dead);
        }
    }
    let all_ended = || jobs.lock().unwrap().ended.len() == submissions;
    wait_until("every job's end", Duration::from_secs(90), all_ended);
    let jobs = jobs.lock().unwrap();
    assert!(jobs.ended.values().all(|&times| times == 1), "none runs twice to its end");
    // In whatever order their readers come to run: all but one of those that were handed a job have been killed.
    for (id, by) in &jobs.handed_on {
        let alive = by.iter().filter(|number| !jobs.dead.contains(number)).count();
        assert!(alive <= 1, "{id} was handed on by {by:?}, dead: {:?}", jobs.dead);
    }
}

#[test]
fn none_is_lost_and_none_runs_twice_whichever_watchers_of_a_directory_are_killed() {
    watchers_are_killed(&Arc::new(filled(TestBucket::directory("pca"))), 10, 500, 20, &[]);
}

#[test]
fn none_is_lost_and_none_runs_twice_whichever_watchers_of_s3_are_killed() {
    watchers_are_killed(&Arc::new(filled(TestBucket::s3("killed"))), 4, 60, 5, &["--poll", "200ms"]);
}

/// Puts into the bucket what a watcher on another machine would have left there.
fn claimed_elsewhere(bucket: &TestBucket, id: &str, timestamp: &str, expires_at: &str) {
    let watcher = json!({"id": "0123456789abcdef", "owner": "elsewhere:1", "expires_at": expires_at, "holds": false,
        "process": {"machine": "elsewhere", "pid": 1, "started": 1}});
    bucket.put(".ncaas/watchers/0123456789abcdef.json", watcher.to_string());
    let claim = json!({"submission": format!("lab/submissions/{timestamp}_submit.json"), "watcher": "0123456789abcdef",
        "owner": "elsewhere:1", "claimed_at": "2026-11-22T10:24:55Z"});
    bucket.put(&format!("lab/results/{id}/claim.json"), claim.to_string());
}

#[test]
fn another_machines_claim_holds_while_that_machine_says_that_it_lives() {
    let bucket = filled(TestBucket::directory("pca"));
    let once = || Run::tool("ncaas-submit").args(["watch", &bucket.address(), "--once"]).run().records().len();
    let id = hand_in(&bucket, "1");
    claimed_elsewhere(&bucket, &id, "1", "2999-01-01T00:00:00Z");
    assert_eq!(once(), 0, "it lives");
    claimed_elsewhere(&bucket, &id, "1", "2020-01-01T00:00:00Z");
    assert_eq!(once(), 1, "it has been dead for long");
}

#[test]
fn a_watcher_of_another_machine_that_falls_silent_is_replaced_within_a_minute() {
    let bucket = filled(TestBucket::directory("pca"));
    let id = hand_in(&bucket, "1");
    // By its own clock it lives for ever; what counts is that it says nothing any more.
    claimed_elsewhere(&bucket, &id, "1", "2999-01-01T00:00:00Z");
    let watching = Watching::start(&bucket, &[]);
    wait_until("its replacement", Duration::from_secs(60), || watching.ids() == [id.clone()]);
}
