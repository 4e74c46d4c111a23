//! Networks without a device: shapes, keys, receptive fields and blocks, against the numbers that are published of them, and
//! the lists of layers that are none.

use convscope::nn::checkpoint::{Checkpoint, CheckpointError, Meta, Weights};
use convscope::nn::layout::Layout;
use convscope::nn::{
    Architecture, Field, Head, Known, Layer, Name, Named, Network, Normalize, Op, Parameter, Preparation, Spec,
    SpecError, Start, Strided,
};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};

fn known(name: Name, [height, width]: [usize; 2], classes: usize) -> Network {
    Architecture::Known(Known { name, input: [3, height, width], width: 1.0, classes }).build().unwrap()
}

fn spec(input: [usize; 3], layers: Value) -> Spec {
    serde_json::from_value(json!({ "input": input, "layers": layers })).unwrap()
}

#[test]
fn means_of_shares_of_a_map_see_their_share() {
    let pooled = |[height, width]: [usize; 2], size: [usize; 2]| {
        let layers = json!([
            {"type": "Conv2d", "out_channels": 2, "kernel_size": 3, "padding": 1},
            {"type": "AdaptiveAvgPool2d", "output_size": size},
            {"type": "Flatten"},
            {"type": "Linear", "out_features": 2},
        ]);
        spec([3, height, width], layers).build().unwrap().nodes()[1].field
    };
    // One to one, shares of five, shares of eight at most, all.
    assert_eq!(pooled([7, 7], [7, 7]), Field { size: 3, stride: 1, offset: 1 });
    assert_eq!(pooled([30, 30], [6, 6]), Field { size: 7, stride: 5, offset: 1 });
    assert_eq!(pooled([30, 30], [30, 4]), Field { size: 10, stride: 7, offset: 1 });
    assert_eq!(pooled([30, 30], [1, 1]), Field { size: 32, stride: 0, offset: 1 });
    // Shares of five in both: where rows and columns see as much, the rows count.
    assert_eq!(pooled([9, 5], [2, 1]), Field { size: 7, stride: 4, offset: 1 });
}

#[test]
fn the_network_of_dogs_vs_cats_has_its_known_numbers() {
    let network = Strided::dogs_vs_cats(128, 2).build().unwrap();
    assert_eq!(network.parameter_count(), 409_682);
    let blocks = network.blocks();
    assert_eq!(blocks.iter().map(|block| block.output[1]).collect::<Vec<_>>(), [63, 31, 15, 7, 3]);
    assert_eq!(blocks.iter().map(|block| block.receptive_field).collect::<Vec<_>>(), [3, 7, 15, 31, 63]);
    assert_eq!(blocks.iter().map(|block| block.stride).collect::<Vec<_>>(), [2, 4, 8, 16, 32]);
    let names: Vec<_> = network.parameters().into_iter().map(|parameter| parameter.name).collect();
    assert_eq!(names[..4], ["1.weight", "2.weight", "2.bias", "5.weight"]);
    assert_eq!(names[15..], ["23.weight", "23.bias", "24.weight", "24.bias"]);
    assert!(network.drops() && !Strided { dropout: 0.0, ..Strided::dogs_vs_cats(128, 2) }.build().unwrap().drops());
}

#[test]
fn windows_are_cut_at_the_edge() {
    let network = Strided::dogs_vs_cats(128, 2).build().unwrap();
    let blocks = network.blocks();
    assert_eq!(blocks[0].receptive_window([0, 62], [128; 2]), [0..3, 124..127]);
    assert_eq!(blocks[4].receptive_window([1, 2], [128; 2]), [32..95, 64..127]);
    for block in blocks {
        assert_eq!(block.unread_border([128; 2]), [1, 1]);
    }
    // Two rows of padding before the first: filters of 5 begin at -2, 0, 2 and so on.
    let padded = Strided { kernel: 5, padding: 2, input: [3, 16, 20], ..Strided::dogs_vs_cats(16, 2) };
    let network = padded.build().unwrap();
    let blocks = network.blocks();
    assert_eq!(blocks[0].receptive_window([0, 9], [16, 20]), [0..3, 16..20]);
    assert_eq!(blocks[0].receptive_window([3, 1], [16, 20]), [4..9, 0..5]);
    assert_eq!(blocks[1].receptive_window([1, 2], [16, 20]), [0..11, 2..15]);
    assert_eq!(blocks[1].unread_border([16, 20]), [0, 0]);
}

#[test]
fn later_blocks_may_leave_a_wider_border() {
    // Maps of 18, 8 and 3: block 2 does not see the last row of block 1.
    let network = Strided { channels: vec![4, 4], ..Strided::dogs_vs_cats(18, 2) }.build().unwrap();
    let borders: Vec<_> = network.blocks().iter().map(|block| block.unread_border([18; 2])).collect();
    assert_eq!(borders, [[1, 1], [3, 3]]);
}

#[test]
fn without_pooling_the_linear_layers_move_up() {
    let network = Strided { head: Head::Flatten, ..Strided::dogs_vs_cats(128, 2) }.build().unwrap();
    let first = &network.parameters()[15];
    assert_eq!((first.name.as_str(), &first.shape[..]), ("22.weight", &[64, 256 * 3 * 3][..]));
}

#[test]
fn the_ladder_of_depths_has_its_known_sizes() {
    let whole = Architecture::from(Strided::dogs_vs_cats(128, 2));
    let count = |depth| whole.first_blocks(depth).unwrap().build().unwrap().parameter_count();
    assert_eq!([1, 2, 3, 4, 5].map(count), [1_682, 7_378, 27_986, 106_066, 409_682]);
}

#[test]
fn a_map_that_shrinks_to_nothing_names_its_layer() {
    let error = Strided::dogs_vs_cats(32, 2).build().unwrap_err();
    assert!(
        matches!(&error, SpecError::TooSmall { place, height: 1, width: 1, .. } if place == "Conv2d 17 of block 5"),
        "{error}"
    );
}

#[test]
fn sums_too_long_for_a_kernel_are_refused() {
    let strided = Strided { channels: vec![16], ..Strided::dogs_vs_cats(640, 2) };
    let refused = |built: Result<Network, SpecError>, message: &str| {
        let message = format!("{message} terms at once, more than 60000");
        assert_eq!(built.unwrap_err().to_string(), message);
    };
    refused(strided.build(), "AdaptiveAvgPool2d 5 would have to add up 102080");
    let flat = Strided { head: Head::Flatten, ..strided.clone() };
    refused(flat.build(), "Linear 6 would have to add up 407044");
    let wide = Strided { kernel: 31, padding: 15, channels: vec![512, 16], ..strided };
    refused(wide.build(), "Conv2d 1 of block 1 would have to add up 124000");
    let behind = |side: usize, channels: usize, layer: Value| {
        let first = json!({"type": "Conv2d", "out_channels": channels, "kernel_size": 1});
        let layers = json!([first, layer, {"type": "Flatten"}, {"type": "Linear", "out_features": 2}]);
        spec([3, side, side], layers).build()
    };
    // Halves of 499 rows begin or end within a row.
    let halves = json!({"type": "AdaptiveAvgPool2d", "output_size": 2});
    refused(behind(499, 1, halves), "AdaptiveAvgPool2d 1 would have to add up 63252");
    // With a filter a channel, a sum is over one channel.
    behind(40, 512, json!({"type": "Conv2d", "out_channels": 512, "kernel_size": 31, "groups": 512})).unwrap();
    assert_eq!(Strided::dogs_vs_cats(128, 1).build(), Err(SpecError::Classes(1)));
}

#[test]
fn numbers_out_of_range_name_their_field() {
    let strided = Strided::dogs_vs_cats(128, 2);
    let bad = [
        (Strided { kernel: 0, ..strided.clone() }, "kernel 0"),
        (Strided { stride: 0, ..strided.clone() }, "stride 0"),
        (Strided { padding: 3, ..strided.clone() }, "padding 3"),
        (Strided { dropout: 1.0, ..strided.clone() }, "dropout 1"),
        (Strided { dropout: f32::NAN, ..strided.clone() }, "dropout NaN"),
        (Strided { channels: vec![], ..strided.clone() }, "channels"),
        (Strided { channels: vec![16, 0], ..strided.clone() }, "channels 16,0"),
        (Strided { hidden: 0, ..strided.clone() }, "hidden 0"),
        (Strided { input: [0, 128, 128], ..strided.clone() }, "input 0"),
        (Strided { input: [3, 0, 128], ..strided.clone() }, "input 0"),
        (Strided { input: [usize::MAX; 3], ..strided.clone() }, "input 18446744073709551615"),
    ];
    for (strided, message) in bad {
        let error = strided.build().unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    for (width, message) in [(0.0, "width 0"), (-1.0, "width -1"), (9.0, "width 9"), (f64::NAN, "width NaN")] {
        let known = Known { name: Name::ResNet18, input: [3, 64, 64], width, classes: 2 };
        let error = known.spec().unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let known = Known { name: Name::ResNet18, input: [3, 64, 64], width: 1.0, classes: 1 };
    assert_eq!(known.spec(), Err(SpecError::Classes(1)));
}

/// Parameters as torchvision publishes them, multiply-adds as PyTorch's FlopCounterMode counts them.
#[test]
fn known_networks_have_the_published_sizes() {
    let sizes = [
        (Name::Vgg11Bn, 132_868_840, 7_609_090_048),
        (Name::ResNet18, 11_689_512, 1_814_073_344),
        (Name::MobileNetV2, 3_504_872, 300_774_272),
    ];
    for (name, parameters, multiply_adds) in sizes {
        let network = known(name, [224; 2], 1000);
        assert_eq!((network.parameter_count(), network.multiply_adds()), (parameters, multiply_adds), "{name:?}");
        assert_eq!(network.classes(), 1000);
    }
    // LeCun et al. give 61,706 for one channel of 32 x 32 and ten classes; two channels more have 6 x 25 weights each.
    let lenet = known(Name::LeNet5, [32; 2], 10);
    assert_eq!(lenet.parameter_count(), 61_706 + 2 * 6 * 25);
    assert_eq!(lenet.multiply_adds(), 28 * 28 * 6 * 75 + 10 * 10 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10);
}

/// Receptive fields of whole networks as Araujo, Norris and Sim publish them (2019).
#[test]
fn known_networks_have_their_blocks_and_fields() {
    let fields = |network: &Network| -> Vec<[usize; 3]> {
        network.blocks().iter().map(|block| [block.output[0], block.output[1], block.receptive_field]).collect()
    };
    assert_eq!(fields(&known(Name::LeNet5, [32; 2], 10)), [[6, 14, 6], [16, 5, 16]]);
    let vgg = known(Name::Vgg11Bn, [224; 2], 2);
    let expected = [
        [64, 112, 4],
        [128, 56, 10],
        [256, 56, 18],
        [256, 28, 30],
        [512, 28, 46],
        [512, 14, 70],
        [512, 14, 102],
        [512, 7, 150],
    ];
    assert_eq!(fields(&vgg), expected);
    let resnet = known(Name::ResNet18, [224; 2], 2);
    let expected = [
        [64, 56, 11],
        [64, 56, 27],
        [64, 56, 43],
        [128, 28, 67],
        [128, 28, 99],
        [256, 14, 147],
        [256, 14, 211],
        [512, 7, 307],
        [512, 7, 435],
    ];
    assert_eq!(fields(&resnet), expected);
    let mobilenet = known(Name::MobileNetV2, [224; 2], 2);
    assert_eq!(mobilenet.blocks().len(), 19);
    assert_eq!(fields(&mobilenet)[18], [1280, 7, 491]);
    for network in [vgg, resnet, mobilenet] {
        assert_eq!(network.last_block().stride, 32);
        // With its padding, every first value sees the corner, and the last sees the other.
        for block in network.blocks() {
            assert!(block.receptive_window([0, 0], [224; 2]).iter().all(|window| window.start == 0));
            assert_eq!(block.unread_border([224; 2]), [0, 0]);
        }
        // Blocks follow one another without a gap, up to the head.
        for pair in network.blocks().windows(2) {
            assert_eq!(pair[0].nodes.end, pair[1].nodes.start);
            assert_eq!((pair[0].output, pair[0].value), (pair[1].input, pair[0].nodes.end));
        }
        let head = &network.nodes()[network.last_block().nodes.end].op;
        assert!(matches!(head, Op::AdaptiveAvgPool2d { .. }), "{head:?}");
    }
}

#[test]
fn blocks_end_with_what_follows_them() {
    let resnet = known(Name::ResNet18, [64; 2], 2);
    let block = &resnet.blocks()[3];
    let keys: Vec<_> =
        resnet.nodes()[block.nodes.clone()].iter().map(|node| (node.op.name(), node.key.as_str())).collect();
    let expected = [
        ("Conv2d", "layer2.0.conv1"),
        ("BatchNorm2d", "layer2.0.bn1"),
        ("ReLU", "layer2.0.relu"),
        ("Conv2d", "layer2.0.conv2"),
        ("BatchNorm2d", "layer2.0.bn2"),
        ("Conv2d", "layer2.0.downsample.0"),
        ("BatchNorm2d", "layer2.0.downsample.1"),
        ("Add", "layer2.0"),
        ("ReLU", "layer2.0.relu"),
    ];
    assert_eq!(keys, expected);
    let makes = |value: usize| resnet.nodes()[value - 1].key.as_str();
    assert_eq!([block.conv, block.norm].map(makes), ["layer2.0.downsample.0", "layer2.0.downsample.1"]);
    // ReLU makes no negative value, nor does pooling of one; a sum of two batch norms may.
    assert!(!resnet.signed(block.value) && resnet.signed(block.value - 1));
    assert!(!resnet.signed(resnet.blocks()[0].value) && resnet.signed(0) && resnet.signed(resnet.logits()));
    assert_eq!(resnet.shape(resnet.logits()), [2, 1, 1]);
    assert_eq!(resnet.nodes()[block.nodes.start].place(), "Conv2d layer2.0.conv1 of block 4");
    // Behind the last block of VGG the classifier has ReLUs, so no sum over its values makes the logits.
    let vgg = known(Name::Vgg11Bn, [64; 2], 2);
    assert!(vgg.linear_tail().is_none());
    assert_eq!(resnet.linear_tail().unwrap().len(), 3);
    let parameters: Vec<_> = resnet.block_parameters(0).into_iter().map(|parameter| parameter.name).collect();
    assert_eq!(parameters, ["conv1.weight", "bn1.weight", "bn1.bias"]);
}

#[test]
fn narrow_networks_keep_their_keys() {
    for name in [Name::LeNet5, Name::Vgg11Bn, Name::ResNet18, Name::MobileNetV2] {
        let keys = |width| {
            let known = Known { name, input: [3, 64, 64], width, classes: 5 };
            let network = Architecture::Known(known).build().unwrap();
            network.parameters().into_iter().map(|parameter| parameter.name).collect::<Vec<_>>()
        };
        assert_eq!(keys(0.001), keys(1.0), "{name:?}");
        assert_eq!(keys(2.0), keys(1.0), "{name:?}");
    }
}

#[test]
fn batch_norm_of_single_values_needs_two_images() {
    assert_eq!(Strided::dogs_vs_cats(128, 2).build().unwrap().least_batch(), 1);
    assert_eq!(known(Name::ResNet18, [32; 2], 2).least_batch(), 2);
    assert_eq!(known(Name::ResNet18, [64; 2], 2).least_batch(), 1);
    // LeNet-5 has no batch norm.
    assert_eq!(known(Name::LeNet5, [16; 2], 2).least_batch(), 1);
}

/// Every type of layer, with options that are not the defaults, at every depth.
fn all_layers() -> Value {
    json!([
        {"type": "Conv2d", "name": "stem", "out_channels": 6, "kernel_size": 5, "stride": 2, "padding": 2, "bias": false},
        {"type": "BatchNorm2d"},
        {"type": "ReLU6"},
        {"type": "Dropout2d", "p": 0.25},
        {"type": "MaxPool2d", "kernel_size": 3, "stride": 2, "padding": 1},
        {"type": "Sequential", "name": "mixed", "block": true, "layers": [
            {"type": "Conv2d", "out_channels": 6, "kernel_size": 3, "padding": 1, "groups": 6},
            {"type": "Conv2d", "out_channels": 8, "kernel_size": 1},
        ]},
        {"type": "Residual", "name": "", "layers": [
            {"type": "Conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1},
            {"type": "Identity"},
        ], "shortcut": [{"type": "BatchNorm2d"}]},
        {"type": "ReLU"},
        {"type": "AvgPool2d", "kernel_size": 2},
        {"type": "AdaptiveAvgPool2d", "output_size": [2, 1]},
        {"type": "Flatten"},
        {"type": "Sequential", "layers": [
            {"type": "Dropout"},
            {"type": "Linear", "out_features": 9},
        ]},
        {"type": "Linear", "name": "last", "out_features": 3},
    ])
}

#[test]
fn lists_of_layers_survive_the_way_to_text_and_back() {
    let listed = spec([3, 40, 40], all_layers());
    listed.build().unwrap();
    let known = [Name::LeNet5, Name::Vgg11Bn, Name::ResNet18, Name::MobileNetV2].map(|name| {
        let known = Known { name, input: [3, 64, 64], width: 0.5, classes: 3 };
        known.spec().unwrap()
    });
    for spec in known.into_iter().chain([listed.clone(), Strided::dogs_vs_cats(64, 2).spec().unwrap()]) {
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec);
        assert_eq!(serde_json::from_value::<Spec>(serde_json::to_value(&spec).unwrap()).unwrap(), spec);
    }
    // However it was chosen, a network is read back as it was chosen.
    let chosen: [Architecture; 3] = [
        Strided::dogs_vs_cats(64, 2).into(),
        Architecture::Known(Known { name: Name::MobileNetV2, input: [3, 64, 64], width: 0.5, classes: 3 }),
        Architecture::Listed(listed),
    ];
    for architecture in chosen {
        let text = serde_json::to_string(&architecture).unwrap();
        assert_eq!(serde_json::from_str::<Architecture>(&text).unwrap(), architecture, "{text}");
    }
}

#[test]
fn what_is_not_said_is_the_default_of_pytorch() {
    let layer = |layer: Value| serde_json::from_value::<Named>(layer).unwrap().layer;
    let conv = Op::Conv2d { out_channels: 8, kernel_size: 3, stride: 1, padding: 0, groups: 1, bias: true };
    let defaults = [
        (json!({"type": "Conv2d", "out_channels": 8, "kernel_size": 3}), conv),
        (json!({"type": "MaxPool2d", "kernel_size": 3}), Op::MaxPool2d { kernel_size: 3, stride: 3, padding: 0 }),
        (json!({"type": "AvgPool2d", "kernel_size": 2}), Op::AvgPool2d { kernel_size: 2, stride: 2, padding: 0 }),
        (json!({"type": "AdaptiveAvgPool2d", "output_size": 7}), Op::AdaptiveAvgPool2d { output_size: [7, 7] }),
        (json!({"type": "Dropout"}), Op::Dropout { p: 0.5 }),
        (json!({"type": "Dropout2d"}), Op::Dropout2d { p: 0.5 }),
    ];
    for (text, op) in defaults {
        assert_eq!(layer(text), Layer::Op(op));
    }
    // Layers without a name are numbered in their list, as in nn.Sequential.
    let parameters = spec([3, 40, 40], all_layers()).build().unwrap().parameters();
    let keys: Vec<_> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    let expected = [
        "stem.weight",
        "1.weight",
        "1.bias",
        "mixed.0.weight",
        "mixed.0.bias",
        "mixed.1.weight",
        "mixed.1.bias",
        "0.weight",
        "0.bias",
        // The path has two layers: the shortcut's are numbered on.
        "2.weight",
        "2.bias",
    ];
    assert_eq!(keys[..11], expected);
    // A filter a channel.
    let expected = Parameter {
        name: "mixed.0.weight".into(),
        shape: vec![6, 1, 3, 3],
        layout: Layout::Depthwise { channels: 6, taps: 9 },
        start: Start::Uniform { fan_in: 9 },
    };
    assert_eq!(parameters[3], expected);
}

#[test]
fn unknown_and_misplaced_options_are_refused() {
    let bad = [
        (
            json!({"type": "Conv3d", "out_channels": 4, "kernel_size": 3}),
            "type \"Conv3d\": expected Conv2d, BatchNorm2d",
        ),
        (json!({"type": "Add"}), "type \"Add\": expected"),
        (json!("ReLU"), "expected a layer, as { type = \"ReLU\" }"),
        (json!({"out_channels": 4, "kernel_size": 3}), "type \"\": expected"),
        (json!({"type": "Conv2d", "kernel_size": 3}), "Conv2d needs out_channels"),
        (json!({"type": "Conv2d", "out_channels": 4}), "Conv2d needs kernel_size"),
        (json!({"type": "Conv2d", "out_channels": 4, "kernel_size": 3, "dilation": 2}), "unknown field `dilation`"),
        (json!({"type": "Conv2d", "out_channels": 4, "kernel_size": 3, "p": 0.1}), "Conv2d has no p"),
        (json!({"type": "Conv2d", "out_channels": -4, "kernel_size": 3}), "invalid value: integer `-4`"),
        (json!({"type": "Conv2d", "out_channels": "4", "kernel_size": 3}), "invalid type: string \"4\""),
        (json!({"type": "ReLU", "stride": 2, "padding": 1}), "ReLU has no stride, padding"),
        (json!({"type": "BatchNorm2d", "out_channels": 4}), "BatchNorm2d has no out_channels"),
        (json!({"type": "MaxPool2d"}), "MaxPool2d needs kernel_size"),
        (json!({"type": "MaxPool2d", "kernel_size": 2, "groups": 2}), "MaxPool2d has no groups"),
        (json!({"type": "AvgPool2d", "kernel_size": 2, "bias": true}), "AvgPool2d has no bias"),
        (json!({"type": "AdaptiveAvgPool2d"}), "AdaptiveAvgPool2d needs output_size"),
        (json!({"type": "AdaptiveAvgPool2d", "output_size": [1, 1, 1]}), "output_size"),
        (json!({"type": "Dropout", "out_features": 3}), "Dropout has no out_features"),
        (json!({"type": "Linear"}), "Linear needs out_features"),
        (json!({"type": "Linear", "out_features": 3, "block": true}), "Linear has no block"),
        (json!({"type": "Flatten", "output_size": 1}), "Flatten has no output_size"),
        (json!({"type": "Identity", "kernel_size": 1}), "Identity has no kernel_size"),
        (json!({"type": "Sequential"}), "Sequential needs layers"),
        (json!({"type": "Sequential", "layers": [], "shortcut": []}), "Sequential has no shortcut"),
        (json!({"type": "Residual", "shortcut": []}), "Residual needs layers"),
        (json!({"type": "Residual", "layers": [], "block": true}), "Residual has no block"),
        (json!({"type": "Sequential", "layers": [{"type": "ReLU", "p": 0.5}]}), "ReLU has no p"),
    ];
    for (layer, message) in bad {
        let error = serde_json::from_value::<Named>(layer.clone()).unwrap_err().to_string();
        assert!(error.contains(message) || (message == "output_size" && error.contains("Size")), "{layer}: {error}");
    }
    let whole = [
        (json!({"input": [3, 8, 8], "layers": [], "classes": 2}), "classes"),
        (json!({"layers": []}), "input"),
        (json!({"name": "resnet50", "input": [3, 64, 64], "width": 1.0, "classes": 2}), "resnet50"),
        (json!({"name": "resnet18", "input": [3, 64, 64], "classes": 2}), "width"),
        (json!({"name": "resnet18", "input": [3, 64, 64], "width": 1.0, "classes": 2, "depth": 3}), "depth"),
        (json!({"input": [3, 8, 8]}), "channels"),
    ];
    for (architecture, message) in whole {
        let error = serde_json::from_value::<Architecture>(architecture.clone()).unwrap_err().to_string();
        assert!(error.contains(message), "{architecture}: {error}");
    }
}

#[test]
fn impossible_networks_name_the_layer() {
    let conv = |more: Value| {
        let mut conv = json!({"type": "Conv2d", "out_channels": 4, "kernel_size": 3});
        conv.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        conv
    };
    let (c, flat, last) =
        (conv(json!({})), json!({"type": "Flatten"}), json!({"type": "Linear", "name": "last", "out_features": 2}));
    let before_head = |layer: Value| json!([c, layer, flat, last]);
    let pool = |kind: &str, kernel_size: usize, stride: usize, padding: usize| {
        before_head(json!({"type": kind, "kernel_size": kernel_size, "stride": stride, "padding": padding}))
    };
    let residual = |path: Value, shortcut: Value| {
        before_head(json!({"type": "Residual", "name": "sum", "layers": path, "shortcut": shortcut}))
    };
    let same = conv(json!({"padding": 1}));
    let huge = usize::MAX;
    let bad = [
        (json!([]), "the network: it has no convolution"),
        (json!([flat, last]), "the network: it has no convolution"),
        (json!([c]), "the last layer: expected Linear"),
        (json!([c, flat]), "the last layer: expected Linear"),
        (json!([c, flat, last, {"type": "ReLU"}]), "the last layer: expected Linear"),
        (json!([c, flat, {"type": "Linear", "out_features": 1}]), "1 classes"),
        (json!([c, flat, {"type": "Linear", "out_features": 20_001}]), "20001 classes"),
        (json!([c, flat, {"type": "Linear", "out_features": 0}]), "Linear 2: out_features 0"),
        (json!([c, flat, {"type": "Linear", "out_features": huge}]), "Linear 2: out_features 18446744073709551615"),
        (json!([c, last]), "Linear last: it gets maps of 18 x 18 values: put Flatten before it"),
        (
            json!([c, {"type": "AdaptiveAvgPool2d", "output_size": 1}, last]),
            "Linear last: it gets maps of 1 x 1 values",
        ),
        (json!([c, flat, {"type": "BatchNorm2d"}, last]), "BatchNorm2d 2: it needs maps, but gets a vector"),
        (json!([c, flat, c, last]), "Conv2d 2: it needs maps, but gets a vector"),
        (json!([c, flat, {"type": "Dropout2d"}, last]), "Dropout2d 2: it needs maps"),
        (json!([c, flat, {"type": "MaxPool2d", "kernel_size": 1}, last]), "MaxPool2d 2: it needs maps"),
        (before_head(conv(json!({"out_channels": 0}))), "Conv2d 1: out_channels 0"),
        (before_head(conv(json!({"out_channels": huge}))), "Conv2d 1: out_channels 18446744073709551615"),
        (before_head(conv(json!({"kernel_size": 0}))), "Conv2d 1: a kernel_size of 0"),
        (before_head(conv(json!({"kernel_size": 32}))), "Conv2d 1: a kernel_size of 32"),
        (before_head(conv(json!({"padding": 3}))), "Conv2d 1: a kernel_size of 3 with a padding of 3"),
        (before_head(conv(json!({"padding": huge}))), "Conv2d 1: a kernel_size of 3 with a padding of"),
        (before_head(conv(json!({"stride": 0}))), "Conv2d 1: a kernel_size of 3 with a stride of 0"),
        (before_head(conv(json!({"stride": 17}))), "Conv2d 1: a kernel_size of 3 with a stride of 17"),
        (before_head(conv(json!({"groups": 0}))), "Conv2d 1: groups 0"),
        (before_head(conv(json!({"groups": 2}))), "Conv2d 1: groups 2: expected 1, or 4"),
        (before_head(conv(json!({"groups": 4, "out_channels": 8}))), "Conv2d 1: groups 4"),
        (
            before_head(conv(json!({"kernel_size": 19}))),
            "Conv2d 1 would get maps of 18 x 18 values, too small for its 19 x 19",
        ),
        (pool("MaxPool2d", 0, 1, 0), "MaxPool2d 1: a kernel_size of 0"),
        (pool("MaxPool2d", 2, 0, 0), "MaxPool2d 1: a kernel_size of 2 with a stride of 0"),
        (pool("AvgPool2d", 241, 1, 0), "AvgPool2d 1: a kernel_size of 241"),
        (pool("AvgPool2d", 3, 1, 2), "AvgPool2d 1: a padding of 2: expected at most half"),
        (pool("MaxPool2d", 2, 1, huge), "MaxPool2d 1: a padding of 18446744073709551615"),
        (
            pool("MaxPool2d", 19, 1, 0),
            "MaxPool2d 1 would get maps of 18 x 18 values, too small for its 19 x 19 windows",
        ),
        (
            before_head(json!({"type": "AdaptiveAvgPool2d", "output_size": [0, 1]})),
            "AdaptiveAvgPool2d 1: output_size 0 x 1",
        ),
        (before_head(json!({"type": "AdaptiveAvgPool2d", "output_size": huge})), "AdaptiveAvgPool2d 1: output_size"),
        (before_head(json!({"type": "Dropout", "p": 1.0})), "Dropout 1: p 1"),
        (before_head(json!({"type": "Dropout2d", "p": -0.5})), "Dropout2d 1: p -0.5"),
        (residual(json!([]), json!([])), "Residual sum: its path has no layer"),
        (residual(json!([c]), json!([])), "Add sum: the path makes 4 maps of 16 x 16, the shortcut 4 maps of 18 x 18"),
        (
            residual(json!([same]), json!([conv(json!({"padding": 1, "out_channels": 5}))])),
            "Add sum: the path makes 4 maps",
        ),
        (residual(json!([same, flat]), json!([])), "Add sum: one of path and shortcut makes maps, the other a vector"),
        (
            residual(json!([{"type": "Residual", "layers": [same]}]), json!([])),
            "Residual: its path or shortcut begins with another Residual",
        ),
        (
            residual(json!([{"type": "Identity"}, {"type": "Residual", "layers": [same]}]), json!([])),
            "Residual: its path or shortcut begins with another Residual",
        ),
        (json!([{"type": "Residual", "layers": [c]}, flat, last]), "Add 0: the path makes 4 maps"),
        (json!([{"type": "Residual", "layers": [{"type": "ReLU"}]}, flat, last]), "Residual: it gets the images"),
        (
            json!([{"type": "ReLU"}, {"type": "Residual", "layers": [{"type": "ReLU"}]}, flat, last]),
            "block 1: it has no convolution",
        ),
        (
            json!([{"type": "Sequential", "block": true, "layers": []}, c, flat, last]),
            "Sequential 0: a block without a layer",
        ),
        (
            json!([{"type": "Sequential", "block": true, "layers": [{"type": "ReLU"}]}, c, flat, last]),
            "block 1: it has no convolution",
        ),
        (
            json!([{"type": "Sequential", "block": true, "layers": [c, flat, last]}]),
            "the last layer: expected it behind the last block",
        ),
        (json!([conv(json!({"name": "last"})), flat, last]), "Linear last: another layer has the same name"),
        (json!([conv(json!({"name": ""})), flat, last]), "Conv2d : an empty name"),
        (
            json!([{"type": "Sequential", "name": "a", "layers": [conv(json!({"name": "b"}))]}, conv(json!({"name": "a.b"})), flat, last]),
            "Conv2d a.b: another layer has the same name",
        ),
    ];
    for (layers, message) in bad {
        let error = spec([3, 20, 20], layers.clone()).build().expect_err(&layers.to_string()).to_string();
        // Which block it is in, where one has begun, is tested with strided networks.
        let error = error.replace(" of block 1", "").replace(" of block 2", "");
        assert!(error.contains(message), "{layers}: {error}");
    }
    let add = Spec { input: [3, 8, 8], layers: vec![Op::conv(4, 3, 0).into(), Op::Add.into()] };
    assert_eq!(add.build().unwrap_err().to_string(), "Add 1: it stands in no list of layers: a Residual makes it");
    // One step within each of these limits there is a network.
    let good = [
        before_head(conv(json!({"groups": 4, "out_channels": 4}))),
        before_head(conv(json!({"kernel_size": 18}))),
        before_head(conv(json!({"padding": 2}))),
        pool("MaxPool2d", 2, 1, 1),
        pool("AvgPool2d", 18, 16, 9),
        residual(json!([same]), json!([])),
        residual(json!([{"type": "ReLU"}, {"type": "Residual", "layers": [same]}]), json!([])),
        residual(json!([same, flat]), json!([flat])),
        residual(
            json!([{"type": "Flatten"}, {"type": "Linear", "out_features": 9}]),
            json!([same, flat, {"type": "Linear", "out_features": 9}]),
        ),
        json!([c, flat, {"type": "Linear", "out_features": 20_000}]),
    ];
    for mut layers in good {
        // Behind a vector there is nothing to flatten.
        let vector =
            layers[1]["layers"].as_array().is_some_and(|path| path.iter().any(|layer| layer["type"] == "Flatten"));
        if vector {
            layers.as_array_mut().unwrap().remove(2);
        }
        spec([3, 20, 20], layers.clone()).build().unwrap_or_else(|error| panic!("{layers}: {error}"));
    }
}

#[test]
fn a_field_beyond_all_numbers_is_no_panic() {
    // Each convolution of one value takes 16 times the rows of the one before from one to the next.
    let convs = |prefix: &str| -> Vec<Value> {
        let conv = |number| json!({"type": "Conv2d", "name": format!("{prefix}{number}"), "out_channels": 1, "kernel_size": 2, "padding": 1, "stride": 16});
        (0..20).map(conv).collect()
    };
    let layers = json!([
        {"type": "ReLU"},
        {"type": "Residual", "layers": convs("path"), "shortcut": convs("shortcut")},
        {"type": "Flatten"},
        {"type": "Linear", "name": "last", "out_features": 2},
    ]);
    let network = spec([3, 20, 20], layers).build().unwrap();
    assert_eq!(network.last_block().receptive_field, usize::MAX);
}

#[test]
fn leaving_out_blocks_keeps_the_names_of_the_rest() {
    let names = |spec: &Spec| {
        let network = spec.build().unwrap();
        network.parameters().into_iter().map(|parameter| parameter.name).collect::<Vec<_>>()
    };
    for name in [Name::LeNet5, Name::Vgg11Bn, Name::ResNet18, Name::MobileNetV2] {
        let whole = Known { name, input: [3, 64, 64], width: 0.25, classes: 3 }.spec().unwrap();
        let network = whole.build().unwrap();
        let blocks = network.blocks().len();
        assert_eq!(names(&whole.with_blocks(|_| true).unwrap()), names(&whole), "{name:?}");
        for depth in 1..=blocks {
            let first = whole.with_blocks(|number| number <= depth).unwrap();
            let built = first.build().unwrap();
            assert_eq!(built.blocks().len(), depth, "{name:?}");
            assert_eq!(built.last_block().output, network.blocks()[depth - 1].output, "{name:?}");
            assert_eq!(built.nodes()[..built.last_block().nodes.end].len(), network.blocks()[depth - 1].nodes.end);
            assert!(names(&first).iter().all(|key| names(&whole).contains(key)), "{name:?}");
            assert_eq!(built.classes(), 3);
        }
    }
    // A block that changes nothing of the shape can be left out alone.
    let resnet = Known { name: Name::ResNet18, input: [3, 64, 64], width: 0.25, classes: 3 };
    let without = Architecture::Known(resnet).without_block(3).unwrap().build().unwrap();
    assert_eq!(without.blocks().len(), 8);
    assert!(without.parameters().iter().all(|parameter| !parameter.name.starts_with("layer1.1.")));
    let no_block = spec([3, 40, 40], all_layers()).with_blocks(|_| false).unwrap();
    assert_eq!(no_block.build().unwrap_err().to_string(), "the network: it has no convolution");
}

#[test]
fn what_sees_a_part_is_prepared_like_the_whole() {
    let preparation = Preparation { normalize: Normalize::IMAGENET, resize_crop: Some(256) };
    let network = known(Name::Vgg11Bn, [224; 2], 2).prepared(preparation);
    for network in [network.seen_by(0), network] {
        assert_eq!((network.preparation(), network.normalize()), (preparation, Normalize::IMAGENET));
    }
}

#[test]
fn what_sees_a_part_of_the_image_is_built_for_that_part() {
    let vgg = known(Name::Vgg11Bn, [224; 2], 2);
    for (number, block) in vgg.blocks().iter().enumerate() {
        let small = vgg.seen_by(number);
        let side = block.receptive_field;
        assert_eq!(small.input(), [3, side, side]);
        // One value, which sees all of it and nothing beside.
        assert_eq!(small.last_block().output, [block.output[0], 1, 1]);
        assert_eq!((small.last_block().receptive_field, small.last_block().offset), (side, 0));
        assert_eq!(small.parameters(), vgg.parameters()[..small.parameters().len()]);
    }
    // The paths of residual blocks need their padding; what is before them does not.
    let resnet = known(Name::ResNet18, [224; 2], 2);
    assert_eq!(resnet.seen_by(0).input(), [3, 11, 11]);
    assert_eq!(resnet.seen_by(1).input(), [3, 224, 224]);
    assert_eq!(resnet.seen_by(1).last_block(), &resnet.blocks()[1]);
    // What sees more than the image gets the image.
    assert_eq!(known(Name::Vgg11Bn, [64; 2], 2).seen_by(7).input(), [3, 64, 64]);
}

/// A tensor of a file: its name, type, shape and bytes.
type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

/// A file as PyTorch writes one, without a word of convscope.
fn state_dict(tensors: &[Stored]) -> Vec<u8> {
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn weights_are_read_from_a_state_dict_alone() {
    for name in [Name::LeNet5, Name::Vgg11Bn, Name::ResNet18, Name::MobileNetV2] {
        let known = Known { name, input: [3, 64, 64], width: 0.1, classes: 3 };
        let architecture = Architecture::Known(known);
        let network = architecture.build().unwrap();
        let weights = Weights { counters: network.counters().zip(5..).collect(), ..Weights::initial(&network, 1) };
        let meta = Meta {
            architecture,
            classes: ["a", "b", "c"].map(String::from).into(),
            preparation: Default::default(),
            epoch: 1,
            drawn: false,
            made_by: None,
            val_loss: None,
        };
        let ours = Checkpoint { meta, network: network.clone(), weights: weights.clone() }.to_bytes();
        let file = SafeTensors::deserialize(&ours).unwrap();
        let tensors: Vec<Stored> = file
            .tensors()
            .into_iter()
            .map(|(name, view)| (name, view.dtype(), view.shape().to_vec(), view.data().to_vec()))
            .collect();
        let read = |tensors: &[Stored]| Weights::from_state_dict(&state_dict(tensors), &network);
        assert_eq!(Weights::from_state_dict(&ours, &network).unwrap(), weights, "{name:?}");
        assert_eq!(read(&tensors).unwrap(), weights, "{name:?}");
        assert!(matches!(Meta::from_bytes(&state_dict(&tensors)), Err(CheckpointError::NoMeta)));

        // Other programs leave out the counters.
        let mut uncounted = tensors.clone();
        uncounted.retain(|(name, ..)| !name.ends_with("num_batches_tracked"));
        assert_eq!(
            read(&uncounted).unwrap(),
            Weights { counters: Weights::initial(&network, 1).counters, ..weights.clone() }
        );

        // Each tensor is needed, in its type and shape.
        for at in 0..uncounted.len() {
            let key = &uncounted[at].0;
            let error = |problem: &str, tensors: &[Stored]| {
                let error = read(tensors).unwrap_err().to_string();
                assert!(error.starts_with(&format!("tensor \"{key}\": {problem}")), "{error}");
            };
            let mut missing = uncounted.clone();
            missing.remove(at);
            error("is missing", &missing);
            let mut longer = uncounted.clone();
            longer[at].2.push(1);
            error("is F32 of shape", &longer);
            let mut whole_numbers = uncounted.clone();
            whole_numbers[at].1 = Dtype::I32;
            error("is I32 of shape", &whole_numbers);
        }
        let mut more = tensors.clone();
        more.push(("fc.extra".into(), Dtype::F32, vec![1], vec![0; 4]));
        let error = read(&more).unwrap_err().to_string();
        assert_eq!(error, "tensor \"fc.extra\": does not belong to the network");
    }
    // The classifier of another number of classes is no part of this network.
    let network = |classes| known(Name::ResNet18, [64; 2], classes);
    let tensors: Vec<Stored> = (network(1000).parameters().into_iter().chain(network(1000).statistics()))
        .map(|parameter| {
            let bytes = vec![0; 4 * parameter.layout.len()];
            (parameter.name, Dtype::F32, parameter.shape, bytes)
        })
        .collect();
    let error = Weights::from_state_dict(&state_dict(&tensors), &network(2)).unwrap_err().to_string();
    assert_eq!(error, "tensor \"fc.weight\": is F32 of shape [1000, 512], expected F32 of shape [2, 512]");
    assert!(matches!(Weights::from_state_dict(b"no file", &network(2)), Err(CheckpointError::Unreadable(_))));
}
