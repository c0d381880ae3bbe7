//! Jobs on nodes without an engine: `--engine podman` starts one for each job.

use std::time::Duration;

use ncaas_tests::cluster::CONTROLLER;
use ncaas_tests::cluster_lab::Lab;
use ncaas_tests::{tools, wait_until};

#[test]
fn each_job_has_a_separate_podman_if_nodes_have_no_engine() {
    let mut lab = Lab::new(&["n1"]);
    place_with_podman(&mut lab, "1", "root");
}

#[test]
fn a_user_without_privileges_has_a_podman_for_each_job() {
    let mut lab = Lab::on_s3(&["n1"]);
    lab.user = "lab";
    // The output of jobs goes to the folder of `place`, and the tools may be below a folder that only root may enter.
    lab.cluster.run(CONTROLLER, lab.cluster.folder(), &["chmod", "777", "."]);
    for machine in [CONTROLLER, "n1"] {
        let mount = format!("mkdir /run/tools; mount --bind {} /run/tools; chown lab /mnt", tools().display());
        lab.cluster.bash(machine, &mount).ok();
    }
    // As udev does it: every user may open these devices.
    for (device, minor) in [("fuse", 229), ("net/tun", 200)] {
        let own = format!("mknod --mode 666 /run/{minor} c 10 {minor} && mount --bind /run/{minor} /dev/{device}");
        lab.cluster.bash("n1", &own).ok();
    }
    lab.variables.push(("PATH", format!("/run/tools:{}", std::env::var("PATH").unwrap())));
    lab.variables.push(("HOME", "/mnt".to_owned()));
    place_with_podman(&mut lab, "1", "lab");
    place_with_podman(&mut lab, "2", "root");

    // The next job removes what a killed one has left.
    lab.submit("3", &[("d.txt", "4\nd")]);
    let pipe = lab.start("--once", "--engine podman");
    wait_until("a container runs", Duration::from_secs(60), || lab.cluster.bash("n1", "pgrep -x conmon").status == 0);
    lab.cluster.bash("n1", "pkill -KILL '^slurm_script|^ncaas-'");
    assert_eq!(lab.wait(pipe), 0, "{}", lab.describe());
    check_podman_is_gone(&lab);
}

/// Runs a submission with images that a user of the node has loaded.
fn place_with_podman(lab: &mut Lab, timestamp: &str, loaded_by: &str) {
    // Podman gives containers higher limits than it may where this machine's root has not all privileges.
    let settings = lab.cluster.folder().join("containers.conf");
    std::fs::write(&settings, "[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]\n").unwrap();
    lab.variables.push(("CONTAINERS_CONF", settings.to_str().unwrap().to_owned()));
    let store = format!("/mnt/images-{loaded_by}");
    lab.variables.push(("NCAAS_IMAGE_STORE", store.clone()));
    lab.variables.push(("TMPDIR", "/mnt".to_owned()));
    // Podman keeps a process for a user without privileges.
    let load = format!(
        "docker save lab/analysis >/mnt/analysis.tar && mkdir /run/{loaded_by} && chown {loaded_by} /run/{loaded_by} && \
         HOME=/run/{loaded_by} XDG_RUNTIME_DIR=/run/{loaded_by} runuser -u {loaded_by} -- podman --root {store} \
         --runroot /run/{loaded_by}/images --storage-driver overlay load --quiet --input /mnt/analysis.tar && \
         chmod --recursive a+rX {store} && (pkill -KILL podman || true)"
    );
    let loaded = lab.cluster.bash("n1", &load);
    assert_eq!(loaded.status, 0, "{}", loaded.stderr);

    lab.submit(timestamp, &[("a.txt", "2\na"), ("b.txt", "2\nb"), ("c.txt", "0\nfail")]);
    assert_eq!(lab.place("--engine podman"), 1, "{}", lab.describe());
    assert_eq!(lab.certificate_statuses(timestamp), ["SUCCESS", "SUCCESS", "FAILED"], "{}", lab.describe());
    assert_eq!(lab.read(timestamp, "process_results/b.txt/out.txt"), "2\nb");
    check_podman_is_gone(lab);
}

fn check_podman_is_gone(lab: &Lab) {
    lab.check_nodes_are_clean();
    let left =
        "ls --directory /mnt/ncaas-podman* 2>/dev/null; pgrep --list-full 'podman|conmon|slirp4netns|fuse-overlayfs'";
    assert_eq!(lab.cluster.bash("n1", left).text(), "", "a store or a process is left");
}
