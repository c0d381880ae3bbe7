//! Files that are not results, and how they are reported.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use ncaas_tests::Run;
use ncaas_tests::ended_job::{EndedJob, result_paths};
use ncaas_tests::engine::docker;
use ncaas_tests::sync::ncaas_sync;
use ncaas_tests::tcp_engine::tcp_engine;
use ncaas_tests::workspace::Workspace;

#[test]
fn special_files_and_links_out_of_the_results_are_left_out_with_a_warning() {
    let job = EndedJob::after(
        r#"
        cd io-dir/results; mkfifo fifo; ln -s /etc/passwd passwd; ln -s ../../.. up; ln -s loop2 loop1; ln -s loop1 loop2
        mknod device c 1 3; echo end > end.txt; echo x > .ncaas-part-1; echo x > "$(printf 'bad\377name')"; echo s > suid; chmod 6755 suid
        mkdir "$HOME/out"; cd "$HOME/out"; mkfifo f; ln -s /etc/shadow shadow; ln -s . self; ln -s self/self/../../.. deep; echo n > "$(printf 'new\nline')"
        "#,
        &["--user", "0:0"],
    );
    let record = job.collect(&[]).ok().record();
    let mut found = result_paths(&record);
    found.sort();
    assert_eq!(found, ["a.npy/end.txt", "bad%FFname", "out/new\nline", "out/self", "suid"]);
    let warnings = record.warnings.unwrap().join("\n");
    for name in ["fifo", "passwd", "up", "loop1", "loop2", "device", ".ncaas-part-1", "out/f", "out/shadow", "out/deep"]
    {
        assert!(warnings.contains(&format!("/{name}`")), "{name} in {warnings}");
    }
    assert_eq!(fs::metadata(job.results().join("suid")).unwrap().permissions().mode() & 0o7777, 0o755);
    let left = job.work_root().join("1/results/fifo");
    assert!(fs::symlink_metadata(left).unwrap().file_type().is_fifo(), "what is left out is not destroyed");
}

#[test]
fn image_content_and_nested_mounts_in_a_volume_are_not_results() {
    let hosts = if ncaas_tests::engine::is_podman() { vec![None] } else { vec![None, Some(tcp_engine())] };
    for host in hosts {
        // The engine copies what the image has there into the new volume.
        let job = EndedJob::after(
            "echo new > /etc/new; echo scratch > io-dir/scratch",
            &["--user", "0:0", "-v", "/etc", "-v", "/home/neurocaasdev/io-dir"],
        );
        let run = ncaas_sync(&job.home, &["collect"]).stdin(job.record().to_string());
        let run = if let Some(host) = host { run.env("DOCKER_HOST", host) } else { run };
        assert_eq!(
            result_paths(&run.run().ok().record()),
            ["io-dir/scratch", "outside/etc/new"],
            "not what the mounts hold"
        );
    }
}

#[test]
fn files_that_are_as_in_the_image_are_not_results() {
    let job = EndedJob::after(
        "chmod 0640 /etc/passwd; touch /etc/group; chown 7 /etc/passwd; cp /etc/passwd /etc/copy; echo x >> /etc/shells; rm -f /etc/hostname.x",
        &["--user", "0:0"],
    );
    let hosts = if ncaas_tests::engine::is_podman() { vec![None] } else { vec![None, Some(tcp_engine())] };
    for host in hosts {
        let _ = fs::remove_dir_all(job.folder());
        let run = ncaas_sync(&job.home, &["collect"]).stdin(job.record().to_string());
        let run = if let Some(host) = &host { run.env("DOCKER_HOST", host) } else { run };
        let found = result_paths(&run.run().ok().record());
        assert_eq!(found, ["outside/etc/copy", "outside/etc/shells"], "{host:?}");
        let left = docker(&["ps", "-aq", "--filter", "label=org.neurocaas.helper=ncaas-sync"]);
        assert_eq!(left, "", "the container that shows the image's files is removed");
    }
}

#[test]
fn a_job_without_results_names_the_files_that_were_left_out() {
    let job = EndedJob::after("mkdir /tmp/out; echo x > /tmp/out/res.csv", &[]);
    let expected = "the job succeeded, but has no results: 1 file under `/tmp` left out (`--all` collects them)";
    for attempt in ["first", "again"] {
        let record = job.collect(&[]).ended_saying(0, expected).record();
        assert_eq!(record.warnings.as_deref(), Some(&[expected.to_owned()][..]), "{attempt}");
        assert_eq!((record.uncollected, record.results.map(|results| results.len())), (Some(1), Some(0)));
    }
    let record = job.collect(&["--all"]).ok().record();
    assert_eq!((result_paths(&record), record.uncollected), (vec!["outside/tmp/out/res.csv".to_owned()], None));
    let failed = EndedJob::after("mkdir /tmp/out; echo x > /tmp/out/res.csv; exit 1", &[]);
    let left_out = "1 file under `/tmp` left out (`--all` collects them)";
    let record = failed.collect(&[]).ended_saying(1, left_out).record();
    assert_eq!(record.uncollected, Some(1), "`rm` keeps the container");
    let named = ncaas_sync(&failed.home, &["collect", &failed.container]).dir(failed.home.path()).run();
    named.ended_saying(1, left_out);
    let nothing = EndedJob::after("true", &[]);
    nothing.collect(&[]).ended_saying(0, "the job succeeded, but wrote no file that could be found");
}

#[test]
fn the_temporary_files_of_several_jobs_are_reported_once() {
    let mut job = EndedJob::after("echo x > /tmp/x; echo r > io-dir/results/r", &[]);
    let second = job.run(2, "echo x > /tmp/x; echo r > io-dir/results/r2", &[]);
    let records = [(1, &job.container), (2, &second)].map(|(dataset, container)| {
        let mut record = job.record();
        record["job"]["dataset"] = dataset.into();
        record["job"]["datasets"] = 2.into();
        record["job"]["label"] = format!("{dataset}.npy").into();
        record["container"]["id"] = container.as_str().into();
        format!("{record}\n")
    });
    let ran = ncaas_sync(&job.home, &["collect"]).stdin(records.concat()).run();
    let ran = ran.ended_saying(0, "ncaas-sync: temporary files of 1 more job left out too\n");
    assert_eq!(ran.stderr.matches("1 file under `/tmp` left out").count(), 1, "{}", ran.stderr);
    assert!(ran.json().iter().all(|record| record["warnings"].as_array().map(Vec::len) == Some(1)), "{}", ran.text());
}

#[test]
fn rm_keeps_a_container_whose_only_files_were_left_out() {
    let workspace = Workspace::new();
    for end in ["true", "exit 3"] {
        let script = format!("mkdir /tmp/out; echo x > /tmp/out/res.csv; {end}");
        let started = workspace.start(&[], &["sh", "-c", &script]);
        let ended = workspace.exec(&["wait", "-q"]).stdin(started).run();
        let collected = Run::tool("ncaas-sync").args(["collect", "-q"]).dir(workspace.path()).stdin(ended.stdout).run();
        let kept = workspace.exec(&["rm"]).stdin(collected.stdout).run();
        kept.ended_saying(1, "files that its job wrote were not collected\nhint: `ncaas-sync collect --all ");
    }
}

#[test]
fn include_exclude_size_and_path_flags_select_results() {
    let job = EndedJob::after(
        "mkdir out; echo a > out/a.npy; echo b > out/b.png; echo tmp > /tmp/c.npy; echo large > out/l.npy",
        &[],
    );
    let named = |flags: &[&str]| {
        let _ = fs::remove_dir_all(job.folder());
        fs::create_dir_all(job.work_root().join("1/results")).unwrap();
        result_paths(&job.collect(flags).ended_saying(0, "").record())
    };
    assert_eq!(named(&["--include", "*.npy", "--exclude", "l.*"]), ["out/a.npy"]);
    assert_eq!(named(&["--include", "*.npy", "--all"]), ["out/a.npy", "out/l.npy", "outside/tmp/c.npy"]);
    assert_eq!(named(&["--max-size", "3"]), ["out/a.npy", "out/b.png"]);
    assert_eq!(named(&["--from", "out/b.png"]), ["out/b.png"]);
    assert_eq!(named(&["--from", "/etc", "--include", "passwd"]), ["outside/etc/passwd"], "changed or not");
}
