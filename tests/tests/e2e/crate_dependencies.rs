//! Which clients each tool links.

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
