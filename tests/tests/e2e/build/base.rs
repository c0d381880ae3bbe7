//! `ncaas-build base`.

use std::process::Command;

use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::unique;

use super::{build, one};

#[test]
fn a_base_is_made_of_a_root_file_system_whoever_has_the_uid_in_it() {
    let mut clean = CleanUp::new();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let container = docker(&["create", FIXTURE]);
    clean.container(&container);
    let unpacked = format!("docker export {container} | tar -x -C '{}'", root.display());
    assert!(Command::new("bash").args(["-c", &unpacked]).status().unwrap().success());
    // As Ubuntu's images have it.
    std::fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/bash\nubuntu:x:1000:1000::/home/ubuntu:/bin/sh",
    )
    .unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nubuntu:x:1000:\n").unwrap();
    let archive = folder.path().join("root.tar");
    let tar = Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&root).arg(".").status().unwrap();
    assert!(tar.success());
    for rootfs in [&root, &archive] {
        let image = unique("base");
        clean.image(&image);
        let ran = build().args(["base", "-t", &image, "--rootfs"]).arg(rootfs).run();
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        assert_eq!(one(ran.json())["image"], image);
        let script = "id -un; id -u; pwd; tail -n 1 /etc/passwd; grep -c ubuntu /etc/passwd; ls io-dir";
        let said = docker(&["run", "--rm", &image, "bash", "-c", script]);
        let passwd = "neurocaasdev:x:1000:1000::/home/neurocaasdev:/bin/bash";
        assert_eq!(
            said,
            format!("neurocaasdev\n1000\n/home/neurocaasdev\n{passwd}\n0\nconfigs\ninputs\nlogs\nresults")
        );
        let label = "{{index .Config.Labels \"org.neurocaas.io-dir\"}}";
        assert_eq!(docker(&["image", "inspect", "--format", label, &image]), "/home/neurocaasdev/io-dir");
        docker(&["run", "--rm", "--user", "4711:100", &image, "bash", "-c", "touch io-dir/results/x"]);
    }
    assert_eq!(docker(&["image", "ls", "--format", "{{.Tag}}", "*:*-rootfs-*"]), "", "no helper is left");
}
