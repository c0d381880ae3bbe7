//! `ncaas-exec start`.

use std::time::{Duration, Instant};

use ncaas_tests::Run;
use ncaas_tests::dev_container::DevContainer;
use ncaas_tests::engine::{CleanUp, FIXTURE, docker, is_remote};

#[test]
fn a_development_container_shares_the_io_dir_and_leaves_files_owned_by_the_user() {
    let dev = DevContainer::new();
    let results = dev.dir.path().join("io-dir/results");
    std::fs::create_dir(results.join("job__of_another")).unwrap();
    std::os::unix::fs::chown(results.join("job__of_another"), Some(4321), None).unwrap();
    let make = "cd io-dir/results; echo 1 > made; mkdir -m 700 deep; echo 2 > deep/made; echo 3 > ../logs/made";
    dev.exec_in(&[], &["sh", "-c", make]).run().ok();
    let made = std::fs::read_to_string(results.join("made")).ok();
    assert_eq!(made.as_deref(), if is_remote() { None } else { Some("1\n") });
    let began = Instant::now();
    Run::tool("ncaas-exec").args(["stop", &dev.name]).run().ok();
    assert!(began.elapsed() < Duration::from_secs(8), "it did not hear the signal");
    let owner = |path: &str| std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(results.join(path)).unwrap());
    for path in ["made", "deep", "deep/made", "../logs/made"].into_iter().filter(|_| !is_remote()) {
        assert_eq!(owner(path), owner("."), "{path}");
    }
    assert_eq!(owner("job__of_another"), 4321, "a job may run in it");
    Run::tool("ncaas-exec").args(["rm", &dev.name]).run().ok();
}

#[test]
fn a_development_container_cannot_write_above_the_folders_of_a_job() {
    if is_remote() {
        return;
    }
    let dev = DevContainer::new();
    let mut clean_up = CleanUp::new();
    let run = Run::tool("ncaas-exec").args(["run", FIXTURE, "--", "sleep", "60"]).dir(dev.dir.path());
    let job = run.run().ok().record();
    clean_up.labelled(&format!("org.neurocaas.job={}", job.job.unwrap().id));
    let sources = |container: &str| -> Vec<String> {
        let format = "{{range .Mounts}}{{.Source}}\n{{end}}";
        docker(&["inspect", "--format", format, container]).lines().map(str::to_owned).collect()
    };
    let (shared, of_job) = (sources(&dev.name), sources(&job.container.unwrap().id));
    assert!(shared.len() == 5 && of_job.len() == 2, "{shared:?} {of_job:?}");
    for folder in &of_job {
        assert!(!shared.iter().any(|above| std::path::Path::new(folder).starts_with(above)), "{folder} in {shared:?}");
    }
    dev.exec_in(&[], &["sh", "-c", "[ ! -e io-dir/.ncaas ]"]).run().ok();
}

#[test]
fn start_makes_no_folder_writable_for_every_user_of_this_machine() {
    let dev = DevContainer::new();
    for folder in ["results", "logs"] {
        let mode =
            std::os::unix::fs::MetadataExt::mode(&dev.dir.path().join("io-dir").join(folder).metadata().unwrap());
        assert_eq!(mode & 0o002, 0, "{folder}: {mode:o}");
    }
    dev.exec_in(&[], &["sh", "-c", "mkdir io-dir/results/d && echo 1 > io-dir/results/d/f"]).run().ok();
}

#[test]
fn start_continues_a_stopped_development_container_with_its_files() {
    let dev = DevContainer::new();
    dev.exec_in(&[], &["sh", "-c", "echo kept > work"]).run().ok();
    Run::tool("ncaas-exec").args(["stop", &dev.name]).run().ok();
    let again = Run::tool("ncaas-exec").args(["start", FIXTURE, "--name", &dev.name]).dir(dev.dir.path()).run();
    assert!(again.status == 0 && again.stderr.contains("again"), "{}", again.stderr);
    assert_eq!(dev.exec_in(&[], &["cat", "work"]).run().ok().text(), "kept\n");
    let running = Run::tool("ncaas-exec").args(["start", FIXTURE, "--name", &dev.name]).dir(dev.dir.path()).run();
    assert_eq!(running.record().error_kind(), "name-in-use");
    assert!(running.stderr.contains(&format!("ncaas-exec shell {}", dev.name)), "{}", running.stderr);
}

#[test]
fn start_with_a_name_and_no_record_says_that_an_image_is_missing() {
    let started = Run::tool("ncaas-exec").args(["start", "--name", "dev"]).run();
    assert!(started.stdout.is_empty());
    started.ended_saying(2, "hint: name the image: `ncaas-exec start IMAGE --name dev`");
}

/// A user who may write to the io-dir could otherwise have the engine mount any folder of this machine.
#[test]
fn start_refuses_a_link_in_place_of_a_folder_of_the_io_dir() {
    for (folder, is_stopped) in [("results", false), ("inputs", false), ("logs", true)] {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "secret").unwrap();
        let (dev, fresh) = (DevContainer::new(), tempfile::tempdir().unwrap());
        let dir = if is_stopped { &dev.dir } else { &fresh };
        let name = if is_stopped { dev.name.clone() } else { ncaas_tests::unique("dev") };
        let mut clean_up = CleanUp::new();
        clean_up.container(&name);
        if is_stopped {
            Run::tool("ncaas-exec").args(["stop", &name]).run().ok();
            std::fs::remove_dir_all(dir.path().join("io-dir").join(folder)).unwrap();
        }
        std::fs::create_dir_all(dir.path().join("io-dir")).unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("io-dir").join(folder)).unwrap();
        let ran = Run::tool("ncaas-exec").args(["start", FIXTURE, "--name", &name]).dir(dir.path()).run();
        assert_eq!((ran.status, ran.record().error_kind()), (1, "unsafe-path"), "{folder}: {}", ran.stderr);
        assert!(ran.stderr.contains(folder), "{}", ran.stderr);
        let running = docker(&["ps", "--quiet", "--filter", &format!("name={name}")]);
        assert_eq!(running.trim(), "", "{folder}");
    }
}

#[test]
fn start_mounts_source_code_beside_the_io_dir() {
    let (folder, name, mut clean_up) = (tempfile::tempdir().unwrap(), ncaas_tests::unique("dev"), CleanUp::new());
    clean_up.container(&name);
    std::fs::create_dir(folder.path().join("src")).unwrap();
    std::fs::write(folder.path().join("src/main.py"), "print(1)\n").unwrap();
    let run = Run::tool("ncaas-exec").args(["start", FIXTURE, "--name", &name, "--mount-source", "src"]);
    // The folder belongs to root, who runs this test.
    run.dir(folder.path()).run().ended_saying(0, "belongs to user 0, and the container's user 1000 may not change it");
    let ran = Run::tool("ncaas-exec").args(["in", &name, "--", "cat", "src/main.py"]).run();
    assert_eq!(ran.ok().text(), "print(1)\n");
    let (writable, mut clean_up) = (ncaas_tests::unique("dev"), CleanUp::new());
    clean_up.container(&writable);
    let run =
        Run::tool("ncaas-exec").args(["start", FIXTURE, "--name", &writable, "--mount-source", "src", "--user", "0"]);
    let started = run.dir(folder.path()).run();
    assert!(started.status == 0 && !started.stderr.contains("belongs to user"), "{}", started.stderr);
    Run::tool("ncaas-exec").args(["in", &writable, "--", "touch", "src/new.py"]).run().ok();
    assert!(folder.path().join("src/new.py").exists());
}

#[test]
fn a_stopped_container_is_started_again_by_its_name_alone() {
    let dev = DevContainer::new();
    Run::tool("ncaas-exec").args(["stop", "--grace", "1", &dev.name]).run().ok();
    let as_image = Run::tool("ncaas-exec").args(["start", &dev.name]).dir(dev.dir.path()).run();
    as_image.ended_saying(1, &format!("`ncaas-exec start --name {}` starts the existing container", dev.name));
    let on_terminal = |name: &str| {
        let command = format!("ncaas-exec start --name {name}");
        ncaas_tests::pipe(&format!("cd {}; script -qec '{command}' /dev/null", dev.dir.path().display()))
    };
    let started = on_terminal(&dev.name).text();
    assert!(started.contains(&format!("started `{}` again", dev.name)), "{started}");
    let unknown = on_terminal("ncaas-no-such-container");
    let said = String::from_utf8_lossy(&unknown.stdout);
    assert!(unknown.status == 1 && said.contains("`ncaas-exec start IMAGE --name ncaas-no-such-container`"), "{said}");
}
