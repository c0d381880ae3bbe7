//! ncaas-logs save, usage and plot: the files that NeuroCAAS keeps of a job, read as its own client reads them.

mod failures;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use ncaas_tests::bucket::files_below;
use ncaas_tests::engine::{CleanUp, FIXTURE, docker, driver_of_bytes, is_podman};
use ncaas_tests::record::JobRecord;
use ncaas_tests::{Ran, Run, unique, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);

/// A submission whose containers the tests start themselves.
struct Submission {
    io_dir: TempDir,
    job: String,
    datasets: u64,
    clean_up: CleanUp,
}

impl Submission {
    fn new(datasets: u64) -> Self {
        Submission {
            io_dir: tempfile::tempdir().unwrap(),
            job: unique("job__logs"),
            datasets,
            clean_up: CleanUp::new(),
        }
    }

    fn dataname(dataset: u64) -> String {
        format!("lab/inputs/session {dataset}.npy")
    }

    fn record(&self, dataset: u64) -> Value {
        json!({
            "job": {"id": self.job, "dataset": dataset, "datasets": self.datasets},
            "dataname": Self::dataname(dataset), "io_dir": self.io_dir.path(), "own": 1,
        })
    }

    /// Starts a dataset's container, and returns its record.
    fn start(&mut self, dataset: u64, options: &[&str], script: &str) -> String {
        let fixed = ["run", "-d", "--network=none"];
        let id = docker(&[&fixed, options, &[FIXTURE, "bash", "-c", script]].concat());
        self.clean_up.container(&id);
        let mut record = self.record(dataset);
        record["container"] = json!({"id": id});
        format!("{record}\n")
    }

    fn logs(&self) -> PathBuf {
        self.io_dir.path().join("results").join(&self.job).join("logs")
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.logs().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn log(&self, dataset: u64) -> Vec<u8> {
        self.read(&format!("session {dataset}.npy.log"))
    }

    fn status(&self, dataset: u64) -> Value {
        serde_json::from_slice(&self.read(&format!("DATASET_NAME:session {dataset}.npy_STATUS.txt"))).unwrap()
    }

    fn saved(&self, dataset: u64) -> Value {
        serde_json::from_slice(&self.read(&format!("session {dataset}.npy.record.json"))).unwrap()
    }

    fn certificate(&self) -> Vec<DatasetLine> {
        read_certificate(&String::from_utf8(self.read("certificate.txt")).unwrap())
    }
}

/// A dataset's line in the certificate.
#[derive(Debug)]
struct DatasetLine {
    /// What the client's `DATANAME: (.*?) |` finds: up to the first space.
    found: String,
    dataname: String,
    status: String,
    time: String,
    last_command: String,
    cpu: String,
}

/// Reads a certificate as the platform's client does: by position between the only two dividers.
fn read_certificate(text: &str) -> Vec<DatasetLine> {
    let lines: Vec<&str> = text.split('\n').collect();
    let dividers: Vec<usize> = (0..lines.len()).filter(|&at| lines[at] == "================").collect();
    assert_eq!(dividers.len(), 2, "{text}");
    let line = |line: &&str| {
        let fields: Vec<&str> = line.split(" | ").collect();
        assert_eq!(fields.len(), 5, "{line}");
        let value = |at: usize, name: &str| {
            fields[at].strip_prefix(name).unwrap_or_else(|| panic!("no {name} in {line}")).to_owned()
        };
        DatasetLine {
            found: line.strip_prefix("DATANAME: ").unwrap().split(' ').next().unwrap().to_owned(),
            dataname: value(0, "DATANAME: "),
            status: value(1, "STATUS: "),
            time: value(2, "TIME: "),
            last_command: value(3, "LAST COMMAND: "),
            cpu: value(4, "CPU_USAGE: "),
        }
    };
    lines[dividers[0] + 1..dividers[1]].iter().map(line).collect()
}

fn save(arguments: &[&str], records: &str) -> Ran {
    Run::tool("ncaas-logs").arg("save").args(arguments).stdin(records).run()
}

/// What a log file says was printed on one stream.
fn printed(log: &[u8], stream: &str) -> Vec<u8> {
    let prefix = format!(" {stream} ");
    let lines = log.split_inclusive(|&byte| byte == b'\n');
    lines.filter(|line| &line[30..38] == prefix.as_bytes()).flat_map(|line| line[38..].to_vec()).collect()
}

const HOSTILE: &str = r#"
echo 'a | STATUS: FAILED | b'; echo ================; echo >&2 'DATANAME: x | y'
head -c 1000000 /dev/zero | tr '\0' x; echo; printf 'a\tb\rc\n\033[31mred\001\n'
printf 'last | one\n\n  \n'"#;

#[test]
fn a_job_has_its_files_as_the_platform_reads_them_whatever_it_printed() {
    let mut submission = Submission::new(1);
    let record = submission.start(1, &[], HOSTILE);
    let saved = save(&[], &record).ok().json().remove(0);
    assert_eq!(saved["own"], 1);
    let id = saved["container"]["id"].as_str().unwrap();
    let (stdout, stderr) = (docker(&["logs", id]), "DATANAME: x | y\n");
    assert_eq!(String::from_utf8(printed(&submission.log(1), "stdout")).unwrap().trim_end(), stdout);
    assert_eq!(printed(&submission.log(1), "stderr"), stderr.as_bytes());

    let certificate = submission.certificate();
    let line = &certificate[0];
    assert_eq!((line.dataname.as_str(), line.status.as_str()), ("lab/inputs/session 1.npy", "SUCCESS"));
    assert_eq!((line.found.as_str(), line.last_command.as_str()), ("lab/inputs/session", "last ¦ one"));
    let (time, end) = line.time.split_at(19);
    assert!(end == " (finished)" && time.split('_').count() == 6, "{}", line.time);
    assert!(line.cpu == "N/A" || line.cpu.parse::<f64>().is_ok(), "{}", line.cpu);

    let status = submission.status(1);
    let keys: Vec<&String> = status.as_object().unwrap().keys().collect();
    let expected = [
        "instance",
        "command",
        "input",
        "status",
        "reason",
        "memory_usage",
        "cpu_usage",
        "job_start",
        "job_finish",
        "std",
    ];
    assert_eq!(keys, expected);
    assert_eq!((&status["status"], &status["reason"], &status["instance"]), (&"SUCCESS".into(), &0.into(), &id.into()));
    let std = status["std"].as_object().unwrap();
    assert_eq!(
        std.keys().collect::<Vec<_>>(),
        (0..std.len()).map(|number| number.to_string()).collect::<Vec<_>>().iter().collect::<Vec<_>>()
    );
    assert!(std.values().any(|line| line == "a    bc"), "tabs become spaces, carriage returns go");
    assert!(serde_json::to_vec(&status).unwrap().len() < 100_000, "a long line does not make it long");

    assert_eq!(submission.saved(1), saved, "what is saved is what goes out");
    assert_eq!(files_below(&submission.logs()).iter().filter(|name| !name.starts_with(".ncaas-")).count(), 4);
}

#[test]
fn each_way_to_end_is_told_apart() {
    let mut submission = Submission::new(6);
    let records = [
        submission.start(1, &[], "true"),
        submission.start(2, &[], "echo oh no >&2; exit 3"),
        submission.start(3, &[], "bash -c 'kill -9 $$'; exit $?"),
        submission.start(4, &["--memory=20m", "--memory-swap=20m"], "x=$(busybox yes | head -c 200m); echo $?"),
        submission.start(5, &["--label=org.neurocaas.timeout=1"], "trap 'exit 0' TERM; while :; do sleep 0.1; done"),
    ];
    let ran = save(&[], &records.concat());
    assert_eq!((ran.status, ran.stderr.as_str()), (1, ""), "a job that failed is no failure of a tool");
    let mut statuses: Vec<(u64, String)> = ran
        .json()
        .iter()
        .map(|record| {
            let status = record["container"]["status"].as_str().unwrap();
            (record["job"]["dataset"].as_u64().unwrap(), status.to_owned())
        })
        .collect();
    statuses.sort();
    let statuses: Vec<&str> = statuses.iter().map(|(_, status)| status.as_str()).collect();
    assert_eq!(statuses, ["success", "failed", "killed", "out-of-memory", "timeout"]);
    let certificate: Vec<String> = submission.certificate().into_iter().map(|line| line.status).collect();
    assert_eq!(certificate, ["SUCCESS", "FAILED", "FAILED", "FAILED", "FAILED", "INITIALIZING"]);
    let reason = |dataset| submission.status(dataset)["reason"].clone();
    assert_eq!((reason(1), reason(2)), (0.into(), 3.into()));
    assert_eq!(reason(3), "killed by signal 9 (exit code 137)");
    assert!(reason(4).as_str().unwrap().starts_with("out of memory"), "{}", reason(4));
    assert!(reason(5).as_str().unwrap().starts_with("ran longer than its limit of 1 s"), "{}", reason(5));
    assert_eq!(submission.certificate()[1].last_command, "oh no");
}

#[test]
fn a_running_job_is_told_of_as_it_goes() {
    let mut submission = Submission::new(1);
    let record = submission.start(1, &[], "for i in 1 2 3 4 5 6 7 8; do echo step $i; sleep 0.5; done");
    let records = save(&["--live=0.5"], &record).ok().records_of_jobs();
    let states: Vec<&str> = records.iter().map(|record| record.container.as_ref().unwrap().state.as_str()).collect();
    let (last, running) = states.split_last().unwrap();
    assert!(*last == "exited" && running.len() >= 3 && running.iter().all(|state| *state == "running"), "{states:?}");
    let lines: Vec<u64> = records.iter().map(|record| record.logs.as_ref().unwrap().lines).collect();
    assert!(lines.is_sorted() && lines[0] < 8 && lines[lines.len() - 1] == 8, "{lines:?}");
    let usage = records.last().unwrap().usage.as_ref().unwrap();
    assert!(usage.memory_peak_bytes > 0 && usage.cpu_s > 0.0 && usage.processes_peak > 0, "{usage:?}");
}

#[test]
fn without_live_the_files_are_kept_up_to_date_all_the_same() {
    let mut submission = Submission::new(1);
    let record = submission.start(1, &[], "echo begun; sleep 600");
    let mut saving = Run::tool("ncaas-logs").arg("save").into_command();
    let mut saving = saving.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut saving.stdin.take().unwrap(), record.as_bytes()).unwrap();
    let certificate = submission.logs().join("certificate.txt");
    wait_until("the certificate to show what it printed", LIMIT, || {
        let text = std::fs::read_to_string(&certificate).unwrap_or_default();
        text.contains("| STATUS: IN PROGRESS | ") && text.contains("LAST COMMAND: begun |")
    });
    assert!(!submission.logs().join("session 1.npy.record.json").exists(), "it has not ended");
    saving.kill().unwrap();
    saving.wait().unwrap();
    let left: Vec<String> = files_below(&submission.logs());
    assert!(left.iter().all(|name| !name.starts_with(".ncaas-") || name.ends_with(".lock")), "{left:?}");
    docker(&["kill", docker_id(&record).as_str()]);
    let ran = save(&[], &record);
    assert_eq!((ran.status, ran.record_of_job().container.unwrap().status.as_deref()), (1, Some("killed")));
}

fn docker_id(record: &str) -> String {
    let record: Value = serde_json::from_str(record).unwrap();
    record["container"]["id"].as_str().unwrap().to_owned()
}

#[test]
fn many_writers_at_once_lose_no_line_of_the_certificate() {
    let mut submission = Submission::new(12);
    let records: Vec<String> =
        (1..=12).map(|dataset| submission.start(dataset, &[], &format!("echo from {dataset}; sleep 1"))).collect();
    std::thread::scope(|scope| {
        for records in records.chunks(3) {
            scope.spawn(|| save(&["--live=0.2"], &records.concat()).ok());
        }
    });
    for (at, line) in submission.certificate().iter().enumerate() {
        let dataset = at as u64 + 1;
        assert_eq!(line.dataname, Submission::dataname(dataset));
        assert_eq!((line.status.as_str(), &line.last_command), ("SUCCESS", &format!("from {dataset}")));
    }
}

#[test]
fn a_job_that_is_removed_as_it_ends_has_its_log_and_its_exit_code() {
    let mut submission = Submission::new(1);
    let record = submission.start(1, &["--rm"], "echo begun; sleep 1; busybox seq 1 500; exit 4");
    let ran = save(&[], &record);
    let container = ran.record_of_job().container.unwrap();
    assert_eq!((container.status.as_deref(), container.exit_code), (Some("failed"), Some(4)), "{}", ran.stderr);
    let log = String::from_utf8(printed(&submission.log(1), "stdout")).unwrap();
    assert_eq!(log.lines().count(), 501, "what it wrote in its last millisecond is there too");
    assert!(log.ends_with("500\n"));
}

#[test]
fn what_was_saved_is_not_saved_again_and_outlives_the_container() {
    let mut submission = Submission::new(1);
    let record = submission.start(1, &[], "echo once");
    let first = save(&[], &record).ok().text();
    let log = submission.logs().join("session 1.npy.log");
    let written = || std::fs::metadata(&log).unwrap().modified().unwrap();
    let before = written();
    assert_eq!(save(&[], &record).ok().text(), first);
    docker(&["rm", &docker_id(&record)]);
    assert_eq!(save(&[], &record).ok().text(), first);
    assert_eq!(written(), before);
    let state = Run::tool("ncaas-logs").arg("state").stdin(record.clone()).run().ok().json().remove(0);
    assert_eq!(state["container"]["status"], "success");
    let without = format!("{}\n", submission.record(1));
    let state = Run::tool("ncaas-logs").arg("state").stdin(without).run().ok().json().remove(0);
    assert_eq!(state["container"]["exit_code"], 0);
}

#[test]
fn lines_are_read_from_what_was_saved_when_the_container_has_gone() {
    let mut submission = Submission::new(1);
    let record = submission.start(1, &[driver_of_bytes()], HOSTILE);
    let id = docker_id(&record);
    docker(&["wait", &id]);
    let lines = |arguments: &[&str]| Run::tool("ncaas-logs").arg("lines").args(arguments).dir(submission.logs()).run();
    let without_seq = |mut line: Value| {
        line.as_object_mut().unwrap().shift_remove("seq");
        line
    };
    let by_record = || Run::tool("ncaas-logs").arg("lines").stdin(record.clone()).run();
    let printed: Vec<Value> = by_record().ok().json().into_iter().map(without_seq).collect();
    let saved = save(&[], &record).ok().text();
    docker(&["rm", &id]);
    let stdout = |lines: &[Value]| lines.iter().filter(|line| line["stream"] == "stdout").cloned().collect::<Vec<_>>();
    for ran in [by_record(), lines(&["session 1.npy.log"]), lines(&["./session 1.npy.record.json"])] {
        let again: Vec<Value> = ran.ok().json().into_iter().map(without_seq).collect();
        assert!(stdout(&again) == stdout(&printed) && again.len() == printed.len(), "{again:?}");
    }
    let text = lines(&["--text", "--tail=3", "--stdout", "session 1.npy.log"]).ok().text();
    assert_eq!(text.lines().map(|line| line.trim_end().len()).collect::<Vec<_>>(), [23 + 11, 23, 23], "{text:?}");
    let state = Run::tool("ncaas-logs").args(["state", "session 1.npy.record.json"]).dir(submission.logs()).run();
    assert_eq!(state.ok().text(), saved);

    std::fs::remove_file(submission.logs().join("session 1.npy.record.json")).unwrap();
    let part = lines(&["session 1.npy.log"]);
    assert_eq!((part.status, part.json().len()), (0, printed.len()));
    assert!(part.stderr.contains("its job was not followed to its end"), "{}", part.stderr);
    lines(&["certificate.txt"]).ended_saying(1, "no container `certificate.txt`");
    lines(&["./certificate.txt"]).ended_saying(1, "is no log that `ncaas-logs save` has written: see its line 1");
    lines(&["./missing.log"]).ended_saying(1, "cannot read `./missing.log`");
}

#[test]
fn usage_samples_a_container_until_it_ends() {
    let mut clean_up = CleanUp::new();
    let name = unique("usage");
    clean_up.container(&name);
    docker(&[
        "run",
        "-d",
        "--name",
        &name,
        FIXTURE,
        "bash",
        "-c",
        // Podman gives a sample every five seconds.
        &format!("end=$((SECONDS + {})); while ((SECONDS < end)); do :; done", if is_podman() { 11 } else { 4 }),
    ]);
    let samples = Run::tool("ncaas-logs").args(["usage", &name]).run().ok().json();
    assert!(samples.len() >= 2, "{samples:?}");
    let last = samples.last().unwrap();
    assert!(last["cpu_percent"].as_f64().unwrap() > 1.0 && last["cpu_s"].as_f64().unwrap() > 0.1, "{last}");
    assert!(last["memory_peak_bytes"].as_u64().unwrap() >= last["memory_bytes"].as_u64().unwrap());
}

#[test]
fn a_picture_is_drawn_from_saved_records() {
    let folder = tempfile::tempdir().unwrap();
    let line = |second: u32, status: &str| {
        json!({"dataname": "lab/inputs/<a&b>.npy", "container": {"id": "x", "name": "x", "state": "exited", "status": status,
            "started_at": format!("2026-11-22T10:00:{second:02}.5Z"), "finished_at": "2026-11-22T10:01:00Z"},
            "usage": {"cpu_s": 1.5, "series": [[0.0, 50.0, 1000], [5.0, 70.0, 2000]]}})
    };
    std::fs::write(folder.path().join("a.record.json"), line(1, "success").to_string()).unwrap();
    std::fs::write(folder.path().join("b.record.json"), line(9, "out-of-memory").to_string()).unwrap();
    let plot = |arguments: &[&str]| Run::tool("ncaas-logs").arg("plot").args(arguments).dir(folder.path()).run();
    let said = plot(&["a.record.json", "b.record.json"]).ok().json().remove(0);
    assert_eq!(said["jobs"], 2);
    let svg = std::fs::read_to_string(folder.path().join("jobs.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("&lt;a&amp;b>.npy"), "{svg}");
    assert!(svg.contains("1 success") && svg.contains("1 out of memory"), "{svg}");
    plot(&["-o", "jobs.png", "a.record.json"]).ok();
    assert!(std::fs::read(folder.path().join("jobs.png")).unwrap().starts_with(b"\x89PNG\r\n"));
    plot(&["missing.json"]).ended_saying(1, "cannot read `missing.json`");
}

/// The records of a run, with a field of others in them.
trait RecordsOfJobs {
    fn records_of_jobs(&self) -> Vec<JobRecord>;

    fn record_of_job(&self) -> JobRecord {
        let mut records = self.records_of_jobs();
        assert_eq!(records.len(), 1);
        records.remove(0)
    }
}

impl RecordsOfJobs for Ran {
    fn records_of_jobs(&self) -> Vec<JobRecord> {
        let declared = |mut line: Value| {
            assert_eq!(line.as_object_mut().unwrap().shift_remove("own"), Some(1.into()), "{line}");
            serde_json::from_value(line).unwrap()
        };
        self.json().into_iter().map(declared).collect()
    }
}
