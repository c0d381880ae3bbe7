//! Listings: their order, their pages, where they begin, and folders.

use futures_util::StreamExt;
use ncaas_core::bucket::Bucket;
use ncaas_core::failure::Kind;

use crate::fixture::{everything, key, keys_of, on_both, on_directory, on_server};

async fn put_all(bucket: &Bucket, keys: impl IntoIterator<Item = String>) {
    futures_util::stream::iter(keys)
        .for_each_concurrent(8, |text| async move { bucket.put(&key(&text), "x").await.unwrap() })
        .await;
}

#[tokio::test]
async fn keys_come_in_the_order_of_their_bytes() {
    on_both(async |bucket: Bucket| {
        // `.` sorts before `/`, which sorts before `0`: a folder comes between its siblings.
        let keys = ["a!", "a-b", "a.txt", "a/b", "a/b.c", "a/c/d", "a0", "b", "Ü", "日"];
        put_all(&bucket, keys.map(str::to_owned)).await;
        assert_eq!(keys_of(&everything(&bucket, "").await.entries), keys);
        assert_eq!(keys_of(&everything(&bucket, "a/").await.entries), ["a/b", "a/b.c", "a/c/d"]);
        assert_eq!(keys_of(&everything(&bucket, "a/b").await.entries), ["a/b", "a/b.c"]);
        assert_eq!(keys_of(&everything(&bucket, "a/b/").await.entries), [""; 0]);
        assert_eq!(keys_of(&everything(&bucket, "../").await.entries), [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_listing_begins_after_the_given_key() {
    on_both(async |bucket: Bucket| {
        let keys = ["a/1", "a/2/x", "a/2/y", "a/3", "b/1"];
        put_all(&bucket, keys.map(str::to_owned)).await;
        for (at, after) in keys.iter().enumerate() {
            let rest = bucket.list("", Some(after)).next_page().await.unwrap().map(|page| page.entries);
            assert_eq!(keys_of(&rest.unwrap_or_default()), keys[at + 1..], "after {after}");
        }
        let between = bucket.list("a/", Some("a/2/xx")).next_page().await.unwrap().unwrap();
        assert_eq!(keys_of(&between.entries), ["a/2/y", "a/3"]);
    })
    .await;
}

#[tokio::test]
async fn a_listing_of_many_objects_comes_in_pages_and_is_complete() {
    on_both(async |bucket: Bucket| {
        let keys: Vec<_> = (0..1010).map(|n| format!("lab/{:02}/{n:04}", n % 7)).collect();
        put_all(&bucket, keys.clone()).await;
        let mut listed = Vec::new();
        let mut listing = bucket.list("lab/", None);
        while let Some(page) = listing.next_page().await.unwrap() {
            assert!(page.entries.len() <= 1000);
            listed.extend(page.entries.into_iter().map(|entry| entry.key.as_str().to_owned()));
        }
        let mut expected = keys;
        expected.sort();
        assert_eq!(listed, expected);
        assert!(listing.next_page().await.unwrap().is_none(), "the end stays the end");
    })
    .await;
}

#[tokio::test]
async fn a_folder_with_more_names_than_memory_holds_is_listed_completely_in_order() {
    on_directory(async |bucket: Bucket| {
        let folder = std::path::Path::new(bucket.address()).join("lab");
        std::fs::create_dir(&folder).unwrap();
        for n in 0..20_000 {
            std::fs::File::create(folder.join(format!("{n:05}"))).unwrap();
        }
        let listed = everything(&bucket, "").await.entries;
        assert_eq!(listed.len(), 20_000);
        assert!(listed.iter().enumerate().all(|(n, entry)| entry.key.as_str() == format!("lab/{n:05}")));
    })
    .await;
}

#[tokio::test]
async fn a_folder_is_listed_without_the_content_of_its_folders() {
    on_both(async |bucket: Bucket| {
        let keys = ["lab/a/1", "lab/a/2", "lab/b", "lab/c/d/e", "other/x"];
        put_all(&bucket, keys.map(str::to_owned)).await;
        let page = bucket.list_folder("lab/", None).next_page().await.unwrap().unwrap();
        assert_eq!(keys_of(&page.entries), ["lab/b"]);
        assert_eq!(page.folders, [key("lab/a/"), key("lab/c/")]);
        let page = bucket.list_folder("", None).next_page().await.unwrap().unwrap();
        assert_eq!(page.folders, [key("lab/"), key("other/")]);
        assert!(page.entries.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_entry_has_size_and_time() {
    on_both(async |bucket: Bucket| {
        let before = jiff::Timestamp::now();
        bucket.put(&key("lab/a"), "12345").await.unwrap();
        let entry = everything(&bucket, "").await.entries.remove(0);
        assert_eq!(entry.size, 5);
        let age = entry.modified.duration_since(before).as_secs().abs();
        assert!(age < 60, "{age} s");
        let head = bucket.head(&key("lab/a")).await.unwrap().unwrap();
        assert_eq!((head.size, head.etag), (5, entry.etag));
    })
    .await;
}

#[tokio::test]
async fn a_key_that_no_file_can_have_is_listed_as_unusable() {
    on_server(async |bucket: Bucket| {
        let (client, name) = bucket.as_s3().unwrap();
        for key in ["lab/../../etc/passwd", "lab//double", "lab/good"] {
            client.put_object().bucket(name).key(key).body(Vec::new().into()).send().await.unwrap();
        }
        let page = everything(&bucket, "lab/").await;
        assert_eq!(keys_of(&page.entries), ["lab/good"]);
        let unusable: Vec<_> = page.unusable.iter().map(|it| (it.name.as_str(), it.why.kind)).collect();
        assert_eq!(unusable, [("lab/../../etc/passwd", Kind::BadKey), ("lab//double", Kind::BadKey)]);
    })
    .await;
}
