//! `ncaas-sync uploads`.

use ncaas_tests::bucket::TestBucket;
use ncaas_tests::sync::ncaas_sync;

#[test]
fn uploads_drop_removes_abandoned_uploads() {
    let bucket = TestBucket::s3("resume");
    let TestBucket::S3 { name, client, runtime } = &bucket else { panic!("a bucket on S3") };
    runtime.block_on(client.create_multipart_upload().bucket(name).key("lab/x").send()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let dropped = ncaas_sync(&home, &["uploads", &bucket.address(), "--drop"]).run().ok().json();
    assert_eq!((&dropped[0]["key"], &dropped[0]["dropped"]), (&"lab/x".into(), &true.into()));
    assert_eq!(ncaas_sync(&home, &["uploads", &bucket.address()]).run().ok().text(), "");
}
