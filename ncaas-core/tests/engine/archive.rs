//! Files in and out of containers.

use std::io::{self, Read};

use ncaas_core::engine::archive::archive_interrupted;
use ncaas_core::engine::path::PathKind;
use ncaas_core::failure::{Failure, Kind, Result};

use crate::test_container::{ContainerOptions, TestContainer};

async fn idle() -> TestContainer {
    TestContainer::create(ContainerOptions { command: &["sh"], ..ContainerOptions::default() }).await
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(1234);
    header.set_gid(99);
    header
}

#[tokio::test]
async fn files_are_copied_into_and_out_of_a_container_that_never_ran() {
    const SIZE: u64 = 20_000_000;
    let container = idle().await;
    let name = "a name with spaces, 'quotes', $(...) and é: x?y#z";
    container
        .engine
        .upload(&container.name, "/tmp", move |archive| {
            let mut head = header(SIZE, 0o640);
            archive.append_data(&mut head, name, io::repeat(7).take(SIZE)).map_err(|error| archive_interrupted(&error))
        })
        .await
        .unwrap();
    let path = format!("/tmp/{name}");
    let (size, owner, sum) = container
        .engine
        .download(&container.name, &path, |archive| {
            let mut entries = archive.entries().map_err(|error| archive_interrupted(&error))?;
            let mut entry = entries.next().unwrap().map_err(|error| archive_interrupted(&error))?;
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(|error| archive_interrupted(&error))?;
            let owner = (entry.header().uid().unwrap(), entry.header().gid().unwrap());
            Ok((content.len() as u64, owner, content.iter().all(|byte| *byte == 7)))
        })
        .await
        .unwrap();
    assert_eq!((size, owner, sum), (SIZE, (1234, 99), true));
    let info = container.engine.stat(&container.name, &path).await.unwrap().unwrap();
    assert_eq!((info.kind, info.size, info.mode), (PathKind::File, SIZE, 0o640));
    assert_eq!(container.engine.read_file(&container.name, &path, 3).await.unwrap(), [7, 7, 7]);
}

#[tokio::test]
async fn stat_returns_the_kind_of_a_path() {
    let container = idle().await;
    let stat = async |path: &str| container.engine.stat(&container.name, path).await.unwrap();
    let sh = stat("/bin/sh").await.unwrap();
    assert_eq!(sh.kind, PathKind::Symlink("/bin/busybox".to_owned()));
    let (path, target) = container.engine.stat_target(&container.name, "/bin/sh").await.unwrap().unwrap();
    assert_eq!((path.as_str(), target.kind.clone()), ("/bin/busybox", PathKind::File));
    assert!(target.is_executable());
    assert_eq!(stat("/bin").await.unwrap().kind, PathKind::Directory);
    assert_eq!(stat("/bin/nothing").await, None);
    let failure = container.engine.stat("ncaas-no-such-container", "/bin").await.unwrap_err();
    assert_eq!(failure.kind, Kind::ContainerNotFound);
}

#[tokio::test]
async fn a_missing_path_is_distinguished_from_a_missing_container() {
    let container = idle().await;
    let read = async |id: &str, path: &str| container.engine.read_file(id, path, 1).await.unwrap_err();
    assert_eq!(read(&container.name, "/nothing").await.kind, Kind::FileNotFound);
    assert_eq!(read(&container.name, "/bin").await.kind, Kind::FileNotFound);
    assert_eq!(read("ncaas-no-such-container", "/bin/busybox").await.kind, Kind::ContainerNotFound);
}

/// An upload of more than the channel and the socket hold.
async fn upload_much(container: &TestContainer, into: &str, then: Result<()>) -> Result<()> {
    const SIZE: u64 = 50_000_000;
    container
        .engine
        .upload(&container.name, into, move |archive| {
            let mut head = header(SIZE, 0o644);
            archive
                .append_data(&mut head, "much", io::repeat(7).take(SIZE))
                .map_err(|error| archive_interrupted(&error))?;
            then
        })
        .await
}

#[tokio::test]
async fn an_upload_that_the_engine_refuses_reports_its_reason() {
    let container = idle().await;
    let failure = upload_much(&container, "/nowhere", Ok(())).await.unwrap_err();
    assert_eq!(failure.kind, Kind::FileNotFound, "{failure}");
}

#[tokio::test]
async fn an_upload_whose_writer_fails_reports_the_writers_reason() {
    let container = idle().await;
    let failure = Failure::new(Kind::DiskFull, "no more");
    assert_eq!(upload_much(&container, "/tmp", Err(failure.clone())).await.unwrap_err(), failure);
}
