//! What a safetensors file holds by its header alone: no number is read, nothing is sized by what the header says.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// Tensors of a file, and numbers in them.
#[derive(Debug, PartialEq, Eq)]
pub struct Tensors {
    pub count: usize,
    pub numbers: usize,
}

#[derive(Deserialize)]
struct Tensor {
    shape: Vec<usize>,
}

/// Reads the header of a file's bytes: its length in eight bytes, then JSON from names to shapes.
pub fn read(bytes: &[u8]) -> Result<Tensors, String> {
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or("it is shorter than a header")?;
    let header = usize::try_from(u64::from_le_bytes(*length))
        .ok()
        .and_then(|length| rest.get(..length))
        .ok_or("its header goes on past its end")?;
    let mut header: BTreeMap<String, Value> =
        serde_json::from_slice(header).map_err(|error| error.to_string())?;
    header.remove("__metadata__");
    let mut numbers = 0_usize;
    for (name, tensor) in &header {
        let tensor = Tensor::deserialize(tensor).map_err(|error| format!("tensor `{name}`: {error}"))?;
        numbers = tensor
            .shape
            .iter()
            .try_fold(1_usize, |product, size| product.checked_mul(*size))
            .and_then(|product| numbers.checked_add(product))
            .ok_or_else(|| format!("tensor `{name}` is too large"))?;
    }
    Ok(Tensors { count: header.len(), numbers })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
    }

    #[test]
    fn tensors_and_numbers_are_counted() {
        let header = r#"{"__metadata__":{"a":"b"},"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
            "s":{"dtype":"F32","shape":[],"data_offsets":[24,28]}}"#;
        assert_eq!(read(&file(header)), Ok(Tensors { count: 2, numbers: 7 }));
    }

    #[test]
    fn hostile_headers_are_refused() {
        let overflow = r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,4]}}"#;
        let cases = [
            vec![1, 2, 3],
            [&u64::MAX.to_le_bytes()[..], b"{}"].concat(),
            file("[]"),
            file("{\"w\":1}"),
            file(r#"{"w":{"shape":[-1]}}"#),
            file(overflow),
        ];
        for case in cases {
            assert!(read(&case).is_err(), "{case:?}");
        }
    }
}
