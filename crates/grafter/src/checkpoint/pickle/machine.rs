//! The pickle of a dict of tensors: what its opcodes describe, without ever calling or importing anything.
//!
//! A pickle is a program for a stack machine. This one knows the opcodes of protocol 2 that `torch.save` writes for a
//! dict of tensors, and the few names that they refer to; everything else is an error. Opcodes: `Lib/pickletools.py` of
//! CPython.

use std::collections::BTreeMap;
use std::path::Path;

use super::PickleError;
use super::value::{Described, Dict, Global, Storage, Value, View};
use crate::text::escape;

/// Bytes of a pickle. A tensor takes about 200, by its name.
pub(super) const MOST_PICKLE_BYTES: usize = 1 << 20;
/// Tensors, and storages, of a file.
const MOST_TENSORS: usize = 4096;
/// Python writes the items of a dict in batches of 1,000, which are 2,000 values on the stack.
const MOST_STACK: usize = 4096;
/// Open marks, that is, how deep tuples and dicts lie in each other.
const MOST_MARKS: usize = 16;
/// Dimensions of a tensor.
const MOST_DIMENSIONS: usize = 8;
/// Bytes of the name of a module or of something in it.
const MOST_NAME_BYTES: usize = 256;

/// Reads a pickle, which must be no longer than [`MOST_PICKLE_BYTES`].
pub(super) fn describe<'a>(path: &'a Path, bytes: &'a [u8]) -> Result<Described<'a>, PickleError> {
    let machine = Machine {
        path,
        bytes,
        next: 0,
        opcode_at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
        items: Vec::new(),
        dicts: Vec::new(),
        views: Vec::new(),
        storages: Vec::new(),
        storage_of_key: BTreeMap::new(),
    };
    machine.run()
}

struct Machine<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    /// Of the first byte that was not read.
    next: usize,
    /// Of the opcode that is being followed.
    opcode_at: usize,
    stack: Vec<Value<'a>>,
    /// How high the stack was at each open mark.
    marks: Vec<usize>,
    memo: Vec<Value<'a>>,
    /// Of all tuples.
    items: Vec<Value<'a>>,
    dicts: Vec<Dict<'a>>,
    views: Vec<View>,
    storages: Vec<Storage<'a>>,
    storage_of_key: BTreeMap<&'a str, usize>,
}

impl<'a> Machine<'a> {
    fn run(mut self) -> Result<Described<'a>, PickleError> {
        match self.array()? {
            [0x80, 2] => {}
            [0x80, protocol] => {
                return Err(self.wrong("protocol 2, torch's own", format!("protocol {protocol}")));
            }
            _ => return Err(self.wrong("the beginning of a pickle", "something else")),
        }
        loop {
            self.opcode_at = self.next;
            let [opcode] = self.array()?;
            if opcode == b'.' {
                return self.finish();
            }
            self.step(opcode)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), PickleError> {
        match opcode {
            // NONE, NEWTRUE, NEWFALSE
            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Bool),
            // BININT, BININT1, BININT2, LONG1
            b'J' => self.array().and_then(|bytes| self.push(Value::Int(i32::from_le_bytes(bytes).into()))),
            b'K' => self.array().and_then(|[byte]| self.push(Value::Int(byte.into()))),
            b'M' => self.array().and_then(|bytes| self.push(Value::Int(u16::from_le_bytes(bytes).into()))),
            0x8a => self.long(),
            // BINUNICODE, GLOBAL
            b'X' => self.text(),
            b'c' => self.global(),
            // EMPTY_DICT, EMPTY_LIST, EMPTY_TUPLE
            b'}' => self.push_dict(false),
            b']' => self.push(Value::EmptyList),
            b')' => self.tuple(0),
            // TUPLE1, TUPLE2, TUPLE3, MARK, TUPLE
            0x85..=0x87 => self.tuple(usize::from(opcode - 0x84)),
            b'(' => self.mark(),
            b't' => {
                let count = self.close_mark()?;
                self.tuple(count)
            }
            // SETITEM, SETITEMS
            b's' => self.set_items(2),
            b'u' => {
                let count = self.close_mark()?;
                self.set_items(count)
            }
            // BINPUT, LONG_BINPUT, BINGET, LONG_BINGET
            b'q' => self.array().and_then(|[place]| self.put(place.into())),
            b'r' => self.array().and_then(|place| self.put(u32::from_le_bytes(place) as usize)),
            b'h' => self.array().and_then(|[place]| self.get(place.into())),
            b'j' => self.array().and_then(|place| self.get(u32::from_le_bytes(place) as usize)),
            // BINPERSID, REDUCE, BUILD
            b'Q' => self.storage(),
            b'R' => self.reduce(),
            b'b' => self.build(),
            _ => Err(self.wrong("an opcode that tensors need", format!("opcode 0x{opcode:02x}"))),
        }
    }

    /// What the pickle described, at STOP.
    fn finish(mut self) -> Result<Described<'a>, PickleError> {
        let rest = self.bytes.len() - self.next;
        if rest > 0 {
            return Err(self.wrong("the end of the file after the pickle", format!("{rest} more bytes")));
        }
        if !self.marks.is_empty() {
            return Err(self.wrong("no open mark at the end", self.marks.len().to_string()));
        }
        let place = match self.stack[..] {
            [Value::Dict(place)] => place,
            [value] => return Err(self.wrong("a dict of tensors", value.kind())),
            _ => return Err(self.wrong("one value at the end", self.stack.len().to_string())),
        };
        let mut tensors = BTreeMap::new();
        for (name, value) in std::mem::take(&mut self.dicts[place].items) {
            let unfit = |expected: &str, found: &str| PickleError::Tensor {
                path: self.path.to_owned(),
                name: escape(name, 120),
                expected: expected.to_owned(),
                found: found.to_owned(),
            };
            let Value::Tensor(view) = value else {
                return Err(unfit("a tensor", value.kind()));
            };
            if tensors.insert(name, self.views[view].clone()).is_some() {
                return Err(unfit("one tensor of this name", "two"));
            }
            if tensors.len() > MOST_TENSORS {
                return Err(self.wrong(&format!("at most {MOST_TENSORS} tensors"), "more"));
            }
        }
        Ok(Described { tensors, storages: self.storages })
    }

    fn push_dict(&mut self, ordered: bool) -> Result<(), PickleError> {
        self.dicts.push(Dict { ordered, items: Vec::new() });
        self.push(Value::Dict(self.dicts.len() - 1))
    }

    fn long(&mut self) -> Result<(), PickleError> {
        let [count] = self.array()?;
        let bytes = self.take(count.into())?;
        if bytes.len() > 8 {
            return Err(self.wrong("a number of at most 8 bytes", format!("{count} bytes")));
        }
        // Two's complement, little-endian, as short as it can be.
        let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
        let mut whole = [if negative { 0xff } else { 0 }; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(whole)))
    }

    fn text(&mut self) -> Result<(), PickleError> {
        let count = u32::from_le_bytes(self.array()?);
        let text = std::str::from_utf8(self.take(count as usize)?);
        let text = text.map_err(|_| self.wrong("a text in UTF-8", "other bytes"))?;
        self.push(Value::Text(text))
    }

    fn global(&mut self) -> Result<(), PickleError> {
        let (module, name) = (self.line()?, self.line()?);
        let global = Global::find(module, name).ok_or_else(|| {
            let full = [module, name].map(String::from_utf8_lossy).join(".");
            PickleError::Global { path: self.path.to_owned(), at: self.opcode_at, name: escape(&full, 120) }
        })?;
        self.push(Value::Global(global))
    }

    /// The topmost values become one.
    fn tuple(&mut self, count: usize) -> Result<(), PickleError> {
        let start = self.items.len();
        let above = self.above_mark();
        if count > above {
            return Err(self.wrong(&format!("{count} values for a tuple"), above.to_string()));
        }
        self.items.extend(self.stack.drain(self.stack.len() - count..));
        self.push(Value::Tuple { start, count })
    }

    fn items(&self, tuple: Value<'a>) -> Option<&[Value<'a>]> {
        match tuple {
            Value::Tuple { start, count } => self.items.get(start..start + count),
            _ => None,
        }
    }

    fn mark(&mut self) -> Result<(), PickleError> {
        if self.marks.len() == MOST_MARKS {
            return Err(self.wrong(&format!("values nested at most {MOST_MARKS} deep"), "more"));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// How many values lie above the topmost mark, which is taken away.
    fn close_mark(&mut self) -> Result<usize, PickleError> {
        let count = self.above_mark();
        match self.marks.pop() {
            Some(_) => Ok(count),
            None => Err(self.wrong("a mark before", "none")),
        }
    }

    /// Puts the topmost values, keys and values by turns, into the dict below them.
    fn set_items(&mut self, count: usize) -> Result<(), PickleError> {
        if count % 2 == 1 || count >= self.above_mark() {
            return Err(self.wrong("a dict, keys and values", "too few values"));
        }
        let first = self.stack.len() - count;
        let Value::Dict(place) = self.stack[first - 1] else {
            return Err(self.wrong("a dict to fill", self.stack[first - 1].kind()));
        };
        let pairs = self.stack[first..].as_chunks::<2>().0;
        if let Some([key, _]) = pairs.iter().find(|[key, _]| !matches!(key, Value::Text(_))) {
            return Err(self.wrong("a text as the key of a dict", key.kind()));
        }
        let items = pairs.iter().filter_map(|[key, value]| match key {
            Value::Text(key) => Some((*key, *value)),
            _ => None,
        });
        self.dicts[place].items.extend(items);
        self.stack.truncate(first);
        Ok(())
    }

    /// Keeps the topmost value under the next number, which is how Python counts.
    fn put(&mut self, place: usize) -> Result<(), PickleError> {
        if place != self.memo.len() {
            return Err(self.wrong(&format!("memo entry {}", self.memo.len()), place.to_string()));
        }
        let value = self.pop()?;
        self.memo.push(value);
        self.push(value)
    }

    fn get(&mut self, place: usize) -> Result<(), PickleError> {
        match self.memo.get(place) {
            Some(value) => self.push(*value),
            None => Err(self.wrong("a memo entry that was put", format!("entry {place}"))),
        }
    }

    /// A reference to a storage: `("storage", type, key, device, count)`.
    fn storage(&mut self) -> Result<(), PickleError> {
        let tuple = self.pop()?;
        let storage = match self.items(tuple) {
            Some(
                &[
                    Value::Text("storage"),
                    Value::Global(Global::Storage(numbers)),
                    Value::Text(key),
                    Value::Text(_),
                    Value::Int(count),
                ],
            ) => usize::try_from(count).ok().map(|count| Storage { numbers, key, count }),
            _ => None,
        };
        let storage = storage.ok_or_else(|| self.wrong("the reference of a storage", "another"))?;
        if storage.key.is_empty() || !storage.key.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.wrong("a number as the storage's key", format!("`{}`", escape(storage.key, 80))));
        }
        let place = *self.storage_of_key.entry(storage.key).or_insert(self.storages.len());
        match self.storages.get(place) {
            Some(earlier) if *earlier != storage => {
                let was = format!("{} numbers of {}", earlier.count, earlier.numbers.name());
                let is = format!("{} of {}", storage.count, storage.numbers.name());
                return Err(self.wrong(&format!("storage `{}` as before, {was}", storage.key), is));
            }
            Some(_) => {}
            None if place == MOST_TENSORS => {
                return Err(self.wrong(&format!("at most {MOST_TENSORS} storages"), "more"));
            }
            None => self.storages.push(storage),
        }
        self.push(Value::Storage(place))
    }

    /// Python would call a function here. What each of the known ones makes is described instead.
    fn reduce(&mut self) -> Result<(), PickleError> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Value::Global(function) = function else {
            return Err(self.wrong("a function to call", function.kind()));
        };
        match (function, self.items(arguments)) {
            (Global::OrderedDict, Some([])) => self.push_dict(true),
            (Global::RebuildTensor, Some(_)) => self.rebuild_tensor(arguments),
            (Global::RebuildParameter, Some(&[tensor @ Value::Tensor(_), Value::Bool, hooks]))
                if self.is_empty_dict(hooks) =>
            {
                self.push(tensor)
            }
            (Global::OrderedDict, _) => Err(self.wrong("an empty `OrderedDict`", "arguments")),
            (Global::RebuildParameter, _) => Err(self.wrong("the arguments of a parameter", "others")),
            (Global::RebuildTensor, None) => Err(self.wrong("a tuple of arguments", arguments.kind())),
            (Global::Storage(_), _) => Err(self.wrong("a tensor to be made", "a call of a storage's type")),
        }
    }

    /// `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, backward_hooks)`.
    fn rebuild_tensor(&mut self, arguments: Value<'a>) -> Result<(), PickleError> {
        let view = match self.items(arguments) {
            Some(&[Value::Storage(storage), Value::Int(offset), shape, strides, Value::Bool, hooks])
                if self.is_empty_dict(hooks) =>
            {
                let sizes = (usize::try_from(offset).ok(), self.sizes(shape), self.sizes(strides));
                match sizes {
                    (Some(offset), Some(shape), Some(strides)) if shape.len() == strides.len() => {
                        Some(View { storage, offset, shape, strides })
                    }
                    _ => None,
                }
            }
            _ => None,
        };
        let expected =
            "the arguments of a tensor: storage, offset, size and stride of at most 8 dimensions, no hooks";
        let view = view.ok_or_else(|| self.wrong(expected, "others"))?;
        if self.views.len() == MOST_TENSORS {
            return Err(self.wrong(&format!("at most {MOST_TENSORS} tensors"), "more"));
        }
        self.views.push(view);
        self.push(Value::Tensor(self.views.len() - 1))
    }

    fn sizes(&self, tuple: Value<'a>) -> Option<Vec<usize>> {
        let items = self.items(tuple).filter(|items| items.len() <= MOST_DIMENSIONS)?;
        let size = |item: &Value<'a>| match item {
            Value::Int(size) => usize::try_from(*size).ok(),
            _ => None,
        };
        items.iter().map(size).collect()
    }

    fn is_empty_dict(&self, value: Value<'a>) -> bool {
        matches!(value, Value::Dict(place) if self.dicts[place].items.is_empty())
    }

    /// Attributes of an object. State dicts have one, the versions of their modules, which says nothing of the numbers.
    fn build(&mut self) -> Result<(), PickleError> {
        let (attributes, object) = (self.pop()?, self.pop()?);
        let known = match attributes {
            Value::Dict(place) => self.dicts[place].items.iter().all(|(name, _)| *name == "_metadata"),
            _ => false,
        };
        match object {
            Value::Dict(place) if known && self.dicts[place].ordered => self.push(object),
            _ => Err(self.wrong("`_metadata` of an `OrderedDict`", "other attributes")),
        }
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), PickleError> {
        if self.stack.len() == MOST_STACK {
            return Err(self.wrong(&format!("at most {MOST_STACK} values on the stack"), "more"));
        }
        self.stack.push(value);
        Ok(())
    }

    /// The topmost value, if no mark lies above it.
    fn pop(&mut self) -> Result<Value<'a>, PickleError> {
        let value = if self.above_mark() > 0 { self.stack.pop() } else { None };
        value.ok_or_else(|| self.wrong("a value on the stack", "none"))
    }

    fn above_mark(&self) -> usize {
        self.stack.len() - self.marks.last().copied().unwrap_or(0)
    }

    fn line(&mut self) -> Result<&'a [u8], PickleError> {
        let rest = &self.bytes[self.next..];
        let count = rest.iter().take(MOST_NAME_BYTES).position(|byte| *byte == b'\n');
        let count = count.ok_or_else(|| self.wrong("a name and the end of its line", "no end"))?;
        self.next += count + 1;
        Ok(&rest[..count])
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], PickleError> {
        let rest = &self.bytes[self.next..];
        let taken = rest.get(..count).ok_or_else(|| {
            self.wrong(&format!("{count} more bytes"), format!("{} before the end", rest.len()))
        })?;
        self.next += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let taken = self.take(N)?.first_chunk::<N>();
        Ok(*taken.expect("`take` gives as many as were asked for"))
    }

    fn wrong(&self, expected: &str, found: impl Into<String>) -> PickleError {
        PickleError::Pickle {
            path: self.path.to_owned(),
            at: self.opcode_at,
            expected: expected.to_owned(),
            found: found.into(),
        }
    }
}
