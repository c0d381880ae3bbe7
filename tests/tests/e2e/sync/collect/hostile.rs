//! `ncaas-sync collect` on unusual and hostile files: each is kept, or left out with a warning.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use ncaas_tests::bucket::files_below;
use ncaas_tests::ended_job::{EndedJob, result_paths};
use ncaas_tests::engine::{CleanUp, FIXTURE, docker, is_podman};
use ncaas_tests::sync::ncaas_sync;
use ncaas_tests::tcp_engine::tcp_engine;
use ncaas_tests::workspace::Workspace;
use ncaas_tests::{Run, unique};
use serde_json::json;

#[test]
fn folders_nested_too_deeply_for_a_path_are_left_out_with_a_warning() {
    let job = EndedJob::after(
        r#"
        echo ok > ok; echo r > io-dir/results/r
        nest() { for n in 1 2 3 4 5; do mkdir -p "$1" && cd -P "$1"; done; echo x > leaf; }
        (mkdir deep; cd deep; nest "$(printf 'd/%.0s' $(seq 1000))")
        (cd io-dir/results; mkdir long; cd long; nest "$(printf '%0250d/%.0s' 1 1 2 1 3 1 4 1)")
        "#,
        &["--user", "0:0"],
    );
    let mut flags: &[&str] = &[];
    let mut places = ["/io-dir/results/long/", "/deep/"].as_slice();
    if is_podman() {
        // It cannot list the changes where one path among them is too long.
        let refused = job.collect(flags).record();
        assert_eq!(refused.error_kind(), "engine-error");
        assert!(refused.error.unwrap().hint.unwrap().starts_with("`--from PATH` collects a folder"));
        (flags, places) = (&["--from", "ok"], &places[..1]);
    }
    let record = job.collect(flags).ok().record();
    assert_eq!(result_paths(&record), ["ok", "r"]);
    let warnings = record.warnings.unwrap();
    for place in places {
        let told = warnings.iter().filter(|words| words.contains(place) && words.ends_with("its path is too long"));
        assert_eq!(told.count(), 1, "{warnings:#?}");
    }
    // The library's own removal opens every folder on the way.
    ncaas_tests::pipe(&format!("rm -rf '{}'", job.home.path().join("io-dir").display())).ok();
}

#[test]
fn two_names_with_the_same_escaped_text_are_both_kept() {
    let job = EndedJob::after(
        r#"mkdir out; echo 1 > "$(printf 'out/a\377')"; echo 2 > 'out/a%FF'; echo 3 > "out/$(printf 'x%.0s' $(seq 255))""#,
        &[],
    );
    let mut found = result_paths(&job.collect(&[]).ok().record());
    found.sort();
    assert_eq!(found, ["a.npy/out/a%FF".to_owned(), "out/a%FF".to_owned(), format!("out/{}", "x".repeat(255))]);
    let mut both: Vec<String> =
        found[..2].iter().map(|path| fs::read_to_string(job.results().join(path)).unwrap()).collect();
    both.sort();
    assert_eq!(both, ["1\n", "2\n"]);
}

#[test]
fn a_sparse_file_stays_sparse() {
    let job = EndedJob::after("mkdir out; truncate -s 64M out/sparse; echo end >> out/sparse", &[]);
    let record = job.collect(&[]).ok().record();
    assert_eq!(record.results.unwrap()[0].size, (64 << 20) + 4);
    let file = fs::metadata(job.results().join("out/sparse")).unwrap();
    assert_eq!(file.len(), (64 << 20) + 4);
    assert!(file.blocks() * 512 < 4 << 20, "{} blocks", file.blocks());
}

#[test]
fn a_sparse_file_that_no_disk_of_this_size_can_hold_is_not_read() {
    let job = EndedJob::after("truncate -s 15000G io-dir/results/huge", &[]);
    let record = job.collect(&[]).ended_saying(1, "more than its disk can hold").record();
    assert_eq!(record.error_kind(), "too-large");
}

#[test]
fn a_folder_does_not_replace_existing_results() {
    let job = EndedJob::after("mkdir out io-dir/results/out; echo new > out/a; echo new > io-dir/results/out/b", &[]);
    fs::create_dir_all(job.results().join("out")).unwrap();
    fs::write(job.results().join("out/a"), "there before").unwrap();
    let mut found = result_paths(&job.collect(&[]).ok().record());
    found.sort();
    assert_eq!(found, ["a.npy/out/a", "out/b"]);
    assert_eq!(fs::read_to_string(job.results().join("out/a")).unwrap(), "there before");
    assert_eq!(files_below(&job.results()), ["a.npy/out/a", "out/a", "out/b"]);
}

#[test]
fn results_that_another_dataset_has_begun_to_move_keep_their_names() {
    let job = EndedJob::after("echo first > io-dir/results/same; echo alone > io-dir/results/alone", &[]);
    // A collection of dataset 2 that died as soon as it had written down what goes where.
    let work = job.work_root().join("2/results");
    fs::create_dir_all(&work).unwrap();
    fs::write(work.join("same"), "second\n").unwrap();
    let result =
        json!({"path": format!("results/{}/process_results/same", job.id), "size": 7, "sha256": "00", "source": "/x"});
    let head = json!({"container": "c2", "warnings": []});
    let begun = format!("{head}\n{}\n", json!({"from": "results/same", "result": result}));
    fs::create_dir_all(job.folder()).unwrap();
    fs::write(job.folder().join(".ncaas-moves.2"), begun).unwrap();
    let mut found = result_paths(&job.collect(&[]).ok().record());
    found.sort();
    assert_eq!(found, ["a.npy/same", "alone"]);
    assert_eq!(fs::read_to_string(job.results().join("same")).unwrap(), "second\n");
    assert_eq!(fs::read_to_string(job.results().join("a.npy/same")).unwrap(), "first\n");
    assert!(job.folder().join(".ncaas-results.2").exists(), "the other dataset's collection is done");
}

#[test]
fn verify_distinguishes_a_replaced_result_from_a_missing_one() {
    let job = EndedJob::after("cd io-dir/results; for name in same link folder gone; do echo $name > $name; done", &[]);
    let record = job.collect(&[]).ok();
    for name in ["link", "folder", "gone"] {
        fs::remove_file(job.results().join(name)).unwrap();
    }
    symlink("/etc/passwd", job.results().join("link")).unwrap();
    fs::create_dir(job.results().join("folder")).unwrap();
    let ran = ncaas_sync(&job.home, &["verify", "--io-dir-only", "--files"]).stdin(record.stdout).run();
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    let mut found: Vec<String> = ran
        .json()
        .iter()
        .filter_map(|line| Some((line["path"].as_str()?, line["io_dir"].as_str()?)))
        .map(|(path, found)| format!("{} {found}", path.rsplit('/').next().unwrap()))
        .collect();
    found.sort();
    assert_eq!(found, ["folder different", "gone missing", "link different", "same same"]);
}

#[test]
fn a_link_in_place_of_a_job_folder_is_followed_only_within_the_io_dir() {
    let job = EndedJob::after("echo r > io-dir/results/r; echo o > o", &[]);
    let outside = job.home.path().join("outside");
    let own = [".", "process_results", "logs"].map(|place| (place, job.folder().join(place)));
    let work = [".", "1", "1/results"].map(|place| (place, job.work_root().join(place)));
    for (place, folder) in own.into_iter().chain(work) {
        let folder: PathBuf = folder.components().collect();
        fs::create_dir_all(&folder).unwrap();
        fs::rename(&folder, &outside).unwrap();
        symlink(&outside, &folder).unwrap();
        let before = files_below(&outside);
        let ran = job.collect(&[]).ended_saying(1, "");
        assert_eq!(ran.record().error_kind(), "unsafe-path", "{place}: {}", ran.stderr);
        assert_eq!(files_below(&outside), before, "{place}");
        fs::remove_file(&folder).unwrap();
        fs::rename(&outside, &folder).unwrap();
    }
    fs::rename(job.folder(), job.home.path().join("io-dir/elsewhere")).unwrap();
    symlink("../elsewhere", job.folder()).unwrap();
    let mut found = result_paths(&job.collect(&[]).ok().record());
    found.sort();
    assert_eq!(found, ["o", "r"]);
    assert_eq!(files_below(&job.results()), found);
}

/// The engine as it is, whose layer can be read, and one that has to be asked. Podman is asked in any case, and gives
/// nothing of a mount whose folder has gone since the first time.
fn engine_hosts() -> Vec<Option<String>> {
    if is_podman() { vec![None] } else { vec![None, Some(tcp_engine())] }
}

#[test]
fn sockets_are_left_out_from_the_layer_and_from_the_archive_api() {
    let job = EndedJob::after(
        r#"mkdir out; echo f > out/f; ln -s "$PWD/out/socket" /dev/log; syslogd -n -O /tmp/log & until [ -S out/socket ]; do sleep 0.01; done; kill -9 $!"#,
        &["--user", "0:0", "--workdir", "/home/neurocaasdev"],
    );
    for host in engine_hosts() {
        let is_asked = host.is_some() || is_podman();
        let why = if is_asked { "the engine does not return it: it is a socket" } else { "it is a socket" };
        let run = ncaas_sync(&job.home, &["collect"]).stdin(job.record().to_string());
        let run = if let Some(host) = host { run.env("DOCKER_HOST", host) } else { run };
        let record = run.run().ended_saying(0, "1 file under `/tmp` left out").record();
        assert_eq!(result_paths(&record), ["out/f"]);
        let warnings = record.warnings.unwrap();
        assert!(warnings.iter().any(|words| words.contains(&format!("/out/socket`: {why}"))), "{warnings:?}");
        fs::remove_dir_all(job.folder()).unwrap();
    }
}

#[test]
fn a_hard_link_to_a_file_that_is_not_a_result_becomes_its_own_file() {
    let mut job = EndedJob::after("echo r > io-dir/results/r", &[]);
    let inputs = job.home.path().join("io-dir/inputs");
    fs::create_dir_all(&inputs).unwrap();
    fs::write(inputs.join("x"), "input\n").unwrap();
    fs::hard_link(inputs.join("x"), job.work_root().join("1/results/x")).unwrap();
    assert_eq!(result_paths(&job.collect(&[]).ok().record()), ["r", "x"]);
    assert_eq!(fs::read_to_string(inputs.join("x")).unwrap(), "input\n");
    assert_eq!(fs::read_to_string(job.results().join("x")).unwrap(), "input\n");

    job.container =
        job.run(1, "mkdir out; ln /etc/passwd out/passwd; ln /tmp/../etc/group out/group", &["--user", "0:0"]);
    for host in engine_hosts() {
        fs::remove_dir_all(job.results()).unwrap();
        let _ = fs::remove_file(job.folder().join(".ncaas-results.1"));
        let run = ncaas_sync(&job.home, &["collect"]).stdin(job.record().to_string());
        let run = if let Some(host) = host { run.env("DOCKER_HOST", host) } else { run };
        let found = result_paths(&run.run().ok().record());
        let linked: Vec<&String> = found.iter().filter(|path| path.starts_with("out/")).collect();
        assert_eq!(linked, ["out/group", "out/passwd"], "{found:?}");
        assert!(fs::read_to_string(job.results().join("out/passwd")).unwrap().starts_with("root:x:0:0"));
    }
}

#[test]
fn a_file_that_became_a_folder_in_a_second_run_is_kept_beside_it() {
    let mut job = EndedJob::after("cd io-dir/results; echo 1 > a; mkdir b; echo 1 > b/x; echo 1 > c", &[]);
    assert_eq!(result_paths(&job.collect(&[]).ok().record()), ["a", "b/x", "c"]);
    job.container = job.run(1, "cd io-dir/results; mkdir a; echo 2 > a/x; echo 2 > b; echo 2 > c", &[]);
    let warning = "2 results from an earlier run of this job are still next to those of this run, for example `process_results/a`";
    let found = result_paths(&job.collect(&[]).ended(0, &format!("ncaas-sync: `a.npy`: {warning}\n")).record());
    assert_eq!(found, ["a.npy/a/x", "a.npy/b", "c"]);
    let content = |path: &str| fs::read_to_string(job.results().join(path)).unwrap();
    assert_eq!(["a", "b/x"].map(content), ["1\n", "1\n"]);
    assert_eq!(["a.npy/a/x", "a.npy/b", "c"].map(content), ["2\n", "2\n", "2\n"]);
}

#[test]
fn two_datasets_collected_at_once_keep_both_files_with_the_same_name() {
    let mut job = EndedJob::after("for n in $(seq 50); do echo 1 > io-dir/results/$n; done; echo 1 > o", &[]);
    let second = job.run(2, "for n in $(seq 50); do echo 2 > io-dir/results/$n; done; echo 2 > o", &[]);
    let both: Vec<String> = [(1, job.container.clone()), (2, second)]
        .into_iter()
        .map(|(dataset, container)| {
            let mut record = job.record();
            record["job"]["dataset"] = dataset.into();
            record["job"]["datasets"] = 2.into();
            record["job"]["label"] = format!("set{dataset}").into();
            record["container"]["id"] = container.into();
            record.to_string()
        })
        .collect();
    let collected: Vec<ncaas_tests::Ran> = std::thread::scope(|scope| {
        let running: Vec<_> = both
            .iter()
            .map(|record| scope.spawn(|| ncaas_sync(&job.home, &["collect"]).stdin(record.as_str()).run()))
            .collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for (ran, content) in collected.into_iter().zip(["1\n", "2\n"]) {
        let results = ran.ok().record().results.unwrap();
        assert_eq!(results.len(), 51);
        for result in results {
            let path = job.home.path().join("io-dir").join(&result.path);
            assert_eq!(fs::read_to_string(&path).unwrap(), content, "{}", result.path);
        }
    }
    assert_eq!(files_below(&job.results()).len(), 102);
}

#[test]
fn inputs_are_not_results_if_the_image_has_a_link_in_place_of_its_io_dir() {
    let workspace = Workspace::new();
    let data = workspace.write("x.npy", "1");
    let (image, mut clean_up) = (unique("ncaas/linked"), CleanUp::new());
    let replace = "rm -r io-dir && ln -s / io-dir && mkdir /inputs";
    let base = docker(&["run", "-d", "--user=0", FIXTURE, "sh", "-c", replace]);
    clean_up.container(&base);
    docker(&["wait", &base]);
    docker(&["commit", "--change", "USER neurocaasdev", &base, &image]);
    clean_up.image(&image);
    let script = "cp $1 io-dir/results/r; echo 2 >out";
    let started = workspace.exec(&["run", &image, "--data", &data, "--", "sh", "-c", script, "sh"]).run();
    let ended = workspace.exec(&["wait", "-q"]).stdin(started.stdout).run().ok();
    let collected =
        Run::tool("ncaas-sync").args(["collect", "-q"]).stdin(ended.stdout).dir(workspace.path()).run().ok();
    let mut found = result_paths(&collected.record());
    found.sort();
    assert_eq!(found, ["out", "r"]);
}
