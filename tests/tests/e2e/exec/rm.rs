//! `ncaas-exec rm`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ncaas_tests::dev_container::DevContainer;
use ncaas_tests::engine::{CleanUp, FIXTURE, docker, is_remote};
use ncaas_tests::engine_workspace::EngineWorkspace;
use ncaas_tests::record::JobRecord;
use ncaas_tests::tcp_engine::tcp_engine_that_holds_answers;
use ncaas_tests::workspace::Workspace;
use ncaas_tests::{Ran, Run, pipe_in, unique, wait_until};
use serde_json::{Value, json};

#[test]
fn rm_keeps_containers_of_running_jobs_and_of_records_with_an_error() {
    let workspace = Workspace::new();
    let running = workspace.start(&[], &["sleep", "60"]);
    let kept = "1 job was still running at the end of the input and was not removed; put `ncaas-logs save | ncaas-sync collect` before";
    let passed = workspace.exec(&["rm"]).stdin(running.clone()).run().ended_saying(1, kept);
    let id = passed.record().container.unwrap().id;
    assert_eq!(docker(&["inspect", "--format", "{{.State.Status}}", &id]), "running");
    let named = workspace.exec(&["rm", &id]).run();
    assert_eq!((named.status, named.record().error_kind()), (1, "usage"));
    docker(&["kill", &id]);
    let mut failed: Value = serde_json::from_slice(&running).unwrap();
    failed["error"] = json!({"tool": "x", "kind": "too-large", "message": "m", "hint": null});
    (failed["container"]["state"], failed["container"]["status"]) = ("exited".into(), "killed".into());
    let kept = format!("kept the container `{}`: its job has an error", failed["container"]["name"].as_str().unwrap());
    workspace.exec(&["rm"]).stdin(failed.to_string()).run().ended_saying(1, &kept);
    docker(&["inspect", "--format", "{{.State.Status}}", &id]);
    workspace.exec(&["rm", &id]).run();
    // For a filter, a container that is gone needs no more work.
    workspace.exec(&["rm"]).stdin(running).run().ok();
}

#[test]
fn two_concurrent_rm_of_the_same_containers_succeed() {
    let workspace = Workspace::new();
    for _ in 0..3 {
        let jobs = format!("{{\"image\":\"{FIXTURE}\",\"command\":[\"true\"]}}\n").repeat(8);
        let started = workspace.exec(&["run", "-j", "8"]).stdin(jobs).run().ok().stdout;
        let ended = workspace.exec(&["wait", "-q"]).stdin(started).run().ok().stdout;
        std::thread::scope(|scope| {
            let remove = || scope.spawn(|| workspace.exec(&["rm"]).stdin(ended.clone()).run().ok());
            for removing in [remove(), remove()] {
                removing.join().unwrap();
            }
        });
    }
}

/// The first `rm` was interrupted when the engine had removed the container.
#[test]
fn rm_removes_the_work_folder_of_a_container_that_is_gone() {
    let workspace = Workspace::new();
    let data = workspace.write("x.npy", "1");
    let folder_of =
        |record: &JobRecord| workspace.path().join("io-dir/.ncaas/work").join(record.job.as_ref().unwrap().id.as_str());
    let ended = workspace.exec(&["wait", "-q"]).stdin(workspace.start(&["--data", &data], &["true"])).run().ok();
    let record = ended.record();
    docker(&["rm", &record.container.as_ref().unwrap().id]);
    assert!(folder_of(&record).exists());
    workspace.exec(&["rm"]).stdin(ended.stdout).run().ok();
    assert!(!folder_of(&record).exists());
    // What was not collected stays.
    let started = workspace.start(&[], &["touch", "io-dir/results/r"]);
    let ended = workspace.exec(&["wait", "-q"]).stdin(started).run().ok();
    let record = ended.record();
    docker(&["rm", &record.container.as_ref().unwrap().id]);
    workspace.exec(&["rm"]).stdin(ended.stdout).run().ok();
    assert!(is_remote() || folder_of(&record).join("1/results/r").exists());
}

/// A cluster's node starts a job again while what its killed run has left is being removed.
#[test]
fn a_run_that_starts_while_rm_removes_the_last_one_keeps_its_results() {
    if is_remote() {
        return;
    }
    let workspace = Workspace::new();
    let job = json!({"image": FIXTURE, "command": ["sh", "-c", "echo r >io-dir/results/r; sleep 2"],
        "io_dir": workspace.path().join("io-dir"), "job": {"id": unique("job__again"), "dataset": 1, "datasets": 1}});
    let run = || workspace.exec(&["run"]).stdin(job.to_string()).run().ok();
    let first = run().stdout;
    let ended = workspace.exec(&["wait", "-q"]).stdin(first).run().ok();
    let id = ended.record().container.unwrap().id;

    let (host, is_held) = tcp_engine_that_holds_answers("DELETE ");
    std::thread::scope(|scope| {
        let removing = workspace.exec(&["rm", "--force"]).env("DOCKER_HOST", host).stdin(ended.stdout);
        let removing = scope.spawn(|| removing.run().ok());
        wait_until("the engine has removed the container", Duration::from_secs(30), || {
            is_held.load(Ordering::SeqCst)
                && docker(&["ps", "--all", "--quiet", "--no-trunc"]).lines().all(|left| left != id)
        });
        let second = scope.spawn(run);
        // The answer comes when the next run has started, or waits for the end of the removal.
        let started = Instant::now();
        while !second.is_finished() && started.elapsed() < Duration::from_secs(1) {
            std::thread::sleep(Duration::from_millis(10));
        }
        is_held.store(false, Ordering::SeqCst);
        removing.join().unwrap();
        let ended = workspace.exec(&["wait", "-q"]).stdin(second.join().unwrap().stdout).run().ok();
        let collected =
            Run::tool("ncaas-sync").args(["collect", "-q"]).dir(workspace.path()).stdin(ended.stdout).run().ok();
        let results = collected.record().results.unwrap();
        assert_eq!(results.len(), 1, "{results:?}");
        workspace.exec(&["rm", "--force"]).stdin(collected.stdout).run().ok();
    });
}

/// The engine's storage was cleared, or somebody removed all ended containers.
#[test]
fn files_of_an_earlier_run_are_not_results_of_the_next_one() {
    if is_remote() {
        return;
    }
    let workspace = Workspace::new();
    let id = unique("job__earlier");
    let run = |word: &str| {
        let script = format!("touch io-dir/results/{word}");
        let job = json!({"image": FIXTURE, "command": ["sh", "-c", script], "io_dir": workspace.path().join("io-dir"),
            "job": {"id": id, "dataset": 1, "datasets": 1}});
        let started = workspace.exec(&["run"]).stdin(job.to_string()).run();
        (workspace.exec(&["wait", "-q"]).stdin(started.stdout.clone()).run().ok(), started)
    };
    let (first, _) = run("first");
    docker(&["rm", &first.record().container.unwrap().id]);
    let (second, started) = run("second");
    let aside = started.record().warnings.unwrap().concat();
    let (_, path) = aside.split_once("left files that were not collected: they were moved to `").unwrap();
    assert!(Path::new(path.trim_end_matches('`')).join("results/first").exists(), "{aside}");
    let collected =
        Run::tool("ncaas-sync").args(["collect", "-q"]).dir(workspace.path()).stdin(second.stdout).run().ok();
    let results = collected.record().results.unwrap();
    let paths: Vec<&str> = results.iter().map(|result| result.path.as_str()).collect();
    assert_eq!(paths, [format!("results/{id}/process_results/second")]);
    workspace.exec(&["rm", "--force"]).stdin(collected.stdout).run().ok();
}

#[test]
fn rm_does_not_report_a_running_job_if_its_final_record_follows() {
    let workspace = Workspace::new();
    let running = workspace.start(&[], &["sleep", "1"]);
    let ended = workspace.exec(&["wait", "-q"]).stdin(running.clone()).run().ok().stdout;
    let removed = workspace.exec(&["rm"]).stdin([running.clone(), ended].concat()).run().ok();
    assert_eq!(removed.json().len(), 2);
    let mut failed: Value = serde_json::from_slice(&running).unwrap();
    failed["error"] = json!({"tool": "x", "kind": "too-large", "message": "m", "hint": null});
    let both = format!("{}{failed}\n", String::from_utf8(running).unwrap());
    assert_eq!(workspace.exec(&["rm"]).stdin(both).run().stderr, "");
}

#[test]
fn rm_with_force_discards_what_a_running_job_wrote() {
    let workspace = Workspace::new();
    let running = workspace.start(&[], &["sh", "-c", "echo 1 >io-dir/results/r; mkdir io-dir/logs/d; sleep 60"]);
    let work = workspace.path().join("io-dir/.ncaas/work").join(workspace.job_folders().remove(0));
    wait_until("the job to write", Duration::from_secs(20), || is_remote() || work.join("1/results/r").exists());
    workspace.exec(&["rm", "--force"]).stdin(running).run().ok();
    assert!(!work.exists());
}

#[test]
fn a_dry_run_of_rm_and_du_name_what_a_clean_up_would_free() {
    let workspace = Workspace::new();
    let started = workspace
        .start(&[], &["sh", "-c", "head -c 3000000 /dev/zero >big; head -c 2000000 /dev/zero >io-dir/results/r"]);
    let ended = workspace.exec(&["wait", "-q"]).stdin(started).run();
    let container = ended.record().container.unwrap();
    let kept = workspace.exec(&["rm", "--dry-run"]).stdin(ended.stdout.clone()).run();
    assert_eq!((kept.status, kept.record().error_kind()), (1, "results-missing"), "{}", kept.stderr);
    let planned = workspace.exec(&["rm", "--dry-run", "--force"]).stdin(ended.stdout).run();
    planned.ended_saying(0, &format!("would remove `{}`, and discard its files\n", container.name));
    docker(&["inspect", "--format", "{{.Id}}", &container.id]);
    let id = workspace.job_folders().remove(0);
    let usages = workspace.exec(&["du"]).run().ok().json();
    let of_job = usages.iter().find(|usage| usage["job"] == id.as_str()).unwrap();
    let bytes = ["containers_bytes", "work_bytes"].map(|field| of_job[field].as_u64().unwrap());
    assert!(bytes[0] >= 3_000_000 && (bytes[1] >= 2_000_000 || is_remote()), "{of_job}");
    assert!(usages.iter().any(|usage| usage["image"] == FIXTURE && usage["image_bytes"].as_u64() > Some(1_000_000)));
}

#[test]
fn du_counts_the_layers_that_images_share_once() {
    let workspace = Workspace::new();
    let (image, mut clean_up) = (unique("ncaas/derived"), CleanUp::new());
    clean_up.image(&image);
    let base = docker(&["run", "-d", FIXTURE, "sh", "-c", "head -c 2000000 /dev/zero >zeros"]);
    clean_up.container(&base);
    docker(&["wait", &base]);
    docker(&["commit", &base, &image]);
    workspace.start(&[], &["true"]);
    workspace.exec(&["run", &image, "--", "true"]).run().ok();
    let usages = workspace.exec(&["du"]).run().ok().json();
    let field = |name: &str| {
        usages.iter().find(|usage| usage["image"] == image.as_str() && usage["job"].is_null()).unwrap()[name]
            .as_u64()
            .unwrap()
    };
    let fixture = usages.iter().find(|usage| usage["image"] == FIXTURE && usage["job"].is_null()).unwrap();
    let shared = field("shared_bytes") + fixture["shared_bytes"].as_u64().unwrap();
    assert!(field("image_bytes") > 3_000_000 && shared > 1_000_000, "{usages:?}");
    let unshared = field("image_bytes") - field("shared_bytes");
    assert!(unshared >= 2_000_000, "its own layer is not shared: {usages:?}");
}

/// Runs a job that prints a line and fails, to its end.
fn failed_job(workspace: &Workspace, flags: &[&str]) -> Ran {
    let started = workspace.start(flags, &["sh", "-c", "sleep 0.2; echo the cause >&2; exit 3"]);
    workspace.exec(&["wait", "-q"]).stdin(started).run()
}

#[test]
fn rm_keeps_a_container_whose_log_was_not_saved() {
    let workspace = Workspace::new();
    let ended = failed_job(&workspace, &[]);
    let name = ended.record().container.unwrap().name;
    let kept = format!(
        "ncaas-exec: kept the container `{name}`: its log was not saved\nhint: `ncaas-logs save {name}` saves it; `ncaas-exec rm \
         --force {name}` discards it\n"
    );
    let in_pipe = workspace.exec(&["rm"]).stdin(ended.stdout.clone()).run().ended(1, &kept);
    assert_eq!(in_pipe.record().error_kind(), "results-missing");
    workspace.exec(&["rm", &name]).run().ended(1, &kept);
    let force = workspace.exec(&["rm", "--force", "--dry-run", &name]).run();
    force.ended(1, &format!("ncaas-exec: would remove `{name}`, and discard its log\n"));
    let save = Run::tool("ncaas-logs").args(["save", "-q", &name]).dir(workspace.path()).run();
    assert_eq!((save.status, save.record().logs.unwrap().lines), (1, 1));
    // The record of the pipe does not know of the log, and the saved record does.
    let removed = workspace.exec(&["rm"]).stdin(ended.stdout).run().ended(1, "");
    assert_eq!(removed.record().error_kind(), "");
    assert_eq!(docker(&["ps", "-aq", "--filter", &format!("name={name}")]), "");
}

#[test]
fn rm_keeps_a_container_whose_log_was_only_shown() {
    let workspace = Workspace::new();
    let ran = workspace.run(&["--follow", "-q"], &["sh", "-c", "echo said; echo 1 >io-dir/results/r"]);
    let name = ran.record().container.unwrap().name;
    let kept = workspace.exec(&["rm"]).stdin(ran.stdout).run();
    let both = "its log was not saved, and files that its job wrote were not collected\nhint: `ncaas-logs save";
    kept.ended_saying(1, &format!("{both} {name} | ncaas-sync collect` saves both"));
    let script = format!("ncaas-logs save -q {name} | ncaas-sync collect -q | ncaas-exec rm");
    pipe_in(workspace.path(), &script, &[]).ok();
    assert_eq!(docker(&["ps", "-aq", "--filter", &format!("name={name}")]), "");
}

#[test]
fn a_log_that_is_saved_after_the_results_were_collected_keeps_them_in_the_record() {
    let workspace = Workspace::new();
    let started = workspace.start(&[], &["sh", "-c", "echo said; echo 1 >io-dir/results/r"]);
    fs::write(workspace.path().join("started"), started).unwrap();
    let stages = "ncaas-exec wait -q <started | ncaas-sync collect | ncaas-exec rm";
    let kept =
        pipe_in(workspace.path(), stages, &[]).ended_saying(1, ": its log was not saved\nhint: `ncaas-logs save ");
    let name = kept.record().container.unwrap().name;
    let run = |tool: &str, verb: &[&str]| Run::tool(tool).args(verb).arg(&name).dir(workspace.path()).run();
    for (tool, verb) in [("ncaas-logs", &["save", "-q"][..]), ("ncaas-sync", &["collect", "-q"])] {
        let record = run(tool, verb).ok().record();
        assert_eq!((record.logs.unwrap().lines, record.results.unwrap().len()), (1, 1), "{tool}");
    }
    run("ncaas-exec", &["rm"]).ok();
}

#[test]
fn rm_lists_several_containers_that_it_keeps_in_one_message() {
    let workspace = Workspace::new();
    let mut names = [0, 1].map(|_| failed_job(&workspace, &[]).record().container.unwrap().name);
    names.sort();
    let ran = workspace.exec(&["rm", &names[0], &names[1]]).run();
    let list =
        format!("kept 2 containers, whose logs or files were not saved:\n  {}: log\n  {}: log\n", names[0], names[1]);
    let ran = ran.ended_saying(1, &list);
    assert_eq!(ran.stderr.matches("hint: ").count(), 1, "{}", ran.stderr);
    let discard = format!("`ncaas-exec rm --force {} {}` discards them", names[0], names[1]);
    assert!(ran.stderr.contains(&discard), "{}", ran.stderr);
    assert_eq!(ran.json().iter().filter(|record| record["error"]["kind"] == "results-missing").count(), 2);
}

#[test]
fn rm_keeps_the_work_in_a_development_container_until_it_is_committed() {
    let dev = DevContainer::new();
    let name = dev.name.as_str();
    let exec = |arguments: &[&str]| Run::tool("ncaas-exec").args(arguments).dir(dev.dir.path()).run();
    let write = |file: &str| {
        exec(&["start", FIXTURE, "--name", name, "-q"]);
        dev.exec_in(&[], &["sh", "-c", &format!("echo 1 >{file}; touch .ash_history")]).run().ok();
    };
    exec(&["stop", "-q", name]).ok();
    write("mine.txt");
    let image = format!("ncaas-tests/{name}:1");
    let mut clean_up = CleanUp::new();
    clean_up.image(&image);
    let kept =
        format!("kept the container `{name}`: files were written in it\nhint: `ncaas-build commit {name} -t IMAGE`");
    exec(&["stop", "-q", name]).ok();
    exec(&["rm", name]).ended_saying(1, &kept);
    let commit = || Run::tool("ncaas-build").args(["commit", name, "-t", &image, "--force"]).dir(dev.dir.path()).run();
    commit().ok();
    write("more.txt");
    exec(&["stop", "-q", name]).ok();
    exec(&["rm", name]).ended_saying(1, &kept);
    commit().ok();
    exec(&["rm", name]).ok();
    assert_eq!(docker(&["ps", "-aq", "--filter", &format!("name={name}")]), "");
}

#[test]
fn the_stages_after_ls_pass_development_containers_on() {
    let dev = DevContainer::new();
    let list = format!("ncaas-exec ls --all | jq -c 'select(.container.name == \"{}\")'", dev.name);
    let stages = "ncaas-exec wait | ncaas-logs save | ncaas-sync collect | ncaas-exec rm";
    let states = ["running", "exited"].map(|state| {
        let passed = pipe_in(dev.dir.path(), &format!("{list} | {stages}"), &[]).ok().record();
        assert_eq!((passed.error_kind(), passed.container.as_ref().unwrap().state.as_str()), ("", state));
        Run::tool("ncaas-exec").args(["stop", &dev.name]).run().ok();
        docker(&["inspect", "--format", "{{.State.Status}}", &dev.name])
    });
    assert_eq!(states, ["exited", "exited"]);
    Run::tool("ncaas-exec").args(["rm", &dev.name]).run().ok();
}

#[test]
fn rm_selects_containers_by_age_and_status() {
    let mut workspace = EngineWorkspace::new(&[]);
    let end = |script: &str| {
        let ended = workspace.wait(&[workspace.start(&[], script)]).containers().remove(0);
        ended["id"].as_str().unwrap().to_owned()
    };
    let [old, old_failure, young] = [end("true"), end("exit 1"), end("true")];
    // It ends with the engine at once: a shell handles TERM, `sleep` as the first process does not.
    let running =
        workspace.start(&[], "trap exit TERM; sleep 600 & wait")["container"]["id"].as_str().unwrap().to_owned();
    workspace.engine.docker(&["run", "--name", "not-ours", FIXTURE, "true"]);
    let not_ours = workspace.engine.docker(&["inspect", "--format", "{{.Id}}", "not-ours"]);
    workspace.engine.restart(|containers| {
        for id in [&old, &old_failure, &not_ours] {
            set_old_finish_time(&containers.join(id).join("config.v2.json"));
        }
    });
    workspace.engine.docker(&["start", &running]);
    let gone = workspace.exec(&["rm", "--older-than", "7d", "--status", "success"]).run().ok().json();
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0]["container"]["id"], old.as_str());
    let mut left = workspace.engine.docker(&["ps", "-aq", "--no-trunc"]).lines().map(str::to_owned).collect::<Vec<_>>();
    left.sort();
    let mut expected = vec![old_failure.clone(), young, running, not_ours];
    expected.sort();
    assert_eq!(left, expected);
    // The same job, as if it were that of another user.
    let change_owner = |user: u32| {
        let mount = format!("{}:/io", workspace.dir.path().join("io-dir").display());
        let chown = [FIXTURE, "chown", &user.to_string(), "/io"];
        workspace.engine.docker(&[&["run", "--rm", "--user", "0", "--volume", &mount][..], &chown].concat());
    };
    let user = fs::metadata(workspace.dir.path()).unwrap().uid();
    change_owner(user + 1);
    let selected = |flags: &[&str]| workspace.exec(&["rm", "--older-than", "7d", "--dry-run"]).args(flags).run();
    assert_eq!(selected(&[]).ended(0, "ncaas-exec: no container is selected\n").text(), "");
    assert_eq!(selected(&["--all-users"]).json().len(), 1);
    change_owner(user);
    let gone = workspace.exec(&["rm", "--older-than", "7d"]).run().json();
    assert_eq!((gone.len(), &gone[0]["container"]["id"]), (1, &json!(old_failure)));
    let refused = workspace.exec(&["rm", "--older-than", "7"]).run();
    assert_eq!(refused.status, 2);
    assert!(refused.stderr.contains("`7d`"), "{}", refused.stderr);
}

/// Rewrites when a container ended: years ago.
fn set_old_finish_time(config: &Path) {
    let mut value: Value = serde_json::from_slice(&fs::read(config).unwrap()).unwrap();
    value["State"]["FinishedAt"] = json!("2020-02-02T20:20:20.2Z");
    fs::write(config, value.to_string()).unwrap();
}

/// The record of a running job may reach `rm` when the job has ended meanwhile, and its results are still in there.
#[test]
fn rm_keeps_a_container_until_its_record_says_that_it_has_ended() {
    let name = unique("ended");
    let mut clean_up = CleanUp::new();
    clean_up.container(&name);
    let id = docker(&["run", "-d", "--name", &name, FIXTURE, "true"]);
    docker(&["wait", &id]);
    let record =
        |state: &str| format!(r#"{{"container":{{"id":"{id}","name":"{name}","state":"{state}"}},"error":null}}"#);
    let rm = |record: &str| Run::tool("ncaas-exec").arg("rm").stdin(format!("{record}\n")).run().ok();
    assert_eq!(rm(&record("running")).text().trim_end(), record("running"));
    assert_eq!(docker(&["inspect", "--format", "{{.State.Status}}", &name]), "exited");
    rm(&record("exited"));
    assert_eq!(docker(&["ps", "-aq", "--filter", &format!("name={name}")]), "");
}
