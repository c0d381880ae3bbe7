//! `ncaas-build check`.

use ncaas_tests::build_context::{field_names, ncaas_build, write_file};

#[test]
fn each_finding_is_a_record_with_its_line_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    write_file(folder.path(), "run.sh", "#!/bin/bash\nconda activate x\npython3 pca.py \"$1\"\n");
    let ran = ncaas_build().args(["check", "run.sh"]).dir(folder.path()).run();
    let found = ran.json();
    let found: Vec<String> = found
        .iter()
        .map(|record| {
            assert_eq!(field_names(record), ["file", "line", "trap", "message", "remedy", "error"]);
            format!("{} {} {}", record["file"], record["line"], record["trap"]).replace('"', "")
        })
        .collect();
    assert_eq!(ran.status, 1);
    assert_eq!(found, ["run.sh null not-executable", "run.sh 3 relative-path", "run.sh 2 conda-activate"]);
    assert!(ran.stderr.contains("`run.sh`: no file mentions the io-dir"), "{}", ran.stderr);
}

#[test]
fn a_script_that_writes_beside_the_io_dir_is_not_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    write_file(folder.path(), "run.sh", "#!/bin/bash\ncp \"$1\" out.txt\n");
    let script = folder.path().join("run.sh");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ran = ncaas_build().args(["check", "run.sh"]).dir(folder.path()).run();
    assert_eq!((ran.status, ran.text().as_str()), (0, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("`ncaas-sync collect` also finds results elsewhere"), "{}", ran.stderr);
}

#[test]
fn the_sample_analysis_has_no_findings() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/analyses/pca");
    assert_eq!(ncaas_build().args(["check", sample]).run().ok().text(), "");
}

#[test]
fn a_script_of_workflow_commands_is_recognised() {
    let folder = tempfile::tempdir().unwrap();
    write_file(folder.path(), "run.sh", "#!/bin/bash\ndata=$(neurocaas-contrib workflow get-datapath)\n");
    let script = folder.path().join("run.sh");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ran = ncaas_build().args(["check", "run.sh"]).dir(folder.path()).run();
    assert_eq!((ran.status, ran.text().as_str()), (0, ""));
    assert!(ran.stderr.contains("`run.sh` calls `neurocaas-contrib workflow`"), "{}", ran.stderr);
    assert!(ran.stderr.contains("`--protocol workflow`"), "{}", ran.stderr);
}
