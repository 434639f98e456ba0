//! What runs machines here.

use serde_json::Value;

use crate::Sandbox;

impl Sandbox {
    /// The supervisors that work here: those whose processor is real, or all where there is
    /// none, since a translated one in a translated one takes minutes.
    ///
    /// # Panics
    /// Where the program cannot say.
    pub fn working_supervisors(&self) -> Vec<String> {
        let json = self.call(&["backends", "list", "--json"]).output().code(0).json();
        let found = json["backends"].as_array().expect("a list of what was found");
        let works: Vec<_> = found.iter().filter(|found| found["available"] == true).collect();
        let is_real = |found: &&&Value| found["capabilities"]["acceleration"]["kind"] != "emulated";
        let name = |found: &Value| found["supervisor"].as_str().unwrap_or_default().to_owned();
        match works.iter().filter(is_real).map(|found| name(found)).collect::<Vec<_>>() {
            real if real.is_empty() => works.into_iter().map(name).collect(),
            real => real,
        }
    }
}
