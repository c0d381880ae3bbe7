//! `ncaas-build base`.

use std::path::Path;
use std::process::Command;

use ncaas_tests::build_context::{build_context, ncaas_build, single, write_file};
use ncaas_tests::engine::{CleanUp, FIXTURE, docker};
use ncaas_tests::unique;

/// The fixture's file system, to be changed into a distribution's and imported as its image.
struct Distribution(tempfile::TempDir);

impl Distribution {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let container = docker(&["create", FIXTURE]);
        let unpacked = format!("docker export {container} | tar -x -C '{}'", folder.path().display());
        assert!(Command::new("bash").args(["-c", &unpacked]).status().unwrap().success());
        docker(&["rm", &container]);
        std::fs::remove_dir_all(folder.path().join("home")).unwrap();
        Distribution(folder)
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn remove(&self, paths: &[&str]) {
        for path in paths {
            std::fs::remove_file(self.root().join(path)).unwrap();
        }
    }

    /// Its image, with the settings that it comes with.
    fn image(&self, clean: &mut CleanUp, changes: &[&str]) -> String {
        let name = unique("distribution");
        clean.image(&name);
        let changes: Vec<String> = changes.iter().map(|change| format!("--change '{change}'")).collect();
        let line = format!("tar -c -C '{}' . | docker import {} - {name}", self.root().display(), changes.join(" "));
        assert!(Command::new("bash").args(["-c", &line]).status().unwrap().success());
        name
    }
}

/// What holds for every base, whatever it was made from.
#[track_caller]
fn is_a_base(image: &str) {
    let script = "id -un; id -u; id -g; pwd; echo $HOME; tail -n 1 /etc/passwd; touch io-dir/results/x; ls io-dir";
    let said = docker(&["run", "--rm", image, "bash", "-c", script]);
    let home = "/home/neurocaasdev";
    let expected = format!(
        "neurocaasdev\n1000\n1000\n{home}\n{home}\nneurocaasdev:x:1000:1000::{home}:/bin/bash\nconfigs\ninputs\nlogs\nresults"
    );
    assert_eq!(said, expected);
    docker(&["run", "--rm", "--user", "4711:100", image, "bash", "-c", "touch io-dir/results/x ~/y"]);
    let set = docker(&[
        "image",
        "inspect",
        "--format",
        "{{json .Config.Entrypoint}} {{json .Config.Cmd}} {{.Config.User}}",
        image,
    ]);
    assert!(["null [\"bash\"] neurocaasdev", "[] [\"bash\"] neurocaasdev"].contains(&set.as_str()), "{set}");
}

#[test]
fn base_works_on_distributions_with_different_users_tools_and_settings() {
    let mut clean = CleanUp::new();
    let distribution = Distribution::new();

    // shadow-utils: files of passwords beside, and a user with the uid who is in groups.
    write_file(distribution.root(), "etc/login.defs", "UMASK 077\nUID_MIN 1000\n");
    write_file(
        distribution.root(),
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nubuntu:x:1000:1000:Ubuntu:/home/ubuntu:/bin/bash\n",
    );
    write_file(distribution.root(), "etc/group", "root:x:0:\nadm:x:4:ubuntu\nubuntu:x:1000:\n");
    write_file(distribution.root(), "etc/shadow", "root:*:19000:0:99999:7:::\nubuntu:!:19000:0:99999:7:::\n");
    write_file(distribution.root(), "etc/gshadow", "root:*::\nubuntu:!::\n");
    write_file(distribution.root(), "etc/skel/.profile", "umask 002\n");
    let settings = ["USER ubuntu", "ENTRYPOINT [\"/bin/false\"]", "ENV HOME=/home/ubuntu"];
    let ubuntu = distribution.image(&mut clean, &settings);

    // Neither tools nor the files that they keep.
    distribution.remove(&["etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"]);
    let minimal = distribution.image(&mut clean, &[]);
    let id = docker(&["image", "inspect", "--format", "{{.Id}}", &minimal]);

    for from in [ubuntu.as_str(), &minimal, &id, &id[7..19]] {
        let image = unique("base");
        clean.image(&image);
        let ran = ncaas_build().args(["base", "-t", &image, "--from", from]).run();
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        is_a_base(&image);
        if from == ubuntu {
            let shadow = docker(&[
                "run",
                "--rm",
                "--user",
                "0",
                &image,
                "bash",
                "-c",
                "tail -qn 1 /etc/shadow /etc/gshadow; ls -A ~neurocaasdev",
            ]);
            assert_eq!(shadow, "neurocaasdev:!:19000:0:99999:7:::\nneurocaasdev:!::\n.profile\nio-dir");
        }
        assert_eq!(docker(&["image", "ls", "-q", &format!("{image}-from-*")]), "", "no name is left");
    }
}

#[test]
fn a_base_of_a_base_keeps_its_home_and_adds_nothing_to_its_size() {
    let mut clean = CleanUp::new();
    let (ours, image) = (unique("base"), unique("base"));
    clean.image(&ours);
    clean.image(&image);
    let folder = build_context(&format!("FROM {FIXTURE}\nCOPY --chown=1000:1000 .profile large /home/neurocaasdev/\n"));
    write_file(folder.path(), ".profile", "mine\n");
    write_file(folder.path(), "large", &"x".repeat(5_000_000));
    ncaas_build().args(["image", "-t", &ours]).arg(folder.path()).run();
    ncaas_build().args(["base", "-t", &image, "--from", &ours]).run();
    is_a_base(&image);
    assert_eq!(docker(&["run", "--rm", &image, "cat", ".profile"]), "mine");
    let size = |image: &str| docker(&["image", "inspect", "--format", "{{.Size}}", image]).parse::<u64>().unwrap();
    assert!(size(&image) < size(&ours) + 100_000, "{} from {}", size(&image), size(&ours));
}

#[test]
fn base_reports_why_an_image_cannot_be_a_base() {
    let mut clean = CleanUp::new();
    let distribution = Distribution::new();
    distribution.remove(&["bin/bash"]);
    let without_bash = distribution.image(&mut clean, &[]);
    distribution.remove(&["bin/sh"]);
    let without_shell = distribution.image(&mut clean, &[]);
    let reasons = [
        (without_bash, "there is no bash in this image, and no package manager that could install it"),
        (without_shell, "it has no `/bin/sh` to run the set-up"),
    ];
    for (from, why) in reasons {
        let image = unique("base");
        let ran = ncaas_build().args(["base", "-t", &image, "--from", &from]).run();
        let record = single(ran.json());
        assert_eq!(ran.status, 1, "{}", ran.stderr);
        assert_eq!(record["error"]["kind"], "build-failed");
        assert_eq!(record["error"]["message"], format!("cannot build a base on `{from}`: {why}"));
        assert_eq!(docker(&["image", "ls", "-q", &image]), "", "nothing is tagged");
    }
}

#[test]
fn base_accepts_a_root_file_system_in_a_folder_or_an_archive() {
    let mut clean = CleanUp::new();
    let distribution = Distribution::new();
    let archive = distribution.root().with_extension("tar");
    let tar =
        Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(distribution.root()).arg(".").status().unwrap();
    assert!(tar.success());
    for rootfs in [distribution.root(), &archive] {
        let image = unique("base");
        clean.image(&image);
        let ran = ncaas_build().args(["base", "-t", &image, "--rootfs"]).arg(rootfs).run();
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        assert_eq!(single(ran.json())["image"], image);
        is_a_base(&image);
        let label = "{{index .Config.Labels \"org.neurocaas.io-dir\"}}";
        assert_eq!(docker(&["image", "inspect", "--format", label, &image]), "/home/neurocaasdev/io-dir");
        assert_eq!(docker(&["image", "ls", "-q", &format!("{image}-from-*")]), "", "no name is left");
    }
    std::fs::remove_file(archive).unwrap();
}
