//! Misspelt names of verbs, images and files get the nearest right name; wrong values are refused with an example.

use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::own_engine::OwnEngine;
use ncaas_tests::workspace::Workspace;
use ncaas_tests::{Run, unique};

#[test]
fn every_tool_suggests_verbs() {
    for (tool, verb, suggested) in [
        ("ncaas-build", "imgae", "a similar subcommand exists: 'image'"),
        ("ncaas-exec", "rn", "some similar subcommands exist: 'in', 'run', 'rm'"),
        ("ncaas-logs", "stat", "a similar subcommand exists: 'state'"),
        ("ncaas-sync", "pll", "a similar subcommand exists: 'pull'"),
        ("ncaas-submit", "sl", "a similar subcommand exists: 'ls'"),
    ] {
        let ran = Run::tool(tool).arg(verb).run();
        assert!(ran.status == 2 && ran.stderr.contains(suggested), "{tool} {verb}: {}", ran.stderr);
    }
}

#[test]
fn a_misspelt_image_gets_the_nearest_name_on_the_engine_as_a_hint() {
    let (workspace, mut clean_up) = (Workspace::new(), CleanUp::new());
    let version = unique("suggested");
    let image = format!("ncaas-test/contrib:{version}");
    clean_up.image(&image);
    docker(&["tag", FIXTURE, &image]);
    let hint = |name: &str, arguments: &[&str]| {
        let ran = workspace.exec(arguments).run();
        let message = format!("ncaas-exec: image `{name}` does not exist on this engine\nhint: ");
        assert_eq!(ran.status, 1, "{ran:?}");
        ran.stderr.strip_prefix(&message).unwrap_or_else(|| panic!("{}", ran.stderr)).trim_end().to_owned()
    };
    let run = |name: &str| hint(name, &["run", name, "--", "true"]);
    let suggestion = format!("did you mean `{image}`?");
    assert_eq!(run(&version), suggestion, "the tag alone");
    let typo = format!("contrib:{}", version.replace("suggested", "sugested"));
    assert_eq!(run(&typo), suggestion);
    assert_eq!(hint(&typo, &["start", &typo]), suggestion);
    let whole = format!("ncaas-tets/contrib:{version}");
    assert_eq!(run(&whole), format!("{suggestion} Otherwise pull it with `ncaas-build pull {whole}`"));
    for arguments in
        [["push", &typo].as_slice(), &["tag", &typo, "x:y"], &["save", &typo, "-o", "/dev/null"], &["rm", &typo]]
    {
        Run::tool("ncaas-build").args(arguments).run().ended_saying(1, &suggestion);
    }
}

#[test]
fn a_misspelt_container_job_or_dataset_gets_the_nearest_name_as_a_hint() {
    let workspace = Workspace::new();
    let id = unique("named-job");
    let dataset = workspace.write(&format!("{id}.npy"), "1");
    let ended = workspace.exec(&["run", FIXTURE, "--name", &id, "--data", &dataset, "--follow", "--", "true"]).run();
    let container = ended.json()[0]["container"]["name"].as_str().unwrap().to_owned();
    for name in [id.as_str(), &container, &format!("{id}.npy")] {
        let (typo, hint) =
            (name.replace("named", "nmaed"), format!("hint: did you mean `{name}`? `ncaas-exec ls --all`"));
        workspace.exec(&["stop", &typo]).run().ended_saying(1, &hint);
        let state = Run::tool("ncaas-logs").args(["state", &typo]).dir(workspace.path()).run();
        state.ended_saying(1, &hint);
    }
    workspace.exec(&["rm", "--force", &id]).run();
}

#[test]
fn last_on_an_engine_without_containers_of_the_tools_says_so() {
    let engine = OwnEngine::start(&[]);
    let ran = Run::tool("ncaas-exec").args(["stop", "last"]).env("DOCKER_HOST", engine.host()).run();
    ran.ended_saying(1, "no container on this engine was started by ncaas\n");
}

#[test]
fn a_misspelt_dataset_config_or_record_gets_the_nearest_file_as_a_hint() {
    let workspace = Workspace::new();
    workspace.write("session1.npy", "1");
    workspace.write("config.yaml", "n: 1\n");
    workspace.write("a.record.json", "{}");
    let run = |arguments: &[&str]| workspace.exec(&[&["run", FIXTURE], arguments, &["--", "true"]].concat()).run();
    let hint = |name: &str| format!("hint: did you mean `{}`?", workspace.path().join(name).display());
    run(&["--data", "sesion1.npy"]).ended_saying(1, &hint("session1.npy"));
    run(&["--data", "session1.npy", "--config", "conifg.yaml"]).ended_saying(1, &hint("config.yaml"));
    workspace.exec(&["run", "--replay", "a.recrod.json"]).run().ended_saying(1, "hint: did you mean `a.record.json`?");
    let init = ["init", "pca", "--group", "lab"];
    Run::tool("ncaas-submit").args(init).dir(workspace.path()).run().ok();
    let send = ["send", "pca/lab", "--data", "sesion1.npy", "--config", "config.yaml"];
    let sent = Run::tool("ncaas-submit").args(send).dir(workspace.path()).run();
    sent.ended_saying(1, "hint: did you mean `session1.npy`?");
}

#[test]
fn a_negative_or_empty_time_or_size_is_refused_with_an_example() {
    for (arguments, message) in [
        (["rm", "--older-than", "-10m"], "`-10m` is not a valid duration: write for example `90s`"),
        (["rm", "--older-than", "7"], "`7` has no unit: write for example `7d`"),
        (["run", "--timeout", "-5"], "`-5` is not a valid duration: write for example `90s`"),
        (["run", "--timeout", "0s"], "`0s` is too short: write for example `90s`"),
        (["run", "--memory", "-4g"], "`-4g` is not a valid size: write for example `512m`"),
    ] {
        let ran = Run::tool("ncaas-exec").args(arguments).run();
        assert!(ran.status == 2 && ran.stderr.contains(message), "{arguments:?}: {}", ran.stderr);
    }
}
