//! Tensors of a safetensors file, checked before they are used: what the readers of checkpoints and of adapters share.
//!
//! Knows nothing of what the tensors mean. Each reader turns a `TensorProblem` into an error of its own, with the file.

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

/// What a file holds, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorSummary {
    /// Tensors.
    pub count: usize,
    /// Numbers in all of them.
    pub numbers: usize,
}

impl TensorSummary {
    /// Reads and checks the header of a file's bytes; nothing is sized by what it says.
    /// # Errors
    /// What is wrong with the header, in words.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let numbers = tensors.iter().map(|(_, tensor)| tensor.shape().iter().product::<usize>()).sum();
        Ok(Self { count: tensors.len(), numbers })
    }
}

/// The numbers of one tensor, in rows one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FloatTensor {
    pub(crate) shape: Vec<usize>,
    /// The product of `shape` many, all finite; shorter types are some float32 exactly.
    pub(crate) values: Vec<f32>,
}

/// Why a tensor cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TensorProblem {
    /// The file has none of this name.
    Missing,
    /// It has another type or shape, or numbers that are not finite.
    Unfit {
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
}

/// The numbers of one tensor, which must be finite float32 of this shape.
pub(crate) fn floats(
    tensors: &SafeTensors<'_>,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>, TensorProblem> {
    read(tensors, name, shape, &[Dtype::F32])
}

/// The types that [`floats_of_any_width`] reads.
pub(crate) const ANY_WIDTH: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::BF16];

/// [`floats`] of a tensor that may be stored in fewer bits: each of them is some float32 exactly.
pub(crate) fn floats_of_any_width(
    tensors: &SafeTensors<'_>,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>, TensorProblem> {
    read(tensors, name, shape, &ANY_WIDTH)
}

fn read(
    tensors: &SafeTensors<'_>,
    name: &str,
    shape: &[usize],
    types: &[Dtype],
) -> Result<Vec<f32>, TensorProblem> {
    let tensor = tensors.tensor(name).map_err(|_| TensorProblem::Missing)?;
    let unfit = |expected: String, found: String| Err(TensorProblem::Unfit { expected, found });
    let dtype = tensor.dtype();
    if !types.contains(&dtype) {
        let types: Vec<String> = types.iter().map(|dtype| format!("{dtype:?}")).collect();
        return unfit(format!("type {}", types.join(", ")), format!("type {dtype:?}"));
    }
    if tensor.shape() != shape {
        return unfit(format!("{shape:?}"), format!("{:?}", tensor.shape()));
    }
    let halves = || tensor.data().as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
    let values: Vec<f32> = match dtype {
        Dtype::F16 => halves().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        Dtype::BF16 => halves().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        _ => tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
    };
    // Not `all`, which would stop at the first and keep the loop from being vectorised.
    if !values.iter().fold(true, |finite, value| finite & value.is_finite()) {
        return unfit("finite numbers".to_owned(), "NaN or infinity".to_owned());
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
    }

    #[test]
    fn tensors_and_numbers_are_counted() {
        let header = r#"{"__metadata__":{"a":"b"},"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"s":{"dtype":"F32","shape":[],"data_offsets":[24,28]}}"#;
        assert_eq!(TensorSummary::read(&file(header, 28)), Ok(TensorSummary { count: 2, numbers: 7 }));
    }

    #[test]
    fn hostile_headers_are_refused() {
        let overflow = r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,4]}}"#;
        let overlap = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"v":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let cases = [
            vec![1, 2, 3],
            [&u64::MAX.to_le_bytes()[..], b"{}"].concat(),
            file("[]", 0),
            file("{\"w\":1}", 0),
            file(r#"{"w":{"shape":[-1]}}"#, 4),
            file(overflow, 4),
            file(overlap, 4),
        ];
        for case in cases {
            assert!(TensorSummary::read(&case).is_err(), "{case:?}");
        }
    }
}
