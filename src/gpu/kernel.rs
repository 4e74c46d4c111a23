//! Declares a kernel's bindings once, by name, on the host's side.
//!
//! `kernel!` turns a few lines into a struct whose fields are the kernel's arguments, so that a call site reads
//! `plan.add(&relu::Forward { shape, x: &conv1, y: &relu1 })`. Binding numbers come from the WGSL itself, looked up by
//! name; `Declaration::check` holds the declaration against the WGSL without a GPU.

use crate::gpu::Tensor;

/// A WGSL file of `shaders/`.
pub struct Source {
    /// File name, such as `"conv2d.wgsl"`.
    pub file: &'static str,
    /// Its text, without what it shares with others.
    pub text: &'static str,
}

/// The files of `shaders/common/`. Another file asks for some by a line such as `// uses: step, mask`.
const COMMON: [(&str, &str); 5] = [
    ("step", include_str!("../../shaders/common/step.wgsl")),
    ("mask", include_str!("../../shaders/common/mask.wgsl")),
    ("sums", include_str!("../../shaders/common/sums.wgsl")),
    ("places", include_str!("../../shaders/common/places.wgsl")),
    ("numbers", include_str!("../../shaders/common/numbers.wgsl")),
];

/// The uniform in `shaders/common/numbers.wgsl` that every kernel has beside its arguments: workgroups before the dispatch's own.
pub(super) const WORKGROUPS_BEFORE: &str = "workgroups_before";
/// The constant that says whether a kernel reads it: 1 where it is dispatched in parts.
pub(super) const IN_PARTS: &str = "IN_PARTS";

impl Source {
    /// The whole module: the file, then what it shares with others, so that its lines keep their numbers.
    ///
    /// # Panics
    /// When the file asks for what there is not, which is a mistake in this crate.
    pub fn module(&self) -> String {
        let used = self.text.lines().filter_map(|line| line.strip_prefix("// uses: "));
        let mut module = self.text.to_string();
        for name in used.flat_map(|names| names.split(", ")) {
            let common = COMMON.iter().find(|(common, _)| *common == name);
            let (_, text) = common.unwrap_or_else(|| panic!("shaders/{}: there is no common/{name}.wgsl", self.file));
            module.push_str(text);
        }
        module
    }

    /// The number that an argument is bound by, in bind group 0, as the module says it: `@group(0) @binding(2) var<..> x: ..`, each on a
    /// line of its own.
    pub fn binding(&self, name: &str) -> Option<u32> {
        self.module().lines().find_map(|line| {
            let (number, variable) = line.strip_prefix("@group(0) @binding(")?.split_once(") var<")?;
            let (_, variable) = variable.split_once("> ")?;
            let (found, _) = variable.split_once(':')?;
            (found == name).then(|| number.parse().ok())?
        })
    }
}

/// The fields of a uniform struct as Rust lays them out: name, scalar type, byte offset.
pub type Layout = &'static [(&'static str, Scalar, usize)];

/// A scalar that a uniform struct may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// `u32`
    U32,
    /// `f32`
    F32,
}

/// Maps Rust's scalar types to [`Scalar`].
pub trait UniformField {
    /// The WGSL scalar of this type.
    const SCALAR: Scalar;
}
impl UniformField for u32 {
    const SCALAR: Scalar = Scalar::U32;
}
impl UniformField for f32 {
    const SCALAR: Scalar = Scalar::F32;
}

/// How a kernel uses one of its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A uniform struct with this layout.
    Uniform(Layout),
    /// A storage buffer that is only read.
    Read,
    /// A storage buffer that is written, and maybe read.
    Write,
    /// A storage buffer whose elements are changed: each is read only before it is written, and by the invocation that writes it.
    Update,
}

impl Access {
    /// Whether the kernel writes the argument.
    pub(super) fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Update)
    }
}

/// What the host believes about a kernel.
pub struct Declaration {
    /// The operation, such as `"conv2d"`: the stem of the WGSL file.
    pub op: &'static str,
    /// The WGSL file.
    pub source: Source,
    /// The entry point in it.
    pub entry: &'static str,
    /// The arguments by name.
    pub arguments: &'static [(&'static str, Access)],
}

/// One argument of a kernel that is about to run.
pub enum Argument<'a> {
    /// The bytes of a small struct that stays the same for every run.
    Constant(&'a [u8]),
    /// A tensor; the declaration says how it is used.
    Tensor(&'a Tensor),
}

/// Numbers that the host decides and the WGSL knows as constants: tiles, and what loops over local arrays are bound by.
pub type Constants = Vec<(&'static str, u32)>;

/// Invocations of a workgroup, where the host does not decide it.
pub const WORKGROUP: u64 = 64;

/// A kernel with its arguments, ready to be added to a [`Plan`](crate::gpu::Plan).
pub trait Kernel {
    /// What is known of it without arguments.
    fn declaration(&self) -> &'static Declaration;
    /// Its arguments, in the declaration's order.
    fn arguments(&self) -> Vec<Argument<'_>>;
    /// What the WGSL's constants of these names are set to.
    fn constants(&self) -> Constants;
    /// How many workgroups have work to do.
    fn workgroups(&self) -> u64;
    /// Floating-point operations it is asked for; a multiply-add counts as two.
    fn flops(&self) -> u64;
}

/// Declares a struct that is uploaded as a WGSL uniform: `repr(C)`, `Pod`, and its [`Layout`] as `LAYOUT`.
macro_rules! uniform {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl $name {
            /// Names, types and offsets of the fields.
            pub const LAYOUT: $crate::gpu::kernel::Layout = &[$((
                stringify!($field),
                <$type as $crate::gpu::kernel::UniformField>::SCALAR,
                std::mem::offset_of!($name, $field),
            ),)*];
        }
    };
}

/// Declares a kernel: its WGSL file and entry point, its arguments by name, its invocations and its arithmetic.
///
/// ```text
/// kernel! {
///     /// `y = max(x, 0)`
///     Forward("relu", forward) {
///         constant shape: Shape,
///         read x, write y,
///     }
///     threads |shape| shape.vectors;
///     flops |shape| 4 * shape.vectors;
/// }
/// ```
/// `constant` is a struct made with `uniform!` that stays the same for every run; `uniform step: Step` is a tensor that
/// holds such a struct and changes between runs; `read`, `write` and `update` are storage tensors ([`Access`]). A kernel with a
/// `tile tile: Tile`, made with `tile!`, has constants; one with `workgroups |..|` in the place of `threads |..|` says how many
/// workgroups it needs, whatever their size.
macro_rules! kernel {
    (
        $(#[$doc:meta])*
        $name:ident($op:literal, $entry:ident) {
            constant $shape:ident: $shape_type:ty,
            $(tile $tile:ident: $tile_type:ty,)?
            $(uniform $uniform:ident: $uniform_type:ty,)*
            $(read $read:ident,)*
            $(write $write:ident,)*
            $(update $update:ident,)*
        }
        $size:ident |$($known:ident),+| $count:expr;
        flops |$flops_shape:ident| $flops:expr;
    ) => {
        $(#[$doc])*
        #[allow(missing_docs)] // The fields carry the names of the kernel's arguments, which its WGSL file explains.
        pub struct $name<'a> {
            pub $shape: $shape_type,
            $(pub $tile: $tile_type,)?
            $(pub $uniform: &'a $crate::gpu::Tensor,)*
            $(pub $read: &'a $crate::gpu::Tensor,)*
            $(pub $write: &'a $crate::gpu::Tensor,)*
            $(pub $update: &'a $crate::gpu::Tensor,)*
        }

        impl $name<'_> {
            /// What is known of this kernel without arguments.
            pub const DECLARATION: $crate::gpu::kernel::Declaration = $crate::gpu::kernel::Declaration {
                op: $op,
                source: $crate::gpu::kernel::Source {
                    file: concat!($op, ".wgsl"),
                    text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $op, ".wgsl")),
                },
                entry: stringify!($entry),
                arguments: &[
                    (stringify!($shape), $crate::gpu::kernel::Access::Uniform(<$shape_type>::LAYOUT)),
                    $((stringify!($uniform), $crate::gpu::kernel::Access::Uniform(<$uniform_type>::LAYOUT)),)*
                    $((stringify!($read), $crate::gpu::kernel::Access::Read),)*
                    $((stringify!($write), $crate::gpu::kernel::Access::Write),)*
                    $((stringify!($update), $crate::gpu::kernel::Access::Update),)*
                ],
            };
        }

        impl $crate::gpu::kernel::Kernel for $name<'_> {
            fn declaration(&self) -> &'static $crate::gpu::kernel::Declaration {
                const { &<$name<'static>>::DECLARATION }
            }
            fn arguments(&self) -> Vec<$crate::gpu::kernel::Argument<'_>> {
                vec![
                    $crate::gpu::kernel::Argument::Constant(bytemuck::bytes_of(&self.$shape)),
                    $($crate::gpu::kernel::Argument::Tensor(self.$uniform),)*
                    $($crate::gpu::kernel::Argument::Tensor(self.$read),)*
                    $($crate::gpu::kernel::Argument::Tensor(self.$write),)*
                    $($crate::gpu::kernel::Argument::Tensor(self.$update),)*
                ]
            }
            fn constants(&self) -> $crate::gpu::kernel::Constants {
                [$(self.$tile.constants(),)? $crate::gpu::kernel::Constants::new()].concat()
            }
            fn workgroups(&self) -> u64 {
                $(let $known = &self.$known;)+
                $crate::gpu::kernel::$size($count)
            }
            fn flops(&self) -> u64 {
                let $flops_shape = &self.$shape;
                $flops
            }
        }
    };
}

/// Declares a tile: numbers that the WGSL knows as constants.
macro_rules! tile {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* pub $field:ident = $constant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: u32,)* }

        impl $name {
            /// The WGSL's constants.
            pub fn constants(&self) -> $crate::gpu::kernel::Constants {
                vec![$((stringify!($constant), self.$field),)*]
            }
        }
    };
}

/// Workgroups of [`WORKGROUP`] invocations that hold so many.
pub(crate) fn threads(count: u64) -> u64 {
    count.div_ceil(WORKGROUP)
}

/// As it is.
pub(crate) fn workgroups(count: u64) -> u64 {
    count
}

pub(crate) use {kernel, tile, uniform};
