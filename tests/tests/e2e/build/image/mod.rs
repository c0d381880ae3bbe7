//! `ncaas-build image`.

mod classic;
mod context;
mod dockerignore;

use std::process::Stdio;
use std::time::{Duration, Instant};

use ncaas_tests::build_context::{build_context, field_names, ncaas_build, single, write_file};
use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::engine_without_buildkit::EngineWithoutBuildKit;
use ncaas_tests::{pipe_in, unique, wait_until};
use serde_json::json;

const NOT_CACHED: &str = "LABEL x=";

fn git(folder: &std::path::Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"];
    let status = std::process::Command::new("git").current_dir(folder).args(identity).args(arguments).status().unwrap();
    assert!(status.success(), "git {arguments:?}");
}

#[test]
fn an_image_is_named_and_labelled_after_its_commit() {
    let name = unique("build");
    let folder = build_context(&format!("FROM {FIXTURE}\nCOPY a /a\n"));
    let path = folder.path();
    write_file(path, "a", "1");
    git(path, &["init", "-q"]);
    git(path, &["remote", "add", "origin", &format!("https://me:hush@example.com/lab/{name}.git")]);
    git(path, &["add", "."]);
    git(path, &["commit", "-q", "-m", "one"]);
    let mut clean = CleanUp::new();

    let ran = ncaas_build().arg("image").dir(path).run();
    let record = single(ran.json());
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(field_names(&record), ["image", "image_id", "commit", "build", "error"]);
    let image = record["image"].as_str().unwrap();
    clean.image(image);
    let commit = record["commit"].as_str().unwrap();
    assert_eq!(image, format!("neurocaas/contrib:{name}.{}", &commit[..7]));
    assert_eq!(docker(&["image", "inspect", "--format", "{{.Id}}", image]), record["image_id"]);
    let label = |label: &str| {
        docker(&["image", "inspect", "--format", &format!("{{{{index .Config.Labels {label:?}}}}}"), image])
    };
    assert_eq!(label("org.opencontainers.image.revision"), commit);
    assert_eq!(label("org.opencontainers.image.source"), format!("https://example.com/lab/{name}.git"));
    assert!(label("org.opencontainers.image.created").ends_with('Z'));

    let again = single(ncaas_build().arg("image").dir(path).run().json());
    assert_eq!(again["image_id"], record["image_id"], "nothing has changed");

    write_file(path, "a", "2");
    let dirty = single(ncaas_build().arg("image").dir(path).run().json());
    clean.image(dirty["image"].as_str().unwrap());
    assert_eq!(dirty["image"], format!("{image}-dirty"));
    assert_ne!(dirty["image_id"], record["image_id"]);
}

#[test]
fn an_image_without_a_name_needs_a_git_repository() {
    let folder = build_context(&format!("FROM {FIXTURE}\n"));
    let ran = ncaas_build().arg("image").arg(folder.path()).run();
    let ran = ran.ended_saying(2, "is not in a git repository, so the image has no name\nhint: name it with `-t");
    assert_eq!(ran.text(), "");
}

#[test]
fn a_failed_step_is_reported_with_its_last_lines() {
    let image = unique("build");
    let without_buildkit = EngineWithoutBuildKit::start();
    for build in [ncaas_build(), without_buildkit.build()] {
        let command = "for i in $(seq 50); do echo line $i; done; exit 42";
        let folder = build_context(&format!("FROM {FIXTURE}\n{NOT_CACHED}{image}\nRUN {command}\n"));
        let ran = build.args(["image", "-t", &image]).arg(folder.path()).run();
        let record = single(ran.json());
        assert_eq!(ran.status, 1, "{}", ran.stderr);
        let error = &record["error"];
        assert_eq!(error["kind"], "build-failed");
        assert_eq!(error["exit_code"], 42);
        assert_eq!(error["command"], format!("RUN {command}"));
        assert!(error["step"].as_str().unwrap().contains('/'), "{error}");
        let lines: Vec<String> = (31..=50).map(|number| format!("line {number}")).collect();
        assert_eq!(error["output"], json!(lines));
        assert!(ran.stderr.contains("line 1\n") && ran.stderr.contains("failed with exit code 42"), "{}", ran.stderr);
    }
    assert_eq!(docker(&["image", "ls", "-q", &image]), "", "nothing is tagged");
}

#[test]
fn a_quiet_build_prints_only_the_output_of_a_failed_step() {
    let image = unique("build");
    let mut clean_up = CleanUp::new();
    clean_up.image(&image);
    let build = |command: &str| {
        let folder = build_context(&format!("FROM {FIXTURE}\n{NOT_CACHED}{image}\nRUN {command}\n"));
        ncaas_build().args(["image", "-q", "-t", &image]).arg(folder.path()).run()
    };
    assert_eq!(build("echo hello").ok().stderr, "");
    let failed = build("seq 50; exit 42");
    let lines: String = (31..=50).map(|number| format!("{number}\n")).collect();
    assert!(failed.stderr.starts_with(&format!("{lines}ncaas-build: ")), "{}", failed.stderr);
}

#[test]
fn cache_and_secret_mounts_use_buildkit_without_a_flag() {
    let image = unique("build");
    let mut clean = CleanUp::new();
    clean.image(&image);
    let folder = build_context(&format!(
        "FROM {FIXTURE}\nUSER root\n{NOT_CACHED}{image}\n\
         RUN --mount=type=cache,target=/c --mount=type=secret,id=token wc -c /run/secrets/token >/size\n"
    ));
    write_file(folder.path(), "token", "sesame");
    write_file(folder.path(), ".dockerignore", "token");
    let ran =
        ncaas_build().args(["image", "-t", &image, "--secret", "id=token,src=token", "."]).dir(folder.path()).run();
    let record = single(ran.json());
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(record["build"]["builder"], "buildkit");
    assert_eq!(docker(&["run", "--rm", &image, "cat", "/size"]), "6 /run/secrets/token");
    assert!(!ran.stderr.contains("sesame") && !ran.text().contains("sesame"));
    // Old engines leave the empty folder.
    let left = docker(&["run", "--rm", &image, "sh", "-c", "! [ -d /run/secrets ] || ls -A /run/secrets"]);
    assert_eq!(left, "", "the secret is in the image");
}

#[test]
fn build_arguments_labels_stages_and_proxies_reach_the_build() {
    let image = unique("build");
    let mut clean = CleanUp::new();
    clean.image(&image);
    let folder = build_context("this is not it");
    // BuildKit does not tell steps apart by their proxies: the image's name makes the step a new one.
    let dockerfile = format!(
        "FROM {FIXTURE} AS one\nARG A\nARG B\nUSER root\nRUN echo \"$A $B $https_proxy $NO_PROXY\" >/args # {image}\nFROM one AS two\nRUN exit 1\n"
    );
    let config = tempfile::tempdir().unwrap();
    write_file(
        config.path(),
        "config.json",
        r#"{"proxies":{"default":{"httpsProxy":"http://p:1","noProxy":"from the config"}}}"#,
    );
    write_file(folder.path(), "other/File", &dockerfile);
    let ran = ncaas_build()
        .args(["image", "-t", &image, "-f", "other/File", "--target", "one", "--label", "k=v w"])
        .args(["--build-arg", "A=a b", "--build-arg", "B", "--build-arg", "NO_PROXY=c", "."])
        .env("B", "from outside")
        .env("DOCKER_CONFIG", config.path())
        .dir(folder.path())
        .run();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(docker(&["run", "--rm", &image, "cat", "/args"]), "a b from outside http://p:1 c");
    assert_eq!(docker(&["image", "inspect", "--format", "{{.Config.Labels.k}}", &image]), "v w");
}

#[test]
fn a_failed_build_is_reported_in_the_record() {
    let image = unique("build");
    let folder = build_context("FROMM x\n");
    let record = single(ncaas_build().args(["image", "-t", &image]).arg(folder.path()).run().json());
    assert_eq!(record["error"]["kind"], "build-failed");
    assert!(record["error"]["message"].as_str().unwrap().contains("unknown instruction: FROMM"), "{record}");

    std::fs::remove_file(folder.path().join("Dockerfile")).unwrap();
    let record = single(ncaas_build().args(["image", "-t", &image]).arg(folder.path()).run().json());
    assert_eq!(record["error"]["kind"], "file-not-found");

    write_file(folder.path(), "Dockerfile", "FROM x\n");
    let ran =
        ncaas_build().args(["image", "-t", &image]).arg(folder.path()).env("DOCKER_HOST", "unix:///nowhere").run();
    assert_eq!((ran.status, single(ran.json())["error"]["kind"].as_str().unwrap()), (3, "engine-unreachable"));
}

#[test]
fn an_interrupted_build_ends_within_a_second_and_leaves_nothing_running() {
    let without_buildkit = EngineWithoutBuildKit::start();
    for build in [ncaas_build(), without_buildkit.build()] {
        let image = unique("build");
        // The shell has something to do afterwards, so it stays.
        let step = format!("sleep 600; echo {image}");
        let folder = build_context(&format!("FROM {FIXTURE}\nRUN {step}\n"));
        let mut command = build.args(["image", "-t", &image]).arg(folder.path()).into_command();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until("the step to run", Duration::from_secs(60), || runs(&step));
        let signalled = Instant::now();
        let status = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(status.success());
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert!(signalled.elapsed() < Duration::from_millis(1200), "{:?}", signalled.elapsed());
        wait_until("the engine to end its step", Duration::from_secs(20), || !runs(&step));
        let containers = || docker(&["ps", "-a", "--no-trunc", "--format", "{{.Command}}"]);
        wait_until("the engine to remove its container", Duration::from_secs(20), || !containers().contains(&image));
    }
}

/// Whether a process of this machine was started with these words.
fn runs(words: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut commands = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    commands.any(|command| String::from_utf8_lossy(&command).contains(words))
}

#[test]
fn an_engine_without_buildkit_builds_an_image() {
    let without_buildkit = EngineWithoutBuildKit::start();
    let image = unique("build");
    let mut clean = CleanUp::new();
    clean.image(&image);
    let folder = build_context(&format!(
        "FROM {FIXTURE} AS one\nARG A\nCOPY --chown=1000:1000 . /c/\nRUN echo \"$A\" >/c/args\n"
    ));
    // More than is handed over at once, and no multiple of a block.
    let large: String = (0..100_000).map(|number| format!("{number:07}\n")).collect();
    for (name, content) in [("large", large.as_str()), ("empty", ""), ("one", "1"), ("block", &large[..512])] {
        write_file(folder.path(), name, content);
    }
    std::os::unix::fs::symlink("large", folder.path().join("link")).unwrap();
    let ran =
        without_buildkit.build().args(["image", "-t", &image, "--build-arg", "A=a b", "."]).dir(folder.path()).run();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(single(ran.json())["build"]["builder"], "classic");
    let script = "cd /c; for file in large empty one block link args; do sha256sum <$file; done; readlink link";
    let there = docker(&["run", "--rm", &image, "bash", "-c", script]);
    write_file(folder.path(), "args", "a b\n");
    let here = std::process::Command::new("bash")
        .args(["-c", &script.replace("/c;", ".;")])
        .current_dir(folder.path())
        .output();
    assert_eq!(there, String::from_utf8(here.unwrap().stdout).unwrap().trim_end());

    write_file(folder.path(), "secret", "sesame");
    let arguments = ["image", "-t", &image, "--secret", "id=s,src=secret", "."];
    without_buildkit
        .build()
        .args(arguments)
        .dir(folder.path())
        .run()
        .ended_saying(1, "secrets need BuildKit, which this engine does not have");
}

#[test]
fn a_built_image_is_passed_down_the_pipe_and_runs() {
    let image = unique("build");
    let mut clean = CleanUp::new();
    clean.image(&image);
    clean.labelled(&format!("org.neurocaas.test={image}"));
    let folder = build_context(&format!(
        "FROM {FIXTURE}\nLABEL org.neurocaas.test={image}\nCOPY --chown=1000:1000 run.sh /run.sh\nENTRYPOINT [\"/run.sh\"]\n"
    ));
    write_file(folder.path(), "run.sh", "#!/bin/bash\necho \"got $1\"\ncat \"$2\"\n");
    let script = folder.path().join("run.sh");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    write_file(folder.path(), "day 1.npy", "data");
    write_file(folder.path(), "c.yaml", "n: 1\n");
    let line = format!(
        "ncaas-build image . -t {image} 2>/dev/null | ncaas-exec run --data 'day 1.npy' --config c.yaml | ncaas-logs save"
    );
    let ran = pipe_in(folder.path(), &line, &[]);
    let record = single(ran.json());
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(record["container"]["status"], "success", "{record}");
    assert_eq!(record["logs"]["lines"], 2, "{record}");
}

#[test]
fn an_image_without_a_commit_says_why_and_what_to_do() {
    let name = unique("build");
    let image = format!("neurocaas/contrib:{name}");
    let mut clean = CleanUp::new();
    clean.image(&image);
    let folder = build_context(&format!("FROM {FIXTURE}\n"));
    git(folder.path(), &["init", "-q"]);
    let build = |arguments: &[&str]| {
        let run = ncaas_build().arg("image").args(arguments).arg(".").dir(folder.path());
        run.env("HOME", "/nowhere").env("SUDO_UID", "0").env("GIT_CONFIG_GLOBAL", "/dev/null").run()
    };
    let refused = |reason: &str, remedy: &str| {
        let ran = build(&[]);
        assert_ne!(ran.status, 0);
        assert!(ran.stderr.contains(reason) && ran.stderr.contains(remedy), "{}", ran.stderr);
        let ran = build(&["-t", &image]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        let record = single(ran.json());
        let warning = record["warnings"][0].as_str().unwrap().to_owned();
        assert!(warning.contains(reason) && warning.contains(remedy) && ran.stderr.contains(&warning), "{warning}");
        assert_eq!(record["commit"], json!(null));
    };
    refused("has no commit yet", "git commit");
    git(folder.path(), &["add", "."]);
    git(folder.path(), &["commit", "-q", "-m", "one"]);
    let status = std::process::Command::new("chown").args(["-R", "4321:4321"]).arg(folder.path()).status().unwrap();
    assert!(status.success());
    refused("detected dubious ownership", "git config --global --add safe.directory");
}

#[test]
fn labels_say_how_jobs_run_and_those_of_the_tools_are_refused() {
    let (image, base) = (unique("build"), unique("base"));
    let mut clean = CleanUp::new();
    clean.image(&image);
    clean.image(&base);
    let folder = build_context(&format!("FROM {FIXTURE}\n"));
    let flags = ["--command", "run {data} {config}", "--mount", "data=/in", "--mount", "results=/out"];
    let ran = ncaas_build().args(["image", "-t", &image]).args(flags).args(["--protocol", "workflow"]);
    assert_eq!(ran.arg(folder.path()).run().status, 0);
    let labels = docker(&["image", "inspect", "--format", "{{json .Config.Labels}}", &image]);
    let labels: serde_json::Value = serde_json::from_str(&labels).unwrap();
    assert_eq!(labels["org.neurocaas.command"], "run {data} {config}");
    assert_eq!(labels["org.neurocaas.mounts"], "data=/in,results=/out");
    assert_eq!(labels["org.neurocaas.protocol"], "workflow");

    let ran = ncaas_build().args(["image", "-t", &image, "--protocol", "magic"]).arg(folder.path()).run();
    ran.ended_saying(2, "`magic` is not a valid protocol");
    let label = ["--label", "org.neurocaas.mounts=data=relative"];
    let ran = ncaas_build().args(["image", "-t", &image]).args(label).arg(folder.path()).run();
    ran.ended_saying(2, "the label `org.neurocaas.mounts` is not valid");

    docker(&["rmi", &image]);
    let forged = format!("FROM {FIXTURE}\nLABEL org.neurocaas.record={{}}\n");
    let bases = build_context(&forged);
    let status = std::process::Command::new("docker").args(["build", "-q", "-t", &base]).arg(bases.path()).output();
    assert!(status.unwrap().status.success());
    for dockerfile in [forged, format!("FROM {base}\n")] {
        let folder = build_context(&dockerfile);
        let record = single(ncaas_build().args(["image", "-t", &image]).arg(folder.path()).run().json());
        let message = record["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("`org.neurocaas.record`") && message.contains("is reserved for the tools"),
            "{message}"
        );
        assert_eq!(docker(&["image", "ls", "-q", &image]), "", "the image has no name");
    }
}

#[test]
fn an_image_with_more_layers_than_a_container_can_have_is_refused_with_the_remedy() {
    let image = unique("build");
    let steps: String = (0..126).map(|number| format!("COPY f /{number}\n")).collect();
    let folder = build_context(&format!("FROM {FIXTURE}\n{steps}"));
    write_file(folder.path(), "f", &image);
    let ran = ncaas_build().args(["image", "-t", &image]).arg(folder.path()).run();
    let error = &single(ran.json())["error"];
    assert!(error["message"].as_str().unwrap().contains("has 127 layers"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("--squash"), "{error}");
    assert_eq!(docker(&["image", "ls", "-q", &image]), "");
}

#[test]
fn a_package_manager_that_is_not_root_gets_a_hint() {
    let without_buildkit = EngineWithoutBuildKit::start();
    let image = unique("build");
    let said = "E: Could not open lock file /var/lib/dpkg/lock (13: Permission denied)";
    let folder = build_context(&format!("FROM {FIXTURE}\nRUN echo '{said}'; exit 100 # apt-get install {image}\n"));
    for build in [ncaas_build(), without_buildkit.build()] {
        let record = single(build.args(["image", "-t", &image]).arg(folder.path()).run().json());
        assert!(record["error"]["hint"].as_str().unwrap().contains("`USER root`"), "{record}");
    }
}
