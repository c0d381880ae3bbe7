//! `ncaas-build image`: `.dockerignore` leaves out the files that `docker build` leaves out.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use ncaas_tests::build_context::{build_context, ncaas_build, single, write_file};
use ncaas_tests::engine::{CleanUp, docker};
use ncaas_tests::engine_without_buildkit::EngineWithoutBuildKit;
use ncaas_tests::{Run, unique};

const TREE: [&str; 22] = [
    "a.log",
    "a.txt",
    "b.txt",
    ".hidden",
    "a+b(1).txt",
    "é.txt",
    "x y.txt",
    "deep.log/x",
    "sub/a.log",
    "sub/a.txt",
    "sub/keep.txt",
    "sub/deep/a.log",
    "sub/deep/keep.txt",
    "data/1/x.npy",
    "data/1/y.npy",
    "data/2/x.npy",
    "data/keep/z.npy",
    "node_modules/m/index.js",
    "lib/node_modules/m/index.js",
    "[x]/f",
    "ab1",
    "ac2",
];

const PATTERNS: [&str; 8] = [
    "*.log\n\n# a comment\nsub/*.txt\n!sub/keep.txt\n",
    "**/*.log\n**/node_modules\n",
    "*\n!sub\n!data/keep\nsub/deep\n",
    "data\n!data/1\ndata/1/y.npy\n",
    "/a.txt\n./sub/../b.txt\n  data/2/  \n",
    "a?1\na[b-d]2\n[[]x]\n*.txt\n!é.txt\n",
    "sub/**\n!sub/deep/**\n",
    "**\n!**/keep.txt\n!data\n",
];

/// What of the context got into an image.
fn files(image: &str) -> BTreeSet<String> {
    let container = docker(&["create", image, "nothing"]);
    let list = Command::new("bash").args(["-c", &format!("docker export {container} | tar -t")]).output().unwrap();
    docker(&["rm", &container]);
    let list = String::from_utf8(list.stdout).unwrap();
    list.lines()
        .filter(|line| !line.ends_with('/'))
        .filter_map(|line| line.strip_prefix("ctx/"))
        .map(str::to_owned)
        .collect()
}

fn tree(patterns: &str, dockerfile: &str) -> tempfile::TempDir {
    let folder = build_context(dockerfile);
    for file in TREE {
        write_file(folder.path(), file, file);
    }
    write_file(folder.path(), ".dockerignore", patterns);
    folder
}

/// What we let in with either builder.
fn ours(build: Run, folder: &Path, image: &str) -> (BTreeSet<String>, String) {
    let ran = build.args(["image", "-t", image]).arg(folder).run();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    (files(image), single(ran.json())["build"]["builder"].as_str().unwrap().to_owned())
}

#[test]
fn dockerignore_patterns_leave_out_the_same_files_as_the_docker_cli() {
    let mut clean = CleanUp::new();
    let without_buildkit = EngineWithoutBuildKit::start();
    for patterns in PATTERNS {
        // Steps of this test alone: what the engine knows of others' may be removed with their images at any time.
        let dockerfile = format!("FROM scratch\nLABEL of={}\nCOPY . /ctx/\n", unique("ignore"));
        let folder = tree(patterns, &dockerfile);
        let [theirs, classic, buildkit] = ["cli", "classic", "buildkit"].map(|how| {
            let image = unique(&format!("ignore-{how}"));
            clean.image(&image);
            image
        });
        let mut cli = Command::new("docker");
        // With its cache the classic builder fails if another test removes an image while it compares its steps.
        cli.args(["build", "-q", "--no-cache", "-t", &theirs]).arg(folder.path());
        let built = cli.env("DOCKER_BUILDKIT", "0").output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let expected = files(&theirs);
        let (found, builder) = ours(without_buildkit.build(), folder.path(), &classic);
        assert_eq!((&found, builder.as_str()), (&expected, "classic"), "with\n{patterns}");
        let (found, builder) = ours(ncaas_build(), folder.path(), &buildkit);
        assert_eq!(builder, "buildkit");
        // BuildKit's client looks below a folder that is left out where a wildcard may let something in again; the
        // classic one does not.
        if patterns.contains("!**/") {
            assert!(found.is_superset(&expected) && found.contains("sub/deep/keep.txt"), "{found:?}");
        } else {
            assert_eq!(found, expected, "with\n{patterns}");
        }
    }
}

#[test]
fn a_dockerfile_can_have_its_own_dockerignore() {
    let mut clean = CleanUp::new();
    let image = unique("ignore");
    clean.image(&image);
    let folder = tree("*.txt\n", "not this one");
    write_file(folder.path(), "other.Dockerfile", "FROM scratch\nCOPY . /ctx/\n");
    write_file(folder.path(), "other.Dockerfile.dockerignore", "**\n!a.txt\n");
    let ran = ncaas_build().args(["image", "-t", &image, "-f", "other.Dockerfile", "."]).dir(folder.path()).run();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(files(&image).into_iter().collect::<Vec<_>>(), ["a.txt"]);
    assert_eq!(single(ran.json())["build"]["context_files"], 1);
}

#[test]
fn a_dockerignore_that_is_linked_from_elsewhere_counts() {
    let mut clean = CleanUp::new();
    let image = unique("ignore");
    clean.image(&image);
    let folder = tree("", "");
    let elsewhere = tempfile::tempdir().unwrap();
    write_file(elsewhere.path(), "patterns", "**\n!a.txt\n");
    std::fs::remove_file(folder.path().join(".dockerignore")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("patterns"), folder.path().join(".dockerignore")).unwrap();
    write_file(folder.path(), "Dockerfile", "FROM scratch\nCOPY . /ctx/\n");
    let ran = ncaas_build().args(["image", "-t", &image, "."]).dir(folder.path()).run();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(files(&image).into_iter().collect::<Vec<_>>(), ["a.txt"]);
}
