//! Writes on condition, with many at once.

use futures_util::future::join_all;
use ncaas_core::bucket::Bucket;
use ncaas_core::failure::Kind;

use crate::fixture::{key, on_both, on_directory};

#[tokio::test]
async fn exactly_one_of_twenty_writers_creates_a_key() {
    on_both(async |bucket: Bucket| {
        for round in 0..5 {
            let key = key(&format!("lab/claims/{round}"));
            let racers = (0..20).map(|n| {
                let (bucket, key) = (bucket.clone(), key.clone());
                async move { bucket.put_new(&key, format!("racer {n}")).await.unwrap().is_some() }
            });
            let won: Vec<_> = join_all(racers).await;
            assert_eq!(won.iter().filter(|won| **won).count(), 1);
            let winner = won.iter().position(|won| *won).unwrap();
            let (bytes, _) = bucket.read(&key, 100).await.unwrap();
            assert_eq!(bytes, format!("racer {winner}").as_bytes());
        }
    })
    .await;
}

#[tokio::test]
async fn exactly_one_of_twenty_writers_replaces_a_version() {
    on_both(async |bucket: Bucket| {
        let key = key("lab/claims/one");
        bucket.put(&key, "first").await.unwrap();
        let (_, version) = bucket.read(&key, 100).await.unwrap();
        let racers = (0..20).map(|n| {
            let (bucket, key, version) = (bucket.clone(), key.clone(), version.clone());
            async move { bucket.put_if(&key, format!("racer {n}"), &version).await.unwrap().is_some() }
        });
        let won = join_all(racers).await;
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_newer_version_is_not_overwritten() {
    on_both(async |bucket: Bucket| {
        let key = key("lab/a");
        bucket.put(&key, "one").await.unwrap();
        let (_, one) = bucket.read(&key, 100).await.unwrap();
        assert!(bucket.put_if(&key, "two", &one).await.unwrap().is_some());
        assert!(bucket.put_if(&key, "three", &one).await.unwrap().is_none());
        assert_eq!(bucket.read(&key, 100).await.unwrap().0, b"two");
        bucket.delete(&key).await.unwrap();
        assert!(bucket.put_if(&key, "four", &one).await.unwrap().is_none());
        assert_eq!(bucket.head(&key).await.unwrap(), None);
        assert!(bucket.put_new(&key, "five").await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn the_server_is_found_to_support_conditional_writes() {
    on_both(async |bucket: Bucket| {
        assert!(bucket.honours_conditional_writes(&key("lab/submissions/probe")).await.unwrap());
        assert_eq!(bucket.list("lab/submissions/p", None).next_page().await.unwrap().map(|page| page.entries), None);
    })
    .await;
}

#[tokio::test]
async fn no_more_than_the_limit_is_read() {
    on_both(async |bucket: Bucket| {
        bucket.put(&key("lab/a"), vec![b'x'; 100]).await.unwrap();
        assert_eq!(bucket.read(&key("lab/a"), 99).await.unwrap_err().kind, Kind::TooLarge);
        assert_eq!(bucket.read(&key("lab/a"), 100).await.unwrap().0.len(), 100);
    })
    .await;
}

#[tokio::test]
async fn a_reader_never_sees_a_partial_write() {
    on_directory(async |bucket: Bucket| {
        let key = key("lab/a");
        bucket.put(&key, vec![b'0'; 100_000]).await.unwrap();
        let writing = async {
            for n in 0..50_u8 {
                bucket.put(&key, vec![b'0' + n % 10; 100_000]).await.unwrap();
            }
        };
        let reading = async {
            for _ in 0..50 {
                let (bytes, _) = bucket.read(&key, 1_000_000).await.unwrap();
                assert_eq!(bytes.len(), 100_000);
                assert!(bytes.iter().all(|byte| *byte == bytes[0]));
            }
        };
        tokio::join!(writing, reading);
    })
    .await;
}

#[tokio::test]
async fn a_writer_can_overwrite_its_own_version_without_reading_it() {
    on_both(async |bucket: Bucket| {
        let key = key("lab/claims/one");
        let mut version = bucket.put_new(&key, "claimed").await.unwrap().unwrap();
        for round in 0..3 {
            version = bucket.put_if(&key, format!("renewed {round}"), &version).await.unwrap().unwrap();
        }
        assert_eq!(bucket.read(&key, 100).await.unwrap(), (b"renewed 2".to_vec(), version));
    })
    .await;
}
