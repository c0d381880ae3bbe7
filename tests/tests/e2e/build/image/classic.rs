//! The classic builder, on an engine that has no BuildKit.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use ncaas_tests::build_context::build_context;
use ncaas_tests::engine::{CleanUp, docker};
use ncaas_tests::engine_without_buildkit::EngineWithoutBuildKit;
use ncaas_tests::unique;

/// Imports and removes images without a parent until the end.
fn replace_images(end: &AtomicBool) {
    while !end.load(Ordering::Relaxed) {
        let name = unique("removed");
        let import =
            Command::new("docker").args(["import", "-c", "LABEL x=y", "-", &name]).stdin(Stdio::null()).status();
        assert!(import.unwrap().success());
        docker(&["rmi", &name]);
    }
}

#[test]
fn a_build_succeeds_while_other_images_are_removed() {
    let without_buildkit = EngineWithoutBuildKit::start();
    let mut clean = CleanUp::new();
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        (0..3).for_each(|_| drop(scope.spawn(|| replace_images(&end))));
        let failed = (0..16).find_map(|_| {
            // Each is new to the engine, which therefore compares it with all images without a parent.
            let image = unique("classic");
            let folder = build_context(&format!("FROM scratch\nLABEL of={image}\nLABEL second=1\nCOPY . /ctx/\n"));
            clean.image(&image);
            let ran = without_buildkit.build().args(["image", "-q", "-t", &image]).arg(folder.path()).run();
            (ran.status != 0).then_some(ran.stderr)
        });
        end.store(true, Ordering::Relaxed);
        assert_eq!(failed, None);
    });
}
