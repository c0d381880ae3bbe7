//! `ncaas-submit init`.

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::submissions::ncaas_submit;

#[test]
fn init_creates_a_bucket_with_its_folders_and_a_queue() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = folder.path().join("pca");
    let init = ["init", bucket.to_str().unwrap(), "--group", "lab", "--group", "two"];
    ncaas_submit(&init).run().ok();
    ncaas_submit(&init).run().ok();
    for folder in ["lab/inputs", "lab/configs", "lab/submissions", "two/results", "logs/active", "logs/two"] {
        assert!(bucket.join(folder).is_dir(), "{folder}");
    }
    ncaas_submit(&["init", bucket.to_str().unwrap(), "--group", "a/b"])
        .run()
        .ended_saying(2, "`a/b` is not a valid group");
    ncaas_submit(&["init", bucket.to_str().unwrap(), "--group", "lab "])
        .run()
        .ended_saying(2, "`lab ` is not a valid group: it begins or ends with a space");
    let s3 = TestBucket::s3("init");
    let made = ncaas_submit(&["init", &s3.address(), "--group", "lab", "--queue"]).run().ok();
    assert!(made.json()[0]["queue"].as_str().unwrap().contains(&format!("ncaas-{}", s3.analysis())));
    assert!(s3.keys().contains(&"lab/submissions/".to_owned()));
}
