//! Folders and prefixes: pushed, pulled, compared, and nothing lost on the way.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;

use ncaas_tests::Run;
use ncaas_tests::bucket::TestBucket;
use serde_json::Value;
use tempfile::TempDir;

/// A run of ncaas-sync whose index is the test's own.
pub(super) fn sync(home: &TempDir, arguments: &[&str]) -> Run {
    Run::tool("ncaas-sync").args(arguments).env("XDG_CACHE_HOME", home.path().join("cache"))
}

fn write(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn number(record: &Value, field: &str) -> u64 {
    record[field].as_u64().unwrap_or_else(|| panic!("no {field} in {record}"))
}

fn outcomes(lines: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut all: Vec<_> = lines
        .iter()
        .filter(|line| line.get("outcome").is_some())
        .map(|line| (text(&line["path"]), text(&line["outcome"])))
        .collect();
    all.sort();
    all
}

/// Names that a shell, a URL or XML would stumble over.
const ODD: [&str; 6] = ["a b", "$(touch x)", "q'\"", "ü:é", "new\nline", "a+b%20&c#?"];

fn there_and_back(bucket: &TestBucket) {
    let home = tempfile::tempdir().unwrap();
    let from = home.path().join("from");
    for name in ODD {
        write(&from, &format!("odd/{name}/{name}"), name);
    }
    write(&from, "zero", "");
    write(&from, "eight-mib", vec![7; 8 << 20]);
    let long = "n".repeat(255);
    write(&from, &long, "long");
    // Of names of which one is the beginning of the other, `-` sorts before `/`.
    write(&from, "x/1", "1");
    write(&from, "x-/1", "2");
    fs::create_dir_all(from.join("empty/of/all")).unwrap();
    write(&from, ".ncaas-part-1", "no content");
    let large: Vec<u8> = (0..9_000_000_u32).map(|n| (n / 7) as u8).collect();
    write(&from, "large", &large);
    let target = format!("{}/lab/tree", bucket.address());
    let target = target.as_str();
    let source = from.to_str().unwrap();

    let pushed = sync(&home, &["push", source, target]).run().ok().json().remove(0);
    assert_eq!(
        (number(&pushed, "new"), number(&pushed, "failed"), number(&pushed, "left_out")),
        (13, 0, 0),
        "{pushed}"
    );
    assert!(
        bucket.keys().iter().all(|key| key.starts_with("lab/tree/") || key.starts_with(".ncaas")),
        "{:?}",
        bucket.keys()
    );
    for flags in [&[][..], &["--checksum"][..]] {
        let again = sync(&home, &[&["push", source, target], flags].concat()).run().ok().json().remove(0);
        assert_eq!((number(&again, "unchanged"), number(&again, "bytes")), (13, 0), "{flags:?} {again}");
    }
    let strange = tempfile::tempdir().unwrap();
    let unknown = sync(&strange, &["push", source, target]).run().ok().json().remove(0);
    assert_eq!(number(&unknown, "unchanged"), 13, "known by its checksum where there is no index: {unknown}");

    let group = format!("{}/lab", bucket.address());
    let io_dir = home.path().join("io-dir");
    let pulled = sync(&home, &["pull", &group, "--io-dir", io_dir.to_str().unwrap()]).run().ok().json().remove(0);
    assert_eq!((number(&pulled, "new"), number(&pulled, "failed")), (13, 0), "{pulled}");
    let to = io_dir.join("lab/tree");
    for name in ODD {
        assert_eq!(fs::read_to_string(to.join("odd").join(name).join(name)).unwrap(), name);
    }
    assert_eq!(fs::read(to.join("large")).unwrap(), large);
    assert_eq!(fs::read(to.join(&long)).unwrap(), b"long");
    assert!(to.join("empty/of/all").is_dir(), "an empty folder survives");
    let again = sync(&home, &["pull", &group, "--io-dir", io_dir.to_str().unwrap()]).run().ok().json().remove(0);
    assert_eq!((number(&again, "unchanged"), number(&again, "bytes")), (13, 0), "{again}");
    let status = sync(&home, &["status", &group, "--io-dir", io_dir.to_str().unwrap()]).run().ok();
    assert_eq!(status.text(), "", "nothing differs");
}

#[test]
fn a_tree_goes_to_a_directory_and_back() {
    there_and_back(&TestBucket::directory("pca"));
}

#[test]
fn a_tree_goes_to_s3_and_back() {
    there_and_back(&TestBucket::s3("sync"));
}

#[test]
fn more_large_files_than_memory_holds_parts_of_go_at_once() {
    let bucket = TestBucket::s3("sync");
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("tree");
    fs::create_dir(&folder).unwrap();
    for number in 0..8 {
        fs::File::create(folder.join(number.to_string())).unwrap().set_len(17 << 20).unwrap();
    }
    let target = format!("{}/t", bucket.address());
    let pushed = sync(&home, &["push", folder.to_str().unwrap(), &target]).run().ok().json().remove(0);
    assert_eq!((number(&pushed, "new"), number(&pushed, "bytes")), (8, 8 * (17 << 20)));
}

fn changes_are_seen(bucket: &TestBucket) {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("tree");
    for name in ["same", "grown", "touched", "gone"] {
        write(&folder, name, "12345");
    }
    let target = format!("{}/t", bucket.address());
    let (source, target) = (folder.to_str().unwrap(), target.as_str());
    sync(&home, &["push", source, target]).run().ok();
    write(&folder, "grown", "123456");
    write(&folder, "fresh", "1");
    fs::remove_file(folder.join("gone")).unwrap();
    let touched = fs::File::options().append(true).open(folder.join("touched")).unwrap();
    touched.set_modified(std::time::SystemTime::now()).unwrap();

    let mut status = sync(&home, &["status", target, source]).run().ok().json();
    status.sort_by_key(|line| line["path"].to_string());
    let states: Vec<_> = status.iter().map(|line| format!("{} {}", line["path"], line["status"])).collect();
    assert_eq!(states, [r#""fresh" "new""#, r#""gone" "missing""#, r#""grown" "changed""#]);

    let pushed = sync(&home, &["push", source, target, "--files"]).run().ok().json();
    let expected = [("fresh", "new"), ("grown", "changed"), ("same", "unchanged"), ("touched", "unchanged")];
    assert_eq!(outcomes(&pushed), expected.map(|(path, outcome)| (path.to_owned(), outcome.to_owned())));
    assert_eq!(bucket.text("t/gone"), "12345", "nothing is deleted that nobody asked to have deleted");

    // Changed in place, and its modification time set back.
    let path = folder.join("same");
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "54321").unwrap();
    fs::File::options().append(true).open(&path).unwrap().set_modified(before).unwrap();
    let pushed = sync(&home, &["push", source, target, "--checksum", "--delete", "--files"]).run().ok().json();
    let changed: Vec<_> = outcomes(&pushed).into_iter().filter(|(_, outcome)| outcome != "unchanged").collect();
    assert_eq!(changed, [("gone".to_owned(), "deleted".to_owned()), ("same".to_owned(), "changed".to_owned())]);
    assert_eq!((bucket.text("t/same").as_str(), bucket.get("t/gone")), ("54321", None));

    // The same of what was pulled, where status and pull look at it.
    let io_dir = home.path().join("io-dir");
    let of_io_dir = ["--io-dir", io_dir.to_str().unwrap(), "--checksum"];
    sync(&home, &[&["pull", target], &of_io_dir[..2]].concat()).run().ok();
    let path = io_dir.join("t/same");
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "12345").unwrap();
    fs::File::options().append(true).open(&path).unwrap().set_modified(before).unwrap();
    let status = sync(&home, &[&["status", target], &of_io_dir[..]].concat()).run().ok().json();
    assert_eq!(status.len(), 1);
    assert_eq!((&status[0]["path"], &status[0]["status"]), (&"same".into(), &"changed".into()));
    let pulled = sync(&home, &[&["pull", target], &of_io_dir[..]].concat()).run().ok().json().remove(0);
    assert_eq!((number(&pulled, "changed"), number(&pulled, "unchanged")), (1, 3), "{pulled}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "54321");
}

#[test]
fn what_differs_from_a_directory_is_seen_and_nothing_else_sent() {
    changes_are_seen(&TestBucket::directory("pca"));
}

#[test]
fn what_differs_from_s3_is_seen_and_nothing_else_sent() {
    changes_are_seen(&TestBucket::s3("sync"));
}

#[test]
fn nothing_is_deleted_where_the_source_is_empty_or_was_not_all_brought() {
    let bucket = TestBucket::directory("pca");
    let home = tempfile::tempdir().unwrap();
    bucket.put("t/a", "1");
    bucket.put("t/sub/b", "1");
    let target = format!("{}/t", bucket.address());
    let folder = home.path().join("tree");
    fs::create_dir(&folder).unwrap();
    let source = folder.to_str().unwrap();
    let ran = sync(&home, &["push", source, &target, "--delete"]).run();
    let ran = ran.ended_saying(1, "nothing was deleted, of 2 objects that have no file: the folder is empty");
    assert_eq!(number(&ran.json()[0], "deleted"), 0);
    // A link to a folder stands for what may lie below it.
    write(&folder, "c", "1");
    fs::create_dir(home.path().join("elsewhere")).unwrap();
    symlink(home.path().join("elsewhere"), folder.join("sub")).unwrap();
    let ran = sync(&home, &["push", source, &target, "--delete", "--files"]).run();
    let ran = ran.ended_saying(0, "`sub` cannot go into a bucket: it is a link that leads out of the folder");
    let deleted: Vec<_> = outcomes(&ran.json()).into_iter().filter(|(_, outcome)| outcome == "deleted").collect();
    assert_eq!(deleted, [("a".to_owned(), "deleted".to_owned())]);
    assert_eq!(bucket.text("t/sub/b"), "1");
    sync(&home, &["push", home.path().join("none").to_str().unwrap(), &target, "--delete"])
        .run()
        .ended_saying(1, "none");
    assert_eq!(bucket.text("t/c"), "1");
}

#[test]
fn files_that_are_damaged_on_either_side_are_found() {
    let bucket = TestBucket::directory("pca");
    let home = tempfile::tempdir().unwrap();
    let io_dir = home.path().join("io-dir/lab");
    let sum = |content: &str| {
        let line = ncaas_tests::pipe(&format!("printf %s {content} | sha256sum")).text();
        line.split(' ').next().unwrap().to_owned()
    };
    let result = |name: &str| serde_json::json!({"path": format!("results/job__pca_1/process_results/{name}"), "size": 5, "sha256": sum("12345"), "source": "/x"});
    for name in ["good", "bad-here", "bad-there", "gone-there"] {
        write(
            &io_dir,
            &format!("results/job__pca_1/process_results/{name}"),
            if name == "bad-here" { "1234x" } else { "12345" },
        );
        if name != "gone-there" {
            let content = if name == "bad-there" { "1234x" } else { "12345" };
            bucket.put(&format!("lab/results/job__pca_1/process_results/{name}"), content);
        }
    }
    let record = |names: &[&str]| {
        serde_json::json!({"job": {"id": "job__pca_1", "bucket": bucket.address(), "group": "lab"}, "io_dir": io_dir,
            "results": names.iter().map(|name| result(name)).collect::<Vec<_>>()})
        .to_string()
    };
    sync(&home, &["verify"]).stdin(record(&["good"])).run().ok();
    let all = record(&["good", "bad-here", "bad-there", "gone-there"]);
    let ran = sync(&home, &["verify", "--files"]).stdin(all).run();
    let ran = ran.ended_saying(1, "of 4 files that `job__pca_1` made, 1 different in the bucket, 1 different in the io-dir, 1 missing in the bucket");
    let lines = ran.json();
    assert_eq!(lines.last().unwrap()["error"]["kind"], "checksum-mismatch");
    let of =
        |name: &str| lines.iter().find(|line| line["path"].as_str().is_some_and(|path| path.ends_with(name))).unwrap();
    assert_eq!((&of("/bad-here")["io_dir"], &of("/bad-here")["bucket"]), (&"different".into(), &"same".into()));
    assert_eq!((&of("/gone-there")["io_dir"], &of("/gone-there")["bucket"]), (&"same".into(), &"missing".into()));
}

#[test]
fn datasets_and_a_config_are_brought_for_a_run_from_arguments() {
    let bucket = TestBucket::directory("pca");
    let home = tempfile::tempdir().unwrap();
    bucket.put("lab/inputs/a.txt", "1");
    bucket.put("lab/inputs/folder/b", "2");
    bucket.put("lab/configs/c.yaml", "n: 1");
    let (group, io_dir) = (format!("{}/lab", bucket.address()), home.path().join("io"));
    let arguments = ["pull", &group, "--io-dir", io_dir.to_str().unwrap(), "--data", "lab/inputs/a.txt"];
    let more = ["--data", "lab/inputs/folder/", "--config", "lab/configs/c.yaml"];
    let records = sync(&home, &[&arguments[..], &more[..]].concat()).run().ok().records();
    assert_eq!(records.len(), 2);
    for record in &records {
        let config = record.configname.as_deref().unwrap();
        assert_eq!(fs::read_to_string(config).unwrap(), "n: 1");
        assert!(Path::new(record.dataname.as_ref().unwrap().as_str().unwrap()).exists());
    }
    let missing = [&arguments[..5], &["lab/inputs/none"]].concat();
    sync(&home, &missing).run().ended_saying(1, "lab/inputs/none`: there is no such object");
    let elsewhere = [&arguments[..5], &["other/inputs/a"]].concat();
    sync(&home, &elsewhere).run().ended_saying(1, "`other/inputs/a` is not one of the group's keys");
}

#[test]
fn a_sparse_file_comes_back_with_its_holes() {
    const SIZE: u64 = 40 << 20;
    let bucket = TestBucket::s3("sparse");
    let home = tempfile::tempdir().unwrap();
    let from = home.path().join("from");
    write(&from, "sparse", "begins");
    let file = fs::File::options().write(true).open(from.join("sparse")).unwrap();
    file.write_all_at(b"in the middle", SIZE / 2).unwrap();
    file.set_len(SIZE).unwrap();
    let target = format!("{}/lab", bucket.address());
    sync(&home, &["push", from.to_str().unwrap(), &target]).run().ok();
    let back = home.path().join("back");
    sync(&home, &["pull", &target, "--io-dir", back.to_str().unwrap()]).run().ok();
    let there = back.join("lab/sparse");
    assert!(fs::read(&there).unwrap() == fs::read(from.join("sparse")).unwrap());
    let blocks = fs::metadata(&there).unwrap().blocks();
    assert!(blocks * 512 < SIZE / 2, "{blocks} blocks");
}
