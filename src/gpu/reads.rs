//! Reads through textures, where a driver's loads from buffers are slow.
//!
//! Mesa's software driver loads from a buffer lane by lane, and puts each number into its vector at an index that the compiler does not
//! know. Without AVX-512 this goes through memory: the vector is stored, written into and loaded again, and the processor waits for its own
//! stores. A vector of four in eight lanes takes 110 ns in this way, from a storage texture 4 (docs/performance.md). So there the
//! arrays of vectors of four that a kernel reads are copied to textures before it runs, and its text is changed to read those. Copies move
//! bits: results are the same. What a kernel also writes can be read so only where it reads each element before it writes it
//! ([`Access::Update`]).

use std::sync::Arc;

use super::kernel::Access;
use super::unroll::{enclosed, tokens, without_comments};
use super::{Gpu, Tensor};

/// How kernels read what they do not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// From the buffers of the tensors.
    Buffers,
    /// From textures that they are copied to.
    Textures,
}

/// Textures that a kernel reads at most.
pub(super) const MOST_READ: u32 = 8;

impl Reads {
    /// Textures of one size, if they are large, that there are before one of them is used for another tensor.
    pub const KEPT: u64 = 3;

    /// What suits an adapter.
    pub(super) fn of(info: &wgpu::AdapterInfo, limits: &wgpu::Limits) -> Self {
        let mesa = info.backend == wgpu::Backend::Vulkan && info.name.starts_with("llvmpipe");
        let holds_all = limits.max_storage_textures_per_shader_stage >= MOST_READ
            && u64::from(limits.max_texture_dimension_2d) * ROW_BYTES >= limits.max_storage_buffer_binding_size;
        if mesa && holds_all { Self::Textures } else { Self::Buffers }
    }
}

/// Vectors in a row of a texture.
const ROW: u32 = 1024;
/// Bytes of a vector of four.
const VECTOR: u64 = 16;
/// Bytes of a row.
const ROW_BYTES: u64 = VECTOR * ROW as u64;
/// Bytes of textures of one size that there are before one of them is used for another tensor, and at least [`Reads::KEPT`].
const BYTES_KEPT: u64 = 1 << 20;

/// What an array and a texture hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// `vec4<f32>`
    Floats,
    /// `vec4<u32>`
    Integers,
}

impl Element {
    /// The format of a texture.
    pub(super) fn format(self) -> wgpu::TextureFormat {
        match self {
            Self::Floats => wgpu::TextureFormat::Rgba32Float,
            Self::Integers => wgpu::TextureFormat::Rgba32Uint,
        }
    }

    /// The type, and the format's name, in WGSL.
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::Floats => ["vec4<f32>", "rgba32float"],
            Self::Integers => ["vec4<u32>", "rgba32uint"],
        }
    }
}

/// An array of a module that a kernel reads from a texture.
#[derive(Debug, PartialEq)]
pub(super) struct Array {
    pub(super) name: &'static str,
    pub(super) element: Element,
    /// The number of its buffer.
    number: u32,
    /// Whether the kernel changes it, which needs its buffer, too: the texture holds what was there before.
    updated: bool,
}

impl Array {
    /// The number of the texture: the buffer's, where that is free.
    pub(super) fn binding(&self) -> u32 {
        if self.updated { self.number + BESIDE } else { self.number }
    }
}

/// What is added to the number of a buffer for the texture beside it: more than any file has.
const BESIDE: u32 = 100;

/// The arrays of vectors among the arguments of a kernel that it reads, or changes.
pub(super) fn arrays(module: &str, arguments: &[(&'static str, Access)]) -> Vec<Array> {
    let array = |line: &str| {
        let (found, element, number) = declared(line)?;
        let &(name, access) = arguments.iter().find(|(name, _)| *name == found)?;
        let updated = access == Access::Update;
        (updated || access == Access::Read).then_some(Array { name, element, number, updated })
    };
    module.lines().filter_map(array).collect()
}

/// Name, element and number of `@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;`.
fn declared(line: &str) -> Option<(&str, Element, u32)> {
    let (number, variable) = line.strip_prefix("@group(0) @binding(")?.split_once(") var<storage, ")?;
    let (name, of) = variable.split_once("> ")?.1.split_once(": array<")?;
    let element =
        [Element::Floats, Element::Integers].into_iter().find(|element| of.starts_with(element.names()[0]))?;
    Some((name, element, number.parse().ok()?))
}

/// A module without comments, that reads these arrays from textures.
pub(super) fn through_textures(module: &str, arrays: &[Array]) -> String {
    let module = &without_comments(module);
    let mut text = String::with_capacity(2 * module.len());
    for line in module.lines() {
        let array = declared(line).and_then(|(name, ..)| arrays.iter().find(|array| array.name == name));
        if array.is_none_or(|array| array.updated) {
            text.extend([line, "\n"]);
        }
    }
    let mut changed = String::with_capacity(2 * text.len());
    read(&tokens(&text), arrays, &mut changed);
    for array in arrays {
        let (name, number, [vector, format]) = (array.name, array.binding(), array.element.names());
        changed.push_str(&format!(
            "@group(0) @binding({number}) var texture_{name}: texture_storage_2d<{format}, read>;\n\
             fn read_{name}(i: u32) -> {vector} {{ return textureLoad(texture_{name}, vec2<u32>(i % {ROW}u, i / {ROW}u)); }}\n"
        ));
    }
    changed
}

/// Makes each `x[i]` of an array a call, but where it is assigned.
fn read(mut text: &[&str], arrays: &[Array], out: &mut String) {
    while let Some(&token) = text.first() {
        text = &text[1..];
        let is_array = arrays.iter().any(|array| array.name == token);
        if is_array && text.first() == Some(&"[") {
            let (index, rest) = enclosed(text);
            let mut next = rest.iter().filter(|token| !token.trim().is_empty());
            let assigned = next.next() == Some(&"=") && next.next() != Some(&"=");
            let [before, after] =
                if assigned { [format!("{token}["), "]".into()] } else { [format!("read_{token}("), ")".into()] };
            out.push_str(&before);
            read(index, arrays, out);
            out.push_str(&after);
            text = rest;
        } else {
            out.push_str(token);
        }
    }
}

/// A texture that tensors are copied to, one after the other. It is there as long as plans read from it.
pub(super) struct Texture {
    texture: wgpu::Texture,
    view: wgpu::TextureView,
    element: Element,
    rows: u32,
}

impl Texture {
    fn new(gpu: &Gpu, element: Element, rows: u32) -> Self {
        let texture = gpu.device().create_texture(&wgpu::TextureDescriptor {
            label: Some("reads"),
            size: wgpu::Extent3d { width: ROW, height: rows, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: element.format(),
            usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        });
        Self { view: texture.create_view(&Default::default()), texture, element, rows }
    }

    /// Whether it has such elements and so many rows.
    pub(super) fn holds(&self, element: Element, rows: u32) -> bool {
        (self.element, self.rows) == (element, rows)
    }

    pub(super) fn binding(&self) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::TextureView(&self.view)
    }
}

/// What the textures hold where the next kernel of a plan begins. All plans of a device share them, since each copies what it reads anew.
#[derive(Default)]
pub(super) struct Held {
    /// The longest unused first.
    tensors: Vec<(Tensor, Arc<Texture>)>,
}

impl Held {
    /// The texture of a tensor, and the copy that puts it there, unless it is there already. The kernel reads those in `used`, too, by
    /// their bindings.
    pub(super) fn texture(
        &mut self,
        gpu: &Gpu,
        tensor: &Tensor,
        element: Element,
        used: &[(u32, Arc<Texture>)],
    ) -> (Arc<Texture>, Option<TextureCopy>) {
        if let Some(place) =
            self.tensors.iter().position(|(held, texture)| held.is(tensor) && texture.element == element)
        {
            let held = self.tensors.remove(place);
            self.tensors.push(held.clone());
            return (held.1, None);
        }
        let rows = tensor.bytes().div_ceil(ROW_BYTES).max(1);
        let kept = Reads::KEPT.max(BYTES_KEPT / (rows * ROW_BYTES));
        let rows = u32::try_from(rows).expect("no tensor is so large");
        let textures = gpu.textures(element, rows);
        let holds = |texture: &Arc<Texture>| self.tensors.iter().position(|(_, held)| Arc::ptr_eq(held, texture));
        let free = textures.iter().find(|texture| holds(texture).is_none());
        let oldest = || {
            let unused = |texture: &&Arc<Texture>| used.iter().all(|(_, other)| !Arc::ptr_eq(other, texture));
            textures.iter().filter(unused).min_by_key(|texture| holds(texture))
        };
        let chosen = free.or_else(|| if (textures.len() as u64) < kept { None } else { oldest() });
        let texture = chosen.cloned().unwrap_or_else(|| gpu.add_texture(Texture::new(gpu, element, rows)));
        self.tensors.retain(|(_, held)| !Arc::ptr_eq(held, &texture));
        self.tensors.push((tensor.clone(), texture.clone()));
        let copy = TextureCopy { tensor: tensor.clone(), texture: texture.clone() };
        (texture, Some(copy))
    }

    /// Forgets what is no longer true when a tensor has been written.
    pub(super) fn written(&mut self, tensor: &Tensor) {
        self.tensors.retain(|(held, _)| !held.overlaps(tensor));
    }
}

/// A copy of a tensor to a texture.
pub(super) struct TextureCopy {
    tensor: Tensor,
    texture: Arc<Texture>,
}

impl TextureCopy {
    /// Copies whole rows, then what is left.
    pub(super) fn record(&self, encoder: &mut wgpu::CommandEncoder) {
        let vectors = (self.tensor.bytes() / VECTOR) as u32;
        let mut copy = |row: u32, width: u32, height: u32| {
            if width == 0 || height == 0 {
                return;
            }
            let layout = wgpu::TexelCopyBufferLayout {
                offset: self.tensor.offset + u64::from(row) * ROW_BYTES,
                bytes_per_row: Some(ROW_BYTES as u32),
                rows_per_image: None,
            };
            encoder.copy_buffer_to_texture(
                wgpu::TexelCopyBufferInfo { buffer: &self.tensor.buffer, layout },
                wgpu::TexelCopyTextureInfo {
                    origin: wgpu::Origin3d { x: 0, y: row, z: 0 },
                    ..self.texture.texture.as_image_copy()
                },
                wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
            );
        };
        copy(0, ROW, vectors / ROW);
        copy(vectors / ROW, vectors % ROW, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::{Array, BESIDE, Element, arrays, through_textures};
    use crate::gpu::kernel::Access;

    #[test]
    fn vectors_that_are_read_become_textures() {
        let text = "@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;\n\
                    @group(0) @binding(3) var<storage, read> at: array<u32>;\n\
                    @group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;\n\
                    @group(0) @binding(5) var<storage, read_write> z: array<vec4<u32>>;\n\
                    @group(0) @binding(6) var<storage, read> others: array<vec4<f32>>;\n\
                    fn f() { y[0] = x[at[1] + u32(x[2].x)][3]; let dx = xs[1]; }\n\
                    fn g() { z[z[1].x] = z[2] + others[3]; if z[4].x == 5 { y[1] = y[2]; } }\n";
        let arguments = [("x", Access::Read), ("at", Access::Read), ("y", Access::Write), ("z", Access::Update)];
        let arrays = arrays(text, &arguments);
        let array = |name, element, number, updated| Array { name, element, number, updated };
        assert_eq!(arrays, [array("x", Element::Floats, 2, false), array("z", Element::Integers, 5, true)]);
        assert_eq!(arrays.iter().map(Array::binding).collect::<Vec<_>>(), [2, 5 + BESIDE]);
        let expected = "@group(0) @binding(3) var<storage, read> at: array<u32>;\n\
                        @group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;\n\
                        @group(0) @binding(5) var<storage, read_write> z: array<vec4<u32>>;\n\
                        @group(0) @binding(6) var<storage, read> others: array<vec4<f32>>;\n\
                        fn f() { y[0] = read_x(at[1] + u32(read_x(2).x))[3]; let dx = xs[1]; }\n\
                        fn g() { z[read_z(1).x] = read_z(2) + others[3]; if read_z(4).x == 5 { y[1] = y[2]; } }\n\
                        @group(0) @binding(2) var texture_x: texture_storage_2d<rgba32float, read>;\n\
                        fn read_x(i: u32) -> vec4<f32> { return textureLoad(texture_x, vec2<u32>(i % 1024u, i / 1024u)); }\n\
                        @group(0) @binding(105) var texture_z: texture_storage_2d<rgba32uint, read>;\n\
                        fn read_z(i: u32) -> vec4<u32> { return textureLoad(texture_z, vec2<u32>(i % 1024u, i / 1024u)); }\n";
        assert_eq!(through_textures(text, &arrays), expected);
    }
}
