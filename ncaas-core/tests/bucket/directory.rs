//! Entries that only a directory can have: links, devices, names that are not text, and files where folders are needed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use ncaas_core::bucket::Bucket;
use ncaas_core::failure::Kind;

use crate::fixture::{download, everything, key, keys_of, on_directory, upload};

fn root(bucket: &Bucket) -> PathBuf {
    Path::new(bucket.address()).to_owned()
}

#[tokio::test]
async fn no_link_leads_out_of_the_directory() {
    on_directory(async |bucket: Bucket| {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        symlink(outside.path(), root(&bucket).join("absolute")).unwrap();
        symlink("../..", root(&bucket).join("upwards")).unwrap();
        symlink(outside.path().join("secret"), root(&bucket).join("file")).unwrap();

        for text in ["absolute/secret", "upwards/etc", "file"] {
            let key = key(text);
            for kind in [
                bucket.read(&key, 100).await.unwrap_err().kind,
                bucket.head(&key).await.unwrap_err().kind,
                download(&bucket, &key, &outside.path().join("got")).await.unwrap_err().kind,
            ] {
                assert_eq!(kind, Kind::UnsafePath, "{text}");
            }
        }
        for text in ["absolute/new", "upwards/new"] {
            let key = key(text);
            for kind in [
                bucket.put(&key, "x").await.unwrap_err().kind,
                bucket.put_new(&key, "x").await.unwrap_err().kind,
                bucket.delete(&key).await.unwrap_err().kind,
                upload(&bucket, Path::new("/etc/hostname"), &key).await.unwrap_err().kind,
            ] {
                assert_eq!(kind, Kind::UnsafePath, "{text}");
            }
            assert_eq!(bucket.list(&format!("{text}/"), None).next_page().await.unwrap_err().kind, Kind::UnsafePath);
        }
        // A link that has the key's own name is replaced, and what it led to stays as it was.
        bucket.put(&key("file"), "mine").await.unwrap();
        assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"secret");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    })
    .await;
}

/// A person who may write to one group can put any link there.
#[tokio::test]
async fn no_link_leads_from_one_group_to_another() {
    on_directory(async |bucket: Bucket| {
        bucket.put(&key("b/results/job__pca_1/claim.json"), "theirs").await.unwrap();
        bucket.put(&key("a/inputs/mine"), "mine").await.unwrap();
        symlink("../b/results", root(&bucket).join("a/results")).unwrap();
        symlink("../../b/results/job__pca_1/claim.json", root(&bucket).join("a/inputs/link")).unwrap();
        symlink("inputs/nothing", root(&bucket).join("a/own link")).unwrap();
        fs::create_dir(root(&bucket).join("a/deep")).unwrap();
        symlink("../inputs/mine", root(&bucket).join("a/deep/own")).unwrap();
        symlink("b", root(&bucket).join("c")).unwrap();

        for text in ["a/results/job__pca_1/claim.json", "a/inputs/link", "c/results/job__pca_1/claim.json"] {
            let key = key(text);
            let version = bucket.read(&self::key("b/results/job__pca_1/claim.json"), 100).await.unwrap().1;
            for kind in [
                bucket.read(&key, 100).await.unwrap_err().kind,
                bucket.head(&key).await.unwrap_err().kind,
                bucket.put_if(&key, "forged", &version).await.unwrap_err().kind,
            ] {
                assert_eq!(kind, Kind::UnsafePath, "{text}");
            }
        }
        for text in ["a/results/job__pca_1/cancel.json", "a/results/new/x", "a/results/job__pca_1/", "c/new"] {
            let key = key(text);
            for kind in [bucket.put(&key, "").await.unwrap_err().kind, bucket.put_new(&key, "").await.unwrap_err().kind]
            {
                assert_eq!(kind, Kind::UnsafePath, "{text}");
            }
        }
        assert_eq!(bucket.delete(&key("a/results/job__pca_1/claim.json")).await.unwrap_err().kind, Kind::UnsafePath);
        for prefix in ["a/results/", "a/results/job__pca_1/", "c/", "c/results/"] {
            assert_eq!(bucket.list(prefix, None).next_page().await.unwrap_err().kind, Kind::UnsafePath, "{prefix}");
        }
        let page = everything(&bucket, "").await;
        assert_eq!(keys_of(&page.entries), ["a/deep/own", "a/inputs/mine", "b/results/job__pca_1/claim.json"]);
        let unusable: Vec<_> = page.unusable.iter().map(|it| (it.name.as_str(), it.why.kind)).collect();
        let refused = ["a/inputs/link", "a/own link", "a/results", "c"].map(|name| (name, Kind::UnsafePath));
        assert_eq!(unusable, refused);
        assert_eq!(fs::read_dir(root(&bucket).join("b/results")).unwrap().count(), 1);
        assert_eq!(fs::read(root(&bucket).join("b/results/job__pca_1/claim.json")).unwrap(), b"theirs");
    })
    .await;
}

#[tokio::test]
async fn one_bad_entry_does_not_end_a_listing() {
    on_directory(async |bucket: Bucket| {
        bucket.put(&key("a/good"), "x").await.unwrap();
        symlink("loop", root(&bucket).join("a/loop")).unwrap();
        symlink(format!("{}/x", "n".repeat(300)), root(&bucket).join("a/long")).unwrap();
        let page = everything(&bucket, "").await;
        assert_eq!(keys_of(&page.entries), ["a/good"]);
        let unusable: Vec<_> = page.unusable.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(unusable, ["a/long", "a/loop"]);
    })
    .await;
}

#[tokio::test]
async fn a_broken_link_is_not_a_missing_object() {
    on_directory(async |bucket: Bucket| {
        fs::create_dir(root(&bucket).join("lab")).unwrap();
        symlink("nothing", root(&bucket).join("lab/link")).unwrap();
        let key = key("lab/link");
        for failure in [
            bucket.read(&key, 100).await.unwrap_err(),
            bucket.head(&key).await.unwrap_err(),
            bucket.update(&key, 100, |_| Ok(Some(b"new".to_vec()))).await.unwrap_err(),
        ] {
            assert!(failure.kind == Kind::UnsafePath && failure.message.contains("lab/link"), "{failure}");
        }
    })
    .await;
}

#[tokio::test]
async fn files_that_cannot_be_objects_are_listed_as_unusable() {
    on_directory(async |bucket: Bucket| {
        let lab = root(&bucket).join("lab");
        fs::create_dir_all(lab.join("folder")).unwrap();
        fs::write(lab.join("folder/a"), "a").unwrap();
        symlink("folder/a", lab.join("link")).unwrap();
        symlink("folder", lab.join("link to folder")).unwrap();
        symlink("nothing", lab.join("link to nothing")).unwrap();
        symlink("/etc/hostname", lab.join("link to outside")).unwrap();
        fs::write(lab.join(OsStr::from_bytes(b"not \xff text")), "x").unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, lab.join("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        fs::write(lab.join(".ncaas-part-0"), "left by one who was killed").unwrap();

        let page = everything(&bucket, "").await;
        assert_eq!(keys_of(&page.entries), ["lab/folder/a", "lab/link"]);
        let unusable: Vec<_> = page.unusable.iter().map(|it| (it.name.as_str(), it.why.kind)).collect();
        assert_eq!(
            unusable,
            [
                ("lab/fifo", Kind::UnsafePath),
                ("lab/link to folder", Kind::UnsafePath),
                ("lab/link to nothing", Kind::UnsafePath),
                ("lab/link to outside", Kind::UnsafePath),
                ("lab/not \u{fffd} text", Kind::BadKey),
            ]
        );
        assert_eq!(bucket.read(&key("lab/fifo"), 10).await.unwrap_err().kind, Kind::UnsafePath);
        assert_eq!(bucket.read(&key("lab/link"), 10).await.unwrap().0, b"a");
    })
    .await;
}

#[tokio::test]
async fn one_name_is_not_an_object_and_a_folder_at_once() {
    on_directory(async |bucket: Bucket| {
        bucket.put(&key("a"), "x").await.unwrap();
        bucket.put(&key("b/c"), "x").await.unwrap();
        for text in ["a/b", "b"] {
            let key = key(text);
            for kind in [
                bucket.put(&key, "y").await.unwrap_err().kind,
                bucket.put_new(&key, "y").await.unwrap_err().kind,
                upload(&bucket, Path::new("/etc/hostname"), &key).await.unwrap_err().kind,
            ] {
                assert_eq!(kind, Kind::BadKey, "{text}");
            }
            assert_eq!(bucket.head(&key).await.unwrap(), None);
            bucket.delete(&key).await.unwrap();
        }
        assert_eq!(bucket.put(&key("a/"), "").await.unwrap_err().kind, Kind::BadKey);
        assert_eq!(bucket.put(&key(&"x".repeat(256)), "").await.unwrap_err().kind, Kind::BadKey);
        assert_eq!(keys_of(&everything(&bucket, "").await.entries), ["a", "b/c"]);
    })
    .await;
}

#[tokio::test]
async fn a_directory_that_is_moved_is_a_missing_bucket() {
    on_directory(async |bucket: Bucket| {
        bucket.put(&key("a"), "x").await.unwrap();
        let away = root(&bucket).with_extension("away");
        fs::rename(root(&bucket), &away).unwrap();
        assert_eq!(bucket.head(&key("a")).await.unwrap_err().kind, Kind::BucketNotFound);
        assert_eq!(bucket.list("", None).next_page().await.unwrap_err().kind, Kind::BucketNotFound);
        fs::rename(&away, root(&bucket)).unwrap();
        assert_eq!(bucket.read(&key("a"), 10).await.unwrap().0, b"x");
    })
    .await;
}

#[tokio::test]
async fn a_link_to_a_bucket_has_the_name_of_the_directory() {
    let temp = tempfile::tempdir().unwrap();
    let temp = temp.path().canonicalize().unwrap();
    fs::create_dir(temp.join("pca")).unwrap();
    symlink("pca", temp.join("link")).unwrap();
    let bucket = Bucket::open(temp.join("link").to_str().unwrap()).await.unwrap();
    assert_eq!(bucket.name(), "pca");
    assert_eq!(bucket.address(), temp.join("pca").to_str().unwrap());
    assert_eq!(Bucket::open("/").await.unwrap_err().kind, Kind::Usage);
}
