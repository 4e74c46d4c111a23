use super::{Gpu, GpuError};

/// A run of 32-bit numbers in a GPU buffer. Cloning it does not copy the numbers.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub(super) name: String,
    pub(super) buffer: wgpu::Buffer,
    /// First byte in the buffer.
    pub(super) offset: u64,
    len: usize,
}

impl Tensor {
    /// A new tensor of `len` 32-bit numbers, all zero.
    ///
    /// # Errors
    /// [`GpuError::TooLarge`] when it exceeds what the device can bind at once.
    pub fn new(gpu: &Gpu, name: &str, len: usize) -> Result<Self, GpuError> {
        Self::with_usage(gpu, name, len, wgpu::BufferUsages::STORAGE)
    }

    /// A new tensor that kernels bind as a uniform struct.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn uniform(gpu: &Gpu, name: &str, len: usize) -> Result<Self, GpuError> {
        Self::with_usage(gpu, name, len, wgpu::BufferUsages::UNIFORM)
    }

    /// A new tensor with these numbers (`f32` or `u32`) in it.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn from_slice<T: bytemuck::Pod>(gpu: &Gpu, name: &str, values: &[T]) -> Result<Self, GpuError> {
        const { assert!(size_of::<T>() == 4) };
        let tensor = Self::new(gpu, name, values.len())?;
        tensor.write(gpu, values);
        Ok(tensor)
    }

    /// Several tensors side by side in one buffer, so that one kernel can walk over all of them (the optimiser does).
    /// Returns the whole and its parts; the gaps that alignment leaves between the parts hold zeros.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn arena(gpu: &Gpu, name: &str, parts: &[(String, usize)]) -> Result<(Self, Vec<Self>), GpuError> {
        let alignment = gpu.limits().min_storage_buffer_offset_alignment as usize / 4;
        let mut offsets = Vec::with_capacity(parts.len());
        let mut len = 0;
        for (_, part) in parts {
            offsets.push(len);
            len += part.next_multiple_of(alignment);
        }
        let whole = Self::new(gpu, name, len)?;
        let parts = parts.iter().zip(offsets).map(|((part, len), offset)| Self {
            name: format!("{name} {part}"),
            buffer: whole.buffer.clone(),
            offset: 4 * offset as u64,
            len: *len,
        });
        Ok((whole.clone(), parts.collect()))
    }

    /// The bytes of a tensor of `len` 32-bit numbers, if the device can bind so many at once. Allocates nothing.
    ///
    /// # Errors
    /// [`GpuError::TooLarge`] when it cannot.
    pub fn check(gpu: &Gpu, name: &str, len: usize) -> Result<u64, GpuError> {
        let bytes = 4 * len.max(1) as u64;
        let limits = gpu.limits();
        let (limit, limit_name) = [
            (limits.max_storage_buffer_binding_size, "max_storage_buffer_binding_size"),
            (limits.max_buffer_size, "max_buffer_size"),
        ]
        .into_iter()
        .min()
        .expect("there are two limits");
        if bytes > limit { Err(GpuError::TooLarge { name: name.into(), bytes, limit, limit_name }) } else { Ok(bytes) }
    }

    fn with_usage(gpu: &Gpu, name: &str, len: usize, usage: wgpu::BufferUsages) -> Result<Self, GpuError> {
        let bytes = Self::check(gpu, name, len)?;
        let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some(name),
            size: bytes.next_multiple_of(16),
            usage: usage | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Ok(Self { name: name.into(), buffer, offset: 0, len })
    }

    /// Its first `len` numbers as a tensor of their own.
    ///
    /// # Panics
    /// When it holds fewer.
    pub fn first(&self, len: usize) -> Self {
        assert!(len <= self.len, "{}: the first {len} of {} numbers", self.name, self.len);
        Self { len, ..self.clone() }
    }

    /// What follows its first `start` numbers, as a tensor of its own.
    ///
    /// # Panics
    /// When it holds no more.
    pub fn from(&self, start: usize) -> Self {
        assert!(start < self.len, "{}: what follows {start} of {} numbers", self.name, self.len);
        Self { offset: self.offset + 4 * start as u64, len: self.len - start, ..self.clone() }
    }

    /// How many numbers stand before it in its buffer: before a part of an arena, in the arena.
    pub fn start(&self) -> usize {
        (self.offset / 4) as usize
    }

    /// How many 32-bit numbers it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        4 * self.len as u64
    }

    /// Replaces its first numbers; takes effect before the next submitted work.
    ///
    /// # Panics
    /// When there are more values than the tensor holds.
    pub fn write<T: bytemuck::Pod>(&self, gpu: &Gpu, values: &[T]) {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        assert!(bytes.len() as u64 <= self.bytes(), "{}: {} bytes into {}", self.name, bytes.len(), self.bytes());
        gpu.queue().write_buffer(&self.buffer, self.offset, bytes);
    }

    /// Makes all its numbers zero.
    pub(super) fn clear(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.clear_buffer(&self.buffer, self.offset, Some(self.bytes()));
    }

    /// Takes over the numbers of a tensor of the same length, as they are after everything submitted so far.
    ///
    /// # Errors
    /// When the device failed.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn copy_from(&self, gpu: &Gpu, other: &Self) -> Result<(), GpuError> {
        assert_eq!(self.len, other.len, "{} takes over {}", self.name, other.name);
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&other.buffer, other.offset, &self.buffer, self.offset, self.bytes());
        gpu.submit(encoder).map(drop)
    }

    /// Reads all its numbers back, after everything submitted so far.
    ///
    /// # Errors
    /// When the device was lost.
    pub async fn read<T: bytemuck::Pod>(&self, gpu: &Gpu) -> Result<Vec<T>, GpuError> {
        const { assert!(size_of::<T>() == 4) };
        let staging = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size: self.bytes().max(4),
            usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
            mapped_at_creation: false,
        });
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(&self.buffer, self.offset, &staging, 0, self.bytes());
        gpu.submit(encoder)?;
        let bytes = gpu.map(&staging).await?;
        Ok(bytemuck::pod_collect_to_vec(&bytes[..self.bytes() as usize]))
    }

    /// The part of its arena's numbers that is this tensor.
    pub(crate) fn within<'a>(&self, arena: &'a [f32]) -> &'a [f32] {
        let first = (self.offset / 4) as usize;
        &arena[first..first + self.len]
    }

    pub(super) fn binding(&self) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.buffer,
            offset: self.offset,
            size: std::num::NonZeroU64::new(self.bytes()),
        })
    }

    /// Whether two tensors are the same run of numbers.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.buffer == other.buffer && self.offset == other.offset && self.len == other.len
    }

    /// Whether two tensors share any byte.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.buffer == other.buffer
            && self.offset < other.offset + other.bytes()
            && other.offset < self.offset + self.bytes()
    }
}
