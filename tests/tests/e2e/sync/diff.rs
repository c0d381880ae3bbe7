//! `ncaas-sync diff`.

use ncaas_tests::ended_job::{EndedJob, HOME};
use ncaas_tests::sync::ncaas_sync;

#[test]
fn diff_lists_each_changed_path_with_its_kind_and_size() {
    let job = EndedJob::after(
        "mkdir out; echo 12345 > out/a; ln -s a out/l; mkdir out/e; echo n > /tmp/noise; rm -r .profile 2>/dev/null; true",
        &[],
    );
    let diff = ncaas_sync(&job.home, &["diff", &job.container]).run();
    let diff = diff.ended_saying(0, ": 1 changed path left out, such as `/tmp/noise`; `--all` lists them\n").json();
    let of = |path: &str| {
        diff.iter()
            .find(|line| line["path"] == format!("{HOME}/{path}"))
            .unwrap_or_else(|| panic!("{path} in {diff:#?}"))
    };
    assert_eq!(
        (&of("out/a")["change"], &of("out/a")["kind"], &of("out/a")["size"]),
        (&"added".into(), &"file".into(), &6.into())
    );
    assert!(of("out/a")["mtime"].as_str().unwrap().ends_with('Z'));
    assert_eq!(of("out/l")["kind"], "link");
    assert_eq!(of("out/e")["kind"], "folder");
    assert!(!diff.iter().any(|line| line["path"] == "/tmp/noise"));
    let all = ncaas_sync(&job.home, &["diff", &job.container, "--all"]).run().ok().json();
    assert!(all.iter().any(|line| line["path"] == "/tmp/noise"));
}
