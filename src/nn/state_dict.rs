//! The weights that a file of another program holds: a `state_dict` of PyTorch, as `torch.save` or safetensors wrote it.

use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Read};

use anyhow::{Context, Result, bail, ensure};
use safetensors::tensor::{Dtype, TensorView};
use zip::{CompressionMethod, ZipArchive};

use super::checkpoint::opened;
use super::pickle::{Number, Pickle, Tensor, Value};

/// Where the weights lie in what is saved between epochs of training.
const NESTED: [&str; 3] = ["state_dict", "model_state_dict", "model"];
/// What PyTorch's `DataParallel` and `compile` put before each key.
const PREFIXES: [&str; 2] = ["module.", "_orig_mod."];
/// The most bytes of a tensor's name.
const LONGEST_NAME: usize = 1000;
/// What helps where a file cannot be used as it is.
const AGAIN: &str = "load it in a current PyTorch and save it anew: torch.save(torch.load(FILE, map_location=\"cpu\"), \"weights.pth\")";

/// Tensors by their key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDict {
    tensors: BTreeMap<String, Entry>,
}

/// A tensor's shape and numbers.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    shape: Vec<usize>,
    numbers: Numbers,
}

/// Weights, or counts of batches.
#[derive(Clone, Debug, PartialEq)]
enum Numbers {
    Real(Vec<f32>),
    Whole(Vec<i64>),
}

impl StateDict {
    /// Reads a safetensors file, or one of `torch.save`.
    ///
    /// # Errors
    /// When it is neither, is broken, or holds anything else than the tensors of a network.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let tensors = if bytes.starts_with(b"PK\x03\x04") {
            from_zip(bytes)?
        } else if bytes.get(8) == Some(&b'{') {
            from_safetensors(bytes)?
        } else if bytes.first() == Some(&0x80) {
            bail!("it has the form of PyTorch before 1.6; {AGAIN}");
        } else {
            bail!("it is neither a safetensors file nor one of torch.save");
        };
        ensure!(!tensors.is_empty(), "it holds no tensors");
        Ok(Self { tensors: without_prefixes(tensors) })
    }

    /// The shape of each tensor, by its key; none of the counters of batch norm, which files may lack.
    pub fn shapes(&self) -> BTreeMap<&str, &[usize]> {
        let real = self.tensors.iter().filter(|(_, entry)| matches!(entry.numbers, Numbers::Real(_)));
        real.map(|(name, entry)| (&name[..], &entry.shape[..])).collect()
    }

    /// The same as a safetensors file, for those who read one.
    pub fn to_safetensors(&self) -> Vec<u8> {
        let bytes: Vec<_> = self.tensors.values().map(|entry| entry.numbers.bytes()).collect();
        let views = self.tensors.iter().zip(&bytes).map(|((name, entry), (dtype, bytes))| {
            let view = TensorView::new(*dtype, entry.shape.clone(), bytes);
            (name, view.expect("the shape agrees with the numbers"))
        });
        safetensors::serialize(views, None).expect("views agree with their bytes")
    }
}

impl Numbers {
    fn bytes(&self) -> (Dtype, Vec<u8>) {
        match self {
            Self::Real(numbers) => (Dtype::F32, numbers.iter().flat_map(|number| number.to_le_bytes()).collect()),
            Self::Whole(numbers) => (Dtype::I64, numbers.iter().flat_map(|number| number.to_le_bytes()).collect()),
        }
    }

    /// Numbers of this type at these places of their bytes.
    fn read(number: Number, bytes: &[u8], places: impl Iterator<Item = usize>) -> Self {
        let size = number.size();
        let at = places.map(|place| &bytes[place * size..(place + 1) * size]);
        match number {
            Number::F16 => Self::Real(at.map(|bytes| half(bits(bytes))).collect()),
            Number::BF16 => Self::Real(at.map(|bytes| f32::from_bits(u32::from(bits(bytes)) << 16)).collect()),
            Number::F32 => Self::Real(at.map(|bytes| f32::from_le_bytes(exactly(bytes))).collect()),
            Number::F64 => Self::Real(at.map(|bytes| f64::from_le_bytes(exactly(bytes)) as f32).collect()),
            Number::I64 => Self::Whole(at.map(|bytes| i64::from_le_bytes(exactly(bytes))).collect()),
        }
    }
}

fn exactly<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("a number has as many bytes as its type")
}

fn bits(bytes: &[u8]) -> u16 {
    u16::from_le_bytes(exactly(bytes))
}

/// A number of 16 bits: sign, five bits of the exponent, ten of the fraction.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff) / 1024.0);
    sign * match exponent {
        0 => fraction * 2.0f32.powi(-14),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction) * 2.0f32.powi(exponent - 15),
    }
}

fn from_safetensors(bytes: &[u8]) -> Result<BTreeMap<String, Entry>> {
    let file = opened(bytes)?;
    let entry = |(name, tensor): (String, TensorView)| {
        let number = match tensor.dtype() {
            Dtype::F16 => Number::F16,
            Dtype::BF16 => Number::BF16,
            Dtype::F32 => Number::F32,
            Dtype::F64 => Number::F64,
            Dtype::I64 => Number::I64,
            other => bail!("tensor {name:?} has numbers of the type {other:?}: expected F16, BF16, F32, F64 or I64"),
        };
        let count = tensor.data().len() / number.size();
        let numbers = Numbers::read(number, tensor.data(), 0..count);
        Ok((name, Entry { shape: tensor.shape().to_vec(), numbers }))
    };
    file.tensors().into_iter().map(entry).collect()
}

/// Reads what `torch.save` writes: a zip archive of a pickle and a file for each storage.
fn from_zip(bytes: &[u8]) -> Result<BTreeMap<String, Entry>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).context("not a readable zip archive")?;
    let names = archive.file_names().map(|name| Ok(name?.into_owned()));
    let names: Vec<String> = names.collect::<Result<_>>().context("not a readable zip archive")?;
    let pickles: Vec<&String> = names.iter().filter(|name| name.ends_with("/data.pkl")).collect();
    let [pickle] = &pickles[..] else { bail!("it is a zip archive, but not one of torch.save") };
    let root = pickle.trim_end_matches("data.pkl");
    let scripted = names.iter().any(|name| name.starts_with(&format!("{root}code/")));
    ensure!(
        !scripted,
        "it is a program of TorchScript; save its weights alone: torch.save(model.state_dict(), \"weights.pth\")"
    );
    let order = format!("{root}byteorder");
    if names.contains(&order) {
        let order = stored(&mut archive, &order, bytes.len())?;
        ensure!(order == b"little", "its numbers have their bytes in another order than little; {AGAIN}");
    }
    let text = stored(&mut archive, pickle, bytes.len())?;
    let (pickle, top) = Pickle::read(&text)?;
    let found = state_dict(&pickle, top)?;

    // Where an archive is as torch.save writes it, all storages together are no larger than it, and no number is in two tensors.
    let mut storages: HashMap<&str, Vec<u8>> = HashMap::new();
    let (mut held, mut count) = (0, 0usize);
    let mut tensors = BTreeMap::new();
    for (name, tensor) in found {
        let key = &pickle.storages[tensor.storage].key[..];
        if !storages.contains_key(key) {
            let numbers = stored(&mut archive, &format!("{root}data/{key}"), bytes.len() - held);
            let numbers = numbers.with_context(|| format!("tensor {name:?}"))?;
            held += numbers.len();
            storages.insert(key, numbers);
        }
        let places = places(tensor, storages[key].len()).with_context(|| format!("tensor {name:?}"))?;
        count = count.saturating_add(places.len());
        ensure!(count <= bytes.len(), "its tensors have more numbers than the file has bytes");
        let numbers = Numbers::read(tensor.number, &storages[key], places);
        let before = tensors.insert(name.to_string(), Entry { shape: tensor.shape.clone(), numbers });
        ensure!(before.is_none(), "there are two tensors {name:?}");
    }
    Ok(tensors)
}

/// A file of the archive of up to `most` bytes, which `torch.save` does not compress.
fn stored(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str, most: usize) -> Result<Vec<u8>> {
    let broken = || format!("{name:?} cannot be read from the archive: the file is damaged or cut off");
    let file = archive.by_name(name).with_context(broken)?;
    ensure!(file.compression() == CompressionMethod::Stored, "{name:?} is compressed, as torch.save never does");
    let size = usize::try_from(file.size()).ok().filter(|&size| size <= most).with_context(broken)?;
    let mut content = Vec::with_capacity(size);
    file.take(size as u64).read_to_end(&mut content).with_context(broken)?;
    ensure!(content.len() == size, "{}", broken());
    Ok(content)
}

/// The tensors of what a pickle describes, which may lie a few dictionaries deep.
fn state_dict(pickle: &Pickle, top: Value) -> Result<Vec<(&str, &Tensor)>> {
    let mut within = top;
    for _ in 0..3 {
        let pairs = pickle.dict(within).context("it holds no dictionary of tensors")?;
        let pairs: Vec<(&str, Value)> = pairs.collect();
        let nested = NESTED
            .iter()
            .find_map(|name| pairs.iter().find(|(key, value)| key == name && matches!(value, Value::Dict(_))));
        match nested {
            Some((_, value)) => within = *value,
            None => {
                let tensor = |name: &str, value| {
                    let length = name.len();
                    ensure!(length <= LONGEST_NAME, "a name has {length} bytes: expected up to {LONGEST_NAME}");
                    let tensor = pickle.tensor(value);
                    tensor.with_context(|| format!("{name:?} is no tensor; expected a dictionary of tensors"))
                };
                return pairs.into_iter().map(|(name, value)| Ok((name, tensor(name, value)?))).collect();
            }
        }
    }
    bail!("its tensors lie too deep: save them alone, in Python: torch.save(model.state_dict(), \"weights.pth\")")
}

/// Where the numbers of a tensor lie in its storage of so many bytes, the last dimension fastest.
fn places(tensor: &Tensor, bytes: usize) -> Result<impl ExactSizeIterator<Item = usize>> {
    let Tensor { number, offset, shape, strides, .. } = tensor;
    let there = bytes / number.size();
    let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
    let count = count.filter(|&count| count <= there);
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(*offset, |last, (&size, &stride)| last.checked_add(stride.checked_mul(size.saturating_sub(1))?));
    let fits = count == Some(0) || last.is_some_and(|last| last < there);
    let count = count.filter(|_| fits).with_context(|| format!("its numbers are not all there: shape {shape:?}"))?;
    let place = move |index: usize| {
        let dimensions = shape.iter().zip(strides).rev();
        dimensions
            .fold((index, *offset), |(rest, place), (&size, &stride)| (rest / size, place + rest % size * stride))
            .1
    };
    Ok((0..count).map(place))
}

fn without_prefixes(mut tensors: BTreeMap<String, Entry>) -> BTreeMap<String, Entry> {
    while let Some(prefix) = PREFIXES.iter().find(|prefix| tensors.keys().all(|name| name.starts_with(*prefix))) {
        tensors = tensors.into_iter().map(|(name, entry)| (name[prefix.len()..].to_string(), entry)).collect();
    }
    tensors
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    /// Texts, sizes and tensors as a pickle has them.
    fn text(text: &str) -> Vec<u8> {
        [b"\x8c".to_vec(), vec![text.len() as u8], text.into()].concat()
    }

    fn sizes(sizes: &[u32]) -> Vec<u8> {
        let numbers = sizes.iter().flat_map(|size| [vec![b'J'], size.to_le_bytes().to_vec()].concat());
        [b"(".to_vec(), numbers.collect(), b"t".to_vec()].concat()
    }

    fn tensor(storage: &str, key: &str, offset: u32, shape: &[u32], strides: &[u32]) -> Vec<u8> {
        let storage = format!("ctorch\n{storage}\n").into_bytes();
        let id = [b"(".to_vec(), text("storage"), storage, text(key), text("cpu"), b"K\x01tQ".to_vec()].concat();
        let offset = [vec![b'J'], offset.to_le_bytes().to_vec()].concat();
        let call = b"ctorch._utils\n_rebuild_tensor_v2\n(".to_vec();
        [call, id, offset, sizes(shape), sizes(strides), b"\x89}tR".to_vec()].concat()
    }

    fn dict(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let pairs = pairs.iter().flat_map(|(key, value)| [text(key), value.clone()].concat());
        [b"}(".to_vec(), pairs.collect(), b"u".to_vec()].concat()
    }

    /// An archive of `torch.save` with these storages.
    fn saved(value: &[u8], storages: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        let pickle = [b"\x80\x02", value, b"."].concat();
        let files = [("x/data.pkl".to_string(), &pickle)].into_iter();
        for (name, content) in files.chain(storages.iter().map(|(key, content)| (format!("x/data/{key}"), content))) {
            archive.start_file(name, options).unwrap();
            archive.write_all(content).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    fn floats(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn real(dict: &StateDict, name: &str) -> (Vec<usize>, Vec<f32>) {
        let Entry { shape, numbers: Numbers::Real(numbers) } = &dict.tensors[name] else { panic!("{name} is whole") };
        (shape.clone(), numbers.clone())
    }

    fn error(bytes: &[u8]) -> String {
        format!("{:#}", StateDict::from_bytes(bytes).unwrap_err())
    }

    #[test]
    fn tensors_lie_where_offset_and_strides_say() {
        let numbers = floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let value = dict(&[
            ("module._orig_mod.plain", tensor("FloatStorage", "0", 1, &[2, 3], &[3, 1])),
            ("module._orig_mod.turned", tensor("FloatStorage", "0", 1, &[3, 2], &[1, 3])),
            ("module._orig_mod.count", tensor("LongStorage", "1", 0, &[], &[])),
        ]);
        let found = StateDict::from_bytes(&saved(&value, &[("0", numbers), ("1", 7i64.to_le_bytes().into())])).unwrap();
        assert_eq!(real(&found, "plain"), (vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        assert_eq!(real(&found, "turned"), (vec![3, 2], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
        assert_eq!(found.tensors["count"].numbers, Numbers::Whole(vec![7]));
        assert_eq!(found.shapes().keys().copied().collect::<Vec<_>>(), ["plain", "turned"]);
        assert_eq!(StateDict::from_bytes(&found.to_safetensors()).unwrap(), found);
    }

    #[test]
    fn numbers_of_every_type_are_read() {
        for (storage, bytes, expected) in [
            (
                "HalfStorage",
                [0x3c00u16, 0xc000, 0x0001, 0x3555].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>(),
                [1.0, -2.0, 2.0f32.powi(-24), 0.333_251_95],
            ),
            (
                "BFloat16Storage",
                [0x3f80u16, 0xc000, 0x3380, 0x3eab].iter().flat_map(|n| n.to_le_bytes()).collect(),
                [1.0, -2.0, 2.0f32.powi(-24), 0.333_984_38],
            ),
            (
                "DoubleStorage",
                [1.0f64, -2.0, 0.1, 1e-30].iter().flat_map(|n| n.to_le_bytes()).collect(),
                [1.0, -2.0, 0.1, 1e-30],
            ),
        ] {
            let value = dict(&[("a", tensor(storage, "0", 0, &[4], &[1]))]);
            assert_eq!(
                real(&StateDict::from_bytes(&saved(&value, &[("0", bytes)])).unwrap(), "a").1,
                expected,
                "{storage}"
            );
        }
        assert!(half(0x7c01).is_nan() && half(0xfc00) == f32::NEG_INFINITY);
    }

    #[test]
    fn what_is_saved_between_epochs_is_unwrapped() {
        let weights = dict(&[("a", tensor("FloatStorage", "0", 0, &[1], &[1]))]);
        let epoch = ("epoch", b"K\x03".to_vec());
        for name in NESTED {
            let value = dict(&[epoch.clone(), (name, weights.clone())]);
            let found = StateDict::from_bytes(&saved(&value, &[("0", floats(&[2.5]))])).unwrap();
            assert_eq!(real(&found, "a").1, [2.5]);
        }
        let other = error(&saved(&dict(&[epoch]), &[]));
        assert!(other.contains("\"epoch\" is no tensor"), "{other}");
    }

    #[test]
    fn a_tensor_beyond_its_numbers_is_refused() {
        for (offset, shape, strides) in [
            (1, &[2, 3][..], &[3, 1][..]),
            (0, &[7], &[1]),
            (0, &[2], &[6]),
            (0, &[1000], &[0]),
            (u32::MAX >> 1, &[1], &[1]),
            (0, &[u32::MAX >> 1; 4], &[u32::MAX >> 1; 4]),
            (0, &[2, 1], &[0xffff_ffff, 1]),
        ] {
            let value = dict(&[("a", tensor("FloatStorage", "0", offset, shape, strides))]);
            let told = error(&saved(&value, &[("0", floats(&[0.0; 6]))]));
            assert!(told.contains("tensor"), "{shape:?}: {told}");
        }
        let many: Vec<String> = (0..100).map(|number| format!("{number}")).collect();
        let many: Vec<(&str, Vec<u8>)> =
            many.iter().map(|name| (&name[..], tensor("FloatStorage", "0", 0, &[50_000], &[1]))).collect();
        let told = error(&saved(&dict(&many), &[("0", floats(&[0.0; 50_000]))]));
        assert!(told.contains("more numbers than the file has bytes"), "{told}");
    }

    /// Recalled again and again, a long name would be copied for each of many empty tensors.
    #[test]
    fn names_are_bounded_and_there_once() {
        let empty = tensor("FloatStorage", "0", 0, &[0], &[1]);
        let long = "a".repeat(LONGEST_NAME + 1);
        let named = |name: &str, times: usize| {
            let name = [&b"X"[..], &(name.len() as u32).to_le_bytes(), name.as_bytes(), b"q\0"].concat();
            let first = [name, empty.clone(), b"q\x01".to_vec()].concat();
            saved(&[b"}(".to_vec(), first, b"h\0h\x01".repeat(times), b"u".to_vec()].concat(), &[("0", Vec::new())])
        };
        assert!(StateDict::from_bytes(&named("a", 0)).is_ok());
        assert!(error(&named(&long, 0)).contains("a name has 1001 bytes: expected up to 1000"));
        assert!(error(&named("a", 1)).contains("there are two tensors \"a\""));
    }

    #[test]
    fn damaged_files_are_refused() {
        let value = dict(&[("a", tensor("FloatStorage", "0", 0, &[2, 3], &[3, 1]))]);
        let whole = saved(&value, &[("0", floats(&[1.0; 6]))]);
        for end in (0..whole.len()).step_by(7) {
            assert!(StateDict::from_bytes(&whole[..end]).is_err(), "cut off at {end}");
        }
        for place in 0..whole.len() {
            for byte in [0, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[place] = byte;
                drop(StateDict::from_bytes(&changed));
            }
        }
        for (bytes, told) in [
            (saved(&value, &[]), "\"x/data/0\" cannot be read"),
            (saved(&value, &[("0", floats(&[1.0; 5]))]), "not all there: shape [2, 3]"),
            (saved(b"cos\nsystem\n(X\x02\0\0\0lstR", &[]), "\"os\" \"system\""),
            (saved(b"K\x01", &[]), "no dictionary"),
            (saved(b"}", &[]), "no tensors"),
            (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec(), "before 1.6; load it in a current PyTorch"),
            (b"GIF89a".to_vec(), "neither a safetensors file nor one of torch.save"),
            (Vec::new(), "neither"),
        ] {
            let error = error(&bytes);
            assert!(error.contains(told), "{told}: {error}");
        }
    }
}
