//! `ncaas-exec start`.

use std::time::{Duration, Instant};

use ncaas_tests::Run;
use ncaas_tests::dev_container::DevContainer;
use ncaas_tests::engine::is_remote;

#[test]
fn a_development_container_shares_the_io_dir_and_leaves_files_owned_by_the_user() {
    let dev = DevContainer::new();
    let results = dev.dir.path().join("io-dir/results");
    std::fs::create_dir(results.join("job__of_another")).unwrap();
    std::os::unix::fs::chown(results.join("job__of_another"), Some(4321), None).unwrap();
    let make = "cd io-dir/results; echo 1 > made; mkdir -m 700 deep; echo 2 > deep/made; echo 3 > ../logs/made";
    dev.exec_in(&["--user", "12345"], &["sh", "-c", make]).run().ok();
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
