//! What `/proc` tells about processes (`proc(5)`). Files that this user may not read count as missing.

use std::fs;

/// The ids of all processes that this one can see.
pub fn process_ids() -> impl Iterator<Item = u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|process| process.file_name().to_str()?.parse().ok())
}

/// The fields of a process's `stat`, from the state on: the second field before it, the program's name in parentheses,
/// may have any characters.
pub fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    Some(after_name.split_whitespace().map(str::to_owned).collect())
}

/// The value in the content of a `status` or `fdinfo` of the field with this name and a colon.
pub fn field<'t>(content: &'t str, name: &str) -> Option<&'t str> {
    content.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}
