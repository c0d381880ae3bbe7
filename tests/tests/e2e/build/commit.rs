//! `ncaas-build commit`.

use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::unique;

use super::{build, fields, one};

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
fn the_script_of_a_committed_image_gets_its_arguments_whole() {
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
        let ran = build().args(arguments).dir(std::env::temp_dir()).run().ok();
        let record = one(ran.json());
        assert_eq!(fields(&record), ["image", "container_id", "image_id", "error"]);
        assert_eq!(docker(&["run", "--rm", &image, "a b", "c'$(x)"]), "[a b]\n[c'$(x)]");
    }
    let of = |format: &str| docker(&["image", "inspect", "--format", format, &image]);
    assert_eq!(of("{{index .Config.Env 0}}"), "A=b c");
    assert_eq!(of("{{.Comment}}"), "it's \"so\"");
    assert_eq!(of("{{index .Config.Labels \"org.neurocaas.job\"}}"), "", "it is no job's image");
    assert_eq!(of("{{.Config.User}} {{.Config.WorkingDir}}"), "neurocaasdev /home/neurocaasdev");
}

#[test]
fn what_could_not_run_is_not_saved() {
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
        let ran = build().args(["commit", &name, "-t", &image, "--script", script]).run();
        assert_eq!((ran.status, one(ran.json())["error"]["kind"].as_str().unwrap()), (1, kind), "{script}");
    }
    assert_eq!(docker(&["image", "ls", "-q", &image]), "", "nothing is saved");

    let record = one(build().args(["commit", "no-such-container", "-t", &image]).run().json());
    assert_eq!(record["error"]["kind"], "container-not-found");
    let record = one(build().args(["commit", &name, "-t", FIXTURE]).run().json());
    assert_eq!(record["error"]["kind"], "name-in-use");
}

#[test]
fn files_in_mounts_and_variables_draw_warnings() {
    let mut clean = CleanUp::new();
    let image = unique("committed");
    clean.image(&image);
    let name = container(&mut clean, &["-v", "/etc:/mounted:ro", "-v", "/empty", "-e", "PASSWORD=sesame"]);
    let ran = build().args(["commit", &name, "-t", &image]).run();
    let record = one(ran.json());
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let warnings: Vec<&str> =
        record["warnings"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!(
        warnings,
        [
            "the files in `/mounted` are not in the image: it is a bind mount",
            "variables of the container become the image's, where others can read them: `PASSWORD`",
        ]
    );
    assert!(!ran.stderr.contains("sesame") && !ran.text().contains("sesame"));
}
