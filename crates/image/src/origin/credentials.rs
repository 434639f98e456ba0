//! Who the user is to a registry.
//!
//! `$REGISTRY_AUTH_FILE`, then `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`; the
//! first file that has something for the registry decides. Nothing found is anonymous.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;
use std::collections::BTreeMap;

use crate::aside::aside;
use crate::store::read_file;
use crate::{ImageError, Reference, Result, limits};

/// What stands for Docker Hub in files that `docker login` writes.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// A user name by which helpers say that the secret is an identity token.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Password(String, String),
    IdentityToken,
}

pub(crate) async fn find(reference: &Reference) -> Result<RegistryAuth> {
    let files = files(|name| std::env::var_os(name));
    if files.is_empty() {
        return Ok(RegistryAuth::Anonymous);
    }
    let asked = reference.clone();
    // Helpers are programs, and may ask their user.
    aside("asking for credentials", limits::CREDENTIALS, move || search(&files, &asked)).await
}

/// A file that may have credentials.
#[derive(Debug, PartialEq, Eq)]
struct AuthFile {
    path: PathBuf,
    /// Whether its user named this very file, so that it must be there.
    named: bool,
}

fn files(var: impl Fn(&str) -> Option<OsString>) -> Vec<AuthFile> {
    let var = |name| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let named = var("REGISTRY_AUTH_FILE").map(|path| AuthFile { path, named: true });
    let docker = var("DOCKER_CONFIG").or_else(|| Some(var("HOME")?.join(".docker")));
    let docker = docker.map(|dir| AuthFile { path: dir.join("config.json"), named: false });
    named.into_iter().chain(docker).collect()
}

fn search(files: &[AuthFile], reference: &Reference) -> Result<RegistryAuth> {
    for file in files {
        let what = "the file with credentials";
        let json = match read_file(&file.path, what, limits::CREDENTIALS_BYTES)? {
            Some(json) => json,
            None if file.named => return Err(unusable(&file.path, "it does not exist")),
            None => continue,
        };
        match in_file(&file.path, &json, reference)? {
            Found::Nothing => (),
            Found::Password(user, password) => return Ok(RegistryAuth::Basic(user, password)),
            Found::IdentityToken => {
                return Err(unusable(
                    &file.path,
                    "it has an identity token for the registry, which is not supported; log in \
                     with a user name and a password or an access token",
                ));
            }
        }
    }
    Ok(RegistryAuth::Anonymous)
}

fn in_file(path: &Path, json: &[u8], reference: &Reference) -> Result<Found> {
    for key in keys(path, json, reference)? {
        match docker_credential::get_credential_from_reader(json, &key) {
            Ok(DockerCredential::UsernamePassword(user, password)) => {
                return Ok(Found::Password(user, password));
            }
            Ok(DockerCredential::IdentityToken(_)) => return Ok(Found::IdentityToken),
            Err(CredentialRetrievalError::NoCredentialConfigured) => (),
            // Not the error itself: a helper's output may hold secrets.
            Err(CredentialRetrievalError::HelperFailure { helper, .. }) => {
                tracing::debug!(helper, key, "the credential helper has nothing");
            }
            Err(error) => return Err(unusable(path, &error.to_string())),
        }
    }
    Ok(Found::Nothing)
}

#[derive(Deserialize)]
struct Keys {
    #[serde(default)]
    auths: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

/// Under which keys the registry may be listed: the longest matching path first, then the
/// registry itself.
fn keys(path: &Path, json: &[u8], reference: &Reference) -> Result<Vec<String>> {
    let listed: Keys =
        serde_json::from_slice(json).map_err(|error| unusable(path, &error.to_string()))?;
    let full = format!("{}/{}", reference.registry(), reference.repository());
    let is_path_of = |key: &String| {
        key.contains('/')
            && full.strip_prefix(key.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('/'))
    };
    let mut keys: Vec<_> =
        listed.auths.unwrap_or_default().into_keys().filter(is_path_of).collect();
    keys.sort_by_key(|key| std::cmp::Reverse(key.len()));
    if reference.registry() == "docker.io" {
        keys.push(DOCKER_HUB_KEY.to_owned());
    }
    keys.push(reference.registry().to_owned());
    Ok(keys)
}

fn unusable(path: &Path, reason: &str) -> ImageError {
    ImageError::Credentials { path: path.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    // user:secret, and user:other
    const SECRET: &str = "dXNlcjpzZWNyZXQ=";
    const OTHER: &str = "dXNlcjpvdGhlcg==";

    fn check(json: &str, reference: &str, expect: Found) {
        let reference: Reference = reference.parse().unwrap();
        let found = in_file(Path::new("auth.json"), json.as_bytes(), &reference).unwrap();
        assert_eq!(found, expect, "{reference} in {json}");
    }

    fn password(text: &str) -> Found {
        Found::Password("user".to_owned(), text.to_owned())
    }

    #[test]
    fn credentials_are_found_by_registry_and_path() {
        let hub = format!(r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{SECRET}"}}}}}}"#);
        check(&hub, "busybox", password("secret"));
        check(&hub, "a.b/busybox", Found::Nothing);
        let podman = format!(r#"{{"auths":{{"docker.io":{{"auth":"{SECRET}"}}}}}}"#);
        check(&podman, "busybox", password("secret"));
        let paths = format!(
            r#"{{"auths":{{"a.b:5000":{{"auth":"{SECRET}"}},"a.b:5000/x":{{"auth":"{OTHER}"}}}}}}"#
        );
        check(&paths, "a.b:5000/y", password("secret"));
        check(&paths, "a.b:5000/x", password("other"));
        check(&paths, "a.b:5000/x/z", password("other"));
        check(&paths, "a.b:5000/xy", password("secret"));
        check(&paths, "a.b/x", Found::Nothing);
        check(r#"{"auths":{"a.b":{"identitytoken":"t"}}}"#, "a.b/x", Found::IdentityToken);
        check("{}", "a.b/x", Found::Nothing);
    }

    #[test]
    fn a_named_file_must_be_there_and_make_sense() {
        let reference: Reference = "a.b/x".parse().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        let file = |named| AuthFile { path: path.clone(), named };
        assert!(search(&[file(true)], &reference).is_err());
        assert!(search(&[file(false)], &reference).unwrap() == RegistryAuth::Anonymous);
        std::fs::write(&path, "nonsense").unwrap();
        let error = search(&[file(false)], &reference).unwrap_err();
        assert!(error.to_string().contains("auth.json"), "{error}");
    }

    #[test]
    fn files_are_looked_for_in_order() {
        let check = |vars: &[(&str, &str)], expect: &[(&str, bool)]| {
            let var = |name: &str| {
                let found = vars.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| OsString::from(value))
            };
            let expect: Vec<_> = expect
                .iter()
                .map(|(path, named)| AuthFile { path: path.into(), named: *named })
                .collect();
            assert_eq!(files(var), expect);
        };
        check(&[], &[]);
        check(&[("HOME", "/h")], &[("/h/.docker/config.json", false)]);
        check(&[("HOME", "/h"), ("DOCKER_CONFIG", "/d")], &[("/d/config.json", false)]);
        check(
            &[("REGISTRY_AUTH_FILE", "/a"), ("HOME", "/h")],
            &[("/a", true), ("/h/.docker/config.json", false)],
        );
    }
}
