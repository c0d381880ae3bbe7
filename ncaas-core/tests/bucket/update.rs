//! Updates that lose no change of others.

use futures_util::future::join_all;
use ncaas_core::bucket::Bucket;
use ncaas_core::failure::{Failure, Kind};

use crate::fixture::{key, on_both};

#[tokio::test]
async fn no_line_of_twenty_concurrent_writers_is_lost() {
    on_both(async |bucket: Bucket| {
        let key = key("lab/results/job/logs/certificate.txt");
        let writers = (0..20).map(|n| {
            let (bucket, key) = (bucket.clone(), key.clone());
            async move {
                let append =
                    |old: Option<&[u8]>| Ok(Some([old.unwrap_or_default(), format!("line {n}\n").as_bytes()].concat()));
                bucket.update(&key, 1 << 20, append).await.unwrap()
            }
        });
        assert!(join_all(writers).await.into_iter().all(|written| written));
        let (content, _) = bucket.read(&key, 1 << 20).await.unwrap();
        let mut lines: Vec<_> = String::from_utf8(content).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        let mut expected: Vec<_> = (0..20).map(|n| format!("line {n}")).collect();
        expected.sort();
        assert_eq!(lines, expected);
    })
    .await;
}

#[tokio::test]
async fn an_update_without_a_change_writes_nothing() {
    on_both(async |bucket: Bucket| {
        let key = key("lab/a");
        assert!(!bucket.update(&key, 100, |_| Ok(None)).await.unwrap());
        assert_eq!(bucket.head(&key).await.unwrap(), None);
        bucket.put(&key, "x").await.unwrap();
        let before = bucket.head(&key).await.unwrap();
        assert!(!bucket.update(&key, 100, |old| Ok(old.map(<[u8]>::to_vec))).await.unwrap());
        assert_eq!(bucket.head(&key).await.unwrap(), before);
        let failed = bucket.update(&key, 100, |_| Err(Failure::new(Kind::BadConfig, "no"))).await.unwrap_err();
        assert_eq!(failed.kind, Kind::BadConfig);
        assert_eq!(bucket.read(&key, 100).await.unwrap().0, b"x");
    })
    .await;
}
