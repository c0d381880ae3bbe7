//! Trees pushed to a bucket and pulled again are the same.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::sync::{count, ncaas_sync, write_below};

/// Names that a shell, a URL or XML would stumble over.
const ODD: [&str; 6] = ["a b", "$(touch x)", "q'\"", "ü:é", "new\nline", "a+b%20&c#?"];

fn there_and_back(bucket: &TestBucket) {
    let home = tempfile::tempdir().unwrap();
    let from = home.path().join("from");
    for name in ODD {
        write_below(&from, &format!("odd/{name}/{name}"), name);
    }
    write_below(&from, "zero", "");
    write_below(&from, "eight-mib", vec![7; 8 << 20]);
    let long = "n".repeat(255);
    write_below(&from, &long, "long");
    // Of names of which one is the beginning of the other, `-` sorts before `/`.
    write_below(&from, "x/1", "1");
    write_below(&from, "x-/1", "2");
    fs::create_dir_all(from.join("empty/of/all")).unwrap();
    write_below(&from, ".ncaas-part-1", "no content");
    let large: Vec<u8> = (0..9_000_000_u32).map(|n| (n / 7) as u8).collect();
    write_below(&from, "large", &large);
    let target = format!("{}/lab/tree", bucket.address());
    let target = target.as_str();
    let source = from.to_str().unwrap();

    let pushed = ncaas_sync(&home, &["push", source, target]).run().ok().json().remove(0);
    assert_eq!((count(&pushed, "new"), count(&pushed, "failed"), count(&pushed, "left_out")), (13, 0, 0), "{pushed}");
    assert!(
        bucket.keys().iter().all(|key| key.starts_with("lab/tree/") || key.starts_with(".ncaas")),
        "{:?}",
        bucket.keys()
    );
    for flags in [&[][..], &["--checksum"][..]] {
        let again = ncaas_sync(&home, &[&["push", source, target], flags].concat()).run().ok().json().remove(0);
        assert_eq!((count(&again, "unchanged"), count(&again, "bytes")), (13, 0), "{flags:?} {again}");
    }
    let strange = tempfile::tempdir().unwrap();
    let unknown = ncaas_sync(&strange, &["push", source, target]).run().ok().json().remove(0);
    assert_eq!(count(&unknown, "unchanged"), 13, "known by its checksum where there is no index: {unknown}");

    let group = format!("{}/lab", bucket.address());
    let io_dir = home.path().join("io-dir");
    let pulled = ncaas_sync(&home, &["pull", &group, "--io-dir", io_dir.to_str().unwrap()]).run().ok().json().remove(0);
    assert_eq!((count(&pulled, "new"), count(&pulled, "failed")), (13, 0), "{pulled}");
    let to = io_dir.join("lab/tree");
    for name in ODD {
        assert_eq!(fs::read_to_string(to.join("odd").join(name).join(name)).unwrap(), name);
    }
    assert_eq!(fs::read(to.join("large")).unwrap(), large);
    assert_eq!(fs::read(to.join(&long)).unwrap(), b"long");
    assert!(to.join("empty/of/all").is_dir(), "an empty folder survives");
    let again = ncaas_sync(&home, &["pull", &group, "--io-dir", io_dir.to_str().unwrap()]).run().ok().json().remove(0);
    assert_eq!((count(&again, "unchanged"), count(&again, "bytes")), (13, 0), "{again}");
    let status = ncaas_sync(&home, &["status", &group, "--io-dir", io_dir.to_str().unwrap()]).run().ok();
    assert_eq!(status.text(), "", "nothing differs");
}

#[test]
fn a_tree_round_trips_through_a_directory() {
    there_and_back(&TestBucket::directory("pca"));
}

#[test]
fn a_tree_round_trips_through_s3() {
    there_and_back(&TestBucket::s3("sync"));
}

/// A sparse file, pushed into a bucket and pulled from it, takes as little space as before.
fn push_and_pull_a_sparse_file(bucket: &TestBucket) {
    const SIZE: u64 = 40 << 20;
    let home = tempfile::tempdir().unwrap();
    let from = home.path().join("from");
    write_below(&from, "sparse", "begins");
    let file = fs::File::options().write(true).open(from.join("sparse")).unwrap();
    file.write_all_at(b"in the middle", SIZE / 2).unwrap();
    file.set_len(SIZE).unwrap();
    let target = format!("{}/lab", bucket.address());
    ncaas_sync(&home, &["push", from.to_str().unwrap(), &target]).run().ok();
    let back = home.path().join("back");
    ncaas_sync(&home, &["pull", &target, "--io-dir", back.to_str().unwrap()]).run().ok();
    let there = back.join("lab/sparse");
    assert!(fs::read(&there).unwrap() == fs::read(from.join("sparse")).unwrap());
    let blocks = fs::metadata(&there).unwrap().blocks();
    assert!(blocks * 512 < SIZE / 2, "{blocks} blocks");
}

#[test]
fn a_sparse_file_keeps_its_holes() {
    push_and_pull_a_sparse_file(&TestBucket::s3("sparse"));
}

#[test]
fn a_sparse_file_keeps_its_holes_in_a_directory() {
    push_and_pull_a_sparse_file(&TestBucket::directory("sparse"));
}
