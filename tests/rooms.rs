//! What the documents say of the source: the rooms of `src/` import only from those above them in ARCHITECTURE.md's table, so that there is
//! no circle, and tests are where docs/verification.md says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The place of each room in the table, from the top.
fn table() -> BTreeMap<String, usize> {
    let text = fs::read_to_string("ARCHITECTURE.md").unwrap();
    let (_, table) = text.split_once("\n| room | holds |\n").expect("ARCHITECTURE.md has a table of the rooms");
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.split('|').nth(1).unwrap());
    let rooms = cells.enumerate().flat_map(|(place, cell)| {
        let names = cell.split('`').skip(1).step_by(2).filter(|name| !name.ends_with('/'));
        names.map(move |name| (name.to_string(), place))
    });
    rooms.collect()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// What a file imports by `crate::`, tests and comments apart.
fn imports(text: &str) -> BTreeSet<&str> {
    let (text, _) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((text, ""));
    let code = text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code));
    let after = code.flat_map(|line| line.split("crate::").skip(1));
    let names = after.map(|rest| &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]);
    names.filter(|name| name.starts_with(char::is_lowercase)).collect()
}

#[test]
fn rooms_import_from_those_above_them() {
    let table = table();
    let mut found = Vec::new();
    files(Path::new("src"), &mut found);
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for path in found {
        let below = path.strip_prefix("src").unwrap();
        let first = below.iter().next().unwrap().to_str().unwrap();
        let room = first.trim_end_matches(".rs");
        if ["lib", "main"].contains(&room) || below.ends_with("tests.rs") || below.iter().any(|part| part == "tests") {
            continue;
        }
        let place = table.get(room).unwrap_or_else(|| panic!("{room} is not in the table of ARCHITECTURE.md"));
        seen.insert(room.to_string());
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("crate::{"), "{}: import each room by itself", path.display());
        let imported = imports(&text).into_iter().filter(|name| *name != room).map(str::to_string).collect::<Vec<_>>();
        for name in imported.iter().filter(|name| table.contains_key(*name)) {
            if table[name] >= *place {
                wrong.push(format!("{}: imports from {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(seen, table.into_keys().collect(), "the table has rooms that there are not");
}

#[test]
fn imports_are_found() {
    let text = "use crate::gpu::Gpu; // crate::no\nlet x = crate::data::threads();\n#[cfg(test)]\nmod tests {\nuse crate::report;";
    assert_eq!(imports(text), BTreeSet::from(["data", "gpu"]));
}

#[test]
fn the_tests_that_find_faults_are_there() {
    let text = fs::read_to_string("docs/verification.md").unwrap();
    let (_, table) = text.split_once("| what was wrong | the test that finds it now |\n|---|---|\n").unwrap();
    let mut found = 0;
    let rows = table.lines().map_while(|line| line.strip_prefix('|'));
    for row in rows.filter(|row| !row.trim_start().starts_with("**")) {
        let before = found;
        let tests = row.split('|').nth(1).unwrap();
        // A part of the long suite has a file of its own.
        for of_file in tests.split(';').map(str::trim).filter(|tests| !tests.starts_with("the part ")) {
            let (names, file) = of_file.rsplit_once(" in ").unwrap_or_else(|| panic!("{row}: in which file?"));
            let source = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
            for name in names.split('`').skip(1).step_by(2) {
                let there = [format!("fn {name}("), format!("\"{name}\"")].iter().any(|form| source.contains(form));
                assert!(there, "{file}: there is no test `{name}`");
                found += 1;
            }
        }
        assert!(found > before, "{row}: which test?");
    }
    assert!(found > 50, "{found} tests");
}
