//! The modules of a kernel, and in which order they can be loaded.
//!
//! What `modprobe` reads is made by `depmod` when a kernel is installed. What stands here is
//! made with the kernel itself: its lists of files, and what each module says it depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A tree `lib/modules/RELEASE` as a package brings it, its modules not compressed.
#[derive(Debug)]
pub(crate) struct Modules {
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
}

impl Modules {
    /// What the tree's own lists name.
    pub(crate) fn of(tree: &Path) -> Result<Self, String> {
        let list = |name: &str| {
            let path = tree.join(name);
            fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
        };
        let files = list("modules.order")?;
        let files = files.lines().map(|line| (name(line), tree.join(line))).collect();
        let built_in = list("modules.builtin")?.lines().map(name).collect();
        Ok(Self { files, built_in })
    }

    /// The files to load for these, each behind those that it depends on. What the kernel has
    /// built in needs none.
    pub(crate) fn in_order(&self, wanted: &[&str]) -> Result<Vec<PathBuf>, String> {
        let mut order = Vec::new();
        for wanted in wanted {
            self.add(wanted, &mut order)?;
        }
        Ok(order)
    }

    fn add(&self, wanted: &str, order: &mut Vec<PathBuf>) -> Result<(), String> {
        if self.built_in.contains(wanted) {
            return Ok(());
        }
        let path = self.files.get(wanted).ok_or_else(|| format!("there is no module {wanted}"))?;
        if order.contains(path) {
            return Ok(());
        }
        let module = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        for needed in depends(&module) {
            self.add(&needed, order)?;
        }
        order.push(path.clone());
        Ok(())
    }
}

/// A module's name by its file's, in which `-` and `_` are the same.
fn name(file: &str) -> String {
    let file = file.rsplit('/').next().unwrap_or(file);
    file.strip_suffix(".ko").unwrap_or(file).replace('-', "_")
}

/// What stands behind `depends=` in a module's section `.modinfo`: names with commas between.
fn depends(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let begins = module.windows(key.len()).position(|window| window == key);
    let value = begins.map_or(&[][..], |at| &module[at + key.len()..]);
    let value = value.split(|&byte| byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names.split(',').filter(|name| !name.is_empty()).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        let modules = [("a", ""), ("b-b", "a"), ("c", "a,b_b"), ("d", "in,a"), ("e", "no")];
        for (name, depends) in modules {
            let module = format!("ELF\0license=GPL\0depends={depends}\0name={name}\0");
            fs::write(tree.path().join(format!("{name}.ko")), module).unwrap();
        }
        fs::write(tree.path().join("modules.order"), "a.ko\nb-b.ko\nc.ko\nd.ko\ne.ko\n").unwrap();
        fs::write(tree.path().join("modules.builtin"), "kernel/fs/in.ko\n").unwrap();
        tree
    }

    #[test]
    fn each_comes_behind_what_it_depends_on() {
        let tree = tree();
        let modules = Modules::of(tree.path()).unwrap();
        let check = |wanted: &[&str], expect: Result<&[&str], &str>| {
            let expect = expect.map(|files| files.iter().map(|f| tree.path().join(f)).collect());
            assert_eq!(modules.in_order(wanted), expect.map_err(str::to_owned), "{wanted:?}");
        };
        check(&[], Ok(&[]));
        check(&["in"], Ok(&[]));
        check(&["b_b"], Ok(&["a.ko", "b-b.ko"]));
        check(&["c", "a", "c"], Ok(&["a.ko", "b-b.ko", "c.ko"]));
        check(&["d"], Ok(&["a.ko", "d.ko"]));
        check(&["e"], Err("there is no module no"));
    }
}
