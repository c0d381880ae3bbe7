//! Buckets and containers that are not to be trusted: nothing outside the io-dir is read or written.

use std::fs;
use std::os::unix::fs::symlink;

use ncaas_tests::bucket::{TestBucket, files_below};

use super::trees::sync;

#[test]
fn keys_that_lead_out_or_cannot_be_files_are_left_out_and_told_of() {
    let bucket = TestBucket::s3("hostile");
    let home = tempfile::tempdir().unwrap();
    for key in ["lab/good", "lab/a/../../../../../../../../tmp/ncaas-escaped", "lab//double", "lab/pre", "lab/pre/fix"]
    {
        bucket.put(key, "x");
    }
    let long = format!("lab/{}", "n".repeat(300));
    bucket.put(&long, "x");
    let io_dir = home.path().join("io");
    let arguments = ["pull", &format!("{}/lab", bucket.address()), "--io-dir", io_dir.to_str().unwrap(), "--files"];
    let ran = sync(&home, &arguments).run();
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    let mut outcomes: Vec<String> = ran
        .json()
        .iter()
        .filter(|line| line.get("outcome").is_some())
        .map(|line| format!("{} {} {}", line["key"], line["outcome"], line["error"]["kind"]))
        .map(|line| line.replace(&"n".repeat(300), "long").replace('"', ""))
        .collect();
    outcomes.sort();
    // Of two keys of which one is a folder of the other, whichever comes first has its place.
    let both = outcomes.iter().filter(|line| line.starts_with("lab/pre")).count();
    outcomes.retain(|line| !line.starts_with("lab/pre"));
    assert_eq!(both, 2);
    assert_eq!(
        outcomes,
        [
            "lab//double left-out bad-key",
            "lab/a/../../../../../../../../tmp/ncaas-escaped left-out bad-key",
            "lab/good new null",
            "lab/long failed bad-key",
        ]
    );
    assert!(!std::path::Path::new("/tmp/ncaas-escaped").exists());
    let mut files = files_below(&io_dir);
    files.retain(|file| !file.starts_with("lab/pre"));
    assert_eq!(files, ["lab/good"]);
}

#[test]
fn a_link_in_the_io_dir_leads_no_pull_out_of_it() {
    let bucket = TestBucket::directory("pca");
    let home = tempfile::tempdir().unwrap();
    bucket.put("lab/inputs/a", "from the bucket");
    bucket.put("lab/configs/c", "from the bucket");
    let outside = home.path().join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("c"), "outside").unwrap();
    let io_dir = home.path().join("io");
    fs::create_dir_all(io_dir.join("lab/configs")).unwrap();
    symlink(&outside, io_dir.join("lab/inputs")).unwrap();
    symlink(outside.join("c"), io_dir.join("lab/configs/c")).unwrap();
    let arguments = ["pull", &format!("{}/lab", bucket.address()), "--io-dir", io_dir.to_str().unwrap()];
    let ran = sync(&home, &arguments).run();
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    assert_eq!(files_below(&outside), ["c"], "nothing was written through the link");
    assert_eq!(fs::read_to_string(outside.join("c")).unwrap(), "outside");
    assert_eq!(fs::read_to_string(io_dir.join("lab/configs/c")).unwrap(), "from the bucket", "the link was replaced");
}

#[test]
fn a_link_in_a_folder_leads_no_push_out_of_it() {
    let bucket = TestBucket::directory("pca");
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("tree");
    fs::create_dir(&folder).unwrap();
    fs::write(home.path().join("secret"), "secret").unwrap();
    fs::write(folder.join("file"), "content").unwrap();
    symlink("file", folder.join("inside")).unwrap();
    symlink("../secret", folder.join("up")).unwrap();
    symlink(home.path().join("secret"), folder.join("absolute")).unwrap();
    symlink("nothing", folder.join("dangling")).unwrap();
    ncaas_tests::pipe(&format!("mkfifo '{}'", folder.join("fifo").display())).ok();
    let target = format!("{}/t", bucket.address());
    let ran = sync(&home, &["push", folder.to_str().unwrap(), &target, "--files"]).run();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let mut outcomes: Vec<String> = ran
        .json()
        .iter()
        .filter(|line| line.get("outcome").is_some())
        .map(|line| format!("{} {}", line["path"], line["outcome"]).replace('"', ""))
        .collect();
    outcomes.sort();
    assert_eq!(
        outcomes,
        ["absolute left-out", "dangling left-out", "fifo left-out", "file new", "inside new", "up left-out"]
    );
    assert_eq!(bucket.text("t/inside"), "content", "a link that stays inside is what it leads to");
    assert_eq!(bucket.keys().iter().filter(|key| key.starts_with("t/")).count(), 2);
}
