//! The command that starts a Docker Engine on this machine, for a person who has none that answers.

use std::path::Path;

/// The command for this machine.
pub(super) fn start_hint() -> String {
    let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let is_installed = ["/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd"];
    let is_installed = is_installed.iter().any(|program| Path::new(program).exists());
    hint_for(&os_release, is_installed, Path::new("/run/systemd/system").exists())
}

/// The command for a system with this `/etc/os-release` (os-release(5)).
fn hint_for(os_release: &str, is_installed: bool, has_systemd: bool) -> String {
    let ids: Vec<&str> = os_release
        .lines()
        .filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")))
        .flat_map(|value| value.trim_matches('"').split(' '))
        .collect();
    let is_like = |names: &[&str]| names.iter().any(|name| ids.contains(name));
    let start = if has_systemd { "sudo systemctl enable --now docker" } else { "sudo service docker start" };
    if is_installed {
        format!("start it: `{start}`")
    } else if is_like(&["debian", "ubuntu"]) {
        "install it: `sudo apt-get install docker.io`".to_owned()
    } else if is_like(&["fedora", "rhel"]) {
        format!("install it: `sudo dnf install moby-engine && {start}`")
    } else {
        "install it: https://docs.docker.com/engine/install".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::hint_for;

    #[test]
    fn the_hint_is_the_command_of_the_system() {
        let cases = [
            ("ID=debian\n", false, true, "install it: `sudo apt-get install docker.io`"),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", false, true, "install it: `sudo apt-get install docker.io`"),
            (
                "ID=fedora\n",
                false,
                true,
                "install it: `sudo dnf install moby-engine && sudo systemctl enable --now docker`",
            ),
            ("ID=debian\n", true, true, "start it: `sudo systemctl enable --now docker`"),
            ("ID=alpine\n", true, false, "start it: `sudo service docker start`"),
            ("", false, false, "install it: https://docs.docker.com/engine/install"),
        ];
        for (os_release, is_installed, has_systemd, expected) in cases {
            assert_eq!(hint_for(os_release, is_installed, has_systemd), expected, "{os_release}");
        }
    }
}
