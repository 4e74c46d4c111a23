//! A network as an ONNX file: the graph that evaluates images, with its weights.
//!
//! ONNX is a message of Protocol Buffers; the few of its fields that are needed are written here, under the numbers that onnx.proto
//! gives them.

use super::checkpoint::Weights;
use super::{Network, Node, Op};
use crate::protobuf::Message;

/// Version of the operators.
const OPSET: u64 = 17;
/// Version of the format that has these operators.
const IR_VERSION: u64 = 8;
/// `TensorProto.DataType.FLOAT`.
const FLOAT: u64 = 1;

/// A `GraphProto` in the making.
#[derive(Default)]
struct Graph {
    nodes: Vec<Message>,
    initializers: Vec<Message>,
}

impl Graph {
    /// Adds an operation without attributes.
    fn node(&mut self, operator: &str, inputs: &[&str], output: &str) {
        self.node_with(operator, inputs, output, &[]);
    }

    fn node_with(&mut self, operator: &str, inputs: &[&str], output: &str, attributes: &[Message]) {
        let node = inputs.iter().fold(Message::default(), |node, input| node.text(1, input));
        let node = node.text(2, output).text(3, output).text(4, operator);
        self.nodes.push(attributes.iter().fold(node, |node, attribute| node.message(5, attribute)));
    }

    /// Adds a constant; one without dimensions is a single number.
    fn constant(&mut self, name: &str, shape: &[usize], numbers: &[f32]) {
        let tensor = shape.iter().fold(Message::default(), |tensor, &size| tensor.number(1, size as u64));
        let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.initializers.push(tensor.number(2, FLOAT).text(8, name).bytes(9, &raw));
    }
}

/// An attribute of an operation: whole numbers.
fn whole(name: &str, numbers: &[usize]) -> Message {
    const INTS: u64 = 7;
    let attribute = Message::default().text(1, name);
    numbers.iter().fold(attribute, |attribute, &number| attribute.number(8, number as u64)).number(20, INTS)
}

/// An attribute of an operation: a whole number.
fn one(name: &str, number: usize) -> Message {
    const INT: u64 = 2;
    Message::default().text(1, name).number(3, number as u64).number(20, INT)
}

/// An attribute of an operation: a number.
fn real(name: &str, number: f32) -> Message {
    const REAL: u64 = 1;
    Message::default().text(1, name).float(2, number).number(20, REAL)
}

/// What a filter or a window takes: its size, its step, and what is added on every side.
fn windows([kernel, stride, padding]: [usize; 3]) -> [Message; 3] {
    [whole("kernel_shape", &[kernel; 2]), whole("strides", &[stride; 2]), whole("pads", &[padding; 4])]
}

/// An input or output of the graph, of any number of images.
fn value(name: &str, sizes: &[usize]) -> Message {
    let any = Message::default().text(2, "N");
    let sizes = sizes.iter().map(|&size| Message::default().number(1, size as u64));
    let shape = std::iter::once(any).chain(sizes).fold(Message::default(), |shape, size| shape.message(1, &size));
    let tensor = Message::default().number(1, FLOAT).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}

/// The bytes of the file: from "images", N x 3 x H x W in the range that a network gets them, to "logits". `metadata` are names and
/// values.
pub fn onnx(network: &Network, weights: &Weights, metadata: &[(&str, String)]) -> Vec<u8> {
    let mut graph = Graph::default();
    for parameter in network.parameters().into_iter().chain(network.statistics()) {
        graph.constant(&parameter.name, &parameter.shape, weights.get(&parameter.name));
    }
    // What each value is called; some operations change nothing when a network evaluates.
    let mut names = vec!["images".to_string()];
    for (number, node) in network.nodes().iter().enumerate() {
        let inputs: Vec<&str> = node.inputs.iter().map(|&value| &names[value][..]).collect();
        let output =
            if number + 1 == network.nodes().len() { "logits".into() } else { format!("value.{}", number + 1) };
        let made = add(&mut graph, node, &inputs, &output);
        let name = if made { output } else { inputs[0].to_string() };
        names.push(name);
    }

    let parts = graph.nodes.iter().fold(Message::default(), |parts, node| parts.message(1, node)).text(2, "convscope");
    let parts = graph.initializers.iter().fold(parts, |parts, constant| parts.message(5, constant));
    let parts =
        parts.message(11, &value("images", &network.input())).message(12, &value("logits", &[network.classes()]));
    let file = Message::default().number(1, IR_VERSION).text(2, "convscope").text(3, env!("CARGO_PKG_VERSION"));
    let file = file.message(7, &parts).message(8, &Message::default().text(1, "").number(2, OPSET));
    let entry = |(name, value): &(&str, String)| Message::default().text(1, name).text(2, value);
    metadata.iter().map(entry).fold(file, |file, entry| file.message(14, &entry)).into_bytes()
}

/// Adds what a node does. Returns whether it does anything.
fn add(graph: &mut Graph, node: &Node, inputs: &[&str], output: &str) -> bool {
    let Node { op, key, input: [_, height, width], .. } = node;
    let of = |name: &str| format!("{key}.{name}");
    let (weight, bias) = (&of("weight")[..], &of("bias")[..]);
    match *op {
        Op::Conv2d { kernel_size, stride, padding, groups, bias: biased, .. } => {
            let mut attributes = windows([kernel_size, stride, padding]).to_vec();
            attributes.push(one("group", groups));
            let all = [inputs[0], weight, bias];
            graph.node_with("Conv", if biased { &all } else { &all[..2] }, output, &attributes);
        }
        Op::BatchNorm2d => {
            let (mean, variance) = (&of("running_mean")[..], &of("running_var")[..]);
            let all = [inputs[0], weight, bias, mean, variance];
            graph.node_with("BatchNormalization", &all, output, &[real("epsilon", 1e-5)]);
        }
        Op::ReLU => graph.node("Relu", inputs, output),
        Op::ReLU6 => {
            let limits = [("least", 0.0), ("most", 6.0)].map(|(name, limit)| {
                let name = format!("{output}.{name}");
                graph.constant(&name, &[], &[limit]);
                name
            });
            graph.node("Clip", &[inputs[0], &limits[0], &limits[1]], output);
        }
        Op::MaxPool2d { kernel_size, stride, padding } => {
            graph.node_with("MaxPool", inputs, output, &windows([kernel_size, stride, padding]));
        }
        Op::AvgPool2d { kernel_size, stride, padding } => {
            let mut attributes = windows([kernel_size, stride, padding]).to_vec();
            attributes.push(one("count_include_pad", 1));
            graph.node_with("AveragePool", inputs, output, &attributes);
        }
        Op::AdaptiveAvgPool2d { output_size: [1, 1] } => graph.node("GlobalAveragePool", inputs, output),
        Op::AdaptiveAvgPool2d { output_size: [rows, columns] } => {
            // ONNX has no such pooling: the maps are multiplied from both sides by matrices that average.
            let (above, beside, between) =
                (format!("{output}.rows"), format!("{output}.columns"), format!("{output}.averaged"));
            graph.constant(&above, &[rows, *height], &averages(*height, rows));
            graph.constant(&beside, &[*width, columns], &transposed(&averages(*width, columns), *width));
            graph.node("MatMul", &[&above, inputs[0]], &between);
            graph.node("MatMul", &[&between, &beside], output);
        }
        Op::Flatten => graph.node_with("Flatten", inputs, output, &[one("axis", 1)]),
        Op::Linear { .. } => graph.node_with("Gemm", &[inputs[0], weight, bias], output, &[one("transB", 1)]),
        Op::Add => graph.node("Add", inputs, output),
        Op::Dropout { .. } | Op::Dropout2d { .. } | Op::Identity => return false,
    }
    true
}

/// A matrix (`windows`, `size`) that averages `size` numbers over windows as `AdaptiveAvgPool2d` lays them.
fn averages(size: usize, windows: usize) -> Vec<f32> {
    let window = |number: usize| (number * size / windows, ((number + 1) * size).div_ceil(windows));
    let row = |number| {
        let (first, end) = window(number);
        (0..size).map(move |place| if (first..end).contains(&place) { 1.0 / (end - first) as f32 } else { 0.0 })
    };
    (0..windows).flat_map(row).collect()
}

fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| matrix.iter().skip(column).step_by(columns).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Architecture, Known, Name, Strided};
    use crate::protobuf::fields;

    fn all(message: &[u8], field: u64) -> Vec<&[u8]> {
        fields(message).into_iter().filter(|(number, ..)| *number == field).map(|(_, content, _)| content).collect()
    }

    fn text(message: &[u8], field: u64) -> String {
        String::from_utf8(all(message, field)[0].to_vec()).unwrap()
    }

    /// Every value is made before it is used, all weights are there, and the names of inputs and outputs are right.
    #[test]
    fn graphs_hang_together() {
        let known = |name| Architecture::Known(Known { name, input: [3, 64, 64], width: 0.125, classes: 3 });
        let names = [Name::LeNet5, Name::Vgg11Bn, Name::ResNet18, Name::MobileNetV2];
        let networks = names.map(known).into_iter().chain([Strided::dogs_vs_cats(64, 3).into()]);
        for architecture in networks {
            let network = architecture.build().unwrap();
            let weights = Weights::initial(&network, 0);
            let file = onnx(&network, &weights, &[("classes", "[]".into())]);
            let graph = all(&file, 7)[0];
            let constants: Vec<String> = all(graph, 5).into_iter().map(|constant| text(constant, 8)).collect();
            for (name, numbers) in &weights.tensors {
                let place = constants.iter().position(|constant| constant == name).unwrap();
                let raw: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
                assert_eq!(all(all(graph, 5)[place], 9), [&raw[..]], "{name}");
            }
            let mut there: Vec<String> = constants;
            there.push(text(all(graph, 11)[0], 1));
            assert_eq!(there.last().unwrap(), "images");
            for node in all(graph, 1) {
                let inputs = all(node, 1).into_iter().map(|name| String::from_utf8(name.to_vec()).unwrap());
                for input in inputs {
                    assert!(there.contains(&input), "{input} of {}", text(node, 4));
                }
                there.push(text(node, 2));
            }
            assert_eq!((there.last().unwrap(), text(all(graph, 12)[0], 1)), (&"logits".to_string(), "logits".into()));
            assert_eq!(text(all(&file, 14)[0], 1), "classes");
        }
    }

    #[test]
    fn windows_average_as_in_pytorch() {
        // torch.nn.functional.adaptive_avg_pool1d of unit vectors.
        assert_eq!(averages(4, 2), [0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5]);
        assert_eq!(averages(3, 2), [0.5, 0.5, 0.0, 0.0, 0.5, 0.5]);
        assert_eq!(averages(2, 3), [1.0, 0.0, 0.5, 0.5, 0.0, 1.0]);
        assert_eq!(transposed(&averages(3, 2), 3), [0.5, 0.0, 0.5, 0.5, 0.0, 0.5]);
    }
}
