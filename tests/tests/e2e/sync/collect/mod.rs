//! `ncaas-sync collect`: files that a job wrote anywhere in its container become its results, complete and once.

mod hostile;
mod left_out;
mod many;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use ncaas_tests::bucket::files_below;
use ncaas_tests::ended_job::{EndedJob, HOME, result_paths};
use ncaas_tests::engine::{FIXTURE, docker};
use ncaas_tests::sync::ncaas_sync;
use ncaas_tests::tcp_engine::tcp_engine;
use ncaas_tests::workspace::Workspace;
use ncaas_tests::{Run, pipe_in};
use serde_json::Value;

#[test]
fn files_written_anywhere_in_the_container_are_collected_with_their_attributes() {
    let job = EndedJob::after(
        r#"
        echo mounted > io-dir/results/r.txt; mkdir -p io-dir/results/d/empty; echo log > io-dir/logs/own.log
        mkdir -p out/deep out/empty; echo a > out/a; ln out/a out/hard; ln -s a out/link; ln -s "$HOME/io-dir/results/r.txt" out/absolute
        echo x > out/run.sh; chmod 750 out/run.sh; touch -d '2020-01-02 03:04:05' out/a
        mkdir -p out/__pycache__ .cache /tmp/t; echo n > out/__pycache__/x.pyc; echo n > .cache/x; echo n > /tmp/t/x; echo n > .bash_history
        echo v > /var/outside.txt 2>/dev/null || echo v > /mnt/outside.txt
        "#,
        &["--user", "0:0"],
    );
    let advice = "(`ncaas-sync collect --all` in the pipe collects such files before `ncaas-exec rm` discards them)";
    let temporary = format!("ncaas-sync: `a.npy`: 1 file under `/tmp` left out {advice}\n");
    let record = job.collect(&[]).ended(0, &temporary).record();
    assert_eq!(record.warnings.as_ref().map(Vec::len), Some(1), "caches are no results: {:?}", record.warnings);
    let mut expected = vec![
        "d/empty/",
        "out/a",
        "out/absolute",
        "out/deep/",
        "out/empty/",
        "out/hard",
        "out/link",
        "out/run.sh",
        "r.txt",
    ];
    let outside =
        result_paths(&record).into_iter().find(|path| path.starts_with("outside/")).expect("the file elsewhere");
    expected.push(&outside);
    let own_log = format!("results/{}/logs/a.npy/own.log", job.id);
    expected.push(&own_log);
    expected.sort_unstable();
    let mut found = result_paths(&record);
    found.sort();
    assert_eq!(found, expected);
    let at = |path: &str| job.results().join(path);
    let (a, hard) = (fs::metadata(at("out/a")).unwrap(), fs::metadata(at("out/hard")).unwrap());
    assert_eq!(a.ino(), hard.ino(), "a hard link stays one");
    assert_eq!(a.mtime(), 1_577_934_245);
    assert_eq!(fs::read_link(at("out/link")).unwrap(), Path::new("a"));
    assert_eq!(
        fs::read_link(at("out/absolute")).unwrap(),
        Path::new("../r.txt"),
        "a link leads to the file's new place"
    );
    assert_eq!(fs::metadata(at("out/run.sh")).unwrap().permissions().mode() & 0o777, 0o750);
    let sha = |path: &str| {
        let results = record.results.clone().unwrap();
        results.into_iter().find(|result| result.path.ends_with(path)).unwrap().sha256.unwrap()
    };
    assert_eq!(sha("out/a"), "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7");
    assert_eq!(files_below(&job.work_root()), [""; 0], "nothing is left behind");
    let again = job.collect(&[]).ok().record();
    assert_eq!(result_paths(&again), result_paths(&record), "what is collected is not collected again");
}

#[test]
fn results_of_a_failed_job_are_kept_and_marked_partial() {
    let job = EndedJob::after("echo half > io-dir/results/half; exit 3", &[]);
    let record = job.collect(&["--expect", "*.npy"]).ended_saying(1, "` left 1 result, 5 B in ").record();
    assert_eq!(record.error_kind(), "");
    assert!(record.results.unwrap()[0].partial);
}

#[test]
fn a_successful_job_without_its_expected_results_is_an_error() {
    let job = EndedJob::after("echo x > io-dir/results/x.txt", &["--label", "org.neurocaas.expect=*.npy"]);
    let ran = job.collect(&[]).ended_saying(1, "the job exited with 0 and has 1 result, but none matches `*.npy`");
    let record = ran.record();
    assert_eq!(record.error_kind(), "results-missing");
    assert_eq!(result_paths(&record), ["x.txt"], "what it has made is kept");
    let certificate = fs::read_to_string(job.folder().join("logs/certificate.txt")).unwrap();
    assert!(certificate.contains("has 1 result, but none matches `*.npy`"), "{certificate}");
    job.collect(&["--expect", "*.txt"]).ok();
}

#[test]
fn a_job_whose_results_cannot_be_collected_is_shown_as_failed_everywhere() {
    let workspace = Workspace::new();
    workspace.write("x.npy", "1");
    let started = workspace.start(&["--data", "x.npy"], &["sh", "-c", "echo x > io-dir/results/x.txt"]);
    let tool = |name: &str, arguments: &[&str], record: Vec<u8>| {
        Run::tool(name).args(arguments).dir(workspace.path()).stdin(record).run()
    };
    let saved = tool("ncaas-logs", &["save", "--quiet"], started).ok();
    let job = saved.record().job.unwrap().id;
    let logs = workspace.path().join("io-dir/results").join(job).join("logs");
    let read = |name: &str| fs::read_to_string(logs.join(name)).unwrap();
    assert!(read("certificate.txt").contains("STATUS: SUCCESS"));
    let collected = tool("ncaas-sync", &["collect", "--expect", "*.npy"], saved.stdout);
    assert_eq!(collected.record().error_kind(), "results-missing");
    assert!(read("certificate.txt").contains("STATUS: FAILED"), "{}", read("certificate.txt"));
    let status: Value = serde_json::from_str(&read("DATASET_NAME:x.npy_STATUS.txt")).unwrap();
    assert_eq!(status["status"], "FAILED");
    let record: Value = serde_json::from_str(&read("x.npy.record.json")).unwrap();
    assert_eq!(record["error"]["kind"], "results-missing");
}

#[test]
fn image_volumes_are_collected_and_tmpfs_gives_a_warning() {
    let job = EndedJob::after(
        "echo v > vol/v.txt; echo t > mem/t.txt",
        &["--user", "0:0", "-v", "/home/neurocaasdev/vol", "--tmpfs", "/home/neurocaasdev/mem"],
    );
    let diff = ncaas_sync(&job.home, &["diff", &job.container, "--size"]).run().ok().json();
    let unseen: Vec<String> = diff
        .iter()
        .filter(|line| line["change"] == "unseen")
        .map(|line| format!("{} {} {}", line["path"], line["kind"], line["size"]).replace('"', ""))
        .collect();
    assert_eq!(
        unseen,
        [
            format!("{HOME}/io-dir/logs bind 0"),
            format!("{HOME}/io-dir/results bind 0"),
            format!("{HOME}/mem tmpfs null"),
            format!("{HOME}/vol volume 2"),
        ]
    );
    let record = job.collect(&[]).ok().record();
    assert_eq!(result_paths(&record), ["vol/v.txt"]);
    assert!(record.warnings.unwrap()[0].contains("`/home/neurocaasdev/mem` was in memory"));
}

#[test]
fn the_outcome_of_a_job_has_its_results_or_the_reason_why_there_are_none() {
    let outcome_after = |script: &str, is_reported: bool| {
        let job = EndedJob::after(script, &[]);
        let mut record = job.record();
        record["outcome_reported"] = if is_reported { true.into() } else { Value::Null };
        record["dataname"] = "/data/a.npy".into();
        record["container"]["started_at"] = "2026-11-22T10:00:00Z".into();
        let ran = ncaas_sync(&job.home, &["collect"]).dir(job.home.path()).stdin(record.to_string()).run();
        assert_eq!(ran.record().outcome_reported, Some(true));
        ran.stderr.replace(&job.id, "ID")
    };
    let outcome = |script: &str| outcome_after(script, false);
    let line = |end: &str| format!("ncaas-sync: a.npy {end}\n");
    let results = line("succeeded: 1 result, 2 B in io-dir/results/ID/process_results");
    assert_eq!(outcome("echo x >io-dir/results/x"), results);
    assert_eq!(outcome("true"), line("succeeded, but wrote no file that could be found"));
    let left_out = "succeeded, but has no results: 1 file under `/tmp` left out (`--all` collects them)";
    assert_eq!(outcome("echo x >/tmp/x"), line(left_out));
    let fails = "echo x >io-dir/results/x; exit 3";
    let folder = "1 result, 2 B in io-dir/results/ID/process_results";
    let failed = outcome(fails);
    assert!(failed.starts_with("ncaas-sync: a.npy failed (exit 3)"), "{failed}");
    assert!(failed.ends_with(&format!("; {folder}\n")), "{failed}");
    assert_eq!(outcome_after(fails, true), format!("ncaas-sync: `a.npy` left {folder}\n"));
    assert_eq!(outcome_after("exit 3", true), "", "the end is not reported twice");
}

#[test]
fn more_files_are_collected_from_a_named_container_and_earlier_results_stay() {
    let workspace = Workspace::new();
    let write = "echo m >io-dir/results/mounted; echo l >layer; mkdir /tmp/out; echo t >/tmp/out/left";
    let started = workspace.start(&[], &["sh", "-c", write]);
    let ended = workspace.exec(&["wait", "-q"]).stdin(started).run().ok().stdout;
    let collect = |arguments: &[&str], stdin: Vec<u8>| {
        let run = Run::tool("ncaas-sync").arg("collect").args(arguments).dir(workspace.path()).stdin(stdin).run();
        let mut paths = result_paths(&run.ok().record());
        paths.sort();
        paths
    };
    let name = serde_json::from_slice::<Value>(&ended).unwrap()["container"]["name"].as_str().unwrap().to_owned();
    assert_eq!(collect(&["--quiet"], ended.clone()), ["layer", "mounted"]);
    let all = ["layer", "mounted", "outside/tmp/out/left"];
    for attempt in ["first", "again"] {
        assert_eq!(collect(&[&name, "--all"], Vec::new()), all, "{attempt}");
    }
    assert_eq!(collect(&["--quiet"], ended.clone()), all, "a pipe that runs again keeps them");
    let results = workspace.path().join("io-dir/results").join(&workspace.job_folders()[0]).join("process_results");
    for (path, content) in [("mounted", "m\n"), ("layer", "l\n"), ("outside/tmp/out/left", "t\n")] {
        assert_eq!(fs::read_to_string(results.join(path)).unwrap(), content, "{path}");
    }
}

#[test]
fn results_keep_within_the_umask_of_the_user() {
    let job = EndedJob::after(
        "umask 0; echo x > io-dir/results/a; mkdir out; echo x > out/b; chmod 4777 out/b; mkdir -p io-dir/results/process_results; echo x > io-dir/results/process_results/put",
        &[],
    );
    let record = ncaas_sync(&job.home, &["collect"]).stdin(job.record().to_string()).run().ok().record();
    assert_eq!(result_paths(&record), ["a", "out/b", "put"]);
    for path in ["a", "out/b", "put"] {
        let mode = fs::metadata(job.results().join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode & 0o7022, 0, "{path} has mode {mode:o}");
    }
}

#[test]
fn jobs_that_are_still_running_at_the_end_of_the_input_are_reported() {
    let job = EndedJob::after("echo x > io-dir/results/x", &[]);
    let mut running = job.record();
    running["container"]["state"] = "running".into();
    running["container"]["status"] = serde_json::Value::Null;
    let collect = |input: String| ncaas_sync(&job.home, &["collect"]).stdin(input).run();
    let message = "1 job was still running at the end of the input and was not collected; put `ncaas-logs save` before";
    let advice = "| ncaas-sync collect | ncaas-exec rm` completes the jobs that were started";
    let alone = collect(running.to_string()).ended_saying(1, message);
    assert!(alone.stderr.contains(advice), "{}", alone.stderr);
    fs::write(job.home.path().join("running"), running.to_string()).unwrap();
    for (stage, count) in [("ncaas-logs save -q", 1), ("ncaas-exec rm", 1), ("cat", 1)] {
        let piped = pipe_in(job.home.path(), &format!("ncaas-sync collect <running | {stage}"), &[]);
        assert_eq!(piped.stderr.matches(advice).count(), count, "{stage}: {}", piped.stderr);
    }
    // A record of the ended job follows.
    let ran = collect(format!("{running}\n{}", job.record()));
    assert!(!ran.stderr.contains("still running"), "{}", ran.stderr);
    assert_eq!(ran.status, 0);
}

#[test]
fn the_container_of_another_job_is_not_collected_for_a_job_from_a_bucket() {
    let job = EndedJob::after("echo secret > io-dir/results/x", &[]);
    let mut forged = job.record();
    forged["job"]["bucket"] = "/no/bucket".into();
    forged["job"]["group"] = "lab".into();
    let ran = ncaas_sync(&job.home, &["collect"]).stdin(forged.to_string()).run();
    let ran = ran.ended_saying(1, "");
    assert_eq!(ran.record().error_kind(), "wrong-container");
    assert!(!job.results().exists());
}

#[test]
fn two_datasets_that_wrote_the_same_path_keep_both_files() {
    let mut job = EndedJob::after(
        "echo same > io-dir/results/same; echo 1 > io-dir/results/other; mkdir out; echo x > out/x",
        &[],
    );
    let second = job.run(2, "echo same > io-dir/results/same; echo 2 > io-dir/results/other; echo file > out; ln -s io-dir/results/other link", &[]);
    let mut records = [job.record(), job.record()];
    for (record, dataset) in records.iter_mut().zip([1, 2]) {
        record["job"]["dataset"] = dataset.into();
        record["job"]["datasets"] = 2.into();
        record["job"]["label"] = format!("set{dataset}").into();
    }
    records[1]["container"]["id"] = second.into();
    let input = records.iter().map(|record| format!("{record}\n")).collect::<String>();
    let records = ncaas_sync(&job.home, &["collect", "-q", "-j", "1"]).stdin(input).run().ok().records();
    assert_eq!(result_paths(&records[0]), ["set1/other", "set1/out/x", "set1/same"]);
    assert_eq!(result_paths(&records[1]), ["set2/link", "set2/other", "set2/out", "set2/same"]);
    assert_eq!(fs::read_to_string(job.results().join("set2/link")).unwrap(), "2\n", "a link leads to what it led to");
    assert_eq!(fs::read_to_string(job.results().join("set1/other")).unwrap(), "1\n");
}

#[test]
fn results_in_mounts_are_collected_after_the_container_is_removed() {
    let job = EndedJob::after("echo r > io-dir/results/r; echo lost > lost", &[]);
    let record = job.record();
    docker(&["rm", "-f", &job.container]);
    let ran = ncaas_sync(&job.home, &["collect"]).stdin(record.to_string()).run().ok();
    assert_eq!(result_paths(&ran.record()), ["r"]);
    assert!(ran.record().warnings.unwrap()[0].contains("was removed"));
}

#[test]
fn a_killed_collect_is_completed_by_the_next_one() {
    let script = "for i in $(seq 400); do echo $i > io-dir/results/$i; done; mkdir out; for i in $(seq 400); do echo $i > out/$i; done";
    let job = EndedJob::after(script, &[]);
    let input = job.home.path().join("record");
    fs::write(&input, job.record().to_string()).unwrap();
    for delay in [0.02, 0.1, 0.2, 0.25, 0.3, 0.4] {
        let tool = ncaas_tests::tools().join("ncaas-sync");
        let line = format!("timeout -s KILL {delay} '{}' collect < '{}' > /dev/null", tool.display(), input.display());
        ncaas_tests::pipe(&line);
        for file in files_below(&job.results()) {
            let number = file.rsplit('/').next().unwrap();
            assert_eq!(
                fs::read_to_string(job.results().join(&file)).unwrap(),
                format!("{number}\n"),
                "{file} is not whole"
            );
        }
    }
    let record = job.collect(&[]).ok().record();
    assert_eq!(record.results.unwrap().len(), 800);
    assert_eq!(files_below(&job.results()).len(), 800);
    assert_eq!(files_below(&job.work_root()), [""; 0], "nothing is left behind");
}

#[test]
fn an_unreachable_engine_loses_no_record_and_no_result() {
    let job = EndedJob::after("echo r > io-dir/results/r", &[]);
    let ran = ncaas_sync(&job.home, &["collect"])
        .env("DOCKER_HOST", "unix:///nonexistent.sock")
        .stdin(job.record().to_string())
        .run()
        .ended_saying(3, "no Docker Engine answers");
    assert_eq!(ran.record().error_kind(), "engine-unreachable");
    assert_eq!(result_paths(&job.collect(&[]).ok().record()), ["r"]);
}

#[test]
fn results_are_collected_from_an_engine_on_another_machine() {
    let mut job = EndedJob::after("true", &[]);
    let script = r#"
        mkdir -p io-dir/results io-dir/logs io-dir/inputs; echo r > io-dir/results/r; mkdir -p io-dir/results/d/empty; echo i > io-dir/inputs/x
        echo l > io-dir/logs/own; mkdir -p out/deep; for i in 1 2 3 4 5 6 7 8; do echo $i > out/$i; echo $i > $i; done; ln out/1 hard; ln -s out/2 link
        mkfifo out/f; echo n > /tmp/noise; mkdir alone; ln -s /etc/passwd passwd; printf x > "$(printf 'bad\377')"
    "#;
    let container = docker(&["run", "-d", "--user", "0:0", FIXTURE, "sh", "-c", script]);
    docker(&["wait", &container]);
    docker(&["rm", &job.container]);
    job.clean_up.container(&container);
    job.container = container;
    let ran =
        ncaas_sync(&job.home, &["collect"]).env("DOCKER_HOST", tcp_engine()).stdin(job.record().to_string()).run();
    let ran = ran.ended_saying(0, "1 file under `/tmp` left out (`ncaas-sync collect --all` in the pipe");
    let mut expected: Vec<String> = (1..=8).flat_map(|n| [n.to_string(), format!("out/{n}")]).collect();
    expected.extend(["r", "d/empty/", "hard", "link", "alone/", "out/deep/", "bad%FF"].map(str::to_owned));
    expected.push(format!("results/{}/logs/a.npy/own", job.id));
    expected.sort();
    let mut found = result_paths(&ran.record());
    found.sort();
    assert_eq!(found, expected);
    for n in 1..=8 {
        assert_eq!(fs::read_to_string(job.results().join(format!("out/{n}"))).unwrap(), format!("{n}\n"));
    }
    let warnings = ran.record().warnings.unwrap().join("\n");
    assert!(warnings.contains("/out/f`: it is a FIFO") && warnings.contains("/passwd`"), "{warnings}");
}
