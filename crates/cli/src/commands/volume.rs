//! `volume`.

use microagent_machine::{DiskId, MiB};
use microagent_workspace::{
    DEFAULT_VOLUME, StateDir, Volume, create_volume, inspect_volume, remove_volume, volumes,
};

use crate::args::{Global, VolumeCommand};
use crate::failure::Failure;
use crate::output::{print, print_json, table};
use crate::tools;

pub(crate) fn run(command: VolumeCommand, global: &Global) -> Result<u8, Failure> {
    match command {
        VolumeCommand::Create { name, size_mib } => {
            let size = size_mib.map_or(DEFAULT_VOLUME, MiB);
            let made = create_volume(&tools::state(global)?, &id(&name)?, size)?;
            if global.json { print_json(&made) } else { print(made.name.as_str()) }
        }
        VolumeCommand::List => {
            let list = volumes(&StateDir::peek(tools::state_path(global)?)?)?;
            match global.json {
                true => print_json(&serde_json::json!({ "volumes": list })),
                false => print(&listed(&list)),
            }
        }
        VolumeCommand::Inspect { name } => {
            print_json(&inspect_volume(&tools::state(global)?, &id(&name)?)?);
        }
        VolumeCommand::Rm { names } => {
            let names = names.iter().map(|name| id(name)).collect::<Result<Vec<_>, _>>()?;
            let state = tools::state(global)?;
            names.iter().try_for_each(|name| remove_volume(&state, name))?;
        }
    }
    Ok(0)
}

fn id(name: &str) -> Result<DiskId, Failure> {
    DiskId::new(name).map_err(|_| {
        Failure::usage(format!(
            "volume name '{name}' must be 1 to 20 characters of a-z, A-Z, 0-9, '-' and '_'"
        ))
    })
}

fn listed(volumes: &[Volume]) -> String {
    let row = |volume: &Volume| {
        vec![
            volume.name.to_string(),
            volume.size_mib.0.to_string(),
            (volume.used_bytes >> 10).to_string(),
            if volume.in_use { "yes" } else { "no" }.to_owned(),
            volume.created_at.clone(),
        ]
    };
    let header = ["NAME", "SIZE_MIB", "USED_KIB", "IN_USE", "CREATED"];
    table(&header, volumes.iter().map(row).collect())
}
