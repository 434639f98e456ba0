//! Names of images in registries.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::{Digest, ImageError};

/// A normalised reference: `registry/repository` with a tag or a digest.
///
/// The grammar and the defaults are those of Docker: no registry means `docker.io`, a
/// single name there is in `library/`, and neither tag nor digest means `latest`. A tag
/// beside a digest is checked and dropped, because the digest decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    version: Version,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Version {
    Tag(String),
    Digest(Digest),
}

const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_OLD: &str = "index.docker.io";
const NAME_LEN: usize = 255;
const TAG_LEN: usize = 128;

impl Reference {
    /// Host and port of the registry as a user writes them.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path within the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, unless the reference is by digest.
    pub fn tag(&self) -> Option<&str> {
        match &self.version {
            Version::Tag(tag) => Some(tag),
            Version::Digest(_) => None,
        }
    }

    /// The digest, unless the reference is by tag.
    pub fn digest(&self) -> Option<&Digest> {
        match &self.version {
            Version::Tag(_) => None,
            Version::Digest(digest) => Some(digest),
        }
    }

    /// Host and port that are connected to: Docker Hub's registry has another name.
    pub(crate) fn endpoint(&self) -> &str {
        if self.registry == DOCKER_HUB { DOCKER_HUB_OLD } else { &self.registry }
    }

    /// Whether the registry is on this host by its address, so that nobody is in between.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = host_of(&self.registry);
        host == "localhost"
            || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
            || ipv6_of(host).is_some_and(|ip| ip.is_loopback())
    }

    /// Whether the registry is in `list`, by host or by host and port.
    pub(crate) fn is_listed(&self, list: &[String]) -> bool {
        list.iter().any(|item| *item == self.registry || item == host_of(&self.registry))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        match &self.version {
            Version::Tag(tag) => write!(f, ":{tag}"),
            Version::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        parse(text).map_err(|reason| ImageError::MalformedReference {
            text: text.chars().take(2 * NAME_LEN).collect(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|e| e.to_string())?)),
        None => (text, None),
    };
    let (name, tag) = split_tag(rest);
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    let (registry, path) = split_registry(name);
    if let Some(registry) = registry {
        check_registry(registry)?;
    }
    let registry = match registry {
        None | Some(DOCKER_HUB_OLD) => DOCKER_HUB,
        Some(registry) => registry,
    };
    check_repository(path)?;
    let repository = match registry == DOCKER_HUB && !path.contains('/') {
        true => format!("library/{path}"),
        false => path.to_owned(),
    };
    if registry.len() + 1 + repository.len() > NAME_LEN {
        return Err(format!("the name is longer than {NAME_LEN} characters"));
    }
    let version = match digest {
        Some(digest) => Version::Digest(digest),
        None => Version::Tag(tag.unwrap_or("latest").to_owned()),
    };
    Ok(Reference { registry: registry.to_owned(), repository, version })
}

/// A colon after the last slash starts a tag; one before it starts a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    let name_start = text.rfind('/').map_or(0, |slash| slash + 1);
    match text.get(name_start..).and_then(|last| last.find(':')) {
        Some(colon) => {
            let (name, tag) = text.split_at(name_start + colon);
            (name, tag.strip_prefix(':'))
        }
        None => (text, None),
    }
}

/// The first component is a registry if it cannot be part of a Docker Hub name.
fn split_registry(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest)) if looks_like_host(first) => (Some(first), rest),
        _ => (None, name),
    }
}

fn looks_like_host(first: &str) -> bool {
    first.contains(['.', ':', '['])
        || first == "localhost"
        || first.contains(|c: char| c.is_ascii_uppercase())
}

fn check_registry(registry: &str) -> Result<(), String> {
    let host = host_of(registry);
    let port = registry.get(host.len()..).unwrap_or_default();
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !(host.split('.').all(label) || ipv6_of(host).is_some()) {
        return Err(format!("'{registry}' is no host name"));
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(()),
        Some(digits)
            if digits.bytes().all(|b| b.is_ascii_digit())
                && digits.parse::<u16>().is_ok_and(|port| port > 0) =>
        {
            Ok(())
        }
        _ => Err(format!("'{registry}' has no port between 1 and 65535")),
    }
}

fn check_repository(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("the name is empty".to_owned());
    }
    if path.contains(|c: char| c.is_ascii_uppercase()) {
        return Err("the name must be lower case".to_owned());
    }
    if path.len() == 64 && path.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("64 hexadecimal digits are no name".to_owned());
    }
    match path.split('/').find(|component| !is_component(component)) {
        Some(component) => Err(format!("'{component}' is no part of a name")),
        None => Ok(()),
    }
}

/// Letters and digits, joined by one dot, one or two underscores or any dashes.
fn is_component(text: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    let joined = text
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|b| b == b'-'));
    ends.is_some_and(|(first, last)| alnum(*first) && alnum(*last)) && joined
}

fn check_tag(tag: &str) -> Result<(), String> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    let fits = tag.len() <= TAG_LEN;
    if fits && bytes.next().is_some_and(word) && bytes.all(|b| word(b) || b == b'.' || b == b'-') {
        return Ok(());
    }
    Err(format!("'{tag}' is no tag"))
}

/// The part of a registry before its port.
fn host_of(registry: &str) -> &str {
    match registry.rfind(']') {
        Some(end) => registry.get(..=end).unwrap_or(registry),
        None => registry.split(':').next().unwrap_or(registry),
    }
}

fn ipv6_of(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

    fn good(text: &str, expect: &str) {
        assert_eq!(text.parse::<Reference>().unwrap().to_string(), expect);
        assert_eq!(expect.parse::<Reference>().unwrap().to_string(), expect, "not normal");
    }

    fn bad(text: &str) {
        let error = text.parse::<Reference>().expect_err(text);
        assert_eq!(error.kind(), crate::ErrorKind::Usage);
        assert!(error.to_string().contains(&format!("'{text}'")), "{error}");
    }

    #[test]
    fn references_are_normalised_as_docker_does() {
        good("busybox", "docker.io/library/busybox:latest");
        good("busybox:1.36", "docker.io/library/busybox:1.36");
        good("docker.io/busybox", "docker.io/library/busybox:latest");
        good("index.docker.io/busybox", "docker.io/library/busybox:latest");
        good("opensuse/leap:15.3", "docker.io/opensuse/leap:15.3");
        good("test.com:tag", "docker.io/library/test.com:tag");
        good("test.com:5000", "docker.io/library/test.com:5000");
        good("test.com/repo", "test.com/repo:latest");
        good("test:5000/repo", "test:5000/repo:latest");
        good("test:5000/repo:tag", "test:5000/repo:tag");
        good("localhost/repo", "localhost/repo:latest");
        good("localhost:5000/a/b/c:v", "localhost:5000/a/b/c:v");
        good("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest");
        good("[::1]:5000/x", "[::1]:5000/x:latest");
        good("Registry/x", "Registry/x:latest");
        good("foo/foo_bar.com:8080", "docker.io/foo/foo_bar.com:8080");
        good("a.b/x--y/z__w/v.u:Tag_1.-", "a.b/x--y/z__w/v.u:Tag_1.-");
        good(&format!("x@sha256:{HEX}"), &format!("docker.io/library/x@sha256:{HEX}"));
        good(&format!("a.b/x:1@sha256:{HEX}"), &format!("a.b/x@sha256:{HEX}"));
    }

    #[test]
    fn what_is_no_reference_is_named() {
        for text in [
            "",
            ":tag",
            "@sha256:ff",
            "x@sha256:ff",
            "x@sha512:ff",
            "x@",
            "x:",
            "x:-tag",
            "x:a b",
            "X",
            "a.b/X",
            "a.b/",
            "/x",
            "a//b",
            "a/b/",
            "-x",
            "x-",
            "x..y",
            "x___y",
            "x._y",
            "../x",
            "a.b/../x",
            "a.b:0/x",
            "a.b:65536/x",
            "a.b:+1/x",
            "a.b:/x",
            "a..b/x",
            "-a.b/x",
            "[::1/x",
            "[zz]:1/x",
            "user@a.b/x",
            "https://a.b/x",
            "x y",
            "x\n",
            "ünï",
            HEX,
        ] {
            bad(text);
        }
        bad(&format!("x:{}", "t".repeat(129)));
        bad(&"n".repeat(256));
    }

    #[test]
    fn loopback_is_told_by_address() {
        let check = |text: &str, expect: bool| {
            assert_eq!(text.parse::<Reference>().unwrap().is_loopback(), expect, "{text}");
        };
        check("localhost/x", true);
        check("localhost:5000/x", true);
        check("127.0.0.1:5000/x", true);
        check("127.9.9.9/x", true);
        check("[::1]:5000/x", true);
        check("127.0.0.1.example.com/x", false);
        check("localhost.example.com/x", false);
        check("10.0.0.1:5000/x", false);
        check("[::2]/x", false);
        check("x", false);
    }

    #[test]
    fn insecure_registries_are_listed_by_host_or_port() {
        let check = |item: &str, expect: bool| {
            let reference: Reference = "a.b:5000/x".parse().unwrap();
            assert_eq!(reference.is_listed(&[item.to_owned()]), expect, "{item}");
        };
        check("a.b", true);
        check("a.b:5000", true);
        check("a.b:5001", false);
        check("b", false);
    }
}
