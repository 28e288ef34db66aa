//! The values that a pickle of tensors is made of.
//!
//! They are small and copied. What holds others lies in a table of [`super::machine`] and is referred to by its place, so
//! nothing is nested, nothing is freed recursively, and each opcode takes a bounded number of bytes.

use std::collections::BTreeMap;

/// What a pickle describes.
#[derive(Debug)]
pub(super) struct Described<'a> {
    pub(super) tensors: BTreeMap<&'a str, View>,
    pub(super) storages: Vec<Storage<'a>>,
}

/// A tensor: which numbers of a storage it is. Not yet held against the storage's size.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Place in [`Described::storages`].
    pub(super) storage: usize,
    /// The first number's place in the storage.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// In numbers, one a dimension.
    pub(super) strides: Vec<usize>,
}

/// The numbers that one or more tensors are parts of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Storage<'a> {
    pub(super) numbers: StorageType,
    /// Names its entry; decimal digits.
    pub(super) key: &'a str,
    pub(super) count: usize,
}

/// The type of a storage's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StorageType {
    Float,
    Half,
    BFloat16,
    Double,
    Long,
    Int,
}

impl StorageType {
    /// As torch's documentation calls the numbers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Float => "float32",
            Self::Half => "float16",
            Self::BFloat16 => "bfloat16",
            Self::Double => "float64",
            Self::Long => "int64",
            Self::Int => "int32",
        }
    }
}

/// What a pickle may name: the whole list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(StorageType),
}

impl Global {
    pub(super) fn find(module: &[u8], name: &[u8]) -> Option<Self> {
        Some(match (module, name) {
            (b"collections", b"OrderedDict") => Self::OrderedDict,
            (b"torch._utils", b"_rebuild_tensor_v2") => Self::RebuildTensor,
            (b"torch._utils", b"_rebuild_parameter") => Self::RebuildParameter,
            (b"torch", b"FloatStorage") => Self::Storage(StorageType::Float),
            (b"torch", b"HalfStorage") => Self::Storage(StorageType::Half),
            (b"torch", b"BFloat16Storage") => Self::Storage(StorageType::BFloat16),
            // Known so that the refusal can name the tensor.
            (b"torch", b"DoubleStorage") => Self::Storage(StorageType::Double),
            (b"torch", b"LongStorage") => Self::Storage(StorageType::Long),
            (b"torch", b"IntStorage") => Self::Storage(StorageType::Int),
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    None,
    /// Whether a gradient is asked for, which says nothing of the numbers.
    Bool,
    Int(i64),
    Text(&'a str),
    Global(Global),
    /// No opcode that fills a list is known.
    EmptyList,
    /// A stretch of the items of all tuples.
    Tuple {
        start: usize,
        count: usize,
    },
    /// Place among the dicts.
    Dict(usize),
    /// Place among the storages.
    Storage(usize),
    /// Place among the tensors.
    Tensor(usize),
}

impl Value<'_> {
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::None => "`None`",
            Self::Bool => "a truth value",
            Self::Int(_) => "a number",
            Self::Text(_) => "a text",
            Self::Global(_) => "a function or a class",
            Self::EmptyList => "a list",
            Self::Tuple { .. } => "a tuple",
            Self::Dict(_) => "a dict",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
        }
    }
}

#[derive(Default)]
pub(super) struct Dict<'a> {
    /// An `OrderedDict`, which may carry attributes.
    pub(super) ordered: bool,
    pub(super) items: Vec<(&'a str, Value<'a>)>,
}
