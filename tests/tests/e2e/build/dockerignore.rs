//! `.dockerignore` leaves out what `docker build` leaves out: the docker CLI is asked.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use ncaas_tests::engine::{CleanUp, docker};
use ncaas_tests::unique;

use super::{build, context, write};

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

fn ours(folder: &Path, image: &str) -> BTreeSet<String> {
    let ran = build().args(["image", "-t", image]).arg(folder).run();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    files(image)
}

#[test]
fn the_docker_cli_is_agreed_with() {
    let mut clean = CleanUp::new();
    for patterns in PATTERNS {
        let folder = tree(patterns, "FROM scratch\nCOPY . /ctx/\n");
        let [theirs, classic, buildkit] = ["cli", "classic", "buildkit"].map(|how| {
            let image = unique(&format!("ignore-{how}"));
            clean.image(&image);
            image
        });
        let mut cli = Command::new("docker");
        let built = cli.args(["build", "-q", "-t", &theirs]).arg(folder.path()).env("DOCKER_BUILDKIT", "0").output();
        let built = built.unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let expected = files(&theirs);
        assert_eq!(ours(folder.path(), &classic), expected, "classic, with\n{patterns}");
        // BuildKit's own client lets in what a wildcard reaches below a folder that is left out; the classic one does not.
        let differs = patterns.contains("!**/");
        write(folder.path(), "Dockerfile", "FROM scratch\nCOPY --chmod=644 . /ctx/\n");
        let found = ours(folder.path(), &buildkit);
        if differs {
            assert!(found.is_superset(&expected) && found.contains("sub/deep/keep.txt"), "{found:?}");
        } else {
            assert_eq!(found, expected, "BuildKit, with\n{patterns}");
        }
    }
}
