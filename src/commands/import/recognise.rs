//! Which network weights are of, by their names and shapes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::cli::{ImportArgs, ModelName};
use crate::nn::{Architecture, Head, Known, Name, Network, Spec, Strided};

/// The shape of each tensor, by its key in PyTorch's `state_dict`.
type Shapes<'a> = BTreeMap<&'a str, &'a [usize]>;

/// A size of images that every known network takes.
const PROBE: usize = 224;
/// Sizes that are tried where the weights may tell the size.
const SIZES: std::ops::RangeInclusive<usize> = 8..=512;

/// The network that weights of these shapes are of, as far as they and the options say.
///
/// # Errors
/// When that is not enough, naming the option that is missing and why.
pub(super) fn architecture(shapes: &Shapes, told: &ImportArgs) -> Result<Architecture> {
    match &told.model {
        Some(ModelName::File { layers, .. }) => {
            only_of_strided(told)?;
            let size = told.size.context(
                "--size: the layers of a file do not say how large the images are that the network takes; give their side in pixels",
            )?;
            Ok(Architecture::Listed(Spec { input: [3, size, size], layers: layers.clone() }))
        }
        Some(ModelName::Known(name)) => {
            ensure!(has_names(*name, shapes), "--model {name}: the weights have other names than those of {name}");
            known(*name, shapes, told)
        }
        None => match Name::value_variants().iter().find(|name| has_names(**name, shapes)) {
            Some(name) => known(*name, shapes, told),
            None => strided(shapes, told),
        },
    }
}

/// Whether the weights have the names of this network's, which are the same at any width.
fn has_names(name: Name, shapes: &Shapes) -> bool {
    let network = built(name, PROBE, 1.0, 2).expect("a known network takes images of this size");
    stored(&network).map(|(key, _)| key).eq(shapes.keys().copied().map(String::from))
}

/// Keys and shapes of all that is stored of a network, by key.
fn stored(network: &Network) -> impl Iterator<Item = (String, Vec<usize>)> {
    let parameters = network.parameters().into_iter().chain(network.statistics());
    parameters.map(|parameter| (parameter.name, parameter.shape)).collect::<BTreeMap<_, _>>().into_iter()
}

fn has_shapes(network: &Network, shapes: &Shapes) -> bool {
    stored(network).eq(shapes.iter().map(|(name, shape)| (name.to_string(), shape.to_vec())))
}

fn built(name: Name, size: usize, width: f64, classes: usize) -> Option<Network> {
    Architecture::Known(Known { name, input: [3, size, size], width, classes }).build().ok()
}

/// A network with a name, whose width and classes the shapes tell.
fn known(name: Name, shapes: &Shapes, told: &ImportArgs) -> Result<Architecture> {
    only_of_strided(told)?;
    let plain = built(name, PROBE, 1.0, 2).context("a known network takes images of this size")?;
    let last = plain.nodes().last().context("a network has a last layer")?;
    let classes = shapes[&format!("{}.weight", last.key)[..]].first().copied().unwrap_or_default();
    // Each tensor has so many times the outputs that it is known with. Where these are rounded, round numbers are likelier.
    let of_tensors =
        stored(&plain).filter_map(|(key, shape)| Some(*shapes[&key[..]].first()? as f64 / shape[0] as f64));
    let round = (1..=40).map(|twentieths| f64::from(twentieths) / 20.0);
    let mut widths: Vec<f64> = std::iter::once(1.0).chain(round).chain(of_tensors).collect();
    widths.dedup();
    let fitting = |size| {
        widths
            .iter()
            .copied()
            .find(|&width| built(name, size, width, classes).is_some_and(|network| has_shapes(&network, shapes)))
    };
    let Some(size) = told.size else {
        // Where maps become one vector as they are, its length tells how large they were.
        let sizes: Vec<usize> =
            if name == Name::LeNet5 { SIZES.filter(|&size| fitting(size).is_some()).collect() } else { Vec::new() };
        let listed = sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        let hint =
            if sizes.is_empty() { String::new() } else { format!("; by its linear layer it is one of {listed}") };
        bail!(
            "--size: the weights of {name} do not say how large the images are that it takes; give their side in pixels{hint}"
        );
    };
    let width = fitting(size);
    let width = width.with_context(|| {
        format!("--size {size}: {name} of no width has tensors of these shapes for images of this size")
    })?;
    Ok(Architecture::Known(Known { name, input: [3, size, size], width, classes }))
}

fn only_of_strided(told: &ImportArgs) -> Result<()> {
    ensure!(
        told.stride.is_none() && told.padding.is_none(),
        "--stride, --padding: only the network that `train` trains by default is told these; leave them out"
    );
    Ok(())
}

/// Blocks of strided convolutions: convolutions at 1, 5, 9 and so on, and behind the last dropout two linear layers that follow
/// pooling and flattening, or flattening alone.
fn strided(shapes: &Shapes, told: &ImportArgs) -> Result<Architecture> {
    let shape = |number: usize| shapes.get(&format!("{number}.weight")[..]).copied();
    let filters: Vec<&[usize]> =
        (0..).map_while(|block| shape(1 + 4 * block).filter(|shape| shape.len() == 4)).collect();
    let end = 1 + 4 * filters.len();
    let head = if shape(end + 1).is_some() { Head::Flatten } else { Head::AvgPool };
    let first = end + if head == Head::Flatten { 1 } else { 2 };
    let (Some([_, _, kernel, _]), Some(&[hidden, inputs]), Some(&[classes, _])) =
        (filters.first(), shape(first), shape(first + 1))
    else {
        bail!(
            "the names of its weights are of no network that is known here; list its layers in a TOML file and name that with --model"
        )
    };
    let size = told.size.context(
        "--size: the weights do not say how large the images are that the network takes; give their side in pixels, as in --size 128 \
         --stride 2 --padding 0 --classes cat,dog for one that `train` trains by default",
    )?;
    let network = |stride, padding| Strided {
        input: [3, size, size],
        channels: filters.iter().map(|filters| filters[0]).collect(),
        kernel: *kernel,
        stride,
        padding,
        // Of no account where nothing is trained.
        dropout: 0.0,
        head,
        hidden,
        classes,
    };
    if let (Some(stride), Some(padding)) = (told.stride, told.padding) {
        return Ok(network(stride, padding).into());
    }
    ensure!(
        head == Head::Flatten,
        "--stride, --padding: the weights are the same whatever the stride and the padding of the convolutions, so give both; the \
         network that `train` trains by default has --stride 2 --padding 0"
    );
    let strides = told.stride.map_or(1..=8, |stride| stride..=stride);
    let paddings = || told.padding.map_or(0..=kernel.saturating_sub(1), |padding| padding..=padding);
    let all = strides.flat_map(|stride| paddings().map(move |padding| (stride, padding)));
    let fits = |&(stride, padding): &(usize, usize)| {
        network(stride, padding).build().is_ok_and(|network| has_shapes(&network, shapes))
    };
    let fitting: Vec<(usize, usize)> = all.filter(fits).collect();
    match fitting[..] {
        [(stride, padding)] => Ok(network(stride, padding).into()),
        [] => bail!(
            "--size {size}: at no stride and padding do images of this size make the {inputs} numbers that the linear layer takes"
        ),
        _ => {
            let listed = fitting.iter().map(|(stride, padding)| format!("--stride {stride} --padding {padding}"));
            let listed = listed.collect::<Vec<_>>().join(", ");
            bail!("--stride, --padding: the weights do not tell them apart where several fit, so give them: {listed}")
        }
    }
}
