//! As whom a command runs: an image's `User` looked up in `/etc/passwd` and `/etc/group`, by
//! the rules that container runtimes share.

use std::fs::File;
use std::io::{self, Read};

/// Files longer than this are refused: real ones are a few KiB.
const MAX_FILE: u64 = 1 << 20;
/// What most of them fit into, so that one read has it all and the next is the end.
const USUAL: usize = 4 << 10;
/// Numbers above this have no meaning as ids.
const MAX_ID: u32 = i32::MAX as u32;

/// What a process needs to be someone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// Home directory; `/` for who has no entry.
    pub(crate) home: String,
}

/// Why a user cannot be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccountError {
    #[error("no user '{0}' in /etc/passwd")]
    NoUser(String),
    #[error("no group '{0}' in /etc/group")]
    NoGroup(String),
    #[error("read {path}: {error}")]
    Read { path: &'static str, error: io::Error },
}

/// The account of `spec`: ``, `user`, `uid`, `user:group`, `uid:gid` and mixtures.
pub(crate) fn look_up(spec: &str) -> Result<Account, AccountError> {
    resolve(spec, &read("/etc/passwd")?, &read("/etc/group")?)
}

/// A missing file is an empty one. Bytes that are no UTF-8 match no name.
fn read(path: &'static str) -> Result<String, AccountError> {
    let read = || {
        let mut bytes = Vec::with_capacity(USUAL);
        File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(io::Error::other(format!("longer than {MAX_FILE} bytes")));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        result => result.map_err(|error| AccountError::Read { path, error }),
    }
}

fn resolve(spec: &str, passwd: &str, group: &str) -> Result<Account, AccountError> {
    let (user, group_name) = spec.split_once(':').unwrap_or((spec, ""));
    let entry = passwd.lines().filter_map(User::parse).find(|entry| match user {
        "" => entry.uid == 0,
        name => entry.name == name || number(name) == Some(entry.uid),
    });
    let mut account = match (&entry, user) {
        (Some(entry), _) => {
            let home = if entry.home.is_empty() { "/" } else { entry.home };
            Account { uid: entry.uid, gid: entry.gid, groups: Vec::new(), home: home.to_owned() }
        }
        (None, user) => {
            let uid = if user.is_empty() { Some(0) } else { number(user) };
            let uid = uid.ok_or_else(|| AccountError::NoUser(user.to_owned()))?;
            Account { uid, gid: 0, groups: Vec::new(), home: "/".to_owned() }
        }
    };
    let mut groups = group.lines().filter_map(Group::parse);
    if group_name.is_empty() {
        if let Some(entry) = entry {
            account.groups = groups.filter(|g| g.has(entry.name)).map(|g| g.gid).collect();
        }
    } else {
        let known = groups.find(|g| g.name == group_name).map(|g| g.gid);
        let gid = known.or_else(|| number(group_name));
        account.gid = gid.ok_or_else(|| AccountError::NoGroup(group_name.to_owned()))?;
    }
    Ok(account)
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number <= MAX_ID)
}

/// A line of `/etc/passwd`.
struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> User<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (number(fields.next()?)?, number(fields.next()?)?);
        Some(Self { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    }
}

/// A line of `/etc/group`.
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let gid = number(fields.next()?)?;
        Some(Self { name, gid, members: fields.next().unwrap_or_default() })
    }

    fn has(&self, user: &str) -> bool {
        self.members.split(',').any(|member| member.trim() == user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        # a comment\n\
        broken:x:no:1::/:\n\
        :::\n\
        app:x:1000:100:App,,,:/home/app:/bin/sh\n\
        7:x:70:71::/seven:\n\
        homeless:x:5:5\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,app\nusers:x:100:\ndocker:x:998:app, other\n\
        broken\n8:x:80:\n";

    fn check(spec: &str, expect: Result<(u32, u32, &[u32], &str), &str>) {
        let found = resolve(spec, PASSWD, GROUP).map_err(|error| error.to_string());
        let expect = expect.map_err(str::to_owned).map(|(uid, gid, groups, home)| Account {
            uid,
            gid,
            groups: groups.to_vec(),
            home: home.to_owned(),
        });
        assert_eq!(found, expect, "{spec}");
    }

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        check("", Ok((0, 0, &[10], "/root")));
        check("root", Ok((0, 0, &[10], "/root")));
        check("0", Ok((0, 0, &[10], "/root")));
        check("app", Ok((1000, 100, &[10, 998], "/home/app")));
        check("1000", Ok((1000, 100, &[10, 998], "/home/app")));
        check("app:", Ok((1000, 100, &[10, 998], "/home/app")));
        check("app:wheel", Ok((1000, 10, &[], "/home/app")));
        check("1000:4711", Ok((1000, 4711, &[], "/home/app")));
        check("4711", Ok((4711, 0, &[], "/")));
        check("4711:users", Ok((4711, 100, &[], "/")));
        check(":users", Ok((0, 100, &[], "/root")));
        check("homeless", Ok((5, 5, &[], "/")));
    }

    #[test]
    fn a_name_of_digits_is_a_name_first() {
        check("7", Ok((70, 71, &[], "/seven")));
        check("7:8", Ok((70, 80, &[], "/seven")));
    }

    #[test]
    fn what_is_not_there_is_named() {
        check("nobody", Err("no user 'nobody' in /etc/passwd"));
        check("broken", Err("no user 'broken' in /etc/passwd"));
        check("app:nogroup", Err("no group 'nogroup' in /etc/group"));
        check("-1", Err("no user '-1' in /etc/passwd"));
        check("+1", Err("no user '+1' in /etc/passwd"));
        check("4294967295", Err("no user '4294967295' in /etc/passwd"));
        check("app:4294967295", Err("no group '4294967295' in /etc/group"));
    }

    #[test]
    fn images_without_the_files_have_root() {
        let account = resolve("", "", "").unwrap();
        let groups = Vec::new();
        assert_eq!(account, Account { uid: 0, gid: 0, groups, home: "/".to_owned() });
        assert!(resolve("app", "", "").is_err());
    }
}
