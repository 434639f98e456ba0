use microagent_fake::FakeBackend;

use super::*;

async fn answered(request: &str) -> String {
    String::from_utf8(answer(&FakeBackend::new(), request.as_bytes()).await).unwrap()
}

async fn check(request: &str, expect: &str) {
    let got = answered(request).await;
    assert!(got.contains(expect), "{request}: {got}");
}

#[tokio::test]
async fn whatever_is_asked_is_answered() {
    check("", r#""kind":"protocol""#).await;
    check(r#"{"protocol":2,"op":"probe","args":{}}"#, "protocol version 2, expected 1").await;
    check(r#"{"protocol":1,"op":"probe","args":{}}"#, r#"{"protocol":1,"ok":{"backend":"fake""#)
        .await;
    check(r#"{"protocol":1,"op":"open","args":{"dir":"/nowhere"}}"#, r#""kind":"not_found""#).await;
    check(r#"{"protocol":1,"op":"open","args":{"dir":"m"}}"#, "'m' is not absolute").await;
    check(
        r#"{"protocol":1,"op":"wait","args":{"dir":"/nowhere","within_ms":60001}}"#,
        "at most 60s",
    )
    .await;
}

#[tokio::test]
async fn a_machine_is_described_by_names_in_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let text = |op: &str, args: &str| {
        let dir = dir.path().display();
        format!(r#"{{"protocol":1,"op":"{op}","args":{{"dir":"{dir}"{args}}}}}"#)
    };
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let file = file.display();
    let spec = format!(
        r#", "lifetime":{{"kind":"detached"}}, "spec":{{"arch":"x86_64","vcpus":1,"memory":64,
        "disks":[],"vsock":null,"rng":false,"boot":{{"kernel":"{file}","format":"vmlinux",
        "initramfs":"{file}","cmdline":"","device_arguments":"unknown"}}}}"#
    );
    let described =
        r#"{"protocol":1,"ok":{"console":"console","vsock":"vsock","parts":["pause"]}}"#;
    check(&text("create", &spec), described).await;
    check(&text("open", ""), described).await;
    check(&text("state", ""), r#"{"protocol":1,"ok":{"state":"created"}}"#).await;
    check(&text("stats", ""), r#""kind":"unsupported""#).await;
    check(&text("power_button", ""), "'power_button'").await;
    check(&text("wait", r#","within_ms":0"#), r#"{"protocol":1,"ok":{"exit":null}}"#).await;
    check(&text("pause", ""), r#""kind":"invalid_state""#).await;
    check(&text("destroy", ""), r#"{"protocol":1,"ok":{}}"#).await;
    check(&text("state", ""), r#""kind":"not_found""#).await;
}
