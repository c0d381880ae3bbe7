//! Names of all kinds go into a bucket and come out as they were.

use ncaas_core::bucket::Bucket;
use ncaas_core::failure::Kind;

use crate::fixture::{download, everything, key, keys_of, on_both, unique_name};

const WEIRD: [&str; 16] = [
    " leading and trailing ",
    "$(touch x)",
    "'single' \"double\" `back`",
    "+plus%2Bpercent%",
    "16:52:06.836494condition_0_0",
    "a\\b",
    "back\rslash\ttab",
    "del\u{7f}",
    "emoji 🧠",
    "hash#query?&=;",
    "line\nbreak",
    "naïve/ünïcøde/日本語",
    "nfd e\u{301}",
    "{brace}[bracket]<tag>",
    "~tilde^caret|pipe*",
    "ÿ",
];

#[tokio::test]
async fn unusual_names_are_stored_unchanged() {
    on_both(async |bucket: Bucket| {
        for name in WEIRD {
            let key = key(&format!("lab/{name}"));
            bucket.put(&key, name).await.unwrap();
            let (bytes, _) = bucket.read(&key, 1024).await.unwrap();
            assert_eq!(bytes, name.as_bytes());
            assert_eq!(bucket.head(&key).await.unwrap().unwrap().size, name.len() as u64);
        }
        let listed = everything(&bucket, "").await;
        let mut expected: Vec<_> = WEIRD.iter().map(|name| format!("lab/{name}")).collect();
        expected.sort();
        assert_eq!(keys_of(&listed.entries), expected);
        assert_eq!(listed.unusable.len(), 0);
        for name in WEIRD {
            bucket.delete(&key(&format!("lab/{name}"))).await.unwrap();
        }
        assert!(everything(&bucket, "lab/x").await.entries.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_missing_bucket_is_distinguished_from_an_existing_one() {
    let absent = Bucket::open(&format!("s3://{}", unique_name())).await.unwrap_err();
    assert_eq!(absent.kind, Kind::BucketNotFound, "{absent}");
    let absent = Bucket::open("/no/such/directory").await.unwrap_err();
    assert_eq!(absent.kind, Kind::BucketNotFound, "{absent}");
    on_both(async |bucket: Bucket| {
        let again = Bucket::open(bucket.address()).await.unwrap();
        assert_eq!((again.name(), again.address()), (bucket.name(), bucket.address()));
        Bucket::create(bucket.address()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_missing_object_is_reported_as_missing() {
    on_both(async |bucket: Bucket| {
        assert_eq!(bucket.head(&key("lab/none")).await.unwrap(), None);
        assert_eq!(bucket.read(&key("lab/none"), 10).await.unwrap_err().kind, Kind::ObjectNotFound);
        let temp = tempfile::tempdir().unwrap();
        let to = temp.path().join("none");
        assert_eq!(download(&bucket, &key("lab/none"), &to).await.unwrap_err().kind, Kind::ObjectNotFound);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0, "a failed download leaves nothing");
        bucket.delete(&key("lab/none")).await.unwrap();
        assert!(!bucket.exists_under("lab/").await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_folders_key_is_not_an_object() {
    on_both(async |bucket: Bucket| {
        let folder = key("lab/inputs/");
        assert_eq!(bucket.put(&folder, "x").await.unwrap_err().kind, Kind::BadKey);
        assert_eq!(bucket.read(&folder, 1).await.unwrap_err().kind, Kind::BadKey);
        bucket.put(&folder, "").await.unwrap();
        assert!(bucket.exists_under("lab/").await.unwrap());
        assert_eq!(bucket.head(&folder).await.unwrap().unwrap().size, 0);
        assert_eq!(bucket.head(&key("lab/inputs")).await.unwrap(), None);
        assert!(bucket.put_new(&folder, "").await.unwrap().is_none());
        assert_eq!(keys_of(&everything(&bucket, "").await.entries), ["lab/inputs/"]);
        bucket.delete(&folder).await.unwrap();
        assert_eq!(bucket.head(&folder).await.unwrap(), None);
    })
    .await;
}
