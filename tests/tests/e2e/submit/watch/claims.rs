//! `ncaas-submit watch`: each submission is emitted by one watcher, however many watchers run and are killed.

use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::submissions::{put_end_file, submit_one_dataset, with_inputs};
use ncaas_tests::watch_process::{SOON, WatchProcess};
use ncaas_tests::{Run, tools, wait_until};
use serde_json::{Value, json};

fn each_once(bucket: &TestBucket, arguments: &[&str]) {
    let before = submit_one_dataset(bucket, "before");
    let first = WatchProcess::start(bucket, arguments);
    first.wait_for(&before);
    let second = WatchProcess::start(bucket, arguments);
    let ids: Vec<String> = (0..10).map(|n| submit_one_dataset(bucket, &format!("z{n}"))).collect();
    // A name that sorts before all others is found as well.
    let early = submit_one_dataset(bucket, "a");
    let all = || [first.ids(), second.ids()].concat();
    wait_until("all to be emitted", SOON, || all().len() >= 12);
    let mut handed_on = all();
    handed_on.sort();
    let mut expected: Vec<String> = ids.into_iter().chain([before, early]).collect();
    expected.sort();
    assert_eq!(handed_on, expected);
    first.end();
    second.end();
}

#[test]
fn one_watcher_claims_each_submission_in_a_directory() {
    each_once(&with_inputs(TestBucket::directory("pca")), &[]);
}

#[test]
fn one_watcher_claims_each_submission_on_s3() {
    each_once(&with_inputs(TestBucket::s3("each")), &["--poll", "200ms"]);
}

#[test]
fn one_watcher_claims_each_submission_announced_by_a_queue() {
    let bucket = with_inputs(TestBucket::s3("queue"));
    // Polled once an hour: what comes, comes by the queue.
    each_once(&bucket, &["--notify", "--poll", "1h"]);
    let watching = WatchProcess::start(&bucket, &["--notify", "--poll", "1h"]);
    // When an earlier submission is emitted, the queue reports those that come later.
    watching.wait_for(&submit_one_dataset(&bucket, "there before"));
    let told = submit_one_dataset(&bucket, "told of");
    watching.wait_for(&told);
    let records = watching.records.lock().unwrap();
    let record = records.iter().find(|record| record["job"]["id"] == told.as_str()).unwrap();
    let noticed = record["setup"][0]["event"].as_str().unwrap();
    assert_eq!(noticed, "noticed `lab/submissions/told of_submit.json` (notified by the queue)");
}

#[test]
fn another_watcher_takes_over_unfinished_jobs_of_a_dead_watcher() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let done = submit_one_dataset(&bucket, "done");
    let undone = submit_one_dataset(&bucket, "undone");
    let first = WatchProcess::start(&bucket, &[]);
    first.wait_for(&done);
    first.wait_for(&undone);
    let second = WatchProcess::start(&bucket, &[]);
    let seen = submit_one_dataset(&bucket, "seen by both");
    wait_until("the third", SOON, || first.ids().len() + second.ids().len() == 3);
    put_end_file(&bucket, &done);
    first.signal("-KILL");
    second.wait_for(&undone);
    second.wait_for(&seen);
    assert!(!second.ids().contains(&done));
    let records = second.records.lock().unwrap();
    let record = records.iter().find(|record| record["job"]["id"] == undone.as_str()).unwrap();
    assert!(record["setup"].to_string().contains("` after `"), "{record}");
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
        WatchProcess::start_with(&Arc::clone(&bucket), arguments, move |record| {
            let id = record["job"]["id"].as_str().unwrap().to_owned();
            jobs.lock().unwrap().handed_on.entry(id.clone()).or_default().push(number);
            std::thread::sleep(Duration::from_millis(5));
            let mut jobs = jobs.lock().unwrap();
            if !jobs.dead.contains(&number) {
                *jobs.ended.entry(id.clone()).or_default() += 1;
                put_end_file(&bucket, &id);
            }
        })
    };
    let mut running: Vec<(usize, WatchProcess)> = (0..watchers).map(|number| (number, start(number))).collect();
    let each = submissions / kills;
    for n in 0..submissions {
        submit_one_dataset(bucket, &format!("{n:04}"));
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
        assert!(alive <= 1, "{id} was emitted by {by:?}, dead: {:?}", jobs.dead);
    }
}

#[test]
fn killing_watchers_of_a_directory_loses_no_job_and_runs_none_twice() {
    watchers_are_killed(&Arc::new(with_inputs(TestBucket::directory("pca"))), 10, 500, 20, &[]);
}

#[test]
fn killing_watchers_of_s3_loses_no_job_and_runs_none_twice() {
    watchers_are_killed(&Arc::new(with_inputs(TestBucket::s3("killed"))), 4, 60, 5, &["--poll", "200ms"]);
}

/// Writes the heartbeat of a watcher on another machine.
fn write_heartbeat(bucket: &TestBucket, beat: u64) {
    let heartbeat = json!({"id": "0123456789abcdef", "owner": "elsewhere:1", "host": "elsewhere", "beat": beat,
        "process": {"machine": "elsewhere", "pid": 1, "started": 1}});
    bucket.put(".ncaas/watchers/0123456789abcdef.json", heartbeat.to_string());
}

/// Writes the heartbeat and the claim of a watcher on another machine.
fn claim_elsewhere(bucket: &TestBucket, id: &str, timestamp: &str) {
    write_heartbeat(bucket, 1);
    let claim = json!({"submission": format!("lab/submissions/{timestamp}_submit.json"), "watcher": "0123456789abcdef",
        "owner": "elsewhere:1", "claimed_at": "2026-11-22T10:24:55Z", "number": 3});
    bucket.put(&format!("lab/results/{id}/claim.json"), claim.to_string());
}

fn claim_holds_while_heartbeat_changes(bucket: TestBucket) {
    let bucket = Arc::new(with_inputs(bucket));
    let once = || Run::tool("ncaas-submit").args(["watch", &bucket.address(), "--once"]).run().records();
    let id = submit_one_dataset(&bucket, "1");
    claim_elsewhere(&bucket, &id, "1");
    std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let beating = Arc::clone(&bucket);
        scope.spawn(move || {
            let mut beat = 1;
            while stopped.recv_timeout(Duration::from_secs(2)).is_err() {
                beat += 1;
                write_heartbeat(&beating, beat);
            }
        });
        assert_eq!(once().len(), 0, "it lives");
        stop.send(()).unwrap();
    });
    let records = once();
    assert_eq!(records.len(), 1, "its heartbeat has stopped");
    assert_eq!(records[0].job.as_ref().unwrap().claim.as_ref().unwrap().number, 4);
}

#[test]
fn a_claim_in_a_directory_holds_while_its_watchers_heartbeat_changes() {
    claim_holds_while_heartbeat_changes(TestBucket::directory("pca"));
}

#[test]
fn a_claim_on_s3_holds_while_its_watchers_heartbeat_changes() {
    claim_holds_while_heartbeat_changes(TestBucket::s3("beat"));
}

#[test]
fn a_watcher_on_another_machine_without_heartbeat_is_replaced_within_a_minute() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let id = submit_one_dataset(&bucket, "1");
    claim_elsewhere(&bucket, &id, "1");
    let watching = WatchProcess::start(&bucket, &[]);
    wait_until("its replacement", Duration::from_secs(60), || watching.ids() == [id.clone()]);
}

fn stopped_watcher_holds_claims(bucket: TestBucket) {
    let bucket = with_inputs(bucket);
    let first = WatchProcess::start(&bucket, &["--poll", "200ms", "--hold", "20s"]);
    let id = submit_one_dataset(&bucket, "1");
    first.wait_for(&id);
    let stderr = first.end();
    assert!(stderr.contains(&format!("the claim on `{id}` is kept for 20 s")), "{stderr}");
    // The same watcher, as another machine sees it.
    let key = bucket.keys().into_iter().find(|key| key.starts_with(".ncaas/watchers/")).unwrap();
    let mut heartbeat: Value = serde_json::from_str(&bucket.text(&key)).unwrap();
    assert_eq!((&heartbeat["hold_s"], &heartbeat["resumable"]), (&json!(20), &json!(true)));
    heartbeat["host"] = "elsewhere".into();
    heartbeat["process"]["machine"] = "elsewhere".into();
    bucket.put(&key, heartbeat.to_string());
    let held = std::time::Instant::now();
    let second = WatchProcess::start(&bucket, &["--poll", "200ms"]);
    second.wait_for_within(&id, Duration::from_secs(60));
    assert!(held.elapsed() > Duration::from_secs(15), "the claim was held");
    // On the same host the next watcher continues at once.
    second.end();
    let third = WatchProcess::start(&bucket, &["--poll", "200ms"]);
    third.wait_for_within(&id, Duration::from_secs(10));
    let records = third.records.lock().unwrap();
    assert_eq!(records[0]["job"]["claim"]["number"], json!(3));
    assert!(records[0]["job"]["attempt"].is_null());
}

#[test]
fn a_watcher_that_stops_holds_its_claims_in_a_directory_for_a_time() {
    stopped_watcher_holds_claims(TestBucket::directory("pca"));
}

#[test]
fn a_watcher_that_stops_holds_its_claims_on_s3_for_a_time() {
    stopped_watcher_holds_claims(TestBucket::s3("hold"));
}

#[test]
fn a_script_that_starts_its_killed_pipe_of_watch_once_again_continues_at_once() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let id = submit_one_dataset(&bucket, "1");
    let watch = format!("'{}'/ncaas-submit watch '{}' --once", tools().display(), bucket.address());
    // Without job control, both pipes and the script are one process group.
    let killed = "(read -r record; kill -KILL $BASHPID)";
    let script = format!("{watch} | {killed}; sleep 600 </dev/null >/dev/null & {watch}; kill $!");
    let ran = Command::new("bash").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
    let records = String::from_utf8(ran.stdout).unwrap();
    assert!(records.contains(&id), "{records}{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn an_interrupted_pipe_of_watch_once_continues_at_once_on_the_same_machine() {
    let bucket = with_inputs(TestBucket::directory("pca"));
    let id = submit_one_dataset(&bucket, "1");
    let script =
        format!("'{}'/ncaas-submit watch '{}' --once | (cat; exec sleep 600)", tools().display(), bucket.address());
    // A shell starts each pipe as a separate process group.
    let mut pipe = Command::new("bash");
    pipe.args(["-c", &script]).process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut pipe = pipe.spawn().unwrap();
    let watchers = || bucket.keys().into_iter().filter(|key| key.starts_with(".ncaas/watchers/"));
    let has_stopped = || watchers().any(|key| bucket.text(&key).contains(r#""hold_s":3600"#));
    wait_until("the watch has ended", SOON, has_stopped);

    let once = || Run::tool("ncaas-submit").args(["watch", &bucket.address(), "--once"]).run();
    assert_eq!(once().json().len(), 0, "a later stage of the pipe works on the record");
    let interrupted = Command::new("kill").args(["-INT", "--", &format!("-{}", pipe.id())]).status().unwrap();
    assert!(interrupted.success());
    pipe.wait().unwrap();
    let records = once().json();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["job"]["id"], id.as_str());
}
