//! `ncaas-logs report`, and its page in a browser.

use std::path::Path;
use std::process::Command;

use ncaas_tests::Run;
use serde_json::json;

/// Writes the files of a job; every third one has failed.
fn save_job(folder: &Path, number: usize) {
    let has_failed = number.is_multiple_of(3);
    let label = format!("session{number:03} <b>.npy");
    let logs = folder.join(format!("io-dir/results/job__pca_{number}/logs"));
    std::fs::create_dir_all(&logs).unwrap();
    std::fs::create_dir_all(logs.join("../process_results")).unwrap();
    let start = |second: usize| format!("2026-11-22T10:{:02}:{:02}.5Z", second / 60, second % 60);
    let record = json!({
        "job": {"id": format!("job__pca_{number}"), "dataset": 1, "datasets": 1}, "dataname": format!("/data/{label}"),
        "configname": "/data/config.yaml", "image": "neurocaas/contrib:pca.356d78a", "io_dir": folder.join("io-dir"),
        "container": {"id": "x", "name": "x", "state": "exited", "status": if has_failed { "failed" } else { "success" },
            "exit_code": i32::from(has_failed), "started_at": start(number * 3), "finished_at": start(number * 3 + 20),
            "duration_s": 20.0},
        "usage": {"cpu_s": 12.5, "memory_peak_bytes": 123_400_000, "series": [[0.0, 50.0, 1000], [5.0, 70.0, 2000]]}});
    std::fs::write(logs.join(format!("{label}.record.json")), record.to_string()).unwrap();
    let time = "2026-11-22T10:00:00.517032643Z";
    let log = format!(
        "{time} stdout step 1\n{time} stderr Traceback (most recent call last):\n\
         {time} stderr \u{1b}[31mValueError: <script>alert(1)</script>\u{1b}[0m\n"
    );
    std::fs::write(logs.join(format!("{label}.log")), log).unwrap();
}

fn write_report(jobs: usize) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    (1..=jobs).for_each(|number| save_job(folder.path(), number));
    let records = "ncaas-logs report -o report.html io-dir/results/*/logs/*.record.json";
    let ran = ncaas_tests::pipe_in(folder.path(), records, &[]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let written = ran.json().remove(0);
    assert_eq!((written["jobs"].as_u64(), written["failed"].as_u64()), (Some(jobs as u64), Some(jobs as u64 / 3)));
    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    (folder, page)
}

/// The page after its script has run, in a browser without a network.
fn dump_dom(folder: &Path) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", folder.join("report.html").display()))
        .output()
        .expect("the package `chromium` is needed for this test");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_report_is_one_page_that_escapes_everything_a_job_printed() {
    let (_folder, page) = write_report(6);
    assert_eq!(page.matches("<script").count(), 1, "its own");
    assert!(page.contains("ValueError: &#60;script&#62;alert(1)") && !page.contains('\u{1b}'), "{page}");
    assert!(page.contains("session003 &#60;b&#62;.npy") && page.contains("failed (exit 1)"), "{page}");
    assert!(page.contains("123.4 MB") && page.contains("20.0 s") && page.contains("12.5 s"), "{page}");
    assert!(page.contains("href=\"./io-dir/results/job__pca_3/logs/session003%20%3Cb%3E.npy.log\""), "{page}");
    assert!(page.contains("href=\"./io-dir/results/job__pca_3/process_results\""), "{page}");
    let addresses = page.matches("http://").count() + page.matches("https://").count();
    assert_eq!(addresses, page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count(), "nothing is loaded");
}

#[test]
fn a_report_of_many_jobs_can_be_filtered_and_sorted_in_a_browser() {
    let (folder, page) = write_report(300);
    assert!(page.matches("<tr data-status=").count() == 300 && page.contains("session299"), "readable without scripts");
    let dom = dump_dom(folder.path());
    assert!(dom.contains("300 of 300 jobs"), "the filter counts what it shows");
    assert_eq!(dom.matches("<th scope=\"col\"><button>").count(), 11, "each column can be sorted");
}

#[test]
fn a_report_of_a_status_file_of_the_platform_names_its_status() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("results/job__pca_1/logs");
    std::fs::create_dir_all(&logs).unwrap();
    let status = logs.join("DATASET_NAME:a.npy_STATUS.txt");
    let content = json!({"instance": "i-0a", "command": "N/A", "input": "lab/inputs/a.npy", "status": "FAILED", "reason": 1,
        "memory_usage": "N/A", "cpu_usage": "N/A", "job_start": "2026-11-22T10:00:00Z", "job_finish": "2026-11-22T10:00:09Z",
        "std": {"0": "one\n", "1": "two\n"}});
    std::fs::write(&status, content.to_string()).unwrap();
    let run = |arguments: &[&str]| Run::tool("ncaas-logs").args(arguments).dir(folder.path()).run();
    let path = status.to_str().unwrap();
    assert_eq!(run(&["report", path]).json()[0]["failed"], 1);
    let state = run(&["state", path]);
    assert_eq!((state.status, state.record().container.unwrap().status.as_deref()), (1, Some("failed")));
    let lines = run(&["lines", path]).ok().json();
    assert_eq!(lines.iter().map(|line| line["line"].as_str().unwrap()).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(run(&["plot", path]).ok().json()[0]["jobs"], 1);
}

#[test]
fn the_logs_folders_of_jobs_stand_for_their_records() {
    let folder = tempfile::tempdir().unwrap();
    (1..=3).for_each(|number| save_job(folder.path(), number));
    for folders in ["io-dir/results/*", "io-dir/results/*/logs", "io-dir/results/*/logs/"] {
        for verb in ["report", "plot"] {
            let written = ncaas_tests::pipe_in(folder.path(), &format!("ncaas-logs {verb} {folders}"), &[]);
            assert_eq!((written.status, written.json()[0]["jobs"].as_u64()), (0, Some(3)), "{verb} {folders}");
        }
    }
    ncaas_tests::pipe_in(folder.path(), "ncaas-logs state ./io-dir/results/job__pca_1/logs", &[]).ok();
}

#[test]
fn the_empty_log_of_a_failed_job_is_not_called_missing() {
    let folder = tempfile::tempdir().unwrap();
    save_job(folder.path(), 3);
    let log = folder.path().join("io-dir/results/job__pca_3/logs/session003 <b>.npy.log");
    let report = || {
        assert_eq!(ncaas_tests::pipe_in(folder.path(), "ncaas-logs report io-dir/results/*", &[]).status, 0);
        std::fs::read_to_string(folder.path().join("report.html")).unwrap()
    };
    std::fs::write(&log, "").unwrap();
    assert!(report().contains("<p>It printed nothing.</p>"));
    std::fs::remove_file(&log).unwrap();
    assert!(report().contains("<p>The log is not available.</p>"));
}

#[test]
fn no_records_leave_an_existing_report_or_plot_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty.jsonl"), "").unwrap();
    for (verb, file) in [("report", "report.html"), ("plot", "jobs.svg")] {
        std::fs::write(folder.path().join(file), "earlier").unwrap();
        for arguments in [vec![verb], vec![verb, "empty.jsonl"]] {
            let ran = Run::tool("ncaas-logs").args(&arguments).dir(folder.path()).run();
            assert!(ran.status == 0 && ran.stdout.is_empty(), "{ran:?}");
            assert!(ran.stderr.contains("no records were read") && ran.stderr.contains("is not written"), "{ran:?}");
            assert_eq!(std::fs::read_to_string(folder.path().join(file)).unwrap(), "earlier", "{arguments:?}");
        }
    }
}
