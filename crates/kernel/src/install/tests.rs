use super::*;
use crate::catalogue::Source;
use crate::samples::vmlinux;
use std::os::unix::fs::PermissionsExt;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_installed_kernel_is_what_runs_find() {
    let root = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::new(root.path().join("kernels"), vec![]);
    let from = root.path().join("anything");
    fs::write(&from, vmlinux()).unwrap();

    let kernel = catalogue.install(&from, None).unwrap();
    assert_eq!(kernel.source, Source::Installed);
    assert_eq!(catalogue.pick(None).unwrap(), kernel);
    let dir = catalogue.installed();
    assert_eq!(names(&dir), ["lock", "manifest.json", "vmlinux"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&kernel.path)), (0o700, 0o600));
    // Again, over itself, with the sum that it has.
    assert_eq!(catalogue.install(&from, kernel.sha256.as_deref()).unwrap(), kernel);
}

#[test]
fn a_manifest_of_the_same_bytes_comes_along() {
    let root = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::new(root.path().join("kernels"), vec![]);
    let from = root.path().join("vmlinux");
    fs::write(&from, vmlinux()).unwrap();
    let sha256 = catalogue.verify(Some(&from), None).unwrap().sha256;
    let manifest = format!(
        r#"{{"version":1,"arch":"x86_64","linux":"6.1.1","format":"vmlinux",
            "sha256":"{sha256}","size":140,"features":["dm-snapshot"]}}"#
    );
    fs::write(root.path().join(MANIFEST), manifest).unwrap();
    assert!(catalogue.install(&from, None).unwrap().features.contains("dm-snapshot"));

    fs::write(root.path().join(MANIFEST), "about something else").unwrap();
    assert!(catalogue.install(&from, None).unwrap().features.is_empty());
}

#[test]
fn a_refused_kernel_replaces_nothing() {
    let root = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::new(root.path().join("kernels"), vec![]);
    let good = root.path().join("good");
    fs::write(&good, vmlinux()).unwrap();
    let installed = catalogue.install(&good, None).unwrap();

    let bad = root.path().join("bad");
    fs::write(&bad, "no kernel").unwrap();
    let sum = "0".repeat(64);
    let refused: &[(&Path, Option<&str>, &str)] = &[
        (&bad, None, "is no kernel"),
        (&good, Some(&sum), "expected 0000"),
        (&good, Some("0"), "not a SHA-256 sum"),
        (&root.path().join("absent"), None, "no such kernel"),
    ];
    for (from, sha256, expect) in refused {
        let error = catalogue.install(from, *sha256).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
        assert_eq!(catalogue.pick(None).unwrap(), installed);
        assert_eq!(names(&catalogue.installed()), ["lock", "manifest.json", "vmlinux"]);
    }
}
