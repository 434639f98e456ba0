//! Keys that a file may have, as the schema says, and what was perhaps meant by another.

use serde_json::Value;

use super::WorkspaceFile;

/// Changes of one character by which what was meant may differ from what was written.
const NEAR: usize = 4;

/// Refuses keys that are not known.
pub(super) fn check(value: &Value) -> Result<(), String> {
    let schema =
        serde_json::to_value(schemars::schema_for!(WorkspaceFile)).map_err(|e| e.to_string())?;
    let Some(object) = value.as_object() else {
        return Err("what it holds is no mapping of keys to values".into());
    };
    for (key, value) in object {
        let known = properties(&schema, &schema);
        let Some(part) = known.and_then(|known| known.get(key)) else {
            return Err(unknown(key, key, known));
        };
        let inner = properties(part, &schema);
        // Of a free mapping every key is known.
        let (Some(inner), Some(value)) = (inner, value.as_object()) else { continue };
        if let Some(other) = value.keys().find(|other| !inner.contains_key(*other)) {
            return Err(unknown(&format!("{key}.{other}"), other, Some(inner)));
        }
    }
    Ok(())
}

/// The properties of an object, here or where the schema refers to.
fn properties<'a>(
    part: &'a Value,
    schema: &'a Value,
) -> Option<&'a serde_json::Map<String, Value>> {
    if let Some(properties) = part.get("properties") {
        return properties.as_object();
    }
    let several = part.get("anyOf").and_then(Value::as_array);
    let mut parts = std::iter::once(part).chain(several.into_iter().flatten());
    let name = parts.find_map(|part| part.get("$ref"))?.as_str()?;
    let place = name.strip_prefix('#')?;
    schema.pointer(place)?.get("properties")?.as_object()
}

fn unknown(path: &str, key: &str, known: Option<&serde_json::Map<String, Value>>) -> String {
    let known: Vec<&str> = known.into_iter().flat_map(|known| known.keys()).map(|k| &**k).collect();
    let near = known.iter().map(|known| (distance(key, known), *known)).min();
    match near {
        Some((changes, near)) if changes <= NEAR && changes < key.len() => {
            format!("there is no key '{path}', perhaps '{near}'")
        }
        _ => format!("there is no key '{path}', known are: {}", known.join(", ")),
    }
}

/// How many characters must be changed, added or taken away to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (a, b, expect) in
            [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("env", "evn", 2)]
        {
            assert_eq!(distance(a, b), expect, "{a} {b}");
        }
    }
}
