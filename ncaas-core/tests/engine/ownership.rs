//! The files that a job left in a folder of this machine become the user's.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::{HostConfig, Mount, MountType};
use ncaas_core::engine::FileOwner;
use ncaas_core::failure::Kind;
use tempfile::TempDir;

use crate::test_container::{ContainerOptions, TestContainer};

/// Somebody else than the container's users: us, or where we are root, anybody.
fn owner() -> FileOwner {
    match FileOwner::current() {
        FileOwner { uid: 0, .. } => FileOwner { uid: 1234, gid: 2345 },
        user => user,
    }
}

/// A job that did this in a folder of ours, and has ended.
async fn ended(script: &str) -> (TestContainer, TempDir) {
    let folder = TempDir::new().unwrap();
    let mount = Mount {
        typ: Some(MountType::BIND),
        source: Some(folder.path().display().to_string()),
        target: Some("/tmp/io-dir/results".to_owned()),
        ..Default::default()
    };
    let host = HostConfig { mounts: Some(vec![mount]), ..Default::default() };
    let script = format!("cd /tmp/io-dir/results && {script}");
    let container = TestContainer::create(ContainerOptions {
        command: &["sh", "-c", &script],
        host,
        ..ContainerOptions::default()
    })
    .await;
    container.start().await.unwrap();
    assert_eq!(container.engine.wait(&container.name).await.unwrap().exit_code, Some(0));
    (container, folder)
}

fn tree(folder: &Path) -> Vec<(PathBuf, fs::Metadata)> {
    let mut all: Vec<_> = walkdir::WalkDir::new(folder)
        .into_iter()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.path().strip_prefix(folder).unwrap().to_owned(), entry.metadata().unwrap())
        })
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

#[tokio::test]
async fn files_of_any_user_are_given_to_the_user_unchanged() {
    let (container, folder) = ended(
        "mkdir -p 'a b/deep' && echo data > 'a b/deep/$(x) é' && chmod 751 'a b/deep/$(x) é' && ln -s /etc/passwd link &&
         ln 'a b/deep/$(x) é' hard && echo x > shut && chmod 0 shut && chown -R 12345:54321 'a b' &&
         mkdir -p closed/inner && echo y > closed/inner/file && chmod 0 closed/inner closed && chown 12345 . && chmod 500 .",
    )
    .await;
    let engine = &container.engine;
    let folders = [folder.path().to_owned()];
    engine.repair_ownership(&container.name, &folders, owner()).await.unwrap();
    let after = tree(folder.path());
    let names: Vec<_> = after.iter().map(|(path, _)| path.display().to_string()).collect();
    let expected = [
        "",
        "a b",
        "a b/deep",
        "a b/deep/$(x) é",
        "closed",
        "closed/inner",
        "closed/inner/file",
        "hard",
        "link",
        "shut",
    ];
    assert_eq!(names, expected);
    for (path, metadata) in &after {
        assert_eq!((metadata.uid(), metadata.gid()), (owner().uid, owner().gid), "{}", path.display());
    }
    assert_eq!(fs::read_link(folder.path().join("link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::read(folder.path().join("hard")).unwrap(), b"data\n");
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("a b/deep/$(x) é"), mode("shut"), mode("closed")), (0o751, 0o400, 0o700));
    let hard = fs::metadata(folder.path().join("hard")).unwrap();
    assert_eq!(hard.nlink(), 2, "the second links are gone");
}

#[tokio::test]
async fn a_files_time_is_kept_to_the_nanosecond() {
    let (container, folder) = ended("echo data > file").await;
    let time = || fs::metadata(folder.path().join("file")).unwrap().modified().unwrap();
    let before = time();
    tokio::time::sleep(Duration::from_millis(20)).await;
    container.engine.repair_ownership(&container.name, &[folder.path().to_owned()], owner()).await.unwrap();
    assert_eq!(time(), before);
}

#[tokio::test]
async fn without_files_of_others_no_container_is_needed() {
    let (container, folder) = ended("true").await;
    fs::write(folder.path().join("ours"), "x").unwrap();
    let folders = [folder.path().to_owned()];
    container.engine.repair_ownership("ncaas-no-such-container", &folders, FileOwner::current()).await.unwrap();
}

#[tokio::test]
async fn a_folder_that_is_not_mounted_is_not_changed() {
    let (container, _) = ended("true").await;
    let other = TempDir::new().unwrap();
    let nobody = FileOwner { uid: 77, gid: 77 };
    let failure =
        container.engine.repair_ownership(&container.name, &[other.path().to_owned()], nobody).await.unwrap_err();
    assert_eq!(failure.kind, Kind::EngineError);
    assert_ne!(fs::metadata(other.path()).unwrap().uid(), 77);
}
