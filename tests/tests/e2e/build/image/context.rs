//! The files of a context that an image gets.

use std::path::Path;
use std::time::Duration;

use ncaas_tests::build_context::{build_context, ncaas_build, single, write_file};
use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::engine_without_buildkit::EngineWithoutBuildKit;
use ncaas_tests::unique;

#[test]
fn files_that_the_engine_has_are_not_sent_to_buildkit_again() {
    let image = unique("build");
    let mut clean = CleanUp::new();
    clean.image(&image);
    let folder = build_context(&format!("FROM {FIXTURE}\nCOPY --chmod=755 data link/x /d/\n"));
    write_file(folder.path(), "data", &"x".repeat(3 << 20));
    write_file(folder.path(), "real/x", "reached");
    std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
    let mut sent = Vec::new();
    for _ in 0..2 {
        let ran = ncaas_build().args(["image", "-t", &image]).arg(folder.path()).run();
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        sent.push(single(ran.json())["build"]["sent_bytes"].as_u64().unwrap());
    }
    assert!(sent[0] >= 3 << 20, "{sent:?}");
    assert!(sent[1] < 1000, "{sent:?}");
    assert_eq!(docker(&["run", "--rm", &image, "cat", "/d/x"]), "reached");
}

#[test]
fn a_large_context_gives_a_warning_with_its_largest_entries() {
    let image = unique("build");
    let mut clean = CleanUp::new();
    clean.image(&image);
    // BuildKit asks for nothing of a context that nothing is copied from.
    let folder = build_context(&format!("FROM {FIXTURE}\nRUN --mount=type=cache,target=/c true\n"));
    write_file(folder.path(), "data/a", "");
    std::fs::File::options().write(true).open(folder.path().join("data/a")).unwrap().set_len(600_000_000).unwrap();
    let ran = ncaas_build().args(["image", "-t", &image]).arg(folder.path()).run();
    let record = single(ran.json());
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let warning = record["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with("the build context is 600.0 MB; its largest entries: `data/` 600.0 MB, `Dockerfile`"),
        "{warning}"
    );
    assert!(ran.stderr.contains(warning));
}

/// Sets the modification time of a file to one that is long past.
fn set_old_time(folder: &Path, name: &str) {
    let file = std::fs::File::options().write(true).open(folder.join(name)).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_577_836_800)).unwrap();
}

#[test]
fn the_image_has_the_current_content_of_files_with_the_same_size_and_time() {
    let image = unique("build");
    let mut clean = CleanUp::new();
    clean.image(&image);
    let folder = build_context("");
    let cache = tempfile::tempdir().unwrap();
    let build = |version: u32| {
        // Each of the three files changes in one of the builds.
        let [file, dockerfile, ignored] = [version.min(1), version.clamp(1, 2) - 1, version.max(2) - 2];
        write_file(folder.path(), "f", &format!("file {file}"));
        write_file(folder.path(), "Dockerfile", &format!("FROM {FIXTURE}\nENV V={dockerfile}\nCOPY f x* /d/\n"));
        write_file(folder.path(), ".dockerignore", &format!("x{ignored}"));
        write_file(folder.path(), "x0", "");
        write_file(folder.path(), "x1", "");
        for name in ["f", "Dockerfile", ".dockerignore", "x0", "x1"] {
            set_old_time(folder.path(), name);
        }
        let ran =
            ncaas_build().args(["image", "-t", &image]).arg(folder.path()).env("XDG_CACHE_HOME", cache.path()).run();
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let sent = single(ran.json())["build"]["sent_bytes"].as_u64().unwrap();
        (docker(&["run", "--rm", &image, "sh", "-c", "cat /d/f; echo \" $V\"; ls /d"]), sent)
    };
    assert_eq!(build(0).0, "file 0 0\nf\nx1");
    assert_eq!(build(1).0, "file 1 0\nf\nx1", "a file of the context");
    assert_eq!(build(2).0, "file 1 1\nf\nx1", "the Dockerfile");
    assert_eq!(build(3).0, "file 1 1\nf\nx0", ".dockerignore");
    let (content, sent) = build(3);
    assert_eq!(content, "file 1 1\nf\nx0");
    assert!(sent < 100, "files that were written again with the same content are not sent: {sent} bytes");
}

#[test]
fn a_dockerfile_may_be_linked_to_another_folder_or_come_from_a_stream() {
    let without_buildkit = EngineWithoutBuildKit::start();
    let image = unique("build");
    let mut clean = CleanUp::new();
    clean.image(&image);
    let (shared, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dockerfile = format!("FROM {FIXTURE}\nCOPY . /d/\n");
    write_file(shared.path(), "Dockerfile.common", &dockerfile);
    write_file(folder.path(), "x", "");
    std::os::unix::fs::symlink(shared.path().join("Dockerfile.common"), folder.path().join("linked")).unwrap();
    for (file, stdin) in [("linked", ""), ("-", dockerfile.as_str()), ("/dev/stdin", &dockerfile)] {
        for build in [ncaas_build(), without_buildkit.build()] {
            let ran = build.args(["image", "-t", &image, "-f", file, "."]).dir(folder.path()).stdin(stdin).run();
            assert_eq!(ran.status, 0, "{file}: {}", ran.stderr);
            assert_eq!(docker(&["run", "--rm", &image, "ls", "-A", "/d"]), "linked\nx", "{file}");
        }
    }
}

#[test]
fn the_io_dir_is_not_part_of_the_context_unless_it_is_named() {
    let without_buildkit = EngineWithoutBuildKit::start();
    let image = unique("build");
    let mut clean = CleanUp::new();
    clean.image(&image);
    let development = ["io-dir/results/r.npy", "io-dir/logs/l", "io-dir/configs/c.json"];
    let jobs = ["io-dir/results/job/process_results/r.npy", "io-dir/.ncaas/work/job/x", "io-dir/.ncaas/lock"];
    for (files, dockerfile, ignore, expected) in [
        (development, "COPY . /d/", "", "x"),
        (jobs, "COPY . /d/", "", "x"),
        (development, "COPY . /d/", "!io-dir/configs", "io-dir\nx"),
        (development, "COPY x /d/\nCOPY io-dir /d/io-dir", "", "io-dir\nx"),
    ] {
        let folder = build_context(&format!("FROM {FIXTURE}\n{dockerfile}\n"));
        for name in files.into_iter().chain(["x"]) {
            write_file(folder.path(), name, "");
        }
        write_file(folder.path(), ".dockerignore", &format!("Dockerfile\n.dockerignore\n{ignore}"));
        for build in [ncaas_build(), without_buildkit.build()] {
            let ran = build.args(["image", "-t", &image]).arg(folder.path()).run();
            assert_eq!(ran.status, 0, "{}", ran.stderr);
            assert_eq!(docker(&["run", "--rm", &image, "ls", "-A", "/d"]), expected, "{dockerfile} {ignore}");
        }
    }
}

#[test]
fn files_of_times_before_1970_can_be_copied() {
    let without_buildkit = EngineWithoutBuildKit::start();
    let image = unique("build");
    let mut clean = CleanUp::new();
    clean.image(&image);
    let folder = build_context(&format!("FROM {FIXTURE}\nCOPY f /d/\n"));
    write_file(folder.path(), "f", "old");
    let file = std::fs::File::options().write(true).open(folder.path().join("f")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH - Duration::from_secs(1)).unwrap();
    for build in [ncaas_build(), without_buildkit.build()] {
        let ran = build.args(["image", "-t", &image]).arg(folder.path()).run();
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        assert_eq!(docker(&["run", "--rm", &image, "cat", "/d/f"]), "old");
    }
}
