//! The user that the processes of a container run as.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use bollard::models::ImageInspect;
use ncaas_core::engine::Engine;
use ncaas_core::record::fields::RunSettings;

/// How much of a container's list of users is read, in bytes.
const PASSWD_LIMIT: u64 = 1 << 20;

/// Fields of `passwd(5)`.
const NAME: usize = 0;
const UID: usize = 2;
const HOME: usize = 5;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContainerUser {
    /// root, who may read and write everything.
    Root,
    /// A user whose number is known.
    Number(u32),
    /// A user of the image's `/etc/passwd`.
    Named(String),
}

impl ContainerUser {
    /// The user in the settings, else the image's. Docker's forms are `name`, `uid`, and either with `:group`.
    pub(crate) fn new(settings: &RunSettings, image: &ImageInspect) -> Self {
        let image_user = || image.config.as_ref()?.user.clone();
        let user = settings.user.clone().or_else(image_user).unwrap_or_default();
        match user.split(':').next().unwrap_or_default() {
            "" | "root" | "0" => ContainerUser::Root,
            name => name.parse().map_or_else(|_| ContainerUser::Named(name.to_owned()), ContainerUser::Number),
        }
    }

    /// Whether the user may read a file or folder of this machine, as far as that is known.
    pub(crate) fn may_read(&self, file: &Metadata) -> bool {
        let needed = if file.is_dir() { 0o5 } else { 0o4 };
        let anybody_may = file.mode() & needed == needed;
        match self {
            ContainerUser::Root => true,
            ContainerUser::Number(uid) if *uid == file.uid() => (file.mode() >> 6) & needed == needed,
            _ => anybody_may,
        }
    }

    /// The user's number in a created container; `None` if the container does not say.
    pub(crate) async fn uid(&self, engine: &Engine, container: &str) -> Option<u32> {
        match self {
            ContainerUser::Root => Some(0),
            ContainerUser::Number(uid) => Some(*uid),
            ContainerUser::Named(name) => {
                let passwd = read_passwd(engine, container).await?;
                field_in_passwd(&passwd, NAME, name, UID)?.parse().ok()
            }
        }
    }

    /// The user's home directory in a created container, as the engine sets `HOME`.
    pub(crate) async fn home(&self, engine: &Engine, container: &str) -> String {
        let passwd = read_passwd(engine, container).await.unwrap_or_default();
        let home = match self {
            ContainerUser::Root => field_in_passwd(&passwd, UID, "0", HOME).or(Some("/root")),
            ContainerUser::Number(uid) => field_in_passwd(&passwd, UID, &uid.to_string(), HOME),
            ContainerUser::Named(name) => field_in_passwd(&passwd, NAME, name, HOME),
        };
        home.filter(|home| home.starts_with('/')).unwrap_or("/").to_owned()
    }
}

async fn read_passwd(engine: &Engine, container: &str) -> Option<String> {
    let passwd = engine.read_file(container, "/etc/passwd", PASSWD_LIMIT).await.ok()?;
    Some(String::from_utf8_lossy(&passwd).into_owned())
}

/// A field of a user in the format of `passwd(5)`; the user is found by another field.
fn field_in_passwd<'p>(passwd: &'p str, find_in: usize, value: &str, wanted: usize) -> Option<&'p str> {
    let mut users = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    users.find(|fields| fields.get(find_in) == Some(&value))?.get(wanted).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_user_has_the_number_in_passwd() {
        let passwd = "root:x:0:0::/root:/bin/sh\nlab:x:1000:100::/home/lab:/bin/sh\n";
        assert_eq!(field_in_passwd(passwd, NAME, "lab", UID), Some("1000"));
        assert_eq!(field_in_passwd(passwd, UID, "1000", HOME), Some("/home/lab"));
        assert_eq!(field_in_passwd(passwd, NAME, "la", UID), None);
        let settings = |user: &str| RunSettings { user: Some(user.to_owned()), ..RunSettings::default() };
        let user = |user: &str| ContainerUser::new(&settings(user), &ImageInspect::default());
        assert_eq!(user("0:0"), ContainerUser::Root);
        assert_eq!(user("1000:100"), ContainerUser::Number(1000));
        assert_eq!(user("lab"), ContainerUser::Named("lab".to_owned()));
    }
}
