//! `ncaas-build commit`.

use ncaas_tests::build_context::{build_context, field_names, ncaas_build, single, write_file};
use ncaas_tests::engine::{CleanUp, FIXTURE, docker, is_remote};
use ncaas_tests::workspace::Workspace;
use ncaas_tests::{Run, unique};
use serde_json::json;

/// A container with scripts good and bad in its home.
fn container(clean: &mut CleanUp, options: &[&str]) -> String {
    let name = unique("commit");
    clean.container(&name);
    let script = r##"
        printf '#!/bin/bash\nfor a; do echo "[$a]"; done\n' >good.sh
        printf 'echo\n' >none.sh
        printf '#!/bin/bash\r\necho\r\n' >crlf.sh
        printf '#!/usr/bin/python9\n' >python.sh
        printf '#!/usr/bin/env python9\n' >env.sh
        printf '#!/usr/bin/env bash -e\n' >joined.sh
        printf '#!/bin/bash -e -u\n' >options.sh
        printf '\357\273\277#!/bin/bash\n' >bom.sh
        printf '#!/home/neurocaasdev/loop.sh\n' >loop.sh
        printf '#!/%300s\n' x | tr ' ' x >long.sh
        chmod +x *.sh
        cp good.sh plain; chmod -x plain; ln -s good.sh link.sh
    "##;
    let mut arguments = vec!["run", "--name", &name];
    arguments.extend_from_slice(options);
    arguments.extend_from_slice(&[FIXTURE, "bash", "-c", script]);
    docker(&arguments);
    name
}

#[test]
fn the_script_of_a_committed_image_gets_its_arguments_unchanged() {
    let mut clean = CleanUp::new();
    let image = unique("committed");
    clean.image(&image);
    let name = container(&mut clean, &["--label", "org.neurocaas.job=job__x_1"]);
    for script in ["link.sh", "/home/neurocaasdev/good.sh"] {
        let arguments = [
            "commit",
            &name,
            "-t",
            &image,
            "--script",
            script,
            "--env",
            "A=b c",
            "--message",
            "it's \"so\"",
            "--force",
        ];
        let ran = ncaas_build().args(arguments).dir(std::env::temp_dir()).run().ok();
        let record = single(ran.json());
        assert_eq!(field_names(&record), ["image", "container_id", "image_id", "error"]);
        assert_eq!(docker(&["run", "--rm", &image, "a b", "c'$(x)"]), "[a b]\n[c'$(x)]");
    }
    let of = |format: &str| docker(&["image", "inspect", "--format", format, &image]);
    assert_eq!(of("{{index .Config.Env 0}}"), "A=b c");
    assert_eq!(of("{{.Comment}}"), "it's \"so\"");
    assert_eq!(of("{{index .Config.Labels \"org.neurocaas.job\"}}"), "", "it is no job's image");
    assert_eq!(of("{{.Config.User}} {{.Config.WorkingDir}}"), "neurocaasdev /home/neurocaasdev");
}

#[test]
fn commit_refuses_a_script_that_could_not_run() {
    let mut clean = CleanUp::new();
    let image = unique("committed");
    clean.image(&image);
    let name = container(&mut clean, &["-v", "/etc:/mounted:ro"]);
    let refused = [
        ("nowhere.sh", "script-not-found"),
        ("io-dir", "script-not-found"),
        ("/mounted/hostname", "script-not-found"),
        ("plain", "script-not-executable"),
        ("none.sh", "bad-interpreter"),
        ("crlf.sh", "bad-interpreter"),
        ("python.sh", "bad-interpreter"),
        ("env.sh", "bad-interpreter"),
        ("joined.sh", "bad-interpreter"),
        ("options.sh", "bad-interpreter"),
        ("bom.sh", "bad-interpreter"),
        ("loop.sh", "bad-interpreter"),
        ("long.sh", "bad-interpreter"),
    ];
    for (script, kind) in refused {
        let ran = ncaas_build().args(["commit", &name, "-t", &image, "--script", script]).run();
        assert_eq!((ran.status, single(ran.json())["error"]["kind"].as_str().unwrap()), (1, kind), "{script}");
    }
    assert_eq!(docker(&["image", "ls", "-q", &image]), "", "nothing is saved");

    let record = single(ncaas_build().args(["commit", "no-such-container", "-t", &image]).run().json());
    assert_eq!(record["error"]["kind"], "container-not-found");
    let record = single(ncaas_build().args(["commit", &name, "-t", FIXTURE]).run().json());
    assert_eq!(record["error"]["kind"], "name-in-use");
}

#[test]
fn commit_warns_about_files_in_mounts_and_environment_variables() {
    let mut clean = CleanUp::new();
    let image = unique("committed");
    clean.image(&image);
    let (folder, volume) = (tempfile::tempdir().unwrap(), unique("left-out"));
    clean.volume(&volume);
    write_file(folder.path(), "below/a", "12345");
    write_file(folder.path(), "b", "");
    let (bind, named) = (format!("{}:/mounted:ro", folder.path().display()), format!("{volume}:/home/neurocaasdev/v"));
    docker(&["run", "--rm", "-v", &named, "--user", "0", FIXTURE, "touch", "/home/neurocaasdev/v/kept"]);
    let name = container(&mut clean, &["-v", &bind, "-v", &named, "-v", "/empty", "-e", "PASSWORD=sesame"]);
    let ran = ncaas_build().args(["commit", &name, "-t", &image]).run();
    let record = single(ran.json());
    assert_eq!(ran.status, 0, "{}", ran.stderr);

    let mut left_out = record["left_out"].as_array().unwrap().clone();
    left_out.sort_by_key(|one| one["type"].to_string());
    let [of_bind, of_volume] = &left_out[..] else { panic!("{left_out:?}") };
    assert_eq!(field_names(of_bind), ["path", "type", "name", "source", "files", "bytes", "hint"]);
    assert_eq!(
        (&of_bind["path"], &of_bind["type"], &of_bind["name"]),
        (&json!("/mounted"), &json!("bind"), &json!(null))
    );
    if !is_remote() {
        assert_eq!((&of_bind["files"], &of_bind["bytes"]), (&json!(2), &json!(5)));
        assert!(ran.stderr.contains("`/mounted` (2 files, 5 B) is a bind mount, so its files are not in the image"));
    }
    assert_eq!((&of_volume["path"], &of_volume["name"]), (&json!("/home/neurocaasdev/v"), &json!(volume)));
    assert_eq!((&of_volume["type"], &of_volume["files"]), (&json!("volume"), &json!(null)));

    let variables = "the image contains environment variables of the container, and everybody who has the image can read them: `PASSWORD`";
    assert_eq!(record["warnings"], json!([variables]));
    assert!(ran.stderr.contains(variables) && !ran.stderr.contains("sesame") && !ran.text().contains("sesame"));
}

#[test]
fn a_committed_script_gets_its_inputs_from_the_environment_if_it_has_no_arguments() {
    let mut clean = CleanUp::new();
    let image = unique("committed");
    clean.image(&image);
    let name = container(&mut clean, &[]);
    ncaas_build().args(["commit", &name, "-t", &image, "--script", "good.sh"]).run().ok();
    let run = |arguments: &[&str]| docker(&[&["run", "--rm", "-e", "data=d e", "-e", "config=c"], arguments].concat());
    assert_eq!(run(&[&image]), "[d e]\n[c]", "as clients that pass only the environment");
    assert_eq!(run(&[&image, "a b", "c"]), "[a b]\n[c]", "arguments come first");
    assert_eq!(run(&[&image, "/bin/sh", "-c", "echo shell"]), "shell", "as clients that develop in the image");
}

#[test]
fn an_image_of_a_development_container_has_the_command_of_its_own_image() {
    let mut clean = CleanUp::new();
    let (name, base, image) = (unique("dev"), unique("base"), unique("committed"));
    clean.container(&name);
    clean.image(&base);
    clean.image(&image);
    let folder = tempfile::tempdir().unwrap();
    let dockerfile = build_context(&format!("FROM {FIXTURE}\nENTRYPOINT []\nCMD [\"echo\", \"hello\"]\n"));
    assert_eq!(ncaas_build().args(["image", "-t", &base]).arg(dockerfile.path()).run().status, 0);
    let command = |image: &str| {
        docker(&["image", "inspect", "--format", "{{json .Config.Entrypoint}} {{json .Config.Cmd}}", image])
    };
    assert_eq!(command(&base), r#"null ["echo","hello"]"#);
    let started = Run::tool("ncaas-exec").args(["start", &base, "--name", &name]).dir(folder.path()).run();
    assert_eq!(started.status, 0, "{}", started.stderr);
    let ran = ncaas_build().args(["commit", &name, "-t", &image]).dir(folder.path()).run();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(field_names(&single(ran.json())), ["image", "container_id", "image_id", "error"], "no warning");
    assert_eq!(command(&image), command(&base));
    let labels = docker(&["image", "inspect", "--format", "{{json .Config.Labels}}", &image]);
    let labels: serde_json::Value = serde_json::from_str(&labels).unwrap();
    for (key, value) in labels.as_object().unwrap() {
        let of_the_author = ["org.neurocaas.io-dir", "org.neurocaas.source"].contains(&key.as_str());
        let of_the_commit = key == "org.neurocaas.committed";
        let of_the_tools = key.starts_with("org.neurocaas.") && !of_the_author && !of_the_commit;
        assert!(!of_the_tools || value == "", "{key}={value}");
    }
}

#[test]
fn an_image_of_a_job_has_no_dataset_in_its_command() {
    let mut clean = CleanUp::new();
    let (base, image) = (unique("base"), unique("committed"));
    clean.image(&base);
    clean.image(&image);
    let workspace = Workspace::new();
    workspace.write("d.npy", "x");
    let dockerfile = build_context(&format!("FROM {FIXTURE}\nENTRYPOINT []\nCMD []\n"));
    assert_eq!(ncaas_build().args(["image", "-t", &base]).arg(dockerfile.path()).run().status, 0);
    let started = workspace.exec(&["run", &base, "--data", "d.npy", "--", "echo"]).run().record();
    let id = started.container.unwrap().id;
    let committed = ncaas_build().args(["commit", &id, "-t", &image]).dir(workspace.path()).run();
    assert_eq!(committed.status, 0, "{}", committed.stderr);
    let command = docker(&["image", "inspect", "--format", "{{json .Config.Entrypoint}} {{json .Config.Cmd}}", &image]);
    assert_eq!(command, r#"null ["sh"]"#);
    assert_eq!(workspace.exec(&["run", &image, "--data", "d.npy"]).run().record().error_kind(), "usage");
}

#[test]
fn commit_squash_saves_one_layer_with_the_settings_of_the_container() {
    let mut clean = CleanUp::new();
    let image = unique("committed");
    clean.image(&image);
    let name = container(&mut clean, &["-e", "A=$x \"y\" \\z", "--label", "org.neurocaas.job=job__x_1"]);
    let arguments = ["commit", &name, "-t", &image, "--squash", "--script", "good.sh", "--protocol", "arguments"];
    let ran = ncaas_build().args(arguments).dir(std::env::temp_dir()).run();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let record = single(ran.json());
    let inspect = |format: &str| docker(&["image", "inspect", "--format", format, &image]);
    assert_eq!(inspect("{{len .RootFS.Layers}} {{.Id}}"), format!("1 {}", record["image_id"].as_str().unwrap()));
    assert_eq!(docker(&["run", "--rm", &image, "a b"]), "[a b]");
    assert_eq!(
        docker(&["run", "--rm", "--entrypoint", "sh", &image, "-c", "echo \"$A\"; pwd; id -un"]),
        "$x \"y\" \\z\n/home/neurocaasdev\nneurocaasdev"
    );
    let label = |key: &str| inspect(&format!("{{{{index .Config.Labels {key:?}}}}}"));
    assert_eq!(label("org.neurocaas.protocol"), "arguments");
    assert_eq!(label("org.neurocaas.io-dir"), "/home/neurocaasdev/io-dir");
    assert_eq!(label("org.neurocaas.job"), "");
}
