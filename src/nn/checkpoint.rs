//! Weights on the host: how they start, and how they are stored so that PyTorch reads them with
//! `load_state_dict(strict=True)`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::nn::{Architecture, Network, Parameter, Preparation, Start};

/// A trained network with what is needed to use it.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// What it says of itself.
    pub meta: Meta,
    /// The network that this describes.
    pub network: Network,
    /// Its numbers.
    pub weights: Weights,
}

/// What a checkpoint says of itself, beside its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// The network.
    #[serde(rename = "spec")]
    pub architecture: Architecture,
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// How images are prepared for it.
    #[serde(default, skip_serializing_if = "Preparation::is_usual")]
    pub preparation: Preparation,
    /// Passes over the training images so far.
    pub epoch: usize,
    /// Whether it was trained on images that the program drew: such a network has never seen a photo.
    pub drawn: bool,
    /// What the weights belong to: the `id` of a run's settings, or what a network of a study was made of. Files of older
    /// versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// Mean loss of a run's validation images after that epoch, as its metrics have it. Files of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_loss: Option<f64>,
}

/// Tensors by their key in PyTorch's `state_dict`, in PyTorch's layout.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// Trained tensors and running statistics.
    pub tensors: BTreeMap<String, Vec<f32>>,
    /// How many training batches each batch norm has seen, by the key of its `num_batches_tracked`.
    pub counters: BTreeMap<String, i64>,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file is no safetensors file, or a broken one.
    #[error("not a readable safetensors file")]
    Unreadable(#[from] safetensors::SafeTensorError),
    /// The file's header takes more memory than that of any network.
    #[error("its header has {0} bytes: expected up to {MOST_HEADER}")]
    Header(usize),
    /// The file was not written by this program.
    #[error(
        "the file does not describe its network (no \"convscope\" entry in its metadata): use a checkpoint written by `convscope train`"
    )]
    NoMeta,
    /// The file was written by this program, but not as it is now.
    #[error("{0}")]
    Changed(&'static str),
    /// The description of the network cannot be understood.
    #[error("the file's description of its network cannot be used: {0}")]
    BadMeta(String),
    /// A tensor is missing or has another type or shape than the network needs.
    #[error("tensor \"{name}\": {problem}")]
    Tensor {
        /// Its key.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

const META_KEY: &str = "convscope";
/// What the description of a file ends with, behind which come the SHA-256 of all else that the file says, and [`SEAL_END`].
const SEAL: &str = ",\"sha256\":\"";
const SEAL_END: &str = "\"}";
/// The most bytes of a header, which takes up to sixteen times as much memory; one of a network with a thousand tensors has a tenth of a
/// million.
const MOST_HEADER: usize = 1 << 22;
/// How the names of the running variances end.
const VARIANCE: &str = ".running_var";

/// Everything that is stored: trained tensors, then running statistics.
fn stored(network: &Network) -> impl Iterator<Item = Parameter> {
    network.parameters().into_iter().chain(network.statistics())
}

impl Weights {
    /// The weights that a network starts from, by PyTorch's default initialisation: convolutions and linear layers uniform
    /// between -1/sqrt(fan_in) and 1/sqrt(fan_in) (`kaiming_uniform_(a = sqrt(5))`), their biases likewise; batch norm 1 and 0.
    pub fn initial(network: &Network, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut tensors = BTreeMap::new();
        for parameter in stored(network) {
            let values = (0..parameter.layout.len()).map(|_| match parameter.start {
                Start::Uniform { fan_in } => {
                    let bound = 1.0 / (fan_in as f32).sqrt();
                    rng.random_range(-bound..bound)
                }
                Start::Constant(value) => value.into(),
            });
            tensors.insert(parameter.name, values.collect());
        }
        Self { tensors, counters: network.counters().map(|name| (name, 0)).collect() }
    }

    /// Reads the tensors of a safetensors file that holds the `state_dict` of this network in PyTorch, which may lack the
    /// counters of batch norm. How the file describes its network is not looked at.
    ///
    /// # Errors
    /// When the file is broken, this program wrote it and it has been changed since, or its tensors are not those of the network.
    pub fn from_state_dict(bytes: &[u8], network: &Network) -> Result<Self, CheckpointError> {
        let (file, _) = unsealed(bytes)?;
        Self::read(&file, network, &[], &Self::default())
    }

    /// Reads the same file for a network that is to go on learning from there. A last layer for another number of classes keeps
    /// the weights that it has in `initial`; whether it does is returned.
    ///
    /// # Errors
    /// As [`Weights::from_state_dict`].
    pub fn to_go_on_from(bytes: &[u8], network: &Network, initial: &Self) -> Result<(Self, bool), CheckpointError> {
        let (file, _) = unsealed(bytes)?;
        let classifier = network.nodes().last().expect("a network has a last layer").parameters();
        // Of a weight (classes, inputs) and a bias (classes), the classes alone may differ.
        let other = |parameter: &Parameter| {
            let found = file.tensor(&parameter.name).ok()?.shape().to_vec();
            (found.len() == parameter.shape.len() && found[1..] == parameter.shape[1..]).then_some(found[0])
        };
        let classes: Vec<_> = classifier.iter().map(other).collect();
        let same = classes.windows(2).all(|pair| pair[0] == pair[1]);
        let anew = same && classes.first().is_some_and(|found| found.is_some_and(|found| found != network.classes()));
        let kept = if anew { &classifier[..] } else { &[] };
        let weights = Self::read(&file, network, kept, initial)?;
        Ok((weights, anew))
    }

    /// The tensors of a file, but those in `kept`, which are `other`'s.
    fn read(
        file: &SafeTensors<'_>,
        network: &Network,
        kept: &[Parameter],
        other: &Self,
    ) -> Result<Self, CheckpointError> {
        let mut tensors = BTreeMap::new();
        for parameter in stored(network) {
            let values = match kept.iter().any(|kept| kept.name == parameter.name) {
                true => other.get(&parameter.name).to_vec(),
                false => read_tensor(file, &parameter)?,
            };
            tensors.insert(parameter.name, values);
        }
        let counter = |name: String| read_counter(file, &name).map(|count| (name, count));
        let counters: BTreeMap<String, i64> = network.counters().map(counter).collect::<Result<_, _>>()?;
        let known = |name: &&str| tensors.contains_key(*name) || counters.contains_key(*name);
        if let Some(name) = file.names().into_iter().filter(|name| !known(name)).min() {
            return Err(problem(name, "does not belong to the network"));
        }
        Ok(Self { tensors, counters })
    }

    /// The tensor with this key.
    ///
    /// # Panics
    /// When there is none.
    pub fn get(&self, name: &str) -> &[f32] {
        self.tensors.get(name).unwrap_or_else(|| panic!("there is no tensor \"{name}\""))
    }
}

impl Meta {
    /// Reads what a safetensors file says of itself, without its tensors.
    ///
    /// # Errors
    /// When the file is broken, has been changed, or does not describe its network.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let (_, meta) = unsealed(bytes)?;
        Self::from_text(&meta.ok_or(CheckpointError::NoMeta)?)
    }

    fn from_text(text: &str) -> Result<Self, CheckpointError> {
        let mut text = serde_json::Deserializer::from_str(text);
        let meta: Meta = serde_path_to_error::deserialize(&mut text)
            .map_err(|error| CheckpointError::BadMeta(field_problem(&error)))?;
        text.end().map_err(|error| CheckpointError::BadMeta(error.to_string()))?;
        Ok(meta)
    }

    /// The network that it describes.
    ///
    /// # Errors
    /// When there is no such network, or not for so many classes.
    pub fn network(&self) -> Result<Network, CheckpointError> {
        let network = self.architecture.build().map_err(|error| CheckpointError::BadMeta(error.to_string()))?;
        if self.classes.len() != network.classes() {
            let problem = format!("{} class names for {} classes", self.classes.len(), network.classes());
            return Err(CheckpointError::BadMeta(problem));
        }
        Ok(network.prepared(self.preparation))
    }
}

impl Checkpoint {
    /// A network that has learned nothing.
    #[cfg(test)]
    pub fn initial(meta: Meta) -> Self {
        let network = meta.network().expect("there is such a network");
        Self { weights: Weights::initial(&network, 0), network, meta }
    }

    /// The bytes of a safetensors file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let shapes: BTreeMap<String, Vec<usize>> =
            stored(&self.network).map(|parameter| (parameter.name, parameter.shape)).collect();
        let tensors = self.weights.tensors.iter();
        let tensors: Vec<_> = tensors.map(|(name, values)| (name.clone(), shapes[name].clone(), &values[..])).collect();
        let counters: Vec<_> = self.weights.counters.iter().map(|(name, count)| (name.clone(), *count)).collect();
        let meta = serde_json::to_string(&self.meta).expect("a description is always valid JSON");
        sealed(&meta, &tensors, &counters)
    }

    /// Reads the bytes of a safetensors file that [`Checkpoint::to_bytes`] made.
    ///
    /// # Errors
    /// When the file is broken, has been changed, does not describe its network, or its tensors do not fit that description.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let (file, meta) = unsealed(bytes)?;
        let meta = Meta::from_text(&meta.ok_or(CheckpointError::NoMeta)?)?;
        let network = meta.network()?;
        let weights = Weights::read(&file, &network, &[], &Weights::default())?;
        Ok(Self { weights, network, meta })
    }
}

/// The bytes of a safetensors file with these tensors, by name, shape and numbers, and counters, which says `about`, a JSON object, of
/// itself, and the SHA-256 of all that.
pub(crate) fn sealed(about: &str, tensors: &[(String, Vec<usize>, &[f32])], counters: &[(String, i64)]) -> Vec<u8> {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let tensors: Vec<_> = tensors.iter().map(|(name, shape, values)| (name, shape, bytes(values))).collect();
    let counters: Vec<_> = counters.iter().map(|(name, count)| (name, count.to_le_bytes())).collect();
    let mut views: Vec<(String, TensorView<'_>)> =
        tensors.iter().map(|(name, shape, bytes)| ((*name).clone(), view(Dtype::F32, shape.to_vec(), bytes))).collect();
    views.extend(counters.iter().map(|(name, count)| ((*name).clone(), view(Dtype::I64, vec![], count))));
    let seal = digest(about, &mut views);
    let about = about.strip_suffix('}').expect("it is a JSON object");
    // One entry only: a map of several would be written in a random order.
    let about = HashMap::from([(META_KEY.to_string(), format!("{about}{SEAL}{seal}{SEAL_END}"))]);
    safetensors::serialize(views, Some(about)).expect("views agree with their bytes")
}

/// The tensors of a safetensors file and, where this program wrote it, what it says of itself. Such a file is refused where a bit
/// of it is another than was written; those of PyTorch have nothing that would tell.
pub(crate) fn unsealed(bytes: &[u8]) -> Result<(SafeTensors<'_>, Option<String>), CheckpointError> {
    let file = opened(bytes)?;
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let Some(text) = header.metadata().as_ref().and_then(|entries| entries.get(META_KEY)) else {
        return Ok((file, None));
    };
    let parts = text.strip_suffix(SEAL_END).and_then(|text| text.rsplit_once(SEAL));
    let Some((meta, seal)) = parts else {
        let problem =
            "the file has no SHA-256 of its content: it was changed, or is of a version of convscope that wrote none";
        return Err(CheckpointError::Changed(problem));
    };
    let meta = format!("{meta}}}");
    if digest(&meta, &mut file.tensors()) != seal {
        let problem = "the file is damaged or was changed: its content is not that of its SHA-256";
        return Err(CheckpointError::Changed(problem));
    }
    Ok((file, Some(meta)))
}

/// SHA-256, in hexadecimal, of a description and of tensors, which are put in the order of their names: of each text, and of the name,
/// type and shape (as `F32 [2, 3]`) and numbers of each tensor, its length in bytes as 8 bytes, then itself.
fn digest(meta: &str, tensors: &mut [(String, TensorView<'_>)]) -> String {
    tensors.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut digest = Sha256::new();
    let mut part = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    part(meta.as_bytes());
    for (name, tensor) in tensors {
        part(name.as_bytes());
        part(format!("{:?} {:?}", tensor.dtype(), tensor.shape()).as_bytes());
        part(tensor.data());
    }
    Digest::from(digest).to_string()
}

/// The tensors of a safetensors file.
pub(super) fn opened(bytes: &[u8]) -> Result<SafeTensors<'_>, CheckpointError> {
    check_header(bytes)?;
    Ok(SafeTensors::deserialize(bytes)?)
}

/// Checks that the header, whose length comes first, is no larger than can be. One that is not there at all is not looked at.
fn check_header(bytes: &[u8]) -> Result<(), CheckpointError> {
    let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(()) };
    match usize::try_from(u64::from_le_bytes(*length)) {
        Ok(length) if (MOST_HEADER + 1..=rest.len()).contains(&length) => Err(CheckpointError::Header(length)),
        _ => Ok(()),
    }
}

/// What is wrong with which field of a JSON text.
pub(crate) fn field_problem<E: Display>(error: &serde_path_to_error::Error<E>) -> String {
    let field = error.path().to_string();
    // What is wrong with the whole, or with one of the fields that are read before it is known whose they are.
    if field == "." || field == "?" { error.inner().to_string() } else { format!("{field}: {}", error.inner()) }
}

fn problem(name: &str, problem: impl Into<String>) -> CheckpointError {
    CheckpointError::Tensor { name: name.into(), problem: problem.into() }
}

/// The numbers of a tensor, which must be finite, and of variances not negative.
pub(crate) fn read_tensor(
    file: &SafeTensors<'_>,
    Parameter { name, shape, .. }: &Parameter,
) -> Result<Vec<f32>, CheckpointError> {
    let tensor = file.tensor(name).map_err(|_| problem(name, "is missing"))?;
    if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
        let found = format!("is {:?} of shape {:?}, expected F32 of shape {shape:?}", tensor.dtype(), tensor.shape());
        return Err(problem(name, found));
    }
    let (values, _) = tensor.data().as_chunks::<4>();
    let values: Vec<f32> = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    if values.iter().any(|value| !value.is_finite()) {
        return Err(problem(name, "holds a number that is not finite"));
    }
    if name.ends_with(VARIANCE) && values.iter().any(|&value| value < 0.0) {
        return Err(problem(name, "holds a negative number, which no variance is"));
    }
    Ok(values)
}

/// Files that were not written by PyTorch or this program may lack the counters; nothing depends on them.
pub(crate) fn read_counter(file: &SafeTensors<'_>, name: &str) -> Result<i64, CheckpointError> {
    let Ok(tensor) = file.tensor(name) else { return Ok(0) };
    let count = tensor.data().try_into().ok().map(i64::from_le_bytes).filter(|&count| count >= 0);
    let count = count.filter(|_| tensor.dtype() == Dtype::I64);
    count.ok_or_else(|| problem(name, "is no count of batches: expected one I64 of at least 0"))
}

fn view(dtype: Dtype, shape: Vec<usize>, bytes: &[u8]) -> TensorView<'_> {
    TensorView::new(dtype, shape, bytes).expect("the shape agrees with the bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Normalize, Strided};

    fn checkpoint() -> Checkpoint {
        let architecture = Architecture::Strided(Strided { channels: vec![5, 6], ..Strided::dogs_vs_cats(20, 2) });
        let network = architecture.build().unwrap();
        // A frozen batch norm counts no batches.
        let counters = [("2.num_batches_tracked", 7), ("6.num_batches_tracked", 19)];
        let counters = counters.map(|(name, count)| (name.to_string(), count)).into();
        let weights = Weights { counters, ..Weights::initial(&network, 3) };
        let classes = vec!["cat".into(), "dog".into()];
        let (made_by, val_loss) = (Some("3f".into()), Some(0.1 + 0.2));
        let preparation = Preparation::default();
        let meta = Meta { architecture, classes, preparation, epoch: 2, drawn: true, made_by, val_loss };
        Checkpoint { meta, network, weights }
    }

    #[test]
    fn a_checkpoint_survives_the_way_to_bytes_and_back() {
        let checkpoint = checkpoint();
        let bytes = checkpoint.to_bytes();
        assert_eq!(Checkpoint::from_bytes(&bytes).unwrap(), checkpoint);
        assert_eq!(bytes, checkpoint.to_bytes(), "the same weights make the same bytes");
        // As older versions wrote it.
        let older = Checkpoint { meta: Meta { made_by: None, val_loss: None, ..checkpoint.meta }, ..checkpoint };
        let bytes = older.to_bytes();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("made_by") && !text.contains("preparation"));
        assert_eq!(Checkpoint::from_bytes(&bytes).unwrap(), older);
    }

    #[test]
    fn a_checkpoint_says_how_its_images_are_prepared() {
        let usual = checkpoint();
        let preparation = Preparation { normalize: Normalize::IMAGENET, resize_crop: Some(24) };
        let meta = Meta { preparation, ..usual.meta.clone() };
        let read = Checkpoint::from_bytes(&Checkpoint { meta, ..usual.clone() }.to_bytes()).unwrap();
        assert_eq!((read.meta.preparation, read.network.preparation()), (preparation, preparation));
        assert_eq!(read.network.seen_by(0).preparation(), preparation);
        assert_eq!(read.weights, usual.weights);
        assert_eq!(Checkpoint::from_bytes(&usual.to_bytes()).unwrap().network.normalize(), Normalize::HALF);
    }

    #[test]
    fn the_file_has_the_keys_that_pytorch_expects() {
        let bytes = checkpoint().to_bytes();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut names = file.names();
        names.sort_unstable();
        let mut expected = vec!["11.bias", "11.weight", "12.bias", "12.weight", "1.weight", "5.weight"];
        let keys = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"];
        let norms: Vec<_> = [2, 6].iter().flat_map(|index| keys.map(|key| format!("{index}.{key}"))).collect();
        expected.extend(norms.iter().map(String::as_str));
        expected.sort_unstable();
        assert_eq!(names, expected);
        assert_eq!(file.tensor("2.num_batches_tracked").unwrap().shape(), [0usize; 0]);
    }

    #[test]
    fn broken_files_are_told_apart() {
        let good = checkpoint();
        assert!(matches!(Checkpoint::from_bytes(&good.to_bytes()[..100]), Err(CheckpointError::Unreadable(_))));
        assert!(matches!(Checkpoint::from_bytes(b""), Err(CheckpointError::Unreadable(_))));
        let mut missing = good.clone();
        missing.weights.tensors.remove("2.bias");
        let error = Checkpoint::from_bytes(&missing.to_bytes()).unwrap_err().to_string();
        assert_eq!(error, "tensor \"2.bias\": is missing");
        let mut broken = good.clone();
        broken.weights.tensors.get_mut("1.weight").unwrap()[3] = f32::NAN;
        let error = Checkpoint::from_bytes(&broken.to_bytes()).unwrap_err().to_string();
        assert_eq!(error, "tensor \"1.weight\": holds a number that is not finite");
        let mut negative = good.clone();
        negative.weights.tensors.get_mut("2.running_var").unwrap()[1] = -1e-9;
        let error = Checkpoint::from_bytes(&negative.to_bytes()).unwrap_err().to_string();
        assert_eq!(error, "tensor \"2.running_var\": holds a negative number, which no variance is");
        for name in ["2.num_batches_tracked", "6.num_batches_tracked"] {
            let mut counted = good.clone();
            counted.weights.counters.insert(name.into(), -7);
            let error = Checkpoint::from_bytes(&counted.to_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("tensor \"{name}\": is no count of batches")), "{error}");
        }
    }

    /// Every single bit of a file counts: the header's, the description's, the numbers'.
    #[test]
    fn a_file_in_which_one_bit_is_another_is_refused() {
        let architecture = Architecture::Strided(Strided { channels: vec![2], ..Strided::dogs_vs_cats(4, 2) });
        let meta = Meta { architecture, ..checkpoint().meta };
        let network = meta.network().unwrap();
        let weights = Weights::initial(&network, 3);
        let mut bytes = Checkpoint { meta, network: network.clone(), weights: weights.clone() }.to_bytes();
        for bit in 0..8 * bytes.len() {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Checkpoint::from_bytes(&bytes).is_err(), "bit {} of byte {}", bit % 8, bit / 8);
            // What no longer says that it is of this program is read as a file of PyTorch, and has the right numbers.
            if bit % 5 == 0 {
                let read = Weights::from_state_dict(&bytes, &network);
                assert!(read.is_err() || read.is_ok_and(|read| read == weights), "bit {} of byte {}", bit % 8, bit / 8);
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(Checkpoint::from_bytes(&bytes).is_ok());
    }

    #[test]
    fn a_file_of_convscope_without_its_sum_is_refused_and_one_of_pytorch_is_not() {
        let checkpoint = checkpoint();
        let bytes = checkpoint.to_bytes();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let meta = serde_json::to_string(&checkpoint.meta).unwrap();
        let with = |meta: Option<&str>| {
            let meta = meta.map(|meta| HashMap::from([(META_KEY.to_string(), meta.to_string())]));
            safetensors::serialize(file.tensors(), meta).unwrap()
        };
        for (meta, told) in [
            (&meta[..], "the file has no SHA-256 of its content: "),
            ("", "the file has no SHA-256 of its content: "),
            ("{}", "the file has no SHA-256 of its content: "),
            (
                &format!("{}{SEAL}{}{SEAL_END}", &meta[..meta.len() - 1], "0".repeat(64)),
                "the file is damaged or was changed",
            ),
        ] {
            let bytes = with(Some(meta));
            let network = &checkpoint.network;
            for error in [
                Checkpoint::from_bytes(&bytes).unwrap_err(),
                Weights::from_state_dict(&bytes, network).unwrap_err(),
                Weights::to_go_on_from(&bytes, network, &checkpoint.weights).unwrap_err(),
            ] {
                assert!(error.to_string().starts_with(told), "{meta}: {error}");
            }
        }
        let of_pytorch = Weights::from_state_dict(&with(None), &checkpoint.network).unwrap();
        assert_eq!(of_pytorch, checkpoint.weights);
    }

    #[test]
    fn a_classifier_for_other_classes_starts_anew_and_nothing_else_does() {
        let stored = checkpoint();
        let of = |classes, channels: [usize; 2]| {
            let strided = Strided { channels: channels.to_vec(), ..Strided::dogs_vs_cats(20, classes) };
            let network = strided.build().unwrap();
            let initial = Weights::initial(&network, 9);
            Weights::to_go_on_from(&stored.to_bytes(), &network, &initial)
                .map(|(weights, anew)| (weights, anew, initial))
        };
        let (weights, anew, _) = of(2, [5, 6]).unwrap();
        assert_eq!((weights, anew), (stored.weights.clone(), false));
        let (weights, anew, initial) = of(7, [5, 6]).unwrap();
        assert!(anew);
        for (name, values) in &weights.tensors {
            let from = if name.starts_with("12.") { &initial } else { &stored.weights };
            assert_eq!(values, from.get(name), "{name}");
        }
        // Another backbone is refused, with other classes and without.
        for classes in [2, 7] {
            let error = of(classes, [5, 8]).unwrap_err().to_string();
            assert!(error.starts_with("tensor \"5.weight\": is F32 of shape"), "{error}");
        }
    }

    #[test]
    fn initial_weights_stay_within_their_bounds_and_fill_them() {
        let network = Strided::dogs_vs_cats(64, 2).build().unwrap();
        let weights = Weights::initial(&network, 0);
        let filters = weights.get("17.weight");
        let bound = 1.0 / (128.0f32 * 9.0).sqrt();
        let most = filters.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        assert!(most <= bound && most > 0.999 * bound);
        let mean = filters.iter().sum::<f32>() / filters.len() as f32;
        // The mean of so many uniform numbers has a standard error of bound / sqrt(3 * len).
        assert!(mean.abs() < 5.0 * bound / (3.0 * filters.len() as f32).sqrt());
        assert_ne!(weights, Weights::initial(&network, 1));
        assert_eq!(weights, Weights::initial(&network, 0));
    }
}
