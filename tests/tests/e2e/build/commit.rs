//! `ncaas-build commit`.

use ncaas_tests::build_context::{field_names, ncaas_build, single, write_file};
use ncaas_tests::engine::{CleanUp, FIXTURE, docker, is_remote};
use ncaas_tests::unique;
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
        assert!(ran.stderr.contains("the files in `/mounted` (2 files, 5 B) are not in the image: it is a bind mount"));
    }
    assert_eq!((&of_volume["path"], &of_volume["name"]), (&json!("/home/neurocaasdev/v"), &json!(volume)));
    assert_eq!((&of_volume["type"], &of_volume["files"]), (&json!("volume"), &json!(null)));

    let variables = "variables of the container become the image's, where others can read them: `PASSWORD`";
    assert_eq!(record["warnings"], json!([variables]));
    assert!(ran.stderr.contains(variables) && !ran.stderr.contains("sesame") && !ran.text().contains("sesame"));
}
