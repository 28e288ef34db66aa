//! `export --onnx`: an adapter and its model as one file.

use super::*;

const EXPORT: [&str; 3] = ["export", "--adapter=adapter", "--onnx=model.onnx"];

/// The command with more flags, and what it said.
fn exported(place: &Place, more: &[&str]) -> Done {
    place.run(&[&EXPORT[..], more].concat())
}

#[test]
fn an_adapter_and_its_model_become_one_file() {
    let place = Place::with_adapter();
    let before = place.names();
    let done = exported(&place, &[]).succeeded();
    assert_eq!(done.stderr, "");
    assert_snapshot!(done.stdout, @r"
    file         model.onnx
    size         148.9 kB
    operators    ONNX, version 17
    inputs       input_ids, attention_mask, token_type_ids
    outputs      logits, probabilities
    ");
    let mut expected = before.clone();
    expected.insert("model.onnx".to_owned());
    assert_eq!(place.names(), expected, "nothing is written beside it");

    // The same again, elsewhere and in its place.
    let first = std::fs::read(place.path("model.onnx")).unwrap();
    let told = exported(&place, &["--overwrite", "--json"]).succeeded().json();
    assert_eq!(std::fs::read(place.path("model.onnx")).unwrap(), first);
    assert_eq!(told["sha256"], grafter::digest::sha256_hex(&first));
    assert_eq!((&told["file"], &told["bytes"]), (&Value::from("model.onnx"), &Value::from(first.len())));
    assert_eq!(
        (&told["opset"], &told["outputs"]),
        (&Value::from(17), &serde_json::json!(["logits", "probabilities"]))
    );
    let names: Vec<&String> = told.as_object().unwrap().keys().collect();
    assert_eq!(names, ["file", "bytes", "sha256", "opset", "inputs", "outputs"]);
}

#[test]
fn nothing_is_replaced_unasked() {
    let place = Place::with_adapter();
    place.write("model.onnx", "mine");
    assert_snapshot!(place.told(&exported(&place, &[])), @r"
    exit code 2
    error: `model.onnx` exists

    hint: pass `--overwrite` to replace it
    ");
    assert_eq!(std::fs::read(place.path("model.onnx")).unwrap(), b"mine");
    let at = |target: &str, more: &[&str]| {
        place.told(&place.run(&[&["export", "--adapter=adapter", "--onnx", target][..], more].concat()))
    };
    assert_snapshot!(at("adapter", &["--overwrite"]), @r"
    exit code 2
    error: `adapter` exists and is not a regular file
    ");
    assert_snapshot!(at("adapter/model.onnx", &[]), @r"
    exit code 2
    error: `--onnx adapter/model.onnx` lies in the folder of an adapter

    hint: write it beside that folder
    ");
    assert_snapshot!(at("absent/model.onnx", &[]), @r"
    exit code 2
    error: cannot write `absent/model.onnx`: No such file or directory (os error 2)
    ");
    // The model itself, under another name.
    let copy = place.path("base");
    std::fs::create_dir(&copy).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(tiny_bert().join(file), copy.join(file)).unwrap();
    }
    let own = ["export", "--adapter=adapter", "--model=base", "--onnx=base/model.safetensors", "--overwrite"];
    assert_snapshot!(place.told(&place.run_bare(&own)), @r"
    exit code 2
    error: `--onnx base/model.safetensors` is a file that is read
    ");
    assert_eq!(
        std::fs::read(copy.join("model.safetensors")).unwrap(),
        std::fs::read(tiny_bert().join("model.safetensors")).unwrap()
    );
}

#[test]
fn a_target_is_one_of_two() {
    let place = Place::new();
    assert_snapshot!(place.told(&place.run(&["export", "--adapter=adapter"])), @r"
    exit code 2
    error: the following required arguments were not provided:
      <--out <DIR>|--onnx <FILE>>

    Usage: grafter export --adapter <DIR> --model <NAME|DIR> <--out <DIR>|--onnx <FILE>>

    For more information, try '--help'.
    ");
    assert_snapshot!(place.told(&exported(&place, &["--out=folder"])), @r"
    exit code 2
    error: the argument '--onnx <FILE>' cannot be used with '--out <DIR>'

    Usage: grafter export --adapter <DIR> --model <NAME|DIR> <--out <DIR>|--onnx <FILE>>

    For more information, try '--help'.
    ");
    assert_snapshot!(place.told(&exported(&place, &["--allow-loss"])), @r"
    exit code 2
    error: the argument '--onnx <FILE>' cannot be used with '--allow-loss'

    Usage: grafter export --adapter <DIR> --model <NAME|DIR> <--out <DIR>|--onnx <FILE>>

    For more information, try '--help'.
    ");
    assert_snapshot!(place.told(&exported(&place, &["--name=task"])), @r"
    exit code 2
    error: the argument '--onnx <FILE>' cannot be used with '--name <NAME>'

    Usage: grafter export --adapter <DIR> --model <NAME|DIR> <--out <DIR>|--onnx <FILE>>

    For more information, try '--help'.
    ");
    assert_snapshot!(place.told(&place.run(&["export", "--adapter=adapter", "--out=folder", "--overwrite"])), @r"
    exit code 2
    error: the argument '--out <DIR>' cannot be used with '--overwrite'

    Usage: grafter export --adapter <DIR> --model <NAME|DIR> <--out <DIR>|--onnx <FILE>>

    For more information, try '--help'.
    ");
    assert_snapshot!(place.told(&exported(&place, &[])), @r"
    exit code 2
    error: cannot read `adapter/adapter.json`: No such file or directory (os error 2)

    hint: an adapter is the folder that `grafter train --out <DIR>` wrote, or one of a bank, `<BANK>/tasks/<NAME>/<VERSION>`
    ");
}

#[test]
fn an_adapter_of_another_model_or_of_8_bits() {
    let place = Place::new();
    place.write("train.csv", OPINIONS);
    place.write("dev.csv", OPINIONS);
    place.train("csv", &["--base=int8"]).succeeded();
    let done = exported(&place, &[]).succeeded();
    assert_snapshot!(done.stderr, @"warning: adapter `adapter` was trained on a base in int8 and answers on one in f32");
    std::fs::remove_file(place.path("model.onnx")).unwrap();
    let copy = place.path("other");
    std::fs::create_dir(&copy).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(tiny_bert().join(file), copy.join(file)).unwrap();
    }
    let config = std::fs::read_to_string(copy.join("config.json")).unwrap();
    std::fs::write(
        copy.join("config.json"),
        config.replace("\"num_attention_heads\": 2", "\"num_attention_heads\": 4"),
    )
    .unwrap();
    let other = ["export", "--adapter=adapter", "--model=other", "--onnx=model.onnx"];
    assert_snapshot!(place.told(&place.run_bare(&other)), @r"
    exit code 2
    error: adapter `adapter` does not fit this model: its `num_attention_heads` is 2, this one's 4

    hint: it was trained on `tiny-bert`; pass `--model <NAME or DIR>` of that model
    ");
    assert!(!place.path("model.onnx").exists());
}
