use super::*;
use crate::samples::{bzimage, vmlinux};
use tempfile::TempDir;

const SUM_OF_ANOTHER: &str = "00000000000000000000000000000000000000000000000000000000000000ff";

struct Places {
    root: TempDir,
    catalogue: Catalogue,
}

fn places() -> Places {
    let root = tempfile::tempdir().unwrap();
    let share = vec![root.path().join("share1"), root.path().join("share2")];
    let catalogue = Catalogue::new(root.path().join("state"), share);
    Places { root, catalogue }
}

impl Places {
    fn put(&self, place: &str, kernel: &[u8], manifest: Option<&str>) -> PathBuf {
        let dir = self.root.path().join(place).join("x86_64");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(KERNEL), kernel).unwrap();
        if let Some(manifest) = manifest {
            std::fs::write(dir.join(MANIFEST), manifest).unwrap();
        }
        dir.join(KERNEL)
    }
}

fn sum(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(bytes))
}

fn manifest(sha256: &str, format: &str) -> String {
    format!(
        r#"{{"version":1,"arch":"x86_64","linux":"6.1.0","format":"{format}","sha256":"{sha256}",
            "size":1,"inputs_sha256":"x","config_sha256":"y","features":["ext4","vsock"]}}"#
    )
}

fn good_manifest() -> String {
    manifest(&sum(&vmlinux()), "vmlinux")
}

#[test]
fn without_any_kernel_the_error_says_where_it_looked_and_what_to_run() {
    let places = places();
    let error = places.catalogue.pick(None).unwrap_err();
    let text = error.to_string();
    for place in ["state", "share1", "share2"] {
        assert!(text.contains(&format!("{place}/x86_64/vmlinux")), "{text}");
    }
    assert!(error.hint().unwrap().contains("`microagent kernel build`"));
    assert!(places.catalogue.list().is_empty());
}

#[test]
fn the_order_is_explicit_installed_shared() {
    let places = places();
    let pick = |explicit: Option<&Path>| places.catalogue.pick(explicit).unwrap();

    let second = places.put("share2", &vmlinux(), Some(&good_manifest()));
    assert_eq!((pick(None).path, pick(None).source), (second, Source::Shared));
    let first = places.put("share1", &vmlinux(), Some(&good_manifest()));
    assert_eq!(pick(None).path, first);
    let installed = places.put("state", &vmlinux(), Some(&good_manifest()));
    assert_eq!((pick(None).path, pick(None).source), (installed, Source::Installed));
    let own = places.put("own", &bzimage(0x20f, 1, 1), None);
    let picked = pick(Some(&own));
    assert_eq!((picked.source, picked.format), (Source::Explicit, KernelFormat::BzImage));
    assert_eq!((picked.sha256, picked.features.len()), (None, 0));
    assert_eq!(places.catalogue.list().len(), 3);
}

#[test]
fn an_installed_kernel_has_its_sum_and_features() {
    let places = places();
    places.put("state", &vmlinux(), Some(&good_manifest()));
    let kernel = places.catalogue.pick(None).unwrap();
    assert_eq!(kernel.sha256, Some(sum(&vmlinux())));
    assert_eq!(kernel.features, BTreeSet::from(["ext4".to_owned(), "vsock".to_owned()]));
}

#[test]
fn what_a_kernel_is_told_of_its_devices_is_found_or_recorded() {
    let places = places();
    let check = |kernel: &[u8], manifest: Option<&str>, expect| {
        let path = places.put("own", kernel, manifest);
        let picked = places.catalogue.pick(Some(&path)).unwrap();
        assert_eq!(picked.device_arguments, expect, "{manifest:?}");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    };
    use DeviceArguments::{Understood, Unknown};
    check(&vmlinux(), None, Unknown);
    let mut shows = vmlinux();
    shows.extend(b"virtio_mmio.device\0MPTABLE: OEM ID: ");
    check(&shows, None, Understood);
    check(&shows, Some(&manifest(&sum(&shows), "vmlinux")), Understood);
    let compressed = bzimage(0x20f, 1, 1);
    check(&compressed, None, Unknown);
    let told = manifest(&sum(&compressed), "bzimage").replace("vsock", DEVICE_ARGUMENTS);
    check(&compressed, Some(&told), Understood);
}

#[test]
fn a_bad_installed_kernel_is_refused_and_not_passed_over() {
    let wrong_sum = manifest(SUM_OF_ANOTHER, "vmlinux");
    let wrong_format = manifest(&sum(&vmlinux()), "bzimage");
    let newer = good_manifest().replace("\"version\":1", "\"version\":2");
    let unknown = good_manifest().replace("\"version\"", "\"extra\":0,\"version\"");
    let bad_sum = manifest("abc", "vmlinux");
    let cases: &[(&[u8], Option<&str>, &str)] = &[
        (&vmlinux(), Some(&wrong_sum), SUM_OF_ANOTHER),
        (&vmlinux(), Some(&wrong_format), "another format"),
        (&vmlinux(), Some(&newer), "version 2, expected 1"),
        (&vmlinux(), Some(&unknown), "unknown field"),
        (&vmlinux(), Some(&bad_sum), "\"abc\" is no SHA-256 sum"),
        (&vmlinux(), Some("{"), "EOF"),
        (&vmlinux(), None, "does not exist"),
        (b"text", Some(&good_manifest()), "is no kernel"),
    ];
    for (kernel, manifest, expect) in cases {
        let places = places();
        places.put("share1", &vmlinux(), Some(&good_manifest()));
        places.put("state", kernel, *manifest);
        let error = places.catalogue.pick(None).unwrap_err().to_string();
        assert!(error.contains(expect), "{error} / {expect}");
        let listed = places.catalogue.list();
        assert!(listed[0].manifest.is_err() && listed[1].manifest.is_ok());
    }
}

#[test]
fn an_overlong_manifest_is_refused() {
    let places = places();
    let long = format!("{}{}", good_manifest(), " ".repeat(64 * 1024));
    places.put("state", &vmlinux(), Some(&long));
    let error = places.catalogue.pick(None).unwrap_err().to_string();
    assert!(error.ends_with("longer than 65536 bytes"), "{error}");
}

#[test]
fn an_explicit_kernel_takes_over_a_manifest_of_its_own_bytes_only() {
    let places = places();
    let own = places.put("own", &vmlinux(), Some(&good_manifest()));
    assert_eq!(places.catalogue.pick(Some(&own)).unwrap().features.len(), 2);
    let other = places.put("other", &vmlinux(), Some(&manifest(SUM_OF_ANOTHER, "vmlinux")));
    let kernel = places.catalogue.pick(Some(&other)).unwrap();
    assert_eq!((kernel.features.len(), kernel.sha256), (0, None));
}

#[test]
fn a_kernel_that_is_changed_after_it_was_picked_is_noticed() {
    let places = places();
    let path = places.put("state", &vmlinux(), Some(&good_manifest()));
    places.catalogue.pick(None).unwrap();
    let mut changed = vmlinux();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&path, changed).unwrap();
    let error = places.catalogue.pick(None).unwrap_err();
    assert!(matches!(error, KernelError::Mismatch { .. }), "{error}");
}

#[test]
fn verify_compares_with_what_there_is() {
    let places = places();
    let bare = places.put("bare", &vmlinux(), None);
    let recorded = places.put("recorded", &vmlinux(), Some(&good_manifest()));
    let wrong = places.put("wrong", &vmlinux(), Some(&manifest(SUM_OF_ANOTHER, "vmlinux")));
    let right_sum = sum(&vmlinux()).to_uppercase();
    let prefixed = format!("sha256:{right_sum}");
    let cases: &[(&Path, Option<&str>, Result<bool, &str>)] = &[
        (&bare, None, Ok(false)),
        (&bare, Some(&right_sum), Ok(true)),
        (&bare, Some(&prefixed), Ok(true)),
        (&recorded, None, Ok(true)),
        (&bare, Some(SUM_OF_ANOTHER), Err("expected 00000000")),
        (&recorded, Some(SUM_OF_ANOTHER), Err("expected 00000000")),
        (&wrong, None, Err("expected 00000000")),
        (&bare, Some("12"), Err("not a SHA-256 sum in hexadecimal: \"12\"")),
    ];
    for (path, given, expect) in cases {
        let got = places.catalogue.verify(Some(path), *given);
        match (got, expect) {
            (Ok(report), Ok(compared)) => {
                assert_eq!((report.sha256, report.compared), (sum(&vmlinux()), *compared));
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, expect) => assert_eq!(format!("{got:?}"), format!("{expect:?}")),
        }
    }
}
