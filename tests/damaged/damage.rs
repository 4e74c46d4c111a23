//! Ways to damage a file, found by walking through what it holds.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// One damaged version of a file.
pub struct Damage {
    /// What was done to it.
    pub what: String,
    /// The field that was touched, or none where the whole file was.
    pub field: Option<String>,
    /// Whether no reader could make sense of the field: it must be told.
    pub senseless: bool,
    pub bytes: Vec<u8>,
}

/// Makes damages of a file, given the same file of another run.
pub type Damages = fn(&[u8], &[u8]) -> Vec<Damage>;

/// Damages to a file of any kind: cut off, emptied, or filled with something else. `other` is the same file of another run.
fn to_the_whole(bytes: &[u8], other: &[u8]) -> Vec<Damage> {
    let damage = |what: &str, senseless, bytes: &[u8]| Damage {
        what: what.into(),
        field: None,
        senseless,
        bytes: bytes.to_vec(),
    };
    let cut = |share: usize| &bytes[..bytes.len() * share / 4];
    vec![
        damage("empty", true, b""),
        damage("cut at a quarter", true, cut(1)),
        damage("cut in half", true, cut(2)),
        damage("cut at three quarters", true, cut(3)),
        damage("not text", true, &[0xff, 0xfe, 0, 1, 2, 3]),
        damage("null", true, b"null"),
        damage("a list", true, b"[]"),
        damage("nothing in brackets", true, b"{}"),
        damage("of another run", false, other),
    ]
}

/// Where a value lies in another.
#[derive(Clone)]
enum Step {
    Key(String),
    Index(usize),
}

fn shown(path: &[Step]) -> String {
    path.iter().fold(String::new(), |shown, step| match step {
        Step::Key(key) if shown.is_empty() => key.clone(),
        Step::Key(key) => format!("{shown}.{key}"),
        Step::Index(index) => format!("{shown}[{index}]"),
    })
}

/// The paths to every value; of a list, the first and the last entry stand for all.
fn paths(value: &Value) -> Vec<Vec<Step>> {
    let children: Vec<(Step, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| (Step::Key(key.clone()), value)).collect(),
        Value::Array(values) => {
            let mut ends = vec![0, values.len().saturating_sub(1)];
            ends.dedup();
            ends.iter().filter_map(|&index| Some((Step::Index(index), values.get(index)?))).collect()
        }
        _ => Vec::new(),
    };
    let mut all = Vec::new();
    for (step, child) in children {
        all.push(vec![step.clone()]);
        all.extend(paths(child).into_iter().map(|path| [std::slice::from_ref(&step), &path[..]].concat()));
    }
    all
}

fn at<'a>(value: &'a mut Value, path: &[Step]) -> &'a mut Value {
    path.iter().fold(value, |value, step| match step {
        Step::Key(key) => &mut value[key.as_str()],
        Step::Index(index) => &mut value[*index],
    })
}

/// What is put in the place of a value, and whether that makes no sense there.
fn instead(value: &Value) -> Vec<(Value, bool)> {
    let huge = json!(1e308);
    let mut others = vec![(Value::Null, true), (json!({}), !value.is_object()), (json!([]), true), (json!([[]]), true)];
    match value {
        Value::Number(number) => {
            let whole = number.is_u64();
            others.extend([(json!("x"), true), (json!(true), true), (huge, true), (json!(-1e308), true)]);
            others.extend([(json!(0), false), (json!(1), false), (json!(0.5), whole), (json!(5e-324), whole)]);
            others.extend([(json!(-1), whole), (json!(u64::MAX), false), (json!(1_000_000_000), false)]);
            others.push((
                number.as_u64().map_or(json!(number.as_f64().unwrap() + 0.25), |number| json!(number + 1)),
                false,
            ));
        }
        Value::String(text) => {
            others.extend([(json!(1), true), (json!(true), true), (huge, true)]);
            let strange = ["", "x", "-x", "--help", "\u{1b}[31m", "a\0b"];
            others.extend(strange.iter().map(|text| (json!(text), false)));
            others.push((json!(format!("{text}x")), false));
        }
        Value::Bool(yes) => others.extend([(json!("x"), true), (json!(1), true), (json!(!yes), false)]),
        Value::Array(values) => {
            others.extend([(json!("x"), true), (json!(1), true)]);
            let twice = [&values[..], &values[values.len().saturating_sub(1)..]].concat();
            others.push((Value::Array(twice), false));
        }
        Value::Object(_) | Value::Null => others.extend([(json!("x"), false), (json!(1), false)]),
    }
    others.retain(|(other, _)| other != value);
    others
}

/// Each value of a JSON text left out and replaced by others.
fn to_json(text: &Value) -> Vec<(String, String, bool, Value)> {
    let mut damages = Vec::new();
    for path in paths(text) {
        let (last, parents) = path.split_last().expect("a path has a step");
        let field = path.iter().rev().find_map(|step| match step {
            Step::Key(key) => Some(key.clone()),
            Step::Index(_) => None,
        });
        let field = field.unwrap_or_default();
        let mut without = text.clone();
        match (at(&mut without, parents), last) {
            (Value::Object(fields), Step::Key(key)) => drop(fields.remove(key)),
            (Value::Array(values), Step::Index(index)) => drop(values.remove(*index)),
            _ => unreachable!("the path was taken from the text"),
        }
        damages.push((format!("{} left out", shown(&path)), field.clone(), matches!(last, Step::Key(_)), without));
        let mut original = text.clone();
        for (other, senseless) in instead(at(&mut original, &path)) {
            let mut changed = text.clone();
            let what = format!("{} is {other}", shown(&path));
            *at(&mut changed, &path) = other;
            damages.push((what, field.clone(), senseless, changed));
        }
    }
    damages
}

/// Damages to a JSON file.
pub fn json(bytes: &[u8], other: &[u8]) -> Vec<Damage> {
    let text: Value = serde_json::from_slice(bytes).unwrap();
    let mut damages = to_the_whole(bytes, other);
    let fields = to_json(&text).into_iter().map(|(what, field, senseless, changed)| Damage {
        what,
        field: Some(field),
        senseless,
        bytes: changed.to_string().into_bytes(),
    });
    damages.extend(fields);
    damages
}

/// Damages to a CSV file: each column of the first and the last line.
pub fn csv(bytes: &[u8], other: &[u8]) -> Vec<Damage> {
    let mut damages = to_the_whole(bytes, other);
    // A table that ends after a line is whole again, and a name may be cut like anything else.
    damages.iter_mut().for_each(|damage| damage.senseless &= !damage.what.starts_with("cut at three"));
    let mut table = ::csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
    let rows: Vec<Vec<String>> = table.records().map(|row| row.unwrap().iter().map(String::from).collect()).collect();
    let write = |rows: &[Vec<String>]| {
        let mut table = ::csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
        rows.iter().for_each(|row| table.write_record(row).unwrap());
        table.into_inner().unwrap()
    };
    let damage = |what: String, field: Option<&str>, senseless, rows: &[Vec<String>]| Damage {
        what,
        field: field.map(String::from),
        senseless,
        bytes: write(rows),
    };
    damages.push(damage("the header alone".into(), None, false, &rows[..1]));
    damages.push(damage("the last line left out".into(), None, false, &rows[..rows.len() - 1]));
    damages.push(damage("the last line twice".into(), None, false, &[&rows[..], &rows[rows.len() - 1..]].concat()));
    for (column, name) in rows[0].iter().enumerate() {
        let without: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().enumerate().filter(|(at, _)| *at != column).map(|(_, cell)| cell.clone()).collect())
            .collect();
        damages.push(damage(format!("column {name} left out"), Some(name), true, &without));
        for line in [1, rows.len() - 1] {
            let is_number = rows[line][column].parse::<f64>().is_ok();
            let cells =
                ["", "x", "-1", "0", "1", "0.25", "NaN", "inf", "1e308", "-1e308", "5e-324", "99999999999999999999"];
            for cell in cells {
                let mut changed = rows.clone();
                changed[line][column] = cell.into();
                let senseless = is_number && ["", "x", "NaN", "inf", "1e308", "-1e308"].contains(&cell);
                damages.push(damage(
                    format!("{name} in line {} is {cell:?}", line + 1),
                    Some(name),
                    senseless,
                    &changed,
                ));
            }
            let mut short = rows.clone();
            short[line].truncate(column);
            damages.push(damage(format!("line {} ends before {name}", line + 1), None, rows[0].len() > 1, &short));
        }
    }
    damages
}

/// What a file of weights has in its header, beside its tensors.
const META: [&str; 2] = ["__metadata__", "convscope"];

/// Damages to a file of weights: its header, the description of the network in it, and its numbers. All but flipped bits have the
/// SHA-256 of what the file then says, so that they are for the checks behind that one to find.
pub fn weights(bytes: &[u8], other: &[u8]) -> Vec<Damage> {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let data = &bytes[8 + length..];
    let mut damages = to_the_whole(bytes, other);
    for length in [0, u64::MAX, data.len() as u64] {
        let bytes = [&length.to_le_bytes(), &bytes[8..]].concat();
        damages.push(Damage { what: format!("a header of {length} bytes"), field: None, senseless: true, bytes });
    }
    // Some in the header, some in the numbers.
    for place in (8..bytes.len()).step_by(bytes.len() / 100 + 1) {
        let mut bytes = bytes.to_vec();
        bytes[place] ^= 1;
        damages.push(Damage { what: format!("a bit of byte {place}"), field: None, senseless: true, bytes });
    }
    for (what, _, senseless, changed) in to_json(&header) {
        // The offsets are counted in bytes, so that no field is to blame but the file.
        damages.push(Damage { what, field: None, senseless, bytes: whole(&changed, data) });
    }
    let text = header[META[0]][META[1]].as_str().unwrap();
    let meta = described_by(text).unwrap();
    let bytes = put_together(&described(&header, &meta), data);
    damages.push(Damage { what: "no SHA-256".into(), field: None, senseless: true, bytes });
    let meta: Value = serde_json::from_str(&meta).unwrap();
    for (what, field, senseless, changed) in to_json(&meta) {
        let header = described(&header, &changed.to_string());
        damages.push(Damage { what, field: Some(field), senseless, bytes: whole(&header, data) });
    }
    for (name, tensor) in header.as_object().unwrap().iter().filter(|(name, _)| *name != META[0]) {
        damages.extend(to_numbers(name, tensor, data, &|data| whole(&header, data)));
    }
    damages
}

fn put_together(header: &Value, data: &[u8]) -> Vec<u8> {
    let header = header.to_string().into_bytes();
    [&(header.len() as u64).to_le_bytes(), &header[..], data].concat()
}

fn described(header: &Value, meta: &str) -> Value {
    let mut header = header.clone();
    header[META[0]][META[1]] = json!(meta);
    header
}

/// What a file says of itself, without the SHA-256 at its end, if it has one.
fn described_by(text: &str) -> Option<String> {
    let text = text.strip_suffix('}')?;
    let meta = text.split(",\"sha256\":\"").next()?;
    Some(format!("{meta}}}"))
}

/// A file that has the SHA-256 of what it says, where that makes sense.
fn whole(header: &Value, data: &[u8]) -> Vec<u8> {
    let Some(meta) = header[META[0]][META[1]].as_str().and_then(described_by) else {
        return put_together(header, data);
    };
    let mut digest = Sha256::new();
    let mut part = |bytes: &[u8]| digest.update([&(bytes.len() as u64).to_le_bytes(), bytes].concat());
    part(meta.as_bytes());
    // In the order of their names, as a map of serde_json has them.
    for (name, tensor) in header.as_object().unwrap().iter().filter(|(name, _)| *name != META[0]) {
        let shape = tensor["shape"].to_string().replace(',', ", ");
        let [start, end] = [0, 1].map(|at| tensor["data_offsets"][at].as_u64().unwrap_or_default() as usize);
        part(name.as_bytes());
        part(format!("{} {shape}", tensor["dtype"].as_str().unwrap_or_default()).as_bytes());
        part(data.get(start..end).unwrap_or_default());
    }
    let digest: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    put_together(&described(header, &format!("{},\"sha256\":\"{digest}\"}}", &meta[..meta.len() - 1])), data)
}

/// The first number of a tensor, and all of them, replaced.
fn to_numbers(name: &str, tensor: &Value, data: &[u8], whole: &dyn Fn(&[u8]) -> Vec<u8>) -> Vec<Damage> {
    let offsets = &tensor["data_offsets"];
    let [start, end] = [0, 1].map(|at| offsets[at].as_u64().unwrap() as usize);
    let mut damages = Vec::new();
    if tensor["dtype"] != "F32" {
        return damages;
    }
    for value in [f32::NAN, f32::INFINITY, f32::MAX, f32::MIN, 1e30, 0.0, -1.0] {
        for count in [1, (end - start) / 4] {
            let mut changed = data.to_vec();
            changed[start..start + 4 * count]
                .chunks_mut(4)
                .for_each(|place| place.copy_from_slice(&value.to_le_bytes()));
            let what = format!("{count} numbers of {name} are {value}");
            let senseless = !value.is_finite() || (value < 0.0 && name.ends_with("running_var"));
            damages.push(Damage { what, field: Some(name.into()), senseless, bytes: whole(&changed) });
        }
    }
    damages
}
