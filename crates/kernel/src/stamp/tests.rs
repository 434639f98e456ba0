use super::*;
use std::io::Write;

/// A file that changed long ago cannot be made without waiting, so what binds a stamp to a
/// file and what is read from it are tested apart from the clock.
#[test]
fn a_stamp_is_believed_only_for_the_very_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k");
    std::fs::write(&path, "one").unwrap();
    let stamps = dir.path().join("stamps");
    let mut file = File::open(&path).unwrap();
    let real = facts(&mut file, &stamps).unwrap();

    // A stamp with a sum of its own shows whether it is the stamp that is believed.
    let told = Facts { sha256: "ab".repeat(32), device_arguments: true };
    let metadata = file.metadata().unwrap();
    let identity = Identity::of(&metadata);
    let name = format!("{:x}-{:x}.json", identity.dev, identity.ino);
    write(&stamps.join(&name), &stamps, &Stamp { identity, facts: told.clone() });
    assert_eq!(facts(&mut file, &stamps).unwrap(), told);

    let others: &[fn(&mut Identity)] = &[
        |id| id.dev ^= 1,
        |id| id.ino ^= 1,
        |id| id.size ^= 1,
        |id| id.mtime.1 ^= 1,
        |id| id.ctime.0 ^= 1,
    ];
    for change in others {
        let mut identity = Identity::of(&metadata);
        change(&mut identity);
        write(&stamps.join(&name), &stamps, &Stamp { identity, facts: told.clone() });
        assert_eq!(facts(&mut file, &stamps).unwrap(), real);
    }
}

#[test]
fn a_damaged_stamp_costs_a_hash_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k");
    std::fs::write(&path, "one").unwrap();
    let mut file = File::open(&path).unwrap();
    let real = facts(&mut file, &dir.path().join("absent")).unwrap();
    let identity = Identity::of(&file.metadata().unwrap());
    let name = format!("{:x}-{:x}.json", identity.dev, identity.ino);
    let identity = serde_json::to_string(&identity).unwrap();
    let odd = r#"{"sha256":"no sum","device_arguments":true}"#;
    let odd = format!(r#"{{"identity":{identity},"facts":{odd}}}"#);
    for text in ["", "{", "[]", &odd] {
        std::fs::write(dir.path().join(&name), text).unwrap();
        assert_eq!(facts(&mut file, dir.path()).unwrap(), real);
    }
}

#[test]
fn a_file_that_just_changed_gets_no_stamp() {
    let dir = tempfile::tempdir().unwrap();
    let stamps = dir.path().join("stamps");
    let mut file =
        File::options().create_new(true).read(true).write(true).open(dir.path().join("k")).unwrap();
    file.write_all(b"one").unwrap();
    facts(&mut file, &stamps).unwrap();
    assert!(!stamps.exists());
}

#[test]
fn stamps_do_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..MAX_STAMPS {
        std::fs::write(dir.path().join(number.to_string()), "").unwrap();
    }
    make_room(dir.path()).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
