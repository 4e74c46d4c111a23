//! How files of a run or a study are read and checked.
//!
//! Every file is held against its form (the error names the field), against ranges, and against the files beside it. The checks of
//! each file stand with what it holds: [`train::Run`](crate::train::Run), `study::reading`, `study::layers::reading`,
//! `explain::learned::reading` and `report::found`. Whoever gets a value from there may rely on it: no size is zero or absurd, no
//! number is not finite, and what belongs together fits.

use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::fs;
use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, ensure};
use serde::de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::nn::checkpoint::field_problem;
use crate::nn::{Architecture, Named, Network, Spec};

/// Images, files and the like that one folder may tell of.
pub(crate) const MAX_IMAGES: usize = 10_000_000;
/// The largest number that can come out of kernels that count in 32-bit floating point.
pub(crate) const LARGEST: f64 = f32::MAX as f64;

/// The most bytes of a file of settings, or of what came of them: it has a few thousand, or more for a long list of layers.
const MOST_SETTINGS: usize = 1 << 19;

/// Refuses a file of settings that is larger than any is: what it is parsed into may take a hundred times as much memory.
pub(crate) fn check_size(bytes: &[u8]) -> Result<()> {
    ensure!(bytes.len() <= MOST_SETTINGS, "it has {} bytes: expected up to {MOST_SETTINGS}", bytes.len());
    Ok(())
}

/// The most values that the settings in a larger file have.
const MOST_VALUES: usize = 100_000;

/// Refuses a file of results in which settings have more values than any: they are kept until all fields are known.
pub(crate) fn check_values(bytes: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        identity: Values,
        #[serde(default)]
        study: Values,
    }
    let Head { identity: Values(identity), study: Values(study) } = parsed(bytes)?;
    let values = identity + study;
    ensure!(values <= MOST_VALUES, "it has {values} values of settings: expected up to {MOST_VALUES}");
    Ok(())
}

/// How many values a part of a file has, of which nothing is kept.
#[derive(Default)]
struct Values(usize);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(part: D) -> Result<Self, D::Error> {
        part.deserialize_any(Counting)
    }
}

struct Counting;

impl<'de> Visitor<'de> for Counting {
    type Value = Values;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Values, A::Error> {
        let mut values = 1;
        while let Some(Values(more)) = list.next_element()? {
            values += more;
        }
        Ok(Values(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Values, A::Error> {
        let mut values = 1;
        while let Some((IgnoredAny, Values(more))) = fields.next_entry()? {
            values += more;
        }
        Ok(Values(values))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Values, E> {
        Ok(Values(1))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Values, E> {
        Ok(Values(1))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Values, E> {
        Ok(Values(1))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Values, E> {
        Ok(Values(1))
    }

    fn visit_str<E>(self, _: &str) -> Result<Values, E> {
        Ok(Values(1))
    }

    fn visit_unit<E>(self) -> Result<Values, E> {
        Ok(Values(1))
    }
}

/// The bytes of a file of a folder of results. What is no file, such as a pipe, is refused: it might never end.
pub(crate) fn content(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.is_file() { fs::read(path) } else { Err(io::Error::other("is not a regular file")) }
}

/// Reads a JSON file of this form.
///
/// # Errors
/// When it cannot be read or has another form, naming the file and the field.
pub(crate) fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = content(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    parsed(&bytes).with_context(|| unusable(path))
}

/// As [`json`], of a file of settings.
///
/// # Errors
/// As [`json`], and when it is too large.
pub(crate) fn json_of_settings<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = content(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    check_size(&bytes).and_then(|()| parsed(&bytes)).with_context(|| unusable(path))
}

/// Reads a JSON file that begins with the number of its format, which changes with what its figures mean; the first versions wrote
/// none. `remedy` is how the file is made anew.
///
/// # Errors
/// When it cannot be read, is of another version, or has another form, naming the file.
pub(crate) fn versioned<T: DeserializeOwned>(path: &Path, format: u32, remedy: &str) -> Result<T> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        format: u32,
    }
    let bytes = content(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let head: Head = parsed(&bytes).with_context(|| unusable(path))?;
    let shown = path.display();
    ensure!(head.format == format, "{shown}: format: was written by another version of convscope; {remedy}");
    parsed(&bytes).with_context(|| unusable(path))
}

/// JSON of this form. The error names the field.
pub(crate) fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let mut text = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut text).map_err(|error| anyhow!(field_problem(&error)))?;
    text.end()?;
    Ok(value)
}

/// For a part whose fields lie among those of the whole (`serde(flatten)`): without it, an error could not name them.
///
/// # Errors
/// When the part has another form, naming the field.
pub(crate) fn flattened<'de, D: Deserializer<'de>, T: Deserialize<'de>>(fields: D) -> Result<T, D::Error> {
    serde_path_to_error::deserialize(fields).map_err(|error| D::Error::custom(field_problem(&error)))
}

/// What to do about a path that was typed and leads to no file; none where there is one, readable or not.
pub(crate) fn no_file(path: &Path) -> Option<&'static str> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Some("is a folder; name a file"),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Some("there is no such file; check the path")
        }
        _ => None,
    }
}

/// How an error begins that is about a file's content.
pub(crate) fn unusable(path: &Path) -> String {
    format!("{}: cannot be used", path.display())
}

/// Reads a CSV table with these columns, among which there may be others.
///
/// # Errors
/// When it cannot be read or has another form, naming the file, the line and the column.
pub(crate) fn table<T: DeserializeOwned>(path: &Path, columns: &[&str]) -> Result<Vec<T>> {
    let bytes = content(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    rows(&bytes, columns).with_context(|| unusable(path))
}

pub(crate) fn rows<T: DeserializeOwned>(bytes: &[u8], columns: &[&str]) -> Result<Vec<T>> {
    ensure!(bytes.is_empty() || bytes.ends_with(b"\n"), "it is cut off: its last line has no end");
    let mut table = csv::Reader::from_reader(bytes);
    let header = table.headers()?.clone();
    for column in columns {
        let times = header.iter().filter(|name| name == column).count();
        ensure!(times > 0, "the column {column} is missing");
        ensure!(times == 1, "there are {times} columns {column}");
    }
    table.deserialize().map(|row| row.map_err(|error| named(&error, &header))).collect()
}

/// An error of the table, with the column's name instead of its number.
fn named(error: &csv::Error, header: &csv::StringRecord) -> Error {
    let csv::ErrorKind::Deserialize { pos, err } = error.kind() else { return anyhow!("{error}") };
    let line = pos.as_ref().map_or(String::new(), |pos| format!("line {}, ", pos.line()));
    let column = err.field().and_then(|field| header.get(field as usize)).unwrap_or("a column");
    anyhow!("{line}{column}: {}", err.kind())
}

/// Checks a number against its range.
pub(crate) fn within<T: PartialOrd + Display>(field: impl Display, value: T, range: RangeInclusive<T>) -> Result<()> {
    ensure!(range.contains(&value), "{field} is {value}: expected {} to {}", range.start(), range.end());
    Ok(())
}

/// Checks a share, 0 to 1.
pub(crate) fn share(field: impl Display, value: f64) -> Result<()> {
    within(field, value, 0.0..=1.0)
}

/// Checks a share in percent.
pub(crate) fn percent(field: impl Display, value: f64) -> Result<()> {
    within(field, value, 0.0..=100.0)
}

/// Checks a number that may have either sign.
pub(crate) fn number(field: impl Display, value: f64) -> Result<()> {
    ensure!(value.abs() <= LARGEST, "{field} is {value:e}: expected a number that a network can bring about");
    Ok(())
}

/// Checks a number that has no sign, such as a loss or a time.
pub(crate) fn amount(field: impl Display, value: f64) -> Result<()> {
    ensure!((0.0..=LARGEST).contains(&value), "{field} is {value:e}: expected a number of at least 0");
    Ok(())
}

/// Checks an interval.
pub(crate) fn interval(field: impl Display, (low, high): (f64, f64)) -> Result<()> {
    number(&field, low)?;
    number(&field, high)?;
    ensure!(low <= high, "{field} is {low} to {high}: expected the smaller number first");
    Ok(())
}

/// Checks what must be as another file, or another field, has it.
pub(crate) fn equal<T: PartialEq + Display>(field: impl Display, value: T, expected: T) -> Result<()> {
    ensure!(value == expected, "{field} is {value}: expected {expected}");
    Ok(())
}

/// Checks a number that follows from others of the file, but for rounding.
pub(crate) fn follows(field: impl Display, value: f64, (expected, by): (f64, &str)) -> Result<()> {
    let rounding = 1e-9 * (1.0 + expected.abs());
    ensure!((value - expected).abs() <= rounding, "{field} is {value}: expected {expected}, by {by}");
    Ok(())
}

/// How `there` differs from `here`, one line a difference: what it has, and what this one has. Fields are named from `name` on.
pub(crate) fn differences<T: Serialize>(name: &str, there: &T, here: &T) -> Vec<String> {
    // By way of text, in which a short number stays short.
    let value = |of: &T| -> Value {
        let text = serde_json::to_string(of).expect("what was read can be written");
        serde_json::from_str(&text).expect("what was just written can be read")
    };
    let mut found = Vec::new();
    collect_differences(name, &value(there), &value(here), &mut found);
    found
}

fn collect_differences(path: &str, there: &Value, here: &Value, found: &mut Vec<String>) {
    match (there, here) {
        (Value::Object(there), Value::Object(here)) => {
            let keys: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let [there, here] = [there, here].map(|fields| fields.get(key).unwrap_or(&Value::Null));
                collect_differences(&path, there, here, found);
            }
        }
        _ if there == here => {}
        _ => found.push(format!("{path} is {there}, not {here}")),
    }
}

/// The same of networks, where `name` is the network here. Of lists of layers it tells the first layer that differs.
pub(crate) fn differences_of_networks(name: &str, there: &Architecture, here: &Architecture) -> Vec<String> {
    use Architecture::{Known, Listed, Strided};
    let kind = |network: &Architecture| match network {
        Strided(_) => "blocks of strided convolutions".into(),
        Known(known) => known.to_string(),
        Listed(_) => "a list of layers".into(),
    };
    match (there, here) {
        (Strided(_), Strided(_)) | (Known(_), Known(_)) => differences(name, there, here),
        (Listed(one), Listed(other)) => {
            let ([_, rows, columns], [_, height, width]) = (one.input, other.input);
            let size = (one.input != other.input)
                .then(|| format!("{name} takes images of {rows} x {columns} pixels, not {height} x {width}"));
            let layers = difference_of_layers(one, other).map(|first| format!("{name} has other layers: {first}"));
            size.into_iter().chain(layers).collect()
        }
        _ => vec![format!("{name} is {}, not {}", kind(there), kind(here))],
    }
}

/// The first layer in which `there` differs from `here`, if there is one.
fn difference_of_layers(there: &Spec, here: &Spec) -> Option<String> {
    if there.layers == here.layers {
        return None;
    }
    let (Ok(there), Ok(here)) = (there.build(), here.build()) else { return Some("one of them cannot be".into()) };
    let [one, other] = [&there, &here].map(Network::nodes);
    let unlike = one.iter().zip(other).find(|(one, other)| one.op != other.op);
    Some(match unlike {
        Some((one, other)) if one.op.name() == other.op.name() => {
            let options = differences("", &Named::from(one.op), &Named::from(other.op));
            format!("{}: {}", one.place(), options.into_iter().next().unwrap_or_default())
        }
        Some((one, other)) => format!("{}, not {}", one.place(), other.place()),
        None if one.len() != other.len() => format!("{} of them, not {}", one.len(), other.len()),
        None => "the same, but they have other names or are put together otherwise".into(),
    })
}

/// The folder `name`, or `name-2` and so on, of the highest number that holds this file.
pub(crate) fn newest(parent: &Path, name: &str, file: &str) -> Option<PathBuf> {
    let number = |folder: &str| match folder.strip_prefix(name)? {
        "" => Some(1),
        rest => rest.strip_prefix('-')?.parse::<usize>().ok(),
    };
    let folders = fs::read_dir(parent).ok()?.flatten().map(|entry| entry.path());
    let numbered = folders.filter_map(|folder| Some((number(folder.file_name()?.to_str()?)?, folder)));
    numbered.filter(|(_, folder)| folder.join(file).is_file()).max().map(|(_, folder)| folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)] // Whether they can be read is all that counts.
    struct Whole {
        name: String,
        #[serde(flatten, deserialize_with = "flattened")]
        part: Part,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)] // Whether they can be read is all that counts.
    struct Part {
        counts: Vec<usize>,
    }

    fn json_error(text: &str) -> String {
        format!("{:#}", parsed::<Whole>(text.as_bytes()).unwrap_err())
    }

    #[test]
    fn errors_of_json_name_the_field() {
        parsed::<Whole>(br#"{"name": "a", "counts": [1, 2], "more": null}"#).unwrap();
        for (text, field) in [
            (r#"{"name": 1, "counts": []}"#, "name: invalid type"),
            (r#"{"name": "a", "counts": [1, -2]}"#, "counts[1]: invalid value"),
            (r#"{"name": "a", "counts": null}"#, "counts: invalid type"),
            (r#"{"name": "a"}"#, "missing field `counts`"),
            (r#"{"name": "a", "counts": []} and more"#, "trailing characters"),
            ("", "EOF while parsing"),
        ] {
            assert!(json_error(text).contains(field), "{text}: {}", json_error(text));
        }
    }

    #[test]
    fn errors_of_tables_name_line_and_column() {
        let read = |text: &str| rows::<(String, usize)>(text.as_bytes(), &["name", "count"]);
        assert_eq!(read("name,count\na,1\n").unwrap(), [("a".to_string(), 1)]);
        assert_eq!(read("name,count\n").unwrap(), []);
        for (text, problem) in [
            ("name,count\na,1\nb,-2\n", "line 3, count: invalid digit"),
            ("name,count\na,1\nb\n", "found record with 1 fields"),
            ("name\na\n", "the column count is missing"),
            ("name,count,count\n", "there are 2 columns count"),
            ("name,count\na,12", "cut off"),
            ("", "the column name is missing"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(problem), "{text:?}: {error}");
        }
    }

    #[test]
    fn numbers_that_are_none_are_in_no_range() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let checks = [share("a", value), percent("a", value), number("a", value), amount("a", value)];
            assert!(checks.iter().all(Result::is_err), "{value}");
            assert!(interval("a", (value, 1.0)).is_err() && follows("a", value, (1.0, "b")).is_err(), "{value}");
        }
        interval("a", (-1.0, 1.0)).unwrap();
        assert!(interval("a", (1.0, -1.0)).is_err() && amount("a", -1.0).is_err());
    }
}
