//! Access of a container's user to a folder of this machine, by an access control list.
//!
//! The folder is not made writable for every user of the machine. New files in it get the same list, so that both the
//! user and the container can change them. (`acl(5)`; the format of the attribute is `linux/posix_acl_xattr.h`.)

use std::path::Path;

use ncaas_core::failure::{IoContext, Result};
use rustix::fs::{Mode, OFlags, XattrFlags, fgetxattr, fsetxattr, fstat, getxattr, open};

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";
const VERSION: u32 = 2;
const NO_ID: u32 = u32::MAX;

/// Tags of entries, in the order that the kernel requires.
const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

const READ_WRITE_EXECUTE: u16 = 7;

/// One entry of an access control list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AclEntry {
    tag: u16,
    permissions: u16,
    id: u32,
}

/// Lets the user `uid` read and write in a folder. A link in the place of the folder is not followed. Fails if the file
/// system has no access control lists, or the folder belongs to another user.
pub(crate) fn grant_access(folder: &Path, uid: u32) -> Result<()> {
    let grant = || -> rustix::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = open(folder, flags, Mode::empty())?;
        let stat = fstat(&folder)?;
        if stat.st_uid == uid {
            return Ok(());
        }
        for name in [ACCESS, DEFAULT] {
            let mut stored = [0; 4096];
            let entries = match fgetxattr(&folder, name, &mut stored) {
                Ok(length) => decode(&stored[..length]),
                Err(rustix::io::Errno::NODATA) => Vec::new(),
                Err(error) => return Err(error),
            };
            let entries = with_user(entries, stat.st_mode, &[stat.st_uid, uid]);
            fsetxattr(&folder, name, &encode(&entries), XattrFlags::empty())?;
        }
        Ok(())
    };
    grant().map_err(std::io::Error::from).doing("give the container's user access to", folder)
}

/// Whether somebody has given other users access to a folder by an access control list.
pub(crate) fn has_access_list(folder: &Path) -> bool {
    getxattr(folder, ACCESS, &mut [0_u8; 0]).is_ok()
}

/// Adds read and write access for `users` to the ACL entries; if there are none, starts from the file's mode.
fn with_user(mut entries: Vec<AclEntry>, mode: u32, users: &[u32]) -> Vec<AclEntry> {
    if entries.is_empty() {
        let bits = |shift: u32| u16::try_from(mode >> shift & 7).unwrap_or_default();
        for (tag, permissions) in [(OWNER, READ_WRITE_EXECUTE), (GROUP, bits(3)), (OTHER, bits(0))] {
            entries.push(AclEntry { tag, permissions, id: NO_ID });
        }
    }
    entries.retain(|entry| entry.tag != MASK && !(entry.tag == USER && users.contains(&entry.id)));
    let user = |id: &u32| AclEntry { tag: USER, permissions: READ_WRITE_EXECUTE, id: *id };
    entries.extend(users.iter().map(user));
    entries.push(AclEntry { tag: MASK, permissions: READ_WRITE_EXECUTE, id: NO_ID });
    entries.sort_by_key(|entry| (entry.tag, entry.id));
    entries
}

fn encode(entries: &[AclEntry]) -> Vec<u8> {
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for entry in entries {
        bytes.extend(entry.tag.to_le_bytes());
        bytes.extend(entry.permissions.to_le_bytes());
        bytes.extend(entry.id.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8]) -> Vec<AclEntry> {
    let entries = bytes.get(4..).unwrap_or_default().as_chunks::<8>().0;
    let entry = |[a, b, c, d, e, f, g, h]: &[u8; 8]| AclEntry {
        tag: u16::from_le_bytes([*a, *b]),
        permissions: u16::from_le_bytes([*c, *d]),
        id: u32::from_le_bytes([*e, *f, *g, *h]),
    };
    entries.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_other_users_and_is_in_the_kernels_order() {
        let first = with_user(Vec::new(), 0o40750, &[1000, 77]);
        let both = with_user(decode(&encode(&first)), 0o40750, &[1000, 5]);
        let users: Vec<u32> = both.iter().filter(|entry| entry.tag == USER).map(|entry| entry.id).collect();
        assert_eq!(users, [5, 77, 1000]);
        assert_eq!(both.iter().map(|entry| entry.tag).collect::<Vec<_>>(), [1, 2, 2, 2, 4, 16, 32]);
        assert_eq!(both.last().map(|entry| entry.permissions), Some(0));
    }
}
