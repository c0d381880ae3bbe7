//! `.dockerignore` leaves out what `docker build` leaves out: the docker CLI is asked.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use ncaas_tests::engine::{CleanUp, docker};
use ncaas_tests::unique;

use super::{build, context, one, write};

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
    let folder = context(dockerfile);
    for file in TREE {
        write(folder.path(), file, file);
    }
    write(folder.path(), ".dockerignore", patterns);
    folder
}

/// What the docker CLI's classic builder lets in, and what we do with the builder that the Dockerfile calls for.
fn ours(folder: &Path, image: &str, theirs: &BTreeSet<String>, patterns: &str) {
    let ran = build().args(["image", "-t", image]).arg(folder).run();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let found = files(image);
    let builder = one(ran.json())["build"]["builder"].to_string();
    // BuildKit's client looks below a folder that is left out where a wildcard may let something in again; the classic
    // one does not.
    if builder.contains("buildkit") && patterns.contains("!**/") {
        assert!(found.is_superset(theirs) && found.contains("sub/deep/keep.txt"), "{found:?}");
    } else {
        assert_eq!(found, *theirs, "{builder}, with\n{patterns}");
    }
}

#[test]
fn the_docker_cli_is_agreed_with() {
    let mut clean = CleanUp::new();
    for patterns in PATTERNS {
        let folder = tree(patterns, "FROM scratch\nCOPY . /ctx/\n");
        let [theirs, preferred, buildkit] = ["cli", "preferred", "buildkit"].map(|how| {
            let image = unique(&format!("ignore-{how}"));
            clean.image(&image);
            image
        });
        let mut cli = Command::new("docker");
        let built = cli.args(["build", "-q", "-t", &theirs]).arg(folder.path()).env("DOCKER_BUILDKIT", "0").output();
        let built = built.unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let expected = files(&theirs);
        ours(folder.path(), &preferred, &expected, patterns);
        // Only BuildKit knows this flag.
        write(folder.path(), "Dockerfile", "FROM scratch\nCOPY --chmod=644 . /ctx/\n");
        ours(folder.path(), &buildkit, &expected, patterns);
    }
}
