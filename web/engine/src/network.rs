use convscope::nn::checkpoint::Checkpoint;
use convscope::nn::{Architecture, Network, Op, Value, training_bytes};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::{json, say};

/// A network in words and numbers.
#[derive(Serialize)]
struct Description<'a> {
    /// Channels, height and width of an image.
    input: [usize; 3],
    classes: usize,
    /// The blocks' outputs.
    blocks: Vec<Value>,
    nodes: Vec<Node<'a>>,
    parameters: usize,
    multiply_adds: usize,
    /// Bytes that training takes on the device.
    training_bytes: usize,
}

#[derive(Serialize)]
struct Node<'a> {
    /// What its weights' keys begin with.
    key: &'a str,
    /// PyTorch's name of the layer.
    name: &'static str,
    #[serde(flatten)]
    window: Option<Window>,
    inputs: &'a [Value],
    /// Its own value.
    value: Value,
    output: [usize; 3],
    block: Option<usize>,
    /// Whether it changes no number in evaluation.
    is_view: bool,
    signed: bool,
    /// Its trained tensors: key and shape.
    tensors: Vec<(String, Vec<usize>)>,
    multiply_adds: usize,
    /// What one number of its output sees of the image.
    field: [usize; 3],
}

/// The window of a convolution.
#[derive(Serialize)]
struct Window {
    kernel_size: usize,
    stride: usize,
    padding: usize,
    groups: usize,
}

/// A network as JSON, from the JSON of how it was chosen: `{input, layers}` in PyTorch's terms, `{name, ..}` or the options of blocks.
///
/// # Errors
/// When there is no such network: which layer, and why.
#[wasm_bindgen]
pub fn describe(architecture: &str) -> Result<String, JsError> {
    let network = parse(architecture)?.build().map_err(say)?;
    Ok(json(&Description::of(&network)))
}

/// The same network with its first blocks only, as such JSON.
///
/// # Errors
/// As `describe`.
#[wasm_bindgen]
pub fn first_blocks(architecture: &str, count: usize) -> Result<String, JsError> {
    Ok(json(&parse(architecture)?.first_blocks(count).map_err(say)?))
}

/// What a safetensors file says of its network, as JSON: `{spec, classes, preparation, epoch, drawn}`; without
/// `preparation` it is the usual one.
///
/// # Errors
/// When it is no such file, or damaged.
#[wasm_bindgen]
pub fn describe_weights(file: &[u8]) -> Result<String, JsError> {
    Ok(json(&Checkpoint::from_bytes(file).map_err(say)?.meta))
}

pub(crate) fn parse(architecture: &str) -> Result<Architecture, JsError> {
    serde_json::from_str(architecture).map_err(say)
}

impl<'a> Description<'a> {
    fn of(network: &'a Network) -> Self {
        let node = |(number, node): (usize, &'a convscope::nn::Node)| Node {
            key: &node.key,
            name: node.op.name(),
            window: match node.op {
                Op::Conv2d { kernel_size, stride, padding, groups, .. } => {
                    Some(Window { kernel_size, stride, padding, groups })
                }
                _ => None,
            },
            inputs: &node.inputs,
            value: number + 1,
            output: node.output,
            block: node.block,
            is_view: matches!(node.op, Op::Identity | Op::Flatten | Op::Dropout { .. } | Op::Dropout2d { .. }),
            signed: node.signed,
            tensors: node.parameters().into_iter().map(|parameter| (parameter.name, parameter.shape)).collect(),
            multiply_adds: node.multiply_adds(),
            field: [node.field.size, node.field.stride, node.field.offset],
        };
        Self {
            input: network.input(),
            classes: network.classes(),
            blocks: network.blocks().iter().map(|block| block.value).collect(),
            nodes: network.nodes().iter().enumerate().map(node).collect(),
            parameters: network.parameter_count(),
            multiply_adds: network.multiply_adds(),
            training_bytes: training_bytes(network, 32),
        }
    }
}
