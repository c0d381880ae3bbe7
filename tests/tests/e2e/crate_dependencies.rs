//! Which clients each tool links, and that each dependency has a reason.

use std::process::Command;

/// Only ncaas-sync links both clients: a tool that works on containers needs no S3 client, and the other way round.
#[test]
fn a_tool_links_only_the_clients_that_it_uses() {
    let tree = |package: &str| {
        let cargo = std::env::var("CARGO").unwrap_or("cargo".to_owned());
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        let arguments = [
            "tree",
            "--offline",
            "--locked",
            "--manifest-path",
            manifest,
            "-e",
            "normal",
            "--prefix",
            "none",
            "-p",
            package,
        ];
        let output = Command::new(cargo).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let links = |tree: &str, package: &str| tree.lines().any(|line| line.split(' ').next() == Some(package));
    for tool in ["ncaas-build", "ncaas-exec", "ncaas-logs"] {
        let tree = tree(tool);
        assert!(links(&tree, "bollard"), "{tool} talks to the engine");
        assert!(!links(&tree, "aws-sdk-s3"), "{tool} must not link the S3 client");
    }
    let submit = tree("ncaas-submit");
    assert!(
        links(&submit, "aws-sdk-s3") && !links(&submit, "bollard"),
        "ncaas-submit must not link the engine's client"
    );
    let sync = tree("ncaas-sync");
    assert!(links(&sync, "aws-sdk-s3") && links(&sync, "bollard"));
}

#[test]
fn the_architecture_gives_a_reason_for_each_direct_dependency() {
    let manifest = include_str!("../../../Cargo.toml");
    let section = manifest.split("[workspace.dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let names = section.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    let names: Vec<&str> = names.map(|(name, _)| name).filter(|name| *name != "ncaas-core").collect();
    assert!(names.len() > 30, "{names:?}");
    let table = include_str!("../../../ARCHITECTURE.md").split("## Dependencies").nth(1).unwrap();
    let rows: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect();
    let has_row = |name: &str| rows.iter().any(|row| row.contains(&format!("`{name}`")));
    let missing: Vec<&str> = names.into_iter().filter(|name| !has_row(name)).collect();
    assert!(missing.is_empty(), "not in the table of ARCHITECTURE.md: {missing:?}");
}
