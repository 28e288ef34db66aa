//! Files of torch, read as torch reads them, and the pieces of files that are made by hand: opcode by opcode, and archives
//! by the writer of the `zip` crate.

mod hostile;
mod opcodes;

use std::fs;
use std::io::{Cursor, Write};

use safetensors::SafeTensors;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;

/// Offset, shape and strides.
type Place<'a> = (i64, &'a [i64], &'a [i64]);

type Read = Result<BTreeMap<String, FloatTensor>, PickleError>;

fn read_bytes(bytes: &[u8]) -> Read {
    read(Path::new("a.bin"), bytes)
}

/// The message of a file that is refused.
#[track_caller]
fn refusal(read: Read) -> String {
    read.expect_err("it must be refused").to_string()
}

/// The bytes of a committed file, which `reference/pickle_file.py` wrote.
fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pickle").join(name)).unwrap()
}

fn archive_of(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        archive.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// The entries of a file as torch lays them out.
fn file_of(pickle: &[u8], storages: &[&[u8]]) -> Vec<u8> {
    let names: Vec<String> = (0..storages.len()).map(|key| format!("a/data/{key}")).collect();
    let mut entries: Vec<(&str, &[u8])> = vec![("a/data.pkl", pickle), ("a/byteorder", b"little")];
    entries.extend(names.iter().map(String::as_str).zip(storages.iter().copied()));
    entries.push(("a/version", b"3\n"));
    archive_of(&entries, CompressionMethod::Stored)
}

/// A pickle of one value, by the opcodes that make it.
fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn int(number: i64) -> Vec<u8> {
    [b"\x8a\x08", &number.to_le_bytes()[..]].concat()
}

fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &items.concat()[..], b"t"].concat()
}

fn sizes(sizes: &[i64]) -> Vec<u8> {
    tuple(&sizes.iter().map(|size| int(*size)).collect::<Vec<_>>())
}

fn call(function: Vec<u8>, arguments: Vec<u8>) -> Vec<u8> {
    [&function[..], &arguments, b"R"].concat()
}

fn storage(class: &str, key: &str, count: i64) -> Vec<u8> {
    let fields = [text("storage"), global("torch", class), text(key), text("cpu"), int(count)];
    [tuple(&fields), b"Q".to_vec()].concat()
}

fn hooks() -> Vec<u8> {
    b"ccollections\nOrderedDict\n)R".to_vec()
}

fn tensor(storage: Vec<u8>, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let arguments = [storage, int(offset), sizes(shape), sizes(strides), b"\x89".to_vec(), hooks()];
    call(global("torch._utils", "_rebuild_tensor_v2"), tuple(&arguments))
}

fn dict(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items: Vec<u8> = items.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"}(", &items[..], b"u"].concat()
}

fn floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// A file with one tensor `w` in a storage of these numbers.
fn one_tensor(offset: i64, shape: &[i64], strides: &[i64], numbers: &[f32]) -> Vec<u8> {
    let storage = storage("FloatStorage", "0", numbers.len() as i64);
    file_of(&pickle(&dict(&[("w", tensor(storage, offset, shape, strides))])), &[&floats(numbers)])
}

#[test]
fn files_of_torch_have_the_numbers_that_torch_gives() {
    let expected = fixture("expected.safetensors");
    let expected = SafeTensors::deserialize(&expected).unwrap();
    let mut compared = 0;
    for file in ["tensors", "state"] {
        for (name, found) in read_bytes(&fixture(&format!("{file}.bin"))).unwrap() {
            let tensor = expected.tensor(&format!("{file}/{name}")).unwrap();
            assert_eq!(found.shape, tensor.shape(), "{name}");
            // Bytes, so that zeros of both signs are told apart.
            assert_eq!(floats(&found.values), tensor.data(), "{name}");
            compared += 1;
        }
    }
    assert_eq!(compared, expected.len());
    assert_eq!(compared, 23);
}

#[test]
fn numbers_that_are_known_without_torch() {
    let tensors = read_bytes(&fixture("tensors.bin")).unwrap();
    let counted = FloatTensor { shape: vec![2, 3], values: vec![-0.25, -0.125, 0.0, 0.125, 0.25, 0.375] };
    assert_eq!(tensors["counted"], counted);
    assert_eq!(tensors["number"], FloatTensor { shape: vec![], values: vec![-0.625] });
    assert_eq!(tensors["empty"], FloatTensor { shape: vec![0, 3], values: vec![] });
    assert_eq!(
        tensors["edges_float16"].values,
        [0.0, -0.0, 2_f32.powi(-24), -65504.0, 1.0 + 2_f32.powi(-10)]
    );
    let largest = f32::from_bits(0xff7f_0000);
    assert_eq!(
        tensors["edges_bfloat16"].values,
        [0.0, -0.0, f32::from_bits(1 << 16), largest, 3.0 * 2_f32.powi(100)]
    );
    assert!(tensors["edges_bfloat16"].values[1].is_sign_negative());
    assert_eq!(tensors["same_as_whole"], tensors["whole"]);
    let (whole, rows) = (&tensors["whole"].values, &tensors["rows"].values);
    assert_eq!(rows[..], whole[10..20]);
}

#[test]
fn views_are_gathered() {
    let numbers: Vec<f32> = (0..12_u8).map(f32::from).collect();
    let cases: [(Place, &[f32]); 9] = [
        ((0, &[3, 4], &[4, 1]), &[0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11.]),
        ((0, &[4, 3], &[1, 4]), &[0., 4., 8., 1., 5., 9., 2., 6., 10., 3., 7., 11.]),
        ((5, &[2, 3], &[3, 1]), &[5., 6., 7., 8., 9., 10.]),
        ((1, &[3, 2], &[4, 2]), &[1., 3., 5., 7., 9., 11.]),
        ((2, &[2, 1, 2], &[1, 900, 6]), &[2., 8., 3., 9.]),
        ((11, &[], &[]), &[11.]),
        ((11, &[1, 1], &[0, 0]), &[11.]),
        ((12, &[0, 7], &[7, 1]), &[]),
        ((0, &[2, 2, 3], &[1, 6, 2]), &[0., 2., 4., 6., 8., 10., 1., 3., 5., 7., 9., 11.]),
    ];
    for ((offset, shape, strides), expected) in cases {
        let tensors = read_bytes(&one_tensor(offset, shape, strides, &numbers)).unwrap();
        assert_eq!(tensors["w"].values, expected, "{offset} {shape:?} {strides:?}");
    }
}

#[test]
fn a_view_out_of_its_storage_or_over_itself_is_refused() {
    let huge = 1 << 40;
    let cases: [Place; 12] = [
        (0, &[13], &[1]),
        (1, &[3, 4], &[4, 1]),
        (12, &[1], &[1]),
        (12, &[], &[]),
        (13, &[0], &[1]),
        (0, &[12], &[0]),
        (0, &[3, 4], &[3, 1]),
        (0, &[2, 2], &[1, 1]),
        (0, &[1_000_000_000], &[0]),
        (0, &[huge, huge], &[huge, 1]),
        (0, &[2, 2], &[i64::MAX, i64::MAX]),
        (i64::MAX, &[2], &[i64::MAX]),
    ];
    for (offset, shape, strides) in cases {
        let message = refusal(read_bytes(&one_tensor(offset, shape, strides, &[1.0; 12])));
        let found = format!("found size {shape:?} with strides {strides:?} from {offset} of 12");
        assert_eq!(message, format!("`a.bin`: `w` expected different numbers of its storage, {found}"));
    }
}

#[test]
fn deflated_entries_and_archives_without_the_newer_entries_are_read() {
    let value = pickle(&dict(&[("w", tensor(storage("FloatStorage", "140212", 2), 0, &[2], &[1]))]));
    let numbers = floats(&[1.5, -2.0]);
    let entries: [(&str, &[u8]); 2] = [("archive/data.pkl", &value), ("archive/data/140212", &numbers)];
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let tensors = read_bytes(&archive_of(&entries, method)).unwrap();
        assert_eq!(tensors["w"], FloatTensor { shape: vec![2], values: vec![1.5, -2.0] });
    }
}

#[test]
fn other_types_are_refused_by_name() {
    for (class, name) in [("DoubleStorage", "float64"), ("LongStorage", "int64"), ("IntStorage", "int32")] {
        let value = pickle(&dict(&[("steps", tensor(storage(class, "0", 1), 0, &[1], &[1]))]));
        let message = refusal(read_bytes(&file_of(&value, &[&[0; 8]])));
        assert_eq!(message, format!("`a.bin`: `steps` expected float32, float16 or bfloat16, found {name}"));
    }
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let message = refusal(read_bytes(&one_tensor(0, &[2], &[1], &[1.0, number])));
        assert_eq!(message, "`a.bin`: `w` expected finite numbers, found NaN or infinity");
    }
}

#[test]
fn a_storage_of_another_size_is_refused() {
    for (numbers, expected) in [
        (&[1.0][..], "expected 8 bytes for 2 numbers of float32, found 4"),
        (&[1.0; 3][..], "expected at most 8 bytes, found 12"),
    ] {
        let value = pickle(&dict(&[("w", tensor(storage("FloatStorage", "0", 2), 0, &[1], &[1]))]));
        let message = refusal(read_bytes(&file_of(&value, &[&floats(numbers)])));
        assert_eq!(message, format!("`a.bin`: entry `a/data/0` {expected}"));
    }
    let value = pickle(&dict(&[("w", tensor(storage("FloatStorage", "7", 2), 0, &[1], &[1]))]));
    let message = refusal(read_bytes(&file_of(&value, &[&floats(&[1.0, 2.0])])));
    assert_eq!(message, "`a.bin`: entry `a/data/7` expected to be there, found none of this name");
    let value = pickle(&dict(&[("w", tensor(storage("FloatStorage", "0", i64::MAX), 0, &[1], &[1]))]));
    assert!(matches!(read_bytes(&file_of(&value, &[&[0; 8]])), Err(PickleError::Entry { .. })));
}
