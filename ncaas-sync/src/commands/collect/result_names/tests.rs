use super::super::findings::Location;
use super::*;

/// Files by path with the first byte of their SHA-256, links with their target, and folders.
#[derive(Default)]
struct Fake<'f> {
    files: HashMap<&'f str, u8>,
    links: HashMap<&'f str, &'f str>,
    folders: Vec<&'f str>,
}

impl Fake<'_> {
    fn find(&self, path: &str, same: bool) -> Existing {
        let exists = self.files.contains_key(path) || self.links.contains_key(path) || self.folders.contains(&path);
        if same {
            Existing::Same
        } else if exists {
            Existing::Other
        } else {
            Existing::Nothing
        }
    }
}

impl Destination for Fake<'_> {
    fn find_file(&self, path: &str, file: &FoundFile) -> Result<Existing> {
        Ok(self.find(path, self.files.get(path) == Some(&file.sha256[0])))
    }

    fn find_folder(&self, path: &str) -> Result<Existing> {
        Ok(self.find(path, self.folders.contains(&path)))
    }

    fn find_link(&self, path: &str, target: &str) -> Result<Existing> {
        Ok(self.find(path, self.links.get(path) == Some(&target)))
    }

    fn lacks(&self, folder: &str) -> bool {
        let all = self.files.keys().chain(self.links.keys()).chain(&self.folders);
        !all.clone().any(|path| *path == folder || path.starts_with(&format!("{folder}/")))
    }
}

/// The files of a destination, each with a number for its content.
type Taken<'a> = &'a [(&'a str, u8)];

fn file(source: &str, content: u8) -> FoundEntry {
    let file = FoundFile { location: Location::Staged(7), size: 1, sha256: [content; 32] };
    FoundEntry::new(source, Content::File(file))
}

fn link(source: &str, target: &str) -> FoundEntry {
    FoundEntry::new(source, Content::Link { location: None, target: target.into() })
}

fn folder(source: &str) -> FoundEntry {
    FoundEntry::new(source, Content::EmptyFolder)
}

fn naming(label: &str, has_own_folder: bool) -> Naming {
    let paths = ContainerPaths { working_dir: "/w".into(), io_dir: "/w/io-dir".into(), ..Default::default() };
    Naming { paths, base: String::new(), label: label.into(), has_own_folder }
}

/// The assigned paths, each with the target of a link, where the destination has these files.
fn names(naming: Naming, list: Vec<FoundEntry>, files: Taken) -> Vec<String> {
    names_in(naming, list, &Fake { files: files.iter().copied().collect(), ..Fake::default() })
}

fn names_in(naming: Naming, list: Vec<FoundEntry>, destination: &Fake) -> Vec<String> {
    let named = assign_names(Findings { list, ..Findings::default() }, naming, destination).unwrap();
    let name = |Move { link, result, .. }: Move| match (link, result.path.trim_start_matches('/')) {
        (Some(target), path) => format!("{path} -> {target}"),
        (None, path) => path.to_owned(),
    };
    named.moves(false).map(name).collect()
}

#[test]
fn names_that_are_taken_get_the_label() {
    let (a, own_a, own_a_b) = ("/w/a", "/w/io-dir/results/a", "/w/io-dir/results/a/b");
    let taken = [("process_results/a", 2), ("process_results/d.npy/a", 3)];
    let cases: [(&str, Vec<FoundEntry>, Taken, &[&str]); 12] = [
        ("free", vec![file(a, 1)], &[], &["process_results/a"]),
        ("same content", vec![file(a, 2)], &taken, &["process_results/a"]),
        ("other content", vec![file(a, 1)], &taken[..1], &["process_results/d.npy/a"]),
        ("both names taken", vec![file(a, 1)], &taken, &["process_results/d.npy~2/a"]),
        ("reserved", vec![file("/w/end.txt", 1)], &[], &["process_results/d.npy/end.txt"]),
        ("log", vec![file("/w/io-dir/logs/l", 1)], &[], &["logs/d.npy/l"]),
        ("two sources", vec![file(a, 1), file(own_a, 2)], &[], &["process_results/a", "process_results/d.npy/a"]),
        ("folder", vec![file("/w/a/b", 1), file(own_a, 2)], &[], &["process_results/a/b", "process_results/d.npy/a"]),
        ("file", vec![file(a, 1), file(own_a_b, 2)], &[], &["process_results/a", "process_results/d.npy/a/b"]),
        ("empty folder", vec![folder("/w/e")], &[], &["process_results/e/"]),
        ("at a file", vec![folder("/w/e")], &[("process_results/e", 1)], &["process_results/d.npy/e/"]),
        ("file below", vec![folder("/w/e"), file("/w/io-dir/results/e/f", 1)], &[], &["process_results/e/f"]),
    ];
    for (case, list, files, expected) in cases {
        assert_eq!(names(naming("d.npy", false), list, files), expected, "{case}");
    }
}

#[test]
fn each_of_several_datasets_has_a_separate_folder() {
    let cases: [(&str, &str, &str, Taken, &str); 6] = [
        ("free", "d.npy", "/w/a", &[], "process_results/d.npy/a"),
        ("another dataset has it flat", "d.npy", "/w/a", &[("process_results/a", 9)], "process_results/d.npy/a"),
        ("taken", "d.npy", "/w/a", &[("process_results/d.npy/a", 9)], "process_results/d.npy~2/a"),
        ("end.txt of the job", "d.npy", "/w/end.txt", &[], "process_results/d.npy/end.txt"),
        ("a dataset called end.txt", "end.txt", "/w/a", &[], "process_results/end.txt~2/a"),
        ("log", "d.npy", "/w/io-dir/logs/l", &[], "logs/d.npy/l"),
    ];
    for (case, label, source, files, expected) in cases {
        assert_eq!(names(naming(label, true), vec![file(source, 1)], files), [expected], "{case}");
    }
}

#[test]
fn a_link_leads_to_the_assigned_path_of_its_target() {
    let taken = Fake { files: HashMap::from([("process_results/a", 2)]), ..Fake::default() };
    let same = Fake { links: HashMap::from([("process_results/l", "a")]), ..Fake::default() };
    let (none, a) = (Fake::default(), || file("/w/a", 1));
    let of_link = ["process_results/m -> l", "process_results/l -> a"];
    let cases: [(&str, Vec<FoundEntry>, &Fake, &[&str]); 6] = [
        ("file", vec![link("/w/l", "a"), a()], &none, &["process_results/l -> a"]),
        ("moved file", vec![link("/w/l", "/w/a"), a()], &taken, &["process_results/l -> d.npy/a"]),
        ("link to a link", vec![link("/w/m", "l"), link("/w/l", "a"), a()], &none, &of_link),
        ("folder", vec![link("/w/l", "sub"), file("/w/sub/a", 1)], &none, &["process_results/l -> sub"]),
        ("same link", vec![link("/w/l", "a"), a()], &same, &["process_results/l -> a"]),
        ("dangling", vec![link("/w/l", "/etc/passwd")], &none, &[]),
    ];
    for (case, list, destination, expected) in cases {
        let mut assigned = names_in(naming("d.npy", false), list, destination);
        assigned.retain(|name| name.contains("->"));
        assert_eq!(assigned, expected, "{case}");
    }
}

#[test]
fn a_folder_moves_as_a_whole_only_to_a_new_folder() {
    let plan = |destination: &Fake| {
        let folders = vec![RawPath::Text(".ncaas-stage/7".into())];
        let findings = Findings { list: vec![file("/w/out/a", 1)], folders, ..Findings::default() };
        let named = assign_names(findings, naming("d", false), destination).unwrap();
        named.folders.into_iter().map(|folder| folder.to).collect::<Vec<_>>()
    };
    assert_eq!(plan(&Fake::default()), ["process_results/out"]);
    assert!(plan(&Fake { folders: vec!["process_results/out"], ..Fake::default() }).is_empty());
}
