//! Weights that `torch.save` wrote (`*.bin`), for adapters of other libraries: a dict of tensors, and nothing else.
//!
//! Such a file is a zip archive of a pickle, which is a program, and of the numbers of each storage. Nothing is executed
//! here: `machine.rs` follows the few opcodes that tensors need and refuses every other, `archive.rs` bounds what
//! the entries may take. Each tensor is held against its storage before memory is taken for its numbers.
//! The format: `torch/serialization.py` and `torch/_utils.py` of PyTorch, since 1.6.

mod archive;
mod error;
mod machine;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};

use self::archive::Archive;
pub use self::error::PickleError;
use self::machine::MOST_PICKLE_BYTES;
use self::value::{Storage, StorageType, View};
use crate::tensors::FloatTensor;
use crate::text::escape;

/// Reads the tensors of a file's bytes; the path is for messages.
/// # Errors
/// If the file is not the zip archive of a dict of tensors, or a tensor is not of finite float32, float16 or bfloat16.
pub(crate) fn read(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, FloatTensor>, PickleError> {
    let mut archive = Archive::open(path, bytes)?;
    // Older versions of torch wrote none; their numbers are taken as little-endian, as torch takes them.
    if let Some(order) = archive.optional("byteorder", 16)?
        && order != b"little"
    {
        return Err(archive.wrong(
            "byteorder",
            "`little`",
            &format!("`{}`", escape(&String::from_utf8_lossy(&order), 16)),
        ));
    }
    let pickle = archive.required("data.pkl", MOST_PICKLE_BYTES)?;
    let described = machine::describe(path, &pickle)?;
    let mut views: Vec<(&str, View)> = described.tensors.into_iter().collect();
    // So that one storage is in memory at a time.
    views.sort_by_key(|(_, view)| view.storage);
    let mut tensors = BTreeMap::new();
    for shared in views.chunk_by(|(_, one), (_, other)| one.storage == other.storage) {
        let storage = described.storages[shared[0].1.storage];
        let width = width(storage.numbers).ok_or_else(|| {
            unfit(path, shared[0].0, "float32, float16 or bfloat16", storage.numbers.name().to_owned())
        })?;
        let data = read_storage(&mut archive, &storage, width)?;
        for (name, view) in shared {
            let layout = Layout::new(view, storage.count)
                .map_err(|found| unfit(path, name, "different numbers of its storage", found))?;
            archive.take_memory(layout.count.saturating_mul(size_of::<f32>()))?;
            let values = layout.values(storage.numbers, &data);
            // Not `all`, which would stop at the first and keep the loop from being vectorised.
            if !values.iter().fold(true, |finite, value| finite & value.is_finite()) {
                return Err(unfit(path, name, "finite numbers", "NaN or infinity".to_owned()));
            }
            tensors.insert((*name).to_owned(), FloatTensor { shape: view.shape.clone(), values });
        }
    }
    Ok(tensors)
}

fn unfit(path: &Path, name: &str, expected: &str, found: String) -> PickleError {
    PickleError::Tensor {
        path: path.to_owned(),
        name: escape(name, 120),
        expected: expected.to_owned(),
        found,
    }
}

/// Bytes of a number, where it is of a type that is read.
fn width(numbers: StorageType) -> Option<usize> {
    match numbers {
        StorageType::Float => Some(4),
        StorageType::Half | StorageType::BFloat16 => Some(2),
        StorageType::Double | StorageType::Long | StorageType::Int => None,
    }
}

/// The bytes of a storage's entry, as many as the pickle says.
fn read_storage(
    archive: &mut Archive<'_>,
    storage: &Storage<'_>,
    width: usize,
) -> Result<Vec<u8>, PickleError> {
    let entry = format!("data/{}", storage.key);
    let bytes = storage.count.saturating_mul(width);
    let data = archive.required(&entry, bytes)?;
    if data.len() != bytes {
        let expected = format!("{bytes} bytes for {} numbers of {}", storage.count, storage.numbers.name());
        return Err(archive.wrong(&entry, &expected, &data.len().to_string()));
    }
    Ok(data)
}

/// Where the numbers of a tensor lie in its storage; each of them is there, and is no other's.
struct Layout {
    offset: usize,
    count: usize,
    /// Stride and size of each dimension that has more than one place, outermost first.
    dimensions: Vec<(usize, usize)>,
}

impl Layout {
    /// Holds a tensor against the numbers that its storage has; the error is what is wrong with it.
    fn new(view: &View, stored: usize) -> Result<Self, String> {
        let View { offset, ref shape, ref strides, .. } = *view;
        let told = || format!("size {shape:?} with strides {strides:?} from {offset} of {stored}");
        let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
        let count = count.ok_or_else(told)?;
        if count == 0 {
            return if offset <= stored {
                Ok(Self { offset, count, dimensions: Vec::new() })
            } else {
                Err(told())
            };
        }
        let dimensions: Vec<(usize, usize)> =
            strides.iter().copied().zip(shape.iter().copied()).filter(|(_, size)| *size > 1).collect();
        // From the innermost on, each step must lead past all that the dimensions within reach.
        let mut inwards = dimensions.clone();
        inwards.sort_unstable();
        let reach = inwards.iter().try_fold(0_usize, |reach, (stride, size)| {
            let apart = *stride > reach;
            stride.checked_mul(size - 1).and_then(|steps| steps.checked_add(reach)).filter(|_| apart)
        });
        match reach.and_then(|reach| reach.checked_add(offset)) {
            Some(last) if last < stored => Ok(Self { offset, count, dimensions }),
            _ => Err(told()),
        }
    }

    /// The tensor's numbers out of the bytes of its whole storage.
    fn values(&self, numbers: StorageType, data: &[u8]) -> Vec<f32> {
        let halves = data.as_chunks::<2>().0;
        match numbers {
            StorageType::Half => self.gather(halves, |bytes| f16::from_le_bytes(bytes).to_f32()),
            StorageType::BFloat16 => self.gather(halves, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            _ => self.gather(data.as_chunks::<4>().0, f32::from_le_bytes),
        }
    }

    fn gather<const N: usize>(&self, stored: &[[u8; N]], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        if self.is_contiguous() {
            let stored = &stored[self.offset..self.offset + self.count];
            return stored.iter().map(|bytes| number(*bytes)).collect();
        }
        let mut values = Vec::with_capacity(self.count);
        let (mut at, mut places) = (self.offset, vec![0; self.dimensions.len()]);
        for _ in 0..self.count {
            values.push(number(stored[at]));
            for (place, (stride, size)) in places.iter_mut().zip(&self.dimensions).rev() {
                *place += 1;
                at += stride;
                if *place < *size {
                    break;
                }
                *place = 0;
                at -= stride * size;
            }
        }
        values
    }

    fn is_contiguous(&self) -> bool {
        let mut step = 1;
        self.dimensions.iter().rev().all(|(stride, size)| {
            let expected = step;
            step *= size;
            *stride == expected
        })
    }
}
