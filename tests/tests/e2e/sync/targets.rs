//! Groups and buckets with typing errors are refused, with the nearest right name, before anything is created.

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::sync::{ncaas_sync, write_below};

fn a_misspelt_group_is_refused(bucket: &TestBucket) {
    bucket.put("lab/submissions/1_submit.json", "{}");
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("tree");
    write_below(&folder, "a", "1");
    let (folder, address) = (folder.to_str().unwrap(), bucket.address());
    let (group, inputs) = (format!("{address}/labb"), format!("{address}/labb/inputs"));
    for arguments in [
        &["push", folder, &inputs][..],
        &["status", &inputs, folder],
        &["status", &group],
        &["pull", &group],
        &["verify", &group, "job__pca_1"],
        &["uploads", &group],
    ] {
        let ran = ncaas_sync(&home, arguments).dir(home.path()).run().ended_saying(2, "has no group `labb`");
        assert!(ran.stderr.contains("did you mean `lab`?"), "{}", ran.stderr);
    }
    assert!(!bucket.keys().iter().any(|key| key.contains("labb")) && !home.path().join("io-dir").exists());
    // A new group with another name may come, and so may any folder of a bucket that has no submissions.
    ncaas_sync(&home, &["push", folder, &format!("{address}/other/inputs")]).run().ok();
    ncaas_sync(&home, &["push", folder, &format!("{address}/othes")]).run().ok();
}

#[test]
fn a_misspelt_group_is_refused_on_s3_and_in_a_directory() {
    a_misspelt_group_is_refused(&TestBucket::s3("sync-typo"));
    a_misspelt_group_is_refused(&TestBucket::directory("pca"));
}

#[test]
fn a_misspelt_directory_bucket_is_refused() {
    let bucket = TestBucket::directory("pca");
    bucket.put("lab/submissions/1_submit.json", "{}");
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("tree");
    write_below(&folder, "a", "1");
    let wrong = format!("{}a", bucket.address());
    let (group, inputs) = (format!("{wrong}/lab"), format!("{wrong}/lab/inputs"));
    for arguments in [&["push", folder.to_str().unwrap(), &inputs][..], &["status", &group], &["pull", &group]] {
        let ran = ncaas_sync(&home, arguments).run().ended_saying(1, "does not exist");
        assert!(ran.stderr.contains(&format!("did you mean `{}`?", bucket.address())), "{}", ran.stderr);
    }
    assert!(!std::path::Path::new(&wrong).exists());
}

#[test]
fn a_bucket_is_not_taken_for_a_group() {
    let bucket = TestBucket::directory("pca");
    bucket.put("lab/submissions/1_submit.json", "{}");
    let home = tempfile::tempdir().unwrap();
    for verb in ["status", "pull"] {
        let ran = ncaas_sync(&home, &[verb, &bucket.address()]).dir(home.path()).run();
        let ran = ran.ended_saying(2, "is a bucket without a group");
        assert!(ran.stderr.contains("/pca/lab`"), "{}", ran.stderr);
    }
    assert!(!home.path().join("io-dir").exists());
}
