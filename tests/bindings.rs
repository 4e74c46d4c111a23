//! The host's bindings against the WGSL, by name, access and layout. Needs no GPU.

use std::collections::BTreeSet;

use convscope::gpu::kernel::{Access, Constants, Declaration, Scalar, Source, WORKGROUP};
use convscope::gpu::{ProductLimits, TileLimits};
use convscope::ops::{self, KERNELS};

#[test]
fn every_kernel_agrees_with_its_wgsl() {
    for kernel in KERNELS {
        if let Err(error) = kernel.check() {
            panic!("{error}");
        }
    }
}

#[test]
fn binding_numbers_are_those_that_the_compiler_reads() {
    for kernel in KERNELS {
        for (_, variable) in kernel.source.parse().global_variables.iter() {
            let Some(binding) = variable.binding else { continue };
            let name = variable.name.as_deref().unwrap();
            assert_eq!(kernel.source.binding(name), Some(binding.binding), "{}: {name}", kernel.source.file);
        }
        assert_eq!(kernel.source.binding("no_such_name"), None);
    }
}

#[test]
fn every_entry_point_of_every_shader_is_declared_once() {
    let declared: Vec<_> =
        KERNELS.iter().map(|kernel| (kernel.source.file.to_string(), kernel.entry.to_string())).collect();
    let mut written = BTreeSet::new();
    for file in std::fs::read_dir("shaders").unwrap() {
        let path = file.unwrap().path();
        // What files share has no entry points.
        if path.is_dir() {
            continue;
        }
        let file = path.file_name().unwrap().to_str().unwrap().to_string();
        let kernel = KERNELS.iter().find(|kernel| kernel.source.file == file);
        let source = &kernel.unwrap_or_else(|| panic!("no kernel of {file} is declared")).source;
        for entry in source.parse().entry_points {
            written.insert((file.clone(), entry.name));
        }
    }
    assert_eq!(declared.iter().cloned().collect::<BTreeSet<_>>(), written);
    assert_eq!(declared.len(), written.len(), "a kernel is declared twice");
}

/// The loops of a text that may never end: all but those of the form `for (var i = ..; i < ..; i++)` or `i += ..` in which nothing
/// else changes `i`.
fn endless_loops(text: &str) -> Vec<String> {
    let code: Vec<_> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let word = |text: &str, word: &str| {
        let outside = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let found = text.match_indices(word).map(|(at, _)| at);
        found
            .filter(|at| outside(text[..*at].chars().next_back()) && outside(text[at + word.len()..].chars().next()))
            .collect::<Vec<_>>()
    };
    let mut endless: Vec<_> =
        ["while", "loop"].iter().flat_map(|keyword| word(&code, keyword)).map(|at| code[at..].to_string()).collect();
    for at in word(&code, "for") {
        let header = &code[at..at + code[at..].find('{').unwrap()];
        // From the bracket after the header to the one that closes it.
        let (mut depth, mut closed) = (0, false);
        let body = code[at + header.len()..].split_inclusive(['{', '}']).take_while(|part| {
            let inside = !closed;
            depth += if part.ends_with('{') { 1 } else { -1 };
            closed = depth == 0;
            inside
        });
        let body: String = body.collect();
        let ends = || {
            let [first, condition, update] = header.split(';').collect::<Vec<_>>().try_into().ok()?;
            let counter = first.trim_start_matches("for").trim().strip_prefix("(var ")?.split('=').next()?.trim();
            condition.trim().strip_prefix(counter)?.trim().strip_prefix("< ")?;
            let update = update.trim().strip_prefix(counter)?.trim();
            let changes = |text: &str| {
                let text = text.trim_start();
                ["++", "--", "+=", "-=", "*=", "/=", "%="].iter().any(|operator| text.starts_with(operator))
                    || (text.starts_with('=') && !text.starts_with("=="))
            };
            let changed = word(&body, counter).iter().any(|at| {
                changes(&body[at + counter.len()..])
                    || body[..*at].trim_end().ends_with('&') && !body[..*at].trim_end().ends_with("&&")
            });
            let counts = update.starts_with("++") || (update.starts_with("+= ") && update != "+= 0u)");
            (counts && !changed).then_some(())
        };
        if ends().is_none() {
            endless.push(header.to_string());
        }
    }
    endless
}

/// The guards that would stop others are left out: `gpu::shader`.
#[test]
fn every_loop_of_every_shader_ends() {
    for kernel in KERNELS {
        let endless = endless_loops(&kernel.source.module());
        assert!(endless.is_empty(), "shaders/{}: {}", kernel.source.file, endless[0]);
    }
    for endless in [
        "while i < 4u { i++; }",
        "loop { break; }",
        "for (; i < 4u; i++) {}",
        "for (var i = 0u; ; i++) {}",
        "for (var i = 4u; i > 0u; i++) {}",
        "for (var i = 0u; i <= 4u; i++) {}",
        "for (var i = 0u; i < 4u; i--) {}",
        "for (var i = 0u; i < 4u; j++) {}",
        "for (var i = 0u; i < 4u; i += 0u) {}",
        "for (var i = 0u; i < 4u; i++) { if a { i = 0u; } }",
        "for (var i = 0u; i < 4u; i++) { i -= 1u; }",
        "for (var i = 0u; i < 4u; i++) { change(&i); }",
        "for (var j = 0u; j < 4u; j++) {} for (var i = 0u; i < 4u; i++) { for (var j = 0u; j < 4u; j++) { i--; } }",
    ] {
        assert_eq!(endless_loops(endless).len(), 1, "{endless}");
    }
    for ending in [
        "for (var i = 0u; i < n && a[i] == 0u; i += step) { let ii = i; if i == 2u && i > 1u { continue; } } i = 4u;",
        "for (var i = a; i < min(n, 4u); i++) { b[i] = i; } // while, loop",
    ] {
        assert_eq!(endless_loops(ending), [""; 0], "{ending}");
    }
}

/// What `numbers.wgsl` alone works out, because it alone knows of dispatches in parts.
#[test]
fn no_shader_numbers_its_workgroups_itself() {
    for kernel in KERNELS {
        let module = kernel.source.module();
        let numbers = include_str!("../shaders/common/numbers.wgsl");
        assert_eq!(module.matches(numbers).count(), 1, "shaders/{}", kernel.source.file);
        let own = module.replace(numbers, "");
        for component in ["group.x", "group.y", "groups.x", "id.x", "id.y"] {
            assert!(!own.contains(component), "shaders/{}: {component}", kernel.source.file);
        }
    }
}

#[test]
fn what_files_share_stands_behind_them() {
    let own = "// uses: step, mask\nfn own() {}\n";
    let module = Source { file: "test.wgsl", text: own }.module();
    let shared = module.strip_prefix(own).unwrap();
    assert!(shared.find("struct Step").unwrap() < shared.find("fn mask").unwrap(), "{shared}");
    let alone = "// it uses: step\nfn own() {}\n";
    assert_eq!(Source { file: "test.wgsl", text: alone }.module(), alone);
}

#[test]
#[should_panic(expected = "shaders/test.wgsl: there is no common/stop.wgsl")]
fn a_file_that_uses_what_there_is_not_is_refused() {
    Source { file: "test.wgsl", text: "// uses: step, stop\n" }.module();
}

/// A declaration of relu.forward with one thing about it changed.
fn relu(arguments: &'static [(&'static str, Access)]) -> Declaration {
    Declaration {
        op: "relu",
        source: Source { file: "relu.wgsl", text: include_str!("../shaders/relu.wgsl") },
        entry: "forward",
        arguments,
    }
}

const SHAPE: (&str, Access) = ("shape", Access::Uniform(ops::relu::Shape::LAYOUT));

#[test]
fn the_check_finds_each_kind_of_mistake() {
    let mistakes: [(Declaration, &str); 6] = [
        (relu(&[SHAPE, ("x", Access::Read)]), "does not pass `y`"),
        (
            relu(&[SHAPE, ("x", Access::Read), ("y", Access::Write), ("z", Access::Read)]),
            "does not use the argument `z`",
        ),
        (relu(&[SHAPE, ("x", Access::Write), ("y", Access::Write)]), "`x` is declared Write"),
        (relu(&[SHAPE, ("x", Access::Read), ("y", Access::Read)]), "`y` is declared Read"),
        (
            relu(&[("shape", Access::Uniform(&[("len", Scalar::F32, 0)])), ("x", Access::Read), ("y", Access::Write)]),
            "`shape`: the host has",
        ),
        (
            relu(&[
                ("shape", Access::Uniform(&[("length", Scalar::U32, 0)])),
                ("x", Access::Read),
                ("y", Access::Write),
            ]),
            "`shape`: the host has",
        ),
    ];
    assert!(relu(&[SHAPE, ("x", Access::Read), ("y", Access::Write)]).check().is_ok());
    for (declaration, message) in mistakes {
        let error = declaration.check().unwrap_err();
        assert!(error.contains(message), "{error:?} does not say {message:?}");
    }
}

/// The value of a module's constant.
fn constant(module: &naga::Module, name: &str) -> Option<u32> {
    let (_, constant) = module.constants.iter().find(|(_, constant)| constant.name.as_deref() == Some(name))?;
    match module.global_expressions[constant.init] {
        naga::Expression::Literal(naga::Literal::U32(value)) => Some(value),
        _ => None,
    }
}

#[test]
fn constants_that_the_host_counts_with_agree() {
    let each = [
        (ops::relu::Forward::DECLARATION, u64::from(ops::relu::EACH)),
        (ops::dropout::Forward::DECLARATION, ops::dropout::EACH),
        (ops::batch_norm::Forward::DECLARATION, ops::batch_norm::EACH),
        (ops::bias::Forward::DECLARATION, ops::bias::EACH),
        (ops::add::Forward::DECLARATION, u64::from(ops::add::EACH)),
        (ops::peak::Copy::DECLARATION, u64::from(ops::peak::EACH)),
    ];
    for (kernel, value) in each {
        assert_eq!(constant(&kernel.source.parse(), "EACH").map(u64::from), Some(value), "{}", kernel.source.file);
    }
    use ops::conv2d::wide;
    let wide_constants = [
        ("TILE_VECTORS", wide::TILE_VECTORS),
        ("DEPTH", wide::DEPTH),
        ("RUN", wide::RUN as u32),
        ("ROWS", 2),
        ("VECTORS", 2),
    ];
    for (name, value) in wide_constants {
        assert_eq!(constant(&wide::Forward::DECLARATION.source.parse(), name), Some(value), "{name}");
    }
    for kernel in KERNELS {
        // The host decides how large a workgroup of the subgroup kernels is: a subgroup. And it decides that of the wide kernels.
        let size = match (kernel.op, kernel.entry) {
            ("conv2d_subgroup", _) => 8,
            ("conv2d_wide", "forward" | "backward_input") => 128,
            _ => WORKGROUP as u32,
        };
        for entry in kernel.source.parse().entry_points.into_iter().filter(|entry| entry.name == kernel.entry) {
            // The kernels fold two dimensions of workgroups into one; a single invocation needs no folding.
            assert!(
                [[size, 1, 1], [1, 1, 1]].contains(&entry.workgroup_size),
                "{}, {}",
                kernel.source.file,
                entry.name
            );
        }
    }
}

#[test]
fn constants_that_the_host_sets_are_in_the_wgsl() {
    let shape = ops::conv2d::Shape::new(2, [5, 9, 9], 6, [3, 3], 2, 1);
    let plain = (ops::conv2d::plain::Forward::DECLARATION, ops::conv2d::plain::Tile::GPU.constants());
    let limits = TileLimits::default();
    let depthwise = ops::depthwise::Tile { kernel: 3, stride: 2, pixels: 4 };
    let tiles = [
        plain,
        (ops::depthwise::Forward::DECLARATION, depthwise.constants()),
        (
            ops::conv2d::subgroup::Forward::DECLARATION,
            ops::conv2d::subgroup::ForwardTile::choose(&shape, 8, &limits.unrolled).constants(),
        ),
        (
            ops::conv2d::subgroup::BackwardInput::DECLARATION,
            ops::conv2d::subgroup::InputTile::choose(&shape, 8, &limits.unrolled).constants(),
        ),
        (
            ops::conv2d::subgroup::BackwardWeight::DECLARATION,
            ops::conv2d::subgroup::WeightTile::choose(&shape, 8, &limits.unrolled).constants(),
        ),
        (
            ops::conv2d::tiled::Forward::DECLARATION,
            ops::conv2d::tiled::Tile::forward(&shape, &limits.products).constants(),
        ),
        (ops::conv2d::tiled::BackwardWeight::DECLARATION, ops::conv2d::tiled::WeightTile::choose(&shape).constants()),
        (ops::conv2d::wide::Forward::DECLARATION, ops::conv2d::wide::Tile::SMALL.constants()),
        (ops::conv2d::wide::BackwardWeight::DECLARATION, ops::conv2d::wide::WeightTile::SMALL.constants()),
    ];
    for (kernel, constants) in tiles {
        let module = kernel.source.parse();
        for (name, _) in constants {
            assert!(constant(&module, name).is_some(), "{}: there is no constant {name}", kernel.source.file);
        }
    }
}

/// Bytes of workgroup memory that an entry point uses when the host sets these constants.
fn workgroup_bytes(kernel: &Declaration, constants: &Constants) -> u32 {
    let set = |line: &str| {
        let host = constants.iter().find(|(name, _)| line.starts_with(&format!("const {name} = ")));
        host.map_or(line.to_string(), |(name, value)| format!("const {name} = {value}u;"))
    };
    let text = kernel.source.module().lines().map(set).collect::<Vec<_>>().join("\n");
    let module = naga::front::wgsl::parse_str(&text).unwrap();
    let mut validator = naga::valid::Validator::new(Default::default(), naga::valid::Capabilities::all());
    let info = validator.validate(&module).unwrap();
    let index = module.entry_points.iter().position(|point| point.name == kernel.entry).unwrap();
    module
        .global_variables
        .iter()
        .filter(|(_, variable)| variable.space == naga::AddressSpace::WorkGroup)
        .filter(|(handle, _)| !info.get_entry_point(index)[*handle].is_empty())
        .map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx()))
        .sum()
}

#[test]
fn every_adapter_has_the_workgroup_memory_of_the_tiled_kernels() {
    use ops::conv2d::tiled::{BackwardInput, BackwardWeight, Forward, Tile, WeightTile};
    use ops::conv2d::wide;

    let check = |kernel: Declaration, constants: Constants| {
        let bytes = workgroup_bytes(&kernel, &constants);
        assert!((1..=16_384).contains(&bytes), "{}: {bytes} bytes with {constants:?}", kernel.entry);
    };
    for tile in [wide::Tile::LARGE, wide::Tile::SMALL] {
        check(wide::Forward::DECLARATION, tile.constants());
        check(wide::BackwardInput::DECLARATION, tile.constants());
    }
    for tile in [wide::WeightTile::LARGE, wide::WeightTile::SMALL] {
        check(wide::BackwardWeight::DECLARATION, tile.constants());
    }
    let channels = [1, 8, 13, 16, 32, 100, 256];
    // With few and with many workgroups that are enough, for larger and smaller tiles than the rule's.
    let few = ProductLimits { workgroups: 1, ..Default::default() };
    let many = ProductLimits { workgroups: 4096, ..Default::default() };
    for (cin, cout) in channels.into_iter().flat_map(|cin| channels.map(|cout| (cin, cout))) {
        for (size, products) in [3, 129].into_iter().flat_map(|size| [few, many].map(|products| (size, products))) {
            let shape = ops::conv2d::Shape::new(32, [cin, size, size], cout, [3, 3], 2, 1);
            let limits = TileLimits { products, ..TileLimits::default() };
            check(Forward::DECLARATION, Tile::forward(&shape, &limits.products).constants());
            check(BackwardInput::DECLARATION, Tile::backward_input(&shape, &limits.products).constants());
            check(BackwardWeight::DECLARATION, WeightTile::choose(&shape).constants());
        }
    }
}
