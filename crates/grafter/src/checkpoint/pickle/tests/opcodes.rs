//! Pickles that do anything but describe a dict of tensors.

use super::*;

/// The message about a value instead of a dict of tensors.
#[track_caller]
fn refused_value(value: &[u8]) -> String {
    refusal(read_bytes(&file_of(&pickle(value), &[&[0; 8]])))
}

/// What follows the place in a message about the pickle.
#[track_caller]
fn refused_at(value: &[u8], at: usize) -> String {
    let message = refused_value(value);
    let begin = format!("`a.bin`: byte {at} of its pickle: expected ");
    message.strip_prefix(&begin).unwrap_or_else(|| panic!("{message}")).to_owned()
}

fn two_numbers() -> Vec<u8> {
    storage("FloatStorage", "0", 2)
}

fn whole_tensor() -> Vec<u8> {
    tensor(two_numbers(), 0, &[2], &[1])
}

#[test]
fn what_could_run_code_is_named_and_refused() {
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("subprocess", "Popen"),
        ("torch", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("torch._utils", "_rebuild_tensor"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("torch", "ByteStorage"),
        ("collections", "OrderedDict "),
        ("collections", "Counter"),
    ] {
        let called = call(global(module, name), tuple(&[text("touch /x")]));
        for value in [global(module, name), called.clone(), dict(&[("w", called)])] {
            let found = read_bytes(&file_of(&pickle(&value), &[]));
            assert!(
                matches!(&found, Err(PickleError::Global { name: found, .. }) if *found == format!("{module}.{name}")),
                "{found:?}"
            );
        }
    }
    let message = refused_value(&call(global("os", "system"), tuple(&[text("true")])));
    assert_eq!(
        message,
        "`a.bin`: its pickle names `os.system` at byte 2, expected nothing but tensors of float32, float16 or bfloat16; nothing was run"
    );
}

#[test]
fn a_name_cannot_steer_a_terminal() {
    let message = refused_value(&global("os\x1b[31m", "\u{202e}x"));
    assert!(message.contains(r"names `os\u{1b}[31m.\u{202e}x` at byte 2"), "{message}");
    let message = refused_value(b"c\xff\xfe\nx\n");
    assert!(message.contains("names `\u{fffd}\u{fffd}.x`"), "{message}");
    let message = refused_value(&dict(&[("a\nb", b"N".to_vec())]));
    assert_eq!(message, r"`a.bin`: `a\nb` expected a tensor, found `None`");
}

#[test]
fn every_other_opcode_is_refused() {
    let known = b"\x88\x89NJKM\x8aXc}])\x85\x86\x87(tsuqrhjQRb.";
    for opcode in (0..=u8::MAX).filter(|opcode| !known.contains(opcode)) {
        let found = refused_at(&[b"}", &[opcode][..], &[0; 300]].concat(), 3);
        assert_eq!(found, format!("an opcode that tensors need, found opcode 0x{opcode:02x}"));
    }
}

#[test]
fn only_what_makes_tensors_is_called() {
    let found = "a function to call, found a text";
    assert_eq!(refused_at(&call(text("eval"), tuple(&[])), 13), found);
    assert_eq!(
        refused_at(&[whole_tensor(), b")R".to_vec()].concat(), 160),
        "a function to call, found a tensor"
    );
    let class = global("torch", "FloatStorage");
    assert_eq!(
        refused_at(&call(class, b")".to_vec()), 23),
        "a tensor to be made, found a call of a storage's type"
    );
    let pairs = call(global("collections", "OrderedDict"), tuple(&[dict(&[])]));
    assert_eq!(refused_at(&pairs, 32), "an empty `OrderedDict`, found arguments");
    let rebuild = || global("torch._utils", "_rebuild_tensor_v2");
    assert_eq!(refused_at(&call(rebuild(), text("w")), 41), "a tuple of arguments, found a text");
    assert!(refused_value(&call(rebuild(), tuple(&[]))).ends_with("no hooks, found others"));
    let parameter = global("torch._utils", "_rebuild_parameter");
    let arguments = tuple(&[two_numbers(), b"\x88".to_vec(), hooks()]);
    assert!(
        refused_value(&call(parameter, arguments)).ends_with("the arguments of a parameter, found others")
    );
}

#[test]
fn the_arguments_of_a_tensor_are_held_to_their_types() {
    let good = || [two_numbers(), int(0), sizes(&[2]), sizes(&[1]), b"\x89".to_vec(), hooks()];
    let made = |arguments: &[Vec<u8>]| {
        let tensor = call(global("torch._utils", "_rebuild_tensor_v2"), tuple(arguments));
        read_bytes(&file_of(&pickle(&dict(&[("w", tensor)])), &[&[0; 8]]))
    };
    made(&good()).unwrap();
    let full = dict(&[("hook", b"N".to_vec())]);
    let wrong: [(usize, Vec<u8>); 9] = [
        (0, text("0")),
        (1, int(-1)),
        (1, b"N".to_vec()),
        (2, sizes(&[-2])),
        (2, tuple(&[text("2")])),
        (2, int(2)),
        (3, sizes(&[1, 1])),
        (4, int(0)),
        (5, full),
    ];
    for (place, value) in wrong {
        let mut arguments = good();
        arguments[place] = value;
        assert!(refusal(made(&arguments)).ends_with("no hooks, found others"), "{place}");
    }
    assert!(made(&good()[..5]).is_err());
    // The seventh says, for one, that the numbers are meant with the other sign.
    assert!(made(&[&good()[..], &[dict(&[("neg", b"\x88".to_vec())])]].concat()).is_err());
    let nine = [1; 9];
    assert!(read_bytes(&one_tensor(0, &nine, &nine, &[1.0])).is_err());
    read_bytes(&one_tensor(0, &nine[1..], &nine[1..], &[1.0])).unwrap();
}

#[test]
fn the_reference_of_a_storage_is_held_to_its_types() {
    let refer = |fields: &[Vec<u8>]| [tuple(fields), b"Q".to_vec()].concat();
    let good = || [text("storage"), global("torch", "FloatStorage"), text("0"), text("cuda:0"), int(2)];
    let made = |storage: Vec<u8>| {
        let value = dict(&[("w", tensor(storage, 0, &[2], &[1]))]);
        read_bytes(&file_of(&pickle(&value), &[&[0; 8]]))
    };
    made(refer(&good())).unwrap();
    let wrong = [
        (0, text("module")),
        (1, text("FloatStorage")),
        (2, int(0)),
        (3, b"N".to_vec()),
        (4, int(-1)),
        (4, text("2")),
    ];
    for (place, value) in wrong {
        let mut fields = good();
        fields[place] = value;
        assert!(
            refusal(made(refer(&fields))).ends_with("the reference of a storage, found another"),
            "{place}"
        );
    }
    assert!(made(refer(&good()[..4])).is_err());
    assert!(made(b"NQ".to_vec()).is_err());
    for key in ["", "../0", "/etc/passwd", "0/../0", "-1", "x", "0\n", "\u{661}"] {
        let mut fields = good();
        fields[2] = text(key);
        let message = refusal(made(refer(&fields)));
        assert!(message.contains("expected a number as the storage's key, found `"), "{message}");
    }
}

#[test]
fn a_storage_is_described_the_same_each_time() {
    let two = |other: Vec<u8>| dict(&[("w", whole_tensor()), ("v", tensor(other, 0, &[2], &[1]))]);
    read_bytes(&file_of(&pickle(&two(two_numbers())), &[&[0; 8]])).unwrap();
    for (class, count, found) in [("HalfStorage", 4, "4 of float16"), ("FloatStorage", 3, "3 of float32")] {
        let message = refused_value(&two(storage(class, "0", count)));
        let expected = format!("expected storage `0` as before, 2 numbers of float32, found {found}");
        assert!(message.ends_with(&expected), "{message}");
    }
}

#[test]
fn only_a_dict_of_tensors_is_read() {
    for (value, found) in [
        (b"N".to_vec(), "`None`"),
        (b")".to_vec(), "a tuple"),
        (b"]".to_vec(), "a list"),
        (text("w"), "a text"),
        (whole_tensor(), "a tensor"),
        (two_numbers(), "a storage"),
        (b"M\x01\x00".to_vec(), "a number"),
        (b"\x88".to_vec(), "a truth value"),
        (global("collections", "OrderedDict"), "a function or a class"),
    ] {
        let message = refused_value(&value);
        assert!(message.ends_with(&format!("expected a dict of tensors, found {found}")), "{message}");
        if found != "a tensor" {
            let message = refused_value(&dict(&[("deep", value)]));
            assert_eq!(message, format!("`a.bin`: `deep` expected a tensor, found {found}"));
        }
    }
    let message = refused_value(&dict(&[("adapter", dict(&[("w", whole_tensor())]))]));
    assert_eq!(message, "`a.bin`: `adapter` expected a tensor, found a dict");
    assert!(
        refused_value(&[b"}".to_vec(), b"}".to_vec()].concat()).ends_with("one value at the end, found 2")
    );
    assert!(refused_value(b"").ends_with("one value at the end, found 0"));
    assert!(read_bytes(&file_of(&pickle(b"}"), &[])).unwrap().is_empty());
}

#[test]
fn names_are_texts_and_differ() {
    let message = refused_value(&dict(&[("w", whole_tensor()), ("w", whole_tensor())]));
    assert_eq!(message, "`a.bin`: `w` expected one tensor of this name, found two");
    let message = refused_value(&[b"}K\x01".to_vec(), whole_tensor(), b"s".to_vec()].concat());
    assert!(message.ends_with("a text as the key of a dict, found a number"), "{message}");
    assert_eq!(refused_at(b"}X\x02\x00\x00\x00\xc3\x28Ns", 3), "a text in UTF-8, found other bytes");
}

#[test]
fn the_attributes_of_an_ordered_dict_are_its_metadata_and_dropped() {
    let state = |dict_of: &[u8], attributes: Vec<u8>| {
        let value = [dict_of, &text("w"), &whole_tensor(), b"s", &attributes, b"b"].concat();
        read_bytes(&file_of(&pickle(&value), &[&[0; 8]]))
    };
    let versions = || dict(&[("_metadata", dict(&[("", dict(&[("version", int(1))]))]))]);
    let tensors = state(&hooks(), versions()).unwrap();
    assert_eq!(tensors.keys().collect::<Vec<_>>(), ["w"]);
    let found = "`_metadata` of an `OrderedDict`, found other attributes";
    for (dict_of, attributes) in [
        (&b"}"[..], versions()),
        (&hooks(), dict(&[("__class__", b"N".to_vec())])),
        (&hooks(), dict(&[("_metadata", b"N".to_vec()), ("__reduce__", b"N".to_vec())])),
        (&hooks(), b"N".to_vec()),
    ] {
        assert!(refusal(state(dict_of, attributes)).ends_with(found));
    }
    assert!(refused_value(&[whole_tensor(), versions(), b"b".to_vec()].concat()).ends_with(found));
}

#[test]
fn the_memo_is_filled_in_order_and_holds_no_loops() {
    assert_eq!(refused_at(b"}q\x01", 3), "memo entry 0, found 1");
    assert_eq!(refused_at(b"}r\xff\xff\xff\xff", 3), "memo entry 0, found 4294967295");
    assert_eq!(refused_at(b"}q\x00q\x00", 5), "memo entry 1, found 0");
    assert_eq!(refused_at(b"}h\x00", 3), "a memo entry that was put, found entry 0");
    assert_eq!(refused_at(b"j\xff\xff\xff\x7f", 2), "a memo entry that was put, found entry 2147483647");
    // A dict in itself, and in a tuple in itself.
    let own = [b"}q\x00", &text("w")[..], b"h\x00s"].concat();
    assert_eq!(refused_value(&own), "`a.bin`: `w` expected a tensor, found a dict");
    let within = [b"}q\x00", &text("w")[..], b"h\x00\x85q\x01s"].concat();
    assert_eq!(refused_value(&within), "`a.bin`: `w` expected a tensor, found a tuple");
    // What was kept is the same dict, also as it is filled later.
    let filled =
        [b"}q\x00", &text("w")[..], &whole_tensor(), b"sr\x01\x00\x00\x00j\x01\x00\x00\x00\x85"].concat();
    assert!(refused_value(&filled).ends_with("one value at the end, found 2"));
}

#[test]
fn what_the_stack_lacks_is_an_error() {
    for value in [&b"s"[..], b"u", b"t", b"R", b"b", b"Q", b"\x85", b"\x86", b"\x87", b"q\x00"] {
        refused_value(value);
        refused_value(&[b"}NNN(", value].concat());
    }
    // A mark is no value, and nothing is taken from below it.
    for value in [&b"R"[..], b"b", b"Q", b"q\x00"] {
        assert_eq!(refused_at(&[b"}NNN(", value].concat(), 7), "a value on the stack, found none");
    }
    assert!(
        refused_value(&[b"}(", &text("w")[..], b"u"].concat())
            .ends_with("a dict, keys and values, found too few values")
    );
    assert!(refused_value(&[b"N", &text("w")[..], b"Ns"].concat()).ends_with("a dict to fill, found `None`"));
    assert!(refused_value(b"}(").ends_with("no open mark at the end, found 1"));
}

#[test]
fn counts_and_depths_are_bounded() {
    let ends = |value: &[u8], expected: &str| {
        let message = refused_value(value);
        assert!(message.ends_with(expected), "{message}");
    };
    ends(&[b'N'; 5000], "at most 4096 values on the stack, found more");
    ends(&[b'('; 17], "values nested at most 16 deep, found more");
    // Half a million tuples, each in the next, which must not be freed one within the other.
    ends(&[b"N", &[0x85; 500_000][..]].concat(), "a dict of tensors, found a tuple");
    ends(b"X\xff\xff\xff\xff", "4294967295 more bytes, found 1 before the end");
    ends(b"\x8a\xff", "255 more bytes, found 1 before the end");
    ends(&[b"\x8a\x09", &[0; 9][..]].concat(), "a number of at most 8 bytes, found 9 bytes");
    ends(&[b"c", &[b'x'; 300][..], b"\nx\n"].concat(), "a name and the end of its line, found no end");
    // One tensor many times: the function, its arguments, and calls that make a tensor each.
    let arguments = tuple(&[two_numbers(), int(0), sizes(&[2]), sizes(&[1]), b"\x89".to_vec(), hooks()]);
    let kept = [&global("torch._utils", "_rebuild_tensor_v2")[..], b"q\x00", &arguments, b"q\x01R"].concat();
    let many = [&b"}("[..], &text("w"), &kept, b"u"].concat();
    read_bytes(&file_of(&pickle(&many), &[&[0; 8]])).unwrap();
    let thousand = [b"(", &b"h\x00h\x01R".repeat(1000)[..], b"t"].concat();
    ends(&[kept, thousand.repeat(5)].concat(), "at most 4096 tensors, found more");
    let storages = (0..5000).map(|key| storage("FloatStorage", &key.to_string(), 0));
    let storages: Vec<Vec<u8>> = storages.collect::<Vec<_>>().chunks(1000).map(tuple).collect();
    ends(&storages.concat(), "at most 4096 storages, found more");
}

#[test]
fn numbers_of_every_opcode() {
    let numbers: [(&[u8], i64); 10] = [
        (b"K\xff", 255),
        (b"M\xff\xff", 65535),
        (b"J\xff\xff\xff\x7f", i32::MAX.into()),
        (b"J\xff\xff\xff\xff", -1),
        (b"\x8a\x00", 0),
        (b"\x8a\x01\x80", -128),
        (b"\x8a\x02\x80\x00", 128),
        (b"\x8a\x05\x00\x00\x00\x00\x01", 1 << 32),
        (b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", i64::MAX),
        (b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80", i64::MIN),
    ];
    for (opcode, number) in numbers {
        let shape = tuple(&[opcode.to_vec()]);
        let arguments = [two_numbers(), int(0), shape, sizes(&[1]), b"\x89".to_vec(), hooks()];
        let tensor = call(global("torch._utils", "_rebuild_tensor_v2"), tuple(&arguments));
        let message = match read_bytes(&file_of(&pickle(&dict(&[("w", tensor)])), &[&[0; 8]])) {
            Ok(tensors) => format!("size {:?} ", tensors["w"].shape),
            Err(error) => error.to_string(),
        };
        let expected =
            if number < 0 { "no hooks, found others".to_owned() } else { format!("size [{number}] ") };
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn only_protocol_2_from_beginning_to_end() {
    for (bytes, expected) in [
        (&b"\x80\x04}."[..], "protocol 2, torch's own, found protocol 4"),
        (b"}.", "the beginning of a pickle, found something else"),
        (b"\x80", "2 more bytes, found 1 before the end"),
        (b"\x80\x02}", "1 more bytes, found 0 before the end"),
        (b"\x80\x02}.}", "the end of the file after the pickle, found 1 more bytes"),
        (b"\x80\x02\x80\x02}.", "an opcode that tensors need, found opcode 0x80"),
    ] {
        let message = refusal(read_bytes(&file_of(bytes, &[])));
        assert!(message.ends_with(expected), "{message}");
    }
}
