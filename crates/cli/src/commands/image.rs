//! `image pull|list|prune`.

use microagent_image::{
    ImageError, ImageRecord, PruneScope, PullPolicy, ResolveOptions, Source, Store,
};
use microagent_workspace::{RunError, prune_bases};
use serde_json::{Value, json};

use crate::args::{Global, ImageCommand};
use crate::failure::Failure;
use crate::output::{print, print_json, table};
use crate::progress::{ForImages, Shown};
use crate::tools;

pub(crate) async fn run(command: ImageCommand, global: &Global) -> Result<u8, Failure> {
    match command {
        ImageCommand::Pull { reference, insecure_registry } => {
            pull(reference, insecure_registry, global).await?;
        }
        ImageCommand::List => list(global)?,
        ImageCommand::Prune { all } => prune(all, global).await?,
    }
    Ok(0)
}

fn failure(error: ImageError) -> Failure {
    Failure::from(RunError::from(error))
}

async fn pull(
    reference: String,
    insecure_registry: Vec<String>,
    global: &Global,
) -> Result<(), Failure> {
    let source: Source = reference.parse().map_err(failure)?;
    let state = tools::state(global)?;
    let mut insecure_registries = tools::config(&state)?.insecure_registries;
    insecure_registries.extend(insecure_registry);
    let store = Store::open(&state.images()).map_err(failure)?;
    let options = ResolveOptions {
        pull: PullPolicy::Always,
        insecure_registries,
        ..ResolveOptions::default()
    };
    let shown = Shown::new(global);
    let image = store.resolve(&source, &options, &ForImages(&shown)).await.map_err(failure)?;
    drop(shown);
    let digest = image.digest.to_string();
    if global.json {
        print_json(&json!({ "image": { "ref": reference, "digest": digest } }));
    } else {
        print(&digest);
    }
    Ok(())
}

fn list(global: &Global) -> Result<(), Failure> {
    let state = tools::state(global)?;
    let records = Store::open(&state.images()).and_then(|s| s.list()).map_err(failure)?;
    if global.json {
        print_json(&json!({ "images": records.iter().map(object).collect::<Vec<_>>() }));
        return Ok(());
    }
    let row = |r: &ImageRecord| {
        let size = format!("{:.1}", r.size as f64 / f64::from(1 << 20));
        vec![r.reference.clone(), r.digest.to_string(), r.platform.to_string(), size]
    };
    let rows = records.iter().map(row).collect();
    print(&table(&["IMAGE", "DIGEST", "PLATFORM", "SIZE/MiB"], rows));
    Ok(())
}

fn object(record: &ImageRecord) -> Value {
    json!({
        "ref": record.reference,
        "digest": record.digest.to_string(),
        "platform": record.platform.to_string(),
        "size_bytes": record.size,
        "last_used_at": jiff::Timestamp::try_from(record.last_used).ok().map(|t| t.to_string()),
    })
}

async fn prune(all: bool, global: &Global) -> Result<(), Failure> {
    let state = tools::state(global)?;
    let store = Store::open(&state.images()).map_err(failure)?;
    let scope = if all { PruneScope::All } else { PruneScope::Unreferenced };
    let report = store.prune(scope).await.map_err(failure)?;
    let kept = store.list().map_err(failure)?;
    let kept: Vec<_> = kept.iter().map(|record| record.digest.to_string()).collect();
    let (bases, base_bytes) = prune_bases(&state, &kept)?;
    let bytes = report.bytes + base_bytes;
    if global.json {
        print_json(&json!({
            "images": report.images, "blobs": report.removed, "rootfs": bases, "bytes": bytes,
        }));
    } else {
        print(&format!(
            "removed {} images, {} blobs, {bases} root disks, {:.1} MiB",
            report.images,
            report.removed,
            bytes as f64 / f64::from(1 << 20)
        ));
    }
    Ok(())
}
