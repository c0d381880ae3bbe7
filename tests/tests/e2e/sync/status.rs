//! `ncaas-sync status`, and `push` and `pull` of the differences that it shows.

use std::fs;

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::sync::{count, ncaas_sync, outcomes_by_path, write_below};
use ncaas_tests::{Run, tools};

#[test]
fn the_claim_of_a_submission_is_not_missing_on_this_machine() {
    let (home, bucket) = (tempfile::tempdir().unwrap(), TestBucket::directory("pca"));
    bucket.put("lab/results/job__pca_1/claim.json", "{}");
    bucket.put("lab/results/job__pca_1/process_results/r", "1");
    let io_dir = home.path().join("io-dir");
    fs::create_dir_all(io_dir.join("lab")).unwrap();
    let group = format!("{}/lab", bucket.address());
    let status = ncaas_sync(&home, &["status", &group, "--io-dir", io_dir.to_str().unwrap()]).run().ok().json();
    let paths: Vec<_> = status.iter().map(|line| line["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["results/job__pca_1/process_results/r"]);
}

fn changes_are_seen(bucket: &TestBucket) {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("tree");
    for name in ["same", "grown", "touched", "gone"] {
        write_below(&folder, name, "12345");
    }
    let target = format!("{}/t", bucket.address());
    let (source, target) = (folder.to_str().unwrap(), target.as_str());
    ncaas_sync(&home, &["push", source, target]).run().ok();
    write_below(&folder, "grown", "123456");
    write_below(&folder, "fresh", "1");
    fs::remove_file(folder.join("gone")).unwrap();
    let touched = fs::File::options().append(true).open(folder.join("touched")).unwrap();
    touched.set_modified(std::time::SystemTime::now()).unwrap();

    let mut status = ncaas_sync(&home, &["status", target, source]).run().ok().json();
    status.sort_by_key(|line| line["path"].to_string());
    let states: Vec<_> = status.iter().map(|line| format!("{} {}", line["path"], line["status"])).collect();
    assert_eq!(states, [r#""fresh" "new""#, r#""gone" "missing""#, r#""grown" "changed""#]);

    let pushed = ncaas_sync(&home, &["push", source, target, "--files"]).run().ok().json();
    let expected = [("fresh", "new"), ("grown", "changed"), ("same", "unchanged"), ("touched", "unchanged")];
    assert_eq!(outcomes_by_path(&pushed), expected.map(|(path, outcome)| (path.to_owned(), outcome.to_owned())));
    assert_eq!(bucket.text("t/gone"), "12345", "nothing is deleted that nobody asked to have deleted");

    // Changed in place, and its modification time set back.
    let path = folder.join("same");
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "54321").unwrap();
    fs::File::options().append(true).open(&path).unwrap().set_modified(before).unwrap();
    let pushed = ncaas_sync(&home, &["push", source, target, "--checksum", "--delete", "--files"]).run().ok().json();
    let changed: Vec<_> = outcomes_by_path(&pushed).into_iter().filter(|(_, outcome)| outcome != "unchanged").collect();
    assert_eq!(changed, [("gone".to_owned(), "deleted".to_owned()), ("same".to_owned(), "changed".to_owned())]);
    assert_eq!((bucket.text("t/same").as_str(), bucket.get("t/gone")), ("54321", None));

    // The same of what was pulled, where status and pull look at it.
    let io_dir = home.path().join("io-dir");
    let of_io_dir = ["--io-dir", io_dir.to_str().unwrap(), "--checksum"];
    ncaas_sync(&home, &[&["pull", target], &of_io_dir[..2]].concat()).run().ok();
    let path = io_dir.join("t/same");
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "12345").unwrap();
    fs::File::options().append(true).open(&path).unwrap().set_modified(before).unwrap();
    let status = ncaas_sync(&home, &[&["status", target], &of_io_dir[..]].concat()).run().ok().json();
    assert_eq!(status.len(), 1);
    assert_eq!((&status[0]["path"], &status[0]["status"]), (&"same".into(), &"changed".into()));
    let pulled = ncaas_sync(&home, &[&["pull", target], &of_io_dir[..]].concat()).run().ok().json().remove(0);
    assert_eq!((count(&pulled, "changed"), count(&pulled, "unchanged")), (1, 3), "{pulled}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "54321");
}

#[test]
fn status_and_push_find_exactly_the_differences_from_a_directory() {
    changes_are_seen(&TestBucket::directory("pca"));
}

#[test]
fn status_and_push_find_exactly_the_differences_from_s3() {
    changes_are_seen(&TestBucket::s3("sync"));
}

#[test]
fn status_is_a_table_on_a_terminal() {
    let bucket = TestBucket::directory("pca");
    let home = tempfile::tempdir().unwrap();
    bucket.put("t/old", "12345");
    write_below(&home.path().join("tree"), "new", "1");
    let tool = tools().join("ncaas-sync");
    let command = format!("stty cols 80; {} status {}/t tree", tool.display(), bucket.address());
    let shown = |flags: &str| {
        let inner = format!("{command} {flags}");
        let mut script = std::process::Command::new("script");
        let output = script.args(["-qec", &inner, "/dev/null"]).current_dir(home.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().replace('\r', "")
    };
    assert_eq!(shown(""), "PATH  STATUS   SIZE  IN BUCKET\nnew   new      1\nold   missing        5\n");
    let long = format!("{}.npy", "x".repeat(76));
    write_below(&home.path().join("tree"), &long, "1");
    assert!(shown("").contains(&format!("{long}\n")), "a long path has a line to itself: {}", shown(""));
    assert!(shown("--json").starts_with("{\"path\":\"new\",\"status\":\"new\""), "{}", shown("--json"));
}

#[test]
fn a_bucket_in_place_of_the_folder_is_refused_with_the_right_order() {
    for arguments in [["status", "./data", "s3://pca/lab"], ["push", "s3://pca/lab", "./data"]] {
        let expected = "`s3://pca/lab` is not a folder on this machine\nhint: swap the two arguments\n";
        Run::tool("ncaas-sync").args(arguments).run().ended_saying(2, expected);
    }
}
